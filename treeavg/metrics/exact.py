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
        values, counts = np.unique(column, return_counts=True)  # few differ: they are ratios of small numbers
        parts = zip(values.tolist(), counts.tolist(), strict=True)
        sums.append(sum((Fraction(value) * count for value, count in parts), Fraction(0)))
    return sums


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


def added(texts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Add exact sums column by column, and round once.

    Parameters
    ----------
    texts : sequence of sequences of str
        From `as_text`, of equal length C, at least one.

    Returns
    -------
    ndarray of float64, shape (C,)

    Examples
    --------
    >>> added([["1/4", "1"], ["1/2", "1"]])
    array([0.75, 2.  ])
    """
    return np.array([float(sum(map(Fraction, column), Fraction(0))) for column in zip(*texts, strict=True)])
