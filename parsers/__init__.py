"""Parsers that train: students behind one small protocol. Needs the extra ``torch``.

Names are imported when first used, so that ``import parsers`` alone loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsers.base import load
    from parsers.benepar import Benepar, BeneparSizes, BeneparStudent
    from parsers.dependency_parser import DependencyParser
    from parsers.nn.encoders import EncoderConfig
    from parsers.span_parser import SpanParser
    from parsers.training import TrainingConfig

__all__ = [
    "Benepar",
    "BeneparSizes",
    "BeneparStudent",
    "DependencyParser",
    "EncoderConfig",
    "SpanParser",
    "TrainingConfig",
    "load",
]

_HOME_OF = {
    "Benepar": "benepar",
    "BeneparSizes": "benepar",
    "BeneparStudent": "benepar",
    "DependencyParser": "dependency_parser",
    "EncoderConfig": "nn.encoders",
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
