"""A million sentences on a cluster of this machine, one worker killed halfway, against one process: times, equality.

``python -m benchmarks.cluster TEACHERS SCRATCH [SENTENCES]``: TEACHERS is a folder of teachers' files (one tree a line,
published parser outputs, not part of the project); SCRATCH takes about 2.2 GB for a million sentences of seven teachers
and is emptied of them afterwards. SENTENCES: by default 1,000,000.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks import common
from treeavg.engine.manifest import read_manifest
from treeavg.formats.files import file_digest

SHARD = 25_000


def main(arguments: Sequence[str]) -> None:
    """Write the shards, run, print the table."""
    source, scratch = Path(arguments[0]), Path(arguments[1])
    sentences = int(arguments[2]) if len(arguments) > 2 else 1_000_000
    teachers = multiply(source, scratch / "shards", sentences)
    try:
        run(teachers, scratch, sentences)
    finally:
        for name in ("shards", "one.txt", "cluster", "whole", "here"):
            path = scratch / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def multiply(source: Path, folder: Path, sentences: int) -> list[Path]:
    """Write shards of the teachers' sentences, over and over."""
    folders = []
    for path in sorted(source.glob("*.txt")):
        lines = [line for line in path.read_bytes().split(b"\n") if line]
        own = folder / path.stem
        own.mkdir(parents=True, exist_ok=True)
        for first in range(0, sentences, SHARD):
            size = min(SHARD, sentences - first)
            with (own / f"{first // SHARD:05}.txt").open("wb") as file:
                file.write(b"".join(lines[(first + place) % len(lines)] + b"\n" for place in range(size)))
        folders.append(own)
    return folders


def concatenated(shards: Path, whole: Path) -> Path:
    """Write all shards of a teacher into one file."""
    whole.parent.mkdir(parents=True, exist_ok=True)
    with whole.open("wb") as file:
        for shard in sorted(shards.iterdir()):
            with shard.open("rb") as part:
                shutil.copyfileobj(part, file)
    return whole


def run(teachers: Sequence[Path], scratch: Path, sentences: int) -> None:
    """Time one process and the cluster, and compare what they wrote."""
    read = sum(path.stat().st_size for folder in teachers for path in folder.iterdir())
    whole = [concatenated(folder, scratch / "whole" / f"{folder.name}.txt") for folder in teachers]
    one, cluster, here = scratch / "one.txt", scratch / "cluster", scratch / "here"
    rows = [["run", "seconds", "CPU seconds", "largest process, MB", "equal to one process"]]
    rows.append(["one process, --jobs 1", *timed(common.treeavg("average", *whole, "-o", one, "--jobs", "1")), ""])
    expected = file_digest(one)
    shutil.rmtree(scratch / "whole")
    command = common.treeavg("average", *teachers, "-o", here, "--jobs", "1")
    rows.append(["shards, this process, --jobs 1", *timed(command), same(here, expected)])
    rows.append(["the same again: all shards are kept", *timed(command), same(here, expected)])
    shutil.rmtree(here)
    command = common.treeavg("average", *teachers, "-o", cluster, "--cluster", "local", "--workers", "2")
    rows.append(["--cluster local --workers 2", *timed(command), same(cluster, expected)])
    written = sum(entry["files"]["trees"]["bytes"] for entry in read_manifest(cluster)["shards"])
    shutil.rmtree(cluster)
    rows.append(["the same, one worker killed halfway", *timed(command, kill_in=cluster), same(cluster, expected)])
    common.show(f"{sentences:,} sentences, {len(teachers)} teachers, shards of {SHARD:,}", rows)
    print(f"\nread {read / sentences:,.0f} bytes a sentence, written {written / sentences:,.0f}")
    begun = time.process_time()
    for path in teachers[0].iterdir():
        file_digest(path)
    size = sum(path.stat().st_size for path in teachers[0].iterdir())
    print(f"SHA-256: {size / (time.process_time() - begun) / 1e6:,.0f} MB a CPU second")


def timed(command: Sequence[str], kill_in: Path | None = None) -> list[str]:
    """Run a command; return its seconds, those of its processes on the CPU, and the largest resident set."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    child = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    if kill_in is not None:
        kill_halfway(child.pid, kill_in)
    error = child.stderr.read().decode() if child.stderr else ""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command}: {error}")
    seconds = time.perf_counter() - begun
    return [f"{seconds:.1f}", f"{usage.ru_utime + usage.ru_stime:.1f}", f"{usage.ru_maxrss / 1024:,.0f}"]


def kill_halfway(process: int, folder: Path) -> None:
    """Kill one worker when half of the shards are recorded."""
    total = None
    while True:
        time.sleep(0.05)
        records = len(list((folder / ".records" / "average").glob("*.json")))
        if total is None:
            total = len(list((folder.parent / "shards").glob("*/*"))) // len(list((folder.parent / "shards").iterdir()))
        if records >= total // 2:
            break
    workers = [
        item for item in psutil.Process(process).children(recursive=True) if "spawn_main" in " ".join(item.cmdline())
    ]
    workers[0].send_signal(signal.SIGKILL)


def same(folder: Path, expected: str) -> str:
    """Tell whether a job's shards, end to end, are the expected bytes."""
    import hashlib

    digest = hashlib.sha256()
    for entry in read_manifest(folder)["shards"]:
        digest.update((folder / entry["files"]["trees"]["path"]).read_bytes())
    return "yes" if digest.hexdigest() == expected else "NO"


if __name__ == "__main__":
    main(sys.argv[1:])
