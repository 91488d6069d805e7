"""Real worker processes: the same bytes, whatever is killed and when."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sharding import corpus, joined, treeavg, whole

from treeavg.cli import main
from treeavg.engine import cluster
from treeavg.engine.cluster import ClusterError, told

pytest.importorskip("distributed")

import psutil


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "treeavg", *map(str, arguments)]


def test_local_workers(tmp_path: Path) -> None:
    """Two worker processes write what one process writes, and say nothing; the log is JSON."""
    folders = corpus(tmp_path / "in", sizes=(40, 3, 20, 7, 30))
    treeavg("average", *map(whole, folders), "-o", tmp_path / "one")
    out = tmp_path / "out"
    done = subprocess.run(
        command("average", *folders, "-o", out, "--cluster", "local", "--workers", "2"),
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert joined(out) == (tmp_path / "one").read_bytes()


def test_messages_of_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No Dask, no scheduler, an address that is none, options that do not fit: one line each."""
    folders = [str(folder) for folder in corpus(tmp_path / "in", teachers=2)]
    out = str(tmp_path / "out")

    def refused(*options: str) -> str:
        assert main(["average", *folders, *options]) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "--cluster: expected a folder for the shards, got standard output. Pass -o" in refused("--cluster", "local")
    assert "--workers: expected --cluster local beside it, got none." in refused("--workers", "2", "-o", out)
    assert "--workers: expected at least 1, got 0." in refused("--workers", "0", "--cluster", "local", "-o", out)
    monkeypatch.setattr(cluster, "TIMEOUT", 0.3)
    for address in ("tcp://127.0.0.1:1", "nonsense://x:1", "nonsense://x", "a.txt", "/dev/null", ""):
        error = refused("--cluster", address, "-o", out)
        assert f"--cluster: expected 'local' or the address of a Dask scheduler, got '{address}': " in error
        assert "Start one with 'dask scheduler', and name its address, tcp://HOST:8786." in error
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    error = refused("--cluster", "local", "-o", out)
    assert "--cluster: expected dask to be installed, got none. Run: pip install 'treeavg[scale]'." in error
    assert not os.path.exists(out)


def test_errors_of_workers_in_words() -> None:
    """Workers that die again and again, and workers without treeavg; other errors stay what they are."""
    from distributed.scheduler import KilledWorker

    error = told(KilledWorker("task", None, 3))  # type: ignore[arg-type]
    assert isinstance(error, ClusterError)
    assert str(error) == (
        "cluster: expected workers that finish a shard, got 11 that died over the same one. Give them more memory, or "
        "cut the input into smaller shards. Run the same command again: it goes on with the shards that are not done."
    )
    assert str(told(ImportError("No module named 'treeavg'"))).startswith("cluster: expected treeavg ")
    other = ValueError("x")
    assert told(other) is other


# ---------------------------------------------------------------- long: kill what can be killed


@pytest.fixture(scope="module")
def long_job(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], bytes]:
    """Teachers whose average takes some seconds, and what it is."""
    root = tmp_path_factory.mktemp("long")
    folders = corpus(root / "in", teachers=3, sizes=[400])
    for folder in folders:
        text = (folder / "8.txt").read_bytes() * 15
        for number in range(24):
            (folder / f"{number}.txt").write_bytes(text)
    treeavg("average", *map(whole, folders), "-o", root / "one.txt")
    return folders, (root / "one.txt").read_bytes()


class Run:
    """A job in a process of its own."""

    def __init__(self, folders: list[Path], out: Path, where: str = "local") -> None:
        self.out = out
        options = ["--workers", "2"] if where == "local" else []
        self.process = subprocess.Popen(
            command("average", *folders, "-o", out, "--cluster", where, *options),
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def records(self) -> int:
        return len(list((self.out / ".records/average").glob("*.json")))

    def wait_for(self, records: int) -> None:
        while self.records() < records and self.process.poll() is None:
            time.sleep(0.02)

    def children(self) -> list[Any]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[Any]:
        return [child for child in self.children() if "spawn_main" in " ".join(child.cmdline())]

    def end(self) -> tuple[int, str]:
        error = self.process.communicate(timeout=300)[1].decode()
        return self.process.returncode, error


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Return the output's folder."""
    yield tmp_path / "out"
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_workers(long_job: tuple[list[Path], bytes], out: Path, seed: int) -> None:
    """Three workers are killed at random moments; the job goes on by itself."""
    folders, expected = long_job
    generator = random.Random(seed)
    run = Run(folders, out)
    killed = 0
    for moment in sorted(generator.sample(range(1, 20), 3)):
        run.wait_for(moment)
        time.sleep(generator.random() / 10)
        workers = run.workers()
        if workers and run.process.poll() is None:
            generator.choice(workers).kill()
            killed += 1
    assert run.end() == (0, "")
    assert killed
    assert joined(out) == expected
    assert not list(out.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_job_and_a_rerun(long_job: tuple[list[Path], bytes], out: Path, number: signal.Signals) -> None:
    """No process stays, no half-written file is taken for a whole one, and the same command goes on."""
    folders, expected = long_job
    run = Run(folders, out)
    run.wait_for(5)
    children = run.children()
    if number == signal.SIGINT:
        os.killpg(run.process.pid, number)  # as a terminal does: to all of them
    else:
        run.process.send_signal(number)
    code, error = run.end()
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    if number != signal.SIGKILL:
        assert error == (
            "treeavg: interrupted; shards that are done are kept, the same command goes on with the others.\n"
        )
        assert not list(out.rglob("*.tmp"))
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive
    assert not (out / "manifest.json").exists()
    code, error = Run(folders, out).end()
    assert (code, error.endswith(" of 24 shards were done before and are kept.\n")) == (0, True)
    assert joined(out) == expected


@pytest.mark.slow
def test_a_killed_scheduler(long_job: tuple[list[Path], bytes], out: Path) -> None:
    """A scheduler that was started by hand is killed and started again; the job goes on."""
    folders, expected = long_job
    port = "18787"
    address = f"tcp://127.0.0.1:{port}"

    def start() -> list[subprocess.Popen[bytes]]:
        dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return [
            subprocess.Popen([*dask, "--host", "127.0.0.1", "--port", port, "--no-dashboard"], **quiet),
            *(subprocess.Popen([*worker, "--death-timeout", "10"], **quiet) for _ in range(2)),
        ]

    def stop(processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=60)

    processes = start()
    try:
        run = Run(folders, out, address)
        run.wait_for(5)
        processes[0].kill()
        assert run.end() == (
            2,
            "treeavg: cluster: expected a scheduler that answers, got none any more. Run the same command again: it "
            "goes on with the shards that are not done.\n",
        )
    finally:
        stop(processes)
    processes = start()
    try:
        code, error = Run(folders, out, address).end()
    finally:
        stop(processes)
    assert (code, error.endswith(" of 24 shards were done before and are kept.\n")) == (0, True)
    assert joined(out) == expected
