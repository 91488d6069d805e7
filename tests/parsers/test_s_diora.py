"""S-DIORA: beams against all trees and DIORA, what may be seen of a word; training from a DIORA, saving, parsing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import says
from test_diora import OPTIONS as DIORA_OPTIONS
from test_diora import batch, network, twin_compose
from test_diora import fit as fit_diora
from tiny import bert, sentences
from torch import Tensor

import parsers.base
from parsers.diora import beams
from parsers.diora.composition import unit
from parsers.diora.diora import DIORA, MOST_AT_ONCE
from parsers.diora.network import Network
from parsers.diora.options import SDIORAOptions
from parsers.diora.s_diora import SDIORA
from parsers.diora.s_task import SDIORATask, charts, hinge
from parsers.diora.words import TypeReader, TypeVectors, Words
from parsers.nn.charts import descend
from parsers.text_task import Text
from parsers.training import NonFiniteError, TrainingConfig
from treeavg.errors import ArgumentError, FileError

WORDS = sentences(60)
SHARED = {name: value for name, value in vars(DIORA_OPTIONS).items() if name != "composition"}
OPTIONS = SDIORAOptions(**SHARED, start_epochs=1)
TRAINING = TrainingConfig(epochs=3, learning_rate=5e-3)

Tree = tuple[Any, ...]


def fit(folder: Path, words: Any = WORDS, options: SDIORAOptions = OPTIONS, **rest: Any) -> SDIORA:
    return SDIORA.fit(words, folder=folder, options=options, **{"training": TRAINING, "device": "cpu", **rest})


def leaves(model: Network, words: Words) -> Tensor:
    return model.words(words).vectors


def catalan(n: int) -> int:
    return comb(2 * n, n) // (n + 1)


# ---------------------------------------------------------------------- against all trees


@cache
def all_trees(i: int, j: int) -> list[Tree]:
    """All binary trees of a span, as nested pairs with the span first."""
    if j - i == 1:
        return [((i, j),)]
    return [((i, j), left, right) for k in range(i + 1, j) for left in all_trees(i, k) for right in all_trees(k, j)]


def spans_of(tree: Tree) -> list[tuple[int, int]]:
    """Spans of two words or more, in pre-order."""
    return [tree[0], *spans_of(tree[1]), *spans_of(tree[2])] if len(tree) > 1 else []


def twin_score(model: Any, words: Tensor, tree: Tree) -> tuple[Tensor, Tensor]:
    """The vector of a tree and the sum of its nodes' scores."""
    if len(tree) == 1:
        return words[tree[0][0]], torch.zeros((), dtype=torch.float64)
    (left, score), (right, other) = (twin_score(model, words, child) for child in tree[1:])
    vector = unit(twin_compose(model.inner, (left, None), (right, None))[0])
    return vector, left @ model.inner.bilinear @ right + score + other


@pytest.mark.parametrize("composition", ["mlp-shared", "mlp"])
def test_large_beams_are_exact(composition: str) -> None:
    """With an entry for every tree, all trees are found, with their vectors, in the order of their scores."""
    model, words = network(composition), batch([5, 4, 5])
    levels = beams.inside(model.inner, leaves(model, words), 14)
    roots = beams.root_scores(levels, words.lengths)
    for row, n in enumerate(words.lengths.tolist()):
        own = leaves(model, words)[row]
        scored = [(*twin_score(model, own, tree), tree) for tree in all_trees(0, n)]
        scored.sort(key=lambda item: -item[1].item())
        assert len(scored) == catalan(n - 1)
        for entry, (vector, score, tree) in enumerate(scored):
            assert roots[row, entry].item() == pytest.approx(score.item(), abs=1e-10)
            assert torch.allclose(levels[n - 1].vectors[row, 0, entry], vector, atol=1e-10)
            splits, spans = beams.read_tree(levels, words.lengths, entry)
            found = descend(splits, words.lengths)[row, : n - 1].tolist()
            assert [tuple(span) for span in found] == spans_of(tree)
            assert {tuple(span) for span in spans[row].nonzero().tolist()} == {
                *spans_of(tree), *((i, i + 1) for i in range(n)),
            }  # fmt: skip
        assert (roots[row, len(scored) :] == beams.IMPOSSIBLE).all()


