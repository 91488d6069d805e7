"""Head lines in and out: rules by example, round trips by hypothesis, `str.split` as the twin."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_helpers import shared
from hypothesis import example, given
from hypothesis import strategies as st

import treeavg
from treeavg import AlignmentError, FormatError, Treebank
from treeavg.dependency import DependencyTreebank
from treeavg.formats import FORMATS, AlignedReader, TreebankReader, format_of
from treeavg.formats.base import Chunk
from treeavg.formats.heads import faults
from treeavg.strings import StringColumn

GOOD = "7 2 0 2"


def read_text(folder: Path, text: str | bytes, name: str = "a.heads", **options: Any) -> DependencyTreebank:
    """Write `text` to a file and read it."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    bank = treeavg.read(path, **options)
    assert isinstance(bank, DependencyTreebank)
    return bank


def random_heads(generator: random.Random, length: int) -> list[int]:
    """Return any tree with one root: each word hangs under one that was placed before."""
    order = generator.sample(range(1, length + 1), length)
    heads = [0] * length
    for place, word in enumerate(order[1:], 1):
        heads[word - 1] = order[generator.randrange(place)]
    return heads


ids = st.text(st.sampled_from("0a7-_.#({\\é字\u00a0\u2028😀"), min_size=1, max_size=6)


@st.composite
def head_banks(draw: st.DrawFn, missing: bool = False) -> DependencyTreebank:
    """Treebanks with ids; some sentences may be missing."""
    generator = random.Random(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(0 if missing else 1, 12), min_size=1, max_size=6))
    names = [draw(ids) if length else "" for length in lengths]
    return DependencyTreebank.from_heads([random_heads(generator, length) for length in lengths], ids=names)


def twin(text: str) -> list[tuple[str, list[int]]]:
    """Read good lines the slow way."""
    rows = [line.split() for line in text.split("\n")]
    return [(row[0], [int(head) for head in row[1:]]) for row in rows if row]


# ------------------------------------------------------------------ reading


def test_lines(tmp_path: Path) -> None:
    """Ids are kept, whatever they are; white space is any; line ends may be CRLF or absent."""
    bank = read_text(tmp_path, "0 2 0 2\r\n  x-7\t0 1\x0b1 \n字 0")
    assert [view.heads for view in bank] == [[2, 0, 2], [0, 1, 1], [0]]
    assert bank.ids is not None
    assert list(bank.ids) == ["0", "x-7", "字"]
    assert (bank.tokens, bank.relations, bank.support, bank.sources) == (None, None, None, None)


def test_written(tmp_path: Path) -> None:
    """Ids come back; sentences without one get running numbers from 0, missing ones an empty line."""
    bank = DependencyTreebank.from_heads([[2, 0], [], [0]], ids=["a", "b", ""])
    treeavg.write(bank, tmp_path / "a.heads")
    assert (tmp_path / "a.heads").read_text() == "a 2 0\n\n2 0\n"
    treeavg.write(bank.replace(ids=None), tmp_path / "a.heads")
    assert (tmp_path / "a.heads").read_text() == "0 2 0\n\n2 0\n"
    assert FORMATS["heads"].serialize(bank.replace(ids=None), 10) == b"10 2 0\n\n12 0\n"


@given(bank=head_banks(missing=True))
def test_round_trip(tmp_path: Path, bank: DependencyTreebank) -> None:
    """Heads, ids and the places of missing sentences come back, compressed or not."""
    if not bank.token_count:
        return
    for name in ("a.heads", "a.heads.gz"):
        treeavg.write(bank, tmp_path / name)
        assert treeavg.read(tmp_path / name, on_error="skip") == bank


