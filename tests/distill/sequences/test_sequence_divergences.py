"""Step-wise losses: golden numbers, enumeration of sequences, gradients, temperature, traps, trees, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from sequence_tables import Table, entropy, golden
from torch import Tensor

from treeavg.distill.sequences.align import completions
from treeavg.distill.sequences.losses.divergences import (
    KINDS,
    prefix_log_odds,
    sampled_rkl,
    sequence_loss,
    sequence_nll,
    token_logp,
)
from treeavg.distill.sequences.losses.rows import FORMS, Form, compare, put, score_term, take
from treeavg.distill.sequences.reductions import reduce
from treeavg.distill.sequences.vocabularies.uld import merged
from treeavg.distill.span_crf import SpanCRF
from treeavg.distill.tree_losses import TreeTargets, tree_loss
from treeavg.errors import ArgumentError

SEEDS = range(20)
#: Every kind with every half, as (kind, options).
VARIANTS = [
    *((kind, {}) for kind in KINDS),
    *((kind, {"half": half}) for kind in ("js", "tvd") for half in ("teacher", "student")),
    *((kind, {"student_weight": 0.85}) for kind in ("js", "gjsd", "tvd")),
    *(("js", {"half": half, "student_weight": 0.3}) for half in ("teacher", "student")),
    ("gjsd", {"student_weight": 0.0}), ("gjsd", {"student_weight": 1.0}),
    ("gjsd", {"student_weight": 0.2, "normalize": True}),
    ("tvd", {"half": "student", "student_weight": 0.2}),
]  # fmt: skip


def close(actual: Tensor, expected: Tensor | float, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(
        actual.detach(), torch.as_tensor(expected, dtype=actual.dtype).detach(), rtol=tolerance, atol=tolerance
    )


def naive(
    kind: str,
    teacher: Tensor,
    student: Tensor,
    *,
    half: str = "both",
    student_weight: float = 0.5,
    shares: Tensor | None = None,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    normalize: bool = False,
) -> Tensor:
    """The slow twin, (B, T): probabilities as they are defined, gradients by torch."""
    p, q = (teacher / (teacher_temperature or temperature)).softmax(-1), (student / temperature).softmax(-1)

    def kl(one: Tensor, other: Tensor) -> Tensor:
        return (one * (one.log() - other.log())).sum(-1)

    b = student_weight
    if kind == "tvd":
        return {"both": 1.0, "teacher": 1 - b, "student": b}[half] * 0.5 * (p - q).abs().sum(-1)
    if kind in ("js", "gjsd"):
        if b in (0, 1):
            return kl(p, q) if b else kl(q, p)
        w = b if shares is None else shares[..., None]
        m = (1 - w) * p + w * q
        halves = {"teacher": (1 - b) * kl(p, m), "student": b * kl(q, m)}
        return (halves[half] if half != "both" else sum(halves.values())) / (b * (1 - b) if normalize else 1)
    return {
        "ce": -(p * q.log()).sum(-1),
        "kl": kl(p, q),
        "rkl": kl(q, p),
        "engine": -(q * p.log()).sum(-1),
    }[kind]


def random_pair(seed: int, shape: tuple[int, ...] = (3, 4, 7), scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (scale * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(shape[:2], generator=generator) < 0.7
    return teacher, student.requires_grad_(), mask


def expected(kind: str, over: Table, p: Table, q: Table, **options: object) -> Tensor:
    """The expected sum over the positions of `over`'s strings, all strings one by one; prefixes are constants."""
    strings = over.outcomes()
    chances = torch.stack([over.log_prob(string) for string in strings]).exp().detach()
    (teacher, ids, mask), student = p.batch(strings), q.batch(strings)[0]
    if options.get("mixture") == "prefix":
        odds = prefix_log_odds(teacher, student, ids, mask=mask)
        options["prefix_log_odds"] = odds if options.pop("attached", False) else odds.detach()
    if options.get("score_function"):
        options["ids"] = ids
    losses = sequence_loss(kind, teacher, student, mask, reduction="none", **options)
    return (chances[:, None] * losses).sum()


def js(p: Table, q: Table, b: float = 0.5, **options: object) -> Tensor:
    """Both halves, each over its own strings."""
    return expected("js", p, p, q, half="teacher", student_weight=b, **dict(options)) + expected(
        "js", q, p, q, half="student", student_weight=b, **dict(options)
    )


def whole(p: Table, q: Table) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all strings."""
    return tuple(torch.stack([table.log_prob(string) for string in p.outcomes()]) for table in (p, q))


def exact_js(p: Table, q: Table, b: float = 0.5) -> Tensor:
    log_p, log_q = whole(p, q)
    log_m = torch.logaddexp(log_p + math.log1p(-b), log_q + math.log(b))
    return (1 - b) * (log_p.exp() * (log_p - log_m)).sum() + b * (log_q.exp() * (log_q - log_m)).sum()


def slopes(loss: Tensor, table: Table) -> Tensor:
    """The gradient by a table's logits, in a row."""
    found = torch.autograd.grad(loss, list(table.logits.values()), allow_unused=True)
    return torch.cat([torch.zeros(table.size, dtype=torch.float64) if slope is None else slope for slope in found])


# ------------------------------------------------------------------ golden numbers (H.1.1, H.3.3)


