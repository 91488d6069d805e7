"""What a folder of teacher outputs says about itself: which teacher, tokenizer and temperature, and which files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from treeavg.errors import ArgumentError, FileError, FormatError, quote, unknown
from treeavg.formats.files import AtomicFile, explain

__all__ = ["Manifest", "Shard", "Source", "model_hash", "read_manifest", "require_source", "write_manifest"]

FORMAT = "treeavg teacher outputs"
VERSION = 1
NAME = "manifest.json"
DTYPES = {"float16": torch.float16, "float32": torch.float32}
AGAIN = "Restore the folder from a copy, or make it again."


@dataclass(frozen=True)
class Source:
    """Where teacher outputs come from: all that must be equal for a student to use them.

    Parameters
    ----------
    teacher : str
        From `model_hash`; for a model behind a server its name and version.
    tokenizer : str
        From `tokenizer_hash`.
    sampler : str
        How completions were made: the ``sampler_id`` of samples.
    vocabulary : int
        Tokens, from `common_vocabulary`: ids are below.
    temperature : float, default 1.0
        At which log-probabilities were computed, that is the loss's; that of sampling belongs to `sampler`.
    k : int, default 0
        Tokens recorded at each position.
    template : str, default ""
        The teacher's prompt template, or a hash of it.
    data : str, default ""
        The inputs, or a hash of them.

    Raises
    ------
    ArgumentError
        A name is empty or a number out of range.

    Examples
    --------
    >>> Source("gpt2@1", "gpt2@1", "beam-5", vocabulary=50257).temperature
    1.0
    """

    teacher: str
    tokenizer: str
    sampler: str
    vocabulary: int
    temperature: float = 1.0
    k: int = 0
    template: str = ""
    data: str = ""

    def __post_init__(self) -> None:
        for name in ("teacher", "tokenizer", "sampler", "template", "data"):
            value = getattr(self, name)
            if not isinstance(value, str) or not (value or name in ("template", "data")):
                raise ArgumentError(
                    f"{name}: expected a name or a hash, got {quote(value)}. Use model_hash and the like."
                )
        if not _whole(self.vocabulary) or self.vocabulary < 1:
            raise ArgumentError(f"vocabulary: expected a number of tokens, got {quote(self.vocabulary)}. Count them.")
        if not _whole(self.k) or not 0 <= self.k <= self.vocabulary:
            raise ArgumentError(f"k: expected 0 to {self.vocabulary}, got {quote(self.k)}. Use 0 for no such records.")
        if not isinstance(self.temperature, (int, float)) or not 0 < self.temperature < math.inf:
            raise ArgumentError(f"temperature: expected a positive number, got {quote(self.temperature)}. Use 1.")


@dataclass(frozen=True)
class Shard:
    """A file of outputs.

    Parameters
    ----------
    name : str
        In the folder of the manifest.
    rows : int
        Completions in it.
    tokens : int
        Tokens in it.
    size : int
        Its bytes.
    sha256 : str
        Of its bytes.
    """

    name: str
    rows: int
    tokens: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What is in a folder of outputs.

    Parameters
    ----------
    source : Source
        Where they come from.
    dtype : str
        Of the log-probabilities of the k tokens: ``"float16"`` or ``"float32"``.
    columns : tuple of str
        Which of ``"scores"``, ``"token_log_probs"`` and ``"top"`` there are.
    shards : tuple of Shard
        In order.
    complete : bool
        Whether the writer was closed after its last row.
    """

    source: Source
    dtype: str
    columns: tuple[str, ...] = ()
    shards: tuple[Shard, ...] = ()
    complete: bool = False

    @property
    def rows(self) -> int:
        """Completions in all files."""
        return sum(shard.rows for shard in self.shards)


