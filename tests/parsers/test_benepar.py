"""Benepar both ways: any of its models as a teacher, and a student of its architecture."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nltk
import numpy as np
import pytest
import torch
from conftest import ROOT
from messages import says

pytest.importorskip("benepar", reason="benepar is not installed: pip install 'treeavg[benepar]'")
pytest.importorskip("transformers", reason="transformers is not installed: pip install 'treeavg[transformers]'")

from benepar import InputSentence
from benepar.char_lstm import RetokenizerForCharLSTM
from benepar.decode_chart import ChartDecoder
from transformers import AutoModel, BertConfig, BertModel, BertTokenizer, T5Config, T5Tokenizer

import treeavg
from parsers import base
from parsers.benepar import Benepar, BeneparSizes, BeneparStudent, network
from parsers.benepar.parser import binary_charts, quiet
from parsers.benepar.task import BeneparTask, labelled_f1
from parsers.benepar.trees import TreeCollector, chains_of, chart_of, label_numbers
from parsers.benepar.words import WordReader
from parsers.training import TrainingConfig
from treeavg import Treebank
from treeavg.errors import ArgumentError, FileError, FormatError, LimitError

LABELS = {"": 0, "NP": 1, "S": 2, "S::VP": 3}
SMALL = BeneparSizes(
    size=32, layers=1, heads=2, head_size=8, feed_forward=32, label_size=32, characters=16, dropout=0.0, longest=20
)
SENTENCES = [["a"], [], ["the", "dog"], ["the", "dog", "barks", "(", "x", ")"], ["can", "not"], ["``", "Hi", "''", "."]]


def network_config(**options: Any) -> dict[str, Any]:
    hyper_parameters = SMALL.hyper_parameters("chars") | {"d_tag_hidden": 8, "tag_loss_scale": 1.0} | options
    return {
        "tag_vocab": {"UNK": 0, "DT": 1, "NN": 2},
        "label_vocab": LABELS,
        "char_vocab": RetokenizerForCharLSTM.build_vocab([["abc"]]),
        "hparams": hyper_parameters,
    }


def bert_folder(folder: Path) -> str:
    """A small BERT with random weights, saved as any pretrained encoder is."""
    symbols = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,'\"()"]
    symbols += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"] + ["the", "dog", "cannot"]
    tokenizer = BertTokenizer(vocab={symbol: number for number, symbol in enumerate(symbols)})
    tokenizer.model_max_length = 1000
    shape = BertConfig(
        vocab_size=len(symbols), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(1)
    BertModel(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def t5_parts() -> tuple[Any, Any]:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz.,'\"()", "▁the", "▁dog"]
    tokenizer = T5Tokenizer(vocab=[(piece, -float(number)) for number, piece in enumerate(pieces)], extra_ids=0)
    shape = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return shape, tokenizer


def build(kind: str, folder: Path) -> Any:
    """A ChartParser with random weights."""
    options: dict[str, Any] = {
        "chars": {},
        "tags": {"predict_tags": True},
        "free root": {"force_root_constituent": False},
        "bert": {"use_chars_lstm": False, "use_pretrained": True, "encoder_max_len": 60},
        "bert only": {"use_chars_lstm": False, "use_pretrained": True, "use_encoder": False},
        "t5": {"use_chars_lstm": False, "use_pretrained": True},
    }[kind]
    encoder: tuple[Any, Any] = (None, None)
    if kind.startswith("bert"):
        path = bert_folder(folder)
        encoder = (AutoModel.from_pretrained(path), BertTokenizer.from_pretrained(path))
    elif kind == "t5":
        shape, tokenizer = t5_parts()
        encoder = (AutoModel.from_config(shape), tokenizer)
    torch.manual_seed(7)
    return network.assemble(network_config(**options), *encoder).eval()


KINDS = ("chars", "tags", "free root", "bert", "bert only", "t5")


@pytest.fixture(scope="module", params=KINDS)
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Benepar:
    return Benepar(build(request.param, tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def chars(tmp_path: Path) -> Benepar:
    return Benepar(build("chars", tmp_path))


def random_tree(rng: random.Random, length: int) -> nltk.Tree:
    """A labelled tree with unary chains and spans of any number of children."""

    def node(begin: int, end: int) -> list[Any]:
        if end - begin == 1:
            children: list[Any] = [nltk.Tree(rng.choice(["DT", "NN"]), [f"w{begin}"])]
            names = rng.choice([[], [], ["NP"], ["S", "VP"]])
        else:
            cuts = sorted(rng.sample(range(begin + 1, end), rng.randint(1, min(3, end - begin - 1))))
            bounds = [begin, *cuts, end]
            children = [part for i in range(len(bounds) - 1) for part in node(bounds[i], bounds[i + 1])]
            names = rng.choice([["NP"], ["S"], ["S", "VP"]])
        for name in reversed(names):
            children = [nltk.Tree(name, children)]
        return children

    return nltk.Tree(rng.choice(["TOP", "ROOT"]), node(0, length))  # benepar asks for a root symbol; we do not


def without_root(tree: nltk.Tree) -> nltk.Tree:
    return tree[0] if tree.label() in ("TOP", "ROOT") and len(tree) == 1 else tree


def random_trees(seed: int) -> list[nltk.Tree]:
    rng = random.Random(seed)
    return [random_tree(rng, length) for length in [1, 2, 3, 4, 5, 6, 8, 12] * 3]


# ---------------------------------------------------------------------- trees


@pytest.mark.parametrize("seed", range(5))
def test_targets_are_benepars(seed: int) -> None:
    """What we teach a network of a treebank's tree is what benepar teaches it of the nltk tree."""
    trees = random_trees(seed)
    bank = Treebank.from_nltk(trees)
    chains = [chains_of(view, True) for view in bank]
    numbers = label_numbers(chains)
    assert numbers == ChartDecoder.build_vocab(trees)
    decoder = ChartDecoder(numbers)
    for tree, view, rows in zip(trees, bank, chains, strict=True):
        if len(view) > 1:  # of a single word without a label, benepar makes a string
            assert np.array_equal(chart_of(len(view), rows, numbers), decoder.chart_from_tree(tree))
    bare = Treebank.from_nltk([without_root(tree) for tree in trees])
    assert [chains_of(view, True) for view in bare] == chains


