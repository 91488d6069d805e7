"""Run all benchmarks."""

import os
import platform

import numba
import numpy as np

import treeavg
from benchmarks import average, startup


def main() -> None:
    """Print where and with what, then every table."""
    print(
        f"treeavg {treeavg.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"Numba {numba.__version__}, {platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    )
    startup.main()
    average.main()


if __name__ == "__main__":
    main()
