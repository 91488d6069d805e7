"""Bracketed trees in and out: each rule by an example, round trips by hypothesis, nltk as the twin."""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from itertools import islice
from pathlib import Path

import nltk
import numpy as np
import pytest
from format_helpers import shared, treebanks, words
from hypothesis import example, given
from nltk.corpus.reader import BracketParseCorpusReader

import treeavg
from treeavg import FormatError, Treebank

SMALL = os.environ.get("TREEAVG_HYPOTHESIS") == "small"


def read_text(folder: Path, text: str | bytes, name: str = "trees.txt", **options: str) -> Treebank:
    """Write `text` to a file and read it."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return treeavg.read(path, **options)


# ------------------------------------------------------------------ rules, by example


def test_one_tree_a_line(tmp_path: Path) -> None:
    """Labels, tags, words and spans of two plain lines."""
    bank = read_text(tmp_path, "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))\n(S (NP (PRP it)) (VP (VBZ is)))\n")
    assert bank[0].tokens == ["the", "dog", "barks"]
    assert bank[0].spans == [(0, 3), (0, 2)]
    assert bank[0].labels == ["S", "NP"]
    assert bank[0].tags == ["DT", "NN", "VP VBZ"]
    assert (bank[1].tokens, bank[1].labels, bank[1].tags) == (["it", "is"], ["S"], ["NP PRP", "VP VBZ"])


def test_penn_file(tmp_path: Path) -> None:
    """Trees over several lines with an empty outer label, empty elements and function labels, between blank lines."""
    text = """

( (S
    (NP-SBJ-1 (NNP Kim) )
    (VP (VBD wanted)
      (S
        (NP-SBJ (-NONE- *-1) )
        (VP (TO to)
          (VP (VB go) ))))
    (. .) ))
( (FRAG (RB no)
 (. .)))

