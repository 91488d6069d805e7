"""Options of learning from induced rewards, and how numbers among options are checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from treeavg.distill.sequences.rewards.induction import VALUES
from treeavg.distill.sequences.rewards.reward import BASELINES, IMPORTANCE, REGULARISERS
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["RewardOptions", "meaningless", "require_flag", "require_number", "require_whole"]


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """Options of the kind "reward"; the defaults are those of the theory.

    Parameters
    ----------
    value : str, default "max"
        One of `induction.VALUES`.
    centre : bool, default False
        Subtract the mean of each prefix's logits first.
    baseline : {"value", "none"}, default "value"
        One of `reward.BASELINES`; there is one completion for each prompt.
    scale : float, default 100.0
        Divides what a completion gains.
    sparse : bool, default False
        One gain for all tokens of a completion.
    importance : {"token", "prefix"}, optional
        Weigh tokens by the student's law over the sampler's, one of `reward.IMPORTANCE`; for samplers that are not
        exact. Default: not at all.
    clip : float, optional, default 1.0
        Weights are kept between -clip and clip.
    penalty : {"uniform", "entropy"}, optional
        One of `reward.REGULARISERS`. Default: none.
    penalty_weight : float, default 0.1
        Multiplies the penalty.
    sync : int, optional
        Completions are written by a copy of the student that is renewed after each that many updates, which needs
        `importance`; the released code has 5000. In an evaluation the student itself writes, and by default always.

    Raises
    ------
    ArgumentError
        An unknown value or a number out of range.

    Examples
    --------
    >>> RewardOptions(value="lse").scale
    100.0
    """

    value: str = "max"
    centre: bool = False
    baseline: str = "value"
    scale: float = 100.0
    sparse: bool = False
    importance: str | None = None
    clip: float | None = 1.0
    penalty: str | None = None
    penalty_weight: float = 0.1
    sync: int | None = None

    def __post_init__(self) -> None:
        if self.value not in VALUES:
            raise unknown("value", self.value, VALUES)
        known = [name for name in BASELINES if name != "leave_one_out"]  # that needs several samples of a prompt
        if self.baseline not in known:
            raise unknown("baseline", self.baseline, known)
        if self.importance is not None and self.importance not in IMPORTANCE:
            raise unknown("importance", self.importance, IMPORTANCE)
        if self.penalty is not None and self.penalty not in REGULARISERS:
            raise unknown("penalty", self.penalty, REGULARISERS)
        require_number("scale", self.scale, 0, math.inf, above=True)
        if self.clip is not None:
            require_number("clip", self.clip, 0, math.inf, above=True)
        if self.penalty is None and self.penalty_weight != 0.1:
            raise meaningless("penalty_weight", self.penalty_weight, 0.1, "there is no penalty")
        require_number("penalty_weight", self.penalty_weight, 0, math.inf)
        for name in ("centre", "sparse"):
            require_flag(name, getattr(self, name))
        if self.sync is not None:
            require_whole("sync", self.sync, 1)
            if self.importance is None:
                raise ArgumentError(
                    f"importance: expected 'token' or 'prefix' with sync={self.sync}, whose completions are not the "
                    "student's own, got None. Give one, or leave sync out."
                )


def meaningless(where: str, value: object, default: object, why: str) -> ArgumentError:
    """Return the error for an option that nothing uses."""
    return ArgumentError(f"{where}: expected {default!r}, as {why}, got {quote(value)}. Leave it out.")


def require_flag(where: str, value: object) -> None:
    """Raise an ArgumentError where a value is neither True nor False."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{where}: expected True or False, got {quote(value)}. Leave it out for the default.")


def require_number(where: str, value: object, low: float, high: float, *, above: bool = False) -> None:
    """Raise an ArgumentError where a value is no finite number in this range."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (above and value == low):  # type: ignore[operator]
        span = f"{'above' if above else 'from'} {low:g}" + ("" if high == math.inf else f" to {high:g}")
        raise ArgumentError(f"{where}: expected a number {span}, got {quote(value)}. Leave it out for the default.")


def require_whole(where: str, value: object, low: int) -> None:
    """Raise an ArgumentError where a value is no whole number of at least `low`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ArgumentError(
            f"{where}: expected a whole number, at least {low}, got {quote(value)}. Leave it out for the default."
        )
