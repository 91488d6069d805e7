"""The student of constituency trees: it learns, saves, parses; bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import ENCODER, bert, left_trees, right_trees, sentences

import parsers.base
from parsers.nn.encoders import EncoderConfig
from parsers.span_parser import SpanParser
from parsers.span_task import START_FIRST, Lesson, SpanOptions, SpanTask
from parsers.training import NonFiniteError, TrainingConfig, train
from parsers.tree_data import TreeData, bank_of, trees_of
from treeavg.averaging.average import average
from treeavg.averaging.hits import hit_counts
from treeavg.dependency import DependencyTreebank
from treeavg.distill.tree_losses import KINDS
from treeavg.errors import AlignmentError, ArgumentError
from treeavg.metrics.scoring import score
from treeavg.strings import StringColumn
from treeavg.treebank import Treebank

WORDS = sentences(60)
RIGHT, LEFT = right_trees(WORDS), left_trees(WORDS)
TEACHERS = [RIGHT, RIGHT, LEFT]
TRAINING = TrainingConfig(epochs=15, learning_rate=0.02, seed=1)


def fit(folder: Path, teachers: Any = TEACHERS, **options: Any) -> SpanParser:
    given = {"encoder": ENCODER, "training": TRAINING, "held_out": 0.1, "size": 24, "device": "cpu"}
    return SpanParser.fit(teachers, folder=folder, **{**given, **options})


@pytest.mark.parametrize("distribution", ["crf", "split"])
@pytest.mark.parametrize("loss", sorted(KINDS))
def test_every_loss_learns(loss: str, distribution: str, tmp_path: Path) -> None:
    """From two good teachers and a bad one, the student finds the good one's trees on new sentences."""
    if loss == "span" and distribution == "split":
        pytest.skip("needs a score for each span")
    parser = fit(tmp_path / "run", loss=loss, distribution=distribution)
    new = sentences(30, seed=9)
    found = parser.parse(new)
    assert found.tokens is not None
    assert found[3].tokens == new[3]
    least = 70 if loss in ("engine", "tvd-student", "rkl", "span") else 90
    assert score(right_trees(new), found).value > least


def test_losses_that_need_a_start(tmp_path: Path) -> None:
    """Losses that see what the student visits have an epoch of kl first, unless it is said otherwise."""
    training = TrainingConfig(epochs=2)
    starts = {None: 1, 0: 0}
    weights = {}
    for given, expected in starts.items():
        parser = fit(tmp_path / f"run-{given}", loss="js", start_epochs=given, training=training)
        assert parser.options.start_epochs == expected
        weights[given] = parser.model.scorer.weight
    assert not torch.equal(weights[None], weights[0])
    assert fit(tmp_path / "kl", training=training).options.start_epochs == 0
    task = SpanTask.new(TreeData.of(TEACHERS), SpanOptions(loss="js", start_epochs=2), ENCODER, 0, None)
    assert [task.epoch(number)[0].loss for number in (1, 2, 3)] == ["kl", "kl", "js"]
    assert set(START_FIRST) < set(KINDS)
    with pytest.raises(ArgumentError, match=r"^start_epochs: expected 0 for the loss 'hard', which needs no start"):
        fit(tmp_path / "other", loss="hard", start_epochs=1)
    with pytest.raises(ArgumentError, match=r"^start_epochs: expected at least 0, got -1\."):
        fit(tmp_path / "other", start_epochs=-1)


