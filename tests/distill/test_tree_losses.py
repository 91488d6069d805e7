"""The losses: golden numbers, identities and bounds, gradients against enumeration, reductions, refusals."""

from __future__ import annotations

import math

import enumeration
import pytest
import torch
from enumeration import Enumerated
from torch import Tensor
from tree_helpers import (
    BACKENDS,
    GOLDEN_TREES,
    SEEDS,
    STUDENTS,
    assert_close,
    each,
    enumerated,
    golden_hits,
    random_logits,
    random_scores,
    student_of,
)

from treeavg.distill import split_laws
from treeavg.distill.span_crf import SpanCRF, SplitModel
from treeavg.distill.tree_divergences import DIVERGENCES, Options
from treeavg.distill.tree_losses import KINDS, REDUCTIONS, TreeTargets, match_entropy, tree_loss
from treeavg.errors import ArgumentError

EXACT = ("kl", "rkl", "engine", "js", "js-naive", "tvd", "tvd-teacher", "tvd-student")
students = pytest.mark.parametrize("name", each(STUDENTS))


def compare(
    kind: str, teacher: SpanCRF | SplitModel, student: SpanCRF | SplitModel, weight: float = 0.5, detach: bool = False
) -> Tensor:
    """One sentence's divergence."""
    return DIVERGENCES[kind](teacher, student, Options(weight, detach))[0]


def twin_of(kind: str, p: Enumerated, q: Enumerated, weight: float = 0.5, detach: bool = False) -> Tensor:
    if kind.startswith("tvd-"):
        return enumeration.divergence("tvd", p, q, float(kind == "tvd-student"), detach)
    return enumeration.divergence(kind, p, q, weight, detach)


def random_hits(seed: int, n: int, teachers: int = 5) -> Tensor:
    """Hit counts [1, n + 1, n + 1] of random binary trees."""
    generator = torch.Generator().manual_seed(seed)
    rows = SpanCRF(torch.zeros(1, n + 1, n + 1), torch.tensor([n])).sample(teachers, generator=generator)
    hits = torch.zeros(1, n + 1, n + 1, dtype=torch.float64)
    for tree in rows[:, 0]:
        hits[0, tree[:, 0], tree[:, 1]] += 1
    return hits


# ------------------------------------------------------------------ golden numbers


@students
def test_golden(name: str) -> None:
    """Golden T against the uniform distribution over the five trees."""
    lengths = torch.tensor([4])
    if name == "split":
        laws = SpanCRF(torch.zeros(1, 5, 5, dtype=torch.float64), lengths).split_laws
        student: SpanCRF | SplitModel = SplitModel(laws, lengths)
    else:
        student = SpanCRF(torch.zeros(1, 5, 5, dtype=torch.float64), lengths, backend=name)
    targets = TreeTargets(lengths, hits=golden_hits(), weight=3.0)
    golden = {
        "kl": 0.8102575648,
        "rkl": 1.3570923745,
        "tvd": (0.6292020508 + 0.8264836252) / 2,
        "tvd-teacher": 0.6292020508,
        "tvd-student": 0.8264836252,
        "js": 0.2154601576,
        "js-naive": 0.2288217606,
        "engine": 1.3570923745 + math.log(5),
    }
    for kind, value in golden.items():
        assert float(tree_loss(kind, student, targets, reduction="tree")) == pytest.approx(value, abs=1e-10)
        assert float(tree_loss(kind, student, targets)) == pytest.approx(value / 3, abs=1e-10)
        assert float(tree_loss(kind, student, targets, reduction="word")) == pytest.approx(value / 4, abs=1e-10)


