"""Files of JSON that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treeavg.errors import FormatError, quote
from treeavg.formats.files import AtomicFile, explain, sync_folder

#: Bytes of the largest JSON file that is read: a vocabulary of a million words takes some 20 MB.
LIMIT = 1 << 28


def canonical_json(value: Any) -> str:
    """Return JSON that is the same for equal values: keys sorted, no spaces, no NaN.

    Parameters
    ----------
    value : Any
        Dictionaries with string keys, lists, tuples, strings, numbers, booleans, None.

    Returns
    -------
    str

    Raises
    ------
    FormatError
        `value` cannot be written as JSON.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": (1.5, None)})
    '{"a":[1.5,null],"b":1}'
    """
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise FormatError(
            f"value: expected what JSON can hold, got: {error}. Use dictionaries, lists, strings and finite numbers."
        ) from None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file for people: sorted keys, indented, atomic.

    Parameters
    ----------
    path : pathlib.Path
        Where to.
    value : mapping
        What `canonical_json` takes.

    Raises
    ------
    FileError
        The file cannot be written; an older one is intact.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(path, {"b": 1, "a": 2})
    >>> list(read_json(path))
    ['a', 'b']
    """
    canonical_json(value)  # the check
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)
    with AtomicFile(path) as file:
        file.write(text.encode("utf-8", errors="surrogatepass") + b"\n")
    sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    dict

    Raises
    ------
    FileError
        It cannot be read.
    FormatError
        It is not a JSON object in UTF-8, or larger than `LIMIT`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = path.write_text("[")
    >>> read_json(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    treeavg.errors.FormatError: ...a.json: expected a JSON object, got: Expecting value: line 1 column 2 (char 1)...
    """
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise FormatError(f"{path}: expected at most {LIMIT:,} bytes, got more. Is it a JSON file of treeavg's?")
        value = json.loads(data.decode("utf-8", errors="surrogatepass"))
    except FormatError:
        raise
    except OSError as error:
        raise explain(os.fspath(path), "read", error) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: expected a JSON object, got: {error}. Restore the file from a copy.") from None
    if not isinstance(value, dict):
        raise FormatError(f"{path}: expected a JSON object, got {quote(value)}. Restore the file from a copy.")
    return value
