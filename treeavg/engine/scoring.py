"""Scores and agreement batch by batch: of files in one process, and of shards, whose exact sums are added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from treeavg.alignment import Places
from treeavg.dependency import DependencyTreebank
from treeavg.engine.stream import Reading
from treeavg.engine.works import Writers, reading_of
from treeavg.errors import ArgumentError
from treeavg.formats import AlignedReader, Columns
from treeavg.metrics import AgreementTally, LabelCounts, Tally
from treeavg.transforms import binarize, branching
from treeavg.treebank import Treebank

#: Names of the systems that the gold trees themselves give.
BASELINES = ("(left-branching)", "(right-branching)", "(oracle, binary)")
#: What is shown of constituency trees, where all are continuous and where not.
_CONTINUOUS = ("sentence-f1", "corpus-f1", "precision", "recall")
_DISCONTINUOUS = ("corpus-f1", "continuous-f1", "discontinuous-f1", "precision", "recall")


@dataclass(frozen=True)
class Scoring:
    """What is to be scored, in values that JSON can hold.

    Parameters
    ----------
    metric : str, optional
        By default all that a table shows.
    convention : str, default "standard"
        As for `treeavg.score`.
    baselines : bool, default False
        Score the trees of `BASELINES` too.
    by_length, by_label : bool, default False
        Classes of sentence length; recall of gold labels.
    keep : bool, default False
        Keep the counts of each sentence, as tests of significance need them.
    """

    metric: str | None = None
    convention: str = "standard"
    baselines: bool = False
    by_length: bool = False
    by_label: bool = False
    keep: bool = False


class ScoreTables:
    """What is added up of each system, and which metrics are shown in the end.

    Parameters
    ----------
    gold : str
        The gold file.
    predicted : sequence of str, length K
        The systems' files.
    scoring : Scoring
        What is to be scored.
    reading : Reading, optional
        How the files are read.

    Attributes
    ----------
    tallies : list of Tally
        One a system, baselines last; empty before the first batch.
    labels : list of LabelCounts
        The same.

    Examples
    --------
    >>> from treeavg import Treebank
    >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> tables = ScoreTables("gold.txt", ["a.txt"], Scoring(baselines=True))
    >>> tables.add(gold, [gold])
    >>> [round(tally.value("recall")) for tally in tables.tallies]
    [100, 50, 50, 100]
    """

    def __init__(self, gold: str, predicted: Sequence[str], scoring: Scoring, reading: Reading | None = None) -> None:
        self._gold, self._scoring, self._reading = gold, scoring, reading or Reading()
        self._names = [*predicted, *(BASELINES if scoring.baselines else ())]
        self.tallies: list[Tally] = []
        self.labels: list[LabelCounts] = []

    def add(self, gold: Any, systems: Sequence[Any]) -> None:
        """Score further sentences.

        Parameters
        ----------
        gold : Treebank or DependencyTreebank
            The next sentences.
        systems : sequence, length K
            The same sentences of each system.

        Raises
        ------
        ArgumentError
            The options need other trees.
        AlignmentError
            Gold and a system do not hold the same sentences.
        """
        scoring = self._scoring
        if scoring.baselines:
            self._require_constituency(gold, "--baselines")
            systems = [*systems, branching(gold, "left"), branching(gold, "right"), binarize(gold)]
        if scoring.by_label:
            self._require_constituency(gold, "--by-label")
        if not self.tallies:
            self._begin(gold, systems)
        for tally, labels, bank in zip(self.tallies, self.labels, systems, strict=True):
            tally.add(gold, bank)
            if scoring.by_label:
                labels.add(gold, bank)

    def _begin(self, gold: Any, systems: Sequence[Any]) -> None:
        """Make the tallies, now that the kind of trees is known; which metrics show is known in the end."""
        scoring, reading = self._scoring, self._reading
        for name, bank in zip(self._names, systems, strict=True):
            places = Places((self._gold, name), files=True)
            self.tallies.append(
                Tally(
                    [scoring.metric] if scoring.metric else _all_metrics(gold),
                    scoring.convention,
                    on_error=reading.on_error,
                    check_tokens=reading.check_tokens and bank.tokens is not None,
                    places=places,
                    keep=scoring.keep,
                    by_length=scoring.by_length,
                )
            )
            self.labels.append(LabelCounts(scoring.convention, on_error=reading.on_error, places=places))

    def append(self, other: ScoreTables) -> None:
        """Add what was scored of other sentences by the same options.

        Parameters
        ----------
        other : ScoreTables
            Not used any more: it may become part of this one.
        """
        if not self.tallies:
            self.tallies, self.labels = other.tallies, other.labels
        elif other.tallies:
            for tally, one in zip(self.tallies, other.tallies, strict=True):
                tally.append(one)
            for labels, more in zip(self.labels, other.labels, strict=True):
                labels.append(more)

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold.

        Returns
        -------
        dict
        """
        return {
            "scores": [tally.as_json() for tally in self.tallies],
            "labels": [labels.as_json() for labels in self.labels],
        }

    def fill(self, value: Mapping[str, Any]) -> None:
        """Take what `as_json` gave in place of what is here.

        Parameters
        ----------
        value : mapping
            Not modified.
        """
        places = [Places((self._gold, name), files=True) for name in self._names]
        convention = self._scoring.convention
        self.tallies, self.labels = [], []
        for place, tally, labels in zip(places, value["scores"], value["labels"], strict=False):  # none: no sentence
            self.tallies.append(Tally.from_json(tally, places=place))
            self.labels.append(LabelCounts.from_json(labels, convention, places=place))

    def shown(self) -> list[str]:
        """Return the metrics that a table shows.

        Returns
        -------
        list of str
        """
        known = self.tallies[0].metrics
        if self._scoring.metric or "sentence-f1" not in known:
            return known
        return list(_CONTINUOUS if all(tally.is_continuous for tally in self.tallies) else _DISCONTINUOUS)

    def _require_constituency(self, gold: Any, option: str) -> None:
        if not isinstance(gold, Treebank) or (option == "--baselines" and not gold.is_continuous):
            raise ArgumentError(
                f"{option}: expected continuous constituency trees, got other trees in {self._gold}. Leave it out."
            )