def test_small_beams_do_not_exceed() -> None:
    """Fewer entries find no better tree, and each entry's score is that of its tree."""
    model, words = network(seed=3), batch([6, 6, 5], seed=1)
    exact = beams.root_scores(beams.inside(model.inner, leaves(model, words), 42), words.lengths)[:, 0]
    for count in (1, 2, 3, 5, 14):
        levels = beams.inside(model.inner, leaves(model, words), count)
        roots = beams.root_scores(levels, words.lengths)
        assert (roots[:, 0] <= exact + 1e-10).all()
        assert (roots[:, :-1] >= roots[:, 1:]).all()
        for entry in range(min(count, 2)):
            splits, _ = beams.read_tree(levels, words.lengths, entry)
            for row, spans in enumerate(descend(splits, words.lengths).tolist()):
                n = int(words.lengths[row])
                wanted = {tuple(span) for span in spans[: n - 1]}
                tree = next(own for own in all_trees(0, n) if set(spans_of(own)) == wanted)
                score = twin_score(model, leaves(model, words)[row], tree)[1]
                assert roots[row, entry].item() == pytest.approx(score.item(), abs=1e-10)


def test_one_entry_is_diora_with_the_best_split() -> None:
    """K = 1: the inside pass with its softmax replaced by the best split, and the mean score by the best."""
    model, words = network(), batch([7])
    levels = beams.inside(model.inner, leaves(model, words), 1)
    vector = {(i, i + 1): leaves(model, words)[0, i] for i in range(7)}
    score = {(i, i + 1): torch.zeros((), dtype=torch.float64) for i in range(7)}
    for width in range(2, 8):
        for i in range(8 - width):
            j = i + width
            own = [
                vector[i, k] @ model.inner.bilinear @ vector[k, j] + score[i, k] + score[k, j] for k in range(i + 1, j)
            ]
            best = int(torch.stack(own).argmax())
            pair = vector[i, i + 1 + best], vector[i + 1 + best, j]
            vector[i, j] = unit(twin_compose(model.inner, (pair[0], None), (pair[1], None))[0])
            score[i, j] = own[best]
            assert torch.allclose(levels[width - 1].vectors[0, i, 0], vector[i, j], atol=1e-10)
            assert levels[width - 1].scores[0, i, 0].item() == pytest.approx(score[i, j].item())
            assert levels[width - 1].origin[0, i, 0].tolist() == [best, 0, 0]


def surroundings(i: int, j: int, n: int) -> list[list[tuple[Tree, bool]]]:
    """All chains of siblings, from the root down, that leave a span of n words; and whether they stand to the left."""
    if (i, j) == (0, n):
        return [[]]
    left = [[*chain, (tree, True)] for a in range(i) for chain in surroundings(a, j, n) for tree in all_trees(a, i)]
    right = [
        [*chain, (tree, False)]
        for b in range(j + 1, n + 1)
        for chain in surroundings(i, b, n)
        for tree in all_trees(j, b)
    ]
    return left + right


