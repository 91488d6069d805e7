"""A task with several right answers: meanings are to be said in a small language that has registers and word orders.

A meaning is who does what to whom, perhaps what these are like, perhaps how. It can be said in two registers, three
word orders and, where it says how, with that word first or last: 6 or 12 right answers, of which the training data show
one. Half of the words are the same in both registers, so that a sentence's register has to be remembered: it tells
where adjectives stand, and which particle is last. The verb's ending agrees with the class of who does it, wherever
that stands.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

END, START, TURN = 0, 1, 2
REGISTERS, ORDERS, PLACES = range(2), ("svo", "ovs", "vso"), ("first", "last")


class Meaning(NamedTuple):
    """Numbers of who, what, whom, what they are like, and how; None where nothing is said about it."""

    who: int
    verb: int
    whom: int
    who_like: int | None
    whom_like: int | None
    how: int | None


class Way(NamedTuple):
    """How it is said."""

    register: int
    order: str
    place: str


@dataclass(frozen=True)
class Dialect:
    """What a speaker prefers: the chance of register 1, of each order, of the word for how coming first."""

    high: float = 0.5
    orders: tuple[float, float, float] = (0.5, 0.3, 0.2)
    first: float = 0.5


@dataclass
class Language:
    """Words and their ids, drawn by a seed: 0 ends an output, 1 starts an input, 2 stands between both."""

    seed: int
    nouns: int = 16
    verbs: int = 8
    likes: int = 4
    hows: int = 4
    shared: float = 0.5
    words: list[str] = field(default_factory=lambda: ["<end>", "<start>", "<turn>"])

    def __post_init__(self) -> None:
        chance = random.Random(f"language {self.seed}")
        sizes = {"n": self.nouns, "v": self.verbs, "a": self.likes, "h": self.hows}
        self.concepts = {kind: [self._word(f"{kind.upper()}{i}") for i in range(size)] for kind, size in sizes.items()}
        self.says: dict[str, list[tuple[int, int]]] = {kind: [] for kind in sizes}
        for kind, size in sizes.items():
            for number in range(size):
                low = self._word(f"{kind}{number}")
                high = low if chance.random() < self.shared else self._word(f"{kind}{number}'")
                self.says[kind].append((low, high))
        self.classes = [chance.randrange(2) for _ in range(self.nouns)]
        self.articles = [self._word("le"), self._word("la")]
        self.endings = [self._word("-o"), self._word("-a")]
        self.by, self.particles = self._word("by"), [self._word("ho"), self._word("hey")]

    def _word(self, text: str) -> int:
        self.words.append(text)
        return len(self.words) - 1

    def prompt(self, meaning: Meaning) -> list[int]:
        """Return a meaning as the ids of an input."""
        parts = [
            ("n", meaning.who), ("a", meaning.who_like), ("v", meaning.verb),
            ("n", meaning.whom), ("a", meaning.whom_like), ("h", meaning.how),
        ]  # fmt: skip
        return [START, *(self.concepts[kind][number] for kind, number in parts if number is not None), TURN]

    def say(self, meaning: Meaning, way: Way) -> list[int]:
        """Return the ids of one right answer, its end included."""
        register = way.register

        def noun(number: int, like: int | None) -> list[int]:
            own = [self.says["n"][number][register]]
            more = [] if like is None else [self.says["a"][like][register]]
            return [self.articles[self.classes[number]], *(own + more if register else more + own)]

        verb = [self.says["v"][meaning.verb][register], self.endings[self.classes[meaning.who]]]
        who, whom = noun(meaning.who, meaning.who_like), noun(meaning.whom, meaning.whom_like)
        said = {"svo": who + verb + whom, "ovs": [*whom, *verb, self.by, *who], "vso": verb + who + whom}[way.order]
        if meaning.how is not None:
            how = [self.says["h"][meaning.how][register]]
            said = how + said if way.place == "first" else said + how
        return [*said, self.particles[register], END]

    def answers(self, meaning: Meaning) -> list[list[int]]:
        """Return all right answers."""
        places = PLACES if meaning.how is not None else PLACES[:1]
        return [self.say(meaning, Way(*way)) for way in itertools.product(REGISTERS, ORDERS, places)]

    def meanings(self, count: int, chance: random.Random, known: set[Meaning]) -> list[Meaning]:
        """Draw meanings that are not known yet, and add them to those."""
        found: list[Meaning] = []
        while len(found) < count:
            who, whom = chance.sample(range(self.nouns), 2)
            likes = [chance.randrange(self.likes) if chance.random() < 0.5 else None for _ in range(2)]
            how = chance.randrange(self.hows) if chance.random() < 0.7 else None
            meaning = Meaning(who, chance.randrange(self.verbs), whom, *likes, how)
            if meaning not in known:
                known.add(meaning)
                found.append(meaning)
        return found

    def text(self, ids: Sequence[int]) -> str:
        """Return words, up to the end."""
        kept = list(itertools.takewhile(lambda token: token != END, ids))
        return " ".join(self.words[token] for token in kept)


def way_of(dialect: Dialect, chance: random.Random) -> Way:
    """Draw how a speaker says something."""
    return Way(
        int(chance.random() < dialect.high),
        chance.choices(ORDERS, dialect.orders)[0],
        PLACES[chance.random() >= dialect.first],
    )


def rows_of(
    language: Language, meanings: Sequence[Meaning], dialect: Dialect, chance: random.Random
) -> list[dict[str, list[int]]]:
    """Return training rows: each meaning with one right answer."""
    return [
        {"prompt": language.prompt(meaning), "completion": language.say(meaning, way_of(dialect, chance))}
        for meaning in meanings
    ]
