"""The numbers of a report, against the library's own calls and against plain loops."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import hostile
import naive
import numpy as np
import pytest

import treeavg
from treeavg import ArgumentError, DependencyTreebank, Treebank
from treeavg.metrics import agreement, confidence_interval, label_recall, paired_bootstrap, score, sign_test
from treeavg.report import Report, ReportOptions, build_report
from treeavg.report.facts import disagreement, wilson
from treeavg.report.resampling import resample
from treeavg.report.rows import rows_of

QUICK = ReportOptions(samples=300, seed=5)


def random_banks(count: int, sentences: int = 12, *, labelled: bool = False) -> list[Treebank]:
    generator = random.Random(count)
    lengths = [generator.randrange(1, 14) for _ in range(sentences)]
    banks = []
    for _ in range(count):
        trees = [naive.random_tree(generator, length, binary=False) for length in lengths]
        labels = [[generator.choice(["NP", "VP-X", "S"]) for _ in tree] for tree in trees] if labelled else None
        banks.append(Treebank.from_constituents(lengths, trees, labels=labels))
    return banks


def discontinuous_banks(count: int) -> list[Treebank]:
    generator = random.Random(count)
    lengths = [generator.randrange(1, 9) for _ in range(10)]
    banks = []
    for _ in range(count):
        trees = []
        for length in lengths:
            tokens = list(range(length))
            generator.shuffle(tokens)
            groups = [sorted(tokens[: max(2, length // 2)]), sorted(tokens[: max(3, length - 1)])]
            trees.append([blocks_of(group) for group in groups if 2 <= len(group) < length])
        banks.append(Treebank.from_constituents(lengths, trees))
    return banks


def blocks_of(tokens: list[int]) -> list[tuple[int, int]]:
    return [(token, token + 1) for token in tokens]


def dependency_banks(count: int) -> list[DependencyTreebank]:
    generator = random.Random(count)
    lengths = [generator.randrange(1, 9) for _ in range(10)]
    heads = [[[0, *(generator.randrange(1, word + 1) for word in range(1, length))] for length in lengths]
             for _ in range(count)]  # fmt: skip
    return [DependencyTreebank.from_heads(own) for own in heads]


def names(banks: list[Any]) -> dict[str, Any]:
    return {f"t{place}": bank for place, bank in enumerate(banks)}


def constituents(view: Any) -> set[Any]:
    """What counts in a tree, as a set."""
    if isinstance(view, treeavg.DependencyView):
        return set(enumerate(view.heads))
    return set(view.constituents) - {((0, len(view)),)}


KINDS: list[Any] = [random_banks, discontinuous_banks, dependency_banks]


@pytest.mark.parametrize("make", KINDS)
def test_agreement_is_that_of_the_library(make: Any) -> None:
    """Every pair, every kind of tree."""
    banks = make(4)
    report = build_report(names(banks), averages={"mine": banks[0]}, students={"s": banks[1]}, options=QUICK)
    expected = agreement([*banks, banks[0], banks[1]])
    assert np.allclose(report.facts["agreement"]["values"], expected.values, atol=1e-5)
    own = report.facts["agreement"]["means"]
    assert own[0] == pytest.approx(np.mean([expected.values[other, 0] for other in (1, 2, 3)]), abs=1e-5)
    assert own[4] == pytest.approx(np.mean([expected.values[other, 4] for other in range(4)]), abs=1e-5)
    assert str(expected.signature).startswith(report.facts["agreement"]["signature"])


def test_agreement_where_trees_are_missing() -> None:
    """A sentence that one lacks scores 0 there, and does not count where the other is taken as gold."""
    banks = [hostile.random_bank(1), hostile.random_bank(2, without=[4])]
    report = build_report(names(banks), averages={"x": banks[0]}, options=hostile.OPTIONS)
    expected = agreement([*banks, banks[0]], on_error="skip")
    assert np.allclose(report.facts["agreement"]["values"], expected.values, atol=1e-5)


@pytest.mark.parametrize("make", KINDS)
def test_scores_intervals_and_tests_are_those_of_the_library(make: Any) -> None:
    """Each number of the summary, drawn with the same seed."""
    gold, *banks = make(4)
    report = build_report(names(banks), gold=gold, averages={"mine": banks[0]}, options=QUICK)
    own = report.facts["summary"]
    systems = [*banks, banks[0]]
    first = own["columns"][0]["key"].split("/")[0]
    for column in own["columns"]:
        metric, convention = column["key"].split("/")
        for row, bank in zip(own["rows"], systems, strict=True):
            expected = score(gold, bank, metric=metric, convention=convention)
            assert row["values"][column["key"]] == pytest.approx(expected.value, abs=1e-5)
            if column["interval"]:
                interval = confidence_interval(expected, samples=300, seed=5)
                assert row["intervals"][column["key"]] == pytest.approx(interval, abs=1e-5)
    scores = [score(gold, bank, metric=first) for bank in systems]
    best = max(range(3), key=lambda place: scores[place].value)
    assert own["best"] == best + 1
    for place, row in enumerate(own["rows"]):
        if place == best:
            assert "test" not in row
            continue
        bootstrap = paired_bootstrap(scores[place], scores[best], samples=300, seed=5)
        sign = sign_test(scores[place], scores[best])
        assert row["test"]["difference"] == pytest.approx(bootstrap.difference, abs=1e-5)
        assert row["test"]["interval"] == pytest.approx(bootstrap.interval, abs=1e-5)
        assert row["test"]["p"] == pytest.approx(bootstrap.p_value, rel=1e-3)
        assert row["test"]["sign_p"] == pytest.approx(sign.p_value, rel=1e-3)
        assert (row["test"]["wins"], row["test"]["losses"], row["test"]["ties"]) == (sign.wins, sign.losses, sign.ties)


def test_both_conventions_are_in_the_summary() -> None:
    """Continuous trees are scored by standard and kim2019, discontinuous ones by standard and tn-lcfrs."""
    gold, one = random_banks(2)
    keys = [column["key"] for column in build_report({"a": one}, gold=gold, options=QUICK).facts["summary"]["columns"]]
    assert keys[:2] == ["sentence-f1/standard", "sentence-f1/kim2019"]
    long = Treebank.from_constituents([151], [[(0, 2)]])
    titles = build_report({"a": long}, gold=long, options=QUICK).facts["summary"]["columns"]
    assert "sentence-f1/kim2019" not in [column["key"] for column in titles]  # which scores no sentence of 151 tokens
    gold, one = discontinuous_banks(2)
    keys = [column["key"] for column in build_report({"a": one}, gold=gold, options=QUICK).facts["summary"]["columns"]]
    assert keys[:2] == ["corpus-f1/standard", "corpus-f1/tn-lcfrs"]


def test_dependency_columns_follow_what_the_trees_have() -> None:
    """UAS without punctuation needs words, LAS relations in all."""
    bank = DependencyTreebank.from_heads([[2, 0]], tokens=[["it", "!"]], relations=[["nsubj", "root"]])
    bare = DependencyTreebank.from_heads([[2, 0]])

    def keys(gold: DependencyTreebank, other: DependencyTreebank) -> list[str]:
        report = build_report({"a": other}, gold=gold, averages={"b": other}, options=QUICK)
        return [column["title"] for column in report.facts["summary"]["columns"]]

    assert keys(bank, bank) == ["UAS", "undirected UAS", "span F1", "UAS without punctuation", "LAS"]
    assert keys(bare, bank) == ["UAS", "undirected UAS", "span F1"]


def test_resampling_does_not_depend_on_the_company() -> None:
    """A system's draws are the same alone and beside others."""
    gold, *banks = random_banks(4)
    scores = [score(gold, bank) for bank in banks]
    together = resample(scores, samples=300, seed=1)
    for place, own in enumerate(scores):
        assert np.allclose(resample([own], samples=300, seed=1).values[0], together.values[place])


