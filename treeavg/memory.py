"""The memory of this process."""

from __future__ import annotations

import ctypes
import os
import sys


def resident_memory() -> int:
    """Return the bytes of memory that this process holds now; where there is no ``/proc``, the most that it ever held.

    Returns
    -------
    int

    Examples
    --------
    >>> resident_memory() > 2**20
    True
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def give_back_memory() -> None:
    """Return freed memory to the system, where the C library can (glibc): it keeps what it may need again.

    Examples
    --------
    >>> give_back_memory()
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
