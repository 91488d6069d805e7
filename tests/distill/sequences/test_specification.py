"""Clauses of the specification's exact tests that no file of one subject has, most of them over twenty seeds.

Section numbers (H.1.3) are the specification's. The seven traps of released code come last: what the released code
did is written out beside what the library does, and must differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from sequence_tables import EOS, Table, entropy, tiny_causal, tiny_seq2seq
from test_sequence_divergences import close, exact_js, expected, js, naive, random_pair, slopes, whole
from test_sequence_reward import close_all, induced, policy_gradient
from torch import Tensor, nn
from torch.autograd import gradcheck as slow_gradcheck

from treeavg.distill.sequences.align import align, completions, prompts
from treeavg.distill.sequences.applications.loops import rest_loss
from treeavg.distill.sequences.applications.policy import dpo_loss, grpo_loss
from treeavg.distill.sequences.ensembling.averaging import AVERAGES, average
from treeavg.distill.sequences.layers.adversarial import Discriminator, discriminator_loss, student_adversarial_loss
from treeavg.distill.sequences.layers.hidden import NORMS, LinearMaps, hidden_loss, layer_weights
from treeavg.distill.sequences.layers.layers import LayerPair
from treeavg.distill.sequences.layers.relations import attention_kl, attention_mse, value_relations
from treeavg.distill.sequences.losses.divergences import (
    KINDS,
    prefix_log_odds,
    sequence_loss,
    sequence_nll,
    token_logp,
)
from treeavg.distill.sequences.losses.fused import Head, fused_loss
from treeavg.distill.sequences.losses.topk import TAILS, top_k, top_k_loss
from treeavg.distill.sequences.rewards.reward import VALUES, pg_loss, regulariser, returns
from treeavg.distill.sequences.training.collate import Collator
from treeavg.distill.sequences.vocabularies.byte_alignment import Group
from treeavg.distill.sequences.vocabularies.uld import uld_loss

SEEDS = range(20)
seeds = pytest.mark.parametrize("seed", SEEDS)
WEIGHTS = (0.25, 0.5, 0.85)


def tables(seed: int, longest: int = 2) -> tuple[Table, Table]:
    """A teacher and a trainable student over four tokens."""
    return Table.random(seed, longest=longest), Table.random(seed + 200, longest=longest).trainable()


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------ masks (H.0.1)


@seeds
def test_masks(seed: int) -> None:
    """Row by row: up to and with the first of several ends, everything where there is none."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 6, (8, 5), generator=generator)
    ends = {0, 3} if seed % 2 else {0}
    found = completions(ids, sorted(ends))
    for row, mask, truncated in zip(ids.tolist(), found.mask.tolist(), found.truncated.tolist(), strict=True):
        places = [place for place, token in enumerate(row) if token in ends]
        length = places[0] + 1 if places else len(row)
        assert mask == [True] * length + [False] * (len(row) - length)
        assert truncated is not bool(places)


# ------------------------------------------------------------------ sampled prefixes (H.1.3)


@seeds
def test_sampled_prefixes(seed: int) -> None:
    """20,000 prefixes of the generator of each half are within four standard errors of the exact sum."""
    p, q = Table.random(seed), Table.random(seed + 200)
    strings, generator = p.outcomes(), torch.Generator().manual_seed(seed)
    (teacher, ids, mask), student = p.batch(strings), q.batch(strings)[0]
    odds = prefix_log_odds(teacher, student, ids, mask=mask)
    laws = {name: logs.exp() for name, logs in zip("pq", whole(p, q), strict=True)}
    for kind, table, options in (
        ("kl", "p", {}), ("rkl", "q", {}), ("engine", "q", {}), ("gjsd", "p", {}),
        *(("js", table, {"half": half, "mixture": "prefix", "prefix_log_odds": odds})
          for half, table in (("teacher", "p"), ("student", "q"))),
        *((kind, table, {"half": half})
          for kind in ("js", "tvd") for half, table in (("teacher", "p"), ("student", "q"))),
    ):  # fmt: skip
        sums = sequence_loss(kind, teacher, student, mask, reduction="none", **options).sum(1)
        exact = (laws[table] * sums).sum()
        drawn = sums[torch.multinomial(laws[table], 20_000, replacement=True, generator=generator)]
        assert abs(drawn.mean() - exact) < 4 * drawn.std() / math.sqrt(20_000), kind


