"""The walls: layers of imports, kernels, public names, docstrings, start-up."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

import parsers
import treeavg
import treeavg.report
from treeavg.distill import sequences

PACKAGE = ROOT / "treeavg"

#: Layer of each module or package, lower first; a module imports only from its own package and from lower layers.
LAYERS: dict[str, int] = {
    "version": 0, "errors": 0,
    "kernels": 1, "escapes": 1, "jobs": 1, "memory": 1,
    "strings": 2, "view": 2, "treebank": 2, "dependency": 2, "building": 2, "interop": 2, "transforms": 2,
    "arrow": 2, "tables": 2,
    "formats": 3, "alignment": 3,
    "averaging": 4, "metrics": 4,
    "report": 5, "distill": 5, "engine": 5,
    "cli": 6, "__main__": 7,
}  # fmt: skip
HEAVY = {"torch", "parsers", "transformers", "scipy", "matplotlib", "dask", "distributed", "pyarrow"}
#: Imported where they are called.
ALLOWED = {
    ("averaging.fallback", "scipy"),
    ("engine.cluster", "dask"),
    ("engine.cluster", "distributed"),
    ("report.plots", "matplotlib"),
    ("cli.options", "torch"),
    ("cli.distill", "parsers"),
    ("cli.fit", "parsers"),
    ("cli.training", "parsers"),
    ("cli.parse", "parsers"),
    ("cli.parse_shards", "parsers"),
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path) -> Iterator[str]:
    """Imported modules, also those inside functions; not those for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    hidden = {id(inner) for node in for_types for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            if node.module in ("treeavg", "treeavg.kernels", "treeavg.cli"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("name", "path"), [item for item in modules() if item[0]])
def test_layers(name: str, path: Path) -> None:
    """A file imports only from its own package and from lower layers, and nothing heavy."""
    room = name.split(".")[0]
    assert room in LAYERS, f"{name}: give it a layer"
    for target in imports(path):
        heavy = target.split(".")[0]
        allowed = (name, heavy) in ALLOWED or (room == "distill" and heavy == "torch")
        allowed = allowed or (name.startswith("distill.sequences.") and heavy == "transformers")
        assert heavy not in HEAVY or allowed, f"{name} imports {target}"
        assert not target.startswith("treeavg.distill") or room == "distill", f"{name} imports {target}"
        if target.startswith("treeavg."):
            other = target.split(".")[1]
            if other in LAYERS and other != room:
                within_layer_two = LAYERS[room] == LAYERS[other] == 2
                assert LAYERS[other] < LAYERS[room] or within_layer_two, (
                    f"{name} (layer {LAYERS[room]}) imports {target} (layer {LAYERS[other]})"
                )


PARSERS = ROOT / "parsers"
#: What all parsers share, and what else in `parsers` it may import: nothing that is a parser.
SHARED_BY_PARSERS: dict[str, tuple[str, ...]] = {
    "inputs": (),
    "json_files": (),
    "weights": (),
    "storage": ("json_files",),
    "nn": (),
    "training": ("inputs", "json_files", "storage", "weights"),
    "kinds": ("options",),
    "options": ("training",),
    "base": ("inputs", "json_files", "kinds", "storage"),
}


@pytest.mark.parametrize("path", sorted(PARSERS.rglob("*.py")), ids=lambda path: str(path.relative_to(PARSERS)))
def test_layers_of_parsers(path: Path) -> None:
    """Parsers know treeavg but not its command line; what they share knows no parser."""
    room = path.relative_to(PARSERS).with_suffix("").parts[0]
    for target in imports(path):
        assert not target.startswith("treeavg.cli"), f"{path} imports {target}"
        if room in SHARED_BY_PARSERS and target.split(".")[0] == "parsers":
            known = (room, *SHARED_BY_PARSERS[room])
            assert target.split(".")[1:2] in [[name] for name in known], f"{path} imports {target}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "kernels").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_kernel_contract(path: Path) -> None:
    """One file is one closed set: only NumPy and the decorator are imported; kernels neither raise nor assert."""
    assert set(imports(path)) <= {"__future__", "numpy", "numpy.typing", "treeavg.kernels", "treeavg.kernels.kernel"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert all([ast.unparse(mark) for mark in node.decorator_list] == ["kernel"] for node in functions)
    for node in functions:
        inner = {type(part) for part in ast.walk(node)}
        assert not inner & {ast.Raise, ast.Assert, ast.Try, ast.With, ast.ListComp, ast.Dict}, node.name
        text = ast.get_docstring(node) or ""
        assert "twin" in text.lower() or path.stem == "brackets" or "Tell whether" in text, (
            f"{node.name}: name its twin"
        )


def test_decorator_options() -> None:
    """Kernels are cached, release the GIL and use exact arithmetic."""
    text = (PACKAGE / "kernels" / "__init__.py").read_text(encoding="utf-8")
    assert "njit(cache=True, nogil=True)" in text
    assert "fastmath" not in text


def test_exported_names() -> None:
    """`__all__` is sorted, is what the lazy table and the type checkers' imports say, and everything in it exists."""
    assert list(treeavg.__all__) == sorted(treeavg.__all__)
    assert set(treeavg.__all__) == {*treeavg._HOME_OF, "__version__"}
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        (node.module, alias.name)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {(f"treeavg.{home}", name) for name, home in treeavg._HOME_OF.items()}
    for name in treeavg.__all__:
        assert getattr(treeavg, name) is not None
    assert dir(treeavg) == list(treeavg.__all__)
    with pytest.raises(AttributeError, match="module 'treeavg' has no attribute 'averge'"):
        treeavg.averge


def _named() -> Iterator[tuple[str, object]]:
    """What users import: treeavg's names, the parsers', and what stands in each module of distill."""
    yield from ((name, getattr(treeavg, name)) for name in treeavg.__all__)
    yield from ((f"parsers.{name}", getattr(parsers, name)) for name in parsers.__all__)
    yield from ((f"report.{name}", getattr(treeavg.report, name)) for name in treeavg.report.__all__)
    for path in sorted((PACKAGE / "distill").glob("[a-z]*.py")):
        module = importlib.import_module(f"treeavg.distill.{path.stem}")
        for name in PUBLIC_IN_DISTILL.get(path.stem, ()):
            yield f"distill.{path.stem}.{name}", getattr(module, name)
    yield from ((f"sequences.{name}", getattr(sequences, name)) for name in sequences.__all__)


#: Modules of distill, and the names in them that are for users.
PUBLIC_IN_DISTILL: dict[str, tuple[str, ...]] = {
    "span_crf": ("SpanCRF",),
    "split_model": ("SplitModel",),
    "tree_losses": ("TreeTargets", "tree_loss"),
    "temperature": ("match_entropy",),
    "dependency_crf": ("DependencyCRF",),
    "dependency_losses": ("dependency_loss",),
}


#: Methods that another library calls; what they take is written there.
OVERRIDDEN: dict[str, tuple[str, ...]] = {
    "sequences.DistillationTrainer": (
        "get_batch_samples", "training_step", "compute_loss", "prediction_step", "evaluation_loop", "log",
        "create_optimizer",
    ),
}  # fmt: skip


def public_objects() -> Iterator[tuple[str, object]]:
    for name, value in _named():
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value) and not issubclass(value, Exception):
            yield name, value
            for key, member in vars(value).items():
                plain = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
                if not key.startswith("_") and inspect.isfunction(plain) and key not in OVERRIDDEN.get(name, ()):
                    yield f"{name}.{key}", plain


@pytest.mark.parametrize(("name", "value"), list(public_objects()))
def test_docstrings(name: str, value: object) -> None:
    """Parameters in the docstring are those of the signature, in order; functions have returns and an example."""
    text = inspect.getdoc(value) or ""
    assert text, name
    sections = re.split(r"\n(\w[\w ]*)\n-+\n", text)
    blocks = dict(zip(sections[1::2], sections[2::2], strict=True))
    documented = [
        word.strip().lstrip("*")
        for line in blocks.get("Parameters", "").splitlines()
        if line and not line.startswith(" ")
        for word in line.split(" : ")[0].split(",")
    ]
    signature = inspect.signature(value)  # type: ignore[arg-type]
    actual = [parameter for parameter in signature.parameters if parameter not in ("self", "cls")]
    assert documented == actual, name
    if inspect.isfunction(value):
        assert "Examples" in blocks, f"{name}: no example"
        assert signature.return_annotation in ("None", None) or "Returns" in blocks or "Yields" in blocks, name


def test_options_repeat_the_tables() -> None:
    """The command line's choices, repeated so that --help loads nothing, are the library's."""
    from parsers import span_model, span_parser
    from parsers.nn import encoders
    from parsers.pcfg import options as grammars
    from parsers.training import config, runs
    from treeavg.averaging.average import LABELS, METHODS, OBJECTIVES
    from treeavg.cli import options, training
    from treeavg.distill import dependency_losses, tree_losses
    from treeavg.formats import FORMATS
    from treeavg.metrics import CONVENTIONS, METRICS

    assert tuple(FORMATS) == options.FORMATS
    assert options.METHODS == METHODS
    assert options.OBJECTIVES == OBJECTIVES
    assert options.LABELS == LABELS
    assert options.METRICS == METRICS
    assert tuple(CONVENTIONS) == options.CONVENTIONS
    assert tuple(tree_losses.KINDS) == options.TREE_LOSSES
    assert tuple(dependency_losses.KINDS) == options.DEPENDENCY_LOSSES
    assert span_model.DISTRIBUTIONS == options.DISTRIBUTIONS
    assert {*span_parser.DECODERS, *grammars.DECODERS} == set(options.DECODERS)
    assert encoders.KINDS == options.ENCODERS
    assert config.SCHEDULES == options.SCHEDULES
    assert config.PRECISIONS == options.PRECISIONS
    assert runs.DOCUMENT == training.RUN_DOCUMENT


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split())


def test_start_up() -> None:
    """Importing loads neither torch nor numba; help texts neither numpy nor numba; averaging not torch nor nltk."""
    heavy = {"torch", "numba", "numpy", "nltk"}
    assert not loaded_after("import treeavg") & heavy
    assert not loaded_after("import treeavg.cli; treeavg.cli.build_parser().format_help()") & heavy
    everything = "import treeavg; [getattr(treeavg, name) for name in treeavg.__all__]"
    assert not loaded_after(everything) & {"torch", "nltk", "scipy.optimize"}
    assert not loaded_after("import parsers") & heavy
