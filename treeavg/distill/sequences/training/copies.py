"""Copies of a student that follow it: its moving average as a teacher, its past self as the one who writes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn
from transformers import TrainerCallback

from treeavg.distill.sequences.training.config import DistillationConfig
from treeavg.errors import ArgumentError, FormatError, quote

__all__ = ["EMA", "Followers", "StudentCopy", "copies_of"]

#: In place of a teacher: the moving average of the student.
EMA = "ema"


class StudentCopy:
    """A frozen copy of a student in evaluation mode, which follows it after each update.

    Parameters
    ----------
    student : torch.nn.Module
        Copied as it is now; with the rest of its weights in half precision the copy has single precision, in which
        small steps of an average are not lost.
    decay : float, optional
        After each update every trained weight becomes ``decay * own + (1 - decay) * student``; others are copied.
    every : int, optional
        After each that many updates all weights are copied, and not in between. Give one of both.

    Examples
    --------
    >>> student = nn.Linear(1, 1, bias=False)
    >>> follower = StudentCopy(student, decay=0.75)
    >>> before = student.weight.item()
    >>> _ = student.weight.data.add_(1.0)
    >>> follower.follow(student, 1)
    >>> round(follower.model.weight.item() - before, 4)
    0.25
    """

    def __init__(self, student: nn.Module, *, decay: float | None = None, every: int | None = None) -> None:
        assert (decay is None) != (every is None)
        self.decay, self.every = decay, every
        self.model = copy.deepcopy(student)
        if decay is not None and any(weight.dtype in (torch.half, torch.bfloat16) for weight in student.parameters()):
            self.model.float()
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int) -> None:
        """Take over what the student has learned.

        Parameters
        ----------
        student : torch.nn.Module
            After its update.
        step : int
            Updates so far.

        Returns
        -------
        None
        """
        if self.every is not None and step % self.every:
            return
        for own, weight in zip(self.model.parameters(), student.parameters(), strict=True):
            if self.decay is None or not weight.requires_grad:
                own.copy_(weight)
            else:
                own.lerp_(weight.to(own.dtype), 1 - self.decay)
        for mine, other in zip(self.model.buffers(), student.buffers(), strict=True):
            mine.copy_(other)

    def save(self, path: Path) -> None:
        """Write the weights.

        Parameters
        ----------
        path : pathlib.Path
            A safetensors file.

        Returns
        -------
        None
        """
        save_model(self.model, str(path))

    def load(self, path: Path) -> None:
        """Read the weights.

        Parameters
        ----------
        path : pathlib.Path
            From `save`.

        Returns
        -------
        None

        Raises
        ------
        FormatError
            The file is missing or does not fit.
        """
        try:
            load_model(self.model, str(path), device=str(next(self.model.parameters()).device))
        except Exception as error:  # of a reader in another language, whose classes are not documented
            reason = str(error).splitlines()[0]
            raise FormatError(
                f"{path}: expected weights of the copy of the student, got {reason}. Resume from another checkpoint."
            ) from error


def copies_of(student: nn.Module, teachers: Any, config: DistillationConfig) -> dict[str, StudentCopy]:
    """Return the copies that a training needs.

    Parameters
    ----------
    student : torch.nn.Module
        The student.
    teachers : object
        As given to the trainer.
    config : DistillationConfig
        With `ema_decay`, and `sync` of rewards.

    Returns
    -------
    dict from str to StudentCopy
        "teacher" for the moving average, "writer" for the one who writes.

    Raises
    ------
    ArgumentError
        A decay without such a teacher.
    """
    found: dict[str, StudentCopy] = {}
    own = isinstance(teachers, str) and teachers == EMA
    if own:
        found["teacher"] = StudentCopy(student, decay=0.999 if config.ema_decay is None else config.ema_decay)
    elif config.ema_decay is not None:
        raise ArgumentError(
            f"ema_decay: expected None without teachers={EMA!r}, got {quote(config.ema_decay)}. Leave it out."
        )
    if config.reward is not None and config.reward.sync is not None:
        found["writer"] = StudentCopy(student, every=config.reward.sync)
    return found


class Followers(TrainerCallback):
    """Lets copies follow the student after each update, before it is saved or evaluated.

    Parameters
    ----------
    student : torch.nn.Module
        Without wrappers.
    copies : mapping from str to StudentCopy
        They.
    """

    def __init__(self, student: nn.Module, copies: Mapping[str, StudentCopy]) -> None:
        self.student, self.copies = student, copies

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Follow."""
        for one in self.copies.values():
            one.follow(self.student, state.global_step)
