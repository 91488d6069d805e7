"""Fuzzing, round by round: each is a process of its own, watched from here; a run that is stopped goes on later."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from .board import Board
from .records import Counts, keep_failure, line

#: Of all inputs of a reader, the share of each mode; and inputs a round.
SHARES = {"instrumented": 0.15, "bounds": 0.05, "compiled": 0.8}
ROUND = {"instrumented": 15_000, "bounds": 10_000, "compiled": 25_000}
#: Seconds in which a worker gets ready (kernels may be compiled), and then for one input, which may be a training.
START, STUCK = 600.0, 300.0


def fuzz(names: list[str], *, inputs: int, work: Path, seed: int) -> int:
    """Fuzz readers; return the number of inputs that failed."""
    from .readers import names as readers
    from .readers import other_seeds

    known = [*readers(), "command-line"]
    if unknown := set(names) - set(known):
        raise SystemExit(f"fuzz: expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    from .mutations import seeds

    given = {**seeds(), **other_seeds(), "command-line": [b""]}
    line("reader", "inputs", "accepted", "failed", "by mode: inputs (accepted)")
    failed = 0
    for name in names or known:
        corpus = work / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        for data in given[name]:
            (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
        counts = Counts(work / "counts" / f"{name}.json")
        for mode, share in SHARES.items():
            _mode(name, mode, round(inputs * share), counts, work, seed)
        total = {key: sum(of[key] for of in counts.values.values()) for key in ("inputs", "accepted", "failed")}
        modes = ", ".join(f"{mode} {of['inputs']:,} ({of['accepted']:,})" for mode, of in counts.values.items())
        line(name, *total.values(), modes)
        failed += total["failed"]
    return failed


def _mode(name: str, mode: str, inputs: int, counts: Counts, work: Path, seed: int) -> None:
    """Go on until there are so many inputs of a mode."""
    while (done := counts.values.get(mode, {}).get("inputs", 0)) < inputs:
        number = counts.values.get(mode, {}).get("rounds", 0)
        begun = time.monotonic()
        found = _round(name, mode, number, min(ROUND[mode], inputs - done), work, seed)
        counts.add({**found, "rounds": 1, "seconds": round(time.monotonic() - begun, 1)}, under=mode)


def _round(name: str, mode: str, number: int, count: int, work: Path, seed: int) -> dict[str, int]:
    path = work / "boards" / f"{name}.board"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if mode == "instrumented":
        environment["NUMBA_DISABLE_JIT"] = "1"
    if mode == "bounds":
        environment.update(NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str((work / "boundscheck").resolve()))
    command = [sys.executable, "-m", "tests.torture.fuzz_worker", name, mode, number, count, work, seed]
    log = work / "logs" / f"{name}-{mode}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with Board(path, fresh=True) as board, log.open("ab") as errors:
        worker = subprocess.Popen(list(map(str, command)), env=environment, stdout=errors, stderr=errors)
        try:
            why = _watched(worker, board)
        finally:
            worker.kill()
            worker.wait()
        done, accepted, failed, data = board.read()
    if why is not None:
        keep_failure(work / "failures", name, f"{mode}-{number}", f"{why}; see {log}", data)
        failed += 1
        if not done:
            raise SystemExit(f"fuzz {name} ({mode}): {why} before the first input; see {log}")
    return {"inputs": done, "accepted": accepted, "failed": failed}


def _watched(worker: subprocess.Popen[bytes], board: Board) -> str | None:
    """Wait for a worker; return what happened to it, None if all is well."""
    seen, since = -1, time.monotonic()
    while (code := worker.poll()) is None:
        done = board.read()[0]
        if done != seen:
            seen, since = done, time.monotonic()
        if time.monotonic() - since > (STUCK if done > 0 else START):
            return "the worker hung"
        time.sleep(0.2)
    return None if code == 0 else f"the worker ended with {code}"
