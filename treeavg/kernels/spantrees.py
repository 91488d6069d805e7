"""Trees over span scores: the best one, and exact samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@kernel
def best(scores: F64, lengths: I64, first: int, last: int, scratch: F64, stack: I64, trees: I64) -> None:
    """Write the binary tree with the highest sum of scores, in pre-order; twin: ``enumeration.best``.

    Ties go to the leftmost split. `trees` (B, N - 1, 2) gets zeros after the last row of a sentence. `scratch`
    (2, (N + 1) ** 2), `stack` (2 N + 2).
    """
    for sentence in range(first, last):
        n = lengths[sentence]
        side = n + 1
        trees[sentence] = 0
        totals, sums = scratch[0], scratch[1]
        for b in range(n - 1, -1, -1):
            row = b * side
            sums[row + b + 1] = 0.0
            for e in range(b + 2, side):
                sums[row + e] = -np.inf
            for j in range(b + 1, side):
                left = sums[row + j]
                if j > b + 1 and j - b < n:
                    left += scores[sentence, b, j]
                totals[row + j] = left
                target = sums[row + j + 1 : row + side]
                source = totals[j * side + j + 1 : j * side + side]
                for place in range(target.shape[0]):
                    target[place] = max(target[place], left + source[place])
        if n > 1:
            stack[0] = 0
            stack[1] = n
            top = 2
            out = 0
            while top > 0:
                top -= 2
                b = stack[top]
                e = stack[top + 1]
                trees[sentence, out, 0] = b
                trees[sentence, out, 1] = e
                out += 1
                split = b + 1
                while totals[b * side + split] + totals[split * side + e] < sums[b * side + e]:
                    split += 1
                if e - split > 1:
                    stack[top] = split
                    stack[top + 1] = e
                    top += 2
                if split - b > 1:
                    stack[top] = b
                    stack[top + 1] = split
                    top += 2


@kernel
def sample(whole: F64, below: F64, lengths: I64, draws: F64, stack: I64, trees: I64) -> None:
    """Draw binary trees top-down, exactly, from the charts of `inside`; twin: ``enumeration.sample``.

    Row r of tree t of sentence s (in pre-order) is split by the uniform number ``draws[t, s, r]``: at the first split
    whose cumulative probability is above it. `trees` (T, B, N - 1, 2), `stack` (2 N + 2).
    """
    for tree in range(draws.shape[0]):
        for sentence in range(draws.shape[1]):
            n = lengths[sentence]
            chart = whole[sentence]
            trees[tree, sentence] = 0
            stack[0] = 0
            stack[1] = n
            top = 2 if n > 1 else 0
            out = 0
            while top > 0:
                top -= 2
                b = stack[top]
                e = stack[top + 1]
                trees[tree, sentence, out, 0] = b
                trees[tree, sentence, out, 1] = e
                split = b
                total = 0.0
                while split < e - 1 and total <= draws[tree, sentence, out]:
                    split += 1
                    total += np.exp(chart[b, split] + chart[split, e] - below[sentence, b, e])
                out += 1
                if e - split > 1:
                    stack[top] = split
                    stack[top + 1] = e
                    top += 2
                if split - b > 1:
                    stack[top] = b
                    stack[top + 1] = split
                    top += 2
