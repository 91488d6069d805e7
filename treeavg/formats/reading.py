"""Readers that hand out sentences in batches, of one file or of several side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from treeavg.errors import AlignmentError, ArgumentError, FormatError, Problem, quote, unknown
from treeavg.formats.base import AnyTreebank, Chunk, Columns
from treeavg.formats.choosing import FORMATS, format_of
from treeavg.formats.files import BLOCK, ByteSource
from treeavg.formats.jsonl import unlike
from treeavg.jobs import worker_count
from treeavg.treebank import Treebank

#: Sentences in a batch of `scan`: a few megabytes of text from each teacher.
BATCH = 4096

ON_ERROR = ("raise", "skip")

_BLANKS = b" \t\r\v\f"


class TreebankReader:
    """Reads a file in batches of sentences.

    Parameters
    ----------
    path : str or os.PathLike
        ``-`` is standard input; ``.gz`` is decompressed.
    format : str, optional
        A key of `FORMATS`; by default suffix and content decide.
    encoding : str, default "utf-8"
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
        self._source = source if source is not None else ByteSource(path, encoding)
        self.name = self._source.name
        self._skip = on_error == "skip"
        self._columns = columns or Columns()
        self._line, self._sentence = 1, 0
        self._lines = 0  # line ends in the blocks that wait
        self._blocks: list[bytes] = []
        self._ended = False
        self._whole: AnyTreebank | None = None
        self._given = 0  # sentences of it that were handed out
        self._size = BLOCK
        self._model: tuple[bool, bool] | None = None
        try:
            self._load()
            self._drop_blanks()
        except BaseException:
            self.close()
            raise
        if not self._blocks:
            raise self._empty()
        self.format = format_of(path, self._blocks[0][:65536], format)

    @property
    def fraction(self) -> float | None:
        """About how much of the file was read, between 0 and 1; None where its size is unknown."""
        return self._source.fraction

    @property
    def done(self) -> bool:
        """Whether every sentence was handed out."""
        return self._ended and not self._blocks and (self._whole is None or self._given >= len(self._whole))

    def _load(self) -> None:
        block = self._source.read(self._size)
        if block:
            self._blocks.append(block)
            # By NumPy, which releases the GIL while it counts.
            self._lines += int(np.count_nonzero(np.frombuffer(block, np.uint8) == 10))
        else:
            self._ended = True
            self._source.close()

    def _drop_blanks(self) -> None:
        """Read on until there is more than blanks, or the end: then they go, as the rest of a line does."""
        while not any(block[0] not in _BLANKS or block.strip(_BLANKS) for block in self._blocks):
            if self._ended:
                self._blocks = []
                return
            self._load()

    def _empty(self) -> FormatError:
        return FormatError(f"{self.name}: expected at least one tree, got an empty file. Check what wrote it.")

    def close(self) -> None:
        """Close the file before its end."""
        self._ended, self._blocks, self._whole = True, [], None
        self._source.close()

    def next(self, count: int) -> AnyTreebank:
        """Return the next `count` sentences, fewer at the end of the file; an error closes the file."""
        try:
            return self._next(count)
        except BaseException:
            self.close()
            raise

    def _next(self, count: int) -> AnyTreebank:
        if not self.format.line_based:
            if self._whole is None:
                while not self._ended:
                    self._load()
                self._whole = self._parse(bytearray().join(self._blocks))
                self._blocks = []
                if not len(self._whole):
                    raise self._empty()
            begin, self._given = self._given, self._given + count
            return self._whole[begin : self._given]
        while self._lines < count and not self._ended:
            self._load()
        data = bytearray().join(self._blocks)
        self._blocks = []
        enough = self._lines >= count
        self._lines -= min(count, self._lines)
        if enough:
            cut = int(np.flatnonzero(np.frombuffer(data, np.uint8) == 10)[count - 1]) + 1
            self._blocks = [bytes(data[cut:])] if cut < len(data) else []
            data = data[:cut]
            self._size = max(BLOCK, cut + cut // 16)
        self._drop_blanks()  # so that `done` is known
        return self._parse(data)

    def _parse(self, data: bytearray) -> AnyTreebank:
        chunk = Chunk(np.frombuffer(data, np.uint8), self.name, self._line, self._sentence, self._columns, self._skip)
        bank, problems = self.format.parse(chunk)
        self.problems.extend(problems)
        if isinstance(bank, Treebank) and bank.token_count:
            model = (bank.tokens is not None, bank.labels is not None)
            self._model = self._model or model
            for key, before, here in zip(("words", "labels"), self._model, model, strict=True):
                if before != here:
                    line = self._line + int(np.argmax(bank.lengths > 0))
                    raise FormatError(f"{self.name}:{line}: {unlike(key, here)}")
        self._line += len(bank) if self.format.line_based else data.count(b"\n")
        self._sentence += len(bank)
        return bank


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
