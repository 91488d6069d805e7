"""Rows that each have one teacher of several: by their column, or by the least cross-entropy."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_sequence_trainer import (
    MAKERS,
    SHORT,
    data,
    distance,
    naive_laws,
    naive_loss,
    outputs_of,
    step_loss,
    still,
    student,
    teacher,
    trainer,
    weights,
    words,
)

from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.config import DistillationConfig, RewardOptions
from treeavg.errors import ArgumentError

WHO = [1, 0, 1, 1, 0]


def two(kind: str = "causal"):
    return [teacher(kind, seed=2), teacher(kind, seed=3)]


def shared_out(rows, who=WHO):
    return [{**row, "teacher_id": place} for row, place in zip(rows, who, strict=True)]


FIVE = Sampler("greedy", max_new_tokens=5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("seq2seq", {"kind": "kl", "rows": 3}),
        ("causal", {"kind": "kl", "gold_weight": 0.3, "hidden_weight": 0.5, "include_last": True}),
        ("seq2seq", {"kind": "kl", "hidden_weight": 0.5, "include_last": True}),
        ("causal", {"kind": "js", "prefixes": "stored", "mixture": "prefix"}),
        ("causal", {"kind": "tvd", "fresh_teacher": True, "sampler": FIVE}),
        ("causal", {"kind": "rkl", "sampler": FIVE, "score_function": True}),
        ("causal", {"kind": "reward", "sampler": FIVE}),
        ("causal", {"kind": "hard", "fresh_teacher": True, "sampler": FIVE}),
    ],
)
def test_each_row_has_its_teacher(tmp_path, kind, options) -> None:
    """A batch is the sum of its rows, each taught by its teacher alone; gradients too."""
    rows = data(5, kind=kind)
    config = DistillationConfig(average="teacher_id", reduction="sequence", **options)
    made = trainer(tmp_path, config, kind=kind, rows=shared_out(rows), teachers=two(kind))
    value, _ = step_loss(made, shared_out(rows))
    value.backward()
    alone, grads = 0.0, None
    for row, place in zip(rows, WHO, strict=True):
        one = trainer(
            tmp_path, dataclasses.replace(config, average="token"), kind=kind, rows=[row], teachers=two(kind)[place]
        )
        loss, _ = step_loss(one, [row])
        loss.backward()
        alone += loss.item() / len(rows)
        found = [weight.grad / len(rows) for weight in one.model.parameters()]
        grads = found if grads is None else [a + b for a, b in zip(grads, found, strict=True)]
    assert value.item() == pytest.approx(alone, abs=1e-9)
    for weight, grad in zip(made.model.parameters(), grads, strict=True):
        assert torch.allclose(weight.grad, grad, atol=1e-6)  # T5 normalises in single precision


def test_tokens_of_all_rows_are_counted_together(tmp_path) -> None:
    """The token mean is over all rows, not of each teacher's mean; splits of a step change nothing."""
    rows = data(8)
    who = [0, 0, 0, 1, 0, 1, 0, 0]
    config = DistillationConfig(kind="kl", average="teacher_id")
    made = trainer(tmp_path, config, rows=shared_out(rows, who), teachers=two())
    value, _ = step_loss(made, shared_out(rows, who))
    twin, tokens = torch.zeros((), dtype=torch.float64), 0
    for row, place in zip(rows, who, strict=True):
        twin = twin + naive_loss("kl", two()[place], made.model, [row], [row["completion"]]) * len(row["completion"])
        tokens += len(row["completion"])
    assert torch.allclose(value, twin / tokens, atol=1e-10)
    found = []
    for size, steps in ((8, 1), (2, 4)):
        args = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "optim": "sgd"}
        one = trainer(tmp_path, config, rows=shared_out(rows, who), teachers=two(), args=args)
        one.train()
        found.append(weights(one.model))
    assert distance(*found) < 1e-10


def test_names_of_teachers(tmp_path) -> None:
    """A mapping gives teachers names; rows call them by these."""
    rows = data(3)
    config = DistillationConfig(kind="kl", average="teacher_id")
    by_place = step_loss(
        trainer(tmp_path, config, rows=shared_out(rows, [1, 0, 1]), teachers=two()), shared_out(rows, [1, 0, 1])
    )[0]
    named = dict(zip(("de", "fr"), two(), strict=True))
    called = shared_out(rows, ["fr", "de", "fr"])
    assert torch.equal(step_loss(trainer(tmp_path, config, rows=called, teachers=named), called)[0], by_place)
    plain = DistillationConfig(kind="kl")
    both = [step_loss(trainer(tmp_path, plain, teachers=given), rows)[0] for given in (named, two())]
    assert torch.equal(*both)


def test_fresh_completions_are_each_row_s_teacher_s(tmp_path) -> None:
    config = DistillationConfig(kind="kl", fresh_teacher=True, average="teacher_id", sampler=FIVE)
    made = trainer(tmp_path, config, rows=shared_out(data(5)), teachers=two())
    batches = [made.data_collator(shared_out(data(5))[:3]), made.data_collator(shared_out(data(5))[3:])]
    found, _ = made.get_batch_samples(iter(batches), 2)
    outputs = [output for batch in found for output in outputs_of(batch, "teacher")]
    for row, place, output in zip(data(5), WHO, outputs, strict=True):
        assert naive_laws(two()[place], row["prompt"], output).argmax(-1).tolist() == output


