"""Averages of teachers' next-token laws, and the union of their outputs: baselines of distillation from several."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["AVERAGES", "Example", "average", "prefix_weights", "union"]

AVERAGES: dict[str, str] = {
    "token": "the mean of the teachers' probabilities, token by token",
    "prefix": "the same, each teacher weighed by its probability of the tokens before: the law of the mixture of texts",
    "geometric": "the mean of the teachers' log-probabilities, normalised",
}


def average(
    teachers: Sequence[Tensor],
    *,
    kind: str = "token",
    ids: Tensor | None = None,
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Return the log-probabilities of the teachers' average: what AvgKD trains a student on by soft cross-entropy.

    Parameters
    ----------
    teachers : sequence of Tensor, floating, shape (B, T, V)
        Logits of K teachers over one vocabulary, aligned to the same outputs.
    kind : {"token", "prefix", "geometric"}, default "token"
        One of `AVERAGES`.
    ids : Tensor, int64, shape (B, T), optional
        For ``"prefix"``, which needs it: the outputs.
    weights : sequence of float, length K, optional
        Non-negative, not all zero; they are divided by their sum. Default: equal.
    temperature : float, default 1.0
        Divides every teacher's logits.

    Returns
    -------
    Tensor, floating, shape (B, T, V)
        At least float32. It can stand for a teacher's logits in every loss of `sequence_loss`.

    Raises
    ------
    ArgumentError
        No teacher, different shapes, an unknown kind, weights, ids or a temperature out of place.

    Notes
    -----
    The mean of KL(p_k || q) is KL(average || q) plus a constant, so to average losses is to average laws. The token
    average is not the mixture of the teachers as distributions over whole outputs; ``"prefix"`` is. Two tensors of the
    shape are held, whatever K. The geometric average of teachers that share no possible token is NaN.

    Examples
    --------
    >>> teachers = [torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.9, 0.1]]]).log()]
    >>> [round(value, 2) for value in average(teachers).exp().flatten().tolist()]
    [0.7, 0.3]
    >>> [round(value, 2) for value in average(teachers, kind="geometric").exp().flatten().tolist()]
    [0.75, 0.25]
    """
    if kind not in AVERAGES:
        raise unknown("kind", kind, AVERAGES)
    _require_alike(teachers)
    if (ids is not None) != (kind == "prefix"):
        raise ArgumentError(
            f"ids: expected {'the outputs (B, T)' if ids is None else 'None'} for {kind!r}, got "
            f"{'None' if ids is None else 'a tensor'}. Only 'prefix' looks at the outputs."
        )
    _require_temperature(temperature)
    shares = _shares(weights, len(teachers))
    if kind == "geometric":
        mean = sum(share * _law(logits, temperature) for share, logits in zip(shares, teachers, strict=True) if share)
        assert isinstance(mean, Tensor)
        return mean.log_softmax(-1)
    logs: Sequence[float] | Tensor
    if ids is None:
        logs = [math.log(share) if share else -math.inf for share in shares]
    else:
        logs = prefix_weights(teachers, ids, weights=weights, temperature=temperature)[..., None]
    total: Tensor | None = None
    for share, log_weight, logits in zip(shares, logs, teachers, strict=True):
        if share:
            weighed = _law(logits, temperature) + log_weight
            total = weighed if total is None else torch.logaddexp(total, weighed)
    assert total is not None
    return total


def prefix_weights(
    teachers: Sequence[Tensor], ids: Tensor, *, weights: Sequence[float] | None = None, temperature: float = 1.0
) -> Tensor:
    """Return how much each teacher weighs at each place in the mixture of teachers as distributions over outputs.

    Parameters
    ----------
    teachers : sequence of Tensor, floating, shape (B, T, V)
        Logits of K teachers.
    ids : Tensor, int64, shape (B, T)
        The outputs; places after the end hold any token of the vocabulary.
    weights : sequence of float, length K, optional
        The teachers' weights before the first token. Default: equal.
    temperature : float, default 1.0
        Divides every teacher's logits.

    Returns
    -------
    Tensor, floating, shape (K, B, T)
        Logs of w_k P_k(tokens before) / sum over teachers. Places after the end are filled, never NaN.

    Raises
    ------
    ArgumentError
        As `average`.

    Examples
    --------
    >>> teachers = [torch.tensor([[[0.2, 0.8], [0.5, 0.5]]]).log(), torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log()]
    >>> weights = prefix_weights(teachers, torch.tensor([[1, 0]])).exp()
    >>> [round(weight, 4) for weight in weights[:, 0, 1].tolist()]
    [0.6154, 0.3846]
    """
    _require_alike(teachers)
    if tuple(ids.shape) != tuple(teachers[0].shape[:2]):
        raise ArgumentError(
            f"ids: expected shape {tuple(teachers[0].shape[:2])} as the teachers' logits, got {tuple(ids.shape)}. "
            "Align all teachers to the same outputs."
        )
    size = teachers[0].shape[-1]
    if ids.dtype != torch.int64 or bool(((ids < 0) | (ids >= size)).any()):
        least, most = (float(ids.min()), float(ids.max())) if ids.numel() else (0.0, 0.0)
        raise ArgumentError(
            f"ids: expected int64 from 0 to {size - 1}, the teachers' vocabulary, got {ids.dtype} from {least:g} to "
            f"{most:g}. Fill what stands after the end: ids.masked_fill(~mask, 0)."
        )
    _require_temperature(temperature)
    before = []
    for share, logits in zip(_shares(weights, len(teachers)), teachers, strict=True):
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        scores = logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)
        # Impossible for every teacher, such as padding: equal weights and no NaN.
        scores = scores.clamp(min=torch.finfo(scores.dtype).min / (2 * max(ids.shape[1], 1)))
        so_far = torch.nn.functional.pad(scores.cumsum(1), (1, 0))[:, :-1]
        before.append(so_far + (math.log(share) if share else -math.inf))
    return torch.stack(before).log_softmax(0)


