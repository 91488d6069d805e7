"""Symbols (words, characters, tags) and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from treeavg.errors import ArgumentError, quote

PADDING, UNKNOWN, BEGIN, END = 0, 1, 2, 3
_SPECIAL = ("<padding>", "<unknown>", "<begin>", "<end>")


class Vocabulary:
    """Symbols and their numbers; 0 to 3 are padding, unknown, begin and end.

    Parameters
    ----------
    symbols : iterable of str
        Distinct, without the four special ones, in the order of their numbers.

    Examples
    --------
    >>> vocabulary = Vocabulary.count([["a", "rose", "is", "a", "rose"]], at_least=2)
    >>> vocabulary.symbols, vocabulary["rose"], vocabulary["tulip"]
    (('a', 'rose'), 5, 1)
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = tuple(symbols)
        self._numbers = {symbol: number for number, symbol in enumerate(self.symbols, len(_SPECIAL))}
        if len(self._numbers) != len(self.symbols):
            twice = next(symbol for symbol, count in Counter(self.symbols).items() if count > 1)
            raise ArgumentError(f"symbols: expected distinct symbols, got {quote(twice)} twice. Leave one out.")

    @classmethod
    def count(cls, sentences: Iterable[Iterable[str]], *, at_least: int = 1) -> Vocabulary:
        """Number the symbols that occur often enough, the most frequent first, of equals in alphabetical order.

        Parameters
        ----------
        sentences : iterable of iterables of str
            The text.
        at_least : int, default 1
            Rarer symbols are unknown.

        Returns
        -------
        Vocabulary

        Examples
        --------
        >>> Vocabulary.count(["abba", "b"]).symbols
        ('b', 'a')
        """
        counts = Counter(symbol for sentence in sentences for symbol in sentence)
        kept = [(-count, symbol) for symbol, count in counts.items() if count >= at_least]
        return cls(symbol for _, symbol in sorted(kept))

    def __len__(self) -> int:
        return len(_SPECIAL) + len(self.symbols)

    def __getitem__(self, symbol: str) -> int:
        return self._numbers.get(symbol, UNKNOWN)
