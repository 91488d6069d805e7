r"""Brackets inside words: how a bracketed file spells them.

``(`` is written ``-LRB-`` and ``)`` is written ``-RRB-``, wherever in the word they stand. A word that holds such a
code literally gets a backslash before it, and backslashes right before a bracket or a code are doubled, so that every
word comes back as it was. Nothing else is changed: ``-LCB-`` or ``\/`` stay as the corpus has them.
"""

from __future__ import annotations

import re

_CODES = {"(": "-LRB-", ")": "-RRB-"}
_BRACKETS = {code: bracket for bracket, code in _CODES.items()}
# A literal "-LRB" needs its backslash also before a bracket, whose code begins with "-".
_ESCAPABLE = re.compile(r"(\\*)(\(|\)|-[LR]RB(?=\\*[-()]))")
_ESCAPED = re.compile(r"((?:\\\\)*)(?:(-[LR]RB-)|\\(-[LR]RB)(?=\\*-))")


def escape_token(token: str) -> str:
    r"""Return `token` as it is written in a bracketed file.

    Examples
    --------
    >>> escape_token(":-)"), escape_token("-LRB-")
    (':--RRB-', '\\-LRB-')
    """

    def code(match: re.Match[str]) -> str:
        slashes, text = match.groups()
        return slashes * 2 + (_CODES.get(text) or "\\" + text)

    return _ESCAPABLE.sub(code, token)


def unescape_token(token: str) -> str:
    r"""Return the word that is spelled `token` in a bracketed file.

    Examples
    --------
    >>> unescape_token("-LRB-"), unescape_token("1\\/2")
    ('(', '1\\/2')
    """

    def bracket(match: re.Match[str]) -> str:
        slashes, code, literal = match.groups()
        return slashes[: len(slashes) // 2] + str(literal or _BRACKETS[code])

    return _ESCAPED.sub(bracket, token)
