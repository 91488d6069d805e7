"""Hugging Face models in the middle of a search: rows, each a hypothesis of a sentence, and a cache that follows."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from treeavg.distill.sequences.align import Prompts, frozen, position_ids
from treeavg.distill.sequences.running import cache_name
from treeavg.errors import ArgumentError, LimitError

__all__ = ["CausalRows", "EncoderDecoderRows"]


class Cached:
    """What both kinds of models share: rows, each of a sentence, and a cache that follows them."""

    def __init__(self, model: Any, inputs: Prompts) -> None:
        self.model = model
        self.device = model.device
        self.ids, self.attention = inputs.ids.to(self.device), inputs.attention.to(self.device)
        self.sentence = torch.arange(len(self.ids), device=self.device)
        self.cache: Any = None
        self.cache_name = cache_name(model)
        self.longest = int(self.attention.sum(1).max())
        self.written = 0

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

    def require_positions(self, used: int) -> None:
        """Raise a LimitError where a row needs more positions than the model has."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        if positions is not None and used > positions:
            raise LimitError(
                f"inputs: expected at most the model's {positions} positions, got inputs of up to {self.longest} "
                f"tokens and {self.written} after them. Shorten the inputs or lower max_length."
            )

    def reorder(self, parents: Tensor) -> bool:
        """Have the cache's rows follow; tell whether the rows' sentences changed."""
        sentence = self.sentence[parents]
        moved = not torch.equal(sentence, self.sentence)
        self.sentence = sentence
        # Rows of one sentence share what was read from its input: only where sentences moved must that follow too.
        own = self.cache if moved else getattr(self.cache, "self_attention_cache", self.cache)
        own.reorder_cache(parents)
        return moved


class CausalRows(Cached):
    """A causal model after its prompts."""

    def first(self) -> Tensor:
        return self._next(self.ids)

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        parents, tokens = parents.to(self.device), tokens.to(self.device)
        self.reorder(parents)
        self.attention = torch.cat([self.attention[parents], self.attention.new_ones(len(parents), 1)], 1)
        return self._next(tokens[:, None])

    def _next(self, ids: Tensor) -> Tensor:
        self.require_positions(self.longest + self.written)
        self.written += 1
        positions = position_ids(self.attention)[:, -ids.shape[1] :]
        known = inspect.signature(self.model.forward).parameters
        some = {"position_ids": positions, "logits_to_keep": 1}  # not every model takes these
        arguments = {"input_ids": ids, "attention_mask": self.attention}
        return self.call(arguments | {name: value for name, value in some.items() if name in known})


class EncoderDecoderRows(Cached):
    """An encoder-decoder after its encoder; `ids` are the encoder's."""

    def first(self) -> Tensor:
        self.require_positions(self.longest)
        with frozen(self.model):
            self.encoded: Tensor = self.model.get_encoder()(input_ids=self.ids, attention_mask=self.attention)[0]
        self.states, self.mask = self.encoded, self.attention
        return self._next(torch.full_like(self.sentence, self.model.config.decoder_start_token_id))

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        if self.reorder(parents.to(self.device)):
            self.states, self.mask = self.encoded[self.sentence], self.attention[self.sentence]
        return self._next(tokens.to(self.device))

    def _next(self, tokens: Tensor) -> Tensor:
        self.written += 1
        self.require_positions(self.written)
        return self.call(
            {"encoder_outputs": (self.states,), "attention_mask": self.mask, "decoder_input_ids": tokens[:, None]}
        )
