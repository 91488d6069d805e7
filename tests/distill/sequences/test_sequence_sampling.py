"""Sampling: the law against enumeration and naive loops, settings that must not leak, modes, ends, refusals."""

from __future__ import annotations

import itertools
import logging
import math
import warnings
from typing import Any

import pytest
import torch
import transformers
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import Tensor

from treeavg.distill.sequences.align import Completions, Prompts, completions, prompts
from treeavg.distill.sequences.sampling.samplers import KINDS, Sampler
from treeavg.distill.sequences.sampling.sampling import Samples, log_probs, repeated, sample
from treeavg.errors import ArgumentError, LimitError

MAKERS = {"causal": tiny_causal, "encoder-decoder": tiny_seq2seq}
SHORT = Sampler(max_new_tokens=12)
both = pytest.mark.parametrize("name", MAKERS)


def model_of(name: str, *, vocabulary: int = 20, sharp: float = 6.0) -> Any:
    """A tiny model in training mode, its weights grown so that its laws are far from uniform."""
    model = MAKERS[name](3, vocabulary=vocabulary)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "ln" not in key and "norm" not in key:
                weight.mul_(sharp)
    return model.train()


def inputs_of(name: str, rows: list[list[int]] | None = None) -> Prompts:
    side = "left" if name == "causal" else "right"
    return prompts([[2, 3, 4], [5], [6, 7]] if rows is None else rows, pad=0, side=side)


def end_of(name: str) -> int:
    return 0 if name == "causal" else 1


def naive_laws(model: Any, name: str, prompt: list[int], written: list[int], sampler: Sampler) -> list[Tensor]:
    """The log-law of each token of one completion: no batch, no padding, no cache, warped by hand."""
    laws = []
    model.eval()
    for place in range(len(written)):
        if name == "causal":
            scores = model(torch.tensor([prompt + written[:place]])).logits[0, -1]
        else:
            start = torch.tensor([[0, *written[:place]]])
            scores = model(input_ids=torch.tensor([prompt]), decoder_input_ids=start).logits[0, -1]
        if place < sampler.min_new_tokens:
            scores[end_of(name)] = -math.inf
        scores = scores.detach() / sampler.temperature
        if sampler.top_k:
            kept = scores.argsort(descending=True)[: sampler.top_k]
            scores = torch.full_like(scores, -math.inf).index_put((kept,), scores[kept])
        if sampler.top_p < 1:
            law = scores.softmax(-1)
            order = law.argsort(descending=True)
            before = law[order].cumsum(0) - law[order]
            scores[order[before >= sampler.top_p]] = -math.inf
        laws.append(scores.log_softmax(-1))
    return laws


def strings(vocabulary: int, end: int, longest: int) -> list[tuple[int, ...]]:
    others = [token for token in range(vocabulary) if token != end]
    found: list[tuple[int, ...]] = []
    for length in range(longest):
        found += [(*body, end) for body in itertools.product(others, repeat=length)]
    return found + list(itertools.product(others, repeat=longest))


def enumerated(model: Any, name: str, prompt: list[int], *, vocabulary: int = 4, longest: int = 3) -> dict[Any, float]:
    """The log-probability of every string."""
    all_strings = strings(vocabulary, end_of(name), longest)
    ids = torch.tensor([[*one, *[0] * (longest - len(one))] for one in all_strings])
    given = completions(ids, [end_of(name)], lengths=torch.tensor([len(one) for one in all_strings]))
    scored = log_probs(model, repeated(inputs_of(name, [prompt]), len(all_strings)), given).sum(1)
    return dict(zip(all_strings, scored.tolist(), strict=True))


def rows_of(drawn: Samples) -> list[tuple[int, ...]]:
    return [tuple(row[keep].tolist()) for row, keep in zip(drawn.ids, drawn.mask, strict=True)]


# ------------------------------------------------------------------ the law


