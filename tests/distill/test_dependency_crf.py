"""Distributions over dependency trees against the list of all trees."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch
from dependency_twins import SPACES, arc_law, law, tree_scores, trees
from torch import Tensor

from treeavg import DependencyTreebank, average
from treeavg.distill.dependency_crf import DependencyCRF
from treeavg.distill.dependency_decoding import best_heads, is_tree
from treeavg.errors import ArgumentError

#: Looks at torch alone, so once is enough: not in the suite's modes without the compiler.
no_kernels = pytest.mark.compiled
SIZES = range(1, 6)
CHART = torch.zeros(1, 3, 3)


def scores_of(n: int, seed: int, scale: float = 2.0, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, n + 1, n + 1, generator=generator, dtype=torch.float64)


def crf_of(scores: Tensor, space: tuple[bool, bool], *lengths: int, temperature: float = 1.0) -> DependencyCRF:
    """All sentences have all words unless lengths are given."""
    sizes = torch.tensor(lengths or [scores.shape[1] - 1] * len(scores))
    return DependencyCRF(scores, sizes, projective=space[0], multi_root=space[1], temperature=temperature)


@no_kernels
def test_numbers_of_trees() -> None:
    """With equal scores Z counts trees, which is known: of any shape n^(n-1), with several roots (n+1)^(n-1)."""
    counts = {
        space: [crf_of(torch.zeros(1, n + 1, n + 1).double(), space).log_partition.exp() for n in SIZES]
        for space in SPACES
    }
    expected = {
        (True, False): [1, 2, 7, 30, 143],
        (True, True): [1, 3, 12, 55, 273],
        (False, False): [n ** (n - 1) for n in SIZES],
        (False, True): [(n + 1) ** (n - 1) for n in SIZES],
    }
    for space, numbers in counts.items():
        assert torch.cat(numbers).tolist() == pytest.approx(expected[space], rel=1e-12)
        assert [len(trees(n, *space)) for n in SIZES] == expected[space]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("n", SIZES)
def test_against_all_trees(space: tuple[bool, bool], n: int) -> None:
    """Log Z, probabilities of arcs and trees, entropy, expectations and decoding agree with the list of all trees."""
    listed = torch.tensor(trees(n, *space))
    for seed in range(4):
        scores = scores_of(n, seed)
        crf, logs, sums = crf_of(scores, space), law(scores[0], n, *space), tree_scores(scores[0], n, *space)
        arcs = arc_law(logs, n, *space)
        other = scores_of(n, 100 + seed)
        torch.testing.assert_close(crf.log_partition[0], sums.logsumexp(0))
        torch.testing.assert_close(crf.marginals[0], arcs, atol=1e-12, rtol=0)
        torch.testing.assert_close(crf.marginals.sum(1)[0, 1:], torch.ones(n).double())
        torch.testing.assert_close(crf.entropy[0], -(logs.exp() * logs).sum(), atol=1e-12, rtol=0)
        torch.testing.assert_close(crf.expected(other)[0], (logs.exp() * tree_scores(other[0], n, *space)).sum())
        torch.testing.assert_close(crf.log_prob(listed[:, None])[:, 0], logs)
        assert crf.argmax()[0].tolist() == listed[sums.argmax()].tolist()
        hits = tree_scores(arcs, n, *space)
        assert hits[(listed == crf.mbr()[0]).all(1)].item() == pytest.approx(hits.max().item())


@no_kernels
@pytest.mark.parametrize("space", SPACES)
def test_divergence_against_all_trees(space: tuple[bool, bool]) -> None:
    """KL both ways, and its gradients, are those of the explicit sums: also through the probabilities of arcs."""
    for n in SIZES:
        p, q = scores_of(n, n), scores_of(n, n + 50)
        for teacher, student, forward in ((p, q, True), (q, p, False)):
            student = student.clone().requires_grad_()
            one, other = crf_of(teacher, space), crf_of(student, space)
            value = (one.kl(other) if forward else other.kl(one))[0]
            explicit_p, explicit_q = law(teacher[0], n, *space), law(student[0], n, *space)
            first, second = (explicit_p, explicit_q) if forward else (explicit_q, explicit_p)
            expected = (first.exp() * (first - second)).sum()
            torch.testing.assert_close(value, expected, atol=1e-11, rtol=1e-11)
            ours, twin = torch.autograd.grad(value, student)[0], torch.autograd.grad(expected, student)[0]
            torch.testing.assert_close(ours, twin, atol=1e-10, rtol=1e-9)
            with torch.no_grad():
                difference = other.marginals - one.marginals
            if forward:
                torch.testing.assert_close(ours, difference, atol=1e-11, rtol=0)
        assert crf_of(p, space).kl(crf_of(p, space)).abs().max() < 1e-12


@no_kernels
@pytest.mark.parametrize("space", SPACES)
def test_derivatives(space: tuple[bool, bool]) -> None:
    """First and second derivatives agree with differences, for ragged lengths."""

    def partition(scores: Tensor) -> Tensor:
        return crf_of(scores, space, 4, 1, 0, 3).log_partition

    def entropy(scores: Tensor) -> Tensor:
        return crf_of(scores, space, 4, 1, 0, 3).entropy

    scores = scores_of(4, 7, batch=4).requires_grad_()
    assert torch.autograd.gradcheck(partition, scores)
    assert torch.autograd.gradgradcheck(partition, scores)
    assert torch.autograd.gradcheck(entropy, scores)


@pytest.mark.parametrize("space", SPACES)
def test_padding(space: tuple[bool, bool]) -> None:
    """What stands outside a sentence's arcs changes nothing and gets no gradient; each sentence is as if alone."""
    lengths = [3, 0, 1, 5]
    clean = scores_of(5, 3, batch=4)
    dirty = torch.full((4, 8, 8), torch.nan).double()
    dirty[:, :6, :6] = clean
    nodes = torch.arange(8)
    for row, n in enumerate(lengths):
        outside = (nodes[:, None] > n) | (nodes > n) | (nodes == 0) | (nodes[:, None] == nodes)
        dirty[row][outside] = torch.inf
    dirty.requires_grad_()
    crf = crf_of(dirty, space, *lengths)
    alone = [crf_of(clean[row : row + 1, : n + 1, : n + 1], space) for row, n in enumerate(lengths)]
    for row, (n, own) in enumerate(zip(lengths, alone, strict=True)):
        for name in ("log_partition", "entropy"):
            torch.testing.assert_close(getattr(crf, name)[row], getattr(own, name)[0], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(crf.marginals[row, : n + 1, : n + 1], own.marginals[0], atol=1e-12, rtol=0)
        assert crf.argmax()[row].tolist() == own.argmax()[0].tolist() + [0] * (7 - n)
    (crf.log_partition + crf.entropy).sum().backward()
    assert dirty.grad is not None
    assert dirty.grad.isfinite().all()
    for row, n in enumerate(lengths):
        assert dirty.grad[row, n + 1 :].abs().sum() == dirty.grad[row, :, n + 1 :].abs().sum() == 0
        assert dirty.grad[row, :, 0].abs().sum() == dirty.grad[row].diagonal().abs().sum() == 0
    torch.testing.assert_close(crf.log_prob(torch.full((4, 7), -5))[1], torch.tensor(0.0).double())


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e6])
def test_large_scores(space: tuple[bool, bool], scale: float) -> None:
    """Scores of any size give what the list gives, and finite derivatives, also where a cycle is much preferred."""
    scores = scores_of(4, 11, scale=scale, batch=3)
    scores[1, 1, 2] = scores[1, 2, 1] = 10 * scale  # a cycle
    scores[2, 0] += 10 * scale  # many roots
    scores.requires_grad_()
    crf = crf_of(scores, space)
    for row in range(3):
        sums = tree_scores(scores.detach()[row], 4, *space)
        torch.testing.assert_close(crf.log_partition[row].detach(), sums.logsumexp(0), rtol=1e-12, atol=1e-9)
        torch.testing.assert_close(
            crf.marginals[row].detach(), arc_law(sums.log_softmax(0), 4, *space), atol=1e-8, rtol=0
        )
    (first,) = torch.autograd.grad((crf.entropy + crf.log_partition).sum(), scores)
    assert first.isfinite().all()
    assert [tuple(row) for row in crf.argmax().tolist()] == [
        trees(4, *space)[tree_scores(scores.detach()[row], 4, *space).argmax()] for row in range(3)
    ]


