"""Scores and agreement over shards: each shard gives exact sums, which add up to what one process computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from treeavg.alignment import Places
from treeavg.dependency import DependencyTreebank
from treeavg.engine.works import Writers, reading_of
from treeavg.errors import ArgumentError
from treeavg.formats import AlignedReader, Columns
from treeavg.metrics import CONVENTIONS, Agreement, score
from treeavg.metrics.base import LENGTH_CLASSES, Metric, Score, Signature
from treeavg.metrics.constituency import constituency_metrics
from treeavg.metrics.dependency import DEPENDENCY_METRICS
from treeavg.metrics.exact import added, as_text, exact_sums
from treeavg.transforms import binarize, branching

#: Names of the systems that the gold trees themselves give.
BASELINES = ("(left-branching)", "(right-branching)", "(oracle, binary)")
#: Conventions of a number that count sentences: they are added up.
_COUNTS = ("sentences", "missing", "gold-missing")


@dataclass(frozen=True)
class ShardedScore:
    """A score over all shards.

    Parameters
    ----------
    value : float
        As `treeavg.score` gives it for the whole text.
    signature : Signature
        Every convention in the number.
    missing : int
        Sentences that the prediction lacks.
    by_length : list of (str, int, float)
        As `Score.by_length` gives it.
    """

    value: float
    signature: Signature
    missing: int
    by_length: list[tuple[str, int, float]]


def score_work(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Score one shard; see `treeavg.engine.tasks.Work`.

    Parameters
    ----------
    paths : tuple of str
        The gold file, then those of the systems.
    options : mapping
        ``reading``, ``metric`` (or None for all), ``convention``, ``baselines``.
    write : mapping
        Empty.
    first : int
        Not used.

    Returns
    -------
    dict
        ``sentences``, ``problems``, ``words`` (whether gold has them), ``continuous`` (one a treebank; None for
        dependency trees) and, for each of ``systems``, the sums of each metric.
    """
    las = options["metric"] == "las"
    words = Columns(tokens=reading_of(options).check_tokens, labels=las)
    (gold, *systems), problems = _read(paths, options, [Columns(labels=las), *([words] * (len(paths) - 1))])
    continuous = [_continuous(bank) for bank in (gold, *systems)]
    names = list(paths[1:])
    if options["baselines"]:
        if not _continuous(gold):
            raise ArgumentError(
                f"--baselines: expected continuous constituency trees, got other trees in {paths[0]}. Leave it out."
            )
        systems += [branching(gold, "left"), branching(gold, "right"), binarize(gold)]
        names += BASELINES
    metrics = [options["metric"]] if options["metric"] else _all_metrics(gold)
    return {
        "sentences": len(gold),
        "problems": problems,
        "words": gold.tokens is not None,
        "continuous": continuous,
        "systems": [
            {metric: _sums(gold, bank, metric, options, (paths[0], name)) for metric in metrics}
            for bank, name in zip(systems, names, strict=True)
        ],
    }


