"""Scores of spans from the vectors of their two fenceposts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parsers.nn.encoders import fenceposts


class SpanScorer(nn.Module):
    """Biaffine scores of all spans, [Dozat and Manning, ICLR 2017], equation 6, between fenceposts in place of words.

    Parameters
    ----------
    size : int
        Width of the encoder's vectors.
    hidden : int
        Width of the two projections.
    charts : int
        How many scores each span gets.
    dropout : float
        After the projections, in training.
    """

    def __init__(self, size: int, hidden: int, charts: int, dropout: float) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(size, hidden), nn.LeakyReLU(0.1), nn.Dropout(dropout))
        self.right = nn.Sequential(nn.Linear(size, hidden), nn.LeakyReLU(0.1), nn.Dropout(dropout))
        # Zero, so that a new student is uniform over trees: no tree has to be unlearnt.
        self.weight = nn.Parameter(torch.zeros(charts, hidden + 1, hidden + 1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (charts, B, N + 1, N + 1) from vectors with boundaries, (B, N + 2, size), in single precision."""
        posts = fenceposts(vectors)
        one = posts.new_ones(*posts.shape[:2], 1)
        left = torch.cat([self.left(posts), one], dim=-1)
        right = torch.cat([self.right(posts), one], dim=-1)
        return torch.matmul(left @ self.weight[:, None], right.transpose(1, 2)).float()


def split_logits(left: Tensor, right: Tensor) -> list[Tensor]:
    """Return the logits of splits that are sums of a score of the left and one of the right child.

    Parameters
    ----------
    left, right : Tensor, shape (B, N + 1, N + 1)
        Scores of spans as left and as right children.

    Returns
    -------
    list of Tensor
        For each width w from 2 to N, (B, N - w + 1, w - 1).

    Examples
    --------
    >>> left = torch.tensor([[[0.0, 1, 2, 3], [0, 0, 4, 5], [0, 0, 0, 6], [0, 0, 0, 0]]])
    >>> [logits.tolist() for logits in split_logits(left, 10 * left)]
    [[[[41.0], [64.0]]], [[[51.0, 62.0]]]]
    """
    n = left.shape[1] - 1
    starts = torch.arange(n + 1, device=left.device)
    widths = starts
    ends_of_left = (starts[:, None] + widths[None, :]).clamp(max=n)
    starts_of_right = (starts[:, None] - widths[None, :]).clamp(min=0)
    by_start = left.gather(2, ends_of_left.expand(len(left), -1, -1))  # [b, w] is the span (b, b + w)
    by_end = right.transpose(1, 2).gather(2, starts_of_right.expand(len(left), -1, -1))  # [e, w] is the span (e - w, e)
    return [by_start[:, : n - w + 1, 1:w] + by_end[:, w:, 1:w].flip(2) for w in range(2, n + 1)]
