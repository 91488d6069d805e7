"""Discontinuous brackets in and out: rules by example, round trips by hypothesis, a recursive twin."""

from __future__ import annotations

import random
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import nltk
import numpy as np
import pytest
from format_helpers import discontinuous, shared, treebanks
from hypothesis import example, given
from hypothesis import strategies as st

import treeavg
from treeavg import FormatError, Treebank
from treeavg.escapes import escape_token, unescape_token
from treeavg.formats import FORMATS, AlignedReader, Columns, TreebankReader, format_of
from treeavg.formats.base import Chunk
from treeavg.strings import StringColumn
from treeavg.transforms import with_roots

LINE = "(S (VP (PRO 0=Was) (PART 3=gesehen)) (AUX 1=hat) (PRO 2=sie))"


def read_text(folder: Path, text: str | bytes, name: str = "a.dbr", **options: Any) -> Treebank:
    """Write `text` to a file and read it."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    bank = treeavg.read(path, **options)
    assert isinstance(bank, Treebank)
    return bank


def written(bank: Treebank) -> str:
    """Return the text of a treebank."""
    return FORMATS["discbracket"].serialize(bank).decode()


def tagged(bank: Treebank, seed: int) -> Treebank:
    """Return the treebank with a tag or a chain of tags on each token."""
    generator = random.Random(seed)
    names = ["NN", "VB", "字", "-LRB-", "0=x", "#LRB#"]
    chains = [" ".join(generator.choices(names, k=generator.choice([1, 1, 1, 2, 3]))) for _ in range(bank.token_count)]
    return bank.replace(tags=StringColumn.of(chains))


def nltk_tree(line: str) -> nltk.Tree:
    """Read a line by nltk, to which a backslash would escape a bracket."""
    return nltk.Tree.fromstring(line, node_pattern=r"[^\s()]*", leaf_pattern=r"[^\s()]+")


def twin(line: str) -> tuple[list[str], list[tuple[tuple[tuple[int, int], ...], str]], list[str]]:
    """Read a line by nltk and recursion: words, constituents with labels (unsorted), tags."""
    words: dict[int, str] = {}
    tags: dict[int, str] = {}
    constituents = []

    def walk(node: nltk.Tree, chain: list[str]) -> list[int]:
        if isinstance(node, str):
            index, word = node.split("=", 1)
            words[int(index)] = unescape_token(word, "#")
            tags[int(index)] = " ".join(chain)
            return [int(index)]
        single = len(node.leaves()) == 1
        below = [walk(child, [*chain, node.label()] if single else []) for child in node]
        tokens = sorted(token for part in below for token in part)
        if not single:
            runs = [
                [token for _, token in run] for _, run in groupby(enumerate(tokens), lambda pair: pair[1] - pair[0])
            ]
            constituents.append((tuple((run[0], run[-1] + 1) for run in runs), node.label()))
        return tokens

    walk(nltk_tree(line.split("\t")[0]), [])
    return [words[index] for index in sorted(words)], constituents, [tags[index] for index in sorted(tags)]


# ------------------------------------------------------------------ reading


def test_a_line(tmp_path: Path) -> None:
    """The example of the specification."""
    view = read_text(tmp_path, f"{LINE}\n")[0]
    assert view.tokens == ["Was", "hat", "sie", "gesehen"]
    assert view.constituents == [((0, 4),), ((0, 1), (3, 4))]
    assert view.labels == ["S", "VP"]
    assert view.tags == ["PRO", "AUX", "PRO", "PART"]


@pytest.mark.parametrize(
    "line",
    [
        "(S (PRO 2=sie) (AUX 1=hat) (VP (PART 3=gesehen) (PRO 0=Was)))", f"{LINE}\tsent 1 (x) 9=y\t)", f"{LINE}\t",
        f" {LINE} \r", LINE.replace(" (", "("), f"( {LINE})", f"({LINE})",
        LINE.replace("3=", "03="), LINE.replace("0=", "000="),
    ],
)  # fmt: skip
def test_spelling_does_not_matter(tmp_path: Path, line: str) -> None:
    """The order of children, a comment behind a TAB, blanks, and the file's wrapper change nothing."""
    assert read_text(tmp_path, line) == read_text(tmp_path, LINE)


