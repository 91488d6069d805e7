"""What a student of constituency trees is trained on: words, hit counts, the average, the teachers' trees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parsers.inputs import as_sentences
from treeavg.alignment import Places
from treeavg.averaging.constituency import best_binary_of
from treeavg.averaging.hits import HitCounts, hit_counts
from treeavg.dependency import DependencyTreebank
from treeavg.distill.tree_losses import TreeTargets
from treeavg.errors import AlignmentError, ArgumentError
from treeavg.strings import StringColumn, flat_ranges
from treeavg.transforms import binarize
from treeavg.treebank import Treebank


@dataclass(frozen=True)
class TreeData:
    """Sentences, and what the teachers say of each.

    Parameters
    ----------
    words : list of list of str, length N
        The sentences.
    tags : list of list of str, optional
        A tag for each word.
    hits : HitCounts
        Of the teachers.
    average : Treebank
        The binary trees with the most hits.
    teachers : list of Treebank, optional
        Their trees, binary; None where only hit counts were given.
    """

    words: list[list[str]]
    tags: list[list[str]] | None
    hits: HitCounts
    average: Treebank
    teachers: list[Treebank] | None

    @classmethod
    def of(
        cls,
        teachers: Sequence[Treebank] | HitCounts,
        *,
        sentences: Treebank | Sequence[Sequence[str]] | None = None,
        weights: Sequence[Any] | None = None,
        tags: bool = False,
        on_error: str = "raise",
        places: Places | None = None,
    ) -> TreeData:
        """Count the teachers' hits, average their trees, find the words.

        Parameters
        ----------
        teachers : sequence of Treebank, or HitCounts
            Over the same sentences.
        sentences : Treebank or sequence of sequences of str, optional
            The words. By default those of the teacher that tells the most words apart: some teachers lowercase, or
            write numbers as N.
        weights : sequence of numbers, optional
            Of teachers.
        tags : bool, default False
            Take the tags of `sentences` too, a Treebank with tags.
        on_error : str, default "raise"
            ``skip`` leaves out sentences that some teacher lacks.
        places : Places, optional
            How messages name the teachers.

        Returns
        -------
        TreeData

        Raises
        ------
        AlignmentError
            Teachers, or teachers and words, do not hold the same sentences.
        ArgumentError
            There are no words, or no tags; weights with hit counts.
        """
        if isinstance(teachers, HitCounts):
            if weights is not None:
                raise ArgumentError("weights: expected none with hit counts, got some. Weigh when counting.")
            hits, binary = teachers, None
        else:
            hits = hit_counts(teachers, weights=weights, on_error=on_error, places=places)
            binary = [bank if bank.is_binary else binarize(bank) for bank in teachers]
        words = _words(teachers, sentences, hits)
        marks = _tags(sentences, words) if tags else None
        column = StringColumn.of(
            word for own, length in zip(words, hits.lengths.tolist(), strict=True) if length for word in own
        )
        return cls(words, marks, hits, best_binary_of(hits, column), binary)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Words of each sentence that can be trained on, else 0; shape (N,)."""
        return self.hits.lengths

    def targets(self, chosen: NDArray[np.int64], needs: str) -> TreeTargets:
        """Return what a loss needs of some sentences.

        Parameters
        ----------
        chosen : ndarray of int64, shape (B,)
            Which sentences.
        needs : str
            ``hits``, ``average`` or ``teachers``.

        Returns
        -------
        TreeTargets
            On the CPU.
        """
        lengths = self.lengths[chosen].astype(np.int64)
        sizes = torch.from_numpy(lengths)
        weight = self.hits.weight
        if needs == "hits":
            return TreeTargets(sizes, hits=self._chart(chosen, lengths), weight=weight)
        if needs == "average":
            return TreeTargets(sizes, average=trees_of(self.average, chosen), weight=weight)
        assert self.teachers is not None
        return TreeTargets(sizes, teachers=torch.stack([trees_of(bank, chosen) for bank in self.teachers]))

    def digest(self) -> str:
        """Return a SHA-256 of all that training depends on."""
        text = hashlib.sha256(repr((self.words, self.tags)).encode())
        for part in (self.hits.lengths, self.hits.offsets, self.hits.starts, self.hits.ends, self.hits.counts):
            text.update(np.ascontiguousarray(part).tobytes())
        return text.hexdigest()

    def _chart(self, chosen: NDArray[np.int64], lengths: NDArray[np.int64]) -> Tensor:
        side = int(lengths.max(initial=0)) + 1
        counts = np.diff(self.hits.offsets)[chosen]
        rows = flat_ranges(self.hits.offsets[chosen], counts)
        chart = np.zeros((len(chosen), side, side), np.float32)
        chart[np.repeat(np.arange(len(chosen)), counts), self.hits.starts[rows], self.hits.ends[rows]] = (
            self.hits.counts[rows]
        )
        return torch.from_numpy(chart)


