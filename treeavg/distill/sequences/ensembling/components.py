"""Models as members of an ensemble: Hugging Face causal and encoder-decoder models with their caches, and functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Prompts, frozen, position_ids, prompts, unwrapped
from treeavg.distill.sequences.ensembling.beam import beam_search
from treeavg.distill.sequences.ensembling.protocol import BeamOptions, Component, Decoder, Forced
from treeavg.distill.sequences.running import cache_name
from treeavg.errors import ArgumentError, quote

__all__ = ["FunctionComponent", "ModelComponent", "pivot_inputs"]


@dataclass(frozen=True, eq=False)
class ModelComponent:
    """A Hugging Face model and its own inputs for the B sentences.

    Parameters
    ----------
    model : torch.nn.Module
        Causal or encoder-decoder, as its config says; adapters and wrappers for several processes are seen through.
        It is put in evaluation mode for each pass, and back.
    inputs : Prompts
        Prompts padded on the left for a causal model, the encoder's inputs for another.
    tokens : mapping of str to int, optional
        The tokenizer's ``get_vocab()``. Give it for all components to have different vocabularies told apart, and the
        padding of heads cut off; without it the widths of the heads must agree.

    Raises
    ------
    ArgumentError
        An empty input, a causal prompt with padding on the right, an encoder-decoder without a decoder's start token.

    Examples
    --------
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1))
    >>> ModelComponent(model, prompts([[5, 6], [7]], pad=0, side="left")).sentences
    2
    """

    model: nn.Module
    inputs: Prompts
    tokens: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        attention, config = self.inputs.attention, unwrapped(self.model).config
        empty = (attention.sum(1) == 0).nonzero().flatten().tolist()
        if empty:
            raise ArgumentError(
                f"inputs[{empty[0]}]: expected one token or more, got an empty input. Begin each input with the start "
                "token, or end it with the end token."
            )
        if config.is_encoder_decoder:
            start = getattr(config, "decoder_start_token_id", None)
            if not isinstance(start, int):
                raise ArgumentError(
                    f"model.config.decoder_start_token_id: expected a token id, got {quote(start)}. Set it to the "
                    "token that the model was trained to begin with."
                )
        elif not bool(attention[:, -1].all()):
            raise ArgumentError(
                "inputs: expected prompts padded on the left, as the model is causal, got padding at the end. Use "
                "prompts(..., side='left')."
            )

    @property
    def sentences(self) -> int:
        """Return the number of sentences."""
        return len(self.inputs.ids)

    @property
    def size(self) -> int:
        """Return the width of the model's logits."""
        model = unwrapped(self.model)
        weight = getattr(model.get_output_embeddings(), "weight", None)
        return int(model.config.vocab_size if weight is None else weight.shape[0])

    def decoder(self) -> Decoder:
        """Return a fresh start of all sentences.

        Returns
        -------
        Decoder

        Examples
        --------
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1))
        >>> ModelComponent(model, prompts([[5, 6], [7]], pad=0, side="left")).decoder().first().shape
        torch.Size([2, 9])
        """
        model = unwrapped(self.model)
        return (_EncoderDecoder if model.config.is_encoder_decoder else _Causal)(model, self.inputs)


