"""Changes of trees: binarise, branch, delete tokens, collapse unary chains, simplify labels."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from treeavg.errors import ArgumentError, unknown
from treeavg.kernels import structure
from treeavg.strings import StringColumn, offsets_of
from treeavg.treebank import Treebank
from treeavg.view import NO_LABEL

SIDES = ("right", "left")

#: Tags of words in the Penn Treebank; all others are punctuation, brackets, currency signs or empty elements.
WORD_TAGS = frozenset(
    "CC CD DT EX FW IN JJ JJR JJS LS MD NN NNS NNP NNPS PDT POS PRP PRP$ RB RBR RBS RP SYM TO UH VB VBD VBG VBN VBP "
    "VBZ WDT WP WP$ WRB".split()
)


def binarize(treebank: Treebank, side: str = "right") -> Treebank:
    """Return the treebank with every tree binary.

    Parameters
    ----------
    treebank : Treebank
        Continuous. Not modified.
    side : str, default "right"
        Children beyond two go under new nodes on this side: ``right`` makes (a (b c)) of (a b c), ``left`` ((a b) c).

    Returns
    -------
    Treebank
        n - 1 constituents a sentence. Of a unary chain the lowest label survives; new nodes have the label ``X``.

    Raises
    ------
    ArgumentError
        `side` is unknown, or a tree is discontinuous.

    Examples
    --------
    >>> flat = Treebank.from_constituents([3], [[(0, 3)]])
    >>> binarize(flat)[0].spans, binarize(flat, side="left")[0].spans
    ([(0, 3), (1, 3)], [(0, 3), (0, 2)])
    """
    if side not in SIDES:
        raise unknown("side", side, SIDES)
    _require_continuous(treebank)
    lengths = treebank.lengths
    longest = int(lengths.max(initial=0))
    offsets = offsets_of(np.maximum(lengths.astype(np.int64) - 1, 0))
    total = int(offsets[-1])
    starts, ends = np.empty(total, np.int32), np.empty(total, np.int32)
    sources = np.empty(total, np.int64)
    structure.binarize_rows(
        lengths,
        treebank.offsets,
        treebank.starts,
        treebank.ends,
        side == "left",
        offsets,
        starts,
        ends,
        sources,
        np.empty(treebank.constituent_count, np.int64),
        np.empty(3 * longest + 6, np.int64),
    )
    labels = treebank.labels
    if labels is not None:
        both = StringColumn.concatenate([labels, StringColumn.of([NO_LABEL])])
        labels = both.take(np.where(sources < 0, len(labels), sources))
    tags = _map_strings(treebank.tags, lambda tag: tag.split(" ")[-1])
    return Treebank(lengths, offsets, starts, ends, labels=labels, tokens=treebank.tokens, tags=tags)


def branching(treebank: Treebank, side: str = "right") -> Treebank:
    """Return, over the same sentences, the trees that branch to one side only.

    Parameters
    ----------
    treebank : Treebank
        Gives lengths and words.
    side : str, default "right"
        ``right`` for (a (b c)), ``left`` for ((a b) c).

    Returns
    -------
    Treebank
        Without labels and tags.

    Raises
    ------
    ArgumentError
        `side` is unknown.

    Examples
    --------
    >>> branching(Treebank.from_constituents([4], [[]]))[0].spans
    [(0, 4), (1, 4), (2, 4)]
    """
    flat = Treebank(
        treebank.lengths,
        np.zeros(len(treebank) + 1, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.int32),
        tokens=treebank.tokens,
    )
    return binarize(flat, side)


def with_roots(treebank: Treebank) -> Treebank:
    """Return the treebank with the whole sentence listed as a constituent of every tree.

    Parameters
    ----------
    treebank : Treebank
        Of any shape. Not modified.

    Returns
    -------
    Treebank
        Where it was missing it is labelled ``X`` (if there are labels) and has the support 1 (if there is support).

    Examples
    --------
    >>> with_roots(Treebank.from_constituents([3], [[(0, 2)]]))[0].spans
    [(0, 3), (0, 2)]
    """
    long = np.flatnonzero(treebank.lengths >= 2)
    lists = np.diff(treebank.offsets)[long] > 0
    firsts = treebank.offsets[long][lists]
    blocks = firsts if treebank.block_offsets is None else treebank.block_offsets[firsts]
    rooted = np.zeros(len(long), bool)
    rooted[lists] = (treebank.starts[blocks] == 0) & (treebank.ends[blocks] == treebank.lengths[long][lists])
    lacking = long[~rooted]
    if not len(lacking):
        return treebank
    places = treebank.offsets[lacking]
    block_places = places if treebank.block_offsets is None else treebank.block_offsets[places]
    counts = np.diff(treebank.offsets)
    counts[lacking] += 1
    labels = treebank.labels
    if labels is not None:
        both = StringColumn.concatenate([labels, StringColumn.of([NO_LABEL])])
        labels = both.take(np.insert(np.arange(len(labels), dtype=np.int64), places, len(labels)))
    return Treebank(
        treebank.lengths,
        offsets_of(counts),
        np.insert(treebank.starts, block_places, 0).astype(np.int32),
        np.insert(treebank.ends, block_places, treebank.lengths[lacking]).astype(np.int32),
        block_offsets=None if treebank.block_offsets is None else offsets_of(np.insert(treebank.fan_outs, places, 1)),
        labels=labels,
        tokens=treebank.tokens,
        tags=treebank.tags,
        support=np.insert(treebank.support, places, 1.0) if treebank.support is not None else None,
    )


def collapse_unaries(treebank: Treebank) -> Treebank:
    """Return the treebank with one constituent of each span.

    Parameters
    ----------
    treebank : Treebank
        Continuous. Not modified.

    Returns
    -------
    Treebank
        Of a unary chain the lowest label survives, over a single token too.

    Raises
    ------
    ArgumentError
        A tree is discontinuous.

    Examples
    --------
    >>> bank = Treebank.from_constituents([2], [[(0, 2), (0, 2)]], labels=[["S", "VP"]])
    >>> collapse_unaries(bank)[0].labels
    ['VP']
    """
    _require_continuous(treebank)
    repeated = np.zeros(treebank.constituent_count, bool)
    if len(repeated):
        same = (treebank.starts[1:] == treebank.starts[:-1]) & (treebank.ends[1:] == treebank.ends[:-1])
        repeated[:-1] = same
        bounds = treebank.offsets[1:-1]
        repeated[bounds[(bounds > 0) & (bounds < len(repeated))] - 1] = False  # the next row is another sentence's
    kept = _keep_rows(treebank, ~repeated)
    return kept.replace(tags=_map_strings(kept.tags, lambda tag: tag.split(" ")[-1]))


def delete_tokens(treebank: Treebank, kept: NDArray[np.bool_]) -> Treebank:
    """Return the treebank without some tokens, and without the constituents that lose all of theirs.

    Parameters
    ----------
    treebank : Treebank
        Continuous. Not modified.
    kept : ndarray of bool, shape (T,)
        False for the tokens that go.

    Returns
    -------
    Treebank
        A constituent left with one token becomes part of its tag. A sentence left with none is missing. Unary chains
        that arise stay; see `collapse_unaries`.

    Raises
    ------
    ArgumentError
        The mask's length is wrong, or a tree is discontinuous.

    Examples
    --------
    >>> bank = Treebank.from_constituents([["the", "dog", "."]], [[(0, 3), (0, 2)]])
    >>> delete_tokens(bank, np.array([True, True, False]))[0].spans
    [(0, 2), (0, 2)]
    """
    _require_continuous(treebank)
    mask = np.ascontiguousarray(kept, dtype=bool)
    if mask.shape != (treebank.token_count,):
        raise ArgumentError(
            f"kept: expected {treebank.token_count} values, one per token, got {mask.shape}. Mask every token."
        )
    rows = treebank.constituent_count
    starts, ends, sizes = np.empty(rows, np.int32), np.empty(rows, np.int32), np.empty(rows, np.int32)
    longest = int(treebank.lengths.max(initial=0))
    structure.delete_tokens(
        treebank.lengths, treebank.offsets, treebank.starts, treebank.ends, mask,
        np.empty(longest + 1, np.int32), starts, ends, sizes,
    )  # fmt: skip
    sentence_of_token = np.repeat(np.arange(len(treebank)), treebank.lengths)
    lengths = np.bincount(sentence_of_token[mask], minlength=len(treebank)).astype(np.int32)
    tags = treebank.tags
    if treebank.labels is not None and (sizes == 1).any():
        tags = _joined_tags(treebank, lengths, starts, sizes, mask)
    elif tags is not None:
        tags = tags.take(np.flatnonzero(mask))
    trimmed = Treebank(
        lengths,
        treebank.offsets,
        starts,
        ends,
        labels=treebank.labels,
        tokens=treebank.tokens.take(np.flatnonzero(mask)) if treebank.tokens is not None else None,
        tags=tags,
    )
    return _keep_rows(trimmed, sizes >= 2)


def strip_empty(treebank: Treebank) -> Treebank:
    """Return the treebank without empty elements, the tokens tagged ``-NONE-``.

    Parameters
    ----------
    treebank : Treebank
        With tags, continuous.

    Returns
    -------
    Treebank

    Raises
    ------
    ArgumentError
        The treebank has no tags, or a tree is discontinuous.

    Examples
    --------
    >>> bank = Treebank.from_constituents([["*", "go"]], [[(0, 2)]], tags=[["NP -NONE-", "VB"]])
    >>> strip_empty(bank)[0].tokens
    ['go']
    """
    return delete_tokens(treebank, _mask_by_tag(treebank, lambda tag: tag != "-NONE-"))


def strip_punctuation(treebank: Treebank) -> Treebank:
    """Return the treebank without tokens that are not words by their Penn Treebank tag.

    Parameters
    ----------
    treebank : Treebank
        With the tags of the Penn Treebank, continuous.

    Returns
    -------
    Treebank
        Only tokens with one of the 36 `WORD_TAGS` are left: punctuation, quotes, brackets, empty elements and the
        currency signs (tags ``$`` and ``#``) go, as in most work on unsupervised parsing.

    Raises
    ------
    ArgumentError
        The treebank has no tags, or a tree is discontinuous.

    Examples
    --------
    >>> bank = Treebank.from_constituents([["go", "!"]], [[(0, 2)]], tags=[["VB", "."]])
    >>> strip_punctuation(bank)[0].tokens
    ['go']
    """
    return delete_tokens(treebank, _mask_by_tag(treebank, WORD_TAGS.__contains__))


def simple_label(label: str) -> str:
    """Return a label without function tags and without a leading ``WH``.

    Cut at the first ``-`` or ``=`` that is not its first character, as in the published evaluation of label recall.

    Parameters
    ----------
    label : str
        For example ``NP-SBJ-1`` or ``WHNP``.

    Returns
    -------
    str

    Examples
    --------
    >>> simple_label("NP-SBJ=2"), simple_label("WHNP-1"), simple_label("-NONE-")
    ('NP', 'NP', '-NONE-')
    """
    cut = label[:1] + re.split("[-=]", label[1:], maxsplit=1)[0] if not label.startswith("-") else label
    return cut.removeprefix("WH") or cut


def _mask_by_tag(treebank: Treebank, keep: Callable[[str], bool]) -> NDArray[np.bool_]:
    if treebank.tags is None:
        raise ArgumentError(
            "treebank: expected tags, got none. Read the trees from a file with a tag for each token: (NN dog)."
        )
    return np.fromiter((keep(tag.rsplit(" ", 1)[-1]) for tag in treebank.tags), bool, treebank.token_count)


def _keep_rows(treebank: Treebank, kept: NDArray[np.bool_]) -> Treebank:
    """Return the treebank with some of its constituents only."""
    if kept.all():
        return treebank
    running = offsets_of(kept)
    return Treebank(
        treebank.lengths,
        running[treebank.offsets],
        treebank.starts[kept],
        treebank.ends[kept],
        labels=treebank.labels.take(np.flatnonzero(kept)) if treebank.labels is not None else None,
        tokens=treebank.tokens,
        tags=treebank.tags,
    )


def _joined_tags(
    treebank: Treebank,
    lengths: NDArray[np.int32],
    starts: NDArray[np.int32],
    sizes: NDArray[np.int32],
    kept: NDArray[np.bool_],
) -> StringColumn:
    """Put the labels of constituents that shrank to one token before that token's tag."""
    labels = treebank.labels
    assert labels is not None
    count = int(kept.sum())
    tags = list(treebank.tags.take(np.flatnonzero(kept))) if treebank.tags is not None else [""] * count
    first_tokens = offsets_of(lengths)
    rows = np.flatnonzero(sizes == 1)
    sentences = np.searchsorted(treebank.offsets, rows, side="right") - 1
    for row, sentence in zip(rows[::-1].tolist(), sentences[::-1].tolist(), strict=True):  # innermost first
        place = int(first_tokens[sentence] + starts[row])
        tags[place] = f"{labels[row]} {tags[place]}" if tags[place] else labels[row]
    return StringColumn.of(tags)


def _map_strings(column: StringColumn | None, change: Callable[[str], str]) -> StringColumn | None:
    """Return a column with each string changed; strings without a space are known to stay."""
    if column is None or not (column.data == 32).any():
        return column
    return StringColumn.of(map(change, column))


def _require_continuous(treebank: Treebank) -> None:
    sentence = treebank.first_discontinuous
    if sentence is not None:
        raise ArgumentError(
            f"treebank[{sentence}]: expected continuous constituents, got a discontinuous one. "
            "This transformation is defined for continuous trees only."
        )
