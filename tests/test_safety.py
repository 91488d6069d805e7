"""What SECURITY.md promises, read from the source and tried in a process that may not reach out."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

#: Modules that run what they read, or fetch, or start something.
MODULES = {
    "pickle": "runs what it reads", "_pickle": "runs what it reads", "cPickle": "runs what it reads",
    "dill": "runs what it reads", "cloudpickle": "runs what it reads", "joblib": "runs what it reads",
    "shelve": "runs what it reads", "marshal": "trusts what it reads", "yaml": "can build any object",
    "code": "runs text", "runpy": "runs files", "subprocess": "starts programs", "pty": "starts programs",
    "pexpect": "starts programs", "urllib": "fetches", "http": "fetches", "requests": "fetches", "httpx": "fetches",
    "aiohttp": "fetches", "ftplib": "fetches", "smtplib": "sends", "socket": "connects", "ssl": "connects",
    "webbrowser": "opens addresses", "huggingface_hub": "fetches", "datasets": "fetches", "wget": "fetches",
}  # fmt: skip
#: Calls by their last two names.
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.startfile", "torch.load", "torch.save",
    "hub.load", "hub.download_url_to_file", "nltk.download", "np.save", "numpy.save", "load_dataset", "torch.jit.load",
    "jit.load", "package.PackageImporter",
}  # fmt: skip
#: Keywords that switch such things on.
KEYWORDS = {"shell": True, "allow_pickle": True, "trust_remote_code": True, "local_files_only": False}

#: What is used all the same: file, what, and why that is safe.
ALLOWED = {
    ("parsers/benepar/checkpoints.py", "import pickle"): "the name of an exception; nothing is unpickled by it",
    (
        "parsers/benepar/checkpoints.py",
        "torch.load",
    ): "weights_only, unless the caller passes trust=True; see SECURITY.md",
}
#: Modules imported by a name that is computed: from a table in the source, never from a file.
BY_NAME = {
    "treeavg/__init__.py", "treeavg/distill/sequences/__init__.py", "parsers/__init__.py",
    "parsers/training/__init__.py", "parsers/kinds.py", "parsers/base.py", "treeavg/arrow.py",
}  # fmt: skip


def sources() -> list[Path]:
    return sorted(path for folder in ("treeavg", "parsers") for path in (ROOT / folder).rglob("*.py"))


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def suspects(text: str) -> Iterator[str]:
    """What a source does that it should not."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] in MODULES:
                yield f"import {module}"
            yield from (f"import {module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in CALLS)
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            given = {word.arg: word.value for word in node.keywords}
            if name in CALLS or ".".join(name.split(".")[-2:]) in CALLS:
                yield name
            if name.startswith(("os.exec", "os.spawn", "os.posix_spawn")):
                yield name
            if name.endswith("from_pretrained") and not _is(given.get("local_files_only"), True):
                yield f"{name} without local_files_only=True"
            if name.endswith("import_module") and not (node.args and isinstance(node.args[0], ast.Constant)):
                yield "import_module of a computed name"
            yield from (f"{word}={value}" for word, value in KEYWORDS.items() if _is(given.get(word), value))


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle", "from pickle import loads", "import urllib.request", "import yaml", "eval('1')", "exec(x)",
        "compile(a, b, 'exec')", "os.system('ls')", "import subprocess", "f(shell=True)",
        "np.load(a, allow_pickle=True)",
        "torch.load(a)", "AutoModel.from_pretrained(a)", "AutoModel.from_pretrained(a, local_files_only=False)",
        "importlib.import_module(name)", "os.execv(a, b)", "torch.hub.load(a)",
        "x.from_pretrained(a, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_each_of_these_would_be_found(bad: str) -> None:
    assert list(suspects(bad))


def test_what_looks_alike_is_not() -> None:
    good = "re.compile(a); model.eval(); load(a, shell=b); np.load(a); model.compile(); import_module('json')"
    assert list(suspects(good)) == []


def test_sources() -> None:
    """Nothing is unpickled, evaluated, started or fetched, but for what `ALLOWED` gives a reason for."""
    found = {
        (path.relative_to(ROOT).as_posix(), what) for path in sources() for what in suspects(path.read_text("utf-8"))
    }
    by_name = {(name, "import_module of a computed name") for name in BY_NAME}
    assert found - set(ALLOWED) - by_name == set()
    assert {*ALLOWED, *by_name} - found == set(), "a reason that is left over"


def test_no_address_in_the_sources() -> None:
    """No code names an address that could be fetched from."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
                assert not node.value.startswith(("http://", "https://", "ftp://", "s3://", "hf://")), (
                    path,
                    node.value,
                )


#: Runs the verbs it is given; an audit hook sees what the interpreter does, whoever asks for it.
WATCHED = """
import json, sys, traceback
seen = []
REFUSED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind",
           "urllib.Request", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class")

def hook(event, given):
    if event not in REFUSED:
        return
    stack = [frame.filename for frame in traceback.extract_stack()]
    if event == "pickle.find_class" and any("numba/core/caching" in name for name in stack):
        return  # numba's own cache of compiled code, in the folder of the package or NUMBA_CACHE_DIR
    own = [name for name in stack if "treeavg" in name or "parsers" in name]
    seen.append([event, repr(given)[:200], own[-1:] + stack[-4:]])
    raise ConnectionRefusedError(f"{event} is refused")

sys.addaudithook(hook)
from treeavg.cli import main
codes = [main(words) for words in json.loads(sys.argv[1])]
import parsers
for name in parsers.__all__:
    getattr(parsers, name)
print(json.dumps([codes, seen]), file=sys.stderr)
"""
TRAIN = "--epochs 1 --device cpu --threads 1".split()


def watched(folder: Path, verbs: list[list[str]]) -> tuple[list[int], list[list[object]], bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(verbs)],
        cwd=folder,
        capture_output=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr.decode()
    codes, seen = json.loads(done.stderr.splitlines()[-1])
    return codes, seen, done.stdout


@pytest.mark.compiled
def test_nothing_reaches_out(tmp_path: Path) -> None:
    """Every verb, trainings too, in a process in which connecting, starting programs and unpickling raise."""
    pytest.importorskip("torch", reason="torch is not installed")
    lines = (ROOT / "data" / "gold.txt").read_text(encoding="utf-8").splitlines(keepends=True)[:30]
    (tmp_path / "a.txt").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "b.txt").write_text("".join(lines), encoding="utf-8")
    verbs = [
        "average a.txt b.txt -o c.txt", "select a.txt b.txt -o d.txt", "score --gold a.txt c.txt d.txt --test",
        "agree a.txt b.txt", "convert a.txt -o e.jsonl", "show a.txt", "select-teachers a.txt b.txt --k 1",
        "fit on-lstm a.txt -o teacher --hidden 20 --embedding 20", "parse teacher a.txt -o f.txt --threads 1",
        "distill a.txt b.txt -o student --size 8 --layers 1 --words 8 --characters 8", "parse student a.txt -o g.txt",
    ]  # fmt: skip
    words = [[*verb.split(), *(TRAIN if verb.startswith(("fit", "distill")) else [])] for verb in verbs]
    codes, seen, _ = watched(tmp_path, words)
    assert codes == [0] * len(verbs)
    assert seen == []


def test_the_watch_sees(tmp_path: Path) -> None:
    """What the hook refuses is refused, and said."""
    script = WATCHED.replace("from treeavg.cli import main", "import socket\ndef main(_):\n    try:\n        "
                             "socket.create_connection(('127.0.0.1', 9))\n    except ConnectionRefusedError as error:\n"
                             "        return str(error)\n    return 'connected'")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, "[[]]"], cwd=tmp_path, capture_output=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    codes, seen = json.loads(done.stderr.splitlines()[-1])
    assert codes[0].endswith("is refused")
    assert seen[0][0].startswith("socket.")


HOSTILE = ["\x1b[2J", "$(touch pwned)", "`touch pwned`", "<script>alert(1)</script>", "{{7*7}}", "%s%n", "\u202eabc",
           "__import__('os').system('touch", "../../etc/passwd", "';--"]  # fmt: skip


def test_tokens_are_data(tmp_path: Path) -> None:
    """Words and labels that mean something to a terminal, a shell or a template are shown and written as they are."""
    tree = "(S " + " ".join(
        f"(X {word.replace('(', '-LRB-').replace(')', '-RRB-').replace(' ', '')})" for word in HOSTILE
    )
    (tmp_path / "a.txt").write_text(f"{tree})\n", encoding="utf-8")
    verbs = [
        "show a.txt",
        "average a.txt a.txt -o b.txt",
        "convert a.txt -o c.jsonl",
        "score --gold a.txt b.txt",
        "show c.jsonl",
    ]
    codes, _, printed = watched(tmp_path, [verb.split() for verb in verbs])
    assert codes == [0] * len(verbs)
    assert b"\x1b" not in printed
    assert "\u202e" not in printed.decode()
    assert b"{{7*7}}" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "c.jsonl"]
    assert json.loads((tmp_path / "c.jsonl").read_text("utf-8"))["words"][0] == "\x1b[2J"
