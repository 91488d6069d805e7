"""Ranked candidates: weights, the one nearest to gold, pairs, losses of pairs and lists; twins by loops; refusals."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
import torch
from sequence_tables import Table
from torch import Tensor

from treeavg.distill.sequences.losses.ranking import (
    KINDS,
    PAIRS,
    closest_to_gold,
    listwise_loss,
    n_best_weights,
    pairs,
    ranking_loss,
    sequence_scores,
)
from treeavg.errors import ArgumentError

SEEDS = range(20)
NEEDED = {"linear": {"clip": math.inf}, "logistic": {}, "hinge": {}, "dpo": {}}


def scores(seed: int, *, rows: int = 3, width: int = 5, ties: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return found.round() if ties else found


def some(seed: int, *, rows: int = 3, width: int = 5) -> Tensor:
    """Which candidates there are: at least the second."""
    there = torch.rand(rows, width, generator=torch.Generator().manual_seed(seed + 500)) < 0.7
    there[:, 1] = True
    return there


def options(kind: str, student: Tensor) -> dict:
    return {**NEEDED[kind], **({"reference": torch.zeros_like(student)} if kind == "dpo" else {})}


# ------------------------------------------------------------------ n best


@pytest.mark.parametrize("seed", SEEDS)
def test_n_best_weights(seed: int) -> None:
    """They sum to 1; candidates that are not there have none; scores' weights are renormalised probabilities."""
    law, there = scores(seed), some(seed)
    uniform = n_best_weights(law, valid=there)
    for row in range(3):
        count = int(there[row].sum())
        assert uniform[row].tolist() == pytest.approx([float(here) / count for here in there[row]])
    soft = n_best_weights(law, valid=there, kind="scores", temperature=2.0)
    assert not soft[~there].any()
    for row in range(3):
        mass = [math.exp(law[row, i] / 2) * bool(there[row, i]) for i in range(5)]
        assert soft[row].tolist() == pytest.approx([one / math.fsum(mass) for one in mass])
    for weights in (uniform, soft, n_best_weights(law), n_best_weights(law, kind="scores")):
        assert weights.sum(1).tolist() == pytest.approx([1, 1, 1])
        assert not weights.requires_grad


def test_n_best_loss() -> None:
    """With all strings as candidates the weighted -log q is the teacher's cross-entropy."""
    p, q = Table.random(1), Table.random(2)
    strings = p.outcomes()
    teacher = torch.stack([p.log_prob(string) for string in strings])
    student = torch.stack([q.log_prob(string) for string in strings])
    weights = n_best_weights(teacher[None], kind="scores")
    assert float(-(weights[0] * student).sum()) == pytest.approx(float(-(teacher.exp() * student).sum()), abs=1e-10)


def test_closest_to_gold() -> None:
    """Texts, tokens, a measure of one's own; the first of equal ones."""
    assert closest_to_gold(["the cat", "a cat sat here", "the cat sat here"], "the cat sat here") == 2
    assert closest_to_gold([[1, 2, 9], [1, 2, 3], [1, 2, 3]], [1, 2, 3]) == 1
    assert closest_to_gold(["aaa", "a", "aa"], "a", similarity=lambda one, gold: -abs(len(one) - len(gold))) == 1
    assert closest_to_gold(["x"], "y") == 0
    for nothing in ([], "text"):
        with pytest.raises(ArgumentError, match=r"candidates: expected one or more, got .*Give a list of outputs\."):
            closest_to_gold(nothing, "gold")
    with pytest.raises(ArgumentError, match=r"similarity: expected numbers, got NaN for candidates\[0\]\. Mend"):
        closest_to_gold(["a"], "b", similarity=lambda *_: math.nan)


# ------------------------------------------------------------------ pairs


def twin_pairs(kind: str, law: Tensor, there: Tensor) -> set[tuple[int, int, int]]:
    found = set()
    for row in range(len(law)):
        places = [i for i in range(law.shape[1]) if there[row, i]]
        if kind == "adjacent":
            places.sort(key=lambda i: (-float(law[row, i]), i))
            couples = list(pairwise(places))
        else:
            couples = list(combinations(places, 2))
        for a, b in couples:
            if law[row, a] != law[row, b]:
                found.add((row, a, b) if law[row, a] > law[row, b] else (row, b, a))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_pairs(seed: int) -> None:
    """All and adjacent pairs as loops have them; ties give none."""
    law, there = scores(seed), some(seed)
    for kind in ("all", "adjacent"):
        got = pairs(kind, law, valid=there)
        assert {tuple(pair) for pair in got.tolist()} == twin_pairs(kind, law, there)
        assert len(got) == len(twin_pairs(kind, law, there))
    for kind in PAIRS:
        assert pairs(kind, torch.ones(2, 4)).tolist() == []
        assert pairs(kind, torch.ones(2, 1)).tolist() == []
        assert pairs(kind, torch.ones(0, 3)).shape == (0, 3)


