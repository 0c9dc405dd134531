"""What msprobe's tables say of an argument that is no tensor: its kind, its extents, its value in place of numbers."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from acc_compare.as_msprobe.results import NAN
from acc_compare.report.columns import Cell, as_cell
from dump.format.schema import ScalarRecord

_RANKS = ("src", "dst", "group_src", "group_dst")
_OWN_KIND = ("torch.Size", "slice", "ellipsis", "torch.ProcessGroup")


@dataclass(frozen=True, slots=True)
class PlainCells:
    """The cells of one side; `statistic` stands in the place of each of maximum, minimum, mean and norm."""

    dtype: str
    shape: str
    statistic: Cell
    digest: str


def cells_of(record: ScalarRecord, argument: str) -> PlainCells:
    """What is told of `record`, the argument of this name."""
    value = None if isinstance(record.value, dict) else record.value
    digest = f"{zlib.crc32(('' if isinstance(record.value, dict) else str(value)).encode()):08x}"
    if record.type in ("torch.Size", "slice"):
        shape = str(value) if record.type == "torch.Size" else str(np.shape(np.array(value, dtype=object)))
        return PlainCells(record.type, shape, "None", digest)
    if argument.rpartition(".")[2] in _RANKS:
        return PlainCells(record.type, "[]", str(value), str(value))
    if record.type == "torch.ProcessGroup" and isinstance(record.value, dict):
        ranks = str(record.value.get("group_ranks"))
        return PlainCells(record.type, "[]", ranks, ranks)
    kind = record.type if record.type in _OWN_KIND else f"<class '{type(value).__name__}'>"
    return PlainCells(kind, "[]", "None" if value is None else NAN if value != value else as_cell(value), digest)
