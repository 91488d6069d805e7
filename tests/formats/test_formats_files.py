"""Paths: a file appears whole or not at all."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

import treeavg
from treeavg import FileError, FormatError, Treebank
from treeavg.formats.files import AtomicFile, ByteSource, explain

BANK = Treebank.from_constituents([["a", "b"]], [[(0, 2)]], labels=[["S"]])
LINE = "(S a b)\n"
BAD = Treebank.from_constituents([["a b", "c"]], [[(0, 2)]])


def names(folder: Path) -> list[str]:
    """Return the names of all files in a folder, hidden ones too."""
    return sorted(os.listdir(folder))


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    """The umask decides, as for any new file."""
    before = os.umask(0o027)
    try:
        treeavg.write(BANK, tmp_path / "out.txt")
    finally:
        os.umask(before)
    assert (tmp_path / "out.txt").read_text() == LINE
    assert stat.S_IMODE((tmp_path / "out.txt").stat().st_mode) == 0o640
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("unnamed", [True, False])
def test_nothing_is_seen_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool) -> None:
    """A file has no name until it is whole; where the file system has no such files, a hidden one until then."""
    if not unnamed:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("there are no files without names here")
    for content in (b"one", b"two"):
        before = [path.name for path in tmp_path.iterdir()]
        with AtomicFile(tmp_path / "a.txt") as file:
            file.write(content)
            new = [path.name for path in tmp_path.iterdir() if path.name not in before]
            assert len(new) == (not unnamed)
            assert all(name.startswith(".a.txt.") and name.endswith(".tmp") for name in new)
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
        assert (tmp_path / "a.txt").read_bytes() == content


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    """Mode bits stay."""
    path = tmp_path / "out.txt"
    path.write_text("old")
    path.chmod(0o604)
    treeavg.write(BANK, path)
    assert path.read_text() == LINE
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_write_through_a_link(tmp_path: Path) -> None:
    """A symbolic link stays one; its target is replaced, in the target's folder. A dangling one gets a target."""
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "target.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    for _ in range(2):
        treeavg.write(BANK, link)
        assert link.is_symlink()
        assert target.read_text() == LINE
    assert names(tmp_path) == ["link.txt", "real"]
    assert names(tmp_path / "real") == ["target.txt"]


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz", "out.mrg"])
@pytest.mark.parametrize("old", [None, "as it was"])
def test_trees_that_cannot_be_written_leave_all_as_it_was(tmp_path: Path, name: str, old: str | None) -> None:
    """The old file stays whole, and no temporary file is left."""
    path = tmp_path / name
    if old is not None:
        path.write_text(old)
    with pytest.raises(FormatError, match=r"treebank\[0\]: expected a word without white space, got 'a b'"):
        treeavg.write(BAD, path)
    assert names(tmp_path) == ([name] if old else [])
    assert old is None or path.read_text() == old


