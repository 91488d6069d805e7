"""The command line: one file a verb, each is arguments, one public call, print."""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from treeavg.cli import agree, average, completion, convert, demo, distill, parse, score, select, select_teachers, show
from treeavg.cli.options import join_weights
from treeavg.errors import TreeavgError
from treeavg.version import __version__

VERBS = (average, select, select_teachers, score, agree, convert, show, distill, parse, demo, completion)

#: Exit codes: done; bad input or usage; the reader of standard output went away; Ctrl-C.
DONE, BAD_INPUT, CLOSED_PIPE, INTERRUPTED = 0, 2, 141, 130


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}. See '{self.prog} --help'.\n")


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
    arguments = build_parser().parse_args(join_weights(list(sys.argv[1:] if argv is None else argv)))
    debug: bool = getattr(arguments, "debug", False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)  # so that temporary files are removed
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
        print("treeavg: interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    except (TreeavgError, MemoryError, OSError) as error:
        if debug:
            raise
        if isinstance(error, OSError) and not isinstance(error, TreeavgError):  # files have been seen to: it is this
            from treeavg.formats.files import explain

            error = explain("<stdout>", "write", error)
            _silence_stdout()
        print(f"treeavg: {_one_line(error)}", file=sys.stderr)
        return BAD_INPUT


def _silence_stdout() -> None:
    """Let nothing more be tried when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "memory: expected enough for this input, got too little. Split the file, or pass --jobs 1."
    text = " ".join(str(error).split("\n")) or type(error).__name__
    return _KEYWORD.sub(_as_option, text)


#: Keywords that the library's advice names, where a shell user has options.
_KEYWORD = re.compile(
    r"\b(on_error|format|method|metric|objective|encoding|labels|weights|jobs|check_tokens|binary|projective|resume|device|held_out|precision|batch_tokens|loss|distribution|decode|tags|sentences|compile)=(?:'([\w-]+)'|(\w+))"
)


def _as_option(match: re.Match[str]) -> str:
    name, text, value = match.groups()
    option = f"--{name.replace('_', '-')}"
    if name in ("binary", "projective"):
        return option if value == "True" else f"--no-{name}"
    if value in ("None", "False"):
        return f"no {option}"
    return option if value in ("True", "") else f"{option} {text or value}"


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)
