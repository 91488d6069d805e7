"""Word-level voting: each model votes for its best next token, the winner is every model's next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from treeavg.distill.sequences.ensembling.ebbs import ebbs, merge
from treeavg.distill.sequences.ensembling.protocol import BeamOptions, Component, Forced, Hypothesis
from treeavg.distill.sequences.ensembling.search import best
from treeavg.errors import ArgumentError, unknown

__all__ = ["WEIGHTS", "vote_tokens", "word_voting"]

#: What a vote weighs, and the vote of bi-level search that counts so.
WEIGHTS: dict[str, str] = {"soft": "mean", "zero_one": "zero_one"}


def vote_tokens(log_probs: Tensor, *, weight: str = "soft") -> tuple[Tensor, Tensor]:
    """Return the token that wins the models' votes.

    Parameters
    ----------
    log_probs : Tensor, floating, shape (K, B, V)
        Log-probabilities of the next token, from K models.
    weight : {"soft", "zero_one"}, default "soft"
        A model's vote for its most probable token counts that probability, or 1; then a tie goes to the token with
        the most probability among its voters.

    Returns
    -------
    tuple of Tensor
        Winners, int64, and their log scores, shape (B,): the mean probability, over all models or over the voters.
        Ties go to the smaller id.

    Raises
    ------
    ArgumentError
        An unknown weight, another shape, or NaN.

    Examples
    --------
    >>> laws = torch.tensor([[[0.6, 0.4, 0.0]], [[0.2, 0.35, 0.45]], [[0.0, 0.5, 0.5]]])
    >>> vote_tokens(laws.log())[0].tolist(), vote_tokens(laws.log(), weight="zero_one")[0].tolist()
    ([0], [0])
    """
    if weight not in WEIGHTS:
        raise unknown("weight", weight, WEIGHTS)
    if log_probs.dim() != 3 or log_probs.shape[0] < 1:
        raise ArgumentError(
            f"log_probs: expected shape (K, B, V), K at least 1, got {tuple(log_probs.shape)}. Stack one for each."
        )
    if bool(log_probs.isnan().any()):
        raise ArgumentError("log_probs: expected numbers, got NaN. Look at the models' weights and attention masks.")
    ballots = [best(law, 1) for law in log_probs]
    scores, tokens = (torch.cat(parts, 1) for parts in zip(*ballots, strict=True))
    votes, winners = merge(scores, tokens, len(ballots), 1, vote=WEIGHTS[weight])
    return winners[:, 0], votes[:, 0]


def word_voting(
    components: Sequence[Component], options: BeamOptions, *, weight: str = "soft", forced: Forced | None = None
) -> list[Hypothesis]:
    """Return each sentence's output of greedy decoding by votes: bi-level beam search with a beam of 1.

    Parameters
    ----------
    components : sequence of Component
        Models that share a vocabulary, over the same B sentences.
    options : BeamOptions
        Lengths and end tokens; its beam is not looked at.
    weight : {"soft", "zero_one"}, default "soft"
        As in `vote_tokens`.
    forced : sequence of int, or B of them, optional
        Tokens that every output, or each one, starts with.

    Returns
    -------
    list of Hypothesis
        One a sentence.

    Raises
    ------
    ArgumentError
        An unknown weight, or what `search` refuses; no output is possible.

    References
    ----------
    [Wen et al., AAAI 2025].

    Examples
    --------
    >>> from treeavg.distill.sequences.ensembling.components import FunctionComponent
    >>> model = FunctionComponent(lambda _, prefixes: torch.tensor([[0.3, 0.7]]).log().expand(len(prefixes), 2), 1, 2)
    >>> word_voting([model, model], BeamOptions(eos_ids=[0], max_length=3))[0].ids
    (1, 1, 1, 0)
    """
    if weight not in WEIGHTS:
        raise unknown("weight", weight, WEIGHTS)
    found = ebbs(components, replace(options, beam=1), vote=WEIGHTS[weight], forced=forced)
    return [one(outputs, place) for place, outputs in enumerate(found)]


def one(outputs: Sequence[Hypothesis], sentence: int) -> Hypothesis:
    """Return the best output; refuse a sentence without any."""
    if not outputs:
        raise ArgumentError(
            f"components: expected an output for sentence {sentence}, got none: every extension has probability 0. "
            "Raise the beam or max_length, or look at what the components and the forced tokens exclude."
        )
    return outputs[0]
