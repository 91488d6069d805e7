"""Strings gathered from slices of a file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import brackets as kernels
from treeavg.strings import StringColumn, offsets_of


def gathered(
    data: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
) -> StringColumn:
    """Copy slices of `data` into a column; those of one group (offsets) are joined by spaces."""
    if groups is None:
        groups = np.arange(len(begins) + 1, dtype=np.int64)
        offsets = offsets_of(ends - begins)
    else:
        pieces = np.diff(groups)
        total = offsets_of(ends - begins)
        offsets = offsets_of(total[groups[1:]] - total[groups[:-1]] + np.maximum(pieces - 1, 0))
    out = np.empty(int(offsets[-1]), np.uint8)
    kernels.join_slices(data, begins, ends, groups, offsets, out)
    return StringColumn(out, offsets)
