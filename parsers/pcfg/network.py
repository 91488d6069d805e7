"""The networks that give rules and words their probabilities, and sentences their vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from parsers.pcfg.low_rank import Factors
from parsers.pcfg.scores import LowRankScores, Scores


class Conditional(nn.Module):
    """A linear map of vectors with a sentence's vector beside each; the two parts are multiplied apart.

    Parameters
    ----------
    inputs, latent, outputs : int
        Widths.
    """

    def __init__(self, inputs: int, latent: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.map = inputs, nn.Linear(inputs + latent, outputs)

    def forward(self, vectors: Tensor, latent: Tensor | None) -> Tensor:
        """Return (G, K, outputs) from (K, inputs) and (G, latent) or None."""
        own = functional.linear(vectors, self.map.weight[:, : self.inputs], self.map.bias)[None]
        if latent is None:
            return own
        return own + functional.linear(latent, self.map.weight[:, self.inputs :])[:, None]


class Residual(nn.Module):
    """x + ReLU(L(ReLU(L(x)))).

    Parameters
    ----------
    width : int
        Of the input and the output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return vectors of the same shape."""
        return vectors + torch.relu(self.second(torch.relu(self.first(vectors))))


class Deep(nn.Module):
    """A linear map, two residual blocks, a linear map.

    Parameters
    ----------
    width, latent, outputs : int
        Widths.
    """

    def __init__(self, width: int, latent: int, outputs: int) -> None:
        super().__init__()
        self.first = Conditional(width, latent, width)
        self.blocks = nn.Sequential(Residual(width), Residual(width))
        self.last = nn.Linear(width, outputs)

    def forward(self, vectors: Tensor, latent: Tensor | None) -> Tensor:
        """Return (G, K, outputs)."""
        result: Tensor = self.last(self.blocks(self.first(vectors, latent)))
        return result


class GrammarNetwork(nn.Module):
    """Probabilities of a grammar from vectors of its symbols, [Kim2019, section 2].

    Parameters
    ----------
    nonterminals, preterminals, width : int
        As in `parsers.pcfg.options.GrammarOptions`.
    vocabulary : int
        Numbers that words may have.
    latent : int, default 0
        Width of the sentences' vectors, if they have some.
    """

    def __init__(self, nonterminals: int, preterminals: int, width: int, vocabulary: int, latent: int = 0) -> None:
        super().__init__()
        self.symbols = nonterminals + preterminals
        self.root = nn.Parameter(torch.randn(1, width))
        self.nonterminals = nn.Parameter(torch.randn(nonterminals, width))
        self.preterminals = nn.Parameter(torch.randn(preterminals, width))
        self.root_map = Deep(width, latent, nonterminals)
        self.rule_map = Conditional(width, latent, self.symbols**2)
        self.word_map = Deep(width, latent, vocabulary)
        spread_matrices(self)

    def forward(self, ids: Tensor, latent: Tensor | None = None) -> Scores:
        """Return the scores of sentences, from int64 (B, N) and float (B, latent) or None."""
        roots = self.root_map(self.root, latent)[:, 0].log_softmax(-1)
        rules = self.rule_map(self.nonterminals, latent).log_softmax(-1)
        rules = rules.unflatten(-1, (self.symbols, self.symbols))
        return Scores(roots, rules, word_scores(self.word_map(self.preterminals, latent), ids))


class LowRankNetwork(nn.Module):
    """Probabilities of a grammar whose rules are a sum of products, [Yang2021].

    Parameters
    ----------
    nonterminals, preterminals, width, vocabulary : int
        As for `GrammarNetwork`.
    rank : int
        Products that the rules are a sum of.
    """

    def __init__(self, nonterminals: int, preterminals: int, width: int, vocabulary: int, rank: int) -> None:
        super().__init__()
        self.root = nn.Parameter(torch.randn(1, width))
        self.nonterminals = nn.Parameter(torch.randn(nonterminals, width))
        self.preterminals = nn.Parameter(torch.randn(preterminals, width))
        self.ranks = nn.Parameter(torch.randn(rank, width))
        self.root_map, self.word_map = Deep(width, 0, nonterminals), Deep(width, 0, vocabulary)
        self.parent_map, self.left_map, self.right_map = (nn.Linear(width, width) for _ in range(3))
        spread_matrices(self)

    def forward(self, ids: Tensor) -> LowRankScores:
        """Return the scores of sentences, from int64 (B, N)."""
        every = torch.cat([self.nonterminals, self.preterminals])
        parents = self._factors(self.parent_map, self.nonterminals).softmax(1)
        lefts, rights = (self._factors(own, every).softmax(0) for own in (self.left_map, self.right_map))
        roots = self.root_map(self.root, None)[0, 0].softmax(-1)
        words = word_scores(self.word_map(self.preterminals, None), ids)
        return LowRankScores(Factors.of(roots, parents, lefts, rights), words)

    def _factors(self, own: nn.Linear, symbols: Tensor) -> Tensor:
        return torch.relu(own(symbols)) @ self.ranks.T


def word_scores(logits: Tensor, ids: Tensor) -> Tensor:
    """Return log-probabilities (B, N, T) of the words of sentences from logits (G, T, V)."""
    norms = torch.logsumexp(logits, -1)
    if len(logits) == 1:
        chosen = functional.embedding(ids, logits[0].T)
    else:
        chosen = logits.gather(2, ids[:, None].expand(-1, logits.shape[1], -1)).transpose(1, 2)
    return chosen - norms[:, None]


def spread_matrices(model: nn.Module) -> None:
    """Draw all matrices anew, Xavier-uniform, vectors of symbols and of words as well; biases stay."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


class Posterior(nn.Module):
    """Guesses a sentence's vector: a BiLSTM, its largest output over the words, mean and log-variance.

    Parameters
    ----------
    vocabulary : int
        Numbers that words may have.
    width : int
        Of the words' vectors and of each direction.
    latent : int
        Numbers in a sentence's vector.
    """

    def __init__(self, vocabulary: int, width: int, latent: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * width, 2 * latent)
        spread_matrices(self)

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-variances (B, latent)."""
        packed = pack_padded_sequence(self.words(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, padding_value=float("-inf"))
        mean, log_variance = self.out(outputs.amax(1)).chunk(2, -1)
        return mean, log_variance


class CompoundNetwork(nn.Module):
    """A grammar whose probabilities depend on a vector of the sentence, and the guess of that vector.

    Parameters
    ----------
    grammar : GrammarNetwork
        With vectors of sentences.
    posterior : Posterior
        Of the same width of vectors.
    """

    def __init__(self, grammar: GrammarNetwork, posterior: Posterior) -> None:
        super().__init__()
        self.grammar, self.posterior = grammar, posterior


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, I)) of each row, [Kim2019, section 3].

    Parameters
    ----------
    mean, log_variance : Tensor, shape (B, latent)

    Returns
    -------
    Tensor, shape (B,)

    Examples
    --------
    >>> divergence(torch.zeros(1, 2), torch.zeros(1, 2)).tolist()
    [0.0]
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(-1)
