"""The student's network: words in, a distribution over binary trees out."""

from __future__ import annotations

from torch import Tensor, nn

from parsers.nn.encoders import Encoder
from parsers.nn.span_scores import SpanScorer, split_logits
from parsers.nn.text import TokenBatch
from treeavg.distill.span_crf import SpanCRF
from treeavg.distill.split_model import SplitModel
from treeavg.errors import unknown

#: A tree is as likely as the sum of its spans' scores says, or as the product of its splits' probabilities.
DISTRIBUTIONS = ("crf", "split")


class SpanModel(nn.Module):
    """An encoder, biaffine span scores, and one of two distributions over them.

    Parameters
    ----------
    encoder : Encoder
        From words to vectors.
    size : int
        Width of the projections before the scores.
    distribution : str
        ``crf``: one score a span, normalised over trees. ``split``: a score as a left and one as a right child, the
        sum of both normalised over the splits of their parent.
    """

    def __init__(self, encoder: Encoder, size: int, distribution: str) -> None:
        super().__init__()
        if distribution not in DISTRIBUTIONS:
            raise unknown("distribution", distribution, DISTRIBUTIONS)
        self.distribution = distribution
        self.encoder = encoder
        self.scorer = SpanScorer(encoder.size, size, 1 if distribution == "crf" else 2, encoder.config.dropout)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return scores, (1 or 2, B, N + 1, N + 1)."""
        return self.scorer(self.encoder.with_boundaries(batch))  # type: ignore[no-any-return]

    def student(self, scores: Tensor, lengths: Tensor) -> SpanCRF | SplitModel:
        """Return the distribution that scores stand for; lengths on the scores' device."""
        if self.distribution == "crf":
            return SpanCRF(scores[0], lengths)
        return SplitModel(split_logits(scores[0], scores[1]), lengths)
