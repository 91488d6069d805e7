"""Counts and metrics of dependency trees: attachment scores, spans of words' yields."""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, align
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError
from treeavg.kernels import projective
from treeavg.metrics.base import Metric, Statistics
from treeavg.strings import offsets_of


def _pooled(statistics: Statistics) -> NDArray[np.float64]:
    return np.stack([statistics.matched, statistics.predicted, statistics.gold], axis=1).astype(np.float64)


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    # Numbers of words on both sides are equal, so that F1 is also the share of words that are right.
    total = sums[..., 1] + sums[..., 2]
    return np.asarray(np.where(total == 0, 100.0, 200 * sums[..., 0] / np.maximum(total, 1)), np.float64)


#: Share of words with the right head; the same without punctuation; with the right neighbour, whichever is the head;
#: with the right head and relation; F1 of the spans of words' yields.
DEPENDENCY_METRICS = {
    name: Metric(name, _pooled, _f1) for name in ("uas", "uas-words", "undirected-uas", "las", "span-f1")
}


def count_heads(
    gold: DependencyTreebank,
    predicted: DependencyTreebank,
    metric: str,
    *,
    on_error: str,
    check_tokens: bool,
    places: Places | None,
) -> Statistics:
    """Count what is right in each sentence, of which there may be none; see `treeavg.score`."""
    places = places or Places(("gold", "predicted"))
    usable, _ = align([gold, predicted], places=places, check_tokens=check_tokens, on_error=on_error)
    missing = (usable == 0) & (gold.lengths > 0)
    both = np.flatnonzero(usable > 0)
    mine, theirs = gold[both], predicted[both]
    counts = np.zeros((len(gold), 3), np.int64)
    if metric == "span-f1":
        counts[:, 2] = _spans(gold, gold)
        counts[both, 1] = _spans(theirs, theirs)
        counts[both, 0] = _spans(mine, theirs)
    else:
        counted = _counted(gold, metric, places)
        counts[:, 2] = _by_sentence(counted, gold)
        counts[both, 1] = counts[both, 2]
        right = _right(mine, theirs, metric, places)
        counts[both, 0] = _by_sentence(right & counted[np.repeat(usable > 0, gold.lengths)], mine)
    # A missing prediction has as many wrong words as the sentence has words.
    counts[missing, 1] = counts[missing, 2]
    scored = gold.lengths > 0
    return Statistics(
        np.flatnonzero(scored),
        gold.lengths[scored],
        counts[scored, 0],
        counts[scored, 1],
        counts[scored, 2],
        missing[scored],
    )


def sentence_values(statistics: Statistics) -> NDArray[np.float64]:
    """Return the value of each sentence, between 0 and 100."""
    return _f1(_pooled(statistics))


def is_punctuation(word: str) -> bool:
    """Tell whether every character of a word is punctuation in Unicode, as the CoNLL shared tasks define it.

    Examples
    --------
    >>> is_punctuation("..."), is_punctuation("$"), is_punctuation("'s")
    (True, False, False)
    """
    return bool(word) and all(unicodedata.category(letter).startswith("P") for letter in word)


def _counted(gold: DependencyTreebank, metric: str, places: Places) -> NDArray[np.bool_]:
    if metric != "uas-words":
        return np.ones(gold.token_count, np.bool_)
    if gold.tokens is None:
        raise ArgumentError(f"{places.names[0]}: expected words, to tell punctuation, got none. Use metric='uas'.")
    return np.array([not is_punctuation(word) for word in gold.tokens], np.bool_)


def _right(mine: DependencyTreebank, theirs: DependencyTreebank, metric: str, places: Places) -> NDArray[np.bool_]:
    right = mine.heads == theirs.heads
    if metric == "undirected-uas":
        # A predicted arc from h to d is right too where the gold arc goes from d to h.
        begins = np.repeat(mine.token_offsets[:-1], mine.lengths)
        own = np.arange(mine.token_count) - begins + 1
        heads = theirs.heads.astype(np.int64)
        turned = mine.heads[np.maximum(begins + heads - 1, 0)] == own
        right = right | ((heads > 0) & turned)
    if metric == "las":
        for side, bank in enumerate((mine, theirs)):
            if bank.relations is None:
                raise ArgumentError(f"{places.names[side]}: expected relations, got none. Use metric='uas'.")
        right = right & np.array(
            [one == other for one, other in zip(mine.relations or (), theirs.relations or (), strict=True)], np.bool_
        )
    return np.asarray(right, np.bool_)


def _by_sentence(values: NDArray[np.bool_], bank: DependencyTreebank) -> NDArray[np.int64]:
    running = offsets_of(values)
    return np.asarray(running[bank.token_offsets[1:]] - running[bank.token_offsets[:-1]], np.int64)


def _spans(one: DependencyTreebank, other: DependencyTreebank) -> NDArray[np.int64]:
    matched, sizes = np.zeros(len(one), np.int64), np.zeros(len(one), np.int64)
    projective.matched_spans(one.lengths, one.token_offsets, one.heads, other.heads, matched, sizes)
    return matched
