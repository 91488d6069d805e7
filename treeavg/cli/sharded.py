"""The verbs convert, score and agree over sharded input: each is a plan, a job, and what it prints."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from treeavg.cli import cluster, running
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from treeavg.engine.job import Report
    from treeavg.engine.summary import Summary
    from treeavg.engine.tasks import Work
    from treeavg.metrics import Agreement


def convert(arguments: argparse.Namespace) -> tuple[Summary, str]:
    """Convert shards; return the counts and the name of the format."""
    from treeavg.engine.converting import Changes
    from treeavg.engine.stream import Reading
    from treeavg.engine.works import convert_work
    from treeavg.formats import AlignedReader, format_of

    plan = cluster.plan(arguments, [arguments.treebank])
    reading = Reading(arguments.format, arguments.encoding, arguments.on_error)
    with closing(AlignedReader(plan.shards[0].paths, arguments.format, encoding=arguments.encoding, jobs=1)) as reader:
        formats = [own.format.name for own in reader.readers]
        target = format_of("-", name=arguments.output_format, kind=reader.kind)
    changes = Changes(
        arguments.strip_empty, arguments.strip_punctuation, arguments.collapse_unaries, arguments.binarize
    )
    options = {
        "reading": asdict(reading), "changes": asdict(changes), "formats": formats, "output_format": target.name,
    }  # fmt: skip
    report = cluster.run(arguments, "converting", convert_work, plan, options, target, {})
    return cluster.summary_of(report), target.name


def score(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Score shards; return what `treeavg.cli.score` prints, and the metrics of its table."""
    from treeavg.engine.scoring import BASELINES, default_metrics, merged_scores, score_work

    for option in ("test", "by_label"):
        if getattr(arguments, option):
            raise ArgumentError(
                f"--{option.replace('_', '-')}: expected files in one process, which it needs whole, got shards. "
                "Leave it out, or put the shards end to end: cat shards/*.txt > whole.txt."
            )
    more = {"metric": arguments.metric, "convention": arguments.convention, "baselines": arguments.baselines}
    report = _run(arguments, "scoring", score_work, [arguments.gold, *arguments.predicted], more)
    results = [record["result"] for record in report.records]
    metrics = [arguments.metric] if arguments.metric else default_metrics(results)
    names = [*running.short_names(arguments.predicted), *(BASELINES if arguments.baselines else ())]
    systems: list[dict[str, Any]] = []
    scores = merged_scores(results, metrics, arguments.convention)
    for name, own in zip(names, scores, strict=True):
        first = own[metrics[0]]
        entry: dict[str, Any] = {"name": name, "scores": {metric: own[metric].value for metric in metrics}}
        entry |= {"missing": first.missing} if first.missing else {}
        entry |= {"by_length": first.by_length} if arguments.by_length else {}
        systems.append(entry)
    signatures = {metric: str(scores[0][metric].signature) for metric in metrics}
    return {"gold": arguments.gold, "systems": systems, "signatures": signatures}, metrics


def agree(arguments: argparse.Namespace) -> Agreement:
    """Compare the teachers of shards with each other."""
    from treeavg.engine.scoring import agree_work, merged_agreement

    more = {"metric": arguments.metric, "convention": arguments.convention}
    report = _run(arguments, "comparing", agree_work, arguments.teachers, more)
    names = running.short_names(arguments.teachers)
    results = [record["result"] for record in report.records]
    return merged_agreement(results, names, arguments.metric, arguments.convention)


def _run(arguments: argparse.Namespace, stage: str, work: Work, inputs: list[str], more: dict[str, Any]) -> Report:
    """Run a job that only reads; list what was skipped."""
    from treeavg.engine.job import Job
    from treeavg.engine.stream import Reading

    plan = cluster.plan(arguments, inputs)
    reading = Reading(arguments.format, arguments.encoding, arguments.on_error, arguments.check_tokens)
    job = Job(arguments.verb, work, plan, {"reading": asdict(reading), **more}, arguments.records)
    report = cluster.run_job(arguments, stage, job)
    first = 0
    for record in report.records:
        for sentence, message in record["result"]["problems"]:
            print(f"treeavg: sentence {first + sentence + 1}: {message}", file=sys.stderr)
        first += record["sentences"]
    return report
