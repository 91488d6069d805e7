"""Choosing teachers: twins of every measure, published figures, searches against enumeration, the verb."""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import treeavg
from treeavg import AlignmentError, ArgumentError, DependencyTreebank, LimitError, Treebank
from treeavg.averaging import answers, selection
from treeavg.averaging.answers import MEASURES
from treeavg.averaging.selection import CRITERIA, SEARCHES, diversity, select_teachers
from treeavg.cli import options
from treeavg.cli import select_teachers as choose

PUBLISHED_ORDER = "siblndmv sibndmv lndmv crfae nedmv ndmv".split()


def heads(*sentences: list[int]) -> DependencyTreebank:
    return DependencyTreebank.from_heads(list(sentences))


def spans(*trees: list[tuple[int, int]], n: int = 4) -> Treebank:
    return Treebank.from_constituents([n] * len(trees), list(trees))


def read_heads(path: Path) -> DependencyTreebank:
    lines = path.read_text(encoding="utf-8").splitlines()
    return DependencyTreebank.from_heads([[int(head) for head in line.split()[1:]] for line in lines])


# ------------------------------------------------------------------ twins, item by item


def society_entropy(answers: list[list[Any]], weights: list[float]) -> float:
    total = 0.0
    for item in zip(*answers, strict=True):
        shares: Counter[Any] = Counter()
        for answer, weight in zip(item, weights, strict=True):
            shares[answer] += weight / sum(weights)  # type: ignore[assignment]
        total -= sum(share * math.log(share) for share in shares.values() if share)
    return total / len(answers[0])


def disagreement(answers: list[list[Any]], weights: list[float], classes: int, published: bool) -> float:
    above = below = 0.0
    for one, two in combinations(range(len(answers)), 2):
        different = sum(a != b for a, b in zip(answers[one], answers[two], strict=True)) / len(answers[0])
        above += weights[one] * weights[two] * different
        below += weights[one] * weights[two]
    return 2 * 2 * above / classes if published else above / below if below else 0.0


def right_or_wrong(right: list[list[bool]], weights: list[float], published: bool) -> dict[str, float]:
    items, whole = len(right[0]), sum(weights)
    good = [sum(w for w, own in zip(weights, item, strict=True) if own) for item in zip(*right, strict=True)]
    products = sum(own * (whole - own) for own in good)
    minorities = sum(min(own, whole - own) for own in good)
    even = max(
        min(sum(side), whole - sum(side)) for size in range(len(weights) + 1) for side in combinations(weights, size)
    )
    power = 2 if published else 1
    p = sum(w**power * sum(own) for w, own in zip(weights, right, strict=True)) / (items * whole)
    pairs = whole * (whole - 1) if published else whole**2 - sum(w * w for w in weights)
    half = math.ceil(whole / 2) if published else even
    nothing = math.nan if published else 0.0
    return {
        "kw-variance": products / (items * whole**2),
        "fleiss-kappa": products / (items * pairs * p * (1 - p)) if pairs * p * (1 - p) else nothing,
        "kuncheva": minorities / (items * half) if half else nothing,
        "pcdm": sum(whole <= 10 * own <= 9 * whole for own in good) / items,
    }


def expected(
    teachers: list[list[Any]], gold: list[Any], weights: list[float], classes: int, published: bool
) -> dict[str, float]:
    right = [[a == b for a, b in zip(own, gold, strict=True)] for own in teachers]
    return {
        "society-entropy": society_entropy(teachers, weights),
        "disagreement": disagreement(teachers, weights, classes, published),
        **right_or_wrong(right, weights, published),
    }


@st.composite
def dependency_pools(draw: st.DrawFn) -> tuple[list[DependencyTreebank], DependencyTreebank, list[int]]:
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    trees = [st.sampled_from([list(tree) for tree in naive.dependency_trees(n, False)]) for n in lengths]
    count = draw(st.integers(1, 6))
    drawn = [heads(*(draw(tree) for tree in trees)) for _ in range(count + 1)]
    weights = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(any))
    return drawn[1:], drawn[0], weights