@given(bank=head_banks(), space=st.sampled_from([" ", "\t", "  ", " \x0c", "\r "]), end=st.sampled_from(["\n", "\r\n"]))
def test_as_the_twin_reads(tmp_path: Path, bank: DependencyTreebank, space: str, end: str) -> None:
    """The compiled scanner reads what `str.split` and `int` read."""
    text = end.join(space.join([f"s{index}", *map(str, view.heads)]) for index, view in enumerate(bank))
    again = read_text(tmp_path, text)
    assert again.ids is not None
    assert list(zip(again.ids, [view.heads for view in again], strict=True)) == twin(text)


@given(bank=head_banks(missing=True), batch=st.integers(1, 7))
def test_batches(tmp_path: Path, bank: DependencyTreebank, batch: int) -> None:
    """Batches of any size make up the whole, side by side; lines and sentences of problems count on."""
    if not bank.token_count:
        return
    path = tmp_path / "a.heads"
    treeavg.write(bank, path)
    if not len(bank[-1]):
        path.write_bytes(path.read_bytes() + b"z 0\n")
        bank = bank + DependencyTreebank.from_heads([[0]], ids=["z"])
    reader = AlignedReader([path, path], on_error="skip", batch=batch)
    batches = list(reader)
    assert reader.kind == "dependency"
    for column in zip(*batches, strict=True):
        assert DependencyTreebank.concatenate(column) == bank
    places = [problem.sentence for problem in reader.problems]
    assert places == sorted([*bank.missing.tolist()] * 2)
    for problem in reader.problems:
        assert problem.message.startswith(f"{path}:{problem.sentence + 1}:1: expected an id and heads, got an empty")


@pytest.mark.parametrize("ending", ["", "\n", "\n ", "\n\t \r", "\r\n"])
def test_endings(tmp_path: Path, ending: str) -> None:
    """What ends the file does not matter."""
    assert len(read_text(tmp_path, f"{GOOD}\n{GOOD}{ending}")) == 2


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "",
            ":2:1: expected an id and heads, got an empty line. Remove it, or pass on_error='skip' to keep its place.",
        ),
        (" \t", ":2:1: expected an id and heads, got an empty line."),
        ("5", ":2:1: expected a head for each word behind the id, got only '5'. A line looks like: 0 2 0 2."),
        ("5 2 x 2", ":2:5: expected a number as head, got 'x'. Words count from 1, 0 is the root; the id comes first."),
        ("é 2 -1", ":2:5: expected a number as head, got '-1'."),
        ("5 2 0.5", ":2:5: expected a number as head, got '0.5'."),
        ("5 0 ١", ":2:5: expected a number as head, got '١'."),
        ("5 0 99999999999999999999", ":2:5: expected a head within the sentence, got '99999999999999999999'. Words"),
        ("5 0 2147483647", ":2: expected heads from 0 to 2, got 2147483647 for word 2. Words count from 1, 0 is the"),
        ("5 0 3", ":2: expected heads from 0 to 2, got 3 for word 2."),
        ("5 2 1", ":2: expected one word with head 0, got none. Give one word the head 0."),
        ("5 1", ":2: expected one word with head 0, got none."),
        ("5 0 1 0", ":2: expected one word with head 0, got a second one, word 3. Attach it to another word."),
        ("5 0 3 2", ":2: expected a tree, got a cycle through word"),
        ("5 0 2", ":2: expected a tree, got a cycle through word 2. Mend its heads."),
        (b"5 0 \xff", ":2:5: expected UTF-8, got the byte 0xff."),
        (b"5 0 \0", ":2:5: expected text, got the byte 0x00."),
        ("5 0 " + "1" * 300 + "x", ":2:5: expected a head within the sentence, got '1111"),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_messages(tmp_path: Path, line: str | bytes, message: str, last: bool) -> None:
    """Each error names file and line, what is wrong and what to do; under skip the sentence is missing."""
    raw = line.encode() if isinstance(line, str) else line
    text = f"{GOOD}\n".encode() + raw + b"\n" + (b"" if last else GOOD.encode())
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/a.heads{message}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    if not last:
        bank = read_text(tmp_path, text, on_error="skip")
        assert [view.heads for view in bank] == [[2, 0, 2], [], [2, 0, 2]]
        assert bank.ids is not None
        assert list(bank.ids) == ["7", "", "7"]


