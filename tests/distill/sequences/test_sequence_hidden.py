"""Losses between layers: twins by hand, identities, padding, attention over layers, relations, the adversary."""

from __future__ import annotations

import math

import pytest
import torch
from sequence_tables import tiny_causal, tiny_seq2seq
from torch import Tensor, nn

from treeavg.distill.sequences.layers.adversarial import (
    Discriminator,
    discriminator_loss,
    pool,
    student_adversarial_loss,
)
from treeavg.distill.sequences.layers.hidden import ACTIVATIONS, NORMS, LinearMaps, hidden_loss, layer_weights
from treeavg.distill.sequences.layers.layers import LayerPair, select_layers
from treeavg.distill.sequences.layers.relations import attention_kl, attention_mse, value_relations
from treeavg.errors import ArgumentError

SEEDS = range(20)
MASK = torch.tensor([[True, True, True, False], [True, True, False, False], [True, True, True, True]])
norms = pytest.mark.parametrize("norm", list(NORMS))


def states(seed: int, layers: int, width: int, mask: Tensor = MASK) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*mask.shape, width, generator=generator, dtype=torch.float64) for _ in range(layers + 1)]


def maps_of(seed: int, student: int, teacher: int, pairs: int, **options: object) -> LinearMaps:
    torch.manual_seed(seed)
    made = LinearMaps(student, teacher, pairs, **options).double()  # type: ignore[arg-type]
    for weight in made.weights:
        nn.init.normal_(weight)
    return made


def scaled(vector: Tensor, norm: str) -> Tensor:
    if norm == "l2":
        return vector / vector.norm() if vector.any() else vector
    if norm == "ln":
        centred = vector - vector.mean()
        return centred / torch.sqrt((centred**2).mean() + 1e-5)
    return vector


def twin(
    teacher: list[Tensor],
    student: list[Tensor],
    pairs: tuple[LayerPair, ...],
    mask: Tensor,
    *,
    maps: LinearMaps | None = None,
    norm: str = "none",
    shift: int = 0,
    sharpness: float = 1.0,
) -> Tensor:
    """Pair by pair, position by position."""
    total = torch.zeros((), dtype=torch.float64)
    for place, pair in enumerate(pairs):
        for row, column in mask.nonzero().tolist():
            own = student[pair.student - shift][row, column]
            if maps is not None:
                weight = maps.weights[min(place, len(maps.weights) - 1)]
                own = ACTIVATIONS[maps.activation](weight @ own)
            if isinstance(pair.teacher, tuple):
                those = [teacher[layer - shift][row, column] for layer in pair.teacher]
                scores = torch.stack([sharpness * (own @ each) for each in those])
                shares = scores.exp() / scores.exp().sum()
                target = sum((share * each for share, each in zip(shares, those, strict=True)), torch.zeros(()))
            else:
                target = teacher[pair.teacher - shift][row, column]
            distance = (scaled(target, norm) - scaled(own, norm)).square().sum()
            total = total + (distance if norm == "l2" else distance / len(target))
    return total / mask.sum()


# ------------------------------------------------------------------ the loss against its twin


@norms
@pytest.mark.parametrize("seed", SEEDS)
def test_twin(norm: str, seed: int) -> None:
    """Value and gradients, to states and maps; every way to select layers, maps of their own or shared, inputs too."""
    teacher, student = states(seed, 4, 5), states(seed + 50, 3, 3)
    for each in student:
        each.requires_grad_()
    strategy = ("forward", "weighted", "reverse", "all_to_one")[seed % 4]
    pairs = select_layers(3, 4, strategy, include_last=True)
    activation = ("identity", "tanh", "relu")[seed % 3]
    maps = maps_of(seed, 3, 5, len(pairs), shared=bool(seed % 2), activation=activation)
    shift = int(seed % 5 == 0)
    sharpness = 0.7 if strategy == "weighted" else 1.0
    ours = hidden_loss(
        teacher, student, pairs, MASK, maps=maps, norm=norm, match="inputs" if shift else "outputs",
        sharpness=sharpness,
    )  # fmt: skip
    theirs = twin(teacher, student, pairs, MASK, maps=maps, norm=norm, shift=shift, sharpness=sharpness)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    leaves = [student[pair.student - shift] for pair in pairs] + list(maps.parameters())
    for a, b in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@norms
