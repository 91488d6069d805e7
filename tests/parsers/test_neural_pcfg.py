"""The Neural PCFG: its network, its training, its trees; bad input."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import right_trees, sentences

import parsers
from parsers import NeuralPCFG, NeuralPCFGOptions
from parsers.pcfg import inside
from parsers.pcfg.grammar import GrammarTask
from parsers.pcfg.network import GrammarNetwork
from parsers.text_task import Text
from parsers.training import NonFiniteError, TrainingConfig
from treeavg.errors import ArgumentError, LeftOutWarning
from treeavg.metrics.scoring import score

WORDS = sentences(80)
OPTIONS: dict[str, Any] = {"nonterminals": 4, "preterminals": 6, "width": 16, "sentences": 8, "held_out": 0.1}
TRAINING = TrainingConfig(
    epochs=8, learning_rate=0.02, schedule="constant", warmup=0.0, weight_decay=0.0, betas=(0.75, 0.999), clip=3.0
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fit(
    folder: Path, words: list[list[str]] = WORDS, *, training: TrainingConfig = TRAINING, resume: bool = False,
    **options: Any,
) -> Any:  # fmt: skip
    given = NeuralPCFGOptions(**{**OPTIONS, **options})
    return NeuralPCFG.fit(words, folder=folder, options=given, training=training, device="cpu", resume=resume)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fit(tmp_path_factory.mktemp("neural") / "run")


def network(vocabulary: int = 9) -> GrammarNetwork:
    torch.manual_seed(0)
    return GrammarNetwork(3, 4, 8, vocabulary)


def test_distributions() -> None:
    """Roots, rules of each nonterminal and words of each preterminal sum to 1."""
    model = network()
    scores = model(torch.arange(9)[:, None])
    assert scores.rules.shape == (1, 3, 7, 7)
    for total in (scores.roots.exp().sum(-1), scores.rules.exp().sum((-2, -1)), scores.words.exp().sum((0, 1))):
        torch.testing.assert_close(total, torch.ones_like(total))
    strings = torch.cartesian_prod(torch.arange(9), torch.arange(9))
    scores = model(strings)
    total = inside.log_partition(*scores, torch.full((81,), 2)).exp().sum()
    expected = (scores.roots.exp() * scores.rules[:, :, 3:, 3:].exp().sum((-2, -1))).sum()
    torch.testing.assert_close(total, expected)


def test_parameters() -> None:
    """The published size has the published parameters, vectors drawn Xavier-uniform."""
    model = GrammarNetwork(30, 60, 256, 10_004)
    layer = 256 * 256 + 256
    expected = 91 * 256 + 10 * layer + (256 + 1) * (30 + 8100 + 10_004)
    assert sum(part.numel() for part in model.parameters()) == expected
    bound = (6 / (60 + 256)) ** 0.5
    assert bound * 0.99 < model.preterminals.abs().max() <= bound


def test_learns(trained: Any) -> None:
    """The loss of held-out sentences falls to little more than the number of words that may follow."""
    perplexity = [entry["scores"]["perplexity"] for entry in trained.result.history]
    held = [-entry["scores"]["score"] for entry in trained.result.history]
    assert min(held) < 0.7 * held[0]
    assert min(perplexity) < 5
    new = sentences(30, seed=9)
    found = trained.parse(new, device="cpu")
    assert found.tokens is not None
    assert found[3].tokens == new[3]


def test_span_scores(trained: Any) -> None:
    """Posterior probabilities: n - 1 spans are expected, the sentence is one; mbr maximises their sum."""
    new = [*sentences(6, seed=4), ["the", "dog"], ["the"], []]
    found = trained.span_scores(new, device="cpu")
    for own, words in zip(found, new, strict=True):
        assert own.shape == (len(words) + 1, len(words) + 1)
        assert own.sum() == pytest.approx(max(len(words) - 1, 0), abs=1e-4)
        assert len(words) < 2 or own[0, len(words)] == pytest.approx(1, abs=1e-5)

    def total(decode: str, row: int) -> float:
        spans = trained.parse(new[:6], device="cpu", decode=decode)[row].spans
        return float(sum(found[row][span] for span in spans))

    assert all(total("mbr", row) >= total("viterbi", row) - 1e-5 for row in range(6))


def test_saved(trained: Any, tmp_path: Path) -> None:
    """A saved teacher parses as before, also when it is loaded by its kind; batches do not matter."""
    new = [*sentences(10, seed=3), ["unseen"] * 5, ["the", "dog"], ["the"], []]
    trained.save(tmp_path / "model")
    again = NeuralPCFG.load(tmp_path / "model")
    assert again.options == trained.options
    for decode in ("viterbi", "mbr"):
        before = trained.parse(new, device="cpu", decode=decode)
        after = again.parse(new, device="cpu", decode=decode, batch_tokens=1)
        assert [tree.spans for tree in before] == [tree.spans for tree in after]
    assert before.lengths.tolist() == [len(own) for own in new]
    assert isinstance(parsers.load(tmp_path / "model"), NeuralPCFG)


def test_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after two epochs and resumed, a training ends with the same weights."""
    short = TrainingConfig(**{**vars(TRAINING), "epochs": 3})
    whole = fit(tmp_path / "whole", training=short)
    original, count = GrammarTask.evaluate, []

    def stopping(self: GrammarTask) -> Any:
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(GrammarTask, "evaluate", stopping)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "parts", training=short)
    parts = fit(tmp_path / "parts", training=short, resume=True)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_precision(tmp_path: Path) -> None:
    """A grammar is trained in full precision, also where mixed precision is asked for."""
    found = []
    for precision in ("float32", "bfloat16"):
        short = TrainingConfig(**{**vars(TRAINING), "epochs": 1, "precision": precision})
        found.append(fit(tmp_path / precision, training=short))
    for one, other in zip(found[0].model.parameters(), found[1].model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_curriculum_and_batches() -> None:
    """Each epoch takes in a length more; batches hold few sentences, each sentence once."""
    words = [["a"] * n for n in range(2, 12)] * 3
    options = NeuralPCFGOptions(first_longest=6, longest=8, sentences=2, held_out=0)
    task = GrammarTask(network(), NeuralPCFG._reader(words, options), _text(words, options), options)
    for number, longest in ((1, 6), (2, 7), (3, 8), (9, 8)):
        batches = task.epoch(number)
        assert max(map(len, batches)) <= 2
        lengths = sorted(len(words[index]) for batch in batches for index in batch)
        assert lengths == sorted(len(own) for own in words if len(own) <= longest)


def _text(words: list[list[str]], options: NeuralPCFGOptions) -> Text:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOutWarning)
        return Text.of(words, options, 0)


