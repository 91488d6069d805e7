"""The command line as a thing to fuzz: arguments from the verbs' own parsers, files good and spoilt."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .mutations import mutated, seeds, treebanks
from .readers import SECONDS, Reader

#: Names of files that are there, by what is in them, and of such as are not.
INPUTS = (
    "a.txt",
    "b.txt",
    "c.jsonl",
    "d.dbr",
    "e.export",
    "f.conllu",
    "g.heads",
    "h.hits",
    "w.txt",
    "t.text",
    "z.txt.gz",
)
OTHERS = ("missing.txt", ".", "", "-", "/dev/null", "no/such/folder.txt", "é字.txt", "-x", "a.txt ", "\udcff")
OUTPUTS = ("out.txt", "out.jsonl", "out.conllu", "out.heads", "out.export", "out.dbr", "out.txt.gz", "out")
WHOLE, REAL = (-1, 0, 1, 2, 3, 7, 40), ("0", "0.5", "1", "-1", "nan", "inf", "1e-300", "1e300", "0.333")
JUNK = ("x", "", "é", "--", "-o", "1e999", "None", "a b", "\n", "%s", "{}", "--jobs")
#: Verbs that load torch, or do a whole experiment: one input in some thousand is for them, since each takes a second.
SLOW = ("fit", "distill", "parse", "demo")
#: Seconds of the processor that one of those may take.
TRAINING = 60.0
BEFORE = b"what was there before\n"
#: What an empty input stands for.
NOTHING = b'{"argv": ["--version"], "files": {}, "there": false}'


class CommandLine:
    """Runs ``treeavg`` in this process with arguments and files that an input, a JSON object, holds.

    Parameters
    ----------
    folder : pathlib.Path
        Where it runs.
    """

    name = "command-line"

    def __init__(self, folder: Path) -> None:
        from treeavg import cli

        self._folder = folder.resolve()
        self._verbs = _verbs(cli.build_parser())
        self._files = _files()
        self._oracle = Reader("auto", folder)  # for what all messages have in common: time and memory
        self._oracle.read, self._oracle._wrong = self._run, self._judged  # type: ignore[method-assign]
        made, build = cli.build_parser(), cli.build_parser
        cli.build_parser = lambda: made if not self._fresh else build()  # type: ignore[assignment]
        self._fresh = False
        #: Whether a random input may be one of `SLOW`.
        self.trains = True

    def failure(self, data: bytes, *, blocks: bool) -> tuple[bool, str | None]:
        """Return whether the command succeeded, and what is wrong, if anything is."""
        accepted, wrong = self._oracle.failure(data, blocks=blocks)
        return accepted and self._code == 0, wrong

    # ------------------------------------------------------------------ making inputs

    def random_input(self, generator: random.Random, known: Sequence[bytes], good: Sequence[bytes]) -> bytes:
        """Return arguments and files as JSON; now and then a change of inputs that are known."""
        if known and generator.random() < 0.2:
            return self._varied(generator, known)
        verb = generator.choice([name for name in self._verbs if name not in SLOW])
        if self.trains and generator.random() < 0.001:
            verb = generator.choice(SLOW)
        changed = {}
        for name in INPUTS:
            if generator.random() < 0.06:
                changed[name] = mutated(generator, self._files[name], list(self._files.values()))[:3000].decode(
                    "latin-1"
                )
        argv = [verb, *self._arguments(generator, verb)]
        if generator.random() < 0.1:
            argv.insert(generator.randint(0, len(argv)), generator.choice(JUNK))
        there = generator.random() < 0.5
        return json.dumps({"argv": argv, "files": changed, "there": there}).encode()

    def _varied(self, generator: random.Random, known: Sequence[bytes]) -> bytes:
        """Return a known input with a word more, less or of another one, or with another one's files."""
        given, other = (json.loads(generator.choice(known) or NOTHING) for _ in range(2))
        words, others = given["argv"], other["argv"]
        place = generator.randint(0, len(words))
        change = generator.randrange(5)
        if change == 0:
            del words[place : place + 1]
        elif change == 1:
            words[place : place + 1] = [generator.choice(others)]
        elif change == 2:
            begin = generator.randrange(len(others))
            words[place:place] = others[begin : begin + generator.randint(1, 3)]
        elif change == 3:
            words.insert(place, generator.choice(JUNK))
        else:
            given["files"] = other["files"]
        return json.dumps(given).encode()

    def _arguments(self, generator: random.Random, verb: str) -> list[str]:
        dependency = generator.random() < 0.25
        pool = INPUTS[5:7] if dependency else INPUTS[:5] if generator.random() < 0.5 else INPUTS[:2]
        words: list[str] = []
        for action in self._verbs[verb]:
            if not action.option_strings:
                count = {None: 1, "+": generator.randint(1, 4), "*": generator.randint(0, 2), "?": 1}.get(
                    action.nargs, 1
                )
                words += [self._value(generator, action, pool) for _ in range(count)]
            elif action.required or generator.random() < 2.2 / len(self._verbs[verb]):
                words.append(generator.choice(action.option_strings))
                if action.nargs != 0:
                    words.append(self._value(generator, action, pool))
        if "-o" not in words and generator.random() < 0.4 and any(a.dest == "output" for a in self._verbs[verb]):
            words += ["-o", generator.choice(OUTPUTS)]
        return words

    def _value(self, generator: random.Random, action: argparse.Action, pool: Sequence[str]) -> str:
        if generator.random() < 0.03:
            return generator.choice(JUNK)
        if action.choices is not None:
            return str(generator.choice(list(action.choices)))
        if action.type is int:
            return str(generator.choice(WHOLE))
        if action.type is float:
            return generator.choice(REAL)
        if action.dest in ("output", "hits", "html", "svg"):
            return (
                generator.choice(OUTPUTS)
                if generator.random() < 0.93
                else generator.choice(("/dev/full", *OTHERS[:-2]))
            )
        if action.dest == "weights":
            return generator.choice(("1", "2 1", "1 0.5 2", "w.txt", "agreement", "nan", "-1 2"))
        if action.dest == "encoding":
            return generator.choice(("utf-8", "latin-1", "utf-16", "no-such", "rot13", "idna"))
        return generator.choice(pool) if generator.random() < 0.93 else generator.choice((*OTHERS, *INPUTS))

    # ------------------------------------------------------------------ running and judging

    def _run(self, data: bytes, **_: Any) -> Any:
        from treeavg.cli import main

        self._given = json.loads(data or NOTHING)
        self._lay_out()
        argv = self._given["argv"]
        self._oracle.seconds = TRAINING if set(SLOW) & set(argv) or not self.trains else SECONDS
        self._fresh = "fit" in argv  # whose parser adds options when it is used
        out, error = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace") for _ in range(2))
        sys.stdin = types.SimpleNamespace(buffer=io.BytesIO(self._files["a.txt"]))  # type: ignore[assignment]
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            with contextlib.chdir(self._folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                try:
                    self._code: Any = main(argv)
                except SystemExit as stop:
                    self._code = stop.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        for stream in (out, error):
            stream.flush()
        self._out, self._error = (stream.buffer.getvalue().decode(errors="replace") for stream in (out, error))  # type: ignore[attr-defined]
        return self._code

    def _lay_out(self) -> None:
        """Put the files into the folder as the input has them, and nothing else."""
        expected = {**self._files, **{name: text.encode("latin-1") for name, text in self._given["files"].items()}}
        for path in self._folder.iterdir():
            if path.name not in expected:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, content in expected.items():
            path = self._folder / name
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
        self._expected = expected
        if self._given["there"]:
            for name in OUTPUTS:
                (self._folder / name).write_bytes(BEFORE)

    def _judged(self, code: Any, data: bytes, blocks: bool) -> str | None:
        argv = self._given["argv"]
        if code not in (0, 1, 2):
            return f"exit code {code}: {argv}"
        if "Traceback" in self._error or "Traceback" in self._out:
            return f"a traceback: {argv}: {self._error[-300:]}"
        told = re.sub(r'(?m)^\{"time": [^\n]+\}\n', "", self._error)  # of --log-json
        if code == 2 and (
            self._out or not re.fullmatch(r"(treeavg( [\w-]+){0,2}: [^\n]+\n|  sentence [^\n]+\n)+", told)
        ):
            return f"not one line: {argv}: {self._out[:200]!r} {self._error[:300]!r}"
        names = {path.name for path in self._folder.iterdir()}
        if left := [name for name in names if name.endswith(".tmp")]:
            return f"left behind: {left}: {argv}"
        written = {name for name in names if name not in self._expected}
        if code == 2:
            old = OUTPUTS if self._given["there"] else ()
            shards = {name for name in written if (self._folder / name / ".records").is_dir()}  # a rerun goes on there
            if bad := [n for n in written - shards if n not in old or (self._folder / n).read_bytes() != BEFORE]:
                return f"written in spite of an error: {bad}: {argv}: {self._error[:300]}"
        for name, content in self._expected.items():
            if name not in argv[1:] and (self._folder / name).read_bytes() != content:
                return f"{name} was changed: {argv}"
        return self._whole(argv) if code == 0 else None

    def _whole(self, argv: list[str]) -> str | None:
        """Tell what is wrong with the trees that were written, if they were."""
        from treeavg import TreeavgError, read

        if not {"-o", "--output"} & set(argv[:-1]) or argv[0] not in ("average", "select", "convert"):
            return None
        at = max(place for place, word in enumerate(argv[:-1]) if word in ("-o", "--output"))
        path = self._folder / argv[at + 1]
        if argv[at + 1] not in OUTPUTS or "--output-format" in argv or {"-h", "--help"} & set(argv):
            return None
        if path.is_dir():  # of shards
            return None
        if not path.exists() or path.read_bytes() == BEFORE:
            return f"not written: {argv}"
        try:
            read(path, on_error="skip")
        except TreeavgError as error:
            if "empty" not in str(error):
                return f"cannot be read back: {argv}: {error}"
        return None


def _verbs(parser: argparse.ArgumentParser) -> dict[str, list[argparse.Action]]:
    """Return the options and arguments of every verb; of `fit`, as a kind of it has them."""
    (choices,) = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {
        name: [action for action in verb._actions if action.dest != "debug"]  # which is there to show tracebacks
        for name, verb in dict(choices).items()  # type: ignore[call-overload]
    }


def _files() -> dict[str, bytes]:
    """Return the files: trees over the same sentences in several formats, hit counts, weights, text."""
    import gzip

    from treeavg.formats import FORMATS

    made = seeds()
    _, plain, _, gaps, _, _, _, heads, _ = treebanks()
    trees = plain[[0, 1, 3]]
    as_bytes = {
        name: FORMATS[format].serialize(bank)
        for name, format, bank in (
            ("a.txt", "brackets", trees), ("b.txt", "brackets", trees.replace(labels=None, tags=None)),
            ("c.jsonl", "jsonl", trees), ("d.dbr", "discbracket", trees), ("e.export", "export", gaps[[0, 1, 3]]),
            ("f.conllu", "conllu", heads), ("g.heads", "heads", heads),
        )
    }  # fmt: skip
    hits = b'{"tokens": ["it", "rains", "often"], "hits": [[1, 3, 2]], "weight": 2}\n'
    return {**as_bytes, "h.hits": hits, "w.txt": b"1 2\n", "t.text": b"the dog barks\nit rains\n",
            "z.txt.gz": gzip.compress(made["brackets"][0], mtime=0)}  # fmt: skip


def show(path: os.PathLike[str]) -> None:
    """Print what an input that failed holds."""
    given = json.loads(Path(path).read_bytes())
    print("treeavg", *map(repr, given["argv"]))
    for name, text in given["files"].items():
        print(f"{name}: {text.encode('latin-1')!r}")
