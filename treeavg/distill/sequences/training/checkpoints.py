"""What a distillation adds to a checkpoint: its options, maps between hidden states, copies of the student."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from treeavg.distill.sequences.training.config import DistillationConfig
from treeavg.distill.sequences.training.copies import StudentCopy
from treeavg.distill.sequences.training.reward_options import RewardOptions
from treeavg.distill.sequences.training.states import StateMatch
from treeavg.errors import ArgumentError, FormatError, quote

__all__ = ["load_additions", "require_same", "save_additions"]

_MAPS, _CONFIG, _COPY = "distillation_maps.safetensors", "distillation.json", "distillation_{}.safetensors"


def save_additions(
    folder: Path, config: DistillationConfig, match: StateMatch | None, copies: Mapping[str, StudentCopy]
) -> None:
    """Write a checkpoint's additions.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint; made where it is not there.
    config : DistillationConfig
        All options.
    match : StateMatch or None
        With maps, perhaps.
    copies : mapping from str to StudentCopy
        Perhaps none.

    Returns
    -------
    None
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config.document(), indent=2, sort_keys=True)
    (folder / _CONFIG).write_text(text + "\n", encoding="utf-8")
    if match is not None and len(match.maps):
        save_file(match.state_dict(), folder / _MAPS)
    for name, one in copies.items():
        one.save(folder / _COPY.format(name))


def load_additions(
    folder: Path, config: DistillationConfig, match: StateMatch | None, copies: Mapping[str, StudentCopy]
) -> None:
    """Read a checkpoint's additions, after a look whether its options are the same.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint.
    config : DistillationConfig
        All options.
    match : StateMatch or None
        Whose maps are read.
    copies : mapping from str to StudentCopy
        Which are read.

    Returns
    -------
    None

    Raises
    ------
    FormatError
        A file is missing or cannot be read.
    ArgumentError
        An option differs.
    """
    require_same(config, folder / _CONFIG)
    if match is not None and len(match.maps):
        try:
            match.load_state_dict(load_file(folder / _MAPS))
        except Exception as error:  # of a reader in another language, whose classes are not documented
            reason = str(error).splitlines()[0]
            raise FormatError(
                f"{folder / _MAPS}: expected maps between hidden states, got {reason}. Resume from another checkpoint."
            ) from error
    for name, one in copies.items():
        one.load(folder / _COPY.format(name))


def require_same(config: DistillationConfig, path: Path) -> None:
    """Raise an error where a checkpoint was made with other options.

    Parameters
    ----------
    config : DistillationConfig
        Those of now.
    path : pathlib.Path
        Where the others are written. What is not there has its default: an older version wrote it.

    Returns
    -------
    None

    Raises
    ------
    FormatError
        The file is missing or cannot be read.
    ArgumentError
        An option differs.
    """
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FormatError(
            f"{path}: expected the options of the training, got no such file. Resume from a checkpoint of a "
            "DistillationTrainer, or start a new training from these weights."
        ) from error
    except ValueError as error:
        raise FormatError(f"{path}: expected JSON, got {error}. Resume from another checkpoint.") from error
    if not isinstance(there, dict):
        raise FormatError(f"{path}: expected options by name, got {quote(there)}. Resume from another checkpoint.")
    was, now = _whole(there), _whole(json.loads(json.dumps(config.document())))
    for name in sorted(was | now):
        if was.get(name) != now.get(name):
            raise ArgumentError(
                f"{name}: expected {quote(was.get(name))}, as in {path.parent.name}, got {quote(now.get(name))}. "
                "Resume with the options of the checkpoint, or start a new training from its weights."
            )


def _whole(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the default of each option that it lacks, those of rewards and samplers by their paths."""
    whole = {**DistillationConfig().document(), **document}
    if isinstance(whole["reward"], dict):
        whole["reward"] = {**asdict(RewardOptions()), **whole["reward"]}
    flat: dict[str, Any] = {}
    for name, value in whole.items():
        flat |= {f"{name}.{part}": one for part, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat
