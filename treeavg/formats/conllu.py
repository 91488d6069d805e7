"""CoNLL-U: a word a line in ten columns, an empty line behind each sentence.

Comments, multiword ranges (``3-4``), empty nodes (``5.1``) and the columns that a treebank has no place for are kept as
text, sentence by sentence, in the column `sources`; writing puts HEAD, DEPREL and ``Support`` into that text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from treeavg.dependency import DependencyTreebank, DependencyView
from treeavg.errors import FormatError, Problem, quote
from treeavg.formats.base import Chunk, Format
from treeavg.formats.boundaries import BlankLineCutter
from treeavg.formats.heads import faults
from treeavg.formats.places import LineError
from treeavg.strings import StringColumn

_ID, _FORM, _HEAD, _DEPREL, _MISC = 0, 1, 6, 7, 9
_RANGE, _EMPTY = re.compile(r"([0-9]{1,9})-([0-9]{1,9})"), re.compile(r"([0-9]{1,9})\.[1-9][0-9]*")
_SUPPORT = re.compile(r"(?:^|(?<=\|))Support=([^|]*)")
_BREAKS = frozenset("\t\n\r\0")
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass
class _Sentence:
    """What was read of one sentence."""

    line: int  # of its first line, from 0
    lines: list[str]
    rows: list[int] = field(default_factory=list)  # which of `lines` are words
    forms: list[str] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    relations: list[str] = field(default_factory=list)
    miscs: list[str] = field(default_factory=list)


def _split(text: str) -> Iterator[_Sentence]:
    """Yield the sentences: runs of lines that are not blank."""
    lines: list[str] = []
    begin = 0
    for number, line in enumerate([*text.split("\n"), ""]):
        stripped = line.removesuffix("\r")
        if stripped.strip(" \t"):
            if not lines:
                begin = number
            lines.append(stripped)
        elif lines:
            yield _Sentence(begin, lines)
            lines = []


def _read(sentence: _Sentence) -> None:
    """Fill in the words; raise a LineError."""
    last = top = 0  # the last word, and the last word of the last range
    at = 0
    for number, line in enumerate(sentence.lines):
        if line[0] == "#":
            continue
        columns = line.split("\t")
        if len(columns) != 10:
            raise LineError(
                number,
                f"expected ten columns separated by tabs, got {len(columns)}. Write _ in a column that has no value.",
            )
        name = columns[_ID]
        if name == str(last + 1):
            last += 1
            _add_word(sentence, number, columns)
        elif match := _RANGE.fullmatch(name):
            if int(match[1]) != last + 1 or int(match[2]) < int(match[1]) or top > last:
                raise LineError(
                    number, f"expected a range of words that begins at {max(last, top) + 1}, got {name!r}. Mend the ID."
                )
            top, at = int(match[2]), number
        elif not ((match := _EMPTY.fullmatch(name)) and int(match[1]) == last):
            raise LineError(
                number,
                f"expected the ID {last + 1}, got {quote(name)}. Number words from 1 without holes; ranges look like "
                f"{last + 1}-{last + 2}, empty nodes like {last}.1.",
            )
    if not last:
        raise LineError(0, "expected a word, got only comments. Remove them, or add the words.")
    if top > last:
        raise LineError(at, f"expected a range within {last} words, got one that ends at {top}. Mend the ID.")


def _add_word(sentence: _Sentence, number: int, columns: list[str]) -> None:
    head = columns[_HEAD]
    if not columns[_FORM]:
        raise LineError(number, "expected a word in column 2 (FORM), got nothing. Write _ where it is unknown.")
    if not _NUMBER.fullmatch(head):
        raise LineError(
            number,
            f"expected a number in column 7 (HEAD), got {quote(head)}. Give the ID of the word's head, 0 for the root.",
        )
    sentence.rows.append(number)
    sentence.forms.append(columns[_FORM])
    sentence.heads.append(int(head))
    sentence.relations.append(columns[_DEPREL])
    sentence.miscs.append(columns[_MISC])


def _parse(chunk: Chunk) -> tuple[DependencyTreebank, list[Problem]]:
    raw = chunk.data.tobytes()
    text = raw.decode(errors="surrogateescape")
    clean = text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)
    clean = clean and "\0" not in text
    sentences = list(_split(text))
    if not sentences and not chunk.sentence:
        raise FormatError(
            f"{chunk.name}:{chunk.line}: expected at least one sentence, got only blank lines. Check what wrote it."
        )
    found: dict[int, str] = {}
    for index, sentence in enumerate(sentences):
        message = _fill(sentence, chunk, clean)
        if message:
            found[index] = message
            sentences[index] = _Sentence(sentence.line, [])
            if not chunk.skip:
                del sentences[index:]
                break
    for index, word, what in faults(_heads(sentences), every=chunk.skip):
        sentence = sentences[index]
        found[index] = f"{chunk.name}:{chunk.line + sentence.line + sentence.rows[word]}: {what}"
        sentences[index] = _Sentence(sentence.line, [])
    if found and not chunk.skip:
        raise FormatError(found[min(found)])
    return _build(sentences, chunk), [Problem(chunk.sentence + index, found[index]) for index in sorted(found)]


def _fill(sentence: _Sentence, chunk: Chunk, clean: bool) -> str:
    """Read a sentence; return the message of its first fault, or nothing."""
    begin = chunk.line + sentence.line
    try:
        if not clean:
            own = "\n".join(sentence.lines).encode(errors="surrogateescape")
            Chunk(np.frombuffer(own, np.uint8), chunk.name, begin).checked()
        _read(sentence)
    except LineError as fault:
        return f"{chunk.name}:{begin + fault.line}: {fault}"
    except FormatError as error:
        return str(error)
    return ""


def _heads(sentences: list[_Sentence]) -> DependencyTreebank:
    return DependencyTreebank(
        np.array([len(sentence.heads) for sentence in sentences], np.int32),
        np.array([head for sentence in sentences for head in sentence.heads], np.int32),
    )


def _build(sentences: list[_Sentence], chunk: Chunk) -> DependencyTreebank:
    columns: dict[str, Any] = {}
    if chunk.columns.tokens:
        columns["tokens"] = StringColumn.of(form for sentence in sentences for form in sentence.forms)
        columns["sources"] = StringColumn.of("\n".join(sentence.lines) for sentence in sentences)
    if chunk.columns.labels:
        columns["relations"] = StringColumn.of(name for sentence in sentences for name in sentence.relations)
    shares = []
    for misc in (misc for sentence in sentences for misc in sentence.miscs):
        share = _share(misc)
        if share is None:
            break
        shares.append(share)
    else:
        columns["support"] = np.array(shares, np.float64) if shares else None
    return _heads(sentences).replace(**columns)


def _share(misc: str) -> float | None:
    """Return the number behind ``Support=``, or None where there is none between 0 and 1."""
    match = _SUPPORT.search(misc)
    try:
        share = float(match[1]) if match else -1.0
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None


def _serialize(bank: DependencyTreebank) -> bytes:
    if len(bank.missing):
        raise FormatError(
            f"treebank[{bank.missing[0]}]: expected a tree, got a missing sentence. "
            "CoNLL-U has no place for it; write format='heads', or leave the sentence out."
        )
    sources = bank.sources if bank.sources is not None else [""] * len(bank)
    blocks = []
    for view, source in zip(bank, sources, strict=True):
        lines = source.split("\n") if source else list(_plain_lines(view))
        blocks.append("".join(f"{line}\n" for line in _updated(view, lines)) + "\n")
    return "".join(blocks).encode()


def _plain_lines(view: DependencyView) -> Iterator[str]:
    """Yield a line for each word that has no source: ID, FORM and HEAD."""
    for number, form in enumerate(view.tokens or ["_"] * len(view), 1):
        yield "\t".join([str(number), _held(form, "word", view.index), *"____", "0", *"___"])


def _held(text: str, name: str, sentence: int) -> str:
    if not text or not _BREAKS.isdisjoint(text):
        raise FormatError(
            f"treebank[{sentence}]: expected a {name} without tabs and line ends, got {quote(text)}. "
            "CoNLL-U cannot hold it; change it."
        )
    return text


def _updated(view: DependencyView, lines: list[str]) -> Iterator[str]:
    """Yield the lines with the heads, relations and support of the treebank in those of words."""
    heads, relations, support = view.heads, view.relations, view.support
    word = 0
    for line in lines:
        columns = line.split("\t")
        if not columns[_ID].isdecimal():
            yield line
            continue
        if word < len(heads):
            # What is equal stays as it is spelled there, an empty column or the head 03.
            changed = not (_NUMBER.fullmatch(columns[_HEAD]) and int(columns[_HEAD]) == heads[word])
            if changed:
                columns[_HEAD] = str(heads[word])
            if relations is not None:
                if relations[word] != columns[_DEPREL]:
                    columns[_DEPREL] = _held(relations[word] or "_", "relation", view.index)
            elif changed:
                columns[_DEPREL] = "_"  # the label of another arc
            if support is not None:
                columns[_MISC] = _with_support(columns[_MISC], support[word])
        word += 1
        yield "\t".join(columns)
    if word != len(heads):
        raise FormatError(
            f"treebank[{view.index}]: expected {len(heads)} words in its source, got {word}. "
            "Drop the sources with treebank.replace(sources=None)."
        )


def _with_support(misc: str, value: float) -> str:
    if _share(misc) == value:
        return misc  # however many digits it has there
    text = f"Support={value:.3f}"
    if _SUPPORT.search(misc):
        return _SUPPORT.sub(text, misc, count=1)
    return text if misc in ("_", "") else f"{misc}|{text}"


CONLLU = Format(
    "conllu",
    (".conllu",),
    "dependency trees in ten columns; comments, ranges and empty nodes are kept",
    line_based=False,
    parse=_parse,
    serialize=_serialize,
    kind="dependency",
    cutter=BlankLineCutter,
)
