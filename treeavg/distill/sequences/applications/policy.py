"""Policy losses and rewards: group-relative advantages, direct preferences, and what distillation lends to both."""

from __future__ import annotations

import re

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from treeavg.distill.sequences.reductions import reduce
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["dpo_loss", "group_advantages", "grpo_loss", "rkl_advantages", "tagged_reward"]


def group_advantages(rewards: Tensor, *, scale: bool = True, epsilon: float = 1e-4) -> Tensor:
    """Return how much better each sample is than the others of its group.

    Parameters
    ----------
    rewards : Tensor, shape (B, G)
        Rewards of G >= 2 samples for each of B inputs; whole numbers and bool count as float32.
    scale : bool, default True
        Divide by the group's standard deviation (that of a sample, G - 1) plus `epsilon`.
    epsilon : float, default 1e-4
        Keeps the division finite. Positive.

    Returns
    -------
    Tensor
        Shape (B, G), constants. Each row sums to 0, and is 0 throughout where all its rewards are equal.

    Raises
    ------
    ArgumentError
        Another shape, groups of one, or rewards that are not finite.

    References
    ----------
    [Shao et al. 2024 (GRPO), section 4.1.2].

    Examples
    --------
    >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]]), scale=False).tolist()
    [[0.5, -0.5, -0.5, 0.5]]
    """
    if rewards.dim() != 2 or rewards.shape[1] < 2:
        raise ArgumentError(
            f"rewards: expected shape (inputs, samples) with 2 samples or more, got {tuple(rewards.shape)}. "
            "Draw several samples for each input and keep them in one row."
        )
    if not bool(rewards.isfinite().all()):
        raise ArgumentError("rewards: expected finite numbers, got NaN or infinity. Give a failed sample a low reward.")
    if not epsilon > 0:
        raise ArgumentError(f"epsilon: expected a positive number, got {quote(epsilon)}. Use 1e-4.")
    rewards = rewards.detach()
    rewards = rewards if rewards.is_floating_point() else rewards.float()
    advantages = rewards - rewards.mean(1, keepdim=True)
    if scale:
        advantages = advantages / (rewards.std(1, keepdim=True) + epsilon)
    # The mean of equal numbers may be off by a rounding, which the small divisor would blow up.
    equal = (rewards == rewards[:, :1]).all(1, keepdim=True)
    return advantages.masked_fill(equal, 0.0)


def rkl_advantages(teacher_log_prob: Tensor, student_log_prob: Tensor, mask: Tensor) -> Tensor:
    """Return the advantages log p - log q of sampled tokens: on-policy reverse KL as a policy gradient.

    Parameters
    ----------
    teacher_log_prob, student_log_prob : Tensor, floating, shape (B, T)
        Log-probabilities of the tokens that the student drew.
    mask : Tensor, bool, shape (B, T)
        The completion.

    Returns
    -------
    Tensor
        Shape (B, T), constants, 0 outside the mask. With `grpo_loss` and old log-probabilities equal to the student's,
        the expected gradient is that of the step-wise KL(q || p), prefixes held fixed.

    Raises
    ------
    ArgumentError
        Shapes that differ, or a mask that is not bool.

    Examples
    --------
    >>> teacher, student = torch.tensor([[-1.0, -9.0]]), torch.tensor([[-2.0, -1.0]])
    >>> rkl_advantages(teacher, student, torch.tensor([[True, False]])).tolist()
    [[1.0, 0.0]]
    """
    _same_shape("student_log_prob", student_log_prob, "teacher_log_prob", teacher_log_prob)
    _same_shape("mask", mask, "teacher_log_prob", teacher_log_prob)
    _require_bool(mask)
    return (teacher_log_prob - student_log_prob).detach().masked_fill(~mask, 0.0)


