"""Benepar's ChartParser: made, and filled with weights.

Two things keep benepar 0.2 from doing this itself beside transformers 5: its reader of subwords asks tokenizers for a
method that they no longer have (``build_inputs_with_special_tokens``), and its loader refuses weights that earlier
versions of transformers saved and later ones recompute. `assemble` and `fill` do both in another way; the result is an
ordinary ``benepar.parse_chart.ChartParser``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from parsers.weights import quote_names
from treeavg.errors import ArgumentError, FormatError

if TYPE_CHECKING:
    from types import ModuleType

    from benepar.parse_chart import ChartParser

#: What a ChartParser's ``config`` holds.
PARTS = ("tag_vocab", "label_vocab", "char_vocab", "hparams")
#: Kinds of models whose positions count from the padding's number on.
_OFFSET_POSITIONS = ("roberta", "camembert", "longformer")
#: What earlier versions of transformers saved with an encoder, and later ones compute anew or never used.
_NO_LONGER_SAVED = (
    ".position_ids",
    ".token_type_ids",
    ".EncDecAttention.relative_attention_bias.weight",
    ".attn.bias",
    ".attn.masked_bias",
    ".inv_freq",
)


def benepar() -> ModuleType:
    """Return the package ``benepar.parse_chart``, imported when it is first needed (it loads spaCy and transformers).

    Returns
    -------
    module

    Raises
    ------
    ArgumentError
        The package is not installed.

    Examples
    --------
    >>> benepar().ChartParser.__name__  # doctest: +SKIP
    'ChartParser'
    """
    try:
        import benepar.parse_chart as module
    except ImportError as error:
        raise ArgumentError(
            f"benepar: expected the package benepar, got: {error}. Install it: pip install 'treeavg[benepar]'."
        ) from None
    found: ModuleType = module
    return found


def assemble(config: Mapping[str, Any], pretrained: nn.Module | None = None, tokenizer: Any = None) -> ChartParser:
    """Return a new ChartParser.

    Parameters
    ----------
    config : mapping
        `PARTS`: three vocabularies (symbol to number) and the hyper-parameters by name.
    pretrained : torch.nn.Module, optional
        The pretrained encoder, for ``use_pretrained``; becomes part of the parser.
    tokenizer : optional
        Its fast tokenizer.

    Returns
    -------
    benepar.parse_chart.ChartParser
        On the CPU.

    Raises
    ------
    FormatError
        A part or a hyper-parameter is missing.

    Examples
    --------
    >>> assemble({}, None, None)  # doctest: +SKIP
    Traceback (most recent call last):
    treeavg.errors.FormatError: config: expected tag_vocab, ...
    """
    module = benepar()
    if missing := [name for name in PARTS if name not in config]:
        raise FormatError(f"config: expected {quote_names(PARTS)}, got none of {quote_names(missing)}. Train it anew.")
    options = {"force_root_constituent": True, **config["hparams"]}
    # Asked for no encoder of words, the class makes everything else; the encoder is put in below.
    bare = module.nkutil.HParams(**{**options, "use_pretrained": False})
    try:
        parser = module.ChartParser(config["tag_vocab"], config["label_vocab"], config["char_vocab"], bare)
    except AttributeError as error:
        raise FormatError(f"config: expected all of benepar's hyper-parameters, got: {error}. Train it anew.") from None
    if pretrained is not None:
        width = options["d_model"] // 2 if options["use_encoder"] else options["d_model"]
        shape: Any = pretrained.config
        parser.config["hparams"]["use_pretrained"] = True
        parser.retokenizer = subword_reader(tokenizer)
        parser.pretrained_model = pretrained
        parser.project_pretrained = nn.Linear(int(shape.hidden_size), width, bias=False)
    return parser


def subword_reader(tokenizer: Any) -> Any:
    """Return benepar's reader of subwords around a tokenizer.

    Parameters
    ----------
    tokenizer : optional
        A fast Hugging Face tokenizer.

    Returns
    -------
    benepar.retokenization.Retokenizer
        As its own constructor would make it; that one calls a method that transformers 5 has removed.

    Raises
    ------
    ArgumentError
        The tokenizer is not a fast one, or puts nothing around a sentence.

    Examples
    --------
    >>> subword_reader(tokenizer).stop_token_idx  # doctest: +SKIP
    -1
    """
    kind = benepar().retokenization.Retokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ArgumentError(
            f"encoder: expected a fast tokenizer, got {type(tokenizer).__name__}. Save tokenizer.json beside the model."
        )
    reader = kind.__new__(kind)
    reader.tokenizer, reader.retain_start_stop = tokenizer, True
    reader.is_t5, reader.is_gpt2 = ("T5Tokenizer" in str(type(tokenizer)), "GPT2Tokenizer" in str(type(tokenizer)))
    if reader.is_gpt2:
        tokenizer.pad_token = tokenizer.eos_token
    marks = list(tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"])
    before = marks.index(0) + reader.is_t5  # T5's decoder reads a padding symbol first
    after = marks[::-1].index(0) + reader.is_gpt2
    if not before + after:
        raise ArgumentError(
            f"encoder: expected a tokenizer that marks a sentence's begin or end, got {type(tokenizer).__name__}, "
            "which marks neither. Pass an encoder of BERT's or T5's kind."
        )
    reader.start_token_idx = before - 1 if before else -1
    reader.stop_token_idx = -after if after else 0
    return reader


def longest(parser: ChartParser) -> tuple[int | None, int | None]:
    """Return the most words, and the most subwords with begin and end, that a parser takes; None is no limit."""
    words = parser.add_timing.timing_table.shape[0] - 2 if parser.encoder is not None else None
    if parser.pretrained_model is None:
        return words, None
    limits = [int(parser.retokenizer.tokenizer.model_max_length)]
    config = parser.pretrained_model.config
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        offset = int(config.pad_token_id) + 1 if any(name in config.model_type for name in _OFFSET_POSITIONS) else 0
        limits.append(positions - offset)
    found = min(limits)
    return words, found if found < 10**9 else None


def fill(parser: ChartParser, tensors: Mapping[str, Tensor], where: str) -> None:
    """Give a ChartParser its weights.

    Parameters
    ----------
    parser : benepar.parse_chart.ChartParser
        Modified.
    tensors : mapping from str to Tensor
        By name. What earlier versions of transformers saved in vain is passed over; of tied weights one is enough.
    where : str
        What to name in messages.

    Raises
    ------
    FormatError
        Weights are missing, of another shape, or unknown.

    Examples
    --------
    >>> fill(parser, parser.state_dict(), "a.pt")  # doctest: +SKIP
    """
    own = parser.state_dict()
    for name in own.keys() & tensors.keys():
        if own[name].shape != tensors[name].shape:
            raise FormatError(
                f"{where}: {name}: expected the shape {tuple(own[name].shape)}, got {tuple(tensors[name].shape)}. "
                "Its weights and its configuration are of two models; take both from one."
            )
    given = {_place(own[name]) for name in own.keys() & tensors.keys()}
    if missing := sorted(name for name in own if name not in tensors and _place(own[name]) not in given):
        raise FormatError(f"{where}: expected weights for {quote_names(missing)}, got none. Take a complete model.")
    if extra := sorted(name for name in tensors if name not in own and not name.endswith(_NO_LONGER_SAVED)):
        raise FormatError(
            f"{where}: expected no weights beyond the model's, got {quote_names(extra)}. "
            "Its weights and its configuration are of two models; take both from one."
        )
    parser.load_state_dict({name: tensor for name, tensor in tensors.items() if name in own}, strict=False)


def distinct_weights(parser: ChartParser) -> dict[str, Tensor]:
    """Return a parser's weights by name, tied ones once."""
    weights: dict[tuple[int, tuple[int, ...]], tuple[str, Tensor]] = {}
    for name, tensor in parser.state_dict().items():
        weights.setdefault(_place(tensor), (name, tensor))
    return dict(weights.values())


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """Return what tied weights have in common."""
    return tensor.data_ptr(), tuple(tensor.shape)
