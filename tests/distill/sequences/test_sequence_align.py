"""Alignment: masks, shifts, both kinds of models alike, padding without effect, traps of released code, refusals."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from sequence_tables import EOS, Table, tiny_causal, tiny_seq2seq
from torch import Tensor, nn

from treeavg.distill.sequences.align import (
    Completions,
    Prompts,
    align,
    causal_logits,
    completions,
    decoder_inputs,
    frozen,
    position_ids,
    prompts,
    unwrapped,
)
from treeavg.distill.sequences.losses.divergences import KINDS, sequence_loss
from treeavg.errors import ArgumentError

MARK = 9  # the prompt of the toy models: what comes after it is the prefix


class ToyCausal(nn.Module):
    """A table as a causal model: logits at a place are the law after the tokens since the mark."""

    config = SimpleNamespace(is_encoder_decoder=False)

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        rows = []
        for row in input_ids.tolist():
            start = len(row) - row[::-1].index(MARK)
            rows.append([law(self.table, row[start : place + 1]) for place in range(len(row))])
        return SimpleNamespace(logits=torch.stack([torch.stack(laws) for laws in rows]))


class ToySeq2Seq(nn.Module):
    """The same as an encoder-decoder model, which starts with the padding token as T5 does."""

    config = SimpleNamespace(is_encoder_decoder=True, decoder_start_token_id=EOS)

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> SimpleNamespace:
        rows = decoder_input_ids.tolist()
        assert all(row[0] == EOS for row in rows)
        laws = [[law(self.table, row[1 : place + 1]) for place in range(len(row))] for row in rows]
        return SimpleNamespace(logits=torch.stack([torch.stack(row) for row in laws]))


def law(table: Table, prefix: list[int]) -> Tensor:
    return table.logits.get(tuple(prefix), torch.full((table.size,), 77.0, dtype=torch.float64))


# ------------------------------------------------------------------ masks (H.0.1; traps ii, iii)


def test_mask_keeps_the_end_token() -> None:
    """Padding is the end token: the first stays. A row without one counts whole and is truncated."""
    found = completions(torch.tensor([[5, EOS, EOS, EOS], [5, 6, 7, 8], [EOS, EOS, EOS, EOS], [5, 6, 7, EOS]]), [EOS])
    assert found.mask.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert found.truncated.tolist() == [False, True, False, False]


def test_several_end_tokens_and_padding_by_minus_100() -> None:
    found = completions(torch.tensor([[5, 3, 0], [0, 3, 3], [5, 0, -100]]), [0, 3])
    assert found.mask.int().tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 0]]
    assert not found.truncated.any()


def test_lengths_of_rows_without_an_end() -> None:
    """Stored rows that were cut, padded with the end token: the padding is not their end."""
    ids, lengths = torch.tensor([[5, 6, EOS, EOS], [5, EOS, EOS, EOS], [EOS] * 4]), torch.tensor([2, 2, 0])
    found = completions(ids, [EOS], lengths=lengths)
    assert found.mask.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert found.truncated.tolist() == [True, False, True]


def test_empty_completions() -> None:
    found = completions(torch.zeros(2, 0, dtype=torch.int64), [EOS])
    assert found.mask.shape == (2, 0)
    assert found.truncated.tolist() == [True, True]
    for model, side in ((tiny_causal(), "left"), (tiny_seq2seq(), "right")):
        scores = align(model, prompts([[5], [6, 7]], pad=0, side=side), found).scores
        assert scores.shape == (2, 0, 20)
        mask = found.mask
        loss = sequence_loss("kl", scores.detach(), scores, mask)
        loss.backward()
        assert loss.item() == 0


# ------------------------------------------------------------------ shifts


def test_shifts_by_hand() -> None:
    assert causal_logits(torch.arange(6.0).view(1, 6, 1), 3, 4).flatten().tolist() == [2, 3, 4, 5]
    assert causal_logits(torch.arange(6.0).view(1, 6, 1), 3, 0).shape == (1, 0, 1)
    assert decoder_inputs(torch.tensor([[4, 5, 6], [7, 8, 9]]), 2).tolist() == [[2, 4, 5], [2, 7, 8]]
    assert position_ids(torch.tensor([[0, 0, 1, 1, 0], [1, 1, 1, 1, 1]])).tolist() == [[0, 0, 0, 1, 1], [0, 1, 2, 3, 4]]


def test_start_token_of_a_truncated_row() -> None:
    """A row cut before its end starts with the start token, not with its own last word (trap vii)."""
    assert decoder_inputs(torch.tensor([[4, 5, 6]]), 0)[0, 0] == 0


def test_prompts() -> None:
    left, right = (prompts([[5, 6, 7], [8]], pad=4, side=side) for side in ("left", "right"))
    assert left.ids.tolist() == [[5, 6, 7], [4, 4, 8]]
    assert left.attention.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert right.ids.tolist() == [[5, 6, 7], [8, 4, 4]]
    assert right.attention.tolist() == [[1, 1, 1], [1, 0, 0]]


# ------------------------------------------------------------------ both kinds of models (H.0.2; traps i, iii)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_causal_and_encoder_decoder_alike(kind: str) -> None:
    """Toy models of one law give the same losses for each token, at once those of the table itself."""
    p, q = Table.random(1), Table.random(2)
    strings = p.outcomes()[::3]
    teacher, ids, mask = p.batch(strings)
    targets = completions(ids, [EOS])
    assert torch.equal(targets.mask, mask)
    expected = sequence_loss(kind, teacher, q.batch(strings)[0], mask, reduction="none")
    rows = [[7] * (number % 3) + [MARK] for number in range(len(strings))]
    for toy, side in ((ToyCausal, "left"), (ToySeq2Seq, "right")):
        batch = prompts(rows, pad=0, side=side)
        one, other = (
            align(toy(p), batch, targets),
            align(toy(q), prompts([[MARK]] * len(rows), pad=0, side=side), targets),
        )
        losses = sequence_loss(kind, one.scores, other.scores, one.mask, reduction="none")
        torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)
        assert bool((losses[:, 0] != 0).all())  # the first token is supervised, also where the start is the padding
        assert float(losses[~mask].abs().sum()) == 0


def step_by_step(model: nn.Module, prompt: list[int], row: list[int]) -> Tensor:
    """The naive twin: one forward pass for each token, nothing padded."""
    laws = []
    for place in range(len(row)):
        if model.config.is_encoder_decoder:
            start = [model.config.decoder_start_token_id]
            decoder = torch.tensor([start + row[:place]])
            laws.append(model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits[0, -1])
        else:
            laws.append(model(input_ids=torch.tensor([prompt + row[:place]])).logits[0, -1])
    return torch.stack(laws)


@pytest.mark.parametrize(("make", "side"), [(tiny_causal, "left"), (tiny_seq2seq, "right")])
@pytest.mark.parametrize("filler", [0, 13, -100])
def test_transformers_against_one_by_one(make: object, side: str, filler: int) -> None:
    """Ragged prompts and completions, with any padding, against unpadded passes token by token."""
    model = make(3).double().eval()
    end = model.config.eos_token_id
    inputs, rows = [[5, 6, 7], [8], [9, 10]], [[11, end], [12, 3, 4, end], [2, 2, 6, 7]]
    ids = torch.tensor([row + [filler] * (4 - len(row)) for row in rows])
    batch = prompts(inputs, pad=17, side=side)
    with torch.no_grad():
        found = align(model, batch, completions(ids, [end]))
        for number, (prompt, row) in enumerate(zip(inputs, rows, strict=True)):
            assert found.mask[number].sum() == len(row)
            expected = step_by_step(model, prompt, row)
            torch.testing.assert_close(found.scores[number, : len(row)], expected, rtol=1e-9, atol=1e-9)
    assert int(found.ids.min()) >= 0


def test_only_the_completion_goes_through_the_head() -> None:
    model = tiny_causal().eval()
    seen = []
    model.lm_head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    align(model, prompts([[5, 6, 7, 8]], pad=0, side="left"), completions(torch.tensor([[3, 0]]), [0]))
    assert seen == [2]


@pytest.mark.parametrize(("make", "side"), [(tiny_causal, "left"), (tiny_seq2seq, "right")])
def test_inside_wrappers(make: object, side: str) -> None:
    """A wrapper for several processes runs its own forward pass, with the same hidden states."""
    model = make(1).eval()
    batch, targets = prompts([[5, 6], [7]], pad=0, side=side), completions(torch.tensor([[3, 2], [4, 5]]), [9])
    wrapped = nn.DataParallel(model)
    calls = []
    wrapped.register_forward_pre_hook(lambda module, inputs: calls.append(1))
    assert unwrapped(wrapped) is model
    for output in ("logits", "hidden"):
        plain, inside = (align(one, batch, targets, output=output).scores for one in (model, wrapped))
        torch.testing.assert_close(plain, inside)
    assert len(calls) == 2


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for transformers' old name
def test_adapters() -> None:
    """LoRA is inside the model; virtual tokens are refused."""
    peft = pytest.importorskip("peft")
    batch, targets = prompts([[5, 6], [7]], pad=0, side="left"), completions(torch.tensor([[3, 2], [4, 5]]), [9])
    plain = align(tiny_causal(1).eval(), batch, targets).scores
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    model = peft.get_peft_model(tiny_causal(1), config).eval()
    adapted = align(model, batch, targets).scores
    assert (adapted - plain).abs().max().item() > 1e-3
    hidden = align(model, batch, targets, output="hidden").scores
    torch.testing.assert_close(hidden @ model.get_output_embeddings().weight.T, adapted)
    with model.disable_adapter():
        torch.testing.assert_close(align(model, batch, targets).scores, plain)
    virtual = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    model = peft.get_peft_model(tiny_causal(1), virtual)
    with pytest.raises(
        ArgumentError, match=r"model: expected an adapter inside the layers, such as LoRA, got one that"
    ):
        align(model, batch, targets)


# ------------------------------------------------------------------ teachers


def test_frozen_teacher() -> None:
    """A teacher left in training mode has no dropout and no gradient, and every module's mode comes back."""
    model = tiny_causal().train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    batch, targets = prompts([[5]], pad=0, side="left"), completions(torch.tensor([[3, 2]]), [9])
    with frozen(model) as teacher:
        first, second = (align(teacher, batch, targets).scores for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(ZeroDivisionError), frozen(model):
        1 / 0
    assert [module.training for module in model.modules()] == modes


# ------------------------------------------------------------------ refusals


def test_messages() -> None:
    with pytest.raises(
        ArgumentError, match=r"ids: expected int64 of shape \(B, T\), got torch\.float32 of shape \(3,\)"
    ):
        completions(torch.zeros(3), [0])
    with pytest.raises(ArgumentError, match=r"eos_ids: expected one or more token ids, got \[\]\. Take them from"):
        completions(torch.zeros(1, 1, dtype=torch.int64), [])
    with pytest.raises(ArgumentError, match=r"eos_ids: expected one or more token ids, got \[None\]"):
        completions(torch.zeros(1, 1, dtype=torch.int64), [None])  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match=r"lengths: expected shape \(1,\), one for each row of ids, got \(2,\)"):
        completions(torch.zeros(1, 1, dtype=torch.int64), [0], lengths=torch.tensor([1, 1]))
    with pytest.raises(ArgumentError, match=r"attention: expected the shape of ids, \(1, 2\), got \(1, 1\)"):
        Prompts(torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 1))
    with pytest.raises(ArgumentError, match=r"prompt_width: expected a prompt of at least one token, .* got 0"):
        causal_logits(torch.zeros(1, 3, 2), 0, 2)
    with pytest.raises(ArgumentError, match=r"logits: expected at least 5 places, for a prompt of 3 and 3 .* got 4"):
        causal_logits(torch.zeros(1, 4, 2), 3, 3)
    with pytest.raises(
        ArgumentError, match=r"side: expected one of 'left', 'right', got 'rigth'\. Did you mean 'right'"
    ):
        prompts([[1]], pad=0, side="rigth")
    with pytest.raises(ArgumentError, match=r"rows\[1\]: expected at least one token, got none"):
        prompts([[1], []], pad=0, side="left")
    with pytest.raises(ArgumentError, match=r"rows: expected at least one input, got none"):
        prompts([], pad=0, side="left")


