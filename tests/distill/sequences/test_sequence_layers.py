"""Which layer learns from which: strategies by hand, seeds, the lists of copied blocks, angles, refusals."""

from __future__ import annotations

import math

import pytest
import torch

from treeavg.distill.sequences.layers.layers import (
    COPIED_BLOCKS,
    STRATEGIES,
    LayerPair,
    copied_blocks,
    layer_angles,
    select_layers,
)
from treeavg.errors import ArgumentError


def teachers(*arguments: object, **options: object) -> list[object]:
    return [pair.teacher for pair in select_layers(*arguments, **options)]  # type: ignore[arg-type]


def test_forward() -> None:
    """Evenly spaced; the last layer only where asked for; a half goes up; a deep student never meets layer 0."""
    assert teachers(6, 12) == [2, 4, 6, 8, 10]
    assert teachers(6, 12, include_last=True) == [2, 4, 6, 8, 10, 12]
    assert [pair.student for pair in select_layers(6, 12)] == [1, 2, 3, 4, 5]
    assert teachers(4, 6, include_last=True) == [2, 3, 5, 6]
    assert teachers(5, 2, include_last=True) == [1, 1, 1, 2, 2]
    assert teachers(4, 4, include_last=True) == [1, 2, 3, 4]
    for student in range(1, 9):
        for teacher in range(student, 25):
            found = teachers(student, teacher, include_last=True)
            assert found == sorted(set(found))
            assert found == [max(1, math.floor(i * teacher / student + 0.5)) for i in range(1, student + 1)]


@pytest.mark.parametrize(("student", "teacher"), [(6, 12), (4, 6), (5, 24), (3, 3)])
def test_reverse(student: int, teacher: int) -> None:
    """Layer i takes what forward gives layer n + 1 - i; twice is forward again."""
    forward = dict(select_layers(student, teacher, include_last=True))
    reverse = dict(select_layers(student, teacher, "reverse", include_last=True))
    assert [reverse[i] for i in range(1, student + 1)] == list(forward.values())[::-1]
    assert {i: reverse[student + 1 - i] for i in forward} == forward
    assert dict(select_layers(student, teacher, "reverse")) == {i: reverse[i] for i in range(1, student)}


def test_last_k_all_to_one_weighted() -> None:
    assert teachers(3, 12, "last_k", include_last=True) == [10, 11, 12]
    assert teachers(4, 12, "all_to_one") == [12, 12, 12]
    assert teachers(4, 12, "all_to_one", teacher_layer=5) == [5, 5, 5]
    assert select_layers(3, 2, "weighted") == (LayerPair(1, (1, 2)), LayerPair(2, (1, 2)))


def test_copied() -> None:
    """The lists as released, counted from 1; else the blocks that the student was made of."""
    assert teachers(6, 12, "copied", include_last=True) == [1, 3, 5, 8, 10, 12]
    assert teachers(2, 12, "copied") == [1]
    assert teachers(3, 6, "copied", blocks=[1, 3, 5], include_last=True) == [2, 4, 6]
    for (teacher, student), blocks in COPIED_BLOCKS.items():
        assert copied_blocks(teacher, student) == blocks
        assert len(blocks) == student
        assert list(blocks) == sorted(set(blocks))
        assert blocks[0] == 0
        assert blocks[-1] < teacher
    assert COPIED_BLOCKS[12, 9] == (0, 1, 2, 4, 5, 7, 9, 10, 11)
    assert COPIED_BLOCKS[16, 8] == (0, 2, 4, 6, 8, 10, 12, 15)
    assert copied_blocks(2, 1) == (0,)
    assert copied_blocks(24, 2) == (0, 23)
    assert copied_blocks(5, 5) == (0, 1, 2, 3, 4)
    for teacher in range(1, 30):
        for student in range(1, teacher + 1):
            assert len(set(copied_blocks(teacher, student))) == student


def test_random() -> None:
    """The seed decides; all layers are drawn, equally often; in order means different ones, sorted."""
    for strategy in ("random", "random_inorder"):
        assert teachers(6, 12, strategy, seed=3) == teachers(6, 12, strategy, seed=3)
        assert len({tuple(teachers(6, 12, strategy, seed=seed)) for seed in range(20)}) > 15
    counts = torch.zeros(4)
    for seed in range(2000):
        found = teachers(3, 4, "random", seed=seed)
        for layer in found:
            counts[int(layer) - 1] += 1  # type: ignore[call-overload]
        chosen = teachers(4, 6, "random_inorder", seed=seed, include_last=True)
        assert chosen == sorted(set(chosen))  # type: ignore[type-var]
        assert {1, 2, 3, 4, 5, 6} >= set(chosen)
    expected = 1000.0
    assert (counts - expected).abs().max() < 4 * math.sqrt(4000 * 0.25 * 0.75)
    state = __import__("random").getstate()
    teachers(6, 12, "random", seed=3)
    assert __import__("random").getstate() == state


