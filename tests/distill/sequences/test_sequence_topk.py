"""Top-k records and their losses: the bucket's properties, a twin by autograd, enumeration, rounding, refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from sequence_tables import Table, golden
from torch import Tensor

from treeavg.distill.sequences.losses.divergences import sequence_loss
from treeavg.distill.sequences.losses.topk import TAILS, TopK, position_weights, scored, top_k, top_k_loss
from treeavg.errors import ArgumentError

SEEDS = range(20)
ALL = torch.ones(2, 3, dtype=torch.bool)


def logits(seed: int, *, rows: int = 2, length: int = 3, size: int = 7, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, length, size, generator=generator, dtype=torch.float64)


def twin_law(law: Tensor, ids: list[int]) -> Tensor:
    """The probabilities of some tokens and of the others together, one position."""
    others = [token for token in range(len(law)) if token not in ids]
    return torch.stack(
        [*(law[token] for token in ids), sum((law[token] for token in others), torch.zeros(()).double())]
    )


def twin(kind: str, p: Tensor, q: Tensor, b: float = 0.5) -> Tensor:
    """A divergence of two laws without zeros, term by term."""
    m = (1 - b) * p + b * q
    terms = {
        "ce": -p * q.log(),
        "kl": p * (p / q).log(),
        "rkl": q * (q / p).log(),
        "engine": -q * p.log(),
        "js": (1 - b) * p * (p / m).log() + b * q * (q / m).log(),
        "gjsd": (1 - b) * p * (p / m).log() + b * q * (q / m).log(),
        "tvd": (p - q).abs() / 2,
    }
    return terms[kind].sum()


def value(tensor: Tensor) -> float:
    return tensor.detach().item()


KINDS = ("ce", "kl", "rkl", "engine", "js", "gjsd", "tvd")


# ------------------------------------------------------------------ records


def test_records() -> None:
    """Normalised over the whole vocabulary, at the temperature; the k likeliest first."""
    z = logits(0)
    for temperature in (1.0, 2.5):
        law = (z / temperature).log_softmax(-1)
        record = top_k(z, 3, temperature=temperature)
        assert record.temperature == temperature
        assert torch.allclose(record.log_probs, law.sort(-1, descending=True).values[..., :3], atol=1e-12)
        assert torch.allclose(record.log_probs, law.gather(-1, record.ids), atol=1e-12)
        given = torch.tensor([4, 0]).repeat(2, 3, 1)
        assert torch.allclose(scored(z, given, temperature=temperature).log_probs, law.gather(-1, given), atol=1e-12)


def test_records_of_masked_positions() -> None:
    """Masked positions may hold anything; their records are laws."""
    z = logits(1)
    z[1, 2] = math.nan
    mask = ALL.clone()
    mask[1, 2] = False
    for record in (top_k(z, 2, mask=mask), scored(z, torch.tensor([3, 1]).repeat(2, 3, 1), mask=mask)):
        assert torch.allclose(record.log_probs[1, 2].exp(), torch.full((2,), 0.5).double())
        assert record.log_probs.isfinite().all()
    assert top_k(z, 2, mask=mask).ids[1, 2].tolist() == [0, 1]


def test_many_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """More positions than are held at once, and half precision: the same as position by position."""
    monkeypatch.setattr("treeavg.distill.sequences.losses.rows.CPU_ELEMENTS", 500)
    z = logits(2, rows=3, length=200, size=5).to(torch.bfloat16)
    record = top_k(z, 2)
    assert record.log_probs.dtype == torch.float32
    mask = torch.rand(3, 200, generator=torch.Generator().manual_seed(0)) < 0.7
    student = z.flip(0).requires_grad_()
    whole = top_k_loss("kl", record, student, mask, reduction="none")
    (slope,) = torch.autograd.grad(whole.sum(), student)
    assert slope.dtype == torch.bfloat16
    for row, place in ((0, 0), (1, 150), (2, 199)):
        alone = student[row : row + 1, place : place + 1].detach().requires_grad_()
        one = TopK(record.ids[row : row + 1, place : place + 1], record.log_probs[row : row + 1, place : place + 1])
        loss = top_k_loss("kl", one, alone, mask[row : row + 1, place : place + 1], reduction="sequence")
        assert value(loss) == pytest.approx(value(whole[row, place]), abs=1e-6)
        loss.backward()
        assert torch.allclose(alone.grad[0, 0], slope[row, place], atol=1e-2)
    assert not slope[~mask].any()


# ------------------------------------------------------------------ H.9.3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["kl", "rkl", "js", "gjsd", "tvd"])
def test_bucket_is_a_lower_bound(kind: str, seed: int) -> None:
    """Below the full divergence, growing with the set, and equal to it at k = V."""
    p, q = logits(seed), logits(100 + seed)
    full = sequence_loss(kind, p, q, ALL, reduction="none")
    found = [top_k_loss(kind, top_k(p, k), q, ALL, reduction="none") for k in range(1, 8)]
    for smaller, larger in pairwise(found):
        assert (smaller <= larger + 1e-12).all()
        assert (smaller >= 0).all()
    assert (found[-1] - full).abs().max() < 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_whole_vocabulary(kind: str) -> None:
    """At k = V value and gradient are the dense loss's, at any temperature and scaled."""
    for seed in SEEDS:
        p, q = logits(seed), logits(50 + seed).requires_grad_()
        for temperature, scale in ((1.0, False), (2.0, True)):
            record = top_k(p, 7, temperature=temperature)
            got = top_k_loss(kind, record, q, ALL, temperature=temperature, scale_by_temperature=scale)
            want = sequence_loss(kind, p, q, ALL, temperature=temperature, scale_by_temperature=scale)
            slopes = [torch.autograd.grad(loss, q)[0] for loss in (got, want)]
            assert value(got - want) == pytest.approx(0, abs=1e-10)
            assert (slopes[0] - slopes[1]).abs().max() < 1e-10


