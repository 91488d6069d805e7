"""The training of ConTest: a classifier of corruptions, then refinement on its own trees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parsers.contest.classifier import Classifier, ConTestReader, probabilities
from parsers.contest.constituency_tests import normal
from parsers.contest.corruptions import Bigrams
from parsers.contest.options import ConTestOptions
from parsers.contest.trials import Trial
from parsers.nn.batches import token_batches
from parsers.nn.charts import best_trees
from parsers.text_task import Text, TextTask
from parsers.training import NonFiniteError, TrainingConfig, seed_for
from treeavg.errors import ArgumentError


@dataclass(frozen=True)
class Lesson:
    """Some sentences, by their index in the text, what chance to draw with, and whether their own trees are learnt."""

    sentences: NDArray[np.int64]
    seed: int
    refining: bool = False

    def __len__(self) -> int:
        return len(self.sentences)


class ConTestTask(TextTask):
    """Epochs of sentences beside corruptions of them; then, in the last ones, refinement.

    Parameters
    ----------
    model : Classifier
        To be trained.
    reader : ConTestReader
        Its tokenizer, and the tests.
    text : Text
        The sentences.
    options : ConTestOptions
        The stages.
    training : TrainingConfig
        Says how many epochs there are.

    Notes
    -----
    The epoch is chosen by the held-out loss while corruptions are learnt. Refinement has no such judge, as its loss
    only says how much the teacher agrees with itself; as in the publication the last epoch counts: the score is the
    number of epochs refined, above that of any epoch before.
    """

    def __init__(
        self, model: Classifier, reader: Any, text: Text, options: ConTestOptions, training: TrainingConfig
    ) -> None:
        super().__init__(model, reader, text, options)
        if options.refinement >= training.epochs:
            raise ArgumentError(
                f"refinement: expected fewer epochs than the training's {training.epochs}, got {options.refinement}. "
                "Train for more epochs: the others teach what is grammatical."
            )
        if options.refinement and training.patience:
            raise ArgumentError(
                f"patience: expected 0 where refinement follows, got {training.patience}. Leave it out, or pass "
                "refinement=0."
            )
        self.classifier: Classifier = model
        self.strings: ConTestReader = reader
        self.own: ConTestOptions = options
        self.plain = training.epochs - options.refinement
        self.bigrams = Bigrams([normal(words) for words in text.take(text.chosen)])
        self.current = 0

    def epoch(self, number: int) -> Sequence[Lesson]:
        """Return the batches of an epoch."""
        self.current = number
        chosen, lengths = self.text.chosen, self.text.lengths
        seed = seed_for(self.text.seed, number)
        if number <= self.plain:
            batches = [chosen[batch] for batch in token_batches(lengths[chosen], self.own.batch_tokens, seed=seed)]
        else:
            usable = chosen[lengths[chosen] <= self.own.refined_longest]
            if not len(usable):
                raise ArgumentError(
                    f"refined_longest: expected some sentences of at most {self.own.refined_longest} words, got none. "
                    "Raise it, or pass refinement=0."
                )
            drawn = np.random.default_rng(seed).permutation(usable)[: self.own.refined]
            batches = np.split(drawn, range(self.own.refined_batch, len(drawn), self.own.refined_batch))
        return [
            Lesson(batch, seed_for(self.text.seed, number, place + 1), number > self.plain)
            for place, batch in enumerate(batches)
        ]

    def loss(self, batch: Lesson) -> Tensor:
        """Return the summed loss."""
        if batch.refining:
            return self._refine(batch)
        loss, _ = self._classify(batch)
        return loss

    def names(self, batch: Lesson) -> str:
        """Return which sentences these are."""
        return super().names(batch.sentences)

    def evaluate(self) -> Mapping[str, float]:
        """Return how well held-out sentences are told from corruptions of them, which stay the same ones."""
        self.model.eval()
        held = self.text.held
        loss = right = strings = 0.0
        for place, batch in enumerate(token_batches(self.text.lengths[held], self.own.batch_tokens)):
            own, hits = self._classify(Lesson(held[batch], seed_for(self.text.seed, 0, place + 1)))
            loss, right, strings = loss + float(own), right + float(hits.sum()), strings + len(hits)
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"held-out sentences: expected a finite loss, got {loss}. Resume with a lower learning rate, from the "
                "last checkpoint."
            )
        found = {"held_out_loss": loss / max(strings, 1), "accuracy": right / max(strings, 1)}
        if self.text.judge is not None and self.parse is not None:
            return {**super().evaluate(), **found}
        refined = self.current - self.plain
        return {"score": float(refined) if refined > 0 else -found["held_out_loss"], **found}

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Return the encoder's parameters and those of the output."""
        return {
            "pretrained": list(self.classifier.backbone.parameters()),
            "new": list(self.classifier.output.parameters()),
        }

    def describe(self) -> Mapping[str, Any]:
        """Return what the run depends on."""
        config: Any = self.classifier.backbone.config
        return {**asdict(self.options), "text": self.text.describe(), "backbone": config.to_diff_dict()}

    def _classify(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """Return the summed loss of sentences and corruptions, and which were told right."""
        random = np.random.default_rng(lesson.seed)
        real = [normal(words) for words in self.text.take(lesson.sentences)]
        pairs = [(words, self.strings.corrupt(words, self.bigrams, random)) for words in real]
        strings = real + [other for _, other in pairs if other is not None]
        names = [f"sentences[{index}]" for index in lesson.sentences.tolist()]
        logits = self._logits(strings, names + [name for name, pair in zip(names, pairs, strict=True) if pair[1]])
        wanted = torch.arange(len(strings), device=logits.device) < len(real)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted.float(), reduction="sum")
        return loss, (logits.detach() > 0) == wanted

    def _refine(self, lesson: Lesson) -> Tensor:
        """Return the summed loss of sentences whose tests are to say what their best trees say."""
        random = np.random.default_rng(lesson.seed)
        names = [f"sentences[{index}]" for index in lesson.sentences.tolist()]
        trials = [self.strings.trial(words) for words in self.text.take(lesson.sentences)]
        known = probabilities(self.classifier, self.strings, trials, self.own.precision, names)
        drawn = [np.sort(random.permutation(len(own))[: self.own.learnt_strings]) for own in known]
        strings = [trial.strings[place] for trial, own in zip(trials, drawn, strict=True) for place in own.tolist()]
        learnt = torch.sigmoid(self._logits(strings, None)) if strings else self.classifier.output.weight.new_zeros(0)
        parts = torch.split(learnt, [len(own) for own in drawn])
        losses = [agreement(*item) for item in zip(trials, known, drawn, parts, strict=True)]
        return torch.stack(losses).sum()

    def _logits(self, strings: list[list[str]], names: list[str] | None) -> Tensor:
        device = self.classifier.output.weight.device
        ids, mask = self.strings.batch(self.strings.read(strings, names))
        logits: Tensor = self.classifier(ids.to(device), mask.to(device))
        return logits.float()


