"""Averages against enumeration, the slow twin and the exact cases of the specification."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Spans, banks, ensembles

import treeavg
from treeavg import AlignmentError, ArgumentError, LimitError, Treebank

LETTERS = "abcdefghijklmnop"


def tree(text: str) -> tuple[int, Spans]:
    """Read ((ab)c) into its length and spans."""
    spans, stack, place = [], [], 0
    for letter in text:
        if letter == "(":
            stack.append(place)
        elif letter == ")":
            begin = stack.pop()
            if place - begin > 1:
                spans.append((begin, place))
        else:
            place += 1
    return place, spans


def bank(text: str) -> Treebank:
    """One sentence of letters."""
    n, spans = tree(text)
    return Treebank.from_constituents([list(LETTERS[:n])], [spans])


def text_of(treebank: Treebank) -> str:
    """Write a tree as ((ab)c)."""
    view = treebank[0]
    letters = list(view.tokens)
    for begin, end in view.spans:
        letters[begin] = "(" + letters[begin]
        letters[end - 1] += ")"
    return "".join(letters)


CASES = [
    # name, teachers, weights, generate, select
    ("C1", ["a", "a"], None, "a", "a"),
    ("C2", ["(ab)", "(ab)"], None, "(ab)", "(ab)"),
    ("C3", ["((ab)c)", "(a(bc))"], None, "(a(bc))", "((ab)c)"),
    ("C4", ["(a(bc))", "((ab)c)"], None, "(a(bc))", "(a(bc))"),
    ("C5", ["((ab)c)", "((ab)c)", "(a(bc))"], None, "((ab)c)", "((ab)c)"),
    ("C5 with one more", ["((ab)c)", "((ab)c)", "(a(bc))", "(a(bc))"], None, "(a(bc))", "((ab)c)"),
    ("C6", ["(((ab)c)d)", "(a(b(cd)))"], None, "(a(b(cd)))", "(((ab)c)d)"),
    ("C7", ["(((ab)c)d)", "(a((bc)d))", "((ab)(cd))"], None, "((ab)(cd))", "(((ab)c)d)"),
    ("C8", ["((ab)(cd))", "((a(bc))d)", "(a((bc)d))"], None, "(a((bc)d))", "((a(bc))d)"),
    ("C9", ["(((ab)c)d)", "((a(bc))d)", "(a(b(cd)))"], None, "((a(bc))d)", "(((ab)c)d)"),
    ("C10", ["((ab)(cd))"] * 3, None, "((ab)(cd))", "((ab)(cd))"),
    ("C10 flat", ["(abcd)", "(abcd)"], None, "(a(b(cd)))", "(a(b(cd)))"),
    ("C11", ["((ab)c)", "(a(bc))"], [1, 2], "(a(bc))", "(a(bc))"),
    ("C11 other way", ["((ab)c)", "(a(bc))"], [2, 1], "((ab)c)", "((ab)c)"),
    ("C11 equal", ["((ab)c)", "(a(bc))"], [0.5, 0.5], "(a(bc))", "((ab)c)"),
    ("C12", ["(a(bcd)e)"], None, "(a((b(cd))e))", "(a((b(cd))e))"),
    ("C12 unary", ["((ab))"], None, "(ab)", "(ab)"),
]


@pytest.mark.parametrize(
    ("teachers", "weights", "generated", "selected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_exact_cases(teachers: list[str], weights: list[float] | None, generated: str, selected: str) -> None:
    """The cases of specs/averaging.md section 7, both methods."""
    trees = [bank(text) for text in teachers]
    assert text_of(treeavg.average(trees, weights=weights)) == generated
    assert text_of(treeavg.average(trees, weights=weights, method="select")) == selected


@pytest.mark.parametrize("n", range(1, 7))
def test_enumeration_of_all_trees(n: int) -> None:
    """For up to six tokens the result is the first best of all binary trees, whatever the teachers; ties too."""
    generator = random.Random(n)
    trees = naive.all_trees(0, n)
    ensembles = [[list(one)] for one in trees]
    ensembles += [[list(one) for one in generator.choices(trees, k=generator.randrange(2, 8))] for _ in range(150)]
    for teachers in ensembles:
        hits = naive.hit_counts(n, teachers, [Fraction(1)] * len(teachers))
        expected = naive.best_binary_by_enumeration(n, hits)
        found = treeavg.average(banks([n], [[spans] for spans in teachers]))
        assert set(found[0].spans) == expected
        assert naive.best_binary(n, hits) == expected
        assert found.is_binary


@given(ensembles(longest=14, teachers=7), st.data())
def test_agrees_with_the_slow_twin(ensemble: tuple[list[int], list[list[Spans]]], data: st.DataObject) -> None:
    """Hit counts, average and selection equal the twins', with any weights."""
    lengths, trees = ensemble
    weights = data.draw(
        st.one_of(
            st.none(),
            st.lists(st.integers(0, 3), min_size=len(trees), max_size=len(trees)).filter(any),
            st.lists(st.sampled_from([0.1, 0.25, 0.3, 1 / 3, 2.0]), min_size=len(trees), max_size=len(trees)),
        )
    )
    exact = [Fraction(str(weight)) for weight in weights] if weights else [Fraction(1)] * len(trees)
    teachers = banks(lengths, trees)
    average = treeavg.average(teachers, weights=weights)
    chosen = treeavg.average(teachers, weights=weights, method="select")
    counts = treeavg.hit_counts(teachers, weights=weights)
    for index, n in enumerate(lengths):
        own = [spans[index] for spans in trees]
        hits = naive.hit_counts(n, own, exact)
        assert counts[index] == pytest.approx({span: float(hit) for span, hit in hits.items()}, rel=1e-9)
        assert set(average[index].spans) == naive.best_binary(n, hits)
        candidates = [naive.binarize(n, spans) for spans in own]
        assert chosen[index].spans == candidates[naive.best_teacher(n, hits, candidates)]