"""
    bank = read_text(tmp_path, text)
    assert len(bank) == 2
    assert bank[0].tokens == ["Kim", "wanted", "*-1", "to", "go", "."]
    assert bank[0].tags == ["NP-SBJ-1 NNP", "VBD", "NP-SBJ -NONE-", "TO", "VP VB", "."]
    assert bank[0].labels == ["S", "VP", "S", "VP"]
    assert bank[0].spans == [(0, 6), (1, 5), (2, 5), (3, 5)]
    assert bank == read_text(tmp_path, text, "trees.mrg") == read_text(tmp_path, text, format="ptb")


@pytest.mark.parametrize(
    "text", ["( (S (A a) (B b)))", "((S (A a) (B b)))", "( ( ((S (A a) (B b)))))", "(S (A a) (B b))"]
)
def test_empty_outer_labels_are_a_wrapper(tmp_path: Path, text: str) -> None:
    """Any number of nameless outer brackets around one tree is dropped."""
    bank = read_text(tmp_path, text)
    assert (bank[0].spans, bank[0].labels, bank[0].tags) == ([(0, 2)], ["S"], ["A", "B"])


def test_nameless_bracket_over_two_trees_stays(tmp_path: Path) -> None:
    """A nameless outer bracket that holds more than one tree is a constituent."""
    bank = read_text(tmp_path, "( (NP (A a) (B b)) (VP (C c) (D d)))")
    assert (bank[0].spans, bank[0].labels) == ([(0, 4), (0, 2), (2, 4)], ["", "NP", "VP"])


def test_nameless_inner_bracket_stays(tmp_path: Path) -> None:
    """A nameless bracket inside the tree is a constituent without a label."""
    bank = read_text(tmp_path, "(S ( (A a) (B b)) (C c))")
    assert (bank[0].spans, bank[0].labels) == ([(0, 3), (0, 2)], ["S", ""])


@pytest.mark.parametrize(
    ("text", "tokens", "labels", "tags"),
    [
        ("(S (VP (VP (A a) (B b))))", ["a", "b"], ["S", "VP", "VP"], ["A", "B"]),
        ("(S (NP (NP (A a))) (B b))", ["a", "b"], ["S"], ["NP NP A", "B"]),
        ("(S (A a))", ["a"], [], ["S A"]),
        ("(A a)", ["a"], [], ["A"]),
        ("(S a b)", ["a", "b"], ["S"], None),
        ("(S a (NP b c) d)", ["a", "b", "c", "d"], ["S", "NP"], None),
        ("(S a (B b))", ["a", "b"], ["S"], ["", "B"]),
    ],
)
def test_chains_and_leaves_without_a_tag(
    tmp_path: Path, text: str, tokens: list[str], labels: list[str], tags: list[str] | None
) -> None:
    """Unary chains over several tokens are rows, over one token its tag; a word may stand without a tag."""
    view = read_text(tmp_path, text)[0]
    assert (view.tokens, view.labels, view.tags) == (tokens, labels, tags)


@pytest.mark.parametrize(
    ("spelled", "word"),
    [
        ("-LRB-", "("),
        ("-RRB-", ")"),
        (":--RRB-", ":-)"),
        ("-LRB-s-RRB-", "(s)"),
        ("\\-LRB-", "-LRB-"),
        ("-LCB-", "-LCB-"),
        ("1\\/2", "1\\/2"),
        ("\\", "\\"),
        ("-LRB", "-LRB"),
        ("-lrb-", "-lrb-"),
    ],
)
def test_escaped_words(tmp_path: Path, spelled: str, word: str) -> None:
    """Round brackets have codes, everything else stands for itself; writing gives the same spelling."""
    text = f"(S (A {spelled}) (B b))\n"
    bank = read_text(tmp_path, text)
    assert bank[0].tokens == [word, "b"]
    treeavg.write(bank, tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_text() == text


def test_scripts(tmp_path: Path) -> None:
    """Words and labels of any script, with combining marks and letters of four bytes; nothing is normalised."""
    sentence = ["кот", "猫", "قطة", "बिल्ली", "แมว", "고양이", "𐌰𐍄", "😀", "e\u0301", "\u00e9", "a\u00a0b", "\u2028"]
    text = f"(предложение {' '.join(f'(字 {word})' for word in sentence)})\n"
    bank = read_text(tmp_path, text)
    assert bank[0].tokens == sentence
    assert bank[0].labels == ["предложение"]
    treeavg.write(bank, tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("format", ["brackets", "ptb"])
@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"\n", b"\r\n"),
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"),
        lambda raw: raw.rstrip(b"\n"),
        lambda raw: raw.replace(b"\n", b" \t\r\n"),
        lambda raw: raw.replace(b" ", b"\t \x0b\x0c"),
        lambda raw: raw.replace(b"(", b" ( ").replace(b")", b" ) "),
        lambda raw: raw.replace(b" (", b"("),
    ],
    ids=["crlf", "mark", "mark and crlf", "no last newline", "trailing blanks", "odd blanks", "wide", "dense"],
)
def test_spelling_of_white_space_does_not_matter(tmp_path: Path, change: object, format: str) -> None:
    """Windows line ends, a byte-order mark, blanks of all kinds, or none: the same trees."""
    raw = b"(S (NP (DT the) (NN dog)) (VP (VBZ barks)))\n(S (NP (PRP it)) (VP (VBZ is)))\n"
    expected = read_text(tmp_path, raw, format=format)
    assert read_text(tmp_path, change(raw), format=format) == expected  # type: ignore[operator]


def test_excerpts_stay_on_their_line_and_on_whole_letters(tmp_path: Path) -> None:
    """What a message quotes ends with the line and does not cut a letter in two."""
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, "(S (A a) (B b)) )\n(S (A a) (B b))\n", format="brackets")
    assert "got ')'. Balance" in str(caught.value)
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, "(S (A a) (B b))\nx" + 30 * "💩" + "\n", format="brackets")
    assert "\ufffd" not in str(caught.value)


def test_latin_1(tmp_path: Path) -> None:
    """A named encoding is recoded; without it the invalid byte is named with its place."""
    raw = "(S (A señor) (B b))\n(S (A él) (B b))\n".encode("latin-1")
    assert read_text(tmp_path, raw, encoding="latin-1")[1].tokens == ["él", "b"]
    assert read_text(tmp_path, "(S (A señor) (B b))".encode("utf-16"), encoding="utf-16")[0].tokens == ["señor", "b"]
    with pytest.raises(FormatError, match=r"trees\.txt:1:9: expected UTF-8, got the byte 0xf1\. Convert the file, or"):
        read_text(tmp_path, raw)


@pytest.mark.parametrize("encoding", ["rot13", "base64", "hex", "zip", "nonsense", "", "é", "undefined"])
def test_encodings_that_are_none(tmp_path: Path, encoding: str) -> None:
    """A codec that is not a text encoding is refused like an unknown one."""
    with pytest.raises(treeavg.ArgumentError, match=r"encoding: expected a known encoding, got .*Try 'utf-8'"):
        read_text(tmp_path, "(S (A a) (B b))\n", encoding=encoding)


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(S (A a)\n(S (A a) (B b))\n(S (A a) (B b))\n",
         r"trees.txt:1:9: expected ')' to close the bracket of line 1, column 1, got end of line. The format is one "
         "tree a line; use format='ptb'"),
        ("(S (A a) (B b))\n(S (A a) (B b)))\n",
         "trees.txt:2:16: expected the end of the line behind the tree, got ')'. Balance the brackets"),
        ("(S (A a) (B b))\n(S (A a) (B b)) (X (Y y))\n", "trees.txt:2:17: expected the end of the line behind"),
        ("(S (A a) (B b))\n(S (A a) (B b)) x\n", "trees.txt:2:17: expected the end of the line behind the tree"),
        ("(S (A a) (B b))\n\n(S (A a) (B b))\n", "trees.txt:2:1: expected a tree, got an empty line. Remove it, or"),
        ("(S (A a) (B b))\n \t\r\n(S (A a) (B b))\n", "trees.txt:2:4: expected a tree, got an empty line"),
        ("(S (A a) (B b))\n\n", "trees.txt:2:1: expected a tree, got an empty line"),
        ("\n", "trees.txt:1:1: expected a tree, got an empty line"),
        ("(S (A a) (B b))\nhello world\n", "trees.txt:2:1: expected '(' to begin a tree, got 'hello world"),
        ("(S (A a) (B b))\n()\n", "trees.txt:2:2: expected a token before ')', got '()'. A token stands behind"),
        ("(S (A a) (B b))\n(S)\n", "trees.txt:2:3: expected a token before ')', got '(S)'"),
        ("(S (A a) (B b))\n(S (NP ) (B b))\n", "trees.txt:2:8: expected a token before ')', got '(NP )'"),
        ("(S (A a) (B b))\n(S ((())) (B b))\n", "trees.txt:2:7: expected a token before ')', got '()'"),
        ("(S (A ñ) (B ñ))\n(S (A ñ) (B ñ)))\n", "trees.txt:2:16: expected the end of the line"),
    ],
)  # fmt: skip
def test_messages_of_one_tree_a_line(tmp_path: Path, text: str, message: str) -> None:
    """Every error names file, line and column (in characters), what is wrong and what to do; one line."""
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, text, format="brackets")
    assert message.replace("\\", "") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(S (A a)\n  (B b)", ":2:8: expected ')' to close the bracket of line 1, column 1, got end of file. Close"),
        ("(S (A a)\n  (B b)))\n", ":2:9: expected '(' to begin a tree, got ')"),
        ("(S (A a)\n  (B ))\n", ":2:6: expected a token before ')', got '(B )'"),
        ("word\n(S (A a)\n  (B b))\n", ":1:1: expected '(' to begin a tree, got 'word"),
        ("( (S (A a) (B b)))\n(\n)\n", ":3:1: expected a token before ')'"),
    ],
)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_messages_of_trees_over_several_lines(tmp_path: Path, text: str, message: str, on_error: str) -> None:
    """The same for a Penn file; nothing can be skipped there, and the message says so."""
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, text, "trees.mrg", on_error=on_error)
    assert f"trees.mrg{message}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("cannot be skipped" in str(caught.value)) == (on_error == "skip")


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_an_invalid_byte_in_a_penn_file_raises(tmp_path: Path, on_error: str) -> None:
    """A line of a tree over several lines is never blanked: that would be another tree without a word about it."""
    raw = b"( (S\n (NP (DT the) (NN d\xffg))\n (VP (VBZ barks))))\n"
    with pytest.raises(FormatError, match=r"trees\.mrg:2:20: expected UTF-8, got the byte 0xff"):
        read_text(tmp_path, raw, "trees.mrg", on_error=on_error)


@pytest.mark.parametrize("text", ["", "   ", "\ufeff", "\t\r "])
@pytest.mark.parametrize("name", ["trees.txt", "trees.mrg", "trees.jsonl"])
def test_files_without_a_tree(tmp_path: Path, text: str, name: str) -> None:
    """An empty file, and one of blanks only, is an error whatever the format."""
    with pytest.raises(FormatError, match=r"expected at least one tree, got an empty file|got an empty line"):
        read_text(tmp_path, text, name)


def test_skip_keeps_every_place(tmp_path: Path) -> None:
    """Each erroneous line becomes a missing sentence in its place, and the others are read as if alone."""
    good = "(S (A a) (B b))"
    lines = [good, "", "(S", "(S)", "x", good + ")", "(S (A \x00) (B b))", "(S (A \udcff) (B b))", good]
    raw = "\n".join(lines).encode(errors="surrogateescape")
    bank = read_text(tmp_path, raw, on_error="skip", format="brackets")
    assert bank.missing.tolist() == list(range(1, 8))
    assert bank[0] == bank[8]
    assert bank[8].tokens == ["a", "b"]
    bank.validate()


# ------------------------------------------------------------------ writing


def test_missing_sentences_are_empty_lines(tmp_path: Path) -> None:
    """A missing sentence is written as an empty line and read back under skip; the ptb format refuses it."""
    bank = read_text(tmp_path, "(S (A a) (B b))\n\n(S (A a) (B b))\n", on_error="skip")
    treeavg.write(bank, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == "(S (A a) (B b))\n\n(S (A a) (B b))\n"
    assert treeavg.read(tmp_path / "out.txt", on_error="skip") == bank
    with pytest.raises(FormatError, match=r"treebank\[1\]: expected a tree, got a missing sentence.*format='brackets'"):
        treeavg.write(bank, tmp_path / "out.mrg")
    assert not (tmp_path / "out.mrg").exists()


@pytest.mark.parametrize(
    ("tokens", "tree", "labels", "tags", "message"),
    [
        (["a b", "c"], [(0, 2)], None, None, "expected a word without white space, got 'a b'"),
        (["a", ""], [(0, 2)], None, None, "expected a word without white space, got ''"),
        (["a", "b\n"], [(0, 2)], None, None, "expected a word without white space"),
        (["a", "b"], [(0, 2)], ["S("], None, "expected a label without white space or brackets, got 'S('"),
        (["a", "b"], [(0, 2)], ["S P"], None, "expected a label without white space or brackets, got 'S P'"),
        (["a", "b"], [(0, 2)], ["S"], ["A", "B)"], "expected a tag without white space or brackets, got 'B)'"),
        (["a", "b"], [(0, 2)], ["S"], ["A", "B\t"], "expected a tag without white space or brackets"),
        (["a", "b"], [(0, 2)], [""], None, "expected a label on a bracket that begins with a bare word, got none"),
        (["a", "b", "c"], [((0, 1), (2, 3))], None, None, "expected continuous constituents, got a discontinuous one"),
    ],
)
def test_what_brackets_cannot_hold(
    tmp_path: Path, tokens: list[str], tree: list[tuple[int, int]], labels: list[str], tags: list[str], message: str
) -> None:
    """What would be read back as something else is refused, with the sentence and a format that can hold it."""
    bank = Treebank.from_constituents(
        [["x"], tokens], [[], tree], labels=[[], labels] if labels else None, tags=[["X"], tags] if tags else None
    )
    with pytest.raises(FormatError) as caught:
        treeavg.write(bank, tmp_path / "out.txt")
    assert str(caught.value).startswith("treebank[1]: ")
    assert message in str(caught.value)
    assert "write JSON lines (.jsonl)" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    treeavg.write(bank, tmp_path / "out.jsonl")
    assert treeavg.read(tmp_path / "out.jsonl")[1] == bank[1]


def test_unlisted_roots_are_written(tmp_path: Path) -> None:
    """A line holds one bracket: a tree without the whole sentence as a constituent gets it, labelled X."""
    bank = Treebank.from_constituents([["a", "b", "c"], ["d", "e"]], [[(0, 2)], []], labels=[["NP"], []])
    treeavg.write(bank, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == "(X (NP a b) c)\n(X d e)\n"


def test_gzip(tmp_path: Path) -> None:
    """A .gz file is compressed, read back, and its bytes do not depend on time or name."""
    bank = read_text(tmp_path, "(S (A a) (B b))\n" * 50)
    for name in ("one.txt.gz", "two.txt.gz"):
        treeavg.write(bank, tmp_path / name)
        os.utime(tmp_path / name, (0, 0))
    one, two = ((tmp_path / name).read_bytes() for name in ("one.txt.gz", "two.txt.gz"))
    assert one == two
    assert one[:2] == b"\x1f\x8b"
    assert one[4:8] == b"\0\0\0\0"
    assert treeavg.read(tmp_path / "one.txt.gz") == bank


@given(bank=treebanks("tagged"))
def test_round_trip_with_labels_and_tags(tmp_path: Path, bank: Treebank) -> None:
    """Labels, tags and words of any kind come back as they were, from lines and from a Penn file, compressed or not."""
    for name in ("bank.txt", "bank.mrg", "bank.txt.gz"):
        treeavg.write(bank, tmp_path / name)
        assert treeavg.read(tmp_path / name) == bank
    treeavg.read(tmp_path / "bank.txt").validate()


@given(bank=treebanks("labelled"))
def test_round_trip_with_labels(tmp_path: Path, bank: Treebank) -> None:
    """Without tags words stand bare; only a sentence of one word needs a bracket, X."""
    for name in ("bank.txt", "bank.mrg"):
        treeavg.write(bank, tmp_path / name)
        again = treeavg.read(tmp_path / name)
        assert again.same_trees(bank)
        assert (again.labels, again.tokens) == (bank.labels, bank.tokens)
        for view in again:
            assert view.tags is None or view.tags == (["X"] if len(view) == 1 else [""] * len(view))


@given(bank=treebanks("bare"))
def test_round_trip_without_labels(tmp_path: Path, bank: Treebank) -> None:
    """Without labels every bracket is X; words and trees come back, and a second trip changes nothing."""
    for name in ("bank.txt", "bank.mrg"):
        treeavg.write(bank, tmp_path / name)
        again = treeavg.read(tmp_path / name)
        assert again.same_trees(bank)
        assert again.tokens == bank.tokens
        treeavg.write(again, tmp_path / name)
        assert treeavg.read(tmp_path / name) == again


@given(word=words)
@example(word="\\-LRB-")
@example(word="-LRB(")
@example(word="\\\\(")
@example(word="-LRB-RRB-")
def test_round_trip_of_a_word(tmp_path: Path, word: str) -> None:
    """Brackets, backslashes and codes in a word come back."""
    bank = Treebank.from_constituents([[word, "b", word]], [[(0, 3)]], labels=[["S"]])
    treeavg.write(bank, tmp_path / "bank.txt")
    assert treeavg.read(tmp_path / "bank.txt")[0].tokens == [word, "b", word]


# ------------------------------------------------------------------ nltk, tree by tree


def assert_equal_to_nltk(path: Path, trees: Iterator[nltk.Tree], encoding: str = "utf-8", count: int = 0) -> int:
    """Compare a file with nltk's trees; with `count` only the first so many. Return how many were compared."""
    bank = treeavg.read(path, encoding=encoding)
    bank.validate()
    compared = 0
    for view, tree in zip(bank, trees, strict=False):
        own = view.to_nltk()
        if own != tree:  # no assert on trees themselves: their repr is long and licensed
            pytest.fail(f"{path.name}: sentence {compared + 1} differs from nltk's tree")
        compared += 1
        if compared == count:
            return compared
    assert compared == len(bank)
    assert next(trees, None) is None
    return compared