def test_the_first_error_is_named(tmp_path: Path) -> None:
    """A cycle in line 1 comes before a letter in line 3."""
    with pytest.raises(FormatError, match=r"a\.heads:1: expected one word with head 0, got none"):
        read_text(tmp_path, f"0 2 1\n{GOOD}\n0 x\n")


def test_many_errors_at_once(tmp_path: Path) -> None:
    """Under skip, each of many faulty lines has its own place (and time does not grow with the square of them)."""
    text = f"{GOOD}\n0 2 1\n0 x\n\n" * 10_000
    path = tmp_path / "a.heads"
    path.write_text(text)
    reader = TreebankReader(path, on_error="skip")
    bank = reader.next(10**6)
    assert len(bank.missing) == len(reader.problems) == 30_000
    assert reader.problems[-2].message.startswith(f"{path}:39999:3: expected a number as head, got 'x'")


def test_all_faults_are_found() -> None:
    """The faulty sentences are those that are faulty alone."""
    generator = random.Random(5)
    lengths = np.array([generator.randint(0, 4) for _ in range(300)], np.int32)
    heads = np.array([generator.randint(-1, 4) for _ in range(int(lengths.sum()))], np.int32)
    bank = DependencyTreebank(lengths, heads)
    alone = [index for index in range(300) if faults(bank[[index]], every=False)]
    assert [sentence for sentence, _, _ in faults(bank, every=True)] == alone
    assert [sentence for sentence, _, _ in faults(bank, every=False)] == alone[:1]


@pytest.mark.parametrize("name", ["a b", "a\n", "\t", "a\u000c", "\ufeffa", "a\0"])
def test_ids_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    """An id that would not be read back is refused, and no file appears."""
    bank = DependencyTreebank.from_heads([[0], [0]], ids=["a", name])
    with pytest.raises(FormatError, match=r"treebank\[1\]: expected an id without white space, got .*ids=None"):
        treeavg.write(bank, tmp_path / "a.heads")
    assert not (tmp_path / "a.heads").exists()


@given(data=st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"0", b"1", b"2", b"9" * 12, b" ", b"\n", b"\t", b"a", b"-", b"\xff", b"\0"]),
             max_size=30).map(b"".join),
))  # fmt: skip
@example(data=b"")
@example(data=b" ")
@example(data=b"0 0")
def test_any_bytes(data: bytes) -> None:
    """Any bytes give trees, or an error with a place; what is read under skip is read as if alone."""
    chunk = Chunk(np.frombuffer(bytearray(data), np.uint8), "name")
    lines = data.split(b"\n")
    if not lines[-1].strip(b" \t\r\v\f"):
        lines.pop()
    lenient, problems = FORMATS["heads"].parse(Chunk(chunk.data, "name", skip=True))
    assert isinstance(lenient, DependencyTreebank)
    lenient.validate()
    assert len(lenient) == len(lines)
    assert [problem.sentence for problem in problems] == lenient.missing.tolist()
    if not problems:
        assert FORMATS["heads"].parse(chunk) == (lenient, [])
        return
    with pytest.raises(FormatError, match=r"^name:\d+(:\d+)?: expected \S") as caught:
        FORMATS["heads"].parse(chunk)
    assert str(caught.value) in [problem.message for problem in problems]


# ------------------------------------------------------------------ which format, which kind


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"0 2 0 2\n", "heads"), (b"s1\t0\n", "heads"), (b"\n0 2 0\n", "heads"), (b"0 2 0", "heads"),
        (b"0 " + b"1 " * 40_000, "heads"), (b"0\n", "brackets"), (b"0 a\n", "brackets"), (b"1 -1\n", "brackets"),
    ],
)  # fmt: skip
def test_by_content(head: bytes, name: str) -> None:
    """A first line of an id and numbers."""
    assert format_of("a.txt", head[:65536]).name == name


