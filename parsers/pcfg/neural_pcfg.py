"""The Neural PCFG: a grammar with neural probabilities, trained on the likelihood of sentences."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from parsers.pcfg.grammar import GrammarTask, GrammarTeacher
from parsers.pcfg.network import GrammarNetwork, LowRankNetwork
from parsers.pcfg.options import NeuralPCFGOptions
from parsers.pcfg.scores import Grammar
from parsers.text_task import Text
from parsers.training import TrainingConfig


class NeuralTask(GrammarTask):
    """Minus the log-probabilities of sentences, [Kim2019, section 2]."""

    def loss_of(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the summed loss."""
        total: Tensor = self.model(ids).log_partition(lengths).sum()
        return -total


class NeuralPCFG(GrammarTeacher):
    """A probabilistic context-free grammar whose probabilities come from vectors of its symbols.

    Make one with `fit` or `load`. Its span scores are posterior probabilities.

    Parameters
    ----------
    model : GrammarNetwork or LowRankNetwork
        The network.
    reader : WordReader
        What it reads.
    options : NeuralPCFGOptions
        How it was built and trained.
    result : TrainingResult, optional
        How the training went.

    Notes
    -----
    [Kim2019, section 2]; with ``options.rank``, [Yang2021].

    Examples
    --------
    >>> import tempfile
    >>> parser = NeuralPCFG.fit(
    ...     [["it", "rains", "often"], ["it", "rains"]], folder=tempfile.mkdtemp() + "/run", device="cpu",
    ...     options=NeuralPCFGOptions(nonterminals=2, preterminals=3, width=8, held_out=0),
    ...     training=TrainingConfig(epochs=2),
    ... )
    >>> len(parser.parse([["it", "rains", "often"]])[0].spans)
    2
    """

    kind: ClassVar[str] = "neural-pcfg"
    options_class = NeuralPCFGOptions

    @classmethod
    def _build(cls, options: Any, reader: Any) -> nn.Module:
        sizes = options.nonterminals, options.preterminals, options.width, len(reader.vocabulary)
        return LowRankNetwork(*sizes, options.rank) if options.rank else GrammarNetwork(*sizes)

    @classmethod
    def _task(cls, model: Any, reader: Any, text: Text, options: Any, training: TrainingConfig) -> NeuralTask:
        return NeuralTask(model, reader, text, options)

    def _grammar(self, ids: Tensor, lengths: Tensor) -> Grammar:
        scores: Grammar = self.model(ids)
        return scores