@given(dependency_pools(), st.booleans())
def test_measures_of_heads_against_twins(
    pool: tuple[list[DependencyTreebank], DependencyTreebank, list[int]], published: bool
) -> None:
    """All six measures, with weights, by both sets of formulas."""
    teachers, gold, weights = pool
    divisor = math.gcd(*weights)
    twins = expected(
        [bank.heads.tolist() for bank in teachers],
        gold.heads.tolist(),
        [weight / divisor for weight in weights],
        1 + max(int(bank.heads.max()) for bank in teachers),
        published,
    )
    for criterion in MEASURES:
        found = diversity(teachers, criterion, gold=gold, weights=weights, published=published)
        assert found == pytest.approx(twins[criterion], abs=1e-12, nan_ok=True), criterion


@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans())
def test_measures_of_constituents_against_twins(seed: int, count: int, published: bool) -> None:
    """Items are the constituents, of any fan-out, that a teacher or the gold tree has; the answer is held or not."""
    generator = random.Random(seed)
    lengths = [generator.randint(1, 6) for _ in range(3)]
    trees = [[naive.random_discontinuous(generator, n, binary=False) for n in lengths] for _ in range(count + 1)]
    banks = [
        Treebank.from_constituents(lengths, [[blocks_of(one) for one in tree if len(one) > 1] for tree in own])
        for own in trees
    ]
    held = [
        {(place, one) for place, tree in enumerate(own) for one in tree if 1 < len(one) < lengths[place]}
        for own in trees
    ]
    items = sorted(set().union(*held), key=lambda item: (item[0], sorted(item[1])))
    if not items:
        assert diversity(banks[1:], "kuncheva", gold=banks[0], published=published) == 0
        return
    answers = [[item in own for item in items] for own in held]
    twins = expected(answers[1:], answers[0], [1.0] * count, 2, published)
    for criterion in MEASURES:
        found = diversity(banks[1:], criterion, gold=banks[0], published=published)
        assert found == pytest.approx(twins[criterion], abs=1e-12, nan_ok=True), criterion


def blocks_of(tokens: frozenset[int]) -> list[tuple[int, int]]:
    starts = [token for token in sorted(tokens) if token - 1 not in tokens]
    ends = [token + 1 for token in sorted(tokens) if token + 1 not in tokens]
    return list(zip(starts, ends, strict=True))


# ------------------------------------------------------------------ published figures and exact cases

LN2, LN3 = math.log(2), math.log(3)
NAN = math.nan


@pytest.mark.parametrize(
    ("teachers", "weights", "gold", "figures"),
    [
        ([[2, 0], [0, 1]], None, [2, 0], (LN2, 4 / 3, 0.25, 2, 1, 1)),
        ([[2, 0], [2, 0], [0, 1]], None, [2, 0], (LN3 - 2 / 3 * LN2, 8 / 3, 2 / 9, 1.5, 0.5, 1)),
        ([[2, 0], [2, 0]], None, [2, 0], (0, 0, 0, NAN, 0, 0)),
        ([[2, 0], [2, 0]], None, [0, 1], (0, 0, 0, NAN, 0, 0)),
        ([[2, 0], [0, 1]], [1, 3], [2, 0], (0.562335, 4, 0.1875, 4 / 3, 0.5, 1)),
        ([[2, 0], [0, 1]], [1, 3], [0, 1], (0.562335, 4, 0.1875, -0.088889, 0.5, 1)),
        ([[2, 0, 2], [0, 1, 1], [3, 3, 0]], None, [2, 0, 2], (LN3, 3, 2 / 9, 1.5, 0.5, 1)),
        ([[2, 0, 2], [2, 0, 2]], None, [2, 3, 0], (0, 0, 0, 0, 0, 0)),
    ],
    ids=["S1", "S2", "S3 right", "S3 wrong", "S4", "S4 other gold", "S5", "equal, partly right"],
)
def test_small_published_cases(
    teachers: list[list[int]], weights: list[int] | None, gold: list[int], figures: tuple[float, ...]
) -> None:
    """The published formulas, their faults included."""
    banks = [heads(own) for own in teachers]
    for criterion, figure in zip(MEASURES, figures, strict=True):
        found = diversity(banks, criterion, gold=heads(gold), weights=weights, published=True)
        assert found == pytest.approx(figure, abs=1e-6, nan_ok=True), criterion


