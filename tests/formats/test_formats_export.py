"""NEGRA export in and out: rules by example, round trips by hypothesis, errors with their lines."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_helpers import discontinuous, shared
from hypothesis import given
from hypothesis import strategies as st

import treeavg
from treeavg import FormatError, Treebank
from treeavg.cli import main
from treeavg.formats import BATCH, FORMATS, AlignedReader, Columns, TreebankReader, format_of
from treeavg.formats.base import Chunk
from treeavg.strings import StringColumn
from treeavg.transforms import with_roots

ROWS = """\
Was	PWS	--	--	500
hat	VAFIN	--	--	501
sie	PPER	--	--	501
gesehen	VVPP	--	--	500
?	$.	--	--	0
#500	VP	--	--	501
#501	S	--	--	0
"""


def block(rows: str, name: object = 1) -> str:
    """Return the text of one sentence."""
    return f"#BOS {name}\n{rows}#EOS {name}\n"


def read_text(folder: Path, text: str | bytes, name: str = "a.export", **options: Any) -> Treebank:
    """Write `text` to a file and read it."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    bank = treeavg.read(path, **options)
    assert isinstance(bank, Treebank)
    return bank


def written(bank: Treebank) -> str:
    """Return the text of a treebank."""
    return FORMATS["export"].serialize(bank).decode()


def rooted(bank: Treebank) -> Treebank:
    """Return the treebank with another constituent ROOT over each whole sentence."""
    return Treebank.from_constituents(
        [view.tokens or len(view) for view in bank],
        [[(0, len(view)), *view.constituents] if len(view) else [] for view in bank],
        labels=[["ROOT", *(view.labels or ["X"] * len(view.constituents))] if len(view) else [] for view in bank],
        tags=[view.tags or [""] * len(view) for view in bank],
    )


@st.composite
def banks(draw: st.DrawFn) -> Treebank:
    """Discontinuous trees with ROOT, labels, and tags or chains of tags on some tokens."""
    bank = draw(discontinuous())
    generator = random.Random(draw(st.integers(0, 2**32 - 1)))
    names = ["NN", "VB", "字", "-LRB-", "$(", "#500", "", "ROOT"]
    chains = []
    for _ in range(bank.token_count):
        chain = generator.choices(names, k=generator.choice([1, 1, 1, 2, 3]))
        chains.append(" ".join([*chain[:-1], chain[-1] or "X"] if len(chain) > 1 else chain))
    assert bank.tokens is not None
    words = [re.sub("^%%|^#.*", "w", token) for token in bank.tokens]
    return rooted(bank.replace(tokens=StringColumn.of(words), tags=StringColumn.of(chains)))


# ------------------------------------------------------------------ reading


def test_a_sentence(tmp_path: Path) -> None:
    """The example of the specification, the virtual root over all of it."""
    view = read_text(tmp_path, block(ROWS))[0]
    assert view.tokens == ["Was", "hat", "sie", "gesehen", "?"]
    assert view.tags == ["PWS", "VAFIN", "PPER", "VVPP", "$."]
    assert list(zip(view.labels or [], view.constituents, strict=True)) == [
        ("ROOT", ((0, 5),)), ("S", ((0, 4),)), ("VP", ((0, 1), (3, 4))),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "#FORMAT 4\n#BOT ORIGIN\n0 x\n#EOT ORIGIN\n%% comment\n" + block(ROWS) + "what else\n",
        block(ROWS).replace("\n", "\r\n"),
        block(ROWS).replace("\t", " \t\t"),
        block(ROWS, "a/b.c 2 899973978 1 %% @SB2AV@").replace("#EOS a/b.c 2 899973978 1 %% @SB2AV@", "#EOS a/b.c"),
        block(re.sub(r"(?m)^([^\t]+)\t", r"\1\tlemma\t", ROWS)),
        block(ROWS.replace("Was\t", "Was\tlemma\t")),
        block("%% comment\n\n" + ROWS.replace("hat\t", "hat\t", 1).replace("\t501\nsie", "\t501 %% comment\nsie")),
        block(ROWS.replace("--\t500\nhat", "--\t500\tmod\t501\thd\t500\nhat")),
        block(ROWS.replace("#500\tVP\t--\t--\t501", "#500\tVP\t--\t--\t501\trel\t500")),
        block("".join(ROWS.splitlines(keepends=True)[:5] + ROWS.splitlines(keepends=True)[:4:-1])),
        block(ROWS.replace("501", "731").replace("500", "999999")),
        block(ROWS)[:-1],
    ],
    ids=["outside", "crlf", "blanks", "origin", "lemmas", "one lemma", "comments", "secondary edges",
         "secondary edge of a node", "any order", "any numbers", "no last newline"],
)  # fmt: skip
def test_what_does_not_matter(tmp_path: Path, text: str) -> None:
    """Lines outside blocks, comments, lemmas, secondary edges, numbers of nodes."""
    assert read_text(tmp_path, text) == read_text(tmp_path, block(ROWS))


