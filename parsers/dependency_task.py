"""The training of a student of dependency trees, as the training loop wants it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parsers.nn.arcs import ArcScores
from parsers.nn.batches import token_batches
from parsers.nn.encoders import EncoderConfig, build
from parsers.nn.pretrained import load_tokenizer
from parsers.nn.text import TextReader
from parsers.training import seed_for
from treeavg.alignment import Places
from treeavg.distill.dependency_crf import DependencyCRF
from treeavg.distill.dependency_losses import KINDS, TeacherHeads, dependency_loss
from treeavg.errors import ArgumentError, LimitError, unknown

#: Sums over trees take time and memory in proportion to the cube of the words: there is no training on longer
#: sentences, and batches of more than so many cells are divided.
LONGEST, MOST_CELLS = 400, 2**27
#: How a tree is chosen: the largest expected number of right heads (minimum Bayes risk), or the best score.
DECODERS = ("mbr", "argmax")


@dataclass(frozen=True)
class DependencyOptions:
    """What a student depends on besides its text, its encoder and the training's own options.

    Parameters
    ----------
    loss : str, default "kl"
        One of `treeavg.distill.dependency_losses.KINDS`.
    temperature : float, default 1.0
        Divides the votes in the teachers' distribution; of ``kl`` and ``rkl``.
    projective : bool, default True
        Projective trees only, else trees of any shape.
    size : int, default 200
        Width of what is known of a word as a head, and as a dependent.
    batch_tokens : int, default 1000
        Words of a batch, padding included.
    held_out : float, default 0.05
        Share of the sentences that choose the weights instead of being trained on.

    Raises
    ------
    ArgumentError
        A value is unknown or out of range.

    Examples
    --------
    >>> DependencyOptions(loss="head").projective
    True
    """

    loss: str = "kl"
    temperature: float = 1.0
    projective: bool = True
    size: int = 200
    batch_tokens: int = 1000
    held_out: float = 0.05

    def __post_init__(self) -> None:
        if self.loss not in KINDS:
            raise unknown("loss", self.loss, KINDS)
        if not 0 < self.temperature < math.inf:
            raise ArgumentError(f"temperature: expected a finite number above 0, got {self.temperature!r}. Try 1.")
        if self.temperature != 1 and self.loss not in ("kl", "rkl"):
            raise ArgumentError(
                f"temperature: expected 1 for the loss {self.loss!r}, which has none, got {self.temperature!r}. "
                "Leave it out."
            )
        if not 0 <= self.held_out < 1:
            raise ArgumentError(f"held_out: expected 0 to below 1, got {self.held_out!r}. Try 0.05.")
        if self.size < 1:
            raise ArgumentError(f"size: expected at least 1, got {self.size}. Try 200.")
        if self.batch_tokens < 1:
            raise ArgumentError(f"batch_tokens: expected at least 1, got {self.batch_tokens}. Try 1000.")


@dataclass(frozen=True)
class DependencyTask:
    """What `parsers.training.train` trains: sentences by their index among all of the teachers'."""

    model: ArcScores
    reader: TextReader
    heads: TeacherHeads
    words: list[list[str]]
    options: DependencyOptions
    seed: int
    chosen: NDArray[np.int64]  # what is trained on
    judged: tuple[list[list[str]], NDArray[np.int32]]  # words, and the heads to be found
    described: dict[str, Any]

    @classmethod
    def new(
        cls,
        heads: TeacherHeads,
        words: list[list[str]],
        options: DependencyOptions,
        encoder: EncoderConfig,
        seed: int,
        gold: tuple[list[list[str]], NDArray[np.int32]] | None,
    ) -> DependencyTask:
        """Divide the sentences, build the network."""
        usable = np.flatnonzero(heads.lengths > 0)
        order = np.random.default_rng(seed_for(seed, 0)).permutation(usable)
        aside = 0 if gold is not None else int(np.ceil(options.held_out * len(order)))
        chosen, held = np.sort(order[aside:]), np.sort(order[:aside] if aside else order)
        if not len(chosen):
            raise ArgumentError(
                f"teachers: expected sentences to train on, got {len(usable)} of which {aside} are held out. "
                "Pass more text, or held_out=0."
            )
        judged = gold if gold is not None else ([words[index] for index in held], heads.average[held].heads)
        tokenizer, limit = load_tokenizer(encoder.pretrained) if encoder.pretrained else (None, None)
        reader = TextReader.of([words[index] for index in chosen], tokenizer=tokenizer, limit=limit)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = ArcScores(build(encoder, reader), options.size)
        described = {
            **asdict(options),
            "encoder": encoder.to_json(),
            "sentences": len(usable),
            "held": len(held) if aside else 0,
            "data": _digest(words, heads, judged),
        }
        return cls(model, reader, heads, words, options, seed, chosen, judged, described)

    def epoch(self, number: int) -> Sequence[NDArray[np.int64]]:
        """Return the batches of an epoch."""
        lengths = self.heads.lengths[self.chosen]
        batches = token_batches(lengths, self.options.batch_tokens, seed=seed_for(self.seed, number))
        if self.options.loss != "head":
            batches = divided(batches, lengths)
        return [self.chosen[batch] for batch in batches]

    def items(self, batch: NDArray[np.int64]) -> int:
        """Return the number of arcs: one a word."""
        return int(self.heads.lengths[batch].sum())

    def loss(self, batch: NDArray[np.int64]) -> Tensor:
        """Return the summed loss."""
        device = self.model.prior.device
        scores = self.model(self.reader.batch([self.words[index] for index in batch]).to(device))
        targets = self.heads.batch(batch).to(device)
        student = DependencyCRF(scores, targets.lengths, projective=self.options.projective)
        temperature = self.options.temperature
        return dependency_loss(self.options.loss, student, targets, temperature=temperature, n_items=1)

    def names(self, batch: NDArray[np.int64]) -> str:
        """Return which sentences these are."""
        return "sentences " + ", ".join(map(str, batch.tolist())) + " (from 0)"

    def evaluate(self) -> Mapping[str, float]:
        """Return the share of right heads in percent: against the held-out averages, or against gold."""
        words, wanted = self.judged
        found = parse(
            self.model,
            self.reader,
            words,
            projective=self.options.projective,
            decode="mbr",
            batch_tokens=4 * self.options.batch_tokens,
        )
        return {"score": 100.0 * float(np.mean(found == wanted))}

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Return the parameters, those of a pretrained encoder apart."""
        pretrained = self.model.encoder.pretrained_parameters()
        known = {id(item) for item in pretrained}
        new = [item for item in self.model.parameters() if item.requires_grad and id(item) not in known]
        return {"pretrained": pretrained, "new": new}

    def describe(self) -> Mapping[str, Any]:
        """Return what the run depends on."""
        return self.described


def parse(
    model: ArcScores,
    reader: TextReader,
    words: list[list[str]],
    *,
    projective: bool,
    decode: str,
    batch_tokens: int,
) -> NDArray[np.int32]:
    """Return the heads of all words, in order; the model is left in evaluation mode.

    Parameters
    ----------
    model, reader
        The network and what it reads.
    words : list of list of str
        The sentences.
    projective : bool
        Projective trees only.
    decode : str
        ``mbr``: the tree with the largest expected number of right heads; ``argmax``: the one with the best score,
        which sentences of more than `LONGEST` words always get.
    batch_tokens : int
        Words at once.

    Returns
    -------
    ndarray of int32, shape (T,)
    """
    lengths = np.array([len(own) for own in words], np.int64)
    found: list[NDArray[np.int32]] = [np.empty(0, np.int32)] * len(words)
    # Long sentences apart, so that it does not depend on its neighbours how a sentence is decoded.
    short = lengths <= LONGEST
    groups = ((np.flatnonzero(short), decode), (np.flatnonzero(~short), "argmax"))
    model.eval()
    with torch.no_grad():
        for group, how in groups:
            sizes = lengths[group]
            for batch in divided(token_batches(sizes, batch_tokens), sizes):
                rows = group[batch].tolist()
                tokens = reader.batch([words[index] for index in rows])
                crf = DependencyCRF(model(tokens.to(model.prior.device)), tokens.lengths, projective=projective)
                heads = (crf.mbr() if how == "mbr" else crf.argmax()).cpu().numpy().astype(np.int32)
                for index, own in zip(rows, heads, strict=True):
                    found[index] = own[: lengths[index]]
    return np.concatenate([np.empty(0, np.int32), *found])


def divided(batches: Sequence[NDArray[np.int64]], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Divide batches whose sums over trees would take too much memory.

    Parameters
    ----------
    batches : sequence of ndarray of int64
        Indices into `lengths`.
    lengths : ndarray of int64
        Words of each sentence.

    Returns
    -------
    list of ndarray of int64

    Examples
    --------
    >>> [len(part) for part in divided([np.arange(9)], np.full(9, 300))]
    [4, 4, 1]
    """
    parts = []
    for batch in batches:
        most = max(MOST_CELLS // max(int(lengths[batch].max(initial=0)), 1) ** 3, 1)
        parts += [batch[first : first + most] for first in range(0, len(batch), most)]
    return parts


def require_short(heads: TeacherHeads, loss: str, places: Places) -> None:
    """Raise a LimitError where a sentence is too long for a loss over trees.

    Parameters
    ----------
    heads : TeacherHeads
        The training text's.
    loss : str
        As in `DependencyOptions`.
    places : Places
        How messages name the teachers.
    """
    longest = int(heads.lengths.argmax()) if len(heads) else 0
    if loss != "head" and len(heads) and heads.lengths[longest] > LONGEST:
        raise LimitError(
            f"{places.of(0, longest)}: expected at most {LONGEST} words for the loss {loss!r}, a sum over all trees, "
            f"got {heads.lengths[longest]}. Split the sentence, or pass loss='head'."
        )


def _digest(words: list[list[str]], heads: TeacherHeads, judged: tuple[list[list[str]], NDArray[np.int32]]) -> str:
    text = hashlib.sha256(repr((words, judged[0])).encode())
    for part in (heads.heads, heads.weights, judged[1]):
        text.update(np.ascontiguousarray(part).tobytes())
    return text.hexdigest()
