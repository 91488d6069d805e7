"""Files of teacher outputs: batches checked and packed without padding, files read with every byte checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors import torch as tensors
from torch import Tensor

from treeavg.distill.sequences.caching.manifest import AGAIN, DTYPES, Manifest, Source
from treeavg.distill.sequences.losses.records import TopK, require_records
from treeavg.errors import ArgumentError, FormatError, quote
from treeavg.formats.files import explain

__all__ = ["OF_TOKENS", "OPTIONAL", "packed", "read", "require_files"]

OPTIONAL = ("scores", "token_log_probs", "top")
OF_TOKENS = ("ids", "token_log_probs", "top_ids", "top_log_probs")


def packed(
    manifest: Manifest,
    ids: Tensor,
    mask: Tensor,
    examples: Sequence[int] | Tensor,
    truncated: Tensor | None,
    scores: Sequence[float] | Tensor | None,
    token_log_probs: Tensor | None,
    top: TopK | None,
) -> dict[str, Tensor]:
    """Return the columns of a batch without padding, checked, on the CPU."""
    source, (ids, mask) = manifest.source, (ids.detach().cpu(), mask.detach().cpu())
    if ids.dim() != 2 or ids.is_floating_point() or mask.dtype != torch.bool or mask.shape != ids.shape:
        raise ArgumentError(
            f"ids, mask: expected whole numbers and bool of one shape (B, T), got {ids.dtype} of {tuple(ids.shape)} "
            f"and {mask.dtype} of {tuple(mask.shape)}. Take them from completions(...)."
        )
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ArgumentError("mask: expected True, then False in each row, got a gap. Pad completions on the right.")
    tokens = ids[mask]
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < source.vocabulary:
        raise ArgumentError(
            f"ids: expected tokens from 0 to {source.vocabulary - 1}, the source's vocabulary, got {int(tokens.min())} "
            f"to {int(tokens.max())}. Check which tokenizer they are of."
        )
    found = {"lengths": mask.sum(1, dtype=torch.int32), "ids": tokens.to(torch.int32)}
    found["examples"] = _column("examples", examples, len(ids), torch.int64)
    none = torch.zeros(len(ids), dtype=torch.bool)
    found["truncated"] = _column("truncated", none if truncated is None else truncated, len(ids), torch.bool)
    if scores is not None:
        found["scores"] = _column("scores", scores, len(ids), torch.float64)
    if token_log_probs is not None:
        found["token_log_probs"] = _log_probs(token_log_probs, mask)
    if (top is None) != (source.k == 0):
        raise ArgumentError(
            f"top: expected {'None' if source.k == 0 else 'a TopK'} where the source has k={source.k}, got "
            f"{'None' if top is None else 'one'}. Give what the source says."
        )
    if top is not None:
        found.update(_top(top, mask, source, DTYPES[manifest.dtype]))
    return found


def _column(name: str, values: Sequence[float] | Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    column = torch.as_tensor(values).detach().cpu()
    if tuple(column.shape) != (rows,) or (dtype != torch.float64 and column.is_floating_point() and rows):
        raise ArgumentError(
            f"{name}: expected {str(dtype).removeprefix('torch.')} for each of {rows} rows, got {column.dtype} of "
            f"shape {tuple(column.shape)}. Give one for each completion."
        )
    column = column.to(dtype, copy=True)  # it waits for its file while the caller goes on with its own
    if not bool(column.isfinite().all()):
        raise ArgumentError(f"{name}: expected finite numbers, got {quote(column.tolist())}. Leave such rows out.")
    return column


def _log_probs(values: Tensor, mask: Tensor) -> Tensor:
    if values.shape != mask.shape:
        raise ArgumentError(
            f"token_log_probs: expected the shape of ids, {tuple(mask.shape)}, got {tuple(values.shape)}. Give one for "
            "each token."
        )
    kept = values.detach().cpu()[mask].to(torch.float32)
    if bool((~kept.isfinite() | (kept > 1e-3)).any()):
        raise ArgumentError(
            "token_log_probs: expected finite log-probabilities, got NaN, infinity or numbers above 0. Give "
            "log-softmax values, not logits."
        )
    return kept


def _top(top: TopK, mask: Tensor, source: Source, dtype: torch.dtype) -> dict[str, Tensor]:
    if top.temperature != source.temperature:
        raise ArgumentError(
            f"top: expected the source's temperature {source.temperature:g}, got {top.temperature:g}. Use the loss's."
        )
    if top.ids.shape[-1] != source.k:
        raise ArgumentError(f"top: expected the source's k={source.k} tokens, got {top.ids.shape[-1]}. Use the same k.")
    ids, log_probs = top.ids.detach().cpu(), top.log_probs.detach().cpu()
    require_records(TopK(ids, log_probs), mask, source.vocabulary, name="top")
    return {"top_ids": ids[mask].to(torch.int32), "top_log_probs": log_probs[mask].to(dtype)}


def require_files(folder: Path, manifest: Manifest) -> None:
    """Raise where a file is missing or has another size."""
    for shard in manifest.shards:
        path = folder / shard.name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise explain(os.fspath(path), "read", error) from None
        if size != shard.size:
            raise FormatError(f"{path}: expected {shard.size} bytes, got {size}. {AGAIN}")


def read(folder: Path, manifest: Manifest, place: int) -> dict[str, Tensor]:
    """Return the tensors of a file, every byte checked."""
    shard = manifest.shards[place]
    path = folder / shard.name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise explain(os.fspath(path), "read", error) from None
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise FormatError(f"{path}: expected the bytes that were written, got others (SHA-256). {AGAIN}")
    try:
        held: dict[str, Tensor] = tensors.load(data)
    except SafetensorError as error:  # not with the right SHA-256, unless the library changed
        raise FormatError(f"{path}: expected a safetensors file, got: {error}. {AGAIN}") from None
    lengths = held.pop("lengths")
    held["offsets"] = torch.cat([lengths.new_zeros(1, dtype=torch.int64), lengths.to(torch.int64).cumsum(0)])
    return held
