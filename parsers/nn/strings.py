"""Vectors of very many short strings from a pretrained encoder: of whole strings, or of their words.

Teachers that change a sentence in some thousand ways and look at what becomes of it spend all their time here. So each
word is cut into subwords once, equal strings are run once, strings of like length stand together, layers that nobody
looks at are not computed, and numbers are as short as the processor is fast with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parsers.nn.batches import token_batches
from parsers.nn.precision import PRECISIONS, converted, fast_bfloat16, first_layers
from parsers.nn.string_reader import StringReader
from treeavg.errors import unknown

__all__ = [
    "POOLINGS",
    "PRECISIONS",
    "StringEncoder",
    "StringReader",
    "WordVectors",
    "converted",
    "fast_bfloat16",
    "first_layers",
    "pool",
    "word_means",
]

POOLINGS = ("mean", "first")
#: Subwords run at once: what a processor's cache holds; what keeps a card busy.
_AT_ONCE = {"cpu": 2048, "cuda": 65_536}


@dataclass(frozen=True)
class WordVectors:
    """Vectors of the words of S strings, one string after the other.

    Parameters
    ----------
    vectors : Tensor of float32, shape (words of all strings, D)
        On the encoder's device.
    offsets : ndarray of int64, shape (S + 1,)
        The words of string s are ``vectors[offsets[s] : offsets[s + 1]]``.
    """

    vectors: Tensor
    offsets: NDArray[np.int64]

    def __getitem__(self, string: int) -> Tensor:
        """Return the vectors of the words of one string, (words, D)."""
        return self.vectors[self.offsets[string] : self.offsets[string + 1]]


class StringEncoder:
    """Runs an encoder, without gradients, over very many short strings.

    Parameters
    ----------
    backbone : Module
        From `parsers.nn.pretrained.load_backbone`. Not modified; later changes of its weights may not be seen.
    reader : StringReader
        Its words.
    layers : int, optional
        Stop after so many layers, 0 being the embedding; the others are not computed. By default all.
    pooling : str, default "mean"
        The vector of a string: ``mean`` of all its subwords, begin and end included, or that of the ``first``, begin.
    precision : str, default "auto"
        ``float32``; ``bfloat16``; ``int8``: weights and inputs of linear maps are rounded to 256 steps, those of a
        batch together, so that a vector depends a little on what stands in its batch (CPU only). ``auto``: bfloat16
        where the device computes with it, else float32.
    at_once : int, optional
        Subwords run at once, padding included; by default what suits the device.

    Raises
    ------
    ArgumentError
        An option is unknown or out of range.

    Examples
    --------
    >>> encoder = StringEncoder(load_backbone("minilm"), reader, layers=3)  # doctest: +SKIP
    >>> encoder.pooled([["it", "rains"], ["it", "pours"]]).shape  # doctest: +SKIP
    torch.Size([2, 384])
    """

    def __init__(
        self,
        backbone: nn.Module,
        reader: StringReader,
        *,
        layers: int | None = None,
        pooling: str = "mean",
        precision: str = "auto",
        at_once: int | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        self.device = next(backbone.parameters()).device
        self.reader, self.pooling = reader, pooling
        self.at_once = at_once if at_once is not None else _AT_ONCE.get(self.device.type, 2048)
        self.backbone = converted(backbone, precision, layers)

    def pooled(self, strings: Sequence[Sequence[str]], names: Sequence[str] | None = None) -> Tensor:
        """Return the vector of every string.

        Parameters
        ----------
        strings, names
            As for `StringReader.read`.

        Returns
        -------
        Tensor of float32, shape (S, D)
            On the encoder's device.

        Raises
        ------
        LimitError
            As for `StringReader.read`.
        """
        distinct, places = _distinct(strings)
        parts, order = [self._nothing()], []
        with self._evaluating():
            for chosen, _, hidden, mask in self._run(distinct, _first_names(names, places)):
                parts.append(pool(hidden, mask, self.pooling).float())
                order += chosen
        with torch.no_grad():
            return torch.cat(parts)[_rows(_inverse(order)[places], self.device)]

    def words(self, strings: Sequence[Sequence[str]], names: Sequence[str] | None = None) -> WordVectors:
        """Return the vector of every word of every string: the mean of those of its subwords.

        Parameters
        ----------
        strings, names
            As for `StringReader.read`.

        Returns
        -------
        WordVectors

        Raises
        ------
        LimitError
            As for `StringReader.read`.
        """
        distinct, places = _distinct(strings)
        parts, order = [self._nothing()], []
        with self._evaluating():
            for chosen, read, hidden, _ in self._run(distinct, _first_names(names, places)):
                parts.append(word_means(hidden, read))
                order += chosen
        lengths = np.array([len(string) for string in distinct], np.int64)
        starts = np.zeros(len(distinct), np.int64)  # where the words of each distinct string stand in the parts
        starts[order] = np.cumsum(lengths[order]) - lengths[order]
        own = lengths[places]
        offsets = np.concatenate([[0], np.cumsum(own)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(starts[places] - offsets[:-1], own)
        with torch.no_grad():
            return WordVectors(torch.cat(parts)[_rows(rows, self.device)], offsets)

    def _run(
        self, strings: list[tuple[str, ...]], names: Sequence[str] | None
    ) -> Iterator[tuple[list[int], list[list[list[int]]], Tensor, Tensor]]:
        """Run the encoder: which strings, their subwords, the vectors (B, L, D) of these, and where there are some."""
        read = self.reader.read(strings, names)
        sizes = np.array([sum(map(len, pieces)) + 2 for pieces in read], np.int64)
        for batch in token_batches(sizes, self.at_once):
            chosen = batch.tolist()
            own = [read[place] for place in chosen]
            ids, mask = (part.to(self.device) for part in self.reader.batch(own))
            yield chosen, own, self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state, mask

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Run without dropout and gradients; an encoder that is being trained is trained on afterwards."""
        training = self.backbone.training
        self.backbone.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.backbone.train(training)

    def _nothing(self) -> Tensor:
        config: Any = self.backbone.config
        return torch.zeros(0, int(config.hidden_size), device=self.device)


