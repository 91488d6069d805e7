"""ContexDistort: the tree whose spans distort their context least; nothing is trained."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parsers.base import as_sentences, resolve_device
from parsers.contexdistort.costs import Encode, normalised, span_costs
from parsers.contexdistort.options import ContexDistortOptions
from parsers.contexdistort.perturbations import Kinds, plan_of
from parsers.nn import pretrained
from parsers.nn.charts import best_trees
from parsers.nn.strings import StringEncoder, StringReader, first_layers
from parsers.options import TeacherOptions
from parsers.teacher import Teacher
from parsers.text_task import Text, TextTask, judge_of
from parsers.training import Progress, TrainingConfig, TrainingResult
from parsers.weights import load_weights
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, LimitError
from treeavg.metrics.scoring import score
from treeavg.treebank import Treebank


class ContexDistort(Teacher):
    """Words in, binary trees out, from an encoder that was pretrained to fill masks [Li2023].

    If some words are a constituent, then replacing them by a mask, taking them out of the sentence or moving them
    changes the vectors of the words around them, and their own, only a little. The mean change is the span's cost, and
    the tree is the one of least total cost. Make one with `fit` or `load`.

    Parameters
    ----------
    model : torch.nn.Module
        The encoder, without the layers that are not computed.
    reader : StringReader
        Its tokenizer.
    options : ContexDistortOptions
        What the costs are made of.
    result : TrainingResult, optional
        Always None: nothing is trained.

    Attributes
    ----------
    layer_scores : dict from int to float
        The F1 of each layer that `fit` tried on gold trees.

    Examples
    --------
    >>> parser = ContexDistort.fit([], options=ContexDistortOptions(encoder="minilm"))  # doctest: +SKIP
    >>> parser.parse([["the", "dog", "barks"]])[0].spans  # doctest: +SKIP
    [(0, 3), (0, 2)]
    """

    kind: ClassVar[str] = "contexdistort"
    options_class: ClassVar[type[TeacherOptions]] = ContexDistortOptions

    def __init__(
        self,
        model: nn.Module,
        reader: StringReader,
        options: ContexDistortOptions,
        *,
        result: TrainingResult | None = None,
    ) -> None:
        super().__init__(model, reader, options, result=result)
        self.layer_scores: dict[int, float] = {}
        self._encoder: StringEncoder | None = None

    @classmethod
    def fit(
        cls,
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]],
        *,
        folder: str | os.PathLike[str] | None = None,
        options: TeacherOptions | None = None,
        training: TrainingConfig | None = None,
        gold: Treebank | None = None,
        device: str | torch.device = "auto",
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Load the encoder, and choose its layer; nothing is trained.

        Parameters
        ----------
        sentences : Treebank, DependencyTreebank or sequence of sequences of str
            Not looked at.
        folder
            Not looked at: no run is written.
        options : ContexDistortOptions
            Names the encoder.
        training : TrainingConfig, optional
            That of a preset: others are refused, since nothing is trained.
        gold : Treebank, optional
            Sentences with words and true trees. With ``layer=-1`` the one of the last three layers is taken that finds
            them best, the lowest of equally good ones.
        device : str or torch.device, default "auto"
            Where gold sentences are parsed.
        resume : bool, default False
            Refused: there is no run to go on with.
        progress
            Not looked at.

        Returns
        -------
        ContexDistort
            On the CPU.

        Raises
        ------
        FileError
            The folder of the encoder is none.
        ArgumentError
            No encoder is named; it has no mask token, or fewer layers; `resume`, or options of a training.
        LimitError
            A gold sentence has more subwords than the encoder takes.

        Examples
        --------
        >>> ContexDistort.fit([], options=ContexDistortOptions(encoder="minilm", layer=5))  # doctest: +SKIP
        """
        if not isinstance(options, ContexDistortOptions):
            got = "none" if options is None else type(options).__name__
            raise ArgumentError(f"options: expected ContexDistortOptions with an encoder, got {got}. Pass them.")
        if resume:
            raise ArgumentError("resume: expected False, since nothing is trained, got True. Leave it out.")
        if training not in (None, *(recipe for _, recipe in options.presets().values())):
            raise ArgumentError(
                "training: expected none of its options, such as epochs or seed, since nothing is trained, got some. "
                "Leave them out."
            )
        reader = cls._reader([], options)
        whole = cls._build(options, reader)
        config: Any = whole.config
        depth, judge = int(config.num_hidden_layers), judge_of(gold)
        if options.layer > depth:
            raise ArgumentError(f"layer: expected 0 to {depth}, the encoder's own, got {options.layer}. Leave it out.")
        if options.layer >= 0:
            tried = [options.layer]
        elif judge is None:
            tried = [round(0.8 * depth)]
        else:
            tried = list(range(max(depth - 2, 0), depth + 1))
        scores: dict[int, float] = {}
        for layer in tried if len(tried) > 1 else []:
            parser = cls(first_layers(copy.deepcopy(whole), layer), reader, replace(options, layer=layer))
            scores[layer] = parser._f1(judge, device)
        layer = max(tried, key=lambda own: scores.get(own, 0.0))
        parser = cls(first_layers(whole, layer).eval(), reader, replace(options, layer=layer))
        parser.layer_scores = scores
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
            Words of sentences whose trees are searched at once. Each sentence is read alone, so that the result does
            not depend on it, bit by bit.
        device : str or torch.device, default "auto"
            As for `parsers.base.resolve_device`.

        Returns
        -------
        Treebank
            Binary trees over these words; an empty sentence stays, as a missing one.

        Raises
        ------
        LimitError
            A sentence has more subwords than the encoder takes, of which two are for commas.

        Notes
        -----
        Exact, ties to the leftmost split. About 2 n² strings of n words are read for a sentence.

        Examples
        --------
        >>> parser.parse([["it", "rains", "often"]])[0].spans  # doctest: +SKIP
        [(0, 3), (1, 3)]
        """
        self._check(as_sentences(sentences), "sentences")
        return super().parse(sentences, batch_tokens=batch_tokens, device=device)

    def span_scores(
        self,
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]],
        *,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
    ) -> list[NDArray[np.float32]]:
        """Return minus the normalised cost of each span.

        Parameters
        ----------
        sentences, batch_tokens, device
            As for `parse`.

        Returns
        -------
        list of ndarray of float32, shape (n + 1, n + 1)
            At ``[i, j]`` that of the words i to j - 1; 0 for single words and whole sentences. Comparable within a
            sentence only.

        Raises
        ------
        LimitError
            As for `parse`.

        Examples
        --------
        >>> parser.span_scores([["it", "rains", "often"]])[0].shape  # doctest: +SKIP
        (4, 4)
        """
        self._check(as_sentences(sentences), "sentences")
        return super().span_scores(sentences, batch_tokens=batch_tokens, device=device)

    # ------------------------------------------------------------------ what a teacher implements

    @classmethod
    def _reader(cls, words: list[list[str]], options: ContexDistortOptions) -> StringReader:
        if options.encoder is None:
            raise ArgumentError(
                "encoder: expected the folder of a Hugging Face encoder, got None. Pass ContexDistortOptions(encoder=)."
            )
        tokenizer, limit = pretrained.load_tokenizer(options.encoder)
        if tokenizer.mask_token is None:
            raise ArgumentError(
                f"{options.encoder}: expected an encoder with a mask token, got one without. "
                "Pass one that was trained to fill masks."
            )
        return StringReader(tokenizer, limit)

    @classmethod
    def _build(cls, options: ContexDistortOptions, reader: StringReader) -> nn.Module:
        assert options.encoder is not None
        return pretrained.load_backbone(options.encoder)

    @classmethod
    def _task(cls, model: Any, reader: Any, text: Text, options: Any, training: TrainingConfig) -> TextTask:
        raise AssertionError("nothing is trained")

    def _trees(self, sentences: list[list[str]]) -> Tensor:
        return best_trees(self._scores(sentences), torch.tensor([len(own) for own in sentences]))

    def _scores(self, sentences: list[list[str]]) -> Tensor:
        side = max(map(len, sentences)) + 1
        chart = np.zeros((len(sentences), side, side))
        for row, own in zip(chart, sentences, strict=True):
            if len(own) > 2:
                plan = plan_of(len(own), self._kinds())
                costs = span_costs(plan, own, self._strings(), self.reader.tokenizer.mask_token)
                if self.options.normalise:
                    costs = normalised(costs, len(own))
                row[plan.spans[:, 0], plan.spans[:, 1]] -= costs
        return torch.from_numpy(chart)

    # ------------------------------------------------------------------ saving

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        document = {
            "config": asdict(self.options),
            "text": {"limit": self.reader.limit},
            "backbone": pretrained.to_json(self.model, self.reader.tokenizer),
        }
        return document, {name: part.detach().cpu().contiguous() for name, part in self.model.state_dict().items()}

    @classmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        options = ContexDistortOptions(**document["config"])
        model, tokenizer = pretrained.from_json(document["backbone"])
        load_weights(model, tensors, "weights")
        return cls(model.eval(), StringReader(tokenizer, document["text"]["limit"]), options)

    # ------------------------------------------------------------------ reading

    def _kinds(self) -> Kinds:
        chosen = self.options
        return Kinds(chosen.substitution, chosen.decontextualisation, chosen.movement, chosen.masks)

    def _strings(self) -> Encode:
        """Return what reads strings on the model's device."""
        device = next(self.model.parameters()).device
        if self._encoder is None or self._encoder.device != device:
            self._encoder = StringEncoder(self.model, self.reader, precision=self.options.precision)
        encoder = self._encoder
        return lambda strings: encoder.words(strings).vectors

    def _check(self, sentences: list[list[str]], name: str) -> None:
        """Raise where the longest string of a sentence, the words and two commas, has too many subwords."""
        limit = self.reader.limit
        if limit is None:
            return
        reader = StringReader(self.reader.tokenizer)  # without the limit
        (commas,) = reader.read([[",", ","]])
        for place, pieces in enumerate(reader.read(sentences)):
            size = sum(map(len, pieces)) + sum(map(len, commas)) + 2
            if len(pieces) > 2 and size > limit:
                raise LimitError(
                    f"{name}[{place}]: expected at most {limit} subwords, the encoder's limit, got {size} for "
                    f"{len(pieces)} words, two commas, begin and end. Leave this sentence out, or split it."
                )

    def _f1(self, judge: tuple[list[list[str]], Treebank] | None, device: str | torch.device) -> float:
        """Return the F1 against true trees."""
        assert judge is not None
        words, gold = judge
        self._check(words, "gold")
        self.model.to(resolve_device(device))
        return float(score(gold.replace(tokens=None), self._parse_words(words).replace(tokens=None)).value)