def test_messages_of_align() -> None:
    ids = torch.tensor([[3, 2], [4, 5]])
    targets = Completions(ids, torch.ones(2, 2, dtype=torch.bool), torch.tensor([True, True]))
    left, right = (prompts([[5, 6], [7]], pad=0, side=side) for side in ("left", "right"))
    with pytest.raises(ArgumentError, match=r"output: expected one of 'logits', 'hidden', got 'logit'"):
        align(tiny_causal(), left, targets, output="logit")
    with pytest.raises(ArgumentError, match=r"batch\.attention\[1, -1\]: expected a token there, as a causal model is"):
        align(tiny_causal(), right, targets)
    with pytest.raises(ArgumentError, match=r"batch\.attention\[1, 0\]: expected a token there, as an encoder-decoder"):
        align(tiny_seq2seq(), left, targets)
    with pytest.raises(ArgumentError, match=r"completions: expected one for each of the 1 inputs, got 2"):
        align(tiny_causal(), prompts([[1]], pad=0, side="left"), targets)
    model = tiny_seq2seq()
    model.config.decoder_start_token_id = None
    with pytest.raises(ArgumentError, match=r"decoder_start_token_id: expected a token id, got None\. Set it to"):
        align(model, right, targets)
    with pytest.raises(ArgumentError, match=r"model: expected one with a backbone apart from its head, got ToyCausal"):
        align(ToyCausal(Table.random(0)), left, targets, output="hidden")