def test_golden_parts() -> None:
    """KL span by span, and what whole trees say: total variation and Jensen-Shannon."""
    lengths = torch.tensor([4])
    teacher = SpanCRF(golden_hits(), lengths)
    student = SpanCRF(torch.zeros(1, 5, 5, dtype=torch.float64), lengths)
    parts = {}
    for b, e in enumeration.spans(4):
        p, q = teacher.split_laws[e - b - 2][0, b], student.split_laws[e - b - 2][0, b]
        parts[b, e] = float(teacher.visits[0, b, e] * (p.exp() * (p - q)).sum())
    assert parts.pop((0, 4)) == pytest.approx(0.6629604058, abs=1e-10)
    assert parts.pop((1, 4)) == pytest.approx(0.1344536052, abs=1e-10)
    assert parts.pop((0, 3)) == pytest.approx(0.0128435539, abs=1e-10)
    assert all(abs(value) < 1e-12 for value in parts.values())
    p, q = Enumerated.crf(golden_hits()[0], 4), Enumerated.crf(torch.zeros(5, 5, dtype=torch.float64), 4)
    assert float(enumeration.tvd(p, q)) == pytest.approx(0.5481253124, abs=1e-10)
    assert float(enumeration.js(p, q)) == pytest.approx(0.2154601576, abs=1e-10)


# ------------------------------------------------------------------ identities and bounds


@students
@pytest.mark.parametrize("seed", SEEDS)
def test_values_against_enumeration(name: str, seed: int) -> None:
    """Every loss is its sum over spans; KL, RKL and the entropy are those of whole trees; the others bound."""
    n = 3 + seed % 4
    student, leaves = student_of(name, seed, n, 1.5)
    scores = random_scores(seed + 1000, 1, n, 1.5)
    teacher = SpanCRF(scores, torch.tensor([n]), backend=name if name in BACKENDS else "auto")
    with torch.no_grad():
        p, q = Enumerated.crf(scores[0], n), enumerated(student, leaves, n)
        for weight in (0.5, 0.85, 0.2):
            values = {kind: compare(kind, teacher, student, weight) for kind in EXACT}
            for kind, value in values.items():
                assert_close(value, twin_of(kind, p, q, weight))
            exact = enumeration.js(p, q, weight)
            assert exact <= values["js"] + 1e-10
            assert values["js"] <= values["js-naive"] + 1e-10
            if n <= 4:
                assert_close(values["js"], exact)
            if n == 3:
                assert_close(values["js-naive"], exact)
        assert_close(values["kl"], enumeration.kl(p, q))
        assert_close(values["rkl"], enumeration.kl(q, p))
        assert_close(values["engine"], enumeration.kl(q, p) + q.entropy)
        assert_close(student.entropy[0], q.entropy)
        variation = enumeration.tvd(p, q)
        for bound in ("tvd", "tvd-teacher", "tvd-student"):
            assert variation <= values[bound] + 1e-10
        if n == 3:
            assert_close(values["tvd"], variation)
        for kind, value in values.items():
            if kind != "engine":
                assert value >= -1e-10


@pytest.mark.parametrize("seed", range(6))
def test_bregman_form_and_recursion(seed: int) -> None:
    """KL as visits times differences of scores (T.4), and RKL without an outside pass."""
    n = 6
    lengths = torch.tensor([n])
    teacher, student = (SpanCRF(random_scores(s, 1, n), lengths) for s in (seed, seed + 50))
    form = (teacher.visits * (teacher.potentials - student.potentials)).sum()
    assert_close(compare("kl", teacher, student), form - teacher.log_partition[0] + student.log_partition[0])
    form = (student.visits * (student.potentials - teacher.potentials)).sum()
    assert_close(compare("rkl", teacher, student), form - student.log_partition[0] + teacher.log_partition[0])
    for kind, first, second in (("rkl", student, teacher), ("kl", teacher, student)):
        totals = {(word, word + 1): torch.zeros((), dtype=torch.float64) for word in range(n)}
        for width in range(2, n + 1):
            for b in range(n - width + 1):
                law, other = first.split_laws[width - 2][0, b], second.split_laws[width - 2][0, b]
                children = torch.stack([totals[b, j] + totals[j, b + width] for j in range(b + 1, b + width)])
                totals[b, b + width] = (law.exp() * (law - other + children)).sum()
        assert_close(compare(kind, teacher, student), totals[0, n])


