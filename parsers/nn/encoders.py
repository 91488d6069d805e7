"""Encoders: from words to vectors.

Each gives a vector for every word and for the two boundaries, (B, N + 2, size). `fenceposts` makes of them a vector for
each of the n + 1 places between words, by halves: what stands to the left as seen from the left, and what stands to the
right as seen from the right (Stern et al., ACL 2017, for BiLSTMs; Kitaev and Klein, ACL 2018, for attention).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from parsers.nn.pretrained import load_backbone
from parsers.nn.text import TextReader, TokenBatch
from treeavg.errors import ArgumentError, unknown

KINDS = ("bilstm", "transformer", "pretrained")
POOLINGS = ("first", "mean")


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder is made of.

    Parameters
    ----------
    kind : str, default "bilstm"
        ``bilstm``, ``transformer`` (small, trained from scratch) or ``pretrained`` (any Hugging Face encoder).
    pretrained : str, optional
        Folder of the pretrained model; its weights are copied into the saved parser. Nothing is downloaded.
    pooling : str, default "mean"
        How a pretrained encoder's subwords become a word: ``first`` or ``mean``.
    size : int, default 400
        Width of the vectors; both directions of a BiLSTM together. Even.
    layers : int, default 2
        BiLSTM or attention layers; above a pretrained encoder too, where 0 means a linear map.
    heads : int, default 4
        Attention heads of ``transformer``.
    words, characters, tags : int, defaults 100, 60, 32
        Widths of the embeddings; 0 leaves the embedding out. Tags are read only where the training text has them.
    dropout : float, default 0.3
        Of embeddings and between layers, in training.
    word_dropout : float, default 0.1
        Share of words that are read as unknown, in training.
    frozen : bool, default False
        Keep the pretrained weights as they are.

    Raises
    ------
    ArgumentError
        A value is out of range.

    Examples
    --------
    >>> EncoderConfig(kind="transformer", size=128).heads
    4
    """

    kind: str = "bilstm"
    pretrained: str | None = None
    pooling: str = "mean"
    size: int = 400
    layers: int = 2
    heads: int = 4
    words: int = 100
    characters: int = 60
    tags: int = 32
    dropout: float = 0.3
    word_dropout: float = 0.1
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("encoder", self.kind, KINDS)
        if self.pooling not in POOLINGS:
            raise unknown("pooling", self.pooling, POOLINGS)
        if (self.kind == "pretrained") != (self.pretrained is not None):
            raise ArgumentError(
                f"pretrained: expected a folder exactly where the encoder is 'pretrained', got {self.pretrained!r} for "
                f"{self.kind!r}. Name the folder of a Hugging Face model, or another encoder."
            )
        if self.size < 2 or self.size % 2:
            raise ArgumentError(f"size: expected an even number from 2, got {self.size}. Half looks each way.")
        if self.kind == "transformer" and self.size % self.heads:
            raise ArgumentError(f"heads: expected a divisor of size {self.size}, got {self.heads}. Try 4.")
        for name in ("words", "characters", "tags", "layers"):
            if getattr(self, name) < 0:
                raise ArgumentError(f"{name}: expected 0 or more, got {getattr(self, name)}. Pass 0 to leave it out.")
        for name in ("dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ArgumentError(f"{name}: expected 0 to below 1, got {getattr(self, name)}. Try 0.3.")
        if self.kind != "pretrained" and not self.words + self.characters:
            raise ArgumentError("words: expected words or characters to read, got 0 of both. Pass a width.")

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON's types.

        Returns
        -------
        dict

        Examples
        --------
        >>> EncoderConfig(size=16).to_json()["size"]
        16
        """
        return asdict(self)


class Encoder(nn.Module):
    """From a batch to vectors.

    Parameters
    ----------
    config : EncoderConfig
        What to build.
    reader : TextReader
        Its vocabularies give the sizes of embeddings.
    backbone : nn.Module, optional
        The pretrained model; from `load_pretrained`.

    Attributes
    ----------
    size : int
        Width of the vectors.
    """

    def __init__(self, config: EncoderConfig, reader: TextReader, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.config, self.size, self.limit = config, config.size, reader.limit
        self.embedding = WordEmbedding(config, reader) if config.words + config.characters else None
        width = self.embedding.size if self.embedding is not None else 0
        self.backbone = backbone
        if backbone is not None:
            own: Any = backbone.config
            width += int(own.hidden_size)
            if config.frozen:
                backbone.requires_grad_(False)
        self.layers: nn.Module
        if config.kind == "transformer":
            self.layers = AttentionLayers(width, config)
        elif config.layers:
            self.layers = RecurrentLayers(width, config)
        else:
            self.layers = nn.Linear(width, config.size)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return the vectors of words, (B, N, size); those past a sentence's end mean nothing."""
        return self.with_boundaries(batch)[:, 1:-1]

    def with_boundaries(self, batch: TokenBatch) -> Tensor:
        """Return the vectors of words and of the two boundaries, (B, N + 2, size)."""
        parts = []
        if self.backbone is not None:
            parts.append(self._pretrained(batch))
        if self.embedding is not None:
            parts.append(self.embedding(batch))
        vectors = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        if isinstance(self.layers, nn.Linear):
            return self.layers(vectors)  # type: ignore[no-any-return]
        return self.layers(vectors, batch.lengths)  # type: ignore[no-any-return]

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return what was not started from scratch: it wants a lower learning rate."""
        return [] if self.backbone is None else [item for item in self.backbone.parameters() if item.requires_grad]

    def _pretrained(self, batch: TokenBatch) -> Tensor:
        assert self.backbone is not None
        assert batch.subwords is not None
        assert batch.owners is not None
        if self.config.frozen:
            self.backbone.eval()
        positions = batch.words.shape[1]
        mask = (batch.owners < positions).to(torch.int64)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            hidden = windowed(self.backbone, batch.subwords, mask, self.limit)
        return pool(hidden, batch.owners, positions, self.config.pooling)


def windowed(backbone: nn.Module, subwords: Tensor, mask: Tensor, limit: int | None) -> Tensor:
    """Return the vectors of subwords, (B, S, D); of sentences over the limit from windows that overlap by half.

    A subword's vector is that of the window in which it is furthest from both ends.
    """
    length = subwords.shape[1]
    if limit is None or length <= limit:
        return backbone(input_ids=subwords, attention_mask=mask).last_hidden_state  # type: ignore[no-any-return]
    half = limit // 2
    begins = [*range(0, length - limit, half), length - limit]
    parts = []
    for number, begin in enumerate(begins):
        window = slice(begin, begin + limit)
        hidden = backbone(input_ids=subwords[:, window], attention_mask=mask[:, window]).last_hidden_state
        first = 0 if number == 0 else (begins[number - 1] + limit + begin) // 2
        last = length if number == len(begins) - 1 else (begin + limit + begins[number + 1]) // 2
        parts.append(hidden[:, first - begin : last - begin])
    return torch.cat(parts, dim=1)


def pool(hidden: Tensor, owners: Tensor, positions: int, how: str) -> Tensor:
    """Return one vector a position from the vectors of its subwords, (B, S, D) to (B, positions, D)."""
    rows, _, width = hidden.shape
    if how == "first":
        starts = torch.ones_like(owners, dtype=torch.bool)
        starts[:, 1:] = owners[:, 1:] != owners[:, :-1]
        owners = torch.where(starts, owners, positions)
    sums = hidden.new_zeros(rows, positions + 1, width)
    sums = sums.scatter_add(1, owners.unsqueeze(-1).expand(-1, -1, width), hidden)
    counts = hidden.new_zeros(rows, positions + 1).scatter_add(1, owners, torch.ones_like(owners, dtype=hidden.dtype))
    return (sums / counts.clamp(min=1).unsqueeze(-1))[:, :positions]


class WordEmbedding(nn.Module):
    """A word by its number, its characters (a convolution and a maximum) and its tag."""

    def __init__(self, config: EncoderConfig, reader: TextReader) -> None:
        super().__init__()
        self.word_dropout = config.word_dropout
        self.words = nn.Embedding(len(reader.words), config.words, padding_idx=0) if config.words else None
        self.letters = nn.Embedding(len(reader.characters), 32, padding_idx=0) if config.characters else None
        self.spelling = nn.Conv1d(32, config.characters, 3, padding=1) if config.characters else None
        with_tags = reader.tags is not None and config.tags
        self.tags = nn.Embedding(len(reader.tags), config.tags, padding_idx=0) if with_tags else None  # type: ignore[arg-type]
        self.size = config.words + config.characters + (config.tags if with_tags else 0)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return (B, N + 2, size)."""
        parts = []
        if self.words is not None:
            words = batch.words
            if self.training and self.word_dropout:
                hidden = (torch.rand(words.shape, device=words.device) < self.word_dropout) & (words > 3)
                words = torch.where(hidden, 1, words)
            parts.append(self.words(words))
        if self.letters is not None and self.spelling is not None:
            features = self.spelling(self.letters(batch.characters).transpose(1, 2))
            outside = (batch.characters == 0).unsqueeze(1) & (batch.characters > 0).any(1)[:, None, None]
            spelt = features.masked_fill(outside, -1e4).amax(-1)
            parts.append(torch.relu(spelt)[batch.types])
        if self.tags is not None:
            assert batch.tags is not None
            parts.append(self.tags(batch.tags))
        return self.dropout(torch.cat(parts, dim=-1))  # type: ignore[no-any-return]


class RecurrentLayers(nn.Module):
    """BiLSTM layers; the first half of a vector has read from the left, the second from the right."""

    def __init__(self, width: int, config: EncoderConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent = nn.LSTM(
            width, config.size // 2, config.layers, batch_first=True, bidirectional=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )  # fmt: skip

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Return (B, N + 2, size)."""
        packed = nn.utils.rnn.pack_padded_sequence(vectors, (lengths + 2).cpu(), batch_first=True, enforce_sorted=False)
        out, _ = self.recurrent(packed)
        unpacked, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=vectors.shape[1])
        return self.dropout(unpacked)  # type: ignore[no-any-return]


class AttentionLayers(nn.Module):
    """Transformer layers; positions are sinusoids, so that there is no longest sentence."""

    def __init__(self, width: int, config: EncoderConfig) -> None:
        super().__init__()
        self.project = nn.Linear(width, config.size)
        layer = nn.TransformerEncoderLayer(
            config.size, config.heads, 2 * config.size, config.dropout, batch_first=True, norm_first=True
        )
        self.attention = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(config.size), enable_nested_tensor=False
        )

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Return (B, N + 2, size), the channels of even number first: they are the half that looks left."""
        x = self.project(vectors)
        places = torch.arange(x.shape[1], device=x.device)
        x = x + sinusoids(places, x.shape[2]).to(x.dtype)
        outside = places[None, :] >= (lengths.to(x.device) + 2)[:, None]
        out = self.attention(x, src_key_padding_mask=outside)
        return torch.cat([out[..., 0::2], out[..., 1::2]], dim=-1)


def sinusoids(places: Tensor, width: int) -> Tensor:
    """Return the positions of Vaswani et al. (NeurIPS 2017), section 3.5, (P, width)."""
    rates = torch.exp(torch.arange(0, width, 2, device=places.device) * (-torch.log(torch.tensor(10_000.0)) / width))
    angles = places[:, None] * rates[None, :]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


def fenceposts(vectors: Tensor) -> Tensor:
    """Return the vectors between words, (B, N + 2, size) to (B, N + 1, size)."""
    half = vectors.shape[-1] // 2
    return torch.cat([vectors[:, :-1, :half], vectors[:, 1:, half:]], dim=-1)


def build(config: EncoderConfig, reader: TextReader, backbone: nn.Module | None = None) -> Encoder:
    """Return a new encoder.

    Parameters
    ----------
    config : EncoderConfig
        What to build.
    reader : TextReader
        Its vocabularies give the sizes of embeddings.
    backbone : nn.Module, optional
        The pretrained model; by default read from the config's folder, where it names one.

    Returns
    -------
    Encoder
    """
    if backbone is None and config.pretrained is not None:
        backbone = load_backbone(config.pretrained)
    return Encoder(config, reader, backbone)
