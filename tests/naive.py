"""A slow, obvious twin of every algorithm. Spans are half-open pairs, trees are sets or lists of them."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache
from itertools import product

Span = tuple[int, int]


# ------------------------------------------------------------------ enumeration


@cache
def binary_trees(begin: int, end: int) -> tuple[frozenset[Span], ...]:
    """All binary trees over tokens begin to end, as sets of spans of two tokens or more.

    In the order of ties: the shortest left child first, then recursively the left and the right subtree's order.
    """
    if end - begin == 1:
        return (frozenset(),)
    found = []
    for split in range(begin + 1, end):
        for left, right in product(binary_trees(begin, split), binary_trees(split, end)):
            found.append(left | right | {(begin, end)})
    return tuple(found)


@cache
def all_trees(begin: int, end: int) -> tuple[frozenset[Span], ...]:
    """All trees (any number of children, no unary nodes) over tokens begin to end."""
    if end - begin == 1:
        return (frozenset(),)
    return tuple(forest | {(begin, end)} for parts, forest in _forests(begin, end, whole=False) if parts > 1)


@cache
def _forests(begin: int, end: int, whole: bool = True) -> tuple[tuple[int, frozenset[Span]], ...]:
    """Sequences of trees that fill tokens begin to end, with their number; a single tree only if `whole`."""
    if begin == end:
        return ((0, frozenset()),)
    found = []
    for split in range(begin + 1, end + 1):
        if split == end and not whole:
            continue  # the tree that is being built itself
        for first, (parts, rest) in product(all_trees(begin, split), _forests(split, end)):
            found.append((parts + 1, first | rest))
    return tuple(found)


def random_tree(generator: random.Random, n: int, binary: bool = True) -> list[Span]:
    """A random tree in pre-order; with binary=False some constituents are dropped, and some repeated."""
    spans: list[Span] = []

    def grow(begin: int, end: int) -> None:
        if end - begin < 2:
            return
        if binary or begin + n == end or generator.random() < 0.7:
            spans.extend([(begin, end)] * (2 if not binary and generator.random() < 0.15 else 1))
        split = generator.randrange(begin + 1, end)
        grow(begin, split)
        grow(split, end)

    grow(0, n)
    return spans


# ------------------------------------------------------------------ averaging


def hit_counts(n: int, teachers: list[list[Span]], weights: list[Fraction]) -> dict[Span, Fraction]:
    """Weight of the teachers that hold each constituent, the whole sentence left out."""
    hits: dict[Span, Fraction] = {}
    for spans, weight in zip(teachers, weights, strict=True):
        for span in set(spans) - {(0, n)}:
            if weight > 0:
                hits[span] = hits.get(span, Fraction(0)) + weight
    return hits


def best_binary(n: int, hits: dict[Span, Fraction]) -> set[Span]:
    """The binary tree with the most hits, by the textbook recurrence; the first best split wins."""
    best: dict[Span, Fraction] = {}
    splits: dict[Span, int] = {}
    for width in range(1, n + 1):
        for begin in range(n - width + 1):
            end = begin + width
            if width == 1:
                best[begin, end] = Fraction(0)
                continue
            for split in range(begin + 1, end):
                value = best[begin, split] + best[split, end] + hits.get((begin, end), Fraction(0))
                if split == begin + 1 or value > best[begin, end]:
                    best[begin, end], splits[begin, end] = value, split
    spans: set[Span] = set()
    agenda = [(0, n)]
    while agenda:
        begin, end = agenda.pop()
        if end - begin >= 2:
            spans.add((begin, end))
            agenda += [(begin, splits[begin, end]), (splits[begin, end], end)]
    return spans


def best_binary_by_enumeration(n: int, hits: dict[Span, Fraction]) -> set[Span]:
    """The first tree of the enumeration with the most hits, where ties are settled by the order of splits."""

    def total(tree: frozenset[Span]) -> Fraction:
        return sum((hits.get(span, Fraction(0)) for span in tree), Fraction(0))

    trees = binary_trees(0, n)
    most = max(map(total, trees))
    return set(min((tree for tree in trees if total(tree) == most), key=lambda tree: split_key(tree, 0, n)))


def split_key(tree: frozenset[Span], begin: int, end: int) -> tuple[int, ...]:
    """The splits of a binary tree from the root on, left before right: smaller means shorter left children first."""
    if end - begin < 2:
        return ()
    split = max((e for b, e in tree if b == begin and e < end), default=begin + 1)
    return (split, *split_key(tree, begin, split), *split_key(tree, split, end))


def best_teacher(n: int, hits: dict[Span, Fraction], teachers: list[list[Span]]) -> int:
    """The first teacher with the most hits."""
    scores = [sum((hits.get(span, Fraction(0)) for span in set(spans) - {(0, n)}), Fraction(0)) for spans in teachers]
    return scores.index(max(scores))


# ------------------------------------------------------------------ transforms


def binarize(n: int, spans: list[Span], side: str = "right") -> list[Span]:
    """Right- or left-binarise by recursion over lists of children; pre-order."""
    unique = sorted(set(spans) | ({(0, n)} if n > 1 else set()), key=lambda span: (span[0], -span[1]))

    def children(span: Span) -> list[Span]:
        inside = [other for other in unique if other != span and span[0] <= other[0] and other[1] <= span[1]]
        tops = [
            one for one in inside if not any(two != one and two[0] <= one[0] and one[1] <= two[1] for two in inside)
        ]
        covered = {token for begin, end in tops for token in range(begin, end)}
        singles = [(token, token + 1) for token in range(*span) if token not in covered]
        return sorted(tops + singles)

    def build(parts: list[Span]) -> list[Span]:
        """Spans of a node over these children, new nodes included."""
        if len(parts) == 1:
            span = parts[0]
            return build(children(span)) if span[1] - span[0] > 1 else []
        whole = (parts[0][0], parts[-1][1])
        if side == "right":
            return [whole, *build(parts[:1]), *build(parts[1:])]
        return [whole, *build(parts[:-1]), *build(parts[-1:])]

    return build([(0, n)]) if n > 1 else []


def is_nested(n: int, spans: list[Span]) -> bool:
    """Whether spans lie in range and none crosses another."""
    in_range = all(begin >= 0 and end <= n and end - begin >= 2 for begin, end in spans)
    return in_range and not any(a < c < b < d for a, b in spans for c, d in spans)


def delete_tokens(spans: list[Span], kept: list[bool]) -> list[Span]:
    """Spans after tokens went, those of two tokens or more, in the old order."""
    place = [sum(kept[:position]) for position in range(len(kept) + 1)]
    moved = [(place[begin], place[end]) for begin, end in spans]
    return [(begin, end) for begin, end in moved if end - begin >= 2]


# ------------------------------------------------------------------ scoring


def match_constituents(
    n: int, gold: list[Span], predicted: list[Span], second_root_counts: bool
) -> tuple[int, int, int]:
    """Matched, predicted and gold constituents as sets, without the whole sentence (or without one copy of it)."""

    def kept(spans: list[Span]) -> set[Span]:
        inner = {span for span in spans if span != (0, n)}
        return inner | ({(0, n)} if second_root_counts and spans.count((0, n)) > 1 else set())

    one, other = kept(gold), kept(predicted)
    return len(one & other), len(other), len(one)


def kim_f1(n: int, gold: list[Span], predicted: list[Span]) -> float:
    """Sentence F1 as the published scorer computes it."""
    matched, found, wanted = match_constituents(n, gold, predicted, second_root_counts=True)
    precision, recall = matched / (found + 1e-8), matched / (wanted + 1e-8)
    if wanted == 0:
        recall = 1.0
        if found == 0:
            precision = 1.0
    return 2 * precision * recall / (precision + recall + 1e-8)


# ------------------------------------------------------------------ files


def read_brackets(text: str) -> tuple[list[str], list[tuple[int, int, str]], list[list[str]]]:
    """Read one tree by recursive descent: tokens, rows (start, end, label) in pre-order, labels over each token."""
    tokens: list[str] = []
    rows: list[tuple[int, int, str]] = []
    pieces = text.replace("(", " ( ").replace(")", " ) ").split()

    def descend(place: int) -> int:
        assert pieces[place] == "("
        place += 1
        label = ""
        if pieces[place] not in "()":
            label = pieces[place]
            place += 1
        row = len(rows)
        start = len(tokens)
        rows.append((start, -1, label))
        while pieces[place] != ")":
            if pieces[place] == "(":
                place = descend(place)
            else:
                tokens.append(pieces[place])
                place += 1
        assert len(tokens) > start
        rows[row] = (start, len(tokens), label)
        return place + 1

    assert descend(0) == len(pieces)
    while len(rows) > 1 and rows[0][2] == "" and rows[0][:2] == rows[1][:2]:
        rows.pop(0)
    chains: list[list[str]] = [[] for _ in tokens]
    for start, end, label in rows:
        if end - start == 1:
            chains[start].append(label)
    return tokens, [row for row in rows if row[1] - row[0] > 1], chains


def write_brackets(tokens: list[str], rows: list[tuple[int, int, str]], chains: list[list[str]]) -> str:
    """Write one tree by putting brackets around token positions."""
    pieces = [
        f"{''.join(f'({label} ' for label in chain)}{token}{')' * len(chain)}"
        for token, chain in zip(tokens, chains, strict=True)
    ]
    for start, _, label in reversed(rows):
        pieces[start] = f"({label} {pieces[start]}"
    for row in rows:
        pieces[row[1] - 1] += ")"
    return " ".join(pieces)


# ------------------------------------------------------------------ trees of any shape

Family = frozenset[frozenset[int]]


def compatible(one: frozenset[int], other: frozenset[int]) -> bool:
    """Nested or disjoint."""
    return not one & other or one <= other or other <= one


def families(candidates: list[frozenset[int]]) -> list[Family]:
    """All sets of pairwise compatible constituents, by trying every subset."""
    found: list[Family] = [frozenset()]
    for new in candidates:
        found += [family | {new} for family in found if all(compatible(new, old) for old in family)]
    return found


def pooled_ratio(n: int, family: Family, teachers: list[Family], weights: list[Fraction], beta2: Fraction) -> Fraction:
    """Weighted hits over size plus beta squared times the mean size of teachers; words and whole sentence included."""
    total = sum(weights, Fraction(0))
    hits = sum((w * (len(family & own) + n + 1) for own, w in zip(teachers, weights, strict=True)), Fraction(0))
    pooled = sum((w * (len(own) + n + 1) for own, w in zip(teachers, weights, strict=True)), Fraction(0))
    return hits / (len(family) + n + 1 + beta2 * pooled / total)


def best_families(
    n: int, teachers: list[Family], weights: list[Fraction], *, beta2: Fraction | None, threshold: Fraction
) -> tuple[Fraction, int]:
    """The best value over all families of the teachers' constituents, and the fewest constituents that reach it."""
    candidates = sorted({one for own in teachers for one in own}, key=sorted)
    total = sum(weights, Fraction(0))

    def value(family: Family) -> Fraction:
        if beta2 is not None:
            return pooled_ratio(n, family, teachers, weights, beta2)
        hits = sum((w * len(family & own) for own, w in zip(teachers, weights, strict=True)), Fraction(0))
        return hits - threshold * total * len(family)

    values = [(value(family), -len(family)) for family in families(candidates)]
    best, size = max(values)
    return best, -size


