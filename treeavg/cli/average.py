"""``treeavg average``: one tree from several teachers' trees."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from treeavg.cli import options

DESCRIPTION = """\
Average the trees of several parsers, sentence by sentence, into the binary tree that collects the most hits.

  treeavg average teachers/*.txt -o average.txt
  treeavg average a.txt b.txt.gz c.jsonl --weights 1 2 1 -o average.jsonl
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "average", "average several parsers' trees", DESCRIPTION)
    parser.add_argument(
        "--method",
        choices=options.METHODS,
        default="generate",
        help="generate: search all binary trees; select: the best of the teachers' own trees (default: generate)",
    )
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `average` and `select` share."""
    parser.add_argument("teachers", nargs="+", metavar="TEACHER", help="treebank files over the same sentences")
    options.add_weights(parser)
    options.add_alignment(parser)
    options.add_jobs(parser)
    options.add_json(parser)
    options.add_input(parser)
    options.add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Stream through the files, batch by batch."""
    from treeavg.alignment import Places, align
    from treeavg.averaging import average
    from treeavg.averaging.weights import whole_weights
    from treeavg.cli.running import Progress, compiling_notice, refuse_json_on_stdout, report_problems, sentences_of
    from treeavg.formats import AlignedReader, Columns, format_of
    from treeavg.formats.files import AtomicFile

    refuse_json_on_stdout(arguments)
    teachers: list[str] = arguments.teachers
    weights = options.read_weights(arguments.weights, teachers)
    whole_weights(weights, len(teachers))  # before anything is read
    target = format_of(arguments.output, name=arguments.output_format)
    reader = AlignedReader(
        teachers,
        arguments.format,
        encoding=arguments.encoding,
        on_error=arguments.on_error,
        jobs=arguments.jobs,
        columns=[
            Columns(tokens=index == 0 or arguments.check_tokens, labels=arguments.method == "select")
            for index in range(len(teachers))
        ],
    )
    names = tuple(item.name for item in reader.readers)
    problems = []
    with AtomicFile(arguments.output) as file, compiling_notice(), Progress("averaging") as progress:
        done = 0
        for batch in reader:
            places = Places(names, files=True, first=done)
            shared = {"check_tokens": arguments.check_tokens, "on_error": arguments.on_error, "places": places}
            problems += align(batch, **shared)[1]
            result = average(batch, weights=weights, method=arguments.method, jobs=arguments.jobs, **shared)
            with sentences_of(names[0], done):
                file.write(target.serialize(result))
            done += len(result)
            progress.update(len(result), reader)
    skipped = report_problems([*reader.problems, *problems], done)
    if arguments.json:
        summary = {
            "output": arguments.output,
            "method": arguments.method,
            "teachers": list(names),
            "weights": [float(weight) for weight in weights] if weights is not None else None,
            "sentences": done,
            "skipped": [{"sentence": item.sentence + 1, "reason": item.message} for item in skipped],
        }
        json.dump(summary, sys.stdout, ensure_ascii=False)
        print()
    return 0