def test_known_size_of_the_gaps() -> None:
    """At six words the bounds are no equalities."""
    student, leaves = student_of("compiled", 3, 6)
    scores = random_scores(1, 1, 6, 1.5)
    teacher = SpanCRF(scores, torch.tensor([6]))
    p, q = Enumerated.crf(scores[0], 6), enumerated(student, leaves, 6)
    exact, span, naive = enumeration.js(p, q), compare("js", teacher, student), compare("js-naive", teacher, student)
    assert float((span - exact).detach()) > 1e-4
    assert float((naive - span).detach()) > 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_as_sequences_of_splits(seed: int) -> None:
    """Pre-order splits as sequences, summed over all prefixes, give the same numbers (A.5, A.6)."""
    n = 6
    lengths = torch.tensor([n])
    p_scores, q_scores = random_scores(seed, 1, n, 1.5), random_scores(seed + 9, 1, n, 1.5)
    teacher, student = SpanCRF(p_scores, lengths), SpanCRF(q_scores, lengths)
    p, q = Enumerated.crf(p_scores[0], n), Enumerated.crf(q_scores[0], n)
    sums = enumeration.prefix_sums(p, q)
    for kind, name in (
        ("kl", "kl"), ("rkl", "rkl"), ("tvd-teacher", "B_p"), ("tvd-student", "B_q"), ("js-naive", "js_token"),
    ):  # fmt: skip
        assert float(compare(kind, teacher, student)) == pytest.approx(sums[name], abs=1e-10)
    assert float(enumeration.js(p, q)) == pytest.approx(sums["js"], abs=1e-10)


@pytest.mark.parametrize(
    "pair", [("compiled", "compiled"), ("steps", "steps"), ("split", "split"), ("compiled", "split")]
)
def test_swapping(pair: tuple[str, str]) -> None:
    """Swapping p and q exchanges KL and RKL and leaves Jensen-Shannon (with weights swapped) and the TVD bound."""
    first, second = student_of(pair[0], 1, 6)[0], student_of(pair[1], 2, 6)[0]
    assert_close(compare("kl", first, second), compare("rkl", second, first))
    assert_close(compare("tvd", first, second), compare("tvd", second, first))
    assert_close(compare("tvd-teacher", first, second), compare("tvd-student", second, first))
    for kind in ("js", "js-naive"):
        for weight in (0.5, 0.3):
            assert_close(compare(kind, first, second, weight), compare(kind, second, first, 1 - weight))


# ------------------------------------------------------------------ gradients


@students
@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("weight", [0.5, 0.7])
def test_gradients_against_enumeration(name: str, kind: str, weight: float) -> None:
    """Autograd of the loss is autograd of the enumeration, with and without detached visits."""
    n = 6
    for seed in range(3):
        student, leaves = student_of(name, seed, n)
        scores = random_scores(seed + 30, 1, n)
        teacher, p = SpanCRF(scores, torch.tensor([n])), Enumerated.crf(scores[0], n)
        q = enumerated(student, leaves, n)
        for detach in (False, True):
            ours, exact = compare(kind, teacher, student, weight, detach), twin_of(kind, p, q, weight, detach)
            assert_close(ours, exact)
            gradients = [torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (ours, exact)]
            for actual, expected in zip(*gradients, strict=True):
                assert_close(actual, expected)


@pytest.mark.parametrize("backend", each(BACKENDS))
def test_gradients_of_crf_students(backend: str) -> None:
    """d KL / d score is mu_q - mu_p; d RKL / d score is a covariance (T.6); none at words and at the root."""
    n, lengths = 6, torch.tensor([6])
    p_scores, q_scores = random_scores(1, 1, n), random_scores(2, 1, n).requires_grad_()
    teacher, student = (SpanCRF(scores, lengths, backend=backend) for scores in (p_scores, q_scores))
    (gradient,) = torch.autograd.grad(compare("kl", teacher, student), q_scores, retain_graph=True)
    assert_close(gradient, (student.visits - teacher.visits).detach())
    (gradient,) = torch.autograd.grad(compare("rkl", teacher, student), q_scores)
    with torch.no_grad():
        p, q = Enumerated.crf(p_scores[0], n), Enumerated.crf(q_scores[0], n)
        ratio = q.log_p - p.log_p
        covariance = (q.p * ratio) @ enumeration.membership(n) - (q.p * ratio).sum() * q.visits.flatten()
    assert_close(gradient[0].flatten(), covariance)
    for kind in EXACT:
        (gradient,) = torch.autograd.grad(compare(kind, teacher, SpanCRF(q_scores, lengths, backend=backend)), q_scores)
        assert gradient[0, 0, n] == 0
        assert not gradient[0].diagonal(1).any()


