"""`average`: one call for every kind of tree; the kind decides the algorithm."""

from __future__ import annotations

import importlib.util
import math
import sys
import warnings
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, Trees, align
from treeavg.averaging.constituency import best_binary, best_teacher, require_room, words_of
from treeavg.averaging.hits import hit_counts
from treeavg.averaging.pool import Objective
from treeavg.averaging.weights import whole_weights
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, SearchLimitWarning, quote, unknown
from treeavg.transforms import collapse_unaries, with_roots
from treeavg.treebank import Treebank

METHODS = ("generate", "select")
OBJECTIVES = ("hits", "f1")
LABELS = ("none", "vote", "hits")

_Trees = TypeVar("_Trees", bound=Trees)


def average(
    teachers: Sequence[_Trees],
    *,
    weights: Sequence[Any] | str | None = None,
    method: str = "generate",
    binary: bool = True,
    objective: str = "hits",
    beta: float = 1.0,
    threshold: float = 0.5,
    projective: bool = True,
    labels: str = "none",
    support: bool = False,
    on_error: str = "raise",
    check_tokens: bool = False,
    jobs: int | None = None,
    places: Places | None = None,
) -> _Trees:
    """Return, sentence by sentence, the tree that agrees most with the teachers' trees.

    Parameters
    ----------
    teachers : sequence of Treebank or of DependencyTreebank, length K >= 1
        Over the same sentences in the same order; constituents of any fan-out, binary or not. Not modified.
    weights : sequence of numbers, length K, or "agreement", optional
        Not negative, not all zero. Default: each teacher counts 1. ``agreement`` weighs teachers by how well they agree
        with the average of the others; see `agreement_weights`.
    method : str, default "generate"
        ``generate`` searches all trees (generative minimum Bayes risk); ``select`` only the teachers' own trees
        (selective minimum Bayes risk).
    binary : bool, default True
        Constituency: give binary trees. False lets the objective decide how many constituents a tree has.
    objective : str, default "hits"
        Constituency: ``hits`` maximises the summed hit count, each minus `threshold` times the weight where `binary` is
        False; ``f1`` maximises F-beta against the teachers, their constituents pooled (for binary trees both are the
        same). Dependency: ``hits`` counts arcs (UAS), ``f1`` the spans of words' yields.
    beta : float, default 1.0
        With ``objective="f1"`` and ``binary=False``: recall counts beta squared times as much as precision. At least 0.
    threshold : float, default 0.5
        With ``objective="hits"`` and ``binary=False``: from 0 to 1; 0.5 is the majority rule, 1 the strict consensus.
    projective : bool, default True
        Dependency, ``hits``: projective trees only (Eisner), else trees of any shape (Chu-Liu, Edmonds).
    labels : str, default "none"
        Constituency: ``vote`` lets teachers vote on labels and tags of the average; ``hits`` counts hits by label,
        so that labels decide on the tree too; both need ``method="generate"``. Where the teachers have relations, those
        of a dependency average are always voted on. ``select`` keeps the chosen tree's.
    support : bool, default False
        Give each constituent or arc its share of the weight, in the column `support`.
    on_error : str, default "raise"
        ``skip`` leaves a missing sentence (length 0) where some teacher lacks it.
    check_tokens : bool, default False
        Require equal words, not only equal lengths.
    jobs : int, optional
        Threads; one a core by default. The result does not depend on it.
    places : Places, optional
        How messages name the teachers; by default ``teachers[k][i]``.

    Returns
    -------
    Treebank or DependencyTreebank
        With the words of the first teacher that has words. Trees that had to be searched for (not binary, or
        discontinuous) come with a `SearchReport` in ``.search``.

    Raises
    ------
    AlignmentError
        The teachers do not hold the same sentences; names the first difference.
    ArgumentError
        An option is unknown or out of range, the kinds of trees are mixed, or labels are wanted that teachers lack.
    LimitError
        A sentence is too long for a chart, or weights have too many digits for exact sums.

    Warns
    -----
    SearchLimitWarning
        The search gave up on a sentence before its tree was proved best; ``.search`` tells which, and the gap.

    Notes
    -----
    Exact in every case, but for sentences that the warning names. Only constituents that teachers have themselves are
    counted. Ties: binary continuous trees take the shortest left child, recursively, so that trees without hits branch
    to the right; trees of other shapes have the fewest constituents, later ones first; projective trees take the first
    best split of each cell; other dependency trees the smallest heads; ``select`` the earliest teacher. Except for the
    last, the order of teachers does not matter. Binary continuous: O(K n^2) time, n^2 / 2 cells. Other shapes: the
    heaviest set of pairwise compatible constituents, by branch and bound on the components of the conflict graph, with
    Dinkelbach's iteration for F-beta. Dependency: O(n^3). Releases the GIL.

    References
    ----------
    [ED4UCP], section 3; [TAA], sections 3 and 4; [ED4UDP], section 3. What differs is listed in docs/papers.md.

    Examples
    --------
    >>> words = [["a", "b", "c", "d"]]
    >>> one = Treebank.from_constituents(words, [[(0, 4), (0, 2), (2, 4)]])
    >>> two = Treebank.from_constituents(words, [[(0, 4), (1, 4), (2, 4)]])
    >>> average([one, one, two]).same_trees(one)
    True
    >>> average([one, two], binary=False)[0].spans
    [(0, 4), (2, 4)]
    >>> heads = [DependencyTreebank.from_heads([own]) for own in ([2, 0, 2], [0, 1, 2], [2, 3, 0])]
    >>> average(heads)[0].heads
    [2, 0, 2]
    """
    goal = _objective(method, binary, objective, beta, threshold, labels)
    if isinstance(weights, str):
        if weights != "agreement":
            raise unknown("weights", weights, ("agreement",))
        from treeavg.averaging.reliability import agreement_weights  # it averages, too

        options = {"binary": binary, "objective": objective, "beta": beta, "threshold": threshold}
        weights = agreement_weights(
            cast("Sequence[Any]", teachers), average_options={**options, "projective": projective}, on_error=on_error,
            check_tokens=check_tokens, jobs=jobs, places=places,
        )  # fmt: skip
    whole = whole_weights(weights, len(teachers))[0] if len(teachers) else np.empty(0, np.int64)
    lengths, _ = align(teachers, places=places, on_error=on_error, check_tokens=check_tokens)
    dependency = isinstance(teachers[0], DependencyTreebank)
    _require_fitting(dependency, binary, objective, beta, projective, labels, places)
    if dependency:
        from treeavg.averaging.dependency import average_heads  # each kind of tree loads its own kernels

        heads = average_heads(
            cast("Sequence[DependencyTreebank]", teachers), lengths, whole, method=method, objective=objective,
            projective_only=projective, support=support, jobs=jobs, places=places,
        )  # fmt: skip
        return cast("_Trees", heads)
    trees = cast("Sequence[Treebank]", teachers)
    if labels != "none":
        _require_labels(trees, places)
    result = _average_constituency(trees, lengths, whole, method, binary, goal, labels, jobs, places)
    if labels == "vote" and method == "generate":
        from treeavg.averaging.votes import voted_labels

        result = _keeping_search(voted_labels(result, trees, whole), result)
    if support:
        result = _keeping_search(result.replace(support=_support(result, trees, whole, weights, on_error)), result)
    if result.search is not None and not result.search.proved.all():
        open_ones = np.flatnonzero(~result.search.proved)
        warnings.warn(
            SearchLimitWarning(
                f"{len(open_ones)} of {len(result)} sentences: expected a proof that the tree is best, got the best "
                f"found within the limits; the first is sentence {open_ones[0]} (from 0), at most "
                f"{result.search.gaps[open_ones[0]]:.4g} below the best. See treebank.search.{_advice()}"
            ),
            stacklevel=2,
        )
    return cast("_Trees", result)


