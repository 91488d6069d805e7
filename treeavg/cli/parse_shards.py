"""``treeavg parse`` and the reading of ``treeavg fit`` over sharded text."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

from treeavg.cli import cluster
from treeavg.cli.parse import loaded, parse_batch
from treeavg.engine.job import Job, Output, run_on, suffix_of
from treeavg.engine.works import Writers
from treeavg.errors import ArgumentError
from treeavg.formats import format_of
from treeavg.formats.choosing import kind_of
from treeavg.formats.files import file_digest
from treeavg.formats.text import SentenceReader


def run(parser: Any, arguments: argparse.Namespace, chosen: dict[str, Any]) -> tuple[int, int]:
    """Parse shards; return how many sentences and words there were."""
    if arguments.words is not None:
        raise ArgumentError("--words: expected one text in one process, got shards. Leave it out.")
    if arguments.hits is not None and parser.kind != "span":
        raise ArgumentError(f"--hits: expected a parser of the kind span, got {parser.kind}. Leave it out.")
    plan = cluster.plan(arguments, [arguments.text])
    target = format_of("-", name=arguments.output_format, kind=_kind_of(parser, plan.shards[0].paths[0], arguments))
    places = [("trees", arguments.output, suffix_of(target))]
    places += [] if arguments.hits is None else [("hits", arguments.hits, ".jsonl")]
    options = {
        "parser": cluster.elsewhere(arguments, arguments.parser),
        "digests": _digests(Path(arguments.parser)),
        "chosen": chosen,
        "weight": arguments.weight,
        "format": arguments.format,
        "encoding": arguments.encoding,
        "output_format": target.name,
    }
    outputs = tuple(Output(name, cluster.elsewhere(arguments, folder), suffix) for name, folder, suffix in places)
    cluster.require_apart(outputs)
    numbered = target.numbered or parser.kind == "from-file"
    job = Job("parse", parse_work, plan, options, outputs[0].folder, outputs, numbered, count_text)
    report = cluster.run_job(arguments, "parsing", job)
    return report.sentences, sum(record["result"]["words"] for record in report.records)


def parse_work(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Parse one shard; see `treeavg.engine.tasks.Work`."""
    from treeavg.cli.running import sentences_of

    parser = _loaded(options["parser"], str(options["digests"]))
    target = format_of("-", name=options["output_format"])
    done = words = 0
    with closing(_reader(paths[0], options)) as reader:
        for batch in reader:
            with sentences_of(reader.name, done):
                bank = parse_batch(parser, batch, options["chosen"], first + done)
                if "hits" in write:
                    write["hits"](_hits(parser, batch, bank, options))
                write["trees"](target.serialize(bank, first + done))
            done += len(bank)
            words += bank.token_count
    return {"sentences": done, "words": words}


def count_text(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Count the sentences of one shard; see `treeavg.engine.tasks.Work`."""
    with closing(_reader(paths[0], options)) as reader:
        return {"sentences": sum(len(batch) for batch in reader)}


def read_work(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Read and check the words of one shard; see `treeavg.engine.tasks.Work`."""
    from parsers.inputs import as_sentences

    with closing(_reader(paths[0], options)) as reader:
        words = [sentence for batch in reader for sentence in as_sentences(batch)]
    return {"sentences": len(words), "words": words}


def read_text(arguments: argparse.Namespace, paths: Sequence[str]) -> list[list[str]]:
    """Return the sentences of texts, each a file or sharded, in order; workers read them."""
    sentences: list[list[str]] = []
    for path in paths:
        plan = cluster.plan(arguments, [path])
        options = {"format": arguments.format, "encoding": arguments.encoding}
        report = run_on(Job("read", read_work, plan, options), arguments.cluster, arguments.workers)
        sentences += [words for record in report.records for words in record["result"]["words"]]
    return sentences


@lru_cache(maxsize=1)
def _loaded(folder: str, digests: str) -> Any:
    """Return a parser, loaded once by each worker; torch's threads are left to the worker's environment."""
    return loaded(folder)


def _reader(path: str, options: Mapping[str, Any]) -> SentenceReader:
    return SentenceReader(path, options["format"], encoding=options["encoding"])


def _hits(parser: Any, batch: Any, bank: Any, options: Mapping[str, Any]) -> bytes:
    from treeavg.averaging.hits_file import serialize_hits

    given = {name: options["chosen"][name] for name in ("batch_tokens", "device")}
    return serialize_hits(parser.hit_counts(batch, weight=options["weight"], **given), bank.tokens)


def _kind_of(parser: Any, path: str, arguments: argparse.Namespace) -> str:
    """Return the kind of trees that a parser gives: it parses a sentence to know."""
    options = {"format": arguments.format, "encoding": arguments.encoding}
    with closing(_reader(path, options)) as reader:
        batch = next(iter(reader))
    return kind_of(parse_batch(parser, batch[:1], {"batch_tokens": arguments.batch_tokens}, 0))


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a saved parser: what the job's trees depend on."""
    return {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
