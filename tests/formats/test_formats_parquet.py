"""Arrow tables and Parquet files: without a copy, whole or in pieces, and never trusted."""

from __future__ import annotations

import gc
import importlib
import random
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_helpers import discontinuous, treebanks
from hypothesis import given, settings
from hypothesis import strategies as st

import treeavg
from treeavg import ArgumentError, DependencyTreebank, FormatError, LimitError, Treebank, arrow
from treeavg.formats import FORMATS, Columns, TreebankReader, parquet
from treeavg.formats.files import AtomicFile
from treeavg.formats.text import SentenceReader

SMALL = Treebank.from_constituents(
    [["a", "b", "c"], [], ["x"], ["p", "q", "r", "s"]],
    [[(0, 3), (0, 2)], [], [], [(0, 4)]],
    labels=[["S", "NP"], [], [], ["S"]],
    tags=[["A", "B", ""], [], ["X Y"], ["", "", "", "é"]],
    support=[[1.0, 0.5], [], [], [0.25]],
)
BLOCKS = Treebank.from_constituents([["a", "b", "c"], ["d", "e"]], [[(0, 3), ((0, 1), (2, 3))], [(0, 2)]])
HEADS = DependencyTreebank.from_heads(
    [[2, 0], [], [0]], tokens=[["it", "rains"], [], ["go"]], relations=[["x", "y"], [], ["z"]], ids=["1", "", "c"]
)


def arrays(bank: Any) -> dict[str, np.ndarray]:
    """Return the numeric columns and the buffers of strings of a treebank."""
    names = ("lengths", "offsets", "starts", "ends", "heads", "support")
    found = {name: getattr(bank, name) for name in names if getattr(bank, name, None) is not None}
    for name in ("labels", "tokens", "tags", "relations", "ids", "sources"):
        column = getattr(bank, name, None)
        if column is not None:
            found |= {f"{name}.data": column.data, f"{name}.offsets": column.offsets}
    return found


@pytest.mark.parametrize("bank", [SMALL, SMALL.replace(tags=None, labels=None, support=None), HEADS])
def test_without_a_copy(bank: Any) -> None:
    """The columns of table and treebank, in both directions, lie at the same addresses."""
    table = bank.to_arrow()
    buffers = [buffer for column in table.columns for chunk in column.chunks for buffer in chunk.buffers() if buffer]
    addresses = {buffer.address for buffer in buffers}
    for name, array in arrays(bank).items():
        assert array.ctypes.data in addresses, name
    back = type(bank).from_arrow(table)
    assert back == bank
    for name, array in arrays(back).items():
        assert np.shares_memory(array, arrays(bank)[name]), name
        assert array.flags.c_contiguous
        assert array.flags.writeable, "kernels are compiled for arrays that are"


def test_discontinuous_blocks_are_not_copied() -> None:
    """Of discontinuous trees the blocks and strings are shared; fan-outs are made."""
    back = Treebank.from_arrow(BLOCKS.to_arrow())
    assert back == BLOCKS
    assert np.shares_memory(back.starts, BLOCKS.starts)
    assert np.shares_memory(back.ends, BLOCKS.ends)
    assert BLOCKS.to_arrow().column("fan_outs").to_pylist() == [[1, 2], [1]]


def test_memory_outlives_the_table() -> None:
    """The treebank keeps the buffers alive."""
    bank = Treebank.from_arrow(pa.concat_tables([SMALL.to_arrow()] * 3).combine_chunks())
    assert [bank[row].tokens for row in (0, 7)] == [["a", "b", "c"], ["p", "q", "r", "s"]]


@given(bank=st.one_of(treebanks("tagged"), treebanks("labelled"), treebanks("bare"), discontinuous()), data=st.data())
@settings(max_examples=100)
def test_slices_and_chunks(bank: Treebank, data: st.DataObject) -> None:
    """Tables that were sliced or put together are the treebanks that were; any slice has offsets of its own."""
    table = bank.to_arrow()
    begin = data.draw(st.integers(0, len(bank) - 1))
    stop = data.draw(st.integers(begin + 1, len(bank)))
    assert Treebank.from_arrow(table.slice(begin, stop - begin)) == bank[begin:stop]
    joined = pa.concat_tables([table.slice(begin, stop - begin), table, table.slice(begin)])
    assert Treebank.from_arrow(joined) == Treebank.concatenate([bank[begin:stop], bank, bank[begin:]])
    assert Treebank.from_arrow(table.to_batches()[0]) == bank


