"""Losses that train a student, a distribution over binary trees, on several teachers' trees or their average."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from treeavg.distill import split_laws
from treeavg.distill.charts import inner_mask, require_finite, require_trees, splits_of
from treeavg.distill.span_crf import SpanCRF
from treeavg.distill.split_model import SplitModel
from treeavg.distill.temperature import match_entropy
from treeavg.distill.tree_divergences import DIVERGENCES, Options
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["KINDS", "REDUCTIONS", "TreeTargets", "match_entropy", "tree_loss"]

#: A line of help for each loss, and the targets it needs.
KINDS: dict[str, tuple[str, str]] = {
    "kl": ("KL(p || q) from the consensus p, the tree distribution of the hit counts, to the student q; exact", "hits"),
    "rkl": ("KL(q || p), the reverse; exact", "hits"),
    "js": ("Jensen-Shannon, the closest bound that splits span by span", "hits"),
    "js-naive": ("Jensen-Shannon, the bound that mixes laws without regard to visits", "hits"),
    "js-sampled": ("Jensen-Shannon of whole trees, unbiased, from sampled trees", "hits"),
    "tvd": ("total variation, the mean of the bounds over the teacher's and the student's visits", "hits"),
    "tvd-teacher": ("total variation, the bound over the teacher's visits", "hits"),
    "tvd-student": ("total variation, the bound over the student's visits", "hits"),
    "engine": ("expected -log p of the student's trees: rkl without its entropy", "hits"),
    "hard": ("-log q of the average tree", "average"),
    "union": ("-log q of the teachers' trees, their mean", "teachers"),
    "span": ("cross-entropy of each span's own score against its share of the teachers", "hits"),
    "split-average": ("cross-entropy against the mean of the teachers' split laws, span by span", "teachers"),
}
REDUCTIONS = ("tree", "node", "word", "none")


@dataclass(frozen=True)
class TreeTargets:
    """What a batch of sentences is trained on; give what the loss needs.

    Parameters
    ----------
    lengths : Tensor, int64, shape (B,)
        Words in each sentence.
    hits : Tensor, floating, shape (B, N + 1, N + 1), optional
        Summed weight of the teachers that have each span; cells outside are ignored.
    weight : float, default 1.0
        Summed weight of all teachers.
    average : Tensor, int64, shape (B, N - 1, 2), optional
        Binary trees: starts and ends of spans of two words or more in pre-order, padded with (0, 0).
    teachers : Tensor, int64, shape (K, B, N - 1, 2), optional
        Each teacher's binary trees, likewise.

    Examples
    --------
    >>> TreeTargets(torch.tensor([3]), hits=torch.zeros(1, 4, 4), weight=7.0).weight
    7.0
    """

    lengths: Tensor
    hits: Tensor | None = None
    weight: float = 1.0
    average: Tensor | None = None
    teachers: Tensor | None = None

    def to(self, device: torch.device | str) -> TreeTargets:
        """Return the same targets on a device.

        Parameters
        ----------
        device : torch.device or str
            Where to.

        Returns
        -------
        TreeTargets

        Examples
        --------
        >>> TreeTargets(torch.tensor([3])).to("cpu").lengths.tolist()
        [3]
        """

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            lengths=self.lengths.to(device, non_blocking=True),
            hits=moved(self.hits),
            average=moved(self.average),
            teachers=moved(self.teachers),
        )


def tree_loss(
    kind: str,
    student: SpanCRF | SplitModel,
    targets: TreeTargets,
    *,
    temperature: float = 1.0,
    student_weight: float = 0.5,
    detach_visits: bool = False,
    reduction: str = "node",
    n_items: float | None = None,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return a loss of a student on a batch.

    Parameters
    ----------
    kind : str
        One of `KINDS`, which says what each needs.
    student : SpanCRF or SplitModel
        The student q. ``"span"`` needs a `SpanCRF`.
    targets : TreeTargets
        Constants: nothing flows back to them.
    temperature : float, default 1.0
        Divides the hit counts in the consensus p. The student has a temperature of its own.
    student_weight : float, default 0.5
        For js, js-naive, js-sampled and tvd: the share b of the student in the mixture and among the two halves;
        between 0 and 1, for tvd 0 and 1 included.
    detach_visits : bool, default False
        Take the student's visits as constants: the gradient of greedy step-wise training, for comparison. The value is
        the same. For js-sampled: leave out the score-function term.
    reduction : {"node", "tree", "word", "none"}, default "node"
        The sum over sentences, by the number of splits (n - 1 a sentence), by the number of sentences that have words,
        or by the number of words; or a loss for each sentence.
    n_items : float, optional
        Divide by this number in place of that of the batch: the whole step's, where a step has several batches.
    samples : int, default 1
        For js-sampled: trees drawn from each side.
    generator : torch.Generator, optional
        For js-sampled: source of random numbers.

    Returns
    -------
    Tensor
        A scalar, or shape (B,) for ``reduction="none"``. A batch without any split gives 0, connected to the graph.

    Raises
    ------
    ArgumentError
        An unknown kind or reduction, missing targets, or targets of another shape than the student's.

    Examples
    --------
    >>> student = SpanCRF(torch.zeros(1, 4, 4), torch.tensor([3]))
    >>> targets = TreeTargets(torch.tensor([3]), average=torch.tensor([[[0, 3], [1, 3]]]))
    >>> round(float(tree_loss("hard", student, targets, reduction="tree")), 4)
    0.6931
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if reduction not in REDUCTIONS:
        raise unknown("reduction", reduction, REDUCTIONS)
    if not isinstance(samples, int) or samples < 1:
        raise ArgumentError(
            f"samples: expected a whole number of trees, at least 1, got {quote(samples)}. Use samples=1."
        )
    options = Options(checked_student_weight(kind, student_weight), detach_visits, samples, generator)
    _require_targets(kind, student, targets)
    losses = _on_trees(kind, student, targets)
    if losses is None:
        losses = DIVERGENCES[kind](_consensus(student, targets, temperature), student, options)
    losses = (losses + student.reference.sum(1)).to(student.dtype)  # in the graph even where there is no split
    return losses if reduction == "none" else _reduced(losses, student.lengths, reduction, n_items)


def checked_student_weight(kind: str, weight: float) -> float:
    """Return the student's weight; raise an ArgumentError where a loss that uses it cannot."""
    ends = kind == "tvd"
    if kind in ("js", "js-naive", "js-sampled", "tvd") and not (0 < weight < 1 or (ends and weight in (0, 1))):
        between = "from 0 to 1" if ends else "between 0 and 1, the ends left out"
        raise ArgumentError(
            f"student_weight: expected a number {between}, for {kind!r}, got {quote(weight)}. Use 0.5 for equal halves."
        )
    return float(weight)


