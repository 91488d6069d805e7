"""Reasoning compression: the answer without its chain of thought, all at once or one token of it after the other."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Completions, Prompts, align
from treeavg.distill.sequences.applications.prompts import Divergence, joined, prompt_removal_loss
from treeavg.distill.sequences.losses.tokens import sequence_nll
from treeavg.distill.sequences.sampling.samplers import require_whole
from treeavg.errors import ArgumentError, quote

__all__ = ["Removal", "answer_loss", "internalised", "internalising_loss", "reset_state"]


def answer_loss(
    model: nn.Module,
    teacher: nn.Module | None,
    batch: Prompts,
    chains: Prompts,
    answers: Completions,
    *,
    divergence: Divergence | None = None,
) -> Tensor:
    """Return the divergence, on the answer's tokens, of a student without a chain from a teacher that has written one.

    Parameters
    ----------
    model : torch.nn.Module
        The student: a causal or an encoder-decoder model.
    teacher : torch.nn.Module or None
        None: `model` with its PEFT adapters off.
    batch : Prompts
        The questions.
    chains : Prompts
        One chain of thought for each, drawn from the teacher, without its end token.
    answers : Completions
        The answers, end tokens included.
    divergence : callable, optional
        As for `prompt_removal_loss`. Default: KL(teacher || student), the mean over tokens.

    Returns
    -------
    Tensor
        What `divergence` returns.

    Raises
    ------
    ArgumentError
        As `prompt_removal_loss` does.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> model, answers = GPT2LMHeadModel(config).eval(), completions(torch.tensor([[4, 0]]), [0])
    >>> question, chain = prompts([[1, 2]], pad=0, side="left"), prompts([[5, 6, 7]], pad=0, side="left")
    >>> answer_loss(model, model, question, chain, answers).item() > 0
    True
    """
    side = "left" if batch.ids.shape[1] and bool(batch.attention[:, -1].bool().all()) else "right"
    reasoned = joined(batch, chains, side=side)
    return prompt_removal_loss(model, reasoned, batch, answers, teacher=teacher, divergence=divergence)


@dataclass(frozen=True)
class Removal:
    """Stepwise internalisation's schedule: how many tokens of each chain are gone.

    Parameters
    ----------
    per_epoch : float, default 8.0
        Tokens removed in an epoch, evenly. Positive.
    smoothing : float, default 4.0
        Each example loses o more with probability proportional to exp(-smoothing o), o = 0, 1, 2, ... Positive;
        infinity for none.

    Raises
    ------
    ArgumentError
        A number out of range.

    References
    ----------
    [Deng et al. 2024 (From explicit CoT to implicit CoT), section 3].

    Examples
    --------
    >>> [Removal().count(epoch) for epoch in (0, 0.5, 2)], Removal().changed(0.5, 0.6)
    ([0, 4, 16], False)
    """

    per_epoch: float = 8.0
    smoothing: float = 4.0

    def __post_init__(self) -> None:
        for name, value, advice in (("per_epoch", self.per_epoch, "8.0"), ("smoothing", self.smoothing, "4.0")):
            if not isinstance(value, (int, float)) or not value > 0 or (name == "per_epoch" and not value < math.inf):
                raise ArgumentError(f"{name}: expected a positive number, got {quote(value)}. Use {advice}.")

    def count(self, epoch: float) -> int:
        """Return how many tokens every chain has lost.

        Parameters
        ----------
        epoch : float
            From 0; a fraction within an epoch.

        Returns
        -------
        int

        Examples
        --------
        >>> Removal(per_epoch=2).count(1.4)
        2
        """
        if not epoch >= 0:
            raise ArgumentError(f"epoch: expected 0 or more, got {quote(epoch)}. Count epochs from 0.")
        return math.floor(self.per_epoch * epoch)

    def changed(self, before: float, now: float) -> bool:
        """Tell whether `count` has grown: then the optimizer forgets, see `reset_state`.

        Parameters
        ----------
        before, now : float
            Epochs of two steps.

        Returns
        -------
        bool

        Examples
        --------
        >>> Removal(per_epoch=2).changed(1.4, 1.5)
        True
        """
        return self.count(before) != self.count(now)

    def draw(self, epoch: float, rows: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Return how many tokens each example's chain loses, the random extra included.

        Parameters
        ----------
        epoch : float
            As for `count`.
        rows : int
            Examples.
        generator : torch.Generator, optional
            Source of random numbers.

        Returns
        -------
        Tensor
            int64, shape (rows,); may exceed a chain's length.

        Raises
        ------
        ArgumentError
            A number out of range.

        Examples
        --------
        >>> Removal(smoothing=math.inf).draw(1.0, 3).tolist()
        [8, 8, 8]
        """
        require_whole("rows", rows, 0)
        # P(o >= k) = exp(-smoothing k), so that o is the floor of an exponential variable; 1 - u is never 0.
        uniform = 1 - torch.rand(rows, generator=generator, dtype=torch.float64)
        extra = (-uniform.log() / self.smoothing).floor().long()
        return self.count(epoch) + extra


