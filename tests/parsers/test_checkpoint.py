"""Files of tensors and checkpoints: every changed byte is noticed, nothing is ever half written."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from messages import says
from safetensors.torch import load_file, save_file

from parsers.json_files import canonical_json, read_json, write_json
from parsers.storage import DTYPES, DamagedFileError, read_tensors, write_tensors
from parsers.training.checkpoint import Checkpoints
from treeavg.errors import ArgumentError, FileError, FormatError
from treeavg.formats.files import file_digest


def some_tensors() -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(3)
    tensors = {str(dtype): (100 * torch.rand(3, 5, generator=made)).to(dtype) for dtype in DTYPES}
    tensors["scalar"] = torch.tensor(7.0)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["turned"] = torch.arange(6).reshape(2, 3).T
    tensors["bits"] = torch.tensor([float("nan"), -0.0, float("inf"), 1e-45])
    return tensors


def full_disk(monkeypatch: pytest.MonkeyPatch, *, calls: int = 1) -> None:
    """The `calls`-th fsync of a file, and all later ones, say that the disk is full."""
    real, seen = os.fsync, [0]

    def fsync(handle: int) -> None:
        seen[0] += 1
        if seen[0] >= calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


# ---------------------------------------------------------------------- files of tensors


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """All dtypes and shapes, bit for bit; and the safetensors library reads the same file."""
    path, tensors = tmp_path / "a.safetensors", some_tensors()
    document = {"text": "über \u2028 \ud800", "list": [1, 2.5, None, True], "nested": {"a": {}}}
    digest = write_tensors(path, tensors, document)
    assert digest == file_digest(path)
    found, back = read_tensors(path)
    assert back == document
    for other in (found, load_file(path)):
        assert other.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert other[name].dtype == tensor.dtype
            assert other[name].shape == tensor.shape
            assert (
                other[name].numpy(force=True).tobytes() == tensor.numpy(force=True).tobytes()
                if (tensor.dtype != torch.bfloat16)
                else torch.equal(other[name], tensor)
            )


def test_equal_content_gives_equal_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_tensors(first, {"x": torch.ones(2), "y": torch.zeros(1)}, {"b": 1, "a": 2})
    write_tensors(second, {"y": torch.zeros(1), "x": torch.ones(2)}, {"a": 2, "b": 1})
    assert first.read_bytes() == second.read_bytes()


def test_tensors_are_read_into_memory_of_their_own(tmp_path: Path) -> None:
    """The file may go or change afterwards."""
    path = tmp_path / "a"
    write_tensors(path, {"x": torch.arange(1000)}, {})
    tensors, _ = read_tensors(path)
    with path.open("r+b") as file:
        file.truncate(0)
    assert torch.equal(tensors["x"], torch.arange(1000))


@pytest.mark.parametrize("change", [1, 0x20, 0x80])
def test_any_flipped_byte_is_noticed(tmp_path: Path, change: int) -> None:
    """In the length, in the header (its digest and its padding too), in the tensors: an error, never other numbers."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.arange(5), "y": torch.ones(3)}, {"step": 7})
    whole = path.read_bytes()
    assert b"  " in whole  # there is padding
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= change
        path.write_bytes(broken)
        with says((DamagedFileError, FormatError), "a.safetensors: expected "):
            read_tensors(path)


def test_spaces_that_become_line_breaks_are_noticed(tmp_path: Path) -> None:
    """JSON would not care, the digest does."""
    path = tmp_path / "a"
    write_tensors(path, {"x": torch.arange(5)}, {"step": 7})
    whole = path.read_bytes()
    size = 8 + struct.unpack("<Q", whole[:8])[0]
    assert whole[size - 1 : size] == b" "
    path.write_bytes(whole[: size - 1] + b"\n" + whole[size:])
    with says(DamagedFileError, "SHA-256"):
        read_tensors(path)


