"""Dependency trees one by one, for small sentences."""

from __future__ import annotations

from functools import cache
from itertools import product

import naive
import torch
from torch import Tensor

#: The sets of trees: projective or not, one root or several.
SPACES = [(True, False), (True, True), (False, False), (False, True)]


@cache
def trees(n: int, projective: bool, multi_root: bool) -> tuple[tuple[int, ...], ...]:
    """All trees over n words."""
    if not multi_root:
        return naive.dependency_trees(n, projective) if n else ((),)
    return tuple(
        heads
        for heads in product(range(n + 1), repeat=n)
        if _reaches_root(heads) and (not projective or not _crosses(heads))
    )


def _reaches_root(heads: tuple[int, ...]) -> bool:
    for word in range(1, len(heads) + 1):
        node, steps = word, 0
        while node and steps <= len(heads):
            node, steps = heads[node - 1], steps + 1
        if node:
            return False
    return True


def _crosses(heads: tuple[int, ...]) -> bool:
    arcs = [(min(head, word), max(head, word)) for word, head in enumerate(heads, 1)]
    return any(a < c < b < d for a, b in arcs for c, d in arcs)


def tree_scores(scores: Tensor, n: int, projective: bool, multi_root: bool) -> Tensor:
    """The sum of arc scores of each tree, for scores of one sentence, (n + 1, n + 1)."""
    listed = trees(n, projective, multi_root)
    rows = torch.tensor(listed, dtype=torch.int64).reshape(len(listed), n)
    return scores[rows, torch.arange(1, n + 1)].sum(1)


def law(scores: Tensor, n: int, projective: bool, multi_root: bool) -> Tensor:
    """Log-probabilities of all trees."""
    return tree_scores(scores, n, projective, multi_root).log_softmax(0)


def arc_law(logs: Tensor, n: int, projective: bool, multi_root: bool) -> Tensor:
    """Probabilities of arcs from log-probabilities of trees, (n + 1, n + 1)."""
    out = torch.zeros(n + 1, n + 1, dtype=logs.dtype)
    for log, heads in zip(logs, trees(n, projective, multi_root), strict=True):
        for word, head in enumerate(heads, 1):
            out[head, word] += log.exp()
    return out
