"""How a module gets the weights that were saved of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from treeavg.errors import FormatError


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Fill a module with a parser's weights, all of them.

    Parameters
    ----------
    model : torch.nn.Module
        Modified.
    tensors : mapping from str to Tensor
        Its state, by name.
    where : str
        What to name in messages.

    Raises
    ------
    FormatError
        Names or shapes are not the module's.

    Examples
    --------
    >>> import torch
    >>> layer = nn.Linear(1, 1)
    >>> load_weights(layer, {"weight": torch.ones(1, 1)}, "student")
    Traceback (most recent call last):
    treeavg.errors.FormatError: student: expected weights for bias, got none. Restore the folder from a copy.
    """
    own = model.state_dict()
    if missing := sorted(set(own) - set(tensors)):
        raise FormatError(
            f"{where}: expected weights for {quote_names(missing)}, got none. Restore the folder from a copy."
        )
    if extra := sorted(set(tensors) - set(own)):
        raise FormatError(
            f"{where}: expected no weights beyond the model's, got {quote_names(extra)}. "
            "Restore the folder from a copy."
        )
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise FormatError(
                f"{where}: {name}: expected the shape {tuple(tensor.shape)}, got {tuple(tensors[name].shape)}. "
                "Restore the folder from a copy."
            )
    model.load_state_dict(dict(tensors))


def quote_names(names: Sequence[str], most: int = 4) -> str:
    """Return names joined by commas, the rest as their number.

    Parameters
    ----------
    names : sequence of str
        At least one.
    most : int, default 4
        How many are written out.

    Returns
    -------
    str

    Examples
    --------
    >>> quote_names(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
