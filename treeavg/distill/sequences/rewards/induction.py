"""Rewards found in a teacher's logits.

A language model is taken for a policy that prefers tokens by the logarithm of their chance; then its logits f are the
values of tokens in the sense of reinforcement learning, and the reward of a token a after the prefix s is what turns
them into such values: r = f(s, a) - V(s + a), V = max f, and V = 0 after the end. Summed up to the end the rewards of a
completion tell how good it is throughout; the best is the teacher's greedy one.
[Hao et al., NeurIPS 2022; LLMR, LREC-COLING 2024]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from treeavg.distill.sequences.reductions import require_mask
from treeavg.errors import ArgumentError, unknown

__all__ = ["VALUES", "Rewards", "induce", "mean_rewards", "state_values"]

#: A line of help for each value of a prefix.
VALUES: dict[str, str] = {
    "max": "the largest logit: Bellman's optimality, the theory",
    "mean": "the logits' mean under their own softmax: what the released scripts run",
    "lse": "log-sum-exp: the soft Bellman equation; the return is then the teacher's log-likelihood, up to a constant",
}


class Rewards(NamedTuple):
    """Rewards of tokens and values of the prefixes before them, float (B, T) both, 0 where the mask is False."""

    rewards: Tensor
    values: Tensor


def state_values(logits: Tensor, *, value: str = "max") -> Tensor:
    """Return the values of prefixes.

    Parameters
    ----------
    logits : Tensor, floating, shape (..., V)
        Of the next token. Constants. A token that cannot be may have -inf.
    value : str, default "max"
        One of `VALUES`.

    Returns
    -------
    Tensor
        Shape (...), in single precision at least.

    Raises
    ------
    ArgumentError
        An unknown value.

    Examples
    --------
    >>> logits = torch.tensor([0.0, 0.0])
    >>> [round(float(state_values(logits, value=value)), 4) for value in ("max", "mean", "lse")]
    [0.0, 0.0, 0.6931]
    """
    if value not in VALUES:
        raise unknown("value", value, VALUES)
    return _by_row(_OF_ROW[value], logits.detach())


def induce(
    logits: Tensor,
    ids: Tensor,
    mask: Tensor,
    truncated: Tensor,
    *,
    next_logits: Tensor | None = None,
    value: str = "max",
    centre: bool = False,
) -> Rewards:
    """Return the rewards that a teacher's logits imply.

    Parameters
    ----------
    logits : Tensor, floating, shape (B, T, V)
        The teacher's, teacher-forced on the completions. Constants.
    ids : Tensor, int64, shape (B, T)
        The completions, mostly the student's.
    mask : Tensor, bool, shape (B, T)
        True up to and with the end token, then False. A row that shall not count may be False throughout.
    truncated : Tensor, bool, shape (B,)
        Rows that were cut before their end token.
    next_logits : Tensor, floating, shape (B, V), optional
        The teacher's for the token after the last of each truncated row, which is worth that much more; other rows are
        ignored. Needed where a row is truncated. To leave such rows out: ``mask & ~truncated[:, None]``.
    value : str, default "max"
        One of `VALUES`.
    centre : bool, default False
        Subtract the mean of all logits of a prefix first, as the released codes do. That moves all returns of an input
        by one number and leaves the policy gradient alone.

    Returns
    -------
    Rewards
        Rewards and values in single precision at least. [NeurIPS 2022, equations of section 3; LLMR]

    Raises
    ------
    ArgumentError
        Shapes that differ, a mask with holes, a truncated row without `next_logits`, or values that are not finite.

    Examples
    --------
    >>> logits = torch.tensor([[[1.0, 3.0], [2.0, 0.5]]])
    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> induce(logits, torch.tensor([[1, 0]]), mask, torch.tensor([False])).rewards.tolist()
    [[1.0, 2.0]]
    """
    _require_completions(logits, ids, mask, truncated)
    logits = logits.detach()
    values = state_values(logits, value=value)
    chosen = logits.gather(-1, ids.clamp(0, logits.shape[-1] - 1)[..., None])[..., 0].to(values.dtype)
    if centre:
        middle = _by_row(_mean, logits)
        values, chosen = values - middle, chosen - middle
    last = _last(mask)
    after = values.roll(-1, 1).masked_fill(last, 0)  # where a row ends the next value is no successor's
    beyond = truncated & mask.any(1)
    if bool(beyond.any()):
        after = torch.where(last & beyond[:, None], _beyond(next_logits, logits, value, centre)[:, None], after)
    zero = torch.zeros((), dtype=values.dtype, device=values.device)
    found = Rewards(torch.where(mask, chosen - after, zero), torch.where(mask, values, zero))
    _require_finite(found)
    return found


def mean_rewards(parts: Sequence[Rewards]) -> Rewards:
    """Return the mean of rewards for the same completions, from several templates around the input or teachers.

    Parameters
    ----------
    parts : sequence of Rewards, length at least 1
        From `induce`, aligned on the completions.

    Returns
    -------
    Rewards
        [LLMR, LREC-COLING 2024]

    Raises
    ------
    ArgumentError
        No part, or shapes that differ.

    Examples
    --------
    >>> parts = [Rewards(torch.tensor([[reward]]), torch.tensor([[0.0]])) for reward in (1.0, 2.0)]
    >>> mean_rewards(parts).rewards.tolist()
    [[1.5]]
    """
    if not parts:
        raise ArgumentError("parts: expected rewards from one template at least, got none. Induce them first.")
    for place, part in enumerate(parts):
        if part.rewards.shape != parts[0].rewards.shape:
            raise ArgumentError(
                f"parts[{place}]: expected shape {tuple(parts[0].rewards.shape)} as in parts[0], got "
                f"{tuple(part.rewards.shape)}. All must hold the same completions."
            )
    return Rewards(
        torch.stack([part.rewards for part in parts]).mean(0), torch.stack([p.values for p in parts]).mean(0)
    )


#: Logits that are widened at a time.
_AT_ONCE = 2**22


def _max(logits: Tensor) -> Tensor:
    return logits.amax(-1)


def _softmax_mean(logits: Tensor) -> Tensor:
    chances = logits.softmax(-1)
    return (chances * torch.where(chances > 0, logits, torch.zeros_like(logits))).sum(-1)


def _mean(logits: Tensor) -> Tensor:
    """Return the mean of the logits that are not -inf."""
    there = logits != -torch.inf
    return torch.where(there, logits, torch.zeros_like(logits)).sum(-1) / there.sum(-1)


_OF_ROW: dict[str, Callable[[Tensor], Tensor]] = {
    "max": _max,
    "mean": _softmax_mean,
    "lse": lambda logits: logits.logsumexp(-1),
}


def _by_row(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Return a function of logits, some rows of the batch at a time: no copy in single precision of all of them."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    if logits.dim() < 3 or not logits.numel():
        return function(logits.to(dtype))
    rows = max(1, _AT_ONCE // logits[0].numel())
    return torch.cat([function(part.to(dtype)) for part in torch.split(logits, rows)])


def _last(mask: Tensor) -> Tensor:
    """Return where each row's last position is, bool (B, T)."""
    following = torch.zeros_like(mask)
    following[:, :-1] = mask[:, 1:]
    return mask & ~following


