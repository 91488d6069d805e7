"""Sums over all dependency trees: projective ones by Eisner's chart, those of any shape by elimination.

Everything is in log space and twice differentiable. Scores are those of arcs, ``[B, N + 1, N + 1]`` by head and
dependent, node 0 being the root; what is no arc of a sentence must be `LOW`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

#: A score that no sum of real ones reaches: its exponential is 0 beside any other, and it is finite, so no gradient is
#: NaN.
LOW = -1e30


@dataclass(frozen=True)
class EisnerCharts:
    """The inside scores of all spans of nodes, by width (last node minus first).

    Parameters
    ----------
    right, left : list of Tensor
        Entry w, ``[B, M - w]``: spans of width w whose head is their first (right) or last (left) node and has all its
        dependents on that side.
    right_open, left_open : list of Tensor
        The same for spans that end at an arc which may still get dependents; entry 0 is empty.
    """

    right: list[Tensor]
    left: list[Tensor]
    right_open: list[Tensor]
    left_open: list[Tensor]


def eisner_charts(arcs: Tensor) -> EisnerCharts:
    """Sum over projective trees (Eisner 1996), all spans of one width at a time.

    Parameters
    ----------
    arcs : Tensor, shape (B, M, M)
        Scores by head and dependent, finite.

    Returns
    -------
    EisnerCharts

    Notes
    -----
    With ``right(i, i) = left(i, i) = 0``, for i < j and LSE the logarithm of a sum of exponentials:

    - ``open(i, j) = LSE_{i <= k < j} right(i, k) + left(k + 1, j)``
    - ``right_open(i, j) = open(i, j) + arc(i, j)`` and ``left_open(i, j) = open(i, j) + arc(j, i)``
    - ``right(i, j) = LSE_{i < k <= j} right_open(i, k) + right(k, j)``
    - ``left(i, j) = LSE_{i <= k < j} left(i, k) + left_open(k, j)``

    Each summand pairs a span by its first node, widths rising, with one by its last node, widths falling, so both are
    kept in these orders and a whole width is one addition and one LSE. O(M^3) time, M steps.

    Examples
    --------
    >>> charts = eisner_charts(torch.zeros(1, 3, 3))
    >>> charts.right[2].exp()  # the projective trees over three words whose root is the first
    tensor([[3.]])
    """
    batch, nodes = arcs.shape[:2]
    zero = arcs.new_zeros(batch, nodes)
    charts = EisnerCharts([zero], [zero], [zero[:, :0]], [zero[:, :0]])
    right_first = left_last = arcs.new_zeros(batch, nodes, 0)
    opened = closed = arcs.new_zeros(2, batch, nodes, 0)  # [0] for right spans, [1] for left ones
    for width in range(1, nodes):
        rows = nodes - width
        right, left = charts.right[-1], charts.left[-1]
        right_first = torch.cat([right_first[:, :rows], right[:, :rows, None]], 2)
        left_last = torch.cat([left[:, 1:, None], left_last[:, 1:]], 2)
        inner = torch.logsumexp(right_first + left_last, 2)
        right_open = inner + arcs.diagonal(width, 1, 2)
        left_open = inner + arcs.diagonal(-width, 1, 2)
        opened = torch.cat([opened[:, :, :rows], torch.stack([right_open, left[:, :rows]])[..., None]], 3)
        closed = torch.cat([torch.stack([right[:, 1:], left_open])[..., None], closed[:, :, 1:]], 3)
        whole = torch.logsumexp(opened + closed, 3)
        charts.right.append(whole[0])
        charts.left.append(whole[1])
        charts.right_open.append(right_open)
        charts.left_open.append(left_open)
    return charts


def projective_partition(arcs: Tensor, lengths: Tensor, *, multi_root: bool) -> Tensor:
    """Return the logarithm of the sum over projective trees of exp(score).

    Parameters
    ----------
    arcs : Tensor, shape (B, N + 1, N + 1)
        Scores; `LOW` where there is no arc.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    multi_root : bool
        Let several words hang on the root.

    Returns
    -------
    Tensor, shape (B,)
        0 for a sentence without words.

    Examples
    --------
    >>> arcs = torch.zeros(1, 3, 3).masked_fill(torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]]) > 0, LOW)
    >>> projective_partition(arcs, torch.tensor([2]), multi_root=False).exp()
    tensor([2.])
    """
    if arcs.shape[1] == 1:
        return _zeros(arcs)
    if multi_root:
        right = eisner_charts(arcs).right
        totals = torch.stack([row[:, 0] for row in right], 1)  # of the root's span up to each word
        return totals.gather(1, lengths[:, None])[:, 0]
    return torch.where(lengths > 0, torch.logsumexp(root_terms(eisner_charts(arcs[:, 1:, 1:]), arcs, lengths), 1), 0.0)


def root_terms(charts: EisnerCharts, arcs: Tensor, lengths: Tensor) -> Tensor:
    """Return, for each word, the inside score of all trees in which it alone hangs on the root, ``[B, N]``."""
    words = arcs.shape[1] - 1
    position = torch.arange(words, device=arcs.device)
    before = torch.stack([row[:, 0] for row in charts.left], 1)
    rest = (lengths[:, None] - 1 - position).clamp(min=0)
    after = by_width(charts.right).gather(2, rest[:, :, None])[:, :, 0]
    return torch.where(position < lengths[:, None], before + after + arcs[:, 0, 1:], LOW)


def by_width(chart: list[Tensor]) -> Tensor:
    """Return a chart as one tensor by first node and width, ``[B, M, M]``; 0 where a span would not fit."""
    nodes = len(chart)
    return torch.stack([functional.pad(row, (0, nodes - row.shape[1])) for row in chart], 2)


@dataclass(frozen=True)
class Elimination:
    """What is left of the arcs' scores as words are taken out, the last first.

    Parameters
    ----------
    log_partition : Tensor, shape (B,)
        The logarithm of the sum over trees.
    stages : list of Tensor
        Entry t: the scores among nodes 0 to N - t once t words are out, ``[B, N - t + 1, N - t + 1]``.
    incoming : list of Tensor
        Entry t: the log of the summed exp(score) of the arcs into the word that goes next, ``[B]``.
    """

    log_partition: Tensor
    stages: list[Tensor]
    incoming: list[Tensor]


def eliminate(arcs: Tensor, lengths: Tensor, *, multi_root: bool) -> Elimination:
    """Sum over trees of any shape: the determinant of the matrix-tree theorem without a subtraction.

    Parameters
    ----------
    arcs : Tensor, shape (B, N + 1, N + 1)
        Scores; `LOW` where there is no arc.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    multi_root : bool
        Let several words hang on the root.

    Returns
    -------
    Elimination

    Notes
    -----
    The sum is a minor of the graph's Laplacian L (Tutte 1948; Koo et al. 2007; Smith and Smith 2007; McDonald and Satta
    2007). Gaussian elimination of word v leaves the Laplacian of a smaller graph with the weights

        w'(u, x) = w(u, x) + w(u, v) w(v, x) / D(v),   D(v) = sum_u w(u, v),

    and the determinant is the product of the D(v). Nothing is subtracted, since the diagonal is summed anew from what
    is left (Grassmann, Taksar and Heyman 1985), so in log space scores of any size are exact, where a determinant of
    exponentials loses all digits as soon as a cycle is much preferred. One root: with root weights scaled by e, Z is a
    polynomial in e whose lowest term has one root arc; to that order the root drops out of every D(v) but the last.
    O(N^3) time, N steps.

    Examples
    --------
    >>> arcs = torch.zeros(1, 3, 3).masked_fill(torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]]) > 0, LOW)
    >>> eliminate(arcs, torch.tensor([2]), multi_root=True).log_partition.exp()
    tensor([3.])
    """
    first_head = 0 if multi_root else 1
    stage, total = arcs, _zeros(arcs)
    stages, incoming = [stage], []
    for word in range(arcs.shape[1] - 1, 1, -1):
        arrived = torch.logsumexp(stage[:, first_head:word, word], 1)
        total = total + torch.where(word <= lengths, arrived, 0.0)
        through = stage[:, :word, word, None] + (stage[:, word, None, :word] - arrived[:, None, None])
        stage = _log_add(stage[:, :word, :word], through)
        stages.append(stage)
        incoming.append(arrived)
    if arcs.shape[1] > 1:
        total = total + torch.where(lengths > 0, stage[:, 0, 1], 0.0)
    return Elimination(total, stages, incoming)


def _log_add(one: Tensor, other: Tensor) -> Tensor:
    """Return log(exp(one) + exp(other)), whose second derivative stays finite (that of torch.logaddexp does not)."""
    most = torch.maximum(one.detach(), other.detach())
    return most + ((one - most).exp() + (other - most).exp()).log()


def _zeros(arcs: Tensor) -> Tensor:
    """Return a zero a sentence that has a gradient where the scores have one."""
    return arcs.new_zeros(len(arcs)) + 0.0 * arcs[:, 0, 0]
