"""At module level: what goes wrong between the modules inside one is that one's doing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from acc_compare.judge.origins import INPUT_NOISE, UNSEEN, Expected, Judged, Origin, largest_error
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from dump.format.names import BACKWARD, PARAMETERS_GRAD

_MADE = 0.5
"""Share of a gradient's error that it has where a module's backward leaves it, if it was made there."""


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


def in_the_modules_backward(origins: Sequence[Origin], calls: Sequence[MeasuredCall]) -> list[Origin]:
    """`origins` in gradients that an optimizer reads, in the backward call of the module whose parameter it is where
    that left them as far off."""
    left = {found.npu.storage: (call, found) for call, found in _left_by_backward(calls)} if origins else {}
    found = []
    for origin in origins:
        argument = origin.judged.argument
        call, made = left.get(argument.npu.storage, (None, None))
        if (
            call is not None
            and made is not None
            and origin.kind == "operator"
            and made.relative > _MADE * argument.relative
        ):
            judged = Judged(made, "introduced", origin.judged.expected)
            row = str(replace(call.name, direction=PARAMETERS_GRAD))
            origin = replace(origin, call=call, judged=judged, unseen=False, before="", row=row)
        found.append(origin)
    return found


def _left_by_backward(calls: Sequence[MeasuredCall]) -> Iterator[tuple[MeasuredCall, MeasuredArgument]]:
    """The gradients of parameters as each module's backward call leaves them, and that call."""
    by_name = {call.full_name: call for call in calls}
    for call in calls:
        backward = by_name.get(str(replace(call.name, direction=BACKWARD)))
        if call.name.direction == PARAMETERS_GRAD and backward is not None:
            yield from ((backward, a) for a in call.wrote if a.error is not None and a.npu.storage is not None)
