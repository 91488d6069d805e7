"""Formats whose sentences take several lines are cut while they are read: no cut changes anything."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import treeavg
from treeavg import DependencyTreebank, FormatError, LimitError, Treebank
from treeavg.formats import FORMATS, AlignedReader, TreebankReader, feeds, files, limits
from treeavg.formats.base import Chunk
from treeavg.formats.boundaries import BlankLineCutter, BracketCutter, MarkCutter, NumberSet
from treeavg.formats.text import read_sentences

PTB = [
    b"(S (A a)\n   (B b))\n",
    b"(X c)",
    b" ",
    b"\n",
    b"\r\n",
    b"( (S (A a) (B\nb)) )\n",
    b"((A a)\n(B b))",
    b"(S (A a)",
]
PTB += [b")", b"junk", b"(A )", b"\xff", b"\0", "(é ü)\n".encode(), b"\t\v\f"]
CONLLU = [b"1\ta\t_\t_\t_\t_\t0\troot\t_\t_\n", b"\n", b"\r\n", b" \t\n", b"# text = a\n", b"\r\r\n"]
CONLLU += [b"1\ta\t_\t_\t_\t_\t2\tx\t_\tSupport=0.5\r\n2\tb\t_\t_\t_\t_\t0\troot\t_\t_\n", b"1\ta\n", b"\xff\n", b"\r"]
CONLLU += [b"2\tb\t_\t_\t_\t_\t1\tx\t_\t_\n", b"\0", b"1\ta\t_\t_\t_\t_\t0\troot\t_\tSupport=0.25\n\n"]
EXPORT = [b"#BOS 1\n", b"#EOS 1\n", b"#BOS 2 x\n", b"#EOS 2\r\n", b"  #BOS 3\n", b"#EOS 3", b"%% #BOS 4\n", b"\n"]
EXPORT += [
    b"a\tN\t--\t--\t500\nb\tV\t--\t--\t0\n#500\tNP\t--\t--\t0\n",
    b"#BOSS\n",
    b"#FORMAT 3\n",
    b"a b\n",
    b"\xff\n",
]
EXPORT += [
    b"#BOS 5\nx\tN\t--\t--\t0\n#EOS 5\n",
    b"#BOS 6\ny\tN\t--\t--\t0\n#EOS 6\n",
    b"#BOS 07\nz N -- -- 0\n#EOS 07\n",
]
PIECES = {"ptb": PTB, "conllu": CONLLU, "export": EXPORT}


def whole(format: str, data: bytes, skip: bool) -> Any:
    """The twin: parse the whole file at once; return treebank and messages, or the message of the error."""
    chunk = Chunk(np.frombuffer(bytearray(data), np.uint8), "name", skip=skip)
    try:
        if not data.strip(b" \t\r\v\f"):
            raise FormatError("name: expected at least one tree, got an empty file. Check what wrote it.")
        bank, problems = FORMATS[format].parse(chunk)
        if not len(bank):
            raise FormatError("name: expected at least one tree, got an empty file. Check what wrote it.")
    except FormatError as error:
        return str(error)
    return bank, [(problem.sentence, problem.message) for problem in problems]


class Source:
    """Stands for a `ByteSource` that hands out blocks of given sizes."""

    fraction = None
    name = "name"

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self._at = data, sizes, 0

    def read(self, _: int = 0) -> bytes:
        size = self._sizes[self._at % len(self._sizes)]
        self._at += 1
        block, self._data = self._data[:size], self._data[size:]
        return block

    def close(self) -> None:
        self._data = b""


def pieces(format: str, data: bytes, skip: bool, sizes: list[int], batch: int) -> Any:
    """Read in batches from blocks of these sizes; return what `whole` returns."""
    parts = []
    try:
        reader = TreebankReader(
            "name",
            format,
            on_error="skip" if skip else "raise",
            source=Source(data, sizes),  # type: ignore[arg-type]
        )
        while not reader.done:
            parts.append(reader.next(batch))
    except FormatError as error:
        return str(error)
    assert all(len(part) == batch for part in parts[:-1])
    assert 0 < len(parts[-1]) <= batch
    return joined(parts), [(problem.sentence, problem.message) for problem in reader.problems]


def joined(parts: list[Any]) -> Any:
    """Concatenate, as `treeavg.read` does."""
    bank = type(parts[0]).concatenate(parts)
    if isinstance(bank, Treebank) and bank.tags is not None and not len(bank.tags.data):
        return bank.replace(tags=None)
    return bank


def same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, str) or isinstance(theirs, str):
        return bool(mine == theirs)
    return bool(mine[1] == theirs[1] and joined([mine[0]]) == joined([theirs[0]]))


@pytest.mark.parametrize("format", PIECES)
@given(data=st.data())
@settings(max_examples=200)
def test_blocks_change_nothing(format: str, data: st.DataObject) -> None:
    """Any blocks, one byte at a time too: the trees, problems and messages of the whole file parsed at once."""
    text = b"".join(data.draw(st.lists(st.sampled_from(PIECES[format]), min_size=1, max_size=14)))
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    skip = data.draw(st.booleans()) and format != "ptb"
    assert same(pieces(format, text, skip, sizes, 1000), whole(format, text, skip))
    assert same(pieces(format, text, skip, [1], 1000), whole(format, text, skip))


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(max_examples=60)
def test_small_batches(format: str, data: st.DataObject) -> None:
    """Good files in batches of any size, from blocks of any size, are what the whole file is; line-based ones too."""
    if format == "parquet":
        return
    bank = treebank(format, data.draw(st.integers(0, 10**6)))
    text = FORMATS[format].serialize(bank)
    if data.draw(st.booleans()):
        text = text.replace(b"\n", b"\r\n") if format != "conllu" else text + b"\n \n"
    batch, size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 40))
    expected = whole(format, text, skip=False)
    assert len(expected[0]) == len(bank)
    assert same(pieces(format, text, False, [size], batch), expected)


def treebank(format: str, seed: int) -> Any:
    """A treebank that the format can hold."""
    generator = random.Random(seed)
    lengths = [generator.randint(1, 5) for _ in range(generator.randint(1, 12))]
    tokens = [[f"w{generator.randint(0, 99)}" for _ in range(length)] for length in lengths]
    if FORMATS[format].kind == "dependency":
        return DependencyTreebank.from_heads(
            [list(range(length)) for length in lengths], tokens=tokens if format == "conllu" else None
        )
    trees = [[(0, length)] if length > 1 else [] for length in lengths]
    return Treebank.from_constituents(tokens, trees, labels=[["S"] * len(tree) for tree in trees])


@pytest.mark.parametrize("format", PIECES)
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_faults_are_found_in_order(format: str, batch: int) -> None:
    """With small batches the first faulty sentence is named, whatever stands behind it."""
    generator = random.Random(batch)
    for _ in range(300):
        text = b"".join(generator.choices(PIECES[format], k=generator.randint(1, 14)))
        mine, theirs = pieces(format, text, False, [generator.randint(1, 20)], batch), whole(format, text, False)
        assert isinstance(mine, str) == isinstance(theirs, str)
        assert isinstance(mine, str) or same(mine, theirs)
        assert pieces(format, text, False, [1], batch) == mine if isinstance(mine, str) else True


# ------------------------------------------------------------------ cutters


@pytest.mark.parametrize(
    ("cutter", "lines", "places", "sentences", "last"),
    [
        (BracketCutter, b"(a b)\n(c\nd)\n\n", [6, 12, 13], [1, 2, 2], 11),
        (BracketCutter, b"(a b) (c\n", [], [], 8),
        (BracketCutter, b")\n(a b)\n", [2, 8], [1, 2], 7),
        (BracketCutter, b" \n\n", [2, 3], [0, 0], 0),
        (BlankLineCutter, b"a\nb\n\n\nc\n", [5, 6], [1, 1], 8),
        (BlankLineCutter, b"\n\r\n \t\na", [1, 3, 6], [0, 0, 0], 7),
        (BlankLineCutter, b"a\n\r", [], [], 3),
        (MarkCutter, b"x\n#BOS 1\nx\n#EOS 1\nx\n", [18], [1], 18),
        (MarkCutter, b"#BOS 1\n#BOS 2\n#EOS 2\n#BOSS\n", [21], [2], 21),
        (MarkCutter, b"x\n %% #BOS 1\n", [], [], 0),
    ],
)
def test_cuts(cutter: Any, lines: bytes, places: list[int], sentences: list[int], last: int) -> None:
    """Where files can be cut, how many sentences end before, and where the last byte that counts is."""
    cuts = cutter().cuts(lines)
    assert (cuts.places.tolist(), cuts.sentences.tolist(), cuts.last) == (places, sentences, last)


@given(names=st.lists(st.sampled_from([*map(str, range(8)), "01", "+1", "x", "", "9" * 30, "١"]), max_size=20))
@example(names=["3", "4", "2", "3", "5", "5"])
def test_numbers_seen(names: list[str]) -> None:
    """The set that remembers ids is a set."""
    seen, twin = NumberSet(), set()
    for name in names:
        assert seen.add(name) == (name not in twin)
        twin.add(name)


def test_ids_are_remembered_over_batches(tmp_path: Path) -> None:
    """An id that an earlier batch had is refused."""
    block = "#BOS {0}\na\tN\t--\t--\t0\n#EOS {0}\n"
    path = tmp_path / "a.export"
    path.write_text("".join(block.format(number) for number in [*range(1, 9), 3]))
    with pytest.raises(FormatError, match=r"a\.export:25: expected each id once, got '3' again"):
        list(treeavg.scan([path], batch=2))


def test_nothing_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader stops soon behind the sentences that were asked for."""
    monkeypatch.setattr(files, "BLOCK", 4096)
    for format, name in (("ptb", "a.mrg"), ("conllu", "a.conllu"), ("export", "a.export")):
        path = tmp_path / name
        bank = treebank(format, 1)
        path.write_bytes(FORMATS[format].serialize(type(bank).concatenate([bank] * 6000)))
        assert path.stat().st_size > 2 * feeds.HEAD
        reader = TreebankReader(path, format)
        reader.next(1)
        assert reader.fraction is not None
        assert reader.fraction < 0.6
        reader.close()