def internalised(chains: Completions, answers: Completions, removed: Tensor) -> Completions:
    """Return completions of what is left of each chain, then the answer.

    Parameters
    ----------
    chains : Completions
        Chains of thought, without end tokens.
    answers : Completions
        Answers, end tokens included.
    removed : Tensor, int64, shape (B,)
        Tokens that are gone from each chain's start, `Removal.draw`; a whole chain may be.

    Returns
    -------
    Completions
        Padded on the right; truncated where the answer is.

    Raises
    ------
    ArgumentError
        Numbers of rows that differ, a negative number, or one that is not whole.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions
    >>> chains, answers = completions(torch.tensor([[5, 6, 7]]), [0]), completions(torch.tensor([[4, 0]]), [0])
    >>> internalised(chains, answers, torch.tensor([2])).ids.tolist()
    [[7, 4, 0]]
    """
    if not len(chains.ids) == len(answers.ids) == len(removed) or removed.dim() != 1:
        raise ArgumentError(
            f"removed: expected a number for each chain and answer, got {tuple(removed.shape)} for {len(chains.ids)} "
            f"chains and {len(answers.ids)} answers. Batch them alike."
        )
    if removed.is_floating_point():
        raise ArgumentError(f"removed: expected int64, got {removed.dtype}. Use Removal().draw(...).")
    if bool((removed < 0).any()):
        raise ArgumentError(f"removed: expected no negative number, got {int(removed.min())}. Use Removal().draw(...).")
    left = chains.mask & (chains.mask.cumsum(1) > removed.to(chains.mask.device)[:, None])
    parts = (Prompts(chains.ids, left.long()), Prompts(answers.ids, answers.mask.long()))
    whole = joined(*parts, side="right")
    return Completions(whole.ids, whole.attention.bool(), answers.truncated)


def internalising_loss(
    model: nn.Module, batch: Prompts, chains: Completions, answers: Completions, removed: Tensor
) -> Tensor:
    """Return -log q of what is left of each chain and of the answer: one step of stepwise internalisation.

    Parameters
    ----------
    model : torch.nn.Module
        A causal or an encoder-decoder model.
    batch : Prompts
        The questions.
    chains : Completions
        Chains of thought, without end tokens.
    answers : Completions
        Answers, end tokens included.
    removed : Tensor, int64, shape (B,)
        As for `internalised`: these tokens are in neither the input nor the loss.

    Returns
    -------
    Tensor
        A scalar, the mean over tokens.

    Raises
    ------
    ArgumentError
        As `internalised` does.

    References
    ----------
    [Deng et al. 2024, section 3].

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> chains, answers = completions(torch.tensor([[5, 6, 7]]), [0]), completions(torch.tensor([[4, 0]]), [0])
    >>> question = prompts([[1, 2]], pad=0, side="left")
    >>> internalising_loss(GPT2LMHeadModel(config), question, chains, answers, torch.tensor([2])).item() > 0
    True
    """
    given = align(model, batch, internalised(chains, answers, removed))
    return sequence_nll(given.scores, given.ids, given.mask)


def reset_state(optimizer: torch.optim.Optimizer) -> None:
    """Forget an optimizer's moments and step counts; learning rates and parameters stay.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Changed in place. Each time tokens vanish the loss jumps, and Adam's old second moments make training diverge.

    References
    ----------
    [Deng et al. 2024, section 3].

    Examples
    --------
    >>> weight = torch.ones(1, requires_grad=True)
    >>> adam = torch.optim.Adam([weight])
    >>> weight.sum().backward()
    >>> adam.step()
    >>> reset_state(adam)
    >>> len(adam.state)
    0
    """
    optimizer.state = defaultdict(dict)
