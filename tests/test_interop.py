"""Trees of nltk, in and out."""

from __future__ import annotations

import copy
from pathlib import Path

import nltk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk import Tree

import treeavg
from treeavg import ArgumentError, FormatError, Treebank

LABELS = ["S", "NP", "X", "VP-1", "字", "-NONE-"]


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> Tree:
    """nltk trees with tagged and bare leaves, unary chains, escaped brackets."""
    label = draw(st.sampled_from(LABELS))
    leaf = st.sampled_from(["a", "dog", "é", "-LRB-", "\\-LRB-", "x-RRB-", "😀"])
    if depth == 0:
        return Tree(label, [draw(leaf)])
    children = draw(st.lists(st.one_of(leaf, trees(depth=depth - 1)), min_size=1, max_size=3))
    return Tree(label, children)


@given(tree=trees())
def test_round_trip(tree: Tree) -> None:
    """A tree comes back as it was, and was not touched."""
    before = copy.deepcopy(tree)
    bank = Treebank.from_nltk(tree)
    bank.validate()
    assert bank[0].to_nltk() == before
    assert tree == before


@given(forest=st.lists(trees(depth=2), min_size=1, max_size=4))
def test_same_as_a_file(tmp_path: Path, forest: list[Tree]) -> None:
    """Trees from nltk equal the same trees from a file that nltk printed."""
    path = tmp_path / "trees.txt"
    path.write_text("".join(tree.pformat(margin=10**9) + "\n" for tree in forest), encoding="utf-8")
    assert Treebank.from_nltk(forest) == treeavg.read(path)
    assert [view.to_nltk() for view in treeavg.read(path)] == forest


def test_words_are_plain_inside_and_escaped_outside() -> None:
    """Brackets in words are brackets in a treebank, codes in an nltk tree, unless asked otherwise."""
    tree = Tree.fromstring("(S (-LRB- -LRB-) (A a))")
    view = Treebank.from_nltk(tree)[0]
    assert view.tokens == ["(", "a"]
    assert view.to_nltk() == tree
    assert view.to_nltk(escape=False).leaves() == ["(", "a"]


def test_nameless_outer_nodes_are_dropped() -> None:
    """As nltk's corpus reader does; a nameless node over two children stays."""
    assert Treebank.from_nltk(Tree.fromstring("( (S (A a) (B b)))"))[0].labels == ["S"]
    assert Treebank.from_nltk(Tree.fromstring("( (S (A a) (B b)) (C c))"))[0].labels == ["", "S"]


def test_one_tree_or_many_and_none() -> None:
    """One tree, a list, a generator, an empty list."""
    tree = Tree.fromstring("(S (A a) (B b))")
    assert Treebank.from_nltk(tree) == Treebank.from_nltk([tree]) == Treebank.from_nltk(item for item in (tree,))
    assert len(Treebank.from_nltk([])) == 0


def test_without_labels_or_words() -> None:
    """Without labels every node is X; without words each is _; an unlisted root is added."""
    bare = Treebank.from_constituents([["a", "b", "c"]], [[(0, 2)]])
    assert str(bare[0].to_nltk()) == "(X (X (X a) (X b)) (X c))"
    assert str(Treebank.from_constituents([2], [[(0, 2)]])[0].to_nltk()) == "(X (X _) (X _))"
    assert str(Treebank.from_constituents([["a"]], [[]])[0].to_nltk()) == "(X a)"
    labelled = Treebank.from_constituents([["a", "b"]], [[(0, 2)]], labels=[["S"]])
    assert str(labelled[0].to_nltk()) == "(S a b)"
    assert (
        str(Treebank.from_constituents([["a", "b", "c"]], [[(0, 2)]], labels=[["NP"]])[0].to_nltk()) == "(X (NP a b) c)"
    )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([Tree("S", ["a"]), Tree("S", [])], FormatError, r"trees\[1\]: expected a leaf under every node, got none"),
        (
            [Tree("S", [Tree("NP", []), "a"])],
            FormatError,
            r"trees\[0\]: expected a leaf .* got none under 'NP'\. Prune",
        ),
        (["(S a b)"], ArgumentError, r"trees\[0\]: expected an nltk\.Tree, got '\(S a b\)'\. Parse the text"),
        ("(S a b)", ArgumentError, r"trees\[0\]: expected an nltk\.Tree, got '\('"),
        ([None], ArgumentError, r"trees\[0\]: expected an nltk\.Tree, got None"),
    ],
)
def test_trees_that_cannot_be_taken(given: object, error: type[Exception], message: str) -> None:
    """Nodes without leaves and things that are no trees are named by their place."""
    with pytest.raises(error, match=message):
        Treebank.from_nltk(given)  # type: ignore[arg-type]


def test_trees_that_cannot_be_given() -> None:
    """A missing sentence and a discontinuous constituent have no nltk tree."""
    bank = Treebank.from_constituents([0, 3], [[], [((0, 1), (2, 3))]])
    with pytest.raises(FormatError, match=r"treebank\[0\]: expected a tree, got a missing sentence\. Skip treebank"):
        bank[0].to_nltk()
    with pytest.raises(FormatError, match=r"treebank\[1\]: expected continuous constituents, got .* cannot hold it"):
        bank[1].to_nltk()


@pytest.mark.compiled
@pytest.mark.parametrize("kind", ["chain over one", "chain over two", "right", "left"])
def test_fifty_thousand_deep(kind: str) -> None:
    """No recursion: any depth comes in and goes out again."""
    depth = 50_000
    tree: object = "a"
    for _ in range(depth):
        tree = Tree("X", {"chain over one": [tree], "chain over two": [tree] if isinstance(tree, Tree) else ["a", "b"],
                          "right": ["a", tree], "left": [tree, "a"]}[kind])  # fmt: skip
    bank = Treebank.from_nltk(tree)  # type: ignore[arg-type]
    bank.validate()
    back = bank[0].to_nltk()
    for _ in range(depth):  # compared level by level, since == on trees recurses
        assert isinstance(back, Tree)
        assert isinstance(tree, Tree)
        assert back.label() == tree.label()
        assert len(back) == len(tree)
        place = len(tree) - 1 if kind == "right" else 0
        back, tree = back[place], tree[place]
    assert (back, tree) == ("a", "a")


def test_corpus_reader_of_nltk(tmp_path: Path) -> None:
    """Trees straight from an nltk corpus reader."""
    (tmp_path / "a.mrg").write_text("( (S (NP (DT the) (NN dog))\n   (VP (VBZ barks))))\n")
    nltk.data.path.append(str(tmp_path))
    reader = nltk.corpus.reader.BracketParseCorpusReader(str(tmp_path), r".*\.mrg")
    assert Treebank.from_nltk(reader.parsed_sents()) == treeavg.read(tmp_path / "a.mrg")
