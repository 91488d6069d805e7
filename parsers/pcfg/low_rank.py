"""The inside and outside passes of a grammar whose rules are a sum of products, [Yang2021].

The probability of A -> B C is the sum over r of ``parents[A, r] * lefts[B, r] * rights[C, r]``. A cell is known by its
sums over splits, one number a rank: x(r). As a left child it counts for rank r as much as ``x @ to_left`` says, where
``to_left[r', r]`` sums ``parents[B, r'] * lefts[B, r]`` over nonterminals B; so symbols are never looked at, and a
split costs one product a rank [Yang2022]. Scales and layout: `parsers.pcfg.inside`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Factors(NamedTuple):
    """Rules of a low rank R, as probabilities.

    Parameters
    ----------
    top : Tensor, shape (R,)
        The roots' probabilities times the parents' factors.
    to_left, to_right : Tensor, shape (R, R)
        From a cell's sums to what it counts as a child.
    left_words, right_words : Tensor, shape (T, R)
        The factors of preterminals as children.
    """

    top: Tensor
    to_left: Tensor
    to_right: Tensor
    left_words: Tensor
    right_words: Tensor

    @classmethod
    def of(cls, roots: Tensor, parents: Tensor, lefts: Tensor, rights: Tensor) -> Factors:
        """Make them from probabilities of roots (NT,), and factors (NT, R), (S, R), (S, R)."""
        symbols = len(roots)
        return cls(
            roots @ parents,
            parents.T @ lefts[:symbols],
            parents.T @ rights[:symbols],
            lefts[symbols:],
            rights[symbols:],
        )


class _Passes:
    """The pass upwards, and on demand the pass downwards."""

    def __init__(self, factors: Factors, words: Tensor, lengths: Tensor, spans: Tensor | None) -> None:
        self.factors, self.lengths = factors, lengths
        self.batch, self.longest, _ = words.shape
        n, batch, rank = self.longest, self.batch, len(factors.top)
        by_place = words.transpose(0, 1)
        largest = by_place.amax(-1)
        self.words = (by_place - largest[..., None]).exp_()
        self.cells, self.by_start, self.by_end = words.new_zeros(3, n + 1, batch, n + 1, rank)
        self.start_scale, self.end_scale = words.new_zeros(2, n + 1, batch, n + 1)
        self.by_start[:n, :, 1] = self.words @ factors.left_words
        self.by_end[1:, :, n - 1] = self.words @ factors.right_words
        self.start_scale[:n, :, 1] = largest
        self.end_scale[1:, :, n - 1] = largest
        self.weights: list[Tensor] = []
        self.tops: list[Tensor] = []
        for width in range(2, n + 1):
            self._up(width, None if spans is None else spans.diagonal(width, 1, 2).T)
        self.rows = torch.arange(batch, device=words.device)
        self.total = self.cells[0, self.rows, lengths] @ factors.top
        self.log_partition: Tensor = self.total.log() + self.start_scale[0, self.rows, lengths]

    def _children(self, width: int) -> tuple[slice, slice, slice, slice]:
        """Return where a width's left children stand in `by_start`, and its right ones in `by_end`."""
        n = self.longest
        return slice(n - width + 1), slice(1, width), slice(width, n + 1), slice(n - width + 1, n)

    def _up(self, width: int, extra: Tensor | None) -> None:
        n, (starts, lefts, ends, rights) = self.longest, self._children(width)
        scales = self.start_scale[starts, :, lefts] + self.end_scale[ends, :, rights]
        most = scales.amax(-1)
        weights = (scales - most[..., None]).exp_()
        self.weights.append(weights)
        pairs = self.by_start[starts, :, lefts] * self.by_end[ends, :, rights]
        out = torch.matmul(weights[..., None, :], pairs)[..., 0, :]
        top = out.amax(-1)
        self.tops.append(top)
        out /= top[..., None]
        scale = most + top.log()
        if extra is not None:
            scale = scale + extra
        self.cells[starts, :, width] = out
        self.by_start[starts, :, width] = out @ self.factors.to_left
        self.by_end[ends, :, n - width] = out @ self.factors.to_right
        self.start_scale[starts, :, width] = scale
        self.end_scale[ends, :, n - width] = scale

    def down(self, upstream: Tensor) -> tuple[Factors, Tensor, Tensor]:
        """Return the gradients of the factors, the words and the spans, of log Z times `upstream`."""
        n, factors = self.longest, self.factors
        by_start, by_end = torch.zeros_like(self.by_start), torch.zeros_like(self.by_end)
        spans = self.words.new_zeros(self.batch, n + 1, n + 1)
        share = upstream / self.total
        to_left, to_right = torch.zeros_like(factors.to_left), torch.zeros_like(factors.to_right)
        for width in range(n, 1, -1):
            starts, lefts, ends, rights = self._children(width)
            as_left, as_right = by_start[starts, :, width], by_end[ends, :, n - width]
            cells = self.cells[starts, :, width]
            to_left += cells.flatten(0, 1).T @ as_left.flatten(0, 1)
            to_right += cells.flatten(0, 1).T @ as_right.flatten(0, 1)
            of_cells = as_left @ factors.to_left.T + as_right @ factors.to_right.T
            of_cells[0] += (share * (self.lengths == width))[:, None] * factors.top
            spans.diagonal(width, 1, 2).T.copy_((of_cells * cells).sum(-1))
            sums = (of_cells / self.tops[width - 2][..., None])[:, :, None] * self.weights[width - 2][..., None]
            by_start[starts, :, lefts] += sums * self.by_end[ends, :, rights]
            by_end[ends, :, rights] += sums * self.by_start[starts, :, lefts]
        as_left, as_right = by_start[:n, :, 1], by_end[1:, :, n - 1]
        flat = self.words.flatten(0, 1).T
        words = self.words * (as_left @ factors.left_words.T + as_right @ factors.right_words.T)
        top = share @ self.cells[0, self.rows, self.lengths]
        found = Factors(top, to_left, to_right, flat @ as_left.flatten(0, 1), flat @ as_right.flatten(0, 1))
        return found, words.transpose(0, 1), spans


