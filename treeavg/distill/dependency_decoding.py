"""The best dependency tree under real scores, by the kernels that average teachers' heads; what a tree is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from treeavg.errors import ArgumentError
from treeavg.kernels import arborescence
from treeavg.kernels import projective as eisner

#: Digits of a score, as a whole number, that decide between trees; fewer for very long sentences.
MAX_BITS = 40


def best_heads(scores: Tensor, lengths: Tensor, *, projective: bool = True, multi_root: bool = False) -> Tensor:
    """Return the trees with the largest sum of scores.

    Parameters
    ----------
    scores : Tensor, shape (B, N + 1, N + 1)
        Of arcs, by head and dependent; node 0 is the root. What is no arc of a sentence is ignored.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    projective : bool, default True
        Projective trees only (Eisner), else trees of any shape (Chu-Liu, Edmonds).
    multi_root : bool, default False
        Let several words hang on the root.

    Returns
    -------
    Tensor of int64, shape (B, N)
        The head of each word, 0 past a sentence's end; on the device of `scores`.

    Raises
    ------
    ArgumentError
        The score of an arc is infinite or not a number.

    Notes
    -----
    The kernels add up whole votes. A score becomes votes by writing it in binary: for bit b and head h there is one
    teacher of weight 2^b, who gives word d the head h where bit b of score (h, d) is set, and else d itself, which no
    tree contains. 40 bits tell scores apart to 2^-40 of the range that can matter in a sentence; small whole numbers
    are exact, so votes decode to what `treeavg.average` gives. Ties as there. Several roots: the root becomes a
    word in front of the others, which alone may be a root.

    Examples
    --------
    >>> scores = torch.tensor([[[0.0, 1.0, 2.5], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    >>> best_heads(scores, torch.tensor([2]))
    tensor([[2, 0]])
    >>> best_heads(scores + 9 * (torch.arange(3) == 0)[None, :, None], torch.tensor([2]), multi_root=True)
    tensor([[0, 0]])
    """
    solve = eisner.best_projective if projective else arborescence.best_arborescence
    table = scores.detach().to("cpu", torch.float64).numpy()
    heads = np.zeros((table.shape[0], table.shape[1] - 1), np.int64)
    for sentence, words in enumerate(lengths.tolist()):
        if words:
            votes = _votes(table[sentence, : words + 1, : words + 1], f"scores[{sentence}]")
            heads[sentence, :words] = _solve(solve, _behind_a_root(votes) if multi_root else votes, multi_root)
    return torch.from_numpy(heads).to(scores.device)


def _votes(scores: NDArray[np.float64], where: str) -> NDArray[np.int64]:
    """Return scores as whole numbers from 0 on, up to a constant for each word, ``[n + 1, n]``."""
    words = len(scores) - 1
    own = np.arange(words)
    table = scores[:, 1:].copy()
    table[own + 1, own] = table[0]  # no word is its own head; its root arc stands in
    if not np.isfinite(table).all():
        head, word = np.argwhere(~np.isfinite(table))[0].tolist()
        raise ArgumentError(
            f"{where}[{head}, {word + 1}]: expected a finite number, got {table[head, word]}. "
            "Give an arc that must not be in a tree a large negative score."
        )
    top = table.max(axis=0)
    # No arc that is worse than its word's best by more than the best tree falls short of the sum of the best arcs is
    # in that tree. Trees in which all words hang on one tell how far that is at most; what is worse may be cut off.
    short = top.sum() - table[1:].sum(axis=1).max()
    behind = np.maximum(table - top, -(2.0 * short + 1.0))
    bits = min(MAX_BITS, 58 - 2 * (words + 2).bit_length())
    unit = 2.0 ** (np.ceil(np.log2(max(-behind.min(), 1.0))) - bits)
    return np.asarray(np.rint((behind - behind.min(axis=0)) / unit), np.int64)


def _behind_a_root(votes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the votes of a sentence with one more word in front, the old root, which must be the root."""
    nodes = len(votes)
    wider = np.zeros((nodes + 1, nodes), np.int64)
    wider[1:, 1:] = votes
    wider[0, 0] = votes.max(axis=0).sum() + 1
    return wider


def _solve(solve: Callable[..., None], votes: NDArray[np.int64], multi_root: bool) -> NDArray[np.int64]:
    words = votes.shape[1]
    weights, teachers = _binary(votes)
    out, totals = np.zeros(words, np.int32), np.zeros(1, np.int64)
    bases = np.arange(len(weights), dtype=np.int64) * words
    length, offsets = np.array([words], np.int32), np.array([0, words], np.int64)
    solve(length, 0, 1, offsets, teachers.reshape(-1), bases, weights, out, totals)
    return (out[1:] - 1 if multi_root else out).astype(np.int64)


def _binary(votes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return weights (K) and heads (K, n) of teachers with the given votes, a word's votes for itself aside."""
    words = votes.shape[1]
    bits = np.arange(int(votes.max()).bit_length() or 1)
    is_set = (votes[None] >> bits[:, None, None]) & 1 == 1
    bit, head = np.nonzero(is_set.any(axis=2))
    heads = np.where(is_set[bit, head], head[:, None], np.arange(1, words + 1)).astype(np.int32)
    return np.left_shift(np.int64(1), bit.astype(np.int64)), np.ascontiguousarray(heads)


def is_tree(heads: Tensor, lengths: Tensor, *, projective: bool, multi_root: bool) -> Tensor:
    """Tell which heads form trees, bool ``[..., B]``.

    Parameters
    ----------
    heads : Tensor of int64, shape (..., B, N)
        From 0 to the sentence's length; 0 past its end.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    projective : bool
        No arc may cross another one, or the root.
    multi_root : bool
        Several words may hang on the root.

    Returns
    -------
    Tensor of bool, shape (..., B)

    Examples
    --------
    >>> heads = torch.tensor([[2, 0], [2, 1], [0, 0]])
    >>> is_tree(heads, torch.tensor([2, 2, 2]), projective=True, multi_root=False)
    tensor([ True, False, False])
    """
    words = heads.shape[-1]
    position = torch.arange(1, words + 1, device=heads.device)
    inside = position <= lengths[:, None]
    steps = torch.cat([torch.zeros_like(heads[..., :1]), heads], -1)
    for _ in range(words.bit_length()):
        steps = steps.gather(-1, steps)  # twice as far up; the root stays
    good = (steps == 0).all(-1)
    if not multi_root:
        good &= ((heads == 0) & inside).sum(-1) == lengths.clamp(max=1)
    if projective:
        low = torch.where(inside, torch.minimum(heads, position), 0)
        high = torch.where(inside, torch.maximum(heads, position), 0)
        one, other = (low[..., :, None], high[..., :, None]), (low[..., None, :], high[..., None, :])
        crossing = (one[0] < other[0]) & (other[0] < one[1]) & (one[1] < other[1])
        good &= ~crossing.any(-1).any(-1)
    return good
