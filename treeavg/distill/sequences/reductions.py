"""How the losses of positions become one number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["REDUCTIONS", "reduce", "require_mask", "weights"]

REDUCTIONS = ("token", "sequence", "sequence_mean", "none")


def require_mask(mask: Tensor, shape: Sequence[int]) -> None:
    """Raise an ArgumentError where `mask` is not bool of this shape (B, T)."""
    if mask.dtype != torch.bool or mask.shape != tuple(shape):
        raise ArgumentError(
            f"mask: expected bool of shape {tuple(shape)}, got {mask.dtype} of shape {tuple(mask.shape)}. Take it from "
            "completions(...)."
        )


def weights(
    mask: Tensor,
    *,
    reduction: str = "token",
    n_items: float | Tensor | None = None,
    world_size: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the factor of each position's loss in the reduced one.

    Parameters
    ----------
    mask : Tensor, bool, shape (B, T)
        Which positions count.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        As for `reduce`.
    n_items : float or Tensor, optional
        As for `reduce`.
    world_size : int, default 1
        As for `reduce`.
    dtype : torch.dtype, default float32
        Type of the result.

    Returns
    -------
    Tensor
        Shape (B, T), zero where the mask is False.

    Raises
    ------
    ArgumentError
        As for `reduce`.

    Examples
    --------
    >>> weights(torch.tensor([[True, True], [True, False]]), reduction="sequence_mean").tolist()
    [[0.25, 0.25], [0.5, 0.0]]
    """
    _require(mask, reduction, n_items, world_size)
    counted = mask.to(dtype)
    if reduction == "none":
        return counted
    if reduction == "sequence_mean":
        counted = counted / counted.sum(1, keepdim=True).clamp(min=1)
    if n_items is None:
        return counted / (mask.sum().clamp(min=1) if reduction == "token" else max(mask.shape[0], 1))
    total = n_items.to(mask.device).clamp(min=1) if isinstance(n_items, Tensor) else max(n_items, 1)
    return counted * world_size / total


def reduce(
    losses: Tensor,
    mask: Tensor,
    *,
    reduction: str = "token",
    n_items: float | Tensor | None = None,
    world_size: int = 1,
    connected: Sequence[Tensor] = (),
) -> Tensor:
    """Return the losses of positions, reduced.

    Parameters
    ----------
    losses : Tensor, floating, shape (B, T)
        A loss for each position; where the mask is False anything may stand, also NaN.
    mask : Tensor, bool, shape (B, T)
        Which positions count.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        The sum by the number of positions that count; by the number of sequences; the mean over sequences of the means
        over their positions; or the losses themselves, zero where the mask is False.
    n_items : float or Tensor of no dimension, optional
        Divide by this number of positions (of sequences, for the other two) in place of this batch's: that of the
        whole step, over all batches and processes, counted after generation. Below 1 it counts as 1.
    world_size : int, default 1
        Processes whose gradients are averaged: with an `n_items` over all of them, each multiplies its share by this.
    connected : sequence of Tensor, optional
        Tensors that shall get a gradient, if only zero, where no position counts: hidden states, the head's weight.
        Processes that wait for each other's gradients would else hang.

    Returns
    -------
    Tensor
        A scalar, in float32 at least; or shape (B, T) for ``reduction="none"``. Without any position 0, connected to
        the graph.

    Raises
    ------
    ArgumentError
        An unknown reduction, wrong shapes, or an `n_items` or `world_size` that cannot be.

    Examples
    --------
    >>> losses, mask = torch.tensor([[1.0, 2.0], [3.0, 9.0]]), torch.tensor([[True, True], [True, False]])
    >>> [float(reduce(losses, mask, reduction=name)) for name in ("token", "sequence", "sequence_mean")]
    [2.0, 3.0, 2.25]
    """
    require_mask(mask, losses.shape)
    dtype = torch.promote_types(losses.dtype, torch.float32)  # bfloat16 cannot count beyond 256
    factors = weights(mask, reduction=reduction, n_items=n_items, world_size=world_size, dtype=dtype)
    kept = torch.where(mask, losses, torch.zeros_like(losses))
    result = kept if reduction == "none" else (kept * factors).sum()
    for tensor in connected:
        result = result + tensor.flatten()[:0].sum()  # an empty sum: zero even where the tensor holds NaN
    return result


def _require(mask: Tensor, reduction: str, n_items: float | Tensor | None, world_size: int) -> None:
    """Raise an ArgumentError where the options of a reduction cannot be."""
    require_mask(mask, mask.shape[:2])
    if reduction not in REDUCTIONS:
        raise unknown("reduction", reduction, REDUCTIONS)
    if not isinstance(world_size, int) or world_size < 1:
        raise ArgumentError(f"world_size: expected a number of processes, got {quote(world_size)}. Use 1 for one.")
    if n_items is None:
        if world_size != 1:
            raise ArgumentError(
                f"n_items: expected the number of items of all {world_size} processes, got None. Sum it over them, or "
                "leave world_size at 1."
            )
        return
    if reduction == "none":
        raise ArgumentError(
            f"n_items: expected None with reduction='none', which divides by nothing, got {quote(n_items)}. Leave it "
            "out."
        )
    if isinstance(n_items, Tensor):
        if n_items.dim():
            raise ArgumentError(
                f"n_items: expected one number, got a tensor of shape {tuple(n_items.shape)}. Sum it first."
            )
    elif not isinstance(n_items, (int, float)) or not 0 <= n_items < float("inf"):
        raise ArgumentError(
            f"n_items: expected a number of items, got {quote(n_items)}. Pass None to count this batch's."
        )