def test_chains(tmp_path: Path) -> None:
    """Unary chains repeat a constituent, the outer first; chains over a word are its tag; bare words have none."""
    view = read_text(tmp_path, "(A (B (C (NP (NN 2=c)) 0=a) (D 1=b)))")[0]
    assert (view.constituents, view.labels) == ([((0, 3),), ((0, 3),), ((0, 1), (2, 3))], ["A", "B", "C"])
    assert view.tags == ["", "D", "NP NN"]
    view = read_text(tmp_path, "(NP (NN 0=a))")[0]
    assert (view.constituents, view.tags, view.tokens) == ([], ["NP NN"], ["a"])


def test_brackets_without_a_label_that_begin_with_a_word(tmp_path: Path) -> None:
    """A bracket within is written first, since order says nothing; without one the word would be the label."""
    path = tmp_path / "a.dbr"
    path.write_text("(X ( (X 1=b) 0=a) (X 2=c))\n")
    bank = treeavg.read(path)
    assert (bank[0].tokens, bank[0].labels, bank[0].spans) == (["a", "b", "c"], ["X", ""], [(0, 3), (0, 2)])
    treeavg.write(bank, path)
    assert path.read_text() == "(X ( (X 1=b) 0=a) (X 2=c))\n"
    assert treeavg.read(path) == bank


@pytest.mark.parametrize(
    ("spelled", "word"),
    [
        ("a=b", "a=b"), ("=", "="), ("", ""), ("#LRB#", "("), ("x#RRB#y", "x)y"), ("\\#LRB#", "#LRB#"),
        ("\\\\#LRB#", "\\("), ("-LRB-", "-LRB-"), ("#LCB#", "#LCB#"), ("7=8", "7=8"), ("\u00a0", "\u00a0"),
    ],
)  # fmt: skip
def test_words(tmp_path: Path, spelled: str, word: str) -> None:
    """A leaf is split at its first '='; brackets have codes; an empty word is one."""
    bank = read_text(tmp_path, f"(S (A 1={spelled}) (B 0=x))")
    assert bank[0].tokens == ["x", word]
    assert written(bank) == f"(S (B 0=x) (A 1={spelled}))\n"


@given(
    word=st.lists(
        st.sampled_from(["(", ")", "\\", "#", "L", "R", "RB", "#LRB#", "#RRB", "-LRB-", "é", "="]), max_size=10
    ).map("".join)
)
def test_every_word_comes_back(word: str) -> None:
    """Codes are bijective: words of brackets, codes and their parts."""
    spelled = escape_token(word, "#")
    assert not {"(", ")"} & set(spelled)
    assert unescape_token(spelled, "#") == word


@given(bank=discontinuous(), seed=st.integers(0, 2**32 - 1))
def test_as_the_twin_reads(bank: Treebank, seed: int) -> None:
    """Words, constituents and tags are those that nltk and recursion find, whatever the order of children."""
    generator = random.Random(seed)
    assert bank.tokens is not None
    bank = bank.replace(
        tokens=StringColumn.of(re.sub(r"\s", "_", token) for token in bank.tokens)
    )  # white space to nltk
    for line in written(tagged(bank, seed)).split("\n")[:-1]:
        tree = nltk_tree(line)
        for node in tree.subtrees():
            generator.shuffle(node)
        shuffled = tree.pformat(margin=10**9)
        view = FORMATS["discbracket"].parse(Chunk(np.frombuffer(shuffled.encode(), np.uint8), "name"))[0][0]
        tokens, constituents, tags = twin(shuffled)
        assert (view.tokens, view.tags) == (tokens, tags)
        assert sorted(zip(view.constituents, view.labels or [], strict=True)) == sorted(constituents)


# ------------------------------------------------------------------ writing


@given(bank=discontinuous(), seed=st.integers(0, 2**32 - 1))
def test_round_trip(tmp_path: Path, bank: Treebank, seed: int) -> None:
    """Trees of any fan-out with labels, chains and tags come back, and are as valid as before."""
    bank = tagged(bank, seed)
    for name in ("a.dbr", "a.discbracket", "a.dbr.gz"):
        treeavg.write(bank, tmp_path / name)
        again = treeavg.read(tmp_path / name)
        assert again == bank
        again.validate()


@pytest.mark.parametrize("kind", ["tagged", "labelled", "bare"])
@given(bank=treebanks("tagged"))
def test_round_trip_of_continuous_trees(tmp_path: Path, kind: str, bank: Treebank) -> None:
    """Continuous trees come back as from brackets; without labels and tags, X stands for them."""
    dropped = {"tagged": (), "labelled": ("tags",), "bare": ("tags", "labels")}[kind]
    bank = bank.replace(**dict.fromkeys(dropped))
    treeavg.write(bank, tmp_path / "a.dbr")
    treeavg.write(bank, tmp_path / "a.txt")
    again = treeavg.read(tmp_path / "a.dbr")
    assert again == treeavg.read(tmp_path / "a.txt")
    assert kind != "tagged" or again == bank


