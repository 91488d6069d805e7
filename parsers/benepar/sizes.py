"""How large a student's network is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from treeavg.errors import ArgumentError, quote

#: The encoder that reads words by their characters.
CHARACTERS = "chars"


@dataclass(frozen=True, kw_only=True)
class BeneparSizes:
    """How large a student's network is; the names in brackets are benepar's.

    Parameters
    ----------
    size : int, default 256
        Width of the vectors (``d_model``); a multiple of 4. One half holds what a word is, the other where it stands.
    layers : int, default 2
        Attention layers (``num_layers``), which stand above a pretrained encoder too.
    heads : int, default 8
        Attention heads (``num_heads``).
    head_size : int, default 32
        Width of a head (``d_kv``); even.
    feed_forward : int, default 512
        Inner width of a layer (``d_ff``); even.
    label_size : int, default 128
        Hidden width of the scores of spans (``d_label_hidden``).
    characters : int, default 32
        Width of the embeddings of characters (``d_char_emb``).
    dropout : float, default 0.2
        In training, everywhere; 0 to below 1. After the inner layer, half of it, as in benepar.
    longest : int, default 510
        Words of the longest sentence that can be parsed (``encoder_max_len`` without begin and end).

    Raises
    ------
    ArgumentError
        A value is out of range.

    Examples
    --------
    >>> BeneparSizes(size=128).layers
    2
    >>> BeneparSizes(size=6)
    Traceback (most recent call last):
    treeavg.errors.ArgumentError: size: expected a positive multiple of 4, got 6. Leave it out for 256.
    """

    size: int = 256
    layers: int = 2
    heads: int = 8
    head_size: int = 32
    feed_forward: int = 512
    label_size: int = 128
    characters: int = 32
    dropout: float = 0.2
    longest: int = 510

    def __post_init__(self) -> None:
        for name, step in (
            ("size", 4),
            ("layers", 1),
            ("heads", 1),
            ("head_size", 2),
            ("feed_forward", 2),
            ("label_size", 1),
            ("characters", 1),
            ("longest", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1 or value % step:
                what = "a positive whole number" if step == 1 else f"a positive multiple of {step}"
                raise self._wrong(name, what)
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise self._wrong("dropout", "a number from 0 to below 1")

    def _wrong(self, name: str, expected: str) -> ArgumentError:
        default = type(self).__dataclass_fields__[name].default
        return ArgumentError(
            f"{name}: expected {expected}, got {quote(getattr(self, name))}. Leave it out for {default}."
        )

    def hyper_parameters(self, encoder: str) -> dict[str, Any]:
        """Return benepar's hyper-parameters.

        Parameters
        ----------
        encoder : str
            ``chars``, or a pretrained model's folder.

        Returns
        -------
        dict

        Examples
        --------
        >>> BeneparSizes().hyper_parameters("chars")["d_model"]
        256
        """
        return {
            "d_model": self.size,
            "num_layers": self.layers,
            "num_heads": self.heads,
            "d_kv": self.head_size,
            "d_ff": self.feed_forward,
            "d_label_hidden": self.label_size,
            "d_char_emb": self.characters,
            "encoder_max_len": self.longest + 2,
            "char_lstm_input_dropout": self.dropout,
            "morpho_emb_dropout": self.dropout,
            "attention_dropout": self.dropout,
            "residual_dropout": self.dropout,
            "relu_dropout": self.dropout / 2,
            "use_chars_lstm": encoder == CHARACTERS,
            "use_pretrained": encoder != CHARACTERS,
            "pretrained_model": "" if encoder == CHARACTERS else encoder,
            "use_encoder": True,
            "predict_tags": False,
            "force_root_constituent": True,
        }
