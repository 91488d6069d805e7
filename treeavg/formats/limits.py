"""How much one sentence and one compressed file may hold, so that a damaged or hostile file cannot fill the memory."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import ArgumentError, LimitError, quote

MEBIBYTE = 1 << 20

#: Where a user sets them; 0 lifts a limit.
SENTENCE_VARIABLE, EXPANSION_VARIABLE = "TREEAVG_MAX_SENTENCE_MB", "TREEAVG_MAX_EXPANSION"

#: Longest line or sentence, in MiB.
SENTENCE = 64.0

#: Most bytes for each compressed byte, once `FREE` bytes came out. Text compresses to a fifth or a tenth; a file that
#: repeats a few megabytes can pass this, and then the variable has to be set.
EXPANSION = 200.0
FREE = 512 * MEBIBYTE


def longest_sentence() -> int:
    """Return the most bytes of a line or of a sentence over several lines; 0 for no limit.

    Returns
    -------
    int

    Raises
    ------
    ArgumentError
        The environment variable ``TREEAVG_MAX_SENTENCE_MB`` is not a number, at least 0.

    Examples
    --------
    >>> longest_sentence() // MEBIBYTE
    64
    """
    return int(_number(SENTENCE_VARIABLE, SENTENCE) * MEBIBYTE)


def most_expansion() -> float:
    """Return the most bytes that a compressed byte may become, on average; 0 for no limit.

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        The environment variable ``TREEAVG_MAX_EXPANSION`` is not a number, at least 0.

    Examples
    --------
    >>> most_expansion()
    200.0
    """
    return _number(EXPANSION_VARIABLE, EXPANSION)


def too_long(place: str, what: str, limit: int) -> LimitError:
    """Return the error for a line or sentence above the limit.

    Parameters
    ----------
    place : str
        File and line where it begins.
    what : str
        ``line`` or ``sentence``.
    limit : int
        Bytes.

    Returns
    -------
    LimitError

    Examples
    --------
    >>> print(too_long("a.txt:3", "line", 1 << 20))
    a.txt:3: expected a line of at most 1 MiB, got a longer one. Is this the right file and format? To read it all the \
same, set TREEAVG_MAX_SENTENCE_MB=0 (no limit).
    """
    return LimitError(
        f"{place}: expected a {what} of at most {limit / MEBIBYTE:.3g} MiB, got a longer one. Is this the right file "
        f"and format? To read it all the same, set {SENTENCE_VARIABLE}=0 (no limit)."
    )


def too_dense(name: str, given: int, taken: int, limit: float) -> LimitError:
    """Return the error for compressed data that expands without end.

    Parameters
    ----------
    name : str
        The file.
    given, taken : int
        Bytes that came out, and that went in.
    limit : float
        Allowed ratio.

    Returns
    -------
    LimitError

    Examples
    --------
    >>> print(too_dense("a.gz", 1 << 30, 1 << 20, 200.0))
    a.gz: expected at most 200 bytes from each compressed byte, got 1,024 MiB from 1 MiB. Is it what you think it is? \
To read it all the same, set TREEAVG_MAX_EXPANSION=0 (no limit).
    """
    return LimitError(
        f"{name}: expected at most {limit:g} bytes from each compressed byte, got {given / MEBIBYTE:,.0f} MiB from "
        f"{taken / MEBIBYTE:,.3g} MiB. Is it what you think it is? To read it all the same, set {EXPANSION_VARIABLE}=0 "
        "(no limit)."
    )


def refuse_unspelt(place: Callable[[int], str], lengths: NDArray[np.int32], held: int) -> None:
    """Raise where sentences whose words are not spelt have more words than memory should be taken for.

    A few bytes can say that a sentence has two billion words; whatever is then made of each word fills the memory.

    Parameters
    ----------
    place : callable
        Names a sentence of these.
    lengths : ndarray of int32, shape (N,)
        Words of each sentence.
    held : int
        Bytes that were read of these sentences: as many words are no surprise.

    Raises
    ------
    LimitError
        All in all there are more words than bytes, and more than `longest_sentence` has room for, at two bytes each.

    Examples
    --------
    >>> refuse_unspelt("a.jsonl: sentence {}".format, np.array([7, 2**31 - 1], np.int32), 60)
    Traceback (most recent call last):
        ...
    treeavg.errors.LimitError: a.jsonl: sentence 1: expected at most 33,554,432 words that are not spelt, got \
2,147,483,654. Is this the right file? To read it all the same, set TREEAVG_MAX_SENTENCE_MB=0 (no limit).
    """
    words, limit = int(lengths.sum(dtype=np.int64)), longest_sentence() // 2
    if limit and words > max(limit, held):
        raise LimitError(
            f"{place(int(np.argmax(lengths)))}: expected at most {limit:,} words that are not spelt, got {words:,}. Is "
            f"this the right file? To read it all the same, set {SENTENCE_VARIABLE}=0 (no limit)."
        )


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:
        raise ArgumentError(f"{variable}: expected a number, at least 0 (0 is no limit), got {quote(text)}. Unset it.")
    return value