def penn_trees(path: Path) -> Iterator[nltk.Tree]:
    """Parse the lines of a file with nltk, without empty outer brackets."""
    for line in path.read_text(encoding="utf-8").splitlines():
        tree = nltk.Tree.fromstring(line)
        yield tree[0] if tree.label() == "" and len(tree) == 1 and isinstance(tree[0], nltk.Tree) else tree


def corpus(archive: Path, folder: Path, pattern: str, encoding: str, every: int) -> tuple[int, int]:
    """Compare each `every`-th file of an nltk corpus; return numbers of files and of sentences."""
    if str(folder) not in nltk.data.path:
        nltk.data.path.append(str(folder))  # nltk reads only from folders that it was told of
    with zipfile.ZipFile(archive) as stored:
        stored.extractall(folder)
    reader = BracketParseCorpusReader(str(folder), pattern, encoding=encoding)
    names = reader.fileids()[::every]
    return len(names), sum(
        assert_equal_to_nltk(folder / name, iter(reader.parsed_sents(name)), encoding) for name in names
    )


EVERY = 60 if SMALL else 12


def test_penn_treebank_sample(shared_data: Path, tmp_path: Path) -> None:
    """Some .mrg files of nltk's treebank corpus, equal to nltk's own reader."""
    archive = shared(shared_data, "nltk_data/corpora/treebank.zip")
    files, sentences = corpus(archive, tmp_path, r".*\.mrg", "ascii", EVERY)
    assert files >= 3
    assert sentences > 20


