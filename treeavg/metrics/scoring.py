"""`score`: one call for every kind of tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.alignment import Places, Trees, align
from treeavg.dependency import DependencyTreebank
from treeavg.errors import unknown
from treeavg.metrics.base import Metric, Score, Signature, Statistics
from treeavg.metrics.constituency import (
    CONSTITUENCY_METRICS,
    CONVENTIONS,
    constituency_metrics,
    count_matches,
    sentence_f1,
)
from treeavg.metrics.dependency import DEPENDENCY_METRICS, count_heads, sentence_values
from treeavg.treebank import Treebank
from treeavg.version import __version__

METRICS = (*CONSTITUENCY_METRICS, *DEPENDENCY_METRICS)


def score(
    gold: Trees,
    predicted: Trees,
    *,
    metric: str | None = None,
    convention: str = "standard",
    on_error: str = "raise",
    check_tokens: bool = False,
    places: Places | None = None,
) -> Score:
    """Compare predicted trees with gold trees.

    Parameters
    ----------
    gold, predicted : Treebank or DependencyTreebank
        Over the same sentences in the same order, of one kind. Not modified.
    metric : str, optional
        Constituency: ``sentence-f1`` (the mean over sentences, default), ``corpus-f1`` (pooled counts; default where
        trees are discontinuous), ``precision``, ``recall`` (pooled), ``continuous-f1``, ``discontinuous-f1`` (pooled
        over such constituents only). Dependency: ``uas`` (default), ``uas-words`` (without punctuation),
        ``undirected-uas``, ``las``, ``span-f1`` (spans of words' yields, single words and whole sentences included).
    convention : str, default "standard"
        Constituency: ``standard`` removes the whole sentence from both sets; ``kim2019`` reproduces the literature's
        scorer: it removes one copy only, and leaves out sentences of more than 150 tokens; ``tn-lcfrs`` that of
        unsupervised discontinuous parsing. See docs/evaluation.md.
    on_error : str, default "raise"
        ``skip`` scores a sentence that the prediction lacks as 0, and leaves out one that the gold side lacks; both are
        counted in the signature.
    check_tokens : bool, default False
        Require equal words, not only equal lengths.
    places : Places, optional
        How messages name the two treebanks.

    Returns
    -------
    Score
        Value between 0 and 100, statistics of each sentence, signature.

    Raises
    ------
    AlignmentError
        The treebanks do not hold the same sentences.
    ArgumentError
        An option is unknown, the kinds of trees differ, or there is nothing to score.

    Notes
    -----
    Constituents are compared without labels, as sets of constituents of two tokens or more; sentences of one token are
    not scored; one where neither side has any scores 1, for everybody. Heads are compared word by word; every sentence
    counts.

    References
    ----------
    [Kim2019], evaluation; its treatment of the root is described in docs/evaluation.md.

    Examples
    --------
    >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2)]])
    >>> predicted = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> print(f"{score(gold, predicted).value:.2f}")
    66.67
    """
    if convention not in CONVENTIONS:
        raise unknown("convention", convention, CONVENTIONS)
    options: dict[str, Any] = {"on_error": on_error, "check_tokens": check_tokens, "places": places}
    if isinstance(gold, DependencyTreebank) and isinstance(predicted, DependencyTreebank):
        name = metric or "uas"
        if name not in DEPENDENCY_METRICS:
            raise unknown("metric", name, DEPENDENCY_METRICS)
        statistics = count_heads(gold, predicted, name, **options)
        return _result(DEPENDENCY_METRICS[name], statistics, (), gold, sentence_values(statistics))
    if not (isinstance(gold, Treebank) and isinstance(predicted, Treebank)):
        align([gold, predicted], places=places or Places(("gold", "predicted")))  # raises: the kinds differ
    assert isinstance(gold, Treebank)
    assert isinstance(predicted, Treebank)
    rules = CONVENTIONS[convention]
    metrics = constituency_metrics(rules)
    name = metric or ("sentence-f1" if gold.is_continuous and predicted.is_continuous else "corpus-f1")
    if name not in metrics:
        raise unknown("metric", name, metrics)
    statistics = count_matches(gold, predicted, rules, **options)
    conventions = (
        ("convention", convention),
        ("root", "one-copy-removed" if rules.second_root_counts else "removed"),
        *((("counted", "lists,gold-fan-out<=2"),) if rules.published_lists else ()),
        ("length", f"2-{rules.longest}" if rules.longest else "2+"),
        ("empty", "1"),
    )
    return _result(metrics[name], statistics, conventions, gold, 100 * sentence_f1(statistics, rules.epsilon))


def _result(
    metric: Metric,
    statistics: Statistics,
    conventions: tuple[tuple[str, str], ...],
    gold: Trees,
    per_sentence: NDArray[np.float64],
) -> Score:
    """Put a score together: its value, its signature."""
    signature = Signature(
        (
            ("metric", metric.name),
            *conventions,
            ("sentences", str(len(statistics))),
            *((("missing", str(int(statistics.missing.sum()))),) if statistics.missing.any() else ()),
            *((("gold-missing", str(len(gold.missing))),) if len(gold.missing) else ()),
            ("version", __version__),
        )
    )
    value = float(metric.finish(metric.terms(statistics).sum(axis=0)))
    return Score(value, metric, statistics, signature, per_sentence)
