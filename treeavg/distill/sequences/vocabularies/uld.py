"""Losses between models with different tokenizers: probabilities of the same text, compared in sorted order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from treeavg.distill.sequences.losses.forms import require_positive
from treeavg.distill.sequences.reductions import reduce
from treeavg.distill.sequences.vocabularies.byte_alignment import Group
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["KINDS", "merged", "uld_loss"]

#: A line of help for each loss.
KINDS: dict[str, str] = {
    "sorted": "L1 between the probabilities in falling order [universal logit distillation]",
    "hybrid": "Jensen-Shannon over tokens that both have and one category for the rest, and sorted L1 over the rest",
}


def merged(logits: Tensor, ids: Tensor, groups: Sequence[Sequence[int]], *, temperature: float = 1.0) -> Tensor:
    """Return the probabilities of a sequence's groups of tokens.

    Parameters
    ----------
    logits : Tensor, floating, shape (T, V)
        Scores of one completion, ``logits[t]`` those of ``ids[t]``.
    ids : Tensor, int64, shape (T,)
        Its tokens.
    groups : sequence of sequence of int, length G
        Places, in order, of each group's tokens.
    temperature : float, default 1.0
        Divides the logits.

    Returns
    -------
    Tensor, shape (G, V)
        For each v the probability of the group's tokens with v in place of the last. The sum of a row is the
        probability of the tokens before the last: below 1 where there are any.

    Examples
    --------
    >>> logits = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log()
    >>> merged(logits, torch.tensor([0, 1]), [(0, 1)])
    tensor([[0.1250, 0.3750]])
    """
    places = [place for group in groups for place in group]
    rows = torch.tensor(places, dtype=torch.int64, device=logits.device)
    last = torch.tensor([len(group) for group in groups], dtype=torch.int64, device=logits.device).cumsum(0) - 1
    numbers = [number for number, group in enumerate(groups) for _ in group]
    owner = torch.tensor(numbers, dtype=torch.int64, device=logits.device)
    law = (logits[rows].to(torch.promote_types(logits.dtype, torch.float32)) / temperature).log_softmax(-1)
    realised = law.gather(1, ids[rows, None])[:, 0]
    before = realised.new_zeros(len(groups)).index_add(0, owner, realised.index_fill(0, last, 0))
    return (law[last] + before[:, None]).exp()


def uld_loss(
    kind: str,
    teacher_logits: Tensor,
    teacher_ids: Tensor,
    student_logits: Tensor,
    student_ids: Tensor,
    groups: Sequence[Sequence[Group]],
    *,
    matched: Tensor | None = None,
    student_weight: float | None = None,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    reduction: str = "token",
    n_items: float | Tensor | None = None,
    world_size: int = 1,
) -> Tensor:
    """Return a loss between completions of the same text under two tokenizers [Boizard et al. 2024; section G.4].

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    teacher_logits : Tensor, floating, shape (B, T, V)
        Of the teacher's tokens. Nothing flows back to it.
    teacher_ids : Tensor, int64, shape (B, T)
        The teacher's tokens of the text.
    student_logits : Tensor, floating, shape (B, T', V')
        Of the student's tokens.
    student_ids : Tensor, int64, shape (B, T')
        The student's tokens.
    groups : sequence of sequence of Group, length B
        From `align_tokens`; a row may have none.
    matched : Tensor, int64, shape (M, 2), optional
        For hybrid, where it must be given: from `matched_tokens`.
    student_weight : float, optional
        For hybrid: the share of the student in the mixture and among the two halves. Default 0.5.
    temperature : float, default 1.0
        Divides the student's logits.
    teacher_temperature : float, optional
        Divides the teacher's. Default: `temperature`.
    reduction : {"token", "sequence", "sequence_mean", "none"}, default "token"
        As in `reduce`, with groups for tokens.
    n_items : float or Tensor, optional
        As in `reduce`: groups, or sequences.
    world_size : int, default 1
        As in `reduce`.

    Returns
    -------
    Tensor
        A scalar; shape (B, G) for ``reduction="none"``, G being the most groups of a row.

    Raises
    ------
    ArgumentError
        An unknown kind, an option that the kind has no use for, one that it misses, shapes or groups that do not fit;
        on the CPU also logits that are not finite.

    Notes
    -----
    The probabilities of a group are those of `merged`; the shorter of two vectors is padded with zeros. Sorted L1 is
    never above the L1 of any one-to-one map between the vocabularies, so it may be 0 for different distributions.

    Examples
    --------
    >>> p, q = torch.tensor([[[0.7, 0.2, 0.1]]]).log(), torch.tensor([[[0.3, 0.7]]]).log()
    >>> ids = torch.zeros(1, 1, dtype=torch.int64)
    >>> round(float(uld_loss("sorted", p, ids, q, ids, [[Group((0,), (0,))]])), 4)
    0.2
    """
    _require_options(kind, matched, student_weight)
    own = temperature if teacher_temperature is None else teacher_temperature
    for name, value in (("temperature", temperature), ("teacher_temperature", own)):
        require_positive(name, value)
    _require_inputs("teacher", teacher_logits, teacher_ids, len(groups), [[g.teacher for g in row] for row in groups])
    _require_inputs("student", student_logits, student_ids, len(groups), [[g.student for g in row] for row in groups])
    weight = 0.5 if student_weight is None else student_weight
    if matched is not None:
        _require_matched(matched, teacher_logits.shape[-1], student_logits.shape[-1])
        matched = matched.to(student_logits.device)
    rows = []
    for place, row in enumerate(groups):
        with torch.no_grad():
            p = merged(teacher_logits[place], teacher_ids[place], [group.teacher for group in row], temperature=own)
        q = merged(student_logits[place], student_ids[place], [group.student for group in row], temperature=temperature)
        _require_numbers(place, p, q)
        p = p.to(q.dtype)
        rows.append(_sorted_l1(p, q) if matched is None else _hybrid(p, q, matched, weight))
    widest = max((len(row) for row in rows), default=0)
    losses = student_logits.new_zeros(len(rows), widest, dtype=rows[0].dtype if rows else None)
    mask = torch.zeros(len(rows), widest, dtype=torch.bool, device=student_logits.device)
    for place, found in enumerate(rows):
        mask[place, : len(found)] = True
    if rows:
        losses = losses.masked_scatter(mask, torch.cat(rows))
    return reduce(losses, mask, reduction=reduction, n_items=n_items, world_size=world_size, connected=[student_logits])


def _sorted_l1(p: Tensor, q: Tensor) -> Tensor:
    """Return sum of abs(p - q) over [..., V], both in falling order, the shorter padded with zeros."""
    p, q = p.sort(-1, descending=True).values, q.sort(-1, descending=True).values
    shared = min(p.shape[-1], q.shape[-1])
    return (p[:, :shared] - q[:, :shared]).abs().sum(-1) + p[:, shared:].sum(-1) + q[:, shared:].sum(-1)


def _hybrid(p: Tensor, q: Tensor, matched: Tensor, weight: float) -> Tensor:
    """Return Jensen-Shannon on shared tokens, the rest of 1 as one more category, and sorted L1 on the others."""
    shared_p, shared_q = p[:, matched[:, 0]], q[:, matched[:, 1]]
    tiny = torch.finfo(q.dtype).tiny
    laws = [torch.cat([law, (1 - law.sum(-1, keepdim=True)).clamp(min=0)], -1) for law in (shared_p, shared_q)]
    mixture = ((1 - weight) * laws[0] + weight * laws[1]).clamp(min=tiny).log()
    halves = [(law * (law.clamp(min=tiny).log() - mixture)).sum(-1) for law in laws]
    others = []
    for law, used in ((p, matched[:, 0]), (q, matched[:, 1])):
        kept = torch.ones(law.shape[-1], dtype=torch.bool, device=law.device)
        kept[used] = False
        others.append(law[:, kept])
    return (1 - weight) * halves[0] + weight * halves[1] + _sorted_l1(*others)


def _require_options(kind: str, matched: Tensor | None, student_weight: float | None) -> None:
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if kind == "hybrid" and matched is None:
        raise ArgumentError("matched: expected pairs of tokens for 'hybrid', got None. Use matched_tokens(...).")
    for name, value in (("matched", matched), ("student_weight", student_weight)):
        if kind == "sorted" and value is not None:
            raise ArgumentError(f"{name}: expected None for 'sorted', got one. It is for 'hybrid'.")
    if student_weight is not None and not 0 < student_weight < 1:
        raise ArgumentError(
            f"student_weight: expected a number between 0 and 1, the ends left out, got {quote(student_weight)}. Use "
            "0.5 for equal halves."
        )


def _require_inputs(name: str, logits: Tensor, ids: Tensor, rows: int, groups: list[list[tuple[int, ...]]]) -> None:
    if logits.dim() != 3 or tuple(ids.shape) != tuple(logits.shape[:2]) or ids.dtype != torch.int64:
        raise ArgumentError(
            f"{name}_ids: expected int64 of the first two sides of {name}_logits, {tuple(logits.shape)}, got "
            f"{ids.dtype} of shape {tuple(ids.shape)}. Give the tokens that the logits are of."
        )
    if rows != logits.shape[0]:
        raise ArgumentError(
            f"groups: expected a list for each of the {logits.shape[0]} rows of {name}_logits, got {rows}. Call "
            "align_tokens for each row."
        )
    for place, row in enumerate(groups):
        order = [token for group in row for token in group]
        outside = any(not 0 <= token < logits.shape[1] for token in order)
        if outside or any(not group for group in row) or order != sorted(set(order)):
            raise ArgumentError(
                f"groups[{place}]: expected rising places below {logits.shape[1]} in {name}_logits, one or more a "
                f"group, got {quote(row)}. Take them from align_tokens, with the ids of this row."
            )


def _require_matched(matched: Tensor, teacher: int, student: int) -> None:
    if matched.dim() != 2 or matched.shape[1] != 2 or matched.dtype != torch.int64:
        raise ArgumentError(
            f"matched: expected int64 (M, 2), got {matched.dtype} of shape {tuple(matched.shape)}. Use "
            "matched_tokens(...)."
        )
    for side, size in enumerate((teacher, student)):
        column = matched[:, side].sort().values
        if len(column) and (bool((column.diff() == 0).any()) or not 0 <= int(column[0]) <= int(column[-1]) < size):
            raise ArgumentError(
                f"matched[:, {side}]: expected different tokens from 0 to {size - 1}, got others. Use "
                "matched_tokens(...), with the tokenizers of these models."
            )


def _require_numbers(row: int, p: Tensor, q: Tensor) -> None:
    for name, law in (("teacher_logits", p), ("student_logits", q)):
        if law.device.type == "cpu" and bool(law.isnan().any()):
            raise ArgumentError(
                f"{name}[{row}]: expected numbers, got NaN or infinity. Look for what overflowed in the model."
            )
