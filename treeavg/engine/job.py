"""A verb over shards: planned, run on any executor, continued where it was broken off, and summed up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from treeavg.engine.cluster import Executor, connect
from treeavg.engine.manifest import begin_job, record_path, sweep, write_manifest
from treeavg.engine.shards import Shard, ShardPlan, compression_of
from treeavg.engine.tasks import Task, Work, run_shard
from treeavg.engine.works import count_work
from treeavg.formats import Format
from treeavg.version import __version__


@dataclass(frozen=True)
class Output:
    """A file that each shard gives.

    Parameters
    ----------
    name : str
        What it is: ``trees``, ``hits``.
    folder : str
        Where.
    suffix : str
        Behind the shard's name.
    """

    name: str
    folder: str
    suffix: str


@dataclass(frozen=True)
class Job:
    """A verb, its options, and what it reads and writes.

    Parameters
    ----------
    verb : str
        What is done.
    work : callable
        See `treeavg.engine.tasks.Work`.
    plan : ShardPlan
        What is read.
    options : mapping of str to object
        All that decides the result, as JSON can hold it.
    folder : str or None
        Where records and the manifest go; None keeps none, so that nothing can be continued.
    outputs : tuple of Output
        The first is the one whose sentences are counted.
    numbered : bool, default False
        Whether sentences are numbered as they are written; a pass that counts comes first then.
    count : callable
        Counts a shard's sentences in its first file.
    """

    verb: str
    work: Work
    plan: ShardPlan
    options: Mapping[str, Any]
    folder: str | None = None
    outputs: tuple[Output, ...] = ()
    numbered: bool = False
    count: Work = count_work

    @property
    def document(self) -> dict[str, Any]:
        """What tells this job from others."""
        names = "\n".join(shard.name for shard in self.plan.shards)
        return {
            "verb": self.verb,
            "version": __version__,
            "options": dict(self.options),
            "teachers": list(self.plan.teachers),
            "number of shards": len(self.plan.shards),
            "names of shards": sha256(names.encode("utf-8", errors="surrogateescape")).hexdigest()[:16],
        }


@dataclass
class Report:
    """What came of a job.

    Parameters
    ----------
    records : list of dict
        From `run_shard`, in the order of shards.
    kept : int, default 0
        Shards that an earlier run had done.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    kept: int = 0

    @property
    def sentences(self) -> int:
        """All of them."""
        return sum(record["sentences"] for record in self.records)


#: Called after each shard with its sentences and the share of the input that is done.
Advance = Callable[[int, float], None]


def run_job(job: Job, executor: Executor, advance: Advance | None = None) -> Report:
    """Run a job, or what is left of it.

    Parameters
    ----------
    job : Job
        What to do.
    executor : Executor
        Where, from `treeavg.engine.cluster.connect`.
    advance : callable, optional
        Is told of progress.

    Returns
    -------
    Report

    Raises
    ------
    ArgumentError
        The output folder is of another job.
    TreeavgError
        Of the first shard, in order, that cannot be done; what is done stays done. Or the cluster was lost.

    Examples
    --------
    >>> with connect("local") as executor:  # doctest: +SKIP
    ...     run_job(job, executor).sentences
    1000000
    """
    if job.folder is not None:
        begin_job(Path(job.folder), job.document, [Path(output.folder) for output in job.outputs[1:]])
    known = _recorded(job)
    firsts: list[int | None] = [None] * len(job.plan.shards)
    if job.numbered:
        counted = _run(job, executor, [_count_task(job, place) for place in range(len(firsts))], None)
        firsts = _starts([record["sentences"] for record in counted])
    tasks = [_task(job, place, first) for place, first in enumerate(firsts)]
    report = Report(_run(job, executor, tasks, advance))
    report.kept = sum(record["reused"] and record["shard"] in known for record in report.records)
    if job.folder is not None:
        sweep(_written(job))
        write_manifest(Path(job.folder), job.document, report.records)
    return report


def run_on(job: Job, cluster: str | None, workers: int | None = None, advance: Advance | None = None) -> Report:
    """Open a cluster, run a job on it, close it; half-written files of a run that ends early are removed.

    Parameters
    ----------
    job : Job
        What to do.
    cluster, workers
        As for `treeavg.engine.cluster.connect`.
    advance : callable, optional
        As for `run_job`.

    Returns
    -------
    Report

    Raises
    ------
    TreeavgError
        As for `connect` and `run_job`.

    Examples
    --------
    >>> run_on(job, "local", workers=2).sentences  # doctest: +SKIP
    1000000
    """
    try:
        with connect(cluster, workers) as executor:
            return run_job(job, executor, advance)
    except BaseException:
        if cluster in (None, "local"):  # elsewhere workers may be writing still; they finish what they began
            sweep(_written(job))
        raise


def suffix_of(target: Format) -> str:
    """Return the suffix of files in a format.

    Parameters
    ----------
    target : Format
        Any.

    Returns
    -------
    str

    Examples
    --------
    >>> from treeavg.formats import FORMATS
    >>> suffix_of(FORMATS["brackets"]), suffix_of(FORMATS["conllu"])
    ('.txt', '.conllu')
    """
    return target.suffixes[0] if target.suffixes else ".txt"


def _written(job: Job) -> Iterator[Path]:
    """Yield the files that a job writes."""
    for place, shard in enumerate(job.plan.shards):
        yield from (Path(path) for _, path in _task(job, place, None).outputs)
        if job.folder is not None:
            yield from (record_path(Path(job.folder), kind, shard.name) for kind in (job.verb, "count"))


def _run(job: Job, executor: Executor, tasks: Sequence[Task], advance: Advance | None) -> list[dict[str, Any]]:
    """Return the records of all tasks, in order."""
    sizes = [_size(task.shard.paths[0]) for task in tasks]
    total, read = max(1, sum(sizes)), 0
    records: dict[int, dict[str, Any]] = {}
    for place, record in executor.run(run_shard, tasks):
        records[place] = record
        read += sizes[place]
        if advance is not None:
            advance(record["sentences"], read / total)
    return [records[place] for place in range(len(tasks))]


def _recorded(job: Job) -> set[str]:
    """Return the shards that an earlier run has recorded."""
    if job.folder is None:
        return set()
    folder = Path(job.folder)
    names = (shard.name for shard in job.plan.shards)
    return {name for name in names if record_path(folder, job.verb, name).exists()}


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0  # the worker tells


def _starts(counts: Sequence[int]) -> list[int | None]:
    firsts: list[int | None] = []
    first = 0
    for count in counts:
        firsts.append(first)
        first += count
    return firsts


def _task(job: Job, place: int, first: int | None) -> Task:
    shard = job.plan.shards[place]
    compression = compression_of(shard.paths[0])
    outputs = tuple(
        (output.name, os.path.join(output.folder, f"{shard.name}{output.suffix}{compression}"))
        for output in job.outputs
    )
    return Task(job.verb, job.work, shard, job.options, job.folder, outputs, first)


def _count_task(job: Job, place: int) -> Task:
    """Return the task that counts one shard: of its first file only."""
    shard = job.plan.shards[place]
    first_file = Shard(shard.name, shard.paths[:1])
    return Task("count", job.count, first_file, job.options, job.folder)
