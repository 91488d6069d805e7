"""What every sequence loss starts from: scores, tokens and mask, where ``scores[b, t]`` belongs to ``ids[b, t]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.running import (
    accepted,
    frozen,
    hidden_states,
    require_positions,
    require_tokens,
    takes,
    unwrapped,
)
from treeavg.errors import ArgumentError, quote, unknown

__all__ = [
    "OUTPUTS",
    "SIDES",
    "Aligned",
    "Completions",
    "Prompts",
    "align",
    "causal_logits",
    "completions",
    "decoder_inputs",
    "frozen",
    "position_ids",
    "prompts",
    "unwrapped",
]

OUTPUTS = ("logits", "hidden")
SIDES = ("left", "right")


class Completions(NamedTuple):
    """Output tokens; which of them count; and which rows stop without an end token.

    Parameters
    ----------
    ids : Tensor, int64, shape (B, T)
        Tokens, whatever stands where the mask is False.
    mask : Tensor, bool, shape (B, T)
        True up to the first end token, which is included.
    truncated : Tensor, bool, shape (B,)
        True where a row has no end token.
    """

    ids: Tensor
    mask: Tensor
    truncated: Tensor


class Aligned(NamedTuple):
    """Scores of the tokens of completions.

    Parameters
    ----------
    scores : Tensor, floating, shape (B, T, V) or (B, T, H)
        Logits, or hidden states before the head. ``scores[b, t]`` is the distribution of ``ids[b, t]``.
    ids : Tensor, int64, shape (B, T)
        The tokens; 0 where the mask is False.
    mask : Tensor, bool, shape (B, T)
        Which tokens count.
    """

    scores: Tensor
    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Prompts:
    """The inputs of a batch, padded.

    Parameters
    ----------
    ids : Tensor, int64, shape (B, P)
        Tokens, padded on the left for a causal model and on the right for an encoder.
    attention : Tensor, bool or int64, shape (B, P)
        1 for tokens, 0 for padding. It comes from the tokenizer, never from comparing ids with the padding token.

    Examples
    --------
    >>> Prompts(torch.tensor([[0, 7]]), torch.tensor([[0, 1]])).ids.shape
    torch.Size([1, 2])
    """

    ids: Tensor
    attention: Tensor

    def __post_init__(self) -> None:
        require_ids(self.ids, "ids")
        if self.attention.shape != self.ids.shape:
            raise ArgumentError(
                f"attention: expected the shape of ids, {tuple(self.ids.shape)}, got {tuple(self.attention.shape)}. "
                "Take both from one call of the tokenizer."
            )


def require_ids(ids: Tensor, where: str) -> None:
    """Raise an ArgumentError where `ids` is not int64 (B, T)."""
    if ids.dim() != 2 or ids.dtype != torch.int64:
        raise ArgumentError(
            f"{where}: expected int64 of shape (B, T), got {ids.dtype} of shape {tuple(ids.shape)}. Give one row of "
            "token ids for each sequence."
        )


def require_in_vocabulary(ids: Tensor, size: int) -> None:
    """Raise an ArgumentError where ids on the CPU are not of a vocabulary; elsewhere it would wait for the device."""
    if ids.device.type != "cpu" or not ids.numel():
        return
    low, high = int(ids.min()), int(ids.max())
    if not 0 <= low <= high < size:
        raise ArgumentError(
            f"ids: expected tokens from 0 to {size - 1}, got {low} to {high}. Mask other positions, and use one "
            "vocabulary for tokens and logits."
        )


def completions(ids: Tensor, eos_ids: Sequence[int], *, lengths: Tensor | None = None) -> Completions:
    """Return output tokens with their mask: up to the first end token, which is included.

    Parameters
    ----------
    ids : Tensor, int64, shape (B, T)
        Output tokens, padded on the right with anything, the end token too.
    eos_ids : sequence of int
        The end tokens; a model may have several.
    lengths : Tensor, int64, shape (B,), optional
        Tokens in each row, where rows without an end token are shorter than T. What stands after them is not looked
        at. Without it such rows count to the end.

    Returns
    -------
    Completions

    Raises
    ------
    ArgumentError
        No end token is given, or shapes are wrong.

    Examples
    --------
    >>> found = completions(torch.tensor([[5, 0, 0], [5, 6, 7]]), [0])
    >>> found.mask.tolist(), found.truncated.tolist()
    ([[True, True, False], [True, True, True]], [False, True])
    """
    require_ids(ids, "ids")
    ends = list(eos_ids)
    if not ends or not all(isinstance(end, int) for end in ends):
        raise ArgumentError(
            f"eos_ids: expected one or more token ids, got {quote(eos_ids)}. Take them from the generation config."
        )
    within = torch.ones_like(ids, dtype=torch.bool)
    if lengths is not None:
        if lengths.shape != ids.shape[:1]:
            raise ArgumentError(
                f"lengths: expected shape ({ids.shape[0]},), one for each row of ids, got {tuple(lengths.shape)}. "
                "Give the number of tokens in each row."
            )
        within = torch.arange(ids.shape[1], device=ids.device) < lengths.to(ids.device)[:, None]
    ended = torch.isin(ids, torch.tensor(ends, device=ids.device)) & within
    before = ended.cumsum(1) - ended.long()
    return Completions(ids, (before == 0) & within, ~ended.any(1))


def position_ids(attention_mask: Tensor) -> Tensor:
    """Return positions that count the attended tokens, so that padding on the left moves nothing.

    Parameters
    ----------
    attention_mask : Tensor, bool or int64, shape (B, L)
        1 for tokens, 0 for padding.

    Returns
    -------
    Tensor
        int64, shape (B, L), from 0.

    Examples
    --------
    >>> position_ids(torch.tensor([[0, 0, 1, 1]])).tolist()
    [[0, 0, 0, 1]]
    """
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)


def causal_logits(logits: Tensor, prompt_width: int, length: int) -> Tensor:
    """Return the scores of the completion's tokens: each stands one place before its token.

    Parameters
    ----------
    logits : Tensor, shape (B, L, V)
        Scores of a prompt of `prompt_width` places with the completion after it, L at least their number less 1.
    prompt_width : int
        Places of the prompt, padding included; at least 1.
    length : int
        Tokens of the completion, T.

    Returns
    -------
    Tensor
        Shape (B, T, V), a view.

    Raises
    ------
    ArgumentError
        No prompt, or too few places.

    Examples
    --------
    >>> causal_logits(torch.arange(5.0).view(1, 5, 1), 2, 3).flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    if prompt_width < 1:
        raise ArgumentError(
            "prompt_width: expected a prompt of at least one token, whose last place scores the first output token, "
            f"got {prompt_width}. Begin with the start token."
        )
    if logits.shape[1] < prompt_width + length - 1:
        raise ArgumentError(
            f"logits: expected at least {prompt_width + length - 1} places, for a prompt of {prompt_width} and "
            f"{length} tokens after it, got {logits.shape[1]}. Run the model on both together."
        )
    return logits[:, prompt_width - 1 : prompt_width + length - 1]


