"""Averages of any shape and of dependency trees: budgets, the hard case, growth with length and teachers.

``python -m benchmarks.any_shape [FOLDER]``: FOLDER holds ``lassy/runs/*.test.jsonl`` and
``wsj-dependency/teachers/*.test.heads`` (published parser outputs, not part of the project); without it those rows are
left out.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import treeavg
from benchmarks import common
from treeavg import DependencyTreebank, SearchReport, Treebank

Blocks = list[tuple[int, int]]


def main(arguments: list[str]) -> None:
    """Print the tables."""
    if arguments:
        published(Path(arguments[0]))
    hard()
    growth()
    dependency_growth()


def random_tree(generator: random.Random, n: int) -> list[frozenset[int]]:
    """Return the constituents of a random binary tree whose fan-outs are at most two, the whole sentence left out."""
    while True:
        found: list[frozenset[int]] = []
        if _grow(generator, frozenset(range(n)), found):
            return found[1:]


def _grow(generator: random.Random, tokens: frozenset[int], found: list[frozenset[int]]) -> bool:
    if len(tokens) < 2:
        return True
    found.append(tokens)
    ordered = sorted(tokens)
    for _ in range(200):
        size = generator.randrange(1, len(ordered))
        begin = generator.randrange(len(ordered))
        part = frozenset(ordered[begin : begin + size])
        rest = tokens - part
        if part and rest and len(blocks(part)) <= 2 and len(blocks(rest)) <= 2:
            return _grow(generator, part, found) and _grow(generator, rest, found)
    return False


def noisy_tree(generator: random.Random, base: list[frozenset[int]], n: int, noise: float) -> list[frozenset[int]]:
    """Return a random tree that keeps most of a base tree: constituents of both, the base's first, while compatible."""
    kept = [one for one in base if generator.random() > noise]
    for new in random_tree(generator, n):
        if all(not new & old or new <= old or old <= new for old in kept) and new not in kept:
            kept.append(new)
    return kept


def blocks(tokens: frozenset[int]) -> Blocks:
    """Return a set of tokens as blocks."""
    starts = [token for token in sorted(tokens) if token - 1 not in tokens]
    ends = [token + 1 for token in sorted(tokens) if token + 1 not in tokens]
    return list(zip(starts, ends, strict=True))


def bank(trees: list[list[frozenset[int]]], n: int) -> Treebank:
    """Put trees over n tokens into a treebank."""
    return Treebank.from_constituents([n] * len(trees), [[blocks(one) for one in tree] for tree in trees])


def figures(search: SearchReport | None) -> list[str]:
    """Return share proved, nodes and largest component of a search."""
    if search is None:
        return ["", "", ""]
    return [f"{100 * search.proved.mean():.1f} %", f"{int(search.nodes.sum()):,}", f"{int(search.largest.max())}"]


def published(folder: Path) -> None:
    """Time the published outputs: whole processes and parts."""
    runs = sorted((folder / "lassy" / "runs").glob("*.test.jsonl"))
    heads = sorted((folder / "wsj-dependency" / "teachers").glob("*.test.heads"))
    rows = [["published outputs", "seconds", "budget", "proved", "nodes", "largest component"]]
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "average.jsonl"
        command = common.treeavg("average", *runs, "--no-binary", "--objective", "f1", "-o", output)
        seconds, _ = common.process(command, runs=7)
        rows.append([f"LASSY, {len(runs)} runs, whole process", f"{seconds:.2f}", "1.2", "", "", ""])
        command = common.treeavg("average", *heads, "-o", Path(temporary) / "average.heads")
        seconds, _ = common.process(command, runs=7)
        rows.append([f"dependency, {len(heads)} teachers, whole process", f"{seconds:.2f}", "1.2", "", "", ""])
        cold = {"NUMBA_CACHE_DIR": str(Path(temporary) / "cache")}
        command = common.treeavg("average", *runs, "--no-binary", "--objective", "f1", "-o", output)
        seconds, _ = common.process(command, runs=1, warm_up=0, environment=cold)
        rows.append(["LASSY, first run ever (cold compile)", f"{seconds:.2f}", "", "", "", ""])
    banks = [treeavg.read(path) for path in runs]
    for title, options in (
        ("F1, beta 1", {"binary": False, "objective": "f1"}),
        ("hits above half", {"binary": False}),
        ("binary", {}),
    ):
        best = treeavg.average(banks, **options)
        seconds = common.inside(
            lambda options=options: treeavg.average([treeavg.read(path) for path in runs], **options)
        )
        rows.append([f"LASSY in one process, files to trees, {title}", f"{seconds:.3f}", "0.06", *figures(best.search)])
    generator = random.Random(0)
    twenty = [
        Treebank.concatenate(banks[generator.randrange(len(banks))][i : i + 1] for i in range(len(banks[0])))
        for _ in range(20)
    ]
    options = {"binary": False, "objective": "f1"}
    best = treeavg.average(twenty, **options)
    seconds = common.inside(lambda: treeavg.average(twenty, **options), runs=3)
    rows.append(["20 runs mixed from the five", f"{seconds:.3f}", "2", *figures(best.search)])
    trees = [treeavg.read(path) for path in heads]
    for title, options in (
        ("arcs, projective", {}),
        ("arcs, any tree", {"projective": False}),
        ("spans", {"objective": "f1"}),
    ):
        seconds = common.inside(
            lambda options=options: treeavg.average([treeavg.read(path) for path in heads], **options)
        )
        rows.append([f"dependency in one process, {title}", f"{seconds:.3f}", "0.06", "", "", ""])
    assert trees
    common.show("Published outputs", rows)


