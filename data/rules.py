"""Reader of the rule syntax that `grammar` and `lexicon` are written in.

One line is one rule::

    weight  head(arguments) = tree fragments  @lemma

The right-hand side is a sequence of tree fragments in Penn brackets, in which ``name(...)`` stands for whatever that
symbol expands to; ``-`` is the empty sequence.  A sequence is spliced into the node around it, which is how flat noun
and verb phrases come about.  Arguments are single upper-case variables, ``_`` (anything), or constants with ``|``
between alternatives; a variable that stands as a word is replaced by its value.  Symbols are expanded from left to
right, those with a caret first: a caret marks the head, whose choice decides the features of its neighbours.  A star
after the weight marks a rule that embeds a further clause or phrase, and is damped with depth.  A lemma is used at
most once in a sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

import lexicon

# What stands below a node: nodes and words, and in a rule the numbers of the slots for its calls.
Fragment: TypeAlias = "Node | str | int"
# A constant argument is the tuple of its alternatives; a variable is its name.
Argument: TypeAlias = str | tuple[str, ...]
FRESH = count()
TOKEN = re.compile(r"\^?[a-z_]+\([^()\s]*\)|[()]|[^\s()]+")


@dataclass(frozen=True)
class Node:
    """A node of a tree or of a rule's right-hand side."""

    label: str
    children: tuple[Fragment, ...]


@dataclass(frozen=True)
class Call:
    """A symbol to expand, with its arguments; `first` where a caret stood."""

    name: str
    arguments: tuple[Argument, ...]
    first: bool


@dataclass(frozen=True)
class Rule:
    """One weighted rule: its head, the tree fragments of its right-hand side, and the calls in their slots."""

    weight: float
    damped: bool
    name: str
    arguments: tuple[Argument, ...]
    body: tuple[Fragment, ...]
    calls: tuple[Call, ...]
    lemma: str

    def order(self) -> list[int]:
        """Return the slots in the order of their expansion: those with a caret first."""
        return sorted(range(len(self.calls)), key=lambda slot: not self.calls[slot].first)


def constants(text: str) -> tuple[str, ...]:
    """Return the alternatives that ``|`` separates, with aliases resolved."""
    found: list[str] = []
    for part in text.split("|"):
        found.extend(constants(lexicon.ALIASES[part]) if part in lexicon.ALIASES else [part])
    return tuple(found)


def parse_argument(text: str) -> Argument:
    """Return a variable as its name, a fresh one for "_", and constants as the tuple of their alternatives."""
    if text == "_":
        return f"_{next(FRESH)}"
    return text if len(text) == 1 and text.isupper() else constants(text)


def parse_call(text: str) -> Call:
    """Return the call that ``name(arguments)`` or ``^name(arguments)`` spells."""
    name, _, inside = text.lstrip("^").rstrip(")").partition("(")
    return Call(name, tuple(parse_argument(part) for part in inside.split(",") if part), text.startswith("^"))


def parse_body(text: str) -> tuple[tuple[Fragment, ...], tuple[Call, ...]]:
    """Return the fragments of a right-hand side, with slots for its calls, and these calls."""
    calls: list[Call] = []
    stack: list[list[Fragment]] = [[]]
    for token in TOKEN.findall(text):
        if token == "(":
            stack.append([])
        elif token == ")":
            label, *children = stack.pop()
            stack[-1].append(Node(str(label), tuple(children)))
        elif token.endswith(")"):
            stack[-1].append(len(calls))
            calls.append(parse_call(token))
        elif token != "-":
            stack[-1].append(token)
    if len(stack) != 1:
        raise ValueError(f"unbalanced brackets in {text!r}")
    return tuple(stack[0]), tuple(calls)


def parse_rule(line: str) -> Rule:
    """Return the rule that a line spells.

    Parameters
    ----------
    line : str
        ``weight head(arguments) = fragments @lemma``; the lemma is optional.

    Returns
    -------
    Rule
        The rule.
    """
    left, _, right = line.partition(" = ")
    weight, head = left.split()
    right, _, lemma = right.partition(" @")
    call = parse_call(head)
    body, calls = parse_body(right)
    return Rule(float(weight.rstrip("*")), weight.endswith("*"), call.name, call.arguments, body, calls, lemma.strip())
