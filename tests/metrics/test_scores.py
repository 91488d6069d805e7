"""Scores against the slow twin, the exact cases and frozen numbers."""

from __future__ import annotations

import math
import random

import naive
import numpy as np
import pytest
from hypothesis import given
from strategies import Spans, banks, ensembles

import treeavg
from treeavg import AlignmentError, ArgumentError, Treebank

KIM = {"convention": "kim2019"}
FOUR = ("sentence-f1", "corpus-f1", "precision", "recall")


def one(n: int, spans: Spans) -> Treebank:
    return Treebank.from_constituents([n], [spans])


CASES = [
    # name, n, gold, predicted, kim2019, standard
    ("E1", 2, [(0, 2)], [(0, 2)], 99.9999995, 100.0),
    ("E2", 3, [(0, 3)], [(0, 3), (1, 3)], 0.0, 0.0),
    ("E3", 2, [(0, 2), (0, 2)], [(0, 2)], 0.0, 100.0),
    ("E3 itself", 2, [(0, 2), (0, 2)], [(0, 2), (0, 2)], 99.9999985, 100.0),
    ("E4", 4, [(0, 4), (0, 2)], [(0, 4), (0, 2), (2, 4)], 66.6666658, 200 / 3),
    ("E5", 3, [(0, 3), (0, 3), (0, 2)], [(0, 3), (0, 2)], 66.6666658, 100.0),
    ("nothing predicted", 3, [(0, 3), (0, 2)], [(0, 3)], 0.0, 0.0),
]


