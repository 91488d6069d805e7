"""The distribution over binary trees with span scores: log-partition, visit probabilities, second derivatives.

A binary tree over n words has the probability exp(sum of the scores of its spans) / Z. With a span's score f(b, e),

    beta(b, e) = exp(f(b, e)) * sum over b < j < e of beta(b, j) * beta(j, e),    beta(b, b + 1) = 1,    Z = beta(0, n).

Words and the whole sentence are in every tree: their scores are left out here and added to log Z by the caller's
kernel. The same number is taken from every other score (it occurs n - 2 times in each tree).

Linear path. One number is kept for each fence-post, S: cells hold m(b, e) = beta(b, e) * exp(S(b) - S(e)). In a product
m(b, j) * m(j, e) the inner number cancels, so the loops over splits are sums of products, without exponentials, and run
over contiguous cells: row b of the chart takes a multiple of row j for each j. S(b) is set when row b is done, so that
its largest and smallest cells are each other's inverse. Where a cell leaves 1e-150 .. 1e150 the sentence is done again
by the second path.

Logarithmic path. Cells hold log beta, and each sum over splits subtracts its largest term first. It is right for all
finite scores.

Below, `whole` is log beta (or m), `below` the same without the span's own score (the sum over splits).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@kernel
def _centre(scores: F64, n: int, inner: F64) -> float:
    """Write the scores that distinguish trees, less the largest, which is returned; twin: ``enumeration.inside``.

    ``inner[b * (n + 1) + e]`` is zero for words and for the whole sentence.
    """
    side = n + 1
    largest = -np.inf
    for b in range(n):
        row = scores[b]
        for e in range(b + 2, side):
            if row[e] > largest and e - b < n:
                largest = row[e]
    if n < 3:
        largest = 0.0
    for b in range(n):
        row = scores[b]
        inner[b * side + b + 1] = 0.0
        for e in range(b + 2, side):
            inner[b * side + e] = row[e] - largest
    if n > 1:
        inner[n] = 0.0
    return largest


@kernel
def _constant(scores: F64, n: int, largest: float) -> float:
    """Return what `_centre` left out of log Z; twin: ``enumeration.inside``."""
    total = 0.0
    for b in range(n):
        total += scores[b, b + 1]
    if n > 1:
        total += scores[0, n]
    if n > 2:
        total += (n - 2) * largest
    return total


@kernel
def _linear_inside(inner: F64, n: int, cells: F64, turned: F64, sums: F64, scales: F64) -> bool:
    """Fill m, its transpose, sums over splits, S; tell whether all stayed in range; twin: ``enumeration.inside``."""
    side = n + 1
    scales[n] = 0.0
    word = 1.0
    for b in range(n - 1, -1, -1):
        row = b * side
        cells[row + b + 1] = word
        sums[row + b + 1] = word
        for e in range(b + 2, side):
            sums[row + e] = 0.0
        least = word
        most = word
        for j in range(b + 1, side):
            if j > b + 1:
                if inner[row + j] < -600.0:
                    return False
                cells[row + j] = np.exp(inner[row + j]) * sums[row + j]
                least = min(least, cells[row + j])
                most = max(most, cells[row + j])
            left = cells[row + j]
            target = sums[row + j + 1 : row + side]
            source = cells[j * side + j + 1 : j * side + side]
            for place in range(target.shape[0]):
                target[place] += left * source[place]
        if not (least > 1e-280 and most < 1e280):
            return False
        factor = 1.0 / (np.sqrt(least) * np.sqrt(most))
        if not most * factor < 1e150:
            return False
        for e in range(b + 1, side):
            cells[row + e] *= factor
            sums[row + e] *= factor
            turned[e * side + b] = cells[row + e]
            if not sums[row + e] < 1e250:  # leaves room for the derivatives
                return False
        word *= factor
        scales[b] = scales[b + 1] + np.log(word)
    return True


@kernel
def _linear_outside(n: int, cells: F64, turned: F64, sums: F64, rows: F64, columns: F64, visits: F64) -> None:
    """Write visit probabilities by reverse mode; twin: ``enumeration.visits``.

    The part of a cell's adjoint that comes from longer spans with the same start is gathered in `rows`, from those with
    the same end in `columns` (transposed).
    """
    side = n + 1
    rows[: side * side] = 0.0
    columns[: side * side] = 0.0
    for b in range(n):
        row = b * side
        for e in range(n, b + 1, -1):
            column = e * side
            visit = cells[row + e] * (rows[row + e] + columns[column + b])
            if b == 0 and e == n:
                visit = 1.0
            visits[b, e] = visit
            rate = visit / sums[row + e]
            for_left = rows[row + b + 1 : row + e]
            for_right = columns[column + b + 1 : column + e]
            right = turned[column + b + 1 : column + e]
            left = cells[row + b + 1 : row + e]
            for place in range(left.shape[0]):
                for_left[place] += rate * right[place]
                for_right[place] += rate * left[place]
        visits[b, b + 1] = 1.0


@kernel
def _log_inside(inner: F64, n: int, whole: F64, turned: F64, below: F64) -> None:
    """Fill log beta, its transpose and log beta without own scores; twin: ``enumeration.inside``."""
    side = n + 1
    for b in range(n - 1, -1, -1):
        row = b * side
        whole[row + b + 1] = 0.0
        turned[(b + 1) * side + b] = 0.0
        below[row + b + 1] = 0.0
        for e in range(b + 2, side):
            left = whole[row + b + 1 : row + e]
            right = turned[e * side + b + 1 : e * side + e]
            most = left[0] + right[0]
            for place in range(1, left.shape[0]):
                most = max(most, left[place] + right[place])
            total = 0.0
            for place in range(left.shape[0]):
                total += np.exp(left[place] + right[place] - most)
            below[row + e] = most + np.log(total)
            whole[row + e] = below[row + e] + inner[row + e]
            turned[e * side + b] = whole[row + e]


@kernel
def _log_outside(n: int, whole: F64, turned: F64, below: F64, rows: F64, columns: F64, visits: F64) -> None:
    """Write visit probabilities, top-down by split probabilities; twin: ``enumeration.visits``."""
    side = n + 1
    rows[: side * side] = 0.0
    columns[: side * side] = 0.0
    for b in range(n):
        row = b * side
        for e in range(n, b + 1, -1):
            column = e * side
            visit = rows[row + e] + columns[column + b]
            if b == 0 and e == n:
                visit = 1.0
            visits[b, e] = visit
            for j in range(b + 1, e):
                moved = visit * np.exp(whole[row + j] + turned[column + j] - below[row + e])
                rows[row + j] += moved
                columns[column + j] += moved
        visits[b, b + 1] = 1.0


@kernel
def moments(
    scores: F64,
    lengths: I64,
    first: int,
    last: int,
    linear: bool,
    with_visits: bool,
    with_charts: bool,
    scratch: F64,
    log_partition: F64,
    visits: F64,
    whole: F64,
    below: F64,
    paths: NDArray[np.int8],
) -> None:
    """Write log Z, visit probabilities and log-inside of sentences `first` to `last`; twin: ``enumeration.inside``.

    Charts have the shape (B, N + 1, N + 1); cells outside a sentence are not read, and zero is written there. `visits`
    is written where `with_visits`; `whole` and `below` where `with_charts`: log beta with and without the span's own
    score, centred (without the scores of words and of the whole sentence, and less the largest of the other scores for
    each span of two words or more), so that ``whole[b, j] + whole[j, e] - below[b, e]`` is log p(j | b, e). `linear`
    allows the linear path; `paths` tells the path taken, 0 linear, 1 logarithmic. `scratch` (7, (N + 1) ** 2).
    """
    inner, cells, turned, sums, scales = scratch[0], scratch[1], scratch[2], scratch[3], scratch[6]
    for sentence in range(first, last):
        n = lengths[sentence]
        side = n + 1
        if with_visits:
            visits[sentence] = 0.0
        if with_charts:
            whole[sentence] = 0.0
            below[sentence] = 0.0
        log_partition[sentence] = 0.0
        paths[sentence] = 0
        if n < 1:
            continue
        largest = _centre(scores[sentence], n, inner)
        constant = _constant(scores[sentence], n, largest)
        if linear and _linear_inside(inner, n, cells, turned, sums, scales):
            log_partition[sentence] = np.log(sums[n]) + scales[n] - scales[0] + constant
            if with_visits:
                _linear_outside(n, cells, turned, sums, scratch[4], scratch[5], visits[sentence])
            if with_charts:
                for b in range(n - 1):
                    for e in range(b + 2, side):
                        below[sentence, b, e] = np.log(sums[b * side + e]) + scales[e] - scales[b]
        else:
            paths[sentence] = 1
            _log_inside(inner, n, cells, turned, sums)
            log_partition[sentence] = sums[n] + constant
            if with_visits:
                _log_outside(n, cells, turned, sums, scratch[4], scratch[5], visits[sentence])
            if with_charts:
                for b in range(n - 1):
                    for e in range(b + 2, side):
                        below[sentence, b, e] = sums[b * side + e]
        if with_charts:
            for b in range(n - 1):
                for e in range(b + 2, side):
                    whole[sentence, b, e] = below[sentence, b, e] + inner[b * side + e]


@kernel
def _linear_tangent(inner: F64, n: int, vector: F64, scratch: F64) -> bool:
    """Fill m, d m and their sums along a direction; tell whether all stayed in range; twin: ``enumeration.hessian``."""
    cells, turned, sums, scales = scratch[1], scratch[2], scratch[3], scratch[6]
    moved, moved_turned, moved_sums = scratch[7], scratch[8], scratch[9]
    if not _linear_inside(inner, n, cells, turned, sums, scales):
        return False
    side = n + 1
    for b in range(n - 1, -1, -1):
        row = b * side
        for e in range(b + 1, side):
            moved_sums[row + e] = 0.0
        for j in range(b + 1, side):
            own = 0.0
            if j > b + 1 and j - b < n:
                own = vector[b, j]
            left = cells[row + j]
            moved_left = left * (own + moved_sums[row + j] / sums[row + j])
            moved[row + j] = moved_left
            moved_turned[j * side + b] = moved_left
            target = moved_sums[row + j + 1 : row + side]
            source = cells[j * side + j + 1 : j * side + side]
            moved_source = moved[j * side + j + 1 : j * side + side]
            for place in range(target.shape[0]):
                target[place] += moved_left * source[place] + left * moved_source[place]
    return True


@kernel
def _linear_product(n: int, scratch: F64, out: F64) -> None:
    """Write the derivative of the visits, by reverse mode over the tangents; twin: ``enumeration.hessian``."""
    cells, turned, sums, rows, columns = scratch[1], scratch[2], scratch[3], scratch[4], scratch[5]
    moved, moved_turned, moved_sums = scratch[7], scratch[8], scratch[9]
    moved_rows, moved_columns = scratch[10], scratch[11]
    side = n + 1
    rows[: side * side] = 0.0
    columns[: side * side] = 0.0
    moved_rows[: side * side] = 0.0
    moved_columns[: side * side] = 0.0
    for b in range(n):
        row = b * side
        for e in range(n, b + 1, -1):
            column = e * side
            adjoint = rows[row + e] + columns[column + b]
            moved_adjoint = moved_rows[row + e] + moved_columns[column + b]
            visit = cells[row + e] * adjoint
            moved_visit = moved[row + e] * adjoint + cells[row + e] * moved_adjoint
            if b == 0 and e == n:
                visit = 1.0
                moved_visit = 0.0
            out[b, e] = moved_visit
            rate = visit / sums[row + e]
            moved_rate = (moved_visit - visit * (moved_sums[row + e] / sums[row + e])) / sums[row + e]
            left = cells[row + b + 1 : row + e]
            right = turned[column + b + 1 : column + e]
            moved_left = moved[row + b + 1 : row + e]
            moved_right = moved_turned[column + b + 1 : column + e]
            for_left = rows[row + b + 1 : row + e]
            for_right = columns[column + b + 1 : column + e]
            moved_for_left = moved_rows[row + b + 1 : row + e]
            moved_for_right = moved_columns[column + b + 1 : column + e]
            for place in range(left.shape[0]):
                for_left[place] += rate * right[place]
                for_right[place] += rate * left[place]
            for place in range(left.shape[0]):
                moved_for_left[place] += moved_rate * right[place] + rate * moved_right[place]
                moved_for_right[place] += moved_rate * left[place] + rate * moved_left[place]


@kernel
def _log_product(inner: F64, n: int, vector: F64, scratch: F64, out: F64) -> None:
    """Write the derivative of the visits along a direction, in logarithms; twin: ``enumeration.hessian``.

    `moved` holds the derivative of log beta, `moved_below` that without the span's own share.
    """
    whole, turned, below, rows, columns = scratch[1], scratch[2], scratch[3], scratch[4], scratch[5]
    moved, moved_turned, moved_below = scratch[7], scratch[8], scratch[9]
    moved_rows, moved_columns = scratch[10], scratch[11]
    side = n + 1
    _log_inside(inner, n, whole, turned, below)
    for b in range(n - 1, -1, -1):
        row = b * side
        moved[row + b + 1] = 0.0
        moved_turned[(b + 1) * side + b] = 0.0
        for e in range(b + 2, side):
            column = e * side
            total = 0.0
            for j in range(b + 1, e):
                share = np.exp(whole[row + j] + turned[column + j] - below[row + e])
                total += share * (moved[row + j] + moved_turned[column + j])
            moved_below[row + e] = total
            if e - b < n:
                total += vector[b, e]
            moved[row + e] = total
            moved_turned[column + b] = total
    rows[: side * side] = 0.0
    columns[: side * side] = 0.0
    moved_rows[: side * side] = 0.0
    moved_columns[: side * side] = 0.0
    for b in range(n):
        row = b * side
        for e in range(n, b + 1, -1):
            column = e * side
            visit = rows[row + e] + columns[column + b]
            moved_visit = moved_rows[row + e] + moved_columns[column + b]
            if b == 0 and e == n:
                visit = 1.0
            out[b, e] = moved_visit
            for j in range(b + 1, e):
                share = np.exp(whole[row + j] + turned[column + j] - below[row + e])
                change = share * (moved[row + j] + moved_turned[column + j] - moved_below[row + e])
                rows[row + j] += visit * share
                columns[column + j] += visit * share
                moved_rows[row + j] += moved_visit * share + visit * change
                moved_columns[column + j] += moved_visit * share + visit * change


@kernel
def hessian_product(
    scores: F64, lengths: I64, first: int, last: int, linear: bool, vectors: F64, scratch: F64, out: F64
) -> None:
    """Write the second derivatives of log Z times a direction (the visits' derivative); twin: ``enumeration.hessian``.

    `vectors` and `out` are charts like `scores`. `scratch` (12, (N + 1) ** 2).
    """
    for sentence in range(first, last):
        n = lengths[sentence]
        out[sentence] = 0.0
        if n < 3:
            continue
        _centre(scores[sentence], n, scratch[0])
        if linear and _linear_tangent(scratch[0], n, vectors[sentence], scratch):
            _linear_product(n, scratch, out[sentence])
        else:
            _log_product(scratch[0], n, vectors[sentence], scratch, out[sentence])
