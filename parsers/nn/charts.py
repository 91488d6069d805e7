"""Charts stored by width: the children of every split, and trees read from choices or from scores.

``levels[w - 1]`` holds the cells of all spans of w words, shape (B, N - w + 1, ...): the cell of the span (b, b + w)
stands at ``[sentence, b]``. Split q = 0 ... w - 2 of that span has the children (b, b + 1 + q) and (b + 1 + q, b + w).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.distill.span_crf import SpanCRF
from treeavg.distill.steps import walk


def lefts(levels: Sequence[Tensor], width: int) -> Tensor:
    """Return the left children of all splits of all spans of a width.

    Parameters
    ----------
    levels : sequence of Tensor, shape (B, N - w + 1, ...)
        The cells of widths 1 to ``width - 1``, at least.
    width : int
        From 2 to N.

    Returns
    -------
    Tensor, shape (B, N - width + 1, width - 1, ...)
        The shortest first.

    Examples
    --------
    >>> cells = [torch.tensor([[1, 2, 3]]), torch.tensor([[12, 23]])]
    >>> lefts(cells, 3).tolist(), rights(cells, 3).tolist()
    ([[[1, 12]]], [[[23, 3]]])
    """
    spans = levels[0].shape[1] - width + 1
    return torch.stack([levels[size - 1][:, :spans] for size in range(1, width)], 2)


def rights(levels: Sequence[Tensor], width: int) -> Tensor:
    """Return the right children of all splits of all spans of a width.

    Parameters
    ----------
    levels, width
        As for `lefts`.

    Returns
    -------
    Tensor, shape (B, N - width + 1, width - 1, ...)
        In the order of `lefts`: the longest first.
    """
    spans = levels[0].shape[1] - width + 1
    return torch.stack([levels[width - size - 1][:, size : size + spans] for size in range(1, width)], 2)


def descend(splits: Sequence[Tensor], lengths: Tensor) -> Tensor:
    """Return the trees that follow from the root downwards, where each span has one chosen split.

    Parameters
    ----------
    splits : sequence of Tensor of int64, shape (B, N - w + 1)
        For widths w = 2 to N, the chosen q of each span; those past a sentence's end are not looked at.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence, at most N.

    Returns
    -------
    Tensor of int64, shape (B, N - 1, 2)
        Spans of two words or more in pre-order, padded with (0, 0).

    Examples
    --------
    >>> descend([torch.tensor([[0, 0]]), torch.tensor([[1]])], torch.tensor([3])).tolist()
    [[[0, 3], [0, 2]]]
    """
    longest = len(splits) + 1
    if longest < 2:
        return torch.zeros(len(lengths), 0, 2, dtype=torch.int64, device=lengths.device)
    batch = len(lengths)
    chart = splits[0].new_zeros(batch, longest, longest + 1, dtype=torch.int64)
    for width, chosen in enumerate(splits, 2):
        starts = torch.arange(longest - width + 1, device=chosen.device)
        chart[:, starts, starts + width] = chosen

    def split(sentence: Tensor, start: Tensor, end: Tensor, row: int) -> Tensor:
        return start + 1 + chart[sentence, start, end]

    return walk(split, lengths.to(chart.device), longest)


def best_trees(scores: Tensor, lengths: Tensor) -> Tensor:
    """Return the binary trees with the largest sums of span scores.

    Parameters
    ----------
    scores : Tensor, floating, shape (B, N + 1, N + 1)
        The score of the span [i, j) at ``[i, j]``. Spans of one word and whole sentences are in every tree.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence, at most N.

    Returns
    -------
    Tensor of int64, shape (B, N - 1, 2)
        As for `descend`. Ties go to the leftmost split.

    Examples
    --------
    >>> best_trees(torch.zeros(1, 4, 4), torch.tensor([3])).tolist()
    [[[0, 3], [1, 3]]]
    """
    return SpanCRF(scores.detach(), lengths).argmax()
