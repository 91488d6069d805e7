"""How long it takes before anything happens: interpreter, help, import, first use."""

from __future__ import annotations

import sys

from benchmarks.common import process, show, treeavg


def main() -> None:
    """Print seconds of whole processes beside the interpreter's own start, the floor."""
    python = sys.executable
    cases = [
        ("python -c pass (the floor)", [python, "-c", "pass"], ""),
        ("treeavg --help", treeavg("--help"), "0.25"),
        ("treeavg average --help", treeavg("average", "--help"), "0.25"),
        ("import treeavg", [python, "-c", "import treeavg"], "0.5"),
        ("import numpy", [python, "-c", "import numpy"], ""),
        ("import numba", [python, "-c", "import numba"], ""),
        (
            "import treeavg, every name",
            [python, "-c", "import treeavg; [getattr(treeavg, n) for n in treeavg.__all__]"],
            "0.5",
        ),
    ]
    rows = [["start-up, median of 9", "seconds", "budget", "times the floor"]]
    floor = 0.0
    for name, command, budget in cases:
        seconds, _ = process(command, runs=9)
        floor = floor or seconds
        rows.append([name, f"{seconds:.3f}", budget, f"{seconds / floor:.1f}"])
    show("Start-up", rows)


if __name__ == "__main__":
    main()
