"""A student made of some of its teacher's blocks, to start from."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.layers.layers import copied_blocks
from treeavg.errors import ArgumentError, quote

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["freeze_embeddings", "student_from"]

#: Names in a configuration of the number of blocks, by the side they are on; the first that is there counts.
_COUNTS = {
    "encoder": ("encoder_layers", "num_layers", "num_encoder_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers"),
    "only": ("decoder_layers", "num_hidden_layers"),
}


def student_from(
    teacher: PreTrainedModel,
    layers: int | Sequence[int],
    *,
    encoder_layers: int | Sequence[int] | None = None,
    train_embeddings: bool = False,
) -> PreTrainedModel:
    """Return a model of the teacher's kind with fewer blocks, all of its weights copied from the teacher.

    Parameters
    ----------
    teacher : PreTrainedModel
        A causal or encoder-decoder model of Hugging Face, such as GPT-2, Llama, T5 or BART. Not modified.
    layers : int or sequence of int
        Blocks of the student's decoder, or of its only stack: their number, then chosen by `copied_blocks`; or which of
        the teacher's, counted from 0.
    encoder_layers : int or sequence of int, optional
        Blocks of the encoder, likewise, for encoder-decoder models only. Default: all.
    train_embeddings : bool, default False
        Leave the embeddings to be trained. By default they are frozen, and with them a head that shares their weights.

    Returns
    -------
    PreTrainedModel
        In training mode, on the teacher's device, in its precision. [Shleifer and Rush 2020]

    Raises
    ------
    ArgumentError
        A model whose blocks cannot be told, blocks that it does not have, or weights that do not fit.

    Examples
    --------
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> teacher = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_positions=8, n_embd=4, n_layer=4, n_head=2))
    >>> student_from(teacher, 2).config.n_layer
    2
    """
    stacks = _stacks(teacher)
    wanted = {"decoder": layers, "encoder": encoder_layers} if len(stacks) == 2 else {"only": layers}
    if len(stacks) == 1 and encoder_layers is not None:
        raise ArgumentError(
            f"encoder_layers: expected None for a model without an encoder, got {quote(encoder_layers)}. Give layers."
        )
    config = copy.deepcopy(teacher.config)
    chosen: dict[str, tuple[int, ...]] = {}
    for side, (name, number) in stacks.items():
        option = "encoder_layers" if side == "encoder" else "layers"
        chosen[name] = _chosen(wanted[side], number, option)
        _resize(config, side, chosen[name], number)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are all overwritten
        student: Any = type(teacher)(config)
    _stacks(student)  # raises where another entry of the config says how many blocks there are
    _copy_weights(teacher, student, chosen)
    student.to(teacher.device)
    if getattr(teacher, "generation_config", None) is not None:
        student.generation_config = copy.deepcopy(teacher.generation_config)
    student.requires_grad_(True)
    if not train_embeddings:
        freeze_embeddings(student)
    return cast("PreTrainedModel", student.train())


def freeze_embeddings(model: nn.Module) -> int:
    """Freeze the embeddings of tokens and positions, in place.

    Parameters
    ----------
    model : Module
        Embeddings inside blocks, such as T5's of relative positions, stay as they are.

    Returns
    -------
    int
        The number of weights frozen. A head that shares the embeddings' weights is frozen with them.

    Examples
    --------
    >>> freeze_embeddings(torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.Linear(2, 3)))
    6
    """
    blocks = [name for name, _ in _outer_lists(model)]
    frozen: dict[int, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and not any(name.startswith(block + ".") for block in blocks):
            module.weight.requires_grad_(False)
            frozen[id(module.weight)] = module.weight
    return sum(weight.numel() for weight in frozen.values())


def _outer_lists(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    """Return the module lists that stand in no other, with their names."""
    found: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(outer + ".") for outer in found):
            found.append(name)
            yield name, module


def _stacks(teacher: PreTrainedModel) -> dict[str, tuple[str, int]]:
    """Return the name and length of the list of blocks for each side: "encoder" and "decoder", or "only"."""
    if getattr(type(teacher), "config_class", None) is None:  # adapters' wrappers have a config, but not of this class
        raise ArgumentError(
            f"teacher: expected a model of Hugging Face, got {type(teacher).__name__}. Unwrap it first; merge adapters."
        )
    config = teacher.config
    both = bool(getattr(config, "is_encoder_decoder", False))
    stacks: dict[str, tuple[str, int]] = {}
    for side in ("encoder", "decoder") if both else ("only",):
        counts = _number(config, side)
        fitting = [
            (name, len(blocks))
            for name, blocks in _outer_lists(teacher)
            if len(blocks) == counts and (not both or side in name.split("."))
        ]
        if len(fitting) != 1:
            raise ArgumentError(
                f"teacher: expected one list of {counts} blocks ({side}) in {type(teacher).__name__}, as its config "
                f"says, got {[name for name, _ in fitting]}. Build the student by hand, and load_state_dict."
            )
        stacks[side] = fitting[0]
    return stacks


def _number(config: Any, side: str) -> int | None:
    """Return the number of blocks that a configuration states."""
    for name in _COUNTS[side]:
        number = getattr(config, name, None)
        if number is not None:
            return int(number)
    return None


def _chosen(wanted: int | Sequence[int] | None, number: int, option: str) -> tuple[int, ...]:
    """Return which of a stack's blocks the student takes."""
    if wanted is None:
        return tuple(range(number))
    if isinstance(wanted, int):
        if not 1 <= wanted <= number:
            raise ArgumentError(
                f"{option}: expected a number of blocks from 1 to the teacher's {number}, got {quote(wanted)}. Ask for "
                "fewer."
            )
        return copied_blocks(number, wanted)
    blocks = tuple(wanted)
    if not blocks or not all(isinstance(block, int) and 0 <= block < number for block in blocks):
        raise ArgumentError(
            f"{option}: expected blocks from 0 to {number - 1}, one at least, got {quote(list(blocks))}. Blocks count "
            "from 0."
        )
    return blocks


