"""Minimum Bayes risk: among several outputs, the one that most agrees with all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from treeavg.distill.sequences.metrics.text_metrics import sentence_bleu
from treeavg.errors import ArgumentError, quote

__all__ = ["Choice", "Output", "mbr"]

#: A text, split at white space by the default utility, or token ids.
Output = str | Sequence[int]


class Choice(NamedTuple):
    """The chosen candidate.

    Parameters
    ----------
    place : int
        Its place.
    utility : float
        Its expected utility.
    """

    place: int
    utility: float


def mbr(
    candidates: Sequence[Output],
    *,
    weights: Sequence[float] | None = None,
    utility: Callable[[Output, Output], float] | None = None,
) -> Choice:
    """Return which teacher's output has the greatest expected utility against all teachers' outputs.

    Parameters
    ----------
    candidates : sequence of str or of sequences of int, length K
        One output of each teacher for the same input. As texts they may come from different vocabularies; leave end
        tokens out of ids.
    weights : sequence of float, length K, optional
        The teachers' weights as references, such as scores: non-negative, not all zero; divided by their sum.
        Default: equal.
    utility : callable, optional
        Takes an output and a reference; higher is better. Default: smoothed `sentence_bleu`.

    Returns
    -------
    Choice
        Ties go to the first teacher.

    Raises
    ------
    ArgumentError
        No candidates, texts and ids together, weights out of place, or a utility that is no number.

    Notes
    -----
    Every candidate also counts as a reference of itself, as the sum over all teachers says. Equal candidates are
    compared once. The choice is among what the teachers propose; `ebbs` can put together what none proposed.

    References
    ----------
    [Kumar and Byrne, NAACL 2004]; as a baseline of ensembles, [Wen et al., AAAI 2025].

    Examples
    --------
    >>> mbr(["a cat sat", "the dog lay", "a cat lay"]).place
    2
    """
    if not candidates or isinstance(candidates, str):
        raise ArgumentError(
            f"candidates: expected a list of one output or more, got {quote(candidates)}. Pass each teacher's output "
            "for one input."
        )
    kinds = {isinstance(candidate, str) for candidate in candidates}
    if len(kinds) > 1 or not (kinds == {True} or all(hasattr(candidate, "__len__") for candidate in candidates)):
        raise ArgumentError(
            f"candidates: expected texts, or token ids of each teacher, got {quote(candidates)}. Decode all of them, "
            "or none."
        )
    shares = [1.0] * len(candidates) if weights is None else list(weights)
    total = math.fsum(shares) if all(isinstance(share, (int, float)) for share in shares) else math.nan
    if len(shares) != len(candidates) or not 0 < total < math.inf or min(shares) < 0:
        raise ArgumentError(
            f"weights: expected {len(candidates)} non-negative numbers, one for each candidate, not all 0, got "
            f"{quote(shares)}. Pass None for equal weights."
        )
    # One entry for equal candidates, at the place of the first, with their summed weight.
    keys = [_key(candidate) for candidate in candidates]
    summed: dict[Output, list[float]] = {}
    for key, share in zip(keys, shares, strict=True):
        summed.setdefault(key, []).append(share)
    masses = {key: math.fsum(parts) for key, parts in summed.items()}
    score = sentence_bleu if utility is None else utility
    best = Choice(-1, -math.inf)
    for key in masses:
        scores = [_number(score(key, reference)) for reference in masses]
        found = math.fsum(mass * one for mass, one in zip(masses.values(), scores, strict=True)) / total
        if math.isnan(found):
            raise ArgumentError(
                f"utility: expected numbers, got NaN for candidate {keys.index(key)}. Give 0 where two outputs cannot "
                "be compared."
            )
        if found > best.utility:
            best = Choice(keys.index(key), found)
    if best.place < 0:
        raise ArgumentError(
            "utility: expected a number above -inf for one candidate at least, got -inf for all. Give 0 where two "
            "outputs cannot be compared."
        )
    return best


def _key(candidate: Output) -> Output:
    """Return a candidate that equal ones are equal to, tensors and arrays of ids included."""
    if isinstance(candidate, str):
        return candidate
    return tuple(candidate.tolist() if hasattr(candidate, "tolist") else candidate)


def _number(value: object) -> float:
    if isinstance(value, (int, float)) or hasattr(value, "__float__"):
        return float(value)
    raise ArgumentError(f"utility: expected a number, got {quote(value)}. Return how alike the two outputs are.")
