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

from parsers.json_files import canonical_json
from parsers.training.config import TrainingConfig
from parsers.training.loop_state import State, StepRecord
from parsers.training.optimisation import MovingAverage, Parameters
from parsers.training.processes import Processes
from parsers.training.progress import Progress
from parsers.training.reports import Reporter
from parsers.training.runs import FREE, RunFolder, session
from parsers.training.seeds import seed_for, set_seeds
from parsers.training.task import NonFiniteError, Task, TrainingResult
from parsers.weights import load_weights
from treeavg.errors import ArgumentError, FormatError, quote


class Loop:
    """One call of `train`."""

    def __init__(
        self, task: Task, config: TrainingConfig, processes: Processes, run: RunFolder | None, progress: Progress
    ) -> None:
        self.task = task
        self.config = config
        self.processes = processes
        self.run_folder = run
        self.reporter = Reporter(config, run, progress)
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
        self.last_checkpoint = time.monotonic()
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
            note = self.reporter.progress.note
            self.run_folder.open(identity["config"], identity["task"], resume=resume, session=here, note=note)
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
            if not started:
                started = True
                self.reporter.start(steps, self.state)
            while self.state.position < steps and not self.state.finished:
                self._step(batches, steps)
                self._after_step(steps)
            if not self.state.finished:
                self.state.epoch += 1
                self.state.position = 0

    # ------------------------------------------------------------------ a step

    def _step(self, batches: Sequence[Any], steps: int) -> None:
        begun = time.monotonic()
        state, count = self.state, self.config.accumulate
        self.parameters.set_rate(self.config.rate(state.share(steps, self.config.epochs, ahead=0.5)))
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
        self.reporter.count(total, time.monotonic() - begun)

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
        done, before = state.epochs_done(steps), state.epochs_done(steps, ahead=-1)
        last = state.epoch == config.epochs and state.position == steps
        every = config.evaluate_every
        evaluates = last or math.floor(done / every + 1e-9) > math.floor(before / every + 1e-9)
        logs = state.step % config.log_steps == 0
        if evaluates or logs:
            self._settle_pending()
        state.seconds = self.reporter.seconds
        self.reporter.step(state, steps)
        if logs:
            self.reporter.line({"kind": "train", "loss": state.line.take()}, state, steps)
        if evaluates:
            self._evaluate(steps)
            state.finished = last or 0 < config.patience <= state.waiting
        if not state.finished and (evaluates or self._checkpoint_is_due()):
            self._settle_pending()
            self._write_checkpoint()

    def _checkpoint_is_due(self) -> bool:
        config = self.config
        if config.checkpoint_steps and self.state.step % config.checkpoint_steps == 0:
            return True
        return 0 < config.checkpoint_minutes * 60 <= time.monotonic() - self.last_checkpoint

    def _evaluate(self, steps: int) -> None:
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
        state.seconds = self.reporter.seconds
        loss = state.stretch.take()
        line = {"kind": "evaluation", "loss": loss, "scores": scores, "improved": improved}
        state.history.append(self.reporter.line(line, state, steps))
        self.reporter.evaluation(state, loss, scores, improved)

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
        self.reporter.draw()
        self.state.finished = True
        self._write_checkpoint()

    def _restore(self, resume: bool) -> None:
        found = None
        if self.run_folder is not None and resume:
            found = self.run_folder.checkpoints.read_latest(self.reporter.progress.note)
            self._check_checkpoint(found)
        document = self.processes.copy_document(found[1] if found is not None else {})
        if not document:
            self.processes.copy_tensors(self.model.state_dict().values())
            return
        tensors = self.processes.copy_named(found[0] if found is not None else {})
        self.state = State.from_json(document["state"])
        self.reporter.resume(self.state)
        self.best = _with_prefix(tensors, "best/")
        if not self.state.finished:
            load_weights(self.model, _with_prefix(tensors, "model/"), "checkpoint")
            self.parameters.set_state(_with_prefix(tensors, "optimizer/"))
            if self.average is not None:
                self.average.restore(_with_prefix(tensors, "average/"), self.state.averaged)

    def _check_checkpoint(self, found: tuple[dict[str, Tensor], dict[str, Any]] | None) -> None:
        run, note = self.run_folder, self.reporter.progress.note
        assert run is not None
        if found is None:
            if run.existed:
                note(f"{run.path}: no checkpoint is there; beginning anew.")
            run.metrics.cut(0, [], note)
        else:
            if found[1]["run"] != self.identity:
                raise FormatError(
                    f"{run.checkpoints.folder}: expected checkpoints of the run in {run.path}, got those of another. "
                    "Train anew in another folder."
                )
            run.metrics.cut(found[1]["metrics"], found[1]["state"]["history"], note)


def _bound(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a resumed run must share."""
    return {name: value for name, value in config.items() if name not in FREE}


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