def test_corrected_definitions() -> None:
    """Where the published formulas are at fault: disagreement is a rate, kappa a number, Kuncheva reaches 1."""
    three = [heads([2, 0]), heads([2, 0]), heads([0, 1])]
    gold = heads([2, 0])
    assert diversity(three, "disagreement") == pytest.approx(2 / 3)
    assert diversity(three, "kuncheva", gold=gold) == 1
    assert diversity(three[:2], "fleiss-kappa", gold=gold) == 0
    assert diversity(three[1:], "fleiss-kappa", gold=gold, weights=[1, 3]) == pytest.approx(
        diversity(three[1:], "fleiss-kappa", gold=heads([0, 1]), weights=[3, 1])
    )
    for criterion in MEASURES:  # nothing changes if all weights do
        ours = [diversity(three, criterion, gold=gold, weights=weights) for weights in ([1, 2, 2], [0.7, 1.4, 1.4])]
        assert ours[0] == pytest.approx(ours[1])


def test_most_even_split() -> None:
    """Exact up to twelve teachers; beyond, half the weight."""
    generator = np.random.default_rng(1)
    for size in (1, 2, 3, 7):
        weights = generator.integers(0, 20, (5, size))
        for row, found in zip(weights.tolist(), answers._largest_minority(weights).tolist(), strict=True):
            sides = [sum(side) for count in range(size + 1) for side in combinations(row, count)]
            assert found == max(min(side, sum(row) - side) for side in sides)
    assert answers._largest_minority(np.ones((1, 15), np.int64)).tolist() == [7]


@pytest.mark.parametrize(
    ("names", "figures"),
    [
        (PUBLISHED_ORDER, (0.39374, 1.61716, 0.09750, 0.56675, 0.30641, 0.48932)),
        (["siblndmv", "sibndmv"], (0.09319, 0.04889, 0.02770, 0.30775, 0.11079, 0.11079)),
        (["siblndmv", "crfae"], (0.15999, 0.08393, 0.04703, 0.47909, 0.18811, 0.18811)),
        (["siblndmv", "sibndmv", "lndmv"], (0.16560, 0.18675, 0.04629, 0.38510, 0.10415, 0.20831)),
    ],
)
def test_published_figures(shared_data: Path, names: list[str], figures: tuple[float, ...]) -> None:
    """Diversity of the published teachers on the development fold, to five digits."""
    folder = shared_data / "wsj-dependency"
    teachers = [read_heads(folder / "teachers" / f"{name}.dev.heads") for name in names]
    gold = read_heads(folder / "gold.dev.heads")
    found = [diversity(teachers, criterion, gold=gold, published=True) for criterion in MEASURES]
    assert found == pytest.approx(figures, abs=5.1e-6)
    corrected = dict(zip(MEASURES, [diversity(teachers, one, gold=gold) for one in MEASURES], strict=True))
    assert corrected["society-entropy"] == found[0]
    assert corrected["fleiss-kappa"] == pytest.approx(found[3])
    assert corrected["kuncheva"] == pytest.approx(found[4] * (2 if len(names) == 3 else 1))
    pairs = len(names) * (len(names) - 1) / 2
    assert corrected["disagreement"] == pytest.approx(found[1] * 11 / (4 * pairs))  # 10 is the largest head given


def test_published_selection(shared_data: Path) -> None:
    """Accuracies are the published UAS; the average of six has the published UAS."""
    folder = shared_data / "wsj-dependency"
    teachers = [read_heads(folder / "teachers" / f"{name}.dev.heads") for name in PUBLISHED_ORDER]
    gold = read_heads(folder / "gold.dev.heads")
    steps = [select_teachers([teacher], k=1, gold=gold).accuracy for teacher in teachers]
    assert [round(100 * step, 2) for step in steps] == [78.19, 74.73, 76.28, 68.15, 64.97, 62.90]
    six = select_teachers(teachers, k=6, criterion="validation", gold=gold)
    assert round(100 * six.value, 2) == 78.53
    assert six.diversity is None
    chosen = select_teachers(teachers, k=3, gold=gold, alpha=0.4, search="combination")
    assert chosen.indices == (0, 2, 4)
    assert select_teachers(teachers, k=3, gold=gold, alpha=0.4).indices == (0, 2, 4)


# ------------------------------------------------------------------ searches


