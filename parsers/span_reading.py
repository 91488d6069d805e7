"""What a trained student of constituency trees says of sentences: their trees, and the probabilities of their spans."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from parsers.nn.batches import token_batches
from parsers.nn.text import TextReader
from parsers.span_model import SpanModel
from parsers.tree_data import bank_of
from treeavg.averaging.hits import HitCounts
from treeavg.distill.split_model import SplitModel
from treeavg.strings import StringColumn, offsets_of
from treeavg.treebank import Treebank


def parse(
    model: SpanModel,
    reader: TextReader,
    words: list[list[str]],
    tags: list[list[str]] | None,
    decode: str,
    batch_tokens: int,
) -> Treebank:
    """Return the trees of all sentences, in order; the model is left in evaluation mode.

    Parameters
    ----------
    model, reader
        The network and what it reads.
    words, tags : list of list of str
        The sentences.
    decode : str
        ``mbr`` (the tree of the most expected spans), ``argmax`` (the most probable tree) or ``span`` (of the highest
        sum of single spans' probabilities).
    batch_tokens : int
        Words at once.

    Returns
    -------
    Treebank
        With the words.
    """
    lengths = np.array([len(own) for own in words], np.int64)
    order: list[int] = []
    parts: list[Treebank] = []
    for batch, student in _students(model, reader, words, tags, batch_tokens):
        if decode == "argmax":
            trees = student.argmax()
        elif decode == "mbr" or isinstance(student, SplitModel):
            trees = student.mbr()
        else:
            trees = type(student)(torch.sigmoid(student.scores), student.lengths).argmax()
        parts.append(bank_of(trees, lengths[batch]))
        order += batch.tolist()
    bank = (
        Treebank.concatenate(parts)[np.argsort(order, kind="stable")] if parts else Treebank.from_constituents([], [])
    )
    return bank.replace(tokens=StringColumn.of(word for own in words for word in own))


def expected_hits(
    model: SpanModel,
    reader: TextReader,
    words: list[list[str]],
    tags: list[list[str]] | None,
    weight: float,
    least: float,
    batch_tokens: int,
) -> HitCounts:
    """Return the probabilities of spans, times a weight, as hit counts; see `SpanParser.hit_counts`."""
    lengths = np.array([len(own) for own in words], np.int32)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = [_NO_HITS] * len(words)
    for batch, student in _students(model, reader, words, tags, batch_tokens):
        visits = student.visits.double().cpu().numpy()
        for row, index in enumerate(batch.tolist()):
            n = int(lengths[index])
            chart = np.triu(visits[row, : n + 1, : n + 1], 2)
            chart[0, n] = 0  # the whole sentence is no hit
            starts, ends = np.nonzero(chart >= least)
            found[index] = starts, ends, np.rint(np.minimum(chart[starts, ends], 1) * (weight / float(_HIT_UNIT)))
    columns = [np.concatenate([np.empty(0, np.int64), *parts]) for parts in zip(*found, strict=True)] or [*_NO_HITS]
    starts, ends, counts = columns
    offsets = offsets_of(np.array([len(part[0]) for part in found], np.int64))
    return HitCounts(
        lengths, offsets, starts.astype(np.int32), ends.astype(np.int32), counts.astype(np.int64),
        _HIT_UNIT, round(weight / _HIT_UNIT),
    )  # fmt: skip


def span_probabilities(
    model: SpanModel,
    reader: TextReader,
    words: list[list[str]],
    tags: list[list[str]] | None,
    batch_tokens: int,
) -> list[NDArray[np.float32]]:
    """Return the probabilities of spans; see `SpanParser.span_scores`."""
    found = [np.zeros((len(own) + 1, len(own) + 1), np.float32) for own in words]
    for batch, student in _students(model, reader, words, tags, batch_tokens):
        visits = student.visits.float().cpu().numpy()
        for row, index in enumerate(batch.tolist()):
            side = len(words[index]) + 1
            found[index] = np.ascontiguousarray(visits[row, :side, :side])
    return found


_NO_HITS = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))
#: Expected hits are counted in this unit.
_HIT_UNIT = Fraction(1, 10_000)


def _students(
    model: SpanModel, reader: TextReader, words: list[list[str]], tags: list[list[str]] | None, batch_tokens: int
) -> Any:
    device = model.scorer.weight.device
    model.eval()
    with torch.no_grad():
        for batch in token_batches(np.array([len(own) for own in words], np.int64), batch_tokens):
            tokens = reader.batch(taken(words, batch), taken(tags, batch)).to(device)
            yield batch, model.student(model(tokens), tokens.lengths)


def taken(items: Any, chosen: NDArray[np.int64]) -> Any:
    """Return the chosen sentences of words or tags, or None where there are none.

    Parameters
    ----------
    items : list of list of str, or None
        Words or tags of sentences.
    chosen : ndarray of int64
        Their places.

    Returns
    -------
    list of list of str, or None
    """
    return None if items is None else [items[index] for index in chosen.tolist()]
