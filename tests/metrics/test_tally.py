"""Scores that are added up batch by batch are the scores of the whole, to the bit."""

from __future__ import annotations

import itertools
import json
import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from treeavg import ArgumentError, DependencyTreebank, Treebank, metrics
from treeavg.alignment import Places
from treeavg.metrics import AgreementTally, LabelCounts, Tally, agreement, label_recall, score
from treeavg.metrics.exact import more, rounded


def spans(generator: random.Random, length: int) -> list[tuple[int, int]]:
    """A random binary tree, some constituents left out."""
    agenda, found = [(0, length)], []
    while agenda:
        begin, end = agenda.pop()
        if end - begin > 1:
            if generator.random() < 0.8:
                found.append((begin, end))
            split = generator.randrange(begin + 1, end)
            agenda += [(begin, split), (split, end)]
    return found


def constituency(seed: int, count: int = 90, discontinuous: bool = False) -> Treebank:
    """Trees over sentences of the same lengths for all seeds; the last third is discontinuous, if any is."""
    lengths = [1 + (7 * place) % 43 for place in range(count)]
    generator = random.Random(seed)
    trees: list[Any] = [spans(generator, length) for length in lengths]
    if discontinuous:
        for place in range(2 * count // 3, count):
            if lengths[place] > 3:
                trees[place] = [((0, 1), (2, 3)), (0, 3)]
    names = [[generator.choice(["NP", "VP-X", "S"]) for _ in tree] for tree in trees]
    return Treebank.from_constituents(lengths, trees, labels=names)


def dependency(seed: int, count: int = 60) -> DependencyTreebank:
    generator = random.Random(seed)
    lengths = [1 + (5 * place) % 17 for place in range(count)]
    heads = [[0, *(generator.randint(1, word) for word in range(1, length))] for length in lengths]
    tokens = [["." if word % 4 == 3 else "a" for word in range(length)] for length in lengths]
    relations = [[generator.choice("xy") for _ in own] for own in heads]
    return DependencyTreebank.from_heads(heads, tokens=tokens, relations=relations)


def without(bank: Any, sentences: list[int]) -> Any:
    """The treebank with missing sentences at some places."""
    parts = []
    for place in range(len(bank)):
        one = bank[place : place + 1]
        if place in sentences:
            keep = np.zeros(1, np.int32)
            one = (
                DependencyTreebank(
                    keep, one.heads[:0], tokens=one.tokens.slice(0, 0), relations=one.relations.slice(0, 0)
                )
                if isinstance(one, DependencyTreebank)
                else Treebank.from_constituents([0], [[]], labels=[[]])
            )
        parts.append(one)
    return type(bank).concatenate(parts)


def batches(*banks: Any, size: int) -> Any:
    for begin in range(0, len(banks[0]), size):
        yield [bank[begin : begin + size] for bank in banks]


CASES = [
    (constituency(1), constituency(2)),
    (constituency(1, discontinuous=True), constituency(2)),
    (constituency(1, discontinuous=True), constituency(2, discontinuous=True)),
    (without(constituency(1), [3, 50]), without(constituency(2), [4, 89])),
    (dependency(1), dependency(2)),
    (without(dependency(1), [0]), without(dependency(2), [1, 59])),
]


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize("convention", ["standard", "kim2019", "tn-lcfrs"])
def test_batches_add_up(case: int, size: int, convention: str) -> None:
    """Every metric: value, signature, classes of length, statistics; whatever the batches."""
    gold, predicted = CASES[case]
    kinds = (
        ("uas", "uas-words", "las", "span-f1") if case > 3 else ("sentence-f1", "corpus-f1", "recall", "continuous-f1")
    )
    options: dict[str, Any] = {"convention": convention, "on_error": "skip"}
    tally = Tally(kinds, keep=True, by_length=True, **options)
    light = Tally(**options)
    for one, other in batches(gold, predicted, size=size):
        tally.add(one, other)
        light.add(one, other)
    for name in kinds:
        expected = score(gold, predicted, metric=name, **options)
        assert tally.value(name) == expected.value
        assert tally.signature(name) == expected.signature
        assert tally.by_length(name) == expected.by_length()
        assert tally.missing(name) == expected.statistics.missing.sum()
        mine = tally.score(name)
        assert np.array_equal(mine.per_sentence, expected.per_sentence)
        assert np.array_equal(mine.statistics.sentences, expected.statistics.sentences)
        assert np.array_equal(mine.statistics.matched, expected.statistics.matched)
        assert metrics.confidence_interval(mine, samples=20) == metrics.confidence_interval(expected, samples=20)
    expected = score(gold, predicted, **options)
    assert (light.metric(), light.value(), light.signature()) == (
        expected.metric.name,
        expected.value,
        expected.signature,
    )


def test_sums_are_exact() -> None:
    """Rounded once, whatever the batches and the order; counts, ratios, large and small numbers."""
    generator = np.random.default_rng(0)
    terms = np.stack([
        generator.random(5000), generator.integers(0, 50, 5000), 1e18 * generator.standard_normal(5000),
        generator.integers(0, 1 << 62, 5000).astype(float),
    ], axis=1)  # fmt: skip
    expected = [math.fsum(column) for column in terms.T.tolist()]
    for size, rows in ((37, terms), (5000, terms[::-1])):
        total = [Fraction(0)] * 4
        for begin in range(0, 5000, size):
            total = more(total, rows[begin : begin + size])
        assert rounded(total).tolist() == expected
    assert more(total, np.zeros((0, 4))) == total


@pytest.mark.parametrize("size", [1, 13, 1000])
@pytest.mark.parametrize("metric", [None, "corpus-f1"])
def test_agreement_adds_up(size: int, metric: str | None) -> None:
    """The table of teachers, and a default metric that depends on a late batch."""
    teachers = [constituency(1), constituency(2), constituency(3, discontinuous=True)]
    tally = AgreementTally(["a", "b", "c"], metric=metric)
    for batch in batches(*teachers, size=size):
        tally.add(batch)
    mine, expected = tally.result(), agreement(teachers, names=["a", "b", "c"], metric=metric)
    slow = [[score(gold, other, metric=metric).value for other in teachers] for gold in teachers]
    assert mine.values.tolist() == expected.values.tolist() == slow
    assert (mine.names, mine.signature) == (expected.names, expected.signature)


@pytest.mark.parametrize("size", [1, 13, 1000])
def test_labels_add_up(size: int) -> None:
    """Recall by label."""
    gold, predicted = constituency(1), constituency(2)
    counts = LabelCounts("standard")
    for one, other in batches(gold, predicted, size=size):
        counts.add(one, other)
    assert counts.recall() == label_recall(gold, predicted)


def test_agreement_on_threads() -> None:
    """Any number of threads gives the same table, and the same error."""
    teachers = [constituency(seed, count=600) for seed in range(4)]
    expected = agreement(teachers, jobs=1)
    for jobs in (None, 2, 5):
        found = agreement(teachers, jobs=jobs)
        assert (found.values.tolist(), found.signature) == (expected.values.tolist(), expected.signature)
    teachers[2], teachers[3] = without(teachers[2], [7]), without(teachers[3], [5])
    for jobs in (1, 3):
        with pytest.raises(ValueError, match=r"^teachers\[2\]\[7\]: expected a tree, got a missing sentence"):
            agreement(teachers, jobs=jobs)
    with pytest.raises(ArgumentError, match=r"^jobs: expected a whole number of threads, at least 1, got 0\."):
        agreement(teachers, jobs=0)


def through_json(tally: Any, *others: Any) -> Any:
    """The tally after it was written as JSON and read back."""
    return type(tally).from_json(json.loads(json.dumps(tally.as_json())), *others)


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("cuts", [[40], [0, 5, 5, 30], [60]])
def test_parts_add_up(case: int, cuts: list[int]) -> None:
    """Tallies of parts, some empty, that went through JSON add up to that of the whole."""
    gold, predicted = CASES[case]
    for kinds in ((), ("span-f1", "uas-words") if case > 3 else ("discontinuous-f1", "sentence-f1")):
        whole = Tally(kinds, on_error="skip", by_length=True)
        whole.add(gold, predicted)
        total = through_json(Tally(kinds))
        for begin, end in itertools.pairwise([0, *cuts, len(gold)]):
            part = Tally(kinds, on_error="skip", by_length=True)
            if end > begin:
                part.add(gold[begin:end], predicted[begin:end])
            total.append(through_json(part))
        assert total.metrics == whole.metrics
        for name in whole.metrics:
            assert total.value(name) == whole.value(name)
            assert total.by_length(name) == whole.by_length(name)
            assert total.signature(name) == whole.signature(name)
            assert total.missing(name) == whole.missing(name)
        assert (total.metric(), total.is_continuous) == (whole.metric(), whole.is_continuous)


def test_parts_that_do_not_fit() -> None:
    """Parts of two kinds or conventions; a metric that only one part has is dropped."""
    one, two, other = Tally(), Tally(), Tally(convention="kim2019")
    for tally, bank in ((one, constituency(1)), (two, dependency(1)), (other, constituency(1))):
        tally.add(bank, bank)
    for part in (two, other):
        with pytest.raises(ArgumentError, match=r"^gold: expected scores of one kind of trees and one convention, got"):
            one.append(part)
    few = Tally(["recall", "corpus-f1"])
    few.add(constituency(1), constituency(2))
    one.append(few)
    assert one.metrics == ["corpus-f1"]


def test_labels_and_agreement_of_parts() -> None:
    """The same for recall by label and for the table of agreement."""
    gold, predicted = constituency(1), constituency(2)
    counts, table = LabelCounts("standard"), AgreementTally(["a", "b"])
    for begin, end in ((0, 31), (31, 90)):
        part, own = LabelCounts("standard"), AgreementTally(["0", "1"])
        part.add(gold[begin:end], predicted[begin:end])
        own.add([gold[begin:end], predicted[begin:end]])
        counts.append(through_json(part, "standard"))
        table.append(through_json(own, ["x", "y"]))
    assert counts.recall() == label_recall(gold, predicted)
    expected = agreement([gold, predicted], names=["a", "b"])
    assert table.result().values.tolist() == expected.values.tolist()
    assert (table.result().names, table.result().signature) == (expected.names, expected.signature)


def feed(tally: Any, *banks: Any) -> None:
    for batch in batches(*banks, size=10):
        tally.add(batch) if isinstance(tally, AgreementTally) else tally.add(*batch)


def test_places_count_over_batches() -> None:
    """A late batch's sentences have their own numbers."""
    gold, predicted = constituency(1), without(constituency(2), [17])
    for make in (
        lambda places: Tally(places=places),
        lambda places: AgreementTally(["g", "p"], places=places),
        lambda places: LabelCounts("standard", places=places),
    ):
        tally = make(Places(("g", "p"), files=True))
        with pytest.raises(ValueError, match=r"^p: sentence 18: expected a tree, got a missing sentence"):
            feed(tally, gold, predicted)


def test_nothing_to_score_is_known_in_the_end() -> None:
    """A batch without anything to score is no error; no such batch at all is."""
    short, other = Treebank.from_constituents([1, 1], [[], []]), constituency(1)
    tally = Tally()
    tally.add(short, short)
    with pytest.raises(
        ArgumentError, match=r"gold: expected a sentence of two tokens or more to score, got none\. Check"
    ):
        tally.value()
    tally.add(other, other)
    assert tally.value() == 100
    gone = DependencyTreebank(np.zeros(1, np.int32), np.zeros(0, np.int32))
    heads = Tally(on_error="skip")
    heads.add(gone, gone)
    with pytest.raises(ArgumentError, match=r"gold: expected a sentence to score, got none\. Check the file"):
        heads.value()
    with pytest.raises(ArgumentError, match=r"metric: expected one of 'uas', .* got 'recall'"):
        Tally(["recall"]).add(dependency(1), dependency(2))
    with pytest.raises(ArgumentError, match="convention: expected one of"):
        Tally(convention="mine")
