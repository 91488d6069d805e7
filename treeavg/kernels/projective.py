"""Projective dependency trees with exactly one root: most votes for arcs (Eisner), or for spans.

Words are numbered 0 to n - 1 here; ``votes[h, d]`` is the weight of the teachers that give word d the head h - 1, and
row 0 is the root. Charts hold no back-pointers: the split of a cell that is read off is found again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@kernel
def count_votes(heads: I32, bases: I64, begin: int, length: int, weights: I64, votes: I64) -> None:
    """Fill ``votes`` (n + 1, n) for one sentence: teacher k's heads stand at ``bases[k] + begin``; twin: a loop."""
    for head in range(length + 1):
        for word in range(length):
            votes[head, word] = 0
    for teacher in range(weights.shape[0]):
        for word in range(length):
            votes[heads[bases[teacher] + begin + word], word] += weights[teacher]


@kernel
def best_projective(
    lengths: I32, first: int, last: int, token_offsets: I64, heads: I32, bases: I64, weights: I64, out: I32, totals: I64
) -> None:
    """Write the projective tree with one root that has the most votes; twin: ``naive.best_projective``.

    `heads` are the teachers' columns end to end, teacher k's from ``bases[k]`` on; 0 is the root. `out` (T) receives
    heads, `totals` (N) the votes. Ties: in each cell the first split that is best, splits scanned upwards.
    """
    longest = 0
    for sentence in range(first, last):
        longest = max(longest, lengths[sentence])
    votes = np.empty((longest + 1, longest), np.int64)
    # Complete and incomplete spans of words i to j whose head is the left (right arc) or the right end.
    right = np.empty((longest, longest), np.int64)
    left = np.empty((longest, longest), np.int64)
    right_open = np.empty((longest, longest), np.int64)
    left_open = np.empty((longest, longest), np.int64)
    stack = np.empty((2 * longest + 2, 3), np.int64)
    for sentence in range(first, last):
        n = lengths[sentence]
        begin = token_offsets[sentence]
        totals[sentence] = 0
        if n == 0:
            continue
        count_votes(heads, bases, begin, n, weights, votes)
        for i in range(n):
            right[i, i] = 0
            left[i, i] = 0
        for width in range(1, n):
            for i in range(n - width):
                j = i + width
                best = right[i, i] + left[i + 1, j]
                for k in range(i + 1, j):
                    best = max(best, right[i, k] + left[k + 1, j])
                right_open[i, j] = best + votes[i + 1, j]
                left_open[i, j] = best + votes[j + 1, i]
                best = left[i, i] + left_open[i, j]
                for k in range(i + 1, j):
                    best = max(best, left[i, k] + left_open[k, j])
                left[i, j] = best
                best = right_open[i, i + 1] + right[i + 1, j]
                for k in range(i + 2, j + 1):
                    best = max(best, right_open[i, k] + right[k, j])
                right[i, j] = best
        root = 0
        best = left[0, 0] + right[0, n - 1] + votes[0, 0]
        for r in range(1, n):
            value = left[0, r] + right[r, n - 1] + votes[0, r]
            if value > best:
                best = value
                root = r
        totals[sentence] = best
        out[begin + root] = 0
        # Kinds: 0 complete with the head on the left, 1 complete on the right, 2 open to the right, 3 open to the left.
        stack[0, 0], stack[0, 1], stack[0, 2] = 0, root, 1
        stack[1, 0], stack[1, 1], stack[1, 2] = root, n - 1, 0
        top = 2
        while top > 0:
            top -= 1
            i = stack[top, 0]
            j = stack[top, 1]
            kind = stack[top, 2]
            if i == j:
                continue
            split = i
            if kind == 0:
                split = i + 1
                best = right_open[i, i + 1] + right[i + 1, j]
                for k in range(i + 2, j + 1):
                    value = right_open[i, k] + right[k, j]
                    if value > best:
                        best = value
                        split = k
                stack[top, 0], stack[top, 1], stack[top, 2] = i, split, 2
                stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = split, j, 0
            elif kind == 1:
                best = left[i, i] + left_open[i, j]
                for k in range(i + 1, j):
                    value = left[i, k] + left_open[k, j]
                    if value > best:
                        best = value
                        split = k
                stack[top, 0], stack[top, 1], stack[top, 2] = i, split, 1
                stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = split, j, 3
            else:
                if kind == 2:
                    out[begin + j] = i + 1
                else:
                    out[begin + i] = j + 1
                best = right[i, i] + left[i + 1, j]
                for k in range(i + 1, j):
                    value = right[i, k] + left[k + 1, j]
                    if value > best:
                        best = value
                        split = k
                stack[top, 0], stack[top, 1], stack[top, 2] = i, split, 0
                stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = split + 1, j, 1
            top += 2


@kernel
def word_spans(heads: I32, begin: int, length: int, span_begins: I64, span_ends: I64, order: I64, waiting: I64) -> None:
    """Find the span from the first to the last word of each word's yield; twin: ``naive.word_spans``.

    `heads` from `begin` on form a tree. `span_begins`, `span_ends` (n) receive half-open spans; `order`, `waiting` (n)
    are scratch.
    """
    for word in range(length):
        span_begins[word] = word
        span_ends[word] = word + 1
        waiting[word] = 0
    for word in range(length):
        if heads[begin + word] > 0:
            waiting[heads[begin + word] - 1] += 1
    ready = 0
    for word in range(length):
        if waiting[word] == 0:
            order[ready] = word
            ready += 1
    place = 0
    while place < ready:
        word = order[place]
        place += 1
        head = heads[begin + word] - 1
        if head >= 0:
            span_begins[head] = min(span_begins[head], span_begins[word])
            span_ends[head] = max(span_ends[head], span_ends[word])
            waiting[head] -= 1
            if waiting[head] == 0:
                order[ready] = head
                ready += 1


