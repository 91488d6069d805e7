"""The dependency treebank: heads over many sentences as columns of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import AlignmentError, ArgumentError, FormatError, quote
from treeavg.kernels import structure
from treeavg.strings import StringColumn, flat_ranges, offsets_of
from treeavg.view import counted

if TYPE_CHECKING:
    import pyarrow

_TOKEN_COLUMNS = ("tokens", "relations")
_SENTENCE_COLUMNS = ("ids", "sources")


class DependencyTreebank:
    """Dependency trees over N sentences, stored as columns.

    Heads follow CoNLL-U: 0 is the root, words count from 1. A sentence of length 0 is one that is missing.

    Make one with `treeavg.read` or `from_heads`; the constructor trusts its arguments.

    Parameters
    ----------
    lengths : ndarray of int32, shape (N,)
        Words in each sentence; T in all.
    heads : ndarray of int32, shape (T,)
        The head of each word.
    tokens : StringColumn, length T, optional
        The words.
    relations : StringColumn, length T, optional
        The label of the arc to the head.
    support : ndarray of float64, shape (T,), optional
        Share of the teachers' weight that has this head.
    ids : StringColumn, length N, optional
        What a heads file calls each sentence.
    sources : StringColumn, length N, optional
        Each sentence as its CoNLL-U file has it, so that comments, ranges, empty nodes and other columns survive.

    Examples
    --------
    >>> bank = DependencyTreebank.from_heads([[2, 0]], tokens=[["it", "rains"]])
    >>> bank
    <DependencyTreebank: 1 sentence, 2 tokens>
    >>> bank[0].heads, bank[0].tokens
    ([2, 0], ['it', 'rains'])
    """

    __slots__ = ("heads", "ids", "lengths", "relations", "sources", "support", "token_offsets", "tokens")

    def __init__(
        self,
        lengths: NDArray[np.int32],
        heads: NDArray[np.int32],
        *,
        tokens: StringColumn | None = None,
        relations: StringColumn | None = None,
        support: NDArray[np.float64] | None = None,
        ids: StringColumn | None = None,
        sources: StringColumn | None = None,
    ) -> None:
        self.lengths = lengths
        self.heads = heads
        self.tokens = tokens
        self.relations = relations
        self.support = support
        self.ids = ids
        self.sources = sources
        self.token_offsets = offsets_of(lengths)

    @classmethod
    def from_heads(
        cls,
        heads: Sequence[Sequence[int]],
        *,
        tokens: Sequence[Sequence[str]] | None = None,
        relations: Sequence[Sequence[str]] | None = None,
        ids: Sequence[str] | None = None,
    ) -> DependencyTreebank:
        """Build a treebank from lists.

        Parameters
        ----------
        heads : sequence of sequences of int, length N
            Heads of each sentence: 0 is the root, words count from 1. An empty one is a missing sentence.
        tokens, relations : sequence of sequences of str, optional
            One string a word.
        ids : sequence of str, length N, optional
            Names of the sentences.

        Returns
        -------
        DependencyTreebank

        Raises
        ------
        AlignmentError
            The sequences differ in length.
        FormatError
            Heads do not form a tree with one root.

        Examples
        --------
        >>> DependencyTreebank.from_heads([[2, 0, 2]]).heads.tolist()
        [2, 0, 2]
        """
        columns: dict[str, Any] = {}
        for name, lists in (("tokens", tokens), ("relations", relations)):
            if lists is None:
                continue
            if len(lists) != len(heads):
                raise AlignmentError(
                    f"{name}: expected one entry per sentence, {len(heads)}, got {len(lists)}. Pass one list each."
                )
            for index, (own, given) in enumerate(zip(heads, lists, strict=True)):
                if len(own) != len(given):
                    raise AlignmentError(
                        f"{name}[{index}]: expected {len(own)}, one per head, got {len(given)}. Pass one for each word."
                    )
            columns[name] = StringColumn.of(word for own in lists for word in own)
        if ids is not None and len(ids) != len(heads):
            raise AlignmentError(f"ids: expected one per sentence, {len(heads)}, got {len(ids)}. Name each sentence.")
        flat = [head for own in heads for head in own]
        for head in flat:
            if not isinstance(head, (int, np.integer)) or isinstance(head, bool) or not -(2**31) <= head < 2**31:
                raise FormatError(f"heads: expected whole numbers, got {quote(head)}. 0 is the root.")
        bank = cls(
            np.array([len(own) for own in heads], np.int32),
            np.array(flat, np.int32),
            ids=StringColumn.of(ids) if ids is not None else None,
            **columns,
        )
        bank.validate("heads")
        return bank

    @classmethod
    def from_arrow(cls, table: pyarrow.Table) -> DependencyTreebank:
        """Build a treebank from an Arrow table.

        Parameters
        ----------
        table : pyarrow.Table or pyarrow.RecordBatch
            As for `Treebank.from_arrow`, with the columns of dependency trees.

        Returns
        -------
        DependencyTreebank
            Where the table has the types of the schema in one chunk, it shares the table's memory: change neither.

        Raises
        ------
        FormatError
            The table is damaged, its columns do not fit each other, or heads do not form a tree.
        ArgumentError
            It is no table, or pyarrow is not installed.

        Examples
        --------
        >>> bank = DependencyTreebank.from_heads([[2, 0]])
        >>> DependencyTreebank.from_arrow(bank.to_arrow()) == bank
        True
        """
        from treeavg.tables import from_table

        bank: DependencyTreebank = from_table(table, "dependency")
        return bank

    @classmethod
    def concatenate(cls, treebanks: Iterable[DependencyTreebank]) -> DependencyTreebank:
        """Join treebanks end to end.

        Parameters
        ----------
        treebanks : iterable of DependencyTreebank
            Columns that only some have are dropped, except words: all have them, or none.

        Returns
        -------
        DependencyTreebank

        Raises
        ------
        ArgumentError
            Only some have words.

        Examples
        --------
        >>> bank = DependencyTreebank.from_heads([[0]])
        >>> len(DependencyTreebank.concatenate([bank, bank]))
        2
        """
        parts = [part for part in treebanks if len(part)]
        if not parts:
            return cls(np.empty(0, np.int32), np.empty(0, np.int32))
        if len(parts) == 1:
            return parts[0]
        having = [part.tokens is not None for part in parts]
        if any(having) and not all(having):
            raise ArgumentError(
                f"treebanks: expected tokens in all or in none, got them in {sum(having)} of {len(parts)}. "
                "Drop them with treebank.replace(tokens=None)."
            )
        strings: dict[str, Any] = {}
        for name in (*_TOKEN_COLUMNS, *_SENTENCE_COLUMNS):
            columns = [getattr(part, name) for part in parts]
            if all(column is not None for column in columns):
                strings[name] = StringColumn.concatenate(columns)
        support = [part.support for part in parts if part.support is not None]
        return cls(
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.heads for part in parts]),
            support=np.concatenate(support) if len(support) == len(parts) else None,
            **strings,
        )

    def to_arrow(self) -> pyarrow.Table:
        """Return the trees as an Arrow table, a row for each sentence.

        Returns
        -------
        pyarrow.Table
            Shares the memory of this treebank's columns; what the treebank lacks is null. docs/formats.md has the
            schema.

        Raises
        ------
        ArgumentError
            pyarrow is not installed.

        Examples
        --------
        >>> DependencyTreebank.from_heads([[2, 0]]).to_arrow().column("heads").to_pylist()
        [[2, 0]]
        """
        from treeavg.arrow import to_table

        return to_table(self)

    def replace(self, **columns: Any) -> DependencyTreebank:
        """Return a treebank with some columns changed.

        Parameters
        ----------
        **columns : StringColumn, ndarray or None
            ``heads``, ``tokens``, ``relations``, ``support`` (one a word), ``ids``, ``sources`` (one a sentence).

        Returns
        -------
        DependencyTreebank
            Shares the other columns with this one.

        Raises
        ------
        ArgumentError
            A name is unknown or a column has the wrong length.

        Examples
        --------
        >>> DependencyTreebank.from_heads([[0]], tokens=[["go"]]).replace(tokens=None)[0].tokens is None
        True
        """
        known = {name: getattr(self, name) for name in ("heads", *_TOKEN_COLUMNS, "support", *_SENTENCE_COLUMNS)}
        for name, column in columns.items():
            if name not in known:
                raise ArgumentError(f"replace: expected one of {', '.join(known)}, got {name!r}. Name a column.")
            size = len(self) if name in _SENTENCE_COLUMNS else self.token_count
            if column is not None and len(column) != size:
                raise ArgumentError(f"replace: expected {size} {name}, got {len(column)}. Give one per entry.")
        return DependencyTreebank(self.lengths, **(known | columns))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def token_count(self) -> int:
        """Words in all, T."""
        return int(self.token_offsets[-1])

    @property
    def missing(self) -> NDArray[np.int64]:
        """Indices of the sentences that are missing (length 0)."""
        return np.flatnonzero(self.lengths == 0)

    def __repr__(self) -> str:
        parts = [counted(len(self), "sentence"), counted(self.token_count, "token")]
        if len(self.missing):
            parts.append(f"{len(self.missing):,} missing")
        return f"<DependencyTreebank: {', '.join(parts)}>"

    @overload
    def __getitem__(self, index: int | np.integer) -> DependencyView: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> DependencyTreebank: ...

    def __getitem__(self, index: Any) -> DependencyView | DependencyTreebank:
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"treebank[{index}]: expected an index below {len(self)}. Check len(treebank).")
            return DependencyView(self, int(index) % len(self))
        chosen = np.arange(len(self))[index if isinstance(index, slice) else np.asarray(index)]
        lengths = self.lengths[chosen]
        words = flat_ranges(self.token_offsets[:-1][chosen], lengths.astype(np.int64))
        return DependencyTreebank(
            lengths,
            self.heads[words],
            support=self.support[words] if self.support is not None else None,
            **{name: _taken(getattr(self, name), words) for name in _TOKEN_COLUMNS},
            **{name: _taken(getattr(self, name), chosen) for name in _SENTENCE_COLUMNS},
        )

    def __iter__(self) -> Iterator[DependencyView]:
        return (DependencyView(self, index) for index in range(len(self)))

    def __add__(self, other: DependencyTreebank) -> DependencyTreebank:
        return (
            DependencyTreebank.concatenate([self, other]) if isinstance(other, DependencyTreebank) else NotImplemented
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DependencyTreebank):
            return NotImplemented
        return (
            self.same_trees(other)
            and all(getattr(self, name) == getattr(other, name) for name in (*_TOKEN_COLUMNS, *_SENTENCE_COLUMNS))
            and (self.support is None) == (other.support is None)
            and (self.support is None or np.array_equal(self.support, other.support))  # type: ignore[arg-type]
        )

    __hash__ = None  # type: ignore[assignment]

    def same_trees(self, other: DependencyTreebank) -> bool:
        """Tell whether both hold the same heads, whatever their words and labels.

        Parameters
        ----------
        other : DependencyTreebank
            To compare with.

        Returns
        -------
        bool

        Examples
        --------
        >>> bank = DependencyTreebank.from_heads([[2, 0]])
        >>> bank.same_trees(DependencyTreebank.from_heads([[0, 1]]))
        False
        """
        return np.array_equal(self.lengths, other.lengths) and np.array_equal(self.heads, other.heads)

    def validate(self, where: str = "heads") -> None:
        """Check every tree: heads in range, exactly one root, no cycle.

        Parameters
        ----------
        where : str, default "heads"
            How messages name this treebank.

        Raises
        ------
        FormatError
            Names the first sentence and word that break a rule.

        Examples
        --------
        >>> DependencyTreebank.from_heads([[2, 1]])
        Traceback (most recent call last):
        treeavg.errors.FormatError: heads[0]: expected one word with head 0, got none. Give one word the head 0.
        """
        place = np.zeros(2, np.int64)
        marks = np.empty(int(self.lengths.max(initial=0)) + 1, np.int32)
        status = structure.check_heads(self.lengths, self.token_offsets, self.heads, marks, place)
        if status == structure.GOOD:
            return
        sentence, word = place.tolist()
        name, length = f"{where}[{sentence}]", int(self.lengths[sentence])
        head = int(self.heads[int(self.token_offsets[sentence]) + word])
        if status == structure.BAD_RANGE:
            raise FormatError(
                f"{name}: expected heads from 0 to {length}, got {head} for word {word + 1}. "
                "Words count from 1, 0 is the root."
            )
        if status == structure.NO_ROOT:
            raise FormatError(f"{name}: expected one word with head 0, got none. Give one word the head 0.")
        if status == structure.SEVERAL_ROOTS:
            raise FormatError(
                f"{name}: expected one word with head 0, got a second one, word {word + 1}. Attach it to another word."
            )
        raise FormatError(f"{name}: expected a tree, got a cycle through word {word + 1}. Mend its heads.")


class DependencyView:
    """One dependency tree of a treebank.

    Parameters
    ----------
    treebank : DependencyTreebank
        Where the tree lives.
    index : int
        Its place, from 0.

    Examples
    --------
    >>> DependencyTreebank.from_heads([[2, 0]])[0].heads
    [2, 0]
    """

    __slots__ = ("index", "treebank")

    def __init__(self, treebank: DependencyTreebank, index: int) -> None:
        self.treebank = treebank
        self.index = index

    def __len__(self) -> int:
        return int(self.treebank.lengths[self.index])

    @property
    def part(self) -> slice:
        """The place of this tree's arcs in the treebank's columns."""
        return self._words

    @property
    def _words(self) -> slice:
        offsets = self.treebank.token_offsets
        return slice(int(offsets[self.index]), int(offsets[self.index + 1]))

    @property
    def heads(self) -> list[int]:
        """The head of each word: 0 is the root, words count from 1."""
        return [int(head) for head in self.treebank.heads[self._words]]

    @property
    def tokens(self) -> list[str] | None:
        """The words, or None where the treebank has none."""
        return self._strings(self.treebank.tokens)

    @property
    def relations(self) -> list[str] | None:
        """The label of the arc to each word, or None."""
        return self._strings(self.treebank.relations)

    @property
    def support(self) -> list[float] | None:
        """Share of the teachers' weight that has each head, or None."""
        return None if self.treebank.support is None else [float(value) for value in self.treebank.support[self._words]]

    def _strings(self, column: StringColumn | None) -> list[str] | None:
        return None if column is None else list(column.slice(self._words.start, self._words.stop))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DependencyView):
            return NotImplemented
        return self.treebank[[self.index]] == other.treebank[[other.index]]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        words = " ".join(self.tokens) if self.tokens is not None else f"{len(self)} tokens"
        return f"<DependencyView {self.index}: {quote(words)}>"


def _taken(column: StringColumn | None, indices: NDArray[np.int64]) -> StringColumn | None:
    return None if column is None else column.take(indices)
