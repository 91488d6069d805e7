"""Parquet: a row is a sentence, its lists are columns; see docs/formats.md, `treeavg.arrow`, `treeavg.tables`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from treeavg import arrow, tables
from treeavg.dependency import DependencyTreebank
from treeavg.errors import FormatError, Problem, quote
from treeavg.formats import limits
from treeavg.formats.base import AnyTreebank, Chunk, Columns, Format
from treeavg.formats.compression import kind_of_compression
from treeavg.formats.files import Joiner, Piece
from treeavg.formats.heads import faults
from treeavg.strings import StringColumn, offsets_of
from treeavg.treebank import Treebank

#: How every Parquet file begins: its mark, which a word may begin with too, and the first field of a header.
MAGIC = b"PAR1\x15"

#: Sentences in a row group, whatever the batches in which they come: what a reader has to hold at least.
ROW_GROUP = 8192
#: Sentences decoded at a time.
ROWS = 4096

_LABELS = ("labels", "tags", "relations")
_TOKENS = ("tokens", "sources")


def refuse_table(name: str, head: bytes, format: str) -> None:
    """Raise where a file that is to be read as text is Parquet.

    Parameters
    ----------
    name : str
        The file.
    head : bytes
        Its beginning.
    format : str
        As what it is to be read.

    Raises
    ------
    FormatError

    Examples
    --------
    >>> refuse_table("a.txt", b"(S a b)", "brackets")
    """
    if head.startswith(MAGIC):
        raise FormatError(
            f"{name}:1:1: expected text, got Parquet data. Name the file .parquet, or pass format='parquet' instead of "
            f"{format!r}."
        )


class TableBatches:
    """Batches of a Parquet file; `kind` is what it holds.

    Parameters
    ----------
    path : str or os.PathLike
        A file that can be read from its end, so no pipe.
    columns : Columns
        Which strings are needed; others are not read.
    skip : bool
        Whether sentences whose trees break a rule become missing ones. What concerns the table is raised in any case.
    problems : list of Problem
        Receives what was passed over.

    Raises
    ------
    FormatError
        It is no Parquet file, a damaged one, or has no treebank's columns.
    ArgumentError
        pyarrow is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Columns, skip: bool, problems: list[Problem]) -> None:
        self._name = "<stdin>" if os.fspath(path) == "-" else os.fspath(path)
        self._refuse_stream(os.fspath(path))
        self._pa = arrow.module()
        self._skip, self._problems = skip, problems
        self._given = 0
        self._file: Any = None
        parquet = arrow.module("pyarrow.parquet")
        try:
            self._file = parquet.ParquetFile(os.fspath(path), memory_map=False, pre_buffer=False, buffer_size=1 << 20)
            schema, metadata = self._file.schema_arrow, self._file.metadata
        except (self._pa.ArrowException, OSError, UnicodeDecodeError) as error:  # names of columns, too, may be damaged
            self.close()
            raise self._damaged(error) from None
        try:
            self._reader = tables.TableReader(self._name, self._place, schema, admit=self._admit)
            self._count = self._rows(metadata)
        except BaseException:
            self.close()
            raise
        self.kind = self._reader.kind
        unwanted = (*(() if columns.labels else _LABELS), *(() if columns.tokens else _TOKENS))
        self._names = [name for name in self._reader.names if name not in unwanted]
        self._ahead: list[AnyTreebank] = []  # decoded and not handed out
        self._decoded = 0
        self._pieces = self._decode()

    def _rows(self, metadata: Any) -> int:
        """Return how many rows there are; the file says it twice, and pyarrow believes either."""
        groups = [int(metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
        if metadata.num_rows != sum(groups) or min(groups, default=0) < 0:
            raise FormatError(
                f"{self._name}: expected {sum(groups):,} rows as its row groups say, got {metadata.num_rows:,} by its "
                "end. Is it whole?"
            )
        if not sum(groups):
            raise FormatError(f"{self._name}: expected at least one tree, got no rows. Check what wrote it.")
        return sum(groups)

    def _refuse_stream(self, path: str) -> None:
        if path == "-" or not os.path.isfile(path):
            raise FormatError(
                f"{self._name}: expected a file, as Parquet is read from its end, got a stream. Save it and name it."
            )
        if kind_of_compression(path):
            raise FormatError(
                f"{self._name}: expected a Parquet file as it is (it is compressed inside), got it in "
                f"{kind_of_compression(path)} data. Unpack it."
            )

    def _damaged(self, error: Exception) -> FormatError:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        return FormatError(f"{self._name}: expected a Parquet file, got: {quote(what, 200)}. Is it whole?")

    def _place(self, row: int) -> str:
        return f"{self._name}: sentence {self._decoded + row + 1}"

    def _admit(self, lengths: NDArray[np.int32], held: int) -> None:
        limits.refuse_unspelt(self._place, lengths, held)

    @property
    def fraction(self) -> float | None:
        """See `Batches`."""
        return self._given / self._count

    @property
    def done(self) -> bool:
        """See `Batches`."""
        return self._given >= self._count

    def close(self) -> None:
        """See `Batches`."""
        self._given = self._count = max(getattr(self, "_count", 1), 1)
        self._ahead, self._pieces = [], iter(())
        if self._file is not None:
            self._file.close(force=True)

    def next(self, count: int) -> AnyTreebank:
        """See `Batches`."""
        count = min(count, self._count - self._given)
        while sum(map(len, self._ahead)) < count:
            piece = next(self._pieces, None)
            if piece is None:
                raise FormatError(
                    f"{self._name}: expected {self._count:,} rows as its end says, got {self._decoded:,}. Is it whole?"
                )
            self._ahead.append(piece)
        kind: Any = DependencyTreebank if self.kind == "dependency" else Treebank
        bank = self._ahead[0] if len(self._ahead) == 1 else kind.concatenate(self._ahead)
        self._ahead = [bank[count:]] if len(bank) > count else []
        self._given += count
        if self.done:
            self.close()
        return bank if len(bank) == count else bank[:count]

    def _decode(self) -> Iterator[AnyTreebank]:
        batches = self._file.iter_batches(batch_size=ROWS, columns=self._names, use_threads=False)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (self._pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise self._damaged(error) from None
            bank = self._checked(self._reader.read(self._pa.Table.from_batches([batch])))
            self._decoded += len(bank)
            yield bank

    def _checked(self, bank: AnyTreebank) -> AnyTreebank:
        """Check the trees; under skip, return a treebank without those at fault."""
        found = dict(_tree_faults(bank, every=self._skip))
        if not found:
            return bank
        messages = {row: f"{self._place(row)}: {what}" for row, what in found.items()}
        if not self._skip:
            raise FormatError(messages[min(messages)])
        self._problems += [Problem(self._decoded + row, messages[row]) for row in sorted(messages)]
        good = np.ones(len(bank), np.bool_)
        good[list(found)] = False
        return _emptied(bank, good)


def _tree_faults(bank: AnyTreebank, every: bool) -> Iterator[tuple[int, str]]:
    """Yield sentences that break a rule, and what is wrong; only the first unless `every`."""
    if isinstance(bank, DependencyTreebank):
        yield from ((sentence, what) for sentence, _, what in faults(bank, every))
        return
    wrong = np.zeros(len(bank), np.bool_)
    if not bank.is_continuous:
        wrong = tables.faulty_blocks(bank)  # the check below trusts ranges
    if not wrong.any():
        try:
            bank.validate()
        except FormatError:
            pass
        else:
            return
    for sentence in range(len(bank)):  # one at a time, to find the one, or all of them
        if wrong[sentence]:
            yield sentence, tables.OUT_OF_ORDER
        else:
            try:
                bank[[sentence]].validate()
                continue
            except FormatError as error:
                yield sentence, str(error).partition(": ")[2]
        if not every:
            return


def _emptied(bank: AnyTreebank, good: NDArray[np.bool_]) -> AnyTreebank:
    """Return the treebank with missing sentences where they are not good."""
    kept = bank[np.flatnonzero(good)]
    lengths = np.where(good, bank.lengths, 0).astype(np.int32)
    if isinstance(kept, DependencyTreebank):
        names: dict[str, Any] = {}
        for name in ("ids", "sources"):
            column = getattr(kept, name)
            if column is not None:
                sizes = np.zeros(len(good), np.int64)
                sizes[good] = np.diff(column.offsets)
                names[name] = StringColumn(column.data, offsets_of(sizes))
        return DependencyTreebank(
            lengths, kept.heads, tokens=kept.tokens, relations=kept.relations, support=kept.support, **names
        )
    counts = np.zeros(len(good), np.int64)
    counts[good] = np.diff(kept.offsets)
    return Treebank(
        lengths, offsets_of(counts), kept.starts, kept.ends, block_offsets=kept.block_offsets, labels=kept.labels,
        tokens=kept.tokens, tags=kept.tags, support=kept.support,
    )  # fmt: skip


# ------------------------------------------------------------------ writing


class Rows(Piece):
    """Sentences as a stream of Arrow; row groups of a Parquet file are made of them."""

    def joiner(self, stream: IO[bytes], name: str) -> Joiner:
        """See `Piece`."""
        return _RowGroups(stream, name)


class _RowGroups:
    """Writes row groups of `ROW_GROUP` sentences, whatever the pieces that they come in."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        if kind_of_compression(name):
            raise FormatError(
                f"{name}: expected a name without {os.path.splitext(name)[1]}, as Parquet is compressed inside, got "
                "both. Name it .parquet."
            )
        self._pa, self._parquet = arrow.module(), arrow.module("pyarrow.parquet")
        self._stream = _Stream(stream)
        self._writer: Any = None
        self._tables: list[Any] = []
        self._count = 0

    def write(self, piece: bytes) -> None:
        """Append sentences."""
        table = self._pa.ipc.open_stream(piece).read_all()
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._stream, table.schema, compression="zstd")
        self._tables.append(table)
        self._count += len(table)
        while self._count >= ROW_GROUP:
            self._flush(ROW_GROUP)

    def close(self) -> None:
        """Write what is left and the end of the file."""
        if self._count:
            self._flush(self._count)
        self._writer.close()

    def abort(self) -> None:
        """Let the writer close without a file: it would do so late, when it is forgotten."""
        self._stream.dead = True
        if self._writer is not None:
            self._writer.close()

    def _flush(self, count: int) -> None:
        table = self._pa.concat_tables(self._tables)
        self._tables = [table.slice(count)] if len(table) > count else []
        self._count -= count
        # In one piece, so that the bytes do not depend on how the sentences came.
        self._writer.write_table(table.slice(0, count).combine_chunks(), row_group_size=count)


class _Stream:
    """A stream that knows how much was written, as a pipe does not."""

    closed = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._size = 0
        self.dead = False

    def write(self, data: Any) -> int:
        """Append bytes."""
        if not self.dead:
            self._stream.write(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """Return how many there are."""
        return self._size

    def flush(self) -> None:
        """Do nothing: the file is flushed when it is whole."""


def _serialize(bank: AnyTreebank) -> bytes:
    pa = arrow.module()
    table = arrow.to_table(bank)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return Rows(sink.getvalue())


def _parse(chunk: Chunk) -> tuple[AnyTreebank, list[Problem]]:
    raise FormatError(f"{chunk.name}: expected the path of a Parquet file, got its bytes. Use treeavg.read.")


PARQUET = Format(
    "parquet",
    (".parquet",),
    "tables of columns, compressed; needs pyarrow",
    line_based=False,
    parse=_parse,
    serialize=_serialize,
    kind="any",
)