def test_chains(tmp_path: Path) -> None:
    """Nodes over one token join its tag, outermost first; -- is no tag; nodes over the same tokens are a chain."""
    rows = "a\t--\t--\t--\t500\nb\tB\t--\t--\t502\n#500\tY\t--\t--\t501\n#501\tX\t--\t--\t502\n"
    rows += "#502\tin\t--\t--\t503\n#503\tout\t--\t--\t0\n"
    view = read_text(tmp_path, block(rows))[0]
    assert view.tags == ["X Y", "B"]
    assert view.labels == ["ROOT", "out", "in"]
    single = read_text(tmp_path, block("a\tA\t--\t--\t500\n#500\tX\t--\t--\t0\n"))[0]
    assert (single.constituents, single.tags) == ([], ["ROOT X A"])


def test_nodes_without_a_label_over_one_word(tmp_path: Path) -> None:
    """They are not kept where nothing is below them; what is read can be written."""
    nodes = "a\t--\t--\t--\t501\n#501\t--\t--\t--\t502\n#502\tX\t--\t--\t503\n#503\t--\t--\t--\t0\n"
    path = tmp_path / "a.export"
    path.write_text(f"#BOS 1\n{nodes}#EOS 1\n#BOS 2\nb\tN\t--\t--\t0\n{nodes}#EOS 2\n")
    bank = treeavg.read(path)
    assert [view.tags for view in bank] == [["ROOT  X"], ["N", " X"]]
    treeavg.write(bank, path)
    assert treeavg.read(path) == bank


def test_words_like_marks(tmp_path: Path) -> None:
    """A number below 500 is a word, or of more than nine digits, and so is %% within one."""
    rows = "#1\tA\t--\t--\t0\n#499\tA\t--\t--\t0\n5%%\tA\t--\t--\t0\n#x500\tA\t--\t--\t0\n"
    rows += "#0000000500\tA\t--\t--\t0\n"
    bank = read_text(tmp_path, block(rows))
    assert bank[0].tokens == ["#1", "#499", "5%%", "#x500", "#0000000500"]
    assert written(bank) == block(rows)


# ------------------------------------------------------------------ writing


def test_written(tmp_path: Path) -> None:
    """Words, then nodes from 500 on, the smaller first; running numbers from 1; the virtual root is no node."""
    bank = read_text(tmp_path, block(ROWS, "x") + block(ROWS, "y"))
    assert written(bank) == block(ROWS, 1) + block(ROWS, 2)
    assert FORMATS["export"].serialize(bank, 10).decode() == block(ROWS, 11) + block(ROWS, 12)


