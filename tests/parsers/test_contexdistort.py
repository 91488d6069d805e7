"""ContexDistort: strings, costs against a slow twin, trees, layers, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import says
from tiny import bert, right_trees, sentences
from torch import Tensor

import parsers.base
from parsers import ContexDistort, ContexDistortOptions
from parsers.contexdistort import costs
from parsers.contexdistort.costs import normalised, span_costs
from parsers.contexdistort.perturbations import COMMA, MASK, Kinds, perturb, plan_of
from parsers.nn.charts import best_trees
from parsers.nn.pretrained import load_backbone, load_tokenizer
from parsers.training import TrainingConfig
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, FileError, LimitError
from treeavg.transforms import branching
from treeavg.treebank import Treebank

WORDS = [
    ["the", "dog", "sees", "a", "cat"],
    ["dog", "the", "dog", "dog"],
    ["a", "b", "c"],
    ["the", "horse", "finds", "the", "bird", "hums"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bert(tmp_path_factory.mktemp("bert"), layers=3)


def fit(folder: str, **options: Any) -> ContexDistort:
    given = {"precision": "float32", "layer": 2, **options}
    return ContexDistort.fit([], options=ContexDistortOptions(encoder=folder, **given))


# ---------------------------------------------------------------------- strings


def shown(string: tuple[int, ...]) -> str:
    return " ".join({MASK: "[mask]", COMMA: ","}.get(number, f"w{number}") for number in string)


def test_strings_of_a_span() -> None:
    """The examples of the paper's three perturbations, in the middle and at both ends."""
    assert [shown(string) for string, _ in perturb(6, 2, 4)] == [
        "w0 w1 [mask] w4 w5",
        "[mask] w2 w3 [mask]",
        "w2 w3 , w0 w1 , w4 w5",
        "w0 w1 , w4 w5 , w2 w3",
    ]
    assert [shown(string) for string, _ in perturb(6, 0, 2)] == [
        "[mask] w2 w3 w4 w5",
        "w0 w1 [mask]",
        "w0 w1 , w2 w3 w4 w5",
        "w2 w3 w4 w5 , w0 w1",
    ]
    assert [shown(string) for string, _ in perturb(6, 4, 6)] == [
        "w0 w1 w2 w3 [mask]",
        "[mask] w4 w5",
        "w4 w5 , w0 w1 w2 w3",
        "w0 w1 w2 w3 , w4 w5",
    ]
    assert shown(perturb(6, 2, 4, Kinds(masks=False))[1][0]) == "w2 w3"
    assert [len(terms) for _, terms in perturb(6, 2, 4)] == [1, 1, 3, 3]
    assert [len(terms) for _, terms in perturb(6, 0, 2)] == [1, 1, 2, 2]


@pytest.mark.parametrize(("n", "count"), [(10, 148), (20, 688), (40, 2968)])
def test_number_of_strings(n: int, count: int) -> None:
    """Each once, the sentence itself first."""
    plan = plan_of(n)
    assert len(plan.strings) == len(set(plan.strings)) == count + 1
    assert plan.strings[0] == tuple(range(n))
    assert len(plan.spans) == n * (n - 1) // 2 - 1


@pytest.mark.parametrize("n", range(3, 9))
def test_terms_add_up(n: int) -> None:
    """All words of a segment count alike, and all terms of a span: the weights of a span have the sum 1."""
    for kinds in every_kind():
        plan = plan_of(n, kinds)
        assert np.allclose(np.bincount(plan.cells, plan.weights, len(plan.spans)), 1, atol=1e-6)
        assert (plan.words[plan.rows] >= 0).all()


def every_kind() -> list[Kinds]:
    names = ("substitution", "decontextualisation", "movement")
    chosen = [part for size in (1, 2, 3) for part in combinations(names, size)]
    return [Kinds(**{name: name in part for name in names}, masks=masks) for part in chosen for masks in (True, False)]


def one_hot(strings: list[list[str]]) -> Tensor:
    names = [*"abcdefghij", "[MASK]", ","]
    return torch.eye(len(names))[[names.index(word) for string in strings for word in string]]


@pytest.mark.parametrize("n", range(3, 11))
def test_words_that_do_not_look_around_cost_nothing(n: int) -> None:
    """Vectors of the words' identity: exactly 0 everywhere, whatever is perturbed. Any slip of an index costs."""
    words = list("abcdefghij")[:n]
    for kinds in every_kind():
        assert not span_costs(plan_of(n, kinds), words, one_hot, "[MASK]").any()


