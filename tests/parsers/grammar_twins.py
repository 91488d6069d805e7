"""Twins of the grammar's algorithms: all binary trees with all labels of a short sentence."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
#: Spans of two words or more, in pre-order, each with its split.
Nodes = list[tuple[int, int, int]]


def bracketings(begin: int, end: int) -> Iterator[Nodes]:
    """Return all binary trees over the words begin to end - 1, leftmost splits first."""
    if end - begin == 1:
        yield []
        return
    for split in range(begin + 1, end):
        for left in bracketings(begin, split):
            for right in bracketings(split, end):
                yield [(begin, end, split), *left, *right]


def labelled(nodes: Nodes, roots: F64, rules: F64, words: F64) -> F64:
    """Return the scores of one tree with every choice of labels: an axis a node, then an axis a word."""
    n, symbols = len(words), len(roots)
    labels = np.indices((symbols,) * (n - 1) + (words.shape[1],) * n)
    place = {(begin, end): row for row, (begin, end, _) in enumerate(nodes)}

    def label(begin: int, end: int) -> NDArray[np.int64]:
        return symbols + labels[n - 1 + begin] if end - begin == 1 else labels[place[begin, end]]

    total = roots[labels[0]]
    for begin, end, split in nodes:
        total = total + rules[label(begin, end), label(begin, split), label(split, end)]
    for position in range(n):
        total = total + words[position, labels[n - 1 + position]]
    return np.asarray(total, np.float64)


def sums(roots: F64, rules: F64, words: F64) -> tuple[float, F64]:
    """Return log Z and the posterior probabilities [N + 1, N + 1] of spans of two words or more."""
    n = len(words)
    trees = list(bracketings(0, n))
    weights = np.array([np.logaddexp.reduce(labelled(nodes, roots, rules, words).ravel()) for nodes in trees])
    total = float(np.logaddexp.reduce(weights))
    marginals = np.zeros((n + 1, n + 1))
    for nodes, weight in zip(trees, weights, strict=True):
        for begin, end, _ in nodes:
            marginals[begin, end] += np.exp(weight - total)
    return total, marginals


def best_score(roots: F64, rules: F64, words: F64) -> float:
    """Return the highest score of a labelled tree."""
    return max(float(labelled(nodes, roots, rules, words).max()) for nodes in bracketings(0, len(words)))


def best_tree(roots: F64, rules: F64, words: F64) -> list[tuple[int, int]]:
    """Return the spans of the best labelled tree: of equal roots the first, then of splits, then of pairs of labels."""

    def best(begin: int, end: int, label: int) -> tuple[float, list[tuple[int, int]]]:
        if end - begin == 1:
            return words[begin, label - len(roots)], []
        top, spans = -np.inf, []
        for split in range(begin + 1, end):
            for left in labels(begin, split):
                for right in labels(split, end):
                    one, other = best(begin, split, left), best(split, end, right)
                    value = rules[label, left, right] + one[0] + other[0]
                    if value > top + 1e-12:
                        top, spans = value, [(begin, end), *one[1], *other[1]]
        return float(top), spans

    def labels(begin: int, end: int) -> range:
        return range(len(roots), len(rules[0])) if end - begin == 1 else range(len(roots))

    best = functools.cache(best)
    found = [(roots[label] + best(0, len(words), label)[0], -label) for label in range(len(roots))]
    return best(0, len(words), -max(found)[1])[1]


def low_rank(parents: F64, lefts: F64, rights: F64) -> F64:
    """Return the logarithms of all rules [A, B, C] from the factors [A, r], [B, r], [C, r]."""
    return np.asarray(np.log(np.einsum("ar,br,cr->abc", parents, lefts, rights)))
