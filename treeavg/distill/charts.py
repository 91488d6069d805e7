"""Charts and trees as tensors: what they must look like, which cells count, and lists by width.

A chart is a tensor [B, N + 1, N + 1]; its cell [b, i, j] belongs to the span from fence-post i to fence-post j. Cells
with i >= j or j > lengths[b] are outside: whatever stands there is ignored. A list by width holds, for w = 1 to N, a
tensor [B, N - w + 1] of the spans (i, i + w).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.errors import ArgumentError, quote
from treeavg.kernels import spancharts


def require_lengths(lengths: Tensor, batch: int | None, longest: int, where: str = "lengths") -> None:
    """Raise an ArgumentError unless `lengths` is int64 [batch] within 0 to `longest` (values only where on the CPU)."""
    good = isinstance(lengths, Tensor) and lengths.dtype == torch.int64 and lengths.dim() == 1
    if not good or (batch is not None and lengths.shape[0] != batch):
        got = f"{lengths.dtype} {tuple(lengths.shape)}" if isinstance(lengths, Tensor) else quote(lengths)
        sentences = "B" if batch is None else batch
        raise ArgumentError(f"{where}: expected int64 ({sentences},), got {got}. Pass one length for each sentence.")
    if lengths.device.type == "cpu" and lengths.numel():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > longest:
            place = int(lengths.argmax()) if high > longest else int(lengths.argmin())
            raise ArgumentError(
                f"{where}[{place}]: expected 0 to {longest}, got {int(lengths[place])}. A chart for N words has the "
                "sides N + 1."
            )


def require_chart(chart: Tensor, where: str) -> None:
    """Raise an ArgumentError unless `chart` is a floating tensor [B, N + 1, N + 1]."""
    if not isinstance(chart, Tensor) or chart.dim() != 3 or chart.shape[1] != chart.shape[2] or chart.shape[1] < 1:
        got = tuple(chart.shape) if isinstance(chart, Tensor) else quote(chart)
        raise ArgumentError(f"{where}: expected a tensor (B, N + 1, N + 1), got {got}. N is the longest length.")
    if not chart.is_floating_point():
        raise ArgumentError(f"{where}: expected a floating type, got {chart.dtype}. Call .float() or .double() first.")


def require_finite(chart: Tensor, lengths: Tensor, where: str) -> None:
    """Raise an ArgumentError that names the first cell within a sentence that is NaN or infinite (CPU only).

    On an accelerator nothing is read back, so nothing is checked.
    """
    if chart.device.type != "cpu":
        return
    cells = chart.detach().double().contiguous()
    bad = int(spancharts.first_bad(cells.numpy(), lengths.detach().cpu().contiguous().numpy()))
    if bad >= 0:
        side = chart.shape[1]
        sentence, start, end = bad // side**2, bad // side % side, bad % side
        raise ArgumentError(
            f"{where}[{sentence}, {start}, {end}]: expected finite scores within a sentence, got "
            f"{float(cells[sentence, start, end])} for the span ({start}, {end}) of sentence {sentence}. To forbid a "
            "span, use a large negative number such as -1e9."
        )


def require_trees(trees: Tensor, lengths: Tensor, longest: int, where: str = "trees") -> None:
    """Raise an ArgumentError unless `trees` is int64 [..., B, N - 1, 2]; on the CPU, of binary trees in pre-order."""
    batch, rows = lengths.shape[0], max(longest - 1, 0)
    if not isinstance(trees, Tensor) or trees.dtype != torch.int64 or tuple(trees.shape[-3:]) != (batch, rows, 2):
        got = f"{trees.dtype} {tuple(trees.shape)}" if isinstance(trees, Tensor) else quote(trees)
        raise ArgumentError(
            f"{where}: expected int64 (..., {batch}, {rows}, 2), starts and ends of each sentence's spans, got {got}. "
            "Pad with zeros."
        )
    if trees.device.type != "cpu":
        return
    flat = trees.detach().reshape(math.prod(trees.shape[:-3]), batch, rows, 2).contiguous()
    stack = torch.empty(2 * longest + 2, dtype=torch.int64)
    bad = int(spancharts.first_bad_tree(flat.numpy(), lengths.detach().cpu().contiguous().numpy(), stack.numpy()))
    if bad >= 0:
        tree, sentence = divmod(bad, batch)
        place = f"{where}[{sentence}]" if trees.dim() == 3 else f"{where}[{tree}, {sentence}]"
        spans = [tuple(row) for row in flat[tree, sentence].tolist()]
        raise ArgumentError(
            f"{place}: expected the {max(int(lengths[sentence]) - 1, 0)} spans of a binary tree in pre-order, then "
            f"zeros, got {quote(spans)}. Binarise trees first (treeavg.binarize)."
        )


def span_mask(lengths: Tensor, longest: int) -> Tensor:
    """Return bool [B, N + 1, N + 1]: the cells within sentences."""
    posts = torch.arange(longest + 1, device=lengths.device)
    return (posts[:, None] < posts) & (posts <= lengths[:, None, None])


def inner_mask(lengths: Tensor, longest: int) -> Tensor:
    """Return bool [B, N + 1, N + 1]: the spans of two words or more that are not the whole sentence."""
    posts = torch.arange(longest + 1, device=lengths.device)
    width = posts - posts[:, None]
    return (width > 1) & (posts <= lengths[:, None, None]) & (width < lengths[:, None, None])


def by_width(chart: Tensor) -> list[Tensor]:
    """Return the chart's cells as a list over widths 1 to N of [B, N - w + 1]."""
    return [chart.diagonal(width, 1, 2) for width in range(1, chart.shape[1])]


