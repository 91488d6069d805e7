"""Losses of realised tokens: log-probabilities, their sums over prefixes, cross-entropy, sampled reverse KL."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from treeavg.distill.sequences.align import require_ids, require_in_vocabulary
from treeavg.distill.sequences.losses.rows import blocks_of, compute_type, put, score_term, take
from treeavg.distill.sequences.reductions import reduce, require_mask
from treeavg.errors import ArgumentError

__all__ = ["prefix_log_odds", "sampled_rkl", "sequence_nll", "token_logp"]


def token_logp(logits: Tensor, ids: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return the log-probability of each token.

    Parameters
    ----------
    logits : Tensor, floating, shape (B, T, V)
        Differentiable, once; a block of rows at a time, so that only the gradient has this size.
    ids : Tensor, int64, shape (B, T)
        The tokens that ``logits[b, t]`` score.
    mask : Tensor, bool, shape (B, T), optional
        Which tokens count; the others give 0, whatever they are. Default: all.

    Returns
    -------
    Tensor
        Shape (B, T); float64 where the logits are, else float32.

    Raises
    ------
    ArgumentError
        Wrong shapes, or a token outside the vocabulary (looked for on the CPU only).

    Examples
    --------
    >>> token_logp(torch.zeros(1, 1, 2), torch.tensor([[1]])).exp().tolist()
    [[0.5]]
    """
    require_ids(ids, "ids")
    if logits.dim() != 3 or logits.shape[:2] != ids.shape or not logits.is_floating_point():
        raise ArgumentError(
            f"logits: expected floating, {tuple(ids.shape)} as ids, and a vocabulary, got {logits.dtype} of shape "
            f"{tuple(logits.shape)}. Use align(...).scores."
        )
    counted = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    require_mask(counted, ids.shape)
    tokens = torch.where(counted, ids, 0)
    require_in_vocabulary(tokens, logits.shape[2])
    result: Tensor = _TokenLogp.apply(logits, tokens, counted)  # type: ignore[no-untyped-call]
    return result


