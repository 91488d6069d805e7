"""How much spans distort the vectors of the words: squared distances, their means, and these by width."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parsers.contexdistort.perturbations import Plan
from treeavg.strings import offsets_of

#: Words whose vectors are in memory at once: 100 MB of 384 numbers each. Only a long sentence has more.
MOST_WORDS = 2**16

#: Strings to the vectors of all their words, one string behind another: (words, D).
Encode = Callable[[list[list[str]]], Tensor]


def span_costs(plan: Plan, words: list[str], encode: Encode, mask: str) -> NDArray[np.float64]:
    """Return how much each span of a sentence distorts the vectors of the words.

    Parameters
    ----------
    plan : Plan
        For as many words.
    words : list of str
        The sentence.
    encode : callable
        Strings, lists of words, to the vectors of all their words, (words, D).
    mask : str
        The mask token.

    Returns
    -------
    ndarray of float64, shape (C,)
        Of ``plan.spans``: the mean over the terms of the mean squared distance of a segment's words to the same words
        in the sentence, not normalised.
    """
    texts, bounds = plan.texts(words, mask), offsets_of(plan.lengths)
    sources = np.maximum(plan.words, 0)  # masks and commas are compared with any word; no term counts them
    distances = np.empty(len(plan.words), np.float32)
    original: Tensor | None = None
    first = 0
    while first < len(texts):
        last = max(int(np.searchsorted(bounds, bounds[first] + MOST_WORDS, side="right")) - 1, first + 1)
        vectors = encode(texts[first:last])
        if original is None:
            original = vectors[: len(words)].clone()
        part = slice(int(bounds[first]), int(bounds[last]))
        wanted = original[torch.from_numpy(sources[part]).to(vectors.device)]
        distances[part] = (vectors - wanted).square_().sum(1).cpu().numpy()
        first = last
    return np.bincount(plan.cells, distances[plan.rows] * plan.weights, len(plan.spans)).astype(np.float64)


def normalised(costs: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Divide the costs of the spans of each width by their Euclidean norm.

    Parameters
    ----------
    costs : ndarray of float64, shape (C,)
        Of the spans of 2 to n - 1 words, the shorter first.
    n : int
        Words of the sentence.

    Returns
    -------
    ndarray of float64, shape (C,)
        Where all costs of a width are 0 they stay.

    Examples
    --------
    >>> normalised(np.array([3.0, 4.0]), 3).tolist()
    [0.6, 0.8]
    """
    counts = np.arange(n - 1, 1, -1)
    norms = np.sqrt(np.add.reduceat(costs**2, offsets_of(counts)[:-1]))
    scaled: NDArray[np.float64] = costs / np.repeat(np.where(norms > 0, norms, 1.0), counts)
    return scaled
