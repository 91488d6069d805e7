"""Optimal transport between layers: the plan against enumeration, the loss against its twin, one pair, refusals."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from treeavg.distill.sequences.layers import transport
from treeavg.distill.sequences.layers.hidden import NORMS, LinearMaps, hidden_loss
from treeavg.distill.sequences.layers.layers import LayerPair, select_layers
from treeavg.distill.sequences.layers.transport import transport_loss, transport_plan
from treeavg.errors import ArgumentError

pytest.importorskip("scipy")
SEEDS = range(20)
MASK = torch.tensor([[True, True, True, False], [True, False, False, False]])


def states(seed: int, layers: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*MASK.shape, width, generator=generator, dtype=torch.float64) for _ in range(layers + 1)]


def cheapest(costs: Tensor) -> float:
    """Every layer is so many equal grains that each grain goes to one place: try all ways."""
    rows, columns = costs.shape
    grains = math.lcm(rows, columns)
    givers = [row for row in range(rows) for _ in range(grains // rows)]
    takers = [column for column in range(columns) for _ in range(grains // columns)]
    ways = set(itertools.permutations(takers))
    return min(math.fsum(float(costs[pair]) for pair in zip(givers, way, strict=True)) for way in ways) / grains


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (4, 1), (2, 2), (2, 3), (3, 2), (3, 3), (2, 6)])
def test_plan(rows: int, columns: int, seed: int) -> None:
    """It costs no more than the best of all plans, and its sums are right to the last bit; ties too."""
    generator = torch.Generator().manual_seed(100 * seed + 10 * rows + columns)
    costs = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    if seed % 2:
        costs = costs.round()  # ties
    plan = transport_plan(costs)
    assert float((plan * costs).sum()) == pytest.approx(cheapest(costs), abs=1e-12)
    torch.testing.assert_close(plan.sum(1), torch.full((rows,), 1 / rows, dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(
        plan.sum(0), torch.full((columns,), 1 / columns, dtype=torch.float64), rtol=0, atol=1e-15
    )
    assert (plan >= 0).all()
    assert int((plan > 0).sum()) <= rows + columns - 1
    assert torch.equal(transport_plan(costs), plan)
    scaled = transport_plan((1e12 * costs).float())
    assert scaled.dtype == torch.float32
    assert float((scaled.double() * costs).sum()) == pytest.approx(cheapest(costs), abs=1e-5)


def twin(teacher: list[Tensor], student: list[Tensor], maps: LinearMaps | None, norm: str) -> Tensor:
    """Each position, each pair of layers, the last of the student's left out; the plan from detached means."""
    positions = MASK.nonzero().tolist()

    def apart(i: int, j: int, b: int, t: int) -> Tensor:
        own = student[i][b, t] if maps is None else maps.weights[i - 1] @ student[i][b, t]
        target = teacher[j][b, t]
        if norm == "l2":
            return (target / target.norm() - own / own.norm()).square().sum()
        if norm == "ln":
            target, own = (
                (one - one.mean()) / torch.sqrt((one - one.mean()).square().mean() + 1e-5) for one in (target, own)
            )
        return (target - own).square().mean()

    table = [
        [torch.stack([apart(i, j, b, t) for b, t in positions]) for j in range(1, len(teacher))]
        for i in range(1, len(student) - 1)
    ]
    plan = transport_plan(torch.stack([torch.stack([one.mean() for one in row]) for row in table]).detach())
    pairs = itertools.product(range(plan.shape[0]), range(plan.shape[1]))
    total = torch.stack([plan[i, j] * table[i][j] for i, j in pairs]).sum(0)
    return total.mean()


@pytest.mark.parametrize("norm", list(NORMS))
@pytest.mark.parametrize("seed", range(5))
def test_loss(seed: int, norm: str) -> None:
    """Value and gradients equal the twin's; what is masked does not matter."""
    torch.manual_seed(seed)
    teacher, student = states(seed, 4, 5), [one.requires_grad_() for one in states(seed + 50, 3, 3)]
    maps = LinearMaps(3, 5, 2).double()
    pairs = select_layers(3, 4, "weighted")
    loss = transport_loss(teacher, student, pairs, MASK, maps=maps, norm=norm)
    expected = twin(teacher, student, maps, norm)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    leaves = [student[1], student[2], *maps.parameters()]
    for one, other in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        assert one.any()
    spoilt = [torch.where(MASK[..., None], one.detach(), math.nan) for one in student]
    again = transport_loss(teacher, spoilt, pairs, MASK, maps=maps, norm=norm, reduction="none")
    assert (again.sum() / MASK.sum()).item() == pytest.approx(expected.item(), abs=1e-12)
    assert not again[~MASK].any()
    halves = transport_loss(teacher, student, pairs, MASK, maps=maps, norm=norm, n_items=8)
    assert halves.item() == pytest.approx(expected.item() / 2, abs=1e-12)


