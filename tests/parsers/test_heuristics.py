"""Parsers that learn nothing, and trees from a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from messages import says
from naive import binary_trees

import parsers.base
import treeavg
from parsers.heuristics import (
    Balanced,
    FromFile,
    Heuristic,
    LeftBranching,
    Random,
    RightBranching,
    _random_tree,
    _read_polish,
)
from parsers.training import TrainingConfig
from treeavg.dependency import DependencyTreebank
from treeavg.errors import AlignmentError, ArgumentError, FileError, FormatError
from treeavg.transforms import branching
from treeavg.treebank import Treebank

WORDS = [[], ["the"], ["the", "dog"], ["it", "rains", "often"], list("abcdefgh"), ["ж", "\u200b", "x", "y"]]
ALL: list[Heuristic] = [RightBranching(), LeftBranching(), Balanced(), Random(3)]


def trees_of(words: list[list[str]]) -> Treebank:
    return Treebank.from_constituents(words, [[(0, len(own))] if own else [] for own in words])


@pytest.mark.parametrize("parser", ALL, ids=lambda own: own.kind)
def test_any_sentence(parser: Heuristic) -> None:
    """Binary trees over these words, in this order; empty ones stay; treebanks give words."""
    found = parser.parse(WORDS)
    assert [list(own.tokens or ()) for own in found] == WORDS
    assert found.is_binary
    assert found == parser.parse(WORDS, batch_tokens=1, device="cpu") == parser.parse(found)
    assert parser.parse(WORDS[::-1])[::-1] == found
    assert len(parser.parse([])) == 0
    with says(ArgumentError, "sentences[0]: expected a list of words, got 'the dog'. Split it into words."):
        parser.parse(["the dog"])


def test_branching() -> None:
    found = RightBranching().parse(WORDS)
    assert found == branching(found)
    assert LeftBranching().parse(WORDS) == branching(found, "left")


def halves(begin: int, end: int) -> set[tuple[int, int]]:
    if end - begin < 2:
        return set()
    middle = begin + (end - begin) // 2
    return {(begin, end)} | halves(begin, middle) | halves(middle, end)


def test_balanced() -> None:
    """The right half gets the odd word; against the definition by recursion."""
    assert Balanced().parse([["a", "b", "c"]])[0].spans == [(0, 3), (1, 3)]
    for n in [*range(20), 1000]:
        spans = Balanced().parse([["a"] * n])[0].spans
        assert set(spans) == halves(0, n)
        assert spans == sorted(spans, key=lambda span: (span[0], -span[1]))


@pytest.mark.parametrize("n", range(1, 7))
def test_random_trees_are_uniform(n: int) -> None:
    """Each of the Catalan(n - 1) trees as often as the others, by a chi-squared test at six standard deviations."""
    generator = np.random.default_rng(n)
    draws = 4000
    counts = Counter(frozenset(_random_tree(n, generator)) for _ in range(draws))
    everything = binary_trees(0, n)
    assert set(counts) <= set(everything)
    expected = draws / len(everything)
    distance = sum((counts[tree] - expected) ** 2 / expected for tree in everything)
    degrees = len(everything) - 1
    assert distance <= degrees + 6 * (2 * degrees) ** 0.5


def test_random_trees_by_seed() -> None:
    words = [[*"abcdefgh"], [*"abcdefgi"], [*"abcdefgh"]]
    one, other = Random(1).parse(words), Random(2).parse(words)
    assert one[0].spans == one[2].spans != one[1].spans
    assert one[0].spans != other[0].spans
    assert one == Random(1).parse(words)
    assert len({tuple(Random(seed).parse(words[:1])[0].spans) for seed in range(50)}) > 40
    assert Random().seed == 0
    for bad in (-1, 1.0, True, "1"):
        with says(ArgumentError, f"seed: expected a whole number, at least 0, got {bad!r}. Leave it out for 0."):
            Random(bad)  # type: ignore[arg-type]


def test_polish_notation() -> None:
    assert _read_polish([-1]) == []
    assert _read_polish([1, -1, -1]) == [(0, 2)]
    assert _read_polish([1, 1, -1, -1, 1, -1, -1]) == [(0, 4), (0, 2), (2, 4)]


def test_long_sentences() -> None:
    for parser in ALL:
        assert parser.parse([["a"] * 3000]).is_binary


def test_fit() -> None:
    for parser in ALL:
        again = type(parser).fit(WORDS, folder="/nowhere", training=TrainingConfig(seed=3))
        assert again.parse(WORDS) == parser.parse(WORDS)
    assert Random.fit([]).seed == 0


def test_save_and_load(tmp_path: Path) -> None:
    """No weights are written; one parser replaces another."""
    for parser in [*ALL, FromFile(trees_of(WORDS[:5]))]:
        parser.save(tmp_path)
        assert os.listdir(tmp_path) == ["parser.json"]
        again = parsers.base.load(tmp_path)
        assert type(again) is type(parser)
        assert again.parse(WORDS[:5]) == parser.parse(WORDS[:5])
        assert parsers.base.KINDS[parser.kind] == f"parsers.heuristics:{type(parser).__name__}"
    document = json.loads((tmp_path / "parser.json").read_text())
    assert (document["weights"], document["kind"]) == (None, "from-file")
    Random(7).save(tmp_path)
    assert Random.load(tmp_path).seed == 7


def test_a_parser_with_weights_is_replaced(tmp_path: Path) -> None:
    """By one without: its weights go."""
    from test_base import ToyParser

    ToyParser().save(tmp_path)
    assert len(os.listdir(tmp_path)) == 2
    Balanced().save(tmp_path)
    assert os.listdir(tmp_path) == ["parser.json"]
    ToyParser().save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["parser.json", "weights.safetensors"]


def test_no_torch(tmp_path: Path) -> None:
    """Neither to import, nor to parse, save and load."""
    code = f"""
