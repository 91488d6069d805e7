"""Averages of laws, the union of outputs, word-level votes: identities by enumeration, twins, refusals."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from ensembling_twins import table_component
from sequence_tables import GOLDEN_P, GOLDEN_Q, Table, golden
from torch import Tensor

from treeavg.distill.sequences.ensembling.averaging import AVERAGES, average, prefix_weights, union
from treeavg.distill.sequences.ensembling.ebbs import ebbs
from treeavg.distill.sequences.ensembling.protocol import BeamOptions
from treeavg.distill.sequences.ensembling.voting import vote_tokens, word_voting
from treeavg.errors import ArgumentError

SEEDS = range(20)


def laws(seed: int, models: int = 3) -> tuple[list[Tensor], Tensor, list[Table]]:
    """Return the logits of tables on all their strings, these strings, and the tables."""
    tables = [Table.random(50 * seed + k) for k in range(models)]
    strings = tables[0].outcomes()
    batches = [table.batch(strings) for table in tables]
    return [logits for logits, _, _ in batches], batches[0][1], tables


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    return (teacher.exp() * (teacher - student)).sum(-1)


@pytest.mark.parametrize("seed", SEEDS)
def test_average_of_losses(seed: int) -> None:
    """The mean of KL(p_k || q) is KL(average || q) and a constant, weighed too."""
    teachers, _, _ = laws(seed)
    student = torch.randn(teachers[0].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    student = student.log_softmax(-1)
    for weights in (None, [1.0, 2.0, 5.0]):
        shares = [1 / 3] * 3 if weights is None else [1 / 8, 2 / 8, 5 / 8]
        mean = average(teachers, weights=weights)
        logs = [logits.log_softmax(-1) for logits in teachers]
        left = sum(w * divergence(law, student) for w, law in zip(shares, logs, strict=True))
        constant = sum(w * divergence(law, mean) for w, law in zip(shares, logs, strict=True))
        torch.testing.assert_close(left, divergence(mean, student) + constant, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_prefix_average(seed: int) -> None:
    """It is the law of the enumerated mixture; the token average differs on some prefix, at the root it does not."""
    teachers, ids, tables = laws(seed)
    strings = tables[0].outcomes()
    found = average(teachers, kind="prefix", ids=ids)
    mixture = {string: sum(table.log_prob(string).exp() for table in tables) / 3 for string in strings}
    for row, string in enumerate(strings):
        for place in range(len(string)):
            ways = [(*string[:place], token) for token in range(4)]
            masses = [[mass for other, mass in mixture.items() if other[: place + 1] == way] for way in ways]
            totals = torch.tensor([sum(map(float, some)) for some in masses], dtype=torch.float64)
            expected = (totals / totals.sum()).log()
            torch.testing.assert_close(found[row, place], expected, rtol=0, atol=1e-10)
    plain = average(teachers)
    torch.testing.assert_close(plain[:, 0], found[:, 0], rtol=0, atol=1e-10)
    assert float((plain - found).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", AVERAGES)
def test_equal_teachers(kind: str) -> None:
    """The average of one is that one; one without weight has no influence; the order has none."""
    teachers, ids, _ = laws(3)
    given = {"kind": kind, "ids": ids if kind == "prefix" else None}
    same = average(teachers[:1] * 3, **given)
    torch.testing.assert_close(same, teachers[0].log_softmax(-1), rtol=0, atol=1e-10)
    alone = average(teachers, weights=[0, 1, 0], **given)
    torch.testing.assert_close(alone, teachers[1].log_softmax(-1), rtol=0, atol=1e-10)
    torch.testing.assert_close(average(teachers, **given), average(teachers[::-1], **given), rtol=0, atol=1e-10)
    warm = average(teachers, temperature=2.0, **given)
    torch.testing.assert_close(warm, average([z / 2 for z in teachers], **given), rtol=0, atol=1e-10)
    torch.testing.assert_close(warm.logsumexp(-1), torch.zeros(ids.shape, dtype=torch.float64), rtol=0, atol=1e-10)


def test_golden() -> None:
    """The golden pair: after a the mixture weighs .8 to .5; the geometric mean is by hand."""
    teachers = [table.batch([(1, 1)])[0] for table in golden()]
    ids = torch.tensor([[1, 1]])
    found = average(teachers, kind="prefix", ids=ids)[0, 1].exp()
    expected = (0.8 * GOLDEN_P[1,][0] + 0.5 * GOLDEN_Q[1,][0]) / 1.3
    assert abs(float(found[0]) - expected) <= 1e-10
    root = average(teachers, kind="geometric")[0, 0].exp()
    expected = math.sqrt(0.2 * 0.5) / (math.sqrt(0.2 * 0.5) + math.sqrt(0.8 * 0.5))
    assert abs(float(root[0]) - expected) <= 1e-10


def test_impossible_prefix() -> None:
    """What no teacher can say before, such as masked padding, gives equal weights; what one cannot, the others."""
    first = torch.tensor([[[0.0, 1.0, -math.inf], [0.0, 0.0, -math.inf], [1.0, 0.0, -math.inf]]], dtype=torch.float64)
    second = torch.tensor([[[0.0, -math.inf, -math.inf], [0.0, 3.0, -math.inf], [1.0, 0.0, -math.inf]]]).double()
    weights = prefix_weights([first, second], torch.tensor([[2, 0, 0]])).exp()
    torch.testing.assert_close(weights[:, 0, 1], torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert not weights.isnan().any()
    weights = prefix_weights([first, second], torch.tensor([[1, 0, 0]])).exp()
    torch.testing.assert_close(weights[:, 0, 1], torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert prefix_weights([first[:, :0], second[:, :0]], torch.zeros(1, 0, dtype=torch.int64)).shape == (2, 1, 0)
    half = average([first.bfloat16(), second.bfloat16()])
    assert half.dtype == torch.float32
    assert not half.isnan().any()


def test_union() -> None:
    """Training on the union is training on the mixture: equal outputs share an example, weights sum to 1."""
    outputs = [[(1, 0), (2, 0)], [(1, 0), (3, 0)], [(2, 0), (2, 0)]]
    examples = union(outputs, weights=[2, 1, 1])
    assert examples == [(0, (1, 0), 0.75), (0, (2, 0), 0.25), (1, (2, 0), 0.75), (1, (3, 0), 0.25)]
    assert union(outputs, weights=[0, 1, 0]) == [(0, (1, 0), 1.0), (1, (3, 0), 1.0)]
    table = Table.random(1)
    merged = sum(weight * table.log_prob(target) for _, target, weight in union(outputs))
    plain = sum(table.log_prob(target) for teacher in outputs for target in teacher) / 3
    assert abs(float(merged - plain)) <= 1e-10


@pytest.mark.parametrize("weight", ["soft", "zero_one"])
@pytest.mark.parametrize("seed", SEEDS)
def test_word_voting(seed: int, weight: str) -> None:
    """A greedy loop of votes, and for soft votes EBBS with a beam of 1, give the same output."""
    tables = [Table.random(70 * seed + k, longest=4, scale=2.0) for k in range(3)]
    components = [table_component([table]) for table in tables]
    options = BeamOptions(eos_ids=[0], max_length=3, beam=4, min_length=0)
    (found,) = word_voting(components, options, weight=weight)
    prefix: tuple[int, ...] = ()
    score = 0.0
    while not prefix or prefix[-1] != 0:
        rows = torch.stack([table.logits[prefix].log_softmax(-1) for table in tables])
        if len(prefix) == 3:
            rows[:, 1:] = -math.inf
        tops = [int(row.argmax()) for row in rows]
        votes: dict[int, tuple[int, float]] = {}
        for row, token in sorted(zip(rows, tops, strict=True), key=lambda one: one[1]):
            count, mass = votes.get(token, (0, 0.0))
            votes[token] = count + 1, mass + float(row[token].exp())
        ranked = [(mass if weight == "soft" else (count, mass), -token) for token, (count, mass) in votes.items()]
        winner = -max(ranked)[1]
        single, value = vote_tokens(rows[:, None], weight=weight)
        assert int(single) == winner
        count, mass = votes[winner]
        assert abs(float(value) - math.log(mass / (3 if weight == "soft" else count))) <= 1e-10
        score += float(value)
        prefix = (*prefix, winner)
    assert found.ids == prefix
    assert abs(found.score - score / len(prefix)) <= 1e-10
    if weight == "soft":
        narrow = BeamOptions(eos_ids=[0], max_length=3, beam=1, min_length=0)
        assert [found] == ebbs(components, narrow)[0]


def test_refusals() -> None:
    logits = torch.zeros(2, 3, 4)
    ids = torch.zeros(2, 3, dtype=torch.int64)
    tables = table_component([Table.of({(): [0.0, 1.0, 0.0]}, 1)])
    for call, message in (
        (lambda: average([]), "teachers: expected one or more, got none"),
        (lambda: average([logits], kind="tokn"), "kind: .*Did you mean 'token'"),
        (lambda: average([logits, logits[:1]]), r"teachers\[1\]: expected logits .*\(2, 3, 4\).*, got \(1, 3, 4\)"),
        (lambda: average([logits], kind="prefix"), "ids: expected the outputs .* for 'prefix', got None"),
        (lambda: average([logits], ids=ids), "ids: expected None for 'token', got a tensor"),
        (lambda: average([logits], kind="prefix", ids=ids[:1]), r"ids: expected shape \(2, 3\) .*, got \(1, 3\)"),
        (lambda: average([logits], weights=[1, 2]), r"weights: expected 1 non-negative numbers, .*, got \[1, 2\]"),
        (lambda: average([logits, logits], weights=[0, 0]), "weights: expected 2 non-negative"),
        (lambda: average([logits, logits], weights=[2, -1]), "weights: expected 2 non-negative"),
        (lambda: average([logits, logits], weights=["1", 2]), r"weights: expected 2 non-negative .*, got \['1', 2\]"),
        (lambda: average([logits], temperature=0), "temperature: expected a positive number, got 0. Use 1.0"),
        (lambda: average([logits], kind="prefix", ids=ids, temperature=math.nan), "temperature: .*, got nan"),
        (
            lambda: average([logits], kind="prefix", ids=ids - 100),
            "ids: expected int64 from 0 to 3, .* got torch.int64 from -100 to -100. Fill what stands after the end",
        ),
        (lambda: prefix_weights([logits], ids + 4), "ids: expected int64 from 0 to 3, .* from 4 to 4"),
        (lambda: prefix_weights([logits], ids.float()), "ids: expected int64 .*, got torch.float32 from 0 to 0"),
        (lambda: union(["abc", "abd"]), r"outputs\[0\]: expected a list of a teacher's outputs, got 'abc'"),
        (lambda: union([["a"], [[1, 2]]]), r"outputs\[1\]\[0\]: expected a text or a tuple of ids, got \[1, 2\]"),
        (lambda: vote_tokens(logits * math.nan), "log_probs: expected numbers, got NaN"),
        (lambda: union([]), "outputs: expected one teacher or more, got none"),
        (lambda: union([["a"], []]), r"outputs\[1\]: expected 1 outputs as in outputs\[0\], got 0"),
        (lambda: vote_tokens(logits, weight="sof"), "weight: .*Did you mean 'soft'"),
        (lambda: vote_tokens(logits[0]), r"log_probs: expected shape \(K, B, V\), .*, got \(3, 4\)"),
        (lambda: word_voting([tables], BeamOptions(eos_ids=[0], max_length=3), weight="x"), "weight: expected one of"),
        (
            lambda: word_voting([tables], BeamOptions(eos_ids=[0], max_length=0, min_length=0)),
            "components: expected an output for sentence 0, got none",
        ),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()


def test_inputs_untouched() -> None:
    teachers, ids, _ = laws(0)
    copies = [logits.clone() for logits in teachers]
    for kind, first in itertools.product(AVERAGES, (True, False)):
        average(teachers if first else teachers[::-1], kind=kind, ids=ids if kind == "prefix" else None)
    assert all(torch.equal(logits, copy) for logits, copy in zip(teachers, copies, strict=True))
