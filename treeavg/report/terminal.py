"""Trees as lines of text, several side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from treeavg.dependency import DependencyView
from treeavg.report.tables import display_width, printable
from treeavg.view import NO_LABEL, TreeView

#: What lies deeper is written as its words: each level costs three columns on every line below it.
MAX_DEPTH = 3000

_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def draw(
    view: TreeView | DependencyView, counts: Sequence[float] | None = None, *, whole: float = 1.0, colour: bool = False
) -> list[str]:
    r"""Return a tree as lines: the root first, children below and to the right.

    Parameters
    ----------
    view : TreeView or DependencyView
        Any tree; a constituent of several blocks shows its words with ``...`` where it has gaps. Of a dependency tree
        each word stands under its head.
    counts : sequence of float, optional
        A number behind each constituent, in the order of ``view.constituents``, or behind each word.
    whole : float, default 1.0
        The number that colours a constituent as one that all teachers have.
    colour : bool, default False
        Colour the numbers: green above two thirds of `whole`, yellow above one third, else red.

    Returns
    -------
    list of str
        A constituent over tokens only takes one line.

    Examples
    --------
    >>> from treeavg import Treebank
    >>> bank = Treebank.from_constituents([["the", "dog", "barks"]], [[(0, 3), (0, 2)]])
    >>> print("\n".join(draw(bank[0], [2, 1])))
    • 2
    ├─ • 1  the dog
    └─ barks
    """
    length = len(view)
    if length == 0:
        return ["(missing)"]
    first = int(isinstance(view, DependencyView))  # heads count words from 1
    numbers = [str(place + first) for place in range(length)]
    words = [printable(word) for word in view.tokens] if view.tokens is not None else numbers
    if isinstance(view, DependencyView):
        return _draw_heads(view, words, counts, whole, colour)
    labels = view.labels
    constituents = view.constituents
    names = ["•" if labels is None or labels[row] in ("", ".", NO_LABEL) else printable(labels[row])
             for row in range(len(constituents))]  # fmt: skip
    if counts is not None:
        names = [f"{name} {_painted(counts[row], whole, colour)}" for row, name in enumerate(names)]
    children, roots = _children(constituents, length)
    if len(roots) > 1 or roots[0] < 0:
        names.append("•")
        children.append(roots)
        roots = [len(names) - 1]
    lines: list[str] = []
    agenda = [(roots[0], "", "", 0)]
    while agenda:
        node, before, below, depth = agenda.pop()
        if node < 0:
            lines.append(before + words[-node - 1])
            continue
        if all(child < 0 for child in children[node]):
            lines.append(f"{before}{names[node]}  {_phrase([-child - 1 for child in children[node]], words)}")
            continue
        if depth == MAX_DEPTH:
            tokens = [token for start, end in constituents[node] for token in range(start, end)]
            lines.append(f"{before}{names[node]}  [...] {_phrase(tokens, words)}")
            continue
        lines.append(before + names[node])
        last = children[node][-1]
        for child in reversed(children[node]):
            agenda.append(
                (
                    child,
                    below + ("└─ " if child == last else "├─ "),
                    below + ("   " if child == last else "│  "),
                    depth + 1,
                )
            )
    return lines


def _draw_heads(
    view: DependencyView, words: list[str], counts: Sequence[float] | None, whole: float, colour: bool
) -> list[str]:
    """Return a dependency tree as lines: each word under its head, in the order of the sentence."""
    children: list[list[int]] = [[] for _ in range(len(view) + 1)]
    for word, head in enumerate(view.heads, 1):
        children[head].append(word)
    relations = view.relations
    lines: list[str] = []
    agenda = [(child, "", "", 0) for child in reversed(children[0])]
    while agenda:
        node, before, below, depth = agenda.pop()
        name = words[node - 1]
        if relations is not None:
            name += f" ({printable(relations[node - 1])})"
        if counts is not None:
            name += f" {_painted(counts[node - 1], whole, colour)}"
        lines.append(before + name + (" [...]" if depth == MAX_DEPTH and children[node] else ""))
        if depth < MAX_DEPTH:
            for child in reversed(children[node]):
                last = child == children[node][-1]
                agenda.append(
                    (child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), depth + 1)
                )  # fmt: skip
    return lines


def _children(constituents: list[tuple[tuple[int, int], ...]], length: int) -> tuple[list[list[int]], list[int]]:
    """Return each constituent's children and the roots: rows, or -1 - token. Children stand by their first token."""
    owner = np.full(length, -1, np.int32)
    parents = []
    for row in sorted(
        range(len(constituents)), key=lambda row: (-sum(end - start for start, end in constituents[row]), row)
    ):
        first = constituents[row][0][0]
        parents.append((row, int(owner[first])))
        for start, end in constituents[row]:
            owner[start:end] = row
    children: list[list[int]] = [[] for _ in constituents]
    roots: list[int] = []
    for row, parent in parents:
        (children[parent] if parent >= 0 else roots).append(row)
    for token, parent in enumerate(owner.tolist()):
        (children[parent] if parent >= 0 else roots).append(-1 - token)
    for family in [*children, roots]:
        family.sort(key=lambda child: constituents[child][0][0] if child >= 0 else -1 - child)
    return children, roots


def _phrase(tokens: list[int], words: list[str]) -> str:
    pieces = []
    for place, token in enumerate(tokens):
        if place and token != tokens[place - 1] + 1:
            pieces.append("...")
        pieces.append(words[token])
    return " ".join(pieces)


def _painted(count: float, whole: float, colour: bool) -> str:
    text = f"{count:.4g}"
    if not colour:
        return text
    share = count / whole if whole else 0.0
    code = 32 if share > 2 / 3 else 33 if share > 1 / 3 else 31
    return f"\x1b[{code}m{text}\x1b[0m"


def side_by_side(titles: Sequence[str], drawings: Sequence[Sequence[str]], width: int) -> str:
    """Return drawings beside one another, as many to a row as fit.

    Parameters
    ----------
    titles : sequence of str
        One a drawing.
    drawings : sequence of sequences of str
        Lines.
    width : int
        Columns of the terminal.

    Returns
    -------
    str

    Examples
    --------
    >>> print(side_by_side(["one", "two"], [["a", "b"], ["c"]], width=20))
    one   two
    a     c
    b
    """
    gap = "   "
    rows: list[list[int]] = []
    widths = [max(_width(line) for line in [title, *lines]) for title, lines in zip(titles, drawings, strict=True)]
    used = 0
    for number, size in enumerate(widths):
        if rows and used + len(gap) + size <= width:
            rows[-1].append(number)
            used += len(gap) + size
        else:
            rows.append([number])
            used = size
    blocks = []
    for row in rows:
        height = max(len(drawings[number]) for number in row)
        lines = []
        for line in range(-1, height):
            cells = []
            for number in row:
                cell = titles[number] if line < 0 else drawings[number][line] if line < len(drawings[number]) else ""
                cells.append(cell + " " * (widths[number] - _width(cell)))
            lines.append(gap.join(cells).rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _width(line: str) -> int:
    return display_width(_COLOUR.sub("", line))
