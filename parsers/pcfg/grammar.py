"""What the grammar teachers share: their training's batches and curriculum, and the reading of trees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from parsers.base import as_sentences, resolve_device
from parsers.nn.charts import best_trees
from parsers.nn.words import WordReader
from parsers.pcfg.scores import Grammar
from parsers.teacher import Teacher
from parsers.text_task import TextTask
from parsers.training import seed_for
from treeavg.dependency import DependencyTreebank
from treeavg.treebank import Treebank

#: Scores of sentences with rules of their own are made for so many sentences at once.
TOGETHER = 16


class GrammarTask(TextTask):
    """Trains a grammar: small batches, longer sentences from epoch to epoch, perplexity."""

    def limit(self, epoch: int) -> int:
        """Return the longest sentence of an epoch, one word more each time."""
        options: Any = self.options
        return int(min(options.longest, options.first_longest + epoch - 1))

    def epoch(self, number: int) -> Sequence[Any]:
        """Return batches of few sentences."""
        most = self.options.sentences  # type: ignore[attr-defined]
        pieces = [batch[at : at + most] for batch in super().epoch(number) for at in range(0, len(batch), most)]
        order = np.random.default_rng(seed_for(self.text.seed, number, 1)).permutation(len(pieces))
        return [pieces[place] for place in order]

    def loss(self, batch: Any) -> Tensor:
        """Return the summed loss, in full precision whatever the training's: probabilities bear no rounding."""
        with torch.autocast(next(self.model.parameters()).device.type, enabled=False):
            return super().loss(batch)

    def evaluate(self) -> Mapping[str, float]:
        """Return the score of `TextTask`, and the perplexity of the held-out words, ends of sentences among them."""
        scores = dict(super().evaluate())
        if self.text.judge is None:
            held = self.text.lengths[self.text.held]
            nats = -scores["score"] * len(held) / float((held + 1).sum())
            scores["perplexity"] = math.exp(min(nats, 700.0))
        return scores


class GrammarTeacher(Teacher):
    """A teacher whose trees come from the scores of a grammar, by Viterbi or from posterior spans."""

    def parse(
        self,
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]],
        *,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
        decode: str | None = None,
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
        decode : str, optional
            ``viterbi``: of the most probable labelled tree; ``mbr``: the tree with the most expected spans. By default
            as the options say.

        Returns
        -------
        Treebank
            Binary trees over these words; an empty sentence stays, as a missing one.

        Raises
        ------
        ArgumentError
            `decode` is unknown, or ``viterbi`` for rules of a low rank.

        Examples
        --------
        >>> parser.parse([["it", "rains", "often"]], decode="mbr")[0].spans  # doctest: +SKIP
        [(0, 3), (1, 3)]
        """
        words = as_sentences(sentences)
        self.model.to(resolve_device(device))
        return self._reading(decode)._parse_words(words, batch_tokens)

    def _reading(self, decode: str | None) -> Self:
        """Return the teacher, reading trees in this way."""
        if decode is None:
            return self
        return type(self)(self.model, self.reader, replace(self.options, decode=decode))

    @classmethod
    def _reader(cls, words: list[list[str]], options: Any) -> WordReader:
        return WordReader.of(words, most=options.vocabulary, at_least=options.at_least)

    def _grammar(self, ids: Tensor, lengths: Tensor) -> Grammar:
        """Return the scores from which trees are read."""
        raise NotImplementedError

    def _trees(self, sentences: list[list[str]]) -> Tensor:
        if self.options.decode == "mbr":
            _, lengths = self.reader.batch(sentences)
            return best_trees(self._scores(sentences).cpu(), lengths)
        return torch.cat([self._grammar(*part).best_trees(part[1]) for part in self._parts(sentences)])

    def _scores(self, sentences: list[list[str]]) -> Tensor:
        return torch.cat([self._grammar(*part).span_marginals(part[1]) for part in self._parts(sentences)])

    def _parts(self, sentences: list[list[str]]) -> list[tuple[Tensor, Tensor]]:
        """Return ids and lengths of some sentences at a time, on the model's device."""
        device = next(self.model.parameters()).device
        ids, lengths = (part.to(device) for part in self.reader.batch(sentences))
        return list(zip(torch.split(ids, TOGETHER), torch.split(lengths, TOGETHER), strict=True))