def _require_targets(kind: str, student: SpanCRF | SplitModel, targets: TreeTargets) -> None:
    """Raise an ArgumentError where the targets do not fit the loss or the student; values are read on the CPU only."""
    batch, longest = student.lengths.shape[0], student.longest
    needed = KINDS[kind][1]
    value = getattr(targets, needed)
    if value is None:
        raise ArgumentError(f"targets.{needed}: expected a tensor for the loss {kind!r}, got None. Give {needed}.")
    if value.device != student.reference.device:
        raise ArgumentError(
            f"targets.{needed}: expected a tensor on {student.reference.device}, where the student is, got one on "
            f"{value.device}. Use targets.to({str(student.reference.device)!r})."
        )
    shape = (batch, longest + 1, longest + 1)
    if needed == "hits":
        if tuple(value.shape) != shape:
            raise ArgumentError(
                f"targets.hits: expected the student's shape {shape}, got {tuple(value.shape)}. Pad charts alike."
            )
    else:
        if needed == "teachers" and (value.dim() != 4 or value.shape[0] < 1):
            raise ArgumentError(
                f"targets.teachers: expected int64 (K, {batch}, {max(longest - 1, 0)}, 2), K at least 1, got "
                f"{tuple(value.shape)}. Stack one tensor of trees for each teacher."
            )
        require_trees(value, student.lengths, longest, f"targets.{needed}")
    if targets.lengths.device.type == student.lengths.device.type == "cpu" and not torch.equal(
        targets.lengths, student.lengths
    ):
        raise ArgumentError(
            f"targets.lengths: expected the student's {quote(student.lengths.tolist())}, got "
            f"{quote(targets.lengths.tolist())}. Batch scores and targets in the same order."
        )
    if kind == "span" and not isinstance(student, SpanCRF):
        raise ArgumentError(
            f"student: expected a SpanCRF for the loss 'span', got {type(student).__name__}. A split model has no "
            "scores of spans; use 'split-average'."
        )


