"""Sums of floating-point numbers without rounding, so that they do not depend on order or on shards."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def exact_sums(terms: NDArray[np.float64]) -> list[Fraction]:
    """Return the exact sum of each column.

    Parameters
    ----------
    terms : ndarray of float64, shape (S, C)
        Finite.

    Returns
    -------
    list of Fraction, length C

    Notes
    -----
    Rounded once, such a sum is what `math.fsum` gives, whatever the order; sums of shards add up to that of the whole.

    Examples
    --------
    >>> [float(one) for one in exact_sums(np.array([[0.1, 1e16], [0.2, 1.0], [0.3, -1e16]]))]
    [0.6, 1.0]
    """
    sums = []
    for column in np.asarray(terms, np.float64).T:
        if not (column != np.trunc(column)).any() and np.abs(column).sum() < 2.0**53:
            sums.append(Fraction(int(column.sum())))  # counts
            continue
        values, counts = np.unique(column, return_counts=True)  # few differ: they are ratios of small numbers
        parts = zip(values.tolist(), counts.tolist(), strict=True)
        sums.append(sum((Fraction(value) * count for value, count in parts), Fraction(0)))
    return sums


def more(before: Sequence[Fraction], terms: NDArray[np.float64]) -> list[Fraction]:
    """Add the terms of further sentences to exact sums.

    Parameters
    ----------
    before : sequence of Fraction, length C
        The sums so far.
    terms : ndarray of float64, shape (S, C)
        Finite.

    Returns
    -------
    list of Fraction, length C

    Examples
    --------
    >>> rounded(more([Fraction(1, 2), Fraction(1)], np.array([[0.25, 1.0]]))).tolist()
    [0.75, 2.0]
    """
    return together(before, exact_sums(terms))


def rounded(sums: Sequence[Fraction]) -> NDArray[np.float64]:
    """Return exact sums as floating-point numbers.

    Parameters
    ----------
    sums : sequence of Fraction, length C
        Any.

    Returns
    -------
    ndarray of float64, shape (C,)

    Examples
    --------
    >>> rounded([Fraction(3, 4)])
    array([0.75])
    """
    return np.array(list(map(float, sums)), np.float64)


def as_text(sums: Sequence[Fraction]) -> list[str]:
    """Return exact sums as JSON can hold them.

    Parameters
    ----------
    sums : sequence of Fraction
        Any.

    Returns
    -------
    list of str

    Examples
    --------
    >>> as_text([Fraction(1, 4), Fraction(3)])
    ['1/4', '3']
    """
    return [str(one) for one in sums]


def from_text(texts: Sequence[str]) -> list[Fraction]:
    """Return exact sums that `as_text` wrote.

    Parameters
    ----------
    texts : sequence of str
        From `as_text`.

    Returns
    -------
    list of Fraction

    Examples
    --------
    >>> from_text(["1/4", "3"])
    [Fraction(1, 4), Fraction(3, 1)]
    """
    return list(map(Fraction, texts))


def together(one: Sequence[Fraction], other: Sequence[Fraction]) -> list[Fraction]:
    """Add exact sums of other sentences; sums of none may be empty.

    Parameters
    ----------
    one, other : sequence of Fraction, length C or 0
        Any.

    Returns
    -------
    list of Fraction

    Examples
    --------
    >>> together([Fraction(1, 2)], [Fraction(1, 4)]), together([], [Fraction(1)])
    ([Fraction(3, 4)], [Fraction(1, 1)])
    """
    if not one or not other:
        return list(one or other)
    return [first + second for first, second in zip(one, other, strict=True)]
