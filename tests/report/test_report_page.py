"""The page: what is in it can be read back, is no markup, and may load nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from pathlib import Path

import hostile
import pytest
from pages import Page, read_page

from treeavg import DependencyTreebank, Treebank
from treeavg.report import Report, ReportOptions, build_report
from treeavg.report.page import SCRIPTS


@pytest.fixture(scope="module")
def report() -> Report:
    return hostile.constituency_report()


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return read_page(report.html())


def test_words_and_trees_are_all_there(report: Report, page: Page) -> None:
    """Every system's constituents come back from the bits; words from the strings."""
    assert page.words() == hostile.SENTENCES
    for index, member in enumerate(report.systems.members):
        assert isinstance(member.bank, Treebank)
        assert page.trees(index) == [view.constituents for view in member.bank]


@pytest.mark.parametrize("make", [hostile.discontinuous_report, hostile.dependency_report])
def test_other_trees_are_all_there(make: object) -> None:
    """Blocks of discontinuous constituents and arcs likewise."""
    report: Report = make()  # type: ignore[operator]
    page = read_page(report.html())
    for index, member in enumerate(report.systems.members):
        if isinstance(member.bank, DependencyTreebank):
            expected = [list(enumerate(view.heads)) for view in member.bank]
            assert page.trees(index) == expected
        else:
            assert page.trees(index) == [view.constituents for view in member.bank]


def test_more_than_eight_and_thirty_two_systems() -> None:
    """Bits go on in further planes."""
    banks = [hostile.random_bank(seed) for seed in range(40)]
    report = build_report({f"t{place}": bank for place, bank in enumerate(banks)}, options=hostile.OPTIONS)
    page = read_page(report.html())
    for place in (0, 7, 8, 33, 39):
        assert page.trees(place) == [view.constituents for view in banks[place]]


def test_labels_follow_the_rows_of_their_system(report: Report, page: Page) -> None:
    """One for each row that the system has, unary chains joined."""
    gold = report.systems.members[0].bank
    assert isinstance(gold, Treebank)
    assert gold.labels is not None
    assert [page.strings[code] for code in page.columns["labels_0"]] == list(gold.labels)
    assert not [name for name in page.columns if name.startswith("labels_") and name != "labels_0"]
    chain = Treebank.from_constituents([3], [[(0, 3), (0, 3), (0, 2)]], labels=[["S", "VP", "NP"]])
    chained = read_page(build_report({"one": chain}, gold=chain, options=ReportOptions(samples=5)).html())
    assert [chained.strings[code] for code in chained.columns["labels_0"]] == ["S+VP", "NP"]


def test_scores_of_sentences(report: Report, page: Page) -> None:
    """Hundredths of F1; 65535 where a sentence is not scored."""
    assert page.columns["f1_1"][1] == page.columns["f1_1"][5] == 65535
    assert page.columns["f1_2"][4] == 0  # the teacher lacks it
    assert page.columns["disagreement"][4] == page.columns["disagreement"][5] == 65535
    assert max(page.columns["f1_1"][:1]) <= 10000


def test_nothing_of_the_data_is_markup(page: Page) -> None:
    """No tag of the words, labels, names or title is in the page's text; only the page's own tags are."""
    for part in (hostile.SCRIPT, hostile.IMAGE, "<b>", "<i>", "onerror="):
        assert part not in page.text
    assert page.text.count("<script") == page.text.count("</script") == 3
    assert "<!--" not in page.text.replace("<!doctype", "")
    assert page.facts["title"] == hostile.OPTIONS.title
    assert "<title>Title &lt;script&gt;" in page.text
    assert "%%" not in page.text  # the word %%TITLE%% is in the compressed columns; no piece was left


def test_the_policy_lets_nothing_in(page: Page) -> None:
    """The one script and the one style by their hashes; no connection, frame, image from elsewhere, form or base."""
    policy = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        assert found
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert policy[name] == f"'sha256-{digest}'"
    assert policy["img-src"] == "data:"
    assert set(policy) == {"default-src", "base-uri", "form-action", "script-src", "style-src", "img-src"}


def test_scripts_never_parse_markup_or_load() -> None:
    """No innerHTML and its kin, no eval, no request; nothing that would end the element early."""
    text = "".join((files("treeavg.report") / "assets" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    for name in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "fetch(",
                 "XMLHttpRequest", "import(", "WebSocket", "</script", "<!--"):  # fmt: skip
        assert name not in text, name
    assets = {path.name for path in Path(str(files("treeavg.report") / "assets")).iterdir()}
    assert assets == {*SCRIPTS, "index.html", "style.css"}


def test_the_same_input_gives_the_same_bytes(page: Page, report: Report) -> None:
    """No time, no order of sets; threads do not matter."""
    assert hostile.constituency_report().html() == report.html()
    one = build_report({"a": hostile.random_bank(1)}, options=ReportOptions(jobs=1, on_error="skip"))
    two = build_report({"a": hostile.random_bank(1)}, options=ReportOptions(jobs=3, on_error="skip"))
    assert one.html() == two.html()


def test_without_words_tokens_are_numbers_in_the_page() -> None:
    """Then there is no column of words."""
    bank = Treebank.from_constituents([3, 1], [[(0, 3), (0, 2)], []])
    page = read_page(build_report({"one": bank}, options=ReportOptions(samples=5)).html())
    assert "words" not in page.columns
    assert page.columns["lengths"] == [3, 1]
    assert "disagreement" not in page.columns  # of one teacher with itself


def test_words_come_from_the_first_system_that_has_them() -> None:
    """Gold first; a sentence that it lacks from the next."""
    gold = Treebank.from_constituents([["A", "b"], []], [[], []])
    other = Treebank.from_constituents([["a", "b"], ["c"]], [[], []])
    report = build_report({"one": other}, gold=gold, options=ReportOptions(samples=5, on_error="skip"))
    assert read_page(report.html()).words() == [["A", "b"], ["c"]]


def test_a_sentence_that_only_a_system_without_words_has() -> None:
    """Its tokens are numbers."""
    gold = Treebank.from_constituents([["A", "b"], []], [[], []])
    other = Treebank.from_constituents([2, 3], [[], []])
    report = build_report({"one": other}, gold=gold, options=ReportOptions(samples=5, on_error="skip"))
    assert read_page(report.html()).words() == [["A", "b"], ["1", "2", "3"]]


def test_files_are_whole_or_absent(tmp_path: Path, report: Report) -> None:
    """The page goes where it should."""
    path = tmp_path / "report.html"
    report.write(path)
    assert path.read_bytes() == report.html()
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]
