"""What is fuzzed: every reader, as a function of bytes, and what must hold of whatever it returns or raises."""

from __future__ import annotations

import io
import re
import sys
import time
import types
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from .mutations import seeds

SECONDS, BYTES = 5.0, 1 << 30

#: The rule of all messages, on one line.
MESSAGE = re.compile(r"[^\n]*?\S: expected [^\n]+, got[ :][^\n]+[.?!]")


class Stream(io.BytesIO):
    """Standard input of given bytes that hands out at most `block` of them at a time, but four at first.

    (So many tell what a file is; `io.BufferedReader`, which standard input is, hands out fewer only where it ends.)
    """

    def __init__(self, data: bytes, block: int | None) -> None:
        super().__init__(data)
        self._block = block

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        return super().read(size if self._block is None else self._block if self.tell() else 4)


class Reader:
    """A reader and its oracle.

    Parameters
    ----------
    name : str
        A key of `treeavg.formats.FORMATS`, or one of `OTHERS`.
    folder : pathlib.Path
        For those that read from a path only.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.seconds = name, SECONDS
        self._path = folder / f"input{OTHERS.get(name, '')}"
        from treeavg.formats import FORMATS

        self._format = FORMATS.get(name)
        self._piped = name in FORMATS
        if self._piped:  # all but formats that are read from their end
            self._piped = any(not isinstance(self.read(data), Exception) for data in seeds()[name])

    def read(self, data: bytes, *, skip: bool = False, block: int | None = None) -> Any:
        """Return what the reader returns; a TreeavgError is returned too, all else is raised."""
        from treeavg import TreeavgError, read

        try:
            if self._format is None:
                return self._other(data)
            if not self._piped:
                self._path.write_bytes(data)
                return read(self._path, self.name, on_error="skip" if skip else "raise")
            sys.stdin = types.SimpleNamespace(buffer=Stream(data, block))  # type: ignore[assignment]
            return read("-", self.name, on_error="skip" if skip else "raise")
        except TreeavgError as error:
            return error

    def _other(self, data: bytes) -> Any:
        from treeavg import read
        from treeavg.averaging.hits_file import read_hits
        from treeavg.cli.options import read_weights
        from treeavg.formats.text import read_sentences

        self._path.write_bytes(data)
        calls: dict[str, Callable[[], Any]] = {
            "hits": lambda: read_hits(self._path),
            "text": lambda: read_sentences(self._path, "text"),
            "weights": lambda: read_weights(str(self._path), ["a", "b"]),
            "utf-16": lambda: read(self._path, encoding="utf-16"),
            "parser.json": lambda: _parser(self._path.parent, data),
        }
        return calls.get(self.name, lambda: read(self._path))()

    def failure(self, data: bytes, *, blocks: bool) -> tuple[bool, str | None]:
        """Return whether the input was accepted, and what is wrong, if anything is.

        Parameters
        ----------
        data : bytes
            The input.
        blocks : bool
            Read it in blocks of one byte too, also where it is refused.
        """
        _forget_peak()
        held = _peak()
        begun = time.process_time()  # not of the clock on the wall: the machine may be busy
        accepted = False
        try:
            first = self.read(data)
            accepted = not isinstance(first, Exception)
            wrong = self._wrong(first, data, blocks)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the point of all this
            wrong = f"raised {type(error).__name__}: {str(error)[:300]}\n{_innermost(error)}"
        seconds = time.process_time() - begun
        if seconds > self.seconds:
            wrong = wrong or f"took {seconds:.1f} s"
        grown = _peak() - held
        if grown > BYTES:
            wrong = wrong or f"took {grown >> 20} MB"
        return accepted, wrong

    def _wrong(self, first: Any, data: bytes, blocks: bool) -> str | None:
        if isinstance(first, Exception):
            if not MESSAGE.fullmatch(str(first)) or len(str(first)) > 700:
                return f"message: {first}"
            place, lines = re.match(r"<stdin>:(\d+)", str(first)), data.count(b"\n") + 1
            if place and not 1 <= int(place[1]) <= lines:
                return f"message names line {place[1]} of {lines}: {first}"
        if self._format is None:
            return None
        if self._piped and len(data) < 4000 and (blocks or not isinstance(first, Exception)):
            in_blocks = self.read(data, block=1)
            if not _same(first, in_blocks):
                return f"in blocks of a byte: {in_blocks!r} in place of {first!r}"
        lenient = self.read(data, skip=True)
        if isinstance(first, Exception):
            return self._wrong_tree(lenient, again=False) if not isinstance(lenient, Exception) else None
        if not _same(first, lenient):
            return f"with on_error='skip': {lenient!r} in place of {first!r}"
        return self._wrong_tree(first, again=True)

    def _wrong_tree(self, bank: Any, *, again: bool) -> str | None:
        """Check a treebank's own rules; and, where `again`, write it and read it back."""
        bank.validate()
        if wrong := columns_wrong(bank):
            return wrong
        if not again or self._format is None:
            return None
        written = self._written(bank)
        back = self.read(written)
        return None if _same(bank, back) else f"written as {written[:200]!r}, read back as {back!r}"

    def _written(self, bank: Any) -> bytes:
        assert self._format is not None
        if self._piped:
            return bytes(self._format.serialize(bank))
        from treeavg import write

        write(bank, self._path, self.name)
        return self._path.read_bytes()


