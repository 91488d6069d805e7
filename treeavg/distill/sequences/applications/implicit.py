"""Implicit chains of thought: what a teacher writes token by token, a student's layers do one above the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Completions, Prompts, causal_logits, frozen, position_ids
from treeavg.distill.sequences.applications.prompts import joined, require_rows
from treeavg.distill.sequences.applications.soft_prompts import require_causal
from treeavg.distill.sequences.losses.tokens import sequence_nll
from treeavg.errors import ArgumentError, quote

__all__ = ["ImplicitChain", "chain_positions", "implicit_chain"]


def chain_positions(lengths: Tensor, layers: int) -> Tensor:
    """Return which token of a chain each layer stands for: the first for the first layer, the last for the last.

    Parameters
    ----------
    lengths : Tensor, int64, shape (B,)
        Tokens in each chain, at least 1.
    layers : int
        How many layers, L >= 1.

    Returns
    -------
    Tensor
        int64, shape (B, L), from 0: floor((length - 1) (l - 1) / (L - 1)) for layer l; 0 for a single layer.

    Raises
    ------
    ArgumentError
        An empty chain, or no layers.

    References
    ----------
    [Deng et al. 2023 (Implicit chain of thought), section 3.1].

    Examples
    --------
    >>> chain_positions(torch.tensor([7, 2]), 4).tolist()
    [[0, 2, 4, 6], [0, 0, 0, 1]]
    """
    if layers < 1:
        raise ArgumentError(f"layers: expected at least one, got {quote(layers)}. Pass the model's number of layers.")
    if bool((lengths < 1).any()):
        row = int((lengths < 1).nonzero()[0])
        raise ArgumentError(f"chains[{row}]: expected at least one token, got none. Leave such questions out.")
    steps = torch.arange(layers, device=lengths.device)
    return (lengths[:, None] - 1) * steps // max(layers - 1, 1)


class ImplicitChain(NamedTuple):
    """The two parts of the loss that moves a chain from positions to layers; their sum is minimised.

    Parameters
    ----------
    states : Tensor
        A scalar: squared distances summed over layers and dimensions, the mean over questions.
    answer : Tensor
        A scalar: -log q of the answers' tokens, the mean over tokens.
    """

    states: Tensor
    answer: Tensor


def implicit_chain(
    model: nn.Module,
    teacher: nn.Module,
    batch: Prompts,
    chains: Prompts,
    answers: Completions,
    *,
    maps: nn.ModuleList | None = None,
) -> ImplicitChain:
    """Return the loss of a student whose layers, at the question's last token, stand for a chain's tokens.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The student: a causal model.
    teacher : transformers.PreTrainedModel
        A causal model with as many layers, which reads question and chain. It runs in evaluation mode, without
        gradients.
    batch : Prompts
        The questions, padded on the left.
    chains : Prompts
        A chain of thought for each, at least one token; padded on the left.
    answers : Completions
        The answers, end tokens included.
    maps : torch.nn.ModuleList, optional
        For each layer, a module from the student's width to the teacher's. Needed where they differ.

    Returns
    -------
    ImplicitChain

    Raises
    ------
    ArgumentError
        Other numbers of layers or maps, widths that differ, an empty chain, an encoder-decoder model, or as many
        questions as there are not answers.

    References
    ----------
    [Deng et al. 2023 (Implicit chain of thought), section 3]: their teacher, emulator and student in one step.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=2, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> model, answers = GPT2LMHeadModel(config).eval(), completions(torch.tensor([[4, 0]]), [0])
    >>> question, chain = prompts([[1, 2]], pad=0, side="left"), prompts([[5, 6, 7]], pad=0, side="left")
    >>> found = implicit_chain(model, model, question, chain, answers)
    >>> bool(found.states > 0), bool(found.answer > 0)
    (True, True)
    """
    require_causal(model)
    require_causal(teacher)
    require_rows(len(batch.ids), answers)
    width = batch.ids.shape[1]
    read = joined(batch, chains)
    if not width or not bool(batch.attention[:, -1].bool().all()):
        raise ArgumentError(
            "batch: expected a token in the last place of each row, got padding. Pad questions on the left."
        )
    with frozen(teacher):
        known = _states(teacher, read.ids, read.attention)[0]
    ids = torch.cat([batch.ids, answers.ids.masked_fill(~answers.mask, 0)], 1)
    attention = torch.cat([batch.attention.long(), answers.mask.long()], 1)
    states, logits = _states(model, ids, attention)
    if len(states) != len(known):
        raise ArgumentError(
            f"teacher: expected as many layers as the student's {len(states)}, got {len(known)}. "
            "Each layer stands for one token of the chain; take models of one depth."
        )
    if maps is not None and len(maps) != len(states):
        raise ArgumentError(
            f"maps: expected a module for each of the {len(states)} layers, got {len(maps)}. Pass nn.ModuleList of "
            "nn.Linear."
        )
    lengths = chains.attention.sum(1)
    places = read.ids.shape[1] - lengths[:, None] + chain_positions(lengths, len(known))
    rows = torch.arange(len(ids), device=ids.device)
    distance = torch.zeros((), device=ids.device)
    for number, (mine, theirs) in enumerate(zip(states, known, strict=True)):
        vectors = mine[:, width - 1] if maps is None else maps[number](mine[:, width - 1])
        target = theirs[rows, places[:, number]]
        if vectors.shape != target.shape:
            raise ArgumentError(
                f"maps: expected a module for each layer, to the teacher's width {target.shape[1]}, got vectors of "
                f"width {vectors.shape[1]}. Pass nn.ModuleList of nn.Linear."
            )
        distance = distance + (vectors - target).square().sum(1).mean()
    scores = causal_logits(logits, width, answers.ids.shape[1])
    return ImplicitChain(distance, sequence_nll(scores, answers.ids, answers.mask))


def _states(model: Any, ids: Tensor, attention: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return the output (B, S, H) of each layer, of the last one behind the final norm; and the logits."""
    done = model(
        input_ids=ids,
        attention_mask=attention,
        position_ids=position_ids(attention),
        output_hidden_states=True,
        use_cache=False,
    )
    return tuple(done.hidden_states[1:]), done.logits
