"""Losses that teach a student the dependency trees of several teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from treeavg.alignment import Places, Trees, align
from treeavg.averaging.average import average
from treeavg.averaging.dependency import Heads
from treeavg.averaging.weights import whole_weights
from treeavg.dependency import DependencyTreebank
from treeavg.distill.dependency_crf import DependencyCRF
from treeavg.distill.dependency_decoding import is_tree
from treeavg.distill.dependency_inside import LOW
from treeavg.errors import ArgumentError, unknown
from treeavg.strings import flat_ranges, offsets_of

#: Each loss: what it is, in a line, and the part of the targets that it reads.
KINDS: dict[str, tuple[str, str]] = {
    "head": ("cross-entropy of each word's head against the share of votes, word by word", "votes"),
    "kl": ("KL(p || q) over trees, p being in proportion to exp(votes / temperature)", "votes"),
    "rkl": ("KL(q || p) over trees", "votes"),
    "hard": ("-log q(average tree)", "average"),
    "union": ("the mean over teachers of -log q(teacher's tree)", "votes"),
}
REDUCTIONS = ("tree", "node", "word", "none")
#: Losses that compare with the distribution p, which alone has a temperature.
_TEMPERED = ("kl", "rkl")


@dataclass(frozen=True)
class DependencyTargets:
    """What teachers say of a batch of sentences.

    Parameters
    ----------
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    votes : Tensor, shape (B, N + 1, N + 1), optional
        The weight of the teachers that have each arc, by head and dependent.
    weight : float, default 1.0
        The weight of all teachers.
    average : Tensor of int64, shape (B, N), optional
        The heads of the average, 0 past a sentence's end.

    Examples
    --------
    >>> DependencyTargets(torch.tensor([1]), average=torch.tensor([[0]])).weight
    1.0
    """

    lengths: Tensor
    votes: Tensor | None = None
    weight: float = 1.0
    average: Tensor | None = None

    def to(self, device: str | torch.device) -> DependencyTargets:
        """Return the targets on a device; lengths stay, so that looking at them never stops a GPU.

        Parameters
        ----------
        device : str or torch.device
            Where the student's scores are.

        Returns
        -------
        DependencyTargets
        """
        votes, trees = (
            None if part is None else part.to(device, non_blocking=True) for part in (self.votes, self.average)
        )
        return DependencyTargets(self.lengths, votes, self.weight, trees)


@dataclass(frozen=True)
class TeacherHeads:
    """The heads of several teachers over a corpus and their average, ready to be batched.

    Parameters
    ----------
    lengths : ndarray of int64, shape (S,)
        Words of each sentence; T in all.
    heads : ndarray of int32, shape (K, T)
        Row k: the heads of teacher k.
    weights : ndarray of float64, shape (K,)
        Of the teachers.
    average : DependencyTreebank
        Their average.

    Examples
    --------
    >>> teachers = [DependencyTreebank.from_heads([own]) for own in ([2, 0], [2, 0], [0, 1])]
    >>> TeacherHeads.of(teachers).batch([0]).votes
    tensor([[[0., 1., 2.],
             [0., 0., 1.],
             [0., 2., 0.]]])
    """

    lengths: NDArray[np.int64]
    heads: NDArray[np.int32]
    weights: NDArray[np.float64]
    average: DependencyTreebank

    @classmethod
    def of(
        cls,
        teachers: Sequence[Trees],
        *,
        weights: Sequence[Any] | None = None,
        projective: bool = True,
        on_error: str = "raise",
        places: Places | None = None,
    ) -> TeacherHeads:
        """Align teachers, count their votes and average them.

        Parameters
        ----------
        teachers : sequence of DependencyTreebank, length K >= 1
            Over the same sentences. Not modified.
        weights : sequence of numbers, length K, optional
            Default: each counts 1.
        projective : bool, default True
            Whether the average is to be projective.
        on_error : str, default "raise"
            ``skip`` gives a sentence that some teacher lacks the length 0.
        places : Places, optional
            How messages name the teachers.

        Returns
        -------
        TeacherHeads

        Raises
        ------
        AlignmentError
            The teachers do not hold the same sentences.
        ArgumentError
            The weights are not one a teacher, or a teacher is no DependencyTreebank.

        Examples
        --------
        >>> bank = DependencyTreebank.from_heads([[0]])
        >>> TeacherHeads.of([bank, bank], weights=[1, 0.5]).weights.tolist()
        [1.0, 0.5]
        """
        whole, unit = whole_weights(weights, len(teachers)) if len(teachers) else (np.empty(0, np.int64), 1)
        lengths, _ = align(teachers, places=places, on_error=on_error)
        banks = [bank for bank in teachers if isinstance(bank, DependencyTreebank)]
        if not banks:
            name = places.names[0] if places else "teachers[0]"
            raise ArgumentError(
                f"{name}: expected dependency trees, got constituency trees. Train a span parser on them."
            )
        best = average(banks, weights=weights, projective=projective, on_error=on_error, places=places)
        matrix = Heads.of(banks, lengths).matrix
        return cls(lengths.astype(np.int64), matrix, np.asarray(whole * float(unit), np.float64), best)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, sentences: Sequence[int] | NDArray[np.int64]) -> DependencyTargets:
        """Return the targets of some sentences.

        Parameters
        ----------
        sentences : sequence of int or ndarray of int64, shape (B,)
            Indices.

        Returns
        -------
        DependencyTargets
            With votes (float32) and the average, on the CPU.

        Examples
        --------
        >>> TeacherHeads.of([DependencyTreebank.from_heads([[0], [2, 0]])]).batch([1, 0]).average
        tensor([[2, 0],
                [0, 0]])
        """
        chosen = np.asarray(sentences, np.int64)
        lengths = self.lengths[chosen]
        longest = int(lengths.max(initial=0))
        words = flat_ranges(offsets_of(self.lengths)[:-1][chosen], lengths)
        rows, columns = np.repeat(np.arange(len(chosen)), lengths), flat_ranges(np.zeros_like(lengths), lengths)
        votes = np.zeros((len(chosen), longest + 1, longest + 1), np.float32)
        for own, weight in zip(self.heads[:, words], self.weights, strict=True):
            votes[rows, own, columns + 1] += weight  # a word has one head, so no cell comes twice
        best = np.zeros((len(chosen), longest), np.int64)
        best[rows, columns] = self.average.heads[words]
        tensors = (torch.from_numpy(part) for part in (lengths, votes, best))
        found_lengths, found_votes, found_best = tensors
        return DependencyTargets(found_lengths, found_votes, float(self.weights.sum()), found_best)

    def require_projective(self, *, places: Places | None = None) -> None:
        """Raise unless every tree of every teacher is projective.

        Parameters
        ----------
        places : Places, optional
            How messages name the teachers.

        Raises
        ------
        ArgumentError
            Names the first teacher and sentence.

        Examples
        --------
        >>> TeacherHeads.of([DependencyTreebank.from_heads([[2, 0]])]).require_projective()
        """
        places = places or Places(tuple(f"teachers[{index}]" for index in range(len(self.heads))))
        offsets = offsets_of(self.lengths)
        lengths = torch.from_numpy(self.lengths)
        for teacher, flat in enumerate(self.heads):
            for sentence, words in enumerate(self.lengths.tolist()):
                heads = torch.from_numpy(flat[offsets[sentence] : offsets[sentence + 1]].astype(np.int64))
                alone = lengths[sentence : sentence + 1]
                if words and not is_tree(heads[None], alone, projective=True, multi_root=False).item():
                    raise ArgumentError(
                        f"{places.of(teacher, sentence)}: expected a projective tree, got crossing arcs. A projective "
                        "student cannot give it any probability: pass projective=False, or another loss than 'union'."
                    )


def dependency_loss(
    kind: str,
    student: DependencyCRF,
    targets: DependencyTargets,
    *,
    temperature: float = 1.0,
    reduction: str = "node",
    n_items: float | None = None,
) -> Tensor:
    """Return how far a student is from its teachers.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    student : DependencyCRF
        The student's distribution q.
    targets : DependencyTargets
        Over the same sentences, on the student's device.
    temperature : float, default 1.0
        Of the teachers' distribution p in ``kl`` and ``rkl``; near 0, only the average counts.
    reduction : str, default "node"
        ``tree``: the mean over trees. ``node`` or ``word``: the sum over trees by the number of words, since each word
        has one arc. ``none``: one number a sentence.
    n_items : float, optional
        What to divide the sum by instead: the number of items of a whole step, where a batch is only a part of it.

    Returns
    -------
    Tensor, shape () or (B,)
        At least 0.

    Raises
    ------
    ArgumentError
        An option is unknown, means nothing for the loss, or the targets lack what the loss reads.

    Notes
    -----
    With scores f of arcs, marginals m and v = votes:

    - ``kl`` = sum m_p (v / temperature - f) - log Z_p + log Z_q, ``rkl`` with the roles exchanged: both exact.
    - ``union`` = log Z_q - sum (v / weight) f: minus the log-probability of the teachers' trees if the student can give
      them, which trees with crossing arcs are not for a projective student; see `TeacherHeads.require_projective`.
    - ``head`` = - sum (v / weight) log softmax over heads of f, one word at a time: no tree is involved.

    The gradients of ``kl``, ``union`` and ``hard`` with respect to f are m_q - m_p, m_q - v / weight and m_q - average.

    Examples
    --------
    >>> votes = torch.tensor([[[0.0, 1.0, 2.0], [0.0, 0.0, 1.0], [0.0, 2.0, 0.0]]])
    >>> targets = DependencyTargets(torch.tensor([2]), votes, weight=3.0)
    >>> student = DependencyCRF(votes, targets.lengths)
    >>> dependency_loss("kl", student, targets)
    tensor(0.)
    >>> dependency_loss("union", student, targets, reduction="tree")
    tensor(0.7936)
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if reduction not in REDUCTIONS:
        raise unknown("reduction", reduction, REDUCTIONS)
    if temperature != 1.0 and kind not in _TEMPERED:
        raise ArgumentError(
            f"temperature: expected 1 for the loss {kind!r}, which has none, got {temperature!r}. Leave it out."
        )
    if n_items is not None and (reduction == "none" or not n_items > 0):
        raise ArgumentError(
            f"n_items: expected a number above 0 and a reduction, got {n_items!r} with {reduction!r}. Leave it out."
        )
    values = _values(kind, student, targets, temperature)
    if reduction == "none":
        return values
    if n_items is None:
        n_items = max(len(student) if reduction == "tree" else int(targets.lengths.sum()), 1)
    # Sentences without words still connect the student's parameters, so that every process has gradients.
    return (values.sum() + 0.0 * student.scores.sum().to(values.dtype)) / n_items


