"""The trainer: losses against slow twins, splits of a step, teachers, vocabularies, resumption, processes, adapters."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import Tensor, nn

from treeavg.distill.sequences.align import prompts
from treeavg.distill.sequences.rewards.induction import induce
from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.collate import Collator, completions_of, prompts_of
from treeavg.distill.sequences.training.config import DistillationConfig, RewardOptions
from treeavg.distill.sequences.training.reward_part import beyond
from treeavg.distill.sequences.training.states import StateMatch
from treeavg.distill.sequences.training.teachers import Scored, Teachers, score
from treeavg.errors import ArgumentError, FormatError

with warnings.catch_warnings():  # transformers and its imports warn about themselves
    warnings.simplefilter("ignore")
    from transformers import TrainerCallback, TrainingArguments

    from treeavg.distill.sequences.training.trainer import DistillationTrainer

SHORT = Sampler(max_new_tokens=5)
MAKERS = {"causal": (tiny_causal, 0), "seq2seq": (tiny_seq2seq, 1)}


def still(model: nn.Module) -> nn.Module:
    """Turn dropout off and take double precision."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "dropout_rate"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model.double()


def lively(model: nn.Module, scale: float = 8.0) -> nn.Module:
    """Make the laws of a fresh model differ from uniform."""
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(scale)
    return model


def student(kind: str = "causal", **options) -> nn.Module:
    return still(lively(MAKERS[kind][0](1, layers=1, width=8, **options)))


def teacher(kind: str = "causal", seed: int = 2, **options) -> nn.Module:
    return still(lively(MAKERS[kind][0](seed, layers=2, width=8, **options)))


def data(count: int, *, kind: str = "causal", seed: int = 0) -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(seed)
    end, found = MAKERS[kind][1], []
    for _ in range(count):
        lengths = torch.randint(1, 5, (2,), generator=generator).tolist()
        prompt, body = (torch.randint(2, 20, (length,), generator=generator).tolist() for length in lengths)
        found.append({"prompt": prompt, "completion": [*body[1:], end]})
    return found


