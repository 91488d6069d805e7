"""Bi-level beam search and plain beam search against their twin, their limits, golden numbers, refusals."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from ensembling_twins import assert_found, naive_search, table_component, table_law
from sequence_tables import Table

from treeavg.distill.sequences.ensembling.beam import AVERAGES, beam_search
from treeavg.distill.sequences.ensembling.components import FunctionComponent
from treeavg.distill.sequences.ensembling.ebbs import VOTES, ebbs, merge
from treeavg.distill.sequences.ensembling.protocol import BeamOptions
from treeavg.distill.sequences.ensembling.search import best
from treeavg.errors import ArgumentError

SEEDS = range(20)


def ensemble(
    seed: int, *, models: int = 3, sentences: int = 3, longest: int = 4, scale: float = 1.5
) -> list[list[Table]]:
    """Return each model's tables, one for each sentence; outputs of at most longest - 1 tokens before the end."""
    return [
        [Table.random(100 * seed + 10 * k + b, longest=longest, scale=scale) for b in range(sentences)]
        for k in range(models)
    ]


def constant(*laws: list[float]) -> list[FunctionComponent]:
    """Return components whose law is the same after all tokens, for one sentence."""
    rows = [torch.tensor([law], dtype=torch.float64).log() for law in laws]
    return [
        FunctionComponent(lambda _, prefixes, row=row: row.expand(len(prefixes), -1), 1, row.shape[1]) for row in rows
    ]


def options_of(beam: int, **others) -> BeamOptions:
    return BeamOptions(**{"eos_ids": [0], "max_length": 3, "beam": beam} | others)


def outputs(found: list) -> list:
    return [[hypothesis.ids for hypothesis in sentence] for sentence in found]


