"""The compiled kernels of `treeavg.kernels.spancrf` behind autograd functions; float64 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from treeavg.jobs import run_chunks
from treeavg.kernels import spancharts, spancrf, spandivergence, spantrees

#: Whether the linear path may be taken; tests switch it off to hold the two paths against each other.
ALLOW_LINEAR = True


def _arrays(lengths: Tensor) -> NDArray[np.int64]:
    array: NDArray[np.int64] = lengths.detach().cpu().contiguous().numpy()
    return array


def _run(work: Callable[[int, int, NDArray[np.float64]], None], lengths: NDArray[np.int64], rows: int) -> None:
    """Call ``work(first, last, scratch)`` on chunks of sentences, in as many threads as torch uses."""
    costs = lengths.astype(np.float64) ** 3 / 24  # a thread costs more to start than a small batch to compute
    longest = int(lengths.max(initial=0))

    def chunk(first: int, last: int) -> None:
        work(first, last, np.empty((rows, (longest + 1) ** 2)))

    run_chunks(chunk, costs, torch.get_num_threads())


class _InnerCells(torch.autograd.Function):
    """The cells that distinguish trees, less a constant of each sentence; zero elsewhere."""

    @staticmethod
    def forward(ctx: Any, chart: Tensor, lengths: Tensor, less_largest: bool) -> Tensor:
        ctx.save_for_backward(lengths)
        cells = chart.detach().contiguous()
        out = torch.empty_like(cells)
        spancharts.inner_cells(cells.numpy(), _arrays(lengths), less_largest, out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (lengths,) = ctx.saved_tensors
        kept: Tensor = _InnerCells.apply(gradient, lengths, False)  # type: ignore[no-untyped-call]
        return kept, None, None


def centred(scores: Tensor, lengths: Tensor) -> Tensor:
    """Return what `steps.centred` does, from a float64 chart."""
    result: Tensor = _InnerCells.apply(scores, lengths, True)  # type: ignore[no-untyped-call]
    return result


class Moments(NamedTuple):
    """What the inside and outside passes found; charts that were not asked for are empty.

    Parameters
    ----------
    log_partition : Tensor
        Shape (B,).
    visits : Tensor
        A chart.
    whole, below : Tensor
        Charts of centred log-inside, with and without the span's own score (see `spancrf.moments`).
    paths : Tensor
        int8 (B,): 0 where sums were computed in the linear domain, 1 in logarithms.
    """

    log_partition: Tensor
    visits: Tensor
    whole: Tensor
    below: Tensor
    paths: Tensor


def compute(scores: Tensor, lengths: Tensor, *, with_visits: bool = False, with_charts: bool = False) -> Moments:
    """Run the inside pass, and the outside pass for `with_visits`, over float64 charts of scores; no gradient."""
    cells, sizes = scores.detach().contiguous(), _arrays(lengths)
    batch = cells.shape[0]

    def chart(wanted: bool) -> Tensor:
        return torch.empty(cells.shape if wanted else (0, 0, 0), dtype=torch.float64)

    found = Moments(
        torch.empty(batch, dtype=torch.float64), chart(with_visits), chart(with_charts), chart(with_charts),
        torch.empty(batch, dtype=torch.int8),
    )  # fmt: skip

    def work(first: int, last: int, scratch: NDArray[np.float64]) -> None:
        spancrf.moments(
            cells.numpy(), sizes, first, last, ALLOW_LINEAR, with_visits, with_charts, scratch,
            found.log_partition.numpy(), found.visits.numpy(), found.whole.numpy(), found.below.numpy(),
            found.paths.numpy(),
        )  # fmt: skip

    _run(work, sizes, 7)
    return found


class _Moments(torch.autograd.Function):
    """Log Z and visit probabilities; their derivatives are the visits and products with the second derivatives."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        log_partition, visits = compute(scores, lengths, with_visits=True)[:2]
        ctx.save_for_backward(scores, visits, lengths)
        ctx.set_materialize_grads(False)
        return log_partition, visits

    @staticmethod
    def backward(ctx: Any, for_partition: Tensor | None, for_visits: Tensor | None) -> tuple[Tensor | None, None]:
        scores, visits, lengths = ctx.saved_tensors
        total: Tensor | None = None
        if for_partition is not None:
            total = for_partition[:, None, None] * visits
        if for_visits is not None:
            product: Tensor = _HessianProduct.apply(scores, for_visits, lengths)  # type: ignore[no-untyped-call]
            total = product if total is None else total + product
        return total, None


class _HessianProduct(torch.autograd.Function):
    """The second derivatives of log Z times a direction: symmetric and linear in the direction."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, direction: Tensor, lengths: Tensor) -> Tensor:
        ctx.save_for_backward(scores, direction, lengths)
        cells, vectors, sizes = scores.detach().contiguous(), direction.detach().contiguous(), _arrays(lengths)
        out = torch.empty_like(cells)

        def work(first: int, last: int, scratch: NDArray[np.float64]) -> None:
            spancrf.hessian_product(
                cells.numpy(), sizes, first, last, ALLOW_LINEAR, vectors.numpy(), scratch, out.numpy()
            )

        _run(work, sizes, 12)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        scores, direction, lengths = ctx.saved_tensors
        for_scores = for_direction = None
        if ctx.needs_input_grad[0]:
            for_scores = _third_product(scores, direction, gradient, lengths)
        if ctx.needs_input_grad[1]:
            for_direction = _HessianProduct.apply(scores, gradient, lengths)  # type: ignore[no-untyped-call]
        return for_scores, for_direction, None


def _third_product(scores: Tensor, direction: Tensor, gradient: Tensor, lengths: Tensor) -> Tensor:
    """Return the third derivatives of log Z times two directions, by widths and autograd: rare, so slow will do."""
    from treeavg.distill import steps

    again = torch.is_grad_enabled()
    with torch.enable_grad():
        scores = scores if again else scores.detach().requires_grad_()
        visits = steps.moments(steps.centred(scores, lengths), lengths)[1]
        (product,) = torch.autograd.grad(visits, scores, direction, create_graph=True)
        (third,) = torch.autograd.grad(product, scores, gradient, create_graph=again)
    return third


def moments(scores: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return log Z [B] and the visit probabilities [B, N + 1, N + 1] of float64 charts, differentiable in any order."""
    result: tuple[Tensor, Tensor] = _Moments.apply(scores, lengths)  # type: ignore[no-untyped-call]
    return result


