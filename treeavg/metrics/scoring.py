"""`score`: one call for every kind of tree."""

from __future__ import annotations

from treeavg.alignment import Places, Trees
from treeavg.metrics.base import Score
from treeavg.metrics.constituency import CONSTITUENCY_METRICS
from treeavg.metrics.dependency import DEPENDENCY_METRICS
from treeavg.metrics.tally import Tally

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
    >>> from treeavg import Treebank
    >>> gold = Treebank.from_constituents([4], [[(0, 4), (0, 2)]])
    >>> predicted = Treebank.from_constituents([4], [[(0, 4), (0, 2), (2, 4)]])
    >>> print(f"{score(gold, predicted).value:.2f}")
    66.67
    """
    tally = Tally(
        [metric] if metric is not None else (), convention, on_error=on_error, check_tokens=check_tokens, places=places,
        keep=True,
    )  # fmt: skip
    tally.add(gold, predicted)
    return tally.score()
