"""Options that several verbs share; nothing here loads NumPy."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from treeavg.errors import ArgumentError, FileError, quote

# Repeated here, as the tables themselves live beside code that loads Numba; a test compares them.
FORMATS = ("brackets", "ptb", "jsonl", "discbracket", "export", "conllu", "heads", "parquet")
METHODS = ("generate", "select")
OBJECTIVES = ("hits", "f1")
LABELS = ("none", "vote", "hits")
METRICS = (
    "sentence-f1",
    "corpus-f1",
    "precision",
    "recall",
    "continuous-f1",
    "discontinuous-f1",
    "uas",
    "uas-words",
    "undirected-uas",
    "las",
    "span-f1",
)
CONVENTIONS = ("standard", "kim2019", "tn-lcfrs")
TREE_LOSSES = (
    "kl",
    "rkl",
    "js",
    "js-naive",
    "js-sampled",
    "tvd",
    "tvd-teacher",
    "tvd-student",
    "engine",
    "hard",
    "union",
    "span",
    "split-average",
)
DEPENDENCY_LOSSES = ("head", "kl", "rkl", "hard", "union")
DISTRIBUTIONS = ("crf", "split")
ENCODERS = ("bilstm", "transformer", "pretrained")
SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
DECODERS = ("mbr", "argmax", "span", "viterbi")


def require_torch(verb: str) -> None:
    """Raise an ArgumentError that says what to install where torch is not."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        raise ArgumentError(
            f"{verb}: expected {' and '.join(missing)} to be installed, got none. Run: pip install 'treeavg[torch]'."
        )


def add_verb(verbs: Any, name: str, help: str, description: str) -> argparse.ArgumentParser:
    """Add a verb with the options that all verbs have."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=help, description=description, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how files are read."""
    group = parser.add_argument_group("input")
    group.add_argument(
        "--format", choices=FORMATS, help="format of the files read (default: by suffix, then by content)"
    )
    group.add_argument("--encoding", default="utf-8", help="encoding of the files read (default: utf-8)")
    group.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="skip: go on without a sentence that cannot be used, keep its place, list it (default: raise)",
    )


def add_alignment(parser: argparse.ArgumentParser) -> None:
    """Add the option that makes alignment strict."""
    parser.add_argument(
        "--check-tokens", action="store_true", help="require equal words, not only equal sentence lengths"
    )


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add the number of threads."""
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: one a core)")


def add_threads(group: Any) -> None:
    """Add the number of torch's threads; see `use_threads`."""
    group.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: one a core)")


def use_threads(arguments: argparse.Namespace) -> None:
    """Set torch's threads to the number that was asked for, if one was."""
    import torch

    if arguments.threads is None:
        return
    if arguments.threads < 1:
        raise ArgumentError(f"--threads: expected at least 1, got {arguments.threads}. Leave it out for all cores.")
    torch.set_num_threads(arguments.threads)


@contextmanager
def memory_of_torch() -> Iterator[None]:
    """Raise a MemoryError where torch says in its own way that memory was too little."""
    import torch

    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError from error
        raise