def _all_metrics(gold: Any) -> tuple[str, ...]:
    """Return all metrics that a table may show of this kind of trees."""
    if not isinstance(gold, DependencyTreebank):
        return tuple(dict.fromkeys((*_CONTINUOUS, *_DISCONTINUOUS)))
    return ("uas", *(["uas-words"] if gold.tokens is not None else []), "undirected-uas", "span-f1")


def open_scored(
    gold: str, predicted: Sequence[str], reading: Reading, scoring: Scoring, jobs: int | None = None
) -> AlignedReader:
    """Open a gold file and those of systems for `ScoreTables`; labels are read only where they are looked at.

    Parameters
    ----------
    gold, predicted
        As for `ScoreTables`.
    reading : Reading
        How.
    scoring : Scoring
        What for.
    jobs : int, optional
        Threads; by default one a core.

    Returns
    -------
    AlignedReader
    """
    words = Columns(tokens=reading.check_tokens, labels=scoring.metric == "las")
    columns = [Columns(labels=scoring.by_label or words.labels), *([words] * len(predicted))]
    return AlignedReader(
        [gold, *predicted], reading.format, encoding=reading.encoding, on_error=reading.on_error, jobs=jobs,
        columns=columns,
    )  # fmt: skip


def open_compared(
    teachers: Sequence[str], reading: Reading, metric: str | None, jobs: int | None = None
) -> AlignedReader:
    """Open teachers' files to compare them with each other.

    Parameters
    ----------
    teachers : sequence of str, length K
        The files.
    reading : Reading
        How.
    metric : str or None
        As for `treeavg.agreement`.
    jobs : int, optional
        Threads; by default one a core.

    Returns
    -------
    AlignedReader
    """
    columns = [Columns(tokens=reading.check_tokens, labels=metric == "las")] * len(teachers)
    return AlignedReader(
        teachers, reading.format, encoding=reading.encoding, on_error=reading.on_error, jobs=jobs, columns=columns
    )


def agreement_tally(
    teachers: Sequence[str],
    reading: Reading,
    metric: str | None,
    convention: str,
    *,
    names: Sequence[str] | None = None,
    jobs: int | None = None,
) -> AgreementTally:
    """Return what adds up the agreement of teachers' files.

    Parameters
    ----------
    teachers : sequence of str, length K
        The files, as messages name them.
    reading : Reading
        How they are read.
    metric, convention
        As for `treeavg.agreement`.
    names : sequence of str, length K, optional
        As the table names them; by default as the files.
    jobs : int, optional
        Threads; by default one a core.

    Returns
    -------
    AgreementTally
    """
    return AgreementTally(
        names or teachers,
        metric=metric,
        convention=convention,
        on_error=reading.on_error,
        check_tokens=reading.check_tokens,
        places=Places(tuple(teachers), files=True),
        jobs=jobs,
    )


def score_work(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Score one shard; see `treeavg.engine.tasks.Work`.

    Parameters
    ----------
    paths : tuple of str
        The gold file, then those of the systems.
    options : mapping
        ``reading`` and ``scoring`` (fields of these classes).
    write : mapping
        Empty.
    first : int
        Not used.

    Returns
    -------
    dict
        ``sentences``, ``problems`` and what `ScoreTables.as_json` gives.
    """
    reading, scoring = reading_of(options), Scoring(**options["scoring"])
    tables = ScoreTables(paths[0], paths[1:], scoring, reading)
    with closing(open_scored(paths[0], paths[1:], reading, scoring, jobs=1)) as reader:
        for gold, *systems in reader:
            tables.add(gold, systems)
    return {**_read(reader), **tables.as_json()}


def agree_work(paths: tuple[str, ...], options: Mapping[str, Any], write: Writers, first: int) -> dict[str, Any]:
    """Compare the teachers of one shard with each other; see `treeavg.engine.tasks.Work`.

    Parameters
    ----------
    paths : tuple of str, length K
        The teachers' files.
    options : mapping
        ``reading``, ``metric`` (or None), ``convention``.
    write : mapping
        Empty.
    first : int
        Not used.

    Returns
    -------
    dict
        ``sentences``, ``problems`` and ``pairs``, what `AgreementTally.as_json` gives.
    """
    reading = reading_of(options)
    tally = agreement_tally(paths, reading, options["metric"], options["convention"], jobs=1)
    with closing(open_compared(paths, reading, options["metric"], jobs=1)) as reader:
        for batch in reader:
            tally.add(batch)
    return {**_read(reader), "pairs": tally.as_json()}


def _read(reader: AlignedReader) -> dict[str, Any]:
    """Return how many sentences were read, and what was skipped."""
    problems = [[problem.sentence, problem.message] for problem in reader.problems]
    return {"sentences": reader.done, "problems": problems}