def _consensus(student: SpanCRF | SplitModel, targets: TreeTargets, temperature: float) -> SpanCRF:
    """Return the tree distribution of the hit counts, computed as the student is."""
    assert targets.hits is not None
    require_finite(targets.hits, student.lengths, "targets.hits")
    return SpanCRF(
        targets.hits.detach().to(student.reference.dtype),
        student.lengths,
        temperature=temperature,
        backend=student.backend if isinstance(student, SpanCRF) else "auto",
    )


def _on_trees(kind: str, student: SpanCRF | SplitModel, targets: TreeTargets) -> Tensor | None:
    """Return the losses [B] that need no consensus; None for another kind."""
    if kind == "hard":
        assert targets.average is not None
        return -student.exact_log_prob(targets.average)
    if kind == "union":
        assert targets.teachers is not None
        return -student.exact_log_prob(targets.teachers).mean(0)
    if kind == "split-average":
        assert targets.teachers is not None
        return _split_average(student, targets.teachers)
    if kind == "span":
        assert targets.hits is not None
        assert isinstance(student, SpanCRF)
        return _span(student, targets.hits, targets.weight)
    return None


def _span(student: SpanCRF, hits: Tensor, weight: float) -> Tensor:
    """Return the binary cross-entropies of spans of 2 to n - 1 words, summed."""
    inner = inner_mask(student.lengths, student.longest)
    potentials = torch.where(inner, student.potentials, torch.zeros_like(student.potentials))
    shares = torch.where(inner, hits.detach(), torch.zeros_like(hits)).to(potentials.dtype) / weight
    if shares.device.type == "cpu" and shares.numel():
        low, high = float(shares.min()) * weight, float(shares.max()) * weight
        if not 0 <= low <= high <= weight * 1.001:
            raise ArgumentError(
                f"targets.hits: expected numbers from 0 to the teachers' weight {weight:g}, got {low:g} to {high:g}. "
                "Give targets.weight, the summed weight of the teachers."
            )
    losses = binary_cross_entropy_with_logits(potentials, shares, reduction="none")
    return torch.where(inner, losses, torch.zeros_like(losses)).sum((1, 2))


def _split_average(student: SpanCRF | SplitModel, teachers: Tensor) -> Tensor:
    """Return the cross-entropy against the mean of the teachers' split laws.

    At each span the law is the mean over the teachers that have it, of what each does with it. Top-down from the whole
    sentence these laws make a tree distribution; its visits weigh the spans. So this is the expected -log q of a tree
    put together from the teachers' subtrees.
    """
    side = student.longest + 1
    start, end = teachers.unbind(-1)
    split, width = splits_of(teachers), end - start
    batch = teachers.shape[1]

    def cells(low: Tensor, high: Tensor) -> Tensor:
        return (low * side + high).movedim(0, 1).flatten(1)

    whole, left, right = cells(start, end), cells(start, split), cells(split, end)
    widths = width.movedim(0, 1).flatten(1)
    like = student.reference
    ones = (widths > 1).to(like.dtype)
    held = like.new_zeros(batch, side * side).scatter_add(1, whole, ones).clamp(min=1)
    visits = like.new_zeros(batch, side * side)
    visits[:, :side] = (torch.arange(side, device=like.device) == student.lengths[:, None]).to(like.dtype)
    weights = torch.zeros_like(ones)
    for size in range(student.longest, 1, -1):
        moved = torch.where(widths == size, visits.gather(1, whole) / held.gather(1, whole), torch.zeros_like(ones))
        weights = weights + moved
        visits = visits.scatter_add(1, left, moved).scatter_add(1, right, moved)
    if isinstance(student, SpanCRF):
        expected = (visits.view(batch, side, side) * student.centre()).sum((1, 2))
        return student.exact_moments()[0] - expected
    if student.longest < 2:
        return student.log_partition
    rows = split_laws.row_log_probs(student.exact_laws(), teachers)
    return -(rows * weights.view(batch, teachers.shape[0], -1).movedim(0, 1)).sum((0, 2))


def _reduced(losses: Tensor, lengths: Tensor, reduction: str, n_items: float | None) -> Tensor:
    """Return the sum by the number of items."""
    if n_items is not None:
        if not isinstance(n_items, (int, float)) or not 0 < n_items < float("inf"):
            raise ArgumentError(
                f"n_items: expected a positive number of items, got {quote(n_items)}. Pass None to count this batch's."
            )
        return losses.sum() / n_items
    counts = {"tree": (lengths > 0).to(torch.int64), "node": (lengths - 1).clamp(min=0), "word": lengths}[reduction]
    return losses.sum() / counts.sum().clamp(min=1)
