"""Tests of significance against exact sums and known distributions."""

from __future__ import annotations

import math
import random

import naive
import pytest
from strategies import banks

import treeavg
from treeavg import AlignmentError, ArgumentError, Score


def scores(seed: int = 0, sentences: int = 60, metric: str = "sentence-f1") -> tuple[Score, Score]:
    generator = random.Random(seed)
    lengths = [generator.randrange(3, 15) for _ in range(sentences)]
    gold, better, worse = banks(lengths, [[naive.random_tree(generator, n) for n in lengths] for _ in range(3)])
    mixed = treeavg.Treebank.concatenate([gold[: sentences // 2], better[sentences // 2 :]])
    return treeavg.score(gold, mixed, metric=metric), treeavg.score(gold, worse, metric=metric)


def test_sign_test_is_the_exact_binomial() -> None:
    """Equal to the sum of binomial coefficients in whole numbers."""
    for seed in range(5):
        first, second = scores(seed, sentences=30)
        result = treeavg.sign_test(first, second)
        decided = result.wins + result.losses
        tail = sum(math.comb(decided, k) for k in range(min(result.wins, result.losses) + 1))
        assert result.p_value == pytest.approx(min(1.0, 2 * tail / 2**decided), rel=1e-9)
        assert result.wins + result.losses + result.ties == 30
        assert treeavg.sign_test(second, first).p_value == result.p_value


@pytest.mark.parametrize("metric", ["sentence-f1", "corpus-f1", "precision", "recall", "continuous-f1"])
def test_bootstrap(metric: str) -> None:
    """A real difference is found, its interval holds it; a seed gives the same numbers again; no difference gives 1."""
    first, second = scores(metric=metric)
    result = treeavg.paired_bootstrap(first, second, samples=500, seed=4)
    assert result.p_value < 0.05
    assert result.interval is not None
    assert result.interval[0] < result.difference < result.interval[1]
    assert result == treeavg.paired_bootstrap(first, second, samples=500, seed=4)
    assert treeavg.paired_bootstrap(first, first, samples=50).p_value == 1.0
    low, high = treeavg.confidence_interval(first, samples=500)
    assert low < first.value < high


def test_bootstrap_is_calibrated() -> None:
    """Between two systems of equal quality a p-value below 0.1 is about as rare as it should be."""
    low = 0
    for seed in range(60):
        generator = random.Random(1000 + seed)
        lengths = [generator.randrange(4, 10) for _ in range(40)]
        gold, one, two = banks(lengths, [[naive.random_tree(generator, n) for n in lengths] for _ in range(3)])
        result = treeavg.paired_bootstrap(treeavg.score(gold, one), treeavg.score(gold, two), samples=200, seed=seed)
        low += result.p_value < 0.1
    assert low <= 14  # binomial(60, 0.1) exceeds this once in 1,000 times


def test_scores_that_cannot_be_compared() -> None:
    """Other sentences, other metrics, no draws."""
    first, second = scores()
    other, _ = scores(sentences=20)
    with pytest.raises(AlignmentError, match="second: expected the 60 sentences of the first score, got 20"):
        treeavg.sign_test(first, other)
    with pytest.raises(AlignmentError, match="expected the metric 'sentence-f1'"):
        treeavg.paired_bootstrap(first, scores(metric="recall")[1])
    with pytest.raises(ArgumentError, match="samples: expected a whole number of draws"):
        treeavg.paired_bootstrap(first, second, samples=0)
