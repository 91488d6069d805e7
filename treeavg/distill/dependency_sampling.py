"""Exact samples of dependency trees: all sentences and samples in step, no rejection, no random walk."""

from __future__ import annotations

import torch
from torch import Tensor

from treeavg.distill.dependency_inside import LOW, EisnerCharts, Elimination, by_width, root_terms

#: Kinds of spans: complete ones with the head on the left or the right; ones that end at an arc, head likewise.
_RIGHT, _LEFT, _RIGHT_OPEN, _LEFT_OPEN = range(4)
#: By kind: the two spans that it is made of.
_FIRST = (_RIGHT_OPEN, _LEFT, _RIGHT, _RIGHT)
_SECOND = (_RIGHT, _LEFT_OPEN, _LEFT, _LEFT)


def draw(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw an index from each row of log weights, int64 ``[R]`` from ``[R, C]``."""
    return torch.multinomial(weights.softmax(1), 1, generator=generator)[:, 0]


class _Stacks:
    """Spans that wait to be split, one stack a sample. A span of one node needs no split and is not kept."""

    def __init__(self, samples: int, size: int, like: Tensor) -> None:
        self.spans = like.new_zeros(samples, size, 3)
        self.heights = like.new_zeros(samples)
        self.rows = torch.arange(samples, device=like.device)

    def push(self, kind: Tensor, first: Tensor, last: Tensor, wanted: Tensor) -> None:
        kept = wanted & (first < last)
        rows = self.rows[kept]
        self.spans[rows, self.heights[kept]] = torch.stack([kind, first, last], 1)[kept]
        self.heights = self.heights + kept.long()

    def pop(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return kinds, first and last nodes, and which samples had a span left; those that had none get any."""
        busy = self.heights > 0
        self.heights = (self.heights - 1).clamp(min=0)
        kind, first, last = self.spans[self.rows, self.heights].unbind(1)
        return kind, first, last, busy


def sample_projective(
    charts: EisnerCharts,
    arcs: Tensor,
    lengths: Tensor,
    count: int,
    *,
    multi_root: bool,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw projective trees from Eisner's charts, top down.

    Parameters
    ----------
    charts : EisnerCharts
        Over the words, or, for several roots, over all nodes.
    arcs : Tensor, shape (B, N + 1, N + 1)
        Scores.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    count : int
        Trees a sentence.
    multi_root : bool
        Whether several words may hang on the root.
    generator : torch.Generator, optional
        Of the device of the charts.

    Returns
    -------
    Tensor of int64, shape (count, B, N)
        Heads, 0 past a sentence's end.

    Notes
    -----
    Each span of two nodes or more is split once, with the probability of each summand of its inside score; a tree over
    n words takes 2 (n - 1) splits whichever it is, so all samples take a step together.
    """
    nodes = len(charts.right)
    kinds = (charts.right, charts.left, charts.right_open, charts.left_open)
    table = torch.stack([_by_ends(chart) for chart in kinds])
    sentence = torch.arange(len(lengths), device=lengths.device).repeat(count)
    sizes = lengths[sentence]
    stacks = _Stacks(len(sentence), 2 * nodes, lengths)
    left, right = torch.full_like(sizes, _LEFT), torch.full_like(sizes, _RIGHT)
    shift = 0 if multi_root else 1  # from a node of the charts to one of the tree
    if multi_root:
        stacks.push(right, torch.zeros_like(sizes), sizes, sizes > 0)
    else:
        root = draw(root_terms(charts, arcs, lengths)[sentence], generator)
        stacks.push(left, torch.zeros_like(root), root, sizes > 0)
        stacks.push(right, root, sizes - 1, sizes > 0)
    heads = lengths.new_zeros(len(sentence), arcs.shape[1])
    first_kind, second_kind = lengths.new_tensor(_FIRST), lengths.new_tensor(_SECOND)
    for _ in range(2 * (nodes - 1)):
        kind, first, last, busy = stacks.pop()
        split = draw(_split_weights(table, sentence, kind, first, last), generator)
        opens = (kind >= _RIGHT_OPEN).long()
        head, word = torch.where(kind == _LEFT_OPEN, last, first), torch.where(kind == _LEFT_OPEN, first, last)
        arc = busy & (opens > 0)
        heads[stacks.rows[arc], word[arc] + shift] = head[arc] + shift
        stacks.push(first_kind[kind], first, split, busy)
        stacks.push(second_kind[kind], split + opens, last, busy)
    return heads[:, 1:].reshape(count, len(lengths), arcs.shape[1] - 1)


def _split_weights(table: Tensor, sentence: Tensor, kind: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Return the log weight of each split of one span a row: its first part ends at the column's node."""
    nodes = table.shape[-1]
    places = torch.arange(nodes, device=table.device)
    opens = (kind >= _RIGHT_OPEN).long()[:, None]
    # The second part begins at the split, or behind it where the span ends at an arc.
    begins = (places + opens).clamp(max=nodes - 1)
    one = table[table.new_tensor(_FIRST).long()[kind], sentence, first]
    other = table[table.new_tensor(_SECOND).long()[kind], sentence, :, last].gather(1, begins)
    on_right = (kind == _RIGHT).long()[:, None]
    fits = (places >= first[:, None] + on_right) & (places <= last[:, None] - 1 + on_right)
    return torch.where(fits, one + other, LOW)


def _by_ends(chart: list[Tensor]) -> Tensor:
    """Return a chart by first and last node, ``[B, M, M]``; whatever where the last is before the first."""
    wide = by_width(chart)
    places = torch.arange(wide.shape[1], device=wide.device)
    widths = (places - places[:, None]).clamp(min=0)
    return wide.gather(2, widths.expand_as(wide))


def sample_any(
    elimination: Elimination,
    lengths: Tensor,
    count: int,
    *,
    multi_root: bool,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw trees of any shape by undoing the elimination, a word at a time.

    Parameters
    ----------
    elimination : Elimination
        Of the scores.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    count : int
        Trees a sentence.
    multi_root : bool
        Whether several words may hang on the root.
    generator : torch.Generator, optional
        Of the device of the scores.

    Returns
    -------
    Tensor of int64, shape (count, B, N)
        Heads, 0 past a sentence's end.

    Notes
    -----
    A tree T' over the nodes before v is drawn. Its arc (u, x) stands for a direct one or for u -> v -> x, in proportion
    to the two summands of w'(u, x); those of the second kind give x the head v. Let C_0 be the nodes that are not below
    such an x: v gets a head u in C_0 in proportion to w(u, v). O(N^2) a tree.

    This is exact. Without v, the tree falls into C_0 and parts C_1 to C_k; let s_i be the sum of w(u, v) over u in C_i.
    Trees T' that lead to these parts weigh the product of the w(v, x) times a sum over trees on the k + 1 parts, of
    products of s_parent / D(v), which is (s_0 / D) (sum s / D)^(k - 1) = s_0 / D (Cayley). With the factor D(v) of the
    elimination that makes s_0, the weight of all heads of v in C_0.
    """
    words = elimination.stages[0].shape[1] - 1
    sentence = torch.arange(len(lengths), device=lengths.device).repeat(count)
    sizes = lengths[sentence]
    heads = lengths.new_zeros(len(sentence), words + 1)
    nodes = torch.arange(words + 1, device=lengths.device)
    for word in range(2, words + 1):
        before, after, arrived = (
            part[words - word] for part in (elimination.stages, elimination.stages[1:], elimination.incoming)
        )
        tree = heads[:, :word]
        into = before[:, :, word][sentence]
        detour = into.gather(1, tree) + (before[:, word, :word] - arrived[:, None])[sentence]
        direct_or_not = after[sentence[:, None], tree, nodes[:word]]
        chance = torch.rand(tree.shape, generator=generator, dtype=into.dtype, device=into.device)
        via = (chance < (detour - direct_or_not).exp()) & (sizes >= word)[:, None]
        via[:, 0] = False
        weights = into[:, :word].clone()
        if not multi_root:
            weights[:, 0] = LOW  # taken only where no word is left: the one that hangs on the root is below v
        weights = torch.where(_below(via, tree), 4 * LOW, weights)
        heads[:, :word] = torch.where(via, word, tree)
        heads[:, word] = torch.where(sizes >= word, draw(weights, generator), 0)
    return heads[:, 1:].reshape(count, len(lengths), words)


def _below(marked: Tensor, heads: Tensor) -> Tensor:
    """Tell which nodes are marked or have a marked ancestor; node 0 is the root."""
    steps = heads
    for _ in range(marked.shape[1].bit_length()):
        marked = marked | marked.gather(1, steps)
        steps = steps.gather(1, steps)
    return marked
