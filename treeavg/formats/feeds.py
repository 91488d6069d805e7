"""What cuts a text file into chunks of sentences while it is read; no more of it is held than a chunk needs."""

from __future__ import annotations

from bisect import bisect_left
from typing import Protocol

import numpy as np

from treeavg.formats import files, limits
from treeavg.formats.boundaries import Cutter
from treeavg.formats.files import ByteSource

#: How much of a file is looked at to tell its format.
HEAD = 65536

_BLANKS = b" \t\r\v\f"


class Feed(Protocol):
    """Hands out the bytes of whole sentences."""

    @property
    def done(self) -> bool:
        """Whether nothing is left."""

    def take(self, count: int) -> bytearray:
        """Return the next `count` sentences, fewer at the end; a feed may return more where lines hold several."""

    def drop(self) -> None:
        """Forget what was read."""


class Blocks:
    """The blocks of a file that were read and not yet handed out; watches for lines without end.

    Parameters
    ----------
    source : ByteSource
        Closed at its end.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.name = source.name
        self.waiting: list[bytes] = []
        self.lines = 0  # line ends in the blocks that wait
        self.read = 0  # line ends read so far
        self.ended = False
        self.size = files.BLOCK
        self._open = 0  # bytes behind the last line end
        self._limit = limits.longest_sentence()

    def load(self) -> bytes:
        """Read one more block; nothing at the end."""
        block = self._source.read(self.size)
        if not block:
            self.ended = True
            self._source.close()
            return block
        self.waiting.append(block)
        # By NumPy, which releases the GIL while it counts.
        count = int(np.count_nonzero(np.frombuffer(block, np.uint8) == 10))
        self._watch(block, count)
        self.lines += count
        self.read += count
        return block

    def _watch(self, block: bytes, count: int) -> None:
        """Raise a LimitError for a line that is too long."""
        if not self._limit:
            return
        first = block.find(b"\n") if count else len(block)
        long = self._open + first > self._limit
        line = self.read + 1
        if not long and count and len(block) > self._limit:  # lines within the block
            sizes = np.diff(np.append(np.flatnonzero(np.frombuffer(block, np.uint8) == 10), len(block))) - 1
            long = bool((sizes > self._limit).any())
            line += int(np.argmax(sizes > self._limit)) + 1
        if long:
            raise limits.too_long(f"{self.name}:{line}", "line", self._limit)
        self._open = len(block) - block.rfind(b"\n") - 1 if count else self._open + len(block)

    def drop_blanks(self) -> None:
        """Read on until there is more than blanks, or the end: then they go, as the rest of a line does."""
        while not any(block[0] not in _BLANKS or block.strip(_BLANKS) for block in self.waiting):
            if self.ended:
                self.waiting = []
                return
            self.load()

    def head(self) -> bytes:
        """Return the beginning of the file, enough of it to tell the format."""
        while not self.ended and sum(map(len, self.waiting)) < HEAD:
            self.load()
        return b"".join(self.waiting)[:HEAD]

    def joined(self) -> bytearray:
        """Return all that waits, as one."""
        data = bytearray().join(self.waiting)
        self.waiting = []
        return data


class LineFeed:
    """Cuts a file whose lines are its sentences.

    Parameters
    ----------
    blocks : Blocks
        What was read already waits in them.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    @property
    def done(self) -> bool:
        """See `Feed`."""
        return self._blocks.ended and not self._blocks.waiting

    def take(self, count: int) -> bytearray:
        """See `Feed`."""
        blocks = self._blocks
        while blocks.lines < count and not blocks.ended:
            blocks.load()
        data = blocks.joined()
        enough = blocks.lines >= count
        blocks.lines -= min(count, blocks.lines)
        if enough:
            cut = int(np.flatnonzero(np.frombuffer(data, np.uint8) == 10)[count - 1]) + 1
            blocks.waiting = [bytes(data[cut:])] if cut < len(data) else []
            data = data[:cut]
            blocks.size = max(files.BLOCK, cut + cut // 16)
        blocks.drop_blanks()  # so that `done` is known
        return data

    def drop(self) -> None:
        """See `Feed`."""
        self._blocks.ended, self._blocks.waiting = True, []


class SentenceFeed:
    """Cuts a file whose sentences may take several lines, at ends of lines where no sentence is open.

    Where a chunk ends depends on the file and on the counts alone, not on the blocks in which the file is read.

    Parameters
    ----------
    blocks : Blocks
        What was read already waits in them.
    cutter : Cutter
        Of the format.
    """

    def __init__(self, blocks: Blocks, cutter: Cutter) -> None:
        self._blocks = blocks
        self._cutter = cutter
        self._limit = limits.longest_sentence()
        self._places: list[int] = []  # where the file can be cut, in bytes from its beginning
        self._counts: list[int] = []  # sentences before these
        self._begin = self._taken = 0  # where the waiting blocks begin, and how many sentences before that
        self._scanned = self._lines = 0  # up to where the cutter has seen the file, and the line ends before that
        self._last = 0  # behind the last byte of a sentence
        self._end = self._ended = self._end_line = 0  # where a sentence ended last, how many have, line ends before it
        self._rest = b""  # of a line that is not complete
        waiting, blocks.waiting = blocks.waiting, []
        for block in waiting:
            blocks.waiting.append(block)
            self._scan(block)
        if blocks.ended:
            self._finish()

    @property
    def done(self) -> bool:
        """See `Feed`."""
        return self._blocks.ended and not self._blocks.waiting

    def take(self, count: int) -> bytearray:
        """See `Feed`."""
        wanted = self._taken + count
        while self._ended < wanted and not self._blocks.ended:
            self._load()
        place = bisect_left(self._counts, wanted)
        data = self._blocks.joined()
        if place == len(self._places):
            while not self._blocks.ended:
                self._load()
            return data + self._blocks.joined()
        cut = self._places[place]
        rest = bytes(memoryview(data)[cut - self._begin :])
        self._blocks.waiting = [rest] if rest else []
        del data[cut - self._begin :]
        self._begin, self._taken = cut, self._counts[place]
        del self._places[: place + 1], self._counts[: place + 1]
        while self._last <= cut and not self._blocks.ended:  # so that `done` is known
            self._load()
        if self._last <= cut:
            self._blocks.waiting = []
        return data

    def drop(self) -> None:
        """See `Feed`."""
        self._blocks.ended, self._blocks.waiting = True, []

    def _load(self) -> None:
        block = self._blocks.load()
        if block:
            self._scan(block)
        else:
            self._finish()

    def _scan(self, block: bytes) -> None:
        """Show the cutter the lines that the block completes."""
        end = block.rfind(b"\n") + 1
        if end:
            self._show(self._rest + block[:end])
            self._rest = block[end:]
        else:
            self._rest += block
        self._refuse_longer(self._scanned + len(self._rest) - self._end)

    def _finish(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._show(rest)

    def _show(self, lines: bytes) -> None:
        cuts = self._cutter.cuts(lines)
        # Of cuts behind equally many sentences the first is where a sentence ends; the others, such as blank lines
        # without end, are not worth their memory.
        firsts = np.diff(cuts.sentences, prepend=self._ended) > 0
        places, counts = cuts.places[firsts], cuts.sentences[firsts].tolist()
        before = 0
        for end in places.tolist():
            self._refuse_longer(self._scanned + end - self._end)
            self._lines += lines.count(b"\n", before, end)
            self._end_line, self._end, before = self._lines, self._scanned + end, end
        self._ended = counts[-1] if counts else self._ended
        self._places += (places + self._scanned).tolist()
        self._counts += counts
        if cuts.last:
            self._last = self._scanned + cuts.last
        self._lines += lines.count(b"\n", before)
        self._scanned += len(lines)

    def _refuse_longer(self, size: int) -> None:
        if self._limit and size > self._limit:
            raise limits.too_long(f"{self._blocks.name}:{self._end_line + 1}", "sentence", self._limit)
