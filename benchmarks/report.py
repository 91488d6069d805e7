"""How large a report is, how long it takes to write, and how soon Chromium shows it.

python -m benchmarks.report                       the embedded sample, repeated
python -m benchmarks.report --folder FOLDER       a folder with gold.txt and teachers/*.txt, repeated
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import process, show, treeavg

SAMPLE = Path(__file__).resolve().parent.parent / "data"


def repeated(path: Path, target: Path, sentences: int) -> Path:
    """Write the trees of a file again and again until there are as many as wanted."""
    lines = [f"{line}\n" for line in path.read_text(encoding="utf-8").splitlines()]
    copies = -(-sentences // len(lines))
    target.write_text("".join((lines * copies)[:sentences]), encoding="utf-8")
    return target


def in_chromium(page: Path, runs: int = 7) -> tuple[float, float, float] | None:
    """Return seconds (median) until a page's list is shown, until the next sentence is, and until a search is."""
    chromium = os.environ.get("TREEAVG_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    opened, stepped, searched = [], [], []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(runs):
            tab = browser.new_context().new_page()
            begin = time.perf_counter()
            tab.goto(f"{page.as_uri()}#s=1")
            tab.wait_for_selector("html[data-ready]")
            tab.wait_for_selector("#picture svg")
            opened.append(time.perf_counter() - begin)
            stepped.append(timed(tab, "list.step(1)"))
            searched.append(timed(tab, "setState({ query: 'the', order: 'disagreement' })"))
            tab.close()
        browser.close()
    return statistics.median(opened), statistics.median(stepped), statistics.median(searched)


def timed(tab: Any, action: str) -> float:
    """Return seconds from an action to the frame that shows it."""
    script = f"""() => new Promise((done) => {{
      const begin = performance.now();
      {action};
      requestAnimationFrame(() => setTimeout(() => done((performance.now() - begin) / 1000)));
    }})"""
    return float(tab.evaluate(script))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=SAMPLE)
    parser.add_argument("--sentences", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        gold = repeated(arguments.folder / "gold.txt", folder / "gold.txt", arguments.sentences)
        teachers = [
            repeated(path, folder / f"t-{path.name}", arguments.sentences)
            for path in sorted((arguments.folder / "teachers").glob("*.txt"))
        ]
        page = folder / "report.html"
        command = treeavg("report", "--gold", gold, "--teachers", *teachers, "-o", page)
        seconds, peak = process(command, runs=3)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows = [
            [f"{arguments.sentences:,} sentences, {len(teachers)} teachers, average, gold", ""],
            ["size of the page, MB", f"{page.stat().st_size / 1e6:.2f}"],
            ["seconds to write it, whole process", f"{seconds:.1f}"],
            ["of the processor's time, seconds", f"{busy:.1f}"],
            ["largest resident set, MB", f"{peak:.0f}"],
        ]
        shown = in_chromium(page)
        if shown is None:
            rows.append(["in Chromium", "not measured: no playwright or no chromium"])
        else:
            titles = ("from the address to list and tree", "to the next sentence", "to a search sorted by disagreement")
            rows += [[f"seconds {title}", f"{value:.2f}"] for title, value in zip(titles, shown, strict=True)]
        show("Report", rows)


if __name__ == "__main__":
    main()
