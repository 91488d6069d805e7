"""What is told once at the end of long work: sentences done, skipped, emptied, and searches without a proof."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from treeavg.errors import Problem


@dataclass
class Summary:
    """Counts of a stream; those of several streams can be put end to end.

    Parameters
    ----------
    sentences : int, default 0
        Done so far.
    problems : list of Problem
        What was skipped, by sentence.
    searches, nodes, largest : int, default 0
        Sentences that were searched, nodes visited, largest component met.
    unproved : list of (int, float)
        Sentences whose tree is not proved best, and how far below the best it may be.
    emptied : int, default 0
        Sentences that lost all their tokens.

    Examples
    --------
    >>> whole = Summary(3)
    >>> whole.append(Summary(2, [Problem(1, "b.txt:2:1: expected a tree, got an empty line.")]))
    >>> whole.sentences, whole.problems[0].sentence
    (5, 4)
    """

    sentences: int = 0
    problems: list[Problem] = field(default_factory=list)
    searches: int = 0
    nodes: int = 0
    largest: int = 0
    unproved: list[tuple[int, float]] = field(default_factory=list)
    emptied: int = 0

    def add_search(self, result: Any) -> None:
        """Take the searches of a batch's average into account; call it before the batch is counted.

        Parameters
        ----------
        result : Treebank or DependencyTreebank
            From `treeavg.average`.
        """
        search = getattr(result, "search", None)
        if search is None:
            return
        self.searches += len(result)
        self.nodes += int(search.nodes.sum())
        self.largest = max(self.largest, int(search.largest.max(initial=0)))
        places = (~search.proved).nonzero()[0].tolist()
        self.unproved += [(self.sentences + place, float(search.gaps[place])) for place in places]

    def settle(self, problems: Iterable[Problem]) -> None:
        """Take what was skipped into account, the first problem of each sentence.

        Parameters
        ----------
        problems : iterable of Problem
            In any order; the first one named of a sentence counts.
        """
        first: dict[int, Problem] = {problem.sentence: problem for problem in self.problems}
        for problem in problems:
            first.setdefault(problem.sentence, problem)
        self.problems = [first[sentence] for sentence in sorted(first)]

    def append(self, other: Summary) -> None:
        """Put another stream's counts behind these.

        Parameters
        ----------
        other : Summary
            Not modified.
        """
        first = self.sentences
        self.problems += [Problem(first + item.sentence, item.message) for item in other.problems]
        self.unproved += [(first + sentence, gap) for sentence, gap in other.unproved]
        self.sentences += other.sentences
        self.searches += other.searches
        self.nodes += other.nodes
        self.largest = max(self.largest, other.largest)
        self.emptied += other.emptied

    def search_summary(self) -> dict[str, Any] | None:
        """Return the figures of the searches for JSON; None where nothing had to be searched.

        Returns
        -------
        dict or None
        """
        if not self.searches:
            return None
        return {
            "sentences": self.searches,
            "nodes": self.nodes,
            "largest_component": self.largest,
            "unproved": [{"sentence": sentence + 1, "gap": gap} for sentence, gap in self.unproved],
        }

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold.

        Returns
        -------
        dict
        """
        problems = [[problem.sentence, problem.message] for problem in self.problems]
        return {**vars(self), "problems": problems, "unproved": [list(item) for item in self.unproved]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Summary:
        """Return the summary that `as_json` gave.

        Parameters
        ----------
        value : dict
            Not modified.

        Returns
        -------
        Summary
        """
        problems = [Problem(int(sentence), str(message)) for sentence, message in value["problems"]]
        unproved = [(int(sentence), float(gap)) for sentence, gap in value["unproved"]]
        return cls(**{**value, "problems": problems, "unproved": unproved})
