"""Means over inputs with their standard errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from treeavg.distill.sequences.sampling.samplers import require_whole
from treeavg.errors import ArgumentError

__all__ = ["Estimate", "by_inputs", "estimate"]


class Estimate(NamedTuple):
    """A mean over inputs.

    Parameters
    ----------
    value : float
        The mean.
    error : float
        Its standard error; NaN where there is only one number.
    inputs : int
        How many.

    Examples
    --------
    >>> Estimate(0.5, 0.1, 20).value
    0.5
    """

    value: float
    error: float
    inputs: int


def estimate(values: Tensor) -> Estimate:
    """Return the mean with its standard error; numbers of one input count as one.

    Parameters
    ----------
    values : Tensor, floating, shape (N,) or (N, S)
        A number for each input, or S of them. With one input, its numbers give the error.

    Returns
    -------
    Estimate

    Raises
    ------
    ArgumentError
        No numbers, another shape, or NaN.

    Examples
    --------
    >>> estimate(torch.tensor([1.0, 3.0]))
    Estimate(value=2.0, error=1.0, inputs=2)
    """
    if values.dim() not in (1, 2) or not values.numel():
        raise ArgumentError(
            f"values: expected shape (N,) or (N, S), N and S at least 1, got {tuple(values.shape)}. Give one number or "
            "more for each input."
        )
    numbers = values.detach().to(torch.float64)
    if numbers.isnan().any():
        place = tuple(numbers.isnan().nonzero()[0].tolist())
        raise ArgumentError(
            f"values[{', '.join(map(str, place))}]: expected a number, got NaN. Look for logits that are not finite."
        )
    count = len(numbers)
    by_input = numbers.flatten() if count == 1 else numbers.reshape(count, -1).mean(1)
    error = float(by_input.std() / math.sqrt(len(by_input))) if len(by_input) > 1 else math.nan
    return Estimate(float(by_input.mean()), error, count)


def by_inputs(values: Tensor, samples: int) -> Tensor:
    """Return rows (B, ...) as (B / samples, samples, ...)."""
    require_whole("samples", samples, 1)
    if len(values) % samples:
        raise ArgumentError(
            f"samples: expected a divisor of the {len(values)} rows, got {samples}. Give each input as many samples."
        )
    return values.view(-1, samples, *values.shape[1:])
