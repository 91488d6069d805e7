"""The charts of a report as files, drawn by matplotlib."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treeavg.errors import ArgumentError, FileError, unknown
from treeavg.formats.files import AtomicFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")
#: Without these, the same chart would be other bytes on another day.
_STAMPS: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_MARKS = "osD^vXP<>"
_DASHES = ("-", "--", ":", "-.")


def require_matplotlib() -> None:
    """Raise an ArgumentError that says what to install where matplotlib is not."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ArgumentError("plots: expected matplotlib to be installed, got none. Run: pip install 'treeavg[report]'.")


def write_plots(facts: dict[str, Any], folder: str | os.PathLike[str], *, format: str = "svg") -> list[str]:
    """Write the charts; see `Report.write_plots`. Nothing is written before all are drawn."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    require_matplotlib()
    charts = {"agreement": _agreement(facts)}
    if "summary" in facts:
        charts["f1-by-length"] = _by_length(facts)
        if facts["by_label"] is not None:
            charts["recall-by-label"] = _by_label(facts)
        charts["reliability"] = _reliability(facts)
    drawn = {name: _bytes(figure, format) for name, figure in charts.items()}
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{os.fspath(folder)}: expected a folder to write to, got: {error.strerror}. Name another."
        ) from None
    paths = []
    for name, data in drawn.items():
        path = os.path.join(folder, f"{name}.{format}")
        with AtomicFile(path) as file:
            file.write(data)
        paths.append(path)
    return paths


def _bytes(figure: Figure, format: str) -> bytes:
    from matplotlib import rc_context

    out = io.BytesIO()
    # Words are data: a $ in a name is no formula (see `_plain`), and ids in SVG must not be random.
    with rc_context({"svg.hashsalt": "treeavg", "pdf.fonttype": 42}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the font lacks a letter: a box stands for it
        figure.savefig(out, format=format, metadata=_STAMPS[format], dpi=200, bbox_inches="tight")
    return out.getvalue()


def _plain(text: str) -> str:
    """Return a name as matplotlib shows it literally."""
    return text.replace("$", r"\$")


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))  # not pyplot: nothing global, no window
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _names(facts: dict[str, Any], rows: list[int]) -> list[str]:
    return [_plain(facts["systems"][index]["name"]) for index in rows]


def _heat(axes: Any, values: list[list[float]], low: float, high: float, *, diagonal: bool) -> None:
    """Draw a table of numbers, coloured, with the numbers in it."""
    import numpy as np

    table = np.array(values)
    if diagonal:
        table[np.diag_indices(len(table))] = np.nan
    axes.imshow(table, cmap="plasma_r", vmin=low, vmax=max(high, low + 1e-9), aspect="auto")
    for row, column in np.ndindex(*table.shape):
        if not np.isnan(table[row, column]):
            dark = (table[row, column] - low) / max(high - low, 1e-9) > 0.45
            text = f"{table[row, column]:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.tick_params(length=0)


def _agreement(facts: dict[str, Any]) -> Figure:
    own = facts["agreement"]
    names = _names(facts, own["systems"])
    others = [value for row, line in enumerate(own["values"]) for column, value in enumerate(line) if column != row]
    size = 2.2 + 0.55 * len(names)
    figure, axes = _figure(size, size * 0.85)
    _heat(axes, own["values"], min(others, default=0.0), max(others, default=100.0), diagonal=True)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_title("Agreement (F1)")
    return figure


def _style(facts: dict[str, Any], index: int) -> dict[str, Any]:
    """Return how the lines of a system look; averages and students are thick, marks differ without colours."""
    role = facts["systems"][index]["role"]
    place = [number for number, own in enumerate(facts["systems"]) if own["role"] == role].index(index)
    if role == "average":
        return {"color": "black", "linewidth": 2.5, "marker": "o", "linestyle": _DASHES[place % 4]}
    if role == "student":
        return {"color": "#c4410c", "linewidth": 2.5, "marker": "s", "linestyle": _DASHES[place % 4]}
    return {
        "color": f"C{place % 10}", "linewidth": 1.2, "marker": _MARKS[place % len(_MARKS)],
        "linestyle": _DASHES[(place // 10) % 4],
    }  # fmt: skip


def _by_length(facts: dict[str, Any]) -> Figure:
    own = facts["by_length"]
    figure, axes = _figure(7.5, 4.2)
    for row in own["rows"]:
        style = _style(facts, row["system"])
        axes.plot(range(len(own["classes"])), row["values"], label=_names(facts, [row["system"]])[0], **style)
    titles = [f"{name}\n({count:,})" for name, count in zip(own["classes"], own["sentences"], strict=True)]
    axes.set_xticks(range(len(titles)), titles)
    axes.set_xlabel("tokens (sentences)")
    axes.set_ylabel(own["metric"])
    axes.grid(axis="y", alpha=0.4)
    axes.legend(bbox_to_anchor=(1.02, 1), loc="upper left", frameon=False)
    return figure


def _by_label(facts: dict[str, Any]) -> Figure:
    own = facts["by_label"]
    labels = [f"{_plain(label)}\n{count:,}" for label, count in zip(own["labels"], own["gold"], strict=True)][:12]
    names = _names(facts, [row["system"] for row in own["rows"]])
    figure, axes = _figure(2.5 + 0.62 * len(labels), 1.4 + 0.36 * len(names))
    _heat(axes, [row["values"][:12] for row in own["rows"]], 0.0, 100.0, diagonal=False)
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set_title("Recall by label (%)")
    return figure


def _reliability(facts: dict[str, Any]) -> Figure:
    own = facts["reliability"]
    unit = "arcs" if facts["kind"] == "dependency" else "constituents"
    figure, (axes, below) = _two(7.0, 5.2)
    for place, curve in enumerate(own["curves"]):
        share = [100 * one["right"] / one["total"] for one in curve["bins"]]
        low = [max(0.0, value - one["interval"][0]) for value, one in zip(share, curve["bins"], strict=True)]
        high = [max(0.0, one["interval"][1] - value) for value, one in zip(share, curve["bins"], strict=True)]
        shift = 0.08 * (place - (len(own["curves"]) - 1) / 2)
        axes.errorbar(
            [one["hits"] + shift for one in curve["bins"]], share, yerr=[low, high], capsize=3, linewidth=1.2,
            marker=_MARKS[place % len(_MARKS)], label=f"{unit} of {_plain(curve['name'])}",
        )  # fmt: skip
    axes.plot([0, own["teachers"]], [0, 100], color="grey", linestyle="--", linewidth=1)
    axes.set_ylabel("right (%)")
    axes.set_ylim(0, 103)
    axes.grid(axis="y", alpha=0.4)
    axes.legend(frameon=False)
    bins = own["curves"][0]["bins"]
    below.bar([one["hits"] for one in bins], [one["total"] for one in bins], color="silver")
    below.set_ylabel(f"{unit}\nof any teacher")
    below.set_xlabel("teachers that have it")
    below.set_xticks(range(own["teachers"] + 1))
    return figure


def _two(width: float, height: float) -> tuple[Figure, Any]:
    figure, axes = _figure(width, height)
    axes.remove()
    return figure, figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
