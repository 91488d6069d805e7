"""DIORA: charts against loops, what may be seen of a word, decoding, the loss; training, saving, parsing, bad input."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import says
from tiny import bert, right_trees, sentences
from torch import Tensor
from torch.nn.functional import softmax

import parsers.base
from parsers.diora import chart
from parsers.diora.composition import Composition, unit
from parsers.diora.diora import DIORA, MOST_AT_ONCE
from parsers.diora.network import Network, contrast
from parsers.diora.options import COMPOSITIONS, DIORAOptions
from parsers.diora.task import DIORATask, frequencies
from parsers.diora.words import TypeReader, TypeVectors, Words
from parsers.nn.charts import descend
from parsers.text_task import Text
from parsers.training import NonFiniteError, TrainingConfig
from treeavg.distill.span_crf import SpanCRF
from treeavg.errors import ArgumentError, FileError, FormatError, LeftOutWarning
from treeavg.treebank import Treebank

WORDS = sentences(60)
OPTIONS = DIORAOptions(size=12, words=10, negatives=5, held_out=0.1, batch_tokens=60)
TRAINING = TrainingConfig(epochs=3, learning_rate=5e-3)


def network(composition: str = "mlp-shared", seed: int = 0, **options: Any) -> Network:
    """A network in double precision over the words of `WORDS`."""
    given = replace(OPTIONS, composition=composition, init=0.7, bias_init=0.7, **options)
    torch.manual_seed(seed)
    return Network(given, TypeVectors(TypeReader.with_pieces(WORDS, 100, None), given.words)).double()


def batch(lengths: list[int], seed: int = 0) -> Words:
    """Sentences of random words."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for row, n in enumerate(lengths):
        ids[row, :n] = torch.randint(4, 12, (n,), generator=generator)
    return Words(ids, torch.tensor(lengths), torch.zeros(0, 1, dtype=torch.int64))


def fit(folder: Path, words: Any = WORDS, options: DIORAOptions = OPTIONS, **rest: Any) -> DIORA:
    return DIORA.fit(words, folder=folder, options=options, **{"training": TRAINING, "device": "cpu", **rest})


# ---------------------------------------------------------------------- twins

Vector = tuple[Tensor, Tensor | None]


def twin_compose(own: Any, first: Vector, second: Vector) -> Vector:
    """Equations of sections 3.3 of the paper, for two vectors."""
    gates = first[0] @ own.first + second[0] @ own.second + own.bias
    if not hasattr(own, "forget"):
        return torch.relu(torch.relu(gates) @ own.weight + own.second_bias), None
    assert first[1] is not None
    assert second[1] is not None
    u, i, o, f_1, f_2 = gates.split(own.size)
    c = f_1.add(own.forget).sigmoid() * first[1] + f_2.add(own.forget).sigmoid() * second[1] + i.sigmoid() * u.tanh()
    return o.sigmoid() * c.tanh(), c


def twin_mix(own: Any, pairs: list[tuple[Vector, Vector]], base: list[Tensor]) -> tuple[Vector, Tensor, Tensor]:
    """A mixture over pairs with their scores: vector and memory, score, logits."""
    logits = torch.stack([a[0] @ own.bilinear @ b[0] + s for (a, b), s in zip(pairs, base, strict=True)])
    law = softmax(logits, 0)
    made = [twin_compose(own, a, b) for a, b in pairs]
    vector = unit(sum(p * h for p, (h, _) in zip(law, made, strict=True)))
    memory = unit(sum(p * c for p, (_, c) in zip(law, made, strict=True))) if made[0][1] is not None else None
    return (vector, memory), (law * logits).sum(), logits