def test_any_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.arange(5)}, {})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with says(DamagedFileError, "expected the bytes that were written, got what is no safetensors"):
            read_tensors(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(DamagedFileError):
        read_tensors(path)


def test_garbage_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for garbage in (b"", b"(S (A a))\n", b"\xff" * 100, struct.pack("<Q", 2**40) + b"{}", b"\x00" * 16):
        path.write_bytes(garbage)
        with says(DamagedFileError, "no safetensors file (", "). Restore the file from a copy, or make"):
            read_tensors(path)
    save_file({"x": torch.ones(1)}, path)
    with says(FormatError, "expected a file of treeavg's, got safetensors without its document and SHA"):
        read_tensors(path)
    save_file({"x": torch.ones(1)}, path, metadata={"document": "{}", "sha256": ""})
    with says(DamagedFileError, "got others"):
        read_tensors(path)
    with says(FileError, "nothing: expected a file to read, got: No such file or directory. Check the"):
        read_tensors(tmp_path / "nothing")
    with says(FileError, "expected a file to read, got: Is a directory"):
        read_tensors(tmp_path)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with says(ArgumentError, "x: dtype: expected one of 'torch.float64', ", ", got 'torch.complex64'."):
        write_tensors(path, {"x": torch.zeros(1, dtype=torch.complex64)}, {})
    for value in (float("nan"), {1, 2}, b"x"):
        with says(FormatError, "value: expected what JSON can hold, got: "):
            write_tensors(path, {}, {"a": value})
        with says(FormatError, "value: expected what JSON can hold, got: "):
            write_json(path, {"a": value})
    assert not list(tmp_path.iterdir())


def test_json_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": "ü\ud800", "a": [1, {"d": 1, "c": 2}]})
    assert read_json(path) == {"a": [1, {"c": 2, "d": 1}], "b": "ü\ud800"}
    assert [line.strip()[:3] for line in path.read_bytes().splitlines()] == [
        b"{", b'"a"', b"1,", b"{", b'"c"', b'"d"', b"}", b"],", b'"b"', b"}",
    ]  # fmt: skip
    path.write_text("[1]")
    with says(FormatError, "a.json: expected a JSON object, got [1]. Restore the file from a copy"):
        read_json(path)
    path.write_text("[" * 100_000)
    with says(FormatError, "expected a JSON object, got: "):
        read_json(path)
    path.write_bytes(b"\xff{}")
    with says(FormatError, "expected a JSON object, got: 'utf-8' codec"):
        read_json(path)
    with says(FileError, "expected a file to read"):
        read_json(tmp_path / "none")
    assert canonical_json({"ü": 1}) == '{"\\u00fc":1}'


# ---------------------------------------------------------------------- checkpoints


def write(checkpoints: Checkpoints, *steps: int) -> None:
    for step in steps:
        checkpoints.write(step, {"x": torch.full((4,), float(step))}, {"run": "toy"})


def flip(path: Path, place: int = -1) -> None:
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    write(checkpoints, 5, 10, 15, 20)
    assert names(tmp_path / "c") == ["step-00000015.safetensors", "step-00000020.safetensors"]
    notes: list[str] = []
    found = Checkpoints(tmp_path / "c").read_latest(notes.append)
    assert found is not None
    assert found[0]["x"].tolist() == [20.0] * 4
    assert found[1] == {"format": 1, "run": "toy", "step": 20, "treeavg": "checkpoint"}
    assert not notes


def test_one_that_is_read_is_kept_beside_the_next(tmp_path: Path) -> None:
    write(Checkpoints(tmp_path), 5, 10)
    again = Checkpoints(tmp_path)
    again.read_latest(print)
    write(again, 15)
    assert names(tmp_path) == ["step-00000010.safetensors", "step-00000015.safetensors"]


def test_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    """With a line that says so; it goes when a new good one is there, even of an earlier step."""
    write(Checkpoints(tmp_path), 5, 10)
    flip(tmp_path / "step-00000010.safetensors")
    again, notes = Checkpoints(tmp_path), []
    found = again.read_latest(notes.append)
    assert found is not None
    assert found[1]["step"] == 5
    assert notes == [
        f"{tmp_path}/step-00000010.safetensors: expected the bytes that were written, got others (SHA-256). "
        "Using the checkpoint before it, step-00000005.safetensors."
    ]
    write(again, 7)
    assert names(tmp_path) == ["step-00000005.safetensors", "step-00000007.safetensors"]


def test_all_damaged(tmp_path: Path) -> None:
    write(Checkpoints(tmp_path), 5, 10)
    flip(tmp_path / "step-00000010.safetensors")
    (tmp_path / "step-00000005.safetensors").write_bytes(b"")
    notes: list[str] = []
    with pytest.raises(DamagedFileError) as caught:
        Checkpoints(tmp_path).read_latest(notes.append)
    assert re.fullmatch(
        r"\S+step-00000005\.safetensors: expected the bytes that were written, got what is no safetensors "
        r"file \(.*\)\. No other checkpoint is left: train anew in another folder\.",
        str(caught.value),
    )
    assert len(notes) == 1


def test_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").read_latest(print) is None
    (tmp_path / "step-1.txt").write_text("")
    assert Checkpoints(tmp_path).read_latest(print) is None


def test_another_format(tmp_path: Path) -> None:
    write_tensors(tmp_path / "step-00000001.safetensors", {}, {"treeavg": "checkpoint", "format": 2})
    with says(FormatError, "001.safetensors: expected a checkpoint of format 1, got 2. Resume it with"):
        Checkpoints(tmp_path).read_latest(print)


def test_debris_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    write(Checkpoints(tmp_path), 5)
    (tmp_path / ".step-00000009.safetensors.abc.tmp").write_bytes(b"half")
    (tmp_path / ".mine").write_text("mine")
    Checkpoints(tmp_path).remove_debris()
    assert names(tmp_path) == [".mine", "step-00000005.safetensors"]


def test_a_full_disk_leaves_the_old_one_and_no_debris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 5)
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.raises(FileError) as caught:
            write(checkpoints, 10)
    assert str(caught.value) == (
        f"{tmp_path}/step-00000010.safetensors: expected a place for a checkpoint of 0.0 MB, got: No space left on "
        "device. Make room there, then pass resume=True: the run continues from step-00000005.safetensors."
    )
    assert names(tmp_path) == ["step-00000005.safetensors"]
    write(checkpoints, 10)
    assert names(tmp_path) == ["step-00000005.safetensors", "step-00000010.safetensors"]


