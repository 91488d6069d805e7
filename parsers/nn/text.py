"""Words, characters, tags and subwords as integers: what encoders read.

A batch holds, for every sentence, a position before its first word and one after its last: 0 and n + 1. Encoders give
these vectors of their own, so that a fencepost before the first or after the last word has two sides as any other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parsers.nn.vocabulary import BEGIN, END, Vocabulary
from treeavg.errors import ArgumentError, FormatError

_DIGITS = re.compile(r"\d")


@dataclass(frozen=True)
class TokenBatch:
    """Sentences as tensors, padded; B sentences, N words in the longest.

    Parameters
    ----------
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    words : Tensor of int64, shape (B, N + 2)
        Numbers of words, begin and end included.
    types : Tensor of int64, shape (B, N + 2)
        Rows of `characters`.
    characters : Tensor of int64, shape (U, C)
        Numbers of the characters of each distinct word of the batch.
    tags : Tensor of int64, shape (B, N + 2), optional
        Numbers of tags.
    subwords : Tensor of int64, shape (B, S), optional
        What a pretrained encoder reads.
    owners : Tensor of int64, shape (B, S), optional
        The position, 0 to N + 1, that each subword belongs to; N + 2 for padding.
    """

    lengths: Tensor
    words: Tensor
    types: Tensor
    characters: Tensor
    tags: Tensor | None = None
    subwords: Tensor | None = None
    owners: Tensor | None = None

    def to(self, device: torch.device | str) -> TokenBatch:
        """Return the batch on a device.

        Parameters
        ----------
        device : torch.device or str
            Where.

        Returns
        -------
        TokenBatch
        """
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items() if value is not None}
        return TokenBatch(**moved)


class TextReader:
    """Turns sentences into batches, always in the same way; part of a saved parser.

    Parameters
    ----------
    words, characters : Vocabulary
        Of the training text.
    tags : Vocabulary, optional
        Where tags are read as well.
    lowercase : bool, default True
        Read words without case, as most teachers write them.
    digits : bool, default True
        Read every digit as 0.
    tokenizer : optional
        A fast Hugging Face tokenizer, for a pretrained encoder.
    limit : int, optional
        The most subwords, begin and end included, that the pretrained encoder takes at once.
    """

    #: Characters of a word that are read; of longer words the first and the last ones.
    WIDEST = 24

    def __init__(
        self,
        words: Vocabulary,
        characters: Vocabulary,
        tags: Vocabulary | None = None,
        *,
        lowercase: bool = True,
        digits: bool = True,
        tokenizer: Any = None,
        limit: int | None = None,
    ) -> None:
        self.words, self.characters, self.tags = words, characters, tags
        self.lowercase, self.digits, self.tokenizer, self.limit = lowercase, digits, tokenizer, limit
        self._spelling: dict[str, list[int]] = {}
        self._pieces: dict[str, list[int]] = {}

    @classmethod
    def of(
        cls,
        sentences: Sequence[Sequence[str]],
        tags: Sequence[Sequence[str]] | None = None,
        *,
        at_least: int = 2,
        lowercase: bool = True,
        digits: bool = True,
        tokenizer: Any = None,
        limit: int | None = None,
    ) -> TextReader:
        """Collect the vocabularies of a text.

        Parameters
        ----------
        sentences : sequence of sequences of str
            The training text.
        tags : sequence of sequences of str, optional
            A tag for each word.
        at_least : int, default 2
            Rarer words are read by their characters alone.
        lowercase, digits, tokenizer, limit
            As in the class.

        Returns
        -------
        TextReader
        """
        normal = [[_normal(word, lowercase, digits) for word in sentence] for sentence in sentences]
        words = Vocabulary.count(normal, at_least=at_least)
        characters = Vocabulary.count((word for sentence in normal for word in sentence), at_least=2)
        known = Vocabulary.count(tags) if tags is not None else None
        return cls(words, characters, known, lowercase=lowercase, digits=digits, tokenizer=tokenizer, limit=limit)

    def batch(self, sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[str]] | None = None) -> TokenBatch:
        """Number the words of some sentences.

        Parameters
        ----------
        sentences : sequence of sequences of str
            B sentences; may be empty ones.
        tags : sequence of sequences of str, optional
            As many tags as words; needed where the reader knows tags.

        Returns
        -------
        TokenBatch
            On the CPU.

        Raises
        ------
        ArgumentError
            Tags are missing, or not one for each word.
        """
        normal = [[_normal(word, self.lowercase, self.digits) for word in sentence] for sentence in sentences]
        lengths = np.array([len(sentence) for sentence in normal], np.int64)
        shape = (len(normal), int(lengths.max(initial=0)) + 2)
        distinct: dict[str, int] = {}
        words, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, sentence in enumerate(normal):
            n = len(sentence)
            words[row, 0], words[row, n + 1] = BEGIN, END
            words[row, 1 : n + 1] = [self.words[word] for word in sentence]
            types[row, 1 : n + 1] = [distinct.setdefault(word, len(distinct) + 1) for word in sentence]
        subwords, owners = self._subwords(sentences, shape[1]) if self.tokenizer is not None else (None, None)
        return TokenBatch(
            torch.from_numpy(lengths),
            torch.from_numpy(words),
            torch.from_numpy(types),
            torch.from_numpy(self._characters(list(distinct))),
            self._tags(sentences, tags, shape),
            subwords,
            owners,
        )

    def to_json(self) -> dict[str, Any]:
        """Return all but the tokenizer as JSON's types.

        Returns
        -------
        dict
        """
        return {
            "words": list(self.words.symbols),
            "characters": list(self.characters.symbols),
            "tags": None if self.tags is None else list(self.tags.symbols),
            "lowercase": self.lowercase,
            "digits": self.digits,
            "limit": self.limit,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any], tokenizer: Any = None) -> TextReader:
        """Undo `to_json`.

        Parameters
        ----------
        document : dict
            From `to_json`.
        tokenizer : optional
            As in the class.

        Returns
        -------
        TextReader

        Raises
        ------
        FormatError
            A part is missing or of another type.
        """
        try:
            tags = document["tags"]
            return cls(
                Vocabulary(document["words"]),
                Vocabulary(document["characters"]),
                None if tags is None else Vocabulary(tags),
                lowercase=bool(document["lowercase"]),
                digits=bool(document["digits"]),
                tokenizer=tokenizer,
                limit=document["limit"],
            )
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"text: expected the vocabularies of a saved parser, got {error!r}. Save the parser again."
            ) from None

    def _characters(self, distinct: list[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return (U, C); row 0 stands for begin, end and padding."""
        rows = []
        for word in distinct:
            spelt = self._spelling.get(word)
            if spelt is None:
                half = self.WIDEST // 2
                seen = word if len(word) <= self.WIDEST else word[:half] + word[-half:]
                spelt = self._spelling[word] = [BEGIN, *(self.characters[letter] for letter in seen), END]
            rows.append(spelt)
        out = np.zeros((len(rows) + 1, max((len(row) for row in rows), default=2)), np.int64)
        for number, row in enumerate(rows, 1):
            out[number, : len(row)] = row
        return out

    def _tags(
        self, sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[str]] | None, shape: tuple[int, int]
    ) -> Tensor | None:
        if self.tags is None:
            return None
        if tags is None:
            raise ArgumentError("tags: expected one for each word, as in training, got none. Pass tagged text.")
        out = np.zeros(shape, np.int64)
        for row, (sentence, marks) in enumerate(zip(sentences, tags, strict=True)):
            if len(sentence) != len(marks):
                raise ArgumentError(
                    f"tags[{row}]: expected {len(sentence)} tags, one a word, got {len(marks)}. Tag every word."
                )
            out[row, 1 : len(marks) + 1] = [self.tags[mark] for mark in marks]
        return torch.from_numpy(out)

    def _subwords(self, sentences: Sequence[Sequence[str]], width: int) -> tuple[Tensor, Tensor]:
        rows: list[list[int]] = []
        owners: list[list[int]] = []
        for sentence in sentences:
            pieces = [self._cut(word) for word in sentence]
            rows.append(
                [
                    self.tokenizer.cls_token_id,
                    *(part for piece in pieces for part in piece),
                    self.tokenizer.sep_token_id,
                ]
            )
            inner = [place for place, piece in enumerate(pieces, 1) for _ in piece]
            owners.append([0, *inner, len(sentence) + 1])
        widest = max((len(row) for row in rows), default=2)
        ids = np.full((len(rows), widest), self.tokenizer.pad_token_id, np.int64)
        of = np.full((len(rows), widest), width, np.int64)
        for number, (row, owner) in enumerate(zip(rows, owners, strict=True)):
            ids[number, : len(row)], of[number, : len(owner)] = row, owner
        return torch.from_numpy(ids), torch.from_numpy(of)

    def _cut(self, word: str) -> list[int]:
        """Return the subwords of a word, at least one."""
        pieces = self._pieces.get(word)
        if pieces is None:
            pieces = self.tokenizer(word, add_special_tokens=False)["input_ids"] or [self.tokenizer.unk_token_id]
            self._pieces[word] = pieces
        return pieces


def _normal(word: str, lowercase: bool, digits: bool) -> str:
    """Return a word as the vocabularies know it."""
    if lowercase:
        word = word.lower()
    return _DIGITS.sub("0", word) if digits else word
