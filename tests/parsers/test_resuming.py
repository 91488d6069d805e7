"""A run that is interrupted at any moment ends as one that was not."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from messages import says
from toy_task import Quiet, ToyTask, digest, run_script, same, timeless, weights

import parsers.training.reports
from parsers.json_files import write_json
from parsers.storage import DamagedFileError
from parsers.training import TrainingConfig, TrainingResult, train
from treeavg.errors import ArgumentError, FileError, FormatError

Train = Callable[..., TrainingResult]


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers.training.reports, "draw_metrics", lambda records, path: False)


class Stop(Exception):
    """Stands for a crash."""


class Crashing(ToyTask):
    """Crashes at the n-th loss or evaluation."""

    def __init__(self, moment: int, **options: Any) -> None:
        super().__init__(**options)
        self.moment = moment

    def count(self) -> None:
        self.moment -= 1
        if not self.moment:
            raise Stop

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        self.count()
        return super().loss(batch)

    def evaluate(self) -> Any:
        self.count()
        return super().evaluate()


CONFIG = TrainingConfig(
    epochs=3, log_steps=2, checkpoint_steps=2, accumulate=2, average="ema", ema_decay=0.8, evaluate_every=0.5, seed=4
)


def whole_run(folder: Path, config: TrainingConfig = CONFIG, **options: Any) -> tuple[ToyTask, TrainingResult]:
    task = ToyTask(**options)
    return task, train(task, config, folder, device="cpu", progress=Quiet())


def test_a_crash_at_every_moment(tmp_path: Path) -> None:
    """In each loss and evaluation of three epochs in turn, then resumed: the same weights and the same metrics."""
    config = TrainingConfig(**{**CONFIG.to_json(), "evaluate_every": 1.0})
    task, result = whole_run(tmp_path / "whole", config, rows=40)
    moments = 0
    while True:
        moments += 1
        folder = tmp_path / str(moments)
        try:
            train(Crashing(moments, rows=40), config, folder, device="cpu", progress=Quiet())
        except Stop:
            pass
        else:
            break
        begun = (folder / "checkpoints").exists()
        again = ToyTask(rows=40, seed=77 if begun else 0)  # with a checkpoint, initial weights must not matter
        again.seed = 0
        progress = Quiet()
        resumed = train(again, config, folder, device="cpu", resume=True, progress=progress)
        assert progress.notes == ([] if begun else [f"{folder}: no checkpoint is there; beginning anew."])
        assert same(weights(task), weights(again)), moments
        assert timeless(folder / "metrics.jsonl") == timeless(tmp_path / "whole" / "metrics.jsonl")
        for name in ("best_score", "best_epoch", "steps"):
            assert getattr(resumed, name) == getattr(result, name)
        assert [line["scores"] for line in resumed.history] == [line["scores"] for line in result.history]
    assert moments == 1 + 3 * 5 + 3


def test_crashes_one_after_another(tmp_path: Path) -> None:
    """Every resumed run crashes again, a few batches on."""
    task, _ = whole_run(tmp_path / "whole")
    attempts, done = 0, False
    while not done:
        again = Crashing(6)
        try:
            train(again, CONFIG, tmp_path / "run", device="cpu", resume=True, progress=Quiet())
            done = True
        except Stop:
            attempts += 1
    assert attempts > 5
    assert same(weights(task), weights(again))
    assert timeless(tmp_path / "run" / "metrics.jsonl") == timeless(tmp_path / "whole" / "metrics.jsonl")
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())["sessions"]) == attempts + 1


def kill(tmp_path: Path, *, kills: int, longest: float, slow_sync: float = 0.0, **config: Any) -> dict[str, Any]:
    options = {"epochs": 4, "checkpoint_steps": 1, "log_steps": 3, "average": "ema", **config}
    task, result = whole_run(tmp_path / "whole", TrainingConfig(**{**options, "checkpoint_steps": 0}))
    folder = tmp_path / "run"
    found: dict[str, Any] = run_script(
        {
            "folder": os.fspath(folder),
            "config": options,
            "pause": 0.003,
            "slow_sync": slow_sync,
            "kills": kills,
            "longest": longest,
        }
    )
    assert found["weights"] == digest(task)
    assert found["best"] == result.best_score
    assert timeless(folder / "metrics.jsonl") == timeless(tmp_path / "whole" / "metrics.jsonl")
    assert sorted(os.listdir(folder)) == ["checkpoints", "metrics.jsonl", "run.json"]
    assert all(name.startswith("step-") for name in os.listdir(folder / "checkpoints"))
    return found


def test_killed_again_and_again(tmp_path: Path) -> None:
    """SIGKILL after random times until the run gets through: bit for bit the weights of one that was left alone.

    The disk is slow, so most kills find a half-written file; it is never taken for a checkpoint.
    """
    found = kill(tmp_path, kills=1, longest=0.4, slow_sync=0.02, epochs=3)
    assert found["kills"] >= 3
    assert found["moved"] >= 2
    assert found["half_written"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_killed_hundreds_of_times(tmp_path: Path, seed: int) -> None:
    found = kill(tmp_path, kills=seed, longest=0.12, slow_sync=0.002 * (seed % 3), epochs=6, evaluate_every=0.3)
    assert found["kills"] >= 8


def test_a_finished_run(tmp_path: Path) -> None:
    """Returns at once what it returned, with the best weights."""
    task, result = whole_run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "run.json"}
    again = ToyTask(seed=5)
    again.seed = 0
    assert train(again, CONFIG, tmp_path, device="cpu", resume=True, progress=Quiet()) == result
    assert same(weights(task), weights(again))
    assert again.epochs_made == []
    assert again.evaluations == 0
    assert not again.model.training
    assert {path: path.read_bytes() for path in before} == before


def test_nothing_to_resume(tmp_path: Path) -> None:
    """No folder, or a run that was killed before its first checkpoint: it begins, and says so."""
    task, _ = whole_run(tmp_path / "whole")
    progress = Quiet()
    again = ToyTask()
    train(again, CONFIG, tmp_path / "new", device="cpu", resume=True, progress=progress)
    assert progress.notes == [f"{tmp_path}/new: no run to resume is there; beginning one."]
    assert same(weights(task), weights(again))

    config = TrainingConfig(**{**CONFIG.to_json(), "log_steps": 1, "checkpoint_steps": 0, "evaluate_every": 1.0})
    task, _ = whole_run(tmp_path / "whole2", config)
    with pytest.raises(Stop):
        train(Crashing(4), config, tmp_path / "early", device="cpu", progress=Quiet())
    assert timeless(tmp_path / "early" / "metrics.jsonl")
    progress, again = Quiet(), ToyTask()
    train(again, config, tmp_path / "early", device="cpu", resume=True, progress=progress)
    assert progress.notes == [f"{tmp_path}/early: no checkpoint is there; beginning anew."]
    assert same(weights(task), weights(again))
    assert timeless(tmp_path / "early" / "metrics.jsonl") == timeless(tmp_path / "whole2" / "metrics.jsonl")


def test_a_folder_that_holds_a_run(tmp_path: Path) -> None:
    whole_run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with says(
        ArgumentError,
        f"{tmp_path}: expected a folder without a run, got one with a run. Pass resume=True to continue it, or choose "
        "another folder.",
    ):
        whole_run(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["metrics.jsonl", "metrics.png", "checkpoints"])
def test_a_folder_with_other_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    for resume in (False, True):
        with says(ArgumentError, f"expected a folder without {name}, as it holds no run.json, got one with it. Choose"):
            train(ToyTask(), CONFIG, tmp_path, device="cpu", resume=resume, progress=Quiet())
    assert (tmp_path / name).read_text() == "mine"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    whole_run(tmp_path / "b")
    assert (tmp_path / "b" / "notes.txt").read_text() == "mine"


def crashed(folder: Path, moment: int = 20, config: TrainingConfig = CONFIG) -> None:
    with pytest.raises(Stop):
        train(Crashing(moment), config, folder, device="cpu", progress=Quiet())


def test_changed_options(tmp_path: Path) -> None:
    """Each is named with both values; nothing is written."""
    crashed(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    config = TrainingConfig(**{**CONFIG.to_json(), "epochs": 5, "learning_rate": 0.5, "betas": (0.5, 0.9)})
    task = ToyTask()
    task.described = {"rows": 96, "batch": 16, "loss": {"kind": "kl", "temperature": 1.0}}
    with says(
        ArgumentError,
        f"{tmp_path}: expected the options of the run that is resumed, got others (betas: [0.9, 0.999] before, [0.5, "
        "0.9] now; epochs: 3 before, 5 now; learning_rate: 0.001 before, 0.5 now; task.batch: 8 before, 16 now; "
        "task.loss.kind: absent before, 'kl' now; task.loss.temperature: absent before, 1.0 now). Pass the earlier "
        "ones, or train anew in another folder.",
    ):
        train(task, config, tmp_path, device="cpu", resume=True, progress=Quiet())
    assert (tmp_path / "run.json").read_bytes() == before


def test_options_that_may_change(tmp_path: Path) -> None:
    """When checkpoints are written does not change the result."""
    task, _ = whole_run(tmp_path / "whole")
    crashed(tmp_path / "run")
    config = TrainingConfig(**{**CONFIG.to_json(), "checkpoint_steps": 5, "checkpoint_minutes": 0.0})
    again = ToyTask()
    train(again, config, tmp_path / "run", device="cpu", resume=True, progress=Quiet())
    assert same(weights(task), weights(again))


def test_another_machine_is_noted(tmp_path: Path) -> None:
    crashed(tmp_path)
    document = json.loads((tmp_path / "run.json").read_text())
    document["sessions"][0].update(threads=64, device="NVIDIA X", torch="1.0")
    write_json(tmp_path / "run.json", document)
    progress = Quiet()
    train(ToyTask(), CONFIG, tmp_path, device="cpu", resume=True, progress=progress)
    assert progress.notes == [
        f"{tmp_path}: the result may differ in the last digits (device: NVIDIA X before, cpu now; threads: 64 before, "
        f"1 now; torch: 1.0 before, {torch.__version__} now)."
    ]


def resume(folder: Path) -> ToyTask:
    task = ToyTask()
    train(task, CONFIG, folder, device="cpu", resume=True, progress=Quiet())
    return task


def test_a_run_from_another_version(tmp_path: Path) -> None:
    crashed(tmp_path)
    document = json.loads((tmp_path / "run.json").read_text())
    write_json(tmp_path / "run.json", {**document, "format": 2, "version": "9.9"})
    with says(
        FormatError,
        f"{tmp_path}/run.json: expected a run of format 1, got 2, written by treeavg 9.9. Resume it with that version, "
        "or train anew in another folder.",
    ):
        resume(tmp_path)
    write_json(tmp_path / "run.json", {key: document[key] for key in ("treeavg", "format", "config", "task")})
    with says(FormatError, "run.json: expected config, task and sessions, got a file without. Restore it from a copy"):
        resume(tmp_path)
    write_json(tmp_path / "run.json", {"treeavg": "parser"})
    with says(ArgumentError, "run.json: expected none, or a run's, got another file. Choose another folder."):
        resume(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with says(FormatError, "run.json: expected a JSON object, got: ", "Restore the file from a copy."):
        resume(tmp_path)


def test_checkpoints_of_another_run(tmp_path: Path) -> None:
    crashed(tmp_path / "a")
    crashed(tmp_path / "b", config=TrainingConfig(epochs=2, checkpoint_steps=2))
    for path in (tmp_path / "a" / "checkpoints").iterdir():
        path.unlink()
    for path in (tmp_path / "b" / "checkpoints").iterdir():
        path.rename(tmp_path / "a" / "checkpoints" / path.name)
    with says(
        FormatError, f"a/checkpoints: expected checkpoints of the run in {tmp_path}/a, got those of another. Tra"
    ):
        resume(tmp_path / "a")


def test_a_flipped_byte_in_a_checkpoint(tmp_path: Path) -> None:
    """The one before is used, with a note, to the same end; with both damaged, an error."""
    task, _ = whole_run(tmp_path / "whole")
    crashed(tmp_path / "run")
    paths = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert len(paths) == 2
    whole = bytearray(paths[1].read_bytes())
    whole[-5] ^= 4
    paths[1].write_bytes(whole)
    progress, again = Quiet(), ToyTask()
    train(again, CONFIG, tmp_path / "run", device="cpu", resume=True, progress=progress)
    assert progress.notes == [
        f"{paths[1]}: expected the bytes that were written, got others (SHA-256). Using the checkpoint before it, "
        f"{paths[0].name}."
    ]
    assert same(weights(task), weights(again))
    assert timeless(tmp_path / "run" / "metrics.jsonl") == timeless(tmp_path / "whole" / "metrics.jsonl")

    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with says(DamagedFileError, "No other checkpoint is left: train anew in another folder."):
        resume(tmp_path / "run")


@pytest.mark.parametrize("change", ["cut", "gone"])
def test_metrics_that_have_lost_lines(tmp_path: Path, change: str) -> None:
    """The evaluations are written anew from the checkpoint; the weights do not depend on it."""
    task, _ = whole_run(tmp_path / "whole")
    crashed(tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    if change == "cut":
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.unlink()
    progress, again = Quiet(), ToyTask()
    train(again, CONFIG, tmp_path / "run", device="cpu", resume=True, progress=progress)
    assert progress.notes == [f"{path}: lines are missing; writing the evaluations anew."]
    assert same(weights(task), weights(again))
    evaluations = [line for line in timeless(tmp_path / "whole" / "metrics.jsonl") if line["kind"] == "evaluation"]
    assert [line for line in timeless(path) if line["kind"] == "evaluation"] == evaluations


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        (b'"st\xffp"', "metrics.jsonl:1: expected a JSON object of the training's, got "),
        (b'"stxp"', "metrics.jsonl: expected the training's own lines, got others (KeyError("),
    ],
)
def test_a_damaged_line_of_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bytes, says: str) -> None:
    """The picture is not drawn, which is said; the run goes on to the same weights."""
    monkeypatch.setattr(parsers.training.reports, "draw_metrics", lambda records, _: [line["step"] for line in records])
    task, _ = whole_run(tmp_path / "whole")
    crashed(tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"step"', damaged, 1))
    progress, again = Quiet(), ToyTask()
    train(again, CONFIG, tmp_path / "run", device="cpu", resume=True, progress=progress)
    assert same(weights(task), weights(again))
    assert says in " ".join(progress.notes)


def test_a_full_disk_stops_the_run_and_room_continues_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = whole_run(tmp_path / "whole")
    folder, real, room = tmp_path / "run", os.fsync, [12]

    def fsync(handle: int) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with says(
            FileError,
            f"{folder}/checkpoints/step-",
            ".safetensors: expected a place for a checkpoint of 0.0 MB, got: No space left on device. Make room there, "
            "then pass resume=True: the run continues from step-",
        ):
            train(ToyTask(), CONFIG, folder, device="cpu", progress=Quiet())
    assert not list(folder.rglob(".*.tmp"))
    assert (folder / "checkpoints").is_dir()
    assert same(weights(task), weights(resume(folder)))
    assert timeless(folder / "metrics.jsonl") == timeless(tmp_path / "whole" / "metrics.jsonl")


def test_a_full_disk_at_a_line_of_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode == "ab":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    with says(
        FileError,
        f"{tmp_path}/metrics.jsonl: expected a file to add lines to, got: No space left on device. Make room there, "
        "then pass resume=True.",
    ):
        whole_run(tmp_path)


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    """The second is refused while the first runs, also with resume."""

    class Nested(ToyTask):
        def evaluate(self) -> Any:
            with says(
                FileError,
                f"{tmp_path}: expected a folder in which nobody trains, got one in which another process does. ",
            ):
                resume(tmp_path)
            return super().evaluate()

    task = Nested()
    train(task, TrainingConfig(epochs=1), tmp_path, device="cpu", progress=Quiet())
    assert task.evaluations == 1
    (tmp_path / "file").write_text("")
    with says(FileError, f"{tmp_path}/file: expected a folder to write into, got: File exists. Choose another path."):
        whole_run(tmp_path / "file")
