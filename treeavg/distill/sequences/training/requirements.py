"""What must hold before a distillation starts: arguments, models and vocabularies that fit each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from treeavg.distill.sequences.running import unwrapped
from treeavg.distill.sequences.training.config import DistillationConfig
from treeavg.distill.sequences.training.copies import EMA
from treeavg.distill.sequences.training.teachers import BASE, Teachers
from treeavg.errors import ArgumentError, TreeavgError, quote

__all__ = [
    "named",
    "require_arguments",
    "require_given",
    "require_teachers",
    "teachers_of",
]


def teachers_of(
    student: nn.Module, given: Any, config: DistillationConfig, weights: Sequence[float] | None
) -> Teachers:
    """Return the teachers of a training.

    Parameters
    ----------
    student : torch.nn.Module
        The student.
    given : torch.nn.Module, "base", or sequence of torch.nn.Module, or mapping from str to torch.nn.Module
        Who teaches; None for nobody.
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
                f"teachers: expected models, {EMA!r}, or {BASE!r} with a student that has adapters (PEFT), got "
                f"{quote(given)} with {type(student).__name__}. Give a model."
            )
        found = Teachers([], base=student, weights=weights, kind=config.average)
    else:
        names = list(given) if isinstance(given, Mapping) else None
        many = given.values() if isinstance(given, Mapping) else () if given is None else given
        models = [given] if isinstance(given, nn.Module) else list(many)
        _require_apart(student, models)
        found = Teachers(models, weights=weights, kind=config.average, names=names)
    require_teachers(config, found, student)
    return found


def _require_apart(student: nn.Module, models: Sequence[Any]) -> None:
    """Raise an ArgumentError where a teacher is no module, or shares parameters with the student."""
    own = {id(parameter) for parameter in student.parameters()}
    for place, model in enumerate(models):
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"teachers[{place}]: expected a model, got {type(model).__name__}. Load it first.")
        _require_language_model(model, f"teachers[{place}]")
        if any(id(parameter) in own for parameter in model.parameters()):
            raise ArgumentError(
                f"teachers[{place}]: expected a model of its own, got one that shares parameters with the student. "
                f"Give a copy, or {BASE!r} for a student with adapters."
            )


def _require_language_model(model: nn.Module, where: str) -> None:
    """Raise an ArgumentError where a model is none of Hugging Face's."""
    if not hasattr(getattr(unwrapped(model), "config", None), "is_encoder_decoder"):
        raise ArgumentError(
            f"{where}: expected a causal or encoder-decoder model of transformers, got {type(model).__name__}. Load it "
            "with AutoModelForCausalLM or AutoModelForSeq2SeqLM."
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
        if value and count != 1 and not config.by_row:
            raise ArgumentError(
                f"{name}: expected to be left out with {count} teachers, got {value}. Give one teacher, or "
                "average='teacher_id'."
            )
    if count <= 1 and config.average != "token":
        raise ArgumentError(
            f"average: expected 'token' with {'one teacher' if count else 'no teacher'}, which is not averaged, got "
            f"{config.average!r}. Leave it out."
        )
    if config.by_row and teachers.weights is not None:
        raise ArgumentError(
            f"teacher_weights: expected None with average={config.average!r}, where each row has one teacher, got "
            f"{quote(teachers.weights)}. Leave them out."
        )
    if count > 1 and config.kind == "reward" and config.average != "token" and not config.by_row:
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


def require_given(model: Any, config: Any, args: Any) -> None:
    """Raise an ArgumentError where the trainer's first arguments are of another kind.

    Parameters
    ----------
    model : object
        The student.
    config : object
        Options of the distillation, or None.
    args : object
        Those of the training.

    Returns
    -------
    None

    Raises
    ------
    ArgumentError
        Also for training arguments that the trainer would not honour.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model: expected a model, got {quote(model)}. Load it first.")
    _require_language_model(model, "model")
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ArgumentError(
            f"model: expected a student with weights to train, got {type(model).__name__} with none. Call "
            "model.requires_grad_(True): those of a teacher are frozen, and of its copies too."
        )
    if config is not None and not isinstance(config, DistillationConfig):
        raise ArgumentError(f"config: expected DistillationConfig(...) or None, got {quote(config)}. Make one of it.")
    if not hasattr(args, "n_gpu"):
        raise ArgumentError(f"args: expected TrainingArguments(...), got {quote(args)}. Import them from transformers.")
    require_arguments(args)


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