def arguments(folder: Path, **options) -> TrainingArguments:
    fixed = {
        "use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "max_steps": 2,
        "per_device_train_batch_size": 4, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "logging_steps": 1,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    return TrainingArguments(output_dir=str(folder), **{**fixed, **options})


def trainer(folder: Path, config: DistillationConfig, *, kind: str = "causal", rows=None, args=None, **options):
    chosen = {"model": student(kind), "teachers": teacher(kind), **options}
    rows = data(8, kind=kind) if rows is None else rows
    return DistillationTrainer(
        chosen.pop("model"), config, args=arguments(folder, **(args or {})), train_dataset=rows, **chosen
    )


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def step_loss(made, rows) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of one step of one batch, with the batch."""
    batches, _ = made.get_batch_samples(iter([made.data_collator(rows)]), 1)
    return made.compute_loss(made.model, batches[0]), batches[0]


# ---- Losses against twins ----


def naive_laws(model: nn.Module, prompt: list[int], output: list[int]) -> Tensor:
    """Return log-probabilities (T, V) of one completion, without any padding."""
    model.eval()
    if model.config.is_encoder_decoder:
        before = [model.config.decoder_start_token_id, *output[:-1]]
        scores = model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([before])).logits[0]
    else:
        scores = model(input_ids=torch.tensor([prompt + output])).logits[0, len(prompt) - 1 : -1]
    return scores.log_softmax(-1)


def naive_terms(kind: str, half: str, p: Tensor, q: Tensor, output: list[int]) -> Tensor:
    """Return what A.4 of the specification writes for teacher p and student q, (T, V)."""
    m = (p + q) / 2
    if kind == "kl":
        return p * (p / q).log()
    if kind == "rkl":
        return q * (q / p).log()
    if kind == "tvd":
        return 0.25 * (p - q).abs()
    if kind == "js":
        return 0.5 * (p * (p / m).log() if half == "teacher" else q * (q / m).log())
    return -q[range(len(output)), output].log()


def naive_loss(kind: str, one: nn.Module, other: nn.Module, rows, outputs, *, half: str = "") -> Tensor:
    """Return the mean over all tokens, from teacher `one` to student `other`."""
    terms = []
    for row, output in zip(rows, outputs, strict=True):
        p, q = (naive_laws(model, row["prompt"], output).exp() for model in (one, other))
        terms.append(naive_terms(kind, half, p, q, output).sum())
    return torch.stack(terms).sum() / sum(map(len, outputs))


def outputs_of(batch, source: str) -> list[list[int]]:
    found = completions_of(batch, source)
    return [ids[mask].tolist() for ids, mask in zip(found.ids, found.mask, strict=True)]


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("loss", ["kl", "rkl", "js", "tvd", "hard"])
def test_loss_equals_a_twin(tmp_path, kind, loss) -> None:
    """Row by row without padding, on the completions that the step had; gradients too."""
    config = DistillationConfig(kind=loss, sampler=SHORT if loss not in ("kl", "hard") else None)
    made = trainer(tmp_path, config, kind=kind, teachers=() if loss == "hard" else teacher(kind))
    rows = data(5, kind=kind)
    value, batch = step_loss(made, rows)
    value.backward()
    found = [weight.grad.clone() for weight in made.model.parameters()]
    made.model.zero_grad()
    one = made.model if loss == "hard" else made.teachers.models[0]
    twin = torch.zeros((), dtype=torch.float64)
    for part in config.parts():
        half = part.half
        twin = twin + naive_loss(loss, one, made.model, rows, outputs_of(batch, part.source), half=half)
    assert torch.allclose(value, twin, atol=1e-10, rtol=0)
    twin.backward()
    assert all(
        torch.allclose(one, weight.grad, atol=1e-10) for one, weight in zip(found, made.model.parameters(), strict=True)
    )


def test_stored_completions_keep_their_end_where_it_is_the_padding(tmp_path) -> None:
    """The likelihood of a completion includes its end, and nothing after it."""
    rows = [{"prompt": [5], "completion": [7, 0]}, {"prompt": [5], "completion": [7, 8, 9, 0]}]
    made = trainer(tmp_path, DistillationConfig(kind="hard", reduction="sequence"), teachers=())
    value, batch = step_loss(made, rows)
    assert batch["data_mask"].sum(1).tolist() == [2, 4]
    twin = -sum(naive_laws(made.model, r["prompt"], r["completion"])[range(len(r["completion"])), r["completion"]].sum()
                for r in rows) / 2  # fmt: skip
    assert torch.allclose(value, twin, atol=1e-10)


def test_gold_likelihood_is_added(tmp_path) -> None:
    """0.8 KL + 0.2 CE on stored completions; beside a student's completions the stored ones are run too."""
    rows = data(4)
    both = step_loss(trainer(tmp_path, DistillationConfig(kind="kl", weight=0.8, gold_weight=0.2)), rows)[0]
    kl = step_loss(trainer(tmp_path, DistillationConfig(kind="kl")), rows)[0]
    gold = step_loss(trainer(tmp_path, DistillationConfig(kind="hard"), teachers=()), rows)[0]
    assert torch.allclose(both, 0.8 * kl + 0.2 * gold, atol=1e-10)
    added = step_loss(trainer(tmp_path, DistillationConfig(kind="rkl", sampler=SHORT, gold_weight=0.2)), rows)[0]
    rkl = step_loss(trainer(tmp_path, DistillationConfig(kind="rkl", sampler=SHORT)), rows)[0]
    assert torch.allclose(added, rkl + 0.2 * gold, atol=1e-10)


def test_prefix_mixture_takes_the_odds_of_the_prefix(tmp_path) -> None:
    """Against the exact mixture's conditional, by running sums."""
    config = DistillationConfig(kind="js", prefixes="stored", mixture="prefix", reduction="sequence")
    made, rows = trainer(tmp_path, config), data(3)
    value, _ = step_loss(made, rows)
    twin = torch.zeros((), dtype=torch.float64)
    for row in rows:
        log_p = naive_laws(made.teachers.models[0], row["prompt"], row["completion"])
        log_q = naive_laws(made.model, row["prompt"], row["completion"])
        odds = torch.zeros((), dtype=torch.float64)
        for place, token in enumerate(row["completion"]):
            share = odds.sigmoid()
            m = (1 - share) * log_p[place].exp() + share * log_q[place].exp()
            twin = twin + 0.5 * (log_p[place].exp() * (log_p[place] - m.log())).sum() / len(rows)
            odds = odds + log_q[place, token] - log_p[place, token]
    assert torch.allclose(value, twin, atol=1e-10)


@pytest.mark.parametrize("kind", MAKERS)
def test_rows_give_the_dense_loss(tmp_path, kind) -> None:
    """From hidden states, a few positions at a time: the same loss and gradients, tied head or not."""
    rows, found = data(4, kind=kind), []
    for blocks in (None, 3):
        made = trainer(tmp_path, DistillationConfig(kind="js", sampler=SHORT, rows=blocks), kind=kind)
        value, _ = step_loss(made, rows)
        value.backward()
        found.append((value.detach(), [weight.grad for weight in made.model.parameters()]))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-10)
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in zip(found[0][1], found[1][1], strict=True))


# ---- One step, however it is split ----


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("causal", {"kind": "tvd"}),
        ("seq2seq", {"kind": "kl", "prefixes": "both", "gold_weight": 0.5}),
        ("causal", {"kind": "rkl", "reduction": "sequence_mean", "drop_truncated": True}),
    ],
)
def test_splits_of_a_step_do_not_matter(tmp_path, kind, options) -> None:
    """One batch of 8 or four of 2, with ragged completions, fresh ones among them: the same weights after two steps."""
    found = []
    for size, steps in ((8, 1), (2, 4)):
        args = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "optim": "sgd"}
        config = DistillationConfig(sampler=SHORT, **options)
        made = trainer(tmp_path, config, kind=kind, rows=data(16, kind=kind), args={**args, "learning_rate": 0.5})
        before = weights(made.model)
        made.train()
        found.append(weights(made.model))
        assert distance(before, found[-1]) > 1e-3
        found.append(made.state.log_history[0]["loss"])
    assert distance(found[0], found[2]) < 1e-10
    assert found[1] == pytest.approx(found[3], abs=1e-6)


