"""Which layers of a student learn from which of a teacher, and how much that choice can matter.

Layers are blocks, counted from 1: layer i is ``hidden_states[i]``, the output of block i, and 0 the embeddings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["COPIED_BLOCKS", "STRATEGIES", "LayerPair", "copied_blocks", "layer_angles", "select_layers"]

#: A line of help for each strategy.
STRATEGIES: dict[str, str] = {
    "forward": "evenly spaced: layer i learns from layer i * n_t / n_s, rounded, a half upwards",
    "reverse": "the layers of forward, the other way round",
    "last_k": "the last n_s layers of the teacher, in order",
    "copied": "the layer each student's block was copied from",
    "all_to_one": "every layer from the same layer of the teacher",
    "random": "each from a layer drawn by chance",
    "random_inorder": "from different layers drawn by chance, in order",
    "weighted": "from all layers, weighted by attention, token by token",
}

#: The teacher's blocks, from 0, that a smaller student is made of: {(teacher's blocks, student's blocks): blocks}.
COPIED_BLOCKS: dict[tuple[int, int], tuple[int, ...]] = {
    (6, 1): (0,),
    (6, 2): (0, 5),
    (6, 3): (0, 2, 5),
    (6, 4): (0, 1, 3, 5),
    (12, 1): (0,),
    (12, 2): (0, 6),
    (12, 3): (0, 6, 11),
    (12, 4): (0, 4, 8, 11),
    (12, 6): (0, 2, 4, 7, 9, 11),
    (12, 9): (0, 1, 2, 4, 5, 7, 9, 10, 11),
    (16, 2): (0, 15),
    (16, 4): (0, 5, 10, 15),
    (16, 8): (0, 2, 4, 6, 8, 10, 12, 15),
}


class LayerPair(NamedTuple):
    """A layer of the student and what it learns from: a layer of the teacher, or several that attention weighs."""

    student: int
    teacher: int | tuple[int, ...]


def copied_blocks(teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Return the teacher's blocks, counted from 0, that a student with fewer blocks is made of.

    Parameters
    ----------
    teacher_layers : int
        Blocks of the teacher.
    student_layers : int
        Blocks of the student, at most as many.

    Returns
    -------
    tuple of int
        The list of `COPIED_BLOCKS`; for other sizes, blocks evenly spaced from the first to the last, the first alone
        where there is only one. [Shleifer and Rush 2020, their released lists]

    Raises
    ------
    ArgumentError
        A number of blocks out of range.

    Examples
    --------
    >>> copied_blocks(12, 4), copied_blocks(8, 3)
    ((0, 4, 8, 11), (0, 4, 7))
    """
    _require_layers(teacher_layers, student_layers)
    if student_layers > teacher_layers:
        raise ArgumentError(
            f"student_layers: expected at most the teacher's {teacher_layers}, to copy blocks from it, got "
            f"{student_layers}. Ask for fewer blocks."
        )
    if (teacher_layers, student_layers) in COPIED_BLOCKS:
        return COPIED_BLOCKS[teacher_layers, student_layers]
    if student_layers == 1:
        return (0,)
    return tuple(_rounded(place * (teacher_layers - 1), student_layers - 1) for place in range(student_layers))


