"""What is searched: models behind a small protocol, options of every search, and the checks of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from treeavg.errors import ArgumentError, quote

__all__ = ["BeamOptions", "Component", "Decoder", "Forced", "Hypothesis", "forced_ids", "require_ids", "shared_size"]

#: Tokens that every output starts with: one list for all sentences, or one list for each.
Forced = Sequence[int] | Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class BeamOptions:
    """What every search here needs to know.

    Parameters
    ----------
    eos_ids : sequence of int
        A hypothesis ends with any of these.
    max_length : int
        Most tokens before the end token.
    beam : int, default 5
        Hypotheses kept, at least 1: Z of the paper.
    min_length : int, default 1
        Fewest tokens before the end token.
    alpha : float, default 1.0
        A hypothesis of t tokens, the end token included, has its log score divided by t to this power.
    temperature : float, default 1.0
        Divides the logits.
    pad : int, optional
        Never produced; without effect where it is an end token too.

    Raises
    ------
    ArgumentError
        A value out of range.

    Examples
    --------
    >>> BeamOptions(eos_ids=[2], max_length=40).beam
    5
    """

    eos_ids: Sequence[int]
    max_length: int
    beam: int = 5
    min_length: int = 1
    alpha: float = 1.0
    temperature: float = 1.0
    pad: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "eos_ids", tuple(self.eos_ids))
        if not self.eos_ids or min(self.eos_ids) < 0:
            raise ArgumentError(
                f"eos_ids: expected the ids of one end token or more, got {quote(self.eos_ids)}. Pass "
                "[tokenizer.eos_token_id]."
            )
        if self.beam < 1:
            raise ArgumentError(
                f"beam: expected 1 or more hypotheses, got {quote(self.beam)}. Use 1 for greedy search."
            )
        if not 0 <= self.min_length <= self.max_length:
            raise ArgumentError(
                f"min_length, max_length: expected 0 <= min_length <= max_length, got {quote(self.min_length)} and "
                f"{quote(self.max_length)}. Both count tokens before the end token."
            )
        if not (math.isfinite(self.alpha) and 0 < self.temperature < math.inf):
            raise ArgumentError(
                "alpha, temperature: expected a finite number and a positive one, got "
                f"{quote(self.alpha)} and {quote(self.temperature)}. Use 1.0 for both."
            )


class Hypothesis(NamedTuple):
    """An output and its score.

    Parameters
    ----------
    ids : tuple of int
        The tokens, the end token included.
    score : float
        Comparable within one sentence of one search only.
    """

    ids: tuple[int, ...]
    score: float


class Decoder(Protocol):
    """A model in the middle of a search: it holds a cache of R rows."""

    def first(self) -> Tensor:
        """Return the logits (B, V) of each sentence's first token."""

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """Continue the rows `parents` (R,) of the call before with `tokens` (R,); return the next logits (R, V)."""


class Component(Protocol):
    """One member of an ensemble: scores next tokens for B sentences."""

    @property
    def sentences(self) -> int:
        """How many sentences: B."""

    @property
    def size(self) -> int:
        """Width of the logits: V or more."""

    @property
    def tokens(self) -> Mapping[str, int] | None:
        """Its vocabulary, where it is known."""

    def decoder(self) -> Decoder:
        """Return a fresh start of all sentences."""


def shared_size(components: Sequence[Component]) -> int:
    """Return the size of the vocabulary that all components share.

    Parameters
    ----------
    components : sequence of Component
        At least one, over the same sentences.

    Returns
    -------
    int
        The width of the logits; where every component says what its tokens are, one more than the greatest id: models
        whose heads are padded to different widths share a vocabulary.

    Raises
    ------
    ArgumentError
        No component, another number of sentences, or different vocabularies.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> tokens = {"<eos>": 0, "a": 1}
    >>> shared_size([SimpleNamespace(sentences=1, size=width, tokens=tokens) for width in (2, 8)])
    2
    """
    if not components:
        raise ArgumentError("components: expected one or more, got none. Pass a list of models with their inputs.")
    first, rest = components[0], list(enumerate(components))[1:]
    for place, other in rest:
        if other.sentences != first.sentences:
            raise ArgumentError(
                f"components[{place}]: expected {first.sentences} sentences as in components[0], got "
                f"{other.sentences}. All components score the same sentences, each from its own inputs."
            )
    maps = [component.tokens for component in components]
    if any(tokens is None for tokens in maps):
        for place, other in rest:
            if other.size != first.size:
                raise ArgumentError(
                    f"components[{place}]: expected a vocabulary of {first.size} as in components[0], got {other.size}."
                    " Pass every component tokens=tokenizer.get_vocab(), to have padding cut off."
                )
        return first.size
    for place, tokens in enumerate(maps):
        _require_same_tokens(maps[0] or {}, tokens or {}, place)
    size = max((maps[0] or {"": -1}).values()) + 1
    for place, component in enumerate(components):
        if component.size < size:
            raise ArgumentError(
                f"components[{place}]: expected logits for the {size} ids of its tokens, got {component.size}. Pass "
                "the tokenizer that belongs to the model."
            )
    return size


def _require_same_tokens(first: Mapping[str, int], other: Mapping[str, int], place: int) -> None:
    if first == other:
        return
    token = min(set(first.items()) ^ set(other.items()))[0]
    raise ArgumentError(
        f"components[{place}]: expected the vocabulary of components[0], where {quote(token)} is "
        f"{first.get(token, 'absent')}, got {other.get(token, 'absent')}. Ids of different vocabularies cannot be "
        "averaged; use mbr, which compares texts."
    )


def require_ids(options: BeamOptions, size: int) -> None:
    for name, given in (("eos_ids", options.eos_ids), ("pad", [] if options.pad is None else [options.pad])):
        if given and not 0 <= min(given) <= max(given) < size:
            raise ArgumentError(
                f"{name}: expected ids from 0 to {size - 1}, the components' vocabulary, got {quote(list(given))}. "
                "Take them from the components' tokenizer."
            )


def forced_ids(forced: Forced | None, sentences: int, options: BeamOptions, size: int) -> Tensor | None:
    """Return the forced tokens (B, F), -1 where any may come."""
    if not forced:
        return None
    for_all = [given for given in forced if isinstance(given, int)]
    each = [list(given) for given in forced if not isinstance(given, int)]
    lists = [for_all] * sentences if for_all else each
    if len(lists) != sentences:
        raise ArgumentError(
            f"forced: expected a list of ids for each of the {sentences} sentences, got {len(lists)} lists. Pass one "
            "list of ids to force it on all."
        )
    refused = {*options.eos_ids, options.pad}
    for place, ids in enumerate(lists):
        if len(ids) > options.max_length or any(not 0 <= token < size or token in refused for token in ids):
            raise ArgumentError(
                f"forced[{place}]: expected at most {options.max_length} ids from 0 to {size - 1}, no end token and no "
                f"pad, got {quote(ids)}. Leave the end token out and raise max_length for a longer prefix."
            )
    width = max(map(len, lists))
    return torch.tensor([ids + [-1] * (width - len(ids)) for ids in lists], dtype=torch.int64).view(sentences, width)
