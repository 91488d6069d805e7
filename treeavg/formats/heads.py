"""Head lines: ``id h1 h2 ... hn``, one sentence a line; words count from 1, 0 is the root."""

from __future__ import annotations

import codecs

import numpy as np
from numpy.typing import NDArray

from treeavg.dependency import DependencyTreebank
from treeavg.errors import FormatError, Problem, quote
from treeavg.formats.base import Chunk, Format
from treeavg.formats.gathering import gathered
from treeavg.formats.places import LinePlaces
from treeavg.kernels import numbers, structure

_SPACE = frozenset(" \t\n\r\v\f\0")


def faults(bank: DependencyTreebank, every: bool) -> list[tuple[int, int, str]]:
    """Return what is wrong with trees of heads.

    Parameters
    ----------
    bank : DependencyTreebank
        Heads as they were read.
    every : bool
        Look for all faulty sentences, not only for the first.

    Returns
    -------
    list of (int, int, str)
        Sentence and word, both from 0, and ``expected X, got Y. What to do next.``

    Examples
    --------
    >>> faults(DependencyTreebank(np.array([1], np.int32), np.array([1], np.int32)), every=False)
    [(0, 0, 'expected one word with head 0, got none. Give one word the head 0.')]
    """
    found: list[tuple[int, int, str]] = []
    marks = np.empty(int(bank.lengths.max(initial=0)) + 1, np.int32)
    place = np.zeros(2, np.int64)
    begin = 0
    while begin < len(bank) and (every or not found):
        # Views: offsets count from the beginning of `heads`, so nothing is copied.
        status = structure.check_heads(bank.lengths[begin:], bank.token_offsets[begin:], bank.heads, marks, place)
        if status == structure.GOOD:
            break
        sentence, word = begin + int(place[0]), int(place[1])
        try:
            bank[[sentence]].validate("")
        except FormatError as error:
            found.append((sentence, word, str(error).partition(": ")[2]))
        begin = sentence + 1
    return found


def _parse(chunk: Chunk) -> tuple[DependencyTreebank, list[Problem]]:
    chunk, problems = chunk.checked()
    data = chunk.data
    size = int(np.count_nonzero(data == 10)) + 1
    lengths, codes = np.empty(size, np.int32), np.empty(size, np.int8)
    positions, id_begins, id_ends = (np.empty(size, np.int64) for _ in range(3))
    heads, counts = np.empty((len(data) + 1) // 2, np.int32), np.zeros(2, np.int64)
    status = numbers.scan_heads(data, chunk.skip, lengths, codes, positions, id_begins, id_ends, heads, counts)
    count, total = counts.tolist()
    found: dict[int, str] = {}
    places = LinePlaces(chunk)
    if status != numbers.GOOD:
        for index in np.flatnonzero(codes[:count] != numbers.GOOD).tolist():
            found[index] = _explain(
                places.of(index, int(positions[index])), chunk, int(codes[index]), int(positions[index])
            )
    bank = DependencyTreebank(lengths[:count].copy(), heads[:total].copy())
    for sentence, _, what in faults(bank, every=chunk.skip):
        found[sentence] = f"{places.line(sentence)}: {what}"
    for index in _marked(data, id_begins[:count], id_ends[:count]):
        found.setdefault(
            index, f"{places.line(index)}: expected an id, got a byte-order mark inside the file. Delete it."
        )
    if found and not chunk.skip:
        raise FormatError(found[min(found)])
    known = {problem.sentence: problem for problem in problems}
    for index, message in found.items():
        known.setdefault(chunk.sentence + index, Problem(chunk.sentence + index, message))
    good = np.ones(count, bool)
    good[list(found)] = False
    ids = gathered(data, id_begins[:count], np.where(good, id_ends[:count], id_begins[:count]))
    kept = bank.heads[np.repeat(good, bank.lengths)]
    bank = DependencyTreebank(np.where(good, bank.lengths, 0).astype(np.int32), kept, ids=ids)
    return bank, [known[sentence] for sentence in sorted(known)]


def _marked(data: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> list[int]:
    """Return the lines whose id begins with a byte-order mark, as where files were put end to end; it would be lost."""
    return [
        index
        for index in np.flatnonzero((ends - begins >= 3) & (data[np.minimum(begins, len(data) - 1)] == 0xEF)).tolist()
        if data[begins[index] : begins[index] + 3].tobytes() == codecs.BOM_UTF8
    ]


def _explain(where: str, chunk: Chunk, code: int, position: int) -> str:
    """Return the message for an error of the scanner."""
    line = chunk.data[position : position + 200].tobytes().split(b"\n")[0]
    found = quote(line.split()[0].decode(errors="replace")) if line.split() else ""
    if code == numbers.BLANK:
        advice = "Remove it, or pass on_error='skip' to keep its place."
        return f"{where}: expected an id and heads, got an empty line. {advice}"
    if code == numbers.NO_HEAD:
        return f"{where}: expected a head for each word behind the id, got only {found}. A line looks like: 0 2 0 2."
    if code == numbers.TOO_LARGE:
        return f"{where}: expected a head within the sentence, got {found}. Words count from 1, 0 is the root."
    return f"{where}: expected a number as head, got {found}. Words count from 1, 0 is the root; the id comes first."


def _serialize(bank: DependencyTreebank, first: int = 0) -> bytes:
    heads = list(map(str, bank.heads.tolist()))
    names = list(bank.ids) if bank.ids is not None else [""] * len(bank)
    bounds = bank.token_offsets.tolist()
    lines = []
    for sentence, name in enumerate(names):
        begin, stop = bounds[sentence], bounds[sentence + 1]
        if begin == stop:
            lines.append("\n")
            continue
        if not _SPACE.isdisjoint(name) or name.startswith("\ufeff"):
            raise FormatError(
                f"treebank[{sentence}]: expected an id without white space, got {name!r}. Head lines cannot hold it; "
                "drop it with treebank.replace(ids=None)."
            )
        lines.append(f"{name or first + sentence} {' '.join(heads[begin:stop])}\n")
    return "".join(lines).encode()


HEADS = Format(
    "heads",
    (".heads",),
    "dependency trees, one a line: an id, then a head for each word",
    line_based=True,
    parse=_parse,
    serialize=_serialize,
    kind="dependency",
    numbered=True,
)
