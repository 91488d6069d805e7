"""Scores with their statistics and conventions, agreement, significance."""

from treeavg.metrics.agreement import Agreement, agreement
from treeavg.metrics.base import Score, Signature
from treeavg.metrics.constituency import CONVENTIONS, LabelRecall, label_recall
from treeavg.metrics.scoring import METRICS, score
from treeavg.metrics.significance import Comparison, confidence_interval, paired_bootstrap, sign_test

__all__ = [
    "CONVENTIONS",
    "METRICS",
    "Agreement",
    "Comparison",
    "LabelRecall",
    "Score",
    "Signature",
    "agreement",
    "confidence_interval",
    "label_recall",
    "paired_bootstrap",
    "score",
    "sign_test",
]
