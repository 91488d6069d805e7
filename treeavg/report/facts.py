"""The numbers of a report: scores with intervals and tests, agreement, by length, by label, reliability."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from treeavg.metrics import CONVENTIONS, Score, score, sign_test
from treeavg.metrics.base import Metric, Signature, Statistics
from treeavg.metrics.constituency import constituency_metrics
from treeavg.metrics.dependency import DEPENDENCY_METRICS
from treeavg.report.resampling import resample
from treeavg.report.rows import Rows, used_entries
from treeavg.report.systems import Systems
from treeavg.transforms import simple_label
from treeavg.treebank import Treebank

#: Labels that a report lists, the most frequent first.
MOST_LABELS = 40


@dataclass(frozen=True)
class Column:
    """A column of scores in the summary.

    Parameters
    ----------
    metric, convention : str
        As for `treeavg.score`.
    title : str
        Its header.
    interval : bool
        Whether it comes with a confidence interval.
    """

    metric: str
    convention: str
    title: str
    interval: bool = False

    @property
    def key(self) -> str:
        """What the page's data calls it."""
        return f"{self.metric}/{self.convention}"


def columns_of(systems: Systems) -> tuple[Column, ...]:
    """Return the scores that suit the trees; the first decides which teacher is best, and is tested."""
    members = systems.members
    if systems.is_dependency:
        gold: Any = members[0].bank
        names = {"uas": "UAS", "undirected-uas": "undirected UAS", "span-f1": "span F1"}
        if gold.tokens is not None:
            names["uas-words"] = "UAS without punctuation"
        if all(cast("Any", member.bank).relations is not None for member in members):
            names["las"] = "LAS"
        return tuple(Column(name, "standard", title, name == "uas") for name, title in names.items())
    if all(cast("Treebank", member.bank).is_continuous for member in members):
        lengths = members[0].bank.lengths
        longest = CONVENTIONS["kim2019"].longest or int(lengths.max(initial=0))
        kim2019 = (Column("sentence-f1", "kim2019", "sentence F1, kim2019", True),)
        return (
            Column("sentence-f1", "standard", "sentence F1, standard", True),
            *(kim2019 if ((lengths > 1) & (lengths <= longest)).any() else ()),  # it scores no longer sentences
            Column("corpus-f1", "standard", "corpus F1"),
            Column("precision", "standard", "precision"),
            Column("recall", "standard", "recall"),
        )
    return (
        Column("corpus-f1", "standard", "F1, standard", True),
        Column("corpus-f1", "tn-lcfrs", "F1, tn-lcfrs", True),
        Column("continuous-f1", "standard", "continuous F1"),
        Column("discontinuous-f1", "standard", "discontinuous F1"),
        Column("precision", "standard", "precision"),
        Column("recall", "standard", "recall"),
    )


def rounded(value: float, digits: int = 6) -> float | None:
    """Return a number for the page's data: rounded, so that machines agree on it; None where there is none."""
    return None if np.isnan(value) else round(float(value), digits) + 0.0


class Scores:
    """The scores of all systems against gold; sentences are counted once for each convention.

    Parameters
    ----------
    systems : Systems
        With gold.
    on_error : str
        As for `treeavg.score`.
    """

    def __init__(self, systems: Systems, on_error: str) -> None:
        self.columns = columns_of(systems)
        self.scored = systems.indices("teacher", "average", "student")
        self._systems = systems
        self._on_error = on_error
        self._counted: dict[tuple[int, str], Score] = {}

    def of(self, system: int, column: Column) -> Score:
        """Return a system's score."""
        dependency = self._systems.is_dependency
        key = (system, column.metric if dependency else column.convention)
        if key not in self._counted:
            self._counted[key] = score(
                self._systems.members[0].bank,
                self._systems.members[system].bank,
                metric=column.metric,
                convention=column.convention,
                on_error=self._on_error,
                places=self._systems.pair(0, system),
            )
        counted = self._counted[key]
        if counted.metric.name == column.metric:
            return counted
        metric = constituency_metrics(CONVENTIONS[column.convention])[column.metric]
        sums = metric.terms(counted.statistics).sum(axis=0)
        items = (("metric", column.metric), *counted.signature.items[1:])
        return replace(counted, value=float(metric.finish(sums)), metric=metric, signature=Signature(items))


