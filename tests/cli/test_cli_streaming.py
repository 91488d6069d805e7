"""Files of any size through the command line: compressed, from standard input, as tables; in bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard
from command_line import GOLD, TEACHERS, assert_refused, run, run_here

import treeavg

VERBS_OVER_TEACHERS = (["average", *TEACHERS], ["agree", *TEACHERS], ["score", "--gold", GOLD, *TEACHERS])


def packed(folder: Path, suffix: str) -> dict[str, str]:
    """Write the sample under another suffix; return the paths by the old ones."""
    places = {}
    for path in [*TEACHERS, GOLD]:
        place = folder / f"{Path(path).stem}.{suffix}"
        data = Path(path).read_bytes()
        if suffix == "txt.gz":
            place.write_bytes(gzip.compress(data))
        elif suffix == "txt.zst":
            place.write_bytes(zstandard.ZstdCompressor().compress(data))
        else:
            treeavg.write(treeavg.read(path), place)
        places[path] = str(place)
    return places


def printed_by(*arguments: object, folder: Path) -> bytes:
    """Run a verb in this process; return what it prints."""
    done = run_here(*arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    out: bytes = done.stdout
    return out


def numbers(arguments: list[str], folder: Path) -> object:
    """Run a verb; return the trees or the numbers that it prints, without names of files."""
    if arguments[0] == "average":
        return printed_by(*arguments, folder=folder)
    printed = json.loads(printed_by(*arguments, "--json", folder=folder))
    return printed["values"] if "values" in printed else [system["scores"] for system in printed["systems"]]


@pytest.mark.compiled
@pytest.mark.parametrize("number", range(len(VERBS_OVER_TEACHERS)))
def test_the_same_from_any_file(tmp_path: Path, number: int) -> None:
    """Every verb prints the same, whatever the teachers are stored in; one of them may come on standard input."""
    arguments = VERBS_OVER_TEACHERS[number]
    expected = numbers(arguments, tmp_path)
    for suffix in ("txt.gz", "txt.zst", "parquet", "mrg"):
        places = packed(tmp_path, suffix)
        assert numbers([places.get(word, word) for word in arguments], tmp_path) == expected, suffix
    if not number:
        given = Path(arguments[-1]).read_bytes()
        assert run(*arguments[:-1], "-", given=given, check=True).stdout == expected


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst", "a.parquet", "a.mrg.zst", "a.jsonl.gz", "a.export.zst"])
def test_convert_there_and_back(tmp_path: Path, name: str) -> None:
    """The sample comes back byte by byte (an export file has ROOT above)."""
    printed_by("convert", TEACHERS[0], "-o", name, folder=tmp_path)
    done = printed_by("convert", name, folder=tmp_path)
    expected = Path(TEACHERS[0]).read_bytes()
    if "export" in name:
        assert done.count(b"(ROOT ") == expected.count(b"\n")
    else:
        assert done == expected


@pytest.mark.compiled
def test_a_table_on_standard_output(tmp_path: Path) -> None:
    """`--output-format parquet` writes a table; averages go into tables too."""
    done = run("average", *TEACHERS, "--output-format", "parquet", check=True)
    table = pq.read_table(io.BytesIO(done.stdout))
    assert treeavg.Treebank.from_arrow(table) == treeavg.average([treeavg.read(path) for path in TEACHERS])
    out = tmp_path / "average.parquet"
    printed_by("average", *TEACHERS, "-o", out, folder=tmp_path)
    assert out.read_bytes() == done.stdout
    assert (
        json.loads(printed_by("score", "--gold", GOLD, out, "--json", folder=tmp_path))["systems"][0]["name"]
        == "average"
    )


def test_dependency_trees_in_tables(tmp_path: Path) -> None:
    """Heads, words and relations of CoNLL-U survive a table."""
    line = "1\tit\t_\tP\t_\t_\t2\tx\t_\t_\n2\trains\t_\tV\t_\t_\t0\troot\t_\t_\n\n"
    (tmp_path / "a.conllu").write_text("# text = it rains\n" + line * 3)
    run("convert", "a.conllu", "-o", "a.parquet", folder=tmp_path, check=True)
    assert (
        run("convert", "a.parquet", "--output-format", "conllu", folder=tmp_path, check=True).stdout
        == (tmp_path / "a.conllu").read_bytes()
    )
    done = run("average", "a.parquet", "a.conllu", "-o", "b.parquet", folder=tmp_path, check=True)
    assert done.stderr == b""
    assert treeavg.read(tmp_path / "b.parquet").same_trees(treeavg.read(tmp_path / "a.conllu"))


# ------------------------------------------------------------------ what a newcomer does


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt.gz", gzip.compress(b"(S a b)\n" * 99)[:-9], "a.txt.gz: expected gzip data, got: Compressed file ended"),
        ("a.txt.gz", b"(S a b)\n", "a.txt.gz: expected gzip data, got: Not a gzipped file (b'(S'). Compress the file "),
        ("a.txt.zst", zstandard.ZstdCompressor().compress(b"(S a b)\n" * 99)[:-3], "expected zstd data, got: the file"),
        ("a.txt.zst", b"(S a b)\n", "a.txt.zst: expected zstd data, got: zstd decompressor error: Unknown frame descr"),
        ("a.txt", zstandard.ZstdCompressor().compress(b"(S a b)\n"), "a.txt:1:1: expected text, got zstd data. Name t"),
        ("a.parquet", b"(S a b)\n", "a.parquet: expected a Parquet file, got: "),
        ("a.parquet", b"", "a.parquet: expected at least one tree, got an empty file. Check what wrote it."),
        ("a.txt.gz", b"", "a.txt.gz: expected at least one tree, got an empty file. Check what wrote it."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["convert", "agree"])
def test_files_that_are_none(tmp_path: Path, name: str, content: bytes, message: str, verb: str) -> None:
    """One line, exit code 2, nothing on standard output."""
    (tmp_path / name).write_bytes(content)
    assert_refused(run_here(verb, name, folder=tmp_path), message)


def test_folders_and_two_standard_inputs(tmp_path: Path) -> None:
    """A folder, whatever its name, and '-' twice."""
    (tmp_path / "a.parquet").mkdir()
    assert_refused(
        run("agree", "a.parquet", folder=tmp_path), "a.parquet: expected shards, got no file there. Check the folder or"
    )
    assert_refused(run_here("agree", "-", "-", folder=tmp_path), "paths: expected '-' (standard input) at most once")
    assert_refused(
        run("score", "--gold", "-", "-", given=b"(S a b)\n"), "paths: expected '-' (standard input) at most o"
    )
    table = tmp_path / "b.parquet"
    treeavg.write(treeavg.read(GOLD), table)
    assert_refused(
        run("agree", "-", given=table.read_bytes()),
        "<stdin>: expected a file, as Parquet is read from its end, got a stream. Save it and name it.",
    )
    assert_refused(
        run("convert", GOLD, "-o", "c.parquet.gz", folder=tmp_path),
        "expected a name without .gz, as Parquet is compres",
    )
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_limits_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end is refused before memory is full; the variable in the message helps."""
    (tmp_path / "a.txt").write_text("(S " + "a " * 40_000 + "b)\n")
    monkeypatch.setenv("TREEAVG_MAX_SENTENCE_MB", "0.05")
    refused = run_here("convert", "a.txt", folder=tmp_path)
    assert_refused(refused, "a.txt:1: expected a line of at most 0.05 MiB, got a longer one.")
    assert_refused(refused, "TREEAVG_MAX_SENTENCE_MB=0")
    monkeypatch.setenv("TREEAVG_MAX_SENTENCE_MB", "0")
    assert run_here("convert", "a.txt", folder=tmp_path).returncode == 0
    monkeypatch.delenv("TREEAVG_MAX_SENTENCE_MB")
    assert run_here("convert", "a.txt", folder=tmp_path).returncode == 0


