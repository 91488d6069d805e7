"""Transforms against their slow twins."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Spans, banks, ensembles

import treeavg
from treeavg import ArgumentError, Treebank
from treeavg.transforms import simple_label


@given(ensembles(longest=14, teachers=1, sentences=5), st.sampled_from(["right", "left"]))
def test_binarize(ensemble: tuple[list[int], list[list[Spans]]], side: str) -> None:
    """Equal to the twin by recursion; binary; a second time changes nothing."""
    lengths, trees = ensemble
    (bank,) = banks(lengths, trees)
    result = treeavg.binarize(bank, side)
    assert [view.spans for view in result] == [
        naive.binarize(n, spans, side) for n, spans in zip(lengths, trees[0], strict=True)
    ]
    assert result.is_binary
    assert treeavg.binarize(result, side) == result
    result.validate()


def test_binarize_keeps_the_lowest_label() -> None:
    """Of a unary chain, over several tokens and over one; new nodes are X."""
    bank = Treebank.from_constituents(
        [["a", "b", "c"]], [[(0, 3), (0, 3)]], labels=[["ROOT", "S"]], tags=[["NP NN", "T", "T"]]
    )
    result = treeavg.binarize(bank)
    assert (result[0].labels, result[0].tags) == (["S", "X"], ["NN", "T", "T"])


@pytest.mark.parametrize("side", ["right", "left"])
def test_binarize_every_small_tree(side: str) -> None:
    """All trees of up to six tokens."""
    for n in range(1, 7):
        trees = [list(one) for one in naive.all_trees(0, n)]
        bank = Treebank.from_constituents([n] * len(trees), trees)
        expected = [naive.binarize(n, spans, side) for spans in trees]
        assert [view.spans for view in treeavg.binarize(bank, side)] == expected


def test_branching() -> None:
    """One-sided trees of any length."""
    bank = Treebank.from_constituents([1, 2, 4], [[], [], []])
    assert [view.spans for view in treeavg.branching(bank)] == [[], [(0, 2)], [(0, 4), (1, 4), (2, 4)]]
    assert [view.spans for view in treeavg.branching(bank, "left")] == [[], [(0, 2)], [(0, 4), (0, 3), (0, 2)]]


@given(ensembles(longest=10, teachers=1, sentences=5))
def test_collapse_unaries(ensemble: tuple[list[int], list[list[Spans]]]) -> None:
    """Each span is left once, with its lowest label."""
    lengths, trees = ensemble
    labels = [[str(i) for i in range(len(spans))] for spans in trees[0]]
    bank = Treebank.from_constituents(lengths, trees[0], labels=labels)
    for view, spans in zip(treeavg.collapse_unaries(bank), trees[0], strict=True):
        lowest = {span: str(i) for i, span in enumerate(spans)}
        assert dict(zip(view.spans, view.labels or [], strict=True)) == lowest
        assert len(view.spans) == len(lowest)


@given(ensembles(longest=10, teachers=1, sentences=5), st.data())
def test_delete_tokens(ensemble: tuple[list[int], list[list[Spans]]], data: st.DataObject) -> None:
    """Spans shrink, vanish or join a token's tag, as in the twin."""
    lengths, trees = ensemble
    words = [[f"{s}.{i}" for i in range(n)] for s, n in enumerate(lengths)]
    labels = [[f"L{i}" for i in range(len(spans))] for spans in trees[0]]
    bank = Treebank.from_constituents(words, trees[0], labels=labels, tags=[["T"] * n for n in lengths])
    mask = data.draw(st.lists(st.booleans(), min_size=sum(lengths), max_size=sum(lengths)))
    result = treeavg.delete_tokens(bank, np.array(mask, bool))
    first = 0
    for n, spans, view, own in zip(lengths, trees[0], result, words, strict=True):
        kept = mask[first : first + n]
        first += n
        assert view.spans == naive.delete_tokens(spans, kept)
        assert view.tokens == [word for word, stays in zip(own, kept, strict=True) if stays]
        for position, tag in enumerate(view.tags or []):
            old = [i for i, stays in enumerate(kept) if stays][position]
            shrunk = [i for i, (b, e) in enumerate(spans) if b <= old < e and sum(kept[b:e]) == 1]
            assert tag == " ".join([f"L{i}" for i in shrunk] + ["T"])
    result.validate()


def test_strip() -> None:
    """Empty elements and punctuation go by their tag; what is left of a chain stays; a sentence may vanish."""
    bank = Treebank.from_constituents(
        [["*", "go", "!"], ["$", "5"], ["."]],
        [[(0, 3), (0, 1)], [(0, 2)], []],
        labels=[["S", "NP"], ["NP"], []],
        tags=[["-NONE-", "VB", "."], ["$", "CD"], ["."]],
    )
    assert [view.tokens for view in treeavg.strip_empty(bank)] == [["go", "!"], ["$", "5"], ["."]]
    words = treeavg.strip_punctuation(bank)
    assert [view.tokens for view in words] == [["go"], ["5"], []]
    assert words[0].tags == ["S VB"]
    assert words.missing.tolist() == [2]


def test_simple_labels() -> None:
    """The rules of the published label recall."""
    found = [simple_label(text) for text in ("NP-SBJ-1", "NP=2", "WHADVP", "-NONE-", "-LRB-", "S", "WH", "PRP$")]
    assert found == ["NP", "NP", "ADVP", "-NONE-", "-LRB-", "S", "WH", "PRP$"]


def test_messages() -> None:
    """Unknown sides, missing tags, wrong masks, discontinuous trees."""
    bank = Treebank.from_constituents([3], [[]])
    crossing = Treebank.from_constituents([3], [[((0, 1), (2, 3))]])
    with pytest.raises(ArgumentError, match=r"side: expected one of 'right', 'left', got 'rigt'. Did you mean 'right'"):
        treeavg.binarize(bank, "rigt")
    with pytest.raises(ArgumentError, match="treebank: expected tags, got none"):
        treeavg.strip_empty(bank)
    with pytest.raises(ArgumentError, match=r"kept: expected 3 values, one per token, got \(2,\)"):
        treeavg.delete_tokens(bank, np.array([True, False]))
    for change in (treeavg.binarize, treeavg.collapse_unaries):
        with pytest.raises(ArgumentError, match=r"treebank\[0\]: expected continuous constituents"):
            change(crossing)


def test_with_roots() -> None:
    """The whole sentence is listed once in every tree of two tokens or more, discontinuous ones too."""
    bank = Treebank.from_constituents([3, 1, 2, 4], [[[(0, 1), (2, 3)]], [], [(0, 2)], [(1, 3), [(0, 1), (3, 4)]]])
    rooted = treeavg.transforms.with_roots(bank)
    expected = [[((0, 3),), ((0, 1), (2, 3))], [], [((0, 2),)], [((0, 4),), ((0, 1), (3, 4)), ((1, 3),)]]
    assert [view.constituents for view in rooted] == expected
    rooted.validate()
    labelled = Treebank.from_constituents([3], [[(0, 2)]], labels=[["NP"]])
    assert treeavg.transforms.with_roots(labelled)[0].labels == ["X", "NP"]
