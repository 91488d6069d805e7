"""Every verb with its options, on the embedded sample."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import DATA, GOLD, OTHER, TEACHERS, TREE, run

import treeavg
from treeavg.cli import VERBS, main

VERB_NAMES = [module.__name__.rsplit(".", 1)[-1].replace("_", "-") for module in VERBS]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Keep pytest's own handler of SIGTERM: `main` installs one."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Caller:
    """Calls the command line inside this process."""

    def __init__(self, capture: pytest.CaptureFixture[bytes]) -> None:
        self.capture = capture

    def __call__(self, *arguments: object, code: int = 0, quiet: bool = True) -> str:
        """Return what went to standard output."""
        self.capture.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        out, self.error = (text.decode() for text in self.capture.readouterr())
        assert not quiet or self.error == ""
        return out

    def json(self, *arguments: object) -> Any:
        """Return standard output as strict JSON: one value, no NaN."""

        def refuse(name: str) -> None:
            raise ValueError(f"{name} is not JSON")

        return json.loads(self(*arguments, "--json"), parse_constant=refuse)


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes]) -> Caller:
    """The command line inside this process."""
    return Caller(capfdbinary)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 60 sentences of the sample."""
    folder = tmp_path_factory.mktemp("sample")
    for source in [GOLD, *TEACHERS]:
        lines = Path(source).read_text().splitlines(keepends=True)[:60]
        (folder / Path(source).name).write_text("".join(lines))
    return folder


@pytest.fixture
def teachers(sample: Path) -> list[Path]:
    """The teachers' files."""
    return sorted(path for path in sample.iterdir() if path.name != "gold.txt")


# ------------------------------------------------------------------ average, select


def test_average_equals_python(call: Caller, teachers: list[Path], tmp_path: Path) -> None:
    """A shell user and a Python user get the same trees, in a file or on standard output, on any number of threads."""
    expected = treeavg.average([treeavg.read(path) for path in teachers])
    treeavg.write(expected, tmp_path / "python.txt")
    wanted = (tmp_path / "python.txt").read_text()
    assert call("average", *teachers) == wanted
    assert call("average", *teachers, "-o", "-", "--jobs", 1) == wanted
    assert call("average", *reversed(teachers), "--jobs", 3) == wanted
    assert call("average", *teachers, "-o", tmp_path / "out.txt") == ""
    assert (tmp_path / "out.txt").read_text() == wanted
    assert call("average", *teachers, "--output", tmp_path / "out.txt.gz") == ""
    assert gzip.decompress((tmp_path / "out.txt.gz").read_bytes()).decode() == wanted


def test_select_is_a_method_of_average(call: Caller, teachers: list[Path]) -> None:
    """`select` and `average --method select` are the same; each tree is one of the teachers'."""
    selected = call("select", *teachers)
    assert selected == call("average", "--method", "select", *teachers)
    for line, *own in zip(selected.splitlines(), *(path.read_text().splitlines() for path in teachers), strict=True):
        assert line in own


def test_weights(call: Caller, teachers: list[Path], tmp_path: Path) -> None:
    """Numbers before or behind the files, as one word, in a file in order, or by path, file name or stem."""
    numbers = ["0.1", "2", "1", "0", "3", "1", "0.5"]
    expected = call("average", *teachers, "--weights", *numbers)
    assert expected != call("average", *teachers)
    assert call("average", "--weights", *numbers, *teachers) == expected
    assert call("average", f"--weights={' '.join(numbers)}", *teachers) == expected
    assert call("average", "--weights", " ".join(numbers), *teachers) == expected
    assert call("average", *teachers, "--weights", *(f"{float(number) * 10:g}" for number in numbers)) == expected
    for content in (
        "\n".join(numbers),
        " ".join(numbers),
        "".join(f"{path} {number}\n" for path, number in zip(teachers, numbers, strict=True)),
        "".join(f"{path.name}\t{number}\r\n" for path, number in zip(teachers, numbers, strict=True)),
        "".join(
            f"{path.stem} {number}\n\n" for path, number in zip(reversed(teachers), reversed(numbers), strict=True)
        ),
    ):
        (tmp_path / "weights.txt").write_text(content)
        assert call("average", *teachers, "--weights", tmp_path / "weights.txt") == expected
        assert call("average", "--weights", tmp_path / "weights.txt", *teachers) == expected