def assert_same(found: list, expected: list, shift: float = 0.0) -> None:
    assert outputs(found) == outputs(expected)
    for one, other in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        assert abs(one.score - other.score - shift) <= 1e-10


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rule", [*VOTES, *AVERAGES])
def test_twin(rule: str, seed: int) -> None:
    """Sizes, lengths, exponents, temperatures, forced tokens, several end tokens: the batch equals the twin."""
    draw = random.Random(f"{rule} {seed}")
    models = draw.choice([1, 2, 3])
    tables = ensemble(seed, models=models)
    for beam in (1, 2, 5):
        lower = draw.choice([None, beam, beam + 1, 100]) if rule in VOTES else None
        common = {
            "beam": beam,
            "max_length": 3,
            "min_length": draw.choice([0, 1, 2, 3]),
            "alpha": draw.choice([0.0, 0.6, 1.0, 2.0]),
            "pad": draw.choice([None, 0, 3]),
        }
        ends = draw.choice([[0], [0, 2]])
        temperature = draw.choice([1.0, 0.5])
        forced = [draw.choice([[], [1], [1, 1]]) for _ in range(3)]
        components = [table_component(rows) for rows in tables]
        options = BeamOptions(eos_ids=ends, temperature=temperature, **common)
        if rule in VOTES:
            found = ebbs(components, options, vote=rule, lower=lower, forced=forced)
        else:
            found = beam_search(components, options, average=rule, forced=forced)
        for b in range(3):
            laws = [table_law(rows[b], temperature) for rows in tables]
            expected = naive_search(laws, rule=rule, eos=ends, lower=lower, forced=forced[b], **common)
            assert_found(found[b], expected)
            assert expected
            assert all(ids[: len(forced[b])] == tuple(forced[b]) for ids, _ in expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_limits(seed: int) -> None:
    """One or equal components: beam search. No lower limit: beam search on the mean. Order of components: none."""
    tables = ensemble(seed)
    components = [table_component(rows) for rows in tables]
    for beam, alpha in ((1, 1.0), (3, 0.6)):
        options = options_of(beam, alpha=alpha)
        plain = beam_search(components[:1], options)
        assert_same(beam_search(components[:1], options, average="geometric"), plain)
        assert_same(ebbs(components[:1], options), plain)
        assert_same(ebbs(components[:1] * 3, options), plain)
        assert_same(ebbs(components, options, lower=10**9), beam_search(components, options))
        for vote in VOTES:
            first, *others = [
                ebbs(list(some), options, vote=vote) for some in list(itertools.permutations(components))[::2]
            ]
            assert all(other == first for other in others)  # to the last bit


@pytest.mark.parametrize("seed", SEEDS)
def test_enumeration(seed: int) -> None:
    """A beam as wide as there are strings finds all, with their probabilities and the mixture's laws."""
    tables = ensemble(seed, models=2, sentences=1, longest=3)
    options = BeamOptions(eos_ids=[0], max_length=2, beam=50, alpha=0.0, min_length=0)
    (found,) = beam_search([table_component(tables[0])], options)
    strings = {string for string in tables[0][0].outcomes() if string[-1] == 0}
    assert {one.ids for one in found} == strings
    assert all(abs(one.score - float(tables[0][0].log_prob(one.ids))) <= 1e-10 for one in found)
    (both,) = ebbs([table_component(rows) for rows in tables], options)
    for one in both:
        laws = [
            torch.stack([rows[0].logits[one.ids[:t]].softmax(-1) for rows in tables]).mean(0)
            for t in range(len(one.ids))
        ]
        score = sum(math.log(law[token]) for law, token in zip(laws, one.ids, strict=True))
        assert abs(one.score - score) <= 1e-10


def test_sum_and_mean() -> None:
    """The sum's lists are the mean's at alpha = 1, shifted by log K; at alpha = .6 some differ."""
    differing = 0
    for seed in SEEDS:
        components = [table_component(rows) for rows in ensemble(seed, scale=0.7)]
        assert_same(ebbs(components, options_of(3), vote="sum"), ebbs(components, options_of(3)), shift=math.log(3))
        some = [outputs(ebbs(components, options_of(3, alpha=0.6), vote=vote)) for vote in ("sum", "mean")]
        differing += some[0] != some[1]
    assert differing > 0


def test_golden() -> None:
    """Three models of different favourites share a second choice, which a beam of 2 finds."""
    laws = [[0, 0.55, 0.45, 0, 0], [0, 0, 0.45, 0.55, 0], [0, 0, 0.45, 0, 0.55]]
    components = constant(*laws)  # E, a, b, c, d
    last = {"eos_ids": [1, 2, 3, 4], "max_length": 1, "min_length": 0}
    narrow = ebbs(components, options_of(1, **last))[0]
    assert [one.ids for one in narrow] == [(1,)]  # a, c and d have one vote each: the smallest id
    for vote, value in (("sum", 1.35), ("mean", 0.45), ("zero_one", 0.45)):
        wide = ebbs(components, options_of(2, **last), vote=vote)[0]
        found = {one.ids: one.score for one in wide}
        assert abs(found[(2,)] - math.log(value)) <= 1e-10
        assert (wide[0].ids == (2,)) == (vote != "zero_one")  # which lists by scores, a's 0.55 first
    assert [one.ids for one in ebbs(components, options_of(2, **last), vote="max")[0]] == [(1,), (3,)]


def test_golden_order_of_votes() -> None:
    """The most proposals come first for zero_one, the highest for max."""
    scores = torch.tensor([[0.9, 0.1, 0.1, 0.5, -math.inf]], dtype=torch.float64).log()
    places = torch.tensor([[4, 9, 9, 7, 1]])
    for vote, expected, value in (("zero_one", [9, 4], 0.1), ("max", [4, 7], 0.9), ("sum", [4, 7], 0.9)):
        votes, found = merge(scores, places, 2, 2, vote=vote)
        assert found.tolist() == [expected]
        assert abs(float(votes[0, 0].exp()) - value) <= 1e-10
    votes, found = merge(scores, places, 2, 9)
    assert found[0, :3].tolist() == [4, 7, 9]
    assert (votes[0, 3:] == -math.inf).all()


def test_lengths_and_ends() -> None:
    """Longest hypotheses end in EOS, shortest are long enough, padding that is the end token does not bar it."""
    components = constant([0.01, 0.99, 0.0], [0.02, 0.9, 0.08])
    for pad in (None, 0, 2):
        (found,) = ebbs(components, options_of(4, max_length=5, min_length=2, pad=pad))
        assert found
        assert all(one.ids[-1] == 0 and 3 <= len(one.ids) <= 6 for one in found)
        assert any(len(one.ids) == 6 for one in found)
        assert (pad != 2) == any(2 in one.ids for one in found)
    assert ebbs(constant([0.3, 0.7]), options_of(1, max_length=0, min_length=0))[0][0].ids == (0,)


def test_beam_shrinks_and_grows() -> None:
    """A finished hypothesis is not replaced at its step; the next step fills the beam again."""
    rows = []

    def law(sentence, prefixes):
        rows.append(len(prefixes))
        return torch.tensor([[0.1, 0.5, 0.4]]).log().expand(len(prefixes), 3)

    ebbs([FunctionComponent(law, 1, 3)], options_of(3, max_length=3, min_length=0))
    assert rows[:4] == [1, 2, 3, 3]
    assert max(rows) == 3


def test_stops_when_full() -> None:
    """A sentence with a full list costs no more passes, though its beam could go on; others do go on."""
    rows = []

    def law(sentence, prefixes):
        rows.append(sentence.tolist())
        return torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3]]).log()[sentence]

    found = ebbs([FunctionComponent(law, 2, 3)], options_of(2, max_length=4, min_length=0))
    assert [one.ids for one in found[0]] == [(0,), (1, 0)]  # after which (1, 1) was second
    assert rows[1:3] == [[0, 1, 1], [1, 1]]
    assert all(0 not in some for some in rows[2:])


