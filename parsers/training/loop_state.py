"""Where a training run is: what a checkpoint holds besides tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Mean:
    """A mean over items that is still growing.

    Parameters
    ----------
    total : float, default 0.0
        The sum so far.
    items : float, default 0.0
        Over how many items.

    Examples
    --------
    >>> mean = Mean()
    >>> mean.add(6.0, 4)
    >>> mean.take(), mean.value
    (1.5, 0.0)
    """

    total: float = 0.0
    items: float = 0.0

    @property
    def value(self) -> float:
        """The mean; 0 of nothing."""
        return self.total / self.items if self.items else 0.0

    def add(self, total: float, items: float) -> None:
        """Count a sum over items in.

        Parameters
        ----------
        total, items : float
            The sum, and over how many.

        Examples
        --------
        >>> Mean().add(6.0, 4)
        """
        self.total += total
        self.items += items

    def take(self) -> float:
        """Return the mean and begin anew.

        Returns
        -------
        float

        Examples
        --------
        >>> Mean(3.0, 2.0).take()
        1.5
        """
        value = self.value
        self.total = self.items = 0.0
        return value


@dataclass
class State:
    """The place in a training; `from_json` of `dataclasses.asdict` is the same.

    Parameters
    ----------
    epoch : int, default 1
        The present one.
    position : int, default 0
        Steps done in it.
    step : int, default 0
        Steps done in all.
    best_score : float, optional
        None before the first evaluation.
    best_epoch : int, default 0
        Where it was reached.
    waiting : int, default 0
        Evaluations in a row without a better score.
    averaged : int, default 0
        Steps that the moving average has taken in.
    finished : bool, default False
        Whether nothing is left to do.
    seconds : float, default 0.0
        Spent, in all processes that worked at it one after another.
    line, stretch : Mean
        The loss since the last line of the metrics, and since the last evaluation.
    history : list of dict
        The evaluations.

    Examples
    --------
    >>> from dataclasses import asdict
    >>> State.from_json(asdict(State(epoch=2))) == State(epoch=2)
    True
    """

    epoch: int = 1
    position: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    waiting: int = 0
    averaged: int = 0
    finished: bool = False
    seconds: float = 0.0
    line: Mean = field(default_factory=Mean)
    stretch: Mean = field(default_factory=Mean)
    history: list[dict[str, Any]] = field(default_factory=list)

    def epochs_done(self, steps: int, *, ahead: float = 0.0) -> float:
        """Return how many epochs are done.

        Parameters
        ----------
        steps : int
            Of the present epoch.
        ahead : float, default 0.0
            Look so many steps ahead.

        Returns
        -------
        float

        Examples
        --------
        >>> State(epoch=3, position=1).epochs_done(4)
        2.25
        """
        return self.epoch - 1 + (self.position + ahead) / steps

    def share(self, steps: int, epochs: int, *, ahead: float = 0.0) -> float:
        """Return how much of the training is done, 0 to 1.

        Parameters
        ----------
        steps : int
            Of the present epoch.
        epochs : int
            In all.
        ahead : float, default 0.0
            Look so many steps ahead.

        Returns
        -------
        float

        Examples
        --------
        >>> State(epoch=3, position=1).share(4, epochs=3)
        0.75
        """
        return self.epochs_done(steps, ahead=ahead) / epochs

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> State:
        """Return the state that a checkpoint holds.

        Parameters
        ----------
        document : dict
            As `dataclasses.asdict` gave it.

        Returns
        -------
        State

        Examples
        --------
        >>> State.from_json({"step": 7, "line": {}, "stretch": {}}).step
        7
        """
        return cls(**{**document, "line": Mean(**document["line"]), "stretch": Mean(**document["stretch"])})


@dataclass(frozen=True)
class StepRecord:
    """What is known of a step once the device has computed it.

    Parameters
    ----------
    number, epoch : int
        Which step, from 1, in which epoch.
    batches : sequence
        Its batches.
    items : float
        Their items in all.
    losses : Tensor, shape (number of batches,)
        Sums over each batch's items.
    norm : Tensor, shape ()
        Of the gradient of the mean, before clipping.
    """

    number: int
    epoch: int
    batches: Sequence[Any]
    items: float
    losses: Tensor
    norm: Tensor
