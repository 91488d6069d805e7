"""The command line over discontinuous and dependency trees, in several formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import treeavg
from treeavg import DependencyTreebank, Treebank
from treeavg.cli import main

WORDS = [["Was", "hat", "sie", "gesehen"], ["sie", "hat"]]
ONE = Treebank.from_constituents(WORDS, [[(0, 4), [(0, 1), (3, 4)], [(0, 1), (2, 4)]], [(0, 2)]])
TWO = Treebank.from_constituents(WORDS, [[(0, 4), [(0, 1), (3, 4)], (1, 3)], [(0, 2)]])
HEADS = DependencyTreebank.from_heads(
    [[2, 0, 2, 2], [2, 0]], tokens=WORDS, relations=[["a", "b", "c", "d"], ["e", "f"]]
)
OTHER = DependencyTreebank.from_heads(
    [[2, 0, 2, 3], [2, 0]], tokens=WORDS, relations=[["a", "b", "c", "x"], ["e", "f"]]
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with teachers of both kinds."""
    treeavg.write(ONE, tmp_path / "one.jsonl")
    labelled = Treebank.from_constituents(
        WORDS,
        [[(0, 4), [(0, 1), (3, 4)], (1, 3)], [(0, 2)]],
        labels=[["S", "VP", "X"], ["S"]],
        tags=[["P", "V", "P", "V"], ["P", "V"]],
    )
    treeavg.write(labelled, tmp_path / "two.dbr")
    treeavg.write(TWO, tmp_path / "three.jsonl.gz")
    treeavg.write(HEADS, tmp_path / "one.conllu")
    treeavg.write(OTHER, tmp_path / "two.conllu")
    treeavg.write(OTHER, tmp_path / "three.heads")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_average_over_formats(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Teachers of one kind may come in several formats; the file decides what is averaged."""
    assert (
        main(["average", "one.jsonl", "two.dbr", "three.jsonl.gz", "--no-binary", "--objective", "f1", "-o", "o.jsonl"])
        == 0
    )
    assert treeavg.read("o.jsonl")[0].constituents == TWO[0].constituents
    assert main(["average", "one.conllu", "two.conllu", "three.heads", "-o", "o.heads"]) == 0
    assert treeavg.read("o.heads")[0].heads == [2, 0, 2, 3]
    assert main(["average", "three.heads", "one.conllu", "-o", "o.conllu", "--support", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["sentences"], summary["search"]) == (2, None)
    text = Path("o.conllu").read_text(encoding="utf-8")
    assert "Was" in text
    assert "Support=" in text


def test_support_needs_a_format_that_holds_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not dropped in silence."""
    assert main(["average", "three.heads", "--support"]) == 2
    assert "--support: expected output in jsonl or conllu, which can hold it, got heads" in capsys.readouterr().err


def test_search_is_summarised(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json tells nodes and the largest component."""
    assert main(["average", "one.jsonl", "three.jsonl.gz", "--no-binary", "-o", "o.jsonl", "--json", "--support"]) == 0
    search = json.loads(capsys.readouterr().out)["search"]
    assert search["sentences"] == 2
    assert search["unproved"] == []
    assert json.loads(Path("o.jsonl").read_text(encoding="utf-8").splitlines()[0])["support"][0] == 1.0


def test_default_output_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dependency trees go to standard output as heads; discontinuous trees need a format that holds them."""
    assert main(["average", "one.conllu"]) == 0
    assert capsys.readouterr().out == "0 2 0 2 2\n1 2 0\n"
    assert main(["average", "one.jsonl"]) == 2
    assert "one.jsonl: sentence 1: expected continuous constituents" in capsys.readouterr().err
    assert main(["average", "one.jsonl", "--output-format", "discbracket"]) == 0
    assert "0=Was" in capsys.readouterr().out


def test_mixed_kinds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the file of the other kind."""
    for arguments in (["average", "one.jsonl", "one.conllu"], ["score", "--gold", "one.conllu", "one.jsonl"]):
        assert main(arguments) == 2
        out, error = capsys.readouterr()
        assert out == ""
        assert error.count("\n") == 1
        assert "expected" in error
        assert "trees" in error


def test_score(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table shows the metrics of the kind."""
    assert main(["score", "--gold", "one.jsonl", "three.jsonl.gz"]) == 0
    header = capsys.readouterr().out.splitlines()[0].split()
    assert header[1:4] == ["corpus-f1", "continuous-f1", "discontinuous-f1"]
    assert main(["score", "--gold", "one.conllu", "two.conllu", "--test"]) == 2
    capsys.readouterr()
    assert main(["score", "--gold", "one.conllu", "two.conllu", "three.heads", "--test", "--by-length", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["systems"][0]["scores"]["uas"] == pytest.approx(100 * 5 / 6)
    assert set(result["systems"][0]["scores"]) == {"uas", "uas-words", "undirected-uas", "span-f1"}
    assert main(["score", "--gold", "one.conllu", "two.conllu", "--metric", "las"]) == 0
    assert "83.33" in capsys.readouterr().out
    assert main(["score", "--gold", "one.conllu", "two.conllu", "--baselines"]) == 2
    assert "--baselines: expected continuous constituency trees" in capsys.readouterr().err
    assert main(["agree", "one.conllu", "two.conllu"]) == 0
    assert "metric:uas" in capsys.readouterr().out


def test_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Discontinuous constituents show their gaps, dependency trees each word under its head, with hit counts."""
    assert main(["show", "one.jsonl", "three.jsonl.gz", "--average", "--no-binary", "--threshold", "0.4"]) == 0
    assert "Was ... gesehen" in capsys.readouterr().out
    assert main(["show", "one.conllu", "two.conllu", "--width", "100"]) == 0
    assert capsys.readouterr().out.splitlines()[1:6] == [
        "one                two",
        "hat (b) 2          hat (b) 2",
        "├─ Was (a) 2       ├─ Was (a) 2",
        "├─ sie (c) 2       └─ sie (c) 2",
        "└─ gesehen (d) 1      └─ gesehen (x) 1",
    ]
    assert main(["show", "three.heads", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trees"]["three"]["heads"] == [2, 0, 2, 3]


def test_convert(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Between the formats of a kind; not between kinds."""
    assert main(["convert", "one.conllu", "-o", "o.heads"]) == 0
    assert treeavg.read("o.heads").same_trees(HEADS)
    assert main(["convert", "two.dbr", "-o", "o.export"]) == 0
    assert treeavg.read("o.export")[0].labels == ["ROOT", "S", "VP", "X"]
    assert main(["convert", "one.conllu", "-o", "o.txt", "--output-format", "brackets"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["convert", "one.conllu", "-o", "o.heads", "--collapse-unaries"]) == 2
    assert "expected constituency trees to change" in capsys.readouterr().err


@pytest.mark.compiled
def test_weights_by_agreement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights are estimated once, told, and the same as in Python; standard input cannot be read twice."""
    data = Path(__file__).resolve().parent.parent.parent / "data" / "teachers"
    paths = sorted(map(str, data.glob("*.txt")))
    assert main(["average", *paths, "--weights", "agreement", "-o", str(tmp_path / "o.txt")]) == 0
    error = capsys.readouterr().err
    assert error.startswith("treeavg: weights by agreement: compound-pcfg 1, ")
    teachers = [treeavg.read(path) for path in paths]
    by_name = treeavg.average(teachers, weights="agreement")
    assert by_name == treeavg.average(teachers, weights=treeavg.agreement_weights(teachers))
    assert treeavg.read(tmp_path / "o.txt").same_trees(by_name)
    assert main(["average", "-", *paths, "--weights", "agreement"]) == 2
    assert "expected files, which are read twice, got '-'" in capsys.readouterr().err
    with pytest.raises(treeavg.ArgumentError, match="expected one of 'agreement', got 'agrement'"):
        treeavg.average(teachers, weights="agrement")


def test_select_teachers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The chosen files stand on standard output, the search on standard error."""
    assert main(["select-teachers", "one.conllu", "two.conllu", "three.heads", "--k", "2"]) == 0
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert set(out.splitlines()) <= {"one.conllu", "two.conllu", "three.heads"}
    assert "diversity" in error


def test_advice_names_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the library calls on_error='skip' a shell user calls --on-error skip."""
    (tmp_path / "empty.txt").write_text("(S (A a) (B b))\n\n")
    assert main(["average", str(tmp_path / "empty.txt")]) == 2
    assert "or pass --on-error skip to keep its place" in capsys.readouterr().err
    (tmp_path / "one.txt").write_text("(S (A a) (B b))\n")
    assert main(["average", str(tmp_path / "one.txt"), "--weights", "1", "2"]) == 2
    assert "Pass no --weights for equal weights" in capsys.readouterr().err
