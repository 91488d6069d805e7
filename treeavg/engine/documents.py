"""What a job keeps in JSON: written whole or not at all, in the same bytes for equal values, damage noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treeavg.errors import FileError
from treeavg.formats.files import AtomicFile, explain, sync_folder


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
    sync_folder(path.parent)


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
