"""The tree distribution against enumeration of all trees, its limits, and what it refuses."""

from __future__ import annotations

import math

import enumeration
import pytest
import torch
from enumeration import Enumerated
from torch import Tensor
from tree_helpers import BACKENDS, GOLDEN_TREES, SEEDS, assert_close, each, golden_hits, random_scores

import treeavg
from treeavg.distill import compiled
from treeavg.distill.span_crf import SpanCRF
from treeavg.errors import ArgumentError

both = pytest.mark.parametrize("backend", each(BACKENDS))
LENGTHS = torch.tensor([0, 1, 2, 3, 4, 5, 6])


def crf(scores: Tensor, lengths: Tensor, backend: str, **options: float) -> SpanCRF:
    return SpanCRF(scores, lengths, backend=backend, **options)


# ------------------------------------------------------------------ against enumeration


def test_counts_of_trees() -> None:
    assert [len(enumeration.trees(0, n)) for n in range(1, 7)] == [1, 1, 2, 5, 14, 42]


@both
@pytest.mark.parametrize("seed", SEEDS)
def test_moments_against_enumeration(backend: str, seed: int) -> None:
    """log Z, visits, entropy, laws and probabilities; sums of visits; the derivative of log Z is the visits."""
    scores = random_scores(seed, len(LENGTHS), 6, 1 + seed % 3).requires_grad_()
    model = crf(scores, LENGTHS, backend)
    visits, entropy = model.visits, model.entropy
    laws = model.split_laws
    (gradient,) = torch.autograd.grad(model.log_partition.sum(), scores, retain_graph=True)
    assert_close(gradient, visits)
    assert float(model.log_partition[0].detach()) == 0
    assert not visits[0].any()
    for sentence, n in enumerate(LENGTHS.tolist()):
        if n == 0:
            continue
        twin = Enumerated.crf(scores[sentence], n)
        assert_close(twin.p.sum(), torch.ones((), dtype=torch.float64))
        assert_close(model.log_partition[sentence], enumeration.total_scores(scores[sentence], n).logsumexp(0))
        assert_close(visits[sentence, : n + 1, : n + 1], twin.visits)
        assert_close(visits[sentence].sum(), torch.tensor(2.0 * n - 1, dtype=torch.float64))
        assert_close(entropy[sentence], twin.entropy)
        trees = torch.stack([enumeration.as_tensor(tree, 6) for tree in enumeration.trees(0, n)])
        many = torch.zeros(len(trees), len(LENGTHS), 5, 2, dtype=torch.int64)
        many[:] = torch.stack([enumeration.as_tensor(enumeration.trees(0, int(m))[0], 6) for m in LENGTHS])
        many[:, sentence] = trees
        assert_close(model.log_prob(many)[:, sentence], twin.log_p)
        for begin, end in enumeration.spans(n):
            law = laws[end - begin - 2][sentence, begin].exp()
            assert_close(law, twin.law(begin, end))


@pytest.mark.parametrize("seed", range(5))
def test_factorisation(seed: int) -> None:
    """A tree's probability is the product of its splits' laws (T.2)."""
    model = crf(random_scores(seed, 1, 6), torch.tensor([6]), "compiled")
    for tree in enumeration.trees(0, 6):
        steps = zip(tree, enumeration.splits(tree), strict=True)
        total = sum(float(model.split_laws[e - b - 2][0, b, j - b - 1]) for (b, e), j in steps)
        assert total == pytest.approx(float(model.log_prob(enumeration.as_tensor(tree, 6)[None])), abs=1e-10)


