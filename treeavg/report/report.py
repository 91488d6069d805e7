"""`build_report`: teachers, averages, students and gold trees as one page that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from treeavg.alignment import Places, Trees, align
from treeavg.averaging.average import average
from treeavg.errors import ArgumentError, Problem, quote, unknown
from treeavg.formats.files import AtomicFile
from treeavg.report import facts
from treeavg.report.page import page
from treeavg.report.payload import payload_of
from treeavg.report.rows import Rows, rows_of
from treeavg.report.systems import System, Systems
from treeavg.version import __version__


@dataclass(frozen=True)
class ReportOptions:
    """How a report is made.

    Parameters
    ----------
    title : str, default "Report"
        Of the page.
    samples : int, default 10000
        Draws of the bootstrap.
    seed : int, default 0
        Of the bootstrap.
    on_error : str, default "raise"
        ``skip`` goes on where a system lacks a sentence; it scores 0 there, and the page says so.
    check_tokens : bool, default False
        Require equal words, not only equal lengths.
    jobs : int, optional
        Threads of the average; one a core by default. The report does not depend on it.

    Raises
    ------
    ArgumentError
        A value is out of range.

    Examples
    --------
    >>> ReportOptions(title="Held-out sentences").samples
    10000
    """

    title: str = "Report"
    samples: int = 10_000
    seed: int = 0
    on_error: str = "raise"
    check_tokens: bool = False
    jobs: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ArgumentError(
                    f"{name}: expected a whole number, at least {least}, got {quote(value)}. Leave it out."
                )
        if self.on_error not in ("raise", "skip"):
            raise unknown("on_error", self.on_error, ("raise", "skip"))


@dataclass(frozen=True, eq=False)
class Report:
    """A report: its numbers, and the page that shows them.

    Parameters
    ----------
    options : ReportOptions
        How it was made.
    facts : dict
        The numbers behind tables and charts, as the page's JSON has them.
    systems : Systems
        Whose trees it shows.
    problems : list of Problem
        Sentences that some system lacks (under ``on_error="skip"``).
    rows : Rows
        Each sentence's constituents, and which systems have them.
    values : dict of int to ndarray of float64, shape (N,)
        By system, the score of each sentence against gold; NaN where it is not scored.

    Examples
    --------
    >>> from treeavg import Treebank
    >>> bank = Treebank.from_constituents([["it", "rains"]], [[(0, 2)]])
    >>> build_report({"one": bank}).facts["systems"]
    [{'name': 'one', 'role': 'teacher'}, {'name': 'average', 'role': 'average'}]
    """

    options: ReportOptions
    facts: dict[str, Any]
    systems: Systems
    problems: list[Problem]
    rows: Rows = field(repr=False)
    values: dict[int, Any] = field(repr=False)

    def html(self) -> bytes:
        """Return the page.

        Returns
        -------
        bytes
            UTF-8; the same trees and options give the same bytes.

        Examples
        --------
        >>> from treeavg import Treebank
        >>> bank = Treebank.from_constituents([["it", "rains"]], [[(0, 2)]])
        >>> b"http://" in build_report({"one": bank}).html().split(b"<script")[0]  # it loads nothing
        False
        """
        spread = facts.disagreement(self.systems, self.rows)
        data = payload_of(self.facts, self.systems, self.rows, values=self.values, disagreement=spread)
        return page(self.facts["title"], data)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page; it appears whole or not at all.

        Parameters
        ----------
        path : str or os.PathLike
            ``-`` is standard output.

        Raises
        ------
        FileError
            The path cannot be written.

        Examples
        --------
        >>> report.write("report.html")  # doctest: +SKIP
        """
        data = self.html()
        with AtomicFile(path) as file:
            file.write(data)

    def write_plots(self, folder: str | os.PathLike[str], *, format: str = "svg") -> list[str]:
        """Write the page's charts as files.

        Parameters
        ----------
        folder : str or os.PathLike
            Made where it does not exist.
        format : str, default "svg"
            ``png``, ``svg`` or ``pdf``.

        Returns
        -------
        list of str
            The files, in the order of the page.

        Raises
        ------
        ArgumentError
            matplotlib is not installed, or the format is unknown.
        FileError
            A path cannot be written.

        Examples
        --------
        >>> report.write_plots("plots", format="pdf")  # doctest: +SKIP
        ['plots/agreement.pdf', 'plots/f1-by-length.pdf', 'plots/recall-by-label.pdf', 'plots/reliability.pdf']
        """
        from treeavg.report.plots import write_plots

        return write_plots(self.facts, folder, format=format)


