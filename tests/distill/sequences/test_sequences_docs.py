"""docs/sequences.md is true: its blocks run in order, and what it names is there."""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil
import re
import warnings
from dataclasses import fields

import pytest
import torch
from conftest import ROOT

with warnings.catch_warnings():  # transformers and its imports warn about themselves
    warnings.simplefilter("ignore")
    import treeavg.distill.sequences.training.trainer  # noqa: F401

import treeavg.distill.sequences as package
from treeavg.distill.sequences.ensembling.distill import METHODS
from treeavg.distill.sequences.layers.layers import STRATEGIES
from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.collate import COLUMNS
from treeavg.distill.sequences.training.config import KINDS, PREFIXES, DistillationConfig, RewardOptions
from treeavg.distill.sequences.training.presets import PRESETS

PAGE = ROOT / "docs" / "sequences.md"


@pytest.fixture
def one_thread():
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_rng_state(state)


@pytest.fixture(scope="module")
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_blocks(one_thread: None, text: str) -> None:
    blocks = re.findall(r"^```(python|text)\n(.*?)^```$", text, flags=re.M | re.S)
    assert [kind for kind, _ in blocks].count("python") > 5
    names: dict[str, object] = {}
    printed = ""
    for number, (kind, block) in enumerate(blocks):
        if kind == "text":
            assert printed == block, f"block {number}"
            printed = ""
            continue
        assert printed == "", f"block {number - 1} prints what the page does not show"
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
        printed = output.getvalue()
    assert printed == ""


def test_options(text: str) -> None:
    """Every option and every kind of a training is in the table."""
    table = text.split("## Options of a training")[1].split("\n## ")[0]
    for field in (*fields(DistillationConfig), *fields(RewardOptions)):
        assert re.search(rf"\b{field.name}\b", table), field.name
    row = re.search(r"^\| `kind` \|(.*?)\|", table, flags=re.M)
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[1])) == set(KINDS)
    for name in (*PREFIXES, *STRATEGIES):
        assert f"`{name}`" in table, name
    for name in METHODS:
        assert f"`{name}`" in text, name
    for name in re.findall(r'PRESETS\["([\w-]+)"\]', text):
        assert name in PRESETS, name


def test_settings(text: str) -> None:
    """Settings that the page gives for papers go together."""
    spans = [span for span in re.findall(r"`([^`\n]+)`", text) if span.startswith(("C(", "DistillationConfig(kind"))]
    assert len(spans) > 10
    names = {"C": DistillationConfig, "RewardOptions": RewardOptions, "Sampler": Sampler}
    for span in spans:
        eval(span, {**names, "DistillationConfig": DistillationConfig})


def test_names(text: str) -> None:
    """What the page calls by name exists."""
    modules = [
        importlib.import_module(found.name) for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    ]
    public = {name for module in modules for name in getattr(module, "__all__", ())}
    public |= {module.__name__.removeprefix(package.__name__ + ".") for module in modules}
    public |= {module.__name__.rpartition(".")[2] for module in modules}
    parts = text.split("## Quick start")[0], text.split("## Papers")[1].split("\n## ")[0]
    prose = "\n".join(parts)
    called = set(re.findall(r"`((?:applications\.|ensembling\.)?[a-z_]+\.?[A-Za-z_]*)(?:\(|`)", prose))
    spare = {"C", "loss", "transformers", "transformers.Trainer", *COLUMNS}
    for name in called - spare:
        home, _, last = name.rpartition(".")
        assert {name, last, f"ensembling.{name}"} & public, name
        assert not home or home in public or f"ensembling.{home}" in public, name
