"""``treeavg show``: trees drawn in the terminal, with hit counts, side by side."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from treeavg.cli import options
from treeavg.errors import ArgumentError

DESCRIPTION = """\
Draw trees in the terminal, several teachers side by side. The number behind a constituent, or behind a word for the
arc to its head, is its hit count: how many of the teachers (or how much weight) have it.

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
    options.add_objective(parser)
    options.add_alignment(parser)
    options.add_json(parser)
    options.add_input(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read up to the last sentence that is wanted, and draw."""
    import os

    from treeavg.alignment import Places, align
    from treeavg.averaging.average import average
    from treeavg.averaging.votes import support_of
    from treeavg.averaging.weights import whole_weights
    from treeavg.cli.running import compiling_notice, short_names, unique
    from treeavg.report.tables import printable
    from treeavg.report.terminal import draw, side_by_side

    if arguments.weights == "agreement":
        raise ArgumentError("--weights: expected numbers or a file to show trees, got 'agreement'. Use it to average.")
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
        wanted = [number - 1 for number in arguments.sentence]
        banks = [bank[wanted] for bank in banks]
        teachers = banks[: len(arguments.teachers)]
        whole, unit = whole_weights(weights, len(teachers))
        titles = short_names(paths)
        if arguments.average:
            chosen = {name: getattr(arguments, name) for name in options.OBJECTIVE_OPTIONS}
            banks.insert(0, average(teachers, weights=weights, on_error=arguments.on_error, **chosen))
            titles = unique(["average", *titles])
    weight = float(int(whole.sum()) * unit)
    shares = [support_of(bank, teachers, whole) * weight if len(teachers) > 1 else None for bank in banks]
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = arguments.width or shutil.get_terminal_size().columns
    for place, number in enumerate(arguments.sentence):
        views = [bank[place] for bank in banks]
        counts = [own[view.part].tolist() if own is not None else None for own, view in zip(shares, views, strict=True)]
        if arguments.json:
            trees = {
                title: {**_as_json(view), "hits": own} for title, view, own in zip(titles, views, counts, strict=True)
            }
            options.print_json({"sentence": number, "trees": trees})
            continue
        drawings = [draw(view, own, whole=weight, colour=colour) for view, own in zip(views, counts, strict=True)]
        print(f"sentence {number}: {printable(' '.join(views[0].tokens or []))}")
        print(side_by_side([printable(title) for title in titles], drawings, width))
        print()
    return 0


def _as_json(view: Any) -> dict[str, Any]:
    """Return a tree of either kind."""
    if hasattr(view, "heads"):
        return {"tokens": view.tokens, "heads": view.heads, "relations": view.relations}
    return {"tokens": view.tokens, "constituents": view.constituents, "labels": view.labels}


def _read(arguments: argparse.Namespace) -> list[Any]:
    from treeavg.formats import AlignedReader

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
    return [type(column[0]).concatenate(column) for column in zip(*parts, strict=True)]
