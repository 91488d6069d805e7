"""Averages of trees: what several parsers agree on."""

from treeavg.averaging.constituency import METHODS, average
from treeavg.averaging.hits import HitCounts, hit_counts

__all__ = ["METHODS", "HitCounts", "average", "hit_counts"]
