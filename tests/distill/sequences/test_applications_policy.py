"""Policy losses: advantages, clipping, the pull to a reference, preferences, the distillation links, rewards."""

from __future__ import annotations

import math

import pytest
import torch
from sequence_tables import Table
from torch import Tensor

from treeavg.distill.sequences.applications.policy import (
    dpo_loss,
    group_advantages,
    grpo_loss,
    rkl_advantages,
    tagged_reward,
)
from treeavg.distill.sequences.losses.divergences import sequence_loss
from treeavg.distill.sequences.losses.tokens import token_logp
from treeavg.errors import ArgumentError

EXACT = {"rtol": 0.0, "atol": 1e-10}
SEEDS = range(20)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ragged(rows: int, longest: int) -> Tensor:
    """Row r has min(r + 1, longest) tokens."""
    return torch.arange(longest) < torch.arange(1, rows + 1)[:, None]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [True, False])
def test_advantages(seed: int, scale: bool) -> None:
    rewards = normal(seed, 3, 5)
    found = group_advantages(rewards, scale=scale)
    for row, group in zip(found, rewards.tolist(), strict=True):
        mean = math.fsum(group) / 5
        deviation = math.sqrt(math.fsum((r - mean) ** 2 for r in group) / 4)
        expected = [(r - mean) / (deviation + 1e-4 if scale else 1.0) for r in group]
        torch.testing.assert_close(row, torch.tensor(expected, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(found.sum(1), torch.zeros(3, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e6 + 0.7])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_advantages_of_equal_rewards_vanish(value: float, size: int) -> None:
    """Exactly: a rounding of the mean is not blown up by the small deviation."""
    assert group_advantages(torch.full((1, size), value)).tolist() == [[0.0] * size]


def twin(log_prob: Tensor, gains: Tensor, mask: Tensor, old: Tensor, reference: Tensor, clip: float, beta: float):
    """Token by token in Python."""
    found = []
    for row in range(len(mask)):
        for place in range(mask.shape[1]):
            if not mask[row, place]:
                continue
            ratio = math.exp(log_prob[row, place] - old[row, place])
            clipped = min(max(ratio, 1 - clip), 1 + clip)
            gain = float(gains[row] if gains.dim() == 1 else gains[row, place])
            difference = float(reference[row, place] - log_prob[row, place])
            found.append(-min(ratio * gain, clipped * gain) + beta * (math.exp(difference) - difference - 1))
    return math.fsum(found) / max(len(found), 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per_token", [False, True])
def test_grpo(seed: int, per_token: bool) -> None:
    mask = ragged(4, 3)
    log_prob, old, reference = (-normal(seed + k, 4, 3).abs() for k in (0, 100, 200))
    gains = normal(seed + 300, 4, 3) if per_token else normal(seed + 300, 4)
    expected = twin(log_prob, gains, mask, old, reference, 0.2, 0.5)
    junk = torch.where(mask, 0.0, torch.nan)
    leaf = (log_prob + junk).requires_grad_()
    found = grpo_loss(leaf, gains, mask, old_log_prob=old + junk, reference_log_prob=reference + junk, beta=0.5)
    assert abs(found.item() - expected) < 1e-10
    (gradient,) = torch.autograd.grad(found, leaf)
    assert bool(gradient.isfinite().all())
    assert not gradient[~mask].any()


def test_grpo_gradient_stops_where_clipped() -> None:
    """A ratio beyond the clip moves no further the way the advantage asks, and still moves back."""
    log_prob = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]], requires_grad=True)
    gains = torch.tensor([1.0, -1.0, 1.0, -1.0])
    mask = torch.ones(4, 1, dtype=torch.bool)
    loss = grpo_loss(log_prob, gains, mask, old_log_prob=torch.zeros(4, 1), reduction="sequence")
    (gradient,) = torch.autograd.grad(loss, log_prob)
    assert [bool(one) for one in gradient[:, 0]] == [False, True, True, False]


