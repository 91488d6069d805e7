"""``treeavg average``: one tree from several teachers' trees."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from treeavg.cli import cluster, options, running
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from treeavg.engine.stream import Averaging, Reading
    from treeavg.engine.summary import Summary

DESCRIPTION = """\
Average the trees of several parsers, sentence by sentence, into the one that agrees with them most. The files decide
whether these are constituency trees, continuous or discontinuous, or dependency trees.

  treeavg average teachers/*.txt -o average.txt
  treeavg average a.txt b.txt.gz c.jsonl --weights 1 2 1 -o average.jsonl
  treeavg average runs/*.jsonl --no-binary --objective f1 -o average.jsonl
  treeavg average teachers/*.conllu --support -o average.conllu
  treeavg average shards/diora/ shards/cpcfg/ shards/onlstm/ --cluster local -o average/
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "average", "average several parsers' trees", DESCRIPTION)
    parser.add_argument(
        "--method",
        choices=options.METHODS,
        default="generate",
        help="generate: search all trees; select: the best of the teachers' own trees (default: generate)",
    )
    parser.add_argument("--hits", metavar="FILE", help="write the hit counts too, for 'treeavg distill' (JSON lines)")
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `average` and `select` share."""
    parser.add_argument("teachers", nargs="+", metavar="TEACHER", help="treebank files over the same sentences")
    options.add_weights(parser, estimated=True)
    options.add_objective(parser)
    options.add_alignment(parser)
    options.add_jobs(parser)
    options.add_json(parser)
    options.add_input(parser)
    options.add_output(parser)
    cluster.add_cluster(parser)
    running.add_log(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Stream through the files, batch by batch, or through shards of them on a cluster."""
    from treeavg.engine.stream import Averaging

    running.refuse_json_on_stdout(arguments)
    given = None if arguments.weights == "agreement" else options.read_weights(arguments.weights, arguments.teachers)
    averaging = Averaging(
        weights=None if given is None else tuple(map(str, given)),
        **{name: getattr(arguments, name) for name in ("method", *options.OBJECTIVE_OPTIONS)},
    )
    if getattr(arguments, "hits", None) == "-":
        raise ArgumentError("--hits: expected a file, got standard output. Name a file.")
    if cluster.is_wanted(arguments, arguments.teachers):
        averaging, summary = _run_sharded(arguments, averaging)
    else:
        averaging, summary = _run_here(arguments, averaging)
    running.report_summary(summary)
    if arguments.json:
        _print_summary(arguments, averaging, summary)
    return 0


def _run_here(arguments: argparse.Namespace, averaging: Averaging) -> tuple[Averaging, Summary]:
    """Average files in this process."""
    from treeavg.engine.stream import average_stream, average_target, open_teachers
    from treeavg.formats.files import AtomicFile

    reading = running.reading_of(arguments)
    averaging = _with_weights(arguments, [arguments.teachers], reading, averaging)
    reader = open_teachers(arguments.teachers, reading, averaging, jobs=arguments.jobs)
    with closing(reader):
        target = average_target(arguments.output, arguments.output_format, reader.kind, averaging)
        progress = running.Progress("averaging", arguments)
        hits = running.optional_file(getattr(arguments, "hits", None))
        with AtomicFile(arguments.output) as file, hits as write_hits, running.compiling_notice(), progress:
            summary = average_stream(
                reader, reading, averaging, target, file.write, write_hits=write_hits, jobs=arguments.jobs,
                advance=progress.advance,
            )  # fmt: skip
    return averaging, summary


def _run_sharded(arguments: argparse.Namespace, averaging: Averaging) -> tuple[Averaging, Summary]:
    """Average shards, on a cluster or in this process."""
    from dataclasses import asdict

    from treeavg.engine.stream import average_target, open_teachers
    from treeavg.engine.works import average_work

    plan = cluster.plan(arguments, arguments.teachers)
    reading = running.reading_of(arguments)
    averaging = _with_weights(arguments, [shard.paths for shard in plan.shards], reading, averaging)
    with closing(open_teachers(plan.shards[0].paths, reading, averaging, jobs=1)) as reader:
        formats = [own.format.name for own in reader.readers]
        target = average_target("-", arguments.output_format, reader.kind, averaging)
    chosen = {
        "reading": asdict(reading), "averaging": asdict(averaging), "formats": formats, "output_format": target.name,
    }  # fmt: skip
    hits = getattr(arguments, "hits", None)
    report = cluster.run(
        arguments, "averaging", average_work, plan, chosen, target, {} if hits is None else {"hits": (hits, ".jsonl")}
    )
    return averaging, cluster.summary_of(report)


def _with_weights(
    arguments: argparse.Namespace, shards: list[Any], reading: Reading, averaging: Averaging
) -> Averaging:
    """Estimate weights from the beginning of the files where that is asked for, and say what they are."""
    if arguments.weights != "agreement":
        return averaging
    from dataclasses import replace

    from treeavg.engine.stream import estimated_weights

    if "-" in arguments.teachers:
        raise ArgumentError("--weights agreement: expected files, which are read twice, got '-'. Save standard input.")
    with running.compiling_notice():
        weights = estimated_weights(shards, reading, averaging, jobs=arguments.jobs)
    names = running.short_names(arguments.teachers)
    told = ", ".join(f"{name} {weight:g}" for name, weight in zip(names, weights, strict=True))
    print(f"treeavg: weights by agreement: {told}", file=sys.stderr)
    return replace(averaging, weights=tuple(map(str, weights)))


def _print_summary(arguments: argparse.Namespace, averaging: Averaging, summary: Summary) -> None:
    """Print what came out, for machines."""
    weights = averaging.exact_weights
    told = {
        "output": arguments.output,
        **averaging.keywords,
        "teachers": ["<stdin>" if path == "-" else path for path in arguments.teachers],
        "weights": None if weights is None else [float(weight) for weight in weights],
        "sentences": summary.sentences,
        "skipped": [{"sentence": item.sentence + 1, "reason": item.message} for item in summary.problems],
        "search": summary.search_summary(),
    }
    options.print_json(told)
