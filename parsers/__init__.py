"""Parsers that train: teachers and students behind one small protocol. All but heuristics need the extra ``torch``.

Names are imported when first used, so that ``import parsers`` alone loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsers.base import load
    from parsers.benepar import Benepar, BeneparSizes, BeneparStudent
    from parsers.contest.contest import ConTest
    from parsers.contest.options import ConTestOptions
    from parsers.contexdistort.contexdistort import ContexDistort
    from parsers.contexdistort.options import ContexDistortOptions
    from parsers.dependency_parser import DependencyParser
    from parsers.diora.diora import DIORA
    from parsers.diora.options import DIORAOptions, SDIORAOptions
    from parsers.diora.s_diora import SDIORA
    from parsers.heuristics import Balanced, FromFile, LeftBranching, Random, RightBranching
    from parsers.nn.encoders import EncoderConfig
    from parsers.on_lstm.on_lstm import ONLSTM
    from parsers.on_lstm.options import ONLSTMOptions
    from parsers.pcfg.compound_pcfg import CompoundPCFG
    from parsers.pcfg.neural_pcfg import NeuralPCFG
    from parsers.pcfg.options import CompoundPCFGOptions, NeuralPCFGOptions
    from parsers.span_parser import SpanParser
    from parsers.training.config import TrainingConfig

__all__ = [
    "DIORA",
    "ONLSTM",
    "SDIORA",
    "Balanced",
    "Benepar",
    "BeneparSizes",
    "BeneparStudent",
    "CompoundPCFG",
    "CompoundPCFGOptions",
    "ConTest",
    "ConTestOptions",
    "ContexDistort",
    "ContexDistortOptions",
    "DIORAOptions",
    "DependencyParser",
    "EncoderConfig",
    "FromFile",
    "LeftBranching",
    "NeuralPCFG",
    "NeuralPCFGOptions",
    "ONLSTMOptions",
    "Random",
    "RightBranching",
    "SDIORAOptions",
    "SpanParser",
    "TrainingConfig",
    "load",
]

_HOME_OF = {
    "Balanced": "heuristics",
    "Benepar": "benepar",
    "BeneparSizes": "benepar",
    "BeneparStudent": "benepar",
    "CompoundPCFG": "pcfg.compound_pcfg",
    "CompoundPCFGOptions": "pcfg.options",
    "ConTest": "contest.contest",
    "ConTestOptions": "contest.options",
    "ContexDistort": "contexdistort.contexdistort",
    "ContexDistortOptions": "contexdistort.options",
    "DIORA": "diora.diora",
    "DIORAOptions": "diora.options",
    "DependencyParser": "dependency_parser",
    "EncoderConfig": "nn.encoders",
    "FromFile": "heuristics",
    "LeftBranching": "heuristics",
    "NeuralPCFG": "pcfg.neural_pcfg",
    "NeuralPCFGOptions": "pcfg.options",
    "ONLSTM": "on_lstm.on_lstm",
    "ONLSTMOptions": "on_lstm.options",
    "Random": "heuristics",
    "RightBranching": "heuristics",
    "SDIORA": "diora.s_diora",
    "SDIORAOptions": "diora.options",
    "SpanParser": "span_parser",
    "TrainingConfig": "training.config",
    "load": "base",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'parsers' has no attribute {name!r}")
    return getattr(import_module(f"parsers.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