def from_widths(spans: Sequence[Tensor], like: Tensor, longest: int) -> Tensor:
    """Return the chart [B, N + 1, N + 1] with these cells, zero elsewhere; `like` gives batch, dtype and device."""
    batch = like.shape[0]
    posts = torch.arange(longest + 1, device=like.device)
    width = posts - posts[:, None]
    before = (width - 1) * longest - (width - 1) * (width - 2) // 2  # cells of all shorter widths
    cells = longest * (longest + 1) // 2
    index = torch.where(width > 0, before + posts[:, None], cells)
    flat = torch.cat([*spans, like.new_zeros(batch, 1)], dim=1)
    return flat.index_select(1, index.flatten()).view(batch, longest + 1, longest + 1)


def splits_of(trees: Tensor) -> Tensor:
    """Return where each row's span is split, from its pre-order: [..., R] for trees [..., R, 2].

    The left child, where it has two words or more, is the next row.
    """
    start, end = trees.unbind(-1)
    next_start = torch.nn.functional.pad(start[..., 1:], (0, 1), value=-1)
    next_end = torch.nn.functional.pad(end[..., 1:], (0, 1))
    has_left = (next_start == start) & (next_end < end) & (next_end > start)
    return torch.where(has_left, next_end, start + 1)


def uniform_draws(count: int, like: Tensor, longest: int, generator: torch.Generator | None) -> Tensor:
    """Return uniform numbers float64 [count, B, N - 1] on the device of `like`."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ArgumentError(f"count: expected a whole number of trees, at least 0, got {quote(count)}. Use count=1.")
    rows = max(longest - 1, 0)
    return torch.rand(count, like.shape[0], rows, generator=generator, dtype=torch.float64, device=like.device)


def expected(visits: Tensor, chart: Tensor, lengths: Tensor) -> Tensor:
    """Return the sum of visits times a chart over the inner spans of each sentence [B]."""
    if not isinstance(chart, Tensor) or chart.shape != visits.shape:
        got = tuple(chart.shape) if isinstance(chart, Tensor) else quote(chart)
        raise ArgumentError(f"chart: expected the scores' shape {tuple(visits.shape)}, got {got}. Pad it alike.")
    inner = inner_mask(lengths, visits.shape[1] - 1)
    return (visits * torch.where(inner, chart, torch.zeros_like(chart)).to(visits.dtype)).sum((1, 2))
