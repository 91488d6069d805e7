"""Hard prompt compression: which of a prompt's tokens to keep, learnt from what the model does without the others."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, logsigmoid

from treeavg.distill.sequences.align import Prompts
from treeavg.distill.sequences.applications.prompts import joined
from treeavg.distill.sequences.sampling.samplers import require_whole
from treeavg.errors import ArgumentError, quote, unknown

__all__ = [
    "BASELINES",
    "compressed",
    "compression_reward",
    "draw_keeps",
    "keep_log_prob",
    "keep_loss",
    "pooled",
    "semantic_distance",
]

BASELINES = ("leave-one-out", "none")


def compressed(prompt: Prompts, keep: Tensor, *others: Prompts) -> Prompts:
    """Return inputs whose prompt has lost the tokens that are not kept.

    Parameters
    ----------
    prompt : Prompts
        B rows, or one.
    keep : Tensor, bool, shape (B, P)
        Which of the prompt's tokens stay; all of them may go where something follows.
    *others : Prompts
        What follows the prompt.

    Returns
    -------
    Prompts
        Padded on the left.

    Raises
    ------
    ArgumentError
        A keep-mask of another width, or one that is not bool.

    Examples
    --------
    >>> prompt = Prompts(torch.tensor([[5, 6, 7]]), torch.tensor([[1, 1, 1]]))
    >>> compressed(prompt, torch.tensor([[True, False, True]])).ids.tolist()
    [[5, 7]]
    """
    _require_keeps(keep, prompt.attention)
    _require_bool("keep", keep)
    attention = prompt.attention.bool() & keep
    return joined(Prompts(prompt.ids.expand_as(attention), attention.long()), *others)


def draw_keeps(logits: Tensor, attention: Tensor, *, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Return keep-masks, each token kept or dropped by its own coin.

    Parameters
    ----------
    logits : Tensor, floating, shape (B, P)
        A token is kept with probability sigmoid(logit). No gradient: see `keep_loss`.
    attention : Tensor, bool or int64, shape (B, P)
        0 at padding, which is never kept.
    samples : int
        How many masks for each prompt, K.
    generator : torch.Generator, optional
        Source of random numbers.

    Returns
    -------
    Tensor
        bool, shape (K, B, P).

    Raises
    ------
    ArgumentError
        Shapes that differ, logits that are NaN, or no masks asked for.

    Examples
    --------
    >>> draw_keeps(torch.tensor([[99.0, -99.0, 99.0]]), torch.tensor([[1, 1, 0]]), samples=1).tolist()
    [[[True, False, False]]]
    """
    _require_keeps(logits, attention)
    require_whole("samples", samples, 1)
    if bool((logits.isnan() & attention.bool()).any()):
        raise ArgumentError("logits: expected numbers, got NaN. Lower the learning rate, or look at the rewards.")
    chances = logits.detach().sigmoid().expand(samples, -1, -1)
    drawn = torch.rand(chances.shape, generator=generator, device=chances.device, dtype=chances.dtype) < chances
    return drawn & attention.bool()


def keep_log_prob(logits: Tensor, keeps: Tensor, attention: Tensor) -> Tensor:
    """Return the log-probability of keep-masks.

    Parameters
    ----------
    logits : Tensor, floating, shape (B, P)
        As for `draw_keeps`.
    keeps : Tensor, bool, shape (..., B, P)
        Masks.
    attention : Tensor, bool or int64, shape (B, P)
        0 at padding, which does not count.

    Returns
    -------
    Tensor
        Shape (..., B).

    Raises
    ------
    ArgumentError
        Shapes that differ, or masks that are not bool.

    Examples
    --------
    >>> keep_log_prob(torch.zeros(1, 2), torch.tensor([[True, False]]), torch.tensor([[1, 1]])).exp().tolist()
    [0.25]
    """
    _require_keeps(keeps, attention)
    _require_bool("keeps", keeps)
    _require_keeps(logits, attention)
    signed = torch.where(keeps, logits, -logits)
    return torch.where(attention.bool(), logsigmoid(signed), torch.zeros_like(signed)).sum(-1)


def compression_reward(
    divergences: Tensor,
    keeps: Tensor,
    *,
    length_weight: float,
    distances: Tensor | None = None,
    distance_weight: float = 1.0,
) -> Tensor:
    """Return what a keep-mask is worth: minus the divergence, the tokens kept, and the distance in meaning.

    Parameters
    ----------
    divergences : Tensor, floating, shape (..., B)
        Of the model with the short prompt from the model with the whole one, summed over each completion.
    keeps : Tensor, bool, shape (..., B, P)
        The masks.
    length_weight : float
        Price of one kept token. Not negative.
    distances : Tensor, floating, shape (..., B), optional
        `semantic_distance` of the two prompts' embeddings.
    distance_weight : float, default 1.0
        Price of a distance of 1.

    Returns
    -------
    Tensor
        Shape (..., B), constants.

    Raises
    ------
    ArgumentError
        Shapes that differ, or a weight that means nothing.

    Examples
    --------
    >>> compression_reward(torch.tensor([0.5]), torch.tensor([[True, True, False]]), length_weight=0.25).tolist()
    [-1.0]
    """
    if divergences.shape != keeps.shape[:-1] or (distances is not None and distances.shape != divergences.shape):
        raise ArgumentError(
            f"divergences: expected one for each mask, shape {tuple(keeps.shape[:-1])}, and distances alike, got "
            f"{tuple(divergences.shape)} and {None if distances is None else tuple(distances.shape)}. "
            "Sum the divergence over each completion: reduction='none', then .sum(1)."
        )
    for name, weight, advice in (("length_weight", length_weight, 0.01), ("distance_weight", distance_weight, 1.0)):
        if not 0 <= weight < math.inf:
            raise ArgumentError(f"{name}: expected 0 or a positive number, got {quote(weight)}. Use {advice}.")
    if distances is None and distance_weight != 1.0:
        raise ArgumentError(
            f"distance_weight: expected distances with it, got {quote(distance_weight)} and none. Pass distances=..."
        )
    reward = -divergences.detach() - length_weight * keeps.sum(-1)
    return reward if distances is None else reward - distance_weight * distances.detach()