def test_what_is_divided_by_is_counted_after_generation(tmp_path) -> None:
    """Stored completions are one token long, the student's longer: the count is the student's."""
    rows = [{"prompt": [3, 4], "completion": [0]}] * 6
    made = trainer(tmp_path, DistillationConfig(kind="rkl", sampler=dataclasses.replace(SHORT, min_new_tokens=4)))
    collate = made.data_collator
    batches, _ = made.get_batch_samples(iter([collate(rows[:4]), collate(rows[4:])]), 2)
    tokens = sum(int(completions_of(batch, "student").mask.sum()) for batch in batches)
    assert tokens >= 24
    assert int(made._window.counts["student"]) == tokens
    whole = sum(made.compute_loss(made.model, batch) for batch in batches)
    outputs = [output for batch in batches for output in outputs_of(batch, "student")]
    assert torch.allclose(whole, naive_loss("rkl", made.teachers.models[0], made.model, rows, outputs), atol=1e-10)


def test_generation_by_rows(tmp_path) -> None:
    """The most prompts of a call is kept; every prompt gets its completion, and batches are trimmed."""
    config = DistillationConfig(kind="rkl", sampler=Sampler("greedy", max_new_tokens=5), generation_rows=2)
    made, rows = trainer(tmp_path, config), data(5)
    parts = [made.data_collator(rows[:3]), made.data_collator(rows[3:])]
    batches, _ = made.get_batch_samples(iter(parts), 2)
    found = [output for batch in batches for output in outputs_of(batch, "student")]
    alone = []
    for row in rows:
        _, batch = step_loss(made, [row])
        alone += outputs_of(batch, "student")
    assert found == alone
    assert all(batch["student_mask"].any(0).all() for batch in batches)


def test_coin(tmp_path, monkeypatch) -> None:
    """One branch a step, the same after a restart; completions are written, and teachers run, in that branch only."""
    written: list[str] = []
    from treeavg.distill.sequences.training import trainer as module

    original = module.write
    monkeypatch.setattr(module, "write", lambda *args, **options: (written.append(args[1]), original(*args, **options)))
    config = DistillationConfig(kind="gjsd", prefixes="coin", on_policy=0.25, sampler=SHORT)
    made = trainer(tmp_path, config)
    calls: list[int] = []
    made.teachers.models[0].register_forward_hook(lambda *_: calls.append(1))
    shares = []
    for step in range(200):
        made.state.global_step = step
        written.clear()
        parts = made.get_batch_samples(iter([made.data_collator(data(1))]), 1)[0] and made._window.parts
        assert len(parts) == 1
        assert written == (["student"] if parts[0].source == "student" else [])
        shares.append(parts[0].source == "student")
    assert 0.15 < sum(shares) / len(shares) < 0.35
    assert not calls
    step_loss(made, data(1))
    assert len(calls) == 1


def test_losses_of_all_masked_batches(tmp_path) -> None:
    """Dropping completions without an end leaves nothing: the loss is 0, and every parameter gets a zero gradient."""
    rows = [{"prompt": [3], "completion": [4, 5]}, {"prompt": [3, 4], "completion": [6]}]
    for rows_at_a_time in (None, 2):
        config = DistillationConfig(kind="kl", drop_truncated=True, rows=rows_at_a_time)
        made = trainer(tmp_path, config)
        value, _ = step_loss(made, rows)
        value.backward()
        assert value.item() == 0
        assert all(weight.grad is not None and not weight.grad.any() for weight in made.model.parameters())
    kept, _ = step_loss(trainer(tmp_path, DistillationConfig(kind="kl")), rows)
    assert kept.item() > 0


# ---- Teachers ----


