"""What workers do with a shard for each verb; each is imported by workers by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from treeavg.engine.converting import Changes, convert_stream
from treeavg.engine.stream import (
    Averaging,
    Reading,
    average_stream,
    average_target,
    open_teachers,
)
from treeavg.errors import FormatError
from treeavg.formats import AlignedReader, Columns, format_of

Writers = Mapping[str, Callable[[bytes], None]]


def average_work(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Average one shard; see `treeavg.engine.tasks.Work`.

    Parameters
    ----------
    paths : tuple of str, length K
        The teachers' files.
    options : mapping
        ``reading``, ``averaging`` (fields of these classes), ``formats`` (one a teacher), ``output_format``.
    write : mapping
        ``trees`` and perhaps ``hits``.
    first : int
        Index of the first sentence.

    Returns
    -------
    dict
        A `Summary`.
    """
    reading, averaging = reading_of(options), averaging_of(options)
    with closing(open_teachers(paths, reading, averaging, jobs=1)) as reader:
        require_formats(reader, options["formats"])
        target = average_target("-", options["output_format"], reader.kind, averaging)
        summary = average_stream(
            reader, reading, averaging, target, write["trees"], write_hits=write.get("hits"), first=first, jobs=1
        )
    return summary.as_json()


def convert_work(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Convert one shard; see `treeavg.engine.tasks.Work`.

    Parameters
    ----------
    paths : tuple of str, length 1
        The file.
    options : mapping
        ``reading``, ``changes``, ``formats``, ``output_format``.
    write : mapping
        ``trees``.
    first : int
        Index of the first sentence.

    Returns
    -------
    dict
        A `Summary`.
    """
    reading = reading_of(options)
    with closing(
        AlignedReader(paths, reading.format, encoding=reading.encoding, on_error=reading.on_error, jobs=1)
    ) as reader:
        require_formats(reader, options["formats"])
        target = format_of("-", name=options["output_format"], kind=reader.kind)
        return convert_stream(reader, Changes(**options["changes"]), target, write["trees"], first=first).as_json()


def count_work(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Count the sentences of one shard's first file; see `treeavg.engine.tasks.Work`.

    Parameters
    ----------
    paths : tuple of str, length 1
        The file.
    options : mapping
        ``reading``.
    write : mapping
        Empty.
    first : int
        Not used.

    Returns
    -------
    dict
        ``sentences``.
    """
    reading = reading_of(options)
    reader = AlignedReader(
        paths[:1], reading.format, encoding=reading.encoding, on_error=reading.on_error, jobs=1,
        columns=[Columns(tokens=False, labels=False)],
    )  # fmt: skip
    with closing(reader):
        return {"sentences": sum(len(bank) for (bank,) in reader)}


def reading_of(options: Mapping[str, Any]) -> Reading:
    """Return how a job reads.

    Parameters
    ----------
    options : mapping
        Of the job. Where all teachers' first shards are of one format, all shards are read as that, as one process
        would that read them end to end.

    Returns
    -------
    Reading
    """
    reading = Reading(**options["reading"])
    formats = set(options.get("formats", ()))
    return replace(reading, format=formats.pop()) if reading.format is None and len(formats) == 1 else reading


def averaging_of(options: Mapping[str, Any]) -> Averaging:
    """Return how a job averages.

    Parameters
    ----------
    options : mapping
        Of the job.

    Returns
    -------
    Averaging
    """
    given = dict(options["averaging"])
    weights = given.pop("weights")
    return Averaging(weights=None if weights is None else tuple(weights), **given)


def require_formats(reader: AlignedReader, formats: list[str]) -> None:
    """Raise where a shard's file is not of the format of its teacher's first shard.

    Parameters
    ----------
    reader : AlignedReader
        Of one shard.
    formats : list of str, length K
        Of the first shard.

    Raises
    ------
    FormatError
        Names the file.
    """
    for own, expected in zip(reader.readers, formats, strict=True):
        if own.format.name != expected:
            raise FormatError(
                f"{own.name}: expected the format {expected} as in the first shard, got {own.format.name} by its "
                "suffix or content. Pass --format, or mend the file."
            )
