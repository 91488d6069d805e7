"""Charts as files."""

from __future__ import annotations

import sys
from pathlib import Path

import hostile
import pytest

from treeavg import ArgumentError, FileError
from treeavg.cli import report as verb
from treeavg.report import plots

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'treeavg[report]'")

pytestmark = pytest.mark.compiled  # charts are the same in every mode of the kernels
NAMES = ["agreement", "f1-by-length", "recall-by-label", "reliability"]
BEGINNINGS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


@pytest.mark.parametrize("format", plots.FORMATS)
def test_the_same_charts_as_in_the_page(tmp_path: Path, format: str) -> None:
    """A file for each, of the right kind; the same bytes each time."""
    report = hostile.constituency_report()
    paths = report.write_plots(tmp_path / "a" / "b", format=format)
    assert paths == [str(tmp_path / "a" / "b" / f"{name}.{format}") for name in NAMES]
    first = [Path(path).read_bytes() for path in paths]
    assert all(data.startswith(BEGINNINGS[format]) for data in first)
    report.write_plots(tmp_path / "a" / "b", format=format)
    assert [Path(path).read_bytes() for path in paths] == first


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """No part of a name is a formula or markup."""
    bank = hostile.random_bank(1)
    report = hostile.build_report({"$x^2$": bank, "<b>": bank}, gold=bank, options=hostile.OPTIONS)
    paths = report.write_plots(tmp_path)
    text = Path(paths[0]).read_text(encoding="utf-8")
    assert "$x^2$" in text  # matplotlib writes each text as a comment above its outlines
    assert "<b>" not in text.replace("<!-- <b> -->", "")


def test_without_gold_and_of_other_trees(tmp_path: Path) -> None:
    """Only what needs no gold; arcs instead of constituents."""
    assert [Path(path).name for path in hostile.constituency_report(gold=False).write_plots(tmp_path)] == [
        "agreement.svg"
    ]
    names = [Path(path).stem for path in hostile.dependency_report().write_plots(tmp_path)]
    assert names == ["agreement", "f1-by-length", "reliability"]
    assert [Path(path).stem for path in hostile.discontinuous_report().write_plots(tmp_path)] == NAMES


def test_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown format, a folder that cannot be, no matplotlib: one line, and nothing is written."""
    report = hostile.dependency_report()
    with pytest.raises(ArgumentError, match=r"^format: expected one of 'svg', 'png', 'pdf', got 'jpg'\. "):
        report.write_plots(tmp_path / "x", format="jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"file: expected a folder to write to, got: File exists\. Name another\."):
        report.write_plots(tmp_path / "file")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ArgumentError) as caught:
        report.write_plots(tmp_path / "y")
    assert str(caught.value) == (
        "plots: expected matplotlib to be installed, got none. Run: pip install 'treeavg[report]'."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_formats_of_the_command_line() -> None:
    """Repeated there, so that --help loads nothing."""
    assert verb.PLOT_FORMATS == plots.FORMATS