@given(ensembles(longest=30, teachers=6, sentences=8), st.randoms(use_true_random=False))
def test_invariances(ensemble: tuple[list[int], list[list[Spans]]], generator: random.Random) -> None:
    """Order of teachers, copies of all, scaled weights, zero weights, jobs and order of sentences change nothing."""
    lengths, trees = ensemble
    teachers = banks(lengths, trees)
    weights = [generator.randrange(1, 5) for _ in teachers]
    expected = treeavg.average(teachers, weights=weights)
    order = generator.sample(range(len(teachers)), len(teachers))
    assert treeavg.average([teachers[i] for i in order], weights=[weights[i] for i in order]) == expected
    assert treeavg.average(teachers * 2, weights=weights * 2) == expected
    assert treeavg.average(teachers, weights=[weight / 8 for weight in weights]) == expected
    assert treeavg.average([*teachers, teachers[0]], weights=[*weights, 0]) == expected
    assert treeavg.average(teachers, weights=weights, jobs=3) == expected
    sentences = generator.sample(range(len(lengths)), len(lengths))
    assert treeavg.average([one[sentences] for one in teachers], weights=weights) == expected[sentences]
    # One sentence at a time is the same as all at once.
    alone = [treeavg.average([one[i : i + 1] for one in teachers], weights=weights) for i in range(len(lengths))]
    assert Treebank.concatenate(alone) == expected


@given(ensembles(longest=20, teachers=6))
def test_optimal_and_unanimous(ensemble: tuple[list[int], list[list[Spans]]]) -> None:
    """No teacher's binarised tree and no one-sided tree has more hits; what all teachers hold is in the result."""
    lengths, trees = ensemble
    teachers = banks(lengths, trees)
    hits = treeavg.hit_counts(teachers)

    def totals(one: Treebank) -> list[float]:
        support = hits.support(one)
        return [support[one.offsets[i] : one.offsets[i + 1]].sum() for i in range(len(one))]

    average = treeavg.average(teachers)
    best = totals(average)
    selected = totals(treeavg.average(teachers, method="select"))
    rivals = [treeavg.binarize(one) for one in teachers] + [
        treeavg.branching(teachers[0], side) for side in ("left", "right")
    ]
    for rival in rivals:
        assert all(mine >= theirs - 1e-9 for mine, theirs in zip(best, totals(rival), strict=True))
    assert all(mine >= theirs - 1e-9 for mine, theirs in zip(best, selected, strict=True))
    for index in range(len(lengths)):
        common = set.intersection(*({*spans[index]} for spans in trees))
        assert common <= {*average[index].spans}


@given(ensembles(longest=12, binary=True))
def test_mirror(ensemble: tuple[list[int], list[list[Spans]]]) -> None:
    """Mirrored sentences collect as many hits (their tie-broken trees may differ)."""
    lengths, trees = ensemble

    def total(these: list[list[Spans]]) -> float:
        teachers = banks(lengths, these)
        return float(treeavg.hit_counts(teachers).support(treeavg.average(teachers)).sum())

    mirrored = [
        [[(n - end, n - begin) for begin, end in spans] for n, spans in zip(lengths, one, strict=True)] for one in trees
    ]
    assert total(mirrored) == pytest.approx(total(trees))


