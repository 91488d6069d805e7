"""Trees of the Natural Language Toolkit, in and out; no recursion, so any depth works."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import nltk
import numpy as np

from treeavg.errors import ArgumentError, FormatError, quote
from treeavg.escapes import escape_token, unescape_token
from treeavg.strings import StringColumn, offsets_of
from treeavg.treebank import Treebank
from treeavg.view import NO_LABEL

if TYPE_CHECKING:
    from treeavg.view import TreeView


def from_nltk_trees(trees: nltk.Tree | Iterable[nltk.Tree]) -> Treebank:
    """Build a treebank from nltk trees; see `Treebank.from_nltk`."""
    lengths: list[int] = []
    counts: list[int] = []
    rows: list[tuple[int, int, str]] = []
    words: list[str] = []
    tags: list[str] = []
    for index, tree in enumerate([trees] if isinstance(trees, nltk.Tree) else trees):
        if not isinstance(tree, nltk.Tree):
            raise ArgumentError(f"trees[{index}]: expected an nltk.Tree, got {quote(tree)}. Parse the text first.")
        leaves, brackets = _flatten(tree, index)
        chains: list[list[str]] = [[] for _ in leaves]
        before = len(rows)
        for start, end, label in brackets:
            if end - start == 1:
                chains[start].append(label)
            else:
                rows.append((start, end, label))
        lengths.append(len(leaves))
        counts.append(len(rows) - before)
        words.extend(map(unescape_token, leaves))
        tags.extend(map(" ".join, chains))
    return Treebank(
        np.array(lengths, np.int32),
        offsets_of(counts),
        np.array([start for start, _, _ in rows], np.int32),
        np.array([end for _, end, _ in rows], np.int32),
        labels=StringColumn.of(label for _, _, label in rows),
        tokens=StringColumn.of(words),
        tags=StringColumn.of(tags) if any(tags) else None,
    )


def _flatten(tree: nltk.Tree, index: int) -> tuple[list[str], list[tuple[int, int, str]]]:
    """Return the leaves and, in pre-order, the nodes as (start, end, label)."""
    while tree.label() == "" and len(tree) == 1 and isinstance(tree[0], nltk.Tree):
        tree = tree[0]
    leaves: list[str] = []
    brackets: list[tuple[int, int, str]] = []
    agenda: list[tuple[object, int]] = [(tree, -1)]  # a node to enter, or (None, place) to leave
    while agenda:
        node, place = agenda.pop()
        if node is None:
            start, _, label = brackets[place]
            if start == len(leaves):
                raise FormatError(
                    f"trees[{index}]: expected a leaf under every node, got none under {label!r}. Prune the tree."
                )
            brackets[place] = (start, len(leaves), label)
        elif isinstance(node, nltk.Tree):
            agenda.append((None, len(brackets)))
            brackets.append((len(leaves), -1, str(node.label())))
            agenda.extend((child, -1) for child in reversed(node))
        else:
            leaves.append(str(node))
    return leaves, brackets


def to_nltk_tree(view: TreeView, escape: bool = True) -> nltk.Tree:
    """Return a view as an nltk tree; see `TreeView.to_nltk`."""
    length = len(view)
    if length == 0:
        raise FormatError(f"treebank[{view.index}]: expected a tree, got a missing sentence. Skip treebank.missing.")
    if not view.treebank.is_continuous:
        try:
            spans = view.spans
        except ArgumentError as error:
            raise FormatError(f"{str(error).split(' Use ')[0]} An nltk.Tree cannot hold it.") from None
    else:
        spans = view.spans
    words = view.tokens if view.tokens is not None else ["_"] * length
    labels, tags = view.labels, view.tags
    bare = labels is not None and tags is None
    top = nltk.Tree("", [])
    path: list[tuple[int, nltk.Tree]] = [(length + 1, top)]
    row = 0
    for position in range(length):
        while row < len(spans) and spans[row][0] == position:
            node = nltk.Tree(labels[row] if labels is not None else NO_LABEL, [])
            path[-1][1].append(node)
            path.append((spans[row][1], node))
            row += 1
        leaf: object = escape_token(words[position]) if escape else words[position]
        chain = tags[position].split(" ") if tags is not None and tags[position] else []
        if not chain and (not bare or length == 1) and tags is None:
            chain = [NO_LABEL]
        for label in reversed(chain):
            leaf = nltk.Tree(label, [leaf])
        path[-1][1].append(leaf)
        while path[-1][0] == position + 1:
            path.pop()
    if len(top) == 1 and isinstance(top[0], nltk.Tree):
        return top[0]
    return nltk.Tree(NO_LABEL, list(top))  # the whole sentence was not listed