def select_layers(
    student_layers: int,
    teacher_layers: int,
    strategy: str = "forward",
    *,
    include_last: bool = False,
    seed: int | None = None,
    teacher_layer: int | None = None,
    blocks: Sequence[int] | None = None,
) -> tuple[LayerPair, ...]:
    """Return which layer of a student learns from which of a teacher.

    Parameters
    ----------
    student_layers : int
        Blocks of the student, n_s.
    teacher_layers : int
        Blocks of the teacher, n_t.
    strategy : str, default "forward"
        One of `STRATEGIES`.
    include_last : bool, default False
        Match the student's last layer too. The output loss already reaches it.
    seed : int, optional
        For random and random_inorder, which need it. Draw once for a run, not at each step.
    teacher_layer : int, optional
        For all_to_one: the layer, from 1. Default: the last.
    blocks : sequence of int, optional
        For copied: the blocks, from 0, that the student was made of. Default: those of `copied_blocks`.

    Returns
    -------
    tuple of LayerPair
        One for each matched layer of the student, in order. [PKD, EMNLP 2019; Yu et al., AACL-Findings 2025; ALP-KD,
        AAAI 2021]

    Raises
    ------
    ArgumentError
        An unknown strategy, an option that it does not use, or numbers of layers that it cannot serve.

    Examples
    --------
    >>> [pair.teacher for pair in select_layers(6, 12)]
    [2, 4, 6, 8, 10]
    >>> select_layers(3, 4, "weighted")[0]
    LayerPair(student=1, teacher=(1, 2, 3, 4))
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    _require_layers(teacher_layers, student_layers)
    _require_options(strategy, seed=seed, teacher_layer=teacher_layer, blocks=blocks)
    matched = student_layers if include_last else student_layers - 1
    if not matched:
        raise ArgumentError(
            "student_layers: expected 2 at least, since the last is not matched, got 1. Use include_last=True."
        )
    if strategy in ("random", "random_inorder"):
        chosen: Sequence[int | tuple[int, ...]] = _drawn(strategy, matched, teacher_layers, seed)
    elif strategy == "copied":
        chosen = [block + 1 for block in _copied(teacher_layers, student_layers, blocks)]
    elif strategy == "all_to_one":
        chosen = [_single(teacher_layer, teacher_layers)] * matched
    else:
        chosen = [_RULES[strategy](layer, student_layers, teacher_layers) for layer in range(1, matched + 1)]
    return tuple(LayerPair(layer, chosen[layer - 1]) for layer in range(1, matched + 1))


def layer_angles(teacher: Sequence[Tensor], student: Tensor, mask: Tensor) -> Tensor:
    """Return how alike the directions are in which a student's state lies from the teacher's layers.

    Where the cosines are near 1, the layers lie close to each other and far from the student, and it matters little
    which of them the student learns from.

    Parameters
    ----------
    teacher : sequence of Tensor, floating, length J, shape (B, T, D) each
        States t_j of the teacher's layers.
    student : Tensor, floating, shape (B, T, D)
        State of one layer of the student, mapped to the teacher's width: W s.
    mask : Tensor, bool, shape (B, T)
        Positions that count.

    Returns
    -------
    Tensor
        Shape (J, J): the cosine of the angle between t_a - W s and t_b - W s, averaged over the positions where neither
        is zero; nan where there is none. [Yu et al., AACL-Findings 2025]

    Raises
    ------
    ArgumentError
        No layer, shapes that differ, or a mask that is not bool.

    Examples
    --------
    >>> teacher = [torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])]
    >>> layer_angles(teacher, torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if not teacher:
        raise ArgumentError("teacher: expected states of one layer at least, got none. Give hidden_states[1:].")
    if mask.dtype != torch.bool:
        raise ArgumentError(f"mask: expected bool, got {mask.dtype}. Use mask.bool().")
    for place, states in enumerate(teacher):
        if states.shape != student.shape or states.shape[:-1] != mask.shape:
            raise ArgumentError(
                f"teacher[{place}]: expected the student's shape {tuple(student.shape)} and a mask for its positions, "
                f"got {tuple(states.shape)} and the mask {tuple(mask.shape)}. Map the student's states first."
            )
    with torch.no_grad():
        own = student[mask].to(torch.promote_types(student.dtype, torch.float32))
        apart = torch.stack([normalize(states[mask].to(own.dtype) - own, dim=-1, eps=1e-30) for states in teacher])
        there = apart.ne(0).any(-1).to(apart.dtype)
        return torch.einsum("jnd,knd->jk", apart, apart) / (there @ there.T)


def _require_layers(teacher_layers: int, student_layers: int) -> None:
    """Raise an ArgumentError for a number of layers that is none."""
    for where, number in (("teacher_layers", teacher_layers), ("student_layers", student_layers)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ArgumentError(
                f"{where}: expected a whole number, at least 1, got {quote(number)}. Give the model's number of blocks."
            )


def _require_options(strategy: str, **given: object) -> None:
    """Raise an ArgumentError for an option that the strategy does not use, or a seed that it lacks."""
    used = {
        "random": "seed",
        "random_inorder": "seed",
        "all_to_one": "teacher_layer",
        "copied": "blocks",
    }.get(strategy)
    for name, value in given.items():
        if value is not None and name != used:
            raise ArgumentError(f"{name}: expected None for {strategy!r}, got {quote(value)}. Leave {name} out.")
    seed = given["seed"]
    if used == "seed" and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise ArgumentError(
            f"seed: expected a whole number for {strategy!r}, got {quote(seed)}. Give the run's seed, to draw the same "
            "layers again."
        )


def _drawn(strategy: str, matched: int, teacher_layers: int, seed: int | None) -> list[int]:
    """Return layers drawn by chance."""
    source = random.Random(seed)
    if strategy == "random":
        return [source.randint(1, teacher_layers) for _ in range(matched)]
    if matched > teacher_layers:
        raise ArgumentError(
            f"teacher_layers: expected {matched} at least, one for each matched layer in 'random_inorder', got "
            f"{teacher_layers}. Use 'random', which may take a layer twice."
        )
    return sorted(source.sample(range(1, teacher_layers + 1), matched))


def _copied(teacher_layers: int, student_layers: int, blocks: Sequence[int] | None) -> Sequence[int]:
    """Return the student's blocks in the teacher, from 0."""
    if blocks is None:
        return copied_blocks(teacher_layers, student_layers)
    if len(blocks) != student_layers or not all(0 <= block < teacher_layers for block in blocks):
        raise ArgumentError(
            f"blocks: expected {student_layers} numbers from 0 to {teacher_layers - 1}, one for each block of the "
            f"student, got {quote(list(blocks))}. Give the blocks it was made of."
        )
    return blocks


def _single(teacher_layer: int | None, teacher_layers: int) -> int:
    """Return the one layer that all learn from."""
    if teacher_layer is None:
        return teacher_layers
    if not 1 <= teacher_layer <= teacher_layers:
        raise ArgumentError(
            f"teacher_layer: expected a layer from 1 to {teacher_layers}, got {quote(teacher_layer)}. "
            "Layers count from 1; None means the last."
        )
    return teacher_layer


def _rounded(number: int, by: int) -> int:
    """Return number / by to the nearest whole number, a half upwards: Python's own rounding is uneven there."""
    return (2 * number + by) // (2 * by)


def _forward(layer: int, student_layers: int, teacher_layers: int) -> int:
    # a student more than twice as deep as its teacher would start at the embeddings
    return max(1, _rounded(layer * teacher_layers, student_layers))


def _last_k(layer: int, student_layers: int, teacher_layers: int) -> int:
    if student_layers > teacher_layers:
        raise ArgumentError(
            f"teacher_layers: expected {student_layers} at least, the student's, for 'last_k', got {teacher_layers}. "
            "Use 'forward'."
        )
    return teacher_layers - student_layers + layer


_RULES: dict[str, Callable[[int, int, int], int | tuple[int, ...]]] = {
    "forward": _forward,
    "reverse": lambda layer, student, teacher: _forward(student + 1 - layer, student, teacher),
    "last_k": _last_k,
    "weighted": lambda layer, student, teacher: tuple(range(1, teacher + 1)),
}
