"""A teacher and a student side by side: both sample, both score what both have written, and all metrics are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from treeavg.distill.sequences.align import Prompts, align, frozen, unwrapped
from treeavg.distill.sequences.losses.divergences import sequence_loss
from treeavg.distill.sequences.losses.tokens import token_logp
from treeavg.distill.sequences.metrics.diversity import Peakness, mean_peakness, peaks
from treeavg.distill.sequences.metrics.estimates import Estimate, by_inputs, estimate
from treeavg.distill.sequences.metrics.excess import ExcessError, excess_error
from treeavg.distill.sequences.metrics.metrics import Scored, risk, sequence_js, sequence_tvd
from treeavg.distill.sequences.sampling.generation import special_tokens
from treeavg.distill.sequences.sampling.samplers import Sampler, require_whole
from treeavg.distill.sequences.sampling.sampling import Samples, repeated, sample
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Estimates of how far a student is from a teacher, over the same inputs; in nats where nothing else is said.

    Parameters
    ----------
    likelihood_risk : Estimate
        Negative log-likelihood of the student's samples under the teacher.
    coverage_risk : Estimate
        Of the teacher's under the student.
    kl, rkl : Estimate
        KL(p || q) and KL(q || p) of sequences: local divergences, exact, summed over sampled prefixes.
    tvd, js : Estimate
        Total variation and Jensen-Shannon of sequences, from the probabilities of whole sequences.
    excess_error : ExcessError
        How errors add up along the student's own sequences.
    teacher_peakness, student_peakness : Peakness
        How decided both are after the teacher's prefixes.
    teacher_truncated, student_truncated : float
        The shares of samples that did not end.

    Examples
    --------
    >>> sorted(Comparison.__dataclass_fields__)[:4]
    ['coverage_risk', 'excess_error', 'js', 'kl']
    """

    likelihood_risk: Estimate
    coverage_risk: Estimate
    kl: Estimate
    rkl: Estimate
    tvd: Estimate
    js: Estimate
    excess_error: ExcessError
    teacher_peakness: Peakness
    student_peakness: Peakness
    teacher_truncated: float
    student_truncated: float


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    batch: Prompts,
    *,
    student_prompts: Prompts | None = None,
    max_new_tokens: int = 64,
    samples: int = 1,
    student_weight: float = 0.5,
    per_token: bool = False,
    batch_size: int = 32,
    eos_ids: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> Comparison:
    """Return the metrics of a student against its teacher, over exact samples of both.

    Both run in evaluation mode and without gradients, and are left in the mode that they were in. Sequences are those
    of at most `max_new_tokens`, cut or not: all numbers are about these distributions.

    Parameters
    ----------
    teacher, student : transformers.PreTrainedModel
        Causal or encoder-decoder, one of each too, with one vocabulary.
    batch : Prompts
        The teacher's inputs, and the student's where it has no others.
    student_prompts : Prompts, optional
        The student's, one for each of the teacher's, such as those without instructions.
    max_new_tokens : int, default 64
        Longest sequence.
    samples : int, default 1
        Sequences from each model for each input.
    student_weight : float, default 0.5
        The student's share b in the Jensen-Shannon divergence.
    per_token : bool, default False
        Divide each sequence's risk by its length, as for the published numbers; see `risk`.
    batch_size : int, default 32
        Inputs at a time. It changes no expectation, but the samples.
    eos_ids : sequence of int, optional
        All ids that end a sequence. Default: both models', which must agree.
    generator : torch.Generator, optional
        Source of random numbers; see `sample`.

    Returns
    -------
    Comparison

    Raises
    ------
    ArgumentError
        No inputs, another number of inputs for the student, other end tokens or another vocabulary, or as `sample`.

    References
    ----------
    [Wen et al., ACL 2023] for the risks, [Arora et al., Findings of ACL 2022] for the excess error.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0))
    >>> compare(model, model, prompts([[1, 2], [3]], pad=0, side="left"), max_new_tokens=4).tvd.value
    0.0
    """
    inputs = (batch, batch if student_prompts is None else student_prompts)
    if not len(batch.ids) or len(inputs[1].ids) != len(batch.ids):
        raise ArgumentError(
            f"student_prompts: expected as many as the teacher's, at least 1, got {len(inputs[1].ids)} for "
            f"{len(batch.ids)}. Give both for the same inputs."
        )
    require_whole("batch_size", batch_size, 1)
    ends = _common_ends(teacher, student) if eos_ids is None else list(eos_ids)
    sampler = Sampler(max_new_tokens=max_new_tokens)
    of_teacher, of_student = _Sequences(), _Sequences()
    for start in range(0, len(batch.ids), batch_size):
        part = slice(start, start + batch_size)
        here = [Prompts(one.ids[part], one.attention[part]) for one in inputs]
        for model, own, written in ((teacher, here[0], of_teacher), (student, here[1], of_student)):
            drawn = sample(model, own, sampler, samples=samples, eos_ids=ends, generator=generator)
            written.add(teacher, student, here, drawn, samples)
    return _summary(of_teacher, of_student, samples, student_weight, per_token)