def test_golden_values() -> None:
    p, q = golden()
    assert float(expected("kl", p, p, q)) == pytest.approx(0.6014052560, abs=1e-10)
    assert float(expected("rkl", q, p, q)) == pytest.approx(0.4071756549, abs=1e-10)
    assert float(js(p, q, mixture="prefix")) == pytest.approx(0.1114137700, abs=1e-10)
    assert float(js(p, q)) == pytest.approx(0.1146229536, abs=1e-10)
    mixed = 0.5 * (expected("js", p, p, q) + expected("js", q, p, q))
    assert float(mixed) == pytest.approx(0.1168088333, abs=1e-10)
    both = 0.5 * (expected("gjsd", p, p, q) + expected("gjsd", q, p, q))
    assert float(both) == pytest.approx(0.1168088333, abs=1e-10)
    assert float(expected("tvd", p, p, q)) == pytest.approx(0.62, abs=1e-10)
    assert float(expected("tvd", q, p, q)) == pytest.approx(0.50, abs=1e-10)
    halves = expected("tvd", p, p, q, half="teacher") + expected("tvd", q, p, q, half="student")
    assert float(halves) == pytest.approx(0.56, abs=1e-10)
    log_p, log_q = whole(p, q)
    assert float(0.5 * (log_p.exp() - log_q.exp()).abs().sum()) == pytest.approx(0.35, abs=1e-10)
    assert float(expected("engine", q, p, q)) == pytest.approx(1.2628643222, abs=1e-10)
    assert float(expected("ce", p, p, q)) == pytest.approx(1.6563254240, abs=1e-10)


def test_golden_skewed() -> None:
    """The released weight of the student."""
    assert float(js(*golden(), 0.85, mixture="prefix")) == pytest.approx(0.0669807186, abs=1e-10)


def test_golden_steps() -> None:
    """KL and RKL step by step, and the mixture after a."""
    p, q = golden()
    (teacher, ids, mask), student = p.batch([(1, 0)]), q.batch([(1, 0)])[0]
    kl = sequence_loss("kl", teacher, student, mask, reduction="none")[0] * torch.tensor([1, 0.8], dtype=torch.float64)
    close(kl, torch.tensor([0.1927447570, 0.4086604990], dtype=torch.float64))
    rkl = sequence_loss("rkl", teacher, student, mask, reduction="none")[0] * torch.tensor(
        [1, 0.5], dtype=torch.float64
    )
    close(rkl, torch.tensor([0.2231435513, 0.1840321036], dtype=torch.float64))
    share = prefix_log_odds(teacher, student, ids)[0, 1].sigmoid()
    close(share, 0.3846153846)
    mixture = share * student[0, 1].softmax(-1) + (1 - share) * teacher[0, 1].softmax(-1)
    close(mixture, torch.tensor([0.6538461538, 0.3461538462], dtype=torch.float64))


# ------------------------------------------------------------------ sequences, all of them (H.1.2, H.3)


@pytest.mark.parametrize("seed", SEEDS)
def test_sums_over_steps_are_divergences_of_sequences(seed: int) -> None:
    p, q = Table.random(seed, scale=1.5), Table.random(seed + 100, scale=1.5)
    log_p, log_q = whole(p, q)
    close(expected("kl", p, p, q), (log_p.exp() * (log_p - log_q)).sum())
    close(expected("rkl", q, p, q), (log_q.exp() * (log_q - log_p)).sum())
    close(expected("engine", q, p, q), -(log_q.exp() * log_p).sum())
    close(expected("ce", p, p, q), -(log_p.exp() * log_q).sum())
    close(expected("engine", q, p, q) - entropy(q), expected("rkl", q, p, q))
    variation = 0.5 * (log_p.exp() - log_q.exp()).abs().sum()
    bounds = expected("tvd", p, p, q), expected("tvd", q, p, q)
    assert variation <= min(bounds) + 1e-12
    for b in (0.25, 0.5, 0.85):
        close(js(p, q, b, mixture="prefix"), exact_js(p, q, b))
        gap = js(p, q, b) - js(p, q, b, mixture="prefix")
        strings = [(*prefix, 1) for prefix in p.logits]  # a row for each prefix; its last position is the prefix's
        (teacher, ids, mask), student = p.batch(strings), q.batch(strings)[0]
        odds, total = prefix_log_odds(teacher, student, ids, mask=mask), torch.zeros((), dtype=torch.float64)
        for row, prefix in enumerate(p.logits):
            chance_p, chance_q = p.prefixes()[prefix], q.prefixes()[prefix]
            share = (odds[row, len(prefix)] + math.log(b / (1 - b))).sigmoid()
            laws = p.logits[prefix].softmax(-1), q.logits[prefix].softmax(-1)
            m = (1 - share) * laws[0] + share * laws[1]
            token = (1 - b) * laws[0] + b * laws[1]
            total = total + ((1 - b) * chance_p + b * chance_q) * (m * (m / token).log()).sum()
        close(gap, total)
        assert gap >= -1e-12


def test_token_mixture_beyond_log_2() -> None:
    """The token mixture only bounds; with far apart laws it exceeds what Jensen-Shannon can be."""
    far = [float(js(Table.random(seed, scale=8), Table.random(seed + 50, scale=8))) for seed in range(10)]
    assert max(far) > math.log(2)
    assert all(
        float(js(Table.random(seed, scale=8), Table.random(seed + 50, scale=8), mixture="prefix")) <= math.log(2)
        for seed in range(10)
    )


def test_sampled_prefixes() -> None:
    """Averages over sampled strings are near the exact sums (H.1.3)."""
    p, q = Table.random(3), Table.random(4)
    strings = p.outcomes()
    (teacher, _, mask), student = p.batch(strings), q.batch(strings)[0]
    generator = torch.Generator().manual_seed(0)
    for kind, table in (("kl", p), ("rkl", q), ("tvd", p), ("js", q), ("engine", q)):
        sums = sequence_loss(kind, teacher, student, mask, reduction="none").sum(1)
        chances = torch.stack([table.log_prob(string) for string in strings]).exp()
        drawn = sums[torch.multinomial(chances, 20_000, replacement=True, generator=generator)]
        error = float(drawn.mean() - expected(kind, table, p, q)) / (float(drawn.std()) / math.sqrt(20_000))
        assert abs(error) < 4


