"""The loss of each position of completions that rewards of the teachers are for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.distill.sequences.align import Completions
from treeavg.distill.sequences.losses.tokens import token_logp
from treeavg.distill.sequences.rewards.induction import Rewards, induce, mean_rewards
from treeavg.distill.sequences.rewards.reward import advantages, importance_weights, pg_loss, regulariser
from treeavg.distill.sequences.training.reward_options import RewardOptions
from treeavg.distill.sequences.training.teachers import Scored

__all__ = ["beyond", "reward_losses"]


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
    weights: Sequence[float] | None = None,
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
    weights : sequence of float, optional
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


def _weighed(parts: Sequence[Rewards], weights: Sequence[float]) -> Rewards:
    """Return the weighted mean of rewards."""
    total = sum(weights)
    rewards = torch.stack([part.rewards * (weight / total) for part, weight in zip(parts, weights, strict=True)])
    values = torch.stack([part.values * (weight / total) for part, weight in zip(parts, weights, strict=True)])
    return Rewards(rewards.sum(0), values.sum(0))
