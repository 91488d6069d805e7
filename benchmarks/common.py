"""What the benchmarks share: a seeded corpus, whole-process timings, tables."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from treeavg.report.tables import table

WORDS = "a of the to in it was for that with from which market company million trading government".split()


def corpus(folder: Path, sentences: int, teachers: int = 7, seed: int = 0) -> list[Path]:
    """Write teachers' files of random binary trees that share about two splits in three.

    Lengths are like those of newspaper text without punctuation: about 21 tokens on average, 60 at most. The first
    2,400 sentences are drawn, more are copies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"teacher{number}.txt" for number in range(teachers)]
    lines: list[list[str]] = [[] for _ in paths]
    for sentence in range(min(sentences, 2400)):
        shared = random.Random(f"{seed}.{sentence}")
        length = min(60, max(1, round(shared.gammavariate(4.5, 4.7))))
        words = [shared.choice(WORDS) for _ in range(length)]
        plan = {
            (begin, end): shared.randrange(begin + 1, end)
            for begin in range(length)
            for end in range(begin + 2, length + 1)
        }
        for number, own in enumerate(lines):
            generator = random.Random(f"{seed}.{sentence}.{number}")
            own.append(_tree(words, plan, generator, 0, length))
    for path, own in zip(paths, lines, strict=True):
        copies = -(-sentences // len(own))
        text = "\n".join(own) + "\n"
        with path.open("w", encoding="utf-8") as file:
            for copy in range(copies):
                rest = sentences - copy * len(own)
                file.write(text if rest >= len(own) else "\n".join(own[:rest]) + "\n")
    return paths


def _tree(
    words: Sequence[str], plan: dict[tuple[int, int], int], generator: random.Random, begin: int, end: int
) -> str:
    if end - begin == 1:
        return f"(X {words[begin]})"
    split = plan[begin, end] if generator.random() < 0.67 else generator.randrange(begin + 1, end)
    return f"(X {_tree(words, plan, generator, begin, split)} {_tree(words, plan, generator, split, end)})"


def treeavg(*arguments: str | Path) -> list[str]:
    """Return the command line of a treeavg process, the same way a user's script starts it."""
    script = Path(sys.executable).with_name("treeavg")
    return [str(script), *map(str, arguments)]


def process(
    command: Sequence[str], runs: int = 5, warm_up: int = 1, environment: dict[str, str] | None = None
) -> tuple[float, float]:
    """Run a command as a whole process; return the median seconds and the largest resident set in MB."""
    seconds, peak = [], 0.0
    for run in range(warm_up + runs):
        begin = time.perf_counter()
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{command}: {child.stderr.read().decode() if child.stderr else ''}")
        if child.stderr:
            child.stderr.close()
        if run >= warm_up:
            seconds.append(time.perf_counter() - begin)
            peak = max(peak, usage.ru_maxrss / 1024)
    return statistics.median(seconds), peak


def inside(function: Callable[[], object], runs: int = 7) -> float:
    """Return the median seconds of a call, after one that is not counted."""
    function()
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def show(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print a table under a title."""
    print(f"\n{title}\n")
    print(table(rows))
