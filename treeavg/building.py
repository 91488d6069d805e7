"""Treebanks from lists, and the checks that every tree must pass."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import AlignmentError, ArgumentError, FormatError, quote
from treeavg.kernels import structure
from treeavg.strings import StringColumn, flat_ranges, offsets_of
from treeavg.treebank import Treebank
from treeavg.view import Block, Constituent


def from_lists(
    tokens: Sequence[Sequence[str] | int],
    constituents: Sequence[Sequence[Any]],
    labels: Sequence[Sequence[str]] | None,
    tags: Sequence[Sequence[str]] | None,
    support: Sequence[Sequence[float]] | None = None,
) -> Treebank:
    """Build a treebank; see `Treebank.from_constituents`."""
    count = len(tokens)
    for name, column in (
        ("constituents", constituents),
        ("labels", labels),
        ("tags", tags),
        ("support", support),
    ):
        if column is not None and len(column) != count:
            raise AlignmentError(
                f"{name}: expected one entry per sentence, {count}, got {len(column)}. Pass lists of one length."
            )
    builder = _RowBuilder(labels is not None, support is not None)
    words: list[str] = []
    counted = [isinstance(sentence, int) for sentence in tokens]
    if any(counted) and not all(counted):
        raise ArgumentError(
            "tokens: expected words for every sentence or numbers for every sentence, got both. Pass one kind."
        )
    all_tags: list[str] | None = [] if tags is not None or labels is not None else None
    for index, sentence in enumerate(tokens):
        if isinstance(sentence, int):
            length = sentence
        else:
            length = len(sentence)
            words.extend(sentence)
        own_tags = list(tags[index]) if tags is not None else [""] * length if labels is not None else []
        if tags is not None and len(own_tags) != length:
            raise AlignmentError(
                f"tags[{index}]: expected {length} tags, one per token, got {len(own_tags)}. Tag every token."
            )
        names = labels[index] if labels is not None else None
        shares = support[index] if support is not None else None
        builder.add(index, length, constituents[index], names, own_tags, shares)
        if all_tags is not None:
            all_tags.extend(own_tags)
    bank = builder.build(
        StringColumn.of(words) if not any(counted) else None,
        StringColumn.of(all_tags) if all_tags is not None and any(all_tags) else None,
    )
    validate(bank, "constituents")
    return bank


def preorder(
    sentences: NDArray[np.int64], fan_outs: NDArray[np.int64], starts: NDArray[np.int32], ends: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort constituents into the order of a treebank: by sentence, start, the longer first; equal ones as they stand.

    Parameters
    ----------
    sentences, fan_outs : ndarray of int64, shape (M,)
        Of each constituent.
    starts, ends : ndarray of int32, shape (B,)
        Their blocks, one constituent behind another.

    Returns
    -------
    order : ndarray of int64, shape (M,)
        The constituents, sorted.
    places : ndarray of int64, shape (B,)
        Their blocks, sorted likewise.

    Examples
    --------
    >>> spans = np.array([[1, 3], [0, 3]], np.int32)
    >>> preorder(np.zeros(2, np.int64), np.ones(2, np.int64), spans[:, 0], spans[:, 1])[0].tolist()
    [1, 0]
    """
    bounds = offsets_of(fan_outs)
    sizes = np.add.reduceat(ends - starts, bounds[:-1]) if len(fan_outs) else fan_outs
    first, last = starts[bounds[:-1]], ends[bounds[1:] - 1].astype(np.int64)
    order = np.lexsort((-sizes, -last, first, sentences))
    return order, flat_ranges(bounds[:-1][order], fan_outs[order])


def validate(bank: Treebank, where: str) -> None:
    """Check every tree; see `Treebank.validate`."""
    if bank.block_offsets is not None:
        _validate_discontinuous(bank, where)
        return
    deepest = int(np.diff(bank.offsets).max(initial=0)) + 1
    place = np.zeros(3, np.int64)
    status = structure.check_nested(
        bank.lengths, bank.offsets, bank.starts, bank.ends, np.empty(deepest, np.int64), place
    )
    if status == structure.GOOD:
        return
    sentence, row, other = (int(value) for value in place)
    span = (int(bank.starts[row]), int(bank.ends[row]))
    if status == structure.CROSSING:
        raise _crossing(where, sentence, (int(bank.starts[other]), int(bank.ends[other])), span)
    if status == structure.OUT_OF_RANGE:
        raise _out_of_range(where, sentence, span, int(bank.lengths[sentence]))
    raise FormatError(
        f"{where}[{sentence}]: expected pre-order (by start, longer first), got {span} out of place. "
        "Build the treebank with Treebank.from_constituents, which sorts."
    )