def twin_charts(model: Network, words: Words, row: int) -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
    """Inside vectors, outside vectors and split scores of one sentence by span, in nested loops."""
    n = int(words.lengths[row])
    inputs = model.vectors(words)[row, :n] @ model.project
    inner, score, splits, outer, above = {}, {}, {}, {}, {}
    for i in range(n):
        inner[i, i + 1] = model.inner.leaf(inputs[i], model.leaf)
        score[i, i + 1] = torch.zeros((), dtype=torch.float64)
    for width in range(2, n + 1):
        for i in range(n - width + 1):
            j = i + width
            pairs = [(inner[i, k], inner[k, j]) for k in range(i + 1, j)]
            base = [score[i, k] + score[k, j] for k in range(i + 1, j)]
            inner[i, j], score[i, j], splits[i, j] = twin_mix(model.inner, pairs, base)
    outer[0, n], above[0, n] = model.root_cell(), torch.zeros((), dtype=torch.float64)
    for width in range(n - 1, 0, -1):
        for i in range(n - width + 1):
            j = i + width
            around = [((a, i), (a, j)) for a in range(i)] + [((j, b), (i, b)) for b in range(j + 1, n + 1)]
            pairs = [(inner[sibling], outer[parent]) for sibling, parent in around]
            base = [score[sibling] + above[parent] for sibling, parent in around]
            outer[i, j], above[i, j], _ = twin_mix(model.outer, pairs, base)
    return inner, outer, splits


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_charts_equal_loops(composition: str) -> None:
    """Inside, outside and split scores, in a padded batch with sentences of all lengths."""
    model, words = network(composition), batch([5, 1, 7, 2, 3, 7])
    inner = model.inside(words)
    outer = model.outside(inner, words.lengths)
    for row, n in enumerate(words.lengths.tolist()):
        expected = twin_charts(model, words, row)
        for (i, j), (vector, memory) in expected[0].items():
            cells = inner.levels[j - i - 1]
            assert torch.allclose(cells.vectors[row, i], vector, atol=1e-10)
            assert memory is None or (cells.memories is not None and torch.allclose(cells.memories[row, i], memory))
        for (i, j), (vector, _) in expected[1].items():
            assert torch.allclose(outer[j - i - 1].vectors[row, i], vector, atol=1e-10), (n, i, j)
        for (i, j), logits in expected[2].items():
            assert torch.allclose(inner.splits[j - i - 2][row, i], logits, atol=1e-10)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_a_word_is_not_seen_from_outside_it(composition: str) -> None:
    """The outside vector of a word depends on every other word, and on it not at all."""
    model, words = network(composition), batch([5])
    inputs = torch.randn(1, 5, OPTIONS.size, dtype=torch.float64)

    def outside(inputs: Tensor) -> Tensor:
        vectors, memories = model.inner.leaf(inputs, model.leaf)
        leaves = model.inner.cells(vectors, memories, torch.zeros(1, 5, dtype=torch.float64))
        levels = model.outside(chart.inside(model.inner, leaves), words.lengths)
        return levels[0].vectors[0]

    jacobian: Any = torch.autograd.functional.jacobian(outside, inputs)
    seen = jacobian[:, :, 0].abs().amax((1, 3))
    assert (seen.diagonal() == 0).all()
    assert (seen[~torch.eye(5, dtype=torch.bool)] > 0).all()


def test_two_words() -> None:
    """What is outside the first word is the second and the root."""
    model, words = network(), batch([2])
    inner = model.inside(words)
    outer = model.outside(inner, words.lengths)
    first, second = inner.levels[0].vectors[0]
    expected = unit(twin_compose(model.inner, (second, None), model.root_cell())[0])
    assert torch.allclose(outer[0].vectors[0, 0], expected)
    assert torch.allclose(inner.levels[1].scores[0, 0], first @ model.inner.bilinear @ second)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_norms(composition: str) -> None:
    """All vectors of both charts have norm 1, or 0."""
    model, words = network(composition), batch([6, 4])
    inner = model.inside(words)
    for level in [*inner.levels, *model.outside(inner, words.lengths)]:
        norm = level.vectors.norm(dim=-1)
        assert (((norm - 1).abs() < 1e-9) | (norm == 0)).all()


