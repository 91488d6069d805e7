"""What long work has in common: progress on a terminal, a word while kernels compile, a list of skipped sentences."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from treeavg.errors import ArgumentError, Problem, TreeavgError

if TYPE_CHECKING:
    from treeavg.formats import AlignedReader


@contextmanager
def compiling_notice() -> Iterator[None]:
    """Say on the terminal that kernels are being compiled, once, if they are."""
    if not sys.stderr.isatty():
        yield
        return
    from numba.core import event

    class Notice(event.Listener):
        """Numba sends its compile event only where the disk cache has nothing."""

        said = False

        def on_start(self, event: Any) -> None:
            if not self.said:
                self.said = True
                print("treeavg: compiling the kernels, on the first run only ...", file=sys.stderr)

        def on_end(self, event: Any) -> None:
            pass

    listener = Notice()
    event.register("numba:compile", listener)  # type: ignore[no-untyped-call]  # Numba has no types
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)  # type: ignore[no-untyped-call]


class Progress:
    """A bar of sentences on standard error, only on a terminal (elsewhere tqdm would still start its monitor)."""

    def __init__(self, description: str) -> None:
        self._bar: Any = None
        self._done = 0
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(desc=description, unit=" sentences", leave=False, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, sentences: int, reader: AlignedReader) -> None:
        """Count sentences as done; the total is estimated from the share of the first file that was read."""
        self.advance(sentences, reader.readers[0].fraction)

    def advance(self, sentences: int, fraction: float | None) -> None:
        """Count sentences as done; the total is estimated from the share of the file that was read."""
        if self._bar is None:
            return
        self._done += sentences
        if fraction:
            self._bar.total = max(self._done, round(self._done / fraction))
        self._bar.update(sentences)


@contextmanager
def sentences_of(name: str, first: int) -> Iterator[None]:
    """Name sentences of a batch by file and number in messages of what knows only the batch."""
    try:
        yield
    except TreeavgError as error:
        text = re.sub(
            r"^(?:treebank|sentences)\[(\d+)\]",
            lambda match: f"{name}: sentence {first + int(match[1]) + 1}",
            str(error),
        )
        if text == str(error):
            raise
        raise type(error)(text) from None


def report_problems(problems: Iterable[Problem], total: int) -> list[Problem]:
    """Print what was skipped, one line a sentence, and return it."""
    first: dict[int, Problem] = {}
    for problem in problems:
        first.setdefault(problem.sentence, problem)
    listed = [first[sentence] for sentence in sorted(first)]
    if listed:
        print(f"treeavg: skipped {len(listed):,} of {total:,} sentences:", file=sys.stderr)
        for problem in listed:
            print(f"  sentence {problem.sentence + 1}: {problem.message}", file=sys.stderr)
    return listed


def refuse_json_on_stdout(arguments: argparse.Namespace) -> None:
    """Raise where trees and the JSON summary would both go to standard output."""
    if arguments.json and arguments.output == "-":
        raise ArgumentError("--json: expected a file for the trees, got standard output for both. Pass -o FILE.")


def short_names(paths: list[str]) -> list[str]:
    """Return the shortest file names that tell the paths apart."""
    names = [_without_suffix(os.path.basename(path)) for path in paths]
    return names if len(set(names)) == len(names) else unique(paths)


def unique(names: list[str]) -> list[str]:
    """Return names with a number behind those that were there before."""
    counts: dict[str, int] = {}
    result = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        result.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return result


def _without_suffix(name: str) -> str:
    stem = os.path.splitext(name.removesuffix(".gz"))[0]
    return stem or name
