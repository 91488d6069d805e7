"""Scores with their statistics and conventions, agreement, significance."""

from treeavg.metrics.agreement import Agreement, AgreementTally, agreement
from treeavg.metrics.base import Score, Signature
from treeavg.metrics.constituency import CONVENTIONS
from treeavg.metrics.labels import LabelCounts, LabelRecall, label_recall
from treeavg.metrics.scoring import METRICS, score
from treeavg.metrics.significance import Comparison, confidence_interval, paired_bootstrap, sign_test
from treeavg.metrics.tally import Tally

__all__ = [
    "CONVENTIONS",
    "METRICS",
    "Agreement",
    "AgreementTally",
    "Comparison",
    "LabelCounts",
    "LabelRecall",
    "Score",
    "Signature",
    "Tally",
    "agreement",
    "confidence_interval",
    "label_recall",
    "paired_bootstrap",
    "score",
    "sign_test",
]
