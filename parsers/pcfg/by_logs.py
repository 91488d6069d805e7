"""The inside pass in logarithms throughout: slow, right for all finite scores; `inside` falls back on it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def log_partition(roots: Tensor, rules: Tensor, words: Tensor, lengths: Tensor, spans: Tensor | None = None) -> Tensor:
    """Return what `parsers.pcfg.inside.log_partition` does, differentiable in any order.

    Parameters
    ----------
    roots, rules, words, lengths, spans
        As there.

    Returns
    -------
    Tensor, shape (B,)

    Examples
    --------
    >>> zeros = torch.zeros(1, 3), torch.zeros(1, 3, 7, 7), torch.zeros(1, 3, 4)
    >>> round(log_partition(*zeros, torch.tensor([3])).exp().item())
    1152
    """
    symbols, longest = roots.shape[1], words.shape[1]
    pairs, left_word = rules[:, :, :symbols, :symbols], rules[:, :, symbols:]
    right_word = rules[:, :, :symbols, symbols:]
    levels = [words]
    for width in range(2, longest + 1):
        count, last = longest - width + 1, levels[-1]
        if width == 2:
            parts = [_outer(left_word[..., symbols:], words[:, :count], words[:, 1:])]
        else:
            parts = [
                _outer(left_word[..., :symbols], words[:, :count], last[:, 1:]),
                _outer(right_word, last[:, :count], words[:, width - 1 :]),
            ]
        if width > 3:
            parts.append(_inner(pairs, levels, width))
        cells = torch.logsumexp(torch.stack(parts), 0)
        levels.append(cells if spans is None else cells + spans.diagonal(width, 1, 2)[..., None])
    rows = torch.arange(len(words), device=words.device)
    tops = torch.stack([cells[:, 0] for cells in levels[1:]], 1)[rows, lengths - 2]
    return torch.logsumexp(roots + tops, -1)


def _outer(rules: Tensor, lefts: Tensor, rights: Tensor) -> Tensor:
    """Return the log-sums over B, C of rules [G, A, B, C], left children [B, places, B] and right ones."""
    return _saving(_contract, rules, lefts[..., None] + rights[..., None, :])


def _inner(rules: Tensor, levels: list[Tensor], width: int) -> Tensor:
    """Return the log-sums over splits into two longer children as well."""
    return _saving(partial(_split, width), rules, *levels[1 : width - 2])


def _split(width: int, rules: Tensor, *levels: Tensor) -> Tensor:
    count = levels[-1].shape[1] - 2
    total: Tensor | None = None
    for left in range(2, width - 1):
        lefts, rights = levels[left - 2][:, :count], levels[width - left - 2][:, left : left + count]
        pairs = lefts[..., None] + rights[..., None, :]
        total = pairs if total is None else torch.logaddexp(total, pairs)
    assert total is not None
    return _contract(rules, total)


def _contract(rules: Tensor, pairs: Tensor) -> Tensor:
    return torch.stack(
        [torch.logsumexp(rules[:, parent, None] + pairs, (-2, -1)) for parent in range(rules.shape[1])], -1
    )


def _saving(function, *arguments: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """Call a function that the pass backwards calls again rather than keep all it made."""
    result: Tensor = checkpoint(function, *arguments, use_reentrant=False)
    return result
