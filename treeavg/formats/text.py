"""Sentences without trees: one a line, words between blanks; or those of a treebank."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from treeavg.errors import FormatError, Problem, unknown
from treeavg.formats import limits
from treeavg.formats.base import AnyTreebank
from treeavg.formats.choosing import FORMATS, format_of
from treeavg.formats.compression import without_compression
from treeavg.formats.files import ByteSource
from treeavg.formats.reading import TreebankReader

#: How sentences can be written; ``text`` is read only where sentences are wanted, not trees.
TEXT = "text"
#: Words for each sentence of a batch, at most, all in all.
_WORDS = 20


class SentenceReader:
    r"""Reads sentences in batches: lists of words from plain text, treebanks from a treebank file.

    Parameters
    ----------
    path : str or os.PathLike
        ``-`` is standard input; ``.gz`` and ``.zst`` are decompressed.
    format : str, optional
        ``text``, or a key of `FORMATS`; by default suffix and content decide.
    encoding : str, default "utf-8"
        Of the file.
    on_error : str, default "raise"
        As for `treeavg.read`.
    batch : int, default 1000
        Sentences at once. Batches of plain text end earlier, behind the sentence that brings them to twenty words for
        each of these, so that long sentences do not take more memory.

    Raises
    ------
    FileError, FormatError, ArgumentError
        As for `treeavg.read`.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/text.txt"
    >>> _ = Path(path).write_text("the dog barks\n\nit rains\n")
    >>> list(SentenceReader(path))
    [[['the', 'dog', 'barks'], [], ['it', 'rains']]]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        encoding: str = "utf-8",
        on_error: str = "raise",
        batch: int = 1000,
    ) -> None:
        if format is not None and format != TEXT and format not in FORMATS:
            raise unknown("format", format, (TEXT, *FORMATS))
        self._reader: TreebankReader | None = None
        self._batch = batch
        self._source = ByteSource(path, encoding)  # opened once: a pipe gives its bytes once
        self.name = self._source.name
        try:
            if format != TEXT and (format is not None or not _is_text(path, self._source)):
                self._reader = TreebankReader(path, format, encoding=encoding, on_error=on_error, source=self._source)
        except BaseException:
            self._source.close()
            raise

    @property
    def fraction(self) -> float | None:
        """About how much of the file was read, between 0 and 1; None where its size is unknown."""
        return self._source.fraction

    @property
    def problems(self) -> list[Problem]:
        """What was skipped."""
        return self._reader.problems if self._reader is not None else []

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __iter__(self) -> Iterator[AnyTreebank | list[list[str]]]:
        if self._reader is not None:
            while not self._reader.done:
                yield self._reader.next(self._batch)
            return
        batch: list[list[str]] = []
        words = 0
        for line in self._lines():
            batch.append(line.split())
            words += len(batch[-1])
            if len(batch) == self._batch or words >= _WORDS * self._batch:
                yield batch
                batch, words = [], 0
        self.close()
        if batch:
            yield batch

    def _lines(self) -> Iterator[str]:
        rest, number = b"", 0
        limit = limits.longest_sentence()
        while block := self._source.read():
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                number += 1
                if limit and len(line) > limit:
                    raise limits.too_long(f"{self.name}:{number}", "line", limit)
                yield self._decoded(line, number)
            if limit and len(rest) > limit:
                raise limits.too_long(f"{self.name}:{number + 1}", "line", limit)
        if rest:
            yield self._decoded(rest, number + 1)
        elif not number:
            raise FormatError(f"{self.name}: expected sentences, got an empty file. Put one sentence on each line.")

    def _decoded(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(
                f"{self.name}:{number}:{error.start + 1}: expected UTF-8, got the byte 0x{line[error.start]:02x}. "
                "Convert the file, or pass encoding='latin-1'."
            ) from None


def read_sentences(
    path: str | os.PathLike[str], format: str | None = None, *, encoding: str = "utf-8"
) -> AnyTreebank | list[list[str]]:
    """Read all sentences of a file.

    Parameters
    ----------
    path : str or os.PathLike
        Plain text, one sentence a line, or a treebank.
    format, encoding
        As for `SentenceReader`.

    Returns
    -------
    Treebank, DependencyTreebank, or list of list of str

    Examples
    --------
    >>> read_sentences("text.txt")  # doctest: +SKIP
    [['the', 'dog', 'barks'], ['it', 'rains']]
    """
    reader = SentenceReader(path, format, encoding=encoding)
    try:
        batches = list(reader)
    finally:
        reader.close()
    words = [item for item in batches if isinstance(item, list)]
    if words:
        return [sentence for batch in words for sentence in batch]
    banks = [item for item in batches if not isinstance(item, list)]
    return type(banks[0]).concatenate(banks)  # type: ignore[arg-type]  # a file has trees of one kind


def _is_text(path: str | os.PathLike[str], source: ByteSource) -> bool:
    """Tell plain text from a treebank: by the suffix, then by the first lines."""
    plain = without_compression(path)
    if any(plain.endswith(item.suffixes) for item in FORMATS.values()):
        return False
    head = source.peek(65536)
    lines = [line for line in head.split(b"\n") if line.strip()]
    if not lines:
        return True
    if format_of(Path("trees"), head).name != "brackets":
        return False
    return not lines[0].lstrip().startswith(b"(")
