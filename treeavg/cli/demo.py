"""``treeavg demo``: the main job on the embedded sample."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from treeavg.cli import options

DESCRIPTION = """\
Average the embedded sample's teachers and compare each with their average. The teachers are simulated: gold trees of a
grammar of ours, disturbed on purpose (data/README.md). Their scores say nothing about natural language.
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "demo", "average the embedded sample", DESCRIPTION)
    options.add_json(parser)
    parser.set_defaults(run=run)


def sample_folder() -> Path:
    """Return the folder of the embedded sample: installed inside the package, or beside it in a checkout."""
    from treeavg.errors import FileError

    package = Path(__file__).resolve().parent.parent
    for folder in (package / "sample", package.parent / "data"):
        if (folder / "gold.txt").is_file():
            return folder
    raise FileError(f"{package / 'sample'}: expected the embedded sample, got nothing there. Install treeavg again.")


def run(arguments: argparse.Namespace) -> int:
    """Average, select, score, print a table."""
    import treeavg
    from treeavg.cli.running import compiling_notice
    from treeavg.report.tables import table

    folder = sample_folder()
    with compiling_notice():
        gold = treeavg.read(folder / "gold.txt")
        paths = sorted((folder / "teachers").glob("*.txt"))
        teachers = [treeavg.read(path) for path in paths]
        systems = {path.stem: bank for path, bank in zip(paths, teachers, strict=True)}
        systems["select"] = treeavg.average(teachers, method="select")
        systems["average"] = treeavg.average(teachers)
        scores = {name: treeavg.score(gold, bank) for name, bank in systems.items()}
        test = treeavg.paired_bootstrap(scores["average"], max((scores[path.stem] for path in paths), key=float))
    values = {name: score.value for name, score in scores.items()}
    signature = str(scores["average"].signature)
    if arguments.json:
        json.dump({"sentences": len(gold), "scores": values, "p": test.p_value, "signature": signature}, sys.stdout)
        print()
        return 0
    print(f"{len(gold):,} sentences of a grammar of ours, {len(teachers)} simulated teachers (see data/README.md)\n")
    print(table([["system", "sentence-f1"], *([name, f"{value:.2f}"] for name, value in values.items())]))
    print(f"\naverage against the best teacher: {test.difference:+.2f} (paired bootstrap, p = {test.p_value:.2g})")
    print(signature)
    return 0
