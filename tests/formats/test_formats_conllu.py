"""CoNLL-U in and out: the text of a file survives, changes go into HEAD, DEPREL and MISC, errors name their line."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_helpers import shared
from hypothesis import given
from hypothesis import strategies as st

import treeavg
from treeavg import FormatError
from treeavg.dependency import DependencyTreebank
from treeavg.formats import FORMATS, AlignedReader, Columns, TreebankReader, format_of
from treeavg.formats.base import Chunk
from treeavg.strings import StringColumn

# Our own words, with everything that a file may hold.
TEXT = """\
# sent_id = 1
# text = Gehn wirs an?
1\tGehn\tgehen\tVERB\tVVFIN\t_\t0\troot\t0:root\t_
2-3\twirs\t_\t_\t_\t_\t_\t_\t_\t_
2\twir\twir\tPRON\tPPER\tCase=Nom|Number=Plur\t1\tnsubj\t1:nsubj\t_
3\tes\tes\tPRON\tPPER\t_\t1\tobj\t1:obj\tNote=clitic|Support=0.5
3.1\tjetzt\tjetzt\tADV\t_\t_\t_\t_\t1:advmod\tElided=Yes
4\tan\tan\tADP\tPTKVZ\t_\t1\tcompound:prt\t_\tSpaceAfter=No
5\t?\t?\tPUNCT\t$.\t_\t1\tpunct\t_\tSpaceAfter=No

# a word with a space
1\tzehn tausend\t_\tNUM\t_\t_\t0\troot\t_\t_

"""
LINES = TEXT.splitlines()


def read_text(folder: Path, text: str | bytes, name: str = "a.conllu", **options: Any) -> DependencyTreebank:
    """Write `text` to a file and read it."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    bank = treeavg.read(path, **options)
    assert isinstance(bank, DependencyTreebank)
    return bank


def written(bank: DependencyTreebank) -> str:
    """Return the text of a treebank."""
    return FORMATS["conllu"].serialize(bank).decode()


def word(number: int, head: object, form: str = "w") -> str:
    """Return the line of a word."""
    return f"{number}\t{form}\t_\t_\t_\t_\t{head}\t_\t_\t_\n"


# ------------------------------------------------------------------ reading and writing


def test_columns(tmp_path: Path) -> None:
    """Words, heads and relations of the words; ranges, empty nodes and comments only in the source."""
    bank = read_text(tmp_path, TEXT)
    assert bank[0].tokens == ["Gehn", "wir", "es", "an", "?"]
    assert bank[0].heads == [0, 1, 1, 1, 1]
    assert bank[0].relations == ["root", "nsubj", "obj", "compound:prt", "punct"]
    assert (bank[1].tokens, bank[1].heads) == (["zehn tausend"], [0])
    assert bank.sources is not None
    assert bank.sources[0] == "\n".join(LINES[:9])
    assert bank.support is None
    assert bank.ids is None


def test_unchanged(tmp_path: Path) -> None:
    """An unchanged treebank gives back the same bytes."""
    treeavg.write(read_text(tmp_path, TEXT), tmp_path / "again.conllu")
    assert (tmp_path / "again.conllu").read_bytes() == TEXT.encode()


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("\n", "\r\n"), TEXT[:-1], TEXT[:-2], "\n\n" + TEXT, TEXT + "\n \n", "\ufeff" + TEXT,
        TEXT.replace("\n\n#", "\n \t\n\n#"),
    ],
)  # fmt: skip
def test_line_ends(tmp_path: Path, text: str) -> None:
    """CRLF, a byte-order mark, too few or too many empty lines are put right."""
    assert written(read_text(tmp_path, text)) == TEXT