def test_teacher_stays_apart(tmp_path) -> None:
    """Frozen, evaluating, without gradients, no part of the student; left in training mode it teaches the same."""

    class Meddler(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            made.teachers.models[0].train()

    found = []
    for callbacks in ((), (Meddler(),)):
        one = lively(tiny_causal(2, width=8))  # with dropout
        assert one.training
        before = weights(one)
        made = trainer(
            tmp_path, DistillationConfig(kind="tvd", sampler=SHORT), model=student().float(), teachers=one,
            callbacks=callbacks,
        )  # fmt: skip
        assert not one.training
        made.train()
        assert made.model.training
        assert one.training is bool(callbacks)
        assert all(not weight.requires_grad and weight.grad is None for weight in one.parameters())
        assert distance(before, weights(one)) == 0
        assert not {id(module) for module in one.modules()} & {id(module) for module in made.model.modules()}
        found.append(weights(made.model))
    assert distance(*found) == 0


def test_several_teachers(tmp_path) -> None:
    """Alike they are one; all weight on the second leaves the second; KL from the average by hand."""
    rows, one, two = data(4), teacher(seed=2), teacher(seed=3)
    config = DistillationConfig(kind="kl")

    def loss(*teachers, weights=None, **options):
        chosen = dataclasses.replace(config, **options)
        return step_loss(trainer(tmp_path, chosen, teachers=list(teachers), teacher_weights=weights), rows)[0]

    assert torch.allclose(loss(one, teacher(seed=2)), loss(one), atol=1e-10)
    assert torch.allclose(loss(one, two, weights=[0.0, 3.0]), loss(two), atol=1e-10)
    made = trainer(tmp_path, config)
    twin, tokens = torch.zeros((), dtype=torch.float64), 0
    for row in rows:
        log_p = torch.stack([naive_laws(each, row["prompt"], row["completion"]) for each in (one, two)])
        log_p = (log_p.exp().mean(0)).log()
        log_q = naive_laws(made.model, row["prompt"], row["completion"])
        twin, tokens = twin + (log_p.exp() * (log_p - log_q)).sum(), tokens + len(row["completion"])
    assert torch.allclose(loss(one, two), twin / tokens, atol=1e-10)
    halves = [loss(one, two, average=name) for name in ("prefix", "geometric")]
    assert all(not torch.allclose(half, twin / tokens) for half in halves)
    paid = trainer(tmp_path, DistillationConfig(kind="reward", sampler=SHORT), teachers=[one, two])
    sole = trainer(
        tmp_path, DistillationConfig(kind="reward", sampler=SHORT), teachers=[one, two], teacher_weights=[1, 1]
    )
    assert torch.allclose(step_loss(paid, rows)[0], step_loss(sole, rows)[0], atol=1e-10)


def test_temperature_of_several_teachers_is_applied_once(tmp_path) -> None:
    config = DistillationConfig(kind="kl", temperature=2.0, scale_by_temperature=True)
    rows = data(3)
    one = step_loss(trainer(tmp_path, config), rows)[0]
    two = step_loss(trainer(tmp_path, config, teachers=[teacher(), teacher()]), rows)[0]
    assert torch.allclose(one, two, atol=1e-10)


def test_fresh_completions_of_the_teacher(tmp_path) -> None:
    """They replace the stored ones, which need not be there; they are the teacher's own."""
    config = DistillationConfig(kind="kl", fresh_teacher=True, sampler=Sampler("greedy", max_new_tokens=4))
    made = trainer(tmp_path, config)
    value, batch = step_loss(made, [{"prompt": [3, 4]}, {"prompt": [5]}])
    for prompt, output in zip([[3, 4], [5]], outputs_of(batch, "teacher"), strict=True):
        laws = naive_laws(made.teachers.models[0], prompt, output)
        assert laws.argmax(-1).tolist() == output
    twin = naive_loss(
        "kl", made.teachers.models[0], made.model, [{"prompt": [3, 4]}, {"prompt": [5]}], outputs_of(batch, "teacher")
    )
    assert torch.allclose(value, twin, atol=1e-10)


def test_prompts_of_the_teacher(tmp_path) -> None:
    """A longer prompt for the teacher alone, aligned on the completion: prompt removal."""
    rows = [{**row, "teacher_prompt": [9, 8, *row["prompt"]]} for row in data(3)]
    made = trainer(tmp_path, DistillationConfig(kind="kl"))
    value, _ = step_loss(made, rows)
    twin, tokens = torch.zeros((), dtype=torch.float64), 0
    for row in rows:
        log_p = naive_laws(made.teachers.models[0], row["teacher_prompt"], row["completion"])
        log_q = naive_laws(made.model, row["prompt"], row["completion"])
        twin, tokens = twin + (log_p.exp() * (log_p - log_q)).sum(), tokens + len(row["completion"])
    assert torch.allclose(value, twin / tokens, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "config", "message"),
    [
        ({"teachers": ()}, {"kind": "kl"}, "teachers: expected at least one for kind='kl', got 0"),
        ({}, {"kind": "hard"}, "teachers: expected none for kind='hard', got 1"),
        ({"teachers": "base"}, {"kind": "kl"}, "teachers: expected models, 'ema', or 'base' with a student that"),
        ({"teachers": ["gpt2"]}, {"kind": "kl"}, r"teachers\[0\]: expected a model, got str. Load it first"),
        ({"teacher_weights": [1.0, 2.0]}, {"kind": "kl"}, "teacher_weights: expected 1 non-negative numbers"),
        ({"teacher_weights": [-1.0]}, {"kind": "kl"}, "teacher_weights: expected 1 non-negative numbers"),
        ({}, {"kind": "kl", "average": "geometric"}, "average: expected 'token' with one teacher"),
    ],
)
def test_teachers_that_do_not_fit(tmp_path, options, config, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        trainer(tmp_path, DistillationConfig(**config), **options)


def test_teachers_that_do_not_fit_together(tmp_path) -> None:
    two = [teacher(seed=2), teacher(seed=3)]
    for name, options in {
        "fresh_teacher": {"fresh_teacher": True},
        "hidden_weight": {"hidden_weight": 1.0},
        "rows": {"rows": 4},
    }.items():
        with pytest.raises(ArgumentError, match=f"{name}: expected to be left out with 2 teachers"):
            trainer(tmp_path, DistillationConfig(kind="kl", **options), teachers=two)
    with pytest.raises(ArgumentError, match="average: expected 'token' for 'reward'"):
        trainer(tmp_path, DistillationConfig(kind="reward", average="prefix"), teachers=two)
    with pytest.raises(ArgumentError, match=r"got causal and encoder-decoder models together \(GPT2LMHeadModel, T5"):
        trainer(tmp_path, DistillationConfig(kind="kl"), teachers=teacher("seq2seq"))
    same = student()
    with pytest.raises(ArgumentError, match=r"teachers\[0\]: expected a model of its own, got one that shares"):
        trainer(tmp_path, DistillationConfig(kind="kl"), model=same, teachers=same)


# ---- Vocabularies ----


def words(count: int, first: int = 0):
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({f"w{place + first}": place for place in range(count)}, unk_token=f"w{first}"))


