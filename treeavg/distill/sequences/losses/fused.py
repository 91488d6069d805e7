"""Step-wise losses from hidden states and heads: logits exist for some rows at a time.

Where a head turns H numbers into V of a vocabulary, [B, T, V] is the largest tensor of a training step. Here the
backbones run without their heads, and value and gradient are computed together, block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from treeavg.distill.sequences.losses.forms import LARGEST_ODDS, Extra, form_of, odds_level, require_finite_losses
from treeavg.distill.sequences.losses.heads import Head, head_of, require_head
from treeavg.distill.sequences.losses.rows import (
    Form,
    blocks_of,
    compare,
    compute_type,
    put,
    rows_of_block,
    score_term,
    take,
)
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
    student's gradient; one that is not wanted, such as that of a frozen head, is left out. With ``reduction="none"`` or
    `score_function` the backward pass computes the logits again. Held beyond the gradients: two tensors [rows, V].

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
        vocabulary=len(student.weight),
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
    """Gradients of the student's hidden states, weight, bias and log-odds; None where one is not wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    odds: Tensor | None


class _Fused(Function):
    """The weighted sum of losses, and the losses (B, T)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, odds: Tensor | None, job: _Job
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[:4]
        student = Head(weight, bias, job.scale, job.softcap)
        factors = job.factors if job.early and any(wanted) else None
        losses, ctx.slopes = _Sweep(job, hidden, student, odds, wanted, factors).run()
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
                    slope.mul_(of_total)
        else:
            hidden, weight, bias, odds, losses = ctx.saved_tensors
            upstream = of_total * job.factors + (0 if job.early else of_losses)
            extra = job.extra
            chosen = None if extra.ids is None else extra.coefficients(upstream, losses, job.mask)
            student = Head(weight, bias, job.scale, job.softcap)
            slopes = _Sweep(job, hidden, student, odds, ctx.needs_input_grad[:4], upstream, chosen).run()[1]
        return *slopes, None


class _Sweep:
    """One pass over the rows that count: losses (B, T), and with `upstream` the gradients of their weighted sum.

    The products with the heads are made for a block of rows, into two tensors that all blocks share: to have memory
    mapped anew takes as long as the arithmetic on it. Between the products a few rows at a time stay in the cache, and
    the gradient of the logits takes the place of the student's product.
    """

    def __init__(
        self,
        job: _Job,
        hidden: Tensor,
        student: Head,
        odds: Tensor | None,
        wanted: Sequence[bool],
        upstream: Tensor | None,
        chosen: Tensor | None = None,
    ) -> None:
        self.job, self.hidden = job, hidden
        self.student, self.teacher = _cast(student, hidden.dtype), _cast(job.head, job.hidden.dtype)
        self.level = None if odds is None else odds_level(odds, job.form).flatten()
        self.losses = torch.zeros_like(job.factors)
        self.gain: Tensor | None = None
        self.found: _Slopes | None = None
        if upstream is not None:
            dtype = job.factors.dtype
            inputs = (hidden, self.student.weight, self.student.bias, odds)
            self.found = _Slopes(
                *(
                    torch.zeros(one.shape, dtype=dtype, device=one.device) if one is not None and need else None
                    for one, need in zip(inputs, wanted, strict=True)
                )
            )
            if hidden.dtype == torch.float16 and upstream.numel():  # 1 / N times a probability may be 0 in this type
                self.gain = upstream.abs().max().clamp(min=torch.finfo(dtype).tiny)
                upstream, chosen = upstream / self.gain, None if chosen is None else chosen / self.gain
        self.upstream = None if upstream is None else upstream.flatten()
        self.chosen = None if chosen is None else chosen.flatten()

    def run(self) -> tuple[Tensor, _Slopes | None]:
        """Return the losses and the gradients."""
        job = self.job
        room: list[Tensor] = []
        with torch.autocast(self.hidden.device.type, enabled=False):
            for places in blocks_of(job.mask, 1, job.rows):
                room = room or [_room(len(places), head.weight) for head in (self.student, self.teacher)]
                inputs = take(self.hidden, places)
                product = _product(self.student, inputs, room[0])
                of_teacher = _product(self.teacher, take(job.hidden, places), room[1])
                step = rows_of_block(places.device, product.shape[1])
                for start in range(0, len(places), step):
                    few = slice(start, start + step)
                    self._compare(places[few], product[few], of_teacher[few])
                self._through_weight(places, inputs, product)
        if self.gain is not None:
            for slope in self.found or ():
                if slope is not None:
                    slope.mul_(self.gain)
        return self.losses, self.found

    def _compare(self, places: Tensor, product: Tensor, of_teacher: Tensor) -> None:
        """Write the losses of a few rows, and the gradient of the student's product in its place."""
        student, found = self.student, self.found
        logits = student.surrounded(product)
        block = compare(
            self.job.form,
            self.teacher.surrounded(of_teacher),
            logits,
            odds=None if self.level is None else self.level[places],
            upstream=None if self.upstream is None else self.upstream[places],
        )
        self.losses.view(-1)[places] = block.value.to(self.losses.dtype)
        if found is None:
            return
        gradient = block.gradient
        assert gradient is not None
        if self.chosen is not None and self.job.extra.ids is not None:
            gradient += score_term(logits, self.job.extra.ids.flatten()[places], self.chosen[places])
        if student.softcap is not None:
            gradient *= 1 - (logits / student.softcap).square()
        if student.scale != 1:
            gradient *= student.scale
        if found.bias is not None:
            found.bias.add_(gradient.sum(0))
        product.copy_(gradient)
        if found.odds is not None and self.level is not None and block.odds_gradient is not None:
            inside = self.level[places].abs() < LARGEST_ODDS
            found.odds.view(-1)[places] = torch.where(inside, block.odds_gradient, 0).to(found.odds.dtype)

    def _through_weight(self, places: Tensor, inputs: Tensor, gradient: Tensor) -> None:
        """Add the gradients of a block's hidden states and of the weight, from that of their product."""
        if self.found is None:
            return
        of_hidden, of_weight = self.found.hidden, self.found.weight
        if of_hidden is not None:
            put(of_hidden, places, (gradient @ self.student.weight).to(of_hidden.dtype))
        if of_weight is None:
            return
        if gradient.dtype == of_weight.dtype:
            of_weight.addmm_(gradient.T, inputs)
        else:
            of_weight.add_(gradient.T @ inputs)


def _cast(head: Head, dtype: torch.dtype) -> Head:
    bias = None if head.bias is None else head.bias.to(dtype)
    return head._replace(weight=head.weight.to(dtype), bias=bias)


def _room(rows: int, weight: Tensor) -> Tensor:
    """Return space for products (R, V), each row from a multiple of 64 elements on: products are faster there."""
    size = len(weight)
    return weight.new_empty(rows, -(-size // 64) * 64)[:, :size]


def _product(head: Head, hidden: Tensor, room: Tensor) -> Tensor:
    """Return hidden states (R, H) times the weight, the bias added, in the room's first rows."""
    out, weight = room[: len(hidden)], head.weight.T
    if head.bias is None:
        return torch.mm(hidden, weight, out=out)
    return torch.addmm(head.bias, hidden, weight, out=out)
