"""ROUGE: what words, word pairs or longest subsequences two texts share; and corpus metrics made of such functions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from treeavg.distill.sequences.metrics.scores import References, TextScore, grouped
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["ROUGES", "per_output", "rouge", "rouge_l", "rouge_n", "words"]

#: Kinds of ROUGE.
ROUGES: dict[str, str] = {"1": "words", "2": "pairs of neighbouring words", "l": "longest common subsequence of words"}


def words(text: str) -> list[str]:
    """Return a text's words, without case and punctuation, in any script that puts spaces between them.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    list of str

    Examples
    --------
    >>> words("Name two fruits, please!")
    ['name', 'two', 'fruits', 'please']
    """
    return re.findall(r"\w+", text.casefold())


def rouge_l(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return the F1 of the longest common subsequence of two token sequences.

    Parameters
    ----------
    first, second : sequence of hashable
        Tokens, such as `words` of two texts.

    Returns
    -------
    float
        Between 0 and 1; 0 where one is empty.

    Notes
    -----
    One step of whole-number arithmetic for each token of `second`: a bit for each token of `first`
    [Hyyro 2004, figure 3].

    Examples
    --------
    >>> rouge_l(["a", "b", "c", "d"], ["a", "x", "c", "d"])
    0.75
    """
    if not first or not second:
        return 0.0
    places: dict[Hashable, int] = {}
    for place, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << place
    everything = (1 << len(first)) - 1
    unmatched = everything
    for token in second:
        found = unmatched & places.get(token, 0)
        unmatched = ((unmatched + found) | (unmatched - found)) & everything
    return 2 * (len(first) - unmatched.bit_count()) / (len(first) + len(second))


def rouge_n(first: Sequence[Hashable], second: Sequence[Hashable], *, n: int = 1) -> float:
    """Return the F1 of the n-grams of two token sequences, each counted as often as it stands there.

    Parameters
    ----------
    first, second : sequence of hashable
        Tokens, such as `words` of two texts.
    n : int, default 1
        Tokens in an n-gram.

    Returns
    -------
    float
        Between 0 and 1; 0 where one is too short for an n-gram.

    Raises
    ------
    ArgumentError
        `n` is not a positive whole number.

    Examples
    --------
    >>> rouge_n(["a", "a", "b"], ["a", "c"]), rouge_n(["a", "b", "c"], ["a", "b"], n=2)
    (0.4, 0.6666666666666666)
    """
    if not isinstance(n, int) or n < 1:
        raise ArgumentError(f"n: expected a whole number, at least 1, got {quote(n)}. Use 1 or 2.")
    grams = [Counter(tuple(text[at : at + n]) for at in range(len(text) - n + 1)) for text in (first, second)]
    shared = (grams[0] & grams[1]).total()
    return 2 * shared / (grams[0].total() + grams[1].total()) if shared else 0.0


def per_output(
    score: Callable[[str, str], float], *, name: str | None = None
) -> Callable[[Sequence[str], References], TextScore]:
    """Return a metric of many outputs from a function of one: the best over its references, the mean over outputs.

    Parameters
    ----------
    score : callable
        ``score(output, reference)`` is a number; higher is better.
    name : str, optional
        For the signature. Default: the function's own.

    Returns
    -------
    callable
        ``metric(outputs, references)`` returns a `TextScore`, for `text_score` or by itself. It raises an ArgumentError
        for outputs and references that do not fit, and where `score` returns no number.

    Examples
    --------
    >>> def shared(output, reference):
    ...     return 100 * len(set(output.split()) & set(reference.split())) / len(reference.split())
    >>> print(per_output(shared)(["a b", "c"], [["a b", "x"], ["c d"]]))
    75.00 metric:shared|level:output|references:best
    """
    label = name or getattr(score, "__name__", type(score).__name__)

    def metric(outputs: Sequence[str], references: References) -> TextScore:
        several = grouped(outputs, references)
        best = []
        for row, (output, group) in enumerate(zip(outputs, several, strict=True)):
            scores = [score(output, reference) for reference in group]
            if not all(hasattr(one, "__float__") and not math.isnan(float(one)) for one in scores):
                raise ArgumentError(
                    f"outputs[{row}]: expected {label} to return a number, got {quote(scores)}. Give 0 to what cannot "
                    "be scored."
                )
            best.append(max(map(float, scores)))
        return TextScore(math.fsum(best) / len(best), f"metric:{label}|level:output|references:best")

    return metric


def rouge(
    outputs: Sequence[str],
    references: References,
    *,
    kind: str = "l",
    tokenize: Callable[[str], Sequence[Hashable]] = words,
) -> TextScore:
    """Return ROUGE-1, ROUGE-2 or ROUGE-L of many outputs: the mean of their F1, in percent.

    Parameters
    ----------
    outputs : sequence of str, length N
        What the model wrote.
    references : sequence of str or of sequences of str, length N
        One or more for each output, of which the best counts.
    kind : {"1", "2", "l"}, default "l"
        One of `ROUGES`.
    tokenize : callable, default `words`
        Cuts a text into tokens; give one that stems for scores with stems, another for scripts without spaces.

    Returns
    -------
    TextScore

    Raises
    ------
    ArgumentError
        An unknown kind, no outputs, or another number of references.

    Notes
    -----
    On English texts this is what the package rouge-score gives without its stemmer. ROUGE-Lsum, which cuts texts at
    line ends, is absent: give its function to `text_score`.

    References
    ----------
    [Lin 2004 (ROUGE), sections 2 and 3], with beta = 1.

    Examples
    --------
    >>> print(rouge(["the cat sat"], ["The cat ran."]))
    66.67 metric:rouge-l|level:output|references:best
    """
    if kind not in ROUGES:
        raise unknown("kind", kind, ROUGES)

    def score(output: str, reference: str) -> float:
        first, second = tokenize(output), tokenize(reference)
        return 100 * (rouge_l(first, second) if kind == "l" else rouge_n(first, second, n=int(kind)))

    return per_output(score, name=f"rouge-{kind}")(outputs, references)
