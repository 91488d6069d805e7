"""What is searched: models behind a small protocol, options of every search, and the checks of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from treeavg.errors import ArgumentError, quote

__all__ = [
    "BeamOptions",
    "Component",
    "Decoder",
    "Forced",
    "Hypothesis",
    "Stackable",
    "forced_ids",
    "forced_lists",
    "require_ids",
    "shared_size",
]

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
        ends = tuple(self.eos_ids) if isinstance(self.eos_ids, Sequence) else ()
        if not ends or not all(_is_whole(end, 0) for end in ends):
            raise ArgumentError(
                f"eos_ids: expected the ids of one end token or more, got {quote(self.eos_ids)}. Pass "
                "[tokenizer.eos_token_id]."
            )
        object.__setattr__(self, "eos_ids", ends)
        if self.pad is not None and not _is_whole(self.pad, 0):
            raise ArgumentError(
                f"pad: expected a token id or None, got {quote(self.pad)}. Pass tokenizer.pad_token_id, or leave it "
                "out."
            )
        if not _is_whole(self.beam, 1):
            raise ArgumentError(
                f"beam: expected 1 or more hypotheses, got {quote(self.beam)}. Use 1 for greedy search."
            )
        lengths = (self.min_length, self.max_length)
        if not all(_is_whole(length, 0) for length in lengths) or self.min_length > self.max_length:
            raise ArgumentError(
                f"min_length, max_length: expected 0 <= min_length <= max_length, got {quote(self.min_length)} and "
                f"{quote(self.max_length)}. Both count tokens before the end token; min_length is 1 where it is not "
                "given."
            )
        known = all(isinstance(number, (int, float)) for number in (self.alpha, self.temperature))
        if not (known and math.isfinite(self.alpha) and 0 < self.temperature < math.inf):
            raise ArgumentError(
                "alpha, temperature: expected a finite number and a positive one, got "
                f"{quote(self.alpha)} and {quote(self.temperature)}. Use 1.0 for both."
            )


def _is_whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


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


@runtime_checkable
class Stackable(Protocol):
    """A component that runs in one pass with others of the same model, each with its own inputs."""

    def stacks_with(self, other: Component) -> bool:
        """Tell whether the other may share the pass."""

    def stacked(self, others: Sequence[Component]) -> Decoder:
        """Return a fresh start of all sentences of this component, then of all of each other one."""


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
    if not isinstance(components, Sequence):
        raise ArgumentError(f"components: expected a list, got {type(components).__name__}. Put it in a list.")
    if not components:
        raise ArgumentError("components: expected one or more, got none. Pass a list of models with their inputs.")
    for place, component in enumerate(components):
        if not hasattr(component, "sentences"):
            raise ArgumentError(
                f"components[{place}]: expected a model with its inputs, got {type(component).__name__}. Use "
                "ModelComponent(model, prompts(...)) or FunctionComponent."
            )
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
    if not maps[0]:
        raise ArgumentError("components[0].tokens: expected a vocabulary, got none of its tokens. Pass None instead.")
    for place, tokens in enumerate(maps):
        _require_same_tokens(maps[0] or {}, tokens or {}, place)
    size = max(maps[0].values()) + 1
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


def forced_lists(forced: Forced | None, sentences: int, what: str = "sentences") -> list[list[int]] | None:
    """Return the forced tokens of each sentence; None where there are none."""
    if forced is None or not len(forced):
        return None
    for_all = [given for given in forced if isinstance(given, int)]
    each = [list(given) for given in forced if isinstance(given, (list, tuple))]
    if len(for_all) != len(forced) and len(each) != len(forced):
        raise ArgumentError(
            f"forced: expected token ids for all {what}, or a list of ids for each, got {quote(forced)}. Pass one of "
            "the two, in lists."
        )
    lists = [for_all] * sentences if for_all else each
    if len(lists) != sentences:
        raise ArgumentError(
            f"forced: expected a list of ids for each of the {sentences} {what}, got {len(lists)} lists. Pass one "
            "list of ids to force it on all."
        )
    return lists


def forced_ids(forced: Forced | None, sentences: int, options: BeamOptions, size: int) -> Tensor | None:
    """Return the forced tokens (B, F), -1 where any may come."""
    lists = forced_lists(forced, sentences)
    if lists is None:
        return None
    refused = {*options.eos_ids, options.pad}
    for place, ids in enumerate(lists):
        possible = all(_is_whole(token, 0) and token < size and token not in refused for token in ids)
        if len(ids) > options.max_length or not possible:
            raise ArgumentError(
                f"forced[{place}]: expected at most {options.max_length} ids from 0 to {size - 1}, no end token and no "
                f"pad, got {quote(ids)}. Leave the end token out and raise max_length for a longer prefix."
            )
    width = max(map(len, lists))
    return torch.tensor([ids + [-1] * (width - len(ids)) for ids in lists], dtype=torch.int64).view(sentences, width)
