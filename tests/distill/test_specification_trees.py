"""Clauses of the exact tests of trees (the specification's H.12) over twenty seeds; finite differences of each loss."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import enumeration
import pytest
import torch
from enumeration import Enumerated
from torch import Tensor
from torch.autograd import gradcheck as slow_gradcheck
from tree_helpers import (
    GOLDEN_TREES,
    SEEDS,
    assert_close,
    enumerated,
    golden_hits,
    random_logits,
    random_scores,
    student_of,
)

import treeavg
from treeavg import DependencyTreebank
from treeavg.distill.dependency_crf import DependencyCRF
from treeavg.distill.dependency_losses import KINDS as ARC_KINDS
from treeavg.distill.dependency_losses import TeacherHeads, dependency_loss
from treeavg.distill.span_crf import SpanCRF, SplitModel
from treeavg.distill.tree_divergences import DIVERGENCES, Options
from treeavg.distill.tree_losses import KINDS, TreeTargets, tree_loss

seeds = pytest.mark.parametrize("seed", SEEDS)
both = pytest.mark.parametrize("name", ["steps", "split"])
WEIGHTS = (0.25, 0.5, 0.85)
gradcheck = partial(slow_gradcheck, fast_mode=True)  # along a random direction: all entries take ten times as long


def pair_of(name: str, seed: int, n: int) -> tuple[SpanCRF, Tensor, SpanCRF | SplitModel, list[Tensor]]:
    """A teacher, its scores, a student, and the leaves that it was made from."""
    scores = random_scores(seed + 1000, 1, n, 1.5)
    student, leaves = student_of(name, seed, n, 1.5)
    return SpanCRF(scores, torch.tensor([n]), backend="steps"), scores, student, leaves


def value(kind: str, teacher: object, student: object, weight: float = 0.5, detach: bool = False) -> Tensor:
    return DIVERGENCES[kind](teacher, student, Options(weight, detach))[0]  # type: ignore[arg-type]


def recursion(first: SpanCRF | SplitModel, second: SpanCRF | SplitModel, n: int) -> dict[tuple[int, int], Tensor]:
    """R of each span: the sum over splits of what is expected below (T.4)."""
    found = {(word, word + 1): torch.zeros((), dtype=torch.float64) for word in range(n)}
    for width in range(2, n + 1):
        for b in range(n - width + 1):
            law, other = first.split_laws[width - 2][0, b], second.split_laws[width - 2][0, b]
            below = torch.stack([found[b, j] + found[j, b + width] for j in range(b + 1, b + width)])
            found[b, b + width] = (law.exp() * (law - other + below)).sum()
    return found


# ------------------------------------------------------------------ values (H.12.2)


@seeds
@both
def test_recursion_and_bregman_form(name: str, seed: int) -> None:
    n = 3 + seed % 4
    with torch.no_grad():
        teacher, _, student, _ = pair_of(name, seed, n)
        assert_close(value("rkl", teacher, student), recursion(student, teacher, n)[0, n])
        assert_close(value("kl", teacher, student), recursion(teacher, student, n)[0, n])
        if isinstance(student, SpanCRF):
            moved = (teacher.visits * (teacher.potentials - student.potentials)).sum()
            assert_close(value("kl", teacher, student), (moved - teacher.log_partition + student.log_partition)[0])


@seeds
def test_factorisation(seed: int) -> None:
    """Every tree's probability is the product of its splits' laws, and they sum to one (H.12.1)."""
    n = 3 + seed % 4
    scores = random_scores(seed, 1, n)
    model, twin = SpanCRF(scores, torch.tensor([n]), backend="steps"), Enumerated.crf(scores[0], n)
    products = []
    for tree in enumeration.trees(0, n):
        steps = zip(tree, enumeration.splits(tree), strict=True)
        products.append(sum(float(model.split_laws[e - b - 2][0, b, j - b - 1]) for (b, e), j in steps))
    assert_close(torch.tensor(products, dtype=torch.float64), twin.log_p)
    assert_close(torch.tensor(products, dtype=torch.float64).exp().sum(), torch.ones((), dtype=torch.float64))


@seeds
@both
def test_swapping_and_sequences(name: str, seed: int) -> None:
    """p and q exchanged; pre-order splits, summed over all their prefixes, give the same numbers (H.12.5)."""
    n, weight = 4 + seed % 2, WEIGHTS[seed % 3]
    with torch.no_grad():
        teacher, scores, student, leaves = pair_of(name, seed, n)
        for one, other in (("kl", "rkl"), ("tvd-teacher", "tvd-student"), ("tvd", "tvd")):
            assert_close(value(one, teacher, student), value(other, student, teacher))
        for kind in ("js", "js-naive"):
            assert_close(value(kind, teacher, student, weight), value(kind, student, teacher, 1 - weight))
        p, q = Enumerated.crf(scores[0], n), enumerated(student, leaves, n)
        sums = enumeration.prefix_sums(p, q)
        names = {"kl": "kl", "rkl": "rkl", "tvd-teacher": "B_p", "tvd-student": "B_q", "js-naive": "js_token"}
        for kind, key in names.items():
            assert float(value(kind, teacher, student)) == pytest.approx(sums[key], abs=1e-10)
        assert float(enumeration.js(p, q)) == pytest.approx(sums["js"], abs=1e-10)


# ------------------------------------------------------------------ gradients (H.12.3)


@seeds
def test_gradients_of_crf_students(seed: int) -> None:
    """mu_q - mu_p; the covariance of a span with log q / p."""
    n = 3 + seed % 4
    teacher, scores, student, (leaf,) = pair_of("steps", seed, n)
    (slope,) = torch.autograd.grad(value("kl", teacher, student), leaf, retain_graph=True)
    assert_close(slope, (student.visits - teacher.visits).detach())
    (slope,) = torch.autograd.grad(value("rkl", teacher, student), leaf)
    with torch.no_grad():
        p, q = Enumerated.crf(scores[0], n), Enumerated.crf(leaf[0], n)
        ratio = q.log_p - p.log_p
        covariance = (q.p * ratio) @ enumeration.membership(n) - (q.p * ratio).sum() * q.visits.flatten()
    assert_close(slope[0].flatten(), covariance)


@seeds
def test_gradients_of_split_students(seed: int) -> None:
    """mu_p (q - p); the policy gradient mu_q q_j (A_j - R)."""
    n = 3 + seed % 4
    teacher, _, student, logits = pair_of("split", seed, n)
    forward = torch.autograd.grad(value("kl", teacher, student), logits, retain_graph=True)
    backward = torch.autograd.grad(value("rkl", teacher, student), logits)
    with torch.no_grad():
        below = recursion(student, teacher, n)
        for width in range(2, n + 1):
            for b in range(n - width + 1):
                e = b + width
                law, other = student.split_laws[width - 2][0, b], teacher.split_laws[width - 2][0, b]
                assert_close(forward[width - 2][0, b], teacher.visits[0, b, e] * (law.exp() - other.exp()))
                gains = law - other + torch.stack([below[b, j] + below[j, e] for j in range(b + 1, e)])
                expected = student.visits[0, b, e] * law.exp() * (gains - below[b, e])
                assert_close(backward[width - 2][0, b], expected)


@seeds
@both
def test_gradients_against_enumeration(name: str, seed: int) -> None:
    """Autograd of the sums over spans is autograd of all trees; detached visits keep the value only."""
    n, weight = 4, WEIGHTS[seed % 3]
    teacher, scores, student, leaves = pair_of(name, seed, n)
    p, q = Enumerated.crf(scores[0], n), enumerated(student, leaves, n)
    for kind, exact in (("kl", enumeration.kl(p, q)), ("rkl", enumeration.kl(q, p)),
                        ("js", enumeration.js(p, q, weight))):  # fmt: skip
        ours = value(kind, teacher, student, weight)  # at four words JS of spans is that of trees
        assert_close(ours, exact)
        found = [torch.autograd.grad(one, leaves, retain_graph=True) for one in (ours, exact)]
        for slope, twin in zip(*found, strict=True):
            assert_close(slope, twin)
    whole, greedy = (value("rkl", teacher, student, detach=detach) for detach in (False, True))
    assert_close(whole, greedy)
    apart = [torch.autograd.grad(one, leaves, retain_graph=True) for one in (whole, greedy)]
    assert max(float((one - other).abs().max()) for one, other in zip(*apart, strict=True)) > 1e-4


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ("steps", "split")
        for kind in KINDS
        if kind != "js-sampled" and (name, kind) != ("split", "span")
    ],
)
def test_finite_differences(name: str, kind: str) -> None:
    """Every loss but the sampled one, whose gradient is no derivative of its value; "span" is one of scores."""
    lengths, trees = torch.tensor([4]), torch.tensor(GOLDEN_TREES)[:, None]
    targets = TreeTargets(lengths, hits=golden_hits(), weight=3.0, average=trees[0], teachers=trees)

    def loss(*leaves: Tensor) -> Tensor:
        student = SplitModel(list(leaves), lengths) if name == "split" else SpanCRF(leaves[0], lengths, backend=name)
        return tree_loss(kind, student, targets)

    leaves = random_logits(3, 1, 4) if name == "split" else [random_scores(3, 1, 4)]
    assert gradcheck(loss, [leaf.requires_grad_() for leaf in leaves])


@pytest.mark.parametrize("projective", [False, True])
@pytest.mark.parametrize("kind", ARC_KINDS)
def test_finite_differences_of_dependencies(kind: str, projective: bool) -> None:
    banks = [DependencyTreebank.from_heads([heads]) for heads in ([2, 0, 2], [0, 1, 2], [2, 0, 2])]
    targets, lengths = TeacherHeads.of(banks).batch([0]), torch.tensor([3])
    assert gradcheck(
        lambda scores: dependency_loss(kind, DependencyCRF(scores, lengths, projective=projective), targets),
        random_scores(3, 1, 3).requires_grad_(),
    )


# ------------------------------------------------------------------ temperature (H.12.4)


@seeds
def test_temperature(seed: int) -> None:
    """Cold: the mode is the average tree and expected hits are the most there are; warmer, they only fall."""
    n, teachers = 6, 5
    lengths = torch.tensor([n])
    uniform = SpanCRF(torch.zeros(1, n + 1, n + 1), lengths, backend="steps")
    drawn = uniform.sample(teachers, generator=torch.Generator().manual_seed(seed))[:, 0].tolist()
    hits = torch.zeros(1, n + 1, n + 1, dtype=torch.float64)
    for tree in drawn:
        for begin, end in tree:
            hits[0, begin, end] += 1
    banks = [treeavg.Treebank.from_constituents([n], [[tuple(span) for span in tree]]) for tree in drawn]
    best = treeavg.average(banks)
    most = float(enumeration.total_scores(hits[0], n).max())
    cold = SpanCRF(hits, lengths, temperature=1e-2, backend="steps")
    mode = cold.argmax()[0].tolist()
    assert mode == [list(span) for span in zip(best.starts, best.ends, strict=True)]
    assert sum(float(hits[0, begin, end]) for begin, end in mode) == most
    assert float(cold.expected(hits)) == pytest.approx(most - teachers, abs=1e-10)  # whole sentences are not counted
    found = [float(SpanCRF(hits, lengths, temperature=tau, backend="steps").expected(hits))
             for tau in (1e-2, 0.1, 0.3, 1, 3, 10, 100)]  # fmt: skip
    assert all(later <= earlier + 1e-10 for earlier, later in pairwise(found))
    assert found[-1] < found[0] - 1e-3