@pytest.mark.parametrize("seed", range(5))
def test_charts_become_benepars_trees(seed: int) -> None:
    """A chart read as a treebank is the nltk tree that benepar draws of it, without its root symbol."""
    trees = random_trees(seed)
    numbers = ChartDecoder.build_vocab(trees)
    decoder = ChartDecoder(numbers)
    collector = TreeCollector(list(numbers), labelled=True)
    drawn = []
    for tree in trees:
        chart = decoder.chart_from_tree(tree)
        collector.add(chart, [tag for _, tag in tree.pos()])
        drawn.append(without_root(decoder.tree_from_chart(np.maximum(chart, 0), tree.pos())))
    found = collector.treebank([tree.leaves() for tree in trees])
    assert found == Treebank.from_nltk(drawn)
    found.validate()
    assert found == Treebank.from_nltk([without_root(tree) for tree in trees])


def test_trees_without_labels() -> None:
    bank = Treebank.from_constituents([["a", "b", "c"], ["a"]], [[(0, 2)], []])
    assert chains_of(bank[0], False) == [(0, 2, "X"), (0, 3, "X")]
    assert chains_of(bank[1], False) == []
    twice = Treebank.from_constituents([2], [[(0, 2), (0, 2)]])
    assert chains_of(twice[0], False) == [(0, 2, "X")]


def test_unknown_labels_are_none() -> None:
    assert chart_of(2, [(0, 2, "ADJP"), (0, 1, "NP")], LABELS).tolist() == [[1, 0], [-100, 0]]


def test_labelled_f1() -> None:
    gold = Treebank.from_nltk(nltk.Tree.fromstring("(S (NP (NN a)) (VP (VB b)))"))
    other = Treebank.from_nltk(nltk.Tree.fromstring("(TOP (S (NP (NN a)) (XP (VB b))))"))
    assert labelled_f1(gold, other) == pytest.approx(200 * 2 / 6)
    bare = Treebank.from_constituents([["a"]], [[]], labels=[[]])
    assert labelled_f1(bare, bare) == 100.0


# ---------------------------------------------------------------------- a teacher


