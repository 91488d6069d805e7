"""What is known of a teacher: log-probabilities of the k likeliest tokens, or of given ones, at each position."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from treeavg.distill.sequences.losses.forms import require_positive
from treeavg.distill.sequences.losses.rows import blocks_of, compute_type, log_law, take
from treeavg.distill.sequences.reductions import require_mask
from treeavg.errors import ArgumentError, quote

__all__ = ["TopK", "checked_mask", "laws", "require_records", "scored", "top_k"]


class TopK(NamedTuple):
    """A teacher's log-probabilities of some tokens at each position.

    Parameters
    ----------
    ids : Tensor, int64 or int32, shape (B, T, k)
        Tokens, all different at a position.
    log_probs : Tensor, floating, shape (B, T, k)
        Their log-probabilities, normalised over the *whole* vocabulary at `temperature`.
    temperature : float, default 1.0
        That of the law: other temperatures cannot be computed from it.
    """

    ids: Tensor
    log_probs: Tensor
    temperature: float = 1.0


def top_k(logits: Tensor, k: int, *, temperature: float = 1.0, mask: Tensor | None = None) -> TopK:
    """Return the k likeliest tokens of each position, the likeliest first.

    Parameters
    ----------
    logits : Tensor, floating, shape (B, T, V)
        A teacher's; padded columns of the vocabulary cut off. Nothing flows back to it.
    k : int
        From 1 to V.
    temperature : float, default 1.0
        That of the loss that will use them.
    mask : Tensor, bool, shape (B, T), optional
        Positions that count; at the others the tokens are 0 to k - 1, equally likely.

    Returns
    -------
    TopK
        `log_probs` in single precision, or double for double logits.

    Raises
    ------
    ArgumentError
        `k` or `temperature` is out of range, or logits are not finite (seen on the CPU only).

    Examples
    --------
    >>> top_k(torch.tensor([[[0.5, 0.25, 0.125, 0.125]]]).log(), 2).log_probs.exp()
    tensor([[[0.5000, 0.2500]]])
    """
    vocabulary = logits.shape[-1]
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= vocabulary:
        raise ArgumentError(f"k: expected 1 to {vocabulary}, the vocabulary's size, got {quote(k)}. Use 64.")
    counted = checked_mask(logits, mask, "logits")
    ids = torch.arange(k, device=logits.device).repeat(*logits.shape[:-1], 1)
    log_probs = _uniform(logits, ids)
    for rows, law in laws(logits, counted, temperature, "logits"):
        best = law.topk(k, dim=-1)
        ids.view(-1, k)[rows], log_probs.view(-1, k)[rows] = best.indices, best.values
    return TopK(ids, log_probs, float(temperature))


def scored(logits: Tensor, ids: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None) -> TopK:
    """Return the log-probabilities of given tokens, such as the student's own likeliest ones under the teacher.

    Parameters
    ----------
    logits : Tensor, floating, shape (B, T, V)
        A teacher's. Nothing flows back to it.
    ids : Tensor, int64, shape (B, T, k)
        Tokens, all different at a position.
    temperature : float, default 1.0
        That of the loss that will use them.
    mask : Tensor, bool, shape (B, T), optional
        Positions that count; at the others the tokens are as given, equally likely.

    Returns
    -------
    TopK

    Raises
    ------
    ArgumentError
        Shapes differ, tokens are out of range or repeated, or logits are not finite (seen on the CPU only).

    Examples
    --------
    >>> scored(torch.tensor([[[0.5, 0.25, 0.25]]]).log(), torch.tensor([[[2, 0]]])).log_probs.exp()
    tensor([[[0.2500, 0.5000]]])
    """
    counted = checked_mask(logits, mask, "logits")
    if ids.dim() != 3 or ids.shape[:2] != logits.shape[:2]:
        raise ArgumentError(
            f"ids: expected shape {(*logits.shape[:2], 'k')}, got {tuple(ids.shape)}. Give k tokens for each position."
        )
    _require_ids(ids, counted, logits.shape[-1], "ids")
    log_probs = _uniform(logits, ids)
    flat, found = ids.long().reshape(-1, ids.shape[-1]), log_probs.view(-1, ids.shape[-1])
    for rows, law in laws(logits, counted, temperature, "logits"):
        found[rows] = law.gather(-1, flat[rows])
    return TopK(ids, log_probs, float(temperature))


def laws(logits: Tensor, mask: Tensor, temperature: float, name: str | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the places of a few counted positions and their log-probabilities over the vocabulary."""
    require_positive("temperature", temperature)
    for rows in blocks_of(mask, logits.shape[-1]):
        law = log_law(take(logits.detach(), rows), temperature, compute_type(logits))
        if name is not None and law.device.type == "cpu" and bool(law[:, 0].isnan().any()):  # then all of the row is
            bad = int(rows[law[:, 0].isnan()][0])
            place = [bad // mask.shape[1], bad % mask.shape[1]]
            raise ArgumentError(
                f"{name}{place}: expected numbers, got NaN or infinity. Mask the position, or look for what "
                "overflowed in the model."
            )
        yield rows, law


def _uniform(logits: Tensor, ids: Tensor) -> Tensor:
    size = ids.shape[-1]
    return torch.full(tuple(ids.shape), -math.log(size), dtype=compute_type(logits), device=logits.device)


def checked_mask(logits: Tensor, mask: Tensor | None, name: str) -> Tensor:
    """Return the positions of logits (B, T, V) that count; all of them without a mask."""
    if logits.dim() != 3 or not logits.is_floating_point():
        raise ArgumentError(
            f"{name}: expected floating numbers of shape (B, T, V), got {logits.dtype} of shape "
            f"{tuple(logits.shape)}. Give the logits of completions."
        )
    if mask is None:
        return logits.new_ones(tuple(logits.shape[:2]), dtype=torch.bool)
    require_mask(mask, logits.shape[:2])
    return mask


def require_records(teacher: TopK, mask: Tensor, vocabulary: int, *, name: str = "teacher") -> None:
    """Raise where a record does not fit the mask or the vocabulary, or holds no law; values are read on CPUs only."""
    shape = tuple(teacher.ids.shape)
    if len(shape) != 3 or shape[:2] != tuple(mask.shape) or tuple(teacher.log_probs.shape) != shape or not shape[2]:
        raise ArgumentError(
            f"{name}: expected ids and log_probs of shape {(*mask.shape, 'k')}, got {shape} and "
            f"{tuple(teacher.log_probs.shape)}. Pad records as completions are padded."
        )
    if teacher.ids.device != mask.device or teacher.log_probs.device != mask.device:
        raise ArgumentError(
            f"{name}: expected tensors on {mask.device}, where the mask is, got {teacher.ids.device} and "
            f"{teacher.log_probs.device}. Move them there."
        )
    _require_ids(teacher.ids, mask, vocabulary, f"{name}.ids")
    if mask.device.type != "cpu":
        return
    rows = teacher.log_probs.detach()[mask].double()
    if bool(rows.isnan().any()):
        raise ArgumentError(f"{name}.log_probs: expected log-probabilities, got NaN. Record them again.")
    most = float(rows.logsumexp(-1).exp().max()) if rows.numel() else 0.0
    if most > (1.01 if teacher.log_probs.element_size() == 2 else 1.0001):
        raise ArgumentError(
            f"{name}.log_probs: expected probabilities with a sum of at most 1, got {most:.6g}. Normalise over the "
            "whole vocabulary: give log-probabilities, not logits."
        )


def _require_ids(ids: Tensor, mask: Tensor, vocabulary: int, name: str) -> None:
    if ids.is_floating_point() or ids.device.type != "cpu" or mask.device.type != "cpu":
        if ids.is_floating_point():
            raise ArgumentError(f"{name}: expected whole numbers, got {ids.dtype}. Give token ids.")
        return
    rows = ids[mask].long().sort(-1).values
    if not rows.numel():
        return
    low, high = int(rows.min()), int(rows.max())
    if low < 0 or high >= vocabulary:
        raise ArgumentError(
            f"{name}: expected tokens from 0 to {vocabulary - 1}, got {low if low < 0 else high}. Teacher and student "
            "must share a vocabulary: see common_vocabulary."
        )
    if bool((rows[:, 1:] == rows[:, :-1]).any()):
        raise ArgumentError(f"{name}: expected different tokens at each position, got a token twice. Leave it out.")
