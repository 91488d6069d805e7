"""What verbs that train share: the run inside the parser's folder, the training's options, the last line."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from treeavg.cli import options
from treeavg.cli.running import Log
from treeavg.errors import ArgumentError, FileError

if TYPE_CHECKING:
    from parsers.training import EvaluationReport, Progress, StepReport, TrainingConfig

#: Folder of the run inside the parser's, and the file that is in it from the beginning.
RUN, RUN_DOCUMENT = "run", "run.json"


def run_folder(arguments: argparse.Namespace) -> str:
    """Return the run's folder."""
    return os.path.join(arguments.output, RUN)


def require_place(arguments: argparse.Namespace, what: str) -> None:
    """Raise before anything is read where the parser could not be saved later."""
    folder = arguments.output
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise FileError(f"{folder}: expected a folder for the {what}, got a file. Choose another name.")
    if not arguments.resume and os.path.exists(os.path.join(folder, "parser.json")):
        raise ArgumentError(
            f"{folder}: expected a new folder, got one that holds a parser. Choose another, or pass --resume to go on "
            "with its training."
        )


def left_by_training(arguments: argparse.Namespace) -> str:
    """Return what is left where the work is interrupted."""
    if os.path.exists(os.path.join(run_folder(arguments), RUN_DOCUMENT)):
        return "the run is kept, --resume goes on with it."
    return "nothing was written."


def add_output_folder(parser: argparse.ArgumentParser, what: str) -> None:
    """Add where the parser goes, and going on with its run."""
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help=f"the {what}'s folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")


def add_machine(group: Any) -> None:
    """Add what a training is computed on, which decides nothing else."""
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (auto)")
    group.add_argument("--compile", action="store_true", help="torch.compile, on CUDA")
    options.add_threads(group)


def progress_of(arguments: argparse.Namespace) -> Progress | None:
    """Return what tells of a training: lines of JSON beside the terminal's bar where they are asked for."""
    log = Log.of(arguments, "training", time.monotonic)
    if log is None:
        return None
    from parsers.training import TerminalProgress

    return LoggedProgress(TerminalProgress(), log)


class LoggedProgress:
    """Tells another progress and writes lines of JSON.

    Parameters
    ----------
    shown : Progress
        The other one.
    log : Log
        Where lines go.
    """

    def __init__(self, shown: Progress, log: Log) -> None:
        self._shown, self._log = shown, log
        self._last: StepReport | None = None

    def start(self, total: int, done: int) -> None:
        """Begin."""
        self._shown.start(total, done)
        self._log.record("begun", {"step": done, "steps": total})

    def step(self, report: StepReport) -> None:
        """Tell of a step, if a line is due."""
        self._shown.step(report)
        self._last = report
        if self._log.due:
            self._log.record("running", _line_of(report))

    def epoch(self, report: EvaluationReport) -> None:
        """Tell of an evaluation."""
        self._shown.epoch(report)
        self._log.record("evaluated", {
            "epoch": report.epoch,
            "step": report.step,
            "loss": report.loss,
            "scores": dict(report.scores),
            "best_score": report.best_score,
            "seconds": round(report.seconds, 3),
        })  # fmt: skip

    def note(self, text: str) -> None:
        """Tell one line."""
        self._shown.note(text)

    def close(self) -> None:
        """Write the last line."""
        self._shown.close()
        self._log.record("closed", {} if self._last is None else _line_of(self._last))


def _line_of(report: StepReport) -> dict[str, Any]:
    return {
        "epoch": report.epoch,
        "step": report.step,
        "fraction": round(report.share, 6),
        "loss": report.loss,
        "learning_rate": report.learning_rate,
        "seconds": round(report.seconds, 3),
        "per_second": round(report.items_per_second, 1),
        "seconds_left": None if report.seconds_left is None else round(report.seconds_left, 1),
    }


def training_of(arguments: argparse.Namespace, config: type[TrainingConfig]) -> dict[str, Any]:
    """Return the training's options among a verb's."""
    names = {field.name for field in fields(config)} & set(vars(arguments))
    return {name: getattr(arguments, name) for name in names}


def report(arguments: argparse.Namespace, parser: Any, seconds: float, measure: str, **more: Any) -> None:
    """Print what came out: a line for people, with the best score put into `measure`, or JSON."""
    result = parser.result
    if arguments.json:
        scores = {} if result is None else {
            "best_score": result.best_score, "best_epoch": result.best_epoch, "steps": result.steps,
        }  # fmt: skip
        summary = {"output": arguments.output, "kind": parser.kind, **more, **scores, "seconds": round(seconds, 3)}
        options.print_json(summary)
        return
    best = "" if result is None else f", {measure.format(result.best_score)} in epoch {result.best_epoch}"
    article = "an" if parser.kind.startswith(("on-", "s-")) else "a"  # as they are spoken
    print(f"treeavg: {arguments.output}: {article} {parser.kind} parser{best}, after {seconds:,.0f} s", file=sys.stderr)
