"""The door to a training: what every training does before and after its loop."""

from __future__ import annotations

import os
from contextlib import ExitStack

import torch

from parsers.training.config import TrainingConfig
from parsers.training.loop import Loop
from parsers.training.processes import Processes
from parsers.training.progress import Progress, TerminalProgress
from parsers.training.runs import RunFolder
from parsers.training.seeds import kept_random_state
from parsers.training.task import Task, TrainingResult
from treeavg.errors import ArgumentError


def train(
    task: Task,
    config: TrainingConfig,
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    resume: bool = False,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a model; leave the best weights in it.

    Parameters
    ----------
    task : Task
        Its model is moved to the device, trained, and left in evaluation mode with the best weights.
    config : TrainingConfig
        The options.
    folder : str or os.PathLike
        The run's folder: ``run.json`` (options and versions), ``metrics.jsonl``, ``metrics.png``, ``checkpoints/``.
    device : str or torch.device, default "auto"
        ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto`` is CUDA where there is one.
    resume : bool, default False
        Continue the run in `folder` from its last checkpoint, if there is one.
    progress : Progress, optional
        What is told how it goes; by default a bar on the terminal, if standard error is one.

    Returns
    -------
    TrainingResult

    Raises
    ------
    ArgumentError
        `folder` holds a run and `resume` is False, or `resume` is True and options have changed; an option does not
        suit the device; the task's parts do not fit together.
    NonFiniteError
        A loss or gradient is not finite; names epoch, step and sentences. The last checkpoint is kept.
    FileError
        The folder cannot be written (a full disk: make room, resume), or all checkpoints are damaged.
    FormatError
        The run in `folder` is of another version's format.

    Notes
    -----
    A step's gradient is the sum over its `accumulate` batches (shared by all processes) divided by the sum of their
    items, so it does not depend, up to rounding, on how the sentences are cut into batches.

    All randomness follows from the seed, the epoch and the batch's place in it, so a resumed run computes what an
    uninterrupted one does: on the CPU bit for bit, with the same number of threads and the same versions; on CUDA up
    to operations that are not deterministic there. torch's settings (``torch.use_deterministic_algorithms``, threads)
    are the caller's and are not changed; the state of torch's, Python's and NumPy's random generators is restored.

    Examples
    --------
    >>> result = train(task, TrainingConfig(epochs=5), "run")  # doctest: +SKIP
    """
    processes = Processes(device)
    _check_device(config, processes)
    shown: Progress = progress if progress is not None else TerminalProgress()
    with ExitStack() as stack:
        run = None
        if processes.first:
            run = RunFolder(folder)
            stack.enter_context(run.locked())
            stack.callback(shown.close)
        stack.enter_context(kept_random_state(processes.device))
        return Loop(task, config, processes, run, shown).run(resume)


def _check_device(config: TrainingConfig, processes: Processes) -> None:
    kind = processes.device.type
    if config.compile and kind != "cuda":
        raise ArgumentError(f"compile: expected a CUDA device for True, got {kind!r}. Pass compile=False.")
    if config.accumulate % processes.count:
        raise ArgumentError(
            f"accumulate: expected a multiple of the number of processes, {processes.count}, which share a step's "
            f"batches, got {config.accumulate}. Pass accumulate={processes.count}."
        )
