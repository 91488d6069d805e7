"""Distributions over binary trees, one width after the other, over the whole batch: plain torch on any device.

For width w the chart is held twice, by start [B, N - w + 1, w] with widths 1 to w, and by end with widths w to 1, so
that the sums over both children of all spans of the next width are one addition of two shifted tensors
[B, N - w, w]. Nothing is written in place (so autograd works in any order) and nothing is read back from the device.
Rules are a list over widths w = 2 to N of [B, N - w + 1, w - 1]: one cell for each split j = b + 1 .. b + w - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from treeavg.distill.charts import by_width, from_widths, inner_mask, span_mask


def centred(scores: Tensor, lengths: Tensor) -> Tensor:
    """Return the scores that distinguish trees, less the largest of each sentence, zero elsewhere.

    These are the scores of spans of two words or more within a sentence, the whole left out. The largest counts as a
    constant for autograd: no probability depends on it.
    """
    inner = inner_mask(lengths, scores.shape[1] - 1)
    return torch.where(inner, scores - _largest(scores, inner)[:, None, None], torch.zeros_like(scores))


def left_out(scores: Tensor, lengths: Tensor) -> Tensor:
    """Return what log Z of centred scores lacks: words, whole sentences, and n - 2 times the largest [B]."""
    longest = scores.shape[1] - 1
    inner = inner_mask(lengths, longest)
    fixed = torch.where(span_mask(lengths, longest) & ~inner, scores, torch.zeros_like(scores)).sum((1, 2))
    return fixed + (lengths - 2).clamp(min=0).to(scores.dtype) * _largest(scores, inner)


def _largest(scores: Tensor, inner: Tensor) -> Tensor:
    """Return the largest inner score of each sentence, 0 where there is none."""
    largest = scores.detach().masked_fill(~inner, -torch.inf).amax((1, 2))
    return torch.where(largest > -torch.inf, largest, torch.zeros_like(largest))


def bottom_up(
    spans: Sequence[Tensor], reduce: Callable[[Tensor], Tensor], rules: Sequence[Tensor] | None = None
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return, by width, the totals of spans, the totals without their own scores, and (from width 2) all splits' sums.

    `reduce` turns the sums of the splits [..., w - 1] into one number: log-sum-exp or maximum. `rules` are added to the
    sums of splits. A word's total is zero.
    """
    words = torch.zeros_like(spans[0])
    whole, below, sums = [words], [words], []
    by_start = by_end = words[..., None]
    for place in range(1, len(spans)):
        splits = by_start[:, :-1] + by_end[:, 1:]
        if rules is not None:
            splits = splits + rules[place - 1]
        total = reduce(splits)
        cell = total + spans[place]
        sums.append(splits)
        below.append(total)
        whole.append(cell)
        by_start = torch.cat([by_start[:, :-1], cell[..., None]], -1)
        by_end = torch.cat([cell[..., None], by_end[:, 1:]], -1)
    return whole, below, sums


def _log_sum_exp(values: Tensor) -> Tensor:
    return values.logsumexp(-1)


