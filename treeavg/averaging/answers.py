"""What each teacher answers to each item, and measures of how far answers differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Trees
from treeavg.averaging.dependency import Heads
from treeavg.dependency import DependencyTreebank
from treeavg.jobs import run_chunks
from treeavg.kernels import diversity as kernels
from treeavg.strings import offsets_of
from treeavg.treebank import Treebank

#: Diversity of answers, then diversity of right and wrong.
MEASURES = ("society-entropy", "disagreement", "kw-variance", "fleiss-kappa", "kuncheva", "pcdm")
#: Up to so many teachers of unequal weights the most even split is searched for.
EXACT_SPLITS = 12

_Subsets = NDArray[np.int64]
_Values = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Every teacher's answer to every item; items answered in the same way are put together.

    Parameters
    ----------
    codes : ndarray of int16, shape (K, P)
        Equal codes, equal answers. The answer of the first treebank, gold if there is any, is 0.
    counts : ndarray of int64, shape (P,)
        How many items are answered like this.
    classes : int
        Answers that are possible: published disagreement wants it.
    weights : ndarray of int64, shape (K,)
        Whole.
    jobs : int or None
        Threads.
    """

    codes: NDArray[np.int16]
    counts: NDArray[np.int64]
    classes: int
    weights: NDArray[np.int64]
    jobs: int | None

    @classmethod
    def of(cls, table: NDArray[Any], first: int, weights: NDArray[np.int64], jobs: int | None) -> Answers:
        """Number the answers; row 0 of `table` (R, I) sets what 0 means, and rows from `first` on are teachers."""
        codes = _canonical(table)[first:]
        _, places, counts = np.unique(
            _fold(list(codes), [int(row.max(initial=0)) + 1 for row in codes]), return_index=True, return_counts=True
        )
        classes = 2 if table.dtype == bool else 1 + int(table[first:].max(initial=0))
        return cls(np.ascontiguousarray(codes[:, places]), counts.astype(np.int64), classes, weights, jobs)

    def diversities(self, criterion: str, published: bool) -> Callable[[_Subsets], _Values]:
        """Return the function from subsets (S, k) to their diversity (S,)."""
        if not self.counts.sum():
            return lambda subsets: np.zeros(len(subsets))
        if criterion == "society-entropy":
            return self.society_entropy
        if criterion == "disagreement":
            return lambda subsets: self.disagreement(subsets, published)
        return lambda subsets: self.right_or_wrong(subsets, criterion, published)

    def society_entropy(self, subsets: _Subsets) -> _Values:
        """Mean entropy of the distribution of answers to an item."""
        whole = int(self.weights.sum())
        numbers = np.arange(whole + 1 if whole < 2**16 else 0, dtype=np.float64)
        table = numbers * np.log(np.maximum(numbers, 1))
        sums = np.empty(len(subsets))

        def work(first: int, last: int) -> None:
            tally = np.zeros((len(self.counts), int(self.codes.max(initial=0)) + 1), np.int64)
            kernels.entropy_sums(
                self.codes, self.counts, self.weights, subsets, first, last, table, tally,
                np.empty(subsets.shape[1] + 1), sums,
            )  # fmt: skip

        self._run(work, subsets)
        total = self.weights[subsets].sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.maximum(np.log(total) - sums / (self.counts.sum() * total), 0.0))

    def disagreement(self, subsets: _Subsets, published: bool) -> _Values:
        """Mean share of items that two teachers answer differently."""
        different = np.array([(self.codes != row) @ self.counts for row in self.codes]) / self.counts.sum()
        sums, pairs = np.zeros(len(subsets)), np.zeros(len(subsets))
        for one, two in combinations(subsets.T, 2):
            weight = self.weights[one].astype(np.float64) * self.weights[two]
            sums += weight * different[one, two]
            pairs += weight
        if published:
            return np.asarray(4 * sums / self.classes)
        return np.divide(sums, pairs, out=np.zeros(len(subsets)), where=pairs > 0)

    def right_or_wrong(self, subsets: _Subsets, criterion: str, published: bool) -> _Values:
        """Measures of which teachers are right on an item."""
        sums = np.empty((len(subsets), 3))

        def work(first: int, last: int) -> None:
            right = np.zeros(len(self.counts), np.int64)
            kernels.right_sums(self.codes, self.counts, self.weights, subsets, first, last, right, sums)

        self._run(work, subsets)
        chosen = self.weights[subsets].astype(np.float64)
        total, items = chosen.sum(axis=1), int(self.counts.sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            if criterion == "kw-variance":
                return np.asarray(sums[:, 0] / (items * total**2))
            if criterion == "pcdm":
                return np.asarray(sums[:, 2] / items)
            if criterion == "kuncheva":
                half = np.ceil(total / 2) if published else _largest_minority(self.weights[subsets])
                return _ratio(sums[:, 1], items * half, published)
            right = ((self.codes == 0) @ self.counts)[subsets]
            if published:
                share = (chosen**2 * right).sum(axis=1) / (items * total)
                return _ratio(sums[:, 0], total * items * (total - 1) * share * (1 - share), published)
            share = (chosen * right).sum(axis=1) / (items * total)
            return _ratio(sums[:, 0], items * (total**2 - (chosen**2).sum(axis=1)) * share * (1 - share), published)

    def _run(self, work: Callable[[int, int], None], subsets: _Subsets) -> None:
        run_chunks(work, np.full(len(subsets), 2.0 * len(self.counts)), self.jobs)


def _ratio(above: _Values, below: _Values, published: bool) -> _Values:
    """Divide; nothing by nothing is no diversity, unless it should be NaN as published."""
    if published:
        return np.asarray(above / below)
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _largest_minority(weights: NDArray[np.int64]) -> _Values:
    """Return the most that the lighter side of a split of each row's weights (S, k) can weigh, shape (S,)."""
    total = weights.sum(axis=1)
    size = weights.shape[1]
    if size > EXACT_SPLITS:
        return np.asarray(total // 2, np.float64)
    side, best = np.zeros_like(total), np.zeros_like(total)
    # Gray code: each split differs from the last by one teacher; the last teacher never changes sides.
    for number in range(1, 2 ** (size - 1)):
        gray = number ^ (number >> 1)
        changed = (number & -number).bit_length() - 1
        side += weights[:, changed] if gray >> changed & 1 else -weights[:, changed]
        np.maximum(best, np.minimum(side, total - side), out=best)
    return np.asarray(best, np.float64)


def _canonical(table: NDArray[Any]) -> NDArray[np.int16]:
    """Number the answers to each item (column) in the order in which the rows first give them, from 0."""
    if table.dtype == bool:
        return np.asarray(table != table[0], np.int16)
    codes = np.zeros(table.shape, np.int16)
    known = np.zeros(table.shape[1], np.int16)
    for row, answers in enumerate(table):
        fresh = np.ones(table.shape[1], bool)
        for earlier in range(row):
            same = (table[earlier] == answers) & fresh
            codes[row, same] = codes[earlier, same]
            fresh &= ~same
        codes[row, fresh] = known[fresh]
        known += fresh
    return codes


def _fold(columns: Sequence[NDArray[Any]], sizes: Sequence[int]) -> NDArray[np.int64]:
    """Number the rows of several columns of whole numbers, each below its size: equal rows, equal numbers."""
    key, room = np.zeros(len(columns[0]), np.int64), 1
    for column, size in zip(columns, sizes, strict=True):
        if room * size >= 2**62:
            distinct, key = np.unique(key, return_inverse=True)
            room = len(distinct)
        key = key * size + column
        room *= size
    return key


def _held(treebanks: Sequence[Treebank], lengths: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which treebank (row) holds which constituent (column): those that any holds, whole sentences left out."""
    tables, owners = [], []
    widest = max(int(bank.fan_outs.max(initial=1)) for bank in treebanks)
    for owner, bank in enumerate(treebanks):
        fan_outs, bounds = bank.fan_outs, offsets_of(bank.fan_outs)
        rows = np.repeat(np.arange(bank.constituent_count), fan_outs)
        place = 2 * (np.arange(len(rows)) - bounds[rows]) + 1
        table = np.zeros((bank.constituent_count, 1 + 2 * widest), np.int64)
        table[:, 0] = np.repeat(np.arange(len(bank)), np.diff(bank.offsets))
        table[rows, place], table[rows, place + 1] = bank.starts, bank.ends
        own = lengths[table[:, 0]]
        counted = (own > 0) & ((fan_outs > 1) | (table[:, 2] - table[:, 1] < own))
        tables.append(table[counted])
        owners.append(np.full(int(counted.sum()), owner))
    columns = np.concatenate(tables).T
    distinct, item = np.unique(
        _fold(list(columns), [int(column.max(initial=0)) + 1 for column in columns]), return_inverse=True
    )
    held = np.zeros((len(treebanks), len(distinct)), bool)
    held[np.concatenate(owners), item] = True
    return held


def agreements(table: NDArray[Any]) -> _Values:
    """Return the agreement of each two rows (R, R): the share of equal answers, or the F1 of constituents held."""
    if table.dtype != bool:
        return np.array([(table == row).mean(axis=1) if table.shape[1] else np.ones(len(table)) for row in table])
    numbers = table.astype(np.float32)
    common = np.rint(numbers @ numbers.T).astype(np.float64) if table.shape[1] < 2**24 else table @ table.T.astype(int)
    sizes = common.diagonal()[:, None] + common.diagonal()
    return np.asarray(np.divide(2 * common, sizes, out=np.ones(sizes.shape), where=sizes > 0))


# ---------------------------------------------------------------------- the pool


def answer_table(treebanks: Sequence[Trees], lengths: NDArray[np.int32]) -> NDArray[Any]:
    """Return the answer of each treebank (row) to each item (column): heads, or whether a constituent is held."""
    if isinstance(treebanks[0], DependencyTreebank):
        return Heads.of(treebanks, lengths).matrix  # type: ignore[arg-type]
    return _held(treebanks, lengths)  # type: ignore[arg-type]