class _RowBuilder:
    """Collects constituents given as lists and sorts them into rows."""

    def __init__(self, labelled: bool, supported: bool) -> None:
        self.labels: list[str] | None = [] if labelled else None
        self.support: list[float] | None = [] if supported else None
        self.lengths: list[int] = []
        self.sentences: list[int] = []
        self.blocks: list[Constituent] = []

    def add(
        self,
        index: int,
        length: int,
        constituents: Sequence[Any],
        names: Sequence[str] | None,
        tags: list[str],
        shares: Sequence[float] | None,
    ) -> None:
        """Take one sentence; labels of single tokens are put before their tags, in place."""
        for name, column in (("labels", names), ("support", shares)):
            if column is not None and len(column) != len(constituents):
                raise AlignmentError(
                    f"{name}[{index}]: expected {len(constituents)} {name}, one per constituent, got {len(column)}. "
                    "Give one for every constituent."
                )
        self.lengths.append(length)
        chains: dict[int, list[str]] = {}
        for number, given in enumerate(constituents):
            blocks = _as_blocks(given, f"constituents[{index}][{number}]", length)
            if len(blocks) == 1 and blocks[0][1] - blocks[0][0] == 1:
                if names is not None:
                    chains.setdefault(blocks[0][0], []).append(names[number])
                continue
            self.sentences.append(index)
            self.blocks.append(blocks)
            if self.labels is not None and names is not None:
                self.labels.append(names[number])
            if self.support is not None and shares is not None:
                self.support.append(shares[number])
        for position, chain in chains.items():
            tags[position] = " ".join([*chain, tags[position]]) if tags[position] else " ".join(chain)

    def build(self, tokens: StringColumn | None, tags: StringColumn | None) -> Treebank:
        sentences = np.array(self.sentences, np.int64)
        fan_outs = np.array([len(blocks) for blocks in self.blocks], np.int64)
        flat = np.array([block for blocks in self.blocks for block in blocks], np.int32).reshape(-1, 2)
        order, places = preorder(sentences, fan_outs, flat[:, 0], flat[:, 1])
        return Treebank(
            np.array(self.lengths, np.int32),
            offsets_of(np.bincount(sentences, minlength=len(self.lengths))),
            flat[places, 0],
            flat[places, 1],
            block_offsets=offsets_of(fan_outs[order]) if (fan_outs > 1).any() else None,
            labels=StringColumn.of(self.labels[i] for i in order.tolist()) if self.labels is not None else None,
            tokens=tokens,
            tags=tags,
            support=np.array(self.support, np.float64)[order] if self.support is not None else None,
        )


def _as_blocks(given: Any, where: str, length: int) -> Constituent:
    """Return `given`, a span or a sequence of blocks, as merged blocks; check order and range."""
    try:
        blocks = [given] if isinstance(given[0], (int, np.integer)) else list(given)
        pairs = [(operator.index(start), operator.index(end)) for start, end in blocks]
    except (TypeError, ValueError, LookupError):
        raise FormatError(
            f"{where}: expected (start, end) or a sequence of such blocks, got {quote(given)}. Write half-open blocks."
        ) from None
    merged: list[Block] = []
    for start, end in pairs:
        if not 0 <= start < end <= length:
            raise FormatError(
                f"{where}: expected 0 <= start < end <= {length} (the sentence's length), got ({start}, {end}). "
                "Blocks are half-open and count tokens from 0."
            )
        if merged and start < merged[-1][1]:
            raise FormatError(
                f"{where}: expected blocks in order and apart, got {merged[-1]} before ({start}, {end}). Sort them."
            )
        if merged and start == merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return tuple(merged)


def _validate_discontinuous(bank: Treebank, where: str) -> None:
    assert bank.block_offsets is not None
    rows = bank.constituent_count
    place = np.zeros(3, np.int64)
    status = structure.check_laminar(
        bank.lengths, bank.offsets, bank.block_offsets, bank.starts, bank.ends,
        np.empty(int(bank.lengths.max(initial=0)), np.int64), np.empty(rows, np.int64), np.empty(rows, np.int64), place,
    )  # fmt: skip
    if status == structure.CROSSING:
        sentence, row, other = place.tolist()
        first = int(bank.offsets[sentence])
        constituents = bank[sentence].constituents
        raise _crossing(where, sentence, _plain(constituents[row - first]), _plain(constituents[other - first]))


def _plain(blocks: Constituent) -> tuple[Any, ...]:
    return blocks[0] if len(blocks) == 1 else blocks


def _crossing(where: str, sentence: int, one: tuple[Any, ...], other: tuple[Any, ...]) -> FormatError:
    return FormatError(
        f"{where}[{sentence}]: expected nested or disjoint constituents, got {one} and {other}, which cross. "
        "Mend the tree."
    )


def _out_of_range(where: str, sentence: int, span: Block, length: int) -> FormatError:
    return FormatError(
        f"{where}[{sentence}]: expected spans of two tokens or more within 0 and {length}, got {span}. "
        "Build the treebank with Treebank.from_constituents, which checks."
    )