def test_padded_heads_are_cut(tmp_path) -> None:
    """Heads of 20 and 24 columns for the same 18 tokens: the loss is that of both, sliced."""
    rows = [{"prompt": [3, 4], "completion": [5, 6, 0]}]
    one, other = teacher(vocabulary=24), student()
    for blocks in (None, 2):
        made = trainer(
            tmp_path,
            DistillationConfig(kind="kl", rows=blocks),
            model=other,
            teachers=one,
            processing_class=words(18),
            teacher_tokenizers=words(18),
        )
        value, _ = step_loss(made, rows)
        laws = [
            naive_laws(model, rows[0]["prompt"], rows[0]["completion"])[:, :18].log_softmax(-1)
            for model in (one, other)
        ]
        twin = (laws[0].exp() * (laws[0] - laws[1])).sum() / 3
        assert torch.allclose(value, twin, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher_tokenizers": words(20, 3), "processing_class": words(20)}, "expected the teacher's 20 tokens with"),
        ({"teacher_tokenizers": words(20)}, "processing_class: expected the student's tokenizer beside the teachers'"),
        ({"teachers": teacher(vocabulary=24)}, r"teacher_tokenizers: .* heads differ \(20 columns and 24\), got None"),
        (
            {"teacher_tokenizers": [words(20), words(20)], "processing_class": words(20)},
            "teacher_tokenizers: expected one, or one for each of the 1 teachers, got 2",
        ),
        (
            {"teacher_tokenizers": words(22), "processing_class": words(22)},
            "teacher_size: expected at least 22 columns, one for each token, got 20",
        ),
        (
            {"teachers": (), "teacher_tokenizers": words(20), "kind": "hard"},
            "teacher_tokenizers: expected None without teachers, got some",
        ),
    ],
)
def test_vocabularies_that_differ(tmp_path, options, message) -> None:
    """They are refused at construction, before any training."""
    config = DistillationConfig(kind=options.get("kind", "kl"))
    with pytest.raises(ArgumentError, match=message):
        trainer(tmp_path, config, **{name: value for name, value in options.items() if name != "kind"})


def test_completions_of_no_token(tmp_path) -> None:
    """A student whose head is wider than its tokens may write one that no teacher knows."""
    one = student()
    with torch.no_grad():
        for weight in one.parameters():
            weight.zero_()
    config = DistillationConfig(kind="rkl", sampler=dataclasses.replace(SHORT, min_new_tokens=5))
    made = trainer(tmp_path, config, model=one, teacher_tokenizers=words(3), processing_class=words(3))
    with pytest.raises(ArgumentError, match=r"step 1: student: expected completions of tokens below 3, .* got "):
        step_loss(made, data(4))


# ---- Hidden states ----


@pytest.mark.parametrize("kind", MAKERS)
def test_states_are_those_of_the_completion(kind) -> None:
    """Layer by layer against one example at a time, without padding."""
    model, rows = teacher(kind).eval(), data(3, kind=kind)
    batch = Collator([MAKERS[kind][1]], pad=0, side="right" if kind == "seq2seq" else "left")(rows)
    found = score(model, prompts_of(batch), completions_of(batch, "data"), states=True)
    assert len(found.decoder) == 3
    for place, row in enumerate(rows):
        output, length = row["completion"], len(row["completion"])
        if kind == "seq2seq":
            alone = model(
                input_ids=torch.tensor([row["prompt"]]), decoder_input_ids=torch.tensor([[0, *output[:-1]]]),
                output_hidden_states=True,
            )  # fmt: skip
            states = alone.decoder_hidden_states
            for layer, own in zip(found.encoder, alone.encoder_hidden_states, strict=True):
                assert torch.allclose(layer[place, : len(row["prompt"])], own[0], atol=1e-10)
        else:
            whole = model(input_ids=torch.tensor([row["prompt"] + output]), output_hidden_states=True).hidden_states
            states = [layer[:, len(row["prompt"]) - 1 : -1] for layer in whole]
        for layer, own in zip(found.decoder, states, strict=True):
            assert torch.allclose(layer[place, :length], own[0], atol=1e-10)
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("kind", MAKERS)
def test_hidden_states_are_matched(tmp_path, kind) -> None:
    """A student equal to its teacher has distance 0; another width brings maps, which are trained and saved."""
    config = DistillationConfig(kind="kl", hidden_weight=2.0, include_last=True)
    same = trainer(tmp_path, config, kind=kind, model=teacher(kind))
    assert step_loss(same, data(3, kind=kind))[0].item() == pytest.approx(0, abs=1e-12)
    assert not len(same.match.maps)
    narrow = still(MAKERS[kind][0](1, layers=2, width=4))
    made = trainer(tmp_path, config, kind=kind, model=narrow, args={"max_steps": 1})
    assert set(made.match.pairs) == ({"decoder", "encoder"} if kind == "seq2seq" else {"decoder"})
    before = weights(made.match)
    made.train()
    assert all((one != other).any() for one, other in zip(before.values(), weights(made.match).values(), strict=True))
    plain = step_loss(trainer(tmp_path, DistillationConfig(kind="kl"), kind=kind), data(3, kind=kind))[0]
    added = step_loss(trainer(tmp_path, config, kind=kind), data(3, kind=kind))[0]
    assert added > plain