# ------------------------------------------------------------------ memory

#: Prints the peak of a run in MB; not getrusage's, in which the process that started it counts.
PEAK = "import pathlib, re, sys; from treeavg.cli import main; code = main(sys.argv[1:]); " \
    "peak = re.search(r'VmHWM:\\s+(\\d+) kB', pathlib.Path('/proc/self/status').read_text())[1]; " \
    "print(int(peak) // 1024, file=sys.stderr); sys.exit(code)"  # fmt: skip


def peak(*arguments: object, folder: Path) -> int:
    """Return the largest resident set of a run."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments)], cwd=folder, capture_output=True, check=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return int(done.stderr.splitlines()[-1])


@pytest.mark.compiled
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
@pytest.mark.parametrize("name", ["a.txt", "a.txt.zst", "a.mrg.gz", "a.parquet", "a.conllu"])
def test_memory_is_flat(tmp_path: Path, name: str) -> None:
    """Three times the sentences take no more memory than some slack, and less than 400 MB, in each kind of file."""
    sizes = []
    for copies in (10_000, 30_000):
        bank = treebank(copies, name)
        treeavg.write(bank, tmp_path / name)
        del bank
        sizes.append(peak("agree", name, name, folder=tmp_path))
    assert sizes[1] < sizes[0] + 25, sizes
    assert sizes[1] < 400


def treebank(sentences: int, name: str) -> treeavg.Treebank | treeavg.DependencyTreebank:
    """Sentences of eleven words, so that 30,000 are about seven megabytes of brackets."""
    words = [f"word{number}" for number in range(11)]
    if name.endswith("conllu"):
        one = treeavg.DependencyTreebank.from_heads([list(range(11))] * 100, tokens=[words] * 100)
        return treeavg.DependencyTreebank.concatenate([one] * (sentences // 100))
    tree = [(begin, 11) for begin in range(10)]
    many = treeavg.Treebank.from_constituents([words] * 100, [tree] * 100)
    return treeavg.Treebank.concatenate([many] * (sentences // 100))
