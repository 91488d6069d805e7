"""Discontinuous brackets: one tree a line, leaves as ``index=word`` in any order.

The lines are scanned as brackets over their leaves, in the order in which they stand; then each span of leaves becomes
the blocks of their indices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treeavg.building import preorder
from treeavg.errors import FormatError, Problem
from treeavg.escapes import escape_token, unescape_token
from treeavg.formats.base import Chunk, Format
from treeavg.formats.gathering import gathered
from treeavg.formats.places import LinePlaces
from treeavg.formats.writing import hang, refuse
from treeavg.kernels import brackets as kernels
from treeavg.kernels import numbers
from treeavg.strings import StringColumn, offsets_of
from treeavg.transforms import with_roots
from treeavg.treebank import Treebank
from treeavg.view import NO_LABEL, TreeView

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

_COMMENT = re.compile(rb"\t[^\n]*")
_EXAMPLE = "A tree looks like (S (VP (VB 0=Is) (JJ 2=true)) (PRP 1=it))."
_ELSE = "The format cannot hold it; write JSON lines (.jsonl)."


@dataclass
class _Scan:
    """The trees of a chunk over their leaves, in the order in which these stand."""

    status: int
    lengths: I32
    codes: NDArray[np.int8]
    positions: I64
    opened: I64
    offsets: I64
    starts: I32
    ends: I32
    label_begins: I64
    label_ends: I64
    leaf_begins: I64
    leaf_ends: I64
    tag_leaves: I64
    tag_begins: I64
    tag_ends: I64


def _scan(data: NDArray[np.uint8], skip: bool) -> _Scan:
    brackets = int(np.count_nonzero(data == ord("(")))
    trees = int(np.count_nonzero(data == 10)) + 1
    lengths, codes = np.empty(trees, np.int32), np.empty(trees, np.int8)
    positions, opened = np.empty(trees, np.int64), np.empty(trees, np.int64)
    offsets = np.empty(trees + 1, np.int64)
    starts, ends = np.empty(brackets, np.int32), np.empty(brackets, np.int32)
    label_begins, label_ends, tag_leaves, tag_begins, tag_ends = (np.empty(brackets, np.int64) for _ in range(5))
    leaf_begins, leaf_ends = (np.empty((len(data) + 1) // 2, np.int64) for _ in range(2))
    counts = np.zeros(4, np.int64)
    status = kernels.scan_trees(
        data, True, skip, lengths, codes, positions, opened, offsets, starts, ends, label_begins, label_ends,
        leaf_begins, leaf_ends, tag_leaves, tag_begins, tag_ends, counts,
    )  # fmt: skip
    count, leaves, rows, tags = counts.tolist()
    return _Scan(
        status, lengths[:count].copy(), codes[:count], positions, opened, offsets[: count + 1].copy(), starts[:rows],
        ends[:rows], label_begins[:rows], label_ends[:rows], leaf_begins[:leaves], leaf_ends[:leaves],
        tag_leaves[:tags], tag_begins[:tags], tag_ends[:tags],
    )  # fmt: skip


@dataclass
class _Leaves:
    """Which token each leaf is; see `numbers.scan_leaves`."""

    numbers: I32
    words: I64
    places: I32
    codes: NDArray[np.int8]
    wrong: I64


def _leaves(data: NDArray[np.uint8], scan: _Scan) -> _Leaves:
    count, sentences = len(scan.leaf_begins), len(scan.lengths)
    leaves = _Leaves(
        np.zeros(count, np.int32), np.zeros(count, np.int64), np.zeros(count, np.int32),
        np.zeros(sentences, np.int8), np.zeros(sentences, np.int64),
    )  # fmt: skip
    numbers.scan_leaves(
        data, scan.leaf_begins, scan.leaf_ends, scan.lengths, offsets_of(scan.lengths),
        leaves.numbers, leaves.words, leaves.places, leaves.codes, leaves.wrong,
    )  # fmt: skip
    return leaves


def _parse(chunk: Chunk) -> tuple[Treebank, list[Problem]]:
    chunk, problems = chunk.checked()
    data = _without_comments(chunk.data)
    scan = _scan(data, chunk.skip)
    leaves = _leaves(data, scan)
    known = {problem.sentence: problem for problem in problems}
    faulty = np.flatnonzero((scan.codes != kernels.GOOD) | (leaves.codes != numbers.GOOD)).tolist()
    places = LinePlaces(chunk)
    for index in faulty:
        message = _explain(chunk, places, scan, leaves, index)
        if not chunk.skip:
            raise FormatError(message)
        known.setdefault(chunk.sentence + index, Problem(chunk.sentence + index, message))
    if faulty:
        data = _without_lines(data, faulty)  # then all leaves that are left have good indices
        scan = _scan(data, chunk.skip)
        leaves = _leaves(data, scan)
    return _build(chunk, data, scan, leaves), [known[sentence] for sentence in sorted(known)]


def _without_comments(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the data with spaces from the first TAB of each line on, so that nothing else moves."""
    raw = data.tobytes()
    if b"\t" not in raw:
        return data
    bare = _COMMENT.sub(lambda match: b" " * len(match[0]), raw)
    if not raw.endswith(b"\n") and raw[raw.rfind(b"\n") + 1 :].strip():
        bare += b"\n"  # or a last line that holds only a comment would not count
    return np.frombuffer(bytearray(bare), np.uint8)


