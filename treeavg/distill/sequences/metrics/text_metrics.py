"""Scores of generated text against references: BLEU, chrF and TER by sacrebleu, iBLEU, BLEU of one sentence, plug-ins.

All are percentages, not rounded, with sacrebleu's signature and ours. Texts are given as they are, tokens as lists.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Hashable, Sequence
from functools import cache, partial
from typing import Any

from nltk.tokenize import wordpunct_tokenize

from treeavg.distill.sequences.metrics.rouge import rouge
from treeavg.distill.sequences.metrics.scores import References, TextScore, grouped
from treeavg.errors import ArgumentError, quote, unknown

__all__ = [
    "CONVENTIONS",
    "METRICS",
    "SMOOTHINGS",
    "References",
    "TextScore",
    "bleu",
    "chrf",
    "ibleu",
    "sentence_bleu",
    "ter",
    "text_score",
]

#: How texts become tokens for BLEU, and what is done with counts of zero.
CONVENTIONS: dict[str, str] = {
    "sacrebleu": "sacrebleu's defaults, or the tokenizer named: translation",
    "word-punct": "lower case, runs of letters and runs of signs, no smoothing: dialogue, paraphrase and data to text",
}
SMOOTHINGS = ("exp", "add-k", "floor", "none")


def bleu(
    outputs: Sequence[str],
    references: References,
    *,
    order: int = 4,
    convention: str = "sacrebleu",
    tokenize: str | None = None,
) -> TextScore:
    """Return BLEU of a corpus: n-grams of all orders up to `order`, weighed alike [Papineni et al. 2002].

    Parameters
    ----------
    outputs : sequence of str, length N
        What the model wrote.
    references : sequence of str or of sequences of str, length N
        One or more for each output.
    order : int, default 4
        Longest n-grams.
    convention : {"sacrebleu", "word-punct"}, default "sacrebleu"
        See `CONVENTIONS`.
    tokenize : str, optional
        One of sacrebleu's tokenizers, such as ``"zh"``; only with its convention. Default: sacrebleu's.

    Returns
    -------
    TextScore

    Raises
    ------
    ArgumentError
        No outputs, another number of references, an unknown option, or no sacrebleu.

    Examples
    --------
    >>> round(bleu(["a cat sat ."], ["A cat sat here ."], order=2, convention="word-punct").value, 2)
    63.59
    """
    _require_order(order)
    if convention not in CONVENTIONS:
        raise unknown("convention", convention, CONVENTIONS)
    if convention == "word-punct" and tokenize is not None:
        raise ArgumentError(
            f"tokenize: expected None for the convention 'word-punct', got {quote(tokenize)}. "
            "Leave it out, or use convention='sacrebleu'."
        )
    if convention == "sacrebleu":
        return _corpus(_bleu(order, tokenize, "exp", False), "bleu", outputs, references, f"order:{order}")
    several = [[_word_punct(one) for one in group] for group in grouped(outputs, references)]
    metric = _bleu(order, "none", "none", False)
    words = [_word_punct(output) for output in outputs]
    return _corpus(metric, "bleu", words, several, f"order:{order}|words:lower-word-punct")


def chrf(outputs: Sequence[str], references: References, *, word_order: int = 0) -> TextScore:
    """Return chrF of a corpus: F-score of character n-grams [Popović 2015].

    Parameters
    ----------
    outputs : sequence of str, length N
        What the model wrote.
    references : sequence of str or of sequences of str, length N
        One or more for each output.
    word_order : int, default 0
        Longest n-grams of words that count as well; 2 gives chrF++.

    Returns
    -------
    TextScore

    Raises
    ------
    ArgumentError
        As for `bleu`.

    Examples
    --------
    >>> chrf(["a cat"], ["a cat"]).value
    100.0
    """
    if not isinstance(word_order, int) or isinstance(word_order, bool) or word_order < 0:
        raise ArgumentError(f"word_order: expected a whole number from 0, got {quote(word_order)}. Use 2 for chrF++.")
    return _corpus(_sacrebleu().CHRF(word_order=word_order), "chrf", outputs, references)


def ter(outputs: Sequence[str], references: References) -> TextScore:
    """Return the translation edit rate of a corpus, in percent; lower is better [Snover et al. 2006].

    Parameters
    ----------
    outputs : sequence of str, length N
        What the model wrote.
    references : sequence of str or of sequences of str, length N
        One or more for each output.

    Returns
    -------
    TextScore

    Raises
    ------
    ArgumentError
        As for `bleu`.

    Examples
    --------
    >>> ter(["a cat sat here"], ["a cat sat there"]).value
    25.0
    """
    return _corpus(_sacrebleu().TER(), "ter", outputs, references)


def ibleu(
    outputs: Sequence[str],
    references: References,
    sources: Sequence[str],
    *,
    alpha: float = 0.1,
    order: int = 4,
    convention: str = "word-punct",
) -> TextScore:
    """Return iBLEU of paraphrases: BLEU less a share for what was copied [Sun and Zhou 2012].

    ``(1 - alpha) BLEU(outputs, references) - alpha BLEU(outputs, sources)``: negative for copies far from the
    references.

    Parameters
    ----------
    outputs : sequence of str, length N
        What the model wrote.
    references : sequence of str or of sequences of str, length N
        One or more for each output.
    sources : sequence of str, length N
        What was to be said in other words.
    alpha : float, default 0.1
        Weight of the copies, from 0 to 1.
    order : int, default 4
        Longest n-grams.
    convention : {"sacrebleu", "word-punct"}, default "word-punct"
        See `CONVENTIONS`.

    Returns
    -------
    TextScore

    Raises
    ------
    ArgumentError
        As for `bleu`, or alpha out of range.

    Examples
    --------
    >>> round(ibleu(["how are you now"], ["how are you now"], ["how are you now"]).value, 6)
    80.0
    """
    if not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
        raise ArgumentError(f"alpha: expected a number from 0 to 1, got {quote(alpha)}. Use 0.1.")
    if isinstance(sources, str) or len(sources) != len(outputs) or not all(isinstance(one, str) for one in sources):
        raise ArgumentError(
            f"sources: expected {len(outputs)} texts, one for each output, got {quote(sources)}. Give the inputs."
        )
    against = bleu(outputs, references, order=order, convention=convention)
    copied = bleu(outputs, sources, order=order, convention=convention)
    value = (1 - alpha) * against.value - alpha * copied.value
    return TextScore(value, f"metric:ibleu|alpha:{alpha:g}|{against.signature}")


def sentence_bleu(
    output: str | Sequence[Hashable],
    reference: str | Sequence[Hashable],
    *,
    order: int = 4,
    smoothing: str = "exp",
) -> float:
    """Return BLEU of one output, smoothed [Chen and Cherry 2014]: a utility for minimum Bayes risk.

    Parameters
    ----------
    output : str or sequence of hashable
        What the model wrote. A text is split at white space; a list is taken as tokens.
    reference : str or sequence of hashable
        What it is compared with, likewise.
    order : int, default 4
        Longest n-grams; orders longer than the output are left out.
    smoothing : {"exp", "add-k", "floor", "none"}, default "exp"
        What stands for counts of zero, in sacrebleu's words: halved again for each order that has none, one added to
        all orders above one, a tenth, or nothing.

    Returns
    -------
    float
        A percentage. An output without tokens, or without a token of the reference, has 0; two without
        tokens agree and have 100.

    Raises
    ------
    ArgumentError
        An unknown option, or no sacrebleu.

    Examples
    --------
    >>> round(sentence_bleu([3, 5, 8, 2], [3, 5, 9, 2]), 2)
    35.36
    >>> sentence_bleu("a b", "a b")
    100.0
    """
    _require_order(order)
    if smoothing not in SMOOTHINGS:
        raise unknown("smoothing", smoothing, SMOOTHINGS)
    pair = [one.split() if isinstance(one, str) else list(one) for one in (output, reference)]
    if not pair[0] and not pair[1]:
        return 100.0
    # Numbers stand for tokens: a token with a space in it, or two kinds of token, would confuse a text.
    numbers: dict[Hashable, int] = {}
    left, right = (" ".join(str(numbers.setdefault(token, len(numbers))) for token in one) for one in pair)
    value = float(_bleu(order, "none", smoothing, True).sentence_score(left, [right]).score)
    return min(value, 100.0)  # sacrebleu's exp(mean log) exceeds it by rounding


#: Scores that take only outputs and references.
METRICS: dict[str, Callable[[Sequence[str], References], TextScore]] = {
    "bleu": bleu,
    "chrf": chrf,
    "ter": ter,
    "rouge-1": partial(rouge, kind="1"),
    "rouge-2": partial(rouge, kind="2"),
    "rouge-l": partial(rouge, kind="l"),
}


def text_score(
    metric: str | Callable[[Sequence[str], References], float | TextScore],
    outputs: Sequence[str],
    references: References,
) -> TextScore:
    """Return a score by its name, or from a function of your own: METEOR, BERTScore, any metric that is not here.

    Parameters
    ----------
    metric : str or callable
        One of `METRICS`, or a function of outputs and references, as they are given here, that returns a number for all
        of them; of one output and one reference: `per_output`.
    outputs : sequence of str, length N
        What the model wrote.
    references : sequence of str or of sequences of str, length N
        One or more for each output.

    Returns
    -------
    TextScore
        The signature of a function is its name; one that knows better returns a `TextScore`.

    Raises
    ------
    ArgumentError
        An unknown name, outputs and references that do not fit, or a function that returns no number.

    Examples
    --------
    >>> def exact(outputs, references):
    ...     return 100 * sum(map(str.__eq__, outputs, references)) / len(outputs)
    >>> print(text_score(exact, ["a", "b"], ["a", "c"]))
    50.00 metric:exact
    """
    if not callable(metric):
        if not isinstance(metric, str) or metric not in METRICS:
            raise unknown("metric", metric, METRICS)
        return METRICS[metric](outputs, references)
    grouped(outputs, references)
    name = getattr(metric, "__name__", type(metric).__name__)
    found = metric(outputs, references)
    try:
        score = found if isinstance(found, TextScore) else TextScore(float(found), f"metric:{name}")
    except (TypeError, ValueError):
        raise ArgumentError(
            f"metric: expected {name} to return a number, got {quote(found)}. Return its mean over the outputs."
        ) from None
    if math.isnan(score.value):
        raise ArgumentError(f"metric: expected {name} to return a number, got nan. Give 0 to what cannot be scored.")
    return score


def _word_punct(text: str) -> str:
    return " ".join(wordpunct_tokenize(text.lower()))


def _sacrebleu() -> Any:
    """Return the module that has the metrics."""
    try:
        return importlib.import_module("sacrebleu.metrics")
    except ImportError as error:
        raise ArgumentError(
            f"text metrics: expected the package sacrebleu, got: {error}. "
            "Install it: pip install 'treeavg[transformers]'."
        ) from None


@cache
def _bleu(order: int, tokenize: str | None, smoothing: str, effective: bool) -> Any:
    """Return sacrebleu's metric; `effective` leaves out orders that are longer than the text."""
    sacrebleu = _sacrebleu()
    if tokenize is not None and tokenize not in sacrebleu.BLEU.TOKENIZERS:
        raise unknown("tokenize", tokenize, sorted(sacrebleu.BLEU.TOKENIZERS))
    options = {"smooth_method": smoothing, "max_ngram_order": order, "effective_order": effective, "force": True}
    try:
        return sacrebleu.BLEU(tokenize=tokenize, **options)
    except (ImportError, RuntimeError, OSError) as error:  # some want a package or a download of their own
        reason = " ".join(str(error).split())[:100]
        raise ArgumentError(
            f"tokenize: expected a tokenizer that is installed, got {tokenize!r}: {reason}. Install what it asks for, "
            "or use '13a'."
        ) from error


def _corpus(metric: Any, name: str, outputs: Sequence[str], references: References, more: str = "") -> TextScore:
    """Return the score of one of sacrebleu's metrics, which wants the first references, then the second ones, ..."""
    several = grouped(outputs, references)
    deepest = max(map(len, several))
    columns = [[group[place] if place < len(group) else None for group in several] for place in range(deepest)]
    value = float(metric.corpus_score(list(outputs), columns).score)
    parts = [f"metric:{name}", *([more] if more else []), str(metric.get_signature())]
    return TextScore(value, "|".join(parts))


def _require_order(order: int) -> None:
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        raise ArgumentError(f"order: expected a whole number from 1, got {quote(order)}. Use 4.")
