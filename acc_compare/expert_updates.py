"""What optimizers do to experts that lie on different ranks: a step of the parameters of all, each by one name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TypeAlias

import msgspec

from acc_compare.stages import renamed
from dump.format.schema import Argument, CallRecord, Dump, TensorRecord

Held: TypeAlias = "Mapping[int, tuple[Dump, Mapping[int, str]]]"
"""By rank its dump, and the names of the parameters of its experts by value, the same on both sides of a comparison."""

_OPTIMIZER, _PARAMETER, _GRADIENT = "Optimizer.", "input.param.", "input.grad."
_PLACES = re.compile(r"(input\.param\.|input\.grad\.|output\.0\.)(.+)")

_AS_LARGE = 0.1
"""How much larger or smaller gradients may be that are not divided by another number of ranks, as a logarithm."""


def are_updated_alike(ours: Held, theirs: Held) -> bool:
    """Are the gradients of experts as large on both sides, not larger by a number of ranks?"""
    mine, other = (
        {
            (call.name, argument.name): float(argument.leaf.norm)
            for dump, parameters in held.values()
            for call in dump.calls
            for argument in _of_experts(call, parameters).inputs
            if argument.name.startswith(_GRADIENT) and isinstance(argument.leaf, TensorRecord) and argument.leaf.norm
        }
        for held in (ours, theirs)
    )
    times = [abs(math.log(norm / other[key])) for key, norm in mine.items() if key in other]
    return bool(times) and median(times) < _AS_LARGE


def with_experts(call: CallRecord, held: Held) -> CallRecord:
    """An optimizer's step with the parameters of the experts of all ranks."""
    if not call.name.startswith(_OPTIMIZER):
        return call
    for rank, (dump, parameters) in held.items():
        own = next(_of_experts(each, parameters) for each in dump.calls if each.name == call.name)
        own = renamed(own, call.name, call.index, (rank, dump), {})
        call = msgspec.structs.replace(call, inputs=(*call.inputs, *own.inputs), outputs=(*call.outputs, *own.outputs))
    return call


def _of_experts(call: CallRecord, parameters: Mapping[int, str]) -> CallRecord:
    """The part of an optimizer's step that is of these parameters, which bear these names; nothing of other calls."""
    known = _updated(call, parameters)

    def told(group: Sequence[Argument]) -> tuple[Argument, ...]:
        parts = ((_PLACES.match(argument.name), argument.leaf) for argument in group)
        return tuple(Argument(f"{m[1]}{known[m[2]]}", leaf) for m, leaf in parts if m is not None and m[2] in known)

    return msgspec.structs.replace(call, inputs=told(call.inputs), outputs=told(call.outputs))


def without(call: CallRecord, parameters: Mapping[int, str]) -> CallRecord:
    """A call, of an optimizer's step what is of no such parameter: other ranks have others."""
    known = _updated(call, parameters)

    def told(group: Sequence[Argument]) -> tuple[Argument, ...]:
        return tuple(a for a in group if (m := _PLACES.match(a.name)) is None or m[2] not in known)

    if not known:
        return call
    return msgspec.structs.replace(call, inputs=told(call.inputs), outputs=told(call.outputs))


def with_names(call: CallRecord, parameters: Mapping[int, str]) -> CallRecord:
    """A call, of an optimizer's step these parameters by the names that they bear."""
    known, own = without(call, parameters), _of_experts(call, parameters)
    if known is call:
        return call
    inputs, outputs = (*known.inputs, *own.inputs), (*known.outputs, *own.outputs)
    return msgspec.structs.replace(call, inputs=inputs, outputs=outputs)


def _updated(call: CallRecord, parameters: Mapping[int, str]) -> dict[str, str]:
    """Those of the parameters that a step of an optimizer updates, by the name that it has for each."""
    read = ((a.name, a.leaf) for a in (call.inputs if call.name.startswith(_OPTIMIZER) else ()))
    values = {name: leaf.value for name, leaf in read if isinstance(leaf, TensorRecord) and leaf.value is not None}
    return {
        name.removeprefix(_PARAMETER): parameters[value]
        for name, value in values.items()
        if name.startswith(_PARAMETER) and value in parameters
    }
