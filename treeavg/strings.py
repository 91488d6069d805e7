"""A column of strings: one byte buffer and offsets into it, as in Arrow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def flat_ranges(begins: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the concatenation of ``arange(b, b + c)`` over pairs of `begins` and `counts`.

    Parameters
    ----------
    begins, counts : ndarray of int64, shape (R,)
        First element and length of each range.

    Returns
    -------
    ndarray of int64, shape (sum(counts),)

    Examples
    --------
    >>> flat_ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    offsets = offsets_of(counts)
    return np.arange(offsets[-1], dtype=np.int64) + np.repeat(begins - offsets[:-1], counts)


def offsets_of(counts: NDArray[np.integer] | Iterable[int]) -> NDArray[np.int64]:
    """Return the running sum of `counts` with a leading zero: shape (R + 1,), int64.

    Examples
    --------
    >>> offsets_of([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    values = np.asarray(counts if isinstance(counts, np.ndarray) else list(counts), dtype=np.int64)
    offsets = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=offsets[1:])
    return offsets


@dataclass(frozen=True, eq=False)
class StringColumn:
    """Strings stored as UTF-8 in one buffer; decoded when they are asked for.

    Parameters
    ----------
    data : ndarray of uint8, shape (B,)
        The strings, one behind another.
    offsets : ndarray of int64, shape (S + 1,)
        String i is ``data[offsets[i]:offsets[i + 1]]``.

    Examples
    --------
    >>> column = StringColumn.of(["the", "dog"])
    >>> len(column), column[1], list(column)
    (2, 'dog', ['the', 'dog'])
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Iterable[str]) -> StringColumn:
        """Build a column from `strings`."""
        encoded = [string.encode() for string in strings]
        data = np.frombuffer(bytearray(b"".join(encoded)), dtype=np.uint8)
        return cls(data, offsets_of(len(piece) for piece in encoded))

    @classmethod
    def concatenate(cls, columns: Iterable[StringColumn]) -> StringColumn:
        """Join columns end to end."""
        parts = list(columns)
        data = np.concatenate([part.data for part in parts]) if parts else np.empty(0, np.uint8)
        return cls(data, offsets_of(np.concatenate([np.diff(part.offsets) for part in parts]) if parts else []))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        place = range(len(self))[index]
        return self.data[self.offsets[place] : self.offsets[place + 1]].tobytes().decode()

    def slice(self, begin: int, stop: int) -> StringColumn:
        """Return strings `begin` to `stop`, a view of the same bytes."""
        low, high = self.offsets[begin], self.offsets[stop]
        return StringColumn(self.data[low:high], self.offsets[begin : stop + 1] - low)

    def __iter__(self) -> Iterator[str]:
        raw, offsets = self.data.tobytes(), self.offsets.tolist()
        return (raw[begin:end].decode() for begin, end in itertools.pairwise(offsets))

    def take(self, indices: NDArray[np.int64]) -> StringColumn:
        """Return the strings at `indices` (int64, none negative), in that order."""
        counts = np.diff(self.offsets)[indices]
        return StringColumn(self.data[flat_ranges(self.offsets[:-1][indices], counts)], offsets_of(counts))

    def changed(self, change: Callable[[str], str], pieces: Iterable[bytes]) -> StringColumn:
        """Return the strings, those changed that hold one of some pieces.

        Parameters
        ----------
        change : callable
            Takes a string and returns another, the same one where it holds none of the pieces.
        pieces : iterable of bytes
            Not empty ones.

        Returns
        -------
        StringColumn
            This one where no string holds a piece.

        Examples
        --------
        >>> list(StringColumn.of(["a", "(", "b"]).changed(lambda string: "-LRB-", [b"("]))
        ['a', '-LRB-', 'b']
        """
        places = np.unique(np.concatenate([self._places_of(piece) for piece in pieces]))
        if not len(places):
            return self
        encoded = [change(self[place]).encode() for place in places.tolist()]
        begins, ends = self.offsets[places], self.offsets[places + 1]
        parts: list[NDArray[np.uint8]] = []
        for before, begin, new in zip([0, *ends[:-1].tolist()], begins.tolist(), encoded, strict=True):
            parts += [self.data[before:begin], np.frombuffer(new, np.uint8)]
        counts = np.diff(self.offsets)
        counts[places] = [len(new) for new in encoded]
        return StringColumn(np.concatenate([*parts, self.data[ends[-1] :]]), offsets_of(counts))

    def _places_of(self, piece: bytes) -> NDArray[np.int64]:
        """Return the places of strings that hold a piece, and perhaps of some at whose end one begins."""
        room = max(len(self.data) - len(piece) + 1, 0)
        found = np.ones(room, np.bool_)
        for shift, byte in enumerate(piece):
            found &= self.data[shift : room + shift] == byte
        return np.searchsorted(self.offsets, np.flatnonzero(found), side="right") - 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StringColumn):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.data, other.data)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<StringColumn: {len(self):,} strings, {len(self.data):,} bytes>"
