"""The training of a teacher on plain text, as the training loop wants it."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from parsers.inputs import as_sentences
from parsers.nn.batches import token_batches
from parsers.nn.words import WordReader
from parsers.options import TeacherOptions
from parsers.training import NonFiniteError, seed_for
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, LeftOutWarning
from treeavg.metrics.scoring import score
from treeavg.treebank import Treebank

#: Words and their true trees.
Judge = tuple[list[list[str]], Treebank]


@dataclass(frozen=True)
class Text:
    """Sentences to train on and sentences that choose the epoch.

    Parameters
    ----------
    words : list of list of str
        All sentences, as they were given.
    lengths : ndarray of int64
        Words of each.
    chosen : ndarray of int64
        Indices of those that are trained on.
    held : ndarray of int64
        Indices of those whose loss chooses the epoch.
    seed : int
        Of the training.
    judge : Judge, optional
        Trees that choose the epoch instead.
    """

    words: list[list[str]]
    lengths: NDArray[np.int64]
    chosen: NDArray[np.int64]
    held: NDArray[np.int64]
    seed: int
    judge: Judge | None = None

    @classmethod
    def of(
        cls,
        words: list[list[str]],
        options: TeacherOptions,
        seed: int,
        *,
        shortest: int = 2,
        judge: Judge | None = None,
    ) -> Text:
        """Divide sentences into those to train on, those held out, and those left out.

        Parameters
        ----------
        words : list of list of str
            The sentences.
        options : TeacherOptions
            Says the longest sentence and the share held out.
        seed : int
            Of the training; decides which are held out.
        shortest : int, default 2
            Shorter sentences say nothing to the teacher, and are left out.
        judge : Judge, optional
            Trees that choose the epoch: nothing is held out.

        Returns
        -------
        Text

        Raises
        ------
        ArgumentError
            No sentence is left to train on.

        Warns
        -----
        LeftOutWarning
            Sentences are longer than ``options.longest``.

        Examples
        --------
        >>> Text.of([["it", "rains"], ["yes"]], TeacherOptions(held_out=0), 0).chosen.tolist()
        [0]
        """
        lengths = np.array([len(own) for own in words], np.int64)
        if too_long := int((lengths > options.longest).sum()):
            warnings.warn(
                LeftOutWarning(
                    f"{too_long:,} of {len(words):,} sentences have more than {options.longest} words and are not "
                    f"trained on. Pass longest={int(lengths.max())} to include them."
                ),
                stacklevel=3,
            )
        usable = np.flatnonzero((lengths >= shortest) & (lengths <= options.longest))
        order = np.random.default_rng(seed_for(seed, 0)).permutation(usable)
        aside = 0 if judge is not None else math.ceil(options.held_out * len(order))
        chosen, held = np.sort(order[aside:]), np.sort(order[:aside] if aside else order)
        if not len(chosen):
            raise ArgumentError(
                f"text: expected sentences of {shortest} to {options.longest} words to train on, got {len(usable)} of "
                f"which {aside} are held out. Pass more text, or held_out=0."
            )
        return cls(words, lengths, chosen, held, seed, judge)

    def take(self, indices: NDArray[np.int64]) -> list[list[str]]:
        """Return some of the sentences.

        Parameters
        ----------
        indices : ndarray of int64
            Which.

        Returns
        -------
        list of list of str
        """
        return [self.words[index] for index in indices.tolist()]

    def describe(self) -> dict[str, Any]:
        """Return what of the text a training depends on, for JSON.

        Returns
        -------
        dict
        """
        digest = hashlib.sha256(repr((self.words, self.judge and self.judge[0])).encode()).hexdigest()
        return {"sentences": len(self.chosen), "held": len(self.held), "data": digest}


class TextTask:
    """What `parsers.training.train` trains: a model of sentences, each batch an array of sentence indices.

    A teacher's task implements `loss_of`, and overrides what differs.

    Parameters
    ----------
    model : torch.nn.Module
        To be trained.
    reader : WordReader
        What numbers words.
    text : Text
        The sentences.
    options : TeacherOptions
        Batches and the longest sentence.
    parse : callable, optional
        Words to trees, for `Text.judge`.
    """

    def __init__(
        self,
        model: nn.Module,
        reader: WordReader,
        text: Text,
        options: TeacherOptions,
        *,
        parse: Callable[[list[list[str]]], Treebank] | None = None,
    ) -> None:
        self._model, self.reader, self.text, self.options, self.parse = model, reader, text, options, parse

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self._model

    def limit(self, epoch: int) -> int:
        """Return the longest sentence of an epoch, a curriculum.

        Parameters
        ----------
        epoch : int
            From 1.

        Returns
        -------
        int
        """
        return self.options.longest

    def loss_of(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the summed loss of a batch of sentences.

        Parameters
        ----------
        ids : Tensor of int64, shape (B, N)
            Numbers of words, padded at the right with 0; on the model's device.
        lengths : Tensor of int64, shape (B,)
            Words of each sentence.

        Returns
        -------
        Tensor
            A scalar.
        """
        raise NotImplementedError

    def epoch(self, number: int) -> Sequence[Any]:
        """Return the batches of an epoch."""
        chosen = self.text.chosen[self.text.lengths[self.text.chosen] <= self.limit(number)]
        if not len(chosen):  # the curriculum starts below the shortest sentence
            chosen = self.text.chosen
        seed = seed_for(self.text.seed, number)
        return [
            chosen[batch] for batch in token_batches(self.text.lengths[chosen], self.options.batch_tokens, seed=seed)
        ]

    def items(self, batch: Any) -> float:
        """Return the number of sentences."""
        return len(batch)

    def loss(self, batch: Any) -> Tensor:
        """Return the summed loss."""
        ids, lengths = self.reader.batch(self.text.take(batch))
        device = next(self.model.parameters()).device
        return self.loss_of(ids.to(device), lengths.to(device))

    def names(self, batch: Any) -> str:
        """Return which sentences these are."""
        return "sentences " + ", ".join(map(str, batch.tolist())) + " (from 0)"

    def held_out_loss(self) -> float:
        """Return the loss of the held-out sentences, an item.

        Returns
        -------
        float

        Raises
        ------
        NonFiniteError
            It is infinite or not a number.
        """
        self.model.eval()
        total = items = 0.0
        for batch in token_batches(self.text.lengths[self.text.held], self.options.batch_tokens):
            sentences = self.text.held[batch]
            total += float(self.loss(sentences))
            items += self.items(sentences)
        if not math.isfinite(total):
            raise NonFiniteError(
                f"held-out sentences: expected a finite loss, got {total}. Resume with a lower learning rate, from the "
                "last checkpoint."
            )
        return total / max(items, 1.0)

    def evaluate(self) -> Mapping[str, float]:
        """Return minus the held-out loss; or the sentence F1 against the judge's trees."""
        if self.text.judge is None or self.parse is None:
            return {"score": -self.held_out_loss()}
        words, gold = self.text.judge
        self.model.eval()
        found = self.parse(words)
        return {"score": float(score(gold.replace(tokens=None), found.replace(tokens=None)).value)}

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Return the parameters; a model built on a pretrained encoder sets that apart."""
        return {"new": [item for item in self.model.parameters() if item.requires_grad]}

    def describe(self) -> Mapping[str, Any]:
        """Return what the run depends on."""
        return {**asdict(self.options), "text": self.text.describe(), "reader": _digest(self.reader.to_json())}


def judge_of(gold: Treebank | DependencyTreebank | None) -> Judge | None:
    """Return the words and the trees of true trees, checked.

    Parameters
    ----------
    gold : Treebank, optional
        With words.

    Returns
    -------
    Judge or None

    Raises
    ------
    ArgumentError
        They are dependency trees, or have no words.

    Examples
    --------
    >>> judge_of(Treebank.from_constituents([["it", "rains"]], [[(0, 2)]]))
    ([['it', 'rains']], <Treebank: 1 sentence, 2 tokens, 1 constituent>)
    """
    if gold is None:
        return None
    if not isinstance(gold, Treebank) or gold.tokens is None or not gold.token_count:
        kind = "no words" if isinstance(gold, Treebank) else "dependency trees"
        raise ArgumentError(
            f"gold: expected constituency trees with words, got {kind}. Leave it out to judge by the held-out loss."
        )
    return as_sentences(gold), gold


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(repr(sorted(document.items())).encode()).hexdigest()
