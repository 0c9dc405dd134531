"""What `acc bench-ops` finds, without torch: a table by operator and dtype, and the same table made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from dump.format.errors import DumpCorrupt, DumpNotFound

MUCH = 4.0
"""How many times the error of the other table is worth a word."""


class BenchedOperator(msgspec.Struct, frozen=True):
    """One operator in one dtype: `samples` were made, `wrong` of them are further from float64 than explained.

    `relative` and `ulp` are the largest errors of forward and backward, `limit` what is explained where they are
    largest, `refused` how many samples the device does not take, `reason` why the first, `first` the first wrong one.
    """

    operator: str
    dtype: str
    samples: int
    wrong: int
    relative: float
    ulp: float | None
    limit: float
    refused: int = 0
    reason: str = ""
    first: str = ""


class OperatorTable(msgspec.Struct, frozen=True):
    """All that were made, on one device of one installation."""

    device: str
    torch: str
    operators: tuple[BenchedOperator, ...]
    left_out: int = 0

    @property
    def wrong(self) -> tuple[BenchedOperator, ...]:
        return tuple(row for row in self.operators if row.wrong)


def read_table(path: Path) -> OperatorTable:
    """A bench_ops_<time>.json.  Raises DumpNotFound where it cannot be read, DumpCorrupt where it is none."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DumpNotFound(
            f"{path}: cannot be read ({error}). Give the bench_ops_<time>.json of acc bench-ops."
        ) from error
    try:
        return msgspec.json.decode(data, type=OperatorTable)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DumpCorrupt(f"{path}: expected the bench_ops_<time>.json of acc bench-ops ({error}).") from error


def worse_than(ours: OperatorTable, theirs: OperatorTable) -> tuple[tuple[BenchedOperator, BenchedOperator], ...]:
    """The operators that are right there and wrong here, or of which fewer samples are taken, or whose error is many
    times as large and beyond what is explained there; with their rows, the largest errors first."""
    known = {(row.operator, row.dtype): row for row in theirs.operators}
    pairs = [(row, known[row.operator, row.dtype]) for row in ours.operators if (row.operator, row.dtype) in known]
    found = [
        (here, there)
        for here, there in pairs
        if (here.wrong and not there.wrong)
        or here.refused > there.refused
        or (here.relative > MUCH * there.relative and here.relative > there.limit)
    ]
    return tuple(sorted(found, key=lambda pair: -pair[0].relative))


def exceeds(rows: Sequence[BenchedOperator]) -> list[BenchedOperator]:
    """Rows by how far they are beyond what is explained, the furthest first."""
    return sorted(rows, key=lambda row: -(row.relative / max(row.limit, 1e-30)))
