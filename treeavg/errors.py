"""The exceptions of treeavg.

    TreeavgError
    |-- FormatError      a file or a tree that cannot be read or written   (also a ValueError)
    |-- AlignmentError   treebanks that do not hold the same sentences     (also a ValueError)
    |-- ArgumentError    an argument out of range or unknown               (also a ValueError)
    |-- LimitError       a sentence that an algorithm cannot hold          (also a ValueError)
    `-- FileError        a path that cannot be opened, read or written     (also an OSError)

    SearchLimitWarning   a UserWarning: the best tree found, without a proof
    LeftOutWarning       a UserWarning: sentences that a training leaves out

Every message reads ``where: expected X, got Y. What to do next.`` Files count lines and columns from 1, Python
sequences count from 0; the message shows which by its brackets (``teachers[2][117]``) or colons (``file.txt:118:42``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class TreeavgError(Exception):
    """The root of all errors that treeavg raises on purpose."""


class FormatError(TreeavgError, ValueError):
    """A file or a tree breaks the rules of its format."""


class AlignmentError(TreeavgError, ValueError):
    """Treebanks that should hold the same sentences do not."""


class ArgumentError(TreeavgError, ValueError):
    """An argument is unknown or out of range."""


class LimitError(TreeavgError, ValueError):
    """A sentence is too large for an algorithm's memory."""


class FileError(TreeavgError, OSError):
    """A path cannot be opened, read or written."""


@dataclass(frozen=True)
class Problem:
    """A sentence that could not be used, and why.

    Parameters
    ----------
    sentence : int
        Its place, from 0.
    message : str
        One line: where, what, what to do.
    """

    sentence: int
    message: str


class SearchLimitWarning(UserWarning):
    """A search gave up before its tree was proved best."""


class LeftOutWarning(UserWarning):
    """Sentences that a training leaves out, such as very long ones."""


def quote(value: object, limit: int = 60) -> str:
    """Return ``repr(value)`` cut to `limit` characters.

    Parameters
    ----------
    value : object
        Anything.
    limit : int, default 60
        Longest result, in characters.

    Returns
    -------
    str
        The representation, ended by an ellipsis where it was cut.

    Examples
    --------
    >>> quote("tree")
    "'tree'"
    >>> quote("a" * 100, limit=10)
    "'aaaaaa..."
    """
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def unknown(where: str, value: object, known: Iterable[str]) -> ArgumentError:
    """Return the error for a value that is not among the known ones.

    Parameters
    ----------
    where : str
        The argument's name.
    value : object
        What was given.
    known : iterable of str
        What may be given.

    Returns
    -------
    ArgumentError
        Lists the known values and, where one is near, proposes it.

    Examples
    --------
    >>> print(unknown("method", "selct", ["generate", "select"]))
    method: expected one of 'generate', 'select', got 'selct'. Did you mean 'select'?
    """
    names = list(known)
    near = get_close_matches(str(value), names, n=1)
    advice = f"Did you mean {near[0]!r}?" if near else "Choose one of them."
    return ArgumentError(f"{where}: expected one of {', '.join(map(repr, names))}, got {quote(value)}. {advice}")
