"""Which teachers to average: accurate ones that err in different places."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice, product
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, align
from treeavg.averaging.answers import MEASURES, Answers, agreements, answer_table
from treeavg.averaging.average import average
from treeavg.averaging.weights import whole_weights
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, LimitError, quote, unknown
from treeavg.treebank import Treebank

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
#: Keywords of `average` that change which trees come out.
AVERAGE_OPTIONS = ("method", "binary", "objective", "beta", "threshold", "projective")

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
        Keywords of `average`, such as ``{"binary": False}``, for the stand-in of `gold`.
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
    [ED4UDP]; what differs is listed in docs/choosing.md.

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
    alpha: float = 0.1,
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
    alpha : float, default 0.1
        What diversity counts for, at least 0; as in the published code. Not used by ``top-k`` and ``validation``.
    weights : sequence of numbers, length K, optional
        Not negative, not all zero: in means, in measures, in averages. Default: each teacher counts 1.
    groups : sequence, length K, optional
        The kind of each teacher: at most one of a kind is chosen.
    published : bool, default False
        Measure diversity by the published formulas; a set whose diversity is not a number never wins.
    average_options : mapping of str to object, optional
        Keywords of `average`, such as ``{"binary": False}``: for ``validation``, and for the stand-in of `gold`.
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
    [ED4UDP]; what differs is listed in docs/choosing.md.

    Examples
    --------
    >>> gold, one, two = (DependencyTreebank.from_heads([own]) for own in ([2, 0, 2], [2, 0, 1], [0, 1, 2]))
    >>> select_teachers([one, one, two], k=2, gold=gold, alpha=1).indices
    (0, 2)
    >>> select_teachers([one, one, two], k=2, criterion="top-k").indices
    (0, 1)
    """
    _check_options(criterion, search, alpha, gold is not None)
    if len(teachers):
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


def check_average_options(options: Mapping[str, Any]) -> None:
    """Raise an ArgumentError for a keyword that `average` lacks or that does not change its trees."""
    for name in options:
        if name not in AVERAGE_OPTIONS:
            raise unknown("average_options", name, AVERAGE_OPTIONS)


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
class _Pool:
    """Aligned teachers, their answers, and how accurate they are or seem to be."""

    teachers: Sequence[Any]
    gold: Any
    given: Sequence[Any] | None
    lengths: NDArray[np.int32]
    answers: Answers
    accuracy: _Values  # (K,)
    options: Mapping[str, Any]
    on_error: str
    places: Places | None

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
        check_average_options(options)
        whole = whole_weights(weights, len(teachers))[0] if len(teachers) else np.empty(0, np.int64)
        names = Places((*(f"teachers[{index}]" for index in range(len(teachers))), "gold"))
        banks = [*teachers, gold] if gold is not None and len(teachers) else list(teachers)
        lengths, _ = align(banks, places=places or names, on_error=on_error, check_tokens=check_tokens)
        rows = [gold, *teachers] if gold is not None else list(teachers)
        table = answer_table(rows, lengths)
        agreed = agreements(table)
        if gold is not None:
            accuracy = agreed[0, 1:]
        else:
            others = len(teachers) - 1
            accuracy = (agreed.sum(axis=1) - 1) / others if others else np.ones(1)
        answers = Answers.of(table, int(gold is not None), whole, jobs)
        return cls(teachers, gold, weights, lengths, answers, accuracy, options, on_error, places)

    def judged(self, criterion: str) -> Answers:
        """Return answers of which 0 is right, where the criterion wants that; the average stands in for gold."""
        if self.gold is not None or criterion in ("society-entropy", "disagreement"):
            return self.answers
        stand_in = average(
            self.teachers, weights=self.given, on_error=self.on_error, jobs=self.answers.jobs, places=self.places,
            **self.options,
        )  # fmt: skip
        return Answers.of(
            answer_table([stand_in, *self.teachers], self.lengths), 1, self.answers.weights, self.answers.jobs
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
                values[place] = agreements(answer_table([self.gold, result], self.lengths))[0, 1]
        return replace(self.accurate(subsets), values=values)


def _forward(
    objective: Callable[[_Subsets], _Scores], k: int, groups: Sequence[Any] | None, teachers: int
) -> list[Step]:
    """Add one teacher after another; the first best one on a tie."""
    chosen: list[int] = []
    trace: list[Step] = []
    while len(chosen) < k:
        taken = {groups[index] for index in chosen} if groups is not None else set()
        free = [
            index for index in range(teachers) if index not in chosen and (groups is None or groups[index] not in taken)
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


def _best(objective: Callable[[_Subsets], _Scores], k: int, groups: Sequence[Any] | None, pool: _Pool) -> list[Step]:
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
    return (tuple(sorted(chosen)) for kinds in combinations(members.values(), k) for chosen in product(*kinds))


def _check_room(sets: int) -> None:
    if sets > MAX_SUBSETS:
        raise LimitError(
            f"k: expected at most {MAX_SUBSETS:,} sets of teachers, got {sets:,}. Use search='forward', choose fewer, "
            "or give groups."
        )
