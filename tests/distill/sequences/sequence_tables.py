"""Sequence distributions small enough to enumerate, as tables of conditional laws; tiny transformers beside them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

EOS = 0


@dataclass(frozen=True)
class Table:
    """A distribution over strings that end at EOS (id 0) or at `longest` tokens: logits for each prefix without EOS."""

    logits: dict[tuple[int, ...], Tensor]
    size: int
    longest: int

    @classmethod
    def random(cls, seed: int, *, size: int = 4, longest: int = 3, scale: float = 1.0) -> Table:
        generator = torch.Generator().manual_seed(seed)
        prefixes = [prefix for length in range(longest) for prefix in itertools.product(range(1, size), repeat=length)]
        return cls(
            {p: scale * torch.randn(size, generator=generator, dtype=torch.float64) for p in prefixes}, size, longest
        )

    @classmethod
    def of(cls, laws: dict[tuple[int, ...], list[float]], longest: int) -> Table:
        """Make one of probabilities."""
        logits = {prefix: torch.tensor(law, dtype=torch.float64).log() for prefix, law in laws.items()}
        return cls(logits, len(next(iter(laws.values()))), longest)

    def outcomes(self) -> list[tuple[int, ...]]:
        """Return every string, its EOS included where it has one."""
        found = []
        for length in range(1, self.longest + 1):
            for body in itertools.product(range(1, self.size), repeat=length - 1):
                found.append((*body, EOS))
                if length == self.longest:
                    found += [(*body, last) for last in range(1, self.size)]
        return found

    def log_prob(self, string: tuple[int, ...]) -> Tensor:
        laws = [self.logits[string[:place]].log_softmax(-1)[token] for place, token in enumerate(string)]
        return torch.stack(laws).sum()

    def prefixes(self) -> dict[tuple[int, ...], Tensor]:
        """Return the probability of each prefix that has a next token."""
        return {
            prefix: self.log_prob(prefix).exp() if prefix else torch.ones((), dtype=torch.float64)
            for prefix in self.logits
        }

    def batch(self, strings: list[tuple[int, ...]]) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, T, V), targets (B, T) padded with EOS, and mask (B, T)."""
        longest = max(map(len, strings))
        targets = torch.full((len(strings), longest), EOS)
        mask = torch.zeros(len(strings), longest, dtype=torch.bool)
        rows = []
        for row, string in enumerate(strings):
            targets[row, : len(string)] = torch.tensor(string)
            mask[row, : len(string)] = True
            laws = [self.logits[string[:place]] for place in range(len(string))]
            rows.append(torch.stack(laws + [torch.zeros_like(laws[0])] * (longest - len(string))))
        return torch.stack(rows), targets, mask

    def trainable(self) -> Table:
        """Return a copy whose logits collect gradients."""
        return Table({p: z.clone().requires_grad_() for p, z in self.logits.items()}, self.size, self.longest)


#: Golden S of the specification: strings E, aE, aa.
GOLDEN_P = {(): [0.2, 0.8], (1,): [0.5, 0.5]}
GOLDEN_Q = {(): [0.5, 0.5], (1,): [0.9, 0.1]}


def golden() -> tuple[Table, Table]:
    return Table.of(GOLDEN_P, 2), Table.of(GOLDEN_Q, 2)


def entropy(table: Table) -> float:
    return -math.fsum(float(table.log_prob(s).exp() * table.log_prob(s)) for s in table.outcomes())


def tiny_causal(seed: int = 0, *, vocabulary: int = 20, layers: int = 2, width: int = 16):
    """Return a GPT-2 of a few thousand weights: pad = eos = 0."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=64, n_embd=width, n_layer=layers, n_head=2,
        bos_token_id=1, eos_token_id=0, pad_token_id=0, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def tiny_seq2seq(seed: int = 0, *, vocabulary: int = 20, layers: int = 2, width: int = 16):
    """Return a T5 of a few thousand weights: pad = decoder start = 0, eos = 1."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=2 * width, num_layers=layers, num_decoder_layers=layers,
        num_heads=2, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, dropout_rate=0.1,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)
