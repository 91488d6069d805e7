"""Inputs to fuzz with: seeds of every format, made by its own writer, and changes of them."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Pieces of the syntax of all formats, and of what breaks readers.
PIECES: tuple[bytes, ...] = (
    b"(", b")", b"((", b"))", b"()", b" ", b"\n", b"\n\n", b"\r\n", b"\t", b"a", b"X", b"\xff", b"\xc3", b"\0",
    b"\xef\xbb\xbf", b"\xc2\xa0", b"\xe2\x80\xa8", b"-LRB-", b"-RRB-", b"\\", b"\\-LRB-", b"#LRB#", b"#RRB#",
    b"[", b"]", b"{", b"}", b"{}", b",", b":", b'"', b"0", b"-1", b"9", b"1e9", b"1e999", b"null", b"true", b"[]",
    b'"words"',
    b'"n"', b'"labels"', b'"tags"', b'"support"', b'"constituents"', b"\\ud800", b"\\u0000", b"99999999999", b"NaN",
    b"Infinity", b"-0", b"0.5", b"4294967296", b"2147483647", b"0=", b"1=", b"=", b"#BOS 1\n", b"#EOS 1\n", b"#500",
    b"%%", b"--", b"#FORMAT 4\n", b"1\t", b"2\ta\t_\t_\t_\t_\t1\tx\t_\t_\n", b"_", b"1-2\t", b"1.1\t", b"# text = a\n",
    b"Support=0.5", b'"hits"', b'"tokens"', b'"weight"', b'"length"', b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1",
)  # fmt: skip

#: Alphabets for inputs from nowhere.
ALPHABETS = (
    b"()",
    b"() ",
    b"()a \n",
    b"(a) \n\t\r",
    b'[]{}",:0n\n',
    b"0123 \n",
    b"0=a 1=b()\n",
    b"#501\t-%\n",
    b"1\t_\n",
)


def seeds() -> dict[str, list[bytes]]:
    """Return valid files of every format of the table, small, as its own writer makes them."""
    from treeavg import TreeavgError
    from treeavg.formats import FORMATS, write

    found: dict[str, list[bytes]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            found[name] = []
            for bank in [*treebanks(), *whole_treebanks()]:
                path = Path(folder) / "seed"
                try:
                    write(bank, path, format=name)
                except TreeavgError:
                    continue  # trees that the format cannot hold
                if path.read_bytes() not in found[name]:
                    found[name].append(path.read_bytes())
    found["brackets"].append(b"(S (NP-SBJ (NNP Kim)) (VP (VBD slept)) (. .))\r\n( (X (X a) (X b)))\n(X (X (X a)))")
    found["ptb"].append(
        b"( (S\n    (NP-SBJ (NNP Kim) )\n    (VP (VBD slept) )\n    (. .) ))\n( (FRAG (RB no)\n (. .)))\n"
    )
    found["jsonl"].append(
        b'{"n": 4, "constituents": [[0, 4], [[0, 1], [2, 3]]]}\r\nnull\n{"n": 1, "constituents": []}\n'
    )
    found["export"].append(
        b"%% a comment\n#FORMAT 4\n#BOS 3 0 0 0\na l N -- -- 500 S 0 %% b\nb l N -- -- 0\n#500 -- NP -- -- 0\n#EOS 3\n"
    )
    found["conllu"].append(
        b"# text = don't go\n1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tdo\tdo\tAUX\t_\t_\t3\taux\t_\tSupport=0.5\n"
        b"2\tn't\tnot\tPART\t_\t_\t3\tadvmod\t_\tSupport=1\n3\tgo\tgo\tVERB\t_\t_\t0\troot\t_\tSupport=0.25\n\n"
    )
    found["heads"].append(b"wsj-17 2 0 2\n0 0\r\nx\t0 1 1")
    return found


def whole_treebanks() -> list[Any]:
    """Return the same without missing sentences, which most formats read only where errors are skipped."""
    return [bank[(bank.lengths > 0).nonzero()[0]] for bank in treebanks()]


def treebanks() -> list[Any]:
    """Return small treebanks of every kind: words in brackets and scripts, chains, gaps, missing sentences."""
    from treeavg import DependencyTreebank, Treebank

    words = [["the", "dog", "(barks)"], ["é字😀"], [], ["a", "b", "-LRB-", "\\", "e"]]
    spans: list[Any] = [[(0, 3), (0, 2)], [], [], [(0, 5), (0, 5), (1, 5), (3, 5)]]
    gaps: list[Any] = [[((0, 3),), ((0, 1), (2, 3))], [], [], [((0, 5),), ((0, 1), (2, 3), (4, 5)), ((1, 2), (3, 4))]]
    names = [["S", "NP-SBJ"], [], [], ["S", "VP", "NP", "X|Y"]]
    gap_names = [["S", "VP"], [], [], ["S", "A", "B"]]
    tags = [["DT", "NN", "NP VBZ"], ["UH"], [], ["A", "B", "C", "", "E"]]
    shares = [[1.0, 0.5], [], [], [1.0, 0.75, 0.25, 1 / 3]]
    heads: list[Any] = [[2, 3, 0], [0], [2, 0, 2, 3, 4]]
    own = [words[0], words[1], words[3]]
    return [
        Treebank.from_constituents(words, spans),
        Treebank.from_constituents(words, spans, labels=names, tags=tags),
        Treebank.from_constituents([words[0]], [spans[0]], labels=[names[0]], support=[shares[0]]),
        Treebank.from_constituents(words, gaps, labels=gap_names, tags=tags),
        Treebank.from_constituents(words, gaps, labels=gap_names),
        Treebank.from_constituents([3, 0, 4], [[(0, 2)], [], []]),
        DependencyTreebank.from_heads(heads),
        DependencyTreebank.from_heads(heads, tokens=own),
        DependencyTreebank.from_heads(heads[:1], tokens=own[:1], relations=[["det", "nsubj", "root"]]),
    ]


def random_input(
    generator: random.Random, corpus: Sequence[bytes], good: Sequence[bytes], longest: int = 2000
) -> bytes:
    """Return a changed file; one time in ten bytes or pieces from nowhere.

    Parameters
    ----------
    generator : random.Random
    corpus : sequence of bytes
        Files that reach different places of the code, most of them refused.
    good : sequence of bytes
        Those of them that are accepted: two thirds of the inputs are made from these.
    longest : int, default 2000
        Bytes.
    """
    kind = generator.random()
    if kind < 0.02:
        return generator.randbytes(generator.randint(0, 60))
    if kind < 0.05:
        return bytes(generator.choices(generator.choice(ALPHABETS), k=generator.randint(0, 60)))
    if kind < 0.1:
        return b"".join(generator.choices(PIECES, k=generator.randint(0, 20)))
    if kind < 0.102:  # deep or long
        piece = generator.choice(PIECES) * generator.choice((300, 2000, 20_000 // 4))
        return (generator.choice(PIECES) + piece + generator.choice(corpus))[:20_000]
    chosen = good if good and generator.random() < 2 / 3 else corpus
    return mutated(generator, generator.choice(chosen), chosen)[:longest]


def mutated(generator: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Return a file with one to five changes, of bytes or of lines."""
    for _ in range(generator.choice((1, 1, 1, 2, 3, 5))):
        change = _change_lines if generator.random() < 0.35 else _change_bytes
        data = change(generator, data, corpus)
    return data


