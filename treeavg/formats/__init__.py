"""Files in and out: `read`, `scan`, `write`, and the table of formats."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from treeavg.formats.base import Columns, Format
from treeavg.formats.files import AtomicFile
from treeavg.formats.reading import BATCH, FORMATS, ON_ERROR, AlignedReader, TreebankReader, format_of
from treeavg.treebank import Treebank


def read(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    encoding: str = "utf-8",
    on_error: str = "raise",
) -> Treebank:
    """Read a treebank file.

    Parameters
    ----------
    path : str or os.PathLike
        ``-`` is standard input; a name that ends in ``.gz`` is decompressed.
    format : str, optional
        ``brackets`` (one tree a line), ``ptb`` (over several lines) or ``jsonl``. By default the suffix decides, then
        the content.
    encoding : str, default "utf-8"
        A byte-order mark of UTF-8 is dropped.
    on_error : str, default "raise"
        ``skip`` reads an erroneous line of a line-based format as a missing sentence (length 0).

    Returns
    -------
    Treebank
        With words; with labels and tags where the file has them.

    Raises
    ------
    FileError
        The path cannot be read.
    FormatError
        The content breaks the format; names line and column.
    ArgumentError
        An option is unknown.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trees.txt"
    >>> _ = path.write_text("(S (NP (DT the) (NN dog)) (VP (VBZ barks)))")
    >>> read(path)
    <Treebank: 1 sentence, 3 tokens, 2 constituents>
    """
    reader = TreebankReader(path, format, encoding=encoding, on_error=on_error)
    parts = []
    while not reader.done:
        parts.append(reader.next(16 * BATCH))
    bank = Treebank.concatenate(parts)
    if bank.tags is not None and not len(bank.tags.data):
        bank = bank.replace(tags=None)
    return bank


def write(treebank: Treebank, path: str | os.PathLike[str], format: str | None = None) -> None:
    """Write a treebank file; it appears whole or not at all.

    Parameters
    ----------
    treebank : Treebank
        Any that the format can hold.
    path : str or os.PathLike
        ``-`` is standard output; a name that ends in ``.gz`` is compressed. The folder must exist.
    format : str, optional
        As for `read`; by default the suffix decides, else ``brackets``.

    Raises
    ------
    FileError
        The path cannot be written.
    FormatError
        The format cannot hold the trees.
    ArgumentError
        The format is unknown.

    Examples
    --------
    >>> bank = Treebank.from_constituents([["the", "dog", "barks"]], [[(0, 3), (0, 2)]])
    >>> write(bank, "-", format="jsonl")  # doctest: +SKIP
    {"words": ["the", "dog", "barks"], "constituents": [[[0, 3]], [[0, 2]]]}
    """
    chosen = format_of(path, name=format)
    data = chosen.serialize(treebank)
    with AtomicFile(path) as file:
        file.write(data)


def scan(
    paths: Sequence[str | os.PathLike[str]],
    format: str | None = None,
    *,
    encoding: str = "utf-8",
    on_error: str = "raise",
    batch: int = BATCH,
    jobs: int | None = None,
) -> Iterator[list[Treebank]]:
    """Read several files side by side in batches, in bounded memory.

    Parameters
    ----------
    paths : sequence of str or os.PathLike
        Files over the same sentences; one may be ``-``, standard input.
    format, encoding, on_error
        As for `read`.
    batch : int, default 4096
        Sentences at a time. A format that is not line based (``ptb``) is read whole.
    jobs : int, optional
        Threads that read; by default one a core.

    Yields
    ------
    list of Treebank
        The same number of sentences from each file.

    Raises
    ------
    AlignmentError
        The files differ in their number of sentences.
    FileError, FormatError, ArgumentError
        As for `read`.

    Examples
    --------
    >>> for batch in scan(["a.txt", "b.txt"]):  # doctest: +SKIP
    ...     print([len(treebank) for treebank in batch])
    """
    yield from AlignedReader(paths, format, encoding=encoding, on_error=on_error, batch=batch, jobs=jobs)


__all__ = [
    "BATCH",
    "FORMATS",
    "ON_ERROR",
    "AlignedReader",
    "Columns",
    "Format",
    "TreebankReader",
    "format_of",
    "read",
    "scan",
    "write",
]