# ------------------------------------------------------------------ gradients (H.2)


@seeds
def test_gradients_as_the_table_has_them(seed: int) -> None:
    """A.4, column 4: each gradient in closed form, rows summing to zero (H.2.2)."""
    teacher, student, _ = random_pair(seed, (1, 1, 6))
    mask, b = torch.tensor([[True]]), WEIGHTS[seed % 3]
    p, q = (logits.detach().softmax(-1) for logits in (teacher, student))
    m = (1 - b) * p + b * q

    def centred(values: Tensor) -> Tensor:
        return values - (q * values).sum(-1, keepdim=True)

    wanted = {
        ("kl", "both"): q - p,
        ("rkl", "both"): q * centred((q / p).log()),
        ("engine", "both"): q * centred(-p.log()),
        ("js", "teacher"): (1 - b) * -b * q * centred(p / m),
        ("js", "student"): b * q * centred((q / m).log() - b * q / m),
        ("js", "both"): b * q * ((q / m).log() - (q * (q / m).log()).sum(-1, keepdim=True)),
        ("tvd", "both"): 0.5 * q * centred((q - p).sign()),
    }
    for (kind, half), gradient in wanted.items():
        options = {"half": half, "student_weight": b} if kind == "js" else {}
        (slope,) = torch.autograd.grad(sequence_loss(kind, teacher, student, mask, **options), student)
        close(slope, gradient)
        close(slope.sum(), 0.0)
    halves = [torch.autograd.grad(sequence_loss("tvd", teacher, student, mask, half=half), student)[0]
              for half in ("teacher", "student")]  # fmt: skip
    close(4 * halves[0], q * centred((q - p).sign()))  # the weights of the published loss: a quarter of abs(q - p) each
    close(*halves)


@seeds
@pytest.mark.parametrize(("kind", "options"), [("rkl", {}), ("js", {"half": "student"}), ("tvd", {"half": "student"})])
def test_kept_part_and_score_function(kind: str, options: dict, seed: int) -> None:
    """Together they are the gradient of the enumerated sum, prefixes' probabilities included (H.2.3)."""
    p, q = tables(seed)
    kept, full = expected(kind, q, p, q, **options), expected(kind, q, p, q, score_function=True, **options)

    def enumerated(fixed: bool) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for prefix, chance in q.prefixes().items():
            term = naive(kind, p.logits[prefix].view(1, 1, -1), q.logits[prefix].view(1, 1, -1), **options).sum()
            total = total + chance * (term.detach() if fixed else term)
        return total

    total, dropped = enumerated(False), enumerated(True)
    wanted = slopes(total, q)
    close(slopes(full, q), wanted)
    close(slopes(kept, q) + slopes(dropped, q), wanted)
    if kind == "rkl":
        log_p, log_q = whole(p, q)
        close(wanted, slopes((log_q.exp() * (log_q - log_p)).sum(), q))


@seeds
def test_a_detached_mixture(seed: int) -> None:
    """It leaves the teacher half without gradient; the exact one has that of the student half alone (H.2.5)."""
    b = WEIGHTS[seed % 3]
    teacher, student, mask = random_pair(seed)
    p, q = teacher.softmax(-1), student.softmax(-1)
    m = (1 - b) * p + b * q
    half = partial(sequence_loss, "js", teacher, student, mask, half="teacher", student_weight=b, reduction="sequence")
    frozen = ((1 - b) * p * (p.log() - m.detach().log())).sum(-1)
    close(half(), frozen[mask].sum() / len(mask))
    assert not frozen.requires_grad  # m is the only way from this half to the student
    assert float(torch.autograd.grad(half(), student)[0].abs().max()) > 1e-3
    one, other = tables(seed)
    both = js(one, other, b, mixture="prefix", attached=True)
    alone = torch.zeros((), dtype=torch.float64)
    for prefix, chance in other.prefixes().items():
        odds = (chance / one.prefixes()[prefix]).log().detach()
        share = (odds + math.log(b / (1 - b))).sigmoid()
        log_q = other.logits[prefix].log_softmax(-1)
        fixed = ((1 - share) * one.logits[prefix].softmax(-1) + share * log_q.exp()).detach()
        alone = alone + b * chance.detach() * (log_q.exp() * (log_q - fixed.log())).sum()
    close(slopes(both, other), slopes(alone, other))


