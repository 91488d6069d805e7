"""docs/sequence-applications.md is true: its blocks run in order and print what stands below them."""

from __future__ import annotations

import contextlib
import io
import re
import warnings

import pytest
import torch
from conftest import ROOT

PAGE = ROOT / "docs" / "sequence-applications.md"


@pytest.fixture
def one_thread():
    """Tiny models are fastest on one thread, and sums come out the same on every machine."""
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_rng_state(state)


def test_blocks(one_thread: None) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(python|text)\n(.*?)^```$", text, flags=re.M | re.S)
    assert [kind for kind, _ in blocks].count("python") > 10
    names: dict[str, object] = {}
    printed = ""
    for number, (kind, block) in enumerate(blocks):
        if kind == "text":
            assert printed == block, f"block {number}"
            printed = ""
            continue
        assert printed == "", f"block {number - 1} prints what the page does not show"
        output = io.StringIO()
        with contextlib.redirect_stdout(output), warnings.catch_warnings():
            # peft asks transformers for a name that will go
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is dep", category=FutureWarning)
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
        printed = output.getvalue()
    assert printed == ""