def test_gradients_of_split_students() -> None:
    """d KL / d logit is mu_p (q - p); d RKL / d logit is the exact policy gradient (T.6)."""
    n, lengths = 6, torch.tensor([6])
    teacher = SpanCRF(random_scores(1, 1, n), lengths)
    student, logits = student_of("split", 2, n)
    laws_p, laws_q = teacher.split_laws, [law.detach() for law in student.split_laws]
    gradients = torch.autograd.grad(compare("kl", teacher, student), logits, retain_graph=True)
    for width, gradient in enumerate(gradients, 2):
        for b in range(n - width + 1):
            visit = teacher.visits[0, b, b + width]
            assert_close(gradient[0, b], visit * (laws_q[width - 2][0, b].exp() - laws_p[width - 2][0, b].exp()))
    gradients = torch.autograd.grad(compare("rkl", teacher, student), logits)
    returns = {(word, word + 1): torch.zeros((), dtype=torch.float64) for word in range(n)}
    for width, gradient in enumerate(gradients, 2):
        for b in range(n - width + 1):
            law, other = laws_q[width - 2][0, b], laws_p[width - 2][0, b]
            children = torch.stack([returns[b, j] + returns[j, b + width] for j in range(b + 1, b + width)])
            advantages = law - other + children
            returns[b, b + width] = (law.exp() * advantages).sum()
            expected = student.visits[0, b, b + width].detach() * law.exp() * (advantages - returns[b, b + width])
            assert_close(gradient[0, b], expected)


@students
@pytest.mark.parametrize("kind", ["rkl", "js", "js-naive", "tvd", "engine"])
def test_detached_visits(name: str, kind: str) -> None:
    """Detaching keeps the value and changes the gradient."""
    student, leaves = student_of(name, 2, 6)
    targets = TreeTargets(torch.tensor([6]), hits=random_hits(1, 6), weight=5.0)
    whole, greedy = (tree_loss(kind, student, targets, detach_visits=detach) for detach in (False, True))
    assert_close(whole, greedy)
    gradients = [torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (whole, greedy)]
    difference = sum(float((a - b).abs().sum()) for a, b in zip(*gradients, strict=True))
    assert difference > 1e-3


# ------------------------------------------------------------------ sampled Jensen-Shannon


@students
def test_sampled_js(name: str) -> None:
    """Values and gradients from samples are within four standard errors of the exact ones (unbiased)."""
    n, count = 5, 4000
    student, leaves = student_of(name, 1, n)
    scores = random_scores(2, 1, n)
    teacher = SpanCRF(scores, torch.tensor([n]))
    p, q = Enumerated.crf(scores[0], n), enumerated(student, leaves, n)
    for weight in (0.5, 0.8):
        exact = enumeration.js(p, q, weight)
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(exact, leaves, retain_graph=True)])
        values, gradients = [], []
        for seed in range(8):
            options = Options(weight, False, count // 8, torch.Generator().manual_seed(seed))
            loss = DIVERGENCES["js-sampled"](teacher, student, options)[0]
            values.append(loss.detach())
            gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, leaves, retain_graph=True)]))
        for samples, truth in (
            (torch.stack(values)[:, None], exact.detach()[None]),
            (torch.stack(gradients), expected),
        ):
            error = samples.std(0) / math.sqrt(len(samples))
            assert ((samples.mean(0) - truth).abs() <= 5 * error + 1e-9).all()


