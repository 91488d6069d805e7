"""``treeavg fit``: text in, a trained unsupervised parser out."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

from treeavg.cli import cluster, options, running, training
from treeavg.cli.messages import keywords_of, one_line, option_of

DESCRIPTION = """\
Train an unsupervised parser on plain text, or on the words of treebanks: one teacher of an ensemble. Each kind has
options of its own: 'treeavg fit KIND --help'. Stop it at any moment: --resume goes on to the same result.

  treeavg fit neural-pcfg text.txt -o model/
  treeavg fit contest text.txt -o model/ --encoder path/to/a/hugging/face/model
  treeavg parse model/ text.txt -o trees.txt
"""

OF_KIND = """\
{purpose}.

Defaults are those of --preset small, for some thousand sentences on a laptop; --preset paper is the published recipe.
An option given beside a preset takes its place.

  treeavg fit {kind} text.txt -o model/
  treeavg fit {kind} text.txt -o model/ --resume
"""

#: What can be fitted, in a few words. Repeated here, so that --help loads nothing; a test compares the keys.
KINDS = {
    "neural-pcfg": "a grammar whose rule probabilities are a network's",
    "compound-pcfg": "the same with a vector for each sentence",
    "on-lstm": "a language model whose gates give distances between words",
    "diora": "an autoencoder over the chart of all trees",
    "s-diora": "the same over the best trees",
    "contest": "constituency tests, judged by a pretrained encoder",
    "contexdistort": "how far a change moves a pretrained encoder's vectors; nothing is trained",
}
#: Options of the training that a teacher is given, besides `training.add_machine`, with what they are.
_TRAINING = {
    "epochs": "times the text is seen, at most",
    "learning_rate": "of new weights",
    "encoder_learning_rate": "of pretrained weights",
    "accumulate": "batches a step",
    "patience": "stop after so many evaluations without gain; 0: never",
    "seed": "of all randomness",
    "checkpoint_minutes": "minutes between checkpoints",
}


class KindParser(argparse.ArgumentParser):
    """The parser of one kind, whose options are added when it is used."""

    kind = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None, *more: Any) -> Any:
        """Add the options, then parse."""
        _add_options(self)
        return super().parse_known_args(args, namespace, *more)

    def error(self, message: str) -> Any:
        """Print one line and exit with 2."""
        from treeavg.cli.messages import shown

        self.exit(2, f"{self.prog}: {shown(message)}. See '{self.prog} --help'.\n")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "fit", "train an unsupervised parser on plain text", DESCRIPTION)
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True, parser_class=KindParser)
    for kind, purpose in KINDS.items():
        of_kind = kinds.add_parser(
            kind, help=purpose, description=OF_KIND.format(kind=kind, purpose=purpose[0].upper() + purpose[1:]),
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        of_kind.kind = kind


def _add_options(parser: KindParser) -> None:
    """Add what a kind takes: its own options are the fields of its class of options."""
    from parsers.kinds import options_of

    own = options_of(parser.kind)
    defaults, recipe = own.presets()["small"]
    parser.add_argument("text", nargs="+", metavar="TEXT", help="plain text or treebanks; '-' is standard input")
    training.add_output_folder(parser, "parser")
    parser.add_argument("--preset", choices=("small", "paper"), default="small", help="a recipe (small)")
    parser.add_argument("--gold", metavar="FILE", help="trees that choose the best epoch (default: a held-out loss)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options.add_json(parser)
    group = parser.add_argument_group("the parser")
    offered = [item for item in fields(own) if item.name not in own.unused]
    for item in offered:
        _add_field(group, item, getattr(defaults, item.name))
    group = parser.add_argument_group("training")
    for name, purpose in _TRAINING.items():
        default = getattr(recipe, name)
        group.add_argument(option_of(name), type=type(default), help=f"{purpose} ({default})")
    if not any(item.name == "precision" for item in fields(own)):  # of teachers that read with an encoder: their own
        group.add_argument("--precision", choices=options.PRECISIONS, help=f"of the arithmetic ({recipe.precision})")
    training.add_machine(group)
    group = parser.add_argument_group("input")
    group.add_argument(
        "--format", choices=("text", *options.FORMATS), help="format of the text (default: by suffix, then by content)"
    )
    group.add_argument("--encoding", default="utf-8", help="encoding of the text (default: utf-8)")
    cluster.add_cluster(parser)
    running.add_log(parser)
    known = keywords_of(parser) | {item.name: getattr(defaults, item.name) for item in offered}
    known |= {name: getattr(recipe, name) for name in _TRAINING}
    parser.set_defaults(run=run, left=training.left_by_training, keywords=known)


def _add_field(group: Any, item: Any, default: Any) -> None:
    """Add the option of a field."""
    about = f"{item.metadata['help']} ({'none' if default is None else default})".replace("%", "%%")
    if isinstance(default, bool):
        group.add_argument(option_of(item.name), action=argparse.BooleanOptionalAction, default=None, help=about)
    elif item.metadata["choices"] is not None:
        group.add_argument(option_of(item.name), choices=item.metadata["choices"], help=about)
    else:
        group.add_argument(option_of(item.name), type=str if default is None else type(default), help=about)


def run(arguments: argparse.Namespace) -> int:
    """Read the text, train, save."""
    options.require_torch("fit")

    from parsers.kinds import class_of, options_of
    from parsers.training import TrainingConfig, is_first_process

    chosen, recipe = options_of(arguments.kind).presets()[arguments.preset]
    own = [item.name for item in fields(chosen) if item.name not in chosen.unused]
    chosen = replace(chosen, **_given(arguments, own))
    recipe = replace(recipe, **_given(arguments, set(training.training_of(arguments, TrainingConfig)) - set(own)))
    options.use_threads(arguments)
    training.require_place(arguments, "parser")
    begun = time.monotonic()
    with options.memory_of_torch(), _warnings_as_lines(arguments):
        parser = class_of(arguments.kind).fit(
            _sentences(arguments),
            folder=training.run_folder(arguments),
            options=chosen,
            training=recipe,
            gold=_gold(arguments),
            device=arguments.device,
            resume=arguments.resume,
            progress=training.progress_of(arguments),
        )
    if is_first_process():
        parser.save(arguments.output)
        against = "F1 against gold" if arguments.gold is not None else "held-out score"
        training.report(arguments, parser, time.monotonic() - begun, against + " {:.4g}")
    return 0


def _given(arguments: argparse.Namespace, names: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _sentences(arguments: argparse.Namespace) -> list[list[str]]:
    from parsers.inputs import as_sentences
    from treeavg.formats.text import read_sentences

    if cluster.is_wanted(arguments, arguments.text):
        from treeavg.cli.parse_shards import read_text

        return read_text(arguments, arguments.text)
    return [
        sentence
        for path in arguments.text
        for sentence in as_sentences(read_sentences(path, arguments.format, encoding=arguments.encoding))
    ]


def _gold(arguments: argparse.Namespace) -> Any:
    from treeavg.formats import read

    return None if arguments.gold is None else read(arguments.gold, encoding=arguments.encoding)


@contextmanager
def _warnings_as_lines(arguments: argparse.Namespace) -> Iterator[None]:
    """Print what is left out as a line, when it is said."""
    from parsers.training import is_first_process
    from treeavg.errors import LeftOutWarning

    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if not issubclass(category, LeftOutWarning):
            shown(message, category, *rest, **more)
        elif is_first_process():
            print(f"treeavg: {one_line(Exception(str(message)), arguments)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", LeftOutWarning)
        warnings.showwarning = show
        yield
