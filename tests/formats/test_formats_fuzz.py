"""Fuzz of the readers: any bytes give a treebank that validates, or an error that names a place. Nothing else."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator

import nltk
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from treeavg import FormatError, Treebank
from treeavg.errors import Problem
from treeavg.formats import FORMATS
from treeavg.formats.base import Chunk

SCALE = 20 if os.environ.get("TREEAVG_HYPOTHESIS") == "small" else 1

BRACKETS = [
    b"(S (NP (DT the) (NN dog)) (VP (VBZ barks)))\n(S (NP (PRP it)) (VP (VBZ is)))\n",
    b"( (S\n    (NP-SBJ (NNP Kim) )\n    (VP (VBD slept) )\n    (. .) ))\n( (FRAG (RB no)\n (. .)))\n",
    b"(X a)\r\n(X (X a) (X b))\r\n\r\n(X (X (X a)))",
    "(字 (ž (-LRB- -LRB-) (é \\-RRB-)) a😀b)\n((A a) (B b))\n( ( (A a)))\n".encode(),
    b"(A (B (C (D (E (F (G a b)))))))\n(X a b (Y c d) e)\n\n \t\n(X x)\n",
]
JSON = [
    b'{"words": ["a", "b", "c"], "constituents": [[[0, 3]], [[0, 2]]], "labels": ["S", "NP"]}\nnull\n',
    b'{"n": 4, "constituents": [[0, 4], [[0, 1], [2, 3]]]}\n{"n": 1, "constituents": []}\n',
    '{"words": ["é", "\\ud83d\\ude00"], "tags": ["A", "B C"], "constituents": [[[0, 2]]]}\r\n'.encode(),
]
PIECES = [
    b"(", b")", b"((", b"))", b"()", b" ", b"\n", b"\r\n", b"\t", b"a", b"X", b"\xff", b"\xc3", b"\0", b"\xef\xbb\xbf",
    b"-LRB-", b"-RRB-", b"\\", b"[", b"]", b"{", b"}", b"{}", b",", b":", b'"', b"0", b"-1", b"9", b"1e9", b"null",
    b"true", b"[]", b'"words"', b'"n"', b'"labels"', b'"tags"', b'"constituents"', b"\\ud800", b"99999999999", b"NaN",
]  # fmt: skip


def mutants(seed: int, count: int) -> Iterator[bytes]:
    """Valid files with bytes flipped, cut, doubled, moved or put in; and bytes from nowhere."""
    generator = random.Random(seed)
    for _ in range(count):
        kind = generator.random()
        if kind < 0.1:
            yield generator.randbytes(generator.randint(0, 60))
            continue
        if kind < 0.25:
            alphabet = generator.choice([b"()", b"() ", b"()a \n", b"(a) \n\t\r", b'[]{}",:0n\n'])
            yield bytes(generator.choices(alphabet, k=generator.randint(0, 60)))
            continue
        if kind < 0.35:
            yield b"".join(generator.choices(PIECES, k=generator.randint(0, 20)))
            continue
        data = bytearray(generator.choice(BRACKETS + JSON))
        for _ in range(generator.randint(1, 5)):
            if not data:
                break
            begin = generator.randrange(len(data))
            end = min(len(data), begin + generator.randint(1, 12))
            change = generator.randrange(6)
            if change == 0:
                data[begin] ^= 1 << generator.randrange(8)
            elif change == 1:
                del data[begin:end]
            elif change == 2:
                data[begin:begin] = data[begin:end]
            elif change == 3:
                data[begin:begin] = generator.choice(PIECES)
            elif change == 4:
                data[begin:end] = generator.choice(PIECES)
            else:
                piece = data[begin:end]
                del data[begin:end]
                place = generator.randint(0, len(data))
                data[place:place] = piece
        yield bytes(data)


def parse(format: str, data: bytes, skip: bool) -> tuple[Treebank, list[Problem]] | None:
    """Parse; None where there is an error that names a place. Anything else that is raised fails the test."""
    chunk = Chunk(np.frombuffer(bytearray(data), np.uint8), "name", skip=skip)
    try:
        bank, problems = FORMATS[format].parse(chunk)
    except FormatError as error:
        message = str(error)
        assert re.match(r"name:\d+(:\d+)?: \S", message), message
        assert "\n" not in message
        assert len(message) < 500
        line = int(message.split(":")[1])
        assert 1 <= line <= data.count(b"\n") + 1
        return None
    return bank, problems


def check(format: str, data: bytes) -> int:
    """Parse under both options and check all that must hold; return how many sentences were read under skip."""
    strict = parse(format, data, skip=False)
    lenient = parse(format, data, skip=True)
    if strict is not None:
        bank, problems = strict
        bank.validate()
        consistent(bank)
        assert problems == []
        assert lenient is not None
        assert lenient[0] == bank
        assert lenient[1] == []
    if lenient is None:
        return 0
    bank, problems = lenient
    bank.validate()
    consistent(bank)
    places = [problem.sentence for problem in problems]
    assert places == sorted(set(places))
    assert set(places) <= set(bank.missing.tolist())
    if format == "brackets":
        assert places == bank.missing.tolist()
        lines = data.split(b"\n")
        if not lines[-1].strip(b" \t\r\v\f"):
            lines.pop()
        assert len(bank) == len(lines)
    return len(bank)


def consistent(bank: Treebank) -> None:
    """Columns have the sizes that they must have, and every string is text."""
    assert bank.offsets[0] == 0
    assert (np.diff(bank.offsets) >= 0).all()
    assert len(bank.starts) == len(bank.ends)
    assert bank.block_offsets is not None or len(bank.starts) == bank.constituent_count
    for column, size in ((bank.labels, bank.constituent_count), (bank.tokens, bank.token_count),
                         (bank.tags, bank.token_count)):  # fmt: skip
        if column is not None:
            assert len(column) == size
            assert len(list(column)) == size
    assert (np.diff(bank.offsets)[bank.lengths == 0] == 0).all()


@pytest.mark.parametrize("format", ["brackets", "ptb", "jsonl"])
@given(data=st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join)))
@settings(max_examples=400 // SCALE)
@example(data=b"(" * 5000)
@example(data=b")" * 5000)
@example(data=b"(" * 5000 + b"a b" + b")" * 5000)
@example(data=b"(X " * 5000 + b"a" + b")" * 5000)
@example(data=b"()")
@example(data=b"((")
@example(data=b"(a(")
@example(data=b"\n\n\n")
@example(data=b'{"n": 2, "constituents": [{}]}')
def test_any_bytes(format: str, data: bytes) -> None:
    """Hypothesis' bytes and pieces of syntax."""
    check(format, data)


