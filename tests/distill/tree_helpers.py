"""Random scores, and golden T of the specification."""

from __future__ import annotations

import enumeration
import pytest
import torch
from torch import Tensor

from treeavg.distill.span_crf import SpanCRF, SplitModel

BACKENDS = ("compiled", "steps")
STUDENTS = (*BACKENDS, "split")


def each(names: tuple[str, ...]) -> list[object]:
    """Return kinds of students as parameters; but for the kernels' own, not in the modes without the compiler."""
    return [name if name == "compiled" else pytest.param(name, marks=pytest.mark.compiled) for name in names]


SEEDS = range(20)

#: Golden T: ((1 2) (3 4)) twice, (1 (2 (3 4))) once.
GOLDEN_TREES = [[(0, 4), (0, 2), (2, 4)], [(0, 4), (0, 2), (2, 4)], [(0, 4), (1, 4), (2, 4)]]


def golden_hits() -> Tensor:
    hits = torch.zeros(1, 5, 5, dtype=torch.float64)
    for tree in GOLDEN_TREES:
        for begin, end in tree:
            hits[0, begin, end] += 1
    return hits


def random_scores(
    seed: int, batch: int, longest: int, scale: float = 1.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, longest + 1, longest + 1, generator=generator, dtype=torch.float64).to(dtype)


def random_logits(seed: int, batch: int, longest: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        scale * torch.randn(batch, longest - width + 1, width - 1, generator=generator, dtype=torch.float64)
        for width in range(2, longest + 1)
    ]


def student_of(name: str, seed: int, n: int, scale: float = 1.0) -> tuple[SpanCRF | SplitModel, list[Tensor]]:
    """A student on one sentence, and the leaves it was made from."""
    lengths = torch.tensor([n])
    if name == "split":
        logits = [cells.requires_grad_() for cells in random_logits(seed, 1, n, scale)]
        return SplitModel(logits, lengths), logits
    scores = random_scores(seed, 1, n, scale).requires_grad_()
    return SpanCRF(scores, lengths, backend=name), [scores]


def enumerated(student: SpanCRF | SplitModel, leaves: list[Tensor], n: int) -> enumeration.Enumerated:
    """The same distribution by enumeration, as a function of the same leaves."""
    if isinstance(student, SplitModel):
        return enumeration.Enumerated.local([cells[0] for cells in leaves], n)
    return enumeration.Enumerated.crf(leaves[0][0], n)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
