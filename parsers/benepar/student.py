"""A student of benepar's architecture, trained on averages."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from parsers.benepar.network import assemble, benepar
from parsers.benepar.parser import Benepar
from parsers.benepar.sizes import CHARACTERS, BeneparSizes
from parsers.benepar.task import BeneparTask, Lesson
from parsers.benepar.trees import chains_of, check_continuous, label_numbers
from parsers.nn.pretrained import load_backbone, load_tokenizer
from parsers.training import Progress, TrainingConfig, TrainingResult, seed_for, train
from parsers.training.seeds import kept_random_state, set_seeds
from treeavg.errors import ArgumentError, quote
from treeavg.treebank import Treebank


class BeneparStudent(Benepar):
    """A neural chart parser of benepar's, trained on averaged trees; made by `fit`.

    It parses, saves and loads as any `Benepar`. Trained on trees without labels it gives trees without labels; trained
    on binary ones, binary ones.

    Parameters
    ----------
    model, language, trust
        As of `Benepar`.

    Attributes
    ----------
    result : TrainingResult or None
        How the training went; None for a student that was loaded.

    Examples
    --------
    >>> student = BeneparStudent.fit(average)  # doctest: +SKIP
    >>> student.save("student")  # doctest: +SKIP
    """

    result: TrainingResult | None = None

    @classmethod
    def fit(
        cls,
        average: Treebank,
        *,
        encoder: str | os.PathLike[str] = CHARACTERS,
        sizes: BeneparSizes | None = None,
        training: TrainingConfig | None = None,
        gold: Treebank | None = None,
        held_out: float = 0.05,
        batch_tokens: int = 1024,
        language: str | None = None,
        folder: str | os.PathLike[str] | None = None,
        resume: bool = False,
        device: str | torch.device = "auto",
        progress: Progress | None = None,
    ) -> Self:
        """Train a student.

        Parameters
        ----------
        average : Treebank
            Trees with words, of any shape but continuous. Where they have labels, these are learnt too. Missing
            sentences and those without constituents teach nothing and are passed over.
        encoder : str or os.PathLike, default "chars"
            What reads words: ``chars``, benepar's LSTM over characters, or the folder of a pretrained Hugging Face
            encoder, which is trained along. Nothing is downloaded.
        sizes : BeneparSizes, optional
            How large the network is.
        training : TrainingConfig, optional
            Epochs, learning rates, seed, ...
        gold : Treebank, optional
            Sentences with words and true trees, by which the best epoch is chosen, instead of held-out ones.
        held_out : float, default 0.05
            Share of `average` that is not trained on: the agreement with these trees (mean F1 of sentences; F1 with
            labels where these are learnt) chooses the best epoch. 0 trains on all and looks at the agreement on these.
        batch_tokens : int, default 1024
            How many words (subwords, for a pretrained encoder) make a batch, padding included.
        language : str, optional
            As of `Benepar`.
        folder : str or os.PathLike, optional
            The run's folder, with checkpoints and metrics. Default: none is kept.
        resume : bool, default False
            Continue the run in `folder`.
        device : str or torch.device, default "auto"
            Where to compute.
        progress : Progress, optional
            What is told how it goes; by default a bar, on a terminal.

        Returns
        -------
        BeneparStudent

        Raises
        ------
        ArgumentError
            The trees have no words, are discontinuous or teach nothing; an option is out of range; benepar is not
            installed.
        LimitError
            A sentence is longer than the encoder takes.
        FileError
            The encoder or the run's folder cannot be read or written.

        Notes
        -----
        Benepar's own loss: the margin, by Hamming distance, between the average tree and the best other one
        (Stern, Andreas and Klein, ACL 2017; Kitaev and Klein, ACL 2018), summed over sentences. Characters that occur
        once in the text are read as unknown, so that unknown ones are something the network has seen.

        Examples
        --------
        >>> BeneparStudent.fit(average, training=TrainingConfig(epochs=5))  # doctest: +SKIP
        """
        training = training or TrainingConfig()
        sizes = sizes or BeneparSizes()
        encoder = os.fspath(encoder)
        if resume and folder is None:
            raise ArgumentError("resume: expected the folder of a run to continue, got none. Pass folder=.")
        learnt, judged = _divided(average, gold, held_out, training.seed)
        cpu = torch.device("cpu")
        with kept_random_state(cpu):
            set_seeds(seed_for(training.seed), cpu)
            student = cls._untrained(learnt, encoder, sizes, language)
        lessons = student._lessons(learnt)
        description = {"encoder": encoder, "batch_tokens": batch_tokens, "language": language}
        task = BeneparTask(student, lessons, judged, batch_tokens, training.seed, description)
        with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as run:
            student.result = train(task, training, run, device=device, resume=resume, progress=progress)
        student.network.to(cpu)
        return student

    @classmethod
    def _untrained(cls, average: Treebank, encoder: str, sizes: BeneparSizes, language: str | None) -> Self:
        labelled = average.labels is not None
        trees = [chains_of(view, labelled) for view in average]
        if not any(trees):
            raise ArgumentError(
                "average: expected trees to learn from, got no constituent. Pass sentences of two words or more."
            )
        options = sizes.hyper_parameters(encoder)
        options["force_root_constituent"] = all(
            any(end - start == len(view) for start, end, _ in chains)
            for view, chains in zip(average, trees, strict=True)
            if len(view) > 1
        )
        config = {
            "tag_vocab": {"UNK": 0},
            "label_vocab": label_numbers(trees),
            "char_vocab": _character_numbers(list(average.tokens or ())),
            "hparams": options,
        }
        student = cls.__new__(cls)
        model, tokenizer = (None, None) if encoder == CHARACTERS else _pretrained(encoder)
        binary = not labelled and average.is_binary
        student._use(assemble(config, model, tokenizer), language, labelled=labelled, binary=binary)
        return student

    def _lessons(self, average: Treebank) -> list[Lesson]:
        """Return the sentences that teach something, each checked against the encoder's limit."""
        lessons = []
        for number, view in enumerate(average):
            chains = chains_of(view, self.labelled)
            if chains and view.tokens is not None:
                size = self._reader.size(view.tokens, f"average[{number}]")
                lessons.append(Lesson(number, size, view.tokens, chains))
        return lessons


