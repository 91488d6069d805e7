"""From syntactic distances to trees and to scores of spans; [Shen2019], section 5.2, after [Shen2018].

d_t is the distance in front of word t: where it is large, constituents end and begin.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad


def spans_of(distances: NDArray[np.floating], reading: str) -> list[tuple[int, int]]:
    """Return the binary tree that follows from the distances in front of a sentence's words.

    Parameters
    ----------
    distances : ndarray, shape (n,), n >= 1
        Of the words, the first one's too.
    reading : str
        ``original``: a span is divided before its word of the largest distance, and that word stands apart from all
        that follows it in the span. The first word's distance counts. Leans towards right-branching trees [Dyer2019].
        ``unbiased``: a span is divided before its word of the largest distance other than its first, and both parts
        are treated alike.

    Returns
    -------
    list of tuple of int
        Spans of two words or more, in pre-order. Ties go to the leftmost word.

    Examples
    --------
    >>> spans_of(np.array([0.3, 0.2, 0.1, 0.9]), "original")
    [(0, 4), (0, 3), (1, 3)]
    >>> spans_of(np.array([0.3, 0.2, 0.1, 0.9]), "unbiased")
    [(0, 4), (0, 3), (1, 3)]
    >>> spans_of(np.array([0.1, 0.9, 0.2, 0.5]), "original"), spans_of(np.array([0.1, 0.9, 0.2, 0.5]), "unbiased")
    ([(0, 4), (1, 4), (2, 4)], [(0, 4), (1, 4), (1, 3)])
    """
    spans = []
    todo = [(0, len(distances), False)]  # first word, end, and whether the first word was at a split
    while todo:
        start, end, parted = todo.pop()
        if end - start < 2:
            continue
        spans.append((start, end))
        if parted:
            todo.append((start + 1, end, False))
            continue
        first = start if reading == "original" else start + 1
        at = first + int(np.argmax(distances[first:end]))
        if at == start:
            todo.append((start + 1, end, False))
        else:
            todo += [(at, end, reading == "original"), (start, at, False)]
    return spans


def trees_of(distances: Tensor, lengths: Tensor, reading: str) -> Tensor:
    """Return the trees of some sentences.

    Parameters
    ----------
    distances : Tensor, floating, shape (B, N)
        Distances in front of words; those past a sentence's end are not looked at.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence, from 1 to N.
    reading : str
        As for `spans_of`.

    Returns
    -------
    Tensor of int64, shape (B, N - 1, 2)
        Spans of two words or more in pre-order, padded with (0, 0); on the CPU.

    Examples
    --------
    >>> trees_of(torch.tensor([[0.5, 0.1, 0.2]]), torch.tensor([3]), "original").tolist()
    [[[0, 3], [1, 3]]]
    """
    rows = distances.float().cpu().numpy()
    trees = np.zeros((len(rows), rows.shape[1] - 1, 2), np.int64)
    for row, length in enumerate(lengths.tolist()):
        trees[row, : length - 1] = np.reshape(spans_of(rows[row, :length], reading), (-1, 2))
    return torch.from_numpy(trees)


def scores_of(distances: Tensor, lengths: Tensor) -> Tensor:
    """Return how far each span stands out: its smaller outer distance less its largest inner one.

    Parameters
    ----------
    distances : Tensor, floating, shape (B, N)
        Distances in front of words, below 1.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence, at most N.

    Returns
    -------
    Tensor, shape (B, N + 1, N + 1)
        ``[i, j]`` is min(d_i, d_j) - max(d_t for i < t < j), where 1, which no distance reaches, stands for the
        sentence's beginning and end: positive for the constituents of the unbiased reading, where no two distances
        are equal, negative for other spans. 0 for spans of one word and for what is no span.

    Examples
    --------
    >>> scores_of(torch.tensor([[0.5, 0.25, 0.75]]), torch.tensor([3]))[0].tolist()
    [[0.0, 0.0, 0.5, 0.25], [0.0, 0.0, 0.0, -0.5], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    posts = torch.arange(distances.shape[1] + 1, device=distances.device)
    is_end = (posts == 0) | (posts == lengths.unsqueeze(1))
    outer = pad(distances, (0, 1)).masked_fill(is_end, 1)
    inner = outer.unsqueeze(1).masked_fill(posts <= posts.unsqueeze(1), -1).cummax(2).values
    inner = pad(inner[:, :, :-1], (1, 0))  # the largest before a span's end, not up to it
    scores = torch.minimum(outer.unsqueeze(2), outer.unsqueeze(1)) - inner
    inside = (posts >= posts.unsqueeze(1) + 2) & (posts <= lengths[:, None, None])
    return torch.where(inside, scores, 0)
