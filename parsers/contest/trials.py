"""All tests of a sentence, and the scores of its spans that follow from them [Cao2020, section 4].

Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parsers.contest.constituency_tests import TESTS, Words, changed, inner_length, is_tested, normal


@dataclass(frozen=True)
class Trial:
    """All tests of a sentence.

    Parameters
    ----------
    length : int
        Words of the sentence.
    inner : int
        Words before the final full stop.
    spans : ndarray of int64, shape (S, 2)
        Those to be tested.
    strings : list of list of str
        What tests make of them.
    owners : ndarray of int64, shape (T,)
        Which of `spans` each string belongs to.
    """

    length: int
    inner: int
    spans: NDArray[np.int64]
    strings: list[Words]
    owners: NDArray[np.int64]

    @classmethod
    def of(
        cls, words: Sequence[str], tests: Sequence[str] = TESTS, *, comma: bool = True, faithful: bool = False
    ) -> Trial:
        """Make the strings of a sentence.

        Parameters
        ----------
        words : sequence of str
            Of the sentence, as they were given.
        tests : sequence of str
            Which of `TESTS`, in their order.
        comma, faithful : bool
            As for `parsers.contest.constituency_tests.changed`.

        Returns
        -------
        Trial

        Examples
        --------
        >>> trial = Trial.of(["we", "met", "in", "Rome"])
        >>> len(trial.spans), len(trial.strings)
        (5, 36)
        """
        read = normal(words)
        inner = inner_length(read)
        read = read[:inner]
        spans = [
            (i, j)
            for i in range(inner)
            for j in range(i + 2, inner + 1)
            if j - i < inner and is_tested(read[i:j])
        ]  # fmt: skip
        made = [changed(read, i, j, tests, comma=comma, faithful=faithful) for i, j in spans]
        owners = np.repeat(np.arange(len(spans)), [len(own) for own in made]) if made else np.empty(0, np.int64)
        strings = [string for own in made for string in own]
        return cls(len(words), inner, np.array(spans, np.int64).reshape(-1, 2), strings, owners.astype(np.int64))

    def chart(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores of spans, the means of their strings' [Cao2020, section 4].

        Parameters
        ----------
        probabilities : ndarray of float32, shape (T,)
            That each string is grammatical.

        Returns
        -------
        ndarray of float32, shape (n + 1, n + 1)
            1 for single words, the whole sentence, and spans without a test; 0.5 where no chosen test applies. A final
            full stop belongs to the whole sentence only.

        Examples
        --------
        >>> trial = Trial.of(["we", "met", "you"], ("it",))
        >>> trial.chart(np.array([0.25, 0.75], np.float32))[0].tolist()
        [0.0, 1.0, 0.25, 1.0]
        """
        n = self.length
        out = np.triu(np.ones((n + 1, n + 1), np.float32), 1)
        for last in range(self.inner + 1, n + 1):
            out[1 : last - 1, last] = 0
        counts = np.bincount(self.owners, minlength=len(self.spans))
        sums = np.bincount(self.owners, probabilities, minlength=len(self.spans))
        means = np.where(counts > 0, sums / np.maximum(counts, 1), 0.5)
        out[self.spans[:, 0], self.spans[:, 1]] = means
        return out


def longest_strings(words: Sequence[str], tests: Sequence[str] = TESTS) -> list[Words]:
    """Return strings of a sentence none of whose tests has more subwords: the sentence, tests of the widest spans.

    Parameters
    ----------
    words : sequence of str
        Of the sentence.
    tests : sequence of str
        Which of `TESTS`, in their order.

    Returns
    -------
    list of list of str

    Examples
    --------
    >>> [" ".join(string) for string in longest_strings(["we", "met", "you"], ("and",))]
    ['we met you', 'we met and we met you', 'we met you and met you']
    """
    read = normal(words)
    read = read[: inner_length(read)]
    n = len(read)
    widest = ((0, n - 1), (1, n)) if n > 2 else ()
    return [read, *(string for i, j in widest for string in changed(read, i, j, tests))]