def test_states_that_cannot_be_had_or_matched() -> None:
    class Around(nn.Module):
        """Calls the forward of what it holds, past its hooks, as some wrappers do."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = teacher()
            self.config = self.inner.config

        def get_base_model(self):
            return self.inner

        @property
        def base_model(self):
            return self.inner

        active_peft_config = None

        def forward(self, **inputs):
            return self.inner.forward(**inputs)

    batch = Collator([0], pad=0, side="left")(data(2))
    with pytest.raises(ArgumentError, match="model: expected one that runs its own forward pass, got Around"):
        score(Around(), prompts_of(batch), completions_of(batch, "data"), states=True)
    layers = (torch.zeros(1, 1, 4),) * 3
    one, other = Scored(torch.zeros(1, 1, 5), None, layers), Scored(torch.zeros(1, 1, 5), None, layers, layers)
    with pytest.raises(ArgumentError, match="hidden_weight: expected 0 for a causal student and an encoder-decoder"):
        StateMatch(DistillationConfig(hidden_weight=1.0), one, other)


# ---- Rewards ----


def test_reward_is_the_policy_gradient_of_induced_rewards(tmp_path) -> None:
    """By hand, row by row; a truncated completion's last reward looks one teacher's step further."""
    options = RewardOptions(value="lse", scale=2.0, importance="token", clip=0.7, penalty="entropy", penalty_weight=0.3)
    sampler = Sampler(max_new_tokens=12, temperature=1.5)
    made = trainer(tmp_path, DistillationConfig(kind="reward", reward=options, sampler=sampler))
    rows = data(16)
    value, batch = step_loss(made, rows)
    outputs, truncated = outputs_of(batch, "student"), batch["student_truncated"].tolist()
    assert any(truncated)
    assert not all(truncated)
    twin, tokens = 0.0, 0
    for row, output, cut in zip(rows, outputs, truncated, strict=True):
        whole = torch.tensor([row["prompt"] + output])
        logits = made.teachers.models[0](input_ids=whole).logits[0, len(row["prompt"]) - 1 :].detach()
        values = logits.logsumexp(-1)
        laws = naive_laws(made.model, row["prompt"], output).detach()
        gained = 0.0
        for place in reversed(range(len(output))):
            last = place == len(output) - 1
            after = 0.0 if last and not cut else float(values[place + 1])
            gained += float(logits[place, output[place]]) - after
            ratio = (laws[place] - (laws[place] / 1.5).log_softmax(-1))[output[place]].exp()
            factor = (gained - float(values[place])) / 2.0 * float(ratio)
            twin -= float(laws[place, output[place]]) * min(max(factor, -0.7), 0.7)
            twin += 0.3 * float((laws[place].exp() * laws[place]).sum())
        tokens += len(output)
    assert value.item() == pytest.approx(twin / tokens, abs=1e-6)  # log-probabilities of samples are single precision


def test_a_place_beyond_is_asked_for_truncated_completions_only() -> None:
    batch = Collator([0], pad=0, side="left")(
        [{"prompt": [3], "completion": [4]}, {"prompt": [3], "completion": [5, 0]}]
    )
    found = completions_of(batch, "data")
    assert beyond(found).mask.tolist() == [[True, True, False], [True, True, False]]
    gone = completions_of(batch, "data", drop_truncated=True)
    assert beyond(gone).mask.tolist() == [[False, False, False], [True, True, False]]
    logits = torch.randn(2, 3, 6, dtype=torch.float64)
    cut = induce(logits[:, :2], found.ids, found.mask, found.truncated, next_logits=logits[range(2), [1, 2]])
    assert float(cut.rewards[0, 0]) == pytest.approx(float(logits[0, 0, 4] - logits[0, 1].max()))


# ---- Bad input ----


@pytest.mark.parametrize("who", ["teacher", "student"])
@pytest.mark.parametrize("prefixes", ["stored", "student"])
def test_nan_logits_name_the_step(tmp_path, who, prefixes) -> None:
    """In the loss or while completions are written."""

    class Breaker(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            model = made.teachers.models[0] if who == "teacher" else made.model
            with torch.no_grad():
                model.get_output_embeddings().weight.fill_(math.nan)

    config = DistillationConfig(kind="rkl", prefixes=prefixes, sampler=None if prefixes == "stored" else SHORT)
    made = trainer(tmp_path, config, callbacks=[Breaker()])
    with pytest.raises(ArgumentError, match=r"step 2: .*expected .* got NaN or"):
        made.train()


def test_an_infinite_loss_names_the_step(tmp_path) -> None:
    """Where no position's check has seen it, as on accelerators."""
    made = trainer(tmp_path, DistillationConfig(kind="hard"), teachers=())
    made.objective.losses = lambda *_: {"data": torch.tensor(math.inf)}
    with pytest.raises(
        ArgumentError, match=r"step 1: loss: expected a finite number, got inf. Look for NaN in the weights"
    ):
        made.train()


def test_arguments_that_would_not_be_honoured(tmp_path) -> None:
    from treeavg.distill.sequences.training.requirements import require_arguments

    made = arguments(tmp_path, label_smoothing_factor=0.1)
    with pytest.raises(ArgumentError, match=r"args.label_smoothing_factor: expected 0, got 0.1"):
        require_arguments(made)
    made = arguments(tmp_path)
    made._n_gpu = 2
    with pytest.raises(ArgumentError, match=r"args: expected one device for each process, got 2. Start it with"):
        require_arguments(made)
    made = arguments(tmp_path)
    made.fsdp = "full_shard"
    with pytest.raises(ArgumentError, match=r"args.fsdp: expected none, got 'full_shard'"):
        require_arguments(made)


