"""Paths: opened, read in pieces, written atomically."""

from __future__ import annotations

import codecs
import errno
import hashlib
import io
import os
import secrets
import stat
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from treeavg.errors import ArgumentError, FileError, FormatError
from treeavg.formats.compression import MAGIC, ByteWriter, Valve, compressed, decompressed

BLOCK = 1 << 20


def explain(path: str, action: str, error: OSError) -> FileError:
    """Return a FileError that says which path could not be read or written, why, and what to do.

    Parameters
    ----------
    path : str
        The path as the user gave it.
    action : str
        ``read`` or ``write``.
    error : OSError
        What the system said.

    Returns
    -------
    FileError

    Examples
    --------
    >>> print(explain("a.txt", "read", FileNotFoundError(2, "No such file or directory")))
    a.txt: expected a file to read, got: No such file or directory. Check the path.
    """
    advice = {
        errno.ENOENT: "Check the path.",
        errno.ENOTDIR: "Check the path.",
        errno.EISDIR: "Name a file, or several: folder/*.txt.",
        errno.EACCES: "Change its permissions, or choose another path.",
        errno.EPERM: "Change its permissions, or choose another path.",
        errno.EMFILE: "Raise the limit (ulimit -n), or name fewer at once.",
        errno.EFBIG: "Raise the limit (ulimit -f), or choose another path.",
    }.get(error.errno or 0, "Free space or choose another path." if action == "write" else "Check the device.")
    reason = error.strerror or str(error)
    return FileError(f"{path}: expected a file to {action}, got: {reason}. {advice}")


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    FileError
        It cannot be read.

    Examples
    --------
    >>> file_digest(os.devnull)[:8]
    'e3b0c442'
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise explain(os.fspath(path), "read", error) from None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as lasting as the files' content.

    Parameters
    ----------
    folder : pathlib.Path
        Some file systems cannot do it for folders; that is not an error.

    Examples
    --------
    >>> sync_folder(Path("."))
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # the file itself was synced, and a rename is all or nothing anyway
    finally:
        os.close(handle)


class ByteSource:
    """Reads blocks of UTF-8 from a path or from standard input (``-``); ``.gz`` and ``.zst`` are decompressed.

    Parameters
    ----------
    path : str or os.PathLike
        The file; ``-`` is standard input.
    encoding : str, default "utf-8"
        Recoded to UTF-8 if it is another.
    """

    def __init__(self, path: str | os.PathLike[str], encoding: str = "utf-8") -> None:
        self.name = "<stdin>" if os.fspath(path) == "-" else os.fspath(path)
        try:
            codec = codecs.lookup(encoding)
            if not getattr(codec, "_is_text_encoding", True) or codec.name == "undefined":
                raise LookupError
            self._recode = codec.name not in ("utf-8", "ascii")
        except (LookupError, UnicodeError):
            raise ArgumentError(
                f"encoding: expected a known encoding, got {encoding!r}. Try 'utf-8' or 'latin-1'."
            ) from None
        self._encoding = encoding
        try:
            if os.fspath(path) == "-":
                if sys.stdin is None:
                    raise OSError(9, "Bad file descriptor")
                self._raw: IO[bytes] = sys.stdin.buffer
            else:
                self._raw = open(path, "rb")  # noqa: SIM115 (closed by close())
            self._size = os.fstat(self._raw.fileno()).st_size
        except io.UnsupportedOperation:
            self._size = 0  # a stand-in for standard input
        except OSError as error:
            raise explain(self.name, "read", error) from None
        self._position = 0
        try:
            self._stream = decompressed(self._raw, self.name)
        except BaseException:
            self.close()
            raise
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._first = True
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """Return the first bytes, about `size` of them, which `read` will return once more; call it before `read`."""
        self._ahead = self.read(size)
        return self._ahead

    def read(self, size: int = BLOCK) -> bytes:
        """Return up to about `size` bytes of UTF-8; nothing at the end of the file."""
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        while True:
            try:
                raw = self._stream.read(size)
            except OSError as error:
                raise explain(self.name, "read", error) from None
            if self._size:
                self._position = self._raw.tell()
            if self._first and raw:
                self._first = False
                for magic, (kind, suffix, tool) in MAGIC.items():
                    if raw.startswith(magic):
                        raise FormatError(
                            f"{self.name}:1:1: expected text, got {kind} data. Name the file {suffix}, or pipe it "
                            f"through {tool}."
                        )
                if not self._recode:
                    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                        raise FormatError(
                            f"{self.name}:1:1: expected UTF-8, got the mark of UTF-16. Convert the file, or pass "
                            "encoding='utf-16'."
                        )
                    raw = raw.removeprefix(codecs.BOM_UTF8)
            if not self._recode:
                return raw
            try:
                text = self._decoder.decode(raw, final=not raw)
            except UnicodeError as error:
                raise FormatError(
                    f"{self.name}: expected {self._encoding}, got: {error}. Name the file's own encoding."
                ) from None
            if text or not raw:
                return text.encode()

    @property
    def fraction(self) -> float | None:
        """Share of the file read so far; None for a pipe or an empty file."""
        return self._position / self._size if self._size else None

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if sys.stdin is None or self._raw is not getattr(sys.stdin, "buffer", None):
            self._raw.close()


