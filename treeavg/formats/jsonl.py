"""JSON lines: one object a sentence, constituents of any fan-out.

``{"words": ["the", "dog", "barks"], "constituents": [[[0, 3]], [[0, 2]]]}``; each constituent is a list of half-open
blocks counted from 0. ``labels`` and ``support`` (one a constituent) and ``tags`` (one a token) may stand beside them;
``n``, the number of tokens, may stand for ``words``. ``null`` is a missing sentence. Other keys are not kept.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from treeavg.building import preorder
from treeavg.errors import FormatError, Problem, TreeavgError, quote
from treeavg.formats import limits
from treeavg.formats.base import Chunk, Format
from treeavg.formats.gathering import gathered
from treeavg.kernels import jsonlines
from treeavg.strings import offsets_of
from treeavg.treebank import Treebank

_Record: TypeAlias = dict[str, Any]

#: Keys that all lines have, or none.
_CONSISTENT = ("words", "labels", "support")


def _parse(chunk: Chunk) -> tuple[Treebank, list[Problem]]:
    plain = _parse_plain(chunk.data)
    if plain is not None:
        bank, checked = plain, True
        try:
            checked = not chunk.checked()[1]  # words are copied as they are, so they must be UTF-8, also under skip
            bank.validate()
        except FormatError:
            checked = False
        if checked:
            return bank if chunk.columns.tokens else bank.replace(tokens=None), []
    return _parse_any(chunk)


def _parse_plain(data: NDArray[np.uint8]) -> Treebank | None:
    """Parse lines of words and constituents only, compiled; None where a line is anything else, or wrong."""
    lines, opened = int(np.count_nonzero(data == 10)) + 1, int(np.count_nonzero(data == 91)) + 1
    quotes = int(np.count_nonzero(data == 34)) // 2 + 1
    lengths, row_offsets = np.empty(lines, np.int32), np.empty(lines + 1, np.int64)
    block_offsets = np.empty(opened + 1, np.int64)
    starts, ends = np.empty(opened, np.int32), np.empty(opened, np.int32)
    token_begins, token_ends = np.empty(quotes, np.int64), np.empty(quotes, np.int64)
    counts = np.zeros(3, np.int64)
    status = jsonlines.scan_lines(
        data, lengths, row_offsets, block_offsets, starts, ends, token_begins, token_ends, counts
    )  # fmt: skip
    if status != jsonlines.PLAIN:
        return None
    count, rows, tokens = counts.tolist()
    fan_outs = np.diff(block_offsets[: rows + 1])
    sentences = np.repeat(np.arange(count), np.diff(row_offsets[: count + 1]))
    blocks = int(block_offsets[rows])
    order, places = preorder(sentences, fan_outs, starts[:blocks], ends[:blocks])
    return Treebank(
        lengths[:count].copy(),
        row_offsets[: count + 1].copy(),
        starts[places],
        ends[places],
        block_offsets=offsets_of(fan_outs[order]) if (fan_outs > 1).any() else None,
        tokens=gathered(data, token_begins[:tokens], token_ends[:tokens]),
    )


def _parse_any(chunk: Chunk) -> tuple[Treebank, list[Problem]]:
    chunk, problems = chunk.checked()
    blanked = {problem.sentence - chunk.sentence for problem in problems}
    lines = chunk.data.tobytes().split(b"\n")
    if not lines[-1].strip():
        lines.pop()
    records: list[_Record | None] = []
    for number, line in enumerate(lines):
        try:
            records.append(None if number in blanked else _record(line))
        except FormatError as error:
            records.append(None)
            problems.append(_located(chunk, number, error))
    lengths = np.array([record["n"] if record is not None else 0 for record in records], np.int32)
    limits.refuse_unspelt(lambda row: f"{chunk.name}: sentence {chunk.sentence + row + 1}", lengths, len(chunk.data))
    try:
        bank = _build(records)
    except (TreeavgError, UnicodeEncodeError):
        for number, record in enumerate(records):  # find the lines at fault, one at a time
            try:
                _build([record])
            except (TreeavgError, UnicodeEncodeError) as error:
                records[number] = None
                problems.append(_located(chunk, number, error))
        _drop_unlike(chunk, records, problems)
        bank = _build(records)
    return bank, sorted(problems, key=lambda problem: problem.sentence)


def _drop_unlike(chunk: Chunk, records: list[_Record | None], problems: list[Problem]) -> None:
    """Report the lines with words or labels where the first has none, or the other way round."""
    model = next((record for record in records if record is not None), None)
    for number, record in enumerate(records):
        if record is None or model is None:
            continue
        for key in _CONSISTENT:
            if (key in record) != (key in model):
                records[number] = None
                problems.append(_located(chunk, number, unlike(key, key in record)))
                break


def unlike(key: str, here: bool) -> FormatError:
    """Return the error for a line that has `key`, or lacks it, unlike the lines before."""
    got = "it here and not before" if here else "it before and not here"
    return FormatError(f"expected {key!r} on every line or on none, got {got}. Fill it in.")


def _located(chunk: Chunk, number: int, error: Exception) -> Problem:
    """Return the problem of a line; raise it unless problems are to be skipped."""
    message = str(error)
    if isinstance(error, UnicodeEncodeError):
        message = "expected text, got half of a surrogate pair. Mend the escapes."
    for column in ("constituents", "labels", "tags", "support"):
        message = message.replace(f"{column}[0]", column)
    place = f"{chunk.name}:{chunk.line + number}"
    message = f"{place}{message}" if message[0] == ":" else f"{place}: {message}"
    if not chunk.skip:
        raise FormatError(message) from None
    return Problem(chunk.sentence + number, message)


def _record(line: bytes) -> _Record | None:
    """Return a line's object with its ``n`` filled in; raise where a value has the wrong kind."""
    if not line.strip():
        raise FormatError(
            "expected a JSON object, got an empty line. Remove it, or pass on_error='skip' to keep its place."
        )
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(f":{error.colno}: expected JSON, got an error: {error.msg}. Mend the line.") from None
    except (RecursionError, ValueError):
        raise FormatError("expected a flat JSON object, got one too deep or too large. Mend the line.") from None
    if value is None:
        return None
    if not isinstance(value, dict) or "constituents" not in value or not ("words" in value or "n" in value):
        raise FormatError(
            f"expected an object with 'words' and 'constituents', got {quote(value)}. See docs/formats.md."
        )
    for key in ("words", "labels", "tags"):
        if key in value and not (isinstance(value[key], list) and all(isinstance(item, str) for item in value[key])):
            raise FormatError(f"expected {key!r} as a list of strings, got {quote(value[key])}. Mend the line.")
    if not isinstance(value["constituents"], list):
        raise FormatError(
            f"expected 'constituents' as a list, got {quote(value['constituents'])}. List lists of blocks."
        )
    shares = value.get("support", [])
    if not (isinstance(shares, list) and all(isinstance(item, (int, float)) and 0 <= item <= 1 for item in shares)):
        raise FormatError(f"expected 'support' as a list of numbers from 0 to 1, got {quote(shares)}. Mend the line.")
    length = len(value["words"]) if "words" in value else value["n"]
    if not isinstance(length, int) or isinstance(length, bool) or not 0 < length < 2**31:
        raise FormatError(f"expected at least one token, got {quote(length)}. Write null for a missing sentence.")
    if value.setdefault("n", length) != length:
        raise FormatError(f"expected {length} words, got 'n': {quote(value['n'])}. Drop 'n'.")
    return value


