"""Parsers that learn nothing: trees to one side, balanced, random, or read from a file. They need no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from parsers.base import Parser, as_sentences
from treeavg.dependency import DependencyTreebank
from treeavg.errors import AlignmentError, ArgumentError, quote
from treeavg.formats import read
from treeavg.treebank import Treebank

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from parsers.training import Progress, TrainingConfig

__all__ = ["Balanced", "FromFile", "Heuristic", "LeftBranching", "Random", "RightBranching"]

Span = tuple[int, int]
Sentences = Treebank | DependencyTreebank | Sequence[Sequence[str]]


class Heuristic(Parser):
    """A parser whose trees follow from the words alone, without training.

    Examples
    --------
    >>> issubclass(Balanced, Heuristic)
    True
    """

    @classmethod
    def fit(
        cls,
        sentences: Sentences,
        *,
        folder: str | os.PathLike[str] | None = None,
        options: Any = None,
        training: TrainingConfig | None = None,
        gold: Treebank | None = None,
        device: str | torch.device = "auto",
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Return the parser; there is nothing to learn.

        Parameters
        ----------
        sentences : Treebank, DependencyTreebank or sequence of sequences of str
            Not looked at, except by `FromFile`, which repeats the trees of this treebank.
        folder, options
            Not looked at: they are here so that a heuristic can stand where a teacher is trained. No run is written.
        training : TrainingConfig, optional
            Only its seed is looked at, and only by `Random`.
        gold, device, resume, progress
            Not looked at.

        Returns
        -------
        Heuristic

        Raises
        ------
        ArgumentError
            `FromFile` is given words without trees.

        Examples
        --------
        >>> Balanced.fit([["it", "rains"]]).parse([["it", "rains"]])[0].spans
        [(0, 2)]
        """
        return cls._fitted(sentences, training.seed if training is not None else 0)

    @classmethod
    def _fitted(cls, sentences: Sentences, seed: int) -> Self:
        return cls()

    def parse(self, sentences: Sentences, *, batch_tokens: int = 4096, device: str | torch.device = "auto") -> Treebank:
        """Return the trees.

        Parameters
        ----------
        sentences : Treebank, DependencyTreebank or sequence of sequences of str
            The words; trees are not looked at. Not modified.
        batch_tokens, device
            Not looked at.

        Returns
        -------
        Treebank
            Binary trees over these words; an empty sentence stays, as a missing one.

        Examples
        --------
        >>> RightBranching().parse([["it", "rains", "often"], []])
        <Treebank: 2 sentences, 3 tokens, 2 constituents, 1 missing>
        """
        words = as_sentences(sentences)
        return Treebank.from_constituents(words, [self._tree(own) for own in words])

    def _tree(self, words: list[str]) -> Sequence[Span]:
        """Return the spans of two words or more of a tree, in pre-order; none for a sentence of no or one word."""
        raise NotImplementedError

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {"config": {}}, {}

    @classmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        return cls(**document["config"])


class RightBranching(Heuristic):
    """(a (b (c d))): the baseline of head-initial languages, also what a teacher that learnt nothing gives.

    Examples
    --------
    >>> RightBranching().parse([["it", "rains", "very", "often"]])[0].spans
    [(0, 4), (1, 4), (2, 4)]
    """

    kind: ClassVar[str] = "right"

    def _tree(self, words: list[str]) -> Sequence[Span]:
        return [(begin, len(words)) for begin in range(len(words) - 1)]


class LeftBranching(Heuristic):
    """(((a b) c) d).

    Examples
    --------
    >>> LeftBranching().parse([["it", "rains", "very", "often"]])[0].spans
    [(0, 4), (0, 3), (0, 2)]
    """

    kind: ClassVar[str] = "left"

    def _tree(self, words: list[str]) -> Sequence[Span]:
        return [(0, end) for end in range(len(words), 1, -1)]


