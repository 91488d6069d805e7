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
    try:
        with AtomicFile(arguments.output) as file, compiling_notice(), Progress("parsing") as progress:
            for batch in reader:
                with _numbered(reader.name, done):
                    bank = parser.parse(batch, **chosen)
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
