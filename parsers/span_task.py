"""The training of a student of constituency trees, as the training loop wants it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parsers.nn.batches import token_batches
from parsers.nn.encoders import EncoderConfig, build
from parsers.nn.pretrained import load_tokenizer
from parsers.nn.text import TextReader
from parsers.span_model import SpanModel
from parsers.span_reading import parse, taken
from parsers.training import seed_for
from parsers.tree_data import TreeData
from treeavg.distill.tree_losses import KINDS, checked_student_weight, tree_loss
from treeavg.errors import ArgumentError, unknown
from treeavg.metrics.scoring import score
from treeavg.treebank import Treebank

#: The split model keeps a number for every span and split of a batch; batches of more are divided.
MOST_SPLITS = 2**26

#: Losses that hardly see a span which the student does not visit. A new student, uniform over trees, visits few of the
#: spans that the teachers hold in a long sentence, so these start from one that learnt with kl, as in [Wen2023].
START_FIRST = ("rkl", "engine", "js", "js-naive", "js-sampled", "tvd", "tvd-student")


#: Words, tags where they are read, and the trees to be found.
Judge = tuple[list[list[str]], list[list[str]] | None, Treebank]


@dataclass(frozen=True)
class SpanOptions:
    """What a student depends on besides its text, its encoder and the training's own options.

    Parameters
    ----------
    loss : str, default "kl"
        One of `treeavg.distill.tree_losses.KINDS`.
    distribution : str, default "crf"
        ``crf`` or ``split``; see `parsers.span_model.SpanModel`.
    temperature : float, default 1.0
        Divides the hit counts in the consensus of the teachers.
    student_weight : float, default 0.5
        Of js and tvd.
    detach_visits : bool, default False
        Leave out the gradient through the student's visits.
    start_epochs : int, default 0
        Epochs with the loss kl before those with `loss`; see `START_FIRST`.
    size : int, default 200
        Width of the projections before the span scores.
    batch_tokens : int, default 1500
        Words of a batch, padding included.
    held_out : float, default 0.05
        Share of the sentences that choose the weights instead of being trained on.

    Raises
    ------
    ArgumentError
        A value is unknown or out of range.
    """

    loss: str = "kl"
    distribution: str = "crf"
    temperature: float = 1.0
    student_weight: float = 0.5
    detach_visits: bool = False
    start_epochs: int = 0
    size: int = 200
    batch_tokens: int = 1500
    held_out: float = 0.05

    def __post_init__(self) -> None:
        if self.loss not in KINDS:
            raise unknown("loss", self.loss, KINDS)
        if self.loss == "span" and self.distribution != "crf":
            raise ArgumentError(
                f"loss: expected one over splits for distribution={self.distribution!r}, got 'span', which needs a "
                "score for each span. Pass distribution='crf', or another loss."
            )
        checked_student_weight(self.loss, self.student_weight)
        if not 0 < self.temperature < math.inf:
            raise ArgumentError(f"temperature: expected a finite number above 0, got {self.temperature!r}. Try 1.")
        if not 0 <= self.held_out < 1:
            raise ArgumentError(f"held_out: expected 0 to below 1, got {self.held_out!r}. Try 0.05.")
        if self.size < 1:
            raise ArgumentError(f"size: expected at least 1, got {self.size}. Try 200.")
        if self.start_epochs < 0:
            raise ArgumentError(f"start_epochs: expected at least 0, got {self.start_epochs}. Try 1.")
        if self.start_epochs and KINDS[self.loss][1] != "hits":
            raise ArgumentError(
                f"start_epochs: expected 0 for the loss {self.loss!r}, which needs no start, got {self.start_epochs}. "
                "Leave it out."
            )
        if self.batch_tokens < 1:
            raise ArgumentError(f"batch_tokens: expected at least 1, got {self.batch_tokens}. Try 1500.")


@dataclass(frozen=True)
class Lesson:
    """Some sentences, by their index among all of the teachers', and the loss they are learnt with."""

    sentences: NDArray[np.int64]
    loss: str