def test_grpo_reference_is_zero_at_itself() -> None:
    log_prob, mask = -normal(0, 2, 3).abs(), torch.ones(2, 3, dtype=torch.bool)
    plain = grpo_loss(log_prob, torch.ones(2), mask)
    assert abs(float(plain) + 1) < 1e-12
    assert grpo_loss(log_prob, torch.ones(2), mask, reference_log_prob=log_prob, beta=3.0) == plain


def test_grpo_without_tokens() -> None:
    log_prob = torch.zeros(2, 3, requires_grad=True)
    loss = grpo_loss(log_prob, torch.ones(2), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert log_prob.grad is not None
    assert not log_prob.grad.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_expected_gradient_is_that_of_reinforce(seed: int) -> None:
    """Over all strings: the gradient of the expected reward, since rho = 1."""
    table, reward = Table.random(seed, size=3, longest=2).trainable(), normal(seed, 9)
    strings = table.outcomes()
    logits, ids, mask = table.batch(strings)
    log_prob = token_logp(logits, ids)
    weights = torch.stack([table.log_prob(s) for s in strings]).exp()
    surrogate = (grpo_loss(log_prob, reward[: len(strings)], mask, reduction="none").sum(1) * weights.detach()).sum()
    expected = -(weights * reward[: len(strings)]).sum()
    leaves = list(table.logits.values())
    for one, two in zip(torch.autograd.grad(surrogate, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(one, two, **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
def test_rkl_advantages_give_reverse_kl(seed: int) -> None:
    """Over the student's next token the expected gradient is that of the full-vocabulary reverse KL."""
    teacher, student = normal(seed, 1, 2, 5), normal(seed + 50, 1, 2, 5).requires_grad_()
    mask = torch.tensor([[True, True]])
    (exact,) = torch.autograd.grad(sequence_loss("rkl", teacher, student, mask, reduction="sequence"), student)
    law = student.detach().softmax(-1)
    total = torch.zeros_like(law)
    for token in range(5):
        ids = torch.full((1, 2), token)
        log_prob = token_logp(student, ids)
        gains = rkl_advantages(token_logp(teacher, ids), log_prob, mask)
        assert not gains.requires_grad
        (part,) = torch.autograd.grad(grpo_loss(log_prob, gains, mask, reduction="sequence"), student)
        total += law[..., token, None] * part
    torch.testing.assert_close(total, exact, **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
def test_dpo(seed: int) -> None:
    chosen, rejected, before, behind = normal(seed, 4, 3)
    margin = (chosen - before) - (rejected - behind)
    expected = torch.log1p(torch.exp(-0.3 * margin))
    found = dpo_loss(chosen, rejected, before, behind, beta=0.3, reduction="none")
    torch.testing.assert_close(found, expected, **EXACT)
    assert abs(float(dpo_loss(chosen, rejected, before, behind, beta=0.3) - expected.mean())) < 1e-12


def test_dpo_at_the_reference_is_log_two() -> None:
    chosen, rejected = normal(1, 2, 5).requires_grad_()
    loss = dpo_loss(chosen, rejected, chosen, rejected)
    assert abs(loss.item() - math.log(2)) < 1e-12
    up, down = torch.autograd.grad(loss, [chosen, rejected])
    torch.testing.assert_close(up, torch.full_like(up, -0.1 / 10), **EXACT)
    torch.testing.assert_close(down, -up, **EXACT)


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("<think>a\nb</think>\n<answer> 4 </answer>\n", 2.0),
        ("<think></think><answer>5</answer>", 1.0),
        ("so <think>a</think><answer>4</answer>", 1.0),
        ("<answer>4</answer><think>a</think>", 1.0),
        ("<think>a<answer>4</answer></think><answer>4</answer>", 1.0),
        ("<answer>4</answer><answer>5</answer>", 0.0),
        ("4", 0.0),
        ("", 0.0),
    ],
)
def test_tagged_reward(text: str, reward: float) -> None:
    assert tagged_reward(text, "4") == reward


def test_tagged_reward_with_other_tags() -> None:
    assert tagged_reward("<a.b>x</a.b><c>4</c>", "4", tags=("a.b", "c")) == 2.0
    assert tagged_reward("<a.b>x</a.b><c>4</c>", "4", tags=("axb", "c")) == 1.0


MASK = torch.ones(2, 3, dtype=torch.bool)
ZEROS = torch.zeros(2, 3)


def test_whole_rewards() -> None:
    """Right or wrong, as whole numbers or bool, are rewards like others."""
    for rewards in (torch.tensor([[1, 0, 0, 1]]), torch.tensor([[True, False, False, True]])):
        assert torch.equal(group_advantages(rewards), group_advantages(rewards.float()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: group_advantages(torch.zeros(3)), "rewards: expected shape (inputs, samples) with 2 samples or more, "
         "got (3,)"),
        (lambda: group_advantages(torch.zeros(3, 1)), "rewards: expected shape (inputs, samples) with 2 samples or "
         "more, got (3, 1)"),
        (lambda: group_advantages(torch.tensor([[0.0, torch.nan]])), "rewards: expected finite numbers, got NaN"),
        (lambda: group_advantages(torch.zeros(1, 2), epsilon=0.0), "epsilon: expected a positive number, got 0.0"),
        (lambda: grpo_loss(ZEROS, torch.zeros(3), MASK), "advantages: expected the shape of log_prob, (2, 3), "
         "got (3,)"),
        (lambda: grpo_loss(ZEROS, torch.zeros(2), MASK[:1]), "mask: expected the shape of log_prob, (2, 3), "
         "got (1, 3)"),
        (lambda: grpo_loss(ZEROS, torch.zeros(2), MASK, clip=0.0), "clip: expected a number between 0 and 1, got 0.0"),
        (lambda: grpo_loss(ZEROS, torch.zeros(2), MASK, beta=-1.0), "beta: expected 0 or a positive number, got -1.0"),
        (lambda: grpo_loss(ZEROS, torch.zeros(2), MASK, beta=0.1),
         "reference_log_prob: expected one where beta > 0 and none where beta = 0, "
         "got none with beta=0.1"),
        (lambda: grpo_loss(ZEROS, torch.zeros(2), MASK, reference_log_prob=ZEROS),
         "got one with beta=0.0. Give both or neither."),
        (lambda: grpo_loss(ZEROS, torch.zeros(2), MASK, old_log_prob=ZEROS[:1]),
         "old_log_prob: expected the shape of log_prob, (2, 3), "
         "got (1, 3)"),
        (lambda: rkl_advantages(ZEROS, ZEROS[:1], MASK), "student_log_prob: expected the shape of teacher_log_prob, "
         "(2, 3), got (1, 3)"),
        (lambda: rkl_advantages(ZEROS, ZEROS, MASK[:1]), "mask: expected the shape of teacher_log_prob, (2, 3), "
         "got (1, 3)"),
        (lambda: dpo_loss(ZEROS, ZEROS, ZEROS, ZEROS),
         "chosen: expected shape (pairs,) with at least one pair, got (2, 3)"),
        (lambda: dpo_loss(ZEROS[0], ZEROS[0], ZEROS[0], ZEROS[0, :1]),
         "reference_rejected: expected the shape of chosen, "
         "(3,), got (1,)"),
        (lambda: dpo_loss(*[ZEROS[0]] * 4, beta=0.0), "beta: expected a positive number, got 0.0"),
        (lambda: dpo_loss(*[ZEROS[0]] * 4, reduction="mean"), "reduction: expected one of 'pair', 'none', got 'mean'"),
        (lambda: grpo_loss(ZEROS, torch.zeros(2), MASK.long()), "mask: expected bool, got torch.int64. Use mask.bool("),
        (lambda: rkl_advantages(ZEROS, ZEROS, MASK.long()), "mask: expected bool, got torch.int64. Use mask.bool()."),
        (lambda: tagged_reward("4", "4", tags=("answer",)), "tags: expected two, of thought and answer, got ('answer'"),
    ],
)  # fmt: skip
def test_messages(call, message: str) -> None:
    with pytest.raises(ArgumentError) as found:
        call()
    assert message in str(found.value)
