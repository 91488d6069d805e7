"""Checkpoints: whole or absent, every byte checked, the last two kept."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from parsers.storage import RESTORE, DamagedFileError, read_tensors, write_tensors
from treeavg.errors import FileError, FormatError, quote
from treeavg.formats.files import explain

#: The layout of a checkpoint.
FORMAT = 1
KEPT = 2
_NAME = re.compile(r"step-(\d+)\.safetensors")


class Checkpoints:
    """The checkpoints in a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Made with the first checkpoint.

    Examples
    --------
    >>> import tempfile, torch
    >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()))
    >>> for step in (10, 20, 30):
    ...     _ = checkpoints.write(step, {"x": torch.tensor([step])}, {"epoch": 1})
    >>> [path.name for path in checkpoints.paths()]
    ['step-00000030.safetensors', 'step-00000020.safetensors']
    >>> tensors, document = checkpoints.read_latest(print)
    >>> tensors["x"].item(), document["step"], document["epoch"]
    (30, 30, 1)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._good: list[Path] = []

    def paths(self) -> list[Path]:
        """Return the checkpoints, the newest first.

        Returns
        -------
        list of pathlib.Path

        Examples
        --------
        >>> Checkpoints(Path("/nowhere")).paths()
        []
        """
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise explain(os.fspath(self.folder), "read", error) from None
        found = [(int(match[1]), name) for name in names if (match := _NAME.fullmatch(name))]
        return [self.folder / name for _, name in sorted(found, reverse=True)]

    def remove_debris(self) -> None:
        """Remove what a killed process has left half written.

        Examples
        --------
        >>> Checkpoints(Path("/nowhere")).remove_debris()
        """
        for path in self.folder.glob(".step-*.tmp"):
            path.unlink(missing_ok=True)

    def write(self, step: int, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove all but the last two good ones.

        Parameters
        ----------
        step : int
            Names the file.
        tensors : mapping from str to Tensor
            Not modified.
        document : mapping
            What JSON can hold.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        FileError
            The disk is full, or the folder cannot be written; earlier checkpoints are intact.

        Examples
        --------
        >>> checkpoints.write(10, {}, {})  # doctest: +SKIP
        """
        path = self.folder / f"step-{step:08d}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_tensors(path, tensors, {**document, "treeavg": "checkpoint", "format": FORMAT, "step": step})
        except OSError as error:
            raise self._no_room(path, tensors, error) from None
        self._good = [*(good for good in self._good if good != path), path][-KEPT:]
        for old in self.paths():
            if old not in self._good:
                old.unlink(missing_ok=True)
        return path

    def _no_room(self, path: Path, tensors: Mapping[str, Tensor], error: OSError) -> FileError:
        cause = error.__context__ if isinstance(error, FileError) else error
        reason = getattr(cause, "strerror", None) or str(error)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / 1e6
        kept = f"continues from {self._good[-1].name}" if self._good else "begins anew"
        return FileError(
            f"{path}: expected a place for a checkpoint of {size:,.1f} MB, got: {reason}. Make room there, then pass "
            f"resume=True: the run {kept}."
        )

    def read_latest(self, note: Callable[[str], object]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the newest good checkpoint.

        Parameters
        ----------
        note : callable
            Called with a line for each damaged checkpoint that is passed over.

        Returns
        -------
        tuple of (dict from str to Tensor, dict), or None
            Tensors and document; None where there is no checkpoint.

        Raises
        ------
        FileError
            All checkpoints are damaged, or one cannot be read.
        FormatError
            A checkpoint is of another format number.

        Examples
        --------
        >>> Checkpoints(Path("/nowhere")).read_latest(print)
        """
        paths = self.paths()
        for index, path in enumerate(paths):
            try:
                tensors, document = read_tensors(path)
            except DamagedFileError as error:
                what = str(error).removesuffix(f" {RESTORE}")
                if index + 1 == len(paths):
                    raise DamagedFileError(
                        f"{what} No other checkpoint is left: train anew in another folder."
                    ) from None
                note(f"{what} Using the checkpoint before it, {paths[index + 1].name}.")
                continue
            if document.get("treeavg") != "checkpoint" or document.get("format") != FORMAT:
                raise FormatError(
                    f"{path}: expected a checkpoint of format {FORMAT}, got {quote(document.get('format'))}. "
                    "Resume it with the version of treeavg that began it, or train anew in another folder."
                )
            self._good = [path]
            return tensors, document
        return None
