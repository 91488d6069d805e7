"""Reads a page back: its policy, its facts, its columns, and the trees in them."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[Any, ...]


@dataclass
class Page:
    """The parts of a page."""

    text: str
    facts: dict[str, Any]
    columns: dict[str, list[int]]
    strings: list[str]

    @property
    def policy(self) -> str:
        """What the page may load."""
        found = re.search(r'Content-Security-Policy" content="([^"]*)"', self.text)
        assert found
        return html.unescape(found[1])

    def words(self) -> list[list[str]]:
        """The words of each sentence."""
        codes = iter(self.columns["words"])
        return [[self.strings[next(codes)] for _ in range(length)] for length in self.columns["lengths"]]

    def trees(self, system: int) -> list[list[Shape]]:
        """Of each sentence, what a system has: tuples of blocks, or (word, head)."""
        plane, bit = self.columns[f"members{system // 8}"], system % 8
        fan_outs = self.columns.get("fan_outs") or [1] * len(plane)
        starts, sizes = iter(self.columns["starts"]), iter(self.columns["sizes"])
        dependency = self.facts["kind"] == "dependency"
        rows: list[Shape] = []
        for fan_out in fan_outs:
            pairs = [(next(starts), next(sizes)) for _ in range(fan_out)]
            rows.append(pairs[0] if dependency else tuple((start, start + size) for start, size in pairs))
        place = 0
        result = []
        for count in self.columns["counts"]:
            chosen = range(place, place + count)
            result.append([rows[row] for row in chosen if plane[row] >> bit & 1])
            place += count
        return result


def element(text: str, name: str) -> str:
    """Return the content of the element with an id."""
    found = re.search(rf'<script type="[^"]*" id="{name}">([^<]*)</script>', text)
    assert found, name
    return found[1]


def read_page(data: bytes) -> Page:
    """Return the parts of a page."""
    text = data.decode()
    facts = json.loads(element(text, "facts"))
    raw = zlib.decompress(base64.b64decode(element(text, "columns")))
    columns: dict[str, list[int]] = {}
    begin = 0
    for name, size, length in facts["columns"]:
        columns[name] = np.frombuffer(raw, f"<u{size}", length, begin).tolist()
        begin += size * length
    assert begin == len(raw)
    return Page(text, facts, columns, json.loads(bytes(columns["strings"])))
