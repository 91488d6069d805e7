"""Simulated teachers: the gold trees of the sample, disturbed by known biases.

No parser stands behind these trees.  They give the averaging something to do until trained teachers replace them in a
later release.  First some phrases are misread in a way that all teachers share, because real parsers have mistakes in
common, too, which no average repairs.  From there each `Teacher` makes its binary tree in four steps, each with its
own chances:

1. it loses brackets: the parts of a lost phrase become parts of the phrase around it;
2. it joins the parts of every phrase two by two, at random or from the left;
3. it pulls some subtrees into a purely right-branching or purely left-branching one;
4. it rotates some nodes: ((a b) c) becomes (a (b c)), or the reverse.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rules import Node

# A leaf is the position of its word.
Binary: TypeAlias = "int | tuple[Binary, Binary]"

CLAUSES = frozenset({"S", "SBAR", "SQ", "SBARQ", "VP"})
CHUNK = 4  # longest phrase, in words, that counts as a local chunk
LONG = 8  # shortest span, in words, that counts as long
MISREADING = 0.25  # chance that a phrase is misread, by all teachers alike
MISREADING_SEED = 10


@dataclass(frozen=True)
class Phrase:
    """A phrase of the gold tree, or one word if it has no parts; `size` counts its words."""

    label: str
    size: int
    parts: tuple[Phrase, ...]
    position: int = 0


@dataclass(frozen=True)
class Teacher:
    """A simulated teacher.

    Attributes
    ----------
    seed : int
        Seed of its chances.
    loses : callable
        Gives the chance that a phrase's bracket is lost.
    leans : callable
        Gives the chance that the parts of a phrase are joined from the left rather than at random.
    pulls : callable
        Gives the chance that a subtree of so many words is replaced by a one-sided one.
    side : str
        The side of these subtrees, "left" or "right".
    rotates : float
        Chance of a rotation at a node.
    """

    seed: int
    loses: Callable[[Phrase], float]
    leans: Callable[[Phrase], float]
    pulls: Callable[[int], float]
    side: str
    rotates: float

    def trees(self, tops: Sequence[Phrase]) -> list[Binary]:
        """Return the teacher's trees, one for each top phrase."""
        rng = random.Random(self.seed)
        return [self.tree(top, rng) for top in tops]

    def tree(self, top: Phrase, rng: random.Random) -> Binary:
        """Return the teacher's tree of one sentence."""
        kept = together(top.label, [piece for part in top.parts for piece in self.lose(part, rng)])
        return self.rotate(self.pull(self.join(kept, rng), rng), rng)

    def lose(self, node: Phrase, rng: random.Random) -> list[Phrase]:
        """Return a phrase without the brackets that are lost in it; its own may be among them."""
        if not node.parts:
            return [node]
        parts = [piece for part in node.parts for piece in self.lose(part, rng)]
        return parts if rng.random() < self.loses(node) else [together(node.label, parts)]

    def join(self, node: Phrase, rng: random.Random) -> Binary:
        """Join the parts of every phrase two by two."""
        if not node.parts:
            return node.position
        parts = [self.join(part, rng) for part in node.parts]
        return one_sided(parts, "left") if rng.random() < self.leans(node) else at_random(parts, rng)

    def pull(self, tree: Binary, rng: random.Random) -> Binary:
        """Replace some subtrees by one-sided ones."""
        if isinstance(tree, int):
            return tree
        words = leaves(tree)
        if rng.random() < self.pulls(len(words)):
            return one_sided(words, self.side)
        return self.pull(tree[0], rng), self.pull(tree[1], rng)

    def rotate(self, tree: Binary, rng: random.Random) -> Binary:
        """Rotate some nodes, from the bottom up."""
        if isinstance(tree, int):
            return tree
        left, right = self.rotate(tree[0], rng), self.rotate(tree[1], rng)
        if rng.random() < self.rotates:
            # The side of the rotation follows from the side that can be taken apart; the right one has precedence.
            if isinstance(right, tuple):
                return (left, right[0]), right[1]
            if isinstance(left, tuple):
                return left[0], (left[1], right)
        return left, right


