"""Drawings and tables in the terminal."""

from __future__ import annotations

import random

import naive
from hypothesis import given
from strategies import Spans, banks, ensembles

from treeavg import Treebank
from treeavg.report.tables import display_width, printable, table
from treeavg.report.terminal import draw, side_by_side


@given(ensembles(longest=9, teachers=1, sentences=1))
def test_every_word_and_constituent_is_drawn_once(ensemble: tuple[list[int], list[list[Spans]]]) -> None:
    """One mark a constituent (and one for a root that is not listed), the words in order."""
    lengths, trees = ensemble
    bank = Treebank.from_constituents([[f"w{i}" for i in range(lengths[0])]], trees[0])
    lines = draw(bank[0])
    text = "\n".join(lines)
    words = [word.strip("├└─│ ") for word in text.replace("•", " ").split() if word.startswith("w")]
    assert words == bank[0].tokens
    spans = bank[0].spans
    rooted = bool(spans) and spans[0] == (0, lengths[0])
    assert text.count("•") == len(spans) + (not rooted)


def test_labels_counts_and_gaps() -> None:
    """Labels stand for bullets, counts behind them, gaps of discontinuous constituents as dots."""
    bank = Treebank.from_constituents([["a", "b", "c", "d"]], [[(0, 4), [(0, 1), (2, 3)]]], labels=[["S", "VP"]])
    assert draw(bank[0], [3, 1.5], whole=3) == ["S 3", "├─ VP 1.5  a ... c", "├─ b", "└─ d"]
    assert draw(bank[0], [3, 1], whole=3, colour=True)[:2] == ["S \x1b[32m3\x1b[0m", "├─ VP \x1b[31m1\x1b[0m  a ... c"]


def test_missing_and_single_tokens() -> None:
    """A missing sentence says so; one token is a tree of one line."""
    bank = Treebank.from_constituents([[], ["a"]], [[], []])
    assert draw(bank[0]) == ["(missing)"]
    assert draw(bank[1]) == ["•  a"]
    assert draw(Treebank.from_constituents([2], [[]])[0]) == ["•  0 1"]


def test_deep_trees() -> None:
    """No recursion: a chain of 3,000 constituents is drawn."""
    (bank,) = banks([3000], [[[(begin, 3000) for begin in range(2999)]]])
    assert len(draw(bank[0])) == 2 * 2999 - 1


def test_nothing_steers_the_terminal() -> None:
    """Control characters in words are replaced."""
    bank = Treebank.from_constituents([["\x1b[2J", "b"]], [[(0, 2)]])
    assert draw(bank[0]) == ["•  \ufffd[2J b"]
    assert printable("a\u202eb\n") == "a\ufffdb\ufffd"


def test_width() -> None:
    """Wide letters take two columns, combining marks none; columns line up."""
    assert [display_width(text) for text in ("abc", "日本", "e\u0301")] == [3, 4, 1]
    assert table([["", "x"], ["日本", "1"], ["abc", "22"]]) == "       x\n日本   1\nabc   22"


def test_side_by_side_fills_the_width() -> None:
    """As many drawings to a row as fit, at least one."""
    titles, drawings = ["a", "b", "c"], [["12345"], ["12345", "1"], ["1"]]
    assert side_by_side(titles, drawings, 13) == "a       b\n12345   12345\n        1\n\nc\n1"
    assert side_by_side(titles, drawings, 1).count("\n\n") == 2


def test_random_trees_are_stable() -> None:
    """The same tree is drawn the same way."""
    spans = naive.random_tree(random.Random(4), 12)
    (bank,) = banks([12], [[spans]])
    assert draw(bank[0]) == draw(bank[0])
