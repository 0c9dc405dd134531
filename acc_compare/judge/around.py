"""At module level: what goes wrong between the modules inside one is that one's doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from acc_compare.judge.origins import INPUT_NOISE, UNSEEN, Expected, Judged, Origin, largest_error
from acc_compare.measured.calls import MeasuredCall


def in_the_module_around(origins: Sequence[Origin], calls: Sequence[MeasuredCall]) -> list[Origin]:
    """`origins` with the innermost module around instead of one that reads what nobody made, where what that module
    read agrees: a function between its modules made it."""
    by_name = {call.full_name: call for call in calls}
    found: dict[str, Origin] = {}
    for origin in origins:
        around = _around(origin, by_name) if origin.unseen and origin.kind == "operator" else None
        moved = origin if around is None else _of(around, origin)
        found.setdefault(moved.call.full_name, moved)
    return list(found.values())


def _around(origin: Origin, calls: dict[str, MeasuredCall]) -> MeasuredCall | None:
    owner = origin.call.owner
    while owner and owner in calls:
        call = calls[owner]
        if call.wrote and UNSEEN * max(largest_error(call.read), INPUT_NOISE) < origin.judged.argument.relative:
            return call
        owner = call.owner
    return None


def _of(call: MeasuredCall, origin: Origin) -> Origin:
    """The origin in `call` of what `origin` saw inside."""
    argument = max(call.wrote, key=lambda each: each.relative)
    read = largest_error(call.read)
    judged = Judged(argument, "introduced", Expected.at_most(max(read, INPUT_NOISE), "before"))
    return replace(origin, call=call, judged=judged, inherited=read, unseen=False, first_seen=origin.call.order)
