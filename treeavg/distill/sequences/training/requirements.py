"""What must hold before a distillation starts: arguments, models and vocabularies that fit each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from treeavg.distill.sequences.align import Completions, Prompts, completions, prompts
from treeavg.distill.sequences.losses.heads import require_head
from treeavg.distill.sequences.running import frozen, unwrapped
from treeavg.distill.sequences.sampling.generation import Special
from treeavg.distill.sequences.training.config import DistillationConfig
from treeavg.distill.sequences.training.states import StateMatch
from treeavg.distill.sequences.training.teachers import BASE, Scored, Teachers, score
from treeavg.distill.sequences.vocabularies.vocabulary import common_vocabulary
from treeavg.errors import ArgumentError, FormatError, TreeavgError, quote

__all__ = [
    "named",
    "probe",
    "require_arguments",
    "require_same",
    "require_teachers",
    "teachers_of",
    "vocabulary_size",
]


def teachers_of(
    student: nn.Module, given: Any, config: DistillationConfig, weights: Sequence[float] | None
) -> Teachers:
    """Return the teachers of a training.

    Parameters
    ----------
    student : torch.nn.Module
        The student.
    given : torch.nn.Module, "base", or sequence of torch.nn.Module
        Who teaches.
    config : DistillationConfig
        What is needed of them.
    weights : sequence of float, optional
        One for each.

    Returns
    -------
    Teachers

    Raises
    ------
    ArgumentError
        None where one is needed, more than one where only one will do, adapters missing, or parts of the student.
    """
    if isinstance(given, str):
        if given != BASE or not hasattr(student, "disable_adapter"):
            raise ArgumentError(
                f"teachers: expected models, or {BASE!r} with a student that has adapters (PEFT), got {quote(given)} "
                f"with {type(student).__name__}. Give a model."
            )
        found = Teachers([], base=student, weights=weights, kind=config.average)
    else:
        models = [given] if isinstance(given, nn.Module) else list(given or ())  # None is easily passed on
        _require_apart(student, models)
        found = Teachers(models, weights=weights, kind=config.average)
    require_teachers(config, found, student)
    return found


def _require_apart(student: nn.Module, models: Sequence[Any]) -> None:
    """Raise an ArgumentError where a teacher is no module, or shares parameters with the student."""
    own = {id(parameter) for parameter in student.parameters()}
    for place, model in enumerate(models):
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"teachers[{place}]: expected a model, got {type(model).__name__}. Load it first.")
        if any(id(parameter) in own for parameter in model.parameters()):
            raise ArgumentError(
                f"teachers[{place}]: expected a model of its own, got one that shares parameters with the student. "
                f"Give a copy, or {BASE!r} for a student with adapters."
            )


def require_teachers(config: DistillationConfig, teachers: Teachers, student: nn.Module) -> None:
    """Raise an ArgumentError where the number or the kind of teachers does not fit.

    Parameters
    ----------
    config : DistillationConfig
        What is needed of them.
    teachers : Teachers
        They.
    student : torch.nn.Module
        Whose kind they must be of.

    Returns
    -------
    None

    Raises
    ------
    ArgumentError
        They do not fit.
    """
    count = len(teachers)
    if config.needs_teacher != (count > 0):
        wanted = "at least one" if config.needs_teacher else "none"
        raise ArgumentError(
            f"teachers: expected {wanted} for kind={config.kind!r}, got {count}. "
            + ("Give a model." if config.needs_teacher else "Leave them out: their completions are in the data.")
        )
    one = {"fresh_teacher": config.fresh_teacher, "hidden_weight": config.hidden_weight, "rows": config.rows}
    for name, value in one.items():
        if value and count != 1:
            raise ArgumentError(
                f"{name}: expected to be left out with {count} teachers, got {value}. Give one teacher."
            )
    if count == 1 and config.average != "token":
        raise ArgumentError(
            f"average: expected 'token' with one teacher, which is not averaged, got {config.average!r}. Leave it out."
        )
    if count > 1 and config.kind == "reward" and config.average != "token":
        raise ArgumentError(
            f"average: expected 'token' for 'reward', whose teachers' rewards are averaged, got {config.average!r}. "
            "Leave it out."
        )
    kinds = [bool(unwrapped(model).config.is_encoder_decoder) for model in (student, *teachers.models)]
    if len(set(kinds)) > 1:
        raise ArgumentError(
            f"teachers: expected models of the student's kind, got causal and encoder-decoder models together "
            f"({', '.join(type(unwrapped(model)).__name__ for model in (student, *teachers.models))}). Distil through "
            "stored completions, kind='hard'."
        )


def require_arguments(args: Any) -> None:
    """Raise an ArgumentError for training arguments that the trainer would not honour.

    Parameters
    ----------
    args : transformers.TrainingArguments
        They.

    Returns
    -------
    None

    Raises
    ------
    ArgumentError
        Several devices in one process, sharded models, or label smoothing.
    """
    if args.n_gpu > 1:
        raise ArgumentError(
            f"args: expected one device for each process, got {args.n_gpu}. Start it with 'accelerate launch' or "
            "'torchrun', or make one visible."
        )
    for name in ("fsdp", "deepspeed"):
        if getattr(args, name, None):
            raise ArgumentError(
                f"args.{name}: expected none, got {quote(getattr(args, name))}. Whole models on each process are "
                "supported; use adapters for large ones."
            )
    if args.label_smoothing_factor:
        raise ArgumentError(
            f"args.label_smoothing_factor: expected 0, got {args.label_smoothing_factor}. A soft loss such as 'kl' "
            "does that job."
        )


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
    others: list[Scored] = teachers.score(batch, target, states=states)
    if config.rows is not None:
        require_head(student, batch, target)
        for place in range(len(teachers)):
            with teachers.running(place) as model:
                require_head(model, batch, target)
    match = StateMatch(config, own, others[0]).to(device) if states else None
    return own.scores.shape[-1], [other.scores.shape[-1] for other in others], match


@contextmanager
def named(where: str) -> Iterator[None]:
    """Put a place in front of the message of an error that is raised meanwhile.

    Parameters
    ----------
    where : str
        Such as "step 7".

    Yields
    ------
    None

    Examples
    --------
    >>> try:
    ...     with named("step 7"):
    ...         raise ArgumentError("logits: expected numbers, got NaN.")
    ... except ArgumentError as error:
    ...     print(error)
    step 7: logits: expected numbers, got NaN.
    """
    try:
        yield
    except TreeavgError as error:
        raise type(error)(f"{where}: {error}") from error


def require_same(config: DistillationConfig, path: Path) -> None:
    """Raise an error where a checkpoint was made with other options.

    Parameters
    ----------
    config : DistillationConfig
        Those of now.
    path : pathlib.Path
        Where the others are written.

    Returns
    -------
    None

    Raises
    ------
    FormatError
        The file cannot be read.
    ArgumentError
        An option differs.
    """
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"{path}: expected JSON, got {error}. Resume from another checkpoint.") from error
    now = json.loads(json.dumps(config.document()))
    names = [name for name in now if not isinstance(there, dict) or name not in there or there[name] != now[name]]
    if names:
        was = there.get(names[0]) if isinstance(there, dict) else None
        raise ArgumentError(
            f"{names[0]}: expected {quote(was)}, as in {path.parent.name}, got {quote(now[names[0]])}. Resume with the "
            "options of the checkpoint, or start a new training from its weights."
        )
