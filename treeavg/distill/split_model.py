"""The locally normalised distribution over binary trees: a law over splits for each span, free of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.distill import compiled, split_laws, steps
from treeavg.distill.charts import expected, from_widths, require_lengths, require_trees, uniform_draws
from treeavg.errors import ArgumentError, quote


class SplitModel:
    """A distribution over binary trees that splits spans top-down, q(j | b, e) = softmax over j of logits.

    Parameters
    ----------
    logits : sequence of Tensor, floating
        For widths w = 2 to N, shape (B, N - w + 1, w - 1): the logit of the split j of the span (b, b + w) stands at
        ``[sentence, b, j - b - 1]``. Cells past a sentence's end are ignored and get a zero gradient. Differentiable.
        Empty where no sentence has more than one word.
    lengths : Tensor, int64, shape (B,)
        Words in each sentence, 0 to N.

    Raises
    ------
    ArgumentError
        Wrong shapes or types, lengths out of range, a logit within a sentence that is NaN or infinite (looked for on
        the CPU only).

    Notes
    -----
    A `SpanCRF` is the case where the logit is the sum of both children's log-inside. Computed width by width in
    torch, in the logits' type (float32 for half types); every result is differentiable in any order.

    Examples
    --------
    >>> model = SplitModel([torch.zeros(1, 2, 1), torch.zeros(1, 1, 2)], torch.tensor([3]))
    >>> model.visits[0, 1, 3].item()
    0.5
    """

    def __init__(self, logits: Sequence[Tensor], lengths: Tensor) -> None:
        self.longest = len(logits) + 1
        require_lengths(lengths, None, self.longest)
        batch = lengths.shape[0]
        for width, cells in enumerate(logits, 2):
            shape = (batch, self.longest - width + 1, width - 1)
            if not isinstance(cells, Tensor) or tuple(cells.shape) != shape or not cells.is_floating_point():
                got = f"{cells.dtype} {tuple(cells.shape)}" if isinstance(cells, Tensor) else quote(cells)
                raise ArgumentError(
                    f"logits[{width - 2}]: expected a floating tensor {shape} for spans of {width} words, got {got}. "
                    "Give one tensor for each width from 2 to N."
                )
        device = logits[0].device if logits else lengths.device
        self.lengths = lengths if lengths.device == device else lengths.to(device, non_blocking=True)
        dtype = logits[0].dtype if logits else torch.float32
        self.dtype = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        self._laws = [self._law(width, cells) for width, cells in enumerate(logits, 2)]
        self._kept: dict[bool, list[Tensor]] = {}
        #: An empty tensor (B, 0) with the type, the device and the graph of the computation.
        self.reference = torch.empty(batch, 0, dtype=self.dtype, device=device)
        if self._laws:
            self.reference = torch.cat([law.flatten(1)[:, :0] for law in self._laws], 1)

    def _law(self, width: int, logits: Tensor) -> Tensor:
        """Return log-softmax over splits, of zeros where the span ends after its sentence."""
        starts = torch.arange(self.longest - width + 1, device=logits.device)
        within = (starts + width <= self.lengths[:, None])[..., None]
        clean = torch.where(within, logits, torch.zeros_like(logits)).to(self.dtype)
        if logits.device.type == "cpu" and not bool(torch.isfinite(clean.detach()).all()):
            sentence, start, place = torch.nonzero(~torch.isfinite(clean.detach()))[0].tolist()
            raise ArgumentError(
                f"logits[{width - 2}][{sentence}, {start}, {place}]: expected finite numbers within a sentence, got "
                f"{float(clean.detach()[sentence, start, place])} for the split {start + 1 + place} of the span "
                f"({start}, {start + width}). Look for a division by zero or an overflow in the network."
            )
        return clean.log_softmax(-1)

    def __repr__(self) -> str:
        """Return sizes."""
        return f"SplitModel({self.lengths.shape[0]} sentences, up to {self.longest} words)"

    @property
    def log_partition(self) -> Tensor:
        """Zeros, shape (B,): the laws are normalised."""
        return self.reference.sum(1)

    @property
    def split_laws(self) -> list[Tensor]:
        """Log split probabilities, shaped like the logits."""
        return self._laws

    def exact_laws(self) -> list[Tensor]:
        """Return the split laws, as `split_laws`.

        Returns
        -------
        list of Tensor
            As `split_laws`.

        Examples
        --------
        >>> SplitModel([torch.zeros(1, 1, 1)], torch.tensor([2])).exact_laws()
        [tensor([[[0.]]])]
        """
        return self._laws

    def visits_by_width(self) -> list[Tensor]:
        """Return visit probabilities by width.

        Returns
        -------
        list of Tensor
            For widths w = 1 to N, shape (B, N - w + 1).

        Examples
        --------
        >>> SplitModel([torch.zeros(1, 1, 1)], torch.tensor([2])).visits_by_width()
        [tensor([[1., 1.]]), tensor([[1.]])]
        """
        key = torch.is_grad_enabled()
        if key not in self._kept:
            self._kept[key] = steps.visits(self._laws, self.lengths, self.reference, self.longest)
        return self._kept[key]

    @property
    def visits(self) -> Tensor:
        """The probability that a tree has each span, a chart (B, N + 1, N + 1)."""
        return from_widths(self.visits_by_width(), self.reference, self.longest)

    @property
    def entropy(self) -> Tensor:
        """The entropy of the tree, in nats, shape (B,)."""
        return split_laws.expectation(self.visits_by_width(), split_laws.entropies(self._laws), self.reference)

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
        >>> model = SplitModel([torch.zeros(1, 2, 1), torch.zeros(1, 1, 2)], torch.tensor([3]))
        >>> model.log_prob(torch.tensor([[[0, 3], [1, 3]]])).exp().tolist()
        [0.5]
        """
        require_trees(trees, self.lengths, self.longest)
        return self.exact_log_prob(trees)

    def exact_log_prob(self, trees: Tensor) -> Tensor:
        """Return the logarithms of the probabilities of trees, which are not checked.

        Parameters
        ----------
        trees : Tensor, int64, shape (..., B, N - 1, 2)
            As for `log_prob`.

        Returns
        -------
        Tensor
            Shape (..., B).

        Examples
        --------
        >>> SplitModel([torch.zeros(1, 1, 1)], torch.tensor([2])).exact_log_prob(torch.tensor([[[0, 2]]]))
        tensor([0.])
        """
        return split_laws.log_prob(self._laws, trees, self.reference)

    def argmax(self) -> Tensor:
        """Return the most probable trees; ties go to the leftmost split.

        Returns
        -------
        Tensor, int64, shape (B, N - 1, 2)
            Spans of two words or more, in pre-order, padded with (0, 0).

        Examples
        --------
        >>> model = SplitModel([torch.zeros(1, 2, 1), torch.zeros(1, 1, 2)], torch.tensor([3]))
        >>> model.argmax().tolist()
        [[[0, 3], [1, 3]]]
        """
        zeros = self.reference.new_zeros(self.reference.shape[0], self.longest + 1, self.longest + 1)
        return steps.best(zeros, self.lengths, [law.detach() for law in self._laws])

    def mbr(self) -> Tensor:
        """Return the trees with the most expected spans (the sum of visits); ties as in `argmax`.

        Returns
        -------
        Tensor, int64, shape (B, N - 1, 2)
            As for `argmax`.

        Examples
        --------
        >>> model = SplitModel([torch.zeros(1, 2, 1), torch.zeros(1, 1, 2)], torch.tensor([3]))
        >>> model.mbr().tolist()
        [[[0, 3], [1, 3]]]
        """
        with torch.no_grad():
            visits = self.visits
        if visits.device.type == "cpu":
            return compiled.best(visits.double(), self.lengths)
        return steps.best(visits, self.lengths)

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw trees, exactly and independently, from the root down.

        Parameters
        ----------
        count : int
            Trees for each sentence.
        generator : torch.Generator, optional
            Source of random numbers, on the logits' device. Default: torch's own.

        Returns
        -------
        Tensor, int64, shape (count, B, N - 1, 2)
            Spans of two words or more, in pre-order, padded with (0, 0).

        Raises
        ------
        ArgumentError
            `count` is negative or not an integer.

        Examples
        --------
        >>> SplitModel([torch.zeros(1, 1, 1)], torch.tensor([2])).sample(2).tolist()
        [[[[0, 2]]], [[[0, 2]]]]
        """
        draws = uniform_draws(count, self.reference, self.longest, generator)
        with torch.no_grad():
            return steps.sample(self._laws, self.lengths, draws)

    def expected(self, chart: Tensor) -> Tensor:
        """Return the expected sum of a chart over the spans of a tree: width 2 or more, the whole sentence left out.

        Parameters
        ----------
        chart : Tensor, floating, shape (B, N + 1, N + 1)
            One value for each span; cells outside are ignored.

        Returns
        -------
        Tensor
            Shape (B,).

        Raises
        ------
        ArgumentError
            Another shape.

        Examples
        --------
        >>> model = SplitModel([torch.zeros(1, 2, 1), torch.zeros(1, 1, 2)], torch.tensor([3]))
        >>> model.expected(torch.ones(1, 4, 4)).tolist()
        [1.0]
        """
        return expected(self.visits, chart, self.lengths)
