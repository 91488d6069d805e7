"""Makes sharded teachers, and an executor that behaves as a cluster does, without one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from treeavg.cli import main

TREES = (
    "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))",
    "(S (A it) (X (A rains) (A often)))",
    "(S (X (A we) (A see)) (X (A them) (A (B run))))",
    "(S (A he) (X (X (A was) (A not)) (A there)))",
    "(S (A one))",
)


def random_tree(generator: random.Random, words: Sequence[str]) -> str:
    """Return a random binary tree."""
    if len(words) == 1:
        return f"(T {words[0]})"
    split = generator.randrange(1, len(words))
    return f"(X {random_tree(generator, words[:split])} {random_tree(generator, words[split:])})"


def corpus(folder: Path, *, teachers: int = 3, sizes: Sequence[int] = (5, 1, 7, 4), seed: int = 0) -> list[Path]:
    """Write shards ``8.txt``, ``9.txt``, ``10.txt``, ... of each teacher; return the teachers' folders."""
    generator = random.Random(seed)
    texts = [[f"w{generator.randrange(50)}" for _ in range(generator.randrange(1, 12))] for _ in range(sum(sizes))]
    folders = []
    for teacher in range(teachers):
        own = folder / f"t{teacher}"
        own.mkdir(parents=True)
        first = 0
        for number, size in enumerate(sizes, 8):
            lines = [random_tree(generator, words) + "\n" for words in texts[first : first + size]]
            (own / f"{number}.txt").write_text("".join(lines))
            first += size
        folders.append(own)
    return folders


def whole(folder: Path) -> Path:
    """Write a teacher's shards into one file, in their order; return it."""
    path = folder.with_name(f"{folder.name}-whole.txt")
    path.write_bytes(b"".join(part.read_bytes() for part in sorted(folder.iterdir(), key=lambda part: int(part.stem))))
    return path


def joined(folder: Path, suffix: str = ".txt") -> bytes:
    """Return a job's shards, end to end."""
    parts = sorted(folder.glob(f"*{suffix}"), key=lambda part: int(part.name.split(".")[0]))
    return b"".join(part.read_bytes() for part in parts)


def treeavg(*arguments: object) -> None:
    """Run the command line here; it must end well."""
    assert main([str(argument) for argument in arguments]) == 0


def treeavg_raises(*arguments: object) -> None:
    """Run a verb here, so that its error is raised instead of printed."""
    main([str(arguments[0]), "--debug", *map(str, arguments[1:])])


class Shuffled:
    """Runs tasks in a random order, some of them twice, as a cluster may that loses workers."""

    def __init__(self, seed: int) -> None:
        self._generator = random.Random(seed)

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        order = list(range(len(tasks)))
        self._generator.shuffle(order)
        for place in order:
            if self._generator.random() < 0.5:
                function(tasks[place])  # a worker that was lost after it had finished
            yield place, function(tasks[place])


class Broken:
    """Loses the scheduler after some tasks."""

    def __init__(self, after: int) -> None:
        self._after = after

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        from treeavg.engine.cluster import lost

        for place, task in enumerate(tasks):
            if place == self._after:
                raise lost()
            yield place, function(task)