@both
def test_exact_sampling_against_enumeration(name: str) -> None:
    """All strings of up to three tokens of four: probabilities sum to 1, frequencies are near them."""
    model = model_of(name, vocabulary=4)
    laws = enumerated(model, name, [2, 3])
    assert math.fsum(map(math.exp, laws.values())) == pytest.approx(1, abs=1e-5)
    count = 8000
    drawn = sample(
        model,
        inputs_of(name, [[2, 3]]),
        Sampler(max_new_tokens=3),
        samples=count,
        generator=torch.Generator().manual_seed(0),
    )
    found = rows_of(drawn)
    square = 0.0
    for string, log_prob in laws.items():
        p, seen = math.exp(log_prob), found.count(string)
        assert abs(seen - count * p) <= 4.5 * math.sqrt(count * p * (1 - p)) + 1, string
        square += (seen - count * p) ** 2 / (count * p)
    assert square < len(laws) + 5 * math.sqrt(2 * len(laws))
    expected = torch.tensor([laws[string] for string in found])
    torch.testing.assert_close(drawn.log_prob.sum(1), expected, atol=1e-4, rtol=0)


@both
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.7},
        {"top_k": 3},
        {"top_p": 0.8},
        {"temperature": 1.5, "top_k": 6, "top_p": 0.9},
        {"min_new_tokens": 4},
    ],
    ids=str,
)
def test_log_prob_is_the_sampler_s(name: str, options: dict[str, Any]) -> None:
    """Against a loop without batch, padding and cache; 0 after the end."""
    model, sampler = model_of(name), Sampler(max_new_tokens=6, **options)
    drawn = sample(model, inputs_of(name), sampler, samples=3, generator=torch.Generator().manual_seed(1))
    assert drawn.log_prob.dtype == torch.float32
    assert drawn.sampler_id == sampler.id
    assert not drawn.log_prob.requires_grad
    for row, written in enumerate(rows_of(drawn)):
        prompt = [[2, 3, 4], [5], [6, 7]][row // 3]
        laws = naive_laws(model, name, prompt, list(written), sampler)
        expected = torch.stack([law[token] for law, token in zip(laws, written, strict=True)])
        torch.testing.assert_close(drawn.log_prob[row, : len(written)], expected, atol=2e-5, rtol=1e-5)
        assert torch.isfinite(expected).all()
        assert drawn.log_prob[row, len(written) :].eq(0).all()
    if sampler.exact:
        own = log_probs(model, repeated(inputs_of(name), 3), drawn.completions, batch_size=2)
        torch.testing.assert_close(drawn.log_prob, own, atol=2e-5, rtol=1e-5)
        assert own.eq(0).logical_or(drawn.mask).all()


@both
def test_greedy(name: str) -> None:
    """The likeliest token at each step; a batch gives what each prompt gives alone."""
    model, sampler = model_of(name), Sampler("greedy", max_new_tokens=6)
    drawn = sample(model, inputs_of(name), sampler)
    for row, prompt in enumerate([[2, 3, 4], [5], [6, 7]]):
        written = list(rows_of(drawn)[row])
        laws = naive_laws(model, name, prompt, written, sampler)
        assert [int(law.argmax()) for law in laws] == written
        assert len(written) == 6 or written[-1] == end_of(name)
        alone = sample(model, inputs_of(name, [prompt]), sampler)
        assert rows_of(alone) == [tuple(written)]
        assert float(drawn.log_prob[row].sum()) == pytest.approx(float(sum(law.max() for law in laws)), abs=1e-4)


@both
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_wide_beams_against_enumeration(name: str, penalty: float) -> None:
    """A beam wider than the tree finds the best strings, best first, by log-probability over length to the power."""
    model = model_of(name, vocabulary=4, sharp=4.0)
    laws = enumerated(model, name, [2, 3])
    best = sorted(laws, key=lambda string: -laws[string] / len(string) ** penalty)[:5]
    sampler = Sampler("beam", max_new_tokens=3, beams=40, length_penalty=penalty)
    drawn = sample(model, inputs_of(name, [[2, 3]]), sampler, samples=5)
    assert rows_of(drawn) == best
    torch.testing.assert_close(drawn.log_prob.sum(1), torch.tensor([laws[one] for one in best]), atol=1e-4, rtol=0)
    assert drawn.sampler_id == sampler.id


@both
def test_beam_sampling(name: str) -> None:
    """As the released training did: beams among the likeliest tokens."""
    model = model_of(name)
    sampler = Sampler("beam-sample", max_new_tokens=6, beams=4, top_k=3, min_new_tokens=2)
    drawn = sample(model, inputs_of(name), sampler, samples=2, generator=torch.Generator().manual_seed(2))
    assert len(drawn.ids) == 6
    for row, written in enumerate(rows_of(drawn)):
        laws = naive_laws(model, name, [[2, 3, 4], [5], [6, 7]][row // 2], list(written), Sampler(min_new_tokens=2))
        for law, token in zip(laws, written, strict=True):
            assert token in law.topk(3).indices
        assert len(written) >= 2
    assert drawn.log_prob[drawn.mask].lt(0).all()


# ------------------------------------------------------------------ what must not leak


def spoil(configuration: Any) -> None:
    """Set what a model could be shipped with."""
    configuration.update(
        do_sample=False,
        num_beams=3,
        temperature=0.01,
        top_k=1,
        top_p=0.1,
        min_p=0.9,
        typical_p=0.1,
        epsilon_cutoff=0.3,
        eta_cutoff=0.3,
        repetition_penalty=9.0,
        no_repeat_ngram_size=1,
        encoder_no_repeat_ngram_size=1,
        length_penalty=-5.0,
        bad_words_ids=[[4], [5], [6]],
        suppress_tokens=[7, 8, 9],
        begin_suppress_tokens=[10, 11],
        sequence_bias=[[[12], -100.0]],
        forced_bos_token_id=13,
        forced_eos_token_id=14,
        exponential_decay_length_penalty=(1, 50.0),
        min_length=7,
        min_new_tokens=7,
        max_length=3,
        max_new_tokens=2,
        num_return_sequences=2,
        guidance_scale=3.0,
        output_scores=True,
        return_dict_in_generate=True,
        stop_strings=["x"],
        max_time=0.0,
        use_cache=False,
        early_stopping=True,
        renormalize_logits=True,
        remove_invalid_values=True,
    )


@both
@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(max_new_tokens=6),
        Sampler(max_new_tokens=6, top_k=4),
        Sampler("greedy", max_new_tokens=6),
        Sampler("beam", max_new_tokens=6, beams=3),
        Sampler("beam-sample", max_new_tokens=6, beams=3, top_p=0.9),
    ],
    ids=lambda sampler: sampler.id,
)
def test_a_model_s_generation_config_is_not_used(name: str, sampler: Sampler) -> None:
    """Whatever it says the completions are the same, and it is as it was; the special tokens are taken from it."""
    model = model_of(name)
    plain = sample(model, inputs_of(name), sampler, generator=torch.Generator().manual_seed(5))
    held = model.generation_config
    spoil(held)
    before = held.to_dict()
    again = sample(model, inputs_of(name), sampler, generator=torch.Generator().manual_seed(5))
    assert torch.equal(plain.ids, again.ids)
    assert torch.equal(plain.log_prob, again.log_prob)
    assert model.generation_config is held
    assert held.to_dict() == before
    if sampler.beams == 1:
        held.eos_token_id = list(range(20))
        assert sample(model, inputs_of(name), sampler).ids.shape == (3, 1)


def test_the_default_of_fifty_tokens_does_not_leak() -> None:
    """A vocabulary of sixty, nearly uniform: all are drawn."""
    model = tiny_causal(vocabulary=60)
    drawn = sample(model, inputs_of("causal", [[2]]), Sampler(max_new_tokens=1), samples=3000)
    assert len(drawn.ids.unique()) == 60


def test_exact_means_exact() -> None:
    assert Sampler().exact
    assert Sampler(max_new_tokens=7).exact
    for changed in (
        Sampler(top_k=50),
        Sampler(top_p=0.99),
        Sampler(temperature=0.9),
        Sampler(min_new_tokens=1),
        Sampler(first_token=3),
        Sampler("greedy"),
        Sampler("beam", beams=2),
    ):
        assert not changed.exact
    assert Sampler().id == "sample(max_new_tokens=64)"
    assert Sampler("beam-sample", beams=6, top_k=30).id == "beam-sample(max_new_tokens=64, top_k=30, beams=6)"
    assert all(text and not text.endswith(".") for text, _ in KINDS.values())


# ------------------------------------------------------------------ modes and random numbers


@both
def test_modes_are_restored(name: str) -> None:
    """A student trains on, its frozen parts stay frozen; a teacher in training mode samples without dropout."""
    model = model_of(name)
    list(model.modules())[3].eval()
    modes = [module.training for module in model.modules()]
    assert any(modes)
    assert not all(modes)
    trained = sample(model, inputs_of(name), Sampler(max_new_tokens=5), generator=torch.Generator().manual_seed(3))
    assert [module.training for module in model.modules()] == modes
    model.eval()
    still = sample(model, inputs_of(name), Sampler(max_new_tokens=5), generator=torch.Generator().manual_seed(3))
    assert torch.equal(trained.ids, still.ids)
    assert torch.equal(trained.log_prob, still.log_prob)
    model.train()
    own = [log_probs(model, inputs_of(name), still.completions) for _ in range(2)]
    assert torch.equal(*own)
    assert not own[0].requires_grad
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_modes_are_restored_after_an_error() -> None:
    model = model_of("causal")
    with torch.no_grad():
        model.transformer.wte.weight[5] = math.nan
    held = model.generation_config
    with pytest.raises(ArgumentError, match="NaN"):
        sample(model, inputs_of("causal"), SHORT)
    assert model.training
    assert model.generation_config is held


def test_random_numbers() -> None:
    """A generator decides alone and leaves torch's state; without one torch's is used."""
    model, batch = model_of("causal", sharp=1.0), inputs_of("causal")
    torch.manual_seed(11)
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(4)
    first, second = (sample(model, batch, SHORT, generator=generator) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first.ids[:, :4], second.ids[:, :4])
    assert torch.equal(first.ids, sample(model, batch, SHORT, generator=torch.Generator().manual_seed(4)).ids)
    third = sample(model, batch, SHORT)
    assert not torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(state)
    assert torch.equal(third.ids, sample(model, batch, SHORT).ids)


# ------------------------------------------------------------------ ends


@both
def test_ends(name: str) -> None:
    """Truncated, ended, empty: pad equals end for the causal model; a set of ends; what stands after them."""
    model, batch = model_of(name, sharp=1.0), inputs_of(name)
    cut = sample(model, batch, Sampler(max_new_tokens=5, min_new_tokens=5))
    assert cut.truncated.all()
    assert cut.mask.all()
    assert cut.ids.shape == (3, 5)
    assert cut.ids.ne(end_of(name)).all()
    assert cut.lists() == cut.ids.tolist()
    empty = sample(model, batch, SHORT, eos_ids=list(range(20)))
    assert empty.ids.shape == (3, 1)
    assert not empty.truncated.any()
    assert empty.lists() == [[], [], []]
    several = sample(model, batch, SHORT, samples=8, eos_ids=[2, 3, end_of(name)], pad=9)
    assert not several.truncated.all()
    for row, length, ended in zip(several.ids, several.mask.sum(1), ~several.truncated, strict=True):
        found = torch.isin(row[:length], torch.tensor([2, 3, end_of(name)]))
        assert not found[:-1].any()
        assert bool(found[-1]) == bool(ended)
        assert row[length:].eq(9).all()
    assert several.mask.any(0).all()  # no column of padding only
    assert isinstance(several.completions, Completions)
    assert torch.equal(completions(several.ids, [2, 3, end_of(name)]).mask, several.mask)


def test_no_false_alarm_over_the_mask() -> None:
    """Transformers drops a mask of ones and then asks for it, as end tokens look like padding; it asks us no more."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers.modeling_utils")
    model, once = model_of("causal", sharp=1.0), transformers.utils.logging.warning_once
    filters = list(logger.filters)
    logger.addHandler(handler)
    try:
        for sampler in (SHORT, Sampler("beam", beams=2, max_new_tokens=12)):
            once.cache_clear()  # it says each thing once in a process
            sample(model, inputs_of("causal", [[0, 3], [2, 0]]), sampler, eos_ids=[0], pad=0)
            assert heard == []
        assert logger.filters == filters
        once.cache_clear()
        model(torch.tensor([[0, 3]]))
        assert "passing in an `attention_mask`" in heard[0]  # where nobody gave a mask it is still said
    finally:
        logger.removeHandler(handler)


def test_beams_leave_no_columns_of_padding() -> None:
    model = model_of("causal", sharp=1.0)
    drawn = sample(model, inputs_of("causal"), Sampler("beam", beams=3, max_new_tokens=9), samples=3, eos_ids=[0, 2, 3])
    assert drawn.mask.any(0).all()


def test_no_prompts() -> None:
    """An empty batch gives an empty one."""
    none = Prompts(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64))
    drawn = sample(model_of("causal"), none)
    assert drawn.ids.shape == drawn.mask.shape == drawn.log_prob.shape == (0, 0)
    assert drawn.lists() == []
    assert log_probs(model_of("causal"), none, drawn.completions).shape == (0, 0)


def test_rows_without_tokens() -> None:
    """A completion of no token at all has no end to take off."""
    mask = torch.tensor([[False, False], [True, True]])
    rows = Samples(torch.tensor([[0, 0], [4, 0]]), mask, torch.tensor([False, False]), torch.zeros(2, 2), "x")
    assert rows.lists() == [[], [4]]


def test_first_token() -> None:
    """A language's code costs nothing; a causal model has it in its prompt."""
    model = model_of("encoder-decoder", sharp=1.0)
    drawn = sample(model, inputs_of("encoder-decoder"), Sampler(first_token=7, max_new_tokens=4), samples=2)
    assert drawn.ids[:, 0].eq(7).all()
    assert drawn.log_prob[:, 0].abs().max() < 1e-6
    assert drawn.log_prob[:, 1].lt(0).any()
    with pytest.raises(ArgumentError, match=r"first_token: expected None for a causal model, got 7\. Put it at"):
        sample(model_of("causal"), inputs_of("causal"), Sampler(first_token=7))


@both
def test_padding_of_prompts_changes_nothing(name: str) -> None:
    """Wider padding gives the same log-probabilities."""
    model = model_of(name)
    drawn = sample(model, inputs_of(name), Sampler(max_new_tokens=5))
    batch = inputs_of(name)
    blank = torch.full((3, 4), 9), torch.zeros(3, 4, dtype=torch.int64)
    order = (blank, (batch.ids, batch.attention)) if name == "causal" else ((batch.ids, batch.attention), blank)
    wide = Prompts(*(torch.cat(parts, 1) for parts in zip(*order, strict=True)))
    near = log_probs(model, wide, drawn.completions)
    torch.testing.assert_close(near, log_probs(model, batch, drawn.completions), atol=1e-5, rtol=1e-5)
    greedy = Sampler("greedy", max_new_tokens=5)
    assert torch.equal(sample(model, wide, greedy).ids, sample(model, batch, greedy).ids)


def test_adapters() -> None:
    """LoRA inside a causal model: the adapted law is sampled, in PEFT's wrapper too."""
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    plain = model_of("causal", sharp=1.0)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True
    )
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses a name that transformers gives up
        model = peft.get_peft_model(plain, config)
    spoil(plain.generation_config)
    drawn = sample(model, inputs_of("causal"), Sampler(max_new_tokens=6), samples=3)
    batch = repeated(inputs_of("causal"), 3)
    torch.testing.assert_close(drawn.log_prob, log_probs(model, batch, drawn.completions), atol=2e-5, rtol=1e-5)
    with model.disable_adapter():
        assert (drawn.log_prob - log_probs(model, batch, drawn.completions)).abs().max() > 1e-3


