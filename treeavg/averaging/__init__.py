"""Averages of trees: what several parsers agree on."""

from treeavg.averaging.average import LABELS, METHODS, OBJECTIVES, average
from treeavg.averaging.hits import HitCounts, hit_counts
from treeavg.averaging.reliability import agreement_weights
from treeavg.averaging.selection import Selection, Step, diversity, select_teachers
from treeavg.averaging.votes import support_of

__all__ = [
    "LABELS",
    "METHODS",
    "OBJECTIVES",
    "HitCounts",
    "Selection",
    "Step",
    "agreement_weights",
    "average",
    "diversity",
    "hit_counts",
    "select_teachers",
    "support_of",
]