def test_changes(tmp_path: Path) -> None:
    """New heads, relations and support go into the words' lines; all the rest stays."""
    bank = read_text(tmp_path, TEXT)
    changed = bank.replace(
        heads=np.array([3, 1, 0, 3, 1, 0], np.int32),
        relations=StringColumn.of(["a", "nsubj", "root", "", "punct", "root"]),
        support=np.array([1, 5 / 6, 0.5, 0, 0.25, 1]),
    )
    expected = list(LINES)
    expected[2] = "1\tGehn\tgehen\tVERB\tVVFIN\t_\t3\ta\t0:root\tSupport=1.000"
    expected[4] = "2\twir\twir\tPRON\tPPER\tCase=Nom|Number=Plur\t1\tnsubj\t1:nsubj\tSupport=0.833"
    expected[5] = "3\tes\tes\tPRON\tPPER\t_\t0\troot\t1:obj\tNote=clitic|Support=0.5"
    expected[7] = "4\tan\tan\tADP\tPTKVZ\t_\t3\t_\t_\tSpaceAfter=No|Support=0.000"
    expected[8] = "5\t?\t?\tPUNCT\t$.\t_\t1\tpunct\t_\tSpaceAfter=No|Support=0.250"
    expected[11] = "1\tzehn tausend\t_\tNUM\t_\t_\t0\troot\t_\tSupport=1.000"
    assert written(changed).splitlines() == expected
    again = read_text(tmp_path, written(changed))
    assert again.heads.tolist() == [3, 1, 0, 3, 1, 0]
    assert again.support is not None
    assert again.support.tolist() == [1, 0.833, 0.5, 0, 0.25, 1]
    assert written(again) == written(changed)


def test_relations_of_other_arcs_go(tmp_path: Path) -> None:
    """Without relations, those of the source stay where the head is the same, and go where it is another."""
    bank = read_text(tmp_path, TEXT).replace(relations=None, heads=np.array([0, 1, 2, 1, 1, 0], np.int32))
    expected = list(LINES)
    expected[5] = expected[5].replace("\t1\tobj\t", "\t2\t_\t")
    assert written(bank).splitlines() == expected


@pytest.mark.parametrize(
    ("misc", "value", "expected"),
    [
        ("_", 0.5, "Support=0.500"),
        ("", 0.5, "Support=0.500"),
        ("A=1", 0.5, "A=1|Support=0.500"),
        ("Support=0.1", 0.5, "Support=0.500"),
        ("A=1|Support=0.1|B=2", 0.5, "A=1|Support=0.500|B=2"),
        ("NoSupport=0.1", 0.5, "NoSupport=0.1|Support=0.500"),
        ("Support=", 1, "Support=1.000"),
        ("Support=x|A", 1, "Support=1.000|A"),
        ("Support=1", 1, "Support=1"),
        ("Support=0.33333", 1 / 3, "Support=0.333"),
    ],
)
def test_support(tmp_path: Path, misc: str, value: float, expected: str) -> None:
    """`Support` is added or replaced, other keys stay; the same value stays as it is spelled."""
    bank = read_text(tmp_path, word(1, 0).rstrip("\n")[:-1] + misc + "\n").replace(support=np.array([value]))
    assert written(bank) == word(1, 0).rstrip("\n")[:-1] + expected + "\n\n"


@pytest.mark.parametrize("miscs", [["_", "Support=1"], ["Support=2"], ["Support=nan"], ["Support=-1"], ["Support=x"]])
def test_no_support(tmp_path: Path, miscs: list[str]) -> None:
    """Support is read where every word has a share between 0 and 1, else it stays text."""
    lines = [word(number, number - 1).rstrip("\n")[:-1] + misc + "\n" for number, misc in enumerate(miscs, 1)]
    assert read_text(tmp_path, "".join(lines)).support is None


