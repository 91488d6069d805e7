"""The treebank: views, slices, concatenation, equality, checks."""

from __future__ import annotations

import random

import naive
import nltk
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Spans, banks, ensembles

from treeavg import AlignmentError, ArgumentError, FormatError, Treebank
from treeavg.strings import StringColumn


def sample() -> Treebank:
    return Treebank.from_constituents(
        [["the", "dog", "barks"], ["go"], ["it", "rains"]],
        [[(0, 3), (0, 2), (2, 3)], [(0, 1)], [(0, 2)]],
        labels=[["S", "NP", "VP"], ["VP"], ["S"]],
        tags=[["DT", "NN", "VBZ"], ["VB"], ["PRP", "VBZ"]],
    )


def test_views() -> None:
    """A view tells tokens, spans, constituents as blocks, labels and tags; single tokens' labels join their tags."""
    bank = sample()
    view = bank[0]
    assert (len(view), view.tokens, view.spans) == (3, ["the", "dog", "barks"], [(0, 3), (0, 2)])
    assert view.constituents == [((0, 3),), ((0, 2),)]
    assert (view.labels, view.tags) == (["S", "NP"], ["DT", "NN", "VP VBZ"])
    assert bank[1].spans == []
    assert bank[1].tags == ["VP VB"]
    assert bank[-1].tokens == ["it", "rains"]
    assert [len(one) for one in bank] == [3, 1, 2]
    assert bank[0] == bank[:1][0]
    assert bank[0] != bank[2]
    assert repr(view) == "<TreeView 0: 'the dog barks', 2 constituents>"


def test_repr_tells_the_sizes() -> None:
    """Sentences, tokens, constituents; discontinuous and missing ones where there are any."""
    assert repr(sample()) == "<Treebank: 3 sentences, 6 tokens, 3 constituents>"
    odd = Treebank.from_constituents([3, 0], [[((0, 1), (2, 3))], []])
    assert repr(odd) == "<Treebank: 2 sentences, 3 tokens, 1 constituent, 1 discontinuous, 1 missing>"


@given(ensembles(longest=8, teachers=1, sentences=7), st.data())
def test_slices_and_concatenation(ensemble: tuple[list[int], list[list[Spans]]], data: st.DataObject) -> None:
    """Slices, index lists and masks choose sentences; pieces put together again are equal to the whole."""
    lengths, trees = ensemble
    words = [[f"w{i}" for i in range(n)] for n in lengths]
    labels = [[f"L{i}" for i in range(len(spans))] for spans in trees[0]]
    bank = Treebank.from_constituents(words, trees[0], labels=labels)
    place = slice(
        *(data.draw(st.one_of(st.none(), st.integers(-9, 9))) for _ in range(2)),
        data.draw(st.sampled_from([None, 1, 2, -1])),
    )
    chosen = range(len(lengths))[place]
    assert [view.spans for view in bank[place]] == [bank[i].spans for i in chosen]
    assert [view.labels for view in bank[place]] == [bank[i].labels for i in chosen]
    assert bank[place] == bank[list(chosen)]
    mask = np.isin(np.arange(len(bank)), list(chosen))
    assert bank[mask] == bank[sorted(chosen)]
    cut = data.draw(st.integers(0, len(bank)))
    assert bank[:cut] + bank[cut:] == bank
    assert Treebank.concatenate(bank[i : i + 1] for i in range(len(bank))) == bank


def test_discontinuous() -> None:
    """Blocks are kept, sliced and concatenated; a slice without discontinuous trees is continuous."""
    bank = Treebank.from_constituents([4, 3], [[((0, 1), (2, 4)), (0, 4), (2, 4)], [(0, 3)]])
    assert bank[0].constituents == [((0, 4),), ((0, 1), (2, 4)), ((2, 4),)]
    assert not bank.is_continuous
    assert bank.fan_outs.tolist() == [1, 2, 1, 1]
    assert bank[1:].is_continuous
    assert (bank[1:] + bank[:1])[1] == bank[0]
    assert bank[[1, 0]][1].constituents == bank[0].constituents
    with pytest.raises(ArgumentError, match=r"treebank\[0\]: expected continuous constituents"):
        bank[0].spans
    with pytest.raises(FormatError, match="cannot hold it"):
        bank[0].to_nltk()


