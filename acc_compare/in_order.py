"""Which results of ranks that were put together are known to lie in the order of the other side's.

Statistics do not tell in which order parts were dealt out, so that the waves of a whole (`dump.format.waves`) may
differ in good health: rows were dealt out in turn, heads by groups.  Where a call computes each place of its results
from the same places of what it reads, and all that was put together of this agrees with the other side by its waves,
results lie in this order too.  Of these the waves are kept: they show what extremes, means and norms do not, as rows
that changed places.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from acc_compare import operators
from acc_compare.metrics import waves
from acc_compare.metrics.sketches import estimate_distance, norm_behind_sketch
from acc_compare.operators import Mark
from dump.format.names import BACKWARD, forward_name, parse
from dump.format.schema import Argument, CallRecord, Dump, TensorRecord

AGREE = 0.02
"""Relative difference by sketches or waves up to which two tensors hold the same in the same order."""

_KEEP_PLACES = frozenset(("elementwise", "contraction", "exponential"))
_MAY_MOVE: tuple[Mark, ...] = ("draws", "orders", "indexed", "places", "memory")


def with_waves_in_order(npu: Dump, bench: Dump) -> tuple[Dump, Dump]:
    """Both sides, of each of which ranks were put together, with the waves that may be compared."""
    theirs = {call.name: call for call in bench.calls}
    forward = {call.name: call for call in npu.calls}
    known = {call.name for call in npu.calls if call.name in theirs and _is_in_order(call, forward, theirs)}
    return _with(npu, known), _with(bench, known)


def agree(ours: TensorRecord, theirs: TensorRecord) -> bool | None:
    """Do two tensors hold the same in one order?  None where that is not known."""
    one, two = norm_behind_sketch(ours), norm_behind_sketch(theirs)
    if ours.shape != theirs.shape or one is None or two is None:
        return None
    if ours.sketch is not None and theirs.sketch is not None:
        apart = estimate_distance(ours.sketch, theirs.sketch)
    elif ours.waves is not None and theirs.waves is not None:
        apart = waves.distance(ours.waves, theirs.waves)
    else:
        return None
    return math.isfinite(apart) and apart <= AGREE * float(max(one, two))


def _is_in_order(call: CallRecord, ours: Mapping[str, CallRecord], theirs: Mapping[str, CallRecord]) -> bool:
    name = parse(call.name)
    if name.is_module or call.collectives or operators.operator_class(name.api) not in _KEEP_PLACES:
        return False
    if any(operators.has(name.api, mark) for mark in _MAY_MOVE):
        return False
    pairs = list(_reads(call, theirs[call.name]))
    if name.direction == BACKWARD:
        forward = forward_name(call.name)
        if forward not in ours or forward not in theirs:
            return False
        pairs += _reads(ours[forward], theirs[forward])
    was_dealt = any(one.sketch is None or two.sketch is None for one, two in pairs)
    return was_dealt and all(agree(one, two) for one, two in pairs)


def _reads(ours: CallRecord, theirs: CallRecord) -> Iterable[tuple[TensorRecord, TensorRecord]]:
    """What both calls read, but for single numbers."""
    found = {a.name: a.leaf for a in (*theirs.inputs, *theirs.parameters)}
    for argument in (*ours.inputs, *ours.parameters):
        one, two = argument.leaf, found.get(argument.name)
        if isinstance(one, TensorRecord) and isinstance(two, TensorRecord) and max(one.numel, two.numel) > 1:
            yield one, two


def _with(dump: Dump, known: set[str]) -> Dump:
    return replace(dump, calls=tuple(_without_waves(call, results=call.name not in known) for call in dump.calls))


def _without_waves(call: CallRecord, *, results: bool) -> CallRecord:
    """A call without the waves of what it reads, and of its `results`."""

    def told(argument: Argument) -> Argument:
        leaf = argument.leaf
        is_result = argument.name.startswith("output.")
        if not isinstance(leaf, TensorRecord) or leaf.waves is None or (is_result and not results):
            return argument
        return Argument(argument.name, msgspec.structs.replace(leaf, waves=None))

    return call.mapped(told)