def pool_of(seed: int, count: int = 6, n: int = 5, sentences: int = 6) -> tuple[list[DependencyTreebank], Any]:
    generator = random.Random(seed)
    trees = naive.dependency_trees(n, True)
    gold = [list(generator.choice(trees)) for _ in range(sentences)]
    teachers = [
        heads(*(own if generator.random() < 0.4 else list(generator.choice(trees)) for own in gold))
        for _ in range(count)
    ]
    return teachers, heads(*gold)


def value_of(
    teachers: Sequence[Any], subset: Sequence[int], gold: Any, criterion: str, alpha: float, weights: list[int]
) -> float:
    """The objective from `diversity` and the heads."""
    chosen = [weights[index] for index in subset]
    right = [float((teachers[index].heads == gold.heads).mean()) for index in subset]
    mean = sum(w * a for w, a in zip(chosen, right, strict=True)) / sum(chosen)
    if criterion == "top-k":
        return mean
    if criterion == "validation":
        average = treeavg.average([teachers[index] for index in subset], weights=chosen)
        return float((average.heads == gold.heads).mean())
    return mean + alpha * diversity([teachers[index] for index in subset], criterion, gold=gold, weights=chosen)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("weighted", [False, True])
def test_combination_is_the_best_of_all(criterion: str, weighted: bool) -> None:
    """The trace holds the best sets in order; ties go to the first set."""
    for seed in range(4):
        teachers, gold = pool_of(seed)
        weights = [3, 1, 2, 2, 1, 5] if weighted else [1] * 6
        values = {
            subset: value_of(teachers, subset, gold, criterion, 0.5, weights) for subset in combinations(range(6), 3)
        }
        result = select_teachers(
            teachers, k=3, criterion=criterion, search="combination", gold=gold, alpha=0.5, weights=weights
        )
        best = sorted(values, key=lambda subset: (-round(values[subset], 9), subset))[:10]
        assert [step.indices for step in result.trace] == best
        assert result.indices == best[0]
        assert result.value == pytest.approx(values[best[0]])
        assert [step.value for step in result.trace] == pytest.approx([values[subset] for subset in best])


@pytest.mark.parametrize("criterion", CRITERIA)
def test_forward_is_greedy(criterion: str) -> None:
    """Each step adds the first best teacher; the result is in the order of the pool."""
    for seed in range(4):
        teachers, gold = pool_of(seed)
        weights = [1, 2, 1, 2, 1, 1]
        chosen: list[int] = []
        for _ in range(4):
            free = [index for index in range(6) if index not in chosen]
            values = [round(value_of(teachers, [*chosen, index], gold, criterion, 0.5, weights), 9) for index in free]
            chosen.append(free[values.index(max(values))])
        result = select_teachers(teachers, k=4, criterion=criterion, gold=gold, alpha=0.5, weights=weights)
        assert result.indices == tuple(sorted(chosen))
        assert [step.indices for step in result.trace] == [tuple(sorted(chosen[:size])) for size in (1, 2, 3, 4)]


def test_every_teacher_keeps_its_weight() -> None:
    """Teachers and weights stand in the order of the pool, whatever the order of the search."""
    teachers, gold = pool_of(1)
    weights = [0.5, 1, 1.5, 2, 2.5, 3]
    result = select_teachers(teachers, k=3, gold=gold, weights=weights)
    assert result.pairs == tuple((teachers[index], weights[index]) for index in result.indices)
    assert result.teachers == [teachers[index] for index in result.indices]
    assert result.weights == [weights[index] for index in result.indices]
    assert list(result.indices) == sorted(result.indices)
    assert repr(result).startswith("<Selection: teachers ")


def test_order_of_the_pool_matters_only_on_ties() -> None:
    """The chosen trees are the same when teachers are shuffled; of equal teachers the first ones are chosen."""
    teachers, gold = pool_of(3)
    for criterion in CRITERIA:
        first = select_teachers(teachers, k=3, criterion=criterion, gold=gold, search="combination")
        again = select_teachers(teachers[::-1], k=3, criterion=criterion, gold=gold, search="combination")
        assert again.value == pytest.approx(first.value)
    same = [teachers[0]] * 4
    for criterion in CRITERIA:
        for search in SEARCHES:
            assert select_teachers(same, k=2, criterion=criterion, search=search, gold=gold).indices == (0, 1)


