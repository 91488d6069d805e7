"""One shard, done by one worker: streamed, written whole or not at all, and recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from treeavg.engine.documents import input_stamp, make_folder, read_json, sealed, unsealed, write_json
from treeavg.engine.manifest import FORMAT, record_path
from treeavg.engine.shards import Shard
from treeavg.errors import FileError, TreeavgError
from treeavg.formats.files import AtomicFile, file_digest
from treeavg.version import __version__

#: What a worker does with a shard: takes its files' paths, the job's options, a function for each output that takes
#: bytes, and the index of the first sentence (0 unless the job numbers them); returns what JSON can hold, with
#: ``sentences``. It must be a function that workers can import by its name.
Work: TypeAlias = Callable[
    [tuple[str, ...], Mapping[str, Any], Mapping[str, Callable[[bytes], None]], int], dict[str, Any]
]


@dataclass(frozen=True)
class Task:
    """A shard and what is to be done with it.

    Parameters
    ----------
    kind : str
        The verb, or a stage of it.
    work : callable
        See `Work`.
    shard : Shard
        What is read.
    options : mapping of str to object
        For `work`.
    folder : str or None
        The job's, where the record goes; None keeps no record.
    outputs : tuple of (str, str)
        Name and path of each file that is written.
    first : int or None
        Index of the shard's first sentence where the output depends on it.
    version : str
        Of the treeavg that handed the task out.
    """

    kind: str
    work: Work
    shard: Shard
    options: Mapping[str, Any] = field(default_factory=dict)
    folder: str | None = None
    outputs: tuple[tuple[str, str], ...] = ()
    first: int | None = None
    version: str = __version__


def run_shard(task: Task) -> dict[str, Any]:
    """Do one shard, unless its record says that it is done.

    A shard counts as done if its inputs have the size and time of change, or else the SHA-256, that the record names,
    and its outputs have the SHA-256 that it names. The options need no look: a folder holds one job only.

    Parameters
    ----------
    task : Task
        What to do.

    Returns
    -------
    dict
        ``shard``, ``sentences``, ``first``, ``inputs`` (path, bytes, mtime_ns, sha256), ``outputs`` (by name: path
        within the job's folder, bytes, sha256), ``result`` of the work, and two that are not kept in the record:
        ``seconds`` and ``reused``.

    Raises
    ------
    TreeavgError
        As for the work; or this is another version than the task's, or an input changed while it was read. Nothing is
        written then.

    Examples
    --------
    >>> run_shard(Task("average", average_work, shard, options, "out", (("trees", "out/1.txt"),)))  # doctest: +SKIP
    """
    begun = time.perf_counter()
    if task.version != __version__:
        raise TreeavgError(
            f"cluster: expected treeavg {task.version} on every worker, got {__version__}. Install the same everywhere."
        )
    path = None if task.folder is None else record_path(Path(task.folder), task.kind, task.shard.name)
    known = None if path is None else unsealed(read_json(path))
    if known is not None and _fits(known, task):
        return {**known, "seconds": time.perf_counter() - begun, "reused": True}
    before = [input_stamp(name) for name in task.shard.paths]
    with ExitStack() as stack:
        writers = {}
        for name, output in task.outputs:
            make_folder(Path(output).parent)
            writers[name] = stack.enter_context(AtomicFile(output)).write
        result = task.work(task.shard.paths, task.options, writers, task.first or 0)
        # Inside, so that an input that changed leaves no output.
        inputs = [{**stamp, "sha256": file_digest(stamp["path"])} for stamp in before]
        for stamp in before:
            if input_stamp(stamp["path"]) != stamp:
                raise FileError(
                    f"{stamp['path']}: expected a file that stays as it is, got one that changed while it was read. "
                    "Run the command again when it is complete."
                )
    record = {
        "format": FORMAT,
        "kind": task.kind,
        "shard": task.shard.name,
        "first": task.first,
        "sentences": result["sentences"],
        "inputs": inputs,
        "outputs": {name: _written(output, task.folder) for name, output in task.outputs},
        "result": result,
    }
    if path is not None:
        write_json(path, sealed(record))
    return {**record, "seconds": time.perf_counter() - begun, "reused": False}


def _written(output: str, folder: str | None) -> dict[str, Any]:
    """Return what the record says of an output file."""
    relative = os.path.relpath(output, folder) if folder is not None else output
    return {"path": relative, "bytes": os.stat(output).st_size, "sha256": file_digest(output)}


def _fits(record: Mapping[str, Any], task: Task) -> bool:
    """Tell whether a record's shard need not be done again."""
    try:
        return (
            record["format"] == FORMAT
            and record["kind"] == task.kind
            and record["first"] == task.first
            and len(record["inputs"]) == len(task.shard.paths)
            and set(record["outputs"]) == {name for name, _ in task.outputs}
            and all(map(_same_input, record["inputs"], task.shard.paths))
            and all(_same_output(record["outputs"][name], output) for name, output in task.outputs)
            and "sentences" in record["result"]
        )
    except (KeyError, TypeError):
        return False  # not ours, or damaged


def _same_input(known: Mapping[str, Any], path: str) -> bool:
    now = input_stamp(path)
    if now["bytes"] != known["bytes"]:
        return False
    return bool(now["mtime_ns"] == known["mtime_ns"] or file_digest(path) == known["sha256"])


def _same_output(known: Mapping[str, Any], path: str) -> bool:
    try:
        return bool(os.stat(path).st_size == known["bytes"] and file_digest(path) == known["sha256"])
    except OSError:
        return False
