"""Options of an ON-LSTM; nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from parsers.options import TeacherOptions, option
from parsers.training.config import TrainingConfig
from treeavg.errors import ArgumentError

#: How a tree follows from the distances; see `parsers.on_lstm.distances`.
READINGS = ("original", "unbiased")


@dataclass(frozen=True, kw_only=True)
class ONLSTMOptions(TeacherOptions):
    """What an ON-LSTM depends on besides its text and the training's own options.

    Parameters
    ----------
    longest : int, default 40
        As in `parsers.options.TeacherOptions`.
    batch_tokens : int, default 500
        Words of a batch: padding included where `row` is 1, else ends of sentences.
    held_out, vocabulary
        As in `parsers.options.TeacherOptions`.
    embedding : int, default 100
        Width of the word vectors, and so of the last layer, which the output shares them with.
    hidden : int, default 200
        Width of the other layers.
    layers : int, default 3
        How many.
    row : int, default 1
        In training, sentences are read one after another until there are so many words, then from a zero state again;
        1 reads each from a zero state, as parsing does.
    chunk : int, default 10
        Neurons that share their master gates; divides `embedding` and `hidden` into two parts or more.
    reading_layer : int, default 2
        The layer, from 1, whose distances make the tree.
    reading : str, default "original"
        ``original``: the word at a split stands apart from all that follows it; ``unbiased``: both sides are alike.
    word_dropout : float, default 0.1
        Share of the vocabulary whose words are read as zero.
    input_dropout, layer_dropout, output_dropout : float, defaults 0.4, 0.2, 0.4
        Share of zeros in the word vectors, between the layers, and before the output: the same ones for all words of a
        sentence.
    weight_dropout : float, default 0.3
        Share of the recurrent weights that are zero.
    activation : float, default 2.0
        Weight of the mean square of the last layer's states.
    temporal : float, default 1.0
        Weight of the mean square of their change from word to word.

    Raises
    ------
    ArgumentError
        A value is of another type or out of range.

    Examples
    --------
    >>> ONLSTMOptions(chunk=7)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: chunk: expected a divisor of embedding 100 and hidden 200, at most half of each...
    """

    batch_tokens: int = option(500, "words of a batch", least=1)
    embedding: int = option(100, "width of the word vectors and of the last layer", least=1)
    hidden: int = option(200, "width of the other layers", least=1)
    layers: int = option(3, "number of layers", least=1)
    row: int = option(1, "words that are read one after another in training, in whole sentences", least=1)
    chunk: int = option(10, "neurons that share their master gates", least=1)
    reading_layer: int = option(2, "layer, from 1, whose distances make the tree", least=1)
    reading: str = option("original", "how the tree follows from the distances", choices=READINGS)
    word_dropout: float = option(0.1, "share of the vocabulary whose words are read as zero", least=0, below=1)
    input_dropout: float = option(0.4, "share of zeros in the word vectors", least=0, below=1)
    layer_dropout: float = option(0.2, "share of zeros between layers", least=0, below=1)
    output_dropout: float = option(0.4, "share of zeros before the output", least=0, below=1)
    weight_dropout: float = option(0.3, "share of the recurrent weights that are zero", least=0, below=1)
    activation: float = option(2.0, "weight of the mean square of the last layer", least=0)
    temporal: float = option(1.0, "weight of the mean square of its change from word to word", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        narrow = min(self.embedding, self.hidden)
        if self.embedding % self.chunk or self.hidden % self.chunk or narrow < 2 * self.chunk:  # one gate is shut
            raise ArgumentError(
                f"chunk: expected a divisor of embedding {self.embedding} and hidden {self.hidden}, at most half of "
                f"each, got {self.chunk}. Try 10, and multiples of it."
            )
        if self.reading_layer > self.layers:
            raise ArgumentError(
                f"reading_layer: expected one of the {self.layers} layers, got {self.reading_layer}. "
                "Name one that is there."
            )

    @property
    def sizes(self) -> list[int]:
        """Widths of the layers."""
        return [self.hidden] * (self.layers - 1) + [self.embedding]

    @classmethod
    def presets(cls) -> dict[str, tuple[Self, TrainingConfig]]:
        """Return the options and the training for some thousand sentences, and those of [Shen2019].

        Returns
        -------
        dict

        Notes
        -----
        ``paper`` has the sizes, the regularisers and the steps of the published command: SGD over 1000 epochs. A moving
        average of the weights stands for their plain average from the moment when the held-out loss stalls.

        Examples
        --------
        >>> ONLSTMOptions.presets()["paper"][0].hidden
        1150
        """
        small = TrainingConfig(epochs=50, learning_rate=1e-2, weight_decay=0.0)
        published = cls(
            longest=100, batch_tokens=1400, embedding=400, hidden=1150, row=70,
            input_dropout=0.5, layer_dropout=0.3, output_dropout=0.45, weight_dropout=0.45,
        )  # fmt: skip
        paper = TrainingConfig(
            epochs=1000, optimizer="sgd", learning_rate=30.0, schedule="constant", warmup=0.0, weight_decay=1.2e-6,
            clip=0.25, average="ema",
        )  # fmt: skip
        return {
            "small": (cls(reading_layer=3), small),
            "paper": (published, paper),
        }