def model_hash(model: nn.Module) -> str:
    """Return a name for a model that changes with its weights and with what its configuration computes.

    Parameters
    ----------
    model : torch.nn.Module
        On any device. A few seconds for each billion weights.

    Returns
    -------
    str
        SHA-256 of its class, its ``config`` but for paths, versions and outputs, and the name, type, shape and bytes of
        every entry of its ``state_dict``. Training mode and device do not count; the type of the weights does.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> before = model_hash(layer)
    >>> with torch.no_grad():
    ...     _ = layer.bias.add_(1)
    >>> before == model_hash(layer)
    False
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "to_dict"):
        digest.update(json.dumps(_without_places(config.to_dict()), sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().reshape(-1)
        for begin in range(0, flat.numel(), 1 << 22):  # no copy of a large matrix at once
            digest.update(flat[begin : begin + (1 << 22)].cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _without_places(value: Any) -> Any:
    """Return a configuration without what depends on where and by which version it was loaded."""
    if not isinstance(value, dict):
        return value
    left_out = ("transformers_version", "dtype", "torch_dtype", "use_cache", "return_dict")
    return {
        str(key): _without_places(inner)
        for key, inner in value.items()
        if not str(key).startswith(("_", "output_")) and key not in left_out
    }


def require_source(found: Source, expected: Source | Mapping[str, object], where: str) -> None:
    """Raise where outputs come from elsewhere than a student needs.

    Parameters
    ----------
    found : Source
        Of the outputs.
    expected : Source or mapping from str to object
        All of it, or the values of some of its fields.
    where : str
        For the message.

    Raises
    ------
    ArgumentError
        Names every field that differs, with both values; or a field is unknown.

    Examples
    --------
    >>> require_source(Source("a", "b", "c", 9), {"temperature": 2.0}, "outputs")
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: outputs: expected temperature 2.0, got 1.0. Make the outputs again with this ...
    """
    wanted = asdict(expected) if isinstance(expected, Source) else dict(expected)
    known = [field.name for field in fields(Source)]
    for name in wanted:
        if name not in known:
            raise unknown("expected", name, known)
    different = [name for name in known if name in wanted and getattr(found, name) != wanted[name]]
    if different:
        raise ArgumentError(
            f"{where}: expected {', '.join(f'{name} {quote(wanted[name], 70)}' for name in different)}, got "
            f"{', '.join(quote(getattr(found, name), 70) for name in different)}. Make the outputs again with this "
            f"teacher, tokenizer and these options, or train as they were made."
        )


def write_manifest(folder: Path, manifest: Manifest) -> str:
    """Write a folder's manifest, atomically.

    Parameters
    ----------
    folder : pathlib.Path
        Exists.
    manifest : Manifest
        What to write.

    Returns
    -------
    str
        SHA-256 of what it says.

    Raises
    ------
    FileError
        It cannot be written; an older one is intact.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = write_manifest(folder, Manifest(Source("a", "b", "c", 9), "float16"))
    >>> read_manifest(folder)[0].source.teacher
    'a'
    """
    document = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    document["sha256"] = _digest(document)
    with AtomicFile(folder / NAME) as file:
        file.write(json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n")
    sync(folder)
    return str(document["sha256"])


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read a folder's manifest, every value checked.

    Parameters
    ----------
    folder : pathlib.Path
        Of teacher outputs.

    Returns
    -------
    manifest : Manifest
    sha256 : str
        Of what it says.

    Raises
    ------
    FileError
        There is none, or it cannot be read.
    FormatError
        It is damaged, was edited, is of another kind or of a later version.

    Examples
    --------
    >>> read_manifest(Path("no/such/folder"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    treeavg.errors.FileError: ...manifest.json: expected a file to read, got: No such file or directory. Check the path.
    """
    path = folder / NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise explain(os.fspath(path), "read", error) from None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: expected JSON, got: {error}. {AGAIN}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FormatError(f"{path}: expected the manifest of {FORMAT}, got another file. Name another folder.")
    if document.get("version") != VERSION:
        raise FormatError(
            f"{path}: expected version {VERSION}, got {quote(document.get('version'))}. Update treeavg, or make the "
            "outputs again."
        )
    found = document.pop("sha256", None)
    if found != _digest(document):
        raise FormatError(f"{path}: expected what was written, got another text (SHA-256). {AGAIN}")
    try:
        shards = tuple(Shard(**shard) for shard in document["shards"])
        if any(Path(shard.name).name != shard.name for shard in shards):
            raise TypeError("files outside of the folder")
        source, columns = Source(**document["source"]), tuple(document["columns"])
        return Manifest(source, document["dtype"], columns, shards, document["complete"]), str(found)
    except (KeyError, TypeError) as error:  # the checksum is right: somebody has written it by hand
        raise FormatError(f"{path}: expected what CacheWriter writes, got another text: {error}. {AGAIN}") from None


def sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a manifest must not outlive the files that it lists."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise FileError(f"{folder}: expected a folder to write, got: {error.strerror}. Choose another path.") from None


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
