"""Options of ContexDistort; nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from parsers.options import TeacherOptions, option
from parsers.training.config import TrainingConfig
from treeavg.errors import ArgumentError

#: Of the encoder's arithmetic; the distortions are summed up in float32.
PRECISIONS = ("auto", "float32", "bfloat16", "int8")


@dataclass(frozen=True, kw_only=True)
class ContexDistortOptions(TeacherOptions):
    """What the costs of spans are made of.

    Parameters
    ----------
    longest, batch_tokens, held_out, vocabulary
        Mean nothing here, since nothing is trained, and are refused.
    encoder : str
        The folder of a Hugging Face encoder whose vocabulary has a mask token.
    layer : int, default -1
        The hidden layer that is read: 0 is the embeddings, L the last. -1 is chosen by `fit`: the best of the last
        three layers where gold trees are given, else round(0.8 L).
    substitution, decontextualisation, movement : bool, default True
        Which perturbations are averaged; at least one.
    masks : bool, default True
        A span that is taken out of its context stands between mask tokens; False: alone.
    normalise : bool, default True
        Divide the costs of the spans of each width by their Euclidean norm.
    precision : str, default "auto"
        Of the encoder: ``float32``, ``bfloat16``, ``int8`` (fast, and coarse: other trees), or ``auto``; see
        `parsers.nn.strings.StringEncoder`.

    Raises
    ------
    ArgumentError
        A value is of another type or out of range, or no perturbation is left.

    Examples
    --------
    >>> ContexDistortOptions(encoder="bert", layer=10).movement
    True
    >>> ContexDistortOptions(substitution=False, decontextualisation=False, movement=False)
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: movement: expected at least one perturbation, got none. Leave one at True.
    """

    unused: ClassVar[frozenset[str]] = frozenset({"longest", "batch_tokens", "held_out", "vocabulary"})

    encoder: str | None = option(None, "folder of a Hugging Face encoder with a mask token")
    layer: int = option(-1, "hidden layer, 0 the embeddings; -1: by the gold trees, or at 0.8 of the depth", least=-1)
    substitution: bool = option(True, "replace each span by a mask")
    decontextualisation: bool = option(True, "take each span out of its context")
    movement: bool = option(True, "move each span to the front and to the end")
    masks: bool = option(True, "put masks beside spans out of context")
    normalise: bool = option(True, "divide the costs of each width by their norm")
    precision: str = option("auto", "of the encoder's arithmetic", choices=PRECISIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.substitution or self.decontextualisation or self.movement):
            raise ArgumentError("movement: expected at least one perturbation, got none. Leave one at True.")

    @classmethod
    def presets(cls) -> dict[str, tuple[Self, TrainingConfig]]:
        """Return the defaults, and the published ones, which are those of an encoder of twelve layers.

        Returns
        -------
        dict

        Examples
        --------
        >>> ContexDistortOptions.presets()["paper"][0].layer
        12
        """
        return {"small": (cls(), TrainingConfig()), "paper": (cls(layer=12, precision="float32"), TrainingConfig())}
