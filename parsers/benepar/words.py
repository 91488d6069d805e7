"""Sentences as benepar's networks read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parsers.benepar.network import longest
from treeavg.errors import ArgumentError, FormatError, LimitError, quote
from treeavg.escapes import escape_token

if TYPE_CHECKING:
    from benepar.parse_chart import ChartParser

#: Languages whose words benepar joins in its own way: nothing between words, or a space between any two.
_JOINED, _APART = ("zh",), ("ar", "he")
_UNREADABLE = "\0"


class WordReader:
    r"""Turns words into what a ChartParser's ``encode`` returns; never loses one.

    The network sees a treebank's spelling undone as benepar undoes it for its own models (two backquotes are a
    quotation mark, ``\/`` a slash), and spaces guessed between words. A word in which the network's tokenizer finds
    nothing (no letters, or only such as it deletes) is read as its unknown symbol.

    Parameters
    ----------
    parser : benepar.parse_chart.ChartParser
        The network.
    language : str, optional
        Two letters; says how words are joined. By default guessed from the labels, as benepar does.
    """

    def __init__(self, parser: ChartParser, language: str | None = None) -> None:
        from benepar.integrations.nltk_plugin import guess_language

        if language is not None and (not isinstance(language, str) or not language):
            raise ArgumentError(f"language: expected a code such as 'en', got {quote(language)}. Leave it out.")
        self.language = language if language is not None else guess_language(parser.label_vocab)
        self.most_words, self.most_subwords = longest(parser)
        self._parser = parser
        self._tokenizer = parser.retokenizer.tokenizer if parser.pretrained_model is not None else None
        self._readable: dict[str, str] = {}

    def size(self, words: Sequence[str], where: str) -> int:
        """Return how long a sentence is for the network.

        Parameters
        ----------
        words : sequence of str
            At least one.
        where : str
            What to name in messages.

        Returns
        -------
        int
            Words or subwords, with begin and end.

        Raises
        ------
        LimitError
            It is longer than the network takes.

        Examples
        --------
        >>> reader.size(["the", "dog"], "sentences[0]")  # doctest: +SKIP
        4
        """
        if self.most_words is not None and len(words) > self.most_words:
            raise LimitError(
                f"{where}: expected at most {self.most_words} words, the encoder's limit, got {len(words)}. "
                "Split the sentence, or use a parser without this limit."
            )
        if self._tokenizer is None:
            return len(words) + 2
        seen, spaces = self._seen(words)
        text = "".join(word + " " * space for word, space in zip(seen, spaces, strict=True))
        reader = self._parser.retokenizer
        size = int(len(self._tokenizer(text, verbose=False)["input_ids"]) + reader.is_t5 + reader.is_gpt2)
        if self.most_subwords is not None and size > self.most_subwords:
            raise LimitError(
                f"{where}: expected at most {self.most_subwords} subwords, the encoder's limit, got {size} in "
                f"{len(words)} words. Split the sentence, or use a parser without this limit."
            )
        return size

    def encode(self, words: Sequence[str], where: str) -> dict[str, Any]:
        """Return a sentence as ``ChartParser.pad_encoded`` takes it.

        Parameters
        ----------
        words : sequence of str
            At least one, not longer than `size` allows.
        where : str
            What to name in messages.

        Returns
        -------
        dict

        Raises
        ------
        FormatError
            The tokenizer cannot be followed through the sentence.

        Examples
        --------
        >>> sorted(reader.encode(["the", "dog"], "sentences[0]"))  # doctest: +SKIP
        ['char_ids', 'valid_token_mask', 'word_lens']
        """
        from benepar import InputSentence

        seen, spaces = self._seen(words)
        # Neighbours may melt into one subword, or vanish beside each other; with spaces between them they do not.
        for gaps in (spaces, [True] * len(seen)):
            sentence = InputSentence(words=seen, space_after=gaps, tags=None, escaped_words=list(words))
            try:
                encoded = self._parser.encode(sentence)
            except (StopIteration, AssertionError):
                continue
            if self._tokenizer is None or -100 not in encoded["words_from_tokens"]:
                return dict(encoded)
        raise FormatError(
            f"{where}: expected subwords for every word, got none for some of {quote(' '.join(words))}. "
            "Replace characters that are not text."
        )

    def _seen(self, words: Sequence[str]) -> tuple[list[str], list[bool]]:
        from benepar.ptb_unescape import guess_space_after

        seen = [self._readable.get(word) or self._read(word) for word in words]
        if self.language in _JOINED:
            return seen, [False] * len(seen)
        if self.language in _APART:
            return seen, [True] * len(seen)
        return seen, guess_space_after([escape_token(word) for word in words])

    def _read(self, word: str) -> str:
        """Return a word as the network reads it, and remember it."""
        from benepar.ptb_unescape import ptb_unescape

        (seen,) = [word] if self.language in _JOINED + _APART else ptb_unescape([word])
        if self._tokenizer is None:
            seen = seen or _UNREADABLE
        else:
            pieces = self._tokenizer(seen, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            if not any(begin < end for begin, end in pieces):
                seen = self._tokenizer.unk_token or "?"
        self._readable[word] = seen
        return str(seen)
