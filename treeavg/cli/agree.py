"""``treeavg agree``: the table of F1 among teachers."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING, Any

from treeavg.cli import cluster, options, running, sharded

if TYPE_CHECKING:
    from treeavg.metrics import Agreement

DESCRIPTION = """\
Print how much teachers agree with one another: F1 of each (column) against each other (row). No gold trees needed.

  treeavg agree teachers/*.txt
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "agree", "print the agreement among teachers", DESCRIPTION)
    parser.add_argument("teachers", nargs="+", metavar="TEACHER", help="treebank files over the same sentences")
    options.add_metric(parser, "the metric")
    parser.add_argument("--convention", choices=options.CONVENTIONS, default="standard", help="default: standard")
    options.add_alignment(parser)
    options.add_jobs(parser)
    options.add_json(parser)
    options.add_input(parser)
    cluster.add_cluster(parser, records=True)
    running.add_log(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read all files and print the table."""
    from treeavg.report.tables import table

    sharded_input = cluster.is_wanted(arguments, arguments.teachers)
    result = sharded.agree(arguments) if sharded_input else _agreement(arguments)
    names = list(result.names)
    means = [None if value != value else value for value in result.means.tolist()]
    if arguments.json:
        options.print_json(
            {"names": names, "values": result.values.tolist(), "means": means, "signature": str(result.signature)}
        )
        return 0
    rows = [[name, *(f"{value:.2f}" for value in row)] for name, row in zip(names, result.values.tolist(), strict=True)]
    rows.append(["mean of the others", *("" if value is None else f"{value:.2f}" for value in means)])
    print(table([["", *names], *rows]))
    print(f"\n{result.signature}")
    return 0


def _agreement(arguments: argparse.Namespace) -> Agreement:
    """Return the table of files, added up batch by batch in this process."""
    from treeavg.engine.scoring import agreement_tally, open_compared

    reading, metric, names = running.reading_of(arguments), arguments.metric, running.short_names(arguments.teachers)
    reader = open_compared(arguments.teachers, reading, metric, arguments.jobs)
    files = [item.name for item in reader.readers]
    tally = agreement_tally(files, reading, metric, arguments.convention, names=names, jobs=arguments.jobs)
    with closing(reader), running.compiling_notice():
        for batch in running.watched(reader, "comparing", arguments):
            tally.add(batch)
        running.report_problems(reader.problems, reader.done)
        return tally.result()
