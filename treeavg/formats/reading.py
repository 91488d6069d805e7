"""Readers that hand out sentences in batches, of one file or of several side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from treeavg.errors import AlignmentError, ArgumentError, FormatError, Problem, quote, unknown
from treeavg.formats import limits
from treeavg.formats.base import AnyTreebank, Chunk, Columns, Format
from treeavg.formats.choosing import FORMATS, format_of
from treeavg.formats.feeds import Blocks, Feed, LineFeed, SentenceFeed
from treeavg.formats.files import ByteSource
from treeavg.formats.jsonl import unlike
from treeavg.formats.parquet import PARQUET, TableBatches, refuse_table
from treeavg.jobs import worker_count
from treeavg.treebank import Treebank

#: Sentences in a batch of `scan`: a few megabytes of text from each teacher.
BATCH = 4096

ON_ERROR = ("raise", "skip")


class Batches(Protocol):
    """Sentences of one file, batch by batch."""

    @property
    def done(self) -> bool:
        """Whether every sentence was handed out."""

    @property
    def fraction(self) -> float | None:
        """About how much of the file was read, between 0 and 1; None where its size is unknown."""

    def next(self, count: int) -> AnyTreebank:
        """Return the next `count` sentences, fewer at the end of the file."""

    def close(self) -> None:
        """Close the file, before its end or at it."""


class TreebankReader:
    """Reads a file in batches of sentences.

    Parameters
    ----------
    path : str or os.PathLike
        ``-`` is standard input; ``.gz`` and ``.zst`` are decompressed.
    format : str, optional
        A key of `FORMATS`; by default suffix and content decide.
    encoding : str, default "utf-8"
        Of text.
    on_error : str, default "raise"
        ``skip`` turns an erroneous line into a missing sentence and keeps its message in `problems`.
    columns : Columns
        Which strings are needed.
    source : ByteSource, optional
        The file, where it was opened before.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        encoding: str = "utf-8",
        on_error: str = "raise",
        columns: Columns | None = None,
        source: ByteSource | None = None,
    ) -> None:
        if on_error not in ON_ERROR:
            raise unknown("on_error", on_error, ON_ERROR)
        if format is not None and format not in FORMATS:
            raise unknown("format", format, FORMATS)
        self.problems: list[Problem] = []
        source = source if source is not None else ByteSource(path, encoding)
        self.name = source.name
        wanted = columns or Columns()
        self._batches: Batches
        try:
            blocks = Blocks(source)
            blocks.load()
            blocks.drop_blanks()
            if not blocks.waiting:
                raise _empty(self.name)
            head = blocks.head()
            self.format = format_of(path, head, format)
            if self.format.name == PARQUET.name:
                source.close()
                table = TableBatches(path, wanted, on_error == "skip", self.problems)
                self.format, self._batches = replace(self.format, kind=table.kind), table
            else:
                refuse_table(self.name, head, self.format.name)
                self._batches = TextBatches(source, blocks, self.format, wanted, on_error == "skip", self.problems)
        except BaseException:
            source.close()
            raise

    @property
    def fraction(self) -> float | None:
        """About how much of the file was read, between 0 and 1; None where its size is unknown."""
        return self._batches.fraction

    @property
    def done(self) -> bool:
        """Whether every sentence was handed out."""
        return self._batches.done

    def close(self) -> None:
        """Close the file before its end."""
        self._batches.close()

    def next(self, count: int) -> AnyTreebank:
        """Return the next `count` sentences, fewer at the end of the file; an error closes the file."""
        try:
            return self._batches.next(count)
        except BaseException:
            self.close()
            raise


class TextBatches:
    """Batches of a text file.

    Parameters
    ----------
    source : ByteSource
        The file.
    blocks : Blocks
        Its beginning.
    format : Format
        How to parse it.
    columns : Columns
        Which strings are needed.
    skip : bool
        Whether erroneous sentences are passed over.
    problems : list of Problem
        Receives what was.
    """

    def __init__(
        self,
        source: ByteSource,
        blocks: Blocks,
        format: Format,
        columns: Columns,
        skip: bool,
        problems: list[Problem],
    ) -> None:
        self._source = source
        self._format = format
        self._columns, self._skip, self._problems = columns, skip, problems
        self._feed: Feed = LineFeed(blocks) if format.cutter is None else SentenceFeed(blocks, format.cutter())
        self._line, self._sentence = 1, 0
        self._ahead: AnyTreebank | None = None  # sentences that stood on one line with those handed out
        self._memory: dict[str, Any] = {}
        self._model: tuple[bool, bool] | None = None

    @property
    def fraction(self) -> float | None:
        """See `Batches`."""
        return self._source.fraction

    @property
    def done(self) -> bool:
        """See `Batches`."""
        return self._feed.done and self._ahead is None

    def close(self) -> None:
        """See `Batches`."""
        self._feed.drop()
        self._ahead = None
        self._source.close()

    def next(self, count: int) -> AnyTreebank:
        """See `Batches`."""
        bank, self._ahead = self._ahead, None
        have = len(bank) if bank is not None else 0
        if bank is None:
            bank = self._parse(self._feed.take(count))
        elif have < count and not self._feed.done:
            more = self._parse(self._feed.take(count - have))
            bank = type(more).concatenate([bank, more])  # type: ignore[list-item]  # a file has trees of one kind
        if len(bank) > count:
            self._ahead, bank = bank[count:], bank[:count]
        return bank

    def _parse(self, data: bytearray) -> AnyTreebank:
        chunk = Chunk(
            np.frombuffer(data, np.uint8), self._source.name, self._line, self._sentence, self._columns, self._skip,
            self._memory,
        )  # fmt: skip
        bank, problems = self._format.parse(chunk)
        if not len(bank) and not self._sentence:
            raise _empty(self._source.name)
        self._problems.extend(problems)
        limits.refuse_unspelt(self._place, bank.lengths, len(data))
        if isinstance(bank, Treebank) and bank.token_count:
            model = (bank.tokens is not None, bank.labels is not None)
            self._model = self._model or model
            for key, before, here in zip(("words", "labels"), self._model, model, strict=True):
                if before != here:
                    line = self._line + int(np.argmax(bank.lengths > 0))
                    raise FormatError(f"{self._source.name}:{line}: {unlike(key, here)}")
        self._line += len(bank) if self._format.line_based else data.count(b"\n")
        self._sentence += len(bank)
        return bank

    def _place(self, sentence: int) -> str:
        return f"{self._source.name}: sentence {self._sentence + sentence + 1}"