def inside(centre: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return log Z [B] of centred scores and the logarithms of the split laws, a list over widths 2 to N."""
    longest = centre.shape[1] - 1
    if longest < 1:
        return centre.sum((1, 2)), []
    _, below, sums = bottom_up(by_width(centre), _log_sum_exp)
    roots = torch.stack([total[:, 0] for total in below], 1)
    root = roots.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0]
    laws = [splits - total[..., None] for splits, total in zip(sums, below[1:], strict=True)]
    return torch.where(lengths > 1, root, torch.zeros_like(root)), laws


def visits(laws: Sequence[Tensor], lengths: Tensor, like: Tensor, longest: int) -> list[Tensor]:
    """Return the probability that a tree has a span, by width 1 to N: top-down from log split laws.

    `like` gives the dtype and device. What is gathered for shorter spans is held as in `bottom_up`.
    """
    if longest < 1:
        return []
    batch = like.shape[0]
    found: list[Tensor] = []
    by_start = by_end = like.new_zeros(batch, 1, longest)
    for width in range(longest, 0, -1):
        root = (lengths == width).to(like.dtype)[:, None]
        visit = by_start[..., -1] + by_end[..., 0] + pad(root, (0, longest - width))
        found.append(visit)
        if width > 1:
            moved = visit[..., None] * laws[width - 2].exp()
            by_start = pad(by_start[..., :-1] + moved, (0, 0, 0, 1))
            by_end = pad(by_end[..., 1:] + moved, (0, 0, 1, 0))
    return found[::-1]


def moments(centre: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return log Z [B] of centred scores and the chart of visit probabilities, differentiable in any order."""
    longest = centre.shape[1] - 1
    log_partition, laws = inside(centre, lengths)
    return log_partition, from_widths(visits(laws, lengths, centre, longest), centre, longest)


def best(scores: Tensor, lengths: Tensor, rules: Sequence[Tensor] | None = None) -> Tensor:
    """Return the trees with the highest sums of scores (and rules), ties to the leftmost split: int64 [B, N - 1, 2]."""
    longest = scores.shape[1] - 1
    if longest < 1:
        return torch.zeros(scores.shape[0], 0, 2, dtype=torch.int64, device=scores.device)
    inner = inner_mask(lengths, longest)
    spans = by_width(torch.where(inner, scores.detach(), torch.zeros_like(scores)))
    _, _, sums = bottom_up(spans, lambda splits: splits.amax(-1), rules)
    starts = [torch.arange(longest - place, device=scores.device) for place in range(longest)]
    chosen = [torch.zeros_like(spans[0], dtype=torch.int64)]
    chosen += [splits.argmax(-1) + starts[place + 1] + 1 for place, splits in enumerate(sums)]
    chart = from_widths(chosen, chosen[0], longest).flatten(1)

    def split(sentence: Tensor, start: Tensor, end: Tensor, row: int) -> Tensor:
        return chart[sentence, start * (longest + 1) + end]

    return walk(split, lengths, longest)


def sample(laws: Sequence[Tensor], lengths: Tensor, draws: Tensor) -> Tensor:
    """Return trees int64 [T, B, N - 1, 2] drawn by the uniform numbers `draws` [T, B, N - 1] (see `spancrf.sample`)."""
    count, batch, rows = draws.shape
    if rows == 0:
        return torch.zeros(count, batch, 0, 2, dtype=torch.int64, device=draws.device)
    longest = rows + 1
    flat = torch.cat([law.detach().flatten(1) for law in laws], 1)
    width = torch.arange(longest + 1, device=draws.device)
    sizes = (longest - width + 1) * (width - 1).clamp(min=0)
    before = sizes.cumsum(0) - sizes
    places = torch.arange(longest, device=draws.device)
    uniform = draws.reshape(count * batch, rows)

    def split(sentence: Tensor, start: Tensor, end: Tensor, row: int) -> Tensor:
        splits = (end - start - 1)[:, None]
        index = (before[end - start] + start * (end - start - 1))[:, None] + places
        inside = places < splits
        law = flat[sentence[:, None] % batch, torch.where(inside, index, torch.zeros_like(index))]
        total = torch.where(inside, law.exp(), torch.zeros_like(law)).cumsum(1)
        passed = (total <= uniform[:, row, None]) & inside
        return start + 1 + torch.minimum(passed.sum(1), (splits[:, 0] - 1).clamp(min=0))

    return walk(split, lengths.repeat(count), longest).view(count, batch, rows, 2)


def walk(split: Callable[[Tensor, Tensor, Tensor, int], Tensor], lengths: Tensor, longest: int) -> Tensor:
    """Return trees int64 [B, N - 1, 2] in pre-order, where ``split(sentence, start, end, row)`` splits each span.

    A stack for each sentence is kept on the device: row r is the span on top, whose children are pushed, right first.
    """
    batch, rows = lengths.shape[0], max(longest - 1, 0)
    sentence = torch.arange(batch, device=lengths.device)
    stack = torch.zeros(batch, longest + 2, 2, dtype=torch.int64, device=lengths.device)
    stack[:, 0, 1] = lengths
    top = torch.zeros_like(lengths)
    found = []
    for row in range(rows):
        live = row < lengths - 1
        span = stack[sentence, top]
        start = torch.where(live, span[:, 0], torch.zeros_like(top))
        end = torch.where(live, span[:, 1], torch.full_like(top, 2))
        middle = split(sentence, start, end, row)
        found.append(torch.stack([start, torch.where(live, end, torch.zeros_like(end))], 1))
        for low, high in ((middle, end), (start, middle)):
            stack[sentence, top] = torch.stack([low, high], 1)
            top = top + ((high - low > 1) & live).to(torch.int64)
        top = (top - 1).clamp(min=0)
    return torch.stack(found, 1) if found else torch.zeros(batch, 0, 2, dtype=torch.int64, device=lengths.device)
