"""Where the class of each kind of parser is, and the options of those that are fitted to plain text.

Nothing here loads torch; a class is imported when a parser of its kind is wanted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from treeavg.errors import unknown

if TYPE_CHECKING:
    from parsers.options import TeacherOptions

#: Of every kind that can be saved and loaded.
KINDS: dict[str, str] = {
    "balanced": "parsers.heuristics:Balanced",
    "benepar": "parsers.benepar:Benepar",
    "compound-pcfg": "parsers.pcfg.compound_pcfg:CompoundPCFG",
    "contest": "parsers.contest.contest:ConTest",
    "contexdistort": "parsers.contexdistort.contexdistort:ContexDistort",
    "dependency": "parsers.dependency_parser:DependencyParser",
    "diora": "parsers.diora.diora:DIORA",
    "from-file": "parsers.heuristics:FromFile",
    "left": "parsers.heuristics:LeftBranching",
    "neural-pcfg": "parsers.pcfg.neural_pcfg:NeuralPCFG",
    "on-lstm": "parsers.on_lstm.on_lstm:ONLSTM",
    "random": "parsers.heuristics:Random",
    "right": "parsers.heuristics:RightBranching",
    "s-diora": "parsers.diora.s_diora:SDIORA",
    "span": "parsers.span_parser:SpanParser",
}

#: Of every kind that `treeavg fit` trains on plain text.
OPTIONS: dict[str, str] = {
    "neural-pcfg": "parsers.pcfg.options:NeuralPCFGOptions",
    "compound-pcfg": "parsers.pcfg.options:CompoundPCFGOptions",
    "on-lstm": "parsers.on_lstm.options:ONLSTMOptions",
    "diora": "parsers.diora.options:DIORAOptions",
    "s-diora": "parsers.diora.options:SDIORAOptions",
    "contest": "parsers.contest.options:ConTestOptions",
    "contexdistort": "parsers.contexdistort.options:ContexDistortOptions",
}


def class_of(kind: str) -> Any:
    """Return the class of a kind of parser.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.

    Returns
    -------
    type

    Raises
    ------
    ArgumentError
        The kind is unknown.

    Examples
    --------
    >>> class_of("right").__name__
    'RightBranching'
    """
    return _imported(kind, KINDS)


def options_of(kind: str) -> type[TeacherOptions]:
    """Return the class of a teacher's options.

    Parameters
    ----------
    kind : str
        A key of `OPTIONS`.

    Returns
    -------
    type

    Raises
    ------
    ArgumentError
        The kind is unknown, or is not trained on plain text.

    Examples
    --------
    >>> options_of("diora").__name__
    'DIORAOptions'
    """
    found: type[TeacherOptions] = _imported(kind, OPTIONS)
    return found


def _imported(kind: str, homes: dict[str, str]) -> Any:
    if kind not in homes:
        raise unknown("kind", kind, homes)
    module, _, name = homes[kind].partition(":")
    return getattr(import_module(module), name)
