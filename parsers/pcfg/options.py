"""Options of the grammar teachers; nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from parsers.options import TeacherOptions, option
from parsers.training.config import TrainingConfig
from treeavg.errors import ArgumentError

#: Adam as published: no decay of weights, no schedule.
_PAPER = TrainingConfig(
    epochs=10, learning_rate=1e-3, schedule="constant", warmup=0.0, weight_decay=0.0, betas=(0.75, 0.999), clip=3.0
)
#: Batches are four times as large and the text is short: longer steps, which shrink.
_SMALL = replace(_PAPER, epochs=15, learning_rate=6e-3, schedule="linear")

#: The tree of the most probable labelled tree; the tree with the most expected spans.
DECODERS = ("viterbi", "mbr")


@dataclass(frozen=True, kw_only=True)
class GrammarOptions(TeacherOptions):
    """What the Neural PCFG and the Compound PCFG have in common.

    Parameters
    ----------
    nonterminals : int, default 30
        Symbols of spans of two words or more.
    preterminals : int, default 60
        Symbols of words.
    width : int, default 256
        Of the symbols' vectors and of the layers over them.
    sentences : int, default 4
        The most sentences of a batch, within ``batch_tokens``.
    first_longest : int, default 30
        The longest sentence of the first epoch; each epoch adds a word, up to ``longest``.
    at_least : int, default 1
        Words that occur more rarely are unknown. Where no word of the text is unknown, unknown words are never learned.
    decode : str, default "viterbi"
        One of `DECODERS`: how trees are read.

    Examples
    --------
    >>> GrammarOptions(preterminals=20).preterminals
    20
    """

    nonterminals: int = option(30, "symbols of spans of two words or more", least=1)
    preterminals: int = option(60, "symbols of words", least=1)
    width: int = option(256, "width of the symbols' vectors", least=1)
    sentences: int = option(4, "the most sentences of a batch", least=1)
    first_longest: int = option(30, "longest sentence of the first epoch; each epoch adds a word", least=2)
    at_least: int = option(1, "words that occur more rarely are unknown", least=1)
    decode: str = option("viterbi", "how trees are read: viterbi or mbr", choices=DECODERS)


@dataclass(frozen=True, kw_only=True)
class NeuralPCFGOptions(GrammarOptions):
    """Options of `NeuralPCFG`.

    Parameters
    ----------
    longest, batch_tokens, held_out, vocabulary
        As in `TeacherOptions`.
    nonterminals, preterminals, width, sentences, first_longest, at_least, decode
        As in `GrammarOptions`.
    rank : int, default 0
        Above 0, the rules are a sum of so many products (a TN-PCFG), for hundreds of symbols; trees are then read by
        ``mbr``.

    Raises
    ------
    ArgumentError
        A value is out of range, or `decode` is ``viterbi`` with a `rank`.

    Examples
    --------
    >>> NeuralPCFGOptions(rank=100)
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: decode: expected 'mbr' with a rank, got 'viterbi'. Pass decode='mbr', or rank=0.
    """

    rank: int = option(0, "products that the rules are a sum of (TN-PCFG); 0: every rule its own", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank and self.decode != "mbr":
            raise ArgumentError(
                f"decode: expected 'mbr' with a rank, got {self.decode!r}. Pass decode='mbr', or rank=0."
            )

    @classmethod
    def presets(cls) -> dict[str, tuple[Self, TrainingConfig]]:
        """Return the options for some thousand sentences, and those of the paper.

        Returns
        -------
        dict

        Examples
        --------
        >>> NeuralPCFGOptions.presets()["paper"][1].epochs
        10
        """
        small = cls(sentences=16, at_least=2, decode="mbr")
        return {"small": (small, _SMALL), "paper": (cls(batch_tokens=100_000), _PAPER)}


@dataclass(frozen=True, kw_only=True)
class CompoundPCFGOptions(GrammarOptions):
    """Options of `CompoundPCFG`.

    Parameters
    ----------
    longest, batch_tokens, held_out, vocabulary
        As in `TeacherOptions`.
    nonterminals, preterminals, width, sentences, first_longest, at_least, decode
        As in `GrammarOptions`.
    latent : int, default 64
        Numbers in a sentence's vector.
    encoder : int, default 512
        Width of the word vectors, and of each direction of the LSTM, that guess the vector from the sentence.

    Examples
    --------
    >>> CompoundPCFGOptions().latent
    64
    """

    latent: int = option(64, "numbers in a sentence's vector", least=1)
    encoder: int = option(512, "width of the LSTM that guesses a sentence's vector", least=1)

    @classmethod
    def presets(cls) -> dict[str, tuple[Self, TrainingConfig]]:
        """Return the options for some thousand sentences, and those of the paper.

        Returns
        -------
        dict

        Examples
        --------
        >>> CompoundPCFGOptions.presets()["small"][0].decode
        'mbr'
        """
        small = cls(sentences=16, at_least=2, decode="mbr", encoder=128)
        return {"small": (small, _SMALL), "paper": (cls(batch_tokens=100_000), _PAPER)}
