"""The compiled charts where numbers are large, small or many: both paths against each other and the textbook."""

from __future__ import annotations

import math

import enumeration
import pytest
import torch
from torch import Tensor
from tree_helpers import assert_close, random_scores

from treeavg.distill import compiled, steps
from treeavg.distill.span_crf import SpanCRF
from treeavg.distill.tree_divergences import DIVERGENCES, Options


def in_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "ALLOW_LINEAR", False)


def assert_textbook(scores: Tensor, lengths: Tensor, tolerance: float = 1e-10) -> Tensor:
    """Hold log Z and visits against cell-by-cell log-sum-exp; return the paths taken."""
    found = compiled.compute(scores, lengths, with_visits=True, with_charts=True)
    for sentence, n in enumerate(lengths.tolist()):
        if n == 0:
            continue
        cells = scores[sentence]
        expected = enumeration.inside(cells, n)[0, n]
        torch.testing.assert_close(found.log_partition[sentence], expected, rtol=1e-13, atol=tolerance)
        torch.testing.assert_close(found.visits[sentence], enumeration.visits(cells, n), rtol=tolerance, atol=tolerance)
    return found.paths


def forbid(scores: Tensor, share: float, seed: int) -> Tensor:
    """Give spans of two words or more a score of -1e9, but keep the right-branching tree."""
    generator = torch.Generator().manual_seed(seed)
    chosen = (torch.rand(scores.shape, generator=generator) < share).triu(2)
    chosen[:, :, -1] = False
    return scores.masked_fill(chosen, -1e9)


