"""Metrics: golden S, estimators against enumeration, ragged rows by hand, two models side by side, refusals."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from sequence_tables import Table, entropy, golden, tiny_causal, tiny_seq2seq
from torch import Tensor

from treeavg.distill.sequences.align import Prompts, completions, prompts
from treeavg.distill.sequences.losses.divergences import sequence_loss, token_logp
from treeavg.distill.sequences.metrics.comparison import Comparison, compare
from treeavg.distill.sequences.metrics.metrics import (
    Scored,
    distinct,
    estimate,
    excess_error,
    peakness,
    peaks,
    risk,
    sequence_js,
    sequence_tvd,
    teacher_distinct,
)
from treeavg.distill.sequences.sampling.sampling import log_probs, repeated
from treeavg.errors import ArgumentError


def scored(strings: list[tuple[int, ...]], p: Table, q: Table) -> Scored:
    return Scored(*(torch.stack([table.log_prob(string) for string in strings]) for table in (p, q)))


def drawn(table: Table, count: int, seed: int) -> list[tuple[int, ...]]:
    """Exact samples."""
    outcomes = table.outcomes()
    law = torch.stack([table.log_prob(string) for string in outcomes]).exp()
    chosen = torch.multinomial(law, count, replacement=True, generator=torch.Generator().manual_seed(seed))
    return [outcomes[one] for one in chosen.tolist()]


def exact(p: Table, q: Table, weight: float = 0.5) -> dict[str, float]:
    """Distances by enumeration of strings."""
    found = dict.fromkeys(("tvd", "js", "kl", "rkl", "likelihood", "coverage"), 0.0)
    for string in p.outcomes():
        a, b = float(p.log_prob(string).exp()), float(q.log_prob(string).exp())
        m = (1 - weight) * a + weight * b
        found["tvd"] += abs(a - b) / 2
        found["js"] += (1 - weight) * a * math.log(a / m) + weight * b * math.log(b / m)
        found["kl"] += a * math.log(a / b)
        found["rkl"] += b * math.log(b / a)
        found["likelihood"] -= b * math.log(a)
        found["coverage"] -= a * math.log(b)
    return found


def near(found: Any, value: float, errors: float = 4.5) -> None:
    assert abs(found.value - value) <= errors * found.error + 1e-9, (found, value)


# ------------------------------------------------------------------ golden S


def golden_samples() -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Strings E, aE, aa as often as p = (.2, .4, .4) and q = (.5, .45, .05) have them: means are expectations."""
    strings = [(0,), (1, 0), (1, 1)]
    of_p = [one for one, times in zip(strings, (4, 8, 8), strict=True) for _ in range(times)]
    of_q = [one for one, times in zip(strings, (10, 9, 1), strict=True) for _ in range(times)]
    return of_p, of_q


def test_golden() -> None:
    p, q = golden()
    of_p, of_q = golden_samples()
    rows: dict[str, Tensor] = {}
    for side, strings in (("p", of_p), ("q", of_q)):
        (teacher, ids, mask), (student, _, _) = p.batch(strings), q.batch(strings)
        rows[f"kl_{side}"] = sequence_loss("kl", teacher, student, mask, reduction="none")
        judge = teacher if side == "q" else student
        rows[f"risk_{side}"], rows[f"mask_{side}"] = token_logp(judge, ids, mask=mask), mask
    excess = excess_error(rows["kl_p"], rows["kl_q"])
    assert excess.teacher.value == pytest.approx(0.6014052560, abs=1e-10)
    assert excess.student.value == pytest.approx(0.4481575689, abs=1e-10)
    assert excess.percent == pytest.approx(-25.4816, abs=1e-4)
    assert excess.curve.tolist() == pytest.approx([0.0, excess.percent], abs=1e-9)
    assert excess.error > 0
    assert risk(rows["risk_q"], rows["mask_q"]).value == pytest.approx(1.2628643222, abs=1e-10)
    assert risk(rows["risk_p"], rows["mask_p"]).value == pytest.approx(1.6563254240, abs=1e-10)
    on_p, on_q = scored(of_p, p, q), scored(of_q, p, q)
    assert sequence_tvd(on_p).value == pytest.approx(0.35, abs=1e-10)
    assert sequence_tvd(on_p, on_q).value == pytest.approx(0.35, abs=1e-10)
    assert sequence_js(on_p, on_q).value == pytest.approx(0.1114137700, abs=1e-10)


