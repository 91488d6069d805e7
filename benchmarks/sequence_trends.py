"""Distilled students side by side, on a task with several right answers: the tables of docs/sequences.md.

    python -m benchmarks.sequence_trends                            three seeds on two cores, under 20 minutes
    python -m benchmarks.sequence_trends --quick --seeds 0          a minute or two: the machinery, not the trends
    python -m benchmarks.sequence_trends --output trends.json       numbers of each seed as well

First table: a teacher, and students with fewer layers that learn from it in different ways. Second table: three
teachers of different dialects that saw different inputs; what they say together; and a student of each way to combine
them. Tiny transformers with random weights, one thread each; halves and seeds run side by side. The same seeds give the
same tables on the same machine.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import show
from benchmarks.sequence_students import (
    LONGEST,
    QUICK,
    Rows,
    Size,
    labelled,
    model_of,
    prompts_of,
    quality,
    tested,
    train,
    written,
)
from benchmarks.sequence_task import END, Dialect, Language, Meaning, rows_of
from treeavg.distill.sequences.ensembling.distill import Teacher, ensemble_targets
from treeavg.distill.sequences.ensembling.protocol import BeamOptions
from treeavg.distill.sequences.layers.initialise import student_from
from treeavg.distill.sequences.sampling.sampling import Sampler
from treeavg.distill.sequences.training.config import DistillationConfig, RewardOptions
from treeavg.distill.sequences.training.presets import PRESETS

Numbers = dict[str, dict[str, float]]

EXACT = Sampler(max_new_tokens=LONGEST)
BEAM = BeamOptions(eos_ids=[END], max_length=LONGEST - 1, beam=5)
#: What a student learns after pre-distillation: whose outputs are stored for it, and the options.
METHODS: dict[str, tuple[str, DistillationConfig]] = {
    "SeqKD": ("beam", DistillationConfig(kind="hard")),
    "ENGINE": ("none", DistillationConfig(kind="engine", sampler=Sampler("greedy", max_new_tokens=LONGEST))),
    "KL": ("sampled", DistillationConfig(kind="kl")),
    "RKL": ("none", DistillationConfig(kind="rkl", sampler=EXACT)),
    "JS": ("sampled", DistillationConfig(kind="js", sampler=EXACT)),
    "TVD": ("sampled", DistillationConfig(kind="tvd", sampler=EXACT)),
    "induced reward": ("none", DistillationConfig(kind="reward", sampler=EXACT, reward=RewardOptions(scale=10.0))),
}
#: Each prefers a register, an order and a place.
DIALECTS = (
    Dialect(high=0.2, orders=(0.7, 0.2, 0.1), first=0.2),
    Dialect(high=0.8, orders=(0.2, 0.7, 0.1), first=0.8),
    Dialect(high=0.5, orders=(0.2, 0.1, 0.7), first=0.5),
)
TOGETHER = {"arithmetic": "word averaging", "soft-voting": "word voting", "mbr": "minimum Bayes risk", "ebbs": "EBBS"}
COLUMNS = {
    "right": "right %",
    "bleu": "BLEU",
    "right_sampled": "sampled right %",
    "likelihood_risk": "R_llh",
    "coverage_risk": "R_cvg",
    "tvd": "TVD",
    "js": "JS",
    "excess_error": "ExErr %",
    "entropy": "entropy",
}


def one_teacher(seed: int, size: Size) -> Numbers:
    """Return the numbers of a teacher and its students."""
    language, chance = Language(seed), random.Random(f"one {seed}")
    known: set[Meaning] = set()
    test, inputs = language.meanings(size.test, chance, known), language.meanings(size.inputs, chance, known)
    gold = rows_of(language, inputs, Dialect(), chance)
    fixed: dict[str, Any] = {"batch": size.batch, "seed": seed}
    hard = DistillationConfig(kind="hard")
    teacher = model_of(language, size.teacher_layers, size.width, seed)
    train(teacher, gold, hard, steps=size.teacher_steps, rate=size.teacher_rate, **fixed)
    found: Numbers = {}

    def note(name: str, model: Any) -> None:
        found[name] = tested(language, test, model, teacher, seed=seed, samples=size.samples)
        print(f"seed {seed}: {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in found[name].items()), file=sys.stderr)

    note("teacher", teacher)
    small = model_of(language, size.student_layers, size.width, seed)
    train(small, gold, hard, steps=size.teacher_steps, rate=size.teacher_rate, **fixed)
    note("MLE", small)
    start = pre_distilled(teacher, gold, size, seed)
    note("pre-distilled", start)
    longer = train(
        copy.deepcopy(start), gold, _start(size), steps=size.steps, rate=size.rate, teachers=teacher, **fixed
    )
    note("pre-distilled, longer", longer)
    stored = teacher_rows(language, inputs, gold, teacher, seed)
    for name, (source, config) in METHODS.items():
        student, rows = copy.deepcopy(start), stored[source]
        asked = () if config.kind == "hard" else teacher
        train(student, rows, config, steps=size.steps, rate=size.rate, teachers=asked, **fixed)
        note(name, student)
    return found


def _start(size: Size) -> DistillationConfig:
    """Return the options of pre-distillation; with one layer there is none left whose states could be compared."""
    config = PRESETS["pre-distill"]
    return config if size.student_layers > 1 else replace(config, hidden_weight=0.0, layers="forward")


def pre_distilled(teacher: Any, gold: Rows, size: Size, seed: int) -> Any:
    """Return a student of some of the teacher's blocks, trained on the data's own outputs and the teacher's laws."""
    student = student_from(teacher, size.student_layers)
    steps, rate = size.start_steps, size.teacher_rate
    return train(student, gold, _start(size), steps=steps, batch=size.batch, seed=seed, rate=rate, teachers=teacher)


