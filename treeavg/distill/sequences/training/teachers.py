"""Teachers beside a training: frozen, never part of the student; one, several, or the student without its adapters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from treeavg.distill.sequences.align import Completions, Prompts, align
from treeavg.distill.sequences.ensembling.averaging import average
from treeavg.distill.sequences.losses.heads import Head, head_of
from treeavg.distill.sequences.running import frozen, unwrapped
from treeavg.errors import ArgumentError, quote

__all__ = ["BASE", "Scored", "Teachers", "merged", "score"]

#: In place of a teacher: the student's own base model, its adapters turned off.
BASE = "base"


class Scored(NamedTuple):
    """What a model says about completions.

    Parameters
    ----------
    scores : Tensor, shape (B, T, V) or (B, T, H)
        Logits, or hidden states before the head.
    head : Head or None
        The head, beside hidden states.
    decoder : tuple of Tensor, each of shape (B, T, D)
        States of all layers at the same places, the embeddings first; empty where not asked for.
    encoder : tuple of Tensor, each of shape (B, P, D)
        Likewise of an encoder's.
    """

    scores: Tensor
    head: Head | None = None
    decoder: tuple[Tensor, ...] = ()
    encoder: tuple[Tensor, ...] = ()


def score(
    model: nn.Module, batch: Prompts, completions: Completions, *, states: bool = False, fused: bool = False
) -> Scored:
    """Return what a model says about completions, in the mode that it is in.

    Parameters
    ----------
    model : torch.nn.Module
        Also wrapped.
    batch : Prompts
        Its inputs.
    completions : Completions
        Their outputs.
    states : bool, default False
        Return the states of all layers too.
    fused : bool, default False
        Return hidden states and a head in place of logits.

    Returns
    -------
    Scored

    Raises
    ------
    ArgumentError
        As `align`; or the model does not return its states.
    """
    if fused:
        hidden, head = align(model, batch, completions, output="hidden").scores, head_of(model)
        return Scored(hidden.to(head.weight.dtype), head)  # in mixed precision the backbone's is another
    if not states:
        return Scored(align(model, batch, completions).scores)
    with _overheard(model) as outputs:
        logits = align(model, batch, completions).scores
    if not outputs:
        raise ArgumentError(
            f"model: expected one that runs its own forward pass, got {type(model).__name__}, which goes around it. "
            "Leave hidden_weight out."
        )
    found, length = outputs[-1], completions.ids.shape[1]
    if unwrapped(model).config.is_encoder_decoder:
        decoder = tuple(layer[:, :length] for layer in found.decoder_hidden_states)
        return Scored(logits, None, decoder, tuple(found.encoder_hidden_states))
    first = batch.ids.shape[1] - 1
    return Scored(logits, None, tuple(layer[:, first : first + length] for layer in found.hidden_states))


@contextmanager
def _overheard(model: nn.Module) -> Iterator[list[Any]]:
    """Ask a model for the states of its layers, and note what it returns, whoever calls it."""
    target: Any = model
    while isinstance(target, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        target = target.module
    if hasattr(target, "get_base_model"):
        target = target.base_model  # adapters call their model's forward, past its hooks
    outputs: list[Any] = []

    def ask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "output_hidden_states": True}

    def note(module: nn.Module, args: Any, output: Any) -> None:
        outputs.append(output)

    hooks = [target.register_forward_pre_hook(ask, with_kwargs=True), target.register_forward_hook(note)]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def merged(parts: Sequence[tuple[Tensor | None, Scored]]) -> list[Scored]:
    """Return what the teachers say about all rows: one part for each teacher of all rows, one for those of some.

    Parameters
    ----------
    parts : sequence of tuple of Tensor or None, and Scored
        From `Teachers.score`, without heads.

    Returns
    -------
    list of Scored
        Logits are cut to the narrowest head.

    Examples
    --------
    >>> one, other = (Scored(torch.full((1, 1, 2), value)) for value in (1.0, 2.0))
    >>> merged([(torch.tensor([1]), one), (torch.tensor([0]), other)])[0].scores[:, 0, 0].tolist()
    [2.0, 1.0]
    """
    rows = [some for some, _ in parts if some is not None]
    if not rows:
        return [part for _, part in parts]
    order = torch.cat(rows).argsort()
    width = min(part.scores.shape[-1] for _, part in parts)

    def states(side: str) -> tuple[Tensor, ...]:
        layers = zip(*(getattr(part, side) for _, part in parts), strict=True)
        return tuple(torch.cat(layer)[order] for layer in layers)

    scores = torch.cat([part.scores[..., :width] for _, part in parts])[order]
    return [Scored(scores, None, states("decoder"), states("encoder"))]


class Teachers:
    """One or several frozen models. They are in evaluation mode and without gradients whenever they are asked.

    This is no module, so that a student's ``train()`` and a trainer's optimiser never reach them.

    Parameters
    ----------
    models : sequence of torch.nn.Module
        Perhaps none. Their parameters stop requiring gradients, and they are put in evaluation mode.
    base : torch.nn.Module, optional
        A student with adapters, which is the teacher when they are off.
    weights : sequence of float, optional
        One for each model. Default: equal.
    kind : {"token", "prefix", "geometric", "teacher_id", "min_ce"}, default "token"
        How several are averaged, or how each row gets one.
    names : sequence of str or int, optional
        What the models are called. Default: their places.

    Raises
    ------
    ArgumentError
        Weights that do not fit.

    Examples
    --------
    >>> from torch.nn import Linear
    >>> teacher = Linear(1, 1)
    >>> len(Teachers([teacher])), teacher.training, teacher.weight.requires_grad
    (1, False, False)
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        *,
        base: nn.Module | None = None,
        weights: Sequence[float] | None = None,
        kind: str = "token",
        names: Sequence[str | int] | None = None,
    ) -> None:
        self.models: list[nn.Module] = list(models)
        self.names: list[str | int] = list(range(len(self.models)) if names is None else names)
        self.base, self.weights, self.kind = base, weights, kind
        for model in self.models:
            model.eval().requires_grad_(False)
        if weights is not None and (
            len(weights) != len(self) or min(weights, default=0) < 0 or not 0 < sum(weights) < float("inf")
        ):
            raise ArgumentError(
                f"teacher_weights: expected {len(self)} non-negative numbers, one for each teacher, not all 0, got "
                f"{quote(weights)}. Pass None for equal weights."
            )

    def __len__(self) -> int:
        return len(self.models) + (self.base is not None)

    def to(self, device: torch.device) -> None:
        """Move them to a device, but those that are placed already, perhaps quantised.

        Parameters
        ----------
        device : torch.device
            Where the student is.

        Returns
        -------
        None
        """
        for model in self.models:
            if getattr(model, "hf_device_map", None) is None:
                model.to(device)

    @contextmanager
    def running(self, place: int = 0) -> Iterator[Any]:
        """Yield a teacher in evaluation mode, without gradients; a student is put back as it was.

        Parameters
        ----------
        place : int, default 0
            Which.

        Yields
        ------
        torch.nn.Module
        """
        if place < len(self.models):
            with frozen(self.models[place]) as model:
                yield model
            return
        base: Any = self.base
        wanted = [(parameter, parameter.requires_grad) for parameter in base.parameters()]
        try:
            with base.disable_adapter(), frozen(base) as model:
                yield model
        finally:  # adapters come back trainable, also those that were not
            for parameter, was in wanted:
                parameter.requires_grad_(was)

    def score_one(
        self, place: int, batch: Prompts, completions: Completions, *, states: bool = False, fused: bool = False
    ) -> Scored:
        """Return what a teacher says about completions.

        Parameters
        ----------
        place : int
            Which.
        batch : Prompts
            Its inputs.
        completions : Completions
            Their outputs.
        states : bool, default False
            As for the function `score`.
        fused : bool, default False
            As for the function `score`.

        Returns
        -------
        Scored
        """
        with self.running(place) as model:
            return score(model, batch, completions, states=states, fused=fused)

    def score(
        self,
        batch: Prompts,
        completions: Completions,
        *,
        states: bool = False,
        fused: bool = False,
        who: Tensor | None = None,
    ) -> list[tuple[Tensor | None, Scored]]:
        """Return what the teachers say about completions.

        Parameters
        ----------
        batch : Prompts
            The teachers' inputs.
        completions : Completions
            Their outputs.
        states : bool, default False
            As for the function `score`.
        fused : bool, default False
            As for the function `score`.
        who : Tensor, int64, shape (B,), optional
            The teacher of each row. Default: all teach all rows.

        Returns
        -------
        list of tuple of Tensor or None, and Scored
            Rows, and what one teacher says about them; None for all rows.
        """
        options: dict[str, Any] = {"states": states, "fused": fused}
        if who is None:
            return [(None, self.score_one(place, batch, completions, **options)) for place in range(len(self))]
        found: list[tuple[Tensor | None, Scored]] = []
        for place in range(len(self)):
            rows = (who == place).nonzero()[:, 0]
            if len(rows):
                inputs = Prompts(batch.ids[rows], batch.attention[rows])
                outputs = Completions(*(part[rows] for part in completions))
                found.append((rows, self.score_one(place, inputs, outputs, **options)))
        return found

    def law(self, scored: Sequence[Scored], ids: Tensor, size: int, *, temperature: float) -> tuple[Tensor, float]:
        """Return the teachers' logits, or their average's, and the temperature that is still to be applied.

        Parameters
        ----------
        scored : sequence of Scored
            From `score`.
        ids : Tensor, int64, shape (B, T)
            The tokens.
        size : int
            Columns to keep.
        temperature : float
            Of the teachers. An average is one of laws at that temperature.

        Returns
        -------
        logits : Tensor, shape (B, T, size)
        temperature : float
        """
        logits = [one.scores[..., :size] for one in scored]
        if len(logits) == 1:
            return logits[0], temperature
        with torch.no_grad():
            given = ids if self.kind == "prefix" else None
            law = average(logits, kind=self.kind, ids=given, weights=self.weights, temperature=temperature)
            return law, 1.0
