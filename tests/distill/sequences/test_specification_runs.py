"""What a newcomer does: every preset and every row of docs/sequences.md's "Papers" in small, and all bad input by hand.

Through the public names and the trainer only; models are tiny and random. Numbers are tested elsewhere: here, that each
option is there and runs, and that each mistake ends in a right result or in one clear line.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import Tensor, nn

import treeavg.distill.sequences as lib
from treeavg.distill.sequences.align import align, frozen
from treeavg.distill.sequences.applications.gist import add_gist_tokens
from treeavg.distill.sequences.applications.loops import rest_thresholds
from treeavg.distill.sequences.applications.soft_prompts import soft_prompt_loss
from treeavg.distill.sequences.caching.manifest import model_hash
from treeavg.distill.sequences.ensembling.distill import Teacher
from treeavg.distill.sequences.layers.layers import STRATEGIES
from treeavg.distill.sequences.training.presets import PRESETS
from treeavg.errors import ArgumentError, LimitError, TreeavgError

with warnings.catch_warnings():  # transformers and its imports warn about themselves
    warnings.simplefilter("ignore")
    from transformers import TrainingArguments

    from treeavg.distill.sequences.training.trainer import DistillationTrainer

C, Sampler = lib.DistillationConfig, lib.Sampler
SHORT = Sampler(max_new_tokens=3)
MAKERS = {"causal": (tiny_causal, 0, "left"), "seq2seq": (tiny_seq2seq, 1, "right")}
kinds = pytest.mark.parametrize("kind", MAKERS)


def rows_of(kind: str, *completions: list[int]) -> list[dict[str, list[int]]]:
    """Rows with these completions, or with three of two to four tokens that end."""
    end = MAKERS[kind][1]
    given = completions or ([4, end], [5, 6, end], [7, 8, 9, end])
    return [{"prompt": [3 + place, 4][: 1 + place % 2], "completion": list(ids)} for place, ids in enumerate(given)]


def trained(kind: str, config: lib.DistillationConfig, rows: list | None = None, **options: object) -> dict:
    """One step; returns the log's entry. The student has one layer, the teacher two."""
    make = MAKERS[kind][0]
    given = {"model": make(1, layers=1), "teachers": make(2) if config.needs_teacher else (), **options}
    args = TrainingArguments(
        tempfile.gettempdir(), max_steps=1, per_device_train_batch_size=8, report_to=[], save_strategy="no",
        disable_tqdm=True, logging_steps=1, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    rows = rows_of(kind) if rows is None else rows
    made = DistillationTrainer(given.pop("model"), config, args=args, train_dataset=rows, **given)
    made.train()
    return made.state.log_history[0]


def refused(message: str, call: Callable[[], object], error: type[TreeavgError] = ArgumentError) -> None:
    """One line, with what was expected, what came and what to do."""
    with pytest.raises(error, match=message) as found:
        call()
    text = str(found.value)
    assert "\n" not in text
    assert ": expected " in text
    assert ", got " in text
    assert text.count(". ") >= 1, text


# ------------------------------------------------------------------ presets


@kinds
@pytest.mark.parametrize("name", PRESETS)
def test_presets_train(kind: str, name: str) -> None:
    """As published, but for the longest completion: a step moves the student by a finite gradient."""
    config = PRESETS[name]
    if config.sampler is not None:
        config = dataclasses.replace(config, sampler=dataclasses.replace(config.sampler, max_new_tokens=3))
    teacher = MAKERS[kind][0](2, layers=3)
    student = lib.student_from(teacher, 2, train_embeddings=True)
    before = [weight.detach().clone() for weight in student.parameters()]
    entry = trained(kind, config, model=student, **({"teachers": teacher} if config.needs_teacher else {}))
    assert math.isfinite(entry["loss"])
    assert 0 < entry["grad_norm"] < math.inf
    assert any((one != other).any() for one, other in zip(before, student.parameters(), strict=True))


def test_pre_distillation_of_one_layer() -> None:
    """The last layer is not matched by default, and there is no other: it says so, and runs where that is asked for."""
    config, teacher = PRESETS["pre-distill"], tiny_causal(2, layers=3)
    refused(
        "student_layers: expected 2 at least, since the last is not matched, got 1", lambda: trained("causal", config)
    )
    config = dataclasses.replace(config, include_last=True)
    assert trained("causal", config, model=lib.student_from(teacher, 1), teachers=teacher)["loss"] > 0


# ------------------------------------------------------------------ papers


def inputs(*rows: list[int], kind: str = "causal") -> lib.Prompts:
    return lib.prompts(list(rows), pad=0, side=MAKERS[kind][2])


def laws(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = torch.randn(2, 2, 3, 7, generator=generator)
    return teacher, student.requires_grad_(), torch.randint(7, (2, 3), generator=generator), torch.ones(2, 3).bool()


def learns(loss: Tensor) -> None:
    assert loss.dim() == 0
    assert loss.isfinite()
    loss.backward()


def word_level() -> None:
    trained("causal", C(kind="kl", temperature=2.0, scale_by_temperature=True, gold_weight=0.5))
    learns(lib.sequence_loss("ce", *laws()[:2], laws()[3]))


def seqkd() -> None:
    teacher, asked = tiny_causal(2), [[3, 4], [5]]
    options = lib.BeamOptions(eos_ids=[0], max_length=3, beam=2)
    targets = lib.ensemble_targets([Teacher(teacher, asked, pad=0)], options, method="arithmetic")
    drawn = lib.sample(teacher, inputs(*asked), Sampler("beam", beams=5, max_new_tokens=3), samples=5)
    trained("causal", C(kind="hard"), [{"prompt": asked[one.input], "completion": list(one.ids)} for one in targets])
    assert drawn.ids.shape[0] == 10
    weights = lib.n_best_weights(drawn.log_prob.sum(1).view(2, 5), kind="scores")
    assert weights.sum(1).tolist() == pytest.approx([1, 1])
    assert 0 <= lib.closest_to_gold(drawn.lists()[:5], [4, 5]) < 5


def ranking() -> None:
    teacher, student = torch.tensor([[3.0, 1.0, 2.0]]), torch.zeros(1, 3, requires_grad=True)
    for form, options in {"linear": {"clip": 10.0}, "logistic": {}, "hinge": {}}.items():
        for builder in ("all", "adjacent", "best-random"):
            learns(lib.ranking_loss(form, student, lib.pairs(builder, teacher), **options))
    learns(lib.ranking_loss("dpo", student, lib.pairs("all", teacher), reference=torch.zeros(1, 3)))
    learns(lib.listwise_loss(teacher, student))


def engine() -> None:
    trained("causal", C(kind="engine", prefixes="student", sampler=Sampler("greedy", max_new_tokens=3)))


def pre_distillation() -> None:
    teacher = tiny_seq2seq(2, layers=4)
    trained("seq2seq", PRESETS["pre-distill"], model=lib.student_from(teacher, 2), teachers=teacher)


def f_distill() -> None:
    for form in ("kl", "rkl", "js", "tvd"):
        trained("seq2seq", C(kind=form, sampler=None if form == "kl" else SHORT))
    trained("seq2seq", C(kind="js", mixture="prefix", sampler=SHORT))


def gkd() -> None:
    for on_policy in (0.0, 1.0):  # each side of the coin
        trained("causal", C(kind="gjsd", student_weight=1 - 0.1, prefixes="coin", on_policy=on_policy, sampler=SHORT))


def states(layers: int, width: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, width, generator=generator).requires_grad_() for _ in range(layers + 1)]


def fitnets() -> None:
    pairs = lib.select_layers(2, 4)
    mask = laws()[3]
    learns(lib.hidden_loss(states(4, 6, 0), states(2, 4, 1), pairs, mask, maps=lib.LinearMaps(4, 6, len(pairs))))
    trained("causal", C(kind="kl", hidden_weight=1.0, include_last=True), model=tiny_causal(1, layers=1, width=8))


def pkd() -> None:
    for strategy in ("forward", "last_k"):
        pairs = lib.select_layers(2, 4, strategy, include_last=True)
        learns(lib.hidden_loss(states(4, 4, 0), states(2, 4, 1), pairs, laws()[3], norm="l2"))


def tinybert() -> None:
    from treeavg.distill.sequences.layers.layers import LayerPair

    scores = torch.randn(2, 2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    learns(lib.attention_mse(scores[0], scores[1].requires_grad_(), laws()[3]))
    learns(lib.hidden_loss(states(4, 4, 0), states(2, 4, 1), [LayerPair(0, 0)], laws()[3]))


def minilm() -> None:
    values = torch.randn(2, 2, 2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = laws()[3]
    learns(lib.attention_kl(*(lib.value_relations(one, mask) for one in values), mask))


def alp_kd() -> None:
    teacher, student = states(4, 4, 0), states(2, 4, 1)
    learns(lib.hidden_loss(teacher, student, lib.select_layers(2, 4, "weighted"), laws()[3]))
    assert lib.layer_weights(teacher[1:], student[1]).shape == (2, 3, 4)


def adversarial() -> None:
    judge = lib.Discriminator(4)
    learns(lib.discriminator_loss(judge, states(0, 4, 0)[0], states(0, 4, 1)[0], mask=laws()[3]))
    learns(lib.student_adversarial_loss(judge, states(0, 4, 1)[0], mask=laws()[3]))


def which_layers() -> None:
    for strategy in STRATEGIES:
        student = tiny_causal(1, layers=2)
        trained(
            "causal", C(kind="kl", hidden_weight=1.0, layers=strategy), model=student, teachers=tiny_causal(2, layers=3)
        )
    assert lib.layer_angles(states(4, 4, 0), states(0, 4, 1)[0], laws()[3]).isfinite().any()


def many_to_many() -> None:
    pytest.importorskip("scipy")
    pairs = lib.select_layers(2, 3, "weighted", include_last=True)
    assert lib.transport_loss(states(3, 4, 0), states(2, 4, 1), pairs, laws()[3]) > 0


def induced_rewards() -> None:
    trained("causal", C(kind="reward", sampler=SHORT), [{"prompt": [3]}, {"prompt": [4, 5]}])


def llmr() -> None:
    reward = lib.RewardOptions(value="mean", baseline="none", importance="token", penalty="uniform")
    rows = [{"prompt": [3], "teacher_prompt": [9, 8, 3]}, {"prompt": [4, 5], "teacher_prompt": [9, 8, 4, 5]}]
    trained("seq2seq", C(kind="reward", reward=reward, sampler=SHORT), rows)
    teacher, _, ids, mask = laws()
    parts = [lib.induce(one, ids, mask, torch.zeros(2).bool(), value="mean") for one in (teacher, 2 * teacher)]
    assert lib.mean_rewards(parts).rewards.shape == (2, 3)


def teachers_by_row() -> None:
    rows = [{"prompt": [3], "completion": [4, 0], "teacher_id": 1}, {"prompt": [5], "completion": [0], "teacher_id": 0}]
    two = [tiny_causal(2), tiny_causal(3)]
    trained("causal", C(kind="kl", average="teacher_id"), rows, teachers=two)
    trained("causal", C(kind="kl", average="min_ce"), rows_of("causal"), teachers=two)


def moving_average() -> None:
    rows = [{"prompt": [3], "completion": [4, 0], "teacher_prompt": [9, 3]}] * 2
    trained("causal", C(kind="kl", ema_decay=0.999), rows, teachers="ema")


def excess_error() -> None:
    found = lib.compare(tiny_causal(1), tiny_causal(2), inputs([3], [4, 5]), max_new_tokens=3, samples=2)
    assert math.isfinite(found.excess_error.percent)
    assert math.isfinite(lib.excess_error(torch.ones(2, 3), torch.ones(2, 4)).percent)


def several() -> tuple[list[Teacher], lib.BeamOptions]:
    teachers = [Teacher(tiny_causal(seed), [[3, 4], [5]], pad=0) for seed in (1, 2)]
    return teachers, lib.BeamOptions(eos_ids=[0], max_length=3, beam=2)


def average_and_union() -> None:
    for name in ("token", "prefix", "geometric"):
        trained("causal", C(kind="ce", average=name), teachers=[tiny_causal(2), tiny_causal(3)])
    assert {one.input for one in lib.ensemble_targets(*several(), method="union")} == {0, 1}


def bayes_risk() -> None:
    assert lib.mbr(["a b", "a b", "c"]).place == 0
    assert len(lib.ensemble_targets(*several(), method="mbr")) == 2


def bi_level() -> None:
    components = [lib.ModelComponent(tiny_seq2seq(seed), inputs([3, 4], [5], kind="seq2seq")) for seed in (1, 2)]
    options = lib.BeamOptions(eos_ids=[1], max_length=3, beam=2, pad=0)
    assert len(lib.ebbs(components, options, vote="sum")) == 2
    assert len(lib.ensemble_targets(*several(), method="ebbs", vote="sum")) == 2
    assert len(lib.pivot_inputs(components[:1], options, pad=0).ids) == 2


def uld() -> None:
    from tokenizers import Tokenizer, decoders, models

    def letters(text: str) -> Tokenizer:
        made = Tokenizer(models.WordLevel({one: place for place, one in enumerate(text)}, unk_token=text[0]))
        made.decoder = decoders.Fuse()
        return made

    teacher, student = letters("abc"), letters("cab")
    own = [torch.tensor([[one.token_to_id(letter) for letter in "abca"]]) for one in (teacher, student)]
    groups = [lib.align_tokens(teacher, own[0][0].tolist(), student, own[1][0].tolist())]
    p, q = torch.randn(2, 1, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    learns(lib.uld_loss("sorted", p.detach(), own[0], q, own[1], groups))
    matched = lib.matched_tokens(teacher, student)
    learns(lib.uld_loss("hybrid", p.detach(), own[0], q, own[1], groups, matched=matched))


WRITTEN = lib.completions(torch.tensor([[4, 9, 0], [7, 0, 0]]), [0])


def prompt_removal() -> None:
    plain, prompted = inputs([5], [6]), inputs([9, 8, 5], [9, 8, 6])
    learns(lib.prompt_removal_loss(tiny_causal(1), prompted, plain, WRITTEN, teacher=tiny_causal(2)))


def compression() -> None:
    plain, prompted = inputs([5], [6]), inputs([9, 8, 5], [9, 8, 6])
    model = tiny_causal(1)
    soft = lib.SoftPrompt.from_tokens(model, torch.tensor([2, 3]))
    learns(soft_prompt_loss(model, soft, prompted, plain, WRITTEN))
    model = tiny_causal(1)
    gists = add_gist_tokens(model, 2)
    learns(lib.gist_loss(model, gists, inputs([9, 8], [9, 8]), plain, WRITTEN))


def chains() -> None:
    model, teacher, asked = tiny_causal(1), tiny_causal(2), inputs([5], [6])
    steps = lib.completions(torch.tensor([[14, 15, 16], [17, 18, 0]]), [0])
    found = lib.implicit_chain(model, teacher, asked, inputs([14, 15], [17, 18]), WRITTEN)
    learns(found.states + found.answer)
    learns(lib.internalising_loss(model, asked, steps, WRITTEN, torch.tensor([1, 0])))
    learns(lib.answer_loss(model, teacher, asked, inputs([14, 15], [17, 18]), WRITTEN))


def self_learning() -> None:
    keep = lib.NovelTexts(shortest=1)
    done = lib.loop(["a b c"], sample=lambda pool: ["d e f", "a b c"], select=keep, update=len, rounds=1)
    assert done.pool == ["a b c", "d e f"]
    assert lib.majority_vote(["4", "4", "5"]) == "4"
    assert lib.agreeing(["x 4", "y 4", "z 5"], lambda chain: chain[-1]) == ["x 4", "y 4"]
    assert lib.EquivalentPairs(lambda *_: 1.0) is not None
    thresholds = rest_thresholds([0.0, 1.0, 2.0], 2)
    learns(lib.rest_loss(torch.ones(2, requires_grad=True), torch.tensor([0.0, 9.0]), thresholds[0]))


def policies() -> None:
    chosen, other = torch.zeros(2, requires_grad=True), torch.zeros(2)
    learns(lib.dpo_loss(chosen, other, other, other))
    gains = lib.group_advantages(torch.tensor([[0.0, 1.0]]))[0]
    learns(lib.grpo_loss(torch.zeros(2, 3, requires_grad=True), gains, torch.ones(2, 3).bool()))
    assert lib.tagged_reward("<think>a</think><answer>4</answer>", "4") > 1
    assert lib.best_and_worst([1.0, 3.0, 2.0]) == (1, 0)


#: What runs each row of the table "Papers", by the row's first name in italics.
PAPERS: dict[str, Callable[[], None]] = {
    "word-level KD": word_level,
    "SeqKD": seqkd,
    "ranking": ranking,
    "ENGINE": engine,
    "pre-distillation": pre_distillation,
    "f-distill": f_distill,
    "GKD": gkd,
    "FitNets": fitnets,
    "PKD": pkd,
    "TinyBERT": tinybert,
    "MiniLM": minilm,
    "ALP-KD": alp_kd,
    "adversarial features": adversarial,
    "many layers to many": many_to_many,
    "which layers matter": which_layers,
    "induced rewards": induced_rewards,
    "several teachers, one for each row": teachers_by_row,
    "moving average as teacher": moving_average,
    "LLMR": llmr,
    "excess error": excess_error,
    "AvgKD, UnionKD": average_and_union,
    "minimum Bayes risk": bayes_risk,
    "EBBS": bi_level,
    "ULD": uld,
    "prompt removal": prompt_removal,
    "soft prompts": compression,
    "implicit chains of thought": chains,
    "Self-Instruct": self_learning,
    "DPO": policies,
}


def test_every_paper_has_a_run() -> None:
    text = (ROOT / "docs" / "sequences.md").read_text(encoding="utf-8")
    table = text.split("## Papers")[1].split("\n## ")[0]
    assert re.findall(r"^\| \*([^*]+)\*", table, flags=re.M) == list(PAPERS)


@pytest.mark.parametrize("paper", PAPERS)
def test_papers_run(paper: str) -> None:
    PAPERS[paper]()


# ------------------------------------------------------------------ bad input


def words(count: int, first: int = 0):
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({f"w{place + first}": place for place in range(count)}, unk_token=f"w{first}"))


def with_weights(model: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        model.get_output_embeddings().weight[5].fill_(value)
    return model


@kinds
def test_different_tokenizers(kind: str) -> None:
    """Refused before the first step; on texts, "hard" trains."""
    given = {"processing_class": words(20), "teacher_tokenizers": words(20, 3)}
    refused(r"student_tokenizer: expected the teacher's 20 tokens with", lambda: trained(kind, C(kind="kl"), **given))
    assert trained(kind, C(kind="hard"), processing_class=words(20))["loss"] > 0


@kinds
def test_a_completion_without_an_end(kind: str) -> None:
    """Used and counted as truncated, or left out; a reward looks one token beyond it."""
    cut = rows_of(kind, [4, 5], [6, 7])
    entry = trained(kind, C(kind="kl"), cut)
    assert entry["truncated"] == 1
    assert entry["completion_tokens"] == 2
    assert entry["loss"] > 0
    assert trained(kind, C(kind="kl", drop_truncated=True), cut)["loss"] == 0
    never = Sampler(max_new_tokens=2, min_new_tokens=2)
    entry = trained(kind, C(kind="reward", sampler=never), [{"prompt": [3]}])
    assert entry["truncated"] == 1
    assert math.isfinite(entry["loss"])


@kinds
def test_padding_that_is_the_end(kind: str) -> None:
    """Ends are kept in ragged rows, nothing after them counts, and how rows are batched changes nothing."""
    end = MAKERS[kind][1]
    ragged = rows_of(kind, [4, end], [5, 6, 7, end], [end])
    model = MAKERS[kind][0](1, layers=1)
    model.config.pad_token_id = model.generation_config.pad_token_id = end
    entry = trained(kind, C(kind="kl"), ragged, model=model)
    assert entry["completion_tokens"] == pytest.approx((2 + 4 + 1) / 3)
    assert entry["truncated"] == 0


@kinds
def test_empty_completions(kind: str) -> None:
    """Refused in a row, with its number; drawn ones that are an end alone are trained on."""
    refused(
        "row 0 of the batch: expected 'completion' with at least one token, got none. An empty text has an end token",
        lambda: trained(kind, C(kind="kl"), rows_of(kind, [])),
    )
    assert trained(kind, C(kind="kl"), rows_of(kind, [MAKERS[kind][1]]))["completion_tokens"] == 1


@kinds
@pytest.mark.parametrize("prefixes", ["stored", "student", "both"])
def test_rows_that_are_all_masked(kind: str, prefixes: str) -> None:
    """0, and a step that moves nothing; beside a row that counts, they change nothing."""
    cut, never = rows_of(kind, [4, 5], [6]), Sampler(max_new_tokens=1, min_new_tokens=1)
    sampler = None if prefixes == "stored" else never
    entry = trained(kind, C(kind="kl", prefixes=prefixes, drop_truncated=True, sampler=sampler), cut)
    assert entry["loss"] == entry["grad_norm"] == 0
    if prefixes == "stored":
        whole = rows_of(kind, [4, MAKERS[kind][1]])
        config = C(kind="kl", drop_truncated=True)
        still = [model.eval() for model in (MAKERS[kind][0](1, layers=1), MAKERS[kind][0](1, layers=1))]
        for model in still:
            _without_dropout(model)
        alone, beside = (
            trained(kind, config, rows, model=model)["loss"]
            for rows, model in zip((whole, whole + rows_of(kind, [4, 5])), still, strict=True)
        )
        assert alone == pytest.approx(beside, rel=1e-5)


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        for name in ("p", "dropout", "dropout_rate"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


@kinds
def test_records_of_another_temperature_or_teacher(kind: str, tmp_path: Path) -> None:
    """Refused where they are written, opened and used, each with both values."""
    make, end, _ = MAKERS[kind]
    teacher, other = make(2), make(3)
    drawn = lib.sample(teacher, inputs([3], [4, 5], kind=kind), SHORT)
    with frozen(teacher):
        logits = align(teacher, inputs([3], [4, 5], kind=kind), drawn.completions).scores
    source = lib.Source(model_hash(teacher), "words@1", drawn.sampler_id, vocabulary=20, k=4, temperature=2.0)

    def write(folder: Path, temperature: float) -> None:
        with lib.CacheWriter(folder, source) as writer:
            records = lib.top_k(logits, 4, temperature=temperature, mask=drawn.mask)
            writer.add(drawn.ids, drawn.mask, examples=[0, 1], truncated=drawn.truncated, top=records)

    refused("top: expected the source's temperature 2, got 1", lambda: write(tmp_path / "wrong", 1.0))
    write(tmp_path / "right", 2.0)
    for name, value in (("temperature", 1.0), ("teacher", model_hash(other)), ("tokenizer", "words@2")):
        refused(
            rf"right: expected {name} .*, got .*\. Make the outputs again",
            lambda name=name, value=value: lib.TeacherCache(tmp_path / "right", expected={name: value}),
        )
    kept = lib.TeacherCache(tmp_path / "right", expected=source).batch([1, 0])
    student = align(make(1), inputs([4, 5], [3], kind=kind), lib.completions(kept.ids, [end])).scores
    refused(
        r"temperature: expected 2, at which the teacher's .* were recorded, got 1\.0\. Record them again",
        lambda: lib.top_k_loss("kl", kept.top, student, kept.mask),
    )
    assert lib.top_k_loss("kl", kept.top, student, kept.mask, temperature=2.0) > 0


@kinds
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite(kind: str, value: float) -> None:
    """The step is named, whether teacher or student has them, in a loss, a reward or while writing."""
    make = MAKERS[kind][0]
    bad = with_weights(make(2), value)
    for config, message in (
        (C(kind="kl"), r"step 1: logits\[0, 0\]: expected numbers, got NaN or an infinity"),
        (C(kind="reward", sampler=SHORT), r"step 1: logits\[0, \d\]: expected finite logits"),
    ):
        refused(message, lambda config=config: trained(kind, config, teachers=bad))
    bad = with_weights(make(2), value)  # the one before was a teacher, and is frozen
    refused(r"step 1: logits\[0, 0\]: expected numbers", lambda: trained(kind, C(kind="kl"), model=bad))
    refused(
        r"step 1: model: expected logits below infinity, got NaN or inf at token 0 of the completion of prompts\[0\]",
        lambda: trained(kind, C(kind="rkl", sampler=SHORT), model=bad),
    )


@kinds
def test_a_teacher_in_training_mode(kind: str) -> None:
    """It teaches the same as one in evaluation mode, though it has dropout."""
    make, found = MAKERS[kind][0], []
    for mode in (True, False):
        teacher = make(2).train(mode)
        torch.manual_seed(0)
        found.append(trained(kind, C(kind="kl"), teachers=teacher))
        assert not teacher.training
        assert all(weight.grad is None for weight in teacher.parameters())
    assert found[0]["loss"] == found[1]["loss"]
    assert found[0]["grad_norm"] == found[1]["grad_norm"]


def test_rows_that_hold_no_tokens() -> None:
    """Texts, of digits too, fractions and labels of -100 are not taken for tokens; tensors are."""
    message = r"row 1 of the batch: expected '{}' as (a row of )?token ids, got .*\. Tokenize (it|texts) first"
    collate = lib.training.collate.Collator([0], pad=0, side="left")
    columns = ("prompt", "completion", "teacher_prompt")
    for column in columns:
        good = {name: torch.tensor([3, 4]) for name in columns}
        assert len(collate([good, good])["input_ids"]) == 2
        for given in ("a text", "12", ["a", "b"], [3.7], [None]):
            bad = {**good, column: given}
            refused(message.format(column), lambda bad=bad, good=good: collate([good, bad]))
    refused(
        "row 0 of the batch: expected 'prompt' as", lambda: trained("causal", C(kind="kl"), [{**good, "prompt": "x"}])
    )


@kinds
def test_tokens_that_a_model_does_not_have(kind: str) -> None:
    """In stored rows, and before anything is generated."""
    make, end, _ = MAKERS[kind]
    for value in (99, -100):
        for row, where in (
            ({"prompt": [3], "completion": [value, end]}, "completion"),
            ({"prompt": [value], "completion": [3, end]}, "prompt"),
        ):
            message = rf"row 0 of the batch: expected '{where}' of tokens from 0 to 19, got {value}\. Use the models'"
            refused(message, lambda row=row: trained(kind, C(kind="kl"), [row]))
        refused(message, lambda row=row: trained(kind, C(sampler=SHORT), [row]))
    batch, outputs = inputs([3], kind=kind), lib.completions(torch.tensor([[99, end]]), [end])
    name = type(make()).__name__
    refused(
        rf"completions\.ids: expected tokens from 0 to 19, as {name} has, got 99\. Use the model's own",
        lambda: align(make(), batch, outputs),
    )
    batch.ids[0, 0] = 99
    refused("prompts: expected tokens from 0 to 19, as", lambda: lib.sample(make(), batch, SHORT))


def test_more_tokens_than_positions() -> None:
    """Stored and written completions, decoder-only models and both sides of an encoder-decoder with fixed positions."""
    from transformers import BartConfig, BartForConditionalGeneration

    rows = [{"prompt": [3] * 50, "completion": [4] * 20 + [0]}]
    message = r"row 0 of the batch: expected at most the student's 64 positions, got a prompt of 50 tokens and up to 20"
    refused(message, lambda: trained("causal", C(kind="kl"), rows), LimitError)
    fits = [{"prompt": [3] * 44, "completion": [4] * 20 + [0]}]  # the last token is scored, not read
    assert trained("causal", C(kind="kl"), fits)["loss"] > 0
    writes = C(kind="rkl", sampler=SHORT)
    refused(
        r"row 0 of the batch: expected .* 64", lambda: trained("causal", writes, [{"prompt": [3] * 63}]), LimitError
    )
    bart = BartForConditionalGeneration(
        BartConfig(
            vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=6,
        )
    )  # fmt: skip
    for prompt, output, where in (([3] * 7, [4, 2], "batch"), ([3], [4] * 7, "completions")):
        given = lib.completions(torch.tensor([output]), [2])
        refused(
            rf"{where}: expected at most BartForConditionalGeneration's 6 positions, got 7 tokens",
            lambda prompt=prompt, given=given: align(bart, inputs(prompt, kind="seq2seq"), given),
            LimitError,
        )


@kinds
def test_prompts_padded_on_the_wrong_side(kind: str) -> None:
    """Refused by what writes and by what scores."""
    make, end, side = MAKERS[kind]
    other = "right" if side == "left" else "left"
    wrong = lib.prompts([[3], [4, 5]], pad=0, side=other)
    refused(rf"prompts\[0\]: expected padding on the {side} for", lambda: lib.sample(make(1), wrong, SHORT))
    given = lib.completions(torch.tensor([[4, end], [5, end]]), [end])
    refused(rf"padded on the {side}, got padding", lambda: align(make(1), wrong, given))


def test_teachers_that_are_none() -> None:
    message = "teachers: expected at least one for kind='kl', got 0. Give a model"
    refused(message, lambda: trained("causal", C(kind="kl"), teachers=None))
    assert trained("causal", C(kind="hard"), teachers=None)["loss"] > 0
