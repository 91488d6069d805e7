"""Ensemble, then distil: the targets that several teachers decode together, for one student to be trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import nn

from treeavg.distill.sequences.align import prompts, unwrapped
from treeavg.distill.sequences.ensembling.averaging import union
from treeavg.distill.sequences.ensembling.beam import beam_search
from treeavg.distill.sequences.ensembling.components import ModelComponent, vocabulary_size
from treeavg.distill.sequences.ensembling.ebbs import ebbs
from treeavg.distill.sequences.ensembling.mbr import Output, mbr
from treeavg.distill.sequences.ensembling.protocol import (
    BeamOptions,
    Component,
    Forced,
    Hypothesis,
    forced_ids,
    forced_lists,
    shared_size,
)
from treeavg.distill.sequences.ensembling.voting import WEIGHTS, one
from treeavg.errors import ArgumentError, quote, unknown

__all__ = ["METHODS", "Target", "Teacher", "ensemble_targets"]

#: How the teachers' targets come about.
METHODS: dict[str, str] = {
    "ebbs": "bi-level beam search",
    "soft-voting": "word-level voting, a vote counts its probability",
    "zero-one-voting": "word-level voting, a vote counts 1",
    "arithmetic": "beam search on the mean of probabilities; of one teacher: self-distillation, plain SeqKD",
    "geometric": "beam search on the mean of log-probabilities",
    "mbr": "of each teacher's own beam output, the one that agrees most with all",
    "union": "every teacher's own beam output: K targets an input, that share its weight",
}
#: Word-level voting, and what a vote weighs.
VOTING = {"soft-voting": "soft", "zero-one-voting": "zero_one"}
#: Methods whose teachers decode alone, and so may differ in vocabulary where they can decode to text.
ALONE = ("mbr", "union")


@dataclass(frozen=True, eq=False)
class Teacher:
    """A Hugging Face model and its inputs for N examples, as it wants them: tags, prompts, pivots.

    Parameters
    ----------
    model : torch.nn.Module
        Causal or encoder-decoder.
    inputs : sequence of sequence of int, length N
        Token ids, not padded.
    pad : int
        The token to pad with.
    tokens : mapping of str to int, optional
        The tokenizer's ``get_vocab()``, as in `ModelComponent`.
    decode : callable, optional
        Makes text of an output's ids, the end token left out. Where all teachers have it, ``"mbr"`` and ``"union"``
        compare texts, and teachers may have different vocabularies.
    eos_ids : sequence of int, optional
        For teachers of different vocabularies: this one's end tokens, in place of the options'; then its `pad` is also
        in place of theirs.

    Examples
    --------
    >>> Teacher(nn.Identity(), [[5, 6], [7]], pad=0).pad
    0
    """

    model: nn.Module
    inputs: Sequence[Sequence[int]]
    pad: int
    tokens: Mapping[str, int] | None = None
    decode: Callable[[list[int]], str] | None = None
    eos_ids: Sequence[int] | None = None

    def component(self, places: Sequence[int]) -> ModelComponent:
        """Return the model with some of its inputs.

        Parameters
        ----------
        places : sequence of int
            Which.

        Returns
        -------
        ModelComponent

        Examples
        --------
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1))
        >>> Teacher(model, [[5, 6], [7]], pad=0).component([1]).inputs.ids.tolist()
        [[7]]
        """
        side = "right" if unwrapped(self.model).config.is_encoder_decoder else "left"
        rows = [self.inputs[place] for place in places]
        return ModelComponent(self.model, prompts(rows, pad=self.pad, side=side), tokens=self.tokens)


class Target(NamedTuple):
    """What a student is trained on: one output for one input.

    Parameters
    ----------
    input : int
        The input's place.
    ids : tuple of int
        The output, its end token included. With different vocabularies they are its teacher's ids: train on texts.
    weight : float
        Its share of the input's weight.
    score : float
        As the search scored it.
    teacher : int or None
        The place of the teacher whose output it is, the first where several agree; None where all made it together.
    text : str or None
        What that teacher decodes it to.
    """

    input: int
    ids: tuple[int, ...]
    weight: float
    score: float
    teacher: int | None
    text: str | None


def ensemble_targets(
    teachers: Sequence[Teacher],
    options: BeamOptions,
    *,
    method: str = "ebbs",
    vote: str = "mean",
    forced: Forced | None = None,
    batch_size: int = 32,
    score_weights: bool = False,
    utility: Callable[[Output, Output], float] | None = None,
) -> list[Target]:
    """Return the teachers' targets for all their inputs: a training set for SeqKD.

    Parameters
    ----------
    teachers : sequence of Teacher
        K of them, over the same N examples. Pass one for self-distillation.
    options : BeamOptions
        Size of the beam, lengths and end tokens.
    method : str, default "ebbs"
        One of `METHODS`.
    vote : {"mean", "sum", "zero_one", "max"}, default "mean"
        For ``"ebbs"``.
    forced : sequence of int, or N of them, optional
        Tokens that every output, or each one, starts with.
    batch_size : int, default 32
        Examples decoded at once; examples of like length come together. Teachers that share a model are decoded in one
        pass, as that many more rows.
    score_weights : bool, default False
        For ``"mbr"``: weigh each teacher's output as a reference by exp of its score; with ``alpha=1`` the geometric
        mean of its tokens' probabilities. Default: equal weights.
    utility : callable, optional
        For ``"mbr"``: as there.

    Returns
    -------
    list of Target
        In the order of the inputs; one an input, or for ``"union"`` one for each different output. The weights of an
        input sum to 1. Every output ends in an end token.

    Raises
    ------
    ArgumentError
        No teacher, different numbers of inputs, an empty input or tokens that its model does not have, different
        vocabularies where they must be shared, an option of another method, or an input without any possible output.

    References
    ----------
    [Wen et al., AAAI 2025]; ``"union"`` is their UnionKD, ``"arithmetic"`` word averaging.

    Examples
    --------
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1))
    >>> teachers = [Teacher(model, [[5, 6], [7]], pad=0), Teacher(model, [[6], [8]], pad=0)]
    >>> targets = ensemble_targets(teachers, BeamOptions(eos_ids=[0], max_length=4))
    >>> [target.input for target in targets], targets[0].ids[-1]
    ([0, 1], 0)
    """
    _require_options(teachers, method, vote, batch_size, score_weights, utility)
    count = len(teachers[0].inputs)
    _require_inputs(teachers, count)
    each = forced_lists(forced, count, "inputs")
    if each is not None and count:
        forced_ids(each, count, options, shared_size([teacher.component([0]) for teacher in teachers]))
    order = sorted(range(count), key=lambda place: sum(len(teacher.inputs[place]) for teacher in teachers))
    found: list[Target] = []
    for start in range(0, count, batch_size):
        places = order[start : start + batch_size]
        components = [teacher.component(places) for teacher in teachers]
        now = None if each is None else [each[place] for place in places]
        if method in ALONE:
            batch = _alone(teachers, components, places, options, now, method, score_weights, utility)
        else:
            outputs = _together(components, places, options, now, method, vote)
            batch = [Target(row, output.ids, 1.0, output.score, None, None) for row, output in enumerate(outputs)]
        found += [target._replace(input=places[target.input]) for target in batch]
    return sorted(found, key=lambda target: target.input)


def _together(
    components: Sequence[Component],
    places: Sequence[int],
    options: BeamOptions,
    forced: Forced | None,
    method: str,
    vote: str,
) -> list[Hypothesis]:
    """Return the components' common outputs; `places` are those of the batch's inputs."""
    if method in VOTING:
        found = ebbs(components, replace(options, beam=1), vote=WEIGHTS[VOTING[method]], forced=forced)
    elif method == "ebbs":
        found = ebbs(components, options, vote=vote, forced=forced)
    else:
        found = beam_search(components, options, average=method, forced=forced)
    return [one(outputs, place) for place, outputs in zip(places, found, strict=True)]


def _alone(
    teachers: Sequence[Teacher],
    components: Sequence[Component],
    places: Sequence[int],
    options: BeamOptions,
    forced: Forced | None,
    method: str,
    score_weights: bool,
    utility: Callable[[Output, Output], float] | None,
) -> list[Target]:
    """Return the chosen outputs, or all, of teachers that each decode alone."""
    by_text = all(teacher.decode for teacher in teachers)
    if forced is not None or not by_text:
        shared_size(components)
    outputs: list[list[Hypothesis]] = []
    texts: list[list[str | None]] = []
    for teacher, component in zip(teachers, components, strict=True):
        own = options if teacher.eos_ids is None else replace(options, eos_ids=teacher.eos_ids, pad=teacher.pad)
        found = beam_search([component], own, forced=forced)
        outputs.append([one(several, place) for place, several in zip(places, found, strict=True)])
        decode = teacher.decode
        texts.append([None if decode is None else decode(list(output.ids[:-1])) for output in outputs[-1]])
    targets = []
    for row, rivals in enumerate(zip(*outputs, strict=True)):
        words = [column[row] for column in texts]
        bodies = [
            text if by_text and text is not None else out.ids[:-1] for text, out in zip(words, rivals, strict=True)
        ]
        if method == "union":
            shares = {example.target: example.weight for example in union([[body] for body in bodies])}
            chosen = [(k, shares[body]) for k, body in enumerate(bodies) if body not in bodies[:k]]
        else:
            weights = [math.exp(output.score) for output in rivals] if score_weights else None
            chosen = [(mbr(bodies, weights=weights, utility=utility).place, 1.0)]
        targets += [Target(row, rivals[k].ids, weight, rivals[k].score, k, words[k]) for k, weight in chosen]
    return targets


def _require_inputs(teachers: Sequence[Teacher], count: int) -> None:
    """Raise an ArgumentError for teachers' inputs that are not all there, or not for their models."""
    for place, teacher in enumerate(teachers):
        if len(teacher.inputs) != count:
            raise ArgumentError(
                f"teachers[{place}].inputs: expected {count} inputs as in teachers[0], got {len(teacher.inputs)}. Give "
                "every teacher its own form of the same examples, in one order."
            )
        known = vocabulary_size(teacher.model) if count else 0
        for number, ids in enumerate(teacher.inputs):
            if not len(ids):
                raise ArgumentError(
                    f"teachers[{place}].inputs[{number}]: expected one token or more, got none. Begin each input with "
                    "the start token, or end it with the end token."
                )
            if not 0 <= min(ids) <= max(ids) < known:
                raise ArgumentError(
                    f"teachers[{place}].inputs[{number}]: expected ids from 0 to {known - 1}, the model's, got "
                    f"{quote(ids)}. Use the tokenizer that belongs to the model."
                )


def _require_options(
    teachers: Sequence[Teacher],
    method: str,
    vote: str,
    batch_size: int,
    score_weights: bool,
    utility: Callable[[Output, Output], float] | None,
) -> None:
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if isinstance(teachers, Teacher) or not teachers:
        got = "one outside a list" if isinstance(teachers, Teacher) else "none"
        raise ArgumentError(f"teachers: expected one or more, got {got}. Pass a list of Teacher.")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ArgumentError(f"batch_size: expected 1 or more examples, got {quote(batch_size)}. Use 32.")
    for name, given, home in (
        ("vote", vote != "mean", "ebbs"),
        ("score_weights", score_weights, "mbr"),
        ("utility", utility is not None, "mbr"),
    ):
        if given and method != home:
            raise ArgumentError(
                f"{name}: expected its default for the method {method!r}, got another value. It means something for "
                f"{home!r} only."
            )