class _Once(argparse.Action):
    """Store a value; refuse a second one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"argument {option_string}: expected once, got twice")
        setattr(namespace, self.dest, values)


def add_weights(parser: argparse.ArgumentParser, *, estimated: bool = False) -> None:
    """Add the weights; see `read_weights`. Where the verb can estimate them, the help says how."""
    told = "one number per teacher (--weights 1 2 0.5), or a file of numbers or of lines 'teacher number'"
    if estimated:
        told += "; or 'agreement': estimate them from how well teachers agree"
    parser.add_argument("--weights", action=_Once, metavar="W", help=told)


#: Keywords of `treeavg.average` that `add_objective` adds.
OBJECTIVE_OPTIONS = ("binary", "objective", "beta", "threshold", "projective", "labels", "support")


def add_objective(parser: argparse.ArgumentParser) -> None:
    """Add what is maximised, and over which trees."""
    group = parser.add_argument_group("what to maximise, over which trees")
    group.add_argument(
        "--binary",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="constituency: binary trees (default), or as many constituents as the objective wants",
    )
    group.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="hits",
        help="hits: hit counts or heads; f1: F-beta against the teachers, or spans of words' yields (default: hits)",
    )
    group.add_argument("--beta", type=float, default=1.0, help="with f1 and --no-binary: weight of recall (1.0)")
    group.add_argument(
        "--threshold", type=float, default=0.5, help="with hits and --no-binary: share of weight to exceed (0.5)"
    )
    group.add_argument(
        "--projective",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="dependency: projective trees (default), or trees of any shape",
    )
    group.add_argument(
        "--labels",
        choices=LABELS,
        default="none",
        help="constituency: vote on labels afterwards, or count hits by label (default: none)",
    )
    group.add_argument(
        "--support",
        action="store_true",
        help="write the share of weight that has each constituent or arc (to jsonl, conllu)",
    )


def add_metric(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add the choice of a metric."""
    names = ", ".join(METRICS)
    parser.add_argument(
        "--metric", choices=METRICS, metavar="METRIC", help=f"{purpose}: {names} (default: by the kind of trees)"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add where and how to write."""
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--output", default="-", metavar="FILE", help="'-' is standard output (default)")
    group.add_argument(
        "--output-format", choices=FORMATS, help="format written (default: by suffix, else brackets or heads)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add machine-readable output."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def print_json(value: Any) -> None:
    """Print a line of JSON; letters that the terminal's encoding lacks are escaped as JSON escapes them."""
    spelt = "utf" in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    print(json.dumps(value, ensure_ascii=not spelt))


def join_weights(argv: list[str]) -> list[str]:
    """Return the arguments with ``--weights 1 2 1`` as one, so that file names may follow.

    All numbers behind ``--weights`` belong to it, or else the one word behind it, a file.

    Examples
    --------
    >>> join_weights(["average", "--weights", "1", "-2", "a.txt"])
    ['average', '--weights=1 -2', 'a.txt']
    """
    joined: list[str] = []
    place = 0
    while place < len(argv):
        word = argv[place]
        place += 1
        if word == "--":
            return [*joined, word, *argv[place:]]
        if word != "--weights":
            joined.append(word)
            continue
        begin = place
        while place < len(argv) and _is_number(argv[place]):
            place += 1
        if place == begin and place < len(argv) and not argv[place].startswith("-"):
            place += 1
        joined.append("=".join([word, " ".join(argv[begin:place])]) if place > begin else word)
    return joined


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_weights(value: str | None, paths: list[str]) -> list[Any] | None:
    """Return the weights that ``--weights`` names.

    Parameters
    ----------
    value : str or None
        Numbers, or a file: numbers in the order of the teachers, or lines of a teacher's path, file name or stem and
        a number.
    paths : list of str
        The teachers.

    Returns
    -------
    list of Decimal, or None
        Exactly as written, in the order of `paths`.

    Raises
    ------
    ArgumentError, FileError
        The value cannot be understood or read.

    Examples
    --------
    >>> read_weights("1 0.5", ["a.txt", "b.txt"])
    [Decimal('1'), Decimal('0.5')]
    """
    if value is None:
        return None
    words = value.split()
    if words and all(map(_is_number, words)):
        return [_decimal(word) for word in words]
    try:
        lines = [line.split() for line in Path(value).read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise FileError(
            f"{value}: expected numbers or a file of weights, got: {error.strerror}. Check --weights."
        ) from None
    except UnicodeDecodeError:
        raise ArgumentError(f"{value}: expected a text file of weights, got other bytes. Check --weights.") from None
    if not lines:
        raise ArgumentError(f"{value}: expected numbers or a file of weights, got an empty file. Check --weights.")
    if all(_is_number(word) for line in lines for word in line):
        return [_decimal(word) for line in lines for word in line]
    table: dict[str, Any] = {}
    for number, line in enumerate(lines, 1):
        if len(line) != 2 or not _is_number(line[1]):
            raise ArgumentError(
                f"{value}: expected 'teacher number' on each line, got {quote(' '.join(line))} as entry {number}. "
                "Mend the file."
            )
        if line[0] in table:
            raise ArgumentError(f"{value}: expected {line[0]} once, got it again as entry {number}. Mend the file.")
        table[line[0]] = _decimal(line[1])
    weights = []
    for path in paths:
        names = [name for name in (path, Path(path).name, Path(path).stem) if name in table]
        if not names:
            raise ArgumentError(f"{value}: expected a weight for {path}, got none. Name it by its path or file name.")
        weights.append(table[names[0]])
    return weights


def _decimal(word: str) -> Any:
    from decimal import Decimal, InvalidOperation

    try:
        return Decimal(word)
    except InvalidOperation:
        return float(word)
