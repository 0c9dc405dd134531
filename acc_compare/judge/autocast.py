"""What autocast does to a comparison: products in a narrower type than both their ends, and parameters that are rounded
once for several calls, whose gradient is handed back to all of them as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TypeAlias

from acc_compare import operators
from acc_compare.judge.predicted import Predicted
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from dump.format.names import forward_name
from dump.format.schema import TensorRecord

Readers: TypeAlias = Sequence[tuple[str, str]]
"""Forward calls by name, with the place of the argument that all of them read."""


def autocast_roundoff(calls: Iterable[MeasuredCall]) -> float:
    """The unit roundoff of the type that autocast runs products in, 0 without it: of a product's result that is
    narrower than all that went into it."""
    found = 0.0
    for call in calls:
        if call.is_backward or operators.operator_class(call.operator) != "contraction":
            continue
        read = operators.roundoff({a.npu.dtype for a in call.floating_inputs()})
        made = operators.roundoff({a.npu.dtype for a in call.wrote})
        found = max(found, made if made > read else 0.0)
    return found


def shared_casts(calls: Iterable[MeasuredCall]) -> Mapping[tuple[str, str], Readers]:
    """The gradients, by call and argument, of parameters that autocast has rounded once for several calls, with these:
    what is handed back from the rounding is the sum over all of them, in which parts may cancel.  No calls where that
    is so on one side alone, whose sum answers to a part."""
    readers: dict[int, list[tuple[str, str]]] = {}
    places: dict[str, list[tuple[str, int, bool]]] = {}
    found: dict[tuple[str, str], Readers] = {}
    for call in calls:
        if call.is_backward:
            wrote = {argument.name for argument in call.wrote}
            for place, value, on_both in places.get(forward_name(call.full_name), ()):
                if len(readers[value]) > 1 and f"output.{place}" in wrote:
                    found[call.full_name, f"output.{place}"] = readers[value] if on_both else ()
            continue
        made = [operators.roundoff({side(a).dtype for a in call.wrote}) for side in _SIDES]
        for argument in call.floating_inputs():
            cast = [operators.roundoff({side(argument).dtype}) < unit for side, unit in zip(_SIDES, made, strict=True)]
            given = argument.npu.value
            if any(cast) and argument.npu.requires_grad and given is not None:
                place = argument.name.removeprefix("input.")
                readers.setdefault(given, []).append((call.full_name, place))
                places.setdefault(call.full_name, []).append((place, given, all(cast)))
    return found


_SIDES: Sequence[Callable[[MeasuredArgument], TensorRecord]] = (attrgetter("npu"), attrgetter("bench"))


def summed(parts: Iterable[Predicted | None]) -> Predicted | None:
    """The prediction for a sum of results that are each predicted relative to the norm of the sum, however much of them
    cancels in it; None where one is not known."""
    known = []
    for part in parts:
        if part is None:
            return None
        known.append(part)
    return Predicted(
        fresh=math.hypot(*(part.fresh for part in known)),
        inherited=math.hypot(*(part.inherited for part in known)),
        share=max(part.share for part in known),
        at_an_end=math.hypot(*(part.at_an_end for part in known)),
        is_ruled_by_jumps=any(part.is_ruled_by_jumps for part in known),
        flips=math.fsum(part.flips for part in known),
        assured=math.hypot(*(part.assured for part in known)),
        one_way=math.fsum(part.one_way for part in known),
    )
