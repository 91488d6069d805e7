"""``treeavg distill`` and ``treeavg parse`` as their users run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import TREE, assert_refused, command, run

pytestmark = pytest.mark.compiled

pytest.importorskip("torch", reason="torch is not installed")

OTHER = "(S (X (A the) (A dog)) (A barks))"
SMALL = ("--size", 16, "--layers", 1, "--words", 8, "--characters", 8, "--device", "cpu", "--threads", 1)
CONLLU = "1\tit\t_\t_\t_\t_\t2\t_\t_\t_\n2\trains\t_\t_\t_\t_\t0\t_\t_\t_\n3\toften\t_\t_\t_\t_\t2\t_\t_\t_\n\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two teachers, and a student trained on them."""
    path = tmp_path_factory.mktemp("student")
    (path / "a.txt").write_text(f"{TREE}\n{TREE}\n" * 20)
    (path / "b.txt").write_text(f"{TREE}\n{OTHER}\n" * 20)
    done = run("distill", "a.txt", "b.txt", "-o", "student", "--epochs", 6, *SMALL, folder=path)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    assert done.stderr.decode().startswith("treeavg: student: a span parser, 100.00 against the average in epoch ")
    return path


def test_from_teachers_to_parsed_text(folder: Path) -> None:
    """Plain text and treebank files, to files and to standard output; empty lines keep their place."""
    (folder / "text.txt").write_text("the dog barks\n\nbarks\nthe cat 7 ж\n")
    done = run("parse", "student", "text.txt", "-o", "trees.txt", "--json", folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    summary = json.loads(done.stdout)
    assert summary.pop("seconds") > 0
    assert summary.pop("sentences_per_second") > 0
    assert summary == {"output": "trees.txt", "sentences": 4, "words": 8}
    lines = (folder / "trees.txt").read_text().splitlines()
    assert (
        lines[:3] == ["(X (X the) (X (X dog) (X barks)))", "", "(X barks)"]
        or lines[0] == "(X (X (X the) (X dog)) (X barks))"
    )
    assert len(lines) == 4
    piped = run("parse", "student", "-", folder=folder, given=b"the dog barks\n")
    assert piped.stdout.decode().splitlines() == lines[:1]
    again = run("parse", "student", "a.txt", "-o", "again.jsonl", folder=folder)
    assert again.returncode == 0
    scored = run("score", "--gold", "a.txt", "again.jsonl", "--json", folder=folder)
    assert scored.returncode == 0, scored.stderr.decode()


def test_hit_counts_are_teachers(folder: Path) -> None:
    """``average --hits`` writes what ``distill`` reads; words and counts are in it."""
    done = run("average", "a.txt", "b.txt", "-o", "average.txt", "--hits", "hits.jsonl", folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    first = json.loads((folder / "hits.jsonl").read_text().splitlines()[0])
    assert first["tokens"] == ["the", "dog", "barks"]
    assert first["weight"] == 2
    run("distill", "hits.jsonl", "-o", "from-hits", "--epochs", 1, *SMALL, folder=folder, check=True)
    run("parse", "from-hits", "a.txt", "-o", "c.txt", folder=folder, check=True)
    assert_refused(
        run("distill", "hits.jsonl", "hits.jsonl", "-o", "two", *SMALL, folder=folder),
        "expected one file of hit counts, which hold all teachers, got 2 files.",
    )


def test_dependency_students(folder: Path) -> None:
    (folder / "a.conllu").write_text(CONLLU * 20)
    run("distill", "a.conllu", "a.conllu", "-o", "arcs", "--epochs", 4, *SMALL, folder=folder, check=True)
    done = run("parse", "arcs", "-", "--output-format", "conllu", folder=folder, given=b"it rains often\nit\n")
    assert done.returncode == 0, done.stderr.decode()
    assert [line.split("\t")[6] for line in done.stdout.decode().splitlines() if line][:3] == ["2", "0", "2"]
    run("parse", "arcs", "a.conllu", "-o", "out.conllu", folder=folder, check=True)
    assert_refused(
        run("distill", "a.conllu", "-o", "no", "--distribution", "split", *SMALL, folder=folder),
        "--distribution: expected constituency trees, got dependency trees. Leave it out.",
    )
    assert_refused(
        run("parse", "arcs", "a.conllu", "--decode", "span", folder=folder),
        "decode: expected one of 'mbr', 'argmax', got 'span'",
    )


def test_killed_and_resumed(folder: Path) -> None:
    """SIGKILL in the middle: --resume ends with the same weights, byte for byte, as a run that was left alone."""
    options: tuple[Any, ...] = ("--epochs", 40, "--seed", 3, *SMALL)
    run("distill", "a.txt", "b.txt", "-o", "whole", *options, folder=folder, check=True)
    process = subprocess.Popen(
        command("distill", "a.txt", "b.txt", "-o", "killed", *options, "--checkpoint-minutes", 0.001),
        cwd=folder, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoints = folder / "killed" / "run" / "checkpoints"
    deadline = time.monotonic() + 60
    while not (checkpoints.is_dir() and any(checkpoints.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "killed" / "parser.json").exists()
    options = (*options, "--checkpoint-minutes", 0.001)
    done = run("distill", "a.txt", "b.txt", "-o", "killed", *options, "--resume", folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    name = "weights.safetensors"
    assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "student"), "student: expected a new folder, got one that holds a parser. Choose another, or"),
        (("-o", "a.txt"), "a.txt: expected a folder for the student, got a file. Choose another name."),
        (("-o", "new", "--loss", "mse"), "loss: expected one of 'kl', 'rkl'"),
        (("-o", "new", "--epochs", 0), "epochs: expected"),
        (("-o", "new", "--encoder", "pretrained"), "pretrained: expected a folder exactly where"),
        (("-o", "new", "--encoder", "pretrained", "--pretrained", "none"), "none: expected the folder of a"),
        (("-o", "new", "--device", "cuda:9"), "device: expected one of the 0 CUDA devices"),
        (("-o", "new", "--threads", 0), "--threads: expected at least 1, got 0."),
        (("-o", "new", "--tags"), "--tags: expected --sentences with a tagged treebank, got none. Name the file."),
        (("-o", "new", "--sentences", "none.txt"), "none.txt: expected a file to read, got: No such file"),
        (("-o", "new", "--sentences", "short.txt"), "sentences: expected 40 as the teachers have, got 1."),
        (("-o", "new", "--gold", "a.conllu"), "--gold: expected constituency trees as the teachers', got dependency"),
        (("-o", "student", "--resume", "--seed", 5, "--epochs", 6), "seed: 0 before, 5 now"),
        (("-o", "new", "--held-out", 1.5), "held_out: expected 0 to below 1, got 1.5."),
    ],
)  # fmt: skip
def test_bad_input_to_distill(folder: Path, arguments: tuple[Any, ...], message: str) -> None:
    (folder / "short.txt").write_text("the dog barks\n")
    (folder / "a.conllu").write_text(CONLLU * 20)
    small = [value for value in SMALL if value not in ("--device", "cpu")] if "--device" in arguments else SMALL
    small = small[:-2] if "--threads" in arguments else small
    assert_refused(run("distill", "a.txt", "b.txt", *arguments, *small, folder=folder), message)
    assert not (folder / "new" / "parser.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "a.txt"), "none: expected a parser's folder, got: No such file or directory. Check the path."),
        ((".", "a.txt"), ".: expected a parser's folder, got one without parser.json. Check the path."),
        (("student", "none.txt"), "none.txt: expected a file to read, got: No such file or directory."),
        (("student", "empty.txt"), "empty.txt: expected sentences, got an empty file. Put one sentence on each line."),
        (("student", "a.txt", "--device", "cuda:9"), "device: expected one of the 0 CUDA devices"),
        (("student", "a.txt", "--batch-tokens", 0), "--batch-tokens: expected at least 1, got 0. Try 4096."),
        (("student", "a.txt", "--threads", 0), "--threads: expected at least 1, got 0."),
        (("student", "a.txt", "--json"), "--json: expected a file for the trees, got standard output for both."),
        (("student", "a.txt", "-o", "x.conllu"), "x.conllu"),
        (("flipped", "a.txt"), "flipped"),
        (("newer", "a.txt"), "expected format 1, got 99, written by treeavg"),
    ],
)
def test_bad_input_to_parse(folder: Path, arguments: tuple[Any, ...], message: str) -> None:
    (folder / "empty.txt").write_text("")
    for name in ("flipped", "newer"):
        (folder / name).mkdir(exist_ok=True)
        for file in ("parser.json", "weights.safetensors"):
            (folder / name / file).write_bytes((folder / "student" / file).read_bytes())
    weights = bytearray((folder / "flipped" / "weights.safetensors").read_bytes())
    weights[-100] ^= 1
    (folder / "flipped" / "weights.safetensors").write_bytes(weights)
    document = json.loads((folder / "newer" / "parser.json").read_text())
    (folder / "newer" / "parser.json").write_text(json.dumps({**document, "format": 99}))
    assert_refused(run("parse", *arguments, folder=folder), message)
    assert not (folder / "x.conllu").exists()


def test_without_torch(folder: Path) -> None:
    """One line says what to install."""
    blocker = folder / "blocked"
    blocker.mkdir(exist_ok=True)
    (blocker / "sitecustomize.py").write_text(
        "import importlib.util as util\nold = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'torch' else old(name, package)\n"
    )
    done = run("parse", "student", "a.txt", folder=folder, PYTHONPATH=str(blocker))
    assert_refused(done, "parse: expected torch to be installed, got none. Run: pip install 'treeavg[torch]'.")
