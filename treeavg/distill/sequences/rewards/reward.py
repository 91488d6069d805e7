"""Reinforcement of a student by the rewards that a teacher's logits imply: returns, advantages, policy gradient.

The rewards themselves are found in `induction`. [Hao et al., NeurIPS 2022; LLMR, LREC-COLING 2024]
"""

from __future__ import annotations

import torch
from torch import Tensor

from treeavg.distill.sequences.reductions import reduce, require_mask
from treeavg.distill.sequences.rewards.induction import VALUES, Rewards, induce, mean_rewards, state_values
from treeavg.errors import ArgumentError, quote, unknown

__all__ = [
    "BASELINES",
    "IMPORTANCE",
    "REGULARISERS",
    "VALUES",
    "Rewards",
    "advantages",
    "importance_weights",
    "induce",
    "mean_rewards",
    "pg_loss",
    "regulariser",
    "returns",
    "state_values",
]

#: A line of help for what is subtracted from returns.
BASELINES: dict[str, str] = {
    "value": "the teacher's value of the prefix",
    "none": "nothing",
    "leave_one_out": "the mean whole return of the other samples of the same input",
}
#: A line of help for how samples of another policy are weighted.
IMPORTANCE: dict[str, str] = {
    "token": "the ratio of both policies' chances of the token",
    "prefix": "the ratio of their chances of the completion up to the token",
}
#: A line of help for what is added to the policy's loss.
REGULARISERS: dict[str, str] = {
    "uniform": "the cross-entropy of the uniform distribution and the policy",
    "entropy": "the negative entropy of the policy",
}


def returns(rewards: Tensor, mask: Tensor) -> Tensor:
    """Return the summed rewards from each position to the end of its row.

    Parameters
    ----------
    rewards : Tensor, floating, shape (B, T)
        Of tokens.
    mask : Tensor, bool, shape (B, T)
        Positions that count.

    Returns
    -------
    Tensor
        Shape (B, T), 0 where the mask is False.

    Raises
    ------
    ArgumentError
        Shapes that differ.

    Examples
    --------
    >>> returns(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[True, True, False]])).tolist()
    [[3.0, 2.0, 0.0]]
    """
    require_mask(mask, rewards.shape)
    kept = torch.where(mask, rewards, torch.zeros_like(rewards))
    return torch.where(mask, kept.flip(1).cumsum(1).flip(1), torch.zeros_like(rewards))


def advantages(
    found: Rewards,
    mask: Tensor,
    *,
    baseline: str = "value",
    samples: int | None = None,
    scale: float = 100.0,
    sparse: bool = False,
) -> Tensor:
    """Return how much better a completion went on than was to be expected: (return - baseline) / scale.

    Parameters
    ----------
    found : Rewards
        From `induce` or `mean_rewards`.
    mask : Tensor, bool, shape (B, T)
        Positions that count.
    baseline : str, default "value"
        One of `BASELINES`.
    samples : int, optional
        For leave_one_out, which needs it: each input has this many rows, 2 at least, one after the other.
    scale : float, default 100.0
        Divides, so that few advantages are clipped.
    sparse : bool, default False
        Give every token that of the whole completion, the first one's.

    Returns
    -------
    Tensor
        Shape (B, T), 0 where the mask is False. With rewards by max and the baseline "value": never above 0, and 0 just
        where the teacher's greedy choice is followed to the end. [NeurIPS 2022; LLMR]

    Raises
    ------
    ArgumentError
        An unknown baseline, an option that it does not use, a scale that is not positive, or shapes that differ.

    Examples
    --------
    >>> found = Rewards(torch.tensor([[1.0, 1.5]]), torch.tensor([[3.0, 2.0]]))
    >>> advantages(found, torch.tensor([[True, True]]), scale=1.0).tolist()
    [[-0.5, -0.5]]
    """
    if baseline not in BASELINES:
        raise unknown("baseline", baseline, BASELINES)
    if not 0 < scale < float("inf"):
        raise ArgumentError(f"scale: expected a positive number, got {quote(scale)}. Use 1.0 to leave returns as is.")
    gained = returns(found.rewards, mask)
    _require_samples(baseline, samples, gained.shape[0])
    if baseline == "value":
        gained = gained - found.values
    elif baseline == "leave_one_out":
        assert samples is not None
        whole = gained[:, 0].view(-1, samples)
        gained = gained - ((whole.sum(1, keepdim=True) - whole) / (samples - 1)).view(-1, 1)
    if sparse:
        gained = gained[:, :1].expand_as(gained)
    return torch.where(mask, gained / scale, torch.zeros_like(gained))


