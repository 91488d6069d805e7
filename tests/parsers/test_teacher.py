"""What every teacher shares: options, the text, parsing, saving, the choice of the epoch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from parsers import base
from parsers.nn.charts import best_trees, descend, lefts, rights
from parsers.nn.vocabulary import Vocabulary
from parsers.nn.words import WordReader
from parsers.options import TeacherOptions, option
from parsers.teacher import Teacher
from parsers.text_task import Text, TextTask
from parsers.training import NonFiniteError, TrainingConfig
from treeavg import ArgumentError, FormatError, LeftOutWarning, Treebank


@dataclass(frozen=True, kw_only=True)
class ToyOptions(TeacherOptions):
    """Options of a toy."""

    width: int = option(4, "width of its vectors", least=1, most=64)
    rate: float = option(0.5, "some rate", above=0, below=1)
    way: str = option("left", "some way", choices=("left", "right"))
    clever: bool = option(False, "some switch")
    name: str | None = option(None, "some name")


class ToyModel(nn.Module):
    """A unigram model, which prefers frequent words to be leaves at the left."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(0.01 * torch.randn(size))


class ToyTask(TextTask):
    """Trains it."""

    diverge = False

    def loss_of(self, ids: Tensor, lengths: Tensor) -> Tensor:
        logits: Any = self.model.logits
        loss = -(logits.log_softmax(0)[ids] * (ids > 0)).sum()
        return loss * (float("nan") if self.diverge and not self.model.training else 1.0)


class Toy(Teacher):
    """A teacher."""

    kind = "toy"
    options_class = ToyOptions

    @classmethod
    def _build(cls, options: Any, reader: Any) -> nn.Module:
        return ToyModel(len(reader.vocabulary))

    @classmethod
    def _task(cls, model: Any, reader: Any, text: Text, options: Any, training: TrainingConfig) -> TextTask:
        return ToyTask(model, reader, text, options)

    def _trees(self, sentences: list[list[str]]) -> Tensor:
        return best_trees(self._scores(sentences), torch.tensor([len(own) for own in sentences]))

    def _scores(self, sentences: list[list[str]]) -> Tensor:
        ids, _ = self.reader.batch(sentences)
        values = self.model.logits[nn.functional.pad(ids, (0, 1))]
        return values[:, :, None].expand(-1, -1, values.shape[1])  # a span's first word decides


class Dumb(Toy):
    """A teacher without scores of spans."""

    kind = "dumb"

    def _scores(self, sentences: list[list[str]]) -> Tensor:
        return Teacher._scores(self, sentences)