def test_every_encoder_learns(tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    for kind in ("transformer", "pretrained"):
        options: dict[str, Any] = {"pretrained": folder, "layers": 0} if kind == "pretrained" else {}
        training = replace(TRAINING, encoder_learning_rate=3e-3)
        parser = fit(tmp_path / kind, encoder=replace(ENCODER, kind=kind, **options), training=training)
        new = sentences(30, seed=9)
        assert score(right_trees(new), parser.parse(new)).value > 85, kind


def test_save_and_load(tmp_path: Path) -> None:
    """The loaded parser gives the same trees and scores, for both kinds of encoders, without the pretrained folder."""
    folder = bert(tmp_path / "bert")
    for name, encoder in {
        "a": ENCODER,
        "b": replace(ENCODER, kind="pretrained", pretrained=folder, words=0, characters=0),
    }.items():
        parser = fit(tmp_path / f"run-{name}", encoder=encoder, training=TrainingConfig(epochs=1))
        if name == "b":
            for path in (tmp_path / "bert").iterdir():
                path.unlink()
        parser.save(tmp_path / name)
        again = parsers.base.load(tmp_path / name)
        assert isinstance(again, SpanParser)
        assert again.options == parser.options
        assert again.encoder == parser.encoder
        batch = parser.reader.batch(WORDS[:5])
        with torch.no_grad():
            assert torch.equal(again.model(again.reader.batch(WORDS[:5])), parser.model.eval()(batch))
        assert np.array_equal(again.parse(WORDS).starts, parser.parse(WORDS).starts)


def test_parse_shapes_of_input(tmp_path: Path) -> None:
    """Empty, short, long sentences, unseen characters; the order and the batches do not matter."""
    parser = fit(tmp_path / "run", training=TrainingConfig(epochs=2))
    words = [[], ["the"], ["ж", "😀"], ["the", "dog"] * 100, ["the", "cat", "sees"], ["\u200b", "dog", "dog"]]
    found = parser.parse(words)
    assert found.lengths.tolist() == [0, 1, 2, 200, 3, 3]
    assert found.is_binary
    assert np.array_equal(parser.parse(words, batch_tokens=1).starts, found.starts)
    assert parser.parse(words[::-1])[2].constituents == found[3].constituents
    assert len(parser.parse([])) == 0
    bank = parser.parse(found)
    assert bank[4].tokens == ["the", "cat", "sees"]


def test_hit_counts_do_as_teachers_do(tmp_path: Path) -> None:
    first = fit(tmp_path / "a", training=TrainingConfig(epochs=2))
    second = fit(tmp_path / "b", hit_counts(TEACHERS), sentences=WORDS, training=TrainingConfig(epochs=2))
    for name, part in first.model.state_dict().items():
        assert torch.equal(part, second.model.state_dict()[name]), name
    with pytest.raises(
        ArgumentError, match=r"^loss: expected one of hit counts, got 'union', which needs each teacher"
    ):
        fit(tmp_path / "c", hit_counts(TEACHERS), sentences=WORDS, loss="union")
    with pytest.raises(ArgumentError, match=r"^weights: expected none with hit counts, got some\."):
        fit(tmp_path / "c", hit_counts(TEACHERS), sentences=WORDS, weights=[1, 2, 1])


def test_accumulation_does_not_depend_on_the_split(tmp_path: Path) -> None:
    """The gradient of a step is that of its sentences, however they are cut into batches."""
    data = TreeData.of(TEACHERS)
    task = SpanTask.new(data, SpanOptions(size=8, held_out=0.0), ENCODER, 0, None)
    whole = np.arange(12)

    def lesson(sentences: np.ndarray[Any, Any]) -> Lesson:
        return Lesson(sentences, "kl")

    task.model.eval()

    def gradient(parts: list[np.ndarray[Any, Any]]) -> torch.Tensor:
        task.model.zero_grad()
        items = sum(task.items(lesson(part)) for part in parts)
        for part in parts:
            (task.loss(lesson(part)) / items).backward()
        grad = task.model.scorer.weight.grad
        assert grad is not None
        return grad.clone()

    expected = gradient([whole])
    assert expected.abs().max() > 1e-4
    assert torch.allclose(gradient([whole[:1], whole[1:5], whole[5:]]), expected, atol=1e-7)


def test_gold_chooses_the_weights(tmp_path: Path) -> None:
    new = sentences(20, seed=5)
    parser = fit(tmp_path / "run", gold=right_trees(new))
    assert parser.result is not None
    assert parser.result.best_score == pytest.approx(score(right_trees(new), parser.parse(new)).value)


def test_tags(tmp_path: Path) -> None:
    """A parser of tags reads them in training and in parsing, and says so where there are none."""
    tags = [["D" if word == "the" else "N" for word in own] for own in WORDS]
    tagged = RIGHT.replace(tags=StringColumn.of(tag for own in tags for tag in own))
    options = {"sentences": tagged, "tags": True, "encoder": replace(ENCODER, words=0, characters=4, tags=8)}
    parser = fit(tmp_path / "run", **options)
    parser.save(tmp_path / "student")
    again = parsers.base.load(tmp_path / "student")
    found = again.parse(tagged)
    assert isinstance(found, Treebank)
    assert score(RIGHT, found).value > 90
    assert found.tags is not None
    with pytest.raises(ArgumentError, match=r"^sentences: expected a treebank with tags, which the parser was trained"):
        again.parse(WORDS)
    with pytest.raises(ArgumentError, match=r"^sentences: expected a treebank with tags, since tags=True, got none\."):
        fit(tmp_path / "other", tags=True)
    with pytest.raises(ArgumentError, match=r"^gold: expected trees with tags, which the parser is to read"):
        fit(tmp_path / "other", gold=RIGHT, **options)


def test_decoders(tmp_path: Path) -> None:
    parser = fit(tmp_path / "run", training=TrainingConfig(epochs=3))
    for decode in ("mbr", "argmax", "span"):
        assert parser.parse(WORDS[:5], decode=decode).is_binary
    with pytest.raises(ArgumentError, match=r"^decode: expected one of 'mbr', 'argmax', 'span', got 'viterbi'"):
        parser.parse(WORDS, decode="viterbi")
    split = fit(tmp_path / "split", distribution="split", training=TrainingConfig(epochs=1))
    with pytest.raises(ArgumentError, match=r"^decode: expected 'mbr' or 'argmax' for a parser of splits, got 'span'"):
        split.parse(WORDS, decode="span")


def test_words_come_from_the_teacher_that_tells_most_apart() -> None:
    upper = [[word.upper() if index % 2 else word for word in own] for index, own in enumerate(WORDS)]
    data = TreeData.of([LEFT, RIGHT.replace(tokens=StringColumn.of(word for own in upper for word in own))])
    assert data.words == upper
    bare = RIGHT.replace(tokens=None)
    with pytest.raises(ArgumentError, match=r"^sentences: expected the words, since the teachers have none\."):
        TreeData.of([bare])
    with pytest.raises(AlignmentError, match=r"^sentences: expected 60 as the teachers have, got 59\."):
        TreeData.of([bare], sentences=WORDS[:-1])
    with pytest.raises(AlignmentError, match=r"^sentences\[0\]: expected \d words as the teachers have, got 1\."):
        TreeData.of([bare], sentences=[["a"], *WORDS[1:]])


def test_data_matches_the_library() -> None:
    """The average is treeavg's, tensors come and go."""
    data = TreeData.of(TEACHERS)
    expected = average(TEACHERS)
    assert np.array_equal(data.average.starts, expected.starts)
    chosen = np.array([3, 0, 7])
    trees = trees_of(data.average, chosen)
    again = bank_of(trees, data.lengths[chosen].astype(np.int64))
    assert [again[row].constituents for row in range(3)] == [expected[int(index)].constituents for index in chosen]
    chart = data.targets(chosen, "hits").hits
    assert chart is not None
    for row, index in enumerate(chosen.tolist()):
        counts = hit_counts(TEACHERS)[index]
        found = {(start, end): chart[row, start, end].item() for start, end in chart[row].nonzero().tolist()}
        assert found == counts


def test_a_sentence_that_is_skipped_is_not_trained_on(tmp_path: Path) -> None:
    short = Treebank.from_constituents([["the", "dog"], *WORDS[1:]], [[(0, 2)], *map(_spans, list(RIGHT)[1:])])
    data = TreeData.of([RIGHT, short], on_error="skip")
    assert data.lengths[0] == 0
    assert 0 not in SpanTask.new(data, SpanOptions(held_out=0.0), ENCODER, 0, None).chosen
    with pytest.raises(AlignmentError):
        fit(tmp_path / "run", [RIGHT, short])


def _spans(tree: Any) -> list[tuple[int, int]]:
    return [blocks[0] for blocks in tree.constituents]


def test_nan_stops_with_the_batch_named(tmp_path: Path) -> None:
    task = SpanTask.new(TreeData.of(TEACHERS), SpanOptions(size=8), ENCODER, 0, None)
    with torch.no_grad():
        task.model.scorer.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 1.* sentences \d+(, \d+)* \(from 0\)"):
        train(task, TRAINING, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mse"}, "loss: expected one of 'kl', 'rkl', 'js', "),
        (
            {"loss": "span", "distribution": "split"},
            "loss: expected one over splits for distribution='split', got 'span'",
        ),
        ({"distribution": "pcfg"}, "distribution: expected one of 'crf', 'split', got 'pcfg'"),
        ({"temperature": 0}, "temperature: expected a finite number above 0, got 0.0. Try 1."),
        ({"held_out": 1.0}, "held_out: expected 0 to below 1, got 1.0. Try 0.05."),
        ({"temperature": math.inf}, "temperature: expected a finite number above 0, got inf. Try 1."),
        (
            {"loss": "js", "student_weight": 1},
            "student_weight: expected a number between 0 and 1, the ends left",
        ),
        ({"size": 0}, "size: expected at least 1, got 0. Try 200."),
        ({"loss": "union", "weights": [1, 0, 1]}, "weights: expected equal ones for the loss 'union', to which all"),
        ({"batch_tokens": 0}, "batch_tokens: expected at least 1, got 0. Try 1500."),
        (
            {"gold": RIGHT.replace(tokens=None)},
            "gold: expected constituency trees with words, got no words.",
        ),
        (
            {"gold": DependencyTreebank.from_heads([[0]])},
            "gold: expected constituency trees with words, got depend",
        ),
        ({"device": "tpu"}, "device: expected one of 'auto', 'cpu', 'cuda', 'cuda:1', got 'tpu'"),
        ({"teachers": [RIGHT[[0]]]}, "teachers: expected sentences of three words or more to train on, got"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as caught:
        fit(tmp_path / "run", **options)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_encoder_config_is_part_of_the_run(tmp_path: Path) -> None:
    """--resume with another encoder, loss or text is refused by name."""
    short = TrainingConfig(epochs=1)
    fit(tmp_path / "run", training=short)
    for options, name in (
        ({"encoder": EncoderConfig(size=8)}, "encoder"),
        ({"loss": "hard"}, "loss"),
        ({"teachers": [RIGHT, LEFT]}, "data"),
    ):
        with pytest.raises(ArgumentError, match=rf"{name}.* before, .* now"):
            fit(tmp_path / "run", resume=True, training=short, **options)  # type: ignore[arg-type]


def test_span_scores_are_probabilities(tmp_path: Path) -> None:
    """Sums of every tree's spans; the same as the hit counts, whatever the batch; nothing for an empty sentence."""
    parser = fit(tmp_path / "run")
    words = [*WORDS, []]
    charts = parser.span_scores(words)
    assert [chart.shape for chart in charts] == [(len(own) + 1, len(own) + 1) for own in words]
    for own, chart, alone in zip(words, charts, parser.span_scores(words, batch_tokens=1), strict=True):
        assert chart.dtype == np.float32
        assert chart.sum() == pytest.approx(2 * len(own) - 1 if len(own) > 1 else 0, abs=1e-4)
        assert np.allclose(chart, alone, atol=1e-5)
    hits = parser.hit_counts(words, least=0.001)
    for row, chart in enumerate(charts):
        for (start, end), share in hits[row].items():
            assert share == pytest.approx(chart[start, end], abs=1e-4)


def test_expected_hits(tmp_path: Path) -> None:
    """Probabilities of spans as hit counts: a student's student agrees with it."""
    parser = fit(tmp_path / "run")
    words = [*WORDS[:20], [], ["the"], ["the", "dog"]]
    hits = parser.hit_counts(words, weight=3)
    assert hits.lengths.tolist() == [len(own) for own in words]
    assert hits.weight == 3
    batch = parser.reader.batch([WORDS[0]])
    with torch.no_grad():
        visits = parser.model.student(parser.model(batch), batch.lengths).visits[0]
    n = len(WORDS[0])
    for (start, end), count in hits[0].items():
        assert count == pytest.approx(3 * float(visits[start, end]), abs=1e-4)
    kept = sum(float(visits[start, end]) for start in range(n) for end in range(start + 2, n + 1) if end - start < n)
    assert sum(hits[0].values()) == pytest.approx(3 * kept, abs=0.3)
    second = fit(tmp_path / "second", parser.hit_counts(WORDS, weight=3), sentences=WORDS)
    new = sentences(30, seed=9)
    assert score(parser.parse(new), second.parse(new)).value > 90
    with pytest.raises(ArgumentError, match=r"^weight: expected a number above 0, got 0\."):
        parser.hit_counts(words, weight=0)
    with pytest.raises(ArgumentError, match=r"^least: expected 0 to 1, got 2\."):
        parser.hit_counts(words, least=2)
