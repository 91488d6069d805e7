"""Compressed files: gzip (``.gz``) and Zstandard (``.zst``), told apart by the suffix."""

from __future__ import annotations

import gzip
import os
import zlib
from typing import IO, Any, Protocol, cast

from treeavg.errors import ArgumentError, FormatError
from treeavg.formats import limits

#: Suffix to what the data is called.
KINDS = {".gz": "gzip", ".zst": "zstd"}

#: First bytes of data that was not named by its suffix: what it is, the suffix, and what unpacks it.
MAGIC = {b"\x1f\x8b": ("gzip", ".gz", "gunzip"), b"\x28\xb5\x2f\xfd": ("zstd", ".zst", "zstd -d")}

#: Compressed bytes at a time: a Zstandard block of four bytes can become 128 KiB, so that this is at most 32 MiB.
_PIECE = 1024


def without_compression(path: str | os.PathLike[str]) -> str:
    """Return a path in lower case without the suffix of compressed files.

    Parameters
    ----------
    path : str or os.PathLike
        Any path.

    Returns
    -------
    str

    Examples
    --------
    >>> without_compression("Trees.JSONL.zst"), without_compression("trees.txt")
    ('trees.jsonl', 'trees.txt')
    """
    name = os.fspath(path).lower()
    return name[: len(name) - len(_suffix(name))]


def kind_of_compression(path: str | os.PathLike[str]) -> str:
    """Return ``gzip`` or ``zstd`` by the suffix of a path, or nothing.

    Parameters
    ----------
    path : str or os.PathLike
        Any path.

    Returns
    -------
    str

    Examples
    --------
    >>> kind_of_compression("trees.txt.gz"), kind_of_compression("trees.txt")
    ('gzip', '')
    """
    return KINDS.get(_suffix(os.fspath(path).lower()), "")


class ByteReader(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to about `size` bytes; nothing at the end."""


class ByteWriter(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> Any:
        """Append bytes."""

    def close(self) -> None:
        """Write what is left; the file itself stays open."""


def decompressed(raw: IO[bytes], path: str) -> ByteReader:
    """Return a reader of the content of a file; several compressed members end to end are read as one.

    Parameters
    ----------
    raw : binary file
        Open for reading; it is not closed.
    path : str
        Its suffix decides.

    Returns
    -------
    ByteReader
        The file itself where it is not compressed. Else ``read`` raises a FormatError for data that is damaged or cut
        off and a LimitError for data that expands beyond all measure (see `treeavg.formats.limits`).

    Raises
    ------
    ArgumentError
        The package ``zstandard`` is not installed.
    """
    kind = kind_of_compression(path)
    return _Decompressed(raw, path, kind) if kind else raw


class Valve:
    """What a compressor writes to: a file, until it is shut.

    A compressor holds bytes back, and writes them with its end when it is closed or forgotten. Of a file that is given
    up that would be a message out of nowhere (the file is closed), or an end that makes half of it look whole.

    Parameters
    ----------
    raw : binary file
        Open for writing; it is not closed.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw: IO[bytes] | None = raw

    def write(self, data: bytes) -> int:
        """Write, or lose, all of `data`."""
        return len(data) if self._raw is None else self._raw.write(data)

    def flush(self) -> None:
        """Hand on what the file holds back."""
        if self._raw is not None:
            self._raw.flush()

    def shut(self) -> None:
        """Lose all that is written from now on."""
        self._raw = None


def compressed(raw: Valve, path: str) -> ByteWriter | None:
    """Return a writer that compresses into a file, or None where the suffix does not ask for it.

    Parameters
    ----------
    raw : Valve
        To the file.
    path : str
        Its suffix decides.

    Returns
    -------
    ByteWriter or None
        Equal content gives equal bytes: no time stamp, no name, one thread.

    Raises
    ------
    ArgumentError
        The package ``zstandard`` is not installed.
    """
    kind = kind_of_compression(path)
    if kind == "gzip":
        sink = cast("IO[bytes]", raw)  # of which nothing else is used
        return gzip.GzipFile(filename="", mode="wb", fileobj=sink, compresslevel=6, mtime=0)
    if kind == "zstd":
        compressor = zstandard(path).ZstdCompressor(level=3, write_checksum=True)
        writer: ByteWriter = compressor.stream_writer(raw, closefd=False)
        return writer
    return None


def zstandard(path: str) -> Any:
    """Return the module ``zstandard``; raise an ArgumentError that says what to install where it is absent."""
    try:
        import zstandard as module
    except ImportError:
        raise ArgumentError(
            f"{path}: expected the package zstandard, to read and write .zst, got none. "
            "Run: pip install 'treeavg[scale]'."
        ) from None
    return module


def _suffix(name: str) -> str:
    return next((suffix for suffix in KINDS if name.endswith(suffix)), "")


class _Counted:
    """A file that counts the bytes read from it."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        self.taken += len(data)
        return data


class _Decompressed:
    """Reads compressed data and looks after its limits."""

    def __init__(self, raw: IO[bytes], path: str, kind: str) -> None:
        self._path, self._kind = path, kind
        self._raw = _Counted(raw)
        self._inner: ByteReader
        self._broken: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
        if kind == "gzip":
            self._inner = gzip.GzipFile(fileobj=self._raw)  # type: ignore[call-overload]  # it calls only read
        else:
            module = zstandard(path)
            self._inner = _Frames(self._raw, module)
            self._broken = (EOFError, module.ZstdError)
        self._given = 0
        self._limit = limits.most_expansion()

    def read(self, size: int, /) -> bytes:
        """Return up to about `size` bytes; nothing at the end."""
        try:
            data = self._inner.read(size)
        except self._broken as error:
            raise FormatError(
                f"{self._path}: expected {self._kind} data, got: {error}. Compress the file again."
            ) from None
        self._given += len(data)
        if self._limit and self._given > limits.FREE and self._given > self._limit * self._raw.taken:
            raise limits.too_dense(self._path, self._given, self._raw.taken, self._limit)
        return data


class _Frames:
    """Reads Zstandard frames end to end; unlike the package's own reader it notices when the last one is cut off."""

    def __init__(self, raw: _Counted, module: Any) -> None:
        self._raw = raw
        self._decompressor = module.ZstdDecompressor()
        self._frame: Any = None
        self._rest = b""  # behind the end of a frame
        self._ready = memoryview(b"")  # unpacked, and more than was asked for

    def read(self, size: int, /) -> bytes:
        pieces: list[memoryview] = []
        total = 0
        while total < size and (self._ready or self._unpack()):
            pieces.append(self._ready[: size - total])
            self._ready = self._ready[len(pieces[-1]) :]
            total += len(pieces[-1])
        return b"".join(pieces)

    def _unpack(self) -> bool:
        """Unpack a piece, perhaps to nothing; return whether there was one."""
        piece = self._rest or self._raw.read(_PIECE)
        self._rest = b""
        if not piece:
            if self._frame is not None:
                raise EOFError("the file ended before the data did")
            return False
        if self._frame is None:
            self._frame = self._decompressor.decompressobj()
        self._ready = memoryview(self._frame.decompress(piece))
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None
        return True
