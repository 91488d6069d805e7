"""Which teachers to average: accurate ones that err in different places."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice, product
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, Trees, align
from treeavg.averaging.average import average
from treeavg.averaging.dependency import Heads
from treeavg.averaging.weights import whole_weights
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, LimitError, quote, unknown
from treeavg.jobs import run_chunks
from treeavg.kernels import diversity as kernels
from treeavg.strings import offsets_of
from treeavg.treebank import Treebank

#: Diversity of answers, then diversity of right and wrong.
MEASURES = ("society-entropy", "disagreement", "kw-variance", "fleiss-kappa", "kuncheva", "pcdm")
CRITERIA = (*MEASURES, "top-k", "validation")
SEARCHES = ("forward", "combination")

#: Values this close are equal: sums of logarithms in another order differ by less.
TOLERANCE = 1e-12
#: Subsets that an exhaustive search may have to look at.
MAX_SUBSETS = 50_000_000
#: Subsets measured at a time.
BATCH = 50_000
#: Steps that the trace of an exhaustive search keeps.
RUNNERS_UP = 10
#: Up to so many teachers of unequal weights the most even split is searched for.
EXACT_SPLITS = 12

_Trees = TypeVar("_Trees", Treebank, DependencyTreebank)
_Subsets = NDArray[np.int64]
_Values = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """A set of teachers that a search looked at, and what it is worth.

    Parameters
    ----------
    indices : tuple of int
        The teachers, in the order of the pool.
    value : float
        Of the criterion: accuracy plus alpha times diversity; for ``validation`` the accuracy of the average.
    accuracy : float
        Weighted mean accuracy of the teachers, between 0 and 1.
    diversity : float or None
        None for ``top-k`` and ``validation``, which do not measure it.
    """

    indices: tuple[int, ...]
    value: float
    accuracy: float
    diversity: float | None


@dataclass(frozen=True, eq=False)
class Selection(Generic[_Trees]):
    """The teachers that `select_teachers` chose.

    Parameters
    ----------
    indices : tuple of int, length k
        Places in the pool, increasing.
    pairs : tuple of (treebank, number), length k
        Each chosen teacher with its weight, in the order of `indices`.
    value, accuracy : float
        As in the last `Step`.
    diversity : float or None
        As in the last `Step`.
    trace : tuple of Step
        Search ``forward``: one step a teacher, the last one is the choice. ``combination``: the best ten sets, best
        first, the choice among them first.
    """

    indices: tuple[int, ...]
    pairs: tuple[tuple[_Trees, Any], ...]
    value: float
    accuracy: float
    diversity: float | None
    trace: tuple[Step, ...]

    @property
    def teachers(self) -> list[_Trees]:
        """The chosen treebanks, as `average` takes them."""
        return [teacher for teacher, _ in self.pairs]

    @property
    def weights(self) -> list[Any]:
        """The weights of `teachers`, as `average` takes them."""
        return [weight for _, weight in self.pairs]

    def __repr__(self) -> str:
        return f"<Selection: teachers {', '.join(map(str, self.indices))}, value {self.value:.4f}>"


def diversity(
    teachers: Sequence[_Trees],
    criterion: str = "society-entropy",
    *,
    gold: _Trees | None = None,
    weights: Sequence[Any] | None = None,
    published: bool = False,
    average_options: Mapping[str, Any] | None = None,
    on_error: str = "raise",
    check_tokens: bool = False,
    jobs: int | None = None,
    places: Places | None = None,
) -> float:
    """Return how different the answers, or the errors, of teachers are.

    Parameters
    ----------
    teachers : sequence of Treebank or of DependencyTreebank, length K >= 1
        Over the same sentences in the same order. Not modified.
    criterion : str, default "society-entropy"
        ``society-entropy`` and ``disagreement`` compare answers. ``kw-variance``, ``fleiss-kappa`` (as 1 - kappa),
        ``kuncheva`` (ambiguity) and ``pcdm`` (percentage of correct diversity) compare which answers are right.
    gold : Treebank or DependencyTreebank, optional
        The right trees over the same sentences. Without them the average of the teachers stands in.
    weights : sequence of numbers, length K, optional
        Not negative, not all zero. Default: each teacher counts 1.
    published : bool, default False
        The formulas as published instead of those in docs/choosing.md: disagreement grows with the number of teachers
        and of heads, kappa counts weights twice and may be NaN, Kuncheva's ambiguity of an odd number is too small.
    average_options : mapping of str to object, optional
        Keywords of `average` for the stand-in of `gold`.
    on_error : str, default "raise"
        ``skip`` leaves out a sentence that some teacher or `gold` lacks.
    check_tokens : bool, default False
        Require equal words, not only equal lengths.
    jobs : int, optional
        Threads; one a core by default.
    places : Places, optional
        How messages name the teachers and, last, `gold`.

    Returns
    -------
    float
        0 where all teachers answer alike.

    Raises
    ------
    AlignmentError
        The treebanks do not hold the same sentences.
    ArgumentError
        An option is unknown or out of range.

    Notes
    -----
    Items are words, answers heads. In constituency trees items are the distinct constituents that any teacher or gold
    tree holds, sentence by sentence, without the whole sentence and single words; the answer is held or not held, and
    it is right if the gold tree says the same. Natural logarithm.

    References
    ----------
    [ED4UDP], section 3.3; what differs is listed in docs/choosing.md.

    Examples
    --------
    >>> one, two = (DependencyTreebank.from_heads([heads]) for heads in ([2, 0], [0, 1]))
    >>> f"{diversity([one, two]):.4f}", diversity([one, two], "kw-variance", gold=one)
    ('0.6931', 0.25)
    """
    if criterion not in MEASURES:
        raise unknown("criterion", criterion, MEASURES)
    pool = _Pool.of(teachers, gold, weights, average_options or {}, on_error, check_tokens, jobs, places)
    measured = pool.judged(criterion).diversities(criterion, published)
    return float(measured(np.arange(len(teachers), dtype=np.int64)[None])[0])


def select_teachers(
    teachers: Sequence[_Trees],
    *,
    k: int,
    criterion: str = "society-entropy",
    search: str = "forward",
    gold: _Trees | None = None,
    alpha: float = 0.4,
    weights: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    published: bool = False,
    average_options: Mapping[str, Any] | None = None,
    on_error: str = "raise",
    check_tokens: bool = False,
    jobs: int | None = None,
    places: Places | None = None,
) -> Selection[_Trees]:
    """Choose k of several teachers, so that their average is good.

    Parameters
    ----------
    teachers : sequence of Treebank or of DependencyTreebank, length K >= 1
        The pool, over the same sentences in the same order. Not modified.
    k : int
        How many to choose, from 1 to K.
    criterion : str, default "society-entropy"
        A measure of diversity (see `diversity`), which is added to the mean accuracy; or ``top-k``, the accuracy
        alone; or ``validation``, the accuracy of the average of the chosen ones, which needs `gold`.
    search : str, default "forward"
        ``forward`` starts with the most accurate teacher and adds the best next one; ``combination`` looks at all sets.
    gold : Treebank or DependencyTreebank, optional
        The right trees over the same sentences, usually of a development fold. Accuracy is then the share of right
        heads, or the corpus F1 of the constituents that count as items. Without gold, it is the mean agreement with
        the other teachers, by the same formula.
    alpha : float, default 0.4
        What diversity counts for, at least 0. Not used by ``top-k`` and ``validation``.
    weights : sequence of numbers, length K, optional
        Not negative, not all zero: in means, in measures, in averages. Default: each teacher counts 1.
    groups : sequence, length K, optional
        The kind of each teacher: at most one of a kind is chosen.
    published : bool, default False
        Measure diversity by the published formulas; a set whose diversity is not a number never wins.
    average_options : mapping of str to object, optional
        Keywords of `average`: for ``validation``, and for the stand-in of `gold`.
    on_error : str, default "raise"
        ``skip`` leaves out a sentence that some teacher or `gold` lacks.
    check_tokens : bool, default False
        Require equal words, not only equal lengths.
    jobs : int, optional
        Threads; one a core by default. The result does not depend on it.
    places : Places, optional
        How messages name the teachers and, last, `gold`.

    Returns
    -------
    Selection
        Indices and (teacher, weight) pairs in the order of the pool, the value, the trace.

    Raises
    ------
    AlignmentError
        The treebanks do not hold the same sentences.
    ArgumentError
        An option is unknown or out of range, or the criterion needs gold trees.
    LimitError
        There are more than 50 million sets to look at.

    Notes
    -----
    Ties go to the set that comes first: its teachers stand first in the pool. Items are as in `diversity`, those of the
    whole pool for every set. ``combination`` takes O(items) a set, as sets that share all but the last teacher share
    their counts.

    References
    ----------
    [ED4UDP], section 3.3; what differs is listed in docs/choosing.md.

    Examples
    --------
    >>> gold, one, two = (DependencyTreebank.from_heads([own]) for own in ([2, 0, 2], [2, 0, 1], [0, 1, 2]))
    >>> select_teachers([one, one, two], k=2, gold=gold).indices
    (0, 2)
    >>> select_teachers([one, one, two], k=2, criterion="top-k").indices
    (0, 1)
    """
    _check_options(criterion, search, alpha, gold is not None)
    _check_size(k, groups, len(teachers))
    options = average_options or {}
    pool = _Pool.of(teachers, gold, weights, options, on_error, check_tokens, jobs, places)
    objective: Callable[[_Subsets], _Scores]
    if criterion == "validation":
        objective = pool.validated
    elif criterion == "top-k":
        objective = pool.accurate
    else:
        objective = pool.diverse(criterion, published, float(alpha))
    trace = _forward(objective, k, groups, len(teachers)) if search == "forward" else _best(objective, k, groups, pool)
    chosen = trace[-1] if search == "forward" else trace[0]
    given = list(weights) if weights is not None else [1] * len(teachers)
    return Selection(
        chosen.indices,
        tuple((teachers[index], given[index]) for index in chosen.indices),
        chosen.value,
        chosen.accuracy,
        chosen.diversity,
        tuple(trace),
    )


def _check_options(criterion: str, search: str, alpha: float, has_gold: bool) -> None:
    for name, value, known in (("criterion", criterion, CRITERIA), ("search", search, SEARCHES)):
        if value not in known:
            raise unknown(name, value, known)
    if isinstance(alpha, (bool, str)) or not 0 <= alpha < math.inf:
        raise ArgumentError(f"alpha: expected a number, at least 0, got {quote(alpha)}. 0 leaves diversity out.")
    if criterion == "validation" and not has_gold:
        raise ArgumentError(
            "gold: expected gold trees for criterion='validation', got none. Pass gold, or one of the criteria that "
            f"work without: {', '.join(name for name in CRITERIA if name != 'validation')}."
        )


def _check_size(k: int, groups: Sequence[Any] | None, teachers: int) -> None:
    if groups is not None and len(groups) != teachers:
        raise ArgumentError(f"groups: expected {teachers}, one per teacher, got {len(groups)}. Name each one's kind.")
    most = len(set(groups)) if groups is not None else teachers
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= most:
        what = "groups" if groups is not None else "teachers"
        raise ArgumentError(
            f"k: expected a whole number from 1 to {most}, the number of {what}, got {quote(k)}. Choose fewer, or "
            "pass more teachers."
        )


# ---------------------------------------------------------------------- answers


@dataclass(frozen=True)
class _Scores:
    """What subsets are worth, each array (S,)."""

    values: _Values
    accuracies: _Values
    diversities: _Values | None = None

    def step(self, place: int, subset: Sequence[int]) -> Step:
        measured = None if self.diversities is None else float(self.diversities[place])
        return Step(tuple(sorted(subset)), float(self.values[place]), float(self.accuracies[place]), measured)


@dataclass(frozen=True)
class _Answers:
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
    def of(cls, table: NDArray[Any], first: int, weights: NDArray[np.int64], jobs: int | None) -> _Answers:
        """Number the answers; row 0 of `table` (R, I) sets what 0 means, and rows from `first` on are teachers."""
        codes = _canonical(table)[first:]
        _, places, counts = np.unique(
            _fold(codes, [int(row.max(initial=0)) + 1 for row in codes]), return_index=True, return_counts=True
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
        return np.asarray((total // 2).astype(np.float64))
    side, best = np.zeros_like(total), np.zeros_like(total)
    # Gray code: each split differs from the last by one teacher; the last teacher never changes sides.
    for number in range(1, 2 ** (size - 1)):
        gray = number ^ (number >> 1)
        changed = (number & -number).bit_length() - 1
        side += weights[:, changed] if gray >> changed & 1 else -weights[:, changed]
        np.maximum(best, np.minimum(side, total - side), out=best)
    return best.astype(np.float64)


def _canonical(table: NDArray[Any]) -> NDArray[np.int16]:
    """Number the answers to each item (column) in the order in which the rows first give them, from 0."""
    if table.dtype == bool:
        return (table != table[0]).astype(np.int16)
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
        _fold(columns, [int(column.max(initial=0)) + 1 for column in columns]), return_inverse=True
    )
    held = np.zeros((len(treebanks), len(distinct)), bool)
    held[np.concatenate(owners), item] = True
    return held


def _agreements(table: NDArray[Any]) -> _Values:
    """Return the agreement of each two rows: the share of equal answers, or the F1 of constituents held."""
    if table.dtype != bool:
        return np.array([(table == row).mean(axis=1) if table.shape[1] else np.ones(len(table)) for row in table])
    numbers = table.astype(np.float32)
    common = np.rint(numbers @ numbers.T).astype(np.float64) if table.shape[1] < 2**24 else table @ table.T.astype(int)
    sizes = common.diagonal()[:, None] + common.diagonal()
    return np.divide(2 * common, sizes, out=np.ones_like(sizes), where=sizes > 0)


# ---------------------------------------------------------------------- the pool


@dataclass(frozen=True)
class _Pool:
    """Aligned teachers, their answers, and how accurate they are or seem to be."""

    teachers: Sequence[Any]
    gold: Any
    given: Sequence[Any] | None
    lengths: NDArray[np.int32]
    answers: _Answers
    accuracy: _Values  # (K,)
    options: Mapping[str, Any]
    on_error: str

    @classmethod
    def of(
        cls,
        teachers: Sequence[Any],
        gold: Any,
        weights: Sequence[Any] | None,
        options: Mapping[str, Any],
        on_error: str,
        check_tokens: bool,
        jobs: int | None,
        places: Places | None,
    ) -> _Pool:
        """Check everything, and answer every item."""
        whole = whole_weights(weights, len(teachers))[0] if len(teachers) else np.empty(0, np.int64)
        names = Places((*(f"teachers[{index}]" for index in range(len(teachers))), "gold"))
        banks = [*teachers, gold] if gold is not None and len(teachers) else list(teachers)
        lengths, _ = align(banks, places=places or names, on_error=on_error, check_tokens=check_tokens)
        rows = [gold, *teachers] if gold is not None else list(teachers)
        table = _table(rows, lengths)
        agreements = _agreements(table)
        if gold is not None:
            accuracy = agreements[0, 1:]
        else:
            others = len(teachers) - 1
            accuracy = (agreements.sum(axis=1) - 1) / others if others else np.ones(1)
        answers = _Answers.of(table, int(gold is not None), whole, jobs)
        return cls(teachers, gold, weights, lengths, answers, accuracy, options, on_error)

    def judged(self, criterion: str) -> _Answers:
        """Return answers of which 0 is right, where the criterion wants that; the average stands in for gold."""
        if self.gold is not None or criterion in ("society-entropy", "disagreement"):
            return self.answers
        stand_in = average(self.teachers, weights=self.given, on_error=self.on_error, **self.options)
        return _Answers.of(
            _table([stand_in, *self.teachers], self.lengths), 1, self.answers.weights, self.answers.jobs
        )

    def accurate(self, subsets: _Subsets) -> _Scores:
        """Return the weighted mean accuracy of subsets (S, k)."""
        sums = np.zeros(len(subsets))
        for column in subsets.T:
            sums += self.answers.weights[column] * self.accuracy[column]
        with np.errstate(invalid="ignore"):
            means = sums / self.answers.weights[subsets].sum(axis=1)
        return _Scores(means, means)

    def diverse(self, criterion: str, published: bool, alpha: float) -> Callable[[_Subsets], _Scores]:
        """Return the function from subsets to accuracy + alpha * diversity."""
        measured = self.judged(criterion).diversities(criterion, published)

        def scores(subsets: _Subsets) -> _Scores:
            accuracies, diversities = self.accurate(subsets).accuracies, measured(subsets)
            return _Scores(accuracies + alpha * diversities, accuracies, diversities)

        return scores

    def validated(self, subsets: _Subsets) -> _Scores:
        """Return the accuracy of the averages of subsets."""
        values = np.full(len(subsets), np.nan)
        for place, subset in enumerate(subsets.tolist()):
            if self.answers.weights[subset].any():
                result = average(
                    [self.teachers[index] for index in subset],
                    weights=[self.given[index] for index in subset] if self.given is not None else None,
                    on_error=self.on_error,
                    jobs=self.answers.jobs,
                    **self.options,
                )
                values[place] = _agreements(_table([self.gold, result], self.lengths))[0, 1]
        return replace(self.accurate(subsets), values=values)


def _table(treebanks: Sequence[Trees], lengths: NDArray[np.int32]) -> NDArray[Any]:
    """Return the answer of each treebank (row) to each item (column): heads, or whether a constituent is held."""
    if isinstance(treebanks[0], DependencyTreebank):
        return Heads.of(treebanks, lengths).matrix  # type: ignore[arg-type]
    return _held(treebanks, lengths)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- the searches


def _forward(
    objective: Callable[[_Subsets], _Scores], k: int, groups: Sequence[Any] | None, teachers: int
) -> list[Step]:
    """Add one teacher after another; the first best one on a tie."""
    chosen: list[int] = []
    trace: list[Step] = []
    while len(chosen) < k:
        taken = {groups[index] for index in chosen} if groups is not None else set()
        free = [
            index
            for index in range(teachers)
            if index not in chosen and (groups is None or groups[index] not in taken)
        ]
        subsets = np.array([[*chosen, index] for index in free], np.int64)
        scores = objective(subsets)
        place = _first_best(scores.values)
        chosen.append(free[place])
        trace.append(scores.step(place, chosen))
    return trace


def _first_best(values: _Values) -> int:
    """Return the first place whose value is the largest; NaN never is."""
    known = np.where(np.isnan(values), -np.inf, values)
    if known.max() == -np.inf:
        raise ArgumentError(
            "criterion: expected a set of teachers whose value is a number, got none. Pass published=False, give "
            "teachers weights above 0, or choose another criterion."
        )
    return int(np.argmax(known >= known.max() - TOLERANCE))


def _best(
    objective: Callable[[_Subsets], _Scores], k: int, groups: Sequence[Any] | None, pool: _Pool
) -> list[Step]:
    """Look at all sets of k teachers, at most one of a group; return the best ones, best first."""
    sets = _sets(k, groups, len(pool.teachers))
    best: list[Step] = []
    while batch := list(islice(sets, BATCH)):
        subsets = np.array(batch, np.int64)
        scores = objective(subsets)
        known = np.where(np.isnan(scores.values), -np.inf, scores.values)
        top = np.sort(np.argsort(-known, kind="stable")[:RUNNERS_UP])
        best += [scores.step(place, batch[place]) for place in top.tolist() if known[place] > -np.inf]
        best = _ordered(best)[:RUNNERS_UP]
    _first_best(np.array([step.value for step in best] or [np.nan]))
    return best


def _ordered(steps: list[Step]) -> list[Step]:
    """Sort by value, largest first; of values that are equal but for rounding the earlier step comes first."""
    result: list[Step] = []
    rest = steps
    while rest:
        place = _first_best(np.array([step.value for step in rest]))
        result.append(rest[place])
        rest = rest[:place] + rest[place + 1 :]
    return result


def _sets(k: int, groups: Sequence[Any] | None, teachers: int) -> Iterator[tuple[int, ...]]:
    """Return all sets of k teachers in order; with groups, sets of k groups and one teacher of each."""
    if groups is None:
        _check_room(math.comb(teachers, k))
        return combinations(range(teachers), k)
    members: dict[Any, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    # How many sets there are: the coefficient of x^k in the product of (1 + members x).
    ways = [1] + [0] * k
    for own in members.values():
        ways = [ways[0], *(ways[size] + len(own) * ways[size - 1] for size in range(1, k + 1))]
    _check_room(ways[k])
    return (
        tuple(sorted(chosen)) for kinds in combinations(members.values(), k) for chosen in product(*kinds)
    )


def _check_room(sets: int) -> None:
    if sets > MAX_SUBSETS:
        raise LimitError(
            f"k: expected at most {MAX_SUBSETS:,} sets of teachers, got {sets:,}. Use search='forward', choose fewer, "
            "or give groups."
        )