def test_a_weight_of_zero_leaves_a_teacher_out(call: Caller, teachers: list[Path]) -> None:
    """Weight 1 for one teacher alone gives back its trees."""
    one_only = call("average", *teachers, "--weights", 0, 0, 1, 0, 0, 0, 0)
    assert one_only == call("average", teachers[2])


def test_summary_of_average(call: Caller, teachers: list[Path], tmp_path: Path) -> None:
    """--json prints what was done; the trees go to the file."""
    out = tmp_path / "out.jsonl"
    summary = call.json("average", *teachers[:2], "--weights", 1, "0.5", "-o", out)
    for name in ("binary", "objective", "beta", "threshold", "projective", "labels", "support"):
        summary.pop(name)
    assert summary == {
        "output": str(out),
        "method": "generate",
        "teachers": [str(path) for path in teachers[:2]],
        "weights": [1.0, 0.5],
        "sentences": 60,
        "skipped": [],
        "search": None,
    }
    assert len(treeavg.read(out)) == 60


def test_summary_of_what_was_skipped(call: Caller, tmp_path: Path) -> None:
    """Skipped sentences count from 1, with their reason."""
    (tmp_path / "a.txt").write_text(f"{TREE}\n\n{TREE}\n")
    arguments = ["average", tmp_path / "a.txt", "--on-error", "skip", "-o", tmp_path / "o.txt", "--json"]
    summary = json.loads(call(*arguments, quiet=False))
    assert summary["sentences"] == 3
    assert [item["sentence"] for item in summary["skipped"]] == [2]
    assert "got an empty line" in summary["skipped"][0]["reason"]


@pytest.mark.parametrize(
    ("name", "option"), [("out.mrg", []), ("out.jsonl", []), ("out", ["--output-format", "jsonl"])]
)
def test_formats_out(call: Caller, teachers: list[Path], tmp_path: Path, name: str, option: list[str]) -> None:
    """The suffix or --output-format decides how trees are written."""
    call("average", *teachers, "-o", tmp_path / name, *option)
    first = (tmp_path / name).read_text().splitlines()[0]
    assert first.startswith("( (X" if name.endswith("mrg") else '{"words": [')


def test_mixed_inputs(call: Caller, teachers: list[Path], tmp_path: Path) -> None:
    """Teachers in different formats, compressed or not, average to the same trees."""
    expected = call("average", *teachers[:3])
    names = [tmp_path / "a.jsonl", tmp_path / "b.mrg.gz", tmp_path / "c.txt.gz"]
    for path, name in zip(teachers, names, strict=False):
        call("convert", path, "-o", name)
    assert call("average", *names) == expected


# ------------------------------------------------------------------ score, agree


def test_score(call: Caller, sample: Path, teachers: list[Path]) -> None:
    """A row a system, a column a metric, every number with its signature; the same numbers as in Python and in JSON."""
    out = call("score", "--gold", sample / "gold.txt", *teachers)
    value = treeavg.score(treeavg.read(sample / "gold.txt"), treeavg.read(teachers[0])).value
    header, *rows = out.splitlines()
    assert header.split() == ["system", "sentence-f1", "corpus-f1", "precision", "recall"]
    assert any(row.split()[:2] == [teachers[0].stem, f"{value:.2f}"] for row in rows)
    assert out.count("convention:standard") == 4
    result = call.json("score", "--gold", sample / "gold.txt", *teachers)
    assert [system["name"] for system in result["systems"]] == [path.stem for path in teachers]
    assert result["systems"][0]["scores"]["sentence-f1"] == value
    assert set(result["signatures"]) == set(result["systems"][0]["scores"])


def test_score_with_everything(call: Caller, sample: Path, teachers: list[Path]) -> None:
    """All tables at once, in text and in JSON."""
    options = ["--baselines", "--by-length", "--by-label", "--test", "--samples", 200, "--seed", 3]
    arguments = ["score", "--gold", sample / "gold.txt", *teachers[:2], *options, "--metric", "corpus-f1"]
    out = call(*arguments)
    for text in (
        "(left-branching)",
        "(right-branching)",
        "(oracle, binary)",
        "by tokens",
        "recall by label",
        "p (boot",
    ):
        assert text in out
    assert "sentence-f1" not in out
    result = call.json(*arguments)
    assert len(result["systems"]) == 5
    test = result["systems"][1]["test"]
    assert test["against"] == teachers[0].stem
    assert (test["samples"], test["seed"]) == (200, 3)
    assert "test" not in result["systems"][0]
    assert call(*arguments) == out


