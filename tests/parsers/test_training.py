"""The training loop: what a step is, when it stops, what it leaves behind, what it says."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import random
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import says
from torch import Tensor, nn
from toy_task import Quiet, ToyTask, same, timeless, weights

import parsers.training.loop
import parsers.training.reports
from parsers.training import NonFiniteError, TrainingConfig, TrainingResult, seed_for, train
from parsers.training.optimisation import MovingAverage, Parameters
from parsers.training.plots import draw_metrics
from parsers.training.progress import EvaluationReport, StepReport, TerminalProgress, duration
from treeavg.errors import ArgumentError, FileError, FormatError


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers.training.reports, "draw_metrics", lambda records, path: False)


def run(task: ToyTask, folder: Path, progress: Quiet | None = None, **options: Any) -> TrainingResult:
    return train(task, TrainingConfig(**options), folder, device="cpu", progress=progress or Quiet())


def close(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.allclose(value, second[name], rtol=1e-4, atol=1e-6) for name, value in first.items())


# ---------------------------------------------------------------------- the result


def test_it_learns(tmp_path: Path) -> None:
    task = ToyTask(rows=128)
    result = run(task, tmp_path, epochs=10, learning_rate=2e-2, encoder_learning_rate=2e-2)
    assert result.best_score > 85
    assert result.steps == 10 * 16
    assert 1 <= result.best_epoch <= 10
    assert result.seconds > 0
    assert len(result.history) == 10
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]
    assert max(line["scores"]["score"] for line in result.history) == result.best_score
    assert not task.model.training
    assert {"score": result.best_score}.items() <= task.evaluate().items()  # the best weights are in the model
    assert all(parameter.grad is None for parameter in task.model.parameters())


def test_the_run_folder(tmp_path: Path) -> None:
    task = ToyTask()
    result = run(task, tmp_path, epochs=2, log_steps=5, seed=3)
    assert sorted(os.listdir(tmp_path)) == ["checkpoints", "metrics.jsonl", "run.json"]
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["config"] == TrainingConfig(epochs=2, log_steps=5, seed=3).to_json()
    assert document["task"] == {"batch": 8, "rows": 96}
    (session,) = document["sessions"]
    assert (session["device"], session["processes"], session["threads"]) == ("cpu", 1, 1)
    assert (session["torch"], session["command"]) == (torch.__version__, sys.argv)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert all(list(json.loads(line)) == sorted(json.loads(line)) for line in lines)
    records = [json.loads(line) for line in lines]
    assert [(r["kind"], r["step"]) for r in records] == [
        ("train", 5), ("train", 10), ("evaluation", 12), ("train", 15), ("train", 20), ("evaluation", 24),
    ]  # fmt: skip
    assert [r["done"] for r in records] == pytest.approx([5 / 12, 10 / 12, 1, 1.25, 20 / 12, 2])
    assert [r for r in records if r["kind"] == "evaluation"] == result.history
    assert records[2].keys() == {
        "done", "epoch", "improved", "items_per_second", "kind", "learning_rate", "loss", "scores", "seconds", "step",
    }  # fmt: skip


def test_equal_seeds_give_equal_runs(tmp_path: Path) -> None:
    """Whatever the caller's random state; another seed gives another run."""
    found = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number)
        task = ToyTask()
        run(task, tmp_path / str(number), epochs=2, seed=seed)
        found.append(weights(task))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_the_callers_random_state_and_settings_are_left_alone(tmp_path: Path) -> None:
    class Drawing(ToyTask):
        def loss(self, batch: Tensor) -> Tensor:
            random.random()
            np.random.random()
            return super().loss(batch)

    def state() -> tuple[Any, ...]:
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # type: ignore[index]
            torch.are_deterministic_algorithms_enabled(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
        )

    before = state()
    run(Drawing(), tmp_path / "a", epochs=1)
    assert state() == before
    task = Drawing()
    task.poisoned = 3
    with pytest.raises(NonFiniteError):
        run(task, tmp_path / "b", epochs=1)
    assert state() == before


