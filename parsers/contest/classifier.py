"""The classifier of ConTest: how probable it is that a string is grammatical."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parsers.contest.constituency_tests import Words, names_of
from parsers.contest.corruptions import Bigrams, corrupt
from parsers.contest.options import ConTestOptions
from parsers.contest.trials import Trial
from parsers.nn.strings import StringEncoder, StringReader, pool

#: Strings that are made at once; a sentence of 40 words has 6,156.
_MOST_STRINGS = 20_000


class ConTestReader(StringReader):
    """The encoder's tokenizer, and how sentences are changed for its classifier.

    Parameters
    ----------
    tokenizer, limit
        As for `parsers.nn.strings.StringReader`.
    options : ConTestOptions
        Which tests.
    comma : bool
        Whether words that move to the front are followed by a comma. Where the text has none, a comma would mark a
        string as a corruption.
    """

    def __init__(self, tokenizer: Any, limit: int | None, options: ConTestOptions, comma: bool) -> None:
        super().__init__(tokenizer, limit)
        self.tests, self.comma, self.faithful = names_of(options.tests), comma, options.faithful

    def trial(self, words: Sequence[str]) -> Trial:
        """Return all tests of a sentence.

        Parameters
        ----------
        words : sequence of str
            As they were given.

        Returns
        -------
        Trial
        """
        return Trial.of(words, self.tests, comma=self.comma, faithful=self.faithful)

    def corrupt(self, words: Words, bigrams: Bigrams, random: np.random.Generator) -> Words | None:
        """Return another sentence; see `parsers.contest.corruptions.corrupt`.

        Parameters
        ----------
        words, bigrams, random
            As there.

        Returns
        -------
        list of str or None
        """
        return corrupt(words, bigrams, random, comma=self.comma, faithful=self.faithful)


class Classifier(nn.Module):
    """A pretrained encoder and a linear map from a string's vector to its logit [Cao2020].

    Parameters
    ----------
    backbone : Module
        From `parsers.nn.pretrained.load_backbone`.
    options : ConTestOptions
        Pooling and dropout.

    Notes
    -----
    One logit in place of the published two, of which only the difference counts.
    """

    def __init__(self, backbone: nn.Module, options: ConTestOptions) -> None:
        super().__init__()
        config: Any = backbone.config
        self.backbone, self.pooling = backbone, options.pooling
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(int(config.hidden_size), 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the logits of strings, (S,), from subwords (S, L) and where there are some."""
        hidden = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.output(self.dropout(pool(hidden, mask, self.pooling))).squeeze(-1)  # type: ignore[no-any-return]


def probabilities(
    model: Classifier, reader: StringReader, trials: Sequence[Trial], precision: str, names: Sequence[str] | None = None
) -> list[NDArray[np.float32]]:
    """Return how probable it is that each string of some sentences is grammatical; nothing is learnt.

    Parameters
    ----------
    model : Classifier
        Left in the mode it is in; dropout is off here.
    reader : StringReader
        Its tokenizer.
    trials : sequence of Trial
        Of the sentences.
    precision : str
        As for `parsers.nn.strings.StringEncoder`.
    names : sequence of str, optional
        What messages call the sentences.

    Returns
    -------
    list of ndarray of float32, shape (T,)
        Of the T strings of each sentence.
    """
    encoder = StringEncoder(model.backbone, reader, pooling=model.pooling, precision=precision)
    found: list[NDArray[np.float32]] = []
    for first, last in _parts([len(trial.strings) for trial in trials]):
        own = trials[first:last]
        called = [names[first + place] for place, trial in enumerate(own) for _ in trial.strings] if names else None
        vectors = encoder.pooled([string for trial in own for string in trial.strings], called)
        with torch.no_grad(), torch.autocast(vectors.device.type, enabled=False):
            values = torch.sigmoid(model.output(vectors).squeeze(-1)).cpu().numpy()
        found += np.split(values, np.cumsum([len(trial.strings) for trial in own])[:-1])
    return found


def _parts(sizes: list[int]) -> list[tuple[int, int]]:
    """Divide sentences into runs of not too many strings."""
    runs, first, total = [], 0, 0
    for place, size in enumerate(sizes):
        if total + size > _MOST_STRINGS and place > first:
            runs.append((first, place))
            first, total = place, 0
        total += size
    return [*runs, (first, len(sizes))] if sizes else []
