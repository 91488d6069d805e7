"""Words as DIORA reads them: one vector for each type, learnt or made of a pretrained encoder's word pieces.

[Drozdov2019] takes the context-free vectors of ELMo, of any word, and leaves them as they are. Offline, the rows of an
encoder's input embedding stand in for these: a word has the mean of its pieces. A word that the training text lacks has
a vector too, then, and the teacher keeps the rows and the tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from parsers.nn.pretrained import load_backbone, load_tokenizer
from parsers.nn.vocabulary import UNKNOWN
from parsers.nn.words import WordReader, padded
from treeavg.errors import FormatError


class Words(NamedTuple):
    """Sentences as tensors, padded.

    Parameters
    ----------
    ids : Tensor of int64, shape (B, N)
        Numbers of types, padded with 0. From the size of the vocabulary on, they number the rows of `pieces`.
    lengths : Tensor of int64, shape (B,)
        Words of each sentence.
    pieces : Tensor of int64, shape (U, P)
        Numbers of the pieces of types that the vocabulary lacks, plus 1, padded with 0.
    """

    ids: Tensor
    lengths: Tensor
    pieces: Tensor

    def to(self, device: torch.device) -> Words:
        """Return the sentences on a device."""
        return Words(*(part.to(device) for part in self))


class TypeReader(WordReader):
    """A `WordReader` that gives unknown words their pieces, where it has a tokenizer.

    Parameters
    ----------
    *arguments, **options
        Of `WordReader`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.tokenizer: Any = None
        self.unknown_piece = 0

    @classmethod
    def with_pieces(cls, sentences: Sequence[Sequence[str]], most: int, folder: str | None) -> TypeReader:
        """Collect the most frequent words of a text; numbers stay as they are where words have pieces.

        Parameters
        ----------
        sentences : sequence of sequences of str
            The training text.
        most : int
            So many words are known.
        folder : str, optional
            Of the encoder whose tokenizer cuts words into pieces.

        Returns
        -------
        TypeReader

        Raises
        ------
        FileError
            The folder holds no encoder.
        """
        tokenizer = load_tokenizer(folder)[0] if folder is not None else None
        reader = WordReader.of(sentences, most=most, numbers="token" if folder is None else "keep")
        own = cls(reader.vocabulary, lowercase=reader.lowercase, numbers=reader.numbers)
        if tokenizer is not None:
            own.tokenizer, own.unknown_piece = tokenizer.backend_tokenizer, tokenizer.unk_token_id or 0
            own.tokenizer.no_padding()  # some encoders' tokenizers pad every text to one length
            own.tokenizer.no_truncation()
        return own

    def cut(self, words: Sequence[str]) -> Tensor:
        """Return the numbers of the pieces of words, plus 1, padded with 0.

        Parameters
        ----------
        words : sequence of str
            In the form in which they are looked up.

        Returns
        -------
        Tensor of int64, shape (U, P)
        """
        found = self.tokenizer.encode_batch(list(words), add_special_tokens=False) if words else []
        # A word of which the tokenizer leaves nothing, such as a zero-width space, counts as an unknown piece.
        return padded([[number + 1 for number in (own.ids or [self.unknown_piece])] for own in found])[0]

    def read(self, sentences: Sequence[Sequence[str]]) -> Words:
        """Number the words of some sentences.

        Parameters
        ----------
        sentences : sequence of sequences of str
            B sentences.

        Returns
        -------
        Words
        """
        rows = [self.numbered(sentence) for sentence in sentences]
        new: dict[str, int] = {}
        if self.tokenizer is not None:
            for row, sentence in zip(rows, sentences, strict=True):
                for place, number in enumerate(row):
                    if number == UNKNOWN:
                        normal = self.normal(sentence[place])
                        row[place] = new.setdefault(normal, len(self.vocabulary) + len(new))
        ids, lengths = padded(rows)
        return Words(ids, lengths, self.cut([*new]) if new else torch.zeros(0, 1, dtype=torch.int64))

    def to_json(self) -> dict[str, Any]:
        """Return the reader as JSON's types.

        Returns
        -------
        dict
        """
        tokenizer = self.tokenizer.to_str() if self.tokenizer is not None else None
        return {**super().to_json(), "tokenizer": tokenizer, "unknown_piece": self.unknown_piece}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> TypeReader:
        """Undo `to_json`.

        Parameters
        ----------
        document : dict
            From `to_json`.

        Returns
        -------
        TypeReader

        Raises
        ------
        FormatError
            A part is missing or of another type.
        """
        plain = WordReader.from_json(document)
        own = cls(plain.vocabulary, lowercase=plain.lowercase, numbers=plain.numbers)
        try:
            if document["tokenizer"] is not None:
                from tokenizers import Tokenizer

                own.tokenizer, own.unknown_piece = Tokenizer.from_str(document["tokenizer"]), document["unknown_piece"]
        except Exception as error:  # tokenizers raises Exception itself
            raise FormatError(
                f"text: expected the tokenizer of a saved parser, got {error!r}. Save the parser again."
            ) from None
        return own


class TypeVectors(nn.Module):
    """The vectors of words.

    Parameters
    ----------
    reader : TypeReader
        Its words have a row each.
    width : int
        Of vectors that are learnt.
    pieces : Tensor, shape (P, width), optional
        Vectors of word pieces, for a reader with a tokenizer: these stay as they are, and make those of words.
    """

    def __init__(self, reader: TypeReader, width: int, pieces: Tensor | None = None) -> None:
        super().__init__()
        self.known = len(reader.vocabulary)
        if pieces is None:
            self.table: Tensor = nn.Parameter(torch.randn(self.known, width))
            return
        # Half precision: they are the largest part of a saved teacher, and do not change.
        self.register_buffer("pieces", pieces.half())
        words = self.mean(reader.cut(reader.vocabulary.symbols))
        special = words.new_zeros(self.known - len(words), words.shape[1])
        self.register_buffer("table", torch.cat([special, words]), persistent=False)

    @property
    def width(self) -> int:
        """Of the vectors."""
        return self.table.shape[1]

    def mean(self, pieces: Tensor) -> Tensor:
        """Return the vectors of words from their pieces.

        Parameters
        ----------
        pieces : Tensor of int64, shape (U, P)
            As in `Words`.

        Returns
        -------
        Tensor, shape (U, width)
        """
        assert isinstance(self.pieces, Tensor)
        there = (pieces > 0)[..., None]
        rows = self.pieces[(pieces - 1).clamp(min=0)].float()
        return (rows * there).sum(1) / there.sum(1).clamp(min=1)

    def forward(self, words: Words) -> Tensor:
        """Return the vector of each word, (B, N, width)."""
        vectors = embedding(words.ids.clamp(max=self.known - 1), self.table)
        if len(words.pieces):
            new = self.mean(words.pieces)
            place = (words.ids - self.known).clamp(min=0)
            vectors = torch.where((words.ids >= self.known)[..., None], new[place], vectors)
        return vectors


def piece_vectors(folder: str) -> Tensor:
    """Return the input embedding of an encoder, a row for each word piece, each column with mean 0 and variance 1.

    Parameters
    ----------
    folder : str
        A Hugging Face encoder.

    Returns
    -------
    Tensor, shape (P, width)

    Raises
    ------
    FileError
        The folder holds no encoder.
    """
    backbone: Any = load_backbone(folder)
    weight: Tensor = backbone.get_input_embeddings().weight.detach()
    # What all rows share would be shared by all words of the chart, and by all that is composed of them.
    return (weight - weight.mean(0)) / weight.std(0).clamp(min=1e-6)