@pytest.mark.parametrize("b", [0.2, 0.5, 0.9])
def test_symmetries(b: float) -> None:
    """Swapping p and q exchanges KL with RKL, b with 1 - b, the generators; all are 0 where p = q (H.3.1)."""
    p, q = Table.random(5), Table.random(6)
    for mixture in ("token", "prefix"):
        close(js(p, q, b, mixture=mixture), js(q, p, 1 - b, mixture=mixture))
    close(expected("tvd", p, p, q, student_weight=b), expected("tvd", p, q, p))
    close(expected("kl", p, p, q), expected("rkl", p, q, p))
    teacher, student, mask = random_pair(1)
    for kind, options in VARIANTS:
        if kind not in ("ce", "engine"):
            same = sequence_loss(kind, student, student.clone(), mask, **options)
            close(same, 0.0, 1e-12)
            assert float(sequence_loss(kind, teacher, student, mask, **options).detach()) > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_one_hot_teacher(seed: int) -> None:
    """All mass on one token: KL, soft cross-entropy and -log q agree (H.3.2); zeros on one side cost nothing."""
    _, student, mask = random_pair(seed)
    ids = torch.randint(7, mask.shape, generator=torch.Generator().manual_seed(seed))
    teacher = torch.full_like(student, -math.inf).scatter(2, ids[..., None], 0.0)
    nll = sequence_nll(student, ids, mask)
    (expected_slope,) = torch.autograd.grad(nll, student)
    for kind in ("kl", "ce"):
        loss = sequence_loss(kind, teacher, student, mask)
        close(loss, nll)
        close(torch.autograd.grad(loss, student)[0], expected_slope)
    hot = token_logp(student, ids).exp()
    close(sequence_loss("tvd", teacher, student, mask, reduction="none"), torch.where(mask, 1 - hot, 0).detach())


# ------------------------------------------------------------------ gradients (H.2)


def test_golden_gradients() -> None:
    """The root of golden S, by the logit of the end token (H.2.1)."""
    teacher = torch.tensor([[[0.2, 0.8]]], dtype=torch.float64).log()
    mask = torch.tensor([[True]])

    def slope(kind: str, **options: object) -> float:
        student = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
        sequence_loss(kind, teacher, student, mask, **options).backward()
        assert float(student.grad.sum()) == pytest.approx(0, abs=1e-15)
        return float(student.grad[0, 0, 0])

    assert slope("kl") == pytest.approx(0.3, abs=1e-12)
    assert slope("rkl") == pytest.approx(0.3465735903, abs=1e-10)
    assert slope("engine") == pytest.approx(0.3465735903, abs=1e-10)
    assert slope("tvd") == pytest.approx(0.25, abs=1e-12)
    assert slope("js") == pytest.approx(0.0773799, abs=1e-7)
    assert slope("js", half="teacher") == pytest.approx(0.0824176 / 2, abs=1e-7)
    assert slope("js", half="student") == pytest.approx(0.0723422 / 2, abs=1e-7)


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
@pytest.mark.parametrize("temperatures", [(1.0, None), (2.5, None), (0.7, 3.0)])
def test_against_the_naive_twin(kind: str, options: dict, temperatures: tuple[float, float | None]) -> None:
    """Values and gradients, 20 seeds; rows of the gradient sum to zero, masked ones are zero."""
    for seed in SEEDS:
        teacher, student, mask = random_pair(seed)
        chosen = {**options, "temperature": temperatures[0], "teacher_temperature": temperatures[1]}
        loss = sequence_loss(kind, teacher, student, mask, **chosen, reduction="sequence")
        twin = torch.where(mask, naive(kind, teacher, student, **chosen), 0).sum() / len(mask)
        close(loss, twin)
        (slope,), (other,) = (torch.autograd.grad(value, student) for value in (loss, twin))
        close(slope, other)
        close(slope.sum(-1), torch.zeros(mask.shape, dtype=torch.float64))
        assert float(slope[~mask].abs().sum()) == 0


