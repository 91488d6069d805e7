"""Scores of dependency arcs from an encoder's vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parsers.nn.encoders import Encoder
from parsers.nn.text import TokenBatch


class ArcScores(nn.Module):
    """Biaffine scores of arcs (Dozat and Manning, ICLR 2017).

    Parameters
    ----------
    encoder : Encoder
        Gives a vector for each word and for the boundary before the first, which stands for the root.
    size : int
        Width of what is known of a word as a head, and as a dependent.

    Notes
    -----
    With h = MLP_head(vector of node i) and d = MLP_dependent(vector of node j), the score of the arc from i to j is
    h' U d + h' u: how well the two fit, and how likely i is to have dependents at all.
    """

    def __init__(self, encoder: Encoder, size: int) -> None:
        super().__init__()
        self.encoder, dropout = encoder, encoder.config.dropout
        self.as_head = _perceptron(encoder.size, size, dropout)
        self.as_dependent = _perceptron(encoder.size, size, dropout)
        self.fit = nn.Parameter(torch.empty(size, size))
        self.prior = nn.Parameter(torch.zeros(size))
        nn.init.normal_(self.fit, std=1.0 / size)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return scores by head and dependent, (B, N + 1, N + 1)."""
        nodes = self.encoder.with_boundaries(batch)[:, :-1]
        heads, dependents = self.as_head(nodes), self.as_dependent(nodes)
        # Sums over trees need more digits of a score than mixed precision leaves.
        with torch.autocast(nodes.device.type, enabled=False):
            heads, dependents = heads.to(self.fit.dtype), dependents.to(self.fit.dtype)
            scores: Tensor = (heads @ self.fit) @ dependents.transpose(1, 2) + (heads @ self.prior).unsqueeze(2)
        return scores


def _perceptron(width: int, size: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, size), nn.LeakyReLU(0.1), nn.Dropout(dropout))