@both
@pytest.mark.parametrize("seed", range(5))
def test_second_derivatives(backend: str, seed: int) -> None:
    """Gradients of visits and entropy, and the Hessian of log Z, are those of the enumeration."""
    scores = random_scores(seed, 2, 6).requires_grad_()
    lengths = torch.tensor([6, 4])
    weights = random_scores(seed + 100, 2, 6)
    found = []
    for model in (crf(scores, lengths, backend), None):
        if model is not None:
            visits, entropy, log_partition = model.visits, model.entropy, model.log_partition
        else:
            twins = [Enumerated.crf(scores[place], n) for place, n in enumerate((6, 4))]
            padded = [torch.nn.functional.pad(twin.visits, (0, 6 - twin.n, 0, 6 - twin.n)) for twin in twins]
            visits, entropy = torch.stack(padded), torch.stack([twin.entropy for twin in twins])
            totals = [enumeration.total_scores(scores[place], n).logsumexp(0) for place, n in enumerate((6, 4))]
            log_partition = torch.stack(totals)
        (first,) = torch.autograd.grad(log_partition.sum(), scores, create_graph=True)
        (product,) = torch.autograd.grad((first * weights).sum(), scores, retain_graph=True)
        (of_visits,) = torch.autograd.grad((visits * weights).sum(), scores, retain_graph=True)
        (of_entropy,) = torch.autograd.grad((entropy * torch.tensor([1.0, 2.0])).sum(), scores)
        found.append((product, of_visits, of_entropy))
    for actual, expected in zip(*found, strict=True):
        assert_close(actual, expected)


def test_third_derivatives() -> None:
    """The compiled gradient of a gradient of the entropy goes by widths, and is right."""
    scores, weights = random_scores(3, 1, 5).requires_grad_(), random_scores(4, 1, 5)
    found = []
    for entropy in (crf(scores, torch.tensor([5]), "compiled").entropy, Enumerated.crf(scores[0], 5).entropy):
        (first,) = torch.autograd.grad(entropy.sum(), scores, create_graph=True)
        found.append(torch.autograd.grad((first * weights).sum(), scores)[0])
    assert_close(*found)


@pytest.mark.compiled
def test_gradcheck() -> None:
    scores = random_scores(5, 2, 4).requires_grad_()
    lengths = torch.tensor([4, 3])
    assert torch.autograd.gradcheck(lambda x: compiled.moments(x, lengths), scores)
    assert torch.autograd.gradgradcheck(lambda x: compiled.moments(x, lengths), scores)


@both
@pytest.mark.parametrize("seed", SEEDS)
def test_trees_against_enumeration(backend: str, seed: int) -> None:
    """The best trees of scores and of visits are those of the enumeration, ties to the leftmost split."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (len(LENGTHS), 7, 7), generator=generator).double()
    model = crf(scores, LENGTHS, backend)
    best, careful = model.argmax(), model.mbr()
    for sentence, n in enumerate(LENGTHS.tolist()):
        assert_rows(best[sentence], enumeration.best(scores[sentence], n))
        if n > 0:
            visits = Enumerated.crf(scores[sentence], n).visits
            ours = enumeration.total_scores(visits, n)[enumeration.trees(0, n).index(rows_of(careful[sentence]))]
            assert float(ours) == pytest.approx(float(enumeration.total_scores(visits, n).max()), abs=1e-10)


def rows_of(rows: Tensor) -> enumeration.Tree:
    return tuple((b, e) for b, e in rows.tolist() if e > 0)


def assert_rows(rows: Tensor, tree: enumeration.Tree) -> None:
    assert rows.tolist() == enumeration.as_tensor(tree, rows.shape[0] + 1).tolist()


@both
def test_no_hits_branch_right(backend: str) -> None:
    model = crf(torch.zeros(1, 6, 6), torch.tensor([5]), backend)
    assert model.argmax().tolist() == [[[0, 5], [1, 5], [2, 5], [3, 5], [0, 0]][:4]]


# ------------------------------------------------------------------ samples


@both
def test_samples_follow_the_draws(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both backends split as the enumeration does, for the same uniform numbers."""
    scores = random_scores(1, len(LENGTHS), 6)
    draws = torch.rand(8, len(LENGTHS), 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *size, **options: draws)
    trees = crf(scores, LENGTHS, backend).sample(8)
    assert trees.shape == (8, len(LENGTHS), 5, 2)
    for sentence, n in enumerate(LENGTHS.tolist()):
        for count in range(8):
            expected = enumeration.sample(Enumerated.crf(scores[sentence], n), draws[count, sentence].tolist())
            assert_rows(trees[count, sentence], expected)