@pytest.mark.parametrize("bank", [SMALL, BLOCKS, HEADS])
def test_types_of_other_tools(bank: Any) -> None:
    """Narrow lists and strings, other integers, dictionaries: what pandas, DuckDB or Polars would write."""
    table = bank.to_arrow()
    types = {
        "int32": pa.int64(), "large_list<item: int32 not null>": pa.list_(pa.int16()), "large_string": pa.string(),
        "large_list<item: large_string not null>": pa.list_(pa.string()),
        "large_list<item: double not null>": pa.list_(pa.float32()),
    }  # fmt: skip
    narrow = pa.table(
        {name: table.column(name).cast(types[str(table.schema.field(name).type)]) for name in table.column_names}
    )
    assert type(bank).from_arrow(narrow) == bank
    plain = pa.Table.from_pylist(table.to_pylist())
    assert type(bank).from_arrow(plain) == bank


def test_empty_lists_beside_nulls(tmp_path: Path) -> None:
    """A null is as good as an empty list where nothing belongs, and no list where something does."""
    table = pa.table({
        "length": pa.array([0, 4], pa.int32()),
        "starts": pa.array([[0], []], pa.large_list(pa.int32())),
        "ends": pa.array([[2], []], pa.large_list(pa.int32())),
        "support": pa.array([None, []], pa.large_list(pa.float64())),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(FormatError, match=r"a\.parquet: sentence 1: expected "):
        treeavg.read(tmp_path / "a.parquet")
    assert treeavg.read(tmp_path / "a.parquet", on_error="skip").lengths.tolist() == [0, 4]
    good = table.set_column(1, "starts", pa.array([[], [0]], pa.large_list(pa.int32())))
    good = good.set_column(2, "ends", pa.array([[], [2]], pa.large_list(pa.int32())))
    for share, expected in (([None, [0.5]], [0.5]), ([[], [0.5]], [0.5]), ([[], None], None)):
        own = good.set_column(3, "support", pa.array(share, pa.large_list(pa.float64())))
        support = Treebank.from_arrow(own).support
        assert (support if support is None else support.tolist()) == expected


@pytest.mark.parametrize("column", ["tags", "support", None])
def test_a_claimed_length_costs_no_memory(tmp_path: Path, column: str | None) -> None:
    """Two billion words that are not spelt are refused before anything is made of them."""
    lists = {"starts": [[0], []], "ends": [[0], []]}
    table = pa.table({
        "length": pa.array([2**31 - 1, 1], pa.int32()),
        **{name: pa.array(rows, pa.large_list(pa.int32())) for name, rows in lists.items()},
    })  # fmt: skip
    if column is not None:
        values = pa.array([None, ["A"]]) if column == "tags" else pa.array([None, []], pa.list_(pa.float64()))
        table = table.append_column(column, values)
    pq.write_table(table, tmp_path / "a.parquet")
    expected = (
        r"a\.parquet: sentence 1: expected at most 33,554,432 words that are not spelt, got 2,147,483,648\. Is this"
    )
    for on_error in ("raise", "skip"):
        with pytest.raises(LimitError, match=expected):
            treeavg.read(tmp_path / "a.parquet", on_error=on_error)
    assert Treebank(np.array([2**31 - 1, 2], np.int32), *(np.zeros(3, np.int64), *[np.zeros(0, np.int32)] * 2))[
        [1, 0]
    ].lengths.tolist() == [2, 2**31 - 1]


def test_nulls_mean_missing_columns() -> None:
    """Tags may be null in some rows; other columns in all or none; a missing sentence counts as neither."""
    one, two = SMALL[:2], SMALL[2:].replace(tags=None)
    bank = Treebank.from_arrow(pa.concat_tables([one.to_arrow(), two.to_arrow()]))
    assert bank == Treebank.concatenate([one, two])
    assert bank[3].tags == ["", "", "", ""]
    with pytest.raises(FormatError, match=r"table\[2\]: expected tokens in every row or in none, got null here\. Fill"):
        Treebank.from_arrow(pa.concat_tables([one.to_arrow(), two.replace(tokens=None).to_arrow()]))
    assert Treebank.from_arrow(pa.concat_tables([one.to_arrow(), two.replace(support=None).to_arrow()])).support is None
    mixed = pa.concat_tables([BLOCKS.to_arrow(), BLOCKS[1:].to_arrow()])
    assert mixed.column("fan_outs").null_count == 1
    assert Treebank.from_arrow(mixed) == Treebank.concatenate([BLOCKS, BLOCKS[1:]])


def replaced(bank: Any, **columns: Any) -> pa.Table:
    """A table with other values in some columns; None drops one."""
    table = bank.to_arrow()
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        if values is None:
            table = table.remove_column(place)
        else:
            array = values if isinstance(values, pa.Array) else pa.array(values)
            table = table.set_column(place, name, array)
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (replaced(BLOCKS, starts=None), r"table: expected a column 'starts', as treebanks have, got 'length, ends, fa"),
        (replaced(BLOCKS, starts=[1.5, 2.5]), r"table: expected large_list<.*> in the column 'starts', got 'double'\."),
        (replaced(BLOCKS, tokens=["a", "b"]), r"table: expected large_list<.*> in the column 'tokens', got 'string'"),
        (replaced(BLOCKS, tags=pa.array([[b"a"]] * 2, pa.list_(pa.field("a\n1", pa.binary())))),
         r"table: expected large_list<.*> in the column 'tags', got 'list<a\\n1: binary>'\. docs/formats"),
        (replaced(BLOCKS, length=["3", "2"]), r"table: expected int32 in the column 'length', got 'string'"),
        (replaced(BLOCKS, length=[3, 2**40]), r"table: expected int32 in the column 'length', got: .*not in range"),
        (replaced(BLOCKS, length=[3, None]), r"table\[1\]: expected a value in the column 'length', got null"),
        (replaced(BLOCKS, starts=[[0, 0, 2], None]), r"table\[1\]: expected a value in the column 'starts', got null"),
        (replaced(BLOCKS, starts=[[0, None, 2], [0]]), r"table: expected no nulls in the lists of the column 'starts'"),
        (replaced(BLOCKS, length=[3, -2]), r"table\[1\]: expected a length of at least 0, got -2\. Mend the table"),
        (replaced(BLOCKS, length=[3, 3]), r"table\[1\]: expected 3 tokens, got 2\. The lists of a row must fit its le"),
        (replaced(BLOCKS, ends=[[3, 1, 3], []]), r"table\[1\]: expected 1 ends, one a start, got 0\. Mend the table"),
        (replaced(BLOCKS, fan_outs=[[1, 1], [1]]), r"table\[0\]: expected 2 blocks as its fan-outs say, got 3\. Count"),
        (replaced(BLOCKS, fan_outs=[[3, 0], [1]]), r"table\[0\]: expected fan-outs of at least 1, got less\. Count th"),
        (replaced(BLOCKS, ends=[[3, 1, 9], [2]]), r"table\[0\]: expected constituents of two tokens or more, in range"),
        (replaced(BLOCKS, starts=[[0, 2, 0], [0]], ends=[[3, 3, 1], [2]]), r"table\[0\]: expected constituents of two"),
        (replaced(BLOCKS, starts=[[0, 0, -1], [0]]), r"table\[0\]: expected constituents of two tokens or more"),
        (replaced(SMALL, ends=[[3, 9], [], [], [4]]), r"table\[0\]: expected spans of two tokens or more within 0 and"),
        (replaced(SMALL, starts=[[0, -7], [], [], [0]]), r"table\[0\]: expected spans of two tokens or more within 0 "),
        (replaced(SMALL, starts=[[0, 1], [], [], [0]], ends=[[2, 3], [], [], [4]]), r"table\[0\]: expected nested or "),
        (replaced(SMALL, labels=[["S"], [], [], ["S"]]), r"table\[0\]: expected 2 labels, got 1\. The lists of a row"),
        (replaced(SMALL, support=[[1, 2], [], [], [0.5]]), r"table\[0\]: expected support from 0 to 1, got 2\.0\. Men"),
        (replaced(SMALL, support=[[1, 1], [], [], [float("nan")]]), r"table\[3\]: expected support from 0 to 1, got n"),
        (SMALL.to_arrow().append_column("tags", [pa.array([1] * 4)]), r"table: expected one column 'tags', got 2\. Re"),
        (HEADS.to_arrow(), r"table: expected constituency trees, got dependency trees\. Use DependencyTreebank\.from_"),
        (pa.table({"text": ["a"]}), r"table: expected a column 'length', as treebanks have, got 'text'\. docs/formats"),
        (SMALL.to_arrow().replace_schema_metadata({"treeavg.format": "2"}), r"expected a table of format 1, got '2'\."),
    ],
)  # fmt: skip
def test_tables_that_are_none(table: pa.Table, message: str) -> None:
    """Missing columns, other types, lists that do not fit each other, trees that are none: one clear line."""
    with pytest.raises(FormatError, match=message) as caught:
        Treebank.from_arrow(table)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("heads", "message"),
    [([[2, 0], [], [3]], r"table\[2\]: expected heads from 0 to 1, got 3"), ([[2, 1], [], [0]], r"table\[0\]: expecte"),
     ([[2], [], [0]], r"table\[0\]: expected 2 heads as its length says, got 1\. Give one head for each word")],
)  # fmt: skip
def test_heads_that_are_none(heads: list[list[int]], message: str) -> None:
    """Heads are checked too."""
    with pytest.raises(FormatError, match=message):
        DependencyTreebank.from_arrow(replaced(HEADS, heads=heads))