@pytest.mark.parametrize(
    ("n", "gold", "predicted", "kim", "standard"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_exact_cases(n: int, gold: Spans, predicted: Spans, kim: float, standard: float) -> None:
    """The cases E1 to E5 of specs/averaging.md, in both conventions."""
    assert treeavg.score(one(n, gold), one(n, predicted), **KIM).value == pytest.approx(kim, abs=1e-7)
    assert treeavg.score(one(n, gold), one(n, predicted)).value == pytest.approx(standard, abs=1e-12)


@given(ensembles(longest=12, teachers=2, sentences=6))
def test_agrees_with_the_slow_twin(ensemble: tuple[list[int], list[list[Spans]]]) -> None:
    """Counts of each sentence, and all metrics, equal the twin's."""
    lengths, trees = ensemble
    gold_spans, predicted_spans = trees[0], trees[-1]
    gold, predicted = banks(lengths, [gold_spans, predicted_spans])
    if max(lengths) < 2:
        with pytest.raises(ArgumentError, match="expected a sentence of two tokens or more"):
            treeavg.score(gold, predicted)
        return
    for convention, second in (("standard", False), ("kim2019", True)):
        score = treeavg.score(gold, predicted, convention=convention)
        expected = [
            naive.match_constituents(n, mine, theirs, second)
            for n, mine, theirs in zip(lengths, gold_spans, predicted_spans, strict=True)
            if n >= 2
        ]
        statistics = score.statistics
        found = zip(statistics.matched, statistics.predicted, statistics.gold, strict=True)
        assert [tuple(map(int, row)) for row in found] == expected
        matched, found_all, wanted = (sum(column) for column in zip(*expected, strict=True))
        corpus = treeavg.score(gold, predicted, convention=convention, metric="corpus-f1").value
        assert corpus == pytest.approx(200 * matched / (found_all + wanted) if found_all + wanted else 100.0)
        if found_all:
            precision = treeavg.score(gold, predicted, convention=convention, metric="precision").value
            assert precision == pytest.approx(100 * matched / found_all)
        if wanted:
            recall = treeavg.score(gold, predicted, convention=convention, metric="recall").value
            assert recall == pytest.approx(100 * matched / wanted)
    kim = [naive.kim_f1(n, a, b) for n, a, b in zip(lengths, gold_spans, predicted_spans, strict=True) if n >= 2]
    assert treeavg.score(gold, predicted, **KIM).value == pytest.approx(100 * sum(kim) / len(kim), abs=1e-9)


def test_golden_scores() -> None:
    """Frozen values of one seeded ensemble, so that a change of any convention is seen."""
    generator = random.Random(11)
    lengths = [generator.randrange(2, 25) for _ in range(50)]
    gold, predicted = banks(
        lengths, [[naive.random_tree(generator, n, kind) for n in lengths] for kind in (False, True)]
    )
    values = [treeavg.score(gold, predicted, metric=metric, **KIM).value for metric in FOUR]
    assert [round(value, 4) for value in values] == GOLDEN


GOLDEN = [22.7403, 16.501, 14.3103, 19.4836]  # computed once by the slow twin


def test_signature_names_every_convention() -> None:
    """It tells metric, root, lengths, sentences and version."""
    signature = str(treeavg.score(one(4, [(0, 4)]), one(4, [(0, 4)]), **KIM).signature)
    assert signature.startswith(
        "metric:sentence-f1|convention:kim2019|root:one-copy-removed|length:2-150|empty:1|sentences:1"
    )
    assert signature.endswith(f"version:{treeavg.__version__}")


def test_long_and_short_sentences() -> None:
    """One token is never scored; more than 150 tokens not under kim2019."""
    gold = treeavg.branching(Treebank.from_constituents([1, 2, 150, 151], [[], [], [], []]))
    assert len(treeavg.score(gold, gold).statistics) == 3
    assert len(treeavg.score(gold, gold, **KIM).statistics) == 2


def test_missing_predictions_score_zero() -> None:
    """They raise by default; under skip they count as 0, also where nothing was to be found; the signature says so."""
    gold = Treebank.from_constituents([2, 3, 3], [[(0, 2)], [(0, 3), (0, 2)], [(0, 3), (0, 2)]])
    predicted = Treebank.from_constituents([0, 3, 4], [[], [(0, 3), (0, 2)], [(0, 4)]])
    with pytest.raises(AlignmentError, match=r"predicted\[0\]: expected a tree, got a missing sentence"):
        treeavg.score(gold, predicted)
    score = treeavg.score(gold, predicted, on_error="skip")
    assert score.value == pytest.approx(100 / 3)
    assert "|missing:2|" in str(score.signature)
    assert treeavg.score(gold, predicted, on_error="skip", metric="recall").value == pytest.approx(50)
    without = treeavg.score(predicted, gold, on_error="skip")  # the gold side lacks a sentence: it cannot be scored
    assert "|gold-missing:1|" in str(without.signature)


def test_by_length() -> None:
    """Classes are closed above, empty ones left out, and together hold all sentences."""
    gold = treeavg.branching(Treebank.from_constituents([5, 10, 11, 41], [[]] * 4))
    rows = treeavg.score(gold, gold).by_length()
    assert rows == [("1-10", 2, 100.0), ("11-20", 1, 100.0), ("41+", 1, 100.0)]
    with pytest.raises(ArgumentError, match="classes: expected increasing whole numbers"):
        treeavg.score(gold, gold).by_length([20, 10])


def test_label_recall() -> None:
    """Function tags and WH are cut, chains count once a label, the whole sentence is left out with all its labels."""
    spans = [(0, 5), (0, 5), (0, 2), (0, 2), (0, 2), (2, 5), (3, 5)]
    labels = ["ROOT", "S", "NP-SBJ=1", "NP", "QP", "VP", "WHNP-2"]
    gold = Treebank.from_constituents([5], [spans], labels=[labels])
    rows = treeavg.label_recall(gold, one(5, [(0, 5), (0, 2)]))
    assert [(row.label, row.matched, row.gold) for row in rows] == [("NP", 1, 2), ("QP", 1, 1), ("VP", 0, 1)]
    with pytest.raises(ArgumentError, match="gold: expected labels"):
        treeavg.label_recall(one(5, spans), gold)


def test_agreement() -> None:
    """Square, 100 on the diagonal, symmetric in the standard convention; means leave the teacher itself out."""
    generator = random.Random(3)
    lengths = [generator.randrange(2, 20) for _ in range(20)]
    teachers = banks(lengths, [[naive.random_tree(generator, n) for n in lengths] for _ in range(4)])
    table = treeavg.agreement(teachers, names=list("abcd"))
    assert np.allclose(table.values, table.values.T)
    assert np.allclose(table.values.diagonal(), 100)
    assert table.values[1, 2] == treeavg.score(teachers[1], teachers[2]).value
    assert table.means[0] == pytest.approx(table.values[0, 1:].mean())
    assert math.isnan(treeavg.agreement(teachers[:1]).means[0])
    with pytest.raises(ArgumentError, match="names: expected 4, one per teacher, got 1"):
        treeavg.agreement(teachers, names=["a"])
    with pytest.raises(ArgumentError, match="at least one treebank"):
        treeavg.agreement([])


@pytest.mark.parametrize(("option", "value"), [("metric", "f1"), ("convention", "kim"), ("on_error", "drop")])
def test_unknown_options(option: str, value: str) -> None:
    """An unknown value lists the known ones."""
    with pytest.raises(ArgumentError, match=f"{option}: expected one of '"):
        treeavg.score(one(2, []), one(2, []), **{option: value})
