"""Teacher outputs, written to disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import torch
from safetensors import torch as tensors
from torch import Tensor

from treeavg.distill.sequences.caching.cache_files import OPTIONAL, packed, require_files
from treeavg.distill.sequences.caching.manifest import (
    DTYPES,
    NAME,
    Manifest,
    Shard,
    Source,
    read_manifest,
    require_source,
    sync,
    write_manifest,
)
from treeavg.distill.sequences.losses.records import TopK
from treeavg.errors import ArgumentError, FileError, TreeavgError, quote, unknown
from treeavg.formats.files import AtomicFile, explain

__all__ = ["CacheWriter"]


class CacheWriter:
    """Writes teacher outputs into a folder, file by file; use it in a ``with`` statement.

    Leaving the statement without an error marks the folder as complete. After an error, or when the process is killed,
    the files written so far stay, and ``resume=True`` goes on behind them. One process writes a folder; several take a
    folder each.

    Parameters
    ----------
    folder : str or os.PathLike
        Made where it is not there.
    source : Source
        Where the outputs come from.
    rows_per_file : int, default 1024
        A file is written as soon as there are this many rows.
    dtype : {"float16", "float32"}, default "float16"
        Of the log-probabilities of the k tokens: 6 or 8 bytes for each of them.
    resume : bool, default False
        Go on with a folder that has outputs of the same source; `rows` says how many there are.

    Raises
    ------
    ArgumentError
        The folder has outputs already (without `resume`), or those of another source.
    FormatError
        What is in the folder is damaged.
    FileError
        The folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from treeavg.distill.sequences.caching.cache import TeacherCache
    >>> folder, source = tempfile.mkdtemp(), Source("t", "v", "greedy", vocabulary=9)
    >>> with CacheWriter(folder, source) as writer:
    ...     writer.add(torch.tensor([[3, 0]]), torch.tensor([[True, True]]), examples=[7])
    >>> TeacherCache(folder, expected=source).batch([0]).ids
    tensor([[3, 0]])
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        source: Source,
        *,
        rows_per_file: int = 1024,
        dtype: str = "float16",
        resume: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        if isinstance(rows_per_file, bool) or not isinstance(rows_per_file, int) or rows_per_file < 1:
            raise ArgumentError(f"rows_per_file: expected a number of rows, got {quote(rows_per_file)}. Use 1024.")
        self.folder, self._rows_per_file = Path(folder), rows_per_file
        self._waiting: list[dict[str, Tensor]] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain(os.fspath(self.folder), "write", error) from None
        self._manifest, self._digest = self._begun(source, dtype, resume)
        self._columns: tuple[str, ...] | None = self._manifest.columns if self._manifest.rows else None

    def _begun(self, source: Source, dtype: str, resume: bool) -> tuple[Manifest, str]:
        if not (self.folder / NAME).exists():
            fresh = Manifest(source, dtype)
            return fresh, write_manifest(self.folder, fresh)
        manifest, digest = read_manifest(self.folder)
        if not resume:
            raise ArgumentError(
                f"{self.folder}: expected a folder without outputs, got one with {manifest.rows} rows. Pass "
                "resume=True to go on, or name another folder."
            )
        require_source(manifest.source, source, os.fspath(self.folder))
        if manifest.dtype != dtype:
            raise ArgumentError(
                f"dtype: expected {manifest.dtype!r}, as the folder has it, got {dtype!r}. Use the same."
            )
        require_files(self.folder, manifest)
        return manifest, digest

    @property
    def rows(self) -> int:
        """Rows on disk and rows that wait for their file."""
        return self._manifest.rows + self._waiting_rows()

    def add(
        self,
        ids: Tensor,
        mask: Tensor,
        *,
        examples: Sequence[int] | Tensor,
        truncated: Tensor | None = None,
        scores: Sequence[float] | Tensor | None = None,
        token_log_probs: Tensor | None = None,
        top: TopK | None = None,
    ) -> None:
        """Add completions.

        Parameters
        ----------
        ids : Tensor, int64, shape (B, T)
            Tokens, padded on the right.
        mask : Tensor, bool, shape (B, T)
            Which of them count: the first ones of a row, perhaps none.
        examples : sequence of int or Tensor, length B
            The number of each row's input; several rows of an input are its n best outputs.
        truncated : Tensor, bool, shape (B,), optional
            Which rows have no end token. Default: none of them.
        scores : sequence of float or Tensor, length B, optional
            Of the completions, on a log scale.
        token_log_probs : Tensor, floating, shape (B, T), optional
            Of the tokens under the teacher, at the source's temperature.
        top : TopK, optional
            The k likeliest tokens, k and temperature as in the source; needed where k is not 0.

        Raises
        ------
        ArgumentError
            Shapes, tokens, log-probabilities or `top` cannot be right, or columns differ from those of earlier rows.
            Nothing of the batch is added.
        FileError
            A file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> with CacheWriter(tempfile.mkdtemp(), Source("t", "v", "greedy", vocabulary=9)) as writer:
        ...     writer.add(torch.tensor([[3]]), torch.tensor([[True]]), examples=[0], scores=[-1.5])
        ...     writer.rows
        1
        """
        batch = packed(self._manifest, ids, mask, examples, truncated, scores, token_log_probs, top)
        columns = tuple(sorted({"top" if name.startswith("top") else name for name in batch} & set(OPTIONAL)))
        if self._columns is not None and columns != self._columns:
            raise ArgumentError(
                f"add: expected the columns of earlier rows, {quote(self._columns)}, got {quote(columns)}. Give the "
                "same for all rows."
            )
        self._columns = columns
        self._waiting.append(batch)
        if self._waiting_rows() >= self._rows_per_file:
            self._flush()

    def close(self, *, complete: bool = True) -> None:
        """Write what waits, and mark the folder.

        Parameters
        ----------
        complete : bool, default True
            Whether these are all the outputs. Readers refuse a folder that is not complete.

        Examples
        --------
        >>> import tempfile
        >>> writer = CacheWriter(tempfile.mkdtemp(), Source("t", "v", "greedy", vocabulary=9))
        >>> writer.close()
        """
        if self._waiting:
            self._flush()
        self._commit(replace(self._manifest, complete=complete))

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close(complete=False)
        except TreeavgError:
            pass  # the error that matters is on its way

    def _waiting_rows(self) -> int:
        return sum(len(batch["lengths"]) for batch in self._waiting)

    def _flush(self) -> None:
        joined = {name: torch.cat([batch[name] for batch in self._waiting]) for name in self._waiting[0]}
        data = tensors.save(joined)
        name = f"outputs-{len(self._manifest.shards):05d}.safetensors"
        self._require_alone()
        with AtomicFile(self.folder / name) as file:
            file.write(data)
        sync(self.folder)
        rows, tokens = len(joined["lengths"]), len(joined["ids"])
        shard = Shard(name, rows, tokens, len(data), hashlib.sha256(data).hexdigest())
        shards = (*self._manifest.shards, shard)
        self._commit(replace(self._manifest, columns=self._columns or (), shards=shards, complete=False))
        self._waiting = []

    def _commit(self, manifest: Manifest) -> None:
        self._require_alone()
        self._digest = write_manifest(self.folder, manifest)
        self._manifest = manifest

    def _require_alone(self) -> None:
        if read_manifest(self.folder)[1] != self._digest:
            raise FileError(
                f"{self.folder}: expected the manifest that this writer wrote, got another. Give each process a folder "
                "of its own."
            )
