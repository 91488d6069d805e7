"""Progress: a bar with rate, time left and memory on a terminal; lines of JSON for machines; else nothing."""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import TREE

from treeavg.cli import main, running
from treeavg.memory import resident_memory


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock for us and for tqdm; memory is 300 MB."""
    clock = Clock()
    monkeypatch.setattr(running, "resident_memory", lambda: 300 * 2**20)
    return clock


def test_a_bar_on_a_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows sentences done of about how many, time left, rate and memory."""
    import tqdm.std

    monkeypatch.setattr(tqdm.std, "time", clock)
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with running.Progress("averaging", clock=clock) as progress:
        clock.now += 10
        progress.advance(2000, 0.25)
        clock.now += 10
        progress.advance(2000, 0.5)
    shown = [text for text in re.split(r"[\r\n]", terminal.getvalue()) if "4000/8000" in text]
    assert shown, terminal.getvalue()
    assert shown[-1].startswith("averaging:  50%|")
    assert "4000/8000 [00:20<00:20, 200.00 sentences/s, 300 MB]" in shown[-1]


def test_quiet_elsewhere(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    """Not on a terminal, nothing is printed."""
    with running.Progress("averaging", clock=clock) as progress:
        clock.now += 100
        progress.advance(10, 0.5)
    assert capfd.readouterr() == ("", "")


def test_log(clock: Clock, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A line every five seconds at most, and one at the end; the same into a file, behind what is there."""
    path = tmp_path / "log.jsonl"
    path.write_text("before\n")
    for place in ("-", str(path)):
        arguments = argparse.Namespace(log_json=place, verb="average")
        with running.Progress("averaging", arguments, clock=clock) as progress:
            for seconds, fraction in ((1, None), (4, 0.25), (1, 0.5), (6, 0.75)):
                clock.now += seconds
                progress.advance(100, fraction)
            clock.now += 3
    error = capfd.readouterr().err
    assert path.read_text() == "before\n" + "\n".join(path.read_text().split("\n")[1:])
    for text in (error, path.read_text().removeprefix("before\n")):
        lines = [json.loads(line) for line in text.splitlines()]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time")) for line in lines)
        shared = {"verb": "average", "stage": "averaging", "rss_bytes": 300 * 2**20}
        assert lines == [
            shared | {"state": "running", "done": 200, "total": 800, "fraction": 0.25, "seconds": 5.0,
                      "per_second": 40.0, "seconds_left": 15.0},
            shared | {"state": "running", "done": 400, "total": 533, "fraction": 0.75, "seconds": 12.0,
                      "per_second": 33.3, "seconds_left": 4.0},
            shared | {"state": "done", "done": 400, "total": 533, "fraction": 0.75, "seconds": 15.0,
                      "per_second": 26.7, "seconds_left": 0.0},
        ]  # fmt: skip


def test_log_of_work_that_fails(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    """The last line says that it stopped."""
    arguments = argparse.Namespace(log_json="-", verb="convert")
    with pytest.raises(KeyError), running.Progress("converting", arguments, clock=clock):
        raise KeyError
    line = json.loads(capfd.readouterr().err)
    assert (line["state"], line["done"], line["total"], line["seconds_left"]) == ("stopped", 0, None, None)


@pytest.mark.parametrize("verb", ["average", "select", "convert", "agree", "score", "report"])
def test_verbs_log(verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No file name behind a bare --log-json is taken for the log's; one behind '=' is."""
    path = tmp_path / "a.txt"
    path.write_text(f"{TREE}\n" * 3)
    words = {"score": ["--gold", str(path)], "report": ["--teachers"]}.get(verb, [])
    output = [] if verb in ("agree", "score") else ["-o", str(tmp_path / "out.txt")]
    for option in ("--log-json", f"--log-json={tmp_path / 'log'}"):
        assert main([verb, option, *words, str(path), *output]) == 0
    last: dict[str, Any] = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert (last["verb"], last["state"], last["done"], last["fraction"]) == (verb, "done", 3, 1.0)
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["done"] == 3
    assert path.read_text() == f"{TREE}\n" * 3


def test_a_log_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """That is said before the work."""
    path = tmp_path / "a.txt"
    path.write_text(f"{TREE}\n")
    assert main(["convert", str(path), "-o", str(tmp_path / "out.txt"), f"--log-json={tmp_path}/no/log"]) == 2
    assert capfd.readouterr().err == (
        f"treeavg: {tmp_path}/no/log: expected a file to write, got: No such file or directory. Check the path.\n"
    )
    assert not (tmp_path / "out.txt").exists()


def test_memory() -> None:
    """It grows with what is held."""
    before = resident_memory()
    held = bytearray(64 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    assert resident_memory() - before > 50 * 2**20


def test_trainings_log(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    """Steps when a line is due, every evaluation, the beginning and the end; the terminal's progress is told too."""
    from treeavg.cli.training import LoggedProgress

    class Shown:
        """Keeps what it is told."""

        def __init__(self) -> None:
            self.told: list[str] = []

        def __getattr__(self, name: str) -> Any:
            return lambda *_: self.told.append(name)

    from parsers.training import EvaluationReport, StepReport

    shown: Any = Shown()
    progress = LoggedProgress(shown, running.Log("-", "fit", "training", clock))
    progress.start(100, 20)
    for number in (1, 2, 3):
        clock.now += 3
        progress.step(StepReport(1, 20 + number, 0.2 + number / 100, 2.5, 1e-3, 50.04, 3.0 * number, 77.77))
    progress.epoch(EvaluationReport(1, 23, 2.5, {"f1": 40.0}, True, 40.0, 9.0))
    progress.note("a word")
    progress.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    for line in lines:
        del line["time"], line["verb"], line["stage"], line["rss_bytes"]
    step = {"epoch": 1, "loss": 2.5, "learning_rate": 1e-3, "per_second": 50.0, "seconds_left": 77.8}
    assert lines == [
        {"state": "begun", "step": 20, "steps": 100},
        step | {"state": "running", "step": 22, "fraction": 0.22, "seconds": 6.0},
        {"state": "evaluated", "epoch": 1, "step": 23, "loss": 2.5, "scores": {"f1": 40.0}, "best_score": 40.0,
         "seconds": 9.0},
        step | {"state": "closed", "step": 23, "fraction": 0.23, "seconds": 9.0},
    ]  # fmt: skip
    assert shown.told == ["start", "step", "step", "step", "epoch", "note", "close"]
