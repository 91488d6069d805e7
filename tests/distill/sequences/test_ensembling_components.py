"""Hugging Face models in an ensemble: cached equals uncached, greedy equals generate, pivots, wrappers, refusals."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from ensembling_twins import assert_found, naive_search
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import nn

from treeavg.distill.sequences.align import Prompts, prompts
from treeavg.distill.sequences.ensembling.beam import beam_search
from treeavg.distill.sequences.ensembling.components import FunctionComponent, ModelComponent, pivot_inputs
from treeavg.distill.sequences.ensembling.ebbs import ebbs
from treeavg.distill.sequences.ensembling.protocol import BeamOptions
from treeavg.errors import ArgumentError, LimitError

INPUTS = [[5, 6, 7], [8], [9, 10], [11, 12, 13, 14]]
OPTIONS = BeamOptions(eos_ids=[1], max_length=7, beam=4, pad=0)


def sharper(model: nn.Module, scale: float = 30.0) -> nn.Module:
    """Spread a fresh model's scores, which are nearly all alike."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale if weight.dim() == 2 and weight.shape[0] == 20 else 1.0)
    return model.double()


def llama(seed: int) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def mistral(seed: int) -> nn.Module:
    """Return a model that looks back over a window of 4 tokens only."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=20, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, sliding_window=4,
    )  # fmt: skip
    return MistralForCausalLM(config)


def bart(seed: int) -> nn.Module:
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=2, eos_token_id=1, decoder_start_token_id=1, forced_eos_token_id=None,
    )  # fmt: skip
    return BartForConditionalGeneration(config)


def component(model: nn.Module, lists: list[list[int]]) -> ModelComponent:
    side = "right" if model.config.is_encoder_decoder else "left"
    return ModelComponent(model, prompts(lists, pad=0, side=side))


def uncached(model: nn.Module, ids: list[int]):
    """Return one sentence's law: the model is run on everything, alone, without padding or cache."""
    model.eval()

    def law(prefix: tuple[int, ...]) -> list[float]:
        with torch.no_grad():
            if model.config.is_encoder_decoder:
                given = {"decoder_input_ids": torch.tensor([[model.config.decoder_start_token_id, *prefix]])}
                logits = model(input_ids=torch.tensor([ids]), use_cache=False, **given).logits
            else:
                logits = model(input_ids=torch.tensor([[*ids, *prefix]]), use_cache=False).logits
        return logits[0, -1].log_softmax(-1).tolist()

    return law


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    return {
        "gpt2": sharper(tiny_causal(1)),
        "llama": sharper(llama(2)),
        "mistral": sharper(mistral(5)),
        "t5": sharper(tiny_seq2seq(3), 1.5),
        "bart": sharper(bart(4)),
    }


@pytest.mark.parametrize(
    "names", [("gpt2",), ("t5",), ("gpt2", "gpt2"), ("llama", "t5", "bart"), ("bart", "gpt2", "mistral"), ("mistral",)]
)
@pytest.mark.parametrize("rule", ["mean", "geometric"])
def test_cached_is_uncached(models: dict[str, nn.Module], names: tuple[str, ...], rule: str) -> None:
    """Any mixture of models, each with its own inputs of its own widths, equals the twin without caches."""
    inputs = [[[2 + k, *ids][k % 2 :] for ids in INPUTS[k:] + INPUTS[:k]] for k in range(len(names))]
    components = [component(models[name], lists) for name, lists in zip(names, inputs, strict=True)]
    if rule == "mean":
        found = ebbs(components, OPTIONS)
    else:
        found = beam_search(components, OPTIONS, average=rule)
    for place, one in enumerate(found):
        laws = [uncached(models[name], lists[place]) for name, lists in zip(names, inputs, strict=True)]
        expected = naive_search(laws, rule=rule, eos=[1], beam=4, max_length=7, pad=0)
        assert_found(one, expected, 1e-9)
        assert len({ids for ids, _ in expected}) == 4


def test_rows_come_and_go(models: dict[str, nn.Module]) -> None:
    """Sentences that stop early, some at once, leave the others' caches in order."""
    components = [component(models[name], INPUTS) for name in ("t5", "gpt2")]
    lengths = set()
    for temperature in (1.0, 4.0):
        options = BeamOptions(
            eos_ids=[1, 4, 6, 7, 13], max_length=7, beam=3, pad=0, min_length=0, temperature=temperature
        )
        found = ebbs(components, options)
        alone = [ebbs([component(models[name], [ids]) for name in ("t5", "gpt2")], options)[0] for ids in INPUTS]
        for one, other in zip(found, alone, strict=True):
            assert_found(one, list(other))
            lengths.add(max(len(hypothesis.ids) for hypothesis in one))
    assert len(lengths) > 1