@pytest.mark.parametrize("half", ["both", "teacher", "student"])
@pytest.mark.parametrize("b", [0.3, 0.5])
def test_prefix_mixture_against_the_naive_twin(half: str, b: float) -> None:
    for seed in SEEDS:
        teacher, student, mask = random_pair(seed)
        odds = torch.randn(mask.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        odds.requires_grad_()
        options = {"half": half, "student_weight": b}
        loss = sequence_loss("js", teacher, student, mask, mixture="prefix", prefix_log_odds=odds, **options)
        shares = (odds + math.log(b / (1 - b))).sigmoid()
        twin = naive("js", teacher, student, shares=shares, **options)[mask].sum() / mask.sum()
        close(loss, twin)
        for slope, other in zip(
            torch.autograd.grad(loss, [student, odds]), torch.autograd.grad(twin, [student, odds]), strict=True
        ):
            close(slope, other)


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_finite_differences(kind: str, options: dict) -> None:
    teacher, student, mask = random_pair(2, (2, 2, 5))
    torch.autograd.gradcheck(lambda z: sequence_loss(kind, teacher, z, mask, temperature=1.5, **options), student)
    if kind == "js":
        odds = torch.randn(mask.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        torch.autograd.gradcheck(
            lambda z, o: sequence_loss(kind, teacher, z, mask, mixture="prefix", prefix_log_odds=o, **options),
            (student, odds.requires_grad_()),
        )


def test_finite_differences_of_tokens() -> None:
    teacher, student, mask = random_pair(3, (2, 3, 5))
    ids = torch.tensor([[1, 2, 3], [4, 0, 0]])
    torch.autograd.gradcheck(lambda z: token_logp(z, ids, mask=mask), student)
    torch.autograd.gradcheck(lambda z: prefix_log_odds(teacher, z, ids), student)
    close(token_logp(student, ids), student.log_softmax(-1).gather(2, ids[..., None])[..., 0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "options"),
    [("rkl", {}), ("engine", {}), ("js", {"half": "student"}), ("tvd", {"half": "student"}), ("gjsd", {}), ("kl", {})],
)
def test_score_function(kind: str, options: dict, seed: int) -> None:
    """With it the expected gradient over the student's strings is the whole gradient (H.2.3); the value stays."""
    p, q = Table.random(seed), Table.random(seed + 30).trainable()
    kept, full = expected(kind, q, p, q, **options), expected(kind, q, p, q, score_function=True, **options)
    close(kept, full)
    whole_sum = torch.zeros((), dtype=torch.float64)
    for prefix, chance in q.prefixes().items():  # probabilities of prefixes are functions of the student
        laws = p.logits[prefix].view(1, 1, -1), q.logits[prefix].view(1, 1, -1)
        whole_sum = whole_sum + chance * naive(kind, *laws, **options).sum()
    close(full, whole_sum)
    wanted = slopes(whole_sum, q)
    close(slopes(full, q), wanted)
    assert float((slopes(kept, q) - wanted).abs().max()) > 1e-3
    if kind == "rkl":
        log_p, log_q = whole(p, q)
        close(wanted, slopes((log_q.exp() * (log_q - log_p)).sum(), q))


def test_baseline_changes_no_expectation() -> None:
    p, q = Table.random(1), Table.random(31).trainable()
    strings = q.outcomes()
    chances = torch.stack([q.log_prob(string) for string in strings]).exp().detach()
    (teacher, ids, mask), student = p.batch(strings), q.batch(strings)[0]
    heights = torch.full(mask.shape, 0.7, dtype=torch.float64)
    found = []
    for baseline in (None, heights):
        losses = sequence_loss(
            "rkl", teacher, student, mask, score_function=True, ids=ids, baseline=baseline, reduction="none"
        )
        found.append(torch.autograd.grad(losses, student, chances[:, None].expand(mask.shape), retain_graph=True)[0])
    assert float((found[0] - found[1]).abs().max()) > 1e-3
    by_table = [slopes((slope * student).sum(), q) for slope in found]
    close(by_table[0], by_table[1])


@pytest.mark.parametrize("seed", SEEDS)
def test_sampled_reverse_kl(seed: int) -> None:
    """Its expected gradient over the next token is that of the whole vocabulary (H.2.4)."""
    teacher, student, _ = random_pair(seed, (1, 1, 6))
    mask, total, value = torch.tensor([[True]]), torch.zeros_like(student), 0.0
    for token in range(6):
        ids = torch.tensor([[token]])
        logp = token_logp(student, ids)
        loss = sampled_rkl(token_logp(teacher, ids), logp, mask)
        total = total + float(logp.detach().exp()) * torch.autograd.grad(loss, student)[0]
        value += float(logp.detach().exp() * loss.detach())
    exact = sequence_loss("rkl", teacher, student, mask)
    close(total, torch.autograd.grad(exact, student)[0])
    assert value == pytest.approx(float(exact.detach()), abs=1e-12)


@pytest.mark.parametrize("b", [0.3, 0.5, 0.85])
def test_what_flows_through_the_mixture(b: float) -> None:
    """Detached, the teacher half has no gradient; exact, both halves have that of the student's, m detached (H.2.5)."""
    p, q = Table.random(7), Table.random(8).trainable()
    both = js(p, q, b, mixture="prefix", attached=True)
    student_half = torch.zeros((), dtype=torch.float64)
    for prefix, chance in q.prefixes().items():
        odds = (chance / p.prefixes()[prefix]).log().detach()
        share = (odds + math.log(b / (1 - b))).sigmoid()
        log_p, log_q = p.logits[prefix].log_softmax(-1), q.logits[prefix].log_softmax(-1)
        m = ((1 - share) * log_p.exp() + share * log_q.exp()).detach()
        student_half = student_half + b * chance.detach() * (log_q.exp() * (log_q - m.log())).sum()
    close(slopes(both, q), slopes(student_half, q))
    teacher_half = expected("js", p, p, q, half="teacher", student_weight=b)
    assert float(slopes(teacher_half, q).abs().max()) > 1e-3  # attached, it is the pull on the teacher's prefixes


def test_hard_engine_has_no_gradient() -> None:
    """-log p of sampled ids is a constant of the student (H.2.6)."""
    teacher, student, _ = random_pair(0)
    ids = student.argmax(-1)
    assert not token_logp(teacher, ids).requires_grad
    loss = -token_logp(teacher, ids).sum() + 0 * student.sum()
    assert float(torch.autograd.grad(loss, student)[0].abs().sum()) == 0


def test_nothing_flows_to_the_teacher() -> None:
    teacher, student, mask = random_pair(0)
    teacher.requires_grad_()
    for kind in KINDS:
        sequence_loss(kind, teacher, student, mask).backward()
    assert teacher.grad is None
    ids = student.argmax(-1)
    prefix_log_odds(teacher, student, ids).sum().backward()
    assert teacher.grad is None


# ------------------------------------------------------------------ temperature, gjsd (H.4, H.9.1; trap vi)


def test_temperature_limits() -> None:
    teacher, student, _ = random_pair(4, scale=1.0)
    mask = torch.ones(teacher.shape[:2], dtype=torch.bool)
    gaps = (teacher - student).detach()

    def loss(kind: str, tau: float, **options: object) -> Tensor:
        options = {"scale_by_temperature": True, "reduction": "none", **options}
        return sequence_loss(kind, teacher, student, mask, temperature=tau, **options).detach()

    half_variance = 0.5 * gaps.var(-1, correction=0)
    for kind in ("kl", "rkl"):
        close(loss(kind, 1e3), half_variance, 1e-3)
    close(4 * loss("js", 1e3), half_variance, 1e-3)
    close(loss("tvd", 1e3), 0.5 * (gaps - gaps.mean(-1, keepdim=True)).abs().mean(-1), 1e-3)
    for kind in KINDS:
        assert torch.equal(loss(kind, 1.0), loss(kind, 1.0, scale_by_temperature=False))
        power = 1 if kind == "tvd" else 2
        close(loss(kind, 3.0), 3.0**power * loss(kind, 3.0, scale_by_temperature=False))


def test_gradient_with_temperature() -> None:
    teacher, student, _ = random_pair(5)
    mask = torch.ones(teacher.shape[:2], dtype=torch.bool)
    for kind in ("kl", "ce"):
        loss = sequence_loss(
            kind, teacher, student, mask, temperature=3.0, scale_by_temperature=True, reduction="none"
        ).sum()
        wanted = 3 * ((student / 3).softmax(-1) - (teacher / 3).softmax(-1))
        close(torch.autograd.grad(loss, student)[0], wanted)


def test_gjsd_ends() -> None:
    """GKD's beta is 1 - b: next to 0 it is beta KL(p || q), next to 1 it is (1 - beta) KL(q || p) (H.9.1)."""
    teacher, student, mask = random_pair(6)
    kl, rkl = (sequence_loss(kind, teacher, student, mask) for kind in ("kl", "rkl"))
    for beta, limit in ((1e-5, kl), (1 - 1e-5, rkl)):
        near = sequence_loss("gjsd", teacher, student, mask, student_weight=1 - beta)
        close(near / min(beta, 1 - beta), limit, 1e-2)
        even = sequence_loss("gjsd", teacher, student, mask, student_weight=1 - beta, normalize=True)
        close(even, limit, 1e-2)
        for normalize in (False, True):
            end = round(1 - beta)
            close(sequence_loss("gjsd", teacher, student, mask, student_weight=end, normalize=normalize), limit)
    middle = sequence_loss("gjsd", teacher, student, mask)
    close(sequence_loss("gjsd", teacher, student, mask, normalize=True), 4 * middle)
    close(sequence_loss("js", teacher, student, mask), middle)


# ------------------------------------------------------------------ numbers at their limits (trap v; bad input)


def test_far_apart_laws_in_single_precision() -> None:
    """Nothing is added to probabilities: KL of far apart laws is as large as it is, Jensen-Shannon stays log 2."""
    teacher, student = torch.tensor([[[200.0, 0.0, -50.0]]]), torch.tensor([[[0.0, 200.0, -50.0]]], requires_grad=True)
    mask = torch.tensor([[True]])
    for kind, value in (("kl", 200.0), ("rkl", 200.0), ("js", math.log(2)), ("tvd", 1.0), ("engine", 200.0)):
        loss = sequence_loss(kind, teacher, student, mask)
        (slope,) = torch.autograd.grad(loss, student)
        assert loss.item() == pytest.approx(value, rel=1e-5)
        assert bool(slope.isfinite().all())


def test_tokens_of_no_probability() -> None:
    """Padded tokens at minus infinity on both sides change nothing, in value or gradient."""
    for kind, options in VARIANTS:
        teacher, student, mask = random_pair(7)
        end = torch.full((*mask.shape, 2), -math.inf, dtype=torch.float64)
        padded = torch.cat([student.detach(), end], -1).requires_grad_()
        loss = sequence_loss(kind, torch.cat([teacher, end], -1), padded, mask, **options)
        plain = sequence_loss(kind, teacher, student, mask, **options)
        close(loss, plain)
        slope = torch.autograd.grad(loss, padded)[0]
        close(slope[..., :-2], torch.autograd.grad(plain, student)[0])
        assert float(slope[..., -2:].abs().sum()) == 0


def test_disjoint_supports() -> None:
    """Bounded losses stay finite, with a finite gradient."""
    teacher = torch.tensor([[[0.0, -math.inf]]])
    for kind, value in (("js", math.log(2)), ("gjsd", math.log(2)), ("tvd", 1.0)):
        student = torch.tensor([[[-math.inf, 0.0]]], requires_grad=True)
        loss = sequence_loss(kind, teacher, student, torch.tensor([[True]]))
        loss.backward()
        assert loss.item() == pytest.approx(value, rel=1e-6)
        assert bool(student.grad.isfinite().all())


@pytest.mark.parametrize("low", [-1e4, -1e9, torch.finfo(torch.float32).min, -math.inf])
def test_tokens_masked_on_one_side(low: float) -> None:
    """A column held down by a large negative number swallows nothing of a bounded loss, against float64.

    Log-ratios of 1e9 once entered the sum of Jensen-Shannon and left it wrong by 0.2.
    """
    teacher, student, _ = random_pair(13, (2, 3, 8), 1.0)
    student = student.detach().clone()
    student[..., 3] = low
    mask = torch.ones(2, 3, dtype=torch.bool)
    p, q = teacher.softmax(-1), student.softmax(-1)
    m = (0.3 * p + 0.7 * q).log()
    halves = {"teacher": 0.3 * (p * (p.log() - m)), "student": 0.7 * torch.special.xlogy(q, q) - 0.7 * q * m}
    for half, terms in (*halves.items(), ("both", sum(halves.values()))):
        single = student.float().requires_grad_()
        loss = sequence_loss("js", teacher.float(), single, mask, half=half, student_weight=0.7, reduction="none")
        torch.testing.assert_close(loss.double(), terms.sum(-1), rtol=1e-5, atol=1e-6)
        assert bool(torch.autograd.grad(loss.sum(), single)[0].isfinite().all())


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5), (1, 1, 1), (1, 1, 5), (2, 3, 1)], ids=str)
def test_smallest_shapes(shape: tuple[int, int, int]) -> None:
    """No row, no token, one token, one word: a law of one word differs from no other."""
    for kind, options in VARIANTS:
        teacher, student, _ = random_pair(14, shape)
        mask = torch.ones(shape[:2], dtype=torch.bool)
        loss = sequence_loss(kind, teacher, student, mask, **options)
        loss.backward()
        assert student.grad.shape == shape
        twin = naive(kind, teacher, student.detach(), **options)
        close(loss, twin.sum() / max(mask.sum(), 1))
        if shape[2] == 1:
            assert abs(loss.item()) < 1e-15
            assert float(student.grad.abs().sum()) < 1e-15


