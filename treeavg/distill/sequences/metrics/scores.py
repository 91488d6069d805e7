"""What a score of texts is: a number with its conventions, from outputs with one reference each, or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treeavg.errors import ArgumentError, quote

__all__ = ["References", "TextScore", "grouped"]

#: For each output a reference, or several.
References = Sequence[str] | Sequence[Sequence[str]]


@dataclass(frozen=True)
class TextScore:
    """A number about texts, with every convention in it.

    Parameters
    ----------
    value : float
        A percentage, not rounded; for TER it may exceed 100, and lower is better.
    signature : str
        Names and values, joined by bars.

    Examples
    --------
    >>> print(TextScore(29.884, "metric:bleu|order:4"))
    29.88 metric:bleu|order:4
    """

    value: float
    signature: str

    def __str__(self) -> str:
        return f"{self.value:.2f} {self.signature}"


def grouped(outputs: Sequence[str], references: References) -> list[list[str]]:
    """Return each output's references; sacrebleu itself would cut the longer of two lists of texts."""
    if isinstance(outputs, str) or len(outputs) == 0 or not all(isinstance(one, str) for one in outputs):
        raise ArgumentError(f"outputs: expected one text or more, got {quote(outputs)}. Give a list of strings.")
    if isinstance(references, str) or len(references) != len(outputs):
        got = quote(references) if isinstance(references, str) else str(len(references))
        raise ArgumentError(
            f"references: expected {len(outputs)}, one or a list for each output, got {got}. Leave none out."
        )
    several = [[group] if isinstance(group, str) else list(group) for group in references]
    for row, group in enumerate(several):
        if not group or not all(isinstance(one, str) for one in group):
            raise ArgumentError(
                f"references[{row}]: expected a text or a list of texts, got {quote(references[row])}. "
                "An output without a reference cannot be scored."
            )
    return several
