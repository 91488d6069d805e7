"""Arrow tables checked and turned into treebanks; the way back from `treeavg.arrow`, which has the schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from treeavg.arrow import COLUMNS, KEY, KIND, VERSION, module, type_of
from treeavg.building import preorder
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, FormatError, quote
from treeavg.strings import StringColumn, offsets_of
from treeavg.treebank import Treebank

if TYPE_CHECKING:
    import pyarrow

I64 = NDArray[np.int64]


class _Borrowed:
    """A buffer as an array that does not call itself read-only: kernels are compiled once, for arrays of our own."""

    def __init__(self, buffer: Any, dtype: type, begin: int, count: int) -> None:
        kind = np.dtype(dtype)
        self.buffer = buffer  # kept alive by the array
        self.__array_interface__ = {
            "data": (buffer.address + begin * kind.itemsize, False),
            "shape": (count,), "typestr": kind.str, "version": 3,
        }  # fmt: skip


def _borrowed(buffer: Any, dtype: type, begin: int, count: int) -> NDArray[Any]:
    if not count or buffer is None:
        return np.zeros(count, dtype)
    array = np.asarray(_Borrowed(buffer, dtype, begin, count))
    return array if array.flags.aligned else array.copy()


class TableReader:
    """Turns tables of one file, or one table, into treebanks; all but the trees themselves is checked.

    Parameters
    ----------
    where : str
        The table, for messages.
    place : callable
        Names a row, for messages.
    found : pyarrow.Schema
        What the table has.
    admit : callable, optional
        Raises where it does not like the sentences' lengths (int32, one a row) beside the table's bytes.

    Raises
    ------
    FormatError
        Columns are missing or hold something else; the table is of a newer version.
    """

    def __init__(
        self,
        where: str,
        place: Callable[[int], str],
        found: pyarrow.Schema,
        *,
        admit: Callable[[NDArray[np.int32], int], None] | None = None,
    ) -> None:
        self._pa, self._admit = module(), admit
        self._compute = module("pyarrow.compute")
        self.where, self.place = where, place
        metadata = found.metadata or {}
        version = metadata.get(KEY, b"1")
        if not version.isdigit() or int(version) > VERSION:
            raise FormatError(
                f"{where}: expected a table of format {VERSION}, got {quote(version.decode(errors='replace'))}. "
                "A newer treeavg wrote it: update."
            )
        given = metadata.get(KIND, b"").decode(errors="replace")
        self.kind = given if given in COLUMNS else "dependency" if "heads" in found.names else "constituency"
        #: The columns that there are.
        self.names = [name for name, _, _ in COLUMNS[self.kind] if name in found.names]
        for name, what, nullable in COLUMNS[self.kind]:
            if found.names.count(name) > 1:
                raise FormatError(f"{where}: expected one column {name!r}, got {found.names.count(name)}. Rename one.")
            if name in found.names:
                self._check_type(name, what, found.field(name).type)
            elif not nullable:
                raise FormatError(
                    f"{where}: expected a column {name!r}, as treebanks have, got {quote(', '.join(found.names), 90)}. "
                    "docs/formats.md has the schema."
                )

    def _check_type(self, name: str, what: str, found: Any) -> None:
        """Raise where a column's type is none that can be turned into the wanted one without loss of meaning."""
        types = self._pa.types
        inner, good = found, True
        if what.endswith("s"):
            good = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
            inner = found.value_type if good else found
        if types.is_dictionary(inner):
            inner = inner.value_type
        kinds: dict[str, Callable[[Any], bool]] = {
            "int32": types.is_integer,
            "double": lambda one: bool(types.is_floating(one) or types.is_integer(one)),
            "string": lambda one: bool(types.is_string(one) or types.is_large_string(one) or types.is_string_view(one)),
        }
        if not (good and kinds[what.removesuffix("s")](inner)) and not types.is_null(found):
            raise FormatError(
                f"{self.where}: expected {type_of(self._pa, what)} in the column {name!r}, got "
                f"{quote(str(found), 90)}. docs/formats.md has the schema."
            )

    def read(self, table: pyarrow.Table) -> Treebank | DependencyTreebank:
        """Return the treebank of a table.

        Parameters
        ----------
        table : pyarrow.Table
            With the columns that `names` lists, or some of them.

        Returns
        -------
        Treebank or DependencyTreebank
            Shares the table's memory where the table has the types of the schema and each column is in one piece.

        Raises
        ------
        FormatError
            The table is damaged, or its columns do not fit each other; names the row.
        """
        try:
            table.validate(full=True)
        except self._pa.ArrowInvalid as error:
            raise FormatError(
                f"{self.where}: expected a sound table, got: {quote(str(error), 200)}. Write it again."
            ) from None
        columns = {
            name: self._cast(name, what, table.column(name))
            for name, what, _ in COLUMNS[self.kind]
            if name in table.column_names
        }
        self._refuse_nulls(columns)
        lengths = self._values(columns["length"], np.int32)
        self._refuse(lengths < 0, lambda row: f"a length of at least 0, got {lengths[row]}", "Mend the table")
        if self._admit is not None:
            self._admit(lengths, sum(column.nbytes for column in columns.values()))
        return self._dependency(columns, lengths) if self.kind == "dependency" else self._constituency(columns, lengths)

    def _cast(self, name: str, what: str, column: Any) -> Any:
        """Return a column in one piece, of the wanted type."""
        wanted = type_of(self._pa, what)
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if isinstance(array, self._pa.ChunkedArray):
            array = self._pa.concat_arrays(array.chunks) if array.num_chunks else self._pa.nulls(0, column.type)
        same = array.type == wanted
        if what.endswith("s") and self._pa.types.is_large_list(array.type):
            same = array.type.value_type == wanted.value_type  # whatever the name of the items
        if same:
            return array
        try:
            if what.endswith("s"):
                wanted = self._pa.large_list(wanted.value_type)
            return array.cast(wanted)
        except (self._pa.ArrowInvalid, self._pa.ArrowNotImplementedError) as error:
            raise FormatError(
                f"{self.where}: expected {wanted} in the column {name!r}, got: {quote(str(error), 200)}. "
                "docs/formats.md has the schema."
            ) from None

    def _refuse_nulls(self, columns: dict[str, Any]) -> None:
        for name, what, nullable in COLUMNS[self.kind]:
            if name not in columns:
                continue
            array = columns[name]
            if array.null_count and not nullable:
                row = int(np.argmax(np.asarray(array.is_null())))
                raise FormatError(
                    f"{self.place(row)}: expected a value in the column {name!r}, got null. "
                    "Length 0 and empty lists are a missing sentence."
                )
            if what.endswith("s") and array.flatten().null_count:
                raise FormatError(
                    f"{self.where}: expected no nulls in the lists of the column {name!r}, got "
                    f"{array.flatten().null_count}. Fill them."
                )

    def _refuse(self, bad: NDArray[np.bool_], what: Callable[[int], str], advice: str) -> None:
        """Raise for the first row that is bad."""
        if bad.any():
            row = int(np.argmax(bad))
            raise FormatError(f"{self.place(row)}: expected {what(row)}. {advice}.")

    # -------------------------------------------------------------- arrays

    def _values(self, array: Any, dtype: type) -> NDArray[Any]:
        return _borrowed(array.buffers()[1], dtype, array.offset, len(array))

    def _column(self, array: Any) -> StringColumn:
        buffers = array.buffers()
        if not len(array):
            return StringColumn(np.zeros(0, np.uint8), np.zeros(1, np.int64))
        offsets = _borrowed(buffers[1], np.int64, array.offset, len(array) + 1)
        begin, stop = int(offsets[0]), int(offsets[-1])
        return StringColumn(_borrowed(buffers[2], np.uint8, begin, stop - begin), offsets - begin if begin else offsets)

    def _list(self, array: Any) -> tuple[I64, Any]:
        """Return offsets, one more than rows, and the items that they count; a null is an empty list."""
        if array.null_count:  # a null may hide items
            counts = self._compute.fill_null(self._compute.list_value_length(array), 0)
            return offsets_of(self._values(counts.cast(self._pa.int64()), np.int64)), array.flatten()
        if not len(array):
            return np.zeros(1, np.int64), array.values.slice(0, 0)
        offsets = _borrowed(array.buffers()[1], np.int64, array.offset, len(array) + 1)
        begin, stop = int(offsets[0]), int(offsets[-1])
        return offsets - begin if begin else offsets, array.values.slice(begin, stop - begin)

    def _fitting(self, name: str, array: Any, wanted: I64, lengths: NDArray[np.int32]) -> Any:
        """Return the items of an optional column and where it is null; None where no sentence has them."""
        present = ~np.asarray(array.is_null(), np.bool_)
        if not (present & (lengths > 0) if lengths.any() else present).any():
            return None
        offsets, items = self._list(array)
        counts, sizes = np.diff(offsets), np.diff(wanted)
        self._refuse(
            present & (counts != sizes),
            lambda row: f"{sizes[row]} {name}, got {counts[row]}",
            "The lists of a row must fit its length and its constituents",
        )
        return items, present | (sizes == 0)

    def _same_for_all(self, name: str, array: Any, wanted: I64, lengths: NDArray[np.int32]) -> Any:
        """Return the items of a column that all sentences have, or none."""
        found = self._fitting(name, array, wanted, lengths)
        if found is None:
            return None
        items, present = found
        self._refuse(
            ~present, lambda row: f"{name} in every row or in none, got null here", "Fill the column, or leave it out"
        )
        return items

    def _share(self, array: Any, wanted: I64, lengths: NDArray[np.int32]) -> NDArray[np.float64] | None:
        """Return support where all sentences have it."""
        found = self._fitting("support", array, wanted, lengths)
        if found is None or not found[1].all():
            return None
        values = self._values(found[0], np.float64)
        bad = ~((values >= 0) & (values <= 1))
        if bad.any():
            place = int(np.argmax(bad))
            row = int(np.searchsorted(wanted, place, side="right")) - 1
            raise FormatError(f"{self.place(row)}: expected support from 0 to 1, got {values[place]}. Mend the table.")
        return values

    # -------------------------------------------------------------- kinds

    def _dependency(self, columns: dict[str, Any], lengths: NDArray[np.int32]) -> DependencyTreebank:
        words = offsets_of(lengths)
        heads, items = self._list(columns["heads"])
        self._refuse(
            np.diff(heads) != lengths,
            lambda row: f"{lengths[row]} heads as its length says, got {heads[row + 1] - heads[row]}",
            "Give one head for each word",
        )
        strings: dict[str, Any] = {}
        for name in ("tokens", "relations"):
            if name in columns:
                own = self._same_for_all(name, columns[name], words, lengths)
                strings[name] = self._column(own) if own is not None else None
        for name in ("ids", "sources"):
            if name in columns and columns[name].null_count < len(columns[name]):
                filled = columns[name]
                strings[name] = self._column(self._compute.fill_null(filled, "") if filled.null_count else filled)
        support = self._share(columns["support"], words, lengths) if "support" in columns else None
        return DependencyTreebank(lengths, self._values(items, np.int32), support=support, **strings)

    def _constituency(self, columns: dict[str, Any], lengths: NDArray[np.int32]) -> Treebank:
        blocks, starts = self._list(columns["starts"])
        ends_at, ends = self._list(columns["ends"])
        self._refuse(
            np.diff(blocks) != np.diff(ends_at),
            lambda row: f"{blocks[row + 1] - blocks[row]} ends, one a start, got {ends_at[row + 1] - ends_at[row]}",
            "Mend the table",
        )
        offsets, block_offsets = blocks, None
        if "fan_outs" in columns and columns["fan_outs"].null_count < len(columns["fan_outs"]):
            offsets, block_offsets = self._fan_outs(columns["fan_outs"], blocks)
        words = offsets_of(lengths)
        strings: dict[str, Any] = {}
        for name, sizes in (("labels", offsets), ("tokens", words)):
            if name in columns:
                own = self._same_for_all(name, columns[name], sizes, lengths)
                strings[name] = self._column(own) if own is not None else None
        if "tags" in columns:
            strings["tags"] = self._tags(columns["tags"], words, lengths)
        return Treebank(
            lengths,
            offsets,
            self._values(starts, np.int32),
            self._values(ends, np.int32),
            block_offsets=block_offsets,
            support=self._share(columns["support"], offsets, lengths) if "support" in columns else None,
            **strings,
        )

    def _fan_outs(self, array: Any, blocks: I64) -> tuple[I64, I64 | None]:
        """Return the constituents of each sentence, and their blocks; null is a row without discontinuous ones."""
        given, items = self._list(array)
        present = ~np.asarray(array.is_null(), np.bool_)
        sizes = np.diff(blocks)
        offsets = offsets_of(np.where(present, np.diff(given), sizes))
        fan_outs = np.ones(int(offsets[-1]), np.int64)
        fan_outs[np.repeat(present, np.diff(offsets))] = self._values(items, np.int32)
        sums = offsets_of(fan_outs)
        rows = np.repeat(np.arange(len(present)), np.diff(offsets))
        small = np.zeros(len(present), np.bool_)
        small[rows[fan_outs < 1]] = True
        self._refuse(small, lambda row: "fan-outs of at least 1, got less", "Count the blocks of each constituent")
        held = sums[offsets[1:]] - sums[offsets[:-1]]
        self._refuse(
            held != sizes,
            lambda row: f"{held[row]} blocks as its fan-outs say, got {sizes[row]}",
            "Count the blocks of each constituent",
        )
        return offsets, sums if (fan_outs > 1).any() else None

    def _tags(self, array: Any, words: I64, lengths: NDArray[np.int32]) -> StringColumn | None:
        """Return tags; where a row has none they are empty."""
        found = self._fitting("tags", array, words, lengths)
        if found is None:
            return None
        column = self._column(found[0])
        if found[1].all():
            return column
        sizes = np.zeros(int(words[-1]), np.int64)
        sizes[np.repeat(found[1], lengths)] = np.diff(column.offsets)
        return StringColumn(column.data, offsets_of(sizes))


