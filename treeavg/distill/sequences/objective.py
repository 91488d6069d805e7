"""The loss of each position of completions, as a configuration says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Completions, Prompts
from treeavg.distill.sequences.config import DistillationConfig, Part, RewardOptions
from treeavg.distill.sequences.divergences import (
    prefix_log_odds,
    sampled_rkl,
    sequence_loss,
    token_logp,
)
from treeavg.distill.sequences.fused import Head, fused_loss
from treeavg.distill.sequences.hidden import LinearMaps, hidden_loss
from treeavg.distill.sequences.induction import Rewards, induce, mean_rewards
from treeavg.distill.sequences.layers import LayerPair, select_layers
from treeavg.distill.sequences.reductions import reduce
from treeavg.distill.sequences.reward import advantages, importance_weights, pg_loss, regulariser
from treeavg.distill.sequences.teachers import Scored, Teachers
from treeavg.errors import ArgumentError

__all__ = ["StateMatch", "beyond", "encoder_loss", "fused_part", "items", "output_losses", "reward_losses"]


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


def beyond(completions: Completions) -> Completions:
    """Return completions with a place more, which counts where there is no end token: a teacher's law for it is needed.

    Parameters
    ----------
    completions : Completions
        Of B rows and T places.

    Returns
    -------
    Completions
        Of T + 1 places; the token after is 0, which no law looks at.

    Examples
    --------
    >>> both = torch.tensor([[True, True], [True, False]])
    >>> found = beyond(Completions(torch.ones(2, 2, dtype=torch.int64), both, torch.tensor([False, True])))
    >>> found.mask.tolist()
    [[True, True, False], [True, True, False]]
    """
    wide = torch.nn.functional.pad(completions.mask, (0, 1))
    after = torch.nn.functional.pad(completions.mask, (1, 0), value=True)
    mask = wide | (after & (completions.truncated & completions.mask.any(1))[:, None])
    return Completions(torch.nn.functional.pad(completions.ids, (0, 1)), mask, completions.truncated)


def reward_losses(
    options: RewardOptions,
    student: Tensor,
    completions: Completions,
    scored: list[Scored],
    *,
    weights: list[float] | None = None,
    sampled: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the losses (B, T) whose gradient is the policy gradient.

    Parameters
    ----------
    options : RewardOptions
        How.
    student : Tensor, floating, shape (B, T, V)
        Logits. Differentiable.
    completions : Completions
        What the student wrote.
    scored : list of Scored
        What the teachers say about `beyond` of them, (B, T + 1, at least V).
    weights : list of float, optional
        Of the teachers, whose rewards are averaged. Default: equal.
    sampled : tuple of two Tensors, shape (B, T), optional
        For importance: the student's own log-probabilities of the tokens when it wrote them, and the sampler's.

    Returns
    -------
    Tensor
        Shape (B, T).
    """
    ids, mask = torch.where(completions.mask, completions.ids, 0), completions.mask
    size, rows = student.shape[-1], torch.arange(len(ids), device=ids.device)
    parts = [
        induce(
            one.scores[:, :-1, :size],
            ids,
            mask,
            completions.truncated,
            next_logits=one.scores[rows, mask.sum(1), :size],
            value=options.value,
            centre=options.centre,
        )
        for one in scored
    ]
    found = mean_rewards(parts) if weights is None else _weighed(parts, weights)
    importance = None
    if options.importance is not None:
        assert sampled is not None
        importance = importance_weights(*sampled, mask, level=options.importance)
    penalty = None
    if options.penalty is not None:
        penalty = torch.where(mask, regulariser(options.penalty, student), 0)
    return pg_loss(
        token_logp(student, ids, mask=mask),
        advantages(found, mask, baseline=options.baseline, scale=options.scale, sparse=options.sparse),
        mask,
        importance=importance,
        clip=options.clip,
        penalty=penalty,
        penalty_weight=options.penalty_weight,
        reduction="none",
    )


