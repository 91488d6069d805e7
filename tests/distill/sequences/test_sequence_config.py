"""Options of a distillation and rows of its data: what goes together, what is refused, what the presets are."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.collate import Collator
from treeavg.distill.sequences.training.config import DistillationConfig, RewardOptions
from treeavg.distill.sequences.training.presets import PRESETS
from treeavg.distill.sequences.training.writing import chance, generator_of
from treeavg.errors import ArgumentError

SHORT = Sampler(max_new_tokens=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "jss"}, "kind: expected one of 'ce', .* got 'jss'. Did you mean 'js'"),
        ({"prefixes": "studnet"}, "prefixes: expected one of .* Did you mean 'student'"),
        ({"halves": "half"}, "halves: expected one of 'matched', 'both', got 'half'"),
        ({"layers": "first"}, "layers: expected one of"),
        ({"hidden_norm": "l3"}, "hidden_norm: expected one of"),
        ({"average": "mean"}, "average: expected one of"),
        ({"reduction": "none"}, "reduction: expected one of 'token', 'sequence', 'sequence_mean', got 'none'"),
        ({"weight": -1.0}, "weight: expected a number from 0, got -1.0"),
        ({"gold_weight": math.nan}, "gold_weight: expected a number from 0, got nan"),
        ({"on_policy": 1.5, "prefixes": "coin"}, "on_policy: expected a number from 0 to 1, got 1.5"),
        ({"rows": 0}, "rows: expected a whole number, at least 1, got 0"),
        ({"generation_rows": True}, "generation_rows: expected a whole number, at least 1, got True"),
        ({"seed": -1}, "seed: expected a whole number, at least 0, got -1"),
        ({"student_weight": 1.0}, "student_weight: expected a number between 0 and 1"),
        ({"kind": "kl", "student_weight": 0.3}, "student_weight: expected 0.5 for 'kl'"),
        ({"kind": "tvd", "mixture": "prefix"}, "mixture: expected 'token' for 'tvd'"),
        ({"kind": "js", "normalize": True}, "normalize: expected False for 'js'"),
        ({"temperature": 0.0}, "temperature: expected a positive number, got 0.0"),
        ({"kind": "hard", "temperature": 2.0}, "temperature: expected 1.0, as 'hard' compares no laws, got 2.0"),
        ({"kind": "reward", "teacher_temperature": 2.0}, "teacher_temperature: expected None, as 'reward'"),
        ({"kind": "kl", "halves": "both"}, "halves: expected 'matched', as 'kl' has none: js and tvd have"),
        ({"kind": "kl", "reward": RewardOptions()}, "reward: expected None, as 'kl' has no rewards"),
        ({"kind": "kl", "score_function": True}, "score_function: expected False, as it is for divergences"),
        ({"kind": "reward", "score_function": True}, "score_function: expected False, as it is for divergences"),
        ({"kind": "reward", "rows": 8}, "rows: expected None with kind='reward', which needs logits, got 8"),
        ({"mixture": "prefix", "rows": 8}, "rows: expected None with mixture='prefix'"),
        ({"kind": "rkl", "score_function": True, "rows": 8}, "rows: expected None with score_function=True"),
        ({"hidden_weight": 1.0, "rows": 8}, "rows: expected None with hidden_weight=1.0"),
        ({"gold_weight": 1.0, "rows": 8}, "rows: expected None with gold_weight=1.0"),
        ({"kind": "hard", "prefixes": "both"}, "prefixes: expected 'stored' for 'hard', got 'both'"),
        ({"kind": "reward", "prefixes": "stored"}, "prefixes: expected 'student' for 'reward', got 'stored'"),
        ({"prefixes": "coin"}, "halves: expected 'both' for 'js' with prefixes='coin', got 'matched'"),
        ({"on_policy": 0.3}, "on_policy: expected None, as matched halves are weighed by student_weight, got 0.3"),
        ({"kind": "kl", "on_policy": 0.3}, "on_policy: expected None, as prefixes='stored', got 0.3"),
        ({"kind": "rkl", "fresh_teacher": True}, "fresh_teacher: expected False, as prefixes='student'"),
        ({"kind": "kl", "sampler": SHORT}, "sampler: expected None, as nothing is generated"),
        ({"kind": "hard", "generation_rows": 2}, "generation_rows: expected None, as nothing is generated"),
        ({"layers": "reverse"}, "layers: expected 'forward', as hidden_weight is 0, got 'reverse'"),
        ({"include_last": True}, "include_last: expected False, as hidden_weight is 0"),
        ({"hidden_norm": "ln"}, "hidden_norm: expected 'none', as hidden_weight is 0"),
        ({"kind": "hard", "gold_weight": 0.2}, "gold_weight: expected 0.0, as 'hard' is that likelihood already"),
        ({"weight": 0.0}, "weight: expected some weight above 0, got 0 for all"),
    ],
)
def test_options_that_cannot_be(options, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        DistillationConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "min"}, "value: expected one of 'max', 'mean', 'lse', got 'min'"),
        ({"baseline": "leave_one_out"}, "baseline: expected one of 'value', 'none', got 'leave_one_out'"),
        ({"importance": "word"}, "importance: expected one of"),
        ({"penalty": "entropic"}, "penalty: expected one of .* Did you mean 'entropy'"),
        ({"scale": 0.0}, "scale: expected a number above 0, got 0.0"),
        ({"clip": -1.0}, "clip: expected a number above 0, got -1.0"),
        ({"penalty_weight": 0.2}, "penalty_weight: expected 0.1, as there is no penalty, got 0.2"),
        ({"penalty": "entropy", "penalty_weight": -1.0}, "penalty_weight: expected a number from 0, got -1.0"),
    ],
)
def test_reward_options_that_cannot_be(options, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        RewardOptions(**options)


def test_a_config_is_frozen_and_its_parts_are_those_of_the_papers() -> None:
    """f-distill: a matched half on each one's completions; GKD: a coin; its expectation weighs both."""
    config = DistillationConfig(kind="js", student_weight=0.85)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.kind = "kl"
    assert [(part.source, part.weight, part.half) for part in config.parts()] == [
        ("data", 1.0, "teacher"),
        ("student", 1.0, "student"),
    ]
    coin = PRESETS["gkd"]
    assert coin.parts(True)[0][:3] == ("student", 1.0, "both")
    assert coin.parts(False)[0][:3] == ("data", 1.0, "both")
    assert [part.weight for part in coin.parts()] == [0.5, 0.5]
    assert DistillationConfig(kind="gjsd", on_policy=1.0).parts()[0].source == "student"
    assert [part.source for part in DistillationConfig(kind="rkl", gold_weight=0.1).parts()] == ["student", "data"]
    gold = DistillationConfig(kind="kl", weight=0.0, gold_weight=1.0).parts()
    assert gold == (("data", 0.0, "both", 0.0, 1.0),)


