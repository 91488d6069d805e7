"""Training of any parser: resumable at any moment, the same result however it was interrupted.

A parser hands a `Task` (its model, batches, loss and score) to `train`; nothing here knows a parser. Names are imported
when first used: options alone (`parsers.training.config`) do not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsers.training.config import TrainingConfig
    from parsers.training.entry import train
    from parsers.training.processes import is_first_process
    from parsers.training.progress import EvaluationReport, Progress, StepReport, TerminalProgress
    from parsers.training.seeds import seed_for
    from parsers.training.task import NonFiniteError, Task, TrainingResult

__all__ = [
    "EvaluationReport",
    "NonFiniteError",
    "Progress",
    "StepReport",
    "Task",
    "TerminalProgress",
    "TrainingConfig",
    "TrainingResult",
    "is_first_process",
    "seed_for",
    "train",
]

_HOME_OF = {
    "EvaluationReport": "progress",
    "NonFiniteError": "task",
    "Progress": "progress",
    "StepReport": "progress",
    "Task": "task",
    "TerminalProgress": "progress",
    "TrainingConfig": "config",
    "TrainingResult": "task",
    "is_first_process": "processes",
    "seed_for": "seeds",
    "train": "entry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'parsers.training' has no attribute {name!r}")
    return getattr(import_module(f"parsers.training.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