def test_written_without_strings() -> None:
    """Without words, labels and tags; without the whole sentence; missing sentences."""
    bank = Treebank.from_constituents([3, 1, 0, 2], [[[(0, 1), (2, 3)]], [], [], []])
    assert written(bank) == "(X (X (X 0=_) (X 2=_)) (X 1=_))\n(X 0=_)\n\n(X (X 0=_) (X 1=_))\n"


def test_labels_without_tags() -> None:
    """Words without a tag stand bare where there are labels."""
    bank = Treebank.from_constituents([["a", "b", "c"]], [[[(0, 1), (2, 3)], (0, 3)]], labels=[["A", "S"]])
    assert written(bank) == "(S (A 0=a 2=c) 1=b)\n"


@pytest.mark.parametrize("deep", ["left", "right", "unary", "chain"])
def test_deep_trees(tmp_path: Path, deep: str) -> None:
    """50,000 brackets within one another; nothing recurses. (Fewer where each covers all that are within.)"""
    depth = 50_000 if deep in ("unary", "chain") else 1_000
    line = {
        "left": "(X " * depth + f"{depth}=a" + "".join(f" {index}=a)" for index in range(depth)),
        "right": "".join(f"(X {index}=a " for index in range(depth)) + f"{depth}=a" + ")" * depth,
        "unary": "(X " * depth + "1=b 0=a" + ")" * depth,
        "chain": "(X " * depth + "0=a" + ")" * depth,
    }[deep]
    bank = read_text(tmp_path, line)
    assert bank.constituent_count == (0 if deep == "chain" else depth)
    treeavg.write(bank, tmp_path / "again.dbr")
    assert treeavg.read(tmp_path / "again.dbr") == bank


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"tokens": ["a b", "c", "d"]},
            "expected a word without white space, got 'a b'. The format cannot hold it; write",
        ),
        ({"tokens": ["a", "c\n", "d"]}, "expected a word without white space, got 'c\\n'."),
        ({"tokens": ["a", "\0", "d"]}, "expected a word without white space, got '\\x00'."),
        ({"labels": ["A B", "C"]}, "expected a label without white space or brackets, got 'A B'."),
        ({"labels": ["A", "C)"]}, "expected a label without white space or brackets, got 'C)'."),
        ({"tags": ["A\t", "B", "C"]}, "expected a tag without white space or brackets, got 'A\\t'."),
        ({"tags": ["(", "B", "C"]}, "expected a tag without white space or brackets, got '('."),
        (
            {"tags": ["A ", "B", "C"]},
            "expected a label on the outermost bracket and on those that begin with a bare word",
        ),
        (
            {"labels": ["S", ""]},
            "expected a label on the outermost bracket and on those that begin with a bare word, got",
        ),
    ],
)
def test_strings_that_cannot_be_written(tmp_path: Path, change: dict[str, list[str]], message: str) -> None:
    """What would not be read back is refused, and no file appears."""
    bank = Treebank.from_constituents(
        [["x"], ["a", "b", "c"]], [[], [(0, 3), [(0, 1), (2, 3)]]], labels=[[], ["S", "A"]]
    )
    first = {"tokens": ["x"], "tags": ["X"], "labels": []}
    bank = bank.replace(**{name: StringColumn.of(first[name] + value) for name, value in change.items()})
    with pytest.raises(FormatError) as caught:
        treeavg.write(bank, tmp_path / "a.dbr")
    assert str(caught.value).startswith(f"treebank[1]: {message}")
    assert list(tmp_path.iterdir()) == []


