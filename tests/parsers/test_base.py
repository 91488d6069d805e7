"""What every parser shares: its folder, its device, its sentences."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from messages import says
from torch import Tensor, nn

import treeavg
from parsers import base, json_files
from parsers.base import Parser, as_sentences, load, resolve_device
from parsers.storage import DamagedFileError
from parsers.weights import load_weights, quote_names
from treeavg import DependencyTreebank, Treebank
from treeavg.errors import ArgumentError, FileError, FormatError


class ToyParser(Parser):
    """Right-branching, with a number to remember."""

    kind = "toy"

    def __init__(self, value: float = 1.0, words: Sequence[str] = ("ü",)) -> None:
        self.weight = torch.full((3, 2), value)
        self.words = list(words)

    def parse(self, sentences: Any, *, batch_tokens: int = 4096, device: Any = "auto") -> Treebank:
        resolve_device(device)
        words = as_sentences(sentences)
        return Treebank.from_constituents(words, [[(i, len(s)) for i in range(len(s) - 1)] for s in words])

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {"config": {"size": 2}, "text": {"words": self.words}}, {"weight": self.weight}

    @classmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> ToyParser:
        parser = cls(words=document["text"]["words"])
        parser.weight = tensors["weight"]
        return parser


class OtherParser(ToyParser):
    kind = "other"


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base.KINDS, "toy", f"{__name__}:ToyParser")
    monkeypatch.setitem(base.KINDS, "other", f"{__name__}:OtherParser")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# ---------------------------------------------------------------------- folders


def test_save_and_load(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "student"
    ToyParser(2.5, ["a", "\ud800"]).save(folder)
    assert names(folder) == ["parser.json", "weights.safetensors"]
    for back in (load(folder), load(str(folder)), ToyParser.load(folder)):
        assert type(back) is ToyParser
        assert back.words == ["a", "\ud800"]
        assert torch.equal(back.weight, torch.full((3, 2), 2.5))
    document = json.loads((folder / "parser.json").read_bytes().decode("utf-8", "surrogatepass"))
    assert document["treeavg"] == "parser"
    assert (document["format"], document["kind"], document["version"]) == (1, "toy", treeavg.__version__)
    assert document["config"] == {"size": 2}
    assert document["weights"].keys() == {"file", "sha256"}
    assert list(document) == sorted(document)


def test_equal_parsers_give_equal_files(tmp_path: Path) -> None:
    ToyParser().save(tmp_path / "a")
    ToyParser().save(tmp_path / "b")
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_saving_over_an_older_one(tmp_path: Path) -> None:
    """Replaced, again and again; other files in the folder stay."""
    (tmp_path / "run").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    for value, file in ((1.0, "weights.safetensors"), (2.0, "weights-2.safetensors"), (3.0, "weights.safetensors")):
        ToyParser(value).save(tmp_path)
        assert names(tmp_path) == ["notes.txt", "parser.json", "run", file]
        assert torch.equal(ToyParser.load(tmp_path).weight, torch.full((3, 2), value))


def test_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    ToyParser(2.0).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert torch.equal(ToyParser.load(tmp_path / "real").weight, torch.full((3, 2), 2.0))


@pytest.mark.parametrize("text", ["{}", '{"treeavg": "run"}', "[", "text"])
def test_a_parser_json_of_something_else_is_not_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "parser.json").write_text(text)
    with says(ArgumentError, "parser.json: expected none, or one that treeavg saved, got another file."):
        ToyParser().save(tmp_path)
    assert names(tmp_path) == ["parser.json"]
    assert (tmp_path / "parser.json").read_text() == text


def test_a_damaged_parser_can_be_replaced(tmp_path: Path) -> None:
    ToyParser().save(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    ToyParser(2.0).save(tmp_path)
    assert torch.equal(ToyParser.load(tmp_path).weight, torch.full((3, 2), 2.0))


@pytest.mark.parametrize("calls", [1, 3])
def test_a_full_disk_leaves_the_old_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """At the weights (first sync) or at parser.json (third, after that of the folder)."""
    ToyParser(1.0).save(tmp_path / "old")
    before = {name: (tmp_path / "old" / name).read_bytes() for name in names(tmp_path / "old")}
    real, seen = os.fsync, [0]

    def fsync(handle: int) -> None:
        seen[0] += 1
        if seen[0] >= calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    file = "weights-2.safetensors" if calls == 1 else "parser.json"
    with pytest.raises(FileError) as caught:
        ToyParser(2.0).save(tmp_path / "old")
    assert str(caught.value) == (
        f"{tmp_path}/old/{file}: expected a file to write, got: No space left on device. "
        "Free space or choose another path."
    )
    assert {name: (tmp_path / "old" / name).read_bytes() for name in names(tmp_path / "old")} == before
    seen[0] = 0
    with says(FileError, "No space left on device"):
        ToyParser(2.0).save(tmp_path / "new")
    assert names(tmp_path) == ["old"]


KILLED = """
import os, signal, sys
import torch
from test_base import ToyParser

