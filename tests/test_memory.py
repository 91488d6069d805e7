"""Memory that is given back: code that nobody changed, and nothing else."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from treeavg import memory
from treeavg.memory import give_back_memory, resident_memory


def part(addresses: str, rights: str, path: str, **sizes: int) -> str:
    rows = {"Size": 8, "Rss": 8, "Anonymous": 0, "Swap": 0, **sizes}
    return (
        f"{addresses} {rights} 00003000 fe:00 260850                     {path}\n"
        + "".join(f"{name + ':':16}{kilobytes:8} kB\n" for name, kilobytes in rows.items())
        + "VmFlags: rd ex mr mw me \n"
    )


def test_only_unchanged_code_of_files_is_let_go() -> None:
    smaps = "".join(
        (
            part("1000-3000", "r-xp", "/usr/lib/libone.so"),
            part("3000-4000", "r--p", "/usr/lib/libone.so"),  # constants: tables in them are written at loading
            part("4000-5000", "rw-p", "/usr/lib/libone.so"),
            part("5000-6000", "r-xp", "/usr/lib/patched.so", Anonymous=4),
            part("6000-7000", "r-xp", "/usr/lib/patched.so", Swap=4),
            part("7000-8000", "r-xs", "/memfd:code (deleted)"),
            part("8000-9000", "r-xp", ""),  # compiled in memory
            part("9000-a000", "r-xp", "[vdso]"),
            part("ffffffffff600000-ffffffffff601000", "r-xp", "[vsyscall]"),
            part("a000-c000", "r-xp", "/home/a b/libtwo.so"),
        )
    )
    assert list(memory._unchanged_parts(smaps)) == [(0x1000, 0x3000), (0xA000, 0xC000)]


def test_what_is_used_again_comes_back() -> None:
    import numpy as np

    before = np.linalg.inv(np.eye(3) * 2)
    for _ in range(3):
        give_back_memory()
        assert (np.linalg.inv(np.eye(3) * 2) == before).all()
    assert resident_memory() > 2**20


@pytest.mark.parametrize("has_proc", [True, False])
def test_what_the_system_is_told(has_proc: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, ...]] = []
    library = SimpleNamespace(
        malloc_trim=lambda kept: told.append((kept,)),
        madvise=lambda start, size, advice: told.append((start.value, size.value, advice)),
    )

    def smaps(*_: object, **__: object) -> str:
        if not has_proc:
            raise FileNotFoundError
        return part("1000-3000", "r-xp", "/usr/lib/libone.so")

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(Path, "read_text", smaps)
    give_back_memory()
    assert told == ([(0,), (0x1000, 0x2000, 4)] if has_proc else [(0,)])


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given back, and nothing is said."""
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: SimpleNamespace())
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read"))
    give_back_memory()