def teacher_rows(language: Language, inputs: Sequence[Meaning], gold: Rows, teacher: Any, seed: int) -> dict[str, Rows]:
    """Return training rows: with the teacher's samples, with its beam outputs, and with the inputs alone."""
    batch = prompts_of(language, inputs)
    return {
        "sampled": labelled(language, inputs, written(teacher, batch, EXACT, seed + 1000)),
        "beam": labelled(language, inputs, decoded(language, [teacher], inputs, "arithmetic")),
        "none": [{"prompt": row["prompt"]} for row in gold],
    }


def decoded(language: Language, models: Sequence[Any], inputs: Sequence[Meaning], method: str) -> list[list[int]]:
    """Return what models say together, an output for each input."""
    given = [language.prompt(meaning) for meaning in inputs]
    teachers = [Teacher(model, given, pad=END) for model in models]
    return [list(target.ids) for target in ensemble_targets(teachers, BEAM, method=method, batch_size=100)]


def three_teachers(seed: int, size: Size) -> Numbers:
    """Return the numbers of three teachers, of what they say together, and of students that start as the first one."""
    language, chance = Language(seed), random.Random(f"three {seed}")
    known: set[Meaning] = set()
    test = language.meanings(size.test, chance, known)
    parts = [language.meanings(size.inputs // 3, chance, known) for _ in DIALECTS]
    hard, fixed = DistillationConfig(kind="hard"), {"batch": size.batch, "seed": seed, "rate": size.teacher_rate}
    models = []
    for number, (part, dialect) in enumerate(zip(parts, DIALECTS, strict=True)):
        model = model_of(language, size.teacher_layers, size.width, 10 * seed + number)
        rows = rows_of(language, part, dialect, chance)
        models.append(train(model, rows, hard, steps=size.dialect_steps, **fixed))
    found: Numbers = {}

    def note(name: str, outputs: Sequence[list[int]]) -> None:
        found[name] = quality(language, test, outputs)
        print(f"seed {seed}: {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in found[name].items()), file=sys.stderr)

    for number, model in enumerate(models):
        note(f"teacher {number + 1}", decoded(language, [model], test, "arithmetic"))
    for method, name in TOGETHER.items():
        note(name, decoded(language, models, test, method))
    inputs = [meaning for part in parts for meaning in part]
    fixed["rate"] = size.rate
    for name, (rows, config, asked) in lessons(language, models, inputs).items():
        student = copy.deepcopy(models[0]).requires_grad_(True)
        train(student, rows, config, steps=size.pupil_steps, teachers=asked, **fixed)
        note(f"student of {name}", decoded(language, [student], test, "arithmetic"))
    return found


def lessons(
    language: Language, models: Sequence[Any], inputs: Sequence[Meaning]
) -> dict[str, tuple[Rows, DistillationConfig, Any]]:
    """Return what students learn from: rows, options and teachers that are asked meanwhile."""
    hard = DistillationConfig(kind="hard")
    alone = [decoded(language, [model], inputs, "arithmetic") for model in models]
    union = [row for outputs in alone for row in labelled(language, inputs, outputs)]
    found: dict[str, tuple[Rows, DistillationConfig, Any]] = {
        "itself": (labelled(language, inputs, alone[0]), hard, ()),
        "the union": (union, hard, ()),
        "the token average": (union, DistillationConfig(kind="ce"), list(models)),
    }
    for method, name in TOGETHER.items():
        found[name] = (labelled(language, inputs, decoded(language, models, inputs, method)), hard, ())
    return found


HALVES: dict[str, Callable[[int, Size], Numbers]] = {"one teacher": one_teacher, "three teachers": three_teachers}


def run(half: str, seed: int, size: Size) -> tuple[Numbers, float]:
    """Return a half's numbers for a seed, and the seconds of processor time; for a process of its own."""
    torch.set_num_threads(1)
    begin = time.process_time()
    return HALVES[half](seed, size), time.process_time() - begin


def main(arguments: Sequence[str] | None = None) -> None:
    """Train everything, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="few steps: shows that it runs")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes, of one thread each")
    parser.add_argument("--half", choices=HALVES, help="only this table")
    parser.add_argument("--output", type=Path, help="a JSON file")
    options = parser.parse_args(arguments)
    size, begin = QUICK if options.quick else Size(), time.perf_counter()
    halves = [options.half] if options.half else list(HALVES)
    found, used = measured(halves, options.seeds, size, options.jobs)
    seconds = time.perf_counter() - begin
    for half in halves:
        rows = table_of([found[half, seed] for seed in options.seeds])
        show(f"{half}, mean and standard deviation over seeds {', '.join(map(str, options.seeds))}", rows)
    print(f"\n{seconds:.0f} s with {options.jobs} processes of one thread; {used:.0f} s of processor time; {size}")
    if options.output:
        tables = {half: {seed: found[half, seed] for seed in options.seeds} for half in halves}
        document = {
            "seeds": options.seeds,
            "size": asdict(size),
            "seconds": seconds,
            "processor_seconds": used,
            "torch": torch.__version__,
            "tables": tables,
        }
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def measured(
    halves: Sequence[str], seeds: Sequence[int], size: Size, jobs: int
) -> tuple[dict[tuple[str, int], Numbers], float]:
    """Return each half's numbers for each seed, and the processor time of all; with one job in this process."""
    wanted = [(half, seed) for half in halves for seed in seeds]
    if jobs == 1:
        done = {key: run(*key, size) for key in wanted}
    else:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            running = {pool.submit(run, *key, size): key for key in wanted}
            done = {running[job]: job.result() for job in as_completed(running)}
    return {key: numbers for key, (numbers, _) in done.items()}, sum(used for _, used in done.values())


def table_of(runs: Sequence[Numbers]) -> list[list[str]]:
    """Return a row for each model and a column for each number, as mean and standard deviation over seeds."""
    columns = [key for key in COLUMNS if any(key in numbers for numbers in runs[0].values())]
    rows = [["", *(COLUMNS[key] for key in columns)]]
    for name in runs[0]:
        rows.append(
            [name, *(_spread([one[name][key] for one in runs]) if key in runs[0][name] else "" for key in columns)]
        )
    return rows


def _spread(values: Sequence[float]) -> str:
    digits = 1 if max(map(abs, values)) >= 10 else 2
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