@pytest.mark.parametrize("seed", range(4))
def test_both_paths_are_the_textbook(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = torch.tensor([9, 7, 1, 2, 3])
    scores = random_scores(seed, 5, 9, 3.0)
    assert assert_textbook(scores, lengths).tolist() == [0] * 5
    linear = compiled.compute(scores, lengths, with_charts=True)
    in_logarithms(monkeypatch)
    assert assert_textbook(scores, lengths).tolist() == [1] * 5
    logarithms = compiled.compute(scores, lengths, with_charts=True)
    assert_close(linear.below, logarithms.below)
    assert_close(linear.whole, logarithms.whole)


@pytest.mark.parametrize(
    ("scale", "shift", "path", "tolerance"),
    [
        (0.0, 1e3, 0, 1e-8),  # a constant, however large, stays on the linear path
        (0.0, -1e5, 0, 1e-6),
        (1.0, 1e3, 0, 1e-8),
        (20.0, 0.0, 0, 1e-10),
        (1e3, 0.0, 1, 1e-8),
        (1e5, 0.0, 1, 1e-6),
    ],
)
def test_large_scores(scale: float, shift: float, path: int, tolerance: float) -> None:
    lengths = torch.tensor([8, 6])
    paths = assert_textbook(random_scores(1, 2, 8, scale) + shift, lengths, tolerance)
    assert paths.tolist() == [path] * 2


def test_forbidden_spans() -> None:
    """Scores of -1e9 forbid: no visits, the rest as it should be."""
    scores, lengths = forbid(random_scores(2, 3, 8), 0.4, 2), torch.tensor([8, 8, 8])
    paths = assert_textbook(scores, lengths, 1e-7)
    assert paths.tolist() == [1] * 3
    visits = compiled.compute(scores, lengths, with_visits=True).visits
    assert not visits[scores == -1e9].any()
    everything = torch.full((1, 9, 9), -1e9, dtype=torch.float64)
    log_partition = float(compiled.compute(everything, lengths[:1]).log_partition[0])
    assert log_partition == pytest.approx(math.log(429) - 15e9, abs=1e-4)


@pytest.mark.parametrize("logarithms", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_hessian(seed: int, logarithms: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products with the second derivatives are those of autograd through the textbook."""
    if logarithms:
        in_logarithms(monkeypatch)
    lengths = torch.tensor([8, 5, 3, 2, 1, 0])
    scores, directions = random_scores(seed, 6, 8, 2.0).requires_grad_(), random_scores(seed + 50, 6, 8)
    (found,) = torch.autograd.grad((SpanCRF(scores, lengths).visits * directions).sum(), scores)
    for sentence, n in enumerate(lengths.tolist()):
        if n > 2:
            expected = enumeration.hessian(scores[sentence], n, directions[sentence])
            assert_close(found[sentence], expected)
        else:
            assert not found[sentence].any()


def test_hessian_of_forbidden_spans() -> None:
    lengths = torch.tensor([7])
    scores = forbid(random_scores(2, 1, 7), 0.4, 2).requires_grad_()
    directions = random_scores(5, 1, 7)
    (found,) = torch.autograd.grad((SpanCRF(scores, lengths).visits * directions).sum(), scores)
    assert_close(found[0], enumeration.hessian(scores[0], 7, directions[0]), 1e-7)
    (of_entropy,) = torch.autograd.grad(SpanCRF(scores, lengths).entropy.sum(), scores)
    assert torch.isfinite(of_entropy).all()
    assert not of_entropy[scores.detach() == -1e9].any()


@pytest.mark.compiled
@pytest.mark.parametrize(("n", "scale"), [(30, 5.0), (60, 1.0), (200, 1.0), (200, 10.0), (500, 1.0)])
def test_long_sentences(n: int, scale: float) -> None:
    """Linear and logarithmic paths agree up to 500 words; visits add up."""
    scores, lengths = random_scores(n, 1, n, scale), torch.tensor([n])
    directions = random_scores(n + 1, 1, n)
    results = []
    for linear in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compiled, "ALLOW_LINEAR", linear)
            found = compiled.compute(scores, lengths, with_visits=True)
            leaves = scores.clone().requires_grad_()
            (product,) = torch.autograd.grad((SpanCRF(leaves, lengths).visits * directions).sum(), leaves)
            results.append((found.log_partition, found.visits, product))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)
    assert float(results[0][1].sum()) == pytest.approx(2 * n - 1, rel=1e-10)


@pytest.mark.compiled
def test_long_against_steps() -> None:
    """A second implementation agrees at 200 words."""
    scores, lengths = random_scores(1, 2, 200, 2.0), torch.tensor([200, 150])
    found = compiled.compute(scores, lengths, with_visits=True)
    log_partition, visits = steps.moments(steps.centred(scores, lengths), lengths)
    assert_close(found.log_partition, log_partition + steps.left_out(scores, lengths))
    assert_close(found.visits, visits, 1e-9)


@pytest.mark.compiled
@pytest.mark.parametrize("n", [40, 200])
def test_cold_hits(n: int) -> None:
    """Seven teachers at a temperature of 0.01: the visits are those of the best trees."""
    lengths = torch.tensor([n, n - 7])
    teachers = SpanCRF(torch.zeros(2, n + 1, n + 1), lengths).sample(7, generator=torch.Generator().manual_seed(n))
    hits = torch.zeros(2, n + 1, n + 1, dtype=torch.float64)
    for rows in teachers:
        for sentence in range(2):
            hits[sentence, rows[sentence, :, 0], rows[sentence, :, 1]] += 1
    hits = hits.triu(1)
    model = SpanCRF(hits, lengths, temperature=0.01)
    best = model.argmax()
    inner = hits * (torch.arange(n + 1) - torch.arange(n + 1)[:, None] != lengths[:, None, None])
    most = torch.stack([inner[s, best[s, :, 0], best[s, :, 1]].sum() for s in range(2)])
    torch.testing.assert_close(model.expected(hits), most, rtol=1e-9, atol=1e-6)
    assert_close(model.visits.sum((1, 2)), (2 * lengths - 1).double(), 1e-8)


@pytest.mark.compiled
def test_right_branching_by_large_margins() -> None:
    """Confident scores of a right-branching tree leave the linear range and come out right all the same."""
    n = 60
    scores = torch.full((1, n + 1, n + 1), -12.0, dtype=torch.float64)
    scores[0, :, n] = 12.0
    lengths = torch.tensor([n])
    found = compiled.compute(scores, lengths, with_visits=True)
    assert found.paths.tolist() == [1]
    log_partition, visits = steps.moments(steps.centred(scores, lengths), lengths)
    assert_close(found.log_partition, log_partition + steps.left_out(scores, lengths))
    assert_close(found.visits, visits)


@pytest.mark.compiled
def test_threads_change_nothing() -> None:
    """A batch that is cut into chunks for threads gives what its sentences give alone."""
    batch, n = 200, 40
    scores, lengths = random_scores(1, batch, n), torch.arange(batch) % 3 + n - 2
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        many = compiled.compute(scores, lengths, with_visits=True)
        trees = compiled.best(scores, lengths)
    finally:
        torch.set_num_threads(threads)
    for sentence in (0, 77, 199):
        alone = compiled.compute(scores[sentence : sentence + 1], lengths[sentence : sentence + 1], with_visits=True)
        assert torch.equal(many.log_partition[sentence], alone.log_partition[0])
        assert torch.equal(many.visits[sentence], alone.visits[0])
        assert torch.equal(
            trees[sentence], compiled.best(scores[sentence : sentence + 1], lengths[sentence : sentence + 1])[0]
        )


@pytest.mark.parametrize("logarithms", [False, True])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("weight", [0.5, 0.85, 0.2])
@pytest.mark.parametrize("kind", ["kl", "rkl", "engine", "js", "js-naive", "tvd", "tvd-teacher", "tvd-student"])
def test_divergences_against_steps(
    kind: str, weight: float, detach: bool, logarithms: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels and torch by width agree in values and gradients, on ragged batches with large scores."""
    if logarithms:
        in_logarithms(monkeypatch)
    lengths = torch.tensor([7, 0, 1, 2, 3, 5])
    teacher, student = random_scores(1, 6, 7, 5.0), random_scores(2, 6, 7, 5.0)
    found = []
    for backend in ("compiled", "steps"):
        leaves = student.clone().requires_grad_()
        p, q = (SpanCRF(scores, lengths, backend=backend) for scores in (teacher, leaves))
        losses = DIVERGENCES[kind](p, q, Options(weight, detach))
        (gradient,) = torch.autograd.grad((losses * torch.arange(1, 7)).sum(), leaves)
        found.append((losses.detach(), gradient))
    assert_close(found[0][0], found[1][0])
    assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("kind", ["rkl", "js"])
def test_laws_are_kept_or_computed_anew(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences too long for the stack between the passes get the same gradient."""
    lengths = torch.tensor([7, 4, 6])
    teacher = SpanCRF(random_scores(1, 3, 7), lengths)
    found = []
    for most in (100, 5, 0):
        monkeypatch.setattr(compiled, "MOST_KEPT_WORDS", most)
        leaves = random_scores(2, 3, 7).requires_grad_()
        DIVERGENCES[kind](teacher, SpanCRF(leaves, lengths), Options(detach_visits=True)).sum().backward()
        found.append(leaves.grad)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("kind", ["kl", "rkl", "js", "js-naive", "tvd"])
def test_divergences_far_apart(kind: str) -> None:
    """Distributions without a common tree: finite numbers, Jensen-Shannon at least log 2, variation at least 1."""
    lengths = torch.tensor([6])
    teacher, student = random_scores(3, 1, 6, 1e4), random_scores(4, 1, 6, 1e4).requires_grad_()
    losses = DIVERGENCES[kind](SpanCRF(teacher, lengths), SpanCRF(student, lengths), Options())
    (gradient,) = torch.autograd.grad(losses.sum(), student)
    assert torch.isfinite(losses).all()
    assert torch.isfinite(gradient).all()
    least = {"js": 0.6931, "js-naive": 0.6931, "tvd": 1.0}.get(kind, 100.0)
    assert float(losses.detach()) >= least


def test_equal_distributions() -> None:
    """Every divergence of a distribution from itself is zero, and so is its gradient."""
    lengths = torch.tensor([6, 4])
    scores = random_scores(3, 2, 6, 2.0)
    for kind in ("kl", "rkl", "js", "js-naive", "tvd"):
        leaves = scores.clone().requires_grad_()
        losses = DIVERGENCES[kind](SpanCRF(scores, lengths), SpanCRF(leaves, lengths), Options())
        (gradient,) = torch.autograd.grad(losses.sum(), leaves)
        assert_close(losses.detach(), torch.zeros(2, dtype=torch.float64))
        if kind != "tvd":
            assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("kind", ["rkl", "engine", "js", "js-naive", "tvd"])
@pytest.mark.parametrize("detach", [False, True])
def test_second_derivatives_of_divergences(kind: str, detach: bool) -> None:
    """The kernels' gradients can be differentiated again: that goes by widths."""
    lengths = torch.tensor([5, 3])
    found = []
    for backend in ("compiled", "steps"):
        teacher = SpanCRF(random_scores(1, 2, 5), lengths, backend=backend)
        leaves = random_scores(2, 2, 5).requires_grad_()
        losses = DIVERGENCES[kind](teacher, SpanCRF(leaves, lengths, backend=backend), Options(0.4, detach))
        (first,) = torch.autograd.grad(losses.sum(), leaves, create_graph=True)
        first.square().sum().backward()
        found.append(leaves.grad)
    assert_close(*found)
    assert found[0].any()
