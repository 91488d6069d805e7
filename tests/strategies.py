"""Hypothesis strategies: ensembles of random trees."""

from __future__ import annotations

import random

import naive
from hypothesis import strategies as st

from treeavg import Treebank

Spans = list[tuple[int, int]]


@st.composite
def ensembles(
    draw: st.DrawFn, longest: int = 9, teachers: int = 5, sentences: int = 4, binary: bool | None = None
) -> tuple[list[int], list[list[Spans]]]:
    """Lengths of sentences, and for each teacher its trees."""
    generator = random.Random(draw(st.integers(0, 2**32)))
    lengths = draw(st.lists(st.integers(1, longest), min_size=1, max_size=sentences))
    count = draw(st.integers(1, teachers))
    kinds = [binary if binary is not None else draw(st.booleans()) for _ in range(count)]
    return lengths, [[naive.random_tree(generator, n, kind) for n in lengths] for kind in kinds]


def banks(lengths: list[int], trees: list[list[Spans]]) -> list[Treebank]:
    """Treebanks without words."""
    return [Treebank.from_constituents(lengths, spans) for spans in trees]