def _beyond(next_logits: Tensor | None, logits: Tensor, value: str, centre: bool) -> Tensor:
    """Return the values (B,) of what comes after truncated rows."""
    shape = (logits.shape[0], logits.shape[2])
    if next_logits is None or tuple(next_logits.shape) != shape:
        got = "None" if next_logits is None else f"shape {tuple(next_logits.shape)}"
        raise ArgumentError(
            f"next_logits: expected {shape}, the teacher's logits after the last token, where a row is truncated, got "
            f"{got}. Run the teacher one step further, or leave such rows out with mask & ~truncated[:, None]."
        )
    values = state_values(next_logits, value=value)
    return values - _by_row(_mean, next_logits.detach()) if centre else values


def _require_completions(logits: Tensor, ids: Tensor, mask: Tensor, truncated: Tensor) -> None:
    """Raise an ArgumentError where the tensors do not fit or the mask has holes."""
    if logits.dim() != 3 or logits.shape[:2] != ids.shape:
        raise ArgumentError(
            f"logits: expected (B, T, V) for ids of shape {tuple(ids.shape)}, got {tuple(logits.shape)}. Align them on "
            "the completion first."
        )
    require_mask(mask, ids.shape)
    if truncated.dtype != torch.bool or truncated.shape != mask.shape[:1]:
        raise ArgumentError(
            f"truncated: expected bool of shape {tuple(mask.shape[:1])}, got {truncated.dtype} of shape "
            f"{tuple(truncated.shape)}. Take it from completions(...)."
        )
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ArgumentError(
            "mask: expected True up to each row's end and False after, got True after False. Completions start at "
            "column 0."
        )


def _require_finite(found: Rewards) -> None:
    """Raise an ArgumentError that names the first position whose reward or value is not finite."""
    wrong = ~(found.rewards.isfinite() & found.values.isfinite())
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise ArgumentError(
            f"logits[{row}, {column}]: expected finite logits of the chosen token and of what follows, got the reward "
            f"{float(found.rewards[row, column])} and the value {float(found.values[row, column])}. Look for nan in "
            "the teacher, or for a token that it does not have."
        )