def test_sampled_js_by_all_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every tree as often as it is likely, the estimator is exact, its gradient too, whatever the baseline."""
    n = 3
    scores = torch.zeros(1, 4, 4, dtype=torch.float64)
    scores[0, 0, 2] = math.log(3)  # the two trees: 3/4 and 1/4
    leaves = torch.zeros(1, 4, 4, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([n])
    teacher, student = SpanCRF(scores, lengths), SpanCRF(leaves, lengths)
    left, right = [[0, 3], [0, 2]], [[0, 3], [1, 3]]
    monkeypatch.setattr(teacher, "sample", lambda count, generator: torch.tensor([left, left, left, right])[:, None])
    monkeypatch.setattr(student, "sample", lambda count, generator: torch.tensor([left, left, right, right])[:, None])
    loss = DIVERGENCES["js-sampled"](teacher, student, Options(samples=4))[0]
    exact = enumeration.js(Enumerated.crf(scores[0], n), Enumerated.crf(leaves[0], n))
    assert_close(loss, exact)
    (ours,), (truth,) = (torch.autograd.grad(value, leaves, retain_graph=True) for value in (loss, exact))
    # The baseline takes out a share that is zero in expectation; over all trees at once it scales by 4 / 3.
    half = DIVERGENCES["js-sampled"](teacher, student, Options(samples=4, detach_visits=True))[0]
    (pathwise,) = torch.autograd.grad(half, leaves)
    assert_close(pathwise + (ours - pathwise) * 3 / 4, truth)
    assert_close(half.detach(), loss.detach())


# ------------------------------------------------------------------ trees as targets


@students
def test_hard_and_union(name: str) -> None:
    """Cross-entropies of the average tree and of the teachers' trees; the CRF's gradient is moment matching (T.8)."""
    student, leaves = student_of(name, 1, 4)
    lengths = torch.tensor([4])
    teachers = torch.tensor(GOLDEN_TREES)[:, None]
    targets = TreeTargets(lengths, hits=golden_hits(), weight=3.0, average=teachers[0], teachers=teachers)
    q = enumerated(student, leaves, 4)
    places = [enumeration.trees(0, 4).index(tuple(tree)) for tree in GOLDEN_TREES]
    assert_close(tree_loss("hard", student, targets, reduction="tree"), -q.log_p[places[0]])
    union = tree_loss("union", student, targets, reduction="tree")
    assert_close(union, -q.log_p[places].mean())
    if isinstance(student, SpanCRF):
        (gradient,) = torch.autograd.grad(union, leaves[0], retain_graph=True)
        words = torch.diag_embed(torch.ones(4, dtype=torch.float64), 1)
        assert_close(gradient[0], student.visits[0].detach() - golden_hits()[0] / 3 - words)
    cold = tree_loss("kl", student, targets, temperature=0.01, reduction="tree")
    assert_close(cold, -q.log_p[places[0]], 1e-8)  # at no temperature the consensus is the average tree


@students
def test_split_average(name: str) -> None:
    """The mean of the teachers' laws, where they hold the span, makes a tree distribution: cross-entropy to that."""
    n, lengths = 6, torch.tensor([6, 5])
    rows = SpanCRF(torch.zeros(2, 7, 7), lengths).sample(4, generator=torch.Generator().manual_seed(2))
    if name == "split":
        leaves = [cells.requires_grad_() for cells in random_logits(1, 2, n)]
        student: SpanCRF | SplitModel = SplitModel(leaves, lengths)
    else:
        leaves = [random_scores(1, 2, n).requires_grad_()]
        student = SpanCRF(leaves[0], lengths, backend=name)
    losses = tree_loss("split-average", student, TreeTargets(lengths, teachers=rows), reduction="none")
    for sentence, words in enumerate(lengths.tolist()):
        held = [[(b, e) for b, e in tree[sentence].tolist() if e] for tree in rows]
        laws = [dict(zip(tree, enumeration.splits(tuple(tree)), strict=True)) for tree in held]
        total = torch.zeros((), dtype=torch.float64)
        for tree in enumeration.trees(0, words):
            p = 1.0
            for span, split in zip(tree, enumeration.splits(tree), strict=True):
                having = [law[span] for law in laws if span in law]
                p *= having.count(split) / len(having) if having and p > 0 else 0.0
            if p > 0:
                others = enumeration.trees(0, int(lengths[1 - sentence]))[0]
                pair = [enumeration.as_tensor(tree, 6), enumeration.as_tensor(others, 6)]
                total = total - p * student.log_prob(torch.stack(pair[:: 1 - 2 * sentence]))[sentence]
        assert_close(losses[sentence], total)
    assert all(g is not None for g in torch.autograd.grad(losses.sum(), leaves))
    same = TreeTargets(lengths, teachers=rows[:1].expand(3, -1, -1, -1), average=rows[0])
    hard = tree_loss("hard", student, same)
    assert_close(tree_loss("split-average", student, same), hard)
    assert_close(tree_loss("union", student, same), hard)


