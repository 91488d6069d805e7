"""The folder of a training run: what it is (run.json), how it went (metrics.jsonl), and that nobody else writes it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parsers.json_files import canonical_json, read_json, write_json
from parsers.storage import no_folder
from parsers.training.checkpoint import Checkpoints
from parsers.training.metrics_file import MetricsFile
from treeavg.errors import ArgumentError, FileError, FormatError, quote
from treeavg.version import __version__

#: The layout of a run's folder.
FORMAT = 1
DOCUMENT, METRICS, PLOT, CHECKPOINTS = "run.json", "metrics.jsonl", "metrics.png", "checkpoints"
#: Options that may differ when a run is resumed: they do not change its result.
FREE = ("checkpoint_minutes", "checkpoint_steps")


class RunFolder:
    """A run's folder, made or opened; use it inside `locked`.

    Parameters
    ----------
    folder : str or os.PathLike
        Made where it is absent.

    Examples
    --------
    >>> import tempfile
    >>> run = RunFolder(tempfile.mkdtemp())
    >>> run.open({"epochs": 1}, {"data": "toy"}, resume=False, session={}, note=print)
    >>> [path.name for path in run.path.iterdir()]
    ['run.json']
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder)
        #: Whether `open` found a run.
        self.existed = False
        self.checkpoints = Checkpoints(self.path / CHECKPOINTS)
        self.metrics = MetricsFile(self.path / METRICS)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep other processes from training in it; a killed process leaves no lock.

        Yields
        ------
        None

        Raises
        ------
        FileError
            The folder cannot be made, or another process trains in it.

        Examples
        --------
        >>> with RunFolder("run").locked():  # doctest: +SKIP
        ...     pass
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise no_folder(self.path, error) from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FileError(
                    f"{self.path}: expected a folder in which nobody trains, got one in which another process does. "
                    "Wait for it, or choose another folder."
                ) from None
            except OSError:
                pass  # a file system without locks
            yield
        finally:
            os.close(handle)

    def open(
        self,
        config: Mapping[str, Any],
        task: Mapping[str, Any],
        *,
        resume: bool,
        session: Mapping[str, Any],
        note: Callable[[str], object],
    ) -> None:
        """Begin a run, or check that the run in the folder is this one.

        Parameters
        ----------
        config, task : mapping
            The options and the task's description: what JSON can hold.
        resume : bool
            Whether a run may be there.
        session : mapping
            Where this process runs; joins the list in ``run.json``.
        note : callable
            Called with a line for what a user should know.

        Raises
        ------
        ArgumentError
            The folder holds a run and `resume` is False, or an option is not that run's, or files of something else
            are in the way.
        FormatError
            The run is of another version's format.
        FileError
            The folder cannot be read or written.

        Examples
        --------
        >>> run.open({}, {}, resume=True, session={}, note=print)  # doctest: +SKIP
        """
        document = self._read()
        self.existed = document is not None
        if document is None:
            self._refuse_others()
            if resume:
                note(f"{self.path}: no run to resume is there; beginning one.")
            document = {"treeavg": "run", "format": FORMAT, "config": config, "task": task, "sessions": []}
        elif not resume:
            raise ArgumentError(
                f"{self.path}: expected a folder without a run, got one with a run. Pass resume=True to continue "
                "it, or choose another folder."
            )
        else:
            self._remove_debris()
            self._compare(document, config, task)
        sessions = [*document["sessions"], dict(session)]
        if len(sessions) > 1:
            self._note_changes(sessions[0], sessions[-1], note)
        write_json(self.path / DOCUMENT, {**document, "version": __version__, "sessions": sessions})

    def _read(self) -> dict[str, Any] | None:
        path = self.path / DOCUMENT
        if not path.exists():
            return None
        document = read_json(path)
        if document.get("treeavg") != "run":
            raise ArgumentError(f"{path}: expected none, or a run's, got another file. Choose another folder.")
        if document.get("format") != FORMAT:
            raise FormatError(
                f"{path}: expected a run of format {FORMAT}, got {quote(document.get('format'))}, written by treeavg "
                f"{document.get('version', 'of unknown version')}. Resume it with that version, or train anew in "
                "another folder."
            )
        if not all(isinstance(document.get(key), dict) for key in ("config", "task")) or not isinstance(
            document.get("sessions"), list
        ):
            raise FormatError(
                f"{path}: expected config, task and sessions, got a file without. Restore it from a copy, or train "
                "anew in another folder."
            )
        return document

    def _refuse_others(self) -> None:
        for name in (METRICS, PLOT, CHECKPOINTS):
            if (self.path / name).exists():
                raise ArgumentError(
                    f"{self.path}: expected a folder without {name}, as it holds no {DOCUMENT}, got one with it. "
                    "Choose another folder."
                )

    def _remove_debris(self) -> None:
        for name in (DOCUMENT, PLOT):
            for path in self.path.glob(f".{name}.*.tmp"):
                path.unlink(missing_ok=True)
        self.checkpoints.remove_debris()

    def _compare(self, document: Mapping[str, Any], config: Mapping[str, Any], task: Mapping[str, Any]) -> None:
        old = {**flat(document["config"]), **flat(document["task"], "task")}
        new = {**flat(config), **flat(json.loads(canonical_json(task)), "task")}
        changed = [
            f"{name}: {_shown(old, name)} before, {_shown(new, name)} now"
            for name in sorted({*old, *new})
            if name not in FREE and old.get(name, _Absent) != new.get(name, _Absent)
        ]
        if changed:
            raise ArgumentError(
                f"{self.path}: expected the options of the run that is resumed, got others ({'; '.join(changed)}). "
                "Pass the earlier ones, or train anew in another folder."
            )

    def _note_changes(self, first: Mapping[str, Any], now: Mapping[str, Any], note: Callable[[str], object]) -> None:
        changed = [
            f"{name}: {first.get(name)} before, {now.get(name)} now"
            for name in ("device", "processes", "threads", "torch")
            if first.get(name) != now.get(name)
        ]
        if changed:
            note(f"{self.path}: the result may differ in the last digits ({'; '.join(changed)}).")


def session(device: torch.device, processes: int) -> dict[str, Any]:
    """Describe where this process runs.

    Parameters
    ----------
    device : torch.device
        What it computes on.
    processes : int
        How many train together.

    Returns
    -------
    dict

    Examples
    --------
    >>> session(torch.device("cpu"), 1)["device"]
    'cpu'
    """
    return {
        "command": sys.argv,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "numpy": np.__version__,
        "processes": processes,
        "python": platform.python_version(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "treeavg": __version__,
    }


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted names.

    Parameters
    ----------
    value : mapping
        Any depth.
    prefix : str, default ""
        What all names begin with.

    Returns
    -------
    dict

    Examples
    --------
    >>> flat({"a": 1, "b": {"c": 2}}, "task")
    {'task.a': 1, 'task.b.c': 2}
    """
    result: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(inner, Mapping) and inner:
            result.update(flat(inner, name))
        else:
            result[name] = inner
    return result


class _Absent:
    """Stands for an option that one side lacks; equal to nothing else."""


def _shown(options: Mapping[str, Any], name: str) -> str:
    return quote(options[name]) if name in options else "absent"
