"""Sampling of trees from the grammar: one recursive function that binds features as it goes."""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeAlias

import grammar
from rules import Fragment, Node, Rule

Value: TypeAlias = str | None  # None: not decided yet

# Each embedding multiplies the weights of the damped rules by this; a power of two keeps the arithmetic exact.
DAMPING = 0.5
DEEPEST = 5  # no damped rule inside so many others: a dead end must not be answered by embedding for ever
AN = re.compile(r"(?!useful)[aeiou]|honest|hour", re.IGNORECASE)


class DeadEndError(Exception):
    """No rule fits the features asked for."""


def draw(rng: random.Random, weights: Sequence[float]) -> int:
    """Draw an index in proportion to the weights, from one call of ``rng.random()``.

    Parameters
    ----------
    rng : random.Random
        The source of chance.
    weights : sequence of float
        Positive weights.

    Returns
    -------
    int
        The index drawn.
    """
    # Not sum(), whose rounding changed in Python 3.12.
    cumulative = list(accumulate(weights))
    return min(bisect_right(cumulative, rng.random() * cumulative[-1]), len(weights) - 1)


def choose(rng: random.Random, options: Sequence[str]) -> str:
    """Draw one of the options, all alike."""
    return options[int(rng.random() * len(options))]


def fits(rule: Rule, values: Sequence[Value]) -> bool:
    """Tell whether a rule's head admits the values; arguments that a call leaves out are undecided."""
    return all(
        value is None or isinstance(argument, str) or value in argument
        for argument, value in zip(rule.arguments, values, strict=True)
    )


class Sampler:
    """Draws one sentence after another.

    Parameters
    ----------
    rng : random.Random
        The source of chance; only its method ``random`` is used.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rules = grammar.grammar()
        self.fitting: dict[tuple[Value, ...], list[Rule]] = {}
        self.used: list[str] = []
        self.appetite = 1.0

    def sentence(self, appetite: float) -> Node:
        """Draw a sentence.

        Parameters
        ----------
        appetite : float
            Factor of the damped rules: the higher, the longer the sentence tends to be.

        Returns
        -------
        Node
            The tree.
        """
        self.appetite = appetite
        while True:
            self.used = []
            try:
                fragments, _ = self.expand("root", [], 0)
            except DeadEndError:
                continue
            return with_articles(fragments[0])

    def expand(self, name: str, values: Sequence[Value], depth: int) -> tuple[list[Node], list[Value]]:
        """Expand a symbol: draw among the rules that fit, and try another where one comes to a dead end.

        Parameters
        ----------
        name : str
            The symbol.
        values : sequence of (str or None)
            Its arguments.
        depth : int
            Number of damped rules around.

        Returns
        -------
        fragments : list of Node
            What takes the symbol's place.
        values : list of (str or None)
            The arguments, where decided meanwhile.
        """
        damping = self.appetite * DAMPING**depth
        key = (name, *values)
        if key not in self.fitting:
            self.fitting[key] = [rule for rule in self.rules[name] if fits(rule, values)]
        pool = [r for r in self.fitting[key] if r.lemma not in self.used and not (r.damped and depth == DEEPEST)]
        while pool:
            rule = pool.pop(draw(self.rng, [r.weight * (damping if r.damped else 1.0) for r in pool]))
            mark = len(self.used)
            try:
                return self.apply(rule, values, depth + rule.damped)
            except DeadEndError:
                del self.used[mark:]
        raise DeadEndError(name)

    def apply(self, rule: Rule, values: Sequence[Value], depth: int) -> tuple[list[Node], list[Value]]:
        """Build a rule's fragments; arguments and result are those of `expand`."""
        if rule.lemma:
            self.used.append(rule.lemma)
        bound = {a: value for a, value in zip(rule.arguments, values, strict=True) if isinstance(a, str)}
        parts: dict[int, list[Node]] = {}
        for slot in rule.order():
            call = rule.calls[slot]
            asked = [bound.get(a) if isinstance(a, str) else choose(self.rng, a) for a in call.arguments]
            parts[slot], told = self.expand(call.name, asked, depth)
            bound |= {a: value for a, value in zip(call.arguments, told, strict=True) if isinstance(a, str)}
        decided: list[Value] = []
        for argument, value in zip(rule.arguments, values, strict=True):
            if isinstance(argument, str):
                decided.append(bound[argument])
            else:
                decided.append(choose(self.rng, argument) if value is None else value)
        return [node for node in fill(rule.body, parts, bound) if isinstance(node, Node)], decided


def fill(body: Sequence[Fragment], parts: dict[int, list[Node]], bound: dict[str, Value]) -> list[Fragment]:
    """Put the expansions into their slots, and the values of variables in place of these."""
    filled: list[Fragment] = []
    for item in body:
        if isinstance(item, int):
            filled.extend(parts[item])
        elif isinstance(item, Node):
            filled.append(Node(item.label, tuple(fill(item.children, parts, bound))))
        else:
            filled.append(bound.get(item) or item)
    return filled


def words(tree: Node) -> list[str]:
    """Return the words of a tree from left to right."""
    found: list[str] = []
    for child in tree.children:
        if isinstance(child, Node):
            found.extend(words(child))
        else:
            found.append(str(child))
    return found


def with_articles(tree: Node) -> Node:
    """Turn the article "a" into "an" before a vowel sound."""
    following = iter([*words(tree)[1:], ""])

    def rewrite(node: Node) -> Node:
        children: list[Fragment] = []
        for child in node.children:
            if isinstance(child, Node):
                children.append(rewrite(child))
            else:
                after = next(following)
                children.append("an" if child == "a" and AN.match(after) else child)
        return Node(node.label, tuple(children))

    return rewrite(tree)


def bracketed(tree: Node) -> str:
    """Write a tree in Penn brackets."""
    inside = " ".join(bracketed(child) if isinstance(child, Node) else str(child) for child in tree.children)
    return f"({tree.label} {inside})"
