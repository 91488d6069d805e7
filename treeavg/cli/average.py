"""``treeavg average``: one tree from several teachers' trees."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from typing import Any

from treeavg.cli import options
from treeavg.errors import ArgumentError

DESCRIPTION = """\
Average the trees of several parsers, sentence by sentence, into the one that agrees with them most. The files decide
whether these are constituency trees, continuous or discontinuous, or dependency trees.

  treeavg average teachers/*.txt -o average.txt
  treeavg average a.txt b.txt.gz c.jsonl --weights 1 2 1 -o average.jsonl
  treeavg average runs/*.jsonl --no-binary --objective f1 -o average.jsonl
  treeavg average teachers/*.conllu --support -o average.conllu
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "average", "average several parsers' trees", DESCRIPTION)
    parser.add_argument(
        "--method",
        choices=options.METHODS,
        default="generate",
        help="generate: search all trees; select: the best of the teachers' own trees (default: generate)",
    )
    parser.add_argument("--hits", metavar="FILE", help="write the hit counts too, for 'treeavg distill' (JSON lines)")
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `average` and `select` share."""
    parser.add_argument("teachers", nargs="+", metavar="TEACHER", help="treebank files over the same sentences")
    options.add_weights(parser, estimated=True)
    options.add_objective(parser)
    options.add_alignment(parser)
    options.add_jobs(parser)
    options.add_json(parser)
    options.add_input(parser)
    options.add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Stream through the files, batch by batch."""
    from treeavg.alignment import Places, align
    from treeavg.averaging.average import average
    from treeavg.averaging.weights import whole_weights
    from treeavg.cli.running import Progress, compiling_notice, refuse_json_on_stdout, report_problems, sentences_of
    from treeavg.formats import AlignedReader, Columns, format_of
    from treeavg.formats.files import AtomicFile

    refuse_json_on_stdout(arguments)
    teachers: list[str] = arguments.teachers
    estimate = arguments.weights == "agreement"
    weights = _estimated(arguments) if estimate else options.read_weights(arguments.weights, teachers)
    whole_weights(weights, len(teachers))  # before anything is read
    labelled = arguments.method == "select" or arguments.labels != "none"
    words = arguments.check_tokens or teachers[0].endswith((".heads", ".heads.gz"))  # then another file has the words
    reader = AlignedReader(
        teachers,
        arguments.format,
        encoding=arguments.encoding,
        on_error=arguments.on_error,
        jobs=arguments.jobs,
        columns=[Columns(tokens=index == 0 or words, labels=labelled) for index in range(len(teachers))],
    )
    names = tuple(item.name for item in reader.readers)
    with closing(reader):
        target = format_of(arguments.output, name=arguments.output_format, kind=reader.readers[0].format.kind)
        if arguments.support and target.name not in ("jsonl", "conllu"):
            raise ArgumentError(
                f"--support: expected output in jsonl or conllu, which can hold it, got {target.name}. "
                "Name such a file, or --output-format."
            )
        chosen = {name: getattr(arguments, name) for name in ("method", *options.OBJECTIVE_OPTIONS)}
        problems = []
        searched = _Searched()
        counted = _HitsFile(getattr(arguments, "hits", None), weights)
        shown = Progress("averaging")
        with AtomicFile(arguments.output) as file, counted, compiling_notice(), shown as progress, searched:
            done = 0
            for batch in reader:
                places = Places(names, files=True, first=done)
                shared = {"check_tokens": arguments.check_tokens, "on_error": arguments.on_error, "places": places}
                problems += align(batch, **shared)[1]
                result = average(batch, weights=weights, jobs=arguments.jobs, **chosen, **shared)
                searched.add(result, done)
                counted.add(batch, arguments.on_error, places)
                with sentences_of(names[0], done):
                    file.write(target.serialize(result, done))
                done += len(result)
                progress.update(len(result), reader)
    skipped = report_problems([*reader.problems, *problems], done)
    searched.report(done)
    if arguments.json:
        summary = {
            "output": arguments.output,
            **chosen,
            "teachers": list(names),
            "weights": [float(weight) for weight in weights] if weights is not None else None,
            "sentences": done,
            "skipped": [{"sentence": item.sentence + 1, "reason": item.message} for item in skipped],
            "search": searched.summary(),
        }
        json.dump(summary, sys.stdout, ensure_ascii=False)
        print()
    return 0


#: Sentences that weights are estimated from; the same ones whatever the size of batches.
_ESTIMATE_FROM = 20_000


def _estimated(arguments: argparse.Namespace) -> list[Any]:
    """Estimate weights from the beginning of the files, and say what they are."""
    from treeavg.alignment import Places
    from treeavg.averaging.reliability import agreement_weights
    from treeavg.cli.running import compiling_notice, short_names
    from treeavg.formats import AlignedReader, Columns

    if "-" in arguments.teachers:
        raise ArgumentError("--weights agreement: expected files, which are read twice, got '-'. Save standard input.")
    reader = AlignedReader(
        arguments.teachers,
        arguments.format,
        encoding=arguments.encoding,
        on_error=arguments.on_error,
        jobs=arguments.jobs,
        batch=_ESTIMATE_FROM,
        columns=[Columns(tokens=arguments.check_tokens, labels=False)] * len(arguments.teachers),
    )
    names = ("binary", "objective", "beta", "threshold", "projective")
    chosen = {name: getattr(arguments, name) for name in names}
    with closing(reader), compiling_notice():
        weights = agreement_weights(
            next(iter(reader)),
            average_options=chosen,
            on_error=arguments.on_error,
            check_tokens=arguments.check_tokens,
            jobs=arguments.jobs,
            places=Places(tuple(item.name for item in reader.readers), files=True),
        )
    told = ", ".join(
        f"{name} {weight:g}" for name, weight in zip(short_names(arguments.teachers), weights, strict=True)
    )
    print(f"treeavg: weights by agreement: {told}", file=sys.stderr)
    return list(weights)


class _HitsFile:
    """Writes hit counts beside the averages, where asked to."""

    def __init__(self, path: str | None, weights: Any) -> None:
        from treeavg.formats.files import AtomicFile

        if path == "-":
            raise ArgumentError("--hits: expected a file, got standard output. Name a file.")
        self._file = AtomicFile(path) if path is not None else None
        self._weights = weights

    def __enter__(self) -> None:
        if self._file is not None:
            self._file.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._file is not None:
            self._file.__exit__(*error)

    def add(self, batch: Any, on_error: str, places: Any) -> None:
        """Write the hit counts of a batch."""
        if self._file is None:
            return
        from treeavg.averaging.constituency import words_of
        from treeavg.averaging.hits import hit_counts
        from treeavg.averaging.hits_file import serialize_hits
        from treeavg.treebank import Treebank

        if not all(isinstance(bank, Treebank) for bank in batch):
            raise ArgumentError("--hits: expected constituency trees, got dependency trees. Leave it out.")
        hits = hit_counts(batch, weights=self._weights, on_error=on_error, places=places)
        self._file.write(serialize_hits(hits, words_of(batch, hits.lengths)))


class _Searched:
    """Gathers how the searches of all batches went; the library's warnings are told in one list instead."""

    def __init__(self) -> None:
        self._searches = 0
        self._nodes = 0
        self._largest = 0
        self._open: list[tuple[int, float]] = []

    def __enter__(self) -> None:
        import warnings

        from treeavg.errors import SearchLimitWarning

        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        warnings.simplefilter("ignore", SearchLimitWarning)

    def __exit__(self, *error: Any) -> None:
        self._caught.__exit__(*error)

    def add(self, result: Any, first: int) -> None:
        """Take a batch into account."""
        search = getattr(result, "search", None)
        if search is None:
            return
        self._searches += len(result)
        self._nodes += int(search.nodes.sum())
        self._largest = max(self._largest, int(search.largest.max(initial=0)))
        self._open += [(first + place, float(search.gaps[place])) for place in (~search.proved).nonzero()[0].tolist()]

    def report(self, total: int) -> None:
        """List the sentences whose trees are not proved best."""
        if self._open:
            print(
                f"treeavg: the best tree found is not proved best in {len(self._open):,} of {total:,}:", file=sys.stderr
            )
            for sentence, gap in self._open:
                print(f"  sentence {sentence + 1}: at most {gap:.4g} below the best", file=sys.stderr)

    def summary(self) -> dict[str, Any] | None:
        """Return the figures for JSON; None where nothing had to be searched."""
        if not self._searches:
            return None
        unproved = [{"sentence": sentence + 1, "gap": gap} for sentence, gap in self._open]
        return {
            "sentences": self._searches,
            "nodes": self._nodes,
            "largest_component": self._largest,
            "unproved": unproved,
        }
