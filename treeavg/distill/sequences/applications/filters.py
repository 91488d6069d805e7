"""What a model that learns from its own writing keeps of it: novelty, equivalence, agreement, a judge's preferences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from treeavg.distill.sequences.metrics.rouge import rouge_l, words
from treeavg.errors import ArgumentError, quote

__all__ = [
    "KEYWORDS",
    "EquivalentPairs",
    "NovelTexts",
    "agreeing",
    "best_and_worst",
    "judge_score",
    "majority_vote",
    "rouge_l",
    "words",
]

Item = TypeVar("Item")
Answer = TypeVar("Answer", bound=Hashable)

#: English words that ask for what a language model cannot see or make, for `NovelTexts`.
KEYWORDS = ("draw", "file", "files", "graph", "graphs", "image", "images", "map", "maps", "picture", "pictures", "plot")


@dataclass(frozen=True)
class NovelTexts:
    """Self-Instruct's filter: keeps texts unlike those in the pool and unlike one another.

    Called with candidates and the pool, it returns the candidates kept, in order.

    Parameters
    ----------
    threshold : float, default 0.7
        The largest ROUGE-L to any text in the pool or kept before stays below this. Above 0, at most 1.
    shortest, longest : int, default 4 and 150
        Words in a text.
    banned : tuple of str, default ()
        Words that no text may have, such as `KEYWORDS`; compared as `tokenize` returns them.
    tokenize : callable, default `words`
        Cuts a text into tokens; give another one for scripts without spaces.

    Raises
    ------
    ArgumentError
        A number out of range, or a text where there should be a list of them.

    References
    ----------
    [Wang et al. 2023 (Self-Instruct), section 2.2]; the bounds of length are those of the released code, which also
    keeps a text at the threshold.

    Examples
    --------
    >>> NovelTexts()(["Name two red fruits now.", "Say why the sky is blue."], ["Name two red fruits."])
    ['Say why the sky is blue.']
    """

    threshold: float = 0.7
    shortest: int = 4
    longest: int = 150
    banned: tuple[str, ...] = ()
    tokenize: Callable[[str], Sequence[str]] = words

    def __post_init__(self) -> None:
        _require_share("threshold", self.threshold)
        _require_list("banned", self.banned)
        if not 0 <= self.shortest <= self.longest:
            raise ArgumentError(
                f"shortest: expected a number of words from 0 to longest={self.longest}, got {quote(self.shortest)}. "
                "Use shortest=4, longest=150."
            )

    def __call__(self, candidates: Sequence[str], pool: Sequence[str]) -> list[str]:
        _require_list("candidates", candidates)
        _require_list("pool", pool)
        seen = [self.tokenize(text) for text in pool]
        banned, kept = frozenset(self.banned), []
        for text in candidates:
            tokens = self.tokenize(text)
            if not self.shortest <= len(tokens) <= self.longest or banned.intersection(tokens):
                continue
            if not any(_alike(tokens, other, self.threshold) for other in seen):
                kept.append(text)
                seen.append(tokens)
        return kept


@dataclass(frozen=True)
class EquivalentPairs:
    """Impossible distillation's filter: keeps pairs of texts that say the same in other words.

    Called with candidate pairs and the pool's pairs, it returns the pairs kept, in order.

    Parameters
    ----------
    entails : callable
        ``entails(premise, hypothesis)`` is the probability that the one follows from the other.
    threshold : float, default 0.9
        Both directions reach this. Above 0, at most 1.
    ratio : tuple of two float, default (0.5, 2.0)
        Words of the second text for each word of the first, least and most; (0, 0.5), say, for summaries.
    copy : float, default 0.8
        The ROUGE-L of the two texts stays below this, or nothing is learnt from the pair.
    repeat : float, default 0.9
        A pair is left out where both its texts have this ROUGE-L or more to those of a pair in the pool or kept before.
    tokenize : callable, default `words`
        Cuts a text into tokens.

    Raises
    ------
    ArgumentError
        A number out of range, a candidate that is no pair, or an `entails` that returns NaN.

    References
    ----------
    [Jung et al. 2024 (Impossible Distillation), section 2]: the kinds of filter; the numbers are ours.

    Examples
    --------
    >>> keep = EquivalentPairs(lambda premise, hypothesis: float(sorted(premise) == sorted(hypothesis)))
    >>> keep([("a b c", "c b a"), ("a b c", "a b c"), ("a b c", "x y z")], [])
    [('a b c', 'c b a')]
    """

    entails: Callable[[str, str], float]
    threshold: float = 0.9
    ratio: tuple[float, float] = (0.5, 2.0)
    copy: float = 0.8
    repeat: float = 0.9
    tokenize: Callable[[str], Sequence[str]] = words

    def __post_init__(self) -> None:
        for name in ("threshold", "copy", "repeat"):
            _require_share(name, getattr(self, name))
        if not 0 <= self.ratio[0] <= self.ratio[1]:
            raise ArgumentError(
                f"ratio: expected the least and the most, not negative, got {quote(self.ratio)}. Use (0.5, 2.0)."
            )

    def __call__(self, candidates: Sequence[tuple[str, str]], pool: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        seen = [(self.tokenize(first), self.tokenize(second)) for first, second in pool]
        kept = []
        for place, pair in enumerate(candidates):
            if isinstance(pair, str) or len(pair) != 2:
                raise ArgumentError(f"candidates[{place}]: expected a pair of texts, got {quote(pair)}. Pass tuples.")
            first, second = self.tokenize(pair[0]), self.tokenize(pair[1])
            low, high = self.ratio[0] * len(first), self.ratio[1] * len(first)
            if not first or not second or not low <= len(second) <= high or _alike(first, second, self.copy):
                continue
            if any(_alike(first, one, self.repeat) and _alike(second, two, self.repeat) for one, two in seen):
                continue
            if self._follows(*pair) and self._follows(pair[1], pair[0]):
                kept.append(pair)
                seen.append((first, second))
        return kept

    def _follows(self, premise: str, hypothesis: str) -> bool:
        found = self.entails(premise, hypothesis)
        if found != found:
            raise ArgumentError(
                f"entails: expected a probability, got nan for {quote(premise)}. Give 0 to what cannot be judged."
            )
        return found >= self.threshold


def majority_vote(answers: Sequence[Answer | None]) -> Answer | None:
    """Return the most frequent answer, or None for a tie.

    Parameters
    ----------
    answers : sequence of hashable or None
        The answers of several chains of thought to one question; None where a chain has none, which has no vote.

    Returns
    -------
    hashable or None
        None also where no chain has an answer.

    References
    ----------
    [Huang et al. 2023 (Large language models can self-improve), section 3.1].

    Examples
    --------
    >>> majority_vote(["4", "5", "4", None]), majority_vote(["4", "5"])
    ('4', None)
    """
    counts = Counter(answer for answer in answers if answer is not None).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


def agreeing(chains: Sequence[Item], answer_of: Callable[[Item], Hashable | None]) -> list[Item]:
    """Return the chains of thought whose answer is the majority's: what self-improvement trains on.

    Parameters
    ----------
    chains : sequence
        Several answers to one question, in any form.
    answer_of : callable
        Returns a chain's answer, or None.

    Returns
    -------
    list
        Empty for a tie.

    Examples
    --------
    >>> agreeing(["2+2=4", "1+3=4", "2+2=5"], lambda chain: chain.split("=")[1])
    ['2+2=4', '1+3=4']
    """
    answers = [answer_of(chain) for chain in chains]
    vote = majority_vote(answers)
    return [] if vote is None else [chain for chain, answer in zip(chains, answers, strict=True) if answer == vote]


def best_and_worst(scores: Sequence[float | None]) -> tuple[int, int] | None:
    """Return the places of the best and the worst of several candidates: a pair for `dpo_loss`.

    Parameters
    ----------
    scores : sequence of float or None
        A judge's score for each candidate; None where the judge gave none, which is left out.

    Returns
    -------
    tuple of two int, or None
        The first of each where several tie; None where best and worst are equal, or fewer than two have a score.

    References
    ----------
    [Yuan et al. 2024 (Self-rewarding language models), section 2.2].

    Examples
    --------
    >>> best_and_worst([3, 5, 1, 5]), best_and_worst([4, 4])
    ((1, 2), None)
    """
    scored = [(float(score), place) for place, score in enumerate(scores) if score is not None]
    for score, place in scored:
        if score != score:
            raise ArgumentError(f"scores[{place}]: expected a number or None, got nan. Use None for no score.")
    if not scored:
        return None
    best, worst = max(scored, key=lambda one: (one[0], -one[1])), min(scored)
    return None if best[0] == worst[0] else (best[1], worst[1])


def judge_score(
    text: str, *, pattern: str = r"score\W*?(-?\d+(?:\.\d+)?)", low: float = 0.0, high: float = 5.0
) -> float | None:
    """Return the score that a judge wrote.

    Parameters
    ----------
    text : str
        The judge's completion.
    pattern : str, default ``"score", then a number``
        A regular expression with one group, the number; the last match counts, in any case.
    low, high : float, default 0 and 5
        The scale that the judge was asked for.

    Returns
    -------
    float or None
        None where there is no number, or one off the scale: such a judgement is left out, not clipped.

    Raises
    ------
    ArgumentError
        A pattern that is no regular expression with one group, or that finds what is no number; a scale upside down.

    Examples
    --------
    >>> judge_score("Clear and right. Score: 4"), judge_score("I like it"), judge_score("Score: 40")
    (4.0, None, None)
    """
    if not low < high:
        raise ArgumentError(f"low, high: expected low < high, got {quote(low)} and {quote(high)}. Use 0 and 5.")
    try:
        known = re.compile(pattern, flags=re.IGNORECASE)
    except re.error as error:
        raise ArgumentError(
            f"pattern: expected a regular expression, got {quote(pattern)}: {error}. Mend it."
        ) from None
    if known.groups != 1:
        raise ArgumentError(
            f"pattern: expected one group, the number, got {known.groups} in {quote(pattern)}. Put brackets around the "
            "number, and (?:...) around the rest."
        )
    found = known.findall(text)
    if not found:
        return None
    try:
        score = float(found[-1])
    except ValueError:
        raise ArgumentError(
            f"pattern: expected its group to find a number, got {quote(found[-1])}. Use (-?\\d+(?:\\.\\d+)?)."
        ) from None
    return score if low <= score <= high else None


def _alike(first: Sequence[str], second: Sequence[str], threshold: float) -> bool:
    """Tell whether the ROUGE-L reaches the threshold; lengths alone often say no."""
    bound = 2 * min(len(first), len(second))
    return bound >= threshold * (len(first) + len(second)) and rouge_l(first, second) >= threshold


def _require_list(name: str, texts: Sequence[str]) -> None:
    """Raise an ArgumentError for a text: its letters would be taken for texts."""
    if isinstance(texts, str):
        raise ArgumentError(f"{name}: expected a list of texts, got {quote(texts)}. Put it in a list.")


def _require_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ArgumentError(f"{name}: expected a number above 0 and at most 1, got {quote(value)}. Use 0.7.")
