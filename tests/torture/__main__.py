"""``python -m tests.torture fuzz|kill|faults``: the long tests; each prints a line a case, goes on where it stopped."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path


def main() -> int:
    """Run one kind of torture; the exit code is 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("kind", choices=("fuzz", "kill", "faults"))
    parser.add_argument("cases", nargs="*", help="some cases only (default: all)")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="fuzz: inputs a reader (1,000,000)")
    parser.add_argument("--kills", type=int, default=100, help="kill: kills a case (100)")
    parser.add_argument("--flips", type=int, default=200, help="faults: flipped bits a kind of file (200)")
    parser.add_argument("--work", type=Path, default=Path("build/torture"), help="where all is kept (build/torture)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    work = given.work.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a process that lived on would share the next run's files
    if given.kind == "fuzz":
        from .fuzz import fuzz

        failed = fuzz(given.cases, inputs=given.inputs, work=work, seed=given.seed)
    elif given.kind == "kill":
        from .kill import kill

        failed = kill(given.cases, kills=given.kills, work=work, seed=given.seed)
    else:
        from .faults import faults

        failed = faults(given.cases, flips=given.flips, work=work, seed=given.seed)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
