"""Slow, obvious twins of the searches of an ensemble: one sentence, no tensors, no caches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from sequence_tables import Table
from torch import Tensor

from treeavg.distill.sequences.ensembling.components import FunctionComponent

Law = Callable[[tuple[int, ...]], list[float]]
Found = list[tuple[tuple[int, ...], float]]


def table_component(tables: Sequence[Table]) -> FunctionComponent:
    """Return a component with a table for each sentence."""

    def law(sentence: Tensor, prefixes: Tensor) -> Tensor:
        rows = zip(sentence.tolist(), prefixes.tolist(), strict=True)
        return torch.stack([tables[place].logits[tuple(prefix)] for place, prefix in rows])

    return FunctionComponent(law, len(tables), tables[0].size)


def table_law(table: Table, temperature: float = 1.0) -> Law:
    return lambda prefix: (table.logits[prefix] / temperature).log_softmax(-1).tolist()


def log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return -math.inf if top == -math.inf else top + math.log(math.fsum(math.exp(value - top) for value in values))


def averaged(rows: list[list[float]], rule: str) -> list[float]:
    """Return the average of next-token laws."""
    if rule == "arithmetic":
        return [log_sum(column) - math.log(len(rows)) for column in zip(*rows, strict=True)]
    means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    return [mean - log_sum(means) for mean in means]


def proposals(
    laws: Sequence[Law], rule: str, active: Found, possible: Callable[[int], bool]
) -> list[tuple[float, int, int]]:
    """Return (score, slot, token) of all extensions that can be, best first."""
    found = []
    for slot, (prefix, score) in enumerate(active):
        rows = [law(prefix) for law in laws]
        row = rows[0] if len(rows) == 1 else averaged(rows, rule)
        found += [(score + value, slot, token) for token, value in enumerate(row) if possible(token)]
    return sorted((one for one in found if one[0] > -math.inf), key=lambda one: (-one[0], *one[1:]))


def naive_search(
    laws: Sequence[Law],
    *,
    rule: str,
    eos: Sequence[int] = (0,),
    beam: int = 5,
    max_length: int = 3,
    min_length: int = 1,
    alpha: float = 1.0,
    lower: int | None = None,
    pad: int | None = None,
    forced: Sequence[int] = (),
) -> Found:
    """Return the finished (ids, score) of one sentence; `rule` is a vote of bi-level search or an average."""
    active: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    finished: Found = []
    for time in range(1, max_length + 2):

        def possible(token: int, time: int = time) -> bool:
            if token not in eos and (token == pad or time > max_length):
                return False
            if token in eos and time <= min_length:
                return False
            return time > len(forced) or token == forced[time - 1]

        if rule in ("arithmetic", "geometric"):
            upper = proposals(laws, rule, active, possible)[:beam]
        else:
            votes: dict[tuple[int, int], list[float]] = {}
            for law in laws:
                for score, slot, token in proposals([law], rule, active, possible)[: lower or beam]:
                    votes.setdefault((slot, token), []).append(score)
            ranked = []
            for (slot, token), scores in votes.items():
                total = log_sum(sorted(scores))
                stored = {
                    "sum": total,
                    "mean": total - math.log(len(laws)),
                    "max": max(scores),
                    "zero_one": total - math.log(len(scores)),
                }[rule]
                first = {"max": (-stored,), "zero_one": (-len(scores), -total)}.get(rule, (-total,))
                ranked.append((first, slot, token, stored))
            upper = [(stored, slot, token) for _, slot, token, stored in sorted(ranked)[:beam]]

        following = []
        for score, slot, token in upper:
            ids = (*active[slot][0], token)
            if token not in eos:
                following.append((ids, score))
            elif len(finished) < beam:
                finished.append((ids, score / time**alpha))
        active = following
        if len(finished) >= beam or not active:
            break
    return sorted(finished, key=lambda one: (-one[1], one[0]))


def assert_found(found: list, expected: Found, tolerance: float = 1e-10) -> None:
    assert [one.ids for one in found] == [ids for ids, _ in expected]
    for one, (_, score) in zip(found, expected, strict=True):
        assert abs(one.score - score) <= tolerance