def test_by_length_and_by_label() -> None:
    """The library's own tables: unary chains, function tags, whole sentences."""
    gold, *banks = random_banks(3, labelled=True)
    report = build_report(names(banks), gold=gold, averages={"mine": banks[0]}, options=QUICK)
    lengths = report.facts["by_length"]
    labels = report.facts["by_label"]
    for place, bank in enumerate([*banks, banks[0]]):
        expected = score(gold, bank).by_length()
        assert lengths["classes"] == [name for name, _, _ in expected]
        assert lengths["sentences"] == [count for _, count, _ in expected]
        assert lengths["rows"][place]["values"] == pytest.approx([value for _, _, value in expected], abs=1e-5)
        recalls = label_recall(gold, bank)
        assert labels["labels"] == [row.label for row in recalls]
        assert set(labels["labels"]) == {"NP", "VP", "S"}
        assert labels["rows"][place]["values"] == pytest.approx([row.recall for row in recalls], abs=1e-5)


def test_by_label_where_sentences_are_missing_or_discontinuous() -> None:
    """What a system lacks is not found; constituents may have gaps."""
    gold, other = hostile.random_bank(0, labelled=True), hostile.random_bank(2, without=[4])
    own = build_report({"a": other}, gold=gold, options=hostile.OPTIONS).facts["by_label"]
    expected = label_recall(gold, other, on_error="skip")
    assert own["labels"] == [row.label for row in expected]
    assert own["gold"] == [row.gold for row in expected]
    assert own["rows"][0]["values"] == pytest.approx([row.recall for row in expected], abs=1e-5)
    report = hostile.discontinuous_report()
    two = report.systems.members[2].bank
    recalls = label_recall(report.systems.members[0].bank, two)  # type: ignore[arg-type]
    assert report.facts["by_label"]["rows"][1]["values"] == [row.recall for row in recalls]


