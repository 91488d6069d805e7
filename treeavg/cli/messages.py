"""What the library says, as users of the command line read it: on one line, with options in place of keywords."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

#: Keywords that the library's advice names, and for which several verbs have options.
_SHARED = frozenset(
    "on_error format method metric objective encoding labels weights jobs check_tokens binary projective".split()
)
#: What some verbs call files by; a message begins with the name of a file, or with the name of a keyword.
_FILES = ("teachers", "output", "sentences", "gold", "pretrained", "parser", "text", "weights", "hits", "words")
_KEYWORD = re.compile(r"""\b([a-z]\w*)=(?:'([\w:-]+)'|(\w*)(?![\w'"(\[{]))""")
#: One of a resumed run's options in a list of what has changed.
_CHANGED = re.compile(r"(?<=[(;])( ?)(?:task\.)?(?:encoder\.)?(\w+)(?=: [^;]+ before, [^;]+ now)")
_LEADING = re.compile(r"(\w+)(?=: expected )")


def keywords_of(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the keywords of the library that a verb's options stand for, and the options' defaults.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The verb's.

    Returns
    -------
    dict

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--learning-rate", default=0.1)
    >>> keywords_of(parser)
    {'learning_rate': 0.1}
    """
    return {
        action.dest: action.default
        for action in parser._actions
        if option_of(action.dest) in action.option_strings and action.default is not argparse.SUPPRESS
    }


def option_of(keyword: str) -> str:
    """Return the option that stands for a keyword."""
    return f"--{keyword.replace('_', '-')}"


def one_line(error: BaseException, arguments: argparse.Namespace) -> str:
    """Return what to print of an error.

    Parameters
    ----------
    error : BaseException
        What was raised.
    arguments : argparse.Namespace
        Of the verb; its ``keywords``, from `keywords_of`, are written as options also where they begin a message.

    Returns
    -------
    str

    Examples
    --------
    >>> error = ValueError("epochs: expected at least 1, got 0. Leave it out for 10.")
    >>> one_line(error, argparse.Namespace(keywords={"epochs": 12}))
    '--epochs: expected at least 1, got 0. Leave it out for 12.'
    """
    known: Mapping[str, Any] = getattr(arguments, "keywords", {})
    if isinstance(error, MemoryError):
        advice = "Split the file, or pass --jobs 1."
        if "batch_tokens" in known:
            advice = "Pass --batch-tokens with a smaller number, or split the file."
        return f"memory: expected enough for this input, got too little. {advice}"
    text = shown(str(error)) or type(error).__name__
    text = _KEYWORD.sub(partial(_as_option, known), text)
    text = _CHANGED.sub(partial(_as_changed, known), text)
    leading = _LEADING.match(text)
    if leading and leading[1] in known and leading[1] not in _files_of(arguments):
        name = leading[1]
        text = re.sub(r"Leave it out for [^ ]+\.$", f"Leave it out for {known[name]}.", text)
        text = option_of(name) + text[leading.end() :]
    return text


def shown(text: str) -> str:
    r"""Return a text as data on one line: what would move the cursor, colour the terminal or end the line is escaped.

    Parameters
    ----------
    text : str
        A message, which may hold names of files.

    Returns
    -------
    str

    Examples
    --------
    >>> print(shown("a\x1b[31mb\rc\nd é"))
    a\x1b[31mb\rc d é
    """
    return "".join(
        letter if letter.isprintable() else " " if letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _as_option(known: Mapping[str, Any], match: re.Match[str]) -> str:
    name, text, value = match.groups()
    if name not in _SHARED and name not in known:
        return match[0]
    if name in ("binary", "projective"):
        return option_of(name) if value == "True" else f"--no-{name}"
    if value in ("None", "False"):
        return f"no {option_of(name)}"
    return option_of(name) if value in ("True", "") else f"{option_of(name)} {text or value}"


def _as_changed(known: Mapping[str, Any], match: re.Match[str]) -> str:
    space, name = match.groups()  # "sentences" is their number
    return f"{space}{option_of(name)}" if name in known and name != "sentences" else match[0]


def _files_of(arguments: argparse.Namespace) -> set[str]:
    named = [getattr(arguments, name, None) for name in _FILES]
    return {str(file) for value in named for file in (value if isinstance(value, list) else [value])}
