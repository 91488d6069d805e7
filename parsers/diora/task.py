"""The training of a DIORA, as the training loop wants it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from parsers.diora.network import Network, contrast
from parsers.diora.options import DIORAOptions
from parsers.diora.words import TypeReader, Words
from parsers.nn.vocabulary import UNKNOWN
from parsers.text_task import Text, TextTask
from parsers.training import seed_for


class DIORATask(TextTask):
    """What `parsers.training.train` trains: words are told from negatives by what is outside them.

    Parameters
    ----------
    model : Network
        To be trained.
    reader : TypeReader
        What numbers words.
    text : Text
        The sentences.
    options : DIORAOptions
        Loss and negatives.
    """

    def __init__(self, model: Network, reader: TypeReader, text: Text, options: DIORAOptions) -> None:
        super().__init__(model, reader, text, options)
        self.network, self.types, self.diora = model, reader, options
        self.frequency = frequencies(reader, text)

    def items(self, batch: Any) -> float:
        """Return the number of words."""
        return float(self.text.lengths[batch].sum())

    def loss(self, batch: Any) -> Tensor:
        """Return the summed loss over words."""
        return self.contrast_of(self.read(batch))

    def read(self, batch: Any) -> Words:
        """Return the sentences of a batch, on the model's device."""
        return self.types.read(self.text.take(batch)).to(self.network.root.device)

    def contrast_of(self, words: Words) -> Tensor:
        """Return the summed loss of telling words from negatives."""
        model = self.network
        there = words.ids > 0
        outer = model.outside(model.inside(words), words.lengths)[0].vectors[there]
        table = model.vectors.table
        negatives = table[self.negatives().to(table.device)]
        return contrast(model.logits(outer, model.vectors(words)[there], negatives), self.diora.loss)

    def negatives(self) -> Tensor:
        """Return the types that true words are told from: the same in each evaluation, else drawn anew."""
        count = min(self.diora.negatives, int((self.frequency > 0).sum()))
        fixed = torch.Generator().manual_seed(seed_for(self.text.seed, 1)) if not self.network.training else None
        return torch.multinomial(self.frequency, count, generator=fixed)


def frequencies(reader: TypeReader, text: Text) -> Tensor:
    """Return how probable each type is as a negative: f ** 0.75 + 0.01 / V, of its share f of the training text.

    Parameters
    ----------
    reader : TypeReader
        What numbers words; its V types without the special ones can be drawn, and the unknown word where it has a
        vector to be learnt.
    text : Text
        The training text.

    Returns
    -------
    Tensor of float64, shape (size of the vocabulary,)
        Not normalised.
    """
    counts = torch.zeros(len(reader.vocabulary), dtype=torch.float64)
    for sentence in text.take(text.chosen):
        for number in reader.numbered(sentence):
            counts[number] += 1
    if reader.tokenizer is not None:
        counts[UNKNOWN] = 0
    known = counts > 0
    share = counts / counts.sum()
    return torch.where(known, share**0.75 + 0.01 / known.sum(), torch.zeros_like(share))
