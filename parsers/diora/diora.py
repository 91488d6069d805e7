"""DIORA: an unsupervised parser that predicts each word from what is outside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from parsers.diora.network import Network
from parsers.diora.options import DIORAOptions
from parsers.diora.task import DIORATask
from parsers.diora.words import TypeReader, TypeVectors, Words, piece_vectors
from parsers.nn.charts import descend
from parsers.teacher import Teacher
from parsers.text_task import Text
from parsers.training import TrainingConfig
from parsers.weights import load_weights
from treeavg.distill.split_model import SplitModel
from treeavg.errors import FormatError

#: Numbers of one level of a chart that are computed at once in parsing: on a processor so few that its caches hold
#: them, which is faster than more sentences at once.
MOST_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}


class DIORA(Teacher):
    """A chart autoencoder [Drozdov2019]: a span is a mixture over its splits, and the best splits make the tree.

    Make one with `fit` or `load`.

    Parameters
    ----------
    model, reader, options, result
        As for `parsers.teacher.Teacher`.

    Notes
    -----
    `span_scores` gives the probability that each span is visited, where every span is split by its softmax.

    Examples
    --------
    >>> DIORA.fit([["the", "dog", "barks"]], folder="run").save("teacher")  # doctest: +SKIP
    """

    model: Network
    reader: TypeReader
    kind: ClassVar[str] = "diora"
    options_class = DIORAOptions

    @classmethod
    def _reader(cls, words: list[list[str]], options: DIORAOptions) -> TypeReader:
        return TypeReader.with_pieces(words, options.vocabulary, options.vectors)

    @classmethod
    def _build(cls, options: DIORAOptions, reader: TypeReader) -> Network:
        pieces = piece_vectors(options.vectors) if options.vectors is not None else None
        return Network(options, TypeVectors(reader, options.words, pieces))

    @classmethod
    def _task(cls, model: Network, reader: TypeReader, text: Text, options: Any, training: TrainingConfig) -> DIORATask:
        return DIORATask(model, reader, text, options)

    @classmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        options, reader = cls.options_class(**document["config"]), TypeReader.from_json(document["text"])
        pieces = tensors.get("vectors.pieces")
        if (pieces is None) != (reader.tokenizer is None):
            raise FormatError(
                "weights: expected vectors of word pieces where there is a tokenizer, and there only. "
                "Restore the folder from a copy."
            )
        model = Network(options, TypeVectors(reader, options.words, pieces))
        load_weights(model, tensors, "weights")
        return cls(model.eval(), reader, options)

    def _trees(self, sentences: list[list[str]]) -> Tensor:
        longest = max(map(len, sentences))
        found = []
        for words in self._parts(sentences):
            splits = self.model.inside(words).splits
            trees = descend([own.argmax(-1) for own in splits], words.lengths)
            found.append(pad(trees, (0, 0, 0, longest - 1 - trees.shape[1])))
        return torch.cat(found)

    def _scores(self, sentences: list[list[str]]) -> Tensor:
        side = max(map(len, sentences)) + 1
        found = []
        for words in self._parts(sentences):
            visits = SplitModel(self.model.inside(words).splits, words.lengths).visits
            missing = side - visits.shape[1]
            found.append(pad(visits, (0, missing, 0, missing)))
        return torch.cat(found)

    def _parts(self, sentences: list[list[str]]) -> Iterator[Words]:
        """Yield the sentences, in order, so many that the largest level of their chart is not too large."""
        longest = max(map(len, sentences))
        device = self.model.root.device
        most = max(1, 4 * MOST_AT_ONCE.get(device.type, 2**26) // (longest**2 * self.options.size))
        for first in range(0, len(sentences), most):
            yield self.reader.read(sentences[first : first + most]).to(device)