def phrase(tree: Node, begin: int) -> Phrase:
    """Return a gold tree as a phrase whose words are numbered from `begin`; unary chains are kept."""
    parts: list[Phrase] = []
    for child in tree.children:
        if isinstance(child, Node):
            parts.append(phrase(child, begin))
            begin += parts[-1].size
    if not parts:
        return Phrase(tree.label, 1, (), begin)
    return together(tree.label, parts)


def misread(node: Phrase, rng: random.Random) -> Phrase:
    """Return a phrase in which some words are drawn to the wrong side: (a ... (b c)) becomes ((a ... b) c)."""
    parts = [misread(part, rng) for part in node.parts]
    if len(parts) > 1 and len(parts[-1].parts) > 1 and rng.random() < MISREADING:
        first, *rest = parts[-1].parts
        parts = [together("", [*parts[:-1], first]), *rest]
    return together(node.label, parts) if parts else node


def together(label: str, parts: Sequence[Phrase]) -> Phrase:
    """Return the phrase of these parts."""
    return Phrase(label, sum(part.size for part in parts), tuple(parts))


def simulated(gold: Sequence[Node]) -> dict[str, list[Binary]]:
    """Simulate all teachers.

    Parameters
    ----------
    gold : sequence of Node
        The gold trees.

    Returns
    -------
    dict of str to list of Binary
        For each teacher's name its trees.
    """
    rng = random.Random(MISREADING_SEED)
    tops = [misread(phrase(tree, 0), rng) for tree in gold]
    return {name: teacher.trees(tops) for name, teacher in TEACHERS.items()}


def leaves(tree: Binary) -> list[int]:
    """Return the positions below a node, from left to right."""
    return [tree] if isinstance(tree, int) else [*leaves(tree[0]), *leaves(tree[1])]


def one_sided(parts: Sequence[Binary], side: str) -> Binary:
    """Join parts into a tree that branches to one side only."""
    if side == "left":
        tree = parts[0]
        for part in parts[1:]:
            tree = tree, part
        return tree
    tree = parts[-1]
    for part in reversed(parts[:-1]):
        tree = part, tree
    return tree


def at_random(parts: Sequence[Binary], rng: random.Random) -> Binary:
    """Join parts by a split drawn at random, and so on in both halves."""
    if len(parts) == 1:
        return parts[0]
    split = 1 + int(rng.random() * (len(parts) - 1))
    return at_random(parts[:split], rng), at_random(parts[split:], rng)


def written(tree: Binary, words: Sequence[str]) -> str:
    """Write a binary tree in brackets, with the label X on every node and on every word."""
    if isinstance(tree, int):
        return f"(X {words[tree]})"
    return f"(X {written(tree[0], words)} {written(tree[1], words)})"


def never(_: object) -> float:
    """Return the chance of what does not happen."""
    return 0.0


def attached(node: Phrase) -> float:
    """Return the chance of losing a bracket that is a matter of attachment: modified noun phrases, coordination."""
    labels = [part.label for part in node.parts]
    return 0.8 if "CC" in labels or (node.label == "NP" and labels[-1] in {"PP", "SBAR"}) else 0.1


TEACHERS = {
    # Pulls subtrees into right-branching ones.
    "simulated-right": Teacher(
        seed=11, loses=never, leans=never, pulls=lambda size: 0.15 if size > 2 else 0.0, side="right", rotates=0.08
    ),
    # Attaches prepositional phrases and relative clauses high, and breaks coordination.
    "simulated-attachment": Teacher(seed=12, loses=attached, leans=never, pulls=never, side="right", rotates=0.08),
    # Builds noun phrases and long spans from the left.
    "simulated-left": Teacher(
        seed=13,
        loses=never,
        leans=lambda node: 0.9 if node.label == "NP" or node.size >= LONG else 0.2,
        pulls=lambda size: 0.2 if size >= LONG else 0.05,
        side="left",
        rotates=0.08,
    ),
    # Knows local chunks, and little above them.
    "simulated-local": Teacher(
        seed=14,
        loses=lambda node: 0.6 if node.size > CHUNK else 0.05,
        leans=never,
        pulls=never,
        side="right",
        rotates=0.08,
    ),
    # Knows clauses and verb phrases, and little inside other phrases.
    "simulated-clause": Teacher(
        seed=15,
        loses=lambda node: 0.1 if node.label in CLAUSES else 0.6,
        leans=never,
        pulls=never,
        side="right",
        rotates=0.08,
    ),
}
