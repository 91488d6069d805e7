"""Losses over dependency trees against sums over all trees, and teachers' votes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from dependency_twins import SPACES, arc_law, law, trees
from torch import Tensor

from treeavg import AlignmentError, DependencyTreebank, Treebank, average
from treeavg.alignment import Places
from treeavg.distill.dependency_crf import DependencyCRF
from treeavg.distill.dependency_losses import KINDS, DependencyTargets, TeacherHeads, dependency_loss
from treeavg.errors import ArgumentError

#: Three teachers over four sentences; the third of the fourth sentence has crossing arcs in CROSSING.
TEACHERS = [
    DependencyTreebank.from_heads([[2, 0, 2], [0], [2, 0], [2, 0, 4, 2]]),
    DependencyTreebank.from_heads([[0, 1, 2], [0], [2, 0], [0, 1, 1, 1]]),
    DependencyTreebank.from_heads([[2, 0, 2], [0], [0, 1], [2, 0, 2, 3]]),
]
CROSSING = [*TEACHERS[:2], DependencyTreebank.from_heads([[2, 0, 2], [0], [0, 1], [0, 4, 1, 1]])]
LENGTHS = [3, 1, 2, 4]


def student_of(space: tuple[bool, bool], seed: int = 0, temperature: float = 1.0) -> tuple[Tensor, DependencyCRF]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(4, 5, 5, generator=generator, dtype=torch.float64).requires_grad_()
    lengths = torch.tensor(LENGTHS)
    return scores, DependencyCRF(scores, lengths, projective=space[0], multi_root=space[1], temperature=temperature)


def explicit(
    kind: str, scores: Tensor, targets: DependencyTargets, space: tuple[bool, bool], temperature: float
) -> Tensor:
    """The loss of each sentence from the list of its trees."""
    assert targets.votes is not None
    assert targets.average is not None
    values = []
    for row, n in enumerate(LENGTHS):
        listed = trees(n, *space)
        q = law(scores[row, : n + 1, : n + 1], n, *space)
        votes = targets.votes[row, : n + 1, : n + 1].double()
        p = law(votes / temperature, n, *space)
        if kind == "kl":
            values.append((p.exp() * (p - q)).sum())
        elif kind == "rkl":
            values.append((q.exp() * (q - p)).sum())
        elif kind == "hard":
            values.append(-q[listed.index(tuple(targets.average[row, :n].tolist()))])
        elif kind == "union":
            own = [tuple(bank[row].heads) for bank in TEACHERS]
            values.append(-torch.stack([q[listed.index(heads)] for heads in own]).mean())
        else:
            columns = scores[row, : n + 1, 1 : n + 1].clone()
            columns[torch.arange(1, n + 1), torch.arange(n)] = -torch.inf
            logs = columns.log_softmax(0).nan_to_num(neginf=0.0)
            values.append(-(votes[:, 1:] / 3 * logs).sum())
    return torch.stack(values)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients(kind: str, space: tuple[bool, bool]) -> None:
    """Each loss and its gradient are those of the explicit sums."""
    targets = TeacherHeads.of(TEACHERS).batch(range(4))
    for temperature in (1.0, 0.3) if kind in ("kl", "rkl") else (1.0,):
        scores, student = student_of(space)
        values = dependency_loss(kind, student, targets, temperature=temperature, reduction="none")
        expected = explicit(kind, scores, targets, space, temperature)
        torch.testing.assert_close(values, expected, atol=1e-11, rtol=1e-11)
        ours, twin = torch.autograd.grad(values.sum(), scores)[0], torch.autograd.grad(expected.sum(), scores)[0]
        torch.testing.assert_close(ours, twin, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("space", SPACES)
def test_known_gradients(space: tuple[bool, bool]) -> None:
    """The gradients with respect to arcs are differences of probabilities, as documented."""
    targets = TeacherHeads.of(TEACHERS).batch(range(4))
    assert targets.votes is not None
    assert targets.average is not None
    best = torch.nn.functional.one_hot(targets.average, 5).transpose(1, 2).double()
    for kind in ("kl", "union", "hard"):
        scores, student = student_of(space)
        dependency_loss(kind, student, targets, reduction="tree", n_items=1).backward()
        with torch.no_grad():
            for row, n in enumerate(LENGTHS):
                votes = targets.votes[row, : n + 1, : n + 1].double()
                wanted = {
                    "kl": arc_law(law(votes, n, *space), n, *space),
                    "union": votes / 3,
                    "hard": torch.nn.functional.pad(best[row, : n + 1, :n], (1, 0)),
                }[kind]
                assert scores.grad is not None
                found = scores.grad[row, : n + 1, : n + 1]
                torch.testing.assert_close(found, student.marginals[row, : n + 1, : n + 1] - wanted, atol=1e-11, rtol=0)


def test_reductions() -> None:
    """Sums by the number of trees or words; parts of a batch add up to the whole under `n_items`."""
    heads = TeacherHeads.of(TEACHERS)
    targets = heads.batch(range(4))
    _, student = student_of((True, False))
    for kind in KINDS:
        each = dependency_loss(kind, student, targets, reduction="none")
        assert each.shape == (4,)
        assert dependency_loss(kind, student, targets, reduction="tree").item() == pytest.approx(each.mean().item())
        for reduction in ("node", "word"):
            whole = dependency_loss(kind, student, targets, reduction=reduction)
            assert whole.item() == pytest.approx(each.sum().item() / 10)
        parts = 0.0
        for rows in ([2], [0, 1, 3]):
            own = DependencyCRF(student.scores.detach()[rows], torch.tensor(LENGTHS)[rows])
            batch = heads.batch(rows)
            size = int(batch.lengths.max()) + 1
            own = DependencyCRF(student.scores.detach()[rows][:, :size, :size], batch.lengths)
            parts += dependency_loss(kind, own, batch, n_items=10).item()
        assert parts == pytest.approx(whole.item())


def test_divergences() -> None:
    """Both divergences are 0 for the teachers' own distribution and positive elsewhere; a cold one is the hard loss."""
    targets = TeacherHeads.of(TEACHERS, weights=[1, 1.5, 1.25]).batch(range(4))
    assert targets.votes is not None
    same = DependencyCRF(targets.votes, targets.lengths, temperature=0.7)
    _, other = student_of((True, False))
    for kind in ("kl", "rkl"):
        assert dependency_loss(kind, same, targets, temperature=0.7).item() == pytest.approx(0.0, abs=1e-6)
        assert (dependency_loss(kind, other, targets, reduction="none")[[0, 2, 3]] > 0).all()
        assert dependency_loss(kind, other, targets, reduction="none")[1].item() == pytest.approx(0.0, abs=1e-9)
    cold = dependency_loss("kl", other, targets, temperature=1e-3).item()
    assert cold == pytest.approx(dependency_loss("hard", other, targets).item(), abs=1e-9)