def test_score_conventions(call: Caller, sample: Path, teachers: list[Path]) -> None:
    """The convention changes numbers and signature."""
    standard = call.json("score", "--gold", sample / "gold.txt", teachers[0])
    kim = call.json("score", "--gold", sample / "gold.txt", teachers[0], "--convention", "kim2019")
    assert standard["systems"] != kim["systems"]
    assert "convention:kim2019" in kim["signatures"]["sentence-f1"]


def test_scores_of_the_data_readme(call: Caller) -> None:
    """The table in data/README.md is what its command prints."""
    text = (DATA / "README.md").read_text()
    for name, value in call.json("demo")["scores"].items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        assert row.split("|")[-2].strip() == f"{value:.2f}"


def test_score_without_a_missing_sentence(call: Caller, tmp_path: Path) -> None:
    """Under skip a sentence that the system lacks counts 0, and is counted and listed."""
    (tmp_path / "gold.txt").write_text(f"{TREE}\n{TREE}\n{TREE}\n")
    (tmp_path / "a.txt").write_text(f"{TREE}\n\n{TREE}\n")
    out = call("score", "--gold", tmp_path / "gold.txt", tmp_path / "a.txt", "--on-error", "skip", quiet=False)
    assert "a: 1 sentences missing, each scored 0" in out or "a: 1 sentence missing, scored 0" in out
    assert "sentence 2: " in call.error
    assert "66.67" in out


def test_agree(call: Caller, teachers: list[Path]) -> None:
    """A square table with a row of means; the diagonal is 100."""
    out = call("agree", *teachers)
    rows = out.splitlines()
    assert rows[0].split() == [path.stem for path in teachers]
    assert any(row.startswith("mean of the others") for row in rows)
    result = call.json("agree", *teachers, "--metric", "corpus-f1", "--convention", "kim2019", "--jobs", 1)
    assert [result["values"][k][k] for k in range(7)] == [100.0] * 7
    assert len(result["means"]) == 7
    assert "corpus-f1" in result["signature"]


def test_names_that_clash(call: Caller, sample: Path, tmp_path: Path, teachers: list[Path]) -> None:
    """Files of one name in two folders are told apart in every table and every JSON object."""
    for folder, source in (("one", teachers[0]), ("two", teachers[1])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "trees.txt").write_text(source.read_text())
    paths = [tmp_path / "one" / "trees.txt", tmp_path / "two" / "trees.txt"]
    assert call.json("agree", *paths)["names"] == [str(path) for path in paths]
    assert [item["name"] for item in call.json("score", "--gold", sample / "gold.txt", *paths)["systems"]] == [
        str(path) for path in paths
    ]
    assert len(call.json("show", *paths)["trees"]) == 2
    assert len(call.json("show", paths[0], paths[0])["trees"]) == 2


def test_a_file_called_average(call: Caller, tmp_path: Path, teachers: list[Path]) -> None:
    """`show --average --json` keeps both the average and a file of that name."""
    (tmp_path / "average.txt").write_text(teachers[0].read_text())
    assert len(call.json("show", tmp_path / "average.txt", teachers[1], "--average")["trees"]) == 3


# ------------------------------------------------------------------ convert


def test_convert(call: Caller, tmp_path: Path) -> None:
    """From Penn files to lines and on, with each change of the trees."""
    penn = tmp_path / "a.mrg"
    penn.write_text("( (S (NP-SBJ (-NONE- *) )\n (VP (VB go) (ADVP (RB there) (RB now)))\n (. .) ))\n")
    assert call("convert", penn) == "(S (NP-SBJ (-NONE- *)) (VP (VB go) (ADVP (RB there) (RB now))) (. .))\n"
    assert call("convert", penn, "--strip-empty") == "(S (VP (VB go) (ADVP (RB there) (RB now))) (. .))\n"
    assert call("convert", penn, "--strip-punctuation") == "(S (VP (VB go) (ADVP (RB there) (RB now))))\n"
    assert (
        call("convert", penn, "--strip-punctuation", "--collapse-unaries")
        == "(VP (VB go) (ADVP (RB there) (RB now)))\n"
    )
    assert (
        call("convert", penn, "--binarize", "right")
        == "(S (-NONE- *) (X (VP (VB go) (ADVP (RB there) (RB now))) (. .)))\n"
    )
    assert (
        call("convert", penn, "--binarize", "left")
        == "(S (X (-NONE- *) (VP (VB go) (ADVP (RB there) (RB now)))) (. .))\n"
    )
    record = json.loads(call("convert", penn, "--output-format", "jsonl"))
    assert record["words"] == ["*", "go", "there", "now", "."]
    assert call("convert", penn, "--output-format", "ptb").startswith("( (S (NP-SBJ")


