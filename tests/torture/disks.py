"""Disks that are full, break, refuse or go away."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import processes
from .processes import ROOT, debris, refused, run

_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
#: What Numba keeps of one kernel: where it is, and the machine code.
_KEPT = ("brackets.scan_trees*.nbi", "brackets.scan_trees*.nbc")


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system of so many kilobytes; an OSError where that is not allowed."""
    place = folder / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise OSError("only root can mount a small file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)], capture_output=True, text=True
    )
    if done.returncode:
        raise OSError(done.stderr.strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


def full_average(folder: Path, seed: int) -> Iterator[str | None]:
    """An average onto file systems of 4 KB to 1 MB, each too small: refused, nothing left; with room the same bytes."""
    names = processes.larger(folder, 6000, files=3)
    whole = run("average", *names, "-o", "whole.txt", "--hits", "whole.jsonl", folder=folder)
    assert whole.returncode == 0, whole.stderr
    expected = (folder / "whole.txt").read_bytes()
    sizes = {"disk/out.txt": len(expected), "disk/out.txt.gz": len(expected) // 20, "here.txt": len(expected) * 2}
    for kilobytes in (4, 16, 64, 256, 512, 1024):
        for words in (
            ["-o", "disk/out.txt"],
            ["-o", "disk/out.txt.gz"],
            ["-o", "here.txt", "--hits", "disk/hits.jsonl"],
        ):
            if sizes[words[1]] < kilobytes * 1100:
                continue  # it fits, or may
            try:
                with small_disk(folder, kilobytes) as disk:
                    done = run("average", *names, *words, folder=folder)
                    left = [path.name for path in disk.iterdir()]
                    wrong = refused(done, "No space left on device", "Free space or choose another path.")
                    if left or (folder / "here.txt").exists():
                        wrong = f"left on a full disk: {left}"
                    yield wrong
            except OSError as error:
                yield f"skipped: {error}"
                return
    with small_disk(folder, 64 * 1024) as disk:
        done = run("average", *names, "-o", "disk/out.txt", folder=folder)
        yield None if (disk / "out.txt").read_bytes() == expected else f"with room: {done.stderr!r}"


def full_training(folder: Path, seed: int) -> Iterator[str | None]:
    """A training onto a disk that is too small for two checkpoints: one line; with room, resumed to the same parser."""
    words = ["fit", "on-lstm", processes.text_of(folder, 120), *processes.FIT]
    whole = run(*words, "-o", "whole", folder=folder)
    assert whole.returncode == 0, whole.stderr
    expected = processes.digest_of_parser(folder / "whole")
    for kilobytes in (8, 40, 80, 120, 160, 200, 240):
        try:
            with small_disk(folder, kilobytes) as disk:
                done = run(*words, "-o", "disk/out", folder=folder)
                if done.returncode == 0:
                    yield f"note: {kilobytes} KB were enough"
                    break
                wrong = refused(done, "No space left on device")
                if debris(disk):
                    wrong = f"{kilobytes} KB: left {debris(disk)}"
                yield wrong
                grown = subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], capture_output=True)
                assert grown.returncode == 0, grown.stderr
                again = run(*words, "-o", "disk/out", "--resume", folder=folder)
                if again.returncode or processes.digest_of_parser(disk / "out") != expected:
                    yield f"{kilobytes} KB, resumed with room: {again.stderr[-300:]!r}"
        except OSError as error:
            yield f"skipped: {error}"
            return


def full_device(folder: Path, seed: int) -> Iterator[str | None]:
    """/dev/full as the output, as standard output, as the hits."""
    names = processes.larger(folder, 300, files=2)
    yield refused(run("average", *names, "-o", "/dev/full", folder=folder), "/dev/full: expected a file to write")
    yield refused(run("average", *names, "-o", "a.txt", "--hits", "/dev/full", folder=folder), "/dev/full: expected")
    yield None if not (folder / "a.txt").exists() else "the average was written though the hits were not"
    for words in (["average", *names], ["score", *names, "--gold", names[0]], ["agree", *names], ["show", *names]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                processes.command(*words), cwd=folder, env=processes.environment(), stdout=full, stderr=subprocess.PIPE
            )
        yield refused(done, "<stdout>: expected a file to write, got: No space left on device.")


