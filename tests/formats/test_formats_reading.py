"""Which format a file has, and reading it in batches: the pieces always make up the whole."""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treeavg
from treeavg import AlignmentError, ArgumentError, FileError, FormatError, Treebank
from treeavg.cli import options
from treeavg.formats import FORMATS, AlignedReader, Columns, TreebankReader, files, format_of

TREE = "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))"
LINE = '{"words": ["a", "b"], "constituents": [[[0, 2]]]}'


def write(path: Path, text: str | bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# ------------------------------------------------------------------ which format


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a.jsonl.gz", "jsonl"), ("a.mrg", "ptb"), ("a.mrg.gz", "ptb"),
        ("a.ptb", "ptb"), ("a.tbf", "ptb"), ("a.txt", "brackets"), ("a", "brackets"), ("-", "brackets"),
        ("jsonl", "brackets"), ("a.jsonl.txt", "brackets"), ("folder.mrg/a.txt", "brackets"), (".gz", "brackets"),
        ("A.JSONL", "jsonl"), ("A.MRG", "ptb"), ("A.MRG.GZ", "ptb"),
    ],
)  # fmt: skip
def test_by_suffix(name: str, format: str) -> None:
    """The suffix decides, in either case of letters and whatever the content; .gz does not count."""
    assert format_of(name).name == format
    if format != "brackets":
        assert format_of(name, b"(S (A a) (B b))\n").name == format


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"(S (A a))\n(S (A a))\n", "brackets"),
        (b"(S (A a))", "brackets"),
        (b"( (S (A a)))\n( (S (A a)))\n", "brackets"),
        (b"(S (A a))\n\n(S (A a))\n", "brackets"),
        (b"\n(S (A a))\n", "brackets"),
        (b"(S (A a))\r\n(S (A a))\r\n", "brackets"),
        (b"(S\n (A a))\n", "ptb"),
        (b"(\n(S\n(A a)\n)\n)\n", "ptb"),
        (b"\n\n( (S\n    (A a) (B b)))\n", "ptb"),
        (b"( (S (A a)\n     (B b)\n     (C c)))\n" * 3, "ptb"),
        (b"(S (A a)\n(S (A a))\n(S (A a))\n", "brackets"),
        (b'{"words": []}\n', "jsonl"),
        (b'\n {"words": []}\n', "jsonl"),
        (b"null\n", "jsonl"),
        (b"nullify", "brackets"),
        (b"", "brackets"),
        (b"words\n", "brackets"),
        (b"\xff\xfe\x00", "brackets"),
        (b"(S " + b"(X w) " * 20_000, "brackets"),
        (b"(S (A a))\n(S " + b"(X w) " * 20_000, "brackets"),
    ],
)
def test_by_content(head: bytes, format: str) -> None:
    """Without a telling suffix the content decides; a long first line that is cut off is a line."""
    assert format_of("trees", head[:65536]).name == format
    assert format_of("trees", head[:65536], name="jsonl").name == "jsonl"


@pytest.mark.parametrize("call", [
    lambda path: treeavg.read(path, "bracket"),
    lambda path: treeavg.read(path.parent / "absent.txt", "bracket"),
    lambda path: list(treeavg.scan([path], "bracket")),
    lambda path: treeavg.write(Treebank.from_constituents([], []), path, "bracket"),
])  # fmt: skip
def test_unknown_names(tmp_path: Path, call: object) -> None:
    """An unknown format is refused with the known ones and the nearest, before a file is touched."""
    path = write(tmp_path / "trees.txt", "as it was")
    with pytest.raises(
        ArgumentError,
        match=r"^format: expected one of 'brackets', 'ptb', .*'parquet', got 'bracket'\. Did you mean 'brackets'",
    ):
        call(path)  # type: ignore[operator]
    assert path.read_text() == "as it was"


def test_options_repeat_the_tables() -> None:
    """The command line's choices are the library's."""
    assert set(options.FORMATS) == set(FORMATS)


