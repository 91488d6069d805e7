"""Soft prompts and gist tokens: what they may see, what flows where, and that a cache of them is enough."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import Tensor

from treeavg.distill.sequences.align import Prompts, align, completions, prompts
from treeavg.distill.sequences.applications.gist import (
    add_gist_tokens,
    cached_logits,
    gist_cache,
    gist_logits,
    gist_loss,
    gist_mask,
)
from treeavg.distill.sequences.applications.prompts import joined, teacher_scores
from treeavg.distill.sequences.applications.soft_prompts import SoftPrompt, soft_prompt_logits, soft_prompt_loss
from treeavg.distill.sequences.losses.divergences import sequence_loss
from treeavg.distill.sequences.losses.tokens import sequence_nll
from treeavg.errors import ArgumentError

WRITTEN = completions(torch.tensor([[4, 9, 0], [7, 0, 0]]), [0])


def inputs(*rows: list[int]) -> Prompts:
    return prompts(list(rows), pad=0, side="left")


PROMPT = inputs([11, 12, 13, 14], [15, 16])
QUESTIONS = inputs([5], [6, 7, 8])
NOTHING = Prompts(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.int64))


def tiny_llama(seed: int = 0):
    """Rotary positions, grouped heads, a head of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=1, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def sharp(model, attention: str = "sdpa", dtype: torch.dtype = torch.float64):
    """Larger weights, so that what a token sees matters."""
    model = model.to(dtype).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(10)
    model.set_attn_implementation(attention)
    return model


MODELS = {
    "gpt2-sdpa": lambda: sharp(tiny_causal()),
    "gpt2-eager": lambda: sharp(tiny_causal(), "eager"),
    "llama-sdpa": lambda: sharp(tiny_llama()),
    # Its softmax is in float32, where a mask of float64's least number is -inf: rows of padding would be NaN.
    "llama-eager": lambda: sharp(tiny_llama(), "eager", torch.float32),
}
models = pytest.mark.parametrize("name", list(MODELS))


def near(found: Tensor, expected: Tensor) -> None:
    double = found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=0.0 if double else 1e-3, atol=1e-10 if double else 1e-3)


# ------------------------------------------------------------------ soft prompts


@models
def test_soft_prompt_of_tokens_is_the_prompt(name: str) -> None:
    """Embeddings of the prompt's own tokens: the same logits, with ragged inputs, an empty one among them."""
    model = MODELS[name]()
    soft = SoftPrompt.from_tokens(model, torch.tensor([11, 12, 13]))
    batch = Prompts(torch.tensor([[0, 5], [0, 0]]), torch.tensor([[0, 1], [0, 0]]))
    found = soft_prompt_logits(model, soft, batch, WRITTEN)
    expected = align(model, joined(inputs([11, 12, 13]), batch), WRITTEN).scores
    near(found[WRITTEN.mask], expected[WRITTEN.mask])


def test_soft_prompt_learns_and_the_model_does_not() -> None:
    """The loss falls; dropout is off though the model trains; the modes come back."""
    model = sharp(tiny_causal()).train()
    model.requires_grad_(False)
    soft = SoftPrompt.from_tokens(model, torch.tensor([2, 3]))
    prompted = joined(PROMPT, QUESTIONS)
    adam, losses = torch.optim.Adam(soft.parameters(), lr=0.1), []
    for _ in range(30):
        adam.zero_grad()
        loss = soft_prompt_loss(model, soft, prompted, QUESTIONS, WRITTEN)
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(module.training for module in model.modules())
    again = [soft_prompt_loss(model, soft, prompted, QUESTIONS, WRITTEN).item() for _ in range(2)]
    assert again[0] == again[1]
    with torch.no_grad():
        assert not soft_prompt_loss(model, soft, prompted, QUESTIONS, WRITTEN).requires_grad


