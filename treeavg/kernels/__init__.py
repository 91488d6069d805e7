"""Compiled kernels: Numba and NumPy, nothing above them.

The contract (docs/architecture.md): arrays of fixed dtype and C order in, the caller allocates the output, a status or
a count out. A kernel never raises, never calls a kernel of another file (Numba keys its cache on the caller's file, so
an edited callee would not be seen) and trusts its input: everything is checked once, above.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F) -> _F:
    """Compile `function` at its first call, keep the machine code on disk, release the GIL while it runs."""
    return cast(_F, njit(cache=True, nogil=True)(function))
