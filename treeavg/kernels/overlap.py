"""Matched constituents of two treebanks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@kernel
def match_constituents(
    lengths: I32,
    offsets_a: I64,
    starts_a: I32,
    ends_a: I32,
    offsets_b: I64,
    starts_b: I32,
    ends_b: I32,
    second_root_counts: bool,
    first: int,
    last: int,
    counts: I64,
) -> None:
    """Count, per sentence, the constituents of both, of b and of a as sets, the whole sentence left out.

    Rows are in pre-order, so that a repetition follows its model and one merge suffices; twin:
    ``naive.match_constituents``. With `second_root_counts` only one copy of the whole sentence is left out, and a
    second one is an ordinary constituent. `counts` (N, 3) receives (matched, in b, in a) of sentences `first` to
    `last`.
    """
    for sentence in range(first, last):
        n = lengths[sentence]
        i = offsets_a[sentence]
        j = offsets_b[sentence]
        stop_i = offsets_a[sentence + 1]
        stop_j = offsets_b[sentence + 1]
        roots_a = 0
        while i < stop_i and ends_a[i] - starts_a[i] == n:
            roots_a += 1
            i += 1
        roots_b = 0
        while j < stop_j and ends_b[j] - starts_b[j] == n:
            roots_b += 1
            j += 1
        matched = 0
        only_a = 0
        only_b = 0
        if second_root_counts:
            if roots_a > 1 and roots_b > 1:
                matched = 1
            elif roots_a > 1:
                only_a = 1
            elif roots_b > 1:
                only_b = 1
        while i < stop_i or j < stop_j:
            if i < stop_i and i > offsets_a[sentence] and starts_a[i] == starts_a[i - 1] and ends_a[i] == ends_a[i - 1]:
                i += 1
                continue
            if j < stop_j and j > offsets_b[sentence] and starts_b[j] == starts_b[j - 1] and ends_b[j] == ends_b[j - 1]:
                j += 1
                continue
            if j == stop_j:
                only_a += 1
                i += 1
            elif i == stop_i:
                only_b += 1
                j += 1
            elif starts_a[i] == starts_b[j] and ends_a[i] == ends_b[j]:
                matched += 1
                i += 1
                j += 1
            elif starts_a[i] < starts_b[j] or (starts_a[i] == starts_b[j] and ends_a[i] > ends_b[j]):
                only_a += 1
                i += 1
            else:
                only_b += 1
                j += 1
        counts[sentence, 0] = matched
        counts[sentence, 1] = matched + only_b
        counts[sentence, 2] = matched + only_a


@kernel
def mark_matched(
    lengths: I32,
    offsets_a: I64,
    starts_a: I32,
    ends_a: I32,
    offsets_b: I64,
    starts_b: I32,
    ends_b: I32,
    marks: NDArray[np.bool_],
) -> None:
    """Mark each row of a (M) that b also holds; twin: a set."""
    for sentence in range(lengths.shape[0]):
        j = offsets_b[sentence]
        stop_j = offsets_b[sentence + 1]
        for i in range(offsets_a[sentence], offsets_a[sentence + 1]):
            while j < stop_j and (starts_b[j] < starts_a[i] or (starts_b[j] == starts_a[i] and ends_b[j] > ends_a[i])):
                j += 1
            marks[i] = j < stop_j and starts_b[j] == starts_a[i] and ends_b[j] == ends_a[i]
