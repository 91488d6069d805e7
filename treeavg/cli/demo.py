"""``treeavg demo``: the main job on the embedded sample."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from treeavg.cli import options

DESCRIPTION = """\
Average the embedded sample's teachers, and compare each with their average and with a student of it. The sentences come
from a grammar of ours; the teachers are the unsupervised parsers of this package, trained on the first 1,600 sentences.
Scores are of the other 400 (data/README.md). They say nothing about natural language.
"""
#: The last sentences of the sample: no teacher and no student has learnt from them.
HELD_OUT = 400


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "demo", "average the embedded sample", DESCRIPTION)
    parser.add_argument("--report", metavar="FILE", help="write the comparison as an HTML page too, with all trees")
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
        gold = treeavg.read(folder / "gold.txt")[-HELD_OUT:]
        paths = sorted((folder / "teachers").glob("*.txt"))
        teachers = [treeavg.read(path)[-HELD_OUT:] for path in paths]
        systems = {path.stem: bank for path, bank in zip(paths, teachers, strict=True)}
        systems["select"] = treeavg.average(teachers, method="select")
        systems["equal weights"] = treeavg.average(teachers)
        systems["average"] = treeavg.average(teachers, weights=treeavg.agreement_weights(teachers))
        systems["student"] = treeavg.read(folder / "student.txt")[-HELD_OUT:]
        scores = {name: treeavg.score(gold, bank) for name, bank in systems.items()}
        best = max((path.stem for path in paths), key=lambda name: scores[name].value)
        tests = {name: treeavg.paired_bootstrap(scores[name], scores[best]) for name in ("average", "student")}
        if arguments.report is not None:
            _write_report(arguments.report, gold, systems, [path.stem for path in paths])
    values = {name: score.value for name, score in scores.items()}
    signature = str(scores["average"].signature)
    if arguments.json:
        answer = {
            "sentences": len(gold),
            "scores": values,
            "best": best,
            "tests": {name: {"difference": test.difference, "p": test.p_value} for name, test in tests.items()},
            "signature": signature,
        }
        if arguments.report is not None:
            answer["report"] = arguments.report
        options.print_json(answer)
        return 0
    print(f"{len(gold):,} held-out sentences of a grammar of ours, {len(teachers)} teachers (see data/README.md)\n")
    print(table([["system", "sentence-f1"], *([name, f"{value:.2f}"] for name, value in values.items())]))
    print()
    for name, test in tests.items():
        print(f"{name} against the best teacher: {test.difference:+.2f} (paired bootstrap, p = {test.p_value:.2g})")
    print(signature)
    if arguments.report is not None:
        print(f"\nAll of this and every tree, as a page for the browser: {arguments.report}")
    return 0


def _write_report(path: str, gold: Any, systems: dict[str, Any], teachers: list[str]) -> None:
    from treeavg.errors import ArgumentError
    from treeavg.report import ReportOptions, build_report

    if path == "-":
        raise ArgumentError("--report: expected a file, got standard output. Name a file.")
    report = build_report(
        {name: systems[name] for name in teachers},
        gold=gold,
        averages={name: systems[name] for name in ("average", "equal weights", "select")},
        students={"student": systems["student"]},
        options=ReportOptions(title="treeavg: the embedded sample"),
    )
    report.write(path)
