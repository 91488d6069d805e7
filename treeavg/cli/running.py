"""What long work has in common: progress on a terminal, a word while kernels compile, a list of skipped sentences."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from treeavg.errors import ArgumentError, Problem
from treeavg.memory import resident_memory

if TYPE_CHECKING:
    from treeavg.engine.stream import Reading
    from treeavg.engine.summary import Summary
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
    """Tells how long work goes: a bar on a terminal, one JSON object a line for ``--log-json``, else nothing.

    Parameters
    ----------
    stage : str
        What is being done: ``averaging``.
    arguments : argparse.Namespace, optional
        Of the verb: its name, and where the log goes.
    clock : callable
        Seconds, increasing.
    """

    def __init__(
        self,
        stage: str,
        arguments: argparse.Namespace | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pace = Pace(clock)
        self._bar: Any = None
        self._log = Log.of(arguments, stage, clock)
        if sys.stderr.isatty():  # elsewhere tqdm would still start its monitor
            from tqdm import tqdm

            self._bar = tqdm(desc=stage, unit=" sentences", leave=False, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._log is not None:
            self._log.end(self._pace, kind is None)

    def update(self, sentences: int, reader: AlignedReader) -> None:
        """Count sentences as done; the total is estimated from the share of the first file that was read."""
        self.advance(sentences, reader.readers[0].fraction)

    def advance(self, sentences: int, fraction: float | None) -> None:
        """Count sentences as done; the total is estimated from the share of the file that was read."""
        self._pace.advance(sentences, fraction)
        if self._log is not None:
            self._log.tell(self._pace)
        if self._bar is not None:
            self._bar.total = self._pace.total
            self._bar.set_postfix_str(f"{resident_memory() / 2**20:,.0f} MB", refresh=False)
            self._bar.update(sentences)


def watched(reader: AlignedReader, stage: str, arguments: argparse.Namespace) -> Iterator[list[Any]]:
    """Yield the batches of a reader and tell how far it is."""
    with Progress(stage, arguments) as progress:
        for batch in reader:
            yield batch
            progress.update(len(batch[0]), reader)


class Pace:
    """How fast work goes, and what is left of it.

    Parameters
    ----------
    clock : callable
        Seconds, increasing.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = clock()
        self.done = 0
        self.fraction: float | None = None

    def advance(self, sentences: int, fraction: float | None) -> None:
        """Count sentences as done."""
        self.done += sentences
        if fraction:
            self.fraction = min(1.0, fraction)

    @property
    def total(self) -> int | None:
        """About how many sentences there are in all."""
        return max(self.done, round(self.done / self.fraction)) if self.fraction else None

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._begun

    @property
    def rate(self) -> float | None:
        """Sentences a second."""
        return self.done / self.seconds if self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Until the end, if the rest goes as fast."""
        return self.seconds * (1 / self.fraction - 1) if self.fraction else None


#: Seconds between lines of a log.
LOG_EVERY = 5.0


class Log:
    """Lines of JSON about long work.

    Parameters
    ----------
    path : str
        A file, which is appended to; ``-`` is standard error.
    verb, stage : str
        What is being done.
    clock : callable
        Seconds, increasing.
    """

    def __init__(self, path: str, verb: str, stage: str, clock: Callable[[], float]) -> None:
        self._path, self._verb, self._stage, self._clock = path, verb, stage, clock
        self._next = clock() + LOG_EVERY
        self._write("")  # so that a file that cannot be written is known before the work

    @classmethod
    def of(cls, arguments: argparse.Namespace | None, stage: str, clock: Callable[[], float]) -> Log | None:
        """Return the log that the options ask for, if they do."""
        path = getattr(arguments, "log_json", None)
        return None if path is None else cls(path, str(getattr(arguments, "verb", "")), stage, clock)

    @property
    def due(self) -> bool:
        """Whether the last line is long enough ago."""
        if self._clock() < self._next:
            return False
        self._next = self._clock() + LOG_EVERY
        return True

    def tell(self, pace: Pace) -> None:
        """Write a line, if one is due."""
        if self.due:
            self._line(pace, "running")

    def end(self, pace: Pace, good: bool) -> None:
        """Write the last line."""
        self._line(pace, "done" if good else "stopped")

    def _line(self, pace: Pace, state: str) -> None:
        self.record(state, {
            "done": pace.done,
            "total": pace.total,
            "fraction": _rounded(pace.fraction, 6),
            "seconds": _rounded(pace.seconds, 3),
            "per_second": _rounded(pace.rate, 1),
            "seconds_left": _rounded(0.0 if state == "done" else pace.seconds_left, 1),
        })  # fmt: skip

    def record(self, state: str, values: Mapping[str, Any]) -> None:
        """Write a line of these values, with time, verb, stage, state and memory."""
        time_now = datetime.now(UTC).isoformat(timespec="milliseconds")
        shared = {"time": time_now, "verb": self._verb, "stage": self._stage, "state": state}
        self._write(json.dumps({**shared, **values, "rss_bytes": resident_memory()}) + "\n")

    def _write(self, text: str) -> None:
        if self._path == "-":
            sys.stderr.write(text)
            sys.stderr.flush()
            return
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            from treeavg.formats.files import explain

            raise explain(self._path, "write", error) from None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def add_log(parser: argparse.ArgumentParser) -> None:
    """Add the log for machines."""
    parser.add_argument(
        "--log-json", metavar="[=FILE]",
        help="tell of progress by a line of JSON every few seconds, on standard error or in FILE",
    )  # fmt: skip


def join_log(argv: list[str]) -> list[str]:
    """Return the arguments with a bare ``--log-json`` as ``--log-json=-``: no file name behind it belongs to it.

    Examples
    --------
    >>> join_log(["average", "--log-json", "a.txt", "--", "--log-json"])
    ['average', '--log-json=-', 'a.txt', '--', '--log-json']
    """
    end = argv.index("--") if "--" in argv else len(argv)
    return ["--log-json=-" if word == "--log-json" and place < end else word for place, word in enumerate(argv)]


@contextmanager
def optional_file(path: str | None) -> Iterator[Callable[[bytes], None] | None]:
    """Open a second output, if there is one; yield what takes its bytes."""
    if path is None:
        yield None
        return
    from treeavg.formats.files import AtomicFile

    with AtomicFile(path) as file:
        yield file.write


def sentences_of(name: str, first: int) -> AbstractContextManager[None]:
    """Name sentences of a batch by file and number in messages of what knows only the batch."""
    from treeavg.engine.stream import sentences_of as named

    return named(name, first)


def report_summary(summary: Summary) -> None:
    """Print what was skipped, emptied, or not proved, once, with sentences counted over the whole text."""
    report_problems(summary.problems, summary.sentences)
    if summary.emptied:
        print(f"treeavg: {summary.emptied:,} sentences lost all their tokens and are empty lines now.", file=sys.stderr)
    if summary.unproved:
        print(
            f"treeavg: the best tree found is not proved best in {len(summary.unproved):,} of {summary.sentences:,}:",
            file=sys.stderr,
        )
        for sentence, gap in summary.unproved:
            print(f"  sentence {sentence + 1}: at most {gap:.4g} below the best", file=sys.stderr)


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


def reading_of(arguments: argparse.Namespace) -> Reading:
    """Return how files are read."""
    from treeavg.engine.stream import Reading

    checked = getattr(arguments, "check_tokens", False)
    return Reading(arguments.format, arguments.encoding, arguments.on_error, checked)


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
    stem = os.path.splitext(name.removesuffix(".gz").removesuffix(".zst"))[0]
    return stem or name
