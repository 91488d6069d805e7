"""``treeavg report``."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from pages import read_page

import treeavg
from treeavg.cli import main

TREE = "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))"
OTHER = "(S (A the) (X (A dog) (A barks)))"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with files, and stay in it."""
    (tmp_path / "gold.txt").write_text(f"{TREE}\n{OTHER}\n")
    (tmp_path / "one.txt").write_text(f"{TREE}\n{TREE}\n")
    (tmp_path / "two.txt").write_text(f"{OTHER}\n{OTHER}\n")
    (tmp_path / "bad.txt").write_text(f"{TREE}\n(S (NP the dog)\n")
    (tmp_path / "short.txt").write_text(f"{TREE}\n")
    (tmp_path / "long.txt").write_text(f"{TREE}\n(S a b c d)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    return main(["report", "--samples", "20", *arguments])


def test_all_roles(folder: Path) -> None:
    """Gold, teachers, averages and students, named by their files."""
    (folder / "avg.txt").write_text(f"{TREE}\n{TREE}\n")
    arguments = "--gold gold.txt --teachers one.txt two.txt --averages avg.txt --students short.txt".split()
    (folder / "short.txt").write_text(f"{OTHER}\n{TREE}\n")
    assert run(*arguments, "-o", "report.html", "--title", "A & B") == 0
    facts = read_page((folder / "report.html").read_bytes()).facts
    assert facts["title"] == "A & B"
    assert [(own["name"], own["role"]) for own in facts["systems"]] == [
        ("gold", "gold"), ("one", "teacher"), ("two", "teacher"), ("avg", "average"), ("short", "student")
    ]  # fmt: skip
    value = facts["summary"]["rows"][0]["values"]["sentence-f1/standard"]
    assert value == treeavg.score(treeavg.read("gold.txt"), treeavg.read("one.txt")).value


def test_the_same_page_as_from_python(folder: Path) -> None:
    """The verb is one public call."""
    assert run("--gold", "gold.txt", "--teachers", "one.txt", "two.txt", "-o", "report.html") == 0
    report = treeavg.report.build_report(
        {"one": treeavg.read("one.txt"), "two": treeavg.read("two.txt")}, gold=treeavg.read("gold.txt"),
        options=treeavg.report.ReportOptions(samples=20),
    )  # fmt: skip
    assert (folder / "report.html").read_bytes() == report.html()


def test_names_that_are_taken(folder: Path) -> None:
    """A teacher called gold or average gets a number."""
    (folder / "average.txt").write_text((folder / "one.txt").read_text())
    assert run("--gold", "gold.txt", "--teachers", "gold.txt", "average.txt", "-o", "report.html") == 0
    facts = read_page((folder / "report.html").read_bytes()).facts
    assert [own["name"] for own in facts["systems"]] == ["gold", "gold (2)", "average (2)", "average"]


def test_standard_output(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A dash is standard output."""
    assert run("--teachers", "one.txt", "-o", "-") == 0
    assert capfdbinary.readouterr().out.startswith(b"<!doctype html>")


def test_skipping(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence that cannot be read is listed, and scores 0 there."""
    assert run("--gold", "gold.txt", "--teachers", "one.txt", "bad.txt", "-o", "r.html", "--on-error", "skip") == 0
    error = capsys.readouterr().err
    assert "treeavg: skipped 1 of 2 sentences:\n  sentence 2: bad.txt:2:" in error
    facts = read_page((folder / "r.html").read_bytes()).facts
    assert [row["missing"] for row in facts["summary"]["rows"]] == [0, 1, 1]
    assert facts["incomplete"] == 1


def test_other_formats_and_encodings(folder: Path) -> None:
    """Dependency trees; an encoding."""
    (folder / "a.heads").write_text("0 2 0\n1 0\n")
    assert run("--teachers", "a.heads", "a.heads", "-o", "r.html") == 0
    assert read_page((folder / "r.html").read_bytes()).facts["kind"] == "dependency"
    (folder / "latin.txt").write_bytes("(S (A é) (B b))\n".encode("latin-1"))
    assert run("--teachers", "latin.txt", "--encoding", "latin-1", "-o", "r.html") == 0
    assert read_page((folder / "r.html").read_bytes()).words() == [["é", "b"]]


def test_averages_that_are_not_proved_best(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said in one line, without a warning of Python's."""

    def unproved(*arguments: object, **options: object) -> treeavg.Treebank:
        bank = treeavg.read("one.txt")
        flags = np.array([True, False])
        bank.search = treeavg.SearchReport(flags, *[np.zeros(2, np.int64)] * 3, np.zeros(2))
        warnings.warn(treeavg.SearchLimitWarning("1 of 2 sentences"), stacklevel=2)
        return bank

    monkeypatch.setattr("treeavg.report.report.average", unproved)
    assert run("--teachers", "one.txt", "-o", "r.html") == 0
    assert capsys.readouterr().err == (
        "treeavg: the best tree found for 'average' is not proved best in 1 of 2 sentences; the first is sentence 2\n"
    )


REFUSED = [
    ("--teachers one.txt short.txt", "short.txt: expected 2 sentences as in one.txt"),
    ("--gold gold.txt --teachers one.txt long.txt", "long.txt: sentence 2: expected 3 tokens as in gold.txt: sentence"),
    ("--teachers bad.txt", "bad.txt:2:16: expected ')'"),
    ("--teachers absent.txt", "absent.txt: expected a file to read, got: No such file or directory."),
    ("--teachers one.txt --samples 0", "samples: expected a whole number, at least 1, got 0."),
    ("--teachers one.txt --seed -1", "seed: expected a whole number, at least 0, got -1."),
    ("--teachers one.txt --jobs 0", "jobs: expected"),
    ("--gold - --teachers -", "expected '-' (standard input) at most once"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_bad_input(folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    """One line, exit code 2, nothing written: neither page nor plots."""
    before = sorted(folder.iterdir())
    assert main(["report", *arguments.split(), "-o", "report.html", "--plots", "plots"]) == 2
    caught = capsys.readouterr()
    assert message in caught.err
    assert caught.err.startswith("treeavg: ")
    assert caught.err.count("\n") == 1
    assert caught.out == ""
    assert sorted(folder.iterdir()) == before


def test_a_page_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plots are not left behind without the page."""
    assert run("--teachers", "one.txt", "-o", "absent/report.html", "--plots", "plots") == 2
    assert "absent/report.html: expected a file to write, got: No such file or directory." in capsys.readouterr().err
    assert not (folder / "plots").exists()


def test_plots_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is the page left behind without the plots."""
    assert run("--teachers", "one.txt", "-o", "report.html", "--plots", "gold.txt") == 2
    assert "gold.txt: expected a folder to write to, got: File exists. Name another." in capsys.readouterr().err
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("plots", ["page", "./page", "page/plots"])
def test_plots_in_place_of_the_page(plots: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found by fuzzing: the plots were written, then the page could not be."""
    assert run("--teachers", "one.txt", "-o", "page", "--plots", plots) == 2
    assert f"--plots: expected a folder that is not the page, got {plots}. Name another.\n" in capsys.readouterr().err
    assert not (folder / "page").exists()


def test_plots_without_matplotlib(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before anything is read; the page alone needs nothing."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("--teachers", "one.txt", "-o", "report.html", "--plots", "plots") == 2
    error = capsys.readouterr().err
    assert "plots: expected matplotlib to be installed, got none. Run: pip install 'treeavg[report]'." in error
    assert not (folder / "report.html").exists()
    assert run("--teachers", "one.txt", "-o", "report.html") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "r.html"], "the following arguments are required: --teachers"),
        (["--teachers", "one.txt"], "the following arguments are required: -o/--output"),
        (["--teachers", "one.txt", "-o", "r.html", "--plots-format", "jpg"], "invalid choice: 'jpg'"),
    ],
)
def test_usage(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """Wrong usage is one line, too."""
    with pytest.raises(SystemExit) as stop:
        main(["report", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.compiled  # as plain Python it takes a minute
def test_demo_writes_a_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On request, of the systems that it prints, with the same scores; it says where."""
    assert main(["demo", "--report", "page.html", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    facts = read_page((folder / "page.html").read_bytes()).facts
    names = [own["name"] for own in facts["systems"]]
    assert answer["report"] == "page.html"
    assert facts["sentences"] == answer["sentences"]
    assert {names[row["system"]]: row["values"]["sentence-f1/standard"] for row in facts["summary"]["rows"]} == (
        pytest.approx(answer["scores"], abs=1e-5)
    )
    assert main(["demo", "--report", "page.html"]) == 0
    assert capsys.readouterr().out.endswith("as a page for the browser: page.html\n")
    assert main(["demo", "--report", "-"]) == 2
    assert "--report: expected a file, got standard output. Name a file." in capsys.readouterr().err
