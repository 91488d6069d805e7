"""Adversarial matching of features: a discriminator tells a teacher's from a student's, the student learns to deceive.

The least-squares form: with features of densities r_t and r_s the best discriminator is r_t / (r_t + r_s); where they
agree it is 1/2 everywhere, its own loss 1/2 and the student's 1/4. One step of each in turn, two optimisers.
[Chung et al., ICML 2020]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from treeavg.errors import ArgumentError, quote

__all__ = ["Discriminator", "discriminator_loss", "pool", "student_adversarial_loss"]


class Discriminator(nn.Module):
    """A perceptron D with one hidden layer, from features to a number: near 1 for a teacher's, 0 for a student's.

    Parameters
    ----------
    width : int
        Width of the features.
    hidden : int, default 128
        Width of the hidden layer.

    Examples
    --------
    >>> tuple(Discriminator(4)(torch.zeros(2, 3, 4)).shape)
    (2, 3)
    """

    def __init__(self, width: int, *, hidden: int = 128) -> None:
        super().__init__()
        for where, number in (("width", width), ("hidden", hidden)):
            if not isinstance(number, int) or number < 1:
                raise ArgumentError(f"{where}: expected a whole number, at least 1, got {quote(number)}. Count again.")
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return a number for each feature.

        Parameters
        ----------
        features : Tensor, floating, shape (..., D)
            Differentiable.

        Returns
        -------
        Tensor
            Shape (...).

        Examples
        --------
        >>> tuple(Discriminator(4)(torch.zeros(5, 4)).shape)
        (5,)
        """
        values: Tensor = self.layers(features).squeeze(-1)
        return values


def pool(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean state of each row.

    Parameters
    ----------
    states : Tensor, floating, shape (B, T, D)
        Differentiable.
    mask : Tensor, bool, shape (B, T)
        Positions that count; the others may hold anything.

    Returns
    -------
    Tensor
        Shape (B, D); 0 where no position counts.

    Raises
    ------
    ArgumentError
        A mask that does not fit.

    Examples
    --------
    >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]])).tolist()
    [[2.0]]
    """
    if mask.dtype != torch.bool or mask.shape != states.shape[:2]:
        raise ArgumentError(
            f"mask: expected bool {tuple(states.shape[:2])}, as the states, got {mask.dtype} {tuple(mask.shape)}. Use "
            "mask.bool()."
        )
    kept = torch.where(mask[..., None], states, torch.zeros_like(states))
    return kept.sum(1) / mask.sum(1).clamp(min=1)[:, None]


def discriminator_loss(
    discriminator: nn.Module, teacher: Tensor, student: Tensor, *, mask: Tensor | None = None
) -> Tensor:
    """Return the loss of the discriminator's step: the mean of (1 - D(teacher))^2 + D(student)^2.

    Parameters
    ----------
    discriminator : Module
        From features (N, D) to numbers, shape (N,).
    teacher : Tensor, floating, shape (B, D) or (B, T, D)
        The teacher's features, a constant.
    student : Tensor, floating, same shape
        The student's features, a constant here.
    mask : Tensor, bool, shape (B, T), optional
        Positions that count, for features of positions. Default: all.

    Returns
    -------
    Tensor
        A scalar, differentiable in the discriminator's weights. 0 where no position counts.

    Raises
    ------
    ArgumentError
        Shapes that differ.

    Examples
    --------
    >>> float(discriminator_loss(torch.nn.Flatten(0), torch.ones(2, 1), torch.zeros(2, 1)))
    0.0
    """
    if teacher.shape != student.shape:
        raise ArgumentError(
            f"student: expected features of the teacher's shape {tuple(teacher.shape)}, got {tuple(student.shape)}. "
            "Map them to one width first."
        )
    real = _judged(discriminator, _chosen(teacher.detach(), mask))
    made = _judged(discriminator, _chosen(student.detach(), mask))
    return ((1 - real).square() + made.square()).sum() / max(real.numel(), 1)


def student_adversarial_loss(discriminator: nn.Module, student: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return the loss of the student's step: the mean of (1 - D(student))^2.

    Parameters
    ----------
    discriminator : Module
        From features (N, D) to numbers, shape (N,). Its weights are constants here and collect no gradient.
    student : Tensor, floating, shape (B, D) or (B, T, D)
        The student's features. Differentiable.
    mask : Tensor, bool, shape (B, T), optional
        Positions that count, for features of positions. Default: all.

    Returns
    -------
    Tensor
        A scalar. 0 where no position counts.

    Raises
    ------
    ArgumentError
        A mask that does not fit.

    Examples
    --------
    >>> float(student_adversarial_loss(torch.nn.Flatten(0), torch.full((2, 1), 0.5)))
    0.25
    """
    frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    features = _chosen(student, mask)
    made = _require_numbers(torch.func.functional_call(discriminator, frozen, (features,)), features)
    return (1 - made).square().sum() / max(made.numel(), 1)


def _chosen(features: Tensor, mask: Tensor | None) -> Tensor:
    """Return the features [N, D] that count."""
    if mask is None:
        return features.flatten(0, -2)
    if mask.dtype != torch.bool or mask.shape != features.shape[:-1]:
        raise ArgumentError(
            f"mask: expected bool {tuple(features.shape[:-1])}, as the features, got {mask.dtype} {tuple(mask.shape)}. "
            "Leave it out for pooled features."
        )
    return features[mask]


def _judged(discriminator: nn.Module, features: Tensor) -> Tensor:
    """Return the discriminator's numbers [N]."""
    return _require_numbers(discriminator(features), features)


def _require_numbers(values: Tensor, features: Tensor) -> Tensor:
    """Return the numbers; raise an ArgumentError where they are not one for each feature."""
    if values.shape != features.shape[:1]:
        raise ArgumentError(
            f"discriminator: expected a number for each of {features.shape[0]} features, got shape "
            f"{quote(tuple(values.shape))}. Squeeze its last dimension."
        )
    return values
