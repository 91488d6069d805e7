"""Small sentences, trees and encoders for the tests of parsers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from parsers.nn.encoders import EncoderConfig
from treeavg.treebank import Treebank

ENCODER = EncoderConfig(size=16, layers=1, words=12, characters=8, dropout=0.0, word_dropout=0.0)


def sentences(count: int, seed: int = 0, longest: int = 7) -> list[list[str]]:
    """Return noun phrases, verbs and prepositional phrases in a row."""
    generator = np.random.default_rng(seed)
    nouns, verbs = ["dog", "cat", "bird", "horse"], ["sees", "chases", "finds"]
    out = []
    for _ in range(count):
        words = ["the", str(generator.choice(nouns)), str(generator.choice(verbs))]
        while len(words) + 2 <= longest and generator.random() < 0.7:
            words += ["the", str(generator.choice(nouns))]
        out.append(words)
    return out


def right_trees(words: list[list[str]]) -> Treebank:
    """Return trees in which each 'the' stands with its noun, and else all is right-branching."""
    trees = []
    for sentence in words:
        n = len(sentence)
        pairs = [(index, index + 2) for index, word in enumerate(sentence[:-1]) if word == "the"]
        heads = [index for index in range(n) if index == 0 or sentence[index - 1] != "the"]
        trees.append(sorted({(index, n) for index in heads if n - index > 1} | set(pairs), key=lambda s: (s[0], -s[1])))
    return Treebank.from_constituents(words, trees)


def left_trees(words: list[list[str]]) -> Treebank:
    """Return left-branching trees."""
    return Treebank.from_constituents(words, [[(0, end) for end in range(len(own), 1, -1)] for own in words])


def bert(folder: Path, *, limit: int = 40, layers: int = 1) -> str:
    """Write a tiny BERT with random weights, and return its folder."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "dog",
        *letters,
        *("##" + letter for letter in letters),
    ]
    model = WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    marks = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    }
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=limit,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return str(folder)