def test_offsets_are_not_trusted() -> None:
    """Offsets beyond the data, strings that are no text: pyarrow's own check finds them, before we follow them."""
    offsets = pa.py_buffer(np.array([0, 10**9, 3], np.int64))
    bad = pa.Array.from_buffers(
        pa.large_list(pa.int32()), 2, [None, offsets], children=[pa.array([0, 1, 2], pa.int32())]
    )
    with pytest.raises(FormatError, match=r"^table: expected a sound table, got: .*\. Write it again\.$"):
        Treebank.from_arrow(replaced(BLOCKS, starts=bad))
    text = pa.Array.from_buffers(
        pa.large_string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int64)), pa.py_buffer(b"\xff")]
    )
    words = pa.LargeListArray.from_arrays(pa.array([0, 1], pa.int64()), text)
    table = replaced(Treebank.from_constituents([["a"]], [[]]), tokens=words)
    with pytest.raises(FormatError, match=r"expected a sound table, got: .*UTF"):
        Treebank.from_arrow(table)


def test_what_is_no_table() -> None:
    """Anything else is refused by its name."""
    with pytest.raises(
        ArgumentError, match=r"table: expected a pyarrow\.Table, got \[1\]\. Read it with pyarrow first"
    ):
        Treebank.from_arrow([1])  # type: ignore[arg-type]


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("bank", [SMALL, BLOCKS, HEADS, SMALL[1:3], SMALL.replace(tokens=None)])
def test_there_and_back(tmp_path: Path, bank: Any) -> None:
    """Files come back as they were, missing sentences too; the bytes are the same each time."""
    path = tmp_path / "a.parquet"
    treeavg.write(bank, path)
    before = path.read_bytes()
    treeavg.write(bank, path)
    assert path.read_bytes() == before
    assert treeavg.read(path) == bank
    assert treeavg.read(path, on_error="skip") == bank
    path.rename(tmp_path / "a.txt")  # by its content
    assert treeavg.read(tmp_path / "a.txt") == bank


