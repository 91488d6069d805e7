"""The seven teachers trained on WSJ text and tested on other WSJ text: the tables of docs/teachers.md.

    python -m benchmarks.teachers FOLDER text                       # the texts, made from ../shared/data
    python -m benchmarks.teachers FOLDER fit --encoder DIR [--only KIND ...] [--seeds 0 1 2]
    python -m benchmarks.teachers FOLDER score                      # everything in FOLDER against gold

Training text: the words of the wsj-sample, without punctuation. Its first 800 sentences are the development data:
recipes were chosen by their gold trees, which nothing learns from. Test: wsj22. Every training is a command of
treeavg's, printed before it runs, on one thread; a teacher that is there is not trained again, and one that was
interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import parsers
import treeavg
from benchmarks.common import treeavg as command
from parsers.kinds import OPTIONS
from treeavg.report.tables import table

#: What is said beside a kind; all else is the preset small.
EXTRA = {
    "diora": ("--vectors", "ENCODER"),
    "s-diora": ("--vectors", "ENCODER"),
    "contest": ("--encoder", "ENCODER"),
    "contexdistort": ("--encoder", "ENCODER", "--layer", "4", "--no-decontextualisation"),
}
DEVELOPMENT = 800


def write_texts(folder: Path, data: Path) -> None:
    """Write training, development and test words, and gold trees."""
    sample = treeavg.strip_punctuation(treeavg.strip_empty(treeavg.read(data / "wsj-sample" / "trees.txt")))
    test = treeavg.read(data / "wsj22" / "gold.txt")
    treeavg.write(sample[:DEVELOPMENT], folder / "development.gold.txt")
    treeavg.write(test, folder / "test.gold.txt")
    for name, bank in (("training", sample), ("development", sample[:DEVELOPMENT]), ("test", test)):
        text = "".join(" ".join(bank[row].tokens or []) + "\n" for row in range(len(bank)))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def run(folder: Path, *arguments: str) -> float:
    """Run ``treeavg``, said aloud; return seconds."""
    print("$ treeavg", *arguments, flush=True)
    begun = time.monotonic()
    subprocess.run(command(*arguments), check=True, cwd=folder)
    return time.monotonic() - begun


def fit(folder: Path, kind: str, seed: int, encoder: str) -> None:
    """Train one teacher, and parse the development and test words, unless that is done."""
    name = f"{kind}.{seed}"
    if not (folder / name / "parser.json").exists():
        extra = [encoder if word == "ENCODER" else word for word in EXTRA.get(kind, ())]
        seeded = ["--seed", str(seed)] if kind != "contexdistort" else []
        resumed = ["--resume"] if (folder / name / "run").exists() else []
        arguments = ("fit", kind, "training.txt", "-o", name, "--threads", "1", *seeded, *extra, *resumed)
        seconds = run(folder, *arguments)
        (folder / f"{name}.seconds.json").write_text(json.dumps(round(seconds)))
    for part in ("development", "test"):
        trees = f"{part}.{name}.txt"
        if not (folder / trees).exists():
            run(folder, "parse", name, f"{part}.txt", "-o", trees, "--threads", "1")


def score(folder: Path) -> None:
    """Print scores of teachers, of their average and of heuristics, and the agreement of the first seeds."""
    rows = [["trees", "development", "kim2019", "root removed", "sentences", "training, s"]]
    gold = {part: treeavg.read(folder / f"{part}.gold.txt") for part in ("development", "test")}
    first: dict[str, treeavg.Treebank] = {}
    systems: list[tuple[str, list[treeavg.Treebank | None]]] = []
    for path in sorted(folder.glob("test.*.[0-9].txt")):
        name = path.name.removeprefix("test.").removesuffix(".txt")
        trees = treeavg.read(path)
        other = folder / f"development.{name}.txt"
        systems.append((name, [treeavg.read(other) if other.exists() else None, trees]))
        first.setdefault(name.partition(".")[0], trees)
    if len(first) > 1:
        banks = list(first.values())
        systems.append((f"average of {len(banks)} teachers", [None, treeavg.average(banks)]))
        systems.append(("weights by agreement", [None, treeavg.average(banks, weights="agreement")]))
        systems.append(("select", [None, treeavg.average(banks, method="select")]))
    for heuristic in (parsers.RightBranching(), parsers.LeftBranching(), parsers.Balanced(), parsers.Random()):
        systems.append((heuristic.kind, [heuristic.parse(gold[part]) for part in gold]))
    for name, (development, test) in systems:
        seconds = folder / f"{name}.seconds.json"
        rows.append(
            [
                name,
                "" if development is None else _f1(gold["development"], development, "kim2019"),
                _f1(gold["test"], test, "kim2019"),
                _f1(gold["test"], test, "standard"),
                str(len(gold["test"])),
                seconds.read_text().strip() if seconds.exists() else "",
            ]
        )
    print(table(rows))
    if len(first) > 1:
        print("\nAgreement, F1 of one teacher's trees against another's:\n")
        values = treeavg.agreement(banks).values
        lines = [[kind, *(f"{value:.1f}" for value in row)] for kind, row in zip(first, values.tolist(), strict=True)]
        print(table([["", *first], *lines]))


def _f1(gold: treeavg.Treebank, trees: treeavg.Treebank | None, convention: str) -> str:
    return "" if trees is None else f"{treeavg.score(gold, trees, convention=convention).value:.2f}"


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("part", choices=["text", "fit", "score"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="published outputs")
    parser.add_argument("--encoder", help="folder of a Hugging Face encoder, for all but grammars and on-lstm")
    parser.add_argument("--only", nargs="+", choices=tuple(OPTIONS), default=list(OPTIONS), help="kinds to train")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.part == "text":
        write_texts(arguments.folder, arguments.data)
    elif arguments.part == "score":
        score(arguments.folder)
    else:
        needing = [kind for kind in arguments.only if kind in EXTRA]
        if needing and arguments.encoder is None:
            sys.exit(f"--encoder: expected the folder of a Hugging Face encoder for {needing[0]}, got none.")
        for seed in arguments.seeds:
            for kind in arguments.only:
                fit(arguments.folder, kind, seed, str(Path(arguments.encoder or "").resolve()))


if __name__ == "__main__":
    main()
