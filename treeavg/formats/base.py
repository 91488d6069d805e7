"""What a format is: how it is recognised, read and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from treeavg.dependency import DependencyTreebank
from treeavg.errors import FormatError, Problem, quote
from treeavg.formats.boundaries import Cutter
from treeavg.treebank import Treebank

AnyTreebank: TypeAlias = Treebank | DependencyTreebank

NOT_SKIPPED = "Trees over several lines cannot be skipped: where the next begins is lost."


@dataclass(frozen=True)
class Columns:
    """Which strings a caller needs; leaving some out saves time.

    Parameters
    ----------
    tokens, labels : bool, default True
        Keep the words; keep labels and tags.
    """

    tokens: bool = True
    labels: bool = True


@dataclass(frozen=True)
class Chunk:
    """Bytes of whole sentences, with their place in the file.

    Parameters
    ----------
    data : ndarray of uint8
        UTF-8; whole lines.
    name : str
        The file, for messages.
    line : int, default 1
        Number of the first line.
    sentence : int, default 0
        Index of the first sentence.
    columns : Columns
        The strings that are wanted.
    skip : bool, default False
        Turn an erroneous line into a missing sentence instead of raising.
    memory : dict, optional
        What a format remembers of the chunks before; the same object for all chunks of a file.
    """

    data: NDArray[np.uint8]
    name: str
    line: int = 1
    sentence: int = 0
    columns: Columns = field(default_factory=Columns)
    skip: bool = False
    memory: dict[str, Any] = field(default_factory=dict)

    def place(self, position: int) -> str:
        """Return ``name:line:column`` of a byte, both from 1, columns in characters."""
        before = self.data[:position].tobytes()
        begin = before.rfind(b"\n") + 1
        column = len(before[begin:].decode(errors="replace")) + 1
        return f"{self.name}:{self.line + before.count(10)}:{column}"

    def excerpt(self, begin: int, stop: int) -> str:
        """Return some bytes of one line as a quoted string; a letter that is cut in two is left out."""
        line = self.data[begin:stop].tobytes().split(b"\n")[0]
        return quote(line.decode(errors="ignore").rstrip())

    def checked(self, line_based: bool = True) -> tuple[Chunk, list[Problem]]:
        """Return the chunk with every line valid UTF-8 without NUL.

        Parameters
        ----------
        line_based : bool, default True
            Whether a line is a sentence, so that it can be skipped.

        Returns
        -------
        chunk : Chunk
            Itself where all is well; under `skip`, one whose bad lines are blank.
        problems : list of Problem
            The lines that were blanked.

        Raises
        ------
        FormatError
            Names the first invalid byte, unless `skip`.
        """
        raw = self.data.tobytes()
        if self._first_bad(raw) is None:
            return self, []
        problems: list[Problem] = []
        lines = raw.split(b"\n")
        begin = 0
        for number, line in enumerate(lines):
            bad = self._first_bad(line)
            if bad is not None:
                where, what = self.place(begin + bad), f"0x{line[bad]:02x}"
                kind = "text" if line[bad] == 0 else "UTF-8"
                advice = "Is this a text file?" if line[bad] == 0 else "Convert the file, or name its encoding."
                message = f"{where}: expected {kind}, got the byte {what}. {advice}"
                if not self.skip:
                    raise FormatError(message)
                if not line_based:
                    raise FormatError(f"{message} {NOT_SKIPPED}")
                problems.append(Problem(self.sentence + number, message))
            begin += len(line) + 1
        bad_sentences = {problem.sentence - self.sentence for problem in problems}
        blanked = b"\n".join(b" " if number in bad_sentences else line for number, line in enumerate(lines))
        if len(lines) - 1 in bad_sentences:
            blanked += b"\n"  # or the blank last line would not count
        data = np.frombuffer(bytearray(blanked), np.uint8)
        return Chunk(data, self.name, self.line, self.sentence, self.columns, self.skip, self.memory), problems

    @staticmethod
    def _first_bad(raw: bytes) -> int | None:
        """Return the place of the first NUL or invalid byte."""
        zero = raw.find(0)
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            return error.start if zero < 0 else min(zero, error.start)
        return None if zero < 0 else zero


@dataclass(frozen=True)
class Format:
    """One file format.

    Parameters
    ----------
    name : str
        What ``format=`` calls it.
    suffixes : tuple of str
        File name endings that decide for it.
    summary : str
        One line for help texts.
    line_based : bool
        Whether each line is one sentence.
    parse : callable
        Chunk to treebank and problems.
    serialize : callable
        Treebank to bytes; raises a FormatError for what the format cannot hold.
    kind : str, default "constituency"
        What it holds: ``constituency`` (a `Treebank`), ``dependency`` (a `DependencyTreebank`) or ``any``, one of them.
    numbered : bool, default False
        Whether sentences are numbered as they are written; `serialize` then takes the index of the first as well.
    cutter : callable, optional
        Makes what finds the ends of sentences, for a format of text that is not line based.
    """

    name: str
    suffixes: tuple[str, ...]
    summary: str
    line_based: bool
    parse: Callable[[Chunk], tuple[AnyTreebank, list[Problem]]]
    serialize: Callable[..., bytes]
    kind: str = "constituency"
    numbered: bool = False
    cutter: Callable[[], Cutter] | None = None
