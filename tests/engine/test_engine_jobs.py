"""Shards, in any order and after any interruption, give the bytes of one process."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from sharding import Broken, Shuffled, corpus, joined, treeavg, treeavg_raises, whole

from treeavg.engine import tasks
from treeavg.engine.cluster import ClusterError, InProcess
from treeavg.engine.job import Job, Output, run_job
from treeavg.engine.manifest import read_manifest, record_path
from treeavg.engine.shards import plan_shards
from treeavg.engine.stream import Averaging, Reading
from treeavg.engine.works import average_work, convert_work
from treeavg.errors import ArgumentError, FileError, FormatError, TreeavgError
from treeavg.formats.files import file_digest


@pytest.fixture
def teachers(tmp_path: Path) -> list[Path]:
    """Three teachers of four shards."""
    return corpus(tmp_path / "in")


def job_of(folders: list[Path], out: Path, **options: object) -> Job:
    """Return a job that averages."""
    from dataclasses import asdict

    chosen = {
        "reading": asdict(Reading()), "averaging": asdict(Averaging(**options)),  # type: ignore[arg-type]
        "formats": ["brackets"] * len(folders), "output_format": "brackets",
    }  # fmt: skip
    plan = plan_shards([str(folder) for folder in folders])
    return Job("average", average_work, plan, chosen, str(out), (Output("trees", str(out), ".txt"),))


OPTIONS: list[tuple[str, ...]] = [
    (),
    ("--no-binary", "--objective", "f1", "--labels", "vote"),
    ("--weights", "1 2 0.5"),
    ("--method", "select"),
    ("--no-binary", "--support", "--output-format", "jsonl"),
    ("--output-format", "export"),
    ("--output-format", "jsonl"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_shards_equal_one_process(tmp_path: Path, teachers: list[Path], options: tuple[str, ...]) -> None:
    """End to end the shards are what one process writes, sentence numbers included."""
    one, out = tmp_path / "one", tmp_path / "out"
    treeavg("average", *map(whole, teachers), *options, "-o", one)
    treeavg("average", *teachers, *options, "-o", out)
    suffix = {"jsonl": ".jsonl", "export": ".export"}.get(options[-1] if options else "", ".txt")
    assert joined(out, suffix) == one.read_bytes()
    manifest = read_manifest(out)
    assert manifest["sentences"] == 17
    assert [entry["shard"] for entry in manifest["shards"]] == ["8", "9", "10", "11"]
    assert [entry["first"] for entry in manifest["shards"]] == [0, 5, 6, 13]
    for entry in manifest["shards"]:
        written = entry["files"]["trees"]
        assert written["sha256"] == file_digest(out / written["path"])
        assert [item["sha256"] for item in entry["inputs"]] == [
            file_digest(folder / f"{entry['shard']}.txt") for folder in teachers
        ]


def test_hits_are_sharded_too(tmp_path: Path, teachers: list[Path]) -> None:
    """Hit counts go into a folder of their own, shard by shard."""
    treeavg("average", *map(whole, teachers), "-o", tmp_path / "one", "--hits", tmp_path / "hits.jsonl")
    treeavg("average", *teachers, "-o", tmp_path / "out", "--hits", tmp_path / "hits")
    assert joined(tmp_path / "hits", ".jsonl") == (tmp_path / "hits.jsonl").read_bytes()


def test_weights_by_agreement_are_those_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are estimated from the same first sentences, wherever shards end."""
    folders = corpus(tmp_path / "in", teachers=6, sizes=(3, 4, 5, 6))
    for limit in (5, 7, 100):
        monkeypatch.setattr("treeavg.engine.stream.ESTIMATE_FROM", limit)
        treeavg("average", *map(whole, folders), "--weights", "agreement", "-o", tmp_path / "one")
        weights = capfd.readouterr().err.split(": ")[-1]
        out = tmp_path / f"out{limit}"
        treeavg("average", *folders, "--weights", "agreement", "-o", out)
        told = capfd.readouterr().err.split(": ")[-1]
        assert [part.split()[-1] for part in told.split(",")] == [part.split()[-1] for part in weights.split(",")]
        assert joined(out) == (tmp_path / "one").read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_any_order_and_lost_workers(tmp_path: Path, teachers: list[Path], seed: int) -> None:
    """Shards done in any order, some twice, give the same files and the same manifest."""
    run_job(job_of(teachers, tmp_path / "one"), InProcess())
    run_job(job_of(teachers, tmp_path / "other"), Shuffled(seed))
    assert joined(tmp_path / "other") == joined(tmp_path / "one")
    assert (tmp_path / "other/manifest.json").read_bytes() == (tmp_path / "one/manifest.json").read_bytes()


