"""Bad input at the command line: exit code 2, one line that says where and what to do, no output, no traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line import GOLD, OTHER, TEACHERS, TREE, assert_refused, command, hear_ctrl_c, run

pytestmark = pytest.mark.compiled

FILES = {
    "good.txt": f"{TREE}\n" * 3,
    "other.txt": f"{OTHER}\n" * 3,
    "unbalanced.txt": f"{TREE}\n{TREE[:-1]}\n{TREE}\n",
    "trailing.txt": f"{TREE}\n{TREE})\n{TREE}\n",
    "empty-line.txt": f"{TREE}\n\n{TREE}\n",
    "no-token.txt": f"{TREE}\n(S (NP ) (VP barks))\n{TREE}\n",
    "text.txt": f"{TREE}\nthe dog barks\n{TREE}\n",
    "short.txt": f"{TREE}\n" * 2,
    "lengths.txt": f"{TREE}\n(S (A the) (B dog))\n{TREE}\n",
    "words.txt": f"{TREE}\n{TREE.replace('dog', 'cat')}\n{TREE}\n",
    "empty.txt": "",
    "binary.txt": bytes(range(256)) * 20,
    "byte.txt": f"{TREE}\n".encode() + TREE.replace("dog", "d\udcf6g").encode(errors="surrogateescape") + b"\n(A a)\n",
    "weights.txt": "1\n2\n",
    "bad-weights.txt": "good.txt 1\nother.txt many\n",
    "few-weights.txt": "good.txt 1\n",
    "discontinuous.jsonl": '{"n": 3, "constituents": [[0, 3]]}\n' * 2
    + '{"n": 3, "constituents": [[[0, 1], [2, 3]]]}\n',
    "bad.jsonl": '{"n": 3, "constituents": [[0, 3]]}\n{"n": 3, "constituents": [{}]}\n',
    "cut.txt.gz": b"\x1f\x8b\x08\x00",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of spoilt files."""
    path = tmp_path_factory.mktemp("bad")
    for name, content in FILES.items():
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (path / "folder").mkdir()
    return path


