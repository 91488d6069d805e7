"""Averages of any shape: non-binary, discontinuous, labelled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places
from treeavg.averaging.fallback import solve_with_highs
from treeavg.averaging.pool import Objective, Pool
from treeavg.building import preorder
from treeavg.errors import LimitError
from treeavg.jobs import run_chunks
from treeavg.kernels import laminar
from treeavg.strings import StringColumn, flat_ranges, offsets_of
from treeavg.treebank import SearchReport, Treebank
from treeavg.view import NO_LABEL, Constituent

#: Nodes of branch and bound in one component before HiGHS takes over. A number of nodes, not of seconds, so that the
#: result does not depend on the machine.
NODE_BUDGET = 3_000_000

#: The bit masks of one sentence may take this many bytes: 90,000 tokens of one binary teacher, 29,000 of ten.
MAX_MASK_BYTES = 2**30


def average_any(
    teachers: Sequence[Treebank],
    lengths: NDArray[np.int32],
    weights: NDArray[np.int64],
    objective: Objective,
    *,
    labelled: bool,
    jobs: int | None,
    places: Places | None,
    budget: int = NODE_BUDGET,
) -> Treebank:
    """Find the best trees of any shape over aligned teachers; see `treeavg.average`.

    Returns
    -------
    Treebank
        Without words; with labels if `labelled`, with a search report.

    Raises
    ------
    LimitError
        The weights have too many digits for exact arithmetic in 64 bits.
    """
    if max(objective.value.numerator, objective.value.denominator) >= 1 << 62:
        name = "beta" if objective.ratio else "threshold"
        raise LimitError(
            f"{name}: expected a number of few digits, so that sums are exact in 64 bits, got too many. "
            "Round it to six digits."
        )
    pool = Pool.of(teachers, lengths, labelled)
    needed = np.diff(pool.offsets, axis=1).sum(axis=0) * (-(-lengths.astype(np.int64) // 64)) * 8
    if len(needed) and needed.max() > MAX_MASK_BYTES:
        place = (places or Places(("teachers[0]",))).of(0, int(needed.argmax()))
        raise LimitError(
            f"{place}: expected a sentence whose constituents fit into {MAX_MASK_BYTES / 2**30:g} GiB of masks, got "
            f"{int(lengths[needed.argmax()]):,} tokens, which need {needed.max() / 2**30:.1f} GiB. Split the sentence."
        )
    room = offsets_of(np.maximum(lengths.astype(np.int64) - 2, 0))
    rows, counts = np.empty(int(room[-1]), np.int64), np.zeros(len(lengths), np.int64)
    reports = np.zeros((len(lengths), 6), np.int64)

    def work(first: int, last: int) -> None:
        laminar.best_trees(
            lengths, first, last, pool.offsets, pool.block_offsets, pool.starts, pool.ends, pool.labels, weights,
            objective.ratio, objective.value.numerator, objective.value.denominator, budget, room, rows, counts,
            reports,
        )  # fmt: skip

    run_chunks(work, pool.costs, jobs)
    overflown = np.flatnonzero(reports[:, 0] == laminar.OVERFLOW)
    if len(overflown):
        place = (places or Places(("teachers[:]",))).of(0, int(overflown[0]))
        raise LimitError(
            f"{place}: expected weights and beta of few digits, so that sums are exact in 64 bits, got too many. "
            "Round the weights to three digits."
        )
    gaps = np.zeros(len(lengths))
    chosen = {
        sentence: solve_with_highs(pool, weights, objective, sentence, rows[room[sentence] :][: counts[sentence]])
        for sentence in np.flatnonzero(reports[:, 0] == laminar.BUDGET).tolist()
    }
    for sentence, answer in chosen.items():
        counts[sentence] = len(answer.rows)
        rows[room[sentence] : room[sentence] + counts[sentence]] = answer.rows
        reports[sentence, 0] = laminar.PROVED if answer.proved else laminar.BUDGET
        gaps[sentence] = answer.gap
    report = SearchReport(
        reports[:, 0] == laminar.PROVED, reports[:, 1].copy(), reports[:, 2].copy(), reports[:, 3].copy(), gaps
    )
    return _treebank(pool, rows[flat_ranges(room[:-1], counts)], counts, labelled, report)


def _treebank(
    pool: Pool, rows: NDArray[np.int64], counts: NDArray[np.int64], labelled: bool, report: SearchReport
) -> Treebank:
    """Gather chosen rows, add the whole sentences, sort into pre-order."""
    lengths = pool.lengths
    long = np.flatnonzero(lengths >= 2)
    fan_outs = np.concatenate([np.diff(pool.block_offsets)[rows], np.ones(len(long), np.int64)])
    blocks = flat_ranges(pool.block_offsets[:-1][rows], np.diff(pool.block_offsets)[rows])
    starts = np.concatenate([pool.starts[blocks], np.zeros(len(long), np.int32)])
    ends = np.concatenate([pool.ends[blocks], lengths[long]])
    sentences = np.concatenate([np.repeat(np.arange(len(lengths)), counts), long])
    order, places = preorder(sentences, fan_outs, starts, ends)
    labels = None
    if labelled:
        codes = np.concatenate([pool.labels[rows], np.full(len(long), len(pool.names))])[order]
        labels = StringColumn.of([*pool.names, NO_LABEL]).take(codes.astype(np.int64))
    bank = Treebank(
        lengths,
        offsets_of(np.bincount(sentences, minlength=len(lengths))),
        starts[places].astype(np.int32),
        ends[places].astype(np.int32),
        block_offsets=offsets_of(fan_outs[order]) if (fan_outs > 1).any() else None,
        labels=labels,
    )
    bank.search = report
    return bank


def complete_binary(bank: Treebank) -> Treebank:
    """Make every tree binary by new nodes: under each node the last two children, by first word, are joined first.

    Parameters
    ----------
    bank : Treebank
        Of any shape; the whole sentences listed, nothing repeated.

    Returns
    -------
    Treebank
        n - 1 constituents a sentence. The new ones may have any fan-out, and are labelled ``X``.
    """
    lacking = np.flatnonzero(np.diff(bank.offsets) < bank.lengths - 1)
    if not len(lacking):
        return bank
    trees, labels = [], []
    for sentence in lacking.tolist():
        view = bank[sentence]
        new = _joined(view.constituents, len(view))
        trees.append([*view.constituents, *new])
        labels.append([*(view.labels or ()), *[NO_LABEL] * len(new)])
    mended = Treebank.from_constituents(
        bank.lengths[lacking].tolist(), trees, labels=labels if bank.labels is not None else None
    )
    whole = Treebank.concatenate([bank.replace(tokens=None, tags=None), mended])
    order = np.arange(len(bank))
    order[lacking] = len(bank) + np.arange(len(lacking))
    result = whole[order]
    result.search = bank.search
    return result


def _joined(constituents: list[Constituent], length: int) -> list[Constituent]:
    """Return the constituents that a tree lacks to be binary."""
    sets = sorted(({token for start, end in one for token in range(start, end)} for one in constituents), key=len)
    tops: dict[int, set[int]] = {
        token: {token} for token in range(length)
    }  # the largest set so far, by its first token
    new: list[Constituent] = []
    for node in sets:
        children = [tops.pop(first) for first in sorted(tops) if first in node]
        while len(children) > 2:
            last = children.pop()
            children[-1] = children[-1] | last
            new.append(_as_blocks(children[-1]))
        tops[min(node)] = node
    return new


def _as_blocks(tokens: set[int]) -> Constituent:
    ordered = sorted(tokens)
    starts = [token for token in ordered if token - 1 not in tokens]
    ends = [token + 1 for token in ordered if token + 1 not in tokens]
    return tuple(zip(starts, ends, strict=True))
