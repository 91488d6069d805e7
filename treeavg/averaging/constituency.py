"""Averages of constituency trees: the best binary tree, the best teacher's tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places
from treeavg.averaging.hits import HitCounts, Rows
from treeavg.errors import LimitError
from treeavg.jobs import run_chunks
from treeavg.kernels import chart
from treeavg.strings import StringColumn, offsets_of
from treeavg.transforms import binarize
from treeavg.treebank import Treebank

#: The chart of one sentence may take this many bytes: 23,000 tokens with small weights.
MAX_CHART_BYTES = 2**30


def best_binary(
    teachers: Sequence[Treebank], lengths: NDArray[np.int32], weights: NDArray[np.int64], jobs: int | None
) -> Treebank:
    """Return the binary trees with the most hits over aligned continuous teachers."""
    cell = _cell(lengths, weights)
    rows = Rows.of(teachers, lengths)
    out_offsets = offsets_of(np.maximum(lengths.astype(np.int64) - 1, 0))
    starts, ends = np.empty(int(out_offsets[-1]), np.int32), np.empty(int(out_offsets[-1]), np.int32)

    def work(first: int, last: int) -> None:
        hits = rows.hits(weights, first, last)
        n = int(lengths[first:last].max(initial=0))
        chart.best_binary(
            lengths, first, last, hits.offsets, hits.starts, hits.ends, hits.counts,
            np.empty(n * (n + 1) // 2, cell), np.empty(n + 1, np.int64), np.empty(2 * n + 2, np.int32),
            out_offsets, starts, ends,
        )  # fmt: skip

    run_chunks(work, rows.costs, jobs)
    return Treebank(lengths, out_offsets, starts, ends, tokens=words_of(teachers, lengths))


def best_binary_of(hits: HitCounts, tokens: StringColumn | None = None) -> Treebank:
    """Return the binary trees with the most hits, from hit counts in place of teachers."""
    lengths = hits.lengths
    cell = _cell(lengths, np.array([hits.total], np.int64))
    out_offsets = offsets_of(np.maximum(lengths.astype(np.int64) - 1, 0))
    starts, ends = np.empty(int(out_offsets[-1]), np.int32), np.empty(int(out_offsets[-1]), np.int32)
    n = int(lengths.max(initial=0))
    chart.best_binary(
        lengths, 0, len(lengths), hits.offsets, hits.starts, hits.ends, hits.whole,
        np.empty(n * (n + 1) // 2, cell), np.empty(n + 1, np.int64), np.empty(2 * n + 2, np.int32),
        out_offsets, starts, ends,
    )  # fmt: skip
    return Treebank(lengths, out_offsets, starts, ends, tokens=tokens)


def _cell(lengths: NDArray[np.int32], weights: NDArray[np.int64]) -> type[np.int32 | np.int64]:
    """Return the smallest integer type that holds every sum of hits."""
    return np.int32 if int(weights.sum()) * max(int(lengths.max(initial=0)), 1) < 2**31 else np.int64


def require_room(lengths: NDArray[np.int32], weights: NDArray[np.int64], places: Places | None) -> None:
    """Raise a LimitError where a sentence's chart would be too large."""
    longest = int(lengths.max(initial=0))
    needed = longest * (longest + 1) // 2 * np.dtype(_cell(lengths, weights)).itemsize
    if needed > MAX_CHART_BYTES:
        place = (places or Places(("teachers[0]",))).of(0, int(lengths.argmax()))
        raise LimitError(
            f"{place}: expected a sentence whose chart fits into {MAX_CHART_BYTES / 2**30:g} GiB, got {longest:,} "
            f"tokens, which need {needed / 2**30:.1f} GiB. Split the sentence, or use method='select', which needs no "
            "chart."
        )


def best_teacher(
    teachers: Sequence[Treebank], lengths: NDArray[np.int32], weights: NDArray[np.int64], jobs: int | None
) -> Treebank:
    """Return the teachers' trees, binarised, with the most hits over aligned continuous teachers."""
    candidates = [bank if bank.is_binary else binarize(bank) for bank in teachers]
    rows, candidate_rows = Rows.of(teachers, lengths), Rows.of(candidates, lengths)
    chosen = np.zeros(len(lengths), np.int32)

    def work(first: int, last: int) -> None:
        hits = rows.hits(weights, first, last)
        chart.best_teacher(
            lengths, first, last, hits.offsets, hits.starts, hits.ends, hits.counts,
            candidate_rows.offsets, candidate_rows.starts, candidate_rows.ends, chosen,
        )  # fmt: skip

    run_chunks(work, rows.costs, jobs)
    labelled = all(bank.labels is not None for bank in candidates)
    dropped: dict[str, None] = {"tokens": None} if labelled else {"tokens": None, "tags": None, "labels": None}
    usable = lengths > 0
    pool = Treebank.concatenate(bank.replace(**dropped) for bank in candidates)
    trees = pool[(chosen.astype(np.int64) * len(lengths) + np.arange(len(lengths)))[usable]]
    offsets = np.zeros(len(lengths), np.int64)
    offsets[usable] = np.diff(trees.offsets)
    return Treebank(
        lengths,
        offsets_of(offsets),
        trees.starts,
        trees.ends,
        labels=trees.labels,
        tags=trees.tags,
        tokens=words_of(teachers, lengths),
    )


def words_of(teachers: Sequence[Treebank], lengths: NDArray[np.int32]) -> Any:
    """Return the words of the first teacher that has some, without those of sentences that were skipped."""
    model = next((bank for bank in teachers if bank.tokens is not None), teachers[0])
    if model.tokens is None or np.array_equal(model.lengths, lengths):
        return model.tokens
    return model[np.flatnonzero(lengths > 0)].tokens