def test_equal_states_lose_nothing(norm: str) -> None:
    """s = t, W = I: 0. Fresh maps between equal widths are the identity."""
    teacher = states(0, 3, 4)
    pairs = select_layers(3, 3, include_last=True)
    for maps in (None, LinearMaps(4, 4, 3).double(), LinearMaps(4, 4, 3, shared=True).double()):
        loss = hidden_loss(teacher, [each.clone() for each in teacher], pairs, MASK, maps=maps, norm=norm)
        assert abs(loss.item()) < 1e-12


def test_l2_is_two_minus_two_cos() -> None:
    teacher, student = states(1, 1, 4), states(2, 1, 4)
    cosines = nn.functional.cosine_similarity(teacher[1], student[1], dim=-1)
    losses = hidden_loss(teacher, student, [LayerPair(1, 1)], MASK, norm="l2", reduction="none")
    torch.testing.assert_close(losses, (2 - 2 * cosines) * MASK, rtol=0, atol=1e-10)
    louder = hidden_loss([7 * each for each in teacher], student, [LayerPair(1, 1)], MASK, norm="l2", reduction="none")
    torch.testing.assert_close(louder, losses, rtol=0, atol=1e-10)


@norms
def test_states_of_zeros(norm: str) -> None:
    """They have no direction and no scale: the loss and its gradient stay finite and moderate."""
    teacher, student = states(1, 1, 4), [torch.zeros(*MASK.shape, 4, dtype=torch.float64).requires_grad_()] * 2
    loss = hidden_loss(teacher, student, [LayerPair(1, 1)], MASK, norm=norm)
    loss.backward()
    assert student[1].grad is not None
    assert student[1].grad.abs().max() < 1e3
    if norm == "l2":
        assert loss.item() == pytest.approx(1)


@norms
@pytest.mark.parametrize("strategy", ["forward", "weighted"])
def test_positions_stand_alone(norm: str, strategy: str) -> None:
    """No loss depends on padded positions, on other rows, on more padding, or on how a batch is split."""
    teacher, student = states(3, 3, 4), states(4, 3, 4)
    pairs = select_layers(3, 3, strategy, include_last=True)
    whole = hidden_loss(teacher, student, pairs, MASK, norm=norm, reduction="none")
    assert not whole[~MASK].any()
    assert (whole[MASK] > 0).all()
    spoilt = [
        [torch.where(MASK[..., None], z, float("nan")).requires_grad_() for z in side] for side in (teacher, student)
    ]
    loss = hidden_loss(*spoilt, pairs, MASK, norm=norm, reduction="none")
    torch.testing.assert_close(loss, whole)
    loss.sum().backward()
    assert spoilt[1][1].grad is not None
    assert spoilt[1][1].grad.isfinite().all()
    assert spoilt[0][1].grad is None  # the teacher is a constant
    for row in range(3):
        part = [[z[row : row + 1] for z in side] for side in (teacher, student)]
        alone = hidden_loss(*part, pairs, MASK[row : row + 1], norm=norm, reduction="none")
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-12)
    longer = [[torch.cat([z[:, :1] * 9, z, z[:, :2]], 1) for z in side] for side in (teacher, student)]
    sides = torch.nn.functional.pad(MASK, (1, 2))
    torch.testing.assert_close(
        hidden_loss(*longer, pairs, sides, norm=norm), hidden_loss(teacher, student, pairs, MASK, norm=norm)
    )
    count = int(MASK.sum())
    split = sum(
        hidden_loss([z[rows] for z in teacher], [z[rows] for z in student], pairs, MASK[rows], norm=norm, n_items=count)
        for rows in (slice(0, 1), slice(1, 3))
    )
    torch.testing.assert_close(split, hidden_loss(teacher, student, pairs, MASK, norm=norm))


