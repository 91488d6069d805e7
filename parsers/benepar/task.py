"""What the training loop asks of a benepar student."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from parsers.benepar.parser import quiet
from parsers.benepar.trees import Chain, chains_of, chart_of
from parsers.nn.batches import token_batches
from parsers.training import seed_for
from treeavg.metrics import score
from treeavg.treebank import Treebank

if TYPE_CHECKING:
    from parsers.benepar.student import BeneparStudent


@dataclass(frozen=True)
class Lesson:
    """A sentence to learn.

    Parameters
    ----------
    number : int
        Its place in the treebank.
    size : int
        Its length for the network.
    words : list of str
        At least one.
    chains : list of (int, int, str)
        Its constituents, from `parsers.benepar.trees.chains_of`.

    Examples
    --------
    >>> Lesson(0, 4, ["dogs", "bark"], [(0, 2, "X")]).size
    4
    """

    number: int
    size: int
    words: list[str]
    chains: list[Chain]


class BeneparTask:
    """A `parsers.training.task.Task`: benepar's margin loss on averaged trees, judged by agreement with held-out ones.

    Parameters
    ----------
    student : BeneparStudent
        With a network to train.
    lessons : list of Lesson
        What is learnt.
    held_out : Treebank
        With words; what it is judged by.
    batch_tokens : int
        Of a batch.
    seed : int
        Of the order of batches.
    description : mapping
        Options that the result depends on.

    Examples
    --------
    >>> BeneparTask(student, lessons, held_out, 1024, 0, {}).items([0, 1])  # doctest: +SKIP
    2.0
    """

    def __init__(
        self,
        student: BeneparStudent,
        lessons: list[Lesson],
        held_out: Treebank,
        batch_tokens: int,
        seed: int,
        description: Mapping[str, Any],
    ) -> None:
        self._student, self._lessons, self._held_out = student, lessons, held_out
        self._batch_tokens, self._seed, self._description = batch_tokens, seed, dict(description)
        self._sizes = np.array([lesson.size for lesson in lessons], np.int64)

    @property
    def model(self) -> nn.Module:
        """The network."""
        network: nn.Module = self._student.network
        return network

    def epoch(self, number: int) -> Sequence[Any]:
        """Return the batches of an epoch: arrays of places among the lessons."""
        return token_batches(self._sizes, self._batch_tokens, seed=seed_for(self._seed, number))

    def items(self, batch: Any) -> float:
        """Return how many sentences a batch has."""
        return float(len(batch))

    def loss(self, batch: Any) -> Tensor:
        """Return the sum of the sentences' margins."""
        network, encoded = self._student.network, []
        for place in batch:
            lesson = self._lessons[place]
            inputs = self._student._reader.encode(lesson.words, f"average[{lesson.number}]")
            chart = chart_of(len(lesson.words), lesson.chains, network.label_vocab)
            encoded.append({**inputs, "span_labels": torch.from_numpy(chart)})
        padded = network.pad_encoded(encoded)
        scores, _ = network(padded)
        # In mixed precision scores come in 16 bits, too few for sums over a tree.
        with torch.autocast(scores.device.type, enabled=False), quiet():
            loss: Tensor = network.criterion(scores.float(), padded["span_labels"].to(scores.device))
        return loss

    def names(self, batch: Any) -> str:
        """Return the sentences' places in the treebank."""
        return ", ".join(f"average[{self._lessons[place].number}]" for place in batch)

    def evaluate(self) -> Mapping[str, float]:
        """Return the agreement with the held-out trees, 0 to 100; where labels are learnt, with labels and without."""
        device = next(self._student.network.parameters()).device
        predicted = self._student.parse(self._held_out, device=device)
        unlabelled = score(self._held_out, predicted).value
        if not self._student.labelled or self._held_out.labels is None:
            return {"score": unlabelled}
        return {"score": labelled_f1(self._held_out, predicted), "unlabelled": unlabelled}

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Return the pretrained encoder's parameters, and the others."""
        named = list(self._student.network.named_parameters())
        return {
            "pretrained": [parameter for name, parameter in named if name.startswith("pretrained_model.")],
            "new": [parameter for name, parameter in named if not name.startswith("pretrained_model.")],
        }

    def describe(self) -> Mapping[str, Any]:
        """Return what the result depends on, besides the training's options."""
        network = self._student.network
        digest = hashlib.sha256()
        for lesson in self._lessons:
            digest.update(repr((lesson.number, lesson.words, lesson.chains)).encode("utf-8", "backslashreplace"))
        for view in self._held_out:
            digest.update(repr((view.tokens, view.spans)).encode("utf-8", "backslashreplace"))
        return {
            "parser": self._student.kind,
            "network": network.config["hparams"],
            "labels": sorted(network.label_vocab),
            "binary": self._student.binary,
            "sentences": len(self._lessons),
            "held_out": len(self._held_out),
            "text": digest.hexdigest(),
            **self._description,
        }


def labelled_f1(gold: Treebank, predicted: Treebank) -> float:
    """Return how many chains of labels two treebanks share.

    Parameters
    ----------
    gold, predicted : Treebank
        Over the same sentences, with labels.

    Returns
    -------
    float
        F1 of pooled counts, 0 to 100; chains above single words count, the root symbol does not.

    Examples
    --------
    >>> bank = Treebank.from_constituents([["a", "b"]], [[(0, 2)]], labels=[["S"]])
    >>> labelled_f1(bank, bank)
    100.0
    """
    shared = total = 0
    for one, other in zip(gold, predicted, strict=True):
        mine, theirs = set(chains_of(one, True)), set(chains_of(other, True))
        shared += len(mine & theirs)
        total += len(mine) + len(theirs)
    return 200.0 * shared / total if total else 100.0