class _TokenLogp(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        found = logits.new_zeros(mask.shape, dtype=compute_type(logits))
        ctx.blocks = list(blocks_of(mask, logits.shape[2]))
        for places in ctx.blocks:
            rows = take(logits, places).to(found.dtype)
            chosen = rows.gather(1, ids.flatten()[places][:, None])[:, 0]
            found.view(-1)[places] = chosen - rows.logsumexp(-1)
        ctx.save_for_backward(logits, ids)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        logits, ids = ctx.saved_tensors
        gradient = torch.zeros(logits.shape, dtype=logits.dtype, device=logits.device)
        for places in ctx.blocks:
            put(gradient, places, score_term(take(logits, places), ids.flatten()[places], upstream.flatten()[places]))
        return gradient, None, None


def prefix_log_odds(
    teacher_logits: Tensor, student_logits: Tensor, ids: Tensor, *, mask: Tensor | None = None
) -> Tensor:
    """Return log Q(prefix) - log P(prefix) before each token: running sums over the tokens that came.

    Parameters
    ----------
    teacher_logits : Tensor, floating, shape (B, T, V)
        A constant.
    student_logits : Tensor, floating, shape (B, T, V)
        Differentiable: detach the result for the gradient with fixed prefixes.
    ids : Tensor, int64, shape (B, T)
        The tokens.
    mask : Tensor, bool, shape (B, T), optional
        Which tokens count. Default: all.

    Returns
    -------
    Tensor
        Shape (B, T), 0 before the first token.

    Raises
    ------
    ArgumentError
        As `token_logp`.

    References
    ----------
    [Wen et al. 2023, erratum]: the weight of the student in the exact mixture after a prefix.

    Examples
    --------
    >>> teacher = torch.tensor([[[0.2, 0.8], [0.5, 0.5]]]).log()
    >>> odds = prefix_log_odds(teacher, torch.zeros(1, 2, 2), torch.tensor([[1, 0]]))
    >>> [round(value, 4) for value in odds.flatten().tolist()]
    [0.0, -0.47]
    """
    gaps = token_logp(student_logits, ids, mask=mask) - token_logp(teacher_logits.detach(), ids, mask=mask)
    first = gaps.new_zeros(len(gaps), 1)
    return torch.cat([first, gaps], 1).cumsum(1)[:, :-1]  # not the sum less the last: that may be infinite


def sequence_nll(
    student_logits: Tensor,
    ids: Tensor,
    mask: Tensor,
    *,
    reduction: str = "token",
    n_items: float | Tensor | None = None,
    world_size: int = 1,
) -> Tensor:
    """Return -log q of given tokens: training on gold data, and SeqKD on a teacher's outputs.

    Parameters
    ----------
    student_logits : Tensor, floating, shape (B, T, V)
        The student's.
    ids : Tensor, int64, shape (B, T)
        The tokens.
    mask : Tensor, bool, shape (B, T)
        Which tokens count.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        See `reduce`.
    n_items : float or Tensor, optional
        See `reduce`.
    world_size : int, default 1
        See `reduce`.

    Returns
    -------
    Tensor
        A scalar, or shape (B, T).

    Raises
    ------
    ArgumentError
        As `token_logp` and `reduce`.

    References
    ----------
    [Kim and Rush, EMNLP 2016, section 3.2].

    Examples
    --------
    >>> round(float(sequence_nll(torch.zeros(1, 1, 2), torch.tensor([[1]]), torch.tensor([[True]]))), 4)
    0.6931
    """
    losses = -token_logp(student_logits, ids, mask=mask)
    return reduce(losses, mask, reduction=reduction, n_items=n_items, world_size=world_size)


def sampled_rkl(
    teacher_logp: Tensor,
    student_logp: Tensor,
    mask: Tensor,
    *,
    reduction: str = "token",
    n_items: float | Tensor | None = None,
    world_size: int = 1,
) -> Tensor:
    """Return the reverse KL from sampled tokens alone, for a teacher that scores only what is sent to it.

    Parameters
    ----------
    teacher_logp : Tensor, floating, shape (B, T)
        The teacher's log-probabilities of tokens that the student sampled. A constant.
    student_logp : Tensor, floating, shape (B, T)
        The student's, from `token_logp`. Differentiable.
    mask : Tensor, bool, shape (B, T)
        Which tokens count.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        See `reduce`.
    n_items : float or Tensor, optional
        See `reduce`.
    world_size : int, default 1
        See `reduce`.

    Returns
    -------
    Tensor
        Its value is log q - log p of the tokens, an unbiased estimate. Its gradient is that difference, as a constant,
        times the gradient of log q: in expectation over the tokens the gradient of "rkl" with fixed prefixes.

    Raises
    ------
    ArgumentError
        Shapes that differ, or as `reduce`.

    Examples
    --------
    >>> logits = torch.zeros(1, 1, 2, requires_grad=True)
    >>> logp = token_logp(logits, torch.tensor([[1]]))
    >>> sampled_rkl(torch.tensor([[0.25]]).log(), logp, torch.tensor([[True]])).backward()
    >>> [round(slope, 4) for slope in logits.grad.flatten().tolist()]
    [-0.3466, 0.3466]
    """
    if teacher_logp.shape != student_logp.shape:
        raise ArgumentError(
            f"teacher_logp: expected the student's shape {tuple(student_logp.shape)}, got {tuple(teacher_logp.shape)}. "
            "Score the same tokens with both."
        )
    require_mask(mask, student_logp.shape)
    rewards = torch.where(mask, student_logp - teacher_logp, 0).detach()  # what is masked may be infinite: not times 0
    losses = rewards + rewards * (student_logp - student_logp.detach())
    return reduce(losses, mask, reduction=reduction, n_items=n_items, world_size=world_size)
