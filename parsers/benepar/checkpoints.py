"""Models of benepar's in files: those that it saved itself, and what of a pretrained encoder is saved as text."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from parsers.benepar.network import assemble, benepar, fill
from treeavg.errors import ArgumentError, FileError, FormatError, quote
from treeavg.formats.files import explain

if TYPE_CHECKING:
    from benepar.parse_chart import ChartParser


def read_checkpoint(name: str, *, trust: bool) -> ChartParser:
    """Read a model that benepar saved.

    Parameters
    ----------
    name : str
        A file that ``torch.save`` wrote during benepar's training, a folder that benepar exported, or the name of a
        model that ``benepar.download`` has fetched before.
    trust : bool
        Whether a file that holds more than tensors, numbers and strings may be unpickled, which can run any code.

    Returns
    -------
    benepar.parse_chart.ChartParser

    Raises
    ------
    FileError
        There is no such model, or it cannot be read.
    ArgumentError
        It needs unpickling and `trust` is False.
    FormatError
        It is no model of benepar's.

    Examples
    --------
    >>> read_checkpoint("benepar_en3", trust=False)  # doctest: +SKIP
    """
    benepar()
    from benepar.integrations.downloader import locate_model

    try:
        path = Path(os.fspath(locate_model(name)))
    except LookupError:
        raise FileError(
            f"{name}: expected a file, a folder or a model that benepar.download has fetched, got none. Check the path."
        ) from None
    if path.is_dir():
        if (path / "parser.json").exists():
            raise ArgumentError(f"{name}: expected a model of benepar's, got a parser's folder. Use parsers.load.")
        return _restored(_folder_config(path), read_pickle(path / "benepar_model.bin", trust=trust), str(path), name)
    data = read_pickle(path, trust=trust)
    config, tensors = (data.get("config"), data.get("state_dict")) if isinstance(data, dict) else (None, None)
    if isinstance(config, dict) and isinstance(tensors, dict) and isinstance(config.get("hparams"), dict):
        return _restored(config, tensors, str(config["hparams"].get("pretrained_model")), name)
    raise FormatError(f"{name}: expected a model that benepar saved, got another file. Check the path.")


def read_pickle(path: Path, *, trust: bool) -> Any:
    """Read a file that ``torch.save`` wrote, nothing but data unless it is trusted."""
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except OSError as error:
        raise explain(os.fspath(path), "read", error) from None
    except Exception as error:  # a damaged pickle raises whatever it runs into
        if not trust and isinstance(error, pickle.UnpicklingError):
            raise ArgumentError(
                f"{path}: expected nothing but tensors, numbers and strings, got a pickle that holds other objects. "
                "Reading it can run any code; where you trust whoever made it, pass trust=True."
            ) from None
        raise _strange(path, error) from None


def _strange(path: Path, error: Exception) -> FormatError:
    return FormatError(f"{path}: expected a model that benepar saved, got {_first_line(error)}. Check the path.")


def _first_line(error: Exception) -> str:
    return quote(str(error).split("\n", 1)[0] or type(error).__name__)


def _folder_config(path: Path) -> dict[str, Any]:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _strange(path, error) from None
    found = getattr(config, "benepar", None)
    if not isinstance(found, dict) or not isinstance(found.get("hparams"), dict):
        raise FormatError(
            f"{path}: expected a model that benepar saved, got one whose config.json has no 'benepar'. Check the path."
        )
    return found


def _restored(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: str, where: str) -> ChartParser:
    """Return the parser of a configuration and weights; `folder` has the pretrained encoder's shape and tokenizer."""
    with_encoder = bool(config["hparams"].get("use_pretrained"))
    parser = assemble(config, *(pretrained_shape(folder) if with_encoder else (None, None)))
    fill(parser, tensors, where)
    return parser.eval()


def pretrained_shape(folder: str) -> tuple[nn.Module, Any]:
    """Return a pretrained encoder with weights yet to come, and its tokenizer, from the disk.

    Parameters
    ----------
    folder : str
        Holds config.json and the tokenizer; or the name of a model in Hugging Face's cache on this machine.

    Returns
    -------
    model, tokenizer

    Raises
    ------
    FileError
        They are not there.

    Examples
    --------
    >>> pretrained_shape("/nowhere")  # doctest: +SKIP
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
    except (OSError, ValueError) as error:
        raise FileError(
            f"{folder}: expected the configuration and the tokenizer of the pretrained encoder, got "
            f"{_first_line(error)}. Nothing is downloaded; put them there."
        ) from None
    maker: Any = AutoModel
    model: nn.Module = maker.from_config(config).float()
    return model, tokenizer


def encoder_files(parser: ChartParser) -> dict[str, str]:
    """Return the text files that `pretrained_shape` needs, by name; none where there is no pretrained encoder."""
    if parser.pretrained_model is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        parser.pretrained_model.config.save_pretrained(folder)
        parser.retokenizer.tokenizer.save_pretrained(folder)
        return {
            path.name: path.read_text(encoding="utf-8")
            for path in sorted(Path(folder).iterdir())
            if path.suffix in (".json", ".txt")
        }


@contextmanager
def as_folder(files: Mapping[str, str]) -> Iterator[str]:
    """Put text files into a folder for a while.

    Parameters
    ----------
    files : mapping from str to str
        Contents by name.

    Yields
    ------
    str
        The folder.

    Raises
    ------
    FormatError
        A name is a path.

    Examples
    --------
    >>> with as_folder({"a.txt": "text"}) as folder:
    ...     os.listdir(folder)
    ['a.txt']
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            if Path(name).name != name:
                raise FormatError(f"text: expected names of files, got {quote(name)}. Save the parser again.")
            (Path(folder) / name).write_text(text, encoding="utf-8")
        yield folder
