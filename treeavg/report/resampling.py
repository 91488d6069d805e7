"""Intervals and tests of many scores from the same draws of sentences: the numbers of `treeavg.metrics`, sooner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treeavg.metrics import Score

#: Draws that are held at a time; the same as in `treeavg.metrics.significance`, so that the draws are the same.
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Resampled:
    """Values of scores over drawn sentences.

    Parameters
    ----------
    values : ndarray of float64, shape (systems, samples)
        Between 0 and 100.
    observed : ndarray of float64, shape (systems,)
        The scores themselves.
    """

    values: NDArray[np.float64]
    observed: NDArray[np.float64]

    def interval(self, system: int) -> tuple[float, float]:
        """Return the 95 % interval of a score."""
        low, high = np.percentile(self.values[system], [2.5, 97.5])
        return float(low), float(high)

    def against(self, system: int, other: int) -> tuple[float, float, float]:
        """Return the 95 % interval of a difference of scores, and its two-sided p-value."""
        drawn = self.values[system] - self.values[other]
        gap = abs(float(self.observed[system] - self.observed[other]))
        extreme = int((np.abs(drawn - drawn.mean()) >= gap - 1e-12).sum())
        low, high = np.percentile(drawn, [2.5, 97.5])
        return float(low), float(high), (extreme + 1) / (len(drawn) + 1)


def resample(scores: Sequence[Score], *, samples: int, seed: int) -> Resampled:
    """Draw sentences with replacement, once for all scores.

    Parameters
    ----------
    scores : sequence of Score, length S >= 1
        Of several systems over the same sentences, with one metric.
    samples : int
        Draws.
    seed : int
        Of NumPy's generator.

    Returns
    -------
    Resampled
        The draws are those of `confidence_interval` and `paired_bootstrap` with the same seed, and so are the values,
        up to rounding: a draw is a vector of how often each sentence came, and sums are a product of matrices.
    """
    terms = np.concatenate([score.metric.terms(score.statistics) for score in scores], axis=1)
    size, width = terms.shape[0], terms.shape[1] // len(scores)
    generator = np.random.default_rng(seed)
    sums = np.empty((samples, terms.shape[1]))
    for begin in range(0, samples, _BLOCK):
        count = min(_BLOCK, samples - begin)
        drawn = generator.integers(0, size, size=(count, size))
        drawn += np.arange(count)[:, None] * size
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        sums[begin : begin + count] = times.astype(np.float64) @ terms
    finish = scores[0].metric.finish
    values = [finish(sums[:, place * width : (place + 1) * width]) for place in range(len(scores))]
    return Resampled(np.stack(values), np.array([score.value for score in scores]))
