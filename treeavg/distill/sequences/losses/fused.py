"""Step-wise losses from hidden states and heads: logits exist for some rows at a time.

Where a head turns H numbers into V of a vocabulary, [B, T, V] is the largest tensor of a training step. Here the
backbones run without their heads, and value and gradient are computed together, block by block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from treeavg.distill.sequences.losses.forms import LARGEST_ODDS, Extra, form_of, odds_level, require_finite_losses
from treeavg.distill.sequences.losses.heads import Head, head_of, require_head
from treeavg.distill.sequences.losses.rows import Form, blocks_of, compare, compute_type, score_term, take
from treeavg.distill.sequences.reductions import require_mask, weights
from treeavg.errors import ArgumentError, quote

__all__ = ["Head", "fused_loss", "head_of", "require_head"]


def fused_loss(
    kind: str,
    student_hidden: Tensor,
    student_head: Head | tuple[Tensor, Tensor | None],
    teacher_hidden: Tensor,
    teacher_head: Head | tuple[Tensor, Tensor | None],
    mask: Tensor,
    *,
    rows: int = 256,
    half: str = "both",
    student_weight: float = 0.5,
    mixture: str = "token",
    prefix_log_odds: Tensor | None = None,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    scale_by_temperature: bool = False,
    normalize: bool = False,
    score_function: bool = False,
    ids: Tensor | None = None,
    baseline: Tensor | None = None,
    reduction: str = "token",
    n_items: float | Tensor | None = None,
    world_size: int = 1,
) -> Tensor:
    """Return what `sequence_loss` does, from hidden states.

    Parameters
    ----------
    kind : str
        One of `divergences.KINDS`.
    student_hidden : Tensor, floating, shape (B, T, H)
        From ``align(..., output="hidden")``. Differentiable, once.
    student_head : Head or tuple of weight and bias
        See `head_of`. Differentiable.
    teacher_hidden : Tensor, floating, shape (B, T, H of the teacher)
        A constant.
    teacher_head : Head or tuple of weight and bias
        Over the same vocabulary. A constant.
    mask : Tensor, bool, shape (B, T)
        Which tokens count; the others never reach a head.
    rows : int, default 256
        Positions whose logits exist at a time: more is faster and takes more memory.
    half, student_weight, mixture, prefix_log_odds : optional
        As for `sequence_loss`.
    temperature, teacher_temperature, scale_by_temperature, normalize : optional
        As for `sequence_loss`.
    score_function, ids, baseline : optional
        As for `sequence_loss`.
    reduction, n_items, world_size : optional
        As for `sequence_loss`.

    Returns
    -------
    Tensor
        A scalar, or shape (B, T) for ``reduction="none"``.

    Raises
    ------
    ArgumentError
        As `sequence_loss`; or heads of different vocabularies, or of another width than the hidden states.

    Notes
    -----
    With a reduced loss the gradient is computed in the forward pass, at one product with each head and two more for the
    student's gradient. With ``reduction="none"`` or `score_function` the backward pass computes the logits again.

    Examples
    --------
    >>> hidden, head = torch.zeros(1, 1, 2), Head(torch.eye(2))
    >>> float(fused_loss("kl", hidden, head, hidden, head, torch.tensor([[True]])))
    0.0
    """
    student, teacher = Head(*student_head), Head(*teacher_head)
    _require(student_hidden, student, "student", mask)
    _require(teacher_hidden, teacher, "teacher", mask)
    if len(student.weight) != len(teacher.weight):
        raise ArgumentError(
            f"teacher_head: expected the student's vocabulary of {len(student.weight)}, got {len(teacher.weight)}. "
            "Where only padding differs, cut weights and biases to the common tokens; else see sequences.vocabulary."
        )
    if not isinstance(rows, int) or rows < 1:
        raise ArgumentError(f"rows: expected a number of positions, at least 1, got {quote(rows)}. Use 256.")
    form = form_of(
        kind,
        half=half,
        student_weight=student_weight,
        mixture=mixture,
        temperature=temperature,
        teacher_temperature=teacher_temperature,
        scale_by_temperature=scale_by_temperature,
        normalize=normalize,
    )
    extra = Extra.checked(
        mask,
        half=half,
        mixture=mixture,
        odds=prefix_log_odds,
        score_function=score_function,
        ids=ids,
        baseline=baseline,
    )
    dtype = compute_type(student_hidden, teacher_hidden)
    factors = weights(mask, reduction=reduction, n_items=n_items, world_size=world_size, dtype=dtype)
    early = torch.is_grad_enabled() and reduction != "none" and not score_function
    constant = Head(
        teacher.weight.detach(),
        None if teacher.bias is None else teacher.bias.detach(),
        teacher.scale,
        teacher.softcap,
    )
    job = _Job(
        form, extra, mask, teacher_hidden.detach(), constant, factors, rows, early, student.scale, student.softcap
    )
    total, losses = _Fused.apply(student_hidden, student.weight, student.bias, extra.odds, job)  # type: ignore[no-untyped-call]
    require_finite_losses(losses, mask, kind)
    result: Tensor = losses if reduction == "none" else total
    return result


def _require(hidden: Tensor, head: Head, side: str, mask: Tensor) -> None:
    """Raise an ArgumentError where hidden states, their head and the mask do not fit."""
    if hidden.dim() != 3 or not hidden.is_floating_point():
        raise ArgumentError(
            f"{side}_hidden: expected floating hidden states of shape (B, T, H), got {hidden.dtype} of shape "
            f"{tuple(hidden.shape)}. Use align(..., output='hidden').scores."
        )
    weight, bias = head.weight, head.bias
    if weight.dim() != 2 or weight.shape[1] != hidden.shape[2] or not weight.is_floating_point():
        raise ArgumentError(
            f"{side}_head: expected a floating weight of shape (V, {hidden.shape[2]}), as wide as the hidden states, "
            f"got {weight.dtype} of shape {tuple(weight.shape)}. Use head_of(model)."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ArgumentError(
            f"{side}_head: expected a bias of shape ({len(weight)},), one for each token, got {tuple(bias.shape)}. Use "
            "head_of(model)."
        )
    require_mask(mask, hidden.shape[:2])


@dataclass(frozen=True)
class _Job:
    """What stays constant in a fused loss."""

    form: Form
    extra: Extra
    mask: Tensor
    hidden: Tensor
    head: Head
    factors: Tensor
    rows: int
    early: bool
    scale: float
    softcap: float | None


class _Slopes(NamedTuple):
    """Gradients of the student's hidden states, weight, bias and log-odds."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    odds: Tensor | None


