"""What parsers are given: a device, sentences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, quote, unknown
from treeavg.treebank import Treebank

if TYPE_CHECKING:
    import torch  # loaded only where a device is asked for: heuristics parse without it


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to compute on, checked to exist.

    Parameters
    ----------
    device : str or torch.device, default "auto"
        ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto`` is ``cuda`` where there is one.

    Returns
    -------
    torch.device

    Raises
    ------
    ArgumentError
        The device is unknown or absent.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise unknown("device", str(device), ["auto", "cpu", "cuda", "cuda:1"])
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (found.index or 0) >= count:
            raise ArgumentError(
                f"device: expected one of the {count} CUDA devices of this machine, got {str(device)!r}. "
                "Pass device='auto'."
            )
    return found


def as_sentences(sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the words of sentences as lists.

    Parameters
    ----------
    sentences : Treebank, DependencyTreebank or sequence of sequences of str
        Not modified.

    Returns
    -------
    list of list of str
        One list a sentence; empty for an empty or missing one.

    Raises
    ------
    ArgumentError
        A treebank has no words, or a sentence is not a sequence of strings.

    Examples
    --------
    >>> as_sentences([("the", "dog"), []])
    [['the', 'dog'], []]
    >>> as_sentences(["the dog"])
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: sentences[0]: expected a list of words, got 'the dog'. Split it into words.
    """
    if isinstance(sentences, (Treebank, DependencyTreebank)):
        if sentences.tokens is None:
            raise ArgumentError(
                "sentences: expected a treebank with words, got one with lengths only. Read a format that has words."
            )
        words, bounds = list(sentences.tokens), sentences.token_offsets.tolist()
        return [words[begin:end] for begin, end in pairwise(bounds)]
    if isinstance(sentences, (str, bytes)):
        raise ArgumentError(f"sentences: expected lists of words, got {quote(sentences)}. Pass a list of sentences.")
    result = []
    for index, sentence in enumerate(sentences):
        if isinstance(sentence, (str, bytes)) or not isinstance(sentence, Sequence):
            raise ArgumentError(
                f"sentences[{index}]: expected a list of words, got {quote(sentence)}. Split it into words."
            )
        for place, word in enumerate(sentence):
            if not isinstance(word, str):
                raise ArgumentError(f"sentences[{index}][{place}]: expected a word, got {quote(word)}. Pass strings.")
        result.append(list(sentence))
    return result