def test_cost(models: dict[str, nn.Module]) -> None:
    """Each model is run once a token on one new token; the encoder once; only rows that go on are run."""
    widths: dict[str, list[tuple[int, ...]]] = {"gpt2": [], "t5": [], "encoder": []}

    def note(name: str, key: str):
        return lambda module, args, kwargs: widths[name].append(tuple(kwargs[key].shape))

    hooks = [
        models["gpt2"].register_forward_pre_hook(note("gpt2", "input_ids"), with_kwargs=True),
        models["t5"].register_forward_pre_hook(note("t5", "decoder_input_ids"), with_kwargs=True),
        models["t5"].get_encoder().register_forward_pre_hook(note("encoder", "input_ids"), with_kwargs=True),
    ]
    options = BeamOptions(eos_ids=[1], max_length=4, beam=3, pad=0, min_length=4)
    try:
        ebbs([component(models["gpt2"], INPUTS), component(models["t5"], INPUTS)], options)
    finally:
        for hook in hooks:
            hook.remove()
    assert widths["gpt2"] == [(4, 4)] + [(12, 1)] * 4
    assert widths["t5"] == [(4, 1)] + [(12, 1)] * 4
    assert widths["encoder"] == [(4, 4)]


#: Inputs of one model, of different widths: a direct source and two pivots.
SOURCES = [INPUTS, [[2, 3], [4, 5, 6, 7, 8, 9], [3], [11]], [[7], [7, 7], [12, 3], [10, 11, 12]]]


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "t5", "bart"])
@pytest.mark.parametrize("rule", ["mean", "arithmetic"])
def test_one_model_one_pass(models: dict[str, nn.Module], name: str, rule: str) -> None:
    """Components of one model share a pass; apart, as copies of the model, and without caches they say the same."""

    def found_of(*three: nn.Module, step: int = 1) -> list:
        several = [component(model, lists) for model, lists in zip(three, SOURCES, strict=True)][::step]
        several.insert(1, component(models["gpt2" if name != "gpt2" else "t5"], INPUTS))  # another model between them
        return ebbs(several, OPTIONS) if rule == "mean" else beam_search(several, OPTIONS, average=rule)

    model = models[name]
    together = found_of(model, model, model)
    apart = found_of(model, copy.deepcopy(model), copy.deepcopy(model))
    for one, other in zip(together, found_of(model, model, model, step=-1), strict=True):
        assert_found(other, list(one), 1e-9)  # whatever the order
    between = models["gpt2" if name != "gpt2" else "t5"]
    for place, (one, other) in enumerate(zip(together, apart, strict=True)):
        assert_found(one, list(other), 1e-9)
        if place != 1:  # the twin is slow: one sentence, whose inputs differ most in width
            continue
        laws = [uncached(model, lists[place]) for lists in SOURCES]
        laws.insert(1, uncached(between, INPUTS[place]))
        assert_found(one, naive_search(laws, rule=rule, eos=[1], beam=4, max_length=7, pad=0), 1e-9)


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_cost_of_one_model(models: dict[str, nn.Module], name: str) -> None:
    """Three components of one model are one pass a token, three times as wide, and one pass of the encoder."""
    rows, encoded = [], []
    key = "decoder_input_ids" if name == "t5" else "input_ids"
    hooks = [
        models[name].register_forward_pre_hook(
            lambda module, args, kwargs: rows.append(tuple(kwargs[key].shape)), with_kwargs=True
        ),
        models["t5"].get_encoder().register_forward_pre_hook(
            lambda module, args, kwargs: encoded.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
        ),
    ]  # fmt: skip
    options = BeamOptions(eos_ids=[1], max_length=4, beam=3, pad=0, min_length=4)
    try:
        ebbs([component(models[name], lists) for lists in SOURCES], options)
    finally:
        for hook in hooks:
            hook.remove()
    assert rows == [(12, 1 if name == "t5" else 6)] + [(36, 1)] * 4
    assert encoded == ([(12, 6)] if name == "t5" else [])