def test_sampling_frequencies() -> None:
    """Frequencies of spans are within four standard errors of the visits."""
    model = crf(random_scores(2, 2, 6), torch.tensor([6, 5]), "compiled")
    count = 2000
    trees = model.sample(count, generator=torch.Generator().manual_seed(7))
    for sentence, n in enumerate((6, 5)):
        for begin, end in enumeration.spans(n):
            has = ((trees[:, sentence, :, 0] == begin) & (trees[:, sentence, :, 1] == end)).any(1).double()
            p = float(model.visits[sentence, begin, end])
            assert abs(float(has.mean()) - p) <= 4 * math.sqrt(p * (1 - p) / count) + 1e-12


@both
def test_samples_repeat(backend: str) -> None:
    model = crf(random_scores(2, 3, 5), torch.tensor([5, 3, 0]), backend)
    first, second = (model.sample(4, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert model.sample(0).shape == (0, 3, 4, 2)
    assert torch.isfinite(model.log_prob(first)).all()


# ------------------------------------------------------------------ limits


@both
def test_no_scores_give_catalan_laws(backend: str) -> None:
    model = crf(torch.zeros(1, 7, 7, dtype=torch.float64), torch.tensor([6]), backend)
    assert_close(model.log_partition, torch.tensor([math.log(42)], dtype=torch.float64))
    catalan = [1, 1, 2, 5, 14, 42]
    expected = [catalan[j - 1] * catalan[6 - j - 1] / catalan[5] for j in range(1, 6)]
    assert_close(model.split_laws[-1][0, 0].exp(), torch.tensor(expected, dtype=torch.float64))
    assert [round(value, 4) for value in expected] == [0.3333, 0.1190, 0.0952, 0.1190, 0.3333]
    hot = crf(random_scores(1, 1, 6), torch.tensor([6]), backend, temperature=1e9)
    torch.testing.assert_close(hot.log_partition, model.log_partition, rtol=1e-7, atol=1e-7)


@both
def test_cold_is_the_average(backend: str) -> None:
    """At a temperature of 0.01 the mode is the CYK average and the expected hits are the most there are (T.7)."""
    teachers = [treeavg.Treebank.from_constituents([4], [tree]) for tree in GOLDEN_TREES]
    average = treeavg.average(teachers)
    model = crf(golden_hits(), torch.tensor([4]), backend, temperature=1e-2)
    assert model.argmax()[0].tolist() == [list(span) for span in zip(average.starts, average.ends, strict=True)]
    assert torch.equal(model.mbr(), model.argmax())
    assert_close(model.expected(golden_hits()), torch.tensor([5.0], dtype=torch.float64))
    tie = torch.zeros(1, 4, 4, dtype=torch.float64)
    tie[0, 0, 2] = tie[0, 1, 3] = 2  # two best trees
    assert_close(crf(tie, torch.tensor([3]), backend, temperature=1e-2).visits[0, 0, 2], torch.tensor(0.5).double())


@both
def test_expected_hits_fall_with_temperature(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    hits = torch.randint(0, 6, (3, 7, 7), generator=generator).double()
    lengths = torch.tensor([6, 5, 6])
    temperatures = (0.05, 0.1, 0.3, 1, 3, 10, 100)
    values = torch.stack([crf(hits, lengths, backend, temperature=t).expected(hits) for t in temperatures])
    assert (values.diff(dim=0) <= 1e-10).all()


@both
def test_constants_change_nothing(backend: str) -> None:
    """Scores of words and of whole sentences move log Z only; a constant on all others too."""
    scores, lengths = random_scores(4, 2, 6), torch.tensor([6, 4])
    moved = scores.clone()
    moved += 3 * torch.eye(7).roll(1, 1)  # words
    moved[0, 0, 6] -= 2
    moved[1, 0, 4] -= 2
    model, other = crf(scores, lengths, backend), crf(moved, lengths, backend)
    assert_close(other.visits, model.visits)
    assert_close(other.entropy, model.entropy)
    assert_close(other.log_partition - model.log_partition, torch.tensor([16.0, 10.0], dtype=torch.float64))
    shifted = crf(scores + 1e4, lengths, backend)
    torch.testing.assert_close(shifted.visits, model.visits, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(shifted.entropy, model.entropy, rtol=1e-7, atol=1e-7)


@both
def test_padding_and_neighbours_change_nothing(backend: str) -> None:
    """A sentence's numbers do not depend on the batch, its width, or what stands outside; no gradient goes there."""
    scores = random_scores(6, 3, 5)
    lengths = torch.tensor([5, 3, 4])
    wide = torch.full((3, 9, 9), math.nan, dtype=torch.float64)
    wide[:, :6, :6] = scores
    for sentence, n in enumerate(lengths.tolist()):
        wide[sentence, :, n + 1 :] = math.nan
        wide[sentence].masked_fill_(torch.ones(9, 9, dtype=torch.bool).tril(), math.inf)
    wide.requires_grad_()
    model, alone = crf(wide, lengths, backend), [crf(scores[i : i + 1], lengths[i : i + 1], backend) for i in range(3)]
    (gradient,) = torch.autograd.grad((model.log_partition + model.entropy).sum(), wide)
    for sentence, n in enumerate(lengths.tolist()):
        single = alone[sentence]
        assert_close(model.log_partition[sentence], single.log_partition[0])
        assert_close(model.visits[sentence, :6, :6], single.visits[0])
        assert_close(model.entropy[sentence], single.entropy[0])
        assert torch.equal(model.argmax()[sentence, :4], single.argmax()[0])
        outside = torch.ones(9, 9, dtype=torch.bool)
        outside[:n, 1 : n + 1] = torch.ones(n, n, dtype=torch.bool).tril(-1)
        assert not gradient[sentence][outside].any()
        assert not model.visits[sentence][outside].any()


@both
@pytest.mark.parametrize("longest", [0, 1, 2])
def test_short_sentences(backend: str, longest: int) -> None:
    """Sentences of no, one and two words have one tree."""
    scores = random_scores(0, longest + 1, longest).requires_grad_()
    lengths = torch.arange(longest + 1)
    model = crf(scores, lengths, backend)
    totals = torch.stack([torch.triu(scores[n, : n + 1, : n + 1], 1).sum() for n in range(longest + 1)])
    assert_close(model.log_partition, totals)
    assert model.entropy.tolist() == [0.0] * (longest + 1)
    assert model.visits.sum((1, 2)).tolist() == [0.0, 1.0, 3.0][: longest + 1]
    for trees in (model.argmax(), model.mbr(), model.sample(1)[0]):
        assert trees.tolist() == [[[0, 2] if n == 2 else [0, 0]][: max(longest - 1, 0)] for n in range(longest + 1)]
        assert model.log_prob(trees).tolist() == pytest.approx([0.0] * (longest + 1), abs=1e-12)
    assert len(model.split_laws) == max(longest - 1, 0)
    (model.log_partition.sum() + model.entropy.sum()).backward()
    assert torch.equal(scores.grad, model.visits)
    assert model.expected(torch.ones_like(scores)).tolist() == [0.0] * (longest + 1)


@both
def test_no_sentences(backend: str) -> None:
    model = crf(torch.zeros(0, 4, 4), torch.zeros(0, dtype=torch.int64), backend)
    assert model.log_partition.shape == (0,)
    assert model.visits.shape == (0, 4, 4)
    assert model.argmax().shape == (0, 2, 2)
    assert model.sample(2).shape == (2, 0, 2, 2)


# ------------------------------------------------------------------ types


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_types(backend: str, dtype: torch.dtype) -> None:
    """Results have the scores' type, float32 for half types; gradients too."""
    scores = random_scores(1, 2, 5).to(dtype).requires_grad_()
    model = crf(scores, torch.tensor([5, 4]), backend, temperature=2.0)
    expected = dtype if dtype.itemsize > 2 else torch.float32
    for value in (
        model.log_partition,
        model.visits,
        model.entropy,
        model.split_laws[0],
        model.log_prob(model.argmax()),
    ):
        assert value.dtype == expected
    model.entropy.sum().backward()
    assert scores.grad.dtype == dtype
    twin = Enumerated.crf(scores.detach()[0].double() / 2, 5)
    assert float(model.entropy[0].detach()) == pytest.approx(float(twin.entropy), abs=1e-5)


@both
def test_float32_of_cold_hits(backend: str) -> None:
    """Below a temperature of 0.05 steps count in float64."""
    hits = golden_hits()
    exact = crf(hits, torch.tensor([4]), backend, temperature=0.03)
    single = crf(hits.float(), torch.tensor([4]), backend, temperature=0.03)
    torch.testing.assert_close(single.visits, exact.visits.float())


def test_input_is_left_alone() -> None:
    scores = random_scores(1, 2, 4).requires_grad_()
    before = scores.detach().clone()
    state = torch.random.get_rng_state()
    model = crf(scores, torch.tensor([4, 2]), "compiled")
    model.visits, model.argmax(), model.mbr(), model.sample(3, generator=torch.Generator())
    assert torch.equal(scores.detach(), before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_graph_is_not_kept_from_no_grad() -> None:
    """What was computed without autograd is not handed out where it is on."""
    scores = random_scores(1, 1, 4).requires_grad_()
    model = crf(scores, torch.tensor([4]), "compiled")
    with torch.no_grad():
        assert not model.visits.requires_grad
        assert not model.entropy.requires_grad
    assert model.visits.requires_grad
    assert model.entropy.requires_grad


# ------------------------------------------------------------------ golden numbers


@both
def test_golden(backend: str) -> None:
    """Golden T of the specification: three teachers over four words."""
    model = crf(golden_hits(), torch.tensor([4]), backend)
    assert float(model.log_partition.exp()) == pytest.approx(math.exp(3) * 214.1186470631, rel=1e-11)
    probabilities = {
        ((0, 4), (0, 2), (2, 4)): 0.6931351432,
        ((0, 4), (1, 4), (2, 4)): 0.2549901692,
        ((0, 4), (0, 3), (0, 2)): 0.0345091668,
        ((0, 4), (1, 4), (1, 3)): 0.0126952130,
        ((0, 4), (0, 3), (1, 3)): 0.0046703079,
    }
    for tree, p in probabilities.items():
        assert float(model.log_prob(torch.tensor([tree])).exp()) == pytest.approx(p, abs=1e-10)
    root = [0.2676853821, 0.6931351432, 0.0391794746]
    assert model.split_laws[2][0, 0].exp().tolist() == pytest.approx(root, abs=1e-10)
    assert float(model.split_laws[1][0, 1, 0].exp()) == pytest.approx(0.9525741268, abs=1e-10)
    assert float(model.split_laws[1][0, 0, 0].exp()) == pytest.approx(0.1192029220, abs=1e-10)
    visits = {
        (0, 2): 0.7276443100,
        (2, 4): 0.9481253124,
        (1, 4): 0.2676853821,
        (1, 3): 0.0173655208,
        (0, 3): 0.0391794746,
    }
    for (begin, end), p in visits.items():
        assert float(model.visits[0, begin, end]) == pytest.approx(p, abs=1e-10)
    assert float(model.expected(golden_hits())) == pytest.approx(4.5673499393, abs=1e-10)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("scores", "lengths", "options", "message"),
    [
        (torch.zeros(2, 4), [1], {}, r"scores: expected a tensor \(B, N \+ 1, N \+ 1\), got \(2, 4\)\."),
        ([1.0], [1], {}, r"scores: expected a tensor \(B, N \+ 1, N \+ 1\), got \[1\.0\]\."),
        (torch.zeros(1, 4, 4, dtype=torch.int64), [1], {}, r"scores: expected a floating type, got torch\.int64\."),
        (torch.zeros(1, 4, 4), [1, 2], {}, r"lengths: expected int64 \(1,\), got torch\.int64 \(2,\)\."),
        (torch.zeros(1, 4, 4), [4], {}, r"lengths\[0\]: expected 0 to 3, got 4\."),
        (torch.zeros(2, 4, 4), [1, -1], {}, r"lengths\[1\]: expected 0 to 3, got -1\."),
        (torch.zeros(1, 4, 4), [3], {"temperature": 0.0}, r"temperature: expected a positive number, got 0\.0\."),
        (torch.zeros(1, 4, 4), [3], {"temperature": "1"}, r"temperature: expected a positive number, got '1'\."),
        (torch.zeros(1, 4, 4), [3], {"backend": "compile"}, r"backend: .* got 'compile'\. Did you mean 'compiled'\?"),
    ],
)
def test_refused(scores: Tensor, lengths: list[int], options: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        SpanCRF(scores, torch.tensor(lengths), **options)  # type: ignore[arg-type]


def test_lengths_of_another_type() -> None:
    with pytest.raises(ArgumentError, match=r"lengths: expected int64 \(1,\), got torch\.int32 \(1,\)\."):
        SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3], dtype=torch.int32))
    with pytest.raises(ArgumentError, match=r"lengths: expected int64 \(1,\), got \[3\]\."):
        SpanCRF(torch.zeros(1, 4, 4), [3])  # type: ignore[arg-type]


@both
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite(backend: str, bad: float) -> None:
    scores = torch.zeros(3, 5, 5)
    scores[1, 1, 3] = bad
    with pytest.raises(
        ArgumentError, match=rf"scores\[1, 1, 3\]: expected finite .* got {bad} for the span \(1, 3\) of"
    ):
        crf(scores, torch.tensor([4, 3, 4]), backend)
    crf(scores, torch.tensor([4, 2, 4]), backend)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 3], [0, 2], [0, 0]], r"trees\[0\]: expected the 3 spans of a binary tree in pre-order, then zeros, got"),
        ([[0, 4], [2, 4], [0, 2]], r"trees\[0\]: "),  # not in pre-order
        ([[0, 4], [0, 3], [2, 4]], r"trees\[0\]: "),  # crossing
        ([[0, 4], [1, 4], [0, 0]], r"trees\[0\]: .*Binarise trees first"),
        ([[0, 4], [0, 4], [0, 4]], r"trees\[0\]: "),
        ([[0, 4], [4, 0], [0, 2]], r"trees\[0\]: "),
        (
            [[0, 4], [0, 2], [2, 4], [0, 0]],
            r"trees: expected int64 \(\.\.\., 1, 3, 2\), .* got torch\.int64 \(1, 4, 2\)",
        ),
        ([[0, 4], [0, 99], [2, 4]], r"trees\[0\]: "),
    ],
)
def test_trees_refused(rows: list[list[int]], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        SpanCRF(torch.zeros(1, 5, 5), torch.tensor([4])).log_prob(torch.tensor([rows]))


def test_more_refusals() -> None:
    model = SpanCRF(torch.zeros(1, 5, 5), torch.tensor([4]))
    good = [[0, 4], [0, 2], [2, 4]]
    with pytest.raises(ArgumentError, match=r"trees\[1, 0\]: expected the 3 spans"):
        model.log_prob(torch.tensor([[good], [[[0, 4], [0, 2], [0, 2]]]]))
    with pytest.raises(ArgumentError, match=r"trees: expected int64 .* got torch\.int32"):
        model.log_prob(torch.tensor([good], dtype=torch.int32))
    with pytest.raises(ArgumentError, match=r"trees: expected int64 .* got 'x'"):
        model.log_prob("x")  # type: ignore[arg-type]
    for count in (-1, 1.5, True):
        with pytest.raises(ArgumentError, match=r"count: expected a whole number of trees, at least 0, got"):
            model.sample(count)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"chart: expected the scores' shape \(1, 5, 5\), got \(1, 4, 4\)\."):
        model.expected(torch.zeros(1, 4, 4))
    with pytest.raises(ArgumentError, match=r"backend: expected scores on the CPU for 'compiled', got meta\."):
        SpanCRF(torch.zeros(1, 5, 5, device="meta"), torch.tensor([4]), backend="compiled")


def test_repr() -> None:
    model = SpanCRF(torch.zeros(2, 5, 5), torch.tensor([4, 3]), temperature=0.5)
    assert repr(model) == "SpanCRF(2 sentences, up to 4 words, temperature=0.5, backend='compiled')"
