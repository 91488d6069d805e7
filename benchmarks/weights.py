"""Weights without gold: do they beat equal weights? Every estimator that was tried, on every subset of teachers.

    python -m benchmarks.weights                # held-out sentences
    python -m benchmarks.weights --fold dev     # those on which the choices of `agreement_weights` were made
    python -m benchmarks.weights --choose       # instead: teachers chosen on development sentences, averaged on others

Nothing is sampled: all subsets of at least three teachers are averaged. Data that is absent is skipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import treeavg
import treeavg.averaging.reliability
from benchmarks.common import show
from treeavg.averaging.answers import MEASURES, agreements, answer_table
from treeavg.averaging.reliability import REDUCED, SHARE, consensus_agreements
from treeavg.averaging.selection import CRITERIA, select_teachers

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
#: wsj22 has no development fold: its first sentences serve as one.
WSJ22_DEV = 500


@dataclass(frozen=True)
class Pool:
    """Teachers with gold trees, how they are averaged and scored."""

    name: str
    gold: Any
    teachers: Sequence[Any]
    options: dict[str, Any]
    score: Callable[[Any, Any], float]

    def subsets(self) -> list[tuple[int, ...]]:
        """All subsets of at least three teachers."""
        sizes = range(3, len(self.teachers) + 1)
        return [chosen for size in sizes for chosen in combinations(range(len(self.teachers)), size)]


@dataclass(frozen=True)
class Team:
    """What an estimator may see: teachers, their answers (K, I), the options of the average; the gold, to cheat."""

    teachers: Sequence[Any]
    answers: Any
    options: dict[str, Any]
    gold: Any

    @property
    def size(self) -> int:
        return len(self.teachers)


def pools(fold: str) -> Iterable[Pool]:
    """Read what is there."""
    folder = SHARED / "wsj22"
    if folder.is_dir():
        part = slice(0, WSJ22_DEV) if fold == "dev" else slice(WSJ22_DEV, None)
        teachers = [treeavg.read(path)[part] for path in sorted((folder / "teachers").glob("*.txt"))]
        yield Pool("wsj22", treeavg.read(folder / "gold.txt")[part], teachers, {}, sentence_f1)
    folder = SHARED / "lassy"
    if folder.is_dir():
        teachers = [treeavg.read(path) for path in sorted((folder / "runs").glob(f"*.{fold}.jsonl"))]
        options = {"binary": False, "objective": "f1"}
        yield Pool("lassy", treeavg.read(folder / f"gold.{fold}.jsonl"), teachers, options, pooled)
    folder = SHARED / "wsj-dependency"
    if folder.is_dir():
        teachers = [treeavg.read(path) for path in sorted((folder / "teachers").glob(f"*.{fold}.heads"))]
        yield Pool("wsj-dependency", treeavg.read(folder / f"gold.{fold}.heads"), teachers, {}, pooled)


def sentence_f1(gold: Any, average: Any) -> float:
    return treeavg.score(gold, average).value


def pooled(gold: Any, average: Any) -> float:
    """UAS, or corpus F1 of all constituents but the whole sentences, each once."""
    return 100 * float(agreements(answer_table([gold, average], gold.lengths))[0, 1])


# ------------------------------------------------------------------ estimators: Team -> weights (K,)


def two_levels(values: Any) -> Any:
    """As `agreement_weights` does."""
    return np.where(values >= SHARE * values.max(), 1.0, REDUCED)


def leave_one_out(team: Team) -> Any:
    return consensus_agreements(team.teachers, team.teachers[0].lengths, team.options)


def shipped(team: Team) -> Any:
    return treeavg.averaging.reliability.agreement_weights(team.teachers, average_options=team.options)


def mean_agreement(team: Team) -> Any:
    return (agreements(team.answers).sum(axis=1) - 1) / (team.size - 1)


def with_average(team: Team, weights: Any = None) -> Any:
    """Agreement of each teacher with the average of all."""
    average = treeavg.average(team.teachers, weights=rounded(weights) if weights is not None else None, **team.options)
    return agreements(answer_table([average, *team.teachers], average.lengths))[0, 1:]


def iterated(team: Team, power: float = 2, rounds: int = 8) -> Any:
    """Weights are powers of the agreement with the average under these weights: EM with a tree as the latent truth."""
    weights = np.ones(team.size)
    for _ in range(rounds):
        weights = with_average(team, weights) ** power
    return weights


def dawid_skene(team: Team, wrong: int = 3, rounds: int = 60) -> Any:
    """Log-odds of reliabilities estimated by EM.

    Heads: one coin a teacher; an error falls on one of `wrong` heads alike; the latent head is one that some teacher
    gives. Constituents: two coins a teacher, over those that some teacher holds.
    """
    answers = team.answers
    if answers.dtype == bool:
        sensitivity, specificity = two_coins(answers.astype(float), rounds)
        return np.log(sensitivity / (1 - sensitivity)) + np.log(specificity / (1 - specificity))
    accuracy = np.full(len(answers), 0.6)
    for _ in range(rounds):
        votes = np.log(accuracy * wrong / (1 - accuracy))
        # How sure each teacher's answer to each item is: the odds of all answers, its own among them.
        own = np.array([votes @ (answers == row) for row in answers])
        repeats = np.array([(answers == row).sum(axis=0) for row in answers])
        likely = np.exp(own - own.max(axis=0))
        sure = likely / (likely / repeats).sum(axis=0)
        accuracy = (sure.sum(axis=1) + 1) / (answers.shape[1] + 2)
    return np.log(accuracy * wrong / (1 - accuracy))


def two_coins(held: Any, rounds: int) -> tuple[Any, Any]:
    """EM of Dawid and Skene for two classes."""
    true = held.mean(axis=0)
    for _ in range(rounds):
        sensitivity = (held @ true + 1) / (true.sum() + 2)
        specificity = ((1 - held) @ (1 - true) + 1) / ((1 - true).sum() + 2)
        prior = (true.sum() + 1) / (len(true) + 2)
        odds = np.log(prior / (1 - prior))
        odds = (
            odds + np.log(sensitivity / (1 - specificity)) @ held + np.log((1 - sensitivity) / specificity) @ (1 - held)
        )
        true = 1 / (1 + np.exp(-odds))
    return sensitivity, specificity


def spectral(team: Team, rounds: int = 500) -> Any:
    """The vector whose products fit the agreements of different teachers best: a factorisation of rank one."""
    table = agreements(team.answers)
    vector = np.sqrt(mean_agreement(team))
    for _ in range(rounds):
        np.fill_diagonal(table, vector**2)
        values, vectors = np.linalg.eigh(table)
        vector = np.abs(vectors[:, -1]) * np.sqrt(values[-1])
    return vector


def true_accuracy(team: Team) -> Any:
    """Not an estimate: what gold trees say."""
    return agreements(answer_table([team.gold, *team.teachers], team.gold.lengths))[0, 1:]


ESTIMATORS: dict[str, Callable[[Team], Any]] = {
    "agreement_weights (shipped)": shipped,
    "the same for any number of teachers": lambda team: two_levels(leave_one_out(team)),
    "two levels of the mean agreement": lambda team: two_levels(mean_agreement(team)),
    "agreement with the others' average, squared": lambda team: leave_one_out(team) ** 2,
    "mean agreement": mean_agreement,
    "mean agreement, squared": lambda team: mean_agreement(team) ** 2,
    "mean agreement, 4th power": lambda team: mean_agreement(team) ** 4,
    "agreement with the weighted average, squared, iterated": iterated,
    "Dawid-Skene, log-odds": dawid_skene,
    "rank-one factorisation of the agreements": spectral,
    "(equal but for thousandths, by file name)": lambda team: 1 - 0.001 * np.arange(team.size),
    "(true accuracy)": true_accuracy,
    "(true accuracy, 4th power)": lambda team: true_accuracy(team) ** 4,
    "(two levels of the true accuracy)": lambda team: two_levels(true_accuracy(team)),
}


def rounded(weights: Any) -> list[float]:
    """Weights of three digits, the largest 1; what is not above 0 gets next to nothing."""
    positive = np.maximum(np.nan_to_num(np.asarray(weights, float)), 1e-3)
    return [round(float(weight), 3) for weight in positive / positive.max()]


def main() -> None:
    """Print the shipped estimator by size of subset, then all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fold", choices=("test", "dev"), default="test")
    parser.add_argument("--choose", action="store_true")
    arguments = parser.parse_args()
    fold = arguments.fold
    if arguments.choose:
        choices()
        return
    sizes: list[list[str]] = [["data", "teachers", "subsets", "equal", "estimated", "difference", "wins", "loses"]]
    means: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    names: list[str] = []
    cells: dict[str, list[str]] = {name: [] for name in ESTIMATORS}
    for pool in pools(fold):
        subsets = pool.subsets()
        equal, gains = measure(pool, subsets)
        names.append(pool.name)
        sizes += by_size(pool.name, subsets, equal, gains["agreement_weights (shipped)"])
        for name, own in gains.items():
            means[name].append(float(own.mean()))
            cells[name].append(f"{own.mean():+.2f} ({share(own > 0)} / {share(own < 0)})")
    if not names:
        print(f"{SHARED} is absent: nothing to measure")
        return
    show(f"agreement_weights against equal weights, fold {fold}", sizes)
    rows = [["estimator", *names, "mean"]]
    rows += [[name, *cells[name], f"{np.mean(means[name]):+.2f}"] for name in ESTIMATORS]
    show(f"All estimators, fold {fold}: mean difference (share of subsets won / lost)", rows)


