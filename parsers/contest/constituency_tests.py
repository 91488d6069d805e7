"""Constituency tests: what becomes of a sentence if some of its words are taken for a constituent [Cao2020, section 3].

Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from treeavg.errors import unknown

Words = list[str]

#: Tests that belong together, and their names; the order is that of the strings.
GROUPS: dict[str, tuple[str, ...]] = {
    "clefting": ("it-is", "it-was"),
    "substitution": ("ones", "did-so", "it"),
    "movement": ("front", "end"),
    "coordination": ("and",),
}
TESTS = tuple(name for group in GROUPS.values() for name in group)
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
_PUNCTUATION = frozenset({*",;:.?!-()[]{}'`\"$#", "--", "``", "''", "...", "\u2013", "\u2014", "\u2026"})
#: What ends a sentence; it stands outside of all tests.
_FINAL = frozenset({".", "?", "!"})


def names_of(tests: str) -> tuple[str, ...]:
    """Return the tests that a list of names or of groups means.

    Parameters
    ----------
    tests : str
        ``all``, or names of `TESTS` and `GROUPS`, separated by commas.

    Returns
    -------
    tuple of str
        In the order of `TESTS`.

    Raises
    ------
    ArgumentError
        A name is unknown.

    Examples
    --------
    >>> names_of("coordination,it,front")
    ('it', 'front', 'and')
    """
    if tests == "all":
        return TESTS
    chosen: set[str] = set()
    for name in (part.strip() for part in tests.split(",")):
        if name not in GROUPS and name not in TESTS:
            raise unknown("tests", name, ("all", *GROUPS, *TESTS))
        chosen.update(GROUPS.get(name, (name,)))
    return tuple(name for name in TESTS if name in chosen)


def normal(words: Sequence[str]) -> Words:
    """Return words as the classifier reads them: lowercased, brackets as brackets.

    Parameters
    ----------
    words : sequence of str
        Of a sentence.

    Returns
    -------
    list of str

    Examples
    --------
    >>> normal(["-LRB-", "The", "cat"])
    ['(', 'the', 'cat']
    """
    return [_BRACKETS.get(word, _BRACKETS.get(word.upper(), word)).lower() for word in words]


def is_tested(words: Sequence[str]) -> bool:
    """Tell whether a span has two words or more that are no punctuation: others are constituents without a test.

    Parameters
    ----------
    words : sequence of str
        Of the span, as `normal` gives them.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_tested(["the", "cat"]), is_tested(["cat", ","])
    (True, False)
    """
    return sum(word not in _PUNCTUATION for word in words) > 1


def inner_length(words: Sequence[str]) -> int:
    """Return how many words stand before the final full stop or the like; at least one, if there is one.

    Parameters
    ----------
    words : sequence of str
        Of a sentence.

    Returns
    -------
    int

    Examples
    --------
    >>> inner_length(["it", "rains", "!", "."])
    2
    """
    n = len(words)
    while n > 1 and words[n - 1] in _FINAL:
        n -= 1
    return n


def front(words: Words, i: int, j: int, *, comma: bool = True) -> Words | None:
    """Move a span to the front, before a comma, and without punctuation where the new sentence begins and ends.

    Parameters
    ----------
    words : list of str
        Of the sentence.
    i, j : int
        The span [i, j).
    comma : bool, default True
        False leaves the comma out, for text without any.

    Returns
    -------
    list of str or None
        None where it is at the front, or holds nothing but punctuation.

    Examples
    --------
    >>> front(["we", "met", "in", "rome"], 2, 4)
    ['in', 'rome', ',', 'we', 'met']
    """
    rest = _without_last(words)
    moved = _without_first(rest[i:j])
    return [*moved, *[","] * comma, *rest[:i], *rest[j:]] if i > 0 and moved else None


def end(words: Words, i: int, j: int, *, faithful: bool = False) -> Words | None:
    """Move a span to the end, without punctuation where the new sentence begins and ends.

    Parameters
    ----------
    words : list of str
        Of the sentence.
    i, j : int
        The span [i, j).
    faithful : bool, default False
        As the published program: of a sentence that begins with punctuation, the words that stand at i to j - 1 once
        this is taken away are moved, with the punctuation around them.

    Returns
    -------
    list of str or None
        None where it is at the end, or holds nothing but punctuation.

    Examples
    --------
    >>> end(["the", "cat", "sat"], 0, 2)
    ['sat', 'the', 'cat']
    >>> end(["--", "the", "cat", "sat", "down"], 1, 3), end(["--", "the", "cat", "sat", "down"], 1, 3, faithful=True)
    (['sat', 'down', 'the', 'cat'], ['the', 'down', 'cat', 'sat'])
    """
    if j >= len(words):
        return None
    if faithful:
        rest = _without_first(words)
        return [*rest[:i], *rest[j:], *rest[i:j]]
    moved = _without_last(words[i:j])
    rest = _without_first([*words[:i], *words[j:]])
    return [*rest, *(moved if i > 0 else _without_first(moved))] if moved else None


def changed(
    words: Words, i: int, j: int, tests: Sequence[str] = TESTS, *, comma: bool = True, faithful: bool = False
) -> list[Words]:
    """Return the strings that tests make of a sentence and a span.

    Parameters
    ----------
    words : list of str
        Of the sentence, as `normal` gives them.
    i, j : int
        The span [i, j).
    tests : sequence of str
        Which of `TESTS`, in their order.
    comma : bool, default True
        As for `front`.
    faithful : bool, default False
        As for `end`.

    Returns
    -------
    list of list of str
        One for each test that applies.

    Examples
    --------
    >>> [" ".join(string) for string in changed(["we", "met", "in", "rome"], 2, 4, ("it-is", "it", "and"))]
    ['it is in rome that we met', 'we met it', 'we met in rome and in rome']
    """
    before, span, after = words[:i], words[i:j], words[j:]
    made: list[Words] = []
    for test in tests:
        if test == "front" or test == "end":
            moved = front(words, i, j, comma=comma) if test == "front" else end(words, i, j, faithful=faithful)
            made += [moved] if moved is not None else []
        elif test == "and":
            made.append([*before, *span, "and", *span, *after])
        elif test in GROUPS["clefting"]:
            made.append([*test.split("-"), *span, "that", *before, *after])
        else:
            made.append([*before, *test.split("-"), *after])
    return made


def _without_first(words: Words) -> Words:
    """Return words without the punctuation that they begin with."""
    first = 0
    while first < len(words) and words[first] in _PUNCTUATION:
        first += 1
    return words[first:]


def _without_last(words: Words) -> Words:
    """Return words without the punctuation that they end with."""
    last = len(words)
    while last > 0 and words[last - 1] in _PUNCTUATION:
        last -= 1
    return words[:last]
