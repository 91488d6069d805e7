"""Self-learning: a seed, what makes candidates, what filters them, what learns from them, and rounds of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from treeavg.errors import ArgumentError, quote

__all__ = ["Improvement", "Learnt", "Loop", "Round", "loop", "rest", "rest_loss", "rest_thresholds"]

Item = TypeVar("Item")
Policy = TypeVar("Policy")


class Round(NamedTuple):
    """What one round of a loop did.

    Parameters
    ----------
    candidates : int
        How many were made.
    kept : int
        How many passed the filter.
    """

    candidates: int
    kept: int


class Loop(NamedTuple, Generic[Item]):
    """What a loop leaves behind.

    Parameters
    ----------
    pool : list
        The seed and everything kept, in order.
    rounds : list of Round
        What each round did.
    """

    pool: list[Item]
    rounds: list[Round]


def loop(
    seed: Sequence[Item],
    *,
    sample: Callable[[list[Item]], Sequence[Item]],
    select: Callable[[Sequence[Item], list[Item]], Sequence[Item]],
    update: Callable[[list[Item]], object],
    rounds: int,
) -> Loop[Item]:
    """Let a model learn from what it writes: sample, filter, add to the pool, train.

    Parameters
    ----------
    seed : sequence
        The first pool, such as instructions written by hand. Not modified.
    sample : callable
        ``sample(pool)`` returns candidates, written by the model as it is in this round.
    select : callable
        ``select(candidates, pool)`` returns those kept: the filter, such as `NovelTexts`.
    update : callable
        ``update(pool)`` trains the model on the pool, the new items included. Not called in a round that kept nothing.
    rounds : int
        How often. At least 1.

    Returns
    -------
    Loop

    Raises
    ------
    ArgumentError
        `rounds` is not a positive whole number.

    Examples
    --------
    >>> done = loop([1], sample=lambda pool: [n + 1 for n in pool], update=print, rounds=2,
    ...             select=lambda candidates, pool: [n for n in candidates if n not in pool])
    [1, 2]
    [1, 2, 3]
    >>> done.rounds
    [Round(candidates=1, kept=1), Round(candidates=2, kept=1)]
    """
    _require_count("rounds", rounds)
    pool, history = list(seed), []
    for _ in range(rounds):
        candidates = list(sample(list(pool)))
        kept = list(select(candidates, list(pool)))
        history.append(Round(len(candidates), len(kept)))
        if kept:
            pool += kept
            update(list(pool))
    return Loop(pool, history)


def rest_thresholds(rewards: Sequence[float], steps: int) -> list[float]:
    """Return thresholds that rise from the mean reward to the best one, both left out.

    Parameters
    ----------
    rewards : sequence of float
        Rewards of the samples of one grow step, at least one, finite.
    steps : int
        How many thresholds; at least 1.

    Returns
    -------
    list of float
        Strictly increasing, in equal steps; empty where all rewards are equal, as nothing is then better than the rest.

    Raises
    ------
    ArgumentError
        No rewards, some that are not finite, or no steps.

    References
    ----------
    [Gulcehre et al. 2023 (ReST), section 3] asks for increasing thresholds, the first above the mean; equal steps are
    ours.

    Examples
    --------
    >>> rest_thresholds([0.0, 0.0, 0.0, 4.0], 2)
    [2.0, 3.0]
    """
    _require_count("steps", steps)
    values = torch.tensor(list(rewards), dtype=torch.float64)
    if not len(values) or not bool(values.isfinite().all()):
        raise ArgumentError(
            f"rewards: expected finite numbers, at least one, got {quote(rewards)}. Score every sample."
        )
    mean, best = float(values.mean()), float(values.max())
    if float(values.min()) == best:
        return []
    found = [mean + (best - mean) * step / (steps + 1) for step in range(1, steps + 1)]
    return [one for one, before in zip(found, [mean, *found], strict=False) if before < one < best]


def rest_loss(nll: Tensor, rewards: Tensor, threshold: float) -> Tensor:
    """Return the mean over samples of their loss where the reward is above a threshold, else 0.

    Parameters
    ----------
    nll : Tensor, floating, shape (B,)
        Each sample's negative log-probability under the policy.
    rewards : Tensor, floating, shape (B,)
        Each sample's reward.
    threshold : float
        Of this improve step; a reward equal to it does not count.

    Returns
    -------
    Tensor
        A scalar: the sum over what is kept, by B. Where nothing is kept 0, connected to the graph.

    Raises
    ------
    ArgumentError
        Shapes that differ, or a reward or a threshold that is NaN.

    References
    ----------
    [Gulcehre et al. 2023 (ReST), equation 2].

    Examples
    --------
    >>> float(rest_loss(torch.tensor([4.0, 2.0]), torch.tensor([0.1, 0.9]), 0.5))
    1.0
    """
    if nll.dim() != 1 or rewards.shape != nll.shape:
        raise ArgumentError(
            f"rewards: expected a reward for each sample, nll of shape (samples,), got rewards {tuple(rewards.shape)} "
            f"and nll {tuple(nll.shape)}. Sum each sample's tokens."
        )
    if bool(rewards.isnan().any()) or math.isnan(threshold):
        raise ArgumentError("rewards, threshold: expected numbers, got NaN. Give a failed sample a low reward.")
    return torch.where(rewards > threshold, nll, torch.zeros_like(nll)).sum() / max(len(nll), 1)


class Improvement(NamedTuple):
    """What one improve step did.

    Parameters
    ----------
    grow : int
        Which grow step it belongs to, from 0.
    threshold : float
        The reward that samples had to exceed.
    kept : int
        How many did.
    value : float
        The new policy's value on held-out inputs.
    accepted : bool
        Whether that is a rise; if not, the policy before it stays.
    """

    grow: int
    threshold: float
    kept: int
    value: float
    accepted: bool


class Learnt(NamedTuple, Generic[Policy]):
    """The policy that `rest` leaves, and how it came about.

    Parameters
    ----------
    policy : Policy
        The best one.
    steps : list of Improvement
        Every improve step, the rejected ones too.
    """

    policy: Policy
    steps: list[Improvement]


def rest(
    policy: Policy,
    data: Sequence[Item],
    *,
    sample: Callable[[Policy], Sequence[Item]],
    reward: Callable[[Item], float],
    fit: Callable[[Policy, list[Item]], Policy],
    evaluate: Callable[[Policy], float],
    grow: int = 1,
    improve: int = 3,
) -> Learnt[Policy]:
    """Reinforced self-training: grow a data set from the policy, improve the policy on its better part, and again.

    Parameters
    ----------
    policy : Policy
        The first policy, of any type.
    data : sequence
        Examples there are already; they are scored like samples. May be empty.
    sample : callable
        ``sample(policy)`` returns new examples, several for each input.
    reward : callable
        ``reward(example)`` is its score.
    fit : callable
        ``fit(policy, examples)`` returns a trained *copy* of the policy: a step that does not help is taken back.
    evaluate : callable
        ``evaluate(policy)`` is the mean reward on held-out inputs; more is better.
    grow : int, default 1
        Grow steps, each with fresh samples of the policy.
    improve : int, default 3
        Improve steps in each, at rising thresholds (`rest_thresholds`); the first one without a rise ends them.

    Returns
    -------
    Learnt

    Raises
    ------
    ArgumentError
        A number out of range, no examples at all, or an `evaluate` that returns NaN.

    References
    ----------
    [Gulcehre et al. 2023 (ReST), algorithm 1].

    Examples
    --------
    >>> done = rest(0.0, [], sample=lambda mean: [mean - 1, mean, mean + 1], reward=float, evaluate=float,
    ...             fit=lambda mean, examples: sum(examples) / len(examples), grow=3, improve=1)
    >>> done.policy, len(done.steps)
    (3.0, 3)
    """
    _require_count("grow", grow)
    _require_count("improve", improve)
    best, steps = _value(evaluate(policy)), []
    for number in range(grow):
        examples = [*data, *sample(policy)]
        scores = [float(reward(example)) for example in examples]
        for threshold in rest_thresholds(scores, improve):
            kept = [example for example, score in zip(examples, scores, strict=True) if score > threshold]
            trained = fit(policy, kept)
            value = _value(evaluate(trained))
            steps.append(Improvement(number, threshold, len(kept), value, value > best))
            if not value > best:
                break
            policy, best = trained, value
    return Learnt(policy, steps)


def _value(found: float) -> float:
    if math.isnan(found):
        raise ArgumentError("evaluate: expected a number, got NaN. Give a failed output a low reward.")
    return found


def _require_count(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{name}: expected a whole number, at least 1, got {quote(value)}. Use {name}=1.")