def measure(pool: Pool, subsets: Sequence[tuple[int, ...]]) -> tuple[Any, dict[str, Any]]:
    """Return the scores of equal weights and, for each estimator, the differences to them; one entry a subset."""
    table = answer_table(pool.teachers, pool.gold.lengths)
    equal: list[float] = []
    gains: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for subset in subsets:
        answers = table[list(subset)]
        if answers.dtype == bool:
            answers = answers[:, answers.any(axis=0)]
        team = Team([pool.teachers[index] for index in subset], answers, pool.options, pool.gold)
        equal.append(pool.score(pool.gold, treeavg.average(team.teachers, **pool.options)))
        for name, estimator in ESTIMATORS.items():
            average = treeavg.average(team.teachers, weights=rounded(estimator(team)), **pool.options)
            gains[name].append(pool.score(pool.gold, average) - equal[-1])
    return np.array(equal), {name: np.round(own, 9) for name, own in gains.items()}


def by_size(name: str, subsets: Sequence[tuple[int, ...]], equal: Any, gains: Any) -> list[list[str]]:
    """One row a size of subset, one for all."""
    counts = np.array([len(subset) for subset in subsets])
    masks = {str(size): counts == size for size in sorted(set(counts.tolist()))}
    masks["all"] = counts > 0
    return [
        [
            name, size, str(int(mask.sum())), f"{equal[mask].mean():.2f}", f"{(equal + gains)[mask].mean():.2f}",
            f"{gains[mask].mean():+.2f}", share(gains[mask] > 0), share(gains[mask] < 0),
        ]
        for size, mask in masks.items()
    ]  # fmt: skip


