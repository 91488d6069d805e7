"""``treeavg fit`` as its users run it: text in, a teacher out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import TREE, assert_refused, command, hear_ctrl_c, run_here

pytestmark = pytest.mark.compiled

pytest.importorskip("torch", reason="torch is not installed")

from parsers.kinds import OPTIONS, options_of  # noqa: E402
from treeavg.cli import fit  # noqa: E402

TEXT = "the dog barks\nthe cat sees the dog\n\nit rains\nyes\nthe dog sees the cat\n" * 4
SMALL: tuple[Any, ...] = tuple("--epochs 2 --hidden 20 --embedding 20 --threads 1 --device cpu".split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text, and a teacher trained on it."""
    path = tmp_path_factory.mktemp("teacher")
    (path / "text.txt").write_text(TEXT)
    done = run_here("fit", "on-lstm", "text.txt", "-o", "model", *SMALL, folder=path)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    assert done.stderr.decode().startswith("treeavg: model: an on-lstm parser, held-out score -")
    return path


def test_from_text_to_trees(folder: Path) -> None:
    """Every sentence keeps its place; unknown words, one word and no word are parsed."""
    (folder / "new.txt").write_text("the dog barks\n\nyes\nzebras eat\nzebras eat ж 7\n")
    done = run_here("parse", "model", "new.txt", "-o", "trees.txt", folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    lines = (folder / "trees.txt").read_text().splitlines()
    assert [line.replace("(X", "").replace(")", "").split() for line in lines] == [
        line.split() for line in (folder / "new.txt").read_text().splitlines()
    ]
    assert lines[1:4] == ["", "(X yes)", "(X (X zebras) (X eat))"]


def test_treebanks_and_several_files_are_text_too(folder: Path) -> None:
    (folder / "trees.txt").write_text(f"{TREE}\n" * 6)
    done = run_here("fit", "on-lstm", "text.txt", "trees.txt", "-o", "both", *SMALL, "--json", folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    summary = json.loads(done.stdout)
    assert summary["kind"] == "on-lstm"
    assert summary["best_epoch"] in (1, 2)
    described = json.loads((folder / "both" / "run" / "run.json").read_text())
    assert "text" in json.dumps(described)


def test_gold_chooses(folder: Path) -> None:
    (folder / "gold.txt").write_text(f"{TREE}\n")
    done = run_here("fit", "on-lstm", "text.txt", "-o", "judged", *SMALL, "--gold", "gold.txt", folder=folder)
    assert "F1 against gold" in done.stderr.decode()


def test_what_is_left_out_is_said(folder: Path) -> None:
    done = run_here("fit", "on-lstm", "text.txt", "-o", "short", *SMALL, "--longest", 4, folder=folder)
    lines = done.stderr.decode().splitlines()
    expected = "8 of 24 sentences have more than 4 words and are not trained on. Pass --longest 5 to include them."
    assert lines[0] == f"treeavg: {expected}"
    assert len(lines) == 2


def test_resuming(folder: Path) -> None:
    """A finished run goes on to the same parser; other options are refused."""
    first = (folder / "model" / "weights.safetensors").read_bytes()
    done = run_here("fit", "on-lstm", "text.txt", "-o", "model", *SMALL, "--resume", folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    kept = json.loads((folder / "model" / "parser.json").read_text())["weights"]["file"]
    assert (folder / "model" / kept).read_bytes() == first
    arguments = ("fit", "on-lstm", "text.txt", "-o", "model", *SMALL, "--resume", "--chunk", 5)
    assert_refused(run_here(*arguments, folder=folder), "--chunk: 10 before, 5 now")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("nope", "text.txt", "-o", "x"), "argument KIND: invalid choice: 'nope'"),
        (("on-lstm", "text.txt"), "the following arguments are required: -o/--output"),
        (("on-lstm", "text.txt", "-o", "x", "--hidden", "0"), "--hidden: expected a whole number, at least 1, got 0."),
        (("on-lstm", "text.txt", "-o", "x", "--epochs", "0"), "--epochs: expected a whole number, at least 1, got 0."),
        (("on-lstm", "text.txt", "-o", "model"), "model: expected a new folder, got one that holds a parser."),
        (("on-lstm", "text.txt", "-o", "text.txt"), "text.txt: expected a folder for the parser, got a file."),
        (("on-lstm", "none.txt", "-o", "x"), "none.txt: "),
        (("on-lstm", "empty.txt", "-o", "x"), "text: expected sentences of "),
        (("on-lstm", "text.txt", "-o", "x", "--reading", "up"), "argument --reading: invalid choice: 'up'"),
        (("diora", "text.txt", "-o", "x", "--hidden", "3"), "unrecognized arguments: --hidden 3"),
    ],
)
def test_bad_input(folder: Path, given: tuple[str, ...], message: str) -> None:
    (folder / "empty.txt").write_text("\n\n")
    assert_refused(run_here("fit", *given, folder=folder), message)
    assert not (folder / "x" / "parser.json").exists()


def test_every_kind_has_help() -> None:
    assert list(fit.KINDS) == list(OPTIONS)


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_are_those_of_the_class(kind: str) -> None:
    """Help shows each field with its default, and loads no torch."""
    import dataclasses
    import subprocess
    import sys

    options, recipe = options_of(kind).presets()["small"]
    done = run_here("fit", kind, "--help", folder=Path())
    shown = " ".join(done.stdout.decode().split())
    for item in dataclasses.fields(options):
        assert (f"--{item.name.replace('_', '-')}" in shown) == (item.name not in options.unused)
    assert f"({recipe.learning_rate})" in shown
    assert set(options_of(kind).presets()) == {"small", "paper"}
    code = f"import sys; from parsers.kinds import options_of; options_of({kind!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_interrupting_keeps_the_run(folder: Path) -> None:
    import signal
    import subprocess
    import time

    long = (*SMALL[2:], "--epochs", 5000, "--checkpoint-minutes", 0.01)
    arguments = command("fit", "on-lstm", "text.txt", "-o", "stopped", *long)
    process = subprocess.Popen(arguments, cwd=folder, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c)
    while not (folder / "stopped" / "run" / "run.json").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert message.decode() == "treeavg: interrupted; the run is kept, --resume goes on with it.\n"


def test_trees_of_a_grammar_are_read_in_two_ways(folder: Path) -> None:
    """A parser without a choice refuses one."""
    small = ("--nonterminals", 3, "--preterminals", 5, "--width", 16, "--epochs", 1, "--threads", 1, "--device", "cpu")
    done = run_here("fit", "neural-pcfg", "text.txt", "-o", "grammar", *small, folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    for how in ("viterbi", "mbr"):
        done = run_here("parse", "grammar", "text.txt", "--decode", how, folder=folder)
        assert len(done.stdout.splitlines()) == len(TEXT.splitlines())
    done = run_here("parse", "grammar", "text.txt", "--decode", "span", folder=folder)
    assert_refused(done, "--decode: expected one of 'viterbi', 'mbr', got 'span'. Choose one of them.")
    done = run_here("parse", "model", "text.txt", "--decode", "mbr", folder=folder)
    assert_refused(done, "--decode: expected a parser with a choice, got one of the kind on-lstm. Leave it out.")
