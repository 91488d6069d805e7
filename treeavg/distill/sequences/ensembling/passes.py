"""The passes of a step: components of one model go through it together, as the rows of one wider batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.distill.sequences.ensembling.protocol import Component, Decoder, Stackable

__all__ = ["Passes"]


class Passes:
    """The decoders of K components over the same B sentences: one for each model, whatever the number of its inputs.

    A shared decoder has the rows of its first component, then as many of each further one; all components hold the same
    hypotheses, so that each part has the same order.

    Parameters
    ----------
    components : sequence of Component
        K of them, over the same sentences.

    Examples
    --------
    >>> from treeavg.distill.sequences.ensembling.components import FunctionComponent
    >>> one = FunctionComponent(lambda _, prefixes: torch.zeros(len(prefixes), 3), 2, 3)
    >>> [tuple(logits.shape) for logits in Passes([one, one]).first()]
    [(2, 3), (2, 3)]
    """

    def __init__(self, components: Sequence[Component]) -> None:
        self.rows = components[0].sentences
        self.groups: list[list[int]] = []
        for place, component in enumerate(components):
            for group in self.groups:
                leader = components[group[0]]
                if isinstance(leader, Stackable) and leader.stacks_with(component):
                    group.append(place)
                    break
            else:
                self.groups.append([place])
        self.decoders = [_decoder([components[place] for place in group]) for group in self.groups]

    def first(self) -> list[Tensor]:
        """Return each component's logits (B, V) of the first tokens.

        Returns
        -------
        list of Tensor
            In the order of the components.
        """
        return self._parted([decoder.first() for decoder in self.decoders])

    def step(self, parents: Tensor, tokens: Tensor) -> list[Tensor]:
        """Return each component's logits (R, V) after one more token.

        Parameters
        ----------
        parents : Tensor, int64, shape (R,)
            The rows of the call before that go on.
        tokens : Tensor, int64, shape (R,)
            Their next tokens.

        Returns
        -------
        list of Tensor
            In the order of the components.
        """
        found = []
        for group, decoder in zip(self.groups, self.decoders, strict=True):
            starts = self.rows * torch.arange(len(group), device=parents.device)
            found.append(decoder.step((starts[:, None] + parents).flatten(), tokens.repeat(len(group))))
        self.rows = len(parents)
        return self._parted(found)

    def _parted(self, logits: Sequence[Tensor]) -> list[Tensor]:
        """Return the parts of shared decoders' logits as those of their components."""
        parts = {
            place: part
            for group, wide in zip(self.groups, logits, strict=True)
            for place, part in zip(group, [wide] if len(group) == 1 else wide.chunk(len(group)), strict=True)
        }
        return [parts[place] for place in range(len(parts))]


def _decoder(components: Sequence[Component]) -> Decoder:
    leader, *others = components
    return leader.stacked(others) if others and isinstance(leader, Stackable) else leader.decoder()
