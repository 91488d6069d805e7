"""Divergences of next-token laws and their gradients in closed form, a block of rows at a time.

With x = log p - log q - l, where l is the log-odds of the student's share w in the mixture m = (1 - w) p + w q:

    log(p / m) = x - softplus(x) - log(1 - w)         log(q / m) = -softplus(x) - log w         (1 - w) p / m = sigma(x)

so that no mixture is formed, and nothing is added to a probability to keep its logarithm finite. A divergence is a
function of log-softmax(z / temperature); where its derivative by the probability q_i is f_i, that by z_i is
q_i (f_i - sum of q f) over the temperature [Wen et al. 2023, section 3].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "FORMS",
    "Block",
    "Form",
    "blocks_of",
    "compare",
    "compute_type",
    "log_law",
    "put",
    "rows_of_block",
    "score_term",
    "take",
]

#: Elements of a block: on a CPU a few tensors of it stay in its cache, elsewhere launches are what costs.
CPU_ELEMENTS, DEVICE_ELEMENTS = 1 << 20, 1 << 25
#: Where |x| is larger than this, the smaller of two shares is zero to any precision.
FAR = 1e4


@dataclass(frozen=True)
class Form:
    """A divergence with its options resolved.

    Parameters
    ----------
    name : str
        One of `FORMS`.
    teacher_half, student_half : float
        For mixed and tvd: what the two halves are multiplied by.
    odds : float
        For mixed: log-odds of the student's share in the mixture, where rows have none of their own.
    factor : float
        Multiplies values and gradients.
    temperature, teacher_temperature : float
        Divide the logits.
    """

    name: str
    teacher_half: float = 0.5
    student_half: float = 0.5
    odds: float = 0.0
    factor: float = 1.0
    temperature: float = 1.0
    teacher_temperature: float = 1.0


class Block(NamedTuple):
    """Results on R rows.

    Parameters
    ----------
    value : Tensor, shape (R,)
        The divergences.
    gradient : Tensor, shape (R, V), or None
        Their derivatives by the student's logits.
    odds_gradient : Tensor, shape (R,), or None
        Their derivatives by the rows' log-odds.
    """

    value: Tensor
    gradient: Tensor | None = None
    odds_gradient: Tensor | None = None


def compute_type(*tensors: Tensor) -> torch.dtype:
    """Return float64 where a tensor has it, else float32."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def blocks_of(mask: Tensor, width: int, rows: int | None = None) -> Iterator[Tensor]:
    """Yield the flat places of the mask's rows, as many at a time as fit a block of this width."""
    places = mask.flatten().nonzero()[:, 0]
    yield from torch.split(places, rows or rows_of_block(mask.device, width)) if len(places) else ()


