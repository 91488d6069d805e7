"""Training of any parser: resumable at any moment, the same result however it was interrupted.

A parser hands a `Task` (its model, batches, loss and score) to `train`; nothing here knows a parser.
"""

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
