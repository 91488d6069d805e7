"""Streams through files in bounded memory: what a verb does with each batch, in one process and in workers alike."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from treeavg.alignment import Places, align
from treeavg.averaging.average import average
from treeavg.averaging.weights import whole_weights
from treeavg.engine.summary import Summary
from treeavg.errors import ArgumentError, SearchLimitWarning, TreeavgError
from treeavg.formats import AlignedReader, Columns, Format, format_of
from treeavg.formats.compression import without_compression

Write = Callable[[bytes], None]
#: Called after each batch with its number of sentences and the share of the input that was read, if that is known.
Advance = Callable[[int, "float | None"], None]


def no_advance(sentences: int, fraction: float | None) -> None:
    """Tell nobody.

    Parameters
    ----------
    sentences : int
        Done since the last call.
    fraction : float or None
        Share of the input that was read.
    """


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Parameters
    ----------
    format : str, optional
        By default each file's suffix and content decide.
    encoding : str, default "utf-8"
    on_error : str, default "raise"
        ``raise`` or ``skip``.
    check_tokens : bool, default False
        Require equal words.
    """

    format: str | None = None
    encoding: str = "utf-8"
    on_error: str = "raise"
    check_tokens: bool = False


@dataclass(frozen=True)
class Averaging:
    """What `treeavg.average` is to do, in values that JSON can hold.

    Parameters
    ----------
    weights : tuple of str, optional
        Exact decimal numbers, one a teacher.
    method, binary, objective, beta, threshold, projective, labels, support
        As for `treeavg.average`.
    """

    weights: tuple[str, ...] | None = None
    method: str = "generate"
    binary: bool = True
    objective: str = "hits"
    beta: float = 1.0
    threshold: float = 0.5
    projective: bool = True
    labels: str = "none"
    support: bool = False

    @property
    def exact_weights(self) -> list[Any] | None:
        """The weights as numbers."""
        return None if self.weights is None else [_number(text) for text in self.weights]

    @property
    def keywords(self) -> dict[str, Any]:
        """Those of `treeavg.average`, without the weights."""
        return {name: value for name, value in asdict(self).items() if name != "weights"}


def _number(text: str) -> Any:
    try:
        return Decimal(text)
    except InvalidOperation:
        return float(text)


@contextmanager
def sentences_of(name: str, first: int) -> Iterator[None]:
    """Name sentences of a batch by file and number in messages of what knows only the batch.

    Parameters
    ----------
    name : str
        The file.
    first : int
        Index of the batch's first sentence in it.

    Examples
    --------
    >>> with sentences_of("a.txt", 100):
    ...     raise ArgumentError("treebank[4]: expected words, got none.")
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: a.txt: sentence 105: expected words, got none.
    """
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


def open_teachers(paths: Sequence[str], reading: Reading, options: Averaging, *, jobs: int | None) -> AlignedReader:
    """Open teachers' files, with the strings that averaging them needs.

    Parameters
    ----------
    paths : sequence of str, length K
        Over the same sentences.
    reading : Reading
        How.
    options : Averaging
        Of the average; its weights are checked before anything is read.
    jobs : int or None
        Threads that read.

    Returns
    -------
    AlignedReader

    Raises
    ------
    FileError, FormatError, AlignmentError, ArgumentError
        As for `treeavg.scan`.

    Examples
    --------
    >>> open_teachers(["a.txt", "b.txt"], Reading(), Averaging(), jobs=1)  # doctest: +SKIP
    """
    whole_weights(options.exact_weights, len(paths))
    labelled = options.method == "select" or options.labels != "none"
    words = reading.check_tokens or without_compression(paths[0]).endswith(".heads")  # then another file has the words
    return AlignedReader(
        paths,
        reading.format,
        encoding=reading.encoding,
        on_error=reading.on_error,
        jobs=jobs,
        columns=[Columns(tokens=index == 0 or words, labels=labelled) for index in range(len(paths))],
    )


def average_target(path: str, output_format: str | None, kind: str, options: Averaging) -> Format:
    """Return the format of an average's file.

    Parameters
    ----------
    path : str
        Where to; its suffix decides unless `output_format` does.
    output_format : str or None
        A name of a format.
    kind : str
        ``constituency`` or ``dependency``.
    options : Averaging
        Of the average.

    Returns
    -------
    Format

    Raises
    ------
    ArgumentError
        Support is wanted, which the format cannot hold.

    Examples
    --------
    >>> average_target("average.jsonl", None, "constituency", Averaging(support=True)).name
    'jsonl'
    """
    target = format_of(path, name=output_format, kind=kind)
    if options.support and target.name not in ("jsonl", "conllu"):
        raise ArgumentError(
            f"--support: expected output in jsonl or conllu, which can hold it, got {target.name}. "
            "Name such a file, or --output-format."
        )
    return target