@no_kernels
def test_determinant() -> None:
    """The elimination is the determinant of Koo et al. (2007), where that can be computed."""
    scores = scores_of(9, 5, scale=1.0, batch=3)
    weights = scores[:, 1:, 1:].exp() * (1 - torch.eye(9).double())
    laplacian = torch.diag_embed(weights.sum(1)) - weights
    one_root = torch.cat([scores[:, :1, 1:].exp(), laplacian[:, 1:]], 1)
    torch.testing.assert_close(crf_of(scores, (False, False)).log_partition, torch.linalg.slogdet(one_root)[1])
    several = laplacian + torch.diag_embed(scores[:, 0, 1:].exp())
    torch.testing.assert_close(crf_of(scores, (False, True)).log_partition, torch.linalg.slogdet(several)[1])


@pytest.mark.parametrize("space", SPACES)
def test_temperature(space: tuple[bool, bool]) -> None:
    """The temperature divides scores; near 0 the best tree has all probability, far away all have the same."""
    scores = scores_of(4, 2)
    torch.testing.assert_close(crf_of(scores, space, temperature=0.5).entropy, crf_of(2 * scores, space).entropy)
    cold = crf_of(scores, space, temperature=1e-3)
    assert cold.log_prob(cold.argmax()).item() == pytest.approx(0.0, abs=1e-9)
    hot = crf_of(scores, space, temperature=1e9)
    assert hot.entropy.exp().item() == pytest.approx(len(trees(4, *space)), rel=1e-6)


