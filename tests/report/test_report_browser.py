"""The page in Chromium: Debian's package, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import hostile
import pytest
from pages import read_page

from treeavg import Treebank
from treeavg.report import Report, ReportOptions, build_report

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install 'treeavg[browser]'"
)
CHROMIUM = os.environ.get("TREEAVG_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium, or set TREEAVG_CHROMIUM"),
    pytest.mark.compiled,  # the page is the same in every mode of the kernels
]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium; in a container as root it has no sandbox."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    reports: dict[str, Report] = {
        "constituency": hostile.constituency_report(),
        "no gold": hostile.constituency_report(gold=False),
        "discontinuous": hostile.discontinuous_report(),
        "dependency": hostile.dependency_report(),
        "many": many(),
        "single": single(),
    }
    paths = {}
    for name, report in reports.items():
        paths[name] = folder / f"{name.replace(' ', '-')}.html"
        report.write(paths[name])
    return paths


def many() -> Report:
    """Return a report on 3,000 short sentences; the number of each is its first word."""
    words = [[f"n{place}", *"the dog barks".split()[: 1 + place % 3]] for place in range(3000)]
    left = [[(0, end) for end in range(2, len(own) + 1)] for own in words]
    right = [[(begin, len(own)) for begin in range(len(own) - 1)] for own in words]
    teachers = {
        "left": Treebank.from_constituents(words, left),
        "right": Treebank.from_constituents(words, right),
    }
    gold = Treebank.from_constituents(words, [left[place] if place % 2 else right[place] for place in range(3000)])
    return build_report(teachers, gold=gold, options=ReportOptions(title="Many", samples=20))


def single() -> Report:
    """Return a report on one teacher and one sentence, without words and labels."""
    bank = Treebank.from_constituents([3], [[(0, 3), (0, 2)]])
    return build_report({"one": bank}, gold=bank, options=ReportOptions(title="Single", samples=20))


@pytest.fixture
def visit(browser: Any, files: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page; in the end no page may have erred, asked the network or been taken over."""
    contexts = []
    said: list[str] = []

    def opened(name: str, fragment: str = "", *, ready: bool = True, watched: bool = True, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        if watched:
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda asked: None if asked.url.startswith("file:") else said.append(asked.url))
            page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(f"{files[name].as_uri()}#{fragment}")
        if ready:
            page.wait_for_selector("html[data-ready]", timeout=20_000)
            title = read_page(files[name].read_bytes()).facts["title"]
            assert page.title() == title
        return page

    yield opened
    taken = [page.title() for context in contexts for page in context.pages if page.title() == "taken"]
    images = [page.locator("img").count() for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert not said
    assert not taken
    assert not any(images)


def texts(page: Any, selector: str) -> list[str]:
    found: list[str] = page.locator(selector).all_text_contents()
    return found


def overflow(page: Any) -> int:
    """By how many pixels the page is wider than the window."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return wide


KINDS = ["constituency", "no gold", "discontinuous", "dependency", "many", "single"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_part_is_shown(visit: Callable[..., Any], name: str, viewport: dict[str, int], scheme: str) -> None:
    """Results and sentences, wide and narrow, light and dark: nothing errs, nothing sticks out of the window."""
    page = visit(name, viewport=viewport, color_scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    titles = texts(page, "#results h2")
    gold = name != "no gold"
    expected = ["Scores", "Against the best teacher", "Agreement", "F1 by length"] if gold else ["Agreement"]
    expected += ["Recall by label"] * (name in ("constituency", "discontinuous")) + ["Reliability"] * gold
    assert titles == expected
    assert overflow(page) <= 0
    page.click("#tab-sentences")
    assert page.locator("#picture svg").count() == 1
    page.check("input[value=hits]")
    assert page.locator("#picture svg.grid-picture").count() == 1
    assert overflow(page) <= 0
    assert page.locator("#status").is_hidden()


def test_words_are_shown_as_they_are(visit: Callable[..., Any]) -> None:
    """Markup in words, labels and names is text: in list, sentence, picture, table, text, tables and chips."""
    page = visit("constituency", "s=1&a=gold&b=average")
    sentence = " ".join(hostile.WORDS)
    assert texts(page, "#row-0 .words") == [sentence]
    assert texts(page, "#text") == [sentence]
    words = texts(page, "#picture .words text")
    assert words == [word if len(word) <= 24 else word[:23] + "…" for word in hostile.WORDS]
    for name in ("listing", "brackets"):
        page.click(f"#{name} summary")
    playwright.expect(page.locator("#brackets code")).to_have_count(2)
    playwright.expect(page.locator("#listing table")).to_have_count(1)
    assert hostile.IMAGE in "".join(texts(page, "#listing td"))
    assert hostile.SCRIPT in texts(page, "#brackets code")[0]
    assert [text.startswith("left <b>") for text in texts(page, "#chips button")].count(True) == 1
    assert texts(page, "h1") == [hostile.OPTIONS.title]
    page.click("#tab-results")
    assert "second & 'x'teacher, lacks 1 sentence" in texts(page, "#results tbody th")


def test_pictures_hold_the_trees(visit: Callable[..., Any]) -> None:
    """A node for each constituent, with how many teachers have it; marks where two systems differ."""
    page = visit("many", "s=3&a=left")  # n2 the dog barks: left, right and gold=right
    assert texts(page, "#picture .node text") == ["2", "1", "1"]
    assert page.locator("#picture .differs").count() == 0
    page.select_option("#second", label="gold")
    assert texts(page, "#picture .node text") == ["2", "1 ≠", "1 ≠", "2", "1 ≠", "1 ≠"]
    assert page.locator("#picture .node.differs").count() == 4
    assert "left has 2 constituents, gold 2, 0 in both" in texts(page, "#verdict")[0]
    page.select_option("#first", label="right (teacher)")
    assert page.locator("#picture .node.differs").count() == 0
    assert "2 in both" in texts(page, "#verdict")[0]


def test_crossing_branches(visit: Callable[..., Any]) -> None:
    """Constituents with gaps that reach over others stand higher; the text numbers its words."""
    page = visit("discontinuous", "s=1&a=gold")
    heights = page.evaluate(
        "[...document.querySelectorAll('.node rect')].map((node) => Number(node.getAttribute('y')))"
    )
    assert len(set(heights)) == 3
    page.click("#brackets summary")
    playwright.expect(page.locator("#brackets code")).to_have_text("(S (VP 1=wake 4=up) (NP 2=your 3=<i>friend</i>))")
    page.check("input[value=hits]")
    assert "discontinuous constituents are in the table only" in texts(page, "#legend")[0]


def test_arcs(visit: Callable[..., Any]) -> None:
    """An arc for each word but the root, which has a line from above; relations are named."""
    page = visit("dependency", "s=1&a=gold&b=average")
    names = texts(page, "#picture .node text")
    assert names == ["<img src=x on… 1", "prt 1 ≠", "adv 1 ≠", "root 1 ≠", "2 ≠", "1", "2 ≠", "root 2 ≠"]
    assert page.locator("#picture .arcs path.differs").count() == 6
    page.click("#brackets summary")
    playwright.expect(page.locator("#brackets code")).to_have_count(2)
    assert texts(page, "#brackets code")[0] == "<b> ← root, \"&' ← <b> (1), up ← <b> (1), now ← \"&' (2)"


@pytest.mark.parametrize("name", ["constituency", "discontinuous", "dependency"])
def test_pictures_are_saved(visit: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """As SVG files that are well-formed, name no class, and look the same by themselves."""
    page = visit(name, "s=1&a=gold&b=average")
    for view in ("trees", "hits"):
        page.check(f"input[value={view}]")
        with page.expect_download() as download:
            page.click("#save")
        assert download.value.suggested_filename == f"sentence-1-{view}.svg"
        path = tmp_path / f"{view}.svg"
        download.value.save_as(path)
        root = ElementTree.parse(path).getroot()
        shown = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert shown == texts(page, "#picture svg text")
        text = path.read_text(encoding="utf-8")
        assert "class=" not in text
        assert "var(" not in text
        assert "font-size" in text


def test_sentences_of_every_size(visit: Callable[..., Any]) -> None:
    """One word, 200 words, missing in one system, missing in all."""
    page = visit("constituency", "s=2&a=average&b=gold")
    assert texts(page, "#picture .words text") == ["one"]
    page.keyboard.press("j")
    assert page.locator("#picture .words text").count() == hostile.LONG
    assert page.locator("#picture .node").count() == 2 * (hostile.LONG - 1)
    page.keyboard.press("h")
    assert page.locator("#picture .cell").count() > hostile.LONG
    page.keyboard.press("h")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert texts(page, "#picture .note") == ["average lacks this sentence."]
    assert texts(page, "#picture .words text") == ["a", "b", "c"]  # of gold
    page.keyboard.press("j")
    assert texts(page, "#picture .note") == ["No system has this sentence."]
    assert texts(page, "#text") == ["(missing in every system)"]


def test_the_list_is_virtual_and_complete(visit: Callable[..., Any]) -> None:
    """Few rows exist; each tells its place among all; the keyboard reaches the last."""
    page = visit("many", "s=1")
    assert page.locator("#list [role=option]").count() < 60
    row = page.locator("#row-0")
    assert (row.get_attribute("aria-setsize"), row.get_attribute("aria-posinset")) == ("3000", "1")
    page.focus("#list")
    page.keyboard.press("End")
    assert page.locator("#list").get_attribute("aria-activedescendant") == "row-2999"
    assert texts(page, "[role=option][aria-selected=true] .words") == ["n2999 the dog barks"]
    assert texts(page, "#sentence-title") == ["Sentence 3,000 of 3,000"]
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    assert texts(page, "#sentence-title") == ["Sentence 2 of 3,000"]
    page.evaluate("document.getElementById('list').scrollTop = 54 * 1500")
    page.wait_for_selector("#row-1500")
    page.click("#row-1500")
    assert texts(page, "#text") == ["n1500 the"]


def test_search_and_order(visit: Callable[..., Any]) -> None:
    """Words, a number; by disagreement, score, length, and reversed."""
    page = visit("many", "s=1&a=left")
    page.keyboard.press("/")
    page.keyboard.type("N299")
    playwright.expect(page.locator("#found")).to_have_text("11 of 3,000 sentences")
    assert texts(page, "[role=option] .number") == ["300", *[str(number) for number in range(2991, 3001)]]
    page.fill("#search", "#7")
    playwright.expect(page.locator("#found")).to_have_text("1 of 3,000 sentences")
    assert texts(page, "[role=option] .number") == ["7"]
    page.fill("#search", "no such word")
    playwright.expect(page.locator("#found")).to_have_text("0 of 3,000 sentences")
    page.fill("#search", "")
    playwright.expect(page.locator("#found")).to_have_text("3,000 sentences")
    page.select_option("#order", "length")
    assert texts(page, "[role=option] .words")[0] == "n2 the dog barks"
    page.check("#reverse")
    assert texts(page, "[role=option] .words")[0] == "n0 the"
    page.uncheck("#reverse")
    page.select_option("#order", "disagreement")
    assert "disagreement 100" in texts(page, "[role=option] .facts")[0]
    page.select_option("#order", "f1")
    assert "F1 0.0" in texts(page, "[role=option] .facts")[0]
    page.check("#reverse")
    assert "F1 100.0" in texts(page, "[role=option] .facts")[0]


def test_the_address_remembers(visit: Callable[..., Any]) -> None:
    """Sentence, systems, picture, order and search; what makes no sense is passed over."""
    page = visit("many", "results")
    page.keyboard.press("s")
    page.select_option("#first", label="right (teacher)")
    page.select_option("#order", "length")
    page.focus("#list")
    page.keyboard.press("Home")
    page.keyboard.press("h")
    address = page.evaluate("location.hash")
    again = visit("many", address.removeprefix("#"))
    assert texts(again, "#sentence-title") == ["Sentence 3 of 3,000"]
    assert again.locator("#picture svg.grid-picture").count() == 1
    assert again.locator("#order").input_value() == "length"
    assert again.locator("#chips [aria-pressed=true]").text_content().startswith("right")
    for fragment in ("s=0", "s=3001", "s=x&a=nobody", "%", "s=2&a=<b>&o=nothing&v=nothing"):
        visit("many", fragment)


def test_keys(visit: Callable[..., Any]) -> None:
    """Each key of the help does what it says; keys typed into a field do not."""
    page = visit("constituency")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    assert "search" in texts(page, "#keys dd")
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()
    page.keyboard.press("j")
    assert texts(page, "#sentence-title") == ["Sentence 2 of 6"]
    page.keyboard.press("k")
    assert texts(page, "#sentence-title") == ["Sentence 1 of 6"]
    page.keyboard.press("]")
    assert page.locator("#chips [aria-pressed=true]").text_content().startswith("student")
    page.keyboard.press("[")
    page.keyboard.press("x")
    assert page.locator("#chips [aria-pressed=true]").text_content() == "gold"
    page.keyboard.press("f")
    assert page.is_checked("#fit")
    page.keyboard.press("/")
    page.keyboard.type("jxrt")
    assert page.input_value("#search") == "jxrt"
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("r")
    assert page.locator("#results").is_visible()
    page.focus("#tab-results")
    page.keyboard.press("ArrowRight")
    assert page.locator("#sentences").is_visible()


def test_names_and_roles(visit: Callable[..., Any]) -> None:
    """What a screen reader is told: every control has a name, pictures too; ids are unique; headings are in order."""
    page = visit("constituency", "s=1&a=average&b=gold")
    page.click("#listing summary")
    playwright.expect(page.locator("#listing table")).to_have_count(1)
    for _ in range(2):
        unnamed = page.evaluate(
            """[...document.querySelectorAll("button, select, input, svg[role=img], [role=listbox], [role=region]")]
            .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length))
            .map((node) => node.outerHTML)"""
        )
        assert unnamed == []
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
        assert len(ids) == len(set(ids))
        hidden = page.evaluate("[...document.querySelectorAll('svg:not([role=img]):not([aria-hidden])')].length")
        assert hidden == 0
        page.click("#tab-results")
    assert page.locator("#results details table, #results table").count() >= 5
    assert page.locator("th:not([scope])").count() == 0
    snapshot = page.locator("body").aria_snapshot()
    assert 'tab "Results" [selected]' in snapshot
    assert 'heading "Scores" [level=2]' in snapshot


CONTRAST = """(selector) => {
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => linear(Number(part) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!colour.startsWith("rgba(0, 0, 0, 0")) return colour;
    }
    return getComputedStyle(document.documentElement).backgroundColor;
  };
  return Math.min(...[...document.querySelectorAll(selector)].filter((node) => node.textContent.trim()).map((node) => {
    const [one, other] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
    return (one + 0.05) / (other + 0.05);
  }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(visit: Callable[..., Any], scheme: str) -> None:
    """Text stands out from its ground by 4.5 to 1 (WCAG 2, AA), also on the colours of heat maps and in the legend."""
    page = visit("constituency", color_scheme=scheme)
    for selector in ("td", "th", "p", "summary", "h1, h2", "button", ".key li"):
        assert page.evaluate(CONTRAST, f":is({selector})") >= 4.5, selector
    page.click("#tab-sentences")
    for selector in (".row span", "#chips button", ".swatch", "#legend span", "label", "#verdict", "#text"):
        assert page.evaluate(CONTRAST, f"#sentences :is({selector})") >= 4.5, selector


def test_shades_can_be_told_apart(visit: Callable[..., Any]) -> None:
    """Lightness changes in one direction all the way, so hues need not be seen; ink on each has 4.5 to 1."""
    page = visit("many")
    for scheme in ("light", "dark"):
        page.evaluate("(name) => setTheme(name)", scheme)
        shades = page.evaluate("Array.from({length: 41}, (_, place) => shade(place / 40))")
        lights = [luminance(shade["fill"]) for shade in shades]
        assert lights == sorted(lights, reverse=scheme == "light")
        for light, shade in zip(lights, shades, strict=True):
            ink = 1.0 if shade["ink"] == "#fff" else 0.0
            assert (max(light, ink) + 0.05) / (min(light, ink) + 0.05) >= 4.5


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_theme_follows_the_system_until_it_is_chosen(visit: Callable[..., Any]) -> None:
    """A change of the system's colours is followed; the button decides from then on."""
    page = visit("dependency", color_scheme="light")
    page.emulate_media(color_scheme="dark")
    playwright.expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_the_policy_is_obeyed(visit: Callable[..., Any]) -> None:
    """Scripts, images and requests that someone slips in are refused."""
    page = visit("dependency", watched=False)
    refused = page.evaluate(
        """async () => {
          const node = document.createElement("script");
          node.textContent = "window.slipped = true";
          document.body.append(node);
          const image = await new Promise((done) => {
            const own = new Image();
            own.onload = () => done("loaded");
            own.onerror = () => done("refused");
            own.src = "http://127.0.0.1:9/x.png";
          });
          const answer = await fetch("http://127.0.0.1:9/").then(() => "loaded", () => "refused");
          return [window.slipped === true, image, answer];
        }"""
    )
    assert refused == [False, "refused", "refused"]


def test_without_scripts_the_page_says_so(visit: Callable[..., Any]) -> None:
    """And its title is there."""
    page = visit("dependency", ready=False, java_script_enabled=False)
    assert "Allow scripts to see them" in page.locator("noscript").inner_text()


def test_an_old_browser_is_told(visit: Callable[..., Any]) -> None:
    """Results are shown all the same."""
    page = visit("many", ready=False)
    page.add_init_script("delete window.DecompressionStream")
    page.reload()
    playwright.expect(page.locator("#status")).to_contain_text("too old")
    assert page.locator("#results table").count() > 2
