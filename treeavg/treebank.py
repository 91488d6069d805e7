"""The treebank: trees over many sentences as columns of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import ArgumentError, quote
from treeavg.kernels import structure
from treeavg.strings import StringColumn, flat_ranges, offsets_of
from treeavg.view import TreeView, counted

if TYPE_CHECKING:
    import nltk
    import pyarrow


@dataclass(frozen=True)
class SearchReport:
    """What the search for the best trees found out about itself.

    Parameters
    ----------
    proved : ndarray of bool, shape (N,)
        Whether the tree of a sentence is proved best.
    nodes : ndarray of int64, shape (N,)
        Nodes of branch and bound.
    largest : ndarray of int64, shape (N,)
        Constituents in the largest component of conflicts.
    candidates : ndarray of int64, shape (N,)
        Constituents that were searched, after pruning.
    gaps : ndarray of float64, shape (N,)
        By how much a better tree could be better, in the objective; 0 where proved.

    Examples
    --------
    >>> import treeavg
    >>> bank = Treebank.from_constituents([3], [[(0, 2)]])
    >>> treeavg.average([bank, bank], binary=False).search.proved.tolist()
    [True]
    """

    proved: NDArray[np.bool_]
    nodes: NDArray[np.int64]
    largest: NDArray[np.int64]
    candidates: NDArray[np.int64]
    gaps: NDArray[np.float64]


class Treebank:
    """Constituency trees over N sentences, stored as columns.

    The rows of a sentence are its constituents of two tokens or more, in pre-order: by start, then the longer first;
    of equal ones (a unary chain) the outer first. Constituents of one token are implied. The labels of brackets over a
    single token, outermost first and joined by spaces, are that token's *tag*: ``(NP (NNP John))`` is the token
    ``John`` with the tag ``NP NNP``. A sentence of length 0 is one that is missing.

    Make one with `treeavg.read`, `from_constituents` or `from_nltk`; the constructor trusts its arguments.

    Parameters
    ----------
    lengths : ndarray of int32, shape (N,)
        Tokens in each sentence; T in all.
    offsets : ndarray of int64, shape (N + 1,)
        Sentence i has the constituents ``offsets[i]`` to ``offsets[i + 1]``; M in all.
    starts, ends : ndarray of int32, shape (B,)
        Half-open blocks, counted in tokens from 0. Without `block_offsets`, B = M.
    block_offsets : ndarray of int64, shape (M + 1,), optional
        Constituent m has the blocks ``block_offsets[m]`` to ``block_offsets[m + 1]``. Absent when all fan-outs are 1.
    labels : StringColumn, length M, optional
        Labels of the constituents.
    tokens : StringColumn, length T, optional
        The words.
    tags : StringColumn, length T, optional
        Labels of the brackets over one token.
    support : ndarray of float64, shape (M,), optional
        Share of the teachers' weight that has each constituent.

    Examples
    --------
    >>> from treeavg import Treebank
    >>> bank = Treebank.from_constituents([["the", "dog", "barks"]], [[(0, 3), (0, 2)]])
    >>> bank
    <Treebank: 1 sentence, 3 tokens, 2 constituents>
    >>> bank[0].tokens, bank[0].spans
    (['the', 'dog', 'barks'], [(0, 3), (0, 2)])
    """

    __slots__ = (
        "block_offsets",
        "ends",
        "labels",
        "lengths",
        "offsets",
        "search",
        "starts",
        "support",
        "tags",
        "token_offsets",
        "tokens",
    )

    def __init__(
        self,
        lengths: NDArray[np.int32],
        offsets: NDArray[np.int64],
        starts: NDArray[np.int32],
        ends: NDArray[np.int32],
        *,
        block_offsets: NDArray[np.int64] | None = None,
        labels: StringColumn | None = None,
        tokens: StringColumn | None = None,
        tags: StringColumn | None = None,
        support: NDArray[np.float64] | None = None,
    ) -> None:
        self.lengths = lengths
        self.offsets = offsets
        self.starts = starts
        self.ends = ends
        self.block_offsets = block_offsets
        self.labels = labels
        self.tokens = tokens
        self.tags = tags
        self.support = support
        #: How the search for these trees went, where there was one (`treeavg.average`); not kept by slices.
        self.search: SearchReport | None = None
        self.token_offsets = offsets_of(lengths)

    # ------------------------------------------------------------------ making

    @classmethod
    def from_constituents(
        cls,
        tokens: Sequence[Sequence[str] | int],
        constituents: Sequence[Sequence[Any]],
        *,
        labels: Sequence[Sequence[str]] | None = None,
        tags: Sequence[Sequence[str]] | None = None,
        support: Sequence[Sequence[float]] | None = None,
    ) -> Treebank:
        """Build a treebank from lists.

        Parameters
        ----------
        tokens : sequence of (sequence of str, or int), length N
            The words of each sentence, or only their number.
        constituents : sequence of sequences, length N
            Of each sentence, its constituents in any order: ``(start, end)`` or a sequence of such blocks, half-open,
            counted from 0. Constituents of one token may be left out.
        labels : sequence of sequences of str, optional
            One label a constituent, in the same order. The label of a constituent of one token joins its tag.
        tags : sequence of sequences of str, optional
            One tag a token; a chain of labels is joined by spaces.
        support : sequence of sequences of float, optional
            One share a constituent, in the same order.

        Returns
        -------
        Treebank

        Raises
        ------
        AlignmentError
            The sequences differ in length.
        FormatError
            A constituent is empty, out of range or crosses another; blocks overlap or are out of order.

        Examples
        --------
        >>> bank = Treebank.from_constituents([3], [[((0, 1), (2, 3))]])
        >>> bank[0].constituents
        [((0, 1), (2, 3))]
        """
        from treeavg.building import from_lists

        return from_lists(tokens, constituents, labels, tags, support)

    @classmethod
    def from_nltk(cls, trees: nltk.Tree | Iterable[nltk.Tree]) -> Treebank:
        """Build a treebank from nltk trees.

        Parameters
        ----------
        trees : nltk.Tree or iterable of nltk.Tree
            Leaves are strings; ``-LRB-`` and ``-RRB-`` in them become brackets, as in a file. Outer nodes with an
            empty label around a single node are dropped, as nltk's own corpus reader does. Not modified.

        Returns
        -------
        Treebank
            With labels, tokens and tags.

        Raises
        ------
        FormatError
            A tree has no leaf, or a node has none.

        Examples
        --------
        >>> import nltk
        >>> Treebank.from_nltk(nltk.Tree.fromstring("(S (NP (DT the) (NN dog)) (VP (VBZ barks)))"))
        <Treebank: 1 sentence, 3 tokens, 2 constituents>
        """
        from treeavg.interop import from_nltk_trees

        return from_nltk_trees(trees)

    @classmethod
    def from_arrow(cls, table: pyarrow.Table) -> Treebank:
        """Build a treebank from an Arrow table.

        Parameters
        ----------
        table : pyarrow.Table or pyarrow.RecordBatch
            A row is a sentence; docs/formats.md has the schema. Slices, several chunks and other widths of integers
            and offsets are understood, at the price of a copy.

        Returns
        -------
        Treebank
            Where the table has the types of the schema in one chunk, it shares the table's memory: change neither.

        Raises
        ------
        FormatError
            The table is damaged, its columns do not fit each other, or a tree breaks a rule.
        ArgumentError
            It is no table, or pyarrow is not installed.

        Examples
        --------
        >>> bank = Treebank.from_constituents([["a", "b"]], [[(0, 2)]])
        >>> Treebank.from_arrow(bank.to_arrow()) == bank
        True
        """
        from treeavg.tables import from_table

        bank: Treebank = from_table(table, "constituency")
        return bank

    @classmethod
    def concatenate(cls, treebanks: Iterable[Treebank]) -> Treebank:
        """Join treebanks end to end.

        Parameters
        ----------
        treebanks : iterable of Treebank
            All with words or all without, all with labels or all without (tags are filled up with none).

        Returns
        -------
        Treebank
            The sentences of the first, then of the second, and so on.

        Raises
        ------
        ArgumentError
            Only some have words, or only some have labels.

        Examples
        --------
        >>> bank = Treebank.from_constituents([["a", "b"]], [[(0, 2)]])
        >>> len(Treebank.concatenate([bank, bank]))
        2
        """
        parts = [part for part in treebanks if len(part)]
        if not parts:
            return cls.from_constituents([], [])
        if len(parts) == 1:
            return parts[0]
        for name in ("tokens", "labels"):
            having = [getattr(part, name) is not None for part in parts if part.token_count]  # others have none to lack
            if any(having) and not all(having):
                raise ArgumentError(
                    f"treebanks: expected {name} in all or in none, got them in {sum(having)} of {len(parts)}. "
                    f"Drop them with treebank.replace({name}=None)."
                )
        block_offsets = None
        if any(part.block_offsets is not None for part in parts):
            block_offsets = offsets_of(np.concatenate([part.fan_outs for part in parts]))
        supports = [part.support for part in parts if part.support is not None]
        tags = None
        if any(part.tags is not None for part in parts):
            tags = StringColumn.concatenate(
                part.tags
                if part.tags is not None
                else StringColumn(np.empty(0, np.uint8), np.zeros(part.token_count + 1, np.int64))
                for part in parts
            )
        return cls(
            np.concatenate([part.lengths for part in parts]),
            offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
            np.concatenate([part.starts for part in parts]),
            np.concatenate([part.ends for part in parts]),
            block_offsets=block_offsets,
            labels=_concatenate_strings(parts, "labels"),
            tokens=_concatenate_strings(parts, "tokens"),
            tags=tags,
            support=np.concatenate(supports) if len(supports) == len(parts) else None,
        )

    def to_arrow(self) -> pyarrow.Table:
        """Return the trees as an Arrow table, a row for each sentence.

        Returns
        -------
        pyarrow.Table
            Shares the memory of this treebank's columns (of discontinuous trees, offsets and fan-outs are made); what
            the treebank lacks is null. docs/formats.md has the schema.

        Raises
        ------
        ArgumentError
            pyarrow is not installed.

        Examples
        --------
        >>> Treebank.from_constituents([3], [[(0, 2)]]).to_arrow().column("ends").to_pylist()
        [[2]]
        """
        from treeavg.arrow import to_table

        return to_table(self)

    def replace(self, **columns: Any) -> Treebank:
        """Return a treebank with other `labels`, `tokens`, `tags` or `support` and the same trees.

        Parameters
        ----------
        **columns : StringColumn, ndarray or None
            ``labels``, ``tokens``, ``tags``, ``support``.

        Returns
        -------
        Treebank
            Shares the other columns with this one.

        Raises
        ------
        ArgumentError
            A name is unknown or a column has the wrong length.

        Examples
        --------
        >>> bank = Treebank.from_constituents([["a", "b"]], [[(0, 2)]])
        >>> bank.replace(tokens=None)[0].tokens is None
        True
        """
        wanted = {
            "labels": self.constituent_count,
            "tokens": self.token_count,
            "tags": self.token_count,
            "support": self.constituent_count,
        }
        for name, column in columns.items():
            if name not in wanted:
                raise ArgumentError(f"replace: expected one of {', '.join(wanted)}, got {name!r}. Name a column.")
            if column is not None and len(column) != wanted[name]:
                raise ArgumentError(
                    f"replace: expected {wanted[name]} {name}, got {len(column)}. Give one string per entry."
                )
        strings = {name: getattr(self, name) for name in wanted} | columns
        return Treebank(self.lengths, self.offsets, self.starts, self.ends, block_offsets=self.block_offsets, **strings)

    # ------------------------------------------------------------------ sizes

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def token_count(self) -> int:
        """Tokens in all, T."""
        return int(self.token_offsets[-1])

    @property
    def constituent_count(self) -> int:
        """Stored constituents in all, M (those of one token are implied)."""
        return int(self.offsets[-1])

    @property
    def fan_outs(self) -> NDArray[np.int64]:
        """Blocks of each constituent, shape (M,)."""
        if self.block_offsets is None:
            return np.ones(self.constituent_count, np.int64)
        return np.diff(self.block_offsets)

    @property
    def is_continuous(self) -> bool:
        """Whether every constituent is a single block."""
        return self.block_offsets is None

    @property
    def first_discontinuous(self) -> int | None:
        """Index of the first sentence with a constituent of several blocks, or None."""
        if self.block_offsets is None:
            return None
        return int(np.searchsorted(self.offsets, np.argmax(self.fan_outs > 1), side="right")) - 1

    @property
    def is_binary(self) -> bool:
        """Whether every sentence of n tokens has n - 1 different constituents, the whole sentence among them."""
        return self.block_offsets is None and bool(
            structure.is_binary(self.lengths, self.offsets, self.starts, self.ends, 0, len(self))
        )

    @property
    def missing(self) -> NDArray[np.int64]:
        """Indices of the sentences that are missing (length 0)."""
        return np.flatnonzero(self.lengths == 0)

    def __repr__(self) -> str:
        parts = [
            counted(len(self), "sentence"),
            counted(self.token_count, "token"),
            counted(self.constituent_count, "constituent"),
        ]
        if self.block_offsets is not None:
            parts.append(f"{int((self.fan_outs > 1).sum()):,} discontinuous")
        if len(self.missing):
            parts.append(f"{len(self.missing):,} missing")
        return f"<Treebank: {', '.join(parts)}>"

    # ------------------------------------------------------------------ access

    @overload
    def __getitem__(self, index: int | np.integer) -> TreeView: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Treebank: ...

    def __getitem__(self, index: Any) -> TreeView | Treebank:
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"treebank[{index}]: expected an index below {len(self)}. Check len(treebank).")
            return TreeView(self, int(index) % len(self))
        if isinstance(index, slice):
            begin, stop, step = index.indices(len(self))
            if step == 1:
                return self._slice(begin, max(begin, stop))
            return self._take(np.arange(begin, stop, step, dtype=np.int64))
        chosen = np.asarray(index)
        if chosen.dtype == bool:
            if len(chosen) != len(self):
                raise IndexError(f"treebank[mask]: expected {len(self)} values, got {len(chosen)}. One per sentence.")
            return self._take(np.flatnonzero(chosen))
        chosen = chosen.astype(np.int64)
        if len(chosen) and (chosen.max() >= len(self) or chosen.min() < -len(self)):
            raise IndexError(f"treebank[indices]: expected indices below {len(self)}, got {quote(index)}.")
        return self._take(chosen % max(len(self), 1))

    def __iter__(self) -> Iterator[TreeView]:
        return (TreeView(self, index) for index in range(len(self)))

    def _slice(self, begin: int, stop: int) -> Treebank:
        rows = slice(int(self.offsets[begin]), int(self.offsets[stop]))
        words = slice(int(self.token_offsets[begin]), int(self.token_offsets[stop]))
        blocks, block_offsets = rows, None
        if self.block_offsets is not None:
            blocks = slice(int(self.block_offsets[rows.start]), int(self.block_offsets[rows.stop]))
            block_offsets = self.block_offsets[rows.start : rows.stop + 1] - blocks.start
        return _continuous_if_possible(
            Treebank(
                self.lengths[begin:stop],
                self.offsets[begin : stop + 1] - rows.start,
                self.starts[blocks],
                self.ends[blocks],
                block_offsets=block_offsets,
                labels=_pick(self.labels, rows),
                tokens=_pick(self.tokens, words),
                tags=_pick(self.tags, words),
                support=self.support[rows] if self.support is not None else None,
            )
        )

    def _take(self, sentences: NDArray[np.int64]) -> Treebank:
        counts = np.diff(self.offsets)[sentences]
        rows = flat_ranges(self.offsets[:-1][sentences], counts)
        lengths = self.lengths[sentences]
        spelt = self.tokens is not None or self.tags is not None
        words = flat_ranges(self.token_offsets[:-1][sentences], lengths.astype(np.int64) if spelt else 0 * counts)
        blocks, block_offsets = rows, None
        if self.block_offsets is not None:
            block_offsets = offsets_of(self.fan_outs[rows])
            blocks = flat_ranges(self.block_offsets[:-1][rows], self.fan_outs[rows])
        return _continuous_if_possible(
            Treebank(
                lengths,
                offsets_of(counts),
                self.starts[blocks],
                self.ends[blocks],
                block_offsets=block_offsets,
                labels=self.labels.take(rows) if self.labels is not None else None,
                tokens=self.tokens.take(words) if self.tokens is not None else None,
                tags=self.tags.take(words) if self.tags is not None else None,
                support=self.support[rows] if self.support is not None else None,
            )
        )

    def __add__(self, other: Treebank) -> Treebank:
        return Treebank.concatenate([self, other]) if isinstance(other, Treebank) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Treebank):
            return NotImplemented
        if (self.block_offsets is None) != (other.block_offsets is None):
            return False
        same_blocks = self.block_offsets is None or (
            other.block_offsets is not None and np.array_equal(self.block_offsets, other.block_offsets)
        )
        return (
            same_blocks
            and np.array_equal(self.lengths, other.lengths)
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.starts, other.starts)
            and np.array_equal(self.ends, other.ends)
            and self.labels == other.labels
            and self.tokens == other.tokens
            and self.tags == other.tags
            and (self.support is None) == (other.support is None)
            and (self.support is None or np.array_equal(self.support, other.support))  # type: ignore[arg-type]
        )

    __hash__ = None  # type: ignore[assignment]

    def same_trees(self, other: Treebank) -> bool:
        """Tell whether both hold the same constituents, whatever their words, labels and tags.

        Parameters
        ----------
        other : Treebank
            To compare with.

        Returns
        -------
        bool

        Examples
        --------
        >>> bank = Treebank.from_constituents([["a", "b"]], [[(0, 2)]])
        >>> bank.same_trees(Treebank.from_constituents([2], [[(0, 2)]]))
        True
        """
        bare = {"labels": None, "tokens": None, "tags": None, "support": None}
        return self.replace(**bare) == other.replace(**bare)

    def validate(self, where: str = "constituents") -> None:
        """Check every tree: constituents in range, in pre-order, nested or apart.

        Parameters
        ----------
        where : str, default "constituents"
            How messages name this treebank.

        Raises
        ------
        FormatError
            Names the first constituent that breaks a rule.

        Examples
        --------
        >>> Treebank.from_constituents([3], [[(0, 2), (1, 3)]])
        Traceback (most recent call last):
        treeavg.errors.FormatError: constituents[0]: expected nested or disjoint constituents, got (0, 2) and (1, 3), \
which cross. Mend the tree.
        """
        from treeavg.building import validate

        validate(self, where)


def _continuous_if_possible(bank: Treebank) -> Treebank:
    """Drop `block_offsets` where every fan-out is 1, so that equal trees have equal columns."""
    if bank.block_offsets is not None and len(bank.starts) == bank.constituent_count:
        bank.block_offsets = None
    return bank


def _concatenate_strings(parts: list[Treebank], name: str) -> StringColumn | None:
    columns = [getattr(part, name) for part in parts if part.token_count] or [getattr(part, name) for part in parts]
    present = [column for column in columns if column is not None]
    return StringColumn.concatenate(present) if present else None


def _pick(column: StringColumn | None, part: slice) -> StringColumn | None:
    return None if column is None else column.slice(part.start, part.stop)