@pytest.mark.parametrize("name", ["export", "heads"])
def test_numbers_go_on_from_batch_to_batch(tmp_path: Path, name: str) -> None:
    """A file that is converted in batches has each id once."""
    count = 2 * BATCH + 1
    if name == "export":
        treeavg.write(Treebank.from_constituents([["a"]] * count, [[]] * count), tmp_path / "a.txt")
    else:
        (tmp_path / "a.conllu").write_text("1\ta\t_\t_\t_\t_\t0\t_\t_\t_\n\n" * count)
    source = tmp_path / ("a.txt" if name == "export" else "a.conllu")
    assert main(["convert", str(source), "-o", str(tmp_path / f"b.{name}")]) == 0
    assert len(treeavg.read(tmp_path / f"b.{name}")) == count
    last = (tmp_path / f"b.{name}").read_text().splitlines()[-1]
    assert last == (f"#EOS {count}" if name == "export" else f"{count - 1} 0")


def test_written_without_strings(tmp_path: Path) -> None:
    """Without labels the whole sentence is the virtual root, listed or not, and nodes are X; words are _."""
    spans: list[Any] = [[[(0, 1), (2, 3)], (0, 3)], [], [(0, 2), (0, 2)]]
    bank = Treebank.from_constituents([3, 1, 2], spans)
    text = written(bank)
    assert text == (
        block("_\t--\t--\t--\t500\n_\t--\t--\t--\t0\n_\t--\t--\t--\t500\n#500\tX\t--\t--\t0\n", 1)
        + block("_\t--\t--\t--\t0\n", 2)
        + block("_\t--\t--\t--\t500\n_\t--\t--\t--\t500\n#500\tX\t--\t--\t0\n", 3)
    )
    assert read_text(tmp_path, text).same_trees(bank)
    assert written(Treebank.from_constituents([3], [[[(0, 1), (2, 3)]]])) == text.partition("#BOS 2")[0]


def test_another_root(tmp_path: Path) -> None:
    """With labels, only ROOT is the virtual root: a tree under S comes back with ROOT above."""
    bank = Treebank.from_constituents([["a", "b"]], [[(0, 2)]], labels=[["S"]], tags=[["A", "B"]])
    assert read_text(tmp_path, written(bank)) == rooted(bank)


@given(bank=banks())
def test_round_trip(tmp_path: Path, bank: Treebank) -> None:
    """Trees of any fan-out with ROOT, labels, chains and tags come back, and are as valid as before."""
    for name in ("a.export", "a.export.gz"):
        treeavg.write(bank, tmp_path / name)
        again = treeavg.read(tmp_path / name)
        assert again == bank
        again.validate()


@given(bank=discontinuous(words_given=False))
def test_round_trip_without_words(tmp_path: Path, bank: Treebank) -> None:
    """The trees come back without words and labels, and without the whole sentence."""
    bare = bank.replace(labels=None, tags=None)
    treeavg.write(bare, tmp_path / "a.export")
    assert treeavg.read(tmp_path / "a.export").same_trees(bare)


@given(bank=banks())
def test_children_come_first(bank: Treebank) -> None:
    """Nodes are numbered from 500 without holes, and each stands before its parent."""
    for text in written(bank).split("#EOS")[:-1]:
        rows = [line.split("\t") for line in text.split("\n") if "\t" in line]
        nodes = [row for row in rows if re.fullmatch("#[0-9]+", row[0])]
        assert [row[0] for row in nodes] == [f"#{number}" for number in range(500, 500 + len(nodes))]
        assert all(int(row[4]) == 0 or int(row[4]) > int(row[0][1:]) for row in nodes)


@pytest.mark.parametrize("deep", ["unary", "chain", "right"])
def test_deep_trees(tmp_path: Path, deep: str) -> None:
    """Tens of thousands of nodes within one another: numbers go on behind #999, nothing recurses."""
    depth = {"unary": 20_000, "chain": 20_000, "right": 600}[deep]
    length = {"unary": 2, "chain": 1, "right": depth + 1}[deep]
    spans = [(index if deep == "right" else 0, length) for index in range(depth)]
    bank = rooted(Treebank.from_constituents([length], [spans], labels=[["X"] * depth]))
    text = written(bank)
    assert f"#{499 + depth - (deep == 'chain')}\t" in text  # the innermost of a chain is the tag
    assert read_text(tmp_path, text).replace(tokens=None) == bank


