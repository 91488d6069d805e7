"""Averages of trees: what several parsers agree on."""

from treeavg.averaging.average import LABELS, METHODS, OBJECTIVES, average
from treeavg.averaging.hits import HitCounts, hit_counts
from treeavg.averaging.votes import support_of

__all__ = ["LABELS", "METHODS", "OBJECTIVES", "HitCounts", "average", "hit_counts", "support_of"]
