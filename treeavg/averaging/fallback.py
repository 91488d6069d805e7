"""HiGHS in place of branch and bound, for a component that outgrew its budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.averaging.pool import Objective, Pool

#: Nodes that HiGHS may open for one linear problem.
HIGHS_NODES = 500


@dataclass(frozen=True)
class Answer:
    """A sentence's tree, and whether it is proved best.

    Parameters
    ----------
    rows : ndarray of int64
        One row of the teachers for each constituent.
    proved : bool
        Whether no tree is better.
    gap : float
        By how much the best tree may be better, in the objective: 0 where proved.
    """

    rows: NDArray[np.int64]
    proved: bool
    gap: float


def solve_with_highs(
    pool: Pool, weights: NDArray[np.int64], objective: Objective, sentence: int, known: NDArray[np.int64]
) -> Answer:
    """Solve one sentence by integer programming, with Dinkelbach's iteration around it for a ratio.

    Parameters
    ----------
    pool : Pool
        All teachers' constituents.
    weights : ndarray of int64, shape (K,)
        Whole weights.
    objective : Objective
        What is maximised.
    sentence : int
        Its index.
    known : ndarray of int64
        Rows of the best tree that is known.

    Returns
    -------
    Answer
        Never worse than `known`. All comparisons are in whole numbers and fractions; HiGHS only proposes.
    """
    problem = Problem.of(pool, weights, sentence)
    rows_of = {mask: index for index, mask in enumerate(problem.keys)}
    best = np.zeros(len(problem.keys), bool)
    best[[rows_of[problem.key(pool, row)] for row in known.tolist()]] = True
    total = int(weights.sum())
    while True:
        price = objective.value * total if not objective.ratio else problem.ratio(best, objective.value, total)
        gains = [Fraction(hit) - price for hit in problem.hits]
        found, bound = _heaviest(problem, gains)
        better = found is not None and _sum(gains, found) > _sum(gains, best)
        if better and found is not None:
            best = found
        if not better or not objective.ratio:
            gap = max(0.0, bound - float(_sum(gains, best)))
            # Any better family is better by a step at least; HiGHS's bound is good to about 1e-6 of its size.
            proved = gap + 1e-6 * max(1.0, abs(bound)) < _step(gains)
            scale = float(problem.size(best, objective.value, total)) if objective.ratio else 1.0
            return Answer(problem.rows[best], proved, 0.0 if proved else gap / scale)


@dataclass(frozen=True)
class Problem:
    """The distinct constituents of a sentence as Python integers."""

    keys: list[tuple[int, int]]  # mask, label code
    hits: list[int]
    rows: NDArray[np.int64]
    cliques: list[list[int]]
    length: int
    pooled: int  # summed weight times size of the teachers' trees

    @staticmethod
    def key(pool: Pool, row: int) -> tuple[int, int]:
        """Return what makes a row different from others."""
        mask = 0
        for start, end in pool.blocks(row):
            mask |= (1 << end) - (1 << start)
        return mask, int(pool.labels[row])

    @classmethod
    def of(cls, pool: Pool, weights: NDArray[np.int64], sentence: int) -> Problem:
        """Collect constituents, hits and cliques of conflicts."""
        length = int(pool.lengths[sentence])
        full = (1 << length) - 1
        hits: dict[tuple[int, int], int] = {}
        rows: dict[tuple[int, int], int] = {}
        pooled = 0
        for teacher, weight in enumerate(weights.tolist()):
            own: set[tuple[int, int]] = set()
            for row in range(int(pool.offsets[teacher, sentence]), int(pool.offsets[teacher, sentence + 1])):
                key = cls.key(pool, row)
                if key[0] != full:
                    own.add(key)
                    rows.setdefault(key, row)
            for key in own:
                hits[key] = hits.get(key, 0) + weight
            pooled += weight * (len(own) + length + 1)
        keys = sorted(hits)
        return cls(
            keys,
            [hits[key] for key in keys],
            np.array([rows[key] for key in keys], np.int64),
            _cliques(keys),
            length,
            pooled,
        )

    def size(self, chosen: NDArray[np.bool_], beta_squared: Fraction, total: int) -> Fraction:
        """Return the denominator of pooled F-beta."""
        return int(chosen.sum()) + self.length + 1 + beta_squared * self.pooled / total

    def ratio(self, chosen: NDArray[np.bool_], beta_squared: Fraction, total: int) -> Fraction:
        """Return hits over size: pooled F-beta up to a constant."""
        hits = sum(hit for hit, taken in zip(self.hits, chosen.tolist(), strict=True) if taken)
        return (total * (self.length + 1) + hits) / self.size(chosen, beta_squared, total)


def _step(gains: list[Fraction]) -> float:
    """Return the largest number of which every sum of gains is a multiple."""
    common = math.lcm(*(gain.denominator for gain in gains))
    return (math.gcd(*(int(gain * common) for gain in gains)) or 1) / common


def conflicts(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether two constituents (mask, label) cannot stand in one tree."""
    common = one[0] & other[0]
    if one[0] == other[0]:
        return one[1] != other[1]
    return common not in (0, one[0], other[0])


