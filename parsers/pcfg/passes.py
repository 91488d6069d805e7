"""The inside and outside passes of a PCFG over a padded batch, by width, in few large matrix products.

Notation: A, B, C are symbols; nonterminals stand before preterminals. The cell of the span (i, i + w) is kept as
``exp(log_scale) * vector``, the vector's largest entry being 1. Charts exist twice: by first word and width, and by end
and falling width, so that the children of all splits of a width are two views and not copies.

A left child of one word, i, meets many right children: the rules times the word's vector, ``left[i][A, C]``, are
summed over B once for the sentence; the same for right children of one word. Only pairs of longer children are summed
over splits first (X) and contracted with the rules after, once a span.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def spread(matrix: Tensor, groups: int) -> Tensor:
    """Return (places, B, K) as (groups, rows, K): all rows share the rules, or each sentence has its own."""
    return matrix.reshape(1, -1, matrix.shape[-1]) if groups == 1 else matrix.transpose(0, 1)


def gather(matrix: Tensor, batch: int) -> Tensor:
    """Undo `spread`."""
    if matrix.shape[0] == 1:
        return matrix.reshape(-1, batch, matrix.shape[-1])
    return matrix.transpose(0, 1).contiguous()


@dataclass
class Rules:
    """The rules as probabilities over their largest, in blocks laid out for the products; G = 1 or B.

    Parameters
    ----------
    pairs : Tensor, shape (G, NT, NT * NT)
        A -> B C, both nonterminals.
    by_left : Tensor, shape (G, T, NT * S)
        [B, (A, C)] for preterminals B.
    by_right : Tensor, shape (G, T, NT * NT)
        [C, (A, B)] for preterminals C and nonterminals B.
    top : Tensor, shape (G,)
        The logarithm of the largest.
    """

    pairs: Tensor
    by_left: Tensor
    by_right: Tensor
    top: Tensor

    @classmethod
    def of(cls, scores: Tensor) -> Rules:
        groups, symbols = scores.shape[:2]
        top = scores.amax((1, 2, 3))
        table = (scores - top[:, None, None, None]).exp_()
        return cls(
            table[:, :, :symbols, :symbols].reshape(groups, symbols, -1),
            table[:, :, symbols:].transpose(1, 2).reshape(groups, scores.shape[2] - symbols, -1),
            table[:, :, :symbols, symbols:].permute(0, 3, 1, 2).reshape(groups, scores.shape[2] - symbols, -1),
            top,
        )

    def scores_gradient(self, pairs: Tensor, by_left: Tensor, by_right: Tensor) -> Tensor:
        """Return the gradient of the scores [G, NT, S, S] from those of the blocks."""
        groups, symbols = self.pairs.shape[:2]
        words = self.by_left.shape[1]
        out = pairs.new_empty(groups, symbols, symbols + words, symbols + words)
        out[:, :, :symbols, :symbols] = (pairs * self.pairs).view(groups, symbols, symbols, symbols)
        out[:, :, symbols:] = (by_left * self.by_left).view(groups, words, symbols, -1).transpose(1, 2)
        right = (by_right * self.by_right).view(groups, words, symbols, symbols)
        out[:, :, :symbols, symbols:] = right.permute(0, 2, 3, 1)
        return out


class Chart:
    """One pass upwards, and what the pass downwards needs of it.

    Parameters
    ----------
    roots : Tensor, shape (G, NT)
        Logarithms.
    rules : Tensor, shape (G, NT, S, S)
        Logarithms.
    words : Tensor, shape (B, N, T)
        Logarithms; N at least 2.
    lengths : Tensor of int64, shape (B,)
        At least 2.
    spans : Tensor, shape (B, N + 1, N + 1), optional
        Added to the logarithm of every cell of two words or more.
    keep_pairs : bool
        Keep what the gradient of the rules needs.
    """

    def __init__(
        self, roots: Tensor, rules: Tensor, words: Tensor, lengths: Tensor, spans: Tensor | None, keep_pairs: bool
    ) -> None:
        self.groups, self.symbols = roots.shape
        self.batch, self.longest = words.shape[:2]
        self.lengths, self.keep_pairs = lengths, keep_pairs
        self.rules = Rules.of(rules)
        n, batch, symbols = self.longest, self.batch, self.symbols
        by_place = words.transpose(0, 1)
        largest = by_place.amax(-1)
        self.words = (by_place - largest[..., None]).exp_()
        rows = spread(self.words, self.groups)
        self.left = gather(rows @ self.rules.by_left, batch).view(n, batch, symbols, -1)
        self.right = gather(rows @ self.rules.by_right, batch).view(n, batch, symbols, symbols)
        self.by_start, self.by_end = words.new_zeros(2, n + 1, batch, n + 1, symbols)
        self.start_scale, self.end_scale = words.new_zeros(2, n + 1, batch, n + 1)
        self.start_scale[:n, :, 1] = largest
        self.end_scale[1:, :, n - 1] = largest
        # the lone words' partners, times the weight of the split; the outer ones by width, for one product at the end
        self.right_of_word, self.left_of_word = words.new_zeros(2, n, batch, n + 1, symbols)
        cells = (n - 3) * (n - 2) // 2
        self.pairs = words.new_empty(cells if keep_pairs else 0, batch, symbols * symbols)
        self.weights: list[Tensor] = []
        self.tops: list[Tensor] = []
        for width in range(2, n + 1):
            self._up(width, None if spans is None else spans.diagonal(width, 1, 2).T)
        rows = torch.arange(batch, device=words.device)
        self.top = self.by_start[0, rows, lengths]
        self.root_probabilities = torch.softmax(roots, -1).expand(batch, -1)
        products = self.root_probabilities * self.top
        self.total = products.sum(-1)
        self.root_posterior = products / self.total[:, None]
        self.log_partition: Tensor = self.total.log() + torch.logsumexp(roots, -1) + self.start_scale[0, rows, lengths]

    def cells(self, width: int) -> slice:
        """Return where the products of a width's pairs are kept."""
        n = self.longest
        before = (width - 4) * (n + 1) - (width * (width - 1) // 2 - 6)  # sum of n - w + 1 over w = 4 ... width - 1
        return slice(before, before + n - width + 1)

    def children(self, width: int) -> tuple[Tensor, Tensor]:
        """Return views of the left and right children of two words or more: (spans * B, splits, NT)."""
        n = self.longest
        count = n - width + 1
        return (
            self.by_start[:count, :, 2 : width - 1].flatten(0, 1),
            self.by_end[width:, :, n - width + 2 : n - 1].flatten(0, 1),
        )

    def _up(self, width: int, extra: Tensor | None) -> None:
        n, symbols = self.longest, self.symbols
        count = n - width + 1
        scales = self.start_scale[:count, :, 1:width] + self.end_scale[width:, :, n - width + 1 : n]
        most = scales.amax(-1)
        weights = (scales - most[..., None]).exp_()
        self.weights.append(weights)
        if width == 2:
            out = _times(self.left[:count, :, :, symbols:], self.words[1:])
        else:
            last = width - 1
            beside = torch.mul(
                self.by_start[1 : 1 + count, :, last], weights[..., :1], out=self.right_of_word[:count, :, width]
            )
            out = _times(self.left[:count, :, :, :symbols], beside)
            beside = torch.mul(
                self.by_start[:count, :, last], weights[..., -1:], out=self.left_of_word[last:, :, width]
            )
            out += _times(self.right[last:], beside)
        if width > 3:
            lefts, rights = self.children(width)
            lefts = lefts * weights[..., 1:-1].flatten(0, 1)[..., None]
            pairs = torch.bmm(lefts.transpose(1, 2), rights).view(count, self.batch, -1)
            if self.keep_pairs:
                self.pairs[self.cells(width)] = pairs
            out += gather(spread(pairs, self.groups) @ self.rules.pairs.transpose(1, 2), self.batch)
        top = out.amax(-1)
        self.tops.append(top)
        out /= top[..., None]
        scale = most + top.log() + self.rules.top
        if extra is not None:
            scale = scale + extra
        self.by_start[:count, :, width] = out
        self.by_end[width:, :, n - width] = out
        self.start_scale[:count, :, width] = scale
        self.end_scale[width:, :, n - width] = scale


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Return matrices (places, B, K, L) times vectors (places, B, L)."""
    return torch.matmul(matrices, vectors[..., None])[..., 0]


@dataclass
class Gradients:
    """Of a weighted sum of log Z, with respect to the arguments of `Chart`.

    Parameters
    ----------
    roots, rules, words : Tensor
        Shapes as the arguments'; `rules` is empty where the chart has not kept its pairs.
    spans : Tensor, shape (B, N + 1, N + 1)
        Posterior probabilities of spans of two words or more, times the sentence's weight.
    """

    roots: Tensor
    rules: Tensor
    words: Tensor
    spans: Tensor


class Downwards:
    """The pass downwards: how much log Z changes with each cell.

    Cells are normalised, so the scales count as constants, and the change with an entry times the entry is the
    posterior probability of the span and symbol.

    Parameters
    ----------
    chart : Chart
        From the pass upwards.
    upstream : Tensor, shape (B,)
        The weight of each sentence's log Z.
    """

    def __init__(self, chart: Chart, upstream: Tensor) -> None:
        self.chart, self.upstream = chart, upstream
        n, batch, symbols = chart.longest, chart.batch, chart.symbols
        self.by_start, self.by_end = chart.words.new_zeros(2, n + 1, batch, n + 1, symbols)
        # of sums before they are normalised, by the outer words: by (first word, width) and (last word, width)
        self.sums_by_first, self.sums_by_last = chart.words.new_zeros(2, n, batch, n + 1, symbols)
        self.pair_sums = chart.words.new_empty(len(chart.pairs), batch, symbols)
        self.spans = chart.words.new_zeros(batch, n + 1, n + 1)
        rows = torch.arange(batch, device=upstream.device)
        self.by_start[0, rows, chart.lengths] = chart.root_probabilities * (upstream / chart.total)[:, None]
        for width in range(n, 1, -1):
            self._down(width)

    def _down(self, width: int) -> None:
        chart, n, symbols = self.chart, self.chart.longest, self.chart.symbols
        count = n - width + 1
        own = self.by_start[:count, :, width] + self.by_end[width:, :, n - width]
        self.spans.diagonal(width, 1, 2).T.copy_((own * chart.by_start[:count, :, width]).sum(-1))
        sums = own / chart.tops[width - 2][..., None]
        self.sums_by_first[:count, :, width] = sums
        if width == 2:
            return
        weights, last = chart.weights[width - 2], width - 1
        self.sums_by_last[last:, :, width] = sums
        right = _times(chart.left[:count, :, :, :symbols].transpose(2, 3), sums)
        self.by_start[1 : 1 + count, :, last] += right * weights[..., :1]
        left = _times(chart.right[last:].transpose(2, 3), sums)
        self.by_start[:count, :, last] += left * weights[..., -1:]
        if width == 3:
            return
        if chart.keep_pairs:
            self.pair_sums[chart.cells(width)] = sums
        pairs = gather(spread(sums, chart.groups) @ chart.rules.pairs, chart.batch).view(-1, symbols, symbols)
        lefts, rights = chart.children(width)
        inner = weights[..., 1:-1].flatten(0, 1)[..., None]
        self.by_start[:count, :, 2:last] += (
            torch.bmm(rights, pairs.transpose(1, 2)).mul_(inner).view(count, chart.batch, -1, symbols)
        )
        self.by_end[width:, :, n - width + 2 : n - 1] += torch.bmm(lefts * inner, pairs).view(
            count, chart.batch, -1, symbols
        )

    def gradients(self) -> Gradients:
        """Return what the pass came to."""
        chart, symbols, groups = self.chart, self.chart.symbols, self.chart.groups
        n, batch = chart.longest, chart.batch
        left = torch.empty_like(chart.left)
        flat = self.sums_by_first.flatten(0, 1).transpose(1, 2)
        left[..., :symbols] = torch.bmm(flat, chart.right_of_word.flatten(0, 1)).view(n, batch, symbols, symbols)
        twos = self.sums_by_first[:, :, 2]
        following = torch.cat([chart.words[1:], chart.words.new_zeros(1, batch, chart.words.shape[-1])])
        left[..., symbols:] = twos[..., None] * following[..., None, :]
        flat = self.sums_by_last.flatten(0, 1).transpose(1, 2)
        right = torch.bmm(flat, chart.left_of_word.flatten(0, 1)).view(n, batch, -1)
        left = left.view(n, batch, -1)
        words = gather(
            spread(left, groups) @ chart.rules.by_left.transpose(1, 2)
            + spread(right, groups) @ chart.rules.by_right.transpose(1, 2),
            batch,
        )
        words[1:] += _times(chart.left[:-1, :, :, symbols:].transpose(2, 3), twos[:-1])
        words = (words * chart.words).transpose(0, 1)
        rules = chart.words.new_empty(0)
        if chart.keep_pairs:
            rows = spread(chart.words, groups).transpose(1, 2)
            pairs = spread(self.pair_sums, groups).transpose(1, 2) @ spread(chart.pairs, groups)
            rules = chart.rules.scores_gradient(pairs, rows @ spread(left, groups), rows @ spread(right, groups))
        roots = chart.root_posterior * self.upstream[:, None]
        return Gradients(roots.sum(0, keepdim=True) if groups == 1 else roots, rules, words, self.spans)