@pytest.mark.parametrize("name", ["gpt2", "t5", "bart", "llama"])
def test_greedy_is_generate(models: dict[str, nn.Module], name: str) -> None:
    """With a beam of 1 an output is what transformers' own greedy search says, up to the forced end."""
    lists = [[*ids, 1] for ids in INPUTS] if name in ("t5", "bart") else INPUTS
    one = component(models[name], lists)
    options = BeamOptions(eos_ids=[1], max_length=6, beam=1, min_length=0)
    found = [outputs[0].ids for outputs in ebbs([one], options)]
    expected = models[name].generate(
        input_ids=one.inputs.ids, attention_mask=one.inputs.attention, do_sample=False, num_beams=1, max_new_tokens=6,
        eos_token_id=1, pad_token_id=0, bos_token_id=2,
    )  # fmt: skip
    start = 1 if name in ("t5", "bart") else one.inputs.ids.shape[1]
    for ids, row in zip(found, expected[:, start:].tolist(), strict=True):
        body = row[: row.index(1)] if 1 in row else row
        assert ids[:-1] == tuple(body)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
def test_adapters_and_wrappers(models: dict[str, nn.Module]) -> None:
    """Adapters count, wrappers do not hide the model."""
    peft = pytest.importorskip("peft")
    one = component(models["gpt2"], INPUTS)
    wrapped = ModelComponent(nn.DataParallel(models["gpt2"]), one.inputs)
    assert ebbs([wrapped], OPTIONS) == ebbs([one], OPTIONS)
    torch.manual_seed(9)
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True)
    adapted = peft.get_peft_model(sharper(tiny_causal(1)), config).double()
    found = ebbs([ModelComponent(adapted, one.inputs)], OPTIONS)
    assert found != ebbs([one], OPTIONS)
    adapted.eval()

    def law(prefix: tuple[int, ...]) -> list[float]:
        with torch.no_grad():
            return adapted(input_ids=torch.tensor([[*INPUTS[0], *prefix]])).logits[0, -1].log_softmax(-1).tolist()

    assert_found(found[0], naive_search([law], rule="mean", eos=[1], beam=4, max_length=7, pad=0), 1e-9)


def test_pivots(models: dict[str, nn.Module]) -> None:
    """A pivot's inputs are the first model's best outputs, converted; direct and pivot form one ensemble."""
    direct = component(models["t5"], INPUTS)
    plain = pivot_inputs([direct], OPTIONS, pad=0)
    best = [found[0].ids for found in beam_search([direct], OPTIONS)]
    for place, ids in enumerate(best):
        assert plain.ids[place][plain.attention[place].bool()].tolist() == list(ids)
    tagged = pivot_inputs([direct], OPTIONS, pad=0, side="left", convert=lambda ids: [3, *ids, 2], forced=[17])
    for place in range(4):
        ids = tagged.ids[place][tagged.attention[place].bool()].tolist()
        assert ids[:2] == [3, 17]
        assert ids[-1] == 2
        assert 1 not in ids
    pivot = ModelComponent(models["bart"], plain)
    through = ModelComponent(models["gpt2"], tagged)
    for place, found in enumerate(ebbs([direct, pivot, through], OPTIONS)):
        left = tagged.ids[place][tagged.attention[place].bool()].tolist()
        inputs = (INPUTS[place], list(best[place]), left)
        laws = [uncached(models[name], ids) for name, ids in zip(("t5", "bart", "gpt2"), inputs, strict=True)]
        assert_found(found, naive_search(laws, rule="mean", eos=[1], beam=4, max_length=7, pad=0), 1e-9)


def test_training_mode(models: dict[str, nn.Module]) -> None:
    """A teacher left in training mode is run without dropout, and left as it was."""
    one = component(models["t5"], INPUTS)
    expected = ebbs([one], OPTIONS)
    models["t5"].train()
    assert ebbs([one], OPTIONS) == expected
    assert all(part.training for part in models["t5"].modules())
    models["t5"].eval()