def test_span_loss() -> None:
    """Binary cross-entropy of each span of 2 to n - 1 words against its share of the teachers."""
    lengths = torch.tensor([4, 3])
    hits = torch.cat([golden_hits(), golden_hits()])
    scores = random_scores(1, 2, 4).requires_grad_()
    losses = tree_loss("span", SpanCRF(scores, lengths), TreeTargets(lengths, hits=hits, weight=3.0), reduction="none")
    for sentence, n in enumerate((4, 3)):
        total = 0.0
        for b, e in enumeration.spans(n):
            if e - b < n:
                share, p = float(hits[sentence, b, e]) / 3, float(scores.detach()[sentence, b, e].sigmoid())
                total -= share * math.log(p) + (1 - share) * math.log(1 - p)
        assert float(losses[sentence].detach()) == pytest.approx(total, abs=1e-10)
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    assert not gradient[1, :, 4].any()
    assert gradient[0, 0, 4] == 0


# ------------------------------------------------------------------ temperature


def test_match_entropy() -> None:
    hits, lengths = torch.cat([random_hits(s, 6) for s in range(4)]), torch.tensor([6, 5, 6, 4])
    last = 0.0
    for wanted in (0.2, 0.3, 0.5):
        temperature = match_entropy(hits, lengths, wanted)
        entropy = SpanCRF(hits, lengths, temperature=temperature).entropy.sum() / (lengths - 1).sum()
        assert float(entropy) == pytest.approx(wanted, abs=1e-6)
        assert temperature > last
        last = temperature
    parts = match_entropy([hits[:2], hits[2:].float()], [lengths[:2], lengths[2:]], 0.5)
    assert parts == pytest.approx(last, rel=1e-5)


def test_match_entropy_refused() -> None:
    hits, lengths = random_hits(1, 6), torch.tensor([6])
    with pytest.raises(ArgumentError, match=r"nats_per_split: expected .* to 0\.74\d+, which temperatures .* got 2\.0"):
        match_entropy(hits, lengths, 2.0)
    with pytest.raises(ArgumentError, match="nats_per_split: "):
        match_entropy(hits, lengths, math.nan)
    with pytest.raises(ArgumentError, match=r"low, high, tolerance: expected 0 < low < high"):
        match_entropy(hits, lengths, 0.3, low=2.0, high=1.0)
    with pytest.raises(ArgumentError, match="lengths: expected a sentence of two words or more"):
        match_entropy(hits, torch.tensor([1]), 0.3)
    with pytest.raises(ArgumentError, match="lengths: expected one tensor for each of the 2 batches of hits, got 1"):
        match_entropy([hits, hits], lengths, 0.3)


# ------------------------------------------------------------------ batches


def batch_of(
    name: str, n: int, lengths: Tensor, padding: int = 0
) -> tuple[SpanCRF | SplitModel, list[Tensor], TreeTargets]:
    """A student and targets of every sort for a ragged batch, the same whatever the padding."""
    longest = n + padding
    batch = lengths.shape[0]
    trees = SpanCRF(torch.zeros(batch, n + 1, n + 1), lengths).sample(3, generator=torch.Generator().manual_seed(1))
    trees = torch.nn.functional.pad(trees, (0, 0, 0, padding))
    hits = torch.zeros(batch, longest + 1, longest + 1, dtype=torch.float64)
    for tree in trees:
        for sentence in range(batch):
            hits[sentence, tree[sentence, :, 0], tree[sentence, :, 1]] += 1
    hits = hits.triu(1)
    targets = TreeTargets(lengths, hits=hits, weight=3.0, average=SpanCRF(hits, lengths).argmax(), teachers=trees)
    if name == "split":
        logits = [torch.nn.functional.pad(cells, (0, 0, 0, padding)) for cells in random_logits(3, batch, n)]
        logits += [torch.zeros(batch, longest - w + 1, w - 1, dtype=torch.float64) for w in range(n + 1, longest + 1)]
        leaves = [cells.requires_grad_() for cells in logits]
        return SplitModel(leaves, lengths), leaves, targets
    scores = torch.nn.functional.pad(random_scores(3, batch, n), (0, padding, 0, padding)).requires_grad_()
    return SpanCRF(scores, lengths, backend=name), [scores], targets


