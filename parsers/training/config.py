"""How to train: the options, their ranges, and the learning rate that follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from treeavg.errors import ArgumentError, quote, unknown

SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
AVERAGES = ("none", "ema")
OPTIMIZERS = ("adamw", "sgd")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Options of `parsers.training.train`.

    Parameters
    ----------
    epochs : int, default 10
        How often the whole text is seen, at most; at least 1.
    learning_rate : float, default 1e-3
        The highest; above 0.
    encoder_learning_rate : float, default 3e-5
        The same for the parameters of the group ``pretrained``; above 0.
    optimizer : str, default "adamw"
        ``adamw``, or ``sgd``: steepest descent without momentum.
    schedule : str, default "linear"
        How the learning rate falls after the warm-up: ``linear`` or ``cosine``, to 0 at the end of the last epoch, or
        ``constant``.
    warmup : float, default 0.05
        Share of the training in which the learning rate rises from 0; 0 to below 1.
    weight_decay : float, default 0.01
        On matrices only (not on biases and gains); at least 0.
    betas : tuple of two floats, default (0.9, 0.999)
        Of AdamW; each from 0 to below 1.
    clip : float, default 1.0
        Largest norm of the whole gradient; 0 does not clip.
    accumulate : int, default 1
        So many consecutive batches make one step. The gradient of a step does not depend on how its sentences are cut
        into batches, nor on how many processes share them.
    evaluate_every : float, default 1.0
        Epochs between evaluations; above 0. The last epoch always ends with one.
    patience : int, default 0
        Stop after so many evaluations in a row without a better score; 0 never stops early.
    average : str, default "none"
        ``ema``: evaluate and keep an exponential moving average of the weights in place of the weights.
    ema_decay : float, default 0.999
        Of that average, a step; above 0, below 1.
    seed : int, default 0
        At least 0, below 2**63.
    precision : str, default "auto"
        ``bfloat16`` computes in mixed precision, on processors with AVX512-BF16 two to three times as fast; ``auto``
        does so on CUDA where the card has it.
    compile : bool, default False
        Compile the model with ``torch.compile`` (CUDA only).
    checkpoint_minutes : float, default 5.0
        Minutes between checkpoints; 0 leaves those of `checkpoint_steps` and of each evaluation.
    checkpoint_steps : int, default 0
        Steps between checkpoints; 0 leaves the other two.
    log_steps : int, default 20
        Steps between lines of ``metrics.jsonl``; at least 1.

    Examples
    --------
    >>> TrainingConfig(epochs=3).learning_rate
    0.001
    >>> TrainingConfig(epochs=0)
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: epochs: expected a whole number, at least 1, got 0. Leave it out for 10.
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    encoder_learning_rate: float = 3e-5
    optimizer: str = "adamw"
    schedule: str = "linear"
    warmup: float = 0.05
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    accumulate: int = 1
    evaluate_every: float = 1.0
    patience: int = 0
    average: str = "none"
    ema_decay: float = 0.999
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int = 0
    log_steps: int = 20

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("accumulate", 1),
            ("patience", 0),
            ("seed", 0),
            ("checkpoint_steps", 0),
            ("log_steps", 1),
        ):
            self._check_whole(name, least)
        if self.seed >= 2**63:
            raise self._wrong("seed", "a whole number below 2**63", self.seed)
        for name in ("learning_rate", "encoder_learning_rate", "evaluate_every"):
            self._check_number(name, "a finite number above 0", above=0.0)
        for name in ("weight_decay", "clip", "checkpoint_minutes"):
            self._check_number(name, "a finite number, at least 0", least=0.0)
        self._check_number("warmup", "a number from 0 to below 1", least=0.0, below=1.0)
        self._check_number("ema_decay", "a number above 0 and below 1", above=0.0, below=1.0)
        betas = self.betas
        if (
            not isinstance(betas, (tuple, list))
            or len(betas) != 2
            or not all(_is_number(b) and 0 <= b < 1 for b in betas)
        ):
            raise self._wrong("betas", "two numbers from 0 to below 1", betas)
        object.__setattr__(self, "betas", (float(betas[0]), float(betas[1])))
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("average", AVERAGES),
        ):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        if not isinstance(self.compile, bool):
            raise self._wrong("compile", "True or False", self.compile)

    def _check_whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self._wrong(name, f"a whole number, at least {least}", value)

    def _check_number(
        self, name: str, expected: str, *, least: float = -math.inf, above: float = -math.inf, below: float = math.inf
    ) -> None:
        value = getattr(self, name)
        if not _is_number(value) or not (value >= least and value > above and value < below):
            raise self._wrong(name, expected, value)
        object.__setattr__(self, name, float(value))

    def _wrong(self, name: str, expected: str, value: object) -> ArgumentError:
        default = type(self).__dataclass_fields__[name].default
        return ArgumentError(f"{name}: expected {expected}, got {quote(value)}. Leave it out for {default}.")

    def to_json(self) -> dict[str, Any]:
        """Return the options as what JSON can hold.

        Returns
        -------
        dict

        Examples
        --------
        >>> TrainingConfig().to_json()["betas"]
        [0.9, 0.999]
        """
        return {**asdict(self), "betas": list(self.betas)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TrainingConfig:
        """Return the options that `to_json` gave.

        Parameters
        ----------
        document : mapping
            Options that are absent have their defaults.

        Returns
        -------
        TrainingConfig

        Raises
        ------
        ArgumentError
            An option is unknown or out of range.

        Examples
        --------
        >>> TrainingConfig.from_json({"epoch": 3})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        treeavg.errors.ArgumentError: config: expected one of 'epochs', ... got 'epoch'. Did you mean 'epochs'?
        """
        known = [field.name for field in fields(cls)]
        for name in document:
            if name not in known:
                raise unknown("config", name, known)
        return cls(**document)

    def rate(self, share: float) -> float:
        """Return the factor on the learning rates.

        Parameters
        ----------
        share : float
            How much of the training is done, 0 to 1.

        Returns
        -------
        float
            0 to 1.

        Notes
        -----
        A function of the share, not of a count of steps: epochs may have different numbers of batches.

        Examples
        --------
        >>> [TrainingConfig(warmup=0.5).rate(share) for share in (0.25, 0.5, 0.75, 1.0)]
        [0.5, 1.0, 0.5, 0.0]
        """
        if share < self.warmup:
            return share / self.warmup
        rest = (share - self.warmup) / (1.0 - self.warmup)
        if self.schedule == "linear":
            return 1.0 - rest
        if self.schedule == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * rest))
        return 1.0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
