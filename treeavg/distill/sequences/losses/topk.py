"""Losses against a teacher of whom only the k likeliest tokens of each position are known."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from treeavg.distill.sequences.losses.divergences import KINDS, form_of, require_finite_losses, sequence_loss
from treeavg.distill.sequences.losses.records import (
    TopK,
    checked_mask,
    laws,
    require_records,
    scored,
    top_k,
)
from treeavg.distill.sequences.losses.rows import compute_type
from treeavg.distill.sequences.reductions import reduce
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["TAILS", "TopK", "position_weights", "scored", "top_k", "top_k_loss"]

#: What becomes of the tokens outside the teacher's k.
TAILS: dict[str, str] = {
    "bucket": "they are one more category: a divergence, a lower bound of the full one, equal to it at k = V",
    "truncated": "they are left out of the sum: no divergence, may be negative or above the full one; kl and ce only",
    "renormalised": "both laws are restricted to the k tokens and normalised again; 0 for k = 1; kl and ce only",
}
_ONE_SIDED = ("kl", "ce")


def top_k_loss(
    kind: str,
    teacher: TopK,
    student_logits: Tensor,
    mask: Tensor,
    *,
    tail: str = "bucket",
    half: str = "both",
    student_weight: float = 0.5,
    mixture: str = "token",
    prefix_log_odds: Tensor | None = None,
    temperature: float = 1.0,
    scale_by_temperature: bool = False,
    normalize: bool = False,
    reduction: str = "token",
    n_items: float | Tensor | None = None,
    world_size: int = 1,
) -> Tensor:
    """Return a divergence between a teacher's k tokens and a student.

    Parameters
    ----------
    kind : str
        One of the kinds of `sequence_loss`.
    teacher : TopK
        The teacher's k tokens at each position, which may be any set.
    student_logits : Tensor, floating, shape (B, T, V)
        The student's. Masked positions may hold anything.
    mask : Tensor, bool, shape (B, T)
        Positions that count.
    tail : str, default "bucket"
        One of `TAILS`. With ``"bucket"`` both laws have k + 1 categories; at k = V there is no tail.
    half : {"both", "teacher", "student"}, default "both"
        As in `sequence_loss`.
    student_weight : float, default 0.5
        As in `sequence_loss`.
    mixture : {"token", "prefix"}, default "token"
        As in `sequence_loss`.
    prefix_log_odds : Tensor, floating, shape (B, T), optional
        As in `sequence_loss`; from the log-probabilities of the realised tokens, which a cache keeps.
    temperature : float, default 1.0
        Divides the student's logits. Must be the teacher's.
    scale_by_temperature : bool, default False
        Multiply by the temperature squared; for tvd by the temperature.
    normalize : bool, default False
        As in `sequence_loss`.
    reduction : str, default "token"
        As in `sequence_loss`.
    n_items : float or Tensor, optional
        As in `sequence_loss`.
    world_size : int, default 1
        As in `sequence_loss`.

    Returns
    -------
    Tensor
        A scalar; shape (B, T) for ``reduction="none"``.

    Raises
    ------
    ArgumentError
        An unknown or meaningless option, another temperature than the teacher's, other shapes; on the CPU also tokens
        out of range or repeated, log-probabilities that are not normalised, and logits that are not finite.

    Notes
    -----
    With the bucket, KL = binary KL of the two heads' masses + the teacher's mass on its k tokens times the renormalised
    KL. The student's tail is summed over the other tokens themselves, so a small one has no cancellation and keeps its
    gradient. Beyond the logits and their gradient, laws over the vocabulary are held for a few rows only.

    Examples
    --------
    >>> teacher = top_k(torch.tensor([[[0.5, 0.3, 0.1, 0.1]]]).log(), 2)
    >>> student, mask = torch.zeros(1, 1, 4), torch.ones(1, 1, dtype=torch.bool)
    >>> [round(float(top_k_loss("kl", teacher, student, mask, tail=tail)), 4) for tail in TAILS]
    [0.218, 0.4013, 0.0316]
    """
    _require_options(kind, tail, teacher, student_logits, mask, temperature)
    form = form_of(
        kind, half=half, student_weight=student_weight, mixture=mixture, normalize=normalize,
        temperature=temperature, scale_by_temperature=scale_by_temperature,
    )  # fmt: skip
    head = teacher.log_probs.detach().to(compute_type(student_logits))
    k = head.shape[-1]
    head = torch.where(mask[..., None], head, torch.full_like(head, -math.log(k)))
    # Rounding (caches in half precision) may push the mass above 1: take it back, so that the law stays a law.
    head = head - head.logsumexp(-1, keepdim=True).clamp(min=0)
    buckets = _Buckets.apply(student_logits, teacher.ids.long(), mask, temperature)  # type: ignore[no-untyped-call]
    if tail == "truncated":
        ratio = buckets[..., :k] if kind == "ce" else buckets[..., :k] - head.clamp(min=torch.finfo(head.dtype).min)
        losses = -form.factor * (head.exp() * ratio).sum(-1)
        require_finite_losses(losses, mask, kind)
        return reduce(losses, mask, reduction=reduction, n_items=n_items, world_size=world_size)
    if tail == "bucket" and k < student_logits.shape[-1]:
        head = torch.cat([head, _teacher_tail(head, kind, teacher.log_probs.dtype)], -1)
    scale = 1.0
    if scale_by_temperature:  # the buckets' laws are at this temperature already: only the factor is left
        scale = temperature if kind == "tvd" else temperature**2
    return scale * sequence_loss(
        kind, head, buckets[..., : head.shape[-1]], mask, half=half, student_weight=student_weight, mixture=mixture,
        prefix_log_odds=prefix_log_odds, normalize=normalize, reduction=reduction, n_items=n_items,
        world_size=world_size,
    )  # fmt: skip


def position_weights(advantages: Tensor, mask: Tensor, *, gamma: float = 0.5) -> Tensor:
    """Return weights that fall along a sequence as teacher and student drift apart [IW-OPD, Xie et al. 2026].

    Parameters
    ----------
    advantages : Tensor, floating, shape (B, T)
        Of each realised token, such as its log-probability under the teacher less that under the student.
    mask : Tensor, bool, shape (B, T)
        Positions that count.
    gamma : float, default 0.5
        The first position weighs 1 + gamma.

    Returns
    -------
    Tensor, shape (B, T)
        1 + gamma (1 - sum of abs(A) *before* the position / sum of abs(A)), constants; 0 at masked positions.

    Raises
    ------
    ArgumentError
        `gamma` is negative or not finite, or the shapes differ.

    Examples
    --------
    >>> position_weights(torch.tensor([[1.0, -1.0, 2.0]]), torch.ones(1, 3, dtype=torch.bool))
    tensor([[1.5000, 1.3750, 1.2500]])
    """
    if not 0 <= gamma < math.inf:
        raise ArgumentError(f"gamma: expected a number from 0, got {quote(gamma)}. Use 0.5.")
    if advantages.shape != mask.shape:
        raise ArgumentError(
            f"mask: expected the shape of advantages, {tuple(advantages.shape)}, got {tuple(mask.shape)}. "
            "Mask completions, not prompts."
        )
    sizes = torch.where(mask, advantages.detach().abs(), torch.zeros_like(advantages))
    before = sizes.cumsum(1) - sizes
    total = sizes.sum(1, keepdim=True)
    share = before / torch.where(total > 0, total, torch.ones_like(total))
    return torch.where(mask, 1 + gamma * (1 - share), torch.zeros_like(share))


class _Buckets(Function):
    """Log-probabilities of k tokens and of all others together, [B, T, k + 1]; masked positions are uniform."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor, mask: Tensor, temperature: float) -> Tensor:
        k = ids.shape[-1]
        out = logits.new_full((*ids.shape[:-1], k + 1), -math.log(k + 1), dtype=compute_type(logits))
        flat, chosen = out.view(-1, k + 1), ids.reshape(-1, k)
        for rows, law in laws(logits, mask, temperature, "student_logits"):
            flat[rows, :k] = law.gather(-1, chosen[rows])
            flat[rows, k] = law.scatter_(-1, chosen[rows], -math.inf).logsumexp(-1)
        tail = flat[:, k]  # all other tokens may be impossible, or there may be none: keep the log finite
        flat[:, k] = torch.where(tail == -math.inf, torch.full_like(tail, math.log(_floor(out.dtype))), tail)
        ctx.save_for_backward(logits, chosen, mask, flat[:, k])
        ctx.temperature = temperature
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        logits, chosen, mask, tail = ctx.saved_tensors
        k, flat = chosen.shape[-1], grad.reshape(-1, chosen.shape[-1] + 1)
        result = torch.zeros_like(logits, memory_format=torch.contiguous_format)
        found = result.view(-1, logits.shape[-1])
        for rows, law in laws(logits, mask, ctx.temperature, None):
            total = flat[rows].sum(-1, keepdim=True)
            picked = chosen[rows]
            q = law.gather(-1, picked).exp()
            # d log(tail) / dz = softmax over the others; d log(any bucket) / dz also has -q, through the normaliser.
            below = tail[rows, None]  # exp(law - below) is at most 1 for the others, however little is left for them
            others = law.sub_(below).exp_().mul_(flat[rows, k:] - total * below.exp())
            others.scatter_(-1, picked, flat[rows, :k] - total * q)
            found[rows] = others.div_(ctx.temperature).to(logits.dtype)
        return result, None, None, None