@no_kernels
@pytest.mark.parametrize("space", SPACES)
def test_float32(space: tuple[bool, bool]) -> None:
    """Results have the type of the scores and the precision that it can hold."""
    scores = scores_of(12, 3, batch=2)
    small, large = crf_of(scores.float(), space), crf_of(scores.float().double(), space)
    assert small.log_partition.dtype == small.marginals.dtype == small.entropy.dtype == torch.float32
    torch.testing.assert_close(small.marginals.double(), large.marginals, atol=1e-7, rtol=0)
    half = crf_of(scores.bfloat16(), space)
    assert half.log_partition.dtype == torch.bfloat16


@no_kernels
@pytest.mark.parametrize("space", SPACES)
def test_samples(space: tuple[bool, bool]) -> None:
    """Only trees are drawn, each as often as its probability says (within 4.5 standard errors), and repeatably."""
    lengths = (4, 0, 1, 3)
    scores = scores_of(4, 21, scale=1.0, batch=4)
    crf, count = crf_of(scores, space, *lengths), 20_000
    drawn = crf.sample(count, generator=torch.Generator().manual_seed(5))
    assert drawn.shape == (count, 4, 4)
    assert torch.equal(drawn, crf.sample(count, generator=torch.Generator().manual_seed(5)))
    for row, n in enumerate(lengths):
        assert drawn[:, row, n:].abs().sum() == 0
        found = Counter(tuple(heads) for heads in drawn[:, row, :n].tolist())
        listed = trees(n, *space)
        assert set(found) <= set(listed)
        chances = law(scores[row], n, *space).exp().tolist()
        for heads, chance in zip(listed, chances, strict=True):
            spread = (chance * (1 - chance) / count) ** 0.5
            assert abs(found[heads] / count - chance) <= 4.5 * spread + 2 / count
    assert crf.sample(0).shape == (0, 4, 4)


