"""Teacher outputs on disk: what goes in comes out, other sources refused, damage noticed, stopped writers resumed."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sequence_tables import tiny_causal
from torch import Tensor

from treeavg.distill.sequences.caching.cache import CacheWriter, Source, TeacherCache, model_hash
from treeavg.distill.sequences.caching.cache_files import OPTIONAL
from treeavg.distill.sequences.caching.manifest import FORMAT, NAME, _digest, read_manifest, write_manifest
from treeavg.distill.sequences.losses.topk import TopK, top_k, top_k_loss
from treeavg.errors import ArgumentError, FileError, FormatError

SOURCE = Source("teacher-1", "tokens-1", "beam-5", vocabulary=20, temperature=2.0, k=3, template="chat", data="train")
PLAIN = replace(SOURCE, k=0)


def batch(seed: int, rows: int = 4, length: int = 5) -> dict:
    """Completions of 0 to `length` tokens with all columns."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, length + 1, (rows,), generator=generator)
    mask = torch.arange(length)[None] < lengths[:, None]
    logits = torch.randn(rows, length, 20, generator=generator)
    ids = torch.randint(0, 20, (rows, length), generator=generator)
    law = (logits / 2).log_softmax(-1)
    return {
        "ids": ids,
        "mask": mask,
        "examples": torch.randint(0, 1000, (rows,), generator=generator),
        "truncated": torch.rand(rows, generator=generator) < 0.5,
        "scores": torch.randn(rows, generator=generator, dtype=torch.float64),
        "token_log_probs": law.gather(-1, ids[..., None])[..., 0],
        "top": top_k(logits, 3, temperature=2.0, mask=mask),
    }


