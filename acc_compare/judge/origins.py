"""Where error begins: a walk over the matched calls in the order in which the NPU side ran them.

A call introduces error when an output is off by far more than what it read and its arithmetic explain; it propagates
when they explain it; it absorbs when less comes out than went in.  An input that differs although nobody recorded
making it is an origin too: the data, the initial parameters, or a call that went unseen.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import msgspec

from acc_compare import operators
from dump.format.names import BACKWARD, FORWARD, forward_name

from .calls import MeasuredArgument, MeasuredCall
from .flow import Flow
from .inputs import judge_input
from .kin import Kin
from .outputs import judge_output
from .roles import INPUT_NOISE, Context, Judged, Origin, Seen, Walk, largest_error

_BOUND_TRUSTED = 1e-3


def judged_calls(calls: Sequence[MeasuredCall], *, by_module: bool) -> list[MeasuredCall]:
    """The calls that error can begin in: API calls, or modules where no API call was recorded."""
    return [
        call
        for call in calls
        if call.name.prefix != "Optimizer"
        and call.name.direction in (FORWARD, BACKWARD)
        and call.name.is_module == by_module
    ]


def walk(calls: Sequence[MeasuredCall], context: Context) -> Walk:
    """Judge every call in order; `calls` are matched pairs, the optimizer's left out."""
    found = Walk()
    context = replace(context, kin=Kin(calls))
    seen = Seen(poisoned=context.previous == "poisoned")
    inside = _Inside()
    garbage = _Garbage(context.npu)
    forwards: dict[str, MeasuredCall] = {}
    for given in calls:
        call = garbage.taken_out(given)
        forward = forwards.get(forward_name(call.full_name)) if call.is_backward else None
        seen.inside = inside.worst(call)
        _judge_call(call, forward, context, found, seen)
        inside.note(call)
        if not call.is_backward:
            forwards[call.full_name] = call
    for key, argument in garbage.found.items():
        found.judged[key] = Judged(argument, "")
    return found


def _judge_call(call: MeasuredCall, forward: MeasuredCall | None, context: Context, found: Walk, seen: Seen) -> None:
    origins: list[Origin] = []
    origin: Origin | None
    for argument in call.read:
        verdict = judge_input(call, argument, context, seen)
        if verdict is not None:
            found.judged[(call.full_name, argument.name)], origin = verdict
            origins += [origin] if origin is not None else []
    seen.worst = max(seen.worst, largest_error(call.read))
    best: Origin | None = None
    for argument in call.wrote:
        verdict = judge_output(call, argument, forward, context, seen)
        if verdict is not None:
            found.judged[(call.full_name, argument.name)], origin = verdict
            if origin is not None and (best is None or _stronger(origin, best)):
                best = origin
    if best is not None and not (_by_bound(best) and seen.worst > _BOUND_TRUSTED):
        origins.append(best)
    if not seen.poisoned:
        found.origins += origins
    written = largest_error(call.wrote)
    seen.worst = max(seen.worst, written)
    seen.poisoned = seen.poisoned or any(origin.kind == "nan_inf" for origin in origins)
    seen.reshaped = seen.reshaped or any(origin.reshaped for origin in origins)
    if best is None and written <= INPUT_NOISE:
        seen.last_agreeing = call.full_name


def _stronger(one: Origin, other: Origin) -> bool:
    return (one.judged.excess or 0.0) > (other.judged.excess or 0.0)


def _by_bound(origin: Origin) -> bool:
    """Was it judged by statistics alone?  They may agree by chance where tensors do not, so once anything differed
    they no longer show who began."""
    error = origin.judged.argument.error
    return error is not None and error.source == "bound"


class _Inside:
    """The largest error that calls inside a module showed: at module level, what a container's result inherits."""

    def __init__(self) -> None:
        self._worst: dict[tuple[str, str], float] = {}

    def note(self, call: MeasuredCall) -> None:
        if not call.name.is_module:
            return
        error = max(largest_error(call.read), largest_error(call.wrote))
        parts = call.name.path.split(".")
        for depth in range(len(parts)):
            key = (".".join(parts[:depth]), call.name.direction)
            self._worst[key] = max(self._worst.get(key, 0.0), error)

    def worst(self, call: MeasuredCall) -> float:
        return self._worst.get((call.name.path, call.name.direction), 0.0) if call.name.is_module else 0.0


class _Garbage:
    """Memory that nobody has written to: what `empty` gives, and what copies, views and partial writes make of it.  It
    differs between any two runs and says nothing; `found` holds the tensors that were taken out."""

    def __init__(self, flow: Flow) -> None:
        self.found: dict[tuple[str, str], MeasuredArgument] = {}
        self._flow = flow
        self._values: set[Hashable] = set()

    def taken_out(self, call: MeasuredCall) -> MeasuredCall:
        """`call` without such tensors."""
        made = not call.is_backward and operators.is_uninitialised(call.operator)
        if not made and not self._values:
            return call
        read = [argument for argument in call.read if self._flow.key(argument.npu) in self._values]
        kept = any(argument.name != "input.out" for argument in read) and not operators.overwrites(call.operator)
        wrote = [argument for argument in call.wrote if (made or kept) and argument.relative > INPUT_NOISE]
        if not read and not wrote:
            return call
        self._values.update(self._flow.key(argument.npu) for argument in wrote)
        self.found.update({(call.full_name, argument.name): argument for argument in (*read, *wrote)})
        return msgspec.structs.replace(
            call,
            read=tuple(argument for argument in call.read if argument not in read),
            wrote=tuple(argument for argument in call.wrote if argument not in wrote),
        )
