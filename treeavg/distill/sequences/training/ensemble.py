"""Ensemble, then distil, in one call: several teachers decode together, one student learns what they said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from treeavg.distill.sequences.ensembling.distill import Target, Teacher, ensemble_targets
from treeavg.distill.sequences.ensembling.protocol import BeamOptions
from treeavg.distill.sequences.training.config import DistillationConfig
from treeavg.errors import ArgumentError

__all__ = ["ensemble_then_distill"]


def ensemble_then_distill(
    student: nn.Module,
    teachers: Sequence[Teacher],
    options: BeamOptions,
    *,
    args: Any,
    inputs: Sequence[Sequence[int]] | None = None,
    method: str = "ebbs",
    vote: str = "mean",
    batch_size: int = 32,
    resume: bool = False,
) -> Any:
    """Decode the inputs with several teachers, then train a student on the outputs.

    Parameters
    ----------
    student : torch.nn.Module
        A causal or encoder-decoder model of Hugging Face; trained in place.
    teachers : sequence of Teacher
        K of them over the same N examples; one for self-distillation.
    options : BeamOptions
        The beam, the lengths and the end tokens.
    args : transformers.TrainingArguments
        Those of the training.
    inputs : sequence of sequence of int, length N, optional
        The examples as the student reads them. Default: as the first teacher does.
    method : str, default "ebbs"
        One of `treeavg.distill.sequences.ensembling.distill.METHODS`.
    vote : {"mean", "sum", "zero_one", "max"}, default "mean"
        For ``"ebbs"``.
    batch_size : int, default 32
        Examples decoded at once.
    resume : bool, default False
        Go on from the last checkpoint in ``args.output_dir``. The teachers decode again, to the same outputs.

    Returns
    -------
    DistillationTrainer
        After its training.

    Raises
    ------
    ArgumentError
        Teachers of different vocabularies, whose ids a student cannot learn; or what `ensemble_targets` and the
        trainer refuse.

    References
    ----------
    [Wen et al., AAAI 2025], EBBS-based distillation. With ``method="union"`` each example is seen K times, once with
    each teacher's output.

    Examples
    --------
    >>> teachers = [Teacher(one, inputs, pad=0), Teacher(two, inputs, pad=0)]  # doctest: +SKIP
    >>> options = BeamOptions(eos_ids=[0], max_length=20)  # doctest: +SKIP
    >>> ensemble_then_distill(student, teachers, options, args=args).state.global_step  # doctest: +SKIP
    20
    """
    from treeavg.distill.sequences.training.trainer import DistillationTrainer

    own = teachers[0].inputs if inputs is None and teachers else inputs or ()
    if teachers and len(own) != len(teachers[0].inputs):
        raise ArgumentError(
            f"inputs: expected {len(teachers[0].inputs)}, one for each example of the teachers, got {len(own)}. Give "
            "the student's form of the same examples, in their order."
        )
    if any(teacher.eos_ids is not None for teacher in teachers):
        raise ArgumentError(
            "teachers: expected one vocabulary, which the student has, got teachers with end tokens of their own. "
            "Decode with ensemble_targets and train on the texts."
        )
    targets = ensemble_targets(teachers, options, method=method, vote=vote, batch_size=batch_size)
    trainer = DistillationTrainer(
        student,
        DistillationConfig(kind="hard"),
        args=args,
        train_dataset=_rows(targets, own, len(teachers)),
        eos_ids=options.eos_ids,
    )
    trainer.train(resume_from_checkpoint=True if resume else None)
    return trainer


def _rows(targets: Sequence[Target], inputs: Sequence[Sequence[int]], teachers: int) -> list[dict[str, list[int]]]:
    """Return a row for each output; one that several teachers of a union share comes as often."""
    shared = any(target.weight < 1 for target in targets)
    return [
        {"prompt": list(inputs[target.input]), "completion": list(target.ids)}
        for target in targets
        for _ in range(round(target.weight * teachers) if shared else 1)
    ]
