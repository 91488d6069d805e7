"""Ensemble, then distil: the student learns what the teachers say together."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from sequence_tables import tiny_causal

from treeavg.distill.sequences import BeamOptions, ensemble_targets, ensemble_then_distill
from treeavg.distill.sequences.ensembling.distill import Target, Teacher
from treeavg.distill.sequences.training.ensemble import _rows
from treeavg.errors import ArgumentError

with warnings.catch_warnings():  # transformers and its imports warn about themselves
    warnings.simplefilter("ignore")
    from transformers import TrainingArguments

INPUTS = [[1, 2 + n] for n in range(6)]
OPTIONS = BeamOptions(eos_ids=[0], max_length=4, beam=3)


def teachers(count: int) -> list[Teacher]:
    found = []
    for seed in range(count):
        model = tiny_causal(seed).eval()
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(8)
        found.append(Teacher(model, INPUTS, pad=0))
    return found


def arguments(folder: Path, steps: int, **options: object) -> TrainingArguments:
    return TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=6, learning_rate=1e-2, report_to=[],
        lr_scheduler_type="constant",
        disable_tqdm=True, logging_strategy="no", use_cpu=True, dataloader_pin_memory=False,
        **{"save_strategy": "no", **options},
    )  # fmt: skip


@pytest.mark.parametrize("method", ["ebbs", "mbr"])
def test_the_student_says_what_they_say_together(tmp_path: Path, method: str) -> None:
    """After enough steps its greedy outputs are the targets."""
    three = teachers(3)
    student = tiny_causal(9)
    trainer = ensemble_then_distill(student, three, OPTIONS, args=arguments(tmp_path, 150), method=method)
    assert trainer.state.global_step == 150
    wanted = ensemble_targets(three, OPTIONS, method=method)
    greedy = BeamOptions(eos_ids=[0], max_length=4, beam=1)
    said = ensemble_targets([Teacher(student.eval(), INPUTS, pad=0)], greedy, method="arithmetic")
    assert [target.ids for target in said] == [target.ids for target in wanted]


def test_resuming_gives_the_same_weights(tmp_path: Path) -> None:
    """Stopped after four steps and resumed, or in one go."""
    saving = {"save_strategy": "steps", "save_steps": 2}
    found = []
    for folder, stops in (("whole", [6]), ("parts", [4, 6])):
        student = tiny_causal(9)
        for place, steps in enumerate(stops):
            args = arguments(tmp_path / folder, steps, **saving)
            trainer = ensemble_then_distill(student, teachers(2), OPTIONS, args=args, resume=place > 0)
            assert trainer.state.global_step == steps
            found.append({name: weight.clone() for name, weight in student.state_dict().items()})
            student = tiny_causal(9)
    whole, early, resumed = found
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not all(torch.equal(whole[name], early[name]) for name in whole)


def test_rows_of_a_union() -> None:
    """Each teacher's output once; an output that two of three share twice."""
    targets = [Target(0, (5, 0), 2 / 3, 0.0, 0, None), Target(0, (6, 0), 1 / 3, 0.0, 2, None)]
    rows = _rows(targets, [[1, 2]], 3)
    assert [row["completion"] for row in rows] == [[5, 0], [5, 0], [6, 0]]
    assert all(row["prompt"] == [1, 2] for row in rows)
    assert len(_rows([Target(0, (5, 0), 1.0, 0.0, None, None)], [[1]], 3)) == 1


def test_bad_input(tmp_path: Path) -> None:
    """Inputs of another number, teachers of other vocabularies, no teacher."""
    args = arguments(tmp_path, 1)
    with pytest.raises(ArgumentError, match=r"^inputs: expected 6, one for each example of the teachers, got 2\. Give"):
        ensemble_then_distill(tiny_causal(), teachers(1), OPTIONS, args=args, inputs=INPUTS[:2])
    other = Teacher(tiny_causal(), INPUTS, pad=0, eos_ids=[3])
    with pytest.raises(ArgumentError, match=r"^teachers: expected one vocabulary, .* Decode with ensemble_targets and"):
        ensemble_then_distill(tiny_causal(), [other], OPTIONS, args=args)
    with pytest.raises(ArgumentError, match=r"^teachers: expected one or more, got none"):
        ensemble_then_distill(tiny_causal(), [], OPTIONS, args=args)
