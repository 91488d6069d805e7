"""A model's head as a tensor with what surrounds it: adapters, bias, scale, bound."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import linear

from treeavg.distill.sequences.align import Completions, Prompts, align
from treeavg.distill.sequences.running import frozen, unwrapped
from treeavg.errors import ArgumentError

__all__ = ["Head", "head_of", "require_head"]


class Head(NamedTuple):
    """What turns hidden states into logits: ``z = scale (h W' + bias)``, then ``softcap tanh(z / softcap)``.

    Parameters
    ----------
    weight : Tensor, floating, shape (V, H)
        Differentiable; tied to embeddings or not.
    bias : Tensor, floating, shape (V,), optional
        Differentiable.
    scale : float, default 1.0
        Multiplies the logits.
    softcap : float, optional
        Bounds the logits.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states.

        Parameters
        ----------
        hidden : Tensor, floating, shape (..., H)
            Before the head.

        Returns
        -------
        Tensor
            Shape (..., V).

        Examples
        --------
        >>> import torch
        >>> Head(torch.eye(2), scale=0.5).logits(torch.tensor([2.0, 4.0])).tolist()
        [1.0, 2.0]
        """
        return self.surrounded(linear(hidden, self.weight, self.bias))

    def surrounded(self, product: Tensor) -> Tensor:
        """Return the logits, from the product of hidden states with the weight, the bias added.

        Parameters
        ----------
        product : Tensor, floating, shape (..., V)
            Not changed; it is the result where there are neither scale nor bound.

        Returns
        -------
        Tensor
            Shape (..., V).

        Examples
        --------
        >>> import torch
        >>> Head(torch.eye(2), softcap=1.0).surrounded(torch.tensor([0.0, 30.0])).tolist()
        [0.0, 1.0]
        """
        found = product if self.scale == 1 else product * self.scale
        return found if self.softcap is None else (found / self.softcap).tanh() * self.softcap


def head_of(model: nn.Module) -> Head:
    """Return the head of a Hugging Face model, with its adapters, bias, scale and bound.

    Parameters
    ----------
    model : torch.nn.Module
        A causal or encoder-decoder model; wrappers and adapters are looked through. Call it in every step, as an
        adapter's weight is made anew.

    Returns
    -------
    Head

    Raises
    ------
    ArgumentError
        No head with a floating weight of 16 bits or more, such as a quantised one.

    Notes
    -----
    Models scale and bound their logits under several names in their configurations. `require_head` tells whether all of
    a model's were found.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class Model(nn.Module):
    ...     config = SimpleNamespace(final_logit_softcapping=30.0)
    ...     def get_output_embeddings(self):
    ...         return nn.Linear(2, 3, bias=False)
    >>> head_of(Model()).softcap
    30.0
    """
    inner = unwrapped(model)
    layer = inner.get_output_embeddings()
    if hasattr(layer, "modules_to_save"):
        layer = layer.modules_to_save[layer.active_adapter]
    base = getattr(layer, "base_layer", layer)
    weight, bias = getattr(base, "weight", None), getattr(base, "bias", None)
    if weight is None or not weight.is_floating_point() or weight.element_size() < 2:  # float8 has scales elsewhere
        raise ArgumentError(
            f"model: expected a head with a floating weight of 16 bits or more, got {type(base).__name__}"
            f"{'' if weight is None else f' of {weight.dtype}'}. Use output='logits' and sequence_loss."
        )
    if base is not layer and not layer.merged and not layer.disable_adapters:
        for adapter in layer.active_adapters:
            weight = weight + layer.get_delta_weight(adapter)
    extra = getattr(inner, "final_logits_bias", None)
    if extra is not None:
        bias = extra[0] if bias is None else bias + extra[0]
    return Head(weight, bias, _scale(inner.config), getattr(inner.config, "final_logit_softcapping", None))


def _scale(config: Any) -> float:
    """Return what a model multiplies its logits by."""
    kind, scale = getattr(config, "model_type", ""), 1.0
    if kind in ("t5", "longt5", "switch_transformers"):
        tied = getattr(config, "tie_word_embeddings", False)
        scale *= config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", tied) else 1.0
    for name in ("logit_scale", "lm_head_multiplier"):
        scale *= getattr(config, name, None) or 1.0
    divisor = getattr(config, "logits_scaling", None) or 1.0
    return float(scale * divisor if kind.startswith("hyperclovax") else scale / divisor)


def require_head(model: nn.Module, batch: Prompts, completions: Completions, *, tolerance: float = 1e-3) -> None:
    """Raise an error where a model's own logits are not those of `head_of`; once before a training is enough.

    Parameters
    ----------
    model : torch.nn.Module
        The model; it is run twice in evaluation mode.
    batch : Prompts
        Some inputs.
    completions : Completions
        Their outputs.
    tolerance : float, default 1e-3
        Greatest difference of log-probabilities; half types may need more.

    Returns
    -------
    None

    Raises
    ------
    ArgumentError
        They differ.

    Examples
    --------
    >>> from treeavg.distill.sequences.align import completions, prompts
    >>> batch = prompts([[1, 2]], pad=0, side="left")
    >>> require_head(model, batch, completions(torch.tensor([[3, 0]]), [0]))  # doctest: +SKIP
    """
    with frozen(model):
        plain = align(model, batch, completions)
        hidden = align(model, batch, completions, output="hidden").scores
        found = head_of(model).logits(hidden).float().log_softmax(-1)
    gaps = (found - plain.scores.float().log_softmax(-1)).abs()[plain.mask]
    largest = float(gaps.max()) if gaps.numel() else 0.0
    if not largest <= tolerance:
        raise ArgumentError(
            f"model: expected the log-probabilities that its head gives, got some that differ by {largest:.3g}: "
            f"{type(unwrapped(model)).__name__} does more to its logits than head_of knows. Use output='logits'."
        )