def test_without_sources(tmp_path: Path) -> None:
    """A treebank from elsewhere is written with ID, FORM, HEAD and DEPREL."""
    bank = DependencyTreebank.from_heads(
        [[2, 0], [0]], tokens=[["it", "rains"], ["yes"]], relations=[["expl", "root"], [""]]
    )
    assert written(bank) == (
        "1\tit\t_\t_\t_\t_\t2\texpl\t_\t_\n2\trains\t_\t_\t_\t_\t0\troot\t_\t_\n\n1\tyes\t_\t_\t_\t_\t0\t_\t_\t_\n\n"
    )
    bare = DependencyTreebank.from_heads([[2, 0]]).replace(support=np.array([1.0, 0.5]))
    assert written(bare) == "1\t_\t_\t_\t_\t_\t2\t_\t_\tSupport=1.000\n2\t_\t_\t_\t_\t_\t0\t_\t_\tSupport=0.500\n\n"


forms = st.text(st.sampled_from("a\u00a0 |=_#-1é字😀\u2028\x0b()"), min_size=1, max_size=5)
values = st.text(st.sampled_from("aß=|:_,."), max_size=4)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Valid files with comments, ranges and empty nodes wherever they may stand."""
    generator = random.Random(draw(st.integers(0, 2**32 - 1)))
    sentences = []
    for _ in range(draw(st.integers(1, 4))):
        length = generator.randint(1, 6)
        order = generator.sample(range(1, length + 1), length)
        heads = {order[0]: 0} | {
            after: order[generator.randrange(place + 1)] for place, (_, after) in enumerate(pairwise(order))
        }
        lines = [f"# {draw(values)}" for _ in range(generator.randint(0, 2))]
        top = 0
        for number in range(length + 1):
            if number:
                if number > top and generator.random() < 0.2:
                    top = generator.randint(number, length)
                    lines.append(f"{number}-{top}\t" + "\t".join(draw(values) for _ in range(9)))
                columns = [str(number), draw(forms), *(draw(values) for _ in range(8))]
                columns[6] = "0" * (generator.random() < 0.1) + str(heads[number])
                lines.append("\t".join(columns))
            lines += [f"{number}.{sub}\t" + "\t".join("_" * 9) for sub in range(1, generator.choice([1, 1, 1, 3]))]
        sentences.append("\n".join(lines))
    return "".join(f"{sentence}\n\n" for sentence in sentences)


@given(text=files())
def test_round_trip_of_text(tmp_path: Path, text: str) -> None:
    """Whatever stands in a valid file comes back byte by byte, and reads as the same treebank."""
    bank = read_text(tmp_path, text)
    assert written(bank) == text
    assert read_text(tmp_path, written(bank)) == bank


@given(text=files(), seed=st.integers(0, 2**32 - 1))
def test_round_trip_of_changes(tmp_path: Path, text: str, seed: int) -> None:
    """Other heads and relations come back, in lines where only these columns differ."""
    bank = read_text(tmp_path, text)
    heads = [head for view in bank for head in _mirrored(view.heads)]
    relations = StringColumn.of(f"r{index % 3}" for index in range(bank.token_count))
    changed = bank.replace(heads=np.array(heads, np.int32), relations=relations)
    again = read_text(tmp_path, written(changed))
    assert again.replace(sources=None) == changed.replace(sources=None, support=again.support)
    for before, after in zip(text.split("\n"), written(changed).split("\n"), strict=True):
        kept = [column for place, column in enumerate(before.split("\t")) if place not in (6, 7)]
        assert kept == [column for place, column in enumerate(after.split("\t")) if place not in (6, 7)]
        if not re.match(r"\d+\t", before):
            assert before == after


def _mirrored(heads: list[int]) -> list[int]:
    """Return the tree read from right to left."""
    return [len(heads) + 1 - head if head else 0 for head in reversed(heads)]


@given(text=files())
def test_round_trip_without_sources(tmp_path: Path, text: str) -> None:
    """Words, heads and relations survive where the file's text is dropped."""
    bank = read_text(tmp_path, text).replace(sources=None, support=None)
    again = read_text(tmp_path, written(bank))
    assert (again.heads.tolist(), again.tokens) == (bank.heads.tolist(), bank.tokens)
    assert again.relations is not None
    assert bank.relations is not None
    assert list(again.relations) == [name or "_" for name in bank.relations]


