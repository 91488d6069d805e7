"""What every unsupervised teacher is: trained on plain text, it gives binary trees."""

from __future__ import annotations

import abc
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parsers.base import Parser, as_sentences, resolve_device
from parsers.nn.batches import token_batches
from parsers.nn.words import WordReader
from parsers.options import TeacherOptions
from parsers.text_task import Text, TextTask, judge_of
from parsers.training import Progress, TrainingConfig, TrainingResult, train
from parsers.tree_data import bank_of
from parsers.weights import load_weights
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError
from treeavg.strings import StringColumn
from treeavg.treebank import Treebank


class Teacher(Parser):
    """An unsupervised parser of constituents: `fit` takes sentences without trees, `parse` gives binary trees.

    A teacher sets `kind` and `options_class` and implements `_build`, `_task` and `_trees`, and `_scores` where it has
    scores of spans.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    reader : WordReader
        What it reads.
    options : TeacherOptions
        How it was built and trained.
    result : TrainingResult, optional
        How the training went.
    """

    options_class: ClassVar[type[TeacherOptions]]
    #: Shorter sentences say nothing to the teacher.
    shortest: ClassVar[int] = 2

    def __init__(self, model: nn.Module, reader: Any, options: Any, *, result: TrainingResult | None = None) -> None:
        self.model, self.reader, self.options, self.result = model, reader, options, result

    @classmethod
    def fit(
        cls,
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]],
        *,
        folder: str | os.PathLike[str],
        options: TeacherOptions | None = None,
        training: TrainingConfig | None = None,
        gold: Treebank | None = None,
        device: str | torch.device = "auto",
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Train on sentences without trees.

        Parameters
        ----------
        sentences : Treebank, DependencyTreebank or sequence of sequences of str
            The words; trees are not looked at. Not modified.
        folder : str or os.PathLike
            Of the run: options, metrics, checkpoints; see `parsers.training.train`.
        options : TeacherOptions, optional
            Of this teacher's `options_class`; by default those of the preset ``small``.
        training : TrainingConfig, optional
            Epochs, learning rate, seed ...; by default that of the preset ``small``.
        gold : Treebank, optional
            Sentences with words and true trees, whose F1 chooses the epoch in place of the held-out loss.
        device : str or torch.device, default "auto"
            ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto`` is CUDA where there is one.
        resume : bool, default False
            Continue the run in `folder`.
        progress : Progress, optional
            What is told how it goes.

        Returns
        -------
        Teacher
            With the best weights of the run, on the CPU.

        Raises
        ------
        ArgumentError
            An option is out of range or another teacher's; there is nothing to train on.
        NonFiniteError
            The loss diverged; the last checkpoint is kept.

        Warns
        -----
        LeftOutWarning
            Sentences are too long to be trained on.

        Examples
        --------
        >>> NeuralPCFG.fit([["the", "dog", "barks"]], folder="run").save("teacher")  # doctest: +SKIP
        """
        small, recipe = cls.options_class.presets()["small"]
        options, training = options if options is not None else small, training if training is not None else recipe
        if not isinstance(options, cls.options_class):
            raise ArgumentError(
                f"options: expected {cls.options_class.__name__}, got {type(options).__name__}. "
                "Pass the options of this teacher."
            )
        words = as_sentences(sentences)
        text = Text.of(words, options, training.seed, shortest=cls.shortest, judge=judge_of(gold))
        reader = cls._reader(text.take(text.chosen), options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            model = cls._build(options, reader)
        parser = cls(model, reader, options)
        task = cls._task(model, reader, text, options, training)
        task.parse = parser._parse_words
        parser.result = train(task, training, folder, device=device, resume=resume, progress=progress)
        parser.model.cpu().eval()
        return parser

    def parse(
        self,
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]],
        *,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
    ) -> Treebank:
        """Parse sentences.

        Parameters
        ----------
        sentences : Treebank, DependencyTreebank or sequence of sequences of str
            The words; trees are not looked at. Not modified.
        batch_tokens : int, default 4096
            How many words are parsed at once. The result does not depend on it, up to rounding.
        device : str or torch.device, default "auto"
            As for `parsers.base.resolve_device`.

        Returns
        -------
        Treebank
            Binary trees over these words; an empty sentence stays, as a missing one.

        Examples
        --------
        >>> parser.parse([["it", "rains", "often"]])[0].spans  # doctest: +SKIP
        [(0, 3), (1, 3)]
        """
        words = as_sentences(sentences)
        self.model.to(resolve_device(device))
        return self._parse_words(words, batch_tokens)

    def span_scores(
        self,
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]],
        *,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
    ) -> list[NDArray[np.float32]]:
        """Return how much the teacher believes in each span.

        Parameters
        ----------
        sentences, batch_tokens, device
            As for `parse`.

        Returns
        -------
        list of ndarray of float32, shape (n + 1, n + 1)
            For a sentence of n words, the score of the words i to j - 1 at ``[i, j]``; what the scores are, each
            teacher says.

        Raises
        ------
        ArgumentError
            The teacher has no scores of spans.

        Examples
        --------
        >>> parser.span_scores([["it", "rains", "often"]])[0].shape  # doctest: +SKIP
        (4, 4)
        """
        words = as_sentences(sentences)
        self.model.to(resolve_device(device))
        found = [np.zeros((len(own) + 1, len(own) + 1), np.float32) for own in words]
        for indices in self._batches(words, batch_tokens, shortest=2):
            scores = self._scores([words[index] for index in indices]).float().cpu().numpy()
            for row, index in enumerate(indices):
                side = len(words[index]) + 1
                found[index] = np.ascontiguousarray(scores[row, :side, :side])
        return found

    # ------------------------------------------------------------------ what a teacher implements

    @classmethod
    def _reader(cls, words: list[list[str]], options: Any) -> Any:
        """Return what numbers words, made from the training text."""
        return WordReader.of(words, most=options.vocabulary)

    @classmethod
    @abc.abstractmethod
    def _build(cls, options: Any, reader: Any) -> nn.Module:
        """Return the network with fresh weights; torch is seeded."""

    @classmethod
    @abc.abstractmethod
    def _task(cls, model: Any, reader: Any, text: Text, options: Any, training: TrainingConfig) -> TextTask:
        """Return what is trained."""

    @abc.abstractmethod
    def _trees(self, sentences: list[list[str]]) -> Tensor:
        """Return int64 (B, N - 1, 2), spans in pre-order, of sentences of three words or more.

        Called without gradients, with the model in evaluation mode on its device.
        """

    def _scores(self, sentences: list[list[str]]) -> Tensor:
        """Return (B, N + 1, N + 1), the scores of spans of sentences of two words or more; called as `_trees` is."""
        raise ArgumentError(f"span_scores: expected a parser that scores spans, got {self.kind}. Use its trees.")

    # ------------------------------------------------------------------ saving

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        document = {"config": asdict(self.options), "text": self.reader.to_json()}
        tensors = {name: part.detach().cpu().contiguous() for name, part in self.model.state_dict().items()}
        return document, tensors

    @classmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        options = cls.options_class(**document["config"])
        reader = WordReader.from_json(document["text"])
        model = cls._build(options, reader)
        load_weights(model, tensors, "weights")
        return cls(model.eval(), reader, options)

    # ------------------------------------------------------------------ parsing

    def _batches(self, words: list[list[str]], batch_tokens: int, *, shortest: int) -> Any:
        """Yield indices of sentences to be read together, in evaluation mode without gradients."""
        lengths = np.array([len(own) for own in words], np.int64)
        chosen = np.flatnonzero(lengths >= shortest)
        self.model.eval()
        with torch.no_grad():
            for batch in token_batches(lengths[chosen], batch_tokens):
                yield chosen[batch].tolist()

    def _parse_words(self, words: list[list[str]], batch_tokens: int = 4096) -> Treebank:
        """Return the trees of all sentences, in order."""
        lengths = np.array([len(own) for own in words], np.int64)
        short = np.flatnonzero(lengths < 3)
        whole = np.zeros((len(short), 1, 2), np.int64)
        whole[:, 0, 1] = lengths[short]
        parts = [bank_of(torch.from_numpy(whole), lengths[short])]
        order = short.tolist()
        for indices in self._batches(words, batch_tokens, shortest=3):
            parts.append(bank_of(self._trees([words[index] for index in indices]), lengths[indices]))
            order += indices
        bank = Treebank.concatenate(parts)[np.argsort(order, kind="stable")]
        return bank.replace(tokens=StringColumn.of(word for own in words for word in own))