def decoder_inputs(ids: Tensor, start: int) -> Tensor:
    """Return a decoder's inputs: the start token, then the targets but for the last.

    Parameters
    ----------
    ids : Tensor, int64, shape (B, T)
        Targets. Never take the mask of a loss from this function's result: with T5 the start token is the padding.
    start : int
        The model's ``decoder_start_token_id``.

    Returns
    -------
    Tensor
        int64, shape (B, T).

    Examples
    --------
    >>> decoder_inputs(torch.tensor([[5, 6, 1]]), 0).tolist()
    [[0, 5, 6]]
    """
    return torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], 1)


def prompts(rows: Sequence[Sequence[int]], *, pad: int, side: str) -> Prompts:
    """Return a batch of inputs, padded.

    Parameters
    ----------
    rows : sequence of sequence of int
        Token ids of each input, at least one.
    pad : int
        The token to pad with; any token of the vocabulary will do.
    side : {"left", "right"}
        Left for a causal model, right for an encoder.

    Returns
    -------
    Prompts

    Raises
    ------
    ArgumentError
        An unknown side, no rows, or an input without tokens.

    Examples
    --------
    >>> batch = prompts([[5, 6], [7]], pad=0, side="left")
    >>> batch.ids.tolist(), batch.attention.tolist()
    ([[5, 6], [0, 7]], [[1, 1], [0, 1]])
    """
    if side not in SIDES:
        raise unknown("side", side, SIDES)
    for place, row in enumerate(rows):
        if not len(row):
            raise ArgumentError(
                f"rows[{place}]: expected at least one token, got none. Begin each input with the start token."
            )
    if not len(rows):
        raise ArgumentError("rows: expected at least one input, got none. Leave empty batches out.")
    width = max(map(len, rows))
    ids, attention = torch.full((len(rows), width), pad), torch.zeros(len(rows), width, dtype=torch.int64)
    for place, row in enumerate(rows):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[place, where] = torch.tensor(list(row))
        attention[place, where] = 1
    return Prompts(ids, attention)


