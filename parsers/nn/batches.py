"""Batches of about equally long sentences, bounded by tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import ArgumentError


def token_batches(
    lengths: NDArray[np.int32] | NDArray[np.int64], tokens: int, *, seed: int | None = None
) -> list[NDArray[np.int64]]:
    """Divide sentences into batches of similar length.

    Parameters
    ----------
    lengths : ndarray of int, shape (N,)
        Tokens of each sentence.
    tokens : int
        The most tokens of a batch, padding included: sentences times the longest of them. A longer sentence is a batch
        of its own.
    seed : int, optional
        Shuffle: which sentences of a length stand together, and the order of batches. Default: from short to long.

    Returns
    -------
    list of ndarray of int64
        Every sentence once.

    Raises
    ------
    ArgumentError
        `tokens` is not positive.

    Examples
    --------
    >>> [batch.tolist() for batch in token_batches(np.array([3, 9, 2, 4]), 8)]
    [[2, 0], [3], [1]]
    """
    if tokens < 1:
        raise ArgumentError(f"tokens: expected at least 1 token a batch, got {tokens}. Pass some thousands.")
    sizes = np.asarray(lengths, np.int64)
    generator = np.random.default_rng(seed)
    ties = np.arange(len(sizes)) if seed is None else generator.permutation(len(sizes))
    order = np.lexsort((ties, sizes))
    batches: list[NDArray[np.int64]] = []
    first = 0
    for last, sentence in enumerate(order.tolist()):
        if (last - first + 1) * max(int(sizes[sentence]), 1) > tokens and last > first:
            batches.append(order[first:last])
            first = last
    if first < len(order):
        batches.append(order[first:])
    if seed is not None:
        batches = [batches[place] for place in generator.permutation(len(batches))]
    return batches