def _build(records: list[_Record | None]) -> Treebank:
    """Build one treebank; a None is a missing sentence."""
    present = [record for record in records if record is not None]
    columns: dict[str, Any] = {}
    if any((key in record) != (key in present[0]) for key in _CONSISTENT for record in present):
        raise FormatError("lines differ in their keys")  # the caller finds which
    if any("labels" in record for record in present):
        columns["labels"] = [record["labels"] if record is not None else [] for record in records]
    if any("support" in record for record in present):
        columns["support"] = [record["support"] if record is not None else [] for record in records]
    if any("tags" in record for record in present):
        columns["tags"] = [record.get("tags", [""] * record["n"]) if record is not None else [] for record in records]
    words = not present or "words" in present[0]
    return Treebank.from_constituents(
        [record["words"] if record else [] for record in records]
        if words
        else [record["n"] if record else 0 for record in records],
        [record["constituents"] if record else [] for record in records],
        **columns,
    )


def _serialize(bank: Treebank) -> bytes:
    lines: list[str] = []
    for view in bank:
        if not len(view):
            lines.append("null")
            continue
        record: _Record = {"n": len(view)} if view.tokens is None else {"words": view.tokens}
        if bank.tags is not None:
            record["tags"] = view.tags
        record["constituents"] = view.constituents
        if bank.labels is not None:
            record["labels"] = view.labels
        if view.support is not None:
            record["support"] = view.support
        lines.append(json.dumps(record, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines).encode()


JSONL = Format(
    "jsonl",
    (".jsonl", ".ndjson", ".json"),
    "JSON lines: words, constituents as lists of blocks",
    line_based=True,
    parse=_parse,
    serialize=_serialize,
)