def _teacher_tail(head: Tensor, kind: str, stored: torch.dtype) -> Tensor:
    """Return the log of what the teacher's k tokens leave, [B, T, 1]: never infinite.

    Where the law is only a weight, the floor is nothing at all; where the student's own mass meets this log (rkl and
    the like), a tail lost in rounding counts as the rounding error it may be.
    """
    weight_only = kind in ("kl", "ce", "js", "tvd")
    floor = torch.finfo(head.dtype).tiny if weight_only else _floor(stored)
    return (-torch.expm1(head.logsumexp(-1, keepdim=True))).clamp(min=floor).log()


def _floor(dtype: torch.dtype) -> float:
    return 1e-15 if dtype == torch.float64 else 1e-7


def _require_options(
    kind: str, tail: str, teacher: TopK, student_logits: Tensor, mask: Tensor, temperature: float
) -> None:
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if tail not in TAILS:
        raise unknown("tail", tail, TAILS)
    if tail != "bucket" and kind not in _ONE_SIDED:
        raise ArgumentError(
            f"tail: expected 'bucket' for {kind!r}, got {tail!r}. Without the bucket a student lowers this loss by "
            "moving mass to tokens that the teacher's record leaves out."
        )
    checked_mask(student_logits, mask, "student_logits")
    require_records(teacher, mask, student_logits.shape[-1])
    if temperature != teacher.temperature:
        raise ArgumentError(
            f"temperature: expected {teacher.temperature:g}, at which the teacher's log-probabilities were recorded, "
            f"got {quote(temperature)}. Record them again, or train at {teacher.temperature:g}."
        )