def test_strings_that_are_not_wanted(tmp_path: Path) -> None:
    """Words and sources, and relations, can be left out."""
    (tmp_path / "a.conllu").write_text(TEXT)
    bank = TreebankReader(tmp_path / "a.conllu", columns=Columns(tokens=False, labels=False)).next(10)
    assert isinstance(bank, DependencyTreebank)
    assert (bank.tokens, bank.sources, bank.relations) == (None, None, None)
    assert bank.heads.tolist() == [0, 1, 1, 1, 1, 0]


def test_batches(tmp_path: Path) -> None:
    """A file is read whole and handed out in batches."""
    whole = read_text(tmp_path, TEXT * 5)
    for batch in (1, 3, 10, 11):
        parts = [bank for (bank,) in AlignedReader([tmp_path / "a.conllu"], batch=batch)]
        assert [len(part) for part in parts[:-1]] == [batch] * (len(parts) - 1)
        assert DependencyTreebank.concatenate(parts) == whole


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        (
            word(1, 0).replace("\t_\n", "\n"),
            ":4: expected ten columns separated by tabs, got 9. Write _ in a column that",
        ),
        ("# c\n" + word(1, 0).replace("\t", "    "), ":5: expected ten columns separated by tabs, got 1."),
        (word(1, 0) + word(2, 1).replace("\n", "\t_\n"), ":5: expected ten columns separated by tabs, got 11."),
        (word(1, "_"), ":4: expected a number in column 7 (HEAD), got '_'. Give the ID of the word's head, 0 for the"),
        (word(1, 0) + word(2, "1.5"), ":5: expected a number in column 7 (HEAD), got '1.5'."),
        (word(1, ""), ":4: expected a number in column 7 (HEAD), got ''."),
        (word(1, -1), ":4: expected a number in column 7 (HEAD), got '-1'."),
        (word(1, "1" * 99), ":4: expected a number in column 7 (HEAD), got '1111"),
        (word(1, "٠"), ":4: expected a number in column 7 (HEAD), got '٠'."),
        (
            word(2, 0),
            ":4: expected the ID 1, got '2'. Number words from 1 without holes; ranges look like 1-2, empty nodes",
        ),
        (word(1, 0) + word(3, 1), ":5: expected the ID 2, got '3'."),
        (word(1, 0) + word(1, 1), ":5: expected the ID 2, got '1'."),
        (word(1, 0).replace("1", "x"), ":4: expected the ID 1, got 'x'."),
        (word(1, 0).replace("1", "01"), ":4: expected the ID 1, got '01'."),
        (word(1, 0).replace("1", "1-"), ":4: expected the ID 1, got '1-'."),
        ("\t" * 9 + "x\n", ":4: expected the ID 1, got ''."),
        (word(1, 0) + word(1, 0).replace("1", "2.1"), ":5: expected the ID 2, got '2.1'."),
        (word(1, 0) + word(1, 0).replace("1", "1.0"), ":5: expected the ID 2, got '1.0'."),
        (word(1, 0).replace("1", "2-3"), ":4: expected a range of words that begins at 1, got '2-3'. Mend the ID."),
        (word(1, 0) + word(1, 0).replace("1", "1-2"), ":5: expected a range of words that begins at 2, got '1-2'."),
        (word(1, 0).replace("1", "1-0"), ":4: expected a range of words that begins at 1, got '1-0'."),
        (
            word(1, 0).replace("1", "1-2") + word(1, 0) + word(2, 1).replace("2", "2-3", 1),
            ":6: expected a range of words that begins at 3, got '2-3'.",
        ),
        (word(1, 0).replace("1", "1-2") + word(1, 0), ":4: expected a range within 1 words, got one that ends at 2."),
        ("# only\n# comments\n", ":4: expected a word, got only comments. Remove them, or add the words."),
        (word(1, 0, ""), ":4: expected a word in column 2 (FORM), got nothing. Write _ where it is unknown."),
        (
            word(1, 0) + word(2, 0),
            ":5: expected one word with head 0, got a second one, word 2. Attach it to another word.",
        ),
        (word(1, 2) + word(2, 1), ":4: expected one word with head 0, got none. Give one word the head 0."),
        (word(1, 1), ":4: expected one word with head 0, got none."),
        (
            "# c\n" + word(1, 0) + word(2, 3) + "2.1\t_" + "\t_" * 8 + "\n" + word(3, 2),
            ":6: expected a tree, got a cycle",
        ),
        (
            word(1, 0) + word(2, 3),
            ":5: expected heads from 0 to 2, got 3 for word 2. Words count from 1, 0 is the root.",
        ),
        (word(1, 0) + word(2, 999999999), ":5: expected heads from 0 to 2, got 999999999 for word 2."),
        (word(1, 0).encode() + word(2, 1).encode().replace(b"w", b"a\xff"), ":5:4: expected UTF-8, got the byte 0xff."),
        (word(1, 0, "\0").encode(), ":4:3: expected text, got the byte 0x00. Is this a text file?"),
        (
            word(1, 0, "é").encode() + word(2, 1).encode().replace(b"_\n", b"\xed\xa0\x80\n"),
            ":5:19: expected UTF-8, got",
        ),
    ],
)
def test_messages(tmp_path: Path, sentence: str | bytes, message: str) -> None:
    """Each error names file and line, what is wrong and what to do; under skip the sentence is missing, no other."""
    raw = sentence.encode() if isinstance(sentence, str) else sentence
    text = f"# x\n{word(1, 0)}\n".encode() + raw + f"\n{word(1, 0)}\n".encode()
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/a.conllu{message}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    reader = TreebankReader(tmp_path / "a.conllu", on_error="skip")
    bank = reader.next(10)
    assert isinstance(bank, DependencyTreebank)
    assert bank.lengths.tolist() == [1, 0, 1]
    assert [(item.sentence, item.message) for item in reader.problems] == [(1, str(caught.value))]
    with pytest.raises(FormatError, match=r"treebank\[1\]: expected a tree, got a missing sentence.*format='heads'"):
        written(bank)
    assert written(bank[[0, 2]]) == f"# x\n{word(1, 0)}\n{word(1, 0)}\n"


