"""The NEGRA export format: a word a line, then a line for each node from #500 on; each names its parent.

Columns are separated by white space: word, lemma (or not), tag, morphology, edge, parent, then pairs of secondary
edges. Words, tags, labels and parents are kept; the virtual root, 0, is the constituent ``ROOT`` over all words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from treeavg.errors import FormatError, Problem, quote
from treeavg.formats.base import Chunk, Format
from treeavg.formats.boundaries import MarkCutter, NumberSet
from treeavg.formats.places import LineError
from treeavg.formats.writing import hang, refuse
from treeavg.treebank import Treebank
from treeavg.view import NO_LABEL, Constituent, TreeView

#: The label of the virtual root.
ROOT = "ROOT"

_FIRST_NODE = 500
_NONE = "--"
_NODE, _NUMBER = re.compile(r"#([0-9]{1,9})"), re.compile(r"[0-9]{1,9}")
_COMMENT = re.compile(rb"(^|[ \t\r\v\f])%%[^\n]*")
_BLOCK = re.compile("1+")
_WORD = r"^$|[ \t-\r\0]|^%%|^#(?:BOS|EOS)$|^#(?=[0-9]{1,9}$)0*(?:[5-9][0-9]{2}|[1-9][0-9]{3,})$"
_LABEL, _TAG = r"[ \t-\r\0]|^%%|^--$", r"[\t-\r\0]|(?:^| )(?:%%|--(?: |$))| $"
_ELSE = "The format cannot hold it; write JSON lines (.jsonl)."


@dataclass
class _Node:
    """A word or a constituent under its parent."""

    line: int
    label: str
    parent: int
    mask: int = 0  # bit i is token i
    waiting: int = 0  # children whose masks are not known yet


@dataclass
class _Sentence:
    """One block: its lines, and what was read of it."""

    line: int
    name: str
    rows: list[tuple[int, bytes]] = field(default_factory=list)
    fault: LineError | None = None
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    constituents: list[Constituent] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def fail(self, line: int, message: str) -> None:
        """Keep the first fault."""
        self.fault = self.fault or LineError(line, message)


def _blocks(raw: bytes, first_line: int, seen: NumberSet) -> Iterator[_Sentence]:
    """Yield what stands between #BOS and #EOS; raise a LineError for an #EOS on its own."""
    current: _Sentence | None = None
    line = first_line
    for line, text in enumerate(raw.split(b"\n"), first_line):
        fields = [part.decode(errors="replace") for part in _COMMENT.sub(b"", text).split()]
        mark, name = [*fields, "", ""][:2]
        if mark == "#BOS":
            if current is not None:
                current.fail(line, f"expected #EOS {current.name} before the next #BOS, got none. Add it.")
                yield current
            current = _Sentence(line, name)
            if not name:
                current.fail(line, "expected an id behind #BOS, got nothing. Number the sentences.")
            elif not seen.add(name):
                current.fail(line, f"expected each id once, got {quote(name)} again. Number the sentences.")
        elif mark == "#EOS":
            if current is None:
                raise LineError(line, f"expected #BOS before #EOS, got only #EOS {quote(name)}. Add the #BOS line.")
            if name != current.name:
                current.fail(line, f"expected #EOS {current.name} as behind #BOS, got {quote(name)}. Mend the id.")
            yield current
            current = None
        elif current is not None and fields:
            current.rows.append((line, text))
    if current is not None:
        current.fail(line, f"expected #EOS {current.name}, got the end of the file. Is it cut off?")
        yield current


def _fill(sentence: _Sentence, name: str) -> None:
    """Read the lines of a block; raise a LineError, or a FormatError for bytes that are no text."""
    if sentence.fault is not None:
        raise sentence.fault
    tokens: list[_Node] = []
    nodes: dict[int, _Node] = {}
    for line, text in sentence.rows:
        Chunk(np.frombuffer(text, np.uint8), name, line).checked()
        word, node = _line(line, [part.decode() for part in _COMMENT.sub(b"", text).split()])
        match = _NODE.fullmatch(word)
        number = int(match[1]) if match else 0
        if number >= _FIRST_NODE:
            if number in nodes:
                raise LineError(line, f"expected each node once, got {word} again. Number the nodes.")
            nodes[number] = node
        elif nodes:
            raise LineError(
                line, f"expected a node behind the first node, got the word {quote(word)}. Put words first."
            )
        else:
            node.mask = 1 << len(tokens)
            tokens.append(node)
            sentence.words.append(word)
            sentence.tags.append(node.label)
    if not tokens:
        raise LineError(sentence.line, "expected words behind #BOS, got none. Remove the block.")
    whole = ((0, len(tokens)),)
    sentence.constituents, sentence.labels = [whole], [ROOT]
    for node in reversed(_telling(tokens, _bottom_up(tokens, nodes))):  # so that of equal ones the outer comes first
        bits = f"{node.mask:b}"[::-1]
        sentence.constituents.append(tuple(match.span() for match in _BLOCK.finditer(bits)))
        sentence.labels.append(node.label)


def _line(line: int, fields: list[str]) -> tuple[str, _Node]:
    """Return the word or node number of a line, and what it says about it."""
    if len(fields) < 5:
        raise LineError(
            line,
            f"expected five columns or more (word, tag, morphology, edge, parent), got {len(fields)}. "
            "Write -- in a column that has no value.",
        )
    lemma = len(fields) % 2 == 0
    tag, parent = fields[1 + lemma], fields[4 + lemma]
    if not _NUMBER.fullmatch(parent):
        raise LineError(
            line,
            f"expected a number as parent in column {5 + lemma}, got {quote(parent)}. An even number of columns means "
            "that there are lemmas.",
        )
    return fields[0], _Node(line, "" if tag == _NONE else tag, int(parent))


