"""Kernels whose machine code cannot be kept: compiled again in every run, and said once."""

import errno
import logging
import os
from pathlib import Path
from typing import Any

import numba.core.caching
import numpy as np
import pytest

from treeavg import kernels

MESSAGE = (
    "treeavg: NUMBA_CACHE_DIR: expected a folder to keep compiled code in, got: %s. "
    "Set it to another; else every run compiles again, for some seconds."
)


def double(values: np.ndarray) -> np.ndarray:
    return values * 2


@pytest.mark.compiled
def test_kernels_run_where_no_folder_can_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(numba.core.caching.CompileResultCacheImpl, "_locator_classes", [])
    kernels._say_not_kept.cache_clear()
    with caplog.at_level(logging.WARNING, logger="treeavg"):
        for _ in range(2):
            assert kernels.kernel(double)(np.arange(3)).tolist() == [0, 2, 4]
    assert [record.getMessage() for record in caplog.records] == [MESSAGE % "none that can be written"]


@pytest.mark.compiled
def test_kernels_run_where_the_disk_is_full(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "save", full)
    kernels._say_not_kept.cache_clear()
    with caplog.at_level(logging.WARNING, logger="treeavg"):
        for _ in range(2):
            assert kernels.kernel(double)(np.arange(3)).tolist() == [0, 2, 4]
    assert [record.getMessage() for record in caplog.records] == [MESSAGE % "No space left on device"]


@pytest.mark.compiled
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("left", [0, 60, 1_000])
def test_damaged_machine_code_is_compiled_and_kept_again(
    kind: str, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path))
    assert kernels.kernel(double)(np.arange(3)).tolist() == [0, 2, 4]
    (kept,) = tmp_path.rglob(f"*.{kind}")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:left])
    assert kernels.kernel(double)(np.arange(3)).tolist() == [0, 2, 4]
    assert len(kept.read_bytes()) > left
    again: Any = kernels.kernel(double)
    assert again(np.arange(3)).tolist() == [0, 2, 4]
    assert sum(again.stats.cache_hits.values()) == 1


@pytest.mark.compiled
def test_machine_code_that_cannot_be_read_now_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path))
    kernels.kernel(double)(np.arange(3))
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.nb*")}

    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(numba.core.caching.IndexDataCacheFile, "load", broken)
        patch.setattr(numba.core.caching.IndexDataCacheFile, "save", broken)
        assert kernels.kernel(double)(np.arange(3)).tolist() == [0, 2, 4]
    assert kept == {path: path.read_bytes() for path in tmp_path.rglob("*.nb*")} != {}


@pytest.mark.compiled
def test_other_errors_of_numba_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(kernels, "njit", fail)
    with pytest.raises(RuntimeError, match="something else"):
        kernels.kernel(double)
