"""What models are found to be like before a distillation starts: vocabularies, layers, how long their inputs may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from treeavg.distill.sequences.align import Completions, Prompts, completions, prompts
from treeavg.distill.sequences.losses.heads import require_head
from treeavg.distill.sequences.running import frozen, unwrapped
from treeavg.distill.sequences.sampling.generation import Special
from treeavg.distill.sequences.training.config import DistillationConfig
from treeavg.distill.sequences.training.rows import Limits
from treeavg.distill.sequences.training.states import StateMatch
from treeavg.distill.sequences.training.teachers import Scored, Teachers, score
from treeavg.distill.sequences.vocabularies.vocabulary import common_vocabulary
from treeavg.errors import ArgumentError

__all__ = ["limits_of", "probe", "vocabulary_size"]


def vocabulary_size(
    student: int,
    teachers: Sequence[int],
    student_tokenizer: Any | None,
    teacher_tokenizers: Any | None,
) -> int:
    """Return the number of tokens that all models share.

    Parameters
    ----------
    student : int
        Columns of the student's logits.
    teachers : sequence of int
        Columns of each teacher's.
    student_tokenizer : object, optional
        The student's.
    teacher_tokenizers : object or sequence of objects, optional
        One for all teachers, or one for each.

    Returns
    -------
    int

    Raises
    ------
    ArgumentError
        Maps from tokens to ids differ, or numbers of columns without tokenizers to explain them.

    Examples
    --------
    >>> vocabulary_size(20, [20], None, None)
    20
    """
    if teacher_tokenizers is None:
        if all(width == student for width in teachers):
            return student
        raise ArgumentError(
            f"teacher_tokenizers: expected the teachers' tokenizers, as heads differ ({student} columns and "
            f"{', '.join(map(str, teachers))}), got None. Give them and processing_class, so that padded columns can "
            "be told from tokens."
        )
    if not teachers:
        raise ArgumentError(
            "teacher_tokenizers: expected None without teachers, got some. Leave them out, or give the teachers."
        )
    if student_tokenizer is None:
        raise ArgumentError(
            "processing_class: expected the student's tokenizer beside the teachers', got None. Give both."
        )
    given = list(teacher_tokenizers) if isinstance(teacher_tokenizers, (list, tuple)) else [teacher_tokenizers]
    if len(given) == 1:
        given *= len(teachers)
    if len(given) != len(teachers):
        raise ArgumentError(
            f"teacher_tokenizers: expected one, or one for each of the {len(teachers)} teachers, got {len(given)}. "
            "Give as many."
        )
    sizes = [
        common_vocabulary(tokenizer, student_tokenizer, teacher_size=width, student_size=student)
        for tokenizer, width in zip(given, teachers, strict=True)
    ]
    return sizes[0]


def probe(
    student: nn.Module, teachers: Teachers, config: DistillationConfig, special: Special, *, side: str, device: Any
) -> tuple[int, list[int], StateMatch | None]:
    """Run all models on one token, to see how wide their logits are and which layers they have.

    Parameters
    ----------
    student : torch.nn.Module
        The student.
    teachers : Teachers
        They.
    config : DistillationConfig
        Whether states or heads are needed.
    special : Special
        Tokens to use.
    side : {"left", "right"}
        Where prompts are padded.
    device : torch.device
        Where the models are.

    Returns
    -------
    student : int
        Columns of the student's logits.
    teachers : list of int
        Columns of each teacher's.
    match : StateMatch or None
        Where hidden states are compared.

    Raises
    ------
    ArgumentError
        Layers that cannot be matched; heads that do more than is known.
    """
    end = special.eos_ids[0]
    small = prompts([[end]], pad=special.pad, side=side)
    batch = Prompts(small.ids.to(device), small.attention.to(device))
    target = Completions(*(part.to(device) for part in completions(torch.tensor([[end]]), special.eos_ids)))
    states = config.hidden_weight > 0
    with frozen(student):
        own = score(student, batch, target, states=states)
    others: list[Scored] = [part for _, part in teachers.score(batch, target, states=states)]
    for place, other in enumerate(others):
        if states and _shapes(other) != _shapes(others[0]):
            raise ArgumentError(
                f"teachers[{place}]: expected layers in number and width as those of teachers[0], got others. Leave "
                "hidden_weight out."
            )
    if config.rows is not None:
        require_head(student, batch, target)
        for place in range(len(teachers)):
            with teachers.running(place) as model:
                require_head(model, batch, target)
    match = StateMatch(config, own, others[0]).to(device) if states else None
    return own.scores.shape[-1], [other.scores.shape[-1] for other in others], match


def _shapes(scored: Scored) -> list[list[tuple[int, ...]]]:
    return [[tuple(layer.shape) for layer in side] for side in (scored.decoder, scored.encoder)]


def limits_of(student: nn.Module, teachers: Teachers, config: DistillationConfig, size: int) -> Limits:
    """Return what the models can take.

    Parameters
    ----------
    student : torch.nn.Module
        The student.
    teachers : Teachers
        They.
    config : DistillationConfig
        With how many tokens are written.
    size : int
        Tokens of the vocabulary that are real.

    Returns
    -------
    Limits
    """
    own = unwrapped(student)
    known = [getattr(unwrapped(model).config, "max_position_embeddings", None) for model in teachers.models]
    positions = getattr(own.config, "max_position_embeddings", None)
    return Limits(
        size,
        own.get_input_embeddings().weight.shape[0],
        positions,
        min((most for most in known if most is not None), default=None if known else positions),
        config.how.max_new_tokens if config.generates else 0,
        bool(own.config.is_encoder_decoder),
    )