def write_half(path: Path | str, error: type[BaseException]) -> None:
    """Write something and raise."""
    with AtomicFile(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz"])
def test_an_exception_while_writing(tmp_path: Path, error: type[BaseException], name: str) -> None:
    """Whatever goes wrong half-way, the old file stays and no temporary file is left."""
    path = tmp_path / name
    path.write_text("as it was")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "as it was"
    assert names(tmp_path) == [name]


def test_the_old_file_can_be_read_meanwhile(tmp_path: Path) -> None:
    """Until all is written the old content is there, so a file can be converted in place."""
    path = tmp_path / "out.txt"
    path.write_text("old")
    with AtomicFile(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("size", [10, 10_000_000])
def test_a_full_disk(size: int) -> None:
    """The path, the system's reason, and what to do; whether it comes up at once or at the end."""
    with (
        pytest.raises(FileError, match=r"^/dev/full: expected a file to write, got: No space left on device\. Free"),
        AtomicFile("/dev/full") as file,
    ):
        file.write(b"x" * size)
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_device(tmp_path: Path) -> None:
    """A device is written to, not replaced; through a link too."""
    treeavg.write(BANK, "/dev/null")
    (tmp_path / "link").symlink_to("/dev/null")
    treeavg.write(BANK, tmp_path / "link")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_by_descriptor(tmp_path: Path) -> None:
    """/dev/fd/N of a pipe, which is what a shell's >(command) and /dev/stdout are, is written to."""
    if not Path("/dev/fd").exists():
        pytest.skip("no /dev/fd here")
    read, write = os.pipe()
    try:
        treeavg.write(BANK, f"/dev/fd/{write}")
        assert os.read(read, 100) == LINE.encode()
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "Is a directory. Name a file"),
        ("absent/out.txt", "No such file or directory. Check the path"),
        ("file/out.txt", "Not a directory. Check the path"),
        ("x" * 300 + ".txt", "File name too long"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    """A directory, a missing folder, a name that is too long: the path, the reason, what to do."""
    (tmp_path / "file").write_text("as it was")
    with pytest.raises(FileError) as caught:
        treeavg.write(BANK, tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: expected a file to write, got: {message}")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["", "new/", "absent/..", "link"])
def test_paths_that_turn_out_to_be_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by fuzzing: refused when the file is opened, before another output of the same command is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(FileError, match="expected a file to write, got: Is a directory"), AtomicFile(name):
        pytest.fail("it was opened")
    assert names(tmp_path) == ["link"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOENT, "Check the path."),
        (errno.EISDIR, "Name a file, or several: folder/*.txt."),
        (errno.EACCES, "Change its permissions, or choose another path."),
        (errno.EMFILE, "Raise the limit (ulimit -n), or name fewer at once."),
        (errno.EFBIG, "Raise the limit (ulimit -f), or choose another path."),
        (errno.EIO, "Free space or choose another path."),
    ],
)
def test_advice_by_what_the_system_says(number: int, advice: str) -> None:
    said = os.strerror(number)
    assert str(explain("a", "write", OSError(number, said))) == f"a: expected a file to write, got: {said}. {advice}"


@pytest.mark.parametrize("letter", ["x", "é", "字", "😀"])
def test_names_as_long_as_the_system_takes(tmp_path: Path, letter: str) -> None:
    """The temporary file's name must not be longer than the file's own may be."""
    name = letter * (251 // len(letter.encode())) + ".txt"
    treeavg.write(BANK, tmp_path / name)
    assert names(tmp_path) == [name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_without_permission(tmp_path: Path) -> None:
    """A folder or a file without write permission."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o500)
    (tmp_path / "file").write_text("as it was")
    (tmp_path / "file").chmod(0o400)
    for path in (tmp_path / "folder" / "out.txt", tmp_path / "file"):
        with pytest.raises(
            FileError, match=r"expected a file to write, got: Permission denied\. Change its permissions"
        ):
            treeavg.write(BANK, path)
    (tmp_path / "file").chmod(0o000)
    with pytest.raises(FileError, match=r"expected a file to read, got: Permission denied\. Change its permissions"):
        treeavg.read(tmp_path / "file")


def test_standard_output_is_held_back(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Nothing appears before all is written, and nothing at all after an exception."""
    with AtomicFile("-") as file:
        file.write(b"one\n")
        assert capfdbinary.readouterr().out == b""
    assert capfdbinary.readouterr().out == b"one\n"
    with pytest.raises(RuntimeError):
        write_half("-", RuntimeError)
    assert capfdbinary.readouterr().out == b""


def test_standard_output_after_other_output(capfd: pytest.CaptureFixture[str]) -> None:
    """What was printed before comes before."""
    print("first")
    treeavg.write(BANK, "-")
    sys.stdout.flush()
    assert capfd.readouterr().out == f"first\n{LINE}"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_file_that_is_given_up_gets_no_end(suffix: str, tmp_path: Path) -> None:
    """Whoever reads the pipe sees that it is not whole; and no compressor complains later that its file is closed."""
    if suffix == ".zst":
        pytest.importorskip("zstandard")
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    file = AtomicFile(path)

    def give_up() -> None:
        with file:
            file.write(os.urandom(300_000))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        give_up()
    reader.join()
    assert len(read[0]) > 100_000
    assert getattr(file._compressed, "closed", False)
    (tmp_path / f"half{suffix}").write_bytes(read[0])
    with pytest.raises(FormatError, match="ended before"), closing(ByteSource(tmp_path / f"half{suffix}")) as source:
        list(iter(source.read, b""))


def test_gzip_in_pieces(tmp_path: Path) -> None:
    """Pieces make one compressed file."""
    with AtomicFile(tmp_path / "out.gz") as file:
        file.write(b"one\n")
        file.write(b"two\n")
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == b"one\ntwo\n"


def test_strings_and_paths(tmp_path: Path) -> None:
    """A path may be a string or a Path, absolute or not."""
    treeavg.write(BANK, str(tmp_path / "out.txt"))
    assert treeavg.read(str(tmp_path / "out.txt")) == treeavg.read(tmp_path / "out.txt") == BANK
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        treeavg.write(BANK, "plain.txt")
        assert treeavg.read("plain.txt") == BANK
    finally:
        os.chdir(before)