def random_discontinuous(generator: random.Random, n: int, binary: bool = True) -> Family:
    """A random tree over arbitrary sets of tokens; words and whole sentence left out."""
    found: set[frozenset[int]] = set()

    def grow(tokens: list[int]) -> None:
        if len(tokens) < 2:
            return
        if len(tokens) < n and (binary or generator.random() < 0.7):
            found.add(frozenset(tokens))
        generator.shuffle(tokens) if generator.random() < 0.4 else tokens.sort()
        cut = generator.randrange(1, len(tokens))
        grow(tokens[:cut])
        grow(tokens[cut:])

    grow(list(range(n)))
    return frozenset(found)


def best_independent_set(weights: list[int], edges: set[tuple[int, int]]) -> int:
    """The most weight of an independent set, by trying every subset."""
    best = 0
    for choice in product((False, True), repeat=len(weights)):
        chosen = [vertex for vertex, taken in enumerate(choice) if taken]
        if not any((a, b) in edges or (b, a) in edges for a in chosen for b in chosen):
            best = max(best, sum(weights[vertex] for vertex in chosen))
    return best


# ------------------------------------------------------------------ dependency trees


def is_dependency_tree(heads: tuple[int, ...]) -> bool:
    """Exactly one root, no cycle, heads in range."""
    n = len(heads)
    if any(not 0 <= head <= n for head in heads) or heads.count(0) != 1:
        return False
    for word in range(1, n + 1):
        node, steps = word, 0
        while node and steps <= n:
            node, steps = heads[node - 1], steps + 1
        if node:
            return False
    return True


