"""A toy task for the training loop: a net with two layers and dropout tells sums of numbers apart.

Run as a script it trains in a process of its own, so that tests can kill it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import parsers.training.reports
from parsers.training import EvaluationReport, StepReport, TrainingConfig, is_first_process, seed_for, train

SIZE = 6


class ToyTask:
    """Batches are index tensors; the loss is summed over rows."""

    def __init__(self, *, rows: int = 96, batch: int = 8, dropout: float = 0.2, seed: int = 0) -> None:
        made = torch.Generator().manual_seed(99)
        self.inputs = torch.randn(rows, SIZE, generator=made)
        self.targets = (self.inputs.sum(1) + 0.3 * torch.randn(rows, generator=made) > 0).long()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = nn.Sequential(
                nn.Linear(SIZE, 16), nn.Tanh(), nn.Dropout(dropout), nn.LayerNorm(16), nn.Linear(16, 2)
            )
        self.batch, self.seed, self.rows = batch, seed, rows
        self.described: dict[str, Any] = {"rows": rows, "batch": batch}
        self.poisoned: int | None = None
        self.scores: list[float] | None = None
        self.evaluations = 0
        self.pause = 0.0
        self.epochs_made: list[int] = []

    def epoch(self, number: int) -> Sequence[Tensor]:
        self.epochs_made.append(number)
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(seed_for(self.seed, number)))
        return order.split(self.batch)

    def items(self, batch: Tensor) -> int:
        return len(batch)

    def loss(self, batch: Tensor) -> Tensor:
        if self.pause:
            time.sleep(self.pause)
        device = self.model[0].weight.device
        scores = self.model(self.inputs[batch].to(device))
        loss = nn.functional.cross_entropy(scores, self.targets[batch].to(device), reduction="sum")
        if self.poisoned is not None and self.poisoned in batch.tolist():
            return loss * float("nan")
        return loss

    def names(self, batch: Tensor) -> str:
        return "rows " + ", ".join(map(str, batch.tolist()))

    def evaluate(self) -> Mapping[str, float]:
        self.evaluations += 1
        if self.scores is not None:
            return {"score": self.scores[self.evaluations - 1]}
        device = self.model[0].weight.device
        found = self.model(self.inputs.to(device)).argmax(1).cpu()
        return {"score": 100.0 * (found == self.targets).double().mean().item(), "draw": torch.rand(1).item()}

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        return {"pretrained": list(self.model[0].parameters()), "new": list(self.model[3:].parameters())}

    def describe(self) -> Mapping[str, Any]:
        return self.described


class Quiet:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    @property
    def notes(self) -> list[str]:
        return [what for name, what in self.calls if name == "note"]

    def start(self, total: int, done: int) -> None:
        self.calls.append(("start", (total, done)))

    def step(self, report: StepReport) -> None:
        self.calls.append(("step", report))

    def epoch(self, report: EvaluationReport) -> None:
        self.calls.append(("epoch", report))

    def note(self, text: str) -> None:
        self.calls.append(("note", text))

    def close(self) -> None:
        self.calls.append(("close", None))


def weights(task: ToyTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.model.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def timeless(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file without what a clock measured."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "items_per_second")} for line in lines]


def digest(task: ToyTask) -> str:
    """The final weights' bytes."""
    return "".join(value.numpy().tobytes().hex() for value in task.model.state_dict().values())


def trained(options: dict[str, Any]) -> dict[str, Any]:
    """Train as options say, alone or as one of several processes."""
    task = ToyTask(**options.get("task", {}))
    task.pause = options.get("pause", 0.0)
    config = TrainingConfig(**options["config"])
    result = train(task, config, options["folder"], device="cpu", resume=options.get("resume", True), progress=Quiet())
    return {"weights": digest(task), "best": result.best_score, "first": is_first_process()}


def killed(options: dict[str, Any]) -> dict[str, Any]:
    """Train in children that are killed after a random time, until one ends by itself."""
    delays = random.Random(options["kills"])
    checkpoints, output = Path(options["folder"]) / "checkpoints", Path(options["folder"] + ".json")
    kills = half_written = moved = 0
    longest = options["longest"]
    with tempfile.TemporaryDirectory() as folder:
        trained({"folder": folder, "config": {"epochs": 1}})  # imports what the children need
    while not output.exists():
        before = sorted(checkpoints.glob("step-*"))
        if not (child := os.fork()):
            result = trained(options)
            output.write_text(json.dumps(result))
            os._exit(0)
        time.sleep(delays.uniform(0.02, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += not output.exists()
        half_written += any(checkpoints.glob(".step-*.tmp"))
        gained = before != sorted(checkpoints.glob("step-*"))
        moved += gained
        longest = options["longest"] if gained else 1.5 * longest  # the machine may be busy
    return {**json.loads(output.read_text()), "kills": kills, "half_written": half_written, "moved": moved}


def together(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Train in two processes, with the environment that torchrun and accelerate launch give them."""
    import accelerate  # noqa: F401  # once for both

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    outputs = [Path(f"{options['folder']}.{rank}.json") for rank in range(2)]
    children = []
    for rank, output in enumerate(outputs):
        if not (child := os.fork()):
            os.environ.update(
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank)
            )
            output.write_text(json.dumps(trained(options)))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    return [json.loads(output.read_text()) for output in outputs]


def main(arguments: Sequence[str]) -> None:
    """Train as the JSON in the first argument says; print what came of it."""
    options = json.loads(arguments[0])
    torch.set_num_threads(1)
    parsers.training.reports.draw_metrics = lambda records, path: False  # type: ignore[assignment]  # importing matplotlib takes 1 s
    if pause := options.get("slow_sync"):
        vars(os).pop("O_TMPFILE", None)  # as where half-written files have names, so that they are seen
        sync = os.fsync

        def slow(handle: int) -> None:
            if os.readlink(f"/proc/self/fd/{handle}").endswith(".tmp"):  # a file before it has its name
                time.sleep(pause)
            sync(handle)

        os.fsync = slow
    work = killed if "kills" in options else together if options.get("together") else trained
    print(json.dumps(work(options)))


def run_script(options: dict[str, Any]) -> Any:
    """Run this file as a script, which may be killed or fork; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(sys.argv[1:])
