"""One call of `generate` of transformers in which every setting is the sampler's, and what is checked before it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from treeavg.distill.sequences.align import Prompts
from treeavg.distill.sequences.running import require_tokens
from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.errors import ArgumentError, LimitError, quote

__all__ = ["Record", "Special", "generate", "own_random_numbers", "require_prompts", "special_tokens"]


class Special(NamedTuple):
    """Ids of special tokens."""

    eos_ids: list[int]
    pad: int
    bos: int | None
    start: int | None


class Record:
    """A logits processor that refuses NaN, and keeps the log-probability of each token drawn, but one law at a time."""

    def __init__(self, rows_per_prompt: int) -> None:
        self.rows_per_prompt = rows_per_prompt
        self.steps = 0
        self.columns: list[Tensor] = []
        self.law: Tensor | None = None

    def check(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Raise an ArgumentError where a score is NaN or +inf: the first processor of all."""
        bad = ~(scores < math.inf).all(-1)
        if bad.any():
            row = int(bad.nonzero()[0, 0])
            raise ArgumentError(
                f"model: expected logits below infinity, got NaN or inf at token {self.steps} of the completion of "
                f"prompts[{row // self.rows_per_prompt}]. Look for weights that are not finite, or load it in float32."
            )
        self.steps += 1
        return scores

    def keep(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Keep the law of the next token, and of the last one what was drawn: the last processor of all."""
        self._draw(ids[:, -1])
        self.law = scores.log_softmax(-1)
        return scores

    def finish(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities (B, T) of what was drawn."""
        self._draw(ids[:, -1])
        return torch.stack(self.columns, 1)

    def _draw(self, tokens: Tensor) -> None:
        if self.law is not None:
            self.columns.append(self.law.gather(1, tokens[:, None])[:, 0])


def generate(model: Any, batch: Prompts, sampler: Sampler, samples: int, special: Special, record: Record) -> Tensor:
    """Return what follows the prompts, (B, T) with padding after an end."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    processors: list[Any] = [record.check]
    if sampler.kind == "sample":  # after all others, which `generate` would put behind ours; else left to `generate`
        if sampler.temperature != 1:
            processors.append(TemperatureLogitsWarper(float(sampler.temperature)))
        if sampler.top_k:
            processors.append(TopKLogitsWarper(sampler.top_k))
        if sampler.top_p < 1:
            processors.append(TopPLogitsWarper(float(sampler.top_p)))
        processors.append(record.keep)
    with _own_configuration(model), _without_false_alarm():
        sequences = model.generate(
            input_ids=batch.ids,
            attention_mask=batch.attention.long(),
            generation_config=_configuration(sampler, samples, special),
            logits_processor=LogitsProcessorList(processors),
        )
    prefix = 1 if model.config.is_encoder_decoder else batch.ids.shape[1]
    found: Tensor = sequences[:, prefix:]
    return found


def _configuration(sampler: Sampler, samples: int, special: Special) -> Any:
    """Return a generation config with every setting; what is off by None is off as the model's own is set aside."""
    from transformers import GenerationConfig

    drawn = sampler.kind in ("sample", "beam-sample")
    options: dict[str, Any] = {
        "max_new_tokens": sampler.max_new_tokens,
        "min_new_tokens": sampler.min_new_tokens,
        "do_sample": drawn,
        "num_beams": sampler.beams,
        "num_return_sequences": samples,
        "early_stopping": False,
        "use_cache": True,
        "repetition_penalty": 1.0,
        "encoder_repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "encoder_no_repeat_ngram_size": 0,
        "renormalize_logits": False,
        "remove_invalid_values": False,
        "forced_bos_token_id": sampler.first_token,
        "pad_token_id": special.pad,
        "eos_token_id": special.eos_ids,
        "bos_token_id": special.bos,
        "decoder_start_token_id": special.start,
        "output_scores": False,
        "return_dict_ingenerate": False,
    }
    if sampler.beams > 1:
        options["length_penalty"] = float(sampler.length_penalty)
    if drawn:  # without draws transformers would say that they mean nothing
        by_us = sampler.kind == "sample"
        options |= {
            "temperature": 1.0 if by_us else float(sampler.temperature),
            "top_k": 0 if by_us else sampler.top_k,
            "top_p": 1.0 if by_us else float(sampler.top_p),
            "typical_p": 1.0,
            "epsilon_cutoff": 0.0,
            "eta_cutoff": 0.0,
        }
    made: Any = GenerationConfig  # without annotations of its own
    return made(**options)


@contextmanager
def _own_configuration(model: Any) -> Iterator[None]:
    """Set the model's generation config aside: a setting that is None would be taken from there."""
    held = model.generation_config
    model.generation_config = type(held)()
    try:
        yield
    finally:
        model.generation_config = held


@contextmanager
def _without_false_alarm() -> Iterator[None]:
    """Keep a warning away that the mask was not passed: it was.

    `generate` drops a mask of ones, as nothing is padded. Models that look for padding in their inputs, such as GPT-2,
    then take the end tokens of finished rows for it, where both are one id, and ask for the mask.
    """
    logger = logging.getLogger("transformers.modeling_utils")

    def keep(record: logging.LogRecord) -> bool:
        return "passing in an `attention_mask`" not in record.getMessage()

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


@contextmanager
def own_random_numbers(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Draw from a generator, which `generate` does not take: seed the global one by it, and put that back."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def special_tokens(model: Any, eos_ids: Sequence[int] | None, pad: int | None) -> Special:
    """Return the special tokens given, or else the model's."""
    if not callable(getattr(model, "generate", None)):
        raise ArgumentError(
            f"model: expected a model that can generate, got {type(model).__name__}. Load it with its language model "
            "head."
        )

    def of_model(name: str) -> Any:
        value = getattr(model.generation_config, name, None)
        return getattr(model.config, name, None) if value is None else value

    ends = of_model("eos_token_id") if eos_ids is None else eos_ids
    ends = [ends] if isinstance(ends, int) else list(ends or ())
    if not ends:
        raise ArgumentError(
            f"eos_ids: expected at least one id that ends a completion, got {quote(eos_ids)}, and the model names "
            "none. Give eos_ids=[tokenizer.eos_token_id]."
        )
    pad = of_model("pad_token_id") if pad is None else pad
    return Special(ends, ends[0] if pad is None else pad, of_model("bos_token_id"), of_model("decoder_start_token_id"))


def require_prompts(model: Any, batch: Prompts, sampler: Sampler) -> None:
    """Raise an error where the prompts do not fit the model."""
    config, lengths = model.config, batch.attention.sum(1)
    if (lengths == 0).any():
        row = int((lengths == 0).nonzero()[0, 0])
        raise ArgumentError(
            f"prompts[{row}]: expected at least one token, got none. Start it with the tokenizer's first token."
        )
    if not config.is_encoder_decoder:
        if sampler.first_token is not None:
            raise ArgumentError(
                f"first_token: expected None for a causal model, got {sampler.first_token}. Put it at the prompts' end."
            )
        if len(lengths) and not batch.attention[:, -1].all():
            row = int((batch.attention[:, -1] == 0).nonzero()[0, 0])
            raise ArgumentError(
                f"prompts[{row}]: expected padding on the left for a causal model, got some on the right. "
                "Use prompts(ids, pad=pad, side='left')."
            )
    elif len(lengths) and not batch.attention[:, 0].all():
        row = int((batch.attention[:, 0] == 0).nonzero()[0, 0])
        raise ArgumentError(
            f"prompts[{row}]: expected padding on the right for an encoder-decoder model, got some on the left. "
            "Use prompts(ids, pad=pad, side='right')."
        )
    require_tokens("prompts", batch.ids, model)
    positions = getattr(config, "max_position_embeddings", None)
    longest = int(lengths.max()) if len(lengths) else 0
    parts = [longest, sampler.max_new_tokens] if config.is_encoder_decoder else [longest + sampler.max_new_tokens]
    if positions is not None and max(parts) > positions:
        raise LimitError(
            f"prompts: expected at most the model's {positions} positions, got {longest} tokens and up to "
            f"{sampler.max_new_tokens} new ones. Shorten the prompts or lower max_new_tokens."
        )
