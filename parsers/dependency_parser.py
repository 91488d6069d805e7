"""A dependency parser that learns from the heads of several teachers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parsers.base import Parser, as_sentences, resolve_device
from parsers.dependency_task import DECODERS, DependencyOptions, DependencyTask, parse, require_short
from parsers.nn import pretrained
from parsers.nn.arcs import ArcScores
from parsers.nn.encoders import EncoderConfig, build
from parsers.nn.text import TextReader
from parsers.training import Progress, TrainingConfig, TrainingResult, train
from parsers.weights import load_weights
from treeavg.alignment import Places
from treeavg.dependency import DependencyTreebank
from treeavg.distill.dependency_losses import TeacherHeads
from treeavg.errors import AlignmentError, ArgumentError, unknown
from treeavg.strings import StringColumn
from treeavg.treebank import Treebank


class DependencyParser(Parser):
    """Words in, dependency trees out: an encoder, biaffine scores of arcs, and the best tree under them.

    Make one with `fit` or `load`.

    Parameters
    ----------
    model : ArcScores
        The network.
    reader : TextReader
        What it reads.
    encoder : EncoderConfig
        How its encoder was built.
    options : DependencyOptions
        How it was trained.
    result : TrainingResult, optional
        How the training went.

    Examples
    --------
    >>> from parsers.training import TrainingConfig
    >>> import tempfile
    >>> bank = DependencyTreebank.from_heads([[2, 0], [2, 0]], tokens=[["it", "rains"], ["it", "snows"]])
    >>> parser = DependencyParser.fit(
    ...     [bank, bank], folder=tempfile.mkdtemp() + "/run", held_out=0, device="cpu",
    ...     encoder=EncoderConfig(size=16, words=8, characters=8), training=TrainingConfig(epochs=9, learning_rate=0.1),
    ... )
    >>> parser.parse([["it", "hails"]])[0].heads
    [2, 0]
    """

    kind: ClassVar[str] = "dependency"

    def __init__(
        self,
        model: ArcScores,
        reader: TextReader,
        encoder: EncoderConfig,
        options: DependencyOptions,
        *,
        result: TrainingResult | None = None,
    ) -> None:
        self.model, self.reader, self.encoder, self.options, self.result = model, reader, encoder, options, result

    @classmethod
    def fit(
        cls,
        teachers: Sequence[Treebank | DependencyTreebank],
        *,
        folder: str | os.PathLike[str],
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]] | None = None,
        weights: Sequence[Any] | None = None,
        gold: Treebank | DependencyTreebank | None = None,
        loss: str = "kl",
        temperature: float = 1.0,
        projective: bool = True,
        encoder: EncoderConfig | None = None,
        size: int = 200,
        training: TrainingConfig | None = None,
        batch_tokens: int = 1000,
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
        teachers : sequence of DependencyTreebank, length K >= 1
            Over the same sentences. Not modified.
        folder : str or os.PathLike
            Of the run: options, metrics, checkpoints; see `parsers.training.train`.
        sentences : Treebank, DependencyTreebank or sequence of sequences of str, optional
            The words, where teachers have none; by default those of the first teacher that has words.
        weights : sequence of numbers, length K, optional
            Of teachers; each counts 1 by default.
        gold : DependencyTreebank, optional
            Sentences with words and true trees, for early stopping, instead of held-out ones.
        loss : str, default "kl"
            One of `treeavg.distill.dependency_losses.KINDS`.
        temperature : float, default 1.0
            Of the teachers' distribution in ``kl`` and ``rkl``.
        projective : bool, default True
            Learn and give projective trees, else trees of any shape.
        encoder : EncoderConfig, optional
            By default a BiLSTM over words and characters.
        size : int, default 200
            Width of what is known of a word as a head, and as a dependent.
        training : TrainingConfig, optional
            Epochs, learning rate, seed ...
        batch_tokens : int, default 1000
            Words of a batch, padding included.
        held_out : float, default 0.05
            Share of the sentences that are not trained on: the agreement with the teachers' average on them chooses
            the weights. 0 trains on all and looks at the agreement on these.
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
        DependencyParser
            With the best weights of the run, on the CPU.

        Raises
        ------
        AlignmentError
            Teachers, or teachers and words, do not hold the same sentences.
        ArgumentError
            An option is unknown or out of range, or there are no words.
        LimitError
            A sentence is too long for a loss over trees.

        Examples
        --------
        >>> DependencyParser.fit(teachers, folder="student").save("student")  # doctest: +SKIP
        """
        options = DependencyOptions(
            loss=loss,
            temperature=float(temperature),
            projective=projective,
            size=int(size),
            batch_tokens=batch_tokens,
            held_out=held_out,
        )
        training, encoder = training or TrainingConfig(), encoder or EncoderConfig()
        heads = TeacherHeads.of(teachers, weights=weights, projective=projective, on_error=on_error, places=places)
        places = places or Places(tuple(f"teachers[{index}]" for index in range(len(teachers))))
        if loss == "union" and projective:
            heads.require_projective(places=places)
        require_short(heads, loss, places)
        words = _words(teachers, sentences, heads, places.names[0])
        judge = _judge(gold)
        task = DependencyTask.new(heads, words, options, encoder, training.seed, judge)
        result = train(task, training, folder, device=device, resume=resume, progress=progress)
        return cls(task.model.cpu(), task.reader, encoder, options, result=result)

    def parse(
        self,
        sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]],
        *,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
        decode: str = "mbr",
    ) -> DependencyTreebank:
        """Parse sentences.

        Parameters
        ----------
        sentences : Treebank, DependencyTreebank or sequence of sequences of str
            The words; trees are not looked at. Not modified.
        batch_tokens : int, default 4096
            How many words are parsed at once. The result does not depend on it, up to rounding.
        device : str or torch.device, default "auto"
            As for `parsers.base.resolve_device`.
        decode : str, default "mbr"
            ``mbr``: the tree with the largest expected number of right heads (minimum Bayes risk); ``argmax``: the most
            probable tree, which sentences of more than 400 words always get.

        Returns
        -------
        DependencyTreebank
            With these words; an empty sentence stays, as a missing one. What a CoNLL-U file has besides words and trees
            is kept.

        Raises
        ------
        ArgumentError
            `decode` is unknown.

        Examples
        --------
        >>> parser.parse([["it", "hails"]])[0].heads  # doctest: +SKIP
        [2, 0]
        """
        if decode not in DECODERS:
            raise unknown("decode", decode, DECODERS)
        words = as_sentences(sentences)
        model = self.model.to(resolve_device(device))
        trees = parse(
            model, self.reader, words, projective=self.options.projective, decode=decode, batch_tokens=batch_tokens
        )
        lengths = np.array([len(own) for own in words], np.int32)
        bank = DependencyTreebank(lengths, trees, tokens=StringColumn.of(word for own in words for word in own))
        if not isinstance(sentences, DependencyTreebank):
            return bank
        # Labels of the arcs that were there say nothing of the new ones.
        blank = StringColumn.of("_" for _ in trees) if sentences.sources is not None else None
        return bank.replace(ids=sentences.ids, sources=sentences.sources, relations=blank)

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
        encoder, options = EncoderConfig(**config["encoder"]), DependencyOptions(**config["options"])
        backbone = document.get("backbone")
        module, tokenizer = pretrained.from_json(backbone) if backbone is not None else (None, None)
        reader = TextReader.from_json(document["text"], tokenizer)
        model = ArcScores(build(encoder, reader, module), options.size)
        load_weights(model, tensors, "weights")
        return cls(model.eval(), reader, encoder, options)