def test_sentences_without_words() -> None:
    """They have no loss, and parameters still have gradients: zeros."""
    bank = DependencyTreebank.from_heads([[], [0]])
    heads = TeacherHeads.of([bank, bank], on_error="skip")
    for rows, longest in (([0], 0), ([0, 1], 1)):
        targets = heads.batch(rows)
        assert targets.votes is not None
        assert targets.votes.shape == (len(rows), longest + 1, longest + 1)
        for kind in KINDS:
            for projective, multi_root in SPACES:
                scores = torch.full(targets.votes.shape, torch.nan, requires_grad=True)
                if longest:
                    scores = torch.zeros(targets.votes.shape, requires_grad=True)
                student = DependencyCRF(scores, targets.lengths, projective=projective, multi_root=multi_root)
                loss = dependency_loss(kind, student, targets)
                loss.backward()
                assert loss.item() == pytest.approx(0.0)
                assert scores.grad is not None
                assert scores.grad.abs().sum() == 0


def test_teacher_heads() -> None:
    """Votes are summed weights, the average is the library's; batches take any sentences in any order."""
    heads = TeacherHeads.of(CROSSING, weights=[2, 1, 0.5], projective=False)
    assert len(heads) == 4
    assert heads.average == average(CROSSING, weights=[2, 1, 0.5], projective=False)
    batch = heads.batch([3, 1])
    assert batch.lengths.tolist() == [4, 1]
    assert batch.weight == 3.5
    assert batch.votes is not None
    assert batch.average is not None
    assert batch.votes.sum((1, 2)).tolist() == [14.0, 3.5]
    assert batch.votes[0, :, 3].tolist() == [0.0, 1.5, 0.0, 0.0, 2.0]
    assert batch.average.tolist() == [heads.average[3].heads, [0, 0, 0, 0]]
    moved = batch.to("cpu")
    assert moved.votes is not None
    assert torch.equal(moved.votes, batch.votes)
    assert heads.batch([]).lengths.shape == (0,)