def _without_lines(data: NDArray[np.uint8], indices: list[int]) -> NDArray[np.uint8]:
    lines = data.tobytes().split(b"\n")
    for index in indices:
        lines[index] = b" "
    if indices[-1] == len(lines) - 1:
        lines.append(b"")  # or the blank last line would not count
    return np.frombuffer(bytearray(b"\n".join(lines)), np.uint8)


def _explain(chunk: Chunk, places: LinePlaces, scan: _Scan, leaves: _Leaves, index: int) -> str:
    """Return the message for the fault of a line."""
    code, position = int(scan.codes[index]), int(scan.positions[index])
    where = places.of(index, position)
    if code == kernels.BLANK:
        return f"{where}: expected a tree, got an empty line. Remove it, or pass on_error='skip' to keep its place."
    if code == kernels.NO_OPEN:
        return f"{where}: expected '(' to begin a tree, got {chunk.excerpt(position, position + 20)}. {_EXAMPLE}"
    if code == kernels.UNCLOSED:
        column = places.of(index, int(scan.opened[index])).rsplit(":", 1)[1]
        return (
            f"{where}: expected ')' to close the bracket of column {column}, got the end of the line. "
            "Close it; the format is one tree a line."
        )
    if code == kernels.EMPTY:
        found = chunk.excerpt(int(scan.opened[index]), position + 1)
        return f"{where}: expected index=word before ')', got {found}. {_EXAMPLE}"
    if code == kernels.TRAILING:
        found = chunk.excerpt(position, position + 20)
        return f"{where}: expected the end of the line behind the tree, got {found}. A comment begins with a TAB."
    leaf = int(offsets_of(scan.lengths)[index]) + int(leaves.wrong[index])
    begin, stop = int(scan.leaf_begins[leaf]), int(scan.leaf_ends[leaf])
    where, found = places.of(index, begin), chunk.excerpt(begin, stop)
    code = int(leaves.codes[index])
    if code == numbers.NOT_A_NUMBER:
        return f"{where}: expected index=word, got {found}. {_EXAMPLE}"
    what = "an index that an earlier word has" if code == numbers.TWICE else "an index beyond them"
    last = int(scan.lengths[index]) - 1
    return f"{where}: expected each index from 0 to {last} once, got {what}: {found}. Number the words without holes."


