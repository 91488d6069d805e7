"""Completions that teacher and student write for the batches of a training step, all in one go, reproducibly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad as padded

from treeavg.distill.sequences.align import Completions, Prompts
from treeavg.distill.sequences.sampling.generation import Special
from treeavg.distill.sequences.sampling.sampling import Samples, log_probs, sample
from treeavg.distill.sequences.training.collate import joined, prompts_of, stored, trimmed
from treeavg.distill.sequences.training.config import DistillationConfig
from treeavg.errors import ArgumentError

__all__ = ["chance", "generator_of", "write"]


def generator_of(*stream: object) -> torch.Generator:
    """Return random numbers of a name, such as a seed, a step and a process: the same after a restart.

    Parameters
    ----------
    *stream : object
        Numbers and texts.

    Returns
    -------
    torch.Generator

    Examples
    --------
    >>> one, other = (torch.rand((), generator=generator_of(0, "step", 7)) for _ in range(2))
    >>> bool(one == other)
    True
    """
    digest = hashlib.blake2b(repr(stream).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def chance(*stream: object) -> float:
    """Return a number from 0 to 1, 1 left out, that depends on a name only.

    Parameters
    ----------
    *stream : object
        As for `generator_of`.

    Returns
    -------
    float

    Examples
    --------
    >>> 0 <= chance(0, "coin", 3) < 1
    True
    """
    return float(torch.rand((), generator=generator_of(*stream), dtype=torch.float64))


def write(
    model: Any,
    source: str,
    batches: Sequence[dict[str, Tensor]],
    config: DistillationConfig,
    special: Special,
    size: int,
    *,
    side: str,
    generator: torch.Generator,
    policy: Any = None,
) -> None:
    """Add completions to batches.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Who writes.
    source : {"teacher", "student"}
        Its part.
    batches : sequence of dict from str to Tensor
        Of a step; entries are added. How they are split does not change what is written.
    config : DistillationConfig
        With sampler, rows at a time, and whether the log-probabilities of the kind "reward" are needed.
    special : Special
        End tokens and padding.
    size : int
        Tokens of the vocabulary that are real.
    side : {"left", "right"}
        Where prompts are padded.
    generator : torch.Generator
        Source of random numbers.
    policy : transformers.PreTrainedModel, optional
        The student, whose log-probabilities rewards are weighed by. Default: who writes.

    Returns
    -------
    None

    Raises
    ------
    ArgumentError
        The model writes what is no token; or as `sample`.
    """
    every = joined([prompts_of(batch, teacher=source == "teacher") for batch in batches], pad=special.pad, side=side)
    rows = config.generation_rows or len(every.ids)
    found = []
    for start in range(0, len(every.ids), rows):
        part = Prompts(every.ids[start : start + rows], every.attention[start : start + rows])
        drawn = sample(model, part, config.how, eos_ids=special.eos_ids, pad=special.pad, generator=generator)
        own = _own(model if policy is None else policy, part, drawn) if _weighs(config, source) else drawn.log_prob
        found.append((drawn, own))
    columns = _stacked(found, special.pad)
    largest = int(columns[0].max())
    if largest >= size:
        raise ArgumentError(
            f"{source}: expected completions of tokens below {size}, the vocabulary's size, got {largest}: "
            "the head has columns that stand for no token. Cut it with resize_token_embeddings."
        )
    place = 0
    for batch in batches:
        until = place + len(batch["input_ids"])
        ids, mask, truncated, log_prob, own = trimmed(*(column[place:until] for column in columns))
        batch |= stored(source, Completions(ids, mask, truncated))
        if _weighs(config, source):
            batch |= {"student_logp": own, "student_drawn": log_prob}
        place = until


def _weighs(config: DistillationConfig, source: str) -> bool:
    """Tell whether the log-probabilities of what was sampled are needed."""
    return source == "student" and config.reward is not None and config.reward.importance is not None


def _own(model: Any, batch: Prompts, drawn: Samples) -> Tensor:
    return log_probs(model, batch, drawn.completions).float()


def _stacked(found: Sequence[tuple[Samples, Tensor]], pad: int) -> list[Tensor]:
    """Return ids, mask, truncated, log_prob and the own log-probabilities of all rows."""
    width = max(drawn.ids.shape[1] for drawn, _ in found)
    columns: list[list[Tensor]] = [[], [], [], [], []]
    for drawn, own in found:
        more = (0, width - drawn.ids.shape[1])
        for column, tensor, value in zip(columns, (*drawn[:4], own), (pad, False, None, 0.0, 0.0), strict=True):
            column.append(tensor if value is None else padded(tensor, more, value=value))
    return [torch.cat(column) for column in columns]
