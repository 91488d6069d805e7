"""``treeavg score``: parsers' trees against gold trees."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from treeavg.cli import cluster, options, running, sharded
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from treeavg.engine.scoring import ScoreTables, Scoring
    from treeavg.metrics import Score

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
    from treeavg.engine.scoring import BASELINES, Scoring

    over_shards = cluster.is_wanted(arguments, [arguments.gold, *arguments.predicted])
    names = [*running.short_names(arguments.predicted), *(BASELINES if arguments.baselines else ())]
    scoring = Scoring(
        arguments.metric, arguments.convention, arguments.baselines, arguments.by_length, arguments.by_label,
        keep=arguments.test,
    )  # fmt: skip
    if arguments.test and len(names) < 2:
        raise ArgumentError("--test: expected at least two files to compare, got 1. Name the systems to compare.")
    tables = sharded.score(arguments, scoring) if over_shards else _scored(arguments, scoring)
    result, metrics = _result(tables, names, arguments)
    if arguments.json:
        options.print_json(result)
    else:
        _print(result, metrics)
    return 0


def _scored(arguments: argparse.Namespace, scoring: Scoring) -> ScoreTables:
    """Score files in this process."""
    from treeavg.engine.scoring import ScoreTables, open_scored

    reading = running.reading_of(arguments)
    tables = ScoreTables(arguments.gold, arguments.predicted, scoring, reading)
    reader = open_scored(arguments.gold, arguments.predicted, reading, scoring, arguments.jobs)
    with closing(reader), running.compiling_notice():
        for gold, *systems in running.watched(reader, "scoring", arguments):
            tables.add(gold, systems)
    for problem in reader.problems:
        print(f"treeavg: sentence {problem.sentence + 1}: {problem.message}", file=sys.stderr)
    return tables


def _result(tables: ScoreTables, names: list[str], arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return what is printed, and the metrics of the first table."""
    metrics = tables.shown()
    first = metrics[0]
    systems: list[dict[str, Any]] = []
    for name, tally, labels in zip(names, tables.tallies, tables.labels, strict=True):
        entry: dict[str, Any] = {"name": name, "scores": {metric: tally.value(metric) for metric in metrics}}
        if missing := tally.missing(first):
            entry["missing"] = missing
        if arguments.by_length:
            entry["by_length"] = tally.by_length(first)
        if arguments.by_label:
            entry["by_label"] = [(row.label, row.gold, row.recall) for row in labels.recall()]
        systems.append(entry)
    signatures = {metric: str(tables.tallies[0].signature(metric)) for metric in metrics}
    result = {"gold": arguments.gold, "systems": systems, "signatures": signatures}
    if arguments.test:
        _add_tests(result, [tally.score(first) for tally in tables.tallies], arguments)
    return result, metrics


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