def random_treebank(sentences: int) -> Treebank:
    generator = random.Random(sentences)
    lengths = [generator.randint(1, 4) for _ in range(sentences)]
    return Treebank.from_constituents(
        [[f"w{generator.randint(0, 999)}" for _ in range(length)] for length in lengths],
        [[(0, length)] if length > 1 else [] for length in lengths],
    )


def test_row_groups_do_not_depend_on_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups hold a fixed number of sentences, so that files of any size are read in bounded memory."""
    monkeypatch.setattr(parquet, "ROW_GROUP", 100)
    monkeypatch.setattr(parquet, "ROWS", 64)
    bank = random_treebank(350)
    one, other = tmp_path / "one.parquet", tmp_path / "other.parquet"
    treeavg.write(bank, one)
    with AtomicFile(other) as file:
        for begin in range(0, 350, 37):
            file.write(FORMATS["parquet"].serialize(bank[begin : begin + 37]))
    assert one.read_bytes() == other.read_bytes()
    metadata = pq.ParquetFile(one).metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [100, 100, 100, 50]
    for batch in (1, 3, 64, 99, 100, 349, 350, 1000):
        parts = [part for (part,) in treeavg.scan([one], batch=batch)]
        assert [len(part) for part in parts] == [batch] * (350 // batch) + [350 % batch] * (350 % batch > 0)
        assert Treebank.concatenate(parts) == bank
    reader = TreebankReader(one)
    reader.next(70)
    assert reader.fraction == 0.2
    reader.close()


def test_columns(tmp_path: Path) -> None:
    """What is not wanted is not read."""
    treeavg.write(SMALL, tmp_path / "a.parquet")
    treeavg.write(HEADS, tmp_path / "b.parquet")
    bank = TreebankReader(tmp_path / "a.parquet", columns=Columns(tokens=False)).next(9)
    assert (bank.tokens, bank.labels) == (None, SMALL.labels)  # type: ignore[union-attr]
    bank = TreebankReader(tmp_path / "a.parquet", columns=Columns(labels=False)).next(9)
    assert (bank.tokens, bank.labels, bank.tags) == (SMALL.tokens, None, None)  # type: ignore[union-attr]
    bank = TreebankReader(tmp_path / "b.parquet", columns=Columns(labels=False)).next(9)
    assert (bank.tokens, bank.relations) == (HEADS.tokens, None)  # type: ignore[union-attr]


def test_kinds(tmp_path: Path) -> None:
    """The file says what it holds; files of both kinds do not go together."""
    treeavg.write(SMALL, tmp_path / "a.parquet")
    treeavg.write(HEADS, tmp_path / "b.parquet")
    assert TreebankReader(tmp_path / "b.parquet").format.kind == "dependency"
    with pytest.raises(
        treeavg.AlignmentError, match=r"b\.parquet: expected constituency trees as in .*a\.parquet, got de"
    ):
        list(treeavg.scan([tmp_path / "a.parquet", tmp_path / "b.parquet"]))


def test_sentences_to_parse(tmp_path: Path) -> None:
    """Words are taken from a table as from any treebank."""
    treeavg.write(SMALL, tmp_path / "a.parquet")
    assert list(SentenceReader(tmp_path / "a.parquet")) == [SMALL]


def test_trees_at_fault(tmp_path: Path) -> None:
    """A sentence whose tree breaks a rule is named by its number, or becomes a missing one."""
    bad = replaced(SMALL, starts=[[0, 1], [], [], [-1]], ends=[[2, 3], [], [], [4]])
    pq.write_table(bad, tmp_path / "a.parquet")
    with pytest.raises(FormatError) as caught:
        treeavg.read(tmp_path / "a.parquet")
    assert str(caught.value).startswith(
        f"{tmp_path}/a.parquet: sentence 1: expected nested or disjoint constituents, g"
    )
    reader = TreebankReader(tmp_path / "a.parquet", on_error="skip")
    bank = reader.next(9)
    assert bank.lengths.tolist() == [0, 0, 1, 0]
    assert bank[2].tokens == ["x"]
    assert [problem.sentence for problem in reader.problems] == [0, 3]
    assert "sentence 4: expected spans of two tokens or more" in reader.problems[1].message
    pq.write_table(replaced(HEADS, heads=[[2, 1], [], [0]]), tmp_path / "b.parquet")
    bank = treeavg.read(tmp_path / "b.parquet", on_error="skip")
    assert (bank.lengths.tolist(), list(bank.ids), bank[2].heads) == ([0, 0, 1], ["", "", "c"], [0])
    pq.write_table(replaced(BLOCKS, ends=[[3, 1, 9], [2]]), tmp_path / "c.parquet")
    assert treeavg.read(tmp_path / "c.parquet", on_error="skip") == Treebank.concatenate(
        [SMALL[1:2], BLOCKS[1:]]
    ).replace(labels=None, tags=None, support=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-6], "expected a Parquet file, got: '"),
        (lambda raw: raw[: len(raw) // 2], "expected a Parquet file, got: '"),
        (lambda raw: raw[:3], "expected a Parquet file, got: '"),
        (lambda raw: b"(S a b)\n", "expected a Parquet file, got: '"),
        (lambda raw: b"", "expected at least one tree, got an empty file."),
    ],
)
def test_files_that_are_none(tmp_path: Path, change: Any, message: str) -> None:
    """Cut, empty, or text under the name: one line."""
    path = tmp_path / "a.parquet"
    treeavg.write(SMALL, path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FormatError) as caught:
        treeavg.read(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_spoilt_files(tmp_path: Path) -> None:
    """Bytes changed anywhere give a treebank that validates, or an error of ours; nothing else."""
    path = tmp_path / "a.parquet"
    treeavg.write(random_treebank(40), path)
    raw = path.read_bytes()
    generator = random.Random(5)
    errors: list[str] = []
    for _ in range(150):
        data = bytearray(raw)
        for _ in range(generator.randint(1, 3)):
            data[generator.randrange(4, len(data) - 8)] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        try:
            treeavg.read(path).validate()
        except treeavg.TreeavgError as error:
            errors.append(str(error))
    assert len(errors) > 50
    assert not any("\n" in message for message in errors)


def test_counts_of_rows_that_differ(tmp_path: Path) -> None:
    """No number of rows at the end makes a sentence disappear."""
    path = tmp_path / "a.parquet"
    treeavg.write(SMALL[:1], path)
    data = bytearray(path.read_bytes())
    for place in range(len(data) - 8 - int.from_bytes(data[-8:-4], "little"), len(data) - 8):
        for value in (1, 57, 4):
            path.write_bytes(bytes(data[:place]) + bytes([data[place] ^ value]) + bytes(data[place + 1 :]))
            with suppress(FormatError):
                assert len(treeavg.read(path)) == 1, place
    reader: Any = object.__new__(parquet.TableBatches)
    reader._name = "x"
    groups = [SimpleNamespace(num_rows=3), SimpleNamespace(num_rows=4)]
    metadata = SimpleNamespace(num_rows=-29, num_row_groups=2, row_group=groups.__getitem__)
    with pytest.raises(FormatError, match=r"^x: expected 7 rows as its row groups say, got -29 by its end\. Is it"):
        reader._rows(metadata)


def test_text_that_begins_like_a_table(tmp_path: Path) -> None:
    """Four letters are no table."""
    path = tmp_path / "a.heads"
    path.write_text("PAR1 2 0\nPAR12 0 1\n")
    assert treeavg.read(path) == treeavg.read(path, format="heads")
    bank = treeavg.read(path)
    assert list(bank.ids) == ["PAR1", "PAR12"]
    treeavg.write(bank, path)
    assert treeavg.read(path) == bank


def test_streams_and_other_wrappings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input and pipes are refused, compression around it is, and text formats do not read it."""
    with pytest.raises(FormatError) as caught:
        parquet.TableBatches("-", Columns(), False, [])
    assert str(caught.value) == (
        "<stdin>: expected a file, as Parquet is read from its end, got a stream. Save it and name it."
    )
    treeavg.write(SMALL, tmp_path / "a.parquet")
    with pytest.raises(
        FormatError, match=r"a\.parquet:1:1: expected text, got Parquet data\. Name the file \.parquet, or"
    ):
        treeavg.read(tmp_path / "a.parquet", format="jsonl")
    with pytest.raises(
        FormatError, match=r"b\.parquet\.gz: expected a name without \.gz, as Parquet is compressed insid"
    ):
        treeavg.write(SMALL, tmp_path / "b.parquet.gz")
    import gzip

    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    with pytest.raises(FormatError, match=r"b\.parquet\.gz: expected a Parquet file as it is .*, got it in gzip data"):
        treeavg.read(tmp_path / "b.parquet.gz")
    with pytest.raises(treeavg.FileError, match="Is a directory"):
        treeavg.read(tmp_path, format="parquet")
    pq.write_table(SMALL[:0].to_arrow(), tmp_path / "c.parquet")
    with pytest.raises(FormatError, match=r"c\.parquet: expected at least one tree, got no rows\. Check what wrote it"):
        treeavg.read(tmp_path / "c.parquet")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "d.parquet")
    with pytest.raises(FormatError, match=r"d\.parquet: expected a column 'length', as treebanks have, got 'text'"):
        treeavg.read(tmp_path / "d.parquet")


