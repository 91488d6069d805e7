"""What a search for trees of any shape is given: the teachers' constituents and the objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from treeavg.strings import offsets_of
from treeavg.treebank import Treebank
from treeavg.view import Constituent


@dataclass(frozen=True)
class Objective:
    """What is maximised.

    Parameters
    ----------
    ratio : bool
        False: the sum of ``hits - value * weight``. True: pooled F-beta, where `value` is beta squared.
    value : Fraction
        Not negative.
    """

    ratio: bool
    value: Fraction


@dataclass(frozen=True)
class Pool:
    """The constituents of all teachers end to end, with blocks and label codes.

    Parameters
    ----------
    lengths : ndarray of int32, shape (N,)
        0 for a sentence that cannot be used.
    offsets : ndarray of int64, shape (K, N + 1)
        Into the rows.
    block_offsets : ndarray of int64, shape (M + 1,)
        Of all teachers' rows into `starts` and `ends`.
    starts, ends : ndarray of int32
        Blocks.
    labels : ndarray of int32, shape (M,)
        Codes; all 0 where labels do not matter.
    names : tuple of str
        What the codes stand for.
    """

    lengths: NDArray[np.int32]
    offsets: NDArray[np.int64]
    block_offsets: NDArray[np.int64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    labels: NDArray[np.int32]
    names: tuple[str, ...]

    @classmethod
    def of(cls, teachers: Sequence[Treebank], lengths: NDArray[np.int32], labelled: bool) -> Pool:
        """Lay the teachers' rows end to end."""
        bases = offsets_of(bank.constituent_count for bank in teachers)
        names: tuple[str, ...] = ("",)
        labels = np.zeros(int(bases[-1]), np.int32)
        if labelled:
            strings = [label for bank in teachers for label in (bank.labels or ())]
            names = tuple(sorted(set(strings)))
            codes = {name: code for code, name in enumerate(names)}
            labels = np.array([codes[label] for label in strings], np.int32)
        return cls(
            lengths,
            np.stack([bank.offsets + base for bank, base in zip(teachers, bases, strict=False)]),
            offsets_of(np.concatenate([bank.fan_outs for bank in teachers])),
            np.concatenate([bank.starts for bank in teachers]),
            np.concatenate([bank.ends for bank in teachers]),
            labels,
            names,
        )

    @property
    def costs(self) -> NDArray[np.float64]:
        """About how many steps each sentence takes, if its search is short."""
        sizes = np.diff(self.offsets, axis=1).sum(axis=0)
        return np.asarray(50.0 + 30.0 * sizes + 2.0 * self.lengths * sizes, np.float64)

    def blocks(self, row: int) -> Constituent:
        """Return the blocks of a row."""
        part = slice(int(self.block_offsets[row]), int(self.block_offsets[row + 1]))
        return tuple(zip(self.starts[part].tolist(), self.ends[part].tolist(), strict=True))
