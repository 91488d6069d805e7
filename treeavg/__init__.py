"""Tree averaging: several parsers in, one better parse out.

    >>> import treeavg
    >>> teachers = [treeavg.read(path) for path in ["a.txt", "b.txt", "c.txt"]]   # doctest: +SKIP
    >>> average = treeavg.average(teachers)                                        # doctest: +SKIP
    >>> treeavg.write(average, "average.txt")                                      # doctest: +SKIP
    >>> print(treeavg.score(treeavg.read("gold.txt"), average))                    # doctest: +SKIP

Names are imported when they are first used, so that ``treeavg --help`` need not load Numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from treeavg.version import __version__

if TYPE_CHECKING:
    from treeavg.averaging.average import average
    from treeavg.averaging.hits import HitCounts, hit_counts
    from treeavg.averaging.reliability import agreement_weights
    from treeavg.averaging.selection import Selection, Step, diversity, select_teachers
    from treeavg.dependency import DependencyTreebank, DependencyView
    from treeavg.errors import (
        AlignmentError,
        ArgumentError,
        FileError,
        FormatError,
        LeftOutWarning,
        LimitError,
        SearchLimitWarning,
        TreeavgError,
    )
    from treeavg.formats import read, scan, write
    from treeavg.metrics import (
        Agreement,
        Comparison,
        LabelRecall,
        Score,
        agreement,
        confidence_interval,
        label_recall,
        paired_bootstrap,
        score,
        sign_test,
    )
    from treeavg.transforms import (
        binarize,
        branching,
        collapse_unaries,
        delete_tokens,
        strip_empty,
        strip_punctuation,
    )
    from treeavg.treebank import SearchReport, Treebank
    from treeavg.view import TreeView

_HOMES = {
    "averaging.average": ("average",),
    "averaging.hits": ("HitCounts", "hit_counts"),
    "averaging.reliability": ("agreement_weights",),
    "averaging.selection": ("Selection", "Step", "diversity", "select_teachers"),
    "dependency": ("DependencyTreebank", "DependencyView"),
    "errors": (
        "AlignmentError",
        "ArgumentError",
        "FileError",
        "FormatError",
        "LeftOutWarning",
        "LimitError",
        "SearchLimitWarning",
        "TreeavgError",
    ),
    "formats": ("read", "scan", "write"),
    "metrics": (
        "Agreement",
        "Comparison",
        "LabelRecall",
        "Score",
        "agreement",
        "confidence_interval",
        "label_recall",
        "paired_bootstrap",
        "score",
        "sign_test",
    ),
    "transforms": (
        "binarize",
        "branching",
        "collapse_unaries",
        "delete_tokens",
        "strip_empty",
        "strip_punctuation",
    ),
    "treebank": ("SearchReport", "Treebank"),
    "view": ("TreeView",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agreement",
    "AlignmentError",
    "ArgumentError",
    "Comparison",
    "DependencyTreebank",
    "DependencyView",
    "FileError",
    "FormatError",
    "HitCounts",
    "LabelRecall",
    "LeftOutWarning",
    "LimitError",
    "Score",
    "SearchLimitWarning",
    "SearchReport",
    "Selection",
    "Step",
    "TreeView",
    "TreeavgError",
    "Treebank",
    "__version__",
    "agreement",
    "agreement_weights",
    "average",
    "binarize",
    "branching",
    "collapse_unaries",
    "confidence_interval",
    "delete_tokens",
    "diversity",
    "hit_counts",
    "label_recall",
    "paired_bootstrap",
    "read",
    "scan",
    "score",
    "select_teachers",
    "sign_test",
    "strip_empty",
    "strip_punctuation",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'treeavg' has no attribute {name!r}")
    value = getattr(import_module(f"treeavg.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
