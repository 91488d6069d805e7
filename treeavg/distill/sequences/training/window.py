"""What is common to the batches of a step: whose completions they are, and what their losses are divided by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from treeavg.distill.sequences.training.collate import completions_of
from treeavg.distill.sequences.training.config import DistillationConfig, Part
from treeavg.distill.sequences.training.objective import items

__all__ = ["Window", "counted", "noted"]


@dataclass(frozen=True)
class Window:
    """A step.

    Parameters
    ----------
    parts : tuple of Part
        Whose completions.
    counts : dict from str to Tensor
        What is divided by, over all batches and processes, for each source and for "prompt".
    world_size : int
        Processes.
    name : str
        For messages.
    """

    parts: tuple[Part, ...]
    counts: dict[str, Tensor]
    world_size: int
    name: str


def counted(
    batches: Sequence[Mapping[str, Tensor]], parts: Sequence[Part], config: DistillationConfig
) -> dict[str, Tensor]:
    """Return what the losses of some batches are divided by.

    Parameters
    ----------
    batches : sequence of mapping from str to Tensor
        At least one, with the completions of all parts.
    parts : sequence of Part
        They.
    config : DistillationConfig
        With the reduction, and whether completions without an end count.

    Returns
    -------
    dict from str to Tensor
        int64 scalars, for each source and for "prompt".
    """
    drop = config.drop_truncated
    masks = {
        part.source: [completions_of(batch, part.source, drop_truncated=drop).mask for batch in batches]
        for part in parts
    }
    masks["prompt"] = [batch["attention_mask"].bool() for batch in batches]
    return {name: torch.stack([items(mask, config.reduction) for mask in some]).sum() for name, some in masks.items()}


def noted(batches: Sequence[Mapping[str, Tensor]], parts: Sequence[Part]) -> Tensor:
    """Return what is logged of some batches: completions, truncated ones, the student's, tokens.

    Parameters
    ----------
    batches : sequence of mapping from str to Tensor
        With the completions of all parts.
    parts : sequence of Part
        They.

    Returns
    -------
    Tensor
        Shape (4,), int64.
    """
    total = torch.zeros(4, dtype=torch.int64, device=batches[0]["input_ids"].device)
    for part in parts:
        for batch in batches:
            found = completions_of(batch, part.source)
            rows = torch.full_like(total[0], len(found.ids))
            own = rows * (part.source == "student")
            total += torch.stack([rows, found.truncated.sum(), own, found.mask.sum()])
    return total
