"""Brackets inside words."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treeavg.escapes import escape_token, unescape_token
from treeavg.strings import StringColumn

PIECES = ["(", ")", "\\", "-", "L", "R", "B", "-LRB-", "-RRB-", "-LRB", "-RRB", "RB-", "é", "字", "😀", " ", "\n"]


@pytest.mark.parametrize(
    ("word", "spelled"),
    [
        ("(", "-LRB-"), (")", "-RRB-"), ("()", "-LRB--RRB-"), (":-)", ":--RRB-"), ("-LRB-", "\\-LRB-"),
        ("\\(", "\\\\-LRB-"), ("\\-LRB-", "\\\\\\-LRB-"), ("-LRB(", "\\-LRB-LRB-"), ("a", "a"), ("", ""),
        ("\\", "\\"), ("1\\/2", "1\\/2"), ("-LCB-", "-LCB-"), ("-lrb-", "-lrb-"), ("-LRB", "-LRB"), ("LRB-", "LRB-"),
        ("\\\\a", "\\\\a"),
    ],
)  # fmt: skip
def test_examples(word: str, spelled: str) -> None:
    """Each rule once."""
    assert escape_token(word) == spelled
    assert unescape_token(spelled) == word


def check(word: str) -> None:
    """A word comes back, is spelled without brackets, and no other word is spelled alike (as it comes back)."""
    spelled = escape_token(word)
    assert "(" not in spelled
    assert ")" not in spelled
    assert unescape_token(spelled) == word
    assert [letter for letter in spelled if letter.isspace()] == [letter for letter in word if letter.isspace()]


@given(word=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_every_word_comes_back(word: str) -> None:
    """Words of brackets, backslashes, codes and their parts."""
    check(word)


def test_every_short_word_comes_back() -> None:
    """All words of up to four nasty pieces."""
    pieces = ["(", ")", "\\", "-", "-LRB-", "-RRB", "RRB-", "a"]
    for size in range(5):
        for parts in itertools.product(pieces, repeat=size):
            check("".join(parts))


@given(spelled=st.lists(st.sampled_from([piece for piece in PIECES if piece not in "()"]), max_size=12).map("".join))
def test_a_second_trip_changes_nothing(spelled: str) -> None:
    """Whatever a file spells, the word that it means is spelled so that it stays."""
    word = unescape_token(spelled)
    assert unescape_token(escape_token(word)) == word


@given(words=st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=8))
def test_columns_are_changed_like_their_words(words: list[str]) -> None:
    """A column is escaped where a word holds a piece; the twin takes every word."""
    column = StringColumn.of(words)
    escaped = column.changed(escape_token, [b"(", b")", b"RB"])
    assert list(escaped) == list(map(escape_token, words))
    assert escaped.changed(unescape_token, [b"RB"]) == column
    assert column.changed(str.upper, ["字".encode()]) == StringColumn.of(
        word.upper() if "字" in word else word for word in words
    )
