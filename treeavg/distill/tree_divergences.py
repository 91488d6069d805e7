"""Divergences between two distributions over binary trees, exactly or bounded, one number a sentence.

With mu the probability that a tree has a span, and p_s, q_s the laws of its split, summed over spans s of two words or
more:

    KL(p || q) = sum of mu_p(s) KL(p_s || q_s)          RKL = sum of mu_q(s) KL(q_s || p_s)

exactly, since each span is split at most once. Nothing flows back to the teacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from treeavg.distill import compiled
from treeavg.distill.span_crf import SpanCRF
from treeavg.distill.split_laws import cross_entropies, expectation
from treeavg.distill.split_model import SplitModel

Distribution = SpanCRF | SplitModel


@dataclass(frozen=True)
class Options:
    """How to compare a teacher p with a student q.

    Parameters
    ----------
    student_weight : float
        The student's share b of a mixture, and of the two halves.
    detach_visits : bool
        Take the student's visits as constants.
    samples : int
        Trees drawn from each side, where trees are drawn.
    generator : torch.Generator or None
        Source of random numbers.
    """

    student_weight: float = 0.5
    detach_visits: bool = False
    samples: int = 1
    generator: torch.Generator | None = None


def _compiled(kind: str, teacher: Distribution, student: Distribution, options: Options) -> Tensor | None:
    """Return the divergence from its kernel, where both sides have scores on the CPU; else None."""
    if not (isinstance(teacher, SpanCRF) and isinstance(student, SpanCRF) and student.backend == "compiled"):
        return None
    weight, detached = options.student_weight, options.detach_visits
    potentials = teacher.potentials.detach().double()
    return compiled.divergence(kind, potentials, student.potentials, student.lengths, weight, detached)


class _Pair:
    """The laws and visits of a teacher (constants) and a student, by width."""

    def __init__(self, teacher: Distribution, student: Distribution, options: Options) -> None:
        self.q = student.exact_laws()
        self.like = student.reference
        with torch.no_grad():
            self.p = [law.to(self.like.dtype) for law in teacher.exact_laws()]
            self.p_visits = [visit.to(self.like.dtype) for visit in teacher.visits_by_width()]
        visits = student.visits_by_width()
        self.q_visits = [visit.detach() for visit in visits] if options.detach_visits else visits

    def over_teacher(self, values: list[Tensor]) -> Tensor:
        return expectation(self.p_visits, values, self.like)

    def over_student(self, values: list[Tensor]) -> Tensor:
        return expectation(self.q_visits, values, self.like)


def _relative(laws: list[Tensor], others: list[Tensor]) -> list[Tensor]:
    """Return KL(law || other) of each span's split, by width."""
    return [(law.exp() * (law - other)).sum(-1) for law, other in zip(laws, others, strict=True)]


def _kl(teacher: Distribution, student: Distribution, options: Options) -> Tensor:
    if isinstance(teacher, SpanCRF) and isinstance(student, SpanCRF):
        with torch.no_grad():
            p_log_partition, visits = teacher.exact_moments()
            potentials = teacher.centre()
        difference = (visits * (potentials - student.centre())).sum((1, 2))
        return difference - p_log_partition + student.exact_moments()[0]
    pair = _Pair(teacher, student, options)
    return pair.over_teacher(_relative(pair.p, pair.q))


def _rkl(teacher: Distribution, student: Distribution, options: Options) -> Tensor:
    if isinstance(teacher, SpanCRF) and isinstance(student, SpanCRF) and not options.detach_visits:
        with torch.no_grad():
            potentials, p_log_partition = teacher.centre(), teacher.exact_moments()[0]
        q_log_partition, visits = student.exact_moments()
        difference = (visits * (student.centre() - potentials)).sum((1, 2))
        return difference - q_log_partition + p_log_partition
    compiled_losses = _compiled("rkl", teacher, student, options)
    if compiled_losses is not None:
        return compiled_losses
    pair = _Pair(teacher, student, options)
    return pair.over_student(_relative(pair.q, pair.p))


def _engine(teacher: Distribution, student: Distribution, options: Options) -> Tensor:
    if isinstance(teacher, SpanCRF) and isinstance(student, SpanCRF) and not options.detach_visits:
        with torch.no_grad():
            potentials, p_log_partition = teacher.centre(), teacher.exact_moments()[0]
        return p_log_partition - (student.exact_moments()[1] * potentials).sum((1, 2))
    compiled_losses = _compiled("engine", teacher, student, options)
    if compiled_losses is not None:
        return compiled_losses
    pair = _Pair(teacher, student, options)
    return pair.over_student(cross_entropies(pair.q, pair.p))


