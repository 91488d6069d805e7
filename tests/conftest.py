"""Shared by all tests: hypothesis profiles, the shared data, small makers of trees."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile("full", derandomize=True, deadline=None, max_examples=150, suppress_health_check=_QUIET)
settings.register_profile("small", derandomize=True, deadline=None, max_examples=12, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("TREEAVG_HYPOTHESIS", "full"))


def pytest_configure(config: pytest.Config) -> None:
    """Without the compiler, NumPy warns where a product of 64-bit hashes wraps, as it is meant to."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        config.addinivalue_line("filterwarnings", "ignore:overflow encountered in scalar multiply:RuntimeWarning")


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of published parser outputs, or skip."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is absent: published parser outputs are not part of the project")
    return SHARED


@pytest.fixture(autouse=True, scope="module")
def _imports_are_kept(request: pytest.FixtureRequest) -> None:
    """Leave imports out of garbage collection: each start of a training collects, which took most of its time."""
    if "sequences" in request.path.parts:
        gc.freeze()


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run tests of models on one thread: with a few thousand weights, threads mostly wait for each other."""
    if not {"sequences", "parsers"} & set(request.path.parts):
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
