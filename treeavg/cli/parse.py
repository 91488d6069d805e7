"""``treeavg parse``: a saved parser and text in, trees out."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import Any

from treeavg.cli import options
from treeavg.errors import ArgumentError

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
        help="the most expected spans or arcs, the most probable tree, or by single spans (default: by the loss)",
    )
    parser.add_argument("--batch-tokens", type=int, default=4096, help="words at once (4096)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: one a core)")
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Stream through the text."""
    options.require_torch("parse")
    import torch

    from parsers.base import load
    from treeavg.cli.running import Progress, compiling_notice, refuse_json_on_stdout
    from treeavg.formats import format_of
    from treeavg.formats.choosing import kind_of
    from treeavg.formats.files import AtomicFile
    from treeavg.formats.text import SentenceReader

    refuse_json_on_stdout(arguments)
    if arguments.batch_tokens < 1:
        raise ArgumentError(f"--batch-tokens: expected at least 1, got {arguments.batch_tokens}. Try 4096.")
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ArgumentError(f"--threads: expected at least 1, got {arguments.threads}. Leave it out for all cores.")
        torch.set_num_threads(arguments.threads)
    parser: Any = load(arguments.parser)
    chosen = {"batch_tokens": arguments.batch_tokens, "device": arguments.device}
    if arguments.decode is not None:
        if parser.kind not in ("span", "dependency"):
            raise ArgumentError(f"--decode: expected a span or dependency parser, got {parser.kind}. Leave it out.")
        chosen["decode"] = arguments.decode
    reader = SentenceReader(arguments.text, arguments.format, encoding=arguments.encoding)
    done, words, begun = 0, 0, time.monotonic()
    hits = _Hits(arguments, parser)
    spelt = _Words(arguments)
    try:
        with AtomicFile(arguments.output) as file, hits, compiling_notice(), Progress("parsing") as progress:
            for batch in reader:
                with _numbered(reader.name, done):
                    bank = spelt.put_into(parser.parse(batch, **chosen), done)
                    hits.add(batch, bank)
                target = format_of(arguments.output, name=arguments.output_format, kind=kind_of(bank))
                file.write(target.serialize(bank, done))
                done += len(bank)
                words += bank.token_count
                progress.advance(len(bank), reader.fraction)
    finally:
        reader.close()
    if arguments.json:
        seconds = time.monotonic() - begun
        json.dump(
            {
                "output": arguments.output,
                "sentences": done,
                "words": words,
                "seconds": round(seconds, 3),
                "sentences_per_second": round(done / seconds, 1),
            },
            sys.stdout,
        )
        print()
    return 0


class _Hits:
    """Writes expected hits beside the trees, where asked to."""

    def __init__(self, arguments: argparse.Namespace, parser: Any) -> None:
        from treeavg.formats.files import AtomicFile

        if arguments.hits is not None and parser.kind != "span":
            raise ArgumentError(f"--hits: expected a parser of the kind span, got {parser.kind}. Leave it out.")
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
    """Puts words of another file in place of those that were parsed."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from parsers.base import as_sentences
        from treeavg.formats.text import read_sentences

        self._path: str | None = arguments.words
        self._sentences: list[list[str]] | None = None
        if self._path is not None:
            self._sentences = as_sentences(read_sentences(self._path, encoding=arguments.encoding))

    def put_into(self, bank: Any, first: int) -> Any:
        """Return the trees with the words of the file."""
        from treeavg.errors import AlignmentError
        from treeavg.strings import StringColumn

        if self._sentences is None:
            return bank
        for row, length in enumerate(bank.lengths.tolist(), first):
            own = self._sentences[row] if row < len(self._sentences) else []
            if len(own) != length:
                raise AlignmentError(
                    f"{self._path}: sentence {row + 1}: expected {length} words as in the text, got {len(own)}. "
                    "Pass the same sentences."
                )
        chosen = self._sentences[first : first + len(bank)]
        return bank.replace(tokens=StringColumn.of(word for own in chosen for word in own))


class _numbered:  # noqa: N801 (a context manager)
    """Name sentences of a batch by file and number in messages of what knows only the batch."""

    def __init__(self, name: str, first: int) -> None:
        self._name, self._first = name, first

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        from treeavg.errors import TreeavgError

        if isinstance(error, TreeavgError):
            text = re.sub(
                r"^(sentences|treebank)\[(\d+)\]",
                lambda match: f"{self._name}: sentence {self._first + int(match[2]) + 1}",
                str(error),
            )
            raise type(error)(text) from None