def killing(moment):
    done = 0
    def counted(real):
        def call(*arguments, **options):
            nonlocal done
            done += 1
            if done == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        return call
    for name in ("fsync", "replace", "unlink", "open", "fchmod", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))

moment, killed = 0, True
while killed:
    moment += 1
    folder = f"{sys.argv[1]}/{moment}"
    if not (child := os.fork()):
        ToyParser(1.0).save(folder)
        killing(moment)
        ToyParser(2.0).save(folder)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    print(int(killed), ToyParser.load(folder).weight[0, 0].item())
"""


def test_killed_at_any_moment_of_a_save(tmp_path: Path) -> None:
    """SIGKILL at each system call in turn: the folder holds the old parser or the new one, whole."""
    folders = [ROOT, ROOT / "tests", ROOT / "tests" / "parsers"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.fspath, folders))}
    script = [sys.executable, "-c", KILLED, os.fspath(tmp_path)]
    done = subprocess.run(script, check=True, capture_output=True, text=True, env=environment)
    found = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    assert found == sorted(found, key=lambda pair: (-pair[0], pair[1]))  # old ones, new ones, one that was not killed
    assert {pair: found.count(pair) for pair in set(found)}.keys() == {(1, 1), (1, 2), (0, 2)}
    assert len(found) > 10


def test_what_is_no_parser(tmp_path: Path) -> None:
    with says(FileError, "none: expected a parser's folder, got: No such file or directory. Check the pa"):
        load(tmp_path / "none")
    with says(FormatError, "expected a parser's folder, got one without parser.json. Check the path."):
        load(tmp_path)
    (tmp_path / "file").write_text("")
    with says(FileError, "file: expected a parser's folder, got: Not a directory."):
        load(tmp_path / "file")
    with says(FileError, "file: expected a folder to write into, got: File exists. Choose another path."):
        ToyParser().save(tmp_path / "file")
    (tmp_path / "parser.json").write_text("{")
    with says(FormatError, "parser.json: expected a JSON object, got: "):
        load(tmp_path)
    for text in ("{}", '{"treeavg": "run", "kind": "toy"}', '{"treeavg": "parser", "kind": 3}'):
        (tmp_path / "parser.json").write_text(text)
        with says(FormatError, "parser.json: expected a parser that treeavg saved, got another file."):
            load(tmp_path)


def rewritten(folder: Path, **changes: Any) -> None:
    """Change parser.json as another version would have written it, checksum included."""
    document = json.loads((folder / "parser.json").read_text())
    document.pop("checksum")
    document.update(changes)
    (folder / "parser.json").write_text(json.dumps({**document, "checksum": base._checksum(document)}))


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_number(tmp_path: Path, number: object) -> None:
    ToyParser().save(tmp_path)
    rewritten(tmp_path, format=number, version="9.9")
    with says(
        FormatError,
        f"parser.json: expected format 1, got {number!r}, written by treeavg 9.9. Load it with that version, or",
    ):
        load(tmp_path)


def test_unknown_and_other_kinds(tmp_path: Path) -> None:
    ToyParser().save(tmp_path)
    with says(FormatError, "expected a parser of the kind 'other', got 'toy'. Load it with parsers.load"):
        OtherParser.load(tmp_path)
    rewritten(tmp_path, kind="spam")
    with says(FormatError, "parser.json: kind: expected one of ", "'span'", ", got 'spam'. Load it with the"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({"text": None}, "got \"'NoneType' object is not subscriptable\"."),
        ({"text": {}}, "got none of 'words'."),
        ({"weights": []}, "got 'list indices must be integers or slices, not str'."),
        ({"weights": {"file": "../other/weights.safetensors"}}, "weights in weights.safetensors or weights-2"),
    ],
)
def test_a_document_written_by_hand(tmp_path: Path, changes: dict[str, Any], got: str) -> None:
    """Its checksum is right, its content is not: no traceback, and no file outside of the folder is read."""
    ToyParser().save(tmp_path)
    rewritten(tmp_path, **changes)
    with says(FormatError, "parser.json: expected ", got, "Restore the folder from a copy"):
        load(tmp_path)
    (tmp_path / "parser.json").write_text(
        '{"treeavg": "parser", "kind": "toy", "format": 1, "checksum": 1e999, "a": 1e999}'
    )
    with says(DamagedFileError, "parser.json: expected the bytes that were written, got others (SHA-256)."):
        load(tmp_path)


def test_a_document_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ToyParser().save(tmp_path)
    monkeypatch.setattr(json_files, "LIMIT", 100)
    with says(FormatError, "parser.json: expected at most 100 bytes, got more. Is it a JSON file of treeavg's?"):
        load(tmp_path)


def test_any_flipped_byte_is_noticed(tmp_path: Path) -> None:
    ToyParser().save(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), 3):
            broken = bytearray(whole)
            broken[place] ^= 1
            path.write_bytes(broken)
            try:
                ToyParser.load(tmp_path)
            except (FileError, FormatError):
                pass
            else:  # JSON does not care which white space it is
                assert json.loads(whole) == json.loads(bytes(broken))
        path.write_bytes(whole)
    (tmp_path / "parser.json").write_text((tmp_path / "parser.json").read_text().replace("ü", "u"))
    with says(DamagedFileError, "parser.json: expected the bytes that were written, got others (SHA-256"):
        load(tmp_path)


def test_weights_that_are_not_its_own(tmp_path: Path) -> None:
    ToyParser(1.0).save(tmp_path / "a")
    ToyParser(2.0).save(tmp_path / "b")
    (tmp_path / "b" / "weights.safetensors").replace(tmp_path / "a" / "weights.safetensors")
    with says(FileError, "expected the weights that parser.json names, got those of another parser. Rest"):
        load(tmp_path / "a")
    with says(FileError, "weights.safetensors: expected a file to read, got: No such file or directory"):
        load(tmp_path / "b")


def test_a_state_with_the_folders_own_keys(tmp_path: Path) -> None:
    class Bad(ToyParser):
        def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
            return {"kind": 1, "format": 2}, {}

    with says(ArgumentError, "_state: expected keys other than ['format', 'kind'], which save() wr"):
        Bad().save(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_table_of_kinds_is_lazy() -> None:
    code = "import sys, parsers.base; print(*sorted(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    loaded = set(done.stdout.split())
    assert not loaded & {"transformers", "accelerate", "matplotlib", "benepar", "nltk"}
    assert not loaded & {place.partition(":")[0] for place in base.KINDS.values()}


# ---------------------------------------------------------------------- weights, devices, sentences


def test_load_weights() -> None:
    layer = nn.Linear(2, 1)
    load_weights(layer, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, "student")
    assert torch.equal(layer.weight, torch.ones(1, 2))
    with says(FormatError, "student: expected weights for bias, weight, got none. Restore the folder"):
        load_weights(layer, {}, "student")
    with says(FormatError, "student: expected no weights beyond the model's, got a. Restore the folder"):
        load_weights(layer, {**layer.state_dict(), "a": torch.ones(1)}, "student")
    with says(FormatError, "student: weight: expected the shape (1, 2), got (2, 2). Restore the fol"):
        load_weights(layer, {"weight": torch.ones(2, 2), "bias": torch.zeros(1)}, "student")
    assert quote_names(list("abcdef")) == "a, b, c, d and 2 more"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device() == torch.device("cpu")
    with says(ArgumentError, "device: expected one of the 0 CUDA devices of this machine, got 'cuda'. P"):
        resolve_device("cuda")
    for unknown in ("gpu", "meta", "", "cuda:x"):
        with says(ArgumentError, "device: expected one of 'auto', 'cpu', 'cuda', 'cuda:1', got"):
            resolve_device(unknown)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with says(ArgumentError, "device: expected one of the 2 CUDA devices of this machine, got 'cuda:2'."):
        resolve_device("cuda:2")


def test_sentences() -> None:
    words = [["the", "dog", "barks"], [], ["go"]]
    assert as_sentences(words) == words
    assert as_sentences(words) is not words
    assert as_sentences(tuple(map(tuple, words))) == words
    assert as_sentences([]) == []
    assert as_sentences(Treebank.from_constituents(words, [[], [], []])) == words
    heads = DependencyTreebank.from_heads([[2, 3, 0], [], [0]], tokens=words)
    assert as_sentences(heads) == words
    with says(ArgumentError, "sentences: expected a treebank with words, got one with lengths only. Rea"):
        as_sentences(Treebank.from_constituents([3], [[]]))
    with says(ArgumentError, "sentences: expected lists of words, got 'the dog'. Pass a list of sentenc"):
        as_sentences("the dog")
    with says(ArgumentError, "sentences[1]: expected a list of words, got 'a b'. Split it into words."):
        as_sentences([["a"], "a b"])
    with says(ArgumentError, "sentences[0]: expected a list of words, got 3."):
        as_sentences([3])  # type: ignore[list-item]
    with says(ArgumentError, "sentences[0][1]: expected a word, got None. Pass strings."):
        as_sentences([["a", None]])  # type: ignore[list-item]


def test_a_toy_parser_parses() -> None:
    bank = ToyParser().parse([["the", "dog", "barks"], [], ["go"]])
    assert bank.lengths.tolist() == [3, 0, 1]