# ------------------------------------------------------------------ estimators


@pytest.mark.parametrize("seed", range(20))
def test_estimators_against_enumeration(seed: int) -> None:
    """Means over exact samples are within their errors of the exact distances; their terms within their bounds."""
    p, q = Table.random(seed, longest=3), Table.random(seed + 100, longest=3)
    weight = (0.5, 0.85, 0.25)[seed % 3]
    values = exact(p, q, weight)
    on_p, on_q = scored(drawn(p, 1500, seed), p, q), scored(drawn(q, 1500, seed + 1), p, q)
    near(sequence_tvd(on_p), values["tvd"])
    near(sequence_tvd(on_p, on_q), values["tvd"])
    near(sequence_js(on_p, on_q, student_weight=weight), values["js"])
    near(estimate(-on_p.student), values["coverage"])
    near(estimate(-on_q.teacher), values["likelihood"])
    for row in range(5):
        one = [Scored(*(part[row : row + 1] for part in both)) for both in (on_p, on_q)]
        assert 0 <= sequence_tvd(one[0]).value < 1
        assert sequence_js(*one).value <= math.log(2)


@pytest.mark.parametrize("seed", range(5))
def test_symmetries(seed: int) -> None:
    """Swapping models, samples and shares changes nothing; equal models have distance 0."""
    p, q = Table.random(seed), Table.random(seed + 50)
    on_p, on_q = scored(drawn(p, 60, seed), p, q), scored(drawn(q, 60, seed + 1), p, q)
    swapped = Scored(on_q.student, on_q.teacher), Scored(on_p.student, on_p.teacher)
    assert sequence_tvd(*swapped) == pytest.approx(sequence_tvd(on_p, on_q))
    assert sequence_js(*swapped, student_weight=0.8) == pytest.approx(sequence_js(on_p, on_q, student_weight=0.2))
    same = Scored(on_p.teacher, on_p.teacher)
    assert sequence_tvd(same, same).value == sequence_js(same, same).value == 0
    found = estimate(on_p.teacher)
    assert found.error == pytest.approx(float(on_p.teacher.std()) / math.sqrt(60))


def test_samples_of_one_input_count_as_one() -> None:
    """The error is that of the inputs' means; a single input has that of its own samples."""
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0], [3.0, 5.0]])
    assert estimate(values) == pytest.approx((4.0, 2 / math.sqrt(3), 3))
    assert estimate(values[:1]) == pytest.approx((2.0, 1.0, 1))
    assert math.isnan(estimate(torch.tensor([2.0])).error)
    log_prob, mask = -values.view(6, 1), torch.ones(6, 1, dtype=torch.bool)
    assert risk(log_prob, mask, samples=2) == pytest.approx((4.0, 2 / math.sqrt(3), 3))


def test_a_student_that_excludes_what_the_teacher_says() -> None:
    """Log-probabilities of minus infinity: infinite risk, terms at their bounds."""
    lost = Scored(torch.tensor([-1.0, -1.0]), torch.tensor([-math.inf, -1.0]))
    assert sequence_tvd(lost).value == 0.5
    assert risk(lost.student[:, None], torch.ones(2, 1, dtype=torch.bool)).value == math.inf
    apart = Scored(torch.tensor([-1.0]), torch.tensor([-math.inf]))
    back = Scored(apart.student, apart.teacher)
    assert sequence_js(apart, back).value == pytest.approx(math.log(2))
    assert sequence_tvd(apart, back).value == 1.0


# ------------------------------------------------------------------ risks of ragged rows


def test_risks_by_hand() -> None:
    """Lengths 3, 1 and 0; what stands under the mask's False does not matter."""
    log_prob = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, math.nan, 9.0], [math.nan, math.nan, math.nan]])
    mask = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    assert risk(log_prob, mask).value == pytest.approx((6 + 4 + 0) / 3)
    assert risk(log_prob, mask, per_token=True).value == pytest.approx((2 + 4 + 0) / 3)
    assert risk(log_prob[:2], mask[:2], per_token=True).error == pytest.approx(1.0)
    assert risk(log_prob.requires_grad_(), mask).value > 0


