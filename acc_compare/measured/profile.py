"""A run's rows as a short profile: of each stretch of calls the one that is furthest off."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from acc_compare.measured.calls import is_output
from acc_compare.model import Role, Row, RunProfile
from acc_compare.row_names import split_names
from dump.format.schema import TensorRecord

_ERRORS = ("RelL2", "Est. RelL2")


class _Call(NamedTuple):
    name: str
    module: str
    error: float | None
    expected: float | None
    excess: float | None
    origin: Role
    is_written: bool


def profile_of(rows: Sequence[Row], most: int, always: Collection[str] = ()) -> RunProfile:
    """At most `most` calls of `rows`, in their order.  The calls `always` are among them, half of all at most."""
    calls: list[_Call] = []
    for row, (name, argument) in zip(rows, split_names([row.npu_name or row.bench_name for row in rows]), strict=True):
        found = _Call(name, row.module, _error(row), row.expected, row.excess, row.origin, is_output(argument))
        if calls and calls[-1].name == name:
            calls[-1] = max(calls[-1], found, key=_weight)
        else:
            calls.append(found)
    wanted = [place for place, call in enumerate(calls) if call.name in always]
    if len(wanted) > most // 2:
        wanted = sorted(wanted, key=lambda place: _weight(calls[place]), reverse=True)[: most // 2]
    left = sorted(set(range(len(calls))) - set(wanted))
    width = max(1, math.ceil(len(left) / max(1, most - len(wanted))))
    stretches = (left[start : start + width] for start in range(0, len(left), width))
    worst = [max(stretch, key=lambda place: _weight(calls[place])) for stretch in stretches]
    kept = [calls[place] for place in sorted((*wanted, *worst))]
    return RunProfile(
        calls=tuple(call.name for call in kept),
        modules=tuple(call.module for call in kept),
        errors=tuple(call.error for call in kept),
        expected=tuple(call.expected for call in kept),
        excess=tuple(call.excess for call in kept),
        origins=tuple(call.origin for call in kept),
    )


def _weight(call: _Call) -> tuple[bool, float, float]:
    """What a call wrote tells more of it than what it read; then the excess, then the error."""
    excess, error = (-1.0 if number is None else number for number in (call.excess, call.error))
    return call.is_written and call.error is not None, excess, error


def _error(row: Row) -> float | None:
    for column in _ERRORS:
        value = row.metrics.get(column)
        if isinstance(value, (int, float)):
            return float(value)
    if isinstance(row.npu, TensorRecord) and isinstance(row.bench, TensorRecord) and row.npu.md5 and row.bench.md5:
        return 0.0 if row.npu.md5 == row.bench.md5 else math.inf
    return row.expected * row.excess if row.expected is not None and row.excess is not None else None
