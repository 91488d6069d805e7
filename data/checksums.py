"""Write SHA256SUMS of the sample: its texts and trees, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import hashlib
from pathlib import Path


def write_checksums(folder: Path) -> None:
    """Write the checksums of all text files of a folder and of its folder of teachers.

    Parameters
    ----------
    folder : Path
        Where the files are, and SHA256SUMS goes.
    """
    paths = sorted([*folder.glob("*.txt"), *folder.glob("teachers/*.txt")])
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in paths
    ]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="ascii", newline="\n")
