"""Scores that are added up batch by batch, so that memory does not grow with the files."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from treeavg.alignment import Places, Trees, align
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, unknown
from treeavg.metrics.base import LengthSums, Metric, Score, Signature, Statistics
from treeavg.metrics.constituency import (
    CONVENTIONS,
    constituency_metrics,
    count_matches,
    nothing_to_score,
    sentence_f1,
)
from treeavg.metrics.dependency import DEPENDENCY_METRICS, count_heads, sentence_values
from treeavg.metrics.exact import more, rounded
from treeavg.treebank import Treebank
from treeavg.version import __version__

#: What is summed where no metric is named: which of them counts is known when all trees have been seen.
_DEFAULTS = ("sentence-f1", "corpus-f1")


class Tally:
    """Adds up scores over batches of sentences; the numbers are those of `treeavg.score` over all of them, to the bit.

    Parameters
    ----------
    metrics : sequence of str, default ()
        Names as for `treeavg.score`; by default its default.
    convention, on_error, check_tokens
        As for `treeavg.score`.
    places : Places, optional
        How messages name gold and predicted trees.
    keep : bool, default False
        Keep the counts of each sentence, about 50 bytes a sentence and metric, so that `score` can be called.
    by_length : bool, default False
        Sum by classes of sentence length too.

    Raises
    ------
    ArgumentError
        An option is unknown.

    Examples
    --------
    >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> tally = Tally()
    >>> for batch in (gold, gold):
    ...     tally.add(batch, batch)
    >>> tally.value()
    100.0
    """

    def __init__(
        self,
        metrics: Sequence[str] = (),
        convention: str = "standard",
        *,
        on_error: str = "raise",
        check_tokens: bool = False,
        places: Places | None = None,
        keep: bool = False,
        by_length: bool = False,
    ) -> None:
        if convention not in CONVENTIONS:
            raise unknown("convention", convention, CONVENTIONS)
        self._rules = CONVENTIONS[convention]
        self._named = tuple(metrics)
        self._on_error, self._check_tokens = on_error, check_tokens
        self._places = places or Places(("gold", "predicted"))
        self._keep, self._by_length = keep, by_length
        self._metrics: dict[str, Metric] = {}  # of the kind of trees, once that is known
        self._dependency = False
        self._continuous = True
        self._sums: dict[str, list[Fraction]] = {}
        self._lengths: dict[str, LengthSums] = {}
        self._kept: dict[str, list[Statistics]] = {}
        self._done = self._gold_missing = 0
        self._scored: dict[str, int] = {}
        self._missing: dict[str, int] = {}

    def add(self, gold: Trees, predicted: Trees) -> None:
        """Score further sentences.

        Parameters
        ----------
        gold, predicted : Treebank or DependencyTreebank
            The next sentences, the same of both.

        Raises
        ------
        AlignmentError
            They do not hold the same sentences.
        ArgumentError
            The kinds of trees differ, or a metric is none for them.
        """
        places = self._places.behind(self._done)
        self._choose(gold, predicted, places)
        if isinstance(gold, DependencyTreebank) and isinstance(predicted, DependencyTreebank):
            for name in self._sums:
                statistics = count_heads(
                    gold, predicted, name, on_error=self._on_error, check_tokens=self._check_tokens, places=places
                )
                self._take(statistics, [name])
        elif isinstance(gold, Treebank) and isinstance(predicted, Treebank):
            self._continuous &= gold.is_continuous and predicted.is_continuous
            statistics = count_matches(
                gold, predicted, self._rules, on_error=self._on_error, check_tokens=self._check_tokens, places=places
            )
            self._take(statistics, list(self._sums))
        self._done += len(gold)
        self._gold_missing += len(gold.missing)

    def _choose(self, gold: Trees, predicted: Trees, places: Places) -> None:
        """Look up the metrics of the first batch's kind; raise where the kinds of trees differ."""
        if type(gold) is not type(predicted) or not isinstance(gold, (Treebank, DependencyTreebank)):
            align([gold, predicted], places=places)  # raises: the kinds differ
        if self._metrics:
            return
        self._dependency = isinstance(gold, DependencyTreebank)
        known = DEPENDENCY_METRICS if self._dependency else constituency_metrics(self._rules)
        names = self._named or (("uas",) if self._dependency else _DEFAULTS)
        for name in names:
            if name not in known:
                raise unknown("metric", name, known)
        self._metrics = known
        none = np.zeros(0, np.int64)
        empty = Statistics(none, np.zeros(0, np.int32), none, none, none, np.zeros(0, np.bool_))
        for name in names:
            self._sums[name] = [Fraction(0)] * known[name].terms(empty).shape[1]
            self._lengths[name] = LengthSums(known[name])
            self._kept[name] = []
            self._scored[name] = self._missing[name] = 0

    def _take(self, statistics: Statistics, names: list[str]) -> None:
        statistics.sentences[:] += self._done
        for name in names:
            terms = self._metrics[name].terms(statistics)
            self._sums[name] = more(self._sums[name], terms)
            self._scored[name] += len(statistics)
            self._missing[name] += int(statistics.missing.sum())
            if self._by_length:
                self._lengths[name].add(statistics, terms)
            if self._keep:
                self._kept[name].append(statistics)

    def metric(self) -> str:
        """Return the name of the metric: the first that was named, or the default for the trees that were added."""
        if self._named or self._dependency:
            return next(iter(self._sums))
        return _DEFAULTS[0] if self._continuous else _DEFAULTS[1]

    @property
    def is_continuous(self) -> bool:
        """Whether all trees that were added are continuous."""
        return self._continuous

    def missing(self, metric: str | None = None) -> int:
        """Return how many sentences the prediction lacks."""
        return self._missing[metric or self.metric()]

    def value(self, metric: str | None = None) -> float:
        """Return a value between 0 and 100.

        Parameters
        ----------
        metric : str, optional
            One of those that were named; by default the first.

        Returns
        -------
        float

        Raises
        ------
        ArgumentError
            There was nothing to score.
        """
        name = metric or self.metric()
        if not self._scored[name]:
            if self._dependency:
                raise ArgumentError(f"{self._places.names[0]}: expected a sentence to score, got none. Check the file.")
            raise nothing_to_score(self._places)
        return float(self._metrics[name].finish(rounded(self._sums[name])))

    def by_length(self, metric: str | None = None) -> list[tuple[str, int, float]]:
        """Return value and size of each class of sentence length; see `Score.by_length`."""
        return self._lengths[metric or self.metric()].rows()

    def signature(self, metric: str | None = None) -> Signature:
        """Return the conventions in a value."""
        name, rules = metric or self.metric(), self._rules
        conventions = (
            ()
            if self._dependency
            else (
                ("convention", rules.name),
                ("root", "one-copy-removed" if rules.second_root_counts else "removed"),
                *((("counted", "lists,gold-fan-out<=2"),) if rules.published_lists else ()),
                ("length", f"2-{rules.longest}" if rules.longest else "2+"),
                ("empty", "1"),
            )
        )
        return Signature(
            (
                ("metric", name),
                *conventions,
                ("sentences", str(self._scored[name])),
                *((("missing", str(self._missing[name])),) if self._missing[name] else ()),
                *((("gold-missing", str(self._gold_missing)),) if self._gold_missing else ()),
                ("version", __version__),
            )
        )

    def score(self, metric: str | None = None) -> Score:
        """Return the score with the counts of each sentence; only with ``keep=True``."""
        name = metric or self.metric()
        value = self.value(name)
        statistics = Statistics.concatenate(self._kept[name])
        per_sentence = (
            sentence_values(statistics) if self._dependency else 100 * sentence_f1(statistics, self._rules.epsilon)
        )
        return Score(value, self._metrics[name], statistics, self.signature(name), per_sentence)
