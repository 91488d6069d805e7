"""An evaluation in the making: sums of losses, and what the student writes for the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from treeavg.distill.sequences.align import Completions
from treeavg.distill.sequences.sampling.generation import Special
from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.sampling.sampling import sample
from treeavg.distill.sequences.training.collate import completions_of, prompts_of
from treeavg.errors import ArgumentError, quote

__all__ = ["Evaluation", "Outputs", "metrics_of", "outputs_of"]


class Outputs(NamedTuple):
    """What a student wrote for the rows of an evaluation, as token ids without end tokens, in the rows' order.

    Parameters
    ----------
    prompts : list of list of int
        The inputs.
    written : list of list of int
        What the student wrote.
    completions : list of list of int, or None
        The rows' own completions; None where they have none.
    """

    prompts: list[list[int]]
    written: list[list[int]]
    completions: list[list[int]] | None


class Evaluation:
    """Sums of losses over batches, with what they are divided by, and outputs.

    Parameters
    ----------
    device : torch.device
        Of the sums.
    dtype : torch.dtype
        Likewise.

    Examples
    --------
    >>> one = Evaluation(torch.device("cpu"), torch.float64)
    >>> one.add("data", torch.tensor(6.0), torch.tensor(2))
    >>> one.add("data", torch.tensor(0.0), torch.tensor(1))
    >>> one.sums.tolist()
    [[6.0, 3.0]]
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.batches = 0
        self.rows: list[Any] = []
        self._pairs: dict[str, Tensor] = {}

    def add(self, name: str, loss: Tensor, count: Tensor) -> None:
        """Add a sum of losses, and what it will be divided by."""
        pair = torch.stack([loss.detach().to(self.dtype), count.to(self.dtype)])
        self._pairs[name] = self._pairs[name] + pair if name in self._pairs else pair

    @property
    def sums(self) -> Tensor:
        """Sums and counts, (parts, 2)."""
        return torch.stack(list(self._pairs.values()))


def outputs_of(
    model: Any, batch: Mapping[str, Tensor], sampler: Sampler, special: Special, generator: torch.Generator
) -> list[tuple[list[int], list[int], list[int] | None]]:
    """Return prompt, output and stored completion of each row.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Who writes.
    batch : mapping from str to Tensor
        From a `Collator`.
    sampler : Sampler
        How.
    special : Special
        End tokens and padding.
    generator : torch.Generator
        Source of random numbers.

    Returns
    -------
    list of tuple
    """
    inputs = prompts_of(batch)
    drawn = sample(model, inputs, sampler, eos_ids=special.eos_ids, pad=special.pad, generator=generator)
    asked = [ids[kept].tolist() for ids, kept in zip(inputs.ids, inputs.attention.bool(), strict=True)]
    given: Sequence[list[int] | None] = [None] * len(asked)
    if "data_ids" in batch:
        given = _without_ends(completions_of(batch, "data"))
    return list(zip(asked, drawn.lists(), given, strict=True))


def _without_ends(found: Completions) -> list[list[int]]:
    ends = (found.mask.sum(1) - (~found.truncated).long()).clamp(min=0).tolist()
    return [row[:end] for row, end in zip(found.ids.tolist(), ends, strict=True)]


def metrics_of(
    compute: Callable[[Outputs], Mapping[str, float]], rows: Sequence[tuple[Any, Any, Any]], prefix: str
) -> dict[str, float]:
    """Return what a function says about outputs, under names of an evaluation.

    Parameters
    ----------
    compute : callable
        From `Outputs` to numbers by name.
    rows : sequence of tuple
        From `outputs_of`, of all batches.
    prefix : str
        Before each name, with an underscore.

    Returns
    -------
    dict from str to float

    Raises
    ------
    ArgumentError
        The function returns no numbers by name.

    Examples
    --------
    >>> rows = [([3], [4], [4]), ([3], [5], [4])]
    >>> exact = lambda found: {"exact": sum(map(list.__eq__, found.written, found.completions)) / len(found.written)}
    >>> metrics_of(exact, rows, "eval")
    {'eval_exact': 0.5}
    """
    asked, written, given = (list(column) for column in zip(*rows, strict=True))
    found = compute(Outputs(asked, written, None if None in given else given))
    if not isinstance(found, Mapping) or not all(hasattr(value, "__float__") for value in found.values()):
        raise ArgumentError(
            f"compute_metrics: expected a function that returns numbers by name, got {quote(found)} from it. Return "
            "such as {'bleu': 31.2}."
        )
    return {f"{prefix}_{name}": float(value) for name, value in found.items()}