def trees_of(bank: Treebank, chosen: NDArray[np.int64]) -> Tensor:
    """Return binary trees as the losses want them, int64 (B, N - 1, 2).

    Parameters
    ----------
    bank : Treebank
        Binary.
    chosen : ndarray of int64, shape (B,)
        Which sentences.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> bank = Treebank.from_constituents([3, 2], [[(0, 3), (0, 2)], [(0, 2)]])
    >>> trees_of(bank, np.array([0, 1])).tolist()
    [[[0, 3], [0, 2]], [[0, 2], [0, 0]]]
    """
    counts = np.diff(bank.offsets)[chosen]
    rows = flat_ranges(bank.offsets[chosen], counts)
    widest = max(int(bank.lengths[chosen].max(initial=0)) - 1, 0)
    out = np.zeros((len(chosen), widest, 2), np.int64)
    place = (np.repeat(np.arange(len(chosen)), counts), flat_ranges(np.zeros(len(chosen), np.int64), counts))
    out[(*place, 0)], out[(*place, 1)] = bank.starts[rows], bank.ends[rows]
    return torch.from_numpy(out)


def bank_of(trees: Tensor, lengths: NDArray[np.int64]) -> Treebank:
    """Undo `trees_of`.

    Parameters
    ----------
    trees : Tensor of int64, shape (B, N - 1, 2)
        On any device.
    lengths : ndarray of int64, shape (B,)
        Words of each sentence.

    Returns
    -------
    Treebank
        Without words.
    """
    counts = np.maximum(lengths - 1, 0)
    spans = trees.cpu().numpy()
    kept = np.arange(spans.shape[1])[None, :] < counts[:, None]
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    starts, ends = (np.ascontiguousarray(spans[..., side][kept], np.int32) for side in (0, 1))
    return Treebank(lengths.astype(np.int32), offsets, starts, ends)


def _words(
    teachers: Sequence[Treebank] | HitCounts,
    sentences: Treebank | Sequence[Sequence[str]] | None,
    hits: HitCounts,
) -> list[list[str]]:
    """Return the words of each sentence, as many as its length says, where it has one."""
    if sentences is None:
        banks = [] if isinstance(teachers, HitCounts) else [bank for bank in teachers if bank.tokens is not None]
        fitting = [bank for bank in banks if np.array_equal(np.where(hits.lengths, bank.lengths, 0), hits.lengths)]
        if not fitting:
            raise ArgumentError("sentences: expected the words, since the teachers have none. Pass sentences=.")
        sentences = max(fitting, key=lambda bank: len(set(bank.tokens or ())))
    words = as_sentences(sentences)
    if len(words) != len(hits):
        raise AlignmentError(f"sentences: expected {len(hits)} as the teachers have, got {len(words)}. Pass the same.")
    for index, (own, length) in enumerate(zip(words, hits.lengths.tolist(), strict=True)):
        if length and len(own) != length:
            raise AlignmentError(
                f"sentences[{index}]: expected {length} words as the teachers have, got {len(own)}. "
                "Pass the same sentences."
            )
    return words


def _tags(sentences: object, words: list[list[str]]) -> list[list[str]]:
    if not isinstance(sentences, Treebank) or sentences.tags is None:
        raise ArgumentError("sentences: expected a treebank with tags, since tags=True, got none. Pass tags=False.")
    return tags_of(sentences)


def tags_of(sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the tags of each sentence.

    Parameters
    ----------
    sentences : Treebank
        With tags.

    Returns
    -------
    list of list of str

    Raises
    ------
    ArgumentError
        There are none.
    """
    if not isinstance(sentences, Treebank) or sentences.tags is None:
        raise ArgumentError(
            "sentences: expected a treebank with tags, which the parser was trained on, got none. Pass tagged text."
        )
    marks, bounds = list(sentences.tags), sentences.token_offsets.tolist()
    return [marks[begin:end] for begin, end in pairwise(bounds)]
