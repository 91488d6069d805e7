"""The command line: one file a verb, each is arguments, one public call, print."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from treeavg.cli import (
    agree,
    average,
    completion,
    convert,
    demo,
    distill,
    fit,
    parse,
    report,
    score,
    select,
    select_teachers,
    show,
)
from treeavg.cli.messages import one_line, shown
from treeavg.cli.options import join_weights
from treeavg.cli.running import join_log
from treeavg.errors import TreeavgError
from treeavg.version import __version__

VERBS = (average, select, select_teachers, score, agree, convert, show, report, fit, distill, parse, demo, completion)

#: Exit codes: done; bad input or usage; the reader of standard output went away; Ctrl-C.
DONE, BAD_INPUT, CLOSED_PIPE, INTERRUPTED = 0, 2, 141, 130


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {shown(message)}. See '{self.prog} --help'.\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all verbs."""
    parser = Parser(
        prog="treeavg",
        description="Average the parse trees of several parsers into one that agrees with them most.",
        epilog="'treeavg VERB --help' tells more. Exit codes: 0 done, 2 bad input or usage, 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"treeavg {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for verb in VERBS:
        verb.register(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        The exit code.

    Examples
    --------
    >>> main(["score", "--gold", "gold.txt", "average.txt"])  # doctest: +SKIP
    0
    """
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = build_parser().parse_args(join_log(join_weights(given)))
    debug: bool = getattr(arguments, "debug", False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (closed with the process)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that the terminal's encoding lacks
    try:
        code: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _silence_stdout()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print(f"treeavg: interrupted; {_left_by(arguments)}", file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        if hasattr(arguments, "left"):
            print(f"treeavg: interrupted; {_left_by(arguments)}", file=sys.stderr)
        raise
    except (TreeavgError, MemoryError, OSError) as error:
        if debug:
            raise
        if isinstance(error, OSError) and not isinstance(error, TreeavgError):  # files have been seen to: it is this
            from treeavg.formats.files import explain

            error = explain("<stdout>", "write", error)
            _silence_stdout()
        print(f"treeavg: {one_line(error, arguments)}", file=sys.stderr)
        return BAD_INPUT


def _left_by(arguments: argparse.Namespace) -> str:
    """Return what an interrupted verb has left behind."""
    left: str = arguments.left(arguments) if hasattr(arguments, "left") else "nothing was written."
    return left


def _silence_stdout() -> None:
    """Let nothing more be tried when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Terminated(SystemExit):
    """Ends the process after SIGTERM or SIGHUP, so that temporary files are removed."""


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise _Terminated(128 + signum)
