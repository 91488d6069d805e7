"""Checks and changes of constituent rows: nesting, binarisation, deleted tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

GOOD = 0
OUT_OF_RANGE = 1
NOT_PREORDER = 2
CROSSING = 3


@kernel
def check_nested(lengths: I32, offsets: I64, starts: I32, ends: I32, stack: I64, place: I64) -> int:
    """Check that each sentence's rows lie in range, in pre-order and nested; twin: ``naive.check_nested``.

    `stack` has room for the rows of any one sentence. `place` (3) receives sentence, row and, where two rows cross,
    the earlier one. Returns a status of this module.
    """
    for sentence in range(lengths.shape[0]):
        top = 0
        first = offsets[sentence]
        for row in range(first, offsets[sentence + 1]):
            place[0] = sentence
            place[1] = row
            if starts[row] < 0 or ends[row] > lengths[sentence] or ends[row] - starts[row] < 2:
                return OUT_OF_RANGE
            if row > first and (
                starts[row] < starts[row - 1] or (starts[row] == starts[row - 1] and ends[row] > ends[row - 1])
            ):
                return NOT_PREORDER
            while top > 0 and ends[stack[top - 1]] <= starts[row]:
                top -= 1
            if top > 0 and ends[row] > ends[stack[top - 1]]:
                place[2] = stack[top - 1]
                return CROSSING
            stack[top] = row
            top += 1
    return GOOD


@kernel
def is_binary(lengths: I32, offsets: I64, starts: I32, ends: I32, first: int, last: int) -> bool:
    """Tell whether each tree of `first` to `last` is binary: n - 1 distinct rows, the root among them."""
    for sentence in range(first, last):
        begin = offsets[sentence]
        n = lengths[sentence]
        if offsets[sentence + 1] - begin != max(n - 1, 0):
            return False
        if n >= 2 and ends[begin] - starts[begin] != n:
            return False
        for row in range(begin + 1, offsets[sentence + 1]):
            if starts[row] == starts[row - 1] and ends[row] == ends[row - 1]:
                return False
    return True


@kernel
def binarize_rows(
    lengths: I32,
    offsets: I64,
    starts: I32,
    ends: I32,
    left: bool,
    out_offsets: I64,
    out_starts: I32,
    out_ends: I32,
    sources: I64,
    after: I64,
    queue: I64,
) -> None:
    """Binarise every tree, new nodes to the right (or `left`); twin: ``naive.binarize``.

    A unary chain keeps its lowest row. Each sentence of n > 1 tokens gets n - 1 rows in pre-order from
    ``out_offsets[sentence]`` on, `sources` (one an output row) the input row or -1 for a new one. Scratch: `after`
    (one a row: the next row that is not below it), `queue` (3 x longest sentence + 3).
    """
    for sentence in range(lengths.shape[0]):
        n = lengths[sentence]
        if n < 2:
            continue
        begin = offsets[sentence]
        stop = offsets[sentence + 1]
        for row in range(stop - 1, begin - 1, -1):
            follower = row + 1
            while follower < stop and ends[follower] <= ends[row]:
                follower = after[follower]
            after[row] = follower
        out = out_offsets[sentence]
        queue[0] = 0  # an entry: start, end, first row that may lie inside
        queue[1] = n
        queue[2] = begin
        top = 3
        while top > 0:
            top -= 3
            start = queue[top]
            end = queue[top + 1]
            row = queue[top + 2]
            source = -1
            while row < stop and starts[row] == start and ends[row] == end:
                source = row
                row += 1
            out_starts[out] = start
            out_ends[out] = end
            sources[out] = source
            out += 1
            if left:
                # Emit the new nodes over all children but the last, all but the last two, ...: walk the children
                # once, writing their ends behind one another, then reverse those and queue the children.
                children = 0
                here = start
                while here < end:
                    if row < stop and starts[row] == here and ends[row] <= end:
                        here = ends[row]
                        row = after[row]
                    else:
                        here += 1
                    if here < end:
                        children += 1
                        if children > 1:
                            out_starts[out + children - 2] = start
                            out_ends[out + children - 2] = here
                            sources[out + children - 2] = -1
                low = out
                high = out + children - 2
                while low < high:
                    swap = out_ends[low]
                    out_ends[low] = out_ends[high]
                    out_ends[high] = swap
                    low += 1
                    high -= 1
                out += max(children - 1, 0)
                row = queue[top + 2]
                while row < stop and starts[row] == start and ends[row] == end:
                    row += 1
                bottom = top
                here = start
                while here < end:
                    if row < stop and starts[row] == here and ends[row] <= end:
                        queue[top] = here
                        queue[top + 1] = ends[row]
                        queue[top + 2] = row
                        top += 3
                        here = ends[row]
                        row = after[row]
                    else:
                        here += 1
                low = bottom
                high = top - 3
                while low < high:  # the first child must come off first
                    for part in range(3):
                        value = queue[low + part]
                        queue[low + part] = queue[high + part]
                        queue[high + part] = value
                    low += 3
                    high -= 3
            else:
                split = start + 1
                following = row
                if row < stop and starts[row] == start and ends[row] < end:
                    split = ends[row]
                    following = after[row]
                if end - split > 1:
                    queue[top] = split
                    queue[top + 1] = end
                    queue[top + 2] = following
                    top += 3
                if split - start > 1:
                    queue[top] = start
                    queue[top + 1] = split
                    queue[top + 2] = row
                    top += 3


@kernel
def delete_tokens(
    lengths: I32,
    offsets: I64,
    starts: I32,
    ends: I32,
    kept: NDArray[np.bool_],
    places: I32,
    out_starts: I32,
    out_ends: I32,
    sizes: I32,
) -> None:
    """Renumber the rows after the tokens with ``kept == False`` are gone; twin: ``naive.delete_tokens``.

    `places` (longest sentence + 1) is scratch. `sizes` (M) receives how many tokens each row keeps; the caller drops
    the rows of none and moves those of one to the tags.
    """
    first_token = 0
    for sentence in range(lengths.shape[0]):
        n = lengths[sentence]
        place = 0
        for position in range(n):
            places[position] = place
            if kept[first_token + position]:
                place += 1
        places[n] = place
        for row in range(offsets[sentence], offsets[sentence + 1]):
            out_starts[row] = places[starts[row]]
            out_ends[row] = places[ends[row]]
            sizes[row] = out_ends[row] - out_starts[row]
        first_token += n


@kernel
def check_laminar(
    lengths: I32,
    offsets: I64,
    block_offsets: I64,
    starts: I32,
    ends: I32,
    tops: I64,
    sizes: I64,
    held: I64,
    place: I64,
) -> int:
    """Check that each sentence's constituents, of any fan-out, are nested or apart; twin: ``naive.compatible``.

    Rows stand parents first, so that from the last row back each must swallow whole what it touches. Scratch: `tops`
    (longest sentence), `sizes`, `held` (M). `place` (3) receives sentence and the two rows that cross.
    """
    for sentence in range(lengths.shape[0]):
        for token in range(lengths[sentence]):
            tops[token] = -1
        for row in range(offsets[sentence + 1] - 1, offsets[sentence] - 1, -1):
            size = 0
            held[row] = 0
            sizes[row] = 0
            for block in range(block_offsets[row], block_offsets[row + 1]):
                for token in range(starts[block], ends[block]):
                    size += 1
                    if tops[token] >= 0:
                        held[tops[token]] += 1
            sizes[row] = size
            for block in range(block_offsets[row], block_offsets[row + 1]):
                for token in range(starts[block], ends[block]):
                    other = tops[token]
                    if other >= 0 and held[other] > 0:
                        if held[other] != sizes[other]:
                            place[0] = sentence
                            place[1] = row
                            place[2] = other
                            return CROSSING
                        held[other] = 0
                    tops[token] = row
    return GOOD


BAD_RANGE = 4
NO_ROOT = 5
SEVERAL_ROOTS = 6
CYCLE = 7


@kernel
def check_heads(lengths: I32, token_offsets: I64, heads: I32, marks: I32, place: I64) -> int:
    """Check that each sentence's heads form a tree with one root; twin: ``naive.check_heads``.

    Heads count words from 1, 0 is the root. `marks` (longest sentence + 1) is scratch. `place` (2) receives sentence
    and word, both from 0. Returns a status of this module.
    """
    for sentence in range(lengths.shape[0]):
        begin = token_offsets[sentence]
        n = lengths[sentence]
        place[0] = sentence
        roots = 0
        for word in range(n):
            marks[word + 1] = 0
            if heads[begin + word] < 0 or heads[begin + word] > n:
                place[1] = word
                return BAD_RANGE
            if heads[begin + word] == 0:
                roots += 1
                if roots == 2:
                    place[1] = word
                    return SEVERAL_ROOTS
        if n > 0 and roots == 0:
            place[1] = 0
            return NO_ROOT
        for word in range(1, n + 1):
            node = word
            while node > 0 and marks[node] == 0:
                marks[node] = word
                node = heads[begin + node - 1]
            if node > 0 and marks[node] == word:
                place[1] = node - 1
                return CYCLE
    return GOOD