@pytest.mark.parametrize("composition", ["mlp-shared", "mlp"])
def test_large_beams_outside_are_exact(composition: str) -> None:
    """All that can be outside a span is found, in a padded batch, in the order of the scores."""
    model, words = network(composition), batch([5, 3, 4, 1])
    _, outer = charts(model, words, 42)
    own: Any = model.outer
    for row, n in enumerate(words.lengths.tolist()):
        own_leaves = leaves(model, words)[row]
        for i in range(n):
            for j in range(i + 1, n + 1):
                expected = []
                for chain in surroundings(i, j, n):
                    vector, score = model.root_cell()[0], torch.zeros((), dtype=torch.float64)
                    for tree, _ in chain:
                        sibling, below = twin_score(model, own_leaves, tree)
                        score = score + below + sibling @ own.bilinear @ vector
                        vector = unit(twin_compose(own, (sibling, None), (vector, None))[0])
                    expected.append((score.item(), vector))
                expected.sort(key=lambda item: -item[0])
                assert len(expected) == catalan(n - (j - i))
                cell = outer[j - i - 1]
                assert (cell.scores[row, i] > -1e7).sum() == len(expected)
                for entry, (score, vector) in enumerate(expected):
                    assert cell.scores[row, i, entry].item() == pytest.approx(score, abs=1e-9)
                    assert torch.allclose(cell.vectors[row, i, entry], vector, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_entries_that_count(count: int) -> None:
    """A cell has as many entries as there are trees, inside and outside, at most K."""
    model, words = network(), batch([6, 4])
    inner, outer = charts(model, words, count)
    for width in range(1, 7):
        assert ((inner[width - 1].scores > -1e7).sum(-1) == min(count, catalan(width - 1))).all()
        for row, n in enumerate((6, 4)):
            cells = outer[width - 1].scores[row, : max(n - width + 1, 0)]
            assert ((cells > -1e7).sum(-1) == min(count, catalan(max(n - width, 0)))).all()
        norms = torch.cat([inner[width - 1].vectors, outer[width - 1].vectors]).norm(dim=-1)
        assert (((norms - 1).abs() < 1e-9) | (norms == 0)).all()


def test_a_word_is_not_seen_from_outside_it() -> None:
    """No entry of a word's outside cell depends on the word, and the entries together depend on all others."""
    model, words = network(), batch([4])
    inputs = torch.randn(1, 4, 12, dtype=torch.float64)

    def outside(inputs: Tensor) -> Tensor:
        inner = beams.inside(model.inner, model.inner.leaf(inputs, model.leaf)[0], 5)
        return beams.outside(model.outer, inner, words.lengths, model.root_cell()[0])[0].vectors[0]

    jacobian: Any = torch.autograd.functional.jacobian(outside, inputs)
    seen = jacobian[:, :, :, 0].abs().amax((2, 4))  # word, entry, input
    for entry in range(5):
        assert (seen[:, entry].diagonal() == 0).all()
        assert (seen[:, entry][~torch.eye(4, dtype=torch.bool)] > 0).all()


def test_padding_changes_nothing() -> None:
    model, words = network(), batch([4, 9])
    alone = Words(words.ids[:1, :4], words.lengths[:1], words.pieces)
    (inner, outer), (inner_alone, outer_alone) = charts(model, words, 3), charts(model, alone, 3)
    for width in range(4):
        cells = 4 - width
        assert torch.allclose(inner[width].scores[0, :cells], inner_alone[width].scores[0])
        assert torch.allclose(outer[width].scores[0, :cells], outer_alone[width].scores[0])
        assert torch.allclose(outer[width].vectors[0, :cells, 0], outer_alone[width].vectors[0, :, 0])


def test_ties_go_to_the_right_branching_tree() -> None:
    """Where all scores are equal, the first candidate wins: a one-word left child."""
    model, words = network(), batch([5, 3])
    with torch.no_grad():
        model.inner.bilinear.zero_()
    levels = beams.inside(model.inner, leaves(model, words), 3)
    trees = descend(beams.read_tree(levels, words.lengths, 0)[0], words.lengths)
    assert trees.tolist() == [[[0, 5], [1, 5], [2, 5], [3, 5]], [[0, 3], [1, 3], [0, 0], [0, 0]]]


# ---------------------------------------------------------------------- loss


def test_hinge() -> None:
    scores = torch.tensor([[2.0, 1.4], [3.0, 1.5], [0.0, beams.IMPOSSIBLE]])
    assert torch.allclose(hinge(scores), torch.tensor([0.4, 0, 0]))
    assert hinge(scores[:, :1]).tolist() == [0, 0, 0]


def test_loss_is_both_parts() -> None:
    """Cross entropy over all known words from the best entry, and the hinge once a word."""
    reader = TypeReader.with_pieces(WORDS, 5, None)
    options = replace(OPTIONS, vocabulary=5, held_out=0.0)
    torch.manual_seed(1)
    model = Network(options, TypeVectors(reader, options.words))
    task = SDIORATask(model, reader, Text.of(WORDS, options, 0), options)
    chosen = np.array([0, 5, 9])
    loss = task.loss(chosen)
    expected = 0.0
    for index in chosen:
        words = reader.read([WORDS[index]])
        inner, outer = charts(model, words, 3)
        table = (model.vectors.table[4:] @ model.predict).detach()
        for place, number in enumerate(words.ids[0].tolist()):
            if number >= 4:
                expected -= float((outer[0].vectors[0, place, 0].detach() @ table.T).log_softmax(0)[number - 4])
        best, second = inner[-1].scores[0, 0, :2].detach().tolist()
        expected += max(0.0, 1 + second - best) * len(WORDS[index])
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert all(weights.grad is not None for weights in model.parameters())


# ---------------------------------------------------------------------- training, saving, parsing


def test_start_epochs(tmp_path: Path) -> None:
    """The first epochs train a DIORA, the same one as DIORA's own training; then single trees."""
    training = TrainingConfig(epochs=2, schedule="constant", warmup=0.0, learning_rate=5e-3)
    started = fit(tmp_path / "a", options=replace(OPTIONS, start_epochs=2), training=training)
    diora = fit_diora(tmp_path / "b", training=training)
    assert [own["loss"] for own in started.result.history] == [own["loss"] for own in diora.result.history]  # type: ignore[union-attr]
    own = fit(tmp_path / "c", options=replace(OPTIONS, start_epochs=0), training=training)
    assert own.result is not None
    assert started.result is not None
    assert own.result.history[0]["loss"] != started.result.history[0]["loss"]
    reader = TypeReader.with_pieces(WORDS, 100, None)
    task = SDIORATask(network(), reader, Text.of(WORDS, OPTIONS, 0), OPTIONS)
    assert [task.epoch(number)[0].start for number in (1, 2)] == [True, False]
    lesson = task.epoch(1)[0]
    assert task.names(lesson).endswith("(from 0)")
    assert task.items(lesson) == sum(len(WORDS[index]) for index in lesson.sentences)


@pytest.mark.parametrize("vectors", [False, True])
def test_start_from_a_saved_diora(vectors: bool, tmp_path: Path) -> None:
    """Its network, words and vectors are taken; the saved S-DIORA needs neither folder."""
    given = replace(DIORA_OPTIONS, size=10, composition="mlp", vectors=bert(tmp_path / "bert") if vectors else None)
    fit_diora(tmp_path / "run", options=given).save(tmp_path / "start")
    options = SDIORAOptions(start=str(tmp_path / "start"), longest=10, negatives=5)
    parser = fit(tmp_path / "own", sentences(30, seed=4), options)
    assert (parser.options.size, parser.options.composition, parser.options.start_epochs) == (10, "mlp", 0)
    assert parser.reader.vocabulary.symbols == TypeReader.with_pieces(WORDS, 100, None).vocabulary.symbols or vectors
    assert fit(tmp_path / "more", options=replace(options, start_epochs=1)).options.start_epochs == 1
    parser.save(tmp_path / "saved")
    for path in [*(tmp_path / "start").iterdir(), *(tmp_path / "bert").glob("*")]:
        path.unlink()
    again = parsers.base.load(tmp_path / "saved")
    assert isinstance(again, SDIORA)
    new = [*WORDS, ["the", "zebra", "sees", "ж"]]
    assert np.array_equal(again.parse(new).starts, parser.parse(new).starts)
    for one, two in zip(again.span_scores(new), parser.span_scores(new), strict=True):
        assert np.array_equal(one, two)


def test_bad_starts(tmp_path: Path) -> None:
    def start(folder: Path, **options: Any) -> None:
        fit(tmp_path / "run", options=SDIORAOptions(start=str(folder), **options))

    with says(FileError, "nowhere: expected a parser's folder, got: No such file or directory. Check the path."):
        start(tmp_path / "nowhere")
    training = TrainingConfig(epochs=1)
    lstm = fit_diora(tmp_path / "a", options=replace(DIORA_OPTIONS, composition="treelstm"), training=training)
    lstm.save(tmp_path / "lstm")
    with says(ArgumentError, "start: ", "lstm: expected a DIORA with an MLP, got one with a TreeLSTM"):
        start(tmp_path / "lstm")
    fit(tmp_path / "b", training=training).save(tmp_path / "s-diora")
    with says(ArgumentError, "s-diora: expected a DIORA, got a parser of the kind 's-diora'."):
        start(tmp_path / "s-diora")
    fit_diora(tmp_path / "c", training=training).save(tmp_path / "diora")
    with says(ArgumentError, "size: expected 12 as in ", "diora, got 77. Leave it out, or start anew."):
        start(tmp_path / "diora", size=77)
    assert not (tmp_path / "run").exists()


def test_resumed_run_is_the_same(tmp_path: Path) -> None:
    """A run that is stopped in its second kind of epochs and resumed ends with the same weights, bit by bit."""
    training = TrainingConfig(epochs=3, checkpoint_steps=2, checkpoint_minutes=0.0)
    whole = fit(tmp_path / "whole", training=training)

    class Stop(Exception):
        pass

    def stopping(task: SDIORATask, epoch: int) -> Any:
        if epoch == 3:
            raise Stop
        return original(task, epoch)

    original = SDIORATask.epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SDIORATask, "epoch", stopping)
        with pytest.raises(Stop):
            fit(tmp_path / "part", training=training)
    resumed = fit(tmp_path / "part", training=training, resume=True)
    for name, part in whole.model.state_dict().items():
        assert torch.equal(part, resumed.model.state_dict()[name]), name


