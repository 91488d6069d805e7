"""Losses over ranks: a student that shall prefer the candidates that its teacher prefers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from treeavg.distill.sequences.losses.candidates import (
    PAIRS,
    checked_scores,
    closest_to_gold,
    n_best_weights,
    pairs,
)
from treeavg.distill.sequences.losses.forms import require_positive
from treeavg.errors import ArgumentError, quote, unknown

__all__ = [
    "KINDS",
    "PAIRS",
    "REDUCTIONS",
    "closest_to_gold",
    "listwise_loss",
    "n_best_weights",
    "pairs",
    "ranking_loss",
    "sequence_scores",
]

#: A line of help for each loss of pairs; d is the better one's score less the worse one's.
KINDS: dict[str, str] = {
    "linear": "-d, but not below -clip: without a bound it falls for ever",
    "logistic": "-log sigmoid(beta d)",
    "hinge": "max(0, margin - d)",
    "dpo": "-log sigmoid(beta (d - the same of a frozen reference))",
}
REDUCTIONS = ("pair", "none")
_OPTIONS = {"clip": ("linear",), "beta": ("logistic", "dpo"), "margin": ("hinge",), "reference": ("dpo",)}


def sequence_scores(token_logp: Tensor, mask: Tensor, *, per_token: bool = False) -> Tensor:
    """Return log-probabilities of whole sequences from those of their tokens.

    Parameters
    ----------
    token_logp : Tensor, floating, shape (..., T)
        Of each realised token.
    mask : Tensor, bool, shape (..., T)
        Tokens that count.
    per_token : bool, default False
        Divide by the number of tokens (1 for none), so that long candidates are not behind for their length.

    Returns
    -------
    Tensor, shape (...)

    Raises
    ------
    ArgumentError
        The shapes differ.

    Examples
    --------
    >>> sequence_scores(torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[True, True, False]]))
    tensor([-3.])
    """
    if mask.shape != token_logp.shape or mask.dtype != torch.bool:
        raise ArgumentError(
            f"mask: expected bool of shape {tuple(token_logp.shape)}, got {mask.dtype} of shape {tuple(mask.shape)}. "
            "Mask completions, not prompts."
        )
    total = torch.where(mask, token_logp, torch.zeros_like(token_logp)).sum(-1)
    return total / mask.sum(-1).clamp(min=1) if per_token else total


def ranking_loss(
    kind: str,
    student_scores: Tensor,
    pairs: Tensor,
    *,
    beta: float | None = None,
    margin: float | None = None,
    clip: float | None = None,
    reference: Tensor | None = None,
    reduction: str = "pair",
    n_items: float | None = None,
    world_size: int = 1,
) -> Tensor:
    """Return a loss that is low where the student ranks pairs as the teacher does [Tang & Wang 2018].

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    student_scores : Tensor, floating, shape (B, N)
        The student's, from `sequence_scores`.
    pairs : Tensor, int64, shape (M, 3)
        From the function `pairs`: row, better, worse.
    beta : float, optional
        For logistic and dpo: multiplies the difference. Default 1, and 0.1 for dpo.
    margin : float, optional
        For hinge: the difference that is enough. Default 1.
    clip : float, optional
        For linear, where it must be given: the loss of a pair does not fall below -clip, and has no gradient there.
        ``math.inf`` for no bound.
    reference : Tensor, floating, shape (B, N), optional
        For dpo, where it must be given: scores under the frozen model that training began with [Rafailov et al. 2023].
    reduction : {"pair", "none"}, default "pair"
        The mean over pairs, or a loss for each.
    n_items : float, optional
        Divide by this number of pairs in place of this batch's: the whole step's.
    world_size : int, default 1
        Processes whose gradients are averaged: with an `n_items` over all of them, each multiplies its share by this.

    Returns
    -------
    Tensor
        A scalar, or shape (M,) for ``reduction="none"``. Without any pair 0, connected to the graph.

    Raises
    ------
    ArgumentError
        An unknown kind or reduction, an option that the kind has no use for, one that it misses, or pairs out of range.

    Examples
    --------
    >>> scores, chosen = torch.tensor([[-1.0, -1.0]]), torch.tensor([[0, 0, 1]])
    >>> round(float(ranking_loss("logistic", scores, chosen)), 4)
    0.6931
    """
    _require_options(kind, reduction, n_items, world_size, beta=beta, margin=margin, clip=clip, reference=reference)
    _require_pairs(student_scores, pairs)
    if reference is not None:
        if reference.shape != student_scores.shape:
            raise ArgumentError(
                f"reference: expected the shape of student_scores, {tuple(student_scores.shape)}, got "
                f"{tuple(reference.shape)}. Score the same candidates."
            )
        student_scores = student_scores - reference.detach()
    row, better, worse = pairs.unbind(1)
    d = student_scores[row, better] - student_scores[row, worse]
    if kind == "linear":
        assert clip is not None
        losses = (-d).clamp(min=-clip)
    elif kind == "hinge":
        losses = ((1.0 if margin is None else margin) - d).clamp(min=0)
    else:
        losses = -logsigmoid((beta if beta is not None else 0.1 if kind == "dpo" else 1.0) * d)
    if reduction == "none":
        return losses
    return losses.sum() * world_size / max(len(losses) if n_items is None else n_items, 1)


def listwise_loss(
    teacher_scores: Tensor,
    student_scores: Tensor,
    *,
    valid: Tensor | None = None,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    reduction: str = "row",
) -> Tensor:
    """Return the cross-entropy between two softmaxes over the candidates of a row.

    Parameters
    ----------
    teacher_scores : Tensor, floating, shape (B, N)
        Constants.
    student_scores : Tensor, floating, shape (B, N)
        From `sequence_scores`.
    valid : Tensor, bool, shape (B, N), optional
        Which candidates there are, at least one in a row. Default: all.
    temperature : float, default 1.0
        Divides the student's scores.
    teacher_temperature : float, optional
        Divides the teacher's. Default: `temperature`.
    reduction : {"row", "none"}, default "row"
        The mean over rows, or a loss for each.

    Returns
    -------
    Tensor
        A scalar, or shape (B,).

    Raises
    ------
    ArgumentError
        Shapes differ, a temperature or the reduction is wrong, a row has no candidates, or a score is not finite.

    Examples
    --------
    >>> teacher = torch.tensor([[0.5, 0.5]]).log()
    >>> round(float(listwise_loss(teacher, torch.zeros(1, 2))), 4)
    0.6931
    """
    if reduction not in ("row", "none"):
        raise unknown("reduction", reduction, ("row", "none"))
    own = temperature if teacher_temperature is None else teacher_temperature
    require_positive("temperature", temperature)
    require_positive("teacher_temperature", own)
    there = checked_scores(teacher_scores, valid, "teacher_scores")
    if student_scores.shape != teacher_scores.shape:
        raise ArgumentError(
            f"student_scores: expected the teacher's shape {tuple(teacher_scores.shape)}, got "
            f"{tuple(student_scores.shape)}. Score the same candidates."
        )
    p = (teacher_scores.detach() / own).masked_fill(~there, -math.inf).softmax(1)
    log_q = (student_scores / temperature).masked_fill(~there, -math.inf).log_softmax(1)
    losses = -(p * log_q.masked_fill(~there, 0.0)).sum(1)
    return losses if reduction == "none" else losses.sum() / max(len(losses), 1)


def _require_options(
    kind: str, reduction: str, n_items: float | None, world_size: int, **given: float | Tensor | None
) -> None:
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if reduction not in REDUCTIONS:
        raise unknown("reduction", reduction, REDUCTIONS)
    for name, value in given.items():
        kinds = _OPTIONS[name]
        if value is not None and kind not in kinds:
            raise ArgumentError(
                f"{name}: expected None for {kind!r}, got {quote(value) if name != 'reference' else 'a tensor'}. It is "
                f"for {' and '.join(map(repr, kinds))}."
            )
        if value is not None and not isinstance(value, Tensor) and not value > 0:
            raise ArgumentError(
                f"{name}: expected a positive number, got {quote(value)}. Leave it out for the default."
            )
    for name, needed_by, advice in (
        ("clip", "linear", "Use clip=10, or math.inf for the unbounded loss"),
        ("reference", "dpo", "Score the candidates with the model that training began with"),
    ):
        if kind == needed_by and given[name] is None:
            raise ArgumentError(f"{name}: expected a value for {kind!r}, got None. {advice}.")
    if not isinstance(world_size, int) or world_size < 1 or (world_size > 1 and n_items is None):
        raise ArgumentError(
            f"world_size: expected a number of processes, and n_items where it is not 1, got {quote(world_size)} and "
            f"{quote(n_items)}. Sum the pairs of all processes."
        )
    if n_items is not None and (reduction == "none" or not 0 <= n_items < math.inf):
        raise ArgumentError(
            f"n_items: expected a number of pairs, for reduction='pair' only, got {quote(n_items)} and {reduction!r}. "
            "Pass None to count this batch's."
        )


def _require_pairs(scores: Tensor, pairs: Tensor) -> None:
    if scores.dim() != 2 or pairs.dim() != 2 or pairs.shape[1] != 3 or pairs.is_floating_point():
        raise ArgumentError(
            f"pairs: expected int64 (M, 3) and student_scores (B, N), got {pairs.dtype} {tuple(pairs.shape)} and "
            f"{tuple(scores.shape)}. Build them with pairs(...)."
        )
    if pairs.device.type == "cpu" and len(pairs):
        most = pairs.max(0).values
        size = torch.tensor([scores.shape[0], scores.shape[1], scores.shape[1]])
        if bool((pairs < 0).any()) or bool((most >= size).any()):
            raise ArgumentError(
                f"pairs: expected rows below {scores.shape[0]} and candidates below {scores.shape[1]}, got up to "
                f"{most.tolist()}. Build them from scores of the same candidates."
            )