def test_random_numbers_do_not_depend_on_what_was_drawn_before(tmp_path: Path) -> None:
    """Each batch has its own seed: dropout of a batch is the same whatever the batches before it drew."""

    class Drawing(ToyTask):
        def loss(self, batch: Tensor) -> Tensor:
            loss = super().loss(batch)
            torch.rand(int(batch.sum()))
            return loss

    plain, drawing = ToyTask(), Drawing()
    run(plain, tmp_path / "a", epochs=2)
    run(drawing, tmp_path / "b", epochs=2)
    assert same(weights(plain), weights(drawing))


def test_seeds() -> None:
    found = {seed_for(a, b) for a in range(50) for b in range(50)} | {seed_for(a) for a in range(50)}
    assert len(found) == 50 * 50 + 50
    assert all(0 <= seed < 2**63 for seed in found)
    assert seed_for(1, 2) == 863661761539424187  # never changes: runs are resumed by later versions


# ---------------------------------------------------------------------- a step


class Plain(ToyTask):
    """Without dropout, in the order of the rows, cut as told."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__(rows=sum(sizes), dropout=0.0)
        self.sizes = sizes

    def epoch(self, number: int) -> list[Tensor]:
        return list(torch.arange(self.rows).split(self.sizes))


def test_the_gradient_does_not_depend_on_the_split(tmp_path: Path) -> None:
    """Steps of 12 rows: as one batch, 3 equal ones, unequal ones, with an empty one; so does the loss that is told."""
    found, losses = [], []
    for number, (sizes, accumulate) in enumerate(
        [([12] * 4, 1), ([4] * 12, 3), ([1, 8, 3, 10, 1, 1, 4, 4, 4, 2, 3, 7], 3), ([6, 0, 6] * 4, 3)]
    ):
        task = Plain(sizes)
        result = run(task, tmp_path / str(number), epochs=3, accumulate=accumulate, learning_rate=1e-2, clip=0.5)
        assert result.steps == 12
        found.append(weights(task))
        losses.append([line["loss"] for line in result.history])
    assert all(close(found[0], other) for other in found[1:])
    assert losses == [pytest.approx(losses[0], rel=1e-5)] * 4


def test_a_step_by_hand(tmp_path: Path) -> None:
    """One step equals AdamW's on the mean loss, clipped, with the schedule's rate, groups and weight decay."""
    task, other = Plain([5, 7]), Plain([12])
    options = TrainingConfig(
        epochs=1, accumulate=2, learning_rate=0.1, encoder_learning_rate=0.01, schedule="linear", warmup=0.0, clip=0.2,
        weight_decay=0.3, betas=(0.8, 0.9),
    )  # fmt: skip
    train(task, options, tmp_path, device="cpu", progress=Quiet())
    model = other.model
    loss = nn.functional.cross_entropy(model(other.inputs), other.targets)
    loss.backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    assert norm > 0.2
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        gradient = parameter.grad * 0.2 / norm
        rate = 0.5 * (0.01 if name.startswith("0.") else 0.1)  # half-way through the only step
        decay = 0.3 if parameter.ndim > 1 else 0.0
        first, second = 0.2 * gradient / (1 - 0.8), 0.1 * gradient.square() / (1 - 0.9)
        expected = parameter.detach() * (1 - rate * decay) - rate * first / (second.sqrt() + 1e-8)
        assert torch.allclose(weights(task)[name], expected, atol=1e-5), name


def test_a_step_of_steepest_descent(tmp_path: Path) -> None:
    """By hand, and interrupted and resumed."""
    task, other = Plain([12]), Plain([12])
    options = TrainingConfig(
        epochs=1, optimizer="sgd", learning_rate=3.0, encoder_learning_rate=3.0, schedule="constant", warmup=0.0,
        clip=0.0, weight_decay=0.1,
    )  # fmt: skip
    train(task, options, tmp_path / "run", device="cpu", progress=Quiet())
    nn.functional.cross_entropy(other.model(other.inputs), other.targets).backward()
    for name, parameter in other.model.named_parameters():
        assert parameter.grad is not None
        decay = 0.1 if parameter.ndim > 1 else 0.0
        expected = parameter.detach() - 3.0 * (parameter.grad + decay * parameter.detach())
        assert torch.allclose(weights(task)[name], expected, atol=1e-5), name
    again = Plain([12])
    train(again, options, tmp_path / "run", device="cpu", progress=Quiet(), resume=True)
    assert same(weights(task), weights(again))


def test_without_a_fused_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older torch has none for the CPU: the plain one does the same."""
    fused, plain = ToyTask(), ToyTask()
    run(fused, tmp_path / "a", epochs=1)
    real = torch.optim.AdamW

    def adamw(*arguments: Any, fused: bool = False, **options: Any) -> Any:
        if fused:
            raise RuntimeError("`fused=True` requires all the params to be CUDA")
        return real(*arguments, **options)

    monkeypatch.setattr(torch.optim, "AdamW", adamw)
    run(plain, tmp_path / "b", epochs=1)
    assert close(weights(fused), weights(plain))


