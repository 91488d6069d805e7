"""Trees whose words, labels and names try to be markup, with the shapes that a page may meet."""

from __future__ import annotations

import random
from collections.abc import Sequence

import naive

from treeavg import DependencyTreebank, Treebank
from treeavg.report import Report, ReportOptions, build_report

SCRIPT = "<script>document.title='taken'</script>"
IMAGE = "<img src=x onerror=\"document.title='taken'\">"
WORDS = [SCRIPT, "\"&'", "</script>", "<!--", "]]>", "\u2028", "&lt;"]
LETTERS = ["木", "עץ", "شجرة", "e\u0301", "🌳", "%%TITLE%%"]
LONG = 200
#: Six sentences: hostile words, one word, very long, letters of many scripts, missing in a teacher, missing anywhere.
SENTENCES: list[list[str]] = [WORDS, ["one"], [f"w{place}" for place in range(LONG)], LETTERS, ["a", "b", "c"], []]
OPTIONS = ReportOptions(title=f"Title {SCRIPT} & \"'", samples=20, on_error="skip")


def random_bank(seed: int, *, labelled: bool = False, without: Sequence[int] = ()) -> Treebank:
    """Return binary trees over `SENTENCES`, some of them missing."""
    generator = random.Random(seed)
    words = [[] if place in without else own for place, own in enumerate(SENTENCES)]
    trees = [naive.random_tree(generator, len(own)) if len(own) > 1 else [] for own in words]
    labels = [[generator.choice(["NP", IMAGE, "VP"]) for _ in tree] for tree in trees]
    return Treebank.from_constituents(words, trees, labels=labels if labelled else None)


def constituency_report(*, gold: bool = True) -> Report:
    """Return a report on continuous trees; the second teacher lacks a sentence."""
    teachers = {"left <b>": random_bank(1), "second & 'x'": random_bank(2, without=[4]), "third": random_bank(3)}
    return build_report(
        teachers, gold=random_bank(0, labelled=True) if gold else None, students={"student": random_bank(4)},
        options=OPTIONS,
    )  # fmt: skip


def discontinuous_report() -> Report:
    """Return a report on trees with crossing branches."""
    words = [["wake", "your", "<i>friend</i>", "up"], ["a", "b", "c", "d", "e"]]
    gold = Treebank.from_constituents(
        words, [[(0, 4), [(0, 1), (3, 4)], (1, 3)], [(0, 5), [(0, 1), (2, 3), (4, 5)]]],
        labels=[["S", "VP", "NP"], ["S", "X+"]],
    )  # fmt: skip
    other = Treebank.from_constituents(words, [[(0, 4), (0, 2), (2, 4)], [(0, 5), [(0, 1), (2, 3)]]])
    return build_report({"one": gold, "two": other, "three": other}, gold=gold, options=OPTIONS)


def dependency_report() -> Report:
    """Return a report on dependency trees, one of them not projective."""
    words = [["<b>", "\"&'", "up", "now"], ["go"]]
    gold = DependencyTreebank.from_heads(
        [[0, 1, 1, 2], [0]], tokens=words, relations=[["root", IMAGE, "prt", "adv"], ["root"]]
    )
    other = DependencyTreebank.from_heads([[3, 4, 0, 3], [0]], tokens=words)
    return build_report({"one": gold, "two": other, "three": other}, gold=gold, options=OPTIONS)