@dataclass(frozen=True)
class SpanTask:
    """What `parsers.training.train` trains: sentences by their index among all of the teachers'."""

    model: SpanModel
    reader: TextReader
    data: TreeData
    options: SpanOptions
    seed: int
    chosen: NDArray[np.int64]  # what is trained on
    judged: Judge
    described: dict[str, Any]

    @classmethod
    def new(
        cls,
        data: TreeData,
        options: SpanOptions,
        encoder: EncoderConfig,
        seed: int,
        gold: Judge | None,
    ) -> SpanTask:
        """Divide the sentences, build the network."""
        needs = KINDS[options.loss][1]
        if needs == "teachers" and data.teachers is None:
            raise ArgumentError(
                f"loss: expected one of hit counts, got {options.loss!r}, which needs each teacher's trees. "
                "Pass treebanks, or another loss."
            )
        usable = np.flatnonzero(data.lengths > 2)  # shorter ones have one tree
        order = np.random.default_rng(seed_for(seed, 0)).permutation(usable)
        aside = 0 if gold is not None else int(np.ceil(options.held_out * len(order)))
        chosen, held = np.sort(order[aside:]), np.sort(order[:aside] if aside else order)
        if not len(chosen):
            raise ArgumentError(
                f"teachers: expected sentences of three words or more to train on, got {len(usable)} of which {aside} "
                "are held out. Pass more text, or held_out=0."
            )
        if gold is None:
            gold = taken(data.words, held), taken(data.tags, held), data.average[held]
        tokenizer, limit = load_tokenizer(encoder.pretrained) if encoder.pretrained else (None, None)
        words, tags = taken(data.words, chosen), taken(data.tags, chosen)
        reader = TextReader.of(words, tags, tokenizer=tokenizer, limit=limit)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = SpanModel(build(encoder, reader), options.size, options.distribution)
        described = {
            **asdict(options),
            "encoder": encoder.to_json(),
            "sentences": len(usable),
            "held": len(held) if aside else 0,
            "data": data.digest(),
        }
        return cls(model, reader, data, options, seed, chosen, gold, described)

    def epoch(self, number: int) -> Sequence[Lesson]:
        """Return the batches of an epoch."""
        lengths = self.data.lengths[self.chosen]
        batches = token_batches(lengths, self.options.batch_tokens, seed=seed_for(self.seed, number))
        loss = "kl" if number <= self.options.start_epochs else self.options.loss
        if self.options.distribution == "crf":
            return [Lesson(self.chosen[batch], loss) for batch in batches]
        most = [max(int(6 * MOST_SPLITS // int(lengths[batch].max()) ** 3), 1) for batch in batches]
        return [
            Lesson(self.chosen[batch[first : first + size]], loss)
            for batch, size in zip(batches, most, strict=True)
            for first in range(0, len(batch), size)
        ]

    def items(self, batch: Lesson) -> int:
        """Return the number of splits: n - 1 a sentence."""
        return int((self.data.lengths[batch.sentences] - 1).sum())

    def loss(self, batch: Lesson) -> Tensor:
        """Return the summed loss."""
        device = self.model.scorer.weight.device
        tokens = self.reader.batch(taken(self.data.words, batch.sentences), taken(self.data.tags, batch.sentences))
        scores = self.model(tokens.to(device))
        if device.type == "cpu" and not bool(torch.isfinite(scores).all()):
            return torch.sum(scores)  # not finite either: the loop stops and names the batch
        targets = self.data.targets(batch.sentences, KINDS[batch.loss][1]).to(device)
        return tree_loss(
            batch.loss,
            self.model.student(scores, targets.lengths),
            targets,
            temperature=self.options.temperature,
            student_weight=self.options.student_weight,
            detach_visits=self.options.detach_visits,
            n_items=1,
        )

    def names(self, batch: Lesson) -> str:
        """Return which sentences these are."""
        return "sentences " + ", ".join(map(str, batch.sentences.tolist())) + " (from 0)"

    def evaluate(self) -> Mapping[str, float]:
        """Return the sentence F1 against the held-out averages, or against gold."""
        words, tags, wanted = self.judged
        found = parse(self.model, self.reader, words, tags, decode_of(self.options.loss), 2 * self.options.batch_tokens)
        return {"score": float(score(wanted.replace(tokens=None), found.replace(tokens=None)).value)}

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Return the parameters, those of a pretrained encoder apart."""
        pretrained = self.model.encoder.pretrained_parameters()
        known = {id(item) for item in pretrained}
        new = [item for item in self.model.parameters() if item.requires_grad and id(item) not in known]
        return {"pretrained": pretrained, "new": new}

    def describe(self) -> Mapping[str, Any]:
        """Return what the run depends on."""
        return self.described


def decode_of(loss: str) -> str:
    """Return the decoder that suits a loss: by probabilities of spans in trees, or of spans alone."""
    return "span" if loss == "span" else "mbr"
