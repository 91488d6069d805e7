"""Options of teachers: dataclasses whose fields say their range and meaning, from which the command line is made.

Nothing here loads torch.
"""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Self

from parsers.training.config import TrainingConfig
from treeavg.errors import ArgumentError, quote, unknown

#: Names of the recipes that every teacher has: for some thousand sentences on a laptop; the published one.
PRESETS = ("small", "paper")


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Return a dataclass field that knows its range and meaning.

    Parameters
    ----------
    default : bool, int, float, str or None
        Its type is the option's: an int field takes whole numbers, a float field any. None: a string may be given.
    help : str
        What it is, in a few words, for the command line.
    least, above, most, below : float, optional
        Bounds of a number, ``above`` and ``below`` excluded.
    choices : tuple of str, optional
        All values of a string.

    Returns
    -------
    Field

    Examples
    --------
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Options(TeacherOptions):
    ...     symbols: int = option(30, "non-terminals of the grammar", least=1)
    >>> Options(symbols=0)
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: symbols: expected a whole number, at least 1, got 0. Leave it out for 30.
    """
    bounds = {"least": least, "above": above, "most": most, "below": below}
    return field(default=default, metadata={"help": help, "choices": choices, **bounds})


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """What every teacher depends on besides its text and the training's own options.

    Parameters
    ----------
    longest : int, default 40
        Sentences of more words are not trained on; `fit` says how many.
    batch_tokens : int, default 1000
        Words of a batch, padding included.
    held_out : float, default 0.05
        Share of the sentences whose loss chooses the epoch instead of being trained on; 0 looks at the loss of all.
    vocabulary : int, default 10000
        The most frequent words, which are told apart.

    Raises
    ------
    ArgumentError
        A value is of another type or out of range, or one of `unused` is given.

    Examples
    --------
    >>> TeacherOptions(longest=20).longest
    20
    """

    #: Options that mean nothing to a kind: refused, and not offered by the command line.
    unused: ClassVar[frozenset[str]] = frozenset()

    longest: int = option(40, "longest sentence, in words, that is trained on", least=2)
    batch_tokens: int = option(1000, "words of a batch, padding included", least=1)
    held_out: float = option(0.05, "share of the sentences whose loss chooses the epoch", least=0, below=1)
    vocabulary: int = option(10_000, "the most frequent words, which are told apart", least=1)

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item, getattr(self, item.name))
            if item.name in self.unused and getattr(self, item.name) != item.default:
                raise ArgumentError(
                    f"{item.name}: expected nothing, since it means nothing to this kind of parser, got "
                    f"{quote(getattr(self, item.name))}. Leave it out."
                )
            if isinstance(item.default, float):
                object.__setattr__(self, item.name, float(getattr(self, item.name)))

    @classmethod
    def presets(cls) -> dict[str, tuple[Self, TrainingConfig]]:
        """Return the options and the training of each of `PRESETS`.

        Returns
        -------
        dict

        Examples
        --------
        >>> sorted(TeacherOptions.presets())
        ['paper', 'small']
        """
        return {name: (cls(), TrainingConfig()) for name in PRESETS}


def _check(item: Field[Any], value: Any) -> None:
    """Raise unless a value suits a field made by `option`."""
    default, limits = item.default, item.metadata
    if limits.get("choices") is not None:
        if value not in limits["choices"]:
            raise unknown(item.name, value, limits["choices"])
        return
    if isinstance(default, bool):
        fits, kind = isinstance(value, bool), "True or False"
    elif isinstance(default, int):
        fits = isinstance(value, int) and not isinstance(value, bool) and _within(value, limits)
        kind = "a whole number" + _range(limits)
    elif isinstance(default, float):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        fits, kind = fits and _within(value, limits), "a finite number" + _range(limits)
    else:
        fits, kind = (value is None and default is None) or (isinstance(value, str) and bool(value)), "a name"
    if not fits:
        raise ArgumentError(f"{item.name}: expected {kind}, got {quote(value)}. {_way_out(default)}")


def _within(value: float, limits: Any) -> bool:
    """Whether a number is inside the bounds."""
    return bool(
        (limits["least"] is None or value >= limits["least"])
        and (limits["above"] is None or value > limits["above"])
        and (limits["most"] is None or value <= limits["most"])
        and (limits["below"] is None or value < limits["below"])
    )


def _range(limits: Any) -> str:
    """Return the bounds in words, after a comma."""
    words = {"least": "at least", "above": "above", "most": "at most", "below": "below"}
    parts = [f"{words[name]} {limits[name]:g}" for name in words if limits[name] is not None]
    return ", " + " and ".join(parts) if parts else ""


def _way_out(default: Any) -> str:
    return f"Leave it out for {default}." if default is not None else "Leave it out, or name one."