CASES = [
    ("average good.txt unbalanced.txt", "unbalanced.txt:2:43: expected ')' to close the bracket of line 2, column 1"),
    ("average good.txt trailing.txt", "trailing.txt:2:44: expected the end of the line behind the tree, got ')'"),
    ("average good.txt empty-line.txt", "empty-line.txt:2:1: expected a tree, got an empty line. Remove it, or"),
    ("average good.txt no-token.txt", "no-token.txt:2:8: expected a token before ')', got '(NP )'"),
    ("average good.txt text.txt", "text.txt:2:1: expected '(' to begin a tree, got 'the dog barks'"),
    ("average good.txt short.txt", "short.txt: expected 3 sentences as in good.txt, got 2. All files must hold the"),
    ("average good.txt lengths.txt", "lengths.txt: sentence 2: expected 3 tokens as in good.txt: sentence 2, got 2"),
    ("average good.txt words.txt --check-tokens", "words.txt: sentence 2: expected the words of good.txt: sentence 2"),
    ("average good.txt absent.txt", "absent.txt: expected a file to read, got: No such file or directory. Check"),
    ("average good.txt folder", "folder: expected shards, got no file there. Check the folder or the pattern."),
    ("average good.txt empty.txt", "empty.txt: expected at least one tree, got an empty file. Check what wrote it"),
    ("average good.txt binary.txt", "binary.txt:1:1: expected text, got the byte 0x00. Is this a text file?"),
    ("average good.txt byte.txt", "byte.txt:2:22: expected UTF-8, got the byte 0xf6. Convert the file, or name its"),
    ("average good.txt cut.txt.gz", "cut.txt.gz: expected gzip data, got: "),
    ("convert bad.jsonl", "bad.jsonl:2: constituents[0]: expected (start, end) or a sequence of such blocks, got {}"),
    ("convert discontinuous.jsonl -o out.txt", "sentence 3: expected continuous constituents, got a discontinuous"),
    ("convert discontinuous.jsonl --binarize right", "sentence 3: expected continuous constituents, got a discontin"),
    ("convert discontinuous.jsonl --strip-empty", "expected tags, got none. Read the trees from a file with a tag"),
    ("average good.txt other.txt --weights 1", "expected 2 non-negative numbers, one per teacher, got 1: [1]"),
    ("average good.txt other.txt --weights 1 2 3", "one per teacher, got 3: [1, 2, 3]"),
    ("average good.txt other.txt --weights -1 2", "expected a non-negative number, got -1. Use 0 to leave a teacher"),
    ("average good.txt other.txt --weights nan 2", "expected a non-negative number, got NaN. Give one finite number"),
    ("average good.txt other.txt --weights 1 -inf", "expected a non-negative number, got -Infinity"),
    ("average good.txt other.txt --weights 0 0", "expected at least one number above 0, got [0, 0]"),
    ("average good.txt other.txt --weights 1e999999999 1", "expected a non-negative number, got 1E+999999999"),
    ("average good.txt other.txt --weights bad-weights.txt", "bad-weights.txt: expected 'teacher number' on each line"),
    ("average good.txt other.txt --weights few-weights.txt", "few-weights.txt: expected a weight for other.txt, got"),
    ("average good.txt other.txt --weights absent.txt", "absent.txt: expected numbers or a file of weights, got: No"),
    ("average good.txt other.txt --weights folder", "folder: expected numbers or a file of weights, got: Is a direc"),
    ("average good.txt other.txt --weights empty.txt", "empty.txt: expected numbers or a file of weights, got an empt"),
    ("average good.txt --weights 1 --weights 2", "--weights"),
    ("average good.txt other.txt --weights", "argument --weights: expected one argument"),
    ("average good.txt other.txt -o folder", "folder: expected a file to write, got: Is a directory. Name a file"),
    ("average good.txt other.txt -o absent/out.txt", "absent/out.txt: expected a file to write, got: No such file or"),
    ("average good.txt other.txt -o /dev/full", "/dev/full: expected a file to write, got: No space left on device"),
    ("average good.txt other.txt --json", "--json: expected a file for the trees, got standard output for both. Pass"),
    ("average good.txt other.txt --jobs 0", "jobs: expected a whole number of threads, at least 1, got 0"),
    ("average good.txt other.txt --jobs two", "argument --jobs: invalid int value: 'two'. See 'treeavg average"),
    ("average good.txt other.txt --method best", "argument --method: invalid choice: 'best'"),
    ("average good.txt other.txt --format tree", "argument --format: invalid choice: 'tree'"),
    ("average good.txt other.txt --encoding rot13", "encoding: expected a known encoding, got 'rot13'. Try 'utf-8'"),
    ("average good.txt other.txt --weigths 1 2", "unrecognized arguments: --weigths 1 2. See 'treeavg"),
    ("average - - ", "expected '-' (standard input) at most once, got it twice"),
    ("average", "the following arguments are required: TEACHER. See 'treeavg average --help'"),
    ("", "the following arguments are required: VERB. See 'treeavg --help'"),
    ("avrage good.txt", "argument VERB: invalid choice: 'avrage'"),
    ("score good.txt", "the following arguments are required: --gold"),
    ("score --gold short.txt good.txt", "short.txt: expected 3 sentences as in good.txt, got 2"),
    ("score --gold good.txt lengths.txt", "lengths.txt: sentence 2: expected 3 tokens as in good.txt: sentence 2, got"),
    ("score --gold good.txt other.txt good.txt --test --seed -1", "seed: expected a whole number, at least 0, got -1"),
    ("score --gold good.txt other.txt good.txt --test --samples 0", "samples: expected a whole number of draws, at l"),
    ("score --gold good.txt other.txt --test", "--test: expected at least two files to compare, got 1"),
    ("show good.txt --sentence 0", "--sentence: expected numbers from 1, got 0. The first is 1"),
    ("show good.txt --sentence 4", "--sentence: expected at most 3, got 4. good.txt has no more sentences"),
    ("show good.txt --width -5", "--width: expected "),
    ("show good.txt lengths.txt --sentence 2", "lengths.txt: sentence 2: expected 3 tokens as in good.txt: sentence 2"),
    ("completion fish", "argument shell: invalid choice: 'fish'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), CASES, ids=[case[0] for case in CASES])
def test_bad_input(folder: Path, arguments: str, message: str) -> None:
    """Each item of bad input is refused with its place, and leaves no file behind."""
    words = arguments.split()
    before = sorted(os.listdir(folder))
    if words[:1] == ["average"] and "-o" not in words and "--json" not in words:
        words += ["-o", "out.txt"]
    assert_refused(run(*words, folder=folder), message)
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("output", ["-", "old.txt"])
def test_an_error_after_the_first_batch(tmp_path: Path, output: str) -> None:
    """What was done before the error is not written: not to a file, which stays as it was, nor to standard output."""
    (tmp_path / "a.txt").write_text(f"{TREE}\n" * 9000)
    (tmp_path / "b.txt").write_text(f"{TREE}\n" * 8999 + f"{TREE})\n")
    (tmp_path / "old.txt").write_text("as it was")
    done = run("average", "a.txt", "b.txt", "-o", output, folder=tmp_path)
    assert_refused(done, "b.txt:9000:44: expected the end of the line")
    assert (tmp_path / "old.txt").read_text() == "as it was"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt", "old.txt"]


def test_places_do_not_count_from_the_batch(tmp_path: Path) -> None:
    """What a format cannot hold is named by its sentence in the file, counted from 1, whatever the batch."""
    lines = ['{"n": 3, "constituents": [[0, 3]]}'] * 5000 + ['{"n": 3, "constituents": [[[0, 1], [2, 3]]]}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert_refused(run("convert", "a.jsonl", "-o", "a.txt", folder=tmp_path), "sentence 5001: expected continuous")
    assert_refused(run("convert", "a.jsonl", "--binarize", "left", folder=tmp_path), "sentence 5001: expected contin")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write anywhere")
def test_without_permission(tmp_path: Path) -> None:
    """A file that may not be read, a folder and a file that may not be written."""
    (tmp_path / "a.txt").write_text(f"{TREE}\n")
    (tmp_path / "closed.txt").write_text(f"{TREE}\n")
    (tmp_path / "closed.txt").chmod(0)
    (tmp_path / "folder").mkdir(mode=0o500)
    reason = "got: Permission denied. Change its permissions"
    assert_refused(
        run("average", "a.txt", "closed.txt", folder=tmp_path), f"closed.txt: expected a file to read, {reason}"
    )
    for output in ("folder/out.txt", "closed.txt"):
        done = run("average", "a.txt", "-o", output, folder=tmp_path)
        assert_refused(done, f"{output}: expected a file to write, {reason}")


# ------------------------------------------------------------------ standard streams


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("verb", [["average", *TEACHERS], ["score", "--gold", GOLD, TEACHERS[0]], ["show", GOLD]])
def test_standard_output_on_a_full_disk(verb: list[str]) -> None:
    """The line names standard output, and nothing comes behind it at the interpreter's end."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command(*verb), stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    error = done.stderr.decode()
    assert error == "treeavg: <stdout>: expected a file to write, got: No space left on device. " + (
        "Free space or choose another path.\n"
    )
    assert done.returncode == 2


@pytest.mark.parametrize("verb", ["average", "show"])
def test_a_broken_pipe(tmp_path: Path, verb: str) -> None:
    """A reader that goes away ends the work without a word."""
    (tmp_path / "many.txt").write_text(f"{TREE}\n" * 50_000)
    options = ["--sentence", *map(str, range(1, 3000))] if verb == "show" else []
    process = subprocess.Popen(
        command(verb, "many.txt", *options), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 141


@pytest.mark.parametrize(
    ("redirection", "code"), [(">&-", 2), ("<&- -o {out}", 0), ("2>&- -o {out}", 0), ("-o {out} >&-", 0)]
)
def test_closed_streams(tmp_path: Path, redirection: str, code: int) -> None:
    """A standard stream that is closed only matters if it is needed."""
    line = " ".join([*command("average", *TEACHERS[:2]), redirection.format(out=tmp_path / "out.txt")])
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == code
    assert (tmp_path / "out.txt").exists() == (code == 0)
    assert len(done.stderr.splitlines()) == (code == 2)


def test_an_encoding_that_standard_output_has_not(tmp_path: Path) -> None:
    """Letters that standard output's encoding lacks are replaced or refused, but never a traceback."""
    (tmp_path / "猫.txt").write_text("(S (A 猫) (B 犬))\n")
    for arguments in (["show", "猫.txt"], ["show", "猫.txt", "--json"], ["score", "--gold", "猫.txt", "猫.txt"]):
        done = run(*arguments, folder=tmp_path, PYTHONIOENCODING="ascii")
        assert b"Traceback" not in done.stderr
        assert done.returncode in (0, 2)
        assert done.returncode == 0 or re.fullmatch(rb"treeavg: [^\n]+\n", done.stderr)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_is_json_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    """``\\xe9`` is no escape of JSON."""
    (tmp_path / "é猫.txt").write_text("(S (A é) (B 犬))\n")
    told = {}
    for verb in (["agree"], ["show"], ["average", "-o", "b.txt"]):
        done = run(*verb, "é猫.txt", "--json", folder=tmp_path, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        told[verb[0]] = json.loads(done.stdout.decode(encoding))
    assert told["agree"]["names"] == ["é猫"]
    assert told["average"]["teachers"] == ["é猫.txt"]
    assert "é" in str(told["show"])


def test_a_pipe_as_output(tmp_path: Path) -> None:
    """/dev/stdout, and what bash makes of >(command), can be written to."""
    if not Path("/dev/stdout").exists():
        pytest.skip("no /dev/stdout here")
    expected = run("average", *TEACHERS[:2]).stdout
    assert run("average", *TEACHERS[:2], "-o", "/dev/stdout").stdout == expected


# ------------------------------------------------------------------ signals


def writes_into(folder: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has begun a file in a folder: one without a name, or a hidden one."""
    begun = (f"{folder.resolve()}/#", f"{folder.resolve()}/.out.txt.")
    try:
        handles = list(Path(f"/proc/{process.pid}/fd").iterdir())
        return any(os.readlink(handle).startswith(begun) for handle in handles)
    except OSError:
        return False  # a file was closed, or the process has ended


def interrupted(folder: Path, number: signal.Signals) -> tuple[int, bytes, bytes]:
    """Start a long average, send a signal when it has begun to write, return exit code and output."""
    long = "(X " + " ".join(["(X w)"] * 4000) + ")\n"
    (folder / "long.txt").write_text(long * 30)
    (folder / "out.txt").write_text("as it was")
    process = subprocess.Popen(
        command("average", "long.txt", "long.txt", "-o", "out.txt"),
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not writes_into(folder, process) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    assert process.poll() is None, "the work was done before the signal"
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert sorted(os.listdir(folder)) == ["long.txt", "out.txt"]
    assert (folder / "out.txt").read_text() == "as it was"
    return process.returncode, out, error


def test_ctrl_c(tmp_path: Path) -> None:
    """Exit code 130, one line, the old file whole, no temporary file; within seconds."""
    assert interrupted(tmp_path, signal.SIGINT) == (130, b"", b"treeavg: interrupted; nothing was written.\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination(tmp_path: Path, number: signal.Signals) -> None:
    """The same for a polite end from outside, and for a terminal that is closed."""
    code, out, error = interrupted(tmp_path, number)
    assert code == 128 + number
    assert out == b""
    assert b"Traceback" not in error


# ------------------------------------------------------------------ large trees


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence of 100,000 tokens; trees 50,000 deep over one, two and 50,001 tokens."""
    folder, depth = tmp_path_factory.mktemp("large"), 50_000
    (folder / "long.txt").write_text("(X " + " ".join(["(X w)"] * 100_000) + ")\n")
    (folder / "one.txt").write_text("(X " * depth + "w" + ")" * depth + "\n")
    (folder / "two.txt").write_text("(X " * depth + "v w" + ")" * depth + "\n")
    (folder / "right.txt").write_text("(X (X w) " * depth + "(X w)" + ")" * depth + "\n")
    return folder


def test_a_sentence_of_100_000_tokens(large: Path) -> None:
    """Too long for a chart, and the line says what works instead; everything else works."""
    done = run("average", "long.txt", "long.txt", folder=large)
    assert_refused(done, "long.txt: sentence 1: expected a sentence whose chart fits into 1 GiB, got 100,000 tokens")
    assert b"select" in done.stderr
    assert run("select", "long.txt", "long.txt", folder=large, check=True).stdout.count(b"w") == 100_000
    run("score", "--gold", "long.txt", "long.txt", folder=large, check=True)


@pytest.mark.parametrize("name", ["one.txt", "two.txt", "right.txt"])
@pytest.mark.parametrize("verb", ["average", "select", "score", "show", "show --json", "convert"])
def test_50_000_deep(large: Path, name: str, verb: str) -> None:
    """Any depth works everywhere, within a gigabyte and seconds."""
    words = [*verb.split(), *(["--gold", name] if verb == "score" else []), name]
    line = "ulimit -v 4000000; exec " + " ".join(command(*words))
    done = subprocess.run(["sh", "-c", line], cwd=large, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    if (verb, name) == ("average", "right.txt"):
        assert_refused(done, "right.txt: sentence 1: expected a sentence whose chart fits")
    elif (verb, name) == ("score", "one.txt"):
        assert_refused(done, "one.txt: expected a sentence of two tokens or more to score, got none")
    else:
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.count(b"w") >= 1 or verb == "score"
        assert len(done.stdout) < 50_000_000


# ------------------------------------------------------------------ going on in spite of errors


def test_skip(folder: Path, tmp_path: Path) -> None:
    """--on-error skip: an empty line in place, the number and a list of what was skipped on standard error."""
    out = tmp_path / "out.txt"
    done = run("average", "good.txt", "empty-line.txt", "--on-error", "skip", "-o", out, folder=folder)
    assert done.returncode == 0
    assert out.read_text().splitlines()[1] == ""
    assert [bool(line) for line in out.read_text().splitlines()] == [True, False, True]
    assert done.stderr.decode().splitlines() == [
        "treeavg: skipped 1 of 3 sentences:",
        "  sentence 2: empty-line.txt:2:1: expected a tree, got an empty line. Remove it, or pass on_error='skip' to "
        "keep its place.",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["unbalanced.txt", "trailing.txt", "no-token.txt", "text.txt", "lengths.txt",
                                  "byte.txt", "words.txt"])  # fmt: skip
def test_skip_of_each_kind(folder: Path, name: str) -> None:
    """Every error of a single line can be skipped; the second sentence is empty, the others are there."""
    words = ["--check-tokens"] if name == "words.txt" else []
    if name == "byte.txt":  # its third sentence has another length
        words = ["--format", "brackets"]
    done = run("select", "good.txt", name, "--on-error", "skip", *words, folder=folder, check=True)
    lines = done.stdout.decode().split("\n")
    assert len(lines) == 4
    assert lines[1] == ""
    assert lines[0] != ""
    errors = done.stderr.decode().splitlines()
    assert re.fullmatch(r"treeavg: skipped [12] of 3 sentences:", errors[0])
    assert errors[1].startswith(f"  sentence 2: {name}:")


def test_skip_does_not_help_with_unequal_files(folder: Path) -> None:
    """Where sentences are missing without a trace there is nothing to keep a place for."""
    assert_refused(
        run("average", "good.txt", "short.txt", "--on-error", "skip", folder=folder), "short.txt: expected 3"
    )
