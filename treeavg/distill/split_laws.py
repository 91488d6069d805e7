"""Sums over the spans of a tree distribution given by its split laws, by width.

A distribution is a pair of lists: log split laws over widths 2 to N, and visit probabilities over widths 1 to N. What
stands in cells past a sentence's end is finite and has no visits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.distill.charts import splits_of


def expectation(visits: Sequence[Tensor], values: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return the sums [B] over spans of two words or more of visits times values (a list over widths 2 to N)."""
    total = like.new_zeros(like.shape[0])
    for visit, value in zip(visits[1:], values, strict=True):
        total = total + (visit * value).sum(1)
    return total


def entropies(laws: Sequence[Tensor]) -> list[Tensor]:
    """Return the entropy of each span's split, by width."""
    return [-(law.exp() * law).sum(-1) for law in laws]


def cross_entropies(laws: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """Return minus the expected log of the others' laws at each span, by width."""
    return [-(law.exp() * other).sum(-1) for law, other in zip(laws, others, strict=True)]


def row_log_probs(laws: Sequence[Tensor], trees: Tensor) -> Tensor:
    """Return the log-probability [..., B, N - 1] of each row's split, for trees [..., B, N - 1, 2]; 0 for padding."""
    start, end = trees.unbind(-1)
    split, width = splits_of(trees), end - start
    flat = torch.cat([law.flatten(1) for law in laws], 1)
    longest = len(laws) + 1
    widths = torch.arange(longest + 1, device=trees.device)
    sizes = (longest - widths + 1) * (widths - 1).clamp(min=0)
    before = sizes.cumsum(0) - sizes
    used = width > 1
    index = before[width] + start * (width - 1) + split - start - 1
    index = torch.where(used, index, torch.zeros_like(index))
    values = flat.expand(*index.shape[:-2], *flat.shape).gather(-1, index)
    return torch.where(used, values, torch.zeros_like(values))


def log_prob(laws: Sequence[Tensor], trees: Tensor, like: Tensor) -> Tensor:
    """Return the log-probabilities [..., B] of trees [..., B, N - 1, 2], by their splits."""
    return row_log_probs(laws, trees).sum(-1) if laws else like.new_zeros(trees.shape[:-2])
