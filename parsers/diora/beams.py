"""The charts of S-DIORA: a cell holds the K best single trees of a span, each with its vector, score and children.

Trees are searched without gradients, over all pairs of the children's entries; then only those that are kept are
composed. The gradient runs through their vectors and scores, not through the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding

from parsers.diora.chart import OUT_OF_SENTENCE, contexts, ends_within
from parsers.diora.composition import MLP
from parsers.nn.charts import lefts, rights

#: The score of an entry that stands for no tree.
IMPOSSIBLE = -1e8


class Beams(NamedTuple):
    """The entries of the cells of one width, the best first.

    Parameters
    ----------
    vectors : Tensor, shape (B, cells, K, D)
        Of norm 1, or 0.
    scores : Tensor, shape (B, cells, K)
        Sums over the nodes of a tree; `IMPOSSIBLE` past the number of distinct trees.
    origin : Tensor of int64, shape (B, cells, K, 3)
        Inside: the split q, the entry of the left child, that of the right child. Outside: the row of `contexts`, the
        entry of the parent, that of the sibling.
    """

    vectors: Tensor
    scores: Tensor
    origin: Tensor


def inside(composition: MLP, words: Tensor, count: int) -> list[Beams]:
    """Find the best trees of all spans [Drozdov2020, section 3].

    Parameters
    ----------
    composition : MLP
        Of the left child and the right child.
    words : Tensor, shape (B, N, D)
        Vectors of the words.
    count : int
        K, entries of a cell.

    Returns
    -------
    list of Beams
        Of widths 1 to N.

    Notes
    -----
    Exact where K is at least the number of binary trees of a span; else a beam search, which looks only at trees made
    of kept ones. Candidates are ordered by split, left entry, right entry, and the first of equals wins.
    """
    batch, longest, _ = words.shape
    limits = _tree_counts(longest, count)
    others = words.new_zeros(batch, longest, count - 1, words.shape[2])
    levels = [_first_only(torch.cat([words[:, :, None], others], 2))]
    scored: list[Tensor] = []
    for width in range(2, longest + 1):
        with torch.no_grad(), torch.autocast(words.device.type, enabled=False):
            scored.append(levels[-1].vectors @ composition.bilinear)
            one = lefts(scored, width)
            two = rights([own.vectors for own in levels], width)
            grid = one @ two.transpose(-1, -2)
            grid += lefts([own.scores for own in levels], width)[..., None]
            grid += rights([own.scores for own in levels], width)[..., None, :]
            split, left, right = _best(grid, count)
            start = torch.arange(longest - width + 1, device=words.device)[:, None]
            before = _cells_before(longest, words.device)
            of_left = before[split + 1] + start
            of_right = before[width - 1 - split] + start + 1 + split
        flat = _flat(levels)
        level = _compose(composition, _pick(flat, of_left, left), _pick(flat, of_right, right))
        possible = torch.arange(count, device=words.device) < limits[width - 1]
        scores = level[1].masked_fill(~possible, IMPOSSIBLE)
        levels.append(Beams(level[0], scores, torch.stack([split, left, right], -1)))
    return levels


def outside(composition: MLP, inner: Sequence[Beams], lengths: Tensor, root: Tensor) -> list[Beams]:
    """Find the best surroundings of all spans: chains of siblings up to the root.

    Parameters
    ----------
    composition : MLP
        Of the sibling, which comes first as in DIORA, and the parent.
    inner : sequence of Beams
        Of widths 1 to N, from `inside`.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    root : Tensor, shape (D,)
        What is outside the whole sentence.

    Returns
    -------
    list of Beams
        Of widths 1 to N. Those that end after their sentence are not to be looked at.
    """
    batch, longest, count, _ = inner[0].vectors.shape
    device = lengths.device
    limits = torch.tensor(_tree_counts(longest, count), device=device)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        scored = [own.vectors @ composition.bilinear for own in inner]
    flat = _flat(inner)
    found = {longest: _first_only(root.expand(batch, 1, count, -1))}
    for width in range(longest - 1, 0, -1):
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            of_sibling, of_parent, row, parent, sibling = _surroundings(inner, scored, found, width, lengths)
        wider = _flat([found[place] for place in range(longest, width, -1)])
        vectors, scores = _compose(composition, _pick(flat, of_sibling, sibling), _pick(wider, of_parent, parent))
        possible = torch.arange(count, device=device) < limits[(lengths - width).clamp(min=0)][:, None, None]
        is_root = torch.zeros_like(scores[..., 0], dtype=torch.bool)
        is_root[:, 0] = lengths == width
        top = _first_only(root.expand_as(vectors))
        scores = torch.where(is_root[..., None], top.scores, scores.masked_fill(~possible, IMPOSSIBLE))
        vectors = torch.where(is_root[..., None, None], top.vectors, vectors)
        found[width] = Beams(vectors, scores, torch.stack([row, parent, sibling], -1))
    return [found[width] for width in range(1, longest + 1)]


def root_scores(levels: Sequence[Beams], lengths: Tensor) -> Tensor:
    """Return the scores of the trees of whole sentences, (B, K), the best first.

    Parameters
    ----------
    levels : sequence of Beams
        From `inside`.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence, at least 1.

    Returns
    -------
    Tensor
    """
    roots = torch.stack([own.scores[:, 0] for own in levels], 1)
    return roots[torch.arange(len(lengths), device=lengths.device), lengths - 1]


def read_tree(levels: Sequence[Beams], lengths: Tensor, entry: int) -> tuple[list[Tensor], Tensor]:
    """Follow an entry of the roots down to the words.

    Parameters
    ----------
    levels : sequence of Beams
        From `inside`.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence, at least 1.
    entry : int
        0 is the best tree.

    Returns
    -------
    splits : list of Tensor of int64, shape (B, N - w + 1)
        For widths w = 2 to N, as `parsers.nn.charts.descend` takes them.
    spans : Tensor of bool, shape (B, N + 1, N + 1)
        Which spans the tree has, words and the whole sentence among them.
    """
    batch, longest = len(lengths), len(levels)
    chosen = torch.full((batch, longest + 1, longest + 1), -1, device=lengths.device)
    chosen[torch.arange(batch, device=lengths.device), 0, lengths] = entry
    splits = []
    for width in range(longest, 1, -1):
        start = torch.arange(longest - width + 1, device=lengths.device)
        own = chosen[:, start, start + width]
        origin = levels[width - 1].origin
        origin = origin.gather(2, own.clamp(min=0)[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
        splits.append(origin[..., 0])
        sentence, begin = torch.nonzero(own >= 0, as_tuple=True)
        split, left, right = origin[sentence, begin].unbind(-1)
        chosen[sentence, begin, begin + 1 + split] = left
        chosen[sentence, begin + 1 + split, begin + width] = right
    return splits[::-1], chosen >= 0


def _surroundings(
    inner: Sequence[Beams], scored: list[Tensor], found: dict[int, Beams], width: int, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return numbers of cells of the best siblings and parents; rows of `contexts`, parents' and siblings' entries."""
    longest = len(inner)
    count = inner[0].scores.shape[2]
    siblings, parents = contexts(scored, {place: own.vectors for place, own in found.items()}, width)
    grid = parents @ siblings.transpose(-1, -2)
    below, above = contexts([own.scores for own in inner], {place: own.scores for place, own in found.items()}, width)
    grid += above[..., None] + below[..., None, :]
    grid.masked_fill_(~ends_within(lengths, longest, width)[..., None, None], OUT_OF_SENTENCE)
    row, parent, sibling = _best(grid.transpose(1, 2), count)
    start = torch.arange(longest - width + 1, device=lengths.device)[:, None]
    to_right = start < longest - width - row
    size = torch.where(to_right, row + 1, longest - width - row)
    begin = torch.where(to_right, start, start - size)
    before = _cells_before(longest, lengths.device)
    of_sibling = before[size] + torch.where(to_right, start + width, begin)
    # Outside levels are kept from the root down: before cells of a width stand those of all larger widths.
    wide = width + size
    of_parent = (longest - wide) * (longest - wide + 1) // 2 + begin
    return of_sibling, of_parent, row, parent, sibling