def agree_work(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Compare the teachers of one shard with each other; see `treeavg.engine.tasks.Work`.

    Parameters
    ----------
    paths : tuple of str, length K
        The teachers' files.
    options : mapping
        ``reading``, ``metric`` (or None), ``convention``.
    write : mapping
        Empty.
    first : int
        Not used.

    Returns
    -------
    dict
        ``sentences``, ``problems``, ``continuous``, and ``pairs``: (K, K) sums of each metric that may be wanted.
    """
    wanted = Columns(tokens=reading_of(options).check_tokens, labels=options["metric"] == "las")
    banks, problems = _read(paths, options, [wanted] * len(paths))
    kind = [] if isinstance(banks[0], DependencyTreebank) else ["sentence-f1", "corpus-f1"]
    metrics = [options["metric"]] if options["metric"] else kind or ["uas"]
    return {
        "sentences": len(banks[0]),
        "problems": problems,
        "continuous": [_continuous(bank) for bank in banks],
        "pairs": [
            [
                {metric: _sums(gold, bank, metric, options, (one, other)) for metric in metrics}
                for bank, other in zip(banks, paths, strict=True)
            ]
            for gold, one in zip(banks, paths, strict=True)
        ],
    }


def default_metrics(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the metrics that a table of scores shows where none is named.

    Parameters
    ----------
    results : sequence of mapping
        From `score_work`.

    Returns
    -------
    list of str
    """
    flags = [flag for result in results for flag in result["continuous"]]
    if flags[0] is None:
        words = ["uas-words"] if all(result["words"] for result in results) else []
        return ["uas", *words, "undirected-uas", "span-f1"]
    if all(flags):
        return ["sentence-f1", "corpus-f1", "precision", "recall"]
    return ["corpus-f1", "continuous-f1", "discontinuous-f1", "precision", "recall"]


def merged_scores(
    results: Sequence[Mapping[str, Any]], metrics: Sequence[str], convention: str
) -> list[dict[str, ShardedScore]]:
    """Add up the shards.

    Parameters
    ----------
    results : sequence of mapping
        From `score_work`.
    metrics : sequence of str
        Which to give.
    convention : str
        As given to the work.

    Returns
    -------
    list of dict
        Of each system, the score by each metric.
    """
    return [
        {
            metric: _merged([result["systems"][place][metric] for result in results], metric, convention)
            for metric in metrics
        }
        for place in range(len(results[0]["systems"]))
    ]


def merged_agreement(
    results: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str | None, convention: str
) -> Agreement:
    """Add up the shards.

    Parameters
    ----------
    results : sequence of mapping
        From `agree_work`.
    names : sequence of str, length K
        Of the teachers.
    metric : str or None
        As given to the work.
    convention : str
        As given to the work.

    Returns
    -------
    Agreement
    """
    flags = [[result["continuous"][place] for result in results] for place in range(len(names))]
    values = np.empty((len(names), len(names)))
    signature = Signature(())
    for row in range(len(names)):
        for column in range(len(names)):
            both = flags[row] + flags[column]
            name = metric or ("uas" if both[0] is None else "sentence-f1" if all(both) else "corpus-f1")
            found = _merged([result["pairs"][row][column][name] for result in results], name, convention)
            values[row, column], signature = found.value, found.signature
    return Agreement(tuple(names), values, signature)


def _read(
    paths: tuple[str, ...], options: Mapping[str, Any], columns: Sequence[Columns]
) -> tuple[list[Any], list[list[Any]]]:
    """Return the treebanks of a shard and what was skipped."""
    reading = reading_of(options)
    reader = AlignedReader(
        paths, reading.format, encoding=reading.encoding, on_error=reading.on_error, jobs=1, columns=columns
    )
    with closing(reader):
        parts = list(reader)
    banks = [type(column[0]).concatenate(column) for column in zip(*parts, strict=True)]
    return banks, [[problem.sentence, problem.message] for problem in reader.problems]


def _continuous(bank: Any) -> bool | None:
    return None if isinstance(bank, DependencyTreebank) else bool(bank.is_continuous)


def _all_metrics(gold: Any) -> list[str]:
    if not isinstance(gold, DependencyTreebank):
        return list(constituency_metrics(CONVENTIONS["standard"]))
    return ["uas", *(["uas-words"] if gold.tokens is not None else []), "undirected-uas", "span-f1"]


def _metric(name: str, convention: str) -> Metric:
    return DEPENDENCY_METRICS.get(name) or constituency_metrics(CONVENTIONS[convention])[name]


def _sums(gold: Any, predicted: Any, metric: str, options: Mapping[str, Any], names: tuple[str, str]) -> dict[str, Any]:
    """Return the exact sums of a metric over a shard: of all sentences and by length."""
    reading = reading_of(options)
    found = score(
        gold,
        predicted,
        metric=metric,
        convention=options["convention"],
        on_error=reading.on_error,
        check_tokens=reading.check_tokens and predicted.tokens is not None,
        places=Places(names, files=True),
    )
    return {
        "sums": as_text(exact_sums(found.metric.terms(found.statistics))),
        "signature": [list(item) for item in found.signature.items],
        "by_length": _by_length(found),
    }


def _by_length(found: Score) -> list[list[Any]]:
    """Return the number of sentences and the sums of each class of lengths."""
    rows = []
    for low, high in _classes():
        mask = (found.statistics.lengths > low) & (found.statistics.lengths <= high)
        part = found.statistics.where(mask)
        rows.append([len(part), as_text(exact_sums(found.metric.terms(part)))])
    return rows


def _classes() -> Iterable[tuple[int, float]]:
    return zip([0, *LENGTH_CLASSES], [*LENGTH_CLASSES, float("inf")], strict=True)


def _merged(parts: Sequence[Mapping[str, Any]], metric: str, convention: str) -> ShardedScore:
    """Add up what `_sums` gave for each shard."""
    finish = _metric(metric, convention).finish
    tables = [dict(part["signature"]) for part in parts]
    counts = {name: sum(int(table.get(name, 0)) for table in tables) for name in _COUNTS}
    items = [(name, value) for name, value in parts[0]["signature"] if name not in _COUNTS]
    counted = [(name, str(counts[name])) for name in _COUNTS if counts[name] or name == "sentences"]
    by_length = []
    for place, (low, high) in enumerate(_classes()):
        rows = [part["by_length"][place] for part in parts]
        total = sum(row[0] for row in rows)
        if total:
            name = f"{low + 1}-{high}" if high != float("inf") else f"{low + 1}+"
            by_length.append((name, total, float(finish(added([row[1] for row in rows])))))
    return ShardedScore(
        float(finish(added([part["sums"] for part in parts]))),
        Signature((*items[:-1], *counted, items[-1])),
        counts["missing"],
        by_length,
    )
