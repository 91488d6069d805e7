"""The frame of all beam searches here: hypotheses shared by several models, one row each, cached by each model.

At every token each model scores the same rows; components of one model do so in one pass. A rule (`ebbs`, `beam`)
turns these scores into the best extensions of each sentence; the frame ends some, drops others, and tells every model
which rows go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from treeavg.distill.sequences.ensembling.passes import Passes
from treeavg.distill.sequences.ensembling.protocol import (
    BeamOptions,
    Component,
    Forced,
    Hypothesis,
    forced_ids,
    require_ids,
    shared_size,
)
from treeavg.errors import ArgumentError

__all__ = ["ABSENT", "Rows", "Step", "best", "ordered", "search"]

#: The place of a proposal that is not there: after all others.
ABSENT = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Rows:
    """The R hypotheses that go on: the sentence and the place in its beam of each, and the log score."""

    sentence: Tensor
    slot: Tensor
    score: Tensor


@dataclass(frozen=True)
class Step:
    """All that a rule needs to choose the extensions of one step; the rule gives scores and places, both (B, Z)."""

    logits: list[Tensor]
    rows: Rows
    sentences: int
    size: int
    options: BeamOptions
    time: int
    forced: Tensor | None

    def log_probs(self, place: int) -> Tensor:
        """Return the next-token log-probabilities (R, V) of one component, on its own device."""
        logits, rows = self.logits[place], len(self.rows.score)
        if logits.dim() != 2 or logits.shape[0] != rows or logits.shape[1] < self.size:
            raise ArgumentError(
                f"components[{place}]: expected logits of shape ({rows}, {self.size}), a row for each hypothesis, got "
                f"{tuple(logits.shape)} at token {self.time}. Look at what the component's decoder returns."
            )
        logits = logits[:, : self.size]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.options.temperature
        found = logits.log_softmax(-1)
        if bool(found[:, 0].isnan().any()):
            raise ArgumentError(
                f"components[{place}]: expected logits without NaN or +inf and not all -inf, got such a row at token "
                f"{self.time}. Look at the model's weights and at its inputs' attention masks."
            )
        return found

    def allow(self, log_probs: Tensor) -> Tensor:
        """Set to -inf, in place, what may not come next; what is left is not normalised again."""
        options, device = self.options, log_probs.device
        ends = torch.zeros(self.size, dtype=torch.bool, device=device)
        ends[torch.tensor(options.eos_ids, device=device)] = True
        barred = torch.zeros_like(ends)
        if self.time > options.max_length:
            barred = ~ends
        elif self.time <= options.min_length:
            barred = ends.clone()
        if options.pad is not None and options.pad not in options.eos_ids:
            barred[options.pad] = True
        log_probs.masked_fill_(barred, -math.inf)
        if self.forced is not None:
            wanted = self.forced[self.rows.sentence, None].to(device)
            others = torch.arange(self.size, device=device) != wanted
            log_probs.masked_fill_(others & (wanted >= 0), -math.inf)
        return log_probs

    def extend(self, log_probs: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        """Return scores and places (B, at most `keep`) of each sentence's best extensions; absent ones are -inf.

        The place of token v after the hypothesis in slot z is z V + v. Best first; ties go to the smaller place.
        """
        rows, device = self.rows, self.rows.score.device
        values, tokens = best(log_probs, keep)
        values, tokens = values.to(device, torch.float64), tokens.to(device)
        shape = (self.sentences, self.options.beam, values.shape[1])
        scores = values.new_full(shape, -math.inf)
        places = tokens.new_full(shape, ABSENT)
        scores[rows.sentence, rows.slot] = rows.score[:, None] + values
        places[rows.sentence, rows.slot] = rows.slot[:, None] * self.size + tokens
        return ordered(scores.flatten(1), places.flatten(1), keep)


def best(scores: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Return the highest scores of each row and their columns, (R, at most `keep`); ties go to the smaller column."""
    keep, columns = min(keep, scores.shape[1]), scores.shape[1]
    if keep == columns:
        found = torch.sort(scores, dim=1, descending=True, stable=True)
        return found.values, found.indices
    values, indices = torch.topk(scores, keep + 1, dim=1)  # whose choice among ties is not fixed
    tied = ((values[:, :-1] == values[:, 1:]) & (values[:, 1:] > -math.inf)).any(1)
    if bool(tied.any()):
        again = torch.sort(scores[tied], dim=1, descending=True, stable=True)
        values[tied], indices[tied] = again.values[:, : keep + 1], again.indices[:, : keep + 1]
    return values[:, :keep], indices[:, :keep]


