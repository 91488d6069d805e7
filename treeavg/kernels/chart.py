"""The binary tree with the most hits.

The chart holds H(b, e), the most hits that a binary tree over tokens b to e can collect:

    H(b, e) = h(b, e) + max over b < j < e of H(b, j) + H(j, e),    H(b, b + 1) = 0

Only a split whose left child is one token or has hits of its own can be the first best one. (Let the left child (b, j)
have no hits and be best split at i. Then H(b, j) + H(j, e) = H(b, i) + H(i, j) + H(j, e) <= H(b, i) + H(i, e), so the
earlier split i is at least as good.) A row is therefore built from as many rows below it as constituents were hit that
start at b, each step one pass over contiguous cells: O(n m) for m hits in place of O(n^3), with the same ties.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@kernel
def best_binary(
    lengths: I32,
    first: int,
    last: int,
    hit_offsets: I64,
    hit_starts: I32,
    hit_ends: I32,
    hit_counts: I64,
    chart: NDArray[np.int32 | np.int64],
    begins: I64,
    stack: I32,
    out_offsets: I64,
    out_starts: I32,
    out_ends: I32,
) -> None:
    """Write the binary tree with the most hits of sentences `first` to `last`; twin: ``naive.best_binary``.

    Hits are sorted by start, then end, without the whole sentence; `hit_offsets` is relative to `first`. On a tie the
    shortest left child wins, recursively. `chart` (n (n + 1) / 2 cells for the longest sentence; int32 where the
    counts fit), `begins` (n + 1), `stack` (2 n) are scratch. A sentence of n > 1 tokens gets n - 1 rows in pre-order
    from ``out_offsets[sentence]`` on.
    """
    for sentence in range(first, last):
        n = lengths[sentence]
        if n < 2:
            continue
        hits_begin = hit_offsets[sentence - first]
        # Row b of the triangle holds the cells (b, b + 1) to (b, n); cell (b, e) is chart[row + e].
        pointer = hit_offsets[sentence - first + 1]
        begins[n] = pointer
        below = n * (n + 1) // 2  # the base of row b + 1, whose cell (b + 1, e) is chart[below + e]
        for b in range(n - 1, -1, -1):
            row = b * n - b * (b - 1) // 2 - b - 1
            chart[row + b + 1] = 0
            for e in range(b + 2, n + 1):
                chart[row + e] = chart[below + e]
            stop = pointer
            while pointer > hits_begin and hit_starts[pointer - 1] == b:
                pointer -= 1
            begins[b] = pointer
            for hit in range(pointer, stop):
                j = hit_ends[hit]
                left = chart.dtype.type(chart[row + j] + hit_counts[hit])
                chart[row + j] = left
                right = j * n - j * (j - 1) // 2 - j - 1
                # Views and one dtype throughout: so LLVM compiles the pass to vector instructions.
                target = chart[row + j + 1 : row + n + 1]
                source = chart[right + j + 1 : right + n + 1]
                for place in range(target.shape[0]):
                    target[place] = max(target[place], chart.dtype.type(left + source[place]))
            below = row
        out = out_offsets[sentence]
        stack[0] = 0
        stack[1] = n
        top = 2
        while top > 0:
            top -= 2
            b = stack[top]
            e = stack[top + 1]
            out_starts[out] = b
            out_ends[out] = e
            out += 1
            row = b * n - b * (b - 1) // 2 - b - 1
            split = b + 1
            best = chart[(b + 1) * n - (b + 1) * b // 2 - b - 2 + e]
            for hit in range(begins[b], begins[b + 1]):
                j = hit_ends[hit]
                if j >= e:
                    break
                value = chart[row + j] + chart[j * n - j * (j - 1) // 2 - j - 1 + e]
                if value > best:
                    best = value
                    split = j
            if e - split > 1:
                stack[top] = split
                stack[top + 1] = e
                top += 2
            if split - b > 1:
                stack[top] = b
                stack[top + 1] = split
                top += 2


@kernel
def best_teacher(
    lengths: I32,
    first: int,
    last: int,
    hit_offsets: I64,
    hit_starts: I32,
    hit_ends: I32,
    hit_counts: I64,
    offsets: I64,
    starts: I32,
    ends: I32,
    chosen: I32,
) -> None:
    """Choose, per sentence, the first teacher whose constituents collect the most hits; twin: ``naive.best_teacher``.

    `offsets` (K, N + 1) points into the teachers' concatenated rows, in pre-order; a repeated constituent counts once.
    """
    teachers = offsets.shape[0]
    for sentence in range(first, last):
        low_bound = hit_offsets[sentence - first]
        high_bound = hit_offsets[sentence - first + 1]
        best = -1
        for teacher in range(teachers):
            score = 0
            previous_start = -1
            previous_end = -1
            for row in range(offsets[teacher, sentence], offsets[teacher, sentence + 1]):
                start = starts[row]
                end = ends[row]
                if end - start == lengths[sentence] or (start == previous_start and end == previous_end):
                    continue
                previous_start = start
                previous_end = end
                low = low_bound
                high = high_bound
                while low < high:
                    middle = (low + high) // 2
                    if hit_starts[middle] < start or (hit_starts[middle] == start and hit_ends[middle] < end):
                        low = middle + 1
                    else:
                        high = middle
                if low < high_bound and hit_starts[low] == start and hit_ends[low] == end:
                    score += hit_counts[low]
            if score > best:
                best = score
                chosen[sentence] = teacher
