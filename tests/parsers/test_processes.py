"""Several processes on the CPU (gloo): the same weights as one process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from messages import says
from toy_task import Quiet, ToyTask, digest, run_script, timeless

import parsers.training.processes
import parsers.training.reports
from parsers.training import TrainingConfig, is_first_process, train
from treeavg.errors import ArgumentError

CONFIG = {"epochs": 2, "accumulate": 2, "average": "ema", "log_steps": 2, "checkpoint_steps": 3}


@pytest.fixture(autouse=True)
def _one_thread_no_plots(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(parsers.training.reports, "draw_metrics", lambda records, path: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def two_processes(options: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_script({**options, "together": True})
    return found


def test_two_processes(tmp_path: Path) -> None:
    """With dropout and an odd number of batches: bit for bit the weights of one process, and one writes."""
    pytest.importorskip("accelerate")
    task = ToyTask(rows=51)
    result = train(task, TrainingConfig(**CONFIG), tmp_path / "one", device="cpu", progress=Quiet())
    options = {"folder": os.fspath(tmp_path / "two"), "config": CONFIG, "task": {"rows": 51}, "resume": False}
    found = two_processes(options)
    assert [one["first"] for one in found] == [True, False]
    for one in found:
        assert one["weights"] == digest(task)
        assert one["best"] == result.best_score
    assert timeless(tmp_path / "two" / "metrics.jsonl") == timeless(tmp_path / "one" / "metrics.jsonl")
    assert len(os.listdir(tmp_path / "two" / "checkpoints")) == 2


class Crashing(ToyTask):
    """Crashes after the second evaluation."""

    def evaluate(self) -> Mapping[str, float]:
        scores = super().evaluate()
        if self.evaluations == 2:
            raise IndexError
        return scores


@pytest.mark.slow
def test_a_run_may_change_its_number_of_processes(tmp_path: Path) -> None:
    """Crashed with one process, resumed with two, which read the checkpoint together."""
    pytest.importorskip("accelerate")
    whole = ToyTask()
    train(whole, TrainingConfig(**CONFIG), tmp_path / "whole", device="cpu", progress=Quiet())
    with pytest.raises(IndexError):
        train(Crashing(), TrainingConfig(**CONFIG), tmp_path / "run", device="cpu", progress=Quiet())
    found = two_processes({"folder": os.fspath(tmp_path / "run"), "config": CONFIG, "task": {"seed": 0}})
    assert found[0]["weights"] == found[1]["weights"] == digest(whole)
    assert timeless(tmp_path / "run" / "metrics.jsonl") == timeless(tmp_path / "whole" / "metrics.jsonl")


def test_batches_that_cannot_be_shared_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(parsers.training.processes.Processes):
        def __init__(self, device: Any) -> None:
            super().__init__("cpu")
            self.count = 2

    monkeypatch.setattr("parsers.training.entry.Processes", Two)
    with says(
        ArgumentError,
        "accumulate: expected a multiple of the number of processes, 2, which share a step's batches, got 3. Pass "
        "accumulate=2.",
    ):
        train(ToyTask(), TrainingConfig(accumulate=3), tmp_path / "a", progress=Quiet())
    assert not (tmp_path / "a").exists()


def test_several_processes_need_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(__import__("sys").modules, "accelerate", None)
    with says(
        ArgumentError, "accelerate: expected the package, as there are several processes, got none. Install treeavg"
    ):
        parsers.training.processes.Processes("cpu")


def test_who_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_first_process()
    monkeypatch.setenv("RANK", "1")
    assert is_first_process()  # nobody else is there: a cluster's variable
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_first_process()
