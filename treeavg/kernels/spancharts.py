"""Charts of span scores and rows of trees: are they what they should be, and which cells distinguish trees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@kernel
def first_bad(scores: F64, lengths: I64) -> int:
    """Return the flat index of a sentence's first cell that is not finite, or -1; twin: ``numpy.isfinite``."""
    side = scores.shape[1]
    for sentence in range(scores.shape[0]):
        for b in range(lengths[sentence]):
            for e in range(b + 1, lengths[sentence] + 1):
                if not np.isfinite(scores[sentence, b, e]):
                    return int((sentence * side + b) * side + e)
    return -1


@kernel
def inner_cells(source: F64, lengths: I64, less_largest: bool, out: F64) -> None:
    """Keep the cells of spans of two words or more that are not the whole sentence; twin: ``charts.inner_mask``.

    Zero is written elsewhere. With `less_largest`, the largest of a sentence's cells is taken from each.
    """
    for sentence in range(source.shape[0]):
        n = lengths[sentence]
        chart = source[sentence]
        kept = out[sentence]
        kept[:] = 0.0
        largest = -np.inf
        for b in range(n - 1):
            for e in range(b + 2, n + 1):
                if e - b < n:
                    kept[b, e] = chart[b, e]
                    largest = max(largest, chart[b, e])
        if less_largest:
            for b in range(n - 1):
                for e in range(b + 2, n + 1):
                    if e - b < n:
                        kept[b, e] -= largest


@kernel
def first_bad_tree(trees: I64, lengths: I64, stack: I64) -> int:
    """Return the flat index of the first tree that is none, binary and in pre-order; twin: ``enumeration.trees``.

    `trees` (T, B, R, 2), padded with zeros; `stack` (2 N + 2). Returns -1 where all are trees.
    """
    rows = trees.shape[2]
    for tree in range(trees.shape[0]):
        for sentence in range(trees.shape[1]):
            n = lengths[sentence]
            stack[0] = 0
            stack[1] = n
            top = 2 if n > 1 else 0
            good = max(n - 1, 0) <= rows
            for row in range(rows):
                b = trees[tree, sentence, row, 0]
                e = trees[tree, sentence, row, 1]
                if row >= n - 1:
                    good = good and b == 0 and e == 0
                elif good:
                    top -= 2
                    good = top >= 0 and b == stack[top] and e == stack[top + 1]
                    if good:
                        split = b + 1
                        if row + 1 < n - 1 and trees[tree, sentence, row + 1, 0] == b:
                            split = trees[tree, sentence, row + 1, 1]
                        good = b < split < e
                    if good:
                        if e - split > 1:
                            stack[top] = split
                            stack[top + 1] = e
                            top += 2
                        if split - b > 1:
                            stack[top] = b
                            stack[top + 1] = split
                            top += 2
            if not good:
                return int(tree * trees.shape[1] + sentence)
    return -1
