"""Errors of calls of which no result could be compared: they show first in what was computed from these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from acc_compare import operators
from acc_compare.judge.origins import INPUT_NOISE, Expected, Judged, Origin
from acc_compare.measured.calls import MeasuredCall
from dump.format.names import parse
from dump.format.schema import CallRecord, Dump, values_of

_DIFFERS, _AGREES = 1e-3, 1e-4
"""Relative error from which on a result differs, and that up to which what was read agrees."""


def hidden_origin(calls: Sequence[MeasuredCall], npu: Dump, unmeasured: frozenset[str]) -> list[Origin]:
    """The first result that differs although all that was compared before it agrees, where something that its call read
    could not be: its origin is the one call behind it that computes and that itself read what agrees.  None where there
    are several, or none."""
    for call in calls:
        computing = call.pair.npu is not None and not _moves(call.pair.npu)
        off = max(call.wrote, key=lambda argument: argument.relative, default=None)
        if not computing or off is None or off.error is None or off.relative <= _AGREES:
            continue
        unknown = [argument.npu.value for argument in call.read if argument.error is None and argument.npu.unrecorded]
        known = all(argument.relative <= _AGREES for argument in call.read if argument.error is not None)
        made = _makers(unknown, call, npu, unmeasured) if known and off.relative > _DIFFERS else []
        if len(made) != 1:
            return []
        judged = Judged(off, "introduced", Expected.at_most(INPUT_NOISE, "before"))
        return [Origin("operator", call, judged, 0.0, unseen=True, maker=made[0])]
    return []


def _makers(values: Sequence[int | None], reader: MeasuredCall, npu: Dump, unmeasured: frozenset[str]) -> list[str]:
    """The calls that compute and that were not compared, from which these values come."""
    assert reader.pair.npu is not None
    earlier = [call for call in npu.calls if call.index < reader.pair.npu.index]
    writers = {value: call for call in earlier for value in values_of((*call.outputs, *call.written))}
    found: dict[str, None] = {}
    waiting = [value for value in values if value is not None]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        call = writers.get(value)
        if value in seen or call is None or call.name not in unmeasured:
            continue
        seen.add(value)
        before = _hidden_inputs(call, writers, unmeasured)
        if not before and not _moves(call):
            found[call.name] = None
        waiting += before
    return list(found)


def _moves(call: CallRecord) -> bool:
    """Does it compute nothing of its own?"""
    api = parse(call.name).api
    return bool(call.collectives) or operators.moves_layout_only(api) or operators.moves_memory_only(api)


def _hidden_inputs(call: CallRecord, writers: Mapping[int, CallRecord], unmeasured: frozenset[str]) -> list[int]:
    return [value for value in values_of(call.inputs) if value in writers and writers[value].name in unmeasured]
