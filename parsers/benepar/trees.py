"""Trees between treebanks and benepar's charts.

Benepar gives every span of two words or more at most one label, in which the labels of a unary chain, outermost first,
are joined by ``::``; a span without a label is no constituent. A single word has such a label too: the chain above its
tag. The root symbol of a treebank (``TOP``) is not predicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import ArgumentError
from treeavg.strings import StringColumn, offsets_of
from treeavg.treebank import Treebank

if TYPE_CHECKING:
    from treeavg.view import TreeView

#: Joins the labels of a unary chain.
CHAIN = "::"
#: Root symbols, which benepar leaves out.
ROOTS = ("TOP", "ROOT", "S1", "VROOT")
#: The one label of trees without labels.
ONLY = "X"
#: The tag of a word that has none, as benepar writes it.
NO_TAG = "UNK"

Chain = tuple[int, int, str]


def chains_of(view: TreeView, labelled: bool) -> list[Chain]:
    """Return a tree's constituents as benepar's networks learn them.

    Parameters
    ----------
    view : TreeView
        A tree of continuous constituents.
    labelled : bool
        Whether labels are learnt; if not, every constituent of two words or more has the label `ONLY`, the whole
        sentence among them.

    Returns
    -------
    list of (int, int, str)
        Start, end and the chain's labels, single words with a chain above their tag included.

    Examples
    --------
    >>> import nltk
    >>> bank = Treebank.from_nltk(nltk.Tree.fromstring("(TOP (S (VP (NP (NN dogs)) (VB bark))))"))
    >>> chains_of(bank[0], True), chains_of(bank[0], False)
    ([(0, 2, 'S::VP'), (0, 1, 'NP')], [(0, 2, 'X')])
    """
    length = len(view)
    if not labelled:
        spans = dict.fromkeys(view.spans)
        if length > 1:
            spans[0, length] = None
        return [(start, end, ONLY) for start, end in spans]
    rows: list[tuple[int, int, str]] = [
        (start, end, label) for (start, end), label in zip(view.spans, view.labels or [], strict=True)
    ]
    for position, tag in enumerate(view.tags or []):
        rows.extend((position, position + 1, label) for label in tag.split(" ")[:-1])
    chains = []
    for (start, end), members in groupby(rows, key=lambda row: row[:2]):
        names = [label for _, _, label in members]
        if end - start == length and names[0] in ROOTS:
            names = names[1:]
        if any(names):
            chains.append((start, end, CHAIN.join(names)))
    return chains


def label_numbers(chains: Iterable[Sequence[Chain]]) -> dict[str, int]:
    """Number the labels of trees as benepar does: no label is 0, the others in alphabetical order.

    Parameters
    ----------
    chains : iterable of sequences of (int, int, str)
        From `chains_of`.

    Returns
    -------
    dict from str to int

    Examples
    --------
    >>> label_numbers([[(0, 2, "S"), (0, 1, "NP")]])
    {'': 0, 'NP': 1, 'S': 2}
    """
    names = sorted({label for tree in chains for _, _, label in tree})
    return {label: number for number, label in enumerate(["", *names])}


def chart_of(length: int, chains: Sequence[Chain], numbers: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the target that benepar's loss takes.

    Parameters
    ----------
    length : int
        Words of the sentence.
    chains : sequence of (int, int, str)
        From `chains_of`.
    numbers : mapping from str to int
        From `label_numbers`; a label that is not there counts as none.

    Returns
    -------
    ndarray of int64, shape (n, n)
        The label's number in row b and column e - 1 of the span (b, e); -100 below the diagonal.

    Examples
    --------
    >>> chart_of(2, [(0, 2, "X")], {"": 0, "X": 1}).tolist()
    [[0, 1], [-100, 0]]
    """
    chart = np.tril(np.full((length, length), -100, np.int64), -1)
    for start, end, label in chains:
        chart[start, end - 1] = numbers.get(label, 0)
    return chart


