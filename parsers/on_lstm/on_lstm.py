"""The teacher ON-LSTM [Shen2019]: a language model; where it forgets most, constituents end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from parsers.nn.vocabulary import END
from parsers.nn.words import WordReader, padded
from parsers.on_lstm.distances import scores_of, trees_of
from parsers.on_lstm.network import ONLSTMNetwork
from parsers.on_lstm.options import ONLSTMOptions
from parsers.teacher import Teacher
from parsers.text_task import Text, TextTask
from parsers.training import TrainingConfig, seed_for

#: Rarer words are unknown, so that a language model learns what to do with unknown words.
_AT_LEAST = 2


class ONLSTM(Teacher):
    """A language model of ordered neurons, whose master forget gates give the tree [Shen2019].

    Make one with `fit` or `load`.

    Parameters
    ----------
    model : ONLSTMNetwork
        The network.
    reader : WordReader
        What it reads.
    options : ONLSTMOptions
        How it was built and trained.
    result : TrainingResult, optional
        How the training went.

    Notes
    -----
    `span_scores` gives, for a span, its smaller outer distance less its largest inner one; see
    `parsers.on_lstm.distances.scores_of`. The trees do not follow from these under the original reading.

    Examples
    --------
    >>> import tempfile
    >>> options = ONLSTMOptions(embedding=20, hidden=20, held_out=0)
    >>> parser = ONLSTM.fit(
    ...     [["the", "dog", "barks"]] * 4, folder=tempfile.mkdtemp() + "/run", options=options, device="cpu",
    ...     training=TrainingConfig(epochs=1),
    ... )
    >>> len(parser.parse([["the", "cat", "sleeps"]])[0].spans)
    2
    """

    kind: ClassVar[str] = "on-lstm"
    options_class: ClassVar[type[ONLSTMOptions]] = ONLSTMOptions
    #: One word with its ends is text too.
    shortest: ClassVar[int] = 1

    @classmethod
    def _reader(cls, words: list[list[str]], options: Any) -> WordReader:
        return WordReader.of(words, most=options.vocabulary, at_least=_AT_LEAST)

    @classmethod
    def _build(cls, options: Any, reader: Any) -> ONLSTMNetwork:
        return ONLSTMNetwork(options, len(reader.vocabulary))

    @classmethod
    def _task(cls, model: Any, reader: Any, text: Text, options: Any, training: TrainingConfig) -> TextTask:
        return ONLSTMTask(model, reader, text, options)

    def _distances(self, sentences: list[list[str]]) -> tuple[Tensor, Tensor]:
        model: Any = self.model
        ids, lengths = self.reader.batch(sentences)
        return model.distances(ids.to(model.bias.device)), lengths.to(model.bias.device)

    def _trees(self, sentences: list[list[str]]) -> Tensor:
        return trees_of(*self._distances(sentences), self.options.reading)

    def _scores(self, sentences: list[list[str]]) -> Tensor:
        return scores_of(*self._distances(sentences))


class ONLSTMTask(TextTask):
    """The training of the language model; an item is a word or an end of a sentence."""

    def epoch(self, number: int) -> Sequence[Any]:
        """Return the batches of an epoch; for rows, sentences in random order, or a row would tell their lengths."""
        options: Any = self.options
        if options.row == 1:
            return super().epoch(number)
        order = np.random.default_rng(seed_for(self.text.seed, number)).permutation(self.text.chosen)
        place = (np.cumsum(self.text.lengths[order] + 1) - 1) // self.options.batch_tokens
        return np.split(order, np.flatnonzero(np.diff(place)) + 1)

    def items(self, batch: Any) -> float:
        """Return the number of words and ends."""
        return float((self.text.lengths[batch] + 1).sum())

    def loss(self, batch: Any) -> Tensor:
        """Return the summed loss: in training of rows of sentences, else of each alone, as sentences are parsed."""
        numbers = [self.reader.numbered(sentence) for sentence in self.text.take(batch)]
        options: Any = self.options
        ids, lengths = padded(rows_of(numbers, options.row) if self.model.training else numbers)
        device = next(self.model.parameters()).device
        return self.loss_of(ids.to(device), lengths.to(device))

    def loss_of(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the summed loss."""
        return self.model(ids, lengths)  # type: ignore[no-any-return]

    def evaluate(self) -> Mapping[str, float]:
        """Return minus the held-out loss and the perplexity; or the F1 against the judge's trees."""
        scores = dict(super().evaluate())
        return scores if self.text.judge is not None else {**scores, "perplexity": math.exp(min(-scores["score"], 700))}


def rows_of(sentences: list[list[int]], least: int) -> list[list[int]]:
    """Put sentences into rows, one after another with an end between.

    Parameters
    ----------
    sentences : list of list of int
        Numbers of words.
    least : int
        A row with so many words, ends included, is full; the last may have fewer.

    Returns
    -------
    list of list of int

    Examples
    --------
    >>> rows_of([[4, 5], [6], [7]], 4)
    [[4, 5, 3, 6], [7]]
    """
    rows: list[list[int]] = []
    for sentence in sentences:
        if rows and len(rows[-1]) < least:
            rows[-1] += [END, *sentence]
        else:
            rows.append([*sentence])
    return rows
