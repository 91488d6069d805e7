"""A slow, obvious twin of the tree distributions: all binary trees, one by one; and the textbook inside recursion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
from torch import Tensor

Span = tuple[int, int]
Tree = tuple[Span, ...]


# ------------------------------------------------------------------ trees


@cache
def trees(begin: int, end: int) -> tuple[Tree, ...]:
    """All binary trees over these words: spans of two words or more in pre-order; leftmost splits first."""
    if end - begin < 2:
        return ((),)
    return tuple(
        ((begin, end), *left, *right)
        for split in range(begin + 1, end)
        for left, right in product(trees(begin, split), trees(split, end))
    )


def splits(tree: Tree) -> tuple[int, ...]:
    """Where each span is split, in pre-order."""
    held = set(tree)
    return tuple(max((e for b, e in held if b == begin and e < end), default=begin + 1) for begin, end in tree)


@cache
def membership(n: int) -> Tensor:
    """Float64 [trees, (n + 1)^2]: which cells a tree has, words included."""
    table = torch.zeros(len(trees(0, n)), n + 1, n + 1, dtype=torch.float64)
    for place, tree in enumerate(trees(0, n)):
        for begin, end in tree:
            table[place, begin, end] = 1
        for word in range(n):
            table[place, word, word + 1] = 1
    return table.flatten(1)


def as_tensor(tree: Tree, longest: int) -> Tensor:
    """The rows of a tree, padded for sentences of up to `longest` words."""
    rows = torch.zeros(max(longest - 1, 0), 2, dtype=torch.int64)
    for place, span in enumerate(tree):
        rows[place] = torch.tensor(span)
    return rows


# ------------------------------------------------------------------ distributions


@dataclass
class Enumerated:
    """A distribution over all trees of n words, as differentiable log-probabilities."""

    n: int
    log_p: Tensor

    @staticmethod
    def crf(scores: Tensor, n: int) -> Enumerated:
        """Log-linear in the scores [N + 1, N + 1] of spans."""
        totals = total_scores(scores, n)
        return Enumerated(n, totals - totals.logsumexp(0))

    @staticmethod
    def local(logits: list[Tensor], n: int) -> Enumerated:
        """The product of softmax over splits, logits over widths 2 to N of [N - w + 1, w - 1]."""
        laws = [cells.log_softmax(-1) for cells in logits]
        log_p = [
            sum((laws[e - b - 2][b, j - b - 1] for (b, e), j in zip(tree, splits(tree), strict=True)), torch.zeros(()))
            for tree in trees(0, n)
        ]
        return Enumerated(n, torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in log_p]))

    @property
    def p(self) -> Tensor:
        return self.log_p.exp()

    @property
    def visits(self) -> Tensor:
        """Float64 [n + 1, n + 1]."""
        return (self.p @ membership(self.n)).view(self.n + 1, self.n + 1)

    @property
    def entropy(self) -> Tensor:
        return -(self.p * self.log_p).sum()

    def law(self, begin: int, end: int) -> Tensor:
        """p(split | span), for the splits from begin + 1, by conditioning."""
        side = self.n + 1
        table = membership(self.n)
        has = table[:, begin * side + end]
        joint = [
            (self.p * has * table[:, begin * side + split] * table[:, split * side + end]).sum()
            for split in range(begin + 1, end)
        ]
        return torch.stack(joint) / (self.p * has).sum()


def total_scores(scores: Tensor, n: int) -> Tensor:
    """The sum of scores of each tree, words included."""
    return membership(n) @ scores[: n + 1, : n + 1].flatten()


def spans(n: int) -> list[Span]:
    """Spans of two words or more."""
    return [(b, e) for b in range(n) for e in range(b + 2, n + 1)]


# ------------------------------------------------------------------ divergences of whole trees


def kl(p: Enumerated, q: Enumerated) -> Tensor:
    return (p.p * (p.log_p - q.log_p)).sum()


def js(p: Enumerated, q: Enumerated, weight: float = 0.5) -> Tensor:
    mixture = torch.logaddexp(p.log_p + math.log(1 - weight), q.log_p + math.log(weight))
    teacher = (p.p * (p.log_p - mixture)).sum()
    return (1 - weight) * teacher + weight * (q.p * (q.log_p - mixture)).sum()


def tvd(p: Enumerated, q: Enumerated) -> Tensor:
    return 0.5 * (p.p - q.p).abs().sum()


# ------------------------------------------------------------------ sums over spans, from enumerated laws


def divergence(kind: str, p: Enumerated, q: Enumerated, weight: float = 0.5, detach_visits: bool = False) -> Tensor:
    """The sum over spans by its definition, with laws by conditioning."""
    p_visits, q_visits = p.visits, q.visits.detach() if detach_visits else q.visits
    return torch.stack(
        [span_terms(kind, p_visits[b, e], q_visits[b, e], p.law(b, e), q.law(b, e), weight) for b, e in spans(p.n)]
    ).sum()


def span_terms(kind: str, p_visit: Tensor, q_visit: Tensor, p: Tensor, q: Tensor, weight: float) -> Tensor:
    """What one span adds."""

    def relative(a: Tensor, b: Tensor) -> Tensor:
        return (a * (a.log() - b.log())).sum()

    for_p, for_q = (1 - weight) * p_visit, weight * q_visit
    if kind == "kl":
        return p_visit * relative(p, q)
    if kind == "rkl":
        return q_visit * relative(q, p)
    if kind == "engine":
        return -q_visit * (q * p.log()).sum()
    if kind == "tvd":
        return (for_p + for_q) * 0.5 * (p - q).abs().sum()
    share, other = ((1 - weight), weight) if kind == "js-naive" else (for_p / (for_p + for_q), for_q / (for_p + for_q))
    mixture = share * p + other * q
    return for_p * relative(p, mixture) + for_q * relative(q, mixture)


# ------------------------------------------------------------------ trees as sequences of splits


def prefix_sums(p: Enumerated, q: Enumerated) -> dict[str, float]:
    """Step-wise sums over prefixes of the pre-order sequences of splits, by enumeration of all prefixes."""
    sequences = [splits(tree) for tree in trees(0, p.n)]
    p_of = {h: float(value) for h, value in _prefix_probabilities(sequences, p.p).items()}
    q_of = {h: float(value) for h, value in _prefix_probabilities(sequences, q.p).items()}
    found = dict.fromkeys(("kl", "rkl", "B_p", "B_q", "js", "js_token"), 0.0)
    for prefix in p_of:
        nexts = sorted({s[len(prefix)] for s in sequences if len(s) > len(prefix) and s[: len(prefix)] == prefix})
        mass_p, mass_q = p_of[prefix], q_of[prefix]
        for token in nexts:
            a, b = p_of[(*prefix, token)] / mass_p, q_of[(*prefix, token)] / mass_q
            prefix_mixture = (mass_p * a + mass_q * b) / (mass_p + mass_q)
            token_mixture = (a + b) / 2
            found["kl"] += mass_p * a * math.log(a / b)
            found["rkl"] += mass_q * b * math.log(b / a)
            found["B_p"] += mass_p * 0.5 * abs(a - b)
            found["B_q"] += mass_q * 0.5 * abs(a - b)
            for name, mixture in (("js", prefix_mixture), ("js_token", token_mixture)):
                found[name] += 0.5 * mass_p * a * math.log(a / mixture) + 0.5 * mass_q * b * math.log(b / mixture)
    return found


def _prefix_probabilities(sequences: list[tuple[int, ...]], p: Tensor) -> dict[tuple[int, ...], float]:
    found: dict[tuple[int, ...], float] = {}
    for sequence, probability in zip(sequences, p.tolist(), strict=True):
        for stop in range(len(sequence) + 1):
            found[sequence[:stop]] = found.get(sequence[:stop], 0.0) + probability
    return found


# ------------------------------------------------------------------ the textbook recursions, for longer sentences


def inside(scores: Tensor, n: int) -> dict[Span, Tensor]:
    """log beta of every span, cell by cell."""
    beta = {(word, word + 1): scores[word, word + 1] for word in range(n)}
    for width in range(2, n + 1):
        for b in range(n - width + 1):
            e = b + width
            parts = torch.stack([beta[b, j] + beta[j, e] for j in range(b + 1, e)])
            beta[b, e] = scores[b, e] + parts.logsumexp(0)
    return beta


def visits(scores: Tensor, n: int) -> Tensor:
    """The derivative of log Z, by autograd through `inside`."""
    cells = scores.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(inside(cells, n)[0, n], cells)
    return found


def hessian(scores: Tensor, n: int, direction: Tensor) -> Tensor:
    """The second derivatives of log Z of the spans that distinguish trees, times a direction, by autograd."""
    cells = scores.detach().clone().requires_grad_()
    (first,) = torch.autograd.grad(inside(cells, n)[0, n], cells, create_graph=True)
    (found,) = torch.autograd.grad((first * direction).sum(), cells)
    return found


def best(scores: Tensor, n: int) -> Tree:
    """The first of the trees with the highest sum of scores."""
    totals = total_scores(scores, n)
    return trees(0, n)[int((totals == totals.max()).nonzero()[0])]


def sample(p: Enumerated, draws: list[float]) -> Tree:
    """Split top-down: at the first split whose cumulative probability is above the next number."""
    found: list[Span] = []
    stack = [(0, p.n)]
    while stack:
        b, e = stack.pop()
        if e - b < 2:
            continue
        total = p.law(b, e).cumsum(0)
        j = b + 1 + min(int((total <= draws[len(found)]).sum()), e - b - 2)
        found.append((b, e))
        stack += [(j, e), (b, j)]
    return tuple(found)
