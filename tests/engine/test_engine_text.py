"""parse over shards of text, and the reading of fit."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from sharding import joined, treeavg, whole

pytest.importorskip("torch")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Four shards of plain text, one with an empty line."""
    folder = tmp_path / "text"
    folder.mkdir()
    lines = [" ".join(f"w{place}" for place in range(length)) for length in (3, 1, 0, 5, 4, 2, 7)]
    for number, (first, last) in enumerate(((0, 2), (2, 3), (3, 6), (6, 7)), 8):
        (folder / f"{number}.txt").write_text("".join(line + "\n" for line in lines[first:last]))
    return folder


@pytest.fixture
def parser(tmp_path: Path) -> Path:
    """A parser that needs no training."""
    from parsers.heuristics import RightBranching

    RightBranching().save(tmp_path / "right")
    return tmp_path / "right"


def test_parse(text: Path, parser: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The shards' trees are those of the whole text, sentence numbers included; a changed parser is another job."""
    for options, suffix in (((), ".txt"), (("--output-format", "jsonl"), ".jsonl")):
        out = tmp_path / f"out{suffix}"
        treeavg("parse", parser, whole(text), *options, "-o", tmp_path / "one")
        capfd.readouterr()
        treeavg("parse", parser, text, *options, "-o", out, "--json")
        told = json.loads(capfd.readouterr().out)
        assert (told["sentences"], told["words"]) == (7, 22)
        assert joined(out, suffix) == (tmp_path / "one").read_bytes()
    document = json.loads((parser / "parser.json").read_text())
    (parser / "parser.json").write_text(json.dumps(document, indent=3))
    from treeavg.cli import main

    assert main(["parse", str(parser), str(text), "-o", str(tmp_path / "out.txt")]) == 2
    assert "out.txt: expected the job that was begun there, got another parser.json: " in capfd.readouterr().err


def test_what_shards_of_text_cannot_do(
    text: Path, parser: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Other words belong to one text; hits to one kind of parser."""
    from treeavg.cli import main

    for option, message in (
        ("--words", "--words: expected one text in one process, got shards. Leave it out."),
        ("--hits", "--hits: expected a parser of the kind span, got right. Leave it out."),
    ):
        assert main(["parse", str(parser), str(text), "-o", str(tmp_path / "out"), option, str(tmp_path / "x")]) == 2
        assert message in capfd.readouterr().err


def test_texts_of_a_training(text: Path) -> None:
    """Sharded or not, a training is given the same sentences."""
    from treeavg.cli.fit import _sentences

    def read(*paths: Path) -> list[list[str]]:
        return _sentences(
            argparse.Namespace(
                text=list(map(str, paths)), format=None, encoding="utf-8", cluster=None, shards=None, workers=None
            )
        )

    assert read(text, text / "8.txt") == read(whole(text), text / "8.txt")
    assert len(read(text)) == 7