def _cliques(keys: list[tuple[int, int]]) -> list[list[int]]:
    """Cover the edges of the conflict graph by cliques, greedily."""
    near = [{j for j, other in enumerate(keys) if j != i and conflicts(one, other)} for i, one in enumerate(keys)]
    left = {(i, j) for i, own in enumerate(near) for j in own if i < j}
    cliques = []
    for pair in sorted(left):
        if pair not in left:
            continue
        clique = list(pair)
        pool = near[pair[0]] & near[pair[1]]
        while pool:
            new = min(pool)
            clique.append(new)
            pool &= near[new]
        left -= {(i, j) for i in clique for j in clique if i < j}
        cliques.append(clique)
    return cliques


def _sum(gains: list[Fraction], chosen: NDArray[np.bool_]) -> Fraction:
    return sum((gain for gain, taken in zip(gains, chosen.tolist(), strict=True) if taken), Fraction(0))


def _heaviest(problem: Problem, gains: list[Fraction]) -> tuple[NDArray[np.bool_] | None, float]:
    """Return the best compatible set that HiGHS finds (or None) and its upper bound on the gain."""
    try:  # scipy is an extra: its mere presence makes Numba's start a tenth of a second longer
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_matrix
    except ImportError:
        return None, _cover_bound(problem, gains)
    size = len(gains)
    upper = np.array([float(gain > 0) for gain in gains])
    constraints: list[Any] = []
    if problem.cliques:
        sizes = [len(clique) for clique in problem.cliques]
        matrix = csr_matrix(
            (
                np.ones(sum(sizes)),
                ([i for i, k in enumerate(sizes) for _ in range(k)], [c for q in problem.cliques for c in q]),
            ),
            shape=(len(sizes), size),
        )
        constraints.append(LinearConstraint(matrix, -np.inf, 1))
    result = milp(
        -np.array([float(gain) for gain in gains]),
        integrality=np.ones(size),
        bounds=Bounds(np.zeros(size), upper),
        constraints=constraints,
        options={"mip_rel_gap": 0.0, "node_limit": HIGHS_NODES},
    )
    bound = (
        -float(result.mip_dual_bound) if result.mip_dual_bound is not None else float(sum(g for g in gains if g > 0))
    )
    if result.x is None:
        return None, bound
    chosen = np.asarray(result.x > 0.5)
    if any(int(chosen[clique].sum()) > 1 for clique in problem.cliques):
        return None, bound  # a proposal that is not a tree is not taken
    return chosen, bound


def _cover_bound(problem: Problem, gains: list[Fraction]) -> float:
    """Return an upper bound on the gain: cliques are filled greedily, and each can contribute its best member."""
    classes: list[list[int]] = []
    for vertex in sorted((place for place, gain in enumerate(gains) if gain > 0), key=lambda place: -gains[place]):
        key = problem.keys[vertex]
        for members in classes:
            if all(conflicts(key, problem.keys[other]) for other in members):
                members.append(vertex)
                break
        else:
            classes.append([vertex])
    return float(sum((gains[members[0]] for members in classes), Fraction(0)))