def test_no_clipping(tmp_path: Path) -> None:
    found = []
    for clip in (0.0, 1e9):
        task = ToyTask()
        run(task, tmp_path / str(clip), epochs=1, clip=clip)
        found.append(weights(task))
    assert same(*found)


def test_batches_without_items_are_passed_over(tmp_path: Path) -> None:
    """Their loss is not asked for; a step of nothing changes nothing."""

    class Sparse(Plain):
        def loss(self, batch: Tensor) -> Tensor:
            assert len(batch)
            return super().loss(batch)

    task = Sparse([0, 4, 0, 0, 0])
    before = weights(task)
    result = run(task, tmp_path / "a", epochs=1)
    assert result.steps == 5
    assert not same(before, weights(task))
    task = Sparse([0, 0])
    task.scores = [1.0, 2.0]
    result = run(task, tmp_path / "b", epochs=2)
    assert same(before, weights(task))
    assert [line["loss"] for line in result.history] == [0.0, 0.0]


def test_parameters_without_gradients(tmp_path: Path) -> None:
    """A part of the model that the loss does not use is neither decayed nor an obstacle to resuming."""
    task = ToyTask()
    task.model.append(nn.Linear(2, 2))
    unused = task.model[-1].weight.clone()
    task.model[-1].forward = lambda scores: scores
    run(task, tmp_path, epochs=1, weight_decay=0.5, average="ema")
    assert torch.equal(task.model[-1].weight, unused)


def test_frozen_parameters(tmp_path: Path) -> None:
    task = ToyTask()
    task.model[0].weight.requires_grad_(False)
    before = weights(task)
    run(task, tmp_path, epochs=1)
    after = weights(task)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["0.bias"], after["0.bias"])
    assert not task.model[0].weight.requires_grad


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (lambda m: {"old": m.parameters()}, "parameter_groups: expected one of 'pretrained', 'new', got 'old'."),
        (
            lambda m: {"new": m[3:].parameters()},
            "expected all parameters that are to be trained, got none of '0.weight'",
        ),
        (
            lambda m: {"new": m.parameters(), "pretrained": m[0].parameters()},
            "expected each parameter in one group, got '0.weight' in 'new' and 'pretrained'. Leave it in one.",
        ),
        (
            lambda m: {"new": [*m.parameters(), nn.Parameter(torch.zeros(3, 1))]},
            "expected parameters of the model, got another of the shape (3, 1) in 'new'. Make it part of the model",
        ),
    ],
)
def test_groups_that_do_not_fit(groups: Callable[[Any], Any], message: str) -> None:
    model = ToyTask().model
    with says(ArgumentError, message):
        Parameters(model, groups(model), TrainingConfig())


def test_nothing_to_train() -> None:
    model = ToyTask().model.requires_grad_(False)
    with says(ArgumentError, "parameter_groups: expected at least one parameter to train, got none. Unfreeze some."):
        Parameters(model, {"new": model.parameters()}, TrainingConfig())


