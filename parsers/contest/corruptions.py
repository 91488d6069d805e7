"""Corruptions: what the classifier learns to tell from sentences [Cao2020].

Nothing here loads torch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from numpy.random import Generator

from parsers.contest.constituency_tests import Words, end, front, is_tested

#: Fewer words never remain of a sentence.
LEAST = 5


class Bigrams:
    """Which word follows which, counted; word salad is drawn from it.

    Parameters
    ----------
    sentences : sequence of list of str
        At least one word in all.

    Examples
    --------
    >>> from numpy.random import default_rng
    >>> Bigrams([["a", "rose", "is", "a", "rose"]]).draw(3, default_rng(0))
    ['a', 'rose', 'is']
    """

    def __init__(self, sentences: Sequence[Words]) -> None:
        counts: dict[str | None, Counter[str]] = {None: Counter()}
        for words in sentences:
            for before, word in zip((None, *words), words, strict=False):
                counts.setdefault(before, Counter())[word] += 1
        self._next = {before: (list(own), list(accumulate(own.values()))) for before, own in counts.items()}

    def draw(self, length: int, random: Generator) -> Words:
        """Return so many words, each drawn by how often it follows the one before.

        Parameters
        ----------
        length : int
            At least 0.
        random : Generator
            Where chance comes from.

        Returns
        -------
        list of str

        Notes
        -----
        A sentence never ends early: after a word that nothing follows, one is drawn that begins sentences.
        """
        drawn: Words = []
        before: str | None = None
        for _ in range(length):
            words, sums = self._next.get(before) or self._next[None]
            before = words[bisect_right(sums, int(random.integers(sums[-1])))]
            drawn.append(before)
        return drawn


def subset(words: Words, random: Generator) -> Words | None:
    """Keep some words, at least `LEAST`, in their order; None of shorter sentences.

    Parameters
    ----------
    words : list of str
        Of the sentence.
    random : Generator
        Where chance comes from.

    Returns
    -------
    list of str or None
    """
    n = len(words)
    if n <= LEAST:
        return None
    kept = max(int(random.integers(n - 1)), LEAST)
    return [words[place] for place in sorted(random.permutation(n)[:kept].tolist())]


def shuffle(words: Words, random: Generator) -> Words:
    """Move the words of some places around a ring.

    Parameters
    ----------
    words : list of str
        Of the sentence, at least two.
    random : Generator
        Where chance comes from.

    Returns
    -------
    list of str
    """
    places = random.permutation(len(words))[: int(random.integers(2, len(words) + 1))].tolist()
    out = list(words)
    for place, before in zip(places, [places[-1], *places[:-1]], strict=True):
        out[place] = words[before]
    return out


def swap(words: Words, random: Generator) -> Words:
    """Exchange two words.

    Parameters
    ----------
    words : list of str
        Of the sentence, at least two.
    random : Generator
        Where chance comes from.

    Returns
    -------
    list of str
    """
    first, second = random.permutation(len(words))[:2].tolist()
    out = list(words)
    out[first], out[second] = words[second], words[first]
    return out


def misplaced(
    words: Words, kind: str, random: Generator, *, comma: bool = True, faithful: bool = False
) -> Words | None:
    """Move or leave out words that need not be a constituent.

    Parameters
    ----------
    words : list of str
        Of the sentence.
    kind : str
        ``front``, ``end`` or ``omission``, after which at least `LEAST` words remain.
    random : Generator
        Where chance comes from.
    comma, faithful : bool
        As for `parsers.contest.constituency_tests.changed`.

    Returns
    -------
    list of str or None
        None where the sentence is too short, or the words drawn cannot be moved.
    """
    n = len(words)
    if n < 3:
        return None
    i = int(random.integers(n - 2))
    j = int(random.integers(i + 2, n))
    if kind == "omission":
        j = min(j, i + n - LEAST)
    if j <= i or not is_tested(words[i:j]):
        return None
    if kind == "front":
        return front(words, i, j, comma=comma)
    return end(words, i, j, faithful=faithful) if kind == "end" else [*words[:i], *words[j:]]


def corrupt(
    words: Words, bigrams: Bigrams, random: Generator, *, comma: bool = True, faithful: bool = False
) -> Words | None:
    """Return another sentence made of a sentence in one of seven ways, all as likely.

    Parameters
    ----------
    words : list of str
        Of the sentence, as `parsers.contest.constituency_tests.normal` gives them.
    bigrams : Bigrams
        Of the text.
    random : Generator
        Where chance comes from.
    comma : bool, default True
        As for `parsers.contest.constituency_tests.front`.
    faithful : bool, default False
        As for `parsers.contest.constituency_tests.end`; and what comes out may be the sentence itself.

    Returns
    -------
    list of str or None
        None where only the sentence itself came out, such as of equal words.
    """
    if len(words) < 2:
        return None
    made = [subset(words, random), shuffle(words, random), swap(words, random), bigrams.draw(len(words), random)]
    for kind in ("end", "front", "omission"):
        made.append(misplaced(words, kind, random, comma=comma, faithful=faithful))
    usable = [other for other in made if other is not None and (faithful or other != words)]
    return usable[int(random.integers(len(usable)))] if usable else None