def _empty(name: str) -> FormatError:
    return FormatError(f"{name}: expected at least one tree, got an empty file. Check what wrote it.")


class AlignedReader:
    """Reads several files over the same sentences side by side, batch by batch.

    Iterate over it for lists of treebanks, one from each file. The next batch is read by threads while the caller works
    on this one.

    Parameters
    ----------
    paths, format, encoding, on_error, batch, jobs
        As for `scan`.
    columns : sequence of Columns, optional
        One a path: which strings are needed.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        format: str | None = None,
        *,
        encoding: str = "utf-8",
        on_error: str = "raise",
        batch: int = BATCH,
        jobs: int | None = None,
        columns: Sequence[Columns] | None = None,
    ) -> None:
        if not paths:
            raise ArgumentError("paths: expected at least one file, got none. Name the files.")
        if [os.fspath(path) for path in paths].count("-") > 1:
            raise ArgumentError("paths: expected '-' (standard input) at most once, got it twice. Name files.")
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise ArgumentError(f"batch: expected a whole number of sentences, at least 1, got {quote(batch)}.")
        self._workers = worker_count(jobs)
        self._batch = batch
        self.readers: list[TreebankReader] = []
        try:
            for path, wanted in zip(paths, columns or [Columns()] * len(paths), strict=True):
                self.readers.append(TreebankReader(path, format, encoding=encoding, on_error=on_error, columns=wanted))
            self._refuse_mixture()
        except BaseException:
            self.close()
            raise
        #: Sentences handed out so far.
        self.done = 0

    @property
    def kind(self) -> str:
        """What all files hold, ``constituency`` or ``dependency`` trees."""
        return self.readers[0].format.kind

    def _refuse_mixture(self) -> None:
        for reader in self.readers:
            if reader.format.kind != self.kind:
                raise AlignmentError(
                    f"{reader.name}: expected {self.kind} trees as in {self.readers[0].name}, got {reader.format.kind} "
                    f"trees ({reader.format.name}). Name files of one kind."
                )

    @property
    def problems(self) -> list[Problem]:
        """What ``on_error="skip"`` passed over so far, in order of sentences."""
        return sorted((item for reader in self.readers for item in reader.problems), key=lambda item: item.sentence)

    def close(self) -> None:
        """Close all files."""
        for reader in self.readers:
            reader.close()

    def __iter__(self) -> Iterator[list[Any]]:
        try:
            yield from self._batches()
        finally:
            self.close()

    def _batches(self) -> Iterator[list[Any]]:
        with ThreadPoolExecutor(self._workers) as pool:
            ahead = [pool.submit(reader.next, self._batch) for reader in self.readers]
            while True:
                banks = [future.result() for future in ahead]
                counts = [len(bank) for bank in banks]
                ended = [reader.done for reader in self.readers]
                if len(set(counts)) > 1 or len(set(ended)) > 1:
                    self._raise_if_unequal([self.done + count for count in counts])
                if not all(ended):
                    ahead = [pool.submit(reader.next, self._batch) for reader in self.readers]
                self.done += counts[0]
                yield banks
                if all(ended):
                    return

    def _raise_if_unequal(self, counts: list[int]) -> None:
        """Read the rest to tell how many sentences each file has."""
        for index, reader in enumerate(self.readers):
            while not reader.done:
                counts[index] += len(reader.next(self._batch))
        least, most = min(counts), max(counts)
        short, long = self.readers[counts.index(least)].name, self.readers[counts.index(most)].name
        raise AlignmentError(
            f"{short}: expected {most} sentences as in {long}, got {least}. All files must hold the same sentences in "
            "the same order; keep the place of a missing one by an empty line and pass on_error='skip'."
        )
