"""Counts and metrics of constituency trees, continuous or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, align
from treeavg.errors import ArgumentError
from treeavg.kernels import overlap
from treeavg.metrics.base import Metric, Statistics
from treeavg.treebank import Treebank
from treeavg.view import Constituent


@dataclass(frozen=True)
class Convention:
    """Which constituents and sentences count.

    Parameters
    ----------
    name : str
        What ``convention=`` calls it.
    second_root_counts : bool
        Whether only one copy of the whole sentence is removed, so that a unary chain at the root stays in the set.
    published_lists : bool
        Whether discontinuous trees are counted as the published scorer does: as lists, so that a gold constituent that
        is repeated and missed counts each time, and without gold constituents of more than two blocks.
    longest : int or None
        Longer sentences are not scored.
    epsilon : float
        Added to denominators.
    """

    name: str
    second_root_counts: bool
    published_lists: bool
    longest: int | None
    epsilon: float


#: ``standard`` removes the whole sentence from both sets. ``kim2019`` is the scorer of most papers on unsupervised
#: parsing: it removes the last bracket only, so a second bracket over the whole sentence counts as an error.
#: ``tn-lcfrs`` is the scorer of papers on unsupervised discontinuous parsing.
CONVENTIONS = {
    "standard": Convention("standard", second_root_counts=False, published_lists=False, longest=None, epsilon=0.0),
    "kim2019": Convention("kim2019", second_root_counts=True, published_lists=False, longest=150, epsilon=1e-8),
    "tn-lcfrs": Convention("tn-lcfrs", second_root_counts=False, published_lists=True, longest=None, epsilon=0.0),
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


def _parts(statistics: Statistics) -> NDArray[np.float64]:
    """Return the counts of discontinuous constituents."""
    if statistics.discontinuous is None:
        return np.zeros((len(statistics), 3))
    return statistics.discontinuous.astype(np.float64)


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    total = sums[..., 1] + sums[..., 2]
    return _share(2 * sums[..., 0], total, total == 0)


def _published_f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 that is 0 where nothing was to be found, as in the published scorer of discontinuous trees."""
    return np.asarray(np.where(sums[..., 1] + sums[..., 2] == 0, 0.0, _f1(sums)), np.float64)


def _guarded_f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The published overall F1: 0 where no continuous constituent was predicted, whatever the others are worth."""
    return np.asarray(np.where(sums[..., 1] - sums[..., 4] == 0, 0.0, _published_f1(sums[..., :3])), np.float64)


def _all_counts(statistics: Statistics) -> NDArray[np.float64]:
    return np.concatenate([_counts(statistics), _parts(statistics)], axis=1)


def constituency_metrics(rules: Convention) -> dict[str, Metric]:
    """Return the metrics of a convention by their names."""
    part_f1 = _published_f1 if rules.published_lists else _f1
    return {
        metric.name: metric
        for metric in (
            Metric(
                "sentence-f1",
                lambda statistics: np.stack([sentence_f1(statistics, rules.epsilon), np.ones(len(statistics))], axis=1),
                lambda sums: np.asarray(100 * sums[..., 0] / sums[..., 1]),
            ),
            Metric("corpus-f1", _all_counts, _guarded_f1 if rules.published_lists else _f1),
            Metric("precision", _counts, lambda sums: _share(sums[..., 0], sums[..., 1], sums[..., 2] == 0)),
            Metric("recall", _counts, lambda sums: _share(sums[..., 0], sums[..., 2], sums[..., 1] == 0)),
            Metric("continuous-f1", lambda statistics: _counts(statistics) - _parts(statistics), part_f1),
            Metric("discontinuous-f1", _parts, part_f1),
        )
    }


CONSTITUENCY_METRICS = tuple(constituency_metrics(CONVENTIONS["standard"]))


def count_matches(
    gold: Treebank,
    predicted: Treebank,
    rules: Convention,
    *,
    on_error: str = "raise",
    check_tokens: bool = False,
    places: Places | None = None,
) -> Statistics:
    """Count matched constituents of each scored sentence, of which there may be none; see `score`."""
    places = places or Places(("gold", "predicted"))
    usable, _ = align([gold, predicted], places=places, check_tokens=check_tokens, on_error=on_error)
    counts = np.zeros((len(gold), 3), np.int64)
    parts = None
    if gold.is_continuous and predicted.is_continuous and not rules.published_lists:
        overlap.match_constituents(
            gold.lengths, gold.offsets, gold.starts, gold.ends, predicted.offsets, predicted.starts, predicted.ends,
            rules.second_root_counts, 0, len(gold), counts,
        )  # fmt: skip
    else:
        parts = np.zeros((len(gold), 3), np.int64)
        for sentence, (view, other) in enumerate(zip(gold, predicted, strict=True)):
            whole, several = _match_lists(view.constituents, other.constituents, len(view), rules)
            counts[sentence], parts[sentence] = whole, several
    missing = (usable == 0) & (gold.lengths > 0)
    counts[missing, :2] = 0
    if parts is not None:
        parts[missing, :2] = 0
    scored = gold.lengths >= 2
    if rules.longest is not None:
        scored &= gold.lengths <= rules.longest
    return Statistics(
        np.flatnonzero(scored),
        gold.lengths[scored],
        counts[scored, 0],
        counts[scored, 1],
        counts[scored, 2],
        missing[scored],
        parts[scored] if parts is not None else None,
    )


def _match_lists(
    gold: list[Constituent], predicted: list[Constituent], length: int, rules: Convention
) -> tuple[list[int], list[int]]:
    """Count matched, predicted and gold constituents of any fan-out: all, and those of several blocks."""
    whole = ((0, length),)
    mine = [one for one in gold if one != whole]
    theirs = [one for one in predicted if one != whole]
    if rules.second_root_counts:
        mine += [whole] * (gold.count(whole) > 1)
        theirs += [whole] * (predicted.count(whole) > 1)
    if rules.published_lists:
        mine = [one for one in mine if len(one) <= 2]
    else:
        mine, theirs = list(set(mine)), list(set(theirs))
    rows = []
    for several in (False, True):
        wanted = [one for one in mine if (len(one) > 1) == several]
        found = [one for one in theirs if (len(one) > 1) == several]
        matched = sum(one in wanted for one in found)
        # In lists a gold constituent that is repeated and found counts once, one that is missed each time.
        rows.append([matched, len(found), matched + sum(one not in found for one in wanted)])
    return [one + other for one, other in zip(*rows, strict=True)], rows[1]


def nothing_to_score(places: Places) -> ArgumentError:
    """Return the error for constituency trees that are all too short."""
    return ArgumentError(
        f"{places.names[0]}: expected a sentence of two tokens or more to score, got none. Check the file."
    )