def _advice() -> str:
    """Return what would help a search that gave up, if anything does."""
    have_highs = importlib.util.find_spec("scipy") is not None and sys.modules.get("scipy.optimize", "") is not None
    return "" if have_highs else " HiGHS may prove it: pip install 'treeavg[highs]'."


def _objective(method: str, binary: bool, objective: str, beta: float, threshold: float, labels: str) -> Objective:
    """Check the options; return what is to be maximised."""
    for name, value, known in (
        ("method", method, METHODS),
        ("objective", objective, OBJECTIVES),
        ("labels", labels, LABELS),
    ):
        if value not in known:
            raise unknown(name, value, known)
    for name, number, most in (("beta", beta, math.inf), ("threshold", threshold, 1.0)):
        if isinstance(number, (bool, str)) or not 0 <= number <= most or not math.isfinite(number):
            limits, advice = ("from 0 to 1", "0.5 is the majority") if most == 1.0 else ("at least 0", "1 is plain F1")
            raise ArgumentError(f"{name}: expected a number, {limits}, got {quote(number)}. {advice}.")
    if labels != "none" and method == "select":
        raise ArgumentError(
            f"labels: expected 'none' with method='select', which keeps the chosen tree's labels, got {labels!r}. "
            "Use method='generate'."
        )
    if beta != 1.0 and objective != "f1":
        raise ArgumentError(f"beta: expected 1.0 with objective='hits', got {beta:g}. Pass objective='f1'.")
    if threshold != 0.5 and (binary or objective != "hits"):
        raise ArgumentError(
            f"threshold: expected 0.5 but with binary=False and objective='hits', got {threshold:g}. Pass these, too."
        )
    if binary:
        return Objective(ratio=False, value=Fraction(0))
    if objective == "f1":
        return Objective(ratio=True, value=Fraction(repr(float(beta))) ** 2)
    return Objective(ratio=False, value=Fraction(repr(float(threshold))))