@kernel
def best_spans(
    lengths: I32, first: int, last: int, token_offsets: I64, heads: I32, bases: I64, weights: I64, out: I32, totals: I64
) -> None:
    """Write the projective tree whose words' spans the teachers have most; twin: ``naive.best_spans``.

    Arguments as for `best_projective`; `totals` counts spans. A cell holds one tree over its words or two forests side
    by side; ties: one tree first, then the smallest head or split.
    """
    longest = 0
    for sentence in range(first, last):
        longest = max(longest, lengths[sentence])
    chart = np.empty((longest + 1, longest + 1), np.int64)
    hits = np.empty((longest + 1, longest + 1), np.int64)
    span_begins = np.empty(longest, np.int64)
    span_ends = np.empty(longest, np.int64)
    order = np.empty(longest, np.int64)
    waiting = np.empty(longest, np.int64)
    stack = np.empty((2 * longest + 2, 3), np.int64)
    for sentence in range(first, last):
        n = lengths[sentence]
        begin = token_offsets[sentence]
        totals[sentence] = 0
        if n == 0:
            continue
        for b in range(n + 1):
            chart[b, b] = 0
            for e in range(b + 1, n + 1):
                hits[b, e] = 0
        for teacher in range(weights.shape[0]):
            word_spans(heads, bases[teacher] + begin, n, span_begins, span_ends, order, waiting)
            for word in range(n):
                # In a tree that is not projective two words may cover the same span; a set holds it once.
                again = False
                head = heads[bases[teacher] + begin + word] - 1
                while head >= 0 and not again:
                    again = span_begins[head] == span_begins[word] and span_ends[head] == span_ends[word]
                    head = heads[bases[teacher] + begin + head] - 1
                if not again:
                    hits[span_begins[word], span_ends[word]] += weights[teacher]
        for width in range(1, n + 1):
            for b in range(n - width + 1):
                e = b + width
                best = chart[b, b] + chart[b + 1, e] + hits[b, e]
                for j in range(b + 1, e):
                    best = max(best, chart[b, j] + chart[j + 1, e] + hits[b, e])
                if width < n:
                    for j in range(b + 1, e):
                        best = max(best, chart[b, j] + chart[j, e])
                chart[b, e] = best
        totals[sentence] = chart[0, n]
        stack[0, 0], stack[0, 1], stack[0, 2] = 0, n, 0
        top = 1
        while top > 0:
            top -= 1
            b = stack[top, 0]
            e = stack[top, 1]
            parent = stack[top, 2]
            if b == e:
                continue
            split = -1
            for j in range(b, e):
                if split < 0 and chart[b, j] + chart[j + 1, e] + hits[b, e] == chart[b, e]:
                    split = j
            if split >= 0:
                out[begin + split] = parent
                stack[top, 0], stack[top, 1], stack[top, 2] = b, split, split + 1
                stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = split + 1, e, split + 1
            else:
                for j in range(b + 1, e):
                    if split < 0 and chart[b, j] + chart[j, e] == chart[b, e]:
                        split = j
                stack[top, 0], stack[top, 1], stack[top, 2] = b, split, parent
                stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = split, e, parent
            top += 2


@kernel
def matched_spans(lengths: I32, token_offsets: I64, heads_a: I32, heads_b: I32, matched: I64, sizes: I64) -> None:
    """Count the spans of words' yields that two trees share, for each sentence; twin: ``naive.word_spans``.

    `heads_a`, `heads_b` (T) form trees. `matched` (N) receives common spans, `sizes` (N) those of a and of b together;
    a span that two words of one tree cover counts once.
    """
    longest = 0
    for sentence in range(lengths.shape[0]):
        longest = max(longest, lengths[sentence])
    span_begins = np.empty(longest, np.int64)
    span_ends = np.empty(longest, np.int64)
    order = np.empty(longest, np.int64)
    waiting = np.empty(longest, np.int64)
    seen = np.zeros((longest + 1, longest + 1), np.int64)
    for sentence in range(lengths.shape[0]):
        n = lengths[sentence]
        begin = token_offsets[sentence]
        matched[sentence] = 0
        sizes[sentence] = 0
        # A cell holds 2 s + 1 where a has the span in sentence s, 2 s + 2 once b has been found to share it.
        word_spans(heads_a, begin, n, span_begins, span_ends, order, waiting)
        for word in range(n):
            if seen[span_begins[word], span_ends[word]] != 2 * sentence + 1:
                seen[span_begins[word], span_ends[word]] = 2 * sentence + 1
                sizes[sentence] += 1
        word_spans(heads_b, begin, n, span_begins, span_ends, order, waiting)
        for word in range(n):
            again = False
            head = heads_b[begin + word] - 1
            while head >= 0 and not again:
                again = span_begins[head] == span_begins[word] and span_ends[head] == span_ends[word]
                head = heads_b[begin + head] - 1
            if again:
                continue
            sizes[sentence] += 1
            if seen[span_begins[word], span_ends[word]] == 2 * sentence + 1:
                seen[span_begins[word], span_ends[word]] = 2 * sentence + 2
                matched[sentence] += 1