def written(folder: Path, batches: list[dict], **options: object) -> TeacherCache:
    with CacheWriter(folder, SOURCE, **options) as writer:
        for one in batches:
            writer.add(**one)
    return TeacherCache(folder, expected=SOURCE)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------ what goes in comes out


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("rows_per_file", [1, 7, 1000])
def test_round_trip(tmp_path: Path, rows_per_file: int, dtype: str) -> None:
    """Every row, in any order and any number of files; padding aside."""
    batches = [batch(seed) for seed in range(6)]
    cache = written(tmp_path / "a" / "b", batches, rows_per_file=rows_per_file, dtype=dtype)
    assert len(cache) == 24
    assert cache.source == SOURCE
    assert len(files(tmp_path / "a" / "b")) == 1 + {1: 6, 7: 3, 1000: 1}[rows_per_file]
    assert cache.examples().tolist() == [n for one in batches for n in one["examples"].tolist()]
    cache.check()
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0)).tolist()
    got = cache.batch(order, pad=19)
    assert got.ids.dtype == torch.int64
    assert not (got.ids[~got.mask] != 19).any()
    assert not got.token_log_probs[~got.mask].any()
    assert got.top.temperature == 2.0
    for place, row in enumerate(order):
        one, inside = batches[row // 4], row % 4
        mask, there = one["mask"][inside], got.mask[place]
        assert got.ids[place][there].tolist() == one["ids"][inside][mask].tolist()
        assert got.examples[place] == one["examples"][inside]
        assert got.truncated[place] == one["truncated"][inside]
        assert got.scores[place] == one["scores"][inside]
        assert torch.equal(got.token_log_probs[place][there], one["token_log_probs"][inside][mask])
        assert torch.equal(got.top.ids[place][there], one["top"].ids[inside][mask])
        want = one["top"].log_probs[inside][mask]
        assert torch.equal(got.top.log_probs[place][there], want.to(getattr(torch, dtype)).float())
    student = torch.randn(24, got.ids.shape[1], 20)
    assert top_k_loss("kl", got.top, student, got.mask, temperature=2.0).isfinite()


def test_columns_are_optional(tmp_path: Path) -> None:
    """Plain sequences: nothing but tokens; the default is that rows have an end token."""
    with CacheWriter(tmp_path, PLAIN) as writer:
        writer.add(torch.tensor([[3, 0, 0], [1, 2, 0]]), torch.tensor([[True, True, False]] * 2), examples=[5, 5])
    got = TeacherCache(tmp_path, expected=PLAIN).batch([0, 1])
    assert got.ids.tolist() == [[3, 0], [1, 2]]
    assert got.mask.all()
    assert got.truncated.tolist() == [False, False]
    assert got.examples.tolist() == [5, 5]
    assert got.scores is got.token_log_probs is got.top is None


def test_empty(tmp_path: Path) -> None:
    """No rows, rows without tokens, and a batch of no rows."""
    empty = written(tmp_path / "none", [])
    assert len(empty) == 0
    assert empty.examples().shape == (0,)
    assert empty.batch([]).ids.shape == (0, 0)
    nothing = {name: (value[:0] if isinstance(value, Tensor) else value) for name, value in batch(0).items()}
    nothing["top"] = TopK(nothing["top"].ids[:0], nothing["top"].log_probs[:0], 2.0)
    assert len(written(tmp_path / "zero", [nothing])) == 0
    one = batch(0)
    one["mask"] = torch.zeros_like(one["mask"])
    cache = written(tmp_path / "short", [one])
    got = cache.batch([3, 0])
    assert got.ids.shape == (2, 0)
    assert got.top.ids.shape == (2, 0, 3)
    mixed = written(tmp_path / "mixed", [one, batch(1)]).batch([0, 4, 5, 6, 7])
    assert not mixed.mask[0].any()
    assert cache.batch([]).top.ids.shape == (0, 0, 3)


def test_many_files(tmp_path: Path) -> None:
    """More files than are held at once."""
    cache = written(tmp_path, [batch(seed, rows=1) for seed in range(30)], rows_per_file=1)
    for _ in range(2):
        assert cache.batch(range(29, -1, -1)).examples.tolist() == cache.examples().flip(0).tolist()
    assert len(cache._opened) == 8


def test_equal_bytes(tmp_path: Path) -> None:
    """The same outputs make the same files."""
    for name in ("a", "b"):
        written(tmp_path / name, [batch(0), batch(1)], rows_per_file=4)
    for name in files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_loss_from_a_cache_is_the_loss(tmp_path: Path) -> None:
    """A tiny transformer's records in single precision give the very loss and gradient that its logits give."""
    teacher, student = tiny_causal(0).eval(), tiny_causal(1).eval()
    ids = torch.randint(0, 20, (3, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6)[None] < torch.tensor([6, 4, 1])[:, None]
    source = Source(model_hash(teacher), "tokens", "data", vocabulary=20, k=5)
    with torch.no_grad():
        top = top_k(teacher(ids).logits, 5, mask=mask)
    with CacheWriter(tmp_path, source, dtype="float32") as writer:
        writer.add(ids, mask, examples=[0, 1, 2], top=top)
    held = TeacherCache(tmp_path, expected={"teacher": model_hash(teacher), "temperature": 1.0}).batch([0, 1, 2])
    for record in (top, held.top):
        student.zero_grad()
        loss = top_k_loss("js", record, student(held.ids).logits, held.mask)
        loss.backward()
        slope = student.transformer.wte.weight.grad.clone()
        if record is top:
            first, steepness = loss.item(), slope
    assert loss.item() == first
    assert torch.equal(slope, steepness)
    with pytest.raises(
        ArgumentError, match=r"expected teacher '[0-9a-f]{64}', got '[0-9a-f]{64}'\. Make the outputs again"
    ):
        TeacherCache(tmp_path, expected={"teacher": model_hash(student)})


# ------------------------------------------------------------------ another source


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("teacher", "teacher-2"),
        ("tokenizer", "tokens-2"),
        ("sampler", "exact"),
        ("vocabulary", 21),
        ("temperature", 1.0),
        ("k", 2),
        ("template", ""),
        ("data", "dev"),
    ],
)
def test_another_source(tmp_path: Path, name: str, value: object) -> None:
    """Readers and writers refuse it and name both values."""
    written(tmp_path, [batch(0)])
    other = replace(SOURCE, **{name: value})
    message = (
        rf"{tmp_path}: expected {name} {value!r}, got {getattr(SOURCE, name)!r}\. Make the outputs again with this"
    )
    for expected in (other, {name: value}):
        with pytest.raises(ArgumentError, match=message):
            TeacherCache(tmp_path, expected=expected)
    with pytest.raises(ArgumentError, match=message):
        CacheWriter(tmp_path, other, resume=True)


