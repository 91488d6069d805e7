"""Completions drawn from a language model, with the law they were drawn from: exactly, or by a sampler that says so.

What `generate` of transformers does depends on a file that comes with the model and on defaults of the library, such as
the 50 likeliest tokens; here every setting is the sampler's, and the model's own is set aside meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from treeavg.distill.sequences.align import Completions, Prompts, align, completions, frozen, unwrapped
from treeavg.distill.sequences.losses.tokens import token_logp
from treeavg.distill.sequences.sampling.generation import (
    Record,
    generate,
    own_random_numbers,
    require_prompts,
    special_tokens,
)
from treeavg.distill.sequences.sampling.samplers import KINDS, Sampler, require_whole
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["KINDS", "Sampler", "Samples", "log_probs", "repeated", "sample"]


class Samples(NamedTuple):
    """Completions that a model wrote; those of one prompt stand next to each other.

    Parameters
    ----------
    ids : Tensor, int64, shape (B, T)
        Tokens, the end included; the padding id after it.
    mask : Tensor, bool, shape (B, T)
        True up to and including the end, everywhere where there is none.
    truncated : Tensor, bool, shape (B,)
        True where there is no end.
    log_prob : Tensor, float32, shape (B, T)
        Log-probability of each token given those before it; 0 after the end. For the kind ``"sample"`` under the law
        that the sampler drew from, its options included. Greedy and beam searches have no such law: under the model's
        own.
    sampler_id : str
        The sampler's `id`.

    Examples
    --------
    >>> ids, mask = torch.tensor([[5, 0, 0], [5, 6, 7]]), torch.tensor([[True, True, False], [True, True, True]])
    >>> Samples(ids, mask, torch.tensor([False, True]), torch.zeros(2, 3), Sampler().id).lists()
    [[5], [5, 6, 7]]
    """

    ids: Tensor
    mask: Tensor
    truncated: Tensor
    log_prob: Tensor
    sampler_id: str

    @property
    def completions(self) -> Completions:
        """What the losses need: ids, mask and truncated."""
        return Completions(self.ids, self.mask, self.truncated)

    def lists(self) -> list[list[int]]:
        """Return each completion's tokens without its end: what a tokenizer decodes.

        Returns
        -------
        list of list of int

        Examples
        --------
        >>> ids = torch.tensor([[0, 0], [4, 0]])
        >>> mask = torch.tensor([[True, False], [True, True]])
        >>> Samples(ids, mask, torch.tensor([False, False]), torch.zeros(2, 2), "greedy").lists()
        [[], [4]]
        """
        ends = (self.mask.sum(1) - (~self.truncated).to(torch.int64)).clamp(min=0).tolist()
        return [row[:end] for row, end in zip(self.ids.tolist(), ends, strict=True)]


def sample(
    model: PreTrainedModel,
    batch: Prompts,
    sampler: Sampler | None = None,
    *,
    samples: int = 1,
    eos_ids: Sequence[int] | None = None,
    pad: int | None = None,
    generator: torch.Generator | None = None,
) -> Samples:
    """Return completions of prompts.

    The model generates in evaluation mode, without gradients and with its cache; each of its modules is then back in
    the mode that it was in. Padding may equal the end token: an end is the first one.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        A causal or an encoder-decoder model. Of its generation config only the special tokens are used.
    batch : Prompts
        P prompts, padded on the left for a causal model. Moved to the model's device.
    sampler : Sampler, optional
        Default: exact ancestral sampling of at most 64 tokens.
    samples : int, default 1
        Completions of each prompt: row r is of prompt ``r // samples``. From a beam search the best, best first; a
        greedy search has one.
    eos_ids : sequence of int, optional
        All ids that end a completion. Default: the model's.
    pad : int, optional
        What stands after the end. Default: the model's padding id, or else the first of the ends.
    generator : torch.Generator, optional
        Source of random numbers; torch's global state is then left as it was. Default: the global one. Searches draw
        nothing.

    Returns
    -------
    Samples
        B = P samples rows; T is the longest completion's length. On the model's device.

    Raises
    ------
    ArgumentError
        A model that cannot generate, has no end token, or gives NaN; a prompt without tokens, or padded on the wrong
        side; an option that does not fit the kind of model.
    LimitError
        Prompt and completion together exceed the model's positions.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> drawn = sample(GPT2LMHeadModel(config), prompts([[1, 2], [3]], pad=0, side="left"), Sampler(max_new_tokens=5))
    >>> drawn.ids.shape[0], drawn.sampler_id
    (2, 'sample(max_new_tokens=5)')
    """
    sampler = Sampler() if sampler is None else sampler
    require_whole("samples", samples, 1)
    if sampler.kind != "sample" and samples > sampler.beams:
        raise ArgumentError(
            f"samples: expected at most {sampler.beams} from the sampler {sampler.id}, got {samples}. "
            "Raise beams, or use kind='sample'."
        )
    inner = unwrapped(model)
    special = special_tokens(inner, eos_ids, pad)
    require_prompts(inner, batch, sampler)
    device = next(iter(inner.parameters())).device
    batch = Prompts(batch.ids.to(device), batch.attention.to(device))
    if not len(batch.ids):
        none = torch.zeros(0, 0, dtype=torch.int64, device=device)
        return Samples(none, none.bool(), none.bool().any(1), none.float(), sampler.id)
    record = Record(samples if sampler.kind == "sample" else sampler.beams)
    with frozen(inner), own_random_numbers(generator, device):
        ids = generate(inner, batch, sampler, samples, special, record)
    found = completions(ids, special.eos_ids)
    width = int(found.mask.sum(1).max())  # beams of equal length come with columns of padding
    found = Completions(*(part[:, :width] if part.dim() == 2 else part for part in found))
    found = found._replace(ids=found.ids.masked_fill(~found.mask, special.pad))
    if sampler.kind == "sample":
        log_prob = record.finish(ids)[:, :width].masked_fill(~found.mask, 0.0)
    else:
        log_prob = log_probs(model, repeated(batch, samples), found).float()
    return Samples(*found, log_prob, sampler.id)


def log_probs(model: PreTrainedModel, batch: Prompts, given: Completions, *, batch_size: int | None = None) -> Tensor:
    """Return the log-probability that a model gives each token of completions, in evaluation mode and as a constant.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal or an encoder-decoder model.
    batch : Prompts
        B prompts, one for each completion; see `repeated`.
    given : Completions
        B completions.
    batch_size : int, optional
        Rows at a time. Default: all.

    Returns
    -------
    Tensor
        Floating, shape (B, T), at least float32; 0 where the mask is False.

    Raises
    ------
    ArgumentError
        Another number of prompts than of completions, or a batch size below 1.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0))
    >>> given = completions(torch.tensor([[4, 0, 0]]), [0])
    >>> log_probs(model, prompts([[1, 2]], pad=0, side="left"), given).shape
    torch.Size([1, 3])
    """
    rows = len(given.ids)
    if len(batch.ids) != rows:
        raise ArgumentError(
            f"prompts: expected {rows}, one for each completion, got {len(batch.ids)}. "
            "Repeat them with repeated(prompts, samples)."
        )
    size = max(rows, 1) if batch_size is None else batch_size
    require_whole("batch_size", size, 1)
    found = []
    with frozen(model):
        for start in range(0, rows, size):
            part = slice(start, start + size)
            inputs = Prompts(batch.ids[part], batch.attention[part])
            scores, ids, mask = align(model, inputs, Completions(*(one[part] for one in given)))
            found.append(token_logp(scores, ids, mask=mask))
    return torch.cat(found) if found else torch.zeros(given.ids.shape, device=given.ids.device)


def repeated(batch: Prompts, samples: int) -> Prompts:
    """Return each prompt several times in a row, as `sample` orders the completions.

    Parameters
    ----------
    batch : Prompts
        P prompts.
    samples : int
        Times, at least 1.

    Returns
    -------
    Prompts
        P samples prompts.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import prompts
    >>> repeated(prompts([[4], [5]], pad=0, side="left"), 2).ids.tolist()
    [[4], [4], [5], [5]]
    """
    require_whole("samples", samples, 1)
    return Prompts(batch.ids.repeat_interleave(samples, 0), batch.attention.repeat_interleave(samples, 0))