def test_limits() -> None:
    """One layer and one: the plain distance. Equal layers in any order: 0. No position: 0, connected to the graph."""
    teacher, student = states(1, 3, 4), states(2, 3, 4)
    one = hidden_loss(teacher[:2], student[:2], [LayerPair(1, 1)], MASK)
    assert float(transport_loss(teacher[:2], student[:2], [LayerPair(1, (1,))], MASK)) == pytest.approx(float(one))
    shuffled = [teacher[0], teacher[3], teacher[1], teacher[2]]
    pairs = select_layers(3, 3, "weighted", include_last=True)
    assert float(transport_loss(teacher, shuffled, pairs, MASK)) == 0
    leaves = [states.requires_grad_() for states in student]
    nothing = transport_loss(teacher, leaves, pairs, torch.zeros_like(MASK))
    nothing.backward()
    assert nothing.item() == 0
    assert all(leaf.grad is not None and not leaf.grad.any() for leaf in leaves[1:])


def test_it_trains() -> None:
    """Maps learn to bring a student's layers to those of a teacher that are turned versions of them."""
    torch.manual_seed(0)
    student = states(5, 2, 4)
    skew = torch.randn(4, 4, dtype=torch.float64)
    turn = torch.linalg.matrix_exp(0.2 * (skew - skew.T))
    teacher = [one @ turn for one in student]
    maps = LinearMaps(4, 4, 2, shared=True).double()
    pairs = select_layers(2, 2, "weighted", include_last=True)
    adam = torch.optim.Adam(maps.parameters(), 0.05)
    losses = []
    for _ in range(40):
        loss = transport_loss(teacher, student, pairs, MASK, maps=maps)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = states(0, 3, 4), states(1, 2, 4)
    pairs = select_layers(2, 3, "weighted")
    for call, message in (
        (lambda: transport_plan(torch.zeros(3)), r"costs: expected shape \(m, n\), .*, got \(3,\)\. Give a row"),
        (lambda: transport_plan(torch.zeros(0, 3)), r"costs: expected shape .*, got \(0, 3\)"),
        (lambda: transport_plan(torch.tensor([[math.nan]])), "costs: expected finite numbers, got NaN or infinity"),
        (
            lambda: transport_loss(teacher, student, select_layers(2, 3), MASK),
            r"pairs\[0\]: expected several layers of the teacher, the same in all pairs, got 2\. Use select_layers",
        ),
        (
            lambda: transport_loss(teacher, student, [LayerPair(1, (1, 2)), LayerPair(2, (1, 3))], MASK),
            r"pairs\[1\]: expected several layers .*, got \(1, 3\)",
        ),
        (
            lambda: transport_loss(teacher, student, pairs, MASK, norm="l3"),
            "norm: expected one of .none., .l2., .ln., got .l3.",
        ),
        (lambda: transport_loss(teacher, student, pairs, MASK.long()), "mask: expected bool, got torch.int64"),
        (
            lambda: transport_loss(teacher[:3], student, pairs, MASK),
            r"pairs\[0\]\.teacher: expected one of layers 0 to 2",
        ),
        (
            lambda: transport_loss(states(0, 3, 5), student, pairs, MASK),
            r"pairs\[0\]: expected states of one width, got 4 from the student, 5 from the teacher",
        ),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()

    def absent(name: str) -> nn.Module:
        raise ModuleNotFoundError(f"No module named {name.split('.')[0]!r}")

    monkeypatch.setattr(transport.importlib, "import_module", absent)
    with pytest.raises(ArgumentError) as caught:
        transport_plan(torch.zeros(2, 2))
    assert str(caught.value) == (
        "transport_plan: expected the package scipy, got: No module named 'scipy'. "
        "Install it: pip install 'treeavg[highs]'."
    )