@pytest.mark.parametrize("seed", SEEDS)
def test_decomposition(seed: int) -> None:
    """The bucket's KL is that of the two masses, and the teacher's mass times the renormalised KL."""
    p, q = logits(seed), logits(60 + seed)
    record = top_k(p, 3)
    mass_p = record.log_probs.exp().sum(-1)
    mass_q = q.softmax(-1).gather(-1, record.ids).sum(-1)
    binary = mass_p * (mass_p / mass_q).log() + (1 - mass_p) * ((1 - mass_p) / (1 - mass_q)).log()
    inner = top_k_loss("kl", record, q, ALL, tail="renormalised", reduction="none")
    got = top_k_loss("kl", record, q, ALL, reduction="none")
    assert (got - binary - mass_p * inner).abs().max() < 1e-10
    one = top_k_loss("kl", top_k(p, 1), q, ALL, tail="renormalised", reduction="none")
    assert one.abs().max() < 1e-12


def test_truncated_is_no_divergence() -> None:
    """A seed where the truncated sum exceeds the full divergence, and one where it is negative."""
    above = below = False
    for seed in SEEDS:
        p, q = logits(seed), logits(100 + seed) if seed % 2 else 2 * logits(seed)
        full = sequence_loss("kl", p, q, ALL, reduction="none")
        cut = top_k_loss("kl", top_k(p, 2), q, ALL, tail="truncated", reduction="none")
        law, other = p.log_softmax(-1), q.log_softmax(-1)
        ids = top_k(p, 2).ids
        by_hand = (law.exp() * (law - other)).gather(-1, ids).sum(-1)
        assert (cut - by_hand).abs().max() < 1e-12
        above |= bool((cut > full + 1e-3).any())
        below |= bool((cut < -1e-3).any())
    assert above
    assert below


def test_truncated_of_impossible_tokens() -> None:
    """A token that the teacher rules out adds nothing."""
    teacher = TopK(torch.tensor([[[0, 1]]]), torch.tensor([[[0.0, -math.inf]]]))
    mask = torch.ones(1, 1, dtype=torch.bool)
    for tail in TAILS:
        got = value(top_k_loss("kl", teacher, torch.zeros(1, 1, 4), mask, tail=tail))
        assert got == pytest.approx(math.log(2) if tail == "renormalised" else math.log(4), abs=1e-6)


# ------------------------------------------------------------------ twin


