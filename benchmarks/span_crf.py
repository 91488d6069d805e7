"""Inside and backward of the span CRF beside torch-struct's and supar's, and time and memory by length.

    python -m benchmarks.span_crf            one thread; on CUDA the same, if there is a card

Peers are timed where they are installed: pip install torch-struct; pip install --no-deps supar.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
import tracemalloc
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from treeavg.distill.span_crf import SpanCRF
from treeavg.report.tables import table

#: Sentences and words in each.
SHAPES = ((32, 5), (32, 10), (32, 20), (32, 30), (32, 40), (32, 60), (8, 100), (8, 200))


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU, one thread"
    peers = _peers()
    print(f"inside and backward of log Z, milliseconds (median of the faster half); {card}; torch {torch.__version__}")
    for dtype in (torch.float32, torch.float64):
        rows = []
        for batch, length in SHAPES:
            torch.manual_seed(length)
            scores = torch.randn(batch, length + 1, length + 1, dtype=dtype, device=device)
            lengths = torch.full((batch,), length, device=device)
            times = {name: timed(step, scores, lengths, device) for name, step in {**_ours(device), **peers}.items()}
            best = min((times[name] for name in peers if times[name]), default=None)
            own = times["treeavg"]
            rows.append([f"{batch} x {length}", *map(_shown, times.values()), f"{best / own:.1f}" if best else "-"])
        head = ["sentences x words", *_ours(device), *peers, "best peer / treeavg"]
        print(f"\n{str(dtype).removeprefix('torch.')}")
        print(table([head, *rows]))
    _agreement(peers, device)
    _memory(device)


def _ours(device: str) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    def by(backend: str) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda scores, lengths: SpanCRF(scores, lengths, backend=backend).log_partition.sum()

    return {"treeavg": by("auto")} if device == "cuda" else {"treeavg": by("compiled"), "treeavg, steps": by("steps")}


def _peers() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    peers: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
    if importlib.util.find_spec("torch_struct"):
        from torch_struct import TreeCRF

        def torch_struct(scores: Tensor, lengths: Tensor) -> Tensor:
            return TreeCRF(scores[:, :-1, 1:, None], lengths=lengths).partition.sum()

        peers["torch-struct"] = torch_struct
    found = importlib.util.find_spec("supar")
    if found:  # only its structures: the package itself imports much that they do not need
        package: Any = types.ModuleType("supar")
        package.__path__ = list(found.submodule_search_locations or [])
        sys.modules.setdefault("supar", package)
        from supar.structs.tree import ConstituencyCRF

        def supar(scores: Tensor, lengths: Tensor) -> Tensor:
            return ConstituencyCRF(scores, lens=lengths).log_partition.sum()

        peers["supar"] = supar
    return peers


def timed(
    step: Callable[[Tensor, Tensor], Tensor], scores: Tensor, lengths: Tensor, device: str, seconds: float = 1.5
) -> float | None:
    """Return milliseconds of a forward and backward pass; None where a peer fails at this size."""

    def once() -> float:
        leaf = scores.clone().requires_grad_()
        begin = time.perf_counter()
        step(leaf, lengths).backward()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    try:
        once()
        once()
        times, end = [], time.perf_counter() + seconds
        while len(times) < 5 or (time.perf_counter() < end and len(times) < 300):
            times.append(once())
    except Exception as error:
        print(f"failed at {tuple(scores.shape)}: {error!r}", file=sys.stderr)
        return None
    times.sort()
    return 1000 * statistics.median(times[: len(times) // 2 + 1])


def _agreement(peers: dict[str, Callable[[Tensor, Tensor], Tensor]], device: str) -> None:
    torch.manual_seed(0)
    scores = torch.randn(4, 31, 31, dtype=torch.float64, device=device)
    lengths = torch.full((4,), 30, device=device)
    own = SpanCRF(scores, lengths).log_partition.sum()
    for name, step in peers.items():
        print(f"\ndifference of log Z from {name}'s: {float((step(scores, lengths) - own).abs()):.1e}", end="")
    print()


def _memory(device: str) -> None:
    """Print time and memory of one batch of 8 sentences, by length."""
    rows = []
    for length in (25, 50, 100, 150, 200):
        torch.manual_seed(length)
        scores = torch.randn(8, length + 1, length + 1, device=device)
        lengths = torch.full((8,), length, device=device)
        step = _ours(device)["treeavg"]
        milliseconds = timed(step, scores, lengths, device)
        _peak(step, scores, lengths, device)  # the profiler's own start
        rows.append([str(length), _shown(milliseconds), f"{_peak(step, scores, lengths, device) / 2**20:.1f}"])
    print("\ntime and memory of 8 sentences by length, float32; memory beyond the scores")
    print(table([["words", "ms", "MiB"], *rows]))


def _peak(step: Callable[[Tensor, Tensor], Tensor], scores: Tensor, lengths: Tensor, device: str) -> int:
    leaf = scores.clone().requires_grad_()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(leaf, lengths).backward()
        return torch.cuda.max_memory_allocated() - before
    from torch.profiler import ProfilerActivity, profile

    tracemalloc.start()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step(leaf, lengths).backward()
    _, arrays = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    live = most = 0
    for event in sorted(profiled.events() or [], key=lambda item: item.time_range.start):
        if event.name == "[memory]":
            live += event.cpu_memory_usage
            most = max(most, live)
    return int(most) + arrays


def _shown(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.2f}"


if __name__ == "__main__":
    main()
