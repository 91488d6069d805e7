"""Sharded input: which files of several teachers belong together."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from treeavg.errors import AlignmentError, ArgumentError, FileError, FormatError, quote
from treeavg.formats.choosing import FORMATS
from treeavg.formats.compression import KINDS
from treeavg.formats.files import explain

#: What a job of ours keeps in its output folder; neither is a shard.
MANIFEST, RECORDS = "manifest.json", ".records"

_COMPRESSED = tuple(KINDS)
_KNOWN = (*(suffix for item in FORMATS.values() for suffix in item.suffixes), ".txt")


@dataclass(frozen=True)
class Shard:
    """One piece of the text.

    Parameters
    ----------
    name : str
        With ``/`` between folders, without the suffixes of its files.
    paths : tuple of str, length K
        Its file from each teacher.
    """

    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class ShardPlan:
    """The shards of several teachers, in order.

    Parameters
    ----------
    teachers : tuple of str, length K
        As the user named them.
    shards : tuple of Shard
        In natural order of their names: 2 before 10.
    """

    teachers: tuple[str, ...]
    shards: tuple[Shard, ...]


def is_sharded(path: str) -> bool:
    """Tell whether an argument names several files: a folder, or a pattern that is not itself a file.

    Parameters
    ----------
    path : str
        As the user wrote it.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_sharded("teachers/diora/*.txt"), is_sharded("a.txt")
    (True, False)
    """
    return os.path.isdir(path) or (glob.has_magic(path) and not os.path.exists(path))


def plan_shards(inputs: Sequence[str], manifest: str | None = None) -> ShardPlan:
    """Find the shards of each teacher and align them by name.

    Parameters
    ----------
    inputs : sequence of str, length K >= 1
        A folder, a pattern such as ``a/*.txt.gz``, or a file, which is one shard; with `manifest`, teachers in it.
    manifest : str, optional
        JSON lines, one a shard: ``{"shard": "0001", "paths": {"diora": "d/0001.txt", "gold": "g/0001.txt"}}``. Paths
        are relative to the manifest's folder, and its order is the order of shards.

    Returns
    -------
    ShardPlan

    Raises
    ------
    AlignmentError
        A teacher lacks a shard; names it.
    FileError, FormatError, ArgumentError
        A folder holds nothing, two files have one name, or the manifest cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for place in ("a/10.txt", "a/2.txt", "b/2.jsonl", "b/10.jsonl.gz"):
    ...     (root / place).parent.mkdir(exist_ok=True)
    ...     (root / place).touch()
    >>> [shard.name for shard in plan_shards([str(root / "a"), str(root / "b")]).shards]
    ['2', '10']
    """
    if not inputs:
        raise ArgumentError("teachers: expected at least one, got none. Name a folder, a pattern or a file of each.")
    if "-" in inputs:
        raise ArgumentError("teachers: expected folders, patterns or files of shards, got '-'. Save standard input.")
    if manifest is not None:
        return _from_manifest(inputs, manifest)
    found = [_shards_of(argument) for argument in inputs]
    if all(len(own) == 1 for own in found):  # then there is only one way to align them
        name = next(iter(found[0]))
        return ShardPlan(tuple(inputs), (Shard(name, tuple(next(iter(own.values())) for own in found)),))
    model = max(range(len(found)), key=lambda index: len(found[index]))
    for argument, own in zip(inputs, found, strict=True):
        _refuse_missing(argument, own, inputs[model], found[model])
    names = sorted(found[0], key=natural)
    return ShardPlan(tuple(inputs), tuple(Shard(name, tuple(own[name] for own in found)) for name in names))


def natural(name: str) -> tuple[tuple[tuple[bool, int, str], ...], str]:
    """Return a key that sorts numbers in names by their value.

    Parameters
    ----------
    name : str
        Any.

    Returns
    -------
    tuple

    Examples
    --------
    >>> sorted(["a10", "a9", "a09", "a"], key=natural)
    ['a', 'a09', 'a9', 'a10']
    """
    parts = [part for part in re.split(r"([0-9]+)", name) if part]
    return tuple((False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts), name


def stem_of(name: str) -> str:
    """Return a shard's name: that of a file without the suffixes that formats and compression know.

    Parameters
    ----------
    name : str
        A file's.

    Returns
    -------
    str

    Examples
    --------
    >>> stem_of("wsj/0001.jsonl.gz"), stem_of("part.0001")
    ('wsj/0001', 'part.0001')
    """
    for suffixes in (_COMPRESSED, _KNOWN):
        suffix = next((item for item in suffixes if name.lower().endswith(item)), "")
        if suffix and len(os.path.basename(name)) > len(suffix):
            name = name[: len(name) - len(suffix)]
    return name


def compression_of(path: str) -> str:
    """Return the suffix of a path's compression, or nothing.

    Parameters
    ----------
    path : str
        Any.

    Returns
    -------
    str

    Examples
    --------
    >>> compression_of("a.txt.gz"), compression_of("a.txt")
    ('.gz', '')
    """
    return next((suffix for suffix in _COMPRESSED if path.lower().endswith(suffix)), "")


def _shards_of(argument: str) -> dict[str, str]:
    """Return the files of one teacher by the names of their shards."""
    if os.path.isdir(argument):
        base, paths = argument, _files_in(Path(argument))
    elif is_sharded(argument):
        parts = argument.split("/")
        first = next(place for place, part in enumerate(parts) if glob.has_magic(part))
        base = "/".join(parts[:first]) or ("/" if argument.startswith("/") else ".")
        paths = [path for path in glob.glob(argument, recursive=True) if os.path.isfile(path)]
    else:
        return {stem_of(os.path.basename(argument)): argument}
    if not paths:
        raise FileError(f"{argument}: expected shards, got no file there. Check the folder or the pattern.")
    shards: dict[str, str] = {}
    for path in sorted(paths):
        name = stem_of(os.path.relpath(path, base))
        if name in shards:
            raise ArgumentError(
                f"{argument}: expected one file of each shard, got {shards[name]} and {path}. Move one of them away."
            )
        shards[name] = path
    return shards


def _files_in(folder: Path) -> list[str]:
    """Return the files under a folder, hidden ones left out; of a job's folder those that it wrote."""
    if (folder / RECORDS).is_dir() and not (folder / MANIFEST).is_file():
        raise FileError(
            f"{folder}: expected a finished job's folder, got one without {MANIFEST}. "
            "Run the job's command again, which goes on with it."
        )
    paths = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        paths += [os.path.join(parent, name) for name in names if not name.startswith((".", "_")) and name != MANIFEST]
    return paths


def _refuse_missing(argument: str, own: Mapping[str, str], other: str, model: Mapping[str, str]) -> None:
    """Raise where a teacher's shards are not the other's."""
    for lacking, having, missing in (
        (argument, other, sorted(set(model) - set(own), key=natural)),
        (other, argument, sorted(set(own) - set(model), key=natural)),
    ):
        if missing:
            more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
            raise AlignmentError(
                f"{lacking}: expected the shard {missing[0]}{more} as in {having}, got none. "
                "Every teacher must have the same shards, or name them in a manifest: --shards FILE."
            )


def _from_manifest(inputs: Sequence[str], manifest: str) -> ShardPlan:
    """Read the shards of some teachers from a manifest."""
    try:
        lines = Path(manifest).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise explain(manifest, "read", error) from None
    except UnicodeDecodeError:
        raise FormatError(f"{manifest}: expected JSON lines in UTF-8, got other bytes. Check --shards.") from None
    base = os.path.dirname(manifest)
    shards: dict[str, Shard] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, paths = _entry(f"{manifest}:{number}", line)
        if name in shards:
            raise FormatError(f"{manifest}:{number}: expected each shard once, got {name!r} again. Remove a line.")
        lacking = [teacher for teacher in inputs if teacher not in paths]
        if lacking:
            raise AlignmentError(
                f"{manifest}:{number}: expected a path of {lacking[0]} for the shard {name}, got those of "
                f"{_listed(paths)}. Name the teachers as the manifest does."
            )
        shards[name] = Shard(name, tuple(os.path.join(base, paths[teacher]) for teacher in inputs))
    if not shards:
        raise FormatError(f"{manifest}: expected a shard on each line, got an empty file. Check --shards.")
    return ShardPlan(tuple(inputs), tuple(shards.values()))


def _entry(where: str, line: str) -> tuple[str, dict[str, str]]:
    """Return the name and the paths on a line of a manifest."""
    form = '{"shard": "0001", "paths": {"teacher": "file"}}'
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: expected {form}, got no JSON: {error}. Mend the line.") from None
    name, paths = (value.get("shard"), value.get("paths")) if isinstance(value, dict) else (None, None)
    good = isinstance(name, str) and isinstance(paths, dict) and all(isinstance(item, str) for item in paths.values())
    if not good or not _is_plain(str(name)):
        raise FormatError(f"{where}: expected {form}, got {quote(line)}. Mend the line.")
    assert isinstance(paths, dict)
    return str(name), paths


def _is_plain(name: str) -> bool:
    """Tell whether a shard's name stays inside the output folder."""
    return "\0" not in name and not any(part == "" or part.startswith(".") for part in name.split("/"))


def _listed(names: Iterable[str], most: int = 5) -> str:
    shown = list(names)
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
