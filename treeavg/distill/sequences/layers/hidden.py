"""Losses between hidden states: a student's layers learn a teacher's, through linear maps where widths differ.

`hidden_states` of Hugging Face models have one entry more than there are blocks: 0 is the embeddings, i the output of
block i. Many models pass their last entry, and no other, through the final norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from treeavg.distill.sequences.layers.layers import LayerPair
from treeavg.distill.sequences.reductions import reduce
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["ACTIVATIONS", "MATCHES", "NORMS", "PAIR_REDUCTIONS", "LinearMaps", "hidden_loss", "layer_weights"]

#: What may follow a linear map.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda states: states,
    "tanh": torch.tanh,
    "relu": torch.relu,
}
#: A line of help for each way to bring states to one scale; each works on one position at a time.
NORMS: dict[str, str] = {
    "none": "squared distance by the width",
    "l2": "squared distance of unit vectors, 2 - 2 cos, not by the width; from a state of zeros it is 1",
    "ln": "squared distance by the width, of states less their mean, by their standard deviation",
}
MATCHES = ("outputs", "inputs")
PAIR_REDUCTIONS = ("sum", "mean")


class LinearMaps(nn.Module):
    """Trained maps W from a student's width to its teacher's; left behind when the student is saved.

    Parameters
    ----------
    student_width : int
        Width D_S of the student's states.
    teacher_width : int
        Width D_T of the teacher's states.
    pairs : int
        Number of pairs of layers.
    shared : bool, default False
        One map for all pairs.
    activation : str, default "identity"
        One of `ACTIVATIONS`, applied to W s.

    Examples
    --------
    >>> maps = LinearMaps(4, 6, 2)
    >>> [tuple(weight.shape) for weight in maps.parameters()], tuple(maps(1, torch.zeros(3, 4)).shape)
    ([(6, 4), (6, 4)], (3, 6))
    """

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        pairs: int,
        *,
        shared: bool = False,
        activation: str = "identity",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        for where, number in (("student_width", student_width), ("teacher_width", teacher_width), ("pairs", pairs)):
            if not isinstance(number, int) or number < 1:
                raise ArgumentError(f"{where}: expected a whole number, at least 1, got {quote(number)}. Count again.")
        self.pairs, self.activation = pairs, activation
        number = 1 if shared else pairs
        self.weights = nn.ParameterList([nn.Linear(student_width, teacher_width).weight for _ in range(number)])
        if student_width == teacher_width:  # states of one width may well mean the same: start there
            for weight in self.weights:
                nn.init.eye_(weight)

    def forward(self, pair: int, states: Tensor) -> Tensor:
        """Return the mapped states of a pair.

        Parameters
        ----------
        pair : int
            Its place among the pairs, from 0.
        states : Tensor, floating, shape (..., D_S)
            Differentiable.

        Returns
        -------
        Tensor
            Shape (..., D_T).

        Examples
        --------
        >>> LinearMaps(2, 2, 1)(0, torch.ones(2)).tolist()
        [1.0, 1.0]
        """
        weight = self.weights[pair if len(self.weights) > 1 else 0]
        return ACTIVATIONS[self.activation](linear(states.to(weight.dtype), weight))


def layer_weights(teacher: Sequence[Tensor], student: Tensor, *, sharpness: float = 1.0) -> Tensor:
    """Return how much each layer of the teacher weighs for a state of the student.

    Parameters
    ----------
    teacher : sequence of Tensor, floating, length J, shape (..., D) each
        States h_j of the teacher's layers.
    student : Tensor, floating, shape (..., D)
        State of the student, mapped to the teacher's width. Differentiable.
    sharpness : float, default 1.0
        Multiplies the inner products; where it is large, only the best-matching layer is left.

    Returns
    -------
    Tensor
        Shape (..., J), rows that sum to 1: softmax over j of <student, h_j>. [ALP-KD, AAAI 2021]

    Raises
    ------
    ArgumentError
        No layer, shapes that differ, or a sharpness that is not positive.

    Examples
    --------
    >>> layer_weights([torch.zeros(2), torch.zeros(2)], torch.ones(2)).tolist()
    [0.5, 0.5]
    """
    if not teacher:
        raise ArgumentError("teacher: expected states of one layer at least, got none. Give hidden_states[1:].")
    if not 0 < sharpness < float("inf"):
        raise ArgumentError(f"sharpness: expected a positive number, got {quote(sharpness)}. Use 1.0.")
    for place, states in enumerate(teacher):
        if states.shape != student.shape:
            raise ArgumentError(
                f"teacher[{place}]: expected the student's shape {tuple(student.shape)}, got {tuple(states.shape)}. "
                "Map the student's states first."
            )
    scores = torch.stack([(student * states.to(student.dtype)).sum(-1) for states in teacher], -1)
    return (sharpness * scores).softmax(-1)


def hidden_loss(
    teacher: Sequence[Tensor],
    student: Sequence[Tensor],
    pairs: Sequence[LayerPair],
    mask: Tensor,
    *,
    maps: LinearMaps | None = None,
    norm: str = "none",
    match: str = "outputs",
    sharpness: float = 1.0,
    detach_weights: bool = False,
    pair_reduction: str = "sum",
    reduction: str = "token",
    n_items: float | Tensor | None = None,
) -> Tensor:
    """Return the squared distances between the states of paired layers.

    Parameters
    ----------
    teacher : sequence of Tensor, floating, length L_T + 1, shape (B, T, D_T) each
        `hidden_states`; constants: nothing flows back to them.
    student : sequence of Tensor, floating, length L_S + 1, shape (B, T, D_S) each
        `hidden_states`. Differentiable.
    pairs : sequence of LayerPair
        From `select_layers`. Layer 0, the embeddings, may be paired too. Where attention weighs several layers of the
        teacher, the target is their weighted mean.
    mask : Tensor, bool, shape (B, T)
        Positions that count; the others may hold anything.
    maps : LinearMaps, optional
        Maps for the student's states, one for each pair; needed where the widths differ. Default: none, W = I.
    norm : str, default "none"
        One of `NORMS`. Positions are brought to scale one by one, never together with others.
    match : {"outputs", "inputs"}, default "outputs"
        Compare what paired blocks give or what they are given, the entry before. A released code did the latter, so
        that the output of its student's last block was never matched.
    sharpness : float, default 1.0
        For pairs with several layers: as in `layer_weights`.
    detach_weights : bool, default False
        For pairs with several layers: take their weights as constants.
    pair_reduction : {"sum", "mean"}, default "sum"
        Over the pairs.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        As in `reductions.reduce`.
    n_items : float or Tensor, optional
        Divide by this number in place of that of the batch: the whole step's, where a step has several batches.

    Returns
    -------
    Tensor
        A scalar, or shape (B, T) for ``reduction="none"``. [FitNets, ICLR 2015; PKD, EMNLP 2019; ALP-KD, AAAI 2021]

    Raises
    ------
    ArgumentError
        An unknown option or one that nothing uses, a layer that is not there, or shapes that differ.

    Examples
    --------
    >>> states = [torch.zeros(1, 2, 4), torch.ones(1, 2, 4)]
    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> float(hidden_loss(states, [states[0], 3 * states[1]], [LayerPair(1, 1)], mask))
    4.0
    """
    _require_known(norm, match, pair_reduction)
    require_states(teacher, student, pairs, mask, maps)
    weighted = any(isinstance(pair.teacher, tuple) for pair in pairs)
    if not weighted and (detach_weights or sharpness != 1.0):
        raise ArgumentError(
            "sharpness, detach_weights: expected their defaults where each pair has one layer of the teacher, got "
            f"{quote(sharpness)}, {quote(detach_weights)}. Use select_layers(..., 'weighted') or leave them out."
        )
    shift = int(match == "inputs")
    total: Tensor | None = None
    for place, pair in enumerate(pairs):
        own = widened(student[entry(pair.student, shift, student, "student", place)][mask])
        own = own if maps is None else maps(place, own)
        layers = pair.teacher if isinstance(pair.teacher, tuple) else (pair.teacher,)
        found = [teacher[entry(layer, shift, teacher, "teacher", place)][mask].detach() for layer in layers]
        target = found[0].to(own.dtype)
        require_width(target, own, place)
        if isinstance(pair.teacher, tuple):
            weights = layer_weights(found, own, sharpness=sharpness)
            weights = weights.detach() if detach_weights else weights
            target = torch.stack([states.to(own.dtype) for states in found], -1).mul(weights[:, None]).sum(-1)
        apart = distance(target, own, norm)
        total = apart if total is None else total + apart
    assert total is not None
    if pair_reduction == "mean":
        total = total / len(pairs)
    losses = total.new_zeros(mask.shape).masked_scatter(mask, total)
    return reduce(losses, mask, reduction=reduction, n_items=n_items)


def distance(target: Tensor, own: Tensor, norm: str) -> Tensor:
    """Return the squared distances [N] of states [N, D]."""
    if norm == "l2":
        return (_unit(target) - _unit(own)).square().sum(-1)
    if norm == "ln":
        width = (own.shape[-1],)
        target, own = layer_norm(target, width), layer_norm(own, width)
    return (target - own).square().mean(-1)


def _unit(states: Tensor) -> Tensor:
    """Return the states by their norms; where all is 0, as it is, for a gradient that is no larger than the others."""
    norms = states.norm(dim=-1, keepdim=True)
    return states / torch.where(norms > 0, norms, 1)


def widened(states: Tensor) -> Tensor:
    """Return the states in single precision at least: sums of squares of half precision overflow."""
    return states.to(torch.promote_types(states.dtype, torch.float32))


def entry(layer: int, shift: int, states: Sequence[Tensor], side: str, place: int) -> int:
    """Return the place of a layer in hidden_states; raise an ArgumentError where it has none."""
    if not shift <= layer < len(states):
        what = "the inputs of layers" if shift else "layers"
        raise ArgumentError(
            f"pairs[{place}].{side}: expected one of {what} {shift} to {len(states) - 1}, got {quote(layer)}. "
            "Select layers with the models' numbers of blocks."
        )
    return layer - shift


def require_width(target: Tensor, own: Tensor, place: int) -> None:
    """Raise an ArgumentError where a pair's states differ in width."""
    if target.shape != own.shape:
        raise ArgumentError(
            f"pairs[{place}]: expected states of one width, got {own.shape[-1]} from the student, "
            f"{target.shape[-1]} from the teacher. Give maps=LinearMaps(student_width, teacher_width, len(pairs))."
        )


