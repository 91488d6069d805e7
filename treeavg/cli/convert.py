"""``treeavg convert``: from one format to another, with changes of the trees on the way."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from typing import Any

from treeavg.cli import options
from treeavg.errors import ArgumentError

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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Stream through the file, batch by batch."""
    from treeavg import transforms
    from treeavg.cli.running import Progress, compiling_notice, refuse_json_on_stdout, report_problems, sentences_of
    from treeavg.formats import AlignedReader, format_of
    from treeavg.formats.files import AtomicFile

    refuse_json_on_stdout(arguments)
    reader = AlignedReader(
        [arguments.treebank], arguments.format, encoding=arguments.encoding, on_error=arguments.on_error
    )
    with closing(reader):
        target = format_of(arguments.output, name=arguments.output_format, kind=reader.readers[0].format.kind)
        changed = (
            arguments.strip_empty or arguments.strip_punctuation or arguments.collapse_unaries or arguments.binarize
        )
        if changed and reader.readers[0].format.kind == "dependency":
            raise ArgumentError(
                f"{reader.readers[0].name}: expected constituency trees to change, got dependency trees."
            )
        emptied = done = 0
        with AtomicFile(arguments.output) as file, compiling_notice(), Progress("converting") as progress:
            for (bank,) in reader:
                with sentences_of(reader.readers[0].name, done):
                    missing = len(bank.missing)
                    if arguments.strip_empty:
                        bank = transforms.strip_empty(bank)
                    if arguments.strip_punctuation:
                        bank = transforms.strip_punctuation(bank)
                    if arguments.collapse_unaries:
                        bank = transforms.collapse_unaries(bank)
                    if arguments.binarize:
                        bank = transforms.binarize(bank, side=arguments.binarize)
                    emptied += len(bank.missing) - missing
                    file.write(target.serialize(bank, done))
                done += len(bank)
                progress.update(len(bank), reader)
    skipped = report_problems(reader.problems, reader.done)
    if emptied:
        print(f"treeavg: {emptied:,} sentences lost all their tokens and are empty lines now.", file=sys.stderr)
    if arguments.json:
        summary = {
            "output": arguments.output,
            "format": target.name,
            "sentences": reader.done,
            "emptied": emptied,
            "skipped": [{"sentence": item.sentence + 1, "reason": item.message} for item in skipped],
        }
        json.dump(summary, sys.stdout, ensure_ascii=False)
        print()
    return 0
