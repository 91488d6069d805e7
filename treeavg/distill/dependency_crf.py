"""Distributions over dependency trees: projective ones, or trees of any shape.

The probability of a tree is proportional to exp of the sum of its arcs' scores. Sums are exact: Eisner's chart for
projective trees, the matrix-tree theorem for all. A head is 0 for the root; words count from 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from treeavg.distill.dependency_decoding import best_heads, is_tree
from treeavg.distill.dependency_inside import LOW, eisner_charts, eliminate, projective_partition
from treeavg.distill.dependency_sampling import sample_any, sample_projective
from treeavg.errors import ArgumentError


class DependencyCRF:
    """The distribution p(tree) = exp(sum of the tree's arc scores / temperature) / Z, for a batch of sentences.

    Parameters
    ----------
    scores : Tensor, shape (B, N + 1, N + 1)
        Score of each arc by head and dependent, node 0 the root; finite. Arcs into the root, of a word to itself and
        beyond a sentence's end are ignored, whatever stands there, and get no gradient.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence, at most N; 0 is a sentence whose only tree is empty.
    projective : bool, default True
        Projective trees only, else trees of any shape.
    multi_root : bool, default False
        Let several words hang on the root.
    temperature : float, default 1.0
        Above 0; small ones put all weight on the best trees.

    Raises
    ------
    ArgumentError
        A shape, a type or the temperature is wrong.

    Notes
    -----
    Computes in float64 and returns the type of `scores`. Probabilities, entropy and expectations are differentiable,
    being themselves gradients of log Z. O(N^3) time and memory. Like any graph, one backward pass uses it up; under
    ``torch.no_grad()`` everything can still be asked for.

    References
    ----------
    Eisner 1996 (projective); Koo, Globerson, Carreras and Collins 2007, Smith and Smith 2007, McDonald and Satta 2007
    (matrix-tree theorem, one root in the first).

    Examples
    --------
    >>> crf = DependencyCRF(torch.zeros(1, 4, 4), torch.tensor([3]))
    >>> crf.log_partition.exp().round()  # 7 projective trees over three words
    tensor([7.])
    >>> DependencyCRF(torch.zeros(1, 4, 4), torch.tensor([3]), projective=False).log_partition.exp().round()
    tensor([9.])
    """

    def __init__(
        self,
        scores: Tensor,
        lengths: Tensor,
        *,
        projective: bool = True,
        multi_root: bool = False,
        temperature: float = 1.0,
    ) -> None:
        check_scores(scores, lengths)
        if not 0 < temperature < float("inf"):
            raise ArgumentError(
                f"temperature: expected a number above 0, got {temperature!r}. 1 leaves scores as they are."
            )
        self.projective = projective
        self.multi_root = multi_root
        self.dtype = scores.dtype
        self.lengths = lengths.to(scores.device)
        self.arcs = arc_mask(self.lengths, scores.shape[1] - 1)
        self.scores = torch.where(self.arcs, scores.double(), 0.0) / temperature
        self._known: dict[tuple[str, bool], Tensor] = {}

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def options(self) -> dict[str, bool]:
        """The set of trees: what two distributions must share to be compared."""
        return {"projective": self.projective, "multi_root": self.multi_root}

    @property
    def log_partition(self) -> Tensor:
        """Log Z of each sentence, ``[B]``."""
        return self._log_partition.to(self.dtype)

    @property
    def marginals(self) -> Tensor:
        """The probability of each arc, ``[B, N + 1, N + 1]``; heads of a word add up to 1. Differentiable."""
        return self._marginals.to(self.dtype)

    @property
    def entropy(self) -> Tensor:
        """Entropy of each sentence's distribution in nats, ``[B]``."""
        return (self._log_partition - self._expected(self.scores)).to(self.dtype)

    def expected(self, scores: Tensor) -> Tensor:
        """Return the expected sum of given arc scores.

        Parameters
        ----------
        scores : Tensor, shape (B, N + 1, N + 1)
            Any numbers; what is no arc of a sentence is ignored.

        Returns
        -------
        Tensor, shape (B,)

        Examples
        --------
        >>> DependencyCRF(torch.zeros(1, 3, 3), torch.tensor([2])).expected(torch.ones(1, 3, 3))
        tensor([2.])
        """
        return self._expected(scores).to(self.dtype)

    def log_prob(self, heads: Tensor) -> Tensor:
        """Return the log-probability of trees.

        Parameters
        ----------
        heads : Tensor of int64, shape (..., B, N)
            The head of each word; what stands past a sentence's end is ignored.

        Returns
        -------
        Tensor, shape (..., B)
            Minus infinity for what is not a tree of this distribution: a cycle, a second root, a crossing arc.

        Examples
        --------
        >>> crf = DependencyCRF(torch.zeros(1, 3, 3), torch.tensor([2]))
        >>> crf.log_prob(torch.tensor([[2, 0]])).exp(), crf.log_prob(torch.tensor([[2, 1]])).exp()
        (tensor([0.5000]), tensor([0.]))
        """
        heads = heads.to(self.scores.device)
        words = torch.arange(1, self.scores.shape[1], device=heads.device)
        inside = words <= self.lengths[:, None]
        heads = torch.where(inside, heads, 0)
        wrong = (heads < 0) | (heads > self.lengths[:, None])
        kept = torch.where(wrong, 0, heads)
        sums = self.scores[torch.arange(len(self), device=heads.device)[:, None], kept, words].sum(-1)
        good = is_tree(kept, self.lengths, projective=self.projective, multi_root=self.multi_root) & ~wrong.any(-1)
        return torch.where(good, sums - self._log_partition, -torch.inf).to(self.dtype)

    def argmax(self) -> Tensor:
        """Return the most probable trees.

        Returns
        -------
        Tensor of int64, shape (B, N)
            Heads, 0 past a sentence's end. Ties as in `treeavg.average`.

        Examples
        --------
        >>> DependencyCRF(torch.zeros(1, 3, 3), torch.tensor([2])).argmax()
        tensor([[0, 1]])
        """
        return best_heads(self.scores, self.lengths, **self.options)

    def mbr(self) -> Tensor:
        """Return the trees with the largest expected number of right heads (minimum Bayes risk).

        Returns
        -------
        Tensor of int64, shape (B, N)
            Heads, 0 past a sentence's end.

        Examples
        --------
        >>> DependencyCRF(torch.zeros(1, 3, 3), torch.tensor([2])).mbr()
        tensor([[0, 1]])
        """
        return best_heads(self._marginals, self.lengths, **self.options)

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw exact samples.

        Parameters
        ----------
        count : int
            Trees a sentence.
        generator : torch.Generator, optional
            Of the device of the scores; makes the samples repeatable.

        Returns
        -------
        Tensor of int64, shape (count, B, N)
            Heads, 0 past a sentence's end.

        Raises
        ------
        ArgumentError
            `count` is negative.

        Examples
        --------
        >>> DependencyCRF(torch.zeros(1, 2, 2), torch.tensor([1])).sample(3).tolist()
        [[[0]], [[0]], [[0]]]
        """
        if count < 0:
            raise ArgumentError(f"count: expected a number from 0 on, got {count!r}. Ask for one tree or more.")
        if not count or self.scores.shape[1] == 1:
            return self.lengths.new_zeros(count, len(self), self.scores.shape[1] - 1)
        multi_root = self.multi_root
        with torch.no_grad():
            arcs = self._low_scores()
            if self.projective:
                charts = eisner_charts(arcs if multi_root else arcs[:, 1:, 1:])
                return sample_projective(charts, arcs, self.lengths, count, multi_root=multi_root, generator=generator)
            elimination = eliminate(arcs, self.lengths, multi_root=multi_root)
            return sample_any(elimination, self.lengths, count, multi_root=multi_root, generator=generator)

    def kl(self, other: DependencyCRF) -> Tensor:
        """Return the Kullback-Leibler divergence KL(self || other), exactly.

        Parameters
        ----------
        other : DependencyCRF
            Over the same sentences and trees.

        Returns
        -------
        Tensor, shape (B,)
            Differentiable in both.

        Raises
        ------
        ArgumentError
            The two are not over the same sentences and trees.

        Notes
        -----
        Bregman form: sum over arcs of p(arc) (score_p - score_q)(arc), minus log Z_p, plus log Z_q.

        Examples
        --------
        >>> flat = DependencyCRF(torch.zeros(1, 3, 3), torch.tensor([2]))
        >>> flat.kl(flat)
        tensor([0.])
        """
        if self.options != other.options:
            raise ArgumentError(
                f"other: expected a distribution with {self.options}, got {other.options}. Give both the same."
            )
        if self.scores.shape != other.scores.shape:
            raise ArgumentError(
                f"other: expected scores of shape {tuple(self.scores.shape)}, got {tuple(other.scores.shape)}. "
                "Compare distributions over the same batch."
            )
        gap = self._expected(self.scores - other.scores)
        return (gap - self._log_partition + other._log_partition).to(self.dtype)

    def _expected(self, scores: Tensor) -> Tensor:
        return (self._marginals * torch.where(self.arcs, scores, 0.0)).sum((1, 2))

    @property
    def _log_partition(self) -> Tensor:
        return self._once("log_partition", self._partition)

    @property
    def _marginals(self) -> Tensor:
        return self._once("marginals", self._gradient)

    def _once(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Compute what is asked for again and again once with, once without gradients."""
        key = (name, torch.is_grad_enabled())
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]

    def _partition(self) -> Tensor:
        if self.projective:
            return projective_partition(self._low_scores(), self.lengths, multi_root=self.multi_root)
        return eliminate(self._low_scores(), self.lengths, multi_root=self.multi_root).log_partition

    def _gradient(self) -> Tensor:
        """Return the gradient of log Z; where nobody wants to differentiate it, its graph is dropped at once."""
        if self.scores.requires_grad and torch.is_grad_enabled():
            return torch.autograd.grad(self._log_partition.sum(), self.scores, create_graph=True)[0]
        with torch.inference_mode(False), torch.enable_grad():
            leaf = self.scores.detach().clone().requires_grad_()
            twin = DependencyCRF(leaf, self.lengths.clone(), **self.options)
            return torch.autograd.grad(twin._log_partition.sum(), leaf)[0]

    def _low_scores(self) -> Tensor:
        return torch.where(self.arcs, self.scores, LOW)


