"""Induced rewards: golden R, backward induction and theorems by enumeration, truncated rows, the policy gradient."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
from sequence_tables import EOS, Table, entropy
from torch import Tensor

from treeavg.distill.sequences.rewards import induction
from treeavg.distill.sequences.rewards.reward import (
    BASELINES,
    VALUES,
    Rewards,
    advantages,
    importance_weights,
    induce,
    mean_rewards,
    pg_loss,
    regulariser,
    returns,
    state_values,
)
from treeavg.errors import ArgumentError

SEEDS = range(20)
values = pytest.mark.parametrize("value", list(VALUES))


def close(a: Tensor | float, b: Tensor | float, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(
        torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64), rtol=0, atol=tolerance
    )


@functools.cache
def layout(size: int, longest: int, strings: tuple[tuple[int, ...], ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the law before each token stands among the table's prefixes, the tokens, and the mask."""
    table = Table.random(0, size=size, longest=longest)
    numbers = {prefix: number for number, prefix in enumerate(table.logits)}
    _, ids, mask = table.batch(list(strings))
    places = torch.zeros_like(ids)
    for row, string in enumerate(strings):
        places[row, : len(string)] = torch.tensor([numbers[string[:t]] for t in range(len(string))])
    return places, ids, mask


def batch_of(table: Table, strings: list[tuple[int, ...]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, ids and mask, as Table.batch but in few steps."""
    places, ids, mask = layout(table.size, table.longest, tuple(strings))
    return torch.stack(list(table.logits.values()))[places], ids, mask


def log_probs(table: Table, strings: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of tokens (B, T), and of strings (B,)."""
    logits, ids, mask = batch_of(table, strings)
    tokens = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    return tokens, (tokens * mask).sum(1)


def induced(table: Table, strings: list[tuple[int, ...]], **options: object) -> tuple[Rewards, Tensor]:
    """Rewards of whole strings, none truncated: a string at the longest length is at its end too."""
    logits, ids, mask = batch_of(table, strings)
    found = induce(logits, ids, mask, torch.zeros(len(strings), dtype=torch.bool), **options)  # type: ignore[arg-type]
    return found, mask


def value_twin(logits: list[float], value: str) -> float:
    if value == "max":
        return max(logits)
    total = math.fsum(map(math.exp, logits))
    if value == "mean":
        return math.fsum(z * math.exp(z) for z in logits) / total
    return math.log(total)


def values_twin(table: Table, value: str) -> dict[tuple[int, ...], float]:
    return {prefix: value_twin(logits.tolist(), value) for prefix, logits in table.logits.items()}


def padded(rows: list[list[float]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [0.0] * (longest - len(row)) for row in rows], dtype=torch.float64)


def close_all(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-10) -> None:
    """Gradients of all leaves, at once."""
    close(torch.stack(list(ours)), torch.stack(list(theirs)), tolerance)


# ------------------------------------------------------------------ golden numbers

R = Table(
    {(): torch.tensor([1.0, 3.0], dtype=torch.float64), (1,): torch.tensor([2.0, 0.5], dtype=torch.float64)},
    size=2,
    longest=2,
)
STRINGS = [(0,), (1, 0), (1, 1)]


def test_golden_max() -> None:
    found, mask = induced(R, STRINGS)
    close(returns(found.rewards, mask)[:, 0], [1.0, 3.0, 1.5])
    close(found.values[:, 0], [3.0, 3.0, 3.0])
    close(advantages(found, mask, scale=1.0)[:, 0], [-2.0, 0.0, -1.5])  # minus the summed gaps


def test_golden_lse() -> None:
    found, mask = induced(R, STRINGS, value="lse")
    close(found.rewards[1:, 0], [0.7985867220] * 2)
    gained = returns(found.rewards, mask)[:, 0]
    close(gained, [1.0, 2.7985867220, 1.2985867220])
    close(gained - R.logits[()].logsumexp(0), [-2.1269280110, -0.3283412890, -1.8283412890])
    close(gained - R.logits[()].logsumexp(0), torch.stack([R.log_prob(string) for string in STRINGS]))


# ------------------------------------------------------------------ enumeration


@values
@pytest.mark.parametrize("seed", SEEDS)
def test_rewards_twin(value: str, seed: int) -> None:
    """Position by position, by hand; and the values of prefixes."""
    table = Table.random(seed, longest=4 if seed % 2 else 3, scale=2.0)
    strings = table.outcomes()
    found, _ = induced(table, strings, value=value)
    assert found.rewards.dtype == torch.float64
    worth, chosen = values_twin(table, value), {prefix: z.tolist() for prefix, z in table.logits.items()}
    rewards = []
    for string in strings:
        row = []
        for t, token in enumerate(string):
            ended = token == EOS or t + 1 == table.longest
            row.append(chosen[string[:t]][token] - (0.0 if ended else worth[string[: t + 1]]))
        rewards.append(row)
    close(found.rewards, padded(rewards))
    close(found.values, padded([[worth[string[:t]] for t in range(len(string))] for string in strings]))


@values
@pytest.mark.parametrize("seed", SEEDS)
def test_backward_induction_recovers_the_logits(value: str, seed: int) -> None:
    """V = 4, T = 4: Bellman's equation on the rewards gives f back."""
    table = Table.random(seed, longest=4, scale=2.0)
    strings = table.outcomes()
    found, _ = induced(table, strings, value=value)
    reward = {
        string[: t + 1]: row[t]
        for string, row in zip(strings, found.rewards.tolist(), strict=True)
        for t in range(len(string))
    }
    solved: dict[tuple[int, ...], list[float]] = {}
    for prefix in sorted(table.logits, key=len, reverse=True):
        solved[prefix] = [
            reward[(*prefix, token)]
            + (value_twin(solved[(*prefix, token)], value) if (*prefix, token) in solved else 0.0)
            for token in range(table.size)
        ]
    close(padded([solved[prefix] for prefix in table.logits]), torch.stack(list(table.logits.values())))


@pytest.mark.parametrize("seed", SEEDS)
def test_returns_telescope(seed: int) -> None:
    """G_t = V(s_t) less the gaps from t on, at every t; the best completion is the greedy one."""
    table = Table.random(seed, longest=4, scale=2.0)
    strings = table.outcomes()
    found, mask = induced(table, strings)
    gained = returns(found.rewards, mask)
    better = advantages(found, mask, scale=1.0)
    chosen = {prefix: z.tolist() for prefix, z in table.logits.items()}
    lost = []
    for string in strings:
        gaps = [max(chosen[string[:t]]) - chosen[string[:t]][token] for t, token in enumerate(string)]
        lost.append([math.fsum(gaps[t:]) for t in range(len(string))])
    worth = padded([[max(chosen[string[:t]]) for t in range(len(string))] for string in strings])
    close(gained, worth - padded(lost))
    close(better, -padded(lost))
    greedy: tuple[int, ...] = ()
    while len(greedy) < table.longest and (not greedy or greedy[-1] != EOS):
        greedy = (*greedy, int(table.logits[greedy].argmax()))
    assert strings[int(gained[:, 0].argmax())] == greedy
    close(better[strings.index(greedy)], torch.zeros(4))


@pytest.mark.parametrize("seed", SEEDS)
def test_soft_returns_are_likelihoods(seed: int) -> None:
    """lse: G_t = LSE f(s_t) + log p of the rest; E_q[G_1] + H(q) = LSE f(s_0) - KL(q || p)."""
    table, other = Table.random(seed, longest=4, scale=2.0), Table.random(seed + 100, longest=4, scale=2.0)
    strings = table.outcomes()
    found, mask = induced(table, strings, value="lse")
    gained = returns(found.rewards, mask)
    laws = {prefix: z.log_softmax(-1).tolist() for prefix, z in table.logits.items()}
    worth = values_twin(table, "lse")
    expected = []
    for string in strings:
        logs = [laws[string[:t]][token] for t, token in enumerate(string)]
        expected.append([worth[string[:t]] + math.fsum(logs[t:]) for t in range(len(string))])
    close(gained, padded(expected))
    log_q, log_p = log_probs(other, strings)[1], log_probs(table, strings)[1]
    rkl = (log_q.exp() * (log_q - log_p)).sum()
    close((log_q.exp() * gained[:, 0]).sum() + entropy(other), table.logits[()].logsumexp(0) - rkl)


def policy_gradient(student: Table, gains: Tensor, strings: list[tuple[int, ...]], **options: object) -> list[Tensor]:
    """The exact expectation over the student's own strings of the loss's gradient."""
    log_q, whole = log_probs(student, strings)
    mask = batch_of(student, strings)[2]
    chances = whole.exp().detach()
    losses = pg_loss(log_q, gains, mask, clip=None, reduction="none", **options)  # type: ignore[arg-type]
    return list(torch.autograd.grad((chances * losses.sum(1)).sum(), list(student.logits.values())))


@pytest.mark.parametrize("seed", SEEDS)
def test_policy_gradient_is_exact(seed: int) -> None:
    """It is the gradient of the expected return, whatever the baseline; lse makes it that of ENGINE."""
    table = Table.random(seed, longest=3, scale=2.0)
    student = Table.random(seed + 100, longest=3).trainable()
    strings = table.outcomes()
    chances = log_probs(student, strings)[1].exp()
    for value in VALUES:
        found, mask = induced(table, strings, value=value)
        gained = returns(found.rewards, mask)
        exact = torch.autograd.grad(-(chances * gained[:, 0]).sum(), list(student.logits.values()), retain_graph=True)
        for baseline, sparse in itertools.product(("value", "none"), (False, True)):
            gains = advantages(found, mask, baseline=baseline, scale=1.0, sparse=sparse)
            close_all(policy_gradient(student, gains, strings), exact)
        if value == "lse":
            log_p = log_probs(table, strings)[1]
            engine = torch.autograd.grad(-(chances * log_p).sum(), list(student.logits.values()), retain_graph=True)
            close_all(exact, engine)


@values
@pytest.mark.parametrize("seed", SEEDS)
def test_shaping(value: str, seed: int) -> None:
    """Numbers added to each prefix's logits move every return by the first, and no policy gradient."""
    table = Table.random(seed, longest=4, scale=2.0)
    generator = torch.Generator().manual_seed(seed + 500)
    shifts = {prefix: 3 * torch.randn((), generator=generator, dtype=torch.float64) for prefix in table.logits}
    moved = Table({prefix: z + shifts[prefix] for prefix, z in table.logits.items()}, table.size, table.longest)
    strings = table.outcomes()
    before, mask = induced(table, strings, value=value)
    after, _ = induced(moved, strings, value=value)
    first = returns(before.rewards, mask)[:, 0]
    close(returns(after.rewards, mask)[:, 0], first + shifts[()])
    student = Table.random(seed + 100, longest=4).trainable()
    for baseline in ("value", "none"):
        grads = [
            policy_gradient(student, advantages(found, mask, baseline=baseline, scale=1.0), strings)
            for found in (before, after)
        ]
        close_all(*grads)
    # r' = r + c_s - c_{s + a}: with a number after the end token as well, returns move unevenly
    ended = torch.randn(len(strings), generator=generator, dtype=torch.float64)
    after_each = [
        [float(shifts[string[: t + 1]]) if t + 1 < len(string) else float(ended[row]) for t in range(len(string))]
        for row, string in enumerate(strings)
    ]
    before_each = [[float(shifts[string[:t]]) for t in range(len(string))] for string in strings]
    wrong = before.rewards + padded(before_each) - padded(after_each)
    spread = returns(wrong, mask)[:, 0] - first
    assert float(spread.max() - spread.min()) > 0.1
    uneven = policy_gradient(student, returns(wrong, mask), strings)
    assert max(float((a - b).abs().max()) for a, b in zip(uneven, grads[0], strict=True)) > 1e-3


@values
@pytest.mark.parametrize("seed", range(5))
def test_centring(value: str, seed: int) -> None:
    """Centred logits are logits less their mean: another constant, the same gradient."""
    table = Table.random(seed, longest=4, scale=2.0)
    centred = Table({prefix: z - z.mean() for prefix, z in table.logits.items()}, table.size, table.longest)
    strings = table.outcomes()
    found, mask = induced(table, strings, value=value, centre=True)
    wanted, _ = induced(centred, strings, value=value)
    close(found.rewards, wanted.rewards)
    close(found.values, wanted.values)
    plain, _ = induced(table, strings, value=value)
    student = Table.random(seed + 100, longest=4).trainable()
    grads = [policy_gradient(student, returns(part.rewards, mask), strings) for part in (found, plain)]
    close_all(*grads)


def test_rewards_are_two_lipschitz() -> None:
    """|r - r*| <= 2 |f - f*| for max and lse, nearly attained; the mean breaks it."""
    worst = dict.fromkeys(VALUES, 0.0)
    generator = torch.Generator().manual_seed(0)
    for seed in range(60):
        table = Table.random(seed, longest=4, scale=3.0)
        moves = {p: 0.2 * (2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1) for p in table.logits}
        if seed % 2:  # prefixes as a whole, up and down by turns
            moves = {p: torch.full((4,), 0.2 * (-1) ** len(p), dtype=torch.float64) for p in table.logits}
        other = Table({p: z + moves[p] for p, z in table.logits.items()}, table.size, table.longest)
        apart = max(float(move.abs().max()) for move in moves.values())
        for value in VALUES:
            a, b = (induced(each, table.outcomes(), value=value)[0].rewards for each in (table, other))
            worst[value] = max(worst[value], float((a - b).abs().max()) / apart)
    assert worst["max"] <= 2 + 1e-10
    assert worst["lse"] <= 2 + 1e-10
    assert worst["max"] > 1.99
    assert worst["mean"] > 2.001


# ------------------------------------------------------------------ rows that were cut, padding, templates


@values
@pytest.mark.parametrize("centre", [False, True])
def test_truncated_row(value: str, centre: bool) -> None:
    """The value after the last token comes from one more step of the teacher, as in the longer row."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    ids = torch.tensor([[1, 2, 3, 0], [2, 0, 0, 0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    whole = induce(logits, ids, mask, torch.tensor([False, False]), value=value, centre=centre)
    after = logits[:, 3].clone()
    after[1] = float("nan")  # of a row that ended
    cut = induce(
        logits[:, :3], ids[:, :3], mask[:, :3], torch.tensor([True, False]), next_logits=after, value=value,
        centre=centre,
    )  # fmt: skip
    close(cut.rewards, whole.rewards[:, :3])
    padded = induce(
        torch.cat([logits[:, :3], torch.full((2, 2, 5), float("nan"), dtype=torch.float64)], 1),
        torch.cat([ids[:, :3], torch.full((2, 2), -100)], 1),
        torch.cat([mask[:, :3], torch.zeros(2, 2, dtype=torch.bool)], 1),
        torch.tensor([True, False]), next_logits=after, value=value, centre=centre,
    )  # fmt: skip
    close(padded.rewards[:, :3], cut.rewards)
    assert not padded.rewards[:, 3:].any()


def test_truncated_rows_left_out() -> None:
    """A row that is masked throughout needs no further step and counts for nothing."""
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    ids, truncated = torch.tensor([[1, 2, 3], [1, 0, 0]]), torch.tensor([True, False])
    mask = torch.tensor([[True] * 3, [True, True, False]])
    with pytest.raises(ArgumentError, match=r"next_logits: expected \(2, 4\), .* got None\. .* mask & ~truncated"):
        induce(logits, ids, mask, truncated)
    with pytest.raises(ArgumentError, match=r"next_logits: expected \(2, 4\), .* got shape \(2, 5\)\."):
        induce(logits, ids, mask, truncated, next_logits=torch.zeros(2, 5))
    kept = mask & ~truncated[:, None]
    found = induce(logits, ids, kept, truncated)
    assert not found.rewards[0].any()
    assert found.rewards[1].any()
    log_q = torch.randn(2, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    gains = advantages(found, kept, scale=1.0)
    alone = pg_loss(log_q[1:], gains[1:], kept[1:], reduction="sequence")
    close(pg_loss(log_q, gains, kept, reduction="sequence").detach(), alone.detach() / 2, 1e-6)
    nothing = pg_loss(log_q, gains, torch.zeros_like(kept))
    nothing.backward()
    assert nothing.item() == 0
    assert log_q.grad is not None
    assert not log_q.grad.any()


def test_half_precision_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows do not depend on each other; half precision is widened, a part of the batch at a time."""
    generator = torch.Generator().manual_seed(5)
    logits = (4 * torch.randn(3, 4, 7, generator=generator)).bfloat16()
    ids = torch.randint(1, 7, (3, 4), generator=generator)
    mask, truncated = torch.ones(3, 4, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    for value in VALUES:
        all_rows = induce(logits, ids, mask, truncated, value=value)
        assert all_rows.rewards.dtype == torch.float32
        wide = induce(logits.double(), ids, mask, truncated, value=value)
        torch.testing.assert_close(all_rows.rewards.double(), wide.rewards, rtol=1e-5, atol=1e-5)
        with monkeypatch.context() as patch:
            patch.setattr(induction, "_AT_ONCE", 60)
            parts = induce(logits, ids, mask, truncated, value=value)
        assert torch.equal(parts.rewards, all_rows.rewards)
        for row in range(3):
            one = induce(logits[row : row + 1], ids[row : row + 1], mask[:1], truncated[:1], value=value)
            assert torch.equal(one.rewards[0], all_rows.rewards[row])
        assert induce(logits[:0], ids[:0], mask[:0], truncated[:0], value=value).rewards.shape == (0, 4)
    leaf = logits.float().requires_grad_()
    assert not induce(leaf, ids, mask, truncated).rewards.requires_grad


def test_tokens_that_cannot_be() -> None:
    """Columns of -inf change nothing, in any value, centred or not."""
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    wider = torch.cat([logits, torch.full((2, 3, 2), -torch.inf, dtype=torch.float64)], -1)
    ids = torch.randint(0, 5, (2, 3), generator=generator)
    mask, truncated = torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    for value, centre in itertools.product(VALUES, (False, True)):
        a, b = (induce(z, ids, mask, truncated, value=value, centre=centre) for z in (logits, wider))
        close(a.rewards, b.rewards)
        close(a.values, b.values)


def test_mean_of_templates() -> None:
    generator = torch.Generator().manual_seed(7)
    parts = [Rewards(*torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)) for _ in range(3)]
    found = mean_rewards(parts)
    close(found.rewards, sum(part.rewards for part in parts) / 3)
    close(found.values, sum(part.values for part in parts) / 3)
    with pytest.raises(ArgumentError, match=r"parts: expected rewards from one template at least, got none\."):
        mean_rewards([])
    other = Rewards(torch.zeros(2, 4), torch.zeros(2, 4))
    with pytest.raises(ArgumentError, match=r"parts\[1\]: expected shape \(2, 3\) as in parts\[0\], got \(2, 4\)\."):
        mean_rewards([parts[0], other])


# ------------------------------------------------------------------ advantages, weights, the loss


def test_advantages_by_hand() -> None:
    found = Rewards(
        torch.tensor([[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]], dtype=torch.float64),
        torch.tensor([[2.0, 1.0, 0.5], [7.0, 6.0, 9.0]], dtype=torch.float64),
    )
    mask = torch.tensor([[True, True, True], [True, True, False]])
    close(returns(found.rewards, mask), [[7, 6, 4], [8, 5, 0]])
    close(advantages(found, mask, scale=2.0), [[2.5, 2.5, 1.75], [0.5, -0.5, 0]])
    close(advantages(found, mask), [[0.05, 0.05, 0.035], [0.01, -0.01, 0]])
    close(advantages(found, mask, baseline="none", scale=1.0), [[7, 6, 4], [8, 5, 0]])
    loo = advantages(found, mask, baseline="leave_one_out", samples=2, scale=1.0)
    close(loo, [[7 - 8, 6 - 8, 4 - 8], [8 - 7, 5 - 7, 0]])
    sparse = advantages(found, mask, baseline="leave_one_out", samples=2, scale=1.0, sparse=True)
    close(sparse, [[-1, -1, -1], [1, 1, 0]])
    assert set(BASELINES) == {"value", "none", "leave_one_out"}


@pytest.mark.parametrize("seed", range(5))
def test_leave_one_out_is_unbiased(seed: int) -> None:
    """Two samples of each input: the expectation over pairs is the exact gradient."""
    table, student = Table.random(seed, size=3, longest=2), Table.random(seed + 9, size=3, longest=2).trainable()
    strings = table.outcomes()
    found, mask = induced(table, strings)
    log_q, whole = log_probs(student, strings)
    chances = whole.exp().detach()
    total = torch.zeros((), dtype=torch.float64)
    for pair in itertools.product(range(len(strings)), repeat=2):
        rows = list(pair)
        part = Rewards(found.rewards[rows], found.values[rows])
        gains = advantages(part, mask[rows], baseline="leave_one_out", samples=2, scale=1.0)
        total = total + chances[rows].prod() * pg_loss(log_q[rows], gains, mask[rows], clip=None, reduction="sequence")
    grads = torch.autograd.grad(total, list(student.logits.values()))
    exact = policy_gradient(student, returns(found.rewards, mask), strings)
    close_all(grads, exact)


def test_importance() -> None:
    """One policy: 1. Else the ratio of a token's chances, or of the chances up to it; never a gradient."""
    generator = torch.Generator().manual_seed(8)
    student = -torch.rand(2, 3, generator=generator, dtype=torch.float64)
    other = -torch.rand(2, 3, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    for level in ("token", "prefix"):
        assert torch.equal(importance_weights(student, student, mask, level=level), torch.ones(2, 3).double())
    ratio = (student - other).exp()
    token = importance_weights(student.requires_grad_(), other, mask, level="token")
    assert not token.requires_grad
    close(token[mask], ratio.detach()[mask])
    prefix = importance_weights(student, other, mask, level="prefix")
    close(prefix[0], ratio.detach()[0].cumprod(0))
    close(prefix[1], [ratio[1, 0].item(), 1, 1])
    spoilt = other.clone()
    spoilt[1, 1:] = -torch.inf
    close(importance_weights(student, spoilt, mask, level="prefix"), prefix)


def test_importance_does_not_overflow() -> None:
    """A prefix that the other policy hardly had: the weight is large and finite; 0 times it is 0."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    weights = importance_weights(torch.zeros(1, 3), torch.full((1, 3), -60.0), mask, level="prefix")
    assert weights.isfinite().all()
    assert float(weights[0, 0]) == pytest.approx(torch.tensor(60.0).exp().item())
    gains = torch.tensor([[0.0, 0.0, 0.5]])
    loss = pg_loss(torch.full((1, 3), -1.0), gains, mask, importance=weights, reduction="none")
    assert loss.tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize("seed", range(5))
def test_importance_corrects(seed: int) -> None:
    """Over another policy's strings: prefix weights give the student's own gradient for gains that look back only."""
    table, student = Table.random(seed, longest=3), Table.random(seed + 9, longest=3).trainable()
    other = Table.random(seed + 99, longest=3)
    strings = table.outcomes()
    found, mask = induced(table, strings)
    log_q, log_b = log_probs(student, strings)[0], log_probs(other, strings)[0]
    apart = {}
    for level in ("prefix", "token"):
        weights = importance_weights(log_q, log_b, mask, level=level)
        losses = pg_loss(log_q, found.rewards, mask, importance=weights, clip=None, reduction="none")
        chances = log_probs(other, strings)[1].exp()
        leaves = list(student.logits.values())
        grads = torch.autograd.grad((chances * losses.sum(1)).sum(), leaves, retain_graph=True)
        exact = policy_gradient(student, found.rewards, strings)
        apart[level] = max(float((ours - theirs).abs().max()) for ours, theirs in zip(grads, exact, strict=True))
    assert apart["prefix"] < 1e-10
    assert apart["token"] > 1e-3


def test_loss_by_hand() -> None:
    """-log q times the product of gain and ratio, clipped after the product; gains and ratios get no gradient."""
    log_q = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], dtype=torch.float64, requires_grad=True)
    gains = torch.tensor([[0.5, 3.0], [-4.0, 7.0]], dtype=torch.float64, requires_grad=True)
    ratio = torch.tensor([[3.0, 0.2], [0.1, 1.0]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    weights = [[1.0, 0.6], [-0.4, 0.0]]
    loss = pg_loss(log_q, gains, mask, importance=ratio, reduction="none")
    close(loss, -log_q.detach() * torch.tensor(weights, dtype=torch.float64))
    loss.sum().backward()
    close(log_q.grad, -torch.tensor(weights, dtype=torch.float64))
    assert gains.grad is None
    assert ratio.grad is None
    total = loss.sum().item()
    assert pg_loss(log_q, gains, mask, importance=ratio).item() == pytest.approx(total / 3)
    assert pg_loss(log_q, gains, mask, importance=ratio, n_items=30).item() == pytest.approx(total / 30)
    assert pg_loss(log_q, gains, mask, importance=ratio, reduction="sequence").item() == pytest.approx(total / 2)
    open_ended = pg_loss(log_q, gains, mask, importance=ratio, clip=None, reduction="none")
    close(open_ended[0, 0], 1.5)
    penalty = torch.tensor([[1.0, 2.0], [3.0, 9.0]], dtype=torch.float64)
    more = pg_loss(log_q, gains, mask, importance=ratio, penalty=penalty, reduction="none")
    close(more, loss.detach() + 0.1 * penalty * mask)
    more = pg_loss(log_q, gains, mask, importance=ratio, penalty=penalty, penalty_weight=2.0, reduction="none")
    close(more, loss.detach() + 2 * penalty * mask)


def test_masked_positions_may_hold_anything() -> None:
    log_q = torch.tensor([[-1.0, -torch.inf]], requires_grad=True)
    loss = pg_loss(log_q, torch.tensor([[0.5, float("nan")]]), torch.tensor([[True, False]]))
    loss.backward()
    assert loss.item() == 0.5
    assert log_q.grad is not None
    assert log_q.grad.tolist() == [[-0.5, 0.0]]


def test_regularisers() -> None:
    """The uniform cross-entropy and the negative entropy: the same minimum, the uniform law; other gradients."""
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    q = logits.softmax(-1)
    close(regulariser("uniform", logits), -q.log().sum(-1) / 5)
    close(regulariser("entropy", logits), (q * q.log()).sum(-1))
    for kind in ("uniform", "entropy"):
        flat = torch.zeros(1, 1, 5, dtype=torch.float64, requires_grad=True)
        regulariser(kind, flat).sum().backward()
        close(flat.grad, torch.zeros(1, 1, 5))
    assert regulariser("entropy", logits.bfloat16()).dtype == torch.float32


def test_greedy_student_gains_nothing_more() -> None:
    """Climbing the exact gradient leads to the teacher's greedy string, though the teacher's law is broad."""
    table = Table.random(1, size=3, longest=3, scale=1.0)
    student = Table.random(2, size=3, longest=3, scale=0.1).trainable()
    strings = table.outcomes()
    found, mask = induced(table, strings)
    gains = advantages(found, mask, scale=1.0)
    for _ in range(100):
        grads = policy_gradient(student, gains, strings)
        with torch.no_grad():
            for leaf, grad in zip(student.logits.values(), grads, strict=True):
                leaf -= 4 * grad
    best = strings[int(returns(found.rewards, mask)[:, 0].argmax())]
    assert student.log_prob(best).exp().item() > 0.95
    assert float(table.log_prob(best).exp()) < 0.7


# ------------------------------------------------------------------ refusals


def test_refusals_of_rewards() -> None:
    logits, ids = torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.int64)
    mask, truncated = torch.ones(1, 2, dtype=torch.bool), torch.tensor([False])
    with pytest.raises(ArgumentError, match=r"value: expected one of 'max', 'mean', 'lse', got 'lsee'\. Did you mean"):
        state_values(logits, value="lsee")
    with pytest.raises(ArgumentError, match=r"value: expected one of 'max', 'mean', 'lse', got 'soft'\."):
        induce(logits, ids, mask, truncated, value="soft")
    with pytest.raises(ArgumentError, match=r"logits: expected \(B, T, V\) for ids of shape \(1, 2\), got \(1, 3, 3\)"):
        induce(torch.zeros(1, 3, 3), ids, mask, truncated)
    with pytest.raises(ArgumentError, match=r"mask: expected bool of shape \(1, 2\), got torch\.int64"):
        induce(logits, ids, mask.long(), truncated)
    with pytest.raises(ArgumentError, match=r"truncated: expected bool of shape \(1,\), got torch\.bool .*\(2,\)"):
        induce(logits, ids, mask, torch.tensor([False, True]))
    with pytest.raises(ArgumentError, match=r"mask: expected True up to each row's end and False after, got True"):
        induce(logits, ids, torch.tensor([[False, True]]), truncated)
    spoilt = logits.clone()
    spoilt[0, 1, 2] = float("nan")
    for value in VALUES:
        message = r"logits\[0, [01]\]: expected finite logits of the chosen token and .*, got the reward nan"
        with pytest.raises(ArgumentError, match=message):
            induce(spoilt, ids, mask, truncated, value=value)
    spoilt[0, 1] = torch.tensor([-torch.inf, 0, 0])
    with pytest.raises(ArgumentError, match=r"logits\[0, 1\]: expected finite .* the reward -inf and the value 0\.0"):
        induce(spoilt, ids, mask, truncated)


def test_refusals_of_the_loss() -> None:
    found, mask = Rewards(torch.zeros(3, 2), torch.zeros(3, 2)), torch.ones(3, 2, dtype=torch.bool)
    with pytest.raises(ArgumentError, match=r"baseline: expected one of 'value', .* got 'values'\. Did you"):
        advantages(found, mask, baseline="values")
    with pytest.raises(ArgumentError, match=r"scale: expected a positive number, got 0\. Use 1\.0"):
        advantages(found, mask, scale=0)
    with pytest.raises(ArgumentError, match=r"samples: expected None for 'value', got 3\. Leave samples out\."):
        advantages(found, mask, samples=3)
    for samples in (None, 1, 2):
        with pytest.raises(ArgumentError, match=rf"samples: expected a number, .* the 3 rows, got {samples}\. Draw"):
            advantages(found, mask, baseline="leave_one_out", samples=samples)
    with pytest.raises(ArgumentError, match=r"level: expected one of 'token', 'prefix', got 'sequence'\."):
        importance_weights(found.rewards, found.rewards, mask, level="sequence")
    with pytest.raises(ArgumentError, match=r"kind: expected one of 'uniform', 'entropy', got 'uniforms'\. Did you"):
        regulariser("uniforms", torch.zeros(1, 1, 2))
    with pytest.raises(ArgumentError, match=r"mask: expected bool of shape \(3, 1\), got torch\.bool .*\(3, 2\)"):
        pg_loss(found.rewards, found.rewards[:, :1], mask)
    with pytest.raises(ArgumentError, match=r"clip: expected a positive number, got 0\. Pass None to clip nothing\."):
        pg_loss(found.rewards, found.rewards, mask, clip=0)
    with pytest.raises(ArgumentError, match=r"penalty_weight: expected a penalty to weigh, got 0\.2 and no penalty\."):
        pg_loss(found.rewards, found.rewards, mask, penalty_weight=0.2)
    with pytest.raises(ArgumentError, match=r"reduction: expected one of 'token', .* got 'tokens'\. Did you mean"):
        pg_loss(found.rewards, found.rewards, mask, reduction="tokens")