def test_ends_count_and_padding_does_not() -> None:
    """Empty, ended and truncated completions where padding is the end: the end is one token of the mean."""
    given = completions(torch.tensor([[0, 0, 0], [5, 0, 0], [5, 6, 7]]), [0])
    log_prob = torch.full((3, 3), -2.0)
    assert risk(log_prob, given.mask).value == pytest.approx((2 + 4 + 6) / 3)
    assert risk(log_prob, given.mask, per_token=True).value == 2.0


# ------------------------------------------------------------------ excess error


def test_excess_error_by_hand() -> None:
    """Widths may differ; the curve is of sums so far; several samples of an input."""
    found = excess_error(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0, 1.0], [2.0, 3.0]]))
    assert found.percent == pytest.approx(100.0)
    assert found.curve.tolist() == pytest.approx([0.0, 100.0])
    assert found.teacher.value == 2.0
    assert found.student.value == 4.0
    # residuals D_s - 2 D_t: 1 and -1, of mean 0 and standard error 1; by D_t
    assert found.error == pytest.approx(100 * 1 / 2)
    twice = excess_error(torch.ones(4, 1), torch.full((4, 1), 3.0), samples=2)
    assert twice.percent == pytest.approx(200.0)
    assert twice.teacher.inputs == 2
    assert twice.error == pytest.approx(0)


