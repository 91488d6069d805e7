"""A sentence's average does not depend on the other sentences of its batch: what sharding rests on."""

from __future__ import annotations

import random
from typing import Any

import pytest

import treeavg
from treeavg import DependencyTreebank, Treebank
from treeavg.formats import FORMATS

OPTIONS: list[dict[str, Any]] = [
    {},
    {"method": "select"},
    {"binary": False},
    {"binary": False, "objective": "f1"},
    {"binary": False, "method": "select"},
    {"labels": "vote"},
    {"labels": "hits"},
    {"labels": "hits", "binary": False, "weights": [1, 2, 2]},
    {"support": True},
    {"on_error": "skip"},
    {"on_error": "skip", "method": "select"},
]


def constituents(generator: random.Random, length: int, broken: bool) -> list[list[tuple[int, int]]]:
    """Return blocks of nested constituents; some of two blocks where `broken`."""
    found: list[set[int]] = []
    for _ in range(generator.randrange(2 * length)):
        first = generator.randrange(length - 1)
        tokens = set(range(first, generator.randrange(first + 2, length + 1)))
        if broken and len(tokens) > 2:
            tokens.discard(generator.choice(sorted(tokens)[1:-1]))
        if len(tokens) > 1 and all(not tokens & one or tokens <= one or one <= tokens for one in found):
            found.append(tokens)
    return [_blocks(tokens) for tokens in found]


def _blocks(tokens: set[int]) -> list[tuple[int, int]]:
    starts = [token for token in sorted(tokens) if token - 1 not in tokens]
    ends = [token + 1 for token in sorted(tokens) if token + 1 not in tokens]
    return list(zip(starts, ends, strict=True))


def teachers_of(generator: random.Random, *, missing: bool) -> list[Treebank]:
    """Return three teachers of sentences of which about a third have discontinuous trees."""
    lengths = [generator.randrange(1, 8) for _ in range(20)]
    broken = [generator.random() < 0.35 for _ in lengths]
    words = [[f"w{place}" for place in range(length)] for length in lengths]
    banks = []
    for teacher in range(3):
        trees = [constituents(generator, n, odd) if n > 1 else [] for n, odd in zip(lengths, broken, strict=True)]
        own = [list(row) for row in words]
        if missing and teacher == 1:
            for place in (4, 11):
                own[place], trees[place] = [], []
        labels = [[generator.choice("ABC") for _ in tree] for tree in trees]
        banks.append(Treebank.from_constituents(own, trees, labels=labels))
    return banks


def written(bank: Any) -> list[bytes]:
    return FORMATS["conllu" if isinstance(bank, DependencyTreebank) else "jsonl"].serialize(bank).splitlines()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_constituency(options: dict[str, Any]) -> None:
    """Batches of one, of three and of all give the same trees."""
    for seed in range(12):
        generator = random.Random(seed)
        banks = teachers_of(generator, missing="on_error" in options)
        expected = written(treeavg.average(banks, **options))
        for size in (1, 3):
            parts = [
                line
                for first in range(0, len(banks[0]), size)
                for line in written(treeavg.average([bank[first : first + size] for bank in banks], **options))
            ]
            assert parts == expected, (seed, size)


@pytest.mark.parametrize("options", [{}, {"projective": False}, {"objective": "f1"}, {"method": "select"}], ids=str)
def test_dependency(options: dict[str, Any]) -> None:
    """The same of heads."""
    for seed in range(6):
        generator = random.Random(seed)
        lengths = [generator.randrange(1, 8) for _ in range(20)]
        banks = []
        for _ in range(3):
            heads = []
            for n in lengths:
                order = generator.sample(range(1, n + 1), n)
                own = {order[0]: 0} | {
                    child: generator.choice(order[:place]) for place, child in enumerate(order) if place
                }
                heads.append([own[token] for token in range(1, n + 1)])
            banks.append(DependencyTreebank.from_heads(heads))
        expected = treeavg.average(banks, **options).heads.tolist()
        single = [
            head
            for place in range(20)
            for head in treeavg.average([bank[place : place + 1] for bank in banks], **options).heads.tolist()
        ]
        assert single == expected