def test_large_weights_use_wide_cells() -> None:
    """Sums beyond 32 bits are exact: a weight of a billion is not disturbed by ones."""
    generator = random.Random(5)
    trees = [[naive.random_tree(generator, 40)] for _ in range(5)]
    weights = [1, 10**9, 1, 1, 1]
    average = treeavg.average(banks([40], trees), weights=weights)
    hits = naive.hit_counts(40, [one[0] for one in trees], [Fraction(weight) for weight in weights])
    assert set(average[0].spans) == naive.best_binary(40, hits)
    assert set(average[0].spans) == set(trees[1][0])


def test_inputs_stay_as_they_are() -> None:
    """Teachers and weights are not modified."""
    generator = random.Random(7)
    teachers = banks([9, 4], [[naive.random_tree(generator, n, binary=False) for n in (9, 4)] for _ in range(3)])
    copies = [Treebank.concatenate([one[:1], one[1:]]) for one in teachers]
    weights = np.array([1.0, 2.0, 0.5])
    treeavg.average(teachers, weights=weights)
    treeavg.average(teachers, weights=weights, method="select")
    assert all(one == other for one, other in zip(teachers, copies, strict=True))
    assert weights.tolist() == [1.0, 2.0, 0.5]


def test_words_and_labels() -> None:
    """The words are the first teacher's; selection keeps the chosen tree's labels where all teachers have some."""
    one = Treebank.from_constituents([["A", "b", "c"]], [[(0, 3), (0, 2)]], labels=[["S", "NP"]])
    two = Treebank.from_constituents([["a", "b", "c"]], [[(0, 3), (1, 3)]], labels=[["S", "VP"]])
    assert treeavg.average([one, two])[0].tokens == ["A", "b", "c"]
    selected = treeavg.average([one, two], weights=[1, 2], method="select")
    assert (selected[0].tokens, selected[0].labels) == (["A", "b", "c"], ["S", "VP"])
    bare = treeavg.average([one, two.replace(labels=None)], method="select")
    assert bare.labels is None


def test_skip_leaves_missing_sentences_in_place() -> None:
    """A sentence that some teacher lacks, or has in another length, is missing in the result; others are untouched."""
    words = [["a", "b", "c"], ["a", "b"], ["a", "b", "c"], ["d"]]
    one = Treebank.from_constituents(words, [[(0, 3), (0, 2)], [(0, 2)], [(0, 3), (1, 3)], []])
    two = Treebank.from_constituents([[], ["a", "b"], ["a", "b"], ["d"]], [[], [(0, 2)], [(0, 2)], []])
    for method in ("generate", "select"):
        result = treeavg.average([one, two], on_error="skip", method=method)
        assert result.missing.tolist() == [0, 2]
        assert [view.tokens for view in result] == [[], ["a", "b"], [], ["d"]]
    with pytest.raises(AlignmentError, match=r"teachers\[1\]\[0\]: expected a tree, got a missing sentence"):
        treeavg.average([one, two])


def test_no_sentences() -> None:
    """Nothing in, nothing out."""
    empty = Treebank.from_constituents([], [])
    assert len(treeavg.average([empty, empty])) == 0
    assert len(treeavg.average([empty], method="select")) == 0
    assert len(treeavg.hit_counts([empty])) == 0


MESSAGES = [
    (lambda one: treeavg.average([]), ArgumentError, "teachers: expected at least one treebank, got none"),
    (lambda one: treeavg.average([one, 3]), ArgumentError, r"teachers\[1\]: expected a Treebank, got 3"),
    (lambda one: treeavg.average([one], method="selct"), ArgumentError, "Did you mean 'select'"),
    (lambda one: treeavg.average([one], on_error="ignore"), ArgumentError, "expected one of 'raise', 'skip'"),
    (lambda one: treeavg.average([one], jobs=0), ArgumentError, "jobs: expected a whole number of threads"),
    (lambda one: treeavg.average([one, one[:0]]), AlignmentError, r"teachers\[1\]: expected 1 sentences as in"),
    (lambda one: treeavg.average([one, bank("(abcd)")]), AlignmentError,
     r"teachers\[1\]\[0\]: expected 3 tokens as in teachers\[0\]\[0\], got 4.*differ from token 3 on"),
    (lambda one: treeavg.average([one, Treebank.from_constituents([["a", "x", "c"]], [[]])], check_tokens=True),
     AlignmentError, r"expected the words of teachers\[0\]\[0\].*token 1: 'x' against 'b'"),
    (lambda one: treeavg.average([one, Treebank.from_constituents([3], [[]])], check_tokens=True), ArgumentError,
     "expected words to compare, got none"),
    (lambda one: treeavg.hit_counts([Treebank.from_constituents([3], [[((0, 1), (2, 3))]])]), ArgumentError,
     r"teachers\[0\]\[0\]: expected continuous constituents"),
    (lambda one: treeavg.average([one, treeavg.DependencyTreebank.from_heads([[2, 0, 2]])]), ArgumentError,
     r"teachers\[1\]: expected constituency trees as in teachers\[0\], got dependency trees"),
    (lambda one: treeavg.average([one], objective="f2"), ArgumentError, "objective: expected one of 'hits', 'f1'"),
    (lambda one: treeavg.average([one], labels="vote"), ArgumentError, r"teachers\[0\]: expected labels"),
    (lambda one: treeavg.average([one], labels="hits", method="select"), ArgumentError, "Use method='generate'"),
    (lambda one: treeavg.average([one], labels="vote", method="select"), ArgumentError, "Use method='generate'"),
    (lambda one: treeavg.average([one], beta=2), ArgumentError, "beta: expected 1.0 with objective='hits', got 2"),
    (lambda one: treeavg.average([one], threshold=0.3), ArgumentError, "threshold: expected 0.5 but with binary=False"),
    (lambda one: treeavg.average([one], projective=False), ArgumentError,
     r"teachers\[0\]: expected trees for which projective=False means something, got constituency trees"),
    (lambda one: treeavg.average([treeavg.DependencyTreebank.from_heads([[0]])], binary=False), ArgumentError,
     "for which binary=False means something, got dependency trees"),
    (lambda one: treeavg.average([treeavg.DependencyTreebank.from_heads([[0]])], objective="f1", projective=False),
     ArgumentError, "got dependency trees under objective='f1'"),
    (lambda one: treeavg.average([one], beta=-1), ArgumentError, "beta: expected a number, at least 0, got -1"),
    (lambda one: treeavg.average([one], threshold=1.5), ArgumentError, "threshold: expected a number, from 0 to 1"),
    (lambda one: treeavg.hit_counts([one]).support(bank("(ab)")), AlignmentError, "treebank: expected the 1 sentences"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), MESSAGES)
