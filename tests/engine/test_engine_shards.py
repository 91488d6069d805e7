"""Which files belong together: folders, patterns, manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from treeavg.engine.shards import is_sharded, natural, plan_shards, stem_of
from treeavg.errors import TreeavgError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_are_aligned_by_name_in_natural_order(tmp_path: Path) -> None:
    """Suffixes do not count, sub-folders do; hidden files are no shards."""
    touch(tmp_path, "a/x/10.txt", "a/x/9.txt", "a/y.txt", "a/.9.txt.12.tmp", "a/_SUCCESS")
    touch(tmp_path, "b/x/9.jsonl.gz", "b/x/10.jsonl", "b/y.parquet")
    plan = plan_shards([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [shard.name for shard in plan.shards] == ["x/9", "x/10", "y"]
    assert plan.shards[0].paths == (str(tmp_path / "a/x/9.txt"), str(tmp_path / "b/x/9.jsonl.gz"))
    assert plan.teachers == (str(tmp_path / "a"), str(tmp_path / "b"))


def test_patterns(tmp_path: Path) -> None:
    """A pattern's names count from the folder before its first wildcard."""
    touch(tmp_path, "a/1.txt", "a/2.txt", "a/2.log", "b/d/1.txt", "b/d/2.txt")
    plan = plan_shards([str(tmp_path / "a/*.txt"), str(tmp_path / "b/d")])
    assert [shard.name for shard in plan.shards] == ["1", "2"]
    assert is_sharded(str(tmp_path / "a/*.txt"))
    touch(tmp_path, "[1].txt")
    assert not is_sharded(str(tmp_path / "[1].txt"))


def test_single_files_are_one_shard(tmp_path: Path) -> None:
    """Where each teacher has one file, names do not matter."""
    plan = plan_shards([str(tmp_path / "a.txt"), str(tmp_path / "b.conllu.gz")])
    assert [shard.name for shard in plan.shards] == ["a"]


def test_names() -> None:
    """Only suffixes that formats know are cut off; leading zeros do not make names equal."""
    assert [stem_of(name) for name in ("part.0001", "a.txt.gz", ".txt", "A.TXT", "a.mrg")] == [
        "part.0001", "a", ".txt", "A", "a",
    ]  # fmt: skip
    names = ["9", "10", "a/3", "b", "b02", "b2", "b10"]
    mixed = [names[place] for place in (3, 6, 0, 5, 1, 4, 2)]
    assert sorted(mixed, key=natural) == names


def test_manifest(tmp_path: Path) -> None:
    """A manifest names files and gives the order; paths are relative to it."""
    lines = [
        {"shard": "z", "paths": {"one": "1/z.txt", "two": "2/other.txt", "gold": "g"}},
        {"shard": "a", "paths": {"one": "1/a.txt", "two": "/abs/a.txt"}},
    ]
    path = tmp_path / "shards.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    plan = plan_shards(["two", "one"], str(path))
    assert [shard.name for shard in plan.shards] == ["z", "a"]
    assert plan.shards[0].paths == (str(tmp_path / "2/other.txt"), str(tmp_path / "1/z.txt"))
    assert plan.shards[1].paths[0] == "/abs/a.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.jsonl: expected a shard on each line, got an empty file. Check --shards."),
        ("{", 's.jsonl:1: expected {"shard": "0001", "paths": {"teacher": "file"}}, got no JSON'),
        ('\n{"shard": "../a", "paths": {"a": "a"}}', "s.jsonl:2: expected {"),
        ('{"shard": "a", "paths": ["a"]}', "s.jsonl:1: expected {"),
        ('{"shard": "a", "paths": {"b": "x"}}', "s.jsonl:1: expected a path of a for the shard a, got those of b."),
        ('{"shard": "a", "paths": {"a": "x"}}\n' * 2, "s.jsonl:2: expected each shard once, got 'a' again."),
    ],
)
def test_bad_manifests(tmp_path: Path, text: str, message: str) -> None:
    """Each fault is named by its line."""
    (tmp_path / "s.jsonl").write_text(text)
    with pytest.raises(TreeavgError) as caught:
        plan_shards(["a"], str(tmp_path / "s.jsonl"))
    assert message in str(caught.value)


def test_missing_shards(tmp_path: Path) -> None:
    """One line names the teacher, the first shard, and how many more there are."""
    touch(tmp_path, "a/1.txt", "a/2.txt", "a/10.txt", "b/1.txt", "c/1.txt", "c/2.txt", "c/10.txt", "c/3.txt", "d/1.txt")
    a, b, c = (str(tmp_path / name) for name in "abc")
    with pytest.raises(TreeavgError, match=r"b: expected the shard 2 and 1 more as in .*a, got none\. Every teacher"):
        plan_shards([a, b])
    with pytest.raises(TreeavgError, match=r"a: expected the shard 3 as in .*c, got none\."):
        plan_shards([a, c])


def test_bad_folders(tmp_path: Path) -> None:
    """Nothing there, two files of one name, an unfinished job, standard input, no teacher."""
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "two/1.txt", "two/1.jsonl", "job/.records/job.json", "job/1.txt")
    for argument, message in (
        (str(tmp_path / "empty"), "empty: expected shards, got no file there. Check the folder or the pattern."),
        (str(tmp_path / "two"), "two: expected one file of each shard, got "),
        (str(tmp_path / "job"), "job: expected a finished job's folder, got one without manifest.json. Run the job's"),
        (str(tmp_path / "no*"), "no*: expected shards, got no file there."),
        ("-", "teachers: expected folders, patterns or files of shards, got '-'. Save standard input."),
    ):
        with pytest.raises(TreeavgError) as caught:
            plan_shards([argument])
        assert message in str(caught.value)
    with pytest.raises(TreeavgError, match="teachers: expected at least one, got none"):
        plan_shards([])
