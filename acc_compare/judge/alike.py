"""Sides that compute alike to the bit, as two versions of a script on one machine do.

Then a setting shows that differs, however small its effect: the two forms of gelu are less than a rounding apart in
bfloat16.  What comes behind it is no noise either, and may be further off than noise would be.
"""

from __future__ import annotations

from collections.abc import Sequence

from acc_compare import operators
from acc_compare.measured.calls import MeasuredCall
from dump.format.names import forward_name
from dump.format.schema import TensorRecord

_ROUNDS_ITS_OWN_WAY = ("contraction", "reduction", "normalisation")
"""Classes of operators that two kinds of machine round in two ways."""

_FEWEST = 3
"""Of these so many must agree."""


def told_otherwise(calls: Sequence[MeasuredCall]) -> frozenset[str]:
    """The calls forward that read the same, were given another number, flag or word, and wrote something else; none
    where any other call that read the same wrote something else, or too few tell."""
    found: set[str] = set()
    forwards: dict[str, MeasuredCall] = {}
    agreeing = 0
    for call in calls:
        forward = forwards.get(forward_name(call.full_name)) if call.is_backward else None
        if not call.is_backward:
            forwards[call.full_name] = call
        elif forward is None:
            continue
        read = call.read if forward is None else (*call.read, *forward.read, *forward.wrote)
        if any(argument.error is None or argument.relative > 0 for argument in read):
            continue
        differs = any(argument.relative > 0 for argument in call.wrote)
        if has_other_settings(forward or call):
            found |= {call.full_name} if differs and forward is None else set()
        elif differs:
            return frozenset()
        else:
            agreeing += operators.operator_class(call.operator) in _ROUNDS_ITS_OWN_WAY
    return frozenset(found) if agreeing >= _FEWEST else frozenset()


def has_other_settings(call: MeasuredCall) -> bool:
    """Was anything that is no tensor not the same, or given on one side alone?"""
    leaves = [(pair.npu, pair.bench) for pair in call.pair.arguments]
    return any(a != b and not (isinstance(a, TensorRecord) or isinstance(b, TensorRecord)) for a, b in leaves)