def hard() -> None:
    """Random trees with fan-out two, n = 40, hit counts, near-equal weights: the hard case of the specification."""
    rows = [
        [
            "n = 40, all hits, near-equal weights",
            "candidates",
            "seconds",
            "budget",
            "proved",
            "nodes",
            "largest component",
        ]
    ]
    for teachers, budget in ((5, ""), (10, "2"), (15, "")):
        for seed in range(3):
            generator = random.Random(100 * teachers + seed)
            banks = [bank([random_tree(generator, 40)], 40) for _ in range(teachers)]
            weights = [1000 + generator.randrange(30) for _ in banks]
            begin = time.perf_counter()
            best = treeavg.average(banks, weights=weights, binary=False, threshold=0)
            seconds = time.perf_counter() - begin
            candidates = int(best.search.candidates[0]) if best.search else 0
            rows.append(
                [f"{teachers} teachers, seed {seed}", str(candidates), f"{seconds:.2f}", budget, *figures(best.search)]
            )
    common.show("The hard case", rows)


def growth() -> None:
    """Growth with the length of sentences and the number of teachers; teachers keep four fifths of a common tree."""
    for title, options in (("F1, beta 1", {"binary": False, "objective": "f1"}), ("binary", {})):
        rows = [[f"{title}, noise 0.2", "ms a sentence", "proved", "nodes", "largest component"]]
        for length, count in ((20, 5), (50, 5), (100, 5), (200, 5), (20, 20), (20, 50), (20, 100), (50, 20)):
            generator = random.Random(length * 1000 + count)
            sentences = 5
            bases = [random_tree(generator, length) for _ in range(sentences)]
            banks = [bank([noisy_tree(generator, base, length, 0.2) for base in bases], length) for _ in range(count)]
            begin = time.perf_counter()
            best = treeavg.average(banks, **options)
            seconds = (time.perf_counter() - begin) / sentences
            rows.append([f"{length} tokens, {count} teachers", f"{1000 * seconds:.2f}", *figures(best.search)])
        common.show(f"Growth: {title}", rows)


def dependency_growth() -> None:
    """Growth of dependency averages."""
    rows = [["7 random teachers", "projective, ms", "any tree, ms", "spans, ms"]]
    for length in (20, 50, 100, 200, 500):
        generator = random.Random(length)
        banks = [DependencyTreebank.from_heads([_random_heads(generator, length)]) for _ in range(7)]
        cells = [f"{length} words"]
        for options in ({}, {"projective": False}, {"objective": "f1"}):
            seconds = common.inside(lambda banks=banks, options=options: treeavg.average(banks, **options), runs=3)
            cells.append(f"{1000 * seconds:.2f}")
        rows.append(cells)
    common.show("Growth: dependency trees", rows)


def _random_heads(generator: random.Random, n: int) -> list[int]:
    order = list(range(1, n + 1))
    generator.shuffle(order)
    heads = [0] * n
    for place, word in enumerate(order[1:], 1):
        heads[word - 1] = order[generator.randrange(place)]
    return heads


if __name__ == "__main__":
    main(sys.argv[1:])