@pytest.mark.parametrize("kind", KINDS)
def test_twin(kind: str) -> None:
    """Value and gradient as autograd has them through a law written out token by token."""
    for seed in SEEDS:
        p, q = logits(seed, rows=1, length=1), logits(70 + seed, rows=1, length=1).requires_grad_()
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randperm(7, generator=generator)[: 1 + seed % 6]
        record = scored(p, ids[None, None])
        weight = 0.3 if kind in ("js", "gjsd") else 0.5
        got = top_k_loss(kind, record, q, ALL[:1, :1], student_weight=weight)
        want = twin(
            kind,
            twin_law(p[0, 0].softmax(-1), ids.tolist()),
            twin_law(q[0, 0].softmax(-1), ids.tolist()),
            weight,
        )
        slopes = [torch.autograd.grad(loss, q)[0] for loss in (got, want)]
        assert value(got) == pytest.approx(value(want), abs=1e-10)
        assert (slopes[0] - slopes[1]).abs().max() < 1e-10
        assert value(slopes[0].sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("js", {"half": "teacher"}),
        ("js", {"half": "student"}),
        ("tvd", {"half": "student"}),
        ("gjsd", {"normalize": True}),
    ],
)
def test_options_reach_the_loss(kind: str, options: dict) -> None:
    """Halves and normalisation at k = V are those of the dense loss."""
    p, q = logits(0), logits(1)
    got = top_k_loss(kind, top_k(p, 7), q, ALL, **options)
    assert value(got) == pytest.approx(value(sequence_loss(kind, p, q, ALL, **options)), abs=1e-10)


def test_exact_mixture() -> None:
    """Golden S with the prefix mixture: exact Jensen-Shannon from records with everything in them."""
    p, q = golden()
    total = 0.0
    for half, law in (("teacher", p), ("student", q)):
        strings = p.outcomes()
        teacher, ids, mask = p.batch(strings)
        student = q.batch(strings)[0]
        ahead = [z.log_softmax(-1).gather(-1, ids[..., None])[..., 0] * mask for z in (student, teacher)]
        odds = (ahead[0] - ahead[1]).cumsum(1) - (ahead[0] - ahead[1])
        losses = top_k_loss(
            "js", top_k(teacher, 2), student, mask, half=half, mixture="prefix", prefix_log_odds=odds, reduction="none"
        )
        weights = torch.stack([law.log_prob(string).exp() for string in strings])
        total += value((weights[:, None] * losses).sum())
    assert total == pytest.approx(0.1114137700, abs=1e-10)


def test_sequences() -> None:
    """The bucket's step-wise KL over enumerated strings is below the sequences' KL, and is it at k = V."""
    p, q = Table.random(1), Table.random(2)
    strings = p.outcomes()
    teacher, _, mask = p.batch(strings)
    student = q.batch(strings)[0]
    weights = torch.stack([p.log_prob(string).exp() for string in strings])
    exact = math.fsum(value(p.log_prob(s).exp() * (p.log_prob(s) - q.log_prob(s))) for s in strings)
    found = []
    for k in range(1, 5):
        losses = top_k_loss("kl", top_k(teacher, k), student, mask, reduction="none")
        found.append(value((weights[:, None] * losses).sum()))
    assert all(smaller <= larger + 1e-12 for smaller, larger in pairwise(found))
    assert found[-1] == pytest.approx(exact, abs=1e-10)


# ------------------------------------------------------------------ rounding, masks, reductions


