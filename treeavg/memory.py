"""The memory of this process."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path


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
    """Return to the system what is freed and what only loading needed, where that can be told apart (Linux, glibc).

    The C library keeps what was freed, in case it is needed again. And of libraries, pages stay mapped that were looked
    at once, when they were loaded: of torch and LLVM 100 MB. Those that nobody has changed are let go; what is used
    again is found in the system's cache of files.

    Examples
    --------
    >>> give_back_memory()
    """
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim(0)
        smaps = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="surrogateescape")
    except (AttributeError, OSError, TypeError):
        return
    for start, end in _unchanged_parts(smaps):
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)


#: Of Linux's madvise, <bits/mman-linux.h>: the pages of a file's private part are read again when they are next used.
_DONTNEED = 4


def _unchanged_parts(smaps: str) -> Iterator[tuple[int, int]]:
    """Return the addresses of a process's code from files, where no page was ever changed: nothing of it can be lost.

    (Constants cannot be written either, but tables among them have been, when the library was loaded.)
    """
    part, changed = (0, 0), True
    for line in smaps.splitlines():
        name, *words = line.split()
        if not name.endswith(":"):
            start, end = (int(side, 16) for side in name.split("-"))
            part, changed = (start, end), words[0] != "r-xp" or not "".join(words[4:5]).startswith("/")
        elif name in ("Anonymous:", "Swap:"):
            changed = changed or words[0] != "0"
        elif name == "VmFlags:" and not changed:
            yield part