def kinds_of(name: str) -> list[str]:
    return [kind for kind in KINDS if not (name == "split" and kind == "span") and kind != "js-sampled"]


@students
def test_padding_and_order(name: str) -> None:
    """A sentence's losses depend neither on padding nor on its neighbours; up to two words have none."""
    lengths = torch.tensor([6, 0, 4, 1, 2, 5])
    student, leaves, targets = batch_of(name, 6, lengths)
    wide, wide_leaves, wide_targets = batch_of(name, 6, lengths, 3)
    for kind in kinds_of(name):
        losses = tree_loss(kind, student, targets, reduction="none")
        padded = tree_loss(kind, wide, wide_targets, reduction="none")
        assert_close(losses, padded)
        assert losses[[1, 3, 4]].abs().max() <= 1e-12
        gradients, wide_gradients = (
            torch.autograd.grad(value.sum(), of, retain_graph=True)
            for value, of in ((losses, leaves), (padded, wide_leaves))
        )
        for narrow, broad in zip(gradients, wide_gradients, strict=False):
            assert_close(narrow, broad[tuple(slice(0, size) for size in narrow.shape)])


@students
def test_reductions(name: str) -> None:
    """Sums by trees, nodes, words or a given number; splitting a batch changes nothing under a global number."""
    lengths = torch.tensor([6, 0, 4, 1, 2, 5])
    student, _, targets = batch_of(name, 6, lengths)
    for kind in ("kl", "js", "union"):
        losses = tree_loss(kind, student, targets, reduction="none")
        for reduction, count in (("tree", 5), ("node", 13), ("word", 18)):
            assert_close(tree_loss(kind, student, targets, reduction=reduction), losses.sum() / count)
            assert_close(tree_loss(kind, student, targets, reduction=reduction, n_items=7), losses.sum() / 7)
    assert set(REDUCTIONS) == {"tree", "node", "word", "none"}


@students
def test_nothing_to_learn(name: str) -> None:
    """A batch without splits gives zero, connected to the graph."""
    student, leaves, targets = batch_of(name, 2, torch.tensor([1, 0, 2]))
    for kind in [*kinds_of(name), "js-sampled"]:
        loss = tree_loss(kind, student, targets)
        assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
        gradients = torch.autograd.grad(loss, leaves, retain_graph=True)
        assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("backend", each(BACKENDS))
def test_float32(backend: str) -> None:
    """Single precision, and half types, train too."""
    lengths = torch.tensor([6, 4])
    _, leaves, targets = batch_of(backend, 6, lengths)
    for dtype in (torch.float32, torch.bfloat16):
        scores = leaves[0].detach().to(dtype).requires_grad_()
        rounded = scores.detach().double().requires_grad_()
        for kind in ("kl", "rkl", "js", "tvd", "hard", "span"):
            loss = tree_loss(kind, SpanCRF(scores, lengths, backend=backend), targets)
            assert loss.dtype == torch.float32
            exact = tree_loss(kind, SpanCRF(rounded, lengths, backend=backend), targets)
            assert float(loss.detach()) == pytest.approx(float(exact.detach()), abs=1e-5)
            (gradient,) = torch.autograd.grad(loss, scores)
            (expected,) = torch.autograd.grad(exact, rounded)
            torch.testing.assert_close(
                gradient.double(), expected, rtol=2e-2, atol=2e-3 if dtype.itemsize < 4 else 1e-5
            )


def test_targets_get_no_gradient() -> None:
    lengths = torch.tensor([5])
    hits = random_hits(1, 5).requires_grad_()
    for name in STUDENTS:
        student, leaves = student_of(name, 2, 5)
        for kind in EXACT:
            loss = tree_loss(kind, student, TreeTargets(lengths, hits=hits, weight=5.0))
            (gradient,) = torch.autograd.grad(loss, [hits], allow_unused=True, retain_graph=True)
            assert gradient is None
            assert leaves[0].grad is None


