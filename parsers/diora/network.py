"""The network of DIORA and S-DIORA: weights, charts, and how words are told from negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from parsers.diora import chart
from parsers.diora.composition import MLP, Cells, Composition, TreeLSTM, unit
from parsers.diora.options import DIORAOptions
from parsers.diora.words import TypeVectors, Words


class Network(nn.Module):
    """Vectors of words, compositions inside and outside, and the map from outside vectors to words.

    Parameters
    ----------
    options : DIORAOptions
        Sizes and kinds.
    vectors : TypeVectors
        Of words.
    """

    def __init__(self, options: DIORAOptions, vectors: TypeVectors) -> None:
        super().__init__()
        size = options.size
        lstm = options.composition == "treelstm"
        self.inner: Composition = TreeLSTM(size, forget=1.0) if lstm else MLP(size)
        self.own_outer: Composition | None = None
        if options.composition != "mlp-shared":
            self.own_outer = TreeLSTM(size, forget=0.0) if lstm else MLP(size)
        self.project = nn.Parameter(torch.empty(vectors.width, size))
        self.leaf = nn.Parameter(torch.empty(size, (3 if lstm else 1) * size))
        self.root = nn.Parameter(torch.empty(size))
        self.root_memory = nn.Parameter(torch.empty(size)) if lstm else None
        self.predict = nn.Parameter(torch.empty(vectors.width, size))
        for name, weights in self.named_parameters():
            nn.init.normal_(weights, std=options.bias_init if name.endswith("bias") else options.init)
        self.vectors = vectors

    @property
    def outer(self) -> Composition:
        """The composition of siblings and parents."""
        return self.own_outer if self.own_outer is not None else self.inner

    def words(self, words: Words) -> Cells:
        """Return the first level of the inside chart."""
        vectors, memories = self.inner.leaf(self.vectors(words) @ self.project, self.leaf)
        return self.inner.cells(vectors, memories, vectors.new_zeros(words.ids.shape))

    def inside(self, words: Words) -> chart.InsideChart:
        """Return the inside chart."""
        return chart.inside(self.inner, self.words(words))

    def outside(self, inner: chart.InsideChart, lengths: Tensor) -> list[Cells]:
        """Return the levels of the outside chart."""
        levels = inner.levels
        if self.own_outer is not None:
            levels = [self.own_outer.cells(own.vectors, own.memories, own.scores) for own in levels]
        return chart.outside(self.outer, levels, lengths, self.root_cell())

    def root_cell(self) -> tuple[Tensor, Tensor | None]:
        """Return what is outside a whole sentence."""
        return unit(self.root), None if self.root_memory is None else unit(self.root_memory)

    def logits(self, outer: Tensor, true: Tensor, negatives: Tensor) -> Tensor:
        """Return how well outside vectors (T, D) predict true words (T, width) and negatives (k, width): (T, 1 + k)."""
        own = (outer * (true @ self.predict)).sum(-1, keepdim=True)
        return torch.cat([own, outer @ (negatives @ self.predict).T], 1)


def contrast(logits: Tensor, kind: str) -> Tensor:
    """Return the summed loss of telling the first of some words from the others [Drozdov2019, section 3.4].

    Parameters
    ----------
    logits : Tensor, shape (T, 1 + k)
        The true word first.
    kind : str
        One of `parsers.diora.options.LOSSES`.

    Returns
    -------
    Tensor
        A scalar: cross entropies; or the hinges max(0, 1 - true + negative), divided by 1 + k.

    Examples
    --------
    >>> contrast(torch.zeros(1, 4), "margin").item()
    0.75
    """
    if kind == "margin":
        return (1 - logits[:, :1] + logits[:, 1:]).clamp(min=0).sum() / logits.shape[1]
    return cross_entropy(logits.float(), logits.new_zeros(len(logits), dtype=torch.int64), reduction="sum")