def test_soft_prompt_loss_is_the_divergence() -> None:
    model, other = sharp(tiny_causal()), sharp(tiny_causal(5))
    soft = SoftPrompt.from_tokens(model, torch.tensor([2, 3]))
    prompted = joined(PROMPT, QUESTIONS)
    student = soft_prompt_logits(model, soft, QUESTIONS, WRITTEN)
    for teacher, kind in ((None, "kl"), (other, "rkl")):
        scores = align(teacher or model, prompted, WRITTEN).scores.detach()
        found = soft_prompt_loss(
            model, soft, prompted, QUESTIONS, WRITTEN, teacher=teacher, divergence=partial(sequence_loss, kind)
        )
        near(found, sequence_loss(kind, scores, student, WRITTEN.mask))


# ------------------------------------------------------------------ gist tokens


def allowed(i: int, j: int, start: int, end: int) -> bool:
    """The specification's line, for one sequence without padding."""
    return j <= i and not (i > end and j < start)


def test_gist_mask() -> None:
    for before in range(4):
        for count in range(1, 4):
            for after in range(4):
                for padding in range(3):
                    length = padding + before + count + after
                    start = padding + before
                    places = torch.arange(length)
                    gists = ((places >= start) & (places < start + count))[None]
                    found = gist_mask(gists, (places >= padding)[None])[0]
                    for i in range(length):
                        for j in range(length):
                            expected = j >= padding and allowed(i, j, start, start + count - 1)
                            assert bool(found[i, j]) == (expected or i == j), (i, j)


@models
def test_gist_logits_by_hand(name: str) -> None:
    """One row at a time, without padding, with the mask written out."""
    model = MODELS[name]()
    gist_ids = add_gist_tokens(model, 2)
    found = gist_logits(model, gist_ids, PROMPT, QUESTIONS, WRITTEN)
    for row, (prompt, question) in enumerate([([11, 12, 13, 14], [5]), ([15, 16], [6, 7, 8])]):
        own = WRITTEN.ids[row][WRITTEN.mask[row]].tolist()
        ids = torch.tensor([[*prompt, *gist_ids.tolist(), *question, *own]])
        start, length = len(prompt), ids.shape[1]
        mask = torch.tensor([[allowed(i, j, start, start + 1) for j in range(length)] for i in range(length)])
        added = torch.zeros(1, 1, length, length, dtype=model.dtype).masked_fill(~mask, -1e9)
        logits = model(input_ids=ids, attention_mask=added, position_ids=torch.arange(length)[None]).logits
        at = length - len(own) - 1
        near(found[row, : len(own)], logits[0, at : length - 1])


@models
def test_gist_cache_is_enough(name: str) -> None:
    """Keys and values of the gist tokens alone give the logits of the masked run; the cache may be used again."""
    model = MODELS[name]()
    gist_ids = add_gist_tokens(model, 2)
    expected = gist_logits(model, gist_ids, PROMPT, QUESTIONS, WRITTEN)
    cache = gist_cache(model, gist_ids, PROMPT)
    assert cache.layers[0][0].shape[2] == 2
    assert cache.positions.tolist() == [6, 4]
    for _ in range(2):
        found = cached_logits(model, cache, QUESTIONS, WRITTEN)
        near(found[WRITTEN.mask], expected[WRITTEN.mask])
    one = inputs([11, 12, 13, 14])
    shared = cached_logits(model, gist_cache(model, gist_ids, one), QUESTIONS, WRITTEN)
    expected = gist_logits(model, gist_ids, one, QUESTIONS, WRITTEN)
    near(shared[WRITTEN.mask], expected[WRITTEN.mask])


def watched(model) -> list[Tensor]:
    """Collect the embeddings of each forward pass."""
    caught: list[Tensor] = []

    def catch(module, arguments, output):
        if output.requires_grad:
            output.retain_grad()
        caught.append(output)

    model.get_input_embeddings().register_forward_hook(catch)
    return caught


