r"""Brackets inside words: how files of brackets spell them.

``(`` is written ``-LRB-`` and ``)`` is written ``-RRB-``, wherever in the word they stand. A word that holds such a
code literally gets a backslash before it, and backslashes right before a bracket or a code are doubled, so that every
word comes back as it was. Nothing else is changed: ``-LCB-`` or ``\/`` stay as the corpus has them. The discbracket
format does the same with the codes ``#LRB#`` and ``#RRB#``.
"""

from __future__ import annotations

import re


class _Codes:
    """The codes that begin and end with `mark`, and what finds them."""

    def __init__(self, mark: str) -> None:
        self.of = {"(": f"{mark}LRB{mark}", ")": f"{mark}RRB{mark}"}
        self.brackets = {code: bracket for bracket, code in self.of.items()}
        # A literal "-LRB" needs its backslash also before a bracket, whose code begins with "-".
        self.escapable = re.compile(rf"(\\*)(\(|\)|{mark}[LR]RB(?=\\*[{mark}()]))")
        self.escaped = re.compile(rf"((?:\\\\)*)(?:({mark}[LR]RB{mark})|\\({mark}[LR]RB)(?=\\*{mark}))")


_OF_MARK = {mark: _Codes(mark) for mark in "-#"}


def escape_token(token: str, mark: str = "-") -> str:
    r"""Return `token` as it is written in a file of brackets; `mark` begins and ends the codes.

    Examples
    --------
    >>> escape_token(":-)"), escape_token("-LRB-"), escape_token(":-)", "#")
    (':--RRB-', '\\-LRB-', ':-#RRB#')
    """
    codes = _OF_MARK[mark]

    def code(match: re.Match[str]) -> str:
        slashes, text = match.groups()
        return slashes * 2 + (codes.of.get(text) or "\\" + text)

    return codes.escapable.sub(code, token)


def unescape_token(token: str, mark: str = "-") -> str:
    r"""Return the word that is spelled `token` in a file of brackets.

    Examples
    --------
    >>> unescape_token("-LRB-"), unescape_token("1\\/2"), unescape_token("#LRB#", "#")
    ('(', '1\\/2', '(')
    """
    codes = _OF_MARK[mark]

    def bracket(match: re.Match[str]) -> str:
        slashes, code, literal = match.groups()
        return slashes[: len(slashes) // 2] + str(literal or codes.brackets[code])

    return codes.escaped.sub(bracket, token)
