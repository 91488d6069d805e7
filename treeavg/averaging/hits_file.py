"""Hit counts as files: JSON lines with the words, the hits and the teachers' weight of each sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from treeavg.averaging.hits import HitCounts
from treeavg.errors import ArgumentError, FormatError, quote
from treeavg.formats.files import ByteSource
from treeavg.strings import StringColumn, offsets_of

#: Counts are read as whole numbers of this share of the weight: exact for any file that treeavg writes.
_UNIT = Fraction(1, 10**6)
#: Words of a sentence, and weight of all teachers: what the columns can hold, in units.
_LONGEST, _HEAVIEST = 2**31 - 1, 2**62 // 10**6


def serialize_hits(hits: HitCounts, tokens: StringColumn | None) -> bytes:
    """Return hit counts as JSON lines.

    Parameters
    ----------
    hits : HitCounts
        Of N sentences.
    tokens : StringColumn, optional
        The words of those with a length, end to end.

    Returns
    -------
    bytes
        A line a sentence: ``{"tokens": [...], "hits": [[start, end, count], ...], "weight": 7}``; ``null`` for a
        missing sentence.

    Examples
    --------
    >>> from treeavg import Treebank, hit_counts
    >>> bank = Treebank.from_constituents([["it", "rains", "often"]], [[(0, 3), (1, 3)]])
    >>> print(serialize_hits(hit_counts([bank, bank]), bank.tokens).decode(), end="")
    {"tokens": ["it", "rains", "often"], "hits": [[1, 3, 2]], "weight": 2}
    """
    words = list(tokens) if tokens is not None else None
    bounds = offsets_of(hits.lengths).tolist()
    counts = [_plain(number * hits.unit) for number in hits.whole.tolist()]
    rows = list(zip(hits.starts.tolist(), hits.ends.tolist(), counts, strict=True))
    weight = _plain(hits.total * hits.unit)
    lines = []
    for (first, last), (begin, end) in zip(pairwise(hits.offsets.tolist()), pairwise(bounds), strict=True):
        if begin == end:
            lines.append("null")
            continue
        of = {"tokens": words[begin:end]} if words is not None else {"length": end - begin}
        line = {**of, "hits": rows[first:last], "weight": weight}
        lines.append(json.dumps(line, ensure_ascii=False))
    return "".join(line + "\n" for line in lines).encode()


def read_hits(path: str | os.PathLike[str], *, encoding: str = "utf-8") -> tuple[HitCounts, list[list[str]] | None]:
    """Read what `serialize_hits` wrote.

    Parameters
    ----------
    path : str or os.PathLike
        ``.gz`` is decompressed; files of equal weight can be put end to end.
    encoding : str, default "utf-8"
        Of the file.

    Returns
    -------
    hits, words : HitCounts, list of list of str or None
        Words where every sentence has them.

    Raises
    ------
    FormatError
        A line is not as described in `serialize_hits`, or weighs another number of teachers than the first.

    Examples
    --------
    >>> read_hits("hits.jsonl")  # doctest: +SKIP
    """
    lengths: list[int] = []
    sizes: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    counts: list[Fraction] = []
    words: list[list[str]] = []
    worded, weight = True, None
    for where, record in _records(path, encoding):
        if record is None:
            lengths.append(0)
            sizes.append(0)
            words.append([])
            continue
        length, tokens, rows, own = _checked(where, record)
        weight = own if weight is None else weight
        if own != weight:
            raise FormatError(
                f"{where}: expected the weight {float(weight):g} as on the first line, got {float(own):g}. "
                "Weigh the teachers so that each file's weights have the same sum."
            )
        worded = worded and tokens is not None
        lengths.append(length)
        words.append(tokens or [])
        sizes.append(len(rows))
        starts += [row[0] for row in rows]
        ends += [row[1] for row in rows]
        counts += [row[2] for row in rows]
    if weight is None:
        raise FormatError(f"{os.fspath(path)}: expected hit counts, got none. Check what wrote it.")
    unit = _UNIT if any(number.denominator > 1 for number in (weight, *counts)) else Fraction(1)
    hits = HitCounts(
        np.array(lengths, np.int32),
        offsets_of(np.array(sizes, np.int64)),
        np.array(starts, np.int32),
        np.array(ends, np.int32),
        np.array([round(number / unit) for number in counts], np.int64),
        unit,
        round(weight / unit),
    )
    return hits, words if worded else None


def is_hits_file(path: str | os.PathLike[str], *, encoding: str = "utf-8") -> bool:
    """Tell whether a file's first sentence has hits.

    Parameters
    ----------
    path : str or os.PathLike
        A file, not a pipe, whose bytes would be gone.
    encoding : str, default "utf-8"
        Of the file.

    Returns
    -------
    bool

    Raises
    ------
    FileError
        It cannot be read.
    """
    source = ByteSource(path, encoding)
    try:
        head = source.read(1 << 20)
    finally:
        source.close()
    line = next((line for line in head.split(b"\n") if line.strip() not in (b"", b"null")), b"")
    return line.startswith(b"{") and b'"hits"' in line


def _records(path: str | os.PathLike[str], encoding: str) -> Iterator[tuple[str, Any]]:
    source = ByteSource(path, encoding)
    try:
        rest, number = b"", 0
        while block := source.read():
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                number += 1
                yield f"{source.name}:{number}", _parsed(f"{source.name}:{number}", line)
        if rest.strip():
            yield f"{source.name}:{number + 1}", _parsed(f"{source.name}:{number + 1}", rest)
    finally:
        source.close()


def _parsed(where: str, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise _wrong(where, line.decode("utf-8", "replace")) from None


def _checked(where: str, record: Any) -> tuple[int, list[str] | None, list[tuple[int, int, Fraction]], Fraction]:
    """Return length, words, rows and weight of a line; raise where something is not as it should be."""
    try:
        tokens = record.get("tokens")
        length = len(tokens) if tokens is not None else record["length"]
        if tokens is not None and not all(isinstance(word, str) for word in tokens):
            raise TypeError
        weight = _fraction(record["weight"])
        rows = [(start, end, _fraction(count)) for start, end, count in record["hits"]]
        if any(not isinstance(part, int) for start, end, _ in rows for part in (start, end)) or type(length) is not int:
            raise TypeError
        if not 0 <= length <= _LONGEST or not 0 <= weight <= _HEAVIEST:
            raise OverflowError
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, ArgumentError):
        raise _wrong(where, json.dumps(record)) from None
    for before, row in pairwise([(-1, -1, Fraction(0)), *rows]):
        start, end, count = row
        if not (0 <= start < end - 1 < length and end - start < length and before[:2] < (start, end)):
            raise FormatError(
                f"{where}: expected spans of two words or more within {length}, sorted, each once, without the whole, "
                f"got {[start, end]}. Write the file with 'treeavg average --hits'."
            )
        if not 0 < count <= weight:
            raise FormatError(
                f"{where}: expected a count above 0, at most the weight {float(weight):g}, got {float(count):g} for "
                f"{[start, end]}. Write the file with 'treeavg average --hits'."
            )
    return length, tokens, rows, weight


def _wrong(where: str, got: str) -> FormatError:
    return FormatError(
        f'{where}: expected {{"tokens": [...], "hits": [[start, end, count], ...], "weight": ...}}, got {quote(got)}. '
        "Write the file with 'treeavg average --hits'."
    )


def _fraction(number: Any) -> Fraction:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError
    return Fraction(number).limit_denominator(10**6)


def _plain(number: Fraction) -> int | float:
    return number.numerator if number.denominator == 1 else round(float(number), 9)
