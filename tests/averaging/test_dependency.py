"""Averages of dependency trees: exact cases, enumeration, invariances."""

from __future__ import annotations

import random

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import treeavg
from treeavg import AlignmentError, DependencyTreebank, FormatError

Heads = list[int]


def average(teachers: list[Heads], **options: object) -> Heads:
    return treeavg.average([DependencyTreebank.from_heads([own]) for own in teachers], **options)[0].heads  # type: ignore[arg-type]


CASES = [
    # name, teachers, weights, by arcs, by spans
    ("H1", [[0], [0]], None, [0], [0]),
    ("H2", [[2, 0], [2, 0]], None, [2, 0], [2, 0]),
    ("H3", [[2, 0], [0, 1]], None, [0, 1], [0, 1]),
    ("H3 swapped", [[0, 1], [2, 0]], None, [0, 1], [0, 1]),
    ("H4", [[2, 0], [0, 1], [0, 1]], None, [0, 1], [0, 1]),
    ("H5", [[2, 0], [0, 1]], [2, 1], [2, 0], [2, 0]),
    ("H5 other", [[2, 0], [0, 1]], [1, 2], [0, 1], [0, 1]),
    ("H6", [[2, 0, 2], [0, 1, 2], [2, 3, 0]], None, [2, 0, 2], [2, 0, 2]),
    ("H7", [[0, 1, 2], [2, 3, 0]], None, [0, 1, 2], [0, 1, 2]),
    ("H8", [[2, 0, 2], [0, 1, 1], [3, 3, 0]], None, [0, 1, 2], [0, 1, 1]),
    ("H9", [[2, 0, 2, 3], [2, 0, 4, 2], [0, 1, 4, 1]], None, [2, 0, 4, 2], [2, 0, 4, 2]),
    ("H10", [[3, 4, 0, 3]], None, [3, 3, 0, 3], [0, 3, 1, 3]),
]


@pytest.mark.parametrize(
    ("teachers", "weights", "arcs", "spans"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_exact_cases(teachers: list[Heads], weights: list[int] | None, arcs: Heads, spans: Heads) -> None:
    """The cases H1 to H10 of specs/averaging.md, both objectives."""
    assert average(teachers, weights=weights) == arcs
    assert average(teachers, weights=weights, objective="f1") == spans


def test_spans_of_words() -> None:
    """H12: spans of yields (here from 0), in the twin and through the span score of two trees."""
    assert naive.word_spans([2, 0, 2]) == {(0, 1), (2, 3), (0, 3)}
    assert naive.word_spans([0, 1, 2]) == {(2, 3), (1, 3), (0, 3)}
    assert naive.word_spans([2, 0, 4, 2]) == {(0, 1), (2, 3), (2, 4), (0, 4)}


def test_numbers_of_trees() -> None:
    """How many trees there are, as the specification counts them."""
    assert [len(naive.dependency_trees(n, True)) for n in range(1, 6)] == [1, 2, 7, 30, 143]
    assert [len(naive.dependency_trees(n, False)) for n in range(1, 6)] == [1, 2, 9, 64, 625]


@st.composite
def ensembles(draw: st.DrawFn, longest: int = 5) -> tuple[int, list[Heads], list[int]]:
    generator = random.Random(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, longest))
    projective = draw(st.booleans())
    teachers = [list(generator.choice(naive.dependency_trees(n, projective))) for _ in range(draw(st.integers(1, 5)))]
    weights = draw(
        st.one_of(
            st.just([1] * len(teachers)),
            st.lists(st.integers(0, 300), min_size=len(teachers), max_size=len(teachers)).filter(any),
        )
    )
    return n, teachers, weights


@given(ensembles())
def test_enumeration(ensemble: tuple[int, list[Heads], list[int]]) -> None:
    """For up to five words the votes equal those of the best of all trees: projective, any shape, and by spans."""
    n, teachers, weights = ensemble
    for projective in (True, False):
        trees = naive.dependency_trees(n, projective)
        found = tuple(average(teachers, weights=weights, projective=projective))
        assert found in trees
        best = max(naive.arc_votes(heads, teachers, weights) for heads in trees)
        assert naive.arc_votes(found, teachers, weights) == best
    trees = naive.dependency_trees(n, True)
    found = tuple(average(teachers, weights=weights, objective="f1"))
    assert found in trees
    # Spans determine projective trees; a teacher that is not projective votes with the spans that it has.
    best = max(naive.span_votes(heads, teachers, weights) for heads in trees)
    assert naive.span_votes(found, teachers, weights) == best


def random_heads(generator: random.Random, n: int) -> Heads:
    """A random tree of any shape: each word in a random order hangs on one before it."""
    order = list(range(1, n + 1))
    generator.shuffle(order)
    heads = [0] * n
    for place, word in enumerate(order[1:], 1):
        heads[word - 1] = order[generator.randrange(place)]
    return heads


@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 6))
def test_longer_sentences(seed: int, n: int, count: int) -> None:
    """Always one root and a tree; never below a teacher; jobs, order and copies of teachers change nothing."""
    generator = random.Random(seed)
    teachers = [random_heads(generator, n) for _ in range(count)]
    weights = [generator.randrange(1, 4) for _ in range(count)]
    for options in ({"projective": False}, {"projective": True}, {"objective": "f1"}):
        found = average(teachers, weights=weights, **options)
        assert naive.is_dependency_tree(tuple(found))
        order = generator.sample(range(count), count)
        assert average([teachers[i] for i in order], weights=[weights[i] for i in order], **options) == found
        assert average(teachers * 2, weights=weights * 2, **options) == found
        if options.get("projective") is False:
            best = naive.arc_votes(tuple(found), teachers, weights)
            assert all(best >= naive.arc_votes(tuple(own), teachers, weights) for own in teachers)
        else:
            assert naive.is_projective(tuple(found))


