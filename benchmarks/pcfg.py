"""Inside, and inside and backward, of a PCFG beside torch-struct's, by length; and the best trees.

    python -m benchmarks.pcfg            30 nonterminals, 60 preterminals, one thread

torch-struct is timed where it is installed: pip install torch-struct. Times are the process's own (user and system),
so that other work on the machine counts little.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from parsers.pcfg import inside, viterbi
from treeavg.report.tables import table

NONTERMINALS, PRETERMINALS, BATCH = 30, 60, 8
LENGTHS = (10, 20, 25, 30, 40)

Step = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    """Print the table."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    peer = _torch_struct() if importlib.util.find_spec("torch_struct") else None
    print(
        f"sentences a second, batches of {BATCH}, {NONTERMINALS} + {PRETERMINALS} symbols, float32, one thread; "
        f"torch {torch.__version__}"
    )
    rows = []
    for length in LENGTHS:
        shared, own = scores(length, 1), scores(length, BATCH)
        forward = [seconds(_ours, parts, backward=False) for parts in (shared, own)]
        both = [seconds(_ours, parts, backward=True) for parts in (shared, own)]
        rates = [BATCH / value for value in (*forward, *both)]
        row = [str(length), *(f"{rate:.0f}" for rate in rates)]
        if peer is not None:
            theirs = [seconds(peer, shared, backward=backward, most=2) for backward in (False, True)]
            row += [f"{BATCH / theirs[1]:.1f}", f"{theirs[0] / forward[0]:.0f}", f"{theirs[1] / both[0]:.0f}"]
        rows.append([*row, f"{BATCH / seconds(_viterbi, shared, backward=False):.0f}"])
    head = ["words", "inside", "own rules", "inside + backward", "own rules"]
    head += ["torch-struct", "ratio, inside", "ratio, both"] if peer is not None else []
    print(table([[*head, "best trees"], *rows]))
    if peer is not None:
        parts = scores(15, 1)
        difference = (peer(*parts) - _ours(*parts)).abs().max().item()
        print(f"\nlargest difference of log Z from torch-struct's at 15 words: {difference:.1e}")


def scores(length: int, groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return random log-probabilities of roots, rules and words, and lengths."""
    generator = torch.Generator().manual_seed(length)
    symbols = NONTERMINALS + PRETERMINALS
    roots = torch.randn(groups, NONTERMINALS, generator=generator).log_softmax(-1)
    rules = torch.randn(groups, NONTERMINALS, symbols**2, generator=generator).log_softmax(-1)
    words = torch.randn(BATCH, length, PRETERMINALS, generator=generator) - 8
    return roots, rules.unflatten(-1, (symbols, symbols)), words, torch.full((BATCH,), length)


def _ours(roots: Tensor, rules: Tensor, words: Tensor, lengths: Tensor) -> Tensor:
    return inside.log_partition(roots, rules, words, lengths)


def _viterbi(roots: Tensor, rules: Tensor, words: Tensor, lengths: Tensor) -> Tensor:
    return viterbi.best_trees(roots, rules, words, lengths)[1]


def _torch_struct() -> Step:
    from torch_struct import SentCFG

    def peer(roots: Tensor, rules: Tensor, words: Tensor, lengths: Tensor) -> Tensor:
        batch = len(words)
        parts: Any = (words, rules.expand(batch, -1, -1, -1), roots.expand(batch, -1))
        result: Tensor = SentCFG(parts, lengths=lengths).partition
        return result

    return peer


def seconds(step: Step, parts: tuple[Tensor, Tensor, Tensor, Tensor], *, backward: bool, most: int = 15) -> float:
    """Return processor seconds of a pass over the batch: the median of the faster half."""
    times = []
    for _ in range(most + 1):
        leaves = [part.clone().requires_grad_(backward) for part in parts[:3]]
        begin = time.process_time()
        total = step(*leaves, parts[3]).sum()  # type: ignore[call-arg]
        if backward:
            total.backward()  # type: ignore[no-untyped-call]
        times.append(time.process_time() - begin)
    times = sorted(times[1:])
    return times[len(times) // 4]


if __name__ == "__main__":
    main()