def summary(systems: Systems, scores: Scores, *, samples: int, seed: int) -> dict[str, Any]:
    """Return the summary table: scores, 95 % intervals, tests against the best teacher."""
    first = scores.columns[0]
    teachers = systems.indices("teacher")
    best = max(teachers, key=lambda index: (scores.of(index, first).value, -index))
    resampled = {
        column.key: resample([scores.of(index, column) for index in scores.scored], samples=samples, seed=seed)
        for column in scores.columns
        if column.interval
    }
    rows = []
    for place, index in enumerate(scores.scored):
        own = scores.of(index, first)
        row: dict[str, Any] = {
            "system": index,
            "values": {column.key: rounded(scores.of(index, column).value) for column in scores.columns},
            "intervals": {key: [rounded(value) for value in drawn.interval(place)] for key, drawn in resampled.items()},
            "missing": int(own.statistics.missing.sum()),
        }
        if index != best:
            low, high, p_value = resampled[first.key].against(place, scores.scored.index(best))
            sign = sign_test(own, scores.of(best, first))
            row["test"] = {
                "difference": rounded(sign.difference),
                "interval": [rounded(low), rounded(high)],
                "p": float(f"{p_value:.4g}"),
                "sign_p": float(f"{sign.p_value:.4g}"),
                "wins": sign.wins,
                "losses": sign.losses,
                "ties": sign.ties,
            }
        rows.append(row)
    return {
        "columns": [{"key": one.key, "title": one.title, "interval": one.interval} for one in scores.columns],
        "rows": rows,
        "best": best,
        "samples": samples,
        "seed": seed,
        "signatures": [str(scores.of(best, column).signature) for column in scores.columns],
    }


def agreements(systems: Systems, rows: Rows) -> dict[str, Any]:
    """Return the agreement of all systems but gold with one another, and of each with the teachers.

    The numbers are those of `treeavg.agreement`, from rows that are at hand anyway: pairs are many, and comparing
    discontinuous trees one by one is slow.
    """
    shown = systems.indices("teacher", "average", "student")
    banks = [systems.members[index].bank for index in shown]
    metric, signature = _agreement_metric(systems, banks)
    sentences, count = rows.sentences, len(systems.lengths)
    held = [rows.members[index] & ~rows.whole for index in shown]
    sizes = [np.bincount(sentences[own], minlength=count) for own in held]
    values = np.full((len(shown), len(shown)), 100.0)
    for one in range(len(shown)):
        for other in range(one + 1, len(shown)):
            both = np.bincount(sentences[held[one] & held[other]], minlength=count)
            for gold, predicted in ((one, other), (other, one)):
                scored = systems.present[shown[gold]] & (systems.lengths >= (1 if systems.is_dependency else 2))
                missing = ~systems.present[shown[predicted]]
                found = np.where(missing & systems.is_dependency, sizes[gold], sizes[predicted])
                statistics = Statistics(
                    np.arange(count), systems.lengths, both, found, sizes[gold], missing
                ).where(scored)  # fmt: skip
                if len(statistics):
                    values[gold, predicted] = metric.finish(metric.terms(statistics).sum(axis=0))
    teachers = [place for place, index in enumerate(shown) if systems.members[index].role == "teacher"]
    means = []
    for place in range(len(shown)):
        others = [other for other in teachers if other != place]
        means.append(rounded(float(values[others, place].mean())) if others else None)
    return {
        "systems": shown,
        "values": [[rounded(value) for value in row] for row in values.tolist()],
        "means": means,
        "signature": signature,
    }


def _agreement_metric(systems: Systems, banks: list[Any]) -> tuple[Metric, str]:
    """Return what agreement is measured by, and its conventions in words."""
    if systems.is_dependency:
        return DEPENDENCY_METRICS["uas"], "metric:uas"
    name = "sentence-f1" if all(bank.is_continuous for bank in banks) else "corpus-f1"
    metric = constituency_metrics(CONVENTIONS["standard"])[name]
    return metric, f"metric:{name}|convention:standard|root:removed|length:2+|empty:1"


def by_length(systems: Systems, scores: Scores) -> dict[str, Any]:
    """Return the first score by classes of sentence length."""
    column = scores.columns[0]
    table = {index: scores.of(index, column).by_length() for index in scores.scored}
    classes = table[scores.scored[0]]
    return {
        "metric": column.title,
        "classes": [name for name, _, _ in classes],
        "sentences": [count for _, count, _ in classes],
        "rows": [{"system": index, "values": [rounded(one[2]) for one in own]} for index, own in table.items()],
    }


