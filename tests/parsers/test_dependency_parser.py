"""A student of dependency trees: it learns, parses, is saved and loaded, and refuses what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import treeavg
from parsers.base import load
from parsers.dependency_parser import DependencyParser
from parsers.dependency_task import LONGEST, MOST_CELLS, divided
from parsers.nn.encoders import EncoderConfig
from parsers.training import TrainingConfig
from treeavg import AlignmentError, ArgumentError, DependencyTreebank, LimitError, Treebank
from treeavg.alignment import Places
from treeavg.distill.dependency_crf import DependencyCRF
from treeavg.distill.dependency_losses import KINDS

SMALL = EncoderConfig(size=32, layers=1, words=32, characters=0, dropout=0.0, word_dropout=0.0)
WORDS = "oak ash elm fir yew fig bay box gum may nut sal".split()
SHORT = TrainingConfig(epochs=1, checkpoint_minutes=0)


def made(count: int, seed: int, *, projective: bool = True) -> DependencyTreebank:
    """Sentences of 2 to 8 of twelve words with random trees."""
    random = np.random.default_rng(seed)
    lengths = torch.from_numpy(random.integers(2, 9, count))
    flat = DependencyCRF(torch.zeros(count, 9, 9), lengths, projective=projective)
    trees = flat.sample(1, generator=torch.Generator().manual_seed(seed))[0]
    heads = [own[:n] for own, n in zip(trees.tolist(), lengths.tolist(), strict=True)]
    return DependencyTreebank.from_heads(heads, tokens=[[WORDS[random.integers(12)] for _ in own] for own in heads])


def fit(teachers: Any, folder: Path, **options: Any) -> DependencyParser:
    """Train with small defaults."""
    options = {"encoder": SMALL, "size": 16, "training": SHORT, "held_out": 0, "device": "cpu", **options}
    return DependencyParser.fit(teachers, folder=folder / "run", **options)


@pytest.mark.parametrize(("loss", "projective"), [*((loss, True) for loss in KINDS), ("rkl", False)])
def test_learns_by_heart(loss: str, projective: bool, tmp_path: Path) -> None:
    """Twenty sentences with arbitrary trees are learnt by every loss; both decoders find them."""
    bank = made(20, 3, projective=projective)
    soft = loss in ("kl", "rkl")  # these take longer
    training = TrainingConfig(
        epochs=45 if soft else 25, learning_rate=0.02, weight_decay=0.0, evaluate_every=15, checkpoint_minutes=0
    )
    options: dict[str, Any] = {"temperature": 0.5} if soft else {}
    parser = fit([bank], tmp_path, loss=loss, projective=projective, training=training, batch_tokens=30, **options)
    for decode in ("mbr", "argmax"):
        found = parser.parse(bank, device="cpu", decode=decode)
        assert np.mean(found.heads == bank.heads) >= 0.97
    assert parser.result is not None
    assert parser.result.best_score >= 97.0


def test_from_files_to_a_file(tmp_path: Path) -> None:
    """CoNLL-U files in, a CoNLL-U file out, by a parser that was saved: all but heads and labels is kept."""
    text = (
        "# sent_id = {name}\n1-2\tcannot\t_\t_\t_\t_\t_\t_\t_\t_\n1\tcan\tcan\tAUX\t_\t_\t{first}\taux\t_\t_\n"
        "2\tnot\tnot\tPART\t_\t_\t{second}\tadvmod\t_\t_\n3\tstop\tstop\tVERB\t_\t_\t{third}\troot\t_\t_\n\n"
    )
    paths = []
    for number, (first, second, third) in enumerate([(3, 3, 0), (3, 3, 0), (0, 1, 2)]):
        path = tmp_path / f"{number}.conllu"
        block = text.format(name="s", first=first, second=second, third=third)
        path.write_text(block * 4, encoding="utf-8")
        paths.append(path)
    teachers = [treeavg.read(path) for path in paths]
    training = TrainingConfig(epochs=30, learning_rate=0.02)
    parser = fit(teachers, tmp_path, training=training, held_out=0.25)
    assert parser.result is not None
    assert parser.result.best_score == 100.0
    parser.save(tmp_path / "student")
    loaded = load(tmp_path / "student")
    assert isinstance(loaded, DependencyParser)
    assert loaded.options == parser.options
    result = loaded.parse(treeavg.read(paths[2]), device="cpu")
    treeavg.write(result, tmp_path / "out.conllu")
    written = (tmp_path / "out.conllu").read_text(encoding="utf-8")
    expected = text.format(name="s", first=3, second=3, third=0)
    for label in ("aux", "advmod", "root"):
        expected = expected.replace(f"\t{label}\t", "\t_\t")
    assert written == expected * 4
    plain = loaded.parse([["can", "not", "stop"]], device="cpu")
    assert plain.tokens is not None
    assert (plain[0].heads, plain[0].tokens) == ([3, 3, 0], ["can", "not", "stop"])
    treeavg.write(plain, tmp_path / "plain.conllu")
    assert treeavg.read(tmp_path / "plain.conllu").same_trees(plain)
    document = json.loads((tmp_path / "student" / "parser.json").read_text(encoding="utf-8"))
    assert document["kind"] == "dependency"


def test_parsing(tmp_path: Path) -> None:
    """Empty sentences keep their place, unseen words and characters are read, results are trees whatever the batch."""
    bank = made(12, 5)
    characters = EncoderConfig(size=32, layers=1, words=16, characters=16)
    parser = fit([bank], tmp_path, encoder=characters)
    sentences = [["oak", "ash"], [], ["unseen"], ["\U0001f600", "ж", "elm"], [], ["fir"] * 30]
    found = parser.parse(sentences, device="cpu")
    assert found.lengths.tolist() == [2, 0, 1, 3, 0, 30]
    assert found.missing.tolist() == [1, 4]
    assert found[2].heads == [0]
    assert found[3].tokens == sentences[3]
    found[[0, 2, 3, 5]].validate()
    for decode in ("mbr", "argmax"):
        whole = parser.parse(bank, device="cpu", decode=decode)
        assert whole.same_trees(parser.parse(bank, device="cpu", decode=decode, batch_tokens=1))
    assert len(parser.parse([], device="cpu")) == 0
    constituents = Treebank.from_constituents([["oak", "ash"]], [[(0, 2)]])
    assert parser.parse(constituents, device="cpu")[0].tokens == ["oak", "ash"]
    with pytest.raises(ArgumentError, match=r"decode: expected one of 'mbr', 'argmax', got 'viterbi'\."):
        parser.parse(bank, decode="viterbi")


def test_long_sentences(tmp_path: Path) -> None:
    """Sums over trees have a limit in training; parsing has none, nor has the loss over single heads."""
    long = DependencyTreebank.from_heads([[0, *range(1, LONGEST + 1)], [0]], tokens=[["w"] * (LONGEST + 1), ["w"]])
    message = (
        rf"a\.conllu: sentence 1: expected at most {LONGEST} words for the loss 'kl', .* got {LONGEST + 1}\. Split the"
    )
    with pytest.raises(LimitError, match=message):
        fit([long], tmp_path, places=Places(("a.conllu",), files=True))
    parser = fit([long], tmp_path, loss="head")
    parser.parse(long, device="cpu").validate()
    parts = divided([np.arange(6)], np.array([400, 400, 400, 1, 1, 1]))
    assert [len(part) * 400**3 <= MOST_CELLS for part in parts] == [True] * len(parts)
    assert np.concatenate(parts).tolist() == list(range(6))


@pytest.mark.parametrize("encoder", ["transformer", "pretrained"])
def test_encoders(encoder: str, tmp_path: Path) -> None:
    """Other encoders; a saved parser holds all of a pretrained one and needs its folder no more."""
    config = EncoderConfig(kind="transformer", size=16, heads=2, layers=1, words=8, characters=8)
    if encoder == "pretrained":
        transformers = pytest.importorskip("transformers")
        letters = "abcdefghijklmnopqrstuvwxyz"
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[:6], *letters, *(f"##{own}" for own in letters)]
        home = tmp_path / "bert"
        home.mkdir()
        (home / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
        transformers.BertTokenizerFast(str(home / "vocab.txt")).save_pretrained(home)
        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        transformers.BertModel(transformers.BertConfig(vocab_size=len(pieces), **shape)).save_pretrained(home)
        config = EncoderConfig(kind="pretrained", pretrained=str(home), size=16, layers=0, words=0, characters=0)
    bank = made(8, 2)
    parser = fit([bank, bank], tmp_path, encoder=config)
    expected = parser.parse(bank, device="cpu")
    parser.save(tmp_path / "student")
    if encoder == "pretrained":
        (tmp_path / "bert").rename(tmp_path / "gone")
    assert load(tmp_path / "student").parse(bank, device="cpu").same_trees(expected)


def test_words_and_teachers(tmp_path: Path) -> None:
    """Words come from `sentences`, or from the first teacher that has some; missing sentences can be left out."""
    bank = made(10, 1)
    bare = bank.replace(tokens=None)
    first = fit([bare, bank], tmp_path / "a").parse(bank, device="cpu")
    again = fit([bare, bare], tmp_path / "b", sentences=bank).parse(bank, device="cpu")
    assert first.same_trees(again)
    gaps = DependencyTreebank.from_heads([[], *(view.heads for view in bank[1:])])
    with pytest.raises(AlignmentError, match=r"teachers\[1\]\[0\]"):
        fit([bank, gaps], tmp_path / "c")
    parser = fit([bank, gaps], tmp_path / "c", on_error="skip", weights=[1, 2])
    assert parser.result is not None
    with pytest.raises(ArgumentError, match=r"a: expected words, got only heads\. Pass sentences=, or CoNLL-U files\."):
        fit([bare], tmp_path / "d", places=Places(("a",)))
    with pytest.raises(
        AlignmentError, match=r"sentences: expected 10 as in teachers\[0\], got 9\. Pass the same ones\."
    ):
        fit([bare], tmp_path / "d", sentences=bank[:9])
    shifted = [list(view.tokens or ()) for view in bank]
    shifted[4].append("more")
    message = (
        rf"sentences\[4\]: expected {len(bank[4])} words as in teachers\[0\], got {len(bank[4]) + 1}\. Pass the same"
    )
    with pytest.raises(AlignmentError, match=message):
        fit([bare], tmp_path / "d", sentences=shifted)


def test_gold_and_resuming(tmp_path: Path) -> None:
    """True trees judge instead of the average; a finished run is taken up, another one's options are refused."""
    bank, gold = made(10, 1), made(4, 9)
    parser = fit([bank], tmp_path, gold=gold, training=TrainingConfig(epochs=2))
    assert parser.result is not None
    found = parser.parse(gold, device="cpu")
    assert parser.result.best_score == pytest.approx(100 * np.mean(found.heads == gold.heads))
    same = fit([bank], tmp_path, gold=gold, training=TrainingConfig(epochs=2), resume=True)
    for name, tensor in parser.model.state_dict().items():
        assert torch.equal(tensor, same.model.state_dict()[name])
    with pytest.raises(ArgumentError, match=r"loss"):
        fit([bank], tmp_path, gold=gold, training=TrainingConfig(epochs=2), resume=True, loss="rkl")


