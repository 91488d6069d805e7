"""The options of step-wise losses, checked and resolved; shared by the dense and the fused form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from treeavg.distill.sequences.align import require_ids, require_in_vocabulary
from treeavg.distill.sequences.losses.rows import Form
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["HALVES", "KINDS", "MIXTURES", "Extra", "form_of", "odds_level", "require_finite_losses", "require_positive"]

#: A line of help for each loss, and whose sequences its exact sum is over.
KINDS: dict[str, tuple[str, str]] = {
    "ce": ("-sum of p log q, soft cross-entropy: kl with the teacher's entropy", "teacher"),
    "kl": ("KL(p || q) of the next token", "teacher"),
    "rkl": ("KL(q || p), the reverse", "student"),
    "engine": ("-sum of q log p: rkl without its entropy", "student"),
    "js": ("Jensen-Shannon, a half on each one's sequences", "both"),
    "gjsd": ("generalised Jensen-Shannon, both halves on every prefix; at the ends kl and rkl", "both"),
    "tvd": ("total variation, a half on each one's sequences", "both"),
}
HALVES = ("both", "teacher", "student")
MIXTURES = ("token", "prefix")
#: Log-odds of a prefix's mixture are held within plus and minus this.
LARGEST_ODDS = 30.0


def form_of(
    kind: str,
    *,
    half: str = "both",
    student_weight: float = 0.5,
    mixture: str = "token",
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    scale_by_temperature: bool = False,
    normalize: bool = False,
) -> Form:
    """Return a loss with its options checked and resolved.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    half : {"both", "teacher", "student"}, default "both"
        As for `sequence_loss`, like the others.
    student_weight : float, default 0.5
        The student's share.
    mixture : {"token", "prefix"}, default "token"
        How it mixes.
    temperature : float, default 1.0
        Divides the logits.
    teacher_temperature : float, optional
        Divides the teacher's.
    scale_by_temperature : bool, default False
        Multiply by the temperature's power.
    normalize : bool, default False
        Divide by the shares.

    Returns
    -------
    Form

    Raises
    ------
    ArgumentError
        An unknown value, or an option that means nothing for this kind.

    Examples
    --------
    >>> form_of("gjsd", student_weight=1.0).name
    'kl'
    """
    for where, value, known in (("kind", kind, KINDS), ("half", half, HALVES), ("mixture", mixture, MIXTURES)):
        if value not in known:
            raise unknown(where, value, known)
    weight = _checked_weight(kind, student_weight)
    if half != "both" and kind not in ("js", "tvd"):
        raise _meaningless("half", kind, half, "both", "js and tvd have halves")
    if mixture != "token" and kind != "js":
        raise _meaningless("mixture", kind, mixture, "token", "only js takes a prefix's odds")
    if normalize and kind != "gjsd":
        raise _meaningless("normalize", kind, normalize, False, "only gjsd is divided by its shares")
    tau = require_positive("temperature", temperature)
    teacher_tau = tau if teacher_temperature is None else require_positive("teacher_temperature", teacher_temperature)
    factor = (tau if kind == "tvd" else tau * tau) if scale_by_temperature else 1.0
    if kind == "gjsd" and weight in (0, 1):
        return Form("kl" if weight else "rkl", factor=factor, temperature=tau, teacher_temperature=teacher_tau)
    if normalize:
        factor /= weight * (1 - weight)
    return Form(
        "mixed" if kind in ("js", "gjsd") else kind,
        teacher_half=0.0 if half == "student" else 1 - weight,
        student_half=0.0 if half == "teacher" else weight,
        odds=math.log(weight / (1 - weight)) if kind in ("js", "gjsd") else 0.0,
        factor=factor,
        temperature=tau,
        teacher_temperature=teacher_tau,
    )


def _checked_weight(kind: str, weight: float) -> float:
    if kind in ("js", "gjsd", "tvd"):
        ends = kind != "js"
        if not isinstance(weight, (int, float)) or not (0 < weight < 1 or (ends and weight in (0, 1))):
            between = "from 0 to 1" if ends else "between 0 and 1, the ends left out"
            raise ArgumentError(
                f"student_weight: expected a number {between}, for {kind!r}, got {quote(weight)}. Use 0.5 for equal "
                "halves."
            )
    elif weight != 0.5:
        raise _meaningless("student_weight", kind, weight, 0.5, "js, gjsd and tvd have two sides to weigh")
    return float(weight)


def require_positive(where: str, value: float) -> float:
    """Return a positive, finite number; raise an ArgumentError for anything else."""
    if not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ArgumentError(f"{where}: expected a positive number, got {quote(value)}. Use 1.")
    return float(value)


def _meaningless(where: str, kind: str, value: object, default: object, why: str) -> ArgumentError:
    return ArgumentError(f"{where}: expected {default!r} for {kind!r}, as {why}, got {quote(value)}. Leave it out.")


@dataclass(frozen=True)
class Extra:
    """What some losses need for each token, checked.

    Parameters
    ----------
    odds : Tensor, shape (B, T), or None
        Log-odds of the student's share in the mixture.
    ids : Tensor, int64, shape (B, T), or None
        Tokens that the student chose, where its choice gets a gradient.
    baseline : Tensor, shape (B, T), or None
        Subtracted from the losses to come.
    """

    odds: Tensor | None = None
    ids: Tensor | None = None
    baseline: Tensor | None = None

    @classmethod
    def checked(
        cls,
        mask: Tensor,
        *,
        vocabulary: int,
        half: str,
        mixture: str,
        odds: Tensor | None,
        score_function: bool,
        ids: Tensor | None,
        baseline: Tensor | None,
    ) -> Extra:
        """Return them; raise an ArgumentError where one lacks or means nothing."""
        if (odds is None) != (mixture == "token"):
            raise ArgumentError(
                f"prefix_log_odds: expected {'a tensor' if odds is None else 'None'} with mixture={mixture!r}, got "
                f"{'None' if odds is None else 'a tensor'}. The prefix mixture needs it, and only that."
            )
        if score_function != (ids is not None) or (baseline is not None and not score_function):
            raise ArgumentError(
                "score_function: expected True with ids (and perhaps a baseline), or False without, got "
                f"score_function={score_function}, ids {'not ' if ids is None else ''}given, baseline "
                f"{'not ' if baseline is None else ''}given. Give the tokens that the student sampled."
            )
        if score_function and half == "teacher":
            raise ArgumentError(
                "score_function: expected False with half='teacher', whose tokens the student did not choose, got "
                "True. Leave it out."
            )
        for where, tensor in (("prefix_log_odds", odds), ("ids", ids), ("baseline", baseline)):
            if tensor is not None and tensor.shape != mask.shape:
                raise ArgumentError(
                    f"{where}: expected the mask's shape {tuple(mask.shape)}, got {tuple(tensor.shape)}. Give one "
                    "number for each token."
                )
        if ids is not None:
            require_ids(ids, "ids")
            ids = torch.where(mask, ids, 0)
            require_in_vocabulary(ids, vocabulary)
        return cls(odds, ids, None if baseline is None else baseline.detach())

    def coefficients(self, upstream: Tensor, losses: Tensor, mask: Tensor) -> Tensor:
        """Return what the gradients of the chosen tokens' log-probabilities are multiplied by, (B, T).

        That is the sum of the weighted losses after each, as a token does not change the loss of its own position.
        """
        weighted = torch.where(mask, upstream * losses, 0)
        later = weighted.flip(1).cumsum(1).flip(1) - weighted
        if self.baseline is not None:
            later = later - upstream * self.baseline.to(upstream.dtype)
        return torch.where(mask, later, 0)


def require_finite_losses(losses: Tensor, mask: Tensor, kind: str) -> None:
    """Raise an ArgumentError where a loss on the CPU is NaN or infinite; elsewhere it would wait for the device."""
    if losses.device.type != "cpu" or bool(losses.detach().isfinite().all()):
        return
    row, place = (int(index) for index in (~losses.detach().isfinite() & mask).nonzero()[0])
    value = losses[row, place].item()
    if math.isnan(value):
        raise ArgumentError(
            f"logits[{row}, {place}]: expected numbers, got NaN or an infinity in the teacher's or the student's. Look "
            "at their inputs, or mask the position."
        )
    raise ArgumentError(
        f"logits[{row}, {place}]: expected a finite {kind!r}, got {value}: one side gives probability 0 to what "
        "the other does not. Cut padded tokens off both, or use 'js' or 'tvd', which are bounded."
    )


def odds_level(odds: Tensor, form: Form) -> Tensor:
    """Return the log-odds of the student's share after each prefix [Wen et al. 2023, erratum]."""
    return (odds.detach() + form.odds).clamp(-LARGEST_ODDS, LARGEST_ODDS)
