"""Loops of self-learning and their filters."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from treeavg.distill.sequences.applications.filters import (
    KEYWORDS,
    EquivalentPairs,
    NovelTexts,
    agreeing,
    best_and_worst,
    judge_score,
    majority_vote,
    rouge_l,
    words,
)
from treeavg.distill.sequences.applications.loops import Round, loop, rest, rest_loss, rest_thresholds
from treeavg.errors import ArgumentError

SEEDS = range(20)


def drawn(seed: int, longest: int, size: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    length = int(torch.randint(longest + 1, (), generator=generator))
    return torch.randint(size, (length,), generator=generator).tolist()


def common(first: list[int], second: list[int]) -> int:
    """The longest common subsequence, cell by cell."""
    rows = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for (i, one), (j, two) in itertools.product(enumerate(first), enumerate(second)):
        rows[i + 1][j + 1] = rows[i][j] + 1 if one == two else max(rows[i][j + 1], rows[i + 1][j])
    return rows[-1][-1]


@pytest.mark.parametrize("seed", range(200))
def test_rouge_l(seed: int) -> None:
    first, second = drawn(seed, 90, 4), drawn(seed + 1000, 90, 4)
    longest = common(first, second)
    precision, recall = (longest / len(side) if side else 0.0 for side in (second, first))
    expected = 2 * precision * recall / (precision + recall) if longest else 0.0
    assert abs(rouge_l(first, second) - expected) < 1e-12
    assert rouge_l(first, second) == rouge_l(second, first)


def test_words() -> None:
    assert words("Don't stop; ÉCRIS-moi, 3 fois!") == ["don", "t", "stop", "écris", "moi", "3", "fois"]


def test_novel_texts_against_the_obvious() -> None:
    """The bound by lengths changes nothing: every pair is compared in the twin."""
    texts = [" ".join(map(str, drawn(seed, 12, 6))) for seed in range(60)]
    keep, pool, seen = NovelTexts(threshold=0.6, shortest=2, longest=10), texts[:5], texts[:5]
    expected = []
    for text in texts[5:]:
        close = max(rouge_l(words(text), words(other)) for other in seen)
        if 2 <= len(words(text)) <= 10 and close < 0.6:
            expected.append(text)
            seen = [*seen, text]
    assert keep(texts[5:], pool) == expected
    assert 3 < len(expected) < 50
    assert pool == texts[:5]


def test_novel_texts_length_words_and_order() -> None:
    keep = NovelTexts(longest=6, banned=KEYWORDS)
    texts = ["Too short now", "Draw me a red house", "Say it again to me twice more",
             "Explain why rain falls", "explain WHY rain falls!", "Count all maps quickly please"]  # fmt: skip
    assert keep(texts, []) == ["Explain why rain falls"]
    assert NovelTexts(threshold=1.0)(["a b c d", "a b c d"], []) == ["a b c d"]
    letters = NovelTexts(shortest=1, tokenize=list)
    assert letters(["天地玄黄", "天地玄黃"], []) == ["天地玄黄"]


def test_equivalent_pairs() -> None:
    asked = []

    def entails(premise: str, hypothesis: str) -> float:
        asked.append((premise, hypothesis))
        return float(set(words(hypothesis)) <= set(words(premise)))

    keep = EquivalentPairs(entails)
    pairs = [
        ("a b c d", "d c b a"),  # kept
        ("a b c d", "d c b"),  # one direction only
        ("a b c d", "A b, c d"),  # a copy
        ("a b c d e", "a b"),  # too short
        ("a b c d", "d, c b a!"),  # as the first
        ("", ""),
    ]
    assert keep(pairs, []) == pairs[:1]
    assert asked == [pairs[0], pairs[0][::-1], pairs[1], pairs[1][::-1]]
    assert keep(pairs, [("a b c d", "d c b a")]) == []
    assert EquivalentPairs(lambda *_: 1.0, ratio=(0, 0.5))([("a b c d", "d c"), ("a b c", "c a")], []) == [
        ("a b c d", "d c")
    ]


@pytest.mark.parametrize(
    ("answers", "vote"),
    [(["4", "5", "4"], "4"), (["4", "5"], None), (["4", "4", "5", "5", "6"], None), ([None, "4", None], "4"),
     ([None], None), ([], None), ([0, 0, 1], 0)],
)  # fmt: skip
def test_majority_vote(answers: list, vote: object) -> None:
    """Ties are discarded; a chain without an answer does not vote."""
    for order in itertools.permutations(answers):
        assert majority_vote(order) == vote


def test_agreeing() -> None:
    chains = [("path 1", "4"), ("path 2", "5"), ("path 3", "4"), ("path 4", None)]
    assert agreeing(chains, lambda chain: chain[1]) == [chains[0], chains[2]]
    assert agreeing(chains[:2], lambda chain: chain[1]) == []


def test_best_and_worst() -> None:
    assert best_and_worst([2.0, None, 5.0, 1.0, 5.0, 1.0]) == (2, 3)
    assert best_and_worst([3.0, 3.0]) is best_and_worst([None, 3.0]) is best_and_worst([]) is None
    with pytest.raises(ArgumentError, match=r"^scores\[1\]: expected a number or None, got nan. Use None for no score"):
        best_and_worst([1.0, math.nan])


@pytest.mark.parametrize(
    ("text", "score"),
    [("Score: 4", 4.0), ("score 2, no: SCORE = 3.5!", 3.5), ("Score: -1", None), ("Score: 6", None), ("4", None)],
)
def test_judge_score(text: str, score: float | None) -> None:
    assert judge_score(text) == score
    assert judge_score("I give 7 of 10", pattern=r"give (\d+)", high=10) == 7.0


def test_loop() -> None:
    """Pools grow in order; a round that keeps nothing trains nothing; what callables do to their lists stays theirs."""
    seed, pools = [1, 2], []

    def sample(pool: list[int]) -> list[int]:
        pool.append(99)
        return [max(pool[:-1]) + 1] * 2 if len(pools) < 2 else []

    def select(candidates: list[int], pool: list[int]) -> list[int]:
        return candidates[:1]

    done = loop(seed, sample=sample, select=select, update=pools.append, rounds=3)
    assert done.pool == [1, 2, 3, 4]
    assert done.rounds == [Round(2, 1), Round(2, 1), Round(0, 0)]
    assert pools == [[1, 2, 3], [1, 2, 3, 4]]
    assert seed == [1, 2]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_rest_thresholds_increase(seed: int, steps: int) -> None:
    rewards = torch.rand(9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    found = rest_thresholds(rewards, steps)
    assert len(found) == steps
    assert sum(rewards) / 9 < found[0]
    assert found == sorted(set(found))
    assert found[-1] < max(rewards)


def test_rest_thresholds_of_equal_rewards() -> None:
    assert rest_thresholds([0.1] * 7, 3) == []
    assert all(a < b for a, b in itertools.pairwise(rest_thresholds([1.0, math.nextafter(1.0, 2.0)], 5)))


def test_rest_loss() -> None:
    nll = torch.tensor([3.0, 2.0, 7.0, torch.nan], requires_grad=True)
    loss = rest_loss(nll, torch.tensor([0.9, 0.5, 0.8, 0.0]), 0.5)
    loss.backward()
    assert loss.item() == 2.5
    assert nll.grad is not None
    assert nll.grad.tolist() == [0.25, 0.0, 0.25, 0.0]
    assert rest_loss(nll[:2], torch.zeros(2), 0.5).item() == 0


def test_rest_takes_back_what_does_not_help() -> None:
    """Policies are numbers; fitting moves to the examples' mean; held-out value falls above 3."""
    fits = []

    def fit(policy: float, examples: list[float]) -> float:
        fits.append((policy, examples))
        return sum(examples) / len(examples)

    done = rest(1.0, [0.0, 0.0], sample=lambda mean: [mean, mean + 1, mean + 2], reward=float, fit=fit,
                evaluate=lambda mean: -abs(mean - 3), grow=2, improve=2)  # fmt: skip
    assert [step.threshold for step in done.steps[:2]] == rest_thresholds([0.0, 0.0, 1.0, 2.0, 3.0], 2)
    assert fits == [(1.0, [2.0, 3.0]), (2.5, [3.0]), (3.0, [4.0, 5.0])]
    assert [(step.grow, step.kept, step.value, step.accepted) for step in done.steps] == [
        (0, 2, -0.5, True), (0, 1, 0.0, True), (1, 2, -1.5, False),
    ]  # fmt: skip
    assert done.policy == 3.0


