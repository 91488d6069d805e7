"""Divergences between two log-linear tree distributions that are sums over spans, with their gradients.

Each is a sum over spans of a function F of the student's visit probability and split law there, the teacher's being
constants. The gradient with respect to the student's scores takes two passes. Bottom-up,

    R(b, e) = dF / d visit + sum over j of q(j | b, e) * (R(b, j) + R(j, e)),

what a visit of the span leads to; it is zero where visits are taken as constants. Top-down, the slope of each split's
probability is dF / dq(j) + visit * (R(b, j) + R(j, e)), from which softmax and the inside recursion lead to the scores.
The second pass meets the spans in the reverse of the first one's order. So what the first found of each split waits on
a stack where there is room for it, and is computed anew from the charts of log-inside where there is not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

REVERSE, ENGINE, SPAN_MIXTURE, PLAIN_MIXTURE, VARIATION = 0, 1, 2, 3, 4


@kernel
def _relative(
    kind: int, splits: int, weight: float, p_visit: float, q_visit: float, log_p: F64, log_q: F64, q: F64, slopes: F64
) -> tuple[float, float]:
    """Return F of a span and dF / d visit, fill its split law and dF / dq(j); twin: ``enumeration.span_terms``.

    Slopes are up to a constant, which softmax removes.
    """
    for_p = (1.0 - weight) * p_visit
    for_q = weight * q_visit
    share = 1.0 - weight
    other = weight
    if kind == SPAN_MIXTURE and for_p + for_q > 0.0:
        share = for_p / (for_p + for_q)
        other = for_q / (for_p + for_q)
    log_share = np.log(share) if share > 0.0 else -np.inf
    log_other = np.log(other) if other > 0.0 else -np.inf
    total = 0.0
    by_visit = 0.0
    for place in range(splits):
        q[place] = np.exp(log_q[place])
        ratio = log_p[place] - log_q[place]
        if kind == REVERSE:
            slope = -ratio
            by_visit += q[place] * slope
            slopes[place] = q_visit * slope
        elif kind == ENGINE:
            slope = -log_p[place]
            by_visit += q[place] * slope
            slopes[place] = q_visit * slope
        elif kind == VARIATION:
            p = np.exp(log_p[place])
            total += 0.5 * abs(p - q[place])
            slope = 0.0
            if p < q[place]:
                slope = 0.5
            elif p > q[place]:
                slope = -0.5
            slopes[place] = (for_p + for_q) * slope
        else:
            # student = log(q / m), where m = share * p + other * q
            p = np.exp(log_p[place])
            mixture = share * p + other * q[place]
            if mixture > 1e-290:
                student = log_q[place] - np.log(mixture)
            else:
                left = log_share + ratio
                high = max(left, log_other)
                student = -high - np.log1p(np.exp(min(left, log_other) - high))
            total += for_p * p * (ratio + student) + for_q * q[place] * student
            by_visit += weight * q[place] * student
            slopes[place] = for_q * student
            if kind == PLAIN_MIXTURE:
                # Here the mixture is not the best one, so its own change counts.
                slopes[place] += ((1.0 - weight) * for_q - weight * for_p) * np.exp(ratio + student)
    if kind == REVERSE or kind == ENGINE:
        total = q_visit * by_visit
    elif kind == VARIATION:
        by_visit = weight * total
        total *= for_p + for_q
    return total, by_visit


@kernel
def _turn(chart: F64, n: int, turned: F64) -> None:
    """Write the transpose of a chart, row by row of n + 1 cells; twin: ``numpy.transpose``."""
    side = n + 1
    for b in range(n):
        for e in range(b + 1, side):
            turned[e * side + b] = chart[b, e]


@kernel
def _laws(whole: F64, turned: F64, below: float, b: int, e: int, side: int, out: F64) -> None:
    """Write the log split law of the span (b, e); twin: ``enumeration.split_law``."""
    left = whole[b, b + 1 : e]
    right = turned[e * side + b + 1 : e * side + e]
    for place in range(left.shape[0]):
        out[place] = left[place] + right[place] - below


@kernel
def divergence(
    p_whole: F64,
    p_below: F64,
    p_visits: F64,
    q_whole: F64,
    q_below: F64,
    q_visits: F64,
    lengths: I64,
    first: int,
    last: int,
    kind: int,
    weight: float,
    detach_visits: bool,
    with_gradient: bool,
    scratch: F64,
    kept: F64,
    losses: F64,
    gradient: F64,
) -> None:
    """Write a divergence of sentences `first` to `last` and its gradient; twin: ``enumeration.divergence``.

    Charts (B, N + 1, N + 1) as `spancrf.inside` writes them, of the teacher and of the student. `kind`: 0 KL(q || p),
    1 expected -log p, 2 Jensen-Shannon with the mixture weighed by visits, 3 with the plain mixture, 4 total variation.
    `weight` is the student's. `gradient` is written where `with_gradient`. `scratch` (8, (N + 1) ** 2); `kept`
    (2, any size), of use to a sentence where it holds (n + 1) n (n - 1) / 6 splits.
    """
    p_turned, q_turned, returns, returns_turned = scratch[0], scratch[1], scratch[2], scratch[3]
    rows, columns = scratch[4], scratch[5]
    for sentence in range(first, last):
        n = lengths[sentence]
        side = n + 1
        # One row of scratch holds four vectors of n cells.
        log_p = scratch[6][:side]
        log_q = scratch[6][side : 2 * side]
        q = scratch[7][:side]
        slopes = scratch[7][side : 2 * side]
        losses[sentence] = 0.0
        if with_gradient:
            gradient[sentence] = 0.0
        if n < 3:
            continue
        _turn(p_whole[sentence], n, p_turned)
        _turn(q_whole[sentence], n, q_turned)
        stored = with_gradient and kept.shape[1] >= (n + 1) * n * (n - 1) // 6
        filled = 0
        returns[: side * side] = 0.0
        returns_turned[: side * side] = 0.0
        for b in range(n - 3, -1, -1):
            for e in range(b + 3, side):
                if stored:
                    q = kept[0][filled : filled + e - b - 1]
                    slopes = kept[1][filled : filled + e - b - 1]
                    filled += e - b - 1
                _laws(p_whole[sentence], p_turned, p_below[sentence, b, e], b, e, side, log_p)
                _laws(q_whole[sentence], q_turned, q_below[sentence, b, e], b, e, side, log_q)
                loss, value = _relative(
                    kind, e - b - 1, weight, p_visits[sentence, b, e], q_visits[sentence, b, e], log_p, log_q, q, slopes
                )
                losses[sentence] += loss
                if with_gradient and not detach_visits:
                    left = returns[b * side + b + 1 : b * side + e]
                    right = returns_turned[e * side + b + 1 : e * side + e]
                    for place in range(left.shape[0]):
                        value += q[place] * (left[place] + right[place])
                    returns[b * side + e] = value
                    returns_turned[e * side + b] = value
        if not with_gradient:
            continue
        rows[: side * side] = 0.0
        columns[: side * side] = 0.0
        for b in range(n - 2):
            for e in range(n, b + 2, -1):
                visit = q_visits[sentence, b, e]
                if stored:
                    filled -= e - b - 1
                    q = kept[0][filled : filled + e - b - 1]
                    slopes = kept[1][filled : filled + e - b - 1]
                else:
                    _laws(p_whole[sentence], p_turned, p_below[sentence, b, e], b, e, side, log_p)
                    _laws(q_whole[sentence], q_turned, q_below[sentence, b, e], b, e, side, log_q)
                    _relative(kind, e - b - 1, weight, p_visits[sentence, b, e], visit, log_p, log_q, q, slopes)
                left = returns[b * side + b + 1 : b * side + e]
                right = returns_turned[e * side + b + 1 : e * side + e]
                mean = 0.0
                for place in range(left.shape[0]):
                    slopes[place] += visit * (left[place] + right[place])
                    mean += q[place] * slopes[place]
                own = rows[b * side + e] + columns[e * side + b]
                for_left = rows[b * side + b + 1 : b * side + e]
                for_right = columns[e * side + b + 1 : e * side + e]
                for place in range(left.shape[0]):
                    moved = q[place] * (slopes[place] - mean + own)
                    for_left[place] += moved
                    for_right[place] += moved
        for b in range(n - 1):
            for e in range(b + 2, side):
                if e - b < n:
                    gradient[sentence, b, e] = rows[b * side + e] + columns[e * side + b]