# ------------------------------------------------------------------ refusals


def test_refusals_of_samplers() -> None:
    cases = [
        ({"kind": "ancestral"}, r"kind: expected one of 'sample', 'greedy', .* got 'ancestral'\."),
        ({"kind": "greedy", "top_k": 5}, r"top_k: expected 0 for the sampler 'greedy', .* got 5\. .*takes no options"),
        ({"kind": "beam", "beams": 4, "temperature": 0.5}, r"temperature: expected 1\.0 for the sampler 'beam', which"),
        ({"beams": 4}, r"beams: expected 1 for the sampler 'sample', .* use one of temperature, top_k, top_p\."),
        ({"length_penalty": 2.0}, r"length_penalty: expected 1\.0 for the sampler 'sample', which does not use it"),
        ({"kind": "beam"}, r"beams: expected a whole number, at least 2, got 1\."),
        ({"max_new_tokens": 0}, r"max_new_tokens: expected a whole number, at least 1, got 0\."),
        ({"max_new_tokens": True}, r"max_new_tokens: expected a whole number, at least 1, got True\."),
        (
            {"min_new_tokens": 65},
            r"min_new_tokens: expected at most max_new_tokens=64, got 65\. Raise max_new_tokens\.",
        ),
        ({"top_k": -1}, r"top_k: expected a whole number, at least 0, got -1\."),
        ({"temperature": 0}, r"temperature: expected a number above 0, got 0\. Use 1\.0 .* kind='greedy'\."),
        ({"temperature": math.nan}, r"temperature: expected a number above 0, got nan\."),
        ({"top_p": 1.5}, r"top_p: expected a number above 0 and up to 1, got 1\.5\. Use 1\.0 to keep all tokens\."),
        (
            {"kind": "beam", "beams": 2, "length_penalty": math.inf},
            r"length_penalty: expected a finite number, got inf",
        ),
        ({"first_token": -1}, r"first_token: expected a whole number, at least 0, got -1\."),
    ]
    for options, message in cases:
        with pytest.raises(ArgumentError, match=message):
            Sampler(**options)  # type: ignore[arg-type]


