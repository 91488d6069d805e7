"""``treeavg distill`` and ``treeavg parse`` as their users run them."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import TREE, assert_refused, command, hear_ctrl_c, run, run_here

from treeavg.cli.options import join_weights

pytestmark = pytest.mark.compiled

pytest.importorskip("torch", reason="torch is not installed")

OTHER = "(S (X (A the) (A dog)) (A barks))"
SMALL: tuple[Any, ...] = tuple("--size 16 --layers 1 --words 8 --characters 8 --device cpu --threads 1".split())
LONG: tuple[Any, ...] = ("--epochs", 60, "--seed", 3, *SMALL)
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
    done = run_here("average", "a.txt", "b.txt", "-o", "average.txt", "--hits", "hits.jsonl", folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    first = json.loads((folder / "hits.jsonl").read_text().splitlines()[0])
    assert first["tokens"] == ["the", "dog", "barks"]
    assert first["weight"] == 2
    done = run_here("distill", "hits.jsonl", "-o", "from-hits", "--epochs", 1, *SMALL, folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    assert run_here("parse", "from-hits", "a.txt", "-o", "c.txt", folder=folder).returncode == 0
    assert_refused(
        run_here("distill", "hits.jsonl", "hits.jsonl", "-o", "two", *SMALL, folder=folder),
        "expected one file of hit counts, which hold all teachers, got 2 files.",
    )


def test_expected_hits_are_teachers_too(folder: Path) -> None:
    """``parse --hits`` writes what ``distill`` reads, with other words where ``--words`` has some."""
    (folder / "other-words.txt").write_text("a cat sleeps\n" * 40)
    options = ("--hits", "expected.jsonl", "--weight", 2, "--words", "other-words.txt", "-o", "expected.txt")
    assert run_here("parse", "student", "a.txt", *options, folder=folder).returncode == 0
    assert (folder / "expected.txt").read_text().split()[1] == "(X"
    assert "cat" in (folder / "expected.txt").read_text()
    first = json.loads((folder / "expected.jsonl").read_text().splitlines()[0])
    assert first["tokens"] == ["a", "cat", "sleeps"]
    assert first["weight"] == 2
    done = run_here("distill", "expected.jsonl", "-o", "from-expected", "--epochs", 1, *SMALL, folder=folder)
    assert done.returncode == 0, done.stderr.decode()


def test_dependency_students(folder: Path) -> None:
    (folder / "a.conllu").write_text(CONLLU * 20)
    options = ("--epochs", 6, "--learning-rate", 0.05, *SMALL)
    done = run_here("distill", "a.conllu", "a.conllu", "-o", "arcs", *options, folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    done = run("parse", "arcs", "-", "--output-format", "conllu", folder=folder, given=b"it rains often\nit\n")
    assert done.returncode == 0, done.stderr.decode()
    assert [line.split("\t")[6] for line in done.stdout.decode().splitlines() if line][:3] == ["2", "0", "2"]
    assert run_here("parse", "arcs", "a.conllu", "-o", "out.conllu", folder=folder).returncode == 0
    assert_refused(
        run_here("distill", "a.conllu", "-o", "no", "--distribution", "split", *SMALL, folder=folder),
        "--distribution: expected constituency trees, got dependency trees. Leave it out.",
    )
    assert_refused(
        run_here("parse", "arcs", "a.conllu", "--decode", "span", folder=folder),
        ": --decode: expected one of 'mbr', 'argmax', got 'span'",
    )


@pytest.fixture(scope="module")
def whole(folder: Path) -> bytes:
    """The weights of a run that was left alone."""
    done = run_here("distill", "a.txt", "b.txt", "-o", "whole", *LONG, folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    return (folder / "whole" / "weights.safetensors").read_bytes()


def stopped(folder: Path, name: str, number: signal.Signals) -> tuple[int, str]:
    """Start a run, send a signal when its first checkpoint is there; return exit code and standard error."""
    process = subprocess.Popen(
        command("distill", "a.txt", "b.txt", "-o", name, *LONG, "--checkpoint-minutes", 0.0005),
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    checkpoints = folder / name / "run" / "checkpoints"
    deadline = time.monotonic() + 120
    while not any(checkpoints.glob("step-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, "the run was over before the signal"
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert not (folder / name / "parser.json").exists()
    return process.returncode, error.decode()


def resumed(folder: Path, name: str) -> bytes:
    """Go on with a run to its end; return the weights."""
    done = run_here("distill", "a.txt", "b.txt", "-o", name, *LONG, "--resume", folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    return (folder / name / "weights.safetensors").read_bytes()


KEPT = "treeavg: interrupted; the run is kept, --resume goes on with it.\n"


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGKILL, -9, ""), (signal.SIGINT, 130, KEPT)],
    ids=["kill", "ctrl-c"],
)
def test_interrupted_and_resumed(folder: Path, whole: bytes, number: signal.Signals, code: int, message: str) -> None:
    """In the middle: --resume ends with the same weights, byte for byte, as a run that was left alone."""
    assert stopped(folder, number.name, number) == (code, message)
    assert resumed(folder, number.name) == whole


def test_interrupted_before_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is nothing to go on with."""

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("treeavg.formats.AlignedReader", interrupt)
    done = run_here("distill", "a.txt", "-o", "early", *SMALL, folder=folder)
    assert (done.returncode, done.stderr) == (130, b"treeavg: interrupted; nothing was written.\n")
    assert not (folder / "early").exists()


