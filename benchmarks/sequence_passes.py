"""Bi-level beam search with K inputs of one model: one wide pass a token against K passes of copies of the model.

    python -m benchmarks.sequence_passes

Prints processor seconds of one thread, the least of several runs, and whether the outputs are the same.
"""

from __future__ import annotations

import argparse
import copy
import time

import torch
from transformers import T5Config, T5ForConditionalGeneration

from treeavg.distill.sequences import BeamOptions, Hypothesis, ModelComponent, ebbs, prompts


def model(width: int, vocabulary: int) -> T5ForConditionalGeneration:
    """Return an encoder-decoder of three layers each with random weights."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=vocabulary, d_model=width, d_kv=32, d_ff=4 * width, num_layers=3, num_heads=width // 32,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def timed(components: list[ModelComponent], options: BeamOptions) -> tuple[float, list[list[Hypothesis]]]:
    """Return processor seconds and outputs of one search."""
    start = time.process_time()
    found = ebbs(components, options)
    return time.process_time() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("sources", 3), ("sentences", 8), ("beam", 5), ("length", 24), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--vocabulary", type=int, default=8000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    print("| width | one wide pass, s | a pass each, s | same outputs |\n|---|---|---|---|")
    options = BeamOptions(eos_ids=[1], max_length=given.length, min_length=given.length, beam=given.beam, pad=0)
    for width in (64, 256, 512):
        shared = model(width, given.vocabulary)
        inputs = []
        for _ in range(given.sources):
            lengths = torch.randint(10, 21, (given.sentences,), generator=generator).tolist()
            rows = [torch.randint(2, given.vocabulary, (n,), generator=generator).tolist() for n in lengths]
            inputs.append(prompts(rows, pad=0, side="right"))
        together = [ModelComponent(shared, one) for one in inputs]
        apart = [ModelComponent(copy.deepcopy(shared), one) for one in inputs]
        seconds, outputs = [[], []], []
        for _ in range(given.runs):
            for kept, components in zip(seconds, (together, apart), strict=True):
                taken, found = timed(components, options)
                kept.append(taken)
                outputs.append([[one.ids for one in sentence] for sentence in found])
        same = all(one == outputs[0] for one in outputs)
        print(f"| {width} | {min(seconds[0]):.2f} | {min(seconds[1]):.2f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