def test_messages(call: object, kind: type[Exception], message: str) -> None:
    """Each bad argument names the place, both values and what to do."""
    with pytest.raises(kind, match=message) as caught:
        call(bank("((ab)c)"))  # type: ignore[operator]
    assert str(caught.value).count("\n") == 0


def test_a_sentence_too_long_for_a_chart() -> None:
    """Its length, the memory and the way out are named; selection needs no chart."""
    long = treeavg.branching(Treebank.from_constituents([40_000], [[]]))
    with pytest.raises(LimitError, match=r"teachers\[0\]\[0\]: expected a sentence whose chart fits.*40,000.*select"):
        treeavg.average([long])


@pytest.mark.compiled
@pytest.mark.parametrize("side", ["left", "right"])
def test_deep_trees_take_linear_memory_in_selection(side: str) -> None:
    """Sentences of 100,000 tokens can be selected, binarised and counted."""
    deep = treeavg.branching(Treebank.from_constituents([100_000], [[]]), side)
    assert treeavg.average([deep, deep], method="select").same_trees(deep)
    assert treeavg.binarize(deep).same_trees(deep)


@pytest.mark.compiled
def test_two_thousand_tokens() -> None:
    """A long sentence: the average of equal trees is that tree, and left-branching teachers are no worst case."""
    left = treeavg.branching(Treebank.from_constituents([2000], [[]]), "left")
    assert treeavg.average([left] * 7).same_trees(left)


def test_published_trees(shared_data: object) -> None:
    """The figures of the specification for seven published parsers, to the digits given."""
    folder = shared_data / "wsj22"  # type: ignore[operator]
    names = ["on-lstm", "neural-pcfg", "compound-pcfg", "diora", "s-diora", "contest", "contexdistort"]
    gold = treeavg.read(folder / "gold.txt")
    teachers = [treeavg.read(folder / "teachers" / f"{name}.txt") for name in names]
    systems = [*teachers, treeavg.average(teachers), treeavg.average(teachers, method="select")]
    baselines = [treeavg.branching(gold, "left"), treeavg.branching(gold, "right"), treeavg.binarize(gold)]

    def row(convention: str, these: list[Treebank]) -> list[str]:
        return [f"{treeavg.score(gold, one, convention=convention).value:.2f}" for one in these]

    assert row("kim2019", systems) == "44.86 50.26 61.25 56.07 56.58 65.97 49.12 70.82 67.70".split()
    assert row("standard", systems) == "44.90 50.27 61.26 56.87 59.66 66.02 49.13 70.84 67.71".split()
    assert row("kim2019", baselines) == "8.45 38.28 83.71".split()
    assert f"{treeavg.score(gold, systems[7], metric='corpus-f1').value:.2f}" == "69.69"
    for some in itertools.combinations(range(7), 3):  # any order of the same teachers gives the same trees
        trees = [teachers[index] for index in some]
        assert treeavg.average(trees) == treeavg.average(trees[::-1]).replace(tokens=trees[0].tokens)
        break
