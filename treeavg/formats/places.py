"""Where something stands in a file, and a fault of one line."""

from __future__ import annotations

import numpy as np

from treeavg.formats.base import Chunk


class LineError(Exception):
    """What is wrong in a line; a parser catches it and names the file.

    Parameters
    ----------
    line : int
        Its number, as the parser counts.
    message : str
        ``expected X, got Y. What to do next.``
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class LinePlaces:
    """Names the places of a chunk whose lines are its sentences.

    Unlike `Chunk.place` it does not count lines anew for each error, of which there may be many under ``skip``.

    Parameters
    ----------
    chunk : Chunk
        Of a format that is line based.
    """

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._begins = np.append(0, np.flatnonzero(chunk.data == 10) + 1)

    def line(self, index: int) -> str:
        """Return ``name:line`` of a line, counted from 0 in the chunk."""
        return f"{self._chunk.name}:{self._chunk.line + index}"

    def of(self, index: int, position: int) -> str:
        """Return ``name:line:column`` of a byte of that line, columns in characters from 1."""
        before = self._chunk.data[self._begins[index] : position].tobytes()
        return f"{self.line(index)}:{len(before.decode(errors='replace')) + 1}"
