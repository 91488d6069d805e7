"""Scores that are added up batch by batch, so that memory does not grow with the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

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
from treeavg.metrics.exact import as_text, from_text, more, rounded, together
from treeavg.treebank import Treebank
from treeavg.version import __version__

#: What is summed where no metric is named: which of them counts is known when all trees have been seen.
_DEFAULTS = ("sentence-f1", "corpus-f1")


@dataclass
class _Sums:
    """What is added up of one metric."""

    metric: Metric
    sums: list[Fraction]
    lengths: LengthSums
    kept: list[Statistics] = field(default_factory=list)
    scored: int = 0
    missing: int = 0


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
        self._dependency: bool | None = None  # known with the first batch
        self._continuous = True
        self._of: dict[str, _Sums] = {}
        self._done = self._gold_missing = 0

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
        if type(gold) is not type(predicted) or not isinstance(gold, (Treebank, DependencyTreebank)):
            align([gold, predicted], places=places)  # raises: the kinds differ
        if self._dependency is None:
            self._begin(isinstance(gold, DependencyTreebank))
        if isinstance(gold, DependencyTreebank) and isinstance(predicted, DependencyTreebank):
            for name in self._of:
                statistics = count_heads(
                    gold, predicted, name, on_error=self._on_error, check_tokens=self._check_tokens, places=places
                )
                self._take(statistics, [name])
        elif isinstance(gold, Treebank) and isinstance(predicted, Treebank):
            self._continuous &= gold.is_continuous and predicted.is_continuous
            statistics = count_matches(
                gold, predicted, self._rules, on_error=self._on_error, check_tokens=self._check_tokens, places=places
            )
            self._take(statistics, list(self._of))
        self._done += len(gold)
        self._gold_missing += len(gold.missing)

    def _begin(self, dependency: bool) -> None:
        """Look up the metrics of a kind of trees."""
        self._dependency = dependency
        known = DEPENDENCY_METRICS if dependency else constituency_metrics(self._rules)
        none = np.zeros(0, np.int64)
        empty = Statistics(none, np.zeros(0, np.int32), none, none, none, np.zeros(0, np.bool_))
        for name in self._named or (("uas",) if dependency else _DEFAULTS):
            if name not in known:
                raise unknown("metric", name, known)
            zeros = [Fraction(0)] * known[name].terms(empty).shape[1]
            self._of[name] = _Sums(known[name], zeros, LengthSums(known[name]))

    def _take(self, statistics: Statistics, names: list[str]) -> None:
        statistics.sentences[:] += self._done
        for own in (self._of[name] for name in names):
            terms = own.metric.terms(statistics)
            own.sums = more(own.sums, terms)
            own.scored += len(statistics)
            own.missing += int(statistics.missing.sum())
            if self._by_length:
                own.lengths.add(statistics, terms)
            if self._keep:
                own.kept.append(statistics)

    def append(self, other: Tally) -> None:
        """Add what another tally summed of other sentences, as if they came behind those of this one.

        Parameters
        ----------
        other : Tally
            Of the same convention; not modified. A metric that one of the two does not know is dropped. Counts that it
            keeps of each sentence are not taken.

        Raises
        ------
        ArgumentError
            The kinds of trees or the conventions differ.

        Examples
        --------
        >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
        >>> one, two = Tally(), Tally()
        >>> one.add(gold, gold)
        >>> two.add(gold, gold)
        >>> one.append(two)
        >>> str(one.signature())[:54]
        'metric:sentence-f1|convention:standard|root:removed|le'
        """
        if other._dependency is None:
            return
        if self._dependency is None:
            self._begin(other._dependency)
        if (self._dependency, self._rules) != (other._dependency, other._rules):
            raise ArgumentError(
                f"{self._places.names[0]}: expected scores of one kind of trees and one convention, got two of them. "
                "Score them apart."
            )
        self._of = {name: own for name, own in self._of.items() if name in other._of}
        for name, own in self._of.items():
            more_of = other._of[name]
            own.sums = together(own.sums, more_of.sums)
            own.lengths.append(more_of.lengths)
            own.scored += more_of.scored
            own.missing += more_of.missing
        self._continuous &= other._continuous
        self._done += other._done
        self._gold_missing += other._gold_missing

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold, without counts that are kept of each sentence.

        Returns
        -------
        dict
        """
        return {
            "named": list(self._named),
            "convention": self._rules.name,
            "dependency": self._dependency,
            "continuous": self._continuous,
            "sentences": self._done,
            "gold_missing": self._gold_missing,
            "metrics": {
                name: {
                    "sums": as_text(own.sums),
                    "by_length": own.lengths.as_json(),
                    "scored": own.scored,
                    "missing": own.missing,
                }
                for name, own in self._of.items()
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, places: Places | None = None) -> Tally:
        """Return the tally that `as_json` gave.

        Parameters
        ----------
        value : mapping
            Not modified.
        places : Places, optional
            As for the class.

        Returns
        -------
        Tally

        Examples
        --------
        >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
        >>> tally = Tally()
        >>> tally.add(gold, gold)
        >>> Tally.from_json(tally.as_json()).value()
        100.0
        """
        tally = cls(value["named"], value["convention"], places=places)
        if value["dependency"] is None:
            return tally
        tally._begin(value["dependency"])
        for name, known in value["metrics"].items():
            own = tally._of[name]
            own.sums, own.scored, own.missing = from_text(known["sums"]), known["scored"], known["missing"]
            own.lengths.fill(known["by_length"])
        tally._continuous, tally._done = value["continuous"], value["sentences"]
        tally._gold_missing = value["gold_missing"]
        return tally

    def metric(self) -> str:
        """Return the name of the metric: the first that was named, or the default for the trees that were added."""
        if self._named or self._dependency:
            return next(iter(self._of))
        return _DEFAULTS[0] if self._continuous else _DEFAULTS[1]

    @property
    def metrics(self) -> list[str]:
        """Names of what is summed; none before the first batch."""
        return list(self._of)

    @property
    def is_continuous(self) -> bool:
        """Whether all trees that were added are continuous."""
        return self._continuous

    def missing(self, metric: str | None = None) -> int:
        """Return how many sentences the prediction lacks."""
        return self._of[metric or self.metric()].missing

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
        own = self._of[name]
        if not own.scored:
            if self._dependency:
                raise ArgumentError(f"{self._places.names[0]}: expected a sentence to score, got none. Check the file.")
            raise nothing_to_score(self._places)
        return float(own.metric.finish(rounded(own.sums)))

    def by_length(self, metric: str | None = None) -> list[tuple[str, int, float]]:
        """Return value and size of each class of sentence length; see `Score.by_length`."""
        return self._of[metric or self.metric()].lengths.rows()

    def signature(self, metric: str | None = None) -> Signature:
        """Return the conventions in a value."""
        name, rules = metric or self.metric(), self._rules
        own = self._of[name]
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
                ("sentences", str(own.scored)),
                *((("missing", str(own.missing)),) if own.missing else ()),
                *((("gold-missing", str(self._gold_missing)),) if self._gold_missing else ()),
                ("version", __version__),
            )
        )

    def score(self, metric: str | None = None) -> Score:
        """Return the score with the counts of each sentence; only with ``keep=True``."""
        name = metric or self.metric()
        value, own = self.value(name), self._of[name]
        statistics = Statistics.concatenate(own.kept)
        per_sentence = (
            sentence_values(statistics) if self._dependency else 100 * sentence_f1(statistics, self._rules.epsilon)
        )
        return Score(value, own.metric, statistics, self.signature(name), per_sentence)