def importance_weights(student_logp: Tensor, behaviour_logp: Tensor, mask: Tensor, *, level: str) -> Tensor:
    """Return the weights of tokens that another policy than the student has drawn.

    Parameters
    ----------
    student_logp : Tensor, floating, shape (B, T)
        Log-probabilities of the tokens; from the student in evaluation mode, without dropout's noise.
    behaviour_logp : Tensor, floating, shape (B, T)
        Under the policy that drew them, after its cuts such as top-k.
    mask : Tensor, bool, shape (B, T)
        Positions that count.
    level : str
        One of `IMPORTANCE`.

    Returns
    -------
    Tensor
        Shape (B, T), constants, at most exp(80), so that a gain of 0 stays 0; 1 where the mask is False. "prefix" makes
        up for how the other policy came to a token, not for how it went on from there: returns hold later rewards too,
        so keep both policies close. [LLMR: token;
        the NeurIPS 2022 code divides the token's chance by the prefix's, which is neither]

    Raises
    ------
    ArgumentError
        An unknown level, or shapes that differ.

    Examples
    --------
    >>> half, all = torch.tensor([[0.5, 0.5]]).log(), torch.zeros(1, 2)
    >>> importance_weights(half, all, torch.tensor([[True, True]]), level="prefix").tolist()
    [[0.5, 0.25]]
    """
    if level not in IMPORTANCE:
        raise unknown("level", level, IMPORTANCE)
    require_mask(mask, student_logp.shape)
    require_mask(mask, behaviour_logp.shape)
    ratio = student_logp.detach() - behaviour_logp.detach()
    ratio = torch.where(mask, ratio, torch.zeros_like(ratio))
    ratio = ratio.cumsum(1) if level == "prefix" else ratio
    return torch.where(mask, ratio.clamp(max=80).exp(), torch.ones_like(ratio))


def regulariser(kind: str, logits: Tensor) -> Tensor:
    """Return what keeps a policy from collapsing, for each position; `pg_loss` adds it.

    Parameters
    ----------
    kind : str
        One of `REGULARISERS`.
    logits : Tensor, floating, shape (B, T, V)
        The student's. Differentiable. Cut columns of no token off first.

    Returns
    -------
    Tensor
        Shape (B, T). [Both released codes use "uniform" and call it entropy]

    Raises
    ------
    ArgumentError
        An unknown kind.

    Examples
    --------
    >>> logits = torch.zeros(1, 1, 4)
    >>> [round(float(regulariser(kind, logits)), 4) for kind in ("uniform", "entropy")]
    [1.3863, -1.3863]
    """
    if kind not in REGULARISERS:
        raise unknown("kind", kind, REGULARISERS)
    log_q = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    return -log_q.mean(-1) if kind == "uniform" else (log_q.exp() * log_q).sum(-1)


def pg_loss(
    student_logp: Tensor,
    gains: Tensor,
    mask: Tensor,
    *,
    importance: Tensor | None = None,
    clip: float | None = 1.0,
    penalty: Tensor | None = None,
    penalty_weight: float = 0.1,
    reduction: str = "token",
    n_items: float | Tensor | None = None,
) -> Tensor:
    """Return the loss whose gradient is the negative policy gradient: -log q times a constant weight.

    Parameters
    ----------
    student_logp : Tensor, floating, shape (B, T)
        Log-probabilities log q of the tokens. Differentiable.
    gains : Tensor, floating, shape (B, T)
        From `advantages`. Constants.
    mask : Tensor, bool, shape (B, T)
        Positions that count.
    importance : Tensor, floating, shape (B, T), optional
        From `importance_weights`. Default: 1, for samples of the student itself.
    clip : float or None, default 1.0
        Weights, the products of gains and importance, are kept between -clip and clip. None: as they are.
    penalty : Tensor, floating, shape (B, T), optional
        From `regulariser`. Differentiable.
    penalty_weight : float, default 0.1
        Multiplies it. Means nothing without a penalty.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        As in `reductions.reduce`. Only with "sequence" the expected gradient is exactly that of the expected return.
    n_items : float or Tensor, optional
        Divide by this number in place of that of the batch.

    Returns
    -------
    Tensor
        A scalar, or shape (B, T) for ``reduction="none"``. 0, connected to the graph, where no position counts.

    Raises
    ------
    ArgumentError
        Shapes that differ, a clip that is not positive, or a weight without a penalty.

    Examples
    --------
    >>> logp, mask = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[True, True]])
    >>> round(float(pg_loss(logp, torch.tensor([[1.0, -3.0]]), mask)), 4)  # -3 counts as -1
    0.0
    """
    for tensor in (student_logp, gains, importance, penalty):
        if tensor is not None:
            require_mask(mask, tensor.shape)
    if clip is not None and not clip > 0:
        raise ArgumentError(f"clip: expected a positive number, got {quote(clip)}. Pass None to clip nothing.")
    if penalty is None and penalty_weight != 0.1:
        raise ArgumentError(
            f"penalty_weight: expected a penalty to weigh, got {quote(penalty_weight)} and no penalty. Give "
            "penalty=regulariser(...)."
        )
    factors = gains.detach() if importance is None else gains.detach() * importance.detach()
    factors = factors if clip is None else factors.clamp(-clip, clip)
    # a masked token may have -inf, and 0 times that no gradient
    logp = torch.where(mask, student_logp, torch.zeros_like(student_logp))
    losses = -logp * torch.where(mask, factors, torch.zeros_like(factors)).to(logp.dtype)
    if penalty is not None:
        losses = losses + penalty_weight * penalty
    return reduce(losses, mask, reduction=reduction, n_items=n_items)


def _require_samples(baseline: str, samples: int | None, rows: int) -> None:
    """Raise an ArgumentError where the number of samples does not fit the baseline or the rows."""
    if baseline != "leave_one_out":
        if samples is not None:
            raise ArgumentError(f"samples: expected None for {baseline!r}, got {quote(samples)}. Leave samples out.")
    elif not isinstance(samples, int) or samples < 2 or rows % samples:
        raise ArgumentError(
            f"samples: expected a number, 2 at least, that divides the {rows} rows, got {quote(samples)}. Draw the "
            "same number of completions for each input."
        )
