"""Whether teacher and student share a vocabulary, and what there is for those that do not."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from treeavg.distill.sequences.vocabularies.byte_alignment import Group, align_tokens, byte_ends
from treeavg.distill.sequences.vocabularies.uld import uld_loss
from treeavg.errors import ArgumentError, quote

__all__ = [
    "Group",
    "align_tokens",
    "byte_ends",
    "common_vocabulary",
    "cut",
    "matched_tokens",
    "token_map",
    "tokenizer_hash",
    "uld_loss",
]


def token_map(tokenizer: Any) -> dict[str, int]:
    """Return the ids of a tokenizer's tokens, the added ones included.

    Parameters
    ----------
    tokenizer : object
        With a method ``get_vocab``, as those of the packages transformers and tokenizers.

    Returns
    -------
    dict from str to int

    Raises
    ------
    ArgumentError
        It has none, or no tokens.

    Examples
    --------
    >>> from tokenizers import Tokenizer, models
    >>> token_map(Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")))["b"]
    1
    """
    method = getattr(tokenizer, "get_vocab", None)
    if method is None:
        raise ArgumentError(
            f"tokenizer: expected one with a method get_vocab, got {type(tokenizer).__name__}. Load it with "
            "AutoTokenizer.from_pretrained."
        )
    found = {str(token): int(number) for token, number in method().items()}
    if not found:
        raise ArgumentError("tokenizer: expected one with tokens, got none. Train or load it first.")
    return found


def tokenizer_hash(tokenizer: Any) -> str:
    """Return a name for what a tokenizer does, for manifests.

    Parameters
    ----------
    tokenizer : object
        Of the packages transformers or tokenizers.

    Returns
    -------
    str
        SHA-256 of its rules, where it can write them down (fast tokenizers), else of its tokens with their ids; and of
        its special tokens. Padding and truncation, which change from call to call, do not count.

    Raises
    ------
    ArgumentError
        It has no tokens.

    Examples
    --------
    >>> from tokenizers import Tokenizer, models
    >>> names = [tokenizer_hash(Tokenizer(models.WordLevel({"a": 0, b: 1}, unk_token="a"))) for b in ("b", "b", "c")]
    >>> names[0] == names[1], names[0] == names[2]
    (True, False)
    """
    described: dict[str, Any] = {"map": sorted(token_map(tokenizer).items())}
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(fast, "to_str"):
        rules = json.loads(fast.to_str())
        described["rules"] = {key: value for key, value in rules.items() if key not in ("padding", "truncation")}
    special = getattr(tokenizer, "special_tokens_map", {})
    described["special"] = {key: str(value) for key, value in special.items()}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def common_vocabulary(teacher_tokenizer: Any, student_tokenizer: Any, *, teacher_size: int, student_size: int) -> int:
    """Return the number of real tokens that a teacher and a student share; call it before training.

    Models round the width of their heads up, each in its own way: 151,936 and 152,064 columns may stand for the same
    151,669 tokens. What counts is that every token has the same id.

    Parameters
    ----------
    teacher_tokenizer : object
        Of the packages transformers or tokenizers.
    student_tokenizer : object
        Likewise.
    teacher_size : int
        Columns of the teacher's logits: its ``config.vocab_size``.
    student_size : int
        Columns of the student's.

    Returns
    -------
    int
        The greatest id and one: cut both logits to it with `cut`, before the softmax.

    Raises
    ------
    ArgumentError
        The maps from tokens to ids differ, or a head has fewer columns than there are tokens.

    Examples
    --------
    >>> from tokenizers import Tokenizer, models
    >>> tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    >>> common_vocabulary(tokenizer, tokenizer, teacher_size=8, student_size=4)
    2
    """
    teacher, student = token_map(teacher_tokenizer), token_map(student_tokenizer)
    if teacher != student:
        raise ArgumentError(_difference(teacher, student))
    size = max(teacher.values()) + 1
    for name, columns in (("teacher_size", teacher_size), ("student_size", student_size)):
        if isinstance(columns, bool) or not isinstance(columns, int) or columns < size:
            raise ArgumentError(
                f"{name}: expected at least {size} columns, one for each token, got {quote(columns)}. Resize the "
                "model's embeddings to its tokenizer."
            )
    return size


def cut(teacher_logits: Tensor, student_logits: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return both logits without the padded columns of their vocabularies.

    Parameters
    ----------
    teacher_logits : Tensor, shape (..., at least size)
        The teacher's.
    student_logits : Tensor, shape (..., at least size)
        The student's.
    size : int
        From `common_vocabulary`.

    Returns
    -------
    teacher_logits, student_logits : Tensor, shape (..., size)
        Views.

    Raises
    ------
    ArgumentError
        There are fewer columns.

    Examples
    --------
    >>> [tuple(logits.shape) for logits in cut(torch.zeros(2, 8), torch.zeros(2, 4), 3)]
    [(2, 3), (2, 3)]
    """
    for name, logits in (("teacher_logits", teacher_logits), ("student_logits", student_logits)):
        if not 1 <= size <= logits.shape[-1]:
            raise ArgumentError(
                f"{name}: expected at least size={size} columns, got {logits.shape[-1]}. Take size from "
                "common_vocabulary."
            )
    return teacher_logits[..., :size], student_logits[..., :size]


def matched_tokens(teacher_tokenizer: Any, student_tokenizer: Any) -> Tensor:
    """Return the ids of the tokens that two tokenizers write alike.

    Parameters
    ----------
    teacher_tokenizer : object
        Of the packages transformers or tokenizers.
    student_tokenizer : object
        Likewise.

    Returns
    -------
    Tensor, int64, shape (M, 2)
        Teacher's and student's id, in the order of the teacher's; perhaps none. Each id occurs once.

    Raises
    ------
    ArgumentError
        A tokenizer has no tokens.

    Examples
    --------
    >>> from tokenizers import Tokenizer, models
    >>> teacher = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    >>> student = Tokenizer(models.WordLevel({"c": 0, "b": 5}, unk_token="c"))
    >>> matched_tokens(teacher, student).tolist()
    [[1, 5]]
    """
    teacher, student = token_map(teacher_tokenizer), token_map(student_tokenizer)
    both = sorted({(number, student[token]) for token, number in teacher.items() if token in student})
    # Two names of one id (rare, but get_vocab allows it) would count its probability twice.
    taken: set[int] = set()
    kept: list[tuple[int, int]] = []
    for left, right in both:
        if right not in taken and not (kept and kept[-1][0] == left):
            kept.append((left, right))
            taken.add(right)
    return torch.tensor(kept, dtype=torch.int64).reshape(-1, 2)


def _difference(teacher: dict[str, int], student: dict[str, int]) -> str:
    """Say how two maps differ, and what may be done."""
    only = [sorted(set(one) - set(other)) for one, other in ((teacher, student), (student, teacher))]
    moved = sorted(token for token in teacher.keys() & student.keys() if teacher[token] != student[token])
    parts = []
    if moved:
        token = moved[0]
        parts.append(f"{len(moved)} have another id ({quote(token)}: {teacher[token]} and {student[token]})")
    for tokens, owner in zip(only, ("teacher", "student"), strict=True):
        if tokens:
            parts.append(f"{len(tokens)} are the {owner}'s only ({quote(tokens[0])})")
    return (
        f"student_tokenizer: expected the teacher's {len(teacher)} tokens with the same ids, got {len(student)}, of "
        f"which {'; '.join(parts)}. Use uld_loss, or train on the teacher's texts (SeqKD); never give one model the "
        "other's ids."
    )