#: What is kept of each batch of sequences, as columns (B, T).
_COLUMNS = (
    "mask",
    "teacher",
    "student",
    "kl",
    "rkl",
    "teacher_entropy",
    "teacher_largest",
    "student_entropy",
    "student_largest",
)


class _Sequences:
    """What two models say of sequences that one of them wrote."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Tensor]] = {name: [] for name in (*_COLUMNS, "truncated")}

    def add(
        self,
        teacher: PreTrainedModel,
        student: PreTrainedModel,
        inputs: Sequence[Prompts],
        drawn: Samples,
        samples: int,
    ) -> None:
        """Score a batch with both models."""
        scores = []
        for model, own in zip((teacher, student), inputs, strict=True):
            device = next(iter(model.parameters())).device
            given = type(drawn.completions)(*(one.to(device) for one in drawn.completions))
            own = repeated(Prompts(own.ids.to(device), own.attention.to(device)), samples)
            with frozen(model):
                scores.append(align(model, own, given).scores.to(drawn.ids.device))
        mask, (p, q) = drawn.mask, scores
        ids = drawn.ids.masked_fill(~mask, 0)
        found = {
            "mask": mask,
            "kl": sequence_loss("kl", p, q, mask, reduction="none"),
            "rkl": sequence_loss("rkl", p, q, mask, reduction="none"),
            "truncated": drawn.truncated,
        }
        for name, logits in (("teacher", p), ("student", q)):
            found[name] = token_logp(logits, ids, mask=mask)
            found[f"{name}_entropy"], found[f"{name}_largest"] = peaks(logits, mask)
        for name, column in found.items():
            self.parts[name].append(column.cpu())

    def column(self, name: str) -> Tensor:
        """Return one column of all batches, (B, T), False or 0 where a row has no token."""
        width = max(part.shape[1] for part in self.parts[name])
        return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in self.parts[name]])

    def scored(self, samples: int) -> Scored:
        """Return the log-probabilities of sequences, (N, samples)."""
        return Scored(*(by_inputs(self.column(name).double().sum(1), samples) for name in ("teacher", "student")))

    def divergence(self, name: str, samples: int) -> Estimate:
        """Return the mean of a local divergence, summed over each sequence."""
        return estimate(by_inputs(self.column(name).double().sum(1), samples))

    def peakness(self, name: str) -> Peakness:
        """Return how decided a model is on these sequences."""
        return mean_peakness(self.column(f"{name}_entropy"), self.column(f"{name}_largest"), self.column("mask"))

    def truncated(self) -> float:
        """Return the share of sequences that did not end."""
        return float(torch.cat(self.parts["truncated"]).double().mean())


def _summary(
    of_teacher: _Sequences, of_student: _Sequences, samples: int, student_weight: float, per_token: bool
) -> Comparison:
    """Return all metrics of both models' sequences."""
    on_p, on_q = of_teacher.scored(samples), of_student.scored(samples)
    return Comparison(
        likelihood_risk=risk(
            of_student.column("teacher"), of_student.column("mask"), per_token=per_token, samples=samples
        ),
        coverage_risk=risk(
            of_teacher.column("student"), of_teacher.column("mask"), per_token=per_token, samples=samples
        ),
        kl=of_teacher.divergence("kl", samples),
        rkl=of_student.divergence("rkl", samples),
        tvd=sequence_tvd(on_p, on_q),
        js=sequence_js(on_p, on_q, student_weight=student_weight),
        excess_error=excess_error(of_teacher.column("kl"), of_student.column("kl"), samples=samples),
        teacher_peakness=of_teacher.peakness("teacher"),
        student_peakness=of_teacher.peakness("student"),
        teacher_truncated=of_teacher.truncated(),
        student_truncated=of_student.truncated(),
    )


def _common_ends(teacher: PreTrainedModel, student: PreTrainedModel) -> list[int]:
    """Return the end tokens of both models, which make the same sequences."""
    of_teacher, of_student = (
        sorted(set(special_tokens(unwrapped(one), None, None).eos_ids)) for one in (teacher, student)
    )
    if of_teacher != of_student:
        raise ArgumentError(
            f"eos_ids: expected the same end tokens, got {of_teacher} of the teacher and {of_student} of the student. "
            "Give eos_ids: the teacher's sequences must be the student's too."
        )
    return of_teacher