def best(scores: Tensor, lengths: Tensor) -> Tensor:
    """Return the trees with the highest sums of scores, ties to the leftmost split: int64 [B, N - 1, 2]."""
    cells, sizes = scores.detach().contiguous(), _arrays(lengths)
    longest = cells.shape[1] - 1
    trees = torch.empty(cells.shape[0], max(longest - 1, 0), 2, dtype=torch.int64)

    def work(first: int, last: int, scratch: NDArray[np.float64]) -> None:
        stack = np.empty(2 * longest + 2, np.int64)
        spantrees.best(cells.numpy(), sizes, first, last, scratch, stack, trees.numpy())

    _run(work, sizes, 2)
    return trees


def sample(scores: Tensor, lengths: Tensor, draws: Tensor) -> Tensor:
    """Return trees int64 [T, B, N - 1, 2] drawn by the uniform numbers `draws` float64 [T, B, N - 1]."""
    charts = compute(scores, lengths, with_charts=True)
    trees = torch.empty(*draws.shape, 2, dtype=torch.int64)
    stack = np.empty(2 * scores.shape[1], np.int64)
    spantrees.sample(
        charts.whole.numpy(), charts.below.numpy(), _arrays(lengths), draws.contiguous().numpy(), stack, trees.numpy()
    )
    return trees


#: Split laws of sentences up to this length are kept between the two passes of a divergence (16 n^3 / 6 bytes).
MOST_KEPT_WORDS = 100

#: The divergences that have a kernel, by its number.
DIVERGENCES = {"rkl": 0, "engine": 1, "js": 2, "js-naive": 3, "tvd": 4}


class _Divergence(torch.autograd.Function):
    """A divergence and its gradient with respect to the student's scores, both in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, lengths: Tensor, kind: str, weight: float, detach_visits: bool
    ) -> Tensor:
        q = compute(student, lengths, with_visits=True, with_charts=True)
        p = compute(teacher, lengths, with_visits=True, with_charts=True)
        sizes, needs_gradient = _arrays(lengths), bool(ctx.needs_input_grad[0])
        losses = torch.empty(student.shape[0], dtype=torch.float64)
        gradient = torch.empty(student.shape if needs_gradient else (0, 0, 0), dtype=torch.float64)

        longest = min(int(sizes.max(initial=0)), MOST_KEPT_WORDS)

        def work(first: int, last: int, scratch: NDArray[np.float64]) -> None:
            kept = np.empty((2, (longest + 1) * longest * (longest - 1) // 6))
            spandivergence.divergence(
                p.whole.numpy(), p.below.numpy(), p.visits.numpy(), q.whole.numpy(), q.below.numpy(), q.visits.numpy(),
                sizes, first, last, DIVERGENCES[kind], float(weight), bool(detach_visits), needs_gradient,
                scratch, kept, losses.numpy(), gradient.numpy(),
            )  # fmt: skip

        _run(work, sizes, 8)
        ctx.save_for_backward(gradient, student, teacher, lengths)
        ctx.how = (kind, weight, detach_visits)
        return losses

    @staticmethod
    def backward(ctx: Any, for_losses: Tensor) -> tuple[Tensor | None, ...]:
        gradient, student, teacher, lengths = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants higher derivatives
            gradient = _divergence_by_steps(teacher, student, lengths, for_losses, *ctx.how)
            return gradient, None, None, None, None, None
        return for_losses[:, None, None] * gradient, None, None, None, None, None


def _divergence_by_steps(
    teacher: Tensor, student: Tensor, lengths: Tensor, for_losses: Tensor, kind: str, weight: float, detach_visits: bool
) -> Tensor:
    """Return the gradient as a differentiable function of the student's scores, by widths and autograd."""
    from treeavg.distill.span_crf import SpanCRF
    from treeavg.distill.tree_divergences import DIVERGENCES as BY_STEPS
    from treeavg.distill.tree_divergences import Options

    p, q = (SpanCRF(scores, lengths, backend="steps") for scores in (teacher, student))
    losses = BY_STEPS[kind](p, q, Options(weight, detach_visits))
    (gradient,) = torch.autograd.grad(losses, student, for_losses, create_graph=True)
    return gradient


def divergence(
    kind: str, teacher: Tensor, student: Tensor, lengths: Tensor, weight: float, detach_visits: bool
) -> Tensor:
    """Return a divergence [B] of `DIVERGENCES` between two charts of scores, differentiable in the student's."""
    losses: Tensor = _Divergence.apply(  # type: ignore[no-untyped-call]
        student, teacher, lengths, kind, weight, detach_visits
    )
    return losses
