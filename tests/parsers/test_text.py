"""Words as numbers, batches, reading sentences."""

from __future__ import annotations

import gzip
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.nn.batches import token_batches
from parsers.nn.text import TextReader
from parsers.nn.vocabulary import BEGIN, END, UNKNOWN, Vocabulary
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, FormatError
from treeavg.formats.text import SentenceReader, read_sentences
from treeavg.treebank import Treebank

TREE = "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))"


def test_vocabulary() -> None:
    vocabulary = Vocabulary.count([["b", "a", "b"], ["c", "a"]], at_least=2)
    assert vocabulary.symbols == ("a", "b")  # of equals in alphabetical order
    assert [vocabulary[word] for word in "abc"] == [4, 5, UNKNOWN]
    with pytest.raises(ArgumentError, match=r"^symbols: expected distinct symbols, got 'a' twice\. Leave one out\.$"):
        Vocabulary(["a", "a"])


def test_batch() -> None:
    """Positions 0 and n + 1 are the boundaries; case and digits do not matter; equal words share a row."""
    reader = TextReader.of([["The", "dog"], ["the", "1st", "dog"]])
    batch = reader.batch([["THE", "dog", "2nd"], [], ["the"]])
    the, dog = reader.words["the"], reader.words["dog"]
    assert batch.lengths.tolist() == [3, 0, 1]
    assert batch.words.tolist() == [[BEGIN, the, dog, UNKNOWN, END], [BEGIN, END, 0, 0, 0], [BEGIN, the, END, 0, 0]]
    assert batch.types.tolist() == [[0, 1, 2, 3, 0], [0] * 5, [0, 1, 0, 0, 0]]
    assert batch.characters[1].tolist()[:5] == [BEGIN, *(reader.characters[letter] for letter in "the"), END]
    assert not batch.characters[0].any()
    assert batch.tags is None
    assert batch.subwords is None


def test_unseen_characters_and_long_words() -> None:
    reader = TextReader.of([["ab", "ba"]])
    batch = reader.batch([["ж", "a" * 100, "😀b"]])
    assert batch.characters.shape[1] == TextReader.WIDEST + 2
    assert batch.characters[1].tolist()[:3] == [BEGIN, UNKNOWN, END]
    assert batch.characters[3].tolist()[:4] == [BEGIN, UNKNOWN, reader.characters["b"], END]


def test_reader_round_trip() -> None:
    reader = TextReader.of([["a", "b"]], [["X", "Y"]], at_least=1, digits=False)
    again = TextReader.from_json(reader.to_json())
    assert again.to_json() == reader.to_json()
    assert again.batch([["b"]], [["Y"]]).tags.tolist() == [[0, reader.tags["Y"], 0]]  # type: ignore[union-attr, index]
    with pytest.raises(FormatError, match=r"^text: expected the vocabularies of a saved parser, got KeyError"):
        TextReader.from_json({})


def test_tags() -> None:
    reader = TextReader.of([["a", "b"]], [["X", "Y"]])
    with pytest.raises(ArgumentError, match=r"^tags: expected one for each word, as in training, got none\."):
        reader.batch([["a"]])
    with pytest.raises(ArgumentError, match=r"^tags\[1\]: expected 2 tags, one a word, got 1\. Tag every word\.$"):
        reader.batch([["a"], ["a", "b"]], [["X"], ["X"]])


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 200), st.one_of(st.none(), st.integers(0, 5)))
def test_token_batches(lengths: list[int], tokens: int, seed: int | None) -> None:
    """Every sentence once, and no batch over the budget but of one sentence."""
    sizes = np.array(lengths, np.int64)
    batches = token_batches(sizes, tokens, seed=seed)
    assert sorted(index for batch in batches for index in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(sizes[batch].max(), 1) <= tokens
    again = token_batches(sizes, tokens, seed=seed)
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches]


def test_token_batches_refuses() -> None:
    with pytest.raises(ArgumentError, match=r"^tokens: expected at least 1 token a batch, got 0\."):
        token_batches(np.array([1]), 0)


def test_plain_text(tmp_path: Path) -> None:
    """One sentence a line; empty lines keep their place; the last needs no line end."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"the  dog\tbarks\r\n\nit (rains)")
    assert read_sentences(path) == [["the", "dog", "barks"], [], ["it", "(rains)"]]
    with gzip.open(tmp_path / "a.txt.gz", "wb") as file:
        file.write("caf\xe9\n".encode("latin-1"))
    assert read_sentences(tmp_path / "a.txt.gz", encoding="latin-1") == [["café"]]
    assert [len(batch) for batch in SentenceReader(path, batch=2)] == [2, 1]


def test_treebanks_as_text(tmp_path: Path) -> None:
    """A treebank's words are taken; --format text reads brackets as words."""
    path = tmp_path / "a.txt"
    path.write_text(f"{TREE}\n" * 3)
    bank = read_sentences(path)
    assert isinstance(bank, Treebank)
    assert bank[2].tokens == ["the", "dog", "barks"]
    words = read_sentences(path, "text")
    assert isinstance(words, list)
    assert words[0][:2] == ["(S", "(NP"]
    (tmp_path / "a.conllu").write_text("1\tit\t_\t_\t_\t_\t2\t_\t_\t_\n2\trains\t_\t_\t_\t_\t0\t_\t_\t_\n\n")
    assert isinstance(read_sentences(tmp_path / "a.conllu"), DependencyTreebank)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(b"it rains\n"))))  # type: ignore[arg-type]
    assert read_sentences("-") == [["it", "rains"]]


@pytest.mark.parametrize("content", ["it rains\n" * 20_000, f"{TREE}\n" * 5_000])
def test_a_pipe_gives_its_bytes_once(tmp_path: Path, content: str) -> None:
    """What was looked at to tell text from trees is read all the same."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(pipe.write_text, content)
        found = read_sentences(pipe)
        written.result()
    assert len(found) == content.count("\n")


def test_bad_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"")
    with pytest.raises(FormatError, match=r"a\.txt: expected sentences, got an empty file\. Put one sentence on each"):
        read_sentences(path)
    path.write_bytes(b"good\nb\xe4d\n")
    with pytest.raises(FormatError, match=r"a\.txt:2:2: expected UTF-8, got the byte 0xe4\. Convert the file, or pass"):
        read_sentences(path)
    with pytest.raises(ArgumentError, match=r"^format: expected one of 'text', 'brackets', .* got 'txt'"):
        read_sentences(path, "txt")
