"""Which tensors of a comparison are worth a look at their elements, and the panels of those.

Suspects come first, then the calls that are furthest off; how many, and of how many elements, is bounded, so that a
page of a thousand calls stays small and a comparison is not much longer for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from acc_compare.measured.calls import is_output
from acc_compare.metrics.panels import Side, panel_of
from acc_compare.model import Finding, Row, TensorPanel
from dump.format.layout import TENSOR_FOLDER
from dump.format.schema import Dump, TensorRecord
from dump.format.tensors import read_tensor

MOST = 48
"""Tensors that get a panel; one is some five kilobytes of a page."""

SUSPECTS = 12
"""Suspects of which all arguments get one."""

OTHERS = 16
"""Tensors beside theirs that get one, the furthest off first."""

ELEMENTS = 1 << 24
"""Elements of one side that are looked at, over all panels: some ten seconds of work."""

_Pair: TypeAlias = "tuple[Row, TensorRecord, TensorRecord]"


def panels_of(finding: Finding, npu: Path, bench: Path) -> tuple[TensorPanel, ...]:
    """Panels of what `finding` accuses and of what is furthest off, from the dumps in the folders `npu` and `bench`.

    Raises TensorFileError.
    """
    found: list[TensorPanel] = []
    left = ELEMENTS
    for row, ours, theirs in _chosen(finding):
        if ours.numel > left or len(found) == MOST:
            continue
        left -= ours.numel
        sides = [
            Side(read_tensor(folder / TENSOR_FOLDER, record.data_name or ""), record.dtype)
            for folder, record in ((npu, ours), (bench, theirs))
        ]
        if sides[0].array.shape == sides[1].array.shape:
            panel = panel_of(row.npu_name, *sides)
            found += [panel] if panel is not None else []
    return tuple(found)


def panels_of_dump(dump: Dump) -> tuple[TensorPanel, ...]:
    """Panels of one dump alone: what calls wrote, NaN and Inf first, then the largest.  Raises TensorFileError."""
    written = [
        (f"{call.name}.{argument.name}", argument.leaf)
        for call in dump.calls
        for argument in (*call.outputs, *call.written)
        if isinstance(argument.leaf, TensorRecord) and argument.leaf.data_name is not None
    ]
    written.sort(key=lambda pair: -_reach(pair[1]))
    folder = (dump.path if dump.path.is_dir() else dump.path.parent) / TENSOR_FOLDER
    found: list[TensorPanel] = []
    left = ELEMENTS
    for name, record in written:
        if record.numel > left or len(found) == OTHERS:
            continue
        left -= record.numel
        panel = panel_of(name, Side(read_tensor(folder, record.data_name or ""), record.dtype))
        found += [panel] if panel is not None else []
    return tuple(found)


def _reach(record: TensorRecord) -> float:
    """How large the largest element is; infinite where one is not finite."""
    ends = [abs(float(end)) for end in (record.max, record.min) if isinstance(end, (int, float))]
    return math.inf if record.nan or record.inf or any(map(math.isnan, ends)) else max(ends, default=0.0)


def _chosen(finding: Finding) -> Iterator[_Pair]:
    """Rows whose elements both dumps hold: the tensors that suspects are accused for, their other arguments, then what
    calls wrote, the largest excess first."""
    pairs = list(_with_elements(finding.rows))
    suspects = {suspect.name: suspect.tensor for suspect in finding.suspects[:SUSPECTS]}
    accused: list[_Pair] = []
    beside: list[_Pair] = []
    others: list[_Pair] = []
    for pair in pairs:
        row = pair[0]
        call = next((name for name in suspects if row.npu_name.startswith(f"{name}.")), None)
        if call is not None:
            argument = row.npu_name[len(call) + 1 :]
            (accused if argument == suspects[call] else beside).append(pair)
        elif row.excess:
            others.append(pair)
    order = {name: place for place, name in enumerate(suspects)}
    accused.sort(key=lambda pair: next(order[name] for name in order if pair[0].npu_name.startswith(f"{name}.")))
    others.sort(key=lambda pair: (not _is_written(pair[0]), -(pair[0].excess or 0.0)))
    yield from (*accused, *beside, *others[:OTHERS])


def _is_written(row: Row) -> bool:
    return any(is_output(row.npu_name[at + 1 :]) for at, char in enumerate(row.npu_name) if char == ".")


def _with_elements(rows: Iterable[Row]) -> Iterator[_Pair]:
    for row in rows:
        ours, theirs = row.npu, row.bench
        if (
            isinstance(ours, TensorRecord)
            and isinstance(theirs, TensorRecord)
            and ours.data_name is not None
            and theirs.data_name is not None
        ):
            yield row, ours, theirs