def test_unknown_on_error(tmp_path: Path) -> None:
    """on_error is raise or skip."""
    path = write(tmp_path / "trees.txt", TREE)
    with pytest.raises(ArgumentError, match=r"on_error: expected one of 'raise', 'skip', got 'skipp'. Did you mean"):
        treeavg.read(path, on_error="skipp")


def test_a_long_first_sentence_is_one_tree_a_line(tmp_path: Path) -> None:
    """A first line beyond what is looked at does not make a file of several lines a tree: empty lines keep a place."""
    long = "(S " + " ".join("(X w)" for _ in range(20_000)) + ")"
    path = write(tmp_path / "trees.txt", f"{long}\n\n{TREE}\n")
    bank = treeavg.read(path, on_error="skip")
    assert bank.lengths.tolist() == [20_000, 0, 3]


# ------------------------------------------------------------------ batches


def sentences(count: int, seed: int = 0, missing: float = 0.0) -> list[str]:
    """Return lines of brackets of varied length; some empty."""
    generator = random.Random(seed)
    lines = []
    for number in range(count):
        size = generator.choice([1, 2, 3, 30])
        lines.append("(S " + " ".join(f"(A w{number})" for _ in range(size)) + ")")
        if generator.random() < missing:
            lines[-1] = ""
    return lines


