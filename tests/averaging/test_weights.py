"""Weights become whole numbers exactly."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treeavg import ArgumentError
from treeavg.averaging.weights import MAX_TOTAL, whole_weights


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=9).filter(any), st.integers(0, 6))
def test_decimals_are_exact(digits: list[int], places: int) -> None:
    """A decimal weight is the number that it prints as."""
    weights = [float(Decimal(digit).scaleb(-places)) for digit in digits]
    whole, unit = whole_weights(weights, len(weights))
    assert [value * unit for value in whole.tolist()] == [Fraction(str(weight)) for weight in weights]


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=9).filter(any))
def test_any_floats_fit(weights: list[float]) -> None:
    """The sum stays below the limit, and shares are right to about 13 digits."""
    whole, _ = whole_weights(weights, len(weights))
    exact = [Fraction(repr(weight)) for weight in weights]
    assert whole.sum() <= MAX_TOTAL + len(weights)
    for value, weight in zip(whole.tolist(), exact, strict=True):
        assert abs(Fraction(value, int(whole.sum())) - weight / sum(exact)) < Fraction(1, 2**40)


def test_kinds_of_numbers() -> None:
    """Integers, fractions, decimals and NumPy's numbers are all weights."""
    whole, unit = whole_weights([1, Fraction(1, 3), Decimal("0.5"), np.float32(0.5), np.int64(2)], 5)
    assert (whole.tolist(), unit) == ([6, 2, 3, 3, 12], Fraction(1, 6))


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", None, True, [1]])
def test_bad_values(value: object) -> None:
    """Each is named by its place."""
    with pytest.raises(ArgumentError, match=r"weights\[1\]: expected a non-negative number, got"):
        whole_weights([1, value], 2)


def test_bad_lists() -> None:
    """Too few, too many, all zero."""
    with pytest.raises(ArgumentError, match=r"expected 3 non-negative numbers, one per teacher, got 2: \[1, 2\]"):
        whole_weights([1, 2], 3)
    with pytest.raises(ArgumentError, match="expected at least one number above 0"):
        whole_weights([0, 0.0], 2)