class _Fused(Function):
    """The weighted sum of losses, and the losses (B, T)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, odds: Tensor | None, job: _Job
    ) -> tuple[Tensor, Tensor]:
        wanted = job.early and any(ctx.needs_input_grad)
        student = Head(weight, bias, job.scale, job.softcap)
        losses, ctx.slopes = _sweep(job, hidden, student, odds, job.factors if wanted else None, None)
        if job.early:
            ctx.mark_non_differentiable(losses)
        ctx.save_for_backward(hidden, weight, bias, odds, losses)
        ctx.job = job
        return (losses * job.factors).sum(), losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor, of_losses: Tensor) -> tuple[Tensor | None, ...]:
        job, slopes = ctx.job, ctx.slopes
        if slopes is not None:
            ctx.slopes = None  # they are overwritten: a second backward pass computes them again
            for slope in slopes:
                if slope is not None:
                    slope.mul_(of_total.to(slope.dtype))
        else:
            hidden, weight, bias, odds, losses = ctx.saved_tensors
            upstream = of_total * job.factors + (0 if job.early else of_losses)
            extra = job.extra
            chosen = None if extra.ids is None else extra.coefficients(upstream, losses, job.mask)
            student = Head(weight, bias, job.scale, job.softcap)
            slopes = _sweep(job, hidden, student, odds, upstream, chosen)[1]
        return *slopes, None


def _sweep(
    job: _Job, hidden: Tensor, student: Head, odds: Tensor | None, upstream: Tensor | None, chosen: Tensor | None
) -> tuple[Tensor, _Slopes | None]:
    """Return the losses (B, T), and where `upstream` is given the gradients of their sum with these weights."""
    dtype = job.factors.dtype
    losses = torch.zeros_like(job.factors)
    level = None if odds is None else odds_level(odds, job.form).flatten()
    teacher, student = _cast(job.head, job.hidden.dtype), _cast(student, hidden.dtype)
    found = None
    if upstream is not None:
        found = _Slopes(
            torch.zeros_like(hidden),
            torch.zeros_like(student.weight, dtype=dtype),
            None if student.bias is None else torch.zeros_like(student.bias, dtype=dtype),
            None if odds is None else torch.zeros_like(losses),
        )
    with torch.autocast(hidden.device.type, enabled=False):
        for places in blocks_of(job.mask, 1, job.rows):
            inputs = take(hidden, places)
            logits = student.logits(inputs)
            p_logits = teacher.logits(take(job.hidden, places))
            here = None if level is None else level[places]
            weighed = None if upstream is None else upstream.flatten()[places]
            block = compare(job.form, p_logits, logits, odds=here, upstream=weighed)
            del p_logits
            losses.view(-1)[places] = block.value.to(dtype)
            if found is None:
                continue
            gradient = block.gradient
            assert gradient is not None
            if chosen is not None and job.extra.ids is not None:
                gradient += score_term(logits, job.extra.ids.flatten()[places], chosen.flatten()[places])
            _through_head(found, places, inputs, logits, gradient, student)
            if found.odds is not None and level is not None and block.odds_gradient is not None:
                inside = level[places].abs() < LARGEST_ODDS
                found.odds.view(-1)[places] = torch.where(inside, block.odds_gradient, 0).to(dtype)
    return losses, found


def _cast(head: Head, dtype: torch.dtype) -> Head:
    bias = None if head.bias is None else head.bias.to(dtype)
    return head._replace(weight=head.weight.to(dtype), bias=bias)


def _through_head(found: _Slopes, places: Tensor, inputs: Tensor, logits: Tensor, gradient: Tensor, head: Head) -> None:
    """Add the gradients of a block's hidden states, weight and bias, from those of its logits."""
    if head.softcap is not None:
        gradient = gradient * (1 - (logits / head.softcap).square())
    if head.scale != 1:
        gradient = gradient * head.scale
    if found.bias is not None:
        found.bias.add_(gradient.sum(0))
    low = gradient.to(head.weight.dtype)
    length = found.hidden.shape[1]
    found.hidden[places // length, places % length] = low @ head.weight
    if low.dtype == found.weight.dtype:
        found.weight.addmm_(low.T, inputs)
    else:
        found.weight.add_(low.T @ inputs)