def test_ties() -> None:
    """All alike: the smallest ids, whatever the width of the vocabulary and of the lower level."""
    for size in (4, 300):
        components = constant(*[[1 / size] * size] * 2)
        for lower in (None, 3, 10**9):
            (found,) = ebbs(components, options_of(2, max_length=1), lower=lower)
            assert [one.ids for one in found] == [(1, 0), (2, 0)]
    scores = torch.tensor([[1.0, 3.0, 3.0, 3.0, 2.0], [0.0, -math.inf, 5.0, 5.0, 5.0]])
    assert best(scores, 2)[1].tolist() == [[1, 2], [2, 3]]
    assert best(scores, 9)[1].tolist() == [[1, 2, 3, 4, 0], [2, 3, 4, 0, 1]]


def test_nothing_possible() -> None:
    """Laws that exclude each other leave nothing to a geometric mean; other sentences are not disturbed."""
    one, other = (torch.tensor(law, dtype=torch.float64).log() for law in ([0.5, 0.5, 0.0], [0.0, 0.0, 1.0]))
    first = FunctionComponent(lambda sentence, prefixes: one.expand(len(sentence), 3), 2, 3)
    second = FunctionComponent(lambda sentence, prefixes: torch.stack([one, other])[sentence], 2, 3)
    found = beam_search([first, second], options_of(2), average="geometric")
    assert found[1] == []
    assert [one.ids for one in found[0]] == [(1, 0), (1, 1, 0)]
    assert ebbs([FunctionComponent(lambda s, p: torch.zeros(len(s), 3), 0, 3)], options_of(2)) == []


def test_single_precision() -> None:
    """Half and single precision are scored in single precision at least."""
    rows = torch.randn(3, 7, generator=torch.Generator().manual_seed(1))
    for dtype in (torch.bfloat16, torch.float32):
        low = [row.to(dtype) for row in rows]
        components = [FunctionComponent(lambda s, p, row=row: row.expand(len(s), 7), 1, 7) for row in low]
        exact = [FunctionComponent(lambda s, p, row=row: row.double().expand(len(s), 7), 1, 7) for row in low]
        (found,), (expected,) = (ebbs(some, options_of(3)) for some in (components, exact))
        assert [one.ids for one in found] == [one.ids for one in expected]
        assert all(abs(one.score - two.score) < 1e-5 for one, two in zip(found, expected, strict=True))


BAD_OPTIONS = [
    ({"eos_ids": []}, "eos_ids: expected the ids of one end token or more, got"),
    ({"eos_ids": [-1]}, "eos_ids: expected the ids of one end token or more, got"),
    ({"beam": 0}, "beam: expected 1 or more hypotheses, got 0"),
    ({"min_length": 4}, "min_length, max_length: expected 0 <= min_length <= max_length, got 4 and 3"),
    ({"alpha": math.nan}, "alpha, temperature: expected a finite number and a positive one, got nan and 1.0"),
    ({"eos_ids": 0}, "eos_ids: expected the ids of one end token or more, got 0"),
    ({"eos_ids": [None]}, r"eos_ids: expected the ids of one end token or more, got \[None\]"),
    ({"pad": "0"}, "pad: expected a token id or None, got '0'. Pass tokenizer.pad_token_id"),
    ({"beam": 2.5}, "beam: expected 1 or more hypotheses, got 2.5"),
    ({"max_length": 3.5}, "min_length, max_length: .*, got 1 and 3.5"),
    ({"max_length": 0}, "got 1 and 0. Both count tokens before the end token; min_length is 1 where it is not given"),
    ({"temperature": None}, "alpha, temperature: .*, got 1.0 and None"),
    ({"temperature": 0.0}, "alpha, temperature: expected a finite number and a positive one, got 1.0 and 0.0"),
]