def build_report(
    teachers: Mapping[str, Trees],
    *,
    gold: Trees | None = None,
    averages: Mapping[str, Trees] | None = None,
    students: Mapping[str, Trees] | None = None,
    options: ReportOptions | None = None,
    places: Places | None = None,
) -> Report:
    """Compare teachers, averages and students in one page.

    Parameters
    ----------
    teachers : mapping of str to Treebank or DependencyTreebank, length K >= 1
        Trees over the same sentences, by the name that the page gives them. Not modified.
    gold : Treebank or DependencyTreebank, optional
        The right trees. Without them the page has no scores; all else is there.
    averages : mapping of str to Treebank or DependencyTreebank, optional
        By default one is computed, as `treeavg.average` does it, and called ``average``.
    students : mapping of str to Treebank or DependencyTreebank, optional
        Or any other systems that are not to count as teachers.
    options : ReportOptions, optional
        How to make it.
    places : Places, optional
        How messages name gold (if given), teachers, averages (if given) and students, in this order.

    Returns
    -------
    Report
        ``.write(path)`` writes the page, ``.write_plots(folder)`` its charts.

    Raises
    ------
    AlignmentError
        The treebanks do not hold the same sentences.
    ArgumentError
        There is no teacher, two systems have one name, or the kinds of trees are mixed.

    Examples
    --------
    >>> from treeavg import Treebank
    >>> words = [["the", "dog", "saw", "it"]]
    >>> one = Treebank.from_constituents(words, [[(0, 4), (0, 2), (2, 4)]])
    >>> two = Treebank.from_constituents(words, [[(0, 4), (1, 4), (2, 4)]])
    >>> report = build_report({"one": one, "two": two}, gold=one, options=ReportOptions(samples=10))
    >>> report.facts["summary"]["rows"][0]["values"]["sentence-f1/standard"]
    100.0
    >>> report.html()[:15]
    b'<!doctype html>'
    """
    options = options or ReportOptions()
    systems, problems = _systems(teachers, gold, averages, students, options, places)
    rows = rows_of(systems)
    numbers: dict[str, Any] = {
        "title": _shown(options.title),
        "version": __version__,
        "kind": "dependency" if systems.is_dependency else "constituency",
        "sentences": len(systems.lengths),
        "tokens": int(systems.lengths.sum()),
        "systems": [{"name": member.name, "role": member.role} for member in systems.members],
        "computed": averages is None or not averages,
        "incomplete": len({problem.sentence for problem in problems}),
        "agreement": facts.agreements(systems, rows),
    }
    values = {}
    if systems.gold is not None:
        scores = facts.Scores(systems, options.on_error)
        numbers["summary"] = facts.summary(systems, scores, samples=options.samples, seed=options.seed)
        numbers["by_length"] = facts.by_length(systems, scores)
        numbers["by_label"] = facts.by_label(systems, rows)
        numbers["reliability"] = facts.reliability(systems, rows)
        for index in scores.scored:
            own = scores.of(index, scores.columns[0])
            values[index] = np.full(len(systems.lengths), np.nan)
            values[index][own.statistics.sentences] = own.per_sentence
    return Report(options, numbers, systems, problems, rows, values)


def _shown(name: str) -> str:
    """Spell out bytes that are no text: names of files and arguments of a command line may hold some."""
    return name.encode(errors="backslashreplace").decode()


def _systems(
    teachers: Mapping[str, Trees],
    gold: Trees | None,
    averages: Mapping[str, Trees] | None,
    students: Mapping[str, Trees] | None,
    options: ReportOptions,
    places: Places | None,
) -> tuple[Systems, list[Problem]]:
    """Check that all are aligned; compute the average where none is given."""
    if not teachers:
        raise ArgumentError("teachers: expected at least one treebank, got none. Name the teachers.")
    given = [System("gold", "gold", gold)] if gold is not None else []
    given += [System(_shown(name), "teacher", bank) for name, bank in teachers.items()]
    given += [System(_shown(name), "average", bank) for name, bank in (averages or {}).items()]
    after = len(given)
    given += [System(_shown(name), "student", bank) for name, bank in (students or {}).items()]
    places = places or Places(tuple(member.name for member in given))
    _, problems = align(
        [member.bank for member in given], places=places, check_tokens=options.check_tokens, on_error=options.on_error
    )
    names = list(places.names)
    if not averages:
        begin = 1 if gold is not None else 0
        bank = average(
            [member.bank for member in given[begin:after]],
            on_error=options.on_error,
            jobs=options.jobs,
            places=Places(tuple(names[begin:after]), places.files, places.first),
        )
        given.insert(after, System("average", "average", bank))
        names.insert(after, "average")
    seen: set[str] = set()
    for member in given:
        if member.name in seen:
            raise ArgumentError(f"names: expected each once, got {member.name!r} again. Rename one of the systems.")
        seen.add(member.name)
    return Systems.of(given, Places(tuple(names), places.files, places.first)), problems
