"""``treeavg distill``: teachers' files in, a trained parser out."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from treeavg.cli import options, running, training
from treeavg.cli.messages import keywords_of, option_of
from treeavg.errors import ArgumentError

if TYPE_CHECKING:
    from treeavg.alignment import Places

DESCRIPTION = """\
Train one parser, the student, on the trees of several teachers, or on their hit counts. New text then needs no teacher.
Constituency or dependency trees, as the files say. Stop it at any moment: --resume goes on to the same result.

  treeavg distill teachers/*.txt -o student/
  treeavg distill teachers/*.txt -o student/ --loss hard --encoder pretrained --pretrained path/to/model
  treeavg distill hits.jsonl -o student/ --epochs 20 --seed 1
  treeavg distill teachers/*.conllu -o student/
  treeavg distill teachers/*.txt -o student/ --resume
"""

#: Options that only constituency trees have.
_OF_CONSTITUENCY = ("distribution", "student_weight", "detach_visits", "start_epochs", "tags")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "distill", "train a student on the teachers' trees", DESCRIPTION)
    parser.add_argument(
        "teachers", nargs="+", metavar="TEACHER", help="treebank files over the same sentences, or files of hit counts"
    )
    training.add_output_folder(parser, "student")
    parser.add_argument(
        "--sentences", metavar="FILE", help="the words: plain text or a treebank (default: a teacher's)"
    )
    parser.add_argument("--gold", metavar="FILE", help="trees that choose the best epoch (default: held-out averages)")
    options.add_weights(parser)
    _add_student(parser)
    _add_training(parser)
    options.add_json(parser)
    options.add_input(parser)
    running.add_log(parser)
    parser.set_defaults(run=run, left=training.left_by_training, keywords=keywords_of(parser))


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
        "--start-epochs", type=int, metavar="N",
        help="epochs with kl before the loss (default: 1 for losses that see what the student visits, else 0)",
    )  # fmt: skip
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
    group.add_argument("--precision", choices=options.PRECISIONS, default="auto", help="auto: bfloat16 where it pays")
    training.add_machine(group)
    group.add_argument("--checkpoint-minutes", type=float, default=5.0, help="minutes between checkpoints (5)")


def run(arguments: argparse.Namespace) -> int:
    """Read the teachers, train, save."""
    options.require_torch("distill")

    from parsers.nn.encoders import EncoderConfig
    from parsers.training import TrainingConfig, is_first_process

    config = TrainingConfig(**training.training_of(arguments, TrainingConfig))
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
    options.use_threads(arguments)
    training.require_place(arguments, "student")
    begun = time.monotonic()
    shared: dict[str, Any] = {
        "folder": training.run_folder(arguments),
        "sentences": _sentences(arguments),
        "loss": arguments.loss,
        "temperature": arguments.temperature,
        "encoder": encoder,
        "training": config,
        "batch_tokens": arguments.batch_tokens,
        "held_out": arguments.held_out,
        "on_error": arguments.on_error,
        "device": arguments.device,
        "resume": arguments.resume,
        "progress": training.progress_of(arguments),
    }
    with options.memory_of_torch():
        parser = _fit(arguments, shared)
    if is_first_process():
        parser.save(arguments.output)
        against = "gold" if arguments.gold is not None else "the average"
        training.report(arguments, parser, time.monotonic() - begun, "{:.2f} against " + against, loss=arguments.loss)
    return 0


def _fit(arguments: argparse.Namespace, shared: dict[str, Any]) -> Any:
    """Train the parser that suits the files."""
    from parsers.dependency_parser import DependencyParser
    from parsers.span_parser import SpanParser
    from treeavg.averaging.hits_file import read_hits
    from treeavg.dependency import DependencyTreebank
    from treeavg.formats import read

    for_trees = {name: getattr(arguments, name) for name in _OF_CONSTITUENCY}
    paths: list[str] = arguments.teachers
    if arguments.gold is not None:
        shared["gold"] = read(arguments.gold, format=arguments.format, encoding=arguments.encoding)
    if _are_hits(arguments):
        _refuse(arguments, ("weights",), "teachers' files", "hit counts")
        _refuse(arguments, ("projective",), "dependency trees", "hit counts of constituency trees")
        hits, words = read_hits(paths[0], encoding=arguments.encoding)
        shared["sentences"] = shared["sentences"] if shared["sentences"] is not None else words
        with _named(arguments):
            return SpanParser.fit(hits, **for_trees, **shared)
    if arguments.weights == "agreement":
        raise ArgumentError(
            "--weights: expected numbers or a file to train a student, got 'agreement'. Train on the hit counts of "
            "treeavg average --weights agreement --hits FILE."
        )
    shared["weights"] = options.read_weights(arguments.weights, paths)
    banks, places = _read(arguments)
    shared["places"] = places
    with _named(arguments):
        if isinstance(banks[0], DependencyTreebank):
            _refuse(arguments, _OF_CONSTITUENCY, "constituency trees", "dependency trees")
            return DependencyParser.fit(banks, projective=arguments.projective, **shared)
        _refuse(arguments, ("projective",), "dependency trees", "constituency trees")
        return SpanParser.fit(banks, **for_trees, **shared)


def _are_hits(arguments: argparse.Namespace) -> bool:
    """Tell whether the teachers are a file of hit counts; raise where it is not alone."""
    from treeavg.averaging.hits_file import is_hits_file

    paths: list[str] = arguments.teachers
    if arguments.format is not None:
        return False
    files = [path for path in paths if os.path.isfile(path)]  # a pipe gives its bytes once
    counted = [path for path in files if is_hits_file(path, encoding=arguments.encoding)]
    if counted and len(paths) > 1:
        raise ArgumentError(
            f"{counted[0]}: expected one file of hit counts, which hold all teachers, got {len(paths)} files. "
            "Put files over other sentences end to end: cat a.jsonl b.jsonl."
        )
    return bool(counted)


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], expected: str, got: str) -> None:
    """Raise where an option was given that means nothing for such trees."""
    for name in names:
        if getattr(arguments, name) != arguments.keywords[name]:
            option = f"--no-{name}" if name == "projective" else option_of(name)
            raise ArgumentError(f"{option}: expected {expected}, got {got}. Leave it out.")


def _read(arguments: argparse.Namespace) -> tuple[list[Any], Places]:
    """Read the teachers' files; list what is skipped. Return treebanks, and how to name their sentences."""
    from parsers.training import is_first_process
    from treeavg.alignment import Places, align
    from treeavg.cli.running import report_problems
    from treeavg.formats import AlignedReader, Columns

    paths: list[str] = arguments.teachers
    reader = AlignedReader(
        paths,
        arguments.format,
        encoding=arguments.encoding,
        on_error=arguments.on_error,
        columns=[Columns(labels=False)] * len(paths),
    )
    banks = [type(column[0]).concatenate(column) for column in zip(*reader, strict=True)]
    places = Places(tuple(item.name for item in reader.readers), files=True)
    if arguments.on_error == "skip" and is_first_process():
        report_problems([*reader.problems, *align(banks, places=places, on_error="skip")[1]], reader.done)
    return banks, places


def _named(arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """Name sentences by the file of words in messages of what knows only the words."""
    from treeavg.cli.running import sentences_of

    return sentences_of(arguments.sentences or arguments.teachers[0], 0)


def _sentences(arguments: argparse.Namespace) -> Any:
    from treeavg.formats.text import read_sentences

    if arguments.sentences is None:
        if arguments.tags:
            raise ArgumentError("--tags: expected --sentences with a tagged treebank, got none. Name the file.")
        return None
    return read_sentences(arguments.sentences, encoding=arguments.encoding)
