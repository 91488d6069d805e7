"""``treeavg show``: trees drawn in the terminal, with hit counts, side by side."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

from treeavg.cli import options

if TYPE_CHECKING:
    from treeavg.treebank import Treebank

DESCRIPTION = """\
Draw trees in the terminal, several teachers side by side. The number behind a constituent is its hit count: how many
of the teachers (or how much weight) have it.

  treeavg show trees.txt --sentence 3
  treeavg show teachers/*.txt --average --gold gold.txt --sentence 1 2
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "show", "draw trees in the terminal", DESCRIPTION)
    parser.add_argument("teachers", nargs="+", metavar="FILE", help="treebank files; '-' is standard input")
    parser.add_argument("--sentence", type=int, nargs="+", default=[1], metavar="N", help="which, from 1 (default: 1)")
    parser.add_argument("--average", action="store_true", help="draw the average of the files too")
    parser.add_argument("--gold", metavar="FILE", help="draw the gold tree too; it does not count as a hit")
    parser.add_argument("--width", type=int, metavar="N", help="columns to fill (default: the terminal's)")
    options.add_weights(parser)
    options.add_alignment(parser)
    options.add_json(parser)
    options.add_input(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read up to the last sentence that is wanted, and draw."""
    import os

    from treeavg.alignment import Places, align
    from treeavg.averaging import average, hit_counts
    from treeavg.cli.running import compiling_notice, short_names, unique
    from treeavg.report.tables import printable
    from treeavg.report.terminal import draw, side_by_side

    weights = options.read_weights(arguments.weights, arguments.teachers)
    with compiling_notice():
        banks = _read(arguments)
        paths = [*arguments.teachers, *([arguments.gold] if arguments.gold else [])]
        shared = {
            "on_error": arguments.on_error,
            "check_tokens": arguments.check_tokens,
            "places": Places(tuple(paths), files=True),
        }
        align(banks, **shared)
        teachers = banks[: len(arguments.teachers)]
        continuous = all(bank.is_continuous for bank in banks)
        hits = hit_counts(teachers, weights=weights, **shared) if continuous else None
        titles = short_names(paths)
        if arguments.average:
            banks.insert(0, average(teachers, weights=weights, **shared))
            titles = unique(["average", *titles])
    counted = hits is not None and len(teachers) > 1
    supports = [hits.support(bank) * hits.weight if counted and hits is not None else None for bank in banks]
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = arguments.width or shutil.get_terminal_size().columns
    whole = hits.weight if hits is not None else 1.0
    for number in arguments.sentence:
        views = [bank[number - 1] for bank in banks]
        counts = [
            support[bank.offsets[number - 1] : bank.offsets[number]].tolist() if support is not None else None
            for bank, support in zip(banks, supports, strict=True)
        ]
        if arguments.json:
            trees = {
                title: {
                    "tokens": view.tokens,
                    "constituents": view.constituents,
                    "labels": view.labels,
                    "hits": own,
                }
                for title, view, own in zip(titles, views, counts, strict=True)
            }
            json.dump({"sentence": number, "trees": trees}, sys.stdout, ensure_ascii=False)
            print()
            continue
        drawings = [draw(view, own, whole=whole, colour=colour) for view, own in zip(views, counts, strict=True)]
        print(f"sentence {number}: {printable(' '.join(views[0].tokens or []))}")
        print(side_by_side([printable(title) for title in titles], drawings, width))
        print()
    return 0


def _read(arguments: argparse.Namespace) -> list[Treebank]:
    from treeavg.errors import ArgumentError
    from treeavg.formats import AlignedReader
    from treeavg.treebank import Treebank

    paths = [*arguments.teachers, *([arguments.gold] if arguments.gold else [])]
    if arguments.width is not None and arguments.width < 1:
        raise ArgumentError(f"--width: expected a number of columns, at least 1, got {arguments.width}. Try 80.")
    if min(arguments.sentence) < 1:
        raise ArgumentError(f"--sentence: expected numbers from 1, got {min(arguments.sentence)}. The first is 1.")
    last = max(arguments.sentence)
    reader = AlignedReader(
        paths, arguments.format, encoding=arguments.encoding, on_error=arguments.on_error, batch=min(last, 4096)
    )
    parts = []
    for batch in reader:
        parts.append(batch)
        if reader.done >= last:
            break
    if reader.done < last:
        raise ArgumentError(
            f"--sentence: expected at most {reader.done}, got {last}. {paths[0]} has no more sentences."
        )
    return [Treebank.concatenate(column) for column in zip(*parts, strict=True)]
