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
    from treeavg.engine.scoring import ScoreTables, Scoring
    from treeavg.engine.summary import Summary
    from treeavg.engine.tasks import Work
    from treeavg.metrics import Agreement


def convert(arguments: argparse.Namespace) -> tuple[Summary, str]:
    """Convert shards; return the counts and the name of the format."""
    from treeavg.engine.converting import Changes
    from treeavg.engine.works import convert_work
    from treeavg.formats import AlignedReader, format_of

    plan = cluster.plan(arguments, [arguments.treebank])
    with closing(AlignedReader(plan.shards[0].paths, arguments.format, encoding=arguments.encoding, jobs=1)) as reader:
        formats = [own.format.name for own in reader.readers]
        target = format_of("-", name=arguments.output_format, kind=reader.kind)
    changes = Changes(
        arguments.strip_empty, arguments.strip_punctuation, arguments.collapse_unaries, arguments.binarize
    )
    options = {
        "reading": asdict(running.reading_of(arguments)),
        "changes": asdict(changes),
        "formats": formats,
        "output_format": target.name,
    }
    report = cluster.run(arguments, "converting", convert_work, plan, options, target, {})
    return cluster.summary_of(report), target.name


def score(arguments: argparse.Namespace, scoring: Scoring) -> ScoreTables:
    """Score shards; return the sums of all."""
    from treeavg.engine.scoring import ScoreTables, score_work

    if arguments.test:
        raise ArgumentError(
            "--test: expected files in one process, which it needs whole, got shards. "
            "Leave it out, or put the shards end to end: cat shards/*.txt > whole.txt."
        )
    inputs = [arguments.gold, *arguments.predicted]
    report = _run(arguments, "scoring", score_work, inputs, {"scoring": asdict(scoring)})
    whole = ScoreTables(arguments.gold, arguments.predicted, scoring)
    for record in report.records:
        part = ScoreTables(arguments.gold, arguments.predicted, scoring)
        part.fill(record["result"])
        whole.append(part)
    return whole


def agree(arguments: argparse.Namespace) -> Agreement:
    """Compare the teachers of shards with each other."""
    from treeavg.engine.scoring import agree_work
    from treeavg.metrics import AgreementTally

    more = {"metric": arguments.metric, "convention": arguments.convention}
    report = _run(arguments, "comparing", agree_work, arguments.teachers, more)
    names = running.short_names(arguments.teachers)
    first, *others = (AgreementTally.from_json(record["result"]["pairs"], names) for record in report.records)
    for other in others:
        first.append(other)
    return first.result()


def _run(arguments: argparse.Namespace, stage: str, work: Work, inputs: list[str], more: dict[str, Any]) -> Report:
    """Run a job that only reads; list what was skipped."""
    from treeavg.engine.job import Job

    plan = cluster.plan(arguments, inputs)
    options = {"reading": asdict(running.reading_of(arguments)), **more}
    job = Job(arguments.verb, work, plan, options, arguments.records)
    report = cluster.run_job(arguments, stage, job)
    first = 0
    for record in report.records:
        for sentence, message in record["result"]["problems"]:
            print(f"treeavg: sentence {first + sentence + 1}: {message}", file=sys.stderr)
        first += record["sentences"]
    return report
