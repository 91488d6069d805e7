"""JSON lines in and out: rules by example, messages, round trips, equality with the shared files' content."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from format_helpers import discontinuous, shared, treebanks
from hypothesis import given

import treeavg
from treeavg import FormatError, LimitError, Treebank
from treeavg.formats import limits

SMALL = os.environ.get("TREEAVG_HYPOTHESIS") == "small"


def read_lines(folder: Path, *lines: Any, on_error: str = "raise") -> Treebank:
    """Write lines (bytes and text as they are, others as JSON) to a file and read it."""
    path = folder / "trees.jsonl"
    raw = [line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
           for line in lines]  # fmt: skip
    path.write_bytes(b"".join(line + b"\n" for line in raw))
    return treeavg.read(path, on_error=on_error)


GOOD = {"words": ["a", "b", "c"], "constituents": [[[0, 3]], [[0, 2]]]}


def test_words_blocks_labels_tags(tmp_path: Path) -> None:
    """All keys; constituents as blocks or as plain spans, in any order, single tokens among them."""
    bank = read_lines(
        tmp_path,
        {
            "words": ["a", "b", "c"],
            "constituents": [[[1, 2]], [[0, 1], [2, 3]], [0, 3]],
            "labels": ["N", "VP", "S"],
            "tags": ["A", "B", "C"],
            "comment": "is not kept",
        },
    )
    assert bank[0].tokens == ["a", "b", "c"]
    assert bank[0].constituents == [((0, 3),), ((0, 1), (2, 3))]
    assert bank[0].labels == ["S", "VP"]
    assert bank[0].tags == ["A", "N B", "C"]


def test_lengths_instead_of_words(tmp_path: Path) -> None:
    """`n` stands for words; both may stand together where they agree."""
    assert read_lines(tmp_path, {"n": 3, "constituents": [[0, 3]]})[0].tokens is None
    assert read_lines(tmp_path, {"n": 3, **GOOD}) == read_lines(tmp_path, GOOD)


def test_adjacent_blocks_are_one(tmp_path: Path) -> None:
    """Blocks that touch are joined, so that equal constituents are equal."""
    bank = read_lines(tmp_path, {"n": 4, "constituents": [[[0, 1], [1, 2], [3, 4]]]})
    assert bank[0].constituents == [((0, 2), (3, 4))]


@pytest.mark.parametrize(
    "spell",
    [
        lambda line: line + b"\r",
        lambda line: b" \t" + line + b"  ",
        lambda line: line.replace(b" ", b""),
        lambda line: line.replace(b"a", b"\\u0061"),
    ],
)
def test_spelling_does_not_matter(tmp_path: Path, spell: Callable[[bytes], bytes]) -> None:
    """Windows line ends, blanks and escapes change nothing."""
    line = b'{"words": ["a", "b", "c"], "constituents": [[[0, 3]], [[0, 2]]]}'
    assert read_lines(tmp_path, spell(line), spell(line)) == read_lines(tmp_path, GOOD, GOOD)


def test_a_mark_and_no_last_newline(tmp_path: Path) -> None:
    """A byte-order mark is dropped; the last line needs no end."""
    path = tmp_path / "trees.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert treeavg.read(path) == read_lines(tmp_path, GOOD)


def test_null_is_a_missing_sentence(tmp_path: Path) -> None:
    """null keeps a sentence's place, and comes back."""
    bank = read_lines(tmp_path, GOOD, "null", GOOD, "null")
    assert bank.missing.tolist() == [1, 3]
    treeavg.write(bank, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text().splitlines()[1::2] == ["null", "null"]
    assert treeavg.read(tmp_path / "again.jsonl") == bank


@pytest.mark.parametrize(
    "keys", [("words",), ("words", "labels"), ("n",), ("n", "labels"), ("words", "labels", "tags")]
)
def test_batches_of_missing_sentences_only(tmp_path: Path, keys: tuple[str, ...]) -> None:
    """A batch of nothing but nulls joins with batches that have words, labels, tags, or none: like the whole file."""
    full = {"words": ["a", "b"], "n": 2, "labels": ["S"], "tags": ["A", "B"]}
    line = {"constituents": [[0, 2]], **{key: full[key] for key in keys}}
    whole = read_lines(tmp_path, line, "null", "null", line)
    parts = [batch for (batch,) in treeavg.scan([tmp_path / "trees.jsonl"], batch=1)]
    assert Treebank.concatenate(parts) == whole


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2:2: expected JSON, got an error: Expecting property name"),
        ('{"n": 2}', ":2: expected an object with 'words' and 'constituents', got {'n': 2}"),
        ("[1, 2]", ":2: expected an object with 'words' and 'constituents', got [1, 2]"),
        ("3", ":2: expected an object with 'words' and 'constituents', got 3"),
        ("", ":2: expected a JSON object, got an empty line"),
        ("null null", ":2:6: expected JSON, got an error: Extra data"),
        ({"words": "abc", "constituents": []}, ":2: expected 'words' as a list of strings, got 'abc'"),
        ({"words": ["a", 1], "constituents": []}, ":2: expected 'words' as a list of strings, got ['a', 1]"),
        ({"words": [], "constituents": []}, ":2: expected at least one token, got 0. Write null for a missing"),
        ({"words": ["a"], "n": 2, "constituents": []}, ":2: expected 1 words, got 'n': 2"),
        ({"words": ["a"], "n": "1", "constituents": []}, ":2: expected 1 words, got 'n': '1'"),
        ({"n": -1, "constituents": []}, ":2: expected at least one token, got -1"),
        ({"n": 1.5, "constituents": []}, ":2: expected at least one token, got 1.5"),
        ({"n": True, "constituents": []}, ":2: expected at least one token, got True"),
        ({"n": None, "constituents": []}, ":2: expected at least one token, got None"),
        ({"n": 10**30, "constituents": []}, ":2: expected at least one token, got 1000"),
        ({"n": 3, "constituents": None}, ":2: expected 'constituents' as a list, got None"),
        ({"n": 3, "constituents": {"0": 3}}, ":2: expected 'constituents' as a list, got {'0': 3}"),
        (
            {"n": 3, "constituents": [3]},
            ":2: constituents[0]: expected (start, end) or a sequence of such blocks, got 3",
        ),
        ({"n": 3, "constituents": [None]}, ":2: constituents[0]: expected (start, end) or a sequence of such blocks"),
        ({"n": 3, "constituents": [{}]}, ":2: constituents[0]: expected (start, end) or a sequence of such blocks"),
        ({"n": 3, "constituents": [{"a": 1}]}, ":2: constituents[0]: expected (start, end) or a sequence of such"),
        ({"n": 3, "constituents": [[{}]]}, ":2: constituents[0]: expected (start, end) or a sequence of such blocks"),
        ({"n": 3, "constituents": ["ab"]}, ":2: constituents[0]: expected (start, end) or a sequence of such blocks"),
        ({"n": 3, "constituents": [[]]}, ":2: constituents[0]: expected (start, end) or a sequence of such blocks"),
        ({"n": 3, "constituents": [[0, 2.0]]}, ":2: constituents[0]: expected (start, end) or a sequence of such"),
        ({"n": 3, "constituents": [[0, 3, 4]]}, ":2: constituents[0]: expected (start, end) or a sequence of such"),
        ({"n": 3, "constituents": [[0, 3], [1, 4]]}, ":2: constituents[1]: expected 0 <= start < end <= 3 (the"),
        ({"n": 3, "constituents": [[-1, 2]]}, ":2: constituents[0]: expected 0 <= start < end <= 3"),
        ({"n": 3, "constituents": [[0, 10**30]]}, ":2: constituents[0]: expected 0 <= start < end <= 3"),
        ({"n": 3, "constituents": [[1, 1]]}, ":2: constituents[0]: expected 0 <= start < end <= 3"),
        ({"n": 5, "constituents": [[[2, 3], [0, 1]]]}, ":2: constituents[0]: expected blocks in order and apart"),
        ({"n": 5, "constituents": [[0, 3], [2, 5]]}, ":2: constituents: expected nested or disjoint constituents, got"),
        ({"n": 5, "constituents": [[[0, 1], [2, 3]], [1, 3]]}, ":2: constituents: expected nested or disjoint"),
        ({"n": 2, "constituents": [[0, 2]], "labels": "S"}, ":2: expected 'labels' as a list of strings, got 'S'"),
        ({"n": 2, "constituents": [[0, 2]], "labels": None}, ":2: expected 'labels' as a list of strings, got None"),
        ({"n": 2, "constituents": [[0, 2]], "labels": []}, ":2: labels: expected 1 labels, one per constituent, got 0"),
        ({"n": 2, "constituents": [], "tags": ["A"]}, ":2: tags: expected 2 tags, one per token, got 1"),
        ("[" * 100_000, ":2: expected a flat JSON object, got one too deep or too large"),
        ('{"n": ' + "1" * 10_000 + "}", ":2: expected a flat JSON object, got one too deep or too large"),
        ('{"n": 2, "constituents": [[0, 2]], "labels": ["\\ud800"]}', ":2: expected text, got half of a surrogate"),
        (b'{"n": 2, "constituents": [], "x": "\xff"}', ":2:36: expected UTF-8, got the byte 0xff"),
        (b'{"n": 2, "constituents": [], "x": "\0"}', ":2:36: expected text, got the byte 0x00"),
    ],
)
def test_messages(tmp_path: Path, line: Any, message: str) -> None:
    """Every error names file and line, what is wrong and what to do; under skip the line is a missing sentence."""
    other = {"n": 3, "constituents": [[0, 3]]}
    with pytest.raises(FormatError) as caught:
        read_lines(tmp_path, other, line, other)
    assert str(caught.value).startswith(f"{tmp_path}/trees.jsonl{message}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    if not (isinstance(line, dict) and ("labels" in line)):
        bank = read_lines(tmp_path, other, line, other, on_error="skip")
        assert bank.missing.tolist() == [1]
        assert bank[0] == bank[2]


@pytest.mark.parametrize("key", ["words", "labels"])
@pytest.mark.parametrize("first", [True, False])
def test_lines_that_do_not_match(tmp_path: Path, key: str, first: bool) -> None:
    """Words, and labels, stand on every line or on none; the message names the first line that differs from line 1."""
    with_key = {"n": 2, "constituents": [[0, 2]], key: ["S"] if key == "labels" else ["a", "b"]}
    without = {"n": 2, "constituents": [[0, 2]]}
    lines = [with_key, with_key, without] if first else [without, without, with_key]
    with pytest.raises(FormatError, match=rf"trees\.jsonl:3: expected .*{key}"):
        read_lines(tmp_path, *lines)


def test_lines_that_do_not_match_far_apart(tmp_path: Path) -> None:
    """The same where the lines fall into different batches of `read`."""
    with_labels = {"n": 2, "constituents": [[0, 2]], "labels": ["S"]}
    without = {"n": 2, "constituents": [[0, 2]]}
    with pytest.raises(FormatError, match=r"trees\.jsonl:65537: expected .*labels"):
        read_lines(tmp_path, *[with_labels] * 65536, without)


@pytest.mark.compiled
@pytest.mark.parametrize("more", ["", ', "tags": ["T"]}\n{"n": 1, "constituents": []'])
def test_a_claimed_length_costs_no_memory(tmp_path: Path, more: str) -> None:
    """A line may claim a length without words; two billion are refused, and even if not, not laid out in memory."""
    path = tmp_path / "trees.jsonl"
    path.write_text('{"n": 2, "constituents": []}\n{"n": 2000000000, "constituents": []' + more + "}\n")
    with pytest.raises(LimitError) as caught:
        treeavg.read(path)
    assert str(caught.value).startswith(
        f"{path}: sentence 2: expected at most 33,554,432 words that are not spelt, got 2,000,000,00"
    )
    if more:
        return
    code = f"import treeavg; print(treeavg.read({str(path)!r}).token_count)"
    limit = 3 * 2**30
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, limits.SENTENCE_VARIABLE: "0"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert (done.stdout, done.stderr[-500:]) == ("2000000002\n", "")


# ------------------------------------------------------------------ round trips


@pytest.mark.parametrize("kind", ["tagged", "labelled", "bare"])
@given(bank=treebanks("tagged"))
def test_round_trip(tmp_path: Path, kind: str, bank: Treebank) -> None:
    """Everything comes back, with labels and tags, labels only, or neither."""
    dropped = {"tagged": (), "labelled": ("tags",), "bare": ("tags", "labels")}[kind]
    bank = bank.replace(**dict.fromkeys(dropped))
    for name in ("bank.jsonl", "bank.jsonl.gz", "bank.ndjson"):
        treeavg.write(bank, tmp_path / name)
        assert treeavg.read(tmp_path / name) == bank


@given(bank=discontinuous())
def test_round_trip_of_discontinuous_trees(tmp_path: Path, bank: Treebank) -> None:
    """Constituents of any fan-out come back, and the tree is as valid as before."""
    treeavg.write(bank, tmp_path / "bank.jsonl")
    again = treeavg.read(tmp_path / "bank.jsonl")
    assert again == bank
    again.validate()


@given(bank=discontinuous(words_given=False))
def test_round_trip_of_lengths(tmp_path: Path, bank: Treebank) -> None:
    """Without words the length is written."""
    treeavg.write(bank, tmp_path / "bank.jsonl")
    assert '"n"' in (tmp_path / "bank.jsonl").read_text(encoding="utf-8")
    assert treeavg.read(tmp_path / "bank.jsonl") == bank


@given(bank=treebanks("tagged"))
def test_brackets_to_json_and_back(tmp_path: Path, bank: Treebank) -> None:
    """A trip through both formats changes nothing."""
    treeavg.write(bank, tmp_path / "bank.txt")
    treeavg.write(treeavg.read(tmp_path / "bank.txt"), tmp_path / "bank.jsonl")
    assert treeavg.read(tmp_path / "bank.jsonl") == bank


# ------------------------------------------------------------------ shared data


LASSY = [
    (f"lassy/{name}.{part}.jsonl", count)
    for part, count in (("test", 1049), ("dev", 1128))
    for name in ("gold", *(f"runs/run0{run}" for run in range(1, 6)))
]


@pytest.mark.parametrize(("name", "count"), LASSY)
def test_shared_files(shared_data: Path, tmp_path: Path, name: str, count: int) -> None:
    """Every JSON file of the shared data has the constituents that `json` reads from it, and survives a trip."""
    path = shared(shared_data, name)
    bank = treeavg.read(path)
    assert len(bank) == count
    lines = path.read_text(encoding="utf-8").splitlines()
    for view, line in list(zip(bank, lines, strict=True))[: 20 if SMALL else None]:
        record = json.loads(line)
        wanted = sorted(tuple(map(tuple, blocks)) for blocks in record["constituents"] if _size(blocks) > 1)
        assert sorted(view.constituents) == wanted
        assert view.tokens == record["words"]
    treeavg.write(bank, tmp_path / "again.jsonl")
    assert treeavg.read(tmp_path / "again.jsonl") == bank


def _size(blocks: list[list[int]]) -> int:
    return sum(end - start for start, end in blocks)


def test_words_that_are_no_utf8_are_skipped(tmp_path: Path) -> None:
    """Found by fuzzing: the compiled reader copied such words into the treebank, where they could not be shown."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"words": ["a", "b"], "constituents": []}\n{"words": ["\x80"], "constituents": []}\n')
    bank = treeavg.read(path, on_error="skip")
    assert bank.lengths.tolist() == [2, 0]
    assert [view.tokens for view in bank] == [["a", "b"], []]
    with pytest.raises(FormatError, match=r"a\.jsonl:2:13: expected UTF-8, got the byte 0x80"):
        treeavg.read(path)