# ------------------------------------------------------------------ limits


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, compressed: bool) -> None:
    """A line above the limit is named, in whatever blocks it comes; a little below it is read."""
    monkeypatch.setattr(files, "BLOCK", block)
    monkeypatch.setenv(limits.SENTENCE_VARIABLE, "0.0001")
    assert limits.longest_sentence() == 104
    short = "(S " + "a" * (104 - 6) + " b)\n"
    assert len(short) == 105
    path = tmp_path / ("a.txt.gz" if compressed else "a.txt")
    pack = gzip.compress if compressed else bytes
    path.write_bytes(pack((short * 3).encode()))
    assert len(treeavg.read(path)) == 3
    path.write_bytes(pack((short * 2 + "(S a" + short[3:]).encode()))
    with pytest.raises(LimitError) as caught:
        treeavg.read(path)
    assert str(caught.value).startswith(f"{path}:3: expected a line of at most 9.92e-05 MiB, got a longer one. Is ")
    assert str(caught.value).endswith("To read it all the same, set TREEAVG_MAX_SENTENCE_MB=0 (no limit).")
    monkeypatch.setenv(limits.SENTENCE_VARIABLE, "0")
    assert len(treeavg.read(path)) == 3


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", ["a.mrg", "a.conllu", "a.export"])
def test_a_sentence_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, name: str) -> None:
    """So is a sentence of many short lines, by the line where it begins."""
    monkeypatch.setattr(files, "BLOCK", block)
    monkeypatch.setenv(limits.SENTENCE_VARIABLE, "0.0002")
    good = {
        "a.mrg": "(A\nb)\n",
        "a.conllu": "1\ta\t_\t_\t_\t_\t0\tr\t_\t_\n\n",
        "a.export": "#BOS 1\na b c d 0\n#EOS 1\n",
    }
    long = {
        "a.mrg": "(A\n" + "b\n" * 120 + ")\n",
        "a.conllu": "# c\n" * 60 + "\n",
        "a.export": "#BOS 2\n" + "x\n" * 150,
    }
    path = tmp_path / name
    path.write_text(good[name] + long[name])
    with pytest.raises(LimitError, match=r":\d+: expected a sentence of at most") as caught:
        treeavg.read(path)
    assert str(caught.value).startswith(f"{path}:{good[name].count(chr(10)) + 1}: ")


def test_a_line_of_plain_text_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text to parse has the same limit."""
    monkeypatch.setenv(limits.SENTENCE_VARIABLE, "0.0001")
    for text, line in (("a b\n" + "c" * 200 + "\n", 2), ("c" * 200, 1)):
        (tmp_path / "a.txt").write_text(text)
        with pytest.raises(LimitError, match=rf"a\.txt:{line}: expected a line of at most"):
            read_sentences(tmp_path / "a.txt", "text")


@pytest.mark.parametrize("value", ["many", "-1", "nan", "inf", ""])
@pytest.mark.parametrize("variable", [limits.SENTENCE_VARIABLE, limits.EXPANSION_VARIABLE])
def test_limits_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A limit is a number; the variable is named."""
    monkeypatch.setenv(variable, value)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"(S a b)\n"))
    with pytest.raises(
        treeavg.ArgumentError, match=rf"{variable}: expected a number, at least 0 \(0 is no limit\), got"
    ):
        list(AlignedReader([tmp_path / "a.txt.gz"]))
