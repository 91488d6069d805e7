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


def guided_seeds(name: str) -> list[bytes] | None:
    """Return what a fuzzer that is guided by coverage begins with, None where that is the reader's own inputs.

    What it makes of them is unwrapped bytes for `unguided`: changed bytes of a file with a checksum only reach the code
    that checks it. Of the command line it is the choices that make a command; the first is the verb.
    """
    if name == "command-line":
        return [
            bytes([verb, *range(begin, 250, step)]) for verb in range(10) for begin, step in ((1, 3), (200, 1), (2, 7))
        ]
    if name in ("gz", "zst"):
        return [b"\0" + data for data in seeds()["brackets"]]
    return [bytes([0, *range(1, 60, 7)]), bytes([0, *range(255, 0, -9)])] if name == "parquet" else None


def unguided(name: str, data: bytes, good: Sequence[bytes]) -> bytes:
    """Return the input that a guided fuzzer's bytes stand for: wrapped where the first is even, else the rest as it is.

    Of Parquet the rest are the choices that change a table.
    """
    if data[:1] and data[0] % 2:
        return data[1:]
    if name == "parquet":
        return _table(Choices(data[1:]), good)
    return gzip.compress(data[1:], mtime=0) if name == "gz" else _zst(data[1:])


class Choices(random.Random):
    """Draws from given bytes, so that a changed byte is a changed choice; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._left = iter(data)

    def random(self) -> float:
        """Return a number from two bytes."""
        return self.getrandbits(16) / 2**16

    def getrandbits(self, k: int, /) -> int:
        """Return `k` bits, from as few bytes as hold them."""
        value = 0
        for _ in range(-(-k // 8)):
            value = value << 8 | next(self._left, 0)
        return value & ((1 << k) - 1)


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