def test_refusals() -> None:
    model, batch = model_of("causal"), inputs_of("causal")
    with pytest.raises(
        ArgumentError, match=r"samples: expected at most 1 from the sampler greedy\(.*\), got 2\. Raise"
    ):
        sample(model, batch, Sampler("greedy"), samples=2)
    with pytest.raises(ArgumentError, match=r"samples: expected a whole number, at least 1, got 0\."):
        sample(model, batch, samples=0)
    with pytest.raises(ArgumentError, match=r"eos_ids: expected at least one id that ends a completion, got \[\]"):
        sample(model, batch, eos_ids=[])
    with pytest.raises(ArgumentError, match=r"prompts\[1\]: expected padding on the left for a causal model, got some"):
        sample(model, inputs_of("encoder-decoder"))
    nothing = Prompts(torch.tensor([[2], [3]]), torch.tensor([[1], [0]]))
    with pytest.raises(ArgumentError, match=r"prompts\[1\]: expected at least one token, got none\. Start it with"):
        sample(model, nothing)
    with pytest.raises(
        LimitError, match=r"prompts: expected at most the model's 64 positions, got 3 tokens and up to 62"
    ):
        sample(model, batch, Sampler(max_new_tokens=62))
    assert sample(model, batch, Sampler("greedy", max_new_tokens=61)).ids.shape[0] == 3
    with pytest.raises(ArgumentError, match=r"model: expected a model that can generate, got GPT2Model\. Load it with"):
        sample(model.transformer, batch)
    with pytest.raises(ArgumentError, match=r"prompts: expected 2, one for each completion, got 3\. Repeat them"):
        log_probs(model, batch, completions(torch.zeros(2, 1, dtype=torch.int64), [0]))
    with pytest.raises(ArgumentError, match=r"batch_size: expected a whole number, at least 1, got 0\."):
        log_probs(model, batch, completions(torch.zeros(3, 1, dtype=torch.int64), [0]), batch_size=0)