def test_padding_changes_nothing() -> None:
    """A sentence has the same splits, outside vectors and gradients alone and beside a longer one."""
    model, words = network(), batch([4, 9])
    alone = Words(words.ids[:1, :4], words.lengths[:1], words.pieces)
    results = []
    for given in (words, alone):
        model.zero_grad()
        inner = model.inside(given)
        outer = model.outside(inner, given.lengths)[0].vectors[0, :4]
        outer.square().mul(torch.arange(12.0)).sum().backward()
        assert model.leaf.grad is not None
        results.append((outer.detach(), inner.splits[2][0, 0].detach(), model.leaf.grad.clone()))
    for one, two in zip(*results, strict=True):
        assert torch.allclose(one, two, atol=1e-12)


def test_less_memory_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where levels are computed twice, loss and gradients stay."""
    gradients = []
    for most in (chart.MOST_KEPT, 0):
        monkeypatch.setattr(chart, "MOST_KEPT", most)
        model, words = network("mlp"), batch([6, 5])
        model.outside(model.inside(words), words.lengths)[0].vectors.square().mul(torch.arange(12.0)).sum().backward()
        gradients.append([weights.grad for weights in model.parameters() if weights.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 8
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, atol=1e-12)


# ---------------------------------------------------------------------- decoding, loss

DECODED = [
    (([5, 2], [5, 4.5], [1, 1.2, 0.9]), [(0, 4), (0, 2), (2, 4)]),
    (([0.1, 0.7], [0.2, 0.6], [0.9, 0.3, 0.8]), [(0, 4), (1, 4), (1, 3)]),
    (([0, 0], [0, 0], [0, 0, 0]), [(0, 4), (1, 4), (2, 4)]),
]


@pytest.mark.parametrize(("scores", "spans"), DECODED)
def test_descent_equals_cky(scores: Any, spans: list[tuple[int, int]]) -> None:
    """The best split of each span from the root down is the tree with no deficit, which CKY finds."""
    first, second, root = (torch.tensor(own, dtype=torch.float64) for own in scores)
    splits = [torch.zeros(1, 3, 1), torch.stack([first, second])[None], root[None, None]]
    found = descend([own.argmax(-1) for own in splits], torch.tensor([4]))
    assert [tuple(span) for span in found[0].tolist()] == spans
    best: dict[tuple[int, int], float] = {(i, i + 1): 1.0 for i in range(4)}
    for width in (2, 3, 4):
        for i in range(5 - width):
            own = splits[width - 2][0, i]
            deficits = (own - own.max()).tolist()
            best[i, i + width] = max(
                best[i, i + 1 + q] + best[i + 1 + q, i + width] + deficits[q] for q in range(width - 1)
            )
    assert best[0, 4] == 4


def test_loss_constants() -> None:
    """Where nothing is told apart, softmax is log(k + 1) and the margin k / (k + 1)."""
    logits = torch.zeros(5, 4)
    assert contrast(logits, "softmax").item() == pytest.approx(5 * math.log(4))
    assert contrast(logits, "margin").item() == pytest.approx(5 * 0.75)
    logits[:, 0] = 0.5
    assert contrast(logits, "margin").item() == pytest.approx(5 * 0.5 * 0.75)
    model = network()
    with torch.no_grad():
        model.predict.zero_()
    outer, true, negatives = torch.randn(3, 12).double(), torch.randn(3, 10).double(), torch.randn(7, 10).double()
    assert contrast(model.logits(outer, true, negatives), "softmax").item() == pytest.approx(3 * math.log(8))


def test_negatives() -> None:
    """They are distinct types of the text, frequent ones more often; new in training, the same in evaluation."""
    words = [["a"] * 60 + ["b"] * 30 + ["c"] * 5 + ["d", "e", "f"]] * 3
    options = replace(OPTIONS, vocabulary=5, negatives=2, longest=200)
    reader = TypeReader.with_pieces(words, options.vocabulary, None)
    text = Text.of(words, options, 0)
    weights = frequencies(reader, text)
    assert (weights > 0).tolist() == [False, True, False, False, *[True] * 5]  # one of six words is unknown
    assert weights[4].item() == pytest.approx((60 / 98) ** 0.75 + 0.01 / 6)
    task = DIORATask(network(), reader, text, options)
    torch.manual_seed(0)
    drawn = [task.negatives().tolist() for _ in range(300)]
    assert all(len(set(own)) == 2 for own in drawn)
    counts = [sum(number in own for own in drawn) for number in range(9)]
    assert counts[4] > counts[5] > counts[6] > counts[7] > 0
    task.model.eval()
    assert task.negatives().tolist() == task.negatives().tolist()
    assert len(DIORATask(network(), reader, text, replace(options, negatives=1000)).negatives()) == 6


# ---------------------------------------------------------------------- training, saving, parsing


@pytest.mark.parametrize("loss", ["softmax", "margin"])
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_every_kind_learns(composition: str, loss: str, tmp_path: Path) -> None:
    """The loss falls."""
    options = replace(OPTIONS, composition=composition, loss=loss)
    parser = fit(tmp_path / "run", options=options, training=TrainingConfig(epochs=10, learning_rate=0.02))
    assert parser.result is not None
    losses = [own["loss"] for own in parser.result.history]
    assert losses[-1] < 0.9 * losses[0]


def test_save_and_load(tmp_path: Path) -> None:
    """The loaded teacher gives the same trees and scores; with an encoder's vectors, without its folder."""
    folder = bert(tmp_path / "bert")
    for name, options in {"a": OPTIONS, "b": replace(OPTIONS, vectors=folder)}.items():
        parser = fit(tmp_path / f"run-{name}", options=options)
        if name == "b":
            for path in (tmp_path / "bert").iterdir():
                path.unlink()
        parser.save(tmp_path / name)
        again = parsers.base.load(tmp_path / name)
        assert isinstance(again, DIORA)
        assert again.options == parser.options
        new = [*sentences(20, seed=7), ["the", "zebra", "sees", "ж"]]
        assert np.array_equal(again.parse(new).starts, parser.parse(new).starts)
        for one, two in zip(again.span_scores(new), parser.span_scores(new), strict=True):
            assert np.array_equal(one, two)


