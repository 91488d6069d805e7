"""The most probable labelled tree, by the compiled kernel `treeavg.kernels.pcfg`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from treeavg.jobs import run_chunks
from treeavg.kernels import pcfg


def best_trees(roots: Tensor, rules: Tensor, words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the trees of the most probable labelled trees, and their log-probabilities.

    Parameters
    ----------
    roots, rules, words, lengths
        As for `parsers.pcfg.inside.log_partition`; on any device, the work is done on the processor.

    Returns
    -------
    trees : Tensor of int64, shape (B, N - 1, 2)
        Spans of two words or more in pre-order, padded with (0, 0); on the CPU.
    scores : Tensor of float64, shape (B,)

    Notes
    -----
    Ties go to the leftmost split. In float64, whatever the scores' type. O(N^2 NT^3 + N^3 NT^2) a sentence.

    Examples
    --------
    >>> zeros = torch.zeros(1, 3), torch.zeros(1, 3, 7, 7), torch.zeros(1, 4, 4)
    >>> best_trees(*zeros, torch.tensor([4]))[0].tolist()
    [[[0, 4], [1, 4], [2, 4]]]
    """
    symbols = roots.shape[1]
    tops, emissions, sizes = _array(roots), _array(words), np.ascontiguousarray(lengths.cpu().numpy(), np.int64)
    table = _array(rules.permute(0, 2, 3, 1))
    every, (batch, longest) = table.shape[1], emissions.shape[:2]
    pair_rules = np.ascontiguousarray(table[:, :symbols, :symbols]).reshape(len(table), -1, symbols)
    trees = np.zeros((batch, max(longest - 1, 0), 2), np.int64)
    scores = np.zeros(batch)

    def work(first: int, last: int) -> None:
        pcfg.best_trees(
            tops, table, pair_rules, emissions, sizes, first, last,
            np.empty((longest, every, symbols)), np.empty((longest, symbols, symbols)),
            np.empty((longest + 1, longest + 1, symbols)), np.empty((symbols, symbols)),
            np.empty((longest + 1, 3), np.int64), trees, scores,
        )  # fmt: skip

    run_chunks(work, symbols**2 * sizes.astype(np.float64) ** 2 * (symbols + sizes / 6), torch.get_num_threads())
    return torch.from_numpy(trees), torch.from_numpy(scores)


def _array(scores: Tensor) -> NDArray[np.float64]:
    """Return scores as float64 of the kernel's layout."""
    return np.ascontiguousarray(scores.detach().double().cpu().numpy())
