"""Do several treebanks hold the same sentences? Checked once, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treeavg.dependency import DependencyTreebank
from treeavg.errors import AlignmentError, ArgumentError, Problem, quote, unknown
from treeavg.treebank import Treebank

Trees = Treebank | DependencyTreebank

_KINDS = {Treebank: "constituency", DependencyTreebank: "dependency"}
_ADVICE = "All must hold the same sentences in the same order"


@dataclass(frozen=True)
class Places:
    """How messages name a sentence of a treebank.

    Parameters
    ----------
    names : tuple of str
        One a treebank: ``teachers[2]`` or a file name.
    files : bool, default False
        File names count sentences from 1, Python names index from 0.
    first : int, default 0
        Index of the first sentence.

    Examples
    --------
    >>> Places(("teachers[0]",)).of(0, 17), Places(("a.txt",), files=True).of(0, 17)
    ('teachers[0][17]', 'a.txt: sentence 18')
    """

    names: tuple[str, ...]
    files: bool = False
    first: int = 0

    def behind(self, sentences: int) -> Places:
        """Return the places of a batch behind that many sentences."""
        return Places(self.names, self.files, self.first + sentences)

    def of(self, treebank: int, sentence: int) -> str:
        """Return the name of a place."""
        index = self.first + sentence
        name = self.names[treebank]
        return f"{name}: sentence {index + 1}" if self.files else f"{name}[{index}]"


def align(
    treebanks: Sequence[Trees],
    *,
    places: Places | None = None,
    check_tokens: bool = False,
    on_error: str = "raise",
) -> tuple[NDArray[np.int32], list[Problem]]:
    """Check that treebanks hold the same sentences.

    Parameters
    ----------
    treebanks : sequence of Treebank or of DependencyTreebank, length K >= 1
        Not modified.
    places : Places, optional
        How to name them; by default ``teachers[k][i]``.
    check_tokens : bool, default False
        Compare words too. Off by default: published teachers differ in case and in how numbers are written.
    on_error : str, default "raise"
        ``skip`` gives a sentence that is missing or different in some treebank the length 0.

    Returns
    -------
    lengths : ndarray of int32, shape (N,)
        Tokens of each sentence; 0 where it cannot be used.
    problems : list of Problem
        One for each sentence of length 0.

    Raises
    ------
    AlignmentError
        The numbers of sentences differ; or, unless skipping, a sentence is missing, or its lengths or words differ.
    ArgumentError
        There is no treebank, one is not a Treebank, words are missing under `check_tokens`, or an option is unknown.

    Examples
    --------
    >>> bank = Treebank.from_constituents([["a", "b"]], [[(0, 2)]])
    >>> align([bank, bank])
    (array([2], dtype=int32), [])
    """
    if on_error not in ("raise", "skip"):
        raise unknown("on_error", on_error, ("raise", "skip"))
    if not len(treebanks):
        raise ArgumentError("teachers: expected at least one treebank, got none. Pass a list of treebanks.")
    places = places or Places(tuple(f"teachers[{index}]" for index in range(len(treebanks))))
    for index, bank in enumerate(treebanks):
        if not isinstance(bank, (Treebank, DependencyTreebank)):
            raise ArgumentError(
                f"{places.names[index]}: expected a Treebank, got {quote(bank)}. Read it with treeavg.read, or build "
                "it with Treebank.from_constituents."
            )
        if type(bank) is not type(treebanks[0]):
            raise ArgumentError(
                f"{places.names[index]}: expected {_KINDS[type(treebanks[0])]} trees as in {places.names[0]}, got "
                f"{_KINDS[type(bank)]} trees. Average one kind at a time."
            )
    model = treebanks[0]
    for index, bank in enumerate(treebanks):
        if len(bank) != len(model):
            raise AlignmentError(
                f"{places.names[index]}: expected {len(model)} sentences as in {places.names[0]}, got {len(bank)}. "
                f"{_ADVICE}."
            )
    found: dict[int, str] = {}
    for index, bank in enumerate(treebanks):
        for sentence in bank.missing.tolist():
            found.setdefault(
                sentence,
                f"{places.of(index, sentence)}: expected a tree, got a missing sentence. "
                "Supply it, or pass on_error='skip'.",
            )
    for index, bank in enumerate(treebanks[1:], 1):
        for sentence in np.flatnonzero(bank.lengths != model.lengths).tolist():
            found.setdefault(
                sentence,
                f"{places.of(index, sentence)}: expected {model.lengths[sentence]} tokens as in "
                f"{places.of(0, sentence)}, got {bank.lengths[sentence]}. {_ADVICE}"
                f"{_first_difference(bank, model, sentence)}.",
            )
    if check_tokens:
        _compare_words(treebanks, places, found)
    if found and on_error == "raise":
        raise AlignmentError(found[min(found)])
    lengths = model.lengths.copy()
    lengths[list(found)] = 0
    return lengths, [Problem(places.first + sentence, found[sentence]) for sentence in sorted(found)]


def _compare_words(treebanks: Sequence[Trees], places: Places, found: dict[int, str]) -> None:
    """Add to `found` the sentences whose words differ from the first treebank's."""
    model = treebanks[0]
    for index, bank in enumerate(treebanks):
        if bank.tokens is None or model.tokens is None:
            raise ArgumentError(f"{places.names[index]}: expected words to compare, got none. Pass check_tokens=False.")
        if bank.tokens == model.tokens and np.array_equal(bank.lengths, model.lengths):
            continue
        for sentence in range(len(bank)):
            mine, theirs = bank[sentence], model[sentence]
            if len(mine) == len(theirs) and mine.tokens != theirs.tokens and sentence not in found:
                found[sentence] = (
                    f"{places.of(index, sentence)}: expected the words of {places.of(0, sentence)}, got others. "
                    f"{_ADVICE}{_first_difference(bank, model, sentence)}. "
                    "Without check_tokens only lengths are compared."
                )


def _first_difference(bank: Trees, model: Trees, sentence: int) -> str:
    """Return a clause that names the first differing words, or nothing where there are no words."""
    mine, theirs = bank[sentence].tokens, model[sentence].tokens
    if mine is None or theirs is None:
        return ""
    # Case differs between published teachers; what comes first in spite of that is the real difference.
    for position, (one, other) in enumerate(zip(mine, theirs, strict=False)):
        if one.lower() != other.lower():
            return f"; the first difference is token {position}: {quote(one)} against {quote(other)}"
    for position, (one, other) in enumerate(zip(mine, theirs, strict=False)):
        if one != other:
            return f"; the first difference is token {position}: {quote(one)} against {quote(other)}"
    return f"; they differ from token {min(len(mine), len(theirs))} on"
