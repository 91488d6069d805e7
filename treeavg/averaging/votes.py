"""What teachers say of given constituents: support, labels, and the best of the teachers' own trees of any shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from treeavg.averaging.pool import Objective
from treeavg.dependency import DependencyTreebank
from treeavg.strings import StringColumn
from treeavg.treebank import Treebank
from treeavg.view import NO_LABEL, Constituent

_Bank = TypeVar("_Bank", Treebank, DependencyTreebank)


def support_of(bank: _Bank, teachers: Sequence[_Bank], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of the weight that has each constituent or head of given trees.

    Parameters
    ----------
    bank : Treebank or DependencyTreebank
        The trees.
    teachers : sequence of Treebank or of DependencyTreebank, length K
        Over the same sentences, of the same kind and any shape.
    weights : ndarray of int64, shape (K,)
        Whole weights.

    Returns
    -------
    ndarray of float64, shape (M,) or (T,)
        Between 0 and 1; the whole sentence has all of the weight.
    """
    if isinstance(bank, DependencyTreebank):
        votes = np.zeros(bank.token_count, np.int64)
        for teacher, weight in zip(teachers, weights.tolist(), strict=True):
            for view in bank:
                theirs = teacher[view.index].heads
                if len(theirs) == len(view):
                    votes[view.part] += weight * (np.array(theirs) == np.array(view.heads))
        return np.asarray(votes / weights.sum(), np.float64)
    return _constituent_support(bank, teachers, weights)


def _constituent_support(
    bank: Treebank, teachers: Sequence[Treebank], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    total = int(weights.sum())
    shares = np.empty(bank.constituent_count)
    for sentence, view in enumerate(bank):
        hits: Counter[Constituent] = Counter()
        if len(view):
            for teacher, weight in zip(teachers, weights.tolist(), strict=True):
                for constituent in set(teacher[sentence].constituents):
                    hits[constituent] += weight
        whole = ((0, len(view)),)
        rows = slice(int(bank.offsets[sentence]), int(bank.offsets[sentence + 1]))
        shares[rows] = [1.0 if one == whole else hits[one] / total for one in view.constituents]
    return shares


def voted_labels(bank: Treebank, teachers: Sequence[Treebank], weights: NDArray[np.int64]) -> Treebank:
    """Give each constituent the label that most weight gives it; ties go to the first in the alphabet.

    Of a unary chain the lowest label counts. What no teacher has is labelled ``X``. Tags are voted on likewise.
    """
    labels: list[str] = []
    tags: list[str] = []
    tagged = all(teacher.tags is not None for teacher in teachers)
    for sentence, view in enumerate(bank):
        votes: dict[Constituent, Counter[str]] = {}
        own_tags: list[Counter[str]] = [Counter() for _ in range(len(view))]
        if len(view):
            for teacher, weight in zip(teachers, weights.tolist(), strict=True):
                tree = teacher[sentence]
                lowest = dict(zip(tree.constituents, tree.labels or (), strict=True))
                for constituent, label in lowest.items():
                    votes.setdefault(constituent, Counter())[label] += weight
                for position, tag in enumerate(tree.tags or () if tagged else ()):
                    own_tags[position][tag] += weight
        labels.extend(_winner(votes.get(constituent, Counter())) for constituent in view.constituents)
        tags.extend(map(_winner, own_tags))
    return bank.replace(labels=StringColumn.of(labels), tags=StringColumn.of(tags) if tagged else None)


def _winner(votes: Counter[str]) -> str:
    return min(votes, key=lambda name: (-votes[name], name)) if votes else NO_LABEL


def best_teacher_any(
    teachers: Sequence[Treebank], lengths: NDArray[np.int32], weights: NDArray[np.int64], objective: Objective
) -> NDArray[np.int64]:
    """Return, for each sentence, the first teacher whose tree is best under the objective, shape (N,)."""
    total = int(weights.sum())
    chosen = np.zeros(len(lengths), np.int64)
    for sentence, length in enumerate(lengths.tolist()):
        if length < 2:
            continue
        whole = ((0, length),)
        sets = [set(teacher[sentence].constituents) - {whole} for teacher in teachers]
        hits: Counter[Constituent] = Counter()
        for own, weight in zip(sets, weights.tolist(), strict=True):
            for constituent in own:
                hits[constituent] += weight
        pooled = sum(weight * (len(own) + length + 1) for own, weight in zip(sets, weights.tolist(), strict=True))

        def value(
            own: set[Constituent], hits: Counter[Constituent] = hits, length: int = length, pooled: int = pooled
        ) -> Fraction:
            held = sum(hits[constituent] for constituent in own)
            if not objective.ratio:
                return held - objective.value * total * len(own)
            size = len(own) + length + 1 + objective.value * pooled / total
            return (total * (length + 1) + held) / size

        values = [value(own) for own in sets]
        chosen[sentence] = values.index(max(values))
    return chosen
