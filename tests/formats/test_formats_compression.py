"""Compressed files in and out: gzip and Zstandard."""

from __future__ import annotations

import builtins
import gzip
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

import treeavg
from treeavg import ArgumentError, FormatError, LimitError, Treebank
from treeavg.formats import FORMATS, format_of, limits
from treeavg.formats.files import AtomicFile, ByteSource

TREE = b"(S (NP (DT the) (NN dog)) (VP (VBZ barks)))\n"
BANK = Treebank.from_constituents([["the", "dog", "barks"]] * 50, [[(0, 3), (0, 2)]] * 50)


def zstd(data: bytes) -> bytes:
    """Compress as the command line tool does, with a checksum."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd}
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.decompress,
    "zst": lambda data: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read(),
}
MESSAGES = {"gz": "gzip", "zst": "zstd"}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", ["gz", "zst", "GZ", "ZST"])
@pytest.mark.parametrize("name", ["txt", "mrg", "jsonl", "dbr", "export"])
def test_there_and_back(tmp_path: Path, suffix: str, name: str) -> None:
    """What was written is read; the suffix before decides about the format; equal content gives equal bytes."""
    one, two = tmp_path / f"one.{name}.{suffix}", tmp_path / f"two.{name}.{suffix}"
    treeavg.write(BANK, one)
    treeavg.write(BANK, two)
    assert one.read_bytes() == two.read_bytes()
    assert UNPACK[suffix.lower()](one.read_bytes()) == FORMATS[format_of(f"a.{name}").name].serialize(BANK)
    assert treeavg.read(one).same_trees(treeavg.read(one))
    assert len(treeavg.read(one)) == 50


@pytest.mark.parametrize("suffix", PACK)
def test_several_members(tmp_path: Path, suffix: str) -> None:
    """Compressed files that were put end to end read as one, whatever the member in which a tree ends."""
    pack = PACK[suffix]
    data = pack(TREE * 3) + pack(TREE[:10]) + pack(b"") + pack(TREE[10:] + TREE)
    assert len(treeavg.read(write(tmp_path / f"a.txt.{suffix}", data))) == 5


def test_frames_that_are_skipped(tmp_path: Path) -> None:
    """Zstandard has frames that hold no data; they are passed over."""
    note = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert len(treeavg.read(write(tmp_path / "a.txt.zst", note + zstd(TREE) + note + zstd(TREE)))) == 2


def test_what_the_tool_wrote(tmp_path: Path) -> None:
    """A long frame of many blocks, written in a stream without its size."""
    data = b"".join(b"(S (A a%d) (B b))\n" % number for number in range(60_000))
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    path = write(tmp_path / "a.txt.zst", compressor.compress(data) + compressor.flush())
    assert len(treeavg.read(path)) == 60_000


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:3],
        lambda raw: raw[:20] + bytes(40) + raw[60:],
        lambda raw: TREE,
        lambda raw: raw + b"(S a b)\n",
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
    ],
    ids=["last byte", "half", "three bytes", "damaged", "plain", "something behind", "checksum"],
)
def test_damaged(tmp_path: Path, suffix: str, change: Callable[[bytes], bytes]) -> None:
    """Data that is cut, damaged or none is named, in one line, and nothing is read from it in silence."""
    raw = PACK[suffix](b"".join(b"(S (A a%d) (B b))\n" % number for number in range(500)))
    path = write(tmp_path / f"a.txt.{suffix}", change(raw))
    with pytest.raises(FormatError) as caught:
        treeavg.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected {MESSAGES[suffix]} data, got: ")
    assert message.endswith(". Compress the file again.")
    assert "\n" not in message


def test_the_cut_is_named(tmp_path: Path) -> None:
    """A truncated Zstandard file, of which the package itself would return what there is."""
    path = write(tmp_path / "a.txt.zst", zstd(TREE * 500)[:-4])
    with pytest.raises(FormatError, match=r"expected zstd data, got: the file ended before the data did\. Compress"):
        treeavg.read(path)


@pytest.mark.parametrize("suffix", PACK)
def test_empty(tmp_path: Path, suffix: str) -> None:
    """A file without a byte, and one that holds nothing."""
    for data in (b"", PACK[suffix](b"")):
        with pytest.raises(FormatError, match="expected at least one tree, got an empty file"):
            treeavg.read(write(tmp_path / f"a.txt.{suffix}", data))


@pytest.mark.parametrize(
    ("suffix", "message"),
    [("gz", "got gzip data. Name the file .gz, or pipe it through gunzip."),
     ("zst", "got zstd data. Name the file .zst, or pipe it through zstd -d.")],
)  # fmt: skip
def test_without_its_suffix(tmp_path: Path, suffix: str, message: str) -> None:
    """Compressed data under another name is called so."""
    path = write(tmp_path / "a.txt", PACK[suffix](TREE))
    with pytest.raises(FormatError) as caught:
        treeavg.read(path)
    assert str(caught.value) == f"{path}:1:1: expected text, {message}"


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said; nothing is written, and the file is closed."""
    path = write(tmp_path / "a.txt.zst", zstd(TREE))
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "zstandard":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    for call in (lambda: treeavg.read(path), lambda: treeavg.write(BANK, tmp_path / "b.txt.zst")):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert str(caught.value).endswith(
            ".zst: expected the package zstandard, to read and write .zst, got none. Run: pip install 'treeavg[scale]'."
        )
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt.zst"]


