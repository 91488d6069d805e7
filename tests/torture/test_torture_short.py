"""The short form of the torture: some thousand inputs, some faults, two kills; and whether failures are noticed."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from treeavg import cli
from treeavg.errors import FormatError

from . import faults, fuzz_worker, kill, processes
from .board import Board
from .command_line_target import CommandLine
from .mutations import random_input, seeds
from .readers import Reader, names, other_seeds
from .wrapped import maker_of

INPUTS = 15 if os.environ.get("TREEAVG_HYPOTHESIS") == "small" else 150


@pytest.fixture(autouse=True)
def _own_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers are given a standard input of ours; the command line's parser is made once."""
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    monkeypatch.setattr(cli, "build_parser", cli.build_parser)


@pytest.mark.parametrize("name", names())
def test_readers(name: str, tmp_path: Path) -> None:
    """Changed files of every format: a treebank or a message, and nothing else; some are still read."""
    corpus = {**seeds(), **other_seeds()}[name]
    reader, make, generator = Reader(name, tmp_path), maker_of(name), random.Random(f"short {name}")
    good = [data for data in corpus if reader.failure(data, blocks=True) == (True, None)]
    assert 2 * len(good) >= len(corpus)
    accepted = 0
    for number in range(INPUTS):
        data = make(generator, corpus, good)
        read, wrong = reader.failure(data, blocks=number % 8 == 0)
        assert wrong is None, (wrong, data)
        accepted += read
    assert accepted or INPUTS < 100


def test_command_line(tmp_path: Path) -> None:
    """Arguments and files of all kinds: exit codes 0 to 2, one line, outputs whole or absent."""
    target, generator = CommandLine(tmp_path), random.Random("short")
    accepted = 0
    for _ in range(INPUTS // 3):
        data = target.random_input(generator, [], [])
        done, wrong = target.failure(data, blocks=False)
        assert wrong is None, (wrong, data)
        accepted += done
    assert accepted


# ---------------------------------------------------------------------- would it notice?


class Broken(Reader):
    """A reader that fails in a way of one's choice."""

    def __init__(self, folder: Path, answer: Any) -> None:
        self.answer: Any = lambda bank, skip, block: bank
        super().__init__("brackets", folder)
        self.answer = answer

    def read(self, data: bytes, *, skip: bool = False, block: int | None = None) -> Any:
        return self.answer(super().read(data, skip=skip, block=block), skip, block)


def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda bank, skip, block: _raise(KeyError("x")), "raised KeyError"),
        (lambda bank, skip, block: FormatError("something is wrong"), "message: something is wrong"),
        (lambda bank, skip, block: FormatError("a: expected b, got c.\nd"), "message: "),
        (lambda bank, skip, block: FormatError("<stdin>:9: expected b, got c."), "message names line 9 of 2"),
        (lambda bank, skip, block: bank if block is None else bank[:0], "in blocks of a byte"),
        (lambda bank, skip, block: bank[:0] if skip else bank, "with on_error='skip'"),
    ],
)
def test_failures_are_noticed(tmp_path: Path, answer: Any, says: str) -> None:
    data = b"(S (X a) (X b))\n"
    assert Reader("brackets", tmp_path).failure(data, blocks=True) == (True, None)
    _, wrong = Broken(tmp_path, answer).failure(data, blocks=True)
    assert wrong is not None
    assert says in wrong


def test_trees_that_come_back_otherwise_are_noticed(tmp_path: Path) -> None:
    """A writer that loses a sentence, and a treebank that breaks its own rules."""

    class Lossy(Reader):
        def _written(self, bank: Any) -> bytes:
            return super()._written(bank[:1])

    data = b"(S (X a) (X b))\n(X a)\n"
    _, wrong = Lossy("brackets", tmp_path).failure(data, blocks=False)
    assert wrong is not None
    assert "read back as" in wrong

    def crossing(bank: Any, skip: bool, block: int | None) -> Any:
        if not isinstance(bank, Exception):
            bank.starts = bank.starts + 1
        return bank

    _, wrong = Broken(tmp_path, crossing).failure(data, blocks=False)
    assert wrong is not None
    assert wrong.startswith("raised FormatError")


def test_a_failure_is_kept_once_with_its_input(tmp_path: Path) -> None:
    class Target:
        name = "x"

        def failure(self, data: bytes, *, blocks: bool) -> tuple[bool, str | None]:
            return False, f"raised KeyError: {data!r}\nfile:3" if data else None

    with Board(tmp_path / "board", fresh=True) as board:
        trial = fuzz_worker.Trial(Target(), board, tmp_path / "failures")
        for data in (b"", b"1", b"2"):
            trial(data)
        assert board.read() == (2, 0, 1, b"2")
        trial.finish()
        assert board.read() == (3, 0, 2, b"")
    assert [path.read_bytes() for path in (tmp_path / "failures").glob("*.bin")] == [b"2"]