def by_label(systems: Systems, rows: Rows) -> dict[str, Any] | None:
    """Return recall by gold label, as `treeavg.label_recall` counts it; None without labels to tell apart."""
    gold = systems.members[0].bank
    if not isinstance(gold, Treebank) or gold.labels is None:
        return None
    entries = used_entries(systems, 0, gold.offsets)[1]
    names = list(gold.labels.take(entries))
    simple = {name: simple_label(name) for name in set(names)}
    known = sorted(set(simple.values()))
    codes = {label: code for code, label in enumerate(known)}
    # A constituent with several labels counts once for each, with the same label twice once.
    pairs = np.unique(rows.places[0] * len(known) + np.array([codes[simple[name]] for name in names], np.int64))
    places, labels = np.divmod(pairs, max(len(known), 1))
    kept = ~rows.whole[places]
    places, labels = places[kept], labels[kept]
    total = np.bincount(labels, minlength=len(known))
    shown = sorted((code for code in range(len(known)) if total[code]), key=lambda code: (-total[code], known[code]))
    shown = shown[:MOST_LABELS]
    if len(shown) < 2:
        return None
    table = []
    for index in systems.indices("teacher", "average", "student"):
        matched = np.bincount(labels[rows.members[index][places]], minlength=len(known))
        table.append({"system": index, "values": [rounded(100 * matched[code] / total[code]) for code in shown]})
    return {"labels": [known[code] for code in shown], "gold": total[shown].tolist(), "rows": table}


def reliability(systems: Systems, rows: Rows) -> dict[str, Any]:
    """Return how often a constituent is right, by how many teachers have it.

    Sentences that gold or a teacher lacks are left out. The intervals are Wilson's (95 %), as if constituents were
    independent of one another, which those of one sentence are not.
    """
    teachers = systems.indices("teacher")
    usable = np.logical_and.reduce(systems.present[[0, *teachers]])
    counted = usable[rows.sentences] & ~rows.whole
    hits = rows.hits(teachers)
    right: NDArray[np.bool_] = rows.members[0]
    series = [("any teacher", counted & (hits > 0))]
    series += [
        (systems.members[index].name, counted & rows.members[index]) for index in systems.indices("average", "student")
    ]
    curves = []
    for name, chosen in series:
        total = np.bincount(hits[chosen], minlength=len(teachers) + 1)
        correct = np.bincount(hits[chosen & right], minlength=len(teachers) + 1)
        bins = [
            {"hits": number, "total": int(total[number]), "right": int(correct[number]),
             "interval": [rounded(value) for value in wilson(int(correct[number]), int(total[number]))]}
            for number in range(len(teachers) + 1)
            if total[number]
        ]  # fmt: skip
        curves.append({"name": name, "bins": bins})
    return {"teachers": len(teachers), "curves": curves}


def wilson(right: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, in percent.

    Parameters
    ----------
    right, total : int
        ``0 <= right <= total``, `total` at least 1.

    Returns
    -------
    tuple of float

    References
    ----------
    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.

    Examples
    --------
    >>> [round(value, 1) for value in wilson(5, 10)]
    [23.7, 76.3]
    """
    z = 1.959963984540054
    share = right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    return max(0.0, 100 * (middle - half)), min(100.0, 100 * (middle + half))


def disagreement(systems: Systems, rows: Rows) -> NDArray[np.float64] | None:
    """Return 100 minus the mean F1 of all pairs of teachers, for each sentence.

    Parameters
    ----------
    systems : Systems
        With their trees.
    rows : Rows
        Of these systems.

    Returns
    -------
    ndarray of float64, shape (N,), or None
        NaN where a teacher lacks the sentence, or it has no words; None for a single teacher.
    """
    teachers = systems.indices("teacher")
    if len(teachers) < 2:
        return None
    counted = ~rows.whole
    sentences = rows.sentences
    count = len(systems.lengths)
    sizes = [np.bincount(sentences[counted & rows.members[index]], minlength=count) for index in teachers]
    total = np.zeros(count)
    pairs = 0
    for place, one in enumerate(teachers):
        for further, other in enumerate(teachers[place + 1 :], place + 1):
            both = np.bincount(sentences[counted & rows.members[one] & rows.members[other]], minlength=count)
            size = sizes[place] + sizes[further]
            total += np.where(size == 0, 100.0, 200.0 * both / np.maximum(size, 1))
            pairs += 1
    usable = systems.present[teachers].all(axis=0)
    return np.where(usable, 100.0 - total / pairs, np.nan)
