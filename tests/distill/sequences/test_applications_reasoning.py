"""Reasoning compression: answers without chains, vanishing tokens, chains across layers."""

from __future__ import annotations

import math

import pytest
import torch
from sequence_tables import tiny_causal, tiny_seq2seq

from treeavg.distill.sequences.align import Prompts, align, completions, prompts
from treeavg.distill.sequences.applications.implicit import chain_positions, implicit_chain
from treeavg.distill.sequences.applications.reasoning import (
    Removal,
    answer_loss,
    internalised,
    internalising_loss,
    reset_state,
)
from treeavg.distill.sequences.losses.divergences import sequence_loss
from treeavg.errors import ArgumentError

EXACT = {"rtol": 0.0, "atol": 1e-10}
CHAINS = [[11, 12, 13, 14, 15], [16, 17]]
ANSWERS = completions(torch.tensor([[4, 9, 0], [7, 0, 0]]), [0])


def inputs(*rows: list[int], side: str = "left") -> Prompts:
    return prompts(list(rows), pad=0, side=side)


QUESTIONS = inputs([5], [6, 7, 8])
WRITTEN = completions(torch.tensor([[11, 12, 13, 14, 15], [16, 17, 0, 0, 0]]), [0], lengths=torch.tensor([5, 2]))


@torch.no_grad()
def run(model, tokens: list[int]):
    """One sequence without padding."""
    ids = torch.tensor([tokens])
    return model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)


def test_answer_loss() -> None:
    """The teacher reads question and chain, the student the question; only the answer's tokens count."""
    teacher, student = tiny_causal(1).double(), tiny_causal(2).double().eval()
    loss = answer_loss(student, teacher, QUESTIONS, inputs(*CHAINS), ANSWERS)
    reasoned = inputs([5, *CHAINS[0]], [6, 7, 8, *CHAINS[1]])
    known = align(teacher.eval(), reasoned, ANSWERS).scores
    expected = sequence_loss("kl", known, align(student, QUESTIONS, ANSWERS).scores, ANSWERS.mask)
    torch.testing.assert_close(loss, expected, **EXACT)


def test_answer_loss_of_an_encoder() -> None:
    teacher, student = tiny_seq2seq(1).double(), tiny_seq2seq(2).double().eval()
    answers = completions(torch.tensor([[4, 9, 1], [7, 1, 0]]), [1])
    questions = inputs([5], [6, 7, 8], side="right")
    loss = answer_loss(student, teacher, questions, inputs(*CHAINS), answers)
    reasoned = inputs([5, *CHAINS[0]], [6, 7, 8, *CHAINS[1]], side="right")
    known = align(teacher.eval(), reasoned, answers).scores
    expected = sequence_loss("kl", known, align(student, questions, answers).scores, answers.mask)
    torch.testing.assert_close(loss, expected, **EXACT)


