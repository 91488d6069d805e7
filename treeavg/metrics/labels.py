"""Recall by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places
from treeavg.errors import ArgumentError, unknown
from treeavg.kernels import overlap
from treeavg.metrics.constituency import CONVENTIONS, count_matches, nothing_to_score
from treeavg.transforms import simple_label
from treeavg.treebank import Treebank
from treeavg.view import Constituent


@dataclass(frozen=True)
class LabelRecall:
    """How many gold constituents of a label were found.

    Parameters
    ----------
    label : str
        Without function tags.
    matched, gold : int
        Found and all.

    Examples
    --------
    >>> LabelRecall("NP", 3, 4).recall
    75.0
    """

    label: str
    matched: int
    gold: int

    @property
    def recall(self) -> float:
        """Share found, between 0 and 100."""
        return 100 * self.matched / self.gold


def label_recall(
    gold: Treebank,
    predicted: Treebank,
    *,
    convention: str = "standard",
    on_error: str = "raise",
    check_tokens: bool = False,
) -> list[LabelRecall]:
    """Return the recall of gold constituents by their label.

    Parameters
    ----------
    gold : Treebank
        With labels. Function tags and a leading ``WH`` are cut off; see `treeavg.transforms.simple_label`.
    predicted : Treebank
        Over the same sentences; its labels do not matter.
    convention : str, default "standard"
        Decides which sentences are scored. The whole sentence is left out in every convention.
    on_error, check_tokens
        As for `score`.

    Returns
    -------
    list of LabelRecall
        The most frequent label first. A constituent with several labels counts once for each.

    Raises
    ------
    ArgumentError
        The gold trees have no labels, or an option is unknown.
    AlignmentError
        The treebanks do not hold the same sentences.

    Examples
    --------
    >>> gold = Treebank.from_constituents([3], [[(0, 3), (0, 2)]], labels=[["S", "NP-SBJ"]])
    >>> label_recall(gold, gold)
    [LabelRecall(label='NP', matched=1, gold=1)]
    """
    counts = LabelCounts(convention, on_error=on_error, check_tokens=check_tokens)
    counts.add(gold, predicted)
    return counts.recall()


class LabelCounts:
    """Recall by label, added up batch by batch; see `label_recall`.

    Parameters
    ----------
    convention, on_error, check_tokens
        As for `label_recall`.
    places : Places, optional
        How messages name the two treebanks.
    """

    def __init__(
        self, convention: str, *, on_error: str = "raise", check_tokens: bool = False, places: Places | None = None
    ) -> None:
        if convention not in CONVENTIONS:
            raise unknown("convention", convention, CONVENTIONS)
        self._rules = CONVENTIONS[convention]
        self._options: dict[str, Any] = {"on_error": on_error, "check_tokens": check_tokens}
        self._places = places or Places(("gold", "predicted"))
        self._done = self._scored = 0
        self._matched: Counter[str] = Counter()
        self._total: Counter[str] = Counter()

    def add(self, gold: Treebank, predicted: Treebank) -> None:
        """Count the constituents of further sentences."""
        if gold.labels is None and gold.token_count:
            raise ArgumentError("gold: expected labels, got trees without. Read them from a file that has labels.")
        places = self._places.behind(self._done)
        statistics = count_matches(gold, predicted, self._rules, places=places, **self._options)
        self._done += len(gold)
        self._scored += len(statistics)
        marks = _marks(gold, predicted)
        usable = np.zeros(len(gold), bool)
        usable[statistics.sentences] = True
        found = usable.copy()
        found[statistics.sentences[statistics.missing]] = False
        seen: set[tuple[int, Constituent, str]] = set()
        for sentence in np.flatnonzero(usable).tolist():
            view = gold[sentence]
            first = int(gold.offsets[sentence])
            for place, (constituent, name) in enumerate(zip(view.constituents, view.labels or (), strict=True)):
                key = (sentence, constituent, simple_label(name))
                if constituent != ((0, len(view)),) and key not in seen:
                    seen.add(key)
                    self._total[key[2]] += 1
                    self._matched[key[2]] += bool(marks[first + place] and found[sentence])

    def append(self, other: LabelCounts) -> None:
        """Add the counts of other sentences."""
        self._done += other._done
        self._scored += other._scored
        self._matched.update(other._matched)
        self._total.update(other._total)

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        rows = [[label, self._matched[label], self._total[label]] for label in sorted(self._total)]
        return {"sentences": self._done, "scored": self._scored, "labels": rows}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], convention: str, *, places: Places | None = None) -> LabelCounts:
        """Return the counts that `as_json` gave."""
        counts = cls(convention, places=places)
        counts._done, counts._scored = value["sentences"], value["scored"]
        for label, matched, total in value["labels"]:
            counts._matched[label], counts._total[label] = matched, total
        return counts

    def recall(self) -> list[LabelRecall]:
        """Return the recall of each label, the most frequent first."""
        if not self._scored:
            raise nothing_to_score(self._places)
        ranked = sorted(self._total, key=lambda label: (-self._total[label], label))
        return [LabelRecall(label, self._matched[label], self._total[label]) for label in ranked]


def _marks(gold: Treebank, predicted: Treebank) -> NDArray[np.bool_]:
    """Return, for each gold constituent, whether the prediction has it."""
    marks = np.zeros(gold.constituent_count, np.bool_)
    if gold.is_continuous and predicted.is_continuous:
        overlap.mark_matched(
            gold.lengths, gold.offsets, gold.starts, gold.ends, predicted.offsets, predicted.starts, predicted.ends,
            marks,
        )  # fmt: skip
        return marks
    found = [
        one in own
        for own, view in ((set(other.constituents), view) for view, other in zip(gold, predicted, strict=True))
        for one in view.constituents
    ]
    return np.array(found, np.bool_)
