"""A page of memory that a worker shares with its driver: how far it is, and the input that it is at.

So a driver sees a worker that hangs or has crashed, and has the input.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Self

_HEAD = struct.Struct("<qqqq")
_SIZE = 1 << 17


class Board:
    """The page, in a file.

    Parameters
    ----------
    path : pathlib.Path
        Made anew where `fresh`.
    fresh : bool
        For the driver.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        if fresh:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _SIZE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._page.close()

    def write(self, done: int, accepted: int, failed: int, data: bytes) -> None:
        """Say what is done and what comes next."""
        data = data[: _SIZE - _HEAD.size]
        self._page[_HEAD.size : _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._page, 0, done, accepted, failed, len(data))

    def read(self) -> tuple[int, int, int, bytes]:
        """Return inputs done, accepted, failed, and the one that comes next."""
        done, accepted, failed, size = _HEAD.unpack_from(self._page, 0)
        return done, accepted, failed, bytes(self._page[_HEAD.size : _HEAD.size + size])
