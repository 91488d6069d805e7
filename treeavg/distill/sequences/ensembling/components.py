"""Models as members of an ensemble: Hugging Face causal and encoder-decoder models with their caches, and functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import pad as padded

from treeavg.distill.sequences.align import Prompts, prompts, unwrapped
from treeavg.distill.sequences.ensembling.beam import beam_search
from treeavg.distill.sequences.ensembling.decoders import CausalRows, EncoderDecoderRows
from treeavg.distill.sequences.ensembling.protocol import BeamOptions, Component, Decoder, Forced
from treeavg.errors import ArgumentError, quote

__all__ = ["FunctionComponent", "ModelComponent", "pivot_inputs"]


@dataclass(frozen=True, eq=False)
class ModelComponent:
    """A Hugging Face model and its own inputs for the B sentences.

    Parameters
    ----------
    model : torch.nn.Module
        Causal or encoder-decoder, as its config says; adapters and wrappers for several processes are seen through.
        It is put in evaluation mode for each pass, and back. Components of one model, the same object, with different
        inputs (a direct source and its pivots, say) go through it together, as one wider batch.
    inputs : Prompts
        Prompts padded on the left for a causal model, the encoder's inputs for another.
    tokens : mapping of str to int, optional
        The tokenizer's ``get_vocab()``. Give it for all components to have different vocabularies told apart, and the
        padding of heads cut off; without it the widths of the heads must agree.

    Raises
    ------
    ArgumentError
        An empty input, tokens that the model does not have, a causal prompt with padding on the right, an
        encoder-decoder without a decoder's start token.

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
        known = vocabulary_size(self.model)
        wrong = attention.bool() & ((self.inputs.ids < 0) | (self.inputs.ids >= known))
        if bool(wrong.any()):
            row, column = wrong.nonzero()[0].tolist()
            raise ArgumentError(
                f"inputs[{row}]: expected ids from 0 to {known - 1}, the model's, got "
                f"{int(self.inputs.ids[row, column])}. Use the tokenizer that belongs to the model."
            )
        if config.is_encoder_decoder:
            start = getattr(config, "decoder_start_token_id", None)
            if not isinstance(start, int):
                raise ArgumentError(
                    f"model.config.decoder_start_token_id: expected a token id, got {quote(start)}. Set it to the "
                    "token that the model was trained to begin with."
                )
        elif len(attention) and not bool(attention[:, -1].all()):
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
        return (EncoderDecoderRows if model.config.is_encoder_decoder else CausalRows)(model, self.inputs)

    def stacks_with(self, other: Component) -> bool:
        """Tell whether another component runs in the same pass: it does where its model is the same object.

        Parameters
        ----------
        other : Component
            Any component.

        Returns
        -------
        bool

        Examples
        --------
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1))
        >>> direct, pivot = (ModelComponent(model, prompts([row], pad=0, side="left")) for row in ([5, 6], [7]))
        >>> direct.stacks_with(pivot)
        True
        """
        return isinstance(other, ModelComponent) and other.model is self.model

    def stacked(self, others: Sequence[Component]) -> Decoder:
        """Return a fresh start of all sentences of this component, then of those of others with the same model.

        Parameters
        ----------
        others : sequence of Component
            Components that `stacks_with` accepts.

        Returns
        -------
        Decoder
            Of all inputs, padded to one width.

        Examples
        --------
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1))
        >>> direct, pivot = (ModelComponent(model, prompts([row], pad=0, side="left")) for row in ([5, 6], [7]))
        >>> direct.stacked([pivot]).first().shape
        torch.Size([2, 9])
        """
        every = [self.inputs, *(other.inputs for other in others if isinstance(other, ModelComponent))]
        width = max(inputs.ids.shape[1] for inputs in every)
        on_right = unwrapped(self.model).config.is_encoder_decoder
        parts = []
        for inputs in every:
            extra = width - inputs.ids.shape[1]
            sides = (0, extra) if on_right else (extra, 0)
            parts.append(
                [padded(part, sides).to(self.inputs.ids.device) for part in (inputs.ids, inputs.attention.long())]
            )
        ids, attention = (torch.cat(column) for column in zip(*parts, strict=True))
        return replace(self, inputs=Prompts(ids, attention)).decoder()


def vocabulary_size(model: nn.Module) -> int:
    """Return how many tokens a model can read."""
    inner = unwrapped(model)
    layer = inner.get_input_embeddings() if hasattr(inner, "get_input_embeddings") else None
    weight = getattr(layer, "weight", None)
    return int(inner.config.vocab_size if weight is None else weight.shape[0])


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
        return _Function(self.law, self.sentences, self.size)


class _Function:
    """The prefixes of a function's rows."""

    def __init__(self, law: Callable[[Tensor, Tensor], Tensor], sentences: int, size: int) -> None:
        self.law, self.size = law, size
        self.sentence = torch.arange(sentences)
        self.prefixes = torch.zeros(sentences, 0, dtype=torch.int64)

    def first(self) -> Tensor:
        logits = self.law(self.sentence, self.prefixes)
        wanted = (len(self.sentence), self.size)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ArgumentError(
                f"law: expected logits of shape {wanted}, a row for each prefix, got {got}. Expand a law that is the "
                "same for all rows: row.expand(len(prefixes), -1)."
            )
        return logits

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
