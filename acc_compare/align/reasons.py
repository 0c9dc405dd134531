"""Why a call has no partner, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from dump.format import names
from dump.format.schema import CallRecord

from .recomputed import MicroBatches
from .side import Side


class Reasons:
    """Reasons for the calls of both sides that no call answers to.

    `recomputed` holds names of recomputations by side (True is the NPU), `lone` names of forward calls without a
    partner, by side.
    """

    def __init__(
        self,
        npu: Side,
        bench: Side,
        *,
        batches: MicroBatches | None = None,
        lone: Mapping[bool, frozenset[str]] | None = None,
    ) -> None:
        self._sides = {True: npu, False: bench}
        self._counts: dict[bool, Counter[str]] = {}
        self._batches = batches
        self._lone = lone or {}

    def of(self, call: CallRecord, *, on_npu: bool) -> str:
        """The reason why `call` has no partner."""
        side = "bench" if on_npu else "NPU"
        name = names.parse(call.name)
        if call.is_recompute:
            return f"recomputed for backward (activation checkpointing); the {side} side does not run it again"
        if self._batches is not None and name.prefix != "Optimizer":
            return self._batches.reason(on_npu=on_npu)
        what = "the module" if name.is_module else "the operator"
        key = _key(self._sides[on_npu], call)
        if not self._counts:
            for which, one in self._sides.items():
                self._counts[which] = Counter(_key(one, other) for other in one.dump.calls)
        here, there = self._counts[on_npu][key], self._counts[not on_npu][key]
        if there == 0:
            return f"the {side} side has no call of {what}"
        if name.direction == names.BACKWARD and names.forward_name(call.name) in self._lone.get(on_npu, ()):
            return "its forward call has no counterpart"
        if there == here:
            return f"no call of {what} on the {side} side stands in this place with these shapes"
        return f"the {side} side has {_calls(there)} of {what}, this side {here}"


def _calls(number: int) -> str:
    return "1 call" if number == 1 else f"{number} calls"


def _key(side: Side, call: CallRecord) -> str:
    name = side.name(names.parse(call.name))
    where = side.path(names.parse(call.name).path) if name.is_module else ""
    return f"{name.prefix}.{where}.{name.api}.{name.direction}"
