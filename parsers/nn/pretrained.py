"""Pretrained encoders of the Hugging Face kind: read from a folder, never from a hub, kept inside a saved parser."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from treeavg.errors import ArgumentError, FileError, FormatError, quote

_SPECIAL = ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token")


def load_backbone(folder: str) -> nn.Module:
    """Load an encoder's weights from a folder.

    Parameters
    ----------
    folder : str
        Holds config.json and model.safetensors.

    Returns
    -------
    Module
        In evaluation mode, float32.

    Raises
    ------
    FileError
        The folder holds no such model.
    """
    require_folder(folder)
    from transformers import AutoModel

    try:
        with _quiet():
            model: nn.Module = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise FileError(
            f"{folder}: expected a Hugging Face encoder, got {quote(str(error))}. "
            "It needs config.json, model.safetensors and tokenizer.json."
        ) from None
    return model.float()


def load_tokenizer(folder: str) -> tuple[Any, int | None]:
    """Load the tokenizer of an encoder.

    Parameters
    ----------
    folder : str
        Holds config.json and tokenizer.json.

    Returns
    -------
    tokenizer, limit : tokenizer, int or None
        The limit counts the subwords the encoder takes, begin and end included.

    Raises
    ------
    FileError
        The folder holds no such tokenizer.
    ArgumentError
        The encoder has no begin and end tokens.
    """
    require_folder(folder)
    from transformers import AutoConfig, AutoTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise FileError(f"{folder}: expected a tokenizer, got {quote(str(error))}. Save it beside the model.") from None
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None or not tokenizer.is_fast:
        raise ArgumentError(
            f"{folder}: expected an encoder with a fast tokenizer that has a begin and an end token, got "
            f"{type(tokenizer).__name__}. Pass a model of BERT's kind."
        )
    return tokenizer, _limit(config)


def require_folder(folder: str) -> None:
    """Raise a FileError unless a folder holds a model's configuration.

    Parameters
    ----------
    folder : str
        The folder.
    """
    if not (Path(folder) / "config.json").is_file():
        raise FileError(
            f"{folder}: expected the folder of a Hugging Face encoder, with a config.json, got none. "
            "Models are read from disk only; pass a folder."
        )


def to_json(backbone: nn.Module, tokenizer: Any) -> dict[str, Any]:
    """Return all of an encoder but its weights, as JSON's types.

    Parameters
    ----------
    backbone : Module
        From `load_backbone`.
    tokenizer
        From `load_tokenizer`.

    Returns
    -------
    dict
    """
    marks = {name: getattr(tokenizer, name) for name in _SPECIAL if getattr(tokenizer, name, None) is not None}
    config: Any = backbone.config
    return {
        "config": config.to_diff_dict() | {"model_type": config.model_type},
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "marks": marks,
    }


def from_json(document: dict[str, Any]) -> tuple[nn.Module, Any]:
    """Undo `to_json`; the weights are random, to be filled.

    Parameters
    ----------
    document : dict
        From `to_json`.

    Returns
    -------
    backbone, tokenizer : Module, tokenizer

    Raises
    ------
    FormatError
        A part is missing or unknown to the installed transformers.
    """
    import transformers
    from tokenizers import Tokenizer

    library: Any = transformers  # has few types

    try:
        options = dict(document["config"])
        config = library.AutoConfig.for_model(options.pop("model_type"), **options)
        tokenizer = library.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(document["tokenizer"]), **document["marks"]
        )
        backbone: nn.Module = library.AutoModel.from_config(config)
        return backbone, tokenizer
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"backbone: expected the pretrained encoder of a saved parser, got {quote(str(error))}. "
            "Install the version of transformers it was saved with, or train again."
        ) from None


def _limit(config: Any) -> int | None:
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or limit < 0:
        return None
    # RoBERTa's positions start behind the padding's number.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    return int(limit) - offset


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bar off the terminal."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