def _unnamed(folder: str) -> int | None:
    """Open a file without a name in a folder, so that a killed process leaves nothing; None where that cannot be."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder or ".", os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:
        return None  # not on this file system; or the folder's fault, which a named file will meet too


def _give_name(handle: int, path: str) -> None:
    """Give an unnamed file a name that no other has."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        # With a folder's handle Python calls linkat(), which can follow the link that stands for the file.
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


class Joiner(Protocol):
    """Puts pieces of a format that has a frame around them into a file."""

    def write(self, piece: bytes) -> None:
        """Append a piece."""

    def close(self) -> None:
        """Write what is left and the end of the frame."""

    def abort(self) -> None:
        """Write nothing more, whatever happened; after `close` there is nothing to do."""


class Piece(bytes):
    """Part of a file whose parts cannot simply stand end to end; `AtomicFile` asks the first one how to join them."""

    def joiner(self, stream: IO[bytes], name: str) -> Joiner:
        """Return what puts this and further pieces into `stream`; `name` is the file, for messages."""
        raise NotImplementedError


class AtomicFile:
    """A file that appears whole or not at all: written beside its place, moved there on success.

    Standard output (``-``) is held back likewise until all is written. A device or pipe is written directly.

    Parameters
    ----------
    path : str or os.PathLike
        Where to; a name that ends in ``.gz`` or ``.zst`` is compressed (without a time stamp, so equal content gives
        equal bytes).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.name = "<stdout>" if self.path == "-" else self.path

    def __enter__(self) -> AtomicFile:
        self._temporary: str | None = None
        self._later: str | None = None  # the name that a file without one gets at the end
        self._joiner: Joiner | None = None
        self._compressed: ByteWriter | None = None
        try:
            self._raw = self._open()
        except OSError as error:
            raise explain(self.name, "write", error) from None
        try:
            self._valve = Valve(self._raw)
            self._compressed = compressed(self._valve, self.path)
        except BaseException:
            self._discard()
            raise
        self._target: Any = self._compressed or self._raw
        return self

    def _open(self) -> IO[bytes]:
        if self.path == "-":
            return tempfile.TemporaryFile()
        self._real = os.path.realpath(self.path)  # write through a link rather than replace it
        mode = None
        if not os.path.basename(self.path) or os.path.isdir(self._real):  # of "", "a/" and "absent/.." it is one
            raise IsADirectoryError(21, "Is a directory")
        if os.path.exists(self.path):
            status = os.stat(self.path)
            if not stat.S_ISREG(status.st_mode):
                return open(self.path, "wb")  # its real path may be none: /dev/stdout is "pipe:[12]"
            if not os.access(self._real, os.W_OK):
                raise PermissionError(13, "Permission denied")
            mode = stat.S_IMODE(status.st_mode)
        else:
            umask = os.umask(0)
            os.umask(umask)
            mode = 0o666 & ~umask
        folder = os.path.dirname(self._real)
        prefix = f".{os.fsencode(os.path.basename(self._real))[:100].decode(errors='ignore')}."
        handle = _unnamed(folder)
        if handle is None:
            handle, self._temporary = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=folder)
        else:
            self._later = os.path.join(folder, f"{prefix}{secrets.token_hex(4)}.tmp")
        os.fchmod(handle, mode)
        return open(handle, "wb")

    def write(self, data: bytes) -> None:
        """Append bytes, or a `Piece`; pieces of one format, from the first to the last."""
        try:
            if isinstance(data, Piece) and self._joiner is None:
                self._joiner = data.joiner(self._target, self.name)
            (self._joiner or self._target).write(data)
        except OSError as error:
            raise explain(self.name, "write", error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        except BrokenPipeError:
            raise
        except OSError as problem:
            raise explain(self.name, "write", problem) from None
        finally:
            self._discard()

    def _commit(self) -> None:
        if self._joiner is not None:
            self._joiner.close()
        if self._compressed is not None:
            self._compressed.close()
        if self.path == "-":
            if sys.stdout is None:
                raise OSError(9, "Bad file descriptor")
            sys.stdout.flush()
            self._raw.seek(0)
            while block := self._raw.read(BLOCK):
                sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
        elif self._temporary is not None or self._later is not None:
            self._raw.flush()
            os.fsync(self._raw.fileno())
            if self._later is not None:
                _give_name(self._raw.fileno(), self._later)
                self._temporary = self._later
            self._raw.close()
            assert self._temporary is not None
            os.replace(self._temporary, self._real)
            self._temporary = None
        else:
            self._raw.close()

    def _discard(self) -> None:
        if self._joiner is not None:
            self._joiner.abort()
        if self._compressed is not None:
            self._valve.shut()
            self._compressed.close()
        try:
            self._raw.close()
        except OSError:
            pass  # the error that matters was raised by the write
        if self._temporary is not None:
            Path(self._temporary).unlink(missing_ok=True)