def write_half(path: Path) -> None:
    with AtomicFile(path) as file:
        file.write(FORMATS["parquet"].serialize(SMALL))
        raise RuntimeError


def test_an_error_while_writing(tmp_path: Path) -> None:
    """The old file stays, and no writer complains later that its file is gone."""
    (tmp_path / "a.parquet").write_text("as it was")
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "a.parquet")
    gc.collect()
    assert (tmp_path / "a.parquet").read_text() == "as it was"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk() -> None:
    """The system's reason, as for any file."""
    with pytest.raises(treeavg.FileError, match=r"/dev/full: expected a file to write, got: No space left on device"):
        treeavg.write(SMALL, "/dev/full", format="parquet")
    gc.collect()


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    """A table can be written to standard output, as it is held back anyway."""
    treeavg.write(SMALL, "-", format="parquet")
    (tmp_path / "a.parquet").write_bytes(capfdbinary.readouterr().out)
    assert treeavg.read(tmp_path / "a.parquet") == SMALL


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said."""
    treeavg.write(SMALL, tmp_path / "a.parquet")
    real = importlib.import_module

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    for call in (
        lambda: treeavg.read(tmp_path / "a.parquet"),
        lambda: treeavg.write(SMALL, tmp_path / "b.parquet"),
        SMALL.to_arrow,
    ):
        with pytest.raises(
            ArgumentError, match=r"expected the package pyarrow, .*got none\. Run: pip install 'treeavg\[s"
        ):
            call()
    assert [item.name for item in tmp_path.iterdir()] == ["a.parquet"]


def test_schema_is_in_the_docs() -> None:
    """docs/formats.md lists each column of both kinds with its type."""
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    for kind in ("constituency", "dependency"):
        for field in arrow.schema(kind):
            kind_of_values = str(field.type).replace("item: ", "").replace(" not null", "")
            assert f"| `{field.name}` | `{kind_of_values}` |" in text, (kind, field.name)


@pytest.mark.parametrize("name", [b"length", b"starts", b"tokens", b"element"])
def test_a_damaged_name_of_a_column(tmp_path: Path, name: bytes) -> None:
    """Found by fuzzing: pyarrow raises a UnicodeDecodeError for names that are no UTF-8."""
    path = tmp_path / "a.parquet"
    treeavg.write(SMALL, path)
    whole, place, refused = path.read_bytes(), -1, 0
    while (place := whole.find(name, place + 1)) >= 0:
        path.write_bytes(whole[:place] + b"\xed" + whole[place + 1 :])
        found: object
        try:
            found = treeavg.read(path)
        except FormatError as error:
            found, refused = str(error), refused + 1
        assert found == SMALL or (isinstance(found, str) and "\n" not in found)
    assert refused
