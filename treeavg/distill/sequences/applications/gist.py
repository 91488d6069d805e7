"""Gist tokens: they stand behind a prompt, and what comes after sees them but not the prompt."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Completions, Prompts, causal_logits, position_ids
from treeavg.distill.sequences.applications.gist_caches import GistCache, behind_gists, cached_logits, gist_cache
from treeavg.distill.sequences.applications.prompts import KL, Divergence, require_rows
from treeavg.distill.sequences.applications.soft_prompts import embeddings, require_causal, require_known
from treeavg.distill.sequences.losses.tokens import sequence_nll
from treeavg.errors import ArgumentError, quote

__all__ = [
    "GistCache",
    "add_gist_tokens",
    "cached_logits",
    "gist_cache",
    "gist_logits",
    "gist_loss",
    "gist_mask",
]


def gist_mask(gists: Tensor, attention: Tensor) -> Tensor:
    """Return which token may look at which: those after the gist tokens do not see what stands before them.

    Parameters
    ----------
    gists : Tensor, bool, shape (B, S)
        The gist tokens, side by side, at least one in each row.
    attention : Tensor, bool or int64, shape (B, S)
        0 at padding.

    Returns
    -------
    Tensor
        bool, shape (B, S, S): row i may look at column j. Padding looks at itself, so that no row of the softmax is
        empty.

    Raises
    ------
    ArgumentError
        A row without gist tokens, or with others between them.

    References
    ----------
    [Mu et al. 2023 (Gist tokens), section 3 and figure 2].

    Examples
    --------
    >>> gist_mask(torch.tensor([[False, True, False]]), torch.ones(1, 3)).int().tolist()
    [[[1, 0, 0], [1, 1, 0], [0, 1, 1]]]
    """
    if gists.dim() != 2 or gists.dtype != torch.bool or gists.shape != attention.shape:
        raise ArgumentError(
            f"gists: expected bool of the shape of attention, {tuple(attention.shape)}, got {gists.dtype} of shape "
            f"{tuple(gists.shape)}. Mark the gist tokens in each row."
        )
    places = torch.arange(gists.shape[1], device=gists.device)
    start = torch.where(gists, places, gists.shape[1]).amin(1)
    end = torch.where(gists, places, -1).amax(1)
    counts = gists.sum(1)
    broken = ((counts == 0) | (end - start + 1 != counts)).nonzero()
    if len(broken):
        row = int(broken[0])
        raise ArgumentError(
            f"gists[{row}]: expected gist tokens side by side, got {quote(gists[row].nonzero().flatten().tolist())}. "
            "Put all of them right after the prompt."
        )
    causal = places[:, None] >= places
    late = places > end[:, None]
    early = places < start[:, None]
    allowed = causal & ~(late[:, :, None] & early[:, None, :]) & attention.bool()[:, None, :]
    return allowed | torch.eye(len(places), dtype=torch.bool, device=gists.device)


def add_gist_tokens(model: nn.Module, count: int) -> Tensor:
    """Add tokens to a model's vocabulary, each embedded as the mean of the others.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Its embeddings, and its head with them, grow in place.
    count : int
        How many, at least 1.

    Returns
    -------
    Tensor
        Their ids, int64, shape (count,).

    Raises
    ------
    ArgumentError
        `count` is not a positive whole number.

    Examples
    --------
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> add_gist_tokens(GPT2LMHeadModel(config), 2).tolist()
    [8, 9]
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ArgumentError(f"count: expected a whole number of gist tokens, at least 1, got {quote(count)}. Use 4.")
    grown: Any = model
    size = grown.get_input_embeddings().weight.shape[0]
    grown.resize_token_embeddings(size + count, mean_resizing=False)
    heads = [grown.get_input_embeddings(), grown.get_output_embeddings()]
    with torch.no_grad():
        for layer in heads:
            for weight in () if layer is None else (layer.weight, getattr(layer, "bias", None)):
                if weight is not None:
                    weight[size:] = weight[:size].mean(0)
    return torch.arange(size, size + count, device=heads[0].weight.device)


