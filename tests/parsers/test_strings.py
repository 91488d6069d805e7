"""Vectors of many strings: against one string at a time through the tokenizer's own way with words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import says
from tiny import bert, sentences
from torch import Tensor, nn

from parsers.nn import pretrained
from parsers.nn.strings import StringEncoder, StringReader, converted, fast_bfloat16, first_layers, pool, word_means
from treeavg.errors import ArgumentError, LimitError

#: With words of several subwords, words in which the tokenizer finds nothing, equal strings, an empty one, a mask.
STRINGS = [
    *sentences(30, seed=1),
    ["the", "[MASK]", "sees", "the", "dog"],
    ["dog"],
    [],
    ["Zebra", "\u200b", "the", " "],
    ["the", "dog"],
    ["the", "dog"],
]


def parts_of(folder: Path, layers: int = 3) -> tuple[nn.Module, StringReader]:
    path = bert(folder, layers=layers)
    return pretrained.load_backbone(path), StringReader(*pretrained.load_tokenizer(path))


def naive(backbone: nn.Module, tokenizer: Any, words: list[str], layer: int) -> tuple[Tensor, Tensor]:
    """Return the hidden vectors of one string and those of its words, by the tokenizer's own numbers of words."""
    known = [word if tokenizer.tokenize(word) else "[UNK]" for word in words]
    read = tokenizer(known, is_split_into_words=True, add_special_tokens=False)
    ids = torch.tensor([[tokenizer.cls_token_id, *read["input_ids"], tokenizer.sep_token_id]])
    with torch.no_grad():
        hidden = backbone(input_ids=ids, output_hidden_states=True).hidden_states[layer][0]
    owners = [None, *read.word_ids(), None]
    means = [hidden[[place for place, own in enumerate(owners) if own == word]].mean(0) for word in range(len(words))]
    return hidden, torch.stack(means) if means else hidden[:0]


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("at_once", [24, 4096])
def test_as_one_string_at_a_time(layer: int, at_once: int, tmp_path: Path) -> None:
    """Words and whole strings have the vectors that the tokenizer and the encoder give them alone."""
    backbone, reader = parts_of(tmp_path)
    expected = [naive(backbone, reader.tokenizer, words, layer) for words in STRINGS]
    options = {"layers": layer, "precision": "float32", "at_once": at_once}
    found = StringEncoder(backbone, reader, **options).words(STRINGS)  # type: ignore[arg-type]
    assert np.diff(found.offsets).tolist() == [len(words) for words in STRINGS]
    for place, (_, vectors) in enumerate(expected):
        torch.testing.assert_close(found[place], vectors, atol=1e-5, rtol=1e-4)
    for how, whole in (("first", lambda own: own[0]), ("mean", lambda own: own.mean(0))):
        pooled = StringEncoder(backbone, reader, pooling=how, **options).pooled(STRINGS)  # type: ignore[arg-type]
        assert pooled.dtype == torch.float32
        torch.testing.assert_close(pooled, torch.stack([whole(own) for own, _ in expected]), atol=1e-5, rtol=1e-4)
    assert backbone.config.num_hidden_layers == 3  # the given encoder is as it was