@given(ensembles())
def test_select(ensemble: tuple[int, list[Heads], list[int]]) -> None:
    """The first teacher with the most votes, by arcs and by spans."""
    _, teachers, weights = ensemble
    for options, votes in (({}, naive.arc_votes), ({"objective": "f1"}, naive.span_votes)):
        scores = [votes(tuple(own), teachers, weights) for own in teachers]
        assert average(teachers, weights=weights, method="select", **options) == teachers[scores.index(max(scores))]


def test_many_sentences_and_missing_ones() -> None:
    """Sentences do not touch one another; one that is missing somewhere stays missing."""
    generator = random.Random(5)
    lengths = [generator.randrange(1, 12) for _ in range(30)]
    trees = [[random_heads(generator, n) for n in lengths] for _ in range(3)]
    banks = [DependencyTreebank.from_heads(own) for own in trees]
    together = treeavg.average(banks, jobs=2)
    alone = [average([own[i] for own in trees]) for i in range(30)]
    assert [view.heads for view in together] == alone
    holes = [*trees[0][:5], [], *trees[0][6:]]
    with pytest.raises(AlignmentError, match=r"teachers\[3\]\[5\]: expected a tree, got a missing sentence"):
        treeavg.average([*banks, DependencyTreebank.from_heads(holes)])
    skipped = treeavg.average([*banks, DependencyTreebank.from_heads(holes)], on_error="skip", support=True)
    assert skipped.missing.tolist() == [5]
    assert len(skipped.support) == skipped.token_count