def test_order_of_constituents_does_not_matter() -> None:
    """Rows are sorted into pre-order; equal spans keep their order, which is that of a unary chain."""
    one = Treebank.from_constituents([3], [[(1, 3), (0, 3), (0, 3)]], labels=[["B", "ROOT", "S"]])
    assert one[0].spans == [(0, 3), (0, 3), (1, 3)]
    assert one[0].labels == ["ROOT", "S", "B"]
    blocks = Treebank.from_constituents([4], [[[[0, 1], [1, 3]]]])
    assert blocks[0].constituents == [((0, 3),)]


def test_equality_minds_every_column() -> None:
    """Words, labels, tags and trees all count; same_trees looks at trees only."""
    bank = sample()
    assert bank == sample()
    for change in ("labels", "tokens", "tags"):
        assert bank != bank.replace(**{change: None})
        assert bank.same_trees(bank.replace(**{change: None}))
    assert not bank.same_trees(bank[::-1])
    assert bank != 3
    assert (bank == 3) is False


def test_binary_and_missing() -> None:
    """is_binary wants n - 1 different rows with the root; missing ones have length 0."""
    assert Treebank.from_constituents([3, 1, 2], [[(0, 3), (0, 2)], [], [(0, 2)]]).is_binary
    for spans in ([(0, 3)], [(0, 3), (0, 3)], [(0, 2)], [(0, 3), (0, 3), (0, 2)]):
        assert not Treebank.from_constituents([3], [spans]).is_binary
    assert Treebank.from_constituents([[], ["a"], []], [[], [], []]).missing.tolist() == [0, 2]


@given(st.integers(2, 7), st.lists(st.tuples(st.integers(-1, 7), st.integers(-1, 8)), max_size=6))
def test_validation_agrees_with_the_twin(n: int, spans: Spans) -> None:
    """Any list of spans is taken or refused as the definition says."""
    singles = [(begin, end) for begin, end in spans if end - begin == 1 and 0 <= begin < n]
    others = [span for span in spans if span not in singles]
    if naive.is_nested(n, others):
        Treebank.from_constituents([n], [spans]).validate()
    else:
        with pytest.raises(FormatError):
            Treebank.from_constituents([n], [spans])


@given(st.integers(2, 6), st.lists(st.sets(st.integers(0, 5), min_size=1), max_size=5))
def test_validation_of_discontinuous_trees(n: int, sets: list[set[int]]) -> None:
    """Sets of tokens are taken exactly if each two are nested or apart."""
    sets = [{token for token in one if token < n} or {0} for one in sets]
    blocks = [_blocks(one) for one in sets]
    fine = all(not (one & other) or one <= other or other <= one for one in sets for other in sets)
    if fine:
        bank = Treebank.from_constituents([n], [blocks])
        assert {frozenset(_tokens(one)) for one in bank[0].constituents} == {
            frozenset(one) for one in sets if len(one) > 1
        }
    else:
        with pytest.raises(FormatError, match="expected nested or disjoint constituents"):
            Treebank.from_constituents([n], [blocks])


def _blocks(tokens: set[int]) -> list[tuple[int, int]]:
    blocks: list[tuple[int, int]] = []
    for token in sorted(tokens):
        if blocks and blocks[-1][1] == token:
            blocks[-1] = (blocks[-1][0], token + 1)
        else:
            blocks.append((token, token + 1))
    return blocks


def _tokens(blocks: tuple[tuple[int, int], ...]) -> set[int]:
    return {token for begin, end in blocks for token in range(begin, end)}


