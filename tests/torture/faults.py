"""Faults: each case injects some and tells how many were met as promised, and which were not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from . import bombs, disks, flips, meddling
from .records import Counts, line

#: A case yields, for each fault, None where all is well, "skipped: ..." where it cannot be tried, else what went wrong.
Case = Callable[[Path, int], Iterator[str | None]]

CASES: dict[str, Case] = {
    "disk-full-average": disks.full_average,
    "disk-full-training": disks.full_training,
    "device-full": disks.full_device,
    "read-errors": disks.read_errors,
    "odd-paths": disks.odd_paths,
    "unwritable": disks.unwritable,
    "kernel-cache": disks.kernel_cache,
    "vanishing-folder": disks.vanishing,
    "one-output-path": meddling.one_output_path,
    "one-run-folder": meddling.one_run_folder,
    "clock-average": meddling.clock_average,
    "clock-training": meddling.clock_training,
    "bombs": bombs.bombs,
    **{f"flips-{kind}": flips.case(kind) for kind in flips.KINDS},
}


def faults(names: list[str], *, flips: int, work: Path, seed: int) -> int:
    """Inject faults; return how many were not met as promised. `flips` is the number of bits for each kind of file."""
    line("case", "faults", "as promised", "failed", "notes")
    failed = 0
    for name in names or CASES:
        counts = Counts(work / "counts" / f"fault-{name}.json")
        if not counts.values.get("done"):
            counts.path.unlink(missing_ok=True)
            counts = Counts(counts.path)
            folder = work / "faults" / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            counts.add(_run(CASES[name](folder, flips if name.startswith("flips") else seed)))
        of = counts.values
        line(name, of["faults"], of["good"], of["failed"], "; ".join(of["notes"]))
        failed += of["failed"]
    return failed


def _run(outcomes: Iterator[str | None]) -> dict[str, object]:
    """Count the outcomes; keep the first few of each kind in words."""
    found = {"faults": 0, "good": 0, "failed": 0, "done": 1}
    notes: list[str] = []
    for outcome in outcomes:
        if outcome is not None and outcome.startswith("note: "):
            notes.append(outcome.removeprefix("note: "))
            continue
        if outcome is not None and outcome.startswith("skipped: "):
            notes.append(outcome)
            continue
        found["faults"] += 1
        found["good" if outcome is None else "failed"] += 1
        if outcome is not None and len(notes) < 5:
            notes.append(outcome[:500])
    return {**found, "notes": notes}
