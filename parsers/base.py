"""What every parser is: trained elsewhere, it parses, saves itself into a folder, and loads from one.

Nothing here loads torch before a parser with weights is saved or loaded.
"""

from __future__ import annotations

import abc
import hashlib
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from parsers.inputs import as_sentences, resolve_device
from parsers.json_files import canonical_json, read_json, write_json
from parsers.kinds import KINDS
from treeavg.dependency import DependencyTreebank
from treeavg.errors import ArgumentError, FileError, FormatError, TreeavgError, quote
from treeavg.treebank import Treebank
from treeavg.version import __version__

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["KINDS", "Parser", "as_sentences", "load", "resolve_device"]

#: The layout of a parser's folder; raised whenever an older version could not read a new folder.
FORMAT = 1
DOCUMENT = "parser.json"
#: Two names, so that new weights are written beside the old ones; parser.json names those that count.
WEIGHTS = ("weights.safetensors", "weights-2.safetensors")
_RESERVED = ("treeavg", "format", "kind", "version", "weights", "checksum")


class Parser(abc.ABC):
    """A parser: words in, trees out; saved and loaded as a folder.

    A folder holds ``parser.json`` (kind, format number, everything but numbers, checksums) and, if there are weights,
    these as safetensors. How a parser is trained (``fit``) is each class's own.

    A class of parsers sets `kind`, has a line in `parsers.kinds.KINDS`, and implements `parse`, `_state` and
    `_from_state`.

    Examples
    --------
    >>> Parser.kind
    ''
    """

    kind: ClassVar[str] = ""

    @abc.abstractmethod
    def parse(
        self,
        sentences: Treebank | Sequence[Sequence[str]],
        *,
        batch_tokens: int = 4096,
        device: str | torch.device = "auto",
    ) -> Treebank | DependencyTreebank:
        """Parse sentences; the result's sentences are these, in this order, empty ones kept in their place.

        Parameters
        ----------
        sentences : Treebank or sequence of sequences of str
            The words; trees are not looked at. Not modified.
        batch_tokens : int, default 4096
            How many words are parsed at once. The result does not depend on it.
        device : str or torch.device, default "auto"
            As for `resolve_device`.

        Returns
        -------
        Treebank or DependencyTreebank

        Examples
        --------
        >>> parser.parse([["the", "dog", "barks"]])  # doctest: +SKIP
        <Treebank: 1 sentence, 3 tokens, 2 constituents>
        """

    @abc.abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what JSON can hold (``config``, ``text``, ...) and the tensors."""

    @classmethod
    @abc.abstractmethod
    def _from_state(cls, document: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Return the parser whose `_state` this is."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save into a folder.

        Parameters
        ----------
        folder : str or os.PathLike
            New, or one to whose files a parser is added or in which one is replaced; other files in it stay as they
            are.

        Raises
        ------
        FileError
            The folder cannot be written; a parser that was in it is intact.
        ArgumentError
            The folder holds a ``parser.json`` that is not treeavg's.

        Notes
        -----
        Atomic: the weights are written under a name that the old ``parser.json`` does not use, and the rename of the
        new ``parser.json`` puts both in force at once. Killed at any moment, the folder holds the old parser or the
        new one.

        Examples
        --------
        >>> parser.save("student")  # doctest: +SKIP
        """
        target = Path(folder)
        state, tensors = self._state()
        if taken := sorted(set(state) & set(_RESERVED)):
            raise ArgumentError(f"_state: expected keys other than {taken}, which save() writes. Rename them.")
        old = _replaced_weights(target)
        new = WEIGHTS[0] if old != WEIGHTS[0] else WEIGHTS[1]
        try:
            created = not target.exists()
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            from parsers.storage import no_folder

            raise no_folder(target, error) from None
        try:
            document = {
                "treeavg": "parser",
                "format": FORMAT,
                "kind": self.kind,
                "version": __version__,
                "weights": _write_weights(target / new, tensors, self.kind),
                **state,
            }
            write_json(target / DOCUMENT, {**document, "checksum": _checksum(document)})
        except BaseException:
            _discard(target, new, created)
            raise
        if old is not None:
            (target / old).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Load a parser of this class from a folder; see `parsers.base.load`, which loads any.

        Parameters
        ----------
        folder : str or os.PathLike
            What `save` wrote.

        Returns
        -------
        Parser
            On the CPU.

        Raises
        ------
        FileError
            The folder cannot be read, or a file in it is damaged.
        FormatError
            The folder is not a parser's, of another format number, or of another kind.

        Examples
        --------
        >>> SpanParser.load("student")  # doctest: +SKIP
        """
        path = Path(folder)
        document = _read_document(path)
        if document["kind"] != cls.kind:
            raise FormatError(
                f"{path}: expected a parser of the kind {cls.kind!r}, got {document['kind']!r}. Load it with "
                "parsers.load."
            )
        with _refusing_others(path, cls.kind):
            return cls._from_state(document, _read_weights(path, document))


def load(folder: str | os.PathLike[str]) -> Parser:
    """Load a parser of any kind from its folder.

    Parameters
    ----------
    folder : str or os.PathLike
        What `Parser.save` wrote.

    Returns
    -------
    Parser
        On the CPU.

    Raises
    ------
    FileError
        The folder cannot be read, or a file in it is damaged.
    FormatError
        The folder is not a parser's, of an unknown kind, or of another format number.

    Examples
    --------
    >>> load("/nowhere")
    Traceback (most recent call last):
    treeavg.errors.FileError: /nowhere: expected a parser's folder, got: No such file or directory. Check the path.
    """
    path = Path(folder)
    kind = _read_document(path)["kind"]
    if kind not in KINDS:
        names = ", ".join(map(repr, KINDS))
        raise FormatError(
            f"{path / DOCUMENT}: kind: expected one of {names}, got {quote(kind)}. Load it with the version of "
            "treeavg that saved it, or a newer one."
        )
    module, _, name = KINDS[kind].partition(":")
    parser_class: type[Parser] = getattr(importlib.import_module(module), name)
    return parser_class.load(path)


@contextmanager
def _refusing_others(folder: Path, kind: str) -> Iterator[None]:
    """Raise a FormatError where a document, checksum and all, is not what a parser of this kind has written.

    A checksum keeps out damage, not somebody who writes a document by hand.
    """
    try:
        yield
    except TreeavgError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        got = f"none of {error}" if isinstance(error, KeyError) else quote(str(error).split("\n")[0])
        raise FormatError(
            f"{folder / DOCUMENT}: expected what a parser of the kind {kind!r} is made of, got {got}. Restore the "
            "folder from a copy, or train and save again."
        ) from error


def _checksum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def _read_document(folder: Path) -> dict[str, Any]:
    path = folder / DOCUMENT
    try:
        os.listdir(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(f"{folder}: expected a parser's folder, got: {reason}. Check the path.") from None
    if not path.exists():
        raise FormatError(f"{folder}: expected a parser's folder, got one without {DOCUMENT}. Check the path.")
    document = read_json(path)
    if document.get("treeavg") != "parser" or not isinstance(document.get("kind"), str):
        raise FormatError(f"{path}: expected a parser that treeavg saved, got another file. Check the path.")
    number = document.get("format")
    if number != FORMAT:
        raise FormatError(
            f"{path}: expected format {FORMAT}, got {quote(number)}, written by treeavg "
            f"{document.get('version', 'of unknown version')}. Load it with that version, or train and save again."
        )
    checksum = document.pop("checksum", None)
    try:
        intact = checksum == _checksum(document)
    except FormatError:  # such as an infinity, which is never written
        intact = False
    if not intact:
        from parsers.storage import damaged

        raise damaged(path, "others (SHA-256)")
    return document


def _write_weights(path: Path, tensors: dict[str, Tensor], kind: str) -> dict[str, str] | None:
    """Write the weights, if there are any, and return what parser.json says of them."""
    if not tensors:
        return None
    from parsers.storage import write_tensors

    return {"file": path.name, "sha256": write_tensors(path, tensors, {"kind": kind})}


def _read_weights(folder: Path, document: Mapping[str, Any]) -> dict[str, Tensor]:
    if document["weights"] is None:
        return {}
    from parsers.storage import read_tensors
    from treeavg.formats.files import file_digest

    name = document["weights"]["file"]
    if name not in WEIGHTS:  # so that nothing outside of the folder is read
        raise FormatError(
            f"{folder / DOCUMENT}: expected weights in {' or '.join(WEIGHTS)}, got {quote(name)}. Restore the folder "
            "from a copy."
        )
    path = folder / name
    tensors, _ = read_tensors(path)
    if file_digest(path) != document["weights"]["sha256"]:
        raise FileError(
            f"{path}: expected the weights that {DOCUMENT} names, got those of another parser. "
            "Restore the folder from a copy."
        )
    return tensors


def _discard(folder: Path, weights: str, created: bool) -> None:
    """Remove what a failed save has written, unless it was already in force."""
    if _replaced_weights(folder) == weights:
        return
    (folder / weights).unlink(missing_ok=True)
    if created:
        try:
            folder.rmdir()
        except OSError:
            pass  # somebody has put a file into it


def _replaced_weights(folder: Path) -> str | None:
    """Return the name of the weights in force in a folder; refuse a parser.json of something else."""
    path = folder / DOCUMENT
    if not path.exists():
        return None
    try:
        document = read_json(path)
    except FormatError:
        document = {}
    if document.get("treeavg") != "parser":
        raise ArgumentError(
            f"{path}: expected none, or one that treeavg saved, got another file. Choose another folder."
        )
    weights = document.get("weights")
    name = weights.get("file") if isinstance(weights, dict) else None
    return name if name in WEIGHTS else None
