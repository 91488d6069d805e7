"""Students trained on published teachers' trees and tested on another domain: the tables of docs/students.md.

    python -m benchmarks.students FOLDER text [--corpus DIR]        # the texts, made from ../shared/data
    python -m benchmarks.students FOLDER losses                     # five losses, three seeds
    python -m benchmarks.students FOLDER scratch                    # BiLSTM, then self-training
    python -m benchmarks.students FOLDER pretrained --encoder DIR   # a Hugging Face encoder, then self-training
    python -m benchmarks.students FOLDER more --encoder DIR         # two more rounds of self-training
    python -m benchmarks.students FOLDER small                      # a BiLSTM on what the pretrained student says
    python -m benchmarks.students FOLDER score                      # everything in FOLDER against gold

The last round and the last small student read 25,000 English sentences of many kinds as well: ``npm pack
nlp-corpus@4.4.0``, unpacked, is the DIR of ``--corpus`` (its licence: MIT).

Every step is a command of treeavg's, printed before it runs; a student that is there is not trained again, and one that
was interrupted goes on. Development data, on which teachers and recipes were chosen: the first 800 sentences of
wsj-sample. Test data: wsj22. No gold tree is trained on.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

from nltk.tokenize import TreebankWordTokenizer

import treeavg
from benchmarks.common import treeavg as command
from benchmarks.english_lemmas import lemma
from treeavg.report.tables import table

#: By the development data, of the seven; see docs/students.md.
CHOSEN = ("compound-pcfg", "contest", "s-diora")
DEVELOPMENT = 800
LOSSES = ("hard", "union", "span", "kl", "js")
SEEDS = (1, 2, 3)
_WORD = re.compile(r"[^\W_]|%")


class Recipe:
    """Runs commands in a folder."""

    def __init__(self, folder: Path, data: Path, threads: int) -> None:
        self.folder, self.data, self.threads = folder, data, threads
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, *arguments: object) -> None:
        """Run ``treeavg``, said aloud."""
        line = command(*map(str, arguments))
        print("$ treeavg", *arguments, flush=True)
        subprocess.run(line, check=True, cwd=self.folder)

    def distill(self, name: str, *arguments: object) -> None:
        """Train a student, unless it is there."""
        if (self.folder / name / "parser.json").exists():
            return
        resumed = ["--resume"] if (self.folder / name / "run").exists() else []
        self.run("distill", *arguments, "-o", name, "--threads", self.threads, *resumed)

    def teachers(self, names: tuple[str, ...] = ()) -> list[Path]:
        """Return files of teachers of the training text."""
        paths = sorted((self.data / "susanne" / "teachers").glob("*.txt"))
        return [path for path in paths if not names or path.stem in names]

    def text(self) -> None:
        """Write development and test texts, raw and in lemmas, and texts to be parsed for self-training."""
        teacher = treeavg.read(self.data / "susanne" / "teachers" / "contest.txt")
        counts = Counter(word.lower() for word in teacher.tokens or ())
        sample = treeavg.strip_empty(treeavg.read(self.data / "wsj-sample" / "trees.txt"))
        gold = treeavg.strip_punctuation(sample[:DEVELOPMENT])
        treeavg.write(gold, self.folder / "development.gold.txt")
        test = treeavg.read(self.data / "wsj22" / "gold.txt")
        treeavg.write(test, self.folder / "test.gold.txt")
        gum = treeavg.strip_empty(treeavg.read(self.data / "gum" / "train.txt"))
        texts = {
            "development": [gold[row].tokens for row in range(len(gold))],
            "test": [test[row].tokens for row in range(len(test))],
            "wsj": _words(sample[DEVELOPMENT:]),
            "gum": _words(gum),
        }
        for name, sentences in texts.items():
            for kind in ("raw", "lemmas"):
                kept = [[lemma(word, counts) if kind == "lemmas" else word for word in own] for own in sentences]
                text = "".join(" ".join(own) + "\n" for own in kept)
                (self.folder / f"{name}.{kind}.txt").write_text(text, encoding="utf-8")

    def more_text(self, corpus: Path) -> None:
        """Write sentences of a package of English text, without those of the development and test texts."""
        known = {
            tuple(line.lower().split())
            for name in ("development", "test")
            for line in (self.folder / f"{name}.raw.txt").read_text(encoding="utf-8").splitlines()
        }
        cut, found = TreebankWordTokenizer(), {}
        for number in range(100):
            for sentence in json.loads((corpus / "builds" / f"doc-{number}.json").read_text(encoding="utf-8")):
                words = [word for word in cut.tokenize(_plain(sentence)) if _WORD.search(word)]
                key = tuple(word.lower() for word in words)
                if 4 <= len(words) <= 45 and key not in known:
                    found.setdefault(key, words)
        lines = [" ".join(words) + "\n" for words in found.values()]
        random.Random(0).shuffle(lines)
        for name, part in (("english-1", lines[:12_000]), ("english-2", lines[12_000:25_000])):
            (self.folder / f"{name}.raw.txt").write_text("".join(part), encoding="utf-8")

    def losses(self) -> None:
        """Train a student for each loss and seed on half of the text, all teachers; parse the test text."""
        half = [self.folder / path.name for path in self.teachers()]
        for source, target in zip(self.teachers(), half, strict=True):
            target.write_text("".join(source.read_text(encoding="utf-8").splitlines(keepends=True)[::2]), "utf-8")
        for loss in LOSSES:
            for seed in SEEDS:
                name = f"loss-{loss}-{seed}"
                self.distill(name, *half, "--on-error", "skip", "--loss", loss, "--epochs", 4, "--seed", seed)
                self.run("parse", name, "test.lemmas.txt", "-o", f"test.{name}.txt")
            trees = [f"test.loss-{loss}-{seed}.txt" for seed in SEEDS]
            self.run("average", *trees, "-o", f"test.loss-{loss}-average.txt")

    def scratch(self) -> None:
        """Train from scratch in two stages: on the teachers, and on the first stage's trees of raw text as well."""
        self.distill("scratch-1", *self._chosen(), "--dropout", 0.35, "--epochs", 9, "--seed", 3)
        for name in ("wsj", "gum"):
            self._relabel("scratch-1", name, "lemmas")
        self._join("scratch.hits", "wsj.scratch-1.hits", "gum.scratch-1.hits")
        self.distill(
            "scratch-2", "scratch.hits", "--dropout", 0.35, "--epochs", 5, "--seed", 4, "--held-out", 0.02
        )  # fmt: skip
        for name, kind in (("scratch-1", "lemmas"), ("scratch-2", "raw"), ("scratch-2", "lemmas")):
            self._parse(name, kind)

    def pretrained(self, encoder: str) -> None:
        """Fine-tune a pretrained encoder in two stages."""
        options = fine_tuning(encoder)
        self.distill("pretrained-1", *self._chosen(), *options, "--epochs", 3, "--seed", 3)
        self._relabel("pretrained-1", "wsj", "raw")
        self._join("pretrained.hits", "wsj.pretrained-1.hits")
        self.distill("pretrained-2", "pretrained.hits", *options, "--epochs", 4, "--seed", 5, "--held-out", 0.02)
        for name in ("pretrained-1", "pretrained-2"):
            self._parse(name, "raw")

    def more(self, encoder: str) -> None:
        """Two more rounds, each from the encoder's own weights, on what the student of the round before says."""
        rounds = (
            ("pretrained-3", "pretrained-2", ("wsj", "gum"), 4, 6),
            ("pretrained-4", "pretrained-3", ("wsj", "gum", "english-1"), 3, 7),
        )
        for name, before, texts, epochs, seed in rounds:
            for text in texts:
                self._relabel(before, text, "raw")
            self._join(f"{name}.hits", *(f"{text}.{before}.hits" for text in texts))
            self.distill(
                name, f"{name}.hits", *fine_tuning(encoder), "--epochs", epochs, "--seed", seed, "--held-out", 0.02
            )
            self._parse(name, "raw")

    def small(self) -> None:
        """Train from scratch on the teachers, and on pretrained students' trees of raw text."""
        recipes = (
            ("scratch-3", "pretrained-2", ("wsj", "gum"), 5, 4),
            ("scratch-4", "pretrained-4", ("wsj", "gum", "english-1", "english-2"), 6, 8),
        )
        for name, before, texts, epochs, seed in recipes:
            if not (self.folder / before).exists():
                continue
            for text in texts:
                self._relabel(before, text, "raw")
            self._join(f"{name}.hits", *(f"{text}.{before}.hits" for text in texts))
            self.distill(
                name, f"{name}.hits", "--dropout", 0.35, "--epochs", epochs, "--seed", seed, "--held-out", 0.02
            )
            self._parse(name, "raw")

    def score(self) -> None:
        """Print the scores of all trees in the folder, and mean and spread over seeds."""
        rows = [["trees", "kim2019", "standard"]]
        found: dict[str, list[float]] = {}
        for part in ("development", "test"):
            gold = treeavg.read(self.folder / f"{part}.gold.txt")
            for path in sorted(self.folder.glob(f"{part}.*-*.txt")):
                trees = treeavg.read(path)
                values = [treeavg.score(gold, trees, convention=name).value for name in ("kim2019", "standard")]
                rows.append([path.stem, *(f"{value:.2f}" for value in values)])
                if (match := re.fullmatch(r"(test\.loss-[\w-]+)-\d", path.stem)) is not None:
                    found.setdefault(match[1], []).append(values[0])
        print(table(rows))
        if found:
            spread = [
                [name, f"{statistics.mean(values):.2f}", f"{min(values):.2f}", f"{max(values):.2f}"]
                for name, values in found.items()
            ]
            print(table([["loss, kim2019", "mean of seeds", "lowest", "highest"], *spread]))

    def _chosen(self) -> list[object]:
        weights = [int(path.stem in CHOSEN) for path in self.teachers()]
        return [*self.teachers(), "--on-error", "skip", "--weights", *weights]

    def _relabel(self, name: str, text: str, kind: str) -> None:
        """Write a student's expected spans of a text as hit counts over its raw words, as heavy as the teachers."""
        self.run(
            "parse", name, f"{text}.{kind}.txt", "-o", f"{text}.{name}.txt", "--hits", f"{text}.{name}.hits",
            "--weight", len(CHOSEN), "--words", f"{text}.raw.txt",
        )  # fmt: skip

    def _join(self, target: str, *parts: str) -> None:
        self.run("average", *self.teachers(CHOSEN), "-o", "teachers.average.txt", "--hits", "teachers.hits")
        text = "".join((self.folder / part).read_text(encoding="utf-8") for part in ("teachers.hits", *parts))
        (self.folder / target).write_text(text, encoding="utf-8")

    def _parse(self, name: str, kind: str) -> None:
        for part in ("development", "test"):
            self.run("parse", name, f"{part}.{kind}.txt", "-o", f"{part}.{name}-{kind}.txt")