@pytest.mark.slow
def test_penn_treebank(shared_data: Path, tmp_path: Path) -> None:
    """All .mrg files of nltk's treebank corpus, equal to nltk's own reader."""
    archive = shared(shared_data, "nltk_data/corpora/treebank.zip")
    assert corpus(archive, tmp_path, r".*\.mrg", "ascii", 1) == (199, 3914)


class PlainReader(BracketParseCorpusReader):
    """nltk's reader without its private rules, such as (tag word lemma) losing the lemma."""

    def _normalize(self, block: str) -> str:
        return block


def spanish(archive: Path, folder: Path, every: int) -> Counter[str]:
    """Compare files of cess_esp with nltk, as they are and without lemmas; count what came out."""
    with zipfile.ZipFile(archive) as stored:
        stored.extractall(folder)
    nltk.data.path.append(str(folder))  # nltk reads only from folders that it was told of
    plain, usual = (
        kind(str(folder), r".*\.tbf", encoding="ISO-8859-15") for kind in (PlainReader, BracketParseCorpusReader)
    )
    counts: Counter[str] = Counter()
    for name in plain.fileids()[::every]:
        counts["files"] += 1
        try:
            bank = treeavg.read(folder / name, encoding="ISO-8859-15")
        except FormatError as error:
            counts["unbalanced" if re.match(rf"{folder}/{name}:\d+:\d+: expected ", str(error)) else "unclear"] += 1
            continue
        bank.validate()
        counts["sentences"] += len(bank)
        # The corpus writes (tag word lemma): a bracket over two words without tags.
        words = np.ones(bank.token_count, bool)
        for view in bank:
            for start, end in view.spans:
                if end - start == 2 and (view.tags is None or view.tags[start] == view.tags[start + 1] == ""):
                    words[bank.token_offsets[view.index] + start + 1] = False
        shorter = treeavg.delete_tokens(bank, words)
        with redirect_stderr(StringIO()):
            pairs = list(zip(bank, plain.parsed_sents(name), shorter, usual.parsed_sents(name), strict=False))
        for view, tree, short, other in pairs:
            counts["equal" if view.to_nltk() == tree and short.to_nltk() == other else "different"] += 1
    return counts