def align(model: nn.Module, batch: Prompts, completions: Completions, *, output: str = "logits") -> Aligned:
    """Run a causal or an encoder-decoder model on completions, and return its scores of their tokens.

    Parameters
    ----------
    model : torch.nn.Module
        A Hugging Face model with a language-model head; or anything with the same ``config.is_encoder_decoder``,
        arguments and ``.logits``. It runs in the mode it is in; put a teacher into `frozen`.
    batch : Prompts
        The inputs. Two models may have different ones: only the completions are shared.
    completions : Completions
        Tokens after the inputs. Where the mask is False anything may stand, -100 included.
    output : {"logits", "hidden"}, default "logits"
        Logits, or the hidden states before the head, for `fused_loss`.

    Returns
    -------
    Aligned

    Raises
    ------
    ArgumentError
        Padding on the wrong side, as many inputs as there are not completions, ids that are no tokens of the model, a
        model without a decoder's start token, adapters with virtual tokens, or an unknown output.
    LimitError
        More tokens than the model has positions.

    Notes
    -----
    Where the model lets, only the completion's places go through the head.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class Bigram(nn.Module):
    ...     config = SimpleNamespace(is_encoder_decoder=False)
    ...     def forward(self, input_ids, attention_mask):
    ...         return SimpleNamespace(logits=nn.functional.one_hot(input_ids, 10).float())
    >>> targets = completions(torch.tensor([[4, 0], [0, 7]]), [0])
    >>> after = align(Bigram(), prompts([[1], [2, 3]], pad=0, side="left"), targets)
    >>> after.scores.argmax(-1).tolist(), after.ids.tolist()
    ([[1, 4], [3, 0]], [[4, 0], [0, 0]])
    """
    if output not in OUTPUTS:
        raise unknown("output", output, OUTPUTS)
    if len(batch.ids) != len(completions.ids):
        raise ArgumentError(
            f"completions: expected one for each of the {len(batch.ids)} inputs, got {len(completions.ids)}. Repeat "
            "the inputs where each has several."
        )
    inner = unwrapped(model)
    ids = torch.where(completions.mask, completions.ids, 0)
    for name, tokens in (("batch.ids", batch.ids), ("completions.ids", ids)):
        require_tokens(name, tokens, inner)
    if inner.config.is_encoder_decoder:
        scores = _decoder_scores(model, inner, batch, ids, output)
    else:
        scores = _causal_scores(model, inner, batch, ids, completions.mask, output)
    return Aligned(scores, ids, completions.mask)


def _causal_scores(model: nn.Module, inner: Any, batch: Prompts, ids: Tensor, mask: Tensor, output: str) -> Tensor:
    """Return scores (B, T, .) after left-padded prompts; the last token has nothing to score and is left out."""
    _require_edge(batch, -1, "left", "a causal model")
    width, length = batch.ids.shape[1], ids.shape[1]
    attention = torch.cat([batch.attention.long(), mask.long()], 1)[:, : width + max(length, 1) - 1]
    require_positions("batch, completions", int(attention.sum(1).amax()) if len(attention) else 0, inner)
    arguments = {
        "input_ids": torch.cat([batch.ids, ids], 1)[:, : attention.shape[1]],
        "attention_mask": attention,
        "position_ids": position_ids(attention),
        "use_cache": False,
    }
    if output == "hidden":
        return causal_logits(hidden_states(model, inner, arguments), width, length)
    if length and takes(inner, "logits_to_keep"):
        scores: Tensor = model(**accepted(inner, arguments), logits_to_keep=length).logits
        return scores
    return causal_logits(model(**accepted(inner, arguments)).logits, width, length)


def _decoder_scores(model: nn.Module, inner: Any, batch: Prompts, ids: Tensor, output: str) -> Tensor:
    """Return scores (B, T, .) of an encoder-decoder model."""
    _require_edge(batch, 0, "right", "an encoder-decoder model")
    start = getattr(inner.config, "decoder_start_token_id", None)
    if not isinstance(start, int):
        raise ArgumentError(
            f"model.config.decoder_start_token_id: expected a token id, got {quote(start)}. Set it to the token that "
            "the model was trained to begin with."
        )
    for name, tokens in (("batch", batch.ids), ("completions", ids)):
        require_positions(name, tokens.shape[1], inner)
    empty = ids.shape[1] == 0  # models want one token at least
    arguments = {
        "input_ids": batch.ids,
        "attention_mask": batch.attention.long(),
        "decoder_input_ids": torch.full_like(ids[:, :1].sum(1, keepdim=True), start)
        if empty
        else decoder_inputs(ids, start),
        "use_cache": False,
    }
    if output == "hidden":
        return hidden_states(model, inner, arguments)[:, : ids.shape[1]]
    scores: Tensor = model(**accepted(inner, arguments)).logits[:, : ids.shape[1]]
    return scores


def _require_edge(batch: Prompts, column: int, side: str, kind: str) -> None:
    """Raise an ArgumentError where prompts are padded on the other side than `side`."""
    attended = batch.attention[:, column].bool() if batch.ids.shape[1] else batch.attention.any(1)
    if not bool(attended.all()):
        row = int((~attended).nonzero()[0])
        raise ArgumentError(
            f"batch.attention[{row}, {column}]: expected a token there, as {kind} is padded on the {side}, got "
            f"padding. Use prompts(..., side={side!r})."
        )
