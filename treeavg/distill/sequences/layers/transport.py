"""Many layers of a student learn from many of a teacher, each as much as the cheapest plan says: optimal transport."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from treeavg.distill.sequences.layers.hidden import (
    NORMS,
    LinearMaps,
    distance,
    entry,
    require_states,
    require_width,
    widened,
)
from treeavg.distill.sequences.layers.layers import LayerPair
from treeavg.distill.sequences.reductions import reduce
from treeavg.errors import ArgumentError, unknown

__all__ = ["transport_loss", "transport_plan"]


def transport_plan(costs: Tensor) -> Tensor:
    """Return how much of each layer's share goes where, at the least total cost: the earth mover's plan.

    Every layer of the student has 1 / m to give, every layer of the teacher takes 1 / n.

    Parameters
    ----------
    costs : Tensor, floating, shape (m, n)
        Price of matching layer i of the student wholly with layer j of the teacher; finite. No gradient.

    Returns
    -------
    Tensor
        Shape (m, n), of the type and on the device of `costs`: rows sum to 1 / m, columns to 1 / n, at most m + n - 1
        entries are not 0.

    Raises
    ------
    ArgumentError
        Another shape, costs that are not finite, or no scipy.

    Notes
    -----
    A linear program, solved exactly by HiGHS: with n units to give and m to take, the corners of the plans are whole
    numbers. The time is that of a small program on the host, milliseconds for tens of layers. Of several cheapest plans
    it is one, always the same for the same costs.

    References
    ----------
    [Li et al., EMNLP 2020 (BERT-EMD), section 3.2], whose layers' shares are trained besides; here they stay equal.

    Examples
    --------
    >>> transport_plan(torch.tensor([[0.0, 1.0, 4.0], [4.0, 1.0, 0.0]])).mul(6).round().tolist()
    [[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]
    """
    if costs.dim() != 2 or not costs.numel():
        raise ArgumentError(
            f"costs: expected shape (m, n), m and n at least 1, got {tuple(costs.shape)}. Give a row for each layer of "
            "the student."
        )
    if not bool(costs.isfinite().all()):
        raise ArgumentError("costs: expected finite numbers, got NaN or infinity. Look for states that are not finite.")
    rows, columns = costs.shape
    prices = costs.detach().double().cpu()
    prices = prices / prices.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    units = torch.arange(rows * columns)
    gives = (units // columns == torch.arange(rows)[:, None]).double()
    takes = (units % columns == torch.arange(columns)[:, None]).double()
    done = _optimize().linprog(
        prices.flatten().numpy(),
        A_eq=torch.cat([gives, takes]).numpy(),
        b_eq=[columns] * rows + [rows] * columns,
        method="highs-ds",  # the simplex, which ends in a corner
    )
    plan = torch.tensor(done.x, dtype=torch.float64).round().view(rows, columns)
    assert bool((plan.sum(1) == columns).all() and (plan.sum(0) == rows).all() and (plan >= 0).all())
    return (plan / (rows * columns)).to(costs)


def transport_loss(
    teacher: Sequence[Tensor],
    student: Sequence[Tensor],
    pairs: Sequence[LayerPair],
    mask: Tensor,
    *,
    maps: LinearMaps | None = None,
    norm: str = "none",
    reduction: str = "token",
    n_items: float | Tensor | None = None,
) -> Tensor:
    """Return the earth mover's distance of a student's layers from a teacher's: many to many, no pairs to choose.

    Parameters
    ----------
    teacher : sequence of Tensor, floating, length L_T + 1, shape (B, T, D_T) each
        `hidden_states`; constants.
    student : sequence of Tensor, floating, length L_S + 1, shape (B, T, D_S) each
        `hidden_states`. Differentiable.
    pairs : sequence of LayerPair
        From ``select_layers(..., "weighted")``: each layer of the student with the same layers of the teacher.
    mask : Tensor, bool, shape (B, T)
        Positions that count; the others may hold anything.
    maps : LinearMaps, optional
        Maps for the student's states, one for each pair; needed where the widths differ. Default: none, W = I.
    norm : {"none", "l2", "ln"}, default "none"
        As in `hidden_loss`.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        As in `reductions.reduce`.
    n_items : float or Tensor, optional
        Divide by this number in place of that of the batch.

    Returns
    -------
    Tensor
        A scalar, or shape (B, T) for ``reduction="none"``: the sum over pairs of layers of plan times distance, where
        the plan sums to 1.

    Raises
    ------
    ArgumentError
        Pairs of another strategy, a layer that is not there, shapes that differ, or as `transport_plan`.

    Notes
    -----
    The plan is `transport_plan` of the mean distances in this batch, and a constant. So it may change from batch to
    batch, and a step cut into several batches has several plans. Distances are kept for gradients at most
    m + n - 1 times.

    References
    ----------
    [Li et al., EMNLP 2020 (BERT-EMD), equations 5 to 9], without their attention maps.

    Examples
    --------
    >>> states = [torch.zeros(1, 2, 4), torch.ones(1, 2, 4), 3 * torch.ones(1, 2, 4)]
    >>> pairs = [LayerPair(1, (1, 2)), LayerPair(2, (1, 2))]
    >>> float(transport_loss(states, states[::-1], pairs, torch.ones(1, 2, dtype=torch.bool)))
    2.5
    """
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    require_states(teacher, student, pairs, mask, maps)
    layers = _common_layers(pairs)
    own, those = [], []
    for layer in layers:
        those.append(widened(teacher[entry(layer, 0, teacher, "teacher", 0)][mask].detach()))
    for place, pair in enumerate(pairs):
        states = widened(student[entry(pair.student, 0, student, "student", place)][mask])
        own.append(states if maps is None else maps(place, states))
        require_width(those[0], own[-1], place)
    with torch.no_grad():
        prices = [[distance(target.to(states), states, norm).sum() for target in those] for states in own]
        plan = transport_plan(torch.stack([torch.stack(row) for row in prices]) / max(len(those[0]), 1))
    losses = own[0].new_zeros(len(own[0]))
    for place, column in plan.nonzero().tolist():
        apart = distance(those[column].to(own[place]), own[place], norm)
        losses = losses + plan[place, column] * apart
    return reduce(losses.new_zeros(mask.shape).masked_scatter(mask, losses), mask, reduction=reduction, n_items=n_items)


def _common_layers(pairs: Sequence[LayerPair]) -> tuple[int, ...]:
    """Return the teacher's layers, which are the same in all pairs."""
    first = pairs[0].teacher
    for place, pair in enumerate(pairs):
        if not isinstance(pair.teacher, tuple) or not isinstance(first, tuple) or pair.teacher != first:
            raise ArgumentError(
                f"pairs[{place}]: expected several layers of the teacher, the same in all pairs, got {pair.teacher}. "
                "Use select_layers(..., 'weighted')."
            )
    assert isinstance(first, tuple)
    return first


def _optimize() -> Any:
    """Return scipy's module of linear programs."""
    try:
        return importlib.import_module("scipy.optimize")
    except ImportError as error:
        raise ArgumentError(
            f"transport_plan: expected the package scipy, got: {error}. Install it: pip install 'treeavg[highs]'."
        ) from None
