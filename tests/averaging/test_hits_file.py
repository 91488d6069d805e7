"""Hit counts as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from treeavg.averaging.average import average
from treeavg.averaging.constituency import best_binary_of
from treeavg.averaging.hits import hit_counts
from treeavg.averaging.hits_file import is_hits_file, read_hits, serialize_hits
from treeavg.errors import FormatError
from treeavg.treebank import Treebank

A = Treebank.from_constituents([["a", "b", "c", "d"], ["it", "rains"]], [[(0, 4), (0, 2), (2, 4)], [(0, 2)]])
B = Treebank.from_constituents([["a", "b", "c", "d"], ["it", "rains"]], [[(0, 4), (0, 2), (0, 3)], [(0, 2)]])
LINE = '{"tokens": ["a", "b", "c", "d"], "hits": [[0, 2, 2], [2, 4, 1]], "weight": 2}\n'


@pytest.mark.parametrize("weights", [None, [1, 2], [0.1, 0.7]])
def test_round_trip(tmp_path: Path, weights: list[float] | None) -> None:
    """What is read back counts the same and averages to the same trees."""
    hits = hit_counts([A, B], weights=weights)
    path = tmp_path / "hits.jsonl"
    path.write_bytes(serialize_hits(hits, A.tokens))
    again, words = read_hits(path)
    assert is_hits_file(path)
    assert words == [["a", "b", "c", "d"], ["it", "rains"]]
    for name in ("lengths", "offsets", "starts", "ends"):
        assert np.array_equal(getattr(again, name), getattr(hits, name)), name
    assert again.counts == pytest.approx(hits.counts, rel=1e-12)
    assert again.weight == pytest.approx(hits.weight, rel=1e-12)
    tree = best_binary_of(again)
    expected = average([A, B], weights=weights)
    assert np.array_equal(tree.starts, expected.starts)
    assert np.array_equal(tree.ends, expected.ends)


def test_missing_sentences_and_no_words(tmp_path: Path) -> None:
    path = tmp_path / "hits.jsonl"
    path.write_text('null\n{"length": 3, "hits": [], "weight": 1}\n')
    hits, words = read_hits(path)
    assert hits.lengths.tolist() == [0, 3]
    assert words is None
    assert serialize_hits(hits, None).decode() == 'null\n{"length": 3, "hits": [], "weight": 1}\n'


def test_treebanks_are_not_hits(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_text('{"n": 3, "constituents": [[0, 3]]}\n')
    assert not is_hits_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINE + "{\n", "hits.jsonl:2: expected {\"tokens\": [...], \"hits\": [[start, end, count], ...], \"weight\""),
        (LINE + '{"tokens": [1], "hits": [], "weight": 2}\n', "hits.jsonl:2: expected {\"tokens\""),
        (LINE + '{"length": 3, "hits": [[0, 2]], "weight": 2}\n', "hits.jsonl:2: expected {\"tokens\""),
        (LINE + '{"length": 3, "hits": [[0, 2, true]], "weight": 2}\n', "hits.jsonl:2: expected {\"tokens\""),
        (LINE.replace("[2, 4, 1]", "[2, 5, 1]"), "hits.jsonl:1: expected spans of two words or more within 4, sorted"),
        (LINE.replace("[2, 4, 1]", "[0, 4, 1]"), "each once, without the whole, got [0, 4]"),
        (LINE.replace("[2, 4, 1]", "[0, 2, 1]"), "each once, without the whole, got [0, 2]"),
        (LINE.replace("[0, 2, 2]", "[0, 2, 3]"), "expected a count above 0, at most the weight 2, got 3 for [0, 2]"),
        (LINE + LINE.replace(': 2}', ': 3}'), "hits.jsonl:2: expected the weight 2 as on the first line, got 3"),
        ("[" * 100_000 + "\n", "hits.jsonl:1: expected {\"tokens\""),
        ('{"length": 3, "hits": [[0, 2, 1e999]], "weight": 2}\n', "hits.jsonl:1: expected {\"tokens\""),
        ('{"length": 3, "hits": [[0, 2, 1]], "weight": 1e999}\n', "hits.jsonl:1: expected {\"tokens\""),
        ('{"length": 3, "hits": [[0, 2, 1]], "weight": 1e300}\n', "hits.jsonl:1: expected {\"tokens\""),
        ('{"length": 4294967299, "hits": [], "weight": 1}\n', "hits.jsonl:1: expected {\"tokens\""),
        ('{"length": -3, "hits": [], "weight": 1}\n', "hits.jsonl:1: expected {\"tokens\""),
        ("null\n", "hits.jsonl: expected hit counts, got none. Check what wrote it."),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "hits.jsonl"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_hits(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
