"""How much teachers agree with one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, Trees
from treeavg.errors import ArgumentError
from treeavg.jobs import worker_count
from treeavg.metrics.base import Signature
from treeavg.metrics.tally import Tally

#: Batches of fewer sentences are compared on one thread.
_WORTH_THREADS = 500


@dataclass(frozen=True, eq=False)
class Agreement:
    """A square table of F1 between teachers.

    Parameters
    ----------
    names : tuple of str, length K
        The teachers.
    values : ndarray of float64, shape (K, K)
        Row: taken as gold; column: as prediction. Between 0 and 100; 100 on the diagonal.
    signature : Signature
        The conventions in the numbers.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    signature: Signature

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean agreement of each teacher with the others, shape (K,); NaN for a single teacher."""
        others = len(self.names) - 1
        if not others:
            return np.full(1, np.nan)
        return np.asarray((self.values.sum(axis=0) - self.values.diagonal()) / others)

    def __repr__(self) -> str:
        return f"<Agreement: {len(self.names)} teachers, mean {np.mean(self.means):.2f}, {self.signature}>"


def agreement(
    teachers: Sequence[Trees],
    *,
    names: Sequence[str] | None = None,
    metric: str | None = None,
    convention: str = "standard",
    on_error: str = "raise",
    check_tokens: bool = False,
    places: Places | None = None,
    jobs: int | None = None,
) -> Agreement:
    """Return the table of F1 among teachers.

    Parameters
    ----------
    teachers : sequence of Treebank or of DependencyTreebank, length K >= 1
        Over the same sentences.
    names : sequence of str, length K, optional
        What to call them; by default ``0``, ``1``, ...
    metric, convention, on_error, check_tokens
        As for `treeavg.score`.
    places : Places, optional
        How messages name the teachers.
    jobs : int, optional
        Threads; one a core by default. The table does not depend on it.

    Returns
    -------
    Agreement

    Raises
    ------
    AlignmentError
        The teachers do not hold the same sentences.
    ArgumentError
        There is no teacher, the names do not fit, or an option is unknown.

    Examples
    --------
    >>> from treeavg import Treebank
    >>> one = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> two = Treebank.from_constituents([4], [[(0, 4), (1, 4), (2, 4)]])
    >>> agreement([one, two]).values.tolist()
    [[100.0, 50.0], [50.0, 100.0]]
    """
    if not len(teachers):
        raise ArgumentError("teachers: expected at least one treebank, got none. Pass a list of treebanks.")
    labels = tuple(names) if names is not None else tuple(map(str, range(len(teachers))))
    if len(labels) != len(teachers):
        raise ArgumentError(f"names: expected {len(teachers)}, one per teacher, got {len(labels)}. Name each.")
    tally = AgreementTally(
        labels, metric=metric, convention=convention, on_error=on_error, check_tokens=check_tokens, places=places,
        jobs=jobs,
    )  # fmt: skip
    tally.add(teachers)
    return tally.result()


class AgreementTally:
    """Adds up the table of F1 batch by batch, in memory that does not grow; see `agreement`.

    Parameters
    ----------
    names : sequence of str, length K
        The teachers.
    metric, convention, on_error, check_tokens, places, jobs
        As for `agreement`.

    Examples
    --------
    >>> from treeavg import Treebank
    >>> one = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> tally = AgreementTally(["a", "b"])
    >>> tally.add([one, one])
    >>> tally.result().means.tolist()
    [100.0, 100.0]
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        metric: str | None = None,
        convention: str = "standard",
        on_error: str = "raise",
        check_tokens: bool = False,
        places: Places | None = None,
        jobs: int | None = None,
    ) -> None:
        self._names, self._workers = tuple(names), worker_count(jobs)
        where = places or Places(tuple(f"teachers[{index}]" for index in range(len(self._names))))
        self._tallies = [
            [
                Tally(
                    [metric] if metric is not None else (), convention, on_error=on_error, check_tokens=check_tokens,
                    places=Places((gold, predicted), where.files, where.first),
                )
                for predicted in where.names
            ]
            for gold in where.names
        ]  # fmt: skip

    def add(self, teachers: Sequence[Trees]) -> None:
        """Compare further sentences.

        Parameters
        ----------
        teachers : sequence of Treebank or of DependencyTreebank, length K
            The next sentences, the same of all.

        Raises
        ------
        AlignmentError
            They do not hold the same sentences.
        """

        def compare(gold: Trees, row: list[Tally]) -> None:
            for predicted, tally in zip(teachers, row, strict=True):
                tally.add(gold, predicted)

        rows = list(zip(teachers, self._tallies, strict=True))
        if self._workers == 1 or len(teachers[0]) < _WORTH_THREADS:
            for gold, row in rows:
                compare(gold, row)
            return
        with ThreadPoolExecutor(self._workers) as pool:
            for future in [pool.submit(compare, gold, row) for gold, row in rows]:
                future.result()  # the first row's error is the first that is raised

    def append(self, other: AgreementTally) -> None:
        """Add the table of other sentences.

        Parameters
        ----------
        other : AgreementTally
            Of as many teachers; not modified.

        Raises
        ------
        ArgumentError
            The kinds of trees or the conventions differ.
        """
        for row, more in zip(self._tallies, other._tallies, strict=True):
            for tally, one in zip(row, more, strict=True):
                tally.append(one)

    def as_json(self) -> list[list[dict[str, Any]]]:
        """Return what JSON can hold: rows of what `Tally.as_json` gives."""
        return [[tally.as_json() for tally in row] for row in self._tallies]

    @classmethod
    def from_json(cls, value: Sequence[Sequence[Mapping[str, Any]]], names: Sequence[str]) -> AgreementTally:
        """Return the tally that `as_json` gave.

        Parameters
        ----------
        value : sequence, length K
            Not modified.
        names : sequence of str, length K
            The teachers.

        Returns
        -------
        AgreementTally

        Examples
        --------
        >>> from treeavg import Treebank
        >>> one = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
        >>> tally = AgreementTally(["a"])
        >>> tally.add([one])
        >>> AgreementTally.from_json(tally.as_json(), ["b"]).result().values.tolist()
        [[100.0]]
        """
        tally = cls(names)
        tally._tallies = [
            [Tally.from_json(one, places=Places((gold, predicted))) for one, predicted in zip(row, names, strict=True)]
            for row, gold in zip(value, names, strict=True)
        ]
        return tally

    def result(self) -> Agreement:
        """Return the table."""
        values = np.array([[tally.value() for tally in row] for row in self._tallies])
        return Agreement(self._names, values, self._tallies[-1][-1].signature())