@seeds
def test_hard_engine(seed: int) -> None:
    """Tokens drawn from the student's own logits: -log p of them does not depend on these (H.2.6)."""
    teacher, student, mask = random_pair(seed)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.multinomial(student.softmax(-1).flatten(0, 1), 1, generator=generator).view(mask.shape)
    loss = sequence_nll(teacher, ids, mask)
    assert not loss.requires_grad
    whole_graph = loss + student.sum() * 0
    assert not torch.autograd.grad(whole_graph, student)[0].any()
    soft = sequence_loss("engine", teacher, student, mask)  # the usable form
    assert float(torch.autograd.grad(soft, student)[0].abs().max()) > 1e-3


# ---- Finite differences of every loss that is not sequence_loss or a pair's (H.2.2) ----

gradcheck = partial(slow_gradcheck, fast_mode=True)  # along a random direction: all entries take ten times as long

MASK = torch.tensor([[True, True, False], [True, True, True]])
IDS = torch.tensor([[1, 2, 0], [0, 3, 2]])
GROUPS = [[Group((0,), (0, 1)), Group((1, 2), (2,))], [Group((0, 1), (0,))]]


def _head(weight: Tensor, bias: Tensor, kind: str, hidden: Tensor) -> Tensor:
    teacher = Head(draw(3, 5, 2), draw(4, 5))
    return fused_loss(kind, hidden, Head(weight, bias, softcap=4.0), draw(5, 2, 3, 2), teacher, MASK, rows=2)


def _mapped(norm: str, weighted: bool, match: str, weight: Tensor, states: Tensor) -> Tensor:
    maps = LinearMaps(4, 3, 1, activation="tanh").double()
    maps.load_state_dict({"weights.0": weight})
    teacher = list(draw(6, 4, 2, 3, 3).unbind(0))
    pair = LayerPair(1, (1, 2, 3) if weighted else 2)
    return hidden_loss(teacher, [states] * 2, [pair], MASK, maps=maps, norm=norm, match=match)


class _Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Discriminator(3, hidden=4).double()

    def forward(self, features: Tensor) -> Tensor:
        return self.inner(features)


def _judged(states: Tensor) -> Tensor:
    torch.manual_seed(0)
    return student_adversarial_loss(_Judge(), states, mask=MASK)


