"""Copies that follow the student: its moving average as a teacher, its past self as the one who writes; outputs."""

from __future__ import annotations

import warnings

import pytest
import torch
from sequence_tables import tiny_causal
from test_sequence_trainer import (
    MAKERS,
    SHORT,
    adapted,
    data,
    distance,
    lively,
    naive_laws,
    outputs_of,
    step_loss,
    still,
    trainer,
    weights,
)

from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.config import DistillationConfig, RewardOptions
from treeavg.distill.sequences.training.copies import StudentCopy
from treeavg.distill.sequences.training.outputs import Outputs, metrics_of
from treeavg.errors import ArgumentError, FormatError

with warnings.catch_warnings():  # transformers and its imports warn about themselves
    warnings.simplefilter("ignore")
    from transformers import TrainerCallback, TrainingArguments

SAVING = {"max_steps": 5, "save_strategy": "steps", "save_steps": 3, "per_device_train_batch_size": 2}
EMA = DistillationConfig(kind="kl", gold_weight=0.5, ema_decay=0.75)


class Diary(TrainerCallback):
    """Notes the student's weights after each update."""

    def __init__(self) -> None:
        self.pages: list[dict[str, torch.Tensor]] = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.pages.append(weights(model))


# ---- The moving average ----


@pytest.mark.parametrize("kind", MAKERS)
def test_moving_average(tmp_path, kind) -> None:
    """Against the recursion by hand; the teacher of a step is that of the updates before it."""
    diary = Diary()
    made = trainer(tmp_path, EMA, kind=kind, teachers="ema", callbacks=[diary], args={"max_steps": 3})
    twin = weights(made.model)
    for one, other in zip(made.teachers.models[0].parameters(), made.model.parameters(), strict=True):
        assert one is not other
        assert torch.equal(one, other)
    made.train()
    for page in diary.pages:
        twin = {name: 0.75 * twin[name] + 0.25 * page[name] for name in twin}
    found = weights(made.teachers.models[0])
    assert distance(found, twin) < 1e-10
    assert distance(found, weights(made.model)) > 1e-4
    assert not made.teachers.models[0].training
    assert all(not weight.requires_grad and weight.grad is None for weight in made.teachers.models[0].parameters())


def test_moving_average_is_resumed(tmp_path) -> None:
    """The average of the checkpoint goes on: the same weights of both to the bit."""

    def run(**train):
        made = trainer(
            tmp_path, EMA, model=tiny_causal(1, layers=1, width=8), teachers="ema", args=SAVING, rows=data(10)
        )
        made.train(**train)
        return weights(made.model), weights(made.teachers.models[0])

    whole = run()
    again = run(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    for one, other in zip(whole, again, strict=True):
        assert distance(one, other) == 0
    path = tmp_path / "checkpoint-3" / "distillation_teacher.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(
        FormatError, match=r"distillation_teacher.safetensors: expected weights of the copy of the stud"
    ):
        run(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    path.unlink()
    with pytest.raises(FormatError, match=r"distillation_teacher.safetensors: expected .* Resume from another check"):
        run(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))


def test_moving_average_of_half_precision_moves(tmp_path) -> None:
    """In bfloat16 a step of a thousandth would be lost; frozen weights are copied, not averaged."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).bfloat16()
    model[1].requires_grad_(False)
    copied = StudentCopy(model, decay=0.999)
    before = copied.model[0].weight.clone()
    with torch.no_grad():
        model[0].weight.add_(1.0)
    copied.follow(model, 1)
    moved = copied.model[0].weight - before
    assert torch.allclose(moved, torch.full_like(moved, 1e-3), atol=1e-5)
    assert torch.equal(copied.model[1].weight, model[1].weight.float())


def test_moving_average_with_a_prompt_of_its_own(tmp_path) -> None:
    """Self-distillation with a privileged context: at first the loss is that of one model on two prompts."""
    rows = [{**row, "teacher_prompt": [9, 8, *row["prompt"]]} for row in data(4)]
    made = trainer(tmp_path, DistillationConfig(kind="kl"), teachers="ema", rows=rows)
    twin, tokens = torch.zeros((), dtype=torch.float64), 0
    for row in rows:
        p, q = (naive_laws(made.model, row[name], row["completion"]) for name in ("teacher_prompt", "prompt"))
        twin, tokens = twin + (p.exp() * (p - q)).sum(), tokens + len(row["completion"])
    assert torch.allclose(step_loss(made, rows)[0], twin / tokens, atol=1e-10)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks transformers so
def test_moving_average_of_adapters(tmp_path) -> None:
    config = DistillationConfig(kind="kl", gold_weight=1.0, ema_decay=0.5)
    made = trainer(tmp_path, config, model=adapted(), teachers="ema", args={"max_steps": 1})
    before = weights(made.model)
    made.train()
    after, average = weights(made.model), weights(made.teachers.models[0])
    assert distance(average, {name: (before[name] + after[name]) / 2 for name in after}) < 1e-12
    assert distance(average, before) > 0


# ---- The past self ----


def paid(sync: int | None, **options) -> DistillationConfig:
    reward = RewardOptions(importance="token", sync=sync)
    return DistillationConfig(kind="reward", reward=reward, sampler=Sampler(max_new_tokens=5, top_k=2), **options)


def test_past_self_of_no_step_ago_is_the_student(tmp_path) -> None:
    """Renewed after each update it writes what the student would have; renewed later, something else."""
    found = {}
    for sync in (None, 1, 3):
        made = trainer(tmp_path, paid(sync), args={"max_steps": 4, "learning_rate": 0.3, "optim": "sgd"}, rows=data(16))
        made.train()
        found[sync] = weights(made.model)
    assert distance(found[None], found[1]) == 0
    assert distance(found[1], found[3]) > 1e-6


def test_importance_is_of_the_student_over_its_past_self(tmp_path) -> None:
    """The weight of a token: the student's law of now over the past one's, after the sampler's cut."""
    made = trainer(tmp_path, paid(2))
    past = made.copies["writer"].model
    with torch.no_grad():
        for weight in past.parameters():
            weight.add_(0.3)
    _, batch = step_loss(made, data(3))
    for place, output in enumerate(outputs_of(batch, "student")):
        prompt, kept = data(3)[place]["prompt"], slice(0, len(output))
        law = naive_laws(past, prompt, output)
        top = law.topk(2)
        assert all(token in row for token, row in zip(output, top.indices.tolist(), strict=True))
        drawn = (law - top.values.logsumexp(-1, keepdim=True))[range(len(output)), output]
        own = naive_laws(made.model, prompt, output)[range(len(output)), output]
        assert torch.allclose(batch["student_drawn"][place, kept].double(), drawn, atol=1e-5)
        assert torch.allclose(batch["student_logp"][place, kept].double(), own, atol=1e-5)


