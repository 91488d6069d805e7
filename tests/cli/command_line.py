"""Runs the command line as its users do, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"
TEACHERS = [str(path) for path in sorted((DATA / "teachers").glob("*.txt"))]
GOLD = str(DATA / "gold.txt")
TREE = "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))"
OTHER = "(S (A the) (X (A dog) (A barks)))"


def command(*arguments: object) -> list[str]:
    """Return the command for these arguments."""
    return [sys.executable, "-m", "treeavg", *map(str, arguments)]


def run(
    *arguments: object, folder: Path | None = None, given: bytes = b"", check: bool = False, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``treeavg`` to its end."""
    return subprocess.run(
        command(*arguments), cwd=folder, input=given, capture_output=True, timeout=120, check=check,
        env={**os.environ, **environment},
    )  # fmt: skip


def assert_refused(done: subprocess.CompletedProcess[bytes], message: str) -> None:
    """Check that a run ended as bad input does: exit code 2, nothing printed, one line that holds `message`."""
    error = done.stderr.decode()
    assert "Traceback" not in error
    assert re.fullmatch(r"treeavg( [\w-]+)?: [^\n]+\n", error), error
    assert message in error
    assert len(error) < 700
    assert done.returncode == 2
    assert done.stdout == b""
