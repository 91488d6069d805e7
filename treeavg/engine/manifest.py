"""What a job leaves beside its shards: what it is, a record of each shard, and at the end the manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from treeavg.engine.shards import MANIFEST, RECORDS
from treeavg.errors import ArgumentError, FileError, FormatError, quote
from treeavg.formats.files import AtomicFile, explain

#: Of the manifest and of records; another number is another format.
FORMAT = 1
JOB = "job.json"


def digest_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    FileError
        It cannot be read.

    Examples
    --------
    >>> digest_of(os.devnull)[:8]
    'e3b0c442'
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise explain(os.fspath(path), "read", error) from None


def input_stamp(path: str) -> dict[str, Any]:
    """Return what tells at little cost that a file is what it was: its size in bytes and its time of change.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    dict
        ``path``, ``bytes``, ``mtime_ns``.

    Raises
    ------
    FileError
        It cannot be read.

    Examples
    --------
    >>> sorted(input_stamp(os.devnull))
    ['bytes', 'mtime_ns', 'path']
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise explain(path, "read", error) from None
    return {"path": path, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object that appears whole or not at all, in the same bytes for equal values.

    Parameters
    ----------
    path : pathlib.Path
        Where to; folders are made.
    value : mapping
        What JSON can hold.

    Raises
    ------
    FileError
        It cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "a.json"
    >>> write_json(path, {"b": 1, "a": 2})
    >>> read_json(path)
    {'a': 2, 'b': 1}
    """
    make_folder(path.parent)
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)
    with AtomicFile(path) as file:
        file.write(text.encode("utf-8", errors="surrogateescape") + b"\n")
    _sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where there is no such file or it is damaged.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    dict or None

    Examples
    --------
    >>> read_json(Path("no such file")) is None
    True
    """
    try:
        value = json.loads(path.read_bytes().decode("utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(os.fspath(path), "read", error) from None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the SHA-256 of itself, so that damage shows.

    Parameters
    ----------
    record : mapping
        What JSON can hold.

    Returns
    -------
    dict

    Examples
    --------
    >>> unsealed(sealed({"a": 1}))
    {'a': 1}
    """
    return {**record, "seal": _seal(record)}


def unsealed(record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a record without its seal; None where that does not fit.

    Parameters
    ----------
    record : mapping or None
        From `sealed`, through a file.

    Returns
    -------
    dict or None

    Examples
    --------
    >>> unsealed({**sealed({"a": 1}), "a": 2}) is None
    True
    """
    content = {name: value for name, value in (record or {}).items() if name != "seal"}
    return content if record is not None and record.get("seal") == _seal(content) else None


def _seal(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Parameters
    ----------
    folder : pathlib.Path
        May exist.

    Raises
    ------
    FileError
        It cannot be made.

    Examples
    --------
    >>> make_folder(Path("."))
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{folder}: expected a folder to write into, got: {error.strerror or error}. Choose another path."
        ) from None


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


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder as lasting as the files' content, where the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # the file itself was synced, and a rename is all or nothing anyway
    finally:
        os.close(handle)