def pool(hidden: Tensor, mask: Tensor, how: str) -> Tensor:
    """Return the vectors of strings from those of their subwords.

    Parameters
    ----------
    hidden : Tensor, shape (S, L, D)
        Of the encoder's last layer.
    mask : Tensor of int64, shape (S, L)
        1 where there is a subword.
    how : str
        ``first`` or ``mean``.

    Returns
    -------
    Tensor, shape (S, D)

    Examples
    --------
    >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]), "mean").tolist()
    [[2.0]]
    """
    if how == "first":
        return hidden[:, 0]
    inside = mask.unsqueeze(-1)
    return (hidden.float() * inside).sum(1) / inside.sum(1)


def word_means(hidden: Tensor, read: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Return the vectors of words from those of their subwords.

    Parameters
    ----------
    hidden : Tensor, shape (S, L, D)
        Of S strings; the first subword of each is begin.
    read : sequence of sequences of sequences of int
        The subwords of each word of each string.

    Returns
    -------
    Tensor of float32, shape (words of all strings, D)

    Examples
    --------
    >>> word_means(torch.tensor([[[9.0], [1.0], [3.0], [5.0], [9.0]]]), [[[7, 7], [7]]]).tolist()
    [[2.0], [5.0]]
    """
    counts = np.array([len(pieces) for string in read for pieces in string], np.int64)
    own = np.array([sum(map(len, string)) for string in read], np.int64)
    starts = np.arange(len(read)) * hidden.shape[1] + 1 - (np.cumsum(own) - own)
    rows = _rows(np.arange(own.sum()) + np.repeat(starts, own), hidden.device)
    words = _rows(np.repeat(np.arange(len(counts)), counts), hidden.device)
    sums = torch.zeros(len(counts), hidden.shape[2], device=hidden.device)
    sums.index_add_(0, words, hidden.flatten(0, 1)[rows].float())
    return sums / torch.from_numpy(counts).to(hidden.device).unsqueeze(-1)


def _distinct(strings: Sequence[Sequence[str]]) -> tuple[list[tuple[str, ...]], NDArray[np.int64]]:
    """Return each string once, and the place of every string among them."""
    numbers: dict[tuple[str, ...], int] = {}
    places = np.array([numbers.setdefault(tuple(string), len(numbers)) for string in strings], np.int64)
    return list(numbers), places


def _first_names(names: Sequence[str] | None, places: NDArray[np.int64]) -> list[str] | None:
    """Return the name of the first of equal strings."""
    if names is None:
        return None
    _, first = np.unique(places, return_index=True)
    return [names[place] for place in first.tolist()]


def _inverse(order: list[int]) -> NDArray[np.int64]:
    return np.argsort(np.array(order, np.int64))


def _rows(rows: NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(rows).to(device)
