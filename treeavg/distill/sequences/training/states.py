"""Hidden states of a student and a teacher, layer by layer, as a part of a training's loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Prompts
from treeavg.distill.sequences.layers.hidden import LinearMaps, hidden_loss
from treeavg.distill.sequences.layers.layers import LayerPair, select_layers
from treeavg.distill.sequences.reductions import reduce
from treeavg.distill.sequences.training.config import DistillationConfig
from treeavg.distill.sequences.training.teachers import Scored
from treeavg.errors import ArgumentError

__all__ = ["StateMatch", "encoder_loss"]


class StateMatch(nn.Module):
    """Pairs of layers of a student and a teacher, with maps between their widths where these differ.

    Parameters
    ----------
    config : DistillationConfig
        With `layers`, `include_last`, `hidden_norm` and `seed`.
    student : Scored
        States of one example, for their numbers and widths.
    teacher : Scored
        Likewise.

    Raises
    ------
    ArgumentError
        A strategy that does not fit the numbers of layers, or an encoder that the other model lacks.

    Notes
    -----
    Maps are made without touching torch's global random numbers.

    Examples
    --------
    >>> states = tuple(torch.zeros(1, 1, 4) for _ in range(3))
    >>> scored = Scored(torch.zeros(1, 1, 5), None, states)
    >>> StateMatch(DistillationConfig(hidden_weight=1.0), scored, scored).pairs["decoder"]
    (LayerPair(student=1, teacher=1),)
    """

    def __init__(self, config: DistillationConfig, student: Scored, teacher: Scored) -> None:
        super().__init__()
        if bool(student.encoder) != bool(teacher.encoder):
            raise ArgumentError(
                f"hidden_weight: expected 0 for {'an encoder-decoder' if student.encoder else 'a causal'} student and "
                f"{'a causal' if student.encoder else 'an encoder-decoder'} teacher, got {config.hidden_weight}. Their "
                "layers do not correspond."
            )
        self.norm, self.pairs = config.hidden_norm, dict[str, tuple[LayerPair, ...]]()
        self.maps = nn.ModuleDict()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed)
            for side in ("decoder", "encoder") if student.encoder else ("decoder",):
                own, other = getattr(student, side), getattr(teacher, side)
                self.pairs[side] = self._pairs(config, len(own) - 1, len(other) - 1)
                widths = own[0].shape[-1], other[0].shape[-1]
                if widths[0] != widths[1]:
                    self.maps[side] = LinearMaps(*widths, len(self.pairs[side])).to(own[0].dtype)

    @staticmethod
    def _pairs(config: DistillationConfig, student: int, teacher: int) -> tuple[LayerPair, ...]:
        seed = config.seed if config.layers.startswith("random") else None
        return select_layers(student, teacher, config.layers, include_last=config.include_last, seed=seed)

    def forward(self, student: Scored, teacher: Scored, mask: Tensor, side: str) -> Tensor:
        """Return the distances (B, T) of the paired states, of the "decoder" or the "encoder"."""
        maps = dict(self.maps.items()).get(side)
        assert maps is None or isinstance(maps, LinearMaps)
        return hidden_loss(
            getattr(teacher, side),
            getattr(student, side),
            self.pairs[side],
            mask,
            maps=maps,
            norm=self.norm,
            reduction="none",
        )


def encoder_loss(
    match: StateMatch,
    student: Scored,
    teacher: Scored,
    batch: Prompts,
    *,
    reduction: str,
    n_items: Tensor,
    world_size: int,
) -> Tensor:
    """Return the reduced distance of encoders' states, over the tokens of the prompts.

    Parameters
    ----------
    match : StateMatch
        With an encoder's pairs.
    student : Scored
        Differentiable.
    teacher : Scored
        On the same prompts.
    batch : Prompts
        They.
    reduction : {"token", "sequence", "sequence_mean"}
        As for `reduce`.
    n_items : Tensor
        As for `reduce`, of prompts.
    world_size : int
        As for `reduce`.

    Returns
    -------
    Tensor
        A scalar.
    """
    mask = batch.attention.bool()
    losses = match(student, teacher, mask, "encoder")
    return reduce(losses, mask, reduction=reduction, n_items=n_items, world_size=world_size)