def grpo_loss(
    log_prob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    old_log_prob: Tensor | None = None,
    clip: float = 0.2,
    reference_log_prob: Tensor | None = None,
    beta: float = 0.0,
    reduction: str = "token",
    n_items: float | None = None,
) -> Tensor:
    """Return the clipped policy loss -min(rho A, clip(rho) A), with a pull towards a reference policy on request.

    Parameters
    ----------
    log_prob : Tensor, floating, shape (B, T)
        Log-probabilities of the sampled tokens under the policy that is trained.
    advantages : Tensor, floating, shape (B,) or (B, T)
        Of each sequence, such as `group_advantages` flattened, or of each token, such as `rkl_advantages` or an
        induced reward's. Constants.
    mask : Tensor, bool, shape (B, T)
        The completion; other positions are ignored, whatever they hold.
    old_log_prob : Tensor, floating, shape (B, T), optional
        The same under the policy that drew them. Default: the trained policy itself, so that every ratio rho is 1 and
        the gradient is that of REINFORCE.
    clip : float, default 0.2
        Ratios count between ``1 - clip`` and ``1 + clip``. Between 0 and 1.
    reference_log_prob : Tensor, floating, shape (B, T), optional
        The same under the reference policy; needed where `beta` is not 0.
    beta : float, default 0.0
        Weight of ``exp(d) - d - 1`` with d = log reference - log policy, an estimate of KL(policy || reference).
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        As in the sequence losses. [Shao et al. 2024] print ``"sequence_mean"``.
    n_items : float, optional
        Divide by this number: that of the whole step.

    Returns
    -------
    Tensor
        A scalar, or shape (B, T) for ``reduction="none"``.

    Raises
    ------
    ArgumentError
        Shapes that differ, a mask that is not bool, a number out of range, or a reference without `beta` or the other
        way round.

    References
    ----------
    [Shao et al. 2024 (GRPO), equations 3 and 4].

    Examples
    --------
    >>> log_prob = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    >>> loss = grpo_loss(log_prob, torch.tensor([2.0]), torch.tensor([[True, True]]))
    >>> loss.item(), torch.autograd.grad(loss, log_prob)[0].tolist()
    (-2.0, [[-1.0, -1.0]])
    """
    if advantages.dim() == 1 and advantages.shape == log_prob.shape[:1]:
        advantages = advantages[:, None].expand_as(log_prob)
    _same_shape("advantages", advantages, "log_prob", log_prob)
    _same_shape("mask", mask, "log_prob", log_prob)
    _require_bool(mask)
    if not 0 < clip < 1:
        raise ArgumentError(f"clip: expected a number between 0 and 1, got {quote(clip)}. Use 0.2.")
    if not beta >= 0:
        raise ArgumentError(f"beta: expected 0 or a positive number, got {quote(beta)}. Use 0.0 for no reference.")
    if (reference_log_prob is None) == (beta > 0):
        given = "none" if reference_log_prob is None else "one"
        raise ArgumentError(
            f"reference_log_prob: expected one where beta > 0 and none where beta = 0, got {given} with beta={beta}. "
            "Give both or neither."
        )
    log_prob = log_prob.masked_fill(~mask, 0.0)
    old = log_prob.detach() if old_log_prob is None else _constant("old_log_prob", old_log_prob, log_prob, mask)
    ratio = (log_prob - old).exp()
    gain = advantages.detach().masked_fill(~mask, 0.0)
    losses = -torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    if reference_log_prob is not None:
        difference = _constant("reference_log_prob", reference_log_prob, log_prob, mask) - log_prob
        losses = losses + beta * (difference.expm1() - difference)
    return reduce(losses, mask, reduction=reduction, n_items=n_items)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float = 0.1,
    reduction: str = "pair",
) -> Tensor:
    """Return -log sigmoid(beta [log pi / pi_ref (chosen) - log pi / pi_ref (rejected)]).

    Parameters
    ----------
    chosen, rejected : Tensor, floating, shape (B,)
        Summed log-probabilities of each pair's completions under the policy that is trained.
    reference_chosen, reference_rejected : Tensor, floating, shape (B,)
        The same under the reference policy: in self-rewarding, the policy at the start of the round. Constants.
    beta : float, default 0.1
        How strongly the reference holds. Positive.
    reduction : {"pair", "none"}, default "pair"
        The mean over pairs, or a loss for each pair.

    Returns
    -------
    Tensor
        A scalar, or shape (B,); log 2 where the policy is the reference.

    Raises
    ------
    ArgumentError
        Shapes that differ, an unknown reduction, or `beta` out of range.

    References
    ----------
    [Rafailov et al. 2023 (DPO), equation 7].

    Examples
    --------
    >>> scores = torch.tensor([-3.0])
    >>> round(float(dpo_loss(scores, scores - 1, scores, scores - 1)), 4)
    0.6931
    """
    if chosen.dim() != 1 or len(chosen) < 1:
        raise ArgumentError(
            f"chosen: expected shape (pairs,) with at least one pair, got {tuple(chosen.shape)}. "
            "Sum the tokens' log-probabilities of each completion."
        )
    for name, value in (
        ("rejected", rejected),
        ("reference_chosen", reference_chosen),
        ("reference_rejected", reference_rejected),
    ):
        _same_shape(name, value, "chosen", chosen)
    if not beta > 0:
        raise ArgumentError(f"beta: expected a positive number, got {quote(beta)}. Use 0.1.")
    if reduction not in ("pair", "none"):
        raise unknown("reduction", reduction, ("pair", "none"))
    margin = (chosen - reference_chosen.detach()) - (rejected - reference_rejected.detach())
    losses = -logsigmoid(beta * margin)
    return losses if reduction == "none" else losses.mean()


