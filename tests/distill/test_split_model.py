"""The locally normalised model against enumeration, and what it refuses."""

from __future__ import annotations

import math

import enumeration
import pytest
import torch
from enumeration import Enumerated
from tree_helpers import SEEDS, assert_close, random_logits, random_scores

from treeavg.distill.span_crf import SpanCRF, SplitModel
from treeavg.errors import ArgumentError

LENGTHS = torch.tensor([6, 0, 1, 2, 3, 4, 5])


def cut(logits: list[torch.Tensor], sentence: int, n: int) -> list[torch.Tensor]:
    """One sentence's logits without what stands past its end."""
    return [cells[sentence, : n - width + 1] for width, cells in enumerate(logits, 2) if width <= n]


@pytest.mark.parametrize("seed", SEEDS)
def test_against_enumeration(seed: int) -> None:
    logits = [cells.requires_grad_() for cells in random_logits(seed, len(LENGTHS), 6, 1 + seed % 3)]
    model = SplitModel(logits, LENGTHS)
    visits, entropy, best = model.visits, model.entropy, model.argmax()
    hits = random_scores(seed, len(LENGTHS), 6)
    assert model.log_partition.tolist() == [0.0] * len(LENGTHS)
    for sentence, n in enumerate(LENGTHS.tolist()):
        if n == 0:
            assert not visits[sentence].any()
            assert float(entropy[sentence].detach()) == 0
            continue
        twin = Enumerated.local(cut(logits, sentence, n), n)
        assert_close(twin.p.sum().detach(), torch.ones((), dtype=torch.float64))
        assert_close(visits[sentence, : n + 1, : n + 1], twin.visits)
        assert_close(visits[sentence].sum().detach(), torch.tensor(2.0 * n - 1).double())
        assert_close(entropy[sentence], twin.entropy)
        inner = [(b, e) for b, e in enumeration.spans(n) if e - b < n]
        expected = sum((twin.visits[b, e] * hits[sentence, b, e] for b, e in inner), torch.zeros(()).double())
        assert_close(model.expected(hits)[sentence], expected)
        for begin, end in enumeration.spans(n):
            assert_close(model.split_laws[end - begin - 2][sentence, begin].exp(), twin.law(begin, end))
        place = enumeration.trees(0, n).index(tuple((b, e) for b, e in best[sentence].tolist() if e))
        assert float(twin.log_p[place].detach()) == pytest.approx(float(twin.log_p.max().detach()), abs=1e-10)
        assert_close(model.log_prob(best)[sentence], twin.log_p[place])
    weights = random_scores(seed + 7, len(LENGTHS), 6)
    ours = torch.autograd.grad((visits * weights).sum() + entropy.sum(), logits)
    parts = []
    for sentence, n in enumerate(LENGTHS.tolist()):
        if n > 1:
            twin = Enumerated.local(cut(logits, sentence, n), n)
            parts.append((twin.visits * weights[sentence, : n + 1, : n + 1]).sum() + twin.entropy)
    for actual, expected in zip(ours, torch.autograd.grad(torch.stack(parts).sum(), logits), strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("seed", range(5))
def test_a_crf_is_a_split_model(seed: int) -> None:
    """With its split laws as logits, the split model is the CRF (T.2)."""
    lengths = torch.tensor([6, 4, 1])
    crf = SpanCRF(random_scores(seed, 3, 6), lengths)
    model = SplitModel(crf.split_laws, lengths)
    assert_close(model.visits, crf.visits)
    assert_close(model.entropy, crf.entropy)
    assert torch.equal(model.argmax(), crf.argmax())
    assert torch.equal(model.mbr(), crf.mbr())
    draws = [m.sample(5, generator=torch.Generator().manual_seed(seed)) for m in (model, crf)]
    assert torch.equal(*draws)
    assert_close(model.log_prob(draws[0]), crf.log_prob(draws[0]))


def test_sampling_frequencies() -> None:
    model = SplitModel(random_logits(1, 1, 6), torch.tensor([6]))
    count = 2000
    trees = model.sample(count, generator=torch.Generator().manual_seed(5))[:, 0]
    for begin, end in enumeration.spans(6):
        share = float(((trees[..., 0] == begin) & (trees[..., 1] == end)).any(1).double().mean())
        p = float(model.visits[0, begin, end])
        assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / count) + 1e-12


def test_outside_is_ignored() -> None:
    """NaN past a sentence's end changes nothing and gets no gradient."""
    logits = random_logits(2, 2, 5)
    lengths = torch.tensor([5, 3])
    spoiled = [cells.clone() for cells in logits]
    for width, cells in enumerate(spoiled, 2):
        cells[1, max(3 - width + 1, 0) :] = math.nan
        cells.requires_grad_()
    model, clean = SplitModel(spoiled, lengths), SplitModel(logits, lengths)
    assert_close(model.visits.detach(), clean.visits)
    (model.entropy.sum() + model.log_prob(model.argmax()).sum()).backward()
    for width, cells in enumerate(spoiled, 2):
        assert torch.isfinite(cells.grad).all()
        assert not cells.grad[1, max(3 - width + 1, 0) :].any()


@pytest.mark.parametrize("lengths", [[0], [1], [0, 1, 1], []])
def test_no_splits(lengths: list[int]) -> None:
    model = SplitModel([], torch.tensor(lengths, dtype=torch.int64))
    batch = len(lengths)
    assert model.visits.sum((1, 2)).tolist() == [float(n) for n in lengths]
    assert model.entropy.tolist() == [0.0] * batch
    for trees in (model.argmax(), model.mbr(), model.sample(1)[0]):
        assert trees.shape == (batch, 0, 2)
        assert model.log_prob(trees).tolist() == [0.0] * batch


def test_types() -> None:
    logits = [cells.half() for cells in random_logits(1, 1, 4)]
    model = SplitModel(logits, torch.tensor([4]))
    assert model.entropy.dtype == model.visits.dtype == model.split_laws[0].dtype == torch.float32
    assert repr(model) == "SplitModel(1 sentences, up to 4 words)"


def test_refused() -> None:
    logits = random_logits(1, 2, 4)
    lengths = torch.tensor([4, 3])
    with pytest.raises(
        ArgumentError, match=r"logits\[1\]: expected a floating tensor \(2, 2, 2\) for spans of 3 words"
    ):
        SplitModel([logits[0], logits[1][:, :1], logits[2]], lengths)
    with pytest.raises(ArgumentError, match=r"logits\[0\]: expected a floating tensor .* got torch\.int64"):
        SplitModel([logits[0].long(), *logits[1:]], lengths)
    with pytest.raises(ArgumentError, match=r"logits\[0\]: expected a floating tensor .* got None"):
        SplitModel([None, *logits[1:]], lengths)  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match=r"lengths\[0\]: expected 0 to 3, got 4\."):
        SplitModel(logits[:2], lengths)
    with pytest.raises(ArgumentError, match=r"lengths: expected int64 \(B,\), got \[4, 3\]"):
        SplitModel(logits, [4, 3])  # type: ignore[arg-type]
    logits[1][1, 0, 1] = math.nan
    message = r"logits\[1\]\[1, 0, 1\]: expected finite numbers .* got nan for the split 2 of the span \(0, 3\)"
    with pytest.raises(ArgumentError, match=message):
        SplitModel(logits, lengths)
    with pytest.raises(ArgumentError, match=r"trees\[0\]: expected the 2 spans of a binary tree"):
        SplitModel(random_logits(1, 1, 3), torch.tensor([3])).log_prob(torch.tensor([[[0, 3], [0, 0]]]))