@models
def test_gradient_to_the_prompt_flows_through_gists_only(name: str) -> None:
    """H.10: none with the gist tokens' keys and values detached, some otherwise."""
    model = MODELS[name]()
    gist_ids = add_gist_tokens(model, 2)
    caught = watched(model)
    for detach in (True, False):
        caught.clear()
        cache = gist_cache(model, gist_ids, PROMPT, detach=detach)
        cached_logits(model, cache, QUESTIONS, WRITTEN).square().sum().backward()
        gradient = caught[0].grad
        at_prompt = PROMPT.attention.bool()
        if detach:
            assert gradient is None
            assert not cache.layers[0][0].requires_grad
        else:
            assert gradient is not None
            assert bool((gradient[:, :4][at_prompt].abs().sum(-1) > 1e-8).all())
    caught.clear()
    gist_logits(model, gist_ids, PROMPT, QUESTIONS, WRITTEN).square().sum().backward()
    whole = caught[0].grad
    assert whole is not None
    near(whole[0, :4], gradient[0, :4])


def test_prompt_matters_through_gists_only() -> None:
    """Without gist tokens in between, another prompt of the same length would change nothing: here it does."""
    model = sharp(tiny_causal())
    gist_ids = add_gist_tokens(model, 1)
    one = gist_logits(model, gist_ids, inputs([11, 12]), QUESTIONS, WRITTEN)
    two = gist_logits(model, gist_ids, inputs([12, 11]), QUESTIONS, WRITTEN)
    assert (one - two).abs().max() > 1e-3
    empty = gist_logits(model, gist_ids, inputs([11, 12]), NOTHING, WRITTEN)
    alone = align(model, joined(inputs([11, 12]), Prompts(gist_ids[None], torch.ones(1, 1, dtype=torch.int64))),
                  completions(WRITTEN.ids[:1, :1], [0])).scores  # fmt: skip
    near(empty[0, 0], alone[0, 0])


@pytest.mark.parametrize("make", [tiny_causal, tiny_llama])
def test_added_tokens(make) -> None:
    model = make()
    before = model.get_input_embeddings().weight.detach().clone()
    ids = add_gist_tokens(model, 3)
    assert ids.tolist() == [20, 21, 22]
    for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        assert weight.shape[0] == model.config.vocab_size == 23
        near(weight[20:], weight[:20].mean(0).expand(3, -1))
    assert torch.equal(model.get_input_embeddings().weight[:20], before)


def test_gist_loss() -> None:
    """Without a teacher the data's tokens; with one a divergence over the tokens that the teacher knows."""
    model = sharp(tiny_causal())
    known = teacher_scores(model, joined(PROMPT, QUESTIONS), WRITTEN)
    gist_ids = add_gist_tokens(model, 2)
    student = gist_logits(model, gist_ids, PROMPT, QUESTIONS, WRITTEN)
    plain = gist_loss(model, gist_ids, PROMPT, QUESTIONS, WRITTEN)
    torch.testing.assert_close(plain, sequence_nll(student, WRITTEN.ids, WRITTEN.mask))
    for kind in ("kl", "js"):
        found = gist_loss(model, gist_ids, PROMPT, QUESTIONS, WRITTEN, teacher_logits=known,
                          divergence=partial(sequence_loss, kind))  # fmt: skip
        near(found, sequence_loss(kind, known, student[..., :20], WRITTEN.mask))
    near(
        gist_loss(model, gist_ids, PROMPT, QUESTIONS, WRITTEN, teacher_logits=known),
        sequence_loss("kl", known, student[..., :20], WRITTEN.mask))  # fmt: skip


def flash():
    model = tiny_causal()
    model.config._attn_implementation_internal = "flash_attention_2"
    return model


