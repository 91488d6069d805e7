"""Averages: whole processes against the budgets, and each part inside a process against its floor."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numba import njit

import treeavg
from benchmarks import common
from treeavg.averaging.hits import Rows
from treeavg.averaging.weights import whole_weights
from treeavg.formats import Columns, TreebankReader
from treeavg.formats.brackets import serialize

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Print two tables."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole_processes(folder)
        parts(folder)


def whole_processes(folder: Path) -> None:
    """Whole processes, with the largest resident set."""
    rows = [["whole process", "seconds", "budget", "peak MB", "runs"]]
    small = common.corpus(folder / "small", 2400)
    output = folder / "average.txt"
    command = common.treeavg("average", *small, "-o", output)
    seconds, peak = common.process(command, runs=7)
    rows.append(["average 7 x 2,400, warm cache", f"{seconds:.2f}", "1.0", f"{peak:.0f}", "7"])
    first = []
    for run in range(2):
        cache = {"NUMBA_CACHE_DIR": str(folder / f"cache{run}")}
        first.append(common.process(command, runs=1, warm_up=0, environment=cache)[0])
    rows.append(["the same, first run ever (cold compile)", f"{sum(first) / 2:.2f}", "8", "", "2"])
    systems = [*small, output]
    scoring = common.treeavg("score", "--gold", small[0], *systems)
    seconds, peak = common.process(scoring, runs=7)
    rows.append(["score 8 files of 2,400", f"{seconds:.2f}", "1.0", f"{peak:.0f}", "7"])
    large = common.corpus(folder / "large", 240_000)
    size = sum(path.stat().st_size for path in large) / 1e6
    for jobs in (1, 2):
        command = common.treeavg("average", *large, "-o", output, "--jobs", str(jobs))
        seconds, peak = common.process(command, runs=3)
        budget = "6" if jobs == 2 else ""
        rows.append(
            [f"average 7 x 240,000 ({size:.0f} MB), {jobs} job(s)", f"{seconds:.2f}", budget, f"{peak:.0f}", "3"]
        )
    for path in large:
        path.unlink()
    common.show("Whole processes (memory budget: 400 MB whatever the size)", rows)


def parts(folder: Path) -> None:
    """One process: bytes to trees, each stage beside the least that it could cost."""
    paths = common.corpus(folder / "small", 2400)
    data = [path.read_bytes() for path in paths]
    size = sum(map(len, data))
    light = [Columns(tokens=number == 0, labels=False) for number in range(len(paths))]

    def read() -> list[treeavg.Treebank]:
        return [TreebankReader(path, columns=wanted).next(10**6) for path, wanted in zip(paths, light, strict=True)]

    teachers = read()
    lengths = teachers[0].lengths
    weights, _ = whole_weights(None, len(teachers))
    laid = Rows.of(teachers, lengths)
    average = treeavg.average(teachers, jobs=1)
    steps = float((lengths.astype(np.float64) ** 3 / 6).sum())
    everything = np.frombuffer(bytearray(b"".join(data)), np.uint8)
    cells = np.zeros(int((lengths.astype(np.int64) ** 2 / 2).max()) + 1, np.int32)

    times = {
        "read": common.inside(read),
        "scan floor": common.inside(lambda: _sum_bytes(everything)),
        "hits": common.inside(lambda: laid.hits(weights, 0, len(lengths))),
        "average": common.inside(lambda: treeavg.average(teachers, jobs=1)),
        "chart floor": common.inside(lambda: _max_plus(cells, int(steps))),
        "write": common.inside(lambda: serialize(average)),
        "all": common.inside(lambda: serialize(treeavg.average(read()))),
    }
    written = len(serialize(average))
    rows = [
        ["7 x 2,400 sentences inside one process, one thread", "ms", "floor, ms", "the floor is"],
        ["read and scan", _ms(times["read"]), _ms(times["scan floor"]), f"a sum over {size / 1e6:.1f} MB"],
        ["hit counts", _ms(times["hits"]), "", f"{laid.starts.size:,} constituents"],
        ["hit counts, charts, trees", _ms(times["average"]), _ms(times["chart floor"]),
         f"n^3/6 = {steps / 1e6:.1f} M max-plus steps, vectorised"],
        ["write", _ms(times["write"]), "", f"{written / 1e6:.1f} MB"],
        ["from files to bytes, one core a file read, charts on all cores (budget 60)", _ms(times["all"]), "", ""],
    ]  # fmt: skip
    common.show("Parts", rows)
    long_sentences()


def long_sentences() -> None:
    """One sentence, seven random teachers, against the textbook chart in plain Python and in Numba."""
    rows = [["one sentence, 7 random teachers", "ms", "textbook chart, Numba, ms", "ratio"]]
    for length in (20, 50, 100, 500, 2000, 10_000):
        generator = random.Random(length)
        teachers = [treeavg.Treebank.from_constituents([length], [_random(generator, length)]) for _ in range(7)]
        mine = common.inside(lambda teachers=teachers: treeavg.average(teachers, jobs=1), runs=5)
        hits = treeavg.hit_counts(teachers)
        textbook = ""
        ratio = ""
        if length <= 2000:
            dense = np.zeros((length + 1, length + 1), np.int32)
            dense[hits.starts, hits.ends] = hits.whole
            best, back = np.zeros_like(dense), np.zeros_like(dense)
            _textbook(dense[:3, :3].copy(), best[:3, :3].copy(), back[:3, :3].copy())
            begin = time.perf_counter()
            _textbook(dense, best, back)
            seconds = time.perf_counter() - begin
            textbook, ratio = _ms(seconds), f"{seconds / mine:.1f}"
        rows.append(
            [f"{length:,} tokens" + (" (budget 2,000 ms)" if length == 2000 else ""), _ms(mine), textbook, ratio]
        )
    common.show("Long sentences", rows)


def _random(generator: random.Random, length: int) -> list[tuple[int, int]]:
    spans, agenda = [], [(0, length)]
    while agenda:
        begin, end = agenda.pop()
        if end - begin > 1:
            spans.append((begin, end))
            split = generator.randrange(begin + 1, end)
            agenda += [(begin, split), (split, end)]
    return spans


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f}"


@njit
def _sum_bytes(data):  # type: ignore[no-untyped-def]
    total = 0
    for place in range(data.shape[0]):
        total += data[place]
    return total


@njit
def _max_plus(cells, steps):  # type: ignore[no-untyped-def]
    """The work of `steps` max-plus steps over contiguous cells, in passes as long as the cells allow."""
    width = cells.shape[0] // 2
    left, right = cells[:width], cells[width : 2 * width]
    for _ in range(steps // width):
        for place in range(width):
            left[place] = max(left[place], np.int32(right[place] + np.int32(1)))
    return left[0]


@njit
def _textbook(hits, best, back):  # type: ignore[no-untyped-def]
    """The recurrence as papers print it, compiled."""
    n = hits.shape[0] - 1
    for width in range(2, n + 1):
        for begin in range(n - width + 1):
            end = begin + width
            most, where = best[begin, begin + 1] + best[begin + 1, end], begin + 1
            for split in range(begin + 2, end):
                value = best[begin, split] + best[split, end]
                if value > most:
                    most, where = value, split
            best[begin, end] = most + hits[begin, end]
            back[begin, end] = where


if __name__ == "__main__":
    sys.exit(main())
