"""Generate the sample: sentences, gold trees and simulated teachers, always the same ones, byte for byte.

``python data/generate.py`` writes them beside this file, ``--output FOLDER`` elsewhere.
"""

from __future__ import annotations

import argparse
import hashlib
import random
from pathlib import Path

from rules import Node
from sampler import Sampler, bracketed, words
from simulate import simulated, written

SENTENCES = 2000
LONGEST = 40
SEED = 12


def sample(count: int) -> list[Node]:
    """Draw distinct sentences of at most `LONGEST` words.

    Parameters
    ----------
    count : int
        Number of sentences.

    Returns
    -------
    list of Node
        Their trees, in the order in which they were drawn.
    """
    rng = random.Random(SEED)
    sampler = Sampler(rng)
    trees: dict[str, Node] = {}
    while len(trees) < count:
        # An appetite of its own for every sentence spreads the lengths.
        tree = sampler.sentence(appetite=0.4 + 2.8 * rng.random())
        text = " ".join(words(tree))
        if len(words(tree)) <= LONGEST and text not in trees:
            trees[text] = tree
    return list(trees.values())


def contents() -> dict[str, str]:
    """Return the generated files: path within the folder, and text."""
    gold = sample(SENTENCES)
    tokens = [words(tree) for tree in gold]
    files = {
        "text.txt": [" ".join(sentence) for sentence in tokens],
        "gold.txt": [bracketed(tree) for tree in gold],
    }
    for name, trees in simulated(gold).items():
        files[f"teachers/{name}.txt"] = [
            written(tree, [word.lower() for word in sentence]) for tree, sentence in zip(trees, tokens, strict=True)
        ]
    return {path: "".join(f"{line}\n" for line in lines) for path, lines in files.items()}


def write(folder: Path) -> None:
    """Write the sample and its checksums.

    Parameters
    ----------
    folder : Path
        Where to; made if need be.
    """
    sums = []
    for path, text in sorted(contents().items()):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode("ascii"))
        sums.append(f"{hashlib.sha256(text.encode('ascii')).hexdigest()}  {path}\n")
    (folder / "SHA256SUMS").write_bytes("".join(sums).encode("ascii"))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Generate the sample of treeavg, with simulated teachers.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    write(parser.parse_args().output)


if __name__ == "__main__":
    main()
