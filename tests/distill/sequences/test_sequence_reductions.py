"""Reductions: by hand, independent of micro-batches and padding, connected where nothing counts, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import Tensor

from treeavg.distill.sequences.align import Completions, align, completions, prompts
from treeavg.distill.sequences.losses.divergences import KINDS, sequence_loss, sequence_nll
from treeavg.distill.sequences.losses.fused import fused_loss, head_of
from treeavg.distill.sequences.reductions import REDUCTIONS, reduce, weights
from treeavg.errors import ArgumentError

LOSSES = torch.tensor([[1.0, 2.0, 4.0], [8.0, math.nan, math.nan], [math.nan, math.nan, math.nan]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()


def test_by_hand() -> None:
    assert float(reduce(LOSSES, MASK)) == 15 / 4
    assert float(reduce(LOSSES, MASK, reduction="sequence")) == 5
    assert float(reduce(LOSSES, MASK, reduction="sequence_mean")) == pytest.approx((7 / 3 + 8) / 3)
    assert reduce(LOSSES, MASK, reduction="none").tolist() == [[1, 2, 4], [8, 0, 0], [0, 0, 0]]
    assert float(reduce(LOSSES, MASK, n_items=10)) == pytest.approx(1.5)
    assert float(reduce(LOSSES, MASK, n_items=torch.tensor(10), world_size=2)) == pytest.approx(3)
    assert float(reduce(LOSSES, MASK, n_items=0)) == 15
    assert float(reduce(LOSSES, MASK, n_items=torch.tensor(0))) == 15
    assert float(reduce(LOSSES, MASK, reduction="sequence", n_items=5)) == 3
    assert float(reduce(LOSSES, MASK, reduction="sequence_mean", n_items=6)) == pytest.approx((7 / 3 + 8) / 6)


def test_many_tokens_in_half_types() -> None:
    """The mean of 3,001 ones is 1: bfloat16 knows neither their number nor their sum."""
    for dtype in (torch.bfloat16, torch.float16):
        found = reduce(torch.ones(1, 3001, dtype=dtype), torch.ones(1, 3001, dtype=torch.bool))
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_weights_are_the_gradient(name: str) -> None:
    losses = LOSSES.nan_to_num(3.0).requires_grad_()
    reduce(losses, MASK, reduction=name).sum().backward()
    torch.testing.assert_close(weights(MASK, reduction=name), losses.grad)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_nothing_counts(name: str) -> None:
    """Zero, in the graph, also of what is connected and holds NaN; and of no row at all."""
    losses, other = LOSSES.clone().requires_grad_(), torch.full((2, 2), math.nan, requires_grad=True)
    found = reduce(losses, torch.zeros_like(MASK), reduction=name, connected=[other]).sum()
    found.backward()
    assert found.item() == 0
    assert losses.grad.tolist() == torch.zeros(3, 3).tolist()
    assert other.grad.tolist() == [[0, 0], [0, 0]]
    assert float(reduce(torch.zeros(0, 3), MASK[:0], reduction=name).sum()) == 0


# ------------------------------------------------------------------ models


def ragged(model: object, pad_left: int = 0, pad_right: int = 0, rows: slice = slice(None)) -> tuple:
    """Prompts and completions of three sizes, with extra padding."""
    causal = not model.config.is_encoder_decoder
    end = model.config.eos_token_id
    inputs = [[5, 6, 7], [8], [9, 10]][rows]
    outputs = [[11, end], [12, 3, 4, 6, end], [2, 2, 6]][rows]
    batch = prompts([*inputs, [5] * (3 + pad_left)], pad=0, side="left" if causal else "right")
    batch = type(batch)(batch.ids[:-1], batch.attention[:-1])
    width = 5 + pad_right
    ids = torch.tensor([row + [end] * (width - len(row)) for row in outputs])
    return batch, completions(ids, [end], lengths=torch.tensor([len(row) for row in outputs]))


def gradients(model: object) -> list[Tensor]:
    found = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    return found


def loss_of(kind: str, teacher: object, student: object, items: tuple, n_items: float | None = None) -> Tensor:
    aligned = align(student, *items)
    if kind == "nll":
        return sequence_nll(aligned.scores, aligned.ids, aligned.mask, n_items=n_items)
    with torch.no_grad():
        scores = align(teacher, *items).scores
    return sequence_loss(kind, scores, aligned.scores, aligned.mask, n_items=n_items)


@pytest.mark.parametrize("make", [tiny_causal, tiny_seq2seq])
@pytest.mark.parametrize("kind", ["nll", "js", "rkl"])
def test_micro_batches_and_padding(make: object, kind: str) -> None:
    """One loss and one gradient, however a ragged batch is split and padded (H.0.3)."""
    teacher, student = make(1).double().eval(), make(2).double().eval()
    total = loss_of(kind, teacher, student, ragged(student))
    total.backward()
    expected = gradients(student)
    for pads in ((2, 0), (0, 3), (3, 2)):
        padded = loss_of(kind, teacher, student, ragged(student, *pads))
        padded.backward()
        torch.testing.assert_close(padded, total, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(gradients(student), expected, rtol=1e-9, atol=1e-10)
    split = torch.zeros((), dtype=torch.float64)
    for rows in (slice(0, 1), slice(1, 3)):
        part = loss_of(kind, teacher, student, ragged(student, rows=rows), n_items=10)
        part.backward()
        split += part.detach()
    torch.testing.assert_close(split, total.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients(student), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("form", ["dense", "fused"])
@pytest.mark.parametrize(("make", "side"), [(tiny_causal, "left"), (tiny_seq2seq, "right")])
def test_all_masked(make: object, side: str, form: str) -> None:
    """Zero, and every weight of the model gets a zero gradient (H.0.5)."""
    student = make(1)
    ids = torch.tensor([[3, 2], [4, 5]])
    nothing = Completions(ids, torch.zeros(2, 2, dtype=torch.bool), torch.tensor([True, True]))
    batch = prompts([[5, 6], [7]], pad=0, side=side)
    for kind in KINDS:
        if form == "dense":
            scores = align(student, batch, nothing).scores
            loss = sequence_loss(kind, scores.detach(), scores, nothing.mask)
        else:
            hidden, head = align(student, batch, nothing, output="hidden").scores, head_of(student)
            loss = fused_loss(kind, hidden, head, hidden.detach(), head, nothing.mask)
        loss.backward()
        assert loss.item() == 0
        for name, weight in student.named_parameters():
            assert weight.grad is not None, name
            assert float(weight.grad.abs().sum()) == 0
        student.zero_grad()


def test_messages() -> None:
    with pytest.raises(
        ArgumentError, match=r"reduction: expected one of 'token', .* got 'tokens'\. Did you mean 'token'"
    ):
        reduce(LOSSES, MASK, reduction="tokens")
    with pytest.raises(ArgumentError, match=r"mask: expected bool of shape \(3, 3\), got torch\.float32 of shape"):
        reduce(LOSSES, MASK.float())
    with pytest.raises(
        ArgumentError, match=r"mask: expected bool of shape \(3, 3\), got torch\.bool of shape \(3, 2\)"
    ):
        reduce(LOSSES, MASK[:, :2])
    for items in (-1, math.inf, math.nan, "2"):
        with pytest.raises(ArgumentError, match=r"n_items: expected a number of items, got"):
            reduce(LOSSES, MASK, n_items=items)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"n_items: expected one number, got a tensor of shape \(2,\)"):
        reduce(LOSSES, MASK, n_items=torch.ones(2))
    with pytest.raises(ArgumentError, match=r"n_items: expected None with reduction='none', which divides by nothing"):
        reduce(LOSSES, MASK, reduction="none", n_items=3)
    with pytest.raises(ArgumentError, match=r"n_items: expected the number of items of all 2 processes, got None"):
        reduce(LOSSES, MASK, world_size=2)
    with pytest.raises(ArgumentError, match=r"world_size: expected a number of processes, got 0"):
        reduce(LOSSES, MASK, world_size=0)