@no_kernels
@pytest.mark.parametrize("space", SPACES)
def test_samples_of_long_sentences(space: tuple[bool, bool]) -> None:
    """Frequencies of arcs follow their probabilities where trees cannot be listed; large scores are no obstacle."""
    scores = scores_of(14, 1, scale=3.0, batch=2)
    scores[1] *= 1000
    crf, count = crf_of(scores, space), 4_000
    drawn = crf.sample(count, generator=torch.Generator().manual_seed(8))
    assert is_tree(drawn, crf.lengths, projective=space[0], multi_root=space[1]).all()
    found = torch.nn.functional.one_hot(drawn, 15).double().mean(0).transpose(1, 2)
    expected = crf.marginals[:, :, 1:]
    spread = (expected * (1 - expected) / count).clamp(min=0).sqrt()
    assert ((found - expected).abs() <= 5 * spread + 2 / count).all()


@no_kernels
def test_is_tree() -> None:
    """What is a tree is what is on the list; what is not has probability 0."""
    for n in range(1, 5):
        every = torch.cartesian_prod(*[torch.arange(n + 1)] * n).reshape(-1, n)
        padded = torch.nn.functional.pad(every, (0, 2))
        lengths = torch.full((len(every),), n)
        for projective, multi_root in SPACES:
            found = is_tree(padded, lengths, projective=projective, multi_root=multi_root)
            assert {tuple(heads) for heads in every[found].tolist()} == set(trees(n, projective, multi_root))
    crf = crf_of(scores_of(3, 1), (True, False))
    assert crf.log_prob(torch.tensor([[[0, 0, 1]], [[2, 1, 0]], [[7, 0, 2]], [[-1, 0, 2]]])).exp().sum() == 0


@pytest.mark.parametrize("projective", [True, False])
def test_decoding_votes_is_averaging(projective: bool) -> None:
    """Votes decode to the average, ties included: 3 teachers over sentences of 2 to 9 words, 40 of them."""
    generator = torch.Generator().manual_seed(4)
    sizes = torch.randint(2, 10, (40,), generator=generator).tolist()
    flat = [DependencyCRF(torch.zeros(1, n + 1, n + 1), torch.tensor([n]), projective=projective) for n in sizes]
    banks = [
        DependencyTreebank.from_heads([crf.sample(1, generator=generator)[0, 0].tolist() for crf in flat])
        for _ in range(3)
    ]
    expected = average(banks, weights=[2, 1, 1], projective=projective)
    for index, n in enumerate(sizes):
        votes = torch.zeros(1, n + 1, n + 1)
        for bank, weight in zip(banks, (2, 1, 1), strict=True):
            votes[0, torch.tensor(bank[index].heads), torch.arange(1, n + 1)] += weight
        for table in (votes, 1024 * votes - 512):
            assert best_heads(table, torch.tensor([n]), projective=projective)[0].tolist() == expected[index].heads


@pytest.mark.parametrize("space", SPACES)
def test_decoding_forbidden_arcs(space: tuple[bool, bool]) -> None:
    """Arcs with huge negative scores cost no precision elsewhere as long as a simple tree does without them."""
    for seed in range(20):
        scores = scores_of(5, seed, scale=1e-6)
        scores[0, 3, 5] = scores[0, 2, 4] = -1e12
        expected = trees(5, *space)[tree_scores(scores[0], 5, *space).argmax()]
        assert tuple(crf_of(scores, space).argmax()[0].tolist()) == expected
    with pytest.raises(
        ArgumentError, match=re.escape("scores[0][2, 1]: expected a finite number, got nan. Give an arc")
    ):
        best_heads(torch.tensor([[[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, torch.nan, 0.0]]]), torch.tensor([2]))


