"""One tree of a treebank, looked at in place."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from treeavg.errors import ArgumentError, quote
from treeavg.strings import StringColumn

if TYPE_CHECKING:
    import nltk

    from treeavg.treebank import Treebank

Block = tuple[int, int]
Constituent = tuple[Block, ...]

#: How a bracket without a label, or a token without a tag, is written where a name is needed.
NO_LABEL = "X"


class TreeView:
    """One tree of a treebank; nothing is copied until it is asked for.

    Parameters
    ----------
    treebank : Treebank
        Where the tree lives.
    index : int
        Its place, from 0.

    Examples
    --------
    >>> from treeavg import Treebank
    >>> view = Treebank.from_constituents([["the", "dog", "barks"]], [[(0, 3), (0, 2)]])[0]
    >>> len(view), view.constituents
    (3, [((0, 3),), ((0, 2),)])
    """

    __slots__ = ("index", "treebank")

    def __init__(self, treebank: Treebank, index: int) -> None:
        self.treebank = treebank
        self.index = index

    def __len__(self) -> int:
        return int(self.treebank.lengths[self.index])

    @property
    def part(self) -> slice:
        """The place of this tree's constituents in the treebank's columns."""
        return self._rows

    @property
    def _rows(self) -> slice:
        return slice(int(self.treebank.offsets[self.index]), int(self.treebank.offsets[self.index + 1]))

    @property
    def _words(self) -> slice:
        offsets = self.treebank.token_offsets
        return slice(int(offsets[self.index]), int(offsets[self.index + 1]))

    @property
    def tokens(self) -> list[str] | None:
        """The words, or None where the treebank has none."""
        return _listed(self.treebank.tokens, self._words)

    @property
    def tags(self) -> list[str] | None:
        """One tag a token, or None."""
        return _listed(self.treebank.tags, self._words)

    @property
    def labels(self) -> list[str] | None:
        """One label a constituent, in the order of `constituents`, or None."""
        return _listed(self.treebank.labels, self._rows)

    @property
    def support(self) -> list[float] | None:
        """Share of the teachers' weight that has each constituent, in the order of `constituents`, or None."""
        return None if self.treebank.support is None else [float(value) for value in self.treebank.support[self._rows]]

    @property
    def constituents(self) -> list[Constituent]:
        """Constituents of two tokens or more in pre-order, each a tuple of half-open blocks."""
        bank, rows = self.treebank, self._rows
        if bank.block_offsets is None:
            return [(span,) for span in self.spans]
        bounds = bank.block_offsets[rows.start : rows.stop + 1].tolist()
        return [
            tuple(zip(bank.starts[low:high].tolist(), bank.ends[low:high].tolist(), strict=True))
            for low, high in pairwise(bounds)
        ]

    @property
    def spans(self) -> list[Block]:
        """The same as pairs ``(start, end)``; an ArgumentError where a constituent has several blocks."""
        bank, rows = self.treebank, self._rows
        if bank.block_offsets is None:
            return list(zip(bank.starts[rows].tolist(), bank.ends[rows].tolist(), strict=True))
        constituents = self.constituents
        for constituent in constituents:
            if len(constituent) > 1:
                raise ArgumentError(
                    f"treebank[{self.index}]: expected continuous constituents, got {constituent}. Use .constituents."
                )
        return [constituent[0] for constituent in constituents]

    def to_nltk(self, *, escape: bool = True) -> nltk.Tree:
        """Return the tree as an ``nltk.Tree``.

        Parameters
        ----------
        escape : bool, default True
            Write brackets in words as ``-LRB-`` and ``-RRB-``, as nltk's corpora have them and its printer needs.

        Returns
        -------
        nltk.Tree
            Without labels every node is ``X``.

        Raises
        ------
        FormatError
            The sentence is missing, or a constituent is discontinuous.

        Examples
        --------
        >>> from treeavg import Treebank
        >>> bank = Treebank.from_constituents([["the", "dog", "barks"]], [[(0, 3), (0, 2)]])
        >>> print(bank[0].to_nltk())
        (X (X (X the) (X dog)) (X barks))
        """
        from treeavg.interop import to_nltk_tree

        return to_nltk_tree(self, escape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TreeView):
            return NotImplemented
        mine, theirs = (view.treebank[view.index : view.index + 1] for view in (self, other))
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        words = " ".join(self.tokens) if self.tokens is not None else f"{len(self)} tokens"
        return f"<TreeView {self.index}: {quote(words)}, {counted(len(self.constituents), 'constituent')}>"


def _listed(column: StringColumn | None, part: slice) -> list[str] | None:
    return None if column is None else list(column.slice(part.start, part.stop))


def counted(number: int, noun: str) -> str:
    """Return ``1 token`` or ``2 tokens``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