def keep_loss(
    logits: Tensor, keeps: Tensor, attention: Tensor, rewards: Tensor, *, baseline: str = "leave-one-out"
) -> Tensor:
    """Return a loss whose gradient is that of minus the expected reward: REINFORCE over keep-masks.

    Parameters
    ----------
    logits : Tensor, floating, shape (B, P)
        What is trained.
    keeps : Tensor, bool, shape (K, B, P)
        Masks from `draw_keeps`.
    attention : Tensor, bool or int64, shape (B, P)
        0 at padding.
    rewards : Tensor, floating, shape (K, B)
        Of each mask. Constants.
    baseline : {"leave-one-out", "none"}, default "leave-one-out"
        Subtract the mean reward of the other K - 1 masks of the same prompt, which leaves the expectation as it is and
        takes most of the noise; or nothing.

    Returns
    -------
    Tensor
        A scalar: the mean over masks and prompts.

    Raises
    ------
    ArgumentError
        Shapes that differ, an unknown baseline, one mask where the baseline needs two, or rewards that are not finite.

    References
    ----------
    [Jung and Kim 2024 (PCRL), section 3] trains such a policy; independent coins are our smallest form.

    Examples
    --------
    >>> keeps = torch.tensor([[[True]], [[False]]])
    >>> logits = torch.zeros(1, 1, requires_grad=True)
    >>> loss = keep_loss(logits, keeps, torch.tensor([[1]]), torch.tensor([[1.0], [0.0]]))
    >>> torch.autograd.grad(loss, logits)[0].tolist()
    [[-0.5]]
    """
    if baseline not in BASELINES:
        raise unknown("baseline", baseline, BASELINES)
    if keeps.dim() != 3 or rewards.shape != keeps.shape[:2]:
        raise ArgumentError(
            f"rewards: expected one for each of the masks (K, B, P), got {tuple(rewards.shape)} for masks "
            f"{tuple(keeps.shape)}. Draw masks with draw_keeps."
        )
    if not bool(rewards.isfinite().all()):
        raise ArgumentError("rewards: expected finite numbers, got NaN or infinity. Give a failed mask a low reward.")
    advantages = rewards.detach()
    if baseline == "leave-one-out":
        if len(keeps) < 2:
            raise ArgumentError(
                f"keeps: expected 2 masks or more for the baseline 'leave-one-out', got {len(keeps)}. "
                "Draw more, or use baseline='none'."
            )
        # R_k - mean of the others = (R_k - mean of all) K / (K - 1)
        advantages = (advantages - advantages.mean(0)) * (len(keeps) / (len(keeps) - 1))
    return -(advantages * keep_log_prob(logits, keeps, attention)).mean()


def pooled(vectors: Tensor, attention: Tensor) -> Tensor:
    """Return the mean vector of each row's tokens: a plain embedding of a prompt.

    Parameters
    ----------
    vectors : Tensor, floating, shape (B, P, H)
        Token embeddings or hidden states.
    attention : Tensor, bool or int64, shape (B, P)
        0 where a vector does not count; pass the prompt's attention times a keep-mask for the short prompt.

    Returns
    -------
    Tensor
        Shape (B, H); 0 for a row without tokens.

    Examples
    --------
    >>> pooled(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])).tolist()
    [[2.0]]
    """
    counted = attention.bool()[..., None]
    total = torch.where(counted, vectors, torch.zeros_like(vectors)).sum(-2)
    return total / counted.sum(-2).clamp(min=1)


def semantic_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return 1 - cos of two embeddings.

    Parameters
    ----------
    first, second : Tensor, floating, shape (..., H)
        Embeddings of the whole and of the short prompt.

    Returns
    -------
    Tensor
        Shape (...); 0 for the same direction, 1 where one is 0.

    Examples
    --------
    >>> semantic_distance(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])).item()
    1.0
    """
    return 1 - cosine_similarity(first, second, dim=-1)


def _require_bool(name: str, keeps: Tensor) -> None:
    if keeps.dtype != torch.bool:
        raise ArgumentError(f"{name}: expected bool, got {keeps.dtype}. Use draw_keeps, or {name}.bool().")


def _require_keeps(value: Tensor, attention: Tensor) -> None:
    """Raise an ArgumentError where masks or logits (..., B, P) do not fit the prompts (B, P) or (1, P)."""
    shape = tuple(attention.shape)
    if value.shape[-1:] != shape[-1:] or value.dim() < 2 or (shape[0] != 1 and value.shape[-2] != shape[0]):
        raise ArgumentError(
            f"keep: expected a value for each of the prompts' tokens, shape (..., {shape[0]}, {shape[1]}), got "
            f"{tuple(value.shape)}. Give padding a value too; it is ignored."
        )