def _require_known(norm: str, match: str, pair_reduction: str) -> None:
    """Raise an ArgumentError for an unknown option."""
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    if match not in MATCHES:
        raise unknown("match", match, MATCHES)
    if pair_reduction not in PAIR_REDUCTIONS:
        raise unknown("pair_reduction", pair_reduction, PAIR_REDUCTIONS)


def require_states(
    teacher: Sequence[Tensor],
    student: Sequence[Tensor],
    pairs: Sequence[LayerPair],
    mask: Tensor,
    maps: LinearMaps | None,
) -> None:
    """Raise an ArgumentError where states, mask, pairs and maps do not fit together."""
    if not pairs:
        raise ArgumentError("pairs: expected one pair of layers at least, got none. Use select_layers.")
    if mask.dtype != torch.bool:
        raise ArgumentError(f"mask: expected bool, got {mask.dtype}. Use mask.bool().")
    for side, every in (("teacher", teacher), ("student", student)):
        for place, states in enumerate(every):
            if states.dim() != 3 or states.shape[:2] != mask.shape:
                raise ArgumentError(
                    f"{side}[{place}]: expected a state for each position of the mask {tuple(mask.shape)}, got "
                    f"{tuple(states.shape)}. Cut both models' states to the same completion first."
                )
    if maps is not None and maps.pairs != len(pairs):
        raise ArgumentError(
            f"maps: expected maps for {len(pairs)} pairs, got maps for {maps.pairs}. Make LinearMaps with "
            "pairs=len(pairs)."
        )
