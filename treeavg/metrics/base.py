"""A score is an object: its value, the statistics behind it, and a signature of its conventions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import ArgumentError, quote
from treeavg.metrics.exact import as_text, from_text, more, rounded, together

#: Upper ends of the classes of sentence length in tables.
LENGTH_CLASSES = (10, 20, 30, 40)


@dataclass(frozen=True)
class Signature:
    """The conventions in a number, as names and values.

    Parameters
    ----------
    items : tuple of (str, str)
        In the order in which they are printed.

    Examples
    --------
    >>> print(Signature((("metric", "sentence-f1"), ("root", "removed"))))
    metric:sentence-f1|root:removed
    """

    items: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return "|".join(f"{name}:{value}" for name, value in self.items)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Counts of the scored sentences.

    Parameters
    ----------
    sentences : ndarray of int64, shape (S,)
        Their indices in the gold treebank.
    lengths : ndarray of int32, shape (S,)
        Their tokens.
    matched, predicted, gold : ndarray of int64, shape (S,)
        Constituents (or arcs, or spans of words) of both, of the prediction, of the gold tree, as the convention counts
        them.
    missing : ndarray of bool, shape (S,)
        Where the prediction lacks the sentence; it then scores 0.
    discontinuous : ndarray of int64, shape (S, 3), optional
        Matched, predicted and gold constituents of several blocks, which the totals include.
    """

    sentences: NDArray[np.int64]
    lengths: NDArray[np.int32]
    matched: NDArray[np.int64]
    predicted: NDArray[np.int64]
    gold: NDArray[np.int64]
    missing: NDArray[np.bool_]
    discontinuous: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.sentences)

    @classmethod
    def concatenate(cls, parts: Sequence[Statistics]) -> Statistics:
        """Join statistics of at least one batch; those that do not count discontinuous constituents have none."""
        if len(parts) == 1:
            return parts[0]
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in cls.__dataclass_fields__
            if name != "discontinuous"
        }
        if any(part.discontinuous is not None for part in parts):
            columns["discontinuous"] = np.concatenate(
                [
                    part.discontinuous if part.discontinuous is not None else np.zeros((len(part), 3), np.int64)
                    for part in parts
                ]
            )
        return cls(**columns)

    def where(self, mask: NDArray[np.bool_]) -> Statistics:
        """Return the statistics of some of the sentences."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        chosen: dict[str, Any] = {name: None if one is None else one[mask] for name, one in columns.items()}
        return Statistics(**chosen)


@dataclass(frozen=True)
class Metric:
    """How statistics become a number: terms are summed over sentences, then finished.

    Sums can be resampled without scoring again.

    Parameters
    ----------
    name : str
        What ``metric=`` calls it.
    terms : callable
        Statistics to float64 (S, C).
    finish : callable
        Sums over sentences (..., C) to values between 0 and 100 (...).
    """

    name: str
    terms: Callable[[Statistics], NDArray[np.float64]]
    finish: Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Score:
    """A number with what it is made of.

    Parameters
    ----------
    value : float
        Between 0 and 100, not rounded.
    metric : Metric
        How the statistics became the value.
    statistics : Statistics
        Counts, one entry a scored sentence.
    signature : Signature
        Every convention in the number.
    per_sentence : ndarray of float64, shape (S,)
        F1 of each scored sentence, between 0 and 100.

    Examples
    --------
    >>> from treeavg import Treebank, score
    >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> print(score(gold, gold))
    sentence-f1 100.00
    """

    value: float
    metric: Metric
    statistics: Statistics
    signature: Signature
    per_sentence: NDArray[np.float64]

    def __str__(self) -> str:
        return f"{self.metric.name} {self.value:.2f}"

    def __repr__(self) -> str:
        return f"<Score: {self} {self.signature}>"

    def __float__(self) -> float:
        return self.value

    def by_length(self, classes: Sequence[int] = LENGTH_CLASSES) -> list[tuple[str, int, float]]:
        """Return the value for classes of sentence length.

        Parameters
        ----------
        classes : sequence of int, default (10, 20, 30, 40)
            Upper ends, increasing, inclusive; a last class takes what is longer.

        Returns
        -------
        list of (str, int, float)
            Name of the class, sentences in it, value; classes without sentences are left out.

        Raises
        ------
        ArgumentError
            The classes do not increase.

        Examples
        --------
        >>> from treeavg import Treebank, score
        >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
        >>> score(gold, gold).by_length()
        [('1-10', 1, 100.0)]
        """
        sums = LengthSums(self.metric, classes)
        sums.add(self.statistics, self.metric.terms(self.statistics))
        return sums.rows()


class LengthSums:
    """Sums of a metric's terms by classes of sentence length.

    Parameters
    ----------
    metric : Metric
        Whose terms are added.
    classes : sequence of int
        As for `Score.by_length`.

    Raises
    ------
    ArgumentError
        The classes do not increase.
    """

    def __init__(self, metric: Metric, classes: Sequence[int] = LENGTH_CLASSES) -> None:
        ends = list(classes)
        if ends != sorted(set(ends)) or any(not isinstance(end, int) or end < 1 for end in ends):
            raise ArgumentError(f"classes: expected increasing whole numbers, got {quote(classes)}. Sort them.")
        self._metric = metric
        self._bounds: list[tuple[int, int | None]] = list(zip([0, *ends], [*ends, None], strict=True))
        self._counts = [0] * len(self._bounds)
        self._sums: list[list[Fraction]] = [[] for _ in self._bounds]

    def add(self, statistics: Statistics, terms: NDArray[np.float64]) -> None:
        """Add sentences with their terms."""
        for place, (low, high) in enumerate(self._bounds):
            mask = statistics.lengths > low
            if high is not None:
                mask &= statistics.lengths <= high
            if mask.any():
                before = self._sums[place] or [Fraction(0)] * terms.shape[1]
                self._sums[place] = more(before, terms[mask])
                self._counts[place] += int(mask.sum())

    def append(self, other: LengthSums) -> None:
        """Add the sums of other sentences by the same classes."""
        self._counts = [one + more for one, more in zip(self._counts, other._counts, strict=True)]
        self._sums = [together(one, more) for one, more in zip(self._sums, other._sums, strict=True)]

    def as_json(self) -> list[list[Any]]:
        """Return the number of sentences and the sums of each class."""
        return [[count, as_text(sums)] for count, sums in zip(self._counts, self._sums, strict=True)]

    def fill(self, rows: Sequence[Sequence[Any]]) -> None:
        """Take what `as_json` gave in place of what is here."""
        self._counts = [int(count) for count, _ in rows]
        self._sums = [from_text(sums) for _, sums in rows]

    def rows(self) -> list[tuple[str, int, float]]:
        """Return name, sentences and value of each class that has sentences."""
        return [
            (_class_name(low, high), count, float(self._metric.finish(rounded(sums))))
            for (low, high), count, sums in zip(self._bounds, self._counts, self._sums, strict=True)
            if count
        ]


def _class_name(low: int, high: int | None) -> str:
    return f"{low + 1}-{high}" if high is not None else f"{low + 1}+"
