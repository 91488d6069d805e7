"""The most probable labelled tree of a sentence under a probabilistic context-free grammar.

Nonterminals come before preterminals; NT, T of them, S together. Cells hold the largest log-score of the subtrees with
each symbol on top. Rules stand with the parent last, so that the innermost loops run over all parents at once. Which
split and children a cell took is found again on the way down, for the n - 1 cells of the tree alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@kernel
def _beside_words(rules: F64, words: F64, n: int, left: F64, right: F64) -> None:
    """Write the best rule for each word as one child; twin: ``grammar_twins.best_tree``.

    ``left[i, C, A]`` for the word i as the left child, ``right[i, B, A]`` as the right one of a nonterminal.
    """
    symbols, every = rules.shape[2], rules.shape[0]
    left[:n] = -np.inf
    right[:n] = -np.inf
    for place in range(n):
        for own in range(every - symbols):
            score = words[place, own]
            for other in range(every):
                source = rules[symbols + own, other]
                target = left[place, other]
                for parent in range(symbols):
                    value = score + source[parent]
                    if value > target[parent]:
                        target[parent] = value
            for other in range(symbols):
                source = rules[other, symbols + own]
                target = right[place, other]
                for parent in range(symbols):
                    value = score + source[parent]
                    if value > target[parent]:
                        target[parent] = value


@kernel
def _take(scores: F64, tables: F64, out: F64) -> None:
    """Raise ``out[A]`` to the largest ``scores[B] + tables[B, A]``; twin: ``grammar_twins.best_tree``."""
    for row in range(scores.shape[0]):
        score = scores[row]
        source = tables[row]
        for parent in range(out.shape[0]):
            value = score + source[parent]
            if value > out[parent]:
                out[parent] = value


@kernel
def _inside(pair_rules: F64, words: F64, n: int, left: F64, right: F64, cells: F64, pairs: F64) -> None:
    """Fill ``cells[start, end]`` of two words or more; twin: ``grammar_twins.best_tree``."""
    symbols = cells.shape[2]
    flat = pairs.reshape(symbols * symbols)
    for width in range(2, n + 1):
        for start in range(n - width + 1):
            end = start + width
            out = cells[start, end]
            out[:] = -np.inf
            if width == 2:
                _take(words[start + 1], left[start, symbols:], out)
                continue
            _take(cells[start + 1, end], left[start, :symbols], out)
            _take(cells[start, end - 1], right[end - 1], out)
            if width == 3:
                continue
            pairs[:] = -np.inf
            for split in range(start + 2, end - 1):
                second = cells[split, end]
                for one in range(symbols):
                    score = cells[start, split, one]
                    target = pairs[one]
                    for two in range(symbols):
                        value = score + second[two]
                        if value > target[two]:
                            target[two] = value
            _take(flat, pair_rules, out)


@kernel
def _descend(roots: F64, rules: F64, words: F64, n: int, cells: F64, stack: I64, tree: I64) -> float:
    """Write the spans in pre-order and return the score; twin: ``grammar_twins.best_tree``.

    Of equal splits the first is taken, and of equal children within it; scores that differ by no more than rounding
    are equal.
    """
    symbols = cells.shape[2]
    best = -np.inf
    label = 0
    for parent in range(symbols):
        value = roots[parent] + cells[0, n, parent]
        if value > best + 1e-9 * (1.0 + abs(value)):
            best = value
            label = parent
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, n, label
    depth, row = 1, 0
    while depth:
        depth -= 1
        start, end, parent = stack[depth]
        tree[row, 0], tree[row, 1] = start, end
        row += 1
        slack = 1e-9 * (1.0 + abs(cells[start, end, parent]))
        found = -np.inf
        chosen, one, two = start + 1, 0, 0
        for split in range(start + 1, end):
            left_word, right_word = split == start + 1, split == end - 1
            first = words[start] if left_word else cells[start, split]
            second = words[end - 1] if right_word else cells[split, end]
            from_left = symbols if left_word else 0
            from_right = symbols if right_word else 0
            for a in range(first.shape[0]):
                for b in range(second.shape[0]):
                    value = rules[from_left + a, from_right + b, parent] + first[a] + second[b]
                    if value > found + slack:
                        found = value
                        chosen, one, two = split, a, b
        if end - chosen > 1:
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = chosen, end, two
            depth += 1
        if chosen - start > 1:
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = start, chosen, one
            depth += 1
    return best


@kernel
def best_trees(
    roots: F64, rules: F64, pair_rules: F64, words: F64, lengths: I64, first: int, last: int,
    left: F64, right: F64, cells: F64, pairs: F64, stack: I64, trees: I64, scores: F64,
) -> None:  # fmt: skip
    """Write the most probable trees and their log-scores; twin: ``grammar_twins.best_tree``.

    `roots` (G, NT), `rules` (G, S, S, NT) as [left, right, parent], `pair_rules` (G, NT * NT, NT) those of two
    nonterminals, G = 1 or B; `words` (B, N, T); `trees` (B, N - 1, 2), spans of two words or more in pre-order,
    zeros after. Scratch: `left` (N, S, NT), `right` (N, NT, NT), `cells` (N + 1, N + 1, NT), `pairs` (NT, NT),
    `stack` (N + 1, 3).
    """
    for sentence in range(first, last):
        own = sentence if roots.shape[0] > 1 else 0
        n = lengths[sentence]
        trees[sentence] = 0
        _beside_words(rules[own], words[sentence], n, left, right)
        _inside(pair_rules[own], words[sentence], n, left, right, cells, pairs)
        scores[sentence] = _descend(roots[own], rules[own], words[sentence], n, cells, stack, trees[sentence])
