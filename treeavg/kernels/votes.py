"""Teachers' constituents to hit counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@kernel
def count_hits(
    lengths: I32,
    offsets: I64,
    starts: I32,
    ends: I32,
    weights: I64,
    first: int,
    last: int,
    order: I64,
    spare: I64,
    owners: I32,
    heads: I64,
    hit_offsets: I64,
    hit_starts: I32,
    hit_ends: I32,
    hit_counts: I64,
) -> int:
    """Sum the weights of the teachers that hold each constituent; twin: ``naive.hit_counts``.

    Sentences `first` to `last` (S of them). `offsets` (K, N + 1) points into the teachers' concatenated `starts` and
    `ends`, each sentence in pre-order; `weights` (K). A teacher counts once however often it repeats a constituent.
    The whole sentence is left out: every tree holds it. Scratch: `order`, `spare`, `owners` (rows of one sentence),
    `heads` (longest sentence + 2). Output, sorted by start, then end: `hit_offsets` (S + 1), the others as long as
    the rows of all teachers. Returns the number of hits.
    """
    teachers = weights.shape[0]
    total = 0
    hit_offsets[0] = 0
    for sentence in range(first, last):
        length = lengths[sentence]
        votes = 0
        for teacher in range(teachers):
            if weights[teacher] > 0:
                for row in range(offsets[teacher, sentence], offsets[teacher, sentence + 1]):
                    if ends[row] - starts[row] < length:
                        spare[votes] = row
                        owners[votes] = teacher
                        votes += 1
        # Two stable counting sorts, by end and then by start: linear, and one teacher's repetitions stay together.
        for place in range(length + 2):
            heads[place] = 0
        for vote in range(votes):
            heads[ends[spare[vote]] + 1] += 1
        for place in range(length + 1):
            heads[place + 1] += heads[place]
        for vote in range(votes):
            end = ends[spare[vote]]
            order[heads[end]] = vote
            heads[end] += 1
        for place in range(length + 2):
            heads[place] = 0
        for vote in range(votes):
            heads[starts[spare[vote]] + 1] += 1
        for place in range(length + 1):
            heads[place + 1] += heads[place]
        begin = total
        # The second sort needs room of its own: the hits' place holds it, since there are at most as many hits.
        for position in range(votes):
            start = starts[spare[order[position]]]
            hit_counts[begin + heads[start]] = order[position]
            heads[start] += 1
        previous_start = -1
        previous_end = -1
        previous_owner = -1
        for position in range(votes):
            vote = hit_counts[begin + position]
            row = spare[vote]
            owner = owners[vote]
            if starts[row] == previous_start and ends[row] == previous_end:
                if owner != previous_owner:
                    hit_counts[total - 1] += weights[owner]
            else:
                previous_start = starts[row]
                previous_end = ends[row]
                hit_starts[total] = previous_start
                hit_ends[total] = previous_end
                hit_counts[total] = weights[owner]
                total += 1
            previous_owner = owner
        hit_offsets[sentence - first + 1] = total
    return total


@kernel
def support(
    lengths: I32,
    offsets: I64,
    starts: I32,
    ends: I32,
    hit_offsets: I64,
    hit_starts: I32,
    hit_ends: I32,
    hit_counts: I64,
    whole: int,
    out: I64,
) -> None:
    """Look up the hit count of each row (M); twin: a dictionary. The whole sentence has the count `whole`."""
    for sentence in range(lengths.shape[0]):
        for row in range(offsets[sentence], offsets[sentence + 1]):
            if ends[row] - starts[row] == lengths[sentence]:
                out[row] = whole
                continue
            low = hit_offsets[sentence]
            high = hit_offsets[sentence + 1]
            while low < high:
                middle = (low + high) // 2
                if hit_starts[middle] < starts[row] or (
                    hit_starts[middle] == starts[row] and hit_ends[middle] < ends[row]
                ):
                    low = middle + 1
                else:
                    high = middle
            found = low < hit_offsets[sentence + 1] and hit_starts[low] == starts[row] and hit_ends[low] == ends[row]
            out[row] = hit_counts[low] if found else 0
