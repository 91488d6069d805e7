"""Minimum Bayes risk against its definition, and the targets that teachers decode for a student."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from sequence_tables import tiny_causal, tiny_seq2seq

from treeavg.distill.sequences.ensembling.beam import beam_search
from treeavg.distill.sequences.ensembling.distill import METHODS, Teacher, ensemble_targets
from treeavg.distill.sequences.ensembling.ebbs import ebbs
from treeavg.distill.sequences.ensembling.mbr import mbr
from treeavg.distill.sequences.ensembling.protocol import BeamOptions
from treeavg.distill.sequences.ensembling.voting import word_voting
from treeavg.distill.sequences.metrics.text_metrics import sentence_bleu
from treeavg.errors import ArgumentError

SEEDS = range(20)
INPUTS = [[5, 6, 7], [8], [9, 10], [11, 12, 13, 14], [3, 4]]


def test_two_of_a_kind() -> None:
    """Two identical candidates beat a third, as texts and as ids; one candidate is chosen; ties go to the first."""
    assert mbr(["a b c d", "x y z", "a b c d"]).place == 0
    assert mbr([[7, 8, 9], [1, 2, 3, 4], [1, 2, 3, 4]]).place == 1
    assert mbr(["alone"]) == (0, 100.0)
    assert mbr(["a b", "c d"]) == mbr(["e f", "g h"])
    assert mbr(["", "a b", "a c"]).place == 1
    assert mbr(["a b", "c d"], weights=[0.2, 0.5]).place == 1
    assert mbr(["x", "a", "a", "x"], weights=[0, 1, 0, 0.5]).place == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_definition(seed: int) -> None:
    """The choice maximises the weighed sum of utilities over all references, itself included."""
    draw = random.Random(seed)
    texts = [" ".join(draw.choices("abcd", k=draw.randint(1, 6))) for _ in range(5)] * draw.choice([1, 2])
    weights = [draw.random() for _ in texts]

    def overlap(output, reference) -> float:
        return len(set(output) & set(reference)) - 0.1 * len(output)

    for utility in (sentence_bleu, overlap):
        risks = [math.fsum(w * utility(text, other) for w, other in zip(weights, texts, strict=True)) for text in texts]
        found = mbr(texts, weights=weights, utility=utility)
        first = next(place for place, risk in enumerate(risks) if risk > max(risks) - 1e-10)
        assert found.place == first
        assert abs(found.utility - risks[first] / math.fsum(weights)) <= 1e-10
        order = list(range(len(texts)))
        draw.shuffle(order)
        shuffled = mbr([texts[k] for k in order], weights=[weights[k] for k in order], utility=utility)
        assert abs(shuffled.utility - found.utility) <= 1e-10


def test_mbr_refusals() -> None:
    for call, message in (
        (lambda: mbr([]), "candidates: expected a list of one output or more, got"),
        (lambda: mbr("a b"), "candidates: expected a list of one output or more, got 'a b'"),
        (lambda: mbr(["a", "b"], weights=[1]), r"weights: expected 2 non-negative numbers, .*, got \[1\]"),
        (lambda: mbr(["a"], weights=[-1]), "weights: expected 1 non-negative"),
        (lambda: mbr(["a"], weights=[0]), "not all 0"),
        (lambda: mbr(["b", "a"], utility=lambda a, b: math.nan), "utility: expected numbers, got NaN for candidate 0"),
        (lambda: mbr(["b"], utility=lambda a, b: -math.inf), "utility: expected a number above -inf"),
        (lambda: mbr(["b"], utility=lambda a, b: None), "utility: expected a number, got None. Return how alike"),
        (lambda: mbr(["a"], weights=["1"]), r"weights: expected 1 non-negative .*, got \['1'\]"),
        (lambda: mbr(["a", [1]]), r"candidates: expected texts, or token ids of each teacher, got \['a', \[1\]\]"),
        (lambda: mbr([1, 2]), r"candidates: expected texts, or token ids of each teacher, got \[1, 2\]\. Decode"),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()


def test_mbr_of_tensors() -> None:
    """Tensors and arrays of ids are their lists: equal ones are equal."""
    lists = [[3, 4, 5], [3, 4, 6], [3, 4, 5]]
    assert mbr([torch.tensor(ids) for ids in lists]) == mbr(lists)


@pytest.fixture(scope="module")
def teachers() -> list[Teacher]:
    """Return a causal model with two forms of the inputs, and an encoder-decoder; 0 pads, 1 ends."""
    causal, other = tiny_causal(1).double(), tiny_seq2seq(2).double()
    return [
        Teacher(causal, INPUTS, pad=0),
        Teacher(causal, [[2, *ids] for ids in INPUTS], pad=0),
        Teacher(other, [[*ids, 1] for ids in INPUTS], pad=0),
    ]


OPTIONS = BeamOptions(eos_ids=[1], max_length=6, beam=3, pad=0)


@pytest.mark.parametrize("method", METHODS)
def test_methods(teachers: list[Teacher], method: str) -> None:
    """Targets are those of the search of that name, whatever the batches; weights of an input sum to 1."""
    targets = ensemble_targets(teachers, OPTIONS, method=method, batch_size=2)
    again = ensemble_targets(teachers, OPTIONS, method=method, batch_size=32)
    assert [target.ids for target in targets] == [target.ids for target in again]
    assert [target.input for target in targets] == sorted(target.input for target in targets)
    components = [teacher.component(range(5)) for teacher in teachers]
    own = [[found[0] for found in beam_search([component], OPTIONS)] for component in components]
    for place in range(5):
        some = [target for target in targets if target.input == place]
        assert abs(sum(target.weight for target in some) - 1) <= 1e-10
        assert all(target.ids[-1] == 1 and len(target.ids) <= 7 for target in some)
        rivals = [outputs[place] for outputs in own]
        if method == "union":
            assert [target.ids for target in some] == list(dict.fromkeys(rival.ids for rival in rivals))
            assert all(rivals[target.teacher].ids == target.ids for target in some)
        elif method == "mbr":
            chosen = mbr([rival.ids[:-1] for rival in rivals]).place
            assert (some[0].teacher, some[0].ids) == (chosen, rivals[chosen].ids)
    if method in ("union", "mbr"):
        return
    expected = {
        "ebbs": lambda: [found[0] for found in ebbs(components, OPTIONS)],
        "soft-voting": lambda: word_voting(components, OPTIONS),
        "zero-one-voting": lambda: word_voting(components, OPTIONS, weight="zero_one"),
        "arithmetic": lambda: [found[0] for found in beam_search(components, OPTIONS)],
        "geometric": lambda: [found[0] for found in beam_search(components, OPTIONS, average="geometric")],
    }[method]()
    assert [target.ids for target in targets] == [one.ids for one in expected]
    for target, one in zip(targets, expected, strict=True):
        assert abs(target.score - one.score) <= 1e-10
        assert (target.teacher, target.text) == (None, None)


def test_self_distillation(teachers: list[Teacher]) -> None:
    """Of one teacher all methods of beam search agree."""
    some = [
        [target.ids for target in ensemble_targets(teachers[:1], OPTIONS, method=method)]
        for method in ("arithmetic", "geometric", "ebbs", "mbr", "union")
    ]
    assert all(one == some[0] for one in some)


def test_forced_tokens(teachers: list[Teacher]) -> None:
    """One prefix for all, or one for each input, in whatever batches."""
    for method in ("ebbs", "union"):
        for target in ensemble_targets(teachers, OPTIONS, method=method, forced=[9, 8], batch_size=2):
            assert target.ids[:2] == (9, 8)
        each = [[place + 2] for place in range(5)]
        for target in ensemble_targets(teachers, OPTIONS, method=method, forced=each, batch_size=2):
            assert target.ids[0] == target.input + 2


def test_vote_and_weights(teachers: list[Teacher]) -> None:
    """The options of a method reach it."""
    with_max = ensemble_targets(teachers, OPTIONS, vote="max")
    components = [teacher.component(range(5)) for teacher in teachers]
    assert [target.ids for target in with_max] == [found[0].ids for found in ebbs(components, OPTIONS, vote="max")]
    first = ensemble_targets(teachers, OPTIONS, method="mbr", utility=lambda output, reference: -len(output))
    assert all(len(target.ids) > 1 for target in first)
    own = [[found[0] for found in beam_search([component], OPTIONS)] for component in components]
    weighed = ensemble_targets(teachers, OPTIONS, method="mbr", score_weights=True)
    for place, rivals in enumerate(zip(*own, strict=True)):
        weights = [math.exp(rival.score) for rival in rivals]
        assert weighed[place].teacher == mbr([rival.ids[:-1] for rival in rivals], weights=weights).place


def test_different_vocabularies(teachers: list[Teacher]) -> None:
    """Refused, but for methods that compare texts where all teachers can decode."""
    large = Teacher(tiny_causal(5, vocabulary=23).double(), INPUTS, pad=22, eos_ids=[2])
    for method in ("ebbs", "mbr", "union"):
        with pytest.raises(ArgumentError, match=r"components\[1\]: expected a vocabulary of 20"):
            ensemble_targets([teachers[0], large], OPTIONS, method=method)

    def words(shift: int):
        return lambda ids: " ".join(chr(97 + (token + shift) % 5) for token in ids)

    pair = [replace(teachers[0], decode=words(0)), replace(large, decode=words(2))]
    for method in ("mbr", "union"):
        targets = ensemble_targets(pair, OPTIONS, method=method)
        assert {target.input for target in targets} == set(range(5))
        for target in targets:
            assert target.ids[-1] == (1, 2)[target.teacher]
            assert target.text == words((0, 2)[target.teacher])(target.ids[:-1])
            assert 22 not in target.ids
    with pytest.raises(ArgumentError, match="expected a vocabulary of 20"):  # whose ids would be forced?
        ensemble_targets(pair, OPTIONS, method="mbr", forced=[3])


def test_union_merges_texts(teachers: list[Teacher]) -> None:
    """Teachers whose texts are equal share a target."""
    pair = [replace(teacher, decode=lambda ids: "same") for teacher in teachers[:2]]
    targets = ensemble_targets(pair, OPTIONS, method="union")
    assert [(target.weight, target.text, target.teacher) for target in targets] == [(1.0, "same", 0)] * 5


def test_refusals(teachers: list[Teacher]) -> None:
    short = replace(teachers[0], inputs=INPUTS[:2])
    for call, message in (
        (lambda: ensemble_targets(teachers, OPTIONS, method="ebs"), "method: .*Did you mean 'ebbs'"),
        (lambda: ensemble_targets([], OPTIONS), "teachers: expected one or more, got none"),
        (lambda: ensemble_targets(teachers, OPTIONS, batch_size=0), "batch_size: expected 1 or more examples, got 0"),
        (lambda: ensemble_targets([teachers[0], short], OPTIONS), r"teachers\[1\].inputs: expected 5 .*, got 2"),
        (lambda: ensemble_targets(teachers[0], OPTIONS), "teachers: expected one or more, got one outside a list"),
        (lambda: ensemble_targets(teachers, OPTIONS, batch_size=1.5), "batch_size: expected 1 or more .*, got 1.5"),
        (
            lambda: ensemble_targets([replace(teachers[0], inputs=[[3], [4, 5], []])], OPTIONS),
            r"teachers\[0\]\.inputs\[2\]: expected one token or more, got none",
        ),
        (
            lambda: ensemble_targets([teachers[0], replace(teachers[2], inputs=[*INPUTS[:4], [20]])], OPTIONS),
            r"teachers\[1\]\.inputs\[4\]: expected ids from 0 to 19, the model's, got \[20\]",
        ),
        (
            lambda: ensemble_targets(teachers, OPTIONS, forced=[[2], [2], [2], [2] * 9, [2]], batch_size=1),
            r"forced\[3\]: expected at most 6 ids from 0 to 19",
        ),
        (lambda: ensemble_targets(teachers, OPTIONS, forced=[[2]]), "forced: expected a list of ids for each of the 5"),
        (lambda: ensemble_targets(teachers, OPTIONS, score_weights=True), "score_weights: .* for 'mbr' only"),
        (lambda: ensemble_targets(teachers, OPTIONS, utility=min), "utility: .* the method 'ebbs', .* 'mbr' only"),
        (lambda: ensemble_targets(teachers, OPTIONS, method="mbr", vote="sum"), "vote: .* for 'ebbs' only"),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()


def test_places_in_messages() -> None:
    """Examples of like length are decoded together, but a message names the place that the caller knows."""
    model = tiny_causal(1).double()
    padding = torch.full((20,), -math.inf, dtype=torch.float64).index_fill(0, torch.tensor([0]), 0.0)

    def bar(module, args, kwargs, output):
        """After token 9 comes padding, and that is barred."""
        output.logits = torch.where((kwargs["input_ids"] == 9)[:, -1:, None], padding, output.logits)
        return output

    model.register_forward_hook(bar, with_kwargs=True)
    for method in ("ebbs", "union"):
        with pytest.raises(ArgumentError, match="components: expected an output for sentence 1, got none"):
            ensemble_targets([Teacher(model, [[3, 4, 5], [6, 7, 8, 9], [3]], pad=0)], OPTIONS, method=method)


def test_no_traces(teachers: list[Teacher]) -> None:
    """Training mode comes back, no gradients are left, random numbers are not drawn."""
    model = teachers[0].model
    model.train()
    model.transformer.drop.eval()
    state = torch.get_rng_state()
    modes = [part.training for part in model.modules()]
    ensemble_targets(teachers, OPTIONS)
    assert [part.training for part in model.modules()] == modes
    assert torch.equal(state, torch.get_rng_state())
    assert all(weight.grad is None for weight in itertools.chain(*(t.model.parameters() for t in teachers)))
    model.eval()