def test_the_command_line_s_failures_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback, another exit code, two lines, a file that is written in spite of an error."""
    data = b'{"argv": ["convert", "a.txt", "-o", "out.txt"], "files": {}, "there": false}'
    target = CommandLine(tmp_path)
    assert target.failure(data, blocks=False) == (True, None)

    def fails(error: str, code: int, written: bool = False) -> Any:
        def main(argv: list[str]) -> int:
            if written:
                Path("out.txt").write_text("x")
            print(error, file=sys.stderr)
            return code

        return main

    for main, says in (
        (fails("Traceback (most recent call last)", 1), "a traceback"),
        (fails("treeavg: a", 3), "exit code 3"),
        (fails("treeavg: a\nb", 2), "not one line"),
        (fails("treeavg: a", 2, written=True), "written in spite of an error"),
        (fails("", 0), "not written"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(cli, "main", main)
            _, wrong = target.failure(data, blocks=False)
        assert wrong is not None
        assert says in wrong


# ---------------------------------------------------------------------- kills and faults


@pytest.mark.compiled
def test_two_kills_of_an_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of processes of their own: the output is absent or whole, and the same when it is run again."""
    monkeypatch.setattr(kill, "SENTENCES", 2500)
    assert kill.kill(["average"], kills=2, work=tmp_path, seed=1, forked=False) == 0


def test_another_result_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that depends on when it was begun is counted as failed."""
    program = """
import sys, time
from pathlib import Path
Path('out/started').touch()
time.sleep(0.2)
old = Path('out/a').read_text() if Path('out/a').exists() else ''
Path('out/a').write_text(old + 'x')
time.sleep(0.5)
"""
    monkeypatch.setattr(processes, "command", lambda *words: [sys.executable, "-c", program, *map(str, words)])
    case = kill.Case("toy", lambda folder: ["x"], (), "out/a", kill._file("out/a"), cleans=False)
    monkeypatch.setattr(kill, "cases", lambda: {"toy": case})
    monkeypatch.setattr(kill, "EARLY", 0.0)
    monkeypatch.setattr(kill, "AGAIN", 0.0)
    assert kill.kill(["toy"], kills=1, work=tmp_path, seed=1, forked=False) == 1


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("name", list(kill.cases()))
def test_kills(name: str, tmp_path: Path) -> None:
    assert kill.kill([name], kills=3, work=tmp_path, seed=2) == 0


QUICK = ["read-errors", "flips-.txt", "flips-.jsonl", "flips-brackets.gz", "flips-parquet"]


@pytest.mark.parametrize("name", QUICK)
def test_faults(name: str, tmp_path: Path) -> None:
    """Those that need no process of their own."""
    assert faults.faults([name], flips=INPUTS, work=tmp_path, seed=3) == 0


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("name", [name for name in faults.CASES if name not in QUICK])
def test_slow_faults(name: str, tmp_path: Path) -> None:
    assert faults.faults([name], flips=30, work=tmp_path, seed=3) == 0


def test_a_fault_that_is_not_met_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def case(folder: Path, seed: int) -> Any:
        yield from (None, "went wrong", "note: seen", "skipped: no root")

    monkeypatch.setitem(faults.CASES, "toy", case)
    assert faults.faults(["toy"], flips=1, work=tmp_path, seed=0) == 1
    assert '"good": 1' in (tmp_path / "counts" / "fault-toy.json").read_text()


@pytest.mark.slow
@pytest.mark.compiled
def test_a_fuzzer_guided_by_coverage(tmp_path: Path) -> None:
    """The instrumented round finds inputs that the seeds do not hold; a second call goes on, and has nothing to do."""
    pytest.importorskip("atheris", reason="atheris is not installed")
    from . import fuzz

    assert fuzz.fuzz(["heads"], inputs=4000, work=tmp_path, seed=0) == 0
    corpus = list((tmp_path / "corpus" / "heads").iterdir())
    assert len(corpus) > len(seeds()["heads"]) + 20
    begun = (tmp_path / "counts" / "heads.json").stat().st_mtime_ns
    assert fuzz.fuzz(["heads"], inputs=4000, work=tmp_path, seed=0) == 0
    assert (tmp_path / "counts" / "heads.json").stat().st_mtime_ns == begun


@pytest.mark.slow
@pytest.mark.compiled
def test_commands_guided_by_coverage(tmp_path: Path) -> None:
    """Choices that reach new code are kept, and stand for commands."""
    pytest.importorskip("atheris", reason="atheris is not installed")
    from . import fuzz
    from .wrapped import guided_seeds

    assert fuzz.fuzz(["command-line"], inputs=2000, work=tmp_path, seed=0) == 0
    found = list((tmp_path / "corpus" / "command-line-guided").iterdir())
    assert len(found) > len(guided_seeds("command-line") or []) + 10


def test_mutations_are_seeded() -> None:
    corpus = seeds()["brackets"]
    first, again = ([random_input(random.Random(5), corpus, corpus) for _ in range(3)] for _ in range(2))
    assert first == again