class _Failing(io.BytesIO):
    """A file whose n-th read fails."""

    def __init__(self, data: bytes, number: int) -> None:
        super().__init__(data)
        self._left = number

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        self._left -= 1
        if self._left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(min(size, 700) if size is not None and size > 0 else 700)


def read_errors(folder: Path, seed: int) -> Iterator[str | None]:
    """Each read in turn fails with EIO, of every format and through every command that reads as it goes."""
    import types

    from treeavg import FileError, read
    from treeavg.formats import FORMATS

    from .mutations import seeds

    for name, files in seeds().items():
        data = b"".join(files[:1]) * 200 if FORMATS[name].line_based else files[0]
        for number in range(min(40, len(data) // 700 + 1)):
            before = sys.stdin
            sys.stdin = types.SimpleNamespace(buffer=_Failing(data, number))  # type: ignore[assignment]
            try:
                got: Any = read("-", name)
            except FileError as error:
                got = str(error)
            except Exception as error:
                got = error
            finally:
                sys.stdin = before
            expected = "<stdin>: expected a file to read, got: Input/output error. Check the device."
            if got != expected and "standard input" not in str(got):  # a format that no pipe can give
                yield f"{name}, read {number + 1}: {got!r}"
            elif got == expected:
                yield None


def odd_paths(folder: Path, seed: int) -> Iterator[str | None]:
    """Paths that cannot be read, in several verbs: a folder, a process's memory, a loop of links, a name too long."""
    good = processes.larger(folder, 20, files=1)[0]
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    for path, says in (
        ("folder", ""),  # shards for a verb that writes no file
        ("/proc/self/mem", "Input/output error"),
        ("loop", "symbolic links"),
        ("a" * 300, "File name too long"),
        (f"{good}/x", "Not a directory"),
        ("/dev/null", "an empty file"),
    ):
        for words in (["average", path, good], ["convert", path], ["score", "--gold", path, good], ["show", path]):
            shards = "expected shards, got no file there" if words[0] == "score" else "Is a directory"
            yield refused(run(*words, folder=folder), says or shards)


def unwritable(folder: Path, seed: int) -> Iterator[str | None]:
    """As a user who may not write the folder or read the file."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        yield "skipped: only root can become another user, and setpriv is needed"
        return
    with tempfile.TemporaryDirectory() as open_to_all:  # which pytest's folders are not
        Path(open_to_all).chmod(0o755)
        yield from _as_nobody(Path(open_to_all))


def _as_nobody(folder: Path) -> Iterator[str | None]:
    good = processes.larger(folder, 20, files=1)[0]
    secret = folder / "secret.txt"
    shutil.copy(folder / good, secret)
    secret.chmod(0o600)
    old = folder / "old.txt"
    old.write_text("old")
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    (folder / "open" / "old.txt").write_text("old")
    text = processes.text_of(folder, 20)
    for words, says in (
        (["convert", good, "-o", "new.txt"], "new.txt: expected a file to write, got: Permission denied."),
        (["convert", good, "-o", "old.txt"], "old.txt: expected a file to write, got: Permission denied."),
        (["convert", good, "-o", "open/old.txt"], "open/old.txt: expected a file to write, got: Permission denied."),
        (["convert", "secret.txt", "-o", "open/a.txt"], "secret.txt: expected a file to read, got: Permission denied."),
        (["average", good, "-o", "open/a.txt", "--hits", "h.jsonl"], "h.jsonl: expected a file to write, got: Perm"),
        (["fit", "on-lstm", text, "-o", "model", *processes.FIT], "expected a folder to write into, got: Permission"),
    ):
        cache = processes.environment(NUMBA_CACHE_DIR=str(folder / "open"), HOME=str(folder / "open"))
        done = subprocess.run([*_USER, *processes.command(*words)], cwd=folder, env=cache, capture_output=True)
        if b"No module named" in done.stderr or b"can't open" in done.stderr:
            yield f"skipped: that user cannot read {ROOT}"
            return
        yield refused(done, says)
    yield None if old.read_text() == (folder / "open" / "old.txt").read_text() == "old" else "a file was replaced"
    left = {path.name for path in (folder / "open").iterdir()} & {"a.txt"}
    yield None if not left and not debris(folder) else f"left {left} {debris(folder)}"


def kernel_cache(folder: Path, seed: int) -> Iterator[str | None]:
    """Compiled code: its disk is full, it is cut off or not to be written. The same output, a line where it is lost."""
    words = ("convert", processes.TEACHERS[0], "--output-format", "jsonl")
    kept = folder / "kept"
    expected = run(*words, folder=folder, NUMBA_CACHE_DIR=str(kept)).stdout

    def wrong(done: subprocess.CompletedProcess[bytes], told: str) -> str | None:
        lines = [line for line in done.stderr.decode().splitlines() if not line.startswith("treeavg: compiling")]
        good = done.returncode == 0 and done.stdout == expected != b"" and len(lines) == bool(told)
        return None if good and told in "".join(lines) else f"exit code {done.returncode}, {done.stderr[-300:]!r}"

    for number, (pattern, left) in enumerate((pattern, left) for pattern in _KEPT for left in (0, 1, 700, 5_000)):
        copy = folder / f"cut{number}"
        shutil.copytree(kept, copy)
        (file,) = copy.rglob(pattern)
        os.truncate(file, min(left, file.stat().st_size - 1))
        yield wrong(run(*words, folder=folder, NUMBA_CACHE_DIR=str(copy)), "")
    try:
        for kilobytes in (4, 16, 64):
            with small_disk(folder, kilobytes) as place:
                yield wrong(run(*words, folder=folder, NUMBA_CACHE_DIR=str(place)), "No space left on device")
    except OSError as error:
        yield f"skipped: {error}"
    if os.geteuid() == 0 and shutil.which("setpriv") is not None:
        homeless = processes.environment(HOME="/nonexistent")
        homeless.pop("NUMBA_CACHE_DIR", None)
        done = subprocess.run([*_USER, *processes.command(*words)], cwd="/", env=homeless, capture_output=True)
        yield wrong(done, "none that can be written")


def vanishing(folder: Path, seed: int) -> Iterator[str | None]:
    """The output's folder, or the run's, is removed while the work goes on: one line, exit code 2, no traceback."""
    names = processes.larger(folder, 20, files=1)
    for number in range(5):
        place = folder / f"out{number}"
        place.mkdir()
        pipe = folder / f"pipe{number}"
        os.mkfifo(pipe)
        process = subprocess.Popen(
            processes.command("convert", pipe, "-o", f"out{number}/a.txt", "--format", "brackets"),
            cwd=folder, env=processes.environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with pipe.open("wb") as file:
            file.write((folder / names[0]).read_bytes() * 400)  # more than it reads ahead
            file.flush()
            shutil.rmtree(place)
        out, error = process.communicate(timeout=120)
        yield refused(subprocess.CompletedProcess([], process.returncode, out, error), "No such file or directory")
    yield from _vanishing_run(folder)


def _vanishing_run(folder: Path) -> Iterator[str | None]:
    """Where a training can go on without its folder it does, and saves the same parser."""
    words = ["fit", "on-lstm", processes.text_of(folder, 200), *processes.FIT, "--epochs", "20"]
    assert run(*words, "-o", "whole", folder=folder).returncode == 0
    expected = processes.digest_of_parser(folder / "whole")
    for number in range(3):
        place = folder / f"model{number}"
        with (folder / "error.txt").open("wb") as log:
            command = processes.command(*words, "-o", place.name)
            process = subprocess.Popen(command, cwd=folder, env=processes.environment(), stderr=log)
        while not list(place.glob("run/checkpoints/step-*")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.2 * number)
        shutil.rmtree(place, ignore_errors=True)
        if process.wait(timeout=300) == 0:
            yield None if processes.digest_of_parser(place) == expected else "another parser was saved"
            continue
        error = (folder / "error.txt").read_bytes()
        yield refused(subprocess.CompletedProcess([], process.returncode, b"", error), place.name)