def test_spanish_sample(shared_data: Path, tmp_path: Path) -> None:
    """Some files of nltk's cess_esp corpus, in Latin-9, equal to what nltk reads but where it meets a bad tree."""
    counts = spanish(shared(shared_data, "nltk_data/corpora/cess_esp.zip"), tmp_path, EVERY)
    assert counts["sentences"] > 20
    assert counts["equal"] >= counts["sentences"] - 2
    assert counts["unclear"] == 0


@pytest.mark.slow
def test_spanish(shared_data: Path, tmp_path: Path) -> None:
    """All of cess_esp: three files do not balance; in a dozen nltk itself reports a bad tree and recovers its way."""
    counts = spanish(shared(shared_data, "nltk_data/corpora/cess_esp.zip"), tmp_path, 1)
    assert counts == {"files": 609, "unbalanced": 3, "sentences": 5997, "equal": 5985, "different": 5}


LINE_FILES = [
    ("wsj-sample/trees.txt", 3914), ("gum/train.txt", 11558), ("gum/dev.txt", 1575), ("wsj22/gold.txt", 1690),
    *((f"wsj22/teachers/{name}.txt", 1690) for name in (
        "on-lstm", "neural-pcfg", "compound-pcfg", "diora", "s-diora", "contest", "contexdistort")),
    *((f"susanne/teachers/{name}.txt", 6424) for name in (
        "on-lstm", "neural-pcfg", "compound-pcfg", "diora", "s-diora", "contest", "contexdistort")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "count"), LINE_FILES)
def test_lines_of_shared_files(shared_data: Path, name: str, count: int) -> None:
    """Every file of brackets in the shared data has its number of sentences; the first trees equal nltk's."""
    path = shared(shared_data, name)
    assert_equal_to_nltk(path, penn_trees(path), count=10 if SMALL else 150)
    assert len(treeavg.read(path)) == count


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), LINE_FILES)
def test_all_lines_of_shared_files(shared_data: Path, name: str, count: int) -> None:
    """All trees of every file of brackets in the shared data equal nltk's."""
    path = shared(shared_data, name)
    assert assert_equal_to_nltk(path, penn_trees(path)) == count


def test_sample_equals_nltk() -> None:
    """The embedded sample, equal to nltk, tree by tree."""
    path = Path(__file__).resolve().parents[2] / "data" / "gold.txt"
    trees = islice(penn_trees(path), 100 if SMALL else 500)
    assert assert_equal_to_nltk(path, trees, count=100 if SMALL else 500)
