"""Generate the sample: sentences and gold trees, always the same ones, byte for byte.

``python data/generate.py`` writes them beside this file, ``--output FOLDER`` elsewhere.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from checksums import write_checksums
from rules import Node
from sampler import Sampler, bracketed, words

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
    files = {
        "text.txt": [" ".join(words(tree)) for tree in gold],
        "gold.txt": [bracketed(tree) for tree in gold],
    }
    return {path: "".join(f"{line}\n" for line in lines) for path, lines in files.items()}


def write(folder: Path) -> None:
    """Write the sample, and the checksums of all that is in the folder.

    Parameters
    ----------
    folder : Path
        Where to; made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in contents().items():
        (folder / path).write_bytes(text.encode("ascii"))
    write_checksums(folder)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Generate the sample of treeavg.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    write(parser.parse_args().output)


if __name__ == "__main__":
    main()
