"""``treeavg score``: parsers' trees against gold trees."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from treeavg.cli import cluster, options, running, sharded
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from treeavg.metrics import Score
    from treeavg.treebank import Treebank

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
    """Read all files, score each system, print tables."""
    from treeavg.cli.running import compiling_notice, short_names

    if cluster.is_wanted(arguments, [arguments.gold, *arguments.predicted]):
        _show(*sharded.score(arguments), arguments)
        return 0
    if arguments.test and len(arguments.predicted) + 3 * arguments.baselines < 2:
        raise ArgumentError("--test: expected at least two files to compare, got 1. Name the systems to compare.")
    with compiling_notice():
        gold, systems = _read(arguments)
        metrics = [arguments.metric] if arguments.metric else _metrics(gold, systems)
        names = short_names(arguments.predicted)
        if arguments.baselines:
            _require_constituency(gold, "--baselines", arguments.gold)
            from treeavg.transforms import binarize, branching

            systems += [branching(gold, "left"), branching(gold, "right"), binarize(gold)]
            names += ["(left-branching)", "(right-branching)", "(oracle, binary)"]
        places = [*arguments.predicted, *names[len(arguments.predicted) :]]
        scores = [_scores(gold, bank, place, arguments, metrics) for place, bank in zip(places, systems, strict=True)]
        result: dict[str, Any] = {
            "gold": arguments.gold,
            "systems": [
                {"name": name, "scores": {metric: own[metric].value for metric in metrics}}
                for name, own in zip(names, scores, strict=True)
            ],
            "signatures": {metric: str(scores[0][metric].signature) for metric in metrics},
        }
        for own, entry in zip(scores, result["systems"], strict=True):
            missing = int(own[metrics[0]].statistics.missing.sum())
            if missing:
                entry["missing"] = missing
        if arguments.by_length:
            for own, entry in zip(scores, result["systems"], strict=True):
                entry["by_length"] = own[metrics[0]].by_length()
        if arguments.by_label:
            _require_constituency(gold, "--by-label", arguments.gold)
            _add_labels(result, gold, systems, arguments)
        if arguments.test:
            _add_tests(result, [own[metrics[0]] for own in scores], arguments)
    _show(result, metrics, arguments)
    return 0


def _show(result: dict[str, Any], metrics: list[str], arguments: argparse.Namespace) -> None:
    """Print the result, for people or for machines."""
    if arguments.json:
        json.dump(result, sys.stdout, ensure_ascii=False)
        print()
    else:
        _print(result, metrics)


def _read(arguments: argparse.Namespace) -> tuple[Treebank, list[Treebank]]:
    """Return the gold trees and the systems' trees; their labels are not needed."""
    from treeavg.formats import AlignedReader, Columns

    paths = [arguments.gold, *arguments.predicted]
    words = Columns(tokens=arguments.check_tokens, labels=arguments.metric == "las")
    reader = AlignedReader(
        paths,
        arguments.format,
        encoding=arguments.encoding,
        on_error=arguments.on_error,
        jobs=arguments.jobs,
        columns=[Columns(labels=arguments.by_label or words.labels)] + [words] * len(arguments.predicted),
    )
    parts = list(running.watched(reader, "reading", arguments))
    for problem in reader.problems:
        print(f"treeavg: sentence {problem.sentence + 1}: {problem.message}", file=sys.stderr)
    banks: list[Any] = [type(column[0]).concatenate(column) for column in zip(*parts, strict=True)]
    return banks[0], banks[1:]


def _metrics(gold: Any, systems: list[Any]) -> list[str]:
    """Return the metrics that a table shows by default."""
    from treeavg.dependency import DependencyTreebank

    if isinstance(gold, DependencyTreebank):
        with_words = ["uas-words"] if gold.tokens is not None else []
        return ["uas", *with_words, "undirected-uas", "span-f1"]
    if all(bank.is_continuous for bank in [gold, *systems] if not isinstance(bank, DependencyTreebank)):
        return ["sentence-f1", "corpus-f1", "precision", "recall"]
    return ["corpus-f1", "continuous-f1", "discontinuous-f1", "precision", "recall"]


def _require_constituency(gold: Any, option: str, path: str) -> None:
    from treeavg.errors import ArgumentError
    from treeavg.treebank import Treebank

    if not isinstance(gold, Treebank) or (option == "--baselines" and not gold.is_continuous):
        raise ArgumentError(
            f"{option}: expected continuous constituency trees, got other trees in {path}. Leave it out."
        )


def _scores(
    gold: Treebank, predicted: Treebank, name: str, arguments: argparse.Namespace, metrics: list[str]
) -> dict[str, Score]:
    from treeavg.alignment import Places
    from treeavg.metrics import score

    return {
        metric: score(
            gold,
            predicted,
            metric=metric,
            convention=arguments.convention,
            on_error=arguments.on_error,
            check_tokens=arguments.check_tokens and predicted.tokens is not None,
            places=Places((arguments.gold, name), files=True),
        )
        for metric in metrics
    }


def _add_labels(result: dict[str, Any], gold: Treebank, systems: list[Treebank], arguments: argparse.Namespace) -> None:
    from treeavg.metrics import label_recall

    for bank, entry in zip(systems, result["systems"], strict=True):
        entry["by_label"] = [
            (row.label, row.gold, row.recall)
            for row in label_recall(gold, bank, convention=arguments.convention, on_error=arguments.on_error)
        ]


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