def test_reductions_over_pairs_and_positions() -> None:
    teacher, student = states(5, 4, 4), states(6, 4, 4)
    pairs = select_layers(4, 4)
    total = hidden_loss(teacher, student, pairs, MASK)
    mean = hidden_loss(teacher, student, pairs, MASK, pair_reduction="mean")
    torch.testing.assert_close(mean * 3, total)
    losses = hidden_loss(teacher, student, pairs, MASK, reduction="none")
    torch.testing.assert_close(hidden_loss(teacher, student, pairs, MASK, reduction="sequence"), losses.sum() / 3)
    rows = (losses.sum(1) / MASK.sum(1)).mean()
    torch.testing.assert_close(hidden_loss(teacher, student, pairs, MASK, reduction="sequence_mean"), rows)
    embeddings = hidden_loss(teacher, student, [LayerPair(0, 0)], MASK, reduction="none")
    torch.testing.assert_close(embeddings, (teacher[0] - student[0]).square().mean(-1) * MASK)


def test_released_pairs_are_inputs() -> None:
    """Blocks 0, 2, 5 of 6: the released code compares states 0, 1, 2 of the student with states 0, 2, 5."""
    teacher, student = states(7, 6, 4), states(8, 3, 4)
    pairs = select_layers(3, 6, "copied", include_last=True)
    ours = hidden_loss(teacher, student, pairs, MASK, match="inputs", reduction="none")
    theirs = sum((teacher[t] - student[s]).square().mean(-1) for s, t in ((0, 0), (1, 2), (2, 5)))
    torch.testing.assert_close(ours, theirs * MASK)


def test_nothing_to_learn_from() -> None:
    """All positions masked: 0, and every weight has a gradient of 0."""
    teacher, student = states(9, 3, 5), states(10, 3, 4)
    leaf = student[2].requires_grad_()
    for strategy in ("forward", "weighted"):
        maps = LinearMaps(4, 5, 2).double()
        loss = hidden_loss(
            teacher, student, select_layers(3, 3, strategy), torch.zeros_like(MASK), maps=maps, norm="ln"
        )
        loss.backward()
        assert loss.item() == 0
        assert all(weight.grad is not None and not weight.grad.any() for weight in maps.parameters())
        assert leaf.grad is not None
        assert not leaf.grad.any()


