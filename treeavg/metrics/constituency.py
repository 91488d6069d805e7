"""Scores of constituency trees: F1 by sentence and by corpus, precision, recall, recall by label."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, align
from treeavg.errors import ArgumentError, unknown
from treeavg.kernels import overlap
from treeavg.metrics.base import Metric, Score, Signature, Statistics
from treeavg.transforms import simple_label
from treeavg.treebank import Treebank
from treeavg.version import __version__


@dataclass(frozen=True)
class Convention:
    """Which constituents and sentences count.

    Parameters
    ----------
    name : str
        What ``convention=`` calls it.
    second_root_counts : bool
        Whether only one copy of the whole sentence is removed, so that a unary chain at the root stays in the set.
    longest : int or None
        Longer sentences are not scored.
    epsilon : float
        Added to denominators.
    """

    name: str
    second_root_counts: bool
    longest: int | None
    epsilon: float


#: ``standard`` removes the whole sentence from both sets. ``kim2019`` is the scorer of most papers on unsupervised
#: parsing: it removes the last bracket only, so a second bracket over the whole sentence counts as an error.
CONVENTIONS = {
    "standard": Convention("standard", second_root_counts=False, longest=None, epsilon=0.0),
    "kim2019": Convention("kim2019", second_root_counts=True, longest=150, epsilon=1e-8),
}


def sentence_f1(statistics: Statistics, epsilon: float = 0.0) -> NDArray[np.float64]:
    """Return the F1 of each sentence, between 0 and 1.

    Nothing to find and nothing predicted is 1; only one of both empty is 0; a missing prediction is 0.

    Parameters
    ----------
    statistics : Statistics
        Counts.
    epsilon : float, default 0.0
        Added to denominators, as the published scorer does with 1e-8.

    Returns
    -------
    ndarray of float64, shape (S,)
    """
    matched = statistics.matched.astype(np.float64)
    predicted, gold = statistics.predicted, statistics.gold
    with np.errstate(divide="ignore", invalid="ignore"):
        if epsilon:
            precision, recall = matched / (predicted + epsilon), matched / (gold + epsilon)
            recall[gold == 0] = 1.0
            precision[(gold == 0) & (predicted == 0)] = 1.0
            value = 2 * precision * recall / (precision + recall + epsilon)
        else:
            value = np.where(gold + predicted == 0, 1.0, 2 * matched / (predicted + gold))
    return np.asarray(np.where(statistics.missing, 0.0, value), np.float64)


def _counts(statistics: Statistics) -> NDArray[np.float64]:
    return np.stack([statistics.matched, statistics.predicted, statistics.gold], axis=1).astype(np.float64)


def _share(part: NDArray[np.float64], whole: NDArray[np.float64], vacuous: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 100 part / whole; where there is no whole, 100 if nothing was to be found on the other side either."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * np.where(whole == 0, np.where(vacuous, 1.0, 0.0), part / whole))


def _metrics(epsilon: float) -> dict[str, Metric]:
    return {
        metric.name: metric
        for metric in (
            Metric(
                "sentence-f1",
                lambda statistics: np.stack([sentence_f1(statistics, epsilon), np.ones(len(statistics))], axis=1),
                lambda sums: np.asarray(100 * sums[..., 0] / sums[..., 1]),
            ),
            Metric(
                "corpus-f1",
                _counts,
                lambda sums: _share(2 * sums[..., 0], sums[..., 1] + sums[..., 2], sums[..., 1] == sums[..., 2]),
            ),
            Metric("precision", _counts, lambda sums: _share(sums[..., 0], sums[..., 1], sums[..., 2] == 0)),
            Metric("recall", _counts, lambda sums: _share(sums[..., 0], sums[..., 2], sums[..., 1] == 0)),
        )
    }


METRICS = tuple(_metrics(0.0))


def score(
    gold: Treebank,
    predicted: Treebank,
    *,
    metric: str = "sentence-f1",
    convention: str = "standard",
    on_error: str = "raise",
    check_tokens: bool = False,
    places: Places | None = None,
) -> Score:
    """Compare predicted trees with gold trees, labels aside.

    Parameters
    ----------
    gold, predicted : Treebank
        Over the same sentences in the same order, continuous; need not be binary. Not modified.
    metric : str, default "sentence-f1"
        ``sentence-f1`` (the mean over sentences), ``corpus-f1`` (pooled counts), ``precision`` or ``recall`` (pooled).
    convention : str, default "standard"
        ``standard`` removes the whole sentence from both sets; ``kim2019`` reproduces the literature's scorer: it
        removes one copy only, and leaves out sentences of more than 150 tokens.
    on_error : str, default "raise"
        ``skip`` scores a sentence that the prediction lacks as 0, and leaves out one that the gold side lacks; both are
        counted in the signature.
    check_tokens : bool, default False
        Require equal words, not only equal lengths.
    places : Places, optional
        How messages name the two treebanks.

    Returns
    -------
    Score
        Value between 0 and 100, statistics of each sentence, signature.

    Raises
    ------
    AlignmentError
        The treebanks do not hold the same sentences.
    ArgumentError
        An option is unknown, a tree is discontinuous, or there is no sentence of two tokens or more.

    Notes
    -----
    Sentences of one token are not scored. Constituents are compared as sets of spans of two tokens or more. A sentence
    where neither side has any scores 1, for everybody.

    References
    ----------
    [Kim2019], evaluation; its treatment of the root is described in docs/evaluation.md.

    Examples
    --------
    >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2)]])
    >>> predicted = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> print(f"{score(gold, predicted).value:.2f}")
    66.67
    """
    if convention not in CONVENTIONS:
        raise unknown("convention", convention, CONVENTIONS)
    rules = CONVENTIONS[convention]
    metrics = _metrics(rules.epsilon)
    if metric not in metrics:
        raise unknown("metric", metric, metrics)
    statistics = count_matches(gold, predicted, rules, on_error=on_error, check_tokens=check_tokens, places=places)
    signature = Signature(
        (
            ("metric", metric),
            ("convention", convention),
            ("root", "one-copy-removed" if rules.second_root_counts else "removed"),
            ("length", f"2-{rules.longest}" if rules.longest else "2+"),
            ("empty", "1"),
            ("sentences", str(len(statistics))),
            *((("missing", str(int(statistics.missing.sum()))),) if statistics.missing.any() else ()),
            *((("gold-missing", str(len(gold.missing))),) if len(gold.missing) else ()),
            ("version", __version__),
        )
    )
    chosen = metrics[metric]
    value = float(chosen.finish(chosen.terms(statistics).sum(axis=0)))
    return Score(value, chosen, statistics, signature, 100 * sentence_f1(statistics, rules.epsilon))


def count_matches(
    gold: Treebank,
    predicted: Treebank,
    rules: Convention,
    *,
    on_error: str = "raise",
    check_tokens: bool = False,
    places: Places | None = None,
) -> Statistics:
    """Count matched constituents of each scored sentence; see `score`."""
    places = places or Places(("gold", "predicted"))
    for side, bank in enumerate((gold, predicted)):
        sentence = bank.first_discontinuous if isinstance(bank, Treebank) else None
        if sentence is not None:
            raise ArgumentError(
                f"{places.of(side, sentence)}: expected continuous constituents, got {bank[sentence].constituents}. "
                "Discontinuous trees cannot be scored yet."
            )
    usable, _ = align([gold, predicted], places=places, check_tokens=check_tokens, on_error=on_error)
    counts = np.zeros((len(gold), 3), np.int64)
    overlap.match_constituents(
        gold.lengths, gold.offsets, gold.starts, gold.ends, predicted.offsets, predicted.starts, predicted.ends,
        rules.second_root_counts, 0, len(gold), counts,
    )  # fmt: skip
    missing = (usable == 0) & (gold.lengths > 0)
    counts[missing, :2] = 0
    scored = gold.lengths >= 2
    if rules.longest is not None:
        scored &= gold.lengths <= rules.longest
    if not scored.any():
        raise ArgumentError(
            f"{places.names[0]}: expected a sentence of two tokens or more to score, got none. Check the file."
        )
    return Statistics(
        np.flatnonzero(scored),
        gold.lengths[scored],
        counts[scored, 0],
        counts[scored, 1],
        counts[scored, 2],
        missing[scored],
    )


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
    if convention not in CONVENTIONS:
        raise unknown("convention", convention, CONVENTIONS)
    if gold.labels is None:
        raise ArgumentError("gold: expected labels, got trees without. Read them from a file that has labels.")
    rules = CONVENTIONS[convention]
    statistics = count_matches(gold, predicted, rules, on_error=on_error, check_tokens=check_tokens)
    marks = np.zeros(gold.constituent_count, np.bool_)
    overlap.mark_matched(
        gold.lengths, gold.offsets, gold.starts, gold.ends, predicted.offsets, predicted.starts, predicted.ends, marks
    )
    sentences = np.repeat(np.arange(len(gold)), np.diff(gold.offsets))
    usable = np.zeros(len(gold), bool)
    usable[statistics.sentences] = True
    found = usable.copy()
    found[statistics.sentences[statistics.missing]] = False
    counted = usable[sentences] & (gold.ends - gold.starts < gold.lengths[sentences])
    seen: set[tuple[int, int, int, str]] = set()
    matched: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row, sentence in zip(np.flatnonzero(counted).tolist(), sentences[counted].tolist(), strict=True):
        label = simple_label(gold.labels[row])
        key = (sentence, int(gold.starts[row]), int(gold.ends[row]), label)
        if key not in seen:
            seen.add(key)
            total[label] += 1
            matched[label] += bool(marks[row] and found[sentence])
    ranked = sorted(total, key=lambda label: (-total[label], label))
    return [LabelRecall(label, matched[label], total[label]) for label in ranked]