def test_nan_never_wins() -> None:
    """Published kappa is not a number for teachers that are all right: such a set is not chosen."""
    right, partly = heads([2, 0, 2]), heads([2, 0, 1])
    pool, gold = [right, right, partly], right
    assert math.isnan(diversity(pool[:2], "fleiss-kappa", gold=gold, published=True))
    result = select_teachers(
        pool, k=2, criterion="fleiss-kappa", gold=gold, search="combination", published=True, alpha=0.1
    )
    assert result.indices == (0, 2)
    assert [step.indices for step in result.trace] == [(0, 2), (1, 2)]
    with pytest.raises(ArgumentError, match=r"criterion: expected a set of teachers whose value is a number, got none"):
        select_teachers([right, right], k=2, criterion="fleiss-kappa", gold=gold, search="combination", published=True)


def test_one_of_a_group() -> None:
    """With groups, at most one teacher of each; both searches."""
    teachers, gold = pool_of(5)
    groups = ["a", "b", "a", "b", "c", "a"]
    allowed = [
        subset for subset in combinations(range(6), 3) if len({groups[index] for index in subset}) == len(subset)
    ]
    best = max(allowed, key=lambda subset: round(value_of(teachers, subset, gold, "society-entropy", 0.1, [1] * 6), 9))
    result = select_teachers(teachers, k=3, gold=gold, groups=groups, search="combination")
    assert result.indices == best
    assert set(selection._sets(3, groups, 6)) == set(allowed)
    greedy = select_teachers(teachers, k=3, gold=gold, groups=groups)
    assert len({groups[index] for index in greedy.indices}) == 3
    assert set(selection._sets(2, groups, 6)) == {
        subset for subset in combinations(range(6), 2) if groups[subset[0]] != groups[subset[1]]
    }


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exhaustive search gives the same in small batches, with one thread or several, with weights of any size."""
    teachers, gold = pool_of(7, count=8)
    whole = select_teachers(teachers, k=4, gold=gold, search="combination")
    threads = select_teachers(teachers, k=4, gold=gold, search="combination", jobs=3)
    monkeypatch.setattr(selection, "BATCH", 7)
    batches = select_teachers(teachers, k=4, gold=gold, search="combination")
    # So large that x ln x is computed, not looked up; the last weight makes them unequal by next to nothing.
    large = select_teachers(teachers, k=4, gold=gold, search="combination", weights=[10**8] * 7 + [10**8 + 1])
    assert whole.trace == threads.trace == batches.trace
    assert large.value == pytest.approx(whole.value)
    assert large.indices == whole.indices


def test_constituency_and_missing_sentences() -> None:
    """Accuracy is corpus F1 without whole sentences; a missing sentence may be skipped."""
    gold = spans([(0, 4), (0, 2), (2, 4)], [(0, 4), (0, 2), (0, 3)])
    one = spans([(0, 4), (0, 2), (2, 4)], [(0, 4), (2, 4), (1, 4)])
    two = spans([(0, 4), (1, 3), (0, 3)], [(0, 4), (0, 2), (0, 3)])
    result = select_teachers([two, one], k=1, gold=gold)
    assert (result.indices, result.accuracy) == ((0,), 0.5)
    assert (
        select_teachers([one, two], k=1, gold=gold).accuracy == treeavg.score(gold, one, metric="corpus-f1").value / 100
    )
    lacking = Treebank.concatenate([one[:1], Treebank.from_constituents([0], [[]])])
    with pytest.raises(AlignmentError, match=r"teachers\[0\]\[1\]: expected a tree, got a missing sentence"):
        select_teachers([lacking, two], k=1, gold=gold)
    assert select_teachers([lacking, two], k=1, gold=gold, on_error="skip").accuracy == 1
    for criterion in CRITERIA:
        assert select_teachers([one, two, lacking], k=2, criterion=criterion, gold=gold, on_error="skip").indices


def test_without_gold() -> None:
    """Accuracy is mean agreement with the others; the average stands in for gold; validation refuses."""
    teachers, _ = pool_of(11)
    agreed = [
        float(np.mean([(one.heads == two.heads).mean() for two in teachers if two is not one])) for one in teachers
    ]
    result = select_teachers(teachers, k=1)
    assert result.indices == (int(np.argmax(agreed)),)
    assert result.accuracy == pytest.approx(max(agreed))
    average = treeavg.average(teachers)
    for criterion in MEASURES:
        assert diversity(teachers, criterion) == diversity(teachers, criterion, gold=average)
    with pytest.raises(ArgumentError, match=r"gold: expected gold trees for criterion='validation', got none\. Pass"):
        select_teachers(teachers, k=2, criterion="validation")
    lone = select_teachers(teachers[:1], k=1)
    assert (lone.accuracy, lone.diversity) == (1, 0)


def test_options_of_the_average() -> None:
    """Validation averages as it is told to."""
    gold = spans([(0, 4), (0, 2)])
    teachers = [spans([(0, 4), (0, 2), (2, 4)]), spans([(0, 4), (0, 2), (0, 3)]), spans([(0, 4), (0, 2)])]
    assert select_teachers(
        teachers, k=3, criterion="validation", gold=gold, average_options={"binary": False}
    ).value == pytest.approx(1)
    assert select_teachers(teachers, k=3, criterion="validation", gold=gold).value == pytest.approx(2 / 3)


def test_single_words_have_no_items() -> None:
    """Constituency trees of one or two words: nothing to disagree about."""
    banks = [Treebank.from_constituents([1, 2], [[], [(0, 2)]])] * 3
    for criterion in MEASURES:
        assert diversity(banks, criterion) == 0
    assert select_teachers(banks, k=2, gold=banks[0]).accuracy == 1


GOOD = [heads([2, 0]), heads([0, 1])]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: select_teachers(GOOD, k=3), r"k: expected a whole number from 1 to 2, the number of teachers, got 3"),
        (lambda: select_teachers(GOOD, k=True), r"k: expected a whole number from 1 to 2"),
        (lambda: select_teachers(GOOD, k=2, groups=["a", "a"]), r"from 1 to 1, the number of groups, got 2"),
        (lambda: select_teachers(GOOD, k=2, groups=["a"]), r"groups: expected 2, one per teacher, got 1\. Name"),
        (lambda: select_teachers(GOOD, k=1, criterion="kunchev"), r"criterion: .* Did you mean 'kuncheva'\?"),
        (lambda: select_teachers(GOOD, k=1, search="foward"), r"search: .* Did you mean 'forward'\?"),
        (lambda: select_teachers(GOOD, k=1, alpha=-1), r"alpha: expected a number, at least 0, got -1\. 0 leaves"),
        (lambda: select_teachers(GOOD, k=1, alpha=math.nan), r"alpha: expected a number, at least 0, got nan"),
        (lambda: select_teachers(GOOD, k=1, weights=[1]), r"weights: expected 2 non-negative numbers"),
        (lambda: select_teachers(GOOD, k=1, average_options={"weights": [1]}), r"average_options: expected one of"),
        (lambda: select_teachers([], k=1), r"teachers: expected at least one treebank, got none"),
        (lambda: diversity(GOOD, "top-k"), r"criterion: expected one of .* got 'top-k'"),
        (lambda: diversity(GOOD, gold=spans([])), r"gold: expected dependency trees as in teachers\[0\]"),
    ],
)  # fmt: skip
def test_messages(call: Callable[[], Any], message: str) -> None:
    """Bad arguments name themselves, both values and the way out."""
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("search", SEARCHES)
def test_teachers_of_no_weight(criterion: str, search: str) -> None:
    """A set without any weight is not chosen; one that has some is."""
    teachers, gold = pool_of(2, count=4)
    chosen = select_teachers(teachers, k=2, criterion=criterion, search=search, gold=gold, weights=[0, 0, 1, 1])
    assert set(chosen.indices) & {2, 3}
    assert not math.isnan(chosen.value)


def test_gold_of_other_sentences() -> None:
    """Gold is checked like a teacher, and named."""
    with pytest.raises(AlignmentError, match=r"gold\[0\]: expected 2 tokens as in teachers\[0\]\[0\], got 1"):
        diversity(GOOD, gold=heads([0]))


def test_too_many_sets() -> None:
    """An exhaustive search that would never end is refused; forward is not."""
    many = [heads([2, 0])] * 60
    with pytest.raises(LimitError, match=r"k: expected at most 50,000,000 sets of teachers, got 75,394,027,566\. Use"):
        select_teachers(many, k=10, search="combination")
    assert select_teachers(many, k=10).indices == tuple(range(10))
    with pytest.raises(LimitError, match=r"got 54,022,500\."):
        select_teachers(many, k=10, search="combination", groups=[index % 10 for index in range(56)] + [0, 1, 2, 3])


# ------------------------------------------------------------------ the verb


def run_verb(*arguments: object) -> int:
    """Run ``treeavg select-teachers``."""
    parser = argparse.ArgumentParser(prog="treeavg")
    choose.register(parser.add_subparsers())
    parsed = parser.parse_args(options.join_weights(["select-teachers", *map(str, arguments)]))
    return int(parsed.run(parsed))


@pytest.fixture
def files(tmp_path: Path) -> tuple[list[Path], Path]:
    trees = ["((a b) (c d))", "((a b) (c d))", "(a (b (c d)))", "(((a b) c) d)"]
    paths = []
    for number, tree in enumerate([*trees, "((a b) (c d))"]):
        path = tmp_path / f"{'gold' if number == len(trees) else f't{number}'}.txt"
        text = tree.replace("(", "(X ")
        for letter in "abcd":
            text = text.replace(letter, f"(T {letter})")
        path.write_text(text + "\n", encoding="utf-8")
        paths.append(path)
    return paths[:-1], paths[-1]


def test_verb_prints_files(files: tuple[list[Path], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Chosen files on standard output, one a line, ready for average; the trace on standard error."""
    teachers, gold = files
    assert run_verb("--k", 2, *teachers, "--gold", gold, "--criterion", "top-k") == 0
    done = capsys.readouterr()
    assert done.out.splitlines() == [str(teachers[0]), str(teachers[1])]
    assert done.err.splitlines()[0].split() == ["teachers", "value", "accuracy", "diversity"]
    assert done.err.splitlines()[2].split() == ["t0", "t1", "1.0000", "1.0000"]