def test_missing_sentences(tmp_path: Path) -> None:
    """An empty block keeps the place of a missing sentence; it is read as one under skip only."""
    bank = Treebank.concatenate([read_text(tmp_path, block(ROWS)), Treebank.from_constituents([[]], [[]], labels=[[]])])
    bank = bank[[1, 0, 1]]
    treeavg.write(bank, tmp_path / "b.export")
    assert (tmp_path / "b.export").read_text() == block("", 1) + block(ROWS, 2) + block("", 3)
    assert treeavg.read(tmp_path / "b.export", on_error="skip") == bank
    with pytest.raises(FormatError, match=r"b\.export:1: expected words behind #BOS, got none\. Remove the block"):
        treeavg.read(tmp_path / "b.export")


@pytest.mark.parametrize("word", ["", "a b", "\t", "a\n", "\0", "%%", "%%a", "#BOS", "#EOS", "#500", "#0500", "#12345"])
def test_words_that_cannot_be_written(tmp_path: Path, word: str) -> None:
    """A word that would not be read back is refused, and no file appears."""
    bank = Treebank.from_constituents([["a"], ["b", word]], [[], []])
    with pytest.raises(
        FormatError, match=r"^treebank\[1\]: expected a word without white space, unlike %%, #BOS, #EOS"
    ):
        treeavg.write(bank, tmp_path / "a.export")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["A B", "--", "%%", "%%a", "\t", "\0"])