def fine_tuning(encoder: str) -> tuple[object, ...]:
    """Return the options of a student on a pretrained encoder."""
    return (
        "--encoder", "pretrained", "--pretrained", encoder, "--layers", 0, "--words", 0, "--characters", 0,
        "--learning-rate", 0.001, "--encoder-learning-rate", 0.0002, "--precision", "bfloat16",
    )  # fmt: skip


def _plain(sentence: str) -> str:
    """Return a sentence with straight quotes."""
    return sentence.replace("\u2019", "'").replace("\u201c", '"').replace("\u201d", '"')


def _words(bank: treeavg.Treebank) -> list[list[str]]:
    """Return the words of sentences of 3 to 60 words, without punctuation."""
    brackets = {"-LRB-", "-RRB-", "-LCB-", "-RCB-"}
    kept = [
        [word for word in bank[row].tokens or [] if _WORD.search(word) and word not in brackets]
        for row in range(len(bank))
    ]
    return [own for own in kept if 3 <= len(own) <= 60]


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("part", choices=["text", "losses", "scratch", "pretrained", "more", "small", "score"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="published outputs")
    parser.add_argument("--encoder", help="folder of a Hugging Face encoder")
    parser.add_argument("--corpus", type=Path, help="the package nlp-corpus, unpacked")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    recipe = Recipe(arguments.folder, arguments.data.resolve(), arguments.threads)
    if arguments.part in ("pretrained", "more"):
        if arguments.encoder is None:
            sys.exit("--encoder: expected the folder of a Hugging Face encoder, got none.")
        getattr(recipe, arguments.part)(str(Path(arguments.encoder).resolve()))
    else:
        getattr(recipe, arguments.part)()
    if arguments.part == "text" and arguments.corpus is not None:
        recipe.more_text(arguments.corpus)


if __name__ == "__main__":
    main()
