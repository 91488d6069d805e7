"""What newcomers give a trainer by mistake: one line each, before or as soon as a model would see it."""

from __future__ import annotations

import json

import pytest
import torch
from sequence_tables import tiny_causal
from test_sequence_trainer import SHORT, arguments, data, student, teacher, trainer

from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.checkpoints import load_additions, save_additions
from treeavg.distill.sequences.training.config import DistillationConfig, RewardOptions
from treeavg.distill.sequences.training.rows import Limits, require_dataset, require_fits, token_ids
from treeavg.distill.sequences.training.trainer import DistillationTrainer
from treeavg.errors import ArgumentError, FormatError, LimitError

KL = DistillationConfig(kind="kl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": []}, "train_dataset: expected at least one row, got none. Look at how it was read or filtered."),
        ({"eval_dataset": []}, "eval_dataset: expected at least one row, got none"),
        ({"eval_dataset": {"dev": []}}, r"eval_dataset\['dev'\]: expected at least one row, got none"),
        ({"rows": [{"prompt": [3]}]}, "train_dataset: expected the column 'completion', ids of the output, .* got "),
        (
            {"rows": [{"input_ids": [3], "labels": [3]}]},
            r"train_dataset: expected the column 'prompt', ids of the input, .* got \['input_ids', 'labels'\]. Add it",
        ),
        (
            {"rows": [{**row, "teacher_promt": [3]} for row in data(2)]},
            "train_dataset: expected columns of known names, got 'teacher_promt'. Did you mean 'teacher_prompt'",
        ),
        ({"rows": [[3, 4]]}, "train_dataset: expected rows such as {'prompt': ids, 'completion': ids}, got list"),
        ({"teachers": None}, "teachers: expected at least one for kind='kl', got 0. Give a model"),
        (
            {"teachers": torch.nn.Linear(1, 1)},
            r"teachers\[0\]: expected a causal or encoder-decoder model .* got Linear",
        ),
        (
            {"model": student().requires_grad_(False)},
            r"model: expected a student with weights to train, got GPT2LMHeadModel with none. Call model.req",
        ),
        ({"model": "gpt2"}, "model: expected a model, got 'gpt2'. Load it first"),
        (
            {"model": torch.nn.Linear(1, 1)},
            "model: expected a causal or encoder-decoder model of transformers, got Lin",
        ),
    ],
)
def test_arguments_of_another_kind(tmp_path, options, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        trainer(tmp_path, KL, **options)


def test_options_of_another_kind(tmp_path) -> None:
    with pytest.raises(
        ArgumentError, match=r"config: expected DistillationConfig\(...\) or None, got 'kl'. Make one of"
    ):
        trainer(tmp_path, "kl")
    with pytest.raises(ArgumentError, match=r"args: expected TrainingArguments\(...\), got None. Import them from"):
        DistillationTrainer(student(), KL, args=None, train_dataset=data(2), teachers=teacher())
    with pytest.raises(ArgumentError, match=r"sampler: expected Sampler\(...\) or None, got {'top_k': 5}. Import it"):
        DistillationConfig(kind="rkl", sampler={"top_k": 5})
    with pytest.raises(ArgumentError, match=r"reward: expected RewardOptions\(...\) or None, got {'value': 'max'}"):
        DistillationConfig(kind="reward", reward={"value": "max"})
    with pytest.raises(ArgumentError, match=r"fresh_teacher: expected True or False, got 'no'. Leave it out for"):
        DistillationConfig(kind="kl", fresh_teacher="no")
    with pytest.raises(ArgumentError, match=r"sparse: expected True or False, got 1. Leave it out for the default"):
        RewardOptions(sparse=1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "34", "completion": [0]}, "row 1 of the batch: expected 'prompt' as token ids, got the text '34'"),
        (
            {"prompt": [3.5], "completion": [0]},
            r"row 1 of the batch: expected 'prompt' as a row of token ids, got \[3.5",
        ),
        (
            {"prompt": [[3]], "completion": [0]},
            r"row 1 of the batch: expected 'prompt' as a row of token ids, got \[\[3",
        ),
        ({"prompt": 3, "completion": [0]}, "row 1 of the batch: expected 'prompt' as a row of token ids, got 3"),
        (
            {"prompt": [3], "completion": [20]},
            "row 1 of the batch: expected 'completion' of tokens from 0 to 19, got 20",
        ),
        (
            {"prompt": [3], "completion": [-100, 0]},
            "expected 'completion' of tokens from 0 to 19, got -100. Use the mod",
        ),
        ({"prompt": [77], "completion": [0]}, "row 1 of the batch: expected 'prompt' of tokens from 0 to 19, got 77"),
    ],
)
def test_rows_that_no_model_can_read(tmp_path, row, message) -> None:
    made = trainer(tmp_path, KL)
    with pytest.raises(ArgumentError, match=message):
        made.data_collator([data(1)[0], row])