PAIRS = EquivalentPairs
REST = {"sample": lambda _: [], "reward": float, "fit": lambda policy, _: policy, "evaluate": float}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NovelTexts(threshold=0.0), "threshold: expected a number above 0 and at most 1, got 0.0"),
        (lambda: NovelTexts(shortest=9, longest=3), "shortest: expected a number of words from 0 to longest=3, got 9"),
        (lambda: PAIRS(lambda *_: 1.0, copy=1.5), "copy: expected a number above 0 and at most 1, got 1.5"),
        (lambda: PAIRS(lambda *_: 1.0, ratio=(2, 1)), "ratio: expected the least and the most"),
        (lambda: loop([], sample=list, select=lambda a, b: a, update=print, rounds=0),
         "rounds: expected a whole number"),
        (lambda: rest_thresholds([], 1), "rewards: expected finite numbers, at least one, got []"),
        (lambda: rest_thresholds([math.inf], 1), "rewards: expected finite numbers, at least one, got [inf]"),
        (lambda: rest_thresholds([1.0], 0), "steps: expected a whole number, at least 1, got 0. Use steps=1."),
        (lambda: rest_loss(torch.zeros(2), torch.zeros(3), 0.0), "got rewards (3,) and nll (2,). Sum each"),
        (lambda: rest(0, [], **REST), "rewards: expected finite"),
        (lambda: rest(0, [], **REST, improve=0), "improve: expected"),
        (lambda: rest(0, [], **REST, grow=0), "grow: expected"),
        (lambda: rest_loss(torch.zeros(2), torch.tensor([0.0, math.nan]), 0.0), "rewards, threshold: expected numbers"),
        (lambda: rest_loss(torch.zeros(2), torch.zeros(2), math.nan), "rewards, threshold: expected numbers, got NaN."),
        (lambda: rest(0.0, [1, 2], **REST | {"evaluate": lambda _: math.nan}), "evaluate: expected a number, got NaN."),
        (lambda: NovelTexts(banned="draw"), "banned: expected a list of texts, got 'draw'. Put it in a list."),
        (lambda: NovelTexts()("a text", []), "candidates: expected a list of texts, got 'a text'."),
        (lambda: NovelTexts()([], "a text"), "pool: expected a list of texts, got 'a text'."),
        (lambda: PAIRS(lambda *_: 1.0)(["ab"], []), "candidates[0]: expected a pair of texts, got 'ab'. Pass tuples."),
        (lambda: PAIRS(lambda *_: 1.0)([("a", "b"), ("a",)], []), "candidates[1]: expected a pair of texts, got ('a',"),
        (lambda: PAIRS(lambda *_: math.nan)([("a b c", "c b a")], []), "entails: expected a probability, got nan for"),
        (lambda: judge_score("4", low=5, high=1), "low, high: expected low < high, got 5 and 1. Use 0 and 5."),
        (lambda: judge_score("4", pattern="("), "pattern: expected a regular expression, got '(': missing )"),
        (lambda: judge_score("score 4", pattern="score"), "pattern: expected one group, the number, got 0 in 'score'."),
        (lambda: judge_score("x", pattern="(.)"), "pattern: expected its group to find a number, got 'x'. Use (-?\\d+"),
    ],
)  # fmt: skip
def test_messages(call, message: str) -> None:
    with pytest.raises(ArgumentError) as found:
        call()
    assert message in str(found.value)
