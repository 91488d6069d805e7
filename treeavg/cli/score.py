"""``treeavg score``: parsers' trees against gold trees."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from treeavg.cli import cluster, options, running, sharded
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from treeavg.metrics import LabelCounts, Score, Tally

#: What is shown of constituency trees, where all are continuous and where not.
_CONTINUOUS = ("sentence-f1", "corpus-f1", "precision", "recall")
_DISCONTINUOUS = ("corpus-f1", "continuous-f1", "discontinuous-f1", "precision", "recall")

DESCRIPTION = """\
Score parsers' trees against gold trees: constituency trees by F1 (the mean over sentences, pooled over the corpus; of
discontinuous trees overall, continuous, discontinuous), dependency trees by attachment scores and span F1.

  treeavg score --gold gold.txt average.txt teachers/*.txt --baselines
  treeavg score --gold gold.txt average.txt best.txt --test

Each number's conventions are printed below the table; docs/evaluation.md explains them.
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "score", "score trees against gold trees", DESCRIPTION)
    parser.add_argument("predicted", nargs="+", metavar="FILE", help="treebank files to score; '-' is standard input")
    parser.add_argument("--gold", required=True, metavar="FILE", help="the gold trees")
    options.add_metric(parser, "print only this metric")
    parser.add_argument(
        "--convention",
        choices=options.CONVENTIONS,
        default="standard",
        help="standard: whole sentence removed from both sides; kim2019, tn-lcfrs: as published (default: standard)",
    )
    parser.add_argument("--baselines", action="store_true", help="add left-, right-branching and binary oracle trees")
    parser.add_argument("--by-length", action="store_true", help="add sentence F1 by sentence length")
    parser.add_argument("--by-label", action="store_true", help="add recall by gold label")
    parser.add_argument("--test", action="store_true", help="test each system against the first (sign test, bootstrap)")
    parser.add_argument("--samples", type=int, default=10_000, metavar="N", help="draws of the bootstrap (10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap (0)")
    options.add_alignment(parser)
    options.add_jobs(parser)
    options.add_json(parser)
    options.add_input(parser)
    cluster.add_cluster(parser, records=True)
    running.add_log(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Add up each system's scores, batch by batch, and print tables."""
    if cluster.is_wanted(arguments, [arguments.gold, *arguments.predicted]):
        _show(*sharded.score(arguments), arguments)
        return 0
    if arguments.test and len(arguments.predicted) + 3 * arguments.baselines < 2:
        raise ArgumentError("--test: expected at least two files to compare, got 1. Name the systems to compare.")
    tables = _Tables(arguments)
    _read(arguments, tables)
    tallies = tables.tallies
    metrics = tables.shown()
    result: dict[str, Any] = {
        "gold": arguments.gold,
        "systems": [
            {"name": name, "scores": {metric: tally.value(metric) for metric in metrics}}
            for name, tally in zip(tables.names, tallies, strict=True)
        ],
        "signatures": {metric: str(tallies[0].signature(metric)) for metric in metrics},
    }
    for place, (tally, entry) in enumerate(zip(tallies, result["systems"], strict=True)):
        missing = tally.missing(metrics[0])
        if missing:
            entry["missing"] = missing
        if arguments.by_length:
            entry["by_length"] = tally.by_length(metrics[0])
        if arguments.by_label:
            entry["by_label"] = [(row.label, row.gold, row.recall) for row in tables.labels[place].recall()]
    if arguments.test:
        _add_tests(result, [tally.score(metrics[0]) for tally in tallies], arguments)
    _show(result, metrics, arguments)
    return 0


def _show(result: dict[str, Any], metrics: list[str], arguments: argparse.Namespace) -> None:
    """Print the result, for people or for machines."""
    if arguments.json:
        json.dump(result, sys.stdout, ensure_ascii=False)
        print()
    else:
        _print(result, metrics)


def _read(arguments: argparse.Namespace, tables: _Tables) -> None:
    """Hand all batches to the tables; labels of the systems are not needed."""
    from treeavg.formats import AlignedReader, Columns

    words = Columns(tokens=arguments.check_tokens, labels=arguments.metric == "las")
    reader = AlignedReader(
        [arguments.gold, *arguments.predicted],
        arguments.format,
        encoding=arguments.encoding,
        on_error=arguments.on_error,
        jobs=arguments.jobs,
        columns=[Columns(labels=arguments.by_label or words.labels)] + [words] * len(arguments.predicted),
    )
    with closing(reader), running.compiling_notice():
        for gold, *systems in running.watched(reader, "scoring", arguments):
            tables.add(gold, systems)
    for problem in reader.problems:
        print(f"treeavg: sentence {problem.sentence + 1}: {problem.message}", file=sys.stderr)


class _Tables:
    """What is added up of each system, and which metrics are shown in the end."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self.names = running.short_names(arguments.predicted)
        if arguments.baselines:
            self.names += ["(left-branching)", "(right-branching)", "(oracle, binary)"]
        self.tallies: list[Tally] = []
        self.labels: list[LabelCounts] = []
        self._defaults: tuple[str, ...] = ()

    def add(self, gold: Any, systems: list[Any]) -> None:
        """Score a batch."""
        arguments = self._arguments
        if arguments.baselines:
            self._require_constituency(gold, "--baselines")
            from treeavg.transforms import binarize, branching

            systems = [*systems, branching(gold, "left"), branching(gold, "right"), binarize(gold)]
        if not self.tallies:
            self._begin(gold, systems)
        if arguments.by_label:
            self._require_constituency(gold, "--by-label")
        for place, bank in enumerate(systems):
            self.tallies[place].add(gold, bank)
            if arguments.by_label:
                self.labels[place].add(gold, bank)

    def _begin(self, gold: Any, systems: list[Any]) -> None:
        """Make the tallies, now that the kind of trees is known; which metrics show is known in the end."""
        from treeavg.alignment import Places
        from treeavg.dependency import DependencyTreebank
        from treeavg.metrics import LabelCounts, Tally

        arguments = self._arguments
        if isinstance(gold, DependencyTreebank):
            with_words = ["uas-words"] if gold.tokens is not None else []
            self._defaults = ("uas", *with_words, "undirected-uas", "span-f1")
        else:
            self._defaults = tuple(dict.fromkeys((*_CONTINUOUS, *_DISCONTINUOUS)))
        names = [*arguments.predicted, *self.names[len(arguments.predicted) :]]
        for name, bank in zip(names, systems, strict=True):
            places = Places((arguments.gold, name), files=True)
            self.tallies.append(
                Tally(
                    [arguments.metric] if arguments.metric else self._defaults,
                    arguments.convention,
                    on_error=arguments.on_error,
                    check_tokens=arguments.check_tokens and bank.tokens is not None,
                    places=places,
                    keep=arguments.test,
                    by_length=arguments.by_length,
                )
            )
            self.labels.append(LabelCounts(arguments.convention, on_error=arguments.on_error, places=places))

    def shown(self) -> list[str]:
        """Return the metrics that a table shows."""
        if self._arguments.metric:
            return [self._arguments.metric]
        if "sentence-f1" not in self._defaults:
            return list(self._defaults)
        return list(_CONTINUOUS if all(tally.is_continuous for tally in self.tallies) else _DISCONTINUOUS)

    def _require_constituency(self, gold: Any, option: str) -> None:
        from treeavg.treebank import Treebank

        if not isinstance(gold, Treebank) or (option == "--baselines" and not gold.is_continuous):
            raise ArgumentError(
                f"{option}: expected continuous constituency trees, got other trees in {self._arguments.gold}. "
                "Leave it out."
            )


def _add_tests(result: dict[str, Any], scores: list[Score], arguments: argparse.Namespace) -> None:
    from treeavg.metrics import paired_bootstrap, sign_test

    for other, entry in zip(scores[1:], result["systems"][1:], strict=True):
        sign = sign_test(scores[0], other)
        bootstrap = paired_bootstrap(scores[0], other, samples=arguments.samples, seed=arguments.seed)
        entry["test"] = {
            "against": result["systems"][0]["name"],
            "difference": bootstrap.difference,
            "interval": bootstrap.interval,
            "bootstrap_p": bootstrap.p_value,
            "sign_test_p": sign.p_value,
            "wins": sign.wins,
            "losses": sign.losses,
            "ties": sign.ties,
            "samples": bootstrap.samples,
            "seed": bootstrap.seed,
        }


def _print(result: dict[str, Any], metrics: list[str]) -> None:
    from treeavg.report.tables import table

    systems = result["systems"]
    body = [[entry["name"], *(f"{entry['scores'][metric]:.2f}" for metric in metrics)] for entry in systems]
    print(table([["system", *metrics], *body]))
    for entry in systems:
        if "missing" in entry:
            print(f"{entry['name']}: {entry['missing']:,} sentences missing, each scored 0")
    if "by_length" in systems[0]:
        classes = [f"{name} ({count:,})" for name, count, _ in systems[0]["by_length"]]
        rows = [[entry["name"], *(f"{value:.2f}" for _, _, value in entry["by_length"])] for entry in systems]
        print("\n" + table([[f"{metrics[0]} by tokens (sentences)", *classes], *rows]))
    if "by_label" in systems[0]:
        top = systems[0]["by_label"][:12]
        header = ["recall by label (constituents)", *(f"{label} ({count:,})" for label, count, _ in top)]
        rows = [[entry["name"], *(f"{recall:.2f}" for _, _, recall in entry["by_label"][:12])] for entry in systems]
        print("\n" + table([header, *rows]))
    if any("test" in entry for entry in systems):
        header = [f"{metrics[0]}: {systems[0]['name']} minus", "difference", "95 % interval", "p (bootstrap)",
                  "p (sign test)", "wins", "losses", "ties"]  # fmt: skip
        rows = []
        for entry in systems[1:]:
            test = entry["test"]
            low, high = test["interval"]
            rows.append([
                entry["name"], f"{test['difference']:+.2f}", f"{low:+.2f} to {high:+.2f}", f"{test['bootstrap_p']:.2g}",
                f"{test['sign_test_p']:.2g}", str(test["wins"]), str(test["losses"]), str(test["ties"]),
            ])  # fmt: skip
        print("\n" + table([header, *rows]))
    print()
    for metric in metrics:
        print(result["signatures"][metric])
