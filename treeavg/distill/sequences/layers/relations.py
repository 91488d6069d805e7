"""Losses between attention maps and other relations of positions: widths may differ, the numbers of heads may not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from treeavg.distill.sequences.reductions import reduce
from treeavg.errors import ArgumentError

__all__ = ["attention_kl", "attention_mse", "value_relations"]


def value_relations(values: Tensor, mask: Tensor) -> Tensor:
    """Return how positions attend to each other by their values: softmax of V V' / sqrt(d).

    Parameters
    ----------
    values : Tensor, floating, shape (B, heads, T, d)
        Values of a layer. Split both models' into the same number of heads. Differentiable.
    mask : Tensor, bool, shape (B, T)
        Positions that are there; to the others nothing attends.

    Returns
    -------
    Tensor
        Shape (B, heads, T, T), rows that sum to 1; rows of masked positions mean nothing. [MiniLM, NeurIPS 2020]

    Raises
    ------
    ArgumentError
        Shapes that differ, or a mask that is not bool.

    Examples
    --------
    >>> value_relations(torch.zeros(1, 1, 2, 3), torch.ones(1, 2, dtype=torch.bool)).tolist()
    [[[[0.5, 0.5], [0.5, 0.5]]]]
    """
    if values.dim() != 4 or (values.shape[0], values.shape[2]) != tuple(mask.shape):
        raise ArgumentError(
            f"values: expected (B, heads, T, d) for the mask {tuple(mask.shape)}, got {tuple(values.shape)}. "
            "Reshape the values to heads."
        )
    if mask.dtype != torch.bool:
        raise ArgumentError(f"mask: expected bool, got {mask.dtype}. Use mask.bool().")
    there = mask[:, None, :, None]
    kept = torch.where(there, values, torch.zeros_like(values))
    scores = kept @ kept.transpose(-1, -2) / math.sqrt(values.shape[-1])
    return scores.masked_fill(~there.transpose(-1, -2), torch.finfo(scores.dtype).min).softmax(-1)


def attention_kl(
    teacher: Tensor, student: Tensor, mask: Tensor, *, reduction: str = "token", n_items: float | Tensor | None = None
) -> Tensor:
    """Return KL(teacher || student) of the rows of attention maps, the mean over heads.

    Parameters
    ----------
    teacher : Tensor, floating, shape (B, heads, Q, K)
        Probabilities, as `attentions` of Hugging Face models, or `value_relations`. A constant.
    student : Tensor, floating, same shape
        Probabilities. Differentiable.
    mask : Tensor, bool, shape (B, Q)
        Query positions that count.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        As in `reductions.reduce`: over the query positions.
    n_items : float or Tensor, optional
        Divide by this number in place of that of the batch.

    Returns
    -------
    Tensor
        A scalar, or shape (B, Q) for ``reduction="none"``. [MiniLM, NeurIPS 2020]

    Raises
    ------
    ArgumentError
        Shapes that differ.

    Examples
    --------
    >>> teacher, student = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.5, 0.5]]]])
    >>> round(float(attention_kl(teacher, student, torch.tensor([[True]]))), 4)
    0.6931
    """
    p, q = _rows(teacher, student, mask)
    held = p > 0
    log_ratio = torch.where(held, p, 1).log() - torch.where(held, q, 1).clamp(min=torch.finfo(q.dtype).tiny).log()
    losses = (p * log_ratio).sum(-1).mean(-1)
    return reduce(losses.new_zeros(mask.shape).masked_scatter(mask, losses), mask, reduction=reduction, n_items=n_items)


def attention_mse(
    teacher: Tensor,
    student: Tensor,
    mask: Tensor,
    *,
    keys: Tensor | None = None,
    reduction: str = "token",
    n_items: float | Tensor | None = None,
) -> Tensor:
    """Return the squared differences of attention scores, the mean over heads and keys.

    Parameters
    ----------
    teacher : Tensor, floating, shape (B, heads, Q, K)
        Scores before the softmax. A constant.
    student : Tensor, floating, same shape
        Scores. Differentiable.
    mask : Tensor, bool, shape (B, Q)
        Query positions that count.
    keys : Tensor, bool, shape (B, Q, K), optional
        Which keys each query may attend to. Default: those of `mask`, for self-attention in both directions.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        As in `reductions.reduce`: over the query positions.
    n_items : float or Tensor, optional
        Divide by this number in place of that of the batch.

    Returns
    -------
    Tensor
        A scalar, or shape (B, Q) for ``reduction="none"``. [TinyBERT, EMNLP-Findings 2020]

    Raises
    ------
    ArgumentError
        Shapes that differ.

    Examples
    --------
    >>> teacher, student = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 0.0]]]])
    >>> float(attention_mse(teacher, student, torch.tensor([[True]]), keys=torch.tensor([[[True, True]]])))
    0.5
    """
    p, q = _rows(teacher, student, mask)
    if keys is None:
        keys = mask[:, None].expand(-1, mask.shape[1], -1)
    wanted = (*mask.shape, teacher.shape[-1])
    if tuple(keys.shape) != wanted:
        raise ArgumentError(
            f"keys: expected {wanted}, from each query to each key, got {tuple(keys.shape)}. Give which keys each "
            "query may attend to."
        )
    allowed = keys[mask][:, None]
    apart = torch.where(allowed, p, 0) - torch.where(allowed, q, 0)  # scores that are masked may be -inf
    losses = (apart.square().sum(-1) / allowed.sum(-1).clamp(min=1)).mean(-1)
    return reduce(losses.new_zeros(mask.shape).masked_scatter(mask, losses), mask, reduction=reduction, n_items=n_items)


def _rows(teacher: Tensor, student: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows [N, heads, K] of the queries that count, in single precision at least."""
    if teacher.shape != student.shape or teacher.dim() != 4 or teacher.shape[::2][:2] != mask.shape:
        raise ArgumentError(
            f"student: expected the teacher's shape, (B, heads, Q, K) for the mask {tuple(mask.shape)}, got "
            f"{tuple(student.shape)} and the teacher's {tuple(teacher.shape)}. Both need the same number of heads."
        )
    if mask.dtype != torch.bool:
        raise ArgumentError(f"mask: expected bool, got {mask.dtype}. Use mask.bool().")
    dtype = torch.promote_types(student.dtype, torch.float32)
    return teacher.detach().transpose(1, 2)[mask].to(dtype), student.transpose(1, 2)[mask].to(dtype)