def tagged_reward(text: str, answer: str, *, tags: tuple[str, str] = ("think", "answer")) -> float:
    """Return the reward of a reasoned answer: 1 for the answer, 1 for the format.

    Parameters
    ----------
    text : str
        What the model wrote.
    answer : str
        The right answer; white space around it does not count.
    tags : tuple of two str, default ("think", "answer")
        The format is ``<think>...</think><answer>...</answer>`` and nothing else but white space.

    Returns
    -------
    float
        0, 1 or 2. An answer is looked for in the last answer tags, also where the format is broken.

    Raises
    ------
    ArgumentError
        Another number of tags.

    References
    ----------
    [DeepSeek-AI 2025 (R1), section 2.2.2]: accuracy and format; comparing by string is ours.

    Examples
    --------
    >>> tagged_reward("<think>2 and 2</think> <answer> 4 </answer>", "4")
    2.0
    >>> tagged_reward("<answer>4</answer>", "4"), tagged_reward("4", "4")
    (1.0, 0.0)
    """
    if isinstance(tags, str) or len(tags) != 2:
        raise ArgumentError(f"tags: expected two, of thought and answer, got {quote(tags)}. Use ('think', 'answer').")
    thought, final = (re.escape(tag) for tag in tags)
    inside = rf"((?:(?!</?(?:{thought}|{final})>).)*)"
    format_holds = re.fullmatch(
        rf"\s*<{thought}>{inside}</{thought}>\s*<{final}>{inside}</{final}>\s*", text, flags=re.DOTALL
    )
    answers = re.findall(rf"<{final}>{inside}</{final}>", text, flags=re.DOTALL)
    right = bool(answers) and answers[-1].strip() == answer.strip()
    return float(right) + float(format_holds is not None)


def _constant(name: str, value: Tensor, log_prob: Tensor, mask: Tensor) -> Tensor:
    """Return log-probabilities without a gradient, 0 outside the mask."""
    _same_shape(name, value, "log_prob", log_prob)
    return value.detach().masked_fill(~mask, 0.0)


def _require_bool(mask: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise ArgumentError(f"mask: expected bool, got {mask.dtype}. Use mask.bool().")


def _same_shape(name: str, value: Tensor, like: str, other: Tensor) -> None:
    if value.shape != other.shape:
        raise ArgumentError(
            f"{name}: expected the shape of {like}, {tuple(other.shape)}, got {tuple(value.shape)}. "
            "Score the same tokens with both."
        )
