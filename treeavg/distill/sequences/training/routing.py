"""Rows that each have one teacher of several: which one, and what they write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from treeavg.distill.sequences.align import Completions
from treeavg.distill.sequences.losses.tokens import token_logp
from treeavg.distill.sequences.training.collate import completions_of, prompts_of, stored
from treeavg.distill.sequences.training.teachers import Teachers

__all__ = ["by_teacher", "least_cross_entropy", "rows_of"]


def least_cross_entropy(teachers: Teachers, batch: Mapping[str, Tensor], size: int) -> Tensor:
    """Return for each row the teacher that gives its stored completion the highest probability.

    Parameters
    ----------
    teachers : Teachers
        K of them; each is run on all rows.
    batch : mapping from str to Tensor
        With stored completions.
    size : int
        Tokens of the vocabulary that are real.

    Returns
    -------
    Tensor
        int64, shape (B,); of equal ones the first.
    """
    given = completions_of(batch, "data")
    found = []
    for place in range(len(teachers)):
        logits = teachers.score_one(place, prompts_of(batch, teacher=True), given).scores[..., :size]
        found.append(-token_logp(logits, given.ids, mask=given.mask).sum(1))
    return torch.stack(found).argmin(0)


def rows_of(batch: Mapping[str, Tensor], place: int) -> Tensor:
    """Return the rows of a teacher.

    Parameters
    ----------
    batch : mapping from str to Tensor
        With its teachers.
    place : int
        Which.

    Returns
    -------
    Tensor
        int64, in rising order.

    Examples
    --------
    >>> rows_of({"teacher": torch.tensor([1, 0, 1])}, 1).tolist()
    [0, 2]
    """
    return (batch["teacher"] == place).nonzero()[:, 0]


def by_teacher(
    batches: Sequence[dict[str, Tensor]], count: int, pad: int, write: Callable[[int, list[dict[str, Tensor]]], None]
) -> None:
    """Have each teacher write completions for its own rows, and add them to the batches.

    Parameters
    ----------
    batches : sequence of dict from str to Tensor
        Of a step, with their teachers; entries are added.
    count : int
        Number of teachers.
    pad : int
        What to pad with.
    write : callable
        Called with a teacher's place and its rows of the batches, to which it adds completions of "teacher".

    Returns
    -------
    None
    """
    written: list[list[tuple[Tensor, Completions]]] = [[] for _ in batches]
    for place in range(count):
        rows = [rows_of(batch, place) for batch in batches]
        kept = [number for number, some in enumerate(rows) if len(some)]
        parts = [{name: batches[number][name][rows[number]] for name in _asked(batches[number])} for number in kept]
        if parts:
            write(place, parts)
        for number, part in zip(kept, parts, strict=True):
            written[number].append((rows[number], completions_of(part, "teacher")))
    for batch, parts_of_batch in zip(batches, written, strict=True):
        batch |= stored("teacher", _merged(parts_of_batch, pad))


def _asked(batch: Mapping[str, Tensor]) -> list[str]:
    return [name for name in batch if name.endswith(("input_ids", "attention_mask"))]


def _merged(parts: Sequence[tuple[Tensor, Completions]], pad: int) -> Completions:
    """Return the completions of all rows, in their order."""
    width = max(found.ids.shape[1] for _, found in parts)
    order = torch.cat([rows for rows, _ in parts]).argsort()

    def wide(tensor: Tensor, value: int) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]), value=value)

    return Completions(
        torch.cat([wide(found.ids, pad) for _, found in parts])[order],
        torch.cat([wide(found.mask, 0) for _, found in parts])[order],
        torch.cat([found.truncated for _, found in parts])[order],
    )