class Counting(nn.Module):
    """Counts the strings that pass."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.config, self.strings = inner, inner.config, 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        self.strings += len(input_ids)
        return self.inner(input_ids=input_ids, attention_mask=attention_mask)


def test_equal_strings_run_once_and_later_layers_not_at_all(tmp_path: Path) -> None:
    backbone, reader = parts_of(tmp_path)
    counting = Counting(backbone)
    encoder = StringEncoder(counting, reader, precision="float32")
    vectors = encoder.pooled(STRINGS * 3)
    assert counting.strings == len({tuple(words) for words in STRINGS})
    assert torch.equal(vectors[: len(STRINGS)], vectors[-len(STRINGS) :])
    backbone.encoder.layer[1].register_forward_hook(lambda *_: pytest.fail("layer 2 was computed"))  # type: ignore
    assert StringEncoder(backbone, reader, layers=1, precision="float32").pooled(STRINGS).shape == (len(STRINGS), 16)


def test_an_encoder_in_training_stays_in_it(tmp_path: Path) -> None:
    """No dropout in vectors; afterwards it is as it was; vectors may take part in what is differentiated."""
    backbone, reader = parts_of(tmp_path)
    expected = StringEncoder(backbone, reader, precision="float32").pooled(STRINGS)
    backbone.train()
    found = StringEncoder(backbone, reader, precision="float32").pooled(STRINGS)
    assert torch.equal(found, expected)
    assert all(part.training for part in backbone.modules())
    weight = torch.ones(16, requires_grad=True)
    (found * weight).sum().backward()
    assert weight.grad is not None


def test_nothing_to_run(tmp_path: Path) -> None:
    backbone, reader = parts_of(tmp_path)
    encoder = StringEncoder(backbone, reader)
    assert encoder.pooled([]).shape == (0, 16)
    assert encoder.words([]).vectors.shape == (0, 16)
    assert encoder.words([[], []]).offsets.tolist() == [0, 0, 0]


def test_precisions(tmp_path: Path) -> None:
    """Shorter numbers change vectors little; auto is one of them."""
    backbone, reader = parts_of(tmp_path)
    exact = StringEncoder(backbone, reader, precision="float32").pooled(STRINGS)
    for precision, most in (("bfloat16", 0.02), ("int8", 0.1), ("auto", 0.02)):
        near = StringEncoder(backbone, reader, precision=precision).pooled(STRINGS)
        assert near.dtype == torch.float32
        assert float((near - exact).norm() / exact.norm()) < most
    assert next(backbone.parameters()).dtype == torch.float32
    dtype = torch.bfloat16 if fast_bfloat16(torch.device("cpu")) else torch.float32
    assert next(converted(backbone, "auto").parameters()).dtype == dtype
    assert not fast_bfloat16(torch.device("meta"))


def test_limit(tmp_path: Path) -> None:
    """Nothing is cut off: the sentence is named, whichever string of it is too long."""
    backbone, reader = parts_of(tmp_path)
    fits, long = ["the"] * 38, ["the"] * 39
    assert StringEncoder(backbone, reader).words([fits]).vectors.shape == (38, 16)
    with says(LimitError, "sentence 7", "at most 40 subwords", "got 41 in 39 words", "split it"):
        StringEncoder(backbone, reader).pooled([fits, fits, long], ["sentence 6", "sentence 6", "sentence 7"])
    with says(LimitError, "strings[1]: expected at most 40"):
        reader.read([fits, long])
    assert len(StringReader(reader.tokenizer).read([long])[0]) == 39


def byte_level(folder: Path) -> Any:
    """Return a tokenizer of RoBERTa's kind."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    mask = AddedToken("<mask>", lstrip=True)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>", mask], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([" ".join(words) for words in sentences(50)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="<s>", pad_token="<pad>", sep_token="</s>", unk_token="<unk>",
        mask_token=mask,
    )  # fmt: skip


def test_words_of_byte_level_tokenizers(tmp_path: Path) -> None:
    """Every word has its space, the first too; the mask is one subword."""
    tokenizer = byte_level(tmp_path)
    reader = StringReader(tokenizer)
    for words in (["the", "dog", "sees"], ["dog"], ["the", "<mask>", "caf\u00e9", "the"], []):
        ids, mask = reader.batch(reader.read([words]))
        assert ids[0].tolist() == tokenizer(words, is_split_into_words=True)["input_ids"]
        assert mask.all()
    assert reader.read([["<mask>"]]) == [[[tokenizer.mask_token_id]]]


def test_padding(tmp_path: Path) -> None:
    tokenizer = byte_level(tmp_path)
    ids, mask = StringReader(tokenizer).batch([[[7, 8]], [[7], [8, 9]], []])
    assert ids.tolist() == [[0, 7, 8, 2, 1], [0, 7, 8, 9, 2], [0, 2, 1, 1, 1]]
    assert mask.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]


def test_options(tmp_path: Path) -> None:
    backbone, reader = parts_of(tmp_path)
    with says(ArgumentError, "pooling: expected one of 'mean', 'first', got 'max'"):
        StringEncoder(backbone, reader, pooling="max")
    with says(ArgumentError, "precision: expected one of 'auto', 'float32', 'bfloat16', 'int8', got 'half'"):
        StringEncoder(backbone, reader, precision="half")
    with says(ArgumentError, "layers: expected 0 to 3, the encoder's own, got 4", "Leave it out for all"):
        StringEncoder(backbone, reader, layers=4)
    with says(ArgumentError, "precision: expected one other than 'int8' on meta", "Pass 'bfloat16'"):
        converted(nn.Linear(2, 2, device="meta"), "int8")
    backbone.encoder.layer = nn.Sequential(*backbone.encoder.layer)
    with says(ArgumentError, "layers: expected an encoder with a list of 3 layers, got 'bert'. Leave it out"):
        first_layers(backbone, 1)
    assert first_layers(backbone, 3) is backbone


def test_pooling_by_hand() -> None:
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    assert pool(hidden, mask, "mean").tolist() == [[2, 3], [7, 8]]
    assert pool(hidden, mask, "first").tolist() == [[0, 1], [6, 7]]
    assert word_means(torch.arange(10.0).reshape(2, 5, 1), [[[1, 1], [1]], [[1]]]).tolist() == [[1.5], [3], [6]]