def test_parses_as_benepar_does(teacher: Benepar) -> None:
    """The trees are those of benepar's own parse, of its own reading of the words."""
    own = []
    for words in filter(None, SENTENCES):
        seen, spaces = teacher._reader._seen(words)
        sentence = InputSentence(words=seen, space_after=spaces, tags=None, escaped_words=words)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = teacher.network.parse([sentence])[0]
        own.append(without_root(tree))
    found = teacher.parse([words for words in SENTENCES if words], device="cpu")
    assert found == Treebank.from_nltk(own)


def test_every_sentence_has_its_place(teacher: Benepar) -> None:
    found = teacher.parse(SENTENCES, device="cpu")
    found.validate()
    assert [view.tokens for view in found] == SENTENCES
    for tokens in (1, 9, 100_000):
        assert teacher.parse(SENTENCES, batch_tokens=tokens, device="cpu") == found
    assert len(teacher.parse([], device="cpu")) == 0
    assert len(teacher.parse([[]], device="cpu")) == 1


def test_odd_words(teacher: Benepar) -> None:
    """Words in which a tokenizer sees nothing are parsed as words all the same."""
    odd = [
        ["a", "", "b"],
        ["", ""],
        ["\u200b"],
        ["a", " ", "\u0301"],
        ["\x00", "\ud7a3"],
        ["中", "文"],
        ["\\/", "-LRB-"],
    ]
    found = teacher.parse(odd, device="cpu")
    found.validate()
    assert [view.tokens for view in found] == odd
    assert all(view.spans[0] == (0, len(view)) for view in found if len(view) > 1)


def test_random_teachers_are_of_many_shapes(tmp_path: Path) -> None:
    """The networks above do give unary chains, unlabelled spans and, with a free root, trees without a label on top."""
    words = [["a"] * length for length in range(2, 15)] + SENTENCES
    found = {kind: Benepar(build(kind, tmp_path)).parse(words, device="cpu") for kind in ("chars", "tags", "free root")}
    labels = {kind: set(bank.labels or ()) for kind, bank in found.items()}
    assert any("VP" in names for names in labels.values())
    assert any(not bank.is_binary for bank in found.values())
    assert set(found["chars"].tags or ()) >= {"UNK"}
    assert not set(found["tags"].tags or ()) & {"", "S"}


def test_the_root_symbol_stays_where_nothing_else_spans_the_sentence() -> None:
    collector = TreeCollector(["", "NP"], labelled=True)
    collector.add(np.array([[0, 1, 0], [0, 0, 0], [0, 0, 1]]), ["DT", "NN", "VB"])
    collector.add(np.array([[1]]), ["NN"])
    bank = collector.treebank([["the", "dog", "barks"], ["dogs"]])
    assert str(bank[0].to_nltk()) == "(TOP (NP (DT the) (NN dog)) (NP (VB barks)))"
    assert str(bank[1].to_nltk()) == "(NP (NN dogs))"


def test_tags_of_a_treebank_are_kept(tmp_path: Path) -> None:
    bank = Treebank.from_nltk([nltk.Tree.fromstring("(S (NP (PRP it)) (VP (VBZ rains)))")])
    for kind in ("chars", "tags"):
        found = Benepar(build(kind, tmp_path)).parse(bank, device="cpu")
        assert found.tags is not None
        assert [tag.split(" ")[-1] for tag in found.tags] == ["PRP", "VBZ"]
        assert list(found.tokens or ()) == ["it", "rains"]


def test_training_goes_on_after_parsing(chars: Benepar) -> None:
    chars.network.train()
    chars.parse([["a", "b"]], device="cpu")
    assert chars.network.training


def test_labels(chars: Benepar) -> None:
    assert chars.labels == ["NP", "S", "S::VP"]


