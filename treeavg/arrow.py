"""Treebanks as Arrow tables and back; pyarrow is imported when it is needed.

A row is a sentence. The columns of a treebank are the buffers of the table's columns, both ways without a copy;
docs/formats.md has the schema. What a treebank lacks is null, so that all tables of one kind have one schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError
from treeavg.strings import StringColumn
from treeavg.treebank import Treebank

if TYPE_CHECKING:
    import pyarrow

I64 = NDArray[np.int64]

#: Of the schema; kept in its metadata under `KEY`.
VERSION = 1
KEY, KIND = b"treeavg.format", b"treeavg.kind"

#: Columns by kind: name, type, whether it may be null.
COLUMNS = {
    "constituency": (
        ("length", "int32", False),
        ("starts", "int32s", False),
        ("ends", "int32s", False),
        ("fan_outs", "int32s", True),
        ("labels", "strings", True),
        ("tokens", "strings", True),
        ("tags", "strings", True),
        ("support", "doubles", True),
    ),
    "dependency": (
        ("length", "int32", False),
        ("heads", "int32s", False),
        ("relations", "strings", True),
        ("tokens", "strings", True),
        ("support", "doubles", True),
        ("ids", "string", True),
        ("sources", "string", True),
    ),
}


def module(name: str = "pyarrow") -> Any:
    """Return pyarrow or a module of it.

    Parameters
    ----------
    name : str, default "pyarrow"
        ``pyarrow.parquet``, ...

    Returns
    -------
    module

    Raises
    ------
    ArgumentError
        It is not installed; says what to install.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ArgumentError(
            "parquet: expected the package pyarrow, for Arrow tables and .parquet files, got none. "
            "Run: pip install 'treeavg[scale]'."
        ) from None


def schema(kind: str) -> pyarrow.Schema:
    """Return the schema of a table.

    Parameters
    ----------
    kind : str
        ``constituency`` or ``dependency``.

    Returns
    -------
    pyarrow.Schema
        With the version and the kind in its metadata.

    Examples
    --------
    >>> schema("dependency").names
    ['length', 'heads', 'relations', 'tokens', 'support', 'ids', 'sources']
    """
    pa = module()
    fields = [pa.field(name, type_of(pa, what), nullable=nullable) for name, what, nullable in COLUMNS[kind]]
    return pa.schema(fields, metadata={KEY: str(VERSION).encode(), KIND: kind.encode()})


def type_of(pa: Any, what: str) -> Any:
    """Return the Arrow type of a column by its word in `COLUMNS`; a plural is a list."""
    plain = {"int32": pa.int32(), "double": pa.float64(), "string": pa.large_string()}
    if what in plain:
        return plain[what]
    return pa.large_list(pa.field("item", plain[what.removesuffix("s")], nullable=False))


def to_table(bank: Treebank | DependencyTreebank) -> pyarrow.Table:
    """Return a treebank as a table; see `Treebank.to_arrow`."""
    pa = module()
    kind = "dependency" if isinstance(bank, DependencyTreebank) else "constituency"
    wanted = schema(kind)
    lists: dict[str, tuple[I64, Any]] = {}
    columns: dict[str, Any] = {"length": _numbers(pa, bank.lengths)}
    if isinstance(bank, DependencyTreebank):
        lists["heads"] = (bank.token_offsets, bank.heads)
        lists["relations"] = (bank.token_offsets, bank.relations)
        lists["support"] = (bank.token_offsets, bank.support)
        columns |= {
            name: _strings(pa, column) for name, column in (("ids", bank.ids), ("sources", bank.sources)) if column
        }
    else:
        blocks, fan_outs = bank.offsets, None
        if bank.block_offsets is not None:
            blocks, fan_outs = bank.block_offsets[bank.offsets], bank.fan_outs.astype(np.int32)
        lists |= {"starts": (blocks, bank.starts), "ends": (blocks, bank.ends)}
        for name, column in (("fan_outs", fan_outs), ("labels", bank.labels), ("support", bank.support)):
            lists[name] = (bank.offsets, column)
        lists["tags"] = (bank.token_offsets, bank.tags)
    lists["tokens"] = (bank.token_offsets, bank.tokens)
    for name, (offsets, values) in lists.items():
        if values is not None:
            inner = _strings(pa, values) if isinstance(values, StringColumn) else _numbers(pa, values)
            columns[name] = pa.Array.from_buffers(
                wanted.field(name).type, len(bank), [None, _buffer(pa, offsets)], children=[inner]
            )
    filled = [columns.get(field.name, None) for field in wanted]
    arrays = [
        pa.nulls(len(bank), field.type) if column is None else column
        for field, column in zip(wanted, filled, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=wanted)


def _buffer(pa: Any, values: NDArray[Any]) -> Any:
    return pa.py_buffer(np.ascontiguousarray(values))


def _numbers(pa: Any, values: NDArray[Any]) -> Any:
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, _buffer(pa, values)])


def _strings(pa: Any, column: StringColumn) -> Any:
    buffers = [None, _buffer(pa, column.offsets), _buffer(pa, column.data)]
    return pa.Array.from_buffers(pa.large_string(), len(column), buffers)
