"""The charts of DIORA: inside vectors from the words up, outside vectors from the root down, width by width.

A level holds the cells of all spans of one width, as in `parsers.nn.charts`. Sentences of different lengths stand in
one chart: inside cells that end after the sentence are not looked at, outside cells begin at each sentence's own root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from parsers.diora.composition import Cells, Composition, unit
from parsers.nn.charts import lefts, rights

#: What a context that ends after the sentence scores: nothing comes near it, and its softmax is 0.
OUT_OF_SENTENCE = -1e30
#: Numbers that the splits of a batch may keep for the gradient; where they are more, they are computed twice.
MOST_KEPT = 2**28

#: Vectors, memories or None, scores.
Level = tuple[Tensor, Tensor | None, Tensor]


class InsideChart(NamedTuple):
    """What the inside pass gives.

    Parameters
    ----------
    levels : list of Cells
        Of widths 1 to N.
    splits : list of Tensor, shape (B, N - w + 1, w - 1)
        For widths w = 2 to N, the scores of all splits, q = 0 first.
    """

    levels: list[Cells]
    splits: list[Tensor]


def inside(composition: Composition, words: Cells) -> InsideChart:
    """Compose all spans of some sentences, each a mixture over its splits [Drozdov2019, equations 1 to 5].

    Parameters
    ----------
    composition : Composition
        Of the left child and the right child.
    words : Cells, shape (B, N)
        The first level.

    Returns
    -------
    InsideChart

    Notes
    -----
    The score of a span is the expectation of its splits' scores, not their log-sum-exp.
    """
    batch, longest = words.scores.shape
    levels, splits = [words], []
    once = _memory(batch * longest**3 // 6 * composition.size)
    for width in range(2, longest + 1):
        first, second = [own.first for own in levels], [own.second for own in levels]

        def level(first: list[Tensor] = first, second: list[Tensor] = second, width: int = width) -> Any:
            return mix(composition, lefts(first, width), rights(second, width), 2)

        parts, logits = once(level)
        levels.append(composition.cells(*parts))
        splits.append(logits)
    return InsideChart(levels, splits)


def outside(
    composition: Composition, levels: Sequence[Cells], lengths: Tensor, root: tuple[Tensor, Tensor | None]
) -> list[Cells]:
    """Compose all that is outside each span, a mixture over its contexts: a parent and a sibling.

    Parameters
    ----------
    composition : Composition
        Of the sibling, which comes first wherever it stands, and the parent.
    levels : sequence of Cells
        Inside cells of widths 1 to N, with this composition's products.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    root : tuple of Tensor, shape (D,)
        What is outside the whole sentence: a vector, and a memory or None.

    Returns
    -------
    list of Cells
        Of widths 1 to N. Those that end after their sentence are not to be looked at.
    """
    batch, longest = levels[0].scores.shape
    once = _memory(batch * longest**3 // 3 * composition.size)
    inner = [own.first for own in levels]
    vector, memory = root
    top = (vector.expand(batch, 1, -1), None if memory is None else memory.expand(batch, 1, -1))
    found = {longest: composition.cells(*top, levels[-1].scores.new_zeros(batch, 1))}
    for width in range(longest - 1, 0, -1):
        wider = {place: own.second for place, own in found.items()}

        def level(wider: dict[int, Tensor] = wider, width: int = width) -> Any:
            siblings, parents = contexts(inner, wider, width)
            return mix(composition, siblings, parents, 1, ends_within(lengths, longest, width))

        (vectors, memories, scores), _ = once(level)
        is_root = torch.zeros_like(scores, dtype=torch.bool)
        is_root[:, 0] = lengths == width
        vectors = torch.where(is_root[..., None], vector, vectors)
        memories = None if memory is None else torch.where(is_root[..., None], memory, memories)
        found[width] = composition.cells(vectors, memories, scores.masked_fill(is_root, 0.0))
    return [found[width] for width in range(1, longest + 1)]


def mix(
    composition: Composition, first: Tensor, second: Tensor, dim: int, within: Tensor | None = None
) -> tuple[Level, Tensor]:
    """Return a level whose cells are mixtures along a dimension, and the logits of the mixtures.

    Parameters
    ----------
    composition : Composition
        Of pairs.
    first, second : Tensor
        `Cells.first` and `Cells.second` of the pairs.
    dim : int
        Along which the pairs of one cell stand.
    within : Tensor of bool, optional
        Pairs that count.

    Returns
    -------
    level, logits : Level, Tensor
    """
    one, two = composition.unpack(first), composition.unpack(second)
    logits = (one.vectors * two.vectors).sum(-1) + one.scores + two.scores
    if within is not None:
        logits = logits.masked_fill(~within, OUT_OF_SENTENCE)
    law = logits.softmax(dim)
    parts = composition.combine(one, two)
    mixed = [unit((law.to(part.dtype)[..., None] * part).sum(dim).to(logits.dtype)) for part in parts]
    return (mixed[0], mixed[1] if len(mixed) > 1 else None, (law * logits).sum(dim)), logits


def contexts(inner: Sequence[Tensor], outer: Mapping[int, Tensor], width: int) -> tuple[Tensor, Tensor]:
    """Return all contexts of all spans of a width, densely.

    Parameters
    ----------
    inner : sequence of Tensor, shape (B, N - w + 1, ...)
        What siblings give, for widths w = 1 to N.
    outer : mapping from int to Tensor, shape (B, N - w + 1, ...)
        What parents give, for the widths above this one.
    width : int
        From 1 to N - 1.

    Returns
    -------
    siblings, parents : Tensor, shape (B, N - width, N - width + 1, ...)
        A span [i, j) has N - width contexts: N - j with a right sibling and i with a left one. Row u - 1 holds the
        right siblings of u words for the first N - width - u + 1 spans, and the left siblings of N - width + 1 - u
        words for the others.
    """
    rows = inner[0].shape[1] - width
    siblings, parents = [], []
    for u in range(1, rows + 1):
        siblings += [inner[u - 1][:, width:], inner[rows - u][:, :u]]
        parents += [outer[width + u], outer[width + rows + 1 - u]]

    def dense(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, 1).view(len(parts[0]), rows, rows + 1, *parts[0].shape[2:])

    return dense(siblings), dense(parents)


def ends_within(lengths: Tensor, longest: int, width: int) -> Tensor:
    """Return which of `contexts` lie within their sentence, bool (B, N - width, N - width + 1)."""
    rows = longest - width
    start = torch.arange(rows + 1, device=lengths.device)
    size = torch.arange(1, rows + 1, device=lengths.device)[:, None]
    end = start + width + torch.where(start <= rows - size, size, torch.zeros_like(size))
    return end <= lengths[:, None, None]


def _memory(kept: int) -> Callable[[Callable[[], Any]], Any]:
    """Return what computes a level: again for the gradient where keeping four vectors a split takes too much memory."""
    if torch.is_grad_enabled() and 4 * kept > MOST_KEPT:
        return lambda level: checkpoint(level, use_reentrant=False, preserve_rng_state=False)
    return lambda level: level()
