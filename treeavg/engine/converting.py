"""The stream of `treeavg convert`: from one format to another, with changes of the trees on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from treeavg import transforms
from treeavg.engine.stream import Advance, Write, no_advance, sentences_of
from treeavg.engine.summary import Summary
from treeavg.errors import ArgumentError
from treeavg.formats import AlignedReader, Format


@dataclass(frozen=True)
class Changes:
    """What `treeavg convert` changes, in this order.

    Parameters
    ----------
    strip_empty, strip_punctuation, collapse_unaries : bool, default False
        See `treeavg.transforms`.
    binarize : str, optional
        ``left`` or ``right``.
    """

    strip_empty: bool = False
    strip_punctuation: bool = False
    collapse_unaries: bool = False
    binarize: str | None = None

    def apply(self, bank: Any) -> Any:
        """Return changed trees.

        Parameters
        ----------
        bank : Treebank
            Not modified.

        Returns
        -------
        Treebank
        """
        if self.strip_empty:
            bank = transforms.strip_empty(bank)
        if self.strip_punctuation:
            bank = transforms.strip_punctuation(bank)
        if self.collapse_unaries:
            bank = transforms.collapse_unaries(bank)
        return transforms.binarize(bank, side=self.binarize) if self.binarize else bank


def convert_stream(
    reader: AlignedReader,
    changes: Changes,
    target: Format,
    write: Write,
    *,
    first: int = 0,
    advance: Advance = no_advance,
) -> Summary:
    """Convert a file batch by batch.

    Parameters
    ----------
    reader : AlignedReader
        Of one file.
    changes : Changes
        What to change.
    target : Format
        Of the output.
    write : callable
        Takes the output's bytes.
    first : int, default 0
        Index of the first sentence, for formats that number them.
    advance : callable
        See `Advance`.

    Returns
    -------
    Summary

    Raises
    ------
    ArgumentError
        Dependency trees are to be changed.
    TreeavgError
        As for the transforms and the format's serializer.

    Examples
    --------
    >>> convert_stream(AlignedReader(["a.mrg"]), Changes(), FORMATS["brackets"], file.write)  # doctest: +SKIP
    """
    name = reader.readers[0].name
    if changes != Changes() and reader.kind == "dependency":
        raise ArgumentError(f"{name}: expected constituency trees to change, got dependency trees.")
    summary = Summary()
    for (bank,) in reader:
        with sentences_of(name, summary.sentences):
            missing = len(bank.missing)
            changed = changes.apply(bank)
            summary.emptied += len(changed.missing) - missing
            write(target.serialize(changed, first + summary.sentences))
        summary.sentences += len(changed)
        advance(len(changed), reader.readers[0].fraction)
    summary.settle(reader.problems)
    return summary
