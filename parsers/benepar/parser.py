"""Any model of benepar's as a parser: a teacher, or an upper bound."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parsers.base import Parser
from parsers.benepar.checkpoints import as_folder, encoder_files, pretrained_shape, read_checkpoint
from parsers.benepar.network import PARTS, assemble, benepar, distinct_weights, fill
from parsers.benepar.trees import NO_TAG, TreeCollector
from parsers.benepar.words import WordReader
from parsers.inputs import as_sentences, resolve_device
from parsers.nn.batches import token_batches
from treeavg.distill.span_crf import SpanCRF
from treeavg.errors import ArgumentError, FormatError, quote
from treeavg.treebank import Treebank

if TYPE_CHECKING:
    from benepar.parse_chart import ChartParser

#: A batch has at most so many spans a word of `batch_tokens`: memory is made up of vectors of spans.
_SPANS_A_WORD = 32


class Benepar(Parser):
    """A parser that benepar has trained: a neural chart parser of labelled, not necessarily binary, trees.

    Parameters
    ----------
    model : str, os.PathLike or benepar.parse_chart.ChartParser
        A checkpoint's path, an exported model's folder, the name of a model that ``benepar.download`` has fetched
        before, or a parser in memory (a ``benepar.Parser`` is taken too). Nothing is downloaded.
    language : str, optional
        Two letters, which say how words are joined into a text for a pretrained encoder. Default: guessed from the
        labels, as benepar does.
    trust : bool, default False
        Read a checkpoint that holds more than tensors, numbers and strings; reading such a file can run any code.

    Raises
    ------
    FileError
        There is no such model, or it cannot be read.
    ArgumentError
        Benepar is not installed, `model` is of another type, or the file needs `trust`.
    FormatError
        The file is no model of benepar's.

    Notes
    -----
    Of Kitaev and Klein (ACL 2018) and Kitaev, Cao and Klein (ACL 2019). The network, its scores and its decoding are
    benepar's own; see docs/benepar.md for what is done so that its models load beside transformers 5.

    Examples
    --------
    >>> teacher = Benepar("benepar_en3")  # doctest: +SKIP
    >>> print(teacher.parse([["Dogs", "bark", "."]])[0].to_nltk())  # doctest: +SKIP
    (S (NP (NNS Dogs)) (VP (VBP bark)) (. .))
    """

    kind: ClassVar[str] = "benepar"

    def __init__(
        self, model: str | os.PathLike[str] | ChartParser, *, language: str | None = None, trust: bool = False
    ) -> None:
        if isinstance(model, (str, os.PathLike)):
            network = read_checkpoint(os.fspath(model), trust=trust)
        else:
            network = getattr(model, "_parser", model)
            if not isinstance(network, benepar().ChartParser):
                raise ArgumentError(
                    f"model: expected a path, a model's name or a benepar ChartParser, got {quote(model)}. "
                    "Pass one of these."
                )
        self._use(network, language, labelled=True, binary=False)

    def _use(self, network: ChartParser, language: str | None, *, labelled: bool, binary: bool) -> None:
        self.network = network
        self.labelled, self.binary = labelled, binary
        self._reader = WordReader(network, language)

    @property
    def labels(self) -> list[str]:
        """The labels that the network knows, chains of unary constituents joined by ``::``."""
        return sorted(label for label in self.network.label_vocab if label) if self.labelled else []

    def parse(
        self,
        sentences: Treebank | Sequence[Sequence[str]],
        *,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
    ) -> Treebank:
        """Parse sentences.

        Parameters
        ----------
        sentences : Treebank or sequence of sequences of str
            The words, with brackets as they are (``(``, not ``-LRB-``), punctuation included; trees are not looked at.
            Tags of a treebank are kept, as benepar does, and not read by the network. Not modified.
        batch_tokens : int, default 4096
            How many words (subwords, for a pretrained encoder) are parsed at once, padding included.
        device : str or torch.device, default "auto"
            Where to compute; the network stays there.

        Returns
        -------
        Treebank
            One tree a sentence, in this order; an empty sentence stays empty. Of a teacher with labels, unary chains
            and tags: those of the treebank, else those the network predicts, else ``UNK``. The root symbol is left
            out, except where it is all that spans the sentence. Of a student of unlabelled trees, without labels.

        Raises
        ------
        LimitError
            A sentence is longer than the network takes; nothing has been parsed then.
        ArgumentError
            The sentences have no words, or an option is out of range.

        Notes
        -----
        Deterministic. Batches of other sizes round differently, which can only matter where two trees score alike.

        Examples
        --------
        >>> teacher.parse([["Dogs", "bark"], []], device="cpu")  # doctest: +SKIP
        <Treebank: 2 sentences, 2 tokens, 1 constituent>
        """
        words = as_sentences(sentences)
        device = resolve_device(device)
        given = sentences.tags if isinstance(sentences, Treebank) else None
        charts: dict[int, NDArray[np.integer[Any]]] = {}
        tags: dict[int, list[str]] = {}
        with self._parsing_on(device):
            for batch in self._batches(words, batch_tokens):
                encoded = [self._reader.encode(words[number], f"sentences[{number}]") for number in batch]
                for number, (chart, predicted) in zip(batch, self._parse_encoded(encoded), strict=True):
                    charts[number] = chart
                    tags[number] = predicted or [NO_TAG] * len(chart)
        if given is not None:
            tags.update(_kept_tags(list(given), words))
        collector = TreeCollector(self._label_names(), labelled=self.labelled)
        for number in range(len(words)):
            collector.add(charts.get(number, np.zeros((len(words[number]),) * 2, np.int64)), tags.get(number, []))
        return collector.treebank(words, given)

    def _label_names(self) -> list[str]:
        names = [""] * (max(self.network.label_vocab.values()) + 1)
        for label, number in self.network.label_vocab.items():
            names[number] = label
        return names

    def _batches(self, words: Sequence[Sequence[str]], tokens: int) -> list[list[int]]:
        """Divide the sentences that need the network: all, or, without labels, those of two words or more."""
        least = 1 if self.labelled else 2
        numbers = [number for number, sentence in enumerate(words) if len(sentence) >= least]
        sizes = np.array([self._reader.size(words[number], f"sentences[{number}]") for number in numbers], np.int64)
        batches = []
        for rows in token_batches(sizes, tokens):
            widest = max(len(words[numbers[row]]) for row in rows)
            most = max(1, tokens * _SPANS_A_WORD // widest**2)
            batches += [[numbers[row] for row in rows[begin : begin + most]] for begin in range(0, len(rows), most)]
        return batches

    @contextmanager
    def _parsing_on(self, device: torch.device) -> Iterator[None]:
        """Set the network up for parsing, and back to training afterwards if it was training."""
        training = self.network.training
        self.network.to(device).eval()
        try:
            with torch.no_grad(), quiet():  # not inference_mode: the decoder differentiates a maximum
                yield
        finally:
            self.network.train(training)

    def _parse_encoded(self, encoded: list[dict[str, Any]]) -> list[tuple[NDArray[np.integer[Any]], list[str]]]:
        """Return of each sentence the chart of labels and the predicted tags (none where there is no tagger)."""
        batch = self.network.pad_encoded(encoded)
        scores, tag_scores = self.network(batch)
        lengths = batch["valid_token_mask"].sum(-1) - 2
        decode = binary_charts if self.binary else self.network.decoder.charts_from_pytorch_scores_batched
        charts = decode(scores, lengths.to(scores.device))
        if tag_scores is None:
            return [(chart, []) for chart in charts]
        numbers = tag_scores.argmax(-1).tolist()
        names = self.network.tag_from_index
        return [
            (chart, [names[number] for number in row[1 : len(chart) + 1]])
            for chart, row in zip(charts, numbers, strict=True)
        ]

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        config = {name: self.network.config[name] for name in PARTS}
        options = {"language": self._reader.language, "labelled": self.labelled, "binary": self.binary}
        state = {"config": {"network": config, **options}, "text": {"files": encoder_files(self.network)}}
        return state, distinct_weights(self.network)

    @classmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        try:
            config, files = document["config"], document["text"]["files"]
            options = {name: config[name] for name in ("language", "labelled", "binary")}
            network_config = config["network"]
            with_encoder = network_config["hparams"]["use_pretrained"]
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"parser.json: expected the configuration of a benepar parser, got none of {error}. Save it again."
            ) from None
        if with_encoder:
            with as_folder(files) as folder:
                network = assemble(network_config, *pretrained_shape(folder))
        else:
            network = assemble(network_config)
        fill(network, tensors, "weights.safetensors")
        parser = cls.__new__(cls)
        parser._use(network.eval(), **options)
        return parser


@contextmanager
def quiet() -> Iterator[None]:
    """Keep from the user a warning that torch-struct gives at every call: its distributions declare no constraints.

    Examples
    --------
    >>> with quiet():
    ...     warnings.warn("<class 'TreeCRF'> does not define `arg_constraints`. Please ...", UserWarning)
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* does not define `arg_constraints`", category=UserWarning)
        yield


def binary_charts(scores: Tensor, lengths: Tensor) -> list[NDArray[np.integer[Any]]]:
    """Return the best binary trees of a network with one label.

    Parameters
    ----------
    scores : Tensor, shape (B, N, N, 2)
        Of the span from word i to word j, included, without and with the label.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.

    Returns
    -------
    list of ndarray of int64, shape (n, n)
        1 for the tree's spans of two words or more.

    Notes
    -----
    Benepar's own decoding leaves out each span whose label scores below 0, which gives trees of any shape.

    Examples
    --------
    >>> binary_charts(torch.zeros(1, 2, 2, 2), torch.tensor([2]))[0].tolist()
    [[0, 1], [0, 0]]
    """
    gains = nn.functional.pad(scores[..., 1] - scores[..., 0], (1, 0, 0, 1))  # cell (b, e) for the span from b to e
    trees = SpanCRF(gains, lengths).argmax().cpu().numpy()
    charts = []
    for tree, length in zip(trees, lengths.tolist(), strict=True):
        chart = np.zeros((length, length), np.int64)
        begins, ends = tree[: max(length - 1, 0)].T
        chart[begins, ends - 1] = 1
        charts.append(chart)
    return charts


def _kept_tags(given: Sequence[str], words: Sequence[Sequence[str]]) -> dict[int, list[str]]:
    """Return a treebank's tags by sentence, without the labels that may stand above them."""
    tags: dict[int, list[str]] = {}
    place = 0
    for number, sentence in enumerate(words):
        part = given[place : place + len(sentence)]
        place += len(sentence)
        tags[number] = [chain.rsplit(" ", 1)[-1] or NO_TAG for chain in part]
    return tags