def _build(chunk: Chunk, data: NDArray[np.uint8], scan: _Scan, leaves: _Leaves) -> Treebank:
    """Put leaves in the order of their indices, and constituents into pre-order."""
    token_offsets = offsets_of(scan.lengths)
    shared = (scan.offsets, token_offsets, scan.starts, scan.ends, leaves.numbers, leaves.places)
    fan_outs = np.zeros(len(scan.starts), np.int64)
    nothing = np.empty(0, np.int32)
    numbers.blocks_of_spans(*shared, False, fan_outs, nothing, nothing)
    count = int(fan_outs.sum())
    starts, ends = np.empty(count, np.int32), np.empty(count, np.int32)
    numbers.blocks_of_spans(*shared, True, fan_outs, starts, ends)
    sentences = np.repeat(np.arange(len(scan.lengths)), np.diff(scan.offsets))
    order, blocks = preorder(sentences, fan_outs, starts, ends)
    order_of_leaves = leaves.places.astype(np.int64) + np.repeat(token_offsets[:-1], scan.lengths)
    tokens = labels = tags = None
    if chunk.columns.tokens:
        tokens = gathered(data, leaves.words[order_of_leaves], scan.leaf_ends[order_of_leaves])
        if b"RB#" in tokens.data.tobytes():
            tokens = StringColumn.of(unescape_token(token, "#") for token in tokens)
    if chunk.columns.labels:
        labels = gathered(data, scan.label_begins[order], scan.label_ends[order])
        if len(scan.tag_leaves):
            groups = offsets_of(np.bincount(scan.tag_leaves, minlength=len(leaves.places)))
            tags = gathered(data, scan.tag_begins, scan.tag_ends, groups).take(order_of_leaves)
    return Treebank(
        scan.lengths,
        scan.offsets,
        starts[blocks],
        ends[blocks],
        block_offsets=offsets_of(fan_outs[order]) if (fan_outs > 1).any() else None,
        labels=labels,
        tokens=tokens,
        tags=tags,
    )


def _serialize(bank: Treebank) -> bytes:
    bank = with_roots(bank)
    refuse(bank, "word", bank.tokens, r"[ \t-\r\0]", "white space", _ELSE)
    refuse(bank, "label", bank.labels, r"[ \t-\r\0()]", "white space or brackets", _ELSE)
    refuse(bank, "tag", bank.tags, r"[\t-\r\0()]", "white space or brackets", _ELSE)
    return "".join(f"{_line(view)}\n" for view in bank).encode()


def _line(view: TreeView) -> str:
    """Return one tree; a stack stands for recursion, since trees may be deep."""
    length = len(view)
    if not length:
        return ""
    bare = view.treebank.labels is not None or view.treebank.tags is not None
    labels = view.labels if view.labels is not None else [NO_LABEL] * len(view.constituents)
    tokens, tags = view.tokens or ["_"] * length, view.tags or [""] * length
    leaves = []
    for index, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
        chain = tag.split(" ") if tag else [] if bare and length > 1 else [NO_LABEL]
        if chain and not (chain[-1] and (chain[0] or length > 1)):
            raise _nameless(view)
        opened = "".join(f"({label} " for label in chain)
        leaves.append(f"{opened}{index}={escape_token(token, '#')}{')' * len(chain)}")
    if not view.constituents:
        return leaves[0]
    children = _children(view)
    parts: list[str] = []
    agenda: list[int | str] = [0]
    while agenda:
        item = agenda.pop()
        if isinstance(item, str):
            parts.append(item)
        elif item < 0:
            parts.append(leaves[~item])
        else:
            own = children[item]
            if not labels[item]:  # a bracket has to come first, or the word would be the label
                own = sorted(own, key=lambda child: child < 0 and not leaves[~child].startswith("("))
                word_first = own[0] < 0 and not leaves[~own[0]].startswith("(")
                if word_first or (item == 0 and len(own) == 1):
                    raise _nameless(view)
            parts.append(f"({labels[item]}")
            agenda.append(")")
            for child in reversed(own):
                agenda += [child, " "]
    return "".join(parts)


def _children(view: TreeView) -> list[list[int]]:
    """Return what hangs under each constituent, by first token: rows, and tokens as their complement (-1 is 0)."""
    constituents = view.constituents
    parents, owners = hang(constituents, len(view))
    children: list[list[int]] = [[] for _ in constituents]
    row = 0
    for token, owner in enumerate(owners):
        while row < len(constituents) and constituents[row][0][0] == token:
            if row:
                children[parents[row]].append(row)
            row += 1
        children[owner].append(~token)
    return children


def _nameless(view: TreeView) -> FormatError:
    return FormatError(
        f"treebank[{view.index}]: expected a label on the outermost bracket and on those that begin with a bare word, "
        f"got none. It would not be read back; write JSON lines (.jsonl)."
    )


DISCBRACKET = Format(
    "discbracket",
    (".dbr", ".discbracket"),
    "one bracketed tree a line, leaves as index=word: any fan-out",
    line_based=True,
    parse=_parse,
    serialize=_serialize,
)