# ---- Log and evaluation ----


def test_what_is_logged(tmp_path) -> None:
    """Loss, shares of truncated and of the student's completions, their length."""
    rows = [{"prompt": [3], "completion": [4]}, {"prompt": [3], "completion": [5, 6, 0]}] * 4
    made = trainer(tmp_path, DistillationConfig(kind="kl"), rows=rows, args={"per_device_train_batch_size": 8})
    made.train()
    logs = [entry for entry in made.state.log_history if "loss" in entry]
    assert len(logs) == 2
    for entry in logs:
        assert (entry["truncated"], entry["on_policy"], entry["completion_tokens"]) == (0.5, 0.0, 2.0)
    config = DistillationConfig(kind="tvd", sampler=Sampler(max_new_tokens=1, min_new_tokens=1))
    made = trainer(tmp_path, config, rows=[{"prompt": [3], "completion": [0]}] * 8, args={"max_steps": 1})
    made.train()
    entry = made.state.log_history[0]
    assert entry["on_policy"] == 0.5
    assert entry["completion_tokens"] == 1.0


def test_evaluation_does_not_depend_on_batches(tmp_path) -> None:
    """Ragged completions in batches of 1, 3 or 8 give one loss, the mean over all tokens."""
    rows, losses = data(7, seed=5), []
    for size in (1, 3, 8):
        made = trainer(
            tmp_path, DistillationConfig(kind="kl", gold_weight=1.0), eval_dataset=rows,
            args={"per_device_eval_batch_size": size},
        )  # fmt: skip
        losses.append(made.evaluate()["eval_loss"])
    twin = naive_loss("kl", made.teachers.models[0], made.model, rows, [row["completion"] for row in rows])
    twin = twin + naive_loss("hard", made.model, made.model, rows, [row["completion"] for row in rows])
    assert losses == pytest.approx([twin.item()] * 3, abs=1e-6)
    coin = DistillationConfig(kind="gjsd", prefixes="coin", sampler=SHORT)
    made = trainer(tmp_path, coin, eval_dataset=rows)
    assert made.evaluate()["eval_loss"] == made.evaluate()["eval_loss"]  # fixed random numbers


# ---- Resumption ----


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("causal", {"kind": "gjsd", "prefixes": "coin", "hidden_weight": 0.5, "sampler": SHORT, "include_last": True}),
        ("seq2seq", {"kind": "tvd", "sampler": SHORT}),
    ],
)
def test_resumption_is_bitwise(tmp_path, kind, options) -> None:
    """With dropout, sampling, maps between widths and accumulation: the same final weights, in float32 on the CPU."""
    config, make = DistillationConfig(**options), MAKERS[kind][0]

    def run(folder: Path, **train) -> tuple[DistillationTrainer, dict[str, Tensor]]:
        args = {"max_steps": 3, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 2}
        made = trainer(
            folder, config, kind=kind, model=make(1, layers=1, width=8), teachers=make(2, width=16),
            rows=data(10, kind=kind), args={**args, "gradient_accumulation_steps": 2},
        )  # fmt: skip
        made.train(**train)
        every = weights(made.model) | ({} if made.match is None else weights(made.match))
        return made, every

    whole = run(tmp_path)[1]
    torch.manual_seed(99)
    again = run(tmp_path, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))[1]
    assert distance(whole, again) == 0


def test_resumption_with_other_options_is_refused(tmp_path) -> None:
    made = trainer(
        tmp_path, DistillationConfig(kind="kl"), args={"max_steps": 1, "save_strategy": "steps", "save_steps": 1}
    )
    made.train()
    folder = tmp_path / "checkpoint-1"
    other = trainer(tmp_path, DistillationConfig(kind="kl", temperature=2.0))
    with pytest.raises(ArgumentError, match=r"temperature: expected 1.0, as in checkpoint-1, got 2.0. Resume with"):
        other.train(resume_from_checkpoint=str(folder))
    (folder / "distillation.json").write_text("{")
    with pytest.raises(FormatError, match=r"distillation.json: expected JSON, got"):
        other.train(resume_from_checkpoint=str(folder))


# ---- Adapters ----


def adapted(seed: int = 1, **options) -> nn.Module:
    peft = pytest.importorskip("peft")
    made = peft.get_peft_model(
        still(lively(tiny_causal(seed, layers=2, width=8))),
        peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["c_attn"], fan_in_fan_out=True, **options),
    )
    return made.double()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks transformers so
