"""The Compound PCFG: a Neural PCFG whose probabilities depend on a vector of the sentence."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from parsers.pcfg.grammar import TOGETHER, GrammarTask, GrammarTeacher
from parsers.pcfg.network import CompoundNetwork, GrammarNetwork, Posterior, divergence
from parsers.pcfg.options import CompoundPCFGOptions
from parsers.pcfg.scores import Grammar
from parsers.text_task import Text
from parsers.training import TrainingConfig


class CompoundTask(GrammarTask):
    """Minus the evidence lower bound with one sampled vector a sentence, [Kim2019, section 3]."""

    def loss_of(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the summed loss."""
        pieces = zip(torch.split(ids, TOGETHER), torch.split(lengths, TOGETHER), strict=True)
        parts = [loss(self.model, own, sizes).sum() for own, sizes in pieces]
        return torch.stack(parts).sum()


def loss(model: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    """Return minus the lower bound of each sentence's log-probability, shape (B,)."""
    mean, log_variance = model.posterior(ids, lengths)
    latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    fit: Tensor = model.grammar(ids, latent).log_partition(lengths)
    return divergence(mean, log_variance) - fit


class CompoundPCFG(GrammarTeacher):
    """A grammar whose probabilities depend on a vector of the sentence, guessed by an LSTM.

    Make one with `fit` or `load`. Trees and span scores, posterior probabilities, are those of the guess's mean.

    Parameters
    ----------
    model : CompoundNetwork
        The network.
    reader : WordReader
        What it reads.
    options : CompoundPCFGOptions
        How it was built and trained.
    result : TrainingResult, optional
        How the training went.

    Notes
    -----
    [Kim2019, section 3].

    Examples
    --------
    >>> import tempfile
    >>> parser = CompoundPCFG.fit(
    ...     [["it", "rains", "often"], ["it", "rains"]], folder=tempfile.mkdtemp() + "/run", device="cpu",
    ...     options=CompoundPCFGOptions(nonterminals=2, preterminals=3, width=8, latent=2, encoder=4, held_out=0),
    ...     training=TrainingConfig(epochs=2),
    ... )
    >>> len(parser.parse([["it", "rains", "often"]])[0].spans)
    2
    """

    kind: ClassVar[str] = "compound-pcfg"
    model: CompoundNetwork
    options_class = CompoundPCFGOptions

    @classmethod
    def _build(cls, options: Any, reader: Any) -> nn.Module:
        words = len(reader.vocabulary)
        grammar = GrammarNetwork(options.nonterminals, options.preterminals, options.width, words, options.latent)
        return CompoundNetwork(grammar, Posterior(words, options.encoder, options.latent))

    @classmethod
    def _task(cls, model: Any, reader: Any, text: Text, options: Any, training: TrainingConfig) -> CompoundTask:
        return CompoundTask(model, reader, text, options)

    def _grammar(self, ids: Tensor, lengths: Tensor) -> Grammar:
        mean, _ = self.model.posterior(ids, lengths)
        scores: Grammar = self.model.grammar(ids, mean)
        return scores