def _weighed(parts: list[Rewards], weights: list[float]) -> Rewards:
    """Return the weighted mean of rewards."""
    total = sum(weights)
    rewards = torch.stack([part.rewards * (weight / total) for part, weight in zip(parts, weights, strict=True)])
    values = torch.stack([part.values * (weight / total) for part, weight in zip(parts, weights, strict=True)])
    return Rewards(rewards.sum(0), values.sum(0))


class StateMatch(nn.Module):
    """Pairs of layers of a student and a teacher, with maps between their widths where these differ.

    Parameters
    ----------
    config : DistillationConfig
        With `layers`, `include_last`, `hidden_norm` and `seed`.
    student : Scored
        States of one example, for their numbers and widths.
    teacher : Scored
        Likewise.

    Raises
    ------
    ArgumentError
        A strategy that does not fit the numbers of layers, or an encoder that the other model lacks.

    Notes
    -----
    Maps are made without touching torch's global random numbers.

    Examples
    --------
    >>> states = tuple(torch.zeros(1, 1, 4) for _ in range(3))
    >>> scored = Scored(torch.zeros(1, 1, 5), None, states)
    >>> StateMatch(DistillationConfig(hidden_weight=1.0), scored, scored).pairs["decoder"]
    (LayerPair(student=1, teacher=1),)
    """

    def __init__(self, config: DistillationConfig, student: Scored, teacher: Scored) -> None:
        super().__init__()
        if bool(student.encoder) != bool(teacher.encoder):
            raise ArgumentError(
                f"hidden_weight: expected 0 for {'an encoder-decoder' if student.encoder else 'a causal'} student and "
                f"{'a causal' if student.encoder else 'an encoder-decoder'} teacher, got {config.hidden_weight}. Their "
                "layers do not correspond."
            )
        self.norm, self.pairs = config.hidden_norm, dict[str, tuple[LayerPair, ...]]()
        self.maps = nn.ModuleDict()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed)
            for side in ("decoder", "encoder") if student.encoder else ("decoder",):
                own, other = getattr(student, side), getattr(teacher, side)
                self.pairs[side] = self._pairs(config, len(own) - 1, len(other) - 1)
                widths = own[0].shape[-1], other[0].shape[-1]
                if widths[0] != widths[1]:
                    self.maps[side] = LinearMaps(*widths, len(self.pairs[side])).to(own[0].dtype)

    @staticmethod
    def _pairs(config: DistillationConfig, student: int, teacher: int) -> tuple[LayerPair, ...]:
        seed = config.seed if config.layers.startswith("random") else None
        return select_layers(student, teacher, config.layers, include_last=config.include_last, seed=seed)

    def forward(self, student: Scored, teacher: Scored, mask: Tensor, side: str) -> Tensor:
        """Return the distances (B, T) of the paired states, of the "decoder" or the "encoder"."""
        maps: LinearMaps | None = self.maps[side] if side in self.maps else None  # type: ignore[assignment]
        return hidden_loss(
            getattr(teacher, side),
            getattr(student, side),
            self.pairs[side],
            mask,
            maps=maps,
            norm=self.norm,
            reduction="none",
        )


def encoder_loss(
    match: StateMatch,
    student: Scored,
    teacher: Scored,
    batch: Prompts,
    *,
    reduction: str,
    n_items: Tensor,
    world_size: int,
) -> Tensor:
    """Return the reduced distance of encoders' states, over the tokens of the prompts.

    Parameters
    ----------
    match : StateMatch
        With an encoder's pairs.
    student : Scored
        Differentiable.
    teacher : Scored
        On the same prompts.
    batch : Prompts
        They.
    reduction : {"token", "sequence", "sequence_mean"}
        As for `reduce`.
    n_items : Tensor
        As for `reduce`, of prompts.
    world_size : int
        As for `reduce`.

    Returns
    -------
    Tensor
        A scalar.
    """
    mask = batch.attention.bool()
    losses = match(student, teacher, mask, "encoder")
    return reduce(losses, mask, reduction=reduction, n_items=n_items, world_size=world_size)
