"""What is trained, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from treeavg.errors import TreeavgError


class NonFiniteError(TreeavgError, FloatingPointError):
    """A loss or a gradient that is infinite or not a number."""


class Task(Protocol):
    """What is trained, on what, and how it is judged.

    Random numbers drawn from torch, Python or NumPy in `epoch`, `loss` and `evaluate` are seeded by the loop from the
    run's seed and the place in the training, so they need no care.
    """

    @property
    def model(self) -> nn.Module:
        """The module to train; moved to the device. All parameters to be trained are in it."""

    def epoch(self, number: int) -> Sequence[Any]:
        """Return the batches of an epoch (from 1) in order: a pure function of the number and the run's seed."""

    def items(self, batch: Any) -> float:
        """Return the batch's share of the loss's denominator, such as its words; at 0, it is passed over."""

    def loss(self, batch: Any) -> Tensor:
        """Return the sum, not the mean, of the loss over the batch's items; on the model's device."""

    def names(self, batch: Any) -> str:
        """Return which sentences these are, for messages."""

    def evaluate(self) -> Mapping[str, float]:
        """Return scores, ``score`` among them, which decides (higher is better); called without gradients."""

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Return the parameters by group: ``pretrained``, ``new``."""

    def describe(self) -> Mapping[str, Any]:
        """Return what the result depends on besides the config, for JSON: model, loss, data (sizes, checksums)."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to; the best weights are in the task's model.

    Parameters
    ----------
    best_score : float
        The highest ``score``.
    best_epoch : int
        The epoch in which it was reached, from 1.
    steps : int
        Done in all.
    seconds : float
        Spent, without the time between a kill and its resumption.
    history : list of dict
        The evaluations, as in ``metrics.jsonl``.
    """

    best_score: float
    best_epoch: int
    steps: int
    seconds: float
    history: list[dict[str, Any]]
