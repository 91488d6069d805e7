"""Grammars as teachers: the Neural PCFG, the Compound PCFG.

Names are imported when first used, so that the options load no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsers.pcfg.compound_pcfg import CompoundPCFG
    from parsers.pcfg.neural_pcfg import NeuralPCFG
    from parsers.pcfg.options import CompoundPCFGOptions, NeuralPCFGOptions

__all__ = ["CompoundPCFG", "CompoundPCFGOptions", "NeuralPCFG", "NeuralPCFGOptions"]

_HOME_OF = {
    "CompoundPCFG": "compound_pcfg",
    "CompoundPCFGOptions": "options",
    "NeuralPCFG": "neural_pcfg",
    "NeuralPCFGOptions": "options",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'parsers.pcfg' has no attribute {name!r}")
    return getattr(import_module(f"parsers.pcfg.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
