"""The metrics of a run as JSON lines, cut back to a checkpoint when the run is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parsers.json_files import canonical_json
from treeavg.errors import FileError, FormatError, quote


class MetricsFile:
    r"""A file of JSON lines that grows.

    Parameters
    ----------
    path : pathlib.Path
        Made with the first line.

    Examples
    --------
    >>> import tempfile
    >>> metrics = MetricsFile(Path(tempfile.mkdtemp()) / "metrics.jsonl")
    >>> metrics.size(), metrics.read()
    (0, [])
    >>> metrics.append({"step": 1})
    >>> metrics.path.read_text()
    '{"step":1}\n'
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line.

        Parameters
        ----------
        record : mapping
            What JSON can hold.

        Raises
        ------
        FileError
            The file cannot be written.

        Examples
        --------
        >>> metrics.append({"step": 1})  # doctest: +SKIP
        """
        with self._explained(), self.path.open("ab") as file:
            file.write(canonical_json(record).encode() + b"\n")

    def size(self) -> int:
        """Return the length in bytes, all of them on the disk.

        Returns
        -------
        int
            0 where there is no file.

        Raises
        ------
        FileError
            The file cannot be written to the disk.

        Examples
        --------
        >>> MetricsFile(Path("/nowhere/metrics.jsonl")).size()
        0
        """
        if not self.path.exists():
            return 0
        with self._explained(), self.path.open("rb") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size
        raise AssertionError  # the context lets no error pass

    def cut(self, size: int, history: list[dict[str, Any]], note: Callable[[str], object]) -> None:
        """Drop the lines that were written after a checkpoint.

        Parameters
        ----------
        size : int
            Bytes at the checkpoint.
        history : list of dict
            The evaluations until then; written anew where the file has lost lines.
        note : callable
            Called with a line in that case.

        Raises
        ------
        FileError
            The file cannot be written.

        Examples
        --------
        >>> metrics.cut(0, [], print)  # doctest: +SKIP
        """
        if self.size() >= size:
            if self.path.exists():
                with self._explained():
                    os.truncate(self.path, size)
            return
        note(f"{self.path}: lines are missing; writing the evaluations anew.")
        with self._explained():
            self.path.write_bytes(b"")
        for record in history:
            self.append(record)

    def read(self) -> list[dict[str, Any]]:
        """Return the lines.

        Returns
        -------
        list of dict

        Raises
        ------
        FileError
            The file cannot be read.
        FormatError
            A line is not one of ours.

        Examples
        --------
        >>> MetricsFile(Path("/nowhere/metrics.jsonl")).read()
        []
        """
        if not self.path.exists():
            return []
        with self._explained():
            return [self._parsed(number, line) for number, line in enumerate(self.path.read_bytes().splitlines(), 1)]
        raise AssertionError

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            got = quote(line.decode(errors="replace"))
            raise FormatError(
                f"{self.path}:{number}: expected a JSON object of the training's, got {got}. Remove the line; the "
                "weights do not depend on it."
            )
        return value

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise FileError(
                f"{self.path}: expected a file to add lines to, got: {reason}. Make room there, then pass resume=True."
            ) from None