def test_convert_in_place(call: Caller, tmp_path: Path) -> None:
    """A file may be converted onto itself."""
    path = tmp_path / "a.txt"
    path.write_text(f"{TREE}\n" * 10_000)
    call("convert", path, "--binarize", "right", "-o", path)
    assert path.read_text() == "(S (NP (DT the) (NN dog)) (VBZ barks))\n" * 10_000


def test_convert_counts(call: Caller, tmp_path: Path) -> None:
    """Sentences that lose all tokens keep their place, and are counted on standard error and in JSON."""
    (tmp_path / "a.txt").write_text(f"{TREE}\n(S (. .) (. !))\n")
    out = call("convert", tmp_path / "a.txt", "--strip-punctuation", quiet=False)
    assert out == f"{TREE}\n\n"
    assert "1 sentence" in call.error
    arguments = ["convert", tmp_path / "a.txt", "--strip-punctuation", "-o", tmp_path / "b.txt", "--json"]
    summary = json.loads(call(*arguments, quiet=False))
    assert (summary["sentences"], summary["emptied"], summary["skipped"]) == (2, 1, [])


def test_convert_other_encodings(call: Caller, tmp_path: Path) -> None:
    """--encoding is the input's; output is UTF-8."""
    (tmp_path / "a.txt").write_bytes("(S (A señor) (B él))\n".encode("latin-1"))
    assert call("convert", tmp_path / "a.txt", "--encoding", "latin-1") == "(S (A señor) (B él))\n"


def test_no_file_is_written_by_the_wrong_format(call: Caller, tmp_path: Path) -> None:
    """A .json file gets JSON lines, not brackets; capitals in a suffix do not matter."""
    (tmp_path / "a.txt").write_text(f"{TREE}\n")
    for name in ("b.json", "b.JSONL"):
        call("convert", tmp_path / "a.txt", "-o", tmp_path / name)
        assert json.loads((tmp_path / name).read_text())["words"] == ["the", "dog", "barks"]


# ------------------------------------------------------------------ show


def test_show(call: Caller, sample: Path, teachers: list[Path]) -> None:
    """Words on top, a tree a file with hit counts, the average and gold on demand, several sentences."""
    out = call("show", *teachers, "--average", "--gold", sample / "gold.txt", "--sentence", 2, 1, "--width", 300)
    assert out.count("sentence ") == 2
    assert out.index("sentence 2: ") < out.index("sentence 1: ")
    for name in ["average", "gold", *(path.stem for path in teachers)]:
        assert name in out
    assert "• 5" in out
    assert "\x1b" not in out


def test_show_one_file_without_counts(call: Caller, tmp_path: Path) -> None:
    """One file alone has no hit counts; labels are drawn."""
    (tmp_path / "a.txt").write_text(f"{TREE}\n")
    assert call("show", tmp_path / "a.txt").splitlines() == [
        "sentence 1: the dog barks", "a", "S", "├─ NP  the dog", "└─ barks", "",
    ]  # fmt: skip


def test_show_json(call: Caller, sample: Path, teachers: list[Path]) -> None:
    """One object a sentence and line."""
    lines = call("show", *teachers[:2], "--gold", sample / "gold.txt", "--json", "--sentence", 1, 3).splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["sentence"] for record in records] == [1, 3]
    assert list(records[0]["trees"]) == [teachers[0].stem, teachers[1].stem, "gold"]
    tree = records[0]["trees"][teachers[0].stem]
    assert len(tree["constituents"]) == len(tree["hits"]) == len(tree["labels"])