@pytest.mark.parametrize("make", KINDS)
def test_reliability_by_a_plain_loop(make: Any) -> None:
    """Every constituent that a teacher, or the average, has; how many teachers have it; whether gold has it."""
    gold, *banks = make(5)
    report = build_report(names(banks), gold=gold, averages={"mine": banks[2]}, options=QUICK)
    for curve, chosen in zip(report.facts["reliability"]["curves"], (banks, [banks[2]]), strict=True):
        total: Counter[int] = Counter()
        right: Counter[int] = Counter()
        for sentence in range(len(gold)):
            sets = [constituents(bank[sentence]) for bank in banks]
            for one in set().union(*(constituents(bank[sentence]) for bank in chosen)):
                hits = sum(one in own for own in sets)
                total[hits] += 1
                right[hits] += one in constituents(gold[sentence])
        assert [(bin["hits"], bin["total"], bin["right"]) for bin in curve["bins"]] == [
            (hits, total[hits], right[hits]) for hits in sorted(total)
        ]


@pytest.mark.parametrize("make", KINDS)
def test_disagreement_is_100_minus_the_mean_f1_of_pairs(make: Any) -> None:
    """Sentence by sentence, by sets."""
    banks = make(4)
    report = build_report(names(banks), averages={"x": banks[0]}, options=QUICK)
    found = disagreement(report.systems, rows_of(report.systems))
    assert found is not None
    for sentence in range(len(banks[0])):
        sets = [constituents(bank[sentence]) for bank in banks]
        values = [
            100.0 if not one and not other else 200 * len(one & other) / (len(one) + len(other))
            for one, other in itertools.combinations(sets, 2)
        ]
        assert found[sentence] == pytest.approx(100 - sum(values) / len(values))


def test_wilson_by_its_definition() -> None:
    """The ends are the shares whose distance from the observed one is 1.96 of their own standard errors."""
    for right, total in ((0, 5), (3, 10), (10, 10), (700, 1000)):
        for end in wilson(right, total):
            share = end / 100
            distance = abs(right / total - share)
            assert distance == pytest.approx(1.959963984540054 * (share * (1 - share) / total) ** 0.5, abs=1e-7)


