"""JSON lines in their plain form: words without escapes, constituents as lists of blocks, nothing else.

A line that is anything else ends the scan; the reader then parses the chunk with the standard library, which also finds
what is wrong. So this file need not know more of JSON than the plain form.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

PLAIN = 0
UNUSUAL = 1


@kernel
def skip_blanks(data: U8, pos: int) -> int:
    """Return the place of the next byte that is not a blank within a line; twin: str.lstrip."""
    while pos < data.shape[0] and (data[pos] == 32 or data[pos] == 9 or data[pos] == 13):
        pos += 1
    return pos


@kernel
def scan_lines(
    data: U8,
    lengths: I32,
    row_offsets: I64,
    block_offsets: I64,
    starts: I32,
    ends: I32,
    token_begins: I64,
    token_ends: I64,
    counts: I64,
) -> int:
    """Scan all lines of `data` (uint8[L]); twin: the reader's own path through the standard library's parser.

    Per line (N): lengths, row_offsets (N + 1). Rows (M) are constituents of two tokens or more as the file has them,
    adjacent blocks joined: block_offsets (M + 1), starts, ends. `token_*` hold the words. There is room for a row and a
    block for each "[" and for a token for each two quotes. `counts` (3): lines, rows, tokens. Returns PLAIN, or UNUSUAL
    where the scan ended early.
    """
    size = data.shape[0]
    pos = 0
    lines = 0
    rows = 0
    blocks = 0
    tokens = 0
    row_offsets[0] = 0
    block_offsets[0] = 0
    while True:
        pos = skip_blanks(data, pos)
        if pos == size:
            break
        if data[pos] != 123:
            return UNUSUAL
        first_token = tokens
        first_block = blocks
        has_words = False
        has_constituents = False
        pos = skip_blanks(data, pos + 1)
        while True:
            # A key: "words" or "constituents", told apart by their length and first letter.
            if pos + 15 >= size or data[pos] != 34:
                return UNUSUAL
            words = data[pos + 6] == 34
            if words:
                if (
                    data[pos + 1] != 119 or data[pos + 2] != 111 or data[pos + 3] != 114 or data[pos + 4] != 100
                    or data[pos + 5] != 115 or has_words
                ):  # fmt: skip
                    return UNUSUAL
                has_words = True
                pos += 7
            else:
                if (
                    data[pos + 13] != 34 or data[pos + 1] != 99 or data[pos + 2] != 111 or data[pos + 3] != 110
                    or data[pos + 4] != 115 or data[pos + 5] != 116 or data[pos + 6] != 105 or data[pos + 7] != 116
                    or data[pos + 8] != 117 or data[pos + 9] != 101 or data[pos + 10] != 110 or data[pos + 11] != 116
                    or data[pos + 12] != 115 or has_constituents
                ):  # fmt: skip
                    return UNUSUAL
                has_constituents = True
                pos += 14
            pos = skip_blanks(data, pos)
            if pos == size or data[pos] != 58:
                return UNUSUAL
            pos = skip_blanks(data, pos + 1)
            if pos == size or data[pos] != 91:
                return UNUSUAL
            pos = skip_blanks(data, pos + 1)
            if words:
                while True:
                    if pos == size or data[pos] != 34:
                        return UNUSUAL
                    pos += 1
                    token_begins[tokens] = pos
                    while pos < size and data[pos] != 34:
                        if data[pos] == 92 or data[pos] < 32:
                            return UNUSUAL
                        pos += 1
                    if pos == size:
                        return UNUSUAL
                    token_ends[tokens] = pos
                    tokens += 1
                    pos = skip_blanks(data, pos + 1)
                    if pos < size and data[pos] == 44:
                        pos = skip_blanks(data, pos + 1)
                    elif pos < size and data[pos] == 93:
                        break
                    else:
                        return UNUSUAL
            elif pos < size and data[pos] != 93:
                while True:
                    if pos == size or data[pos] != 91:
                        return UNUSUAL
                    begin = blocks
                    held = 0
                    pos = skip_blanks(data, pos + 1)
                    while True:
                        if pos == size or data[pos] != 91:
                            return UNUSUAL
                        pos = skip_blanks(data, pos + 1)
                        for side in range(2):
                            if pos == size or not 48 <= data[pos] <= 57:
                                return UNUSUAL
                            if data[pos] == 48 and pos + 1 < size and 48 <= data[pos + 1] <= 57:
                                return UNUSUAL
                            number = 0
                            while pos < size and 48 <= data[pos] <= 57:
                                number = 10 * number + int(data[pos]) - 48
                                if number > 2**31 - 1:
                                    return UNUSUAL
                                pos += 1
                            pos = skip_blanks(data, pos)
                            if pos == size or data[pos] != (44 if side == 0 else 93):
                                return UNUSUAL
                            pos = skip_blanks(data, pos + 1)
                            if side == 0:
                                starts[blocks] = number
                            else:
                                ends[blocks] = number
                        if ends[blocks] <= starts[blocks]:
                            return UNUSUAL
                        held += ends[blocks] - starts[blocks]
                        if blocks > begin and starts[blocks] < ends[blocks - 1]:
                            return UNUSUAL
                        if blocks > begin and starts[blocks] == ends[blocks - 1]:
                            ends[blocks - 1] = ends[blocks]
                        else:
                            blocks += 1
                        if pos < size and data[pos] == 44:
                            pos = skip_blanks(data, pos + 1)
                        elif pos < size and data[pos] == 93:
                            break
                        else:
                            return UNUSUAL
                    if held == 1:  # a single token is implied; it must be in range all the same
                        if not has_words or ends[begin] > tokens - first_token:
                            return UNUSUAL
                        blocks = begin
                    else:
                        rows += 1
                        block_offsets[rows] = blocks
                    pos = skip_blanks(data, pos + 1)
                    if pos < size and data[pos] == 44:
                        pos = skip_blanks(data, pos + 1)
                    elif pos < size and data[pos] == 93:
                        break
                    else:
                        return UNUSUAL
            pos = skip_blanks(data, pos + 1)
            if pos < size and data[pos] == 44:
                pos = skip_blanks(data, pos + 1)
            elif pos < size and data[pos] == 125:
                break
            else:
                return UNUSUAL
        if not has_words or not has_constituents or tokens == first_token:
            return UNUSUAL
        for block in range(first_block, blocks):
            if ends[block] > tokens - first_token:
                return UNUSUAL
        pos = skip_blanks(data, pos + 1)
        if pos < size:
            if data[pos] != 10:
                return UNUSUAL
            pos += 1
        lengths[lines] = tokens - first_token
        lines += 1
        row_offsets[lines] = rows
    counts[0] = lines
    counts[1] = rows
    counts[2] = tokens
    return PLAIN
