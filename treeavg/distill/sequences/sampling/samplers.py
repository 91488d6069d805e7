"""How completions are made: the settings of a sampler, checked, with a name that tells two of them apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["KINDS", "Sampler"]

#: A line of help for each kind of sampler, and the options that are for it.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sample": (
        "token by token from the model's law; exact unless an option changes it",
        ("temperature", "top_k", "top_p"),
    ),
    "greedy": ("the likeliest token at each step", ()),
    "beam": ("beam search", ("beams", "length_penalty")),
    "beam-sample": ("beam search among sampled tokens", ("temperature", "top_k", "top_p", "beams", "length_penalty")),
}


@dataclass(frozen=True)
class Sampler:
    """How completions are made; the default is exact ancestral sampling. An option that a kind does not use is refused.

    Parameters
    ----------
    kind : {"sample", "greedy", "beam", "beam-sample"}, default "sample"
        See `KINDS`.
    max_new_tokens : int, default 64
        Longest completion, its end token included. One that reaches it without an end is *truncated*.
    min_new_tokens : int, default 0
        No end before that many tokens.
    temperature : float, default 1.0
        Divides the logits.
    top_k : int, default 0
        Keep only that many of the likeliest tokens; 0 keeps all.
    top_p : float, default 1.0
        Keep only the likeliest tokens that together have this probability; 1 keeps all.
    beams : int, default 1
        Width of a beam search, at least 2 for those kinds.
    length_penalty : float, default 1.0
        A beam's rank is its log-probability by its length to this power.
    first_token : int, optional
        The first token of each completion, such as a language's code. Only for encoder-decoder models.

    Raises
    ------
    ArgumentError
        An unknown kind, an option out of range, or one that the kind does not use.

    Examples
    --------
    >>> Sampler().exact, Sampler(top_k=50).exact
    (True, False)
    >>> Sampler("beam", beams=5).id
    'beam(max_new_tokens=64, beams=5)'
    """

    kind: str = "sample"
    max_new_tokens: int = 64
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    beams: int = 1
    length_penalty: float = 1.0
    first_token: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind", self.kind, KINDS)
        used = KINDS[self.kind][1]
        for field in fields(self):
            value, optional = getattr(self, field.name), field.name in _OPTIONS
            if optional and field.name not in used and value != field.default:
                known = f"use one of {', '.join(used)}" if used else "it takes no options"
                raise ArgumentError(
                    f"{field.name}: expected {field.default} for the sampler {self.kind!r}, which does not use it, got "
                    f"{quote(value)}. Leave it out; {known}."
                )
        lowest = {"max_new_tokens": 1, "min_new_tokens": 0, "top_k": 0, "beams": 2 if "beams" in used else 1}
        for name, low in lowest.items():
            require_whole(name, getattr(self, name), low)
        if self.min_new_tokens > self.max_new_tokens:
            raise ArgumentError(
                f"min_new_tokens: expected at most max_new_tokens={self.max_new_tokens}, got {self.min_new_tokens}. "
                "Raise max_new_tokens."
            )
        if self.first_token is not None:
            require_whole("first_token", self.first_token, 0)
        _require_number("temperature", self.temperature, 0, math.inf, "1.0 for the model's own law, or kind='greedy'")
        _require_number("top_p", self.top_p, 0, 1.0, "1.0 to keep all tokens")
        _require_number("length_penalty", self.length_penalty, -math.inf, math.inf, "1.0 for the mean")

    @property
    def exact(self) -> bool:
        """Whether completions follow the model's own law, cut at `max_new_tokens`."""
        return self.id == Sampler(max_new_tokens=self.max_new_tokens).id

    @property
    def id(self) -> str:
        """The kind and every option that is not a default: the same text for the same sampler."""
        given = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)[1:]
            if field.name == "max_new_tokens" or getattr(self, field.name) != field.default
        ]
        return f"{self.kind}({', '.join(given)})"


_OPTIONS = frozenset(option for _, options in KINDS.values() for option in options)


def require_whole(name: str, value: object, low: int) -> None:
    """Raise an ArgumentError where `value` is not a whole number, `low` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ArgumentError(
            f"{name}: expected a whole number, at least {low}, got {quote(value)}. Use {name}={max(low, 1)} or more."
        )


def _require_number(name: str, value: object, above: float, most: float, advice: str) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not above < value <= most:  # type: ignore[operator]
        upper = "" if most == math.inf else f" and up to {most:g}"
        span = "a finite number" if above < 0 else f"a number above {above:g}{upper}"
        raise ArgumentError(f"{name}: expected {span}, got {quote(value)}. Use {advice}.")