def test_default_by_kind(tmp_path: Path) -> None:
    """Where nothing says the format, dependency trees are written as head lines and constituency trees as brackets."""
    bank = DependencyTreebank.from_heads([[2, 0]])
    treeavg.write(bank, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "0 2 0\n"
    assert treeavg.read(tmp_path / "a.txt").same_trees(bank)
    assert format_of("-", kind="dependency").name == "heads"
    assert format_of("-", kind="constituency").name == format_of("-").name == "brackets"


@pytest.mark.parametrize("name", ["brackets", "ptb", "jsonl", "discbracket", "export"])
def test_the_other_kind(tmp_path: Path, name: str) -> None:
    """A format of the other kind is refused with those that fit, by name and by suffix."""
    heads, trees = DependencyTreebank.from_heads([[2, 0]]), Treebank.from_constituents([2], [[(0, 2)]])
    with pytest.raises(FormatError) as caught:
        treeavg.write(heads, tmp_path / "a", format=name)
    assert str(caught.value) == (
        f"treebank: expected constituency trees for the format '{name}', got dependency trees. "
        "Choose one of 'conllu', 'heads', 'parquet'."
    )
    for suffix in ("heads", "conllu"):
        with pytest.raises(FormatError, match=r"got constituency trees\. Choose one of 'brackets', 'ptb', 'jsonl', 'd"):
            treeavg.write(trees, tmp_path / f"a.{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_mixed_kinds_side_by_side(tmp_path: Path) -> None:
    """Files of both kinds do not go together."""
    (tmp_path / "a.heads").write_text("0 2 0\n")
    (tmp_path / "b.txt").write_text("(S a b)\n")
    with pytest.raises(AlignmentError) as caught:
        list(treeavg.scan([tmp_path / "b.txt", tmp_path / "a.heads"]))
    assert str(caught.value) == (
        f"{tmp_path}/a.heads: expected constituency trees as in {tmp_path}/b.txt, got dependency trees (heads). "
        "Name files of one kind."
    )


# ------------------------------------------------------------------ shared data


def test_shared_files(shared_data: Path, tmp_path: Path) -> None:
    """Every file of heads: as `str.split` reads it, and the same words of text again."""
    paths = sorted(shared(shared_data, "wsj-dependency").rglob("*.heads"))
    assert len(paths) == 14
    for path in paths:
        bank = treeavg.read(path)
        text = path.read_text()
        assert [view.heads for view in bank] == [heads for _, heads in twin(text)]
        treeavg.write(bank, tmp_path / "again.heads")
        assert (tmp_path / "again.heads").read_text().split() == text.split()
        assert treeavg.read(tmp_path / "again.heads") == bank
        treeavg.write(bank, tmp_path / "a.conllu")
        assert treeavg.read(tmp_path / "a.conllu").same_trees(bank)


def test_concatenated_ids() -> None:
    """Parts with ids keep them when joined."""
    part = DependencyTreebank.from_heads([[0]], ids=["x"])
    joined = DependencyTreebank.concatenate([part, part])
    assert joined.ids == StringColumn.of(["x", "x"])


def test_a_byte_order_mark_in_an_id(tmp_path: Path) -> None:
    """Found by fuzzing: at the beginning of another file it would be lost; at the file's own it is dropped."""
    path = tmp_path / "a.heads"
    path.write_bytes("\ufeff7 0\n\ufeff8 0\n9 0\n".encode())
    with pytest.raises(FormatError, match="heads:2: expected an id, got a byte-order mark"):
        treeavg.read(path)
    bank = treeavg.read(path, on_error="skip")
    assert bank.lengths.tolist() == [1, 0, 1]
    assert bank.ids is not None
    assert list(bank.ids) == ["7", "", "9"]
