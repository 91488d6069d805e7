"""Teacher outputs on disk: completions, log-probabilities of their tokens, and the k likeliest tokens of each position.

A folder holds ``manifest.json`` and numbered safetensors files. A file is written whole, then listed; so what the
manifest lists is there, and a writer that was stopped goes on after the last file. Every byte is checked as it is read.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from treeavg.distill.sequences.caching.cache_files import OF_TOKENS, read, require_files
from treeavg.distill.sequences.caching.cache_writer import CacheWriter
from treeavg.distill.sequences.caching.manifest import Source, model_hash, read_manifest, require_source
from treeavg.distill.sequences.losses.records import TopK
from treeavg.errors import ArgumentError, FormatError

__all__ = ["CacheWriter", "CachedBatch", "Source", "TeacherCache", "model_hash"]

_OPEN = 8  # files whose tensors are held


class CachedBatch(NamedTuple):
    """Completions that a teacher has made, padded on the right.

    Parameters
    ----------
    ids : Tensor, int64, shape (B, T)
        Tokens.
    mask : Tensor, bool, shape (B, T)
        Which of them count.
    truncated : Tensor, bool, shape (B,)
        Which rows have no end token.
    examples : Tensor, int64, shape (B,)
        The number of each row's input.
    scores : Tensor, float64, shape (B,), or None
        Of the completions, on a log scale.
    token_log_probs : Tensor, float32, shape (B, T), or None
        Of the tokens under the teacher, 0 where the mask is False.
    top : TopK or None
        The k likeliest tokens of each position.
    """

    ids: Tensor
    mask: Tensor
    truncated: Tensor
    examples: Tensor
    scores: Tensor | None
    token_log_probs: Tensor | None
    top: TopK | None


class TeacherCache:
    """Reads teacher outputs, in any order; ``len`` is the number of rows.

    Parameters
    ----------
    folder : str or os.PathLike
        That a `CacheWriter` has written.
    expected : Source or mapping from str to object
        What the student needs: all of a source, or some of its fields, such as
        ``{"teacher": ..., "temperature": 2.0}``; ``{}`` to take any.
    incomplete : bool, default False
        Read also what a writer has not finished.

    Raises
    ------
    ArgumentError
        The outputs come from another teacher, tokenizer, temperature and so on: the message has both values.
    FileError
        A file is missing or cannot be read.
    FormatError
        The folder is not complete, or a file is truncated. Changed bytes are noticed when a file is first used, or
        all at once by `check`.

    Examples
    --------
    >>> import tempfile
    >>> folder, source = tempfile.mkdtemp(), Source("t", "v", "greedy", vocabulary=9)
    >>> CacheWriter(folder, source).close()
    >>> len(TeacherCache(folder, expected={"teacher": "t"}))
    0
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, expected: Source | Mapping[str, object], incomplete: bool = False
    ) -> None:
        self.folder = Path(folder)
        self._manifest, _ = read_manifest(self.folder)
        require_source(self._manifest.source, expected, os.fspath(self.folder))
        if not self._manifest.complete and not incomplete:
            raise FormatError(
                f"{self.folder}: expected complete outputs, got {self._manifest.rows} rows of a writer that was "
                "stopped. Go on with CacheWriter(..., resume=True), or pass incomplete=True."
            )
        require_files(self.folder, self._manifest)
        self._starts = [0, *accumulate(shard.rows for shard in self._manifest.shards)]
        self._opened: OrderedDict[int, dict[str, Tensor]] = OrderedDict()

    @property
    def source(self) -> Source:
        """Where the outputs come from."""
        return self._manifest.source

    def __len__(self) -> int:
        return self._starts[-1]

    def check(self) -> None:
        """Read every file and compare its bytes with the manifest.

        Raises
        ------
        FormatError
            The first file that is damaged.

        Examples
        --------
        >>> import tempfile
        >>> folder, source = tempfile.mkdtemp(), Source("t", "v", "greedy", vocabulary=9)
        >>> CacheWriter(folder, source).close()
        >>> TeacherCache(folder, expected=source).check()
        """
        for place in range(len(self._manifest.shards)):
            read(self.folder, self._manifest, place)

    def examples(self) -> Tensor:
        """Return the number of each row's input.

        Returns
        -------
        Tensor, int64, shape (len(self),)
            Reads all files.

        Examples
        --------
        >>> import tempfile
        >>> folder, source = tempfile.mkdtemp(), Source("t", "v", "greedy", vocabulary=9)
        >>> CacheWriter(folder, source).close()
        >>> TeacherCache(folder, expected=source).examples()
        tensor([], dtype=torch.int64)
        """
        found = [read(self.folder, self._manifest, place)["examples"] for place in range(len(self._manifest.shards))]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)

    def batch(self, rows: Iterable[int], *, pad: int = 0) -> CachedBatch:
        """Return some rows.

        Parameters
        ----------
        rows : iterable of int
            From 0, in any order.
        pad : int, default 0
            The token where the mask is False.

        Returns
        -------
        CachedBatch
            On the CPU.

        Raises
        ------
        ArgumentError
            A row is out of range.
        FormatError
            A file is damaged.

        Examples
        --------
        >>> import tempfile
        >>> folder, source = tempfile.mkdtemp(), Source("t", "v", "greedy", vocabulary=9)
        >>> with CacheWriter(folder, source) as writer:
        ...     writer.add(torch.tensor([[3, 0], [0, 8]]), torch.tensor([[True, True], [True, False]]), examples=[0, 1])
        >>> TeacherCache(folder, expected=source).batch([1, 0], pad=5).ids
        tensor([[0, 5],
                [3, 0]])
        """
        picked = [self._row(int(row)) for row in rows]
        longest = max((len(row["ids"]) for row in picked), default=0)
        mask = torch.tensor([[t < len(row["ids"]) for t in range(longest)] for row in picked], dtype=torch.bool)
        mask = mask.reshape(len(picked), longest)

        def padded(name: str, blank: Tensor) -> Tensor:
            out = blank.expand(len(picked), longest, *blank.shape).clone()
            for place, row in enumerate(picked):
                out[place, : len(row[name])] = row[name].to(blank.dtype)
            return out

        def stacked(name: str, dtype: torch.dtype) -> Tensor:
            return torch.stack([row[name] for row in picked]) if picked else torch.zeros(0, dtype=dtype)

        has, k = self._manifest.columns, self.source.k
        top = None
        if "top" in has:
            blank = torch.full((k,), 1.0 / k).log()
            top = TopK(padded("top_ids", torch.arange(k)), padded("top_log_probs", blank), self.source.temperature)
        return CachedBatch(
            padded("ids", torch.tensor(pad)),
            mask,
            stacked("truncated", torch.bool),
            stacked("examples", torch.int64),
            stacked("scores", torch.float64) if "scores" in has else None,
            padded("token_log_probs", torch.tensor(0.0)) if "token_log_probs" in has else None,
            top,
        )

    def _row(self, row: int) -> dict[str, Tensor]:
        if not 0 <= row < len(self):
            raise ArgumentError(f"rows: expected numbers from 0 to {len(self) - 1}, got {row}. Rows count from 0.")
        place = bisect_right(self._starts, row) - 1
        if place not in self._opened:
            self._opened[place] = read(self.folder, self._manifest, place)
            if len(self._opened) > _OPEN:
                self._opened.popitem(last=False)
        self._opened.move_to_end(place)
        held, inside = self._opened[place], row - self._starts[place]
        begin, end = int(held["offsets"][inside]), int(held["offsets"][inside + 1])
        return {name: held[name][begin:end] if name in OF_TOKENS else held[name][inside] for name in held}
