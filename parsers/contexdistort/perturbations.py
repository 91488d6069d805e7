"""The perturbed sentences of ContexDistort, and which of their words tell the cost of which span: index arrays.

They depend on the number of words alone. See [Li2023, section 3] for the perturbations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from treeavg.strings import flat_ranges, offsets_of

#: In place of the number of a word.
MASK, COMMA = -1, -2


@dataclass(frozen=True)
class Kinds:
    """Which perturbations there are; see `ContexDistortOptions`."""

    substitution: bool = True
    decontextualisation: bool = True
    movement: bool = True
    masks: bool = True


@dataclass(frozen=True, eq=False)
class Plan:
    """All strings of a sentence of n words, and the terms of the costs.

    Attributes
    ----------
    strings : tuple of tuples of int, length S
        Numbers of words, `MASK` and `COMMA`; each string once. The first is the sentence itself.
    lengths : ndarray of int64, shape (S,)
        Words of each string, masks and commas included; W in all.
    words : ndarray of int64, shape (W,)
        All strings one behind another.
    spans : ndarray of int64, shape (C, 2)
        The spans that cost: two words or more, not the whole sentence.
    rows, cells : ndarray of int64, shape (T,)
        A term: the distortion of the word ``words[rows]`` is part of the cost of ``spans[cells]``.
    weights : ndarray of float32, shape (T,)
        What it is multiplied by: 1 / (words of its segment x segments of its span).
    """

    strings: tuple[tuple[int, ...], ...]
    lengths: NDArray[np.int64]
    words: NDArray[np.int64]
    spans: NDArray[np.int64]
    rows: NDArray[np.int64]
    cells: NDArray[np.int64]
    weights: NDArray[np.float32]

    def texts(self, words: list[str], mask: str) -> list[list[str]]:
        """Return the strings as words.

        Parameters
        ----------
        words : list of str
            The sentence.
        mask : str
            The mask token.

        Returns
        -------
        list of list of str, length S

        Examples
        --------
        >>> plan_of(3, Kinds(decontextualisation=False, movement=False)).texts(["it", "rains", "often"], "[MASK]")
        [['it', 'rains', 'often'], ['[MASK]', 'often'], ['it', '[MASK]']]
        """
        table = [*words, ",", mask]  # so that COMMA and MASK count from the end
        return [[table[number] for number in string] for string in self.strings]


#: A string, and its segments that are compared with the sentence: the first word of each, and how many.
Perturbed = tuple[tuple[int, ...], list[tuple[int, int]]]


def perturb(n: int, left: int, right: int, kinds: Kinds = Kinds()) -> list[Perturbed]:
    """Return the perturbed strings of one span.

    Parameters
    ----------
    n : int
        Words of the sentence.
    left, right : int
        The span [left, right), not the whole sentence.
    kinds : Kinds, optional
        Which perturbations.

    Returns
    -------
    list of (tuple of int, list of (int, int))
        The string, and its terms: where a segment begins in it and how many words it has. All words of a segment count
        alike, and all terms of a span. A substitution is one term, though its words stand on both sides of the mask:
        it has a single segment that covers the mask, which counts for nothing.

    Notes
    -----
    With A before and C behind the span X: ``A [mask] C``; ``[mask] X [mask]``, a mask only where something was removed;
    ``X , A , C`` and ``A , C , X``, where an empty part goes with its comma.

    Examples
    --------
    >>> perturb(4, 1, 3)[2]
    ((1, 2, -2, 0, -2, 3), [(0, 2), (3, 1), (5, 1)])
    """
    before, span, behind = range(left), range(left, right), range(right, n)
    found: list[Perturbed] = []
    if kinds.substitution:
        found.append(((*before, MASK, *behind), [(0, n - len(span) + 1)]))
    if kinds.decontextualisation:
        ahead = (MASK,) if before and kinds.masks else ()
        after = (MASK,) if behind and kinds.masks else ()
        found.append(((*ahead, *span, *after), [(len(ahead), len(span))]))
    if kinds.movement:
        found += [_joined([span, before, behind]), _joined([before, behind, span])]
    return found


def _joined(parts: list[range]) -> Perturbed:
    """Put commas between the parts that are not empty."""
    string: list[int] = []
    terms: list[tuple[int, int]] = []
    for part in parts:
        if part:
            if string:
                string.append(COMMA)
            terms.append((len(string), len(part)))
            string += part
    return tuple(string), terms


@lru_cache(maxsize=64)
def plan_of(n: int, kinds: Kinds = Kinds()) -> Plan:
    """Return the strings and terms of all sentences of n words.

    Parameters
    ----------
    n : int
        At least 3.
    kinds : Kinds, optional
        Which perturbations.

    Returns
    -------
    Plan
        Boundary spans share strings: what moves [0, k) to the end moves [k, n) to the front, and a mask in place of the
        one is the other out of context. 688 strings of 20 words and the sentence itself.

    Examples
    --------
    >>> len(plan_of(20).strings)
    689
    """
    numbers: dict[tuple[int, ...], int] = {tuple(range(n)): 0}
    spans = [(left, left + width) for width in range(2, n) for left in range(n - width + 1)]
    segments: list[tuple[int, int, int, int, int]] = []  # string, first word, words, span, words that count x terms
    for cell, (left, right) in enumerate(spans):
        perturbed = perturb(n, left, right, kinds)
        terms = sum(len(own) for _, own in perturbed)
        for string, own in perturbed:
            number = numbers.setdefault(string, len(numbers))
            for first, count in own:
                counting = count - string[first : first + count].count(MASK)
                segments.append((number, first, count, cell, counting * terms))
    lengths = np.array([len(string) for string in numbers], np.int64)
    offsets = offsets_of(lengths)
    words = np.fromiter((word for string in numbers for word in string), np.int64, int(offsets[-1]))
    string, first, count, cell, divisor = np.ascontiguousarray(np.array(segments, np.int64).T)
    rows = flat_ranges(offsets[string] + first, count)
    kept = words[rows] >= 0
    return Plan(
        tuple(numbers),
        lengths,
        words,
        np.array(spans, np.int64),
        rows[kept],
        np.repeat(cell, count)[kept],
        (1.0 / np.repeat(divisor, count)[kept]).astype(np.float32),
    )