def _judge(gold: Treebank | DependencyTreebank | None) -> tuple[list[list[str]], NDArray[np.int32]] | None:
    """Return the words and heads of true trees."""
    if gold is None:
        return None
    if not isinstance(gold, DependencyTreebank) or not gold.token_count or gold.tokens is None:
        kind = "no words" if isinstance(gold, DependencyTreebank) else "constituency trees"
        raise ArgumentError(
            f"gold: expected dependency trees with words, got {kind}. Leave it out to judge by averages."
        )
    return as_sentences(gold), gold.heads


def _words(
    teachers: Sequence[Treebank | DependencyTreebank],
    sentences: Treebank | DependencyTreebank | Sequence[Sequence[str]] | None,
    heads: TeacherHeads,
    name: str,
) -> list[list[str]]:
    """Return the words of each sentence, as many as the teachers have heads."""
    if sentences is None:
        sentences = next((bank for bank in teachers if bank.tokens is not None), None)
        if sentences is None:
            raise ArgumentError(f"{name}: expected words, got only heads. Pass sentences=, or CoNLL-U files.")
    words = as_sentences(sentences)
    if len(words) != len(heads):
        raise AlignmentError(f"sentences: expected {len(heads)} as in {name}, got {len(words)}. Pass the same ones.")
    for index, (own, length) in enumerate(zip(words, heads.lengths.tolist(), strict=True)):
        if length and len(own) != length:
            raise AlignmentError(
                f"sentences[{index}]: expected {length} words as in {name}, got {len(own)}. Pass the same sentences."
            )
    return words