def _bottom_up(tokens: list[_Node], nodes: dict[int, _Node]) -> list[_Node]:
    """Give each node its tokens; return the nodes, children before parents."""
    for child in [*tokens, *nodes.values()]:
        if child.parent in nodes:
            nodes[child.parent].waiting += 1
        elif child.parent:
            raise LineError(
                child.line,
                f"expected 0 or a node of the sentence as parent, got {child.parent}. Add the node, or mend the line.",
            )
    for number, node in nodes.items():
        if not node.waiting:
            raise LineError(node.line, f"expected something under #{number}, got nothing. Remove the line.")
    done: list[_Node] = []
    agenda = list(tokens)
    while agenda:
        child = agenda.pop()
        parent = nodes.get(child.parent)
        if parent is not None:
            parent.mask |= child.mask
            parent.waiting -= 1
            if not parent.waiting:
                done.append(parent)
                agenda.append(parent)
    for number, node in nodes.items():
        if node.waiting:
            raise LineError(node.line, f"expected a tree, got a cycle through #{number}. Mend the parents.")
    return done


def _telling(tokens: list[_Node], nodes: list[_Node]) -> list[_Node]:
    """Leave out nodes without a label right over a word without a tag: they would be an empty end of its chain."""
    bare = {token.mask for token in tokens if not token.label}
    kept = []
    for node in nodes:
        if node.mask not in bare:
            kept.append(node)
        elif node.label:
            bare.discard(node.mask)
            kept.append(node)
    return kept


def _parse(chunk: Chunk) -> tuple[Treebank, list[Problem]]:
    sentences: list[_Sentence] = []
    problems: list[Problem] = []
    try:
        seen = chunk.memory.setdefault("ids", NumberSet())
        for sentence in _blocks(chunk.data.tobytes(), chunk.line, seen):
            message = ""
            try:
                _fill(sentence, chunk.name)
            except LineError as fault:
                message = f"{chunk.name}:{fault.line}: {fault}"
            except FormatError as error:
                message = str(error)
            if message:
                if not chunk.skip:
                    raise FormatError(message)
                problems.append(Problem(chunk.sentence + len(sentences), message))
                sentence = _Sentence(sentence.line, sentence.name)
            sentences.append(sentence)
    except LineError as fault:
        raise FormatError(f"{chunk.name}:{fault.line}: {fault}") from None
    if not sentences and not chunk.sentence:
        raise FormatError(
            f"{chunk.name}:{chunk.line}: expected at least one sentence (#BOS), got none. Is it an export file?"
        )
    bank = Treebank.from_constituents(
        [sentence.words for sentence in sentences],
        [sentence.constituents for sentence in sentences],
        labels=[sentence.labels for sentence in sentences],
        tags=[sentence.tags for sentence in sentences],
    )
    if not chunk.columns.labels:
        bank = bank.replace(labels=None, tags=None)
    return bank if chunk.columns.tokens else bank.replace(tokens=None), problems


def _serialize(bank: Treebank, first: int = 0) -> bytes:
    refuse(bank, "word", bank.tokens, _WORD, "white space, unlike %%, #BOS, #EOS or a node such as #500", _ELSE)
    refuse(bank, "label", bank.labels, _LABEL, "white space, unlike -- or %%", _ELSE)
    refuse(bank, "tag", bank.tags, _TAG, "-- or %%, or a label at its end", _ELSE)
    lines: list[str] = []
    for number, view in enumerate(bank, first + 1):
        lines += [f"#BOS {number}", *_lines(view), f"#EOS {number}"]
    return "".join(f"{line}\n" for line in lines).encode()


def _lines(view: TreeView) -> Iterator[str]:
    """Yield the words, then the nodes: those over one word, then from the smaller to the larger."""
    length, constituents = len(view), view.constituents
    labels = view.labels if view.labels is not None else [NO_LABEL] * len(constituents)
    parents, owners = hang(constituents, length)
    sizes = [sum(end - start for start, end in blocks) for blocks in constituents]
    rooted = bool(constituents) and sizes[0] == length and (view.labels is None or labels[0] == ROOT)
    chains = [tag.split(" ") for tag in view.tags or [""] * length]
    if length == 1 and chains[0][0] == ROOT:
        chains[0] = chains[0][1:] or [""]
    # Of equal ones the inner is the later row.
    order = sorted(range(rooted, len(sizes)), key=lambda row: (sizes[row], constituents[row][0][0], -row))
    begin = _FIRST_NODE + sum(len(chain) - 1 for chain in chains)
    numbers = {row: begin + place for place, row in enumerate(order)}
    nodes: list[tuple[str, int]] = []
    for word, chain, owner in zip(view.tokens or ["_"] * length, chains, owners, strict=True):
        parent = numbers.get(owner, 0)
        above = range(_FIRST_NODE + len(nodes), _FIRST_NODE + len(nodes) + len(chain) - 1)
        nodes += zip(reversed(chain[:-1]), [*above[1:], parent], strict=False)
        yield _row(word, chain[-1], above[0] if above else parent)
    nodes += [(labels[row], numbers.get(parents[row], 0)) for row in order]
    for number, (label, parent) in enumerate(nodes, _FIRST_NODE):
        yield _row(f"#{number}", label, parent)


def _row(name: str, label: str, parent: int) -> str:
    return "\t".join([name, label or _NONE, _NONE, _NONE, str(parent)])


EXPORT = Format(
    "export",
    (".export",),
    "NEGRA export: words and nodes with their parents, any fan-out",
    line_based=False,
    parse=_parse,
    serialize=_serialize,
    numbered=True,
    cutter=MarkCutter,
)
