"""Others that meddle: two processes with one path, and clocks that jump."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from . import processes
from .processes import ROOT, debris, run

#: Runs ``treeavg`` with a clock on the wall that jumps up to ten years to and fro at each look. (The monotonic clock
#: never goes back, by its contract; were it to, waiting for a thread could last as long.)
_JUMPING = """
import random, sys, time
generator = random.Random(int(sys.argv.pop(1)))
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + generator.uniform(-3e8, 3e8)
time.time_ns = lambda: now_ns() + generator.randrange(-3 * 10**17, 3 * 10**17)
from treeavg.cli import main
sys.exit(main())
"""


def one_output_path(folder: Path, seed: int) -> Iterator[str | None]:
    """Two averages that are written to one path at the same time: the result is one of the two, whole."""
    names = processes.larger(folder, 2000, files=4)
    one, other = ["average", *names[:3]], ["average", *names[1:], "--no-binary"]
    wholes = []
    for words in (one, other):
        assert run(*words, "-o", "whole.txt", folder=folder).returncode == 0
        wholes.append((folder / "whole.txt").read_bytes())
    assert wholes[0] != wholes[1]
    generator = random.Random(seed)
    for _ in range(20):
        (folder / "out.txt").unlink(missing_ok=True)
        both = [processes.start(*one, "-o", "out.txt", folder=folder)]
        time.sleep(generator.random() * 0.1)
        both.append(processes.start(*other, "-o", "out.txt", folder=folder))
        codes = [process.wait() for process in both]
        if codes != [0, 0] or (folder / "out.txt").read_bytes() not in wholes or debris(folder):
            yield f"exit codes {codes}, left {debris(folder)}"
        else:
            yield None


def one_run_folder(folder: Path, seed: int) -> Iterator[str | None]:
    """Two trainings in one folder at the same time: at most one trains; what is saved is its parser, whole."""
    words = ["fit", "on-lstm", processes.text_of(folder, 60), *processes.FIT, "-o", "out"]
    assert run(*words, folder=folder).returncode == 0
    expected = processes.digest_of_parser(folder / "out")
    for number in range(6):
        shutil.rmtree(folder / "out")
        more = ["--resume"] if number % 2 else []
        both = [processes.start(*words, *more, folder=folder) for _ in range(2)]
        codes = sorted(process.wait() for process in both)
        wrong = codes not in ([0, 0], [0, 2]) or (codes == [0, 0] and not more)
        if wrong or processes.digest_of_parser(folder / "out") != expected or debris(folder):
            yield f"exit codes {codes}, left {debris(folder)}: {(folder.parent / 'log.txt').read_text()[-300:]}"
        else:
            yield None


def clock_average(folder: Path, seed: int) -> Iterator[str | None]:
    """An average under clocks that jump: the same bytes."""
    names = processes.larger(folder, 3000, files=3)
    assert run("average", *names, "-o", "whole.txt.gz", folder=folder).returncode == 0
    expected = (folder / "whole.txt.gz").read_bytes()
    for number in range(5):
        done = _jumping(number, "average", *names, "-o", "out.txt.gz", folder=folder)
        same = done.returncode == 0 and (folder / "out.txt.gz").read_bytes() == expected
        yield None if same else f"exit code {done.returncode}: {done.stderr[-300:]!r}"


def clock_training(folder: Path, seed: int) -> Iterator[str | None]:
    """A training under clocks that jump, in Python and, with libfaketime, in the whole process: the same parser."""
    words = ["fit", "on-lstm", processes.text_of(folder, 120), *processes.FIT]
    assert run(*words, "-o", "whole", folder=folder).returncode == 0
    expected = processes.digest_of_parser(folder / "whole")
    for number in range(3):
        done = _jumping(number, *words, "-o", f"out{number}", folder=folder)
        same = done.returncode == 0 and processes.digest_of_parser(folder / f"out{number}") == expected
        yield None if same else f"exit code {done.returncode}: {done.stderr[-300:]!r}"
    library = next((path for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None:
        yield "skipped: libfaketime is not installed"
        return
    for number in range(3):
        stamp = folder / "stamp"
        stamp.write_text("+0d\n")
        process = processes.start(
            *words, "-o", f"set{number}", folder=folder, LD_PRELOAD=os.fspath(library), FAKETIME_NO_CACHE="1",
            FAKETIME_TIMESTAMP_FILE=os.fspath(stamp), DONT_FAKE_MONOTONIC="1",
        )  # fmt: skip
        while not (folder / f"set{number}" / "run" / "run.json").exists() and process.poll() is None:
            time.sleep(0.01)
        for offset in ("-4000d", "+9000d", "-1d"):
            stamp.write_text(f"{offset}\n")
            time.sleep(0.3)
        code = process.wait()
        same = code == 0 and processes.digest_of_parser(folder / f"set{number}") == expected
        yield None if same else f"exit code {code}: {(folder.parent / 'log.txt').read_text()[-300:]}"


def _jumping(seed: int, *words: object, folder: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", _JUMPING, str(seed), *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env={**processes.environment(), "PYTHONPATH": str(ROOT)}, capture_output=True
    )
