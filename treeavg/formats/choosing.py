"""The table of formats, and which of them a file has: by name, by suffix, by content."""

from __future__ import annotations

import os
import re
from dataclasses import replace

from treeavg.dependency import DependencyTreebank
from treeavg.errors import FormatError, unknown
from treeavg.formats.base import AnyTreebank, Format
from treeavg.formats.brackets import BRACKETS, PTB
from treeavg.formats.compression import without_compression
from treeavg.formats.conllu import CONLLU
from treeavg.formats.discbracket import DISCBRACKET
from treeavg.formats.export import EXPORT
from treeavg.formats.heads import HEADS
from treeavg.formats.jsonl import JSONL
from treeavg.formats.parquet import MAGIC, PARQUET

_EXPORT = re.compile(rb"%%|#(FORMAT|BOS|BOT)\b")
_WORD_LINE = re.compile(rb"[0-9]+([-.][0-9]+)?\t[^\t]*\t")
_HEAD_LINE = re.compile(rb"\s*\S+(\s+[0-9]+)+\s*")

_ALL = (BRACKETS, PTB, JSONL, DISCBRACKET, EXPORT, CONLLU, HEADS, PARQUET)


def kind_of(treebank: AnyTreebank) -> str:
    """Return ``constituency`` or ``dependency``."""
    return "dependency" if isinstance(treebank, DependencyTreebank) else "constituency"


def _guarded(item: Format) -> Format:
    """Return the format with a serializer that refuses trees of the other kind, and always takes a first index."""

    def serialize(treebank: AnyTreebank, first: int = 0) -> bytes:
        kind = kind_of(treebank)
        if item.kind not in (kind, "any"):
            fitting = ", ".join(repr(other.name) for other in _ALL if other.kind in (kind, "any"))
            raise FormatError(
                f"treebank: expected {item.kind} trees for the format {item.name!r}, got {kind} trees. "
                f"Choose one of {fitting}."
            )
        return item.serialize(treebank, first) if item.numbered else item.serialize(treebank)

    return replace(item, serialize=serialize)


#: Every format by its name; a new one is a file in this folder and a word in the tuple above.
FORMATS: dict[str, Format] = {item.name: _guarded(item) for item in _ALL}

#: What is written where neither name nor suffix says.
DEFAULTS = {"constituency": "brackets", "dependency": "heads"}


def format_of(
    path: str | os.PathLike[str], head: bytes | None = None, name: str | None = None, kind: str = "constituency"
) -> Format:
    r"""Return the format by its name, else by the path's suffix, else by the content.

    Parameters
    ----------
    path : str or os.PathLike
        A trailing ``.gz`` or ``.zst`` does not count.
    head : bytes, optional
        The beginning of the content.
    name : str, optional
        A key of `FORMATS`.
    kind : str, default "constituency"
        Of the trees to write, ``constituency`` or ``dependency``.

    Returns
    -------
    Format
        Where nothing else decides, ``brackets`` or ``heads``, by the kind.

    Raises
    ------
    ArgumentError
        `name` is unknown.

    Examples
    --------
    >>> format_of("trees.jsonl.gz").name, format_of("trees.txt", b"( (S\n    (NP (DT the)").name
    ('jsonl', 'ptb')
    """
    if name is not None:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
        return FORMATS[name]
    plain = without_compression(path)
    for item in FORMATS.values():
        if plain.endswith(item.suffixes):
            return item
    return FORMATS[_by_content(head) if head else DEFAULTS[kind]]


def _by_content(head: bytes) -> str:
    if head.startswith(MAGIC):
        return PARQUET.name
    start = head.lstrip()
    if start.startswith(b"{") or start[:5].strip() == b"null":
        return "jsonl"
    lines = [line for line in head.split(b"\n")[:1000] if line.strip()]
    if len(lines) > 1 and not head.endswith(b"\n"):
        lines.pop()  # may be cut off
    if _EXPORT.match(start):
        return "export"
    if lines and not start.startswith(b"("):
        return _by_columns(lines)
    if lines and _has_indices(lines[0]):
        return "discbracket"
    if b"\n" not in start:
        return "brackets"  # one line, perhaps cut off
    # One tree a line: lines begin at the margin and balance. Otherwise most lines are indented or do not balance.
    whole = sum(line.startswith(b"(") and line.count(b"(") == line.count(b")") for line in lines)
    return "brackets" if 2 * whole >= len(lines) or not start.startswith(b"(") else "ptb"


def _by_columns(lines: list[bytes]) -> str:
    """Tell formats of columns apart by the first line that is no comment."""
    first = next((line for line in lines if not line.startswith(b"#")), None)
    if first is None:
        return "conllu"
    if _HEAD_LINE.fullmatch(first):
        return "heads"
    return "conllu" if _WORD_LINE.match(first) else "brackets"


def _has_indices(line: bytes) -> bool:
    """Tell whether the words of a line of brackets, what follows white space or a bracket's end, are index=word."""
    words = re.findall(rb"[\s)]([^\s()]+)", line)[:20]
    return bool(words) and all(re.match(rb"[0-9]+=", word) for word in words)