def test_wrappers_are_not_written() -> None:
    """A bracket without a label around a single one would be read as the file's wrapper."""
    chain = Treebank.from_constituents([["a", "b"]], [[(0, 2), (0, 2)]], labels=[["", "S"]])
    single = Treebank.from_constituents([["a"]], [[]], labels=[[]], tags=[[" NN"]])
    for bank in (chain, single):
        with pytest.raises(FormatError, match=r"treebank\[0\]: expected a label on the outermost bracket"):
            written(bank)
    inner = Treebank.from_constituents([["a", "b"]], [[(0, 2), (0, 2)]], labels=[["S", ""]], tags=[[" NN", "B"]])
    assert written(inner) == "(S ( ( (NN 0=a)) (B 1=b)))\n"


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", ":2:1: expected a tree, got an empty line. Remove it, or pass on_error='skip' to keep its place."),
        ("\tcomment", ":2:9: expected a tree, got an empty line."),
        ("S 0=a", ":2:1: expected '(' to begin a tree, got 'S 0=a'. A tree looks like (S (VP (VB 0=Is)"),
        ("(S (A 0=a)", ":2:11: expected ')' to close the bracket of column 1, got the end of the line. Close it; the"),
        ("(S\t(A 0=a))", ":2:12: expected ')' to close the bracket of column 1, got the end of the line."),
        ("(S (A))", ":2:6: expected index=word before ')', got '(A)'. A tree looks like"),
        ("(0=a)", ":2:5: expected index=word before ')', got '(0=a)'."),
        ("(A 0=a))", ":2:8: expected the end of the line behind the tree, got ')'. A comment begins with a TAB."),
        ("(é 0=a) x", ":2:9: expected the end of the line behind the tree, got 'x'."),
        ("(é (A a) (B 1=b))", ":2:7: expected index=word, got 'a'. A tree looks like"),
        ("(S (A 0=a) (B b=1))", ":2:15: expected index=word, got 'b=1'."),
        ("(S (A 0=a) (B 1))", ":2:15: expected index=word, got '1'."),
        ("(S (A 0=a) (B =b))", ":2:15: expected index=word, got '=b'."),
        ("(S (A 0=a) (B -1=b))", ":2:15: expected index=word, got '-1=b'."),
        ("(S (A 0=a) (B ١=b))", ":2:15: expected index=word, got '١=b'."),
        (
            "(S (A 0=a) (B 0=b))",
            ":2:15: expected each index from 0 to 1 once, got an index that an earlier word has: '0=b'.",
        ),
        (
            "(S (A 0=a) (B 2=b))",
            ":2:15: expected each index from 0 to 1 once, got an index beyond them: '2=b'. Number the",
        ),
        ("(S (A 1=a) (B 2=b))", ":2:15: expected each index from 0 to 1 once, got an index beyond them: '2=b'."),
        ("(S (A 0=a) (B 99999999999999999999=b))", ":2:15: expected each index from 0 to 1 once, got an index beyond"),
        (b"(S 0=\xff)", ":2:6: expected UTF-8, got the byte 0xff."),
        (b"(S 0=\0)", ":2:6: expected text, got the byte 0x00."),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_messages(tmp_path: Path, line: str | bytes, message: str, last: bool) -> None:
    """Each error names file, line and column, what is wrong and what to do; under skip the sentence is missing."""
    raw = line.encode() if isinstance(line, str) else line
    text = f"{LINE}\n".encode() + raw + (b"\n" if last else b"\n" + LINE.encode())
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/a.dbr{message}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    reader = TreebankReader(tmp_path / "a.dbr", on_error="skip")
    bank = reader.next(10)
    assert isinstance(bank, Treebank)
    assert bank.lengths.tolist() == [4, 0] if last else [4, 0, 4]
    assert last or bank[0] == bank[2]
    assert [(item.sentence, item.message) for item in reader.problems] == [(1, str(caught.value))]
    assert written(bank).splitlines()[1] == ""


def test_the_first_error_is_named(tmp_path: Path) -> None:
    """A double index in line 1 comes before a missing bracket in line 2."""
    with pytest.raises(FormatError, match=r"a\.dbr:1:8: expected each index from 0 to 1 once"):
        read_text(tmp_path, "(S 0=a 0=b)\n(S 0=a\n")


def test_a_last_line_without_its_end(tmp_path: Path) -> None:
    """A last line that is faulty or only a comment keeps its place, with or without a line end."""
    for last in ("(S 0=a 0=b)", "\tcomment", "(S"):
        for end in ("", "\n"):
            assert read_text(tmp_path, f"{LINE}\n{last}{end}", on_error="skip").lengths.tolist() == [4, 0]


def test_missing_sentences_come_back(tmp_path: Path) -> None:
    """Missing sentences keep their places, in batches as well."""
    bank = read_text(tmp_path, f"\n{LINE}\n\n\n{LINE}\n", on_error="skip")
    assert bank.missing.tolist() == [0, 2, 3]
    treeavg.write(bank, tmp_path / "again.dbr")
    assert treeavg.read(tmp_path / "again.dbr", on_error="skip") == bank
    for batch in range(1, 7):
        reader = AlignedReader([tmp_path / "again.dbr"], on_error="skip", batch=batch)
        assert Treebank.concatenate(part for (part,) in reader) == bank
        assert [item.message.split(":")[1] for item in reader.problems] == ["1", "3", "4"]


