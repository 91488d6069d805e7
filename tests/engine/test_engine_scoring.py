"""Scores and agreement over shards are those of one process: exact sums do not know where shards end."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sharding import corpus, treeavg, whole

import treeavg as library
from treeavg.metrics.exact import as_text, exact_sums, from_text, rounded, together


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Gold trees and two systems, in four shards."""
    return corpus(tmp_path / "in", sizes=(30, 5, 40, 25))


def printed(capfd: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capfd.readouterr()
    treeavg(*arguments, "--json")
    return json.loads(capfd.readouterr().out)


def test_exact_sums() -> None:
    """They are the twin of math.fsum, however they are cut."""
    generator = random.Random(1)
    numbers = [generator.choice([generator.random(), 1e18 * generator.random(), -0.1, 1 / 3]) for _ in range(500)]
    table = np.array(numbers).reshape(-1, 2)
    parts = [as_text(exact_sums(table[first : first + 37])) for first in range(0, len(table), 37)]
    total: list[Fraction] = []
    for part in parts:
        total = together(total, from_text(json.loads(json.dumps(part))))
    assert rounded(total).tolist() == [math.fsum(column) for column in table.T.tolist()]
    assert exact_sums(np.zeros((0, 2))) == [Fraction(0), Fraction(0)]


@pytest.mark.parametrize("convention", ["standard", "kim2019", "tn-lcfrs"])
def test_scores(tmp_path: Path, folders: list[Path], capfd: pytest.CaptureFixture[str], convention: str) -> None:
    """Values, signatures and tables by length of several shards are those of the files end to end."""
    options = ("--convention", convention, "--baselines", "--by-length")
    gold, *systems = folders
    one = printed(capfd, "score", "--gold", whole(gold), *map(whole, systems), *options)
    many = printed(capfd, "score", "--gold", gold, *systems, *options)
    assert one["signatures"] == many["signatures"]
    for own, other in zip(one["systems"], many["systems"], strict=True):
        assert own["scores"] == other["scores"]
        assert own["by_length"] == other["by_length"]
    found = library.score(library.read(whole(gold)), library.read(whole(systems[0])), convention=convention)
    terms = found.metric.terms(found.statistics)
    exact = float(found.metric.finish(np.array([math.fsum(column) for column in terms.T.tolist()])))
    if convention != "tn-lcfrs":
        assert many["systems"][0]["scores"]["sentence-f1"] == exact


def test_missing_sentences_are_counted(folders: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    """What a system lacks is scored 0, and told by its number in the whole text."""
    lines = (folders[1] / "10.txt").read_text().splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if line.count("(T") > 1)
    lines[place] = "\n"
    (folders[1] / "10.txt").write_text("".join(lines))
    one = printed(capfd, "score", "--gold", whole(folders[0]), whole(folders[1]), "--on-error", "skip")
    capfd.readouterr()
    treeavg("score", "--gold", folders[0], folders[1], "--on-error", "skip", "--json")
    out, error = capfd.readouterr()
    many = json.loads(out)
    assert many["systems"][0]["missing"] == one["systems"][0]["missing"] == 1
    assert f"treeavg: sentence {35 + place + 1}: " in error
    assert one["signatures"] == many["signatures"]


def test_agreement(tmp_path: Path, folders: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    """The table over shards is that of the files; records let a rerun go on."""
    one = printed(capfd, "agree", *map(whole, folders))
    many = printed(capfd, "agree", *folders, "--records", tmp_path / "records")
    assert one["values"] == many["values"]
    assert one["signature"] == many["signature"]
    treeavg("agree", *folders, "--records", tmp_path / "records", "--json")
    out, error = capfd.readouterr()
    assert json.loads(out) == many
    assert error == "treeavg: 4 of 4 shards were done before and are kept.\n"


def test_labels(folders: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    """Recall by label adds up like the scores."""
    gold, *systems = folders
    for path in gold.glob("*.txt"):
        path.write_text(path.read_text().replace("(X (X", "(Y (X"))
    one = printed(capfd, "score", "--gold", whole(gold), *map(whole, systems), "--by-label")
    many = printed(capfd, "score", "--gold", gold, *systems, "--by-label")
    assert [own["by_label"] for own in one["systems"]] == [own["by_label"] for own in many["systems"]]
    assert len(one["systems"][0]["by_label"]) > 1


@pytest.mark.parametrize("place", [0, 1])
def test_shards_without_anything_to_score(tmp_path: Path, capfd: pytest.CaptureFixture[str], place: int) -> None:
    """A shard of one-word sentences is no error, the first or a later one; nothing but such shards is."""
    other = ("(S (A a) (B (C b) (D c)))\n", "(S (B (A a) (C b)) (D c))\n")
    for name, tree in zip(("gold", "system"), other, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{place}.txt").write_text("(S (A a))\n")
        (tmp_path / name / f"{1 - place}.txt").write_text(tree)
    found = printed(capfd, "score", "--gold", tmp_path / "gold", tmp_path / "system", "--by-length", "--by-label")
    assert found["systems"][0]["scores"]["sentence-f1"] == 0
    assert found["systems"][0]["by_length"] == [["1-10", 1, 0.0]]
    assert printed(capfd, "agree", tmp_path / "gold", tmp_path / "system")["values"] == [[100, 0], [0, 100]]
    for name in ("gold", "system"):
        (tmp_path / name / f"{1 - place}.txt").write_text("(S (A a))\n")
    from treeavg.cli import main

    assert main(["score", "--gold", str(tmp_path / "gold"), str(tmp_path / "system")]) == 2
    assert "expected a sentence of two tokens or more to score, got none." in capfd.readouterr().err


def test_what_shards_cannot_do(folders: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    """Tests of significance need every sentence at once."""
    from treeavg.cli import main

    assert main(["score", "--gold", str(folders[0]), *map(str, folders[1:]), "--test"]) == 2
    assert "treeavg: --test: expected files in one process, which it needs whole, got shards. " in (
        capfd.readouterr().err
    )


def test_agreement_on_relations(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Relations are read where the metric looks at them, over shards as in files."""
    trees = [[2, 0], [0, 1, 1], [2, 0]]
    for name, relations in (("one", "abcdefg"), ("two", "abxdefy")):
        (tmp_path / name).mkdir()
        words = iter(relations)
        bank = library.DependencyTreebank.from_heads(
            trees,
            tokens=[["w"] * len(heads) for heads in trees],
            relations=[[next(words) for _ in own] for own in trees],
        )
        library.write(bank, tmp_path / f"{name}.conllu")
        for number in range(3):
            library.write(bank[number : number + 1], tmp_path / name / f"{number}.conllu")
    one = printed(capfd, "agree", tmp_path / "one.conllu", tmp_path / "two.conllu", "--metric", "las")
    many = printed(capfd, "agree", tmp_path / "one", tmp_path / "two", "--metric", "las")
    assert one["values"] == many["values"]
    assert one["values"][0][1] == pytest.approx(100 * 5 / 7)