class Balanced(Heuristic):
    """Every span is split in the middle; of an odd number of words the right half gets one more.

    Examples
    --------
    >>> Balanced().parse([["it", "rains", "very", "very", "often"]])[0].spans
    [(0, 5), (0, 2), (2, 5), (3, 5)]
    """

    kind: ClassVar[str] = "balanced"

    def _tree(self, words: list[str]) -> Sequence[Span]:
        return _halves(len(words))


class Random(Heuristic):
    """Trees drawn at random, all binary trees over a sentence with the same probability.

    Parameters
    ----------
    seed : int, default 0
        At least 0. The same seed and words give the same tree, wherever the sentence stands.

    Raises
    ------
    ArgumentError
        The seed is no whole number, or negative.

    Notes
    -----
    By the cycle lemma [DvoretzkyMotzkin1947]: of the 2 n - 1 rotations of a shuffled row of n leaves and n - 1 inner
    nodes, exactly one is a tree in Polish notation, so it is a uniform draw from the Catalan(n - 1) trees, in O(n). (To
    split at a uniform place, again and again, would favour balanced trees.)

    Examples
    --------
    >>> Random(1).parse([["it", "rains", "often"]]) == Random(1).parse([["it", "rains", "often"]])
    True
    """

    kind: ClassVar[str] = "random"

    def __init__(self, seed: int = 0) -> None:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise ArgumentError(f"seed: expected a whole number, at least 0, got {quote(seed)}. Leave it out for 0.")
        self.seed = seed

    @classmethod
    def _fitted(cls, sentences: Sentences, seed: int) -> Self:
        return cls(seed)

    def _tree(self, words: list[str]) -> Sequence[Span]:
        text = "\0".join([str(self.seed), *words]).encode("utf-8", "surrogatepass")
        generator = np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:16], "little"))
        return _random_tree(len(words), generator)

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {"config": {"seed": self.seed}}, {}