@pytest.mark.parametrize(("given", "message"), BAD_OPTIONS)
def test_bad_options(given: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        BeamOptions(**{"eos_ids": [0], "max_length": 3} | given)


class Narrow:
    """A component of one's own that promises more tokens than it scores."""

    sentences, size, tokens = 1, 4, None

    def decoder(self) -> Narrow:
        return self

    def first(self) -> torch.Tensor:
        return torch.zeros(1, 2)


def test_beam_above_the_vocabulary() -> None:
    """A beam wider than there are tokens is filled at the next step, as the twin's."""
    tables = ensemble(3, models=2, sentences=1)
    for beam in (5, 17):
        (found,) = ebbs([table_component(rows) for rows in tables], options_of(beam))
        assert_found(found, naive_search([table_law(rows[0]) for rows in tables], rule="mean", beam=beam))
        assert len(found) == beam


def test_refusals() -> None:
    components = constant([0.5, 0.5], [0.1, 0.9])
    options = options_of(3)
    for call, message in (
        (lambda: ebbs(components, options, vote="men"), "vote: expected one of .*Did you mean 'mean'"),
        (lambda: merge(torch.zeros(1, 1), torch.zeros(1, 1), 1, 1, vote="men"), "Did you mean 'mean'"),
        (lambda: beam_search(components, options, average="geometrc"), "average: .*Did you mean 'geometric'"),
        (lambda: ebbs(components, options, lower=2), "lower: expected 3 or more, the size of the beam, got 2"),
        (lambda: ebbs([], options), "components: expected one or more, got none"),
        (lambda: ebbs(components, options_of(3, eos_ids=[2])), r"eos_ids: expected ids from 0 to 1, .*, got \[2\]"),
        (lambda: ebbs(components, options_of(3, pad=9)), r"pad: expected ids from 0 to 1, .*, got \[9\]"),
        (lambda: ebbs(components, options, forced=[[1], [1]]), "forced: expected a list of ids for each of the 1 sent"),
        (lambda: ebbs(components, options, forced=[0]), r"forced\[0\]: expected at most 3 ids from 0 to 1, no end"),
        (lambda: ebbs(components, options, forced=[[1] * 4]), r"forced\[0\]: expected at most 3 ids"),
        (lambda: ebbs(components, options, forced=[5]), r"forced\[0\]: expected .*, got \[5\]"),
        (
            lambda: ebbs(components, options, forced=[1, [1]]),
            r"forced: expected token ids for all sentences, or a list",
        ),
        (lambda: ebbs(components, options, forced="a"), "forced: expected token ids for all sentences, .*, got 'a'"),
        (lambda: ebbs(components, options, lower="5"), "lower: expected 3 or more, the size of the beam, got '5'"),
        (
            lambda: ebbs([FunctionComponent(lambda s, p: torch.zeros(1, 3), 2, 3)], options),
            r"law: expected logits of shape \(2, 3\), a row for each prefix, got \(1, 3\)\. Expand a law",
        ),
        (lambda: ebbs([FunctionComponent(lambda s, p: [0], 1, 2)], options), r"law: .* \(1, 2\), .*, got list"),
        (lambda: ebbs([Narrow()], options), r"components\[0\]: expected logits of shape \(1, 4\), .*, got \(1, 2\) at"),
        (
            lambda: ebbs([FunctionComponent(lambda s, p: p, 1, 2, tokens={})], options),
            r"components\[0\]\.tokens: expected a vocabulary, got none of its tokens",
        ),
        (
            lambda: ebbs([*components, *constant([0.2, 0.3, 0.5])], options),
            r"components\[2\]: expected a vocabulary of 2",
        ),
        (
            lambda: ebbs([components[0], FunctionComponent(None, 2, 2)], options),
            r"components\[1\]: expected 1 sentences",
        ),
        (
            lambda: ebbs([components[0], *constant([0.5, math.nan])], options),
            r"components\[1\]: expected logits without",
        ),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()


def test_vocabularies() -> None:
    """Token maps are compared where all components have one; widths beyond them are cut off."""

    def component(tokens: dict, size: int, width: int = 0) -> FunctionComponent:
        logits = torch.arange(float(width or size)).fmod(4)
        return FunctionComponent(lambda s, p: logits.expand(len(s), -1), 1, size, tokens=tokens)

    words = {"<e>": 0, "a": 1, "b": 2}
    padded = ebbs([component(words, 3), component(words, 5)], options_of(2))
    assert padded == ebbs([component(words, 3), component(words, 3)], options_of(2))
    for other, message in (
        (
            {"<e>": 0, "a": 2, "b": 1},
            r"components\[1\]: expected the vocabulary of components\[0\], where 'a' is 1, got 2",
        ),
        ({"<e>": 0, "a": 1}, "where 'b' is 2, got absent"),
    ):
        with pytest.raises(ArgumentError, match=message):
            ebbs([component(words, 3), component(other, 3)], options_of(2))
    with pytest.raises(ArgumentError, match=r"components\[1\]: expected logits for the 3 ids of its tokens, got 2"):
        ebbs([component(words, 3), component(words, 2)], options_of(2))
