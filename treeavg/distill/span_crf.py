"""The binary-bracketing distribution over span scores, exactly, in batches.

A binary tree T over n words has the probability p(T) = exp(sum over its spans of s(b, e) / temperature) / Z. With hit
counts as scores this is soft tree averaging; with a network's scores it is a student.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from treeavg.distill import compiled, steps
from treeavg.distill.charts import (
    by_width,
    expected,
    require_chart,
    require_finite,
    require_lengths,
    require_trees,
    uniform_draws,
)
from treeavg.distill.split_model import SplitModel
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["BACKENDS", "SpanCRF", "SplitModel"]

#: How a `SpanCRF` may be computed.
BACKENDS = ("auto", "compiled", "steps")


class SpanCRF:
    """A distribution over binary trees that is log-linear in span scores.

    Parameters
    ----------
    scores : Tensor, floating, shape (B, N + 1, N + 1)
        ``scores[b, i, j]`` belongs to the span (i, j) of sentence b, i < j. Cells with i >= j or j > lengths[b] are
        ignored, whatever stands there (also NaN), and get a zero gradient. Differentiable. The scores of words and of
        the whole sentence, which every tree has, move `log_partition` only.
    lengths : Tensor, int64, shape (B,)
        Words in each sentence, 0 to N. A sentence of no words has one tree, the empty one.
    temperature : float, default 1.0
        Divides the scores; positive.
    backend : {"auto", "compiled", "steps"}, default "auto"
        Compiled kernels (CPU only), or torch operations width by width (any device). Auto: the first on a CPU.

    Raises
    ------
    ArgumentError
        Wrong shapes or types, lengths out of range, a score within a sentence that is NaN or infinite (looked for on
        the CPU only: on an accelerator it would wait for the device), an unknown backend.

    Notes
    -----
    Inside and outside take O(n^3) time. The compiled kernels keep O(B N^2) memory and compute in float64; steps keep
    the split laws, O(B N^3), in the scores' type (float32 for half types, float64 below a temperature of 0.05). Results
    have the scores' type, float32 for half types. Results are computed when asked for and kept. Every result is
    differentiable, second derivatives included.

    Examples
    --------
    >>> hits = torch.zeros(1, 5, 5, dtype=torch.float64)
    >>> hits[0, 0, 2] = 2; hits[0, 2, 4] = 3; hits[0, 1, 4] = 1
    >>> crf = SpanCRF(hits, torch.tensor([4]))
    >>> crf.argmax().tolist()
    [[[0, 4], [0, 2], [2, 4]]]
    >>> round(float(crf.log_partition), 4)
    5.3665
    """

    def __init__(self, scores: Tensor, lengths: Tensor, *, temperature: float = 1.0, backend: str = "auto") -> None:
        require_chart(scores, "scores")
        self.longest = scores.shape[1] - 1
        require_lengths(lengths, scores.shape[0], self.longest)
        if not isinstance(temperature, (int, float)) or not 0 < temperature < float("inf"):
            raise ArgumentError(
                f"temperature: expected a positive number, got {quote(temperature)}. Use 1.0 for plain scores."
            )
        if backend not in BACKENDS:
            raise unknown("backend", backend, BACKENDS)
        on_cpu = scores.device.type == "cpu"
        if backend == "compiled" and not on_cpu:
            raise ArgumentError(
                f"backend: expected scores on the CPU for 'compiled', got {scores.device}. Use backend='auto'."
            )
        self.backend = backend if backend != "auto" else ("compiled" if on_cpu else "steps")
        self.lengths = lengths if lengths.device == scores.device else lengths.to(scores.device, non_blocking=True)
        self.scores = scores
        self.temperature = float(temperature)
        self.dtype = scores.dtype if scores.dtype in (torch.float32, torch.float64) else torch.float32
        exact = self.backend == "compiled" or temperature < 0.05
        cells = scores.to(torch.float64 if exact else self.dtype)
        #: Scores over temperature, in the type of the computation.
        self.potentials = cells if temperature == 1 else cells / self.temperature
        require_finite(self.potentials, self.lengths, "scores")
        #: An empty tensor (B, 0) with the type, the device and the graph of the computation.
        self.reference = self.potentials.flatten(1)[:, :0]
        self._kept: dict[tuple[str, bool], tuple[Tensor, ...]] = {}
        self._laws: dict[bool, list[Tensor]] = {}

    def __repr__(self) -> str:
        """Return sizes, temperature and backend."""
        return (
            f"SpanCRF({self.scores.shape[0]} sentences, up to {self.longest} words, "
            f"temperature={self.temperature:g}, backend={self.backend!r})"
        )

    def centre(self) -> Tensor:
        """Return the potentials that distinguish trees, less the largest of each sentence, zero elsewhere.

        Returns
        -------
        Tensor
            A chart (B, N + 1, N + 1), in the type of the computation.

        Examples
        --------
        >>> SpanCRF(torch.full((1, 4, 4), 7.0), torch.tensor([3])).centre().sum().item()
        0.0
        """
        if self.backend == "compiled":
            return self._keep("centre", lambda: (compiled.centred(self.potentials, self.lengths),))[0]
        return self._keep("centre", lambda: (steps.centred(self.potentials, self.lengths),))[0]

    def exact_moments(self) -> tuple[Tensor, Tensor]:
        """Return log Z of the centred potentials, and visits, in the type of the computation.

        Returns
        -------
        tuple of Tensor
            Shapes (B,) and (B, N + 1, N + 1).

        Examples
        --------
        >>> log_partition, visits = SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3])).exact_moments()
        >>> log_partition.exp().round().tolist(), visits[0, 0, 2].item()  # two trees
        ([2.0], 0.5)
        """
        compute = compiled.moments if self.backend == "compiled" else steps.moments
        log_partition, visits = self._keep("moments", lambda: compute(self.centre(), self.lengths))
        return log_partition, visits

    def _keep(self, name: str, compute: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Return what was computed before under the same mode of autograd, else compute and keep it."""
        key = (name, torch.is_grad_enabled())
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    @property
    def log_partition(self) -> Tensor:
        """The logarithm of the sum over trees of exp(scores / temperature), shape (B,)."""
        if self.backend == "steps":
            return (self.exact_moments()[0] + steps.left_out(self.potentials, self.lengths)).to(self.dtype)
        if torch.is_grad_enabled() and self.potentials.requires_grad:
            return compiled.moments(self.potentials, self.lengths)[0].to(self.dtype)
        return compiled.compute(self.potentials, self.lengths).log_partition.to(self.dtype)

    @property
    def visits(self) -> Tensor:
        """The probability that a tree has each span, a chart (B, N + 1, N + 1); 1 for words and the whole sentence."""
        return self.exact_moments()[1].to(self.dtype)

    @property
    def entropy(self) -> Tensor:
        """The entropy of the tree, in nats, shape (B,): log Z less the expected score."""
        log_partition, visits = self.exact_moments()
        return (log_partition - (visits * self.centre()).sum((1, 2))).to(self.dtype)

    @property
    def split_laws(self) -> list[Tensor]:
        """Log split probabilities: for widths w = 2 to N, [B, N - w + 1, w - 1] of log p(j | b, b + w), j from b + 1.

        Cells past a sentence's end hold finite numbers without a meaning. O(B N^3) memory.
        """
        return [law.to(self.dtype) for law in self.exact_laws()]

    def exact_laws(self) -> list[Tensor]:
        """Return the split laws in the type of the computation.

        Returns
        -------
        list of Tensor
            As `split_laws`.

        Examples
        --------
        >>> SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3])).exact_laws()[1].exp().tolist()
        [[[0.5, 0.5]]]
        """
        key = torch.is_grad_enabled()
        if key not in self._laws:
            self._laws[key] = steps.inside(self.centre(), self.lengths)[1]
        return self._laws[key]

    def log_prob(self, trees: Tensor) -> Tensor:
        """Return the logarithms of trees' probabilities.

        Parameters
        ----------
        trees : Tensor, int64, shape (..., B, N - 1, 2)
            Starts and ends of the spans of two words or more, in pre-order, padded with (0, 0).

        Returns
        -------
        Tensor
            Shape (..., B).

        Raises
        ------
        ArgumentError
            Wrong shape or type, or (looked for on the CPU) not binary trees in pre-order.

        Examples
        --------
        >>> crf = SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3]))
        >>> crf.log_prob(torch.tensor([[[0, 3], [1, 3]]])).exp().tolist()
        [0.5]
        """
        require_trees(trees, self.lengths, self.longest)
        return self.exact_log_prob(trees).to(self.dtype)

    def exact_log_prob(self, trees: Tensor) -> Tensor:
        """Return the logarithms of the probabilities of trees, which are not checked.

        Parameters
        ----------
        trees : Tensor, int64, shape (..., B, N - 1, 2)
            As for `log_prob`.

        Returns
        -------
        Tensor
            Shape (..., B), in the type of the computation.

        Examples
        --------
        >>> crf = SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3]))
        >>> crf.exact_log_prob(torch.tensor([[[0, 3], [1, 3]]])).exp().round(decimals=9).tolist()
        [0.5]
        """
        flat = self.centre().flatten(1)
        index = trees[..., 0] * (self.longest + 1) + trees[..., 1]
        scores = flat.expand(*index.shape[:-2], *flat.shape).gather(-1, index).sum(-1)
        return scores - self.exact_moments()[0]

    def visits_by_width(self) -> list[Tensor]:
        """Return visit probabilities by width, in the type of the computation.

        Returns
        -------
        list of Tensor
            For widths w = 1 to N, shape (B, N - w + 1).

        Examples
        --------
        >>> [visits.tolist() for visits in SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3])).visits_by_width()]
        [[[1.0, 1.0, 1.0]], [[0.5, 0.5]], [[1.0]]]
        """
        return by_width(self.exact_moments()[1])

    def argmax(self) -> Tensor:
        """Return the most probable trees; ties go to the leftmost split, as in `treeavg.average`.

        Returns
        -------
        Tensor, int64, shape (B, N - 1, 2)
            Spans of two words or more, in pre-order, padded with (0, 0).

        Examples
        --------
        >>> SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3])).argmax().tolist()
        [[[0, 3], [1, 3]]]
        """
        return self._best(self.scores.detach())

    def mbr(self) -> Tensor:
        """Return the trees with the most expected spans (the sum of visits): minimum Bayes risk; ties as in `argmax`.

        Returns
        -------
        Tensor, int64, shape (B, N - 1, 2)
            As for `argmax`.

        Examples
        --------
        >>> SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3])).mbr().tolist()
        [[[0, 3], [1, 3]]]
        """
        with torch.no_grad():
            return self._best(self.exact_moments()[1])

    def _best(self, scores: Tensor) -> Tensor:
        if self.backend == "compiled":
            return compiled.best(scores.double(), self.lengths)
        exact = scores if scores.dtype == torch.float64 else scores.float()
        return steps.best(exact, self.lengths)

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw trees, exactly and independently, from the root down.

        Parameters
        ----------
        count : int
            Trees for each sentence.
        generator : torch.Generator, optional
            Source of random numbers, on the scores' device. Default: torch's own.

        Returns
        -------
        Tensor, int64, shape (count, B, N - 1, 2)
            Spans of two words or more, in pre-order, padded with (0, 0).

        Raises
        ------
        ArgumentError
            `count` is negative or not an integer.

        Notes
        -----
        One uniform number for each row is drawn up front, so both backends draw the same trees, up to rounding.

        Examples
        --------
        >>> SpanCRF(torch.zeros(1, 3, 3), torch.tensor([2])).sample(2).tolist()
        [[[[0, 2]]], [[[0, 2]]]]
        """
        draws = uniform_draws(count, self.scores, self.longest, generator)
        if self.backend == "compiled":
            return compiled.sample(self.potentials, self.lengths, draws)
        with torch.no_grad():
            return steps.sample(self.exact_laws(), self.lengths, draws)

    def expected(self, chart: Tensor) -> Tensor:
        """Return the expected sum of a chart over the spans of a tree: width 2 or more, the whole sentence left out.

        Parameters
        ----------
        chart : Tensor, floating, shape (B, N + 1, N + 1)
            One value for each span, hit counts say; cells outside are ignored.

        Returns
        -------
        Tensor
            Shape (B,).

        Raises
        ------
        ArgumentError
            Another shape than the scores'.

        Examples
        --------
        >>> crf = SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3]))
        >>> crf.expected(torch.ones(1, 4, 4)).tolist()
        [1.0]
        """
        return expected(self.exact_moments()[1], chart, self.lengths).to(self.dtype)