def _resize(config: Any, side: str, blocks: tuple[int, ...], number: int) -> None:
    """Write the number of blocks into a configuration, and keep the entries of what it lists block by block."""
    for name in _COUNTS[side]:
        if getattr(config, name, None) is not None:
            setattr(config, name, len(blocks))
            break
    for name in ("layer_types", "mlp_layer_types", "no_rope_layers", "attention_layers") if side == "only" else ():
        value = getattr(config, name, None)
        if isinstance(value, (list, tuple)) and len(value) == number:
            setattr(config, name, [value[block] for block in blocks])
            if name == "attention_layers":  # GPT-Neo writes it to its file in another form
                config.attention_types = [[[value[block]], 1] for block in blocks]


def _copy_weights(teacher: nn.Module, student: Any, chosen: dict[str, tuple[int, ...]]) -> None:
    """Give the student copies of the teacher's weights; `chosen` lists the blocks for each list of blocks."""
    source = teacher.state_dict()
    weights: dict[str, Tensor] = {}
    for key in student.state_dict():
        wanted = key
        for name, blocks in chosen.items():
            if key.startswith(name + "."):
                place, _, rest = key[len(name) + 1 :].partition(".")
                wanted = f"{name}.{blocks[int(place)]}.{rest}"
                if wanted not in source:  # what only a first block has, as T5's relative positions
                    wanted = key
        if wanted not in source:
            raise ArgumentError(
                f"teacher: expected weights {wanted!r} for the student's {key!r}, got none. Choose blocks of one kind, "
                "or build the student by hand."
            )
        weights[key] = source[wanted].detach().clone()
    wrong = [key for key, weight in student.state_dict().items() if weight.shape != weights[key].shape]
    if wrong:
        raise ArgumentError(
            f"teacher: expected blocks of one shape, got {tuple(weights[wrong[0]].shape)} for the student's "
            f"{wrong[0]!r}. Choose blocks of one kind, or build the student by hand."
        )
    student.load_state_dict(weights, assign=True)  # takes over the precision too, weight by weight
    student.tie_weights()
