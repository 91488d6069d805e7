"""Files of any size: time and memory of whole processes from a thousand to a million sentences, and each stage's floor.

``python -m benchmarks.scale [--most N] [--folder FOLDER] [TEACHER ...]``: the teachers' files, one tree a line, are put
end to end until they hold 10^3, 10^4, ... up to N sentences (a million), in a temporary folder. Without teachers the
sample of ``data/`` is used. A million sentences of seven teachers take about 3 GB of disk.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import treeavg
from benchmarks import common
from benchmarks.average import _max_plus, _sum_bytes
from treeavg.averaging.hits import Rows
from treeavg.averaging.weights import whole_weights
from treeavg.formats import BATCH, AlignedReader, Columns
from treeavg.formats.brackets import serialize

ROOT = Path(__file__).resolve().parent.parent
BUDGET_SECONDS, BUDGET_MB = 60, 400


def main(arguments: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("teachers", nargs="*", type=Path)
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the large files are made for a while")
    chosen = parser.parse_args(arguments)
    teachers = chosen.teachers or sorted((ROOT / "data" / "teachers").glob("*.txt"))
    sizes = [10**power for power in range(3, 10) if 10**power <= chosen.most]
    print(
        f"load of the machine before: {', '.join(f'{load:.2f}' for load in os.getloadavg())}; other work spoils times"
    )
    with tempfile.TemporaryDirectory(dir=chosen.folder) as temporary:
        folder = Path(temporary)
        rows = [["whole process", "sentences", "MB read", "seconds", "peak MB", "sentences/s"]]
        for size in sizes:
            paths = multiplied(teachers, size, folder / str(size))
            rows += processes(paths, size, folder)
            if size != sizes[-1]:
                for path in paths:
                    path.unlink()
        common.show(
            f"{len(teachers)} teachers, {len(os.sched_getaffinity(0))} cores "
            f"(budget of a million averaged: {BUDGET_SECONDS} s, {BUDGET_MB} MB)",
            rows,
        )
        stages(paths, sizes[-1], folder)


def multiplied(teachers: list[Path], sentences: int, folder: Path) -> list[Path]:
    """Write the teachers' trees end to end, over and over."""
    folder.mkdir()
    paths = []
    for number, teacher in enumerate(teachers):
        lines = teacher.read_bytes().splitlines()
        text = b"".join(line + b"\n" for line in lines)
        path = folder / f"{number}-{teacher.name}"
        with path.open("wb") as file:
            for _ in range(sentences // len(lines)):
                file.write(text)
            file.writelines(line + b"\n" for line in lines[: sentences % len(lines)])
        paths.append(path)
    return paths


def processes(paths: list[Path], sentences: int, folder: Path) -> Iterator[list[str]]:
    """Yield a row for each verb: average, then what is done with averages."""
    average, table = folder / "average.txt", folder / "average.parquet"
    runs = 3 if sentences <= 10_000 else 1
    verbs = [
        ("average", [*paths, "-o", average], paths),
        ("average, standard input", [*paths[1:], "-", "-o", average], paths),
        ("score", ["--gold", paths[0], average], [paths[0], average]),
        ("agree", paths, paths),
        ("convert to .parquet", [average, "-o", table], [average]),
        ("convert from .parquet", [table, "-o", average], [table]),
        ("convert to .zst", [average, "-o", folder / "average.txt.zst"], [average]),
        ("convert to .mrg", [average, "-o", folder / "average.mrg"], [average]),
        ("convert from .mrg", [folder / "average.mrg", "-o", average], [folder / "average.mrg"]),
    ]
    for name, arguments, read in verbs:
        verb = name.split(",")[0].split(" ")[0]
        given = paths[0] if "-" in arguments else None
        seconds, peak = process(common.treeavg(verb, *arguments), runs, given)
        size = sum(path.stat().st_size for path in read) / 1e6
        yield [name, f"{sentences:,}", f"{size:,.1f}", f"{seconds:.2f}", f"{peak:.0f}", f"{sentences / seconds:,.0f}"]


def process(command: list[str], runs: int, given: Path | None = None) -> tuple[float, float]:
    """Run a command as a whole process, once more for the caches; return the least seconds and the largest memory."""
    seconds, peak = [], 0.0
    for _ in range(runs):
        begin = time.perf_counter()
        with open(given or os.devnull, "rb") as stream:
            child = subprocess.Popen(command, stdin=stream, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.stderr is not None
        if child.returncode:
            raise SystemExit(f"{command}: {child.stderr.read().decode()}")
        child.stderr.close()
        seconds.append(time.perf_counter() - begin)
        peak = max(peak, usage.ru_maxrss / 1024)
    return min(seconds), peak


def stages(paths: list[Path], sentences: int, folder: Path) -> None:
    """One process, one thread: where the time of averaging goes, beside the least that each stage could cost.

    Batches are timed one after another, so that the files never lie in memory.
    """
    columns = [Columns(tokens=number == 0, labels=False) for number in range(len(paths))]
    weights, _ = whole_weights(None, len(paths))
    cells = np.zeros(4096, np.int32)
    spent = dict.fromkeys(("disk", "read", "hits", "average", "write"), 0.0)
    floors = dict.fromkeys(("read", "average", "write"), 0.0)
    steps = written = 0.0
    with (folder / "stages.txt").open("wb") as file:
        for number, banks in enumerate(itertools.chain([None], AlignedReader(paths, columns=columns, jobs=1))):
            if banks is None:  # kernels are loaded by a first call, which is not counted
                banks = next(iter(AlignedReader(paths, columns=columns, jobs=1, batch=10)))
            lengths = banks[0].lengths
            marks = [time.perf_counter()]
            Rows.of(banks, lengths).hits(weights, 0, len(lengths))
            marks.append(time.perf_counter())
            result = treeavg.average(banks, jobs=1)
            marks.append(time.perf_counter())
            data = serialize(result)
            file.write(data if number else b"")
            marks.append(time.perf_counter())
            work = float((lengths.astype(np.float64) ** 3 / 6).sum())
            _max_plus(cells, int(work))
            marks.append(time.perf_counter())
            _sum_bytes(np.frombuffer(data, np.uint8))
            marks.append(time.perf_counter())
            if number:
                for place, (table, key) in enumerate(_MARKS):
                    (spent if table == "spent" else floors)[key] += marks[place + 1] - marks[place]
                steps, written = steps + work, written + len(data)
    spent["disk"] = timed(lambda: [_drain(path) for path in paths])
    floors["read"] = timed(lambda: [_pass_over(path) for path in paths])
    spent["read"] = timed(lambda: _read_all(paths, columns))
    show_stages(paths, sentences, spent, floors, (steps, written))


#: What is timed of each batch, in this order.
_MARKS = (("spent", "hits"), ("spent", "average"), ("spent", "write"), ("floor", "average"), ("floor", "write"))


def show_stages(
    paths: list[Path], sentences: int, spent: dict[str, float], floors: dict[str, float], made: tuple[float, float]
) -> None:
    """Print the table of stages."""
    size = sum(path.stat().st_size for path in paths) / 1e6
    total = spent["read"] + spent["average"] + spent["write"]
    told = {
        "disk": ("disk: the bytes as they are", None, "part of reading; from the system's cache where it holds them"),
        "read": ("read and scan", floors["read"], f"a sum over {size:,.0f} MB as they come from disk"),
        "hits": ("hit counts (part of the next)", None, ""),
        "average": ("hit counts, charts, trees", floors["average"], f"n^3/6 = {made[0] / 1e9:.1f} G max-plus steps"),
        "write": ("write", floors["write"], f"a sum over {made[1] / 1e6:,.0f} MB"),
    }
    rows = [[f"{len(paths)} x {sentences:,} sentences, one thread", "seconds", "share", "floor, s", "the floor is"]]
    for key, (name, floor, what) in told.items():
        share = "" if key in ("disk", "hits") else f"{100 * spent[key] / total:.0f} %"
        rows.append([name, f"{spent[key]:.2f}", share, "" if floor is None else f"{floor:.2f}", what])
    rows.append(["read, average, write", f"{total:.2f}", "100 %", f"{sum(floors.values()):.2f}", ""])
    common.show("Stages", rows)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _read_all(paths: list[Path], columns: list[Columns]) -> None:
    for _ in AlignedReader(paths, columns=columns, jobs=1, batch=BATCH):
        pass


def _drain(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def _pass_over(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            _sum_bytes(np.frombuffer(block, np.uint8))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
