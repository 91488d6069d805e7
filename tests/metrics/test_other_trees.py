"""Scores of discontinuous and dependency trees."""

from __future__ import annotations

import random
from typing import Any

import naive
import pytest
from hypothesis import given
from hypothesis import strategies as st

import treeavg
from treeavg import ArgumentError, DependencyTreebank, Treebank

THREE = ("corpus-f1", "continuous-f1", "discontinuous-f1")

# name, n, gold, predicted, published values, standard values
CASES = [
    ("E7", 5, [(0, 5), (1, 3), [(0, 1), (4, 5)]], [(0, 5), (1, 3), [(0, 1), (4, 5)]], (100, 100, 100), (100, 100, 100)),
    ("E7 other", 5, [(0, 5), (1, 3), [(0, 1), (4, 5)]], [(1, 3), (1, 4)], (50, 200 / 3, 0), (50, 200 / 3, 0)),
    ("E8", 5, [(0, 5), [(0, 1), (2, 3), (4, 5)], [(1, 2), (3, 4)]], [[(1, 2), (3, 4)]],
     (0, 0, 100), (200 / 3, 100, 200 / 3)),
    ("E9", 4, [(0, 4), (0, 2), (0, 2)], [(2, 4)], (0, 0, 0), (0, 0, 100)),
    ("E9 found", 4, [(0, 4), (0, 2), (0, 2)], [(0, 2)], (100, 100, 0), (100, 100, 100)),
    ("E10", 3, [(0, 3)], [(0, 3)], (0, 0, 0), (100, 100, 100)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("n", "gold", "predicted", "published", "standard"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_exact_cases(n: int, gold: Any, predicted: Any, published: Any, standard: Any) -> None:
    """The cases E7 to E10 of specs/averaging.md, as published and by the default convention."""
    gold, predicted = Treebank.from_constituents([n], [gold]), Treebank.from_constituents([n], [predicted])
    for convention, expected in (("tn-lcfrs", published), ("standard", standard)):
        found = [treeavg.score(gold, predicted, metric=metric, convention=convention).value for metric in THREE]
        assert found == pytest.approx(list(expected)), convention


def test_repeated_gold_constituents_are_missed_each_time() -> None:
    """E9: in the published lists one missed constituent that stands twice is two misses."""
    gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (0, 2)]])
    predicted = Treebank.from_constituents([4], [[(2, 4)]])
    statistics = treeavg.score(gold, predicted, metric="corpus-f1", convention="tn-lcfrs").statistics
    assert (statistics.matched[0], statistics.predicted[0], statistics.gold[0]) == (0, 1, 2)


def test_corpus_of_two() -> None:
    """E11, with a gold tree that is one: counts are pooled."""
    gold = Treebank.from_constituents([5, 4], [[(0, 5), (1, 3), [(0, 1), (4, 5)]], [(0, 4), (0, 2), (2, 4)]])
    predicted = Treebank.from_constituents([5, 4], [[(0, 5), (1, 3), [(0, 1), (4, 5)]], [(2, 4), (1, 4)]])
    values = [treeavg.score(gold, predicted, metric=metric, convention="tn-lcfrs").value for metric in THREE]
    assert values == pytest.approx([75, 200 / 3, 100])


def test_default_metric_and_signature() -> None:
    """Discontinuous trees are scored by corpus F1, continuous ones by sentence F1, dependency trees by UAS."""
    several = Treebank.from_constituents([4], [[(0, 4), [(0, 1), (2, 3)]]])
    one = Treebank.from_constituents([4], [[(0, 4), (0, 2)]])
    heads = DependencyTreebank.from_heads([[2, 0]])
    assert treeavg.score(several, one).metric.name == "corpus-f1"
    assert treeavg.score(one, one).metric.name == "sentence-f1"
    assert str(treeavg.score(heads, heads).signature).startswith("metric:uas|sentences:1|version:")
    assert "counted:lists,gold-fan-out<=2" in str(treeavg.score(several, one, convention="tn-lcfrs").signature)
    with pytest.raises(ArgumentError, match="predicted: expected constituency trees as in gold, got dependency trees"):
        treeavg.score(one, heads)
    with pytest.raises(ArgumentError, match="metric: expected one of 'uas'"):
        treeavg.score(heads, heads, metric="sentence-f1")
    with pytest.raises(ArgumentError, match="metric: expected one of 'sentence-f1'"):
        treeavg.score(one, one, metric="uas")