def test_a_benepar_parser_is_taken(chars: Benepar) -> None:
    """benepar.Parser, the class that its readers know, holds the network."""

    class Holder:
        _parser = chars.network

    assert Benepar(Holder()).network is chars.network  # type: ignore[arg-type]


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = ["a", "b"], ["a"] * 21
    teacher = Benepar(build("chars", tmp_path))
    assert len(teacher.parse([["a"] * 20], device="cpu")[0]) == 20
    with says(LimitError, "sentences[1]: expected at most 20 words, the encoder's limit, got 21. Split the sentence"):
        monkeypatch.setattr(teacher, "_parse_encoded", None)  # nothing is parsed before all are checked
        teacher.parse([short, long], device="cpu")
    teacher = Benepar(build("bert", tmp_path))
    assert len(teacher.parse([["a"] * 38], device="cpu")[0]) == 38
    with says(LimitError, "sentences[2]: expected at most 40 subwords, the encoder's limit, got 42 in 20 words. Split"):
        teacher.parse([short, [], ["ab"] * 20], device="cpu")
    teacher = Benepar(build("t5", tmp_path))
    assert teacher._reader.most_subwords is None


def test_languages(tmp_path: Path) -> None:
    """Words are joined, and a treebank's spelling undone, as benepar does for the language."""
    of = {code: WordReader(build("bert", tmp_path), code) for code in ("en", "zh", "ar")}
    assert of["en"]._seen(["``", "no", ".", "\\/"]) == (['"', "no", ".", "/"], [False, False, True, True])
    assert of["zh"]._seen(["a", "."]) == (["a", "."], [False, False])
    assert of["ar"]._seen(["\\/", "."]) == (["\\/", "."], [True, True])
    assert WordReader(build("chars", tmp_path)).language is None
    with says(ArgumentError, "language: expected a code such as 'en', got ''. Leave it out"):
        Benepar(build("chars", tmp_path), language="")


def test_neighbours_that_melt(tmp_path: Path) -> None:
    """Two words in one subword have a place each; where the tokenizer cannot be followed, the sentence is named."""
    reader = Benepar(build("bert", tmp_path))._reader
    assert reader.encode(["can", "not"], "sentences[0]")["words_from_tokens"] == [0, 1, 1, 2]

    def lost(sentence: Any) -> Any:
        raise StopIteration

    reader._parser.encode = lost
    with says(FormatError, "sentences[4]: expected subwords for every word, got none for some of 'can not'. Replace"):
        reader.encode(["can", "not"], "sentences[4]")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "model: expected a path, a model's name or a benepar ChartParser, got 3. Pass one of these."),
        (
            "benepar_en3",
            "benepar_en3: expected a file, a folder or a model that benepar.download has fetched, got none.",
        ),
        ("/nowhere/a.pt", "/nowhere/a.pt: expected a file, a folder or a model"),
    ],
)
def test_no_model(value: Any, message: str) -> None:
    with says((ArgumentError, FileError), message):
        Benepar(value)


def test_benepar_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "benepar.parse_chart", None)
    with says(ArgumentError, "benepar: expected the package benepar, got:", "pip install 'treeavg[benepar]'."):
        network.benepar()


def test_importing_does_not_load_benepar() -> None:
    code = "import sys, parsers.benepar; print([name for name in ('benepar', 'spacy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------- files


def test_save_and_load(teacher: Benepar, tmp_path: Path) -> None:
    teacher.save(tmp_path / "saved")
    assert sorted(path.suffix for path in (tmp_path / "saved").iterdir()) == [".json", ".safetensors"]
    found = teacher.parse(SENTENCES, device="cpu")
    for loaded in (Benepar.load(tmp_path / "saved"), base.load(tmp_path / "saved")):
        assert isinstance(loaded, Benepar)
        assert not loaded.network.training
        assert loaded.parse(SENTENCES, device="cpu") == found
        assert loaded.labels == teacher.labels


@pytest.fixture
def document(chars: Benepar) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    state, tensors = chars._state()
    return json.loads(json.dumps(state)), tensors


def test_folder_of_something_else(document: tuple[dict[str, Any], dict[str, torch.Tensor]]) -> None:
    state, tensors = document
    with says(FormatError, "parser.json: expected the configuration of a benepar parser, got none of 'labelled'. Save"):
        Benepar._from_state({**state, "config": {"language": None}}, tensors)
    state["config"]["network"]["hparams"]["use_pretrained"] = True
    with says(FormatError, "text: expected names of files, got '../x'. Save the parser again."):
        Benepar._from_state({**state, "text": {"files": {"../x": ""}}}, tensors)
    with says(
        FileError, "expected the configuration and the tokenizer of the pretrained encoder, got", "Nothing is down"
    ):
        Benepar._from_state({**state, "text": {"files": {}}}, tensors)