@pytest.mark.parametrize("format", ["brackets", "ptb", "jsonl"])
def test_mutants(format: str) -> None:
    """Some 20,000 spoilt files in all; some of them can still be read."""
    assert sum(check(format, data) > 0 for data in mutants(1, 6600 // SCALE)) > 300 // SCALE


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("format", ["brackets", "ptb", "jsonl"])
def test_many_mutants(format: str) -> None:
    """A million spoilt files in all."""
    count = int(os.environ.get("TREEAVG_FUZZ", "1000000")) // 3
    assert sum(check(format, data) > 0 for data in mutants(2, count)) > count // 20


@given(text=st.text(alphabet="()ab \t\n", max_size=40))
@settings(max_examples=1500 // SCALE)
@example(text="(a (b b) b)")
@example(text="((a a) b)")
def test_verdict_of_nltk(text: str) -> None:
    """A tree over any lines is read exactly if nltk reads it and every node has a leaf, and it is the same tree."""
    try:
        tree = nltk.Tree.fromstring(text)
        good = isinstance(tree, nltk.Tree) and all(len(node.leaves()) for node in tree.subtrees())
    except (ValueError, IndexError):
        good = False
    outcome = parse("ptb", text.encode(), skip=False)
    if not good:
        assert outcome is None or len(outcome[0]) != 1
        return
    while tree.label() == "" and len(tree) == 1 and isinstance(tree[0], nltk.Tree):
        tree = tree[0]
    assert outcome is not None
    assert outcome[0][0].to_nltk() == tree
    assert Treebank.from_nltk(tree) == outcome[0]


def test_a_line_is_read_as_if_alone() -> None:
    """Under skip, what the other lines hold does not matter."""
    for data in mutants(3, 1500 // SCALE):
        outcome = parse("brackets", data, skip=True)
        assert outcome is not None
        for view, line in zip(outcome[0], data.split(b"\n"), strict=False):
            alone = parse("brackets", line, skip=True)
            assert alone is not None
            if len(alone[0]):
                assert alone[0].lengths.tolist() == [len(view)]
                assert (alone[0][0].constituents, alone[0][0].tokens, alone[0][0].labels) == (
                    view.constituents, view.tokens, view.labels)  # fmt: skip
            else:
                assert len(view) == 0
