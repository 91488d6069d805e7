"""Words as integers, as language models and grammars read them: lower case, numbers as one symbol, the rest unknown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parsers.nn.vocabulary import Vocabulary
from treeavg.errors import FormatError, unknown

#: How numbers are read: a number with its commas and points as N; each run of digits as N; as they stand.
NUMBER_RULES = ("token", "digits", "keep")

_NUMBER = {"token": re.compile(r"[0-9]+(?:[,.]?[0-9]+)*"), "digits": re.compile(r"[0-9]+")}


class WordReader:
    """Turns sentences into padded batches of word numbers, always in the same way; part of a saved teacher.

    Parameters
    ----------
    vocabulary : Vocabulary
        Of the training text; other words are unknown.
    lowercase : bool, default True
        Read words without case.
    numbers : str, default "token"
        One of `NUMBER_RULES`: ``token`` writes 1,234.5 as N and 1980s as Ns, as [Kim, Dyer and Rush 2019] do;
        ``digits`` writes 1.5 as N.N, as [Shen et al. 2019] do; ``keep`` leaves them.

    Raises
    ------
    ArgumentError
        `numbers` is unknown.

    Examples
    --------
    >>> reader = WordReader.of([["In", "1987", ",", "sales", "rose"], ["in", "1,988.5"]], at_least=2)
    >>> reader.vocabulary.symbols
    ('N', 'in')
    >>> ids, lengths = reader.batch([["in", "1990"], ["in"]])
    >>> ids.tolist(), lengths.tolist()
    ([[5, 4], [5, 0]], [2, 1])
    """

    def __init__(self, vocabulary: Vocabulary, *, lowercase: bool = True, numbers: str = "token") -> None:
        if numbers not in NUMBER_RULES:
            raise unknown("numbers", numbers, NUMBER_RULES)
        self.vocabulary, self.lowercase, self.numbers = vocabulary, lowercase, numbers

    @classmethod
    def of(
        cls,
        sentences: Sequence[Sequence[str]],
        *,
        most: int = 10_000,
        at_least: int = 1,
        lowercase: bool = True,
        numbers: str = "token",
    ) -> WordReader:
        """Collect the most frequent words of a text.

        Parameters
        ----------
        sentences : sequence of sequences of str
            The training text.
        most : int, default 10000
            So many words are known, of equally frequent ones the first in alphabetical order.
        at_least : int, default 1
            Rarer words are unknown.
        lowercase, numbers
            As in the class.

        Returns
        -------
        WordReader

        Examples
        --------
        >>> WordReader.of([["a", "rose", "is", "a", "rose"]], most=2).vocabulary.symbols
        ('a', 'rose')
        """
        empty = cls(Vocabulary([]), lowercase=lowercase, numbers=numbers)
        known = Vocabulary.count(([empty.normal(word) for word in own] for own in sentences), at_least=at_least)
        return cls(Vocabulary(known.symbols[:most]), lowercase=lowercase, numbers=numbers)

    def normal(self, word: str) -> str:
        """Return a word as it is looked up.

        Parameters
        ----------
        word : str
            As written.

        Returns
        -------
        str

        Examples
        --------
        >>> [WordReader(Vocabulary([])).normal(word) for word in ("The", "1,234.5", "1980s", "3/4", "5.")]
        ['the', 'N', 'Ns', 'N/N', 'N.']
        """
        word = word.lower() if self.lowercase else word
        return word if self.numbers == "keep" else _NUMBER[self.numbers].sub("N", word)

    def numbered(self, sentence: Sequence[str]) -> list[int]:
        """Return the numbers of a sentence's words.

        Parameters
        ----------
        sentence : sequence of str
            Its words.

        Returns
        -------
        list of int

        Examples
        --------
        >>> WordReader(Vocabulary(["the"])).numbered(["The", "dog"])
        [4, 1]
        """
        return [self.vocabulary[self.normal(word)] for word in sentence]

    def batch(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Number the words of some sentences.

        Parameters
        ----------
        sentences : sequence of sequences of str
            B sentences; may be empty ones.

        Returns
        -------
        ids : Tensor of int64, shape (B, N)
            Padded at the right with 0.
        lengths : Tensor of int64, shape (B,)
            Words of each sentence.
        """
        return padded([self.numbered(sentence) for sentence in sentences])

    def to_json(self) -> dict[str, Any]:
        """Return the reader as JSON's types.

        Returns
        -------
        dict
        """
        return {"words": list(self.vocabulary.symbols), "lowercase": self.lowercase, "numbers": self.numbers}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> WordReader:
        """Undo `to_json`.

        Parameters
        ----------
        document : dict
            From `to_json`.

        Returns
        -------
        WordReader

        Raises
        ------
        FormatError
            A part is missing or of another type.
        """
        try:
            words, numbers = Vocabulary(document["words"]), document["numbers"]
            return cls(words, lowercase=bool(document["lowercase"]), numbers=numbers)
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"text: expected the vocabulary of a saved parser, got {error!r}. Save the parser again."
            ) from None


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return rows of numbers as one tensor, padded at the right with 0, and their lengths.

    Parameters
    ----------
    rows : sequence of sequences of int
        B rows.

    Returns
    -------
    ids, lengths : Tensor of int64, shapes (B, N) and (B,)

    Examples
    --------
    >>> padded([[5, 6], []])[0].tolist()
    [[5, 6], [0, 0]]
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), int(lengths.max(initial=0))), np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    return torch.from_numpy(ids), torch.from_numpy(lengths)