def test_labels_that_cannot_be_written(label: str) -> None:
    """The same of labels, and of tags, whose spaces part a chain."""
    bank = Treebank.from_constituents([2], [[(0, 2)]], labels=[[label]])
    with pytest.raises(
        FormatError, match=r"^treebank\[0\]: expected a label without white space, unlike -- or %%, got"
    ):
        written(bank)
    if label != "A B":
        for tag in (label, f"A {label}", f"{label} A"):
            bank = Treebank.from_constituents([2], [[]], tags=[["A", tag]])
            with pytest.raises(FormatError, match=r"^treebank\[0\]: expected a tag without "):
                written(bank)


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            block(ROWS.replace("#501\tS\t--\t--\t0", "#501\tS\t--\t--\t507"), 2),
            ":17: expected 0 or a node of the sentence as parent, got 507. Add the node, or mend the line.",
        ),
        (
            block(ROWS.replace("--\t500\nhat", "--\t1\nhat"), 2),
            ":11: expected 0 or a node of the sentence as parent, got 1.",
        ),
        (
            block(ROWS.replace("#501\tS\t--\t--\t0", "#501\tS\t--\t--\t500"), 2),
            ":16: expected a tree, got a cycle through #500. Mend the parents.",
        ),
        (
            block(ROWS.replace("#501\tS\t--\t--\t0", "#501\tS\t--\t--\t501"), 2),
            ":17: expected a tree, got a cycle through #501.",
        ),
        (block(ROWS + "#502\tX\t--\t--\t502\n", 2), ":18: expected a tree, got a cycle through #502."),
        (block(ROWS + "#502\tX\t--\t--\t0\n", 2), ":18: expected something under #502, got nothing. Remove the line."),
        (block(ROWS + "#500\tX\t--\t--\t0\n", 2), ":18: expected each node once, got #500 again. Number the nodes."),
        (
            block(ROWS + "word\tX\t--\t--\t0\n", 2),
            ":18: expected a node behind the first node, got the word 'word'. Put",
        ),
        (
            block("a\tA\t--\t0\n", 2),
            ":11: expected five columns or more (word, tag, morphology, edge, parent), got 4. Write",
        ),
        (block("a\n", 2), ":11: expected five columns or more (word, tag, morphology, edge, parent), got 1."),
        (
            block("a\tA\t--\t--\tx\n", 2),
            ":11: expected a number as parent in column 5, got 'x'. An even number of columns",
        ),
        (block("a\tA\t--\t--\t0\tx\n", 2), ":11: expected a number as parent in column 6, got 'x'."),
        (block("a\tA\t--\t--\t-1\n", 2), ":11: expected a number as parent in column 5, got '-1'."),
        (block("a\tA\t--\t--\t" + "9" * 50 + "\n", 2), ":11: expected a number as parent in column 5, got '9999"),
        (block("", 2), ":10: expected words behind #BOS, got none. Remove the block."),
        (block("%% a\n\n", 2), ":10: expected words behind #BOS, got none."),
        (block("#500\tX\t--\t--\t0\n", 2), ":10: expected words behind #BOS, got none."),
        (block(ROWS, 1), ":10: expected each id once, got '1' again. Number the sentences."),
        (block(ROWS, ""), ":10: expected an id behind #BOS, got nothing. Number the sentences."),
        (block(ROWS, 2).replace("#EOS 2", "#EOS 3"), ":18: expected #EOS 2 as behind #BOS, got '3'. Mend the id."),
        (block(ROWS, 2).replace("#EOS 2", "#EOS"), ":18: expected #EOS 2 as behind #BOS, got ''."),
        (block(ROWS, 2).replace("#EOS 2\n", ""), ":18: expected #EOS 2 before the next #BOS, got none. Add it."),
        (block("a\xff\tA\t--\t--\t0\n", 2).encode("latin-1"), ":11:2: expected UTF-8, got the byte 0xff."),
        (block("é\0\tA\t--\t--\t0\n", 2).encode(), ":11:2: expected text, got the byte 0x00."),
    ],
)
def test_messages(tmp_path: Path, text: str | bytes, message: str) -> None:
    """Each error names file and line, what is wrong and what to do; under skip the sentence is missing, no other."""
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, block(ROWS, 1).encode() + raw + block(ROWS, 4).encode())
    assert str(caught.value).startswith(f"{tmp_path}/a.export{message}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    reader = TreebankReader(tmp_path / "a.export", on_error="skip")
    bank = reader.next(10)
    assert isinstance(bank, Treebank)
    assert bank.lengths.tolist() == [5, 0, 5]
    assert bank[0] == bank[2]
    assert [(item.sentence, item.message) for item in reader.problems] == [(1, str(caught.value))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (block(ROWS) + "#EOS 1\n", ":10: expected #BOS before #EOS, got only #EOS '1'. Add the #BOS line."),
        (block(ROWS)[:-7], ":9: expected #EOS 1, got the end of the file. Is it cut off?"),
        ("words\n", ":1: expected at least one sentence (#BOS), got none. Is it an export file?"),
        ("%% comment\n\n", ":1: expected at least one sentence (#BOS), got none."),
    ],
)
def test_messages_about_blocks(tmp_path: Path, text: str, message: str) -> None:
    """A file that is cut off, has no sentence, or ends one that has not begun."""
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/a.export{message}")


PIECES = [
    b"#BOS 1\n", b"#BOS 2\n", b"#EOS 1\n", b"#EOS 2\n", b"a\tA\t--\t--\t500\n", b"a\tA\t--\t--\t0\n", b"\n", b"%%",
    b"\xff", b"#500\tX\t--\t--\t0\n", b"#501\tX\t--\t--\t500\n", b"#500\tX\t--\t--\t501\n", b"#500", b"\t--\t", b"0",
    b"#", b"\0",
]  # fmt: skip