def test_refusals(tmp_path: Path) -> None:
    """Options that are unknown or mean nothing, crossing arcs for a projective student, other kinds of trees."""
    bank = made(10, 1)
    crossing = DependencyTreebank.from_heads([[0, 4, 1, 1]], tokens=[list("abcd")])
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ([bank], {"loss": "js"}, r"loss: expected one of 'head', 'kl', 'rkl', 'hard', 'union', got 'js'\."),
        ([bank], {"held_out": 1.0}, r"held_out: expected 0 to below 1, got 1\.0\. Try 0\.05\."),
        ([bank], {"size": 0}, r"size: expected at least 1, got 0\. Try 200\."),
        ([bank], {"batch_tokens": 0}, r"batch_tokens: expected at least 1, got 0\. Try 1000\."),
        ([bank], {"temperature": 0}, r"temperature: expected a finite number above 0, got 0\.0\. Try 1\."),
        (
            [bank],
            {"temperature": 2, "loss": "hard"},
            r"temperature: expected 1 for the loss 'hard', which has none, got",
        ),
        (
            [bank[:1]],
            {"held_out": 0.5},
            r"teachers: expected sentences to train on, got 1 of which 1 are held out\. Pass",
        ),
        ([crossing], {"loss": "union"}, r"teachers\[0\]\[0\]: expected a projective tree, got crossing arcs\."),
        (
            [Treebank.from_constituents([["a"]], [[]])],
            {},
            r"teachers\[0\]: expected dependency trees, got constituency",
        ),
        (
            [bank],
            {"gold": Treebank.from_constituents([["a"]], [[]])},
            r"gold: expected dependency trees with words, got",
        ),
        (
            [bank],
            {"gold": DependencyTreebank.from_heads([[0]])},
            r"gold: expected dependency trees with words, got no words\. Leave it out to judge",
        ),
        (
            [bank],
            {"gold": bank[:0]},
            r"gold: expected dependency trees with words, got no words\. Leave it out to judge",
        ),
    ]
    for teachers, options, message in cases:
        with pytest.raises(ArgumentError, match=message):
            fit(teachers, tmp_path, **options)
    assert not (tmp_path / "run").exists()
    fit([crossing], tmp_path, loss="union", projective=False)


def test_not_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is not a number stops the training and names the sentences."""
    from parsers.nn.arcs import ArcScores
    from parsers.training import NonFiniteError

    whole = ArcScores.forward

    def poisoned(self: ArcScores, batch: Any) -> Tensor:
        return whole(self, batch) * torch.nan

    monkeypatch.setattr(ArcScores, "forward", poisoned)
    for loss in KINDS:
        with pytest.raises(NonFiniteError, match=r"sentences 0, 1 \(from 0\)|sentences 1, 0 \(from 0\)"):
            fit([made(2, 1)], tmp_path / loss, loss=loss)
