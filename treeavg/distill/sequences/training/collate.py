"""Rows of token ids become the batches that a distillation trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from treeavg.distill.sequences.align import SIDES, Completions, Prompts, completions, prompts
from treeavg.distill.sequences.training.rows import COLUMNS, Limits, require_fits, token_ids
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["COLUMNS", "Collator", "completions_of", "joined", "prompts_of", "stored", "trimmed"]


class Collator:
    """Pads rows ``{"prompt": ids, "completion": ids, "teacher_prompt": ids}`` into a batch of tensors.

    Parameters
    ----------
    eos_ids : sequence of int
        The end tokens.
    pad : int
        What to pad with; it may be an end token.
    side : {"left", "right"}
        Where prompts are padded: left for a causal model, right for an encoder.
    needs_completions : bool, default True
        Refuse rows without a completion.
    teachers : sequence of str or int, optional
        Names of the teachers among whom the column ``teacher_id`` chooses. Default: that column is not looked at.

    Attributes
    ----------
    limits : Limits or None
        What the models can take, once that is known: rows beyond are refused.

    Raises
    ------
    ArgumentError
        An unknown side, or, when called, a row that breaks the rules.

    Examples
    --------
    >>> batch = Collator([0], pad=0, side="left")([{"prompt": [5], "completion": [7, 0]}])
    >>> {name: tensor.tolist() for name, tensor in batch.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'input_ids': [[5]], 'attention_mask': [[1]], 'data_ids': [[7, 0]], 'data_mask': [[True, True]],
     'data_truncated': [False]}
    """

    def __init__(
        self,
        eos_ids: Sequence[int],
        *,
        pad: int,
        side: str,
        needs_completions: bool = True,
        teachers: Sequence[str | int] | None = None,
    ) -> None:
        if side not in SIDES:
            raise unknown("side", side, SIDES)
        self.eos_ids, self.pad, self.side, self.needs_completions = list(eos_ids), pad, side, needs_completions
        self.teachers = None if teachers is None else list(teachers)
        self.limits: Limits | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return ``input_ids`` and ``attention_mask`` of prompts, the same of teachers, and ids and mask of outputs."""
        given = {name: self._column(rows, name) for name in ("prompt", "completion", "teacher_prompt")}
        if self.limits is not None:
            used = self.needs_completions
            require_fits(given if used else {**given, "completion": None}, self.limits)
        batch: dict[str, Tensor] = {}
        for name, prefix in (("prompt", ""), ("teacher_prompt", "teacher_")):
            found = given[name]
            if found is not None:
                padded = prompts(found, pad=self.pad, side=self.side)
                batch |= {f"{prefix}input_ids": padded.ids, f"{prefix}attention_mask": padded.attention}
        if given["completion"] is not None:
            padded = prompts(given["completion"], pad=self.pad, side="right")
            batch |= stored("data", completions(padded.ids, self.eos_ids, lengths=padded.attention.sum(1)))
        if self.teachers is not None:
            batch["teacher"] = torch.tensor([self._teacher(row, place) for place, row in enumerate(rows)])
        return batch

    def _teacher(self, row: Mapping[str, Any], place: int) -> int:
        """Return the place of a row's teacher."""
        assert self.teachers is not None
        value = row.get("teacher_id")
        if isinstance(value, bool) or value not in self.teachers:
            known = ", ".join(map(repr, self.teachers))
            raise ArgumentError(
                f"row {place} of the batch: expected 'teacher_id' among {known}, got {quote(value)}. Name the row's "
                "teacher."
            )
        return self.teachers.index(value)

    def _column(self, rows: Sequence[Mapping[str, Any]], name: str) -> list[list[int]] | None:
        """Return what all rows have under a name, or None where none has it."""
        needed = name == "prompt" or (name == "completion" and self.needs_completions)
        there = [row.get(name) is not None for row in rows]
        if not any(there) and not needed:
            return None
        found = []
        for place, row in enumerate(rows):
            if not there[place]:
                raise ArgumentError(
                    f"row {place} of the batch: expected {name!r}, {COLUMNS[name]}, got {quote(sorted(row))}. Give it "
                    "in every row."
                )
            found.append(token_ids(row[name], place, name))
        return found


def stored(source: str, found: Completions) -> dict[str, Tensor]:
    """Return completions as entries of a batch.

    Parameters
    ----------
    source : {"data", "teacher", "student"}
        Who wrote them.
    found : Completions
        They.

    Returns
    -------
    dict from str to Tensor
    """
    return {f"{source}_{name}": tensor for name, tensor in found._asdict().items()}


def completions_of(batch: Mapping[str, Tensor], source: str, *, drop_truncated: bool = False) -> Completions:
    """Return the completions of a source in a batch.

    Parameters
    ----------
    batch : mapping from str to Tensor
        From a `Collator`, with what was written since.
    source : {"data", "teacher", "student"}
        Who wrote them.
    drop_truncated : bool, default False
        Mask those without an end token.

    Returns
    -------
    Completions
    """
    found = Completions(*(batch[f"{source}_{name}"] for name in Completions._fields))
    return found._replace(mask=found.mask & ~found.truncated[:, None]) if drop_truncated else found


def prompts_of(batch: Mapping[str, Tensor], *, teacher: bool = False) -> Prompts:
    """Return the prompts of a batch.

    Parameters
    ----------
    batch : mapping from str to Tensor
        From a `Collator`.
    teacher : bool, default False
        What the teachers get, where that differs.

    Returns
    -------
    Prompts
    """
    prefix = "teacher_" if teacher and "teacher_input_ids" in batch else ""
    return Prompts(batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"])


def joined(parts: Sequence[Prompts], *, pad: int, side: str) -> Prompts:
    """Return the prompts of several batches as one.

    Parameters
    ----------
    parts : sequence of Prompts
        At least one.
    pad : int
        What to pad with.
    side : {"left", "right"}
        Where.

    Returns
    -------
    Prompts

    Examples
    --------
    >>> parts = [prompts([[5]], pad=0, side="left"), prompts([[6, 7]], pad=0, side="left")]
    >>> joined(parts, pad=0, side="left").ids.tolist()
    [[0, 5], [6, 7]]
    """
    width = max(part.ids.shape[1] for part in parts)

    def widen(tensor: Tensor, value: int) -> Tensor:
        missing = width - tensor.shape[1]
        return torch.nn.functional.pad(tensor, (missing, 0) if side == "left" else (0, missing), value=value)

    return Prompts(
        torch.cat([widen(part.ids, pad) for part in parts]), torch.cat([widen(part.attention, 0) for part in parts])
    )


def trimmed(ids: Tensor, mask: Tensor, truncated: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
    """Return completions, and more of their shape, without the columns that no row needs."""
    width = max(int(mask.sum(1).max()), 1) if len(mask) else 1
    return (ids[:, :width], mask[:, :width], truncated, *(tensor[:, :width] for tensor in more))