def test_adapters_learn_from_their_base(tmp_path) -> None:
    """Prompt removal with one model: adapters are trained, the base is the teacher and stays; the loss starts at 0."""
    config = DistillationConfig(kind="js", sampler=SHORT)
    made = trainer(tmp_path, config, model=adapted(), teachers="base")
    assert step_loss(made, data(3))[0].item() == pytest.approx(0, abs=1e-12)
    rows = [{**row, "teacher_prompt": [9, 8, *row["prompt"]]} for row in data(8)]
    made = trainer(
        tmp_path, config, model=adapted(), teachers="base", rows=rows,
        args={"max_steps": 3, "save_strategy": "steps", "save_steps": 2},
    )  # fmt: skip
    assert step_loss(made, rows[:3])[0].item() > 1e-6
    flags = {name: weight.requires_grad for name, weight in made.model.named_parameters()}
    before = weights(made.model)
    made.train()
    after = weights(made.model)
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed
    assert all("lora_" in name for name in changed)
    assert flags == {name: weight.requires_grad for name, weight in made.model.named_parameters()}
    again = trainer(tmp_path, config, model=adapted(), teachers="base", rows=rows, args={"max_steps": 3})
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert distance(after, weights(again.model)) == 0


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks transformers so
def test_adapters_beside_another_teacher(tmp_path) -> None:
    """Fused and dense agree, states are found behind adapters, and the base is asked with its adapters off."""
    rows, found = data(3), []
    for blocks in (None, 3):
        one = adapted()
        with torch.no_grad():
            for name, weight in one.named_parameters():
                if "lora_B" in name:
                    weight.normal_(generator=torch.Generator().manual_seed(0))
        made = trainer(tmp_path, DistillationConfig(kind="kl", rows=blocks), model=one)
        value, _ = step_loss(made, rows)
        value.backward()
        found.append((value, [weight.grad for weight in made.model.parameters() if weight.requires_grad]))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-10)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(found[0][1], found[1][1], strict=True))
    made = trainer(tmp_path, DistillationConfig(kind="kl", hidden_weight=1.0), model=one, teachers=teacher())
    assert step_loss(made, rows)[0] > found[0][0]
    batch = prompts([[3, 4]], pad=0, side="left")
    output = completions_of(Collator([0], pad=0, side="left")(rows[:1]), "data")
    base = Teachers([], base=one).score(batch, output)[0][1].scores
    plain = Teachers([still(lively(tiny_causal(1, layers=2, width=8)))]).score(batch, output)[0][1].scores
    assert torch.allclose(base, plain, atol=1e-10)
    assert any(weight.requires_grad for weight in one.parameters())


# ---- Several processes ----

WORKER = """
import sys
sys.path.insert(0, {folder!r})
import torch
import test_sequence_trainer as t
from pathlib import Path
torch.set_num_threads(1)
folder, size = Path(sys.argv[1]), int(sys.argv[2])
GREEDY = t.Sampler("greedy", max_new_tokens=5)
configs = {{
    "states": dict(kind="kl", hidden_weight=0.5, include_last=True),
    "rows": dict(kind="kl", rows=3),
    "by_row": dict(kind="kl", average="teacher_id"),
    "fresh": dict(kind="tvd", sampler=t.SHORT),
}}
args = dict(per_device_train_batch_size=size, gradient_accumulation_steps=2, optim="sgd", learning_rate=0.5)
args |= dict(ddp_backend="gloo", max_grad_norm=0.0, per_device_eval_batch_size=size)
for case, config in configs.items():
    rows, options = t.data(16), {{}}
    if case == "by_row":  # with outputs scored: seven rows, which processes cannot share evenly
        rows = [{{**row, "teacher_id": place % 3 % 2}} for place, row in enumerate(rows)]
        asked, given = [row["prompt"] for row in rows[:7]], [t.teacher(seed=2), t.teacher(seed=3)]
        count = lambda found: {{"same": found.prompts == asked, "sum": sum(map(sum, found.written))}}
        options = dict(teachers=given, eval_dataset=rows[:7], eval_sampler=GREEDY, compute_metrics=count)
    model, config = t.still(t.tiny_causal(1, layers=1, width=4)), t.DistillationConfig(**config)
    made = t.trainer(folder, config, model=model, rows=rows, args=args, **options)
    made.train()
    found = made.evaluate() if options else {{}}
    if made.args.process_index == 0:
        every = t.weights(made.model) | ({{}} if made.match is None else t.weights(made.match))
        torch.save([every, made.state.log_history[0], found], folder / f"{{case}}.pt")
"""


def _launched(folder: Path, size: int, processes: int) -> dict[str, list]:
    folder.mkdir()
    script = folder / "worker.py"
    script.write_text(WORKER.format(folder=str(Path(__file__).parent)))
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0"]
    start += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*start, str(script), str(folder), str(size)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {path.stem: torch.load(path) for path in folder.glob("*.pt")}


@pytest.mark.slow
def test_two_processes_are_one(tmp_path) -> None:
    """Two processes with half the batch each end with the weights of one; maps are trained alike; logs are the sums."""
    both, alone = _launched(tmp_path / "two", 2, 2), _launched(tmp_path / "one", 4, 1)
    for case in ("states", "rows", "by_row"):
        two, log, found = both[case]
        one, log_alone, found_alone = alone[case]
        assert distance(one, two) < 1e-10
        assert log["loss"] == pytest.approx(log_alone["loss"], abs=1e-6)
        assert log["completion_tokens"] == log_alone["completion_tokens"]
        assert found.get("eval_sum") == found_alone.get("eval_sum")
    assert both["by_row"][2]["eval_same"] == 1  # every row once, in order
    fresh, log, _ = both["fresh"]  # each process writes its own; both halves in one step
    assert log["on_policy"] == 0.5
    assert all(value.isfinite().all() for value in fresh.values())
