"""What a training run tells while it runs: to a terminal, to nobody, or to the caller's own object."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from treeavg.memory import resident_memory


@dataclass(frozen=True)
class StepReport:
    """A step of training.

    Parameters
    ----------
    epoch : int
        From 1.
    step : int
        Steps done, over all epochs.
    share : float
        How much of the training is done, 0 to 1.
    loss : float
        Mean an item since the last line of ``metrics.jsonl``.
    learning_rate : float
        Of new parameters.
    items_per_second : float
        Since this process began, without evaluations.
    seconds : float
        Since the run began, without the time between a kill and its resumption.
    seconds_left : float or None
        Until the last epoch ends; None while nothing is known.
    """

    epoch: int
    step: int
    share: float
    loss: float
    learning_rate: float
    items_per_second: float
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation.

    Parameters
    ----------
    epoch : int
        From 1.
    step : int
        Steps done.
    loss : float
        Mean an item since the last evaluation.
    scores : mapping from str to float
        What the task's ``evaluate`` returned.
    improved : bool
        Whether the score is the best so far.
    best_score : float
        The best so far, this one included.
    seconds : float
        Since the run began.
    """

    epoch: int
    step: int
    loss: float
    scores: Mapping[str, float]
    improved: bool
    best_score: float
    seconds: float


class Progress(Protocol):
    """What `parsers.training.train` calls; only the first of several processes does."""

    def start(self, total: int, done: int) -> None:
        """Begin: about `total` steps in all, `done` of them before."""

    def step(self, report: StepReport) -> None:
        """Tell of a step."""

    def epoch(self, report: EvaluationReport) -> None:
        """Tell of an evaluation."""

    def note(self, text: str) -> None:
        """Tell one line that a user should see."""

    def close(self) -> None:
        """End, also after an error."""


class TerminalProgress:
    """A bar with the time left and a line for each evaluation, on a terminal; elsewhere only notes.

    Parameters
    ----------
    stream : text stream, optional
        By default standard error.

    Examples
    --------
    >>> progress = TerminalProgress()
    >>> progress.start(100, 0)
    >>> progress.close()
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._bar: Any = None

    def start(self, total: int, done: int) -> None:
        """Show the bar.

        Parameters
        ----------
        total, done : int
            Steps, about.

        Examples
        --------
        >>> TerminalProgress().start(100, 0)
        """
        if self._stream is not None and self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=done,
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
                bar_format="{desc}{percentage:3.0f}%|{bar}| {postfix}",
            )

    def step(self, report: StepReport) -> None:
        """Move the bar.

        Parameters
        ----------
        report : StepReport
            What to show.

        Examples
        --------
        >>> TerminalProgress().step(StepReport(1, 1, 0.1, 2.0, 1e-3, 50.0, 1.0, 9.0))
        """
        if self._bar is None:
            return
        left = f", {duration(report.seconds_left)} left" if report.seconds_left is not None else ""
        self._bar.set_description_str(f"epoch {report.epoch}: ", refresh=False)
        held = f"{resident_memory() / 2**20:,.0f} MB"
        self._bar.set_postfix_str(
            f"loss {report.loss:.4f}, {report.items_per_second:,.0f} items/s{left}, {held}", refresh=False
        )
        self._bar.total = max(self._bar.total, report.step)
        self._bar.update(report.step - self._bar.n)

    def epoch(self, report: EvaluationReport) -> None:
        """Write a line above the bar.

        Parameters
        ----------
        report : EvaluationReport
            What to write.

        Examples
        --------
        >>> TerminalProgress().epoch(EvaluationReport(1, 10, 2.0, {"score": 50.0}, True, 50.0, 3.0))
        """
        if self._bar is None:
            return
        scores = ", ".join(f"{name} {value:.4g}" for name, value in sorted(report.scores.items()))
        mark = " (best)" if report.improved else ""
        self._bar.write(
            f"epoch {report.epoch}, step {report.step}: loss {report.loss:.4f}, {scores}{mark}, "
            f"{duration(report.seconds)}",
            file=self._stream,
        )

    def note(self, text: str) -> None:
        """Write one line, on a terminal or not.

        Parameters
        ----------
        text : str
            Without a line break.

        Examples
        --------
        >>> TerminalProgress(sys.stdout).note("starts anew.")
        treeavg: starts anew.
        """
        line = f"treeavg: {text}"
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        elif self._stream is not None:
            self._stream.write(line + "\n")

    def close(self) -> None:
        """Remove the bar.

        Examples
        --------
        >>> TerminalProgress().close()
        """
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def duration(seconds: float) -> str:
    """Return a time for people.

    Parameters
    ----------
    seconds : float
        At least 0.

    Returns
    -------
    str

    Examples
    --------
    >>> duration(7), duration(75), duration(7500)
    ('7 s', '1 min 15 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