def test_the_average_is_computed_where_none_is_given() -> None:
    """It is `treeavg.average`, and named so."""
    banks = random_banks(3)
    report = build_report(names(banks), options=QUICK)
    member = report.systems.members[-1]
    assert (member.name, member.role, report.facts["computed"]) == ("average", "average", True)
    assert isinstance(member.bank, Treebank)
    assert member.bank.same_trees(treeavg.average(banks))
    given = build_report(names(banks), averages={"mine": banks[0]}, options=QUICK)
    assert [own["name"] for own in given.facts["systems"]] == ["t0", "t1", "t2", "mine"]
    assert not given.facts["computed"]


def test_without_gold_there_are_no_scores() -> None:
    """Agreement and disagreement are there, and the page is made."""
    report = hostile.constituency_report(gold=False)
    assert {"summary", "by_length", "by_label", "reliability"} & set(report.facts) == set()
    assert len(report.facts["agreement"]["values"]) == 5
    assert report.html()


def test_inputs_are_not_changed() -> None:
    """Columns stay as they were."""
    gold, one, two = random_banks(3, labelled=True)
    before = [(bank.starts.copy(), bank.ends.copy(), list(bank.labels or ())) for bank in (gold, one, two)]
    build_report({"one": one, "two": two}, gold=gold, options=QUICK).html()
    for bank, (starts, ends, labels) in zip((gold, one, two), before, strict=True):
        assert np.array_equal(bank.starts, starts)
        assert np.array_equal(bank.ends, ends)
        assert list(bank.labels or ()) == labels


def message(**arguments: Any) -> str:
    with pytest.raises(treeavg.TreeavgError) as caught:
        build_report(**arguments)
    return str(caught.value)


def test_messages() -> None:
    """Each names the place, what was expected, what was got, what to do."""
    one, two = random_banks(2)
    short = one[:3]
    assert message(teachers={}) == "teachers: expected at least one treebank, got none. Name the teachers."
    assert (
        message(teachers={"a": one}, students={"a": two})
        == "names: expected each once, got 'a' again. Rename one of the systems."
    )
    assert message(teachers={"average": one}) == (
        "names: expected each once, got 'average' again. Rename one of the systems."
    )
    assert message(teachers={"a": one, "b": short}).startswith("b: expected 12 sentences as in a, got 3. ")
    heads = DependencyTreebank.from_heads([[0]])
    assert "expected constituency trees as in gold, got dependency trees" in message(teachers={"a": heads}, gold=one)
    with pytest.raises(ArgumentError, match=r"^samples: expected a whole number, at least 1, got 0\. Leave it out\.$"):
        ReportOptions(samples=0)
    with pytest.raises(ArgumentError, match=r"^seed: expected a whole number, at least 0, got -1\. Leave it out\.$"):
        ReportOptions(seed=-1)
    with pytest.raises(ArgumentError, match=r"on_error: expected one of 'raise', 'skip', got 'skp'\. Did you mean"):
        ReportOptions(on_error="skp")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Bytes of a file's name or a title that are no UTF-8 are spelt out, on the page and in the charts."""
    bank = Treebank.from_constituents([["a", "b", "c"]], [[(0, 3), (0, 2)]])
    teachers = dict.fromkeys(("a\udcff", "a\udcfe"), bank)
    report = build_report(teachers, gold=bank, options=ReportOptions(title="x\udcff", samples=2))
    assert [system["name"] for system in report.facts["systems"]] == ["gold", r"a\udcff", r"a\udcfe", "average"]
    assert rb"<title>x\udcff</title>" in report.html()
    report.write_plots(tmp_path, format="png")


def test_systems_are_named_in_messages_as_the_caller_wants() -> None:
    """Places stand for gold, teachers, averages, students."""
    one, two = random_banks(2)
    places = treeavg.alignment.Places(("g.txt", "a.txt"), files=True)
    text = message(teachers={"a": two[:5]}, gold=one, places=places)
    assert text.startswith("a.txt: expected 12 sentences as in g.txt, got 5.")


def test_a_report_is_plain_to_look_at() -> None:
    """Its repr holds no arrays."""
    report: Report = build_report(names(random_banks(2)), options=QUICK)
    assert "rows" not in repr(report)