def test_a_full_disk_at_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch)
    with says(FileError, "Make room there, then pass resume=True: the run begins anew."):
        write(Checkpoints(tmp_path / "new"), 10)
    assert names(tmp_path / "new") == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with says(FileError, "expected a place for a checkpoint of 0.0 MB, got: Not a directory"):
        write(Checkpoints(tmp_path / "file" / "c"), 1)


LIMITED = """
import os, sys, torch
from pathlib import Path
from parsers.training.checkpoint import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.write(1, {"x": torch.zeros(1000)}, {})
try:
    checkpoints.write(2, {"x": torch.zeros(1_000_000)}, {})
except OSError as error:
    print(error)
print(sorted(os.listdir(sys.argv[1])))
"""


def limited(folder: Path, size: int) -> list[str]:
    """Write a small and a large checkpoint in a process whose files may not grow beyond `size` bytes."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, os.fspath(folder)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    return done.stdout.splitlines()


def test_a_write_that_fails_half_way(tmp_path: Path) -> None:
    """The system refuses after a megabyte: the earlier checkpoint is intact, and no piece of the new one is left."""
    message, left = limited(tmp_path, 1_000_000)
    assert "expected a place for a checkpoint of 4.0 MB, got: File too large. Make room there, then pass res" in message
    assert left == "['step-00000001.safetensors']"


@pytest.mark.slow
def test_a_file_system_that_is_full(tmp_path: Path) -> None:
    """A real one of two megabytes, where mounting is allowed."""
    place = tmp_path / "small"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        message, left = limited(place, resource.RLIM_INFINITY)
        assert "expected a place for a checkpoint of 4.0 MB, got: No space left on device. Make room there" in message
        assert left == "['step-00000001.safetensors']"
        assert json.loads(canonical_json(read_tensors(place / "step-00000001.safetensors")[1]))["step"] == 1
    finally:
        subprocess.run(["umount", place], check=True)
