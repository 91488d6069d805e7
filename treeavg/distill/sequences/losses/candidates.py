"""Candidates of a teacher: weights of the n best, the one nearest to gold, pairs of a better and a worse one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from treeavg.distill.sequences.losses.forms import require_positive
from treeavg.distill.sequences.metrics.text_metrics import sentence_bleu
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["PAIRS", "checked_scores", "closest_to_gold", "n_best_weights", "pairs"]

#: Which pairs are built from the teacher's scores of a row of candidates.
PAIRS: dict[str, str] = {
    "all": "every two candidates",
    "adjacent": "each candidate and the next one in the teacher's order",
    "best-random": "the best and one of the others, drawn at random",
}
Candidate = TypeVar("Candidate")


def n_best_weights(
    scores: Tensor, *, valid: Tensor | None = None, kind: str = "uniform", temperature: float = 1.0
) -> Tensor:
    """Return the weights of a teacher's n best outputs, as targets of -log q [Kim & Rush 2016, section 3.2].

    Parameters
    ----------
    scores : Tensor, floating, shape (B, N)
        Log-probabilities of whole sequences under the teacher, or other scores on a log scale.
    valid : Tensor, bool, shape (B, N), optional
        Which candidates there are, at least one in a row. Default: all.
    kind : {"uniform", "scores"}, default "uniform"
        1/n each, or the scores' softmax: their probabilities, normalised over the candidates.
    temperature : float, default 1.0
        For ``"scores"``: divides them.

    Returns
    -------
    Tensor, shape (B, N)
        Constants; the sum of a row is 1, candidates that are not there have 0.

    Raises
    ------
    ArgumentError
        An unknown kind, a temperature out of range, a row without candidates, or a score that is not finite.

    Examples
    --------
    >>> n_best_weights(torch.tensor([[0.6, 0.2]]).log(), kind="scores")
    tensor([[0.7500, 0.2500]])
    """
    if kind not in ("uniform", "scores"):
        raise unknown("kind", kind, ("uniform", "scores"))
    require_positive("temperature", temperature)
    if kind == "uniform" and temperature != 1:
        raise ArgumentError(
            f"temperature: expected 1 for kind='uniform', which has none, got {quote(temperature)}. Use kind='scores'."
        )
    there = checked_scores(scores, valid, "scores")
    law = scores.detach() / temperature if kind == "scores" else torch.zeros_like(scores)
    return law.masked_fill(~there, -math.inf).softmax(1)


def closest_to_gold(
    candidates: Sequence[Candidate],
    gold: Candidate,
    *,
    similarity: Callable[[Candidate, Candidate], float] | None = None,
) -> int:
    """Return the place of the candidate that is most like the reference [Kim & Rush 2016, section 3.3].

    Parameters
    ----------
    candidates : sequence of str or of sequences of tokens, at least one
        A beam, the best first.
    gold : str or sequence of tokens
        The reference.
    similarity : callable, optional
        From a candidate and the reference to a number. Default: `text_metrics.sentence_bleu`, smoothed.

    Returns
    -------
    int
        From 0; of equal ones the first.

    Raises
    ------
    ArgumentError
        There is no candidate, or a similarity is not a number.

    Examples
    --------
    >>> closest_to_gold(["a b d", "a b c d", "c"], "a b c")
    1
    """
    if isinstance(candidates, str) or len(candidates) == 0:
        raise ArgumentError(f"candidates: expected one or more, got {quote(candidates)}. Give a list of outputs.")
    measure: Callable[[Candidate, Candidate], float] = similarity or sentence_bleu  # type: ignore[assignment]
    found = [float(measure(candidate, gold)) for candidate in candidates]
    for place, value in enumerate(found):
        if math.isnan(value):
            raise ArgumentError(f"similarity: expected numbers, got NaN for candidates[{place}]. Mend the measure.")
    return found.index(max(found))


def pairs(
    kind: str, scores: Tensor, *, valid: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Return pairs of candidates of which the teacher likes one strictly better.

    Parameters
    ----------
    kind : str
        One of `PAIRS`.
    scores : Tensor, floating, shape (B, N)
        The teacher's: log-probabilities, a judge's marks or rewards. Only their order within a row matters.
    valid : Tensor, bool, shape (B, N), optional
        Which candidates there are, at least one in a row. Default: all.
    generator : torch.Generator, optional
        For ``"best-random"``: source of random numbers.

    Returns
    -------
    Tensor, int64, shape (M, 3)
        Row, better candidate, worse candidate. Ties give no pair: ``"adjacent"`` skips them, ``"best-random"`` takes
        the first of the best and draws among those that are worse.

    Raises
    ------
    ArgumentError
        An unknown kind, a generator for a kind that draws nothing, a row without candidates, or a score that is not
        finite.

    Examples
    --------
    >>> pairs("adjacent", torch.tensor([[1.0, 3.0, 1.0, 2.0]])).tolist()
    [[0, 1, 3], [0, 3, 0]]
    """
    if kind not in PAIRS:
        raise unknown("kind", kind, PAIRS)
    if generator is not None and kind != "best-random":
        raise ArgumentError(f"generator: expected None for {kind!r}, which draws nothing, got one. Leave it out.")
    there = checked_scores(scores, valid, "scores")
    values = scores.detach()
    if kind == "adjacent":
        order = values.masked_fill(~there, -math.inf).sort(dim=1, descending=True, stable=True).indices
        left, right = order[:, :-1], order[:, 1:]
        falls = (values.gather(1, left) > values.gather(1, right)) & there.gather(1, right)
        row, place = falls.nonzero().unbind(1)
        return torch.stack([row, left[row, place], right[row, place]], 1)
    better = (values[:, :, None] > values[:, None, :]) & there[:, :, None] & there[:, None, :]
    if kind == "all":
        return better.nonzero()
    best = values.masked_fill(~there, -math.inf).argmax(1)
    worse = better[torch.arange(len(best), device=best.device), best]
    row = worse.any(1).nonzero()[:, 0]
    if not len(row):
        return row.new_zeros(0, 3)
    drawn = torch.multinomial(worse[row].to(torch.float32), 1, generator=generator)[:, 0]
    return torch.stack([row, best[row], drawn], 1)


def checked_scores(scores: Tensor, valid: Tensor | None, name: str) -> Tensor:
    """Return which candidates there are."""
    if scores.dim() != 2 or not scores.is_floating_point():
        raise ArgumentError(
            f"{name}: expected floating numbers of shape (B, N), got {scores.dtype} of shape {tuple(scores.shape)}. "
            "Give a row of candidates for each input."
        )
    there = torch.ones_like(scores, dtype=torch.bool) if valid is None else valid
    if there.dtype != torch.bool or there.shape != scores.shape:
        raise ArgumentError(
            f"valid: expected bool of shape {tuple(scores.shape)}, got {there.dtype} of shape {tuple(there.shape)}. "
            "Say of each candidate whether it is there."
        )
    if scores.device.type == "cpu":
        empty = (~there.any(1)).nonzero()
        if len(empty):
            raise ArgumentError(
                f"{name}[{int(empty[0])}]: expected one candidate or more, got none. Leave the row out."
            )
        bad = (there & ~scores.detach().isfinite()).nonzero()
        if len(bad):
            place = bad[0].tolist()
            raise ArgumentError(
                f"{name}{place}: expected a finite score, got {scores[tuple(place)].item()}. Leave the candidate out "
                "through valid."
            )
    return there