def _best(grid: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of the best numbers of (B, cells, rows, K, K), the first of equals first: rows, and entries."""
    beams = grid.shape[-1]
    grid = grid.flatten(2).clone()
    found = []
    for _ in range(count):
        place = grid.argmax(-1, keepdim=True)
        found.append(place)
        grid.scatter_(-1, place, -torch.inf)
    best = torch.cat(found, -1)
    return best // beams**2, best // beams % beams, best % beams


def _compose(composition: MLP, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the vectors and scores of pairs that were kept."""
    vectors, score = composition.join(first[0], second[0])
    return vectors, score + first[1] + second[1]


def _flat(levels: Sequence[Beams]) -> tuple[Tensor, Tensor]:
    """Return all cells' vectors (B, M, K, D) and scores."""
    return torch.cat([own.vectors for own in levels], 1), torch.cat([own.scores for own in levels], 1)


def _pick(flat: tuple[Tensor, Tensor], cell: Tensor, entry: Tensor) -> tuple[Tensor, Tensor]:
    """Return vectors (B, cells, K, D) and scores of entries (B, cells, K) of cells."""
    vectors, scores = flat
    batch, cells, count, size = vectors.shape
    place = cell * count + entry
    before = torch.arange(batch, device=place.device)[:, None, None] * (cells * count)
    picked = scores.flatten(1).gather(1, place.flatten(1)).view_as(place)
    # The gradient of an embedding is summed without atomic additions, so a run repeats bit by bit.
    return embedding(before + place, vectors.reshape(-1, size)), picked


def _first_only(vectors: Tensor) -> Beams:
    """Return cells of which only the first entry counts, with the score 0."""
    scores = vectors.new_full(vectors.shape[:-1], IMPOSSIBLE)
    scores[..., 0] = 0
    return Beams(vectors, scores, torch.zeros(*scores.shape, 3, dtype=torch.int64, device=scores.device))


def _tree_counts(longest: int, most: int) -> list[int]:
    """Return the Catalan numbers 0 to N, each at most a number: the binary trees of n words are Catalan(n - 1)."""
    counts = [1]
    for n in range(1, longest + 1):
        counts.append(min(most, sum(counts[k] * counts[n - 1 - k] for k in range(n))))
    return counts


def _cells_before(longest: int, device: torch.device) -> Tensor:
    """Return how many cells are narrower than w, for w = 0 to N."""
    width = torch.arange(longest + 1, device=device)
    return torch.where(width > 0, (width - 1) * (longest + 1) - (width - 1) * width // 2, 0)