def choices() -> None:
    """Choose 3 to 5 teachers on the development fold, by all sets; print how good their average is on the other."""
    rows = [["criterion", "accuracy from", "alpha"]]
    columns: list[list[str]] = []
    criteria = [
        (criterion, gold, alpha)
        for gold in (True, False)
        for criterion in CRITERIA
        for alpha in ((0.1, 0.4) if criterion in MEASURES else (0.0,))
        if gold or criterion != "validation"
    ]
    for dev, test in zip(pools("dev"), pools("test"), strict=True):
        sizes = range(3, min(6, len(dev.teachers)))
        scores = {subset: test.score(test.gold, averaged(test, subset)) for subset in test.subsets()}
        rows[0] += [f"{dev.name} k={k}" for k in sizes]
        best = [max(value for subset, value in scores.items() if len(subset) == k) for k in sizes]
        means = [float(np.mean([value for subset, value in scores.items() if len(subset) == k])) for k in sizes]
        columns += [
            [f"{best[place]:.2f}", f"{means[place]:.2f}", *(f"{scores[chosen(dev, k, *way)]:.2f}" for way in criteria)]
            for place, k in enumerate(sizes)
        ]
    heads = [["(best set)", "", ""], ["(mean of all sets)", "", ""]]
    heads += [[name, "gold" if gold else "agreement", f"{alpha:g}" if alpha else ""] for name, gold, alpha in criteria]
    rows += [[*head, *cells] for head, cells in zip(heads, zip(*columns, strict=True), strict=True)]
    show("Teachers chosen on development sentences: score of their average on held-out ones", rows)


def chosen(pool: Pool, k: int, criterion: str, gold: bool, alpha: float) -> tuple[int, ...]:
    """Choose k teachers of a pool."""
    return select_teachers(
        pool.teachers, k=k, criterion=criterion, search="combination", alpha=alpha,
        gold=pool.gold if gold else None, average_options=pool.options,
    ).indices  # fmt: skip


def averaged(pool: Pool, subset: tuple[int, ...]) -> Any:
    return treeavg.average([pool.teachers[index] for index in subset], **pool.options)


def share(mask: Any) -> str:
    return f"{100 * mask.mean():.0f} %"


if __name__ == "__main__":
    main()
