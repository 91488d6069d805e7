"""Where a file may be cut that has no sentence a line: at line ends where no sentence is open.

A cutter is given the file in pieces of whole lines and says after each piece where it could be cut, and how many
sentences end before that. It need not understand what is wrong: a cut never falls before the first fault's line ends,
so the parser of the format meets every fault in the piece where it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

_SPACE = b" \t\r\n\v\f"
_BLANK_LINE = re.compile(rb"^[ \t]*\r?\n", re.MULTILINE)
_MARK = re.compile(rb"^[ \t\r\v\f]*#([BE])OS(?![^ \t\r\v\f\n])", re.MULTILINE)


@dataclass
class Cuts:
    """Where some lines may be cut.

    Parameters
    ----------
    places : ndarray of int64
        Byte offsets behind line ends, increasing.
    sentences : ndarray of int64
        How many sentences ended before each of them, counted from the beginning of the file.
    last : int
        Behind the last byte of these lines that belongs to a sentence; 0 where none does.
    """

    places: I64
    sentences: I64
    last: int


class Cutter(Protocol):
    """Finds the cuts of one file."""

    def cuts(self, lines: bytes) -> Cuts:
        """Return the cuts within the next whole lines of the file (the last one may lack its end)."""


@dataclass
class BracketCutter:
    r"""Cuts trees in brackets over any number of lines, where all brackets are closed.

    Examples
    --------
    >>> BracketCutter().cuts(b"(S\n (A a))\n(S (B b)) (S\n").places.tolist()
    [11]
    """

    depth: int = 0
    done: int = 0

    def cuts(self, lines: bytes) -> Cuts:
        """See `Cutter`."""
        data = np.frombuffer(lines, np.uint8)
        brackets = np.flatnonzero((data == ord("(")) | (data == ord(")")))
        closing = data[brackets] == ord(")")
        depths = self.depth + np.cumsum(np.where(closing, -1, 1), dtype=np.int64)
        ended = np.cumsum(closing & (depths <= 0), dtype=np.int64)  # below 0 the parser raises in any case
        ends = np.flatnonzero(data == 10) + 1
        before = np.searchsorted(brackets, ends)  # how many brackets
        at = np.append(self.depth, depths)[before]
        sentences = self.done + np.append(0, ended)[before]
        if len(brackets):
            self.depth, self.done = int(depths[-1]), self.done + int(ended[-1])
        return Cuts(ends[at <= 0], sentences[at <= 0], len(lines.rstrip(_SPACE)))


@dataclass
class BlankLineCutter:
    r"""Cuts behind blank lines, which end sentences.

    Examples
    --------
    >>> cuts = BlankLineCutter().cuts(b"1\tit\n\n\n1\tis\n")
    >>> cuts.places.tolist(), cuts.sentences.tolist(), cuts.last
    ([6, 7], [1, 1], 12)
    """

    done: int = 0
    #: Whether the line before belongs to a sentence.
    open: bool = False

    def cuts(self, lines: bytes) -> Cuts:
        """See `Cutter`."""
        places: list[int] = []
        sentences: list[int] = []
        last = before = 0
        for match in _BLANK_LINE.finditer(lines):
            if match.start() > before:
                self.open, last = True, match.start()
            self.done += self.open
            self.open = False
            before = match.end()
            places.append(before)
            sentences.append(self.done)
        rest = lines[before:]
        if b"\n" in rest or rest.removesuffix(b"\r").strip(b" \t"):
            self.open, last = True, len(lines)
        return Cuts(np.array(places, np.int64), np.array(sentences, np.int64), last)


@dataclass
class MarkCutter:
    r"""Cuts behind #EOS lines, which end what begins with #BOS.

    Examples
    --------
    >>> MarkCutter().cuts(b"#BOS 1\nit\n#EOS 1\n%% end\n").places.tolist()
    [17]
    """

    done: int = 0
    #: Whether a #BOS has no #EOS yet.
    open: bool = False

    def cuts(self, lines: bytes) -> Cuts:
        """See `Cutter`."""
        places: list[int] = []
        sentences: list[int] = []
        last = 0
        for match in _MARK.finditer(lines):
            ending = match[1] == b"E"
            self.done += self.open
            self.open = not ending
            last = lines.find(b"\n", match.end()) + 1 or len(lines)
            if ending:
                places.append(last)
                sentences.append(self.done)
        return Cuts(np.array(places, np.int64), np.array(sentences, np.int64), len(lines) if self.open else last)


class NumberSet:
    """Strings that were seen; running numbers, the usual case, take no room.

    Examples
    --------
    >>> seen = NumberSet()
    >>> [seen.add(name) for name in ("1", "2", "2", "01", "x")]
    [True, True, False, True, True]
    """

    def __init__(self) -> None:
        self._first = self._behind = 0
        self._others: set[str] = set()

    def add(self, name: str) -> bool:
        """Add a string; tell whether it is new."""
        number = int(name) if name.isascii() and name.isdecimal() and len(name) < 19 else -1
        if str(number) != name:
            number = -1
        if name in self._others or (number >= 0 and self._first <= number < self._behind):
            return False
        if number >= 0 and self._first == self._behind:
            self._first, self._behind = number, number + 1
        elif number >= 0 and number == self._behind:
            self._behind += 1
        else:
            self._others.add(name)
        return True