def test_no_costs_branch_to_the_right(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = fit(folder)
    monkeypatch.setattr(ContexDistort, "_strings", lambda self: one_hot)
    words = [list("abcdefghij")[:n] for n in range(11)]
    found = parser.parse(words)
    assert found == branching(found)
    assert not any(scores.any() for scores in parser.span_scores(words))


# ---------------------------------------------------------------------- costs


def slow_vectors(folder: str, layer: int) -> Any:
    """Return what runs one string through the whole encoder, by the tokenizer's own numbering of words."""
    (tokenizer, _), model = load_tokenizer(folder), load_backbone(folder)

    @cache
    def vectors(string: tuple[str, ...]) -> Tensor:
        read = tokenizer([list(string)], is_split_into_words=True, add_special_tokens=False)
        ids = torch.tensor([[tokenizer.cls_token_id, *read["input_ids"][0], tokenizer.sep_token_id]])
        numbers = [None, *read.word_ids(0), None]
        with torch.no_grad():
            hidden = model(ids, output_hidden_states=True).hidden_states[layer][0]
        return torch.stack([hidden[[own == word for own in numbers]].mean(0) for word in range(len(string))])

    return lambda string: vectors(tuple(string))


def slow_cost(words: list[str], left: int, right: int, vectors: Any, kinds: Kinds) -> float:
    """Return the cost of a span, string by string and word by word."""
    before, span, behind = list(range(left)), list(range(left, right)), list(range(right, len(words)))
    original = vectors(words)
    terms: list[float] = []

    def compare(string: list[Any], *segments: list[int]) -> None:
        found = vectors([words[item] if isinstance(item, int) else item for item in string])
        for segment in segments:
            gaps = [((found[string.index(word)] - original[word]) ** 2).sum() for word in segment]
            terms.append(float(sum(gaps)) / len(segment))

    if kinds.substitution:
        compare([*before, "[MASK]", *behind], before + behind)
    if kinds.decontextualisation:
        ahead, after = [["[MASK]"] if part and kinds.masks else [] for part in (before, behind)]
        compare([*ahead, *span, *after], span)
    if kinds.movement:
        front, end = ([part for part in order if part] for order in ((span, before, behind), (before, behind, span)))
        for parts in (front, end):
            string: list[Any] = []
            for part in parts:
                string += [",", *part] if string else part
            compare(string, *parts)
    return sum(terms) / len(terms)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_costs_against_the_twin(folder: str, layer: int) -> None:
    """Every span, every set of perturbations: one string at a time through the whole encoder."""
    vectors = slow_vectors(folder, layer)
    for words in WORDS if layer == 1 else WORDS[:1]:
        n = len(words)
        for kinds in every_kind() if len(words) == 4 else (Kinds(), Kinds(masks=False)):
            parser = fit(folder, layer=layer, normalise=False, **vars(kinds))
            scores = parser.span_scores([words])[0]
            for left, right in combinations(range(n + 1), 2):
                inner = 2 <= right - left < n
                wanted = slow_cost(words, left, right, vectors, kinds) if inner else 0.0
                assert -scores[left, right] == pytest.approx(wanted, rel=1e-3, abs=1e-5)
            assert not np.tril(scores).any()


def test_pieces_of_a_long_sentence(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings that do not fit into memory at once are read one part after the other."""
    parser = fit(folder)
    (whole,) = parser.span_scores(WORDS[:1])
    for most in (1, 30, 60):
        monkeypatch.setattr(costs, "MOST_WORDS", most)
        assert whole == pytest.approx(parser.span_scores(WORDS[:1])[0], abs=1e-5)


def chart_of(values: np.ndarray) -> Tensor:
    chart = torch.zeros(1, 5, 5, dtype=torch.float64)
    spans = plan_of(4).spans
    chart[0, spans[:, 0], spans[:, 1]] = -torch.from_numpy(values)
    return chart


def test_normalisation_changes_the_tree() -> None:
    """The costs of each width by their norm."""
    values = np.array([3, 4, 3, 1, 1.2])
    assert plan_of(4).spans.tolist() == [[0, 2], [1, 3], [2, 4], [0, 3], [1, 4]]
    even = normalised(values, 4)
    assert even == pytest.approx([0.5145, 0.6860, 0.5145, 0.6402, 0.7682], abs=5e-5)
    lengths = torch.tensor([4])
    assert best_trees(chart_of(values), lengths).tolist() == [[[0, 4], [0, 3], [0, 2]]]
    assert best_trees(chart_of(even), lengths).tolist() == [[[0, 4], [0, 2], [2, 4]]]
    assert normalised(np.array([0.0, 0, 0, 3, 4]), 4).tolist() == [0, 0, 0, 0.6, 0.8]


def test_costs_of_single_words_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    for n in range(3, 8):
        chart = torch.rand(20, n + 1, n + 1, generator=generator, dtype=torch.float64)
        other = chart.clone()
        places = torch.arange(n)
        other[:, places, places + 1] -= 10 * torch.rand(20, n, generator=generator, dtype=torch.float64)
        other[:, 0, n] += 3
        lengths = torch.full((20,), n)
        assert torch.equal(best_trees(chart, lengths), best_trees(other, lengths))


# ---------------------------------------------------------------------- trees


def test_trees_cost_least(folder: str) -> None:
    """Of all binary trees over a sentence, by enumeration; the first of equal ones."""
    from naive import binary_trees

    parser = fit(folder)
    for words, scores, tree in zip(WORDS, parser.span_scores(WORDS), parser.parse(WORDS), strict=True):
        totals = {own: sum(float(scores[span]) for span in own) for own in binary_trees(0, len(words))}
        assert totals[frozenset(tree.spans)] == pytest.approx(max(totals.values()), abs=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_batches_do_not_matter(folder: str, precision: str) -> None:
    """Bit by bit: each sentence is read alone."""
    parser = fit(folder, precision=precision)
    words = sentences(3, seed=2, longest=5) + WORDS
    found = parser.parse(words)
    assert found == parser.parse(words, batch_tokens=1)
    assert found == parser.parse(words[::-1])[::-1]
    for index, scores in enumerate(parser.span_scores(words)):
        assert np.array_equal(scores, parser.span_scores([words[index]])[0])


def test_precisions_agree(folder: str) -> None:
    exact = fit(folder).span_scores(WORDS)
    for precision in ("auto", "bfloat16", "int8"):
        for one, other in zip(exact, fit(folder, precision=precision).span_scores(WORDS), strict=True):
            assert one == pytest.approx(other, abs=0.1)


def test_short_sentences(folder: str) -> None:
    words = [[], ["dog"], ["the", "dog"], ["a", "ж", "\u200b"], ["the", "the", "the"]]
    parser = fit(folder)
    found = parser.parse(words)
    assert found.lengths.tolist() == [0, 1, 2, 3, 3]
    assert [list(own.tokens or ()) for own in found] == words
    assert found[2].spans == [(0, 2)]
    assert found.is_binary
    assert [scores.shape for scores in parser.span_scores(words)] == [(n + 1, n + 1) for n in (0, 1, 2, 3, 3)]
    assert len(parser.parse([])) == 0
    assert parser.parse(found) == found


def test_save_and_load(folder: str, tmp_path: Path) -> None:
    """Without the encoder's folder, and without the layers that are not read."""
    parser = fit(folder, masks=False)
    parser.save(tmp_path / "teacher")
    again = parsers.base.load(tmp_path / "teacher")
    assert isinstance(again, ContexDistort)
    assert again.options == parser.options
    assert len(again.model.encoder.layer) == 2  # type: ignore[union-attr,arg-type]
    assert again.reader.limit == parser.reader.limit == 40
    for one, other in zip(again.span_scores(WORDS), parser.span_scores(WORDS), strict=True):
        assert np.array_equal(one, other)
    assert again.parse(WORDS) == parser.parse(WORDS)
    with says(LimitError, "sentences[0]: expected at most 40 subwords"):
        again.parse([["dog"] * 38])


def test_a_layer_by_depth_and_by_gold_trees(folder: str) -> None:
    words = sentences(4, seed=3, longest=5)
    gold = right_trees(words)
    assert fit(folder, layer=-1).options.layer == 2  # 0.8 of three
    assert fit(folder, layer=-1).layer_scores == {}
    options = ContexDistortOptions(encoder=folder, precision="float32")
    parser = ContexDistort.fit(words, options=options, gold=gold, device="cpu", training=TrainingConfig())
    assert set(parser.layer_scores) == {1, 2, 3}
    best = max(parser.layer_scores.values())
    assert parser.options.layer == min(layer for layer, own in parser.layer_scores.items() if own == best)
    for layer in parser.layer_scores:
        alone = fit(folder, layer=layer)
        assert alone._f1((words, gold), "cpu") == parser.layer_scores[layer]
        if layer == parser.options.layer:
            assert alone.parse(words) == parser.parse(words)
    chosen = ContexDistort.fit([], options=replace(options, layer=1), gold=gold)
    assert (chosen.options.layer, chosen.layer_scores) == (1, {})


# ---------------------------------------------------------------------- bad input


def test_presets() -> None:
    presets = ContexDistortOptions.presets()
    assert (presets["small"][0].layer, presets["paper"][0].layer) == (-1, 12)


def test_bad_arguments(folder: str) -> None:
    options = ContexDistortOptions(encoder=folder)
    with says(ArgumentError, "options: expected ContexDistortOptions with an encoder, got none. Pass them."):
        ContexDistort.fit([])
    with says(ArgumentError, "encoder: expected the folder of a Hugging Face encoder, got None. Pass ContexDistortOp"):
        ContexDistort.fit([], options=ContexDistortOptions())
    with says(ArgumentError, "resume: expected False, since nothing is trained, got True. Leave it out."):
        ContexDistort.fit([], options=options, resume=True)
    with says(
        ArgumentError, "training: expected none of its options, such as epochs or seed, since nothing is trained"
    ):
        ContexDistort.fit([], options=options, training=TrainingConfig(seed=3))
    with says(ArgumentError, "layer: expected 0 to 3, the encoder's own, got 4. Leave it out."):
        ContexDistort.fit([], options=replace(options, layer=4))
    with says(ArgumentError, "layer: expected a whole number, at least -1, got -2. Leave it out for -1."):
        ContexDistortOptions(layer=-2)
    with says(ArgumentError, "precision: expected one of 'auto', 'float32', 'bfloat16', 'int8', got 'half'."):
        ContexDistortOptions(precision="half")
    with says(ArgumentError, "movement: expected at least one perturbation, got none. Leave one at True."):
        ContexDistortOptions(substitution=False, decontextualisation=False, movement=False)
    with says(ArgumentError, "gold: expected constituency trees with words, got no words."):
        ContexDistort.fit([], options=options, gold=Treebank.from_constituents([3], [[]]))
    with says(ArgumentError, "gold: expected constituency trees with words, got dependency trees."):
        ContexDistort.fit([], options=options, gold=DependencyTreebank.from_heads([[0]]))  # type: ignore[arg-type]


def test_missing_folder(tmp_path: Path) -> None:
    with says(FileError, "none: expected the folder of a Hugging Face encoder, with a config.json, got none."):
        fit(str(tmp_path / "none"))


def test_an_encoder_without_a_mask_token(tmp_path: Path) -> None:
    place = bert(tmp_path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (tmp_path / name).exists():
            document = json.loads((tmp_path / name).read_text())
            document.pop("mask_token")
            (tmp_path / name).write_text(json.dumps(document))
    with says(ArgumentError, f"{place}: expected an encoder with a mask token, got one without. Pass one that was t"):
        fit(place)


def test_sentences_that_the_encoder_cannot_hold(folder: str) -> None:
    """36 words, two commas, begin and end are 40 subwords; the message counts what is read."""
    parser = fit(folder, substitution=False, decontextualisation=False)
    limit = ["dog"] * 36
    parser._check([limit], "sentences")
    with says(
        LimitError,
        "sentences[1]: expected at most 40 subwords, the encoder's limit, got 41 for 37 words, two commas, begin "
        "and end. Leave this sentence out, or split it.",
    ):
        parser.parse([["dog"], ["dog"] * 37])
    with says(LimitError, "sentences[0]: expected at most 40 subwords, the encoder's limit, got 43 for 3 words,"):
        parser.span_scores([["a" * 20, "b" * 18, "c"]])
    gold = branching(Treebank.from_constituents([["dog"] * 37], [[]]))
    with says(LimitError, "gold[0]: expected at most 40 subwords"):
        ContexDistort.fit([], options=ContexDistortOptions(encoder=folder), gold=gold)
    assert parser.parse([["ab" * 30]]).lengths.tolist() == [1]  # no string is made of it


@pytest.mark.parametrize("option", [{"longest": 20}, {"batch_tokens": 3}, {"held_out": 0.5}, {"vocabulary": 9}])
def test_options_of_a_training_are_refused(option: dict[str, float]) -> None:
    """What only a training uses means nothing here."""
    (name,) = option
    with pytest.raises(
        ArgumentError, match=rf"{name}: expected nothing, .* this kind of parser, got .*\. Leave it out\."
    ):
        ContexDistortOptions(encoder="bert", **option)  # type: ignore[arg-type]
