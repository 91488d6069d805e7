"""Diversity of many sets of teachers at once: sums over items, sets that share a beginning share its work."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

F64 = NDArray[np.float64]
I16 = NDArray[np.int16]
I64 = NDArray[np.int64]


@kernel
def entropy_sums(
    codes: I16,
    counts: I64,
    weights: I64,
    subsets: I64,
    first: int,
    last: int,
    table: F64,
    tally: I64,
    sums: F64,
    out: F64,
) -> None:
    """Sum x ln x over the weights x of all answers to all items; twin: ``society_entropy`` in test_selection.py.

    Subsets `first` to `last` of `subsets` (S, k), of teachers with `codes` (K, P) below D and `weights` (K). `counts`
    (P): how many items are answered like this. `table`: x ln x for all sums of weights, or empty. Scratch: `tally`
    (P, D), all 0; `sums` (k + 1). Output: `out` (S).
    """
    size = subsets.shape[1]
    items = counts.shape[0]
    tabled = table.shape[0] > 0
    sums[0] = 0.0
    for subset in range(first, last):
        # The tally holds all teachers of the previous subset but its last; take out those that this one lacks.
        shared = 0
        if subset > first:
            while shared < size - 1 and subsets[subset, shared] == subsets[subset - 1, shared]:
                shared += 1
            for depth in range(shared, size - 1):
                teacher = subsets[subset - 1, depth]
                for item in range(items):
                    tally[item, codes[teacher, item]] -= weights[teacher]
        for depth in range(shared, size):
            teacher = subsets[subset, depth]
            weight = weights[teacher]
            keep = weight if depth < size - 1 else 0
            total = sums[depth]
            for item in range(items):
                code = codes[teacher, item]
                before = tally[item, code]
                after = before + weight
                if tabled:
                    gain = table[after] - table[before]
                else:
                    gain = after * np.log(after) if after > 0 else 0.0
                    if before > 0:
                        gain -= before * np.log(before)
                total += counts[item] * gain
                tally[item, code] = before + keep
            sums[depth + 1] = total
        out[subset] = sums[size]


@kernel
def right_sums(
    codes: I16,
    counts: I64,
    weights: I64,
    subsets: I64,
    first: int,
    last: int,
    right: I64,
    out: F64,
) -> None:
    """Sum over items what right-or-wrong measures need; twin: ``right_or_wrong`` in test_selection.py.

    An answer is right where its code is 0. With l the weight that is right and L all weight, `out` (S, 3) receives the
    sums of l (L - l), of min(l, L - l), and the number of items with 0.1 <= l / L <= 0.9. Scratch: `right` (P), all 0.
    The rest is as for `entropy_sums`.
    """
    size = subsets.shape[1]
    items = counts.shape[0]
    for subset in range(first, last):
        shared = 0
        if subset > first:
            while shared < size - 1 and subsets[subset, shared] == subsets[subset - 1, shared]:
                shared += 1
            for depth in range(shared, size - 1):
                teacher = subsets[subset - 1, depth]
                for item in range(items):
                    if codes[teacher, item] == 0:
                        right[item] -= weights[teacher]
        for depth in range(shared, size - 1):
            teacher = subsets[subset, depth]
            for item in range(items):
                if codes[teacher, item] == 0:
                    right[item] += weights[teacher]
        whole = 0
        for depth in range(size):
            whole += weights[subsets[subset, depth]]
        teacher = subsets[subset, size - 1]
        products = 0.0
        minorities = 0.0
        mixed = 0
        for item in range(items):
            good = right[item]
            if codes[teacher, item] == 0:
                good += weights[teacher]
            bad = whole - good
            products += counts[item] * (float(good) * float(bad))
            minorities += counts[item] * float(min(good, bad))
            if whole <= 10 * good and 10 * good <= 9 * whole:
                mixed += counts[item]
        out[subset, 0] = products
        out[subset, 1] = minorities
        out[subset, 2] = mixed
