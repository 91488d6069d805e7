"""Options of ConTest; nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from parsers.contest.constituency_tests import names_of
from parsers.options import TeacherOptions, option
from parsers.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class ConTestOptions(TeacherOptions):
    """What ConTest depends on besides its text and the training's own options.

    Parameters
    ----------
    longest, batch_tokens, held_out, vocabulary
        As in `parsers.options.TeacherOptions`, but that `vocabulary` is refused: the encoder has its own.
    encoder : str
        Folder of a Hugging Face encoder; its weights are trained and saved with the teacher. Nothing is downloaded.
    layers : int, default 3
        The first layers of the encoder that are used; 0 for all. Training and parsing cost as many.
    pooling : str, default "mean"
        How a string becomes a vector: the ``mean`` of its subwords', or that of the ``first``.
    dropout : float, default 0.1
        Share of zeros in that vector, in training.
    tests : str, default "it,coordination"
        Names of `parsers.contest.constituency_tests.GROUPS` or TESTS, separated by commas, or ``all``. A parse costs as
        much as there are tests.
    faithful : bool, default False
        Keep oddities of the published program; see `parsers.contest.constituency_tests.end` and
        `parsers.contest.corruptions.corrupt`.
    refinement : int, default 1
        The last so many epochs train on the teacher's own trees; fewer than there are epochs.
    refined : int, default 300
        Sentences of each of these epochs, drawn anew.
    refined_longest : int, default 25
        Longer sentences are not refined on: a sentence of n words has about 4 n² tests.
    refined_batch : int, default 8
        Sentences of a batch in these epochs.
    learnt_strings : int, default 16
        Tests of each sentence, drawn anew, that are learnt from.
    precision : str, default "auto"
        Of numbers where nothing is learnt: ``float32``, ``bfloat16``, ``int8``, or ``auto``; see
        `parsers.nn.strings.StringEncoder`.

    Raises
    ------
    ArgumentError
        A value is of another type or out of range.

    Examples
    --------
    >>> ConTestOptions(tests="coordination,clefts")
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: tests: expected one of 'all', ... got 'clefts'. ...
    """

    unused: ClassVar[frozenset[str]] = frozenset({"vocabulary"})

    encoder: str | None = option(None, "folder of a Hugging Face encoder; needed")
    layers: int = option(3, "first layers of the encoder that are used, 0 for all", least=0)
    pooling: str = option("mean", "how a string becomes a vector", choices=("mean", "first"))
    dropout: float = option(0.1, "share of zeros in that vector, in training", least=0, below=1)
    tests: str = option("it,coordination", "names of tests or groups of tests, separated by commas, or all")
    faithful: bool = option(False, "keep oddities of the published program")
    refinement: int = option(1, "the last epochs, which train on the teacher's own trees", least=0)
    refined: int = option(300, "sentences of each of these epochs", least=1)
    refined_longest: int = option(25, "longest sentence, in words, of these epochs", least=3)
    refined_batch: int = option(8, "sentences of a batch in these epochs", least=1)
    learnt_strings: int = option(16, "tests of each sentence that are learnt from", least=1)
    precision: str = option(
        "auto", "of numbers where nothing is learnt", choices=("auto", "float32", "bfloat16", "int8")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        names_of(self.tests)

    @classmethod
    def presets(cls) -> dict[str, tuple[Self, TrainingConfig]]:
        """Return the recipe for some thousand sentences on one core, and the published one.

        Returns
        -------
        dict

        Examples
        --------
        >>> ConTestOptions.presets()["paper"][0].refined
        5000
        """
        small = TrainingConfig(
            epochs=7, learning_rate=1e-3, encoder_learning_rate=1e-4, schedule="constant", warmup=0.05
        )  # fmt: skip
        paper = cls(
            layers=0, pooling="first", tests="all", faithful=True, refined=5000, refined_longest=40, refined_batch=4
        )  # fmt: skip
        published = TrainingConfig(
            epochs=2, learning_rate=3e-5, encoder_learning_rate=3e-5, schedule="constant", warmup=0.05,
            weight_decay=0.0, clip=0.0, accumulate=8,
        )  # fmt: skip
        return {"small": (cls(), small), "paper": (paper, published)}