def test_several_differences(tmp_path: Path) -> None:
    written(tmp_path, [])
    with pytest.raises(ArgumentError, match=r"expected teacher 'x', temperature 1\.0, got 'teacher-1', 2\.0\."):
        TeacherCache(tmp_path, expected={"temperature": 1.0, "teacher": "x"})
    assert len(TeacherCache(tmp_path, expected={})) == 0
    with pytest.raises(
        ArgumentError, match=r"expected: expected one of 'teacher', .*got 'temprature'\. Did you mean 'temp"
    ):
        TeacherCache(tmp_path, expected={"temprature": 1.0})


def test_model_hash() -> None:
    """Weights, their type and the configuration count; mode and paths do not."""
    first = tiny_causal(0)
    before = model_hash(first)
    assert len(before) == 64
    first.eval()
    first.config._name_or_path = "elsewhere"
    first.config.use_cache = not first.config.use_cache
    assert model_hash(first) == before == model_hash(tiny_causal(0))
    assert model_hash(tiny_causal(1)) != before
    assert model_hash(tiny_causal(0).half()) != before
    first.config.layer_norm_epsilon = 1e-3
    assert model_hash(first) != before
    again = tiny_causal(0)
    with torch.no_grad():
        again.transformer.h[1].mlp.c_fc.bias[3] += 1e-3
    assert model_hash(again) != before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher": ""}, r"teacher: expected a name or a hash, got ''\. Use model_hash"),
        ({"sampler": None}, r"sampler: expected a name or a hash, got None"),
        ({"vocabulary": 0}, r"vocabulary: expected a number of tokens, got 0\. Count"),
        ({"vocabulary": True}, r"vocabulary: expected a number of tokens, got True"),
        ({"k": 21}, r"k: expected 0 to 20, got 21\. Use 0 for no such records"),
        ({"k": -1}, r"k: expected 0 to 20, got -1"),
        ({"temperature": 0.0}, r"temperature: expected a positive number, got 0\.0\. Use 1"),
        ({"temperature": math.nan}, r"temperature: expected a positive number, got nan"),
    ],
)
def test_refuses_sources(changed: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        replace(SOURCE, **changed)


# ------------------------------------------------------------------ damage


def test_changed_bytes(tmp_path: Path) -> None:
    """One flipped bit anywhere in a file is noticed when the file is used, in all files by `check`."""
    cache = written(tmp_path, [batch(0), batch(1)], rows_per_file=4)
    path = tmp_path / "outputs-00001.safetensors"
    data = path.read_bytes()
    for place in (0, 8, 30, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        fresh = TeacherCache(tmp_path, expected=SOURCE)
        assert fresh.batch([0]).ids.shape[0] == 1  # the other file is whole
        for use in (lambda c=fresh: c.batch([5]), fresh.check, fresh.examples):
            with pytest.raises(
                FormatError, match=r"outputs-00001.*: expected the bytes that were written, got others \(SHA"
            ):
                use()
    path.write_bytes(data)
    cache.check()


def test_truncated_and_missing_files(tmp_path: Path) -> None:
    """Seen at once by readers and by writers that resume."""
    written(tmp_path, [batch(0), batch(1)], rows_per_file=4)
    path = tmp_path / "outputs-00001.safetensors"
    data = path.read_bytes()
    for cut in (data[:-1], data[:10], b"", data + b"x"):
        path.write_bytes(cut)
        for use in (
            lambda: TeacherCache(tmp_path, expected=SOURCE),
            lambda: CacheWriter(tmp_path, SOURCE, resume=True),
        ):
            with pytest.raises(
                FormatError, match=rf"{path}: expected {len(data)} bytes, got {len(cut)}\. Restore the folder"
            ):
                use()
    path.unlink()
    with pytest.raises(
        FileError, match=rf"{path}: expected a file to read, got: No such file or directory\. Check the path"
    ):
        TeacherCache(tmp_path, expected=SOURCE)


def test_lost_while_open(tmp_path: Path) -> None:
    """A file that vanishes after the folder was opened."""
    cache = written(tmp_path, [batch(0)])
    (tmp_path / "outputs-00000.safetensors").unlink()
    with pytest.raises(FileError, match=r"outputs-00000\.safetensors: expected a file to read, got: No such file"):
        cache.batch([0])


def test_damaged_manifest(tmp_path: Path) -> None:
    """Cut, edited by hand, of another kind, of a later version, or not there."""
    written(tmp_path, [batch(0)])
    path = tmp_path / NAME
    text = path.read_text()
    document = json.loads(text)

    def refused(content: str | bytes, message: str, kind: type[Exception] = FormatError) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        for use in (
            lambda: TeacherCache(tmp_path, expected=SOURCE),
            lambda: CacheWriter(tmp_path, SOURCE, resume=True),
        ):
            with pytest.raises(kind, match=message):
                use()

    refused(
        text[: len(text) // 2], rf"{path}: expected JSON, got: .*\. Restore the folder from a copy, or make it again"
    )
    refused(b"", r"expected JSON, got")
    refused(b"\xff\xfe\x00", r"expected JSON, got")
    refused("[1]", r"expected the manifest of treeavg teacher outputs, got another file\. Name another folder")
    refused('{"a": 1}', r"expected the manifest of treeavg teacher outputs")
    refused(
        text.replace('"temperature": 2.0', '"temperature": 1.0'),
        r"expected what was written, got another text \(SHA-256\)",
    )
    refused(text.replace("teacher-1", "teacher-2"), r"expected what was written, got another text")
    refused(json.dumps({**document, "version": 2}), r"expected version 1, got 2\. Update treeavg")
    refused(
        json.dumps({key: value for key, value in document.items() if key != "sha256"}), r"expected what was written"
    )
    refused("[" * 100_000, r"expected JSON, got: ")
    for document in (
        {"shards": [{"name": "../a", "rows": 1, "tokens": 1, "size": 1, "sha256": ""}]},
        {"shards": [3]},
        {},
    ):
        text = {"format": FORMAT, "version": 1, **document}
        refused(json.dumps({**text, "sha256": _digest(text)}), r"expected what CacheWriter writes, got another text: ")
    path.unlink()
    path.mkdir()
    with pytest.raises(FileError, match=r"manifest\.json: expected a file to read, got: Is a directory"):
        TeacherCache(tmp_path, expected=SOURCE)
    with pytest.raises(FileError, match=r"manifest\.json: expected a file to read, got: No such file"):
        TeacherCache(tmp_path / "other", expected=SOURCE)


def test_a_file_that_is_no_safetensors(tmp_path: Path) -> None:
    """A manifest that lists, with the right SHA-256, what the library cannot read."""
    import hashlib

    written(tmp_path, [batch(0)])
    manifest, _ = read_manifest(tmp_path)
    shard = manifest.shards[0]
    (tmp_path / shard.name).write_bytes(b"not tensors")
    wrong = replace(shard, size=11, sha256=hashlib.sha256(b"not tensors").hexdigest())
    write_manifest(tmp_path, replace(manifest, shards=(wrong,)))
    with pytest.raises(
        FormatError, match=r"outputs-00000\.safetensors: expected a safetensors file, got: .*\. Restore"
    ):
        TeacherCache(tmp_path, expected=SOURCE).check()


# ------------------------------------------------------------------ stopped writers


class Stop(Exception):
    pass


def test_resume_after_an_error(tmp_path: Path) -> None:
    """What was added before an error stays; going on gives the rows of a writer that was never stopped."""
    batches = [batch(seed) for seed in range(5)]
    with pytest.raises(Stop), CacheWriter(tmp_path, SOURCE, rows_per_file=8) as writer:  # noqa: PT012 (leaving it is the test)
        for one in batches[:3]:
            writer.add(**one)
        assert writer.rows == 12
        raise Stop
    with pytest.raises(
        FormatError, match=rf"{tmp_path}: expected complete outputs, got 12 rows of a writer that was stopped\. Go"
    ):
        TeacherCache(tmp_path, expected=SOURCE)
    assert len(TeacherCache(tmp_path, expected=SOURCE, incomplete=True)) == 12
    with CacheWriter(tmp_path, SOURCE, rows_per_file=8, resume=True) as writer:
        assert writer.rows == 12
        for one in batches[writer.rows // 4 :]:
            writer.add(**one)
    cache = TeacherCache(tmp_path, expected=SOURCE)
    whole = written(tmp_path / "whole", batches)
    for got, want in zip(cache.batch(range(20)), whole.batch(range(20)), strict=True):
        assert (
            all(torch.equal(a, b) for a, b in zip(got[:2], want[:2], strict=True))
            if isinstance(got, TopK)
            else torch.equal(got, want)
        )


def test_resume_after_a_kill(tmp_path: Path) -> None:
    """A process that dies loses what waited; a file that is not listed yet is written anew."""
    writer = CacheWriter(tmp_path, SOURCE, rows_per_file=4)
    writer.add(**batch(0))
    writer.add(**batch(1, rows=3))  # waits
    del writer
    (tmp_path / "outputs-00001.safetensors").write_bytes(b"half of a file")
    with CacheWriter(tmp_path, SOURCE, rows_per_file=4, resume=True) as writer:
        assert writer.rows == 4
        writer.add(**batch(2))
    cache = TeacherCache(tmp_path, expected=SOURCE)
    assert cache.examples().tolist() == [*batch(0)["examples"].tolist(), *batch(2)["examples"].tolist()]


def test_resume_of_a_complete_folder(tmp_path: Path) -> None:
    """It may grow; while it does it is not complete."""
    written(tmp_path, [batch(0)])
    writer = CacheWriter(tmp_path, SOURCE, rows_per_file=1, resume=True)
    assert writer.rows == 4
    writer.add(**batch(1))
    with pytest.raises(FormatError, match="expected complete outputs"):
        TeacherCache(tmp_path, expected=SOURCE)
    writer.close()
    assert len(TeacherCache(tmp_path, expected=SOURCE)) == 8


def test_not_without_resume(tmp_path: Path) -> None:
    written(tmp_path, [batch(0)])
    with pytest.raises(
        ArgumentError, match=r"expected a folder without outputs, got one with 4 rows\. Pass resume=True"
    ):
        CacheWriter(tmp_path, SOURCE)
    with pytest.raises(ArgumentError, match=r"dtype: expected 'float16', as the folder has it, got 'float32'"):
        CacheWriter(tmp_path, SOURCE, dtype="float32", resume=True)
    with CacheWriter(tmp_path / "new", SOURCE, resume=True) as writer:
        assert writer.rows == 0


def test_two_writers(tmp_path: Path) -> None:
    """The second to write notices the first and changes nothing."""
    first = CacheWriter(tmp_path, SOURCE, rows_per_file=1)
    second = CacheWriter(tmp_path, SOURCE, rows_per_file=1, resume=True)
    first.add(**batch(0))
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(
        FileError, match=r"expected the manifest that this writer wrote, got another\. Give each process"
    ):
        second.add(**batch(1))
    assert before == {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}


def test_disk_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: an error that says so, earlier files intact, no piece left, and the writer can go on."""
    writer = CacheWriter(tmp_path, SOURCE, rows_per_file=4)
    writer.add(**batch(0))
    before = files(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(
            FileError, match=r"outputs-00001\.safetensors: expected a file to write, got: No space left"
        ):
            writer.add(**batch(1))
        assert files(tmp_path) == before
        with pytest.raises(FileError), writer:  # leaving after an error tries once more, and lets the first one through
            raise FileError("the first")
    assert len(TeacherCache(tmp_path, expected=SOURCE, incomplete=True)) == 4
    writer.close()  # the rows still wait
    assert TeacherCache(tmp_path, expected=SOURCE).examples().tolist()[4:] == batch(1)["examples"].tolist()


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"file: expected a file to write, got: File exists"):
        CacheWriter(tmp_path / "file", SOURCE)


# ------------------------------------------------------------------ what a writer refuses


def changed(**values: object) -> dict:
    return {**batch(0), **values}


def test_refuses_batches(tmp_path: Path) -> None:
    """Each error leaves what was added before as it was."""
    good = batch(0)
    good["mask"] = torch.ones_like(good["mask"])
    good["top"] = TopK(torch.arange(3).repeat(4, 5, 1), torch.full((4, 5, 3), -2.0), 2.0)
    ids, mask, top = good["ids"], good["mask"], good["top"]
    writer = CacheWriter(tmp_path, SOURCE)
    writer.add(**good)

    def refused(message: str, **values: object) -> None:
        with pytest.raises(ArgumentError, match=message):
            writer.add(**{**good, **values})
        assert writer.rows == 4

    refused(r"ids, mask: expected whole numbers and bool of one shape \(B, T\), got torch\.float32 of", ids=ids.float())
    refused(r"ids, mask: expected .* and torch\.int64 of \(4, 5\)", mask=mask.long())
    refused(r"ids, mask: expected", mask=mask[:, 1:])
    gap = mask.clone()
    gap[1, 2] = False
    refused(r"mask: expected True, then False in each row, got a gap\. Pad completions on the right", mask=gap)
    refused(r"ids: expected tokens from 0 to 19, the source's vocabulary, got \d+ to 2\d\. Check", ids=ids + 9)
    refused(r"ids: expected tokens from 0 to 19", ids=ids - 20)
    refused(r"examples: expected int64 for each of 4 rows, got torch\.int64 of shape \(3,\)", examples=[0, 1, 2])
    refused(r"examples: expected int64 for each of 4 rows, got torch\.float32", examples=[0.0, 1.0, 2.0, 3.0])
    refused(r"truncated: expected bool for each of 4 rows", truncated=torch.ones(5, dtype=torch.bool))
    refused(r"scores: expected float64 for each of 4 rows", scores=[1.0])
    refused(r"scores: expected finite numbers, got \[nan, 1\.0, 1\.0, 1\.0\]\. Leave", scores=[math.nan, 1.0, 1.0, 1.0])
    token = good["token_log_probs"]
    refused(r"token_log_probs: expected the shape of ids, \(4, 5\), got \(4, 4\)", token_log_probs=token[:, 1:])
    for value in (math.nan, -math.inf, 0.5):
        bad = token.clone()
        bad[2, 3] = value
        refused(
            r"token_log_probs: expected finite log-probabilities, got NaN, infinity or numbers above 0",
            token_log_probs=bad,
        )
    refused(r"top: expected a TopK where the source has k=3, got None\. Give what the source says", top=None)
    refused(r"top: expected the source's temperature 2, got 1\. Use the loss's", top=top._replace(temperature=1.0))
    refused(r"top: expected the source's k=3 tokens, got 2", top=TopK(top.ids[..., 1:], top.log_probs[..., 1:], 2.0))
    refused(
        r"top: expected ids and log_probs of shape \(4, 5, 'k'\), got \(3, 5, 3\)",
        top=TopK(top.ids[1:], top.log_probs[1:], 2.0),
    )
    refused(r"top\.ids: expected tokens from 0 to 19, got 21", top=TopK(top.ids + 19, top.log_probs, 2.0))
    refused(r"top\.ids: expected different tokens at each position", top=TopK(top.ids * 0, top.log_probs, 2.0))
    refused(r"top\.log_probs: expected log-probabilities, got NaN", top=TopK(top.ids, top.log_probs * math.nan, 2.0))
    refused(
        r"top\.log_probs: expected probabilities with a sum of at most 1, got 3",
        top=TopK(top.ids, top.log_probs * 0, 2.0),
    )
    for name in ("scores", "token_log_probs"):
        kept = tuple(sorted(set(OPTIONAL) - {name}))
        message = rf"add: expected the columns of earlier rows, \('scores', .*\), got \({kept[0]!r}, {kept[1]!r}\)"
        refused(message, **{name: None})
    writer.close()
    again = CacheWriter(tmp_path, SOURCE, resume=True)
    with pytest.raises(ArgumentError, match="add: expected the columns of earlier rows"):
        again.add(**{**good, "scores": None})
    plain = CacheWriter(tmp_path / "plain", PLAIN)
    with pytest.raises(ArgumentError, match=r"top: expected None where the source has k=0, got one"):
        plain.add(**good)


def test_refuses_options(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"dtype: expected one of 'float16', 'float32', got 'float8'"):
        CacheWriter(tmp_path, SOURCE, dtype="float8")
    for rows in (0, True, 1.5):
        with pytest.raises(ArgumentError, match=r"rows_per_file: expected a number of rows, got .*Use 1024"):
            CacheWriter(tmp_path, SOURCE, rows_per_file=rows)
    assert not files(tmp_path)
    cache = written(tmp_path, [batch(0)])
    for row in (-1, 4):
        with pytest.raises(ArgumentError, match=rf"rows: expected numbers from 0 to 3, got {row}\. Rows count from 0"):
            cache.batch([0, row])


def test_inputs_are_not_kept(tmp_path: Path) -> None:
    """What the caller does to its tensors after `add` changes nothing."""
    one = batch(0)
    want = one["ids"][one["mask"]].clone()
    writer = CacheWriter(tmp_path, SOURCE)
    writer.add(**one)
    for name in ("ids", "scores", "examples", "truncated"):
        one[name].zero_()
    writer.close()
    got = TeacherCache(tmp_path, expected=SOURCE).batch(range(4))
    assert torch.equal(got.ids[got.mask], want)
    assert got.scores.all()