def test_relations_and_support() -> None:
    """Relations are voted on by the teachers that have the arc; an arc that none has is dep; support is the share."""
    one = DependencyTreebank.from_heads([[2, 0]], tokens=[["a", "b"]], relations=[["det", "root"]])
    two = DependencyTreebank.from_heads([[2, 0]], tokens=[["a", "b"]], relations=[["amod", "root"]])
    other = DependencyTreebank.from_heads([[0, 1]], tokens=[["a", "b"]], relations=[["root", "obj"]])
    result = treeavg.average([one, two, other], support=True)
    assert (result[0].heads, result[0].relations) == ([2, 0], ["amod", "root"])
    assert result[0].support == pytest.approx([2 / 3, 2 / 3])
    assert treeavg.average([one, two, one])[0].relations == ["det", "root"]
    assert treeavg.average([one, one.replace(relations=None)]).relations is None
    crossing = DependencyTreebank.from_heads([[3, 4, 0, 3]], relations=[["a", "b", "c", "d"]])
    assert treeavg.average([crossing])[0].relations == ["a", "dep", "c", "d"]


MESSAGES = [
    ([[2, 3]], r"heads\[0\]: expected heads from 0 to 2, got 3 for word 2"),
    ([[-1, 0]], r"heads\[0\]: expected heads from 0 to 2, got -1 for word 1"),
    ([[2, 1]], r"heads\[0\]: expected one word with head 0, got none"),
    ([[0], [0, 0]], r"heads\[1\]: expected one word with head 0, got a second one, word 2"),
    ([[0, 3, 2]], r"heads\[0\]: expected a tree, got a cycle through word 2"),
    ([[0, 2]], r"heads\[0\]: expected a tree, got a cycle through word 2"),
    ([[0, 1.5]], "heads: expected whole numbers, got 1.5"),
]


@pytest.mark.parametrize(("heads", "message"), MESSAGES)
def test_bad_heads(heads: list[Heads], message: str) -> None:
    """Ranges, roots and cycles are checked at the door."""
    with pytest.raises(FormatError, match=message):
        DependencyTreebank.from_heads(heads)


@given(st.lists(st.integers(-1, 6), max_size=5))
def test_checks_agree_with_the_twin(heads: Heads) -> None:
    """Any list of heads is taken exactly if it is a tree with one root."""
    if not heads or naive.is_dependency_tree(tuple(heads)):
        DependencyTreebank.from_heads([heads])
    else:
        with pytest.raises(FormatError):
            DependencyTreebank.from_heads([heads])


def test_too_long() -> None:
    """Charts of more than 1 GiB are refused; selection is not."""
    n = 6000
    bank = DependencyTreebank.from_heads([list(range(n))])
    with pytest.raises(treeavg.LimitError, match=r"expected a sentence whose charts fit into 1 GiB, got 6,000 words"):
        treeavg.average([bank])
    assert treeavg.average([bank], method="select") == bank


def test_treebank() -> None:
    """Slices, concatenation, equality, replacement, repr."""
    bank = DependencyTreebank.from_heads(
        [[2, 0], [0], [2, 0, 2]], tokens=[["a", "b"], ["c"], ["d", "e", "f"]], ids=["x", "y", "z"]
    )
    assert repr(bank) == "<DependencyTreebank: 3 sentences, 6 tokens>"
    assert bank[1:] + bank[:1] == bank[[1, 2, 0]]
    assert bank[np.array([True, False, True])] == bank[::2]
    assert [view.tokens for view in bank[::-1]] == [["d", "e", "f"], ["c"], ["a", "b"]]
    assert bank[0] == bank[:1][0]
    assert bank != bank.replace(tokens=None)
    assert bank.same_trees(bank.replace(tokens=None, ids=None))
    assert repr(bank[0]) == "<DependencyView 0: 'a b'>"
    with pytest.raises(treeavg.ArgumentError, match="replace: expected one of heads, tokens, relations"):
        bank.replace(words=None)
    with pytest.raises(treeavg.ArgumentError, match="replace: expected 6 heads, got 1"):
        bank.replace(heads=np.zeros(1, np.int32))
    with pytest.raises(AlignmentError, match=r"tokens\[0\]: expected 2, one per head, got 1"):
        DependencyTreebank.from_heads([[2, 0]], tokens=[["a"]])
    with pytest.raises(IndexError, match=r"treebank\[3\]"):
        bank[3]