@pytest.mark.parametrize("space", SPACES)
def test_without_gradients(space: tuple[bool, bool]) -> None:
    """Everything works without gradients and in inference mode, and gradients work afterwards."""
    scores = scores_of(4, 6).requires_grad_()
    crf = crf_of(scores, space)
    expected = crf_of(scores.detach(), space).marginals
    with torch.no_grad():
        assert not crf.marginals.requires_grad
        assert not crf.log_partition.requires_grad
        torch.testing.assert_close(crf.marginals, expected)
    assert crf.entropy.requires_grad
    with torch.inference_mode():
        inner = crf_of(2 * scores, space, temperature=2.0)
        torch.testing.assert_close(inner.marginals, expected)
        assert inner.mbr().tolist() == crf.mbr().tolist()
        assert inner.sample(2).shape == (2, 1, 4)


def test_empty() -> None:
    """No sentences, and sentences without words."""
    for space in SPACES:
        for shape in ((0, 1, 1), (0, 4, 4), (2, 1, 1), (2, 4, 4)):
            crf = (
                crf_of(torch.zeros(shape).double(), space, *[0] * shape[0])
                if shape[0]
                else DependencyCRF(
                    torch.zeros(shape), torch.zeros(0, dtype=torch.int64), projective=space[0], multi_root=space[1]
                )
            )
            assert crf.log_partition.tolist() == crf.entropy.tolist() == [0.0] * shape[0]
            assert crf.marginals.abs().sum() == 0
            assert crf.argmax().shape == crf.mbr().shape == (shape[0], shape[1] - 1)
            assert crf.sample(2).shape == (2, shape[0], shape[1] - 1)
            assert crf.log_prob(crf.argmax()).tolist() == [0.0] * shape[0]


@pytest.mark.parametrize(
    ("scores", "lengths", "options", "message"),
    [
        (CHART[:, :, :2], [2], {}, "scores: expected floating numbers of shape (B, N + 1, N + 1), got torch.float32"),
        (CHART.long(), [2], {}, "scores: expected floating numbers of shape (B, N + 1, N + 1), got torch.int64"),
        (CHART, [2, 2], {}, "lengths: expected int64 of shape (1,), got torch.int64 of shape (2,). Give one"),
        (CHART, [2.0], {}, "lengths: expected int64 of shape (1,), got torch.float32"),
        (CHART, [3], {}, "lengths: expected numbers from 0 to 2, got 3 to 3. A chart of N + 1 nodes holds"),
        (CHART, [-1], {}, "lengths: expected numbers from 0 to 2, got -1 to -1."),
        (CHART, [2], {"temperature": 0.0}, "temperature: expected a number above 0, got 0.0. 1 leaves"),
        (CHART, [2], {"temperature": float("nan")}, "temperature: expected a number above 0, got nan."),
    ],
)  # fmt: skip
def test_messages(scores: Tensor, lengths: list[float], options: dict[str, float], message: str) -> None:
    """Wrong arguments are named."""
    with pytest.raises(ArgumentError, match=re.escape(message)):
        DependencyCRF(scores, torch.tensor(lengths), **options)


def test_other_messages() -> None:
    """Divergences between distributions that differ in trees or batch; a negative number of samples."""
    crf = crf_of(scores_of(3, 0), (True, False))
    with pytest.raises(
        ArgumentError, match=r"other: expected a distribution with \{'projective': True, 'multi_root': False"
    ):
        crf.kl(crf_of(scores_of(3, 0), (False, False)))
    with pytest.raises(ArgumentError, match=r"other: expected scores of shape \(1, 4, 4\), got \(1, 5, 5\)\. Compare"):
        crf.kl(crf_of(scores_of(4, 0), (True, False)))
    with pytest.raises(ArgumentError, match=r"count: expected a number from 0 on, got -1\. Ask for one tree or more\."):
        crf.sample(-1)