def ordered(scores: Tensor, places: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Return the best scores (B, at most `keep`) and their places; ties go to the smaller place."""
    places = torch.where(scores > -math.inf, places, ABSENT)
    by_place = places.argsort(dim=1, stable=True)
    scores, places = scores.gather(1, by_place), places.gather(1, by_place)
    by_score = scores.argsort(dim=1, descending=True, stable=True)[:, :keep]
    return scores.gather(1, by_score), places.gather(1, by_score)


def search(
    components: Sequence[Component],
    options: BeamOptions,
    choose: Callable[[Step], tuple[Tensor, Tensor]],
    *,
    forced: Forced | None = None,
) -> list[list[Hypothesis]]:
    """Return each sentence's finished hypotheses, best first.

    Parameters
    ----------
    components : sequence of Component
        Models that share a vocabulary, over the same B sentences.
    options : BeamOptions
        Size of the beam, lengths and end tokens.
    choose : callable
        The rule: takes a `Step`, returns scores and places (B, Z) as `Step.extend` does.
    forced : sequence of int, or B of them, optional
        Tokens that every output, or each one, starts with; they are scored like others.

    Returns
    -------
    list of list of Hypothesis
        At most `options.beam` for each sentence. Ties go to the smaller ids.

    Raises
    ------
    ArgumentError
        Different vocabularies or numbers of sentences, ids out of range, NaN in logits.

    Notes
    -----
    A hypothesis among the best that ends is finished and not replaced at this step, so the beam may shrink and grow
    again at the next; a sentence stops once it has `options.beam` finished hypotheses. After `max_length` tokens only
    an end token may follow [Wen et al., AAAI 2025, Algorithm 1].
    """
    size = shared_size(components)
    require_ids(options, size)
    sentences = components[0].sentences
    if sentences == 0:
        return []
    with torch.no_grad():
        beams = _Beams(sentences, size, options, forced_ids(forced, sentences, options, size))
        passes = Passes(components)
        logits = passes.first()
        rows = beams.start(logits[0].device)
        for time in range(1, options.max_length + 2):
            now = None if beams.forced is None or time > beams.forced.shape[1] else beams.forced[:, time - 1]
            step = Step(logits, rows, sentences, size, options, time, now)
            rows, parents, tokens = beams.advance(step, *choose(step))
            if len(parents) == 0:
                break
            logits = passes.step(parents, tokens)
    return [sorted(found, key=lambda hypothesis: (-hypothesis.score, hypothesis.ids)) for found in beams.finished]


class _Beams:
    """The finished hypotheses of a search and the tokens so far of those that go on."""

    def __init__(self, sentences: int, size: int, options: BeamOptions, forced: Tensor | None) -> None:
        self.size, self.options = size, options
        self.forced = forced
        self.finished: list[list[Hypothesis]] = [[] for _ in range(sentences)]

    def start(self, device: torch.device) -> Rows:
        """Return one empty hypothesis a sentence."""
        count = len(self.finished)
        each = torch.arange(count, device=device)
        self.forced = None if self.forced is None else self.forced.to(device)
        self.ends = torch.tensor(self.options.eos_ids, device=device)
        self.counts = torch.zeros_like(each)
        self.history = each.new_zeros(count, 0)
        return Rows(each, torch.zeros_like(each), torch.zeros(count, dtype=torch.float64, device=device))

    def advance(self, step: Step, scores: Tensor, places: Tensor) -> tuple[Rows, Tensor, Tensor]:
        """Take the chosen extensions; return the new rows, the rows before that they continue, and their tokens."""
        beam, rows = self.options.beam, step.rows
        alive = scores > -math.inf
        places = torch.where(alive, places, 0)
        row_of = torch.zeros(len(self.finished), beam, dtype=torch.int64, device=scores.device)
        row_of[rows.sentence, rows.slot] = torch.arange(len(rows.sentence), device=scores.device)
        parents, tokens = row_of.gather(1, places // self.size), places % self.size

        ended = alive & torch.isin(tokens, self.ends)
        taken = ended & (ended.cumsum(1) <= (beam - self.counts)[:, None])
        self.counts = self.counts + taken.sum(1)
        self._finish(step.time, taken, parents, tokens, scores)

        going = alive & ~ended & (self.counts < beam)[:, None]
        sentence = going.nonzero()[:, 0]
        slot = (going.cumsum(1) - 1)[going]
        parents, tokens = parents[going], tokens[going]
        self.history = torch.cat([self.history[parents], tokens[:, None]], 1)
        return Rows(sentence, slot, scores[going]), parents, tokens

    def _finish(self, time: int, taken: Tensor, parents: Tensor, tokens: Tensor, scores: Tensor) -> None:
        ids = torch.cat([self.history[parents[taken]], tokens[taken][:, None]], 1).tolist()
        final = (scores[taken] / time**self.options.alpha).tolist()
        for sentence, found, score in zip(taken.nonzero()[:, 0].tolist(), ids, final, strict=True):
            self.finished[sentence].append(Hypothesis(tuple(found), score))
