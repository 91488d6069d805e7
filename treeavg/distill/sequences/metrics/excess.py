"""Excess error: how much more a student errs after its own prefixes than after its teacher's, as they grow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from treeavg.distill.sequences.metrics.estimates import Estimate, by_inputs, estimate
from treeavg.errors import ArgumentError

__all__ = ["ExcessError", "excess_error"]


@dataclass(frozen=True, eq=False)
class ExcessError:
    """How much more a student errs after its own prefixes than after the teacher's.

    Parameters
    ----------
    percent : float
        100 (D_s - D_t) / D_t; negative where the student's own prefixes are the easier ones.
    error : float
        Its standard error, to first order; NaN for one input of one sample.
    teacher, student : Estimate
        D_t, which is KL(p || q), and D_s: the local KL(p_t || q_t) summed over the teacher's and over the student's
        sequences. Both go forward: D_s is not KL(q || p).
    curve : Tensor, float64, shape (T,)
        The percentage from the first t + 1 tokens only.
    curve_error : Tensor, float64, shape (T,)
        Its standard error, likewise; NaN where no error of the teacher's has come yet.

    Examples
    --------
    >>> excess_error(torch.tensor([[1.0]]), torch.tensor([[2.0]])).percent
    100.0
    """

    percent: float
    error: float
    teacher: Estimate
    student: Estimate
    curve: Tensor
    curve_error: Tensor


def excess_error(on_teacher: Tensor, on_student: Tensor, *, samples: int = 1) -> ExcessError:
    """Return how errors add up along a student's own sequences.

    Parameters
    ----------
    on_teacher : Tensor, floating, shape (B, T)
        KL(p_t || q_t), summed exactly over the vocabulary, at each token of the teacher's samples; 0 elsewhere: what
        ``sequence_loss("kl", ..., reduction="none")`` gives.
    on_student : Tensor, floating, shape (B, T')
        The same at each token of the student's samples, of the same inputs row by row.
    samples : int, default 1
        Rows of each input, next to each other.

    Returns
    -------
    ExcessError
        Where D_t is 0: infinite, or 0 where D_s is 0 as well. Where D_t is infinite, as the student excludes what the
        teacher does not: NaN.

    Raises
    ------
    ArgumentError
        Shapes that do not fit, or numbers that are no divergences: NaN or negative.

    References
    ----------
    [Arora et al., Findings of ACL 2022], who compare a model with its data; here it is compared with a teacher.

    Examples
    --------
    >>> excess_error(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 2.0]])).curve.tolist()
    [0.0, 50.0]
    """
    for where, losses in (("on_teacher", on_teacher), ("on_student", on_student)):
        if losses.dim() != 2 or len(losses) != len(on_teacher) or not len(losses):
            raise ArgumentError(
                f"{where}: expected shape (B, T) with B = {len(on_teacher)} at least 1, got {tuple(losses.shape)}. "
                "Give a row for each sample, of both in the same order."
            )
        _require_divergences(losses, where)
    longest = max(on_teacher.shape[1], on_student.shape[1])
    width = max(longest, 1)
    so_far = [
        by_inputs(torch.nn.functional.pad(one.detach().double(), (0, width - one.shape[1])).cumsum(1), samples)
        for one in (on_teacher, on_student)
    ]
    p, q = (one.flatten(0, 1) if len(one) == 1 else one.mean(1) for one in so_far)  # as `estimate` does
    means = p.mean(0), q.mean(0)
    # To first order the ratio errs as the mean of D_s - ratio D_t over inputs does, which are drawn for both at once.
    ratio = torch.where(means[0] > 0, means[1] / means[0], math.nan)
    apart = q - ratio * p
    spread = apart.std(0) / math.sqrt(len(apart)) if len(apart) > 1 else torch.full_like(ratio, math.nan)
    curve, errors = _percent(*means), 100 * spread / means[0]
    teacher, student = (estimate(one[..., -1]) for one in so_far)
    return ExcessError(float(curve[-1]), float(errors[-1]), teacher, student, curve[:longest], errors[:longest])


def _percent(teacher: Tensor, student: Tensor) -> Tensor:
    excess = student - teacher
    ends = torch.where(excess > 0, math.inf, torch.zeros_like(excess))
    return torch.where(teacher > 0, 100 * excess / torch.where(teacher > 0, teacher, 1.0), ends)


def _require_divergences(losses: Tensor, where: str) -> None:
    bad = ~(losses.detach() >= -1e-4)  # rounding may go below 0
    if bad.any():
        place = bad.nonzero()[0].tolist()
        raise ArgumentError(
            f"{where}[{', '.join(map(str, place))}]: expected a divergence, 0 or more, got {float(losses[bad][0]):g}. "
            "Give sequence_loss('kl', ..., reduction='none'), and look for logits that are not finite."
        )
