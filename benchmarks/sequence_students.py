"""Tiny transformers, trained by the library's trainer and tested against all right answers: what the trends need."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PrinterCallback, TrainingArguments

from benchmarks.sequence_task import END, START, Language, Meaning
from treeavg.distill.sequences.align import Prompts, prompts
from treeavg.distill.sequences.metrics.comparison import compare
from treeavg.distill.sequences.metrics.text_metrics import bleu
from treeavg.distill.sequences.sampling.sampling import Sampler, sample
from treeavg.distill.sequences.training.config import DistillationConfig
from treeavg.distill.sequences.training.trainer import DistillationTrainer

LONGEST = 14

Rows = Sequence[dict[str, list[int]]]


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    inputs: int = 3000
    test: int = 200
    width: int = 48
    batch: int = 32
    samples: int = 4
    teacher_layers: int = 3
    teacher_steps: int = 2000
    teacher_rate: float = 4e-3
    student_layers: int = 1
    start_steps: int = 400
    steps: int = 400
    rate: float = 2e-3
    dialect_steps: int = 1200
    pupil_steps: int = 400


#: Shows that everything runs.
QUICK = Size(
    inputs=600, test=50, samples=1, teacher_steps=200, start_steps=20, steps=20, dialect_steps=60, pupil_steps=20
)


def model_of(language: Language, layers: int, width: int, seed: int) -> Any:
    """Return a causal transformer with random weights."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(language.words), n_positions=32, n_embd=width, n_layer=layers, n_head=4,
        bos_token_id=START, eos_token_id=END, pad_token_id=END, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def train(
    model: Any,
    rows: Rows,
    config: DistillationConfig,
    *,
    steps: int,
    batch: int,
    seed: int,
    rate: float = 2e-3,
    teachers: Any = (),
) -> Any:
    """Train a model in place, and return it in evaluation mode."""
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=batch, learning_rate=rate,
            lr_scheduler_type="linear", warmup_steps=min(20, steps // 5), save_strategy="no", report_to=[],
            logging_steps=steps, disable_tqdm=True, seed=seed, data_seed=seed, use_cpu=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = DistillationTrainer(model, config, args=args, train_dataset=rows, teachers=teachers)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return model.eval()


def prompts_of(language: Language, meanings: Sequence[Meaning]) -> Prompts:
    """Return meanings as a batch."""
    return prompts([language.prompt(meaning) for meaning in meanings], pad=END, side="left")


def written(model: Any, batch: Prompts, sampler: Sampler, seed: int, rows: int = 200) -> list[list[int]]:
    """Return completions with their ends; those that were cut have none."""
    generator, found = torch.Generator().manual_seed(seed), []
    for start in range(0, len(batch.ids), rows):
        part = Prompts(batch.ids[start : start + rows], batch.attention[start : start + rows])
        drawn = sample(model, part, sampler, generator=generator)
        found += [row[: int(mask.sum())] for row, mask in zip(drawn.ids.tolist(), drawn.mask, strict=True)]
    return found


def labelled(language: Language, meanings: Sequence[Meaning], outputs: Sequence[list[int]]) -> Rows:
    """Return training rows of outputs that somebody wrote."""
    return [
        {"prompt": language.prompt(meaning), "completion": output}
        for meaning, output in zip(meanings, outputs, strict=True)
    ]


def quality(language: Language, meanings: Sequence[Meaning], outputs: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return the share of outputs that are right, and BLEU against all right answers."""
    answers = [language.answers(meaning) for meaning in meanings]
    right = [list(output) in known for output, known in zip(outputs, answers, strict=True)]
    texts = [language.text(output) for output in outputs]
    references = [[language.text(answer) for answer in known] for known in answers]
    return {"right": 100 * sum(right) / len(right), "bleu": bleu(texts, references).value}


def tested(
    language: Language, meanings: Sequence[Meaning], model: Any, teacher: Any, *, seed: int, samples: int
) -> dict[str, float]:
    """Return a model's numbers: what it writes greedily, what it samples, and how far it is from its teacher."""
    batch = prompts_of(language, meanings)
    sampler = Sampler(max_new_tokens=LONGEST)
    found = quality(language, meanings, written(model, batch, Sampler("greedy", max_new_tokens=LONGEST), seed))
    found["right_sampled"] = quality(language, meanings, written(model, batch, sampler, seed + 1))["right"]
    if teacher is None:
        return found
    generator = torch.Generator().manual_seed(seed + 2)
    both = compare(teacher, model, batch, max_new_tokens=LONGEST, samples=samples, batch_size=100, generator=generator)
    found |= {
        "likelihood_risk": both.likelihood_risk.value,
        "coverage_risk": both.coverage_risk.value,
        "tvd": both.tvd.value,
        "js": both.js.value,
        "excess_error": both.excess_error.percent,
        "entropy": both.student_peakness.entropy,
    }
    return found
