"""Tests of the embedded sample in data/: reproducible, well formed, varied, grammatical, and rightly described."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from nltk import Tree

from treeavg.cli import demo

DATA = Path(__file__).resolve().parent.parent / "data"
TEACHERS = sorted((DATA / "teachers").glob("*.txt"))
STUDENT = DATA / "student.txt"
SENTENCES = 2000
HELD_OUT = 400
BE = {"am", "is", "are", "was", "were", "be", "been"}


def lines(path: Path) -> list[str]:
    """Return the lines of a file."""
    return path.read_text(encoding="ascii").splitlines()


@cache
def trees(path: Path) -> list[Tree]:
    """Return the trees of a file, one a line."""
    return [Tree.fromstring(line) for line in lines(path)]


def gold() -> list[Tree]:
    """Return the gold trees."""
    return trees(DATA / "gold.txt")


def labels(node: Tree) -> list[str]:
    """Return the labels of a node's children; words count as nothing."""
    return [child.label() for child in node if isinstance(child, Tree)]


def first_word(node: Tree) -> str:
    """Return the first word of a node."""
    return str(node.leaves()[0])


# --- (1) and (2): reproduction


def test_generator_reproduces_text_and_gold(tmp_path: Path) -> None:
    """The generator writes the committed text and gold trees again, byte for byte, whatever the hash seed."""
    command = [sys.executable, "-B", str(DATA / "generate.py"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, timeout=60, env={**os.environ, "PYTHONHASHSEED": "7"})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"SHA256SUMS", "text.txt", "gold.txt"}
    for name in ("text.txt", "gold.txt"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()
    assert set(lines(tmp_path / "SHA256SUMS")) < set(lines(DATA / "SHA256SUMS"))


def test_checksums_agree() -> None:
    """SHA256SUMS lists every text and tree file with its checksum."""
    listed = {path: checksum for checksum, path in (line.split("  ") for line in lines(DATA / "SHA256SUMS"))}
    files = [DATA / "text.txt", DATA / "gold.txt", STUDENT, *TEACHERS]
    assert listed == {
        path.relative_to(DATA).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


# --- (3): form


def test_sentences_are_distinct_and_of_sensible_length() -> None:
    """There are 2,000 distinct sentences of 2 to 40 words, 12 to 15 on average, short and long ones among them."""
    text = lines(DATA / "text.txt")
    lengths = [len(line.split()) for line in text]
    assert len(set(text)) == len(text) == SENTENCES
    assert (min(lengths), max(lengths)) == (2, 40)
    assert 12 <= sum(lengths) / len(lengths) <= 15
    assert sum(length <= 6 for length in lengths) > 100
    assert sum(length >= 25 for length in lengths) > 100


def test_gold_trees_yield_the_text() -> None:
    """The words below each gold tree are the sentence, and every word has a tag of its own."""
    assert [" ".join(tree.leaves()) for tree in gold()] == lines(DATA / "text.txt")
    for tree in gold():
        for node in tree.subtrees():
            assert all(isinstance(child, Tree) for child in node) or len(node) == 1


def test_text_is_lower_case_without_punctuation() -> None:
    """Only names and "I" have a capital letter, and nothing but letters occurs, apart from the possessive."""
    for tree in gold():
        for word, tag in tree.pos():
            assert re.fullmatch("[A-Za-z]+|'s", word)
            assert word.islower() == (tag != "NNP" and word != "I")


def test_labels_are_penn_like() -> None:
    """Phrases carry Penn labels; no trace, empty element or function tag occurs."""
    phrases = {node.label() for tree in gold() for node in tree.subtrees(lambda node: node.height() > 2)}
    expected = {"S", "NP", "VP", "PP", "SBAR", "SQ", "SBARQ", "ADJP", "ADVP", "PRT", "WHNP", "WHADVP", "WHADJP"}
    assert phrases == expected


@pytest.mark.parametrize("path", [*TEACHERS, STUDENT], ids=lambda path: path.stem)
def test_trees_are_binary(path: Path) -> None:
    """The trees of teachers and student are binary, over the words of the text, and nothing but words has a tag."""
    assert [" ".join(tree.leaves()) for tree in trees(path)] == lines(DATA / "text.txt")
    for tree in trees(path):
        for node in tree.subtrees():
            assert (len(node) == 1 and isinstance(node[0], str)) or len(labels(node)) == len(node) == 2


def test_the_seven_teachers_differ() -> None:
    """They are those that the training script trains, and no two of them agree on most sentences."""
    program = {**os.environ, "PYTHONPATH": str(DATA)}
    command = [
        sys.executable,
        "-B",
        "-c",
        "import train; print(*sorted(train.TEACHERS), train.SENTENCES, train.HELD_OUT)",
    ]
    names = subprocess.run(command, check=True, capture_output=True, text=True, env=program, timeout=60).stdout.split()
    assert names == [*(path.stem for path in TEACHERS), str(SENTENCES), str(HELD_OUT)]
    assert HELD_OUT == demo.HELD_OUT
    for i, one in enumerate(TEACHERS):
        for other in TEACHERS[:i]:
            same = sum(a == b for a, b in zip(lines(one), lines(other), strict=True))
            assert same < SENTENCES / 2


# --- (4): phenomena and agreement


def test_there_are_many_word_forms() -> None:
    """At least 500 distinct word forms occur."""
    assert len({word.lower() for line in lines(DATA / "text.txt") for word in line.split()}) >= 500


def noun_phrase_phenomena(node: Tree) -> Iterator[str]:
    """Yield what a noun phrase shows: attachment of a PP, the kind of a relative clause, the case of a pronoun."""
    below = labels(node)
    if below == ["NP", "PP"]:
        yield "PP attached to NP"
    if below == ["NP", "SBAR"]:
        clause = node[1][-1]
        introduced = "with pronoun" if len(node[1]) == 2 else "bare"
        yield f"{'object' if labels(clause)[0] == 'NP' else 'subject'} relative, {introduced}"
    if below == ["PRP"]:
        nominative = node[0][0] in {"I", "he", "she", "we", "they"}
        accusative = node[0][0] in {"me", "him", "her", "us", "them"}
        yield "nominative pronoun" if nominative else "accusative pronoun" if accusative else "pronoun"


def verb_phrase_phenomena(node: Tree) -> Iterator[str]:
    """Yield what a verb phrase shows: attachment of a PP, complements, auxiliaries, passive."""
    below = labels(node)
    if "PP" in below:
        yield "PP attached to VP"
    if below[1:3] == ["NP", "NP"]:
        yield "ditransitive"
    if "MD" in below:
        yield "modal"
    if below[0] == "TO":
        yield "infinitive"
    if "RB" in below:
        yield "negation"
    if below[0][0] == "V" and first_word(node) in {"have", "has", "had"} and below[-1] == "VP":
        yield "perfect"
    if first_word(node) in BE and below[-1] == "VP":
        inner = labels(node[-1])
        if inner[0] == "VBG":
            yield "progressive"
        if inner[0] == "VBN":
            yield "passive"
            if any(child.label() == "PP" and first_word(child) == "by" for child in node[-1]):
                yield "passive with agent"
    for child in node:
        if child.label() == "SBAR":
            plain = labels(child) == ["S"]
            yield {"that": "that-clause"}.get(first_word(child), "bare complement clause" if plain else "other clause")


def phenomena() -> Counter[str]:
    """Count the phenomena of the gold trees."""
    counts: Counter[str] = Counter()
    for tree in gold():
        counts["yes/no question"] += tree.label() == "SQ"
        counts["wh-question"] += tree.label() == "SBARQ"
        for node in tree.subtrees(lambda node: node.height() > 2):
            below = labels(node)
            if "CC" in below:
                counts[f"coordination of {node.label()}"] += 1
            if "EX" in below:
                counts["existential there"] += 1
            if node.label() == "ADVP":
                counts["adverb phrase"] += 1
            if node.label() == "SBAR":
                counts[f"SBAR with {first_word(node)}"] += 1
            if node.label() == "NP":
                counts.update(noun_phrase_phenomena(node))
            if node.label() == "VP" and "CC" not in below:
                counts.update(verb_phrase_phenomena(node))
    return counts


PHENOMENA = [
    "yes/no question",
    "wh-question",
    *(f"coordination of {label}" for label in ("S", "NP", "VP", "ADJP")),
    "existential there",
    "adverb phrase",
    *(f"SBAR with {word}" for word in ("because", "although", "when", "if", "that", "who", "which", "why", "whether")),
    "PP attached to NP",
    "PP attached to VP",
    "subject relative, with pronoun",
    "object relative, with pronoun",
    "object relative, bare",
    "nominative pronoun",
    "accusative pronoun",
    "ditransitive",
    "modal",
    "infinitive",
    "negation",
    "perfect",
    "progressive",
    "passive",
    "passive with agent",
    "that-clause",
    "bare complement clause",
]


def test_every_phenomenon_occurs_often() -> None:
    """Each phenomenon occurs at least 20 times."""
    counts = phenomena()
    assert {name: counts[name] for name in PHENOMENA if counts[name] < 20} == {}


def number(phrase: Tree) -> str | None:
    """Return the number of a subject, None where its form leaves it open."""
    below = labels(phrase)
    if below[0] == "EX":
        return None
    if "CC" in below:
        return "singular" if first_word(phrase[below.index("CC")]) == "or" else "plural"
    if below[0] == "NP" and below[-1] in {"PP", "SBAR"}:
        return number(phrase[0])
    word, tag = phrase.pos()[-1]
    if tag == "PRP":
        return {"I": "first"}.get(word, "singular" if word in {"he", "she", "it"} else "plural")
    if tag == "NN" and word == "sheep":
        return None
    return "plural" if tag in {"NNS", "NNPS"} else "singular"


def finite_verbs(phrase: Tree) -> Iterator[tuple[str, str]]:
    """Yield word and tag of the finite verbs of a verb phrase, one for each coordinated one."""
    if "CC" in labels(phrase):
        for child in phrase:
            if child.label() == "VP":
                yield from finite_verbs(child)
    else:
        yield phrase.pos()[0]


def subjects_and_verbs() -> Iterator[tuple[str | None, str, str]]:
    """Yield the subject's number, the finite verb and its tag for clauses, questions and subject relatives."""
    for tree in gold():
        for node in tree.subtrees(lambda node: node.height() > 2):
            below = labels(node)
            pairs: list[tuple[Tree, Tree]] = []
            if node.label() == "S" and below[-1] == "VP" and "NP" in below:
                # The subject is the last noun phrase; one before it tells the time.
                pairs = [(child, node[-1]) for child in node if child.label() == "NP"][-1:]
            elif node.label() == "SQ" and below[1:2] == ["NP"]:
                pairs = [(node[1], node[0])]
            elif below == ["NP", "SBAR"] and labels(node[1][-1]) == ["VP"]:
                pairs = [(node[0], node[1][-1][0])]
            for subject, predicate in pairs:
                for word, tag in finite_verbs(predicate) if predicate.label() == "VP" else predicate.pos():
                    yield number(subject), word, tag


def test_subjects_and_verbs_agree() -> None:
    """Present verbs, and "was" and "were", agree with their subject's number and person."""
    checked = 0
    for subject, word, tag in subjects_and_verbs():
        if subject is None or tag == "MD":
            continue
        if tag == "VBZ" or word == "was":
            assert subject == "singular" or (subject, word) == ("first", "was"), (subject, word)
        elif tag == "VBP" or word == "were":
            assert subject != "singular", (subject, word)
            assert (word == "am") == (subject == "first" and word in BE), (subject, word)
        else:
            assert tag == "VBD", (subject, word, tag)
        checked += 1
    assert checked > SENTENCES


def test_pronouns_have_case() -> None:
    """Subjects are never accusative pronouns; objects of verbs and prepositions never nominative ones."""
    nominative, accusative = {"I", "he", "she", "we", "they"}, {"me", "him", "us", "them"}
    for tree in gold():
        for node in tree.subtrees(lambda node: node.height() > 2):
            pronouns = {child[0][0] for child in node if child.label() == "NP" and labels(child) == ["PRP"]}
            assert not pronouns & (accusative if node.label() in {"S", "SQ"} else nominative), str(node)


def test_articles_fit_the_next_word() -> None:
    """The article is "an" before a vowel sound and "a" elsewhere."""
    for line in lines(DATA / "text.txt"):
        for article, word in re.findall(r"\b(an?) (\w+)", line):
            vowel = word == "honest" or (word[0] in "aeiou" and word != "useful")
            assert (article == "an") == vowel, (article, word)


# --- (5): shape


def test_no_unary_chain_over_a_whole_sentence() -> None:
    """The top node of every gold tree has at least two children."""
    assert min(len(tree) for tree in gold()) >= 2


def test_gold_trees_are_not_all_binary() -> None:
    """Flat phrases, with three children or more, are common."""
    flat = sum(any(len(node) > 2 for node in tree.subtrees()) for tree in gold())
    assert flat > SENTENCES / 2


# --- the README


def spans(tree: Tree) -> set[tuple[int, int]]:
    """Return the spans of two words or more, without the whole sentence."""
    found: set[tuple[int, int]] = set()

    def visit(node: Tree | str, begin: int) -> int:
        if isinstance(node, str):
            return begin + 1
        end = begin
        for child in node:
            end = visit(child, end)
        if end - begin > 1:
            found.add((begin, end))
        return end

    return found - {(0, visit(tree, 0))}


def sentence_f1(guesses: list[Tree]) -> float:
    """Return the mean sentence F1 of held-out trees against gold; two empty sets score 1."""
    scores = []
    for truth, guess in zip(map(spans, gold()[-HELD_OUT:]), map(spans, guesses[-HELD_OUT:]), strict=True):
        total = len(truth) + len(guess)
        scores.append(2 * len(truth & guess) / total if total else 1.0)
    return 100 * sum(scores) / len(scores)


@pytest.mark.parametrize("path", [*TEACHERS, STUDENT], ids=lambda path: path.stem)
def test_readme_gives_the_score(path: Path) -> None:
    """The README states the F1 of each teacher and of the student on the held-out sentences, in two decimals."""
    row = next(line for line in lines(DATA / "README.md") if line.startswith(f"| `{path.stem}` |"))
    assert row.rstrip(" |").endswith(f"{sentence_f1(trees(path)):.2f}")


def test_sample_is_small() -> None:
    """All files together take less than 4 MB."""
    assert sum(path.stat().st_size for path in [*DATA.glob("*.*"), *TEACHERS] if path.is_file()) < 4e6