def rows_of_block(device: torch.device, width: int) -> int:
    """Return how many rows of this width a block has."""
    return max(1, (CPU_ELEMENTS if device.type == "cpu" else DEVICE_ELEMENTS) // max(width, 1))


def take(scores: Tensor, places: Tensor) -> Tensor:
    """Return rows (R, V) of scores (B, T, V) at flat places; a view where they follow each other."""
    length = scores.shape[1]
    if scores.device.type == "cpu":
        first, last = int(places[0]), int(places[-1])
        if last - first == len(places) - 1 and (scores.is_contiguous() or first // length == last // length):
            if scores.is_contiguous():
                return scores.view(-1, scores.shape[-1])[first : last + 1]
            return scores[first // length, first % length : last % length + 1]
    return scores[places // length, places % length]


def put(gradient: Tensor, places: Tensor, block: Tensor) -> None:
    """Write rows at flat places."""
    rows = gradient.view(-1, gradient.shape[-1])
    first, last = (int(places[0]), int(places[-1])) if places.device.type == "cpu" else (0, -1)
    if last - first == len(places) - 1:
        rows[first : last + 1] = block
    else:
        rows[places] = block.to(rows.dtype)


def compare(
    form: Form,
    teacher: Tensor,
    student: Tensor,
    *,
    odds: Tensor | None = None,
    upstream: Tensor | None = None,
) -> Block:
    """Return the divergences of rows, and their gradients multiplied by `upstream` where that is given.

    Parameters
    ----------
    form : Form
        Which divergence.
    teacher, student : Tensor, floating, shape (R, V)
        Logits; not changed.
    odds : Tensor, shape (R,), optional
        Log-odds of the student's share in each row's mixture.
    upstream : Tensor, shape (R,), optional
        The derivatives of a loss by the values.

    Returns
    -------
    Block
        In float64 where the logits are, else in float32.
    """
    dtype = compute_type(teacher, student)
    log_p = log_law(teacher, form.teacher_temperature, dtype)
    log_q = log_law(student, form.temperature, dtype)
    exact = log_p.device.type != "cpu" or bool(torch.minimum(log_p.amin(), log_q.amin()) == -torch.inf)
    scale = None if upstream is None else (upstream.to(dtype) * (form.factor / form.temperature))[:, None]
    block = FORMS[form.name](form, log_p, log_q, odds, scale, exact)
    slope = block.odds_gradient
    if slope is not None:
        assert upstream is not None
        slope = slope * upstream.to(dtype) * form.factor
    return Block(block.value * form.factor, block.gradient, slope)


def score_term(student: Tensor, ids: Tensor, coefficients: Tensor) -> Tensor:
    """Return the gradients (R, V) of log q(ids) by logits, each row multiplied by its coefficient."""
    dtype = compute_type(student)
    factors = coefficients.to(dtype)[:, None]
    gradient = torch.softmax(student, -1, dtype=dtype).mul_(-factors)
    return gradient.scatter_add_(1, ids[:, None], factors)


def log_law(logits: Tensor, temperature: float, dtype: torch.dtype) -> Tensor:
    """Return log-softmax(logits / temperature) in this type."""
    if temperature != 1:
        logits = logits.to(dtype) / temperature
    return torch.log_softmax(logits, -1, dtype=dtype)


def _dot(weights: Tensor, values: Tensor) -> Tensor:
    """Return the sums over rows of products."""
    return (weights * values).sum(-1)


def _quiet(values: Tensor, weights: Tensor, exact: bool) -> Tensor:
    """Set values to zero in place where their weight is, as 0 log 0 = 0; only where there are such weights."""
    return values.masked_fill_(weights == 0, 0) if exact else values


def _kl(form: Form, log_p: Tensor, log_q: Tensor, odds: Tensor | None, scale: Tensor | None, exact: bool) -> Block:
    p = log_p.exp()
    ratio = log_p.sub_(log_q) if form.name == "kl" else log_q.neg()
    value = _dot(p, _quiet(ratio, p, exact))
    return Block(value, None if scale is None else log_q.exp_().sub_(p).mul_(scale))


def _rkl(form: Form, log_p: Tensor, log_q: Tensor, odds: Tensor | None, scale: Tensor | None, exact: bool) -> Block:
    q = log_q.exp()
    ratio = log_q.sub_(log_p) if form.name == "rkl" else log_p.neg_()
    value = _dot(q, _quiet(ratio, q, exact))
    return Block(value, None if scale is None else ratio.sub_(value[:, None]).mul_(q).mul_(scale))


def _tvd(form: Form, log_p: Tensor, log_q: Tensor, odds: Tensor | None, scale: Tensor | None, exact: bool) -> Block:
    half = 0.5 * (form.teacher_half + form.student_half)
    q = log_q.exp_()
    difference = q - log_p.exp_()
    value = half * difference.abs().sum(-1)
    if scale is None:
        return Block(value)
    signs = difference.sign_()
    return Block(value, signs.sub_(_dot(q, signs)[:, None]).mul_(q).mul_(half * scale))


def _mixed(form: Form, log_p: Tensor, log_q: Tensor, odds: Tensor | None, scale: Tensor | None, exact: bool) -> Block:
    of_p, of_q = form.teacher_half, form.student_half
    level = log_p.new_full((len(log_p),), form.odds) if odds is None else odds.to(log_p.dtype)
    x = (log_p - log_q).sub_(level[:, None])
    if exact:
        x.nan_to_num_(nan=0.0, posinf=FAR, neginf=-FAR)  # weights are zero where both are, and NaN where one is
    p, q = log_p.exp_(), log_q.exp_()
    soft = softplus(x, threshold=40)
    cancels = odds is None and bool(of_p and of_q)  # what flows through the mixture, as the share is the half's weight
    share = None if scale is None or cancels else x.sigmoid()
    over_q = _dot(q, soft)
    value = of_q * (softplus(-level, threshold=40) - over_q)
    if of_p:  # x - softplus(x) before the sum: x may be as large as a mask of -1e9, and its sum would swallow all else
        value = value + of_p * (_dot(p, x.sub_(soft)) + softplus(level, threshold=40))
    if scale is None:
        return Block(value)
    if share is None:
        return Block(value, soft.neg_().add_(over_q[:, None]).mul_(q).mul_(of_q * scale))
    rest = torch.sigmoid(-level)
    slope = of_p * (_dot(p, share) - rest) + of_q * (_dot(q, share) - rest)
    gradient = (share - soft).sub_((_dot(q, share) - over_q)[:, None]).mul_(q).mul_(of_q)
    if of_p:
        held = p.mul_(share.neg_().add_(1))
        gradient.addcmul_(q, held.sum(-1, keepdim=True), value=of_p).sub_(held, alpha=of_p)
    return Block(value, gradient.mul_(scale), slope)


#: Divergences by name: of the logarithms of two laws (R, V), which may be overwritten.
FORMS: dict[str, Callable[[Form, Tensor, Tensor, Tensor | None, Tensor | None, bool], Block]] = {
    "kl": _kl,
    "ce": _kl,
    "rkl": _rkl,
    "engine": _rkl,
    "tvd": _tvd,
    "mixed": _mixed,
}
