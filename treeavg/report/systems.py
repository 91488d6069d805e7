"""The systems of a report: whose trees these are, and over which sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, Trees
from treeavg.dependency import DependencyTreebank
from treeavg.strings import StringColumn

#: What a system can be, in the order of the page.
ROLES = ("gold", "teacher", "average", "student")


@dataclass(frozen=True, eq=False)
class System:
    """One treebank of a report.

    Parameters
    ----------
    name : str
        What the page calls it; no two are called the same.
    role : str
        One of `ROLES`.
    bank : Treebank or DependencyTreebank
        Its trees.
    """

    name: str
    role: str
    bank: Trees


@dataclass(frozen=True, eq=False)
class Systems:
    """All treebanks of a report over the same sentences, gold first, then teachers, averages, students.

    Parameters
    ----------
    members : tuple of System, length K
        At least one is a teacher.
    lengths : ndarray of int32, shape (N,)
        Tokens in each sentence: of the first system that has it; 0 where none has.
    present : ndarray of bool, shape (K, N)
        Whether a system has a tree of that length; only ``on_error="skip"`` lets some lack one.
    places : Places
        How messages name the systems.
    """

    members: tuple[System, ...]
    lengths: NDArray[np.int32]
    present: NDArray[np.bool_]
    places: Places

    @classmethod
    def of(cls, members: Sequence[System], places: Places) -> Systems:
        """Gather aligned systems."""
        own = np.stack([member.bank.lengths for member in members])
        first = (own > 0).argmax(axis=0)
        lengths = own[first, np.arange(own.shape[1])]
        return cls(tuple(members), lengths, (own == lengths) & (own > 0), places)

    @property
    def gold(self) -> System | None:
        """The gold trees, if there are any."""
        return self.members[0] if self.members[0].role == "gold" else None

    @property
    def is_dependency(self) -> bool:
        """Whether these are dependency trees."""
        return isinstance(self.members[0].bank, DependencyTreebank)

    def indices(self, *roles: str) -> list[int]:
        """Return the places of the systems that have one of these roles."""
        return [index for index, member in enumerate(self.members) if member.role in roles]

    def pair(self, first: int, second: int) -> Places:
        """Return how messages name two of the systems."""
        names = self.places.names
        return Places((names[first], names[second]), self.places.files, self.places.first)

    def words(self) -> tuple[NDArray[np.int64], list[str]] | None:
        """Return each token's place in a list of different words, and that list; None where no system has words.

        Returns
        -------
        codes : ndarray of int64, shape (T,)
            T is the sum of `lengths`.
        words : list of str
            In the order in which they come first.
        """
        columns: list[Any] = [member.bank for member in self.members if member.bank.tokens is not None]
        if not columns:
            return None
        codes: dict[str, int] = {}
        flat: list[int] = []
        for sentence, length in enumerate(self.lengths.tolist()):
            bank = next((bank for bank in columns if length and int(bank.lengths[sentence]) == length), None)
            if bank is None:
                flat.extend(codes.setdefault(str(number + 1), len(codes)) for number in range(length))
                continue
            begin = int(bank.token_offsets[sentence])
            tokens: StringColumn = bank.tokens.slice(begin, begin + length)
            flat.extend(codes.setdefault(word, len(codes)) for word in tokens)
        return np.array(flat, np.int64), list(codes)
