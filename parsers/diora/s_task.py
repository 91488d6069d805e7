"""The training of an S-DIORA, as the training loop wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from parsers.diora import beams
from parsers.diora.composition import MLP
from parsers.diora.network import Network
from parsers.diora.options import SDIORAOptions
from parsers.diora.task import DIORATask
from parsers.diora.words import TypeReader, Words
from parsers.nn.vocabulary import END
from parsers.text_task import Text


@dataclass(frozen=True)
class Lesson:
    """Some sentences, and whether they are learnt as a DIORA learns them."""

    sentences: NDArray[np.int64]
    start: bool


class SDIORATask(DIORATask):
    """What `parsers.training.train` trains: first as a DIORA, then single trees.

    Parameters
    ----------
    model, reader, text
        As for `DIORATask`.
    options : SDIORAOptions
        Beams, and epochs of the first kind.

    Notes
    -----
    Held-out sentences are judged by the loss of S-DIORA in every epoch, so that all epochs can be compared.
    """

    def __init__(self, model: Network, reader: TypeReader, text: Text, options: SDIORAOptions) -> None:
        super().__init__(model, reader, text, options)
        self.s_diora = options

    def epoch(self, number: int) -> Sequence[Lesson]:
        """Return the batches of an epoch."""
        return [Lesson(batch, number <= self.s_diora.start_epochs) for batch in super().epoch(number)]

    def items(self, batch: Any) -> float:
        """Return the number of words."""
        return super().items(batch.sentences if isinstance(batch, Lesson) else batch)

    def names(self, batch: Any) -> str:
        """Return which sentences these are."""
        return super().names(batch.sentences)

    def loss(self, batch: Any) -> Tensor:
        """Return the summed loss over words."""
        if isinstance(batch, Lesson):
            if batch.start:
                return super().loss(batch.sentences)
            batch = batch.sentences
        words = self.read(batch)
        inner, outer = charts(self.network, words, self.s_diora.beams)
        known = (words.ids > END) & (words.ids < self.network.vectors.known)
        predicted = outer[0].vectors[:, :, 0][known] @ (self.network.vectors.table[END + 1 :] @ self.network.predict).T
        rebuilt = cross_entropy(predicted.float(), words.ids[known] - END - 1, reduction="sum")
        return rebuilt + (hinge(beams.root_scores(inner, words.lengths)) * words.lengths).sum()


def charts(model: Network, words: Words, count: int) -> tuple[list[beams.Beams], list[beams.Beams]]:
    """Return the levels of the inside and of the outside chart.

    Parameters
    ----------
    model : Network
        Of MLPs.
    words : Words
        The sentences.
    count : int
        K, entries of a cell.

    Returns
    -------
    inner, outer : list of Beams
    """
    inner = beams.inside(cast(MLP, model.inner), model.words(words).vectors, count)
    return inner, beams.outside(cast(MLP, model.outer), inner, words.lengths, model.root_cell()[0])


def hinge(scores: Tensor) -> Tensor:
    """Return how much the best tree lacks to a margin of 1 over the next, 0 where there is only one tree.

    Parameters
    ----------
    scores : Tensor, shape (B, K)
        The best first.

    Returns
    -------
    Tensor, shape (B,)

    Examples
    --------
    >>> hinge(torch.tensor([[3.0, 1.5], [2.0, 1.5], [0.0, beams.IMPOSSIBLE]])).tolist()
    [0.0, 0.5, 0.0]
    """
    if scores.shape[1] < 2:
        return torch.zeros_like(scores[:, 0])
    return (1 + scores[:, 1] - scores[:, 0]).clamp(min=0)