def test_groups() -> None:
    """Biases and gains are not decayed; a shared parameter counts once; state goes by name."""
    task = ToyTask()
    groups = {"pretrained": [*task.model[0].parameters(), task.model[0].weight], "new": task.model[3:].parameters()}
    parameters = Parameters(task.model, groups, TrainingConfig(weight_decay=0.5))
    parameters.set_rate(0.5)
    found = [
        (g["lr"], g["weight_decay"], [tuple(p.shape) for p in g["params"]]) for g in parameters.optimizer.param_groups
    ]
    assert found == [
        (1.5e-5, 0.5, [(16, 6)]),
        (1.5e-5, 0.0, [(16,)]),
        (5e-4, 0.0, [(16,), (16,), (2,)]),
        (5e-4, 0.5, [(2, 16)]),
    ]
    assert parameters.state() == {}
    task.loss(torch.arange(8)).backward()
    parameters.optimizer.step()
    state = parameters.state()
    assert {name for name in state if name.startswith("4.weight/")} == {
        "4.weight/exp_avg", "4.weight/exp_avg_sq", "4.weight/step",
    }  # fmt: skip
    again = Parameters(task.model, groups | {"new": list(task.model[3:].parameters())}, TrainingConfig())
    again.set_state(state)
    assert same(again.state(), state)
    with says(FormatError, "checkpoint: expected an optimizer of the model's parameters, got one of 'x', which is not"):
        again.set_state({"x/step": torch.ones(1)})