class _Cached:
    """What both kinds of models share: rows, each of a sentence, and a cache that follows them."""

    def __init__(self, model: Any, inputs: Prompts) -> None:
        self.model = model
        self.device = model.device
        self.ids, self.attention = inputs.ids.to(self.device), inputs.attention.to(self.device)
        self.sentence = torch.arange(len(self.ids), device=self.device)
        self.cache: Any = None
        self.cache_name = cache_name(model)

    def call(self, arguments: dict[str, Any]) -> Tensor:
        """Return the logits (R, V) after the last token, and keep the cache."""
        with frozen(self.model):
            output = self.model(**{self.cache_name: self.cache}, use_cache=True, return_dict=True, **arguments)
        self.cache = getattr(output, self.cache_name, None)
        if not hasattr(self.cache, "reorder_cache"):
            raise ArgumentError(
                f"model: expected a cache that can be put in order, got {type(self.cache).__name__} from "
                f"{type(self.model).__name__}. Use FunctionComponent, which needs no cache."
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def reorder(self, parents: Tensor) -> bool:
        """Have the cache's rows follow; tell whether the rows' sentences changed."""
        sentence = self.sentence[parents]
        moved = not torch.equal(sentence, self.sentence)
        self.sentence = sentence
        # Rows of one sentence share what was read from its input: only where sentences moved must that follow too.
        own = self.cache if moved else getattr(self.cache, "self_attention_cache", self.cache)
        own.reorder_cache(parents)
        return moved


class _Causal(_Cached):
    """A causal model after its prompts."""

    def first(self) -> Tensor:
        return self._next(self.ids)

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        parents, tokens = parents.to(self.device), tokens.to(self.device)
        self.reorder(parents)
        self.attention = torch.cat([self.attention[parents], self.attention.new_ones(len(parents), 1)], 1)
        return self._next(tokens[:, None])

    def _next(self, ids: Tensor) -> Tensor:
        positions = position_ids(self.attention)[:, -ids.shape[1] :]
        known = inspect.signature(self.model.forward).parameters
        some = {"position_ids": positions, "logits_to_keep": 1}  # not every model takes these
        arguments = {"input_ids": ids, "attention_mask": self.attention}
        return self.call(arguments | {name: value for name, value in some.items() if name in known})


class _EncoderDecoder(_Cached):
    """An encoder-decoder after its encoder; `ids` are the encoder's."""

    def first(self) -> Tensor:
        with frozen(self.model):
            self.encoded: Tensor = self.model.get_encoder()(input_ids=self.ids, attention_mask=self.attention)[0]
        self.states, self.mask = self.encoded, self.attention
        return self._next(torch.full_like(self.sentence, self.model.config.decoder_start_token_id))

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        if self.reorder(parents.to(self.device)):
            self.states, self.mask = self.encoded[self.sentence], self.attention[self.sentence]
        return self._next(tokens.to(self.device))

    def _next(self, tokens: Tensor) -> Tensor:
        return self.call(
            {"encoder_outputs": (self.states,), "attention_mask": self.mask, "decoder_input_ids": tokens[:, None]}
        )


@dataclass(frozen=True, eq=False)
class FunctionComponent:
    """Next-token scores from a function: tables, rules, models without a cache.

    Parameters
    ----------
    law : callable
        Takes the sentences (R,) and the tokens so far (R, t), int64, of R rows; returns logits (R, V).
    sentences : int
        How many sentences: B.
    size : int
        Size of the vocabulary: V.
    tokens : mapping of str to int, optional
        The vocabulary.

    Examples
    --------
    >>> FunctionComponent(lambda sentence, prefixes: torch.zeros(len(prefixes), 5), 1, 5).decoder().first().shape
    torch.Size([1, 5])
    """

    law: Callable[[Tensor, Tensor], Tensor]
    sentences: int
    size: int
    tokens: Mapping[str, int] | None = None

    def decoder(self) -> Decoder:
        """Return a fresh start of all sentences.

        Returns
        -------
        Decoder

        Examples
        --------
        >>> FunctionComponent(lambda _, prefixes: torch.zeros(len(prefixes), 5), 2, 5).decoder().first().shape
        torch.Size([2, 5])
        """
        return _Function(self.law, self.sentences)


class _Function:
    """The prefixes of a function's rows."""

    def __init__(self, law: Callable[[Tensor, Tensor], Tensor], sentences: int) -> None:
        self.law = law
        self.sentence = torch.arange(sentences)
        self.prefixes = torch.zeros(sentences, 0, dtype=torch.int64)

    def first(self) -> Tensor:
        return self.law(self.sentence, self.prefixes)

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        parents, tokens = parents.cpu(), tokens.cpu()
        self.sentence = self.sentence[parents]
        self.prefixes = torch.cat([self.prefixes[parents], tokens[:, None]], 1)
        return self.first()


def pivot_inputs(
    components: Sequence[Component],
    options: BeamOptions,
    *,
    pad: int,
    side: str = "right",
    convert: Callable[[list[int]], list[int]] | None = None,
    forced: Forced | None = None,
) -> Prompts:
    """Return inputs for a second model: the best outputs of a first, such as translations into a pivot language.

    Parameters
    ----------
    components : sequence of Component
        The first model with its inputs, or several, which are averaged.
    options : BeamOptions
        How to search; the paper's beam is 5.
    pad : int
        The second model's padding.
    side : {"right", "left"}, default "right"
        Where it is padded: ``"left"`` for a causal model.
    convert : callable, optional
        Makes the second model's input of an output's ids, the end token left out: adds tags and an end token, or goes
        through text to another vocabulary. Default: the ids with their end token, as they are.
    forced : sequence of int, or B of them, optional
        Tokens that the first model's outputs start with.

    Returns
    -------
    Prompts
        For `ModelComponent`.

    Raises
    ------
    ArgumentError
        What `beam_search` and `ModelComponent` refuse.

    References
    ----------
    [Wen et al., AAAI 2025]: direct and pivot translations as components of one ensemble.

    Examples
    --------
    >>> first = FunctionComponent(lambda _, prefixes: torch.tensor([[0.0, 1.0, 2.0]]).expand(len(prefixes), 3), 1, 3)
    >>> options = BeamOptions(eos_ids=[0], max_length=2, beam=1)
    >>> pivot_inputs([first], options, pad=0, convert=lambda ids: [9, *ids]).ids.tolist()
    [[9, 2, 2]]
    """
    outputs = [found[0].ids if found else () for found in beam_search(components, options, forced=forced)]
    lists = [list(ids) if convert is None else convert(list(ids[:-1])) for ids in outputs]
    return prompts(lists, pad=pad, side=side)
