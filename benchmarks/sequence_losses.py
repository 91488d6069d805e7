"""Generalised Jensen-Shannon beside TRL's: value and gradient, seconds and peak memory beyond the inputs.

    python -m benchmarks.sequence_losses                     CPU, or CUDA if there is a card
    python -m benchmarks.sequence_losses --peers FOLDER      where TRL lies apart from this environment
    python -m benchmarks.sequence_losses --threads 1 --runs 2 --size 4 512 50257 768

Each way runs in a process of its own. From logits both start from two tensors [B, T, V]; from hidden states, from two
[B, T, H] and two heads [V, H]. *Products alone* is the floor of the latter: one product with each head and two for the
student's gradient, nothing else. Times are the least of the runs: measure on a quiet machine, and compare ratios;
processor seconds, of all threads, hardly see other work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from treeavg.report.tables import table

PAIRS = (("treeavg, logits", "TRL, logits"), ("treeavg, hidden states", "TRL, hidden states"))
FLOOR = "products alone, hidden states"
WAYS = (*PAIRS[0], *PAIRS[1], FLOOR)
#: GKD's weight of the teacher.
BETA = 0.3


def main() -> None:
    """Measure each way in its own process and print a table."""
    options = _options()
    if options.way:
        _measure(options)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch, length, words, width = options.size
    with tempfile.TemporaryDirectory() as folder:
        found = {way: _child(way, Path(folder) / f"{number}.npy") for number, way in enumerate(WAYS)}
        _show(found, device, options.threads, f"B={batch}, T={length}, V={words:,}, H={width}")
        for own, other in PAIRS:
            if found[own] and found[other]:
                _compare(own, other, found, Path(folder))
        _above_floor(PAIRS[1][0], found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=4, default=[4, 512, 50257, 768], metavar=("B", "T", "V", "H"))
    parser.add_argument("--runs", type=int, default=3, help="the least time of these")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", default="", help="a folder to look for TRL in, after this environment's")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--gradient", help=argparse.SUPPRESS)
    return parser.parse_args()


def _child(way: str, gradient: Path) -> dict[str, float] | None:
    """Return what a process of its own measures; None where it cannot."""
    command = [sys.executable, "-m", "benchmarks.sequence_losses", *sys.argv[1:], "--way", way]
    done = subprocess.run([*command, "--gradient", str(gradient)], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{way}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _show(found: dict[str, dict[str, float] | None], device: str, threads: int, size: str) -> None:
    rows = [["", "seconds", "forward", "processor seconds", "peak beyond inputs, GB", "inputs, GB", "value"]]
    for way, numbers in found.items():
        if numbers:
            shown = [f"{numbers[key]:.2f}" for key in ("seconds", "forward", "processor", "peak", "inputs")]
            rows.append([way, *shown, "" if way == FLOOR else f"{numbers['value']:.7f}"])
    card = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {threads} threads"
    print(f"generalised Jensen-Shannon, value and gradient, float32; {size}; {card}; torch {torch.__version__}\n")
    print(table(rows))


def _compare(own: str, other: str, found: dict[str, dict[str, float] | None], folder: Path) -> None:
    one, two = found[own], found[other]
    assert one is not None
    assert two is not None
    gradients = [np.load(folder / f"{WAYS.index(way)}.npy", mmap_mode="r") for way in (own, other)]
    largest = float(np.abs(gradients[1]).max())
    print(
        f"\n{own} against {other}: {two['seconds'] / one['seconds']:.1f} times as fast, "
        f"{one['peak'] / two['peak']:.2f} of the memory; values differ by {abs(one['value'] - two['value']):.1e}, "
        f"gradients by {float(np.abs(gradients[0] - gradients[1]).max()) / largest:.1e} of the largest"
    )


def _above_floor(way: str, found: dict[str, dict[str, float] | None]) -> None:
    one, floor = found[way], found[FLOOR]
    if one and floor:
        print(
            f"\n{way}: {one['seconds'] / floor['seconds']:.2f} times the seconds of its products alone, "
            f"{one['processor'] / floor['processor']:.2f} times the processor's"
        )


def _measure(options: argparse.Namespace) -> None:
    """Run one way and print its numbers as JSON."""
    torch.set_num_threads(options.threads)
    batch, length, words, width = options.size
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mine, hidden = options.way.startswith("treeavg"), "hidden" in options.way
    if options.way == FLOOR:
        loss = _products
    else:
        loss = _from_hidden(mine, options.peers) if hidden else _from_logits(mine, options.peers)
    torch.manual_seed(0)
    shapes = [(batch, length, width), (words, width)] if hidden else [(batch, length, words)]
    tensors = [torch.randn(shape, device=device) for _ in range(2) for shape in shapes]
    for tensor in tensors:
        tensor.mul_(width**-0.25 * 1.4 if hidden else 2.0)  # logits of deviation 2
    mask = torch.ones(batch, length, dtype=torch.bool, device=device)
    leaves = [tensor.requires_grad_() for tensor in tensors[: len(shapes)]]
    loss([tensor[:1, :4] if tensor.dim() == 3 else tensor for tensor in tensors], mask[:1, :4]).backward()  # load all
    times, processor, inputs, peak, value = [], [], 0.0, 0.0, 0.0
    for _ in range(options.runs):
        for leaf in leaves:
            leaf.grad = None
        inputs = _memory(device, reset=True)
        begin, busy = time.perf_counter(), time.process_time()
        result = loss(tensors, mask)
        value = result.item()
        middle = time.perf_counter()
        result.backward()
        del result
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - begin, middle - begin))
        processor.append(time.process_time() - busy)
        peak = max(peak, _memory(device) - inputs)
    seconds, forward = min(times)
    gradient = leaves[0].grad
    assert gradient is not None
    np.save(options.gradient, gradient.cpu().numpy())
    held = sum(tensor.nbytes for tensor in tensors) / 1e9
    numbers = {"seconds": seconds, "forward": forward, "processor": min(processor), "peak": peak}
    print(json.dumps({**numbers, "inputs": held, "value": value}))


def _from_logits(mine: bool, peers: str) -> Callable[[list[Tensor], Tensor], Tensor]:
    if not mine:
        return _trl(peers)
    from treeavg.distill.sequences.losses.divergences import sequence_loss

    return lambda tensors, mask: sequence_loss("gjsd", tensors[1], tensors[0], mask, student_weight=1 - BETA)


def _from_hidden(mine: bool, peers: str) -> Callable[[list[Tensor], Tensor], Tensor]:
    if not mine:
        loss = _trl(peers)

        def through_heads(tensors: list[Tensor], mask: Tensor) -> Tensor:
            with torch.no_grad():
                teacher = tensors[2] @ tensors[3].T
            return loss([tensors[0] @ tensors[1].T, teacher], mask)

        return through_heads
    from treeavg.distill.sequences.losses.fused import Head, fused_loss

    def fused(tensors: list[Tensor], mask: Tensor) -> Tensor:
        heads = Head(tensors[1]), Head(tensors[3])
        return fused_loss("gjsd", tensors[0], heads[0], tensors[2], heads[1], mask, student_weight=1 - BETA)

    return fused


def _products(tensors: list[Tensor], mask: Tensor, rows: int = 256) -> Tensor:
    """Multiply as often as any loss from hidden states must, at the layout that is fastest; the gradients are zero."""
    hidden, weight, of_teacher, teacher = (tensor.detach() for tensor in tensors)
    size, width = weight.shape
    room = [weight.new_zeros(rows, -(-size // 64) * 64)[:, :size] for _ in range(2)]
    gradient = torch.zeros_like(weight)
    for one, other in zip(
        hidden.reshape(-1, width).split(rows), of_teacher.reshape(-1, width).split(rows), strict=True
    ):
        logits = torch.mm(one, weight.T, out=room[0][: len(one)])
        torch.mm(other, teacher.T, out=room[1][: len(one)])
        torch.mm(logits, weight)
        gradient.addmm_(logits.T, one)
    return tensors[0].flatten()[:0].sum()


def _trl(peers: str) -> Callable[[list[Tensor], Tensor], Tensor]:
    if peers:
        sys.path.append(peers)
    warnings.filterwarnings("ignore")
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    try:
        from trl.experimental.gkd import GKDTrainer
    except ImportError as error:
        raise SystemExit(
            f"TRL is not measured ({error}): pip install --target FOLDER trl datasets, then --peers FOLDER"
        ) from error

    def loss(tensors: list[Tensor], mask: Tensor) -> Tensor:
        labels = torch.where(mask, 0, -100)
        result: Tensor = GKDTrainer.generalized_jsd_loss(tensors[0], tensors[1], labels=labels, beta=BETA)
        return result

    return loss


def _memory(device: str, *, reset: bool = False) -> float:
    """Return the peak in GB, of the process or the card; or begin a new one and return what is held."""
    if device == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return (torch.cuda.memory_allocated() if reset else torch.cuda.max_memory_allocated()) / 1e9
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again from VmRSS
    name = "VmRSS" if reset else "VmHWM"
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e9


if __name__ == "__main__":
    main()
