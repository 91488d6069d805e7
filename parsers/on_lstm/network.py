"""The language model: word vectors, layers of ordered neurons, an output that shares the word vectors.

Its regularisers are those of [Merity2018].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from parsers.nn.vocabulary import END
from parsers.on_lstm.cell import recurrence
from parsers.on_lstm.options import ONLSTMOptions


class OrderedLayer(nn.Module):
    """A layer of ordered neurons.

    Parameters
    ----------
    inputs : int
        Width of what it reads.
    size : int
        Its own width.
    chunk : int
        Neurons that share their master gates.
    weight_dropout : float
        Share of recurrent weights that are zero in training; the rest is not scaled up, but in evaluation all are
        scaled down to their expectation.
    """

    def __init__(self, inputs: int, size: int, chunk: int, weight_dropout: float) -> None:
        super().__init__()
        gates = 4 * size + 2 * (size // chunk)
        self.chunk, self.weight_dropout = chunk, weight_dropout
        self.input, self.recurrent = nn.Linear(inputs, gates), nn.Linear(size, gates)

    def recurrent_weight(self) -> Tensor:
        """Return the recurrent weights with some of them zero, in training, or their expectation."""
        weight = self.recurrent.weight
        if not self.weight_dropout:
            return weight
        if self.training:
            return weight.masked_fill(torch.rand_like(weight) < self.weight_dropout, 0)
        return weight * (1 - self.weight_dropout)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return states (T, B, size) and distances (T, B) from vectors (T, B, inputs), in single precision."""
        gates = functional.linear(vectors, self.input.weight, self.input.bias + self.recurrent.bias)
        with torch.autocast(vectors.device.type, enabled=False):  # many steps would add up half precision's errors
            return recurrence(gates.float(), self.recurrent_weight().float(), self.chunk)


class ONLSTMNetwork(nn.Module):
    """A language model of ordered neurons.

    Parameters
    ----------
    options : ONLSTMOptions
        Sizes and regularisers.
    words : int
        Size of the vocabulary, special symbols included.
    """

    def __init__(self, options: ONLSTMOptions, words: int) -> None:
        super().__init__()
        self.options = options
        self.embedding = nn.Embedding(words, options.embedding)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        sizes = options.sizes
        self.layers = nn.ModuleList(
            OrderedLayer(inputs, size, options.chunk, options.weight_dropout)
            for inputs, size in zip([options.embedding, *sizes[:-1]], sizes, strict=True)
        )
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the summed loss of all words and ends of sentences, a scalar.

        Parameters
        ----------
        ids : Tensor of int64, shape (B, N)
            Numbers of words, padded at the right.
        lengths : Tensor of int64, shape (B,)
            Words of each sentence.

        Returns
        -------
        Tensor
            In training with the penalties on the last layer's states; else cross-entropies alone, in nats.
        """
        targets = functional.pad(ids, (0, 1)).scatter(1, lengths.unsqueeze(1), END)
        real = torch.arange(targets.shape[1], device=ids.device) <= lengths.unsqueeze(1)
        states = self._states(ids).transpose(0, 1)
        output = _locked(states, self.options.output_dropout, 1, self.training)[real]
        logits = functional.linear(output, self.embedding.weight, self.bias)
        loss = functional.cross_entropy(logits.float(), targets[real], reduction="sum")
        if self.training:
            loss = loss + self.options.activation * states[real].square().mean(-1).sum()
            change = (states[:, 1:] - states[:, :-1])[real[:, 1:]]
            loss = loss + self.options.temporal * change.square().mean(-1).sum()
        return loss

    def distances(self, ids: Tensor) -> Tensor:
        """Return the distance in front of each word, (B, N): how much the reading layer erases there.

        Parameters
        ----------
        ids : Tensor of int64, shape (B, N)
            Numbers of words, padded at the right: what follows a word does not change its distance.

        Returns
        -------
        Tensor
            From 0 to below 1. Layers above the reading layer are not run.
        """
        vectors = self._vectors(ids)
        distances = vectors
        for layer in self.layers[: self.options.reading_layer]:
            vectors, distances = layer(vectors)
        return distances[1:].t()

    def _states(self, ids: Tensor) -> Tensor:
        """Return the last layer's states after the beginning and after each word, (N + 1, B, embedding)."""
        vectors = self._vectors(ids)
        for number, layer in enumerate(self.layers):
            if number:
                vectors = _locked(vectors, self.options.layer_dropout, 0, self.training)
            vectors, _ = layer(vectors)
        return vectors

    def _vectors(self, ids: Tensor) -> Tensor:
        """Return the vectors of the beginning and of each word, (N + 1, B, embedding)."""
        read = functional.pad(ids.t(), (0, 0, 1, 0), value=END)  # as in a stream of sentences, each begins after an end
        vectors = self.embedding(read)
        if self.training and self.options.word_dropout:
            kept = torch.rand(len(self.bias), device=ids.device) >= self.options.word_dropout
            vectors = vectors * (kept[read].unsqueeze(-1) / (1 - self.options.word_dropout))
        return _locked(vectors, self.options.input_dropout, 0, self.training)


def _locked(vectors: Tensor, rate: float, time: int, training: bool) -> Tensor:
    """Return vectors with some features zero, the same ones at all times of a sentence, and the rest scaled up."""
    if not training or not rate:
        return vectors
    mask = torch.rand_like(vectors.narrow(time, 0, 1)) >= rate
    return vectors * (mask / (1 - rate))