def test_a_lost_scheduler_and_a_rerun(tmp_path: Path, teachers: list[Path]) -> None:
    """What was done is kept, the rest is done, the manifest comes last and once."""
    run_job(job_of(teachers, tmp_path / "one"), InProcess())
    job = job_of(teachers, tmp_path / "out")
    with pytest.raises(ClusterError, match=r"scheduler that answers, got none any more. Run the same command again"):
        run_job(job, Broken(2))
    assert not (tmp_path / "out/manifest.json").exists()
    (tmp_path / "out/.10.txt.1234.tmp").write_text("(S (A half")
    report = run_job(job, InProcess())
    assert (report.kept, len(report.records), report.sentences) == (2, 4, 17)
    assert joined(tmp_path / "out") == joined(tmp_path / "one")
    assert not list((tmp_path / "out").rglob("*.tmp"))
    manifest = tmp_path / "out/manifest.json"
    assert manifest.read_bytes() == (tmp_path / "one/manifest.json").read_bytes()
    before = manifest.stat().st_mtime_ns
    assert run_job(job, InProcess()).kept == 4
    assert manifest.stat().st_mtime_ns == before


def test_what_makes_a_shard_stale(tmp_path: Path, teachers: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed inputs and outputs are done again; a new time stamp alone is not."""
    job = job_of(teachers, tmp_path / "out")
    run_job(job, InProcess())
    expected = joined(tmp_path / "out")

    def kept() -> int:
        return run_job(job, InProcess()).kept

    os.utime(teachers[0] / "9.txt", (1, 1))
    assert kept() == 4
    (tmp_path / "out/9.txt").write_bytes(b"?" + (tmp_path / "out/9.txt").read_bytes()[1:])  # of equal size
    assert kept() == 3
    (tmp_path / "out/10.txt").unlink()
    assert kept() == 3
    record_path(tmp_path / "out", "average", "11").write_text("{")
    assert kept() == 3
    assert joined(tmp_path / "out") == expected
    lines = (teachers[1] / "8.txt").read_text().splitlines(keepends=True)
    (teachers[1] / "8.txt").write_text("".join([lines[0].replace("T w", "T W"), *lines[1:]]))
    assert kept() == 3


def test_damaged_records(tmp_path: Path, teachers: list[Path]) -> None:
    """Whichever bit of a record is another, its shard is done again: nothing in it is believed."""
    out = tmp_path / "out"
    job = job_of(teachers, out)
    run_job(job, InProcess())
    manifest = (out / "manifest.json").read_bytes()
    path = record_path(out, "average", "8")
    whole_record = path.read_bytes()
    generator = random.Random(0)
    for _ in range(40):
        spoilt = bytearray(whole_record)
        spoilt[generator.randrange(len(spoilt) - 1)] ^= 1 << generator.randrange(8)
        path.write_bytes(spoilt)
        report = run_job(job, InProcess())
        assert report.kept == 3
        assert path.read_bytes() == whole_record
        assert (out / "manifest.json").read_bytes() == manifest


def test_another_job_is_refused(tmp_path: Path, teachers: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names what differs; a folder with other files is left alone."""
    out = tmp_path / "out"
    run_job(job_of(teachers, out), InProcess())
    with pytest.raises(
        ArgumentError, match=r"out: expected the job that was begun there, got another beta: 1.0 before, 2.0 now"
    ):
        run_job(job_of(teachers, out, beta=2.0, objective="f1", binary=False), InProcess())
    with pytest.raises(ArgumentError, match="got another teachers: "):
        run_job(job_of(teachers[:2], out), InProcess())
    for folder in teachers:
        (folder / "12.txt").write_text("(S (A a))\n")
    with pytest.raises(
        ArgumentError, match=r"got another names of shards: |got another number of shards: 4 before, 5 now"
    ):
        run_job(job_of(teachers, out), InProcess())
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    (other / ".mine.txt.abc.tmp").write_text("mine")
    with pytest.raises(ArgumentError, match=r"other: expected a new or empty folder, or one of this job, got one with"):
        run_job(job_of(teachers[1:], other), InProcess())
    with pytest.raises(FileError, match=r"mine.txt: expected a folder for shards, got a file. Choose another name"):
        run_job(job_of(teachers[1:], other / "mine.txt"), InProcess())
    assert sorted(path.name for path in other.iterdir()) == [".mine.txt.abc.tmp", "mine.txt"]


def test_hits_need_a_folder_of_their_own(
    tmp_path: Path, teachers: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """New or empty, and not that of the trees."""
    from treeavg.cli import main

    out, hits = tmp_path / "out", tmp_path / "hits"
    words = ["average", *map(str, teachers), "-o", str(out), "--hits"]
    assert main([*words, str(out)]) == 2
    assert f"--hits: expected a folder of its own, got {out} for both. Choose another." in capfd.readouterr().err
    hits.mkdir()
    (hits / "8.jsonl").write_text("mine")
    assert main([*words, str(hits)]) == 2
    assert "hits: expected a new or empty folder, or one of this job, got one with other files." in (
        capfd.readouterr().err
    )
    assert not out.exists()
    assert (hits / "8.jsonl").read_text() == "mine"


def test_inputs_that_change_while_they_are_read(
    tmp_path: Path, teachers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing is written for the shard."""

    def grow(*arguments: object) -> dict[str, object]:
        with (teachers[0] / "8.txt").open("a") as file:
            file.write("(S (A a))\n")
        return {"sentences": 1}

    shard = plan_shards([str(teachers[0])]).shards[0]
    task = tasks.Task("average", grow, shard, {}, str(tmp_path / "out"), (("trees", str(tmp_path / "out/8.txt")),))  # type: ignore[arg-type]
    with pytest.raises(
        FileError, match=r"8.txt: expected a file that stays as it is, got one that changed while it was"
    ):
        tasks.run_shard(task)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_faults_of_shards(tmp_path: Path, teachers: list[Path]) -> None:
    """The first faulty shard, in order, is named with its own line; what is done stays."""
    (teachers[1] / "10.txt").write_text("(S (A a)\n" * 7)
    (teachers[1] / "11.txt").write_text("(S (A a))\n")
    out = tmp_path / "out"
    with pytest.raises(FormatError, match=r"t1/10\.txt:1:9: expected '\)'"):
        run_job(job_of(teachers, out), InProcess())
    assert sorted(path.name for path in out.glob("*")) == [".records", "8.txt", "9.txt"]


def test_formats_are_those_of_the_first_shard(tmp_path: Path, teachers: list[Path]) -> None:
    """They hold for all shards of a teacher: another reading would be another result."""
    (teachers[0] / "9.txt").write_text("#FORMAT 3\n#BOS 1\nit PP -- -- 0\n#EOS 1\n")
    with pytest.raises(FormatError, match=r"9\.txt:1:1: expected '\(' to begin a tree, got '#FORMAT 3'"):
        treeavg_raises("average", teachers[0], "-o", tmp_path / "one")
    treeavg("convert", teachers[1], "--output-format", "jsonl", "-o", tmp_path / "jsonl")
    with pytest.raises(FormatError, match=r"9\.txt: expected the format brackets as in the first shard, got export"):
        treeavg_raises("average", teachers[0], tmp_path / "jsonl", "-o", tmp_path / "two")


def test_versions_must_be_equal(tmp_path: Path, teachers: list[Path]) -> None:
    """Another treeavg on a worker is refused: it may average otherwise."""
    shard = plan_shards([str(teachers[0])]).shards[0]
    with pytest.raises(TreeavgError, match=r"cluster: expected treeavg 0\.0 on every worker, got .* Install the same"):
        tasks.run_shard(tasks.Task("average", average_work, shard, version="0.0"))


def test_skipped_sentences_count_over_all_shards(
    tmp_path: Path, teachers: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """They are listed once, by their number in the whole text, with the place in their file; a rerun lists them too."""
    lines = (teachers[2] / "10.txt").read_text().splitlines(keepends=True)
    (teachers[2] / "10.txt").write_text("".join([lines[0], "\n", *lines[2:]]))
    treeavg("average", *map(whole, teachers), "--on-error", "skip", "-o", tmp_path / "one")
    one = capfd.readouterr().err
    for kept in (False, True):
        treeavg("average", *teachers, "--on-error", "skip", "-o", tmp_path / "out")
        told = capfd.readouterr().err
        assert joined(tmp_path / "out") == (tmp_path / "one").read_bytes()
        assert "treeavg: skipped 1 of 17 sentences:\n  sentence 8: " in one
        assert "treeavg: skipped 1 of 17 sentences:\n  sentence 8: " in told
        assert "10.txt:2:1: expected a tree, got an empty line." in told
        assert ("treeavg: 4 of 4 shards were done before and are kept." in told) == kept
    assert read_manifest(tmp_path / "out")["shards"][2]["skipped"] == 1


def test_compressed_shards(tmp_path: Path, teachers: list[Path]) -> None:
    """Output is compressed as the first teacher's shards are."""
    import gzip

    for path in list(teachers[0].iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    run_job(job_of(teachers, tmp_path / "out"), InProcess())
    assert gzip.decompress((tmp_path / "out/8.txt.gz").read_bytes()).count(b"\n") == 5


def test_convert(tmp_path: Path, teachers: list[Path]) -> None:
    """Conversion over shards is that of the whole, numbers included."""
    for options, suffix in (((), ".txt"), (("--output-format", "export"), ".export"), (("--binarize", "left"), ".txt")):
        out = tmp_path / "-".join(["out", *options])
        treeavg("convert", whole(teachers[0]), *options, "-o", tmp_path / "one")
        treeavg("convert", teachers[0], *options, "-o", out)
        assert joined(out, suffix) == (tmp_path / "one").read_bytes()
    assert convert_work.__doc__


def test_a_manifest_of_shards(tmp_path: Path, teachers: list[Path]) -> None:
    """Files that do not agree in name are put together by a manifest."""
    lines = []
    for number in (8, 9, 10, 11):
        (teachers[1] / f"{number}.txt").rename(teachers[1] / f"part-{number}.txt")
        lines.append({"shard": str(number), "paths": {"a": f"t0/{number}.txt", "b": f"t1/part-{number}.txt"}})
    (tmp_path / "in/shards.jsonl").write_text("\n".join(map(json.dumps, lines)))
    treeavg("average", "b", "a", "--shards", tmp_path / "in/shards.jsonl", "--weights", "1 2", "-o", tmp_path / "out")
    for number in (8, 9, 10, 11):
        (teachers[1] / f"part-{number}.txt").rename(teachers[1] / f"{number}.txt")
    treeavg("average", teachers[1], teachers[0], "--weights", "1 2", "-o", tmp_path / "other")
    assert joined(tmp_path / "out") == joined(tmp_path / "other")


def test_random_interruptions(tmp_path: Path) -> None:
    """However often a job is broken off, at the end it is the same."""
    folders = corpus(tmp_path / "in", teachers=2, sizes=[2] * 12)
    run_job(job_of(folders, tmp_path / "one"), InProcess())
    generator = random.Random(5)
    for attempt in range(5):
        out = tmp_path / f"out{attempt}"
        while True:
            try:
                run_job(job_of(folders, out), Broken(generator.randrange(14)))
                break
            except ClusterError:
                stale = [path for path in out.rglob("*") if path.is_file() and path.name != "job.json"]
                generator.choice(stale or [tmp_path / "none"]).unlink(missing_ok=True)
        assert joined(out) == joined(tmp_path / "one")
        shutil.rmtree(out)
