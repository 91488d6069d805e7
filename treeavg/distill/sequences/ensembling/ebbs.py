"""Bi-level beam search of an ensemble: each model proposes, and what several propose rises."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.distill.sequences.ensembling.protocol import BeamOptions, Component, Forced, Hypothesis
from treeavg.distill.sequences.ensembling.search import ABSENT, Step, search
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["VOTES", "ebbs", "merge"]

#: How the scores of the components that propose a hypothesis are put together; n of the K components propose it.
VOTES: dict[str, str] = {
    "mean": "log of the sum of their probabilities by K: sum's ranking at alpha = 1, on the scale of probabilities",
    "sum": "log of the sum of their probabilities, as published: grows by up to log K a token",
    "zero_one": "most components first, then by log of the mean of their n probabilities",
    "max": "the highest of their scores",
}


def ebbs(
    components: Sequence[Component],
    options: BeamOptions,
    *,
    vote: str = "mean",
    lower: int | None = None,
    forced: Forced | None = None,
) -> list[list[Hypothesis]]:
    """Return each sentence's outputs of ensemble decoding by bi-level beam search, best first.

    Parameters
    ----------
    components : sequence of Component
        Models that share a vocabulary, over the same B sentences, each with its own inputs; see `ModelComponent`.
    options : BeamOptions
        Size of the beam, lengths and end tokens. ``beam=1`` is word-level voting.
    vote : {"mean", "sum", "zero_one", "max"}, default "mean"
        One of `VOTES`. The paper's is ``"sum"``.
    lower : int, optional
        Extensions that each component proposes, at least ``options.beam``, which is the default. With no limit, such
        as ``10**9``, and ``vote="mean"`` this is beam search on the arithmetic average.
    forced : sequence of int, or B of them, optional
        Tokens that every output, or each one, starts with, such as the tag of a language.

    Returns
    -------
    list of list of Hypothesis
        For each sentence at most ``options.beam`` outputs. A score is comparable within its sentence.

    Raises
    ------
    ArgumentError
        An unknown vote, `lower` below the beam, or what `search` refuses: different vocabularies among others.

    Notes
    -----
    One forward pass of each model a token, K times as wide for K components of one model; every model keeps a cache,
    and all caches are put in order alike. The order of the components has no influence on votes and ties, not even by
    rounding. With one component, or identical ones, it is plain beam search.

    References
    ----------
    [Wen et al., AAAI 2025, Algorithm 1], whose vote is the sum; here any number of sentences at once, with caches.

    Examples
    --------
    >>> from treeavg.distill.sequences.ensembling.components import FunctionComponent
    >>> laws = torch.tensor([[0, 0.55, 0.45, 0, 0], [0, 0, 0.45, 0.55, 0], [0, 0, 0.45, 0, 0.55]])
    >>> models = [
    ...     FunctionComponent(lambda _, prefixes, law=law: law.log().expand(len(prefixes), 5), 1, 5) for law in laws
    ... ]
    >>> options = BeamOptions(eos_ids=[1, 2, 3, 4], max_length=1, min_length=0, beam=2)
    >>> best = ebbs(models, options)[0][0]  # each likes another token most, and all like token 2
    >>> best.ids, round(best.score, 4) == round(math.log(0.45), 4)
    ((2,), True)
    """
    if vote not in VOTES:
        raise unknown("vote", vote, VOTES)
    keep = options.beam if lower is None else lower
    if not isinstance(keep, int) or keep < options.beam:
        raise ArgumentError(
            f"lower: expected {options.beam} or more, the size of the beam, got {quote(lower)}. Leave it out for the "
            "size of the beam."
        )

    def choose(step: Step) -> tuple[Tensor, Tensor]:
        proposals = [step.extend(step.allow(step.log_probs(place)), keep) for place in range(len(step.logits))]
        scores, places = (torch.cat(parts, 1) for parts in zip(*proposals, strict=True))
        return merge(scores, places, len(step.logits), options.beam, vote=vote)

    return search(components, options, choose, forced=forced)


def merge(scores: Tensor, places: Tensor, components: int, keep: int, *, vote: str = "mean") -> tuple[Tensor, Tensor]:
    """Return the hypotheses that get most from the components' proposals: the upper level.

    Parameters
    ----------
    scores : Tensor, floating, shape (B, C)
        Log scores of all components' proposals, -inf where there is none.
    places : Tensor, int64, shape (B, C)
        What is proposed: one number for each hypothesis. A component proposes a hypothesis once.
    components : int
        How many there are, K.
    keep : int
        Hypotheses to return, Z.
    vote : {"mean", "sum", "zero_one", "max"}, default "mean"
        One of `VOTES`.

    Returns
    -------
    tuple of Tensor
        Votes and places, shape (B, at most Z), best first, -inf where there is none. Ties go to the smaller place.

    Examples
    --------
    >>> scores = torch.tensor([[0.6, 0.5, 0.5, 0.4]]).log()
    >>> votes, places = merge(scores, torch.tensor([[7, 8, 8, 9]]), 2, 2)
    >>> places.tolist(), [round(vote, 3) for vote in votes.exp()[0].tolist()]
    ([[8, 7]], [0.5, 0.3])
    """
    if vote not in VOTES:
        raise unknown("vote", vote, VOTES)
    places = torch.where(scores > -math.inf, places, ABSENT)
    order = scores.argsort(dim=1, descending=True, stable=True)
    scores, places = scores.gather(1, order), places.gather(1, order)
    order = places.argsort(dim=1, stable=True)
    scores, places = scores.gather(1, order), places.gather(1, order)

    # Now a hypothesis's proposals stand side by side, the best first, whatever the order of the components.
    ratios, counts = torch.ones_like(scores), torch.ones_like(places)
    for shift in range(1, components):
        same = (places[:, shift:] == places[:, :-shift]) & (places[:, shift:] != ABSENT)
        ratios[:, :-shift] += torch.where(same, scores[:, shift:] - scores[:, :-shift], -math.inf).exp()
        counts[:, :-shift] += same
    firsts = places != ABSENT
    firsts[:, 1:] &= places[:, 1:] != places[:, :-1]
    sums = torch.where(firsts, scores + ratios.log(), -math.inf)
    key = torch.where(firsts, scores, -math.inf) if vote == "max" else sums

    order = key.argsort(dim=1, descending=True, stable=True)
    if vote == "zero_one":
        counts = torch.where(firsts, counts, 0)
        order = order.gather(1, counts.gather(1, order).argsort(dim=1, descending=True, stable=True))
    order = order[:, :keep]
    votes = {
        "sum": key,
        "max": key,
        "mean": key - math.log(components),
        "zero_one": key - counts.clamp(min=1).to(key.dtype).log(),
    }
    return votes[vote].gather(1, order), places.gather(1, order)