def test_angles_twin() -> None:
    """The mean of cosines, position by position; masked positions and zero differences do not count."""
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(2, 3, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    student = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    states[1][0, 0] = student[0, 0]
    spoilt = [each.clone() for each in states]
    for each in spoilt:
        each[0, 2] = float("nan")
    angles = layer_angles(spoilt, student, mask)
    for a in range(3):
        for b in range(3):
            cosines = []
            for row, column in mask.nonzero().tolist():
                u, v = states[a][row, column] - student[row, column], states[b][row, column] - student[row, column]
                if u.norm() > 0 and v.norm() > 0:
                    cosines.append(float(u @ v / (u.norm() * v.norm())))
            assert float(angles[a, b]) == pytest.approx(sum(cosines) / len(cosines), abs=1e-12)
            assert len(cosines) == (4 if 1 in (a, b) else 5)


def test_angles_explain() -> None:
    """Layers close to each other and far from the student: the directions agree, whichever layer is the target."""
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(1, 50, 32, generator=generator, dtype=torch.float64)
    layers = [base + 0.05 * torch.randn(1, 50, 32, generator=generator, dtype=torch.float64) for _ in range(3)]
    mask = torch.ones(1, 50, dtype=torch.bool)
    far = -torch.randn(1, 50, 32, generator=generator, dtype=torch.float64)
    assert float(layer_angles(layers, far, mask).min()) > 0.99
    assert float(layer_angles(layers, base, mask)[0, 1]) < 0.5
    assert layer_angles([base], base, mask).isnan().all()
    assert layer_angles([base.bfloat16()], far.bfloat16(), mask).dtype == torch.float32


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match=r"strategy: expected one of 'forward', .* got 'forwards'\. Did you mean"):
        select_layers(2, 4, "forwards")
    with pytest.raises(ArgumentError, match=r"student_layers: expected a whole number, at least 1, got 0\. Give the"):
        select_layers(0, 4)
    with pytest.raises(ArgumentError, match=r"teacher_layers: expected a whole number, at least 1, got 2\.5\."):
        select_layers(2, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"student_layers: expected 2 at least, .* got 1\. Use include_last=True\."):
        select_layers(1, 4)
    with pytest.raises(ArgumentError, match=r"seed: expected a whole number for 'random', got None\. Give the run's"):
        select_layers(3, 4, "random")
    for strategy in set(STRATEGIES) - {"random", "random_inorder"}:
        with pytest.raises(ArgumentError, match=rf"seed: expected None for '{strategy}', got 1\. Leave seed out\."):
            select_layers(3, 4, strategy, seed=1)
    with pytest.raises(ArgumentError, match=r"teacher_layer: expected None for 'forward', got 1\."):
        select_layers(3, 4, teacher_layer=1)
    with pytest.raises(ArgumentError, match=r"blocks: expected None for 'random', got \[1\]\."):
        select_layers(3, 4, "random", seed=1, blocks=[1])
    with pytest.raises(ArgumentError, match=r"teacher_layer: expected a layer from 1 to 4, got 0\. Layers count from"):
        select_layers(3, 4, "all_to_one", teacher_layer=0)
    with pytest.raises(ArgumentError, match=r"blocks: expected 3 numbers from 0 to 3, .* got \[0, 1, 4\]\."):
        select_layers(3, 4, "copied", blocks=[0, 1, 4])
    with pytest.raises(ArgumentError, match=r"teacher_layers: expected 5 at least, .* 'last_k', got 4\. Use 'forward'"):
        select_layers(5, 4, "last_k")
    with pytest.raises(ArgumentError, match=r"teacher_layers: expected 4 at least, .* got 3\. Use 'random'"):
        select_layers(5, 3, "random_inorder", seed=1)
    with pytest.raises(ArgumentError, match=r"student_layers: expected at most the teacher's 4, .* got 5\. Ask for"):
        copied_blocks(4, 5)
    mask = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ArgumentError, match=r"teacher: expected states of one layer at least, got none\."):
        layer_angles([], torch.zeros(1, 2, 3), mask)
    with pytest.raises(ArgumentError, match=r"teacher\[0\]: expected the student's shape \(1, 2, 3\) .* \(1, 2, 4\)"):
        layer_angles([torch.zeros(1, 2, 4)], torch.zeros(1, 2, 3), mask)
    with pytest.raises(ArgumentError, match=r"mask: expected bool, got torch\.int64\. Use mask\.bool\(\)\."):
        layer_angles([torch.zeros(1, 2, 3)], torch.zeros(1, 2, 3), mask.long())  # as an index it would take rows