def test_past_self_is_renewed_and_resumed(tmp_path) -> None:
    """Every second update, between checkpoints too; from a checkpoint the run goes on to the same bits."""

    def run(**train):
        diary = Diary()
        made = trainer(
            tmp_path, paid(2), model=tiny_causal(1, layers=1, width=8), args=SAVING, rows=data(10), callbacks=[diary],
            eval_dataset=data(3),
        )  # fmt: skip
        made.train(**train)
        return diary.pages, weights(made.copies["writer"].model), weights(made.model), made.evaluate()["eval_loss"]

    pages, past, last, loss = run()
    assert distance(past, pages[3]) == 0  # after the fourth of five updates
    assert distance(past, last) > 0
    _, same_past, same_last, same_loss = run(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert distance(past, same_past) == 0
    assert distance(last, same_last) == 0
    assert loss == same_loss


def test_followers_that_cannot_be(tmp_path) -> None:
    with pytest.raises(ArgumentError, match=r"ema_decay: expected None without teachers='ema', got 0.9. Leave it out"):
        trainer(tmp_path, DistillationConfig(kind="kl", ema_decay=0.9))
    with pytest.raises(ArgumentError, match=r"ema_decay: expected a number from 0 to 1, got 1.5"):
        DistillationConfig(ema_decay=1.5)
    with pytest.raises(ArgumentError, match="sync: expected a whole number, at least 1, got 0"):
        RewardOptions(sync=0, importance="token")
    with pytest.raises(ArgumentError, match=r"importance: expected 'token' or 'prefix' with sync=5000, .* got None"):
        RewardOptions(sync=5000)


# ---- Scores of outputs ----


def share_of_right(found: Outputs) -> dict[str, float]:
    assert found.completions is not None
    pairs = zip(found.written, found.completions, strict=True)
    return {"right": sum(one == other for one, other in pairs) / len(found.written)}


def test_outputs_are_scored(tmp_path) -> None:
    """Greedy ones of all rows in order, without ends; the same in any batches, and for data of several names."""
    seen: list[Outputs] = []

    def compute(found: Outputs) -> dict[str, float]:
        seen.append(found)
        return {"length": sum(map(len, found.written)) / len(found.written)}

    rows = [*data(6), {"prompt": [3], "completion": [4, 5]}]
    for size in (1, 3, 8):
        made = trainer(
            tmp_path, DistillationConfig(kind="rkl", sampler=SHORT), eval_dataset={"dev": rows},
            compute_metrics=compute, args={"per_device_eval_batch_size": size},
        )  # fmt: skip
        found = made.evaluate()
        assert found["eval_dev_length"] == sum(map(len, seen[-1].written)) / 7
        assert found["eval_dev_loss"] > 0
    assert seen[0] == seen[1] == seen[2]
    assert seen[0].prompts == [row["prompt"] for row in rows]
    assert seen[0].completions == [[t for t in row["completion"] if t] for row in rows]
    for prompt, output in zip(seen[0].prompts, seen[0].written, strict=True):
        whole = output if len(output) == 5 else [*output, 0]
        assert naive_laws(made.model, prompt, whole).argmax(-1).tolist() == whole
    alone = [{"prompt": row["prompt"]} for row in rows]
    config = DistillationConfig(kind="rkl", sampler=SHORT)
    trainer(tmp_path, config, rows=alone, eval_dataset=alone, compute_metrics=compute).evaluate()
    assert seen[-1].completions is None
    assert seen[-1].written == seen[0].written


def test_the_best_checkpoint_is_that_of_the_outputs(tmp_path) -> None:
    """Two evaluations, the first with the higher score: at the end the student is that of then."""
    scores = iter([0.7, 0.2])
    diary = Diary()
    made = trainer(
        tmp_path, DistillationConfig(kind="kl"), eval_dataset=data(3), callbacks=[diary], eval_sampler=SHORT,
        compute_metrics=lambda found: {"bleu": next(scores)},
        args={"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1,
              "load_best_model_at_end": True, "metric_for_best_model": "bleu", "greater_is_better": True},
    )  # fmt: skip
    made.train()
    assert made.state.best_metric == 0.7
    assert distance(weights(made.model), diary.pages[0]) == 0
    assert distance(weights(made.model), diary.pages[1]) > 0


def test_a_sampler_of_outputs(tmp_path) -> None:
    """It is used, with fixed random numbers; training is not touched by the writing."""
    found = []
    options = {"eval_dataset": data(3), "args": {"eval_strategy": "steps", "eval_steps": 1, "max_steps": 3}}
    for more in ({}, {"compute_metrics": share_of_right, "eval_sampler": Sampler(max_new_tokens=3)}):
        made = trainer(tmp_path, DistillationConfig(kind="kl"), model=tiny_causal(1), **options, **more)
        made.train()
        found.append(weights(made.model))
    assert distance(*found) == 0
    seen: list[Outputs] = []
    for sampler in (Sampler(max_new_tokens=3), Sampler(max_new_tokens=3), Sampler("greedy", max_new_tokens=3)):
        made = trainer(
            tmp_path, DistillationConfig(kind="kl"), eval_dataset=data(6), eval_sampler=sampler,
            compute_metrics=lambda one: seen.append(one) or {"none": 0},
        )  # fmt: skip
        made.evaluate()
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]
    assert max(map(len, seen[0].written)) <= 3


