"""Step-wise divergences between a teacher p and a student q on the tokens of sequences, from logits.

A loss of a position compares two next-token laws after one prefix. Who made the prefix decides what the sum over
positions estimates: the exact KL(p || q) is a sum over the teacher's own sequences, the exact KL(q || p) one over the
student's, Jensen-Shannon and total variation have a half on each [Wen et al. 2023, equations 5 to 9]. `half` says which
half a batch is for; the two calls add up to the loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from treeavg.distill.sequences.losses.forms import (
    HALVES,
    KINDS,
    LARGEST_ODDS,
    MIXTURES,
    Extra,
    form_of,
    odds_level,
    require_finite_losses,
)
from treeavg.distill.sequences.losses.rows import Form, blocks_of, compare, compute_type, put, score_term, take
from treeavg.distill.sequences.losses.tokens import prefix_log_odds, sampled_rkl, sequence_nll, token_logp
from treeavg.distill.sequences.reductions import reduce, require_mask
from treeavg.errors import ArgumentError

__all__ = [
    "HALVES",
    "KINDS",
    "MIXTURES",
    "form_of",
    "prefix_log_odds",
    "require_finite_losses",
    "sampled_rkl",
    "sequence_loss",
    "sequence_nll",
    "token_logp",
]


def sequence_loss(
    kind: str,
    teacher_logits: Tensor,
    student_logits: Tensor,
    mask: Tensor,
    *,
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
    """Return a divergence of a student from a teacher on the tokens of sequences.

    Parameters
    ----------
    kind : str
        One of `KINDS`, which says what each is.
    teacher_logits : Tensor, floating, shape (B, T, V)
        The teacher's, a constant: nothing flows back to it. ``align`` makes them.
    student_logits : Tensor, floating, shape (B, T, V)
        The student's, on the same tokens. Differentiable, once.
    mask : Tensor, bool, shape (B, T)
        Which tokens count; elsewhere the logits may be anything, also NaN, and get a zero gradient.
    half : {"both", "teacher", "student"}, default "both"
        For js and tvd: the half for sequences of the teacher, with its weight 1 - b; that for sequences of the student,
        with its weight b; or their sum on whatever sequences, as GKD does.
    student_weight : float, default 0.5
        For js, gjsd and tvd: the share b of the student in the mixture and among the two halves. Between 0 and 1; for
        gjsd and tvd the ends are allowed. GKD's beta is 1 - b; the released f-distill code calls b its beta.
    mixture : {"token", "prefix"}, default "token"
        For js: the mixture of the two next-token laws by b, an upper bound; or by the odds of the prefix, which makes
        the sum over positions the exact divergence of sequences.
    prefix_log_odds : Tensor, floating, shape (B, T), optional
        For the prefix mixture: log Q(prefix) - log P(prefix), see the function of that name. Differentiable.
    temperature : float, default 1.0
        Divides the student's logits, and the teacher's.
    teacher_temperature : float, optional
        Divides the teacher's logits in place of `temperature`.
    scale_by_temperature : bool, default False
        Multiply by the temperature's square, for tvd by the temperature, so that the loss has a limit as it grows.
    normalize : bool, default False
        For gjsd: divide by b (1 - b), which makes it continuous at the ends.
    score_function : bool, default False
        Add to the gradient what flows through the student's choice of tokens: give `ids` that it has sampled. The value
        is the same.
    ids : Tensor, int64, shape (B, T), optional
        For `score_function`: the tokens.
    baseline : Tensor, floating, shape (B, T), optional
        For `score_function`: subtracted from the losses after each position; it may depend on the prefix only.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        See `reduce`. Under "sequence" sums over positions are those of the theorems.
    n_items : float or Tensor, optional
        Divide by this number in place of this batch's; see `reduce`.
    world_size : int, default 1
        Processes whose gradients are averaged; see `reduce`.

    Returns
    -------
    Tensor
        A scalar, or shape (B, T) for ``reduction="none"``; float64 where the logits are, else float32.

    Raises
    ------
    ArgumentError
        An unknown kind or option, an option that means nothing for this kind, shapes that do not fit, or a loss that is
        NaN or infinite (looked for on the CPU only).

    Notes
    -----
    Value and gradient are computed in closed form, a block of rows at a time and on the rows that count: beyond the
    gradient itself nothing of the logits' size is held.

    References
    ----------
    [Wen et al., ACL 2023] for js and tvd, with the erratum's mixture as ``mixture="prefix"``; [Agarwal et al., ICLR
    2024, section 3] for gjsd.

    Examples
    --------
    >>> teacher = torch.tensor([[[0.2, 0.8]]]).log()
    >>> student = torch.zeros(1, 1, 2, requires_grad=True)
    >>> loss = sequence_loss("kl", teacher, student, torch.tensor([[True]]))
    >>> loss.backward()
    >>> round(loss.item(), 4), [round(slope, 4) for slope in student.grad.flatten().tolist()]
    (0.1927, [0.3, -0.3])
    """
    require_pair(teacher_logits, student_logits, mask)
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
        vocabulary=student_logits.shape[2],
        half=half,
        mixture=mixture,
        odds=prefix_log_odds,
        score_function=score_function,
        ids=ids,
        baseline=baseline,
    )
    losses = _Stepwise.apply(student_logits, extra.odds, teacher_logits.detach(), mask, form, extra)  # type: ignore[no-untyped-call]
    require_finite_losses(losses, mask, kind)
    return reduce(losses, mask, reduction=reduction, n_items=n_items, world_size=world_size)


def require_pair(teacher: Tensor, student: Tensor, mask: Tensor) -> None:
    """Raise an ArgumentError where logits are not floating (B, T, V), alike, with a mask (B, T)."""
    for where, logits in (("teacher_logits", teacher), ("student_logits", student)):
        if logits.dim() != 3 or not logits.is_floating_point():
            raise ArgumentError(
                f"{where}: expected floating logits of shape (B, T, V), got {logits.dtype} of shape "
                f"{tuple(logits.shape)}. Use align(...).scores."
            )
    if teacher.shape[2] != student.shape[2]:
        raise ArgumentError(
            f"teacher_logits: expected the student's vocabulary of {student.shape[2]}, got {teacher.shape[2]}. Where "
            "only the heads' padding differs, cut both to the common tokens; else see sequences.vocabulary."
        )
    if teacher.shape != student.shape:
        raise ArgumentError(
            f"teacher_logits: expected the student's shape {tuple(student.shape)}, got {tuple(teacher.shape)}. Align "
            "both models on the same completions."
        )
    if teacher.device != student.device:
        raise ArgumentError(
            f"teacher_logits: expected a tensor on {student.device}, where the student's are, got one on "
            f"{teacher.device}. Move it there."
        )
    require_mask(mask, student.shape[:2])


class _Stepwise(Function):
    """Losses (B, T) of two tensors of logits; the backward pass computes them again, block by block."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, odds: Tensor | None, teacher: Tensor, mask: Tensor, form: Form, extra: Extra
    ) -> Tensor:
        losses = student.new_zeros(mask.shape, dtype=compute_type(teacher, student))
        level = None if odds is None else odds_level(odds, form)
        ctx.blocks = list(blocks_of(mask, student.shape[2]))  # to find them a device is waited for: once is enough
        for places in ctx.blocks:
            here = None if level is None else level.flatten()[places]
            block = compare(form, take(teacher, places), take(student, places), odds=here)
            losses.view(-1)[places] = block.value
        ctx.save_for_backward(student, teacher, mask, losses, odds)
        ctx.form, ctx.extra = form, extra
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        student, teacher, mask, losses, odds = ctx.saved_tensors
        form, extra = ctx.form, ctx.extra
        level = None if odds is None else odds_level(odds, form)
        slopes = None if odds is None else torch.zeros_like(losses)
        chosen = None if extra.ids is None else extra.coefficients(upstream, losses, mask)
        gradient = torch.zeros(student.shape, dtype=student.dtype, device=student.device)
        for places in ctx.blocks:
            here = None if level is None else level.flatten()[places]
            rows = take(student, places)
            block = compare(form, take(teacher, places), rows, odds=here, upstream=upstream.flatten()[places])
            found = block.gradient
            assert found is not None
            if chosen is not None:
                found += score_term(rows, extra.ids.flatten()[places], chosen.flatten()[places])
            put(gradient, places, found)
            if slopes is not None:
                assert block.odds_gradient is not None
                slopes.view(-1)[places] = block.odds_gradient
        if slopes is not None and level is not None:
            slopes = torch.where(level.abs() < LARGEST_ODDS, slopes, 0).to(odds.dtype)
        return gradient, slopes, None, None, None, None
