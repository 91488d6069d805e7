"""The loop of a training run: steps, evaluations, checkpoints, and the way back from one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from parsers.base import load_weights
from parsers.loop_state import State, StepRecord
from parsers.optimisation import MovingAverage, Parameters, seed_for, set_seeds
from parsers.plots import draw_metrics
from parsers.processes import Processes
from parsers.progress import EvaluationReport, Progress, StepReport
from parsers.runs import FREE, PLOT, RunFolder, session
from parsers.storage import canonical_json
from parsers.task import NonFiniteError, Task, TrainingResult
from parsers.training_config import TrainingConfig
from treeavg.errors import ArgumentError, FileError, FormatError, quote

#: The picture is drawn at most every so many seconds, and at the end.
SECONDS_BETWEEN_PLOTS = 60.0


class Loop:
    """One call of `train`."""

    def __init__(
        self, task: Task, config: TrainingConfig, processes: Processes, run: RunFolder | None, progress: Progress
    ) -> None:
        self.task = task
        self.config = config
        self.processes = processes
        self.run_folder = run
        self.progress = progress
        self.device = processes.device
        self.model = task.model.to(self.device)
        self.state = State()
        self.parameters = Parameters(self.model, task.parameter_groups(), config)
        self.average = (
            MovingAverage(self.parameters.names, self.parameters.all, config.ema_decay)
            if config.average == "ema"
            else None
        )
        self.best: dict[str, Tensor] = {}
        self.pending: StepRecord | None = None
        #: On CUDA a step's numbers are looked at a step later, so that the card never waits for the processor.
        self.delayed = self.device.type == "cuda"
        self.began = self.last_checkpoint = time.monotonic()
        self.last_plot = self.began
        self.seconds_before = 0.0
        self.share_before = 0.0
        self.items_here = 0.0
        self.seconds_training = 0.0
        mixed = config.precision == "bfloat16" or (
            config.precision == "auto" and self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.precision: Any = torch.autocast(self.device.type, torch.bfloat16) if mixed else nullcontext()

    # ------------------------------------------------------------------ the course of a run

    def run(self, resume: bool) -> TrainingResult:
        identity = {"config": self.config.to_json(), "task": dict(self.task.describe())}
        self.identity = canonical_json({**identity, "config": _bound(identity["config"])})
        if self.run_folder is not None:
            here = session(self.device, self.processes.count)
            self.run_folder.open(
                identity["config"], identity["task"], resume=resume, session=here, note=self.progress.note
            )
        self._restore(resume)
        if self.config.compile:
            self.model.compile()
        try:
            if not self.state.finished:
                self._epochs()
                self._finish()
        finally:
            self.parameters.optimizer.zero_grad(set_to_none=True)
        load_weights(self.model, self.best, "best weights")
        self.model.eval()
        state = self.state
        assert state.best_score is not None  # the last epoch ends with an evaluation
        return TrainingResult(state.best_score, state.best_epoch, state.step, state.seconds, state.history)

    def _epochs(self) -> None:
        self.model.train()
        started = False
        while self.state.epoch <= self.config.epochs and not self.state.finished:
            set_seeds(seed_for(self.config.seed, self.state.epoch, 0), self.device)
            batches = self.task.epoch(self.state.epoch)
            if not len(batches):
                raise ArgumentError("epoch: expected at least one batch, got none. Pass some sentences.")
            steps = -(-len(batches) // self.config.accumulate)
            if not started and self.processes.first:
                started = True
                self.share_before = self._share(steps)
                self.progress.start(steps * self.config.epochs, self.state.step)
            while self.state.position < steps and not self.state.finished:
                self._step(batches, steps)
                self._after_step(steps)
            if not self.state.finished:
                self.state.epoch += 1
                self.state.position = 0

    def _share(self, steps: int, position: float | None = None) -> float:
        """Return how much of the training is done, 0 to 1."""
        return self._epochs_done(steps, position) / self.config.epochs

    def _epochs_done(self, steps: int, position: float | None = None) -> float:
        return self.state.epoch - 1 + (self.state.position if position is None else position) / steps

    # ------------------------------------------------------------------ a step

    def _step(self, batches: Sequence[Any], steps: int) -> None:
        begun = time.monotonic()
        state, count = self.state, self.config.accumulate
        self.parameters.set_rate(self.config.rate(self._share(steps, state.position + 0.5)))
        first = state.position * count
        part = batches[first : first + count]
        items = [float(self.task.items(batch)) for batch in part]
        total = math.fsum(items)
        if total > 0:
            losses = torch.zeros(len(part), dtype=torch.float64, device=self.device)
            for index, batch in enumerate(part):
                if items[index] > 0 and index % self.processes.count == self.processes.rank:
                    set_seeds(seed_for(self.config.seed, state.epoch, first + index + 1), self.device)
                    with self.precision:
                        loss = self.task.loss(batch)
                    (loss / total).backward()  # type: ignore[no-untyped-call]
                    losses[index] = loss.detach()
            self.processes.sum_(losses)
            self.processes.sum_gradients(self.parameters.all)
            norm = nn.utils.clip_grad_norm_(self.parameters.all, self.config.clip or math.inf)
            self._settle_later(StepRecord(state.step + 1, state.epoch, part, total, losses, norm))
            self.parameters.optimizer.step()
            self.parameters.optimizer.zero_grad(set_to_none=True)
            if self.average is not None:
                self.average.update()
        state.position += 1
        state.step += 1
        self.items_here += total
        self.seconds_training += time.monotonic() - begun

    def _settle_later(self, step: StepRecord) -> None:
        """Look at a step's numbers, or at those of the step before."""
        if self.delayed:
            step, self.pending = self.pending, step  # type: ignore[assignment]
        if step is not None:
            self._settle(step)

    def _settle(self, step: StepRecord) -> None:
        losses, norm = step.losses.tolist(), float(step.norm)
        bad = [index for index, loss in enumerate(losses) if not math.isfinite(loss)]
        if bad or not math.isfinite(norm):
            what = "loss" if bad else "gradient"
            value = losses[bad[0]] if bad else norm
            names = "; ".join(self.task.names(step.batches[index]) for index in bad or range(len(losses)))
            raise NonFiniteError(
                f"epoch {step.epoch}, step {step.number}: expected a finite {what}, got {value}, on {names}. "
                f"{self._kept()} Look at these sentences, or train anew with a lower learning_rate."
            )
        self.state.line.add(math.fsum(losses), step.items)
        self.state.stretch.add(math.fsum(losses), step.items)

    def _kept(self) -> str:
        paths = self.run_folder.checkpoints.paths() if self.run_folder is not None else []
        return f"The last good checkpoint is kept: {paths[0]}." if paths else "No checkpoint was written yet."

    def _settle_pending(self) -> None:
        step, self.pending = self.pending, None
        if step is not None:
            self._settle(step)

    # ------------------------------------------------------------------ after a step

    def _after_step(self, steps: int) -> None:
        state, config = self.state, self.config
        done, before = self._epochs_done(steps), self._epochs_done(steps, state.position - 1)
        last = state.epoch == config.epochs and state.position == steps
        every = config.evaluate_every
        evaluates = last or math.floor(done / every + 1e-9) > math.floor(before / every + 1e-9)
        logs = state.step % config.log_steps == 0
        if evaluates or logs:
            self._settle_pending()
        state.seconds = self.seconds_before + time.monotonic() - self.began
        self._report_step(steps)
        if logs:
            self._log({"kind": "train", "loss": state.line.take()}, done)
        if evaluates:
            self._evaluate(done)
            state.finished = last or 0 < config.patience <= state.waiting
        if not state.finished and (evaluates or self._checkpoint_is_due()):
            self._settle_pending()
            self._write_checkpoint()

    def _checkpoint_is_due(self) -> bool:
        config = self.config
        if config.checkpoint_steps and self.state.step % config.checkpoint_steps == 0:
            return True
        return 0 < config.checkpoint_minutes * 60 <= time.monotonic() - self.last_checkpoint

    def _rate_of_items(self) -> float:
        return self.items_here / max(self.seconds_training, 1e-9)

    def _report_step(self, steps: int) -> None:
        if self.run_folder is None:
            return
        state, share = self.state, self._share(steps)
        here, gained = state.seconds - self.seconds_before, share - self.share_before
        self.progress.step(
            StepReport(
                epoch=state.epoch,
                step=state.step,
                share=share,
                loss=state.stretch.value,
                learning_rate=self.config.learning_rate * self.config.rate(share),
                items_per_second=self._rate_of_items(),
                seconds=state.seconds,
                seconds_left=here / gained * (1.0 - share) if gained > 0 else None,
            )
        )

    def _log(self, record: dict[str, Any], done: float) -> dict[str, Any]:
        line = {
            **record,
            "done": done,
            "epoch": self.state.epoch,
            "step": self.state.step,
            "learning_rate": self.config.learning_rate * self.config.rate(done / self.config.epochs),
            "items_per_second": round(self._rate_of_items(), 1),
            "seconds": round(self.state.seconds, 3),
        }
        if self.run_folder is not None:
            self.run_folder.metrics.append(line)
        return line

    def _evaluate(self, done: float) -> None:
        state = self.state
        averaged = self.average.in_force() if self.average is not None else nullcontext()
        self.model.eval()
        with averaged:
            scores = self._scores()
            improved = state.best_score is None or scores["score"] > state.best_score
            if improved:
                self.best = _copies(self.model.state_dict())
                state.best_score, state.best_epoch = scores["score"], state.epoch
        self.model.train()
        state.waiting = 0 if improved else state.waiting + 1
        state.seconds = self.seconds_before + time.monotonic() - self.began
        loss = state.stretch.take()
        line = {"kind": "evaluation", "loss": loss, "scores": scores, "improved": improved}
        state.history.append(self._log(line, done))
        if self.run_folder is not None:
            assert state.best_score is not None
            self.progress.epoch(
                EvaluationReport(state.epoch, state.step, loss, scores, improved, state.best_score, state.seconds)
            )
            if time.monotonic() - self.last_plot > SECONDS_BETWEEN_PLOTS:
                self._plot()

    def _scores(self) -> dict[str, float]:
        """Evaluate in the first process; all get its scores."""
        scores = None
        if self.processes.first:
            set_seeds(seed_for(self.config.seed, self.state.epoch, 0, self.state.step), self.device)
            with torch.no_grad():
                scores = {name: float(value) for name, value in self.task.evaluate().items()}
            if "score" not in scores or not all(math.isfinite(value) for value in scores.values()):
                raise ArgumentError(
                    f"evaluate: expected finite numbers, 'score' among them, got {quote(scores)}. Mend the task."
                )
        return dict(self.processes.copy_document(scores))

    def _plot(self) -> None:
        if self.run_folder is None:
            return
        try:
            draw_metrics(self.run_folder.metrics.read(), self.run_folder.path / PLOT)
        except FileError as error:
            self.progress.note(str(error))  # a picture is not worth a run
        self.last_plot = time.monotonic()

    # ------------------------------------------------------------------ checkpoints

    def _write_checkpoint(self) -> None:
        self.last_checkpoint = time.monotonic()
        if self.run_folder is None:
            return
        tensors = {f"best/{name}": tensor for name, tensor in self.best.items()}
        if not self.state.finished:
            tensors |= {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
            tensors |= {f"optimizer/{name}": tensor for name, tensor in self.parameters.state().items()}
            if self.average is not None:
                self.state.averaged = self.average.count
                tensors |= {f"average/{name}": tensor for name, tensor in self.average.tensors.items()}
        document = {"state": asdict(self.state), "run": self.identity, "metrics": self.run_folder.metrics.size()}
        self.run_folder.checkpoints.write(self.state.step, tensors, document)

    def _finish(self) -> None:
        self._plot()
        self.state.finished = True
        self._write_checkpoint()

    def _restore(self, resume: bool) -> None:
        found = None
        if self.run_folder is not None and resume:
            found = self.run_folder.checkpoints.read_latest(self.progress.note)
            self._check_checkpoint(found)
        document = self.processes.copy_document(found[1] if found is not None else {})
        if not document:
            self.processes.copy_tensors(self.model.state_dict().values())
            return
        tensors = self.processes.copy_named(found[0] if found is not None else {})
        self.state = State.from_json(document["state"])
        self.seconds_before = self.state.seconds
        self.best = _with_prefix(tensors, "best/")
        if not self.state.finished:
            load_weights(self.model, _with_prefix(tensors, "model/"), "checkpoint")
            self.parameters.set_state(_with_prefix(tensors, "optimizer/"))
            if self.average is not None:
                self.average.restore(_with_prefix(tensors, "average/"), self.state.averaged)

    def _check_checkpoint(self, found: tuple[dict[str, Tensor], dict[str, Any]] | None) -> None:
        run = self.run_folder
        assert run is not None
        if found is None:
            if run.existed:
                self.progress.note(f"{run.path}: no checkpoint is there; beginning anew.")
            run.metrics.cut(0, [], self.progress.note)
        else:
            if found[1]["run"] != self.identity:
                raise FormatError(
                    f"{run.checkpoints.folder}: expected checkpoints of the run in {run.path}, got those of another. "
                    "Train anew in another folder."
                )
            run.metrics.cut(found[1]["metrics"], found[1]["state"]["history"], self.progress.note)


def _bound(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a resumed run must share."""
    return {name: value for name, value in config.items() if name not in FREE}


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