def test_best_against_random() -> None:
    """The first of the best against each worse candidate in equal shares, repeatable by its seed."""
    law = torch.tensor([[1.0, 3.0, 3.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0], [9.0, 1.0, 0.0, 5.0, 5.0]])
    there = torch.tensor([[True] * 5, [True] * 5, [False, True, True, False, False]])
    drawn = {0: 0, 3: 0, 4: 0}
    for seed in range(300):
        found = pairs("best-random", law, valid=there, generator=torch.Generator().manual_seed(seed)).tolist()
        assert [pair[:2] for pair in found] == [[0, 1], [2, 1]]
        assert found[1] == [2, 1, 2]
        drawn[found[0][2]] += 1
    assert all(70 < count < 130 for count in drawn.values())
    twice = [pairs("best-random", law, generator=torch.Generator().manual_seed(1)).tolist() for _ in range(2)]
    assert twice[0] == twice[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("builder", PAIRS)
def test_only_the_order_matters(kind: str, builder: str) -> None:
    """Pair losses do not change under an increasing transform of the teacher's scores (H.5)."""
    for seed in SEEDS:
        student = scores(seed + 40, ties=False)

        def loss(law: Tensor, seed: int = seed, student: Tensor = student) -> float:
            generator = torch.Generator().manual_seed(seed) if builder == "best-random" else None
            chosen = pairs(builder, law, generator=generator)
            return ranking_loss(kind, student, chosen, **options(kind, student)).item()

        teacher = scores(seed)
        assert loss(teacher) == loss(teacher**3 + 5) == loss(teacher.exp() / 7)


# ------------------------------------------------------------------ losses of pairs


def test_scores_of_sequences() -> None:
    """Sums over tokens that count; means for `per_token`; empty candidates are 0; NaN under the mask is not seen."""
    token = torch.tensor([[[-1.0, -2.0, math.nan], [-3.0, -1.0, -2.0], [math.nan] * 3]], requires_grad=True)
    mask = torch.tensor([[[True, True, False], [True, True, True], [False] * 3]])
    assert sequence_scores(token, mask).tolist() == [[-3.0, -6.0, 0.0]]
    assert sequence_scores(token, mask, per_token=True).tolist() == [[-1.5, -2.0, 0.0]]
    sequence_scores(token, mask).sum().backward()
    assert torch.equal(token.grad, mask.float())
    with pytest.raises(
        ArgumentError, match=r"mask: expected bool of shape \(1, 3, 3\), got torch\.bool of shape \(1, 3\)"
    ):
        sequence_scores(token, mask[..., 0])


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_twin(seed: int) -> None:
    """Each loss pair by pair, and by finite differences."""
    student, frozen = scores(seed, ties=False).requires_grad_(), scores(seed + 20, ties=False)
    chosen = pairs("all", scores(seed + 40))

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    formulas = {
        "linear": lambda d, _: max(-d, -0.8),
        "logistic": lambda d, _: -math.log(sigmoid(1.7 * d)),
        "hinge": lambda d, _: max(0.0, 0.6 - d),
        "dpo": lambda d, r: -math.log(sigmoid(0.4 * (d - r))),
    }
    given = {"linear": {"clip": 0.8}, "logistic": {"beta": 1.7}, "hinge": {"margin": 0.6}}
    given["dpo"] = {"beta": 0.4, "reference": frozen}
    for kind, formula in formulas.items():
        want = [
            formula(student[r, a].item() - student[r, b].item(), frozen[r, a].item() - frozen[r, b].item())
            for r, a, b in chosen.tolist()
        ]
        each = ranking_loss(kind, student, chosen, reduction="none", **given[kind])
        assert each.tolist() == pytest.approx(want, abs=1e-10)
        mean = ranking_loss(kind, student, chosen, **given[kind])
        assert mean.item() == pytest.approx(math.fsum(want) / len(want), abs=1e-10)
        part = ranking_loss(kind, student, chosen, n_items=50, **given[kind])
        assert part.item() == pytest.approx(math.fsum(want) / 50, abs=1e-10)
        share = ranking_loss(kind, student, chosen, n_items=50, world_size=2, **given[kind])
        assert share.item() == pytest.approx(math.fsum(want) / 25, abs=1e-10)
        assert torch.autograd.gradcheck(
            lambda s, k=kind: ranking_loss(k, s, chosen, **given[k]), (student,), eps=1e-7, atol=1e-6
        )


def test_identities() -> None:
    """Swapping a pair negates the linear gradient; equal scores give log 2, dpo at the reference too (H.5, H.10)."""
    student = scores(0, ties=False).requires_grad_()
    chosen = torch.tensor([[0, 1, 2], [1, 0, 4]])
    slopes = [
        torch.autograd.grad(ranking_loss("linear", student, one, clip=math.inf), student)[0]
        for one in (chosen, chosen[:, [0, 2, 1]])
    ]
    assert slopes[0].any()
    assert torch.equal(slopes[0], -slopes[1])
    level = torch.full((2, 5), -3.0, dtype=torch.float64)
    assert ranking_loss("logistic", level, chosen).item() == pytest.approx(math.log(2), abs=1e-12)
    same = ranking_loss("dpo", student, chosen, reference=student)
    assert same.item() == pytest.approx(math.log(2), abs=1e-12)
    assert torch.autograd.grad(same, student)[0].any()  # the reference is a constant
    assert ranking_loss("hinge", level, chosen).item() == 1
    assert ranking_loss("dpo", level, chosen, reference=level * 2).item() == pytest.approx(math.log(2))


def test_bounded() -> None:
    """The linear loss stops at its bound; the logistic one is finite far out."""
    student = torch.tensor([[50.0, -50.0]], requires_grad=True)
    chosen = torch.tensor([[0, 0, 1]])
    loss = ranking_loss("linear", student, chosen, clip=10)
    loss.backward()
    assert loss.item() == -10
    assert not student.grad.any()
    far = ranking_loss("logistic", student, chosen[:, [0, 2, 1]], beta=100)
    assert far.item() == pytest.approx(10000)


@pytest.mark.parametrize("kind", KINDS)
def test_no_pair(kind: str) -> None:
    """Without any pair 0, connected to the graph."""
    student = scores(0).requires_grad_()
    loss = ranking_loss(kind, student, torch.zeros(0, 3, dtype=torch.int64), **options(kind, student))
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


# ------------------------------------------------------------------ lists


@pytest.mark.parametrize("seed", SEEDS)
def test_listwise(seed: int) -> None:
    """The cross-entropy by loops; least where the student's scores are the teacher's up to a constant."""
    teacher, student, there = scores(seed), scores(seed + 20, ties=False), some(seed)
    got = listwise_loss(teacher, student, valid=there, temperature=2.0, teacher_temperature=0.5, reduction="none")
    for row in range(3):
        places = [i for i in range(5) if there[row, i]]
        p = torch.stack([teacher[row, i] / 0.5 for i in places]).softmax(0)
        log_q = torch.stack([student[row, i] / 2.0 for i in places]).log_softmax(0)
        assert got[row].item() == pytest.approx(-(p * log_q).sum().item(), abs=1e-10)
    assert listwise_loss(teacher, student).item() == pytest.approx(
        listwise_loss(teacher, student, reduction="none").mean().item()
    )
    own = teacher.clone().requires_grad_()
    loss = listwise_loss(teacher, own + 3, valid=there)
    assert torch.autograd.grad(loss, own)[0].abs().max() < 1e-12
    assert torch.autograd.gradcheck(lambda s: listwise_loss(teacher, s, valid=there), (student.requires_grad_(),))


# ------------------------------------------------------------------ refusals


def test_refuses_scores() -> None:
    good = torch.zeros(2, 3)
    bad = torch.tensor([[0.0, math.nan], [0.0, -math.inf]])
    for function in (n_best_weights, lambda law, **more: pairs("all", law, **more)):
        with pytest.raises(
            ArgumentError, match=r"scores\[0, 1\]: expected a finite score, got nan\. Leave the candidate"
        ):
            function(bad)
        with pytest.raises(ArgumentError, match=r"scores\[1, 1\]: expected a finite score, got -inf\."):
            function(bad, valid=torch.tensor([[True, False], [True, True]]))
        with pytest.raises(
            ArgumentError, match=r"scores\[1\]: expected one candidate or more, got none\. Leave the row"
        ):
            function(good, valid=torch.tensor([[True] * 3, [False] * 3]))
        with pytest.raises(
            ArgumentError, match=r"valid: expected bool of shape \(2, 3\), got torch\.bool of shape \(2, 2\)"
        ):
            function(good, valid=torch.ones(2, 2, dtype=torch.bool))
        for odd in (good[0], good.long()):
            with pytest.raises(ArgumentError, match=r"scores: expected floating numbers of shape \(B, N\), got torch"):
                function(odd)
    with pytest.raises(ArgumentError, match=r"teacher_scores\[0, 1\]: expected a finite score"):
        listwise_loss(bad, bad)
    with pytest.raises(
        ArgumentError, match=r"student_scores: expected the teacher's shape \(2, 3\), got \(2, 2\)\. Score"
    ):
        listwise_loss(good, good[:, :2])


def test_refuses_options() -> None:
    good, chosen = torch.zeros(2, 3), torch.tensor([[0, 1, 2]])

    def refused(message: str, function: object, *given: object, **more: object) -> None:
        with pytest.raises(ArgumentError, match=message):
            function(*given, **more)  # type: ignore[operator]

    refused(r"kind: expected one of 'uniform', 'scores', got 'score'\. Did", n_best_weights, good, kind="score")
    refused(r"temperature: expected a positive number, got 0\.", n_best_weights, good, kind="scores", temperature=0)
    refused(r"temperature: expected 1 for kind='uniform', which has none, got 2", n_best_weights, good, temperature=2)
    refused(r"kind: expected one of 'all', 'adjacent', 'best-random', got 'al'\.", pairs, "al", good)
    refused(
        r"generator: expected None for 'all', which draws nothing, got one\.", pairs, "all", good,
        generator=torch.Generator(),
    )  # fmt: skip
    refused(r"kind: expected one of 'linear', .*Did you mean 'hinge'\?", ranking_loss, "hing", good, chosen)
    refused(
        r"reduction: expected one of 'pair', 'none', got 'mean'", ranking_loss, "hinge", good, chosen, reduction="mean"
    )
    refused(r"clip: expected a value for 'linear', got None\. Use clip=10", ranking_loss, "linear", good, chosen)
    refused(r"reference: expected a value for 'dpo', got None\. Score", ranking_loss, "dpo", good, chosen)
    refused(
        r"margin: expected None for 'linear', got 1\. It is for 'hinge'\.",
        ranking_loss,
        "linear",
        good,
        chosen,
        clip=1,
        margin=1,
    )
    refused(
        r"beta: expected None for 'hinge', got 2\. It is for 'logistic' and 'dpo'",
        ranking_loss,
        "hinge",
        good,
        chosen,
        beta=2,
    )
    refused(
        r"reference: expected None for 'hinge', got a tensor\.", ranking_loss, "hinge", good, chosen, reference=good
    )
    refused(r"beta: expected a positive number, got -1\.", ranking_loss, "logistic", good, chosen, beta=-1)
    refused(
        r"reference: expected the shape of student_scores, \(2, 3\), got \(2, 2\)",
        ranking_loss,
        "dpo",
        good,
        chosen,
        reference=good[:, :2],
    )
    for processes in (0, 2, 1.5):
        refused(
            r"world_size: expected a number of processes, and n_items",
            ranking_loss,
            "hinge",
            good,
            chosen,
            world_size=processes,
        )
    for n_items in (-1, math.nan):
        refused(r"n_items: expected a number of pairs", ranking_loss, "hinge", good, chosen, n_items=n_items)
    refused(
        r"n_items: expected a number of pairs, for reduction='pair' only, got 3 and 'none'",
        ranking_loss,
        "hinge",
        good,
        chosen,
        n_items=3,
        reduction="none",
    )
    for odd in (chosen[:, :2], chosen.double(), chosen[0]):
        refused(r"pairs: expected int64 \(M, 3\) and student_scores \(B, N\), got", ranking_loss, "hinge", good, odd)
    for odd in ([[2, 0, 1]], [[0, 3, 1]], [[0, 1, -1]]):
        refused(
            r"pairs: expected rows below 2 and candidates below 3, got", ranking_loss, "hinge", good, torch.tensor(odd)
        )
    refused(r"reduction: expected one of 'row', 'none', got 'token'", listwise_loss, good, good, reduction="token")
    refused(
        r"teacher_temperature: expected a positive number, got 0\.", listwise_loss, good, good, teacher_temperature=0
    )
    refused(r"temperature: expected a positive number, got inf\.", listwise_loss, good, good, temperature=math.inf)
