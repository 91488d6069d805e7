"""Pretrained encoders made faster for parsing: without their later layers, with shorter numbers."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from treeavg.errors import ArgumentError, quote, unknown

PRECISIONS = ("auto", "float32", "bfloat16", "int8")


def first_layers(backbone: nn.Module, layers: int) -> nn.Module:
    """Cut off an encoder's later layers.

    Parameters
    ----------
    backbone : Module
        From `parsers.nn.pretrained.load_backbone`. Modified, its config too.
    layers : int
        How many remain; 0 leaves the embedding.

    Returns
    -------
    Module
        The same.

    Raises
    ------
    ArgumentError
        It has fewer layers, or none that can be found.
    """
    config: Any = backbone.config
    total = int(config.num_hidden_layers)
    if not 0 <= layers <= total:
        raise ArgumentError(f"layers: expected 0 to {total}, the encoder's own, got {layers}. Leave it out for all.")
    stacks = [name for name, part in backbone.named_modules() if isinstance(part, nn.ModuleList) and len(part) == total]
    if layers == total:
        return backbone
    if not stacks:
        raise ArgumentError(
            f"layers: expected an encoder with a list of {total} layers, got {quote(config.model_type)}. Leave it out."
        )
    parent, _, name = stacks[0].rpartition(".")
    setattr(backbone.get_submodule(parent), name, backbone.get_submodule(stacks[0])[:layers])  # type: ignore[index]
    config.num_hidden_layers = layers
    return backbone


def converted(backbone: nn.Module, precision: str, layers: int | None = None) -> nn.Module:
    """Return an encoder for parsing only, with numbers of another precision.

    Parameters
    ----------
    backbone : Module
        From `parsers.nn.pretrained.load_backbone`. Not modified.
    precision : str
        One of `PRECISIONS`.
    layers : int, optional
        As for `first_layers`.

    Returns
    -------
    Module
        A copy where anything changes, else the same.

    Raises
    ------
    ArgumentError
        The precision is unknown, or not the device's.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    device = next(backbone.parameters()).device
    if precision == "auto":
        precision = "bfloat16" if fast_bfloat16(device) else "float32"
    if precision == "int8" and device.type != "cpu":
        raise ArgumentError(f"precision: expected one other than 'int8' on {device.type}, got it. Pass 'bfloat16'.")
    if layers is not None:
        backbone = first_layers(copy.deepcopy(backbone), layers)
    if precision == "int8":
        return _int8(backbone)
    if precision == "bfloat16":
        return copy.deepcopy(backbone).bfloat16()
    return backbone


def fast_bfloat16(device: torch.device) -> bool:
    """Tell whether a device computes with bfloat16 rather than imitates it.

    Parameters
    ----------
    device : torch.device
        Where.

    Returns
    -------
    bool
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu: Any = torch.cpu
    asked = getattr(cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and asked is not None and bool(asked())


def _int8(backbone: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch will move this function to another package
        quantised: nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            backbone, {nn.Linear}, dtype=torch.qint8
        )
    return quantised
