"""The student: a constituency parser that learns from several teachers' trees, or from their hit counts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parsers.base import Parser, as_sentences, resolve_device
from parsers.nn import pretrained
from parsers.nn.encoders import EncoderConfig, build
from parsers.nn.text import TextReader
from parsers.span_model import SpanModel
from parsers.span_reading import expected_hits, parse, span_probabilities
from parsers.span_task import START_FIRST, Judge, SpanOptions, SpanTask, decode_of
from parsers.training import Progress, TrainingConfig, TrainingResult, train
from parsers.tree_data import TreeData, tags_of
from parsers.weights import load_weights
from treeavg.alignment import Places
from treeavg.averaging.hits import HitCounts
from treeavg.dependency import DependencyTreebank
from treeavg.distill.tree_losses import KINDS
from treeavg.errors import AlignmentError, ArgumentError, unknown
from treeavg.treebank import Treebank

#: A tree is chosen for its most expected spans, as the most probable one, or by the spans' own probabilities.
DECODERS = ("mbr", "argmax", "span")


class SpanParser(Parser):
    """Words in, binary trees out: an encoder, biaffine span scores, and a distribution over trees.

    Make one with `fit` or `load`.

    Parameters
    ----------
    model : SpanModel
        The network.
    reader : TextReader
        What it reads.
    encoder : EncoderConfig
        How its encoder was built.
    options : SpanOptions
        How it was trained.
    result : TrainingResult, optional
        How the training went.

    Examples
    --------
    >>> import tempfile
    >>> bank = Treebank.from_constituents([["it", "rains", "often"]] * 2, [[(0, 3), (1, 3)]] * 2)
    >>> parser = SpanParser.fit(
    ...     [bank, bank], folder=tempfile.mkdtemp() + "/run", held_out=0, device="cpu",
    ...     encoder=EncoderConfig(size=16, words=8, characters=8), training=TrainingConfig(epochs=5),
    ... )
    >>> parser.parse([["it", "rains", "often"]])[0].spans
    [(0, 3), (1, 3)]
    """

    kind: ClassVar[str] = "span"

    def __init__(
        self,
        model: SpanModel,
        reader: TextReader,
        encoder: EncoderConfig,
        options: SpanOptions,
        *,
        result: TrainingResult | None = None,
    ) -> None:
        self.model, self.reader, self.encoder, self.options, self.result = model, reader, encoder, options, result

    @classmethod
    def fit(
        cls,
        teachers: Sequence[Treebank] | HitCounts,
        *,
        folder: str | os.PathLike[str],
        sentences: Treebank | Sequence[Sequence[str]] | None = None,
        weights: Sequence[Any] | None = None,
        gold: Treebank | None = None,
        tags: bool = False,
        loss: str = "kl",
        distribution: str = "crf",
        temperature: float = 1.0,
        student_weight: float = 0.5,
        detach_visits: bool = False,
        start_epochs: int | None = None,
        encoder: EncoderConfig | None = None,
        size: int = 200,
        training: TrainingConfig | None = None,
        batch_tokens: int = 1500,
        held_out: float = 0.05,
        on_error: str = "raise",
        device: str | torch.device = "auto",
        resume: bool = False,
        progress: Progress | None = None,
        places: Places | None = None,
    ) -> Self:
        """Train a parser on the trees of several teachers.

        Parameters
        ----------
        teachers : sequence of Treebank, or HitCounts
            Over the same sentences. Not modified.
        folder : str or os.PathLike
            Of the run: options, metrics, checkpoints; see `parsers.training.train`.
        sentences : Treebank or sequence of sequences of str, optional
            The words; by default those of the teacher that tells the most words apart.
        weights : sequence of numbers, optional
            Of teachers; each counts 1 by default. Not for ``union`` and ``split-average``, to which all count alike.
        gold : Treebank, optional
            Sentences with words and true trees, for choosing the weights instead of held-out averages.
        tags : bool, default False
            Read the tags of `sentences`, a Treebank, too; parsing then needs tagged text.
        loss : str, default "kl"
            One of `treeavg.distill.tree_losses.KINDS`.
        distribution : str, default "crf"
            ``crf``: a score a span, normalised over trees. ``split``: normalised at every split.
        temperature : float, default 1.0
            Divides the hit counts: below 1 the consensus comes closer to the average tree, above to all trees alike.
        student_weight : float, default 0.5
            Share of the student in ``js`` and ``tvd``.
        detach_visits : bool, default False
            Leave out the gradient through the student's visits.
        start_epochs : int, optional
            Epochs with ``kl`` before those with `loss`: by default 1 for losses that hardly see what the student does
            not visit (`parsers.span_task.START_FIRST`), else 0.
        encoder : EncoderConfig, optional
            By default a BiLSTM over words and characters.
        size : int, default 200
            Width of the projections before the span scores.
        training : TrainingConfig, optional
            Epochs, learning rate, seed ...
        batch_tokens : int, default 1500
            Words of a batch, padding included.
        held_out : float, default 0.05
            Share of the sentences that are not trained on: the agreement with the average on them chooses the weights.
            0 trains on all and looks at the agreement on these.
        on_error : str, default "raise"
            ``skip`` leaves out sentences that some teacher lacks.
        device : str or torch.device, default "auto"
            ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto`` is CUDA where there is one.
        resume : bool, default False
            Continue the run in `folder`.
        progress : Progress, optional
            What is told how it goes.
        places : Places, optional
            How messages name the teachers.

        Returns
        -------
        SpanParser
            With the best weights of the run, on the CPU.

        Raises
        ------
        AlignmentError
            Teachers, or teachers and words, do not hold the same sentences.
        ArgumentError
            An option is unknown or out of range, or there are no words.

        Notes
        -----
        The losses: specs of [ED4UCP] for the average, the tree losses of `treeavg.distill.tree_losses`.

        Examples
        --------
        >>> SpanParser.fit(teachers, folder="run").save("student")  # doctest: +SKIP
        """
        options = SpanOptions(
            loss=loss,
            distribution=distribution,
            temperature=float(temperature),
            student_weight=float(student_weight),
            detach_visits=detach_visits,
            start_epochs=int(loss in START_FIRST) if start_epochs is None else start_epochs,
            size=int(size),
            batch_tokens=batch_tokens,
            held_out=held_out,
        )
        training, encoder = training or TrainingConfig(), encoder or EncoderConfig()
        data = TreeData.of(
            teachers, sentences=sentences, weights=weights, tags=tags, on_error=on_error, places=places
        )  # fmt: skip
        if KINDS[loss][1] == "teachers" and weights is not None and any(own != weights[0] for own in weights):
            raise ArgumentError(
                f"weights: expected equal ones for the loss {loss!r}, to which all teachers count alike, got others. "
                "Leave teachers out, or pass another loss."
            )
        task = SpanTask.new(data, options, encoder, training.seed, _judge(gold, tags))
        result = train(task, training, folder, device=device, resume=resume, progress=progress)
        return cls(task.model.cpu(), task.reader, encoder, options, result=result)

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
            ``mbr``: the tree with the most expected spans; ``argmax``: the most probable tree; ``span``: the highest
            sum of the spans' own probabilities. By default ``span`` after training with that loss, else ``mbr``.

        Returns
        -------
        Treebank
            Binary trees over these words; an empty sentence stays, as a missing one.

        Raises
        ------
        ArgumentError
            The parser reads tags and the sentences have none; `decode` is unknown.

        Examples
        --------
        >>> parser.parse([["it", "rains", "often"]])[0].spans  # doctest: +SKIP
        [(0, 3), (1, 3)]
        """
        chosen = decode if decode is not None else decode_of(self.options.loss)
        if chosen not in DECODERS:
            raise unknown("decode", chosen, DECODERS)
        if chosen == "span" and self.options.distribution != "crf":
            raise ArgumentError("decode: expected 'mbr' or 'argmax' for a parser of splits, got 'span'. Leave it out.")
        words, tags = self._read(sentences)
        model = self.model.to(resolve_device(device))
        bank = parse(model, self.reader, words, tags, chosen, batch_tokens)
        return bank.replace(tags=sentences.tags) if isinstance(sentences, Treebank) and tags is not None else bank

    def hit_counts(
        self,
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]],
        *,
        weight: float = 1.0,
        least: float = 0.03,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
    ) -> HitCounts:
        """Return how probable each span is, as hit counts that another student can be trained on.

        Parameters
        ----------
        sentences : Treebank, DependencyTreebank or sequence of sequences of str
            The words. Not modified.
        weight : float, default 1.0
            The hit count of a span that is sure; as many as the teachers where their hit counts are put beside these.
        least : float, default 0.03
            Less probable spans are left out.
        batch_tokens, device
            As for `parse`.

        Returns
        -------
        HitCounts
            In units of 1/10,000.

        Raises
        ------
        ArgumentError
            `weight` is not above 0, or `least` not from 0 to 1; the sentences have no tags, which the parser reads.

        Examples
        --------
        >>> parser.hit_counts([["it", "rains", "often"]])[0]  # doctest: +SKIP
        {(1, 3): 0.93, (0, 2): 0.07}
        """
        if not 0 < weight < float("inf"):
            raise ArgumentError(f"weight: expected a number above 0, got {weight!r}. Pass the number of teachers.")
        if not 0 <= least <= 1:
            raise ArgumentError(f"least: expected 0 to 1, got {least!r}. Try 0.03.")
        words, tags = self._read(sentences)
        model = self.model.to(resolve_device(device))
        return expected_hits(model, self.reader, words, tags, weight, least, batch_tokens)

    def span_scores(
        self,
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]],
        *,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
    ) -> list[NDArray[np.float32]]:
        """Return how probable each span is.

        Parameters
        ----------
        sentences, batch_tokens, device
            As for `parse`.

        Returns
        -------
        list of ndarray of float32, shape (n + 1, n + 1)
            For a sentence of n words, the probability that its tree has the words i to j - 1 as a span, at ``[i, j]``;
            zeros for one word.

        Raises
        ------
        ArgumentError
            The parser reads tags and the sentences have none.

        Examples
        --------
        >>> parser.span_scores([["it", "rains", "often"]])[0][1, 3]  # doctest: +SKIP
        np.float32(0.93)
        """
        words, tags = self._read(sentences)
        return span_probabilities(self.model.to(resolve_device(device)), self.reader, words, tags, batch_tokens)

    def _read(
        self, sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]]
    ) -> tuple[list[list[str]], list[list[str]] | None]:
        """Return words, and tags where they are read."""
        words = as_sentences(sentences)
        tags = tags_of(sentences) if self.reader.tags is not None else None
        if tags is not None and [len(own) for own in tags] != [len(own) for own in words]:
            raise AlignmentError("sentences: expected as many tags as words. Tag every word.")
        return words, tags

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        document: dict[str, Any] = {
            "config": {"encoder": self.encoder.to_json(), "options": vars(self.options)},
            "text": self.reader.to_json(),
        }
        if self.model.encoder.backbone is not None:
            document["backbone"] = pretrained.to_json(self.model.encoder.backbone, self.reader.tokenizer)
        tensors = {name: part.detach().cpu().contiguous() for name, part in self.model.state_dict().items()}
        return document, tensors

    @classmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        config = document["config"]
        encoder, options = EncoderConfig(**config["encoder"]), SpanOptions(**config["options"])
        backbone = document.get("backbone")
        module, tokenizer = pretrained.from_json(backbone) if backbone is not None else (None, None)
        reader = TextReader.from_json(document["text"], tokenizer)
        model = SpanModel(build(encoder, reader, module), options.size, options.distribution)
        load_weights(model, tensors, "weights")
        return cls(model.eval(), reader, encoder, options)


def _judge(gold: Treebank | DependencyTreebank | None, tags: bool) -> Judge | None:
    """Return the words, tags and trees of true trees."""
    if gold is None:
        return None
    if not isinstance(gold, Treebank) or not gold.token_count or gold.tokens is None:
        kind = "no words" if isinstance(gold, Treebank) else "dependency trees"
        raise ArgumentError(
            f"gold: expected constituency trees with words, got {kind}. Leave it out to judge by averages."
        )
    if tags and gold.tags is None:
        raise ArgumentError("gold: expected trees with tags, which the parser is to read, got none. Tag the words.")
    return as_sentences(gold), tags_of(gold) if tags else None, gold
