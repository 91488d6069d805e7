"""Commands for kills and faults: ``treeavg`` as a process of its own, its files, what a saved parser amounts to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
TEACHERS = sorted((ROOT / "data" / "teachers").glob("*.txt"))
#: Trainings of a few seconds, most of it imports; a checkpoint is written whenever a tenth of a second has passed.
OFTEN = ("--checkpoint-minutes", "0.001", "--device", "cpu", "--threads", "1")
DISTILL = ("--epochs", "8", "--size", "16", "--layers", "1", "--words", "8", "--characters", "8", *OFTEN)
FIT = ("--epochs", "6", "--hidden", "20", "--embedding", "20", *OFTEN)


def command(*words: object) -> list[str]:
    """Return the command line of ``treeavg`` with these words."""
    return [sys.executable, "-m", "treeavg", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of such a process: this checkout, one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def run(*words: object, folder: Path, timeout: float = 600, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``treeavg`` to its end."""
    return subprocess.run(
        command(*words),
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
    )


def start(*words: object, folder: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start ``treeavg``; its errors go to ``log.txt`` beside the folder."""
    with (folder.parent / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command(*words), cwd=folder, env=environment(**more), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def has_begun(pid: int, folder: Path, pattern: str) -> bool:
    """Tell whether there is a file in a folder, or the process has one open there that has no name yet."""
    if any(folder.glob(pattern)):
        return True
    place = f"{(folder / pattern).parent.resolve()}/#"
    try:
        return any(os.readlink(handle).startswith(place) for handle in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # a file was closed meanwhile, or the process has ended


class Forks:
    """Starts ``treeavg`` as forks of a process that has imported everything already; see `fork_server`."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.fork_server"], cwd=ROOT, env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._server:  # closes the pipes, which ends it, and waits
            pass

    def start(self, *words: object, folder: Path) -> Fork:
        """Start it in a folder."""
        return Fork(self, self.ask("start", [str(word) for word in words], str(folder), str(folder.parent / "log.txt")))

    def ask(self, *request: object) -> int:
        """Send a request, return the answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


class Fork:
    """What `subprocess.Popen` would be, of a fork."""

    def __init__(self, forks: Forks, number: int) -> None:
        self._forks, self.pid, self._code = forks, number, -1

    def poll(self) -> int | None:
        """Return the exit code, None while it runs; a kill counts as 247."""
        if self._code < 0:
            self._code = self._forks.ask("poll", self.pid)
        return self._code if self._code >= 0 else None

    def wait(self) -> int:
        """Wait for the end."""
        if self._code < 0:
            self._code = self._forks.ask("wait", self.pid)
        return self._code

    def kill(self) -> None:
        """Send SIGKILL."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def refused(done: subprocess.CompletedProcess[bytes], *parts: str) -> str | None:
    """Tell what is wrong where a run should have ended with one line that holds `parts`; None if nothing is."""
    text = done.stderr.decode(errors="replace")
    lines = [line for line in text.splitlines() if not line.startswith("treeavg: compiling")]
    if done.returncode != 2 or len(lines) != 1 or not re.match(r"treeavg( [\w-]+){0,2}: \S", lines[0]):
        return f"exit code {done.returncode}, {text[-400:]!r}"
    if missing := [part for part in parts if part not in lines[0]]:
        return f"expected {missing} in {lines[0]!r}"
    return None


def larger(folder: Path, sentences: int, files: int = 7) -> list[str]:
    """Put the sample's teachers, repeated up to a number of sentences, into a folder; return their names."""
    names = []
    for path in TEACHERS[:files]:
        lines = path.read_bytes().splitlines(keepends=True)
        whole = lines * (sentences // len(lines) + 1)
        (folder / path.name).write_bytes(b"".join(whole[:sentences]))
        names.append(path.name)
    return names


def text_of(folder: Path, sentences: int) -> str:
    """Put the first words of the sample into a folder; return the file's name."""
    lines = (ROOT / "data" / "text.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "text.txt").write_text("".join(lines[:sentences]), encoding="utf-8")
    return "text.txt"


def digest_of_parser(folder: Path) -> str:
    """Return a digest of a saved parser: its document but for the name of its weights, and the weights' bytes."""
    document = json.loads((folder / "parser.json").read_bytes().decode("utf-8", "surrogatepass"))
    document.pop("checksum")
    file = document["weights"].pop("file")
    found = hashlib.sha256(json.dumps(document, sort_keys=True).encode("utf-8", "surrogatepass"))
    found.update((folder / file).read_bytes())
    return found.hexdigest()


def debris(folder: Path) -> list[str]:
    """Return the names of half-written files below a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.name.endswith(".tmp"))
