"""Why a call has no partner, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from acc_compare.align.recomputed import MicroBatches
from acc_compare.align.side import Side
from acc_compare.messages import Message, count, say
from dump.format import names
from dump.format.schema import CallRecord


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

    def of(self, call: CallRecord, *, on_npu: bool) -> Message:
        """The reason why `call` has no partner."""
        side = say("name.bench" if on_npu else "name.npu")
        name = names.parse(call.name)
        if call.is_recompute:
            return say("alone.recomputed", side=side)
        if self._batches is not None and name.prefix != "Optimizer":
            return self._batches.reason(on_npu=on_npu)
        what = say("the_module" if name.is_module else "the_operator")
        key = _key(self._sides[on_npu], call)
        if not self._counts:
            for which, one in self._sides.items():
                self._counts[which] = Counter(_key(one, other) for other in one.dump.calls)
        here, there = self._counts[on_npu][key], self._counts[not on_npu][key]
        if there == 0:
            return say("alone.no_operator", side=side, what=what)
        if name.direction == names.BACKWARD and names.forward_name(call.name) in self._lone.get(on_npu, ()):
            return say("alone.forward")
        if there == here:
            return say("alone.other_place", what=what, side=side)
        return say("alone.other_number", side=side, there=count(there, "call"), what=what, here=here)


def _key(side: Side, call: CallRecord) -> str:
    name = side.name(names.parse(call.name))
    where = side.path(names.parse(call.name).path) if name.is_module else ""
    return f"{name.prefix}.{where}.{name.api}.{name.direction}"