def arc_mask(lengths: Tensor, words: int) -> Tensor:
    """Return which cells are arcs: from the root or a word to another word, bool ``[B, N + 1, N + 1]``."""
    nodes = torch.arange(words + 1, device=lengths.device)
    inside = nodes <= lengths[:, None]
    return inside[:, :, None] & (inside & (nodes > 0))[:, None, :] & (nodes[:, None] != nodes)


def check_scores(scores: Tensor, lengths: Tensor) -> None:
    """Raise an ArgumentError unless scores of arcs and lengths fit together."""
    if scores.ndim != 3 or scores.shape[1] != scores.shape[2] or not scores.is_floating_point():
        raise ArgumentError(
            f"scores: expected floating numbers of shape (B, N + 1, N + 1), got {scores.dtype} of shape "
            f"{tuple(scores.shape)}. Score each arc by head and dependent, the root being node 0."
        )
    if lengths.dtype != torch.int64 or lengths.shape != scores.shape[:1]:
        raise ArgumentError(
            f"lengths: expected int64 of shape ({len(scores)},), got {lengths.dtype} of shape {tuple(lengths.shape)}. "
            "Give one length a sentence."
        )
    # Lengths on a GPU are trusted: to look at them would stop its queue.
    if (
        lengths.device.type == "cpu"
        and len(lengths)
        and not 0 <= int(lengths.min()) <= int(lengths.max()) < scores.shape[1]
    ):
        raise ArgumentError(
            f"lengths: expected numbers from 0 to {scores.shape[1] - 1}, got {int(lengths.min())} to "
            f"{int(lengths.max())}. A chart of N + 1 nodes holds N words."
        )
