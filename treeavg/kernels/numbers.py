"""Numbers in text: a scanner of head lines, leaves with an index, and what the indices make of spans.

White space is space, tab, CR, VT, FF; LF ends a line. Numbers are ASCII digits without a sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

U8 = NDArray[np.uint8]
I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# Status of one line of heads, or of one sentence of numbered leaves.
GOOD = 0
BLANK = 1  # an empty line
NO_HEAD = 2  # an id and nothing behind it
NOT_A_NUMBER = 3  # something other than digits where a number was expected
TOO_LARGE = 4  # a number beyond int32, or beyond the leaves of its sentence
TWICE = 5  # a number that an earlier leaf has


@kernel
def scan_heads(
    data: U8,
    skip: bool,
    lengths: I32,
    codes: I8,
    positions: I64,
    id_begins: I64,
    id_ends: I64,
    heads: I32,
    counts: I64,
) -> int:
    """Scan lines ``id head head ...`` of `data` (L); twin: ``tests/formats/test_formats_heads.py``.

    Per line: lengths, codes, positions (of an error), ids as slices of `data`. `heads` needs (L + 1) // 2 slots.
    `counts` (2) receives lines and heads. Returns GOOD or the first error, which ends the scan unless `skip`: then the
    line gets length 0 and scanning goes on.
    """
    size = data.shape[0]
    place = 0
    line = 0
    total = 0
    status = GOOD
    while place < size:
        begin = place
        first = total
        code = GOOD
        error = begin
        while place < size and (data[place] == 32 or (9 <= data[place] <= 13 and data[place] != 10)):
            place += 1
        if place == size:
            break  # blanks behind the last line
        id_begins[line] = place
        while place < size and not (data[place] == 32 or 9 <= data[place] <= 13):
            place += 1
        id_ends[line] = place
        if id_begins[line] == place:
            code = BLANK
        while code == GOOD:
            while place < size and (data[place] == 32 or (9 <= data[place] <= 13 and data[place] != 10)):
                place += 1
            if place == size or data[place] == 10:
                break
            error = place
            number = 0
            while place < size and not (data[place] == 32 or 9 <= data[place] <= 13):
                digit = int(data[place]) - 48
                if digit < 0 or digit > 9:
                    code = NOT_A_NUMBER
                    break
                number = 10 * number + digit
                if number >= 2147483648:
                    code = TOO_LARGE
                    break
                place += 1
            if code == GOOD:
                heads[total] = number
                total += 1
        if code == GOOD and total == first:
            code = NO_HEAD
            error = id_begins[line]
        if code != GOOD:
            total = first
            if status == GOOD:
                status = code
        lengths[line] = total - first
        codes[line] = code
        positions[line] = error
        line += 1
        if code != GOOD and not skip:
            break
        while place < size and data[place] != 10:
            place += 1
        place += 1
    counts[0] = line
    counts[1] = total
    return status


@kernel
def scan_leaves(
    data: U8,
    begins: I64,
    ends: I64,
    lengths: I32,
    token_offsets: I64,
    numbers: I32,
    words: I64,
    places: I32,
    codes: I8,
    wrong: I64,
) -> None:
    """Split leaves ``index=word`` at their first "="; twin: ``tests/formats/test_formats_discbracket.py``.

    Of each leaf (T, slices of `data`): `numbers`, and `words`, where its word begins. `places` (T) is the inverse: leaf
    ``places[offset + number]`` of its sentence has the number. Per sentence: a code, and the leaf that is `wrong`.
    """
    for sentence in range(lengths.shape[0]):
        offset = token_offsets[sentence]
        n = lengths[sentence]
        codes[sentence] = GOOD
        for leaf in range(n):
            places[offset + leaf] = -1
        for leaf in range(n):
            number = 0
            place = begins[offset + leaf]
            stop = ends[offset + leaf]
            while place < stop and 48 <= data[place] <= 57 and number < n:
                number = 10 * number + int(data[place]) - 48
                place += 1
            first = place == begins[offset + leaf]
            while place < stop and 48 <= data[place] <= 57:
                place += 1
            code = GOOD
            if first or place == stop or data[place] != 61:
                code = NOT_A_NUMBER
            elif number >= n:
                code = TOO_LARGE
            elif places[offset + number] >= 0:
                code = TWICE
            if code != GOOD:
                codes[sentence] = code
                wrong[sentence] = leaf
                break
            numbers[offset + leaf] = number
            words[offset + leaf] = place + 1
            places[offset + number] = leaf


@kernel
def blocks_of_spans(
    row_offsets: I64,
    token_offsets: I64,
    starts: I32,
    ends: I32,
    numbers: I32,
    places: I32,
    fill: bool,
    fan_outs: I64,
    block_starts: I32,
    block_ends: I32,
) -> None:
    """Turn spans of leaves (M) into blocks of their numbers; twin: ``tests/formats/test_formats_discbracket.py``.

    `numbers` and `places` (T) are as `scan_leaves` leaves them. First call: `fan_outs` (M) receives the number of
    blocks. Second call, with `fill`: the blocks (sum of fan-outs), in order.
    """
    block = 0
    for sentence in range(row_offsets.shape[0] - 1):
        offset = token_offsets[sentence]
        for row in range(row_offsets[sentence], row_offsets[sentence + 1]):
            begin = starts[row]
            end = ends[row]
            low = numbers[offset + begin]
            high = low
            for leaf in range(begin + 1, end):
                low = min(low, numbers[offset + leaf])
                high = max(high, numbers[offset + leaf])
            if not fill:
                fan_outs[row] = 0
            inside = False
            for number in range(low, high + 1):
                place = places[offset + number]
                if begin <= place < end:
                    if not inside:
                        if fill:
                            block_starts[block] = number
                            block += 1
                        else:
                            fan_outs[row] += 1
                        inside = True
                    if fill:
                        block_ends[block - 1] = number + 1
                else:
                    inside = False
