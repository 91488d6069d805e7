"""Makers of treebanks and of text for the tests of formats."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

from hypothesis import strategies as st

from treeavg import Treebank

#: What may stand in a word, chosen to be nasty: codes, their parts, scripts of one to four bytes a letter.
WORD_PIECES = [
    "(", ")", "\\", "-", "L", "R", "B", "-LRB-", "-RRB-", "-LRB", "RB-", "-LCB-", "*", "/", "a", "Z", "9", '"', "'",
    "é", "ß", "я", "ع", "ש", "अ", "ไ", "字", "かな", "한", "𐍈", "😀", "\u0301", "\u200d", "\ufeff", "\u00a0", "\u2028",
    "{", "}", "[", "null", ":", ",", "#", "<", "&",
]  # fmt: skip
words = st.lists(st.sampled_from(WORD_PIECES), min_size=1, max_size=6).map("".join)
labels = st.sampled_from(["S", "NP", "NP-SBJ-1", "-NONE-", "X", "ŠČ", "字=2", "*", "\\", "-LRB-", "WH|NP", "0"])


def random_spans(generator: random.Random, length: int) -> list[tuple[int, int]]:
    """Return nested spans of two tokens or more, the whole sentence first, with unary chains."""
    spans: list[tuple[int, int]] = []
    agenda = [(0, length)]
    while agenda:
        begin, end = agenda.pop()
        if end - begin < 2:
            continue
        if (begin, end) == (0, length) or generator.random() < 0.8:
            spans.extend([(begin, end)] * generator.choice([1, 1, 1, 2, 3]))
        cuts = sorted({begin, end, *(generator.randint(begin + 1, end - 1) for _ in range(generator.randint(1, 3)))})
        agenda.extend(pairwise(cuts))
    return spans


@st.composite
def treebanks(draw: st.DrawFn, kind: str = "tagged", sentences: int = 5, longest: int = 8) -> Treebank:
    """Treebanks with words; ``tagged`` has labels and a tag a token, ``labelled`` only labels, ``bare`` neither."""
    generator = random.Random(draw(st.integers(0, 2**32 - 1)))
    tokens = draw(st.lists(st.lists(words, min_size=1, max_size=longest), min_size=1, max_size=sentences))
    trees = [random_spans(generator, len(sentence)) for sentence in tokens]
    if kind == "bare":
        return Treebank.from_constituents(tokens, trees)
    names = [[draw(labels) for _ in tree] for tree in trees]
    if kind == "labelled":
        return Treebank.from_constituents(tokens, trees, labels=names)
    chains = st.lists(labels, min_size=1, max_size=3).map(" ".join)
    tags = [[draw(chains) for _ in sentence] for sentence in tokens]
    return Treebank.from_constituents(tokens, trees, labels=names, tags=tags)


@st.composite
def discontinuous(draw: st.DrawFn, sentences: int = 4, longest: int = 7, words_given: bool = True) -> Treebank:
    """Treebanks of laminar constituents over shuffled positions, so of any fan-out, with labels."""
    generator = random.Random(draw(st.integers(0, 2**32 - 1)))
    tokens: list[list[str] | int] = []
    trees: list[list[list[tuple[int, int]]]] = []
    names: list[list[str]] = []
    for _ in range(draw(st.integers(1, sentences))):
        length = draw(st.integers(1, longest))
        order = list(range(length))
        if generator.random() < 0.7:
            generator.shuffle(order)
        tree = [[(place, place + 1) for place in sorted(order[a:b])] for a, b in random_spans(generator, length)]
        tokens.append(draw(st.lists(words, min_size=length, max_size=length)) if words_given else length)
        trees.append(tree)
        names.append([draw(labels) for _ in tree])
    return Treebank.from_constituents(tokens, trees, labels=names)


def shared(path: Path, name: str) -> Path:
    """Return a file of the shared data, or skip."""
    import pytest

    if not (path / name).exists():
        pytest.skip(f"../shared/data/{name} is absent: published data is not part of the project")
    return path / name
