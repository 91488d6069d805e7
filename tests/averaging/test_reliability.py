"""Weights without gold: planted reliabilities, symmetries, copies, few teachers."""

from __future__ import annotations

import random
from pathlib import Path

import naive
import numpy as np
import pytest

import treeavg
from treeavg import AlignmentError, ArgumentError, DependencyTreebank, Treebank
from treeavg.averaging.reliability import FEWEST, agreement_weights, consensus_agreements


def simulated_heads(seed: int, reliabilities: list[float], sentences: int = 200) -> list[DependencyTreebank]:
    """Teachers that keep the true tree of a sentence with these probabilities, else draw any tree."""
    generator = random.Random(seed)
    trees = naive.dependency_trees(5, True)
    truth = [list(generator.choice(trees)) for _ in range(sentences)]
    return [
        DependencyTreebank.from_heads(
            [own if generator.random() < reliability else list(generator.choice(trees)) for own in truth]
        )
        for reliability in reliabilities
    ]


def simulated_spans(seed: int, reliabilities: list[float], sentences: int = 200) -> list[Treebank]:
    generator = random.Random(seed)
    truth = [naive.random_tree(generator, 7) for _ in range(sentences)]
    return [
        Treebank.from_constituents(
            [7] * sentences,
            [own if generator.random() < reliability else naive.random_tree(generator, 7) for own in truth],
        )
        for reliability in reliabilities
    ]


PLANTED = [0.9, 0.3, 0.92, 0.9, 0.25, 0.88]
EXPECTED = [1.0, 0.5, 1.0, 1.0, 0.5, 1.0]


@pytest.mark.parametrize("simulate", [simulated_heads, simulated_spans])
@pytest.mark.parametrize("seed", range(3))
def test_planted_reliabilities_are_found(simulate: object, seed: int) -> None:
    """Independent teachers: the bad ones get less, and agreements stand in the order of the reliabilities."""
    teachers = simulate(seed, PLANTED)  # type: ignore[operator]
    assert agreement_weights(teachers) == EXPECTED
    spread = simulate(seed, [0.9, 0.2, 0.7, 0.5, 0.35])  # type: ignore[operator]
    agreed = consensus_agreements(spread, spread[0].lengths, {})
    assert np.argsort(-agreed).tolist() == [0, 2, 3, 4, 1]


@pytest.mark.parametrize("simulate", [simulated_heads, simulated_spans])
def test_order_of_teachers(simulate: object) -> None:
    """Weights move with the teachers."""
    teachers = simulate(7, PLANTED)  # type: ignore[operator]
    weights = agreement_weights(teachers)
    for order in ([5, 4, 3, 2, 1, 0], [2, 0, 5, 1, 4, 3]):
        assert agreement_weights([teachers[index] for index in order]) == [weights[index] for index in order]


def test_better_than_equal_weights_where_teachers_are_independent() -> None:
    """The average under these weights is nearer to the truth."""
    reliabilities = [0.75, 0.3, 0.75, 0.3, 0.75, 0.3, 0.3]
    gains = []
    for seed in range(5):
        truth, *teachers = simulated_heads(seed, [1.0, *reliabilities])
        scores = [
            (treeavg.average(teachers, weights=weights).heads == truth.heads).mean()
            for weights in (None, agreement_weights(teachers))
        ]
        gains.append(scores[1] - scores[0])
    assert np.mean(gains) > 0


def test_copies_do_not_blow_up() -> None:
    """Any number of copies of one teacher: finite weights, two levels, equal ones equal."""
    good, bad = simulated_heads(3, [0.8, 0.2])
    assert agreement_weights([good] * 8) == [1.0] * 8
    assert agreement_weights([bad] * 5) == [1.0] * 5
    weights = agreement_weights([good] * 4 + [bad] * 3)
    assert weights == [1.0] * 4 + [0.5] * 3
    # A majority of copies is taken for the truth: nothing without gold can tell.
    assert agreement_weights([bad] * 4 + [good]) == [1.0] * 4 + [0.5]


def test_few_teachers() -> None:
    """Fewer than five teachers weigh the same, whatever they say."""
    teachers = simulated_heads(4, [0.9, 0.1, 0.5, 0.2])
    for count in range(1, FEWEST):
        assert agreement_weights(teachers[:count]) == [1.0] * count


def test_complete_disagreement() -> None:
    """No two teachers share anything: all agreements are 0, all weights equal."""
    trees = [[(0, 2)], [(1, 3)], [(2, 4)], [(0, 3)], [(1, 4)]]
    teachers = [Treebank.from_constituents([4], [spans]) for spans in trees]
    assert agreement_weights(teachers, average_options={"binary": False}) == [1.0] * 5


def test_options_and_missing_sentences() -> None:
    """Discontinuous trees under the objective of their average; a sentence that one lacks is left out."""
    generator = random.Random(2)
    truth = [naive.random_discontinuous(generator, 6) for _ in range(80)]

    def bank(reliability: float) -> Treebank:
        trees = [own if generator.random() < reliability else naive.random_discontinuous(generator, 6) for own in truth]
        return Treebank.from_constituents(
            [6] * len(trees), [[[(token, token + 1) for token in sorted(one)] for one in tree] for tree in trees]
        )

    teachers = [bank(reliability) for reliability in (0.9, 0.9, 0.2, 0.9, 0.9)]
    chosen = {"binary": False, "objective": "f1"}
    expected = [1.0, 1.0, 0.5, 1.0, 1.0]
    assert agreement_weights(teachers, average_options=chosen) == expected
    lacking = Treebank.concatenate([Treebank.from_constituents([0], [[]]), teachers[0][1:]])
    with pytest.raises(AlignmentError, match=r"teachers\[0\]\[0\]: expected a tree, got a missing sentence"):
        agreement_weights([lacking, *teachers[1:]], average_options=chosen)
    assert agreement_weights([lacking, *teachers[1:]], average_options=chosen, on_error="skip") == expected


def test_messages() -> None:
    """Bad arguments are named."""
    teachers = simulated_heads(0, [1.0, 1.0], sentences=2)
    with pytest.raises(ArgumentError, match=r"average_options: expected one of 'method', .* got 'weights'"):
        agreement_weights(teachers, average_options={"weights": [1, 1]})
    with pytest.raises(ArgumentError, match=r"teachers: expected at least one treebank"):
        agreement_weights([])


@pytest.mark.compiled
def test_published_teachers(shared_data: Path) -> None:
    """Six dependency parsers on the test fold: above the average of equal weights, which is the published one."""
    folder = shared_data / "wsj-dependency"

    def read(path: Path) -> DependencyTreebank:
        lines = path.read_text(encoding="utf-8").splitlines()
        return DependencyTreebank.from_heads([[int(head) for head in line.split()[1:]] for line in lines])

    teachers = [read(path) for path in sorted((folder / "teachers").glob("*.test.heads"))]
    gold = read(folder / "gold.test.heads")
    weights = agreement_weights(teachers)
    assert set(weights) == {0.5, 1.0}
    scores = [
        100 * (treeavg.average(teachers, weights=chosen).heads == gold.heads).mean() for chosen in (None, weights)
    ]
    assert [round(float(score), 2) for score in scores] == [68.39, 69.06]
