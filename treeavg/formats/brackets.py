"""Bracketed trees: one a line (``brackets``) or over any lines (``ptb``)."""

from __future__ import annotations

import numpy as np

from treeavg.errors import FormatError, Problem
from treeavg.escapes import escape_token, unescape_token
from treeavg.formats.base import NOT_SKIPPED, Chunk, Format
from treeavg.formats.boundaries import BracketCutter
from treeavg.formats.gathering import gathered
from treeavg.kernels import brackets as kernels
from treeavg.strings import StringColumn, offsets_of
from treeavg.transforms import with_roots
from treeavg.treebank import Treebank

_NO_BYTES = np.empty(0, np.uint8)


def _parse(chunk: Chunk, line_mode: bool) -> tuple[Treebank, list[Problem]]:
    chunk, problems = chunk.checked(line_mode)
    data = chunk.data
    size = len(data)
    brackets = int(np.count_nonzero(data == 40))
    trees = (int(np.count_nonzero(data == 10)) if line_mode else brackets) + 1
    lengths, codes = np.empty(trees, np.int32), np.empty(trees, np.int8)
    positions, opened = np.empty(trees, np.int64), np.empty(trees, np.int64)
    row_offsets = np.empty(trees + 1, np.int64)
    starts, ends = np.empty(brackets, np.int32), np.empty(brackets, np.int32)
    label_begins, label_ends = np.empty(brackets, np.int64), np.empty(brackets, np.int64)
    token_begins, token_ends = np.empty((size + 1) // 2, np.int64), np.empty((size + 1) // 2, np.int64)
    tag_tokens, tag_begins, tag_ends = (np.empty(brackets, np.int64) for _ in range(3))
    counts = np.zeros(4, np.int64)
    status = kernels.scan_trees(
        data,
        line_mode,
        chunk.skip and line_mode,
        lengths,
        codes,
        positions,
        opened,
        row_offsets,
        starts,
        ends,
        label_begins,
        label_ends,
        token_begins,
        token_ends,
        tag_tokens,
        tag_begins,
        tag_ends,
        counts,
    )
    count, tokens, rows, tags = counts.tolist()
    if status != kernels.GOOD:
        known = {problem.sentence for problem in problems}
        for index in np.flatnonzero(codes[:count] != kernels.GOOD).tolist():
            message = _explain(chunk, int(codes[index]), int(positions[index]), int(opened[index]), line_mode)
            if not chunk.skip:
                raise FormatError(message)
            if not line_mode:
                raise FormatError(f"{message} {NOT_SKIPPED}")
            if chunk.sentence + index not in known:
                problems.append(Problem(chunk.sentence + index, message))
        problems.sort(key=lambda problem: problem.sentence)
    token_column = label_column = tag_column = None
    if chunk.columns.tokens:
        token_column = gathered(data, token_begins[:tokens], token_ends[:tokens]).changed(unescape_token, [b"RB"])
    if chunk.columns.labels:
        label_column = gathered(data, label_begins[:rows], label_ends[:rows])
        if tags:
            groups = offsets_of(np.bincount(tag_tokens[:tags], minlength=tokens))
            tag_column = gathered(data, tag_begins[:tags], tag_ends[:tags], groups)
    bank = Treebank(
        lengths[:count].copy(),
        row_offsets[: count + 1].copy(),
        starts[:rows].copy(),
        ends[:rows].copy(),
        labels=label_column,
        tokens=token_column,
        tags=tag_column,
    )
    return bank, problems


def _explain(chunk: Chunk, code: int, position: int, opened: int, line_mode: bool) -> str:
    """Return the message for an error of the scanner."""
    where = chunk.place(position)
    if code == kernels.BLANK:
        return f"{where}: expected a tree, got an empty line. Remove it, or pass on_error='skip' to keep its place."
    if code == kernels.NO_OPEN:
        found = chunk.excerpt(position, position + 20)
        return f"{where}: expected '(' to begin a tree, got {found}. A tree looks like (S (NP (DT the) (NN dog)))."
    if code == kernels.UNCLOSED:
        end = "end of file" if position == len(chunk.data) or not line_mode else "end of line"
        advice = (
            "The format is one tree a line; use format='ptb' for trees over several lines."
            if line_mode
            else ("Close the bracket.")
        )
        line, column = chunk.place(opened).rsplit(":", 2)[1:]
        return f"{where}: expected ')' to close the bracket of line {line}, column {column}, got {end}. {advice}"
    if code == kernels.EMPTY:
        found = chunk.excerpt(opened, position + 1)
        return f"{where}: expected a token before ')', got {found}. A token stands behind its label: (NN dog)."
    found = chunk.excerpt(position, position + 20)
    return f"{where}: expected the end of the line behind the tree, got {found}. Balance the brackets: one tree a line."


def serialize(bank: Treebank) -> bytes:
    r"""Return one tree a line, an empty line for a missing sentence.

    Parameters
    ----------
    bank : Treebank
        Continuous. Without labels each bracket is ``X``; without words each word is ``_``.

    Returns
    -------
    bytes
        UTF-8.

    Raises
    ------
    FormatError
        A constituent is discontinuous; a word or label is empty or holds white space; a bracket without a label
        begins with a bare word.

    Examples
    --------
    >>> serialize(Treebank.from_constituents([["the", "dog", "barks"]], [[(0, 3), (0, 2)]]))
    b'(X (X (X the) (X dog)) (X barks))\n'
    """
    sentence = bank.first_discontinuous
    if sentence is not None:
        raise FormatError(
            f"treebank[{sentence}]: expected continuous constituents, got a discontinuous one. "
            "Brackets cannot hold it; write JSON lines (.jsonl)."
        )
    bank = with_roots(bank)
    tokens = bank.tokens if bank.tokens is not None else StringColumn.of(["_"] * bank.token_count)
    tokens = tokens.changed(escape_token, [b"(", b")", b"RB"])
    _refuse_space(bank, tokens)
    labels = bank.labels if bank.labels is not None else StringColumn(_NO_BYTES, np.zeros(1, np.int64))
    tags = bank.tags if bank.tags is not None else StringColumn(_NO_BYTES, np.zeros(1, np.int64))
    room = (
        len(tokens.data) + len(labels.data) + 4 * len(tags.data)
        + 5 * bank.constituent_count + 8 * bank.token_count + len(bank)
    )  # fmt: skip
    out, counts = np.empty(room, np.uint8), np.zeros(2, np.int64)
    status = kernels.write_trees(
        bank.lengths,
        bank.offsets,
        bank.starts,
        bank.ends,
        tokens.data,
        tokens.offsets,
        bank.labels is not None,
        labels.data,
        labels.offsets,
        bank.tags is not None,
        tags.data,
        tags.offsets,
        bank.labels is not None or bank.tags is not None,
        np.empty(int(np.diff(bank.offsets).max(initial=0)) + 1, np.int32),
        out,
        counts,
    )
    if status:
        raise FormatError(
            f"treebank[{counts[1]}]: expected a label on a bracket that begins with a bare word, got none. "
            "The word would be read back as the label; write JSON lines (.jsonl)."
        )
    return out[: counts[0]].tobytes()


def _refuse_space(bank: Treebank, tokens: StringColumn) -> None:
    """Raise where a word, label or tag would not be read back as one."""
    for name, column, allowed in (("word", tokens, ""), ("label", bank.labels, ""), ("tag", bank.tags, " ")):
        if column is None:
            continue
        data = column.data
        bad = (data == 32) | ((data >= 9) & (data <= 13))
        if name != "word":
            bad |= (data == 40) | (data == 41)
        if allowed:
            bad &= data != ord(allowed)
        empty = name == "word" and bool((np.diff(column.offsets) == 0).any())
        if not empty and not bad.any():
            continue
        if bad.any():
            place = int(np.searchsorted(column.offsets, np.argmax(bad), side="right")) - 1
        else:
            place = int(np.argmin(np.diff(column.offsets)))
        offsets = bank.offsets if name == "label" else bank.token_offsets
        sentence = int(np.searchsorted(offsets, place, side="right")) - 1
        raise FormatError(
            f"treebank[{sentence}]: expected a {name} without white space{'' if name == 'word' else ' or brackets'}, "
            f"got {column[place]!r}. Brackets cannot hold it; write JSON lines (.jsonl)."
        )


def _serialize_ptb(bank: Treebank) -> bytes:
    if len(bank.missing):
        raise FormatError(
            f"treebank[{bank.missing[0]}]: expected a tree, got a missing sentence. "
            "The ptb format has no place for it; write format='brackets'."
        )
    return b"".join(b"( %b)\n" % line for line in serialize(bank).splitlines())


BRACKETS = Format(
    "brackets",
    (),
    "one bracketed tree a line",
    line_based=True,
    parse=lambda chunk: _parse(chunk, line_mode=True),
    serialize=serialize,
)
PTB = Format(
    "ptb",
    (".mrg", ".ptb", ".tbf"),
    "bracketed trees over any number of lines, as in the Penn Treebank",
    line_based=False,
    parse=lambda chunk: _parse(chunk, line_mode=False),
    serialize=_serialize_ptb,
    cutter=BracketCutter,
)
