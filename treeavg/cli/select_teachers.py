"""``treeavg select-teachers``: which teachers to average."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from treeavg.cli import options
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from treeavg.averaging.selection import Selection

# As in treeavg/averaging/selection.py, which loads Numba; a test compares them.
CRITERIA = (
    "society-entropy", "disagreement", "kw-variance", "fleiss-kappa", "kuncheva", "pcdm", "top-k", "validation",
)  # fmt: skip
SEARCHES = ("forward", "combination")
#: Keywords of `treeavg.average` that can be given here.
AVERAGE_OPTIONS = ("binary", "objective", "beta")

DESCRIPTION = """\
Choose k teachers that are accurate and err in different places, so that their average is good. Prints their files, one
a line; the steps of the search go to standard error. With --gold on a development fold, or without any gold trees.
('treeavg select' is another thing: it chooses among the teachers' trees, sentence by sentence.)

  treeavg select-teachers --k 3 teachers/*.dev.heads --gold gold.dev.heads
  treeavg average $(treeavg select-teachers --k 5 runs/*.txt) -o average.txt
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "select-teachers", "choose which teachers to average", DESCRIPTION)
    parser.add_argument("teachers", nargs="+", metavar="TEACHER", help="treebank files over the same sentences")
    parser.add_argument("--k", type=int, required=True, metavar="K", help="how many to choose")
    parser.add_argument(
        "--criterion",
        choices=CRITERIA,
        default="society-entropy",
        metavar="CRITERION",
        help="a measure of diversity, which is added to accuracy (society-entropy, disagreement, kw-variance, "
        "fleiss-kappa, kuncheva, pcdm); top-k: accuracy alone; validation: accuracy of the average, needs --gold "
        "(default: society-entropy)",
    )
    parser.add_argument(
        "--search",
        choices=SEARCHES,
        default="forward",
        help="forward: add one teacher after another; combination: look at all sets (default: forward)",
    )
    parser.add_argument("--gold", metavar="FILE", help="right trees of the same sentences; else agreement stands in")
    parser.add_argument("--alpha", type=float, default=0.1, help="what diversity counts for (default: 0.1)")
    parser.add_argument("--groups", metavar="G", help="the kind of each teacher (a,a,b): choose at most one of a kind")
    parser.add_argument("--published", action="store_true", help="measure diversity by the published formulas")
    options.add_weights(parser)
    group = parser.add_argument_group("averages, for validation and as a stand-in for gold")
    group.add_argument(
        "--binary", action=argparse.BooleanOptionalAction, default=True, help="constituency: binary trees (default)"
    )
    group.add_argument("--objective", choices=options.OBJECTIVES, default="hits", help="as in average (default: hits)")
    group.add_argument("--beta", type=float, default=1.0, help="as in average (default: 1.0)")
    options.add_alignment(parser)
    options.add_jobs(parser)
    options.add_json(parser)
    options.add_input(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read all files, choose, print."""
    from treeavg.alignment import Places
    from treeavg.averaging.selection import select_teachers
    from treeavg.cli.running import compiling_notice, report_problems
    from treeavg.formats import AlignedReader, Columns

    paths: list[str] = [*arguments.teachers, *([arguments.gold] if arguments.gold is not None else [])]
    teachers = len(arguments.teachers)
    if arguments.weights == "agreement":
        raise ArgumentError("--weights: expected numbers or a file to choose teachers, got 'agreement'. Leave it out.")
    weights = options.read_weights(arguments.weights, arguments.teachers)
    with compiling_notice():
        reader = AlignedReader(
            paths,
            arguments.format,
            encoding=arguments.encoding,
            on_error=arguments.on_error,
            jobs=arguments.jobs,
            columns=[Columns(tokens=arguments.check_tokens, labels=False)] * len(paths),
        )
        parts = list(reader)
        report_problems(reader.problems, reader.done)
        banks: list[Any] = [type(column[0]).concatenate(column) for column in zip(*parts, strict=True)]
        result: Selection[Any] = select_teachers(
            banks[:teachers],
            k=arguments.k,
            criterion=arguments.criterion,
            search=arguments.search,
            gold=banks[teachers] if arguments.gold is not None and banks else None,
            alpha=arguments.alpha,
            weights=weights,
            groups=arguments.groups.split(",") if arguments.groups is not None else None,
            published=arguments.published,
            average_options={name: getattr(arguments, name) for name in AVERAGE_OPTIONS},
            on_error=arguments.on_error,
            check_tokens=arguments.check_tokens,
            jobs=arguments.jobs,
            places=Places(tuple(item.name for item in reader.readers), files=True),
        )
    _print(arguments, result)
    return 0


def _print(arguments: argparse.Namespace, result: Selection[Any]) -> None:
    """Print the chosen files, and the steps on standard error; or both as JSON."""
    from treeavg.cli.running import short_names
    from treeavg.report.tables import table

    names = short_names(arguments.teachers)
    if arguments.json:
        answer = {
            "teachers": [arguments.teachers[index] for index in result.indices],
            "indices": list(result.indices),
            "weights": [float(weight) for weight in result.weights],
            "value": result.value,
            "accuracy": result.accuracy,
            "diversity": result.diversity,
            "trace": [asdict(step) for step in result.trace],
            **{name: getattr(arguments, name) for name in ("criterion", "search", "alpha", "gold", "published")},
        }
        options.print_json(answer)
        return
    rows = [["teachers", "value", "accuracy", "diversity"]]
    for step in result.trace:
        measured = "" if step.diversity is None else f"{step.diversity:.4f}"
        chosen = " ".join(names[index] for index in step.indices)
        rows.append([chosen, f"{step.value:.4f}", f"{step.accuracy:.4f}", measured])
    print(table(rows), file=sys.stderr)
    for index in result.indices:
        print(arguments.teachers[index])