def test_judged_by_trees(tmp_path: Path) -> None:
    """With true trees, their F1 chooses the epoch."""
    gold = right_trees(WORDS[:20])
    parser = NeuralPCFG.fit(
        WORDS, folder=tmp_path / "run", options=NeuralPCFGOptions(**OPTIONS), training=TRAINING, gold=gold, device="cpu"
    )
    found = parser.parse(WORDS[:20], device="cpu")
    assert score(gold, found).value == pytest.approx(parser.result.best_score)


def test_unknown_words_only(tmp_path: Path) -> None:
    """A text in which every word is rare trains and parses; so does a corpus smaller than a batch."""
    words = [[f"{chr(97 + row)}{chr(97 + at)}" for at in range(4)] for row in range(3)]
    parser = fit(tmp_path / "run", words, training=TrainingConfig(epochs=2), at_least=2, held_out=0)
    assert len(parser.reader.vocabulary) == 4
    assert len(parser.parse(words, device="cpu")[0].spans) == 3
    assert len(parser.parse([["other"] * 40], device="cpu")[0].spans) == 39


def test_long_sentences(trained: Any, tmp_path: Path) -> None:
    """Sentences longer than any of the training are parsed; in training they are left out, and it is said."""
    words = ["the", "dog", "sees"] * 20
    for decode in ("viterbi", "mbr"):
        assert len(trained.parse([words], device="cpu", decode=decode)[0].spans) == 59
    with pytest.warns(LeftOutWarning, match="1 of 81"):
        fit(tmp_path / "run", [*WORDS, words], training=TrainingConfig(epochs=1))


def test_diverging(tmp_path: Path) -> None:
    """A loss that is no number stops the training."""
    with pytest.raises(NonFiniteError, match="finite"):
        fit(tmp_path / "run", training=TrainingConfig(epochs=3, learning_rate=1e30, warmup=0.0, clip=0.0))


def test_messages(trained: Any) -> None:
    """Unknown decoders, and Viterbi for rules of low rank."""
    with pytest.raises(ArgumentError) as caught:
        trained.parse([["a"] * 3], decode="mbrr", device="cpu")
    assert str(caught.value) == "decode: expected one of 'viterbi', 'mbr', got 'mbrr'. Did you mean 'mbr'?"
    with pytest.raises(ArgumentError) as caught:
        NeuralPCFGOptions(rank=8)
    message = "decode: expected 'mbr' with a rank, got 'viterbi'. Pass decode='mbr', or rank=0."
    assert str(caught.value) == message
    with pytest.raises(ArgumentError, match="nonterminals: expected a whole number, at least 1, got 0"):
        NeuralPCFGOptions(nonterminals=0)


def test_presets() -> None:
    """The paper's numbers; both presets use Adam as published."""
    options, training = NeuralPCFGOptions.presets()["paper"]
    assert (options.nonterminals, options.preterminals, options.width, options.sentences) == (30, 60, 256, 4)
    assert (options.longest, options.first_longest, training.epochs, training.learning_rate) == (40, 30, 10, 1e-3)
    for _, training in NeuralPCFGOptions.presets().values():
        assert training.betas == (0.75, 0.999)
        assert (training.clip, training.weight_decay) == (3.0, 0.0)
    assert NeuralPCFGOptions.presets()["paper"][1].schedule == "constant"


def test_low_rank(tmp_path: Path) -> None:
    """A TN-PCFG learns as well, its rules are distributions, and it has no Viterbi trees."""
    parser = fit(tmp_path / "run", rank=6, nonterminals=8, decode="mbr")
    scores = parser.model(torch.arange(8)[:, None])
    total = scores.factors.to_left.sum(), scores.factors.left_words.sum()
    assert scores.factors.top.sum().item() == pytest.approx(1, abs=1e-5)
    assert sum(part.item() for part in total) > 0
    held = [-entry["scores"]["score"] for entry in parser.result.history]
    assert min(held) < 0.7 * held[0]
    new = sentences(5, seed=3)
    parser.save(tmp_path / "model")
    again = parsers.load(tmp_path / "model").parse(new, device="cpu")
    assert [tree.spans for tree in again] == [tree.spans for tree in parser.parse(new, device="cpu")]
    with pytest.raises(ArgumentError, match="decode: expected 'mbr'"):
        parser.parse(new, device="cpu", decode="viterbi")
