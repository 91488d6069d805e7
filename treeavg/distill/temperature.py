"""The temperature at which a consensus has a wanted entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.distill.span_crf import SpanCRF
from treeavg.errors import ArgumentError, quote


def match_entropy(
    hits: Tensor | Sequence[Tensor],
    lengths: Tensor | Sequence[Tensor],
    nats_per_split: float,
    *,
    low: float = 0.01,
    high: float = 1000.0,
    tolerance: float = 1e-6,
) -> float:
    """Return the temperature at which the tree distribution of hit counts has this entropy for each split.

    Parameters
    ----------
    hits : Tensor or sequence of Tensor, floating, shape (B, N + 1, N + 1)
        Hit counts of a batch, or of several batches.
    lengths : Tensor or sequence of Tensor, int64, shape (B,)
        Words in each sentence, as `hits` goes.
    nats_per_split : float
        The wanted sum of entropies over the sum of n - 1.
    low, high : float
        The temperature is looked for between these.
    tolerance : float, default 1e-6
        Greatest relative error of the temperature.

    Returns
    -------
    float
        The temperature.

    Raises
    ------
    ArgumentError
        No sentence has two words; `low`, `high` or `tolerance` are out of order; or no temperature between `low` and
        `high` has this entropy: the message says which entropies there are.

    Notes
    -----
    Bisection: the entropy grows with the temperature, from that of a choice among the best trees to that of a choice
    among all trees.

    Examples
    --------
    >>> hits = torch.zeros(1, 4, 4)
    >>> hits[0, 0, 2] = 1
    >>> temperature = match_entropy(hits, torch.tensor([3]), 0.25)
    >>> round(float(SpanCRF(hits, torch.tensor([3]), temperature=temperature).entropy) / 2, 4)
    0.25
    """
    batches = [hits] if isinstance(hits, Tensor) else list(hits)
    sizes = [lengths] if isinstance(lengths, Tensor) else list(lengths)
    if len(batches) != len(sizes):
        raise ArgumentError(
            f"lengths: expected one tensor for each of the {len(batches)} batches of hits, got {len(sizes)}. Pass both "
            "as a tensor, or both as lists of one length."
        )
    if not 0 < low < high < math.inf or not 0 < tolerance < 1:
        raise ArgumentError(
            "low, high, tolerance: expected 0 < low < high and 0 < tolerance < 1, got "
            f"{quote((low, high, tolerance))}. Leave them out for the defaults."
        )
    splits = sum(int((size - 1).clamp(min=0).sum()) for size in sizes)
    if splits == 0:
        raise ArgumentError("lengths: expected a sentence of two words or more, got none. Entropy is per split.")

    def entropy(temperature: float) -> float:
        with torch.no_grad():
            found = [
                float(SpanCRF(batch.double(), size, temperature=temperature).entropy.sum())
                for batch, size in zip(batches, sizes, strict=True)
            ]
        return sum(found) / splits

    least, most = entropy(low), entropy(high)
    if not least <= nats_per_split <= most:
        raise ArgumentError(
            f"nats_per_split: expected {least:.6g} to {most:.6g}, which temperatures from {low:g} to {high:g} give, "
            f"got {quote(nats_per_split)}. Choose an entropy in between, or widen low and high."
        )
    while high > low * (1 + tolerance):
        middle = math.sqrt(low * high)
        if entropy(middle) < nats_per_split:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)