def test_resumed_run_is_the_same(tmp_path: Path) -> None:
    """A run that is stopped and resumed ends with the same weights, bit by bit."""
    training = TrainingConfig(epochs=3, checkpoint_steps=2, checkpoint_minutes=0.0)
    whole = fit(tmp_path / "whole", training=training)

    class Stop(Exception):
        pass

    def stopping(task: DIORATask, epoch: int) -> Any:
        if epoch == 3:
            raise Stop
        return original(task, epoch)

    original = DIORATask.epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DIORATask, "epoch", stopping)
        with pytest.raises(Stop):
            fit(tmp_path / "part", training=training)
    resumed = fit(tmp_path / "part", training=training, resume=True)
    for name, part in whole.model.state_dict().items():
        assert torch.equal(part, resumed.model.state_dict()[name]), name


def test_parse_shapes_of_input(tmp_path: Path) -> None:
    """Empty, short, long sentences, unknown words only; the order and the batches do not matter."""
    for vectors in (None, bert(tmp_path / "bert")):
        parser = fit(tmp_path / f"run-{vectors is None}", options=replace(OPTIONS, vectors=vectors))
        words = [[], ["the"], ["ж", "😀"], ["the", "dog"] * 30, ["the", "cat", "sees"], ["\u200b", "ж", "1984"]]
        found = parser.parse(words)
        assert found.lengths.tolist() == [0, 1, 2, 60, 3, 3]
        assert found.is_binary
        assert np.array_equal(parser.parse(words, batch_tokens=1).starts, found.starts)
        assert parser.parse(words[::-1])[1].constituents == found[4].constituents
        assert len(parser.parse([])) == 0
        scores = parser.span_scores(words)
        assert [own.shape for own in scores] == [(1, 1), (2, 2), (3, 3), (61, 61), (4, 4), (4, 4)]
        for own, n in zip(scores[2:], (2, 60, 3, 3), strict=True):
            assert own[0, n] == pytest.approx(1)
            assert own.sum() == pytest.approx(2 * n - 1, abs=1e-3)


