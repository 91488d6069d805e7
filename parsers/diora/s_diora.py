"""S-DIORA: DIORA with single trees in place of mixtures of all trees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from parsers.base import load
from parsers.diora import beams
from parsers.diora.composition import MLP
from parsers.diora.diora import DIORA
from parsers.diora.network import Network
from parsers.diora.options import NETWORK, SDIORAOptions
from parsers.diora.s_task import SDIORATask
from parsers.diora.words import TypeReader, Words
from parsers.nn.charts import descend
from parsers.text_task import Text
from parsers.training import TrainingConfig
from treeavg.errors import ArgumentError


class SDIORA(DIORA):
    """A DIORA whose charts hold the best single trees of each span [Drozdov2020]; trained from a trained DIORA.

    Make one with `fit` or `load`.

    Parameters
    ----------
    model, reader, options, result
        As for `parsers.teacher.Teacher`.

    Notes
    -----
    `span_scores` gives the share of the kept trees that have each span, weighed by the softmax of their scores.

    Examples
    --------
    >>> options = SDIORAOptions(start="diora")
    >>> SDIORA.fit([["the", "dog", "barks"]], folder="run", options=options).save("teacher")  # doctest: +SKIP
    """

    kind: ClassVar[str] = "s-diora"
    options_class = SDIORAOptions

    @classmethod
    def fit(cls, sentences: Any, *, folder: Any, options: Any = None, **rest: Any) -> Self:
        """Train on sentences without trees; see `parsers.teacher.Teacher.fit`.

        Parameters
        ----------
        sentences, folder, options, **rest
            As there.

        Returns
        -------
        SDIORA

        Raises
        ------
        ArgumentError
            As there; `start` is no DIORA, has a TreeLSTM, or is another network than the options say.
        FileError, FormatError
            `start` cannot be read.

        Examples
        --------
        >>> SDIORA.fit(sentences, folder="run", options=SDIORAOptions(start="diora"))  # doctest: +SKIP
        """
        options = options if options is not None else cls.options_class.presets()["small"][0]
        if isinstance(options, SDIORAOptions) and options.start is not None:
            options = _as_started(options, _started(options.start))
        return super().fit(sentences, folder=folder, options=options, **rest)

    @classmethod
    def _reader(cls, words: list[list[str]], options: Any) -> TypeReader:
        return _started(options.start).reader if options.start is not None else super()._reader(words, options)

    @classmethod
    def _build(cls, options: Any, reader: TypeReader) -> Network:
        return _started(options.start).model if options.start is not None else super()._build(options, reader)

    @classmethod
    def _task(
        cls, model: Network, reader: TypeReader, text: Text, options: Any, training: TrainingConfig
    ) -> SDIORATask:
        return SDIORATask(model, reader, text, options)

    def _trees(self, sentences: list[list[str]]) -> Tensor:
        longest = max(map(len, sentences))
        found = []
        for words in self._parts(sentences):
            splits, _ = beams.read_tree(self._inside(words), words.lengths, 0)
            trees = descend(splits, words.lengths)
            found.append(pad(trees, (0, 0, 0, longest - 1 - trees.shape[1])))
        return torch.cat(found)

    def _scores(self, sentences: list[list[str]]) -> Tensor:
        side = max(map(len, sentences)) + 1
        found = []
        for words in self._parts(sentences):
            levels = self._inside(words)
            law = beams.root_scores(levels, words.lengths).softmax(1)
            spans = [beams.read_tree(levels, words.lengths, entry)[1] for entry in range(law.shape[1])]
            scores = (torch.stack(spans, 1) * law[:, :, None, None]).sum(1)
            missing = side - scores.shape[1]
            found.append(pad(scores, (0, missing, 0, missing)))
        return torch.cat(found)

    def _inside(self, words: Words) -> list[beams.Beams]:
        return beams.inside(cast(MLP, self.model.inner), self.model.words(words).vectors, self.options.beams)


def _started(folder: str) -> DIORA:
    """Return the DIORA in a folder."""
    parser = load(folder)
    if type(parser) is not DIORA:
        raise ArgumentError(f"start: {folder}: expected a DIORA, got a parser of the kind {parser.kind!r}. Train one.")
    if parser.options.composition == "treelstm":
        raise ArgumentError(
            f"start: {folder}: expected a DIORA with an MLP, got one with a TreeLSTM, which S-DIORA has not. "
            "Train one with composition='mlp-shared'."
        )
    return parser


def _as_started(options: SDIORAOptions, start: DIORA) -> SDIORAOptions:
    """Return the options with those of the network that training starts from."""
    default = SDIORAOptions()
    taken: dict[str, Any] = {}
    for name in NETWORK:
        given, wanted = getattr(options, name), getattr(start.options, name)
        if given not in (wanted, getattr(default, name)):
            raise ArgumentError(
                f"{name}: expected {wanted!r} as in {options.start}, got {given!r}. Leave it out, or start anew."
            )
        taken[name] = wanted
    if options.start_epochs == default.start_epochs:
        taken["start_epochs"] = 0
    return replace(options, **taken)
