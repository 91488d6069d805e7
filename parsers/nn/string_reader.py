"""Strings of words as a pretrained encoder's subwords; each word is cut once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from treeavg.errors import LimitError


class StringReader:
    """Turns strings of words into subwords, word by word, as the tokenizer does with text that is split into words.

    Parameters
    ----------
    tokenizer
        From `parsers.nn.pretrained.load_tokenizer`. Its mask token may be a word.
    limit : int, optional
        The most subwords, begin and end included, that the encoder takes.

    Examples
    --------
    >>> StringReader(*load_tokenizer("minilm")).read([["unbelievable", "[MASK]"]])  # doctest: +SKIP
    [[[23653], [103]]]
    """

    def __init__(self, tokenizer: Any, limit: int | None = None) -> None:
        self.tokenizer, self.limit = tokenizer, limit
        self._pieces: dict[str, list[int]] = {}
        if tokenizer.mask_token is not None:
            self._pieces[tokenizer.mask_token] = [tokenizer.mask_token_id]

    def read(self, strings: Sequence[Sequence[str]], names: Sequence[str] | None = None) -> list[list[list[int]]]:
        """Return the subwords of every word of every string, without begin and end.

        Parameters
        ----------
        strings : sequence of sequences of str
            May be empty ones.
        names : sequence of str, optional
            What messages call each string: the sentence that it was made of.

        Returns
        -------
        list of lists of lists of int
            A word has at least one; one in which the tokenizer finds nothing is unknown to it.

        Raises
        ------
        LimitError
            A string has more subwords than the encoder takes; nothing is ever cut off.
        """
        self._learn({word for string in strings for word in string})
        read = [[self._pieces[word] for word in string] for string in strings]
        if self.limit is not None:
            for place, pieces in enumerate(read):
                size = sum(map(len, pieces)) + 2
                if size > self.limit:
                    raise LimitError(
                        f"{names[place] if names is not None else f'strings[{place}]'}: expected at most {self.limit} "
                        f"subwords, the encoder's limit, got {size} in {len(pieces)} words, begin and end included. "
                        "Leave this sentence out, or split it."
                    )
        return read

    def batch(self, read: Sequence[Sequence[Sequence[int]]]) -> tuple[Tensor, Tensor]:
        """Return what an encoder takes: subwords with begin and end, padded, and where there are some.

        Parameters
        ----------
        read : sequence of sequences of sequences of int
            From `read`, S strings.

        Returns
        -------
        ids, mask : Tensor of int64, shape (S, L)
            On the CPU.
        """
        mark = self.tokenizer
        rows = [[mark.cls_token_id, *chain.from_iterable(pieces), mark.sep_token_id] for pieces in read]
        sizes = np.array([len(row) for row in rows], np.int64)
        inside = np.arange(sizes.max(initial=2)) < sizes[:, None]
        ids = np.full(inside.shape, mark.pad_token_id, np.int64)
        ids[inside] = np.fromiter(chain.from_iterable(rows), np.int64, int(sizes.sum()))
        return torch.from_numpy(ids), torch.from_numpy(inside.astype(np.int64))

    def _learn(self, words: set[str]) -> None:
        """Cut words that were not seen before."""
        new = sorted(words - self._pieces.keys())
        if not new:
            return
        # A space in front, as in the middle of text: byte-level tokenizers know few words without one.
        cut = self.tokenizer([" " + word for word in new], add_special_tokens=False, verbose=False)["input_ids"]
        unknown_piece = [self.tokenizer.unk_token_id]
        self._pieces.update((word, pieces or unknown_piece) for word, pieces in zip(new, cut, strict=True))