def _judging(*weights: Tensor) -> Tensor:
    torch.manual_seed(0)
    judge = _Judge()
    named = dict(zip(dict(judge.named_parameters()), weights, strict=True))

    class Bound(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return torch.func.functional_call(judge, named, (features,))

    return discriminator_loss(Bound(), draw(7, 2, 3, 3), draw(8, 2, 3, 3), mask=MASK)


def _uld(kind: str, logits: Tensor) -> Tensor:
    options = {"matched": torch.tensor([[0, 1], [4, 2]])} if kind == "hybrid" else {}
    return uld_loss(kind, draw(9, 2, 3, 6), IDS, logits, IDS, GROUPS, **options)


def _reward(kind: str, logits: Tensor) -> Tensor:
    log_q = token_logp(logits, IDS, mask=MASK)
    return pg_loss(log_q, draw(10, 2, 3), MASK, importance=draw(11, 2, 3).exp(), penalty=regulariser(kind, logits))


LOSSES: dict[str, tuple[Callable[..., Tensor], tuple[int, ...]]] = {
    "nll": (lambda z: sequence_nll(z, IDS, MASK, reduction="sequence"), (2, 3, 5)),
    **{
        f"top-k {kind} {tail}": (
            lambda z, kind=kind, tail=tail: top_k_loss(
                kind, top_k(draw(1, 2, 3, 5), 2, temperature=1.5), z, MASK, tail=tail, temperature=1.5
            ),
            (2, 3, 5),
        )
        for tail in TAILS
        for kind in (KINDS if tail == "bucket" else ("kl", "ce"))
    },
    **{f"uld {kind}": (partial(_uld, kind), (2, 3, 4)) for kind in ("sorted", "hybrid")},
    **{f"reward {kind}": (partial(_reward, kind), (2, 3, 5)) for kind in ("uniform", "entropy")},
    "attention": (
        lambda z: attention_kl(draw(12, 2, 2, 3, 3).softmax(-1), z.softmax(-1), MASK), (2, 2, 3, 3),
    ),
    "attention scores": (lambda z: attention_mse(draw(12, 2, 2, 3, 3), z, MASK), (2, 2, 3, 3)),
    "values": (
        lambda z: attention_kl(value_relations(draw(12, 2, 2, 3, 3), MASK), value_relations(z, MASK), MASK),
        (2, 2, 3, 2),
    ),
    "adversarial": (_judged, (2, 3, 3)),
    "dpo": (lambda z: dpo_loss(z[0], z[1], draw(13, 4), draw(14, 4)), (2, 4)),
    "grpo": (
        lambda z: grpo_loss(
            z, draw(15, 2), MASK, old_log_prob=draw(16, 2, 3) / 9, reference_log_prob=draw(17, 2, 3), beta=0.3
        ),
        (2, 3),
    ),
    "rest": (lambda z: rest_loss(z, torch.tensor([0.0, 1.0, 2.0]), 0.5), (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_finite_differences(name: str) -> None:
    loss, shape = LOSSES[name]
    assert gradcheck(loss, draw(0, *shape).requires_grad_())


@pytest.mark.parametrize("kind", KINDS)
def test_finite_differences_of_heads(kind: str) -> None:
    """From hidden states: to them, the head's weight and its bias."""
    leaves = [draw(0, 5, 3), draw(1, 5), draw(2, 2, 3, 3)]
    assert gradcheck(
        lambda weight, bias, hidden: _head(weight, bias, kind, hidden), [leaf.requires_grad_() for leaf in leaves]
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("weighted", [False, True])
def test_finite_differences_of_hidden_states(norm: str, weighted: bool) -> None:
    weight = draw(0, 3, 4)
    for match in ("outputs", "inputs"):
        assert gradcheck(
            lambda states, match=match: _mapped(norm, weighted, match, weight, states),
            draw(1, 2, 3, 4).requires_grad_(),
        )


def test_finite_differences_of_the_adversary() -> None:
    torch.manual_seed(0)
    weights = [weight.detach().clone().requires_grad_() for weight in _Judge().parameters()]
    assert gradcheck(_judging, weights)


# ------------------------------------------------------------------ symmetries and identities (H.3)


@seeds
def test_symmetries(seed: int) -> None:
    p, q = Table.random(seed, longest=2), Table.random(seed + 200, longest=2)
    b = WEIGHTS[seed % 3]
    for mixture in ("token", "prefix"):
        close(js(p, q, b, mixture=mixture), js(q, p, 1 - b, mixture=mixture))
        assert float(js(p, q, b, mixture=mixture)) > 1e-4
        close(js(p, p, b, mixture=mixture), 0.0, 1e-14)
    close(js(p, q, b, mixture="prefix"), exact_js(p, q, b))
    halves = [expected("tvd", one, one, other, half="teacher") + expected("tvd", other, one, other, half="student")
              for one, other in ((p, q), (q, p))]  # fmt: skip
    close(*halves)
    close(expected("kl", p, p, q), expected("rkl", p, q, p))
    for kind in ("kl", "rkl", "tvd", "gjsd"):
        close(expected(kind, p, p, p), 0.0, 1e-14)
        assert float(expected(kind, p, p, q)) > 1e-4
    close(expected("engine", q, p, q) - entropy(q), expected("rkl", q, p, q))


@seeds
def test_one_hot_teachers(seed: int) -> None:
    """KL, soft cross-entropy and SeqKD are one loss with one gradient (H.3.2)."""
    _, student, mask = random_pair(seed)
    ids = torch.randint(7, mask.shape, generator=torch.Generator().manual_seed(seed))
    teacher = torch.full_like(student, -math.inf).scatter(2, ids[..., None], 0.0)
    by_hand = -student.log_softmax(-1).gather(2, ids[..., None])[..., 0][mask].mean()
    (slope,) = torch.autograd.grad(by_hand, student)
    for loss in (
        sequence_nll(student, ids, mask), *(sequence_loss(kind, teacher, student, mask) for kind in ("kl", "ce")),
    ):  # fmt: skip
        close(loss, by_hand)
        close(torch.autograd.grad(loss, student)[0], slope)


# ------------------------------------------------------------------ temperature, beta (H.4, H.9.1)


def near(found: Tensor, wanted: Tensor, relative: float) -> None:
    """Within a share of what is wanted, nothing added."""
    assert bool(((found - wanted).abs() <= relative * wanted.abs()).all())


@seeds
def test_temperature_limits(seed: int) -> None:
    teacher, student, _ = random_pair(seed, scale=0.2)  # the next term of the limit is of the order of a logit / tau
    mask, tau = torch.ones(teacher.shape[:2], dtype=torch.bool), 1e3
    gaps = (teacher - student).detach()
    found = {
        kind: sequence_loss(
            kind, teacher, student, mask, temperature=tau, scale_by_temperature=True, reduction="none"
        ).detach()
        for kind in ("kl", "rkl", "tvd")
    }
    near(found["kl"], 0.5 * gaps.var(-1, correction=0), 1e-3)
    near(found["rkl"], 0.5 * gaps.var(-1, correction=0), 1e-3)
    near(found["tvd"], 0.5 * (gaps - gaps.mean(-1, keepdim=True)).abs().mean(-1), 1e-3)
    warm = sequence_loss("kl", teacher, student, mask, temperature=3.0, scale_by_temperature=True, reduction="none")
    slope = torch.autograd.grad(warm.sum(), student)[0]
    close(slope, 3 * ((student / 3).softmax(-1) - (teacher / 3).softmax(-1)))
    for kind in KINDS:
        plain, scaled = (
            sequence_loss(kind, teacher, student, mask, scale_by_temperature=on, reduction="none")
            for on in (False, True)
        )
        assert torch.equal(plain, scaled)


@seeds
def test_generalised_ends(seed: int) -> None:
    """beta = 1 - b next to its ends, within 1 % of KL and RKL and nothing added."""
    teacher, student, mask = random_pair(seed)
    kl, rkl = (sequence_loss(kind, teacher, student, mask, reduction="none").detach()[mask] for kind in ("kl", "rkl"))

    def of(beta: float, **options: object) -> Tensor:
        loss = sequence_loss("gjsd", teacher, student, mask, student_weight=1 - beta, reduction="none", **options)
        return loss.detach()[mask]

    near(of(1e-5) / 1e-5, kl, 1e-2)
    near(of(1 - 1e-5) / 1e-5, rkl, 1e-2)
    near(of(1e-5, normalize=True), of(0.0, normalize=True), 1e-2)
    near(of(1 - 1e-5, normalize=True), of(1.0, normalize=True), 1e-2)
    close(of(0.0), kl)
    close(of(1.0), rkl)


# ------------------------------------------------------------------ layers, rewards, averages (H.6.2, H.7, H.8.1)


@seeds
def test_attention_over_layers(seed: int) -> None:
    """One layer is plain MSE; scores times 10^4 leave the best layer; weights of a position sum to 1."""
    states = list(draw(seed, 5, 2, 3, 4))
    student = draw(seed + 100, 2, 3, 4)
    one, plain = (
        hidden_loss(states, [student] * 3, [LayerPair(2, layer)], MASK) for layer in ((3,), 3)
    )  # fmt: skip
    close(one, plain, 1e-12)
    close(plain, (student - states[3]).square().mean(-1)[MASK].mean(), 1e-12)
    close(layer_weights(states[1:], student).sum(-1), torch.ones(2, 3, dtype=torch.float64))
    scores = torch.stack([(student * layer).sum(-1) for layer in states[1:]])
    ranked = scores.sort(0).values
    sure = (ranked[-1] - ranked[-2]) > 1e-2  # else 10^4 is not enough to tell them apart
    found = layer_weights(states[1:], student, sharpness=1e4)
    assert sure.any()
    close(found[sure], nn.functional.one_hot(scores.argmax(0), 4).double()[sure])


@seeds
def test_centring(seed: int) -> None:
    """The exact policy gradient is that of logits as they are (H.7.3)."""
    value = list(VALUES)[seed % 3]
    table, student = Table.random(seed, scale=2.0), Table.random(seed + 100).trainable()
    strings = table.outcomes()
    found = [induced(table, strings, value=value, centre=centre) for centre in (False, True)]
    assert float((found[0][0].rewards - found[1][0].rewards).abs().max()) > 1e-3
    close_all(*(policy_gradient(student, returns(part.rewards, mask), strings) for part, mask in found))


@seeds
def test_equal_teachers(seed: int) -> None:
    logits = draw(seed, 2, 3, 5)
    ids = torch.randint(5, (2, 3), generator=torch.Generator().manual_seed(seed))
    for kind in AVERAGES:
        mean = average([logits] * (2 + seed % 4), kind=kind, ids=ids if kind == "prefix" else None)
        close(mean, logits.log_softmax(-1))


# ------------------------------------------------------------------ traps of released code (A.10)


def padded_model(kind: str) -> tuple[nn.Module, int, str]:
    model, end, side = (tiny_causal(1), 0, "left") if kind == "causal" else (tiny_seq2seq(1), 1, "right")
    with torch.no_grad():  # laws that differ from place to place
        model.get_output_embeddings().weight.mul_(8.0)
    return model.double().eval(), end, side


def test_trap_1_the_law_of_the_next_token() -> None:
    """The first token is supervised, each by the law before it, and nothing past the end is looked at."""
    model, end, side = padded_model("causal")
    prompt, output = [5, 6, 7], [8, 9, end]
    given = completions(torch.tensor([output]), [end])
    loss = sequence_nll(align(model, prompts([prompt], pad=0, side=side), given).scores, given.ids, given.mask)
    logits = model(input_ids=torch.tensor([prompt + output])).logits[0]
    places = range(len(prompt), len(prompt) + len(output))
    ours = -torch.stack([logits[place - 1].log_softmax(-1)[token] for place, token in zip(places, output, strict=True)])
    released = -torch.stack([logits[place].log_softmax(-1)[token] for place, token in zip(places, output, strict=True)])
    close(loss, ours.mean())
    assert abs(float((loss - released.mean()).detach())) > 1e-2
    hidden = align(model, prompts([prompt], pad=0, side=side), given, output="hidden").scores
    close(model.get_output_embeddings()(hidden)[0], logits[[place - 1 for place in places]])
    caught: list[Tensor] = []
    hook = model.get_input_embeddings().register_forward_hook(lambda module, inputs, out: caught.append(inputs[0]))
    align(model, prompts([prompt], pad=0, side=side), given)
    hook.remove()
    assert caught[0].tolist() == [[*prompt, *output[:-1]]]  # the end token is a target and never an input


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_trap_2_ends_that_are_padding(kind: str) -> None:
    """The end of each row is learned though padding is the same token: ids that differ from it would leave it out."""
    model, end, side = padded_model(kind)
    rows = [{"prompt": [5], "completion": [6, end]}, {"prompt": [5, 6], "completion": [7, 8, 9, end]}]
    batch = Collator([end], pad=end, side=side)(rows)
    assert batch["data_mask"].sum(1).tolist() == [2, 4]
    assert (batch["data_ids"] != end).sum(1).tolist() == [1, 3]  # the released mask
    given = completions(batch["data_ids"], [end])
    scores = align(model, prompts([[5], [5, 6]], pad=0, side=side), given).scores.detach().requires_grad_()
    (slope,) = torch.autograd.grad(sequence_nll(scores, given.ids, given.mask), scores)
    assert slope[0, 1].abs().max() > 1e-3
    assert slope[1, 3].abs().max() > 1e-3
    assert not slope[0, 2:].any()


def test_trap_3_masks_from_the_decoder_s_input() -> None:
    """T5 starts with its padding: a mask from its input would leave the first token out."""
    model, end, side = padded_model("seq2seq")
    given = completions(torch.tensor([[6, end, 0], [7, 8, end]]), [end])
    seen: list[Tensor] = []
    handle = model.get_decoder().register_forward_pre_hook(
        lambda module, inputs, named: seen.append(named["input_ids"]), with_kwargs=True
    )
    found = align(model, prompts([[5], [9]], pad=0, side=side), given)
    handle.remove()
    released = seen[0] != model.config.pad_token_id
    assert not released[:, 0].any()
    assert found.mask.tolist() == [[True, True, False], [True, True, True]]
    loss = sequence_loss("kl", torch.zeros_like(found.scores), found.scores, found.mask, reduction="none")
    assert (loss[:, 0] > 1e-3).all()


def test_trap_4_norms_over_the_batch() -> None:
    """A state's norm is its own: other rows and padding change nothing, as they do in a joint layer norm."""
    teacher, student = draw(1, 2, 3, 4), draw(2, 2, 3, 4)
    louder = student.clone()
    louder[0, 2:] *= 50  # padding
    louder[1] *= 9

    def ours(states: Tensor) -> Tensor:
        return hidden_loss([teacher] * 2, [states] * 2, [LayerPair(1, 1)], MASK, norm="ln", reduction="none")

    def released(states: Tensor) -> Tensor:
        one, other = (nn.functional.layer_norm(each, each.shape) for each in (teacher, states))
        return (one - other).square().mean(-1) * MASK

    close(ours(louder)[0], ours(student)[0], 1e-12)
    assert float((released(louder) - released(student))[0].abs().max()) > 1e-2
    assert float((ours(student) - released(student)).abs().max()) > 1e-2


def test_trap_5_numbers_added_to_probabilities() -> None:
    """Gradients of improbable tokens are right to nine digits, in place of being those of 1e-10."""
    q, p = (torch.tensor([[[1 - 2 * tail - 1e-3, 1e-3, tail, tail]]], dtype=torch.float64) for tail in (3e-12, 5e-12))
    p, q, mask = p.log(), q.log().requires_grad_(), torch.tensor([[True]])
    (slope,) = torch.autograd.grad(sequence_loss("js", p, q, mask, half="student"), q)
    laws = [[math.exp(value) for value in law.detach()[0, 0].tolist()] for law in (p, q)]
    middle = [(one + other) / 2 for one, other in zip(*laws, strict=True)]
    inner = [math.log(other / m) - 0.5 * other / m for other, m in zip(laws[1], middle, strict=True)]
    mean = math.fsum(other * value for other, value in zip(laws[1], inner, strict=True))
    wanted = [0.5 * other * (value - mean) for other, value in zip(laws[1], inner, strict=True)]
    assert slope[0, 0, 2:].tolist() == pytest.approx(wanted[2:], rel=1e-9)
    law, other = p.softmax(-1), q.softmax(-1)
    released = 0.5 * (other * (other.log() - ((law + other) / 2 + 1e-10).log())).sum()
    (wrong,) = torch.autograd.grad(released, q)
    assert abs(float(wrong[0, 0, 2]) / wanted[2] - 1) > 0.5


def test_trap_6_the_temperature_squared() -> None:
    """Total variation grows with the temperature, not its square, in every form of the loss."""
    teacher, student, mask = random_pair(3)
    head = Head(draw(1, 7, 4))
    hidden = draw(2, *mask.shape, 4)

    def forms(**options: object) -> list[Tensor]:
        return [
            sequence_loss("tvd", teacher, student, mask, **options),
            sequence_loss("tvd", teacher, student, mask, half="student", **options),
            top_k_loss("tvd", top_k(teacher, 3, temperature=4.0), student, mask, **options),
            fused_loss("tvd", hidden, head, hidden.flip(0), head, mask, **options),
        ]

    for plain, scaled in zip(
        forms(temperature=4.0), forms(temperature=4.0, scale_by_temperature=True), strict=True
    ):  # fmt: skip
        close(scaled, 4 * plain.detach())


def test_trap_7_start_tokens_by_wrapping() -> None:
    """A row cut before its end is decoded from the start token; wrapped, it would start with its own last word."""
    model, end, side = padded_model("seq2seq")
    given = completions(torch.tensor([[6, 7, 8], [6, end, 0]]), [end])
    assert given.truncated.tolist() == [True, False]
    found = align(model, prompts([[5], [5]], pad=0, side=side), given).scores
    asked = {"input_ids": torch.tensor([[5], [5]])}
    right = model(**asked, decoder_input_ids=torch.tensor([[EOS, 6, 7], [EOS, 6, end]])).logits
    close(found[given.mask], right[given.mask])
    wrapped = model(**asked, decoder_input_ids=given.ids.roll(1, 1)).logits
    assert float((found - wrapped).detach()[0].abs().max()) > 1e-2