def test_small_tail_keeps_its_gradient() -> None:
    """A student that is all but sure is pushed back although its tail is below single precision, or its range."""
    teacher = TopK(torch.tensor([[[0]]]), torch.tensor([[[math.log(0.9)]]]))
    for height in (40.0, 400.0):
        student = torch.tensor([[[height, 0.0, 0.0]]], requires_grad=True)
        loss = top_k_loss("kl", teacher, student, ALL[:1, :1])
        loss.backward()
        assert torch.allclose(student.grad, torch.tensor([[[0.1, -0.05, -0.05]]]), atol=1e-6)
    assert value(loss) == pytest.approx(0.9 * math.log(0.9) + 0.1 * (math.log(0.1) + 400 - math.log(2)), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_records(kind: str) -> None:
    """Records in half precision change the loss by little, also where they sum to more than 1; all is finite."""
    p, q = logits(3, scale=4.0).float(), logits(4).float().requires_grad_()
    for k in (1, 3, 6, 7):
        record = top_k(p, k)
        rough = TopK(record.ids.to(torch.int32), record.log_probs.half())
        want, got = (top_k_loss(kind, one, q, ALL) for one in (record, rough))
        assert value(got) == pytest.approx(value(want), rel=0.02, abs=2e-3)
        assert torch.autograd.grad(got, q)[0].isfinite().all()
    over = TopK(torch.tensor([[[0, 1]]]), torch.tensor([[[0.5, 0.5]]]).log().half() + torch.tensor(0.004).half())
    for tail in TAILS if kind == "kl" else ("bucket",):
        same = torch.tensor([[[0.0, 0.0, -math.inf]]])
        if kind in ("kl", "js", "gjsd", "tvd"):
            assert abs(value(top_k_loss(kind, over, same, ALL[:1, :1], tail=tail))) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_sure_teacher(kind: str) -> None:
    """All of the teacher's mass on its k tokens, or all of the student's: finite value and gradient."""
    sure = TopK(torch.tensor([[[0, 1]]]), torch.tensor([[[0.5, 0.5]]]).log())
    for student in (torch.zeros(1, 1, 4), torch.tensor([[[0.0, 0.0, -math.inf, -math.inf]]])):
        student.requires_grad_()
        loss = top_k_loss(kind, sure, student, ALL[:1, :1])
        (slope,) = torch.autograd.grad(loss, student)
        assert loss.isfinite()
        assert slope.isfinite().all()


def test_masked_positions() -> None:
    """Masked positions may hold NaN on both sides; the gradient there is zero."""
    p, q = logits(5), logits(6)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    want = top_k_loss("kl", top_k(p, 2), q, mask)
    record = top_k(p, 2)
    record.log_probs[~mask] = math.nan
    record.ids[~mask] = -5
    with pytest.raises(ArgumentError, match=r"teacher\.ids: expected tokens from 0 to 6"):
        top_k_loss("kl", record, q, ALL)
    record.ids[~mask] = 0
    q[~mask] = math.nan
    q.requires_grad_()
    for kind in KINDS:
        top_k_loss(kind, record, q, mask).backward()
    assert value(top_k_loss("kl", record, q, mask)) == pytest.approx(value(want), abs=1e-12)
    assert q.grad.isfinite().all()
    assert not q.grad[~mask].any()


@pytest.mark.parametrize("tail", TAILS)
def test_reductions(tail: str) -> None:
    """The four reductions by hand, another number of items, and a batch without any position."""
    p, q = logits(7), logits(8).requires_grad_()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    record = top_k(p, 3)
    losses = top_k_loss("kl", record, q, mask, tail=tail, reduction="none")
    assert not losses[~mask].any()

    def reduced(reduction: str, **options: float) -> float:
        return value(top_k_loss("kl", record, q, mask, tail=tail, reduction=reduction, **options))

    assert reduced("token") == pytest.approx(value(losses.sum()) / 4)
    assert reduced("sequence") == pytest.approx(value(losses.sum()) / 2)
    assert reduced("sequence_mean") == pytest.approx(value(losses[0].sum() / 3 + losses[1].sum()) / 2)
    assert reduced("token", n_items=10) == pytest.approx(value(losses.sum()) / 10)
    assert reduced("token", n_items=10, world_size=2) == pytest.approx(value(losses.sum()) / 5)
    nothing = top_k_loss("kl", record, q, torch.zeros_like(mask), tail=tail)
    nothing.backward()
    assert value(nothing) == 0
    assert not q.grad.any()


def test_students_own_tokens() -> None:
    """The reverse divergence on the student's likeliest tokens, scored by the teacher: a growing bound."""
    p, q = logits(9), logits(10)
    full = value(sequence_loss("rkl", p, q, ALL))
    found = [value(top_k_loss("rkl", scored(p, top_k(q, k).ids), q, ALL)) for k in range(1, 8)]
    assert all(smaller <= larger + 1e-12 for smaller, larger in pairwise(found))
    assert found[-1] == pytest.approx(full, abs=1e-10)


# ------------------------------------------------------------------ weights of positions


def test_position_weights() -> None:
    """By hand; masked positions count for nothing; all equal where nothing differs."""
    mask = torch.tensor([[True, True, True, False], [True, True, False, False], [False] * 4])
    advantages = torch.tensor([[1.0, -1.0, 2.0, math.nan], [0.0, 0.0, 5.0, 5.0], [1.0] * 4], requires_grad=True)
    got = position_weights(advantages, mask, gamma=0.4)
    assert not got.requires_grad
    want = torch.tensor([[1.4, 1.3, 1.2, 0.0], [1.4, 1.4, 0.0, 0.0], [0.0] * 4])
    assert torch.allclose(got, want)
    for gamma in (-1.0, math.inf, math.nan):
        with pytest.raises(ArgumentError, match=r"gamma: expected a number from 0, got .*Use 0\.5\."):
            position_weights(advantages, mask, gamma=gamma)
    with pytest.raises(ArgumentError, match=r"mask: expected the shape of advantages, \(3, 4\), got \(3, 2\)\. Mask"):
        position_weights(advantages, mask[:, :2])


# ------------------------------------------------------------------ refusals


def refused(message: str, kind: str = "kl", teacher: TopK | None = None, **options: object) -> None:
    given = {"student_logits": logits(1), "mask": ALL, **options}
    with pytest.raises(ArgumentError, match=message):
        top_k_loss(kind, teacher or top_k(logits(0), 2), given.pop("student_logits"), given.pop("mask"), **given)


def test_refuses_options() -> None:
    refused(r"kind: expected one of 'ce', .*got 'klx'\. Did you mean 'kl'\?", "klx")
    refused(r"tail: expected one of 'bucket', .*got 'none'\.", tail="none")
    for kind in ("rkl", "js", "tvd", "engine", "gjsd"):
        for tail in ("truncated", "renormalised"):
            refused(rf"tail: expected 'bucket' for '{kind}', got '{tail}'\. Without the bucket", kind, tail=tail)
    refused(r"half: expected 'both' for 'kl'", half="teacher")
    refused(r"half: expected 'both' for 'kl'", half="teacher", tail="truncated")
    refused(r"student_weight: expected 0\.5 for 'kl'", student_weight=0.2, tail="truncated")
    refused(
        r"temperature: expected 1, at which the teacher's log-probabilities were recorded, got 2\.0\. Rec",
        temperature=2.0,
    )
    hot = top_k(logits(0), 2, temperature=2.0)
    refused(r"temperature: expected 2, at which .*, got 1\.0\. Record them again, or train at 2\.", teacher=hot)
    refused(r"reduction: expected one of", reduction="mean")


def test_refuses_records() -> None:
    ids, law = top_k(logits(0), 2)[:2]
    refused(
        r"teacher: expected ids and log_probs of shape \(2, 3, 'k'\), got \(2, 2, 2\)", teacher=TopK(ids[:, 1:], law)
    )
    refused(r"teacher: expected ids and log_probs of shape", teacher=TopK(ids, law[..., :1]))
    refused(
        r"teacher\.ids: expected tokens from 0 to 6, got 9\. Teacher and student must",
        teacher=TopK(ids + 7 - ids % 7 + 2, law),
    )
    refused(r"teacher\.ids: expected tokens from 0 to 6, got -1\.", teacher=TopK(ids * 0 - 1, law))
    refused(
        r"teacher\.ids: expected different tokens at each position, got a token twice\.", teacher=TopK(ids * 0, law)
    )
    refused(r"teacher\.ids: expected whole numbers, got torch\.float64\.", teacher=TopK(ids.double(), law))
    refused(r"teacher\.log_probs: expected log-probabilities, got NaN\. Record", teacher=TopK(ids, law * math.nan))
    away = r"teacher: expected tensors on cpu, where the mask is, got meta and meta\. Move them there"
    refused(away, teacher=TopK(ids.to("meta"), law.to("meta")))
    raw = logits(0).gather(-1, ids).abs()
    refused(
        r"teacher\.log_probs: expected probabilities with a sum of at most 1, got \d.*not logits",
        teacher=TopK(ids, raw),
    )


def test_refuses_tensors() -> None:
    bad = logits(1)
    bad[1, 2, 3] = math.nan
    refused(r"student_logits\[1, 2\]: expected numbers, got NaN or infinity\. Mask the position", student_logits=bad)
    bad[1, 2, 3] = math.inf
    refused(r"student_logits\[1, 2\]: expected numbers, got NaN or infinity\.", student_logits=bad)
    refused(
        r"student_logits: expected floating numbers of shape \(B, T, V\), got torch\.float64", student_logits=bad[0]
    )
    refused(r"mask: expected bool of shape \(2, 3\), got torch\.bool of shape \(2, 2\)\.", mask=ALL[:, 1:])
    refused(r"mask: expected bool of shape \(2, 3\), got torch\.int64", mask=ALL.long())
    for k in (0, 8, True, 1.5):
        with pytest.raises(ArgumentError, match=r"k: expected 1 to 7, the vocabulary's size, got .*Use 64\."):
            top_k(logits(0), k)
    for temperature in (0, -1.0, math.nan, "1"):
        with pytest.raises(ArgumentError, match=r"temperature: expected a positive number, got .*Use 1\."):
            top_k(logits(0), 1, temperature=temperature)
    with pytest.raises(ArgumentError, match=r"logits\[1, 2\]: expected numbers, got NaN or infinity\."):
        top_k(bad, 1)
    with pytest.raises(ArgumentError, match=r"ids: expected shape \(2, 3, 'k'\), got \(2, 3\)\. Give k tokens"):
        scored(logits(0), torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ArgumentError, match=r"ids: expected tokens from 0 to 6, got 7\."):
        scored(logits(0), torch.full((2, 3, 1), 7))