def test_presets() -> None:
    """Published options, each a config; halves, weights and samplers as in the specification's tables."""
    assert {"pre-distill", "gkd", "acl2023-js", "acl2023-hard", "neurips2022"} <= set(PRESETS)
    js = PRESETS["acl2023-js"]
    assert (js.who, js.halves, js.mixture, js.student_weight) == ("both", "matched", "token", 0.85)
    assert (js.how.kind, js.how.beams, js.how.top_k) == ("beam-sample", 6, 30)
    assert PRESETS["acl2023-kl"].parts()[0].source == "teacher"
    assert PRESETS["acl2023-engine"].how.kind == "greedy"
    assert not PRESETS["acl2023-hard"].needs_teacher
    first = PRESETS["pre-distill"]
    assert (first.weight, first.gold_weight, first.hidden_weight, first.layers) == (0.8, 0.2, 3.0, "copied")
    with pytest.raises(TypeError):
        PRESETS["mine"] = js


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": [3], "completion": []}], "row 0 of the batch: expected 'completion' with at least one token, got"),
        (
            [{"prompt": [], "completion": [0]}],
            "row 0 of the batch: expected 'prompt' with at least one token, got none",
        ),
        (
            [{"prompt": [3], "completion": [0]}, {"prompt": [3]}],
            "row 1 of the batch: expected 'completion', ids of the",
        ),
        ([{"completion": [0]}], "row 0 of the batch: expected 'prompt', ids of the input"),
        (
            [{"prompt": [3], "completion": [0]}, {"prompt": [3], "completion": [0], "teacher_prompt": [1]}],
            "row 0 of the batch: expected 'teacher_prompt'",
        ),
    ],
)
def test_rows_that_break_the_rules(rows, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        Collator([0], pad=0, side="left")(rows)


def test_collator() -> None:
    with pytest.raises(ArgumentError, match="side: expected one of 'left', 'right', got 'top'"):
        Collator([0], pad=0, side="top")
    rows = [{"prompt": [3], "completion": [4, 9, 5]}, {"prompt": [3], "completion": [7]}]
    batch = Collator([8, 9], pad=9, side="left")(rows)
    assert batch["data_mask"].tolist() == [[True, True, False], [True, False, False]]
    assert batch["data_truncated"].tolist() == [False, True]
    only = Collator([0], pad=0, side="left", needs_completions=False)([{"prompt": [3]}])
    assert set(only) == {"input_ids", "attention_mask"}


def test_documents_of_configs() -> None:
    """Each preset goes through JSON unchanged."""
    for config in PRESETS.values():
        document = config.document()
        assert json.loads(json.dumps(document)) == document
        assert set(document) == {field.name for field in dataclasses.fields(config)}


def test_random_numbers_by_name() -> None:
    """The same name, the same numbers; another step or source, others; torch's own state is left alone."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, same, other = (torch.rand(3, generator=generator_of(0, "train", step)) for step in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
    draws = [chance(3, "coin", step) for step in range(400)]
    assert 0.4 < sum(draw < 0.5 for draw in draws) / 400 < 0.6
