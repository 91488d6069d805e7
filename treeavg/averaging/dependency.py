"""Averages of dependency trees: most votes for arcs, or for spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places
from treeavg.dependency import DependencyTreebank
from treeavg.errors import LimitError
from treeavg.jobs import run_chunks
from treeavg.kernels import arborescence, projective
from treeavg.strings import StringColumn, offsets_of

#: The charts of one sentence may take this many bytes: about 5,000 words.
MAX_CHART_BYTES = 2**30


def average_heads(
    teachers: Sequence[DependencyTreebank],
    lengths: NDArray[np.int32],
    weights: NDArray[np.int64],
    *,
    method: str,
    objective: str,
    projective_only: bool,
    support: bool,
    jobs: int | None,
    places: Places | None,
) -> DependencyTreebank:
    """Average aligned dependency treebanks; see `treeavg.average`."""
    stacked = Heads.of(teachers, lengths)
    if method == "select":
        heads = _select(stacked, weights, objective)
    else:
        longest = int(lengths.max(initial=0))
        if 5 * 8 * longest**2 > MAX_CHART_BYTES:
            place = (places or Places(("teachers[0]",))).of(0, int(lengths.argmax()))
            raise LimitError(
                f"{place}: expected a sentence whose charts fit into {MAX_CHART_BYTES / 2**30:g} GiB, got {longest:,} "
                "words. Split the sentence, or use method='select', which needs no chart."
            )
        solve = (
            projective.best_spans
            if objective == "f1"
            else projective.best_projective
            if projective_only
            else arborescence.best_arborescence
        )
        heads = np.zeros(stacked.size, np.int32)
        totals = np.zeros(len(lengths), np.int64)
        token_offsets = offsets_of(lengths)

        def work(first: int, last: int) -> None:
            solve(lengths, first, last, token_offsets, stacked.flat, stacked.bases, weights, heads, totals)

        n = lengths.astype(np.float64)
        run_chunks(work, 20.0 + len(teachers) * n + 0.7 * n**3, jobs)
    model = next((bank for bank in teachers if bank.sources is not None or bank.tokens is not None), teachers[0])
    usable = np.flatnonzero(lengths > 0)
    words = model[usable]
    return DependencyTreebank(
        lengths,
        heads,
        tokens=words.tokens,
        relations=_relations(stacked, teachers, weights, heads),
        support=(stacked.votes_for(heads, weights) / weights.sum()) if support else None,
        ids=model.ids,
        sources=model.sources if len(usable) == len(lengths) else None,
    )


class Heads:
    """The teachers' heads as one matrix, sentences that cannot be used left out.

    Parameters
    ----------
    matrix : ndarray of int32, shape (K, T)
        Row k: the heads of teacher k.
    """

    def __init__(self, matrix: NDArray[np.int32], lengths: NDArray[np.int32]) -> None:
        self.matrix = matrix
        self.lengths = lengths
        self.flat = np.ascontiguousarray(matrix).reshape(-1)
        self.bases = np.arange(len(matrix), dtype=np.int64) * matrix.shape[1]
        self.size = matrix.shape[1]

    @classmethod
    def of(cls, teachers: Sequence[DependencyTreebank], lengths: NDArray[np.int32]) -> Heads:
        """Stack the heads of aligned treebanks."""
        usable = np.flatnonzero(lengths > 0)
        rows = [
            (bank if len(usable) == len(lengths) and bank.token_count == lengths.sum() else bank[usable]).heads
            for bank in teachers
        ]
        return cls(np.stack(rows).astype(np.int32, copy=False), lengths)

    def votes_for(self, heads: NDArray[np.int32], weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the weight of the teachers that agree with each head, shape (T,)."""
        return np.asarray(weights @ (self.matrix == heads), np.int64)


def _select(stacked: Heads, weights: NDArray[np.int64], objective: str) -> NDArray[np.int32]:
    """Return, for each sentence, the heads of the first teacher that the others agree with most."""
    offsets = offsets_of(stacked.lengths)
    scores = np.zeros((len(stacked.matrix), len(stacked.lengths)), np.int64)
    for teacher, heads in enumerate(stacked.matrix):
        if objective == "f1":
            for other, theirs in enumerate(stacked.matrix):
                common = np.zeros(len(stacked.lengths), np.int64)
                projective.matched_spans(stacked.lengths, offsets, heads.copy(), theirs.copy(), common, common.copy())
                scores[teacher] += weights[other] * common
        else:
            running = offsets_of(stacked.votes_for(heads, weights))
            scores[teacher] = running[offsets[1:]] - running[offsets[:-1]]
    chosen = np.repeat(scores.argmax(axis=0), stacked.lengths)
    return np.asarray(stacked.matrix[chosen, np.arange(stacked.size)], np.int32)


def _relations(
    stacked: Heads, teachers: Sequence[DependencyTreebank], weights: NDArray[np.int64], heads: NDArray[np.int32]
) -> StringColumn | None:
    """Vote on the label of each arc among the teachers that have it; ties go to the first in the alphabet.

    An arc that no teacher has is ``dep``.
    """
    if any(bank.relations is None for bank in teachers):
        return None
    usable = np.flatnonzero(stacked.lengths > 0)
    names: dict[str, int] = {}
    codes = np.empty_like(stacked.matrix)
    for teacher, bank in enumerate(teachers):
        codes[teacher] = [names.setdefault(name, len(names)) for name in bank[usable].relations or ()]
    ordered = sorted(names)
    rank = np.empty(len(names), np.int64)
    for place, name in enumerate(ordered):
        rank[names[name]] = place
    votes = np.zeros((len(ordered) + 1, stacked.size), np.int64)
    agree = stacked.matrix == heads
    for teacher, weight in enumerate(weights):
        at = np.flatnonzero(agree[teacher])
        votes[rank[codes[teacher, at]], at] += weight
    votes[-1] = np.where(votes.sum(axis=0) == 0, 1, 0)
    return StringColumn.of([*ordered, "dep"][place] for place in votes.argmax(axis=0).tolist())
