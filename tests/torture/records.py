"""What a run leaves: a JSON file of counts for each case, so that it can go on later, and one line for each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

#: Of a line of the table: the case, what was tried, what went wrong.
WIDTHS = (34, 12, 12, 9)


class Counts:
    """Counts of a case, kept in a file that is replaced whole.

    Parameters
    ----------
    path : pathlib.Path
        Where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, found: dict[str, Any], under: str = "") -> None:
        """Add numbers, extend lists, and write the file."""
        into = self.values.setdefault(under, {}) if under else self.values
        for key, value in found.items():
            into[key] = into[key] + value if key in into else value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(f".{os.getpid()}.tmp")
        beside.write_text(json.dumps(self.values, indent=1, sort_keys=True))
        beside.replace(self.path)


def line(*cells: object) -> None:
    """Print a line of the table at once: four columns, then notes."""
    shown = [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells]
    print("  ".join(cell.ljust(width) for cell, width in zip(shown, WIDTHS, strict=False)), *shown[4:], flush=True)


def keep_failure(folder: Path, case: str, name: str, why: str, data: bytes) -> None:
    """Keep an input that failed: its bytes and, beside them, why; one for each kind of failure of a case."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{case}-{name}.bin").write_bytes(data)
    (folder / f"{case}-{name}.txt").write_text(why, errors="replace")