def test_removal_grows_linearly() -> None:
    removal = Removal()
    assert [removal.count(step / 16) for step in range(33)] == [step // 2 for step in range(33)]
    assert [removal.changed(step / 16, (step + 1) / 16) for step in range(4)] == [False, True, False, True]


def test_extra_tokens_follow_the_law() -> None:
    """H.10: P(o = 0) = 1 - exp(-4); a smaller rate shows the rest of it."""
    rows, generator = 200_000, torch.Generator().manual_seed(0)
    for rate in (4.0, 0.7):
        extra = Removal(smoothing=rate).draw(0.0, rows, generator=generator)
        assert int(extra.min()) == 0
        for value in range(4):
            chance = math.exp(-rate * value) * (1 - math.exp(-rate))
            share = float((extra == value).double().mean())
            assert abs(share - chance) < 4 * math.sqrt(chance * (1 - chance) / rows) + 1 / rows, (rate, value)
    assert abs((1 - math.exp(-4)) - 0.98168) < 1e-5
    assert Removal(smoothing=math.inf).draw(1.5, 4).tolist() == [12] * 4


@pytest.mark.parametrize("removed", [[0, 0], [1, 2], [3, 9], [5, 1]])
def test_internalised(removed: list[int]) -> None:
    """Row by row: what is left of the chain, then the answer; nothing else in the input or in the loss."""
    found = internalised(WRITTEN, ANSWERS, torch.tensor(removed))
    rows = [[*chain[gone:], *answer] for chain, gone, answer in zip(CHAINS, removed, ([4, 9, 0], [7, 0]), strict=True)]
    for row, expected in enumerate(rows):
        assert found.ids[row][found.mask[row]].tolist() == expected
        assert found.mask[row].tolist() == sorted(found.mask[row].tolist(), reverse=True)
    assert found.ids.shape[1] == max(map(len, rows))
    assert not found.truncated.any()


def test_internalising_loss() -> None:
    model = tiny_causal().double().eval()
    loss = internalising_loss(model, QUESTIONS, WRITTEN, ANSWERS, torch.tensor([3, 1]))
    total, tokens = 0.0, 0
    for question, rest in (([5], [14, 15, 4, 9, 0]), ([6, 7, 8], [17, 7, 0])):
        logits = run(model, question + rest).logits[0].log_softmax(-1)
        total -= math.fsum(float(logits[len(question) + place - 1, token]) for place, token in enumerate(rest))
        tokens += len(rest)
    assert abs(loss.item() - total / tokens) < 1e-10


def test_no_chain_left_is_training_on_answers() -> None:
    model = tiny_causal().double().eval()
    given = align(model, QUESTIONS, ANSWERS)
    expected = -given.scores.log_softmax(-1).gather(-1, given.ids[..., None])[..., 0][given.mask].mean()
    loss = internalising_loss(model, QUESTIONS, WRITTEN, ANSWERS, torch.tensor([99, 99]))
    torch.testing.assert_close(loss, expected, **EXACT)


def test_reset_state() -> None:
    """The next step is Adam's first one again: its size is the learning rate."""
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    adam = torch.optim.Adam([weight], lr=0.25)
    for scale in (100.0, 100.0, 1e-3):
        if scale < 1:
            reset_state(adam)
        before = weight.detach().clone()
        adam.zero_grad()
        (weight * scale).sum().backward()
        adam.step()
    torch.testing.assert_close(before - weight, torch.full((2,), 0.25), rtol=1e-3, atol=0)
    assert adam.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("layers", [1, 2, 3, 5, 12])
def test_chain_positions(layers: int) -> None:
    lengths = torch.arange(1, 30)
    found = chain_positions(lengths, layers).tolist()
    for length, row in zip(lengths.tolist(), found, strict=True):
        # The specification's k_l, which counts from 1.
        expected = [
            1 + math.floor((length - 1) * (n - 1) / (layers - 1)) if layers > 1 else 1 for n in range(1, layers + 1)
        ]
        assert [place + 1 for place in row] == expected
        assert row[0] == 0
        assert layers == 1 or row[-1] == length - 1


def test_implicit_chain_by_hand() -> None:
    """One row at a time, without padding: each layer's state at the question's end against the chain's token."""
    teacher, student = tiny_causal(1, layers=3).double(), tiny_causal(2, layers=3).double().eval()
    found = implicit_chain(student, teacher, QUESTIONS, inputs(*CHAINS), ANSWERS)
    teacher.eval()
    total = 0.0
    for question, chain in zip(([5], [6, 7, 8]), CHAINS, strict=True):
        known = run(teacher, question + chain).hidden_states[1:]
        mine = run(student, question).hidden_states[1:]
        for layer in range(3):
            place = len(question) + math.floor((len(chain) - 1) * layer / 2)
            total += float((mine[layer][0, -1] - known[layer][0, place]).detach().square().sum())
    assert abs(found.states.item() - total / 2) < 1e-10
    assert abs(found.answer.item() - internalising_loss(
        student, QUESTIONS, WRITTEN, ANSWERS, torch.tensor([9, 9])
    ).item()) < 1e-10  # fmt: skip
    (found.states + found.answer).backward()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert all(weight.grad is not None for weight in student.parameters())


def test_implicit_chain_of_another_width() -> None:
    teacher, student = tiny_causal(1, width=32), tiny_causal(2)
    maps = torch.nn.ModuleList([torch.nn.Linear(16, 32) for _ in range(2)])
    adam, losses = torch.optim.Adam([*student.parameters(), *maps.parameters()], lr=1e-2), []
    for _ in range(25):
        adam.zero_grad()
        found = implicit_chain(student, teacher, QUESTIONS, inputs(*CHAINS), ANSWERS, maps=maps)
        (found.states + found.answer).backward()
        adam.step()
        losses.append((found.states.item(), found.answer.item()))
    assert losses[-1][0] < losses[0][0]
    assert losses[-1][1] < losses[0][1]
    assert teacher.training


EMPTY = Prompts(torch.zeros(2, 1, dtype=torch.int64), torch.tensor([[1], [0]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Removal(per_epoch=0.0), "per_epoch: expected a positive number, got 0.0. Use 8.0."),
        (lambda: Removal(per_epoch=math.inf), "per_epoch: expected a positive number, got inf. Use 8.0."),
        (lambda: Removal(smoothing=-1.0), "smoothing: expected a positive number, got -1.0. Use 4.0."),
        (lambda: Removal().count(-0.5), "epoch: expected 0 or more, got -0.5. Count epochs from 0."),
        (lambda: internalised(WRITTEN, ANSWERS, torch.tensor([1])), "got (1,) for 2 chains and 2 answers"),
        (lambda: internalised(WRITTEN, ANSWERS, torch.tensor([1, -1])), "removed: expected no negative number, got"),
        (lambda: chain_positions(torch.tensor([3, 0]), 2), "chains[1]: expected at least one token, got none."),
        (lambda: chain_positions(torch.tensor([3]), 0), "layers: expected at least one, got 0."),
        (lambda: implicit_chain(tiny_causal(), tiny_causal(), QUESTIONS, EMPTY, ANSWERS), "chains[1]: expected at"),
        (lambda: implicit_chain(tiny_causal(), tiny_causal(), EMPTY, inputs(*CHAINS), ANSWERS),
         "batch: expected a token in the last place of each row, got padding."),
        (lambda: implicit_chain(tiny_causal(), tiny_causal(layers=3), QUESTIONS, inputs(*CHAINS), ANSWERS),
         "teacher: expected as many layers as the student's 2, got 3."),
        (lambda: implicit_chain(tiny_causal(), tiny_causal(width=32), QUESTIONS, inputs(*CHAINS), ANSWERS),
         "maps: expected a module for each layer, to the teacher's width 32, got vectors of width 16."),
        (lambda: implicit_chain(tiny_seq2seq(), tiny_causal(), QUESTIONS, inputs(*CHAINS), ANSWERS),
         "model: expected a causal model, got the encoder-decoder T5ForConditionalGeneration."),
        (lambda: answer_loss(tiny_causal(), None, QUESTIONS, inputs(*CHAINS), ANSWERS), "model: expected a PEFT model"),
        (lambda: Removal(per_epoch="8"), "per_epoch: expected a positive number, got '8'. Use 8.0."),
        (lambda: Removal().draw(1.0, -1), "rows: expected a whole number, at least 0, got -1."),
        (lambda: internalised(WRITTEN, ANSWERS, torch.tensor([0.5, 1.0])), "removed: expected int64, got torch.float3"),
        (lambda: implicit_chain(tiny_causal(), tiny_causal(), QUESTIONS, inputs(*CHAINS), ANSWERS,
                                maps=torch.nn.ModuleList([torch.nn.Identity()])),
         "maps: expected a module for each of the 2 layers, got 1. Pass nn.ModuleList of nn.Linear."),
        (lambda: implicit_chain(tiny_causal(), tiny_causal(), inputs([5]), inputs(*CHAINS), ANSWERS),
         "completions: expected one for each of the 1 inputs, got 2."),
    ],
)  # fmt: skip
def test_messages(call, message: str) -> None:
    with pytest.raises(ArgumentError) as found:
        call()
    assert message in str(found.value)