SENTENCES = [["the", "dog", "barks"], ["it", "rains"], ["the", "cat", "sat", "down"], ["yes"], []] * 4
TRAINING = TrainingConfig(epochs=3, learning_rate=0.1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return Toy.fit(SENTENCES, folder=tmp_path_factory.mktemp("toy") / "run", training=TRAINING, device="cpu")


def test_it_keeps_every_sentence(toy: Toy) -> None:
    bank = toy.parse(SENTENCES)
    assert bank.lengths.tolist() == [len(own) for own in SENTENCES]
    assert [list(view.tokens) for view in bank] == SENTENCES
    assert bank[1].spans == [(0, 2)]
    assert bank[3].spans == []
    assert bank.missing.tolist() == [4, 9, 14, 19]
    assert len(bank[2].spans) == 3
    assert toy.parse([]).lengths.tolist() == []
    assert len(toy.parse([[]])) == 1


def test_batches_do_not_matter(toy: Toy) -> None:
    whole = toy.parse(SENTENCES)
    assert whole == toy.parse(SENTENCES, batch_tokens=1)
    scores = toy.span_scores(SENTENCES)
    alone = [toy.span_scores([own])[0] for own in SENTENCES]
    assert all(np.allclose(one, other) for one, other in zip(scores, alone, strict=True))
    assert [len(own) for own in scores] == [len(own) + 1 for own in SENTENCES]
    assert not scores[3].any()
    assert not scores[4].any()


def test_it_saves_and_loads(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.save(tmp_path / "toy")
    monkeypatch.setitem(base.KINDS, "toy", f"{__name__}:Toy")
    loaded = base.load(tmp_path / "toy")
    assert isinstance(loaded, Toy)
    assert loaded.options == toy.options
    assert loaded.parse(SENTENCES) == toy.parse(SENTENCES)


def test_it_learns_and_the_best_epoch_is_kept(toy: Toy) -> None:
    assert toy.result is not None
    scores = [item["scores"]["score"] for item in toy.result.history]
    assert len(scores) == 3
    assert scores[-1] > scores[0]
    assert toy.result.best_score == max(scores)


def test_gold_chooses(tmp_path: Path) -> None:
    gold = Treebank.from_constituents([["a", "b", "c"]], [[(0, 3), (1, 3)]])
    toy = Toy.fit(SENTENCES, folder=tmp_path / "run", training=TRAINING, gold=gold, device="cpu")
    assert toy.result is not None
    assert toy.result.best_score in (0.0, 100.0)


def test_a_resumed_run_is_the_same(toy: Toy, tmp_path: Path) -> None:
    options = {"folder": tmp_path / "run", "training": TRAINING, "device": "cpu"}
    Toy.fit(SENTENCES, **options)
    again = Toy.fit(SENTENCES, resume=True, **options)
    assert torch.equal(again.model.logits, toy.model.logits)
    with pytest.raises(ArgumentError, match="data"):
        Toy.fit(SENTENCES[:6], resume=True, **options)


def test_long_sentences_are_left_out_aloud(tmp_path: Path) -> None:
    text = [["a", "b", "c"]] * 30 + [["a"] * 9]
    with pytest.warns(
        LeftOutWarning,
        match=r"^1 of 31 sentences have more than 5 words and are not trained on\. Pass longest=9 to incl",
    ):
        toy = Toy.fit(text, folder=tmp_path / "run", options=ToyOptions(longest=5), training=TRAINING, device="cpu")
    assert len(toy.parse(text)[30].spans) == 8  # parsed all the same


def test_nothing_to_train_on(tmp_path: Path) -> None:
    message = r"^text: expected sentences of 2 to 40 words to train on, got 0 of which 0 are held out\. Pass more text"
    for text in ([], [[]], [["yes"]]):
        with pytest.raises(ArgumentError, match=message):
            Toy.fit(text, folder=tmp_path / "run", device="cpu")
    with pytest.raises(ArgumentError, match="got 1 of which 1 are held out"):
        Toy.fit([["it", "rains"]], folder=tmp_path / "run", device="cpu")


def test_less_than_a_batch(tmp_path: Path) -> None:
    toy = Toy.fit([["it", "rains"]] * 2, folder=tmp_path / "run", training=TRAINING, device="cpu")
    assert toy.parse([["snow", "falls", "softly"]])[0].spans == [(0, 3), (1, 3)]  # unknown words only: ties


def test_a_diverged_held_out_loss_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTask, "diverge", True)
    with pytest.raises(
        NonFiniteError, match=r"held-out sentences: expected a finite loss, got nan\. Resume with a lower"
    ):
        Toy.fit(SENTENCES, folder=tmp_path / "run", training=TRAINING, device="cpu")


def test_wrong_arguments(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="options: expected ToyOptions, got TeacherOptions"):
        Toy.fit(SENTENCES, folder=tmp_path / "run", options=TeacherOptions())
    with pytest.raises(ArgumentError, match="gold: expected constituency trees with words, got no words"):
        Toy.fit(SENTENCES, folder=tmp_path / "run", gold=Treebank.from_constituents([[]], [[]]))
    dumb = Dumb(toy.model, toy.reader, toy.options)
    with pytest.raises(
        ArgumentError, match=r"span_scores: expected a parser that scores spans, got dumb\. Use its trees"
    ):
        dumb.span_scores([["a", "b"]])


def test_a_curriculum_below_the_shortest_sentence() -> None:
    options = ToyOptions(held_out=0)
    text = Text.of([["a"] * 6] * 3, options, 0)
    task = ToyTask(ToyModel(5), WordReader.of(text.words), text, options)
    task.limit = lambda epoch: epoch  # type: ignore[method-assign]
    assert sum(map(len, task.epoch(1))) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 0}, "width: expected a whole number, at least 1 and at most 64, got 0. Leave it out for 4."),
        ({"width": 65}, "width: expected a whole number, at least 1 and at most 64, got 65. Leave it out for 4."),
        ({"width": 2.0}, "width: expected a whole number, at least 1 and at most 64, got 2.0. Leave it out for 4."),
        ({"width": True}, "width: expected a whole number, at least 1 and at most 64, got True. Leave it out for 4."),
        ({"rate": 1}, "rate: expected a finite number, above 0 and below 1, got 1. Leave it out for 0.5."),
        ({"rate": float("nan")}, "rate: expected a finite number, above 0 and below 1, got nan. Leave it out for 0.5."),
        ({"way": "up"}, "way: expected one of 'left', 'right', got 'up'. Choose one of them."),
        ({"clever": 1}, "clever: expected True or False, got 1. Leave it out for False."),
        ({"name": ""}, "name: expected a name, got ''. Leave it out, or name one."),
        ({"held_out": 1}, "held_out: expected a finite number, at least 0 and below 1, got 1. Leave it out for 0.05."),
    ],
)
def test_options_out_of_range(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        ToyOptions(**given)
    assert str(caught.value) == message


def test_options_load_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, parsers.options; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_word_readers() -> None:
    reader = WordReader.of([["A", "b", "b", "3.5"]], most=2, numbers="digits")
    assert reader.vocabulary.symbols == ("b", "N.N")
    again = WordReader.from_json(reader.to_json())
    assert again.numbered(["b", "7.25", "a"]) == [4, 5, 1]
    kept = WordReader(Vocabulary([]), lowercase=False, numbers="keep")
    assert kept.normal("Q3") == "Q3"
    with pytest.raises(ArgumentError, match="numbers: expected one of 'token', 'digits', 'keep', got 'no'"):
        WordReader(Vocabulary([]), numbers="no")
    with pytest.raises(FormatError, match="text: expected the vocabulary of a saved parser, got KeyError"):
        WordReader.from_json({"words": []})


def test_children_and_descent() -> None:
    """Against loops over spans and splits, for sentences of several lengths."""
    generator = torch.Generator().manual_seed(3)
    for n in range(1, 7):
        levels = [torch.randint(99, (2, n - width + 1), generator=generator) for width in range(1, n + 1)]
        for width in range(2, n + 1):
            for start in range(n - width + 1):
                for q in range(width - 1):
                    assert lefts(levels, width)[1, start, q] == levels[q][1, start]
                    assert rights(levels, width)[1, start, q] == levels[width - q - 2][1, start + q + 1]
        splits = [level % (width - 1) for width, level in enumerate(levels[1:], 2)]
        lengths = torch.tensor([n, max(n - 2, 1)])
        trees = descend(splits, lengths)
        for row, length in enumerate(lengths.tolist()):
            expected = list(top_down(splits, row, 0, length))
            assert trees[row, : length - 1].tolist() == expected
            assert not trees[row, length - 1 :].any()


def top_down(splits: list[Tensor], row: int, start: int, end: int) -> Iterator[list[int]]:
    """The tree of one sentence, recursively."""
    if end - start > 1:
        yield [start, end]
        middle = start + 1 + int(splits[end - start - 2][row, start])
        yield from top_down(splits, row, start, middle)
        yield from top_down(splits, row, middle, end)


def test_no_warning_without_cause(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeftOutWarning)
        Toy.fit(SENTENCES, folder=tmp_path / "run", training=TrainingConfig(epochs=1), device="cpu")
