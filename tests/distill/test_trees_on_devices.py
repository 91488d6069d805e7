"""Steps by width on other devices: nothing is read back (seen on the meta device), and CUDA gives the CPU's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from tree_helpers import random_logits, random_scores

from treeavg.distill.span_crf import SpanCRF, SplitModel
from treeavg.distill.tree_losses import KINDS, TreeTargets, tree_loss
from treeavg.errors import ArgumentError

pytestmark = pytest.mark.compiled  # torch alone: once is enough, not in the suite's modes without the compiler

LENGTHS = torch.tensor([7, 0, 1, 2, 3, 5])
Student = SpanCRF | SplitModel


def targets() -> TreeTargets:
    trees = SpanCRF(torch.zeros(6, 8, 8), LENGTHS).sample(4, generator=torch.Generator().manual_seed(1))
    hits = torch.zeros(6, 8, 8, dtype=torch.float64)
    for tree in trees:
        for sentence in range(6):
            hits[sentence, tree[sentence, :, 0], tree[sentence, :, 1]] += 1
    hits = hits.triu(1)
    return TreeTargets(LENGTHS, hits=hits, weight=4.0, average=SpanCRF(hits, LENGTHS).argmax(), teachers=trees)


def student_on(device: str, name: str) -> tuple[Student, list[Tensor]]:
    lengths = LENGTHS.to(device)
    if name == "split":
        leaves = [cells.to(device).requires_grad_() for cells in random_logits(2, 6, 7)]
        return SplitModel(leaves, lengths), leaves
    leaves = [random_scores(2, 6, 7).to(device).requires_grad_()]
    return SpanCRF(leaves[0], lengths, backend="steps"), leaves


def everything(student: Student, leaves: list[Tensor], chart: Tensor, trees: Tensor) -> list[Tensor]:
    """All results of a distribution, first and second derivatives included."""
    results = [
        student.log_partition, student.visits, student.entropy, student.expected(chart), student.log_prob(trees),
        student.argmax(), student.mbr(), student.sample(3)[0], *student.split_laws,
    ]  # fmt: skip
    first = torch.autograd.grad(student.entropy.sum() + student.visits.square().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(part.square().sum() for part in first), leaves, retain_graph=True)
    return [*results, *first, *second]


def kinds(name: str) -> list[str]:
    return [kind for kind in KINDS if not (kind == "span" and name == "split")]


@pytest.mark.parametrize("name", ["steps", "split"])
def test_nothing_is_read_back(name: str) -> None:
    """On the meta device any look at a value raises: so none is taken where the device would have to be waited for."""
    student, leaves = student_on("meta", name)
    goal = targets().to("meta")
    assert goal.hits is not None
    assert goal.average is not None
    shapes = [tuple(value.shape) for value in everything(student, leaves, goal.hits, goal.average)]
    here, here_leaves = student_on("cpu", name)
    trees = SpanCRF(torch.zeros(6, 8, 8), LENGTHS).argmax()
    assert shapes == [tuple(value.shape) for value in everything(here, here_leaves, torch.zeros(6, 8, 8), trees)]
    for kind in kinds(name):
        for detach in (False, True):
            loss = tree_loss(kind, student, goal, detach_visits=detach, samples=2)
            assert loss.shape == ()
            torch.autograd.grad(loss, leaves, retain_graph=True)


def test_targets_elsewhere() -> None:
    with pytest.raises(
        ArgumentError, match=r"targets\.hits: expected a tensor on meta, .* got one on cpu\. Use targets\.to"
    ):
        tree_loss("kl", student_on("meta", "steps")[0], targets())


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise where the host waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", ["steps", "split"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cuda(name: str, dtype: torch.dtype) -> None:
    """On CUDA, without waiting for the device: the CPU's numbers."""
    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    here, here_leaves = student_on("cpu", name)
    there_leaves = [leaf.detach().to("cuda", dtype).requires_grad_() for leaf in here_leaves]
    goal, far_goal, lengths = targets(), targets().to("cuda"), LENGTHS.cuda()
    assert goal.hits is not None
    assert goal.average is not None
    assert far_goal.hits is not None
    assert far_goal.average is not None
    with no_waiting():
        there: Student = SplitModel(there_leaves, lengths) if name == "split" else SpanCRF(there_leaves[0], lengths)
        found = everything(there, there_leaves, far_goal.hits, far_goal.average)
        losses = {kind: tree_loss(kind, there, far_goal) for kind in kinds(name)}
        gradients = {kind: torch.autograd.grad(loss, there_leaves, retain_graph=True) for kind, loss in losses.items()}
    expected = everything(here, here_leaves, goal.hits, goal.average)
    for place, (actual, wanted) in enumerate(zip(found, expected, strict=True)):
        if place != 7:  # samples
            torch.testing.assert_close(actual.cpu().double(), wanted.double(), rtol=tolerance, atol=tolerance)
    for kind in kinds(name):
        if kind != "js-sampled":
            loss = tree_loss(kind, here, goal)
            torch.testing.assert_close(losses[kind].cpu().double(), loss, rtol=tolerance, atol=tolerance)
            wanted = torch.autograd.grad(loss, here_leaves, retain_graph=True)
            for actual, exact in zip(gradients[kind], wanted, strict=True):
                torch.testing.assert_close(actual.cpu().double(), exact, rtol=tolerance, atol=tolerance)
