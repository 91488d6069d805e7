"""What a step of training needs: groups of parameters, an optimizer, a moving average of weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from parsers.training.config import TrainingConfig
from treeavg.errors import ArgumentError, FormatError, unknown

#: What `parameter_groups` of a task may name: trained at `encoder_learning_rate`; at `learning_rate`.
GROUPS = ("pretrained", "new")


class Parameters:
    """The parameters to train, by name, and their optimizer.

    Parameters
    ----------
    model : torch.nn.Module
        Frozen parameters (``requires_grad=False``) are left alone.
    groups : mapping from str to iterable of Parameter
        `GROUPS`; together, all parameters of `model` that are to be trained.
    config : TrainingConfig
        The options.
    fused : bool, default True
        Use AdamW's fused kernel, where torch has one for the device: three times as fast on a processor.

    Raises
    ------
    ArgumentError
        A group is unknown, a parameter is in two groups or in none, or is not the model's.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> parameters = Parameters(layer, {"new": layer.parameters()}, TrainingConfig())
    >>> parameters.names
    ['weight', 'bias']
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Mapping[str, Iterable[nn.Parameter]],
        config: TrainingConfig,
        *,
        fused: bool = True,
    ) -> None:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        parts: dict[tuple[str, bool], list[nn.Parameter]] = {}
        for identity, group in _places(model, groups, names).items():
            parameter = model.get_parameter(names[identity])
            parts.setdefault((group, parameter.ndim > 1), []).append(parameter)
        self._rates = [
            config.encoder_learning_rate if group == "pretrained" else config.learning_rate for group, _ in parts
        ]
        self.all = [parameter for part in parts.values() for parameter in part]
        self.names = [names[id(parameter)] for parameter in self.all]
        self.optimizer = _optimizer(
            [
                {"params": part, "weight_decay": config.weight_decay if decays else 0.0}
                for (_, decays), part in parts.items()
            ],
            config,
            fused=fused,
        )

    def set_rate(self, factor: float) -> None:
        """Set every group's learning rate to its highest times a factor.

        Parameters
        ----------
        factor : float
            0 to 1.

        Examples
        --------
        >>> parameters.set_rate(0.5)  # doctest: +SKIP
        """
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def state(self) -> dict[str, Tensor]:
        """Return the optimizer's tensors by parameter and kind, such as ``encoder.weight/exp_avg``.

        Returns
        -------
        dict from str to Tensor
            Not copies.

        Examples
        --------
        >>> parameters.state()  # doctest: +SKIP
        {}
        """
        return {
            f"{name}/{key}": value
            for name, parameter in zip(self.names, self.all, strict=True)
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }

    def set_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the optimizer the tensors that `state` returned.

        Parameters
        ----------
        tensors : mapping from str to Tensor
            Moved to the parameters' devices.

        Raises
        ------
        FormatError
            A tensor belongs to no parameter.

        Examples
        --------
        >>> parameters.set_state({})  # doctest: +SKIP
        """
        number = {name: index for index, name in enumerate(self.names)}
        state: dict[int, dict[str, Tensor]] = {}
        for full, tensor in tensors.items():
            name, _, key = full.rpartition("/")
            if name not in number:
                raise FormatError(
                    f"checkpoint: expected an optimizer of the model's parameters, got one of {name!r}, which is not "
                    "trained. Train anew in another folder."
                )
            state.setdefault(number[name], {})[key] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


def _optimizer(groups: list[dict[str, Any]], config: TrainingConfig, *, fused: bool) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate)
    if fused:
        try:
            return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
        except RuntimeError:
            pass  # before torch 2.4, not on the CPU
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)


def _places(model: nn.Module, groups: Mapping[str, Iterable[nn.Parameter]], names: Mapping[int, str]) -> dict[int, str]:
    """Return the group of each parameter that is to be trained, by its id, in the groups' order."""
    place: dict[int, str] = {}
    for group, members in groups.items():
        if group not in GROUPS:
            raise unknown("parameter_groups", group, GROUPS)
        for parameter in members:
            key = id(parameter)
            if not parameter.requires_grad or place.get(key) == group:
                continue  # frozen, or shared by two modules
            if key not in names:
                raise ArgumentError(
                    f"parameter_groups: expected parameters of the model, got another of the shape "
                    f"{tuple(parameter.shape)} in {group!r}. Make it part of the model, so that it is saved."
                )
            if key in place:
                raise ArgumentError(
                    f"parameter_groups: expected each parameter in one group, got {names[key]!r} in {place[key]!r} "
                    f"and {group!r}. Leave it in one."
                )
            place[key] = group
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in place:
            raise ArgumentError(
                f"parameter_groups: expected all parameters that are to be trained, got none of {name!r}. "
                "Put it into a group, or freeze it."
            )
    if not place:
        raise ArgumentError("parameter_groups: expected at least one parameter to train, got none. Unfreeze some.")
    return place


class MovingAverage:
    """An exponential moving average of weights, unbiased from the first step on.

    Parameters
    ----------
    names : list of str
        Of the parameters.
    parameters : list of Parameter
        What is averaged.
    decay : float
        Above 0, below 1.

    Notes
    -----
    After t steps the weights w_s of step s have the share (1 - d) d^(t - s) / (1 - d^t), which sum to 1: Adam's
    correction of its moments, applied to the weights. The initial weights have no share.

    Examples
    --------
    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> average = MovingAverage(["w"], [weight], 0.5)
    >>> average.update()
    >>> average.tensors["w"].item()
    1.0
    """

    def __init__(self, names: list[str], parameters: list[nn.Parameter], decay: float) -> None:
        self.tensors = {name: parameter.detach().clone() for name, parameter in zip(names, parameters, strict=True)}
        self._parameters = parameters
        self._decay = decay
        self.count = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present weights.

        Examples
        --------
        >>> average.update()  # doctest: +SKIP
        """
        self.count += 1
        share = (1.0 - self._decay) / (1.0 - self._decay**self.count)
        move = get_ema_multi_avg_fn(1.0 - share)  # type: ignore[no-untyped-call]
        move(list(self.tensors.values()), [parameter.detach() for parameter in self._parameters], self.count)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Continue an average from a checkpoint.

        Parameters
        ----------
        tensors : mapping from str to Tensor
            As `tensors` was.
        count : int
            Steps taken in.

        Examples
        --------
        >>> average.restore(tensors, 100)  # doctest: +SKIP
        """
        self.count = count
        for name, mean in self.tensors.items():
            mean.copy_(tensors[name])

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Put the average into the model in place of the weights, for a while.

        Yields
        ------
        None

        Examples
        --------
        >>> with average.in_force():  # doctest: +SKIP
        ...     pass
        """
        if not self.count:
            yield
            return
        kept = [parameter.detach().clone() for parameter in self._parameters]
        self._put(list(self.tensors.values()))
        try:
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
