"""Bracketed trees: a byte scanner, a gatherer of strings, a writer.

The grammar, over bytes::

    tree  = "(" [label] (tree | token)* ")"      holding at least one token
    label = the first run of other bytes after "("
    token = any later run of other bytes

White space is space, tab, CR, LF, VT, FF. In line mode LF ends a tree; otherwise it is white space.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

U8 = NDArray[np.uint8]
I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# Status of one tree.
GOOD = 0
BLANK = 1  # an empty line where a tree was expected
NO_OPEN = 2  # something other than "(" where a tree was expected
UNCLOSED = 3  # the line or the file ended inside a tree
EMPTY = 4  # a bracket without a token
TRAILING = 5  # something after the tree on its line


@kernel
def scan_trees(
    data: U8,
    line_mode: bool,
    skip: bool,
    lengths: I32,
    codes: I8,
    positions: I64,
    opened: I64,
    row_offsets: I64,
    starts: I32,
    ends: I32,
    label_begins: I64,
    label_ends: I64,
    token_begins: I64,
    token_ends: I64,
    tag_tokens: I64,
    tag_begins: I64,
    tag_ends: I64,
    counts: I64,
) -> int:
    """Scan all trees of `data` (uint8[L]), which ends with a line or with the file; twin: ``naive.read_brackets``.

    Per tree (T): lengths, codes, positions (where an error was seen), opened (the open bracket that it belongs to),
    row_offsets (T + 1). Rows are brackets over two tokens or more, in pre-order; tags are brackets over one token.
    `starts`, `ends`, `label_*` need a slot for each "(", `tag_*` too, `token_*` (L + 1) // 2. `counts` (4) receives:
    trees, tokens, rows, tags. Returns GOOD or the first error, which ends the scan unless `skip`: then the line
    becomes a tree of length 0 and scanning goes on (line mode only).
    """
    length = data.shape[0]
    pos = 0
    tree = 0
    tokens = 0
    rows = 0
    tags = 0
    row_offsets[0] = 0
    status = GOOD
    while True:
        while pos < length and (data[pos] == 32 or (9 <= data[pos] <= 13 and not (line_mode and data[pos] == 10))):
            pos += 1
        if pos == length:
            break
        code = GOOD
        where = pos
        open_at = pos
        first_token = tokens
        slots = rows
        if data[pos] == 10:
            code = BLANK
        elif data[pos] != 40:
            code = NO_OPEN
        else:
            top = -1  # the innermost open bracket; `ends` holds its parent until it closes
            want_label = False
            while True:
                where = pos
                if pos == length:
                    code = UNCLOSED
                    break
                c = data[pos]
                if c == 40:
                    starts[slots] = tokens - first_token
                    ends[slots] = top
                    label_begins[slots] = pos + 1
                    label_ends[slots] = pos + 1
                    top = slots
                    slots += 1
                    want_label = True
                    pos += 1
                elif c == 41:
                    if tokens - first_token == starts[top]:
                        code = EMPTY
                        break
                    want_label = False
                    parent = ends[top]
                    ends[top] = tokens - first_token
                    top = parent
                    pos += 1
                    if top < 0:
                        break
                elif c == 32 or 9 <= c <= 13:
                    if c == 10 and line_mode:
                        code = UNCLOSED
                        break
                    pos += 1
                else:
                    while pos < length and not (
                        data[pos] <= 41 and (data[pos] == 32 or data[pos] >= 40 or 9 <= data[pos] <= 13)
                    ):
                        pos += 1
                    if want_label:
                        label_begins[top] = where
                        label_ends[top] = pos
                        want_label = False
                    else:
                        token_begins[tokens] = where
                        token_ends[tokens] = pos
                        tokens += 1
            if code != GOOD:
                open_at = label_begins[top] - 1
                while data[open_at] != 40:
                    open_at -= 1
            elif line_mode:
                while pos < length and (data[pos] == 32 or data[pos] == 9 or 11 <= data[pos] <= 13):
                    pos += 1
                if pos < length and data[pos] != 10:
                    code = TRAILING
                    where = pos
        codes[tree] = code
        positions[tree] = where
        opened[tree] = open_at
        if code != GOOD:
            tokens = first_token
            slots = rows
            if status == GOOD:
                status = code
            if not skip:
                lengths[tree] = 0
                tree += 1
                row_offsets[tree] = rows
                break
        if line_mode:
            while pos < length and data[pos] != 10:
                pos += 1
            if pos < length:
                pos += 1
        # Keep the brackets over several tokens as rows, those over one token as its tags.
        slot = rows
        while (
            slot + 1 < slots
            and label_begins[slot] == label_ends[slot]
            and starts[slot + 1] == 0
            and ends[slot + 1] == ends[slot]
        ):
            slot += 1  # an outer bracket without a label around one bracket is the file's wrapper
        while slot < slots:
            if ends[slot] - starts[slot] >= 2:
                starts[rows] = starts[slot]
                ends[rows] = ends[slot]
                label_begins[rows] = label_begins[slot]
                label_ends[rows] = label_ends[slot]
                rows += 1
            else:
                tag_tokens[tags] = first_token + starts[slot]
                tag_begins[tags] = label_begins[slot]
                tag_ends[tags] = label_ends[slot]
                tags += 1
            slot += 1
        lengths[tree] = tokens - first_token
        tree += 1
        row_offsets[tree] = rows
    counts[0] = tree
    counts[1] = tokens
    counts[2] = rows
    counts[3] = tags
    return status


@kernel
def join_slices(data: U8, begins: I64, ends: I64, group_offsets: I64, out_offsets: I64, out: U8) -> None:
    """Copy the slices of each group (G) into `out`, joined by spaces; `out_offsets` (G + 1) gives the places."""
    for group in range(group_offsets.shape[0] - 1):
        place = out_offsets[group]
        for piece in range(group_offsets[group], group_offsets[group + 1]):
            if piece > group_offsets[group]:
                out[place] = 32
                place += 1
            for pos in range(begins[piece], ends[piece]):
                out[place] = data[pos]
                place += 1


@kernel
def write_trees(
    lengths: I32,
    row_offsets: I64,
    starts: I32,
    ends: I32,
    token_data: U8,
    token_offsets: I64,
    labelled: bool,
    label_data: U8,
    label_offsets: I64,
    tagged: bool,
    tag_data: U8,
    tag_offsets: I64,
    bare: bool,
    stack: I32,
    out: U8,
    counts: I64,
) -> int:
    """Write one tree a line into `out`; twin: ``naive.write_brackets``.

    A sentence of length 0 is an empty line. Without labels each bracket is ``X``; without tags a token stands `bare`
    or as ``(X token)``. `stack` has room for the rows of any one sentence. `counts` (2) receives the bytes written and,
    where a token would be read back as the missing label of its bracket, the sentence. Returns 0, or 1 in that case.
    """
    place = 0
    first_token = 0
    for sentence in range(lengths.shape[0]):
        row = row_offsets[sentence]
        last_row = row_offsets[sentence + 1]
        length = lengths[sentence]
        opened = 0
        for position in range(length):
            if position > 0:
                out[place] = 32
                place += 1
            nameless = False  # the bracket just opened has no label, so a bare token would become one
            while row < last_row and starts[row] == position:
                out[place] = 40
                place += 1
                if labelled:
                    nameless = label_offsets[row] == label_offsets[row + 1]
                    for pos in range(label_offsets[row], label_offsets[row + 1]):
                        out[place] = label_data[pos]
                        place += 1
                else:
                    out[place] = 88
                    place += 1
                out[place] = 32
                place += 1
                stack[opened] = ends[row]
                opened += 1
                row += 1
            token = first_token + position
            depth = 0
            if tagged and tag_offsets[token + 1] > tag_offsets[token]:
                out[place] = 40
                place += 1
                depth = 1
                for pos in range(tag_offsets[token], tag_offsets[token + 1]):
                    out[place] = tag_data[pos]
                    place += 1
                    if tag_data[pos] == 32:
                        out[place] = 40
                        place += 1
                        depth += 1
                nameless = tag_data[tag_offsets[token + 1] - 1] == 32
                out[place] = 32
                place += 1
            elif not bare or length == 1:
                out[place] = 40
                out[place + 1] = 88
                out[place + 2] = 32
                place += 3
                depth = 1
                nameless = False
            if nameless:
                counts[0] = place
                counts[1] = sentence
                return 1
            for pos in range(token_offsets[token], token_offsets[token + 1]):
                out[place] = token_data[pos]
                place += 1
            for _ in range(depth):
                out[place] = 41
                place += 1
            while opened > 0 and stack[opened - 1] == position + 1:
                out[place] = 41
                place += 1
                opened -= 1
        out[place] = 10
        place += 1
        first_token += length
    counts[0] = place
    counts[1] = -1
    return 0
