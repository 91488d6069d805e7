"""``treeavg report``: teachers, averages, students and gold trees in one HTML page."""

from __future__ import annotations

import argparse
import sys
import warnings
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treeavg.cli import options, running
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from treeavg.errors import Problem
    from treeavg.report import Report, ReportOptions

DESCRIPTION = """\
Write one HTML page that compares teachers, averages and students: scores with intervals and tests, agreement, F1 by
length, recall by label, reliability, and every sentence's trees. It is a single file that loads nothing else. Without
--gold it has no scores; without --averages it shows the average that 'treeavg average' would give.

  treeavg report --gold gold.txt --teachers teachers/*.txt --students student.txt -o report.html
  treeavg report --teachers runs/*.jsonl --averages average.jsonl -o report.html
  treeavg report --gold gold.txt --teachers teachers/*.txt -o report.html --plots plots --plots-format pdf
"""
#: Repeated here, as what knows them loads NumPy; a test compares them.
PLOT_FORMATS = ("svg", "png", "pdf")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "report", "compare systems and look at their trees in one HTML page", DESCRIPTION)
    group = parser.add_argument_group("trees")
    group.add_argument("--teachers", nargs="+", required=True, metavar="FILE", help="treebank files over the same text")
    group.add_argument("--gold", metavar="FILE", help="the gold trees")
    group.add_argument("--averages", nargs="+", default=[], metavar="FILE", help="averages (default: computed here)")
    group.add_argument(
        "--students", nargs="+", default=[], metavar="FILE", help="trees of students, or of other parsers"
    )
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--output", required=True, metavar="FILE", help="the page; '-' is standard output")
    group.add_argument("--title", default="Report", metavar="TEXT", help="title of the page (default: Report)")
    group.add_argument("--plots", metavar="FOLDER", help="write the charts as files too (needs matplotlib)")
    group.add_argument("--plots-format", choices=PLOT_FORMATS, default="svg", help="format of these (default: svg)")
    parser.add_argument("--samples", type=int, default=10_000, metavar="N", help="draws of the bootstrap (10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap (0)")
    options.add_alignment(parser)
    options.add_jobs(parser)
    options.add_input(parser)
    running.add_log(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read all files, build the report, write it."""
    from treeavg.formats.files import AtomicFile
    from treeavg.report import ReportOptions

    chosen = ReportOptions(
        title=arguments.title,
        samples=arguments.samples,
        seed=arguments.seed,
        on_error=arguments.on_error,
        check_tokens=arguments.check_tokens,
        jobs=arguments.jobs,
    )
    if arguments.plots is not None:
        from treeavg.report.plots import require_matplotlib

        require_matplotlib()
        folder, page = Path(realpath(arguments.plots)), Path(realpath(arguments.output))
        if page in (folder, *folder.parents):
            raise ArgumentError(
                f"--plots: expected a folder that is not the page, got {arguments.plots}. Name another."
            )
    with running.compiling_notice():
        report, problems = _built(arguments, chosen)
        with running.Progress("writing", arguments) as progress, AtomicFile(arguments.output) as file:
            file.write(report.html())
            if arguments.plots is not None:  # so that neither is there without the other
                report.write_plots(arguments.plots, format=arguments.plots_format)
            progress.advance(report.facts["sentences"], 1.0)
    running.report_problems([*problems, *report.problems], report.facts["sentences"])
    _report_unproved(report)
    return 0


def _built(arguments: argparse.Namespace, chosen: ReportOptions) -> tuple[Report, list[Problem]]:
    """Return the report, and what was skipped while reading."""
    from treeavg.alignment import Places
    from treeavg.errors import SearchLimitWarning
    from treeavg.report import build_report

    paths, problems, banks = _read(arguments)
    gold = banks.pop(0) if arguments.gold is not None else None
    named = dict(zip(_names(arguments), banks, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SearchLimitWarning)  # told in the verb's own words, by `_report_unproved`
        with running.Progress("comparing", arguments) as progress:
            report = build_report(
                _part(named, 0, arguments.teachers),
                gold=gold,
                averages=_part(named, len(arguments.teachers), arguments.averages),
                students=_part(named, len(arguments.teachers) + len(arguments.averages), arguments.students),
                options=chosen,
                places=Places(tuple(paths), files=True),
            )
            progress.advance(report.facts["sentences"], 1.0)
    return report, problems


def _report_unproved(report: Report) -> None:
    """Say in how many sentences the search for the average gave up."""
    for member in report.systems.members:
        search = getattr(member.bank, "search", None)
        if search is not None and not search.proved.all():
            places = (~search.proved).nonzero()[0]
            print(
                f"treeavg: the best tree found for {member.name!r} is not proved best in {len(places):,} of "
                f"{len(search.proved):,} sentences; the first is sentence {places[0] + 1}",
                file=sys.stderr,
            )


def _names(arguments: argparse.Namespace) -> list[str]:
    """Return a name for each file but gold; ``gold``, and ``average`` where it is computed, are taken."""
    taken = ["gold"] * (arguments.gold is not None) + ["average"] * (not arguments.averages)
    names = running.short_names([*arguments.teachers, *arguments.averages, *arguments.students])
    return running.unique([*taken, *names])[len(taken) :]


def _part(named: dict[str, Any], begin: int, paths: list[str]) -> dict[str, Any]:
    return dict(list(named.items())[begin : begin + len(paths)])


def _read(arguments: argparse.Namespace) -> tuple[list[str], list[Any], list[Any]]:
    """Return the files' names, what was skipped, and the treebanks: gold first, if there is one."""
    from treeavg.formats import AlignedReader

    gold = [arguments.gold] if arguments.gold is not None else []
    paths = [*gold, *arguments.teachers, *arguments.averages, *arguments.students]
    reader = AlignedReader(
        paths, arguments.format, encoding=arguments.encoding, on_error=arguments.on_error, jobs=arguments.jobs
    )
    parts = list(running.watched(reader, "reading", arguments))
    banks = [type(column[0]).concatenate(column) for column in zip(*parts, strict=True)]
    return [item.name for item in reader.readers], list(reader.problems), banks
