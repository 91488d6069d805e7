"""What a DIORA and an S-DIORA depend on besides their text and the training's own options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from parsers.options import TeacherOptions, option
from parsers.training.config import TrainingConfig

#: How two vectors become one; ``mlp-shared`` has the same weights inside and outside.
COMPOSITIONS = ("mlp-shared", "mlp", "treelstm")
#: Cross entropy of the true word against the negatives; or a margin of 1 over each.
LOSSES = ("softmax", "margin")
#: Options of the network, which an S-DIORA takes from the DIORA it starts from.
NETWORK = ("size", "composition", "vectors", "words", "vocabulary")


@dataclass(frozen=True, kw_only=True)
class DIORAOptions(TeacherOptions):
    """What a DIORA depends on besides its text.

    Parameters
    ----------
    longest, batch_tokens, held_out, vocabulary
        As for `parsers.options.TeacherOptions`.
    size : int, default 50
        Width of the vectors of spans.
    composition : str, default "mlp-shared"
        One of `COMPOSITIONS`.
    loss : str, default "softmax"
        One of `LOSSES`.
    negatives : int, default 100
        Words drawn for each batch, which the true ones are told from.
    vectors : str, optional
        Folder of a Hugging Face encoder: its vectors of word pieces make those of words, and stay as they are. By
        default, vectors of words are learnt.
    words : int, default 100
        Width of the vectors of words that are learnt.
    init : float, default 0.1
        Standard deviation of new matrices and of the root's vector.
    bias_init : float, default 0.0
        Standard deviation of new biases.

    Raises
    ------
    ArgumentError
        A value is of another type or out of range.

    Examples
    --------
    >>> DIORAOptions(size=400).loss
    'softmax'
    """

    size: int = option(50, "width of the vectors of spans", least=1)
    composition: str = option("mlp-shared", "how two vectors become one", choices=COMPOSITIONS)
    loss: str = option("softmax", "how the true word is told from the negatives", choices=LOSSES)
    negatives: int = option(100, "words drawn for each batch, which the true ones are told from", least=1)
    vectors: str | None = option(None, "folder of a Hugging Face encoder, whose vectors of word pieces are used")
    words: int = option(100, "width of the vectors of words that are learnt", least=1)
    init: float = option(0.1, "standard deviation of new matrices", above=0)
    bias_init: float = option(0.0, "standard deviation of new biases", least=0)

    @classmethod
    def presets(cls) -> dict[str, tuple[Self, TrainingConfig]]:
        """Return the options and the training of the presets ``small`` and ``paper``.

        Returns
        -------
        dict

        Examples
        --------
        >>> DIORAOptions.presets()["paper"][0].size
        400
        """
        small = TrainingConfig(epochs=10, learning_rate=2e-3, weight_decay=0.0, clip=5.0)
        paper = TrainingConfig(
            epochs=10, learning_rate=2e-3, schedule="constant", warmup=0.0, weight_decay=0.0, clip=5.0
        )
        return {
            "small": (cls(longest=20, batch_tokens=200), small),
            "paper": (cls(size=400, init=1.0, bias_init=1.0, longest=20, batch_tokens=640), paper),
        }


@dataclass(frozen=True, kw_only=True)
class SDIORAOptions(DIORAOptions):
    """What an S-DIORA depends on besides its text.

    Parameters
    ----------
    longest, batch_tokens, held_out, vocabulary, size, composition, loss, negatives, vectors, words, init, bias_init
        As for `DIORAOptions`, but without the TreeLSTM. With `start`, those of `NETWORK` are that parser's; the loss
        and the negatives are for the first epochs only.
    beams : int, default 3
        Trees kept for each span, in training and in parsing.
    start : str, optional
        Folder of a saved DIORA to start from.
    start_epochs : int, default 10
        Epochs of training as a DIORA before those as an S-DIORA; none by default where there is a `start`.

    Raises
    ------
    ArgumentError
        A value is of another type or out of range.

    Examples
    --------
    >>> SDIORAOptions(beams=0)
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: beams: expected a whole number, at least 1, got 0. Leave it out for 3.
    """

    composition: str = option("mlp-shared", "how two vectors become one", choices=("mlp-shared", "mlp"))
    beams: int = option(3, "trees kept for each span, in training and in parsing", least=1)
    start: str | None = option(None, "folder of a saved DIORA to start from")
    start_epochs: int = option(10, "epochs of training as a DIORA before, by default none with a start", least=0)

    @classmethod
    def presets(cls) -> dict[str, tuple[Self, TrainingConfig]]:
        """Return the options and the training of the presets ``small`` and ``paper``.

        Returns
        -------
        dict

        Examples
        --------
        >>> SDIORAOptions.presets()["paper"][1].epochs
        5
        """
        small, paper = super().presets()["small"], super().presets()["paper"]
        own = replace(paper[0], longest=30, batch_tokens=480, start_epochs=0)
        return {"small": (small[0], replace(small[1], epochs=14)), "paper": (own, replace(paper[1], epochs=5))}
