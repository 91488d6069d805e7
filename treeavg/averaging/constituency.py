"""Averages of constituency trees: the best binary tree, the best teacher's tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, align
from treeavg.averaging.hits import Rows, require_continuous
from treeavg.averaging.weights import whole_weights
from treeavg.errors import LimitError, unknown
from treeavg.jobs import run_chunks
from treeavg.kernels import chart
from treeavg.strings import offsets_of
from treeavg.transforms import binarize
from treeavg.treebank import Treebank

METHODS = ("generate", "select")

#: The chart of one sentence may take this many bytes: 23,000 tokens with small weights.
MAX_CHART_BYTES = 2**30


def average(
    teachers: Sequence[Treebank],
    *,
    weights: Sequence[Any] | None = None,
    method: str = "generate",
    on_error: str = "raise",
    check_tokens: bool = False,
    jobs: int | None = None,
    places: Places | None = None,
) -> Treebank:
    """Return, sentence by sentence, the binary tree that agrees most with the teachers' trees.

    Parameters
    ----------
    teachers : sequence of Treebank, length K >= 1
        Over the same sentences in the same order, continuous; need not be binary. Not modified.
    weights : sequence of numbers, length K, optional
        Not negative, not all zero. Default: each teacher counts 1.
    method : str, default "generate"
        ``generate`` searches all binary trees (generative minimum Bayes risk); ``select`` only the teachers' own trees,
        right-binarised where they are not binary (selective minimum Bayes risk).
    on_error : str, default "raise"
        ``skip`` leaves a missing sentence (length 0) where some teacher lacks it.
    check_tokens : bool, default False
        Require equal words, not only equal lengths.
    jobs : int, optional
        Threads; one a core by default. The result does not depend on it.
    places : Places, optional
        How messages name the teachers; by default ``teachers[k][i]``.

    Returns
    -------
    Treebank
        Binary, with the words of ``teachers[0]``. Under ``select`` with the labels of the chosen trees where all
        teachers have labels, else without labels.

    Raises
    ------
    AlignmentError
        The teachers do not hold the same sentences; names the first difference.
    ArgumentError
        An option is unknown or out of range, or a tree is discontinuous.
    LimitError
        The chart of a sentence would take more than 1 GiB (``generate``).

    Notes
    -----
    Exact: maximises the summed hit count, which for binary teachers is the summed F1. Only constituents that teachers
    have themselves are counted. On a tie ``generate`` takes the shortest left child, recursively, so that the order of
    teachers does not matter and trees without hits branch to the right; ``select`` takes the earliest teacher. O(K n^2)
    time and n^2 / 2 cells of memory a sentence. Releases the GIL.

    References
    ----------
    [ED4UCP], sections 3.1 and 3.2, equation 8. Here splits that cannot be the first best are not tried (see
    `treeavg.kernels.chart`), and teachers that are not binary do not vote for constituents that they lack.

    Examples
    --------
    >>> words = [["a", "b", "c", "d"]]
    >>> one = Treebank.from_constituents(words, [[(0, 4), (0, 2), (2, 4)]])
    >>> two = Treebank.from_constituents(words, [[(0, 4), (1, 4), (2, 4)]])
    >>> average([one, one, two]).same_trees(one)
    True
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    whole, _ = whole_weights(weights, len(teachers)) if len(teachers) else (np.empty(0, np.int64), None)
    lengths, _ = align(teachers, places=places, on_error=on_error, check_tokens=check_tokens)
    require_continuous(teachers, places)
    if method == "select":
        return _select(teachers, lengths, whole, jobs)
    _require_room(lengths, whole, places)
    return _generate(teachers, lengths, whole, jobs)


def _generate(
    teachers: Sequence[Treebank], lengths: NDArray[np.int32], weights: NDArray[np.int64], jobs: int | None
) -> Treebank:
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
    return Treebank(lengths, out_offsets, starts, ends, tokens=_words(teachers[0], lengths))


def _cell(lengths: NDArray[np.int32], weights: NDArray[np.int64]) -> type[np.int32 | np.int64]:
    """Return the smallest integer type that holds every sum of hits."""
    return np.int32 if int(weights.sum()) * max(int(lengths.max(initial=0)), 1) < 2**31 else np.int64


def _require_room(lengths: NDArray[np.int32], weights: NDArray[np.int64], places: Places | None) -> None:
    longest = int(lengths.max(initial=0))
    needed = longest * (longest + 1) // 2 * np.dtype(_cell(lengths, weights)).itemsize
    if needed > MAX_CHART_BYTES:
        place = (places or Places(("teachers[0]",))).of(0, int(lengths.argmax()))
        raise LimitError(
            f"{place}: expected a sentence whose chart fits into {MAX_CHART_BYTES / 2**30:g} GiB, got {longest:,} "
            f"tokens, which need {needed / 2**30:.1f} GiB. Split the sentence, or use method='select', which needs no "
            "chart."
        )


def _select(
    teachers: Sequence[Treebank], lengths: NDArray[np.int32], weights: NDArray[np.int64], jobs: int | None
) -> Treebank:
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
        tokens=_words(teachers[0], lengths),
    )


def _words(model: Treebank, lengths: NDArray[np.int32]) -> Any:
    """Return the first teacher's words without those of sentences that were skipped."""
    if model.tokens is None or np.array_equal(model.lengths, lengths):
        return model.tokens
    return model[np.flatnonzero(lengths > 0)].tokens