def gist_logits(
    model: nn.Module, gist_ids: Tensor, prompt: Prompts, batch: Prompts, completions: Completions
) -> Tensor:
    """Return the scores of completions that see the prompt only through gist tokens.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal model, in the mode it is in, with eager or SDPA attention.
    gist_ids : Tensor, int64, shape (k,)
        The gist tokens, which stand right after the prompt.
    prompt : Prompts
        B rows, or one for all.
    batch : Prompts
        The inputs after the gist tokens; rows may be empty.
    completions : Completions
        What follows the inputs.

    Returns
    -------
    Tensor
        Shape (B, T, V). Positions are those of the whole sequence.

    Raises
    ------
    ArgumentError
        No gist tokens or unknown ones, an encoder-decoder model, one whose attention takes no mask of its own, or as
        many inputs as there are not completions.

    References
    ----------
    [Mu et al. 2023, section 3].

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> model = GPT2LMHeadModel(config)
    >>> gist_ids, written = add_gist_tokens(model, 1), completions(torch.tensor([[4, 0]]), [0])
    >>> prompt, inputs = prompts([[2, 3]], pad=0, side="left"), prompts([[5]], pad=0, side="left")
    >>> gist_logits(model, gist_ids, prompt, inputs, written).shape
    torch.Size([1, 2, 9])
    """
    require_causal(model)
    used = str(getattr(getattr(model, "config", None), "_attn_implementation", "eager"))
    if "flash" in used or "flex" in used:
        raise ArgumentError(
            f"model: expected eager or sdpa attention, which take a mask of any form, got {used!r}. "
            "Load it with attn_implementation='sdpa'."
        )
    require_known("gist_ids", gist_ids, model)
    before, gists = behind_gists(gist_ids, prompt, batch)
    require_rows(len(before.ids), completions)
    length = completions.ids.shape[1]
    ids = torch.cat([before.ids, completions.ids.masked_fill(~completions.mask, 0)], 1)
    attention = torch.cat([before.attention, completions.mask.long()], 1)
    gists = torch.cat([gists, torch.zeros_like(completions.mask)], 1)
    dtype = embeddings(model).weight.dtype
    allowed = gist_mask(gists, attention)
    added = torch.zeros(allowed.shape, dtype=dtype, device=ids.device).masked_fill(~allowed, torch.finfo(dtype).min)
    logits: Tensor = model(
        input_ids=ids, attention_mask=added[:, None], position_ids=position_ids(attention), use_cache=False
    ).logits
    return causal_logits(logits, before.ids.shape[1], length)


def gist_loss(
    model: nn.Module,
    gist_ids: Tensor,
    prompt: Prompts,
    batch: Prompts,
    completions: Completions,
    *,
    teacher_logits: Tensor | None = None,
    divergence: Divergence | None = None,
) -> Tensor:
    """Return the loss that teaches a model to put a prompt into gist tokens.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        As for `gist_logits`.
    gist_ids : Tensor, int64, shape (k,)
        The gist tokens.
    prompt : Prompts
        B rows, or one for all.
    batch : Prompts
        The inputs.
    completions : Completions
        The data's, or those of a model that sees the prompt.
    teacher_logits : Tensor, floating, shape (B, T, V), optional
        Those of a model that sees the prompt, `teacher_scores`. Default: none, and the loss is -log q of the
        completions' tokens, the mean over tokens.
    divergence : callable, optional
        With `teacher_logits`, as for `prompt_removal_loss`. Default: KL(teacher || student), the mean over tokens. The
        student's law leaves out tokens that the teacher does not know, its gist tokens.

    Returns
    -------
    Tensor
        A scalar, or what `divergence` returns.

    Raises
    ------
    ArgumentError
        As `gist_logits` does, or a divergence without a teacher.

    References
    ----------
    [Mu et al. 2023, equation 1; distillation in place of the data's tokens is ours, after Wingate et al. 2022].

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> model = GPT2LMHeadModel(config)
    >>> gist_ids, written = add_gist_tokens(model, 1), completions(torch.tensor([[4, 0]]), [0])
    >>> prompt, inputs = prompts([[2, 3]], pad=0, side="left"), prompts([[5]], pad=0, side="left")
    >>> gist_loss(model, gist_ids, prompt, inputs, written).item() > 0
    True
    """
    if teacher_logits is None and divergence is not None:
        raise ArgumentError(
            "divergence: expected teacher_logits with it, got none. Pass teacher_scores(teacher, ...), or leave it out."
        )
    student = gist_logits(model, gist_ids, prompt, batch, completions)
    if teacher_logits is None:
        return sequence_nll(student, completions.ids, completions.mask)
    return (divergence or KL)(teacher_logits, student[..., : teacher_logits.shape[-1]], completions.mask)