def test_show_weights(call: Caller, tmp_path: Path) -> None:
    """Hit counts are sums of weights."""
    (tmp_path / "a.txt").write_text(f"{TREE}\n")
    (tmp_path / "b.txt").write_text(f"{OTHER}\n")
    out = call("show", tmp_path / "a.txt", tmp_path / "b.txt", "--weights", "0.5", "2")
    assert "NP 0.5  the dog" in out
    assert "• 2  dog barks" in out


def test_show_escapes_what_a_terminal_would_obey(call: Caller, tmp_path: Path) -> None:
    """Control characters in words do not reach the terminal."""
    (tmp_path / "a.txt").write_text("(S (A \x1b[31mred) (B \x07))\n")
    assert "\x1b" not in call("show", tmp_path / "a.txt")


# ------------------------------------------------------------------ demo, completion, help


#: What the demo shows besides teachers.
SYSTEMS = ("select", "equal weights", "average", "student")


def test_demo(call: Caller) -> None:
    """The main job on the sample: the average is better than every teacher, the student about as good."""
    out = call("demo")
    assert "400 held-out sentences" in out
    result = call.json("demo")
    scores = result["scores"]
    assert result["sentences"] == 400
    teachers = [value for name, value in scores.items() if name not in SYSTEMS]
    assert len(teachers) == 7
    assert result["tests"]["average"]["difference"] == pytest.approx(scores["average"] - max(teachers))
    assert scores["average"] > max(teachers)
    assert scores["student"] > scores["average"] - 1
    assert scores[result["best"]] == max(teachers)
    for name, value in scores.items():
        assert f"{value:.2f}" in out
        assert name in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(call: Caller, shell: str) -> None:
    """A script that names all verbs and, where the shell is here, parses."""
    script = call("completion", shell)
    for name in VERB_NAMES:
        assert name in script
    if shell == "bash":
        done = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("verb", [None, *VERB_NAMES])
def test_help(capsys: pytest.CaptureFixture[str], verb: str | None) -> None:
    """Help goes to standard output, names every option and fits into 120 columns."""
    with pytest.raises(SystemExit) as caught:
        main([*([verb] if verb else []), "--help"])
    assert caught.value.code == 0
    out, error = capsys.readouterr()
    assert error == ""
    assert out.startswith(f"usage: treeavg{f' {verb}' if verb else ''}")
    assert max(map(len, out.splitlines())) <= 120
    for name in VERB_NAMES if verb is None else ["--debug"]:
        assert name in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints name and number."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"treeavg {treeavg.__version__}\n"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """--debug raises what would be one line."""
    with pytest.raises(treeavg.FileError, match="expected a file to read"):
        main(["average", str(tmp_path / "absent.txt"), "--debug"])


# ------------------------------------------------------------------ a whole process


@pytest.mark.compiled
def test_standard_input_and_output(sample: Path, teachers: list[Path]) -> None:
    """'-' is standard input in every verb, wherever it stands."""
    given = teachers[0].read_bytes()
    plain = run("average", *teachers[:2], check=True)
    assert run("average", "-", teachers[1], "-o", "-", given=given, check=True).stdout == plain.stdout
    assert run("average", teachers[1], "-", "--weights", 1, 1, given=given, check=True).stdout.count(b"\n") == 60
    table = run("score", "--gold", sample / "gold.txt", "-", given=given, check=True).stdout.decode()
    expected = run("score", "--gold", sample / "gold.txt", teachers[0], check=True).stdout.decode()
    assert table.splitlines()[1].split()[1:] == expected.splitlines()[1].split()[1:] or (
        table.splitlines()[2].split()[1:] == expected.splitlines()[2].split()[1:]
    )
    assert run("convert", "-", given=given, check=True).stdout == given


@pytest.mark.compiled
def test_a_pipeline(sample: Path, teachers: list[Path]) -> None:
    """Verbs behind one another, as in a shell."""
    averaged = run("average", *teachers, check=True).stdout
    out = run("score", "--gold", sample / "gold.txt", "-", "--json", given=averaged, check=True)
    result = json.loads(out.stdout)
    expected = treeavg.average([treeavg.read(path) for path in teachers])
    assert (
        result["systems"][0]["scores"]["sentence-f1"]
        == treeavg.score(treeavg.read(sample / "gold.txt"), expected).value
    )