def test_the_package_is_loaded_late() -> None:
    """Reading and writing other files loads neither zstandard nor pyarrow."""
    code = (
        "import sys, treeavg.formats.reading; print([name for name in ('zstandard', 'pyarrow') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ------------------------------------------------------------------ bombs


@pytest.mark.parametrize("suffix", PACK)
def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """Data that expands beyond measure is refused once enough has come out, and can be allowed."""
    monkeypatch.setattr(limits, "FREE", 1 << 20)
    path = write(tmp_path / f"a.txt.{suffix}", PACK[suffix](b"(S a b)\n" * (1 << 18)))
    ratio = (8 << 18) / path.stat().st_size
    assert ratio > 200
    with pytest.raises(LimitError) as caught:
        treeavg.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected at most 200 bytes from each compressed byte, got ")
    assert message.endswith("To read it all the same, set TREEAVG_MAX_EXPANSION=0 (no limit).")
    monkeypatch.setenv(limits.EXPANSION_VARIABLE, str(ratio * 1.1))
    assert len(treeavg.read(path)) == 1 << 18
    monkeypatch.setenv(limits.EXPANSION_VARIABLE, "0")
    assert len(treeavg.read(path)) == 1 << 18


def test_small_files_may_expand(tmp_path: Path) -> None:
    """Below some hundred megabytes the ratio does not matter."""
    path = write(tmp_path / "a.txt.gz", gzip.compress(b"(S a b)\n" * (1 << 17)))
    assert (8 << 17) / path.stat().st_size > 200
    assert len(treeavg.read(path)) == 1 << 17


def test_a_bomb_of_one_line(tmp_path: Path) -> None:
    """A gigabyte of one letter is given up after 64 MiB, in any kind of compression."""
    compressor = zstandard.ZstdCompressor().compressobj()
    data = b"".join(compressor.compress(bytes([65]) * (1 << 24)) for _ in range(64)) + compressor.flush()
    path = write(tmp_path / "a.txt.zst", data)
    with pytest.raises(LimitError, match=r"a\.txt\.zst:1: expected a line of at most 64 MiB, got a longer one"):
        treeavg.read(path)


def test_blocks_of_a_bomb_are_small(tmp_path: Path) -> None:
    """Not all of a Zstandard bomb is unpacked at once."""
    compressor = zstandard.ZstdCompressor().compressobj()
    data = b"".join(compressor.compress(bytes(1 << 24)) for _ in range(32)) + compressor.flush()
    source = ByteSource(write(tmp_path / "a.zst", data))
    assert 0 < len(source.read(1000)) < 140 << 20
    source.close()


def write_half(path: Path) -> None:
    with AtomicFile(path) as file:
        file.write(b"half")
        raise RuntimeError


def test_an_error_while_writing(tmp_path: Path) -> None:
    """The old file stays."""
    path = write(tmp_path / "a.zst", b"as it was")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_bytes() == b"as it was"
    assert len(list(tmp_path.iterdir())) == 1


def test_small_data_that_becomes_much_comes_in_the_size_asked_for(tmp_path: Path) -> None:
    """A few bytes of Zstandard hold megabytes: no block is larger than what was asked for, and nothing is lost."""
    path = tmp_path / "a.txt.zst"
    content = (b"a" * 79 + b"\n") * 200_000
    path.write_bytes(zstandard.ZstdCompressor().compress(content) * 2)
    assert path.stat().st_size < 1024 * 3
    source, blocks = ByteSource(path), []
    while block := source.read(1 << 16):
        blocks.append(block)
    source.close()
    assert max(map(len, blocks)) == 1 << 16
    assert b"".join(blocks) == content * 2