def test_padded_heads(models: dict[str, nn.Module]) -> None:
    """A head with more rows than the tokenizer has tokens is cut, before it is normalised."""
    tokens = {f"t{number}": number for number in range(18)}
    inputs = prompts([[3, 4]], pad=0, side="left")
    wide = tiny_causal(7, vocabulary=24).double()
    (found,) = ebbs([ModelComponent(wide, inputs, tokens), ModelComponent(models["gpt2"], inputs, tokens)], OPTIONS)

    def cut(model: nn.Module):
        law = uncached(model, [3, 4])
        return lambda prefix: torch.tensor(law(prefix)[:18], dtype=torch.float64).log_softmax(-1).tolist()

    laws = [cut(wide), cut(models["gpt2"])]
    assert_found(found, naive_search(laws, rule="mean", eos=[1], beam=4, max_length=7, pad=0), 1e-9)


def test_refusals(models: dict[str, nn.Module]) -> None:
    right = prompts(INPUTS, pad=0, side="right")
    left = prompts(INPUTS, pad=0, side="left")
    nowhere = tiny_seq2seq(1)
    nowhere.config.decoder_start_token_id = None
    broken = tiny_causal(1)
    with torch.no_grad():
        broken.transformer.wte.weight[2] = math.nan
    nothing = Prompts(left.ids, left.attention * 0)
    large = ModelComponent(tiny_causal(1, vocabulary=30), left)
    for call, message in (
        (lambda: ModelComponent(models["gpt2"], right), "inputs: expected prompts padded on the left, .* causal"),
        (lambda: ModelComponent(models["gpt2"], nothing), r"inputs\[0\]: expected one token or more, got an empty"),
        (lambda: ModelComponent(models["t5"], nothing), r"inputs\[0\]: expected one token or more"),
        (lambda: ModelComponent(nowhere, right), "model.config.decoder_start_token_id: expected a token id, got None"),
        (lambda: ebbs([ModelComponent(models["gpt2"], left), large], OPTIONS), r"components\[1\]: expected a vocab"),
        (lambda: ebbs([ModelComponent(broken, left)], OPTIONS), r"components\[0\]: expected logits without NaN"),
        (
            lambda: ModelComponent(models["gpt2"], prompts([[3], [4, 20]], pad=0, side="left")),
            r"inputs\[1\]: expected ids from 0 to 19, the model's, got 20\. Use the tokenizer",
        ),
        (lambda: ebbs([models["gpt2"]], OPTIONS), r"components\[0\]: expected a model with its inputs, got GPT2LMHead"),
        (lambda: ebbs(large, OPTIONS), "components: expected a list, got ModelComponent"),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()
    assert ebbs([ModelComponent(models["gpt2"], Prompts(left.ids[:0], left.attention[:0]))], OPTIONS) == []


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_positions(models: dict[str, nn.Module], name: str) -> None:
    """A model with 64 positions is asked for no more; what fits is not refused."""
    inputs = [[3] * 62, [4]] if name == "gpt2" else [[3, 1], [4, 1]]
    fits, written = (2, 3) if name == "gpt2" else (63, 65)
    one = component(models[name], inputs)
    options = BeamOptions(eos_ids=[1], max_length=fits, min_length=fits, beam=1)
    assert [len(found[0].ids) for found in ebbs([one], options)] == [fits + 1] * 2
    longer = BeamOptions(eos_ids=[1], max_length=fits + 2, min_length=fits + 2, beam=1)
    with pytest.raises(LimitError, match=rf"inputs: expected at most the model's 64 positions, .* and {written} after"):
        ebbs([one], longer)
    if name == "bart":
        with pytest.raises(LimitError, match=r"got inputs of up to 65 tokens and 0 after them\. Shorten the inputs or"):
            ebbs([component(models[name], [[3] * 65])], options)


class Forgetful(nn.Module):
    """A model that returns no cache, and takes neither positions nor a number of logits to keep."""

    config = SimpleNamespace(is_encoder_decoder=False, vocab_size=20)
    device = torch.device("cpu")

    def get_output_embeddings(self):
        return None

    def forward(self, input_ids, attention_mask, past_key_values, use_cache, return_dict):
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 20))


def test_no_cache() -> None:
    """A model whose cache cannot be put in order is refused; as a function it works."""
    inputs = prompts(INPUTS, pad=0, side="left")
    with pytest.raises(
        ArgumentError, match="model: expected a cache that can be put in order, got NoneType from Forget"
    ):
        ebbs([ModelComponent(Forgetful(), inputs)], OPTIONS)
    found = ebbs([FunctionComponent(lambda sentence, prefixes: torch.zeros(len(sentence), 20), 4, 20)], OPTIONS)
    assert len(found) == 4
