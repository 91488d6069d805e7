"""What a student does with a teacher's law, from sampled sequences: risks, distances, errors that add up, diversity.

Everything is a mean over inputs with its standard error, in nats where nothing else is said, and makes no gradients.
`comparison.compare` runs two models and gives them all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from treeavg.distill.sequences.metrics.diversity import Peakness, distinct, peakness, peaks, teacher_distinct
from treeavg.distill.sequences.metrics.estimates import Estimate, by_inputs, estimate
from treeavg.distill.sequences.metrics.excess import ExcessError, excess_error
from treeavg.distill.sequences.reductions import require_mask
from treeavg.errors import ArgumentError, quote

__all__ = [
    "Estimate",
    "ExcessError",
    "Peakness",
    "Scored",
    "distinct",
    "estimate",
    "excess_error",
    "peakness",
    "peaks",
    "risk",
    "sequence_js",
    "sequence_tvd",
    "teacher_distinct",
]


class Scored(NamedTuple):
    """The log-probabilities that the teacher and the student give the same sequences, summed over tokens.

    Parameters
    ----------
    teacher : Tensor, floating, shape (N,) or (N, S)
        The teacher's, of one sequence of each input or of several.
    student : Tensor, floating, the same shape
        The student's.

    Examples
    --------
    >>> Scored(torch.tensor([-1.0]), torch.tensor([-2.0])).student.item()
    -2.0
    """

    teacher: Tensor
    student: Tensor


def risk(log_prob: Tensor, mask: Tensor, *, per_token: bool = False, samples: int = 1) -> Estimate:
    """Return the mean negative log-likelihood of sequences.

    Of a student's samples under the teacher it is the *likelihood risk*, high where a student averages modes; of the
    teacher's under the student the *coverage risk*, high where a student has lost some.

    Parameters
    ----------
    log_prob : Tensor, floating, shape (B, T)
        Of each token, under the judge; see `log_probs`.
    mask : Tensor, bool, shape (B, T)
        Which tokens count; the end does.
    per_token : bool, default False
        Divide each sequence's sum by its own number of tokens, as the released evaluation does for the published
        numbers. The paper's formula is the sum.
    samples : int, default 1
        Rows of each input, next to each other.

    Returns
    -------
    Estimate
        Infinite where the judge excludes a sequence. A sequence without tokens counts 0.

    Raises
    ------
    ArgumentError
        Shapes that do not fit, or numbers that are not log-probabilities.

    References
    ----------
    [Wen et al., ACL 2023], with their names.

    Examples
    --------
    >>> log_prob, mask = torch.tensor([[-1.0, -3.0], [-2.0, 0.0]]), torch.tensor([[True, True], [True, False]])
    >>> risk(log_prob, mask).value, risk(log_prob, mask, per_token=True).value
    (3.0, 2.0)
    """
    require_mask(mask, log_prob.shape)
    kept = torch.where(mask, log_prob.detach().double(), 0.0)
    _require_log_probs(kept, "log_prob")
    lengths = mask.sum(1).clamp(min=1) if per_token else 1
    return estimate(-kept.sum(1) / lengths if samples == 1 else by_inputs(-kept.sum(1) / lengths, samples))


def sequence_tvd(teacher_strings: Scored, student_strings: Scored | None = None) -> Estimate:
    """Return the total variation distance of two distributions over sequences, unbiased; not a bound step by step.

    It is the mean of max(0, 1 - q(Y) / p(Y)) over the teacher's samples Y, each between 0 and 1.

    Parameters
    ----------
    teacher_strings : Scored
        The teacher's exact samples.
    student_strings : Scored, optional
        The student's: the same from the other side, and the mean of both.

    Returns
    -------
    Estimate

    Raises
    ------
    ArgumentError
        Shapes that differ, or a sample that its own model excludes.

    Examples
    --------
    >>> p, q = torch.tensor([0.2, 0.4, 0.4, 0.4, 0.4]).log(), torch.tensor([0.5, 0.45, 0.45, 0.05, 0.05]).log()
    >>> round(sequence_tvd(Scored(p, q)).value, 6)
    0.35
    """
    terms = -torch.expm1(_log_ratio(teacher_strings, "teacher").clamp(max=0))
    if student_strings is None:
        return estimate(terms)
    others = -torch.expm1(_log_ratio(student_strings, "student").clamp(max=0))
    _require_same(terms, others)
    return estimate((terms + others) / 2)


def sequence_js(teacher_strings: Scored, student_strings: Scored, *, student_weight: float = 0.5) -> Estimate:
    """Return the Jensen-Shannon divergence of two distributions over sequences, unbiased; the mixture is of sequences.

    Parameters
    ----------
    teacher_strings : Scored
        The teacher's exact samples.
    student_strings : Scored
        The student's.
    student_weight : float, default 0.5
        The student's share b, between 0 and 1: the result is (1 - b) KL(p || m) + b KL(q || m), m = (1 - b) p + b q.

    Returns
    -------
    Estimate

    Raises
    ------
    ArgumentError
        Shapes that differ, a sample that its own model excludes, or a share out of range.

    Examples
    --------
    >>> same = Scored(torch.tensor([-1.0]), torch.tensor([-1.0]))
    >>> sequence_js(same, same).value
    0.0
    """
    if not isinstance(student_weight, (int, float)) or not 0 < student_weight < 1:
        raise ArgumentError(
            "student_weight: expected a number between 0 and 1, the ends left out, got "
            f"{quote(student_weight)}. Use 0.5 for equal halves."
        )
    of_p, of_q = math.log1p(-student_weight), math.log(student_weight)
    on_p, on_q = _log_ratio(teacher_strings, "teacher"), _log_ratio(student_strings, "student")
    _require_same(on_p, on_q)
    teacher_half = -torch.logaddexp(torch.full_like(on_p, of_p), on_p + of_q)
    student_half = -torch.logaddexp(torch.full_like(on_q, of_q), on_q + of_p)
    return estimate((1 - student_weight) * teacher_half + student_weight * student_half)


def _log_ratio(strings: Scored, own: str) -> Tensor:
    """Return the log of the other model's probability by that of the model that sampled, (N,) or (N, S)."""
    if strings.teacher.shape != strings.student.shape:
        raise ArgumentError(
            f"{own}_strings: expected log-probabilities of the same sequences, got shapes "
            f"{tuple(strings.teacher.shape)} and {tuple(strings.student.shape)}. Score each with both models."
        )
    p, q = (one.detach().double() for one in strings)
    for name, numbers in (("teacher", p), ("student", q)):
        _require_log_probs(numbers, f"{own}_strings.{name}")
    sampler, other = (p, q) if own == "teacher" else (q, p)
    if sampler.isinf().any():
        raise ArgumentError(
            f"{own}_strings: expected samples that the {own} can write, got one of probability 0. Sample exactly from "
            f"the {own}, and score what it wrote."
        )
    return other - sampler


def _require_log_probs(numbers: Tensor, where: str) -> None:
    bad = ~(numbers <= 1e-4)  # rounding may exceed 0
    if bad.any():
        place = bad.nonzero()[0].tolist()
        raise ArgumentError(
            f"{where}[{', '.join(map(str, place))}]: expected log-probabilities, got {float(numbers[bad][0]):g}. Use "
            "log_probs(...), and look for logits that are not finite."
        )


def _require_same(teacher: Tensor, student: Tensor) -> None:
    if teacher.shape != student.shape:
        raise ArgumentError(
            f"student_strings: expected the shape of the teacher's, {tuple(teacher.shape)}, got "
            f"{tuple(student.shape)}. Draw as many of each, for the same inputs."
        )