def test_mixed_precision(tmp_path: Path) -> None:
    """The loss is computed under autocast only where it is asked for; weights stay float32."""

    class Watching(ToyTask):
        def loss(self, batch: Tensor) -> Tensor:
            seen.add(
                (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), self.model[0](self.inputs).dtype)
            )
            return super().loss(batch).float()

    for precision, expected in (("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        seen: set[Any] = set()
        task = Watching()
        run(task, tmp_path / precision, epochs=1, precision=precision)
        assert seen == {(expected == torch.bfloat16, torch.bfloat16, expected)}
        assert {value.dtype for value in weights(task).values()} == {torch.float32}


# ---------------------------------------------------------------------- schedule, average, stopping


def test_schedules() -> None:
    rates = {
        name: [TrainingConfig(schedule=name, warmup=0.2).rate(share) for share in (0.0, 0.1, 0.2, 0.6, 1.0)]
        for name in ("linear", "cosine", "constant")
    }
    assert rates["linear"] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert rates["cosine"] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert rates["constant"] == pytest.approx([0, 0.5, 1, 1, 1])
    assert TrainingConfig(schedule="cosine", warmup=0.0).rate(0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert TrainingConfig(warmup=0.0).rate(0.0) == 1.0


def test_the_schedule_in_a_run(tmp_path: Path) -> None:
    task = ToyTask()
    run(task, tmp_path, epochs=2, log_steps=6, warmup=0.5, learning_rate=0.4)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = [r["learning_rate"] for r in records if r["kind"] == "train"]
    assert rates == pytest.approx([0.2, 0.4, 0.2, 0.0])


def test_moving_average() -> None:
    """The shares of the weights at each step are those of the formula, and sum to one."""
    made = torch.Generator().manual_seed(5)
    values = torch.randn(7, 3, generator=made, dtype=torch.float64)
    weight = nn.Parameter(torch.full((3,), 1e6, dtype=torch.float64))  # the initial weights have no share
    average = MovingAverage(["w"], [weight], 0.9)
    with average.in_force():
        assert weight[0] == 1e6  # nothing averaged yet
    for step in range(7):
        with torch.no_grad():
            weight.copy_(values[step])
        average.update()
        shares = torch.tensor([0.1 * 0.9 ** (step - s) / (1 - 0.9 ** (step + 1)) for s in range(step + 1)]).double()
        assert shares.sum() == pytest.approx(1, rel=1e-6)
        assert torch.allclose(average.tensors["w"], shares @ values[: step + 1], rtol=1e-5)

    def failing() -> None:
        with average.in_force():
            assert torch.equal(weight, average.tensors["w"])
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert torch.equal(weight, values[6])


def test_the_average_is_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    class Watching(ToyTask):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[dict[str, Tensor]] = []

        def evaluate(self) -> Mapping[str, float]:
            self.seen.append(weights(self))
            return {"score": float(len(self.seen))}

    plain, averaged = Watching(), Watching()
    run(plain, tmp_path / "a", epochs=2)
    run(averaged, tmp_path / "b", epochs=2, average="ema", ema_decay=0.9)
    assert same(averaged.seen[1], weights(averaged))
    assert not same(plain.seen[0], averaged.seen[0])
    one = Watching()
    run(one, tmp_path / "c", epochs=2, average="ema", ema_decay=1e-9)  # hardly an average
    assert close(one.seen[1], plain.seen[1])


@pytest.mark.parametrize(
    ("scores", "patience", "evaluations", "best"),
    [
        ([1, 2, 3, 4, 5], 0, 5, 5),
        ([1, 3, 2, 2, 2], 0, 5, 2),
        ([1, 3, 2, 2, 9], 2, 4, 2),
        ([1, 3, 2, 4, 3, 3], 2, 5, 4),
        ([5, 5, 5, 5, 5], 3, 4, 1),  # equal is not better
        ([-2, -1, -3, -3, -3], 1, 3, 2),
    ],
)
def test_early_stopping(tmp_path: Path, scores: list[float], patience: int, evaluations: int, best: int) -> None:
    """The best weights are those of the best evaluation, the first of equal ones."""

    class Watching(ToyTask):
        def evaluate(self) -> Mapping[str, float]:
            seen.append(weights(self))
            return super().evaluate()

    seen: list[dict[str, Tensor]] = []
    task = Watching()
    task.scores = [float(score) for score in scores]
    result = run(task, tmp_path, epochs=5, patience=patience)
    assert task.evaluations == evaluations
    assert result.best_epoch == best
    assert result.best_score == scores[best - 1]
    assert result.steps == evaluations * 12
    assert same(weights(task), seen[best - 1])
    assert [line["improved"] for line in result.history] == [
        score > max(scores[:place], default=-math.inf) for place, score in enumerate(scores[:evaluations])
    ]


@pytest.mark.parametrize(
    ("every", "steps"),
    [(1.0, [12, 24, 36]), (0.5, [6, 12, 18, 24, 30, 36]), (2.0, [24, 36]), (100.0, [36]), (1 / 3, [*range(4, 37, 4)])],
)
def test_when_it_is_evaluated(tmp_path: Path, every: float, steps: list[int]) -> None:
    result = run(ToyTask(), tmp_path, epochs=3, evaluate_every=every)
    assert [line["step"] for line in result.history] == steps


def test_evaluating_often_does_not_change_the_training(tmp_path: Path) -> None:
    """Nor do checkpoints: with scores that only rise, the last weights are kept."""
    found = []
    for number, options in enumerate([{}, {"evaluate_every": 0.1}, {"checkpoint_steps": 1}, {"log_steps": 1}]):
        task = ToyTask()
        task.scores = [float(score) for score in range(100)]
        run(task, tmp_path / str(number), epochs=2, **options)
        found.append(weights(task))
    assert all(same(found[0], other) for other in found)


def test_checkpoints_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    real = parsers.training.loop.Loop._write_checkpoint

    def write(loop: parsers.training.loop.Loop) -> None:
        written.append(loop.state.step)
        real(loop)

    monkeypatch.setattr(parsers.training.loop.Loop, "_write_checkpoint", write)
    run(ToyTask(), tmp_path / "a", epochs=2, checkpoint_minutes=1e-9)
    assert written == [*range(1, 24), 24]
    written.clear()
    run(ToyTask(), tmp_path / "b", epochs=2, checkpoint_minutes=0.0)
    assert written == [12, 24]
    written.clear()
    run(ToyTask(), tmp_path / "c", epochs=2, checkpoint_steps=5)
    assert written == [5, 10, 12, 15, 20, 24]


# ---------------------------------------------------------------------- what goes wrong


def test_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    """Stops before the weights are touched; names epoch, step, rows; the last good checkpoint is kept and usable."""
    task = ToyTask()
    task.poisoned = 17
    order = torch.cat(list(task.epoch(1)))
    step = int((order == 17).nonzero()) // 8 + 1
    row = ", ".join(map(str, order.split(8)[step - 1].tolist()))
    with says(
        NonFiniteError,
        f"epoch 1, step {step}: expected a finite loss, got nan, on rows {row}. No checkpoint was written yet. Look at "
        "these sentences, or train anew with a lower learning_rate.",
    ):
        run(task, tmp_path / "a", epochs=2)
    assert all(value.isfinite().all() for value in weights(task).values())
    assert all(parameter.grad is None for parameter in task.model.parameters())

    class Later(ToyTask):
        def loss(self, batch: Tensor) -> Tensor:
            return super().loss(batch) * (math.inf if len(self.epochs_made) == 2 and 17 in batch.tolist() else 1.0)

    progress = Quiet()
    with says(
        NonFiniteError, "epoch 2, step ", "got inf, on rows ", "The last good checkpoint is kept: ", "step-000000"
    ):
        run(Later(), tmp_path / "b", progress, epochs=2, checkpoint_steps=5)
    assert progress.calls[-1] == ("close", None)
    assert issubclass(NonFiniteError, FloatingPointError)

    whole, resumed = ToyTask(), ToyTask()
    run(whole, tmp_path / "c", epochs=2)
    config = TrainingConfig(epochs=2, checkpoint_steps=5)
    train(resumed, config, tmp_path / "b", device="cpu", resume=True, progress=Quiet())
    assert same(weights(whole), weights(resumed))


@pytest.fixture
def _delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a step's numbers a step later, as on CUDA."""
    real = parsers.training.loop.Loop.__init__

    def begin(loop: parsers.training.loop.Loop, *arguments: Any) -> None:
        real(loop, *arguments)
        loop.delayed = True

    monkeypatch.setattr(parsers.training.loop.Loop, "__init__", begin)


@pytest.mark.usefixtures("_delayed")
def test_numbers_that_come_a_step_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights and lines; what is not a number is still found before a checkpoint, and the step named."""
    options: dict[str, Any] = {"epochs": 3, "log_steps": 5, "checkpoint_steps": 4}
    late, prompt = ToyTask(), ToyTask()
    run(late, tmp_path / "a", **options)
    for poisoned in range(0, 96, 7):
        task = ToyTask()
        task.poisoned = poisoned
        place = int((torch.cat(list(task.epoch(1))) == poisoned).nonzero()) // 8
        folder = tmp_path / str(poisoned)
        with says(NonFiniteError, f"epoch 1, step {place + 1}: expected a finite loss, got nan, on rows "):
            run(task, folder, **options)
        assert {path.name for path in folder.glob("checkpoints/*")} == {
            f"step-{step:08d}.safetensors" for step in (4, 8) if step < place + 1
        }
    monkeypatch.undo()
    run(prompt, tmp_path / "b", **options)
    assert same(weights(late), weights(prompt))
    assert timeless(tmp_path / "a" / "metrics.jsonl") == timeless(tmp_path / "b" / "metrics.jsonl")


def test_a_gradient_that_is_not_finite(tmp_path: Path) -> None:
    class Steep(ToyTask):
        def loss(self, batch: Tensor) -> Tensor:
            zero = self.model[0].weight.sum() * 0.0
            return super().loss(batch) + zero.abs().sqrt()  # 0, with an infinite slope times 0

    with says(NonFiniteError, "epoch 1, step 1: expected a finite gradient, got nan, on rows ", "; rows "):
        run(Steep(), tmp_path, epochs=1, accumulate=2)


@pytest.mark.parametrize("scores", [{"score": math.nan}, {"f1": 3.0}, {"score": 1.0, "f1": math.inf}])
def test_scores_that_are_no_scores(tmp_path: Path, scores: dict[str, float]) -> None:
    task = ToyTask()
    task.evaluate = lambda: scores  # type: ignore[method-assign]
    with says(ArgumentError, "evaluate: expected finite numbers, 'score' among them, got {", "}. Mend the task."):
        run(task, tmp_path, epochs=1)


def test_no_batches(tmp_path: Path) -> None:
    task = ToyTask()
    task.epoch = lambda number: []  # type: ignore[method-assign]
    with says(ArgumentError, "epoch: expected at least one batch, got none. Pass some sentences."):
        run(task, tmp_path, epochs=1)


def test_a_description_that_is_no_json(tmp_path: Path) -> None:
    task = ToyTask()
    task.described = {"a": math.nan}
    with says(FormatError, "value: expected what JSON can hold, got: Out of range float values"):
        run(task, tmp_path, epochs=1)


def test_options_for_cuda_only(tmp_path: Path) -> None:
    with says(ArgumentError, "compile: expected a CUDA device for True, got 'cpu'. Pass compile=False."):
        run(ToyTask(), tmp_path, compile=True)
    with says(ArgumentError, "device: expected one of 'auto', 'cpu', 'cuda', 'cuda:1', got 'tpu'."):
        train(ToyTask(), TrainingConfig(), tmp_path, device="tpu")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("epochs", [0, -1, 1.5, "3", True, None], "a whole number, at least 1"),
        ("accumulate", [0, 2.0], "a whole number, at least 1"),
        ("log_steps", [0], "a whole number, at least 1"),
        ("patience", [-1, 0.5], "a whole number, at least 0"),
        ("checkpoint_steps", [-1], "a whole number, at least 0"),
        ("seed", [-1, 1.0], "a whole number, at least 0"),
        ("seed", [2**63], "a whole number below 2**63"),
        ("learning_rate", [0, -1.0, math.inf, math.nan, "1"], "a finite number above 0"),
        ("encoder_learning_rate", [0], "a finite number above 0"),
        ("evaluate_every", [0.0], "a finite number above 0"),
        ("weight_decay", [-0.1], "a finite number, at least 0"),
        ("clip", [-1, math.nan], "a finite number, at least 0"),
        ("checkpoint_minutes", [-1], "a finite number, at least 0"),
        ("warmup", [-0.1, 1.0, 2], "a number from 0 to below 1"),
        ("ema_decay", [0.0, 1.0], "a number above 0 and below 1"),
        ("betas", [(0.9,), (0.9, 1.0), 0.9, (0.9, "x")], "two numbers from 0 to below 1"),
        ("compile", [1, "yes"], "True or False"),
    ],
)
def test_options_out_of_range(name: str, values: list[Any], expected: str) -> None:
    default = getattr(TrainingConfig(), name)
    for value in values:
        with says(ArgumentError, f"{name}: expected {expected}, got {value!r}. Leave it out for {default}."):
            TrainingConfig(**{name: value})


def test_options() -> None:
    for name, known in (("optimizer", "sgd"), ("schedule", "linear"), ("precision", "bfloat16"), ("average", "ema")):
        with says(
            ArgumentError, f"{name}: expected one of ", f"'{known}'", f"got {known[:-1]!r}. Did you mean {known!r}?"
        ):
            TrainingConfig(**{name: known[:-1]})
    config = TrainingConfig(epochs=3, betas=[0.5, 0.6], clip=1)  # type: ignore[arg-type]
    assert config == TrainingConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert (config.betas, config.clip) == ((0.5, 0.6), 1.0)
    assert isinstance(config.clip, float)
    with says(ArgumentError, "config: expected one of 'epochs', ", "got 'learning_rat'. Did you mean 'learning_rate'?"):
        TrainingConfig.from_json({"learning_rat": 1.0})


# ---------------------------------------------------------------------- what it tells


def test_progress_is_told(tmp_path: Path) -> None:
    progress = Quiet()
    run(ToyTask(), tmp_path, progress, epochs=2)
    kinds = [name for name, _ in progress.calls]
    assert kinds == ["start", *["step"] * 12, "epoch", *["step"] * 12, "epoch", "close"]
    assert progress.calls[0][1] == (24, 0)
    steps = [what for name, what in progress.calls if name == "step"]
    assert [s.step for s in steps] == [*range(1, 25)]
    assert [s.share for s in steps] == pytest.approx([step / 24 for step in range(1, 25)])
    assert all(s.items_per_second > 0 and math.isfinite(s.loss) for s in steps)
    assert all(s.seconds_left == pytest.approx(s.seconds / s.share * (1 - s.share), rel=1e-6) for s in steps)
    assert steps[-1].seconds_left == 0
    evaluations = [what for name, what in progress.calls if name == "epoch"]
    assert [(e.epoch, e.step) for e in evaluations] == [(1, 12), (2, 24)]
    assert evaluations[0].improved
    assert evaluations[1].best_score == max(e.scores["score"] for e in evaluations)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def reports(progress: TerminalProgress) -> None:
    progress.start(100, 10)
    progress.step(StepReport(2, 11, 0.11, 1.23456, 1e-3, 12345.6, 60.0, 125.0))
    progress.epoch(EvaluationReport(2, 12, 1.5, {"score": 61.25, "f1": 3.0}, True, 61.25, 75.0))
    progress.epoch(EvaluationReport(3, 13, 1.25, {"score": 60.0}, False, 61.25, 80.0))
    progress.note("a note.")
    progress.close()


def test_on_a_terminal() -> None:
    stream = Terminal()
    reports(TerminalProgress(stream))
    text = stream.getvalue()
    assert re.search(r"loss 1\.2346, 12,346 items/s, 2 min 05 s left, [0-9,]+ MB", text)
    assert "epoch 2, step 12: loss 1.5000, f1 3, score 61.25 (best), 1 min 15 s\n" in text
    assert "epoch 3, step 13: loss 1.2500, score 60, 1 min 20 s\n" in text
    assert "treeavg: a note.\n" in text


def test_elsewhere_only_notes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stream = io.StringIO()
    reports(TerminalProgress(stream))
    assert stream.getvalue() == "treeavg: a note.\n"
    train(ToyTask(), TrainingConfig(epochs=1), tmp_path, device="cpu")
    assert capsys.readouterr() == ("", "")
    assert [duration(s) for s in (0, 59.4, 59.6, 3599, 3600, 90000)] == [
        "0 s", "59 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "25 h 00 min",
    ]  # fmt: skip


def test_progress_is_closed_after_any_error(tmp_path: Path) -> None:
    progress = Quiet()
    task = ToyTask()
    task.epoch = lambda number: []  # type: ignore[method-assign]
    with pytest.raises(ArgumentError):
        run(task, tmp_path, progress, epochs=1)
    assert progress.calls == [("close", None)]


# ---------------------------------------------------------------------- the picture


def records() -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    for step in range(1, 41):
        result.append({"kind": "train", "done": step / 10, "loss": 3 / (1 + step / 9) + 0.1 * math.sin(step)})
        if step % 10 == 0:
            score = 60 - (step - 30) ** 2 / 40
            result.append(
                {"kind": "evaluation", "done": step / 10, "loss": 3 / (1 + step / 9), "scores": {"score": score}}
            )
    return result


def test_the_picture(tmp_path: Path) -> None:
    """Drawn at the end, without pyplot; equal runs give equal pictures."""
    pytest.importorskip("matplotlib")
    before = {name for name in sys.modules if "pyplot" in name}
    for name in ("a.png", "b.png"):
        assert draw_metrics(records(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert {name for name in sys.modules if "pyplot" in name} == before
    assert draw_metrics([record for record in records() if record["kind"] == "train"], tmp_path / "c.png")
    assert draw_metrics([record for record in records() if record["kind"] != "train"], tmp_path / "d.png")
    assert not draw_metrics([], tmp_path / "e.png")


def test_the_picture_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end, and now and then before; without matplotlib, silently none."""
    drawn: list[int] = []
    monkeypatch.setattr(parsers.training.reports, "draw_metrics", lambda records, path: drawn.append(len(records)))
    run(ToyTask(), tmp_path / "a", epochs=3)
    assert drawn == [4]  # a line of training, three evaluations
    drawn.clear()
    monkeypatch.setattr(parsers.training.reports, "SECONDS_BETWEEN_PLOTS", -1.0)
    run(ToyTask(), tmp_path / "b", epochs=3)
    assert drawn == [1, 3, 4, 4]
    monkeypatch.setattr(parsers.training.reports, "draw_metrics", draw_metrics)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run(ToyTask(), tmp_path / "c", epochs=1)
    assert not (tmp_path / "c" / "metrics.png").exists()


def test_a_picture_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told, and the run goes on."""

    def fail(records: Any, path: Path) -> bool:
        raise FileError(f"{path}: expected a file to write, got: {os.strerror(errno.ENOSPC)}. Free space.")

    monkeypatch.setattr(parsers.training.reports, "draw_metrics", fail)
    progress = Quiet()
    result = run(ToyTask(), tmp_path, progress, epochs=1)
    assert result.steps == 12
    assert progress.notes == [
        f"{tmp_path}/metrics.png: expected a file to write, got: No space left on device. Free space."
    ]