@pytest.mark.parametrize(
    ("config", "row", "message"),
    [
        (
            KL,
            {"prompt": [3] * 40, "completion": [4] * 26},
            "the student's 64 positions, got a prompt of 40 tokens and up",
        ),
        (
            KL,
            {"prompt": [3], "completion": [0], "teacher_prompt": [3] * 65},
            "the teacher's 64 positions, got a prompt of",
        ),
        (
            DistillationConfig(kind="rkl", sampler=SHORT),
            {"prompt": [3], "teacher_prompt": [3] * 60},
            "row 0 .* expected at most the teacher's 64 positions, got a prompt of 60 tokens and up to 5 after",
        ),
        (
            DistillationConfig(kind="rkl"),
            {"prompt": [3]},
            "row 0 .* expected at most the student's 64 positions, got a prompt of 1 tokens and up to 64 after",
        ),
    ],
)
def test_rows_that_are_too_long(tmp_path, config, row, message) -> None:
    made = trainer(tmp_path, config)
    with pytest.raises(LimitError, match=message):
        made.data_collator([row])


def test_rows_that_just_fit(tmp_path) -> None:
    """As many tokens as positions, the last not read; a stored completion that nothing looks at is not counted."""
    made = trainer(tmp_path, KL, rows=[{"prompt": [3] * 32, "completion": [*[4] * 32, 0]}] * 4, args={"max_steps": 1})
    made.train()
    config = DistillationConfig(kind="rkl", sampler=SHORT)
    rows = [{"prompt": [3] * 59, "completion": [99] * 90}] * 4
    trainer(tmp_path, config, rows=rows, args={"max_steps": 1}).train()


def test_prompt_and_completion_apart() -> None:
    """An encoder-decoder model has positions for each."""
    limits = Limits(20, 20, 8, None, 3, True)
    require_fits({"prompt": [[3] * 8], "completion": [[4] * 8], "teacher_prompt": None}, limits)
    with pytest.raises(LimitError, match="the student's 8 positions, got a prompt of 2 tokens and up to 9 after it"):
        require_fits({"prompt": [[3] * 2], "completion": [[4] * 9], "teacher_prompt": None}, limits)


def test_ids_may_be_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    for value in (torch.tensor([3, 4]), numpy.array([3, 4], dtype=numpy.int32), (3, 4), [numpy.int64(3), 4]):
        assert token_ids(value, 0, "prompt") == [3, 4]


def test_data_that_cannot_be_looked_at_is_left_alone() -> None:
    """A stream has no length; names that are near, but beside the known ones, are somebody's own."""
    require_dataset(iter([{}]), "train_dataset", needed=["prompt"])
    require_dataset(None, "eval_dataset", needed=["prompt"])
    require_dataset([{"prompt": [1], "prompts": 0, "text": ""}], "train_dataset", needed=["prompt"])


def test_checkpoints_of_others(tmp_path) -> None:
    """Without options: refused. Of an older version, which had fewer: their defaults. Of a newer one: by name."""
    with pytest.raises(FormatError, match=r"distillation.json: expected the options of the training, got no such file"):
        load_additions(tmp_path, KL, None, {})
    paid = DistillationConfig(kind="reward", reward=RewardOptions(importance="token"), sampler=Sampler(top_k=2))
    save_additions(tmp_path / "new", paid, None, {})
    path = tmp_path / "new" / "distillation.json"
    document = json.loads(path.read_text())
    del document["ema_decay"], document["reward"]["sync"]
    path.write_text(json.dumps(document))
    load_additions(tmp_path / "new", paid, None, {})
    path.write_text(json.dumps({**document, "novel": 3}))
    with pytest.raises(ArgumentError, match=r"novel: expected 3, as in new, got None. Resume with the options"):
        load_additions(tmp_path / "new", paid, None, {})
    document["reward"]["sync"] = 7
    path.write_text(json.dumps(document))
    with pytest.raises(ArgumentError, match=r"reward.sync: expected 7, as in new, got None"):
        load_additions(tmp_path / "new", paid, None, {})
    path.write_text("[]")
    with pytest.raises(FormatError, match=r"distillation.json: expected options by name, got \[\]"):
        load_additions(tmp_path / "new", paid, None, {})


def test_a_checkpoint_without_its_maps(tmp_path) -> None:
    config = DistillationConfig(kind="kl", hidden_weight=1.0, include_last=True)
    narrow = tiny_causal(1, layers=1, width=4).double()
    made = trainer(tmp_path, config, args={"max_steps": 1, "save_strategy": "steps", "save_steps": 1}, model=narrow)
    made.train()
    (tmp_path / "checkpoint-1" / "distillation_maps.safetensors").write_bytes(b"no")
    with pytest.raises(FormatError, match=r"distillation_maps.safetensors: expected maps between hidden states, got "):
        made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_arguments_are_not_changed(tmp_path) -> None:
    """Rows and lists of arguments are as they were."""
    rows, args = data(4), arguments(tmp_path, max_steps=1)
    before, document = [dict(row) for row in rows], args.to_dict()
    one = teacher()
    DistillationTrainer(student(), KL, args=args, train_dataset=rows, teachers=one).train()
    assert rows == before
    assert args.to_dict() == document