def test_little_memory_in_parsing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many sentences are parsed in parts, with the same result."""
    parser = fit(tmp_path / "run")
    trees, scores = parser.parse(WORDS), parser.span_scores(WORDS)
    monkeypatch.setitem(MOST_AT_ONCE, "cpu", 1)
    assert np.array_equal(parser.parse(WORDS).starts, trees.starts)
    for one, two in zip(parser.span_scores(WORDS), scores, strict=True):
        assert np.allclose(one, two, atol=1e-5)


def test_scores_and_trees_belong_together(tmp_path: Path) -> None:
    """Span scores are expected counts under the softmax of each span's splits."""
    parser = fit(tmp_path / "run", training=TrainingConfig(epochs=8, learning_rate=0.02))
    own = WORDS[0]
    n = len(own)
    words = parser.reader.read([own])
    with torch.no_grad():
        laws = [own.softmax(-1) for own in parser.model.inside(words).splits]
    visits = np.zeros((n + 1, n + 1))
    visits[0, n] = 1
    for width in range(n, 1, -1):
        for i in range(n - width + 1):
            for q, share in enumerate(laws[width - 2][0, i].tolist()):
                visits[i, i + 1 + q] += visits[i, i + width] * share
                visits[i + 1 + q, i + width] += visits[i, i + width] * share
    assert np.allclose(parser.span_scores([own])[0], visits, atol=1e-5)
    assert SpanCRF(torch.from_numpy(parser.span_scores([own])[0])[None], torch.tensor([n])).argmax().shape == (
        1,
        n - 1,
        2,
    )


def test_words_of_pieces(tmp_path: Path) -> None:
    """A type has the mean of its pieces' vectors, known or not, and the vectors stay as they are in training."""
    folder = bert(tmp_path / "bert")
    parser = fit(tmp_path / "run", options=replace(OPTIONS, vectors=folder))
    from parsers.nn.pretrained import load_backbone, load_tokenizer

    backbone: Any = load_backbone(folder)
    rows, tokenizer = backbone.get_input_embeddings().weight.detach(), load_tokenizer(folder)[0]
    rows = (rows - rows.mean(0)) / rows.std(0)
    found = parser.model.vectors(parser.reader.read([["The", "cat", "zebra"]]))[0]
    for vector, word in zip(found, ("the", "cat", "zebra"), strict=True):
        pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
        assert torch.allclose(vector, rows[pieces].mean(0), atol=2e-3)
    assert "vectors.table" not in parser.model.state_dict()
    padding = load_tokenizer(folder)[0]
    padding.backend_tokenizer.enable_padding(length=9)
    padding.save_pretrained(folder)
    reader = TypeReader.with_pieces(WORDS, 100, folder)
    assert reader.cut(["the", "cat"]).tolist() == parser.reader.cut(["the", "cat"]).tolist()


def test_presets() -> None:
    small, paper = (DIORAOptions.presets()[name] for name in ("small", "paper"))
    assert (paper[0].size, paper[0].negatives, paper[0].composition, paper[0].longest) == (400, 100, "mlp-shared", 20)
    assert (paper[1].learning_rate, paper[1].clip, paper[1].schedule) == (2e-3, 5.0, "constant")
    assert small[0].size < 400


