"""How decided next-token laws are, and how various several outputs for one input are."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from treeavg.distill.sequences.losses.rows import blocks_of, compute_type, take
from treeavg.distill.sequences.reductions import require_mask
from treeavg.distill.sequences.sampling.samplers import require_whole
from treeavg.errors import ArgumentError, quote

__all__ = ["Peakness", "distinct", "peakness", "peaks", "teacher_distinct"]


class Peakness(NamedTuple):
    """How decided next-token laws are, as means over tokens.

    Parameters
    ----------
    entropy : float
        In nats.
    largest : float
        The probability of the likeliest token.

    Examples
    --------
    >>> Peakness(0.0, 1.0).largest
    1.0
    """

    entropy: float
    largest: float


def peaks(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entropy of each next-token law and its largest probability.

    Parameters
    ----------
    logits : Tensor, floating, shape (B, T, V)
        Scores of tokens; a block of rows at a time.
    mask : Tensor, bool, shape (B, T)
        Which tokens count.

    Returns
    -------
    tuple of two Tensors
        Both (B, T), 0 where the mask is False; float64 where the logits are, else float32.

    Raises
    ------
    ArgumentError
        Shapes that do not fit.

    Examples
    --------
    >>> [round(float(one), 4) for one in peaks(torch.zeros(1, 1, 4), torch.tensor([[True]]))]
    [1.3863, 0.25]
    """
    require_mask(mask, logits.shape[:2])
    logits = logits.detach()
    entropy = logits.new_zeros(mask.shape, dtype=compute_type(logits))
    largest = torch.zeros_like(entropy)
    for places in blocks_of(mask, logits.shape[-1]):
        law = take(logits, places).log_softmax(-1, dtype=entropy.dtype)
        entropy.view(-1)[places] = -torch.xlogy(law.exp(), law.exp()).sum(-1)
        largest.view(-1)[places] = law.amax(-1).exp()
    return entropy, largest


def peakness(logits: Tensor, mask: Tensor) -> Peakness:
    """Return how decided a model is, on average over tokens; compare two on the same prefixes.

    Training by KL makes students too smooth, by the reverse too peaked.

    Parameters
    ----------
    logits : Tensor, floating, shape (B, T, V)
        Scores of tokens.
    mask : Tensor, bool, shape (B, T)
        Which tokens count, at least one.

    Returns
    -------
    Peakness

    Raises
    ------
    ArgumentError
        Shapes that do not fit, NaN, or no token that counts.

    Examples
    --------
    >>> round(peakness(torch.zeros(1, 1, 2), torch.tensor([[True]])).entropy, 4)
    0.6931
    """
    entropy, largest = peaks(logits, mask)
    return mean_peakness(entropy, largest, mask)


def mean_peakness(entropy: Tensor, largest: Tensor, mask: Tensor) -> Peakness:
    """Return the means over tokens of what `peaks` gives."""
    if not mask.any():
        raise ArgumentError("mask: expected at least one token that counts, got none. Leave empty batches out.")
    means = [float(one[mask].double().mean()) for one in (entropy, largest)]
    if any(map(math.isnan, means)):
        raise ArgumentError("logits: expected numbers where the mask is True, got NaN. Look for a broken checkpoint.")
    return Peakness(*means)


def distinct(texts: Sequence[Sequence[Hashable]], *, n: int = 2) -> float:
    """Return the share of different n-grams among all n-grams of several texts; none reaches across texts.

    Parameters
    ----------
    texts : sequence of sequences of hashable
        Words or token ids, without the end token. A text is not split here: give its words.
    n : int, default 2
        Tokens in an n-gram.

    Returns
    -------
    float
        Between 0 and 1; 0 where there is no n-gram.

    Raises
    ------
    ArgumentError
        A text in place of its words, or n below 1.

    References
    ----------
    [Li et al., NAACL 2016].

    Examples
    --------
    >>> distinct([["a", "cat", "sat"], ["a", "cat", "ran"]])
    0.75
    """
    require_whole("n", n, 1)
    for place, text in enumerate(texts):
        if isinstance(text, str):
            raise ArgumentError(f"texts[{place}]: expected words or token ids, got {quote(text)}. Use text.split().")
    grams = [tuple(text[start : start + n]) for text in texts for start in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def teacher_distinct(groups: Sequence[Sequence[Sequence[Hashable]]], *, n: int = 2) -> float:
    """Return how various the outputs for one input are: the mean over inputs of `distinct`, in percent.

    It says which loss a task wants: low for translation, high for dialogue.

    Parameters
    ----------
    groups : sequence of sequences of texts
        For each input several outputs, five in the paper; each is a sequence of words or token ids.
    n : int, default 2
        Tokens in an n-gram.

    Returns
    -------
    float
        Between 0 and 100.

    Raises
    ------
    ArgumentError
        No inputs, or as `distinct`.

    References
    ----------
    [Wen et al., ACL 2023], there named TeacherDist.

    Examples
    --------
    >>> teacher_distinct([[["a", "b"], ["a", "b"]], [["a", "b"], ["b", "a"]]])
    75.0
    """
    if not len(groups):
        raise ArgumentError("groups: expected the outputs of at least one input, got none. Sample some first.")
    return 100 * math.fsum(distinct(group, n=n) for group in groups) / len(groups)