def test_targets_to() -> None:
    targets = TreeTargets(torch.tensor([4]), hits=golden_hits(), weight=3.0)
    moved = targets.to(torch.device("meta"))
    assert moved.lengths.device.type == moved.hits.device.type == "meta"
    assert moved.average is None
    assert moved.weight == 3.0


# ------------------------------------------------------------------ refusals


def test_refused() -> None:
    lengths = torch.tensor([4])
    student = SpanCRF(torch.zeros(1, 5, 5), lengths)
    targets = TreeTargets(lengths, hits=golden_hits(), weight=3.0, average=torch.tensor([GOLDEN_TREES[0]]))
    with pytest.raises(ArgumentError, match=r"kind: expected one of 'kl', .* got 'reverse'"):
        tree_loss("reverse", student, targets)
    with pytest.raises(ArgumentError, match=r"reduction: expected one of .* got 'nodes'\. Did you mean 'node'\?"):
        tree_loss("kl", student, targets, reduction="nodes")
    with pytest.raises(ArgumentError, match=r"targets\.teachers: expected a tensor for the loss 'union', got None\."):
        tree_loss("union", student, targets)
    with pytest.raises(
        ArgumentError, match=r"targets\.hits: expected the student's shape \(1, 5, 5\), got \(1, 4, 4\)"
    ):
        tree_loss("kl", student, TreeTargets(lengths, hits=torch.zeros(1, 4, 4)))
    with pytest.raises(ArgumentError, match=r"targets\.average\[0\]: expected the 3 spans of a binary tree"):
        tree_loss("hard", student, TreeTargets(lengths, average=torch.zeros(1, 3, 2, dtype=torch.int64)))
    with pytest.raises(
        ArgumentError, match=r"targets\.teachers: expected int64 \(K, 1, 3, 2\), K at least 1, got \(1, 3, 2\)"
    ):
        tree_loss("union", student, TreeTargets(lengths, teachers=torch.tensor([GOLDEN_TREES[0]])))
    with pytest.raises(ArgumentError, match=r"targets\.lengths: expected the student's \[4\], got \[3\]\."):
        tree_loss("kl", student, TreeTargets(torch.tensor([3]), hits=golden_hits()))
    with pytest.raises(ArgumentError, match=r"student: expected a SpanCRF for the loss 'span', got SplitModel\."):
        tree_loss("span", student_of("split", 1, 4)[0], targets)
    with pytest.raises(
        ArgumentError, match=r"targets\.hits: expected numbers from 0 to the teachers' weight 1, got 0 to 3"
    ):
        tree_loss("span", student, TreeTargets(lengths, hits=golden_hits()))
    for kind, weight in (("js", 0.0), ("js-naive", 1.0), ("js-sampled", 1.5), ("tvd", -0.1), ("js", math.nan)):
        with pytest.raises(ArgumentError, match=r"student_weight: expected a number .* for .* got"):
            tree_loss(kind, student, targets, student_weight=weight)
    for items in (0, -1, math.inf, "2"):
        with pytest.raises(ArgumentError, match=r"n_items: expected a positive number of items, got"):
            tree_loss("kl", student, targets, n_items=items)  # type: ignore[arg-type]
    for samples in (0, 1.5):
        with pytest.raises(ArgumentError, match=r"samples: expected a whole number of trees, at least 1, got"):
            tree_loss("js-sampled", student, targets, samples=samples)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"temperature: expected a positive number, got -1"):
        tree_loss("kl", student, targets, temperature=-1)
    spoiled = golden_hits()
    spoiled[0, 1, 3] = math.nan
    with pytest.raises(ArgumentError, match=r"targets\.hits\[0, 1, 3\]: expected finite scores"):
        tree_loss("kl", student, TreeTargets(lengths, hits=spoiled))


def test_kinds_are_described() -> None:
    assert {needs for _, needs in KINDS.values()} == {"hits", "average", "teachers"}
    assert all(text and not text.endswith(".") for text, _ in KINDS.values())
    assert set(DIVERGENCES) <= set(KINDS)
    assert split_laws.log_prob([], torch.zeros(2, 0, 2, dtype=torch.int64), torch.zeros(2, 0)).tolist() == [0.0, 0.0]
