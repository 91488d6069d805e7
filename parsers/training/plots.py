"""A picture of a training run: loss and score by epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from treeavg.formats.files import AtomicFile


def draw_metrics(records: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw the loss and the score of a run, if matplotlib is installed.

    Parameters
    ----------
    records : sequence of mapping
        Lines of ``metrics.jsonl``.
    path : pathlib.Path
        The picture (PNG), written atomically.

    Returns
    -------
    bool
        Whether it was drawn.

    Raises
    ------
    FileError
        The file cannot be written.

    Notes
    -----
    Without pyplot: matplotlib's global state stays as it is.

    Examples
    --------
    >>> draw_metrics([], Path("/nowhere/metrics.png"))
    False
    """
    if not records:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return False
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    figure = Figure(figsize=(7.0, 6.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    steps = [record for record in records if record["kind"] == "train"] or evaluations
    above.plot(
        [r["done"] for r in steps], [r["loss"] for r in steps], color="#9db8d6", linewidth=1.0, label="every few steps"
    )
    if evaluations and steps is not evaluations:
        above.plot(
            [r["done"] for r in evaluations], [r["loss"] for r in evaluations], color="#1f4e79", marker="o",
            markersize=4, label="between evaluations",
        )  # fmt: skip
        above.legend(frameon=False)
    above.set_ylabel("training loss an item")
    if evaluations:
        _draw_scores(below, evaluations)
    below.set_ylabel("score")
    below.set_xlabel("epochs done")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    with AtomicFile(path) as file:
        file.write(picture.getvalue())
    return True


def _draw_scores(axes: Any, evaluations: Sequence[Mapping[str, Any]]) -> None:
    done = [record["done"] for record in evaluations]
    scores = [record["scores"]["score"] for record in evaluations]
    best = max(range(len(scores)), key=scores.__getitem__)
    axes.plot(done, scores, color="#1f4e79", marker="o", markersize=4)
    axes.axvline(done[best], color="#c0504d", linewidth=1.0, linestyle="--")
    axes.set_title(
        f"best: {scores[best]:.4g}, {done[best]:.4g} epochs done", loc="left", color="#c0504d", fontsize="medium"
    )
