"""What verbs over sharded input share: the options, the plan, a run on a cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from treeavg.engine.job import Job, Output, Report
    from treeavg.engine.shards import ShardPlan
    from treeavg.engine.summary import Summary
    from treeavg.engine.tasks import Work
    from treeavg.formats import Format


def add_cluster(parser: argparse.ArgumentParser, *, records: bool = False) -> None:
    """Add the options of sharded input; `records` for verbs that write no shards."""
    group = parser.add_argument_group("sharded input: folders or quoted patterns in place of files")
    group.add_argument(
        "--cluster",
        metavar="WHERE",
        help="'local': worker processes of this machine; or the address of a Dask scheduler (default: this process)",
    )
    group.add_argument("--workers", type=int, metavar="N", help="with --cluster local: processes (default: one a core)")
    group.add_argument("--shards", metavar="FILE", help="JSON lines that name the files of each shard")
    if records:
        group.add_argument(
            "--records", metavar="FOLDER", help="keep what is known of each shard there, so that a rerun goes on"
        )


def is_wanted(arguments: argparse.Namespace, inputs: Sequence[str]) -> bool:
    """Tell whether the input is sharded."""
    if arguments.cluster is not None or arguments.shards is not None:
        return True
    if getattr(arguments, "output", None) == "-":
        return False  # as before there were shards: a folder is no file
    from treeavg.engine.shards import is_sharded

    return any(map(is_sharded, inputs))


def plan(arguments: argparse.Namespace, inputs: Sequence[str]) -> ShardPlan:
    """Find the shards; raise where they or the place for the output are not as they should be."""
    from treeavg.engine.cluster import require_dask
    from treeavg.engine.shards import Shard, ShardPlan, plan_shards

    if arguments.workers is not None and arguments.cluster != "local":
        raise ArgumentError("--workers: expected --cluster local beside it, got none. Leave it out, or add that.")
    if arguments.workers is not None and arguments.workers < 1:
        raise ArgumentError(f"--workers: expected at least 1, got {arguments.workers}. Leave it out for one a core.")
    if arguments.cluster is not None:
        require_dask()
    if getattr(arguments, "output", None) == "-":
        raise ArgumentError("--cluster: expected a folder for the shards, got standard output. Pass -o FOLDER.")
    found = plan_shards(inputs, arguments.shards)
    if arguments.cluster in (None, "local"):
        return found
    shards = (Shard(shard.name, tuple(map(os.path.abspath, shard.paths))) for shard in found.shards)
    return ShardPlan(found.teachers, tuple(shards))  # workers elsewhere stand in another folder


def elsewhere(arguments: argparse.Namespace, path: str) -> str:
    """Return a path as workers know it: those of another machine stand in another folder."""
    return path if arguments.cluster in (None, "local") else os.path.abspath(path)


def run(
    arguments: argparse.Namespace,
    stage: str,
    work: Work,
    plan: ShardPlan,
    options: Mapping[str, Any],
    target: Format,
    more: Mapping[str, tuple[str, str]],
) -> Report:
    """Run a job that writes trees, and perhaps more: of each name its folder and suffix."""
    from treeavg.engine.job import Job, Output, suffix_of

    places = {"trees": (arguments.output, suffix_of(target)), **more}
    outputs = tuple(Output(name, elsewhere(arguments, folder), suffix) for name, (folder, suffix) in places.items())
    folder = outputs[0].folder
    require_apart(outputs)
    job = Job(arguments.verb, work, plan, options, folder, outputs, target.numbered)
    return run_job(arguments, stage, job)


def require_apart(outputs: Sequence[Output]) -> None:
    """Raise where two outputs would go into one folder, in which a shard has one file."""
    if len({os.path.realpath(output.folder) for output in outputs}) < len(outputs):
        raise ArgumentError(f"--hits: expected a folder of its own, got {outputs[0].folder} for both. Choose another.")


def run_job(arguments: argparse.Namespace, stage: str, job: Job) -> Report:
    """Run a job and show its progress; say what an earlier run had done."""
    import sys

    from treeavg.cli.running import Progress, compiling_notice
    from treeavg.engine.job import run_on

    if job.folder is not None:
        arguments.left = _left
    with compiling_notice(), Progress(stage, arguments) as progress:
        report = run_on(job, arguments.cluster, arguments.workers, progress.advance)
    if report.kept:
        print(
            f"treeavg: {report.kept:,} of {len(report.records):,} shards were done before and are kept.",
            file=sys.stderr,
        )
    return report


def _left(arguments: argparse.Namespace) -> str:
    """Return what an interrupted job has left behind."""
    return "shards that are done are kept, the same command goes on with the others."


def summary_of(report: Report) -> Summary:
    """Return the counts of all shards, with sentences counted over the whole text."""
    from treeavg.engine.summary import Summary

    whole = Summary()
    for record in report.records:
        whole.append(Summary.from_json(record["result"]))
    return whole
