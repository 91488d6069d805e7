"""A flipped bit in each kind of file that is read back: refused with a line, or the same content; where a format has no
checksum, it may be read as something else, and how often is counted."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import processes
from .processes import run
from .readers import MESSAGE

#: Makes a file in a folder; returns it, what reads it back, and whether every flip that matters must be noticed.
Made = tuple[Path, Callable[[], Any], bool]


def case(kind: str) -> Callable[[Path, int], Iterator[str | None]]:
    """Return the case of one kind of file."""

    def flips(folder: Path, count: int) -> Iterator[str | None]:
        try:
            path, load, guarded = KINDS[kind](folder)
        except ImportError as error:
            yield f"skipped: {error}"
            return
        yield from flip(path, load, count, guarded=guarded, seed=kind)

    return flips


def flip(path: Path, load: Callable[[], Any], count: int, *, guarded: bool, seed: str) -> Iterator[str | None]:
    """Flip so many bits, one at a time: every bit of the file where it has no more."""
    from treeavg import TreeavgError

    whole, expected = path.read_bytes(), load()
    generator = random.Random(seed)
    places = range(8 * len(whole))
    tally = {"refused": 0, "the same": 0, "read as something else": 0}
    for place in sorted(generator.sample(places, min(count, len(places)))):
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            got = load()
        except TreeavgError as error:
            tally["refused"] += 1
            yield None if MESSAGE.fullmatch(str(error)) else f"byte {place // 8}: {error}"
        except Exception as error:
            yield f"byte {place // 8}: {type(error).__name__}: {error}"
        else:
            what = "the same" if got == expected else "read as something else"
            tally[what] += 1
            yield f"byte {place // 8}: read as something else" if guarded and what != "the same" else None
    path.write_bytes(whole)
    yield "note: " + ", ".join(f"{number} {what}" for what, number in tally.items()) + f", of {8 * len(whole):,} bits"


def _parser(folder: Path, name: str) -> Made:
    from parsers import load

    text = processes.text_of(folder, 40)
    done = run("fit", "on-lstm", text, "-o", "model", *processes.FIT, folder=folder)
    assert done.returncode == 0, done.stderr
    path = folder / "model" / name

    def content() -> Any:
        state, tensors = load(folder / "model")._state()
        return repr(state), {key: tensor.numpy().tobytes() for key, tensor in tensors.items()}

    return path, content, True


def _checkpoint(folder: Path) -> Made:
    """The newest checkpoint, read when a run is resumed; its elder is used where it is damaged, with a note."""
    from parsers.training.checkpoint import Checkpoints

    _parser(folder, "parser.json")
    checkpoints = Checkpoints(folder / "model" / "run" / "checkpoints")
    newest, *older = checkpoints.paths()
    for path in older:
        path.unlink()

    def content() -> Any:
        found = checkpoints.read_latest(lambda _: None)
        assert found is not None
        return found[1], {key: tensor.numpy().tobytes() for key, tensor in found[0].items()}

    return newest, content, True


def _run_document(folder: Path) -> Made:
    """``run.json``: plain JSON; what is trained is compared with the options given, when a run is resumed."""
    from parsers.training.runs import RunFolder

    _parser(folder, "parser.json")
    path = folder / "model" / "run" / "run.json"
    return path, lambda: RunFolder(path.parent)._read(), False


def _metrics(folder: Path) -> Made:
    from parsers.training.metrics_file import MetricsFile

    _parser(folder, "parser.json")
    path = folder / "model" / "run" / "metrics.jsonl"
    return path, lambda: MetricsFile(path).read(), False


def _cache(folder: Path, name: str) -> Made:
    """Outputs of a teacher of sequences."""
    import torch

    from treeavg.distill.sequences.caching.cache import CacheWriter, Source, TeacherCache

    source = Source("teacher", "tokenizer", "greedy", vocabulary=50)
    with CacheWriter(folder / "cache", source) as writer:
        ids = torch.arange(24).reshape(4, 6)
        writer.add(ids, torch.ones_like(ids, dtype=torch.bool), examples=[0, 1, 2, 3], scores=[-1.0, -2.0, -3.0, -4.0])
    path = next(path for path in sorted((folder / "cache").iterdir()) if path.name.endswith(name))

    def content() -> Any:
        cache = TeacherCache(folder / "cache", expected={})
        cache.check()
        batch = cache.batch(range(len(cache)))
        return cache.source, [None if part is None else part.tolist() for part in batch]

    return path, content, True


def _trees(folder: Path, suffix: str, *, guarded: bool) -> Made:
    from treeavg import read, write

    from .mutations import whole_treebanks

    banks = whole_treebanks()
    bank = banks[7] if suffix in (".conllu", ".heads") else banks[3] if suffix in (".export", ".dbr") else banks[1]
    path = folder / f"trees{suffix}"
    write(bank, path)
    return path, lambda: _columns(read(path)), guarded


def _columns(bank: Any) -> Any:
    """Return a treebank as what can be compared, support and all."""
    return [repr(view) + repr(view.tokens) for view in bank], bank.lengths.tolist()


def _hits(folder: Path, suffix: str, *, guarded: bool) -> Made:
    from treeavg.averaging.hits_file import read_hits

    names = processes.larger(folder, 4, files=3)
    done = run("average", *names, "-o", "out.txt", "--hits", f"hits{suffix}", folder=folder)
    assert done.returncode == 0, done.stderr
    path = folder / f"hits{suffix}"

    def content() -> Any:
        hits, words = read_hits(path)
        return [getattr(hits, name).tolist() for name in ("lengths", "offsets", "starts", "ends", "whole")], words

    return path, content, guarded


def _parquet(folder: Path) -> Made:
    import pyarrow  # noqa: F401

    from treeavg.formats import FORMATS

    if "parquet" not in FORMATS:
        raise ImportError("there is no format 'parquet'")
    return _trees(folder, ".parquet", guarded=False)


def _engine(folder: Path, name: str) -> Made:
    """What a job over shards keeps: its manifest, and the records of its shards; a rerun reads both."""
    from importlib.util import find_spec

    if find_spec("treeavg.engine") is None:
        raise ImportError("there is no treeavg.engine")
    for teacher in ("a", "b"):
        (folder / teacher).mkdir()
        for shard in range(2):
            shutil.copy(folder / processes.larger(folder, 20, files=1)[0], folder / teacher / f"{shard}.txt")
    words = ["average", "a", "b", "-o", "out"]
    done = run(*words, folder=folder)
    assert done.returncode == 0, done.stderr
    path = next(path for path in sorted((folder / "out").rglob("*")) if path.name.endswith(name) and path.is_file())

    def content() -> Any:
        import contextlib
        import io

        from treeavg.cli import main
        from treeavg.errors import FormatError

        error = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stderr(error):
            if main(words):
                raise FormatError(error.getvalue().strip().removeprefix("treeavg: "))
        return [(folder / "out" / f"{shard}.txt").read_bytes() for shard in range(2)]

    return path, content, True


KINDS: dict[str, Callable[[Path], Made]] = {
    "parser.json": lambda folder: _parser(folder, "parser.json"),
    "weights": lambda folder: _parser(folder, "weights.safetensors"),
    "checkpoint": _checkpoint,
    "run.json": _run_document,
    "metrics": _metrics,
    "cache-manifest": lambda folder: _cache(folder, "manifest.json"),
    "cache-file": lambda folder: _cache(folder, ".safetensors"),
    "hits": lambda folder: _hits(folder, ".jsonl", guarded=False),
    "hits.gz": lambda folder: _hits(folder, ".jsonl.gz", guarded=True),
    "parquet": _parquet,
    "brackets.gz": lambda folder: _trees(folder, ".txt.gz", guarded=True),
    **{
        suffix: lambda folder, suffix=suffix: _trees(folder, suffix, guarded=False)  # type: ignore[misc]
        for suffix in (".txt", ".jsonl", ".export", ".dbr", ".conllu", ".heads")
    },
    "job-manifest": lambda folder: _engine(folder, "manifest.json"),
    "job-record": lambda folder: _engine(folder, ".json"),
}