def test_half_precision() -> None:
    """Squares of half precision would overflow."""
    teacher, student = ([(z * 200).half() for z in states(seed, 2, 4)] for seed in (11, 12))
    for norm in NORMS:
        ours = hidden_loss(teacher, student, select_layers(2, 2), MASK, norm=norm)
        assert ours.dtype == torch.float32
        wide = hidden_loss(
            [z.double() for z in teacher], [z.double() for z in student], select_layers(2, 2), MASK, norm=norm
        )
        torch.testing.assert_close(ours.double(), wide, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ attention over layers


def test_weights_of_layers() -> None:
    """Rows sum to 1; one layer is plain MSE; sharp weights leave the layer that matches best."""
    teacher, student = states(13, 4, 5), states(14, 3, 5)
    weights = layer_weights(teacher[1:], student[2])
    assert weights.shape == (*MASK.shape, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(MASK.shape, dtype=torch.float64))
    one = hidden_loss(teacher, student, [LayerPair(2, (3,))], MASK)
    torch.testing.assert_close(one, hidden_loss(teacher, student, [LayerPair(2, 3)], MASK), rtol=0, atol=1e-12)
    best = torch.stack([(student[2] * each).sum(-1) for each in teacher[1:]]).argmax(0)
    hard = layer_weights(teacher[1:], student[2], sharpness=1e4)
    torch.testing.assert_close(hard, nn.functional.one_hot(best, 4).double())
    losses = hidden_loss(teacher, student, [LayerPair(2, (1, 2, 3, 4))], MASK, sharpness=1e4, reduction="none")
    chosen = torch.stack(teacher[1:])[best, torch.arange(3)[:, None], torch.arange(4)]
    torch.testing.assert_close(losses, (chosen - student[2]).square().mean(-1) * MASK)


def test_gradient_through_weights() -> None:
    """Detached weights: the gradient of plain MSE to a constant target; the value stays."""
    teacher, student = states(15, 3, 4), states(16, 2, 4)
    leaf = student[1].requires_grad_()
    pairs = select_layers(2, 3, "weighted")
    loss = hidden_loss(teacher, student, pairs, MASK, detach_weights=True)
    (grad,) = torch.autograd.grad(loss, leaf)
    shares = layer_weights(teacher[1:], leaf.detach())
    target = (torch.stack(teacher[1:], -1) * shares[..., None, :]).sum(-1)
    torch.testing.assert_close(grad, 2 * (leaf - target).detach() * MASK[..., None] / (MASK.sum() * 4))
    full = hidden_loss(teacher, student, pairs, MASK)
    assert full.item() == loss.item()
    assert not torch.allclose(torch.autograd.grad(full, leaf)[0], grad)


# ------------------------------------------------------------------ models


@pytest.mark.parametrize("kind", ["causal", "encoder", "decoder"])
def test_on_models(kind: str) -> None:
    """States as the models give them; the student and the maps learn, the teacher does not."""
    ids = torch.randint(2, 20, (2, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    made = tiny_causal if kind == "causal" else tiny_seq2seq
    teacher, student = made(0, layers=4).eval(), made(1, layers=3, width=8).eval()
    found = []
    for model in (teacher, student):
        extra = {} if kind == "causal" else {"decoder_input_ids": ids}
        output = model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True, **extra)
        name = "hidden_states" if kind == "causal" else f"{kind}_hidden_states"
        found.append(output[name])
    assert [len(each) for each in found] == [5, 4]
    pairs = select_layers(3, 4)
    maps = LinearMaps(8, 16, len(pairs))
    loss = hidden_loss(*found, pairs, mask, maps=maps, norm="ln")
    loss.backward()
    assert loss.item() > 0
    assert all(weight.grad is None for weight in teacher.parameters())
    assert any(weight.grad is not None and bool(weight.grad.any()) for weight in student.parameters())
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in maps.parameters())


# ------------------------------------------------------------------ relations


@pytest.mark.parametrize("seed", range(5))
def test_relations_twin(seed: int) -> None:
    """Attention by values, and KL of rows, entry by entry; widths differ, masked positions do not count."""
    generator = torch.Generator().manual_seed(seed)
    theirs = torch.randn(3, 2, 4, 6, generator=generator, dtype=torch.float64)
    ours = torch.randn(3, 2, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    found = [value_relations(values, MASK) for values in (theirs, ours)]
    expected = torch.zeros((), dtype=torch.float64)
    for row, column in MASK.nonzero().tolist():
        keys = MASK[row].nonzero()[:, 0]
        for head in range(2):
            laws = []
            for values, made in zip((theirs, ours), found, strict=True):
                scores = values[row, head, keys] @ values[row, head, column] / math.sqrt(values.shape[-1])
                laws.append(scores.softmax(0))
                torch.testing.assert_close(made[row, head, column, keys], laws[-1])
                assert not made[row, head, column, ~MASK[row]].any()
            expected = expected + (laws[0] * (laws[0].log() - laws[1].log())).sum() / 2
    loss = attention_kl(*found, MASK)
    torch.testing.assert_close(loss, expected / MASK.sum(), rtol=0, atol=1e-10)
    grads = [torch.autograd.grad(each, ours, retain_graph=True)[0] for each in (loss, expected / MASK.sum())]
    torch.testing.assert_close(*grads, rtol=0, atol=1e-10)
    assert abs(attention_kl(found[1], found[1], MASK).item()) < 1e-15


def test_attention_of_models() -> None:
    """Rows of attention, causal zeros included; teacher and student of one kind with the same heads."""
    ids = torch.randint(2, 20, (3, 4), generator=torch.Generator().manual_seed(0))
    maps = []
    for seed, width in ((0, 16), (1, 8)):
        model = tiny_causal(seed, width=width).eval()
        model.set_attn_implementation("eager")
        maps.append(model(input_ids=ids, attention_mask=MASK.long(), output_attentions=True).attentions[-1])
    loss = attention_kl(*maps, MASK)
    loss.backward()
    p, q = (each.detach().double() for each in maps)
    rows = torch.where(p > 0, p * (p.clamp(min=1e-300).log() - q.clamp(min=1e-300).log()), 0).sum(-1).mean(1)
    assert loss.item() == pytest.approx(float((rows * MASK).sum() / MASK.sum()), abs=1e-7)


def test_attention_scores() -> None:
    """Squared differences of scores, mean over heads and over the keys that a query may attend to."""
    generator = torch.Generator().manual_seed(3)
    p, q = (torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    q.requires_grad_()
    expected = 0.0
    for row, column in MASK.nonzero().tolist():
        keys = MASK[row]
        expected += float((p[row, :, column, keys] - q[row, :, column, keys].detach()).square().mean())
    assert attention_mse(p, q, MASK).item() == pytest.approx(expected / int(MASK.sum()), abs=1e-12)
    causal = torch.ones(4, 4, dtype=torch.bool).tril().expand(3, -1, -1)
    masked = p.masked_fill(~causal[:, None], -torch.inf)
    loss = attention_mse(masked, q.masked_fill(~causal[:, None], -torch.inf), MASK, keys=causal)
    loss.backward()
    expected = 0.0
    for row, column in MASK.nonzero().tolist():
        expected += float((p - q.detach())[row, :, column, : column + 1].square().mean())
    assert loss.item() == pytest.approx(expected / int(MASK.sum()), abs=1e-12)
    assert q.grad is not None
    assert q.grad.isfinite().all()


# ------------------------------------------------------------------ the adversary


class Constant(nn.Module):
    """Says one half of everything, whatever its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight + 0.5


def test_adversary_at_one_half() -> None:
    """D = 1/2: its loss 1/2, the student's 1/4."""
    teacher, student = states(17, 0, 4)[0], states(18, 0, 4)[0]
    assert discriminator_loss(Constant(), teacher, student, mask=MASK).item() == 0.5
    assert student_adversarial_loss(Constant(), student, mask=MASK).item() == 0.25
    assert discriminator_loss(Constant(), pool(teacher, MASK), pool(student, MASK)).item() == 0.5


def test_adversary_steps() -> None:
    """Each step's gradient goes to one side only; values by hand; masked positions do not count."""
    torch.manual_seed(0)
    judge = Discriminator(4, hidden=6).double()
    teacher, student = states(19, 0, 4)[0], states(20, 0, 4)[0].requires_grad_()
    real, made = judge(teacher).detach(), judge(student).detach()
    loss = discriminator_loss(judge, teacher, student, mask=MASK)
    assert loss.item() == pytest.approx(float(((1 - real) ** 2 + made**2)[MASK].mean()), abs=1e-12)
    loss.backward()
    assert student.grad is None
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in judge.parameters())
    judge.zero_grad()
    loss = student_adversarial_loss(judge, student, mask=MASK)
    assert loss.item() == pytest.approx(float(((1 - made) ** 2)[MASK].mean()), abs=1e-12)
    loss.backward()
    assert all(weight.grad is None for weight in judge.parameters())
    assert all(weight.requires_grad for weight in judge.parameters())
    assert student.grad is not None
    assert student.grad[MASK].any()
    assert not student.grad[~MASK].any()
    nothing = student_adversarial_loss(judge, student, mask=torch.zeros_like(MASK))
    nothing.backward()
    assert nothing.item() == 0


def test_pool_by_hand() -> None:
    features = states(21, 0, 4)[0]
    spoilt = torch.where(MASK[..., None], features, float("nan")).requires_grad_()
    pooled = pool(spoilt, MASK)
    torch.testing.assert_close(pooled[1], features[1, :2].mean(0))
    torch.testing.assert_close(pooled[2], features[2].mean(0))
    pooled.sum().backward()
    assert spoilt.grad is not None
    assert spoilt.grad.isfinite().all()
    assert not pool(features, torch.zeros_like(MASK)).any()


def test_adversary_brings_laws_together() -> None:
    """Turn by turn, a student's mean moves to the teacher's, and the losses to 1/2 and 1/4."""
    torch.manual_seed(0)
    offset = nn.Parameter(torch.tensor([-2.0]))
    judge = Discriminator(1, hidden=8)
    first, second = torch.optim.Adam(judge.parameters(), lr=0.02), torch.optim.Adam([offset], lr=0.02)
    for _ in range(300):
        teacher, student = 1 + torch.randn(64, 1), torch.randn(64, 1)
        first.zero_grad()
        ours = discriminator_loss(judge, teacher, student + offset)
        ours.backward()
        first.step()
        second.zero_grad()
        theirs = student_adversarial_loss(judge, student + offset)
        theirs.backward()
        second.step()
    assert abs(offset.item() - 1) < 0.6
    assert abs(ours.item() - 0.5) < 0.1
    assert abs(theirs.item() - 0.25) < 0.15


# ------------------------------------------------------------------ refusals


def test_refusals() -> None:
    teacher, student = states(22, 3, 5), states(23, 2, 5)
    pairs = select_layers(2, 3)
    for option, message in (
        ("norm", r"norm: expected one of 'none', 'l2', 'ln', got 'lns'\. Did you mean 'ln'\?"),
        ("match", r"match: expected one of 'outputs', 'inputs', got 'lns'\."),
        ("pair_reduction", r"pair_reduction: expected one of 'sum', 'mean', got 'lns'\."),
        ("reduction", r"reduction: expected one of 'token', .* got 'lns'\."),
    ):
        with pytest.raises(ArgumentError, match=message):
            hidden_loss(teacher, student, pairs, MASK, **{option: "lns"})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"sharpness, detach_weights: expected their defaults .* got 2\.0, False\."):
        hidden_loss(teacher, student, pairs, MASK, sharpness=2.0)
    with pytest.raises(ArgumentError, match=r"sharpness, detach_weights: .* got 1\.0, True\. Use select_layers"):
        hidden_loss(teacher, student, pairs, MASK, detach_weights=True)
    with pytest.raises(ArgumentError, match=r"sharpness: expected a positive number, got 0\. Use 1\.0\."):
        layer_weights(teacher, student[0], sharpness=0)
    with pytest.raises(ArgumentError, match=r"teacher: expected states of one layer at least, got none\."):
        layer_weights([], student[0])
    with pytest.raises(ArgumentError, match=r"teacher\[0\]: expected the student's shape \(3, 4, 4\), got \(3, 4, 5\)"):
        layer_weights(teacher, student[0][..., 1:])
    with pytest.raises(ArgumentError, match=r"pairs: expected one pair of layers at least, got none\. Use select_lay"):
        hidden_loss(teacher, student, [], MASK)
    with pytest.raises(ArgumentError, match=r"pairs\[0\]\.teacher: expected one of layers 0 to 3, got 4\. Select lay"):
        hidden_loss(teacher, student, [LayerPair(1, 4)], MASK)
    with pytest.raises(ArgumentError, match=r"pairs\[0\]\.student: expected one of the inputs of layers 1 to 2, got 0"):
        hidden_loss(teacher, student, [LayerPair(0, 1)], MASK, match="inputs")
    with pytest.raises(ArgumentError, match=r"pairs\[0\]: expected states of one width, got 4 from .*, 5 from the"):
        hidden_loss(teacher, states(0, 2, 4), pairs, MASK)
    with pytest.raises(ArgumentError, match=r"maps: expected maps for 1 pairs, got maps for 2\. Make LinearMaps with"):
        hidden_loss(teacher, student, pairs, MASK, maps=LinearMaps(5, 5, 2))
    with pytest.raises(ArgumentError, match=r"mask: expected bool, got torch\.int64\. Use mask\.bool\(\)\."):
        hidden_loss(teacher, student, pairs, MASK.long())
    with pytest.raises(ArgumentError, match=r"student\[0\]: expected a state for each .* \(3, 4\), got \(3, 3, 5\)\."):
        hidden_loss(teacher, [each[:, 1:] for each in student], pairs, MASK)
    with pytest.raises(ArgumentError, match=r"activation: expected one of 'identity', .* got 'tan'\. Did you mean"):
        LinearMaps(2, 2, 1, activation="tan")
    with pytest.raises(ArgumentError, match=r"pairs: expected a whole number, at least 1, got 0\. Count again\."):
        LinearMaps(2, 2, 0)


def test_refusals_of_relations_and_adversary() -> None:
    probabilities = torch.full((3, 2, 4, 4), 0.25)
    with pytest.raises(
        ArgumentError, match=r"values: expected \(B, heads, T, d\) for the mask \(3, 4\), got \(3, 4, 5\)"
    ):
        value_relations(torch.zeros(3, 4, 5), MASK)
    with pytest.raises(ArgumentError, match=r"mask: expected bool, got torch\.int64\. Use mask\.bool\(\)\."):
        value_relations(torch.zeros(3, 2, 4, 5), MASK.long())
    for mask in (MASK.long(), MASK[:, 1:]):
        with pytest.raises(ArgumentError, match=r"mask: expected bool \(3, 4\), as the states, got torch"):
            pool(torch.zeros(3, 4, 5), mask)
    with pytest.raises(ArgumentError, match=r"hidden: expected a whole number, at least 1, got 0\. Count again\."):
        Discriminator(5, hidden=0)
    with pytest.raises(
        ArgumentError, match=r"student: expected .* got \(3, 1, 4, 4\) and the teacher's \(3, 2, 4, 4\)"
    ):
        attention_kl(probabilities, probabilities[:, :1], MASK)
    with pytest.raises(ArgumentError, match=r"mask: expected bool, got torch\.int64\. Use mask\.bool\(\)\."):
        attention_kl(probabilities, probabilities, MASK.long())
    with pytest.raises(ArgumentError, match=r"keys: expected \(3, 4, 4\), from each query to each key, got \(4, 4\)\."):
        attention_mse(probabilities, probabilities, MASK, keys=torch.ones(4, 4, dtype=torch.bool))
    features = torch.zeros(3, 4, 5)
    with pytest.raises(
        ArgumentError, match=r"student: expected features of .* \(3, 4, 5\), got \(3, 4, 6\)\. Map them"
    ):
        discriminator_loss(Discriminator(5), features, torch.zeros(3, 4, 6))
    with pytest.raises(ArgumentError, match=r"mask: expected bool \(3,\), as the features, got torch\.bool \(3, 4\)\."):
        student_adversarial_loss(Discriminator(5), features[:, 0], mask=MASK)
    with pytest.raises(
        ArgumentError, match=r"discriminator: expected a number for each of 12 .* got shape \(12, 5\)\."
    ):
        student_adversarial_loss(nn.Identity(), features)
