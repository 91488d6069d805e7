"""Runs the command line as its users do, in a process of its own; or in this one, where many runs need torch."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from treeavg.cli import main

DATA = Path(__file__).resolve().parents[2] / "data"
TEACHERS = [str(path) for path in sorted((DATA / "teachers").glob("*.txt"))]
GOLD = str(DATA / "gold.txt")
TREE = "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))"
OTHER = "(S (A the) (X (A dog) (A barks)))"


def command(*arguments: object) -> list[str]:
    """Return the command for these arguments."""
    return [sys.executable, "-m", "treeavg", *map(str, arguments)]


def hear_ctrl_c() -> None:
    """Let a child process hear Ctrl-C (its `preexec_fn`), which a suite that runs in the background ignores."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(
    *arguments: object, folder: Path | None = None, given: bytes = b"", check: bool = False, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``treeavg`` to its end."""
    return subprocess.run(
        command(*arguments), cwd=folder, input=given, capture_output=True, timeout=120, check=check,
        env={**os.environ, **environment},
    )  # fmt: skip


def run_here(*arguments: object, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run ``treeavg`` in this process, which has loaded torch already: seconds less a run."""
    out, error = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as stop:
                code = int(stop.code or 0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    printed = [stream.buffer.getvalue() for stream in (out, error)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(list(map(str, arguments)), code, *printed)


def assert_refused(done: subprocess.CompletedProcess[bytes], message: str) -> None:
    """Check that a run ended as bad input does: exit code 2, nothing printed, one line that holds `message`."""
    error = done.stderr.decode()
    assert "Traceback" not in error
    assert re.fullmatch(r"treeavg( [\w-]+){0,2}: [^\n]+\n", error), error
    assert message in error
    assert len(error) < 700
    assert done.returncode == 2
    assert done.stdout == b""
