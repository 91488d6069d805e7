"""One round of inputs for one reader, in a process of its own: ``NAME MODE ROUND COUNT WORK SEED``.

``instrumented``: atheris looks for inputs that reach new code, in the readers as plain Python; what it finds is kept in
a corpus. ``compiled`` and ``bounds``: changes of the corpus at full speed, the latter with every index checked.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .board import Board
from .mutations import PIECES
from .records import keep_failure
from .wrapped import Choices, guided_seeds, maker_of, unguided


class Trial:
    """Tries inputs one after another, says where it is, keeps those that fail.

    Parameters
    ----------
    target : object
        With ``name`` and ``failure(data, blocks=...)``.
    board : Board
    failures : pathlib.Path
        Folder of inputs that fail.
    uncounted : int, default 0
        Inputs at the beginning that are no new ones.
    """

    def __init__(self, target: Any, board: Board, failures: Path, uncounted: int = 0) -> None:
        self._target, self._board, self._failures = target, board, failures
        self._done, self._accepted, self._failed = -uncounted, 0, 0

    def __call__(self, data: bytes) -> None:
        self._board.write(max(0, self._done), self._accepted, self._failed, data)
        accepted, wrong = self._target.failure(data, blocks=self._done % 8 == 0)
        if wrong is not None and wrong.startswith("took"):  # perhaps a kernel was compiled: once more
            accepted, wrong = self._target.failure(data, blocks=False)
        self._done += 1
        if self._done > 0:
            self._accepted += accepted
        if wrong is not None:
            self._failed += 1
            keep_failure(self._failures, self._target.name, signature(wrong), wrong, data)

    def finish(self) -> None:
        """Say that the round is over."""
        self._board.write(max(0, self._done), self._accepted, self._failed, b"")


def signature(wrong: str) -> str:
    """Return a short name for a kind of failure: its words, and where it was raised."""
    words = re.sub(r"'[^']*'|\"[^\"]*\"|[0-9]+|\\x..", "", wrong.split("\n")[0])[:60]
    return hashlib.sha256((words + wrong.split("\n")[-1]).encode(errors="replace")).hexdigest()[:10]


def main(argv: list[str]) -> None:
    """Run the round."""
    name, mode, number, count, work, seed = argv
    folder, rounds = Path(work), f"{seed}/{name}/{mode}/{number}"
    corpus = folder / "corpus" / name
    with Board(folder / "boards" / f"{name}.board", fresh=False) as board:
        if mode == "instrumented":
            instrumented(name, int(count), corpus, folder, board, rounds)
        else:
            target = make_target(name, folder)
            known = [path.read_bytes() for path in sorted(corpus.iterdir())]
            found, translated = guided_corpus(name, corpus, target)
            if found != corpus:
                known += [translated(path.read_bytes()) for path in sorted(found.iterdir())]
            generator = random.Random(rounds)
            trial = Trial(target, board, folder / "failures")
            good = [data for data in known if target.failure(data, blocks=False)[0]]
            make: Callable[..., bytes] = getattr(target, "random_input", maker_of(name))
            for _ in range(int(count)):
                trial(make(generator, known, good))
            trial.finish()


def make_target(name: str, folder: Path) -> Any:
    """Return what is fuzzed under a name."""
    place = folder / "files" / name
    place.mkdir(parents=True, exist_ok=True)
    if name == "command-line":
        from .command_line_target import CommandLine

        return CommandLine(place)
    from .readers import Reader

    return Reader(name, place)


def instrumented(name: str, count: int, corpus: Path, folder: Path, board: Board, rounds: str) -> None:
    """Let atheris make inputs; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["treeavg", "parsers.base", "parsers.json_files", "parsers.heuristics"]):
        for module in treeavg_modules(everything=name == "command-line"):
            importlib.import_module(module)
    words = folder / "pieces.dict"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in piece) + '"\n' for piece in PIECES))
    target = make_target(name, folder)
    if name == "command-line":
        target.trains = False
    np.seterr(over="ignore")  # of hashes; kernels that are not compiled would warn
    corpus, translated = guided_corpus(name, corpus, target)
    known = len(list(corpus.iterdir()))
    trial = Trial(target, board, folder / "failures", uncounted=known + 1)
    left = [count + known + 1]

    def once(data: bytes) -> None:
        trial(translated(data))
        left[0] -= 1
        if left[0] <= 0:
            trial.finish()

    number = int(hashlib.sha256(rounds.encode()).hexdigest()[:8], 16) % (2**31 - 1) + 1
    options = {"runs": left[0], "seed": number, "max_len": 600, "len_control": 0, "dict": words, "timeout": 120,
               "rss_limit_mb": 4096, "verbosity": 0, "artifact_prefix": f"{folder / 'files'}/"}  # fmt: skip
    atheris.Setup(["fuzz", *(f"-{key}={value}" for key, value in options.items()), str(corpus)], once)
    atheris.Fuzz()


def treeavg_modules(*, everything: bool) -> list[str]:
    """Return the modules that are looked into: of readers, or all but those that load torch or Dask."""
    if not everything:
        return ["treeavg.averaging.hits_file", "treeavg.cli.options", "treeavg.formats.text"]
    import treeavg

    found = [module.name for module in pkgutil.walk_packages(treeavg.__path__, "treeavg.") if not module.ispkg]
    return [name for name in found if not re.search(r"distill|cluster|__main__|parse|fit$|training", name)]


def guided_corpus(name: str, corpus: Path, target: Any) -> tuple[Path, Callable[[bytes], bytes]]:
    """Return where atheris keeps what it found for a target, and what makes an input of its bytes."""
    begin = guided_seeds(name)
    if begin is None:
        return corpus, lambda data: data
    good = [path.read_bytes() for path in sorted(corpus.iterdir())]
    own = corpus.with_name(f"{name}-guided")
    own.mkdir(exist_ok=True)
    for data in begin:
        (own / hashlib.sha1(data).hexdigest()).write_bytes(data)
    if name == "command-line":
        return own, lambda data: target.random_input(Choices(data), (), ())
    return own, lambda data: unguided(name, data, good)


if __name__ == "__main__":
    main(sys.argv[1:])