def agreement(trial: Trial, known: NDArray[np.float32], drawn: NDArray[np.int64], learnt: Tensor) -> Tensor:
    """Return how far a sentence's tests are from its best tree [Cao2020].

    Parameters
    ----------
    trial : Trial
        The tests.
    known : ndarray of float32, shape (T,)
        That each string is grammatical; the best tree is that of these.
    drawn : ndarray of int64, shape (K,)
        Which strings are learnt from.
    learnt : Tensor, shape (K,)
        That these are grammatical, with gradients.

    Returns
    -------
    Tensor
        A scalar: the mean, over the spans of strings that are learnt from, of the cross-entropy between the mean of the
        span's strings and whether the span is in the tree.
    """
    if not len(drawn):
        return learnt.sum()
    length = trial.inner
    chart = trial.chart(known)[: length + 1, : length + 1]
    tree = best_trees(torch.from_numpy(chart)[None], torch.tensor([length]))[0]
    spans = {(start, stop) for start, stop in tree.tolist()}
    inside = torch.tensor([tuple(span) in spans for span in trial.spans.tolist()], device=learnt.device)
    owners = torch.from_numpy(trial.owners).to(learnt.device)
    counts = torch.bincount(owners, minlength=len(trial.spans))
    own = owners[torch.from_numpy(drawn).to(learnt.device)]
    rest = np.bincount(trial.owners, known, len(trial.spans)) - np.bincount(
        trial.owners[drawn], known[drawn], len(trial.spans)
    )
    sums = torch.from_numpy(rest).to(learnt).index_add(0, own, learnt)
    seen = torch.unique(own)
    means = (sums[seen] / counts[seen]).clamp(0, 1)
    return -torch.where(inside[seen], means, 1 - means).clamp_min(1e-7).log().mean()
