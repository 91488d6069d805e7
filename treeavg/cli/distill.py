"""``treeavg distill``: teachers' files in, a trained parser out."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from treeavg.cli import options
from treeavg.errors import ArgumentError, FileError

if TYPE_CHECKING:
    from parsers.training import TrainingConfig

DESCRIPTION = """\
Train one parser, the student, on the trees of several teachers, or on their hit counts. New text then needs no teacher.
Constituency or dependency trees, as the files say. Stop it at any moment: --resume goes on to the same result.

  treeavg distill teachers/*.txt -o student/
  treeavg distill teachers/*.txt -o student/ --loss js --encoder pretrained --pretrained path/to/model
  treeavg distill hits.jsonl -o student/ --epochs 20 --seed 1
  treeavg distill teachers/*.conllu -o student/
  treeavg distill teachers/*.txt -o student/ --resume
"""

#: Folder of the run inside the student's.
RUN = "run"


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "distill", "train a student on the teachers' trees", DESCRIPTION)
    parser.add_argument(
        "teachers", nargs="+", metavar="TEACHER", help="treebank files over the same sentences, or files of hit counts"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="the student's folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    parser.add_argument(
        "--sentences", metavar="FILE", help="the words: plain text or a treebank (default: a teacher's)"
    )
    parser.add_argument("--gold", metavar="FILE", help="trees that choose the best epoch (default: held-out averages)")
    options.add_weights(parser)
    _add_student(parser)
    _add_training(parser)
    options.add_json(parser)
    options.add_input(parser)
    parser.set_defaults(run=run)


def _add_student(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the student")
    losses = ", ".join(options.TREE_LOSSES)
    arcs = ", ".join(options.DEPENDENCY_LOSSES)
    group.add_argument(
        "--loss", default="kl", metavar="LOSS", help=f"{losses}; for dependency trees {arcs} (default: kl)"
    )
    group.add_argument("--temperature", type=float, default=1.0, help="divides the hit counts (1.0)")
    group.add_argument("--student-weight", type=float, default=0.5, help="the student's share in js and tvd (0.5)")
    group.add_argument("--detach-visits", action="store_true", help="leave out the gradient through visits")
    group.add_argument(
        "--distribution", choices=options.DISTRIBUTIONS, default="crf", help="normalise over trees or splits (crf)"
    )
    group.add_argument(
        "--projective", action=argparse.BooleanOptionalAction, default=True, help="dependency: projective (default)"
    )
    group.add_argument("--encoder", choices=options.ENCODERS, default="bilstm", help="default: bilstm")
    group.add_argument("--pretrained", metavar="FOLDER", help="a Hugging Face encoder, for --encoder pretrained")
    group.add_argument("--pooling", choices=("first", "mean"), default="mean", help="subwords to words (mean)")
    group.add_argument("--frozen", action="store_true", help="leave the pretrained weights as they are")
    group.add_argument("--size", type=int, default=400, help="width of the encoder's vectors (400)")
    group.add_argument("--layers", type=int, default=2, help="layers of the encoder, or above a pretrained one (2)")
    group.add_argument("--words", type=int, default=100, help="width of word embeddings; 0 for none (100)")
    group.add_argument("--characters", type=int, default=60, help="width of what is read of letters; 0 for none (60)")
    group.add_argument("--dropout", type=float, default=0.3, help="in training (0.3)")
    group.add_argument("--tags", action="store_true", help="read the tags of --sentences too")


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=int, default=12, help="times the text is seen, at most (12)")
    group.add_argument("--learning-rate", type=float, default=2e-3, help="of new weights (0.002)")
    group.add_argument("--encoder-learning-rate", type=float, default=1e-4, help="of pretrained weights (0.0001)")
    group.add_argument("--schedule", choices=options.SCHEDULES, default="linear", help="default: linear")
    group.add_argument("--batch-tokens", type=int, default=1500, help="words a batch (1500)")
    group.add_argument("--accumulate", type=int, default=1, help="batches a step (1)")
    group.add_argument("--average", choices=("none", "ema"), default="none", help="average the weights over steps")
    group.add_argument("--held-out", type=float, default=0.05, help="share of sentences that choose the epoch (0.05)")
    group.add_argument("--patience", type=int, default=0, help="stop after so many epochs without gain (0: never)")
    group.add_argument("--seed", type=int, default=0, help="default: 0")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (auto)")
    group.add_argument("--precision", choices=options.PRECISIONS, default="auto", help="auto: bfloat16 where it pays")
    group.add_argument("--compile", action="store_true", help="torch.compile, on CUDA")
    group.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: one a core)")
    group.add_argument("--checkpoint-minutes", type=float, default=5.0, help="minutes between checkpoints (5)")


def run(arguments: argparse.Namespace) -> int:
    """Read the teachers, train, save."""
    options.require_torch("distill")
    import torch

    from parsers.nn.encoders import EncoderConfig
    from parsers.training import TrainingConfig, is_first_process

    training = _training(arguments, TrainingConfig)
    encoder = EncoderConfig(
        kind=arguments.encoder,
        pretrained=arguments.pretrained,
        pooling=arguments.pooling,
        frozen=arguments.frozen,
        size=arguments.size,
        layers=arguments.layers,
        dropout=arguments.dropout,
        words=arguments.words,
        characters=arguments.characters,
    )
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ArgumentError(f"--threads: expected at least 1, got {arguments.threads}. Leave it out for all cores.")
        torch.set_num_threads(arguments.threads)
    _require_place(arguments)
    begun = time.monotonic()
    shared: dict[str, Any] = {
        "folder": os.path.join(arguments.output, RUN),
        "sentences": _sentences(arguments),
        "loss": arguments.loss,
        "temperature": arguments.temperature,
        "encoder": encoder,
        "training": training,
        "batch_tokens": arguments.batch_tokens,
        "held_out": arguments.held_out,
        "on_error": arguments.on_error,
        "device": arguments.device,
        "resume": arguments.resume,
    }
    parser = _fit(arguments, shared)
    if is_first_process():
        parser.save(arguments.output)
        _report(arguments, parser, time.monotonic() - begun)
    return 0


def _fit(arguments: argparse.Namespace, shared: dict[str, Any]) -> Any:
    """Train the parser that suits the files."""
    from parsers.dependency_parser import DependencyParser
    from parsers.span_parser import SpanParser
    from treeavg.alignment import Places
    from treeavg.averaging.hits_file import is_hits_file, read_hits
    from treeavg.dependency import DependencyTreebank
    from treeavg.formats import read

    tree_options = {
        "distribution": arguments.distribution,
        "student_weight": arguments.student_weight,
        "detach_visits": arguments.detach_visits,
        "tags": arguments.tags,
    }
    paths: list[str] = arguments.teachers
    given = {"format": arguments.format, "encoding": arguments.encoding}
    gold = read(arguments.gold, **given) if arguments.gold is not None else None
    if "-" not in paths and arguments.format is None and is_hits_file(paths[0]):
        if len(paths) > 1:
            raise ArgumentError(
                f"{paths[1]}: expected one file of hit counts, which hold all teachers, got {len(paths)} files. "
                "Put files over other sentences end to end: cat a.jsonl b.jsonl."
            )
        hits, words = read_hits(paths[0], encoding=arguments.encoding)
        shared["sentences"] = shared["sentences"] if shared["sentences"] is not None else words
        return SpanParser.fit(hits, gold=_gold(gold), **tree_options, **shared)
    banks = [read(path, on_error=arguments.on_error, **given) for path in paths]
    places = Places(tuple(paths), files=True)
    weights = options.read_weights(arguments.weights, paths)
    if isinstance(banks[0], DependencyTreebank):
        refused = [name for name, value in tree_options.items() if value != _DEFAULTS[name]]
        if refused:
            raise ArgumentError(
                f"--{refused[0].replace('_', '-')}: expected constituency trees, got dependency trees. Leave it out."
            )
        return DependencyParser.fit(
            banks, weights=weights, gold=gold, projective=arguments.projective, places=places, **shared
        )
    return SpanParser.fit(banks, weights=weights, gold=_gold(gold), places=places, **tree_options, **shared)


_DEFAULTS = {"distribution": "crf", "student_weight": 0.5, "detach_visits": False, "tags": False}


def _gold(bank: Any) -> Any:
    from treeavg.treebank import Treebank

    if bank is not None and not isinstance(bank, Treebank):
        raise ArgumentError(
            "--gold: expected constituency trees as the teachers', got dependency trees. Check the file."
        )
    return bank


def _training(arguments: argparse.Namespace, config: type[TrainingConfig]) -> TrainingConfig:
    names = {field.name for field in fields(config)} & set(vars(arguments))
    return config(**{name: getattr(arguments, name) for name in names})


def _sentences(arguments: argparse.Namespace) -> Any:
    from treeavg.formats.text import read_sentences

    if arguments.sentences is None:
        if arguments.tags:
            raise ArgumentError("--tags: expected --sentences with a tagged treebank, got none. Name the file.")
        return None
    return read_sentences(arguments.sentences, encoding=arguments.encoding)


def _require_place(arguments: argparse.Namespace) -> None:
    """Raise before anything is read where the student could not be saved later."""
    folder = arguments.output
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise FileError(f"{folder}: expected a folder for the student, got a file. Choose another name.")
    if not arguments.resume and os.path.exists(os.path.join(folder, "parser.json")):
        raise ArgumentError(
            f"{folder}: expected a new folder, got one that holds a parser. Choose another, or pass --resume to go on "
            "with its training."
        )


def _report(arguments: argparse.Namespace, parser: Any, seconds: float) -> None:
    result = parser.result
    if arguments.json:
        summary = {
            "output": arguments.output,
            "kind": parser.kind,
            "loss": arguments.loss,
            "best_score": result.best_score,
            "best_epoch": result.best_epoch,
            "steps": result.steps,
            "seconds": round(seconds, 3),
        }
        json.dump(summary, sys.stdout)
        print()
        return
    against = "gold" if arguments.gold is not None else "the average"
    print(
        f"treeavg: {arguments.output}: a {parser.kind} parser, {result.best_score:.2f} against {against} in epoch "
        f"{result.best_epoch}, after {seconds:,.0f} s",
        file=sys.stderr,
    )