def average_stream(
    reader: AlignedReader,
    reading: Reading,
    options: Averaging,
    target: Format,
    write: Write,
    *,
    write_hits: Write | None = None,
    first: int = 0,
    jobs: int | None = None,
    advance: Advance = no_advance,
) -> Summary:
    """Average files batch by batch.

    Parameters
    ----------
    reader : AlignedReader
        From `open_teachers`.
    reading : Reading
        How it reads.
    options : Averaging
        What to do.
    target : Format
        Of the output.
    write : callable
        Takes the output's bytes.
    write_hits : callable, optional
        Takes the bytes of the hit counts.
    first : int, default 0
        Index of the first sentence, for formats that number them; messages count from the files' beginning.
    jobs : int or None
        Threads.
    advance : callable
        See `Advance`.

    Returns
    -------
    Summary

    Raises
    ------
    TreeavgError
        As for `treeavg.average` and the format's serializer.

    Examples
    --------
    >>> with closing(open_teachers(paths, Reading(), Averaging(), jobs=1)) as reader:  # doctest: +SKIP
    ...     average_stream(reader, Reading(), Averaging(), FORMATS["brackets"], file.write)
    """
    names = tuple(item.name for item in reader.readers)
    weights = options.exact_weights
    summary = Summary()
    problems = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SearchLimitWarning)  # told in one list instead
        for batch in reader:
            places = Places(names, files=True, first=summary.sentences)
            shared: dict[str, Any] = {"on_error": reading.on_error, "places": places}
            problems += align(batch, check_tokens=reading.check_tokens, **shared)[1]
            result = average(
                batch, weights=weights, jobs=jobs, check_tokens=reading.check_tokens, **options.keywords, **shared
            )
            summary.add_search(result)
            if write_hits is not None:
                write_hits(_hits_of(batch, weights, shared))
            with sentences_of(names[0], summary.sentences):
                write(target.serialize(result, first + summary.sentences))
            summary.sentences += len(result)
            advance(len(result), reader.readers[0].fraction)
    summary.settle([*reader.problems, *problems])
    return summary


def _hits_of(batch: Any, weights: Any, shared: Mapping[str, Any]) -> bytes:
    """Return a batch's hit counts as lines."""
    from treeavg.averaging.constituency import words_of
    from treeavg.averaging.hits import hit_counts
    from treeavg.averaging.hits_file import serialize_hits
    from treeavg.treebank import Treebank

    if not all(isinstance(bank, Treebank) for bank in batch):
        raise ArgumentError("--hits: expected constituency trees, got dependency trees. Leave it out.")
    hits = hit_counts(batch, weights=weights, **shared)
    return serialize_hits(hits, words_of(batch, hits.lengths))


#: Sentences that weights are estimated from; the same ones whatever the size of batches or shards.
ESTIMATE_FROM = 20_000


def estimated_weights(
    shards: Sequence[Sequence[str]], reading: Reading, options: Averaging, *, jobs: int | None
) -> list[float]:
    """Estimate weights by agreement from the first sentences of a text.

    Parameters
    ----------
    shards : sequence of sequences of str
        The teachers' files of each shard, in order; one shard where the text is not sharded.
    reading : Reading
        How to read them.
    options : Averaging
        Of the average that the weights are for.
    jobs : int or None
        Threads.

    Returns
    -------
    list of float, length K

    Raises
    ------
    TreeavgError
        As for `treeavg.agreement_weights`.

    Examples
    --------
    >>> estimated_weights([["a.txt", "b.txt"]], Reading(), Averaging(), jobs=1)  # doctest: +SKIP
    [1.0, 1.0]
    """
    from treeavg.averaging.reliability import agreement_weights

    parts: list[list[Any]] = []
    left, names = ESTIMATE_FROM, tuple(shards[0])
    for paths in shards:
        reader = AlignedReader(
            paths,
            reading.format,
            encoding=reading.encoding,
            on_error=reading.on_error,
            jobs=jobs,
            batch=left,
            columns=[Columns(tokens=reading.check_tokens, labels=False)] * len(paths),
        )
        with closing(reader):
            parts.append(next(iter(reader)))
            names = tuple(item.name for item in reader.readers)
        left -= len(parts[-1][0])
        if left <= 0:
            break
    chosen = {name: getattr(options, name) for name in ("binary", "objective", "beta", "threshold", "projective")}
    return agreement_weights(
        [type(column[0]).concatenate(column) for column in zip(*parts, strict=True)],
        average_options=chosen,
        on_error=reading.on_error,
        check_tokens=reading.check_tokens,
        jobs=jobs,
        places=Places(names, files=True),
    )
