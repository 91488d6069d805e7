"""What people look at: tables and drawings in the terminal, a page of one file, plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treeavg.report.report import Report, ReportOptions, build_report

__all__ = ["Report", "ReportOptions", "build_report"]


def __getattr__(name: str) -> Any:
    # The terminal's tables live here too and must not load what averages and scores trees.
    if name not in __all__:
        raise AttributeError(f"module 'treeavg.report' has no attribute {name!r}")
    from treeavg.report import report

    return getattr(report, name)