class _LogPartition(torch.autograd.Function):
    """Log Z; the chart waits for the pass downwards."""

    @staticmethod
    def forward(ctx: Any, words: Tensor, spans: Tensor | None, lengths: Tensor, *factors: Tensor) -> Tensor:
        ctx.passes = _passes(Factors(*factors), words, lengths, spans)
        result: Tensor = ctx.passes.log_partition.to(words.dtype, copy=True)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        factors, words, spans = ctx.passes.down(upstream)
        kind = upstream.dtype
        return (
            words.to(kind),
            spans.to(kind) if ctx.needs_input_grad[1] else None,
            None,
            *(part.to(kind) for part in factors),
        )


def _passes(factors: Factors, words: Tensor, lengths: Tensor, spans: Tensor | None) -> _Passes:
    """Go upwards; in float64 where single precision has no number large or small enough."""
    passes = _Passes(factors, words, lengths, spans)
    if bool(torch.isfinite(passes.log_partition.sum())) or words.dtype == torch.float64:
        return passes
    wide = Factors(*(part.double() for part in factors))
    return _Passes(wide, words.double(), lengths, None if spans is None else spans.double())


def log_partition(factors: Factors, words: Tensor, lengths: Tensor, spans: Tensor | None = None) -> Tensor:
    """Return the log-probabilities of sentences, all trees and labels summed out.

    Parameters
    ----------
    factors : Factors
        The rules, shared by all sentences.
    words, lengths, spans
        As for `parsers.pcfg.inside.log_partition`.

    Returns
    -------
    Tensor, shape (B,)
        Differentiable once.

    Notes
    -----
    O(N^3 R + N^2 R^2) a sentence.

    Examples
    --------
    >>> ones = torch.ones(3), torch.ones(3, 1), torch.ones(7, 1), torch.ones(7, 1)
    >>> round(log_partition(Factors.of(*ones), torch.zeros(1, 3, 4), torch.tensor([3])).exp().item())
    1152
    """
    result: Tensor = _LogPartition.apply(words, spans, lengths, *factors)  # type: ignore[no-untyped-call]
    return result


def span_marginals(factors: Factors, words: Tensor, lengths: Tensor) -> Tensor:
    """Return the posterior probabilities of spans.

    Parameters
    ----------
    factors, words, lengths
        As for `log_partition`.

    Returns
    -------
    Tensor, shape (B, N + 1, N + 1)
        Not differentiable.

    Examples
    --------
    >>> ones = torch.ones(3), torch.ones(3, 1), torch.ones(7, 1), torch.ones(7, 1)
    >>> span_marginals(Factors.of(*ones), torch.zeros(1, 3, 4), torch.tensor([3]))[0, 0].tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    with torch.no_grad():
        passes = _passes(factors, words, lengths, None)
        return passes.down(torch.ones_like(passes.log_partition))[2].to(words.dtype)