@given(data=st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give trees, or an error with a place; under skip exactly the good sentences are left."""
    parse, raw = FORMATS["export"].parse, np.frombuffer(data, np.uint8)
    place = r"^name:\d+(:\d+)?: expected \S"
    try:
        bank, problems = parse(Chunk(raw, "name", skip=True))
    except FormatError as error:
        lasting = str(error)  # nothing that can be skipped
    else:
        lasting = ""
        assert isinstance(bank, Treebank)
        bank.validate()
        assert [problem.sentence for problem in problems] == bank.missing.tolist()
        assert all(re.match(place, problem.message) for problem in problems)
        if not problems:
            assert parse(Chunk(raw, "name")) == (bank, [])
            return
    with pytest.raises(FormatError, match=place) as caught:
        parse(Chunk(raw, "name"))
    assert int(str(caught.value).split(":")[1]) <= data.count(b"\n") + 1
    assert lasting or str(caught.value) == problems[0].message


def test_columns_and_batches(tmp_path: Path) -> None:
    """What is not wanted is not kept; the file is read whole and handed out in batches."""
    whole = read_text(tmp_path, "".join(block(ROWS, name) for name in range(5)))
    path = tmp_path / "a.export"
    (words,) = next(iter(AlignedReader([path], columns=[Columns(labels=False)])))
    (names,) = next(iter(AlignedReader([path], columns=[Columns(tokens=False)])))
    assert words == whole.replace(labels=None, tags=None)
    assert names == whole.replace(tokens=None)
    for batch in (1, 2, 5, 6):
        assert Treebank.concatenate(part for (part,) in AlignedReader([path], batch=batch)) == whole


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (block(ROWS).encode(), "export"), (b"%% comment\n", "export"), (b"#FORMAT 4\n", "export"),
        (b"\n#BOT ORIGIN\n", "export"), (b"#BOSS\n", "conllu"), (b"# BOS\n", "conllu"),
    ],
)  # fmt: skip
def test_by_content(head: bytes, name: str) -> None:
    """Its marks, or a comment."""
    assert format_of("a.txt", head).name == name


# ------------------------------------------------------------------ shared data


def test_shared_file(shared_data: Path, tmp_path: Path) -> None:
    """The sample of disco-dop: words and parents as they stand there, and the same trees again."""
    path = shared(shared_data, "formats/alpinosample.export")
    bank = treeavg.read(path)
    blocks = re.findall(r"#BOS [^\n]*\n(.*?)#EOS", path.read_text(encoding="utf-8"), re.DOTALL)
    assert len(bank) == len(blocks) == 3
    for view, text in zip(bank, blocks, strict=True):
        rows = [line.split() for line in text.splitlines()]
        words = [row for row in rows if not re.fullmatch("#[0-9]+", row[0])]
        assert view.tokens == [row[0] for row in words]
        parents = {row[0].removeprefix("#"): row[5] for row in rows}
        below: dict[str, set[int]] = {"0": set()}
        for index, row in enumerate(words):
            node = row[5]
            while True:
                below.setdefault(node, set()).add(index)
                if node == "0":
                    break
                node = parents[node]
        wanted = sorted(sorted(tokens) for tokens in below.values() if len(tokens) > 1)
        assert (
            sorted([token for start, end in blocks for token in range(start, end)] for blocks in view.constituents)
            == wanted
        )
    treeavg.write(bank, tmp_path / "again.export")
    assert treeavg.read(tmp_path / "again.export") == bank


def test_shared_json_lines(shared_data: Path, tmp_path: Path) -> None:
    """Every tree of LASSY, gold and predicted, survives; the whole sentence is the virtual root, listed or not."""
    for path in sorted(shared(shared_data, "lassy").rglob("*.jsonl")):
        bank = treeavg.read(path)
        treeavg.write(bank, tmp_path / "a.export")
        again = treeavg.read(tmp_path / "a.export")
        assert again.same_trees(with_roots(bank))
        assert again.tokens == bank.tokens