def test_long_sentences_are_named(tmp_path: Path) -> None:
    with pytest.warns(LeftOutWarning, match=r"^\d+ of 60 sentences have more than 5 words"):
        fit(tmp_path / "run", options=replace(OPTIONS, longest=5), training=TrainingConfig(epochs=1))


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_mixed_precision(composition: str, tmp_path: Path) -> None:
    """Compositions in half precision change the loss a little."""
    losses = []
    for precision in ("float32", "bfloat16"):
        training = TrainingConfig(epochs=1, precision=precision)
        parser = fit(tmp_path / precision, options=replace(OPTIONS, composition=composition), training=training)
        assert parser.result is not None
        losses.append(parser.result.history[0]["loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_gold_chooses_the_epoch(tmp_path: Path) -> None:
    new = sentences(20, seed=5)
    parser = fit(tmp_path / "run", gold=right_trees(new))
    assert parser.result is not None
    assert 0 < parser.result.best_score <= 100


def test_divergence_stops(tmp_path: Path) -> None:
    """A loss that is not a number stops the run, and names the sentences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DIORA, "_build", classmethod(_broken))
        with pytest.raises(NonFiniteError, match=r"epoch 1, step 1.* sentences \d+(, \d+)* \(from 0\)"):
            fit(tmp_path / "run")


def _broken(cls: Any, options: DIORAOptions, reader: TypeReader) -> Network:
    model = Network(options, TypeVectors(reader, options.words))
    with torch.no_grad():
        model.leaf.fill_(float("nan"))
    return model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size: expected a whole number, at least 1, got 0. Leave it out for "),
        ({"composition": "lstm"}, "composition: expected one of 'mlp-shared', 'mlp', 'treelstm', got 'lstm'"),
        ({"loss": "hinge"}, "loss: expected one of 'softmax', 'margin', got 'hinge'"),
        ({"negatives": 0}, "negatives: expected a whole number, at least 1, got 0. Leave it out for "),
        ({"words": -1}, "words: expected a whole number, at least 1, got -1. Leave it out for "),
        ({"bias_init": -1}, "bias_init: expected a finite number, at least 0, got -1. Leave it out for 0.0."),
        ({"init": 0}, "init: expected a finite number, above 0, got 0. Leave it out for "),
        ({"vectors": ""}, "vectors: expected a name, got ''. Leave it out, or name one."),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        replace(OPTIONS, **options)
    assert str(caught.value).startswith(message)


def test_bad_vectors(tmp_path: Path) -> None:
    """No folder, no encoder, no tokenizer: said in a line, before a run is begun."""
    with says(FileError, "nowhere: expected the folder of a Hugging Face encoder, with a config.json, got none"):
        fit(tmp_path / "run", options=replace(OPTIONS, vectors=str(tmp_path / "nowhere")))
    folder = bert(tmp_path / "bert")
    (tmp_path / "bert" / "model.safetensors").unlink()
    with says(FileError, "bert: expected a Hugging Face encoder, got"):
        fit(tmp_path / "run", options=replace(OPTIONS, vectors=folder))
    assert not (tmp_path / "run").exists()


def test_damaged_folders(tmp_path: Path) -> None:
    """A saved teacher whose parts do not fit is refused."""
    parser = fit(tmp_path / "run", options=replace(OPTIONS, vectors=bert(tmp_path / "bert")))
    document, tensors = parser._state()
    with says(FormatError, "weights: expected vectors of word pieces where there is a tokenizer, and there only."):
        DIORA._from_state(document, {name: own for name, own in tensors.items() if name != "vectors.pieces"})
    with says(FormatError, "text: expected the tokenizer of a saved parser, got"):
        DIORA._from_state({**document, "text": {**document["text"], "tokenizer": "{"}}, tensors)
    with says(FormatError, "weights: expected weights for root, got none."):
        DIORA._from_state(document, {name: own for name, own in tensors.items() if name != "root"})


def test_words_only(tmp_path: Path) -> None:
    """Trees that come with the words are not looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bank = Treebank.from_constituents(WORDS, [[] for _ in WORDS])
    one, two = fit(tmp_path / "a", bank), fit(tmp_path / "b")
    assert torch.equal(one.model.leaf, two.model.leaf)


def test_the_base_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError):
        Composition(2, 1).combine(None, None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        Composition(2, 1).leaf(None, None)  # type: ignore[arg-type]