GIST = torch.tensor([3])
PADDED = Prompts(torch.tensor([[5, 0]]), torch.tensor([[1, 0]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SoftPrompt(torch.zeros(3)), "vectors: expected shape (n, H), n at least 1, got (3,)."),
        (lambda: soft_prompt_logits(tiny_causal(), SoftPrompt(torch.zeros(2, 4)), QUESTIONS, WRITTEN),
         "soft: expected vectors as wide as the model's embeddings, 16, got 4."),
        (lambda: soft_prompt_logits(tiny_seq2seq(), SoftPrompt(torch.zeros(2, 4)), QUESTIONS, WRITTEN),
         "model: expected a causal model, got the encoder-decoder T5ForConditionalGeneration."),
        (lambda: gist_mask(torch.ones(1, 2), torch.ones(1, 2)), "gists: expected bool of the shape of attention"),
        (lambda: gist_mask(torch.tensor([[True, False], [False, False]]), torch.ones(2, 2)),
         "gists[1]: expected gist tokens side by side, got []. Put all of them right after the prompt."),
        (lambda: gist_mask(torch.tensor([[True, False, True]]), torch.ones(1, 3)), "gists[0]: expected gist tokens"),
        (lambda: add_gist_tokens(tiny_causal(), 0), "count: expected a whole number of gist tokens, at least 1, got 0"),
        (lambda: gist_logits(tiny_causal(), GIST[:0], PROMPT, QUESTIONS, WRITTEN), "gist_ids: expected shape (k,)"),
        (lambda: gist_logits(tiny_seq2seq(), GIST, PROMPT, QUESTIONS, WRITTEN), "model: expected a causal model"),
        (lambda: gist_logits(flash(), GIST, PROMPT, QUESTIONS, WRITTEN),
         "model: expected eager or sdpa attention, which take a mask of any form, got 'flash_attention_2'."),
        (lambda: gist_loss(tiny_causal(), GIST, PROMPT, QUESTIONS, WRITTEN, divergence=partial(sequence_loss, "kl")),
         "divergence: expected teacher_logits with it, got none."),
        (lambda: cached_logits(tiny_causal(), gist_cache(tiny_causal(), GIST, PROMPT), PADDED, WRITTEN),
         "cache: expected 1 rows, as many as inputs, or one, got 2."),
        (lambda: cached_logits(tiny_causal(), gist_cache(tiny_causal(), GIST, inputs([5])), PADDED, WRITTEN),
         "batch: expected at least one token in the last place of each row, got padding."),
        (lambda: SoftPrompt(torch.zeros(2, 3, dtype=torch.int64)), "vectors: expected floating numbers, got torch.int"),
        (lambda: SoftPrompt.from_tokens(tiny_causal(), torch.tensor([3, 20])),
         "ids: expected int64 from 0 to 19, the model's tokens, got torch.int64 [3, 20]. Take them from"),
        (lambda: soft_prompt_logits(tiny_causal(), SoftPrompt(torch.zeros(2, 16)), inputs([5]), WRITTEN),
         "completions: expected one for each of the 1 inputs, got 2. Repeat the inputs where each has several."),
        (lambda: gist_logits(tiny_causal(), torch.tensor([20]), PROMPT, QUESTIONS, WRITTEN),
         "gist_ids: expected int64 from 0 to 19, the model's tokens, got torch.int64 [20]."),
        (lambda: gist_cache(tiny_causal(), torch.tensor([-1]), PROMPT), "gist_ids: expected int64 from 0 to 19"),
        (lambda: gist_logits(tiny_causal(), GIST, inputs([5]), inputs([6]), WRITTEN), "for each of the 1 inputs, got"),
        (lambda: cached_logits(tiny_causal(), gist_cache(tiny_causal(), GIST, inputs([5])), inputs([6]), WRITTEN),
         "completions: expected one for each of the 1 inputs, got 2."),
        (lambda: add_gist_tokens(tiny_causal(), True), "count: expected a whole number of gist tokens, at least 1, go"),
    ],
)  # fmt: skip
def test_messages(call, message: str) -> None:
    with pytest.raises(ArgumentError) as found:
        call()
    assert message in str(found.value)
