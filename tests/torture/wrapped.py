"""Inputs of formats with checksums or a frame of their own: changed inside, then wrapped again, or nothing is read."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable, Sequence
from typing import Any

from .mutations import mutated, random_input, seeds

Maker = Callable[[random.Random, Sequence[bytes], Sequence[bytes]], bytes]

_NUMBERS = (0, 1, 2, 3, 4, -1, 7, 2**31 - 1, -(2**31))
_STRINGS = ("", "a", "S", "(", "é", "a b", "\n", "\0", "-LRB-", "字")


def maker_of(name: str) -> Maker:
    """Return what makes inputs of a reader: for most `random_input`."""
    if name == "parquet":
        return _halves(_table)
    if name in ("gz", "zst"):
        inside = [data for data in seeds()["brackets"] if data]
        wrap = gzip.compress if name == "gz" else _zst
        return _halves(lambda generator, _: wrap(mutated(generator, generator.choice(inside), inside)))
    return random_input


def _halves(make: Callable[[random.Random, Sequence[bytes]], bytes]) -> Maker:
    """Return what makes one half of the inputs from inside, changes the bytes of the other."""

    def maker(generator: random.Random, corpus: Sequence[bytes], good: Sequence[bytes]) -> bytes:
        if good and generator.random() < 0.5:
            return make(generator, good)
        return random_input(generator, corpus, good, longest=20_000)

    return maker


def _zst(data: bytes) -> bytes:
    import zstandard

    return zstandard.compress(data)


def _table(generator: random.Random, good: Sequence[bytes]) -> bytes:
    """Return a Parquet file with one to three values of its table changed, or a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(generator.choice(good)))
    rows: list[dict[str, Any]] = table.to_pylist()
    for _ in range(generator.choice((1, 1, 2, 3))):
        if rows:
            row = generator.choice(rows)
            name = generator.choice(list(row))
            row[name] = _changed(generator, row[name])
    try:
        table = pa.Table.from_pylist(rows, schema=table.schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError):
        table = pa.Table.from_pylist([])  # what no column of this type can hold
    change = generator.random()
    if change < 0.05 and table.num_columns > 1:
        table = table.drop_columns([generator.choice(table.column_names)])
    elif change < 0.1 and table.num_columns:
        name = generator.choice(table.column_names)
        table = table.rename_columns([name + "x" if own == name else own for own in table.column_names])
    elif change < 0.15:
        table = table.replace_schema_metadata({"treeavg.kind": generator.choice(("dependency", "constituency", "x"))})
    file = io.BytesIO()
    pq.write_table(table, file, compression=generator.choice(("zstd", "snappy", "none")))
    return file.getvalue()


def _changed(generator: random.Random, value: Any) -> Any:
    if isinstance(value, list) and generator.random() < 0.85:
        value = list(value)
        place, change = generator.randrange(len(value) + 1), generator.randrange(4)
        if change == 0 and place < len(value):
            value[place] = _changed(generator, value[place])
        elif change == 1 and place < len(value):
            del value[place]
        elif change == 2 and value:
            value.insert(place, generator.choice(value))
        else:
            generator.shuffle(value)
        return value
    if isinstance(value, str):
        return generator.choice(_STRINGS)
    if isinstance(value, float):
        return generator.choice((0.0, 1.0, -1.0, float("nan"), float("inf"), 0.5, 2.0))
    if isinstance(value, int):
        return generator.choice(_NUMBERS)
    return generator.choice((None, [], [0], ["a"]))