@given(st.integers(0, 2**32), st.lists(st.integers(2, 7), min_size=1, max_size=5))
def test_discontinuous_scores_are_sets(seed: int, lengths: list[int]) -> None:
    """The default convention counts sets of constituents of any fan-out, the whole sentence left out."""
    generator = random.Random(seed)
    trees = [[naive.random_discontinuous(generator, n, False) for n in lengths] for _ in range(2)]

    def blocks(tokens: frozenset[int]) -> list[tuple[int, int]]:
        starts = [token for token in sorted(tokens) if token - 1 not in tokens]
        return list(zip(starts, [token + 1 for token in sorted(tokens) if token + 1 not in tokens], strict=True))

    gold, predicted = (
        Treebank.from_constituents(lengths, [[blocks(one) for one in tree] for tree in own]) for own in trees
    )
    matched = sum(len(one & other) for one, other in zip(*trees, strict=True))
    total = sum(len(one) for own in trees for one in own)
    expected = 200 * matched / total if total else 100.0
    assert treeavg.score(gold, predicted, metric="corpus-f1").value == pytest.approx(expected)
    both = [treeavg.score(gold, predicted, metric=metric).statistics for metric in THREE]
    assert all((one.matched == both[0].matched).all() for one in both)


@given(st.integers(0, 2**32), st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_dependency_scores(seed: int, lengths: list[int]) -> None:
    """UAS, undirected UAS and span F1 equal the obvious counts."""
    generator = random.Random(seed)
    gold, predicted = ([list(generator.choice(naive.dependency_trees(n, False))) for n in lengths] for _ in range(2))
    banks = [DependencyTreebank.from_heads(own) for own in (gold, predicted)]
    words = sum(lengths)
    right = sum(a == b for one, other in zip(gold, predicted, strict=True) for a, b in zip(one, other, strict=True))
    assert treeavg.score(*banks).value == pytest.approx(100 * right / words)

    def pairs(heads: list[int]) -> set[frozenset[int]]:
        return {frozenset((head, word)) for word, head in enumerate(heads, 1)}

    near = sum(len(pairs(one) & pairs(other)) for one, other in zip(gold, predicted, strict=True))
    assert treeavg.score(*banks, metric="undirected-uas").value == pytest.approx(100 * near / words)
    spans = [[naive.word_spans(heads) for heads in own] for own in (gold, predicted)]
    common = sum(len(one & other) for one, other in zip(*spans, strict=True))
    total = sum(len(one) for own in spans for one in own)
    assert treeavg.score(*banks, metric="span-f1").value == pytest.approx(200 * common / total)


def test_punctuation_relations_and_missing() -> None:
    """Punctuation is told by Unicode; LAS wants both; a missing prediction has every word wrong."""
    words = [["go", "!", "$"]]
    gold = DependencyTreebank.from_heads([[0, 1, 1]], tokens=words, relations=[["root", "punct", "obj"]])
    predicted = DependencyTreebank.from_heads([[0, 3, 1]], tokens=words, relations=[["root", "punct", "obl"]])
    assert treeavg.score(gold, predicted).value == pytest.approx(200 / 3)
    assert treeavg.score(gold, predicted, metric="uas-words").value == 100
    assert treeavg.score(gold, predicted, metric="las").value == pytest.approx(100 / 3)
    with pytest.raises(ArgumentError, match="gold: expected words, to tell punctuation"):
        treeavg.score(gold.replace(tokens=None), predicted, metric="uas-words")
    with pytest.raises(ArgumentError, match="predicted: expected relations"):
        treeavg.score(gold, predicted.replace(relations=None), metric="las")
    two = DependencyTreebank.from_heads([[2, 0], [2, 0]])
    half = DependencyTreebank.from_heads([[2, 0], []])
    for metric in ("uas", "span-f1", "undirected-uas"):
        score = treeavg.score(two, half, metric=metric, on_error="skip")
        assert score.value == 50
        assert "|missing:1|" in str(score.signature)


def test_labels_of_discontinuous_gold() -> None:
    """Recall by label counts constituents of any fan-out."""
    gold = Treebank.from_constituents([4], [[(0, 4), [(0, 1), (2, 3)], (1, 2)]], labels=[["S", "VP", "NP"]])
    rows = treeavg.label_recall(gold, Treebank.from_constituents([4], [[[(0, 1), (2, 3)]]]))
    assert [(row.label, row.matched, row.gold) for row in rows] == [("VP", 1, 1)]


def test_tests_and_agreement_work_for_all() -> None:
    """Significance and agreement need no more than a score."""
    gold = DependencyTreebank.from_heads([[2, 0, 2], [0, 1]] * 20)
    other = DependencyTreebank.from_heads([[2, 0, 2], [2, 0]] * 20)
    first, second = treeavg.score(gold, gold), treeavg.score(gold, other)
    assert treeavg.sign_test(first, second).wins == 20
    assert treeavg.paired_bootstrap(first, second, samples=100).p_value < 0.05
    assert treeavg.agreement([gold, other]).values[0, 1] == pytest.approx(60)


def test_published_scores(shared_data: Any) -> None:
    """The tables of specs/averaging.md 6.2 and 6.3, to the digits given."""
    folder = shared_data / "lassy"
    runs = [treeavg.read(folder / "runs" / f"run0{run}.test.jsonl") for run in range(1, 6)]
    gold = treeavg.read(folder / "gold.test.jsonl")

    def row(tree: Treebank) -> str:
        values = (treeavg.score(gold, tree, metric=metric, convention="tn-lcfrs").value for metric in THREE)
        return "/".join(f"{value:.2f}" for value in values)

    assert [row(run) for run in runs] == [
        "47.67/51.68/7.68", "36.38/40.91/3.37", "48.23/52.36/5.82", "44.03/50.25/7.21", "48.00/52.05/8.62",
    ]  # fmt: skip
    best = {"binary": False, "objective": "f1"}
    assert row(treeavg.average(runs, **best)) == "51.03/54.73/9.63"
    assert row(treeavg.average(runs[:3], **best)) == "50.67/53.96/9.04"
    assert row(treeavg.average(runs, beta=0.25, **best)) == "37.56/39.97/2.52"
    assert row(treeavg.average(runs, beta=0.5, **best)) == "50.08/53.73/9.07"
    folder = shared_data / "wsj-dependency"
    names = ("ndmv", "nedmv", "sibndmv", "lndmv", "crfae", "siblndmv")
    heads = [treeavg.read(folder / "teachers" / f"{name}.test.heads") for name in names]
    gold_heads = treeavg.read(folder / "gold.test.heads")

    def pair(tree: DependencyTreebank) -> str:
        return "/".join(f"{treeavg.score(gold_heads, tree, metric=metric).value:.2f}" for metric in ("uas", "span-f1"))

    assert [pair(one) for one in heads] == [
        "48.96/52.82", "52.31/54.06", "64.35/65.41", "62.65/63.79", "55.76/52.46", "67.81/68.57",
    ]  # fmt: skip
    assert pair(treeavg.average(heads)) == "68.39/66.15"
    assert pair(treeavg.average(heads, objective="f1")) == "63.68/68.41"
    dev = [treeavg.read(folder / "teachers" / f"{name}.dev.heads") for name in names]
    gold_dev = treeavg.read(folder / "gold.dev.heads")
    assert [f"{treeavg.score(gold_dev, one).value:.2f}" for one in [*dev, treeavg.average(dev)]] == [
        "62.90", "64.97", "74.73", "76.28", "68.15", "78.19", "78.53",
    ]  # fmt: skip
