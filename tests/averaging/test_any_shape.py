"""Averages of any shape: exact cases, enumeration, HiGHS, invariances, limits."""

from __future__ import annotations

import random
import sys
from fractions import Fraction
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import treeavg
from treeavg import SearchLimitWarning, Treebank
from treeavg.averaging import laminar as averaging
from treeavg.averaging.fallback import Problem, _cover_bound, solve_with_highs
from treeavg.averaging.laminar import average_any, complete_binary
from treeavg.averaging.pool import Objective, Pool
from treeavg.averaging.votes import support_of
from treeavg.averaging.weights import whole_weights
from treeavg.kernels import laminar

Sets = list[set[int]]

# The trees of specs/averaging.md section 7, n = 4; (1, 3) is {1, 2}.
TREES: dict[str, Sets] = {
    "a": [{0, 1}, {2, 3}],
    "b": [{0, 1}, {0, 1, 2}],
    "c": [{1, 2}, {1, 2, 3}],
    "d": [{2, 3}, {1, 2, 3}],
    "e": [{1, 2}, {0, 3}],
    "x": [{0, 2}, {1, 3}],
    "f": [{1, 2}, {0, 1, 2}],
    # n = 5
    "p": [{1, 2}, {0, 4}, {0, 3, 4}],
    "q": [{1, 2}, {3, 4}, {1, 2, 3, 4}],
    "s": [{1, 2}, {1, 2, 3}, {0, 4}],
}


def blocks(tokens: set[int] | frozenset[int]) -> tuple[tuple[int, int], ...]:
    starts = [token for token in sorted(tokens) if token - 1 not in tokens]
    ends = [token + 1 for token in sorted(tokens) if token + 1 not in tokens]
    return tuple(zip(starts, ends, strict=True))


def bank(n: int, sets: Any) -> Treebank:
    return Treebank.from_constituents([n], [[blocks(one) for one in sets]])


def sets_of(tree: Treebank, sentence: int = 0) -> set[frozenset[int]]:
    n = len(tree[sentence])
    sets = {
        frozenset(token for begin, end in one for token in range(begin, end)) for one in tree[sentence].constituents
    }
    return sets - {frozenset(range(n))}


def f1(teachers: list[Treebank], **options: Any) -> Treebank:
    return treeavg.average(teachers, binary=False, objective="f1", **options)


def value(n: int, tree: Treebank, teachers: list[Any], weights: list[Any], beta2: Any = 1) -> Fraction:
    exact = [Fraction(str(weight)) for weight in weights]
    family = frozenset(sets_of(tree))
    own = [frozenset(map(frozenset, one)) for one in teachers]
    return naive.pooled_ratio(n, family, own, exact, Fraction(beta2))


CASES = [
    # name, n, teachers, weights, beta, answer or None where a tie leaves it open, best value
    ("D1", 4, "aaa", None, 1, [{0, 1}, {2, 3}], Fraction(3, 2)),
    ("D2", 4, "aab", None, 1, [{0, 1}, {2, 3}], Fraction(10, 7)),
    ("D3", 4, "abc", None, 1, [{0, 1}], Fraction(17, 13)),
    ("D4", 4, "xae", None, 1, [], Fraction(5, 4)),
    ("D5", 4, "aee", None, 1, [{1, 2}, {0, 3}], Fraction(19, 14)),
    ("D6", 4, "xxa", None, 1, [{0, 2}, {1, 3}], Fraction(19, 14)),
    ("D7", 4, "ae", None, 1, None, Fraction(6, 7)),
    ("D8", 4, "cfeaax", None, 1, [{1, 2}], Fraction(33, 13)),
    ("D8 beta 2", 4, "cfeaax", None, 2, None, Fraction(34, 35)),
    ("D9", 4, "abc", [1, 2.5, 1], 1, [{0, 1}, {0, 1, 2}], Fraction(57, 28)),
    ("D9 tenths", 4, "abc", [0.2, 0.3, 0.5], 1, [{1, 2}, {1, 2, 3}], Fraction(3, 7)),
    ("D9 equal tenths", 4, "abc", [0.1, 0.1, 0.1], 1, [{0, 1}], Fraction(17, 130)),
    ("D9 two", 4, "ac", [1, 2], 1, [{1, 2}, {1, 2, 3}], Fraction(19, 14)),
    ("D9 none", 4, "ac", [1, 0], 1, [{0, 1}, {2, 3}], Fraction(1, 2)),
    ("D10 beta 1/2", 4, "abc", None, 0.5, [], Fraction(20, 9)),
    ("D10 beta 2", 4, "abc", None, 2, None, Fraction(18, 35)),
    ("D10 beta 0", 4, "abc", None, 0, [], Fraction(3)),
    ("D11", 4, "abcd", None, 1, None, Fraction(12, 7)),
    ("D12", 5, "pqs", None, 1, [{1, 2}, {0, 4}], Fraction(23, 17)),
    ("D12 four", 5, "psqq", None, 1, [{1, 2}, {3, 4}, {1, 2, 3, 4}], Fraction(16, 9)),
]