def test_columns(tmp_path: Path) -> None:
    """What is not wanted is not kept; trees are the same."""
    whole = read_text(tmp_path, f"{LINE}\n")
    (words,) = next(iter(AlignedReader([tmp_path / "a.dbr"], columns=[Columns(labels=False)])))
    (names,) = next(iter(AlignedReader([tmp_path / "a.dbr"], columns=[Columns(tokens=False)])))
    assert words == whole.replace(labels=None, tags=None)
    assert names == whole.replace(tokens=None)


PIECES = [
    b"(",
    b")",
    b"(X ",
    b" 0=a",
    b" 1=b",
    b" 2=",
    b"=",
    b"0",
    b" ",
    b"\n",
    b"\t",
    b"\xff",
    b"\0",
    b"#LRB#",
    b"(S 1=b 0=a)\n",
]


@given(data=st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join)))
@example(data=b"(S 0=a)\t\n\t\n\t")
@example(data=b"(S 0=a 0=b)")
def test_any_bytes(data: bytes) -> None:
    """Any bytes give trees, or an error with a place; what is read under skip is read as if alone."""
    parse = FORMATS["discbracket"].parse
    lines = data.split(b"\n")
    if not lines[-1].strip(b" \t\r\v\f"):
        lines.pop()
    lenient, problems = parse(Chunk(np.frombuffer(data, np.uint8), "name", skip=True))
    assert isinstance(lenient, Treebank)
    lenient.validate()
    assert len(lenient) == len(lines)
    assert [problem.sentence for problem in problems] == lenient.missing.tolist()
    for view, line in zip(lenient, lines, strict=True):
        if len(view):
            alone = parse(Chunk(np.frombuffer(line, np.uint8), "name"))[0]
            assert (alone[0].constituents, alone[0].tokens) == (view.constituents, view.tokens)
    chunk = Chunk(np.frombuffer(data, np.uint8), "name")
    if not problems:
        assert parse(chunk) == (lenient, [])
        return
    with pytest.raises(FormatError, match=r"^name:\d+:\d+: expected \S") as caught:
        parse(chunk)
    assert str(caught.value) in [problem.message for problem in problems]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (f"{LINE}\n".encode(), "discbracket"), (f"\n{LINE}".encode(), "discbracket"), (b"(X 0=a)", "discbracket"),
        (b"(S (A 2=c)(B 0=a) 1=)\n", "discbracket"), (b"(S (A 0=a) (B b))\n", "brackets"),
        (b"(S (A =a))\n", "brackets"),
        (b"(0=a b)\n", "brackets"), (("(S" + "".join(f" (X {i}=w)" for i in range(20_000))).encode(), "discbracket"),
    ],
)  # fmt: skip
def test_by_content(head: bytes, name: str) -> None:
    """Brackets whose words all are index=word."""
    assert format_of("a.txt", head[:65536]).name == name


# ------------------------------------------------------------------ shared data


def test_shared_file(shared_data: Path, tmp_path: Path) -> None:
    """The sample of disco-dop: as the twin reads it, and the same trees again."""
    path = shared(shared_data, "formats/longsent.dbr")
    bank = treeavg.read(path)
    assert len(bank) == 8
    for view, line in zip(bank, path.read_text().splitlines(), strict=True):
        tokens, constituents, tags = twin(line)
        assert (view.tokens, view.tags) == (tokens, tags)
        assert sorted(zip(view.constituents, view.labels, strict=True)) == sorted(constituents)
    treeavg.write(bank, tmp_path / "again.dbr")
    assert treeavg.read(tmp_path / "again.dbr") == bank


def test_shared_json_lines(shared_data: Path, tmp_path: Path) -> None:
    """Every tree of LASSY, gold and predicted, survives; the whole sentence is listed where it was not."""
    for path in sorted(shared(shared_data, "lassy").rglob("*.jsonl")):
        bank = with_roots(treeavg.read(path))
        treeavg.write(bank, tmp_path / "a.dbr")
        again = treeavg.read(tmp_path / "a.dbr")
        assert again.same_trees(bank)
        assert again.tokens == bank.tokens
