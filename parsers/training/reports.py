"""What a training run tells of itself: to the caller's progress, to its file of metrics, and as a picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from parsers.training.config import TrainingConfig
from parsers.training.loop_state import State
from parsers.training.plots import draw_metrics
from parsers.training.progress import EvaluationReport, Progress, StepReport
from parsers.training.runs import PLOT, RunFolder
from treeavg.errors import FileError, FormatError

#: The picture is drawn at most every so many seconds, and at the end.
SECONDS_BETWEEN_PLOTS = 60.0


class Reporter:
    """Keeps the time and tells how a run goes; without a folder, in all processes but the first, it only keeps time.

    Parameters
    ----------
    config : TrainingConfig
        The options.
    run : RunFolder, optional
        Whose metrics and picture are written.
    progress : Progress
        The caller's.
    """

    def __init__(self, config: TrainingConfig, run: RunFolder | None, progress: Progress) -> None:
        self.progress = progress
        self._config = config
        self._run = run
        self._began = self._last_plot = time.monotonic()
        self._seconds_before = 0.0  # spent by the processes that worked at the run before this one
        self._share_before = 0.0
        self._items = 0.0
        self._seconds_in_steps = 0.0

    @property
    def seconds(self) -> float:
        """Spent on the run so far, by all processes that worked at it one after another."""
        return self._seconds_before + time.monotonic() - self._began

    def resume(self, state: State) -> None:
        """Count on from a checkpoint."""
        self._seconds_before = state.seconds

    def start(self, steps: int, state: State) -> None:
        """Tell how long it will be, from the number of steps an epoch."""
        if self._run is not None:
            self._share_before = state.share(steps, self._config.epochs)
            self.progress.start(steps * self._config.epochs, state.step)

    def count(self, items: float, seconds: float) -> None:
        """Take in how much a step did in which time."""
        self._items += items
        self._seconds_in_steps += seconds

    def step(self, state: State, steps: int) -> None:
        """Tell of a step."""
        if self._run is None:
            return
        share = state.share(steps, self._config.epochs)
        here, gained = state.seconds - self._seconds_before, share - self._share_before
        self.progress.step(
            StepReport(
                epoch=state.epoch,
                step=state.step,
                share=share,
                loss=state.stretch.value,
                learning_rate=self._config.learning_rate * self._config.rate(share),
                items_per_second=self._items_per_second(),
                seconds=state.seconds,
                seconds_left=here / gained * (1.0 - share) if gained > 0 else None,
            )
        )

    def line(self, record: Mapping[str, Any], state: State, steps: int) -> dict[str, Any]:
        """Write a line of metrics, and return it."""
        share = state.share(steps, self._config.epochs)
        line = {
            **record,
            "done": state.epochs_done(steps),
            "epoch": state.epoch,
            "step": state.step,
            "learning_rate": self._config.learning_rate * self._config.rate(share),
            "items_per_second": round(self._items_per_second(), 1),
            "seconds": round(state.seconds, 3),
        }
        if self._run is not None:
            self._run.metrics.append(line)
        return line

    def evaluation(self, state: State, loss: float, scores: Mapping[str, float], improved: bool) -> None:
        """Tell of an evaluation, and draw the picture from time to time."""
        if self._run is None:
            return
        assert state.best_score is not None
        self.progress.epoch(
            EvaluationReport(state.epoch, state.step, loss, scores, improved, state.best_score, state.seconds)
        )
        if time.monotonic() - self._last_plot > SECONDS_BETWEEN_PLOTS:
            self.draw()

    def draw(self) -> None:
        """Draw the picture."""
        if self._run is None:
            return
        try:
            draw_metrics(self._run.metrics.read(), self._run.path / PLOT)
        except (FileError, FormatError) as error:
            self.progress.note(str(error))  # a picture is not worth a run
        except (LookupError, TypeError, ValueError) as error:
            path = self._run.metrics.path
            self.progress.note(
                f"{path}: expected the training's own lines, got others ({error!r}). No picture is drawn."
            )
        self._last_plot = time.monotonic()

    def _items_per_second(self) -> float:
        return self._items / max(self._seconds_in_steps, 1e-9)
