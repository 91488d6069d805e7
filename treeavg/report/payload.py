"""The page's data: a small JSON text of facts, and columns of whole numbers, compressed."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeavg.report.rows import Rows
from treeavg.report.systems import Systems

#: Stands for a number that is not there, in columns of two bytes.
NONE = 65535


@dataclass(frozen=True)
class Payload:
    """What a page holds.

    Parameters
    ----------
    facts : str
        JSON.
    columns : str
        Base64 of what `zlib` made of the columns, one behind another; ``facts["columns"]`` lists them.
    """

    facts: str
    columns: str


class _Columns:
    """Gathers arrays in the smallest type that holds them."""

    def __init__(self) -> None:
        self.listed: list[list[Any]] = []
        self._parts: list[bytes] = []

    def add(self, name: str, values: NDArray[Any]) -> None:
        largest = int(values.max(initial=0))
        size = 1 if largest < 2**8 else 2 if largest < 2**16 else 4
        self.listed.append([name, size, len(values)])
        self._parts.append(values.astype(f"<u{size}").tobytes())

    def add_text(self, name: str, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.add(name, np.frombuffer(data, np.uint8))

    def packed(self) -> str:
        return base64.b64encode(zlib.compress(b"".join(self._parts), 6)).decode("ascii")


def payload_of(
    facts: dict[str, Any],
    systems: Systems,
    rows: Rows,
    *,
    values: dict[int, NDArray[np.float64]],
    disagreement: NDArray[np.float64] | None,
) -> Payload:
    """Return the data of a page.

    Parameters
    ----------
    facts : dict
        What is shown as tables and charts; JSON can hold it.
    systems : Systems
        Of N sentences.
    rows : Rows
        Their constituents or arcs.
    values : dict of int to ndarray of float64, shape (N,)
        F1 of each sentence against gold, by system, between 0 and 100; NaN where it is not scored.
    disagreement : ndarray of float64, shape (N,), optional
        From `treeavg.report.facts.disagreement`.

    Returns
    -------
    Payload

    Notes
    -----
    A constituent stands once, with a bit for each system that has it: trees, support, differences and hit counts of a
    sentence are read from the same few numbers, and ten systems take little more room than one. Columns: ``lengths``
    (N), ``words`` (T, places in the JSON list ``strings``), ``counts`` (N, rows of each sentence), ``fan_outs`` (R,
    only of discontinuous trees), ``starts`` and ``sizes`` (B; of dependency trees word and head), ``members0``,
    ``members1``, ... (R, eight systems each), ``present0``, ... (N, likewise), ``f1_k`` and ``disagreement`` (N,
    hundredths; 65535 is none), ``labels_k`` (one for each row that system k has, places in ``strings``).
    """
    columns = _Columns()
    strings: dict[str, int] = {}
    words = systems.words()
    columns.add("lengths", systems.lengths)
    if words is not None:
        strings = {word: place for place, word in enumerate(words[1])}
        columns.add("words", words[0])
    columns.add("counts", np.diff(rows.offsets))
    if rows.fan_outs is not None:
        columns.add("fan_outs", rows.fan_outs)
    columns.add("starts", rows.starts)
    columns.add("sizes", rows.ends if systems.is_dependency else rows.ends - rows.starts)
    for name, table in (("members", rows.members), ("present", systems.present)):
        for plane in range(0, len(table), 8):
            bits = np.zeros(table.shape[1], np.uint8)
            for place, row in enumerate(table[plane : plane + 8]):
                bits |= row.astype(np.uint8) << place
            columns.add(f"{name}{plane // 8}", bits)
    for system, own in values.items():
        columns.add(f"f1_{system}", _hundredths(own))
    if disagreement is not None:
        columns.add("disagreement", _hundredths(disagreement))
    for system, labels in enumerate(rows.labels):
        if labels is not None:
            codes = [strings.setdefault(label, len(strings)) for label in labels]
            columns.add(f"labels_{system}", np.array(codes, np.int64))
    columns.add_text("strings", json.dumps(list(strings), ensure_ascii=True, separators=(",", ":")))
    packed = columns.packed()
    text = json.dumps({**facts, "columns": columns.listed}, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Payload(text, packed)


def _hundredths(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.where(np.isnan(values), NONE, np.rint(np.nan_to_num(values) * 100)).astype(np.int64)
