"""Files of tensors that appear whole or not at all and notice every changed byte.

A file of tensors is a safetensors file (eight bytes with the header's length, a JSON header, the tensors' bytes), which
any safetensors library opens. Its metadata hold a JSON document and the SHA-256 of the whole file, computed with 64
zeros in the digest's own place: so a flipped byte is noticed wherever it is, also in the header.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from parsers.json_files import canonical_json
from treeavg.errors import FileError, FormatError, unknown
from treeavg.formats.files import BLOCK, AtomicFile, explain, sync_folder

#: Names of dtypes in a header.
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_BLANK = "0" * 64
RESTORE = "Restore the file from a copy, or make it again."


class DamagedFileError(FileError):
    """A file of tensors whose bytes are not those that were written."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> str:
    """Write tensors and a JSON document into one safetensors file, atomically.

    Parameters
    ----------
    path : pathlib.Path
        Where to.
    tensors : mapping from str to Tensor
        Any shape, any device, any dtype of `DTYPES`. Not modified.
    document : mapping
        What `canonical_json` takes.

    Returns
    -------
    str
        The SHA-256 of the file's bytes, 64 hexadecimal digits (not the digest inside, which cannot hold itself).

    Raises
    ------
    FileError
        The file cannot be written; an older one is intact, and no piece of the new one is left.
    ArgumentError
        A dtype is not among `DTYPES`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> _ = write_tensors(path, {"x": torch.arange(3)}, {"step": 7})
    >>> read_tensors(path)
    ({'x': tensor([0, 1, 2])}, {'step': 7})
    """
    names = sorted(tensors)
    header: dict[str, Any] = {"__metadata__": {"document": canonical_json(document), "sha256": _BLANK}}
    offset = 0
    for name in names:
        tensor = tensors[name]
        if tensor.dtype not in DTYPES:
            raise unknown(f"{name}: dtype", str(tensor.dtype), map(str, DTYPES))
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    blank = _header_bytes(header)
    digest = hashlib.sha256(blank)
    for name in names:
        for piece in _pieces(tensors[name]):
            digest.update(piece)
    header["__metadata__"]["sha256"] = digest.hexdigest()
    whole = hashlib.sha256()
    with AtomicFile(path) as file:
        pieces = (piece for name in names for piece in _pieces(tensors[name]))
        for piece in chain([_header_bytes(header)], pieces):
            whole.update(piece)
            file.write(piece)
    sync_folder(path.parent)
    return whole.hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote, every byte checked.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    tensors : dict from str to Tensor
        On the CPU, in memory of their own.
    document : dict

    Raises
    ------
    FileError
        The file cannot be read; `DamagedFileError` where its bytes are not those that were written.
    FormatError
        It is a safetensors file, but not one of ours.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> _ = write_tensors(path, {"x": torch.arange(3)}, {})
    >>> path.write_bytes(path.read_bytes()[:-1] + b"?") > 0
    True
    >>> read_tensors(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    parsers.storage.DamagedFileError: ...a.safetensors: expected the bytes that were written, got others (SHA-256)...
    """
    try:
        path.open("rb").close()  # the system's own words where it cannot be read
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "document" not in metadata or "sha256" not in metadata:
                raise FormatError(
                    f"{path}: expected a file of treeavg's, got safetensors without its document and SHA-256. "
                    "Name a parser or a run that treeavg saved."
                )
            if _digest_of(path, metadata["sha256"]) != metadata["sha256"]:
                raise damaged(path, "others (SHA-256)")
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise damaged(path, f"what is no safetensors file ({error})") from None
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise explain(os.fspath(path), "read", error) from None
    return tensors, json.loads(metadata["document"])


def damaged(path: Path, got: str) -> DamagedFileError:
    """Return the error for a file that has changed since it was written.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    got : str
        What was found.

    Returns
    -------
    DamagedFileError

    Examples
    --------
    >>> print(damaged(Path("a"), "others"))
    a: expected the bytes that were written, got others. Restore the file from a copy, or make it again.
    """
    return DamagedFileError(f"{path}: expected the bytes that were written, got {got}. {RESTORE}")


def no_folder(path: Path, error: OSError) -> FileError:
    """Return the error for a folder that cannot be made or opened.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    error : OSError
        What the system said.

    Returns
    -------
    FileError

    Examples
    --------
    >>> print(no_folder(Path("run"), FileExistsError(17, "File exists")))
    run: expected a folder to write into, got: File exists. Choose another path.
    """
    reason = error.strerror or str(error)
    return FileError(f"{path}: expected a folder to write into, got: {reason}. Choose another path.")


def _header_bytes(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    return struct.pack("<Q", len(text)) + text


def _pieces(tensor: Tensor) -> Iterator[bytes]:
    """Cut a tensor's bytes into pieces, so that no second copy of the whole is made."""
    data = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy()
    for begin in range(0, len(data), BLOCK):
        yield data[begin : begin + BLOCK].tobytes()


def _digest_of(path: Path, digest: str) -> str:
    """Hash a whole file with zeros in the place of `digest`."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        length = file.read(8)
        header = file.read(struct.unpack("<Q", length)[0])  # the library has seen that it fits into the file
        if len(digest) != len(_BLANK) or header.count(digest.encode()) != 1:
            return "none"
        found.update(length + header.replace(digest.encode(), _BLANK.encode()))
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()