def _values(kind: str, student: DependencyCRF, targets: DependencyTargets, temperature: float) -> Tensor:
    needed = KINDS[kind][1]
    given = targets.votes if needed == "votes" else targets.average
    if given is None:
        raise ArgumentError(f"targets.{needed}: expected a tensor, as the loss {kind!r} reads it, got None. Give it.")
    words = student.scores.shape[1] - 1
    wanted = (len(student), words + 1, words + 1) if needed == "votes" else (len(student), words)
    if tuple(given.shape) != wanted:
        raise ArgumentError(
            f"targets.{needed}: expected the shape {wanted} as of the student's scores, got {tuple(given.shape)}. "
            "Batch both alike."
        )
    if kind == "hard":
        return -student.log_prob(given)
    if kind in _TEMPERED:
        teacher = DependencyCRF(given.to(student.dtype), student.lengths, temperature=temperature, **student.options)
        return teacher.kl(student) if kind == "kl" else student.kl(teacher)
    share = torch.where(student.arcs, given.double(), 0.0) / targets.weight
    if kind == "union":
        return student.log_partition - (share * student.scores).sum((1, 2)).to(student.dtype)
    logs = torch.where(student.arcs, student.scores, LOW).log_softmax(1)
    return -(share * torch.where(student.arcs, logs, 0.0)).sum((1, 2)).to(student.dtype)