def _law(logits: Tensor, temperature: float) -> Tensor:
    return (logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature).log_softmax(-1)


def _require_alike(teachers: Sequence[Tensor]) -> None:
    if not teachers:
        raise ArgumentError("teachers: expected one or more, got none. Pass a list of logits (B, T, V).")
    shape = tuple(teachers[0].shape)
    for place, logits in enumerate(teachers):
        if logits.dim() != 3 or tuple(logits.shape) != shape:
            raise ArgumentError(
                f"teachers[{place}]: expected logits (B, T, V) of shape {shape} as in teachers[0], got "
                f"{tuple(logits.shape)}. Align all teachers to the same outputs over one vocabulary."
            )


def _require_temperature(temperature: float) -> None:
    if not isinstance(temperature, (int, float)) or not 0 < temperature < math.inf:
        raise ArgumentError(f"temperature: expected a positive number, got {quote(temperature)}. Use 1.0.")


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return the weights by their sum."""
    if weights is None:
        return [1 / count] * count
    numbers = all(isinstance(weight, (int, float)) for weight in weights)
    total = math.fsum(weights) if numbers else math.nan
    if len(weights) != count or not 0 < total < math.inf or min(weights) < 0:
        raise ArgumentError(
            f"weights: expected {count} non-negative numbers, one for each teacher, not all 0, got "
            f"{quote(list(weights))}. Pass None for equal weights."
        )
    return [weight / total for weight in weights]


Output = TypeVar("Output", bound=Hashable)


class Example(NamedTuple):
    """One target of one input.

    Parameters
    ----------
    input : int
        The input's place.
    target : hashable
        The output, as it was given.
    weight : float
        Its share of the input's weight.
    """

    input: int
    target: Hashable
    weight: float


def union(outputs: Sequence[Sequence[Hashable]], *, weights: Sequence[float] | None = None) -> list[Example]:
    """Return all teachers' outputs as training examples: UnionKD, which is SeqKD from the mixture of the teachers.

    Parameters
    ----------
    outputs : sequence of K sequences of length N
        Each teacher's output for each input: a string, or ids as a tuple.
    weights : sequence of float, length K, optional
        Non-negative, not all zero; they are divided by their sum. Default: equal.

    Returns
    -------
    list of Example
        Inputs in order; each input's weights sum to 1. Teachers of one opinion share an example: the loss is the same,
        the work less.

    Raises
    ------
    ArgumentError
        No teacher, different numbers of outputs, weights out of place.

    Examples
    --------
    >>> union([["a b", "c"], ["a b", "d"]])  # doctest: +NORMALIZE_WHITESPACE
    [Example(input=0, target='a b', weight=1.0), Example(input=1, target='c', weight=0.5),
     Example(input=1, target='d', weight=0.5)]
    """
    if not outputs:
        raise ArgumentError("outputs: expected one teacher or more, got none. Pass a list of lists of outputs.")
    for place, one in enumerate(outputs):
        if isinstance(one, str):
            raise ArgumentError(
                f"outputs[{place}]: expected a list of a teacher's outputs, got {quote(one)}. Put it in a list."
            )
        if len(one) != len(outputs[0]):
            raise ArgumentError(
                f"outputs[{place}]: expected {len(outputs[0])} outputs as in outputs[0], got {len(one)}. Decode the "
                "same inputs with all teachers."
            )
    shares = _shares(weights, len(outputs))
    examples = []
    for place, targets in enumerate(zip(*outputs, strict=True)):
        merged: dict[Hashable, float] = {}
        for teacher, (share, target) in enumerate(zip(shares, targets, strict=True)):
            if not isinstance(target, Hashable):
                raise ArgumentError(
                    f"outputs[{teacher}][{place}]: expected a text or a tuple of ids, got {quote(target)}. Use "
                    "tuple(ids)."
                )
            if share:
                merged[target] = merged.get(target, 0.0) + share
        examples += [Example(place, target, weight) for target, weight in merged.items()]
    return examples
