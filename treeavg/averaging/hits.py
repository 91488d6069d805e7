"""Hit counts: how much weight holds each constituent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, align
from treeavg.averaging.weights import whole_weights
from treeavg.errors import AlignmentError, ArgumentError, quote
from treeavg.jobs import run_chunks
from treeavg.kernels import votes
from treeavg.strings import offsets_of
from treeavg.treebank import Treebank


@dataclass(frozen=True)
class HitCounts:
    """How much weight holds each constituent, sentence by sentence.

    The whole sentence is left out (all teachers hold it), and so are single tokens.

    Parameters
    ----------
    lengths : ndarray of int32, shape (N,)
        Tokens in each sentence.
    offsets : ndarray of int64, shape (N + 1,)
        Sentence i has the hits ``offsets[i]`` to ``offsets[i + 1]``; H in all.
    starts, ends : ndarray of int32, shape (H,)
        Half-open spans, sorted by start, then end.
    whole : ndarray of int64, shape (H,)
        Hit counts in units of `unit`: exact.
    unit : Fraction
        What one unit weighs; 1 without weights.
    total : int
        The weight of all teachers, in units: the hit count of the whole sentence.

    Examples
    --------
    >>> bank = Treebank.from_constituents([3, 3], [[(0, 3), (0, 2)], [(0, 3), (1, 3)]])
    >>> hit_counts([bank, bank[[0, 0]]])[1]
    {(0, 2): 1.0, (1, 3): 1.0}
    """

    lengths: NDArray[np.int32]
    offsets: NDArray[np.int64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    whole: NDArray[np.int64]
    unit: Fraction
    total: int

    @property
    def counts(self) -> NDArray[np.float64]:
        """Hit counts as floats, shape (H,)."""
        return np.asarray(self.whole * float(self.unit), np.float64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, sentence: int) -> dict[tuple[int, int], float]:
        place = range(len(self))[sentence]
        rows = slice(int(self.offsets[place]), int(self.offsets[place + 1]))
        spans = zip(self.starts[rows].tolist(), self.ends[rows].tolist(), strict=True)
        return dict(zip(spans, self.counts[rows].tolist(), strict=True))

    def __repr__(self) -> str:
        return f"<HitCounts: {len(self):,} sentences, {len(self.whole):,} constituents, total weight {self.weight:g}>"

    @property
    def weight(self) -> float:
        """The weight of all teachers together."""
        return float(self.total * self.unit)

    def support(self, treebank: Treebank) -> NDArray[np.float64]:
        """Return the share of the weight that holds each constituent of a treebank.

        Parameters
        ----------
        treebank : Treebank
            Over the same sentences, continuous.

        Returns
        -------
        ndarray of float64, shape (M,)
            Between 0 and 1, in the order of its constituents.

        Raises
        ------
        AlignmentError
            The sentences differ in number or length.
        ArgumentError
            A constituent is discontinuous.

        Examples
        --------
        >>> bank = Treebank.from_constituents([3], [[(0, 3), (0, 2)]])
        >>> other = Treebank.from_constituents([3], [[(0, 3), (1, 3)]])
        >>> hit_counts([bank, other]).support(bank).tolist()
        [1.0, 0.5]
        """
        return self._hits_of(treebank) / self.total

    def _hits_of(self, treebank: Treebank) -> NDArray[np.int64]:
        """Return the hit count of each constituent, in units."""
        if len(treebank) != len(self) or not np.array_equal(treebank.lengths, self.lengths):
            raise AlignmentError(
                f"treebank: expected the {len(self)} sentences of the hit counts, {int(self.lengths.sum())} tokens, "
                f"got {len(treebank)} with {treebank.token_count}. Count hits over the same sentences."
            )
        require_continuous([treebank])
        out = np.empty(treebank.constituent_count, np.int64)
        votes.support(
            self.lengths, treebank.offsets, treebank.starts, treebank.ends, self.offsets, self.starts, self.ends,
            self.whole, self.total, out,
        )  # fmt: skip
        return out


def hit_counts(
    teachers: Sequence[Treebank],
    *,
    weights: Sequence[Any] | None = None,
    on_error: str = "raise",
    check_tokens: bool = False,
    jobs: int | None = None,
    places: Places | None = None,
) -> HitCounts:
    """Count, for every constituent, the weight of the teachers whose tree holds it.

    Parameters
    ----------
    teachers : sequence of Treebank, length K >= 1
        Over the same sentences, continuous; need not be binary. Not modified.
    weights : sequence of numbers, length K, optional
        Not negative, not all zero. Default: each teacher counts 1.
    on_error : str, default "raise"
        ``skip`` gives a sentence that some teacher lacks no hits.
    check_tokens : bool, default False
        Require equal words, not only equal lengths.
    jobs : int, optional
        Threads; one a core by default.
    places : Places, optional
        How messages name the teachers; by default ``teachers[k][i]``.

    Returns
    -------
    HitCounts

    Raises
    ------
    AlignmentError
        The teachers do not hold the same sentences.
    ArgumentError
        An option is out of range or a tree is discontinuous.

    Notes
    -----
    A teacher counts once however often its tree repeats a constituent. O(K n) time a sentence. [ED4UCP], section 3.1.

    Examples
    --------
    >>> left = Treebank.from_constituents([3], [[(0, 3), (0, 2)]])
    >>> right = Treebank.from_constituents([3], [[(0, 3), (1, 3)]])
    >>> hit_counts([left, left, right])[0]
    {(0, 2): 2.0, (1, 3): 1.0}
    """
    whole, unit = whole_weights(weights, len(teachers)) if len(teachers) else (np.empty(0, np.int64), Fraction(1))
    lengths, _ = align(teachers, places=places, on_error=on_error, check_tokens=check_tokens)
    require_continuous(teachers, places)
    rows = Rows.of(teachers, lengths)
    parts: dict[int, Hits] = {}

    def work(first: int, last: int) -> None:
        parts[first] = rows.hits(whole, first, last)

    run_chunks(work, rows.costs, jobs)
    hits = [parts[first] for first in sorted(parts)] or [rows.hits(whole, 0, 0)]
    return HitCounts(
        lengths,
        offsets_of(np.concatenate([np.diff(part.offsets) for part in hits])),
        np.concatenate([part.starts for part in hits]),
        np.concatenate([part.ends for part in hits]),
        np.concatenate([part.counts for part in hits]),
        unit,
        int(whole.sum()),
    )


@dataclass(frozen=True)
class Hits:
    """The hits of a run of sentences."""

    offsets: NDArray[np.int64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """The teachers' constituents end to end, as the kernels want them."""

    lengths: NDArray[np.int32]
    offsets: NDArray[np.int64]  # (K, N + 1)
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]

    @classmethod
    def of(cls, teachers: Sequence[Treebank], lengths: NDArray[np.int32]) -> Rows:
        """Put the rows of all teachers end to end."""
        bases = offsets_of(bank.constituent_count for bank in teachers)
        return cls(
            lengths,
            np.stack([bank.offsets + base for bank, base in zip(teachers, bases, strict=False)]),
            np.concatenate([bank.starts for bank in teachers]),
            np.concatenate([bank.ends for bank in teachers]),
        )

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of all teachers in each sentence."""
        return np.asarray(np.diff(self.offsets, axis=1).sum(axis=0), np.int64)

    @property
    def costs(self) -> NDArray[np.float64]:
        """About how many steps counting and charting take, sentence by sentence."""
        n = self.lengths.astype(np.float64)
        return 20.0 + 8.0 * self.sizes + 0.2 * n * n

    def hits(self, weights: NDArray[np.int64], first: int, last: int) -> Hits:
        """Count the hits of sentences `first` to `last`."""
        sizes = self.sizes[first:last]
        room, most = int(sizes.sum()), int(sizes.max(initial=0))
        offsets = np.empty(last - first + 1, np.int64)
        starts, ends, counts = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int64)
        total = votes.count_hits(
            self.lengths, self.offsets, self.starts, self.ends, weights, first, last,
            np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int32),
            np.empty(int(self.lengths[first:last].max(initial=0)) + 2, np.int64), offsets, starts, ends, counts,
        )  # fmt: skip
        return Hits(offsets, starts[:total], ends[:total], counts[:total])


def require_continuous(teachers: Sequence[Treebank], places: Places | None = None) -> None:
    """Raise an ArgumentError that names the first discontinuous tree, if there is one."""
    for index, bank in enumerate(teachers):
        sentence = bank.first_discontinuous
        if sentence is not None:
            names = places or Places(tuple(f"teachers[{number}]" for number in range(len(teachers))))
            raise ArgumentError(
                f"{names.of(index, sentence)}: expected continuous constituents, got "
                f"{quote(bank[sentence].constituents)}. Discontinuous trees cannot be averaged into binary brackets; "
                "leave this teacher out."
            )