def test_weights_of_another_network(document: tuple[dict[str, Any], dict[str, torch.Tensor]]) -> None:
    state, tensors = document
    some = "f_label.0.weight"
    with says(FormatError, f"weights.safetensors: expected weights for {some}, got none. Take a complete model."):
        Benepar._from_state(state, {name: tensor for name, tensor in tensors.items() if name != some})
    with says(FormatError, f"weights.safetensors: {some}: expected the shape (32, 32), got (2, 2). Its weights"):
        Benepar._from_state(state, tensors | {some: torch.zeros(2, 2)})
    with says(FormatError, "weights.safetensors: expected no weights beyond the model's, got f_x. Its weights"):
        Benepar._from_state(state, tensors | {"f_x": torch.zeros(2)})
    with says(FormatError, "got pretrained_model.encoder.layer.1.x. Its weights and its configuration are of two"):
        Benepar._from_state(state, tensors | {"pretrained_model.encoder.layer.1.x": torch.zeros(2)})


def test_incomplete_configuration(document: tuple[dict[str, Any], dict[str, torch.Tensor]]) -> None:
    state, tensors = document
    del state["config"]["network"]["hparams"]["d_kv"]
    with says(FormatError, "config: expected all of benepar's hyper-parameters, got:", "d_kv", "Train it anew."):
        Benepar._from_state(state, tensors)
    with says(FormatError, "config: expected tag_vocab, label_vocab, char_vocab, hparams, got none of char_vocab."):
        network.assemble({"tag_vocab": {}, "label_vocab": {}, "hparams": {}})


def checkpoint(parser: Any, **hparams: Any) -> dict[str, Any]:
    return {
        "config": {**parser.config, "hparams": parser.config["hparams"] | hparams},
        "state_dict": parser.state_dict(),
    }


def test_a_checkpoint_of_benepars(tmp_path: Path) -> None:
    for kind in ("chars", "tags", "bert"):
        folder = tmp_path / kind
        parser = build(kind, folder)
        data = checkpoint(parser, pretrained_model=str(folder))
        del data["config"]["hparams"]["force_root_constituent"]  # earlier versions did not have it
        data["state_dict"]["pretrained_model.embeddings.position_ids"] = torch.arange(3)  # earlier ones of transformers
        if kind != "bert":
            del data["state_dict"]["pretrained_model.embeddings.position_ids"]
        torch.save(data, tmp_path / "model.pt")
        found = Benepar(tmp_path / "model.pt")
        assert found.parse(SENTENCES, device="cpu") == Benepar(parser).parse(SENTENCES, device="cpu")