def _require_fitting(
    dependency: bool, binary: bool, objective: str, beta: float, projective: bool, labels: str, places: Places | None
) -> None:
    """Raise for an option that means nothing for this kind of trees, rather than ignore it."""
    kind = "dependency" if dependency else "constituency"
    idle = []
    if dependency:
        idle += ["binary=False"] * (not binary) + ["beta"] * (beta != 1.0) + ["labels"] * (labels != "none")
        idle += ["projective=False"] * (not projective and objective == "f1")
    elif not projective:
        idle += ["projective=False"]
    if idle:
        name = places.names[0] if places else "teachers[0]"
        why = f"{kind} trees" + (" under objective='f1'" if idle == ["projective=False"] and dependency else "")
        raise ArgumentError(f"{name}: expected trees for which {idle[0]} means something, got {why}. Leave it out.")


def _average_constituency(
    teachers: Sequence[Treebank],
    lengths: NDArray[np.int32],
    weights: NDArray[np.int64],
    method: str,
    binary: bool,
    goal: Objective,
    labels: str,
    jobs: int | None,
    places: Places | None,
) -> Treebank:
    continuous = all(bank.is_continuous for bank in teachers)
    if binary and continuous and labels != "hits":
        if method == "select":
            return best_teacher(teachers, lengths, weights, jobs)
        require_room(lengths, weights, places)
        return best_binary(teachers, lengths, weights, jobs)
    broken = _discontinuous(teachers)
    if binary and labels != "hits" and (lengths[~broken] > 0).any():
        return _binary_apart(teachers, lengths, weights, broken, method, goal, jobs, places)
    from treeavg.averaging.laminar import average_any, complete_binary

    words = words_of(teachers, lengths)
    if method == "select":
        return _selected(teachers, lengths, weights, binary, goal).replace(tokens=words)
    labelled = labels == "hits"
    searched = [_collapsed(bank) for bank in teachers] if labelled else teachers
    result = average_any(searched, lengths, weights, goal, labelled=labelled, jobs=jobs, places=places)
    if binary:
        result = complete_binary(result)
    return _keeping_search(result.replace(tokens=words), result)


