"""Is the difference of two scores more than chance? Tests on stored statistics; nothing is scored again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import AlignmentError, ArgumentError, quote
from treeavg.metrics.base import Score

#: Sentences drawn at a time, so that memory stays small.
_DRAWN = 1 << 20


@dataclass(frozen=True)
class Comparison:
    """The outcome of a test of two systems on the same sentences.

    Parameters
    ----------
    test : str
        ``sign-test`` or ``paired-bootstrap``.
    difference : float
        First value minus second.
    p_value : float
        Two-sided.
    wins, losses, ties : int
        Sentences where the first system's F1 is higher, lower, equal.
    interval : (float, float) or None
        95 % interval of the difference (bootstrap only).
    samples, seed : int or None
        Of the bootstrap.
    """

    test: str
    difference: float
    p_value: float
    wins: int
    losses: int
    ties: int
    interval: tuple[float, float] | None = None
    samples: int | None = None
    seed: int | None = None


def sign_test(first: Score, second: Score) -> Comparison:
    """Test whether one system wins on more sentences than the other.

    Parameters
    ----------
    first, second : Score
        Of two systems against the same gold trees, with the same conventions.

    Returns
    -------
    Comparison
        Exact two-sided binomial test over the sentences that are not tied; p = 1 where all are.

    Raises
    ------
    AlignmentError
        The scores are over different sentences.

    Examples
    --------
    >>> from treeavg import Treebank, score
    >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> sign_test(score(gold, gold), score(gold, gold)).p_value
    1.0
    """
    wins, losses, ties = _outcomes(first, second)
    decided = wins + losses
    if decided == 0:
        p_value = 1.0
    else:
        # log C(n, i) - n log 2 for i = 0 ... n by running sums: no overflow however many sentences there are.
        steps = np.arange(1, decided + 1, dtype=np.float64)
        terms = np.concatenate([[0.0], np.cumsum(np.log((decided - steps + 1) / steps))]) - decided * np.log(2.0)
        p_value = min(1.0, 2.0 * float(np.exp(terms[: min(wins, losses) + 1]).sum()))
    return Comparison("sign-test", first.value - second.value, p_value, wins, losses, ties)


def paired_bootstrap(first: Score, second: Score, *, samples: int = 10_000, seed: int = 0) -> Comparison:
    """Test whether two scores differ, by drawing sentences with replacement.

    Parameters
    ----------
    first, second : Score
        Of two systems against the same gold trees, with the same metric and conventions.
    samples : int, default 10000
        Draws.
    seed : int, default 0
        Of NumPy's generator.

    Returns
    -------
    Comparison
        ``p_value`` is the share of draws whose difference, centred, is at least as far from 0 as the observed one
        (each side plus one).

    Raises
    ------
    AlignmentError
        The scores are over different sentences or differ in metric.
    ArgumentError
        `samples` is below 1.

    References
    ----------
    P. Koehn, Statistical significance tests for machine translation evaluation, EMNLP 2004; centred as in sacreBLEU.

    Examples
    --------
    >>> from treeavg import Treebank, score
    >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> paired_bootstrap(score(gold, gold), score(gold, gold), samples=10).difference
    0.0
    """
    wins, losses, ties = _outcomes(first, second)
    if first.metric.name != second.metric.name:
        raise AlignmentError(
            f"second: expected the metric {first.metric.name!r} of the first score, got {second.metric.name!r}. "
            "Score both systems alike."
        )
    columns = np.concatenate([score.metric.terms(score.statistics) for score in (first, second)], axis=1)
    half = columns.shape[1] // 2
    sums = _resampled(columns, samples, seed)
    drawn = first.metric.finish(sums[:, :half]) - second.metric.finish(sums[:, half:])
    observed = first.value - second.value
    extreme = int((np.abs(drawn - drawn.mean()) >= abs(observed) - 1e-12).sum())
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Comparison(
        "paired-bootstrap", observed, (extreme + 1) / (samples + 1), wins, losses, ties, (float(low), float(high)),
        samples, seed,
    )  # fmt: skip


def confidence_interval(score: Score, *, samples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a score.

    Parameters
    ----------
    score : Score
        Any.
    samples, seed : int
        As for `paired_bootstrap`.

    Returns
    -------
    tuple of float
        2.5th and 97.5th percentile of the resampled values.

    Raises
    ------
    ArgumentError
        `samples` is below 1.

    Examples
    --------
    >>> from treeavg import Treebank, score
    >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> confidence_interval(score(gold, gold), samples=10)
    (100.0, 100.0)
    """
    drawn = score.metric.finish(_resampled(score.metric.terms(score.statistics), samples, seed))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _outcomes(first: Score, second: Score) -> tuple[int, int, int]:
    """Return wins, losses and ties of the first system; check that both scores are over the same sentences."""
    mine, theirs = first.statistics, second.statistics
    if not (np.array_equal(mine.sentences, theirs.sentences) and np.array_equal(mine.lengths, theirs.lengths)):
        raise AlignmentError(
            f"second: expected the {len(mine)} sentences of the first score, got {len(theirs)} others. "
            "Score both systems against the same gold trees."
        )
    gap = first.per_sentence - second.per_sentence
    wins, losses = int((gap > 1e-9).sum()), int((gap < -1e-9).sum())
    return wins, losses, len(gap) - wins - losses


def _resampled(terms: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """Return sums of terms (S, C) over drawn sentences: (samples, C)."""
    if not isinstance(samples, int) or samples < 1:
        raise ArgumentError(f"samples: expected a whole number of draws, at least 1, got {quote(samples)}. Try 10000.")
    if not isinstance(seed, int) or seed < 0:
        raise ArgumentError(f"seed: expected a whole number, at least 0, got {quote(seed)}. Try 0.")
    generator = np.random.default_rng(seed)
    size = len(terms)
    sums = np.empty((samples, terms.shape[1]))
    block = max(1, _DRAWN // size)
    for begin in range(0, samples, block):
        count = min(block, samples - begin)
        drawn = generator.integers(0, size, size=(count, size))
        sums[begin : begin + count] = terms[drawn].sum(axis=1)
    return sums