def test_parse_shapes_of_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty, short, long sentences, unknown words only; the order, the batches and the parts do not matter."""
    parser = fit(tmp_path / "run")
    words = [[], ["the"], ["ж", "😀"], ["the", "dog"] * 30, ["the", "cat", "sees"], ["\u200b", "ж", "1984"]]
    found = parser.parse(words)
    assert found.lengths.tolist() == [0, 1, 2, 60, 3, 3]
    assert found.is_binary
    assert np.array_equal(parser.parse(words, batch_tokens=1).starts, found.starts)
    assert len(parser.parse([])) == 0
    scores = parser.span_scores(words)
    assert [own.shape for own in scores] == [(1, 1), (2, 2), (3, 3), (61, 61), (4, 4), (4, 4)]
    for own, n in zip(scores[2:], (2, 60, 3, 3), strict=True):
        assert own[0, n] == pytest.approx(1)
        assert own.sum() == pytest.approx(2 * n - 1, abs=1e-3)
    monkeypatch.setitem(MOST_AT_ONCE, "cpu", 1)
    assert np.array_equal(parser.parse(words).starts, found.starts)


def test_span_scores_weigh_the_trees(tmp_path: Path) -> None:
    """A span has the softmax of the scores of the kept trees that have it."""
    parser = fit(tmp_path / "run")
    own = ["the", "cat", "sees"]
    with torch.no_grad():
        words = parser.reader.read([own])
        law = beams.root_scores(parser._inside(words), words.lengths)[0].softmax(0).tolist()
    best = parser.parse([own])[0].constituents
    scores = parser.span_scores([own])[0]
    two = (1, 3) if ((1, 3),) in best else (0, 2)
    assert scores[two] == pytest.approx(law[0], abs=1e-6)
    assert scores[0, 2] + scores[1, 3] == pytest.approx(1)
    assert law[2] == 0


def test_presets() -> None:
    small, paper = (SDIORAOptions.presets()[name] for name in ("small", "paper"))
    assert (paper[0].size, paper[0].beams, paper[0].longest, paper[1].epochs) == (400, 3, 30, 5)
    assert 0 < small[0].start_epochs < small[1].epochs
    with pytest.raises(ArgumentError, match=r"^composition: expected one of 'mlp-shared', 'mlp', got 'treelstm'"):
        SDIORAOptions(composition="treelstm")
    with pytest.raises(ArgumentError, match=r"^start_epochs: expected a whole number, at least 0, got -1\."):
        SDIORAOptions(start_epochs=-1)
    with pytest.raises(ArgumentError, match=r"^options: expected SDIORAOptions, got DIORAOptions\."):
        SDIORA.fit(WORDS, folder="nowhere", options=DIORA_OPTIONS)


def test_divergence_stops(tmp_path: Path) -> None:
    """A loss that is not a number stops the run, and names the sentences."""

    def broken(cls: Any, options: SDIORAOptions, reader: TypeReader) -> Network:
        model = Network(options, TypeVectors(reader, options.words))
        with torch.no_grad():
            model.predict.fill_(float("nan"))
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SDIORA, "_build", classmethod(broken))
        with pytest.raises(NonFiniteError, match=r"epoch 1, step 1.* sentences \d+(, \d+)* \(from 0\)"):
            fit(tmp_path / "run", options=replace(OPTIONS, start_epochs=0))


def test_mixed_precision(tmp_path: Path) -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        options = replace(OPTIONS, start_epochs=0)
        parser = fit(tmp_path / precision, options=options, training=TrainingConfig(epochs=1, precision=precision))
        assert parser.result is not None
        losses.append(parser.result.history[0]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_kinds() -> None:
    assert (DIORA.kind, SDIORA.kind) == ("diora", "s-diora")