@pytest.mark.parametrize("samples", [1, 3])
def test_curve_and_its_errors(samples: int) -> None:
    """The curve up to t is what the first t tokens alone give, its error too."""
    generator = torch.Generator().manual_seed(samples)
    teacher = torch.rand(12, 4, generator=generator)
    student = torch.rand(12, 6, generator=generator)
    found = excess_error(teacher, student, samples=samples)
    assert found.curve.shape == found.curve_error.shape == (6,)
    for t in range(6):
        first = excess_error(teacher[:, : t + 1], student[:, : t + 1], samples=samples)
        assert first.percent == pytest.approx(float(found.curve[t]), abs=1e-9)
        d_t, d_s = (
            one[:, : t + 1].double().sum(1).view(-1, samples).mean(1) for one in (teacher, student)
        )  # fmt: skip
        apart = d_s - d_s.mean() / d_t.mean() * d_t
        error = 100 * float(apart.std()) / math.sqrt(12 / samples) / float(d_t.mean())
        assert first.error == pytest.approx(error, abs=1e-9)
        assert float(found.curve_error[t]) == pytest.approx(error, abs=1e-9)
    assert (found.percent, found.error) == (float(found.curve[-1]), float(found.curve_error[-1]))
    late = excess_error(torch.tensor([[0.0, 1.0], [0.0, 3.0]]), torch.tensor([[0.0, 1.0], [1.0, 3.0]]))
    assert late.curve.tolist() == pytest.approx([math.inf, 25.0])
    assert math.isnan(late.curve_error[0])
    assert late.curve_error[1] > 0
    one = excess_error(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    assert (one.percent, one.curve.tolist()) == (100.0, [100.0])
    assert math.isnan(one.error)
    assert math.isnan(one.curve_error[0])
    assert excess_error(torch.zeros(2, 0), torch.zeros(2, 0)).percent == 0


def test_excess_error_of_what_is_excluded() -> None:
    """Where the student excludes what it should not, there is no percentage, and the other numbers stay."""
    far = torch.tensor([[1.0, math.inf], [1.0, 1.0]])
    found = excess_error(far, torch.ones(2, 2))
    assert math.isnan(found.percent)
    assert found.curve[0] == 0
    assert math.isnan(found.curve[1])
    assert (found.teacher.value, found.student.value) == (math.inf, 2.0)
    assert excess_error(torch.ones(2, 2), far).percent == math.inf


def test_excess_error_of_equal_models() -> None:
    assert excess_error(torch.zeros(2, 3), torch.zeros(2, 3)).percent == 0
    assert excess_error(torch.zeros(2, 3), torch.zeros(2, 3)).curve.tolist() == [0, 0, 0]
    assert excess_error(torch.zeros(2, 3), torch.ones(2, 3)).percent == math.inf
    assert math.isnan(excess_error(torch.zeros(2, 3), torch.ones(2, 3)).error)


@pytest.mark.parametrize("seed", range(20))
def test_excess_error_against_enumeration(seed: int) -> None:
    """D_t = KL(p || q); D_s by enumeration of prefixes; the ratio is within its error."""
    p, q = Table.random(seed, longest=3), Table.random(seed + 100, longest=3)
    of_p, of_q = p.prefixes(), q.prefixes()
    local = {
        prefix: float((logits.softmax(-1) * (logits.log_softmax(-1) - q.logits[prefix].log_softmax(-1))).sum())
        for prefix, logits in p.logits.items()
    }
    d_t = math.fsum(float(of_p[prefix]) * value for prefix, value in local.items())
    d_s = math.fsum(float(of_q[prefix]) * value for prefix, value in local.items())
    assert d_t == pytest.approx(exact(p, q)["kl"], abs=1e-10)
    rows = []
    for table, number in ((p, seed), (q, seed + 1)):
        (teacher, _, mask), (student, _, _) = (one.batch(drawn(table, 1500, number)) for one in (p, q))
        rows.append(sequence_loss("kl", teacher, student, mask, reduction="none"))
    found = excess_error(*rows)
    near(found.teacher, d_t)
    near(found.student, d_s)
    assert abs(found.percent - 100 * (d_s - d_t) / d_t) <= 4.5 * found.error


# ------------------------------------------------------------------ diversity


def test_distinct() -> None:
    """By hand; five equal strings have their own share by five; no n-gram reaches across texts."""
    text = "a b c a b".split()
    assert distinct([text], n=1) == 3 / 5
    assert distinct([text]) == 3 / 4
    assert distinct([text] * 5) == 3 / (5 * 4)
    assert distinct([["a"], ["b"]]) == 0.0
    assert distinct([["a", "b"], ["b", "a"]]) == 1.0
    assert distinct([[1, 2, 3], [], [1, 2, 4]], n=2) == 3 / 4
    assert distinct([[1, 2, 3]], n=4) == 0.0
    assert teacher_distinct([[text] * 5, [["a", "b"]] * 5]) == pytest.approx(100 * (3 / 20 + 1 / 5) / 2)


def test_peakness() -> None:
    """Against softmax; masked places may hold anything; one-hot laws and half precision."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64)
    mask = torch.rand(3, 4, generator=generator) < 0.6
    law = logits.softmax(-1)
    expected = -(law * law.log()).sum(-1), law.max(-1).values
    logits[~mask] = math.nan
    for found, value in zip(peaks(logits, mask), expected, strict=True):
        torch.testing.assert_close(found, torch.where(mask, value, 0.0), atol=1e-12, rtol=0)
    means = peakness(logits, mask)
    assert means == pytest.approx([float(value[mask].mean()) for value in expected])
    hot = torch.full((1, 1, 5), -math.inf)
    hot[..., 2] = 0
    assert peakness(hot, torch.tensor([[True]])) == (0.0, 1.0)
    half = peaks(torch.zeros(1, 1, 8, dtype=torch.bfloat16), torch.tensor([[True]]))[0]
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(math.log(8), abs=1e-6)


# ------------------------------------------------------------------ two models


def pair_of(name: str) -> tuple[Any, Any]:
    """A teacher and a student of four tokens, both in training mode, with dropout."""
    maker = tiny_causal if name == "causal" else tiny_seq2seq
    models = []
    for seed in (1, 2):
        model = maker(seed, vocabulary=4, layers=1)
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "ln" not in key and "norm" not in key:
                    weight.mul_(5.0)
        models.append(model.train())
    return models[0], models[1]


def table_of(model: Any, name: str, prompt: list[int], end: int) -> tuple[list[tuple[int, ...]], Tensor]:
    """All strings of up to three tokens, and their log-probabilities token by token."""
    others = [token for token in range(4) if token != end]
    strings: list[tuple[int, ...]] = [(*body, end) for n in range(3) for body in itertools.product(others, repeat=n)]
    strings += list(itertools.product(others, repeat=3))
    ids = torch.tensor([[*one, *[2] * (3 - len(one))] for one in strings])
    given = completions(ids, [end], lengths=torch.tensor([len(one) for one in strings]))
    batch = prompts([prompt], pad=0, side="left" if name == "causal" else "right")
    return strings, log_probs(model, repeated(batch, len(strings)), given).double()


@pytest.mark.parametrize("name", ["causal", "encoder-decoder"])
def test_compare_against_enumeration(name: str) -> None:
    """Every estimate is within its error of the exact value; modes are restored; batches change nothing but draws."""
    teacher, student = pair_of(name)
    end = 0 if name == "causal" else 1
    strings, log_p = table_of(teacher, name, [2, 3], end)
    _, log_q = table_of(student, name, [2, 3], end)
    p, q = log_p.sum(1).exp(), log_q.sum(1).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    m = (p + q) / 2
    lengths = torch.tensor([len(one) for one in strings])
    batch = repeated(prompts([[2, 3]], pad=0, side="left" if name == "causal" else "right"), 500)
    options: dict[str, Any] = {"max_new_tokens": 3, "samples": 2, "batch_size": 200}
    found = compare(teacher, student, batch, generator=torch.Generator().manual_seed(0), **options)
    near(found.likelihood_risk, float(-(q * p.log()).sum()))
    near(found.coverage_risk, float(-(p * q.log()).sum()))
    near(found.kl, float((p * (p / q).log()).sum()))
    near(found.rkl, float((q * (q / p).log()).sum()))
    near(found.tvd, float((p - q).abs().sum() / 2))
    near(found.js, float((p * (p / m).log() + q * (q / m).log()).sum() / 2))
    assert found.excess_error.teacher == found.kl
    assert found.excess_error.curve.shape == (3,)
    cut = torch.tensor([string[-1] != end for string in strings])
    assert found.teacher_truncated == pytest.approx(float(p[cut].sum()), abs=0.07)
    assert found.student_truncated == pytest.approx(float(q[cut].sum()), abs=0.07)
    assert 0 < found.teacher_peakness.entropy < math.log(4)
    assert found.student_peakness != found.teacher_peakness
    assert teacher.training
    assert student.training
    mean = compare(teacher, student, batch, per_token=True, **options)
    near(mean.coverage_risk, float(-(p * q.log() / lengths).sum()))
    near(mean.likelihood_risk, float(-(q * p.log() / lengths).sum()))


def test_compare_a_model_with_itself() -> None:
    """All distances are 0, and risks are the entropy; other prompts, and models of both kinds, may differ."""
    teacher, other = pair_of("causal")
    batch = prompts([[2, 3], [3]], pad=0, side="left")
    found = compare(teacher, teacher, batch, max_new_tokens=4, samples=3)
    assert found.tvd.value == found.js.value == found.kl.value == found.rkl.value == found.excess_error.percent == 0
    assert found.teacher_peakness == found.student_peakness
    assert found.kl.inputs == 2
    again = compare(teacher, teacher, batch, student_prompts=prompts([[3], [2]], pad=0, side="left"), max_new_tokens=4)
    assert again.kl.value > 0
    mixed = pair_of("encoder-decoder")[1]
    inputs = prompts([[2, 3], [3]], pad=0, side="right")
    ends = compare(teacher, mixed, batch, student_prompts=inputs, max_new_tokens=4, eos_ids=[0, 1])
    assert isinstance(ends, Comparison)
    assert math.isfinite(ends.kl.value)
    assert compare(teacher, other, batch, max_new_tokens=1).kl.value > 0


@pytest.mark.parametrize("seed", range(3))
def test_risk_is_the_entropy_of_equal_models(seed: int) -> None:
    p = Table.random(seed)
    logits, ids, mask = p.batch(drawn(p, 2000, seed))
    near(risk(token_logp(logits, ids, mask=mask), mask), entropy(p))


# ------------------------------------------------------------------ refusals


def test_refusals() -> None:
    ones = torch.ones(2, 1, dtype=torch.bool)
    low = torch.tensor([-1.0, -2.0])
    lost = torch.tensor([-1.0, -math.inf])
    cases = [
        (lambda: estimate(torch.zeros(0)), r"values: expected shape \(N,\) or \(N, S\), .* got \(0,\)\."),
        (lambda: estimate(torch.zeros(1, 1, 1)), r"values: expected shape .* got \(1, 1, 1\)\."),
        (lambda: estimate(torch.tensor([1.0, math.nan])), r"values\[1\]: expected a number, got NaN\. Look for logits"),
        (lambda: risk(low, ones), r"mask: expected bool of shape \(2,\)"),
        (lambda: risk(low[:, None], ones.long()), r"mask: expected bool"),
        (lambda: risk(-low[:, None], ones), r"log_prob\[0, 0\]: expected log-probabilities, got 1\. Use log_probs"),
        (lambda: risk(low[:, None] * math.nan, ones), r"log_prob\[0, 0\]: expected log-probabilities, got nan\."),
        (lambda: risk(low[:, None], ones, samples=3), r"samples: expected a divisor of the 2 rows, got 3\."),
        (lambda: risk(low[:, None], ones, samples=0), r"samples: expected a whole number, at least 1, got 0\."),
        (lambda: sequence_tvd(Scored(low, low[:1])), r"teacher_strings: expected log-probabilities of the same seq"),
        (lambda: sequence_tvd(Scored(lost, low)), r"teacher_strings: expected samples that the teacher can write, got"),
        (lambda: sequence_tvd(Scored(low, low), Scored(low, lost)), r"student_strings: expected samples that the stu"),
        (
            lambda: sequence_tvd(Scored(low, -low)),
            r"teacher_strings\.student\[0\]: expected log-probabilities, got 1\.",
        ),
        (
            lambda: sequence_tvd(Scored(low, low), Scored(low[:1], low[:1])),
            r"student_strings: expected the shape of the teacher's, \(2,\), got \(1,\)\. Draw as many",
        ),
        (
            lambda: sequence_js(Scored(low, low), Scored(low, low), student_weight=1),
            r"student_weight: expected .* got 1",
        ),
        (lambda: excess_error(low, low), r"on_teacher: expected shape \(B, T\) with B = 2 at least 1, got \(2,\)\."),
        (lambda: excess_error(torch.ones(2, 1), torch.ones(3, 1)), r"on_student: expected shape .* B = 2 .* \(3, 1\)"),
        (lambda: excess_error(torch.ones(0, 1), torch.ones(0, 1)), r"on_teacher: expected shape .* B = 0 at least 1"),
        (
            lambda: excess_error(torch.ones(2, 1), torch.tensor([[1.0], [-1.0]])),
            r"on_student\[1, 0\]: expected a divergence, 0 or more, got -1\. Give sequence_loss\('kl'",
        ),
        (
            lambda: excess_error(torch.tensor([[math.nan]]), torch.ones(1, 1)),
            r"on_teacher\[0, 0\]: expected a divergence, 0 or more, got nan\.",
        ),
        (lambda: peakness(torch.zeros(2, 1, 3), ~ones), r"mask: expected at least one token that counts, got none\."),
        (lambda: peakness(torch.full((2, 1, 3), math.nan), ones), r"logits: expected numbers .* got NaN\."),
        (lambda: distinct(["a b"]), r"texts\[0\]: expected words or token ids, got 'a b'\. Use text\.split\(\)\."),
        (lambda: distinct([["a"]], n=0), r"n: expected a whole number, at least 1, got 0\."),
        (lambda: teacher_distinct([]), r"groups: expected the outputs of at least one input, got none\."),
    ]
    for call, message in cases:
        with pytest.raises(ArgumentError, match=message):
            call()


def test_refusals_of_compare() -> None:
    teacher, student = pair_of("causal")
    batch = prompts([[2, 3], [3]], pad=0, side="left")
    with pytest.raises(ArgumentError, match=r"student_prompts: expected as many as the teacher's, .* got 1 for 2\."):
        compare(teacher, student, batch, student_prompts=Prompts(batch.ids[:1], batch.attention[:1]))
    with pytest.raises(ArgumentError, match=r"student_prompts: expected as many .* at least 1, got 0 for 0\."):
        compare(teacher, student, Prompts(batch.ids[:0], batch.attention[:0]))
    with pytest.raises(ArgumentError, match=r"batch_size: expected a whole number, at least 1, got 0\."):
        compare(teacher, student, batch, batch_size=0)
    student.generation_config.eos_token_id = [0, 3]
    with pytest.raises(
        ArgumentError, match=r"eos_ids: expected the same end tokens, got \[0\] of the teacher and \[0, 3\]"
    ):
        compare(teacher, student, batch)
    assert compare(teacher, student, batch, max_new_tokens=3, eos_ids=[0]).kl.value > 0
    with pytest.raises(ArgumentError, match=r"teacher_logits: expected the student's vocabulary of 20, got 4\."):
        compare(teacher, tiny_causal(), batch, max_new_tokens=3)
