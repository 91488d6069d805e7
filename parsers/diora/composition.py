"""Composition of two vectors into one, and the score of the two: what DIORA and S-DIORA do in each cell of a chart.

Products of a cell's vector with the weights are made once for each cell ([Drozdov2019] makes them for each split): a
split then costs an addition, one matrix product and one dot product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


def unit(vectors: Tensor) -> Tensor:
    """Return vectors divided by their norm, or by 1e-8 where that is smaller.

    Parameters
    ----------
    vectors : Tensor, shape (..., D)
        Of any norm.

    Returns
    -------
    Tensor, shape (..., D)
        Zeros stay zeros.

    Examples
    --------
    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    return normalize(vectors, dim=-1, eps=1e-8)


class Cells(NamedTuple):
    """Some cells of a chart, and what other cells need of them.

    Parameters
    ----------
    vectors : Tensor, shape (..., D)
        Of norm 1, or 0.
    memories : Tensor, shape (..., D), optional
        Of a TreeLSTM.
    scores : Tensor, shape (...)
        Of the sub-tree, or of what is outside it.
    first, second : Tensor, shape (..., F)
        What a composition needs of the cell as the first and as the second of two, in one piece, so that it is
        gathered at once: products with the weights, the vector, the memory, the score. See `Composition.unpack`.
    """

    vectors: Tensor
    memories: Tensor | None
    scores: Tensor
    first: Tensor
    second: Tensor


class Parts(NamedTuple):
    """What a composition needs of a cell."""

    gates: Tensor
    vectors: Tensor
    scores: Tensor
    memories: Tensor


class Composition(nn.Module):
    """A composition and a bilinear score of two vectors; the base of `MLP` and `TreeLSTM`.

    Parameters
    ----------
    size : int
        D, width of the vectors.
    gates : int
        How many maps of that width the composition has.
    """

    def __init__(self, size: int, gates: int) -> None:
        super().__init__()
        self.size, self.wide = size, gates * size
        self.first = nn.Parameter(torch.empty(size, self.wide))
        self.second = nn.Parameter(torch.empty(size, self.wide))
        self.bias = nn.Parameter(torch.empty(self.wide))
        self.bilinear = nn.Parameter(torch.empty(size, size))

    def cells(self, vectors: Tensor, memories: Tensor | None, scores: Tensor) -> Cells:
        """Return cells with the products that are made once for each."""
        # A score is a sum over many cells of a tree, so it is kept out of mixed precision.
        with torch.autocast(vectors.device.type, enabled=False):
            flat = vectors.flatten(0, -2)
            shape = vectors.shape[:-1]
            first = (flat @ torch.cat([self.first, self.bilinear], 1)).view(*shape, -1)
            second = torch.addmm(self.bias, flat, self.second).view(*shape, -1)
        rest = [scores[..., None]] if memories is None else [scores[..., None], memories]
        return Cells(vectors, memories, scores, torch.cat([first, *rest], -1), torch.cat([second, vectors, *rest], -1))

    def unpack(self, packed: Tensor) -> Parts:
        """Return the parts of `Cells.first`, with the vector times the bilinear matrix, or of `Cells.second`."""
        end = self.wide + self.size
        return Parts(packed[..., : self.wide], packed[..., self.wide : end], packed[..., end], packed[..., end + 1 :])

    def combine(self, first: Parts, second: Parts) -> tuple[Tensor, ...]:
        """Return the composed vectors, and memories where there are some."""
        raise NotImplementedError

    def leaf(self, inputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return vectors and memories of words."""
        raise NotImplementedError


class MLP(Composition):
    """Two layers with ReLU [Drozdov2019, section 3.3].

    Parameters
    ----------
    size : int
        D.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, 1)
        self.weight = nn.Parameter(torch.empty(size, size))
        self.second_bias = nn.Parameter(torch.empty(size))

    def combine(self, first: Parts, second: Parts) -> tuple[Tensor, ...]:
        """Return ReLU(ReLU(first + second) W + b)."""
        hidden = (first.gates + second.gates).relu_()
        return (torch.addmm(self.second_bias, hidden.flatten(0, -2), self.weight).relu_().view(hidden.shape),)

    def join(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the composed unit vectors, and the scores, of two vectors each, without precomputed products."""
        hidden = torch.relu(first @ self.first + second @ self.second + self.bias)
        with torch.autocast(first.device.type, enabled=False):
            scores = ((first @ self.bilinear) * second).sum(-1)
        return unit(torch.relu(hidden @ self.weight + self.second_bias).to(scores.dtype)), scores

    def leaf(self, inputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return U(tanh(x V + b)); b is the bias of the first layer, as in the original code."""
        return unit(torch.tanh((inputs @ weight).to(self.bias.dtype) + self.bias)), None


class TreeLSTM(Composition):
    """The binary TreeLSTM [Tai2015].

    Parameters
    ----------
    size : int
        D.
    forget : float, default 0.0
        Added to what opens the forget gates: 1 for inside, 0 for outside.
    """

    def __init__(self, size: int, forget: float = 0.0) -> None:
        super().__init__(size, 5)
        self.forget = forget

    def combine(self, first: Parts, second: Parts) -> tuple[Tensor, ...]:
        """Return o tanh(c) and c = f_1 c_1 + f_2 c_2 + i u."""
        update, opened, output, of_first, of_second = (first.gates + second.gates).chunk(5, -1)
        kept = torch.sigmoid(of_first + self.forget) * first.memories
        kept = kept + torch.sigmoid(of_second + self.forget) * second.memories
        memory = kept + torch.sigmoid(opened) * torch.tanh(update)
        return torch.sigmoid(output) * torch.tanh(memory), memory

    def leaf(self, inputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return o tanh(c) and c = i u; the bias is the first three parts of that of `combine`."""
        product = (inputs @ weight).to(self.bias.dtype)
        update, opened, output = (product + self.bias[: 3 * self.size]).chunk(3, -1)
        memory = torch.sigmoid(opened) * torch.tanh(update)
        return unit(torch.sigmoid(output) * torch.tanh(memory)), unit(memory)
