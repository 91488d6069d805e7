"""Chunks of sentences over threads; the kernels release the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import ArgumentError, quote


def worker_count(jobs: int | None) -> int:
    """Return the number of threads: `jobs`, or one for each core this process may use.

    Parameters
    ----------
    jobs : int or None
        At least 1.

    Returns
    -------
    int

    Raises
    ------
    ArgumentError
        `jobs` is below 1 or not an integer.

    Examples
    --------
    >>> worker_count(3)
    3
    """
    if jobs is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ArgumentError(f"jobs: expected a whole number of threads, at least 1, got {quote(jobs)}. Pass jobs=None.")
    return jobs


def balanced_chunks(costs: NDArray[np.float64], most: float) -> Iterator[tuple[int, int]]:
    """Cut sentences into runs of about equal cost.

    Parameters
    ----------
    costs : ndarray of float64, shape (N,)
        What each sentence costs.
    most : float
        A run ends when its cost reaches this.

    Yields
    ------
    tuple of int
        First sentence, one past the last.

    Examples
    --------
    >>> list(balanced_chunks(np.array([1.0, 1.0, 5.0, 1.0]), most=2.0))
    [(0, 2), (2, 3), (3, 4)]
    """
    total = np.cumsum(costs)
    begin = 0
    while begin < len(costs):
        base = total[begin - 1] if begin else 0.0
        stop = max(begin + 1, int(np.searchsorted(total, base + most, side="left")) + 1)
        yield begin, min(stop, len(costs))
        begin = stop


def run_chunks(work: Callable[[int, int], None], costs: NDArray[np.float64], jobs: int | None) -> None:
    """Call ``work(first, last)`` on runs of sentences, on several threads where there is enough to do.

    Parameters
    ----------
    work : callable
        Must write only to its own sentences' output.
    costs : ndarray of float64, shape (N,)
        About the number of elementary steps of each sentence.
    jobs : int or None
        As for `worker_count`.

    Examples
    --------
    >>> seen = []
    >>> run_chunks(lambda first, last: seen.append((first, last)), np.ones(3), jobs=1)
    >>> seen
    [(0, 3)]
    """
    workers = worker_count(jobs)
    share = max(float(costs.sum()) / (4 * workers), 2e5)
    chunks = list(balanced_chunks(costs, share))
    if workers == 1 or len(chunks) <= 1:
        for first, last in chunks:
            work(first, last)
        return
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work, first, last) for first, last in chunks]:
            future.result()