def test_scores_that_cannot_be(tmp_path) -> None:
    config = DistillationConfig(kind="kl")
    with pytest.raises(
        ArgumentError, match=r"compute_metrics: expected a function that returns numbers by name, got 0.5"
    ):
        metrics_of(lambda found: 0.5, [([1], [2], None)], "eval")
    with pytest.raises(ArgumentError, match=r"eval_sampler: expected None without compute_metrics, as nothing is wri"):
        trainer(tmp_path, config, eval_sampler=SHORT)
    with pytest.raises(ArgumentError, match=r"eval_sampler: expected Sampler\(...\) or None, got 'greedy'"):
        trainer(tmp_path, config, eval_sampler="greedy", compute_metrics=share_of_right)
    with pytest.raises(ArgumentError, match=r"metric_for_best_model: expected 'loss' without compute_metrics, got 'bl"):
        trainer(tmp_path, config, args={"metric_for_best_model": "bleu"})


# ---- Precision and memory ----


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("rows", [None, 3])
def test_mixed_precision(tmp_path, kind, rows) -> None:
    """A step in bfloat16 has about the loss of single precision, moves the weights, and keeps them single."""
    found = []
    for half in (False, True):
        make = MAKERS[kind][0]
        made = trainer(
            tmp_path, DistillationConfig(kind="js", prefixes="stored", rows=rows), kind=kind,
            model=lively(still(make(1, layers=1)).float()), teachers=lively(still(make(2)).float()),
            args={"bf16": half, "max_steps": 1},
        )  # fmt: skip
        before = weights(made.model)
        made.train()
        assert distance(before, weights(made.model)) > 1e-4
        assert all(weight.dtype == torch.float32 for weight in made.model.parameters())
        found.append(made.state.log_history[0]["loss"])
    assert found[0] > 1e-4
    assert found[1] == pytest.approx(found[0], rel=0.1)
    assert found[1] != found[0]


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    "options", [{"kind": "kl"}, {"kind": "kl", "rows": 3}, {"kind": "kl", "hidden_weight": 1.0, "include_last": True}]
)
def test_gradient_checkpointing(tmp_path, kind, options) -> None:
    """The same weights after a step, with states, from hidden states, and while completions are written."""
    found = []
    called = "activation_checkpointing"  # its name before transformers 5.24: gradient_checkpointing
    called = called if called in TrainingArguments.__dataclass_fields__ else "gradient_checkpointing"
    for saving in (False, True):
        made = trainer(
            tmp_path, DistillationConfig(**options), kind=kind,
            args={called: saving, "max_steps": 1, "optim": "sgd", "learning_rate": 0.5},
        )  # fmt: skip
        before = weights(made.model)
        made.train()
        assert distance(before, weights(made.model)) > 1e-4
        found.append(weights(made.model))
    assert distance(*found) < 1e-7
