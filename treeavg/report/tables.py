"""Plain text tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def printable(text: str) -> str:
    r"""Return `text` without characters that could steer a terminal.

    Parameters
    ----------
    text : str
        Words and labels are data and may hold anything.

    Returns
    -------
    str
        Characters that do not print are replaced by U+FFFD.

    Examples
    --------
    >>> printable("a\x1b[31m")
    'a\ufffd[31m'
    """
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def display_width(text: str) -> int:
    """Return the columns that `text` takes in a terminal: wide letters two, combining marks none.

    Examples
    --------
    >>> display_width("tree"), display_width("木")
    (4, 2)
    """
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text, the first column to the left, the others to the right.

    Parameters
    ----------
    rows : sequence of sequences of str
        The first row is the header; all of one length.

    Returns
    -------
    str
        Without a final line end.

    Examples
    --------
    >>> print(table([["system", "f1"], ["average", "70.84"]]))
    system      f1
    average  70.84
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(display_width(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = []
        for column, cell in enumerate(row):
            space = " " * (widths[column] - display_width(cell))
            padded.append(cell + space if column == 0 else space + cell)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
