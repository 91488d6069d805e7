"""How a causal or an encoder-decoder model is run: arguments it takes, its backbone, wrappers around it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from treeavg.errors import ArgumentError, LimitError

__all__ = [
    "accepted",
    "cache_name",
    "frozen",
    "hidden_states",
    "require_positions",
    "require_tokens",
    "takes",
    "unwrapped",
]


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Run a teacher: no dropout, no gradients; afterwards every module is in the mode it was in.

    Parameters
    ----------
    model : torch.nn.Module
        The teacher, also one that was left in training mode.

    Yields
    ------
    torch.nn.Module
        The same, in evaluation mode.

    Examples
    --------
    >>> teacher = nn.Dropout()
    >>> with frozen(teacher) as still:
    ...     still(torch.ones(2)).tolist()
    [1.0, 1.0]
    >>> teacher.training
    True
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        for module in training:
            module.training = True


def unwrapped(model: nn.Module) -> Any:
    """Return the model inside wrappers for several processes and adapters.

    Parameters
    ----------
    model : torch.nn.Module
        A model, perhaps wrapped.

    Returns
    -------
    torch.nn.Module
        The Hugging Face model itself; adapters such as LoRA are inside it.

    Raises
    ------
    ArgumentError
        The adapter adds virtual tokens, which would be lost.

    Examples
    --------
    >>> unwrapped(nn.Identity())
    Identity()
    """
    inner: Any = model
    while isinstance(inner, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = inner.module
    if hasattr(inner, "get_base_model"):
        if getattr(inner.active_peft_config, "is_prompt_learning", False):
            raise ArgumentError(
                "model: expected an adapter inside the layers, such as LoRA, got one that adds virtual tokens: "
                f"{type(inner.active_peft_config).__name__}. Its places would be taken for the prompt's; use LoRA."
            )
        inner = inner.get_base_model()
    return inner


def require_tokens(name: str, ids: Tensor, inner: Any) -> None:
    """Raise an ArgumentError where ids are no tokens of a model: torch would say that an index is out of range."""
    embeddings = inner.get_input_embeddings() if hasattr(inner, "get_input_embeddings") else None
    size = getattr(embeddings, "num_embeddings", None)
    if size is None or not ids.numel():
        return
    least, most = (int(end) for end in ids.aminmax())
    if least < 0 or most >= size:
        raise ArgumentError(
            f"{name}: expected tokens from 0 to {size - 1}, as {type(inner).__name__} has, got "
            f"{least if least < 0 else most}. Use the model's own tokenizer."
        )


def require_positions(name: str, longest: int, inner: Any) -> None:
    """Raise a LimitError where a model has fewer positions than it would be given tokens."""
    positions = getattr(inner.config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise LimitError(
            f"{name}: expected at most {type(inner).__name__}'s {positions} positions, got {longest} tokens. Shorten "
            "the texts, or leave the row out."
        )


def takes(inner: Any, name: str) -> bool:
    """Return whether a model's forward pass has an argument of this name."""
    return name in inspect.signature(inner.forward).parameters


def cache_name(model: nn.Module) -> str:
    """Return what a model calls its cache, in its arguments and its output: renamed in transformers 5.24.

    Parameters
    ----------
    model : torch.nn.Module
        Of Hugging Face, wrapped or not.

    Returns
    -------
    str
    """
    return "cache" if takes(unwrapped(model), "cache") else "past_key_values"


def accepted(inner: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a model takes: some have no positions, some no cache."""
    names = inspect.signature(inner.forward).parameters
    return {name: value for name, value in arguments.items() if name in names}


def hidden_states(model: nn.Module, inner: Any, arguments: dict[str, Any]) -> Tensor:
    """Return what the head gets: the decoder's last hidden states, all places.

    The backbone is called without the head. A wrapper for several processes must run its own forward pass, or it would
    not collect gradients; then the head sees one place, where the model lets, and its result is dropped.
    """
    backbone = getattr(inner, "base_model", inner)
    if model is not inner and not hasattr(model, "get_base_model"):
        return _overheard(model, inner, arguments)
    if backbone is not inner:
        hidden: Tensor = backbone(**accepted(backbone, arguments))[0]
        return hidden
    if not inner.config.is_encoder_decoder or not hasattr(inner, "get_encoder"):
        raise ArgumentError(
            f"model: expected one with a backbone apart from its head, got {type(inner).__name__}. Use output='logits'."
        )
    encoded = inner.get_encoder()(input_ids=arguments["input_ids"], attention_mask=arguments["attention_mask"])[0]
    decoder = inner.get_decoder()
    found: Tensor = decoder(
        input_ids=arguments["decoder_input_ids"],
        encoder_hidden_states=encoded,
        encoder_attention_mask=arguments["attention_mask"],
        use_cache=False,
    )[0]
    return found


def _overheard(model: nn.Module, inner: Any, arguments: dict[str, Any]) -> Tensor:
    """Return the decoder's hidden states from a whole forward pass."""
    caught: list[Tensor] = []

    def catch(module: nn.Module, inputs: Any, output: Any) -> None:
        caught.append(output[0])

    hook = inner.get_decoder().register_forward_hook(catch)
    try:
        model(**accepted(inner, arguments), **({"logits_to_keep": 1} if takes(inner, "logits_to_keep") else {}))
    finally:
        hook.remove()
    return caught[-1]