def _change_bytes(generator: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    begin = generator.randrange(len(changed) + 1)
    end = min(len(changed), begin + generator.choice((1, 1, 2, 3, 5, 8, 13, 40)))
    change = generator.randrange(9)
    if change == 0 and begin < len(changed):
        changed[begin] ^= 1 << generator.randrange(8)
    elif change == 1:
        del changed[begin:end]
    elif change == 2:
        changed[begin:begin] = changed[begin:end] * generator.choice((1, 1, 1, 2, 10))
    elif change == 3:
        changed[begin:begin] = generator.choice(PIECES)
    elif change == 4:
        changed[begin:end] = generator.choice(PIECES)
    elif change == 5:
        piece = changed[begin:end]
        del changed[begin:end]
        place = generator.randint(0, len(changed))
        changed[place:place] = piece
    elif change == 6:
        other = generator.choice(corpus)
        changed[begin:] = other[generator.randrange(len(other) + 1) :]
    elif change == 7:
        changed[begin:end] = str(generator.choice((0, 1, 2, 3, 7, -1, 500, 2**31, 2**63, 10**30))).encode()
    else:
        changed[begin:end] = generator.choice(["é", "字", "😀", "x", "Y", "5", ".", "-", "\u0301"]).encode()
    return bytes(changed)


def _change_lines(generator: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    place, change = generator.randrange(len(lines)), generator.randrange(5)
    if change == 0 and len(lines) > 1:
        del lines[place]
    elif change == 1:
        lines.insert(place, generator.choice(lines))
    elif change == 2:
        lines.insert(place, lines.pop(generator.randrange(len(lines))))
    elif change == 3:
        others = generator.choice(corpus).splitlines(keepends=True)
        lines[place : place + generator.randint(0, 1)] = others[: generator.randint(1, 4)]
    else:
        words = lines[place].split(b" ")
        words.insert(generator.randrange(len(words)), words[generator.randrange(len(words))])
        lines[place] = b" ".join(words)
    return b"".join(lines)