def test_too_little_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch says so in two ways of its own; the line names the option that helps."""
    torch = pytest.importorskip("torch")
    for error in (torch.cuda.OutOfMemoryError("CUDA out of memory."), RuntimeError("... can't allocate memory: ...")):

        def fail(*arguments: object, error: Exception = error, **options: object) -> None:
            raise error

        monkeypatch.setattr("parsers.span_task.SpanTask.loss", fail)
        monkeypatch.setattr("parsers.span_parser.SpanParser.parse", fail)
        name = type(error).__name__
        for arguments in (("distill", "a.txt", "-o", name, *SMALL), ("parse", "student", "a.txt")):
            done = run_here(*arguments, folder=folder)
            assert_refused(done, "memory: expected enough for this input, got too little. Pass --batch-tokens with")


def on_a_full_disk(folder: Path, size: int, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run ``treeavg`` where no file may grow beyond `size` bytes."""
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, timeout=120, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_terminated_then_on_a_full_disk(folder: Path, whole: bytes) -> None:
    """One line says what to do; what was written before is intact, and --resume ends with the same weights."""
    assert stopped(folder, "full", signal.SIGTERM) == (143, KEPT)
    before = files_of(folder / "full")
    newest = max(name for name in before if "step-" in name)
    options = ("distill", "a.txt", "b.txt", "-o", "full", *LONG, "--resume", "--checkpoint-minutes", 0.0005)
    done = on_a_full_disk(folder, (folder / "full" / newest).stat().st_size // 2, *options)
    assert_refused(done, "got: File too large. Make room there, then pass --resume: the run continues from step-")
    assert files_of(folder / "full") == before
    assert resumed(folder, "full") == whole


def test_a_full_disk_in_parsing(folder: Path) -> None:
    """The old file is as it was, and no piece of the new one is left."""
    (folder / "many.txt").write_text("the dog barks\n" * 3000)
    (folder / "old.txt").write_text("as it was")
    before = files_of(folder)
    done = on_a_full_disk(folder, 20_000, "parse", "student", "many.txt", "-o", "old.txt")
    assert_refused(done, "old.txt: expected a file to write, got: File too large. Raise the limit (ulimit -f), or")
    assert (folder / "old.txt").read_text() == "as it was"
    assert files_of(folder) == before


def test_one_teacher(folder: Path) -> None:
    """Its trees are the average."""
    done = run_here("distill", "b.txt", "-o", "alone", "--epochs", 1, *SMALL, folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    assert run_here("parse", "alone", "b.txt", "-o", "alone.txt", folder=folder).returncode == 0
    assert len((folder / "alone.txt").read_text().splitlines()) == 40


def test_skipped_sentences_are_listed(folder: Path) -> None:
    """Those that a file lacks, and those of other lengths than the first file's."""
    lines = (folder / "a.txt").read_text().splitlines()
    (folder / "gaps.txt").write_text("\n".join(["", "(S (A the) (B dog))", *lines[2:]]) + "\n")
    options = ("distill", "a.txt", "gaps.txt", "-o", "gaps", "--epochs", 1, *SMALL)
    assert_refused(run_here(*options, folder=folder), "gaps.txt:1:1: expected a tree, got an empty line.")
    assert not (folder / "gaps").exists()
    done = run_here(*options, "--on-error", "skip", folder=folder)
    assert done.returncode == 0
    told = done.stderr.decode().splitlines()
    assert told[0] == "treeavg: skipped 2 of 40 sentences:"
    assert told[1].startswith("  sentence 1: gaps.txt:1:1: expected a tree, got an empty line.")
    assert told[2].startswith("  sentence 2: gaps.txt: sentence 2: expected 3 tokens as in a.txt: sentence 2, got 2.")
    assert told[3].startswith("treeavg: gaps: a span parser, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a.txt few.txt", "few.txt: expected 40 sentences as in a.txt, got 20. All files must hold the same sentences"),
        ("a.txt none.txt", "none.txt: expected a file to read, got: No such file or directory. Check the path."),
        ("a.txt empty.txt", "empty.txt: expected at least one tree, got an empty file. Check what wrote it."),
        ("empty.txt", "empty.txt: expected at least one tree, got an empty file. Check what wrote it."),
        ("a.txt a.conllu", "a.conllu: expected constituency trees as in a.txt, got dependency trees (conllu). Name"),
        ("a.conllu a.txt", "a.txt: expected dependency trees as in a.conllu, got constituency trees (brackets). Name"),
        ("a.conllu few.conllu", "few.conllu: expected 40 sentences as in a.conllu, got 4. All files must hold the"),
        ("a.conllu none.txt", "none.txt: expected a file to read, got: No such file or directory. Check the path."),
        ("- -", "paths: expected '-' (standard input) at most once, got it twice. Name files."),
        ("a.txt few.jsonl", "few.jsonl: expected one file of hit counts, which hold all teachers, got 2 files."),
        ("few.jsonl --weights 1", "--weights: expected teachers' files, got hit counts. Leave it out."),
        ("few.jsonl --no-projective", "--no-projective: expected dependency trees, got hit counts of constituency tr"),
        ("few.jsonl --loss union", "--loss: expected one of hit counts, got 'union', which needs each teacher's tr"),
        ("a.txt --no-projective", "--no-projective: expected dependency trees, got constituency trees. Leave it out."),
        ("a.conllu --detach-visits", "--detach-visits: expected constituency trees, got dependency trees. Leave it o"),
        ("a.txt --weights agreement", "--weights: expected numbers or a file to train a student, got 'agreement'."),
        ("a.txt --weights 1 2", "--weights: expected 1 non-negative numbers, one per teacher, got 2: [1, 2]. Pass no"),
    ],
)  # fmt: skip
def test_bad_teachers(folder: Path, arguments: str, message: str) -> None:
    (folder / "few.txt").write_text(f"{TREE}\n" * 20)
    (folder / "empty.txt").write_text("")
    (folder / "a.conllu").write_text(CONLLU * 40)
    (folder / "few.conllu").write_text(CONLLU * 4)
    (folder / "few.jsonl").write_text('{"tokens": ["the", "dog", "barks"], "hits": [[0, 2, 1]], "weight": 1}\n' * 4)
    words = join_weights(["distill", *arguments.split()])
    assert_refused(run_here(*words, "-o", "new", *SMALL, folder=folder), message)
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "student"), "student: expected a new folder, got one that holds a parser. Choose another, or"),
        (("-o", "a.txt"), "a.txt: expected a folder for the student, got a file. Choose another name."),
        (("-o", "new", "--loss", "mse"), ": --loss: expected one of 'kl', 'rkl'"),
        (("-o", "new", "--epochs", 0), ": --epochs: expected a whole number, at least 1, got 0. Leave it out for 12."),
        (("-o", "new", "--accumulate", 0), ": --accumulate: expected a whole number, at least 1, got 0. Leave it out"),
        (("-o", "new", "--learning-rate", 0), ": --learning-rate: expected a finite number above 0, got 0.0. Leave it"),
        (("-o", "new", "--compile"), ": --compile: expected a CUDA device for True, got 'cpu'. Pass no --compile."),
        (("-o", "new", "--batch-tokens", 0), ": --batch-tokens: expected at least 1, got 0. Try 1500."),
        (("-o", "new", "--loss", "js", "--student-weight", 1), ": --student-weight: expected a number between 0 and 1"),
        (("-o", "new", "--loss", "span", "--distribution", "split"), "Pass --distribution crf, or another loss."),
        (("-o", "new", "--encoder", "pretrained"), ": --pretrained: expected a folder exactly where"),
        (("-o", "new", "--encoder", "pretrained", "--pretrained", "none"), "none: expected the folder of a"),
        (("-o", "new", "--device", "cuda:9"), ": --device: expected one of the 0 CUDA devices"),
        (("-o", "new", "--threads", 0), "--threads: expected at least 1, got 0."),
        (("-o", "new", "--tags"), "--tags: expected --sentences with a tagged treebank, got none. Name the file."),
        (("-o", "new", "--sentences", "none.txt"), "none.txt: expected a file to read, got: No such file"),
        (("-o", "new", "--sentences", "short.txt"), ": --sentences: expected 40 as the teachers have, got 1."),
        (("-o", "new", "--sentences", "cut.txt"), ": cut.txt: sentence 40: expected 3 words as the teachers have, g"),
        (("-o", "new", "--gold", "a.conllu"), ": --gold: expected constituency trees with words, got dependency tre"),
        (("-o", "student", "--resume", "--seed", 5, "--epochs", 6), "(--seed: 0 before, 5 now)"),
        (("-o", "new", "--held-out", 1.5), ": --held-out: expected 0 to below 1, got 1.5."),
    ],
)  # fmt: skip
def test_bad_input_to_distill(folder: Path, arguments: tuple[Any, ...], message: str) -> None:
    (folder / "short.txt").write_text("the dog barks\n")
    (folder / "cut.txt").write_text("the dog barks\n" * 39 + "the dog\n")
    (folder / "a.conllu").write_text(CONLLU * 20)
    small = [value for value in SMALL if value not in ("--device", "cpu")] if "--device" in arguments else SMALL
    small = small[:-2] if "--threads" in arguments else small
    assert_refused(run_here("distill", "a.txt", "b.txt", *arguments, *small, folder=folder), message)
    assert not (folder / "new" / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "a.txt"), "none: expected a parser's folder, got: No such file or directory. Check the path."),
        ((".", "a.txt"), ".: expected a parser's folder, got one without parser.json. Check the path."),
        (("student", "none.txt"), "none.txt: expected a file to read, got: No such file or directory."),
        (("student", "empty.txt"), "empty.txt: expected sentences, got an empty file. Put one sentence on each line."),
        (("student", "a.txt", "--device", "cuda:9"), ": --device: expected one of the 0 CUDA devices"),
        (("student", "a.txt", "--batch-tokens", 0), "--batch-tokens: expected at least 1, got 0. Try 4096."),
        (("student", "a.txt", "--threads", 0), "--threads: expected at least 1, got 0."),
        (("student", "a.txt", "--weight", 2), "--weight: expected --hits FILE beside it, got none."),
        (("student", "a.txt", "--hits", "-"), "--hits: expected a file, got standard output. Name a file."),
        (("student", "a.txt", "--hits", "x.jsonl", "--weight", 0), ": --weight: expected a number above 0, got 0.0."),
        (("student", "a.txt", "--words", "empty.txt"), "empty.txt: expected sentences, got an empty file."),
        (("student", "a.txt", "--words", "two.txt"), "two.txt: sentence 2: expected 3 words as in the text, got 2."),
        (("student", "-", "--words", "-"), "--words: expected a file, got standard input, which is the text. Name a "),
        (("student", "two.txt", "--words", "three.txt"), "three.txt: expected 2 sentences as in the text, got 3."),
        (("student", "a.txt", "--json"), "--json: expected a file for the trees, got standard output for both."),
        (("student", "a.txt", "-o", "x.conllu"), "expected dependency trees for the format 'conllu', got constitu"),
        (("flipped", "a.txt"), "flipped"),
        (("newer", "a.txt"), "expected format 1, got 99, written by treeavg"),
    ],
)
def test_bad_input_to_parse(folder: Path, arguments: tuple[Any, ...], message: str) -> None:
    (folder / "empty.txt").write_text("")
    (folder / "two.txt").write_text("the dog barks\nthe dog\n")
    (folder / "three.txt").write_text("the dog barks\nthe dog\nthe\n")
    for name in ("flipped", "newer"):
        (folder / name).mkdir(exist_ok=True)
        for file in ("parser.json", "weights.safetensors"):
            (folder / name / file).write_bytes((folder / "student" / file).read_bytes())
    weights = bytearray((folder / "flipped" / "weights.safetensors").read_bytes())
    weights[-100] ^= 1
    (folder / "flipped" / "weights.safetensors").write_bytes(weights)
    document = json.loads((folder / "newer" / "parser.json").read_text())
    (folder / "newer" / "parser.json").write_text(json.dumps({**document, "format": 99}))
    assert_refused(run_here("parse", *arguments, folder=folder), message)
    assert not any((folder / name).exists() for name in ("x.conllu", "x.jsonl"))


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
