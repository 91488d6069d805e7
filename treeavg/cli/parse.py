"""``treeavg parse``: a saved parser and text in, trees out."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import closing
from inspect import signature
from itertools import chain, islice
from typing import Any

from treeavg.cli import cluster, options, running
from treeavg.cli.messages import keywords_of
from treeavg.errors import AlignmentError, ArgumentError
from treeavg.memory import give_back_memory

DESCRIPTION = """\
Parse new text with a saved parser. The text is plain, one sentence a line with blanks between words, or any treebank
file, whose words are taken.

  treeavg parse student/ text.txt -o trees.txt
  treeavg parse student/ gold.txt | treeavg score --gold gold.txt -
  cat text.txt | treeavg parse student/ - > trees.txt
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "parse", "parse text with a trained parser", DESCRIPTION)
    parser.add_argument("parser", metavar="PARSER", help="the folder of a saved parser")
    parser.add_argument("text", metavar="TEXT", help="plain text or a treebank; '-' is standard input")
    parser.add_argument(
        "--decode",
        choices=options.DECODERS,
        help="the most expected spans or arcs, the most probable tree, or by single spans; of a grammar mbr or viterbi "
        "(default: as trained)",
    )
    parser.add_argument("--batch-tokens", type=int, help="words at once (4096; on a CPU 1024, which takes less memory)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (auto)")
    options.add_threads(parser)
    parser.add_argument("--hits", metavar="FILE", help="write spans' probabilities too, as hit counts for distill")
    parser.add_argument("--weight", type=float, default=1.0, help="with --hits: the count of a sure span (1)")
    parser.add_argument("--words", metavar="FILE", help="words to write in place of those parsed, as many a sentence")
    options.add_json(parser)
    group = parser.add_argument_group("input")
    group.add_argument(
        "--format", choices=("text", *options.FORMATS), help="format of the text (default: by suffix, then by content)"
    )
    group.add_argument("--encoding", default="utf-8", help="encoding of the text (default: utf-8)")
    options.add_output(parser)
    cluster.add_cluster(parser)
    running.add_log(parser)
    parser.set_defaults(run=run, keywords=keywords_of(parser))


def run(arguments: argparse.Namespace) -> int:
    """Load the parser, stream through the text."""
    options.require_torch("parse")
    from parsers.base import resolve_device

    running.refuse_json_on_stdout(arguments)
    if arguments.batch_tokens is None:
        arguments.batch_tokens = 1024 if resolve_device(arguments.device).type == "cpu" else 4096
    if arguments.batch_tokens < 1:
        raise ArgumentError(f"--batch-tokens: expected at least 1, got {arguments.batch_tokens}. Try 4096.")
    options.use_threads(arguments)
    parser = loaded(arguments.parser)
    chosen = {"batch_tokens": arguments.batch_tokens, "device": arguments.device}
    if arguments.decode is not None:
        if "decode" not in signature(parser.parse).parameters:
            raise ArgumentError(
                f"--decode: expected a parser with a choice, got one of the kind {parser.kind}. Leave it out."
            )
        chosen["decode"] = arguments.decode
    begun = time.monotonic()
    with options.memory_of_torch():
        if cluster.is_wanted(arguments, [arguments.text]):
            from treeavg.cli import parse_shards

            sentences, words = parse_shards.run(parser, arguments, chosen)
        else:
            sentences, words = _parse(parser, arguments, chosen)
    if arguments.json:
        seconds = time.monotonic() - begun
        summary = {
            "output": arguments.output,
            "sentences": sentences,
            "words": words,
            "seconds": round(seconds, 3),
            "sentences_per_second": round(sentences / seconds, 1),
        }
        options.print_json(summary)
    return 0