@pytest.mark.parametrize(
    ("n", "names", "weights", "beta", "answer", "best"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_exact_cases(n: int, names: str, weights: Any, beta: float, answer: Any, best: Fraction) -> None:
    """The cases D1 to D12 of specs/averaging.md: the tree, and the exact value."""
    teachers = [TREES[name] for name in names]
    found = f1([bank(n, one) for one in teachers], weights=weights, beta=beta)
    if answer is not None:
        assert sets_of(found) == set(map(frozenset, answer))
    assert value(n, found, teachers, weights or [1] * len(teachers), Fraction(str(beta)) ** 2) == best


def test_exact_cases_of_other_lengths() -> None:
    """D13 and D14: three words, one word, two words; D15 and D17: compatibility and any fan-out."""
    three = [bank(3, [one]) for one in ({0, 1}, {1, 2}, {0, 2})]
    assert sets_of(f1(three)) == set()
    assert value(3, f1(three), [[{0, 1}], [{1, 2}], [{0, 2}]], [1, 1, 1]) == Fraction(4, 3)
    assert len(sets_of(f1(three, beta=2))) == 1
    assert treeavg.average(three)[0].constituents[0] == ((0, 3),)
    assert len(treeavg.average(three)[0].constituents) == 2
    for n in (1, 2):
        only = Treebank.from_constituents([n], [[]])
        assert f1([only, only])[0].constituents == ([((0, 2),)] if n == 2 else [])
    sets = [frozenset(one) for one in ({0, 1}, {2, 3}, {0, 1, 2, 3}, {0, 2}, {1, 3}, {0, 3}, {1, 2}, {0, 1, 3})]
    for i, one in enumerate(sets):
        for j, other in enumerate(sets):
            masks = np.array([[sum(1 << t for t in one)], [sum(1 << t for t in other)]], np.uint64)
            crossing = laminar.conflict(masks, np.zeros(2, np.int32), 0, 1)
            assert crossing == (not naive.compatible(one, other)), (i, j)
    shared = bank(6, [{0, 2, 4}, {0, 2}])
    assert frozenset({0, 2, 4}) in sets_of(f1([shared, bank(6, [{0, 2, 4}]), bank(6, [{0, 2, 4}, {1, 3}])]))


def test_binary_completion() -> None:
    """D16: what cannot be completed by continuous spans is completed by unions, the last children first."""
    stuck = bank(6, [{0, 3}, {1, 4}, {2, 5}])
    result = treeavg.average([stuck, stuck])
    assert sets_of(result) == {frozenset(one) for one in ({0, 3}, {1, 4}, {2, 5}, {1, 2, 4, 5})}
    flat = complete_binary(Treebank.from_constituents([4], [[(0, 4)]]))
    assert flat[0].spans == [(0, 4), (1, 4), (2, 4)]
    part = complete_binary(Treebank.from_constituents([5], [[(0, 5), (1, 3)]]))
    assert part[0].spans == [(0, 5), (1, 5), (1, 3), (3, 5)]


@st.composite
def ensembles(draw: st.DrawFn) -> tuple[int, list[naive.Family], list[Any]]:
    generator = random.Random(draw(st.integers(0, 2**32)))
    n = draw(st.integers(2, 6))
    count = draw(st.integers(1, 4))
    binary = draw(st.booleans())
    teachers = [naive.random_discontinuous(generator, n, binary) for _ in range(count)]
    weights = draw(
        st.one_of(st.just([1] * count), st.lists(st.sampled_from([0.5, 1, 2, 0.3]), min_size=count, max_size=count))
    )
    return n, teachers, weights


@given(ensembles(), st.sampled_from([0, 0.5, 1, 2, 3]), st.sampled_from([0, 0.25, 0.5, 1]))
def test_enumeration(ensemble: tuple[int, list[naive.Family], list[Any]], beta: float, threshold: float) -> None:
    """For up to six tokens value and size equal those of the best of all families, in every objective."""
    n, trees, weights = ensemble
    exact = [Fraction(str(weight)) for weight in weights]
    teachers = [bank(n, one) for one in trees]
    best, size = naive.best_families(n, trees, exact, beta2=Fraction(str(beta)) ** 2, threshold=Fraction(0))
    found = f1(teachers, weights=weights, beta=beta)
    assert value(n, found, trees, weights, Fraction(str(beta)) ** 2) == best
    common = frozenset.intersection(*(own for own, weight in zip(trees, weights, strict=True) if weight))
    assert common <= sets_of(found)
    assert len(sets_of(found)) == size or beta == 0  # what all hold is kept, even where it is worth nothing
    best, size = naive.best_families(n, trees, exact, beta2=None, threshold=Fraction(str(threshold)))
    found = treeavg.average(teachers, weights=weights, binary=False, threshold=threshold)
    family = frozenset(sets_of(found))
    total = sum(exact, Fraction(0))
    hits = sum((w * len(family & own) for own, w in zip(trees, exact, strict=True)), Fraction(0))
    assert hits - Fraction(str(threshold)) * total * len(family) == best
    assert common <= family
    assert len(family) == size or threshold == 1
    # Binary: as many hits as the best family, completed.
    best, _ = naive.best_families(n, trees, exact, beta2=None, threshold=Fraction(0))
    found = treeavg.average(teachers, weights=weights)
    family = frozenset(sets_of(found))
    assert sum((w * len(family & own) for own, w in zip(trees, exact, strict=True)), Fraction(0)) == best
    assert len(family) == n - 2
    found.validate()


@given(ensembles(), st.randoms(use_true_random=False))
def test_invariances(ensemble: tuple[int, list[naive.Family], list[Any]], generator: random.Random) -> None:
    """The order of teachers, copies of all, scaled weights and jobs change nothing; unanimity holds."""
    n, trees, weights = ensemble
    teachers = [bank(n, one) for one in trees]
    expected = f1(teachers, weights=weights)
    order = generator.sample(range(len(trees)), len(trees))
    assert f1([teachers[i] for i in order], weights=[weights[i] for i in order]) == expected
    assert f1(teachers * 2, weights=weights * 2) == expected
    assert f1(teachers, weights=[4 * weight for weight in weights]) == expected
    assert f1(teachers, weights=weights, jobs=2) == expected
    assert frozenset.intersection(*trees) <= sets_of(expected)
    expected.validate()


@given(st.integers(0, 2**32), st.integers(1, 13), st.floats(0.05, 0.8))
def test_independent_sets(seed: int, size: int, density: float) -> None:
    """Branch and bound equals the enumeration on random graphs of any shape."""
    generator = random.Random(seed)
    weights = [generator.randrange(1, 9) for _ in range(size)]
    edges = {(i, j) for i in range(size) for j in range(i) if generator.random() < density}
    adjacency = np.zeros((size, 1), np.uint64)
    for i, j in edges:
        adjacency[i, 0] |= np.uint64(1 << j)
        adjacency[j, 0] |= np.uint64(1 << i)
    everything = np.array([(1 << size) - 1], np.uint64)
    chosen, nodes = np.zeros(1, np.uint64), np.zeros(1, np.int64)
    found = laminar.search(np.array(weights, np.int64), adjacency, everything, -1, chosen, 10**6, nodes)
    assert found == naive.best_independent_set(weights, edges)
    picked = [vertex for vertex in range(size) if int(chosen[0]) >> vertex & 1]
    assert sum(weights[vertex] for vertex in picked) == found
    assert not any((i, j) in edges for i in picked for j in picked)
    none_above = laminar.search(np.array(weights, np.int64), adjacency, everything, found, chosen, 10**6, nodes)
    assert none_above == -1


def judged(teachers: list[Treebank], objective: Objective, weights: list[int] | None = None) -> tuple[int, int]:
    """Solve each sentence with the kernel and with HiGHS; return sentences and those where HiGHS finds better."""
    whole, _ = whole_weights(weights, len(teachers))
    lengths = teachers[0].lengths
    pool = Pool.of(teachers, lengths, labelled=False)
    mine = average_any(teachers, lengths, whole, objective, labelled=False, jobs=None, places=None)
    assert mine.search is not None
    assert mine.search.proved.all()
    worse = 0
    for sentence in np.flatnonzero(lengths > 2).tolist():
        problem = Problem.of(pool, whole, sentence)
        known = dict(zip(problem.keys, problem.rows.tolist(), strict=True))
        keys = [(sum((1 << e) - (1 << b) for b, e in one), 0) for one in mine[sentence].constituents[1:]]
        rows = np.array([known[key] for key in keys], np.int64)
        answer = solve_with_highs(pool, whole, objective, sentence, rows)
        assert answer.proved
        worse += len(answer.rows) != len(rows) or set(answer.rows.tolist()) != set(rows.tolist())
    return len(lengths), worse


@pytest.mark.compiled
@pytest.mark.parametrize(
    "objective", [Objective(True, Fraction(1)), Objective(False, Fraction(0)), Objective(False, Fraction(1, 3))]
)
def test_highs_agrees_on_random_trees(objective: Objective) -> None:
    """HiGHS, asked to improve on the result, never does: 120 random ensembles of 5 to 12 tokens."""
    generator = random.Random(8)
    for _ in range(40):
        n = generator.randrange(5, 13)
        trees = [[naive.random_discontinuous(generator, n) for _ in range(3)] for _ in range(generator.randrange(2, 7))]
        teachers = [
            Treebank.from_constituents([n] * 3, [[blocks(one) for one in tree] for tree in own]) for own in trees
        ]
        assert judged(teachers, objective)[1] == 0


def lassy(folder: Any, runs: int, part: str = "test") -> list[Treebank]:
    return [treeavg.read(folder / "lassy" / "runs" / f"run0{run}.{part}.jsonl") for run in range(1, runs + 1)]


@pytest.mark.compiled
def test_published_runs(shared_data: Any) -> None:
    """Five runs on LASSY: 32,686 constituents in all, 1,294 of them discontinuous, every sentence proved."""
    average = f1(lassy(shared_data, 5))
    assert average.constituent_count + average.token_count == 32_686
    assert int((average.fan_outs > 1).sum()) == 1294
    assert average.search is not None
    assert average.search.proved.all()
    three = lassy(shared_data, 3)
    assert f1(three).same_trees(treeavg.average(three, binary=False))  # with three teachers, the majority rule
    average.validate()


@pytest.mark.slow
@pytest.mark.compiled
def test_highs_agrees_on_published_runs(shared_data: Any) -> None:
    """HiGHS does not improve on any of the 1,049 sentences, nor on the binary objective."""
    teachers = lassy(shared_data, 5)
    assert judged(teachers, Objective(True, Fraction(1))) == (1049, 0)
    assert judged(teachers, Objective(False, Fraction(0))) == (1049, 0)


def test_a_search_that_gives_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no nodes at all HiGHS takes over; with none for HiGHS either, a warning and the report tell."""
    generator = random.Random(3)
    n = 14
    teachers = [bank(n, naive.random_discontinuous(generator, n)) for _ in range(8)]
    expected = treeavg.average(teachers, binary=False, threshold=0)
    assert expected.search is not None
    assert expected.search.proved.all()
    assert expected.search.nodes[0] > 1
    monkeypatch.setattr(averaging, "NODE_BUDGET", 0)
    monkeypatch.setattr(averaging.average_any, "__kwdefaults__", {**averaging.average_any.__kwdefaults__, "budget": 0})
    by_highs = treeavg.average(teachers, binary=False, threshold=0)
    assert by_highs.search is not None
    assert by_highs.search.proved.all()
    hits = support_of
    whole = np.ones(8, np.int64)
    assert hits(by_highs, teachers, whole).sum() == pytest.approx(hits(expected, teachers, whole).sum())
    monkeypatch.setattr("treeavg.averaging.fallback.HIGHS_NODES", 0)
    monkeypatch.setattr("treeavg.averaging.fallback._heaviest", lambda problem, gains: (None, 1e6))
    with pytest.warns(SearchLimitWarning, match="1 of 1 sentences: expected a proof that the tree is best"):
        stopped = treeavg.average(teachers, binary=False, threshold=0)
    assert stopped.search is not None
    assert stopped.search.gaps[0] > 0
    stopped.validate()


@given(ensembles())
def test_bound_without_highs(ensemble: tuple[int, list[naive.Family], list[Any]]) -> None:
    """Where HiGHS is not installed, the gap comes from a cover by cliques, which no family exceeds."""
    n, trees, _ = ensemble
    whole = np.ones(len(trees), np.int64)
    pool = Pool.of([bank(n, one) for one in trees], np.array([n], np.int32), labelled=False)
    problem = Problem.of(pool, whole, 0)
    best, _ = naive.best_families(n, trees, [Fraction(1)] * len(trees), beta2=None, threshold=Fraction(0))
    assert _cover_bound(problem, [Fraction(hit) for hit in problem.hits]) >= best


def test_without_highs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search over budget gives its best tree and a gap if scipy is not installed."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    monkeypatch.setattr(averaging.average_any, "__kwdefaults__", {**averaging.average_any.__kwdefaults__, "budget": 0})
    generator = random.Random(3)
    teachers = [bank(14, naive.random_discontinuous(generator, 14)) for _ in range(8)]
    with pytest.warns(SearchLimitWarning, match=r"at most .* below the best.*pip install 'treeavg\[highs\]'"):
        stopped = treeavg.average(teachers, binary=False, threshold=0)
    assert stopped.search is not None
    assert not stopped.search.proved.all()
    stopped.validate()


def test_labels() -> None:
    """Votes on labels; hits by label; what only the completion adds is X; ties go to the first in the alphabet."""
    words = [["a", "b", "c"]]
    np_, vp = [
        Treebank.from_constituents(words, [[(0, 3), (0, 2)]], labels=[["S", label]], tags=[["D", "N", "V"]])
        for label in ("NP", "VP")
    ]
    right = Treebank.from_constituents(words, [[(0, 3), (1, 3)]], labels=[["S", "QP"]], tags=[["D", "N", "V"]])
    voted = treeavg.average([vp, np_, vp, right, right], labels="vote")
    assert (voted[0].labels, voted[0].tags) == (["S", "VP"], ["D", "N", "V"])
    assert treeavg.average([vp, np_], labels="vote")[0].labels == ["S", "NP"]
    # (0, 2) has three hits, but no label of it has more than one; QP has two.
    other = Treebank.from_constituents(words, [[(0, 3), (0, 2)]], labels=[["S", "AP"]])
    assert treeavg.average([vp, np_, other, right, right])[0].spans == [(0, 3), (0, 2)]
    by_label = treeavg.average([vp, np_, other, right, right], labels="hits")
    assert (by_label[0].spans, by_label[0].labels) == ([(0, 3), (1, 3)], ["X", "QP"])


def test_support() -> None:
    """The share of the weight, for continuous and discontinuous trees, kept by slices."""
    one, two = bank(4, TREES["a"]), bank(4, TREES["e"])
    average = f1([one, one, two], support=True)
    assert dict(zip(average[0].constituents, average[0].support or [], strict=True)) == {
        ((0, 4),): 1.0, ((0, 2),): pytest.approx(2 / 3), ((2, 4),): pytest.approx(2 / 3),
    }  # fmt: skip
    assert average[:1].support is not None
    left = Treebank.from_constituents([3], [[(0, 3), (0, 2)]])
    assert treeavg.average([left, left], support=True)[0].support == [1.0, 1.0]


def test_select_any_shape() -> None:
    """The teacher whose tree is best under the same objective; binary where wanted; missing sentences stay."""
    teachers = [bank(4, TREES[name]) for name in "axe"]
    chosen = treeavg.average(teachers, method="select", binary=False, objective="f1", weights=[1, 1, 3])
    assert sets_of(chosen) == set(map(frozenset, TREES["e"]))
    flat = [bank(5, [{0, 2}]), bank(5, [{0, 2}, {1, 3}])]
    assert len(treeavg.average(flat, method="select")[0].constituents) == 4
    gone = Treebank.from_constituents([4, 0], [[blocks(one) for one in TREES["x"]], []])
    whole = Treebank.from_constituents([4, 3], [[blocks(one) for one in TREES["x"]], []])
    skipped = treeavg.average([whole, gone], method="select", binary=False, on_error="skip")
    assert skipped.lengths.tolist() == [4, 0]
    assert treeavg.average([whole, gone], binary=False, on_error="skip").lengths.tolist() == [4, 0]


def test_too_many_digits() -> None:
    """Weights whose exact sums would not fit are refused with advice."""
    with pytest.raises(treeavg.LimitError, match=r"teachers\[:\]\[0\]: expected weights and beta of few digits"):
        f1([bank(4, TREES["a"]), bank(4, TREES["e"])], weights=[0.123456789012, 0.98765432101])


@pytest.mark.parametrize("option", [{"threshold": 1e-300}, {"objective": "f1", "beta": 1e-300}])
def test_numbers_beyond_64_bits(option: dict[str, Any]) -> None:
    """They are refused by name, before a kernel sees them."""
    bank = Treebank.from_constituents([4], [[(0, 4), (0, 2)]])
    name = list(option)[-1]
    with pytest.raises(treeavg.LimitError, match=rf"^{name}: expected a number of few digits, so that sums are exact"):
        treeavg.average([bank, bank], binary=False, **option)


def test_too_long() -> None:
    """Bit masks of more than 1 GiB are refused before they are made."""
    deep = treeavg.branching(Treebank.from_constituents([100_000], [[]]))
    with pytest.raises(
        treeavg.LimitError, match=r"teachers\[0\]\[0\]: expected a sentence whose constituents fit.*100,000"
    ):
        f1([deep, deep])


def test_support_survives_json_lines(tmp_path: Any) -> None:
    """Support is written and read back exactly, in the order of constituents."""
    one, two = bank(4, TREES["a"]), bank(4, TREES["e"])
    average = f1([one, one, two], support=True)
    treeavg.write(average, tmp_path / "o.jsonl")
    assert treeavg.read(tmp_path / "o.jsonl") == average
    (tmp_path / "bad.jsonl").write_text('{"n": 2, "constituents": [[0, 2]], "support": [2]}\n')
    with pytest.raises(treeavg.FormatError, match=r"bad.jsonl:1: expected 'support' as a list of numbers from 0 to 1"):
        treeavg.read(tmp_path / "bad.jsonl")
