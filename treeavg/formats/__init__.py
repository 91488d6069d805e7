"""Files in and out: `read`, `scan`, `write`, and the table of formats."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal, overload

from treeavg.dependency import DependencyTreebank
from treeavg.formats.base import AnyTreebank, Columns, Format
from treeavg.formats.choosing import FORMATS, format_of, kind_of
from treeavg.formats.files import AtomicFile
from treeavg.formats.reading import BATCH, ON_ERROR, AlignedReader, TreebankReader
from treeavg.treebank import Treebank


@overload
def read(
    path: str | os.PathLike[str], format: Literal["conllu", "heads"], *, encoding: str = ..., on_error: str = ...
) -> DependencyTreebank: ...


@overload
def read(
    path: str | os.PathLike[str],
    format: Literal["brackets", "ptb", "jsonl", "discbracket", "export"],
    *,
    encoding: str = ...,
    on_error: str = ...,
) -> Treebank: ...


@overload  # either, by the file; a union would make each caller ask which
def read(
    path: str | os.PathLike[str], format: str | None = None, *, encoding: str = ..., on_error: str = ...
) -> Any: ...


def read(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    encoding: str = "utf-8",
    on_error: str = "raise",
) -> AnyTreebank:
    """Read a treebank file.

    Parameters
    ----------
    path : str or os.PathLike
        ``-`` is standard input; a name that ends in ``.gz`` or ``.zst`` is decompressed.
    format : str, optional
        ``brackets`` (one tree a line), ``ptb`` (over several lines), ``jsonl``, ``discbracket``, ``export``,
        ``conllu``, ``heads`` or ``parquet``. By default the suffix decides, then the content.
    encoding : str, default "utf-8"
        A byte-order mark of UTF-8 is dropped.
    on_error : str, default "raise"
        ``skip`` reads an erroneous sentence as a missing one (length 0), except in ``ptb``.

    Returns
    -------
    Treebank or DependencyTreebank
        By the format: ``conllu`` and ``heads`` hold dependency trees, ``parquet`` either kind. With words, labels,
        tags, relations, where the file has them.

    Raises
    ------
    FileError
        The path cannot be read.
    FormatError
        The content breaks the format; names line and column.
    LimitError
        A line or sentence is longer than 64 MiB, or compressed data expands beyond measure; the message names the
        environment variable that lifts the limit.
    ArgumentError
        An option is unknown, or a package for the format is not installed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trees.txt"
    >>> _ = path.write_text("(S (NP (DT the) (NN dog)) (VP (VBZ barks)))")
    >>> read(path)
    <Treebank: 1 sentence, 3 tokens, 2 constituents>
    """
    reader = TreebankReader(path, format, encoding=encoding, on_error=on_error)
    parts: list[Any] = []
    while not reader.done:
        parts.append(reader.next(16 * BATCH))
    if reader.format.kind == "dependency":
        return DependencyTreebank.concatenate(parts)
    bank = Treebank.concatenate(parts)
    if bank.tags is not None and not len(bank.tags.data):
        bank = bank.replace(tags=None)
    return bank


def write(treebank: AnyTreebank, path: str | os.PathLike[str], format: str | None = None) -> None:
    """Write a treebank file; it appears whole or not at all.

    Parameters
    ----------
    treebank : Treebank or DependencyTreebank
        Any that the format can hold.
    path : str or os.PathLike
        ``-`` is standard output; a name that ends in ``.gz`` or ``.zst`` is compressed. The folder must exist.
    format : str, optional
        As for `read`; by default the suffix decides, else ``brackets``, or ``heads`` for dependency trees.

    Raises
    ------
    FileError
        The path cannot be written.
    FormatError
        The format cannot hold the trees; names those that can hold this kind.
    ArgumentError
        The format is unknown.

    Examples
    --------
    >>> bank = Treebank.from_constituents([["the", "dog", "barks"]], [[(0, 3), (0, 2)]])
    >>> write(bank, "-", format="jsonl")  # doctest: +SKIP
    {"words": ["the", "dog", "barks"], "constituents": [[[0, 3]], [[0, 2]]]}
    """
    chosen = format_of(path, name=format, kind=kind_of(treebank))
    data = chosen.serialize(treebank)  # before the file is touched
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
) -> Iterator[list[Any]]:
    """Read several files side by side in batches, in bounded memory.

    Parameters
    ----------
    paths : sequence of str or os.PathLike
        Files over the same sentences; one may be ``-``, standard input.
    format, encoding, on_error
        As for `read`.
    batch : int, default 4096
        Sentences at a time.
    jobs : int, optional
        Threads that read; by default one a core.

    Yields
    ------
    list of Treebank or of DependencyTreebank
        The same number of sentences from each file, all of one kind.

    Raises
    ------
    AlignmentError
        The files differ in their number of sentences or in the kind of their trees.
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
    "AnyTreebank",
    "Columns",
    "Format",
    "TreebankReader",
    "format_of",
    "kind_of",
    "read",
    "scan",
    "write",
]