def test_projective_teachers() -> None:
    """A tree with crossing arcs is found before a projective student is trained on all teachers' trees."""
    TeacherHeads.of(TEACHERS).require_projective()
    heads = TeacherHeads.of(CROSSING)
    message = "teachers[2][3]: expected a projective tree, got crossing arcs. A projective student cannot give it any"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        heads.require_projective()
    with pytest.raises(ArgumentError, match=re.escape("c.heads: sentence 4: expected a projective tree")):
        heads.require_projective(places=Places(("a.heads", "b.heads", "c.heads"), files=True))


def test_teachers_that_do_not_fit() -> None:
    """Other sentences, other kinds, no teachers, other numbers of weights."""
    with pytest.raises(AlignmentError, match=r"teachers\[1\]\[0\]: expected 3 tokens"):
        TeacherHeads.of([TEACHERS[0], DependencyTreebank.from_heads([[0], [0], [0], [0]])])
    skipped = TeacherHeads.of([TEACHERS[0], DependencyTreebank.from_heads([[0], [0], [0], [0]])], on_error="skip")
    assert skipped.lengths.tolist() == [0, 1, 0, 0]
    assert skipped.batch(range(4)).lengths.tolist() == [0, 1, 0, 0]
    constituents = Treebank.from_constituents([2], [[(0, 2)]])
    with pytest.raises(
        ArgumentError, match=r"teachers\[0\]: expected dependency trees, got constituency trees\. Train a"
    ):
        TeacherHeads.of([constituents])
    with pytest.raises(ArgumentError, match="teachers: expected at least one treebank, got none"):
        TeacherHeads.of([])
    with pytest.raises(ArgumentError, match="weights: expected 3 non-negative numbers"):
        TeacherHeads.of(TEACHERS, weights=[1])


@pytest.mark.parametrize(
    ("kind", "change", "options", "message"),
    [
        ("klr", {}, {}, "kind: expected one of 'head', 'kl', 'rkl', 'hard', 'union', got 'klr'. Did you mean 'kl'?"),
        ("kl", {}, {"reduction": "mean"}, "reduction: expected one of 'tree', 'node', 'word', 'none', got 'mean'."),
        (
            "hard",
            {},
            {"temperature": 2.0},
            "temperature: expected 1 for the loss 'hard', which has none, got 2.0. Leave",
        ),
        ("kl", {}, {"temperature": -1.0}, "temperature: expected a number above 0, got -1.0."),
        (
            "kl",
            {},
            {"n_items": 0},
            "n_items: expected a number above 0 and a reduction, got 0 with 'node'. Leave it out.",
        ),
        (
            "kl",
            {},
            {"n_items": 2, "reduction": "none"},
            "n_items: expected a number above 0 and a reduction, got 2 with",
        ),
        ("kl", {"votes": None}, {}, "targets.votes: expected a tensor, as the loss 'kl' reads it, got None. Give it."),
        ("hard", {"average": None}, {}, "targets.average: expected a tensor, as the loss 'hard' reads it, got None."),
        ("kl", {"votes": torch.zeros(4, 4, 4)}, {}, "targets.votes: expected the shape (4, 5, 5) as of the student's"),
        ("hard", {"average": torch.zeros(4, 3).long()}, {}, "targets.average: expected the shape (4, 4) as of the"),
    ],
)
def test_messages(kind: str, change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    """Wrong arguments are named."""
    targets = replace(TeacherHeads.of(TEACHERS).batch(range(4)), **change)
    with pytest.raises(ArgumentError, match=re.escape(message)):
        dependency_loss(kind, student_of((True, False))[1], targets, **options)
