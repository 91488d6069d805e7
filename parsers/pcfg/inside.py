"""Log-probabilities of sentences under a grammar, and posterior probabilities of spans, trees and labels summed out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from parsers.pcfg import by_logs
from parsers.pcfg.passes import Chart, Downwards


class _LogPartition(torch.autograd.Function):
    """Log Z; where numbers leave the range of their type, by `by_logs`."""

    @staticmethod
    def forward(ctx: Any, roots: Tensor, rules: Tensor, words: Tensor, spans: Tensor | None, lengths: Tensor) -> Tensor:
        chart = Chart(roots, rules, words, lengths, spans, keep_pairs=any(ctx.needs_input_grad))
        ctx.arguments, ctx.chart = (roots, rules, words, spans, lengths), chart
        if _finite(chart.log_partition) or not _finite(roots, rules, words):
            return chart.log_partition.clone()  # the node must not hold its own output
        ctx.chart = None
        return by_logs.log_partition(roots, rules, words, lengths, spans)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        roots, rules, words, spans, lengths = ctx.arguments
        if ctx.chart is not None:
            found = Downwards(ctx.chart, upstream).gradients()
            if _finite(found.roots, found.rules, found.words) or not _finite(roots, rules, words):
                return found.roots, found.rules, found.words, None if spans is None else found.spans, None
        leaves: list[Any] = [
            None if part is None else part.detach().requires_grad_() for part in (roots, rules, words, spans)
        ]
        with torch.enable_grad():
            again = by_logs.log_partition(leaves[0], leaves[1], leaves[2], lengths, leaves[3])
            gradients = torch.autograd.grad(again, [part for part in leaves if part is not None], upstream)
        return (*gradients, *[None] * (5 - len(gradients)))


def _finite(*parts: Tensor) -> bool:
    return all(bool(torch.isfinite(part.sum()).item()) for part in parts)


def log_partition(roots: Tensor, rules: Tensor, words: Tensor, lengths: Tensor, spans: Tensor | None = None) -> Tensor:
    """Return the log-probabilities of sentences, all trees and labels summed out.

    Parameters
    ----------
    roots : Tensor, floating, shape (G, NT)
        Log-probabilities, or any scores, of root -> A. G is 1, or B where each sentence has its own rules.
    rules : Tensor, shape (G, NT, S, S)
        Of A -> B C, at ``[g, A, B, C]``; S = NT + T symbols, nonterminals first.
    words : Tensor, shape (B, N, T)
        Of each preterminal -> the word at each place. Places past a sentence's end may hold any finite number.
    lengths : Tensor of int64, shape (B,)
        From 2 to N.
    spans : Tensor, shape (B, N + 1, N + 1), optional
        Added to the score of every span of two words or more. At zero, the gradient is the probability of the span.

    Returns
    -------
    Tensor, shape (B,)
        Differentiable once.

    Notes
    -----
    [Kim2019, section 2]. O(N^2 NT^3 + N^3 NT^2) a sentence. Within a cell, sums lose what is below the smallest number
    of the type times the largest term; where all is lost, or a gradient overflows, the batch is computed anew in
    logarithms, slowly.

    Examples
    --------
    >>> three = torch.tensor([3])
    >>> zeros = torch.zeros(1, 3), torch.zeros(1, 3, 7, 7), torch.zeros(1, 3, 4)
    >>> round(log_partition(*zeros, three).exp().item())  # 2 trees, 3 ** 2 labels of spans, 4 ** 3 of words
    1152
    """
    result: Tensor = _LogPartition.apply(roots, rules, words, spans, lengths)  # type: ignore[no-untyped-call]
    return result


def span_marginals(roots: Tensor, rules: Tensor, words: Tensor, lengths: Tensor) -> Tensor:
    """Return the posterior probabilities of spans.

    Parameters
    ----------
    roots, rules, words, lengths
        As for `log_partition`.

    Returns
    -------
    Tensor, shape (B, N + 1, N + 1)
        Zero for spans of one word, and past a sentence's end; not differentiable.

    Examples
    --------
    >>> zeros = torch.zeros(1, 3), torch.zeros(1, 3, 7, 7), torch.zeros(1, 3, 4)
    >>> span_marginals(*zeros, torch.tensor([3]))[0, 0].tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    with torch.no_grad():
        chart = Chart(roots, rules, words, lengths, None, keep_pairs=False)
        found = Downwards(chart, torch.ones_like(chart.log_partition)).spans
        if _finite(found) or not _finite(roots, rules, words):
            return found
    spans = torch.zeros_like(found, requires_grad=True)
    with torch.enable_grad():
        total = by_logs.log_partition(roots.detach(), rules.detach(), words.detach(), lengths, spans).sum()
    gradient: Tensor = torch.autograd.grad(total, spans)[0]
    return gradient
