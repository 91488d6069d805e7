"""What teachers' weights should be where there are no gold trees: agreement with the average of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, align
from treeavg.averaging.answers import agreements, answer_table
from treeavg.averaging.average import average
from treeavg.averaging.selection import check_average_options
from treeavg.dependency import DependencyTreebank
from treeavg.treebank import Treebank

#: With fewer teachers all weights are equal: agreement then shows kinship as much as reliability (docs/weights.md).
FEWEST = 5
#: A teacher keeps its full weight from this share of the best agreement on.
SHARE = 0.9
#: The weight of the others. Only two levels, so that most ties stay ties and the rules for ties decide them.
REDUCED = 0.5

_Trees = TypeVar("_Trees", Treebank, DependencyTreebank)


def agreement_weights(
    teachers: Sequence[_Trees],
    *,
    average_options: Mapping[str, Any] | None = None,
    on_error: str = "raise",
    check_tokens: bool = False,
    jobs: int | None = None,
    places: Places | None = None,
) -> list[float]:
    """Return weights for `average` from how well each teacher agrees with the average of the others.

    Parameters
    ----------
    teachers : sequence of Treebank or of DependencyTreebank, length K >= 1
        Over the same sentences in the same order; the more sentences, the better. Not modified.
    average_options : mapping of str to object, optional
        Keywords of the `average` that the weights are for, such as ``{"binary": False, "objective": "f1"}``.
    on_error : str, default "raise"
        ``skip`` leaves out a sentence that some teacher lacks.
    check_tokens : bool, default False
        Require equal words, not only equal lengths.
    jobs : int, optional
        Threads; one a core by default. The result does not depend on it.
    places : Places, optional
        How messages name the teachers; by default ``teachers[k][i]``.

    Returns
    -------
    list of float, length K
        1 for a teacher whose agreement is at least nine tenths of the best one's, else 0.5. With fewer than five
        teachers all are 1.

    Raises
    ------
    AlignmentError
        The teachers do not hold the same sentences.
    ArgumentError
        There is no teacher, or an option is unknown.

    Notes
    -----
    One round of Dawid and Skene's estimator, with hard assignments and a tree as the latent truth: the average of the
    other teachers stands for the truth of a teacher, so that none confirms itself. Agreement is the share of equal
    heads, or the corpus F1 of constituents, whole sentences left out. K averages of K - 1 teachers. docs/weights.md
    tells how much it helps, where it loses, and which estimators did worse.

    References
    ----------
    [DawidSkene1979].

    Examples
    --------
    >>> good = DependencyTreebank.from_heads([[2, 0, 2], [0, 1, 2]])
    >>> bad = DependencyTreebank.from_heads([[0, 1, 2], [2, 0, 2]])
    >>> agreement_weights([good, good, bad, good, good])
    [1.0, 1.0, 0.5, 1.0, 1.0]
    """
    options = average_options or {}
    check_average_options(options)
    lengths, _ = align(teachers, places=places, on_error=on_error, check_tokens=check_tokens)
    if len(teachers) < FEWEST:
        return [1.0] * len(teachers)
    agreed = consensus_agreements(teachers, lengths, options, on_error=on_error, jobs=jobs)
    enough = float(agreed.max()) * SHARE
    return [1.0 if value >= enough else REDUCED for value in agreed.tolist()]


def consensus_agreements(
    teachers: Sequence[_Trees],
    lengths: NDArray[np.int32],
    options: Mapping[str, Any],
    *,
    on_error: str = "raise",
    jobs: int | None = None,
) -> NDArray[np.float64]:
    """Return the agreement of each of K >= 2 aligned teachers with the average of the others, between 0 and 1.

    Parameters
    ----------
    teachers : sequence of Treebank or of DependencyTreebank, length K
        Aligned.
    lengths : ndarray of int32, shape (N,)
        From `align`.
    options : mapping of str to object
        Keywords of `average`.
    on_error, jobs
        As for `average`.

    Returns
    -------
    ndarray of float64, shape (K,)

    Examples
    --------
    >>> one, two = (Treebank.from_constituents([4], [spans]) for spans in ([(0, 2), (2, 4)], [(0, 2), (0, 3)]))
    >>> consensus_agreements([one, one, two], one.lengths, {})
    array([1. , 1. , 0.5])
    """
    agreed: list[float] = []
    for own, teacher in enumerate(teachers):
        others = [bank for place, bank in enumerate(teachers) if place != own]
        consensus = average(others, on_error=on_error, jobs=jobs, **options)
        agreed.append(float(agreements(answer_table([consensus, teacher], lengths))[0, 1]))
    return np.array(agreed)
