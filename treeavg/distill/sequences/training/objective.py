"""The loss of each position of completions, as a configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Completions
from treeavg.distill.sequences.losses.divergences import (
    prefix_log_odds,
    sampled_rkl,
    sequence_loss,
    token_logp,
)
from treeavg.distill.sequences.losses.fused import Head, fused_loss
from treeavg.distill.sequences.reductions import reduce
from treeavg.distill.sequences.training.collate import completions_of, prompts_of
from treeavg.distill.sequences.training.config import DistillationConfig, Part, RewardOptions
from treeavg.distill.sequences.training.reward_part import beyond, reward_losses
from treeavg.distill.sequences.training.states import StateMatch, encoder_loss
from treeavg.distill.sequences.training.teachers import Scored, Teachers, merged, score

__all__ = ["Objective", "fused_part", "items", "output_losses"]


def items(mask: Tensor, reduction: str) -> Tensor:
    """Return what a reduction divides by, of a part of a step: add those of all parts.

    Parameters
    ----------
    mask : Tensor, bool, shape (B, T)
        Which positions count.
    reduction : {"token", "sequence", "sequence_mean"}
        As for `reduce`; sequences without a position that counts do not count.

    Returns
    -------
    Tensor
        int64, a scalar.
    """
    return mask.sum() if reduction == "token" else mask.any(1).sum()


def output_losses(
    config: DistillationConfig,
    part: Part,
    student: Tensor,
    completions: Completions,
    teachers: Teachers,
    scored: list[Scored],
) -> Tensor:
    """Return the losses (B, T) between next-token laws, before the part's weights.

    Parameters
    ----------
    config : DistillationConfig
        Any kind but "reward".
    part : Part
        Whose completions they are.
    student : Tensor, floating, shape (B, T, V)
        Logits, without columns of no token. Differentiable.
    completions : Completions
        What they score.
    teachers : Teachers
        Who they are; for "hard" any.
    scored : list of Scored
        What they say.

    Returns
    -------
    Tensor
        Shape (B, T).
    """
    ids, mask = completions.ids, completions.mask
    if config.kind == "hard":
        return -token_logp(student, ids, mask=mask)
    temperature = config.temperature if config.teacher_temperature is None else config.teacher_temperature
    law, left = teachers.law(scored, torch.where(mask, ids, 0), student.shape[-1], temperature=temperature)
    if config.kind == "sampled_rkl":
        chosen = token_logp(law, ids, mask=mask), token_logp(student, ids, mask=mask)
        return sampled_rkl(*chosen, mask, reduction="none")
    odds = None
    if config.mixture == "prefix":  # of the distributions that are compared: at their temperatures
        odds = prefix_log_odds(_tempered(law, left), _tempered(student, config.temperature), ids, mask=mask)
    own = config.score_function and part.source == "student"
    return sequence_loss(
        config.kind,
        law,
        student,
        mask,
        half=part.half,
        student_weight=config.student_weight,
        mixture=config.mixture,
        prefix_log_odds=odds,
        temperature=config.temperature,
        teacher_temperature=left,
        scale_by_temperature=config.scale_by_temperature,
        normalize=config.normalize,
        score_function=own,
        ids=torch.where(mask, ids, 0) if own else None,
        reduction="none",
    )


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    return logits if temperature == 1 else logits / temperature


def fused_part(
    config: DistillationConfig,
    part: Part,
    student: Scored,
    teacher: Scored,
    mask: Tensor,
    size: int,
    *,
    n_items: Tensor,
    world_size: int,
) -> Tensor:
    """Return the reduced loss of a part, from hidden states.

    Parameters
    ----------
    config : DistillationConfig
        With `rows`.
    part : Part
        Whose completions they are.
    student : Scored
        Hidden states and head. Differentiable.
    teacher : Scored
        Hidden states and head.
    mask : Tensor, bool, shape (B, T)
        Which positions count.
    size : int
        Tokens of the vocabulary that are real.
    n_items : Tensor
        As for `reduce`.
    world_size : int
        As for `reduce`.

    Returns
    -------
    Tensor
        A scalar.
    """
    assert student.head is not None
    assert teacher.head is not None
    assert config.rows is not None
    loss = fused_loss(
        config.kind,
        student.scores,
        _cut(student.head, size),
        teacher.scores,
        _cut(teacher.head, size),
        mask,
        rows=config.rows,
        half=part.half,
        student_weight=config.student_weight,
        temperature=config.temperature,
        teacher_temperature=config.teacher_temperature,
        scale_by_temperature=config.scale_by_temperature,
        normalize=config.normalize,
        reduction=config.reduction,
        n_items=n_items,
        world_size=world_size,
    )
    return part.weight * loss


def _cut(head: Head, size: int) -> Head:
    return head._replace(weight=head.weight[:size], bias=None if head.bias is None else head.bias[:size])


@dataclass
class Objective:
    """The loss of a batch, for a student and its teachers.

    Parameters
    ----------
    config : DistillationConfig
        All options.
    teachers : Teachers
        Perhaps none.
    size : int
        Tokens of the vocabulary that are real; columns of logits beyond are cut off.
    match : StateMatch or None
        Where hidden states are compared.
    autocast : callable, default contextlib.nullcontext
        Returns the context of mixed precision, in which the student runs: not all of its calls are of the ``forward``
        that accelerate has wrapped in it. Teachers run in the precision that they have.
    """

    config: DistillationConfig
    teachers: Teachers
    size: int
    match: StateMatch | None
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext

    def losses(
        self, model: nn.Module, batch: Mapping[str, Tensor], part: Part, counts: Mapping[str, Tensor], world_size: int
    ) -> dict[str, Tensor]:
        """Return the loss of a part of a step on a batch.

        Parameters
        ----------
        model : torch.nn.Module
            The student, in the mode that it is in.
        batch : mapping from str to Tensor
            With prompts, and completions of the part's source.
        part : Part
            Whose completions, and what they count for.
        counts : mapping from str to Tensor
            What is divided by: for each source, and for "prompt".
        world_size : int
            Processes that share those counts.

        Returns
        -------
        dict from str to Tensor
            Scalars, by what they were divided by: the source; and "prompt" where encoders are compared.
        """
        config = self.config
        found = completions_of(batch, part.source, drop_truncated=config.drop_truncated)
        states, fused = part.hidden > 0, config.rows is not None
        said: list[tuple[Tensor | None, Scored]] = []
        if states or (part.weight > 0 and config.kind != "hard"):  # teachers first: their states are gone by then
            asked = beyond(found) if config.kind == "reward" else found
            who = batch["teacher"] if config.by_row else None
            said = self.teachers.score(prompts_of(batch, teacher=True), asked, states=states, fused=fused, who=who)
        with self.autocast():
            own = score(model, prompts_of(batch), found, states=states, fused=fused)
        options: dict[str, Any] = {"world_size": world_size}
        if fused:
            losses_of = []
            for rows, one in said:
                mine = own if rows is None else own._replace(scores=own.scores[rows])
                mask = found.mask if rows is None else found.mask[rows]
                options["n_items"] = counts[part.source]
                losses_of.append(fused_part(config, part, mine, one, mask, self.size, **options))
            return {part.source: torch.stack(losses_of).sum()}
        scored = merged(said)
        losses = self._positions(own, found, part, scored, batch)
        options |= {"reduction": config.reduction}
        result = {
            part.source: reduce(losses, found.mask, n_items=counts[part.source], connected=(own.scores,), **options)
        }
        if states and self.match is not None and "encoder" in self.match.pairs:
            spread = encoder_loss(self.match, own, scored[0], prompts_of(batch), n_items=counts["prompt"], **options)
            result["prompt"] = part.hidden * spread
        return result

    def _positions(
        self, own: Scored, found: Completions, part: Part, scored: list[Scored], batch: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the weighted losses (B, T) of a part's positions."""
        logits = own.scores[..., : self.size]
        losses = torch.zeros(found.mask.shape, dtype=torch.float32, device=logits.device)
        if part.weight and self.config.kind == "reward":
            sampled = (batch["student_logp"], batch["student_drawn"]) if "student_logp" in batch else None
            options = self.config.reward or RewardOptions()
            paid = reward_losses(options, logits, found, scored, weights=self.teachers.weights, sampled=sampled)
            losses = losses + part.weight * paid
        elif part.weight:
            losses = losses + part.weight * output_losses(self.config, part, logits, found, self.teachers, scored)
        if part.gold:
            losses = losses - part.gold * token_logp(logits, found.ids, mask=found.mask)
        if part.hidden and self.match is not None:
            losses = losses + part.hidden * self.match(own, scored[0], found.mask, "decoder")
        return losses
