"""What a job leaves beside its shards: what it is, a record of each shard, and at the end the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from treeavg.engine.documents import read_json, write_json
from treeavg.engine.shards import MANIFEST, RECORDS
from treeavg.errors import ArgumentError, FileError, FormatError, quote

#: Of the manifest and of records; another number is another format.
FORMAT = 1
JOB = "job.json"


def begin_job(folder: Path, document: Mapping[str, Any], more: Sequence[Path] = ()) -> None:
    """Write what a job is into its folder, or check that the folder is this job's.

    Parameters
    ----------
    folder : pathlib.Path
        New, empty, or of the same job.
    document : mapping
        ``verb``, ``version``, ``options`` (a mapping) and whatever else decides the result.
    more : sequence of pathlib.Path
        Other folders that the job writes into, which must be new or empty when it begins.

    Raises
    ------
    ArgumentError
        The folder holds something else, or another job; names the option that differs.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> begin_job(folder, {"verb": "average", "options": {"beta": 1.0}})
    >>> begin_job(folder, {"verb": "average", "options": {"beta": 2.0}})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: ...: expected the job that was begun there, got another beta: 1.0 before, 2.0 now...
    """
    for one in (folder, *more):
        if one.exists() and not one.is_dir():
            raise FileError(f"{one}: expected a folder for shards, got a file. Choose another name.")
    wanted = json.loads(json.dumps({"format": FORMAT, **document}))
    path = folder / RECORDS / JOB
    known = read_json(path)
    if known is None:
        for one in (folder, *more):
            if one.is_dir() and any(item.name != RECORDS for item in one.iterdir()):
                raise ArgumentError(
                    f"{one}: expected a new or empty folder, or one of this job, got one with other files. "
                    "Choose another folder."
                )
        write_json(path, wanted)
        return
    if known != wanted:
        name, before, now = _difference(known, wanted)
        raise ArgumentError(
            f"{folder}: expected the job that was begun there, got another {name}: {quote(before)} before, "
            f"{quote(now)} now. Give the same options, or choose another folder."
        )


def _difference(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """Return the name and both values of the first thing that differs, options last."""
    pairs = [
        (name, known.get(name), wanted.get(name)) for name in sorted(set(known) | set(wanted)) if name != "options"
    ]
    before, now = _flat(known.get("options")), _flat(wanted.get("options"))
    pairs += [(name, before.get(name), now.get(name)) for name in sorted(set(before) | set(now))]
    return next(pair for pair in pairs if pair[1] != pair[2])


def _flat(options: Any) -> dict[str, Any]:
    """Return options without the groups that they stand in."""
    flat: dict[str, Any] = {}
    for name, value in (options if isinstance(options, dict) else {}).items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat


def record_path(folder: Path, kind: str, shard: str) -> Path:
    """Return where the record of a shard is.

    Parameters
    ----------
    folder : pathlib.Path
        The job's.
    kind : str
        What was done with the shard.
    shard : str
        Its name.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> record_path(Path("out"), "average", "a/0001").as_posix()
    'out/.records/average/a/0001.json'
    """
    return folder / RECORDS / kind / f"{shard}.json"


def write_manifest(folder: Path, document: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> None:
    """Write the manifest of a finished job; a manifest that says the same stays untouched.

    Parameters
    ----------
    folder : pathlib.Path
        The job's.
    document : mapping
        As for `begin_job`.
    records : sequence of mapping
        Of all shards, in order, as `treeavg.engine.tasks.run_shard` returns them.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_manifest(folder, {"verb": "average"}, [])
    >>> read_manifest(folder)["sentences"]
    0
    """
    shards, first = [], 0
    for record in records:
        shards.append({
            "shard": record["shard"],
            "first": first,
            "sentences": record["sentences"],
            "skipped": len(record["result"].get("problems", ())),
            "files": record["outputs"],
            "inputs": [{name: item[name] for name in ("path", "bytes", "sha256")} for item in record["inputs"]],
        })  # fmt: skip
        first += record["sentences"]
    value = {"format": FORMAT, **document, "sentences": first, "shards": shards}
    if read_json(folder / MANIFEST) != json.loads(json.dumps(value)):
        write_json(folder / MANIFEST, value)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a finished job.

    Parameters
    ----------
    folder : pathlib.Path
        The job's.

    Returns
    -------
    dict
        ``verb``, ``version``, ``options``, ``teachers``, ``sentences`` and, for each of ``shards``, ``shard``,
        ``first`` (index of its first sentence), ``sentences``, ``skipped``, ``files`` and ``inputs`` with bytes and
        SHA-256.

    Raises
    ------
    FormatError
        There is none, or it is damaged or of another format.

    Examples
    --------
    >>> read_manifest(Path("average/"))["sentences"]  # doctest: +SKIP
    1000000
    """
    value = read_json(folder / MANIFEST)
    if value is None or value.get("format") != FORMAT:
        raise FormatError(
            f"{folder / MANIFEST}: expected a manifest of format {FORMAT}, got none. Run the job to its end first."
        )
    return value


def sweep(paths: Iterable[Path]) -> None:
    """Remove what killed workers left half written: the temporary files of `AtomicFile` beside some files.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        Files that a job writes; no worker may write them any more.

    Examples
    --------
    >>> sweep([Path("no such folder/a.txt")])
    """
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, own in names.items():
        for path in folder.glob(".*.tmp"):
            if path.name[1:].rsplit(".", 2)[0] in own:
                path.unlink(missing_ok=True)