def _parse(parser: Any, arguments: argparse.Namespace, chosen: dict[str, Any]) -> tuple[int, int]:
    """Parse batch by batch; return how many sentences and words there were."""
    from treeavg.formats import format_of
    from treeavg.formats.choosing import kind_of
    from treeavg.formats.files import AtomicFile
    from treeavg.formats.text import SentenceReader

    done, words = 0, 0
    hits, spelt, progress = _Hits(arguments, parser), _Words(arguments), running.Progress("parsing", arguments)
    reader = SentenceReader(arguments.text, arguments.format, encoding=arguments.encoding)
    with (
        closing(reader),
        closing(spelt),
        AtomicFile(arguments.output) as file,
        hits,
        running.compiling_notice(),
        progress,
    ):
        for batch in reader:
            with running.sentences_of(reader.name, done):
                bank = spelt.put_into(parse_batch(parser, batch, chosen, done), done)
                hits.add(batch, bank)
                target = format_of(arguments.output, name=arguments.output_format, kind=kind_of(bank))
                file.write(target.serialize(bank, done))
            done += len(bank)
            words += bank.token_count
            progress.advance(len(bank), reader.fraction)
        spelt.finish(done)
    return done, words


def loaded(folder: str) -> Any:
    """Load a parser, in little memory."""
    # Else oneDNN keeps what it compiled for every shape of a batch, 40 MB in the end; few come again.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4")

    from parsers.base import load

    parser = load(folder)
    give_back_memory()  # what loading needed
    return parser


def parse_batch(parser: Any, batch: Any, chosen: dict[str, Any], first: int) -> Any:
    """Parse sentences of which the first has the index `first` in the text."""
    place = {"first": first} if parser.kind == "from-file" else {}
    bank = parser.parse(batch, **chosen, **place)
    give_back_memory()  # batches of many shapes leave gaps, some 40 MB in the end
    return bank


class _Hits:
    """Writes expected hits beside the trees, where asked to."""

    def __init__(self, arguments: argparse.Namespace, parser: Any) -> None:
        from treeavg.formats.files import AtomicFile

        if arguments.hits is not None and parser.kind != "span":
            raise ArgumentError(f"--hits: expected a parser of the kind span, got {parser.kind}. Leave it out.")
        if arguments.hits is None and arguments.weight != arguments.keywords["weight"]:
            raise ArgumentError("--weight: expected --hits FILE beside it, got none. Leave it out, or name a file.")
        if arguments.hits == "-":
            raise ArgumentError("--hits: expected a file, got standard output. Name a file.")
        self._file = AtomicFile(arguments.hits) if arguments.hits is not None else None
        self._parser = parser
        self._given = {
            "weight": arguments.weight, "batch_tokens": arguments.batch_tokens, "device": arguments.device,
        }  # fmt: skip

    def __enter__(self) -> None:
        if self._file is not None:
            self._file.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._file is not None:
            self._file.__exit__(*error)

    def add(self, batch: Any, bank: Any) -> None:
        """Write the hits of a batch, with the words of its trees."""
        if self._file is not None:
            from treeavg.averaging.hits_file import serialize_hits

            self._file.write(serialize_hits(self._parser.hit_counts(batch, **self._given), bank.tokens))


class _Words:
    """Puts words of another file in place of those that were parsed, as the text goes on."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from parsers.base import as_sentences
        from treeavg.formats.text import SentenceReader

        self._reader: SentenceReader | None = None
        self._sentences: Iterator[list[str]] = iter(())
        self._taken = 0
        if arguments.words is None:
            return
        if arguments.words == arguments.text == "-":
            raise ArgumentError("--words: expected a file, got standard input, which is the text. Name a file.")
        self._reader = SentenceReader(arguments.words, encoding=arguments.encoding)
        self._sentences = chain.from_iterable(map(as_sentences, self._reader))

    def put_into(self, bank: Any, first: int) -> Any:
        """Return the trees with the words of the file."""
        from treeavg.strings import StringColumn

        if self._reader is None:
            return bank
        chosen = list(islice(self._sentences, len(bank)))
        self._taken += len(chosen)
        for place, length in enumerate(bank.lengths.tolist()):
            count = len(chosen[place]) if place < len(chosen) else 0
            if count != length:
                raise AlignmentError(
                    f"{self._reader.name}: sentence {first + place + 1}: expected {length} words as in the text, "
                    f"got {count}. Pass the same sentences."
                )
        return bank.replace(tokens=StringColumn.of(word for own in chosen for word in own))

    def finish(self, sentences: int) -> None:
        """Raise where the file does not end where the text ends."""
        if self._reader is None:
            return
        found = self._taken + sum(1 for _ in self._sentences)
        if found != sentences:
            raise AlignmentError(
                f"{self._reader.name}: expected {sentences} sentences as in the text, got {found}. "
                "Pass the same sentences."
            )

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
