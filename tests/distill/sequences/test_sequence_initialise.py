"""Students made of their teachers' blocks: which weights, what stays frozen, what the models compute, refusals."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import nn

from treeavg.distill.sequences.layers.initialise import freeze_embeddings, student_from
from treeavg.errors import ArgumentError

LLAMA = dict(
    vocab_size=20, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32, pad_token_id=0
)


def tiny(name: str, layers: int = 4):
    torch.manual_seed(0)
    if name == "gpt2":
        return tiny_causal(layers=layers)
    if name == "t5":
        return tiny_seq2seq(layers=layers)
    if name == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(num_hidden_layers=layers, **LLAMA))
    if name == "qwen2":
        kinds = ["full_attention", "sliding_attention"] * (layers // 2)
        return transformers.Qwen2ForCausalLM(
            transformers.Qwen2Config(
                num_hidden_layers=layers, layer_types=kinds, sliding_window=2, use_sliding_window=True, **LLAMA
            )
        )
    if name == "gpt_neo":
        return transformers.GPTNeoForCausalLM(
            transformers.GPTNeoConfig(
                vocab_size=20, hidden_size=16, num_layers=layers, num_heads=2, window_size=2,
                attention_types=[[["global", "local"], layers // 2]], max_position_embeddings=32,
            )
        )  # fmt: skip
    config = transformers.BartConfig(
        vocab_size=20, d_model=16, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=32,
    )  # fmt: skip
    made = transformers.BartForCausalLM if name == "bart_decoder" else transformers.BartForConditionalGeneration
    return made(config)


#: The list of blocks in the decoder or the only stack, and in the encoder.
BLOCKS = {
    "gpt2": ("transformer.h", None),
    "llama": ("model.layers", None),
    "qwen2": ("model.layers", None),
    "gpt_neo": ("transformer.h", None),
    "bart_decoder": ("model.decoder.layers", None),
    "t5": ("decoder.block", "encoder.block"),
    "bart": ("model.decoder.layers", "model.encoder.layers"),
}
every = pytest.mark.parametrize("name", list(BLOCKS))


def logits(model: nn.Module, *, grad: bool = False) -> torch.Tensor:
    ids = torch.randint(2, 20, (2, 6), generator=torch.Generator().manual_seed(1))
    extra = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}  # type: ignore[union-attr]
    with torch.set_grad_enabled(grad):
        return model(input_ids=ids, use_cache=False, **extra).logits


@every
def test_all_blocks_give_the_teacher(name: str) -> None:
    """With every block kept the student computes what the teacher does, and shares no memory with it."""
    teacher = tiny(name)
    student = student_from(teacher, 4)
    assert student.training
    assert torch.equal(logits(student.eval()), logits(teacher.eval()))
    owned = {weight.data_ptr() for weight in teacher.state_dict().values()}
    assert not owned & {weight.data_ptr() for weight in student.state_dict().values()}


@every
def test_blocks_are_copied(name: str) -> None:
    """The weights are those of the chosen blocks, bit by bit; the rest is the teacher's; the teacher is untouched."""
    teacher = tiny(name)
    before = copy.deepcopy(teacher.state_dict())
    config = teacher.config.to_dict()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    decoder, encoder = BLOCKS[name]
    student = student_from(teacher, [1, 3], **({} if encoder is None else {"encoder_layers": 1}))
    assert torch.equal(torch.get_rng_state(), state)
    for key, weight in teacher.state_dict().items():
        assert torch.equal(weight, before[key])
    assert teacher.config.to_dict() == config
    assert all(weight.requires_grad for weight in teacher.parameters())
    for key, weight in student.state_dict().items():
        wanted = key
        for prefix, blocks in ((decoder, [1, 3]), (encoder, [0])):
            if prefix and key.startswith(prefix):
                place, rest = key[len(prefix) + 1 :].split(".", 1)
                wanted = f"{prefix}.{blocks[int(place)]}.{rest}"
        if "relative_attention_bias" in key:  # only the first block has these
            wanted = key
        assert torch.equal(weight, before[wanted]), key
    assert len(student.get_submodule(decoder)) == 2
    if encoder:
        assert len(student.get_submodule(encoder)) == 1


@every
def test_equals_a_teacher_with_blocks_cut_out(name: str) -> None:
    """The student computes what is left of the teacher when the other blocks are taken out by hand."""
    teacher = tiny(name).eval()
    keep = [0, 2, 3]
    student = student_from(teacher, keep).eval()
    decoder, _ = BLOCKS[name]
    parent, _, last = decoder.rpartition(".")
    blocks = teacher.get_submodule(decoder)
    setattr(teacher.get_submodule(parent), last, nn.ModuleList([blocks[i] for i in keep]))
    if name == "qwen2":  # its loop reads the kinds of layers from the config
        teacher.config.layer_types = [teacher.config.layer_types[i] for i in keep]
        teacher.config.num_hidden_layers = teacher.model.config.num_hidden_layers = 3
    assert torch.allclose(logits(student), logits(teacher), atol=1e-6)


@every
def test_generates_and_is_stored(name: str, tmp_path) -> None:
    """Caches know their layers, and what is saved is read back."""
    student = student_from(tiny(name), 2).eval()
    ids = torch.randint(2, 20, (2, 4), generator=torch.Generator().manual_seed(2))
    options = dict(max_new_tokens=6, do_sample=False, attention_mask=torch.ones_like(ids), pad_token_id=0)
    cached = student.generate(ids, use_cache=True, **options)
    assert torch.equal(cached, student.generate(ids, use_cache=False, **options))
    student.save_pretrained(tmp_path)
    again = type(student).from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again), logits(student))