def test_the_first_error_is_named(tmp_path: Path) -> None:
    """A cycle in sentence 1 comes before nine columns in sentence 2."""
    with pytest.raises(FormatError, match=r"a\.conllu:2: expected a tree, got a cycle"):
        read_text(tmp_path, word(1, 0) + word(2, 2) + "\nx\n")


def test_blank_files(tmp_path: Path) -> None:
    """A file without sentences is an error."""
    for text in ("", "\n\n", " \n\t\r\n"):
        with pytest.raises(FormatError, match=r"a\.conllu.*: expected at least one (tree|sentence), got"):
            read_text(tmp_path, text)


@pytest.mark.parametrize("form", ["", "a\tb", "a\nb", "\r", "\0"])
def test_words_that_cannot_be_written(form: str) -> None:
    """A word or relation with a tab or line end is refused."""
    bank = DependencyTreebank.from_heads([[0], [0]], tokens=[["a"], [form]])
    with pytest.raises(FormatError, match=r"treebank\[1\]: expected a word without tabs and line ends, got "):
        written(bank)
    if form:
        bank = DependencyTreebank.from_heads([[0], [0]], relations=[["a"], [form]])
        with pytest.raises(FormatError, match=r"treebank\[1\]: expected a relation without tabs and line ends, got "):
            written(bank)


def test_sources_of_other_sentences() -> None:
    """A source with another number of words is refused."""
    bank = DependencyTreebank.from_heads([[0, 1]])
    for source in (word(1, 0).strip(), word(1, 0) + word(2, 1) + word(3, 1).strip()):
        with pytest.raises(
            FormatError, match=r"treebank\[0\]: expected 2 words in its source, got [13]\. Drop the sour"
        ):
            written(bank.replace(sources=StringColumn.of([source])))