def test_a_model_without_an_end() -> None:
    model = model_of("causal")
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    with pytest.raises(ArgumentError, match=r"got None, and the model names none\. Give eos_ids=\[tokenizer\.eos"):
        sample(model, inputs_of("causal"))
    model.generation_config.pad_token_id = model.config.pad_token_id = None
    drawn = sample(model, inputs_of("causal"), SHORT, samples=5, eos_ids=[2, 3])
    assert drawn.ids[~drawn.mask].eq(2).all()


@both
@pytest.mark.parametrize("kind", ["sample", "greedy", "beam"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(name: str, kind: str, value: float) -> None:
    """NaN or infinite logits name the step and the prompt, for the searches too, which would choose something."""
    model, batch = model_of(name), inputs_of(name)
    model.get_output_embeddings().weight = torch.nn.Parameter(
        torch.full_like(model.get_output_embeddings().weight, value)
    )
    sampler = Sampler(kind, max_new_tokens=4, beams=2 if kind == "beam" else 1)
    with pytest.raises(ArgumentError, match=r"model: expected logits below infinity, got NaN or inf at token 0 of the"):
        sample(model, batch, sampler, samples=2 if kind == "sample" else 1)


def test_nan_of_one_prompt_names_it() -> None:
    model = model_of("causal")
    with torch.no_grad():
        model.transformer.wte.weight[7] = math.nan  # in the last prompt only; its logit would be NaN for all
    model.lm_head.weight = torch.nn.Parameter(torch.nan_to_num(model.lm_head.weight.detach()))
    with pytest.raises(ArgumentError, match=r"completion of prompts\[2\]\. Look for weights that are not finite"):
        sample(model, inputs_of("causal"), SHORT, samples=4)