MESSAGES = [
    (dict(tokens=[3], constituents=[]), AlignmentError, "constituents: expected one entry per sentence, 1, got 0"),
    (dict(tokens=[3], constituents=[[]], labels=[[], []]), AlignmentError, "labels: expected one entry per sentence"),
    (dict(tokens=[3], constituents=[[(0, 2)]], labels=[[]]), AlignmentError, r"labels\[0\]: expected 1 labels"),
    (dict(tokens=[3], constituents=[[]], tags=[["A"]]), AlignmentError, r"tags\[0\]: expected 3 tags, one per token"),
    (dict(tokens=[3, ["a"]], constituents=[[], []]), ArgumentError, "expected words for every sentence or numbers"),
    (dict(tokens=[3], constituents=[[(0, 4)]]), FormatError, r"constituents\[0\]\[0\]: expected 0 <= start < end <= 3"),
    (dict(tokens=[3], constituents=[[(2, 2)]]), FormatError, r"got \(2, 2\)"),
    (dict(tokens=[3], constituents=[["ab"]]), FormatError, r"of such blocks, got 'ab'"),
    (dict(tokens=[3], constituents=[[(0, 1.5)]]), FormatError, "Write half-open blocks"),
    (dict(tokens=[3], constituents=[[[]]]), FormatError, r"got \[\]. Write half-open blocks"),
    (dict(tokens=[5], constituents=[[[(2, 3), (0, 1)]]]), FormatError, r"blocks in order and apart, got \(2, 3\)"),
    (dict(tokens=[3], constituents=[[(0, 2), (1, 3)]]), FormatError, r"got \(0, 2\) and \(1, 3\), which cross"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind", "message"), MESSAGES)
def test_messages(arguments: dict[str, object], kind: type[Exception], message: str) -> None:
    """Each names the place, what was expected and what was got."""
    with pytest.raises(kind, match=message):
        Treebank.from_constituents(**arguments)  # type: ignore[arg-type]


def test_messages_of_methods() -> None:
    """Wrong columns, indices and mixtures."""
    bank = sample()
    with pytest.raises(ArgumentError, match="replace: expected one of labels, tokens, tags, support, got 'words'"):
        bank.replace(words=None)
    with pytest.raises(ArgumentError, match="replace: expected 6 tokens, got 1"):
        bank.replace(tokens=StringColumn.of(["a"]))
    with pytest.raises(IndexError, match=r"treebank\[3\]: expected an index below 3"):
        bank[3]
    with pytest.raises(IndexError, match="expected 3 values, got 2"):
        bank[[True, False]]
    with pytest.raises(IndexError, match="expected indices below 3"):
        bank[[0, 5]]
    with pytest.raises(ArgumentError, match="expected labels in all or in none, got them in 1 of 2"):
        Treebank.concatenate([bank, bank.replace(labels=None)])
    swapped = Treebank.from_constituents([4], [[(0, 4), (0, 2)]])
    swapped.starts[:], swapped.ends[:] = [0, 0], [2, 4]
    with pytest.raises(FormatError, match=r"bank\[0\]: expected pre-order"):
        swapped.validate("bank")
    swapped.ends[:] = [5, 4]
    with pytest.raises(FormatError, match=r"within 0 and 4, got \(0, 5\)"):
        swapped.validate()


def test_nltk_in_and_out() -> None:
    """Trees go in and come out equal; words with brackets are escaped outside and plain inside."""
    text = "(S (NP (DT the) (NN dog)) (VP (VBZ barks) (PRN (-LRB- -LRB-) (NP (NN x)) (-RRB- -RRB-))))"
    tree = nltk.Tree.fromstring(text)
    bank = Treebank.from_nltk(tree)
    assert bank[0].tokens == ["the", "dog", "barks", "(", "x", ")"]
    assert bank[0].to_nltk() == tree
    assert bank[0].to_nltk(escape=False).leaves() == bank[0].tokens
    assert Treebank.from_nltk([nltk.Tree("", [tree])])[0].to_nltk() == tree
    bare = Treebank.from_constituents([3], [[(0, 2)]])
    assert str(bare[0].to_nltk()) == "(X (X (X _) (X _)) (X _))"
    with pytest.raises(FormatError, match=r"trees\[0\]: expected a leaf under every node, got none under 'S'"):
        Treebank.from_nltk(nltk.Tree("S", []))
    with pytest.raises(ArgumentError, match=r"trees\[0\]: expected an nltk.Tree, got '\(S a\)'"):
        Treebank.from_nltk(["(S a)"])
    with pytest.raises(FormatError, match="got a missing sentence"):
        Treebank.from_constituents([[]], [[]])[0].to_nltk()


def test_nltk_random_trees() -> None:
    """Round trips of random labelled trees."""
    generator = random.Random(2)
    for _ in range(50):
        n = generator.randrange(1, 12)
        spans = naive.random_tree(generator, n, binary=False)
        labels = [generator.choice("ABC") for _ in spans]
        (bank,) = banks([n], [[spans]])
        words = [generator.choice(["a", "(", "é", "x)y"]) for _ in range(n)]
        tags = [generator.choice(["T", "N T", "V V T"]) for _ in range(n)]
        bank = Treebank.from_constituents([words], [spans], labels=[labels], tags=[tags])
        assert Treebank.from_nltk(bank[0].to_nltk()) == bank
