"""What is kept of a prompt behind gist tokens: their keys and values."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Completions, Prompts, causal_logits, position_ids
from treeavg.distill.sequences.applications.prompts import joined, require_rows
from treeavg.distill.sequences.applications.soft_prompts import require_causal, require_known
from treeavg.distill.sequences.running import cache_name
from treeavg.errors import ArgumentError

__all__ = ["GistCache", "cached_logits", "gist_cache"]


class GistCache(NamedTuple):
    """Keys and values of gist tokens: all that is kept of a prompt.

    Parameters
    ----------
    layers : tuple of (Tensor, Tensor)
        Keys and values (B, heads, k, D) of each layer.
    positions : Tensor, int64, shape (B,)
        The position of the next token, prompt and gist tokens counted.
    kind : type
        The model's class of caches.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    positions: Tensor
    kind: Any


def gist_cache(model: nn.Module, gist_ids: Tensor, prompt: Prompts, *, detach: bool = True) -> GistCache:
    """Return the keys and values of gist tokens behind a prompt; the prompt's own are dropped.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal model, in the mode it is in.
    gist_ids : Tensor, int64, shape (k,)
        The gist tokens.
    prompt : Prompts
        Padded on the left.
    detach : bool, default True
        Constants: nothing flows back to the prompt.

    Returns
    -------
    GistCache

    Raises
    ------
    ArgumentError
        No gist tokens, or an encoder-decoder model.

    Examples
    --------
    >>> from treeavg.distill.sequences.applications.gist import add_gist_tokens
    >>> from treeavg.distill.sequences.align import prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=0)
    >>> model = GPT2LMHeadModel(config)
    >>> cache = gist_cache(model, add_gist_tokens(model, 3), prompts([[2, 3, 4, 5, 6]], pad=0, side="left"))
    >>> cache.layers[0][0].shape, cache.positions.tolist()
    (torch.Size([1, 2, 3, 4]), [8])
    """
    require_causal(model)
    require_known("gist_ids", gist_ids, model)
    before, _ = behind_gists(gist_ids, prompt)
    count = len(gist_ids)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach):
        output = model(
            input_ids=before.ids,
            attention_mask=before.attention,
            position_ids=position_ids(before.attention),
            use_cache=True,
        )
    past = getattr(output, cache_name(model))
    layers = tuple((entry[0][:, :, -count:].clone(), entry[1][:, :, -count:].clone()) for entry in past)
    return GistCache(layers, before.attention.sum(1), type(past))


def cached_logits(model: nn.Module, cache: GistCache, batch: Prompts, completions: Completions) -> Tensor:
    """Return the scores of completions from gist tokens' keys and values: what `gist_logits` gives, without the prompt.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The same as made the cache.
    cache : GistCache
        Of B rows, or of one for all. Not modified.
    batch : Prompts
        The inputs, padded on the left, at least one token each.
    completions : Completions
        What follows.

    Returns
    -------
    Tensor
        Shape (B, T, V).

    Raises
    ------
    ArgumentError
        An input without tokens, or numbers of rows that differ.

    Examples
    --------
    >>> from treeavg.distill.sequences.applications.gist import add_gist_tokens
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=0)
    >>> model = GPT2LMHeadModel(config)
    >>> cache = gist_cache(model, add_gist_tokens(model, 3), prompts([[2, 3, 4]], pad=0, side="left"))
    >>> cached_logits(model, cache, prompts([[5]], pad=0, side="left"), completions(torch.tensor([[4, 0]]), [0])).shape
    torch.Size([1, 2, 11])
    """
    rows, count = len(batch.ids), cache.layers[0][0].shape[2]
    if len(cache.positions) not in (1, rows):
        raise ArgumentError(
            f"cache: expected {rows} rows, as many as inputs, or one, got {len(cache.positions)}. Batch them alike."
        )
    if not batch.ids.shape[1] or not bool(batch.attention[:, -1].bool().all()):
        raise ArgumentError(
            "batch: expected at least one token in the last place of each row, got padding. "
            "Pad on the left, and begin each input with a token."
        )
    require_rows(rows, completions)
    past = cache.kind()
    for number, (keys, values) in enumerate(cache.layers):
        past.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
    attention = torch.cat([batch.attention.long(), completions.mask.long()], 1)
    logits: Tensor = model(
        input_ids=torch.cat([batch.ids, completions.ids.masked_fill(~completions.mask, 0)], 1),
        attention_mask=torch.cat([attention.new_ones(rows, count), attention], 1),
        position_ids=position_ids(attention) + cache.positions[:, None],
        use_cache=True,
        **{cache_name(model): past},
    ).logits
    return causal_logits(logits, batch.ids.shape[1], completions.ids.shape[1])


def behind_gists(gist_ids: Tensor, prompt: Prompts, *others: Prompts) -> tuple[Prompts, Tensor]:
    """Return prompt, gist tokens and what follows, padded on the left, and where the gist tokens are."""
    if gist_ids.dim() != 1 or len(gist_ids) < 1:
        raise ArgumentError(
            f"gist_ids: expected shape (k,), k at least 1, got {tuple(gist_ids.shape)}. Use add_gist_tokens(model, 4)."
        )
    gist = Prompts(gist_ids[None], torch.ones_like(gist_ids)[None])
    parts = (prompt, gist, *others)
    # The same moves for a batch that holds 1 at gist tokens only.
    marks = [Prompts(torch.full_like(part.ids, int(part is gist)), part.attention) for part in parts]
    return joined(*parts), joined(*marks).ids.bool()
