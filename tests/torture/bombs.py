"""Decompression bombs and files without end: refused with one line that names the limit, in little memory and time."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import processes
from .processes import refused

#: Bytes that come out of each bomb, and the memory that a process may take on the way, in MB.
OUT, MEMORY = 8 << 30, 1024
#: Of the processor, until it is ended.
SECONDS = 200


def bombs(folder: Path, seed: int) -> Iterator[str | None]:
    """Eight gigabytes of each of these, compressed; and devices that never end."""
    kinds = {
        "zeros": bytes(1 << 20), "spaces": b" " * (1 << 20), "lines": b"\n" * (1 << 20),
        "brackets": b"(" * (1 << 20), "one word": b"a" * (1 << 20), "one tree": b"(X a)\n" * (1 << 17),
    }  # fmt: skip
    for suffix in (".txt.gz", ".jsonl.gz", ".export.gz", ".conllu.gz", ".heads.gz", ".mrg.gz", ".txt.zst"):
        for kind, block in kinds.items():
            path = folder / f"bomb{suffix}"
            if not _write(path, block):
                continue
            wrong, seconds, memory = judged(folder, path.name)
            path.unlink()
            yield None if wrong is None else f"{suffix}, {kind}: {seconds:.0f} s, {memory} MB: {wrong}"
    for device in ("/dev/zero", "/dev/full"):
        wrong, seconds, memory = judged(folder, device)
        yield None if wrong is None else f"{device}: {seconds:.0f} s, {memory} MB: {wrong}"


def judged(folder: Path, name: str) -> tuple[str | None, float, int]:
    """Convert a bomb; return what is wrong, if anything is, the seconds of the processor that it took, and the MB."""
    with (folder / "error.txt").open("wb") as log:
        process = subprocess.Popen(
            processes.command("convert", name, "-o", "out.txt"), cwd=folder, env=processes.environment(),
            stderr=log, stdout=subprocess.DEVNULL, preexec_fn=_limited,
        )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    error, memory = (folder / "error.txt").read_bytes(), used.ru_maxrss >> 10
    done = subprocess.CompletedProcess([], process.returncode, b"", error)
    wrong = refused(done, ": expected ") or ("memory" if b"memory: expected" in error or memory > MEMORY else None)
    return wrong, used.ru_utime + used.ru_stime, memory


def _limited() -> None:
    """Let no bomb harm the machine."""
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 30, 2 << 30))


def _write(path: Path, block: bytes) -> bool:
    """Write a bomb; False where there is no compressor. Members that repeat one block make it in no time."""
    if path.suffix == ".gz":
        member = gzip.compress(block * 64, 9, mtime=0)
        path.write_bytes(member * (OUT // len(block) // 64))
        return True
    try:
        import zstandard
    except ImportError:
        return False
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as writer:
        for _ in range(OUT // len(block)):
            writer.write(block)
    return True
