"""Prompt removal: what a model does with a prompt, taught to a student that does not see it.

The teacher and the student may be one model: with its PEFT adapter on it is the student, with the adapter off the
teacher. Only completions are shared; prompts differ in tokens and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Completions, Prompts, align, frozen
from treeavg.distill.sequences.losses.divergences import sequence_loss
from treeavg.errors import ArgumentError, unknown

__all__ = ["KL", "Divergence", "joined", "prompt_removal_loss", "teacher_scores"]

#: ``divergence(teacher_logits, student_logits, mask)``: `sequence_loss` with its kind and options filled in.
Divergence = Callable[[Tensor, Tensor, Tensor], Tensor]

#: KL(teacher || student), the mean over tokens.
KL = cast("Divergence", partial(sequence_loss, "kl"))


def prompt_removal_loss(
    model: nn.Module,
    prompted: Prompts,
    plain: Prompts,
    completions: Completions,
    *,
    teacher: nn.Module | None = None,
    divergence: Divergence | None = None,
) -> Tensor:
    """Return the divergence of a student that sees the inputs alone from a teacher that sees a prompt as well.

    Parameters
    ----------
    model : torch.nn.Module
        The student, in the mode it is in. Without `teacher`: a PEFT model whose adapters are trained.
    prompted : Prompts
        The teacher's inputs: prompt and input, see `joined`.
    plain : Prompts
        The student's inputs, row by row the same without the prompt.
    completions : Completions
        Drawn from the prompted teacher (context distillation) or from the student (on-policy).
    teacher : torch.nn.Module, optional
        Default: `model` with its adapters off. It runs in evaluation mode without gradients.
    divergence : callable, optional
        ``divergence(teacher_logits, student_logits, mask)``, such as ``partial(sequence_loss, "rkl")``.
        Default: KL(teacher || student), the mean over tokens.

    Returns
    -------
    Tensor
        What `divergence` returns.

    Raises
    ------
    ArgumentError
        No teacher and no adapters, or numbers of rows that differ.

    References
    ----------
    [Snell et al. 2022 (Learning by distilling context), section 2].

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> model, inputs = GPT2LMHeadModel(config).eval(), prompts([[1, 2]], pad=0, side="left")
    >>> written = completions(torch.tensor([[4, 0]]), [0])
    >>> prompt_removal_loss(model, inputs, inputs, written, teacher=model).item()
    0.0
    """
    scores = teacher_scores(model if teacher is None else teacher, prompted, completions, adapters=teacher is not None)
    student = align(model, plain, completions)
    return (divergence or KL)(scores, student.scores, student.mask)


def teacher_scores(model: nn.Module, batch: Prompts, completions: Completions, *, adapters: bool = True) -> Tensor:
    """Return a teacher's logits of completions: in evaluation mode, constants.

    Parameters
    ----------
    model : torch.nn.Module
        The teacher; each of its modules is afterwards in the mode it was in.
    batch : Prompts
        Its inputs.
    completions : Completions
        What they are followed by.
    adapters : bool, default True
        False: switch the adapters of a PEFT model off meanwhile.

    Returns
    -------
    Tensor
        Shape (B, T, V).

    Raises
    ------
    ArgumentError
        ``adapters=False`` and a model without adapters.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=0)
    >>> written = completions(torch.tensor([[4, 0]]), [0])
    >>> teacher_scores(GPT2LMHeadModel(config), prompts([[1, 2]], pad=0, side="left"), written).shape
    torch.Size([1, 2, 8])
    """
    if adapters:
        with frozen(model):
            return align(model, batch, completions).scores
    with _without_adapters(model) as inner, frozen(inner):
        return align(inner, batch, completions).scores


@contextmanager
def _without_adapters(model: nn.Module) -> Iterator[nn.Module]:
    """Switch adapters off for a while; a wrapper for several processes is taken off, as nothing is trained here."""
    inner: Any = model
    while not hasattr(inner, "disable_adapter") and hasattr(inner, "module"):
        inner = inner.module
    if not hasattr(inner, "disable_adapter"):
        raise ArgumentError(
            f"model: expected a PEFT model, whose adapters off are the teacher, got {type(model).__name__}. "
            "Wrap it with peft.get_peft_model, or pass teacher=..."
        )
    with inner.disable_adapter():
        yield inner


def require_rows(rows: int, completions: Completions) -> None:
    """Raise an ArgumentError where there are not as many completions as inputs."""
    if len(completions.ids) != rows:
        raise ArgumentError(
            f"completions: expected one for each of the {rows} inputs, got {len(completions.ids)}. Repeat the inputs "
            "where each has several."
        )


def joined(*parts: Prompts, side: str = "left") -> Prompts:
    """Return inputs made of several parts, such as a prompt and the input itself, padded anew.

    Parameters
    ----------
    *parts : Prompts
        One or more, in order. A part of one row stands in every row; unattended places are dropped wherever they are.
    side : {"left", "right"}, default "left"
        Where the padding goes: left for a causal model, right for an encoder.

    Returns
    -------
    Prompts

    Raises
    ------
    ArgumentError
        No parts, numbers of rows that differ, or an unknown side.

    Examples
    --------
    >>> one = Prompts(torch.tensor([[8, 9]]), torch.tensor([[1, 1]]))
    >>> two = Prompts(torch.tensor([[5, 6], [0, 7]]), torch.tensor([[1, 1], [0, 1]]))
    >>> joined(one, two).ids.tolist(), joined(one, two).attention.tolist()
    ([[8, 9, 5, 6], [0, 8, 9, 7]], [[1, 1, 1, 1], [0, 1, 1, 1]])
    """
    if side not in ("left", "right"):
        raise unknown("side", side, ("left", "right"))
    rows = {len(part.ids) for part in parts} - {1} or {1}
    if not parts or len(rows) > 1:
        raise ArgumentError(
            f"parts: expected one part or more with as many rows each, or one, got {[len(part.ids) for part in parts]} "
            "rows. Batch the parts alike."
        )
    (batch,) = rows
    ids = torch.cat([part.ids.expand(batch, -1) for part in parts], 1)
    attention = torch.cat([part.attention.long().expand(batch, -1) for part in parts], 1)
    order = torch.argsort(attention, dim=1, stable=True, descending=side == "right")
    ids, attention = ids.gather(1, order), attention.gather(1, order)
    used = attention.any(0)
    return Prompts((ids * attention)[:, used], attention[:, used])
