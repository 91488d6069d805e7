"""SIGKILL at random moments of long work, then the same command again (or ``--resume``): the same final result."""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import processes
from .records import Counts, line

#: Share of the kills that fall before the work begins (imports, reading), and of those that a second kill follows.
EARLY, AGAIN = 0.2, 0.25
#: Of the files that are averaged.
SENTENCES = 20_000


@dataclass(frozen=True)
class Case:
    """A kind of long work.

    Parameters
    ----------
    name : str
    prepare : callable
        Makes the inputs in a folder, returns the command.
    again : tuple of str
        What is added to the command after a kill.
    begun : str
        A pattern of files that are there as soon as the work is under way.
    result : callable
        Folder to a digest of the final result; raises FileNotFoundError where there is none.
    cleans : bool, default True
        Whether the next run removes what was left half written.
    """

    name: str
    prepare: Callable[[Path], list[str]]
    again: tuple[str, ...]
    begun: str
    result: Callable[[Path], str]
    cleans: bool = True


def _file(name: str) -> Callable[[Path], str]:
    return lambda folder: hashlib.sha256((folder / name).read_bytes()).hexdigest()


def _average(folder: Path) -> list[str]:
    return ["average", *processes.larger(folder, SENTENCES), "--no-binary", "-o", "out/average.txt"]


def _cluster(folder: Path) -> list[str]:
    for name in processes.larger(folder, SENTENCES, files=3):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        place = folder / Path(name).stem
        place.mkdir()
        for number in range(8):
            (place / f"{number}.txt").write_bytes(b"".join(lines[number::8]))
    places = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != "out")
    return ["average", *places, "-o", "out", "--cluster", "local", "--workers", "2"]


def _shards(folder: Path) -> str:
    """Return a digest of all shards of a finished job."""
    (folder / "out" / "manifest.json").stat()
    found = hashlib.sha256()
    for path in sorted((folder / "out").glob("*.txt")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def _distill(folder: Path) -> list[str]:
    return ["distill", *processes.larger(folder, 120, files=3), "-o", "out", *processes.DISTILL]


def _fit(folder: Path) -> list[str]:
    return ["fit", "on-lstm", processes.text_of(folder, 120), "-o", "out", *processes.FIT]


def cases() -> dict[str, Case]:
    """Return all kinds of work."""
    parser: Callable[[Path], str] = lambda folder: processes.digest_of_parser(folder / "out")  # noqa: E731
    found = [
        Case("average", _average, (), "out/.average.txt.*.tmp", _file("out/average.txt"), cleans=False),
        Case("distill", _distill, ("--resume",), "out/run/run.json", parser),
        Case("fit", _fit, ("--resume",), "out/run/run.json", parser),
    ]
    if find_spec("treeavg.engine") is not None and find_spec("distributed") is not None:
        found.append(Case("cluster", _cluster, (), "out/.records/job.json", _shards))
    return {case.name: case for case in found}


def kill(names: list[str], *, kills: int, work: Path, seed: int, forked: bool = True) -> int:
    """Kill each kind of work so many times; return how many ended with another result.

    Parameters
    ----------
    names : list of str
        Of `cases`; empty for all.
    kills : int
        Of each.
    work : pathlib.Path
        Where counts and files are kept.
    seed : int
        Of the moments.
    forked : bool, default True
        Fork each process from one that has imported everything; else start it anew.
    """
    line("work", "kills", "same result", "failed", "notes")
    failed = 0
    for name in names or cases():
        case = cases()[name]
        counts = Counts(work / "counts" / f"kill-{name}.json")
        folder = work / "kill" / name
        with processes.Forks() if forked else nullcontext(processes) as forks:
            while counts.values.get("kills", 0) < kills:
                if "whole" not in counts.values:
                    counts.add(_whole_run(case, folder, forks))
                counts.add(_one(case, folder, forks, counts.values, f"{seed}/{name}/{counts.values.get('runs', 0)}"))
        of = counts.values
        notes = (
            f"{of['early']} before any output, {of['left']} left a hidden file half written, {of['late']} runs ended "
            f"first and do not count; a run takes {of['seconds']:.1f} s"
        )
        line(name, of["kills"], of["same"], of["failed"], notes)
        failed += of["failed"]
    return failed


def _fresh(case: Case, folder: Path) -> list[str]:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "here" / "out").mkdir(parents=True)
    return case.prepare(folder / "here")


def _whole_run(case: Case, folder: Path, forks: Any) -> dict[str, object]:
    """Run without a kill, twice (the first may compile); return the result and how long what took."""
    for _ in range(2):
        words = _fresh(case, folder)
        begun = time.monotonic()
        process = forks.start(*words, folder=folder / "here")
        ready = _wait(process, folder / "here", case.begun)
        if process.wait() != 0:
            raise SystemExit(f"kill {case.name}: {(folder / 'log.txt').read_text()[-500:]}")
        seconds = time.monotonic() - begun
    return {"whole": case.result(folder / "here"), "ready": ready - begun, "seconds": seconds}


def _wait(process: Any, folder: Path, pattern: str) -> float:
    """Wait until there is such a file, or the process has ended; return when that was."""
    while process.poll() is None and not processes.has_begun(process.pid, folder, pattern):
        time.sleep(0.003)
    return time.monotonic()


def _one(case: Case, folder: Path, forks: Any, known: dict[str, Any], seed: str) -> dict[str, int]:
    """Run, kill, perhaps kill the next run too, run to the end, compare."""
    generator = random.Random(seed)
    words = _fresh(case, folder)
    here = folder / "here"
    found = {"runs": 1, "kills": 0, "late": 0, "early": 0, "left": 0, "same": 0, "failed": 0}
    for attempt in range(2 if generator.random() < AGAIN else 1):
        process = forks.start(*words, *(case.again if attempt else ()), folder=here)
        moment = generator.random()
        if moment < EARLY:
            time.sleep(moment / EARLY * known["ready"])
        else:
            _wait(process, here, case.begun)
            time.sleep((moment - EARLY) / (1 - EARLY) * (known["seconds"] - known["ready"]))
        begun = processes.has_begun(process.pid, here, case.begun)
        process.kill()
        if process.wait() == 0:
            found["late"] += 1
            continue
        found["kills"] += 1
        found["left"] += bool(processes.debris(here))
        found["early"] += not begun
        found["failed"] += not _absent_or_whole(case, here, str(known["whole"]))
    if not found["kills"]:
        return found
    same = forks.start(*words, *case.again, folder=here).wait() == 0 and case.result(here) == known["whole"]
    if not same or (case.cleans and processes.debris(here)):
        found["failed"] += 1
        shutil.copytree(folder, folder.with_name(f"{case.name}-failed-{seed.replace('/', '-')}"), dirs_exist_ok=True)
    found["same"] += found["kills"] * same
    return found


def _absent_or_whole(case: Case, folder: Path, whole: str) -> bool:
    try:
        return case.result(folder) == whole
    except FileNotFoundError:
        return True