def test_verb_prints_json(files: tuple[list[Path], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers as from Python; every option arrives."""
    teachers, gold = files
    assert run_verb(
        "--k", 2, "--gold", gold, "--criterion", "kuncheva", "--search", "combination", "--alpha", 0.5, "--published",
        "--groups", "a,a,b,b", "--weights", 1, 2, 1, 1, *teachers, "--no-binary", "--objective", "f1", "--json",
    ) == 0  # fmt: skip
    answer = json.loads(capsys.readouterr().out)
    result = select_teachers(
        [treeavg.read(path) for path in teachers], k=2, gold=treeavg.read(gold), criterion="kuncheva",
        search="combination", alpha=0.5, published=True, groups=list("aabb"), weights=[1, 2, 1, 1],
        average_options={"binary": False, "objective": "f1"},
    )  # fmt: skip
    assert answer["teachers"] == [str(teachers[index]) for index in result.indices]
    assert answer["indices"] == list(result.indices)
    assert answer["weights"] == result.weights
    assert (answer["value"], answer["diversity"]) == (result.value, result.diversity)
    assert [step["indices"] for step in answer["trace"]] == [list(step.indices) for step in result.trace]
    assert (answer["criterion"], answer["alpha"], answer["published"]) == ("kuncheva", 0.5, True)


def test_verb_names_files(files: tuple[list[Path], Path], tmp_path: Path) -> None:
    """Messages name files."""
    short = tmp_path / "short.txt"
    short.write_text("(X (T a) (T b))\n", encoding="utf-8")
    with pytest.raises(AlignmentError, match=r"short\.txt: sentence 1: expected 4 tokens as in .*t0\.txt: sentence 1"):
        run_verb("--k", 1, *files[0], "--gold", short)


def test_verb_repeats_the_tables() -> None:
    """The options of the verb are those of the function."""
    assert choose.CRITERIA == CRITERIA
    assert choose.SEARCHES == SEARCHES
    assert set(choose.AVERAGE_OPTIONS) <= set(selection.AVERAGE_OPTIONS)


def test_help_is_light() -> None:
    """Neither NumPy nor Numba is loaded for the verb's help."""
    code = (
        "import argparse, sys; from treeavg.cli import select_teachers; "
        "select_teachers.register(argparse.ArgumentParser().add_subparsers()); "
        "sys.exit('numpy' in sys.modules or 'numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