def is_projective(heads: tuple[int, ...]) -> bool:
    """No two arcs cross, the root's included, and none covers the root."""
    arcs = [(min(head, word), max(head, word)) for word, head in enumerate(heads, 1)]
    return not any(a < c < b < d for a, b in arcs for c, d in arcs)


@cache
def dependency_trees(n: int, projective: bool) -> tuple[tuple[int, ...], ...]:
    """All trees with one root over n words."""
    trees = [heads for heads in product(range(n + 1), repeat=n) if is_dependency_tree(heads)]
    return tuple(heads for heads in trees if not projective or is_projective(heads))


def arc_votes(heads: tuple[int, ...], teachers: list[list[int]], weights: list[int]) -> int:
    """Weight of the teachers that agree, over words."""
    return sum(
        weight
        for own, weight in zip(teachers, weights, strict=True)
        for one, other in zip(heads, own, strict=True)
        if one == other
    )


def word_spans(heads: tuple[int, ...] | list[int]) -> set[Span]:
    """The span from the first to the last word of each word's yield."""
    yields = {word: {word} for word in range(1, len(heads) + 1)}
    for word in range(1, len(heads) + 1):
        node = heads[word - 1]
        while node:
            yields[node].add(word)
            node = heads[node - 1]
    return {(min(own) - 1, max(own)) for own in yields.values()}


def span_votes(heads: tuple[int, ...], teachers: list[list[int]], weights: list[int]) -> int:
    """Weight of the teachers that have a span, over spans."""
    mine = word_spans(heads)
    return sum(weight * len(mine & word_spans(own)) for own, weight in zip(teachers, weights, strict=True))
