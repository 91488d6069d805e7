"""Prompt removal and hard prompt compression."""

from __future__ import annotations

import itertools
import warnings
from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import Tensor

from treeavg.distill.sequences.align import Prompts, align, completions, prompts
from treeavg.distill.sequences.applications.compression import (
    compressed,
    compression_reward,
    draw_keeps,
    keep_log_prob,
    keep_loss,
    pooled,
    semantic_distance,
)
from treeavg.distill.sequences.applications.prompts import joined, prompt_removal_loss, teacher_scores
from treeavg.distill.sequences.losses.divergences import sequence_loss
from treeavg.errors import ArgumentError

EXACT = {"rtol": 0.0, "atol": 1e-10}
SEEDS = range(20)
NOTHING = Prompts(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.int64))
WRITTEN = completions(torch.tensor([[4, 9, 0], [7, 0, 0]]), [0])


def inputs(*rows: list[int], side: str = "left") -> Prompts:
    return prompts(list(rows), pad=0, side=side)


def adapted(zero: bool = True):
    """A LoRA adapter on a tiny model; at the start it changes nothing."""
    options = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=zero)
    with warnings.catch_warnings():  # peft asks transformers for a name that will go
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        model = get_peft_model(tiny_causal().double(), options)
    return model.double()


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_empty_prompt_and_zero_adapters() -> None:
    """H.10: nothing to remove, nothing to learn."""
    model, plain = adapted().eval(), inputs([5, 6], [7])
    prompted = joined(NOTHING, plain)
    assert torch.equal(prompted.ids, plain.ids)
    for kind in ("kl", "rkl", "js", "tvd"):
        loss = prompt_removal_loss(model, prompted, plain, WRITTEN, divergence=partial(sequence_loss, kind))
        assert abs(loss.item()) < 1e-12, kind


def test_adapters_off_are_the_teacher() -> None:
    """The loss is that of two models, one with the prompt and without the adapter; only the adapter learns."""
    model, plain = adapted(zero=False), inputs([5, 6], [7])
    prompted = joined(inputs([11, 12, 13]), plain)
    base = tiny_causal().double().eval()
    model.eval()
    student = align(model, plain, WRITTEN).scores
    expected = sequence_loss("kl", align(base, prompted, WRITTEN).scores, student, WRITTEN.mask)
    loss = prompt_removal_loss(model, prompted, plain, WRITTEN)
    torch.testing.assert_close(loss, expected, **EXACT)
    assert loss.item() > 1e-6
    loss.backward()
    learning = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    assert learning
    assert all("lora_" in name for name in learning)