def test_autocast_and_inputs() -> None:
    """Autocast changes no loss of logits in single precision; inputs stay as they were."""
    for kind, options in VARIANTS:
        teacher, student, mask = random_pair(15)
        teacher, student = teacher.float(), student.detach().float().requires_grad_()
        copies = [tensor.detach().clone() for tensor in (teacher, student, mask)]
        plain = sequence_loss(kind, teacher, student, mask, **options)
        (slope,) = torch.autograd.grad(plain, student)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = sequence_loss(kind, teacher, student, mask, **options)
            (again,) = torch.autograd.grad(loss, student)
        assert torch.equal(loss, plain)
        assert torch.equal(again, slope)
        assert all(torch.equal(one, other) for one, other in zip(copies, (teacher, student, mask), strict=True))


def test_odds_after_a_token_that_the_teacher_cannot_write() -> None:
    """Before it they are what they were, after it the prefix is the student's alone; loss and gradient are finite."""
    teacher, student, _ = random_pair(16, (1, 4, 5))
    ids = torch.tensor([[1, 2, 3, 4]])
    plain = prefix_log_odds(teacher, student, ids)
    teacher[0, 1, 2] = -math.inf
    odds = prefix_log_odds(teacher, student, ids)
    close(odds[:, :2], plain[:, :2])
    assert odds[0, 2:].tolist() == [math.inf, math.inf]
    assert prefix_log_odds(teacher[:, :0], student[:, :0], ids[:, :0]).shape == (1, 0)
    mask = torch.ones(1, 4, dtype=torch.bool)
    options = {"half": "student", "mixture": "prefix", "prefix_log_odds": odds, "reduction": "none"}
    loss = sequence_loss("js", teacher, student, mask, **options)
    assert bool(torch.autograd.grad(loss.sum(), student)[0].isfinite().all())
    assert float(loss.detach()[0, 2:].abs().max()) < 1e-9  # the mixture is the student itself


