"""The inside and outside passes and the best trees of a grammar: enumeration, padding, extreme scores."""

from __future__ import annotations

import math
from collections.abc import Iterator

import grammar_twins
import numpy as np
import pytest
import torch
from torch import Tensor

from parsers.pcfg import by_logs, inside, low_rank, viterbi


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scores(
    n: int, *, batch: int = 1, groups: int = 1, symbols: int = 3, words: int = 4, seed: int = 0, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return random float64 scores of roots, rules and words."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, dtype=torch.float64, generator=generator)

    every = symbols + words
    return draw(groups, symbols), draw(groups, symbols, every, every), draw(batch, n, words)


def arrays(parts: tuple[Tensor, ...], row: int = 0) -> list[grammar_twins.F64]:
    """Return one sentence's scores for the twins."""
    return [part[row if len(part) > 1 else 0].numpy() for part in parts]


def full(parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.full((len(parts[2]),), parts[2].shape[1])


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_enumeration(n: int) -> None:
    """Log Z, in both ways, and span marginals are those of all trees and labels."""
    parts = scores(n, seed=n)
    total, marginals = grammar_twins.sums(*arrays(parts))
    spans = torch.zeros(1, n + 1, n + 1, dtype=torch.float64, requires_grad=True)
    for function in (inside.log_partition, by_logs.log_partition):
        found = function(*parts, full(parts), spans)
        assert abs(found.item() - total) < 1e-10
        (gradient,) = torch.autograd.grad(found.sum(), spans)
        np.testing.assert_allclose(gradient[0].numpy(), marginals, atol=1e-10)
    found = inside.span_marginals(*parts, full(parts))
    np.testing.assert_allclose(found[0].numpy(), marginals, atol=1e-10)
    assert abs(found.sum().item() - (n - 1)) < 1e-10
    assert abs(found[0, 0, n].item() - 1) < 1e-12


def test_number_of_derivations() -> None:
    """With all scores 0, Z counts: 14 trees times 3 ** 4 times 4 ** 5 labels."""
    zeros = tuple(0 * part for part in scores(5))
    assert round(inside.log_partition(*zeros, torch.tensor([5])).exp().item()) == 1_161_216
    n = 12
    count = math.comb(2 * n - 2, n - 1) / n * 3.0 ** (n - 1) * 4.0**n
    zeros = tuple(0 * part.float() for part in scores(n))
    assert inside.log_partition(*zeros, torch.tensor([n])).item() == pytest.approx(math.log(count), rel=1e-6)


@pytest.mark.parametrize("groups", [1, 4])
def test_gradients(groups: int) -> None:
    """The pass downwards is the derivative of the pass upwards, with shared rules and with each sentence's own."""
    parts = scores(7, batch=4, groups=groups, seed=3)
    lengths, weights = torch.tensor([7, 2, 3, 6]), torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    spans = 0.3 * torch.randn(4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for function in (inside.log_partition, by_logs.log_partition):
        leaves = [part.clone().requires_grad_() for part in (*parts, spans)]
        total = (weights * function(leaves[0], leaves[1], leaves[2], lengths, leaves[3])).sum()
        found.append([total.detach(), *torch.autograd.grad(total, leaves)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_gradients_by_differences() -> None:
    """Torch's own check, of the shortest sentences too."""
    for n in (2, 3, 4, 5):
        parts = [part.requires_grad_() for part in scores(n, batch=2, symbols=2, words=2, seed=n)]
        lengths = torch.tensor([n, max(n - 1, 2)])
        assert torch.autograd.gradcheck(lambda *own, lengths=lengths: inside.log_partition(*own, lengths), parts)


def test_proper_distribution() -> None:
    """The strings of two words share what the roots and the rules to two preterminals have."""
    roots, rules, _ = (part.float().double() for part in scores(2))
    roots, rules = roots.log_softmax(-1), rules.flatten(2).log_softmax(-1).view_as(rules)
    vocabulary = 5
    emissions = torch.randn(4, vocabulary, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    emissions = emissions.log_softmax(-1)
    strings = torch.cartesian_prod(torch.arange(vocabulary), torch.arange(vocabulary))
    words = emissions.T[strings]
    total = inside.log_partition(roots, rules, words, torch.full((len(strings),), 2)).exp().sum()
    expected = (roots.exp() * rules[:, :, 3:, 3:].exp().sum((-2, -1))).sum()
    assert abs(total.item() - expected.item()) < 1e-12


@pytest.mark.parametrize("groups", [1, 5])
def test_padding(groups: int) -> None:
    """A padded batch gives what each sentence gives alone, whatever stands in the padding."""
    roots, rules, words = scores(9, batch=5, groups=groups, seed=5)
    lengths = torch.tensor([9, 2, 5, 3, 7])
    together = inside.log_partition(roots, rules, words, lengths)
    marginals = inside.span_marginals(roots, rules, words, lengths)
    trees, best = viterbi.best_trees(roots, rules, words, lengths)
    for row, n in enumerate(lengths.tolist()):
        own = slice(row, row + 1) if groups > 1 else slice(0, 1)
        alone = roots[own], rules[own], words[row : row + 1, :n], lengths[row : row + 1]
        assert abs(inside.log_partition(*alone).item() - together[row].item()) < 1e-10
        torch.testing.assert_close(inside.span_marginals(*alone)[0], marginals[row, : n + 1, : n + 1])
        assert not marginals[row, :, n + 1 :].any()
        tree, score = viterbi.best_trees(*alone)
        assert tree[0].tolist() == trees[row, : n - 1].tolist()
        assert score.item() == pytest.approx(best[row].item())
        assert not trees[row, n - 1 :].any()


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_best_tree(n: int, seed: int) -> None:
    """Viterbi's score and tree are those of the best of all labelled trees."""
    parts = scores(n, batch=2, groups=2, seed=seed, scale=2.0)
    trees, found = viterbi.best_trees(*parts, full(parts))
    for row in range(2):
        own = arrays(parts, row)
        assert abs(found[row].item() - grammar_twins.best_score(*own)) < 1e-10
        assert [tuple(span) for span in trees[row].tolist()] == grammar_twins.best_tree(*own)


def test_ties_go_to_the_right() -> None:
    """Where all is equal the tree is right-branching, also where sums round differently."""
    n = 30
    right = [[start, n] for start in range(n - 1)]
    for value in (0.0, math.log(1 / 49), -0.1):
        parts = tuple(torch.full_like(part, value).float() for part in scores(n))
        assert viterbi.best_trees(*parts, full(parts))[0][0].tolist() == right


def test_first_of_equal_splits() -> None:
    """Few values, many ties: the first of equal roots, splits and children is taken."""
    generator = np.random.default_rng(0)
    for _ in range(30):
        parts = tuple(torch.from_numpy(generator.integers(0, 2, part.shape) * 1.0) for part in scores(4))
        trees, _ = viterbi.best_trees(*parts, full(parts))
        assert [tuple(span) for span in trees[0].tolist()] == grammar_twins.best_tree(*arrays(parts))


def test_single_precision_of_long_sentences() -> None:
    """Float32 stays close to float64 at 120 words, and all gradients are finite."""
    roots, rules, words = scores(120, batch=2, symbols=5, words=8, seed=6)
    rules, words = rules.flatten(2).log_softmax(-1).view_as(rules), words - 9
    lengths = torch.tensor([120, 71])
    exact = inside.log_partition(roots, rules, words, lengths)
    leaves = [part.float().requires_grad_() for part in (roots, rules, words)]
    found = inside.log_partition(leaves[0], leaves[1], leaves[2], lengths)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)
    gradients = torch.autograd.grad(found.sum(), leaves)
    assert all(torch.isfinite(part).all() for part in gradients)
    assert gradients[2].sum().item() == pytest.approx(191, rel=1e-4)  # each word has one preterminal


@pytest.mark.parametrize("scale", [50.0, 1000.0])
def test_extreme_scores(scale: float) -> None:
    """Where float32 loses all terms or a gradient overflows, the result is that of logarithms, gradients as well."""
    parts = scores(9, batch=3, groups=3, seed=7, scale=scale)
    lengths = torch.tensor([9, 5, 2])
    found = []
    for function, dtype in ((by_logs.log_partition, torch.float64), (inside.log_partition, torch.float32)):
        leaves = [part.to(dtype).requires_grad_() for part in parts]
        total = function(leaves[0], leaves[1], leaves[2], lengths)
        found.append([total.detach().double(), *(g.double() for g in torch.autograd.grad(total.sum(), leaves))])
        assert all(torch.isfinite(part).all() for part in found[-1])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    spans = torch.zeros(3, 10, 10, requires_grad=True)
    expected = by_logs.log_partition(*(part.float() for part in parts), lengths, spans).sum()
    marginals = inside.span_marginals(*(part.float() for part in parts), lengths)
    torch.testing.assert_close(marginals, torch.autograd.grad(expected, spans)[0], rtol=1e-3, atol=1e-3)


def test_lost_terms_are_found_by_logarithms() -> None:
    """A cell's large symbols lead nowhere, its small ones, e ** -100 of them, everywhere."""
    roots, rules, words = (part.float() for part in scores(4, scale=0.0))
    rules[:] = -300.0
    rules[:, :, 3:, 3:] = torch.tensor([0.0, -100.0, -100.0])[None, :, None, None]
    rules[:, :, 1, 1] = 0.0  # symbol 1 goes on, symbol 0 does not
    leaves = [part.requires_grad_() for part in (roots, rules, words)]
    lengths = torch.tensor([4])
    total = inside.log_partition(leaves[0], leaves[1], leaves[2], lengths)
    exact = by_logs.log_partition(*(part.detach().double() for part in leaves), lengths)
    assert total.item() == pytest.approx(exact.item(), rel=1e-5)
    assert all(torch.isfinite(part).all() for part in torch.autograd.grad(total.sum(), leaves))


def test_not_a_number_stays_one() -> None:
    """Scores that are no numbers give none, so that a diverged training is noticed."""
    roots, rules, words = scores(5)
    words[0, 2, 1] = math.nan
    leaves = [part.requires_grad_() for part in (roots, rules, words)]
    total = inside.log_partition(leaves[0], leaves[1], leaves[2], torch.tensor([5]))
    assert math.isnan(total.item())
    assert torch.autograd.grad(total.sum(), leaves)[2].isnan().any()


# ------------------------------------------------------------------ rules of a low rank


def factors(symbols: int = 3, words: int = 4, rank: int = 2, scale: float = 1.0) -> tuple[Tensor, ...]:
    """Return positive roots and factors."""
    generator = torch.Generator().manual_seed(8)
    sizes = (symbols,), (symbols, rank), (symbols + words, rank), (symbols + words, rank)
    return tuple((scale * torch.randn(*size, dtype=torch.float64, generator=generator)).exp() for size in sizes)


def test_low_rank_is_a_grammar() -> None:
    """Log Z, gradients and marginals are those of the rules that the factors make."""
    *_, words = scores(6, batch=3, seed=4)
    lengths, weights = torch.tensor([6, 2, 5]), torch.tensor([1.0, 0.5, -2.0], dtype=torch.float64)
    parts = factors()
    rules = torch.from_numpy(grammar_twins.low_rank(*(part.numpy() for part in parts[1:])))
    torch.testing.assert_close(
        low_rank.span_marginals(low_rank.Factors.of(*parts), words, lengths),
        inside.span_marginals(parts[0].log()[None], rules[None], words, lengths),
    )
    found = []
    for plain in (True, False):
        leaves = [part.clone().requires_grad_() for part in (*parts, words)]
        if plain:
            table = torch.einsum("ar,br,cr->abc", *leaves[1:4]).log()[None]
            total = inside.log_partition(leaves[0].log()[None], table, leaves[4], lengths)
        else:
            total = low_rank.log_partition(low_rank.Factors.of(*leaves[:4]), leaves[4], lengths)
        found.append([total.detach(), *torch.autograd.grad((weights * total).sum(), leaves)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_low_rank_far_apart() -> None:
    """Products that single precision takes for 0 are found in double precision."""
    *_, words = scores(12, seed=4)
    lengths, made = torch.tensor([12]), low_rank.Factors.of(*factors(scale=0.5))
    small = made._replace(left_words=1e-30 * made.left_words, right_words=1e-30 * made.right_words)
    exact = low_rank.log_partition(made, words, lengths).item() + 12 * math.log(1e-30)
    spans = torch.zeros(1, 13, 13, requires_grad=True)
    leaves = [part.float().requires_grad_() for part in small]
    total = low_rank.log_partition(low_rank.Factors(*leaves), words.float(), lengths, spans)
    assert total.item() == pytest.approx(exact, rel=1e-5)
    assert torch.autograd.grad(total.sum(), spans)[0].sum().item() == pytest.approx(11, rel=1e-4)