@every
def test_frozen_embeddings(name: str) -> None:
    """Embeddings of tokens and positions get no gradient, relative positions in blocks do; unless asked otherwise."""
    student = student_from(tiny(name), 2)
    logits(student, grad=True).square().sum().backward()
    frozen = {key for key, weight in student.named_parameters() if not weight.requires_grad}
    words = {"wte", "wpe", "embed_tokens", "shared", "embed_positions"}
    assert frozen
    assert all(words & set(key.split(".")) for key in frozen)
    trained = dict(student.named_parameters()).keys() - frozen
    assert not any(words & set(key.split(".")) for key in trained)
    unused = {key for key in trained if name == "bart_decoder" and "encoder_attn" in key}  # there is no encoder
    assert all(dict(student.named_parameters())[key].grad is not None for key in trained - unused)
    if name == "t5":
        assert any("relative_attention_bias" in key for key in trained)
    free = student_from(tiny(name), 2, train_embeddings=True)
    assert all(weight.requires_grad for weight in free.parameters())


def test_lists_and_ties() -> None:
    """A number of blocks means the released list; tied heads stay tied; kinds of layers and settings move along."""
    teacher = tiny_causal(layers=6)
    student = student_from(teacher, 3)
    for place, block in enumerate((0, 2, 5)):
        ours, theirs = student.transformer.h[place].mlp.c_fc.weight, teacher.transformer.h[block].mlp.c_fc.weight
        assert torch.equal(ours, theirs)
    assert student.lm_head.weight is student.transformer.wte.weight
    assert student.config.n_layer == 3
    teacher.generation_config.max_new_tokens = 7
    assert student_from(teacher, 3).generation_config.max_new_tokens == 7
    assert student_from(tiny("qwen2"), [1, 3]).config.layer_types == ["sliding_attention"] * 2
    assert student_from(tiny("gpt_neo"), [1, 3]).config.attention_layers == ["local"] * 2
    untied = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(num_hidden_layers=2, tie_word_embeddings=False, **LLAMA)
    )
    made = student_from(untied, 1)
    assert made.lm_head.weight.requires_grad
    assert torch.equal(made.lm_head.weight, untied.lm_head.weight)


def test_precision() -> None:
    """Weights keep the teacher's precision, tables of rotations theirs."""
    teacher = tiny("llama").to(torch.bfloat16)
    teacher.model.rotary_emb.float()
    student = student_from(teacher, 2)
    assert {weight.dtype for weight in student.parameters()} == {torch.bfloat16}
    assert student.model.rotary_emb.inv_freq.dtype == torch.float32


def test_refusals() -> None:
    teacher = tiny_causal()
    with pytest.raises(ArgumentError, match=r"layers: expected a number of blocks from 1 to the teacher's 2, got 3\."):
        student_from(teacher, 3)
    with pytest.raises(ArgumentError, match=r"layers: expected blocks from 0 to 1, one at least, got \[0, 2\]\."):
        student_from(teacher, [0, 2])
    with pytest.raises(ArgumentError, match=r"layers: expected blocks from 0 to 1, one at least, got \[\]\. Blocks"):
        student_from(teacher, [])
    with pytest.raises(ArgumentError, match=r"encoder_layers: expected None for a model without an encoder, got 1\."):
        student_from(teacher, 1, encoder_layers=1)
    with pytest.raises(ArgumentError, match=r"encoder_layers: expected a number of blocks from 1 to .* 2, got 0\."):
        student_from(tiny_seq2seq(), 1, encoder_layers=0)
    with pytest.raises(ArgumentError, match=r"teacher: expected a model of Hugging Face, got Linear\. Unwrap it first"):
        student_from(nn.Linear(2, 2), 1)  # type: ignore[arg-type]
    teacher.config.n_layer = 3
    with pytest.raises(ArgumentError, match=r"teacher: expected one list of 3 blocks \(only\) in GPT2LMH.*\[\]"):
        student_from(teacher, 1)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks transformers
def test_refuses_adapters_and_mixed_blocks() -> None:
    """A wrapper of adapters is to be unwrapped; blocks of another kind than the place they would take are named."""
    import peft

    wrapped = peft.get_peft_model(tiny_causal(), peft.LoraConfig(target_modules=["c_fc"], fan_in_fan_out=True))
    with pytest.raises(ArgumentError, match=r"teacher: expected a model of Hugging Face, got PeftModel\w*\. .* merge"):
        student_from(wrapped, 1)
    teacher = tiny_causal()
    teacher.transformer.h[1].mlp.c_fc.weight = nn.Parameter(torch.zeros(16, 32))
    with pytest.raises(ArgumentError, match=r"teacher: expected blocks of one shape, got \(16, 32\) .*c_fc\.weight'"):
        student_from(teacher, [1])
    del teacher.transformer.h[1].mlp.c_fc.weight
    with pytest.raises(ArgumentError, match=r"teacher: expected weights '.*h\.1\.mlp\.c_fc\.weight' for .*, got none"):
        student_from(teacher, [0, 1])


def test_freeze_counts() -> None:
    """Shared embeddings count once."""
    model = tiny_seq2seq()
    assert freeze_embeddings(model) == 20 * 16
    assert model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.requires_grad
