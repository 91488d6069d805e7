"""Compiled kernels: Numba and NumPy, nothing above them.

The contract (docs/architecture.md): arrays of fixed dtype and C order in, the caller allocates the output, a status or
a count out. A kernel never raises, never calls a kernel of another file (Numba keys its cache on the caller's file, so
an edited callee would not be seen) and trusts its input: everything is checked once, above.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F) -> _F:
    """Compile `function` at its first call, keep the machine code on disk, release the GIL while it runs.

    Where the machine code cannot be kept (a read-only installation without a home, a full disk) it is compiled in every
    run, and a line says so, once. Where what was kept is damaged it is compiled, and kept, again.
    """
    try:
        compiled: Any = njit(cache=True, nogil=True)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        _say_not_kept("none that can be written")
        compiled = njit(nogil=True)(function)
    cache = getattr(compiled, "_cache", None)  # not there when NUMBA_DISABLE_JIT is set
    if cache is not None:
        _make_forgiving(cache)
    return cast(_F, compiled)


def _make_forgiving(cache: Any) -> None:
    """Let neither a damaged file nor a full disk stop what could be compiled, as Numba's cache would."""
    load, save = cache.load_overload, cache.save_overload

    def load_or_forget(*key: Any) -> Any:
        try:
            return load(*key)
        except OSError:  # it cannot be read now, but may be sound
            return None
        except Exception:  # bytes cut off or changed may be unpickled into any error
            with contextlib.suppress(OSError):
                cache.flush()
            return None

    def save_or_say(*entry: Any) -> None:
        try:
            save(*entry)
        except OSError as error:
            _say_not_kept(error.strerror or str(error))

    cache.load_overload, cache.save_overload = load_or_forget, save_or_say


@functools.cache
def _say_not_kept(why: str) -> None:
    """Say, once, that the machine code is not kept."""
    logging.getLogger("treeavg").warning(
        "treeavg: NUMBA_CACHE_DIR: expected a folder to keep compiled code in, got: %s. "
        "Set it to another; else every run compiles again, for some seconds.",
        why,
    )