def _divided(average: Treebank, gold: Treebank | None, held_out: float, seed: int) -> tuple[Treebank, Treebank]:
    """Return what is trained on and what the result is judged by, both checked."""
    for where, bank in (("average", average), ("gold", gold)):
        if bank is None:
            continue
        check_continuous(bank, where)
        if bank.tokens is None:
            raise ArgumentError(
                f"{where}: expected a treebank with words, got one with lengths only. Read a format that has words."
            )
    if isinstance(held_out, bool) or not isinstance(held_out, (int, float)) or not 0 <= held_out < 1:
        raise ArgumentError(f"held_out: expected a share from 0 to below 1, got {quote(held_out)}. Pass 0.05.")
    learnt, judged = average, gold if gold is not None else average
    if gold is None and held_out:
        order = np.random.default_rng(seed_for(seed, 0)).permutation(len(average))
        count = int(np.ceil(held_out * len(average)))
        judged, learnt = average[np.sort(order[:count])], average[np.sort(order[count:])]
    judged = judged[judged.lengths > 1]
    if not len(judged):
        raise ArgumentError(
            f"{'held_out' if gold is None else 'gold'}: expected a sentence of two words or more to judge by, got "
            "none. Give more, or pass held_out=0."
        )
    return learnt, judged


def _pretrained(folder: str) -> tuple[nn.Module, Any]:
    model, (tokenizer, _) = load_backbone(folder), load_tokenizer(folder)
    for name, parameter in model.named_parameters():
        if "pooler" in name:
            parameter.requires_grad_(False)  # benepar does not use it
    return model, tokenizer


def _character_numbers(words: Sequence[str]) -> dict[str, int]:
    """Number the characters of a text that occur at least twice, after the five that benepar needs."""
    reader = benepar().char_lstm.RetokenizerForCharLSTM
    marks = (
        reader.CHAR_UNK,
        reader.CHAR_START_SENTENCE,
        reader.CHAR_START_WORD,
        reader.CHAR_STOP_WORD,
        reader.CHAR_STOP_SENTENCE,
    )
    return {character: number for number, character in enumerate([*marks, *_frequent(words, marks)])}


def _frequent(words: Iterable[str], marks: Iterable[str]) -> list[str]:
    from benepar.ptb_unescape import ptb_unescape

    counts = Counter(character for word in ptb_unescape(words) for character in word)
    return sorted(character for character, count in counts.items() if count > 1 and character not in set(marks))