class FromFile(Heuristic):
    """The trees of a treebank file: makes the published output of another parser a teacher.

    Parameters
    ----------
    trees : str, os.PathLike or Treebank
        A file that `treeavg.read` reads, or what it has read: constituency trees of any shape.
    on_error : str, default "raise"
        ``skip`` reads an empty or erroneous line of the file as a missing sentence.

    Raises
    ------
    FileError, FormatError
        As for `treeavg.read`.
    ArgumentError
        These are dependency trees.

    Notes
    -----
    A saved one holds the trees, so that the file may go.

    Examples
    --------
    >>> bank = Treebank.from_constituents([["It", "rains", "often"]], [[(0, 3), (1, 3)]])
    >>> FromFile(bank).parse([["it", "rains", "often"]])[0].spans
    [(0, 3), (1, 3)]
    """

    kind: ClassVar[str] = "from-file"

    def __init__(self, trees: str | os.PathLike[str] | Treebank, *, on_error: str = "raise") -> None:
        self.name, bank = "trees", trees
        if not isinstance(trees, (Treebank, DependencyTreebank)):
            self.name, bank = os.fspath(trees), read(trees, on_error=on_error)
        if not isinstance(bank, Treebank):
            raise ArgumentError(f"{self.name}: expected constituency trees, got dependency trees. Name another file.")
        self.trees: Treebank = bank

    @classmethod
    def _fitted(cls, sentences: Sentences, seed: int) -> Self:
        if not isinstance(sentences, Treebank):
            raise ArgumentError(
                "sentences: expected a treebank with the trees to repeat, got words alone. Pass FromFile a file."
            )
        return cls(sentences)

    def parse(
        self,
        sentences: Sentences,
        *,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
        first: int | None = None,
    ) -> Treebank:
        """Return the trees of the file that stand in the places of these sentences.

        Parameters
        ----------
        sentences : Treebank, DependencyTreebank or sequence of sequences of str
            All sentences of the file, in its order. Not modified.
        batch_tokens, device
            Not looked at.
        first : int, optional
            These are only some sentences of the file, in a row, of which the first stands there in this place, from 0.

        Returns
        -------
        Treebank
            The file's trees, binary or not, without labels, over the words given. A sentence that is empty here or in
            the file is a missing one.

        Raises
        ------
        AlignmentError
            The file has not as many sentences, or a sentence has other words, case aside. Where the file has no words,
            only their numbers are compared.

        Examples
        --------
        >>> bank = Treebank.from_constituents([["it", "rains"], ["go"]], [[(0, 2)], []])
        >>> FromFile(bank).parse([["stop"]], first=1)
        Traceback (most recent call last):
        treeavg.errors.AlignmentError: sentences[0][0]: expected 'go' as in trees[1], got 'stop'. Pass the same.
        """
        words = as_sentences(sentences)
        place = 0 if first is None else first
        count = len(self.trees)
        if place < 0 or place + len(words) > count or (first is None and len(words) != count):
            rest = "" if first is None else f" from first={first} on"
            raise AlignmentError(
                f"sentences: expected the {count} of {self.name}, got {len(words)}{rest}. "
                "Pass the same sentences, or first= for a part of them."
            )
        bank = self.trees[place : place + len(words)]
        for index, (given, own) in enumerate(zip(words, bank, strict=True)):
            if given and len(own):
                self._compare(given, own, index, place + index)
        both = [bool(given) and len(own) > 0 for given, own in zip(words, bank, strict=True)]
        return Treebank.from_constituents(
            [given if there else [] for given, there in zip(words, both, strict=True)],
            [own.constituents if there else [] for own, there in zip(bank, both, strict=True)],
        )

    def _compare(self, given: list[str], own: Any, index: int, place: int) -> None:
        """Raise unless a sentence is that of the file."""
        if len(given) != len(own):
            raise AlignmentError(
                f"sentences[{index}]: expected {len(own)} words as in {self.name}[{place}], got {len(given)}. "
                "Pass the same sentences."
            )
        for position, (mine, wanted) in enumerate(zip(given, own.tokens or given, strict=True)):
            if mine.lower() != wanted.lower():
                raise AlignmentError(
                    f"sentences[{index}][{position}]: expected {quote(wanted)} as in {self.name}[{place}], got "
                    f"{quote(mine)}. Pass the same."
                )

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        lists = list(self.trees)
        words = [own.tokens for own in lists] if self.trees.tokens is not None else self.trees.lengths.tolist()
        return {
            "config": {"name": self.name},
            "text": {"words": words, "trees": [own.constituents for own in lists]},
        }, {}

    @classmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        text = document["text"]
        parser = cls(Treebank.from_constituents(text["words"], text["trees"]))
        parser.name = document["config"]["name"]
        return parser


@lru_cache(maxsize=256)
def _halves(n: int) -> tuple[Span, ...]:
    """Return the tree whose spans are split in the middle, in pre-order."""
    found: list[Span] = []
    waiting = [(0, n)]
    while waiting:
        begin, end = waiting.pop()
        if end - begin > 1:
            found.append((begin, end))
            middle = (begin + end) // 2
            waiting += [(middle, end), (begin, middle)]
    return tuple(found)


def _random_tree(n: int, generator: np.random.Generator) -> list[Span]:
    """Return a binary tree over n words, in pre-order, each with the same probability."""
    if n < 2:
        return []
    marks = np.ones(2 * n - 1, np.int64)
    marks[:n] = -1  # leaves close what inner nodes open
    row = generator.permutation(marks)
    first = int(np.argmin(np.cumsum(row))) + 1
    return _read_polish(np.roll(row, -first).tolist())


def _read_polish(row: list[int]) -> list[Span]:
    """Return the spans of a tree in Polish notation: 1 is a node, before its two children, -1 is a word."""
    spans: list[Span] = []
    open_: list[list[int]] = []  # nodes without an end: their place in spans, their children still to come
    word = 0
    for mark in row:
        if mark == 1:
            open_.append([len(spans), 2])
            spans.append((word, word))
            continue
        word += 1
        while open_:
            open_[-1][1] -= 1
            if open_[-1][1]:
                break
            place, _ = open_.pop()
            spans[place] = (spans[place][0], word)
    return spans