class TreeCollector:
    """Puts charts, in the order of sentences, together into a treebank.

    Parameters
    ----------
    labels : sequence of str
        By number.
    labelled : bool
        Whether the treebank is to have them.

    Examples
    --------
    >>> collector = TreeCollector(["", "S::VP", "NP"], labelled=True)
    >>> collector.add(np.array([[2, 1], [-100, 0]]), ["NN", "VB"])
    >>> bank = collector.treebank([["dogs", "bark"]])
    >>> print(bank[0].to_nltk())
    (S (VP (NP (NN dogs)) (VB bark)))
    """

    def __init__(self, labels: Sequence[str], *, labelled: bool) -> None:
        self._chains = [label.split(CHAIN) if label else [] for label in labels]
        self._labelled = labelled
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._labels: list[str] = []
        self._tags: list[str] = []
        self._counts: list[int] = []

    def add(self, chart: NDArray[np.integer[Any]], tags: Sequence[str]) -> None:
        """Take in the next sentence.

        Parameters
        ----------
        chart : ndarray of int, shape (n, n)
            Numbers of labels as in `chart_of`; n may be 0. What stands below the diagonal is ignored.
        tags : sequence of str, length n
            Of the words; looked at where the treebank has labels.

        Examples
        --------
        >>> TreeCollector([""], labelled=False).add(np.zeros((0, 0), np.int64), [])
        """
        before, length = len(self._starts), len(chart)
        firsts, lasts = np.nonzero(np.triu(chart, 1))
        order = np.lexsort((-lasts, firsts))
        spans = list(zip(firsts[order].tolist(), (lasts[order] + 1).tolist(), strict=True))
        for start, end in spans:
            names = self._chains[chart[start, end - 1]] if self._labelled else [ONLY]
            for name in names:
                self._row(start, end, name)
        if length > 1 and (not spans or spans[0] != (0, length)):
            # No label won; the tree hangs from the root symbol, as benepar draws it.
            self._starts.insert(before, 0)
            self._ends.insert(before, length)
            self._labels.insert(before, ROOTS[0])
        self._counts.append(len(self._starts) - before)
        if self._labelled:
            for position, tag in enumerate(tags):
                self._tags.append(" ".join([*self._chains[chart[position, position]], tag]))

    def _row(self, start: int, end: int, label: str) -> None:
        self._starts.append(start)
        self._ends.append(end)
        self._labels.append(label)

    def treebank(self, words: Sequence[Sequence[str]], tags: StringColumn | None = None) -> Treebank:
        """Return the trees.

        Parameters
        ----------
        words : sequence of sequences of str
            Of all sentences that were added.
        tags : StringColumn, optional
            The treebank's tags where it has no labels.

        Returns
        -------
        Treebank

        Examples
        --------
        >>> TreeCollector([""], labelled=False).treebank([])
        <Treebank: 0 sentences, 0 tokens, 0 constituents>
        """
        assert len(words) == len(self._counts)
        if self._labelled:
            tags = StringColumn.of(self._tags) if self._tags else None
        return Treebank(
            np.array([len(sentence) for sentence in words], np.int32),
            offsets_of(self._counts),
            np.array(self._starts, np.int32),
            np.array(self._ends, np.int32),
            labels=StringColumn.of(self._labels) if self._labelled else None,
            tokens=StringColumn.of(word for sentence in words for word in sentence),
            tags=tags,
        )


def check_continuous(average: Treebank, where: str) -> None:
    """Refuse discontinuous trees, which a chart of spans cannot hold.

    Parameters
    ----------
    average : Treebank
        To learn from.
    where : str
        What to name in messages.

    Raises
    ------
    ArgumentError
        A tree has a constituent of several blocks.

    Examples
    --------
    >>> check_continuous(Treebank.from_constituents([3], [[((0, 1), (2, 3))]]), "average")
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: average[0]: expected continuous trees, got a constituent of several blocks. \
Average continuous trees.
    """
    if average.first_discontinuous is not None:
        raise ArgumentError(
            f"{where}[{average.first_discontinuous}]: expected continuous trees, got a constituent of several blocks. "
            "Average continuous trees."
        )