@pytest.mark.parametrize("prefixes", ["stored", "student"])
def test_least_cross_entropy(tmp_path, prefixes) -> None:
    """By hand: the teacher with the least -log p of the stored completion; also where the student writes."""
    rows = data(6, seed=4)
    entropies = [
        [
            -naive_laws(one, row["prompt"], row["completion"])[range(len(row["completion"])), row["completion"]].sum()
            for one in two()
        ]
        for row in rows
    ]
    who = [int(pair[1] < pair[0]) for pair in entropies]
    assert 0 < sum(who) < len(who)
    options = {"kind": "kl", "prefixes": prefixes}
    options |= {"sampler": FIVE} if prefixes == "student" else {}
    chosen = DistillationConfig(average="min_ce", **options)
    value, batch = step_loss(trainer(tmp_path, chosen, teachers=two()), rows)
    assert batch["teacher"].tolist() == who
    told = DistillationConfig(average="teacher_id", **options)
    twin, _ = step_loss(trainer(tmp_path, told, rows=shared_out(rows, who), teachers=two()), shared_out(rows, who))
    assert torch.equal(value, twin)


def test_rows_that_are_shared_out_are_evaluated_and_resumed(tmp_path) -> None:
    rows = shared_out(data(5))
    config = DistillationConfig(kind="tvd", fresh_teacher=True, average="teacher_id", sampler=SHORT)

    def run(**train):
        args = {"max_steps": 3, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 2}
        made = trainer(tmp_path, config, rows=rows, teachers=two(), args=args, eval_dataset=rows)
        made.train(**train)
        return weights(made.model), made.evaluate()["eval_loss"]

    whole, loss = run()
    again, same = run(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert distance(whole, again) == 0
    assert loss == same


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        ({"average": "teacher_id"}, [0, 2], r"row 1 of the batch: expected 'teacher_id' among 0, 1, got 2. Name the"),
        ({"average": "teacher_id"}, [0, True], "row 1 of the batch: expected 'teacher_id' among 0, 1, got True"),
        ({"average": "teacher_id"}, [0, None], "row 1 of the batch: expected 'teacher_id' among 0, 1, got None"),
        ({}, [0, 1], "train_dataset: expected no column 'teacher_id', which only average='teacher_id' looks at, got"),
        ({"average": "min_ce"}, [0, 1], "train_dataset: expected no column 'teacher_id', which only average="),
    ],
)
def test_teachers_that_rows_do_not_have(tmp_path, options, rows, message) -> None:
    given = shared_out(data(2), rows)

    def start():
        trainer(tmp_path, DistillationConfig(kind="kl", **options), rows=given, teachers=two()).data_collator(given)

    with pytest.raises(ArgumentError, match=message):
        start()


def test_what_does_not_go_with_rows_of_one_teacher(tmp_path) -> None:
    config = DistillationConfig(kind="kl", average="teacher_id")
    rows = shared_out(data(2), [0, 1])
    with pytest.raises(ArgumentError, match=r"train_dataset: expected the column 'teacher_id', place or name of the"):
        trainer(tmp_path, config, teachers=two())
    with pytest.raises(ArgumentError, match=r"teacher_weights: expected None with average='teacher_id', where each"):
        trainer(tmp_path, config, teachers=two(), teacher_weights=[1, 1], rows=rows)
    with pytest.raises(
        ArgumentError, match="average: expected 'token' with one teacher, which is not averaged, got 'te"
    ):
        trainer(tmp_path, config, teachers=teacher(), rows=rows)
    with pytest.raises(
        ArgumentError, match="average: expected 'token' with no teacher, which is not averaged, got 'ge"
    ):
        trainer(tmp_path, DistillationConfig(kind="hard", average="geometric"), teachers=())
    wide = still(MAKERS["causal"][0](3, layers=2, width=16))
    states = dataclasses.replace(config, hidden_weight=1.0)
    with pytest.raises(ArgumentError, match=r"teachers\[1\]: expected layers in number and width as those of teachers"):
        trainer(tmp_path, states, teachers=[teacher(), wide], rows=rows)


def test_heads_of_teachers_may_be_padded_differently(tmp_path) -> None:
    """Each row's loss is that of its own teacher, cut to the tokens that are real."""
    teachers = [teacher(seed=2, vocabulary=24), teacher(seed=3, vocabulary=22)]
    rows = [{"prompt": [3], "completion": [5, 0]}, {"prompt": [4, 6], "completion": [0]}]
    rows = shared_out(rows, [1, 0])
    for blocks in (None, 2):
        config = DistillationConfig(kind="kl", average="teacher_id", rows=blocks)
        made = trainer(
            tmp_path, config, model=student(), teachers=teachers, rows=rows, processing_class=words(18),
            teacher_tokenizers=words(18),
        )  # fmt: skip
        value, _ = step_loss(made, rows)
        twin = torch.zeros((), dtype=torch.float64)
        for row in rows:
            p, q = (
                naive_laws(model, row["prompt"], row["completion"])[:, :18].log_softmax(-1)
                for model in (teachers[row["teacher_id"]], made.model)
            )
            twin = twin + (p.exp() * (p - q)).sum() / 3
        assert torch.allclose(value, twin, atol=1e-10)


def test_rewards_of_rows_with_importance(tmp_path) -> None:
    """Options of one teacher go on to hold: importance, penalties, truncated rows."""
    options = RewardOptions(importance="token", penalty="entropy")
    rows = shared_out(data(5))
    sampler = Sampler(max_new_tokens=3, top_k=2)
    config = DistillationConfig(kind="reward", reward=options, average="teacher_id", sampler=sampler)
    value, batch = step_loss(trainer(tmp_path, config, rows=rows, teachers=two()), rows)
    assert batch["student_truncated"].any()
    same, _ = step_loss(
        trainer(tmp_path, dataclasses.replace(config, average="token"), teachers=teacher(seed=2)), data(5)
    )
    every = shared_out(data(5), [0] * 5)
    first, _ = step_loss(trainer(tmp_path, config, rows=every, teachers=two()), every)
    assert torch.allclose(first, same, atol=1e-12)
    assert not torch.allclose(value, same)
