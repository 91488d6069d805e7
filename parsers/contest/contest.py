"""ConTest: a classifier of grammatical strings judges what constituency tests make of a sentence."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from parsers.contest.classifier import Classifier, ConTestReader, probabilities
from parsers.contest.options import ConTestOptions
from parsers.contest.task import ConTestTask
from parsers.contest.trials import longest_strings
from parsers.nn import pretrained
from parsers.nn.charts import best_trees
from parsers.nn.strings import first_layers
from parsers.options import TeacherOptions
from parsers.teacher import Teacher
from parsers.text_task import Text, TextTask
from parsers.training import TrainingConfig
from parsers.weights import load_weights
from treeavg.errors import ArgumentError


class ConTest(Teacher):
    """Words in, binary trees out: the tree whose spans pass the most constituency tests [Cao2020].

    A pretrained encoder learns to tell sentences from corruptions of them. It then judges, for every span of a
    sentence, what is left of the sentence when the span is clefted, replaced, moved or coordinated; the tree is the one
    with the largest sum of mean judgements. In the last epochs it learns from its own trees. Make one with `fit` or
    `load`.

    Parameters
    ----------
    model : Classifier
        The network.
    reader : ConTestReader
        Its tokenizer, and the tests.
    options : ConTestOptions
        How it was trained.
    result : TrainingResult, optional
        How the training went.

    Notes
    -----
    Scores of spans are the mean probabilities that their tests are grammatical; 1 where there is nothing to test.

    Examples
    --------
    >>> options = ConTestOptions(encoder="minilm")
    >>> parser = ConTest.fit(sentences, folder="run", options=options)  # doctest: +SKIP
    >>> parser.parse([["it", "rains", "often"]])[0].spans  # doctest: +SKIP
    [(0, 3), (1, 3)]
    """

    kind: ClassVar[str] = "contest"
    options_class: ClassVar[type[TeacherOptions]] = ConTestOptions
    shortest: ClassVar[int] = 3
    model: Classifier
    reader: ConTestReader
    options: ConTestOptions

    @classmethod
    def _reader(cls, words: list[list[str]], options: ConTestOptions) -> ConTestReader:
        if options.encoder is None:
            raise ArgumentError(
                "encoder: expected the folder of a Hugging Face encoder, got none. Name one, such as a MiniLM's or a "
                "RoBERTa's."
            )
        return ConTestReader(*pretrained.load_tokenizer(options.encoder), options, any("," in own for own in words))

    @classmethod
    def _build(cls, options: ConTestOptions, reader: ConTestReader) -> Classifier:
        assert options.encoder is not None
        backbone = pretrained.load_backbone(options.encoder)
        if options.layers:
            backbone = first_layers(backbone, options.layers)
        return Classifier(backbone, options)

    @classmethod
    def _task(cls, model: Classifier, reader: Any, text: Text, options: Any, training: TrainingConfig) -> TextTask:
        return ConTestTask(model, reader, text, options, training)

    def _trees(self, sentences: list[list[str]]) -> Tensor:
        return best_trees(self._scores(sentences), torch.tensor([len(words) for words in sentences]))

    def _scores(self, sentences: list[list[str]]) -> Tensor:
        trials = [self.reader.trial(words) for words in sentences]
        found = probabilities(self.model, self.reader, trials, self.options.precision)
        side = max(len(words) for words in sentences) + 1
        out = torch.zeros(len(sentences), side, side)
        for row, (trial, own) in enumerate(zip(trials, found, strict=True)):
            chart = trial.chart(own)
            out[row, : len(chart), : len(chart)] = torch.from_numpy(chart)
        return out

    def _batches(self, words: list[list[str]], batch_tokens: int, *, shortest: int) -> Any:
        for index, own in enumerate(words):  # before hours of work
            strings = longest_strings(own, self.reader.tests)
            self.reader.read(strings, [f"sentences[{index}]"] * len(strings))
        return super()._batches(words, batch_tokens, shortest=shortest)

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        document = {
            "config": asdict(self.options),
            "text": {"limit": self.reader.limit, "comma": self.reader.comma},
            "backbone": pretrained.to_json(self.model.backbone, self.reader.tokenizer),
        }
        tensors = {name: part.detach().cpu().contiguous() for name, part in self.model.state_dict().items()}
        return document, tensors

    @classmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        options = ConTestOptions(**document["config"])
        backbone, tokenizer = pretrained.from_json(document["backbone"])
        model = Classifier(backbone, options)
        load_weights(model, tensors, "weights")
        text = document["text"]
        return cls(model.eval(), ConTestReader(tokenizer, text["limit"], options, text["comma"]), options)