PIECES = [
    word(1, 0),
    word(2, 1),
    word(1, 2),
    "\n",
    "# c\n",
    "1-2" + "\t_" * 9 + "\n",
    "1.1" + "\t_" * 9 + "\n",
    "\t",
    "1",
    "_",
    "\r",
    "x",
]


@given(data=st.one_of(
    st.binary(max_size=40), st.lists(st.sampled_from([piece.encode() for piece in PIECES]), max_size=12).map(b"".join)
))  # fmt: skip
def test_any_bytes(data: bytes) -> None:
    """Any bytes give trees, or an error with a place; under skip exactly the good sentences are left."""
    parse, raw = FORMATS["conllu"].parse, np.frombuffer(data, np.uint8)
    place = r"^name:\d+(:\d+)?: expected \S"
    try:
        bank, problems = parse(Chunk(raw, "name", skip=True))
    except FormatError as error:
        lasting = str(error)  # nothing that can be skipped
    else:
        lasting = ""
        assert isinstance(bank, DependencyTreebank)
        bank.validate()
        assert [problem.sentence for problem in problems] == bank.missing.tolist()
        assert all(re.match(place, problem.message) for problem in problems)
        if not problems:
            assert parse(Chunk(raw, "name")) == (bank, [])
            return
    with pytest.raises(FormatError, match=place) as caught:
        parse(Chunk(raw, "name"))
    assert int(str(caught.value).split(":")[1]) <= data.count(b"\n") + 1
    assert lasting or str(caught.value) == problems[0].message


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (TEXT.encode(), "conllu"), (b"# text = x\n", "conllu"), (b"\n" + word(1, 0).encode(), "conllu"),
        (b"1-2\ta\t_\n", "conllu"), (b"# x\n1\tnine\tcolumns\n", "conllu"), (b"# x\nwords\n", "brackets"),
        (b"1\t2\t0\n", "heads"),
    ],
)  # fmt: skip
def test_by_content(head: bytes, name: str) -> None:
    """Comments, then a line of an ID and columns."""
    assert format_of("a.txt", head).name == name


# ------------------------------------------------------------------ the conllu package, shared data


def compare_with_package(text: str, bank: DependencyTreebank) -> None:
    """Compare words, heads and relations with what the conllu package reads."""
    conllu = pytest.importorskip("conllu", reason="the conllu package is not installed")
    sentences = conllu.parse(text)
    assert len(sentences) == len(bank)
    for sentence, view in zip(sentences, bank, strict=True):
        words = [token for token in sentence if isinstance(token["id"], int)]
        assert [token["form"] for token in words] == view.tokens
        assert [token["head"] for token in words] == view.heads
        assert [token["deprel"] for token in words] == view.relations


def test_as_the_package_reads(tmp_path: Path) -> None:
    """The conllu package reads the same words, heads and relations, also from what we write."""
    bank = read_text(tmp_path, TEXT)
    compare_with_package(TEXT, bank)
    changed = bank.replace(heads=np.array([2, 0, 2, 2, 2, 0], np.int32), support=np.full(6, 0.5))
    compare_with_package(written(changed), changed)


@pytest.mark.parametrize(("name", "count"), [("dev", 2001), ("test", 2077)])
def test_shared_files(shared_data: Path, tmp_path: Path, name: str, count: int) -> None:
    """Files of English EWT: the same bytes again, and what the conllu package reads."""
    path = shared(shared_data, f"ud-ewt/en_ewt-ud-{name}.conllu")
    bank = treeavg.read(path)
    assert len(bank) == count
    treeavg.write(bank, tmp_path / "again.conllu")
    assert (tmp_path / "again.conllu").read_bytes() == path.read_bytes()
    compare_with_package(path.read_text(encoding="utf-8"), bank)
    treeavg.write(bank, tmp_path / "a.heads")
    assert treeavg.read(tmp_path / "a.heads").same_trees(bank)