def test_an_exported_folder(tmp_path: Path) -> None:
    """As benepar publishes its models: T5, with the encoder's shape and tokenizer beside the weights."""
    parser, (shape, tokenizer) = build("t5", tmp_path), t5_parts()
    shape.benepar = dict(parser.config)
    shape.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    weights = parser.state_dict()
    name = "pretrained_model.decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    torch.save({**weights, name: torch.zeros(2)}, tmp_path / "benepar_model.bin")
    found = Benepar(tmp_path)
    assert found.parse(SENTENCES, device="cpu") == Benepar(parser).parse(SENTENCES, device="cpu")
    torch.save(weights, tmp_path / "benepar_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with says(FormatError, "expected a model that benepar saved, got one whose config.json has no 'benepar'. Check"):
        Benepar(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with says(FormatError, "expected a model that benepar saved, got", "Check the path."):
        Benepar(tmp_path)


class Payload:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.mkdir, (os.environ["PAYLOAD"],))


def test_pickles_are_not_trusted(chars: Benepar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made = tmp_path / "model.pt", tmp_path / "made"
    monkeypatch.setenv("PAYLOAD", str(made))
    torch.save(checkpoint(chars.network) | {"more": Payload()}, path)
    with says(
        ArgumentError, "model.pt: expected nothing but tensors, numbers and strings, got a pickle", "trust=True."
    ):
        Benepar(path)
    assert not made.exists()
    assert Benepar(path, trust=True).labels == chars.labels
    assert made.exists()


def test_files_of_something_else(chars: Benepar, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    for content in (b"", b"hello world", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        for trust in (False, True):
            with says(FormatError, "model.pt: expected a model that benepar saved, got", "Check the path."):
                Benepar(path, trust=trust)
    for data in ([1], {"config": {}}, {"config": {"hparams": 3}, "state_dict": {}}):
        torch.save(data, path)
        with says(FormatError, "model.pt: expected a model that benepar saved, got another file. Check the path."):
            Benepar(path)
    chars.save(tmp_path / "ours")
    with says(ArgumentError, "ours: expected a model of benepar's, got a parser's folder. Use parsers.load."):
        Benepar(tmp_path / "ours")


def test_tokenizers_that_do_not_fit() -> None:
    with says(ArgumentError, "encoder: expected a fast tokenizer, got object. Save tokenizer.json beside the model."):
        network.subword_reader(object())

    class Bare:
        is_fast = True

        def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
            return {"special_tokens_mask": [0]}

    with says(
        ArgumentError, "encoder: expected a tokenizer that marks a sentence's begin or end, got Bare, which marks"
    ):
        network.subword_reader(Bare())


# ---------------------------------------------------------------------- a student


def sentences_of_a_toy_language(count: int) -> Treebank:
    rng = random.Random(3)

    def phrase() -> str:
        adjective = f"(JJ {rng.choice(['big', 'old'])}) " if rng.random() < 0.5 else ""
        return f"(NP (DT the) {adjective}(NN {rng.choice(['dog', 'cat', 'tree'])}))"

    def clause() -> str:
        verb = f"(VP (VB sees) {phrase()})" if rng.random() < 0.7 else "(VP (VB sleeps))"
        return f"(TOP (S {phrase()} {verb}))"

    return Treebank.from_nltk([nltk.Tree.fromstring(clause()) for _ in range(count)])


TOY = sentences_of_a_toy_language(12)
BARE = TOY.replace(labels=None, tags=None)
FAST = TrainingConfig(epochs=40, learning_rate=1e-2, warmup=0.1, evaluate_every=4.0)


def fit(average: Treebank, **options: Any) -> BeneparStudent:
    return BeneparStudent.fit(
        average, **{"sizes": SMALL, "training": FAST, "held_out": 0, "batch_tokens": 48, "device": "cpu"} | options
    )


@pytest.fixture(scope="module")
def binary_student() -> BeneparStudent:
    return fit(treeavg.binarize(BARE))


def test_a_student_learns_binary_trees(binary_student: BeneparStudent) -> None:
    found = binary_student.parse(BARE, device="cpu")
    assert found.same_trees(treeavg.binarize(BARE))
    assert binary_student.binary
    assert found.labels is None
    assert found.tags is None
    assert binary_student.labels == []
    assert binary_student.result is not None
    assert binary_student.result.best_score == 100.0
    strange = binary_student.parse([["ψ", "dog"] * 8, ["dog"], []], device="cpu")
    assert strange[:1].is_binary
    assert binary_student.parse(TOY, device="cpu").tags == TOY.tags


def test_a_student_learns_trees_of_any_shape() -> None:
    student = fit(BARE)
    assert not student.binary
    found = student.parse(BARE, device="cpu")
    assert [set(view.spans) for view in found] == [set(view.spans) for view in BARE]


def test_a_student_learns_labels() -> None:
    student = fit(TOY)
    found = student.parse(TOY, device="cpu")
    wanted = [without_root(view.to_nltk()) for view in TOY]
    assert [view.to_nltk() for view in found] == wanted
    assert student.labels == ["NP", "S", "VP"]
    assert student.result is not None
    assert student.result.history[-1]["scores"].keys() == {"score", "unlabelled"}


def test_a_student_with_a_pretrained_encoder(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "encoder")
    student = fit(BARE, encoder=folder)
    assert [set(view.spans) for view in student.parse(BARE, device="cpu")] == [set(view.spans) for view in BARE]
    moved = student.network.state_dict()["pretrained_model.embeddings.word_embeddings.weight"]
    assert not torch.equal(moved, BertModel.from_pretrained(folder).state_dict()["embeddings.word_embeddings.weight"])
    student.save(tmp_path / "student")
    (tmp_path / "encoder" / "config.json").unlink()  # the saved parser needs it no more
    assert base.load(tmp_path / "student").parse(TOY, device="cpu") == student.parse(TOY, device="cpu")


def test_a_saved_student(binary_student: BeneparStudent, tmp_path: Path) -> None:
    binary_student.save(tmp_path)
    for loaded in (BeneparStudent.load(tmp_path), Benepar.load(tmp_path), base.load(tmp_path)):
        assert loaded.parse(TOY, device="cpu") == binary_student.parse(TOY, device="cpu")
    assert BeneparStudent.load(tmp_path).result is None


def test_students_are_their_seeds(tmp_path: Path) -> None:
    """The same seed gives the same weights, bit for bit; the caller's random numbers do not matter and are kept."""
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(weights))
        before = torch.get_rng_state()
        student = fit(BARE, training=TrainingConfig(epochs=2, seed=seed), batch_tokens=40, held_out=0.2)
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(torch.cat([tensor.flatten() for tensor in student.network.state_dict().values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_run_is_resumed(tmp_path: Path) -> None:
    """A finished run is returned as it is; another text is another run."""
    options = {"training": TrainingConfig(epochs=2), "folder": tmp_path / "run"}
    first = fit(BARE, **options)
    assert (tmp_path / "run" / "metrics.jsonl").exists()
    again = fit(BARE, **options, resume=True)
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name])
    with says(ArgumentError, str(tmp_path / "run")):
        fit(BARE, **options)
    with says(ArgumentError, "text"):
        fit(BARE[:-1], **options, resume=True)
    with says(ArgumentError, "resume: expected the folder of a run to continue, got none. Pass folder=."):
        fit(BARE, resume=True)


def task_of(student: BeneparStudent, average: Treebank) -> BeneparTask:
    return BeneparTask(student, student._lessons(average), average, 64, 0, {})


@pytest.mark.parametrize("labelled", [False, True])
def test_loss_is_a_sum(labelled: bool) -> None:
    """A batch's loss is the sum of its sentences', and what benepar computes of the nltk trees."""
    average = TOY if labelled else BARE
    student = BeneparStudent._untrained(average, "chars", SMALL, None)
    task = task_of(student, average)
    whole = task.loss(np.arange(len(average)))
    parts = sum(task.loss([place]) for place in range(len(average)))
    assert task.items(np.arange(3)) == 3.0
    assert torch.allclose(whole, torch.as_tensor(parts), rtol=1e-5)
    if labelled:
        own = torch.zeros(())
        for view in average:
            tree = view.to_nltk()
            sentence = InputSentence(words=tree.leaves(), space_after=[True] * len(view), escaped_words=tree.leaves())
            encoded = student.network.encode(sentence)
            encoded["span_labels"] = torch.tensor(student.network.decoder.chart_from_tree(tree))
            with quiet():
                own = own + student.network.compute_loss(student.network.pad_encoded([encoded]) | {"batch_size": 1})
        assert torch.allclose(whole, own, rtol=1e-5)
    assert sorted(place for batch in task.epoch(1) for place in batch) == list(range(len(average)))
    assert task.names([0, 2]) == "average[0], average[2]"


def test_the_root_is_free_where_trees_have_none() -> None:
    trees = [nltk.Tree.fromstring(text) for text in ("(TOP (NP (NN a) (NN b)) (NP (NN c)))", "(TOP (S (NN a) (NN b)))")]
    student = BeneparStudent._untrained(Treebank.from_nltk(trees), "chars", SMALL, None)
    assert not student.network.config["hparams"]["force_root_constituent"]
    student = BeneparStudent._untrained(Treebank.from_nltk(trees[1:]), "chars", SMALL, None)
    assert student.network.config["hparams"]["force_root_constituent"]


def test_sentences_that_teach_nothing() -> None:
    """They are passed over, and the others keep their places in messages."""
    average = Treebank.from_constituents([[], ["a"], ["a", "b", "c"]], [[], [], [(0, 3), (0, 2)]])
    student = BeneparStudent._untrained(average, "chars", SMALL, None)
    assert [lesson.number for lesson in student._lessons(average)] == [2]


def test_characters() -> None:
    """Rare characters are unknown; marks of benepar's own are not taken from the text."""
    from parsers.benepar.student import _character_numbers

    numbers = _character_numbers(["``", "abba", "\x01\x01", "c", "``"])
    assert list(numbers)[5:] == ['"', "a", "b"]
    assert list(numbers.values()) == list(range(8))


def all_binary(begin: int, end: int) -> Iterator[frozenset[tuple[int, int]]]:
    if end - begin == 1:
        yield frozenset()
        return
    for middle in range(begin + 1, end):
        for left in all_binary(begin, middle):
            for right in all_binary(middle, end):
                yield left | right | {(begin, end)}


def test_binary_decoding_is_exact() -> None:
    """Against all trees, several lengths in a batch."""
    torch.manual_seed(2)
    lengths = torch.tensor([5, 1, 2, 4, 5, 3])
    scores = torch.randn(6, 5, 5, 2)
    charts = binary_charts(scores, lengths)
    for gain, chart, length in zip(scores[..., 1] - scores[..., 0], charts, lengths.tolist(), strict=True):
        best = max(all_binary(0, length), key=lambda tree: sum(float(gain[b, e - 1]) for b, e in tree))
        found = {(b, e + 1) for b, e in zip(*np.nonzero(chart), strict=True)}
        assert found == best


@pytest.mark.parametrize(
    ("average", "options", "kind", "message"),
    [
        (BARE.replace(tokens=None), {}, ArgumentError, "average: expected a treebank with words, got one with lengths"),
        (
            Treebank.from_constituents([["a", "b", "c"]], [[((0, 1), (2, 3))]]),
            {},
            ArgumentError,
            "average[0]: expected continuous trees, got a constituent of several blocks. Average continuous trees.",
        ),
        (
            BARE,
            {"gold": BARE.replace(tokens=None)},
            ArgumentError,
            "gold: expected a treebank with words, got one with",
        ),
        (
            BARE,
            {"gold": BARE[:0]},
            ArgumentError,
            "gold: expected a sentence of two words or more to judge by, got none.",
        ),
        (BARE, {"held_out": 1.0}, ArgumentError, "held_out: expected a share from 0 to below 1, got 1.0. Pass 0.05."),
        (
            Treebank.from_constituents([["a"]], [[]]),
            {},
            ArgumentError,
            "held_out: expected a sentence of two words or more to judge by, got none. Give more, or pass held_out=0.",
        ),
        (
            Treebank.from_constituents([["a"]], [[]]),
            {"gold": BARE},
            ArgumentError,
            "average: expected trees to learn from, got no constituent. Pass sentences of two words",
        ),
        (
            BARE,
            {"sizes": BeneparSizes(longest=3)},
            LimitError,
            "average[0]: expected at most 3 words, the encoder's limit, got",
        ),
        (BARE, {"encoder": "/nowhere"}, FileError, "/nowhere: expected the folder of a Hugging Face encoder"),
        (BARE, {"batch_tokens": 0}, ArgumentError, "tokens: expected at least 1 token a batch, got 0."),
    ],
)
def test_what_cannot_be_fitted(average: Treebank, options: Any, kind: type[Exception], message: str) -> None:
    with says(kind, message):
        fit(average, **{"sizes": SMALL, **options})


def test_gold_judges() -> None:
    gold = TOY.replace(labels=None)
    student = fit(TOY, gold=gold, training=TrainingConfig(epochs=1))
    assert student.result is not None
    assert student.result.history[0]["scores"].keys() == {"score"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 6}, "size: expected a positive multiple of 4, got 6. Leave it out for 256."),
        ({"layers": 0}, "layers: expected a positive whole number, got 0. Leave it out for 2."),
        ({"head_size": 3}, "head_size: expected a positive multiple of 2, got 3. Leave it out for 32."),
        ({"heads": True}, "heads: expected a positive whole number, got True. Leave it out for 8."),
        ({"dropout": 1}, "dropout: expected a number from 0 to below 1, got 1. Leave it out for 0.2."),
    ],
)
def test_sizes(options: Any, message: str) -> None:
    with says(ArgumentError, message):
        BeneparSizes(**options)
