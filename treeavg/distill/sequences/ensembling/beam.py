"""Plain beam search, of one model or of an average of several: the baselines of bi-level search, in its frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.distill.sequences.ensembling.protocol import BeamOptions, Component, Forced, Hypothesis
from treeavg.distill.sequences.ensembling.search import Step, search
from treeavg.errors import unknown

__all__ = ["AVERAGES", "beam_search"]

#: How the components' next-token laws become one.
AVERAGES: dict[str, str] = {
    "arithmetic": "the mean of the probabilities",
    "geometric": "the mean of the log-probabilities, normalised again",
}


def beam_search(
    components: Sequence[Component],
    options: BeamOptions,
    *,
    average: str = "arithmetic",
    forced: Forced | None = None,
) -> list[list[Hypothesis]]:
    """Return each sentence's outputs of beam search on the average of the components' next-token laws, best first.

    Parameters
    ----------
    components : sequence of Component
        One model, or several that share a vocabulary, over the same B sentences.
    options : BeamOptions
        Size of the beam, lengths and end tokens.
    average : {"arithmetic", "geometric"}, default "arithmetic"
        One of `AVERAGES`. Without effect for one component.
    forced : sequence of int, or B of them, optional
        Tokens that every output, or each one, starts with.

    Returns
    -------
    list of list of Hypothesis
        For each sentence at most ``options.beam`` outputs; the score is the log-probability by length to the `alpha`.

    Raises
    ------
    ArgumentError
        An unknown average, or what `search` refuses.

    Notes
    -----
    It stops as bi-level search does: a finished hypothesis is not replaced at its step, as it would be where 2 Z
    candidates are drawn. The averages are word averaging, the baseline of [Wen et al., AAAI 2025].

    Examples
    --------
    >>> from treeavg.distill.sequences.ensembling.components import FunctionComponent
    >>> model = FunctionComponent(lambda _, prefixes: torch.tensor([[0.3, 0.7]]).log().expand(len(prefixes), 2), 1, 2)
    >>> [found.ids for found in beam_search([model], BeamOptions(eos_ids=[0], max_length=3, beam=2))[0]]
    [(1, 1, 0), (1, 0)]
    """
    if average not in AVERAGES:
        raise unknown("average", average, AVERAGES)

    def choose(step: Step) -> tuple[Tensor, Tensor]:
        return step.extend(step.allow(_averaged(step, average)), options.beam)

    return search(components, options, choose, forced=forced)


def _averaged(step: Step, average: str) -> Tensor:
    """Return the log-probabilities (R, V) of the components' average; one component's are held at a time."""
    total = step.log_probs(0)
    count = len(step.logits)
    if count == 1:
        return total
    for place in range(1, count):
        other = step.log_probs(place).to(total.device)
        total = torch.logaddexp(total, other) if average == "arithmetic" else total + other
    if average == "arithmetic":
        return total - math.log(count)
    mean = (total / count).log_softmax(-1)
    return torch.where(mean.isnan(), -math.inf, mean)  # no token is possible for all components