def faulty_blocks(bank: Treebank) -> NDArray[np.bool_]:
    """Tell which sentences have constituents that lie out of range, or out of order; crossing ones are not looked for.

    Parameters
    ----------
    bank : Treebank
        Whose blocks are not trusted.

    Returns
    -------
    ndarray of bool, shape (N,)

    Examples
    --------
    >>> faulty_blocks(Treebank.from_constituents([3], [[(0, 2)]])).tolist()
    [False]
    """
    fan_outs = bank.fan_outs
    rows = np.repeat(np.arange(len(bank)), np.diff(bank.offsets))
    of_block = np.repeat(rows, fan_outs)
    starts, ends = bank.starts.astype(np.int64), bank.ends.astype(np.int64)
    bad = (starts < 0) | (ends > bank.lengths[of_block]) | (starts >= ends)
    firsts = offsets_of(fan_outs)[:-1]
    inner = np.ones(len(starts), np.bool_)
    inner[firsts] = False
    bad[1:] |= inner[1:] & (starts[1:] <= ends[:-1])
    faulty = np.zeros(len(bank), np.bool_)
    faulty[of_block[bad]] = True
    if len(rows):
        faulty[rows[np.add.reduceat(ends - starts, firsts) < 2]] = True
        order, _ = preorder(rows, fan_outs, bank.starts, bank.ends)
        faulty[rows[order != np.arange(len(order))]] = True
    return faulty


def from_table(table: Any, kind: str) -> Any:
    """Return the treebank of a table; see `Treebank.from_arrow`."""
    pa = module()
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if not isinstance(table, pa.Table):
        raise ArgumentError(f"table: expected a pyarrow.Table, got {quote(table)}. Read it with pyarrow first.")
    reader = TableReader("table", lambda row: f"table[{row}]", table.schema)
    if reader.kind != kind:
        name = {"constituency": "Treebank", "dependency": "DependencyTreebank"}[reader.kind]
        raise FormatError(f"table: expected {kind} trees, got {reader.kind} trees. Use {name}.from_arrow.")
    bank = reader.read(table.select(reader.names))
    if isinstance(bank, Treebank) and not bank.is_continuous:
        faulty = faulty_blocks(bank)
        if faulty.any():
            raise FormatError(f"table[{int(np.argmax(faulty))}]: {OUT_OF_ORDER}")
    bank.validate("table")
    return bank


#: What is wrong with a sentence that `faulty_blocks` finds.
OUT_OF_ORDER = (
    "expected constituents of two tokens or more, in range and in pre-order, their blocks in order and apart, got "
    "others. Build the treebank with Treebank.from_constituents, which sorts."
)
