"""What must hold of data sets and their rows before anything is run on them."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from treeavg.errors import ArgumentError, LimitError, quote

__all__ = ["COLUMNS", "Limits", "require_dataset", "require_fits", "token_ids"]

#: What a row may have.
COLUMNS: dict[str, str] = {
    "prompt": "ids of the input, at least one",
    "completion": "ids of the output, its end token included; not needed where the student writes all",
    "teacher_prompt": "ids of what the teachers get as input, where that differs",
    "teacher_id": "place or name of the row's teacher, for average='teacher_id'",
}


class Limits(NamedTuple):
    """What the models of a training can take.

    Parameters
    ----------
    size : int
        Tokens of the vocabulary that are real.
    inputs : int
        Rows of the student's input embeddings.
    student : int or None
        Positions of the student. None: no limit.
    teacher : int or None
        Least positions of a teacher. None: no limit.
    new_tokens : int
        Most tokens that are written in training; 0 where nothing is.
    apart : bool
        Prompt and completion have positions of their own, as in an encoder-decoder model.
    """

    size: int
    inputs: int
    student: int | None
    teacher: int | None
    new_tokens: int
    apart: bool


def require_dataset(dataset: Any, where: str, *, needed: Sequence[str], several: bool = False) -> None:
    """Raise an ArgumentError where a data set is empty, or its first row lacks a column or misspells one.

    Parameters
    ----------
    dataset : object or None
        A data set, or several by name. One that cannot be indexed is not looked at.
    where : str
        Its argument.
    needed : sequence of str
        Columns that there must be.
    several : bool, default False
        There are several teachers, and rows are not shared out among them: a column ``teacher_id`` would be ignored.

    Returns
    -------
    None

    Raises
    ------
    ArgumentError
        It names the column.
    """
    if isinstance(dataset, Mapping):
        for name, part in dataset.items():
            require_dataset(part, f"{where}[{name!r}]", needed=needed, several=several)
        return
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        return
    if not len(dataset):
        raise ArgumentError(f"{where}: expected at least one row, got none. Look at how it was read or filtered.")
    first = dataset[0]
    if not isinstance(first, Mapping):
        raise ArgumentError(
            f"{where}: expected rows such as {{'prompt': ids, 'completion': ids}}, got {type(first).__name__}. Make "
            "each a dictionary."
        )
    there = sorted(map(str, first))
    for name in needed:
        if name not in first:
            raise ArgumentError(f"{where}: expected the column {name!r}, {COLUMNS[name]}, got {quote(there)}. Add it.")
    for name in there:
        near = [] if name in COLUMNS else get_close_matches(name, COLUMNS, n=1, cutoff=0.85)
        if near and near[0] not in first:
            raise ArgumentError(f"{where}: expected columns of known names, got {name!r}. Did you mean {near[0]!r}?")
    if several and "teacher_id" in first:
        raise ArgumentError(
            f"{where}: expected no column 'teacher_id', which only average='teacher_id' looks at, got one. Give that "
            "in the configuration, or leave the column out."
        )


def token_ids(value: Any, place: int, name: str) -> list[int]:
    """Return what a row has as token ids.

    Parameters
    ----------
    value : sequence of int, array or Tensor
        From the row.
    place : int
        The row's place in the batch.
    name : str
        The column.

    Returns
    -------
    list of int

    Raises
    ------
    ArgumentError
        Texts, numbers that are not whole, or nothing.

    Examples
    --------
    >>> token_ids((3, 4), 0, "prompt")
    [3, 4]
    """
    where = f"row {place} of the batch: expected {name!r}"
    if isinstance(value, (str, bytes)):
        raise ArgumentError(f"{where} as token ids, got the text {quote(value)}. Tokenize it first.")
    try:
        found = [operator.index(number) for number in (value.tolist() if hasattr(value, "tolist") else value)]
    except TypeError:
        raise ArgumentError(f"{where} as a row of token ids, got {quote(value)}. Tokenize texts first.") from None
    if not found:
        least = "an end token" if name == "completion" else "a start token"
        raise ArgumentError(f"{where} with at least one token, got none. An empty text has {least}.")
    return found


def require_fits(given: Mapping[str, Sequence[Sequence[int]] | None], limits: Limits) -> None:
    """Raise an error where rows have tokens that a model does not know, or more than it has positions for.

    Parameters
    ----------
    given : mapping from str to sequence of sequence of int, or None
        The columns of a batch.
    limits : Limits
        Of the models.

    Returns
    -------
    None

    Raises
    ------
    ArgumentError
        A token that is none.
    LimitError
        A row that is too long.
    """
    for name, size in (("prompt", limits.inputs), ("teacher_prompt", limits.inputs), ("completion", limits.size)):
        for place, row in enumerate(given[name] or ()):
            if min(row) < 0 or max(row) >= size:
                wrong = next(token for token in row if not 0 <= token < size)
                raise ArgumentError(
                    f"row {place} of the batch: expected {name!r} of tokens from 0 to {size - 1}, got {wrong}. Use the "
                    "models' tokenizer, and leave out labels that are masked, such as -100."
                )
    outputs = given["completion"] or [()] * len(given["prompt"] or ())
    for name, who, most in (("prompt", "student", limits.student), ("teacher_prompt", "teacher", limits.teacher)):
        inputs = given[name] or given["prompt"] or ()
        for place, (row, output) in enumerate(zip(inputs, outputs, strict=True)):
            read = len(output) if limits.apart else len(output) - 1  # the last token is scored only
            new = max(read, limits.new_tokens)
            if most is not None and (max(len(row), new) if limits.apart else len(row) + new) > most:
                raise LimitError(
                    f"row {place} of the batch: expected at most the {who}'s {most} positions, got a prompt of "
                    f"{len(row)} tokens and up to {new} after it. Shorten the row, or lower max_new_tokens."
                )