ENDINGS = {"newline": "\n", "none": "", "blanks": "\n  ", "crlf": "\r\n", "odd": "\n\t \r", "many": "\n" + " " * 400}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("block", [16, 1 << 20])
def test_any_batch_gives_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, block: int) -> None:
    """Batches of any size, exactly all lines among them, concatenate to what `read` gives, whatever ends the file."""
    monkeypatch.setattr(files, "BLOCK", block)
    path = write(tmp_path / "trees.txt", "\n".join(sentences(12)) + ending)
    whole = treeavg.read(path)
    assert len(whole) == 12
    for batch in (1, 2, 3, 4, 5, 6, 11, 12, 13, 100):
        parts = [bank for (bank,) in treeavg.scan([path], batch=batch)]
        assert Treebank.concatenate(parts) == whole
        assert all(len(part) == batch for part in parts[:-1])
        assert len(parts) == -(-12 // batch)
        reader = TreebankReader(path)
        assert Treebank.concatenate(list(drained(reader, batch))) == whole


def drained(reader: TreebankReader, batch: int) -> Iterator[Treebank]:
    """Yield a reader's batches."""
    while not reader.done:
        yield reader.next(batch)


@pytest.mark.parametrize("one", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("other", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("block", [16, 1 << 20])
def test_endings_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str, block: int
) -> None:
    """Files that end differently hold the same number of sentences, at any batch."""
    monkeypatch.setattr(files, "BLOCK", block)
    paths = [write(tmp_path / f"{k}.txt", "\n".join(sentences(6)) + end) for k, end in enumerate((one, other))]
    for batch in (1, 2, 3, 6, 7):
        batches = list(treeavg.scan(paths, batch=batch))
        assert sum(len(pair[0]) for pair in batches) == 6
        assert all(pair[0] == pair[1] for pair in batches)


@pytest.mark.parametrize("jobs", [1, 2, 3, None])
@pytest.mark.parametrize("name", ["trees.txt", "trees.mrg", "trees.jsonl", "trees.txt.gz"])
def test_jobs(tmp_path: Path, jobs: int | None, name: str) -> None:
    """Several files of any format, on any number of threads: batches in order, side by side."""
    before = threading.active_count()
    bank = treeavg.read(write(tmp_path / "source.txt", "\n".join(sentences(25)) + "\n"))
    paths = [tmp_path / f"{number}-{name}" for number in range(3)]
    for path in paths:
        treeavg.write(bank, path)
    batches = list(treeavg.scan(paths, batch=4, jobs=jobs))
    assert [len(batch[0]) for batch in batches] == [4, 4, 4, 4, 4, 4, 1]
    for column in zip(*batches, strict=True):
        assert Treebank.concatenate(column) == bank
    assert threading.active_count() == before


@given(data=st.data(), seed=st.integers(0, 10_000), block=st.sampled_from([7, 64, 1 << 20]))
def test_missing_sentences_in_batches(tmp_path: Path, data: st.DataObject, seed: int, block: int) -> None:
    """Under skip, places and messages of missing sentences do not depend on the batch."""
    lines = sentences(9, seed, missing=0.4)
    path = write(tmp_path / "trees.txt", "".join(f"{line}\n" for line in lines))
    batch = data.draw(st.integers(1, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", block)
        reader = AlignedReader([path, path], "brackets", on_error="skip", batch=batch)
        whole = Treebank.concatenate(pair[1] for pair in reader)
    expected = [number for number, line in enumerate(lines) if not line]
    assert whole.missing.tolist() == expected
    assert [item.sentence for item in reader.problems] == sorted(expected * 2)
    for item in reader.problems:
        assert item.message.startswith(f"{path}:{item.sentence + 1}:1: expected a tree, got an empty line")
    assert reader.done == 9


def test_lines_and_sentences_of_late_errors(tmp_path: Path) -> None:
    """An error in a later batch has its own line, whatever the batch."""
    lines = sentences(10)
    lines[7] = "(S (A a)"
    path = write(tmp_path / "trees.txt", "\n".join(lines))
    for batch in (1, 3, 8, 100):
        with pytest.raises(
            FormatError, match=r"trees\.txt:8:9: expected '\)' to close the bracket of line 8, column 1"
        ):
            list(treeavg.scan([path], batch=batch))
    path = write(tmp_path / "trees.jsonl", "".join(f"{LINE}\n" for _ in range(6)) + "{\n")
    for batch in (1, 4, 100):
        with pytest.raises(FormatError, match=r"trees\.jsonl:7:2: expected JSON"):
            list(treeavg.scan([path], batch=batch))


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("name", ["txt", "mrg", "jsonl"])
def test_unequal_files(tmp_path: Path, batch: int, on_error: str, name: str) -> None:
    """Files of different numbers of sentences: both names, both numbers, what to do; skipping does not help."""
    tree = LINE if name == "jsonl" else TREE
    one = write(tmp_path / f"one.{name}", f"{tree}\n" * 4)
    two = write(tmp_path / f"two.{name}", f"{tree}\n" * 3)
    for paths in ([one, two], [two, one]):
        with pytest.raises(AlignmentError) as caught:
            list(treeavg.scan(paths, batch=batch, on_error=on_error))
        assert str(caught.value).startswith(f"{two}: expected 4 sentences as in {one}, got 3. All files must hold")


def test_empty_file_beside_others(tmp_path: Path) -> None:
    """An empty file is named."""
    one, two = write(tmp_path / "one.txt", TREE), write(tmp_path / "two.txt", "")
    with pytest.raises(
        FormatError, match=r"two\.txt: expected at least one tree, got an empty file\. Check what wrote"
    ):
        list(treeavg.scan([one, two]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, r"batch: expected a whole number of sentences, at least 1, got 0"),
        ({"batch": 2.5}, r"batch: expected a whole number of sentences, at least 1, got 2\.5"),
        ({"batch": True}, r"batch: expected a whole number of sentences, at least 1, got True"),
        ({"jobs": 0}, r"jobs: expected a whole number of threads, at least 1, got 0"),
        ({"jobs": "2"}, r"jobs: expected a whole number of threads, at least 1, got '2'"),
    ],
)
def test_arguments_of_scan(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    """Numbers out of range are named."""
    with pytest.raises(ArgumentError, match=message):
        list(treeavg.scan([write(tmp_path / "one.txt", TREE)], **arguments))  # type: ignore[arg-type]


def test_no_paths_and_standard_input_twice() -> None:
    """At least one file; standard input only once."""
    with pytest.raises(ArgumentError, match=r"paths: expected at least one file, got none"):
        list(treeavg.scan([]))
    with pytest.raises(ArgumentError, match=r"paths: expected '-' \(standard input\) at most once, got it twice"):
        list(treeavg.scan(["-", "-"]))


def test_columns(tmp_path: Path) -> None:
    """What is not wanted is not read; trees are the same."""
    path = write(tmp_path / "trees.txt", f"{TREE}\n" * 3)
    whole = treeavg.read(path)
    (words,) = next(iter(AlignedReader([path], columns=[Columns(labels=False)])))
    (names,) = next(iter(AlignedReader([path], columns=[Columns(tokens=False)])))
    assert (words.labels, words.tags, words.tokens) == (None, None, whole.tokens)
    assert (names.labels, names.tags, names.tokens) == (whole.labels, whole.tags, None)
    assert words.same_trees(whole)
    assert names.same_trees(whole)


def test_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """'-' reads standard input and leaves it open."""
    path = write(tmp_path / "trees.txt", f"{TREE}\n" * 3)
    with path.open(encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert treeavg.read("-") == treeavg.read(path)
        assert not stream.closed


def test_a_pipe(tmp_path: Path) -> None:
    """A named pipe is read like a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = f"{TREE}\n" * 3000
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    bank = treeavg.read(pipe)
    writer.join()
    assert len(bank) == 3000


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-8],
        lambda raw: raw[:20],
        lambda raw: raw[:30] + b"\0" * 40 + raw[70:],
        lambda raw: b"(S (A a))",
    ],
    ids=["no trailer", "cut", "damaged", "not gzip"],
)
def test_broken_gzip(tmp_path: Path, change: object) -> None:
    """A .gz file that is cut, damaged or none is named."""
    raw = gzip.compress("\n".join(sentences(200)).encode())
    path = write(tmp_path / "trees.txt.gz", change(raw))  # type: ignore[operator]
    with pytest.raises(FormatError, match=r"trees\.txt\.gz: expected gzip data, got: .+ Compress the file again"):
        treeavg.read(path)


def test_gzip_of_several_members(tmp_path: Path) -> None:
    """Compressed files that were put end to end read as one."""
    path = write(tmp_path / "trees.txt.gz", gzip.compress(f"{TREE}\n".encode()) * 3)
    assert len(treeavg.read(path)) == 3


def test_gzip_without_its_suffix(tmp_path: Path) -> None:
    """Compressed data under another name is called so."""
    path = write(tmp_path / "trees.txt", gzip.compress(f"{TREE}\n".encode()))
    with pytest.raises(FormatError, match=r"trees\.txt:1:\d+: expected .* gzip"):
        treeavg.read(path)


def test_utf_16_is_named(tmp_path: Path) -> None:
    """The mark of UTF-16 is recognised, and the encoding that would work is named."""
    path = write(tmp_path / "trees.txt", TREE.encode("utf-16"))
    with pytest.raises(FormatError, match=r"trees\.txt:1:1: expected UTF-8, got the mark of UTF-16.*encoding='utf-16'"):
        treeavg.read(path)
    assert len(treeavg.read(path, encoding="utf-16")) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent.txt", "No such file or directory. Check the path"), (".", "Is a directory. Name a file, or several"),
     ("file.txt/x", "Not a directory. Check the path"), ("x" * 300, "File name too long")],
)  # fmt: skip
def test_paths_that_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    """A missing file, a directory: the path, the system's reason and what to do."""
    write(tmp_path / "file.txt", TREE)
    with pytest.raises(FileError) as caught:
        treeavg.read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: expected a file to read, got: {message}")


def test_files_are_closed_after_an_error(tmp_path: Path) -> None:
    """A file that breaks the format in its first batch is closed, though not read to its end."""
    path = write(tmp_path / "trees.txt", f"{TREE})\n" + f"{TREE}\n" * 60_000)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    with pytest.raises(FormatError) as caught:
        treeavg.read(path, "brackets")
    assert "trees.txt:1:" in str(caught.value)
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_a_scan_that_is_given_up(tmp_path: Path) -> None:
    """Leaving a scan early ends its threads and closes its files."""
    threads = threading.active_count()
    path = write(tmp_path / "trees.txt", f"{TREE}\n" * 60_000)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    batches = treeavg.scan([path, path], batch=2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_json_of_other_tools(tmp_path: Path) -> None:
    """Content decides for a .json file of lines, too."""
    path = write(tmp_path / "trees.json", json.dumps({"n": 2, "constituents": [[0, 2]]}) + "\n")
    assert treeavg.read(path)[0].spans == [(0, 2)]