def test_masked_tokens_of_sampled_reverse_kl() -> None:
    """What a server says of padding, minus infinity or NaN, does not reach the student's gradient as 0 times that."""
    student = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logp = student.log_softmax(-1)[..., 1]
    mask = torch.tensor([[True, False, False]])
    loss = sampled_rkl(torch.tensor([[-1.0, -math.inf, math.nan]]), logp, mask)
    (slope,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(logp[0, 0].item() + 1)
    assert bool(slope.isfinite().all())
    assert slope[0, 0].any()
    assert not slope[0, 1:].any()


def test_nothing_is_read_back_from_a_device() -> None:
    """On the device without data whatever waits for a value fails: blocks of losses and reductions do not."""
    teacher, student = torch.empty(3, 6, device="meta"), torch.empty(3, 6, device="meta")
    row, mask = torch.empty(3, device="meta"), torch.empty(3, 4, dtype=torch.bool, device="meta")
    for name in FORMS:
        for odds in (None, row):
            block = compare(Form(name), teacher, student, odds=odds, upstream=row)
            assert block.value.shape == (3,)
            assert block.gradient.shape == (3, 6)
    ids = torch.empty(3, dtype=torch.int64, device="meta")
    assert score_term(student, ids, row).shape == (3, 6)
    assert put(torch.empty(1, 3, 6, device="meta"), ids, student) is None
    assert take(torch.empty(1, 3, 6, device="meta"), ids).shape == (3, 6)
    for reduction in ("token", "sequence", "sequence_mean"):
        assert reduce(torch.empty(3, 4, device="meta"), mask, reduction=reduction).shape == ()
    assert sampled_rkl(torch.empty(3, 4, device="meta"), torch.empty(3, 4, device="meta"), mask).shape == ()
    assert completions(torch.empty(3, 4, dtype=torch.int64, device="meta"), [0, 1]).mask.shape == (3, 4)
    assert merged(student, ids, [[0, 1], [2]]).shape == (2, 6)


def test_half_types_and_views() -> None:
    """Low precision is computed in float32, its gradient comes back in its own type; strides do not matter."""
    teacher, student, mask = random_pair(8)
    low = student.detach().bfloat16().requires_grad_()
    loss = sequence_loss("js", teacher.bfloat16(), low, mask)
    assert loss.dtype == torch.float32
    loss.backward()
    assert low.grad.dtype == torch.bfloat16
    close(loss, float(sequence_loss("js", teacher.bfloat16().float(), low.float(), mask).detach()), 1e-6)
    for view in (
        student.detach().transpose(0, 1).contiguous().transpose(0, 1),
        torch.cat([student.detach()] * 2, 1)[:, :4],
        student.detach().transpose(1, 2).contiguous().transpose(1, 2),
    ):
        leaf = view.requires_grad_()
        found = sequence_loss("rkl", teacher, leaf, mask)
        plain = sequence_loss("rkl", teacher, student, mask)
        close(found, plain)
        close(torch.autograd.grad(found, leaf)[0], torch.autograd.grad(plain, student)[0])


@pytest.mark.parametrize("elements", [1, 7, 30, 1 << 20])
def test_any_size_of_block(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student, mask = random_pair(9, (5, 6, 7))
    want = sequence_loss("js", teacher, student, mask)
    (slope,) = torch.autograd.grad(want, student)
    monkeypatch.setattr("treeavg.distill.sequences.losses.rows.CPU_ELEMENTS", elements)
    loss = sequence_loss("js", teacher, student, mask)
    close(loss, want)
    close(torch.autograd.grad(loss, student)[0], slope)


def test_masked_positions_may_hold_anything() -> None:
    for kind, options in VARIANTS:
        teacher, student, mask = random_pair(10)
        spoiled = student.detach().clone()
        spoiled[~mask] = math.nan
        spoiled.requires_grad_()
        loss = sequence_loss(kind, teacher, spoiled, mask, **options)
        close(loss, sequence_loss(kind, teacher, student, mask, **options))
        assert bool(torch.autograd.grad(loss, spoiled)[0].isfinite().all())


def test_gradient_twice() -> None:
    """The graph may be kept; second derivatives are refused."""
    teacher, student, mask = random_pair(11)
    loss = sequence_loss("kl", teacher, student, mask)
    first, second = torch.autograd.grad(loss, student, retain_graph=True), torch.autograd.grad(loss, student)
    assert torch.equal(first[0], second[0])
    (slope,) = torch.autograd.grad(sequence_loss("kl", teacher, student, mask), student, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        slope.sum().backward()


@pytest.mark.parametrize("name", sorted(FORMS))
@pytest.mark.parametrize("odds", [None, torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64)])
def test_the_path_of_accelerators(name: str, odds: Tensor | None) -> None:
    """There it is not asked whether a probability is zero: the careful form gives the same."""
    teacher, student, _ = random_pair(12, (1, 3, 6))
    laws = [logits.detach()[0].log_softmax(-1) for logits in (teacher, student)]
    scale = torch.tensor([[1.0], [2.0], [-0.5]], dtype=torch.float64)
    form = Form(name, teacher_half=0.3, student_half=0.7, odds=math.log(0.7 / 0.3))
    plain, careful = (
        FORMS[name](form, laws[0].clone(), laws[1].clone(), odds, scale, exact) for exact in (False, True)
    )
    for one, other in zip(plain, careful, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.equal(one, other)


# ------------------------------------------------------------------ trees as sequences (H.12.5)


def trees(begin: int, end: int) -> list[list[tuple[int, int, int]]]:
    """All binary trees, as the splits (begin, split, end) of their spans in pre-order."""
    if end - begin < 2:
        return [[]]
    return [
        [(begin, split, end), *left, *right]
        for split in range(begin + 1, end)
        for left in trees(begin, split)
        for right in trees(split, end)
    ]


def as_sequences(crf: SpanCRF, n: int) -> tuple[Tensor, Tensor]:
    """Logits (trees, n - 1, n) of the pre-order splits, and the log-probabilities of the trees."""
    rows, total = [], []
    for tree in trees(0, n):
        laws, chances = [], []
        for begin, split, end in tree:
            law = torch.full((n,), -math.inf, dtype=torch.float64)
            law[begin + 1 : end] = crf.split_laws[end - begin - 2][0, begin]
            laws.append(law)
            chances.append(law[split])
        rows.append(torch.stack(laws))
        total.append(torch.stack(chances).sum())
    return torch.stack(rows), torch.stack(total)


@pytest.mark.parametrize("seed", range(4))
def test_trees_as_sequences_of_splits(seed: int) -> None:
    """Pre-order splits fed to the sequence losses give the tree losses, gradients included."""
    n = 5
    lengths = torch.tensor([n])
    generator = torch.Generator().manual_seed(seed)
    scores = 1.5 * torch.randn(2, 1, n + 1, n + 1, generator=generator, dtype=torch.float64)
    leaf = scores[1].clone().requires_grad_()
    teacher, student = SpanCRF(scores[0], lengths), SpanCRF(leaf, lengths)
    (p, p_logp), (q, q_logp) = as_sequences(teacher, n), as_sequences(student, n)
    ids = torch.tensor([[split for _, split, _ in tree] for tree in trees(0, n)])
    mask = torch.ones(ids.shape, dtype=torch.bool)
    assert len(ids) == 14
    close(token_logp(p, ids).sum(1), p_logp)

    def over(logp: Tensor, kind: str, **options: object) -> Tensor:
        losses = sequence_loss(kind, p, q, mask, reduction="none", **options)
        return (logp.exp().detach()[:, None] * losses).sum()

    targets = TreeTargets(lengths, hits=scores[0])
    for kind, name, logp, weight in (
        ("kl", "kl", p_logp, 0.5), ("rkl", "rkl", q_logp, 0.5), ("engine", "engine", q_logp, 0.5),
        ("tvd", "tvd-teacher", p_logp, 0.5), ("tvd", "tvd-student", q_logp, 0.5),
    ):  # fmt: skip
        wanted = tree_loss(name, student, targets, reduction="tree", student_weight=weight)
        close(over(logp, kind), wanted)
        # greedy step-wise training: the prefixes are constants
        step = tree_loss(name, student, targets, reduction="tree", detach_visits=True)
        close(
            torch.autograd.grad(over(logp, kind), leaf, retain_graph=True)[0],
            torch.autograd.grad(step, leaf, retain_graph=True)[0],
        )
    for b in (0.5, 0.85):
        halves = [
            over(logp, "js", half=half, student_weight=b) for half, logp in (("teacher", p_logp), ("student", q_logp))
        ]
        close(sum(halves), tree_loss("js-naive", student, targets, reduction="tree", student_weight=b))
        odds = prefix_log_odds(p, q, ids).detach()
        exact = [
            over(logp, "js", half=half, student_weight=b, mixture="prefix", prefix_log_odds=odds)
            for half, logp in (("teacher", p_logp), ("student", q_logp))
        ]
        log_m = torch.logaddexp(p_logp + math.log1p(-b), q_logp + math.log(b))
        whole_trees = (1 - b) * (p_logp.exp() * (p_logp - log_m)).sum() + b * (q_logp.exp() * (q_logp - log_m)).sum()
        close(sum(exact), whole_trees)


# ------------------------------------------------------------------ refusals


def refuse(message: str, kind: str = "js", **options: object) -> None:
    teacher, student, mask = random_pair(0)
    with pytest.raises(ArgumentError, match=message):
        sequence_loss(kind, teacher, student, mask, **options)


def test_messages_of_options() -> None:
    odds = torch.zeros(3, 4)
    refuse(r"kind: expected one of 'ce', 'kl', .* got 'jsd'\. Did you mean", kind="jsd")
    refuse(r"half: expected one of 'both', 'teacher', 'student', got 'teachers'", half="teachers")
    refuse(r"mixture: expected one of 'token', 'prefix', got 'log'", mixture="log")
    refuse(r"half: expected 'both' for 'kl', as js and tvd have halves, got 'teacher'", kind="kl", half="teacher")
    refuse(r"mixture: expected 'token' for 'tvd', as only js takes", kind="tvd", mixture="prefix", prefix_log_odds=odds)
    refuse(r"normalize: expected False for 'js', as only gjsd", normalize=True)
    refuse(r"student_weight: expected 0\.5 for 'rkl', as js, gjsd and tvd have", kind="rkl", student_weight=0.4)
    for weight in (0.0, 1.0, math.nan, "1"):
        refuse(r"student_weight: expected a number between 0 and 1, the ends left out, for 'js'", student_weight=weight)
    refuse(r"student_weight: expected a number from 0 to 1, for 'gjsd', got 1\.5", kind="gjsd", student_weight=1.5)
    refuse(r"temperature: expected a positive number, got 0", temperature=0)
    refuse(r"teacher_temperature: expected a positive number, got inf", teacher_temperature=math.inf)
    refuse(r"prefix_log_odds: expected a tensor with mixture='prefix', got None", mixture="prefix")
    refuse(r"prefix_log_odds: expected None with mixture='token', got a tensor", prefix_log_odds=odds)
    refuse(
        r"prefix_log_odds: expected the mask's shape \(3, 4\), got \(3, 3\)",
        mixture="prefix",
        prefix_log_odds=odds[:, :3],
    )
    refuse(r"score_function: expected True with ids .* got score_function=True, ids not given", score_function=True)
    refuse(r"score_function: expected True .* got score_function=False, ids given", ids=odds.long())
    refuse(r"score_function: expected True .* baseline given", baseline=odds)
    refuse(r"score_function: expected False with half='teacher'", half="teacher", score_function=True, ids=odds.long())
    refuse(r"ids: expected int64 of shape", half="student", score_function=True, ids=odds)
    far = torch.full((3, 4), 7)
    refuse(r"ids: expected tokens from 0 to 6, got 0 to 7\. Mask other", half="student", score_function=True, ids=far)
    refuse(r"reduction: expected one of 'token'", reduction="mean")


def test_messages_of_shapes() -> None:
    teacher, student, mask = random_pair(0)
    with pytest.raises(
        ArgumentError, match=r"teacher_logits: expected the student's vocabulary of 7, got 6\. Where only"
    ):
        sequence_loss("kl", teacher[..., :6], student, mask)
    with pytest.raises(
        ArgumentError, match=r"teacher_logits: expected the student's shape \(3, 4, 7\), got \(3, 3, 7\)"
    ):
        sequence_loss("kl", teacher[:, :3], student, mask)
    with pytest.raises(
        ArgumentError, match=r"student_logits: expected floating logits of shape \(B, T, V\), got torch.int"
    ):
        sequence_loss("kl", teacher, student.long(), mask)
    with pytest.raises(
        ArgumentError, match=r"teacher_logits: expected a tensor on cpu, where the student's are, got one on"
    ):
        sequence_loss("kl", teacher.to("meta"), student, mask)
    with pytest.raises(ArgumentError, match=r"mask: expected bool of shape \(3, 4\)"):
        sequence_loss("kl", teacher, student, mask.int())
    ids = torch.zeros(3, 4, dtype=torch.int64)
    with pytest.raises(ArgumentError, match=r"ids: expected tokens from 0 to 6, got 0 to 9\. Mask other positions"):
        token_logp(student, ids.index_fill(1, torch.tensor([1]), 9))
    with pytest.raises(ArgumentError, match=r"ids: expected tokens from 0 to 6, got -100 to 0"):
        token_logp(student, ids.index_fill(1, torch.tensor([1]), -100))
    with pytest.raises(ArgumentError, match=r"logits: expected floating, \(3, 4\) as ids, and a vocabulary, got"):
        token_logp(student[:, :3], ids)
    with pytest.raises(ArgumentError, match=r"teacher_logp: expected the student's shape \(3, 4\), got \(4, 3\)"):
        sampled_rkl(torch.zeros(4, 3), torch.zeros(3, 4), mask)


def test_messages_of_values() -> None:
    teacher, student, mask = random_pair(0)
    mask[1, 2] = True
    for spoiled in (math.nan, math.inf):
        wrong = teacher.clone()
        wrong[1, 2, 3] = spoiled
        for one, other in ((wrong, student), (student.detach(), wrong)):
            for kind in KINDS:
                with pytest.raises(ArgumentError, match=r"logits\[1, 2\]: expected numbers, got NaN or an infinity"):
                    sequence_loss(kind, one, other, mask)
    impossible = teacher.clone()
    impossible[1, 2, 3] = -math.inf
    for kind, one, other in (("kl", student.detach(), impossible), ("rkl", impossible, student)):
        with pytest.raises(
            ArgumentError, match=rf"logits\[1, 2\]: expected a finite '{kind}', got inf: one side gives"
        ):
            sequence_loss(kind, one, other, mask)


def test_kinds_are_described() -> None:
    assert {generator for _, generator in KINDS.values()} == {"teacher", "student", "both"}
    assert all(text and not text.endswith(".") for text, _ in KINDS.values())
