"""Weights of teachers as whole numbers, so that ties are ties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import ArgumentError, quote

#: Largest sum of whole weights. A sum over 2^16 constituents then still fits into 63 bits.
MAX_TOTAL = 2**46


def whole_weights(weights: Sequence[Any] | NDArray[Any] | None, teachers: int) -> tuple[NDArray[np.int64], Fraction]:
    """Return weights as whole numbers and their unit.

    A float counts as the decimal number that it prints as: 0.1 is one tenth. Numbers are exact as long as the sum over
    their common denominator stays below 2^46, that is for about 13 digits; beyond, they are rounded to a share of
    2^-46 of the sum.

    Parameters
    ----------
    weights : sequence of numbers, length K, optional
        Not negative, not all zero; int, float, Fraction, Decimal or NumPy numbers. Default: each teacher counts 1.
    teachers : int
        K.

    Returns
    -------
    whole : ndarray of int64, shape (K,)
        In lowest terms.
    unit : Fraction
        ``whole * unit`` are the weights.

    Raises
    ------
    ArgumentError
        The number of weights is not K, or one is negative, infinite or not a number, or all are zero.

    Examples
    --------
    >>> whole_weights([0.1, 0.25, 1], 3)
    (array([ 2,  5, 20]), Fraction(1, 20))
    """
    if weights is None:
        return np.ones(teachers, np.int64), Fraction(1)
    given = list(weights)
    if len(given) != teachers:
        raise ArgumentError(
            f"weights: expected {teachers} non-negative numbers, one per teacher, got {len(given)}: {_shown(given)}. "
            "Pass weights=None for equal weights."
        )
    exact = [_fraction(index, value) for index, value in enumerate(given)]
    if not any(exact):
        raise ArgumentError(
            f"weights: expected at least one number above 0, got {_shown(given)}. Pass weights=None for equal weights."
        )
    common = math.lcm(*(value.denominator for value in exact))
    whole = [int(value * common) for value in exact]
    divisor = math.gcd(*whole)
    unit = Fraction(divisor, common)
    whole = [value // divisor for value in whole]
    if sum(whole) > MAX_TOTAL:
        shrink = Fraction(MAX_TOTAL, sum(whole))
        whole = [round(value * shrink) for value in whole]
        unit /= shrink
    return np.array(whole, np.int64), unit


def _shown(value: Any) -> str:
    """Return numbers as a user wrote them: no `Decimal('1')`."""
    if isinstance(value, list):
        text = f"[{', '.join(map(_shown, value))}]"
        return text if len(text) <= 60 else text[:57] + "..."
    return str(value) if isinstance(value, (Decimal, Fraction)) else quote(value)


def _fraction(index: int, value: Any) -> Fraction:
    """Return a weight as an exact fraction."""
    where = f"weights[{index}]"
    try:
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, (bool, str)):
            raise TypeError
        if isinstance(plain, Decimal) and plain.is_finite() and abs(plain.adjusted()) > 400:
            raise OverflowError  # beyond any float; exact, it would fill the memory
        number = Fraction(repr(plain)) if isinstance(plain, float) else Fraction(plain)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(
            f"{where}: expected a non-negative number, got {_shown(value)}. Give one finite number per teacher."
        ) from None
    if number < 0:
        raise ArgumentError(
            f"{where}: expected a non-negative number, got {_shown(value)}. Use 0 to leave a teacher out."
        )
    return number