def test_teacher_is_still_and_modes_come_back() -> None:
    """Dropout of a teacher in training mode is off while it scores; each module is then as it was."""
    model, batch = adapted(zero=False), inputs([5, 6], [7])
    model.train()
    model.base_model.model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    first, second = (teacher_scores(model, batch, WRITTEN, adapters=False) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert [module.training for module in model.modules()] == modes
    torch.testing.assert_close(first, align(tiny_causal().double().eval(), batch, WRITTEN).scores, **EXACT)
    changed = teacher_scores(model, batch, WRITTEN)
    assert (changed - first).abs().max() > 1e-6
    wrapped = torch.nn.Sequential()
    wrapped.module = model
    assert torch.equal(teacher_scores(wrapped, batch, WRITTEN, adapters=False), first)


def test_teacher_of_its_own_and_encoder_decoder() -> None:
    """Two models and an encoder: the prompt stands on the same side of the padding as the input."""
    teacher, student = tiny_seq2seq(1).double(), tiny_seq2seq(2).double().eval()
    written = completions(torch.tensor([[4, 9, 1], [7, 1, 0]]), [1])
    plain = inputs([5, 6], [7], side="right")
    prompted = joined(inputs([11, 12]), plain, side="right")
    assert prompted.ids.tolist() == [[11, 12, 5, 6], [11, 12, 7, 0]]
    loss = prompt_removal_loss(student, prompted, plain, written, teacher=teacher)
    for row, own in enumerate([[11, 12, 5, 6], [11, 12, 7]]):
        single = completions(written.ids[row : row + 1], [1])
        known = align(teacher.eval(), inputs(own, side="right"), single).scores
        mine = align(student, Prompts(*(part[row : row + 1] for part in (plain.ids, plain.attention))), single).scores
        loss = loss - sequence_loss("kl", known, mine, single.mask, reduction="sequence") / written.mask.sum()
    assert abs(loss.item()) < 1e-10


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_joined(seed: int, side: str) -> None:
    """Row by row: the lists, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    rows = [
        [torch.randint(1, 20, (int(torch.randint(4, (), generator=generator)),), generator=generator).tolist()
         for _ in range(3)] for _ in range(4)
    ]  # fmt: skip
    rows = [[*parts[:2], [9, *parts[2]]] for parts in rows]

    def padded(lists: list[list[int]], holes: bool) -> Prompts:
        width = max(map(len, lists)) + 1
        ids, attention = torch.full((4, width), 17), torch.zeros(4, width, dtype=torch.int64)
        for row, tokens in enumerate(lists):
            places = torch.randperm(width, generator=generator)[: len(tokens)].sort().values if holes else slice(
                width - len(tokens), width
            )  # fmt: skip
            ids[row, places], attention[row, places] = torch.tensor(tokens, dtype=torch.int64), 1
        return Prompts(ids, attention)

    parts = [padded([row[k] for row in rows], holes=k == 1) for k in range(3)]
    expected = prompts([list(itertools.chain(*row)) for row in rows], pad=0, side=side)
    found = joined(*parts, side=side)
    assert torch.equal(found.ids, expected.ids)
    assert torch.equal(found.attention, expected.attention)


def test_compressed() -> None:
    """One prompt, other keep-masks in each row; a prompt may vanish where an input follows."""
    keep = torch.tensor([[True, False, True], [False, False, False]])
    found = compressed(inputs([11, 12, 13]), keep, inputs([5, 6], [7]))
    assert torch.equal(found.ids, inputs([11, 13, 5, 6], [7]).ids)
    assert torch.equal(found.attention, inputs([11, 13, 5, 6], [7]).attention)


def test_keeps_are_drawn_as_their_probability_says() -> None:
    logits, attention = torch.tensor([[-1.0, 0.0, 2.0]]), torch.tensor([[1, 1, 1]])
    keeps = draw_keeps(logits, attention, samples=20_000, generator=torch.Generator().manual_seed(0))
    shares = keeps.double().mean(0)[0]
    chances = logits[0].double().sigmoid()
    assert bool(((shares - chances).abs() < 4 * (chances * (1 - chances) / 20_000).sqrt()).all())
    masks = torch.tensor(list(itertools.product([False, True], repeat=3)))[:, None]
    total = keep_log_prob(logits.double(), masks, attention).exp().sum()
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("baseline", ["none", "leave-one-out"])
def test_keep_gradient_by_enumeration(seed: int, baseline: str) -> None:
    """Over all pairs of masks the expected gradient is that of minus the expected reward; padding gets none."""
    attention = torch.tensor([[0, 1, 1]])
    logits = normal(seed, 1, 3).requires_grad_()
    masks = torch.tensor([[[False, *bits]] for bits in itertools.product([False, True], repeat=2)])
    rewards = normal(seed + 99, 4)
    weights = keep_log_prob(logits, masks, attention)[:, 0].exp()
    (exact,) = torch.autograd.grad(-(weights * rewards).sum(), logits)
    total = torch.zeros_like(logits)
    for one, two in itertools.product(range(4), repeat=2):
        rows = [one, two]
        loss = keep_loss(logits, masks[rows], attention, rewards[rows, None], baseline=baseline)
        chance = keep_log_prob(logits.detach(), masks[rows], attention).sum().exp()
        total += chance * torch.autograd.grad(loss, logits)[0]
    torch.testing.assert_close(total, exact, **EXACT)
    assert total[0, 0] == 0


def test_keep_policy_learns_the_token_that_matters() -> None:
    """A reward that asks for the second token alone, and a price for each."""
    attention = torch.ones(1, 4, dtype=torch.int64)
    logits = torch.zeros(1, 4, requires_grad=True)
    generator, adam = torch.Generator().manual_seed(0), torch.optim.Adam([logits], lr=0.2)
    for _ in range(60):
        keeps = draw_keeps(logits, attention, samples=8, generator=generator)
        rewards = compression_reward(2.0 - 2.0 * keeps[..., 1], keeps, length_weight=0.3)
        adam.zero_grad()
        keep_loss(logits, keeps, attention, rewards).backward()
        adam.step()
    assert (logits > 0).tolist() == [[False, True, False, False]]


def test_reward() -> None:
    divergences, keeps = torch.tensor([[0.5, 1.0]]), torch.tensor([[[True, True], [False, True]]])
    distances = torch.tensor([[0.1, 0.2]], requires_grad=True)
    found = compression_reward(divergences, keeps, length_weight=0.25, distances=distances, distance_weight=2.0)
    torch.testing.assert_close(found, torch.tensor([[-1.2, -1.65]]))
    assert not found.requires_grad


def test_meaning() -> None:
    vectors, attention = normal(3, 2, 3, 4), torch.tensor([[0, 1, 1], [0, 0, 0]])
    vectors[0, 0] = torch.nan
    found = pooled(vectors, attention)
    torch.testing.assert_close(found[0], vectors[0, 1:].mean(0), **EXACT)
    assert not found[1].any()
    first, second = normal(4, 5, 3), normal(5, 5, 3)
    expected = 1 - (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))
    torch.testing.assert_close(semantic_distance(first, second), expected, **EXACT)


KEEPS = torch.ones(2, 1, 3, dtype=torch.bool)
ONES = torch.ones(1, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prompt_removal_loss(tiny_causal(), inputs([5]), inputs([5]), WRITTEN),
         "model: expected a PEFT model, whose adapters off are the teacher, got GPT2LMHeadModel."),
        (lambda: joined(), "parts: expected one part or more with as many rows each, or one, got [] rows."),
        (lambda: joined(inputs([1], [2]), inputs([1], [2], [3])), "or one, got [2, 3] rows. Batch the parts alike."),
        (lambda: joined(inputs([1]), side="centre"), "side: expected one of 'left', 'right', got 'centre'"),
        (lambda: compressed(inputs([1, 2]), KEEPS[0]), "shape (..., 1, 2), got (1, 3)"),
        (lambda: keep_loss(ONES.double(), KEEPS, ONES, torch.zeros(3, 1)), "got (3, 1) for masks (2, 1, 3)"),
        (lambda: keep_loss(ONES.double(), KEEPS[:1], ONES, torch.zeros(1, 1)), "keeps: expected 2 masks or more"),
        (lambda: keep_loss(ONES.double(), KEEPS, ONES, torch.zeros(2, 1), baseline="mean"),
         "baseline: expected one of 'leave-one-out', 'none', got 'mean'"),
        (lambda: compression_reward(torch.zeros(3), KEEPS, length_weight=0.1), "one for each mask, shape (2, 1)"),
        (lambda: compression_reward(torch.zeros(2, 1), KEEPS, length_weight=-1.0), "length_weight: expected 0 or a"),
        (lambda: compression_reward(torch.zeros(2, 1), KEEPS, length_weight=0.1, distance_weight=2.0),
         "distance_weight: expected distances with it, got 2.0 and none"),
        (lambda: compressed(inputs([1, 2, 3]), ONES), "keep: expected bool, got torch.int64. Use draw_keeps, or keep"),
        (lambda: keep_log_prob(ONES.double(), ONES, ONES), "keeps: expected bool, got torch.int64."),
        (lambda: draw_keeps(ONES.double(), ONES, samples=0), "samples: expected a whole number, at least 1, got 0."),
        (lambda: draw_keeps(torch.tensor([[0.0, torch.nan, 0.0]]), ONES, samples=1), "logits: expected numbers, got N"),
        (lambda: keep_loss(ONES.double(), KEEPS, ONES, torch.full((2, 1), torch.nan)), "rewards: expected finite"),
        (lambda: compression_reward(torch.zeros(2, 1), KEEPS, length_weight=0.1, distances=torch.zeros(2, 1),
                                    distance_weight=torch.nan), "distance_weight: expected 0 or a positive number, go"),
    ],
)  # fmt: skip
def test_messages(call, message: str) -> None:
    with pytest.raises(ArgumentError) as found:
        call()
    assert message in str(found.value)
