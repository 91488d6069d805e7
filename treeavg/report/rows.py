"""The different constituents (or arcs) of each sentence, and which systems have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from treeavg.building import preorder
from treeavg.dependency import DependencyTreebank
from treeavg.report.systems import Systems
from treeavg.strings import StringColumn, flat_ranges, offsets_of
from treeavg.treebank import Treebank
from treeavg.view import NO_LABEL, Constituent


@dataclass(frozen=True, eq=False)
class Rows:
    """Every different constituent of every sentence once, with the systems whose trees hold it.

    Of dependency trees a row is an arc: its start is the word (from 0), its end the head (0 is the root, words count
    from 1).

    Parameters
    ----------
    offsets : ndarray of int64, shape (N + 1,)
        Sentence i has the rows ``offsets[i]`` to ``offsets[i + 1]``; R in all, in the order of a treebank.
    fan_outs : ndarray of int64, shape (R,), or None
        Blocks of each row; None where all have one.
    starts, ends : ndarray of int32, shape (B,)
        The blocks.
    whole : ndarray of bool, shape (R,)
        Whether a row is the whole sentence, which counts in no score.
    members : ndarray of bool, shape (K, R)
        Which systems have it.
    labels : tuple of (list of str or None), length K
        Of each system with labels worth showing, one for each of its rows, in their order; unary chains are joined
        by ``+``.
    places : tuple of ndarray of int64, length K
        Of each system, the row of each of its constituents (or words), as `used_entries` lists them.
    """

    offsets: NDArray[np.int64]
    fan_outs: NDArray[np.int64] | None
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    whole: NDArray[np.bool_]
    members: NDArray[np.bool_]
    labels: tuple[list[str] | None, ...]
    places: tuple[NDArray[np.int64], ...]

    @property
    def sentences(self) -> NDArray[np.int64]:
        """The sentence of each row, shape (R,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def hits(self, teachers: Sequence[int]) -> NDArray[np.int64]:
        """Return how many of these systems have each row, shape (R,)."""
        return np.asarray(self.members[list(teachers)].sum(axis=0, dtype=np.int64))


def rows_of(systems: Systems) -> Rows:
    """Gather the rows of all systems.

    Parameters
    ----------
    systems : Systems
        Aligned.

    Returns
    -------
    Rows
    """
    if systems.is_dependency:
        return _arcs(systems)
    banks = [cast("Treebank", member.bank) for member in systems.members]
    if all(bank.is_continuous for bank in banks):
        return _spans(systems, banks)
    return _constituents(systems, banks)


def used_entries(
    systems: Systems, index: int, offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sentence and the place of each entry of a system, without those of sentences that do not count."""
    counts = np.diff(offsets)
    kept = np.flatnonzero(systems.present[index])
    return np.repeat(kept, counts[kept]), flat_ranges(offsets[:-1][kept], counts[kept])


def _merged(keys: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.bool_], list[NDArray[np.int64]]]:
    """Return the sorted different keys, who has them, and where each system's own keys stand among them."""
    different = np.unique(np.concatenate(keys))
    places = [np.searchsorted(different, own) for own in keys]
    members = np.zeros((len(keys), len(different)), np.bool_)
    for row, own in zip(members, places, strict=True):
        row[own] = True
    return different, members, places


def _spans(systems: Systems, banks: list[Treebank]) -> Rows:
    size = int(systems.lengths.max(initial=0)) + 1
    keys, entries = [], []
    for index, bank in enumerate(banks):
        sentences, places = used_entries(systems, index, bank.offsets)
        begins, ends = bank.starts[places].astype(np.int64), bank.ends[places].astype(np.int64)
        keys.append((sentences * size + begins) * size + (size - 1 - ends))
        entries.append(places)
    different, members, owned = _merged(keys)
    sentences, rest = np.divmod(different, size * size)
    starts, ends = rest // size, size - 1 - rest % size
    labels = tuple(_labels(bank.labels, used, own) for bank, used, own in zip(banks, entries, owned, strict=True))
    return Rows(
        offsets_of(np.bincount(sentences, minlength=len(systems.lengths))),
        None,
        starts.astype(np.int32),
        ends.astype(np.int32),
        (starts == 0) & (ends == systems.lengths[sentences]),
        members,
        labels,
        tuple(owned),
    )


def _constituents(systems: Systems, banks: list[Treebank]) -> Rows:
    """The same where constituents may have several blocks: they are told apart as tuples."""
    codes: dict[tuple[int, Constituent], int] = {}
    places: list[NDArray[np.int64]] = []
    entries = []
    for index, bank in enumerate(banks):
        own = [
            codes.setdefault((sentence, constituent), len(codes))
            for sentence in np.flatnonzero(systems.present[index]).tolist()
            for constituent in bank[sentence].constituents
        ]
        places.append(np.array(own, np.int64))
        entries.append(used_entries(systems, index, bank.offsets)[1])
    keys = sorted(codes)
    sentences = np.array([sentence for sentence, _ in keys], np.int64)
    fan_outs = np.array([len(constituent) for _, constituent in keys], np.int64)
    flat = np.array([block for _, constituent in keys for block in constituent], np.int32).reshape(-1, 2)
    order, blocks = preorder(sentences, fan_outs, flat[:, 0], flat[:, 1])
    sorted_place = np.empty(len(keys), np.int64)
    sorted_place[[codes[keys[place]] for place in order.tolist()]] = np.arange(len(keys))
    members = np.zeros((len(banks), len(keys)), np.bool_)
    for row, own_places in zip(members, places, strict=True):
        row[sorted_place[own_places]] = True
    whole = np.array([one == ((0, int(systems.lengths[sentence])),) for sentence, one in keys], np.bool_)
    return Rows(
        offsets_of(np.bincount(sentences, minlength=len(systems.lengths))),
        fan_outs[order],
        flat[blocks, 0],
        flat[blocks, 1],
        whole[order] if len(keys) else whole,
        members,
        tuple(
            _labels(bank.labels, used, sorted_place[own])
            for bank, used, own in zip(banks, entries, places, strict=True)
        ),
        tuple(sorted_place[own] for own in places),
    )


def _arcs(systems: Systems) -> Rows:
    size = int(systems.lengths.max(initial=0)) + 1
    keys, entries = [], []
    for index, member in enumerate(systems.members):
        bank = cast("DependencyTreebank", member.bank)
        sentences, places = used_entries(systems, index, bank.token_offsets)
        words = places - bank.token_offsets[sentences]
        keys.append((sentences * size + words) * size + bank.heads[places].astype(np.int64))
        entries.append(places)
    different, members, owned = _merged(keys)
    sentences, rest = np.divmod(different, size * size)
    return Rows(
        offsets_of(np.bincount(sentences, minlength=len(systems.lengths))),
        None,
        (rest // size).astype(np.int32),
        (rest % size).astype(np.int32),
        np.zeros(len(different), np.bool_),
        members,
        tuple(
            _labels(cast("DependencyTreebank", member.bank).relations, used, own)
            for member, used, own in zip(systems.members, entries, owned, strict=True)
        ),
        tuple(owned),
    )


def _labels(column: StringColumn | None, entries: NDArray[np.int64], places: NDArray[np.int64]) -> list[str] | None:
    """Return one label for each different row of a system, or None where labels tell nothing."""
    if column is None:
        return None
    names = list(column.take(entries))
    if not set(names) - {NO_LABEL, ".", ""} or len(set(names)) < 2:
        return None
    joined: dict[int, str] = {}
    for place, name in zip(places.tolist(), names, strict=True):
        joined[place] = f"{joined[place]}+{name}" if place in joined else name
    return [joined[place] for place in sorted(joined)]