import sys
import parsers.heuristics as h
from parsers.base import load
words = [["it", "rains", "often"], []]
for parser in (h.RightBranching(), h.LeftBranching(), h.Balanced(), h.Random(1)):
    bank = type(parser).fit(words).parse(words)
    parser.save({os.fspath(tmp_path)!r})
    load({os.fspath(tmp_path)!r}).parse(words)
    h.FromFile(bank).parse(words)
print(*sorted(sys.modules))
"""
    environment = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert not set(done.stdout.split()) & {"torch", "safetensors", "transformers"}


# ---------------------------------------------------------------------- from a file


def test_trees_of_a_file(tmp_path: Path) -> None:
    """Case does not matter, words come from the sentences, labels go, trees need not be binary."""
    path = tmp_path / "trees.txt"
    path.write_text("(S (NP The dog) barks)\n\n(S (A a) (X b c d))\n(S go)\n")
    with says(FormatError, "trees.txt:2:1: expected a tree, got an empty line. Remove it, or pass on_error='skip' to"):
        FromFile(path)
    parser = FromFile(path, on_error="skip")
    words = [["the", "Dog", "barks"], [], ["a", "b", "c", "d"], ["Go"]]
    found = parser.parse(words)
    assert [list(own.tokens or ()) for own in found] == words
    assert [own.spans for own in found] == [[(0, 3), (0, 2)], [], [(0, 4), (1, 4)], []]
    assert found.labels is None
    assert found == parser.parse(found, batch_tokens=1)
    parser.save(tmp_path / "teacher")
    path.unlink()
    again = FromFile.load(tmp_path / "teacher")
    assert again.parse(words) == found
    assert again.name == parser.name == os.fspath(path)
    assert parser.parse(words[2:], first=2) == found[2:]
    assert parser.parse([], first=4) == found[4:]


def test_missing_sentences_stay_missing() -> None:
    """Here, in the file, or in both."""
    bank = trees_of([["a", "b"], [], ["a", "b", "c"], []])
    found = FromFile(bank).parse([["a", "b"], ["x"], [], []])
    assert found.lengths.tolist() == [2, 0, 0, 0]
    assert found.constituent_count == 1


def test_trees_without_words() -> None:
    bank = Treebank.from_constituents([3, 2], [[(0, 2)], []])
    assert FromFile(bank).parse([["a", "b", "c"], ["d", "e"]])[0].spans == [(0, 2)]
    with says(AlignmentError, "sentences[1]: expected 2 words as in trees[1], got 3. Pass the same sentences."):
        FromFile(bank).parse([["a", "b", "c"], ["d", "e", "f"]])


def test_discontinuous_trees(tmp_path: Path) -> None:
    bank = Treebank.from_constituents([["a", "b", "c"]], [[((0, 1), (2, 3)), (0, 3)]])
    FromFile(bank).save(tmp_path)
    for parser in (FromFile(bank), FromFile.load(tmp_path)):
        assert parser.parse([["A", "b", "C"]]).same_trees(bank)


def test_other_sentences(tmp_path: Path) -> None:
    path = tmp_path / "trees.txt"
    path.write_text("(S (NP the dog) barks)\n(S it rains)\n")
    parser = FromFile(path)
    words = [["the", "dog", "barks"], ["it", "rains"]]
    with says(AlignmentError, f"sentences[1][0]: expected 'it' as in {path}[1], got 'she'. Pass the same."):
        parser.parse([words[0], ["she", "rains"]])
    with says(AlignmentError, f"sentences[0]: expected 3 words as in {path}[0], got 2. Pass the same sentences."):
        parser.parse(words[::-1])
    with says(AlignmentError, f"sentences: expected the 2 of {path}, got 1. Pass the same sentences, or first= for a"):
        parser.parse(words[:1])
    with says(AlignmentError, f"sentences: expected the 2 of {path}, got 2 from first=1 on. Pass the same sentences"):
        parser.parse(words, first=1)
    with says(AlignmentError, "got 1 from first=-1 on."):
        parser.parse(words[:1], first=-1)


def test_what_is_no_file_of_trees(tmp_path: Path) -> None:
    with says(FileError, "none: expected a file to read, got: No such file or directory."):
        FromFile(tmp_path / "none")
    (tmp_path / "a.conllu").write_text("1\tit\t_\t_\t_\t_\t0\troot\t_\t_\n\n")
    with says(ArgumentError, "a.conllu: expected constituency trees, got dependency trees. Name another file."):
        FromFile(tmp_path / "a.conllu")
    with says(ArgumentError, "trees: expected constituency trees, got dependency trees. Name another file."):
        FromFile(DependencyTreebank.from_heads([[0]], tokens=[["a"]]))  # type: ignore[arg-type]
    assert FromFile.fit(trees_of(WORDS)).parse(WORDS) == trees_of(WORDS)
    with says(ArgumentError, "sentences: expected a treebank with the trees to repeat, got words alone. Pass FromFile"):
        FromFile.fit(WORDS)


def test_published_files(shared_data: Path) -> None:
    """A teacher's file, asked with the words of the gold file."""
    folder = shared_data / "wsj22"
    gold = treeavg.read(folder / "gold.txt")
    found = RightBranching().parse(gold)
    assert found.tokens == gold.tokens
    assert FromFile(found).parse(gold) == found
