"""A grammar's scores for a batch of sentences, and what is asked of them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from parsers.pcfg import inside, low_rank, viterbi
from treeavg.errors import ArgumentError


class Grammar(Protocol):
    """Scores of the rules and of the words of B sentences; `lengths` int64 (B,), at least 2."""

    def log_partition(self, lengths: Tensor) -> Tensor:
        """Return the log-probabilities of sentences, (B,)."""

    def span_marginals(self, lengths: Tensor) -> Tensor:
        """Return the posterior probabilities of spans, (B, N + 1, N + 1)."""

    def best_trees(self, lengths: Tensor) -> Tensor:
        """Return the trees of the most probable labelled trees, int64 (B, N - 1, 2), on the CPU."""


class Scores(NamedTuple):
    """Log-probabilities; G is 1, or B where each sentence has its own rules.

    Parameters
    ----------
    roots : Tensor, shape (G, NT)
    rules : Tensor, shape (G, NT, S, S)
    words : Tensor, shape (B, N, T)
    """

    roots: Tensor
    rules: Tensor
    words: Tensor

    def log_partition(self, lengths: Tensor) -> Tensor:
        """As in `Grammar`."""
        return inside.log_partition(self.roots, self.rules, self.words, lengths)

    def span_marginals(self, lengths: Tensor) -> Tensor:
        """As in `Grammar`."""
        return inside.span_marginals(self.roots, self.rules, self.words, lengths)

    def best_trees(self, lengths: Tensor) -> Tensor:
        """As in `Grammar`."""
        return viterbi.best_trees(self.roots, self.rules, self.words, lengths)[0]


class LowRankScores(NamedTuple):
    """Rules as factors, words as log-probabilities (B, N, T)."""

    factors: low_rank.Factors
    words: Tensor

    def log_partition(self, lengths: Tensor) -> Tensor:
        """As in `Grammar`."""
        return low_rank.log_partition(self.factors, self.words, lengths)

    def span_marginals(self, lengths: Tensor) -> Tensor:
        """As in `Grammar`."""
        return low_rank.span_marginals(self.factors, self.words, lengths)

    def best_trees(self, lengths: Tensor) -> Tensor:
        """Raise: the largest term of a sum over ranks is no product."""
        raise ArgumentError("decode: expected 'mbr' for rules of a low rank, got 'viterbi'. Leave it out.")
