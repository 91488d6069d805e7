"""Which tokens of two tokenizers cover the same bytes of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from treeavg.errors import ArgumentError, quote

__all__ = ["Group", "align_tokens", "byte_ends"]

_REPLACEMENT = "�"  # what a decoder writes for a character of which some bytes are missing
_LEFT_OUT = -1


class Group(NamedTuple):
    """Tokens of a teacher and of a student that cover the same bytes of a text.

    Parameters
    ----------
    teacher : tuple of int
        Places in the teacher's sequence, in order, at least one.
    student : tuple of int
        Places in the student's, likewise.
    """

    teacher: tuple[int, ...]
    student: tuple[int, ...]


def byte_ends(tokenizer: Any, ids: Sequence[int]) -> tuple[str, list[int]]:
    """Return the text of tokens, and at which byte of it (UTF-8) each token ends.

    Parameters
    ----------
    tokenizer : object
        With ``decode(ids, skip_special_tokens=True)``, as those of the packages transformers and tokenizers. The ids
        themselves are decoded: a sampled sequence need not be the one that encoding its text would give.
    ids : sequence of int
        Tokens of a completion, without padding.

    Returns
    -------
    text : str
        Without special tokens.
    ends : list of int
        Of each token; tokens that share a character all end with it; -1 for tokens without any text, such as the end
        token.

    Raises
    ------
    ArgumentError
        The decoder's text of the tokens is not that of one after the other.

    Examples
    --------
    >>> from tokenizers import Tokenizer, decoders, models
    >>> tokenizer = Tokenizer(models.BPE({"Ã": 0, "©": 1, "a": 2}, []))
    >>> tokenizer.decoder = decoders.ByteLevel()
    >>> byte_ends(tokenizer, [2, 0, 1, 2])
    ('aéa', [1, 3, 3, 4])
    """
    tokens = [int(number) for number in ids]
    whole = _decode(tokenizer, tokens)
    for windowed in (True, False):  # the second is quadratic, for decoders that look further back
        text, ends = _ends(tokenizer, tokens, windowed)
        if text == whole:
            return text, ends
    raise ArgumentError(
        f"tokenizer: expected a decoder that appends each token's text, got {quote(text)} token by token and "
        f"{quote(whole)} at once. Such tokenizers cannot be aligned: train on the teacher's texts (SeqKD)."
    )


def align_tokens(
    teacher_tokenizer: Any, teacher_ids: Sequence[int], student_tokenizer: Any, student_ids: Sequence[int]
) -> list[Group]:
    """Return groups of tokens that cover the same bytes of a text, the smallest there are.

    Parameters
    ----------
    teacher_tokenizer : object
        As for `byte_ends`.
    teacher_ids : sequence of int
        The teacher's tokens of a completion, without padding: those of its text, encoded without special tokens.
    student_tokenizer : object
        As for `byte_ends`.
    student_ids : sequence of int
        The student's tokens of the same completion.

    Returns
    -------
    list of Group
        In order; together they cover the text. Tokens without text, such as the end token, are in none.

    Raises
    ------
    ArgumentError
        The tokens are not of the same text.

    Notes
    -----
    A group ends wherever both sequences have a token that ends at the same byte [GOLD, section G.4 of the
    specification]. It costs a decoding of two or three tokens for each token.

    Examples
    --------
    >>> from tokenizers import Tokenizer, decoders, models
    >>> teacher = Tokenizer(models.WordLevel({"ab": 0, "c": 1}, unk_token="c"))
    >>> student = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="c"))
    >>> teacher.decoder = student.decoder = decoders.Fuse()
    >>> align_tokens(teacher, [0, 1], student, [0, 1, 2])
    [Group(teacher=(0,), student=(0, 1)), Group(teacher=(1,), student=(2,))]
    """
    teacher_text, teacher_ends = byte_ends(teacher_tokenizer, teacher_ids)
    student_text, student_ends = byte_ends(student_tokenizer, student_ids)
    if teacher_text != student_text:
        place = next(
            (i for i, (a, b) in enumerate(zip(teacher_text, student_text, strict=False)) if a != b),
            min(len(teacher_text), len(student_text)),
        )
        around = slice(max(place - 10, 0), place + 10)
        raise ArgumentError(
            f"teacher_ids: expected tokens of the student's text, which has {quote(student_text[around])} around "
            f"character {place}, got {quote(teacher_text[around])}. Encode the student's text with the teacher's "
            "tokenizer; one that changes texts (lower case, spaces) cannot be aligned."
        )
    groups = []
    common = sorted(set(teacher_ends) & set(student_ends) - {_LEFT_OUT})
    sides = [[(end, place) for place, end in enumerate(ends) if end >= 0] for ends in (teacher_ends, student_ends)]
    for boundary in common:
        taken = [tuple(place for end, place in side if end <= boundary) for side in sides]
        groups.append(Group(*taken))
        sides = [side[len(places) :] for side, places in zip(sides, taken, strict=True)]
    return groups


def _decode(tokenizer: Any, ids: list[int]) -> str:
    if hasattr(tokenizer, "backend_tokenizer") or hasattr(tokenizer, "convert_ids_to_tokens"):
        # transformers may "clean up" spaces before punctuation, which would move bytes.
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def _ends(tokenizer: Any, tokens: list[int], windowed: bool) -> tuple[str, list[int]]:
    """Return what `byte_ends` does, decoding after each token a few tokens or all so far."""
    ends = [_LEFT_OUT] * len(tokens)
    text, before, now = "", "", ""  # before and now: decoded from the anchor to the last settled and the last token
    anchor = settled = 0
    pending: list[int] = []
    for place, token in enumerate(tokens):
        earlier, now = now, _decode(tokenizer, tokens[anchor : place + 1])
        if now == earlier and not _decode(tokenizer, [token]):
            continue  # no text: not even a part of a character
        pending.append(place)
        if now.endswith(_REPLACEMENT) or not now.startswith(before):
            continue  # bytes are missing that the next tokens may bring
        text += now[len(before) :]
        _settle(ends, pending, text)
        if windowed:  # a token of context is enough: it keeps decoders from taking the next one for the first of a text
            anchor = settled
            now = _decode(tokenizer, tokens[anchor : place + 1])
        settled, before = place + 1, now
    text += now[len(before) :]
    _settle(ends, pending, text)
    return text, ends


def _settle(ends: list[int], pending: list[int], text: str) -> None:
    """Write where the pending tokens end."""
    for place in pending:
        ends[place] = len(text.encode("utf-8", "surrogatepass"))
    pending.clear()