#: Readers that are no format of the table, and the suffix of the file that they read.
OTHERS = {
    "auto": "", "gz": ".txt.gz", "zst": ".txt.zst", "utf-16": ".txt", "hits": ".jsonl", "text": ".txt", "weights": "",
    "parser.json": ".json",
}  # fmt: skip


def names() -> list[str]:
    """Return all readers that there are: the formats, then the others."""
    from treeavg.formats import FORMATS

    return [*FORMATS, *(name for name in OTHERS if name != "zst" or _has_zst())]


def other_seeds() -> dict[str, list[bytes]]:
    """Return valid inputs of the readers that are no format."""
    import gzip

    formats = seeds()
    every = [data for of in formats.values() for data in of if len(data) < 2000]
    hits = [
        b'{"tokens": ["it", "rains", "often"], "hits": [[1, 3, 2]], "weight": 2}\nnull\n',
        b'{"length": 4, "hits": [[0, 2, 0.5], [0, 3, 1], [1, 3, 1.25]], "weight": 2.5}\n',
    ]
    found = {
        "auto": every,
        "gz": [gzip.compress(data, mtime=0) for data in formats["brackets"]]
        + [gzip.compress(b"\xef\xbb\xbf(X a)\n") * 2],
        "utf-16": [data.decode().encode("utf-16") for data in formats["brackets"]],
        "hits": hits,
        "text": ["the dog barks\n\nit rains\r\né字 b".encode()],
        "weights": [b"1 2\n", b"a 0.5\nb 2\n", b"0.1\n1e-3\n", b"a/b 1/3\n"],
        "parser.json": [
            b'{"config": {}, "format": 1, "kind": "right", "treeavg": "parser", "version": "1", "weights": null}',
            b'{"config": {"seed": 3}, "format": 1, "kind": "random", "treeavg": "parser", "weights": null}',
        ],
    }
    if _has_zst():
        import zstandard

        found["zst"] = [zstandard.compress(data) for data in [*formats["brackets"], b"\xef\xbb\xbf(X a)\n"]]
    return found


def columns_wrong(bank: Any) -> str | None:
    """Tell what is wrong with the sizes of a treebank's columns, if anything is."""
    import numpy as np

    sizes = {"tokens": bank.token_count, "tags": bank.token_count, "relations": bank.token_count}
    if hasattr(bank, "constituent_count"):
        sizes["labels"] = bank.constituent_count
        if bank.offsets[0] != 0 or (np.diff(bank.offsets) < 0).any() or len(bank.starts) != len(bank.ends):
            return "offsets of constituents"
        if (np.diff(bank.offsets)[bank.lengths == 0] != 0).any():
            return "constituents of a missing sentence"
        bank.to_nltk() if hasattr(bank, "to_nltk") else [view.constituents for view in bank]
    for name, size in sizes.items():
        column = getattr(bank, name, None)
        if column is not None and (len(column) != size or len(list(column)) != size):
            return f"{len(column)} {name}, expected {size}"
    return None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Exception) or isinstance(b, Exception):
        return type(a) is type(b) and str(a) == str(b)
    return bool(a == b)


def _innermost(error: BaseException) -> str:
    """Return the last lines of a traceback, each as file:line."""
    lines, trace = [], error.__traceback__
    while trace is not None:
        lines.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
        trace = trace.tb_next
    return "\n".join(lines[-4:])


@lru_cache
def _has_zst() -> bool:
    """Tell whether zstandard files are read: by asking."""
    import tempfile

    from treeavg import TreeavgError, read

    try:
        import zstandard
    except ImportError:
        return False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt.zst"
        path.write_bytes(zstandard.compress(b"(X (X a) (X b))\n"))
        try:
            return len(read(path)) == 1
        except TreeavgError:
            return False


def _parser(folder: Path, data: bytes) -> Any:
    """Load a parser whose document is these bytes, with the right checksum where they are an object."""
    import json

    from parsers.base import DOCUMENT, _checksum, load
    from treeavg import TreeavgError

    place = folder / "parser"
    place.mkdir(exist_ok=True)
    try:
        document = json.loads(data.decode("utf-8", "surrogatepass"))
        if isinstance(document, dict):
            document.pop("checksum", None)
            data = json.dumps({**document, "checksum": _checksum(document)}).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError, TreeavgError):
        pass  # as it is
    (place / DOCUMENT).write_bytes(data)
    return load(place)


def _forget_peak() -> None:
    """Let the peak of this process's memory be what it holds now, so that an input answers for itself alone."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # an older peak then hides a smaller one


def _peak() -> int:
    """Return the most bytes of memory that this process held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0