def _js(teacher: Distribution, student: Distribution, options: Options) -> Tensor:
    compiled_losses = _compiled("js", teacher, student, options)
    if compiled_losses is not None:
        return compiled_losses
    pair, weight = _Pair(teacher, student, options), options.student_weight
    total = pair.like.new_zeros(pair.like.shape[0])
    for p, q, p_visit, q_visit in zip(pair.p, pair.q, pair.p_visits[1:], pair.q_visits[1:], strict=True):
        for_p, for_q = (1 - weight) * p_visit, weight * q_visit
        both = for_p + for_q
        share = for_p / torch.where(both > 0, both, torch.ones_like(both))
        share = share.clamp(torch.finfo(share.dtype).tiny, 1 - torch.finfo(share.dtype).eps)[..., None]
        mixture = torch.logaddexp(share.log() + p, (-share).log1p() + q)
        halves = for_p * (p.exp() * (p - mixture)).sum(-1) + for_q * (q.exp() * (q - mixture)).sum(-1)
        total = total + halves.sum(1)
    return total


def _js_naive(teacher: Distribution, student: Distribution, options: Options) -> Tensor:
    compiled_losses = _compiled("js-naive", teacher, student, options)
    if compiled_losses is not None:
        return compiled_losses
    pair, weight = _Pair(teacher, student, options), options.student_weight
    mixtures = [
        torch.logaddexp(p + math.log1p(-weight), q + math.log(weight)) for p, q in zip(pair.p, pair.q, strict=True)
    ]
    teacher_half, student_half = _relative(pair.p, mixtures), _relative(pair.q, mixtures)
    return (1 - weight) * pair.over_teacher(teacher_half) + weight * pair.over_student(student_half)


def _js_sampled(teacher: Distribution, student: Distribution, options: Options) -> Tensor:
    weight = options.student_weight
    with torch.no_grad():
        p_trees = teacher.sample(options.samples, generator=options.generator)
        q_trees = student.sample(options.samples, generator=options.generator)
        p_of_p, p_of_q = teacher.exact_log_prob(p_trees), teacher.exact_log_prob(q_trees)
    q_of_p, q_of_q = student.exact_log_prob(p_trees), student.exact_log_prob(q_trees)
    log_p, log_q = math.log1p(-weight), math.log(weight)
    teacher_half = p_of_p - torch.logaddexp(p_of_p + log_p, q_of_p + log_q)
    student_half = q_of_q - torch.logaddexp(p_of_q + log_p, q_of_q + log_q)
    if not options.detach_visits:
        reward = student_half.detach()
        if options.samples > 1:  # less the mean of the other samples, which changes no expectation
            reward = (reward - reward.mean(0)) * (options.samples / (options.samples - 1))
        student_half = student_half + reward * (q_of_q - q_of_q.detach())
    return (1 - weight) * teacher_half.mean(0) + weight * student_half.mean(0)


def _tvd(teacher: Distribution, student: Distribution, options: Options) -> Tensor:
    compiled_losses = _compiled("tvd", teacher, student, options)
    if compiled_losses is not None:
        return compiled_losses
    pair, weight = _Pair(teacher, student, options), options.student_weight
    halves = [0.5 * (p.exp() - q.exp()).abs().sum(-1) for p, q in zip(pair.p, pair.q, strict=True)]
    total = pair.like.new_zeros(pair.like.shape[0])
    if weight < 1:
        total = total + (1 - weight) * pair.over_teacher(halves)
    if weight > 0:
        total = total + weight * pair.over_student(halves)
    return total


def _tvd_teacher(teacher: Distribution, student: Distribution, options: Options) -> Tensor:
    return _tvd(teacher, student, replace(options, student_weight=0.0))


def _tvd_student(teacher: Distribution, student: Distribution, options: Options) -> Tensor:
    return _tvd(teacher, student, replace(options, student_weight=1.0))


#: What compares two distributions, by the loss's name.
DIVERGENCES: dict[str, Callable[[Distribution, Distribution, Options], Tensor]] = {
    "kl": _kl,
    "rkl": _rkl,
    "engine": _engine,
    "js": _js,
    "js-naive": _js_naive,
    "js-sampled": _js_sampled,
    "tvd": _tvd,
    "tvd-teacher": _tvd_teacher,
    "tvd-student": _tvd_student,
}