def _discontinuous(teachers: Sequence[Treebank]) -> NDArray[np.bool_]:
    """Return which sentences have a discontinuous constituent in some teacher, shape (N,)."""
    broken = np.zeros(len(teachers[0]), np.bool_)
    for bank in teachers:
        broken[np.searchsorted(bank.offsets, np.flatnonzero(bank.fan_outs > 1), side="right") - 1] = True
    return broken


def _collapsed(bank: Treebank) -> Treebank:
    """Keep one constituent of each span, in sentences that are continuous."""
    broken = _discontinuous([bank])
    rest = np.flatnonzero(~broken)
    if len(rest) == len(bank):
        return collapse_unaries(bank)
    order = len(rest) + np.arange(len(bank))
    order[rest] = np.arange(len(rest))
    return Treebank.concatenate([collapse_unaries(bank[rest]), bank])[order]


def _binary_apart(
    teachers: Sequence[Treebank],
    lengths: NDArray[np.int32],
    weights: NDArray[np.int64],
    broken: NDArray[np.bool_],
    method: str,
    goal: Objective,
    jobs: int | None,
    places: Places | None,
) -> Treebank:
    """Average continuous and discontinuous sentences apart: ties then do not depend on what else is in the batch."""
    rest = np.flatnonzero(~broken)
    flat = [bank[rest] for bank in teachers]
    if method == "generate":
        require_room(np.where(broken, 0, lengths).astype(np.int32), weights, places)
    one = (best_teacher if method == "select" else best_binary)(flat, lengths[rest], weights, jobs)
    masked = np.where(broken, lengths, 0).astype(np.int32)
    two = _average_constituency(teachers, masked, weights, method, True, goal, "none", jobs, places)
    order = np.where(broken, len(rest) + np.arange(len(lengths)), 0)
    order[rest] = np.arange(len(rest))
    return _keeping_search(Treebank.concatenate([one, two])[order], two)


def _selected(
    teachers: Sequence[Treebank], lengths: NDArray[np.int32], weights: NDArray[np.int64], binary: bool, goal: Objective
) -> Treebank:
    """Return the best of the teachers' own trees, made binary if wanted."""
    from treeavg.averaging.laminar import complete_binary
    from treeavg.averaging.votes import best_teacher_any

    usable = np.flatnonzero(lengths > 0)
    chosen = best_teacher_any(teachers, lengths, weights, goal)
    labelled = all(bank.labels is not None for bank in teachers)
    dropped: dict[str, None] = {"tokens": None} if labelled else {"tokens": None, "tags": None, "labels": None}
    pool = Treebank.concatenate(bank.replace(**dropped) for bank in teachers)
    trees = pool[chosen[usable] * len(lengths) + usable]
    if binary:
        trees = complete_binary(with_roots(trees))
    if len(usable) == len(lengths):
        return trees
    empty = Treebank.from_constituents([0], [[]], labels=[[]] if labelled else None)
    places = np.full(len(lengths), len(trees))
    places[usable] = np.arange(len(usable))
    return Treebank.concatenate([trees, empty])[places]


def _support(
    result: Treebank,
    teachers: Sequence[Treebank],
    whole: NDArray[np.int64],
    weights: Sequence[Any] | None,
    on_error: str,
) -> NDArray[np.float64]:
    if result.is_continuous and all(bank.is_continuous for bank in teachers):
        return hit_counts(teachers, weights=weights, on_error=on_error).support(result)
    from treeavg.averaging.votes import support_of

    return support_of(result, teachers, whole)


def _keeping_search(result: Treebank, searched: Treebank) -> Treebank:
    result.search = searched.search
    return result


def _require_labels(teachers: Sequence[Treebank], places: Places | None) -> None:
    for index, bank in enumerate(teachers):
        if bank.labels is None:
            name = places.names[index] if places else f"teachers[{index}]"
            raise ArgumentError(f"{name}: expected labels, got trees without. Pass labels='none'.")
