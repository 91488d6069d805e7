"""``treeavg convert``: from one format to another, with changes of the trees on the way."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING, Any

from treeavg.cli import cluster, options, running, sharded

if TYPE_CHECKING:
    from treeavg.engine.summary import Summary

DESCRIPTION = """\
Convert a treebank file. Changes are made in this order: --strip-empty, --strip-punctuation, --collapse-unaries,
--binarize.

  treeavg convert wsj_0001.mrg -o wsj_0001.txt --strip-punctuation --collapse-unaries
  treeavg convert trees.txt -o trees.jsonl
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "convert", "convert a treebank file", DESCRIPTION)
    parser.add_argument("treebank", metavar="FILE", help="'-' is standard input")
    group = parser.add_argument_group("changes")
    group.add_argument("--strip-empty", action="store_true", help="delete empty elements (tag -NONE-)")
    group.add_argument(
        "--strip-punctuation", action="store_true", help="delete all but words by their Penn Treebank tag"
    )
    group.add_argument("--collapse-unaries", action="store_true", help="keep one constituent of each span")
    group.add_argument("--binarize", choices=("right", "left"), help="make every tree binary")
    options.add_json(parser)
    options.add_input(parser)
    options.add_output(parser)
    cluster.add_cluster(parser)
    running.add_log(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Stream through the file, batch by batch, or through shards of it on a cluster."""
    running.refuse_json_on_stdout(arguments)
    if cluster.is_wanted(arguments, [arguments.treebank]):
        summary, name = sharded.convert(arguments)
    else:
        summary, name = _run_here(arguments)
    running.report_summary(summary)
    if arguments.json:
        told = {
            "output": arguments.output,
            "format": name,
            "sentences": summary.sentences,
            "emptied": summary.emptied,
            "skipped": [{"sentence": item.sentence + 1, "reason": item.message} for item in summary.problems],
        }
        options.print_json(told)
    return 0


def _run_here(arguments: argparse.Namespace) -> tuple[Summary, str]:
    """Convert a file in this process; return the counts and the name of the format."""
    from treeavg.engine.converting import Changes, convert_stream
    from treeavg.formats import AlignedReader, format_of
    from treeavg.formats.files import AtomicFile

    changes = Changes(
        arguments.strip_empty, arguments.strip_punctuation, arguments.collapse_unaries, arguments.binarize
    )
    reader = AlignedReader(
        [arguments.treebank], arguments.format, encoding=arguments.encoding, on_error=arguments.on_error
    )
    with closing(reader):
        target = format_of(arguments.output, name=arguments.output_format, kind=reader.kind)
        progress = running.Progress("converting", arguments)
        with AtomicFile(arguments.output) as file, running.compiling_notice(), progress:
            return convert_stream(reader, changes, target, file.write, advance=progress.advance), target.name
