"""What writers of trees share: who hangs under whom, and strings that a format cannot hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from treeavg.errors import FormatError, quote
from treeavg.strings import StringColumn
from treeavg.treebank import Treebank
from treeavg.view import Constituent


def hang(constituents: Sequence[Constituent], length: int) -> tuple[list[int], list[int]]:
    """Return the parent of each constituent and of each token.

    Parameters
    ----------
    constituents : sequence
        Of one sentence, in the order of a treebank: parents before children, of equal ones the outer first.
    length : int
        Tokens of the sentence.

    Returns
    -------
    parents : list of int
        Of each constituent, the row that it hangs under, -1 for none.
    owners : list of int
        The same of each token.

    Examples
    --------
    >>> hang([((0, 4),), ((0, 1), (2, 3))], 4)
    ([-1, 0], [1, 0, 1, 0])
    """
    sizes = [sum(end - start for start, end in blocks) for blocks in constituents]
    owners = np.full(length, -1, np.int64)
    parents = [-1] * len(sizes)
    # The larger first (stable): what owns a constituent's first token by then is the smallest one around it.
    for row in sorted(range(len(sizes)), key=lambda row: -sizes[row]):
        parents[row] = int(owners[constituents[row][0][0]])
        for start, end in constituents[row]:
            owners[start:end] = row
    return parents, owners.tolist()


def refuse(bank: Treebank, name: str, column: StringColumn | None, pattern: str, without: str, instead: str) -> None:
    """Raise where a string holds something that would not be read back.

    Parameters
    ----------
    bank : Treebank
        Whose sentence is named.
    name : str
        ``word``, ``label`` or ``tag``.
    column : StringColumn, optional
        The strings.
    pattern : str
        A regular expression that no string may match anywhere.
    without : str
        What must not be there, for the message.
    instead : str
        What to do, for the message.

    Raises
    ------
    FormatError
        Names the first such string.

    Examples
    --------
    >>> bank = Treebank.from_constituents([["a b"]], [[]])
    >>> refuse(bank, "word", bank.tokens, " ", "white space", "Write JSON lines.")
    Traceback (most recent call last):
    treeavg.errors.FormatError: treebank[0]: expected a word without white space, got 'a b'. Write JSON lines.
    """
    if column is None:
        return
    search = re.compile(pattern).search
    for place, string in enumerate(column):
        if search(string):
            offsets = bank.offsets if name == "label" else bank.token_offsets
            sentence = int(np.searchsorted(offsets, place, side="right")) - 1
            raise FormatError(
                f"treebank[{sentence}]: expected a {name} without {without}, got {quote(string)}. {instead}"
            )
